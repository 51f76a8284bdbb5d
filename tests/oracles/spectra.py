"""Jacobians of small networks in exact rationals, their ranks, and their singular values in 60 digits.

Nothing here is shared with the library.
"""

from __future__ import annotations

from fractions import Fraction

from mpmath import mp

from oracles import networks

DIGITS = 60


def jacobian(net, branches, value):
    """Rows of the linear part of the affine map of given branches, from the input to a named value."""
    n = 1
    for size in net["input"]:
        n *= size
    zero = networks.run(net, [Fraction(0)] * n, branches)[0][value]
    columns = []
    for i in range(n):
        unit = [Fraction(int(j == i)) for j in range(n)]
        moved = networks.run(net, unit, branches)[0][value]
        columns.append([a - b for a, b in zip(moved, zero, strict=True)])
    return [list(row) for row in zip(*columns, strict=True)]


def rank(rows):
    """Rank by Gaussian elimination in rationals."""
    rows, found = [list(map(networks.rational, row)) for row in rows], 0
    width = len(rows[0]) if rows else 0
    for column in range(width):
        pivot = next((i for i in range(found, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        for i in range(found + 1, len(rows)):
            factor = rows[i][column] / rows[found][column]
            if factor:
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[found], strict=True)]
        found += 1
    return found


def singular_values(rows):
    """Singular values, decreasing, min(rows, columns) of them."""
    m, n = len(rows), len(rows[0]) if rows else 0
    if not m or not n:
        return []
    with mp.workdps(DIGITS):
        A = mp.matrix([[mp.mpf(v.numerator) / v.denominator for v in map(networks.rational, row)] for row in rows])
        if m < n:
            A = A.T
        return sorted((float(v) for v in mp.svd_r(A, compute_uv=False)), reverse=True)
