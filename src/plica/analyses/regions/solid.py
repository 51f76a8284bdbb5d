"""Regions in any number of variables: counted, streamed, or stored.

Entries: `solid_count` for any domain; `solid_stream` and `solid_regions` for cells with vertices, up to 10 variables;
`solid_space.space_regions` for unbounded domains, `solid_rows.row_regions` for cells by inequalities in any number of
variables. What is proven, and how, is in docs/regions-solid.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from plica.analyses.regions.planar_frontier import PlanarFrontier
from plica.analyses.regions.solid_cells import SolidCells, from_cells, from_tasks, joined
from plica.analyses.regions.solid_domain import Domain, domain_of, exact_row, is_bounded
from plica.analyses.regions.solid_engine import Engine
from plica.analyses.regions.solid_frontier import Frontier, mark_of
from plica.analyses.regions.solid_rows import RowSearch, sides_of
from plica.analyses.regions.solid_space import space_count
from plica.analyses.regions.solid_stages import stages
from plica.analyses.regions.solid_workers import run_in_threads
from plica.core.domain import Ball, Box
from plica.core.network import Network
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress, refuse_above
from plica.errors import ArgumentError

Where = Box | Polyhedron | Ball | None
VERTEX_VARIABLES = 10  # above this cells have too many vertices
CONE_VARIABLES = 8  # above this unbounded domains are searched by inequalities


@dataclass(frozen=True, eq=False)
class SolidCount:
    """A number of activation regions.

    Attributes
    ----------
    count : int
        Regions with interior inside the domain (those that the open ball meets); exact when complete, else a lower
        bound.
    complete : bool
    method : {"polygons", "vertices", "cones", "rows"}
    layers : tuple of int
        Cells after every choice node, as far as they were built; 0 for the last where it was only counted.
    signs, pieces : int
        Signs (in the plane: vertices) decided in integers one by one; pieces and cells done in integers altogether.
    undecided : int
        Sides that no proof was found for; regions there are missing ("rows" only).
    frontier : Frontier, PlanarFrontier or None
        What is left to do when a budget ended; None where that cannot be taken up again: for "cones", and in bounded
        domains with more than 64 sides in three and more variables, which are done in one go.
    """

    count: int
    complete: bool
    method: str
    layers: tuple[int, ...] = ()
    signs: int = 0
    pieces: int = 0
    undecided: int = 0
    frontier: Frontier | PlanarFrontier | None = None


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
    """Count the activation regions of a network in a domain, exactly.

    Parameters
    ----------
    net : Network
        With d inputs in all.
    domain : Box, Polyhedron, Ball or None
        With interior; None for all of space. A ball in the 2-norm for up to 10 inputs.
    progress : Progress, optional
        Time is looked at every few cells.
    workers : int
        Threads for bounded domains of up to 10 variables; the compiled kernels run beside each other.
    resume : Frontier, optional
        Goes on from where an earlier count of the same network and domain stopped; its count is included.

    Raises
    ------
    ArgumentError, DataError
        For a domain that is flat, empty, or in another number of variables.

    Notes
    -----
    CERTIFIED or RIGOROUS: every sign is proven by a float error bound or decided in integers. Bounded domains of up to
    10 variables: cells by their vertices, memory does not grow with the number of regions. Unbounded ones up to 8:
    d + 1 cones, a set of all patterns in memory. Above: cells by inequalities, linear programs, each answer proven.
    """
    progress, d = progress or Progress(), math.prod(net.input_shape)
    if domain is not None and domain.ambient != d:
        raise ArgumentError(f"domain: it lies in {domain.ambient} variables, the network reads {d}.")
    if isinstance(domain, Ball) and d > VERTEX_VARIABLES and domain.norm == 2.0:
        raise ArgumentError(f"domain: a round ball in {d} variables is not supported; use norm=inf, or a slice.")
    if _by_rows(d, domain):
        return _count_by_rows(net, _rows_domain(domain), progress, resume)
    if not is_bounded(domain):
        if resume is not None:
            raise ArgumentError("resume: counts of unbounded domains cannot be taken up again.")
        body = domain.polyhedron() if isinstance(domain, Box) else domain
        count, complete = space_count(net, body, progress)  # type: ignore[arg-type]
        return SolidCount(count, complete, "cones")
    inside = domain_of(domain, d)  # type: ignore[arg-type]
    batches = None if resume is None else _batches(net, inside, resume)
    if workers > 1:
        engines = run_in_threads(net, inside, progress, workers, batches)
    else:
        engines = [Engine(net, inside, progress)]
        for _ in engines[0].run(batches):
            pass
    return _tally(engines, resume.count if resume is not None else 0)


def can_resume(net: Network, domain: Where | None) -> bool:
    """Whether a count that a budget ends has a frontier."""
    return _by_rows(math.prod(net.input_shape), domain) or is_bounded(domain)


def _by_rows(d: int, domain: Where | None) -> bool:
    """Whether cells of d variables are kept as inequalities."""
    return d > VERTEX_VARIABLES or (d > CONE_VARIABLES and not is_bounded(domain))


def solid_stream(
    net: Network,
    domain: Box | Polyhedron | Ball,
    *,
    max_regions: float = math.inf,
    progress: Progress | None = None,
    resume: Frontier | None = None,
) -> Iterator[SolidCells | SolidCount]:
    """Yield the regions of a bounded domain in chunks, and last of all the count.

    Parameters, errors and notes as `solid_count`, for up to 14 variables; a chunk has at most some hundred regions.
    `max_regions`, beside those that `resume` has, ends the stream as a budget does.
    """
    inside = domain_of(domain, math.prod(net.input_shape))
    engine = Engine(net, inside, progress or Progress(), build=True, max_regions=max_regions)
    for found in engine.run(None if resume is None else _batches(net, inside, resume)):
        yield from_tasks(found, engine.exactly) if isinstance(found, list) else from_cells(found)
    yield _tally([engine], 0 if resume is None else resume.count)


def solid_regions(
    net: Network, domain: Box | Polyhedron | Ball, *, progress: Progress | None = None, resume: Frontier | None = None
) -> SolidRegions:
    """Regions of a bounded domain with patterns, vertices and facets, in memory.

    Parameters, errors and notes as `solid_stream`. ``cells.volumes()`` and ``cells.centres()`` give volumes and points
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
            return SolidRegions(joined([no_cells(net), *parts]), choice_spans(net), part)
        parts.append(part)
        held += 2 * part.nbytes
        refuse_above(progress.max_bytes, held, f"{sum(map(len, parts))} regions so far", "Stream or only count them.")
    raise AssertionError("a stream ends with its count")


