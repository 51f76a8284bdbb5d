"""A network behind its first rows: the inputs that these rows read are replaced by the rows' own values.

With fewer rows J x than inputs, a search needs only t = J x. Over the whole space and with independent rows t is
free; over a box it lies in a zonotope, of which a relaxation knows the sides and such cuts as are asked for:
``w.t <= max of w.J x over the box`` for any weights w, rounded outward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from plica.core.exact.floats import gamma, smallest_singular_value
from plica.core.network import INPUT
from plica.core.search.blocks import Blocks, Rows
from plica.core.search.bounds import TINY

MOST_ENTRIES = 30_000_000
STEPS = 240  # of projected gradients in one separation
TOUCH = 1e-9  # a distance of rows below this is none


@dataclass(eq=False)
class Reduced:
    """A network with the values t of its input-reading rows as its input.

    Attributes
    ----------
    graph : Blocks
        Over t; ``graph.network`` is still the original one.
    J : ndarray, shape (p, n)
        t = J x.
    low, high : ndarray, shape (p,)
        Proven bounds of t.
    x_low, x_high : ndarray, shape (n,)
    free : bool
        Whether every t is reached.
    lost : ndarray, shape (p,), or None
        Bound of what the rows lost by rounding, over the box.
    """

    graph: Blocks
    J: np.ndarray
    low: np.ndarray
    high: np.ndarray
    x_low: np.ndarray
    x_high: np.ndarray
    free: bool
    lost: np.ndarray
    x: np.ndarray = field(default_factory=lambda: np.zeros(0))
    kept: tuple[bytes, np.ndarray, float] | None = None

    def separate(
        self, low: np.ndarray, high: np.ndarray, margin: float = 0.0, touch: float = TOUCH
    ) -> tuple[np.ndarray, float] | None:
        """Weights w and a level c with ``w.t <= c`` for every t of the box, and ``w.t > c`` for all t in [low, high].

        None when none is found; then `x` is a point of the box with rows near to [low, high]. A margin keeps `x` away
        from the sides, by that share of the box.
        """
        inset = margin * (self.x_high - self.x_low)
        x_low, x_high = self.x_low + inset, self.x_high - inset
        wanted = (self.low < low) | (self.high > high)
        J, steep = self._part(wanted)
        low, high = low[wanted], high[wanted]
        x = y = np.clip(self.x, x_low, x_high) if len(self.x) else 0.5 * (x_low + x_high)
        speed = 1.0
        for step in range(STEPS):
            t = J @ y
            gap = np.clip(t, low, high) - t
            if step % 12 == 11 or step < 2:
                size = float(np.abs(gap).max(initial=0.0))
                if size < touch:
                    break
                w = gap / size
                c = self._level(w, J, wanted)
                least = float(np.where(w > 0, w * np.where(w > 0, low, 0.0), w * np.where(w < 0, high, 0.0)).sum())
                if least - c > 0.5 * size * float(w @ w):
                    self.x = y
                    out = np.zeros(len(wanted))
                    out[wanted] = w
                    return out, c
            new = np.clip(y + (gap @ J) / steep, x_low, x_high)
            if float((y - new) @ (new - x)) > 0:
                speed = 1.0
            ahead = 0.5 * (1 + np.sqrt(1 + 4 * speed * speed))
            y = np.clip(new + (speed - 1) / ahead * (new - x), x_low, x_high)
            x, speed = new, ahead
        self.x = x
        return None

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Q and R of the rows' transpose."""
        Q, R = np.linalg.qr(self.J.T)
        return Q, R

    def lifted(self, t: np.ndarray) -> np.ndarray:
        """The shortest input with these values of the rows, in floats; the rows are independent (`free`)."""
        Q, R = self._factors
        return Q @ scipy.linalg.solve_triangular(R, t, trans="T", check_finite=False)

    def _part(self, wanted: np.ndarray) -> tuple[np.ndarray, float]:
        """Some rows, and the square of their norm; the last ones are kept."""
        key = wanted.tobytes()
        if self.kept is None or self.kept[0] != key:
            J = np.ascontiguousarray(self.J[wanted])
            steep = 1.02 * float(np.linalg.eigvalsh(J @ J.T)[-1]) if len(J) else 1.0
            self.kept = (key, J, steep)
        return self.kept[1], self.kept[2]

    def _level(self, w: np.ndarray, J: np.ndarray, wanted: np.ndarray) -> float:
        """Proven upper bound of ``w.t`` over the box."""
        v = w @ J
        top = np.where(v > 0, v * self.x_high, v * self.x_low)
        reach = np.maximum(np.abs(self.x_low), np.abs(self.x_high))
        error = gamma(len(w) + 4) * float(np.abs(w) @ (np.abs(J) @ reach)) + gamma(len(v) + 4) * float(
            np.abs(top).sum()
        )
        return float(top.sum()) + error * (1 + 1e-9) + float(np.abs(w) @ self.lost[wanted]) * (1 + 1e-9) + TINY


