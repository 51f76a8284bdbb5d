"""plica: exact answers about piecewise-linear neural networks.

A ReLU network folds its input space; plica unfolds it. The whole public API is on this page; names are loaded when
they are first used, so ``import plica`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plica.analyses.adversarial import (
        adversarial_training,
        certified_radius,
        error_rate,
        largest_activation,
        min_distortion,
        shared_activity,
        transfer,
    )
    from plica.analyses.lipschitz import conv_spectrum, lipschitz
    from plica.analyses.moments import moment_bounds, moments
    from plica.analyses.moments.uses import NoiseLimits, class_probabilities, fooling_map, fooling_rate, noise
    from plica.analyses.preimage import (
        dual_cone,
        impostor,
        is_omnidirectional,
        mixing,
        nearest_facet,
        preimage,
        preimage_kind,
        preimage_of,
    )
    from plica.analyses.regions.analysis import count_regions, regions
    from plica.analyses.regions.bounds import region_bounds
    from plica.analyses.regions.stream import stream_regions
    from plica.analyses.spectrum import admissible_sets, removed_rows, spectrum
    from plica.analyses.units import maximisers, unit_maps
    from plica.certificates import certify, verify
    from plica.compare import diff
    from plica.core.domain import Ball, Box, Plane, Segment
    from plica.core.network import Network
    from plica.core.polyhedron import Polyhedron
    from plica.core.progress import Progress
    from plica.errors import (
        ArgumentError,
        BudgetReached,
        DataError,
        DeviceError,
        ImportMismatch,
        MemoryBudgetError,
        ModelError,
        PlicaError,
        ShapeError,
        SolverError,
        UnsupportedLayer,
    )
    from plica.experiments.report import report
    from plica.experiments.reproduce import reproduce
    from plica.jobs import run, run_count
    from plica.loaders import info, load
    from plica.store import load_result, save

__version__ = "0.1.0"

_HOMES = {
    "plica.analyses.adversarial": (
        "adversarial_training",
        "certified_radius",
        "error_rate",
        "largest_activation",
        "min_distortion",
        "shared_activity",
        "transfer",
    ),
    "plica.analyses.lipschitz": ("conv_spectrum", "lipschitz"),
    "plica.analyses.moments": ("moment_bounds", "moments"),
    "plica.analyses.moments.uses": ("NoiseLimits", "class_probabilities", "fooling_map", "fooling_rate", "noise"),
    "plica.analyses.preimage": (
        "dual_cone",
        "impostor",
        "is_omnidirectional",
        "mixing",
        "nearest_facet",
        "preimage",
        "preimage_kind",
        "preimage_of",
    ),
    "plica.analyses.regions.analysis": ("count_regions", "regions"),
    "plica.analyses.regions.bounds": ("region_bounds",),
    "plica.analyses.regions.stream": ("stream_regions",),
    "plica.analyses.spectrum": ("admissible_sets", "removed_rows", "spectrum"),
    "plica.analyses.units": ("maximisers", "unit_maps"),
    "plica.certificates": ("certify", "verify"),
    "plica.compare": ("diff",),
    "plica.core.domain": ("Ball", "Box", "Plane", "Segment"),
    "plica.core.network": ("Network",),
    "plica.core.polyhedron": ("Polyhedron",),
    "plica.core.progress": ("Progress",),
    "plica.errors": (
        "ArgumentError",
        "BudgetReached",
        "DataError",
        "DeviceError",
        "ImportMismatch",
        "MemoryBudgetError",
        "ModelError",
        "PlicaError",
        "ShapeError",
        "SolverError",
        "UnsupportedLayer",
    ),
    "plica.experiments.report": ("report",),
    "plica.experiments.reproduce": ("reproduce",),
    "plica.jobs": ("run", "run_count"),
    "plica.loaders": ("info", "load"),
    "plica.store": ("load_result", "save"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ArgumentError",
    "Ball",
    "Box",
    "BudgetReached",
    "DataError",
    "DeviceError",
    "ImportMismatch",
    "MemoryBudgetError",
    "ModelError",
    "Network",
    "NoiseLimits",
    "Plane",
    "PlicaError",
    "Polyhedron",
    "Progress",
    "Segment",
    "ShapeError",
    "SolverError",
    "UnsupportedLayer",
    "__version__",
    "admissible_sets",
    "adversarial_training",
    "certified_radius",
    "certify",
    "class_probabilities",
    "conv_spectrum",
    "count_regions",
    "diff",
    "dual_cone",
    "error_rate",
    "fooling_map",
    "fooling_rate",
    "impostor",
    "info",
    "is_omnidirectional",
    "largest_activation",
    "lipschitz",
    "load",
    "load_result",
    "maximisers",
    "min_distortion",
    "mixing",
    "moment_bounds",
    "moments",
    "nearest_facet",
    "noise",
    "preimage",
    "preimage_kind",
    "preimage_of",
    "region_bounds",
    "regions",
    "removed_rows",
    "report",
    "reproduce",
    "run",
    "run_count",
    "save",
    "shared_activity",
    "spectrum",
    "stream_regions",
    "transfer",
    "unit_maps",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'plica' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
