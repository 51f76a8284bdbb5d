"""Nearest points of polyhedra: daqp, and a dual Newton method for many variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import daqp
import numpy as np
import scipy.linalg
import scipy.sparse as sp

from plica.core.progress import Progress
from plica.core.solve.linear import linear_program
from plica.core.solve.system import Bounds, Matrix, System, checked_system
from plica.errors import DataError, SolverError

DENSE_VARIABLES = 1000  # above this daqp's dense factors lose against the dual Newton method


@dataclass(frozen=True)
class NearestPoint:
    """Answer to: minimise |x - target| (euclidean) over {G x <= h, E x = e, lower <= x <= upper}.

    Attributes
    ----------
    status : {"optimal", "infeasible"}
    x : ndarray, shape (n,)
        Nearest point; NaN when infeasible.
    distance : float
        |x - target|; inf when infeasible.
    dual, equality_dual : ndarray, shapes (m,) and (p,)
        Multipliers with ``x == clip(target - G'dual - E'equality_dual, lower, upper)``; NaN when infeasible.
    """

    status: Literal["optimal", "infeasible"]
    x: np.ndarray
    distance: float
    dual: np.ndarray
    equality_dual: np.ndarray


def nearest_point(
    target: np.ndarray,
    G: Matrix | None = None,
    h: np.ndarray | None = None,
    E: Matrix | None = None,
    e: np.ndarray | None = None,
    *,
    bounds: Bounds | None = None,
    progress: Progress | None = None,
) -> NearestPoint:
    """Project `target` onto a polyhedron in the euclidean norm.

    Parameters
    ----------
    target : ndarray, shape (n,)
    G, h, E, e, bounds, progress
        As in `linear_program`.

    Raises
    ------
    SolverError
        When neither daqp nor the dual Newton method ends with small residuals, and a linear program finds the
        polyhedron not empty.
    BudgetReached
        When the seconds end first.

    Notes
    -----
    daqp up to 1000 variables, above that a projected semismooth Newton method on the dual, whose cost is one matrix of
    (active rows)^2 a step: 3072 variables with 2000 rows take seconds.
    """
    target = np.asarray(target, dtype=np.float64)
    if not np.isfinite(target).all():
        raise DataError("target: the entries must be finite.")
    system = checked_system(len(target), G, h, E, e, bounds=bounds)
    if (system.lower > system.upper).any():
        return _nowhere(system)
    progress = progress or Progress()
    for solution in _attempts(target, system, progress):
        if solution is not None:
            return solution
    zero, bounds = np.zeros(len(target)), (system.lower, system.upper)
    some = linear_program(zero, system.G, system.h, system.E, system.e, bounds=bounds, progress=progress)
    if some.status == "infeasible":
        return _nowhere(system)
    raise SolverError(
        f"no nearest point found in {len(target)} variables and {len(system.h) + len(system.e)} rows; "
        "scale the rows to similar sizes, or drop rows that repeat each other up to rounding."
    )


def _attempts(target: np.ndarray, system: System, progress: Progress) -> Iterator[NearestPoint | None]:
    """Yield the answers of the methods, the one that suits the size first."""
    methods = (_by_daqp, _by_newton) if len(target) <= DENSE_VARIABLES else (_by_newton,)
    for method in methods:
        progress.check()
        yield method(target, system, progress)


def _nowhere(system: System) -> NearestPoint:
    m, p, n = system.sizes
    return NearestPoint("infeasible", np.full(n, np.nan), np.inf, np.full(m, np.nan), np.full(p, np.nan))


def _scaled(system: System) -> tuple[sp.csr_array, np.ndarray, np.ndarray]:
    """All rows at unit length, right-hand sides, and the factors that were multiplied in."""
    A = sp.csr_array(sp.vstack([system.G, system.E], format="csr"))
    length = np.sqrt(np.asarray((A * A).sum(axis=1)).ravel())
    factor = 1.0 / np.where(length > 0, length, 1.0)
    return sp.csr_array(sp.diags_array(factor) @ A), np.concatenate([system.h, system.e]) * factor, factor


def _accept(
    target: np.ndarray, system: System, x: np.ndarray, multipliers: np.ndarray, tolerance: float
) -> NearestPoint | None:
    """Answer if the point is feasible within the tolerance, relative to the sizes of the rows; else None."""
    A, b, factor = _scaled(system)
    m = len(system.h)
    excess = A @ x - b
    excess[:m] = np.maximum(excess[:m], 0.0)
    if np.abs(excess).max(initial=0.0) > tolerance * (1.0 + np.abs(x).max(initial=0.0)):
        return None
    unscaled = multipliers * factor
    distance = float(np.linalg.norm(x - target))
    return NearestPoint("optimal", x, distance, unscaled[:m], unscaled[m:])


def _by_daqp(target: np.ndarray, system: System, progress: Progress) -> NearestPoint | None:
    """Solve for the step x - target with daqp's dense active-set method; None without an optimal end."""
    m, p, n = system.sizes
    A, b, _ = _scaled(system)
    b = b - A @ target
    low, high = system.lower - target, system.upper - target
    # daqp reads 1e30 as no bound; a box of width 0 must be an equality (sense 5), or its factor breaks.
    upper = np.concatenate([np.minimum(high, 1e30), b])
    lower = np.concatenate([np.maximum(low, -1e30), np.full(m, -1e30), b[m:]])
    sense = np.zeros(n + m + p, dtype=np.int32)
    sense[:n][low == high] = 5
    sense[n + m :] = 5
    keep = np.concatenate([np.ones(n, bool), np.diff(A.indptr) > 0])
    if (b[:m][~keep[n : n + m]] < 0).any() or (b[m:][~keep[n + m :]] != 0).any():
        return None
    dense = np.ascontiguousarray(A.toarray()[keep[n:]])
    limits = {"iter_limit": 100_000, **seconds_of(progress)}
    step, _, flag, info = daqp.solve(
        np.eye(n), np.zeros(n), dense, upper[keep], lower[keep], sense[keep], primal_tol=1e-11, **limits
    )
    if flag != 1:
        progress.check()
        return None
    multipliers = np.zeros(m + p)
    multipliers[keep[n:]] = np.asarray(info["lam"])[n:]
    x = np.clip(target + np.asarray(step), system.lower, system.upper)
    return _accept(target, system, x, multipliers, 1e-9)


