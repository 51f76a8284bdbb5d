"""What a budget leaves, inside its result: taken up again by `resume=` of counts, lists and streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from plica.analyses.regions.planar_frontier import PlanarFrontier
from plica.analyses.regions.result import RegionCountResult, RegionsResult
from plica.analyses.regions.solid_frontier import Frontier, check_mark
from plica.core.result import Completeness, Result
from plica.errors import ArgumentError

AnyFrontier = PlanarFrontier | Frontier
KINDS: dict[type, str] = {PlanarFrontier: "polygons", Frontier: "solids"}
OWN = ("kind", "plica", "waiting", "held")
HELD = "held."  # head of the names of arrays of finished cells


@dataclass(frozen=True, eq=False)
class Earlier:
    """What an earlier list or stream has left.

    Attributes
    ----------
    result : RegionsResult
    frontier : PlanarFrontier or Frontier
    held : str
        "cells": its cells as its engine left them, in `cells`. "list": the list is whole, its maps are left.
        "none": they were handed over, as parts of a stream.
    cells : dict of ndarray
    """

    result: RegionsResult
    frontier: AnyFrontier
    held: str
    cells: dict[str, np.ndarray]


# --- into a result ----------------------------------------------------------------------------------------------


def kept(frontier: AnyFrontier | None) -> dict[str, np.ndarray] | None:
    """A frontier as a field of a result; its arrays are of this version of plica."""
    return None if frontier is None else _head(KINDS[type(frontier)], len(frontier)) | frontier.arrays()


def kept_list(frontier: AnyFrontier | None, cells: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
    """The same for a list, with its cells, or for a part of a stream, without."""
    own = kept(frontier)
    if own is None:
        return None
    held = {f"{HELD}{name}": a for name, a in (cells or {}).items()}
    return own | {"held": np.array("none" if cells is None else "cells")} | held


def kept_whole(mark: str, *, planar: bool) -> dict[str, np.ndarray]:
    """What a list needs that is whole, but whose maps a budget ended."""
    return _head(KINDS[PlanarFrontier if planar else Frontier], 0) | {
        "held": np.array("list"),
        "mark": np.array(mark),
    }


def _head(kind: str, waiting: int) -> dict[str, np.ndarray]:
    from plica import __version__

    return {"kind": np.array(kind), "plica": np.array(__version__), "waiting": np.array(waiting)}


# --- out of a result --------------------------------------------------------------------------------------------


def taken_up(earlier: Result | None, *, planar: bool) -> AnyFrontier | None:
    """The frontier of an earlier count; whether it belongs to the network and domain is looked at by who takes it.

    Raises
    ------
    ArgumentError
        When the earlier count is complete or was interrupted, or is of another version or another kind of domain.
    """
    if earlier is None:
        return None
    if not isinstance(earlier, RegionCountResult):
        raise ArgumentError(f"resume: it is a {type(earlier).__name__}; give what plica.count_regions returned.")
    arrays = _checked(earlier, "count", planar)
    return (PlanarFrontier if planar else Frontier).of({k: a for k, a in arrays.items() if k not in OWN})


def taken_up_list(earlier: Result | None, mark: str, *, planar: bool, stream: bool = False) -> Earlier | None:
    """What an earlier list, or the last part of an earlier stream, has left.

    Raises
    ------
    ArgumentError
        As `taken_up`; for another network or domain (`mark`); for a part of a stream where a list is wanted, and for a
        list that only lacks maps where a stream is.
    """
    if earlier is None:
        return None
    if not isinstance(earlier, RegionsResult):
        raise ArgumentError(
            f"resume: it is a {type(earlier).__name__}; give what plica.regions or plica.stream_regions returned."
        )
    arrays = _checked(earlier, "list", planar)
    held = str(arrays["held"])
    if held == "none" and not stream:
        raise ArgumentError(
            "resume: this is a part of a stream, and the parts before it are not in it; go on with "
            "plica.stream_regions(..., resume=)."
        )
    if held == "list" and stream:
        raise ArgumentError(
            "resume: only maps are left of this list; plica.regions(..., maps=True, resume=) adds them."
        )
    check_mark(str(arrays["mark"]), mark)
    empty: AnyFrontier = PlanarFrontier((), 0, (), mark) if planar else Frontier((), (), 0, mark)
    own = {k: a for k, a in arrays.items() if k not in OWN and not k.startswith(HELD)}
    left = empty if held == "list" else (PlanarFrontier if planar else Frontier).of(own)
    return Earlier(earlier, left, held, {k[len(HELD) :]: a for k, a in arrays.items() if k.startswith(HELD)})


def _checked(earlier: RegionCountResult | RegionsResult, what: str, planar: bool) -> Mapping[str, np.ndarray]:
    """The arrays of a result, which are of this version and of this kind of domain."""
    from plica import __version__

    if earlier.frontier is None:
        raise ArgumentError(f"resume: {_without(earlier, what)}")
    arrays: Mapping[str, np.ndarray] = earlier.frontier
    if str(arrays.get("kind")) != KINDS[PlanarFrontier if planar else Frontier]:
        raise ArgumentError("resume: this belongs to another network or domain; begin again.")
    if str(arrays.get("plica")) != __version__:
        raise ArgumentError(
            f"resume: this {what} was begun by plica {arrays.get('plica')}, this is {__version__}; begin again."
        )
    return arrays


def _without(earlier: RegionCountResult | RegionsResult, what: str) -> str:
    """Why a result has nothing to take up."""
    if earlier.completeness is Completeness.COMPLETE:
        last = " (of a stream take the last part, the one that a budget ended)" if what == "list" else ""
        return f"this {what} is complete; there is nothing left to do{last}."
    if earlier.completeness is Completeness.INTERRUPTED:
        instead = ", or use plica.run_count" if what == "count" else ""
        return f"this {what} was interrupted in the middle of a step; end {what}s by a budget{instead}."
    unbounded = "unbounded domains of up to 8 dimensions, and " if what == "count" else ""
    return f"{what}s like this one cannot be taken up again ({unbounded}domains of three and more with over 64 sides)."
