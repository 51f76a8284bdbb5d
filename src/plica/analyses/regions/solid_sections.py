"""Compiled counting of the parts into which forms cut a solid, by sections of falling dimension; no part is built.

See `plica.analyses.regions.solid_exact.count_sections` for the recursion. Here every sign must be certain and not zero,
else the cell is left to exact arithmetic. Coincident sections need no test above dimension 1: where forms i < j vanish
on the same section of P, form i is zero at every vertex of the section by form j, which no bound ever excludes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from plica.analyses.regions import solid_arithmetic as _arithmetic

FAST, SAFE, UNIT, TINY = _arithmetic.FAST, _arithmetic.SAFE, _arithmetic.UNIT, _arithmetic.TINY
fetch, lowest, ones = _arithmetic.fetch, _arithmetic.lowest, _arithmetic.ones
solve, value, weights = _arithmetic.solve, _arithmetic.value, _arithmetic.weights
PART = FAST | {"inline": "always"}  # calls with so many arrays cost more than what they do
DOUBT, GROW = -1, -2


class Levels(NamedTuple):
    """Sections of a cell, one for each level: level l has dimension d - l."""

    Z: np.ndarray  # (d + 1, vertices, forms): values of the level's forms
    T: np.ndarray  # (d + 1, vertices)
    e: np.ndarray  # (d + 1, vertices), bound of the errors of all values of a vertex
    vertices: np.ndarray  # (d + 1,)
    forms: np.ndarray  # (d + 1, forms): which form a column is
    columns: np.ndarray  # (d + 1,)
    active: np.ndarray  # (d + 1, forms): columns that change sign
    actives: np.ndarray  # (d + 1,)
    next: np.ndarray  # (d + 1,): which active column the next section is taken by
    plane: np.ndarray  # (d + 1,): the form whose section the level is
    u: np.ndarray  # (d + 1, edges)
    w: np.ndarray
    edges: np.ndarray  # (d + 1,)
    A: np.ndarray  # (forms, d + 1): the cell's forms, scaled by powers of two
    base: np.ndarray  # (forms,)
    slope: np.ndarray  # (forms,)
    off: np.ndarray  # (forms,)
    low: np.ndarray  # (forms,)
    high: np.ndarray  # (forms,)


def levels(d: int, forms: int, vertices: int, edges: int) -> Levels:
    """Room for cells of at most this size."""

    def counts(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.int64)

    n = d + 1
    real = np.empty
    return Levels(
        real((n, vertices, forms)), np.zeros((n, vertices), np.uint64), real((n, vertices)), counts(n),
        counts(n, forms), counts(n), counts(n, forms), counts(n), counts(n), counts(n), counts(n, edges),
        counts(n, edges), counts(n), real((forms, n)), real(forms), real(forms), real(forms), real(forms), real(forms),
    )  # fmt: skip


@njit(**PART)
def _scale_forms(lv, forms, cell):
    """Copy the cell's forms, each scaled to slopes of about 1 by a power of two."""
    d = len(forms.size)
    for f in range(forms.A.shape[1]):
        off = fetch(forms, cell, f, -1, lv.A[f])
        size = 0.0
        for k in range(d):
            size += abs(lv.A[f, k])
        scale = 1.0
        if 1e-200 < size < 1e200:
            scale = math.ldexp(1.0, -math.frexp(size)[1])
        for k in range(d + 1):
            lv.A[f, k] *= scale
        lv.off[f] = off * scale
        lv.base[f], lv.slope[f] = weights(lv.A[f], lv.off[f], forms.size)


@njit(**PART)
def _values(lv, level, v, x, err):
    """Values of a level's forms at a vertex; return whether all signs are certain."""
    bound, least = 0.0, np.inf
    for c in range(lv.columns[level]):
        f = lv.forms[level, c]
        z = value(lv.A[f], x)
        lv.Z[level, v, c] = z
        bound, least = max(bound, lv.base[f] + lv.slope[f] * err), min(least, abs(z))
    lv.e[level, v] = bound * SAFE
    return least > lv.e[level, v]


