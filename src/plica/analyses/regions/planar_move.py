"""Rows and places of the vertices that some cells need, old ones copied, new ones combined: compiled kernels."""

from __future__ import annotations

import numpy as np
from numba import njit

from plica.analyses.regions.planar_kernels import FAST


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
