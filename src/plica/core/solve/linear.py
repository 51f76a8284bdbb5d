"""Linear programs by HiGHS, and non-negative least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import highspy
import numpy as np
import scipy.optimize
import scipy.sparse as sp

from plica.core.progress import Progress
from plica.core.solve.system import Bounds, Matrix, System, checked_system
from plica.core.solve.watch import run_watched
from plica.errors import SolverError

Status = Literal["optimal", "infeasible", "unbounded"]

_FINAL = {
    highspy.HighsModelStatus.kOptimal: "optimal",
    highspy.HighsModelStatus.kInfeasible: "infeasible",
    highspy.HighsModelStatus.kUnbounded: "unbounded",
}
# Ways to solve again, from a cleared basis, when HiGHS ends neither optimal nor infeasible nor unbounded.
_METHODS: tuple[dict[str, str | int], ...] = (
    {},
    {"presolve": "off", "solver": "simplex", "simplex_strategy": 1},
    {"presolve": "off", "solver": "simplex", "simplex_strategy": 4},
    {"presolve": "off", "solver": "ipm"},
)


@dataclass(frozen=True)
class LPSolution:
    """Answer to: minimise c.x over {G x <= h, E x = e, lower <= x <= upper}.

    Attributes
    ----------
    status : {"optimal", "infeasible", "unbounded"}
    x : ndarray, shape (n,)
        Optimal point; NaN unless optimal.
    value : float
        Minimum; inf when infeasible, -inf when unbounded.
    dual : ndarray, shape (m,)
        Multipliers >= 0 of ``G x <= h``: ``c + G'dual + E'equality_dual == reduced_cost``; NaN unless optimal.
    equality_dual : ndarray, shape (p,)
    reduced_cost : ndarray, shape (n,)
        Positive at a lower bound, negative at an upper one, 0 elsewhere.
    """

    status: Status
    x: np.ndarray
    value: float
    dual: np.ndarray
    equality_dual: np.ndarray
    reduced_cost: np.ndarray


def linear_program(
    c: np.ndarray,
    G: Matrix | None = None,
    h: np.ndarray | None = None,
    E: Matrix | None = None,
    e: np.ndarray | None = None,
    *,
    bounds: Bounds | None = None,
    progress: Progress | None = None,
) -> LPSolution:
    """Minimise c.x subject to G x <= h, E x = e, lower <= x <= upper with HiGHS.

    Parameters
    ----------
    c : ndarray, shape (n,)
    G, h : array or sparse matrix of shape (m, n), array of shape (m,), optional
    E, e : array or sparse matrix of shape (p, n), array of shape (p,), optional
    bounds : (lower, upper), optional
        Arrays of shape (n,) or numbers; None or infinite where there is no bound. Variables are free by default.
    progress : Progress, optional
        Its seconds, for all four starts together.

    Raises
    ------
    SolverError
        When HiGHS, started four ways, ends without an answer or at its limit of iterations. No answer is never read
        as "infeasible".
    BudgetReached
        When the seconds end first.

    Notes
    -----
    Statuses and values are true up to HiGHS's tolerances (1e-7, absolute), no more.
    """
    c = np.asarray(c, dtype=np.float64)
    system = checked_system(len(c), G, h, E, e, bounds=bounds)
    if (system.lower > system.upper).any():
        return _no_optimum("infeasible", system)
    if not len(c):
        return _without_variables(system)
    solver, progress = _load(c, system), progress or Progress()
    for options in _METHODS:
        status = _run(solver, options, progress)
        if status is not None:
            return _read(solver, system) if status == "optimal" else _no_optimum(status, system)
    raise SolverError(
        f"HiGHS found no answer for a linear program of {system.sizes[2]} variables and "
        f"{system.sizes[0] + system.sizes[1]} rows (last status: {solver.getModelStatus().name[1:]}). "
        "Scale the rows to similar sizes, or drop rows that repeat each other up to rounding."
    )


def _load(c: np.ndarray, system: System) -> highspy.Highs:
    """Pass the problem to a silent HiGHS."""
    m, p, n = system.sizes
    model = highspy.HighsLp()
    rows = sp.csr_array(sp.vstack([system.G, system.E], format="csr"))
    model.num_col_, model.num_row_ = n, m + p
    model.col_cost_, model.col_lower_, model.col_upper_ = c, system.lower, system.upper
    model.row_lower_ = np.concatenate([np.full(m, -np.inf), system.e])
    model.row_upper_ = np.concatenate([system.h, system.e])
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = rows.indptr
    model.a_matrix_.index_ = rows.indices
    model.a_matrix_.value_ = rows.data
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.passModel(model)
    return solver


def _run(solver: highspy.Highs, options: dict[str, str | int], progress: Progress) -> Status | None:
    """Solve from scratch with these options; None when the end is neither of the three answers."""
    solver.clearSolver()
    for name, value in options.items():
        solver.setOptionValue(name, value)
    run_watched(solver, solver.getNumNz(), progress)
    status = _FINAL.get(solver.getModelStatus())
    if status == "optimal" and not solver.getSolution().value_valid:
        return None
    return status  # type: ignore[return-value]


def _read(solver: highspy.Highs, system: System) -> LPSolution:
    """Optimal point and multipliers in our signs."""
    m = len(system.h)
    solution = solver.getSolution()
    multipliers = -np.asarray(solution.row_dual, dtype=np.float64)
    return LPSolution(
        "optimal",
        np.asarray(solution.col_value, dtype=np.float64),
        float(solver.getObjectiveValue()),
        np.maximum(multipliers[:m], 0.0),
        multipliers[m:],
        np.asarray(solution.col_dual, dtype=np.float64),
    )


def _no_optimum(status: Status, system: System) -> LPSolution:
    """Answer without a point."""
    m, p, n = system.sizes
    value = np.inf if status == "infeasible" else -np.inf
    return LPSolution(status, np.full(n, np.nan), value, np.full(m, np.nan), np.full(p, np.nan), np.full(n, np.nan))


def _without_variables(system: System) -> LPSolution:
    """Problem in no variables: only the right-hand sides matter."""
    if (system.h < 0).any() or (system.e != 0).any():
        return _no_optimum("infeasible", system)
    m, p, _ = system.sizes
    return LPSolution("optimal", np.zeros(0), 0.0, np.zeros(m), np.zeros(p), np.zeros(0))


def nnls(A: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimise |A y - b| over y >= 0.

    Parameters
    ----------
    A : ndarray, shape (m, n)
    b : ndarray, shape (m,)

    Returns
    -------
    y : ndarray, shape (n,)
    residual : ndarray, shape (m,)
        ``b - A y``; at the optimum ``A' residual <= 0``, with equality where y > 0.

    Raises
    ------
    SolverError
        When the active-set method does not end.
    """
    A, b = np.asarray(A, dtype=np.float64), np.asarray(b, dtype=np.float64)
    try:
        y, _ = scipy.optimize.nnls(A, b, maxiter=max(50, 10 * A.shape[1]))
    except RuntimeError as error:
        raise SolverError(f"NNLS did not end on a system of shape {A.shape}: {error}") from error
    return y, b - A @ y
