"""Which candidates of a maximum (pooling, maxout) can win in a cell of the plane: compiled.

A candidate that another one is nowhere below, and somewhere above, wins nowhere. Of a rectifier's outputs, those that
are off on the cell are zero there, so one that is on beats them all and equal zeros leave the first: this is read off
the cell's pattern, not off floats.

A *tie* is the difference of two candidates. Signs of ties at corners follow the rules of `planar_kernels`; at a corner
where two rectifiers that a tie compares both vanish, or on the line of a tie already cut, it is zero by the corner's
sides. Values may come as a float and a second one below its last bit (`planar_fine`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, uint64

from plica.analyses.regions.planar_kernels import DOUBT, FAST, MOST, NONE

MANY = 20  # candidates of one group that can win in one cell; integers decide about more
LOSES, BEATS, CROSSES, OPEN = -1, 1, 2, 0  # what floats tell of one candidate against another on a cell
UNKNOWN, ZERO = -1, -2  # of a candidate's origin: no rectifier's output; zero everywhere


class Groups(NamedTuple):
    """Candidates of a stage of maxima.

    Attributes
    ----------
    start : ndarray of int64, shape (groups + 1,)
    unit : ndarray of int64, shape (candidates,)
        Entry of the row that the stage reads.
    position : ndarray of int64, shape (candidates,)
        Branch.
    origin : ndarray of int64, shape (candidates,)
        Unit of the rectifier stage whose output it is, or UNKNOWN, or ZERO.
    rectifier : ndarray of int64, shape (3,)
        That stage, and where its pattern words begin; 1 for forms against zero (units 2 f and 2 f + 1).
    form : ndarray of int64, shape (candidates,)
        Number of the candidate among all of the stage.
    """

    start: np.ndarray
    unit: np.ndarray
    position: np.ndarray
    origin: np.ndarray
    rectifier: np.ndarray
    form: np.ndarray


class Rivals(NamedTuple):
    """Groups with more than one possible winner on a cell, and their ties.

    Attributes
    ----------
    at : ndarray of int64, shape (3,)
        Numbers of open groups and of ties; whether groups are left for another round.
    group : ndarray of int64, shape (MOST,)
    first : ndarray of int64, shape (MOST + 1,)
        Where a group's candidates begin in `candidate`.
    candidate : ndarray of int64
    tie : ndarray of int64, shape (MOST, 2)
        Units a < b of the form z_a - z_b.
    best : ndarray of int64, shape (groups,)
        The winner of a settled group, -1 for an open one.
    """

    at: np.ndarray
    group: np.ndarray
    first: np.ndarray
    candidate: np.ndarray
    tie: np.ndarray
    best: np.ndarray


@njit(**FAST)
def make_rivals(groups):
    """Room for the rivals of one cell."""
    return Rivals(
        np.zeros(3, np.int64), np.empty(MOST, np.int64), np.zeros(MOST + 1, np.int64), np.empty(2 * MOST, np.int64),
        np.empty((MOST, 2), np.int64), np.empty(groups, np.int64),
    )  # fmt: skip


# --- who can win ------------------------------------------------------------------------------------------------


@njit(**FAST)
def label_ties(label, stage, rectifier, f, h, groups):
    """Whether candidates are equal along a side: 2 for their tie itself, 1 and -1 where f's or h's rectifier is 0."""
    if label < 0:
        return 0
    index, form, other = label >> 48, (label >> 24) & NONE, label & NONE
    if index == stage and other != NONE:
        a, b = groups.unit[f], groups.unit[h]
        return 2 if (form == a and other == b) or (form == b and other == a) else 0
    if index == stage and other == NONE:
        return 2 if form == groups.form[f] else 0
    if index == rectifier and other == NONE:
        return 1 if form == groups.origin[f] else (-1 if form == groups.origin[h] else 0)
    return 0


@njit(**FAST)
def shares(label, stage, f, h, groups):
    """The unit that a side's tie shares with the pair f, h, and its other one: (0 none, 1 f, 2 h; other unit)."""
    if label < 0 or label >> 48 != stage or label & NONE == NONE:
        return 0, 0
    form, other = (label >> 24) & NONE, label & NONE
    a, b = groups.unit[f], groups.unit[h]
    if form == a or other == a:
        return 1, other if form == a else form
    if form == b or other == b:
        return 2, other if form == b else form
    return 0, 0


@njit(**FAST)
def is_tied(before, after, stage, f, h, groups):
    """Whether two candidates are equal at a corner by the labels of its sides."""
    rectifier = groups.rectifier[0]
    p = label_ties(before, stage, rectifier, f, h, groups)
    q = label_ties(after, stage, rectifier, f, h, groups)
    if p == 2 or q == 2 or p * q == -1:
        return True
    s, u = shares(before, stage, f, h, groups)
    t, w = shares(after, stage, f, h, groups)
    return s * t == 2 and u == w


