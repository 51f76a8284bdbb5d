"""Linear regions of a network: counted, or listed with vertices, facets and maps (Montufar et al. 2014)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plica.analyses.regions.cells import Listed, listed_plane, listed_solid
from plica.analyses.regions.planar import begin, tally_of
from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_state import Found
from plica.analyses.regions.planar_window import window_of
from plica.analyses.regions.region_maps import affine_maps, linear_regions
from plica.analyses.regions.result import RegionCountResult, RegionsResult
from plica.analyses.regions.resume import kept, taken_up
from plica.analyses.regions.solid import (
    VERTEX_VARIABLES,
    SolidCount,
    SolidRegions,
    choice_spans,
    solid_count,
    solid_regions,
    solid_stream,
)
from plica.analyses.regions.solid_cells import SolidCells, joined
from plica.analyses.regions.solid_domain import domain_of, is_bounded
from plica.analyses.regions.solid_stages import stages
from plica.core.domain import Ball, Box, Plane, Segment
from plica.core.network import Network
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, DataError

Sink = Callable[[Found], None]
Where = Box | Ball | Polyhedron | Plane | Segment
INSTEAD = "Take them in parts, plica.stream_regions, or count them, plica.count_regions."


@dataclass(frozen=True, eq=False)
class Question:
    """A network of the domain's own coordinates, the domain in them, and the way back to inputs."""

    net: Network
    where: Box | Ball | Polyhedron | None
    origin: np.ndarray | None = None
    basis: np.ndarray | None = None

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return math.prod(self.net.input_shape)

    @property
    def planar(self) -> bool:
        """Whether the planar engine takes it."""
        round_ = isinstance(self.where, Ball) and self.where.norm == 2.0
        return self.dimension == 2 and not round_ and is_bounded(self.where)


def count_regions(
    net: Network,
    domain: Where | None,
    *,
    max_regions: int | None = None,
    threads: int = 1,
    resume: RegionCountResult | None = None,
    progress: Progress | None = None,
) -> RegionCountResult:
    """Count the activation regions of a network in a domain, exactly.

    Parameters
    ----------
    net : Network
    domain : Box, Ball, Polyhedron, Plane, Segment or None
        With interior. A `Plane` needs a window; its regions are those of the network restricted to it. None: the whole
        input space. A polygon in a plane: ``count_regions(net.on(plane), Polyhedron(...))``.
    max_regions : int, optional
        Stop when so many are found (bounded domains of two dimensions).
    threads : int
        Chunks of cells are taken by so many threads.
    resume : RegionCountResult, optional
        A count of the same network and domain that a budget ended, as it was returned or loaded: goes on from there.
        The answer is that of one run. Not in unbounded domains of up to 8 dimensions.
    progress : Progress, optional
        Budget and listener; a count that a budget ends is a lower bound, and the result says so.

    Returns
    -------
    RegionCountResult

    Raises
    ------
    ArgumentError, DataError
        For a domain that is flat, empty, or in another number of variables.

    Notes
    -----
    An activation region is a full-dimensional cell on which no unit changes its branch. Every sign is proven by a float
    error bound or decided in integers, so the count is that of the stored weights. Memory does not grow with the number
    of regions in bounded domains of up to 10 dimensions: polygons in two, vertex lists above. Unbounded domains are
    mapped to simplices; above 10 dimensions cells are inequalities, and linear programs with proven answers decide.

    Examples
    --------
    >>> import torch
    >>> import plica
    >>> layer = torch.nn.Linear(2, 3)
    >>> layer.weight.data, layer.bias.data = torch.tensor([[1.0, 0], [0, 1], [1, 1]]), torch.tensor([0.0, 0, -1])
    >>> net = plica.load(torch.nn.Sequential(layer, torch.nn.ReLU()), (2,))
    >>> plica.count_regions(net, plica.Box([-2, -2], [2, 2])).count
    7
    """
    progress, begun = progress or Progress(), time.perf_counter()
    asked = question_of(net, domain)
    check_numbers(max_regions, threads)
    before = taken_up(resume, planar=asked.planar)
    if asked.planar:
        found, status = _count_plane(asked, progress, (max_regions, threads), before)
    elif max_regions is not None:
        raise ArgumentError(
            "max_regions: it ends counts in a bounded plane only; end this one by time, "
            "progress=plica.Progress(max_seconds=...), or list the regions."
        )
    else:
        found = solid_count(asked.net, asked.where, progress=progress, workers=threads, resume=before)  # type: ignore[arg-type]
        status = Completeness.COMPLETE if found.complete else Completeness.BUDGET
    found = found if resume is None else _together(found, resume)
    if found.undecided:
        status = Completeness.BUDGET
    return count_result(asked, found, {"seconds": time.perf_counter() - begun}, status)


def _together(found: SolidCount, earlier: RegionCountResult) -> SolidCount:
    """A count that went on, with what was noted before; in the plane the frontier knows the counts per layer."""
    layers = found.layers
    if found.method != "polygons" and layers:
        layers = tuple(a + b for a, b in zip(layers, earlier.per_layer, strict=True))
    undecided = found.undecided + earlier.undecided
    return replace(found, layers=layers, signs=found.signs + earlier.decided, undecided=undecided)


