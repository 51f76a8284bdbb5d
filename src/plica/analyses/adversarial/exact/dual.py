"""Multipliers and what they prove: a half-space that holds every input that has the wanted class.

For an input of the domain with margins >= 0, any nonnegative combination of margins and of lines that hold is >= 0. The
outputs of choices are removed one choice after the other, what is left of their coefficients times their bounds, and a
form of the perturbation remains: w.d >= beta. This holds for any multipliers, so that solvers need not be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plica.analyses.adversarial.exact.bounds import SLACK, State
from plica.analyses.adversarial.exact.kernels import TINY
from plica.analyses.adversarial.exact.layers import Layers
from plica.core.exact.floats import gamma

GRID = 2.0**30  # multipliers are whole numbers over this, relative to the largest: their sums are exact
LEAST = 1e-9  # share of the largest below which a multiplier is dropped


@dataclass(frozen=True, eq=False)
class Multipliers:
    """Of the margins, and per choice of its lines above, its lines below, and its bounds (signed: > 0 for lower)."""

    margins: np.ndarray
    above: tuple[np.ndarray, ...]
    below: tuple[np.ndarray, ...]
    bounds: tuple[np.ndarray, ...]

    def rounded(self) -> Multipliers:
        """On a grid, small ones dropped."""
        parts = (self.margins, *self.above, *self.below, *self.bounds)
        top = max((float(np.abs(p).max(initial=0.0)) for p in parts), default=0.0)
        if not 0 < top < np.inf:
            return self
        unit = 2.0 ** np.ceil(np.log2(top)) / GRID

        def on(p: np.ndarray) -> np.ndarray:
            return np.where(np.abs(p) < LEAST * top, 0.0, np.rint(p / unit) * unit)

        above, below, bounds = (tuple(map(on, group)) for group in (self.above, self.below, self.bounds))
        return Multipliers(on(self.margins), above, below, bounds)


def halfspace(layers: Layers, state: State, aim: np.ndarray, given: Multipliers) -> tuple[np.ndarray, float]:
    """The half-space w.d >= beta that multipliers prove (RIGOROUS).

    Parameters
    ----------
    aim : ndarray, shape (margins, classes)
        Rows of small whole numbers; the wanted inputs have ``aim @ value >= 0``.
    given : Multipliers
        On a grid (`Multipliers.rounded`).

    Returns
    -------
    w : ndarray, shape (n,)
    beta : float
    """
    y = given.margins @ aim
    reading = layers.readings[-1]
    known: dict[int, np.ndarray] = {s: y @ matrix for s, matrix, _ in reading.parts}
    constant = float(y @ reading.offset)
    lost = float(np.abs(y) @ state.charge[-1])
    for j in reversed(range(len(layers.choices))):
        h, reading = state.hulls[j], layers.readings[j]
        c = known.pop(j + 1, None)
        c = np.zeros(len(h.low)) if c is None else c
        y, plus, error = _removed(state, j, c, given)
        constant += plus + float(y @ reading.offset)
        lost += error + float(np.abs(y) @ state.charge[j]) + gamma(8) * (abs(constant) + abs(plus))
        if y.any():
            for s, matrix, _ in reading.parts:
                known[s] = known.get(s, 0.0) + y @ matrix
                lost += gamma(6) * float(np.abs(known[s]) @ state.sizes[s])
    w = known.get(0, np.zeros(layers.inputs))
    return w, -(constant + lost * SLACK + gamma(8) * (abs(constant) + lost) + TINY)


def _removed(state: State, j: int, c: np.ndarray, given: Multipliers) -> tuple[np.ndarray, float, float]:
    """Remove the outputs of a choice from an upper bound: coefficients of what it reads, a constant, an error."""
    h, up, down, edge = state.hulls[j], given.above[j], given.below[j], given.bounds[j]
    width = len(state.below[j])
    terms = np.abs(c)
    y, size = np.zeros(width), np.zeros(width)
    constant = total = 0.0
    for lines, weight, sign in ((h.above, up, 1.0), (h.below, down, -1.0)):
        if weight.any():
            c = c - sign * np.bincount(lines.unit, weight, len(c))
            terms = terms + np.bincount(lines.unit, weight, len(c))
            pulled = weight * lines.slope
            y += sign * np.bincount(lines.source, pulled, width)
            size += np.bincount(lines.source, np.abs(pulled), width)
            constant += sign * float(weight @ lines.shift)
            total += float(weight @ np.abs(lines.shift))
    through = np.where(h.exact, c, 0.0)
    y += np.bincount(h.source, through * h.slope, width) + edge
    size += np.bincount(h.source, np.abs(through * h.slope), width) + np.abs(edge)
    rest = np.where(h.exact, 0.0, c)
    left = np.maximum(rest * h.low, rest * h.high)
    limit = np.where(edge > 0, state.below[j], state.above[j])
    parts = (through @ h.shift, left.sum(), -(edge @ limit))
    constant += float(sum(parts))
    total += float(np.abs(through) @ np.abs(h.shift) + np.abs(left).sum() + np.abs(edge) @ np.abs(limit))
    g = gamma(len(up) + len(down) + 2 * len(c) + 24)
    errors = total + terms @ np.maximum(np.abs(h.low), np.abs(h.high)) + size @ h.span
    errors += terms @ (np.abs(h.slope) * h.span[h.source] + np.abs(h.shift))
    return y, constant, g * float(errors)


def by_default(layers: Layers, state: State, aim: np.ndarray, margins: np.ndarray) -> Multipliers:
    """The multipliers that pull a combination of margins back along the default lines (float; any are sound)."""
    y = margins @ aim
    known: dict[int, np.ndarray] = {s: y @ matrix for s, matrix, _ in layers.readings[-1].parts}
    above: list[np.ndarray] = [np.zeros(0)] * len(layers.choices)
    below, bounds = above.copy(), above.copy()
    for j in reversed(range(len(layers.choices))):
        h = state.hulls[j]
        c = known.pop(j + 1, None)
        c = np.zeros(len(h.low)) if c is None else c
        above[j] = _chosen(h.above.unit, h.default[0], np.where(h.exact, 0.0, np.maximum(c, 0.0)))
        below[j] = _chosen(h.below.unit, h.default[1], np.where(h.exact, 0.0, np.maximum(-c, 0.0)))
        bounds[j] = np.zeros(len(state.below[j]))
        through = np.where(h.exact, c, 0.0) * h.slope
        y = np.bincount(h.source, through, len(bounds[j]))
        for lines, weight, sign in ((h.above, above[j], 1.0), (h.below, below[j], -1.0)):
            y = y + sign * np.bincount(lines.source, weight * lines.slope, len(y))
        for s, matrix, _ in layers.readings[j].parts:
            known[s] = known.get(s, 0.0) + y @ matrix
    return Multipliers(margins, tuple(above), tuple(below), tuple(bounds))


def _chosen(unit: np.ndarray, default: np.ndarray, weight: np.ndarray) -> np.ndarray:
    out = np.zeros(len(unit))
    has = default >= 0
    out[default[has]] = weight[has]
    return out
