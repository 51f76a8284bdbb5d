"""Splitting a chunk of cells by the forms of a stage: compiled drivers of `planar_kernels`.

Cells come as polygons in one array: vertex numbers `index` and side labels `label`, those of cell c from offset[c] to
offset[c + 1]. What leaves is the same for the new cells, with the parent of each, its pattern words, and a table of the
new vertices (the corners they combine, weights, bounds, tight forms).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, uint64

from plica.analyses.regions.planar_kernels import (
    DOUBT,
    FAST,
    FULL,
    MOST,
    NONE,
    PART,
    cut,
    frame,
    longer1,
    longer2,
    low_bit,
    room,
)


@njit(**PART)
def columns_of(c, offset, index, POS, NEG, cols, sure):
    """Forms that cut a cell (the first MOST of them), how many there are, and the pattern words of the others."""
    k, total = 0, 0
    for w in range(POS.shape[1]):
        p, q = uint64(0), uint64(0)
        for i in range(offset[c], offset[c + 1]):
            p |= POS[index[i], w]
            q |= NEG[index[i], w]
        both = p & q
        sure[w] = p & ~both
        while both:
            if k < MOST:
                cols[k] = 64 * w + low_bit(both)
                k += 1
            total += 1
            both &= both - uint64(1)
    return k, total


@njit(**PART)
def gather(c, k, cell, chunk, bounds, cols, plus, minus):
    """Values, errors and signs of the forms that cut a cell, and the places of its corners."""
    offset, index, _, X, POS, NEG, C = chunk
    row, shift, base, reach = bounds
    P, W, off, most = cell
    first, m = offset[c], offset[c + 1] - offset[c]
    a = 0.0
    for i in range(m):
        v = index[first + i]
        for q in range(5):
            P[i, q] = X[v, q]
        a = max(a, base[v])
        for w in range((k + 63) // 64):
            plus[i, w], minus[i, w] = uint64(0), uint64(0)
        for b in range(k):
            f = cols[b]
            W[i, b] = C[v, f]
            plus[i, b >> 6] |= ((POS[v, f >> 6] >> uint64(f & 63)) & uint64(1)) << uint64(b & 63)
            minus[i, b >> 6] |= ((NEG[v, f >> 6] >> uint64(f & 63)) & uint64(1)) << uint64(b & 63)
    for b in range(k):
        off[b] = 1.0001 * (row[cols[b]] * a + shift[cols[b]])
        most[b] = 1.0001 * row[cols[b]] * reach


@njit(**PART)
def first_mixed(piece, size, words, plus, minus, ors):
    """Lowest form with both signs at the vertices of a piece, or -1; `ors` gets the positive words."""
    found = -1
    for w in range(words):
        p, q = uint64(0), uint64(0)
        for i in range(size):
            p |= plus[piece[0, i], w]
            q |= minus[piece[0, i], w]
        ors[w] = p
        if found < 0 and (p & q):
            found = 64 * w + low_bit(p & q)
    return found


@njit(**PART)
def put_vertices(m, first, index, work, keys, code, out):
    """Append the new vertices of a cell to the table; a name of a vertex is a hash of what it was made from."""
    source, names, count = out.source, out.names, out.at[2]
    for x in range(m, work.made[0]):
        q = count + x - m
        for a in range(8):
            out.weights[q, a] = work.weights[x, a]
        for a in range(3):
            s = work.source[x, a]
            source[q, a] = index[first + s] if s >= 0 else -1
        source[q, 3] = work.cols[work.source[x, 3]]
        other = work.source[x, 4]
        source[q, 4] = work.cols[other] if other >= 0 else -1
        ka, kb = keys[source[q, 0]], keys[source[q, 1]]
        if ka > kb:
            ka, kb = kb, ka
        h = mix(mix(ka) ^ kb) ^ (code + uint64(source[q, 3]))
        if other >= 0:
            h = mix(mix(h) ^ keys[source[q, 2]]) ^ uint64(source[q, 4])
        names[q] = mix(h)
    out.at[2] = count + work.made[0] - m


@njit(**PART)
def mix(x):
    """A scrambled word (the finaliser of splitmix64; Steele, Lea, Flood, 2014)."""
    x = uint64(x)
    x = (x ^ (x >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> uint64(27))) * uint64(0x94D049BB133111EB)
    return x ^ (x >> uint64(31))


class Work(NamedTuple):
    """Scratch arrays for one cell with m corners and k forms; sizes in `work_for`."""

    cols: np.ndarray
    sure: np.ndarray
    ors: np.ndarray
    P: np.ndarray
    W: np.ndarray
    off: np.ndarray
    most: np.ndarray
    G: np.ndarray
    corner: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    weights: np.ndarray
    source: np.ndarray
    table: np.ndarray
    made: np.ndarray
    stack: np.ndarray
    start: np.ndarray
    above: np.ndarray
    below: np.ndarray


class Out(NamedTuple):
    """Cells that leave a stage; at: numbers of cells, of their sides, of new vertices."""

    at: np.ndarray
    offset: np.ndarray
    vertex: np.ndarray
    label: np.ndarray
    parent: np.ndarray
    words: np.ndarray
    more: np.ndarray
    source: np.ndarray
    weights: np.ndarray
    names: np.ndarray


@njit(**FAST)
def make_work(m, k, words):
    """Scratch arrays for cells with up to m corners and k forms (of MOST), for any arrangement of k lines."""
    most = m + 2 * k + k * (k - 1) // 2 + 8
    bits = (MOST + 63) // 64
    return Work(
        np.empty(MOST, np.int64), np.empty(words, np.uint64), np.empty(8, np.uint64), np.empty((m, 5)),
        np.empty((m, MOST)), np.empty(MOST), np.empty(MOST), np.empty((MOST, 7)), np.empty(3, np.int64),
        np.zeros((most, bits), np.uint64), np.zeros((most, bits), np.uint64), np.empty((most, 8)),
        np.empty((most, 5), np.int64), np.empty((m + k) * k + 1, np.int64), np.zeros(2, np.int64),
        np.empty((2, (k + 3) * (m + k + 4)), np.int64), np.empty(MOST + 3, np.int64),
        np.empty((2, m + k + 4), np.int64), np.empty((2, m + k + 4), np.int64),
    )  # fmt: skip


@njit(**FAST)
def make_out(cap, words):
    """Room for some cells."""
    return Out(
        np.zeros(3, np.int64), np.zeros(cap + 1, np.int64), np.empty(4 * cap, np.int64), np.empty(4 * cap, np.int64),
        np.empty(cap, np.int64), np.empty((cap, words), np.uint64), np.zeros(cap, np.uint8),
        np.empty((cap, 5), np.int64), np.empty((cap, 8)), np.empty(cap, np.uint64),
    )  # fmt: skip


@njit(**FAST)
def out_for(out, m, k):
    """The same with room for every part that a cell with m corners and k forms can have.

    Arrays that are filled together grow together, to sizes chosen once: `has_room` then holds for all of them.
    """
    new = 2 * k + k * (k - 1) // 2
    cells, sides, made = out.at[0] + 2 + new, out.at[1] + m + 8 * k + 4 * new, out.at[2] + new
    if has_room(out, cells, sides, made):
        return out
    cells, sides, made = room(len(out.parent), cells), room(len(out.vertex), sides), room(len(out.names), made)
    return Out(
        out.at, longer1(out.offset, cells + 1), longer1(out.vertex, sides), longer1(out.label, sides),
        longer1(out.parent, cells), longer2(out.words, cells), longer1(out.more, cells),
        longer2(out.source, made), longer2(out.weights, made), longer1(out.names, made),
    )  # fmt: skip


@njit(**PART)
def has_room(out, cells, sides, made):
    """Whether so many cells, sides of cells and new vertices fit into all arrays."""
    return (
        cells < len(out.offset)
        and cells <= min(len(out.parent), len(out.words), len(out.more))
        and sides <= min(len(out.vertex), len(out.label))
        and made <= min(len(out.source), len(out.weights), len(out.names))
    )


@njit(**PART)
def put_part(piece, size, c, k, base, labels, work, out, chunk):
    """Append a part of a cell; `base` is the number of the cell's first new vertex, `labels` that of its forms."""
    offset, index, label = chunk[0], chunk[1], chunk[2]
    first, m = offset[c], offset[c + 1] - offset[c]
    oc, on = out.at[0], out.at[1]
    for i in range(size):
        x, side = piece[0, i], piece[1, i]
        out.vertex[on + i] = index[first + x] if x < m else base + x - m
        out.label[on + i] = label[first + side] if side < m else labels + (work.cols[side - m] << 24) + NONE
    for w in range(len(work.sure)):
        out.words[oc, w] = work.sure[w]
    for b in range(k):
        f = work.cols[b]
        out.words[oc, f >> 6] |= ((work.ors[b >> 6] >> uint64(b & 63)) & uint64(1)) << uint64(f & 63)
    out.at[0], out.at[1] = oc + 1, on + size
    out.offset[oc + 1] = on + size


