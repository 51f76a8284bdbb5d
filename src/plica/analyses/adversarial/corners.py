"""Shortest steps in the norms 1 and inf that satisfy several half-spaces within a box: linear programs, one a row."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from plica.analyses.adversarial.exact.kernels import distance
from plica.core.progress import Progress
from plica.core.solve.warm import WarmProgram

GROWTHS = 30  # of the cube
ENOUGH = 1e-9  # share of a half-space's offset by which a step may miss it


def shortest(
    origin: np.ndarray,
    cuts: tuple[np.ndarray, np.ndarray, np.ndarray],
    box: tuple[np.ndarray, np.ndarray],
    norm: float,
    progress: Progress | None = None,
) -> np.ndarray:
    """Steps of least norm from every origin into its half-spaces; NaN where there is none.

    Parameters
    ----------
    origin : ndarray, shape (n, d)
        Inside the box.
    cuts : (normals, values, use), shapes (n, m, d), (n, m) and (n, m)
        The half-spaces normals.v >= values of every row, where `use`.
    box : pair of ndarray, shape (d,)
    norm : {1, inf}
    progress : Progress, optional
        Its seconds end a program too, with BudgetReached.

    Returns
    -------
    ndarray, shape (n, d)

    Notes
    -----
    Cost: one program of 2 d variables per row, or a few of d in the norm inf, with as many rows as half-spaces.
    """
    out = np.full(origin.shape, math.nan, dtype=np.float64)
    for i, x in enumerate(origin.astype(np.float64)):
        normals, values = (part[i][cuts[2][i]].astype(np.float64) for part in cuts[:2])
        size = np.linalg.norm(normals, axis=1)
        if size.all():
            right = (values - normals @ x) / size
            out[i] = _step(normals / size[:, None], right, (box[0] - x, box[1] - x), norm, progress)
    return out


def _step(
    rows: np.ndarray,
    right: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    norm: float,
    progress: Progress | None,
) -> np.ndarray:
    unit = float(np.abs(right).max())
    if unit == 0.0:
        return np.zeros(rows.shape[1])
    low, high = np.minimum(ends[0], 0.0) / unit, np.maximum(ends[1], 0.0) / unit
    return unit * (_sparse if norm == 1.0 else _even)(rows, right / unit, (low, high), progress)


def _sparse(
    rows: np.ndarray, right: np.ndarray, ends: tuple[np.ndarray, np.ndarray], progress: Progress | None
) -> np.ndarray:
    """Norm 1: parts above and below zero."""
    n, open_ = rows.shape[1], np.full(len(right), math.inf)
    bounds = np.zeros(2 * n), np.concatenate([ends[1], -ends[0]])
    program = WarmProgram(
        np.ones(2 * n), sp.csr_array(np.hstack([rows, -rows])), bounds, (right, open_), progress=progress
    )
    if program.solve() != "optimal":
        return np.full(n, math.nan)
    return program.x[:n] - program.x[n:]


def _even(
    rows: np.ndarray, right: np.ndarray, ends: tuple[np.ndarray, np.ndarray], progress: Progress | None
) -> np.ndarray:
    """Norm inf: grow a cube until it reaches all half-spaces, in the sense of Newton's method from below.

    In a cube that is too small the largest common slack is negative, and its multipliers make one half-space that
    lies outside; the distance of that one is the next size.
    """
    (low, high), n = ends, rows.shape[1]
    size = max(distance(w, b, low, high, math.inf) for w, b in zip(rows, right, strict=True))
    matrix = sp.csr_array(np.hstack([rows, -np.ones((len(rows), 1))]))
    cost, top = np.append(np.zeros(n), -1.0), np.full(len(right), math.inf)
    for _ in range(GROWTHS):
        if not math.isfinite(size):
            break
        bounds = np.append(np.maximum(low, -size), -math.inf), np.append(np.minimum(high, size), 0.0)
        program = WarmProgram(cost, matrix, bounds, (right, top), progress=progress)
        if program.solve() != "optimal":
            break
        if program.x[-1] >= -ENOUGH:
            return program.x[:-1]
        weights = np.abs(program.duals())
        following = distance(weights @ rows, float(weights @ right), low, high, math.inf)
        size = max(following, size * (1 + ENOUGH))
    return np.full(n, math.nan)
