"""One ReLU layer in the terms of Carlsson et al. (2017, s. 2): dual basis, cone and null space."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
import numpy.typing as npt
import scipy.linalg

from plica.core.result import Completeness, Result, Standing
from plica.errors import DataError, ShapeError

MOST_UNITS = 12  # units that are off, up to which generators are enumerated
TOLERANCE = 1e-9


@dataclass(frozen=True, repr=False)
class DualConeResult(Result):
    """The preimage of a layer's activity by generators: conv(vertices) + cone(rays) + span(lines).

    Attributes
    ----------
    on : ndarray of bool, shape (m,)
        Units with W u + b > 0 at the witness, exactly.
    rank : int
        Of W.
    dual : ndarray, shape (m, n)
        Rows e_i with w_j.e_i = 1 where i = j and else 0; empty when the rows of W are dependent.
    vertices : ndarray, shape (k, n)
        With independent rows one point, the foot: on the planes of all units that are off.
    rays : ndarray, shape (r, n)
        With independent rows -e_j for every unit j that is off.
    lines : ndarray, shape (l, n)
        An orthonormal basis of the null space of W: what no unit sees.
    listed : bool
        Whether the generators are all there; False above 12 units that are off of dependent rows.
    """

    on: np.ndarray
    rank: int
    dual: np.ndarray
    vertices: np.ndarray
    rays: np.ndarray
    lines: np.ndarray
    listed: bool

    def summary(self) -> str:
        """Sizes."""
        how = "dual basis" if len(self.dual) else "generators" if self.listed else "too many units: inequalities only"
        return (
            f"{int(self.on.sum())} of {len(self.on)} units on, rank {self.rank}; {how}: {len(self.vertices)} vertices, "
            f"{len(self.rays)} rays, {len(self.lines)} lines"
        )


def dual_cone(W: npt.ArrayLike, x: npt.ArrayLike, b: npt.ArrayLike | None = None) -> DualConeResult:
    """Generators of {u : relu(W u + b) = relu(W x + b)}.

    Parameters
    ----------
    W : array, shape (m, n)
    x : array, shape (n,)
        A witness of the activity.
    b : array, shape (m,), optional
        Zero by default.

    Returns
    -------
    DualConeResult
        With independent rows the preimage is foot - sum over units off of alpha_j e_j, alpha_j >= 0, plus the null
        space (Carlsson et al. 2017, eqs. 5 to 8, with on and off as here; the paper prints the index sets swapped in
        places). With dependent rows (more units than inputs, or fewer dimensions than units) the dual basis does not
        exist, and the generators are enumerated up to 12 units off.

    Raises
    ------
    ShapeError, DataError
        For arrays that do not fit, or entries that are not finite.

    Notes
    -----
    Which units are on is decided in rational arithmetic; ranks and generators are numerical. Cost: a singular value
    decomposition; for dependent rows a linear system for every set of d of the units off, d the preimage's dimension
    at most.

    Examples
    --------
    >>> found = dual_cone([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]], [2.0, -3.0, 5.0])
    >>> found.on.tolist(), found.rays.round(9).tolist(), found.vertices.round(9).tolist()
    ([True, False], [[0.0, -1.0, 0.0]], [[2.0, -2.0, 0.0]])
    """
    A, u = np.asarray(W, dtype=np.float64), np.asarray(x, dtype=np.float64).ravel()
    if A.ndim != 2 or A.shape[1] != len(u):
        raise ShapeError(f"W has shape {A.shape} and x has {len(u)} entries; give W of shape (m, {len(u)}).")
    c = np.zeros(len(A)) if b is None else np.asarray(b, dtype=np.float64).ravel()
    if len(c) != len(A):
        raise ShapeError(f"b has {len(c)} entries; W has {len(A)} rows.")
    if not (np.isfinite(A).all() and np.isfinite(u).all() and np.isfinite(c).all()):
        raise DataError("W, x and b must be finite.")
    on = np.array([_positive(row, u, shift) for row, shift in zip(A, c, strict=True)], dtype=bool)
    lines = scipy.linalg.null_space(A).T if len(A) else np.eye(len(u))
    rank = len(u) - len(lines)
    if rank == len(A):
        dual = np.linalg.pinv(A).T
        foot = dual.T @ (np.where(on, A @ u + c, 0.0) - c)
        vertices, rays, listed = foot[None], -dual[~on], True
    else:
        dual = np.zeros((0, len(u)))
        vertices, rays, listed = _generators(A, c, u, on, lines)
    return DualConeResult(
        standing=Standing.NUMERICAL, completeness=Completeness.COMPLETE if listed else Completeness.BUDGET, header={},
        on=on, rank=rank, dual=_clean(dual), vertices=_clean(vertices), rays=_clean(rays), lines=lines, listed=listed,
    )  # fmt: skip


def _positive(row: np.ndarray, u: np.ndarray, shift: float) -> bool:
    """Whether a unit is on, exactly."""
    total = sum((Fraction(float(a)) * Fraction(float(v)) for a, v in zip(row, u, strict=True)), Fraction(float(shift)))
    return total > 0


def _clean(M: np.ndarray) -> np.ndarray:
    """Rounding next to zero taken away."""
    size = np.abs(M).max(initial=0.0)
    return np.where(np.abs(M) < 1e-14 * size, 0.0, M)


def _generators(
    A: np.ndarray, c: np.ndarray, u: np.ndarray, on: np.ndarray, lines: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Vertices and rays of the part of the preimage that is orthogonal to the null space, around the witness."""
    n = len(u)
    fixed = np.vstack([A[on], lines])
    basis = scipy.linalg.null_space(fixed) if len(fixed) else np.eye(n)
    B, slack = A[~on] @ basis, -(A[~on] @ u + c[~on])
    size = np.linalg.norm(B, axis=1)
    B, slack = B[size > TOLERANCE], slack[size > TOLERANCE]
    B, slack = B / size[size > TOLERANCE, None], slack / size[size > TOLERANCE]
    if len(B) > MOST_UNITS:
        return np.zeros((0, n)), np.zeros((0, n)), False
    d = basis.shape[1]
    corners, edges = [], []
    for rows in combinations(range(len(B)), d):
        part = B[list(rows)]
        if np.linalg.matrix_rank(part, tol=TOLERANCE) == d:
            z = np.linalg.solve(part, slack[list(rows)]) if d else np.zeros(0)
            if (B @ z <= slack + TOLERANCE * (1 + np.abs(slack))).all():
                corners.append(z)
    for rows in combinations(range(len(B)), d - 1) if d else ():
        kernel = scipy.linalg.null_space(B[list(rows)], rcond=TOLERANCE) if d > 1 else np.eye(1)
        if kernel.shape[1] == 1:
            edges += [s * kernel[:, 0] for s in (1.0, -1.0) if (B @ (s * kernel[:, 0]) <= TOLERANCE).all()]
    base = u - lines.T @ (lines @ u)
    return base + _once(corners, d) @ basis.T, _once(edges, d) @ basis.T, True


def _once(points: list[np.ndarray], d: int) -> np.ndarray:
    """Points without repetitions up to rounding, shape (k, d)."""
    kept: list[np.ndarray] = []
    for p in points:
        if all(np.abs(p - q).max(initial=0.0) > 1e-7 * (1 + np.abs(p).max(initial=0.0)) for q in kept):
            kept.append(p)
    return np.array(kept).reshape(len(kept), d)
