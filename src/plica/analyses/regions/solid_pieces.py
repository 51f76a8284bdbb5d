"""Compiled bookkeeping of solids: pieces under way on a stack, cells taken from a chunk and written to a buffer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from plica.analyses.regions import solid_arithmetic as _arithmetic
from plica.analyses.regions.solid_arithmetic import Cells

BITS, FAST, SAFE = _arithmetic.BITS, _arithmetic.FAST, _arithmetic.SAFE
fetch, lowest, value, weights = _arithmetic.fetch, _arithmetic.lowest, _arithmetic.value, _arithmetic.weights

DONE, FULL, GROW, DOUBT, CROWDED, RUNNING = 0, 1, 2, 3, 4, 5  # why the kernel came back
TOP, CELL, CELLS, VERTICES, ROWS, SOLVED, COUNTED, FORM, AGAINST, FORCED = range(10)  # places in `state`
NOTHING = 2  # no sign


class Work(NamedTuple):
    """Pieces under way: a stack whose vertices stand one after the other."""

    X: np.ndarray  # (vertices, d)
    err: np.ndarray
    T: np.ndarray
    force: np.ndarray  # int8 sign that was found exactly; 2 for none
    z: np.ndarray  # value of the form in question
    sign: np.ndarray  # int8; 2 for doubt
    order: np.ndarray  # int64
    first: np.ndarray  # (depth + 2,), where a piece's vertices begin
    row: np.ndarray  # (depth, 64): row of the cell, or form of the stage, behind a bit
    against: np.ndarray  # (depth, 64): -2 for a row of the cell, -1 for a form, else the other candidate
    at: np.ndarray  # (depth, 3)
    B: np.ndarray  # (depth, branches) int16
    settled: np.ndarray  # (decisions,) int8: -1 or 1 where the whole cell lies on one side, else 0
    form: np.ndarray  # (d + 1,)


# --- cells ------------------------------------------------------------------------------------------------------


@njit(**FAST)
def load(work, cells, forms, state):
    """Put the next cell on the empty stack."""
    cell = state[CELL] + 1
    a, b, r = cells.vptr[cell], cells.vptr[cell + 1], cells.rptr[cell]
    if b - a > len(work.T):
        return GROW
    for v in range(b - a):
        work.X[v], work.err[v], work.T[v] = cells.X[a + v], cells.err[a + v], cells.T[a + v]
        work.force[v] = NOTHING
    for i in range(cells.rptr[cell + 1] - r):
        work.row[0, i], work.against[0, i] = r + i, -2
    work.first[0], work.first[1] = 0, b - a
    work.at[0], work.B[0] = cells.at[cell], cells.B[cell]
    state[CELL], state[TOP] = cell, 0
    for k in range(len(work.settled)):
        work.settled[k] = _side(work, cells, forms, cell, k) if forms.binary else 0
    return RUNNING


@njit(**FAST)
def _side(work, cells, forms, cell, k):
    """Side of a form on which a whole cell lies for sure; 0 when it may be cut."""
    off = fetch(forms, cell, k, -1, work.form)
    base, slope = weights(work.form, off, forms.size)
    sign = 0
    for v in range(cells.vptr[cell], cells.vptr[cell + 1]):
        z = value(work.form, cells.X[v])
        here = 1 if z > 0 else -1
        if not abs(z) > (base + slope * cells.err[v]) * SAFE or sign == -here:
            return 0
        sign = here
    return sign


@njit(**FAST)
def emit(work, cells, forms, state, out):
    """Write the top piece, a finished cell, to the buffer; False when it has no room."""
    level, c, nv, nr = state[TOP], state[CELLS], state[VERTICES], state[ROWS]
    first, last = work.first[level], work.first[level + 1]
    if c + 1 >= len(out.vptr) or nv + last - first > len(out.T) or nr + BITS > len(out.off):
        return False
    used, d = np.uint64(0), len(forms.size)
    for v in range(first, last):
        used |= work.T[v]
        out.T[nv + v - first] = 0
    start, bits = nr, used
    while bits:
        b = np.int64(lowest(bits))
        bits &= bits - np.uint64(1)
        q, against = work.row[level, b], work.against[level, b]
        if against == -2:
            for k in range(d + 1):
                out.R[nr, k] = cells.R[q, k]
            out.off[nr], out.code[nr] = cells.off[q], cells.code[q]
        else:
            out.off[nr] = fetch(forms, state[CELL], q, against, out.R[nr])
            out.code[nr] = (np.int64(forms.stage + 1) << 48) | (q << 24) | (against + 1)
        for v in range(first, last):
            out.T[nv + v - first] |= (work.T[v] >> np.uint64(b) & np.uint64(1)) << np.uint64(nr - start)
        nr += 1
    for v in range(first, last):
        out.X[nv + v - first], out.err[nv + v - first] = work.X[v], work.err[v]
    out.B[c], out.parent[c] = work.B[level], state[CELL]
    out.at[c, 0], out.at[c, 1], out.at[c, 2] = 0, -1, 0
    out.vptr[c + 1], out.rptr[c + 1] = nv + last - first, nr
    state[CELLS], state[VERTICES], state[ROWS] = c + 1, nv + last - first, nr
    return True


# --- room for them ----------------------------------------------------------------------------------------------


def work_of(d: int, branches: int, decisions: int, vertices: int, depth: int) -> Work:
    """Room for pieces with this many vertices together, this many deep."""
    return Work(
        np.empty((vertices, d)), np.empty(vertices), np.zeros(vertices, np.uint64), np.full(vertices, NOTHING, np.int8),
        np.empty(vertices), np.zeros(vertices, np.int8), np.zeros(vertices, np.int64), np.zeros(depth + 1, np.int64),
        np.zeros((depth, BITS), np.int64), np.zeros((depth, BITS), np.int64), np.zeros((depth, 3), np.int64),
        np.zeros((depth, branches), np.int16), np.zeros(decisions, np.int8), np.empty(d + 1),
    )  # fmt: skip


def grown(work: Work, vertices: int, depth: int) -> Work:
    """The same pieces in more room."""
    new = work_of(work.X.shape[1], work.B.shape[1], len(work.settled), vertices, depth)
    for old, fresh in zip(work, new, strict=True):
        fresh[: len(old)] = old
    return new


def buffer(d: int, branches: int, cells: int, vertices: int) -> Cells:
    """Room for finished cells; rows take as much as 2 d + 8 for each, and no less than one crowded cell."""
    rows = max(2 * BITS, cells * (2 * d + 8))
    return Cells(
        np.empty((vertices, d)), np.empty(vertices), np.zeros(vertices, np.uint64), np.zeros(cells + 1, np.int64),
        np.empty((rows, d + 1)), np.empty(rows), np.zeros(rows, np.int64), np.zeros(cells + 1, np.int64),
        np.zeros((cells, branches), np.int16), np.zeros((cells, 3), np.int64), np.zeros(cells, np.int64),
    )  # fmt: skip


def trimmed(out: Cells, state: np.ndarray) -> Cells:
    """What a buffer holds, copied, and the buffer emptied."""
    c, v, r = (int(state[k]) for k in (CELLS, VERTICES, ROWS))
    state[CELLS : ROWS + 1] = 0
    return Cells(
        out.X[:v].copy(), out.err[:v].copy(), out.T[:v].copy(), out.vptr[: c + 1].copy(), out.R[:r].copy(),
        out.off[:r].copy(), out.code[:r].copy(), out.rptr[: c + 1].copy(), out.B[:c].copy(), out.at[:c].copy(),
        out.parent[:c].copy(),
    )  # fmt: skip


def take(cells: Cells, first: int, last: int) -> Cells:
    """Some of the cells."""
    v, r = slice(cells.vptr[first], cells.vptr[last]), slice(cells.rptr[first], cells.rptr[last])
    return Cells(
        cells.X[v], cells.err[v], cells.T[v], cells.vptr[first : last + 1] - cells.vptr[first], cells.R[r],
        cells.off[r], cells.code[r], cells.rptr[first : last + 1] - cells.rptr[first], cells.B[first:last],
        cells.at[first:last], cells.parent[first:last],
    )  # fmt: skip


def chosen(cells: Cells, which: np.ndarray) -> Cells:
    """Cells with these numbers, in this order."""
    v, vptr = _spans(cells.vptr, which)
    r, rptr = _spans(cells.rptr, which)
    return Cells(
        cells.X[v], cells.err[v], cells.T[v], vptr, cells.R[r], cells.off[r], cells.code[r], rptr, cells.B[which],
        cells.at[which], cells.parent[which],
    )  # fmt: skip


def _spans(first: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the entries of some cells, and where each cell's begin among them."""
    sizes = first[which + 1] - first[which]
    start = np.concatenate([[0], np.cumsum(sizes)])
    return np.arange(start[-1]) + np.repeat(first[which] - start[:-1], sizes), start


def stacked(work: Work, cells: Cells, forms, state: np.ndarray) -> Cells:
    """The pieces of the stack as cells that wait for their next decision."""
    top, d = int(state[TOP]), cells.X.shape[1]
    out = buffer(d, cells.B.shape[1], max(top + 1, 8), max(int(work.first[top + 1]) if top >= 0 else 0, 1))
    out = out._replace(R=np.empty((64 * (top + 2), d + 1)), off=np.empty(64 * (top + 2)),
                       code=np.zeros(64 * (top + 2), np.int64))  # fmt: skip
    own = state.copy()
    own[CELLS : ROWS + 1] = 0
    for level in range(top + 1):
        own[TOP] = level
        emit(work, cells, forms, own, out)
        out.at[level] = work.at[level]
    return trimmed(out, own)
