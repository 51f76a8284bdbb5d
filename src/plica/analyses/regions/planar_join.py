"""Joining finished chunks of polygons: one number for each vertex, areas, sides; compiled kernels."""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from plica.analyses.regions.planar_kernels import FAST, NONE, UNIT
from plica.analyses.regions.planar_split import mix


@njit(**FAST)
def numbered(keys, seat):
    """Number equal keys alike, in order of appearance: the number of each entry, and where each number came first.

    `seat`: -1 everywhere, 2^k of them, more than there are keys, of a type that holds their numbers. Open addressing
    with linear steps (Knuth, The Art of Computer Programming 3, s. 6.4, algorithm L).
    """
    n, mask = len(keys), len(seat) - 1
    number, chosen, count = np.empty(n, seat.dtype), np.empty(n, seat.dtype), 0
    for i in range(n):
        at = np.int64(mix(keys[i]) & uint64(mask))
        while seat[at] >= 0 and keys[chosen[seat[at]]] != keys[i]:
            at = (at + 1) & mask
        if seat[at] < 0:
            seat[at] = count
            chosen[count] = i
            count += 1
        number[i] = seat[at]
    return number, chosen[:count]


@njit(**FAST)
def renumber(index, number, before, corners):
    """Fill the corners of a chunk's polygons with the numbers of their vertices; `before`: vertices of other chunks."""
    for i in range(len(index)):
        corners[i] = number[before + index[i]]


@njit(**FAST)
def settled(X, chosen, before, vertices, error):
    """Places of the chosen vertices of a chunk, and bounds of their distance to the exact ones."""
    for i in range(len(chosen)):
        v = chosen[i] - before
        x, y = X[v, 0], X[v, 1]
        vertices[i, 0], vertices[i, 1] = x, y
        error[i] = X[v, 2] + X[v, 4] + 4.0 * UNIT * max(abs(x), abs(y))


@njit(**FAST)
def outlines(vertices, corners, first):
    """Areas of polygons, each from its own first corner, and both ends of every side.

    Rounding can make the sum of a tiny area negative; the exact area is not, so zero is nearer to it.
    """
    areas, ends = np.empty(len(first) - 1), np.empty(2 * len(corners), corners.dtype)
    for c in range(len(first) - 1):
        a, b = first[c], first[c + 1]
        x0, y0 = vertices[corners[a], 0], vertices[corners[a], 1]
        total = 0.0
        for i in range(a, b):
            u, v = corners[i], corners[i + 1 if i + 1 < b else a]
            ends[2 * i], ends[2 * i + 1] = u, v
            total += (vertices[u, 0] - x0) * (vertices[v, 1] - y0) - (vertices[u, 1] - y0) * (vertices[v, 0] - x0)
        areas[c] = max(0.5 * total, 0.0)
    return areas, ends


@njit(**FAST)
def makers(label, owner, start, layers, units):
    """Fill in stage and unit behind every side, -1 for the window's; `owner[start[stage] + form]` is the unit."""
    for i in range(len(label)):
        layers[i], units[i] = -1, -1
        if label[i] >= 0:
            stage = label[i] >> 48
            layers[i], units[i] = stage, owner[start[stage] + ((label[i] >> 24) & NONE)]
