"""Nearest point of a half-space in a box: enumeration of active sets (2-norm) and linear programs (inf, 1)."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.optimize import linprog


def distance(x, a, b, lower, upper, norm) -> float:
    """Distance from x to {v : a.v >= b, lower <= v <= upper}; inf where it is empty."""
    return _euclidean(x, a, b, lower, upper) if norm == 2 else _linear(x, a, b, lower, upper, norm)


def _euclidean(x, a, b, lower, upper) -> float:
    best = math.inf
    for sides in itertools.product((-1, 0, 1), repeat=len(x)):
        side = np.array(sides)
        fixed, free = np.where(side < 0, lower, upper), side == 0
        if not np.isfinite(fixed[~free]).all():
            continue
        v = np.where(free, x, fixed)
        gap, slope = b - a @ v, float(a[free] @ a[free])
        for shift in (0.0, gap / slope if slope > 0 else 0.0):
            w = np.where(free, x + shift * a, fixed)
            inside = (w >= lower - 1e-9).all() and (w <= upper + 1e-9).all()
            if inside and a @ w >= b - 1e-9 * (1 + abs(b)):
                best = min(best, float(np.linalg.norm(w - x)))
    return best


def _linear(x, a, b, lower, upper, norm) -> float:
    """Variables d+ and d- (and the largest entry t)."""
    n = len(x)
    bounds = [(0, u - v) for u, v in zip(upper, x, strict=True)] + [(0, v - u) for u, v in zip(lower, x, strict=True)]
    bounds = [(lo, None if math.isinf(hi) else hi) for lo, hi in bounds]
    rows, limits = [np.concatenate([-a, a])], [float(a @ x - b)]
    cost = np.ones(2 * n)
    if norm == math.inf:
        cost = np.concatenate([np.zeros(2 * n), [1.0]])
        rows = [np.concatenate([rows[0], [0.0]])]
        for i in range(n):
            row = np.zeros(2 * n + 1)
            row[[i, n + i]], row[-1] = 1.0, -1.0
            rows.append(row)
            limits.append(0.0)
        bounds.append((0, None))
    found = linprog(cost, A_ub=np.array(rows), b_ub=limits, bounds=bounds, method="highs")
    return float(found.fun) if found.status == 0 else math.inf