@njit(**PART)
def divide(c, k, emit, labels, work, out, chunk, bounds):
    """Cut a cell by k forms, depth first; returns the number of its parts, DOUBT or FULL."""
    offset, X = chunk[0], chunk[3]
    m = offset[c + 1] - offset[c]
    words = (k + 63) // 64
    plus, minus = work.plus[:, :words], work.minus[:, :words]
    gather(c, k, (work.P, work.W, work.off, work.most), chunk, bounds, work.cols, plus, minus)
    frame(m, k, work.P, work.W, work.off, work.most, work.G, work.corner)
    for i in range((m + k) * k):
        work.table[i] = -1
    work.made[0], work.made[1] = m, emit
    cell = (work.P, work.W, work.off, work.G, work.corner)
    tables = (plus, minus, work.table, work.weights, work.source)
    start, stack, above, below = work.start, work.stack, work.above, work.below
    for i in range(m):
        stack[0, i], stack[1, i] = i, i
    start[0], start[1], depth, parts = 0, m, 1, 0
    while depth > 0:
        s, size = start[depth - 1], start[depth] - start[depth - 1]
        piece = stack[:, s:]
        j = first_mixed(piece, size, words, plus, minus, work.ors)
        if j < 0:
            depth -= 1
            parts += 1
            if emit:
                if not has_room(out, out.at[0] + 1, out.at[1] + size, out.at[2] + work.made[0] - m):
                    return FULL
                put_part(piece, size, c, k, len(X) + out.at[2], labels, work, out, chunk)
            continue
        na, nb = cut(piece, size, j, m, k, cell, tables, work.made, (above, below))
        if na < 0:
            return na
        if s + na + nb > stack.shape[1] or depth + 1 >= len(start):
            return FULL
        for i in range(na):
            piece[0, i], piece[1, i] = above[0, i], above[1, i]
        for i in range(nb):
            piece[0, na + i], piece[1, na + i] = below[0, i], below[1, i]
        start[depth], start[depth + 1] = s + na, s + na + nb
        depth += 1
    return parts


