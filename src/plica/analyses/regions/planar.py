"""Regions in a bounded part of the plane: counted, with what a budget leaves undone to take up again."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_frontier import PlanarFrontier
from plica.analyses.regions.planar_state import Found
from plica.analyses.regions.planar_window import window_of
from plica.analyses.regions.solid import SolidCount
from plica.analyses.regions.solid_domain import domain_of
from plica.analyses.regions.solid_frontier import mark_of
from plica.core.domain import Ball, Box
from plica.core.network import Network
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError, BudgetReached


def planar_count(
    net: Network,
    domain: Box | Polyhedron | Ball,
    *,
    max_regions: int | None = None,
    progress: Progress | None = None,
    workers: int = 1,
    resume: PlanarFrontier | None = None,
) -> SolidCount:
    """Count the activation regions of a network of two inputs in a bounded domain, exactly.

    Parameters
    ----------
    net : Network
        With two inputs in all.
    domain : Box, Polyhedron or Ball
        Bounded, with interior; a ball of the norm 1 or inf.
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
    engine, before = begin(net, domain, progress, resume)
    if max_regions is not None:
        engine.max_regions = max_regions - before.count
    with suppress(BudgetReached):
        engine.run(workers)
    return tally_of(engine, before)


def begin(
    net: Network,
    domain: Box | Polyhedron | Ball,
    progress: Progress | None,
    resume: PlanarFrontier | None,
    sink: Callable[[Found], None] | None = None,
) -> tuple[Engine, PlanarFrontier]:
    """An engine at its start or where an earlier one stopped, and what was counted before."""
    if math.prod(net.input_shape) != 2:
        raise ArgumentError(f"net: it reads {math.prod(net.input_shape)} variables; the plane has 2.")
    engine = Engine(net, window_of(domain_of(domain, 2)), progress or Progress(), sink=sink)
    if resume is None:
        return engine, PlanarFrontier((), 0, (0,) * len(engine.plan), "")
    resume.check(mark_of(net, tuple(engine.window.lines)))
    engine.items = list(resume.waiting)
    return engine, resume


def run_engine(engine: Engine, threads: int) -> Completeness:
    """Run until nothing is left or a budget ends; what is left stays with the engine."""
    try:
        engine.run(threads)
    except BudgetReached:
        return Completeness.BUDGET
    except KeyboardInterrupt:
        return Completeness.INTERRUPTED
    return Completeness.COMPLETE


def tally_of(engine: Engine, before: PlanarFrontier) -> SolidCount:
    """What has been done, and the frontier."""
    waiting, tally = tuple(engine.frontier()), engine.tally
    layers = tuple(a + b for a, b in zip(before.layers, tally.cells, strict=True))
    count = before.count + tally.count
    mark = mark_of(engine.net, tuple(engine.window.lines)) if waiting else ""
    left = PlanarFrontier(waiting, count, layers, mark) if waiting else None
    return SolidCount(count, not waiting, "polygons", layers, tally.exact_vertices, tally.exact_cells, 0, left)
