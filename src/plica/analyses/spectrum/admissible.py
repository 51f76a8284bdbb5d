"""Which rows a ReLU layer can remove at once: admissible index sets (Behrmann et al. 2018, Definition 7)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, BudgetReached, ShapeError


@dataclass(frozen=True, repr=False)
class AdmissibleResult(Result):
    """Sets of rows that some input removes.

    Attributes
    ----------
    sets : ndarray of bool, shape (count, m)
        True for a removed row; all admissible sets, or the one that was asked about.
    points : ndarray, shape (count, n)
        An input for each, rounded to floats; the exact one proves it.
    asked : tuple of int or None
        The set that was asked about; None for all of them.
    """

    sets: np.ndarray
    points: np.ndarray
    asked: tuple[int, ...] | None = None

    def __bool__(self) -> bool:
        return len(self.sets) > 0

    def __len__(self) -> int:
        return len(self.sets)

    def summary(self) -> str:
        """The answer in a line."""
        if self.asked is None:
            return f"{len(self.sets)} admissible sets of removed rows"
        return f"removing rows {list(self.asked)} is {'' if len(self.sets) else 'not '}admissible"


def admissible_sets(
    A: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    removed: Sequence[int] | None = None,
    *,
    progress: Progress | None = None,
) -> AdmissibleResult:
    """Find the sets of rows that relu(Ax + b) can remove, or decide about one.

    Parameters
    ----------
    A : array, shape (m, n)
    b : array, shape (m,), optional
        Zero by default.
    removed : sequence of int, optional
        Only this set I: is there an x with <a_i, x> > -b_i exactly for the rows i that are not in I?
    progress : Progress, optional
        When the time is up or the work is interrupted, the sets found so far are returned.

    Returns
    -------
    AdmissibleResult
        CERTIFIED: linear programming and non-negative least squares propose, integers decide.

    Notes
    -----
    Rows are decided one after the other, and a prefix that no input has ends its branch: about m exact decisions per
    set. A set may be admissible on a set of inputs without volume (both of two opposite rows removed).

    Examples
    --------
    >>> found = admissible_sets([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    >>> len(found), bool(admissible_sets([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], removed=[]))
    (7, False)
    """
    start, watch = time.monotonic(), progress or Progress()
    A = np.asarray(A, dtype=np.float64)
    if A.ndim != 2:
        raise ShapeError(f"A has shape {A.shape}; give a matrix.")
    offset = np.zeros(len(A)) if b is None else np.asarray(b, dtype=np.float64).ravel()
    if offset.shape != (len(A),):
        raise ShapeError(f"b has shape {offset.shape}; A has {len(A)} rows.")
    asked = None if removed is None else tuple(sorted({int(i) for i in removed}))
    if asked and not (asked[0] >= 0 and asked[-1] < len(A)):
        raise ArgumentError(f"removed = {list(asked)}: A has rows 0 to {len(A) - 1}.")
    found: list[tuple[np.ndarray, np.ndarray]] = []
    state = Completeness.COMPLETE
    try:
        if asked is None:
            _search(A, offset, watch, found)
        else:
            gone = np.isin(np.arange(len(A)), asked)
            point = witness(A, offset, gone)
            found = [] if point is None else [(gone, point)]
    except BudgetReached:
        state = Completeness.BUDGET
    except KeyboardInterrupt:
        state = Completeness.INTERRUPTED
    return AdmissibleResult(
        standing=Standing.CERTIFIED, completeness=state, header={"seconds": time.monotonic() - start},
        sets=np.array([gone for gone, _ in found], dtype=bool).reshape(len(found), len(A)),
        points=np.array([point for _, point in found], dtype=float).reshape(len(found), A.shape[1]), asked=asked,
    )  # fmt: skip


def _search(A: np.ndarray, b: np.ndarray, watch: Progress, found: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Depth first over the rows; the witness of a prefix settles one of the two ways of the next row."""
    m, n = A.shape
    stack = [(np.zeros(0, dtype=bool), [Fraction(0)] * n)]
    while stack:
        watch.check()
        gone, point = stack.pop()
        k = len(gone)
        if k == m:
            found.append((gone, np.array([float(v) for v in point])))
            watch.report("admissible sets", len(found))
            continue
        value = sum((Fraction(a) * v for a, v in zip(A[k].tolist(), point, strict=True)), Fraction(b[k]))
        stack.append((np.append(gone, value <= 0), point))
        other = np.append(gone, value > 0)
        exact = _exact_witness(A[: k + 1], b[: k + 1], other)
        if exact is not None:
            stack.append((other, exact))


def witness(A: np.ndarray, b: np.ndarray, gone: np.ndarray) -> np.ndarray | None:
    """An input that removes exactly these rows, rounded; None when there is none. Decided exactly."""
    point = _exact_witness(A, b, gone)
    return None if point is None else np.array([float(v) for v in point])


def _exact_witness(A: np.ndarray, b: np.ndarray, gone: np.ndarray) -> list[Fraction] | None:
    """{x : <a_i, x> >= -b_i for kept rows, <= for removed ones} has a point with > in all kept rows."""
    sign = np.where(gone, 1.0, -1.0)
    facts = Polyhedron(sign[:, None] * A, -sign * b).facts
    if facts.empty or facts.implied[~gone].any():
        return None
    return [Fraction(v) for v in facts.inner_point]
