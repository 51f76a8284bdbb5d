"""Lower and upper bounds for the number of linear regions, each with its source (Montúfar et al. 2014 and later)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from plica.analyses.regions.bound_result import BoundsResult
from plica.analyses.regions.bound_rows import Case, maxout_rows, network_rows, rectifier_rows
from plica.analyses.regions.layers import Layers, layers_of
from plica.core.network import Network
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError

KINDS = ("relu", "maxout")


def region_bounds(
    widths: Sequence[int] | Network,
    *,
    inputs: int | None = None,
    kind: str = "relu",
    rank: int | None = None,
    progress: Progress | None = None,
) -> BoundsResult:
    """Lower and upper bounds for the number of linear regions, as whole numbers, each with its source.

    Parameters
    ----------
    widths : sequence of int, or Network
        Units in each hidden layer of a fully connected network. Of a network the layers of choices are read; lower
        bounds are about all networks of an architecture, so they apply only to fully connected rectifier layers.
    inputs : int, optional
        Dimension n_0 of the input space. Needed with widths; for a network fewer than it has, for its restriction to a
        slice of that dimension.
    kind : {"relu", "maxout"}
        Of the units; not read for a network.
    rank : int, optional
        Affine functions per maxout unit, 2 or more.
    progress : Progress, optional
        Budgets of time and memory.

    Returns
    -------
    BoundsResult
        `rows`, and the best of them as `lower` and `upper`. Standing CERTIFIED: theorems evaluated in integers.

    Raises
    ------
    ArgumentError
        For widths, inputs, kind or rank that make no sense.
    MemoryBudgetError
        When the numbers themselves do not fit into ``progress.max_bytes``.

    Notes
    -----
    Upper bounds hold for all of R^n_0 and for every convex part of it; those for linear regions follow from those for
    activation regions, of which every linear region is a union. Lower bounds say that some network of the architecture
    has so many linear regions; a given network may have one.

    Examples
    --------
    >>> bounds = region_bounds([4, 4, 2], inputs=2)
    >>> bounds.row("Theorem 4").value, bounds.row("Montúfar 2017").value, bounds.upper
    (64, 484, 484)
    """
    start = time.monotonic()
    progress = progress or Progress()
    case = _case(widths, inputs, kind, rank, progress)
    _refuse_large(case)
    for rows in (rectifier_rows, maxout_rows) if case.kind != "network" else (network_rows,):
        rows(case)
    return BoundsResult(
        standing=Standing.CERTIFIED,
        completeness=Completeness.COMPLETE,
        header={"seconds": time.monotonic() - start},
        inputs=case.inputs,
        widths=case.widths,
        kind=case.kind,
        rank=case.rank,
        rows=tuple(case.rows),
    )


def _case(widths: Sequence[int] | Network, inputs: int | None, kind: str, rank: int | None, progress: Progress) -> Case:
    """Check the arguments."""
    if isinstance(widths, Network):
        layers = layers_of(widths, inputs)
        return Case(layers, "relu" if layers.is_rectifier_chain else "network", 2, progress)
    if kind not in KINDS:
        raise ArgumentError(f"kind = {kind!r}: choose 'relu' or 'maxout', or give a Network.")
    sizes = [inputs or 0, *widths]
    if any(int(n) != n or n < 1 for n in sizes):
        raise ArgumentError(f"inputs = {inputs}, widths = {list(widths)}: whole numbers from 1 on are needed.")
    if kind == "maxout" and (rank is None or int(rank) != rank or rank < 2):
        raise ArgumentError(f"rank = {rank}: a maxout unit takes the maximum of 2 or more; give rank=2, 3, ...")
    if kind == "relu" and rank not in (None, 2):
        raise ArgumentError(f"rank = {rank}: rectifiers have no rank; leave it out, or give kind='maxout'.")
    rank = int(rank or 2)
    faces = tuple({rank - 1: int(n)} for n in sizes[1:])
    return Case(Layers(int(sizes[0]), faces, kind == "relu", True, None), kind, rank, progress)


def _refuse_large(case: Case) -> None:
    """Refuse numbers that do not fit: 2^N, and the tables of the dimension that the sums are over."""
    bits = [sum(n * math.log2(f + 1) for f, n in layer.items()) for layer in case.layers.faces]
    largest = max(bits, default=0.0)
    table = case.inputs * min(sum(bits), len(bits) * case.inputs * math.log2(largest + 2))
    what = f"Bounds for {sum(case.widths)} units and {case.inputs} inputs need numbers of {int(sum(bits))} bits"
    refuse_above(case.progress.max_bytes, int(sum(bits) + 4 * table) // 8, what, "Give a slice: inputs=2, say.")
