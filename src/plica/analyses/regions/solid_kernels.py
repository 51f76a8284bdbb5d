"""Compiled splitting of solids, depth first, with a proven bound on the error of every sign.

The kernel works on one cell of a chunk at a time and keeps the pieces under way on a stack; it comes back when it has
finished, when a buffer is full, or when a sign is in doubt, and goes on from there when it is called again.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from plica.analyses.regions import solid_arithmetic as _arithmetic
from plica.analyses.regions import solid_pieces as _pieces

FAST, SAFE = _arithmetic.FAST, _arithmetic.SAFE
between, fetch, lowest, ones = _arithmetic.between, _arithmetic.fetch, _arithmetic.lowest, _arithmetic.ones
plainly_zero, solve, value, weights = (
    _arithmetic.plainly_zero, _arithmetic.solve, _arithmetic.value, _arithmetic.weights,
)  # fmt: skip

DONE, FULL, GROW, DOUBT, CROWDED, RUNNING = (
    _pieces.DONE, _pieces.FULL, _pieces.GROW, _pieces.DOUBT, _pieces.CROWDED, _pieces.RUNNING,
)  # fmt: skip
TOP, CELL, COUNTED, FORM, AGAINST, FORCED = (
    _pieces.TOP, _pieces.CELL, _pieces.COUNTED, _pieces.FORM, _pieces.AGAINST, _pieces.FORCED,
)  # fmt: skip
NOTHING, load, emit = _pieces.NOTHING, _pieces.load, _pieces.emit
COARSE = 2.0**-30  # a vertex less sure than this, relative to the domain, is solved again from its rows
FINE = 2.0**-44  # one surer than this is not


# --- signs ------------------------------------------------------------------------------------------------------


@njit(**FAST)
def _resolve(work, room, cells, forms, where, v):
    """Solve a vertex again from its tight rows, and keep the result if it is better."""
    cell, level = where
    n, d, bits = 0, len(forms.size), work.T[v]
    while bits:
        b = np.int64(lowest(bits))
        bits &= bits - np.uint64(1)
        q, against = work.row[level, b], work.against[level, b]
        if against == -2:
            for k in range(d + 1):
                room.J[n, k] = cells.R[q, k]
            room.J[n, d + 1] = cells.off[q]
        else:
            room.J[n, d + 1] = fetch(forms, cell, q, against, room.J[n])
        n += 1
    err = solve(room, n, d)
    if err < work.err[v]:
        work.err[v] = err
        for k in range(d):
            work.X[v, k] = room.x[k]


@njit(**FAST)
def _signs(work, room, cells, forms, where, off):
    """Values and signs of `work.form` at the vertices of the top piece; return how many signs are in doubt."""
    base, slope = weights(work.form, off, forms.size)
    scale, doubts = FINE * forms.size.max(), 0
    for v in range(work.first[where[1]], work.first[where[1] + 1]):
        z = value(work.form, work.X[v])
        if not abs(z) > (base + slope * work.err[v]) * SAFE and work.err[v] > scale:
            _resolve(work, room, cells, forms, where, v)
            z = value(work.form, work.X[v])
        work.z[v] = z
        if abs(z) > (base + slope * work.err[v]) * SAFE:
            work.sign[v] = 1 if z > 0 else -1
        elif work.force[v] != NOTHING:
            work.sign[v] = work.force[v]
        elif z == 0.0 and plainly_zero(work.form, off, work.X[v], work.err[v]):
            work.sign[v] = 0
        else:
            work.sign[v] = NOTHING
            doubts += 1
    return doubts


@njit(**FAST)
def _sides(work, level):
    """Numbers of vertices of the top piece where the form is positive and negative."""
    above, below = 0, 0
    for v in range(work.first[level], work.first[level + 1]):
        above += work.sign[v] == 1
        below += work.sign[v] == -1
    return above, below


# --- cutting a piece --------------------------------------------------------------------------------------------


@njit(**FAST)
def _free_bit(work, level):
    """A bit that no vertex of the piece uses; -1 when all are used."""
    used = np.uint64(0)
    for v in range(work.first[level], work.first[level + 1]):
        used |= work.T[v]
    return np.int64(lowest(~used)) if ~used else np.int64(-1)


@njit(**FAST)
def _is_edge(T, first, last, pair, d):
    """Whether two vertices span an edge, see `plica.analyses.regions.solid_exact`."""
    u, w = pair
    common = T[u] & T[w]
    if ones(common) < np.uint64(d - 1):
        return False
    if ones(T[u]) == np.uint64(d) or ones(T[w]) == np.uint64(d):
        return True
    for v in range(first, last):  # noqa: SIM110
        if v != u and v != w and T[v] & common == common:
            return False
    return True


@njit(**FAST)
def _new_vertices(work, room, cells, forms, where, cut):
    """Write the vertices where the form cuts the edges of the top piece behind it; return their number, -1 for no room.

    `cut` is (bit, base, slope): the bit of the new row and the error bound of the form.
    """
    level = where[1]
    first, last, d = work.first[level], work.first[level + 1], len(forms.size)
    bit, base, slope = cut
    tag, limit = np.uint64(1) << np.uint64(bit), COARSE * forms.size.max()
    low, high = first, last
    for v in range(first, last):
        if work.sign[v] == 1:
            work.order[low] = v
            low += 1
        elif work.sign[v] == -1:
            high -= 1
            work.order[high] = v
    m = last
    for i in range(first, low):
        u = work.order[i]
        for j in range(high, last):
            w = work.order[j]
            if not _is_edge(work.T, first, last, (u, w), d):
                continue
            if m == len(work.T):
                return -1
            apart = (base + slope * max(work.err[u], work.err[w])) * SAFE
            ends = (work.X[u], work.err[u]), (work.X[w], work.err[w])
            work.err[m] = between(ends[0], work.z[u], ends[1], work.z[w], apart, work.X[m])
            work.T[m] = work.T[u] & work.T[w] | tag
            if not work.err[m] < limit:
                _resolve(work, room, cells, forms, where, m)
            m += 1
    return m - last


@njit(**FAST)
def _move(work, source, target):
    if source != target:
        for k in range(work.X.shape[1]):
            work.X[target, k] = work.X[source, k]
        work.err[target] = work.err[source]
        work.T[target] = work.T[source]
    work.force[target] = NOTHING


@njit(**FAST)
def _collect(work, level, m, side, target, tag):
    """Move the vertices of one side, those on the form, and the m new ones to `target`; return where they end."""
    last = work.first[level + 1]
    for v in range(work.first[level], last):
        sign = work.sign[v]
        if sign == side or sign == 0:
            _move(work, v, target)
            if sign == 0:
                work.T[target] |= tag
            target += 1
    for v in range(last, last + m):
        _move(work, v, target)
        target += 1
    return target


@njit(**FAST)
def _push(work, level):
    """Copy what is known of the top piece, apart from its vertices, to the next place of the stack."""
    work.row[level + 1] = work.row[level]
    work.against[level + 1] = work.against[level]
    work.at[level + 1] = work.at[level]
    work.B[level + 1] = work.B[level]


@njit(**FAST)
def _cut(work, room, cells, forms, state, off):
    """Cut the top piece by `work.form` whose signs are known; groups keep the upper part only."""
    level, cell = state[TOP], state[CELL]
    f, against = state[FORM], state[AGAINST]
    bit = _free_bit(work, level)
    if bit < 0:
        return CROWDED
    work.row[level, bit], work.against[level, bit] = f, against
    base, slope = weights(work.form, off, forms.size)
    m = _new_vertices(work, room, cells, forms, (cell, level), (bit, base, slope))
    first, last = work.first[level], work.first[level + 1]
    room_needed = last + 2 * m + (last - first)
    if m < 0 or room_needed > len(work.T) or level + 2 >= len(work.first):
        return GROW
    tag = np.uint64(1) << np.uint64(bit)
    if not forms.binary:
        work.first[level + 1] = _collect(work, level, m, 1, first, tag)
        return RUNNING
    spare = last + m
    end = _collect(work, level, m, 1, spare, tag)
    middle = _collect(work, level, m, -1, first, tag)
    for v in range(spare, end):
        _move(work, v, middle + v - spare)
    _push(work, level)
    k = work.at[level, 0]
    work.at[level, 0], work.at[level + 1, 0] = k + 1, k + 1
    work.B[level + 1, forms.unit[k]] += forms.step[k]
    work.first[level + 1], work.first[level + 2] = middle, middle + end - spare
    state[TOP] = level + 1
    return RUNNING


# --- decisions --------------------------------------------------------------------------------------------------


@njit(**FAST)
def _compare(work, room, cells, forms, state):
    """Signs of form FORM against AGAINST on the top piece: (RUNNING or DOUBT, vertices above, below, off)."""
    where = state[CELL], state[TOP]
    off = fetch(forms, state[CELL], state[FORM], state[AGAINST], work.form)
    if _signs(work, room, cells, forms, where, off) > 0:
        return DOUBT, 0, 0, off
    if state[FORCED]:
        for v in range(work.first[where[1]], work.first[where[1] + 1]):
            work.force[v] = NOTHING
        state[FORCED] = 0
    above, below = _sides(work, where[1])
    return RUNNING, above, below, off


@njit(**FAST)
def _binary(work, room, cells, forms, state):
    """Decide one form on the top piece."""
    level = state[TOP]
    k = work.at[level, 0]
    state[FORM], state[AGAINST] = k, -1
    side = work.settled[k]
    if side == 0:
        status, above, below, off = _compare(work, room, cells, forms, state)
        if status == DOUBT:
            return DOUBT
        if above and below:
            return _cut(work, room, cells, forms, state, off)
        side = 1 if above else -1
    if side > 0:
        work.B[level, forms.unit[k]] += forms.step[k]
    work.at[level, 0] = k + 1
    return RUNNING


@njit(**FAST)
def _beaten(work, cells, forms, state, c, end):
    """Whether another candidate is larger than candidate c at every vertex of the top piece, for sure."""
    level, cell = state[TOP], state[CELL]
    for other in range(forms.start[work.at[level, 0]], end):
        if other == c:
            continue
        off = fetch(forms, cell, other, c, work.form)
        base, slope = weights(work.form, off, forms.size)
        larger = True
        for v in range(work.first[level], work.first[level + 1]):
            larger &= value(work.form, work.X[v]) > (base + slope * work.err[v]) * SAFE
            if not larger:
                break
        if larger:
            return True
    return False


@njit(**FAST)
def _fan(work, cells, forms, state):
    """One copy of the top piece for every candidate of a group that is not beaten everywhere."""
    level = state[TOP]
    k, first, last = work.at[level, 0], work.first[level], work.first[level + 1]
    begin, end, n, top = forms.start[k], forms.start[k + 1], last - first, level
    if last + n * (end - begin) > len(work.T) or level + 1 + end - begin >= len(work.first):
        return GROW
    for c in range(end - 1, begin - 1, -1):
        state[TOP] = level
        if _beaten(work, cells, forms, state, c, end):
            continue
        if work.at[top, 1] >= 0:
            _push(work, top)
            top += 1
            for v in range(n):
                _move(work, first + v, work.first[top] + v)
            work.first[top + 1] = work.first[top] + n
        work.at[top, 1], work.at[top, 2] = c, begin
    state[TOP] = top
    return RUNNING


@njit(**FAST)
def _group(work, room, cells, forms, state):
    """Compare the candidate of the top piece with its next opponent; without an opponent left, it has won."""
    level = state[TOP]
    k, here, other = work.at[level, 0], work.at[level, 1], work.at[level, 2]
    if here < 0:
        return _fan(work, cells, forms, state)
    if other == here:
        other += 1
    if other >= forms.start[k + 1]:
        work.B[level, forms.unit[k]] = forms.position[here]
        work.at[level, 0], work.at[level, 1], work.at[level, 2] = k + 1, -1, 0
        return RUNNING
    state[FORM], state[AGAINST] = here, other
    status, above, below, off = _compare(work, room, cells, forms, state)
    if status == DOUBT:
        return DOUBT
    if above and below:
        status = _cut(work, room, cells, forms, state, off)
    elif not above and (below or other < here):  # smaller, or equal everywhere to a lower position
        state[TOP] = level - 1
        return RUNNING
    if status == RUNNING:
        work.at[level, 2] = other + 1
    return status


# --- the loop ---------------------------------------------------------------------------------------------------


@njit(**FAST)
def split(work, room, cells, forms, state, out, store):
    """Split the cells of a chunk until all are done, or something is needed; return why.

    Parameters
    ----------
    work, room : Work, Room
    cells, forms : Cells, Forms
    state : ndarray of int64, shape (10,)
        TOP of the stack (-1: empty), CELL under way, and how much of `out` is filled.
    out : Cells
        Receives the finished cells, or only their number is counted when `store` is False.
    """
    decisions = len(forms.unit)
    while True:
        if state[TOP] < 0:
            if state[CELL] + 1 >= len(cells.at):
                return DONE
            status = load(work, cells, forms, state)
        elif work.at[state[TOP], 0] == decisions:
            if store and not emit(work, cells, forms, state, out):
                return FULL
            state[COUNTED] += 1
            state[TOP] -= 1
            continue
        elif forms.binary:
            status = _binary(work, room, cells, forms, state)
        else:
            status = _group(work, room, cells, forms, state)
        if status != RUNNING:
            return status
