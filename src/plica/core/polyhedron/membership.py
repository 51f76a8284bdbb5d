"""Which points satisfy which rows, exactly at the boundary."""

from __future__ import annotations

import numpy as np

from plica.core.exact.integers import dot_signs

UNIT = 2.0**-53


def contains(
    system: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], X: np.ndarray, tolerance: float
) -> np.ndarray:
    """Decide for every row of X, shape (k, n), whether it lies in {G x <= h + tolerance, |E x - e| <= tolerance}.

    A float product decides where its error bound allows; with tolerance 0 integers decide the rest.
    """
    G, h, E, e = system
    A, b = np.vstack([G, E]), np.concatenate([h, e])
    equal = np.arange(len(b)) >= len(h)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is decided in integers
        gap, error = X @ A.T - b, _error(A, b, X)
    if tolerance > 0:
        return np.where(equal, np.abs(gap), gap).max(axis=1, initial=-np.inf) <= tolerance
    inside = ~((gap > error) | (equal & (gap < -error))).any(axis=1)
    doubtful = ((np.abs(gap) <= error) & (error > 0)) | ~np.isfinite(gap)
    for k in np.flatnonzero(inside & doubtful.any(axis=1)):
        rows = np.flatnonzero(doubtful[k])
        signs = dot_signs(A[rows], X[k], b[rows])
        inside[k] = not (np.where(equal[rows], signs != 0, signs > 0)).any()
    return inside


def _error(A: np.ndarray, b: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Bound of the rounding error of ``X @ A.T - b``, shape (k, m); 0 where the sign is exact.

    A dot product of n terms is off by at most n u / (1 - n u) times the product of the absolute values (Higham 2002,
    section 3.1), plus n times the smallest subnormal for underflow; the subtraction and this bound itself add a few
    units. A row with one entry of 1 or -1 is exact: so are plain bounds on
    variables.
    """
    n = A.shape[1]
    size = np.abs(X) @ np.abs(A).T + np.abs(b)
    error = (n + 4) * UNIT * 1.01 * size + (n + 4) * 5e-324
    exact = ((A != 0).sum(axis=1) == 1) & (np.abs(A).max(axis=1, initial=0.0) == 1.0)
    return np.where(exact, 0.0, error)
