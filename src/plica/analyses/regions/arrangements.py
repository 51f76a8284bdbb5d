"""Hyperplane arrangements: exact numbers of regions (Zaslavsky 1975), and two arrangements with known ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
import numpy.typing as npt

from plica.core.progress import Progress
from plica.errors import DataError, ShapeError

Row = tuple[int, ...]  # a_1, ..., a_n, b of the hyperplane a x = b; coprime, the first nonzero a positive


@dataclass(frozen=True)
class ArrangementRegions:
    """Regions of a hyperplane arrangement, counted exactly.

    Attributes
    ----------
    regions : int
        Connected components of the complement.
    bounded : int
        Those that are bounded, relative to the span of the normals.
    polynomial : tuple of int
        Coefficients of the characteristic polynomial chi, that of t^i at place i; regions = (-1)^n chi(-1).
    """

    regions: int
    bounded: int
    polynomial: tuple[int, ...]


def arrangement_regions(
    normals: npt.ArrayLike, offsets: npt.ArrayLike, *, progress: Progress | None = None
) -> ArrangementRegions:
    """Count the regions of the hyperplanes normals x = offsets.

    Parameters
    ----------
    normals : array, shape (m, n)
        Integers, or floats taken as the rationals they are.
    offsets : array, shape (m,)
        Repeated hyperplanes count once; a zero normal is a hyperplane only in name and is left out.
    progress : Progress, optional
        Budget of time.

    Returns
    -------
    ArrangementRegions

    Raises
    ------
    ShapeError, DataError
        For shapes that do not fit, or numbers that are not finite.
    BudgetReached

    Notes
    -----
    Deletion and restriction in integers: adding H_i to the arrangement subtracts from chi the polynomial of the
    restrictions of the earlier hyperplanes to H_i. Cost: about as many row operations as there are regions, times m.
    Source: Zaslavsky (1975); Stanley (2004), Theorem 2.5.
    """
    rows, n = _rows(normals, offsets)
    chi = _characteristic(list(dict.fromkeys(rows)), n, progress or Progress())
    # the coefficients alternate in sign, so that |chi(-1)| is the sum of their sizes
    return ArrangementRegions(sum(map(abs, chi)), abs(sum(chi)), tuple(chi))


def _rows(normals: npt.ArrayLike, offsets: npt.ArrayLike) -> tuple[list[Row], int]:
    """Hyperplanes as coprime integers."""
    A, b = np.asarray(normals), np.asarray(offsets)
    if A.ndim != 2 or b.shape != (len(A),):
        raise ShapeError(f"normals have shape {A.shape} and offsets {b.shape}; they must be (m, n) and (m,).")
    if not all(np.isfinite(v).all() for v in (A, b) if v.dtype != object):
        raise DataError("A hyperplane has an entry that is not finite.")
    found = []
    for entries in np.column_stack([A.astype(object), b.astype(object)]).tolist():
        exact = [Fraction(v) for v in entries]
        common = math.lcm(*(v.denominator for v in exact))
        row = _coprime([int(v * common) for v in exact])
        if row is not None:
            found.append(row)
    return found, A.shape[1]


def _coprime(row: list[int]) -> Row | None:
    """The same hyperplane in its one form; None where the normal is zero."""
    lead = next((v for v in row[:-1] if v), 0)
    if not lead:
        return None
    divisor = math.gcd(*row) * (1 if lead > 0 else -1)
    return tuple(v // divisor for v in row)


def _characteristic(rows: list[Row], n: int, progress: Progress) -> list[int]:
    """Coefficients of the characteristic polynomial of distinct hyperplanes in n dimensions."""
    if n == 1:
        return [-len(rows), 1]
    chi = [0] * n + [1]
    for i, row in enumerate(rows):
        if n > 2:
            progress.check()
        for power, c in enumerate(_characteristic(_restricted(rows[:i], row), n - 1, progress)):
            chi[power] -= c
    return chi


def _restricted(rows: list[Row], onto: Row) -> list[Row]:
    """Distinct intersections of hyperplanes with another one, in its own coordinates; parallel ones have none."""
    place = next(i for i, v in enumerate(onto) if v)
    pivot = onto[place]
    found: dict[Row, None] = {}
    for row in rows:
        factor = row[place]
        cut = [pivot * v - factor * w for v, w in zip(row, onto, strict=True)]
        del cut[place]
        plain = _coprime(cut)
        if plain is not None:
            found[plain] = None
    return list(found)


def braid_family(n: int, levels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Hyperplanes x_i - x_j = s for i < j and all levels s, in n dimensions, as integer normals and offsets.

    Levels (0, 1) are the Shi arrangement with (n + 1)^(n - 1) regions, levels (-1, 0, 1) the Catalan arrangement with
    n! C_n regions (Stanley 2004, Corollary 5.1 and Proposition 5.15).
    """
    normals, offsets = [], []
    for i, j in combinations(range(n), 2):
        for s in levels:
            row = np.zeros(n, dtype=np.int64)
            row[[i, j]] = 1, -1
            normals.append(row)
            offsets.append(s)
    return np.array(normals, dtype=np.int64).reshape(-1, n), np.array(offsets, dtype=np.int64)
