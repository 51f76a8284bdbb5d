"""What ReLU does to singular values by removing rows: Lemmas 8 and 9 of Behrmann et al. (2018), and their limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.linalg

from plica.core.exact.integers import rank as exact_rank
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, DataError, ShapeError

EPSILON = 2.0**-52
EXACT_ENTRIES = 20_000  # of a matrix up to which its rank is found in integers


@dataclass(frozen=True, repr=False)
class RemovedRowsResult(Result):
    """Singular values of a matrix A before and after some of its rows are set to zero, and what bounds them.

    Attributes
    ----------
    shape : (int, int)
        Rows m and columns n of A.
    removed : ndarray of int
        The removed rows I; row k of the arrays below is row ``removed[k]`` of A.
    before, after : ndarray, shape (min(m, n),)
        Singular values of A and of D_I A, decreasing.
    rank_before, rank_after : int
        N and r.
    ranks_exact : bool
        Whether the ranks are decided in integers.
    constants : ndarray
        Smallest c for which condition (3) holds: sqrt(M) max_j |<a_j, a_k>| / |a_k| over the M rows j that are left.
        NaN for a row of zeros.
    responses : ndarray
        |D_I A v| for v = a_k / |a_k|; at most the constant.
    shares : ndarray
        |P v|, P the projection on the row space of D_I A; 0 where a_k lies in the null space of D_I A.
    slopes : ndarray or None
        Factors that the removed rows are multiplied with instead of 0 (leaky ReLU, ELU).
    leaky : ndarray or None
        Singular values with these slopes, decreasing.
    leaky_bound : float
        Upper bound of their smallest: largest slope times |A_I| on the null space of D_I A; NaN without slopes, or
        where D_I A has no null space.
    """

    shape: tuple[int, int]
    removed: np.ndarray
    before: np.ndarray
    after: np.ndarray
    rank_before: int
    rank_after: int
    ranks_exact: bool
    constants: np.ndarray
    responses: np.ndarray
    shares: np.ndarray
    slopes: np.ndarray | None = None
    leaky: np.ndarray | None = None
    leaky_bound: float = float("nan")

    @property
    def smallest(self) -> float:
        """K, the smallest nonzero singular value that is left; NaN when nothing is left."""
        return float(self.after[self.rank_after - 1]) if self.rank_after else float("nan")

    @property
    def lemma8(self) -> float:
        """Upper bound of `smallest` by Lemma 8: the (N - |I|)-th value of A; NaN where there is none."""
        k = self.rank_before - len(self.removed)
        return float(self.before[k - 1]) if k > 0 else float("nan")

    @property
    def lemma8_sharp(self) -> float:
        """The sharper one: the r-th value of A; r is at least N - |I|."""
        return float(self.before[self.rank_after - 1]) if self.rank_after else float("nan")

    @property
    def lemma9_printed(self) -> float:
        """Lemma 9 as printed: the smallest constant. Not a bound unless D_I A has full column rank."""
        return _least(self.constants, self.shares)

    @property
    def lemma9(self) -> float:
        """Lemma 9 corrected, an upper bound of `smallest`: the smallest constant / share."""
        return _least(self.constants / np.where(self.shares > 0, self.shares, np.nan), self.shares)

    @property
    def lemma9_sharp(self) -> float:
        """The same with the response in place of the constant that bounds it."""
        return _least(self.responses / np.where(self.shares > 0, self.shares, np.nan), self.shares)

    @property
    def printed_fails(self) -> bool:
        """Whether `smallest` exceeds the printed bound, by more than rounding."""
        return bool(self.smallest > self.lemma9_printed * (1 + 1e-9) + 64 * EPSILON * self.before[0])

    def summary(self) -> str:
        """The bounds in a few lines."""
        m, n = self.shape
        lines = [
            f"{m} x {n}, {len(self.removed)} rows removed: rank {self.rank_before} to {self.rank_after}"
            + (" (exact)" if self.ranks_exact else ""),
        ]
        if self.rank_after:
            lines.append(
                f"smallest nonzero value {self.smallest:.6g}; Lemma 8 {self.lemma8:.6g}, with the rank left "
                f"{self.lemma8_sharp:.6g}; Lemma 9 corrected {self.lemma9:.6g}, with responses {self.lemma9_sharp:.6g}"
            )
            state = "which does not hold" if self.printed_fails else "which holds here"
            lines.append(f"Lemma 9 as printed would say {self.lemma9_printed:.6g}, {state}")
        if self.leaky is not None:
            lines.append(f"with slopes: smallest value {self.leaky[-1]:.6g}, bound {self.leaky_bound:.6g}")
        return "\n".join(lines)


def _least(values: np.ndarray, shares: np.ndarray) -> float:
    """Smallest over the rows that the lemma speaks of; NaN without any."""
    allowed = values[(shares > 0) & ~np.isnan(values)]
    return float(allowed.min()) if len(allowed) else float("nan")


def removed_rows(
    A: npt.ArrayLike, removed: Sequence[int] | np.ndarray, *, slopes: float | Sequence[float] | np.ndarray | None = None
) -> RemovedRowsResult:
    """Singular values before and after a ReLU removes rows, with Lemmas 8 and 9.

    Parameters
    ----------
    A : array, shape (m, n)
        Linearisation up to a layer, before its ReLU.
    removed : sequence of int
        Rows I that are set to zero. (The paper writes I for kept rows in Definition 7 and for removed ones in s.3.)
    slopes : float, or one per removed row, optional
        Factors of the removed rows instead of zero: the slope of a leaky ReLU, or the derivative of an ELU.

    Returns
    -------
    RemovedRowsResult
        NUMERICAL; the ranks are exact up to 20000 entries.

    Raises
    ------
    ArgumentError, ShapeError, DataError

    Notes
    -----
    Lemma 8 holds, and by interlacing the value of index r = rank D_I A bounds as well, which is no larger.

    Lemma 9 as printed is wrong: take the row (1, 0) kept and (0.01, 1) removed. Then c = 0.01, but the smallest nonzero
    value of what is left is 1. With v = a_k / |a_k| the proof shows |D_I A v| <= c; but v may lie mostly in the null
    space of D_I A. What follows is K |P v| <= |D_I A v| <= c, P the projection on the row space.

    Cost: a singular value decomposition, m n min(m, n) flops.

    Examples
    --------
    >>> found = removed_rows([[1.0, 0.0], [0.01, 1.0]], [1])
    >>> found.smallest, round(found.lemma9_printed, 4), found.printed_fails, round(found.lemma9, 4)
    (1.0, 0.01, True, 1.0)
    """
    start = time.monotonic()
    A, gone = _checked(A, removed)
    kept = np.setdiff1d(np.arange(len(A)), gone)
    left = np.zeros_like(A)
    left[kept] = A[kept]
    before = scipy.linalg.svdvals(A) if A.size else np.zeros(min(A.shape))
    _, after, right = np.linalg.svd(left, full_matrices=True)
    exact = A.size <= EXACT_ENTRIES
    ranks = [exact_rank(M) if exact else _rank(v, A.shape) for M, v in ((A, before), (left, after))]
    constants, responses, directions = _correlations(A, kept, gone)
    shares = np.linalg.norm(directions @ right[: ranks[1]].T, axis=1)
    shares[responses <= A.shape[1] * EPSILON * max(1e-300, float(after.max(initial=0.0)))] = 0.0
    found = RemovedRowsResult(
        standing=Standing.NUMERICAL, completeness=Completeness.COMPLETE, header={"seconds": time.monotonic() - start},
        shape=A.shape, removed=gone, before=before, after=after, rank_before=ranks[0], rank_after=ranks[1],
        ranks_exact=exact, constants=constants, responses=responses, shares=shares,
    )  # fmt: skip
    return found if slopes is None else _with_slopes(found, A, gone, slopes, right[ranks[1] :])


def _with_slopes(
    found: RemovedRowsResult, A: np.ndarray, gone: np.ndarray, slopes: float | Sequence[float] | np.ndarray,
    null: np.ndarray,
) -> RemovedRowsResult:  # fmt: skip
    """Add what a leaky unit leaves."""
    factors = np.broadcast_to(np.asarray(slopes, dtype=np.float64), gone.shape).copy()
    if not np.isfinite(factors).all():
        raise DataError("removed_rows: slopes must be finite.")
    leaky = A.copy()
    leaky[gone] *= factors[:, None]
    bound = float("nan")
    if len(null) and len(A) >= A.shape[1]:
        seen = A[gone] @ null.T
        bound = float(np.abs(factors).max(initial=0.0) * (np.linalg.norm(seen, 2) if seen.size else 0.0))
    return replace(found, slopes=factors, leaky=scipy.linalg.svdvals(leaky), leaky_bound=bound)


def _checked(A: npt.ArrayLike, removed: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrix, and the removed rows in order."""
    A = np.asarray(A, dtype=np.float64)
    if A.ndim != 2:
        raise ShapeError(f"A has shape {A.shape}; give a matrix.")
    if not np.isfinite(A).all():
        raise DataError("A has entries that are NaN or infinite.")
    gone = np.unique(np.asarray(removed, dtype=np.int64).ravel())
    if len(gone) and not (gone[0] >= 0 and gone[-1] < len(A)):
        raise ArgumentError(f"removed = {gone.tolist()}: A has rows 0 to {len(A) - 1}.")
    return A, gone


