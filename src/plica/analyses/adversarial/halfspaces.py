"""Shortest steps into several half-spaces at once, within a box, row by row in compiled code.

Projected Newton on the dual (Bertsekas 1982), which has one unknown per half-space; every Newton step solves its
quadratic model under the signs of the unknowns exactly, so that two or three passes over a row are enough.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from plica.analyses.adversarial.kernels import FAST

PROJECT = 30  # Newton steps
HALVINGS = 10
RIDGE = 1e-10  # of the Hessian, as a share of its diagonal


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
def _residuals(cuts, needs, weights, step, sizes, out):
    """What every half-space still misses, and the worst of it as a length."""
    worst = 0.0
    for j in range(len(needs)):
        row = cuts[j]
        s = 0.0
        for i in range(len(step)):
            s += row[i] * step[i]
        out[j] = needs[j] - s
        off = out[j] / np.sqrt(sizes[j])
        worst = max(worst, abs(off) if weights[j] > 0 else off)
    return worst


@njit(**FAST)
def _hessian(cuts, open_, free, sizes, scaled, out):
    """Products of the open half-spaces over the free variables; zeros for the others."""
    m, d = len(open_), len(free)
    for j in range(m):
        for k in range(m):
            out[j, k] = 0.0
    for j in range(m):
        if not open_[j]:
            continue
        one = cuts[j]
        for i in range(d):
            scaled[i] = free[i] * one[i]
        for k in range(j + 1):
            if open_[k]:
                two, s = cuts[k], 0.0
                for i in range(d):
                    s += scaled[i] * two[i]
                out[j, k] = out[k, j] = s + RIDGE * sizes[j] if j == k else s


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
def _newton(H, g, weights, open_, trial):
    """Weights >= 0, those held at 0 that are not open, where the quadratic model is largest; false if none is found.

    An active set (Lawson and Hanson 1974): on towards the maximum of those not held, and where one weight reaches 0
    first it is held too; at the end those that want to grow are let go.
    """
    m = len(g)
    M, rhs, way, inside = np.empty((m, m)), np.empty(m), np.empty(m), open_.copy()
    trial[:] = weights
    for _ in range(4 * m):
        for j in range(m):
            rhs[j] = g[j] if inside[j] else 0.0
            for k in range(m):
                both = inside[j] and inside[k]
                M[j, k] = H[j, k] if both else (1.0 if j == k else 0.0)
                rhs[j] += H[j, k] * (weights[k] - trial[k]) if inside[j] else 0.0
        if not _solve(M, rhs, way):
            return False
        share = 1.0
        for j in range(m):
            if trial[j] + way[j] < 0:
                share = min(share, trial[j] / -way[j])
        for j in range(m):
            held = trial[j] + way[j] < 0 and trial[j] <= -share * way[j]
            trial[j] = 0.0 if held else trial[j] + share * way[j]
            inside[j] = inside[j] and not held
        if share < 1:
            continue
        best, most = -1, 0.0
        for j in range(m):
            if open_[j] and not inside[j]:
                rise = g[j]
                for k in range(m):
                    rise += H[j, k] * (weights[k] - trial[k])
                if rise > most + 1e-12 * abs(g[j]):
                    best, most = j, rise
        if best < 0:
            return True
        inside[best] = True
    return True


@njit(**FAST)
def _project(cuts, needs, sizes, low, high, weights, step):
    """Shortest step in the box with cuts_j.step >= needs_j for all j; the worst violation as a length.

    Projected Newton on the dual (Bertsekas 1982): concave, piecewise quadratic, one unknown per half-space.
    """
    m, d = cuts.shape
    free, scaled, open_ = np.empty(d), np.empty(d), np.zeros(m, dtype=np.bool_)
    g, way, trial, H = np.zeros(m), np.zeros(m), weights.copy(), np.zeros((m, m))
    best, worst = -np.inf, np.inf
    for _ in range(PROJECT):
        share = 1.0
        for _ in range(HALVINGS):
            value = _pull(cuts, trial, low, high, step, free)
            for j in range(m):
                value += trial[j] * needs[j]
            if value >= best - 1e-13 * abs(best):
                break
            share *= 0.3
            for j in range(m):
                trial[j] = weights[j] + share * way[j]
        best = value
        weights[:] = trial
        worst = _residuals(cuts, needs, weights, step, sizes, g)
        length = 0.0
        for i in range(d):
            length += step[i] * step[i]
        if worst <= 1e-8 * np.sqrt(length):
            break
        for j in range(m):
            open_[j] = weights[j] > 0 or g[j] > 0
        _hessian(cuts, open_, free, sizes, scaled, H)
        if not _newton(H, g, weights, open_, trial):
            break
        for j in range(m):
            way[j] = trial[j] - weights[j]
    return worst


@njit(**FAST)
def drop(rows, cuts, values, points, slot, use):
    """Half-spaces of some rows, except the one at `slot`, out of use where points violate them.

    Parameters
    ----------
    rows : ndarray of int, shape (k,)
    cuts : ndarray, shape (n, m, d)
    values : ndarray, shape (n, m)
    points : ndarray, shape (k, d)
    slot : int
    use : ndarray of bool, shape (n, m)
        Overwritten.
    """
    for r in range(len(rows)):
        for j in range(cuts.shape[1]):
            row, value = cuts[rows[r], j], values[rows[r], j]
            if j == slot or not use[rows[r], j]:
                continue
            s = 0.0
            for i in range(len(row)):
                s += float(row[i]) * float(points[r, i])
            use[rows[r], j] = s >= value - 1e-6 * abs(value)


@njit(**FAST)
def project(rows, x, given, box, weights, out, worst):
    """Nearest points v of the box with cuts_j.v >= values_j for all j in use, norm 2, one problem per row.

    Parameters
    ----------
    rows : ndarray of int, shape (k,)
        Those of n problems that are asked for.
    x : ndarray, shape (k, d)
    given : tuple of ndarray
        cuts, shape (n, m, d); values, shape (n, m); and which are in use, bool, shape (n, m): half-spaces without a
        normal are taken out.
    box : pair of ndarray, shape (d,)
    weights : ndarray of float, shape (n, m)
        Multipliers to start from; overwritten.
    out : ndarray of float, shape (k, d)
        The steps v - x.
    worst : ndarray of float, shape (k,)
        By how much, as a length, the worst half-space is missed.
    """
    cuts, values, use = given
    m, d = cuts.shape[1:]
    low, high = np.empty(d), np.empty(d)
    some, needs, sizes, start = np.empty((m, d)), np.empty(m), np.empty(m), np.empty(m)
    for k in range(len(rows)):
        r, count = rows[k], 0
        for i in range(d):
            low[i], high[i] = box[0][i] - x[k, i], box[1][i] - x[k, i]
        for j in range(m):
            if not use[r, j]:
                continue
            row, need, size = some[count], values[r, j], 0.0
            for i in range(d):
                a = float(cuts[r, j, i])
                row[i] = a
                size += a * a
                need -= a * float(x[k, i])
            use[r, j] = size > 0
            if size > 0:
                needs[count], sizes[count], start[count] = need, size, weights[r, j]
                count += 1
        worst[k] = _project(some[:count], needs[:count], sizes[:count], low, high, start[:count], out[k])
        count = 0
        for j in range(m):
            weights[r, j] = 0.0
            if use[r, j]:
                weights[r, j] = start[count]
                count += 1
