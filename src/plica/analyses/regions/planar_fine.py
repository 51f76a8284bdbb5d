"""Lines, points and affine maps of planar cells with twice the digits of a float: compiled kernels.

A number is a float and a second one below its last bit (Dekker, 1971); sums and products of floats come without error
in two floats (Knuth; with a fused multiply-add). A *line* is (c, c', a, a', b, b', e): the form c + a x + b y, each
coefficient off by at most e. A *point* is (x, x', y, y', d), at most d from its exact place. A *map* is (H, L, error):
constant and two columns of an affine map as H + L, each column off by at most its error in the Euclidean norm.

**Bounds** (u = 2^-53). The value of a line at a point adds six products to a second float that is never above
``2 u size``, size = |c| + |a x| + |b y|: at most ``64 u^2 size``. A row of n terms is a compensated sum; what it keeps
in the second float is at most ``(n + 2) u S``, S the sum of the terms' sizes, and rounds fewer than 4 (n + 2) times:
``4 (n + 2)^2 u^2 S`` (Ogita, Rump, Oishi, 2005, s. 4, with the second float kept). A point on two lines is improved by
Newton's method; its distance is not that of the iteration but measured: residues r, s on lines with gradients g, h mean
at most ``(r |h| + s |g|) / |g x h|``.

Errors do not chain from vertex to vertex: every value comes from the cell's own map, composed from the first layer on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from plica.analyses.regions.planar_kernels import FAST, UNIT

FINE = 64.0 * UNIT * UNIT
STEPS = 4  # of Newton's method; each adds about a float's digits less the lines' condition
TINY = 1e-290  # covers underflow


def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), generate


fma: Any = intrinsic(_fma)


@njit(**FAST)
def two_sum(a, b):
    """a + b as a float and its error."""
    s = a + b
    z = s - a
    return s, (a - (s - z)) + (b - z)


@njit(**FAST)
def value_at(line, point):
    """Value of a line at a point as two floats, and the size of its terms."""
    s, c, size = line[0], line[1], abs(line[0])
    for q in range(2):
        g, h, x, y = line[2 + 2 * q], line[3 + 2 * q], point[2 * q], point[2 * q + 1]
        p = g * x
        s, d = two_sum(s, p)
        c += (d + fma(g, x, -p)) + (g * y + h * x)
        size += abs(p)
    s, c = two_sum(s, c)
    return s, c, size


@njit(**FAST)
def length(line):
    """Upper bound of a gradient's length."""
    return 1.0001 * np.sqrt(line[2] * line[2] + line[4] * line[4]) + 2.0 * line[6]


@njit(**FAST)
def error_at(line, point, size):
    """How far the value of a line at the exact place of a point may be from that at the point."""
    return 1.0001 * (FINE * size + line[6] * (1.0 + abs(point[0]) + abs(point[2])) + length(line) * point[4]) + TINY


@njit(**FAST)
def sign_at(line, point):
    """Sign of a line at a point: 1, -1, or 0 when it is not told."""
    s, _, size = value_at(line, point)
    t = error_at(line, point, size)
    return 1 if s > t else (-1 if s < -t else 0)


@njit(**FAST)
def difference(a, b, out):
    """The line a - b."""
    size = 0.0
    for q in range(3):
        s, e = two_sum(a[2 * q], -b[2 * q])
        out[2 * q], out[2 * q + 1] = two_sum(s, e + (a[2 * q + 1] - b[2 * q + 1]))
        size = max(size, abs(a[2 * q]) + abs(b[2 * q]))
    out[6] = 1.0001 * (a[6] + b[6] + FINE * size)


@njit(**FAST)
def meet(a, b, out):
    """Fill the point of two lines; False when floats do not tell whether they cross."""
    cross = a[2] * b[4] - a[4] * b[2]
    la, lb = length(a), length(b)
    least = abs(cross) - 16.0 * UNIT * la * lb - 4.0 * (la * b[6] + lb * a[6])
    if not least > 0.0:
        return False
    out[0], out[1], out[2], out[3], out[4] = 0.0, 0.0, 0.0, 0.0, 0.0
    for _ in range(STEPS):
        r, s = value_at(a, out)[0], value_at(b, out)[0]
        for q, step in ((0, (s * a[4] - r * b[4]) / cross), (2, (r * b[2] - s * a[2]) / cross)):
            high, low = two_sum(out[q], step)
            out[q], out[q + 1] = two_sum(high, low + out[q + 1])
    r, _, size = value_at(a, out)
    r = abs(r) + error_at(a, out, size)
    s, _, size = value_at(b, out)
    s = abs(s) + error_at(b, out, size)
    out[4] = 1.001 * (r * lb + s * la) / least
    return out[4] < np.inf


@njit(**FAST)
def corners_of(lines, out):
    """Corners of a polygon from the lines of its sides; corner i begins side i. False when floats do not tell."""
    sure = True
    for i in range(len(lines)):
        sure = sure and meet(lines[i - 1], lines[i], out[i])
    return sure


@njit(**FAST)
def values_at(lines, points, high, low, off):
    """Values of lines at points as two floats, shape (points, lines), and a bound of all errors at each point."""
    for i in range(len(points)):
        off[i] = 0.0
        for j in range(len(lines)):
            s, c, size = value_at(lines[j], points[i])
            high[i, j], low[i, j] = s, c
            off[i] = max(off[i], error_at(lines[j], points[i], size))


@njit(**FAST)
def round_at(H, L, points, out):
    """Values of a map at points, rounded, shape (points, units); the error of the map apart, about one unit each."""
    for i in range(len(points)):
        x, dx, y, dy = points[i, 0], points[i, 1], points[i, 2], points[i, 3]
        for j in range(len(H)):
            p, q = H[j, 1] * x, H[j, 2] * y
            s, d = two_sum(H[j, 0], p)
            s, e = two_sum(s, q)
            c = (d + fma(H[j, 1], x, -p)) + (e + fma(H[j, 2], y, -q)) + L[j, 0]
            c += (H[j, 1] * dx + L[j, 1] * x) + (H[j, 2] * dy + L[j, 2] * y)
            out[i, j] = s + c


@njit(**FAST)
def multiply_add(indptr, indices, data, H, L, out, rest):
    """out + rest += A (H + L) for a sparse matrix A; the result is normalised."""
    for i in range(len(out)):
        for q in range(3):
            s, c = out[i, q], rest[i, q]
            for at in range(indptr[i], indptr[i + 1]):
                w, j = data[at], indices[at]
                p = w * H[j, q]
                s, d = two_sum(s, p)
                c += (d + fma(w, H[j, q], -p)) + w * L[j, q]
            out[i, q], rest[i, q] = two_sum(s, c)


@njit(**FAST)
def divide_by(divisor, out, rest):
    """out + rest, divided row by row; off by less than 8 u^2 of the quotient."""
    for i in range(len(out)):
        for q in range(3):
            d = divisor[i]
            s = out[i, q] / d
            out[i, q], rest[i, q] = two_sum(s, (fma(-s, d, out[i, q]) + rest[i, q]) / d)


@njit(**FAST)
def choose(slope, shift, H, L, out, rest):
    """slope (H + L) + shift, row by row; off by less than 8 u^2 of the sizes."""
    for i in range(len(out)):
        for q in range(3):
            p = slope[i] * H[i, q]
            c = fma(slope[i], H[i, q], -p) + slope[i] * L[i, q]
            s, d = two_sum(p, shift[i] if q == 0 else 0.0)
            out[i, q], rest[i, q] = two_sum(s, c + d)
