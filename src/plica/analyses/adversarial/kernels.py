"""Inner loops of the search on the processor, row by row: nearest points of one half-space, and of several at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

FAST: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
NEWTON = 60  # of one half-space; each step fills at least one more variable, and three to six are enough in practice
PROJECT = 30  # Newton steps of several half-spaces
HALVINGS = 10
RIDGE = 1e-10  # of the Hessian, as a share of its diagonal


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

    Notes
    -----
    Steps are min(t w, room), w the size of the slope or one; Newton's method in t from below. Cost: three to six passes
    over a row.
    """
    n, d = x.shape
    for r in range(n):
        low, high = lower[r if len(lower) > 1 else 0], upper[r if len(upper) > 1 else 0]
        a, origin = slope[r], x[r]
        need = float(value[r])
        for i in range(d):
            need -= float(a[i]) * float(origin[i])
        tiny, level, gain = 8 * eps * abs(need), 0.0, 0.0
        for _ in range(NEWTON):
            gain, rise = 0.0, 0.0
            for i in range(d):
                g = float(a[i])
                size = abs(g)
                room = float(high[i]) - float(origin[i]) if g > 0 else float(origin[i]) - float(low[i])
                wanted = level * size if per_size else level
                full = wanted >= room
                gain += size * (room if full else wanted) if size > 0 else 0.0
                rise += 0.0 if full else (size * size if per_size else size)
            if not (need - gain > tiny and rise > 0):
                break
            level += (need - gain) / rise
        for i in range(d):
            g = float(a[i])
            room = float(high[i]) - float(origin[i]) if g > 0 else float(origin[i]) - float(low[i])
            step = min(level * abs(g) if per_size else (level if g != 0 else 0.0), room)
            v = origin[i] + (step if g > 0 else -step)
            out[r, i] = min(max(v, low[i]), high[i])
        reached[r] = need - gain <= 1e3 * (tiny + 8 * eps * gain)


@njit(**FAST)
def _pull(cuts, weights, low, high, step, free):
    """The step sum_j weights_j cuts_j, clipped, which variables are free, and its part of the dual value."""
    d = len(step)
    for i in range(d):
        step[i] = 0.0
    for j in range(len(weights)):
        w = weights[j]
        if w > 0:
            row = cuts[j]
            for i in range(d):
                step[i] += w * row[i]
    total = 0.0
    for i in range(d):
        u = step[i]
        s = min(max(u, low[i]), high[i])
        free[i] = 1.0 if low[i] < u < high[i] else 0.0
        step[i] = s
        total += (0.5 * s - u) * s
    return total


@njit(**FAST)
def _residuals(cuts, needs, use, weights, step, sizes, out):
    """What every half-space still misses, and the worst of it as a length."""
    worst = 0.0
    for j in range(len(needs)):
        out[j] = 0.0
        if not use[j]:
            continue
        row = cuts[j]
        s = 0.0
        for i in range(len(step)):
            s += row[i] * step[i]
        out[j] = needs[j] - s
        off = out[j] / np.sqrt(sizes[j])
        worst = max(worst, abs(off) if weights[j] > 0 else off)
    return worst


@njit(**FAST)
def _hessian(cuts, open_, free, sizes, out):
    """Products of the half-spaces over the free variables; ones for those that are held."""
    m, d = len(open_), len(free)
    for j in range(m):
        for k in range(j + 1):
            s = 0.0
            if open_[j] and open_[k]:
                one, two = cuts[j], cuts[k]
                for i in range(d):
                    s += free[i] * one[i] * two[i]
            if j == k:
                s = s + RIDGE * sizes[j] if open_[j] else 1.0
            out[j, k] = s


@njit(**FAST)
def _solve(H, g, way):
    """Cholesky in place, and the solution; false where the matrix is not positive."""
    m = len(g)
    for j in range(m):
        for k in range(j + 1):
            s = H[j, k]
            for i in range(k):
                s -= H[j, i] * H[k, i]
            if j == k:
                if s <= 0:
                    return False
                H[j, j] = np.sqrt(s)
            else:
                H[j, k] = s / H[k, k]
    for j in range(m):
        s = g[j]
        for i in range(j):
            s -= H[j, i] * way[i]
        way[j] = s / H[j, j]
    for j in range(m - 1, -1, -1):
        s = way[j]
        for i in range(j + 1, m):
            s -= H[i, j] * way[i]
        way[j] = s / H[j, j]
    return True


@njit(**FAST)
def _project(cuts, needs, use, low, high, weights, step):
    """Shortest step in the box with cuts_j.step >= needs_j for all j in use; the worst violation as a length.

    Projected Newton on the dual (Bertsekas 1982): concave, piecewise quadratic, one unknown per half-space.
    """
    m, d = cuts.shape
    free, sizes, open_ = np.empty(d), np.zeros(m), np.zeros(m, dtype=np.bool_)
    g, way, trial, H = np.zeros(m), np.zeros(m), weights.copy(), np.zeros((m, m))
    for j in range(m):
        for i in range(d if use[j] else 0):
            sizes[j] += float(cuts[j, i]) * float(cuts[j, i])
        use[j] = use[j] and sizes[j] > 0
        if not use[j]:
            trial[j] = weights[j] = 0.0
    best, worst = -np.inf, np.inf
    for _ in range(PROJECT):
        share = 1.0
        for _ in range(HALVINGS):
            value = _pull(cuts, trial, low, high, step, free)
            for j in range(m):
                value += trial[j] * needs[j] if use[j] else 0.0
            if value >= best - 1e-13 * abs(best):
                break
            share *= 0.3
            for j in range(m):
                trial[j] = max(0.0, weights[j] + share * way[j])
        best = value
        weights[:] = trial
        worst = _residuals(cuts, needs, use, weights, step, sizes, g)
        length = 0.0
        for i in range(d):
            length += step[i] * step[i]
        if worst <= 1e-8 * np.sqrt(length):
            break
        for j in range(m):
            open_[j] = use[j] and (weights[j] > 0 or g[j] > 0)
            g[j] = g[j] if open_[j] else 0.0
        _hessian(cuts, open_, free, sizes, H)
        if not _solve(H, g, way):
            break
        for j in range(m):
            trial[j] = max(0.0, weights[j] + way[j])
    return worst


@njit(**FAST)
def project(x, cuts, values, use, lower, upper, weights, out, worst):
    """Nearest points v of the box with cuts_j.v >= values_j for all j in use, norm 2, one problem per row.

    Parameters
    ----------
    x : ndarray, shape (n, d)
    cuts : ndarray, shape (n, m, d)
    values : ndarray, shape (n, m)
    use : ndarray of bool, shape (n, m)
    lower, upper : ndarray, shape (d,)
    weights : ndarray of float, shape (n, m)
        Multipliers to start from; overwritten.
    out : ndarray of float, shape (n, d)
        The steps v - x.
    worst : ndarray of float, shape (n,)
        By how much, as a length, the worst half-space is missed.
    """
    n, m, d = cuts.shape
    low, high, needs = np.empty(d), np.empty(d), np.empty(m)
    for r in range(n):
        for i in range(d):
            low[i], high[i] = lower[i] - x[r, i], upper[i] - x[r, i]
        for j in range(m):
            needs[j] = values[r, j]
            for i in range(d if use[r, j] else 0):
                needs[j] -= float(cuts[r, j, i]) * float(x[r, i])
        worst[r] = _project(cuts[r], needs, use[r], low, high, weights[r], out[r])
