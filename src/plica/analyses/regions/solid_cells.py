"""Finished regions in arrays: patterns, vertices, facets with the vertices on them, volumes, points inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from math import factorial

import numpy as np
from numba import njit

from plica.analyses.regions.solid_arithmetic import FAST, Cells
from plica.analyses.regions.solid_exact import Task
from plica.analyses.regions.solid_settle import Exactly, rounded

VOLUME_DIMENSIONS = 6  # above this, a cell falls into too many simplices


@dataclass(frozen=True, eq=False)
class SolidCells:
    """Regions with their vertices; those of region i stand at ``first[i]`` to ``first[i + 1]``.

    Attributes
    ----------
    patterns : ndarray of int16, shape (n, branches)
        Branches of all choice nodes, node after node, flattened.
    vertices : ndarray, shape (v, d)
    error : ndarray, shape (v,)
        |coordinate - exact coordinate| <= error, proven.
    first : ndarray of int64, shape (n + 1,)
    facets : ndarray, shape (f, d + 1)
        Rows (a, b) with a . x + b = 0 on the facet; oriented as the form behind them, not inward.
    facet_code : ndarray of int64, shape (f,)
        What the facet lies on: `plica.analyses.regions.solid_exact.decode`.
    facet_first : ndarray of int64, shape (n + 1,)
    corners : ndarray of int32
        Vertices of the facets, numbered from ``first[i]``.
    corner_first : ndarray of int64, shape (f + 1,)
    """

    patterns: np.ndarray
    vertices: np.ndarray
    error: np.ndarray
    first: np.ndarray
    facets: np.ndarray
    facet_code: np.ndarray
    facet_first: np.ndarray
    corners: np.ndarray
    corner_first: np.ndarray

    def __len__(self) -> int:
        return len(self.patterns)

    @property
    def dimension(self) -> int:
        """Number of variables."""
        return int(self.vertices.shape[1])

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take."""
        return int(sum(getattr(self, f.name).nbytes for f in fields(self)))

    def centres(self) -> np.ndarray:
        """Mean of the vertices of every region, a point inside it up to rounding, shape (n, d)."""
        return np.add.reduceat(self.vertices, self.first[:-1]) / np.diff(self.first)[:, None]

    def volumes(self) -> np.ndarray:
        """Volumes, shape (n,), rounded; NaN above 6 dimensions.

        Notes
        -----
        Every face is cut into pyramids over its facets, down to simplices (Cohen and Hickey, Two algorithms for
        determining volumes of convex polyhedra, 1979); the number of simplices grows fast with the dimension.
        """
        if self.dimension > VOLUME_DIMENSIONS:
            return np.full(len(self), np.nan)
        out = np.zeros(len(self))
        _volumes(self.vertices, self.first, self.facet_first, self.corners, self.corner_first, out)
        return out / factorial(self.dimension)

    def region(self, i: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Vertices of one region, and for each of its facets the numbers of the vertices on it."""
        span = range(self.facet_first[i], self.facet_first[i + 1])
        sides = [self.corners[self.corner_first[f] : self.corner_first[f + 1]] for f in span]
        return self.vertices[self.first[i] : self.first[i + 1]], sides


def from_cells(cells: Cells) -> SolidCells:
    """Regions of a chunk in floats."""
    keep = np.zeros(len(cells.off), np.bool_)
    sizes = np.zeros(len(cells.off), np.int64)
    _facets(cells.T, cells.vptr, cells.rptr, cells.X.shape[1], keep, sizes)
    corners = np.empty(int(sizes[keep].sum()), np.int32)
    _corners(cells.T, cells.vptr, cells.rptr, keep, corners)
    before = np.concatenate([[0], np.cumsum(keep)])
    return SolidCells(
        cells.B, cells.X, cells.err, cells.vptr, cells.R[keep], cells.code[keep], before[cells.rptr], corners,
        np.concatenate([[0], np.cumsum(sizes[keep])]),
    )  # fmt: skip


def from_tasks(tasks: Sequence[Task], exactly: Exactly) -> SolidCells:
    """Exact regions, rounded once; a region may have any number of rows."""
    d = exactly.d
    placed = [rounded(p) for t in tasks for p in t.solid.points]
    sides = [list(_exact_facets(t)) for t in tasks]
    lines = [exactly.line(code, t.branches)[0] for t, found in zip(tasks, sides, strict=True) for code, _ in found]
    flat = [vertices for found in sides for _, vertices in found]
    return SolidCells(
        np.stack([t.branches for t in tasks]).astype(np.int16),
        np.array([x for x, _ in placed]).reshape(-1, d),
        np.array([e for _, e in placed]),
        np.cumsum([0, *(len(t.solid.points) for t in tasks)]),
        np.array(lines).reshape(-1, d + 1),
        np.array([code for found in sides for code, _ in found], np.int64),
        np.cumsum([0, *(len(found) for found in sides)]),
        np.concatenate([np.zeros(0, np.int32), *(np.array(v, np.int32) for v in flat)]),
        np.cumsum([0, *(len(v) for v in flat)]),
    )


def joined(parts: Sequence[SolidCells]) -> SolidCells:
    """Several chunks as one."""

    def after(name: str) -> np.ndarray:
        starts = [getattr(p, name) for p in parts]
        ends = np.cumsum([0, *(s[-1] for s in starts)])
        return np.concatenate([np.zeros(1, np.int64), *(s[1:] + e for s, e in zip(starts, ends, strict=False))])

    def stacked(name: str) -> np.ndarray:
        return np.concatenate([getattr(p, name) for p in parts])

    return SolidCells(
        stacked("patterns"), stacked("vertices"), stacked("error"), after("first"), stacked("facets"),
        stacked("facet_code"), after("facet_first"), stacked("corners"), after("corner_first"),
    )  # fmt: skip


# --- facets -----------------------------------------------------------------------------------------------------


@njit(**FAST)
def _facets(T, vptr, rptr, d, keep, sizes):
    """Mark the rows that hold with equality on a facet, the first of several on the same one.

    A row's face is a facet exactly if no other row's face is larger: the rows that hold on all of its vertices must
    have these vertices alone.
    """
    every = np.empty(64, np.uint64)
    for cell in range(len(vptr) - 1):
        rows = rptr[cell + 1] - rptr[cell]
        for r in range(rows):
            common, n = ~np.uint64(0), 0
            for v in range(vptr[cell], vptr[cell + 1]):
                if T[v] >> np.uint64(r) & np.uint64(1):
                    common &= T[v]
                    n += 1
            every[r] = common if n else np.uint64(0)
            sizes[rptr[cell] + r] = n
        for r in range(rows):
            maximal = sizes[rptr[cell] + r] >= d
            for other in range(rows):
                if other != r and every[r] >> np.uint64(other) & np.uint64(1):
                    same = every[other] >> np.uint64(r) & np.uint64(1)
                    maximal &= same == np.uint64(1) and r < other
            keep[rptr[cell] + r] = maximal


@njit(**FAST)
def _corners(T, vptr, rptr, keep, corners):
    """List the vertices of the kept rows, in order."""
    at = 0
    for cell in range(len(vptr) - 1):
        for row in range(rptr[cell], rptr[cell + 1]):
            if keep[row]:
                bit = np.uint64(row - rptr[cell])
                for v in range(vptr[cell], vptr[cell + 1]):
                    if T[v] >> bit & np.uint64(1):
                        corners[at] = v - vptr[cell]
                        at += 1


def _exact_facets(task: Task) -> Iterator[tuple[int, list[int]]]:
    """Codes and vertices of the facets of a task."""
    tight, seen = task.solid.tight, set()
    faces = [sum(1 << v for v, bits in enumerate(tight) if bits >> r & 1) for r in range(len(task.solid.rows))]
    for code, face in zip(task.solid.rows, faces, strict=True):
        if not face or face in seen or any(face & other == face and face != other for other in faces):
            continue
        seen.add(face)
        yield code, [v for v in range(len(tight)) if face >> v & 1]


# --- volumes ----------------------------------------------------------------------------------------------------


@njit(**FAST)
def _volumes(X, first, facet_first, corners, corner_first, out):
    """d! times the volumes."""
    d = X.shape[1]
    for cell in range(len(out)):
        n, m = first[cell + 1] - first[cell], facet_first[cell + 1] - facet_first[cell]
        on = np.zeros((m, n), np.bool_)
        for f in range(m):
            q = facet_first[cell] + f
            for c in range(corner_first[q], corner_first[q + 1]):
                on[f, corners[c]] = True
        face = np.zeros((d + 1, n), np.bool_)
        face[0, :] = True
        out[cell] = _cell_volume(X[first[cell] : first[cell + 1]], on, face)


@njit(**FAST)
def _cell_volume(X, on, face):
    """d! times the volume of one cell, by pyramids.

    A stack of levels: face[l] is the face at hand, its apex its first vertex, at[l] the next facet to meet it with.
    """
    d, m, n = X.shape[1], len(on), len(X)
    apex, at = np.zeros(d + 1, np.int64), np.zeros(d + 1, np.int64)
    matrix = np.empty((d, d))
    total, level = 0.0, 0
    while level >= 0:
        if at[level] == 0:
            apex[level] = -1
            for v in range(n):
                if face[level, v]:
                    apex[level] = v
                    break
            if level == d:
                for i in range(d):
                    for k in range(d):
                        matrix[i, k] = X[apex[i], k] - X[apex[d], k]
                total += abs(_determinant(matrix))
                level -= 1
                continue
        f = at[level]
        at[level] = f + 1
        if f == m:
            level -= 1
            continue
        if not on[f, apex[level]] and _is_facet(on, face, level, f):
            for v in range(n):
                face[level + 1, v] = face[level, v] and on[f, v]
            level += 1
            at[level] = 0
    return total


@njit(**FAST)
def _is_facet(on, face, level, f):
    """Whether facet f of the cell meets the face in one of the face's facets, and no earlier one in the same."""
    n, any_vertex = on.shape[1], False
    for v in range(n):
        any_vertex |= face[level, v] and on[f, v]
    if not any_vertex:
        return False
    for g in range(len(on)):
        if g == f:
            continue
        contains, equal, whole = True, True, True
        for v in range(n):
            if face[level, v]:
                contains &= on[g, v] or not on[f, v]
                equal &= on[g, v] == on[f, v]
                whole &= on[g, v]
        if contains and not whole and (not equal or g < f):
            return False
    return True


@njit(**FAST)
def _determinant(A):
    """Determinant by elimination; A is overwritten."""
    d, out = len(A), 1.0
    for c in range(d):
        p = c
        for i in range(c + 1, d):
            if abs(A[i, c]) > abs(A[p, c]):
                p = i
        if A[p, c] == 0.0:
            return 0.0
        for k in range(d):
            A[c, k], A[p, k] = A[p, k], A[c, k]
        out *= A[c, c]
        for i in range(c + 1, d):
            factor = A[i, c] / A[c, c]
            for k in range(c, d):
                A[i, k] -= factor * A[c, k]
    return out