@njit(**FAST)
def _refine(lv, room, cells, forms, where, v):
    """Solve a vertex from its rows and evaluate its forms again; return whether all signs are certain."""
    cell, level = where
    n, d, bits = 0, len(forms.size), lv.T[level, v]
    while bits:
        q = cells.rptr[cell] + np.int64(lowest(bits))
        bits &= bits - np.uint64(1)
        for k in range(d + 1):
            room.J[n, k] = cells.R[q, k]
        room.J[n, d + 1] = cells.off[q]
        n += 1
    for i in range(1, level + 1):
        f = lv.plane[i]
        for k in range(d + 1):
            room.J[n, k] = lv.A[f, k]
        room.J[n, d + 1] = lv.off[f]
        n += 1
    err = solve(room, n, d)
    return err < np.inf and _values(lv, level, v, room.x, err)


@njit(**PART)
def _start(lv, room, cells, forms, cell):
    """Put a cell at level 0, with the forms that cut it; False when a sign is in doubt."""
    first, last = cells.vptr[cell], cells.vptr[cell + 1]
    kept, level = 0, np.int64(0)
    for f in range(forms.A.shape[1]):
        above, below, sure = False, False, True
        for v in range(first, last):
            z, e = value(lv.A[f], cells.X[v]), (lv.base[f] + lv.slope[f] * cells.err[v]) * SAFE
            above |= z > e
            below |= z < -e
            sure &= abs(z) > e
        if (above and below) or not sure:
            lv.forms[0, kept] = f
            kept += 1
    lv.columns[0], lv.vertices[0] = kept, last - first
    for v in range(first, last):
        lv.T[0, v - first] = cells.T[v]
        sure = _values(lv, level, v - first, cells.X[v], cells.err[v])
        if not (sure or _refine(lv, room, cells, forms, (cell, level), v - first)):
            return False
    return True


@njit(**PART)
def _activate(lv, level):
    """Find the columns of a level that change sign."""
    n = lv.columns[level]
    for c in range(n):
        lv.low[c], lv.high[c] = np.inf, -np.inf
    for v in range(lv.vertices[level]):
        for c in range(n):
            z = lv.Z[level, v, c]
            lv.low[c], lv.high[c] = min(lv.low[c], z), max(lv.high[c], z)
    count = 0
    for c in range(n):
        if lv.low[c] < 0.0 < lv.high[c]:
            lv.active[level, count] = c
            count += 1
    lv.actives[level] = count
    lv.next[level] = 1


@njit(**PART)
def _edges(lv, level, d):
    """List the edges of a level's section; False when there is no room."""
    n, m, T = lv.vertices[level], 0, lv.T[level]
    dimension = np.uint64(d - level)
    for u in range(n):
        simple = ones(T[u]) == dimension
        for w in range(u):
            common = T[u] & T[w]
            if ones(common) + np.uint64(1) < dimension:
                continue
            if not simple and ones(T[w]) != dimension:
                third = False
                for v in range(n):
                    third |= v != u and v != w and T[v] & common == common
                if third:
                    continue
            if m == lv.u.shape[1]:
                return False
            lv.u[level, m], lv.w[level, m] = u, w
            m += 1
    lv.edges[level] = m
    return True


