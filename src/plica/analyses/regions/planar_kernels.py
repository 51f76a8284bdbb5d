"""Splitting convex polygons by the lines of one stage: compiled kernels for two dimensions.

A cell is a polygon: vertex numbers in order, and a label for the side that begins at each. Signs of forms at vertices
are exact objects in {-, 0, +}, kept as two bit words; floats only filter them, and a cell whose signs floats do not
settle is handed back. A cell is cut by a form only if it is positive at one corner and negative at another, so a line
through a corner or along a side cuts nothing off.

**What is known of a vertex.** Let x* be its exact place and A the affine map of a cell there. One point x' near x*
serves all cells at the vertex: ``|row - A(x')| <= error`` (form by form: ``row_f base + offset_f``), |x' - x*| <=
delta, x' is within rho of the exact lines of the vertex's sides, and the stored coordinates are within eps of x'.
A form f is then off by at most its error plus |g_f| delta at x*, g_f its gradient on a cell of the vertex.

**Next stage.** With the right branches, the frozen choice and the affine nodes map row and A(x') alike, so x', delta
and rho stay and the error grows by norms only. Branches are right because signs are: where the float sign is beyond its
bound it is the sign at x*, hence the branch; where it is not, the vertex is recomputed exactly (x' = x*).

**New vertex** on the side (u, w), where form j changes sign: row and x' are the combination with weights 1 - t, t of
those at u and w, for the float t, whatever its rounding. The error is the larger of both plus rounding. The value of j
at x' is measured: at most r = |float value| + rounding + error. x' is within rho of the side's line (convexity), and
along that line j changes by at least 1/inv per length, where ``1/inv = (|z_j(w) - z_j(u)| - 2 error - 2 rho |g_j|) /
(|w - u| + 2 eps)``. So ``delta = (r + |g_j| rho) inv + rho``, and x' is within r inv of j's line.
**New vertex** on the lines of two forms i, j inside a cell: the combination of three corners with the weights that
make both vanish. Residues r_i, r_j are measured as above, and with X <= |g_i x g_j|,
``delta = (r_i |g_j| + r_j |g_i|) / X``; x' is within r_i / |g_i| and r_j / |g_j| of the lines.
A tight unit with knot zero is set to it exactly, which changes the row by r.
Gradients come from three corners: ``g = P^-1 dz`` with P the corners' differences, off by
``|P^-1| (4 error + 8 u |z|) + eta |g|``, where eta = |P^-1| |dP| (Higham, s. 7.1); never above their global bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint64

FAST: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
PART: dict[str, Any] = FAST | {"forceinline": True}  # parts of larger kernels: passing tuples of arrays costs more
UNIT = 2.0**-53
MOST = 256  # forms that cut one cell at a time; what is left is cut in the next round
NONE = 0xFFFFFF
KAPPA = 8.0  # more than any sum of |weights|: at most 7 for a point of a cell and three corners as `frame` takes them
DOUBT, FULL = -1, -2  # what a kernel answers instead of a size: floats do not tell; an array is too short


@njit(**PART)
def low_bit(x):
    """Number of trailing zeros of a nonzero word."""
    c = 0
    if x & uint64(0xFFFFFFFF) == 0:
        c += 32
        x >>= uint64(32)
    if x & uint64(0xFFFF) == 0:
        c += 16
        x >>= uint64(16)
    if x & uint64(0xFF) == 0:
        c += 8
        x >>= uint64(8)
    while x & uint64(1) == 0:
        c += 1
        x >>= uint64(1)
    return c


@njit(**FAST)
def pack_signs(C, row, offset, base, alive, again, POS, NEG, where):
    """Sign bits of forms at vertices; doubtful (vertex, form) go to `where` as far as they fit. Returns their number.

    A form of a constant unit is exact. `again`: a negative zero is one that was set for a tight unit, hence exact.
    """
    count, forms = C.shape
    doubts = 0
    for v in range(count):
        s = base[v]
        for w in range(POS.shape[1]):
            first = 64 * w
            bits = min(64, forms - first)
            p, q = uint64(0), uint64(0)
            for b in range(bits):
                z = C[v, first + b]
                t = row[first + b] * s + offset[first + b]
                p |= uint64(z > t) << uint64(b)
                q |= uint64(z < -t) << uint64(b)
            p &= alive[w]
            q &= alive[w]
            POS[v, w], NEG[v, w] = p, q
            open_ = alive[w] & ~(p | q)
            while open_:
                b = low_bit(open_)
                open_ &= open_ - uint64(1)
                z = C[v, first + b]
                if z != 0.0 or not (row[first + b] == 0.0 or (again and np.signbit(z))):
                    if doubts < len(where):
                        where[doubts, 0], where[doubts, 1] = v, first + b
                    doubts += 1
    return doubts


@njit(**FAST)
def room(have, need):
    """The next size of an array that has to hold `need` entries."""
    return have if need <= have else max(need, 2 * have)


@njit(**FAST)
def longer1(a, n):
    """The array with room for exactly n entries, n not below its length."""
    if n == len(a):
        return a
    b = np.empty(n, a.dtype)
    b[: len(a)] = a
    return b


@njit(**FAST)
def longer2(a, n):
    """The array with room for exactly n rows, n not below its length."""
    if n == len(a):
        return a
    b = np.empty((n, a.shape[1]), a.dtype)
    b[: len(a)] = a
    return b


@njit(**PART)
def frame(m, k, P, W, off, most, G, corner):
    """Three corners of a large triangle, and the gradients of the cell's forms with their errors.

    P (m, 6): x, y, delta, rho, eps of the corners. W (m, k): forms. G (k, 7): values at the three corners, gradient,
    upper bound of its length, its error.
    """
    one, far = 0, -1.0
    for i in range(1, m):
        d = (P[i, 0] - P[0, 0]) ** 2 + (P[i, 1] - P[0, 1]) ** 2
        if d > far:
            one, far = i, d
    two, far = 0, -1.0
    x1, y1 = P[one, 0] - P[0, 0], P[one, 1] - P[0, 1]
    for i in range(1, m):
        d = abs(x1 * (P[i, 1] - P[0, 1]) - y1 * (P[i, 0] - P[0, 0]))
        if i != one and d > far:
            two, far = i, d
    corner[0], corner[1], corner[2] = 0, one, two
    x2, y2 = P[two, 0] - P[0, 0], P[two, 1] - P[0, 1]
    det = x1 * y2 - x2 * y1
    share = 1.0 / det
    size, eps = 0.0, 0.0
    for i in range(3):
        c = corner[i]
        size, eps = max(size, abs(P[c, 0]), abs(P[c, 1])), max(eps, P[c, 4])
    inverse = 1.01 * np.sqrt(x1 * x1 + y1 * y1 + x2 * x2 + y2 * y2) / abs(det)
    eta = 2.0 * inverse * (4.0 * eps + 8.0 * UNIT * size)
    good = eta < 0.01
    for j in range(k):
        a, b, c = W[0, j], W[one, j], W[two, j]
        G[j, 0], G[j, 1], G[j, 2] = a, b, c
        d1, d2 = b - a, c - a
        gx, gy = (d1 * y2 - d2 * y1) * share, (x1 * d2 - x2 * d1) * share
        length = np.sqrt(gx * gx + gy * gy)
        error = 1.1 * (inverse * (4.0 * off[j] + 16.0 * UNIT * (abs(a) + abs(b) + abs(c))) + eta * length)
        upper = most[j]
        if good and length + error < upper:
            upper = (length + error) * 1.0001
        G[j, 3], G[j, 4], G[j, 5], G[j, 6] = gx, gy, upper, error if good else np.inf


@njit(**PART)
def on_side(a, b, j, P, W, off, G, out):
    """Vertex on the old side from corner a to b by form j: fills weights and bounds; False when floats do not tell."""
    za, zb = W[a, j], W[b, j]
    t = za / (za - zb)
    s = 1.0 - t
    r = abs(s * za + t * zb) + 4.0 * UNIT * (abs(s * za) + abs(t * zb)) + off[j]
    rho, eps = max(P[a, 3], P[b, 3]), max(P[a, 4], P[b, 4])
    dx, dy = P[b, 0] - P[a, 0], P[b, 1] - P[a, 1]
    size = max(abs(P[a, 0]), abs(P[a, 1]), abs(P[b, 0]), abs(P[b, 1]))
    length = 1.0001 * (np.sqrt(dx * dx + dy * dy) + 2.0 * eps + 4.0 * UNIT * size)
    change = 0.9999 * (abs(za - zb) - 2.0 * off[j]) - 2.0 * rho * G[j, 5]
    if not (change > 0.0 and 0.0 <= t <= 1.0):
        return False
    inv = length / change
    out[0], out[1], out[2] = s, t, 0.0
    out[3] = 1.0001 * ((r + G[j, 5] * rho) * inv + rho)
    out[4] = 1.0001 * max(rho, r * inv)
    out[5] = eps + 8.0 * UNIT * size
    out[6], out[7] = 1.0, r
    return True


@njit(**PART)
def inside(i, j, corner, P, off, G, out):
    """Vertex on the lines of forms i and j inside the cell; as `on_side`."""
    w0 = G[i, 1] * G[j, 2] - G[i, 2] * G[j, 1]
    w1 = G[i, 2] * G[j, 0] - G[i, 0] * G[j, 2]
    w2 = G[i, 0] * G[j, 1] - G[i, 1] * G[j, 0]
    total = w0 + w1 + w2
    w0, w1 = w0 / total, w1 / total
    w2 = 1.0 - w0 - w1
    kappa = 1.0001 * (abs(w0) + abs(w1) + abs(w2))
    if not kappa < KAPPA:
        return False
    ri = abs(w0 * G[i, 0] + w1 * G[i, 1] + w2 * G[i, 2])
    ri += kappa * (8.0 * UNIT * (abs(G[i, 0]) + abs(G[i, 1]) + abs(G[i, 2])) + off[i])
    rj = abs(w0 * G[j, 0] + w1 * G[j, 1] + w2 * G[j, 2])
    rj += kappa * (8.0 * UNIT * (abs(G[j, 0]) + abs(G[j, 1]) + abs(G[j, 2])) + off[j])
    li = np.sqrt(G[i, 3] ** 2 + G[i, 4] ** 2)
    lj = np.sqrt(G[j, 3] ** 2 + G[j, 4] ** 2)
    cross = abs(G[i, 3] * G[j, 4] - G[i, 4] * G[j, 3]) - 8.0 * UNIT * li * lj
    cross -= 1.0001 * (li * G[j, 6] + lj * G[i, 6] + G[i, 6] * G[j, 6])
    if not (cross > 0.0 and li > 2.0 * G[i, 6] and lj > 2.0 * G[j, 6]):
        return False
    size, eps = 0.0, 0.0
    for q in range(3):
        c = corner[q]
        size, eps = max(size, abs(P[c, 0]), abs(P[c, 1])), max(eps, P[c, 4])
    out[0], out[1], out[2] = w0, w1, w2
    out[3] = 1.0001 * (ri * G[j, 5] + rj * G[i, 5]) / cross
    out[4] = 1.0001 * max(ri / (li - G[i, 6]), rj / (lj - G[j, 6]))
    out[5] = kappa * (eps + 16.0 * UNIT * size)
    out[6], out[7] = kappa, ri + rj
    return True


@njit(**PART)
def inherit(x, u, w, j, plus, minus):
    """Signs of new vertex x that follow from its neighbours u and w; whether others than form j's are left open."""
    left = uint64(0)
    for word in range(plus.shape[1]):
        pu, nu, pw, nw = plus[u, word], minus[u, word], plus[w, word], minus[w, word]
        plus[x, word], minus[x, word] = (pu | pw) & ~(nu | nw), (nu | nw) & ~(pu | pw)
        open_ = (pu & nw) | (nu & pw)
        if word == j >> 6:
            open_ &= ~(uint64(1) << uint64(j & 63))
        left |= open_
    return left != 0


