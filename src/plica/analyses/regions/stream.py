"""Regions in parts: every region is handed over once, and memory does not grow with their number."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from plica.analyses.regions.analysis import result_of
from plica.analyses.regions.cells import Listed, listed_plane, listed_solid
from plica.analyses.regions.planar import begin, run_engine, tally_of
from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_frontier import PlanarFrontier
from plica.analyses.regions.planar_state import Found
from plica.analyses.regions.question import INSTEAD, Question, Where, check_numbers, listable, mark, question_of
from plica.analyses.regions.region_maps import affine_maps
from plica.analyses.regions.result import RegionsResult
from plica.analyses.regions.resume import AnyFrontier, kept_list, taken_up_list
from plica.analyses.regions.solid import SolidCount, SolidRegions, choice_spans, no_cells, solid_stream
from plica.analyses.regions.solid_cells import SolidCells, joined
from plica.analyses.regions.solid_domain import domain_of
from plica.analyses.regions.solid_frontier import Frontier
from plica.core.network import Network
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness
from plica.errors import ArgumentError

PART = 10_000  # regions
Parts = Iterator[tuple[Listed, Completeness, int, AnyFrontier | None]]


def stream_regions(
    net: Network,
    domain: Where | None,
    *,
    maps: bool = False,
    part: int = PART,
    threads: int = 1,
    resume: RegionsResult | None = None,
    progress: Progress | None = None,
) -> Iterator[RegionsResult]:
    """Hand over the activation regions of a network in a domain part by part.

    Parameters
    ----------
    net : Network
    domain : Box, Ball, Polyhedron, Plane or Segment
        Bounded, as for `plica.regions`.
    maps : bool
        Also affine maps and singular values. Linear regions reach across parts and are not told.
    part : int
        Regions of a part, about: a part ends with the chunk of cells in which it is full.
    threads : int
        Threads that take chunks (two dimensions).
    resume : RegionsResult, optional
        The last part of a stream of the same network and domain that a budget ended, as it was returned or loaded, or
        a list that one ended: hands over the rest.
    progress : Progress, optional
        Budget and listener.

    Yields
    ------
    RegionsResult
        Each region is in one part. ``neighbours`` are those of the same part, -1 for all others. When a budget ends the
        stream its last part, perhaps an empty one, says so, and its `frontier` has what is left; regions at hand are
        still given their maps. Work goes on as long as parts are asked for.

    Raises
    ------
    ArgumentError, DataError
        As `plica.regions`, before the first part.

    Notes
    -----
    Memory: one part, and the engine's chunks of cells. `per_layer` of a part tells of its regions only.
    """
    asked = question_of(net, domain)
    domain_of(listable(asked), asked.dimension)  # which says what is wrong with it before the first part is asked for
    check_numbers(None, threads)
    if part < 1:
        raise ArgumentError(f"part is {part}; it must be 1 or more.")
    earlier = None if resume is None else taken_up_list(resume, mark(asked), planar=asked.planar, stream=True)
    left = None if earlier is None else earlier.frontier
    return _stream(asked, maps, (part, threads), progress or Progress(), left)


def _stream(
    asked: Question, maps: bool, sizes: tuple[int, int], progress: Progress, left: AnyFrontier | None
) -> Iterator[RegionsResult]:
    parts = _planar(asked, sizes, progress, left) if asked.planar else _solid(asked, sizes[0], progress, left)
    begun = time.perf_counter()
    for listed, status, decided, frontier in parts:
        fields: dict[str, Any] = {"frontier": kept_list(frontier, None)}
        if maps:
            fields |= _maps(asked, listed)
        layers = (0,) * len(listed.plan)
        yield result_of(asked, listed, (status, layers, decided), fields, time.perf_counter() - begun)
        begun = time.perf_counter()


def _maps(asked: Question, listed: Listed) -> dict[str, np.ndarray]:
    """Affine maps and singular values of a part, whatever the time: a later run has other regions."""
    return affine_maps(asked.net, listed.plan, listed.branches(), Progress()).fields()


def _planar(asked: Question, sizes: tuple[int, int], progress: Progress, left: AnyFrontier | None) -> Parts:
    """Let the engine run until a part is full, hand it over, and run on."""
    held: list[Found] = []
    assert left is None or isinstance(left, PlanarFrontier)
    engine, earlier = begin(asked.net, listable(asked), progress, left, held.append)
    before = 0
    while True:
        engine.max_regions = engine.tally.count + sizes[0]
        status = run_engine(engine, sizes[1])
        full = status is Completeness.BUDGET and engine.tally.count >= engine.max_regions
        ended = status is Completeness.BUDGET and not full
        decided = engine.tally.exact_vertices + engine.tally.exact_cells
        frontier = tally_of(engine, earlier).frontier if ended else None
        listed = _part_of(engine, held)
        yield listed, Completeness.COMPLETE if full else status, decided - before, frontier
        before = decided
        if not full:
            return


def _part_of(engine: Engine, held: list[Found]) -> Listed:
    """The finished cells, joined whatever the time: a later run has other regions."""
    budget, engine.progress = engine.progress, Progress()
    listed = listed_plane(engine, held)
    engine.progress = budget
    return listed


def _solid(asked: Question, size: int, progress: Progress, left: AnyFrontier | None) -> Parts:
    """Chunks of the engine for three to ten variables, joined to parts."""
    held: list[SolidCells] = []
    spans = choice_spans(asked.net)
    assert left is None or isinstance(left, Frontier)
    for chunk in solid_stream(asked.net, listable(asked), progress=progress, resume=left):
        if isinstance(chunk, SolidCount):
            if held or not chunk.complete:
                done = Completeness.COMPLETE if chunk.complete else Completeness.BUDGET
                decided = chunk.signs + chunk.pieces
                yield _listed_part(asked, held, spans, chunk), done, decided, chunk.frontier
            return
        held.append(chunk)
        refuse_above(progress.max_bytes, 2 * sum(c.nbytes for c in held), "A part of the regions", INSTEAD)
        if sum(map(len, held)) >= size:
            yield _listed_part(asked, held, spans, None), Completeness.COMPLETE, 0, None
            held = []


def _listed_part(
    asked: Question, held: list[SolidCells], spans: tuple[tuple[str, int, int], ...], count: SolidCount | None
) -> Listed:
    total = count or SolidCount(sum(map(len, held)), complete=False, method="vertices")
    return listed_solid(asked.net, SolidRegions(joined([no_cells(asked.net), *held]), spans, total))
