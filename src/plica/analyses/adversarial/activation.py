"""Inputs that stimulate units of a layer most, over all inputs of a box instead of a set of images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from plica.analyses.adversarial.exact.largest import Largest
from plica.analyses.adversarial.exact.layers import Layers, prepare
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, BudgetReached, DataError, ShapeError


@dataclass(frozen=True, repr=False)
class LargestActivationResult(Result):
    """The largest values of units over a box, bracketed.

    Attributes
    ----------
    layer : str
    units : ndarray of int, shape (k,)
        Flat indices.
    inputs : ndarray, shape (k, *input_shape)
        The best input found for each unit, in the box; NaN where none was looked at.
    attained : ndarray, shape (k,)
        Proven to be reached there, in real arithmetic (rounded down); -inf where none was looked at.
    upper_bound : ndarray, shape (k,)
        No input of the box gives more; inf where nothing is proven.
    proven : ndarray of bool, shape (k,)
        Whether the two have met, up to a share of 1e-6.
    nodes : ndarray of int, shape (k,)
        Parts of the box that were bounded.
    """

    layer: str
    units: np.ndarray
    inputs: np.ndarray
    attained: np.ndarray
    upper_bound: np.ndarray
    proven: np.ndarray
    nodes: np.ndarray

    def summary(self) -> str:
        """A line per unit, for the first ones."""
        lines = [f"{self.layer}: {len(self.units)} units, {int(self.proven.sum())} largest values proven"]
        for k in range(min(len(self.units), 10)):
            found, high = self.attained[k], self.upper_bound[k]
            words = f"{found:.6g}, proven" if self.proven[k] else f"between {found:.6g} and {high:.6g}"
            lines.append(f"  unit {self.units[k]}: {words}")
        return "\n".join(lines)


def largest_activation(
    net: Network,
    *,
    layer: str | int,
    units: Sequence[int] | None = None,
    side: str = "post",
    box: Box | None = None,
    starts: Any = None,
    progress: Progress | None = None,
) -> LargestActivationResult:
    """Find the input of a box with the largest value of a unit, and prove that there is none better.

    Parameters
    ----------
    net : Network
    layer : str or int
    units : sequence of int, optional
        Flat indices; by default all units of the layer.
    side : {"post", "pre"}
        After the layer's own choices or before them.
    box : Box, optional
        Allowed inputs, bounded; by default the network's own box. One that is a point in some coordinates is fine.
    starts : array, shape (m, *input_shape), optional
        Inputs of the box from which the search climbs first, such as the images that stimulate a unit most
        (`maximisers`). The middle of the box is always tried.
    progress : Progress, optional
        A budget is shared evenly by the units that are left; what it leaves is a bracket.

    Returns
    -------
    LargestActivationResult
        RIGOROUS, for the real-arithmetic map of the stored weights. For the least value of a unit, negate the layer.

    Raises
    ------
    ArgumentError, DataError, ShapeError
        No bounded box, no such unit, or inputs outside the box.

    Notes
    -----
    Szegedy et al. (2013, eq. 1) take the largest over a held-out set of images; this is the question for all inputs.
    Branch and bound: linear bounds and a linear program per node, whose multipliers are evaluated with outward
    rounding (as in `min_distortion` with ``exact=True``), and climbs from piece to piece by linear programs for the
    other side. Cost: from one program to exponentially many in the number of units that the box leaves undecided.

    Examples
    --------
    >>> import torch
    >>> import plica
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.ReLU()).double()
    >>> module[0].weight.data[:] = torch.tensor([[1.0, -2.0]])
    >>> net = plica.load(module, (2,))
    >>> result = plica.largest_activation(net, layer=0, box=plica.Box([0, 0], [3, 1]))
    >>> round(float(result.upper_bound[0]), 6), result.inputs[0].tolist(), bool(result.proven[0])
    (3.0, [3.0, 0.0], True)
    """
    began, watch = time.monotonic(), progress or Progress()
    part = net.upto(layer, side).cast(torch.float64)
    wanted = _units(units, int(np.prod(part.output_shape)))
    low, high = _limits(box if box is not None else net.box, int(np.prod(part.input_shape)))
    base = prepare(part, max_bytes=watch.max_bytes)
    first = _starts(starts, low, high)
    middle = np.clip(0.5 * low + 0.5 * high, low, high)
    layers = base.at(middle, low, high)
    k = len(wanted)
    out = LargestActivationResult(
        Standing.RIGOROUS, Completeness.COMPLETE, {}, net.resolve(layer, side), wanted,
        np.full((k, len(low)), np.nan), np.full(k, -np.inf), np.full(k, np.inf), np.zeros(k, bool), np.zeros(k, int),
    )  # fmt: skip
    state = _fill(out, layers, (low, high), [np.zeros(len(low)), *(v - middle for v in first)], watch)
    inputs = out.inputs.reshape(k, *part.input_shape)
    return replace(out, completeness=state, header={"seconds": time.monotonic() - began}, inputs=inputs)


def _units(units: Sequence[int] | None, count: int) -> np.ndarray:
    wanted = np.arange(count) if units is None else np.asarray(units).reshape(-1)
    if wanted.dtype.kind not in "iu" or not len(wanted) or wanted.min() < 0 or wanted.max() >= count:
        raise ArgumentError(f"units = {units!r}: give flat indices from 0 to {count - 1}.")
    return wanted.astype(np.int64)


def _limits(box: Box | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The box's ends, which must be finite."""
    if box is None:
        raise ArgumentError("The largest value needs a bounded box of inputs: give box=plica.Box(0, 1), say.")
    if box.ambient not in (1, n):
        raise ShapeError(f"The box has {box.ambient} variables; the network reads {n}.")
    low, high = (np.broadcast_to(np.asarray(v, dtype=np.float64), (n,)).copy() for v in (box.lower, box.upper))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ArgumentError("The box is not bounded; the largest value may be infinite. Give finite limits.")
    return low, high


def _starts(starts: Any, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    if starts is None:
        return np.zeros((0, len(low)))
    given = np.asarray(starts, dtype=np.float64)
    if given.ndim < 2 or given[0].size != len(low):
        raise ShapeError(f"starts has shape {given.shape}; give a batch of inputs with {len(low)} numbers each.")
    given = given.reshape(len(given), -1)
    if not ((given >= low) & (given <= high)).all():
        raise DataError("starts: inputs lie outside the box, or are not finite.")
    return given


def _fill(
    out: LargestActivationResult,
    layers: Layers,
    box: tuple[np.ndarray, np.ndarray],
    starts: list[np.ndarray],
    watch: Progress,
) -> Completeness:
    """Search for one unit after the other, written into the result's arrays."""
    state = Completeness.COMPLETE
    for i, unit in enumerate(out.units):
        watch.report("units", i, len(out.units))
        if watch.seconds_left <= 0:
            return Completeness.BUDGET
        budget = watch if watch.max_seconds is None else watch.part(1 / (len(out.units) - i))
        aim = np.zeros((1, layers.classes))
        aim[0, unit] = 1.0
        search = Largest(layers, aim, box, budget)
        try:
            search.run(starts)
        except BudgetReached:
            state = Completeness.BUDGET
        except KeyboardInterrupt:
            state = Completeness.INTERRUPTED
        if search.x is not None:
            out.inputs[i] = search.x
        out.attained[i], out.upper_bound[i], out.nodes[i] = search.low, search.high, search.nodes
        out.proven[i] = search.closed
        if state is Completeness.INTERRUPTED:
            return state
    watch.report("units", len(out.units), len(out.units))
    return state
