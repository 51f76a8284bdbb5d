"""Lines below and above a choice's output, given the bounds of what it reads.

A line is h <= slope z + shift or h >= slope z + shift for the output h of one unit and one number z that it reads. Its
slope may be any number; the shift is the best one, rounded outward: a function that is linear between corners reaches
its largest distance from a line at a corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plica.analyses.adversarial.exact.layers import Maximum, Scalar
from plica.core.exact.floats import UNIT

TINY = 1e-300
TOUCH = 1e-9  # share of the largest corner value below which a corner lies on a line


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of one choice, in any order: arrays of equal length, and where they are drawn.

    Attributes
    ----------
    unit, source : ndarray of int
        Output and number read.
    slope, shift : ndarray
    gap : ndarray
        Largest distance from the function at a corner within: 0 where the line is a piece of the function.
    """

    unit: np.ndarray
    source: np.ndarray
    slope: np.ndarray
    shift: np.ndarray
    gap: np.ndarray


@dataclass(frozen=True, eq=False)
class Hull:
    """What is known about the outputs of one choice over a domain.

    Attributes
    ----------
    low, high : ndarray, shape (units,)
        Bounds of the outputs.
    span : ndarray
        Bounds on the sizes of the numbers read.
    exact : ndarray of bool, shape (units,)
        Where the function is one line on the whole domain: h = slope z[source] + shift without error.
    source, slope, shift : ndarray, shape (units,)
        That line.
    above, below : Lines
        Of the other units.
    default : pair of ndarray of int, shape (units,)
        The line above and the line below that are best in the middle; -1 for the bound itself.
    """

    low: np.ndarray
    high: np.ndarray
    span: np.ndarray
    exact: np.ndarray
    source: np.ndarray
    slope: np.ndarray
    shift: np.ndarray
    above: Lines
    below: Lines
    default: tuple[np.ndarray, np.ndarray]


def hull(choice: Scalar | Maximum, below: np.ndarray, above: np.ndarray, taken: np.ndarray) -> Hull:
    """Lines of a choice whose numbers lie between `below` and `above`, with branches `taken` (-1: open).

    Bounds have been cut down to the branches taken (`restrict`).
    """
    if isinstance(choice, Maximum):
        return _maximum(choice, below, above, taken)
    return _scalar(choice, below, above)


