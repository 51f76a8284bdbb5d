"""Nearest points of a half-space within a box, exact and batched, in the norms 2, inf and 1.

Each of the three problems has one unknown number, and the gain a.d as a function of it is increasing, concave and
piecewise linear. Newton's method from below reaches its root in finitely many steps and never passes it; in the 1-norm
a sort does (a fractional knapsack).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plica.analyses.adversarial import kernels

NORMS = (2.0, float("inf"), 1.0)
BLOCK_BYTES = 1 << 18  # of one array
STEPS = 60  # of Newton; each fills at least one more variable, and in practice three to six are enough


def length(d: Tensor, norm: float) -> Tensor:
    """Norm of every row of d, shape (n,)."""
    if norm == 2.0:
        return torch.linalg.vector_norm(d, dim=1)
    return d.abs().amax(dim=1) if norm == float("inf") else d.abs().sum(dim=1)


def compiled(x: Tensor, norm: float) -> bool:
    """Whether compiled code serves the norm where x is."""
    return norm != 1.0 and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def nearest(x: Tensor, a: Tensor, b: Tensor, box: tuple[Tensor, Tensor], norm: float) -> tuple[Tensor, Tensor]:
    """Nearest points v with a.v >= b in the box, one problem per row.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Inside the box.
    a : Tensor, shape (n, d)
    b : Tensor, shape (n,)
    box : pair of Tensor, shape (d,) or (n, d)
        Lower and upper bounds; infinite where there is none.
    norm : {2, inf, 1}

    Returns
    -------
    v : Tensor, shape (n, d)
        Where no point of the box satisfies a.v >= b: the point of the box with the largest a.v that moves no variable
        with a zero coefficient.
    reached : Tensor of bool, shape (n,)
        Whether one does, up to rounding.

    Notes
    -----
    On a processor the norms 2 and inf run row by row in compiled code; else rows are done in blocks.
    """
    if compiled(x, norm):
        return _compiled(x, a, b, box, norm)
    rows = max(1, BLOCK_BYTES // (x.element_size() * max(1, x.shape[1])))
    if len(x) <= rows:
        return _block(x, a, b, box, norm)
    sides = [side if side.ndim == 2 else side[None] for side in box]
    parts = []
    for i in range(0, len(x), rows):
        lower, upper = (side[i : i + rows] if len(side) > 1 else side for side in sides)
        parts.append(_block(x[i : i + rows], a[i : i + rows], b[i : i + rows], (lower, upper), norm))
    v, reached = zip(*parts, strict=True)
    return torch.cat(v), torch.cat(reached)


@dataclass(frozen=True)
class Pace:
    """How far a step goes.

    Attributes
    ----------
    ahead : float
        The aim is x + ahead * (nearest point - x).
    longest : Tensor, shape (n,)
        Length of the steps at most.
    share : float
        Of the way to the aim, at most.
    """

    ahead: float
    longest: Tensor
    share: float


def stride(
    x: Tensor, point: Tensor, margin: Tensor, slope: Tensor, pace: Pace, *, box: tuple[Tensor, Tensor], norm: float
) -> tuple[Tensor, Tensor]:
    """One step from every point towards the point of its linearised half-space that is nearest to x.

    Parameters
    ----------
    x, point : Tensor, shape (n, d)
    margin, slope : Tensor, shapes (n,) and (n, d)
        At `point`; the half-space is margin + slope.(v - point) >= 0.
    pace : Pace
    box : pair of Tensor, shape (d,)
    norm : {2, inf, 1}

    Returns
    -------
    moved : Tensor, shape (n, d)
    size : Tensor, shape (n,)
        Their distance from x; NaN for rows that stay because something is not finite.
    """
    if compiled(x, norm):
        moved, size = torch.empty_like(x), torch.empty_like(margin)
        given = tuple(t.contiguous().numpy() for t in (x, point, slope, margin))
        sides, eps = (box[0].numpy(), box[1].numpy()), torch.finfo(x.dtype).eps
        limits = pace.ahead, pace.longest.numpy(), pace.share
        kernels.stride(given, limits, sides, eps, norm == 2.0, moved.numpy(), size.numpy())
        return moved, size
    value = (slope * point).sum(1) - margin
    guess, _ = nearest(x, slope, value, box, norm)
    step = x + pace.ahead * (guess - x) - point
    share = (pace.longest / length(step, norm).clamp_min(1e-30)).clamp_max(pace.share)
    moved = torch.minimum(torch.maximum(point + share[:, None] * step, box[0]), box[1])
    usable = torch.isfinite(moved).all(1) & torch.isfinite(value)
    moved = torch.where(usable[:, None], moved, point)
    return moved, torch.where(usable, length(moved - x, norm), math.nan)


def _compiled(x: Tensor, a: Tensor, b: Tensor, box: tuple[Tensor, Tensor], norm: float) -> tuple[Tensor, Tensor]:
    """`_filled` in compiled code."""
    out, reached = np.empty(tuple(x.shape), x.numpy().dtype), np.empty(len(x), dtype=bool)
    low, high = ((side if side.ndim == 2 else side[None]).numpy() for side in box)
    eps = torch.finfo(x.dtype).eps
    kernels.fill(x.contiguous().numpy(), a.contiguous().numpy(), b.numpy(), low, high, eps, norm == 2.0, out, reached)
    return torch.from_numpy(out), torch.from_numpy(reached)


def _block(x: Tensor, a: Tensor, b: Tensor, box: tuple[Tensor, Tensor], norm: float) -> tuple[Tensor, Tensor]:
    lower, upper = box
    need = b - torch.linalg.vecdot(a, x)
    size, room = a.abs(), torch.where(a > 0, upper - x, x - lower)
    if norm == 1.0:
        step, reached = _greedy(size, room, need)
    else:
        step, reached = _filled(size, room, need, per_size=norm == 2.0)
    v = x + torch.copysign(step, a)
    return torch.minimum(torch.maximum(v, lower), upper), reached


def _filled(size: Tensor, room: Tensor, need: Tensor, *, per_size: bool) -> tuple[Tensor, Tensor]:
    """Steps min(t w, room) with the smallest t >= 0 such that sum size * step = need; w is `size`, or one."""
    dot = torch.linalg.vecdot
    weight = size if per_size else torch.ones_like(size)
    if not per_size:
        room = torch.where(size > 0, room, 0.0)
    tiny = 8 * torch.finfo(need.dtype).eps * need.abs()
    level, step, gain, short = torch.zeros_like(need), torch.zeros_like(size), torch.zeros_like(need), need
    for _ in range(STEPS):
        slope = dot(size, torch.where(step < room, weight, 0.0))
        go = (short > tiny) & (slope > 0)
        if not bool(go.any()):
            break
        level = torch.where(go, level + short / slope, level)
        step = torch.minimum(level[:, None] * weight, room)
        gain = dot(size, step)
        short = need - gain
    return step, short <= 1e3 * (tiny + 8 * torch.finfo(need.dtype).eps * gain)


def _greedy(size: Tensor, room: Tensor, need: Tensor) -> tuple[Tensor, Tensor]:
    """Fill the variables in order of falling size; the last one in part."""
    ordered, order = size.sort(dim=1, descending=True, stable=True)
    space = torch.where(ordered > 0, room.gather(1, order), torch.zeros_like(room))
    gain = torch.where(ordered > 0, ordered * space, torch.zeros_like(space))
    before = torch.cat([torch.zeros_like(gain[:, :1]), gain.cumsum(1)[:, :-1]], 1)
    rest = (need[:, None] - before).clamp_min(0.0)
    step = torch.minimum(rest / torch.where(ordered > 0, ordered, torch.ones_like(ordered)), space)
    out = torch.zeros_like(step).scatter(1, order, step)
    got = (size * out).sum(1)
    return out, got >= need - 1e4 * torch.finfo(need.dtype).eps * (need.abs() + got)