def seconds_of(progress: Progress) -> dict[str, float]:
    """A budget as daqp's limit of seconds; none without one."""
    left = progress.seconds_left
    return {} if left == np.inf else {"time_limit": max(left, 1e-3)}


def _by_newton(target: np.ndarray, system: System, progress: Progress, steps: int = 200) -> NearestPoint | None:
    """Maximise the concave dual of the projection by projected semismooth Newton steps.

    At multipliers lam the minimiser of the Lagrangian is x = clip(target - A'lam), the gradient A x - b, and minus the
    generalised Hessian A_F D A_F' with D the unclipped variables and F the rows that may move.
    """
    m = len(system.h)
    A, b, _ = _scaled(system)
    rows = (A, sp.csr_array(A.T), b)
    dense = A.toarray() if A.nnz > 0.1 * A.shape[0] * A.shape[1] else None
    lam = np.zeros(len(b))
    floor = np.concatenate([np.zeros(m), np.full(len(b) - m, -np.inf)])
    x, value, slope = _dual(lam, target, system, rows)
    farthest = 0.5 * float(np.maximum((system.lower - target) ** 2, (system.upper - target) ** 2).sum())
    for _ in range(steps):
        progress.check()
        # The length of a projected gradient step: zero exactly at the optimum.
        wrong = np.abs(np.maximum(lam + slope, floor) - lam).max(initial=0.0)
        if wrong <= 1e-11 * (1.0 + np.abs(x).max(initial=0.0)):
            break
        moving = np.flatnonzero((lam > floor) | (slope > 0))
        open_ = (x > system.lower) & (x < system.upper)
        hessian = _gram(A, moving, open_) if dense is None else _gram(dense, moving, open_)
        hessian[np.diag_indices_from(hessian)] += np.clip(wrong * 1e-3, 1e-12, 1e-6)
        direction = np.zeros(len(b))
        direction[moving] = scipy.linalg.solve(hessian, slope[moving], assume_a="pos", check_finite=False)
        moved = _climb(lam, direction, (value, slope), floor, lambda v: _dual(v, target, system, rows))
        if moved is None:
            break
        lam, (x, value, slope) = moved
        if value > farthest * (1 + 1e-9) + 1e-9:  # a lower bound above the farthest point of the box
            return _nowhere(system)
    return _accept(target, system, x, lam, 1e-8)


def _gram(A: np.ndarray | sp.csr_array, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Products of some rows over some columns, dense; the product of sparse rows costs what they hold."""
    if isinstance(A, np.ndarray):
        part = A[np.ix_(rows, columns)]
        return part @ part.T
    thin = A[rows][:, np.flatnonzero(columns)]
    return (thin @ thin.T).toarray()


Dual = tuple[np.ndarray, float, np.ndarray]


def _dual(
    lam: np.ndarray, target: np.ndarray, system: System, rows: tuple[sp.csr_array, sp.csr_array, np.ndarray]
) -> Dual:
    """Minimiser of the Lagrangian, dual value, dual gradient; `rows` are (A, A', b)."""
    A, At, b = rows
    x = np.clip(target - At @ lam, system.lower, system.upper)
    slope = A @ x - b
    return x, float(0.5 * ((x - target) ** 2).sum() + lam @ slope), slope


def _climb(
    lam: np.ndarray,
    direction: np.ndarray,
    start: tuple[float, np.ndarray],
    floor: np.ndarray,
    dual: Callable[..., Dual],
) -> tuple[np.ndarray, Dual] | None:
    """Armijo search along the projected Newton arc, then along the projected gradient; None when neither rises."""
    value, slope = start
    noise = 1e-15 * (1.0 + abs(value))  # below it a rise cannot be told from rounding
    for ray in (direction, slope):
        length = 1.0
        for _ in range(40):
            trial = np.maximum(lam + length * ray, floor)
            found = dual(trial)
            gain = 1e-4 * slope @ (trial - lam)
            if gain > 0 and found[1] >= value + gain - noise:
                return trial, found
            length *= 0.5
    return None
