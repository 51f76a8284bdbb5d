"""Regions in any number of variables: counted, streamed, or stored with vertices and facets.

Entries: `solid_count`, `solid_stream`, `solid_regions`. What is proven, and how, is in docs/regions-solid.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from plica.analyses.regions.solid_cells import SolidCells, from_cells, from_tasks, joined
from plica.analyses.regions.solid_domain import Domain, domain_of
from plica.analyses.regions.solid_engine import Batch, Engine
from plica.analyses.regions.solid_frontier import Frontier, mark_of
from plica.analyses.regions.solid_stages import stages
from plica.analyses.regions.solid_workers import run_in_threads
from plica.core.domain import Ball, Box
from plica.core.network import Network
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress, refuse_above

Where = Box | Polyhedron | Ball


@dataclass(frozen=True, eq=False)
class SolidCount:
    """A number of activation regions.

    Attributes
    ----------
    count : int
        Regions with interior inside the domain (those that the open ball meets); exact when complete, else a lower
        bound.
    complete : bool
    layers : tuple of int
        Cells after every choice node, as far as they were built; 0 for the last where it was only counted.
    signs, pieces : int
        Signs decided in integers one by one; pieces and cells done in integers altogether.
    frontier : Frontier or None
        What is left to do, when not complete.
    """

    count: int
    complete: bool
    layers: tuple[int, ...]
    signs: int
    pieces: int
    frontier: Frontier | None


@dataclass(frozen=True, eq=False)
class SolidRegions:
    """Regions with vertices.

    Attributes
    ----------
    cells : SolidCells
    nodes : tuple of (str, int, int)
        Name of every choice node, and where its branches stand among the columns of ``cells.patterns``.
    count : SolidCount
    """

    cells: SolidCells
    nodes: tuple[tuple[str, int, int], ...]
    count: SolidCount


def solid_count(
    net: Network,
    domain: Where,
    *,
    progress: Progress | None = None,
    workers: int = 1,
    resume: Frontier | None = None,
) -> SolidCount:
    """Count the activation regions of a network in a bounded domain, exactly.

    Parameters
    ----------
    net : Network
        With d inputs in all; vertices are built, so d up to about 10.
    domain : Box, Polyhedron or Ball
        Bounded, with interior.
    progress : Progress, optional
        Time is looked at every few cells.
    workers : int
        Threads; the compiled kernels run beside each other.
    resume : Frontier, optional
        Goes on from where an earlier count of the same network and domain stopped; its count is included.

    Raises
    ------
    ArgumentError, DataError
        For a domain that is unbounded, flat, empty, or in another number of variables.

    Notes
    -----
    CERTIFIED or RIGOROUS: every sign is proven by a float error bound or decided in integers. Memory does not grow with
    the number of regions: chunks of cells are taken through the layers depth first.
    """
    progress = progress or Progress()
    inside = _domain(net, domain)
    start = resume.count if resume is not None else 0
    batches = None if resume is None else resume.checked(net, inside)
    if workers > 1:
        engines = run_in_threads(net, inside, progress, workers, batches)
    else:
        engine = Engine(net, inside, progress)
        for _ in engine.run(batches):
            pass
        engines = [engine]
    return _tally(engines, start)


def solid_stream(
    net: Network, domain: Where, *, progress: Progress | None = None, resume: Frontier | None = None
) -> Iterator[SolidCells | SolidCount]:
    """Yield the regions in chunks, and last of all the count.

    Parameters, errors and notes as `solid_count`; a chunk has at most some hundred regions.
    """
    inside = _domain(net, domain)
    engine = Engine(net, inside, progress or Progress(), build=True)
    for found in engine.run(None if resume is None else resume.checked(net, inside)):
        yield from_tasks(found, engine.exactly) if isinstance(found, list) else from_cells(found)
    yield _tally([engine], 0 if resume is None else resume.count)


def solid_regions(
    net: Network, domain: Where, *, progress: Progress | None = None, resume: Frontier | None = None
) -> SolidRegions:
    """Regions with patterns, vertices and facets, in memory.

    Parameters, errors and notes as `solid_count`. ``cells.volumes()`` and ``cells.centres()`` give volumes and points
    inside. A resumed run has the regions that the earlier one had not.

    Raises
    ------
    MemoryBudgetError
        When the regions pass ``progress.max_bytes``; `solid_stream` hands them over chunk by chunk.
    """
    progress = progress or Progress()
    parts: list[SolidCells] = []
    held = 0
    for part in solid_stream(net, domain, progress=progress, resume=resume):
        if isinstance(part, SolidCount):
            return SolidRegions(joined([_none(net), *parts]), choice_spans(net), part)
        parts.append(part)
        held += 2 * part.nbytes
        refuse_above(progress.max_bytes, held, f"{sum(map(len, parts))} regions so far", "Stream or only count them.")
    raise AssertionError("a stream ends with its count")


def choice_spans(net: Network) -> tuple[tuple[str, int, int], ...]:
    """Name of every choice node, and the first and last + 1 of its columns among all branches."""
    return tuple((s.node.name, s.first, s.first + s.count) for s in stages(net))


def _domain(net: Network, domain: Where) -> Domain:
    return domain_of(domain, math.prod(net.input_shape))


def _none(net: Network) -> SolidCells:
    """No regions."""
    d, branches = math.prod(net.input_shape), sum(b - a for _, a, b in choice_spans(net))
    start = np.zeros(1, np.int64)
    return SolidCells(
        np.zeros((0, branches), np.int16), np.zeros((0, d)), np.zeros(0), start, np.zeros((0, d + 1)),
        np.zeros(0, np.int64), start, np.zeros(0, np.int32), start,
    )  # fmt: skip


def _tally(engines: list[Engine], start: int) -> SolidCount:
    """What some engines have done together."""
    tallies = [e.tally for e in engines]
    left: list[Batch] = [b for e in engines for b in e.frontier]
    count = start + sum(t.count for t in tallies)
    return SolidCount(
        count,
        not left,
        tuple(sum(cells) for cells in zip(*(t.cells for t in tallies), strict=True)),
        sum(t.signs for t in tallies),
        sum(t.pieces for t in tallies),
        Frontier(tuple(left), count, mark_of(engines[0].net, engines[0].domain)) if left else None,
    )
