"""A linear program that is solved again and again under changed bounds: one HiGHS model, kept warm."""

from __future__ import annotations

import highspy
import numpy as np
import scipy.sparse as sp

from plica.core.exact.floats import gamma
from plica.core.progress import Progress
from plica.core.solve.linear import Status
from plica.core.solve.watch import run_watched
from plica.errors import SolverError

_FINAL: dict[object, Status] = {
    highspy.HighsModelStatus.kOptimal: "optimal",
    highspy.HighsModelStatus.kInfeasible: "infeasible",
    highspy.HighsModelStatus.kUnbounded: "unbounded",
}
TOLERANCE = 1e-9


class WarmProgram:
    """Minimise c.x over {row_lower <= A x <= row_upper, lower <= x <= upper}; bounds and costs may change.

    Parameters
    ----------
    cost : ndarray, shape (n,)
    matrix : csr_array, shape (m, n)
    bounds : (lower, upper), shapes (n,)
    sides : (row_lower, row_upper), shapes (m,)
    progress : Progress, optional
        Its seconds.

    Attributes
    ----------
    solves : int
        Programs solved so far.
    """

    def __init__(
        self,
        cost: np.ndarray,
        matrix: sp.csr_array,
        bounds: tuple[np.ndarray, np.ndarray],
        sides: tuple[np.ndarray, np.ndarray],
        *,
        progress: Progress | None = None,
    ) -> None:
        self.matrix, self.cost = matrix, cost.copy()
        self.lower, self.upper = (b.copy() for b in bounds)
        self.row_lower, self.row_upper = (b.copy() for b in sides)
        self.solves = 0
        self._size = abs(matrix)
        self._moved_columns: set[int] = set()
        self._moved_rows: set[int] = set()
        self._solver = self._load()
        self._progress = progress or Progress()

    def _load(self) -> highspy.Highs:
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = self.matrix.shape[1], self.matrix.shape[0]
        model.col_cost_, model.col_lower_, model.col_upper_ = self.cost, self.lower, self.upper
        model.row_lower_, model.row_upper_ = self.row_lower, self.row_upper
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = self.matrix.indptr
        model.a_matrix_.index_ = self.matrix.indices
        model.a_matrix_.value_ = self.matrix.data
        solver = highspy.Highs()
        settings: dict[str, bool | int | str | float] = {
            "output_flag": False,
            "threads": 1,
            "parallel": "off",
            "presolve": "off",
            "solver": "simplex",
            "primal_feasibility_tolerance": TOLERANCE,
            "dual_feasibility_tolerance": TOLERANCE,
        }
        for name, value in settings.items():
            solver.setOptionValue(name, value)
        solver.passModel(model)
        return solver

    def column(self, j: int, lower: float, upper: float) -> None:
        """Bound a variable."""
        self.lower[j], self.upper[j] = lower, upper
        self._moved_columns.add(j)

    def columns(self, index: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        """Bound several variables."""
        self.lower[index], self.upper[index] = lower, upper
        self._moved_columns.update(index.tolist())

    def row(self, i: int, lower: float, upper: float) -> None:
        """Bound a row."""
        self.row_lower[i], self.row_upper[i] = lower, upper
        self._moved_rows.add(i)

    def add_row(self, columns: np.ndarray, values: np.ndarray, lower: float, upper: float) -> None:
        """Append a row; the basis stays."""
        self._pass_changes()
        n = len(self.cost)
        new = sp.csr_array((values, columns, np.array([0, len(columns)])), shape=(1, n))
        self.matrix = sp.csr_array(sp.vstack([self.matrix, new], format="csr"))
        self._size = abs(self.matrix)
        self.row_lower, self.row_upper = np.append(self.row_lower, lower), np.append(self.row_upper, upper)
        self._solver.addRow(lower, upper, len(columns), columns.astype(np.int32), np.asarray(values, dtype=np.float64))

    def costs(self, cost: np.ndarray) -> None:
        """Set the costs."""
        self.cost = cost.copy()
        self._solver.changeColsCost(len(cost), np.arange(len(cost), dtype=np.int32), cost)

    def _pass_changes(self) -> None:
        if self._moved_columns:
            index = np.fromiter(self._moved_columns, dtype=np.int32)
            self._solver.changeColsBounds(len(index), index, self.lower[index], self.upper[index])
            self._moved_columns.clear()
        for i in self._moved_rows:
            self._solver.changeRowBounds(i, self.row_lower[i], self.row_upper[i])
        self._moved_rows.clear()

    def solve(self) -> Status | None:
        """Solve from the last basis; from scratch when HiGHS ends without an answer, None when that fails too.

        Raises
        ------
        BudgetReached
            When the seconds end.
        """
        crossed = (self.lower > self.upper).any() or (self.row_lower > self.row_upper).any()
        if crossed:
            return "infeasible"
        self._pass_changes()
        self.solves += 1
        status = self._run()
        if status is None:
            self._solver.clearSolver()
            status = self._run()
        return status

    def _run(self) -> Status | None:
        run_watched(self._solver, self.matrix.nnz, self._progress, warm=True)
        return _FINAL.get(self._solver.getModelStatus())

    @property
    def x(self) -> np.ndarray:
        """Last optimal point."""
        return np.asarray(self._solver.getSolution().col_value, dtype=np.float64)

    def ray(self) -> np.ndarray | None:
        """Multipliers of the rows that show infeasibility, in floats; None when HiGHS has none."""
        try:
            _, has, values = self._solver.getDualRay()  # type: ignore[attr-defined]
        except (TypeError, ValueError) as error:
            raise SolverError(f"this highspy gives no dual ray ({error}); update highspy.") from error
        return np.asarray(values, dtype=np.float64) if has else None

    def duals(self) -> np.ndarray:
        """Multipliers of the rows at the last optimum."""
        return np.asarray(self._solver.getSolution().row_dual, dtype=np.float64)

    def proves_empty(self, weights: np.ndarray) -> bool:
        """Whether weights of the rows prove that no point satisfies all bounds, every rounding error included."""
        return any(self.least(np.zeros(len(self.lower)), sign * weights) > 0 for sign in (1.0, -1.0))

    def least(self, cost: np.ndarray, weights: np.ndarray) -> float:
        """Proven lower bound of ``cost.x`` from any weights of the rows (Neumaier and Shcherbina 2004).

        For weights w, c.x = w.(A x) + (c - A'w).x, and each part is bounded by its interval. -inf where a variable
        without a bound has a coefficient left.
        """
        w = weights.copy()
        w[(w > 0) & ~np.isfinite(self.row_lower)] = 0.0
        w[(w < 0) & ~np.isfinite(self.row_upper)] = 0.0
        rest = cost - self.matrix.T @ w
        m = int((w != 0).sum())
        loss = gamma(m + 3) * (self._size.T @ np.abs(w) + np.abs(cost))
        loss[(self._size.T @ (w != 0).astype(float)) == 0] = 0.0
        up, down = rest + loss, rest - loss
        with np.errstate(invalid="ignore"):
            corners = [np.where(k == 0, 0.0, k * b) for k in (up, down) for b in (self.lower, self.upper)]
            columns = np.minimum.reduce(corners)
            rows = np.where(w > 0, w * np.where(w > 0, self.row_lower, 0.0), 0.0) + np.where(
                w < 0, w * np.where(w < 0, self.row_upper, 0.0), 0.0
            )
        total = float(columns.sum() + rows.sum())
        error = gamma(len(columns) + len(rows) + 4) * float(np.abs(columns).sum() + np.abs(rows).sum()) + 1e-290
        return total - error if np.isfinite(total) and np.isfinite(error) else -np.inf
