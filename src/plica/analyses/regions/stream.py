"""Regions in parts: every region is handed over once, and memory does not grow with their number."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from plica.analyses.regions.analysis import (
    INSTEAD,
    Question,
    Where,
    check_numbers,
    engine_of,
    listable,
    question_of,
    result_of,
    run_engine,
)
from plica.analyses.regions.cells import Listed, listed_plane, listed_solid
from plica.analyses.regions.planar_state import Found
from plica.analyses.regions.region_maps import affine_maps
from plica.analyses.regions.result import RegionsResult
from plica.analyses.regions.solid import SolidCount, SolidRegions, choice_spans, no_cells, solid_stream
from plica.analyses.regions.solid_cells import SolidCells, joined
from plica.core.network import Network
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness
from plica.errors import ArgumentError, BudgetReached

PART = 10_000  # regions
Parts = Iterator[tuple[Listed, Completeness, int]]


def stream_regions(
    net: Network,
    domain: Where | None,
    *,
    maps: bool = False,
    part: int = PART,
    threads: int = 1,
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
    progress : Progress, optional
        Budget and listener.

    Yields
    ------
    RegionsResult
        Each region is in one part. ``neighbours`` are those of the same part, -1 for all others. When a budget ends the
        stream its last part, perhaps an empty one, says so; work goes on as long as parts are asked for.

    Raises
    ------
    ArgumentError, DataError
        As `plica.regions`, before the first part.

    Notes
    -----
    Memory: one part, and the engine's chunks of cells. `per_layer` of a part tells of its regions only.
    """
    asked = question_of(net, domain)
    listable(asked)
    check_numbers(None, threads)
    if part < 1:
        raise ArgumentError(f"part is {part}; it must be 1 or more.")
    return _stream(asked, maps, (part, threads), progress or Progress())


def _stream(asked: Question, maps: bool, sizes: tuple[int, int], progress: Progress) -> Iterator[RegionsResult]:
    parts = _planar(asked, sizes, progress) if asked.planar else _solid(asked, sizes[0], progress)
    begun = time.perf_counter()
    for listed, status, decided in parts:
        fields: dict[str, np.ndarray] = {}
        if maps:
            fields, status = _maps(asked, listed, progress, status)
        layers = (0,) * len(listed.plan)
        yield result_of(asked, listed, (status, layers, decided), fields, time.perf_counter() - begun)
        if maps and not fields:
            return
        begun = time.perf_counter()


def _maps(
    asked: Question, listed: Listed, progress: Progress, status: Completeness
) -> tuple[dict[str, np.ndarray], Completeness]:
    """Affine maps and singular values of a part."""
    try:
        found = affine_maps(asked.net, listed.plan, listed.branches(), progress)
    except BudgetReached:
        return {}, Completeness.BUDGET
    values = np.linalg.svd(found.matrices, compute_uv=False)
    return {"matrices": found.matrices, "offsets": found.offsets, "singular_values": values}, status


def _planar(asked: Question, sizes: tuple[int, int], progress: Progress) -> Parts:
    """Let the engine run until a part is full, hand it over, and run on."""
    held: list[Found] = []
    engine = engine_of(asked, progress, None, held.append)
    before = 0
    while True:
        engine.max_regions = engine.tally.count + sizes[0]
        status = run_engine(engine, sizes[1])
        full = status is Completeness.BUDGET and engine.tally.count >= engine.max_regions
        decided = engine.tally.exact_vertices + engine.tally.exact_cells
        listed = listed_plane(engine, held)
        done = listed.whole and (full or status is Completeness.COMPLETE)
        ended = Completeness.BUDGET if status is Completeness.COMPLETE else status
        yield listed, Completeness.COMPLETE if done else ended, decided - before
        held.clear()
        before = decided
        if not full:
            return


def _solid(asked: Question, size: int, progress: Progress) -> Parts:
    """Chunks of the engine for three to ten variables, joined to parts."""
    held: list[SolidCells] = []
    spans = choice_spans(asked.net)
    for chunk in solid_stream(asked.net, listable(asked), progress=progress):
        if isinstance(chunk, SolidCount):
            if held or not chunk.complete:
                done = Completeness.COMPLETE if chunk.complete else Completeness.BUDGET
                yield _listed_part(asked, held, spans, chunk), done, chunk.signs + chunk.pieces
            return
        held.append(chunk)
        refuse_above(progress.max_bytes, 2 * sum(c.nbytes for c in held), "A part of the regions", INSTEAD)
        if sum(map(len, held)) >= size:
            yield _listed_part(asked, held, spans, None), Completeness.COMPLETE, 0
            held = []


def _listed_part(
    asked: Question, held: list[SolidCells], spans: tuple[tuple[str, int, int], ...], count: SolidCount | None
) -> Listed:
    total = count or SolidCount(sum(map(len, held)), complete=False, method="vertices")
    return listed_solid(asked.net, SolidRegions(joined([no_cells(asked.net), *held]), spans, total))