@njit(**FAST)
def compare(f, h, c, chunk, bounds, stage, groups):
    """What floats tell of candidate f against h on a cell: BEATS, LOSES, CROSSES or OPEN."""
    offset, index, label, _, Z, L = chunk
    row, shift, _, sign_base, _, unit = bounds
    first, last = offset[c], offset[c + 1]
    a, b = groups.unit[f], groups.unit[h]
    above, below = False, False
    for i in range(first, last):
        v = index[i]
        x, y = Z[v, a], Z[v, b]
        t = (row[f] + row[h]) * sign_base[v] + shift[f] + shift[h] + 4.0 * unit * (abs(x) + abs(y))
        gap = x - y if len(L) == 0 else (x - y) + (L[v, a] - L[v, b])
        if gap > t:
            above = True
        elif -gap > t:
            below = True
        elif not is_tied(label[i - 1] if i > first else label[last - 1], label[i], stage, f, h, groups):
            return OPEN
    if above and below:
        return CROSSES
    return BEATS if above else (LOSES if below else OPEN)


@njit(**FAST)
def candidates(g, c, chunk, words, groups, found):
    """Candidates of a group that are not beaten by the cell's pattern alone; returns their number, the best first."""
    offset, index, _, _, Z, _ = chunk
    begin = groups.rectifier[1]
    n, on, zero = 0, False, -1
    for f in range(groups.start[g], groups.start[g + 1]):
        u = groups.origin[f]
        off = u == ZERO or (u >= 0 and (words[c, begin + (u >> 6)] >> uint64(u & 63)) & uint64(1) == 0)
        if off:
            zero = f if zero < 0 else zero
            continue
        on = on or u >= 0
        found[n] = f
        n += 1
    if zero >= 0 and not on:
        found[n] = zero
        n += 1
    best, most = 0, -np.inf
    for q in range(n):
        total = 0.0
        for i in range(offset[c], offset[c + 1]):
            total += Z[index[i], groups.unit[found[q]]]
        if total > most:
            best, most = q, total
    found[0], found[best] = found[best], found[0]
    return n


@njit(**FAST)
def survivors(n, c, chunk, bounds, stage, groups, found):
    """Reduce candidates to those that win against each other somewhere; their number, or DOUBT."""
    if n == 1:
        return 1
    left = 1
    for q in range(1, n):
        if compare(found[0], found[q], c, chunk, bounds, stage, groups) != BEATS:
            found[left] = found[q]
            left += 1
    if left == 1:
        return 1
    if left > MANY:
        return DOUBT
    keep = np.ones(left, np.bool_)
    unsure = np.zeros((left, left), np.bool_)
    for q in range(left):
        for r in range(q):
            if keep[q] and keep[r]:
                told = compare(found[q], found[r], c, chunk, bounds, stage, groups)
                if told == BEATS:
                    keep[r] = False
                elif told == LOSES:
                    keep[q] = False
                elif told == OPEN:
                    unsure[q, r] = True
    n = 0
    for q in range(left):
        if keep[q]:
            for r in range(q):
                if keep[r] and unsure[q, r]:
                    return DOUBT
    for q in range(left):
        if keep[q]:
            found[n] = found[q]
            n += 1
    return n


@njit(**FAST)
def tie_of(a, b, tie, k):
    """Number of the tie of two units, or -1."""
    if a > b:
        a, b = b, a
    for j in range(k):
        if tie[j, 0] == a and tie[j, 1] == b:
            return j
    return -1


@njit(**FAST)
def find_rivals(c, chunk, bounds, stage, words, groups, rivals, found):
    """Fill `rivals` for a cell; False when floats do not tell. Groups beyond MOST ties are left for another round."""
    rivals.at[:] = 0
    for g in range(len(groups.start) - 1):
        n = candidates(g, c, chunk, words, groups, found)
        n = survivors(n, c, chunk, bounds, stage, groups, found)
        if n < 0:
            return False
        rivals.best[g] = found[0] if n == 1 else -1
        if n == 1 or rivals.at[2]:
            continue
        count, k = rivals.at[0], rivals.at[1]
        if k + n * (n - 1) // 2 > MOST:
            rivals.at[2] = 1
            continue
        first = rivals.first[count]
        for q in range(n):
            rivals.candidate[first + q] = found[q]
            for r in range(q):
                a, b = groups.unit[found[q]], groups.unit[found[r]]
                if tie_of(a, b, rivals.tie, k) < 0:
                    rivals.tie[k, 0], rivals.tie[k, 1] = min(a, b), max(a, b)
                    k += 1
        rivals.group[count], rivals.first[count + 1] = g, first + n
        rivals.at[0], rivals.at[1] = count + 1, k
    return True
