"""What units respond to: linear maps at every input (Montúfar et al. 2014, appendix G), and the strongest images."""

from plica.analyses.units.clusters import cluster_maps
from plica.analyses.units.equal import equal_activation
from plica.analyses.units.maps import unit_maps
from plica.analyses.units.maximisers import MaximisersResult, maximisers
from plica.analyses.units.result import EqualActivationResult, UnitClustersResult, UnitMapsResult

__all__ = [
    "EqualActivationResult",
    "MaximisersResult",
    "UnitClustersResult",
    "UnitMapsResult",
    "cluster_maps",
    "equal_activation",
    "maximisers",
    "unit_maps",
]