@njit(**PART)
def signs_at(x, u, w, j, base, cell, weights, signs):
    """Signs of the forms that differ at the neighbours u and w of new vertex x, evaluated; whether all are sure."""
    fa, fb, fc, three = base
    _, W, off, G, _ = cell
    plus, minus = signs
    w0, w1, w2, delta, kappa = weights[0], weights[1], weights[2], weights[3], weights[6]
    sure = True
    for word in range(plus.shape[1]):
        open_ = (plus[u, word] & minus[w, word]) | (minus[u, word] & plus[w, word])
        if word == j >> 6:
            open_ &= ~(uint64(1) << uint64(j & 63))
        while open_:
            b = low_bit(open_)
            open_ &= open_ - uint64(1)
            f = 64 * word + b
            ya, yb = w0 * W[fa, f], w1 * W[fb, f]
            yc = w2 * W[fc, f] if three else 0.0
            value = ya + yb + yc
            error = 1.0001 * (kappa * off[f] + 8.0 * UNIT * (abs(ya) + abs(yb) + abs(yc)) + G[f, 5] * delta)
            if three:
                error += 16.0 * UNIT * kappa * (abs(W[fa, f]) + abs(W[fb, f]) + abs(W[fc, f]))
            if value > error:
                plus[x, word] |= uint64(1) << uint64(b)
            elif value < -error:
                minus[x, word] |= uint64(1) << uint64(b)
            else:
                sure = False
    return sure


