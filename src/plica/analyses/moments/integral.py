"""Covariances of rectified Gaussian pairs by one integral without cancellation: the compiled kernels.

For standard Gaussian X, Y with correlation r, thresholds a, b and phi2 their density at (a, b) for correlation t,

    Cov(relu(X + a), relu(Y + b)) = r Phi(a) Phi(b) + I(a, b, r),    I(a, b, r) = int_0^r (r - t) phi2(a, b; t) dt.

(Plackett, 1954: the second derivative of the left side by r is phi2.) The integrand is positive for r > 0, so nothing
cancels. For r < 0 substitute -t: I(a, b, r) = I(a, -b, |r|). With t = 2 w / (1 + w^2) no trigonometry is left and
Gauss-Legendre rules converge fast; from |r| = 0.95 on they run over y with t = tanh y, w = tanh(y / 2), which moves the
singularity at t = 1 to infinity; within EDGE of |r| = 1 the integral from |r| to 1 is known in closed form.

Matrices are done in tiles of the upper triangle; beside them nothing larger than a few tiles is held. All kernels stand
in this one file, because the compiler's cache notices changes of a function's own file only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
TILE_BITS = 6
TILE = 1 << TILE_BITS
CHUNK = 512  # pairs that one rule takes at a time: their arrays stay in the first-level cache
LIMIT = 40.0  # Phi(-40) is zero in float64: thresholds beyond it change nothing
EDGE = 2e-8
STEEP = 0.95

INV_2PI = 1 / (2 * math.pi)
SQRT_2PI = math.sqrt(2 * math.pi)
LOG2E = 1 / math.log(2)
LN2_HIGH = 6.93147180369123816490e-01  # 32 bits of log 2, so that n * LN2_HIGH is exact
LN2_LOW = 1.90821492927058770002e-10
SHIFT = 1.5 * 2.0**52  # adding it leaves the nearest integer in the low bits
BIAS, FRACTION = np.int64(1023), np.int64(52)


@njit(**FAST)
def _exp(x):
    """exp(x) for x <= 0, relative error below 1e-14; branch free, so that loops over it become vector code."""
    x = max(x, -700.0)
    shifted = x * LOG2E + SHIFT
    n = shifted - SHIFT
    y = (x - n * LN2_HIGH) - n * LN2_LOW
    p = 1 / 39916800.0
    p = p * y + 1 / 3628800.0
    p = p * y + 1 / 362880.0
    p = p * y + 1 / 40320.0
    p = p * y + 1 / 5040.0
    p = p * y + 1 / 720.0
    p = p * y + 1 / 120.0
    p = p * y + 1 / 24.0
    p = p * y + 1 / 6.0
    p = p * y + 0.5
    p = p * y + 1.0
    p = p * y + 1.0
    power = (np.float64(shifted).view(np.int64) + BIAS) << FRACTION
    return p * np.int64(power).view(np.float64)


@njit(**FAST)
def _density(a, b, w):
    """phi2(a, b; t) dt/dw, t, and 1 / (1 - t^2), at t = 2 w / (1 + w^2)."""
    plus, gap = 1 + w * w, (1 - w * w) * (1 - w * w)
    inverse = 1 / (gap * plus)
    turn = 2 * gap * inverse
    steep = plus * plus * inverse
    exponent = steep * (0.5 * (a - b) * (a - b) * plus + a * b * (1 - w) * (1 - w))
    return INV_2PI * turn * _exp(-exponent), w * turn, steep * plus


@njit(**FAST)
def _place(reach, x, steep):
    """w at the node x of [0, 1], and dw/dx, for w = reach x, or for w = tanh(reach x) beyond STEEP."""
    if not steep:
        return reach * x, reach
    u = _exp(-2 * reach * x)
    w = (1 - u) / (1 + u)
    return w, reach * (1 - w * w)


@njit(**FAST)
def _values(a, b, r, reach, steep, nodes, weights, value):
    """Add I of pairs by one rule to `value`; all arrays contiguous, one entry per pair."""
    for k in range(len(nodes)):
        x, weight = nodes[k], weights[k]
        for q in range(len(r)):
            w, stride = _place(reach[q], x, steep)
            density, t, _ = _density(a[q], b[q], w)
            value[q] += weight * stride * (r[q] - t) * density


@njit(**FAST)
def _slopes(a, b, r, reach, steep, nodes, weights, out):
    """Add I and its derivatives by a, b and r by one rule to the rows of `out`."""
    value, by_a, by_b, by_r = out[0], out[1], out[2], out[3]
    for k in range(len(nodes)):
        x, weight = nodes[k], weights[k]
        for q in range(len(r)):
            w, stride = _place(reach[q], x, steep)
            density, t, widen = _density(a[q], b[q], w)
            mass = weight * stride * density
            moment = mass * (r[q] - t)
            value[q] += moment
            by_a[q] -= moment * widen * (a[q] - t * b[q])
            by_b[q] -= moment * widen * (b[q] - t * a[q])
            by_r[q] += mass


@njit(**FAST)
def _at_one(a, b, ma, mb):
    """Cov(relu(Z + a), relu(Z + b)); `ma`, `mb` are (below, half, square) of a and b."""
    product = ma[1] * mb[1]
    if (a >= 0) != (b >= 0):
        return (mb[0] if a >= 0 else ma[0]) - product
    far = ma if abs(a) >= abs(b) else mb
    covariance = far[2] + abs(abs(a) - abs(b)) * far[1] - product
    return covariance if a < 0 else covariance + 1 - ma[0] - mb[0]


@njit(**FAST)
def _by_threshold_at_one(a, b, ma, mb):
    """Derivative of `_at_one` by a."""
    if a >= b:
        return (ma[0] if a >= 0 else 1 - ma[0]) * (mb[1] + max(b, 0.0))
    below = mb[1] if b >= 0 else mb[1] - b  # E relu(-Z - b)
    return math.exp(-0.5 * a * a) / SQRT_2PI - (1 - ma[0] if a >= 0 else ma[0]) * below


@njit(**FAST)
def _edge(a, b, r, ma, mb, out):
    """I and its derivatives within EDGE of r = 1.

    The integral from r to 1 in x = sqrt(1 - t^2), to relative order x^2: its terms are closed forms in
    E_n = int_0^q x^n exp(-(a - b)^2 / (2 x^2)) dx.
    """
    q, d = max(math.sqrt((1 - r) * (1 + r)), 1e-30), a - b
    upper_a, upper_b = (1 - ma[0] if a >= 0 else ma[0]), (1 - mb[0] if b >= 0 else mb[0])
    tail = SQRT_2PI * 0.5 * math.erfc(abs(d) / q / math.sqrt(2.0))
    last = q * math.exp(-0.5 * (d / q) ** 2)
    e0 = last - abs(d) * tail
    e2 = (q * q * last - d * d * e0) / 3
    front = INV_2PI * math.exp(-0.5 * max(a * b, 0.0))  # a b < 0 keeps a and b apart: then all E_n vanish
    moment = front * 0.5 * (q * q * e0 - e2)
    lean = front * 0.5 * (np.sign(d) * tail * q * q - d * e0)
    tie = 0.5 if d == 0 else 1.0
    out[0] = _at_one(a, b, ma, mb) - (1 - r) * min(upper_a, upper_b) + moment - r * upper_a * upper_b
    density_a, density_b = math.exp(-0.5 * a * a) / SQRT_2PI, math.exp(-0.5 * b * b) / SQRT_2PI
    out[1] = _by_threshold_at_one(a, b, ma, mb) - lean - 0.5 * b * moment - r * density_a * upper_b
    out[2] = _by_threshold_at_one(b, a, mb, ma) + lean - 0.5 * a * moment - r * density_b * upper_a
    if a <= b:
        out[1] -= tie * (1 - r) * density_a
    if b <= a:
        out[2] -= tie * (1 - r) * density_b
    out[3] = min(upper_a, upper_b) - upper_a * upper_b - front * e0


@njit(**FAST)
def _split(pending, r, limit, chosen):
    """Move the pairs with |r| <= limit from `pending` to `chosen`; return how many stay and how many moved."""
    stay = moved = 0
    for c in range(len(pending)):
        q = pending[c]
        within = abs(r[q]) <= limit
        pending[stay] = q
        chosen[moved] = q
        stay += not within
        moved += within
    return stay, moved


@njit(**FAST)
def _gather(units, knots, origin, r, chosen):
    """a, b with the sign of r, |r| of the chosen pairs of a tile."""
    a, b, size = np.empty(len(chosen)), np.empty(len(chosen)), np.empty(len(chosen))
    left, right = units.a[knots[0], origin[0] :], units.a[knots[1], origin[1] :]
    for c in range(len(chosen)):
        q = chosen[c]
        a[c] = left[q >> TILE_BITS]
        b[c] = math.copysign(1.0, r[q]) * right[q & (TILE - 1)]
        size[c] = abs(r[q])
    return a, b, size


@njit(**FAST)
def _reach(r, steep):
    """Upper end of the integral over w, or half that over y."""
    reach = np.empty(len(r))
    for c in range(len(r)):
        reach[c] = 0.5 * math.atanh(r[c]) if steep else r[c] / (1 + math.sqrt((1 - r[c]) * (1 + r[c])))
    return reach


@njit(**FAST)
def _edges(units, knots, origin, a, b, r, chosen, part):
    """`_edge` for the chosen pairs."""
    one = np.empty(4)
    for c in range(len(chosen)):
        k, i = knots[0], origin[0] + (chosen[c] >> TILE_BITS)
        m, j = knots[1], origin[1] + (chosen[c] & (TILE - 1))
        left = (units.below[k, i], units.half[k, i], units.square[k, i])
        right = (units.below[m, j], units.half[m, j], units.square[m, j])
        _edge(a[c], b[c], r[c], left, right, one)
        part[:, c] = one[: len(part)]


@njit(**FAST)
def _integrals(units, knots, origin, r, rule, out):
    """I of all pairs of a tile (row 0 of `out`) and, where `out` has four rows, its derivatives by a, b and r.

    All are 0 at r = 0. So are the correlations of a tile where it reaches beyond the matrix: nothing is read there.
    """
    out[:] = 0.0
    pending = np.flatnonzero(r)
    taken = np.empty_like(pending)
    for level in range(len(rule.limits) + 1):
        edge = level == len(rule.limits)
        stay, moved = _split(pending, r, 2.0 if edge else rule.limits[level], taken)
        pending = pending[:stay]
        steep = not edge and rule.limits[level] > STEEP
        for first in range(0, moved, CHUNK):
            chosen = taken[first : min(first + CHUNK, moved)]
            a, b, size = _gather(units, knots, origin, r, chosen)
            part = np.zeros((len(out), len(chosen)))
            if edge:
                _edges(units, knots, origin, a, b, size, chosen, part)
            else:
                rows = slice(rule.starts[level], rule.starts[level + 1])
                nodes, weights, reach = rule.nodes[rows], rule.weights[rows], _reach(size, steep)
                if len(out) == 1:
                    _values(a, b, size, reach, steep, nodes, weights, part[0])
                else:
                    _slopes(a, b, size, reach, steep, nodes, weights, part)
            _scatter(part, r, chosen, out)
        if stay == 0:
            return


@njit(**FAST)
def _scatter(part, r, chosen, out):
    """Put results back in their places, with the signs of I(a, b, r) = I(a, -b, -r)."""
    for c in range(len(chosen)):
        q = chosen[c]
        out[0, q] = part[0, c]
        if len(out) == 4:
            flip = math.copysign(1.0, r[q])
            out[1, q], out[2, q], out[3, q] = part[1, c], flip * part[2, c], flip * part[3, c]


@njit(**FAST)
def _correlations(S, inverse, origin):
    """Correlations of a tile above the diagonal, clamped to [-1, 1]; 0 elsewhere."""
    r, size = np.zeros(TILE * TILE), len(S)
    for i in range(origin[0], min(origin[0] + TILE, size)):
        row = (i - origin[0]) * TILE - origin[1]
        for j in range(max(origin[1], i + 1), min(origin[1] + TILE, size)):
            r[row + j] = min(max(np.float64(S[i, j]) * inverse[i] * inverse[j], -1.0), 1.0)
    return r


@njit(**FAST)
def _store(total, origin, out):
    """Write what lies above the diagonal of a tile to both halves of a symmetric matrix."""
    size = len(out)
    for i in range(origin[0], min(origin[0] + TILE, size)):
        row = (i - origin[0]) * TILE - origin[1]
        for j in range(max(origin[1], i + 1), min(origin[1] + TILE, size)):
            out[i, j] = total[row + j]
    for j in range(origin[1], min(origin[1] + TILE, size)):
        for i in range(origin[0], min(origin[0] + TILE, j)):
            out[j, i] = total[(i - origin[0]) * TILE + j - origin[1]]


@njit(**FAST)
def _bends(units, origin, r, rule):
    """sum_kl scale_ki scale_lj I(a_ki, a_lj, r_ij) for the pairs of a tile."""
    count, size = units.a.shape
    total, part = np.zeros(TILE * TILE), np.empty((1, TILE * TILE))
    for k in range(count):
        for m in range(count):
            _integrals(units, (k, m), origin, r, rule, part)
            for i in range(min(TILE, size - origin[0])):
                for j in range(min(TILE, size - origin[1])):
                    scale = units.scale[k, origin[0] + i] * units.scale[m, origin[1] + j]
                    total[i * TILE + j] += scale * part[0, i * TILE + j]
    return total


@njit(**FAST)
def fill(S, inverse, slope, units, rule, tiles, out):
    """Write slope_i slope_j S_ij + sum_kl scale_ki scale_lj I(a_ki, a_lj, r_ij) into the tiles of `out`, both halves.

    Parameters
    ----------
    S : ndarray, shape (p, p)
        Covariance before the choice; only the part above the diagonal is read.
    inverse, slope : ndarray, shape (p,)
        1 / sd (0 where sd = 0), and E f'(z).
    units : Units
    rule : Rules
    tiles : ndarray of int, shape (n, 2)
        The part of the upper triangle to do.
    out : ndarray, shape (p, p)
        The diagonal is left alone.
    """
    size = len(S)
    for tile in range(len(tiles)):
        origin = (tiles[tile, 0], tiles[tile, 1])
        total = _bends(units, origin, _correlations(S, inverse, origin), rule)
        for i in range(origin[0], min(origin[0] + TILE, size)):
            row = (i - origin[0]) * TILE - origin[1]
            for j in range(max(origin[1], i + 1), min(origin[1] + TILE, size)):
                total[row + j] += slope[i] * slope[j] * S[i, j]
        _store(total, origin, out)


@njit(**FAST)
def fill_block(S, corner, inverse, units, rule, tiles, out):
    """The second term of `fill` for a rectangle of the matrix that does not touch the diagonal.

    Parameters
    ----------
    S, out : ndarray, shape (rows, columns)
        The rectangle.
    corner : (int, int)
        The pair of units at its first entry.
    inverse, units, rule
        As for `fill`, of all units.
    tiles : ndarray of int, shape (n, 2)
        The part of the rectangle to do, counted from its first entry.
    """
    for tile in range(len(tiles)):
        first_i, first_j = tiles[tile]
        rows, columns = min(TILE, S.shape[0] - first_i), min(TILE, S.shape[1] - first_j)
        origin = (corner[0] + first_i, corner[1] + first_j)
        r = np.zeros(TILE * TILE)
        for i in range(rows):
            for j in range(columns):
                size = S[first_i + i, first_j + j] * inverse[origin[0] + i] * inverse[origin[1] + j]
                r[i * TILE + j] = min(max(size, -1.0), 1.0)
        total = _bends(units, origin, r, rule)
        for i in range(rows):
            for j in range(columns):
                out[first_i + i, first_j + j] = total[i * TILE + j]


@njit(**FAST)
def pull(S, inverse, units, rule, tiles, seed, out, sums):
    """Transpose of the derivative of `fill` without its first term.

    Parameters
    ----------
    seed : ndarray, shape (p, p)
        Derivative of a number by the output of `fill`, symmetric.
    out : ndarray, shape (p, p)
        Receives, in the tiles, its derivative by S at fixed standard deviations; symmetric.
    sums : ndarray, shape (3, knots, p)
        Receives (is added to) the derivatives by `units.a`, by `units.scale`, and by log `inverse`.
    """
    size, count = len(S), len(units.a)
    part = np.empty((4, TILE * TILE))
    for tile in range(len(tiles)):
        origin = (tiles[tile, 0], tiles[tile, 1])
        r = _correlations(S, inverse, origin)
        total = np.zeros(TILE * TILE)
        for k in range(count):
            for m in range(count):
                _integrals(units, (k, m), origin, r, rule, part)
                for i in range(origin[0], min(origin[0] + TILE, size)):
                    row = (i - origin[0]) * TILE - origin[1]
                    for j in range(max(origin[1], i + 1), min(origin[1] + TILE, size)):
                        q, g = row + j, 2 * np.float64(seed[i, j])  # (i, j) and (j, i)
                        left, right = units.scale[k, i], units.scale[m, j]
                        weight = g * left * right
                        along = weight * part[3, q]
                        total[q] += 0.5 * along * inverse[i] * inverse[j]
                        sums[0, k, i] += weight * part[1, q]
                        sums[0, m, j] += weight * part[2, q]
                        sums[1, k, i] += g * right * part[0, q]
                        sums[1, m, j] += g * left * part[0, q]
                        sums[2, k, i] += along * r[q]
                        sums[2, m, j] += along * r[q]
        _store(total, origin, out)
