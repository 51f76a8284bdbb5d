"""Cells of a bounded question, listed from the start or on from where an earlier list stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from plica.analyses.regions.cells import Listed, listed_again, listed_plane, listed_solid
from plica.analyses.regions.planar import begin, run_engine, tally_of
from plica.analyses.regions.planar_frontier import PlanarFrontier, found_arrays, found_of
from plica.analyses.regions.planar_state import Found
from plica.analyses.regions.question import INSTEAD, Question, listable, mark
from plica.analyses.regions.resume import Earlier, kept_list
from plica.analyses.regions.solid import SolidCount, SolidRegions, choice_spans, no_cells, solid_stream
from plica.analyses.regions.solid_cells import SolidCells, joined
from plica.analyses.regions.solid_frontier import Frontier
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness


@dataclass(frozen=True, eq=False)
class Listing:
    """Cells, and how far the work came.

    Attributes
    ----------
    listed : Listed
    status : Completeness
    layers : tuple of int
        Cells after every choice node.
    decided : int
        Signs and cells decided in integers.
    frontier : dict of ndarray, or None
        What a later run needs, with the cells as the engine left them, so that it joins them with its own.
    """

    listed: Listed
    status: Completeness
    layers: tuple[int, ...]
    decided: int
    frontier: dict[str, np.ndarray] | None = None


def listing(
    asked: Question, progress: Progress, most: int | None, threads: int, earlier: Earlier | None = None
) -> Listing:
    """List the cells; with an earlier list its cells and the rest."""
    if earlier is not None and earlier.held == "list":
        result = earlier.result
        return Listing(listed_again(asked.net, result), Completeness.COMPLETE, result.per_layer, result.decided)
    return (_plane if asked.planar else _space)(asked, progress, (most, threads), earlier)


def _plane(asked: Question, progress: Progress, limits: tuple[int | None, int], earlier: Earlier | None) -> Listing:
    most, threads = limits
    found: list[Found] = [] if earlier is None else found_of(earlier.cells)
    held = 3 * sum(map(_bytes, found))

    def keep(cells: Found) -> None:
        nonlocal held
        found.append(cells)
        held += 3 * _bytes(cells)
        refuse_above(progress.max_bytes, held, "The regions so far", INSTEAD)

    left = None if earlier is None else earlier.frontier
    assert left is None or isinstance(left, PlanarFrontier)
    engine, before = begin(asked.net, listable(asked), progress, left, keep)
    if most is not None:
        engine.max_regions = most - before.count
    status = run_engine(engine, threads)
    may_end = status is not Completeness.COMPLETE or math.isfinite(progress.seconds_left)
    tally, raw = tally_of(engine, before), list(found) if may_end else []
    decided = tally.signs + tally.pieces + (0 if earlier is None else earlier.result.decided)
    listed = listed_plane(engine, found, exact=decided > 0)
    if status is Completeness.COMPLETE and not listed.whole:
        status = Completeness.BUDGET
    kept = None
    if status is Completeness.BUDGET:
        left = tally.frontier or PlanarFrontier((), tally.count, tally.layers, mark(asked))
        kept = kept_list(left, found_arrays(raw))
    return Listing(listed, status, tally.layers, decided, kept)


def _bytes(cells: Found) -> int:
    arrays = (cells.X, cells.keys, cells.polygons.index, cells.polygons.label, cells.polygons.words)
    return sum(a.nbytes for a in arrays)


def _space(asked: Question, progress: Progress, limits: tuple[int | None, int], earlier: Earlier | None) -> Listing:
    most = math.inf if limits[0] is None else limits[0]
    parts = [no_cells(asked.net)]
    left = None
    if earlier is not None:
        parts.append(SolidCells(**earlier.cells))
        left = earlier.frontier
    assert left is None or isinstance(left, Frontier)
    held, before = sum(2 * p.nbytes for p in parts), 0 if left is None else left.count
    stream = solid_stream(asked.net, listable(asked), max_regions=most - before, progress=progress, resume=left)
    for part in stream:
        if isinstance(part, SolidCount):
            return _solid_listing(asked, joined(parts), part, earlier)
        parts.append(part)
        held += 2 * part.nbytes
        refuse_above(progress.max_bytes, held, "The regions so far", INSTEAD)
    raise AssertionError("a stream ends with its count")


def _solid_listing(asked: Question, cells: SolidCells, count: SolidCount, earlier: Earlier | None) -> Listing:
    """The cells of all runs, and what the last one has left."""
    layers, decided = count.layers, count.signs + count.pieces
    if earlier is not None:
        layers = tuple(a + b for a, b in zip(layers, earlier.result.per_layer, strict=True))
        decided += earlier.result.decided
    status = Completeness.COMPLETE if count.complete else Completeness.BUDGET
    listed = listed_solid(asked.net, SolidRegions(cells, choice_spans(asked.net), count))
    raw = {f.name: getattr(cells, f.name) for f in fields(cells)}
    return Listing(listed, status, layers, decided, kept_list(count.frontier, raw))
