"""What a layer cannot distinguish: preimages (Carlsson et al. 2017; Behrmann et al. 2018, s. 2, A1, A3, A7)."""

from plica.analyses.preimage.dual import DualConeResult, dual_cone
from plica.analyses.preimage.facets import nearest_facet
from plica.analyses.preimage.impostor import impostor
from plica.analyses.preimage.kind import preimage_kind
from plica.analyses.preimage.kinds import is_omnidirectional
from plica.analyses.preimage.mixing import mixing
from plica.analyses.preimage.mixing_result import MixingResult
from plica.analyses.preimage.result import FacetResult, ImpostorResult, Kind, KindResult
from plica.analyses.preimage.union import preimage, preimage_of
from plica.analyses.preimage.union_result import PreimageResult, Reach
from plica.analyses.preimage.union_set import Preimage

__all__ = [
    "DualConeResult",
    "FacetResult",
    "ImpostorResult",
    "Kind",
    "KindResult",
    "MixingResult",
    "Preimage",
    "PreimageResult",
    "Reach",
    "dual_cone",
    "impostor",
    "is_omnidirectional",
    "mixing",
    "nearest_facet",
    "preimage",
    "preimage_kind",
    "preimage_of",
]
