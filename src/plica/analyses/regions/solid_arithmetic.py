"""Compiled arithmetic of the float engine for solids: values with error bounds, vertices solved from their rows.

What is proven, and how, is in docs/regions-solid.md. The compiler's cache notices changes of a function's own file
only; after a change here, touch the files that import it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.core import cgutils
from numba.core.types import uint64 as _word
from numba.extending import intrinsic

FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
UNIT = 2.0**-53
SAFE = 1.0 + 2.0**-30  # covers the rounding of bounds that are themselves computed in floats
TINY = 2.0**-900  # covers underflow
BITS = 64


@intrinsic
def _ones(typing, word):
    """Return the number of bits that are set."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return _word(_word), generate


@intrinsic
def _lowest(typing, word):
    """Return the place of the lowest bit that is set."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], cgutils.true_bit)

    return _word(_word), generate


ones: Any = _ones
lowest: Any = _lowest


class Cells(NamedTuple):
    """Cells with their vertices and rows, one after the other."""

    X: np.ndarray  # (vertices, d)
    err: np.ndarray  # (vertices,), |x - exact x| <= err in every coordinate
    T: np.ndarray  # (vertices,), tight rows as bits
    vptr: np.ndarray  # (cells + 1,)
    R: np.ndarray  # (rows, d + 1)
    off: np.ndarray  # (rows,), |row - exact row| <= off in the domain
    code: np.ndarray  # (rows,)
    rptr: np.ndarray  # (cells + 1,)
    B: np.ndarray  # (cells, branches) int16
    at: np.ndarray  # (cells, 3): decision, candidate, opponent
    parent: np.ndarray  # (cells,)


class Forms(NamedTuple):
    """Forms of a stage on the same cells, and its decisions."""

    A: np.ndarray  # (cells, forms, d + 1)
    off: np.ndarray  # (cells, forms)
    size: np.ndarray  # (d,), largest |x_k| in the domain
    unit: np.ndarray  # (decisions,), column of the branches
    step: np.ndarray  # (decisions,) int16
    start: np.ndarray  # (decisions + 1,)
    position: np.ndarray  # (forms,) int16
    stage: int
    binary: bool


class Room(NamedTuple):
    """Scratch room for solving one vertex."""

    J: np.ndarray  # (rows, d + 2): rows (a, b) and how far they may be off
    M: np.ndarray  # (rows, 2 d + 1)
    x: np.ndarray  # (d,)


def room(d: int) -> Room:
    """Scratch room in d dimensions."""
    return Room(np.empty((BITS + d, d + 2)), np.empty((BITS + d, 2 * d + 1)), np.empty(d))


# --- values of forms --------------------------------------------------------------------------------------------


@njit(**FAST)
def fetch(forms, cell, f, against, row):
    """Write a form, or its difference to another one, into `row`; return how far it may be off in the domain."""
    d = len(forms.size)
    off = forms.off[cell, f]
    for k in range(d + 1):
        row[k] = forms.A[cell, f, k]
    if against >= 0:
        total = 0.0
        for k in range(d + 1):
            row[k] -= forms.A[cell, against, k]
            total += abs(row[k]) * (forms.size[k] if k < d else 1.0)
        off = (off + forms.off[cell, against] + UNIT * total) * SAFE
    return off


@njit(**FAST)
def weights(row, off, size):
    """Base and slope of the error bound: |computed value - exact value| <= base + slope err at a vertex."""
    d = len(size)
    slope, bulk = 0.0, abs(row[d])
    for k in range(d):
        slope += abs(row[k])
        bulk += abs(row[k]) * size[k]
    return (off + (d + 2) * UNIT * bulk) * SAFE + TINY, slope * SAFE * SAFE


@njit(**FAST)
def value(row, x):
    """Return a . x + b."""
    d = len(x)
    z = row[d]
    for k in range(d):
        z += row[k] * x[k]
    return z


@njit(**FAST)
def plainly_zero(row, off, x, err):
    """Whether a value that came out as 0 is exactly 0: row and vertex are exact, and nothing in the sum rounds."""
    d = len(x)
    if off != 0.0 or err != 0.0:
        return False
    whole = abs(row[d]) < 2.0**24 and row[d] * 2.0**20 == np.floor(row[d] * 2.0**20)
    vanish = row[d] == 0.0
    for k in range(d):
        vanish &= row[k] == 0.0 or x[k] == 0.0
        a, b = row[k] * 2.0**10, x[k] * 2.0**10
        whole &= abs(a) < 2.0**22 and abs(b) < 2.0**22 and a == np.floor(a) and b == np.floor(b)
    return vanish or whole


# --- vertices from their rows -----------------------------------------------------------------------------------


@njit(**FAST)
def _independent(J, n, d, M):
    """Move d independent rows to the front of J, by elimination with full pivoting; False when floats find too few."""
    for i in range(n):
        for k in range(d):
            M[i, k] = J[i, k]
    for s in range(d):
        best, at, pivot = 0.0, -1, -1
        for i in range(s, n):
            for k in range(d):
                if abs(M[i, k]) > best:
                    best, at, pivot = abs(M[i, k]), i, k
        if at < 0:
            return False
        for k in range(d):
            M[s, k], M[at, k] = M[at, k], M[s, k]
        for k in range(d + 2):
            J[s, k], J[at, k] = J[at, k], J[s, k]
        for i in range(s + 1, n):
            factor = M[i, pivot] / M[s, pivot]
            for k in range(d):
                M[i, k] -= factor * M[s, k]
            M[i, pivot] = 0.0
    return True


@njit(**FAST)
def _inverse(J, d, M):
    """Write an approximate inverse of the first d rows of J into columns d to 2 d of M; False when it breaks down."""
    for i in range(d):
        for k in range(d):
            M[i, k] = J[i, k]
            M[i, d + k] = 1.0 if i == k else 0.0
    for c in range(d):
        p = c
        for i in range(c + 1, d):
            if abs(M[i, c]) > abs(M[p, c]):
                p = i
        if M[p, c] == 0.0:
            return False
        if p != c:
            for k in range(2 * d):
                M[c, k], M[p, k] = M[p, k], M[c, k]
        scale = 1.0 / M[c, c]
        for k in range(c, 2 * d):
            M[c, k] *= scale
        for i in range(d):
            factor = M[i, c]
            if i != c and factor != 0.0:
                for k in range(c, 2 * d):
                    M[i, k] -= factor * M[c, k]
    return True


@njit(**FAST)
def solve(room, n, d):
    """Write the point where n rows of `room.J` vanish into `room.x`; return how far off it is, inf when not proven.

    With A x* + b = eta, |eta_i| <= off_i for the float rows (A, b) at the exact vertex x*, R an approximate inverse of
    A and g = |I - R A| < 1: |x - x*| <= |R| (|A x + b| + off) / (1 - g), in the largest-entry norm.
    """
    J, M, x = room.J, room.M, room.x
    if n < d or (n > d and not _independent(J, n, d, M)) or not _inverse(J, d, M):
        return np.inf
    for i in range(d):
        x[i] = 0.0
        for k in range(d):
            x[i] -= M[i, d + k] * J[k, d]
    for i in range(d):
        left, bulk = J[i, d], abs(J[i, d])
        for k in range(d):
            term = J[i, k] * x[k]
            left += term
            bulk += abs(term)
        M[i, 2 * d] = abs(left) + (d + 2) * UNIT * bulk + J[i, d + 1]
    g, bound = 0.0, 0.0
    for i in range(d):
        line, far = 0.0, 0.0
        for c in range(d):
            left, bulk = (-1.0 if c == i else 0.0), 1.0
            for k in range(d):
                term = M[i, d + k] * J[k, c]
                left += term
                bulk += abs(term)
            line += abs(left) + (d + 2) * UNIT * bulk
            far += abs(M[i, d + c]) * M[c, 2 * d]
        g, bound = max(g, line), max(bound, far)
    return bound / (1.0 - g) * SAFE + TINY if g < 0.5 else np.inf


@njit(**FAST)
def between(u, a, w, b, apart, x):
    """Where a form is zero between vertices u (value a) and w (value b): write x, return how far off it is.

    `u` and `w` are (point, err); `apart` bounds the errors of a and b. With t = a / (a - b) and its exact counterpart
    t* in [0, 1], x - x* = (1 - t*) (u - u*) + t* (w - w*) + (t - t*) (w - u), and |t - t*| <= apart / |a* - b*|.
    """
    gap = abs(a - b)
    t = a / (a - b)
    reach, far = 0.0, 0.0
    for k in range(len(x)):
        step = w[0][k] - u[0][k]
        x[k] = u[0][k] + t * step
        reach = max(reach, abs(step))
        far = max(far, abs(u[0][k]))
    sure = gap * (1.0 - 4.0 * UNIT) - 2.0 * apart
    if not sure > 0.0:
        return np.inf
    slip = (apart / sure + 4.0 * UNIT * (1.0 + abs(t))) * reach + 4.0 * UNIT * far
    return (max(u[1], w[1]) + slip) * SAFE + TINY
