"""An activity as linear conditions: which units are held at their value, and which only below or above a knot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.network import INPUT, Network
from plica.core.pattern import Pattern
from plica.core.signs import difference_signs, signs
from plica.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class Activity:
    """Conditions on the values z that a layer's choices read, for one input (the witness).

    ``z[fixed]`` keeps its value; for every row r, ``sign[r] * (z[plus[r]] - z[minus[r]]) <= limit[r]``, where
    ``minus = -1`` stands for zero. They describe the witness's own branches; `alone` says whether these are all inputs
    with this activity.

    Attributes
    ----------
    fixed, plus, minus : ndarray of int
        Flat units of the value.
    sign : ndarray
        1 or -1.
    limit : ndarray
        The knot, times sign; 0 for differences.
    tight : ndarray of bool
        Rows in which the witness lies exactly on the limit.
    alone : bool
        Whether other branches give no further inputs with the same activity.
    mirrored : ndarray of int, optional
        Where all units are kept, and all that other branches can do is to give some of them their value on the other
        side of a knot (abs): these. None where other branches are not understood (max).
    """

    fixed: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    sign: np.ndarray
    limit: np.ndarray
    tight: np.ndarray
    alone: bool
    mirrored: np.ndarray | None = None


def read_value(net: Network, layer: str) -> str:
    """The value that a layer's conditions are about: what a choice reads, or an affine node's own output."""
    if layer == INPUT:
        raise ArgumentError("layer = 'input': the input keeps everything; name a later layer.")
    node = net[layer]
    return node.inputs[0] if isinstance(node.op, Choice) else layer


def activities(net: Network, x: Tensor, pattern: Pattern, layer: str) -> list[Activity]:
    """Return the activity of every input of a batch at a layer.

    Parameters
    ----------
    x : Tensor, shape (n, *input_shape)
    pattern : Pattern
        Of x.
    """
    op = net[layer].op
    if isinstance(op, Piecewise):
        sides = signs(net, x, pattern, read_value(net, layer), op.knots)
        return [_piecewise(op, sides[:, i].reshape(len(op.knots), -1)) for i in range(len(x))]
    if isinstance(op, MaxOver):
        return _max_over(net, op, x, pattern, layer)
    units = np.arange(math.prod(net.shape_of(layer)))
    return [_rows(units, [], alone=True) for _ in range(len(x))]


def _rows(fixed: np.ndarray, parts: list[tuple], *, alone: bool) -> Activity:
    """An activity from (plus, minus, sign, limit, tight) parts."""
    columns = [np.concatenate(c) if parts else np.zeros(0) for c in (zip(*parts, strict=True) if parts else [()] * 5)]
    plus, minus, sign, limit, tight = columns
    return Activity(
        fixed, plus.astype(int), minus.astype(int), sign.astype(float), limit.astype(float), tight.astype(bool), alone
    )


def _piecewise(op: Piecewise, side: np.ndarray) -> Activity:
    """Of a scalar function: a unit in a flat stretch is held only between the stretch's ends.

    `side` holds the exact sign of z - knot, shape (knots, units).
    """
    count, units = side.shape
    slopes, knots = _flat_tables(op)
    free, parts = np.zeros(units, dtype=bool), []
    for j in range(count + 1):
        inside = (slopes[j] == 0) & ~free
        if j > 0:
            inside &= side[j - 1] >= 0
        if j < count:
            inside &= side[j] <= 0
        free |= inside
        for sign, at, k in _ends(slopes, inside, j):
            parts.append((at, np.full(len(at), -1), np.full(len(at), sign), sign * knots[k][at], side[k][at] == 0))
    several = ((slopes > 0).any(0) & (slopes < 0).any(0)) if count else np.zeros(units, dtype=bool)
    if count == 1:
        several &= side[0] != 0  # at its turning point such a function has one value once
    held = _rows(np.flatnonzero(~free), parts, alone=not several.any())
    return replace(held, mirrored=np.flatnonzero(several)) if count == 1 and not free.any() else held


def _flat_tables(op: Piecewise) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and knots at every flat unit; a stretch without width counts as flat."""
    slopes, knots = (_spread(t, op.input_shape) for t in (op.slopes, op.knots))
    width = np.diff(knots, axis=0)
    return np.vstack([slopes[:1], np.where(width == 0, 0.0, slopes[1:-1]), slopes[-1:]]), knots


def _ends(slopes: np.ndarray, inside: np.ndarray, stretch: int) -> Iterator[tuple[float, np.ndarray, int]]:
    """Yield (sign, units, knot) for the ends of the flat stretch of the units inside, across flat neighbours."""
    for sign, ahead in ((1.0, range(stretch, len(slopes) - 1)), (-1.0, range(stretch - 1, -1, -1))):
        open_ = inside.copy()
        for knot in ahead:
            beyond = slopes[knot + 1] if sign > 0 else slopes[knot]
            yield sign, np.flatnonzero(open_ & (beyond != 0)), knot
            open_ &= beyond == 0


def _spread(table: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """A table of `Piecewise` at every flat unit, shape (rows, units)."""
    array = table.cpu().numpy()
    lifted = array.reshape(len(array), *(1,) * (len(shape) - array.ndim + 1), *array.shape[1:])
    return np.broadcast_to(lifted, (len(array), *shape)).reshape(len(array), -1)


def _max_over(net: Network, op: MaxOver, x: Tensor, pattern: Pattern, layer: str) -> list[Activity]:
    """Of a maximum: the winner is held, the others stay below it."""
    index = op.index.cpu().numpy()
    branches = pattern.branches[layer].flatten(1).cpu().numpy().astype(int)
    winners = np.take_along_axis(index[None], branches[:, :, None], 2)
    others = (index >= 0) & (np.arange(index.shape[1]) != branches[:, :, None])
    plus = [index[mask] for mask in others]
    minus = [np.broadcast_to(w, index.shape)[mask] for w, mask in zip(winners, others, strict=True)]
    sides = difference_signs(net, x, pattern, read_value(net, layer), plus, minus)
    return [
        _rows(np.unique(w), [(p, m, np.ones(len(p)), np.zeros(len(p)), s == 0)], alone=len(p) == 0)
        for w, p, m, s in zip(winners, plus, minus, sides, strict=True)
    ]


def loosen(held: Activity, values: np.ndarray, tolerance: np.ndarray) -> Activity:
    """The activity with every kept value allowed to move by a tolerance, shape (fixed,)."""
    at, count = held.fixed, len(held.fixed)
    return Activity(
        np.zeros(0, dtype=int),
        np.concatenate([held.plus, at, at]),
        np.concatenate([held.minus, np.full(2 * count, -1)]),
        np.concatenate([held.sign, np.ones(count), -np.ones(count)]),
        np.concatenate([held.limit, values[at] + tolerance, tolerance - values[at]]),
        np.concatenate([held.tight, np.zeros(2 * count, dtype=bool)]),
        held.alone,
    )


def steepness(net: Network, layer: str) -> np.ndarray:
    """How fast each unit's output can change with the value its choice reads: the largest slope's size, at least 1.

    Shape (units of the value,).
    """
    op, units = net[layer].op, math.prod(net.shape_of(read_value(net, layer)))
    return (
        np.maximum(1.0, np.abs(_spread(op.slopes, op.input_shape)).max(0))
        if isinstance(op, Piecewise)
        else np.ones(units)
    )
