"""The linear program of a whole pattern in its input's own variables, for bounded boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from plica.core.progress import Progress
from plica.core.search.blocks import Blocks
from plica.core.search.bounds import Taken
from plica.core.search.conditions import Conditions
from plica.core.search.inside import Affine, System, affine_values, system_at
from plica.core.solve.warm import WarmProgram

INSET = 1e-4  # share of the box that is left free at its sides, for points inside
CLEAR = 1e-8
STEPS = 14  # of projections; half-way the rows that were met are let go
MET = 1e-3  # share of the room by which a projection may miss
RIDGE = 1e-12  # of the mean diagonal, for dependent rows


@dataclass(frozen=True, eq=False)
class PatternProgram:
    """Rows of a pattern around the middle of the box, those that the box alone satisfies left out.

    ``rows d >= -slack - error`` for the inequalities and ``|equations d - gap| <= gap_error``, d the distance from the
    middle; the errors hold everything that was rounded. The seconds of `progress` end every question.
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
    maps: dict[str, Affine] = field(repr=False)
    progress: Progress = field(repr=False)

    def moved(self, start: np.ndarray, share: float) -> np.ndarray | None:
        """A point with room in all inequalities, by projections from a start; None when they do not end in one.

        Every step goes the shortest way to the rows that some step violated, along the sides of the box it reached.

        Parameters
        ----------
        start : ndarray, shape (n,)
        share : float
            The room, as a share of the box's longest half side.
        """
        room, sides = share * float(self.half.max(initial=0.0)), (1 - INSET) * self.half
        rows, count = np.vstack([self.equations, self.rows]), len(self.equations)
        low = np.concatenate([self.gap, room - self.slack])
        high = np.concatenate([self.gap, np.full(len(self.rows), np.inf)])
        d = np.clip(start - self.middle, -sides, sides)
        always = np.arange(len(rows)) < count
        active = always
        for step in range(STEPS):
            self.progress.check()
            at = rows @ d
            missed = np.clip(at, low, high) - at
            if np.abs(missed).max(initial=0.0) < MET * room:
                return self.middle + d
            active = (always if step == STEPS // 2 else active) | (missed != 0)
            way = _shortest(rows[active], missed[active], d, sides)
            if way is None:
                return None
            d = np.clip(d + way, -sides, sides)
        return None

    def inner(self) -> np.ndarray | None:
        """A point with room in all inequalities and to the sides of the box; None when none is found."""
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
        return WarmProgram(cost, sp.csr_array(A), sides, (low, high), progress=self.progress)


def pattern_program(
    graph: Blocks, branches: Taken, conditions: Conditions, box: tuple[np.ndarray, np.ndarray], progress: Progress
) -> PatternProgram:
    """Rows of a pattern over a bounded box.

    Notes
    -----
    Cost: the pattern's matrix; programs with as many columns as inputs.
    """
    low, high = box
    middle, half = 0.5 * (low + high), 0.5 * (high - low) * (1 + 1e-15)
    maps = affine_values(graph, branches, progress)
    progress.check()
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
        (at.gap_error + at.rows_error * reach) / scale * (1 + 1e-9) + 1e-14, middle, half, maps, progress,
    )  # fmt: skip


def _shortest(rows: np.ndarray, missed: np.ndarray, d: np.ndarray, sides: np.ndarray) -> np.ndarray | None:
    """The shortest step that gives what is missed, without the variables that it would push out of the box."""
    stays = np.zeros(len(d), dtype=bool)
    way = np.zeros(len(d))
    for _ in range(3):
        part = rows[:, ~stays]
        gram = part @ part.T
        gram[np.diag_indices(len(gram))] += RIDGE * np.trace(gram) / len(gram)
        try:
            weights = scipy.linalg.cho_solve(scipy.linalg.cho_factor(gram, check_finite=False), missed)
        except (np.linalg.LinAlgError, ValueError):
            return None
        way = np.where(stays, 0.0, weights @ rows)
        out = ((d <= -sides) & (way < 0)) | ((d >= sides) & (way > 0))
        if not out.any():
            break
        stays |= out
    return np.where(stays, 0.0, way)
