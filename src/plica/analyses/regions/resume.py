"""What a count leaves when a budget ends it, inside its result: taken up again by `count_regions(..., resume=)`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from plica.analyses.regions.planar_frontier import PlanarFrontier
from plica.analyses.regions.result import RegionCountResult
from plica.analyses.regions.solid_frontier import Frontier
from plica.core.result import Completeness
from plica.errors import ArgumentError

AnyFrontier = PlanarFrontier | Frontier
KINDS: dict[type, str] = {PlanarFrontier: "polygons", Frontier: "solids"}


def kept(frontier: AnyFrontier | None) -> dict[str, np.ndarray] | None:
    """A frontier as a field of a result; its arrays are of this version of plica."""
    from plica import __version__

    if frontier is None:
        return None
    own = {"kind": np.array(KINDS[type(frontier)]), "plica": np.array(__version__), "waiting": np.array(len(frontier))}
    return own | frontier.arrays()


def taken_up(earlier: RegionCountResult | None, *, planar: bool) -> AnyFrontier | None:
    """The frontier of an earlier result; whether it belongs to the network and domain is looked at by who takes it.

    Raises
    ------
    ArgumentError
        When the earlier count is complete or was interrupted, or is of another version or another kind of domain.
    """
    from plica import __version__

    if earlier is None:
        return None
    if earlier.frontier is None:
        raise ArgumentError(f"resume: {_without(earlier)}")
    arrays: Mapping[str, np.ndarray] = earlier.frontier
    wanted = PlanarFrontier if planar else Frontier
    if str(arrays.get("kind")) != KINDS[wanted]:
        raise ArgumentError("resume: this count belongs to another network or domain; count from the start.")
    if str(arrays.get("plica")) != __version__:
        raise ArgumentError(
            f"resume: this count was begun by plica {arrays.get('plica')}, this is {__version__}; count from the start."
        )
    return wanted.of({k: a for k, a in arrays.items() if k not in ("kind", "plica", "waiting")})


def _without(earlier: RegionCountResult) -> str:
    """Why a result has nothing to take up."""
    if earlier.completeness is Completeness.COMPLETE:
        return "this count is complete; there is nothing left to do."
    if earlier.completeness is Completeness.INTERRUPTED:
        return "this count was interrupted in the middle of a step; end counts by a budget, or use plica.run_count."
    return (
        "counts like this one cannot be taken up again (unbounded domains of up to 8 dimensions, and those of three "
        "and more with over 64 sides)."
    )
