"""Proven bounds of what every choice reads, over a ball cut with a box, a half-space and branches taken.

Linear bounds are pulled back to the input choice by choice (Zhang et al. 2018, CROWN), then minimised over the domain.
What the floats lose on the way is charged with the largest size of the variable it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plica.analyses.adversarial.exact.hull import Hull, Lines, hull, restrict
from plica.analyses.adversarial.exact.kernels import TINY, least
from plica.analyses.adversarial.exact.layers import Layers, Matrix, Maximum, Reading
from plica.core.exact.floats import gamma

MOST = 60_000_000  # entries of the forms of one layer; wider layers keep their intervals
SLACK = 1 + 1e-9  # covers the roundings of sums of bounds on errors


@dataclass(frozen=True, eq=False)
class Domain:
    """{d : lower <= d <= upper, |d| <= radius, w.d >= beta}; the box is bounded and holds 0."""

    lower: np.ndarray
    upper: np.ndarray
    norm: float
    radius: float
    w: np.ndarray
    beta: float

    def least(self, forms: np.ndarray) -> np.ndarray:
        """Proven lower bounds of linear forms, and the multipliers they come from, shape (3, rows)."""
        return least(np.ascontiguousarray(forms), self.lower, self.upper, self.norm, self.radius, self.w, self.beta)


def ball(layers: Layers, norm: float, radius: float) -> Domain:
    """The ball of a radius cut with the box."""
    low, high = np.maximum(layers.lower, -radius), np.minimum(layers.upper, radius)
    return Domain(low, high, norm, radius, np.zeros(layers.inputs), 0.0)


@dataclass(frozen=True, eq=False)
class State:
    """Bounds over a domain.

    Attributes
    ----------
    below, above : tuple of ndarray
        Of what every choice reads.
    hulls : tuple of Hull
        Of every choice.
    charge : tuple of ndarray
        Per row of every reading: how far a float product with it may be off, for the sources as they are.
    sizes : tuple of ndarray
        Bounds on the sizes of the sources.
    found : tuple of (numbers, multipliers)
        Per choice: which bounds were computed by pulling back, and with which multipliers of ball and half-space,
        shape (4, numbers): for the lower bounds, then for the upper ones.
    empty : bool
        Whether bounds contradict each other: no point of the domain takes the branches; the rest is cut short.
    """

    below: tuple[np.ndarray, ...]
    above: tuple[np.ndarray, ...]
    hulls: tuple[Hull, ...]
    charge: tuple[np.ndarray, ...]
    sizes: tuple[np.ndarray, ...]
    found: tuple[tuple[np.ndarray, np.ndarray], ...]
    empty: bool = False


def bound(layers: Layers, domain: Domain, taken: list[np.ndarray], parent: State | None = None) -> State:
    """Bounds of all choices under the branches taken.

    Parameters
    ----------
    parent : State, optional
        Over a domain that holds this one.

    Notes
    -----
    RIGOROUS. Cost: a product of matrices for every pair of layers.
    """
    sizes = [np.maximum(-domain.lower, domain.upper)]
    lows, highs = [domain.lower], [domain.upper]
    below: list[np.ndarray] = []
    above: list[np.ndarray] = []
    hulls: list[Hull] = []
    charges, found = [], []
    for k, choice in enumerate(layers.choices):
        reading = layers.readings[k]
        charges.append(charge(reading, sizes))
        if parent is None:
            low, high = _interval(reading, lows, highs, charges[k])
        else:
            low, high = parent.below[k].copy(), parent.above[k].copy()
        numbers = _undecided(layers, k, parent)
        if len(numbers) and 2 * len(numbers) * layers.inputs <= MOST and _settles(hulls):
            forms = [(s, _both(m, numbers)) for s, m, _ in reading.parts]
            constant = np.concatenate([reading.offset[numbers], -reading.offset[numbers]])
            least_, given = pulled(
                layers, domain, forms, constant, np.tile(charges[k][numbers], 2), hulls, charges, sizes
            )
            low[numbers] = np.maximum(low[numbers], least_[: len(numbers)])
            high[numbers] = np.minimum(high[numbers], -least_[len(numbers) :])
            found.append((numbers, np.vstack([given[:, : len(numbers)], given[:, len(numbers) :]])))
        else:
            found.append((numbers[:0], np.zeros((4, 0))))
        low, high = restrict(choice, low, high, taken[k])
        if not (low <= high).all():
            return State(tuple(below), tuple(above), tuple(hulls), (), (), tuple(found), True)
        hulls.append(hull(choice, low, high, taken[k]))
        below.append(low)
        above.append(high)
        lows.append(hulls[-1].low)
        highs.append(hulls[-1].high)
        sizes.append(np.maximum(np.abs(lows[-1]), np.abs(highs[-1])))
    charges.append(charge(layers.readings[-1], sizes))
    return State(tuple(below), tuple(above), tuple(hulls), tuple(charges), tuple(sizes), tuple(found))


def _undecided(layers: Layers, k: int, parent: State | None) -> np.ndarray:
    """Numbers read by units that are not one line yet."""
    if parent is None:
        return np.arange(len(layers.readings[k].offset))
    choice, free = layers.choices[k], np.flatnonzero(~parent.hulls[k].exact)
    if isinstance(choice, Maximum):
        members = np.unique(choice.index[free])
        return members[members >= 0]
    return free


def _both(matrix: Matrix, numbers: np.ndarray) -> np.ndarray:
    """Rows and their negatives, as a full matrix."""
    part = matrix[numbers]
    full = part if isinstance(part, np.ndarray) else part.toarray()
    return np.vstack([full, -full])


def _settles(hulls: list[Hull]) -> bool:
    return all(np.isfinite(h.low).all() and np.isfinite(h.high).all() for h in hulls)


def charge(reading: Reading, sizes: list[np.ndarray]) -> np.ndarray:
    """Per row: a bound on the error of a float product with it, relative to the multiplier, shape (units,)."""
    reach = np.abs(reading.offset)
    lost = reading.offset_lost
    for s, _, size in reading.parts:
        reach = reach + size @ sizes[s]
    for s, error in reading.lost:
        lost = lost + error @ sizes[s]
    return (gamma(len(reach) + reading.terms + 8) * reach + lost) * SLACK + TINY * (reach > 0)


def _interval(
    reading: Reading, lows: list[np.ndarray], highs: list[np.ndarray], lost: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    low, high = reading.offset - lost, reading.offset + lost
    for s, matrix, size in reading.parts:
        middle, half = 0.5 * (lows[s] + highs[s]), 0.5 * (highs[s] - lows[s])
        centre, spread = matrix @ middle, size @ half
        low, high = low + (centre - spread), high + (centre + spread)
    room = 4 * lost
    return low - room, high + room


def _picked(h: Hull, lines: Lines, default: np.ndarray, edge: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, slope and shift of every unit's line: the only one, or the default one, or the bound itself."""
    source, slope, shift = h.source.copy(), np.where(h.exact, h.slope, 0.0), np.where(h.exact, h.shift, edge)
    has = ~h.exact & (default >= 0)
    line = default[has]
    source[has], slope[has], shift[has] = lines.source[line], lines.slope[line], lines.shift[line]
    return source, slope, shift