def _rank(values: np.ndarray, shape: tuple[int, int]) -> int:
    return int((values > max(shape) * EPSILON * values.max(initial=0.0)).sum())


def _correlations(A: np.ndarray, kept: np.ndarray, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Constants, responses and unit vectors of the removed rows."""
    norms = np.linalg.norm(A[gone], axis=1)
    directions = A[gone] / np.where(norms > 0, norms, 1.0)[:, None]
    products = np.abs(A[kept] @ directions.T)  # (kept, removed)
    constants = np.sqrt(len(kept)) * products.max(axis=0, initial=0.0)
    responses = np.linalg.norm(products, axis=0)
    nothing = norms == 0
    constants[nothing], responses[nothing] = np.nan, 0.0
    return constants, responses, directions


def rows_within(A: npt.ArrayLike, removed: Sequence[int] | np.ndarray, c: npt.ArrayLike) -> np.ndarray:
    """How many kept rows satisfy condition (3), for the removed row with the most; the curve of Fig. 8.

    Parameters
    ----------
    A : array, shape (m, n)
    removed : sequence of int
    c : array
        Constants.

    Returns
    -------
    ndarray of int, shape of c
        Largest over k in I of the number of kept rows j with |<a_j, a_k>| <= c |a_k| / sqrt(M).

    Notes
    -----
    The proof of Lemma 9 needs sqrt(M) in condition (3): sum_j (c / sqrt(M))^2 = c^2.
    """
    A, gone = _checked(A, removed)
    kept = np.setdiff1d(np.arange(len(A)), gone)
    levels = np.asarray(c, dtype=np.float64)
    best = np.zeros(levels.size, dtype=np.int64)
    norms = np.linalg.norm(A[gone], axis=1)
    some = A[gone[norms > 0]] / norms[norms > 0, None]
    for first in range(0, len(some), 512):
        products = np.sort(np.sqrt(len(kept)) * np.abs(A[kept] @ some[first : first + 512].T), axis=0)
        for column in products.T:
            best = np.maximum(best, np.searchsorted(column, levels.ravel(), side="right"))
    return best.reshape(levels.shape)