def restrict(
    choice: Scalar | Maximum, below: np.ndarray, above: np.ndarray, taken: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the numbers read where the branches taken are right."""
    units = np.flatnonzero(taken >= 0)
    if not len(units):
        return below, above
    below, above, branch = below.copy(), above.copy(), taken[units]
    if isinstance(choice, Scalar):
        fence = np.vstack([np.full(choice.units, -np.inf), choice.knots, np.full(choice.units, np.inf)])
        below[units] = np.maximum(below[units], fence[branch, units])
        above[units] = np.minimum(above[units], fence[branch + 1, units])
        return below, above
    members = choice.index[units]
    winner = members[np.arange(len(units)), branch]
    low = np.where(members >= 0, below[members], -np.inf).max(1)
    np.maximum.at(below, winner, low)
    for p in range(members.shape[1]):
        real = members[:, p] >= 0
        np.minimum.at(above, members[real, p], above[winner[real]])
    return below, above


# --- functions of one number --------------------------------------------------------------------------------------


def _corners(choice: Scalar, below: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends and knots of every interval in order, values there, and bounds on the errors of the values."""
    points = np.vstack([below, np.clip(choice.knots, below, above), above])
    level = (points[:, None] > choice.knots[None]).sum(1)
    slope = np.take_along_axis(choice.slopes, level, 0)
    shift = np.take_along_axis(choice.intercepts, level, 0)
    product = slope * points
    plain = ((slope == 0) | (np.abs(slope) == 1)) & ((shift == 0) | (slope == 0))
    error = np.where(plain, 0.0, 3 * UNIT * (np.abs(product) + np.abs(shift)) + TINY)
    return points, product + shift, error


def _scalar(choice: Scalar, below: np.ndarray, above: np.ndarray) -> Hull:
    points, values, error = _corners(choice, below, above)
    units = np.arange(choice.units)
    inside = (choice.knots > below) & (choice.knots < above)
    exact = np.asarray(~inside.any(0))
    branch = (choice.knots <= below).sum(0)
    slope, shift = choice.slopes[branch, units], choice.intercepts[branch, units]
    open_ = np.flatnonzero(~exact)
    p, v, e = points[:, open_], values[:, open_], error[:, open_]
    slopes = _slopes(choice.slopes[:, open_], p, v)
    level = v[None] - slopes[:, None] * p[None]  # (lines, corners, units)
    product = slopes[:, None] * p[None]
    room = np.where(product == 0, 0.0, 4 * UNIT * (np.abs(v[None]) + np.abs(product)) + TINY)
    same = (product == v[None]) & (np.abs(slopes[:, None]) == 1)
    room = np.where(same, 0.0, room) + 2 * e[None]
    scale = TOUCH * (np.abs(v).max(0) + np.abs(p).max(0))
    out = []
    for side in (1.0, -1.0):
        far = (side * level + room).max(1)
        touching = (far[:, None] - side * level <= scale).sum(1) >= 2
        line, unit = np.nonzero(touching & np.isfinite(far))
        gap = (far[:, None] - side * level)[line, 1:-1, unit].max(1, initial=0.0)
        out.append(Lines(open_[unit], open_[unit], slopes[line, unit], side * far[line, unit], gap))
    lines = out[0], out[1]
    middle = 0.5 * (below + above)
    default = _best(lines[0], middle, choice.units, 1.0), _best(lines[1], middle, choice.units, -1.0)
    span = np.maximum(np.abs(below), np.abs(above))
    low, high = (values - error).min(0), (values + error).max(0)
    return Hull(low, high, span, exact, units, slope, shift, *lines, default)


def _slopes(own: np.ndarray, p: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Slopes of the branches, and of chords between corners that are not neighbours; shape (lines, units)."""
    count, out = len(p), [own]
    for i in range(count):
        for j in range(i + 2, count):
            with np.errstate(divide="ignore", invalid="ignore"):
                out.append(((v[j] - v[i]) / (p[j] - p[i]))[None])
    slopes = np.vstack(out)
    return np.where(np.isfinite(slopes), slopes, 0.0)


def _best(lines: Lines, middle: np.ndarray, units: int, side: float) -> np.ndarray:
    """The line of every unit that is nearest to the function in the middle; -1 for none."""
    height = side * (lines.slope * middle[lines.source] + lines.shift)
    order = np.lexsort((-height, lines.unit))
    best = np.full(units, -1)
    best[lines.unit[order]] = order  # the last one of a unit stays: the lowest above, the highest below
    return best


# --- maxima ----------------------------------------------------------------------------------------------------------


def _maximum(choice: Maximum, below: np.ndarray, above: np.ndarray, taken: np.ndarray) -> Hull:
    index, groups = choice.index, np.arange(choice.units)
    real = index >= 0
    low = np.where(real, below[index], -np.inf)
    high = np.where(real, above[index], -np.inf)
    winner = np.where(taken >= 0, taken, low.argmax(1))
    rest = np.where(np.arange(index.shape[1]) == winner[:, None], -np.inf, high).max(1, initial=-np.inf)
    exact = (taken >= 0) | (rest <= low[groups, winner])
    source = index[groups, winner]
    least, most = low.max(1), np.where(exact, high[groups, winner], high.max(1))
    g, place = np.nonzero(real & (high > least[:, None]) & (~exact[:, None] | (taken >= 0)[:, None]))
    ones = np.ones(len(g))
    lower = Lines(g, index[g, place], ones, 0 * ones, 0 * ones)
    upper = _chords(index, low, high, np.flatnonzero(~exact))
    middle = 0.5 * (below + above)
    default = _best(upper, middle, choice.units, 1.0), _best(lower, middle, choice.units, -1.0)
    span = np.maximum(np.abs(below), np.abs(above))
    ones, zeros = np.ones(choice.units), np.zeros(choice.units)
    return Hull(least, most, span, exact, source, ones, zeros, upper, lower, default)


def _chords(index: np.ndarray, low: np.ndarray, high: np.ndarray, groups: np.ndarray) -> Lines:
    """Lines above max(z_i, rest) for the member i that reaches highest, between the ends of its interval."""
    member = high[groups].argmax(1)
    a, u = low[groups, member], high[groups, member]
    others = np.where(np.arange(index.shape[1]) == member[:, None], -np.inf, high[groups]).max(1, initial=-np.inf)
    keep = (u > others) & (u > a)
    groups, member, a, u, others = groups[keep], member[keep], a[keep], u[keep], others[keep]
    start = np.maximum(a, others)
    slope = (u - start) / (u - a)
    points, values = np.vstack([a, start, u]), np.vstack([start, start, u])
    room = 4 * UNIT * (np.abs(values) + np.abs(slope * points)) + TINY
    level = values - slope * points
    shift = (level + room).max(0)
    return Lines(groups, index[groups, member], slope, shift, shift - level[1])
