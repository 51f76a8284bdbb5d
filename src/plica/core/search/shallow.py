"""One ReLU layer between free inputs and the conditions: points and proofs without programs.

With t free, a pattern has a point when some h > 0 on its positive units, 0 on the others, satisfies the conditions
E h = e, G h <= g. If the equations' rows are independent on the positive units of one such h, every further unit can be
made positive a little, and the others make up for it.
"""

from __future__ import annotations

import numpy as np

from plica.core.choice import Piecewise
from plica.core.exact.floats import gamma, smallest_singular_value, solution_radius
from plica.core.network import INPUT
from plica.core.search.blocks import FINAL, Blocks
from plica.core.search.bounds import tables
from plica.core.search.conditions import Conditions

STEP = 1e-2  # a unit that is switched on gets at most this
LOWERINGS = 6  # steps in which a unit is brought to 0
KEEPS = 1e-11  # of the terms' sizes, by which the equations may then be missed
KEPT = 64  # factorisations that are kept


class Shallow:
    """The conditions on the outputs h of the layer, dense."""

    def __init__(self, graph: Blocks, name: str, conditions: Conditions) -> None:
        self.graph, self.name = graph, name
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
        """Outputs with a unit at 0 and the equations kept, the other positive ones making up; None when that fails.

        Each of them moves in proportion to its size, and never as far as 0 (affine scaling).

        Parameters
        ----------
        h : ndarray, shape (units,)
        """
        moving = h > 0
        moving[unit] = False
        new = h.copy()
        for _ in range(LOWERINGS):
            own = new[moving]
            M = self.E[:, moving] * own
            try:
                change = own * (M.T @ np.linalg.solve(M @ M.T, self.E[:, unit] * new[unit]))
            except np.linalg.LinAlgError:
                return None
            falls = change < 0
            room = np.min(own[falls] / -change[falls], initial=np.inf)
            size = 1.0 if room > 1 else 0.9 * room
            new[moving] = own + size * change
            new[unit] *= 1.0 - size
            if size == 1.0:
                break
        missed = np.abs(self.E @ (new - h)) > KEEPS * (self.E_size @ h)
        fits = new[unit] == 0 and not missed.any() and (new >= 0).all() and (self.G @ new < self.g).all()
        return new if fits else None

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


def shallow(graph: Blocks, conditions: Conditions) -> Shallow | None:
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
    return Shallow(graph, names[0], conditions) if relu and own and last[:, :n].nnz == 0 else None
