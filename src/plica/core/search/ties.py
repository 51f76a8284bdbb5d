"""Parts of the tree that only an exact argument closes: their strict rows can be 0, and nothing above.

An exact point w of the whole question (the witness) makes the argument possible in floats. If multipliers give

    s = sum_i m_i (row_i - row_i(w)) + sum_j c_j (v_j - w_j)      as linear functions of v,

with m_i <= 0 where the row's lower end is not below row_i(w), m_i >= 0 where its upper end is not above (and the same
for c_j), then no point of the relaxation has s > 0. A program's multipliers satisfy the identity up to rounding; where
the rows used are independent on the columns that must vanish, exact multipliers lie so near that no sign changes.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from plica.core.exact import columns as exact
from plica.core.exact.floats import gamma, smallest_singular_value, solution_radius
from plica.core.network import INPUT
from plica.core.polyhedron.cone import is_implied
from plica.core.progress import Progress
from plica.core.search.blocks import FINAL, Blocks
from plica.core.search.relaxation import Relaxation
from plica.errors import SolverError

SMALL = 1e-9  # multipliers below this are put to zero
SURE = 1e-7  # multipliers below this count as zero and are made exactly so


class Ties:
    """The witness in a relaxation's variables.

    Parameters
    ----------
    relaxation : Relaxation
        Of exact rows.
    values : dict of Columns
        Every value at the witness.
    start : list of Fraction
        The relaxation's input at the witness.
    """

    def __init__(self, relaxation: Relaxation, values: dict[str, exact.Columns], start: list[Fraction]) -> None:
        self.relaxation = relaxation
        graph = relaxation.graph
        count = relaxation.slack + 1
        self.w: list[Fraction] = [Fraction(0)] * count
        for name, span in graph.spans.items():
            if name == INPUT:
                self.w[span] = start
                continue
            for j in range(span.stop - span.start):
                self.w[span.start + j] = values[name].entry(j)
        for name, span in relaxation.reads.items():
            read = graph.value if name == FINAL else graph.network[name].inputs[0]
            for j in range(span.stop - span.start):
                self.w[span.start + j] = values[read].entry(j)
        self._rows: dict[int, Fraction] = {}
        self._floats = np.array([float(v) if Fraction(float(v)) == v else np.nan for v in self.w])

    def _row(self, i: int) -> Fraction:
        """Value of a row at the witness."""
        if i not in self._rows:
            A = self.relaxation.program.matrix
            span = slice(A.indptr[i], A.indptr[i + 1])
            terms = zip(A.data[span].tolist(), A.indices[span].tolist(), strict=True)
            self._rows[i] = sum((Fraction(a) * self.w[j] for a, j in terms), Fraction(0))
        return self._rows[i]

    def close(self) -> bool:
        """Whether the last optimum's multipliers prove that s <= 0."""
        p = self.relaxation.program
        y = p.duals()
        y = np.where(np.abs(y) < SMALL, 0.0, y)
        used = np.flatnonzero(y)
        y[self._wrong(used, y[used], p.row_lower, p.row_upper, self._row_value)] = 0.0  # columns may make up for them
        used = np.flatnonzero(y)
        cost = np.zeros(len(p.cost))
        cost[self.relaxation.slack] = -1.0
        if not len(used):
            return False
        A = p.matrix[used]
        rest = cost - A.T @ y[used]  # c of -s
        held = self._held(p.lower, p.upper)
        at_zero = (np.abs(rest) < SURE) & ~held
        sure = np.flatnonzero(~at_zero & ~held)
        if self._wrong(sure, rest[sure], p.lower, p.upper, lambda j: self.w[j]):
            return False
        zero = np.flatnonzero(at_zero & (np.diff(A.tocsc().indptr) > 0))
        M = A[:, zero].toarray().T  # (zero, used): M dy = rest[zero]
        if len(zero) > len(used):
            return False
        shift = 0.0
        if len(zero):
            length = np.linalg.norm(M, axis=1)
            sigma = smallest_singular_value(M / length[:, None])
            if sigma <= 0:
                return False
            error = gamma(len(used) + 4) * (abs(A).T @ np.abs(y[used]) + np.abs(cost))[zero]
            gap = (np.abs(rest[zero]) + error) / (length * (1 - 1e-9))
            shift = solution_radius(float(np.linalg.norm(gap)) * (1 + 1e-9), sigma * (1 - 1e-9))
        free = self.relaxation.defined[used]
        if (np.abs(y[used][~free]) <= shift).any():
            return False
        error = gamma(len(used) + 4) * (abs(A).T @ np.abs(y[used]) + np.abs(cost))
        reach = np.sqrt(np.asarray((A.multiply(A)).sum(0))).ravel() * shift * (1 + 1e-9)
        return bool((np.abs(rest[sure]) > (reach + error)[sure]).all())

    def _row_value(self, i: int) -> Fraction | None:
        return None if self.relaxation.defined[i] else self._row(i)

    def _held(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Variables that have the witness's value everywhere."""
        held = (low == high) & (low == self._floats)
        held[self.relaxation.pinned] = True
        return held

    def _wrong(
        self, index: np.ndarray, weights: np.ndarray, low: np.ndarray, high: np.ndarray, value: Callable
    ) -> list[int]:
        """Where a weight is on a side on which the witness has room.

        A positive weight is on the lower end, a negative one on the upper end.
        """
        out = []
        for i, weight in zip(index.tolist(), weights.tolist(), strict=True):
            own, end = value(i), low[i] if weight > 0 else high[i]
            if own is None:
                continue
            if not np.isfinite(end) or (Fraction(end) < own if weight > 0 else Fraction(end) > own):
                out.append(i)
        return out


def homogeneous(relaxation: Relaxation) -> tuple[np.ndarray, np.ndarray]:
    """The relaxation as a cone {M (v, t) <= 0, N (v, t) = 0}; the last row says t > 0 and all strict rows strict.

    The slack s takes the place of t's strictness: (v, s, t) with s <= t, and the row -s is last.
    """
    p = relaxation.program
    A = p.matrix.toarray()
    n = A.shape[1]
    eye = np.eye(n)
    rows = np.vstack([A, eye])
    low, high = np.concatenate([p.row_lower, p.lower]), np.concatenate([p.row_upper, p.upper])
    equal = np.flatnonzero((low == high) & np.isfinite(low))
    up = np.flatnonzero(np.isfinite(high) & (low != high))
    down = np.flatnonzero(np.isfinite(low) & (low != high))
    last = np.zeros(n + 1)
    last[relaxation.slack] = -1.0
    M = np.vstack([
        np.column_stack([rows[up], -high[up]]), np.column_stack([-rows[down], low[down]]), last
    ])  # fmt: skip
    return M, np.column_stack([rows[equal], -low[equal]])


def behind(graph: Blocks, values: dict[str, exact.Columns]) -> list[Fraction]:
    """The witness in the input of a reduced network: what its rows take from the sources before the choices."""
    out = [Fraction(0)] * graph.spans[INPUT].stop
    n = len(out)
    sources = [v for name, span in graph.spans.items() if name != INPUT
               for v in (values[name].entry(i) for i in range(span.stop - span.start))]  # fmt: skip
    for name, rows in graph.rows.items():
        read = graph.value if name == FINAL else graph.network[name].inputs[0]
        M = rows.matrix
        for i in range(M.shape[0]):
            span = slice(M.indptr[i], M.indptr[i + 1])
            terms = dict(zip(M.indices[span].tolist(), M.data[span].tolist(), strict=True))
            own = [j for j in terms if j < n]
            if own:
                rest = sum((Fraction(a) * sources[j - n] for j, a in terms.items() if j >= n), Fraction(0))
                out[own[0]] = values[read].entry(i) - Fraction(float(rows.offset[i])) - rest
    return out


def closed_exactly(relaxation: Relaxation, progress: Progress) -> bool:
    """Whether integers prove that a relaxation has no point with all strict rows strict.

    Raises
    ------
    BudgetReached
        When the time is up before they tell.
    """
    try:
        return is_implied(*homogeneous(relaxation), -1, progress)
    except SolverError:
        return False
