"""Does a cell meet the interior of a ball? By a nearest point of its vertices, proven in floats or found exactly.

An open ball around c with radius r meets the interior of a polytope with interior exactly if it meets the polytope. A
convex combination of vertices nearer than r proves that it does; a direction x with x . (v - c) >= r |x| at all
vertices v, that it does not. Float candidates for both come from conditional gradients; what they leave open, above all
cells that only touch, is decided in rationals by Wolfe's algorithm (Finding the nearest point in a polytope, 1976),
which ends.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numba import njit

from plica.analyses.regions.solid_arithmetic import FAST, SAFE, TINY, UNIT
from plica.analyses.regions.solid_exact import Solid
from plica.core.domain import Ball

STEPS = 400


def near(points: np.ndarray, error: np.ndarray, first: np.ndarray, ball: Ball) -> np.ndarray:
    """Whether an open ball meets cells: 1 yes, -1 no, 0 not known.

    Parameters
    ----------
    points : ndarray, shape (v, d)
        Vertices of the cells, one cell after the other.
    error : ndarray, shape (v,)
        How far they are off in any coordinate.
    first : ndarray of int64, shape (cells + 1,)
    ball : Ball
        In the 2-norm.
    """
    out = np.zeros(len(first) - 1, np.int8)
    _near(points, error, first, ball.centre, ball.radius, out)
    return out


@njit(**FAST)
def _near(points, error, first, centre, radius, out):
    d = points.shape[1]
    longest = 0
    for cell in range(len(out)):
        longest = max(longest, first[cell + 1] - first[cell])
    P, e, share, x = np.empty((longest, d)), np.empty(longest), np.empty(longest), np.empty(d)
    for cell in range(len(out)):
        n = first[cell + 1] - first[cell]
        for v in range(n):
            far = 0.0
            for k in range(d):
                P[v, k] = points[first[cell] + v, k] - centre[k]
                far = max(far, abs(P[v, k]))
            e[v] = (error[first[cell] + v] + UNIT * far) * SAFE
        out[cell] = _decide(P[:n], e[:n], radius, share[:n], x)


@njit(**FAST)
def _decide(P, e, radius, share, x):
    """Decide about one polytope with vertices P, off by e, and the ball around 0."""
    n = len(P)
    best, start = np.inf, 0
    for v in range(n):
        share[v] = 0.0
        size = (P[v] * P[v]).sum()
        if size < best:
            best, start = size, v
    share[start] = 1.0
    for _ in range(STEPS):
        _combine(P, share, x)
        if _inside(P, e, radius, x):
            return 1
        low, high, toward, away = np.inf, -np.inf, 0, 0
        for v in range(n):
            z = (x * P[v]).sum()
            if z < low:
                low, toward = z, v
            if share[v] > 0.0 and z > high:
                high, away = z, v
        if _outside(P, e, radius, x):
            return -1
        if not low < high:
            return 0
        bend = ((P[toward] - P[away]) ** 2).sum()
        step = min((high - low) / bend if bend > 0.0 else 1.0, share[away])
        share[toward] += step
        share[away] -= step
    return 0


@njit(**FAST)
def _combine(P, share, x):
    """Write the combination of the vertices with these shares into x."""
    total = 0.0
    x[:] = 0.0
    for v in range(len(P)):
        if share[v] > 0.0:
            total += share[v]
            for k in range(len(x)):
                x[k] += share[v] * P[v, k]
    for k in range(len(x)):
        x[k] /= total


@njit(**FAST)
def _inside(P, e, radius, x):
    """Whether the exact combination behind x is nearer than the radius, for sure."""
    n, d = P.shape
    off, far = 0.0, 0.0
    for v in range(n):
        off = max(off, e[v])
        for k in range(d):
            far = max(far, abs(P[v, k]))
    off += (2 * n + 8) * UNIT * far
    size = np.sqrt((x * x).sum()) * (1.0 + (d + 4) * UNIT)
    return size + np.sqrt(float(d)) * off * SAFE + TINY < radius * (1.0 - 4.0 * UNIT)


@njit(**FAST)
def _outside(P, e, radius, x):
    """Whether x . p >= radius |x| at all vertices p, for sure."""
    n, d = P.shape
    reach = np.sqrt((x * x).sum()) * (1.0 + (d + 4) * UNIT) * radius
    slope = np.abs(x).sum()
    for v in range(n):
        z, bulk = 0.0, 0.0
        for k in range(d):
            z += x[k] * P[v, k]
            bulk += abs(x[k] * P[v, k])
        if not z - ((d + 2) * UNIT * bulk + slope * e[v]) * SAFE - TINY > reach * (1.0 + 4.0 * UNIT):
            return False
    return True


# --- exact ------------------------------------------------------------------------------------------------------


def exact_near(solid: Solid, ball: Ball) -> bool:
    """Whether an open ball meets a polytope, in rationals."""
    centre = [Fraction(float(c)) for c in ball.centre]
    points = [[Fraction(v, p[-1]) - c for v, c in zip(p[:-1], centre, strict=True)] for p in solid.points]
    limit = Fraction(float(ball.radius)) ** 2
    chosen = [min(range(len(points)), key=lambda v: _dot(points[v], points[v]))]
    share = [Fraction(1)]
    while True:
        x = _mixed(points, chosen, share)
        size = _dot(x, x)
        if size < limit:
            return True
        reach = [_dot(x, p) for p in points]
        least = min(reach)
        if least >= size or (least > 0 and least * least >= limit * size):
            return False
        chosen.append(reach.index(least))
        share.append(Fraction(0))
        chosen, share = _descend(points, chosen, share)


def _descend(points: list, chosen: list[int], share: list[Fraction]) -> tuple[list[int], list[Fraction]]:
    """Nearest point of the affine hull, or of the face where the way to it leaves the simplex; Wolfe's minor cycle."""
    while True:
        ideal = _affine_nearest([points[v] for v in chosen])
        if min(ideal) > 0:
            return chosen, ideal
        steps = [s / (s - t) for s, t in zip(share, ideal, strict=True) if t <= 0 and s != t]
        step = min(steps, default=Fraction(0))
        share = [s + step * (t - s) for s, t in zip(share, ideal, strict=True)]
        kept = [i for i, s in enumerate(share) if s > 0]
        chosen, share = [chosen[i] for i in kept], [share[i] for i in kept]


def _affine_nearest(points: list) -> list[Fraction]:
    """Shares, adding up to 1, of the point of the affine hull nearest to 0; the points are affinely independent."""
    n = len(points)
    rows = [[_dot(p, q) for q in points] + [Fraction(1), Fraction(0)] for p in points]
    rows.append([Fraction(1)] * n + [Fraction(0), Fraction(1)])
    for c in range(n + 1):
        p = next(r for r in range(c, n + 1) if rows[r][c])
        rows[c], rows[p] = rows[p], rows[c]
        rows[c] = [v / rows[c][c] for v in rows[c]]
        for r in range(n + 1):
            if r != c and rows[r][c]:
                rows[r] = [a - rows[r][c] * b for a, b in zip(rows[r], rows[c], strict=True)]
    return [row[n + 1] for row in rows[:n]]


def _mixed(points: list, chosen: list[int], share: list[Fraction]) -> list[Fraction]:
    return [sum((s * points[v][k] for v, s in zip(chosen, share, strict=True)), Fraction(0))
            for k in range(len(points[0]))]  # fmt: skip


def _dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))
