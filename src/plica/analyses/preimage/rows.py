"""The rows of a layer, made ready for many decisions: scaled exactly, repeated lines found, spans proven."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

from plica.analyses.preimage.exact_cone import exact_rank
from plica.core.exact import floats, integers
from plica.core.progress import Progress, refuse_above
from plica.core.result import Standing
from plica.errors import DataError, ShapeError, SolverError

SHARED = 4  # decisions after which the products of all rows are worth their cost


@dataclass(frozen=True)
class Basis:
    """Independent rows that span the given ones, with a proven lower bound of their smallest singular value.

    ``sigma`` is 0.0 when only integers prove the independence.
    """

    rows: np.ndarray
    sigma: float
    standing: Standing


@dataclass(frozen=True)
class Faces:
    """Rows that matter: one per line among the equalities, opposite pairs of inequalities, and the rest."""

    equal: np.ndarray
    pairs: np.ndarray
    below: np.ndarray


class LayerRows:
    """A matrix with its rows scaled by powers of two, which is exact and changes no preimage.

    Attributes
    ----------
    scaled : ndarray, shape (m, n)
        The rows times 2**-exponents.
    exponents : ndarray of int, shape (m,)
    norms : ndarray, shape (m,)
        Upper bounds of the Euclidean norms of the scaled rows.
    are_level : bool
        False when scaling would not be exact (entries of one row beyond the range of floats); integers decide then.
    progress : Progress
    """

    def __init__(self, rows: np.ndarray, progress: Progress) -> None:
        refuse_above(
            progress.max_bytes,
            3 * rows.nbytes,
            f"Deciding kinds holds three copies of the {rows.shape[0]} x {rows.shape[1]} matrix",
            "Raise max_bytes.",
        )
        self.progress = progress
        self.scaled, self.exponents, self.are_level = _levelled(rows)
        self.norms = floats.row_norms(self.scaled)
        self._line, self._sign = _lines(self.scaled)
        self._decided = 0
        self._products: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of inputs."""
        return self.scaled.shape[0], self.scaled.shape[1]

    def independent(self, rows: np.ndarray) -> Basis:
        """Independent rows with the same span: by floats when the rank is full, otherwise exactly."""
        n = self.shape[1]
        size = min(len(rows), n)
        refuse_above(
            self.progress.max_bytes,
            16 * size * (n + size),
            f"The rank of {len(rows)} rows of {n} inputs needs a {size} x {size} Gram matrix",
            "Raise max_bytes.",
        )
        for chosen in self._candidates(rows) if self.are_level else ():
            sigma = floats.smallest_singular_value(self.scaled[chosen], self._gram(chosen))
            if sigma > 0.0:
                return Basis(chosen, sigma, Standing.RIGOROUS)
        exact, _ = integers.to_integers(self.scaled[rows])
        kept = rows[integers.pivots(integers.transpose(exact))]
        if exact_rank(exact) != len(kept):
            raise SolverError(f"the rank of {len(rows)} rows modulo a prime is below their exact rank.")
        sigma = floats.smallest_singular_value(self.scaled[kept]) if self.are_level else 0.0
        return Basis(kept, sigma, Standing.CERTIFIED)

    def _gram(self, chosen: np.ndarray) -> np.ndarray | None:
        """Products of some rows, picked from those of all rows once enough decisions share them."""
        m = len(self.scaled)
        self._decided += 1
        if self._products is None and self._decided > SHARED and 32 * m * m <= self.progress.max_bytes:
            self._products = self.scaled @ self.scaled.T
        return None if self._products is None else self._products[np.ix_(chosen, chosen)]

    def _candidates(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Sets of min(k, n) rows that may be independent, cheapest first."""
        n = self.shape[1]
        yield rows[:n]
        if len(rows) > n:
            pivots = lapack.dgeqp3(np.asfortranarray(self.scaled[rows].T))[1]
            yield np.sort(rows[pivots[:n] - 1])

    def faces(self, equal: np.ndarray, below: np.ndarray) -> Faces:
        """Drop zero rows and repeated ones; a line among the equalities settles it for the inequalities."""
        equal_lines, equal_rows = self._first(equal)
        up_lines, up = self._first(below & (self._sign > 0))
        down_lines, down = self._first(below & (self._sign < 0))
        keep_up, keep_down = ~np.isin(up_lines, equal_lines), ~np.isin(down_lines, equal_lines)
        up_lines, up, down_lines, down = up_lines[keep_up], up[keep_up], down_lines[keep_down], down[keep_down]
        _, at_up, at_down = np.intersect1d(up_lines, down_lines, assume_unique=True, return_indices=True)
        pairs = np.column_stack([up[at_up], down[at_down]])
        return Faces(equal_rows, pairs, np.sort(np.concatenate([np.delete(up, at_up), np.delete(down, at_down)])))

    def for_unscaled(self, certificate: dict[str, Any]) -> dict[str, Any]:
        """The certificate with multipliers of the rows as they were given: divided by the rows' scales, exactly."""
        certificate = dict(certificate)
        if "weights" in certificate:
            certificate["weights"] = np.ldexp(certificate["weights"], -self.exponents)
        if "multipliers" in certificate:
            shifts = self.exponents[certificate["implied"]]
            shifts = (shifts.max(initial=0) - shifts).tolist()
            scaled = [int(y, 16) << s for y, s in zip(certificate["multipliers"].tolist(), shifts, strict=True)]
            certificate["multipliers"] = np.array([f"{y:x}" for y in scaled], dtype=str)
        return certificate

    def _first(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lines of the masked rows, and the first masked row on each."""
        rows = np.flatnonzero(mask & (self._sign != 0))
        lines, where = np.unique(self._line[rows], return_index=True)
        return lines, rows[where]


def finite_matrix(given: Any, name: str) -> np.ndarray:
    """A float64 matrix with at least one column."""
    matrix = np.asarray(given, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 1:
        raise ShapeError(f"{name} needs shape (rows, inputs) with at least one input; got shape {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise DataError(f"{name} holds {int((~np.isfinite(matrix)).sum())} entries that are not finite.")
    return matrix


def _levelled(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Rows scaled by powers of two to largest entries in [1/2, 1); unscaled, and False, if that is not exact."""
    exponents = np.frexp(np.abs(rows).max(axis=1, initial=0.0))[1]
    scaled = np.ldexp(rows, -exponents[:, None])
    if np.array_equal(np.ldexp(scaled, exponents[:, None]), rows):
        return scaled, exponents, True
    return rows, np.zeros_like(exponents), False


def _lines(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number per line through 0 (rows equal up to sign share one), and a sign per row, 0 for zero rows."""
    first = np.argmax(rows != 0.0, axis=1)
    sign = np.sign(rows[np.arange(len(rows)), first]).astype(np.int8)
    keys = np.ascontiguousarray(rows * sign[:, None] + 0.0)
    words = keys.view(np.dtype((np.void, keys.shape[1] * keys.itemsize))).ravel()
    line = np.unique(words, return_inverse=True)[1] if len(rows) else np.zeros(0, dtype=np.int64)
    return line.ravel(), sign