@njit(**PART)
def cut(piece, size, j, m, k, cell, tables, made, halves):
    """Split a piece by form j into `above` and `below` (vertices, sides); returns their sizes, DOUBT or FULL.

    piece (2, *): local vertices and side labels (side < m: an old side, else m + form). Vertices new to the cell are
    made once for each (side, form): `table` finds them again. made: number of vertices; whether places are wanted also
    where all signs are inherited (a crossing of lines inside then needs no float: signs alone prove it).
    """
    P, W, off, G, corner = cell
    plus, minus, table, weights, source = tables
    above, below = halves
    n_above, n_below = 0, 0
    word, bit = j >> 6, uint64(j & 63)
    for i in range(size):
        if max(n_above, n_below) + 2 > above.shape[1] or made[0] >= len(weights):
            return FULL, FULL
        u, side = piece[0, i], piece[1, i]
        w = piece[0, i + 1] if i + 1 < size else piece[0, 0]
        su = np.int64((plus[u, word] >> bit) & uint64(1)) - np.int64((minus[u, word] >> bit) & uint64(1))
        sw = np.int64((plus[w, word] >> bit) & uint64(1)) - np.int64((minus[w, word] >> bit) & uint64(1))
        if su >= 0:
            above[0, n_above], above[1, n_above] = u, side if su > 0 or sw > 0 else m + j
            n_above += 1
        if su <= 0:
            below[0, n_below], below[1, n_below] = u, side if su < 0 or sw < 0 else m + j
            n_below += 1
        if su * sw < 0:
            x = table[side * k + j]
            if x < 0:
                x = made[0]
                made[0] += 1
                table[side * k + j] = x
                left = inherit(x, u, w, j, plus, minus)
                if left or made[1]:
                    if side < m:
                        fa, fb, fc = side, side + 1 if side + 1 < m else 0, 0
                        sure = on_side(fa, fb, j, P, W, off, G, weights[x])
                    else:
                        fa, fb, fc = corner[0], corner[1], corner[2]
                        sure = inside(side - m, j, corner, P, off, G, weights[x])
                    source[x, 0], source[x, 1], source[x, 2] = fa, fb, fc if side >= m else -1
                    source[x, 3], source[x, 4] = j, side - m if side >= m else -1
                    base = (fa, fb, fc, side >= m)
                    if not sure or (left and not signs_at(x, u, w, j, base, cell, weights[x], (plus, minus))):
                        return DOUBT, DOUBT
            above[0, n_above], above[1, n_above] = x, m + j if su > 0 else side
            below[0, n_below], below[1, n_below] = x, side if su > 0 else m + j
            n_above, n_below = n_above + 1, n_below + 1
    return n_above, n_below