def pulled(
    layers: Layers,
    domain: Domain,
    forms: list[tuple[int, np.ndarray]],
    constant: np.ndarray,
    lost: np.ndarray,
    hulls: list[Hull],
    charges: list[np.ndarray],
    sizes: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Proven lower bounds over the domain of forms of the sources, and multipliers, shapes (rows,) and (2, rows)."""
    known = dict(forms)
    for j in reversed(range(len(hulls))):
        c = known.pop(j + 1, None)
        if c is None or not c.any():
            continue
        h = hulls[j]
        y, part, more = _through(h, c, h.span)
        size = np.maximum(np.abs(h.low), np.abs(h.high))
        constant = constant + part + y @ layers.readings[j].offset
        lost = lost + np.abs(y) @ charges[j] + gamma(c.shape[1] + 24) * (np.abs(c) @ (size + np.abs(_shift(h))))
        lost = lost + more + gamma(8) * np.abs(constant)
        for s, matrix, _ in layers.readings[j].parts:
            grown = y @ matrix
            known[s] = known[s] + grown if s in known else grown
            lost = lost + gamma(6) * (np.abs(known[s]) @ sizes[s])
    final = known.get(0)
    least_ = np.zeros((3, len(constant))) if final is None else domain.least(final)
    value = least_[0] + constant
    return value - (lost + gamma(8) * (np.abs(constant) + np.abs(least_[0]))) * SLACK - TINY, least_[1:]


def _shift(h: Hull) -> np.ndarray:
    """Largest shift among the lines that may be used."""
    out = np.abs(h.shift)
    for lines in (h.above, h.below):
        np.maximum.at(out, lines.unit, np.abs(lines.shift))
    return np.maximum(out, np.maximum(np.abs(h.low), np.abs(h.high)))


def _through(h: Hull, c: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower bound of forms of a choice's outputs by forms of what it reads: coefficients, constants, errors.

    The errors are those of coefficients that several units add to, of numbers of size up to `span`.
    """
    width = len(span)
    up = _picked(h, h.above, h.default[0], h.high)
    down = _picked(h, h.below, h.default[1], h.low)
    more = np.maximum(c, 0.0)
    less = c - more
    part = more @ down[2] + less @ up[2]
    at = np.arange(c.shape[1])
    if c.shape[1] == width and (up[0] == at).all() and (down[0] == at).all():
        return more * down[1] + less * up[1], part, np.zeros(len(c))
    y = np.zeros((width, len(c)))
    np.add.at(y, down[0], (more * down[1]).T)
    np.add.at(y, up[0], (less * up[1]).T)
    size = np.maximum(np.abs(down[1]) * span[down[0]], np.abs(up[1]) * span[up[0]])
    return np.ascontiguousarray(y.T), part, gamma(c.shape[1] + 8) * (np.abs(c) @ size)