@njit(**FAST)
def split_binary(chunk, bounds, labels, cells, emit, keys, code):
    """Split the listed cells by all forms with one question each.

    Parameters
    ----------
    chunk : offset, index, label, X, POS, NEG, C
        Polygons; places and bounds of vertices; signs and values of the forms at them.
    bounds : row, offset, base, reach
        Of the forms, see `plica.analyses.regions.planar_rows.FormBound`.
    labels, code
        Label of the stage's form 0; what tells its vertices' keys from those of other stages.
    emit : bool
        Counts only where False: then cells with more than MOST forms are among the doubtful.

    Returns
    -------
    total, out, doubt
        Number of parts, or FULL; the cells; numbers of the cells that floats do not settle.
    """
    offset, index, _, _, POS, NEG, _ = chunk
    nw, n = POS.shape[1], len(cells)
    out = make_out(4 * n + 64 if emit else 1, nw)
    corners, forms = 16, 8
    work = make_work(corners, forms, nw)
    doubt, nd, total = np.empty(n, np.int64), 0, 0
    for c in cells:
        first, m = offset[c], offset[c + 1] - offset[c]
        k, cuts = columns_of(c, offset, index, POS, NEG, work.cols, work.sure)
        if not emit and cuts < 2:
            total += cuts + 1
            continue
        if not emit and cuts > MOST:
            doubt[nd] = c
            nd += 1
            continue
        if m > corners or k > forms:
            corners, forms = max(m, corners), max(min(2 * k, MOST), forms)
            bigger = make_work(corners, forms, nw)
            bigger.cols[:], bigger.sure[:] = work.cols, work.sure
            work = bigger
        if emit:
            new = 2 * k + k * (k - 1) // 2
            if not has_room(out, out.at[0] + 2 + new, out.at[1] + m + 8 * k + 4 * new, out.at[2] + new):
                out = out_for(out, m, k)
        before = (out.at[0], out.at[1])
        if k == 0:
            parts = 1
            copy_cell(c, first, m, work.sure, out, chunk)
        else:
            parts = divide(c, k, emit, labels, work, out, chunk, bounds)
        if parts == FULL:
            return FULL, trimmed(out), doubt[:nd]
        if parts == DOUBT:
            out.at[0], out.at[1] = before
            doubt[nd] = c
            nd += 1
            continue
        total += parts
        if emit:
            for i in range(before[0], out.at[0]):
                out.parent[i], out.more[i] = c, cuts > k
            if k > 0:
                put_vertices(m, first, index, work, keys, code, out)
    return total, trimmed(out), doubt[:nd]


@njit(**PART)
def copy_cell(c, first, m, sure, out, chunk):
    """Append a cell that nothing cuts."""
    oc, on = out.at[0], out.at[1]
    for i in range(m):
        out.vertex[on + i], out.label[on + i] = chunk[1][first + i], chunk[2][first + i]
    for w in range(len(sure)):
        out.words[oc, w] = sure[w]
    out.at[0], out.at[1] = oc + 1, on + m
    out.offset[oc + 1] = on + m


@njit(**FAST)
def trimmed(out):
    """The same without spare room."""
    oc, on, made = out.at
    return Out(
        out.at, out.offset[: oc + 1], out.vertex[:on], out.label[:on], out.parent[:oc], out.words[:oc], out.more[:oc],
        out.source[:made], out.weights[:made], out.names[:made],
    )  # fmt: skip
