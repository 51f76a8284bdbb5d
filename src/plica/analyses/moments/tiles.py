"""Covariance matrices of choices of Gaussians, and their derivatives, tile by tile over the upper triangle.

A tile is TILE x TILE pairs; nothing larger than a tile times four is held beside the matrices themselves. The kernels
release the interpreter's lock: `over_tiles` runs them on threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit

from plica.analyses.moments.integral import FAST, TILE, integrals

SHARES = 8  # parts of the tiles per thread, so that threads end together


def tiles(size: int) -> np.ndarray:
    """Upper triangle of tiles of a matrix, shape (n, 2): first row and first column of each."""
    return TILE * np.column_stack(np.triu_indices(-(-size // TILE)))


def grid(rows: int, columns: int) -> np.ndarray:
    """All tiles of a matrix, shape (n, 2)."""
    return TILE * np.argwhere(np.ones((-(-rows // TILE), -(-columns // TILE))))


def over_tiles(every: np.ndarray, work: Callable[[np.ndarray], object]) -> list:
    """Results of `work` on parts of the tiles, on as many threads as torch uses."""
    threads = torch.get_num_threads()
    parts = [part for part in np.array_split(every, threads * SHARES) if len(part)]
    if threads == 1 or len(every) == 1:
        return [work(every)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


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
            integrals(units, (k, m), origin, r, rule, part)
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
                integrals(units, (k, m), origin, r, rule, part)
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
