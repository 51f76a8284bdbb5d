"""Linear regions of a network: counted, or listed with vertices, facets and maps (Montufar et al. 2014)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from plica.analyses.regions.cells import Listed
from plica.analyses.regions.listing import listing
from plica.analyses.regions.planar import begin, run_engine, tally_of
from plica.analyses.regions.question import Question, Where, check_numbers, listable, mark, question_of
from plica.analyses.regions.region_maps import affine_maps, linear_regions
from plica.analyses.regions.result import RegionCountResult, RegionsResult
from plica.analyses.regions.resume import kept, kept_whole, taken_up, taken_up_list
from plica.analyses.regions.solid import SolidCount, solid_count
from plica.analyses.regions.solid_stages import stages
from plica.core.domain import Ball, Box
from plica.core.network import Network
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached


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
    resume: RegionsResult | None = None,
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
    threads : int
        As for `count_regions`.
    resume : RegionsResult, optional
        A list of the same network and domain that a budget or `max_regions` ended, as it was returned or loaded: its
        regions and the rest, the list of one run (in a plane in the same order). Maps are those that this call asks
        for; where only they are left, only they are made.
    progress : Progress, optional
        Budget and listener; a list that a budget ends has the regions so far, and its `frontier` what is left.

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
    listable(asked)
    earlier = None if resume is None else taken_up_list(resume, mark(asked), planar=asked.planar)
    found = listing(asked, progress, max_regions, threads, earlier)
    status = found.status
    fields: dict[str, Any] = {"frontier": found.frontier}
    if maps:
        made, status = with_maps(asked, found.listed, progress, status)
        fields |= made
        if found.status is Completeness.COMPLETE and status is Completeness.BUDGET:
            fields["frontier"] = kept_whole(mark(asked), planar=asked.planar)
    tally = (status, found.layers, found.decided)
    return result_of(asked, found.listed, tally, fields, time.perf_counter() - begun)


def result_of(
    asked: Question,
    listed: Listed,
    tally: tuple[Completeness, tuple[int, ...], int],
    fields: Mapping[str, Any],
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
    fields = found.fields()
    try:
        fields["linear"] = linear_regions(asked.net, listed.plan, branches, found, listed.pairs(), progress)
    except BudgetReached:
        return fields, Completeness.BUDGET
    return fields, status


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
