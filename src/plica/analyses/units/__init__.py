"""What a unit of a deep layer responds to: its linear map at every input (Montúfar et al. 2014, appendix G)."""

from plica.analyses.units.clusters import cluster_maps
from plica.analyses.units.equal import equal_activation
from plica.analyses.units.maps import unit_maps
from plica.analyses.units.result import EqualActivationResult, UnitClustersResult, UnitMapsResult

__all__ = [
    "EqualActivationResult",
    "UnitClustersResult",
    "UnitMapsResult",
    "cluster_maps",
    "equal_activation",
    "unit_maps",
]
