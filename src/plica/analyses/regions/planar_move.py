"""Rows and places of the vertices that some cells need, old ones copied, new ones combined: compiled kernels.

**Rows carried over a choice.** Let h = max(z, 0) be the float rows after a stage, c_i the corners that a new vertex x
combines with weights w_i, and ``A_i = W h(c_i) + b`` the rows of the next stage at the old corners. For every x

    W h(x) + b = sum w_i (W h(c_i) + b) + W d + (1 - sum w_i) b,    d = h(x) - sum w_i h(c_i),

and d_j is nothing but rounding for a unit j whose values at the c_i and at x have one sign. So a row of the next stage
costs as many columns of W as units bend between the corners, not all of them. Nothing is chained: the A_i come from
products. What rounds, with kappa = sum |w_i|, s = max |h(c_i)|, M the units that bend and u the unit of rounding:
the A_i, ``kappa gamma (| |W| | s + |b|)``; the weights' sum, ``4 u kappa |b|``; d, in M and outside,
``8 u (|h(x)| + kappa s)`` before W; and the sum of |M| + 3 terms, ``gamma_(|M| + 8)`` times their sizes.
All this is below ``kappa gamma size + gamma_(|M| + 32) (2 kappa size + size_x)`` with size = | |W| | s + |b|, and
unit by unit the same with the norm of the unit's row and its own bias.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from plica.analyses.regions.planar_kernels import FAST, PART, UNIT


@njit(**FAST)
def compact(index, stamp, out):
    """Number the vertices of some cells from 0 in order of appearance; `stamp` is -1 everywhere, also afterwards."""
    used, n = np.empty(len(index), np.int64), 0
    for i in range(len(index)):
        v = index[i]
        if stamp[v] < 0:
            stamp[v] = n
            used[n] = v
            n += 1
        out[i] = stamp[v]
    for i in range(n):
        stamp[used[i]] = -1
    return used[:n]


@njit(**FAST)
def combine(used, V, old, source, weights, tight, rectify, new):
    """Rows of vertices: old ones copied, new ones combined; tight (q, 2): units to set to zero, -1 for none.

    `rectify` applies max(., 0) at once. Bounds: the larger error, rounding, and the residues of the tight units.
    """
    (Y, error, norm), (out, out_error, out_norm) = old, new
    n = Y.shape[1]
    for a in range(len(used)):
        v = used[a]
        if v < V:
            for j in range(n):
                out[a, j] = Y[v, j]
            out_error[a], out_norm[a] = error[v], norm[v]
        else:
            q = v - V
            f0, f1, f2 = source[q, 0], source[q, 1], source[q, 2]
            w0, w1, w2, kappa = weights[q, 0], weights[q, 1], weights[q, 2], weights[q, 6]
            e, s = max(error[f0], error[f1]), max(norm[f0], norm[f1])
            if f2 < 0:
                for j in range(n):
                    out[a, j] = w0 * Y[f0, j] + w1 * Y[f1, j]
            else:
                e, s = max(e, error[f2]), max(s, norm[f2])
                for j in range(n):
                    out[a, j] = w0 * Y[f0, j] + w1 * Y[f1, j] + w2 * Y[f2, j]
            out_error[a] = 1.0001 * (kappa * (e + 16.0 * 2.0**-53 * s) + weights[q, 7])
            out_norm[a] = 1.0001 * kappa * s
            for b in range(2):
                if tight[q, b] >= 0:
                    out[a, tight[q, b]] = -0.0
        if rectify:
            square = 0.0
            for j in range(n):
                h = max(out[a, j], 0.0)
                out[a, j] = h
                square += h * h
            out_norm[a] = 1.0001 * np.sqrt(square) + 1e-290


@njit(**PART)
def weigh(corners, weights, Y, out):
    """Combination of two or three rows."""
    f0, f1, f2 = corners[0], corners[1], corners[2]
    w0, w1, w2 = weights[0], weights[1], weights[2]
    if f2 < 0:
        for j in range(Y.shape[1]):
            out[j] = w0 * Y[f0, j] + w1 * Y[f1, j]
    else:
        for j in range(Y.shape[1]):
            out[j] = w0 * Y[f0, j] + w1 * Y[f1, j] + w2 * Y[f2, j]


@njit(fastmath={"reassoc"}, **PART)
def positive_square(z):
    """Sum of squares of the positive entries, in any order."""
    total = 0.0
    for j in range(len(z)):
        h = max(z[j], 0.0)
        total += h * h
    return total


@njit(**FAST)
def positive_norms(Z, out):
    """Upper bounds of the norms of the positive parts of some rows."""
    for a in range(len(Z)):
        out[a] = 1.0001 * np.sqrt(positive_square(Z[a])) + 1e-290


@njit(**PART)
def bends(corners, Y, z, flags):
    """Mark the units that have both signs among some rows and z."""
    f0, f1 = corners[0], corners[1]
    f2 = corners[2] if corners[2] >= 0 else f1
    for j in range(len(z)):
        a, b, c, d = Y[f0, j], Y[f1, j], Y[f2, j], z[j]
        flags[j] = (min(min(a, b), min(c, d)) < 0.0) & (max(max(a, b), max(c, d)) > 0.0)


@njit(**FAST)
def carry(used, V, old, ahead, source, weights, node, new):
    """Rows of the next stage: those of old vertices copied, those of new ones combined (see the head of this file).

    Parameters
    ----------
    old : Y, error, norm
        Rows before the choice max(., 0), at the old vertices.
    ahead : A, error, norm, base, size
        Rows of the next stage at them, with bounds, and norms after the choice.
    source, weights
        Of the new vertices; columns 3 and 4 of source are the units that vanish there, -1 for none.
    node : columns, spectral, absolute, offset, rounding
        The dense node between: transposed weight, norms and rounding as in `NodeBound`.
    new : rows, error, norm, base
        What is filled in.
    """
    Y, error, norm = old
    A, A_error, A_norm, A_base, sizes = ahead
    columns, spectral, absolute, offset, rounding = node
    out, out_error, out_norm, out_base = new
    n = Y.shape[1]
    z, flags = np.empty(n), np.zeros((n + 7) // 8 * 8, np.uint8)
    groups = flags.view(np.uint64)
    for a in range(len(used)):
        v = used[a]
        if v < V:
            for i in range(A.shape[1]):
                out[a, i] = A[v, i]
            out_error[a], out_norm[a], out_base[a] = A_error[v], A_norm[v], A_base[v]
            continue
        q = v - V
        c, w = source[q], weights[q]
        weigh(c, w, Y, z)
        for b in range(3, 5):
            if c[b] >= 0:
                z[c[b]] = 0.0
        bends(c, Y, z, flags)
        for b in range(3, 5):
            if c[b] >= 0:
                flags[c[b]] = 1
        weigh(c, w, A, out[a])
        terms = 0
        for g in range(len(groups)):
            if groups[g] == 0:
                continue
            for j in range(8 * g, min(8 * g + 8, n)):
                if flags[j]:
                    terms += 1
                    d = w[0] * max(Y[c[0], j], 0.0) + w[1] * max(Y[c[1], j], 0.0)
                    if c[2] >= 0:
                        d += w[2] * max(Y[c[2], j], 0.0)
                    d = max(z[j], 0.0) - d
                    for i in range(A.shape[1]):
                        out[a, i] += d * columns[j, i]
        e, r, s = max(error[c[0]], error[c[1]]), max(norm[c[0]], norm[c[1]]), max(sizes[c[0]], sizes[c[1]])
        if c[2] >= 0:
            e, r, s = max(e, error[c[2]]), max(r, norm[c[2]]), max(s, sizes[c[2]])
        kappa, few = w[6], 1.0001 * UNIT * (terms + 32)
        e = 1.0001 * (kappa * (e + 16.0 * UNIT * r) + w[7])
        h = 1.0001 * np.sqrt(positive_square(z)) + 1e-290
        size, own = absolute * s + offset, absolute * h + offset
        out_error[a] = 1.0001 * (spectral * e + (rounding + 2.0 * few) * kappa * size + few * own)
        out_norm[a] = 1.0001 * own
        out_base[a] = 1.0001 * (e + (rounding + 2.0 * few) * kappa * s + few * h)


@njit(**FAST)
def places(used, V, X, source, weights, keys, names, out, out_keys):
    """Coordinates and bounds (x, y, delta, rho, eps) and keys of vertices."""
    for a in range(len(used)):
        v = used[a]
        if v < V:
            for j in range(5):
                out[a, j] = X[v, j]
            out_keys[a] = keys[v]
        else:
            q = v - V
            for j in range(2):
                total = weights[q, 0] * X[source[q, 0], j] + weights[q, 1] * X[source[q, 1], j]
                out[a, j] = total + (weights[q, 2] * X[source[q, 2], j] if source[q, 2] >= 0 else 0.0)
            for j in range(3):
                out[a, 2 + j] = weights[q, 3 + j]
            out_keys[a] = names[q]
