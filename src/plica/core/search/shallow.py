"""One ReLU layer between free inputs and the conditions: points and proofs without programs.

With t free, a pattern has a point when some h > 0 on its positive units, 0 on the others, satisfies the conditions
E h = e, G h <= g. If the equations' rows are independent on the positive units of one such h, every further unit can be
made positive a little, and the others make up for it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from plica.core.choice import Piecewise
from plica.core.exact.floats import gamma, smallest_singular_value, solution_radius
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.search.blocks import FINAL, Blocks
from plica.core.search.bounds import Taken, tables
from plica.core.search.conditions import Conditions
from plica.core.search.relaxation import Relaxation
from plica.core.solve.warm import WarmProgram

DEEP = 1.0  # free values of units that are off are put this far below the knot
CENTRED = 1e-7  # less room than this is none
STEP = 1e-2  # a unit that is switched on gets at most this
LOWERINGS = 10  # steps in which a unit is brought to 0
STUCK = 1e-3  # of its first size: a unit so near to 0 and not there has others in its way
KEEPS = 1e-11  # of the terms' sizes, by which the equations may then be missed
KEPT = 64  # factorisations that are kept


class Shallow:
    """The conditions on the outputs h of the layer, dense."""

    def __init__(self, graph: Blocks, name: str, conditions: Conditions, progress: Progress) -> None:
        self.graph, self.name, self.progress = graph, name, progress
        span = graph.spans[name]
        rows = graph.rows[FINAL]
        W = rows.matrix[:, span].toarray()
        g, e_low, e_high = conditions.floats()
        self.E, self.G = conditions.E @ W, conditions.G @ W
        self.e = 0.5 * (e_low + e_high) - conditions.E @ rows.offset
        self.g = g - conditions.G @ rows.offset
        self.e_wrong = (e_high - e_low) + gamma(conditions.terms + 6) * (
            np.abs(e_high) + abs(conditions.E) @ np.abs(rows.offset)
        )
        self.g_wrong = gamma(conditions.terms + 6) * (np.abs(g) + abs(conditions.G) @ np.abs(rows.offset))
        self.terms = conditions.terms + 6  # roundings of an entry of E W, and of what is made of it
        self.E_size, self.G_size = abs(conditions.E) @ np.abs(W), abs(conditions.G) @ np.abs(W)
        self.length = np.linalg.norm(self.E, axis=1) + 1e-300
        self.reach = np.linalg.norm(self.G_size, axis=1) * (1 + 1e-9)
        self._inverse: dict[bytes, np.ndarray | None] = {}
        self._on = np.zeros(W.shape[1], dtype=bool)  # rows of the program that are switched on
        self._independent: list[np.ndarray] = []
        self._sigma: list[tuple[np.ndarray, float]] = []

    def raise_unit(self, h: np.ndarray, unit: int, open_: np.ndarray) -> np.ndarray | None:
        """Outputs with a unit above 0 and the conditions kept; None when no such step is found.

        Parameters
        ----------
        h : ndarray, shape (units,)
        open_ : ndarray of bool, shape (units,)
            Units that may be positive.
        """
        moving = open_ & (h > 0)
        moving[unit] = False
        inverse = self._solver(moving)
        if inverse is None:
            return None
        step = np.zeros(len(h))
        step[moving] = -inverse @ self.E[:, unit]
        step[unit] = 1.0
        slack, rate = self.g - self.G @ h, self.G @ step
        room = np.min(slack[rate > 0] / rate[rate > 0], initial=np.inf)
        falls = step < 0
        room = min(room, np.min(h[falls] / -step[falls], initial=np.inf))
        size = min(STEP, 0.1 * room)
        return h + size * step if size > 0 else None

    def lower_unit(self, h: np.ndarray, unit: int) -> np.ndarray | None:
        """Outputs with a unit at 0 and the conditions kept, the other positive ones making up; None when that fails.

        Each step is the shortest in which every output is measured by itself and every inequality by its room (Dikin),
        and goes less than the whole way to the first side.

        Parameters
        ----------
        h : ndarray, shape (units,)
        """
        moving = h > 0
        moving[unit] = False
        if moving.sum() < len(self.E):
            return None
        new, E, G = h.copy(), self.E[:, moving], self.G[:, moving]
        for _ in range(LOWERINGS):
            own, slack = new[moving], self.g - self.G @ new
            if not (slack > 0).all():
                return None
            aim = self.G[:, unit] * new[unit] / slack
            change = own * _step(E * own, self.E[:, unit] * new[unit], G * own / slack[:, None], aim)
            if not np.isfinite(change).all():
                return None
            used = np.concatenate([-change / own, G @ change / slack - aim])
            size = 1.0 if used.max() < 1 else 0.9 / float(used.max())
            new[moving] = own + size * change
            new[unit] *= 1.0 - size
            if size == 1.0:
                return self._checked(new)
            if new[unit] < STUCK * h[unit]:
                return None
        return None

    def _checked(self, h: np.ndarray) -> np.ndarray | None:
        """Outputs that keep the conditions about as well as floats can; None when they do not."""
        for new in (h, self.polished(h)):
            missed = np.abs(self.E @ new - self.e) > KEEPS * (self.E_size @ new + np.abs(self.e))
            if not missed.any() and (new >= 0).all() and (self.G @ new < self.g).all():
                return new
        return None

    def as_relaxed(self, relaxation: Relaxation, h: np.ndarray, on: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Outputs as a point of the relaxation; what units that are off read stays where it is in x, or goes down."""
        reads = relaxation.reads[self.name]
        new = x.copy()
        z = np.where(h > 0, h, np.minimum(x[reads], -DEEP))
        new[reads], new[relaxation.graph.spans[self.name]] = z, h
        new[relaxation.graph.spans[INPUT]] = z - self.graph.rows[self.name].offset
        new[-1] = min(1.0, float(h[on].min(initial=1.0)))
        return new

    def centred(self, relaxation: Relaxation, taken: Taken, x: np.ndarray) -> np.ndarray:
        """A point of the relaxation far from its sides, where there is one; otherwise the given one."""
        branches = taken[self.name]
        h = self.middle(branches, CENTRED)
        return x if h is None else self.as_relaxed(relaxation, h, branches == 1, x)

    def middle(self, branches: np.ndarray, least: float) -> np.ndarray | None:
        """Outputs far from every side: what is on, and the room of every inequality, is as large as it can be, up to 1.

        Parameters
        ----------
        branches : ndarray, shape (units,)
            1 on, 0 off, -1 undecided (not negative).
        least : float
            With less room than this there is no answer (None), which says nothing about the pattern.
        """
        program, units = self._program, len(branches)
        on, off = branches == 1, branches == 0
        program.columns(np.arange(units), np.zeros(units), np.where(off, 0.0, np.inf))
        for unit in np.flatnonzero(on != self._on).tolist():
            program.row(len(self.E) + len(self.G) + unit, 0.0 if on[unit] else -np.inf, np.inf)
        self._on = on
        x = program.x if program.solve() == "optimal" else None
        if x is None or not x[-1] > least or not np.isfinite(x).all():
            return None
        return self.polished(np.maximum(x[:-1], 0.0))

    def polished(self, h: np.ndarray) -> np.ndarray:
        """Outputs nearer to the equations, what is positive moved in proportion to its size."""
        new, own = h.copy(), h[h > 0]
        if len(own) < len(self.E):
            return h
        change = own * _shortest(self.E[:, h > 0] * own, self.e - self.E @ h)
        new[h > 0] += change
        return new if (np.abs(change) < 0.5 * own).all() else h

    @cached_property
    def _program(self) -> WarmProgram:
        """Largest s with E h = e, G h + s <= g, h >= s where a unit is on (rows that are switched on by `middle`)."""
        units = self.E.shape[1]
        ones = np.ones((len(self.G), 1))
        rows = np.vstack([
            np.column_stack([self.E, np.zeros(len(self.E))]), np.column_stack([self.G, ones]),
        ])  # fmt: skip
        own = sp.hstack([sp.eye_array(units), sp.csr_array(-np.ones((units, 1)))])
        cost = np.zeros(units + 1)
        cost[-1] = -1.0
        never = np.full(len(self.G) + units, -np.inf)
        return WarmProgram(
            cost,
            sp.csr_array(sp.vstack([sp.csr_array(rows), own], format="csr")),
            (np.zeros(units + 1), np.append(np.full(units, np.inf), 1.0)),
            (np.concatenate([self.e, never]), np.concatenate([self.e, self.g, np.full(units, np.inf)])),
            progress=self.progress,
        )

    def only(self, taken: Taken, witness: Taken) -> bool:
        """Whether the branches taken leave no outputs but the witness's: proven, where the equations fix them all.

        The difference of two solutions lies in the units that are not off and those on at the witness; where the
        equations' columns of these are independent, it is 0.
        """
        moving = (taken[self.name] != 0) | (witness[self.name] == 1)
        if moving.sum() > len(self.E):
            return False
        if any(not (moving & ~known).any() for known in self._independent):
            return True
        M = self.E[:, moving].T / self.length
        sizes = np.linalg.norm(M, axis=1, keepdims=True) + 1e-300
        lost = gamma(self.terms + 2) * float(np.linalg.norm(self.E_size[:, moving].T / self.length / sizes))
        if smallest_singular_value(M / sizes) * (1 - 1e-12) <= lost * (1 + 1e-9):
            return False
        self._independent = [moving, *self._independent[: KEPT // 8]]
        return True

    def _solver(self, moving: np.ndarray) -> np.ndarray | None:
        """Right inverse of the equations on a set of units that stays in use while units are added."""
        for known, inverse in self._inverse.items():
            base = np.frombuffer(known, dtype=bool)
            if inverse is not None and not (base & ~moving).any():
                out = np.zeros((int(moving.sum()), len(self.E)))
                out[base[moving]] = inverse
                return out
        key = moving.tobytes()
        if key not in self._inverse:
            if len(self._inverse) >= KEPT:
                self._inverse.pop(next(iter(self._inverse)))
            M = self.E[:, moving]
            full = M.shape[1] >= M.shape[0] and np.linalg.matrix_rank(M) == M.shape[0]
            self._inverse[key] = np.linalg.pinv(M) if full else None
        return self._inverse[key]

    def proves(self, h: np.ndarray) -> bool:
        """Whether the pattern of the positive entries of h has a point, every rounding error included."""
        on = h > 0
        sigma = self._least(on)
        if sigma <= 0:
            return False
        k = int(on.sum()) + self.terms
        miss = np.abs(self.E @ h - self.e) + gamma(k) * (self.E_size @ h + np.abs(self.e)) + self.e_wrong
        radius = solution_radius(float(np.linalg.norm(miss / self.length)) * (1 + 1e-9), sigma)
        spare = self.g - self.G @ h - gamma(k) * (self.G_size @ h + np.abs(self.g)) - self.g_wrong
        return bool((h[on] > radius).all() and (spare > self.reach * radius * (1 + 1e-9)).all())

    def settled(self, h: np.ndarray) -> np.ndarray | None:
        """These outputs, or some nearer to the equations, where the pattern is proven to have a point; else None."""
        if self.proves(h):
            return h
        near = self.polished(h)
        return near if self.proves(near) else None

    def _least(self, on: np.ndarray) -> float:
        """Proven smallest singular value of the scaled equations on some of the positive units."""
        if not len(self.E):
            return np.inf
        for base, sigma in self._sigma:
            if not (base & ~on).any():
                return sigma
        M = self.E[:, on] / self.length[:, None]
        sigma = smallest_singular_value(M) * (1 - 1e-12) if M.shape[0] <= M.shape[1] else 0.0
        sigma -= gamma(self.terms) * float(np.linalg.norm(self.E_size[:, on] / self.length[:, None])) * (1 + 1e-9)
        if sigma > 0:
            self._sigma = [(on.copy(), sigma), *self._sigma[: KEPT - 1]]
        return sigma

    @property
    def dimension(self) -> int:
        """Of every piece proven here, in t."""
        return self.graph.spans[INPUT].stop - len(self.E)


def _shortest(E: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The shortest y with E y = right, in floats; not finite where the rows of E are dependent."""
    Q, R = np.linalg.qr(E.T)
    if not np.diag(R).all():
        return np.full(E.shape[1], np.nan)
    return Q @ scipy.linalg.solve_triangular(R, right, trans="T", check_finite=False)


def _step(E: np.ndarray, right: np.ndarray, V: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """y with E y = right, nearly, and the least |y|^2 + |V y - aim|^2; not finite where that fails."""
    try:
        L = scipy.linalg.cholesky(np.eye(E.shape[1]) + V.T @ V, lower=True, check_finite=False)
        both = scipy.linalg.solve_triangular(L, np.column_stack([E.T, V.T @ aim]), lower=True, check_finite=False)
        B, start = both[:, :-1], both[:, -1]
        z = start + B @ np.linalg.solve(B.T @ B, right - B.T @ start)
    except np.linalg.LinAlgError:
        return np.full(E.shape[1], np.nan)
    return scipy.linalg.solve_triangular(L, z, lower=True, trans="T", check_finite=False)


def shallow(graph: Blocks, conditions: Conditions, progress: Progress) -> Shallow | None:
    """The conditions behind one ReLU layer that reads nothing but t, each unit its own; None for other networks."""
    names = [name for name in graph.spans if name != INPUT]
    if len(names) != 1 or not graph.exact:
        return None
    op = graph.network[names[0]].op
    if not isinstance(op, Piecewise) or len(op.knots) != 1:
        return None
    knots, slopes, shifts = tables(op)
    relu = (knots == 0).all() and (slopes[0] == 0).all() and (slopes[1] == 1).all() and (shifts == 0).all()
    n = graph.spans[INPUT].stop
    first, last = graph.rows[names[0]].matrix, graph.rows[FINAL].matrix
    alone = (np.diff(first.indptr) == 1).all() and first.shape == (n, graph.columns)
    own = alone and (first.data == 1).all() and (first.indices == np.arange(n)).all()
    return Shallow(graph, names[0], conditions, progress) if relu and own and last[:, :n].nnz == 0 else None
