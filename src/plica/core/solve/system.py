"""Constraints {G x <= h, E x = e, lower <= x <= upper}, checked once for all solvers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from plica.errors import ArgumentError, DataError, ShapeError

Matrix: TypeAlias = np.ndarray | sp.spmatrix | sp.sparray
Bounds: TypeAlias = tuple[np.ndarray | float | None, np.ndarray | float | None]


@dataclass(frozen=True)
class System:
    """A checked system of constraints in n variables."""

    G: sp.csr_array
    h: np.ndarray
    E: sp.csr_array
    e: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of inequalities, equalities and variables."""
        return len(self.h), len(self.e), len(self.lower)


def _checked_rows(A: Matrix | None, b: np.ndarray | None, n: int, names: str) -> tuple[sp.csr_array, np.ndarray]:
    """Check a block of rows; None means no rows."""
    if A is None or b is None:
        if A is not None or b is not None:
            raise ArgumentError(f"{names}: give both, or neither.")
        return sp.csr_array((0, n)), np.zeros(0)
    matrix = sp.csr_array(A, dtype=np.float64)
    vector = np.asarray(b, dtype=np.float64)
    if vector.ndim != 1 or matrix.shape != (len(vector), n):
        raise ShapeError(f"{names}: shapes {matrix.shape} and {vector.shape} do not fit {n} variables.")
    if not (np.isfinite(matrix.data).all() and np.isfinite(vector).all()):
        raise DataError(f"{names}: the entries must be finite; leave out rows without a bound.")
    return matrix, vector


def checked_system(
    n: int, G: Matrix | None, h: np.ndarray | None, E: Matrix | None, e: np.ndarray | None, *, bounds: Bounds | None
) -> System:
    """Check and complete the constraints of a problem in n variables."""
    low, high = bounds if bounds is not None else (None, None)
    lower = np.broadcast_to(np.asarray(-np.inf if low is None else low, dtype=np.float64), (n,))
    upper = np.broadcast_to(np.asarray(np.inf if high is None else high, dtype=np.float64), (n,))
    if np.isnan(lower).any() or np.isnan(upper).any():
        raise DataError("bounds: NaN is no bound; use -inf and inf where there is none.")
    return System(*_checked_rows(G, h, n, "G, h"), *_checked_rows(E, e, n, "E, e"), lower, upper)
