"""Regions in a bounded part of the plane: counted or streamed, with what a budget leaves undone to take up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from plica.analyses.regions.cells import Listed, listed_plane
from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_frontier import PlanarFrontier
from plica.analyses.regions.planar_state import Found, Window
from plica.analyses.regions.planar_window import window_of
from plica.analyses.regions.solid_domain import domain_of
from plica.analyses.regions.solid_frontier import mark_of
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.errors import ArgumentError, BudgetReached

PART = 10_000  # regions


@dataclass(frozen=True, eq=False)
class PlanarCount:
    """A number of activation regions; as `plica.analyses.regions.solid.SolidCount`.

    Attributes
    ----------
    count : int
        Regions with interior inside the domain; exact when complete, else a lower bound.
    complete : bool
    layers : tuple of int
        Cells after every choice node so far.
    signs, pieces : int
        Vertices and cells decided in integers.
    frontier : PlanarFrontier or None
        What is left to do.
    """

    count: int
    complete: bool
    layers: tuple[int, ...]
    signs: int
    pieces: int
    frontier: PlanarFrontier | None = None


def planar_count(
    net: Network,
    domain: Box | Polyhedron,
    *,
    max_regions: int | None = None,
    progress: Progress | None = None,
    workers: int = 1,
    resume: PlanarFrontier | None = None,
) -> PlanarCount:
    """Count the activation regions of a network of two inputs in a bounded domain, exactly.

    Parameters
    ----------
    net : Network
        With two inputs in all.
    domain : Box or Polyhedron
        Bounded, with interior.
    max_regions : int, optional
        Stop when so many are found.
    progress : Progress, optional
        Time is looked at before every chunk of cells.
    workers : int
        Threads; which regions are found, and in which order they are listed, does not depend on it.
    resume : PlanarFrontier, optional
        Goes on from where an earlier count of the same network and domain stopped; its count is included.

    Raises
    ------
    ArgumentError, DataError
        For a domain that is unbounded, flat, empty, or in another number of variables.
    """
    engine, before, window = _engine(net, domain, progress, None, resume)
    if max_regions is not None:
        engine.max_regions = max_regions - before.count
    _run(engine, workers)
    return _tally(engine, before, window)


def planar_stream(
    net: Network,
    domain: Box | Polyhedron,
    *,
    part: int = PART,
    progress: Progress | None = None,
    workers: int = 1,
    resume: PlanarFrontier | None = None,
) -> Iterator[Listed | PlanarCount]:
    """Yield the regions part by part, about `part` at a time, then the count with what is left.

    Parameters and errors as `planar_count`. Each region is in one part; a resumed stream has those that the earlier one
    had not. Memory is that of one part and of the engine's chunks.
    """
    if part < 1:
        raise ArgumentError(f"part is {part}; it must be 1 or more.")
    held: list[Found] = []
    engine, before, window = _engine(net, domain, progress, held.append, resume)
    more = True
    while more:
        engine.max_regions = engine.tally.count + part
        more = _run(engine, workers) and engine.tally.count >= engine.max_regions
        if held:
            yield listed_plane(engine, held)
            held.clear()
    yield _tally(engine, before, window)


def _engine(
    net: Network,
    domain: Box | Polyhedron,
    progress: Progress | None,
    sink: Callable[[Found], None] | None,
    resume: PlanarFrontier | None,
) -> tuple[Engine, PlanarFrontier, Window]:
    """An engine at its start or where an earlier one stopped, what was counted before, and the window."""
    if math.prod(net.input_shape) != 2:
        raise ArgumentError(f"net: it reads {math.prod(net.input_shape)} variables; the plane has 2.")
    window = window_of(domain_of(domain, 2))
    engine = Engine(net, window, progress or Progress(), sink=sink)
    if resume is None:
        return engine, PlanarFrontier((), 0, (0,) * len(engine.plan), ""), window
    resume.check(mark_of(net, tuple(window.lines)))
    engine.items = list(resume.waiting)
    return engine, resume, window


def _run(engine: Engine, workers: int) -> bool:
    """Work on; whether a budget or the number of regions ended it."""
    try:
        engine.run(workers)
    except BudgetReached:
        return True
    return False


def _tally(engine: Engine, before: PlanarFrontier, window: Window) -> PlanarCount:
    """What has been done, and the frontier."""
    waiting, tally = tuple(engine.frontier()), engine.tally
    layers = tuple(a + b for a, b in zip(before.layers, tally.cells, strict=True))
    count = before.count + tally.count
    mark = mark_of(engine.net, tuple(window.lines)) if waiting else ""
    left = PlanarFrontier(waiting, count, layers, mark) if waiting else None
    return PlanarCount(count, not waiting, layers, tally.exact_vertices, tally.exact_cells, left)
