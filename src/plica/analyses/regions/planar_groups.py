"""Cuts of a cell of the plane by maxima of three or more units (pooling, maxout): compiled kernels.

If one candidate of a group can win (`planar_rivals`) the group is settled; with two the cell is cut where they are
equal; with more it is clipped for each one by its ties with the others. (A running maximum would leave pieces that no
winner divides.) Three candidates of which two pairs tie in a point all tie there: of three such lines each pair meets
in the same vertex. At a new vertex every tie is evaluated, and no other candidate's float may pass those that can win:
so the float maximum of a row is the value of a right branch up to the bounds that the row carries.

New vertices are placed by floats as in `planar_kernels`, or on the lines themselves with twice the digits
(`planar_fine`), where a cell's lines are given that way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, uint64

from plica.analyses.regions.planar_fine import difference, meet, sign_at
from plica.analyses.regions.planar_kernels import DOUBT, FAST, FULL, NONE, UNIT, inside, on_side
from plica.analyses.regions.planar_rivals import tie_of


class Work(NamedTuple):
    """Scratch arrays for one cell with up to m corners and k ties; sizes in `make_work`.

    lines, points: those of the cell's sides and of the ties, and the vertices, as in `planar_fine`; only where `fine`.
    """

    P: np.ndarray
    W: np.ndarray
    off: np.ndarray
    most: np.ndarray
    G: np.ndarray
    corner: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    weights: np.ndarray
    source: np.ndarray
    table: np.ndarray
    made: np.ndarray
    stack: np.ndarray
    start: np.ndarray
    halves: np.ndarray
    buffers: np.ndarray
    lines: np.ndarray
    points: np.ndarray
    fine: np.ndarray


@njit(**FAST)
def make_work(m, k, fine):
    """Scratch arrays for cells with up to m corners and k ties, for any arrangement of k lines; `fine`: by lines."""
    most = m + 2 * k + k * (k - 1) // 2 + 8
    bits = (k + 63) // 64
    return Work(
        np.empty((m, 5)), np.empty((m, k)), np.empty(k), np.empty(k), np.empty((k, 7)), np.empty(3, np.int64),
        np.zeros((most, bits), np.uint64), np.zeros((most, bits), np.uint64), np.empty((most, 8)),
        np.empty((most, 5), np.int64), np.empty((m + k) * k + 1, np.int64), np.zeros(1, np.int64),
        np.empty((2, (k + 3) * (m + k + 4)), np.int64), np.empty((k + 4, 2), np.int64),
        np.empty((4, m + k + 4), np.int64), np.empty((4, m + k + 4), np.int64),
        np.empty((m + k if fine else 0, 7)), np.empty((most if fine else 0, 5)), np.full(1, fine),
    )  # fmt: skip


@njit(**FAST)
def gather_ties(c, chunk, bounds, groups, rivals, work):
    """Values, errors and signs of the ties at a cell's corners."""
    offset, index, _, X, Z, L = chunk
    row, shift, base, sign_base, reach, unit = bounds
    first, m, k = offset[c], offset[c + 1] - offset[c], rivals.at[1]
    work.off[:k], work.most[:k] = 0.0, 0.0
    for i in range(m):
        for q in range(5):
            work.P[i, q] = X[index[first + i], q]
    work.plus[:m], work.minus[:m] = uint64(0), uint64(0)
    for o in range(rivals.at[0]):
        for q in range(rivals.first[o], rivals.first[o + 1]):
            for r in range(rivals.first[o], q):
                f, h = rivals.candidate[q], rivals.candidate[r]
                if groups.unit[f] > groups.unit[h]:
                    f, h = h, f
                j = tie_of(groups.unit[f], groups.unit[h], rivals.tie, k)
                work.most[j] = 1.0001 * (row[f] + row[h]) * reach
                for i in range(m):
                    v = index[first + i]
                    x, y = Z[v, groups.unit[f]], Z[v, groups.unit[h]]
                    rounding = shift[f] + shift[h] + 4.0 * unit * (abs(x) + abs(y))
                    work.off[j] = max(work.off[j], 1.0001 * ((row[f] + row[h]) * base[v] + rounding))
                    gap = x - y if len(L) == 0 else (x - y) + (L[v, groups.unit[f]] - L[v, groups.unit[h]])
                    work.W[i, j] = gap
                    t = (row[f] + row[h]) * sign_base[v] + rounding
                    if gap > t:
                        work.plus[i, j >> 6] |= uint64(1) << uint64(j & 63)
                    elif -gap > t:
                        work.minus[i, j >> 6] |= uint64(1) << uint64(j & 63)


@njit(**FAST)
def fine_ties(sides, points, units, rivals, work):
    """Lines of a cell's sides and ties, and its corners, where they are given that way."""
    m = len(sides)
    work.lines[:m], work.points[:m] = sides, points
    for j in range(rivals.at[1]):
        difference(units[rivals.tie[j, 0]], units[rivals.tie[j, 1]], work.lines[m + j])


@njit(**FAST)
def third(p, q, j, rivals):
    """The tie that vanishes where units p and q tie and tie j does, if they have one unit in common; else -1."""
    a, b, k = rivals.tie[j, 0], rivals.tie[j, 1], rivals.at[1]
    if p in (a, b):
        return tie_of(q, b if p == a else a, rivals.tie, k)
    if q in (a, b):
        return tie_of(p, b if q == a else a, rivals.tie, k)
    return -1