def choice_spans(net: Network) -> tuple[tuple[str, int, int], ...]:
    """Name of every choice node, and the first and last + 1 of its columns among all branches."""
    return tuple((s.node.name, s.first, s.first + s.count) for s in stages(net))


def _rows_domain(domain: Where) -> Box | Polyhedron | None:
    return domain.polyhedron() if isinstance(domain, Ball) else domain


def _count_by_rows(
    net: Network, where: Box | Polyhedron | None, progress: Progress, resume: Frontier | None
) -> SolidCount:
    """Count by inequalities."""
    mark = mark_of(net, sides_of(where, math.prod(net.input_shape)))
    if resume is not None:
        resume.check(mark)
    search = RowSearch(net, where, progress)
    before = 0 if resume is None else resume.count
    count = before + sum(1 for _ in search.run(None if resume is None else list(resume.cells)))
    left = Frontier((), tuple(search.left), count, mark) if search.left else None
    return SolidCount(count, left is None and not search.undecided, "rows", (), 0, search.programs, search.undecided,
                      left)  # fmt: skip


def _batches(net: Network, domain: Domain, resume: Frontier) -> list:
    resume.check(domain_mark(net, domain))
    return list(resume.batches)


def domain_mark(net: Network, domain: Domain) -> str:
    """What tells apart counts: a hash of the network and of the domain's sides."""
    return mark_of(net, tuple(exact_row(domain, i) for i in range(len(domain.rows))))


def no_cells(net: Network) -> SolidCells:
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
    left = tuple(b for e in engines for b in e.frontier)
    lost = any(e.lost for e in engines)
    count = start + sum(t.count for t in tallies)
    return SolidCount(
        count,
        not (left or lost),
        "vertices",
        tuple(sum(cells) for cells in zip(*(t.cells for t in tallies), strict=True)),
        sum(t.signs for t in tallies),
        sum(t.pieces for t in tallies),
        0,
        Frontier(left, (), count, domain_mark(engines[0].net, engines[0].domain)) if left else None,
    )