def reduced(graph: Blocks, low: np.ndarray, high: np.ndarray) -> Reduced | None:
    """Replace the inputs by the rows that read them; None where that is no help or not possible.

    Parameters
    ----------
    low, high : ndarray, shape (n,)
        A bounded box, or no bounds at all.
    """
    span = graph.spans[INPUT]
    n = span.stop
    bounded = bool(np.isfinite(low).all() and np.isfinite(high).all())
    if not bounded and (np.isfinite(low).any() or np.isfinite(high).any()):
        return None
    reading = {k: np.flatnonzero(np.diff(sp.csr_array(r.matrix[:, span]).indptr)) for k, r in graph.rows.items()}
    p = sum(len(v) for v in reading.values())
    if p >= n or not p or p * n > MOST_ENTRIES:
        return None
    parts = [graph.rows[k].matrix[:, span][v].toarray() for k, v in reading.items()]
    J = np.ascontiguousarray(np.vstack(parts))
    size = np.maximum(np.abs(low), np.abs(high))
    lost = np.zeros(p)
    if not graph.exact:
        errors = [_error(graph.rows[k], span)[v] for k, v in reading.items()]
        if bounded:
            lost = np.concatenate([np.asarray(e @ size) for e in errors]) * (1 + 1e-9)
        elif any(e.count_nonzero() for e in errors):
            return None
    if not bounded and smallest_singular_value(J / np.linalg.norm(J, axis=1, keepdims=True)) <= 0:
        return None
    new = _graph(graph, reading, p)
    if not bounded:
        return Reduced(new, J, np.full(p, -np.inf), np.full(p, np.inf), low, high, True, lost)
    middle = np.maximum(J, 0) @ high + np.minimum(J, 0) @ low
    bottom = np.maximum(J, 0) @ low + np.minimum(J, 0) @ high
    room = gamma(n + 4) * (np.abs(J) @ size) * (1 + 1e-9) + lost + TINY
    return Reduced(new, J, bottom - room, middle + room, low, high, False, lost)


def _error(rows: Rows, span: slice) -> sp.csr_array:
    if rows.matrix_error is None:
        return sp.csr_array((rows.matrix.shape[0], span.stop))
    return sp.csr_array(rows.matrix_error[:, span])


def _graph(graph: Blocks, reading: dict[str, np.ndarray], p: int) -> Blocks:
    """The blocks with t as input: unit rows instead of those of J."""
    n = graph.spans[INPUT].stop
    spans = {k: slice(0, p) if k == INPUT else slice(s.start - n + p, s.stop - n + p) for k, s in graph.spans.items()}
    rows, start = {}, 0
    for name, r in graph.rows.items():
        units = reading[name]
        chosen = (np.ones(len(units)), (units, np.arange(start, start + len(units))))
        first = sp.csr_array(chosen, shape=(r.matrix.shape[0], p))
        start += len(units)
        matrix = sp.csr_array(sp.hstack([first, r.matrix[:, n:]], format="csr"))
        error = r.matrix_error
        if error is not None:
            error = sp.csr_array(sp.hstack([sp.csr_array(first.shape), error[:, n:]], format="csr"))
        rows[name] = Rows(matrix, r.offset, error, r.offset_error)
    return Blocks(graph.network, spans, rows, graph.value)
