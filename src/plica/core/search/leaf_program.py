"""The linear program of a whole pattern in its input's own variables, for bounded boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from plica.core.search.blocks import Blocks
from plica.core.search.bounds import Taken
from plica.core.search.conditions import Conditions
from plica.core.search.inside import System, affine_values, system_at
from plica.core.solve.warm import WarmProgram

INSET = 1e-4  # share of the box that is left free at its sides, for points inside
CLEAR = 1e-8


@dataclass(frozen=True, eq=False)
class PatternProgram:
    """Rows of a pattern around the middle of the box, those that the box alone satisfies left out.

    ``rows d >= -slack - error`` for the inequalities and ``|equations d - gap| <= gap_error``, d the distance from the
    middle; the errors hold everything that was rounded.
    """

    rows: np.ndarray
    slack: np.ndarray
    error: np.ndarray
    weak: np.ndarray
    equations: np.ndarray
    gap: np.ndarray
    gap_error: np.ndarray
    middle: np.ndarray
    half: np.ndarray

    def inner(self) -> np.ndarray | None:
        """A point with room in all inequalities and to the sides of the box; None when there is none."""
        program = self._program(np.ones(len(self.rows), dtype=bool), 1 - INSET, 0.0)
        if program.solve() != "optimal" or program.x[-1] <= CLEAR:
            return None
        return self.middle + program.x[:-1]

    def strict(self) -> tuple[np.ndarray | None, bool]:
        """A point with room in the strict inequalities, and whether it is proven that there is none."""
        program = self._program(~self.weak, 1.0, 1.0)
        status = program.solve()
        if status == "infeasible":
            ray = program.ray()
            return None, ray is not None and program.proves_empty(ray)
        if status != "optimal":
            return None, False
        if program.x[-1] > CLEAR:
            return self.middle + program.x[:-1], False
        duals = program.duals()
        return None, max(program.least(program.cost, y) for y in (duals, -duals)) > 0

    def _program(self, roomy: np.ndarray, share: float, doubt: float) -> WarmProgram:
        """Maximise s: roomy rows hold by s. With doubt 1 rounding widens every row, with 0 nothing is widened."""
        n = len(self.middle)
        A = np.vstack(
            [np.column_stack([self.rows, -roomy.astype(float)]), np.column_stack([self.equations, 0 * self.gap])]
        )
        low = np.concatenate([-self.slack - doubt * self.error, self.gap - doubt * self.gap_error])
        high = np.concatenate([np.full(len(self.rows), np.inf), self.gap + doubt * self.gap_error])
        cost = np.append(np.zeros(n), -1.0)
        sides = np.append(-share * self.half, -1.0), np.append(share * self.half, 1.0)
        return WarmProgram(cost, sp.csr_array(A), sides, (low, high))


def pattern_program(
    graph: Blocks, branches: Taken, conditions: Conditions, box: tuple[np.ndarray, np.ndarray]
) -> PatternProgram:
    """Rows of a pattern over a bounded box.

    Notes
    -----
    Cost: the pattern's matrix; programs with as many columns as inputs.
    """
    low, high = box
    middle, half = 0.5 * (low + high), 0.5 * (high - low) * (1 + 1e-15)
    maps = affine_values(graph, branches)
    at: System = system_at(graph, branches, conditions, middle, maps, rows=True)
    reach = np.linalg.norm(half) * (1 + 1e-9)
    error = at.error + at.row_error * reach
    open_ = at.slack - error < np.abs(at.sides) @ half * (1 + 1e-9)
    scale = np.linalg.norm(at.rows, axis=1)
    scale = np.where(scale > 0, scale, 1.0)
    size = np.linalg.norm(at.sides[open_], axis=1)
    size = np.where(size > 0, size, 1.0)
    return PatternProgram(
        at.sides[open_] / size[:, None], at.slack[open_] / size, error[open_] / size * (1 + 1e-9) + 1e-14,
        at.weak[open_], at.rows / scale[:, None], at.gap / scale,
        (at.gap_error + at.rows_error * reach) / scale * (1 + 1e-9) + 1e-14, middle, half,
    )  # fmt: skip