@njit(**FAST)
def sign_bits(x, u, w, zero, base, k, work):
    """Signs of all ties at new vertex x between u and w, zero for those listed; False when floats do not tell."""
    fa, fb, fc, three = base
    weights, W, off, G, plus, minus = work.weights[x], work.W, work.off, work.G, work.plus, work.minus
    w0, w1, w2, delta, kappa = weights[0], weights[1], weights[2], weights[3], weights[6]
    plus[x], minus[x] = uint64(0), uint64(0)
    for f in range(k):
        word, bit = f >> 6, uint64(1) << uint64(f & 63)
        if f == zero[0] or f == zero[1] or f == zero[2]:
            continue
        if not (plus[u, word] | minus[u, word] | plus[w, word] | minus[w, word]) & bit:
            continue
        ya, yb = w0 * W[fa, f], w1 * W[fb, f]
        yc = w2 * W[fc, f] if three else 0.0
        size = abs(ya) + abs(yb) + abs(yc)
        error = 1.0001 * (kappa * off[f] + 8.0 * UNIT * size + G[f, 5] * delta)
        if three:
            error += 16.0 * UNIT * kappa * (abs(W[fa, f]) + abs(W[fb, f]) + abs(W[fc, f]))
        value = ya + yb + yc
        if value > error:
            plus[x, word] |= bit
        elif value < -error:
            minus[x, word] |= bit
        else:
            return False
    return True


@njit(**FAST)
def fine_bits(x, u, w, zero, m, k, work):
    """The same from the ties' lines."""
    plus, minus = work.plus, work.minus
    plus[x], minus[x] = uint64(0), uint64(0)
    for f in range(k):
        word, bit = f >> 6, uint64(1) << uint64(f & 63)
        if f == zero[0] or f == zero[1] or f == zero[2]:
            continue
        if not (plus[u, word] | minus[u, word] | plus[w, word] | minus[w, word]) & bit:
            continue
        sign = sign_at(work.lines[m + f], work.points[x])
        if sign > 0:
            plus[x, word] |= bit
        elif sign < 0:
            minus[x, word] |= bit
        else:
            return False
    return True


@njit(**FAST)
def new_vertex(u, w, side, j, m, rivals, old, work):
    """Number of the vertex where tie j cuts a side; made once. DOUBT when floats do not tell."""
    k = rivals.at[1]
    i, t = -1, -1
    if side < m:
        place = side * k + j
    else:
        i = side - m
        t = third(rivals.tie[i, 0], rivals.tie[i, 1], j, rivals)
        low, high = min(i, j), max(i, j)
        if t >= 0:
            low, high, t = min(low, t), low + high + t - min(low, t) - max(high, t), max(high, t)
        place = (m + low) * k + high
    x = work.table[place]
    if x >= 0:
        return x
    x = work.made[0]
    work.made[0] = x + 1
    work.table[place] = x
    if side < m:
        fa, fb, fc = side, side + 1 if side + 1 < m else 0, 0
        sure = work.fine[0] or on_side(fa, fb, j, work.P, work.W, work.off, work.G, work.weights[x])
        t = third((old[side] >> 24) & NONE, old[side] & NONE, j, rivals) if old[side] >= 0 else -1
    else:
        fa, fb, fc = work.corner[0], work.corner[1], work.corner[2]
        sure = work.fine[0] or inside(i, j, work.corner, work.P, work.off, work.G, work.weights[x])
        t = third(rivals.tie[i, 0], rivals.tie[i, 1], j, rivals)
    work.source[x, 0], work.source[x, 1], work.source[x, 2] = fa, fb, fc if i >= 0 else -1
    work.source[x, 3], work.source[x, 4] = j, i
    if work.fine[0]:
        sure = meet(work.lines[side], work.lines[m + j], work.points[x])
        return x if sure and fine_bits(x, u, w, (j, i, t), m, k, work) else DOUBT
    if not sure or not sign_bits(x, u, w, (j, i, t), (fa, fb, fc, i >= 0), k, work):
        return DOUBT
    return x


@njit(**FAST)
def cut(piece, size, j, m, rivals, old, work):
    """Split a piece (vertices, sides) by tie j into rows 0, 1 and 2, 3 of `halves`; their sizes, DOUBT or FULL."""
    plus, minus, halves = work.plus, work.minus, work.halves
    na, nb = 0, 0
    word, bit = j >> 6, uint64(j & 63)
    for i in range(size):
        if max(na, nb) + 2 > halves.shape[1] or work.made[0] >= len(work.weights):
            return FULL, FULL
        u, side = piece[0, i], piece[1, i]
        w = piece[0, i + 1] if i + 1 < size else piece[0, 0]
        su = np.int64((plus[u, word] >> bit) & uint64(1)) - np.int64((minus[u, word] >> bit) & uint64(1))
        sw = np.int64((plus[w, word] >> bit) & uint64(1)) - np.int64((minus[w, word] >> bit) & uint64(1))
        if su >= 0:
            halves[0, na], halves[1, na] = u, side if su > 0 or sw > 0 else m + j
            na += 1
        if su <= 0:
            halves[2, nb], halves[3, nb] = u, side if su < 0 or sw < 0 else m + j
            nb += 1
        if su * sw < 0:
            x = new_vertex(u, w, side, j, m, rivals, old, work)
            if x < 0:
                return DOUBT, DOUBT
            halves[0, na], halves[1, na] = x, m + j if su > 0 else side
            halves[2, nb], halves[3, nb] = x, side if su > 0 else m + j
            na, nb = na + 1, nb + 1
    return na, nb