@njit(**PART)
def _section(lv, room, cells, forms, where, j):
    """Put the section by active column j at the next level; DOUBT or GROW when that fails, else 0."""
    level = where[1]
    column = lv.active[level, j]
    Z, T, e, below = lv.Z[level], lv.T[level], lv.e[level], lv.Z[level + 1]
    lv.plane[level + 1], lv.columns[level + 1] = lv.forms[level, column], j
    for i in range(j):
        lv.forms[level + 1, i] = lv.forms[level, lv.active[level, i]]
    m = 0
    for edge in range(lv.edges[level]):
        u, w = lv.u[level, edge], lv.w[level, edge]
        a, b = Z[u, column], Z[w, column]
        if (a > 0.0) == (b > 0.0):
            continue
        if m == lv.T.shape[1]:
            return GROW
        t, gap = a / (a - b), abs(a - b)
        step, size, least = 0.0, 0.0, np.inf
        for i in range(j):
            c = lv.active[level, i]
            rise = Z[w, c] - Z[u, c]
            z = Z[u, c] + t * rise
            below[m, i] = z
            step, size, least = max(step, abs(rise)), max(size, abs(Z[u, c])), min(least, abs(z))
        apart = max(e[u], e[w])
        sure = gap * (1.0 - 4.0 * UNIT) - 2.0 * apart
        bound = np.inf
        if sure > 0.0:
            bound = (apart + (apart / sure + 8.0 * UNIT) * step + 4.0 * UNIT * size) * SAFE + TINY
        lv.e[level + 1, m] = bound
        lv.T[level + 1, m] = T[u] & T[w]
        if not least > bound and not _refine(lv, room, cells, forms, (where[0], level + 1), m):
            return DOUBT
        m += 1
    lv.vertices[level + 1] = m
    return 0


@njit(**PART)
def _apart(lv, level):
    """Whether the zeros of the active columns on a segment are distinct, for sure."""
    Z, eu, ew = lv.Z[level], lv.e[level, 0], lv.e[level, 1]
    for i in range(lv.actives[level]):
        a, b = Z[0, lv.active[level, i]], Z[1, lv.active[level, i]]
        for j in range(i):
            p, q = Z[0, lv.active[level, j]], Z[1, lv.active[level, j]]
            error = eu * (abs(b) + abs(q)) + ew * (abs(a) + abs(p)) + 2.0 * eu * ew
            error += 4.0 * UNIT * (abs(a * q) + abs(b * p)) + TINY
            if not abs(a * q - b * p) > error * SAFE:
                return False
    return True


@njit(**FAST)
def _apart_or_refined(lv, room, cells, forms, where):
    """`_apart`, if need be with the two ends solved again."""
    if lv.vertices[where[1]] != 2:
        return False
    if _apart(lv, where[1]):
        return True
    for v in range(2):
        if not _refine(lv, room, cells, forms, where, v):
            return False
    return _apart(lv, where[1])


@njit(**PART)
def _count(lv, room, cells, forms, cell):
    """Number of parts of a cell; DOUBT or GROW."""
    d = len(forms.size)
    if cells.vptr[cell + 1] - cells.vptr[cell] > lv.T.shape[1]:
        return GROW
    _scale_forms(lv, forms, cell)
    if not _start(lv, room, cells, forms, cell):
        return DOUBT
    total, level, fresh = 0, np.int64(0), True  # a literal level would compile what reads it a second time
    while level >= 0:
        if fresh:
            _activate(lv, level)
            total += 1 + min(lv.actives[level], 1)
            if lv.actives[level] > 1:
                if d - level == 1:
                    if not _apart_or_refined(lv, room, cells, forms, (cell, level)):
                        return DOUBT
                    total += lv.actives[level] - 1
                    lv.next[level] = lv.actives[level]
                elif not _edges(lv, level, d):
                    return GROW
        j = lv.next[level]
        fresh = j < lv.actives[level]
        if not fresh:
            level -= 1
            continue
        lv.next[level] = j + 1
        status = _section(lv, room, cells, forms, (cell, level), j)
        if status < 0:
            return status
        level += 1
    return total


@njit(**FAST)
def count_parts(lv, room, cells, forms, span, counts):
    """Write the numbers of parts of the cells in `span` = (first, last); DOUBT for those to be done exactly.

    Returns
    -------
    int
        Where it stopped for lack of room in `lv`; `last` when all are done.
    """
    for cell in range(span[0], span[1]):
        counts[cell] = _count(lv, room, cells, forms, cell)
        if counts[cell] == GROW:
            return cell
    return span[1]
