"""Inner loops of the search on the processor, row by row: nearest points of a half-space, and steps towards them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

FAST: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
NEWTON = 60  # of one half-space; each step fills at least one more variable, and three to six are enough in practice


@njit(**FAST)
def _fill(x, slope, value, low, high, eps, per_size, room, step):
    """Steps of the nearest point of one half-space into `step`; whether it is reached.

    Steps are min(t w, room), w the size of the slope or one; Newton's method in t from below. Cost: three to six passes
    over a row.
    """
    d = len(x)
    need = float(value)
    for i in range(d):
        g, v = float(slope[i]), float(x[i])
        need -= g * v
        step[i] = abs(g)
        room[i] = float(high[i]) - v if g > 0 else v - float(low[i])
    tiny, level, gain = 8 * eps * abs(need), 0.0, 0.0
    for _ in range(NEWTON):
        gain, rise = 0.0, 0.0
        for i in range(d):
            size = step[i]
            wanted = level * size if per_size else level
            full = wanted >= room[i]
            gain += size * (room[i] if full else wanted) if size > 0 else 0.0
            rise += 0.0 if full else (size * size if per_size else size)
        if not (need - gain > tiny and rise > 0):
            break
        level += (need - gain) / rise
    for i in range(d):
        size = step[i]
        length = min(level * size if per_size else (level if size > 0 else 0.0), room[i])
        step[i] = length if slope[i] > 0 else -length
    return need - gain <= 1e3 * (tiny + 8 * eps * gain)


@njit(**FAST)
def fill(x, slope, value, lower, upper, eps, per_size, out, reached):
    """Nearest points v with slope.v >= value in a box, norm 2 (`per_size`) or inf, one problem per row.

    Parameters
    ----------
    x, slope : ndarray, shape (n, d)
    value : ndarray, shape (n,)
    lower, upper : ndarray, shape (1, d) or (n, d)
    eps : float
        Unit of rounding of the caller's numbers.
    per_size : bool
    out : ndarray, shape (n, d)
    reached : ndarray of bool, shape (n,)
    """
    n, d = x.shape
    room, step = np.empty(d), np.empty(d)
    for r in range(n):
        low, high = lower[r if len(lower) > 1 else 0], upper[r if len(upper) > 1 else 0]
        reached[r] = _fill(x[r], slope[r], value[r], low, high, eps, per_size, room, step)
        for i in range(d):
            out[r, i] = min(max(x[r, i] + step[i], low[i]), high[i])


@njit(**FAST)
def _moved(x, step, share, low, high, euclidean, out):
    """The point x + share * step, inside the box; its distance in the norm 2 or inf, NaN where it is not a number."""
    total, bad = 0.0, False
    for i in range(len(x)):
        v = float(x[i]) + share * step[i]
        bad |= v != v
        v = min(max(v, float(low[i])), float(high[i]))
        out[i] = v
        off = abs(v - float(x[i]))
        total = total + off * off if euclidean else max(total, off)
    return np.nan if bad else (np.sqrt(total) if euclidean else total)


@njit(**FAST)
def stride(given, pace, box, eps, euclidean, out, size):
    """One step of every row towards the nearest point of its linearised half-space, norm 2 (`euclidean`) or inf.

    Parameters
    ----------
    given : tuple of ndarray
        The images and where the rows are, shape (n, d); there the slope, shape (n, d), and the margin, shape (n,).
    pace : tuple
        The aim is x + pace[0] * (nearest point - x); longest steps, shape (n,); largest share of the way to the aim.
    box : pair of ndarray, shape (d,)
    eps : float
    euclidean : bool
    out : ndarray, shape (n, d)
    size : ndarray, shape (n,)
        Distance of the new points from x; NaN, and the point as it was, where slope or margin are not finite.
    """
    x, point, slope, margin = given
    ahead, longest, share = pace
    low, high = box
    n, d = x.shape
    room, step = np.empty(d), np.empty(d)
    for r in range(n):
        value = -float(margin[r])
        for i in range(d):
            value += float(slope[r, i]) * float(point[r, i])
        if not np.isfinite(value):
            out[r], size[r] = point[r], np.nan
            continue
        _fill(x[r], slope[r], value, low, high, eps, euclidean, room, step)
        total = 0.0
        for i in range(d):
            to = float(point[r, i]) - float(x[r, i])
            step[i] = ahead * step[i] - to
            total = total + step[i] * step[i] if euclidean else max(total, abs(step[i]))
            room[i] = to
        total = np.sqrt(total) if euclidean else total
        part = min(longest[r] / max(total, 1e-30), share)
        for i in range(d):
            step[i] = room[i] + part * step[i]
        size[r] = _moved(x[r], step, 1.0, low, high, euclidean, out[r])


@njit(**FAST)
def slide(x, point, slope, climb, radius, box, euclidean, out, size):
    """Move every point uphill and onto a sphere around x, norm 2 (`euclidean`), or into a cube, norm inf.

    Parameters
    ----------
    x, point, slope : ndarray, shape (n, d)
    climb, radius : ndarray, shape (n,)
        Length of the step uphill, and of the step from x afterwards (at most, in the norm inf).
    box : pair of ndarray, shape (d,)
    euclidean : bool
    out : ndarray, shape (n, d)
    size : ndarray, shape (n,)
        Distance of the new points from x; NaN where a slope is not a number.
    """
    n, d = x.shape
    low, high = box
    step = np.empty(d)
    for r in range(n):
        total = 0.0
        for i in range(d if euclidean else 0):
            total += float(slope[r, i]) * float(slope[r, i])
        rate = (climb[r] / np.sqrt(total) if total > 0 else 0.0) if euclidean else climb[r]
        most, total = radius[r], 0.0
        for i in range(d):
            g = float(slope[r, i])
            u = float(point[r, i]) - float(x[r, i]) + rate * (g if euclidean else np.sign(g))
            step[i] = u if euclidean else min(max(u, -most), most)
            total += u * u
        share = most / np.sqrt(total) if euclidean and total > 0 else 1.0
        size[r] = _moved(x[r], step, share, low, high, euclidean, out[r])
