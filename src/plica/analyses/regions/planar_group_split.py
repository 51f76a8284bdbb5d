"""Splitting a chunk of cells by maxima of three or more units: compiled drivers of `planar_groups`.

Cells come and leave as in `plica.analyses.regions.planar_split`; pattern words hold FIELD bits for each winner.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from plica.analyses.regions.planar_exact import FIELD
from plica.analyses.regions.planar_groups import cut, fine_ties, gather_ties, make_work
from plica.analyses.regions.planar_kernels import DOUBT, FAST, FULL, NONE, frame
from plica.analyses.regions.planar_rivals import find_rivals, make_rivals, tie_of
from plica.analyses.regions.planar_split import copy_cell, has_room, make_out, mix, out_for, trimmed

FIELDS = 64 // FIELD  # winners in a pattern word


@njit(**FAST)
def split_groups(chunk, bounds, stage, words, groups, emit, keys, fine):
    """Split the listed cells by the maxima of a stage.

    Parameters
    ----------
    chunk : offset, index, label, X, Z, L
        Polygons; places and bounds of vertices; the rows that the stage reads, and what is below their last bits (or
        nothing).
    bounds : row, offset, base, sign_base, reach, unit
        Of the candidates, see `plica.analyses.regions.planar_rows.FormBound`; `base` for values at x', `sign_base` for
        signs at the vertices themselves; `unit` for the rounding of a difference.
    stage : int
    words : ndarray of uint64
        Pattern words of the cells so far.
    emit : bool
        Counts only where False: then cells that take more than one round are among the doubtful.
    fine : sides, points, units
        For a single cell: lines of its sides, its corners, lines of the units, as in `planar_fine`; else empty. New
        vertices are then points in the first columns of `out.weights`.

    Returns
    -------
    total, out, doubt
        As of `plica.analyses.regions.planar_split.split_binary`.
    """
    offset, label = chunk[0], chunk[2]
    number = len(groups.start) - 1
    n, nw = len(offset) - 1, (number + FIELDS - 1) // FIELDS
    out = make_out(4 * n + 64 if emit else 1, nw)
    corners, ties = 16, 4
    work, rivals = make_work(corners, ties, len(fine[0]) > 0), make_rivals(number)
    found = np.empty(np.max(groups.start[1:] - groups.start[:-1]) + 1, np.int64)
    doubt, nd, total = np.empty(n, np.int64), 0, 0
    taken = np.zeros(nw, np.uint64)
    for c in range(n):
        first, m = offset[c], offset[c + 1] - offset[c]
        sure = find_rivals(c, chunk, bounds, stage, words, groups, rivals, found)
        if not sure or (rivals.at[2] and (rivals.at[0] == 0 or not emit)):
            doubt[nd] = c
            nd += 1
            continue
        k = rivals.at[1]
        if m > corners or k > ties:
            corners, ties = max(m, corners), max(2 * k, ties)
            work = make_work(corners, ties, len(fine[0]) > 0)
        if emit:
            out = out_for(out, m, k)
            if not has_room(out, out.at[0] + 1, out.at[1] + m, out.at[2]):
                return FULL, trimmed(out), doubt[:nd]
        before = (out.at[0], out.at[1])
        if k == 0:
            parts = 1
            if emit:
                winners(taken, rivals, groups)
                copy_cell(c, first, m, taken, out, chunk)
        else:
            old = label[first : first + m].copy()
            for i in range(m):
                if old[i] < 0 or old[i] >> 48 != stage or old[i] & NONE == NONE:
                    old[i] = -1
            parts = divide(c, emit, stage, old, (taken, work, rivals, groups), out, (chunk, bounds, fine))
        if parts == FULL:
            return FULL, trimmed(out), doubt[:nd]
        if parts == DOUBT:
            out.at[0], out.at[1] = before
            doubt[nd] = c
            nd += 1
            continue
        total += parts
        if emit:
            out.parent[before[0] : out.at[0]] = c
            out.more[before[0] : out.at[0]] = rivals.at[2]
            if k > 0:
                put_vertices(m, chunk[1][first : first + m], rivals, work, keys, stage, groups.rectifier[2], out)
    return total, trimmed(out), doubt[:nd]


@njit(**FAST)
def divide(c, emit, stage, old, own, out, given):
    """Cut a cell by the ties of its open groups, depth first; the number of its parts, DOUBT or FULL."""
    (taken, work, rivals, groups), (chunk, bounds, fine) = own, given
    m, k = len(old), rivals.at[1]
    gather_ties(c, chunk, bounds, groups, rivals, work)
    if work.fine[0]:
        fine_ties(fine[0], fine[1], fine[2], rivals, work)
    frame(m, k, work.P, work.W, work.off, work.most, work.G, work.corner)
    work.table[: (m + k) * k] = -1
    work.made[0] = m
    start, stack = work.start, work.stack
    for i in range(m):
        stack[0, i], stack[1, i] = i, i
    start[0, 0], start[0, 1], start[1, 0], depth, parts = 0, 0, m, 1, 0
    while depth > 0:
        s, size, o = start[depth - 1, 0], start[depth, 0] - start[depth - 1, 0], start[depth - 1, 1]
        if o == rivals.at[0]:
            depth -= 1
            parts += 1
            if emit:
                if not has_room(out, out.at[0] + 1, out.at[1] + size, out.at[2] + work.made[0] - m):
                    return FULL
                if not work.fine[0] and not right_floats(m, c, work, rivals, groups, chunk):
                    return DOUBT
                winners(taken, rivals, groups)
                win_open(taken, stack[:, s:], size, rivals, groups, work)
                put_part(stack[:, s:], size, c, stage, taken, rivals, out, chunk)
            continue
        depth = clip_group(o, depth, old, work, rivals, groups)
        if depth < 0:
            return depth
    return parts


@njit(**FAST)
def clip_group(o, depth, old, work, rivals, groups):
    """Replace the last piece of the stack by its parts for every winner of open group o; the new depth."""
    start, stack, whole, part = work.start, work.stack, work.buffers[:2], work.buffers[2:]
    s, size, m = start[depth - 1, 0], start[depth, 0] - start[depth - 1, 0], len(old)
    whole[:, :size] = stack[:, s : s + size]
    depth -= 1
    for q in range(rivals.first[o], rivals.first[o + 1]):
        n = size
        part[:, :n] = whole[:, :n]
        for r in range(rivals.first[o], rivals.first[o + 1]):
            if q == r:
                continue
            a, b = groups.unit[rivals.candidate[q]], groups.unit[rivals.candidate[r]]
            j = tie_of(a, b, rivals.tie, rivals.at[1])
            up, down = mixed(part, n, j, work)
            wins = up if a < b else down
            if up and down:
                na, nb = cut(part, n, j, m, rivals, old, work)
                if na < 0:
                    return na
                n = na if a < b else nb
                row = 0 if a < b else 2
                part[:, :n] = work.halves[row : row + 2, :n]
            elif not wins:
                n = 0
                break
        if n:
            at = start[depth, 0]
            if at + n > stack.shape[1] or depth + 1 >= len(start):
                return FULL
            stack[:, at : at + n] = part[:, :n]
            start[depth, 1] = o + 1
            start[depth + 1, 0] = at + n
            depth += 1
    return depth


@njit(**FAST)
def mixed(piece, size, j, work):
    """Whether a tie is positive, and whether it is negative, at some vertex of a piece."""
    word, bit = j >> 6, uint64(1) << uint64(j & 63)
    up, down = False, False
    for i in range(size):
        up = up or work.plus[piece[0, i], word] & bit != 0
        down = down or work.minus[piece[0, i], word] & bit != 0
    return up, down


@njit(**FAST)
def winners(taken, rivals, groups):
    """Pattern words of a cell as far as its groups are settled."""
    taken[:] = uint64(0)
    for g in range(len(rivals.best)):
        f = rivals.best[g]
        if f >= 0:
            taken[g // FIELDS] |= uint64(groups.position[f]) << uint64(FIELD * (g % FIELDS))


@njit(**FAST)
def win_open(taken, piece, size, rivals, groups, work):
    """Add the winners of the open groups on a part: those that lose against none."""
    for o in range(rivals.at[0]):
        g = rivals.group[o]
        for q in range(rivals.first[o], rivals.first[o + 1]):
            beaten = False
            for r in range(rivals.first[o], rivals.first[o + 1]):
                if q != r:
                    a, b = groups.unit[rivals.candidate[q]], groups.unit[rivals.candidate[r]]
                    up, down = mixed(piece, size, tie_of(a, b, rivals.tie, rivals.at[1]), work)
                    beaten = beaten or (down if a < b else up)
            if not beaten:
                f = rivals.candidate[q]
                taken[g // FIELDS] |= uint64(groups.position[f]) << uint64(FIELD * (g % FIELDS))
                break


@njit(**FAST)
def right_floats(m, c, work, rivals, groups, chunk):
    """Whether at new vertices inside the cell no candidate's float passes those that can win (checked once a vertex).

    On a side the weights are not negative, so there the order of the floats is that at the side's ends.
    """
    offset, index, _, _, Z, _ = chunk
    first = offset[c]
    for x in range(m, work.made[0]):
        if work.source[x, 2] < 0:
            continue
        u, v, w = index[first + work.source[x, 0]], index[first + work.source[x, 1]], index[first + work.source[x, 2]]
        p, q, r = work.weights[x, 0], work.weights[x, 1], work.weights[x, 2]
        o = 0
        for g in range(len(rivals.best)):
            allowed = -np.inf
            f = rivals.best[g]
            if f >= 0:
                a = groups.unit[f]
                allowed = p * Z[u, a] + q * Z[v, a] + r * Z[w, a]
            elif o < rivals.at[0] and rivals.group[o] == g:
                for i in range(rivals.first[o], rivals.first[o + 1]):
                    a = groups.unit[rivals.candidate[i]]
                    allowed = max(allowed, p * Z[u, a] + q * Z[v, a] + r * Z[w, a])
                o += 1
            else:
                continue
            for f in range(groups.start[g], groups.start[g + 1]):
                a = groups.unit[f]
                if p * Z[u, a] + q * Z[v, a] + r * Z[w, a] > allowed:
                    return False
        work.source[x, 2] = ~work.source[x, 2]  # done; turned back when the vertex is put out
    return True


@njit(**FAST)
def put_part(piece, size, c, stage, taken, rivals, out, chunk):
    """Append a part of a cell."""
    offset, index, label, X, _, _ = chunk
    first, m = offset[c], offset[c + 1] - offset[c]
    oc, on, base = out.at[0], out.at[1], len(X) + out.at[2]
    for i in range(size):
        x, side = piece[0, i], piece[1, i]
        out.vertex[on + i] = index[first + x] if x < m else base + x - m
        if side < m:
            out.label[on + i] = label[first + side]
        else:
            a, b = rivals.tie[side - m]
            out.label[on + i] = (stage << 48) + (a << 24) + b
    out.words[oc] = taken
    out.at[0], out.at[1] = oc + 1, on + size
    out.offset[oc + 1] = on + size


@njit(**FAST)
def put_vertices(m, corner, rivals, work, keys, stage, two_sides, out):
    """Append the new vertices of a cell, named by what they were made from."""
    count = out.at[2]
    for x in range(m, work.made[0]):
        q = count + x - m
        if work.fine[0]:
            out.weights[q, :5] = work.points[x]
        else:
            out.weights[q] = work.weights[x]
        three = work.source[x, 4] >= 0
        for a in range(3):
            s = work.source[x, a]
            out.source[q, a] = corner[s if s >= 0 else ~s] if a < 2 or three else -1
        out.source[q, 3:5] = -1
        ka, kb = keys[out.source[q, 0]], keys[out.source[q, 1]]
        if ka > kb:
            ka, kb = kb, ka
        h = mix(mix(ka) ^ kb) ^ tie_name(work.source[x, 3], stage, two_sides, rivals)
        if three:
            h = mix(mix(h) ^ keys[out.source[q, 2]]) ^ tie_name(work.source[x, 4], stage, two_sides, rivals)
        out.names[q] = mix(h)
    out.at[2] = count + work.made[0] - m


@njit(**FAST)
def tie_name(j, stage, two_sides, rivals):
    """A word for a tie; for a form against zero the same as in `plica.analyses.regions.planar_split`."""
    code = uint64(stage + 1) << uint64(40)
    if two_sides:
        return code + uint64(rivals.tie[j, 0] >> 1)
    return code + mix((uint64(rivals.tie[j, 0]) << uint64(24)) + uint64(rivals.tie[j, 1]))