def _count_plane(
    asked: Question, progress: Progress, limits: tuple[int | None, int], resume: Any
) -> tuple[SolidCount, Completeness]:
    """A count in the plane; an interrupt leaves nothing to go on with, as a step may have been half done."""
    most, threads = limits
    engine, before = begin(asked.net, asked.where, progress, resume)  # type: ignore[arg-type]
    if most is not None:
        engine.max_regions = most - before.count
    status = run_engine(engine, threads)
    found = tally_of(engine, before)
    return (replace(found, frontier=None) if status is Completeness.INTERRUPTED else found), status


def regions(
    net: Network,
    domain: Where | None,
    *,
    maps: bool = False,
    max_regions: int | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> RegionsResult:
    """List the activation regions of a network in a domain: patterns, vertices, facets, sizes, maps.

    Parameters
    ----------
    net : Network
    domain : Box, Ball, Polyhedron, Plane or Segment
        Bounded. As for `count_regions`. Regions that meet a ball are listed whole, inside the box around it.
    maps : bool
        Also the affine map of every region, its singular values, and which regions are one linear region: cells with
        equal maps, joined across shared facets. Equal is decided in integers where floats cannot tell.
    max_regions : int, optional
        Stop when so many are found, in any number of dimensions.
    threads, progress :
        As for `count_regions`.

    Returns
    -------
    RegionsResult
        Coordinates are those of the domain: inputs for a box, ball or polyhedron, s for a plane ``origin + basis s``.

    Raises
    ------
    ArgumentError, DataError
        For a domain that is unbounded, flat, empty, of more than 10 dimensions, or in another number of variables.
    MemoryBudgetError
        When the regions pass ``progress.max_bytes``; `stream_regions` hands them over in parts, `count_regions` keeps
        none.
    """
    progress, begun = progress or Progress(), time.perf_counter()
    asked = question_of(net, domain)
    check_numbers(max_regions, threads)
    status, count, decided, listed = _listed(asked, progress, max_regions, threads)
    fields: dict[str, np.ndarray] = {}
    if maps:
        fields, status = with_maps(asked, listed, progress, status)
    return result_of(asked, listed, (status, count, decided), fields, time.perf_counter() - begun)


def result_of(
    asked: Question,
    listed: Listed,
    tally: tuple[Completeness, tuple[int, ...], int],
    fields: dict[str, np.ndarray],
    seconds: float,
) -> RegionsResult:
    """Cells as a result; `tally` is the completeness, the counts per layer, and the signs decided in integers."""
    status, per_layer, decided = tally
    count = len(listed.first) - 1
    return RegionsResult(
        Standing.RIGOROUS, status, {"seconds": seconds}, count, asked.dimension,
        tuple(s.node.name for s in listed.plan), _per_layer(asked, per_layer, count), decided, listed.units,
        listed.codes, listed.bits, listed.vertices, listed.errors, listed.first, listed.corners, listed.facet_first,
        listed.facet_corner_first, listed.facet_corners, listed.facet_layers, listed.facet_units, listed.sizes,
        _size(asked.where), asked.origin, asked.basis, **fields,
    )  # fmt: skip


def _per_layer(asked: Question, counts: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Counts up to every choice node: up to the last they are all regions, and in a round ball no others are known."""
    if not counts:
        return counts
    round_ = isinstance(asked.where, Ball) and asked.where.norm == 2.0
    return ((0,) * (len(counts) - 1) if round_ else counts[:-1]) + (count,)


def _listed(
    asked: Question, progress: Progress, most: int | None, threads: int
) -> tuple[Completeness, tuple[int, ...], int, Listed]:
    """Completeness, regions per layer, signs decided in integers, and the cells."""
    where = listable(asked)
    if not asked.planar:
        solid = _solid(asked.net, where, progress, most)
        status = Completeness.COMPLETE if solid.count.complete else Completeness.BUDGET
        return status, solid.count.layers, solid.count.signs + solid.count.pieces, listed_solid(asked.net, solid)
    found: list[Found] = []
    held = 0

    def keep(cells: Found) -> None:
        nonlocal held
        found.append(cells)
        arrays = (cells.X, cells.keys, cells.polygons.index, cells.polygons.label, cells.polygons.words)
        held += 3 * sum(a.nbytes for a in arrays)
        refuse_above(progress.max_bytes, held, "The regions so far", INSTEAD)

    engine = engine_of(asked, progress, most, keep)
    status = run_engine(engine, threads)
    tally, listed = engine.tally, listed_plane(engine, found)
    if status is Completeness.COMPLETE and not listed.whole:
        status = Completeness.BUDGET
    return status, tuple(tally.cells), tally.exact_vertices + tally.exact_cells, listed


def listable(asked: Question) -> Box | Ball | Polyhedron:
    """The domain, where its regions can be listed."""
    if asked.where is None or not is_bounded(asked.where):
        raise ArgumentError("domain: it is unbounded; bound it, or only count: plica.count_regions.")
    if asked.dimension > VERTEX_VARIABLES:
        raise ArgumentError(
            f"domain: it has {asked.dimension} dimensions; regions are listed with their vertices in up to "
            f"{VERTEX_VARIABLES}. Count them (plica.count_regions), or list those on a slice "
            "(plica.Plane.through(points))."
        )
    return asked.where


def _solid(net: Network, where: Box | Ball | Polyhedron, progress: Progress, most: int | None) -> SolidRegions:
    """Cells in three to ten variables, all or so many."""
    if most is None:
        return solid_regions(net, where, progress=progress)
    parts: list[SolidCells] = []
    layers = (0,) * len(stages(net))
    for part in solid_stream(net, where, progress=progress):
        if isinstance(part, SolidCount):
            return SolidRegions(joined(parts), choice_spans(net), part)
        parts.append(part)
        refuse_above(progress.max_bytes, sum(2 * p.nbytes for p in parts), "The regions so far", INSTEAD)
        if sum(map(len, parts)) >= most:
            break
    some = SolidCount(sum(map(len, parts)), complete=False, method="vertices", layers=layers)
    return SolidRegions(joined(parts), choice_spans(net), some)


def with_maps(
    asked: Question, listed: Listed, progress: Progress, status: Completeness
) -> tuple[dict[str, np.ndarray], Completeness]:
    """Affine maps, singular values and linear regions; without the last when the budget ends before."""
    n, out, d = len(listed.first) - 1, math.prod(asked.net.output_shape), asked.dimension
    needed = 32 * n * out * (d + 1)
    refuse_above(progress.max_bytes, needed, f"Maps of {n} regions to {out} outputs", "Leave out maps=True.")
    branches = listed.branches()
    try:
        found = affine_maps(asked.net, listed.plan, branches, progress)
    except BudgetReached:
        return {}, Completeness.BUDGET
    fields = {"matrices": found.matrices, "offsets": found.offsets}
    fields["singular_values"] = np.linalg.svd(found.matrices, compute_uv=False)
    try:
        fields["linear"], _ = linear_regions(asked.net, listed.plan, branches, found, listed.pairs(), progress)
    except BudgetReached:
        return fields, Completeness.BUDGET
    return fields, status


def question_of(net: Network, domain: Any) -> Question:
    """The network in the domain's own coordinates."""
    if domain is not None and not isinstance(domain, Where):
        raise ArgumentError(
            f"domain: it is of type {type(domain).__name__}; give a plica.Box, Ball, Polyhedron, Plane or Segment, or "
            "None for all of space."
        )
    if isinstance(domain, Segment):
        domain = domain.plane()
    if not isinstance(domain, Plane):
        return Question(net, domain)
    if domain.window is None:
        raise ArgumentError(
            "domain: the plane is unbounded; give it a window, Plane(origin, basis, Box(lower, upper))."
        )
    if np.linalg.matrix_rank(domain.basis) < domain.dimension:
        raise DataError(
            f"domain: its basis spans less than {domain.dimension} dimensions (equal ends of a segment, or points on a "
            "line); give points that span it."
        )
    return Question(net.on(domain), domain.window, domain.origin, domain.basis)


def engine_of(asked: Question, progress: Progress, most: int | None, sink: Sink | None) -> Engine:
    """The planar engine for a question that is planar."""
    assert asked.where is not None  # planar domains are bounded
    window = window_of(domain_of(asked.where, asked.dimension))
    limit = math.inf if most is None else most
    return Engine(asked.net, window, progress, max_regions=limit, sink=sink)


def check_numbers(most: int | None, threads: int) -> None:
    """Refuse numbers below 1."""
    for name, value in (("max_regions", most), ("threads", threads)):
        if value is not None and value < 1:
            raise ArgumentError(f"{name} is {value}; it must be 1 or more.")


def run_engine(engine: Engine, threads: int) -> Completeness:
    """Run until nothing is left or a budget ends; what is left stays with the engine."""
    try:
        engine.run(threads)
    except BudgetReached:
        return Completeness.BUDGET
    except KeyboardInterrupt:
        return Completeness.INTERRUPTED
    return Completeness.COMPLETE


def count_result(asked: Question, found: SolidCount, header: dict[str, Any], status: Completeness) -> RegionCountResult:
    """A count as a result."""
    names = tuple(s.node.name for s in stages(asked.net))
    layers = _per_layer(asked, found.layers or (0,) * len(names), found.count)
    return RegionCountResult(
        Standing.RIGOROUS, status, header, found.count, asked.dimension, names,
        layers, found.signs + found.pieces, found.method, found.undecided, kept(found.frontier),
    )  # fmt: skip


def _size(where: Box | Ball | Polyhedron | None) -> float:
    """Volume of the domain, where it has a short formula."""
    return float(np.prod(where.upper - where.lower)) if isinstance(where, Box) else math.nan
