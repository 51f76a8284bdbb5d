"""Cells of the planar engine as one mesh: every vertex once, sides in order.

The mesh has no hanging vertices: values are continuous, so a form that cuts a cell through a side changes sign on that
side and cuts the cell behind it there too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_exact import Point
from plica.analyses.regions.planar_join import makers, numbered, renumber, settled
from plica.analyses.regions.planar_kernels import MOST, NONE
from plica.analyses.regions.planar_state import Found

NO_KEYS, NO_LABELS = np.zeros(0, np.uint64), np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Mesh:
    """Polygons with common vertices.

    Attributes
    ----------
    vertices : ndarray, shape (V, 2)
    error : ndarray, shape (V,)
        Distance to the exact place, at most.
    first : ndarray of int64, shape (n + 1,)
    corners : ndarray of `index_type`, shape (first[-1],)
        Vertices of polygon i in order, counter-clockwise, from first[i] to first[i + 1].
    layers, units : ndarray of int32, shape (first[-1],)
        Stage and unit behind the side that begins at each corner, -1 for sides of the window.
    words : ndarray of uint64, shape (n, ...)
    whole : bool
        False when a budget ended while vertices were compared: then some places may be there twice.
    """

    vertices: np.ndarray
    error: np.ndarray
    first: np.ndarray
    corners: np.ndarray
    layers: np.ndarray
    units: np.ndarray
    words: np.ndarray
    whole: bool = True


@dataclass(frozen=True, eq=False)
class Order:
    """Finished chunks in order, and where the vertices and the sides of each begin among all."""

    chunks: list[Found]
    before: np.ndarray
    sides: np.ndarray

    @classmethod
    def of(cls, found: list[Found]) -> Order:
        """By their paths."""
        chunks = sorted(found, key=lambda f: f.path)
        ends = [[f.polygons.offset[-1] for f in chunks], [len(f.X) for f in chunks]]
        sides, before = (np.concatenate([np.zeros(1, np.int64), np.cumsum(e, dtype=np.int64)]) for e in ends)
        return cls(chunks, before, sides)

    def label(self, i: int) -> int:
        """Label of a side."""
        chunk = int(np.searchsorted(self.sides, i, side="right")) - 1
        return int(self.chunks[chunk].polygons.label[i - self.sides[chunk]])


def mesh_of(engine: Engine, found: list[Found], *, exact: bool = False) -> Mesh:
    """One mesh of all finished cells of an engine; the list is emptied, so that both are not held for long.

    `exact`: whether some were decided in integers by an earlier engine.
    """
    order = Order.of(found)
    mesh = _joined(engine, order)
    # Two names for one vertex arise only where a cell was done in integers or in rounds: elsewhere a third line through
    # a vertex would have been in doubt.
    rounds = any(stage.forms > MOST for stage in engine.plan)
    if exact or rounds or engine.tally.exact_cells or engine.tally.exact_vertices:
        mesh = _merged(engine, mesh, order)
    found.clear()
    return mesh


def _joined(engine: Engine, order: Order) -> Mesh:
    """The chunks with one number for each key."""
    n = int(order.before[-1])
    seat = np.full(1 << (2 * n).bit_length(), -1, index_type(n))
    number, chosen = numbered(np.concatenate([NO_KEYS, *(f.keys for f in order.chunks)]), seat)
    vertices, error = np.empty((len(chosen), 2)), np.empty(len(chosen))
    corners = np.empty(order.sides[-1], seat.dtype)
    layers, units = np.empty(len(corners), np.int32), np.empty(len(corners), np.int32)
    owners, ends = _owners(engine), np.searchsorted(chosen, order.before)
    for i, f in enumerate(order.chunks):
        here, own = slice(*order.sides[i : i + 2]), slice(*ends[i : i + 2])
        renumber(f.polygons.index, number, order.before[i], corners[here])
        settled(f.X, chosen[own], order.before[i], vertices[own], error[own])
        makers(f.polygons.label, *owners, layers[here], units[here])
    polygons = [f.polygons for f in order.chunks]
    first = [p.offset[1:] + s for p, s in zip(polygons, order.sides, strict=False)]
    words = np.concatenate([p.words for p in polygons]) if polygons else np.zeros((0, 0), np.uint64)
    mesh = Mesh(vertices, error, np.concatenate([[0], *first], dtype=np.int64), corners, layers, units, words)
    for index, stage in enumerate(engine.plan):
        if not stage.binary and len(np.unique(stage.plus)) < len(stage.plus):
            _name_shared(engine, order, mesh, index)
    return mesh


def _name_shared(engine: Engine, order: Order, mesh: Mesh, index: int) -> None:
    """Units of the sides of a stage whose groups share candidates.

    A tie of two candidates can belong to several groups. On a cell that it bounds, the group that changes behind the
    side is one that has both and is won by one of them: behind the side the other one is larger.
    """
    stage, at = engine.plan[index], engine.exact.starts[index : index + 2]
    sides = np.flatnonzero(mesh.layers == index)
    pairs = np.concatenate([NO_LABELS, *(f.polygons.label for f in order.chunks)])[sides] & ((1 << 48) - 1)
    winners = np.ascontiguousarray(mesh.words[:, slice(*at)]).view(np.uint16)
    cell = np.searchsorted(mesh.first, sides, side="right") - 1
    group = np.repeat(np.arange(stage.decisions), np.diff(stage.start))
    for pair in np.unique(pairs).tolist():
        here = np.flatnonzero(pairs == pair)
        own = np.flatnonzero(np.isin(stage.plus, (pair >> 24, pair & NONE)))
        both = [g for g in np.unique(group[own]) if len(set(stage.plus[own[group[own] == g]])) == 2]
        found = np.full(len(here), both[0])
        for g in both:
            won = stage.position[own[group[own] == g]]
            found[np.isin(winners[cell[here], g], won)] = g
        mesh.units[sides[here]] = stage.unit[found]


def _owners(engine: Engine) -> tuple[np.ndarray, np.ndarray]:
    """Units of all forms, stage after stage, and where every stage's begin.

    Sides of a stage of groups are called after a candidate among the values that the node reads, not after a form.
    """
    parts = []
    for stage in engine.plan:
        if stage.binary:
            parts.append(stage.unit)
        else:
            group = np.full(int(stage.plus.max(initial=-1)) + 1, -1)
            group[stage.plus] = np.repeat(stage.unit, np.diff(stage.start))
            parts.append(group)
    start = np.cumsum([0, *(len(p) for p in parts)])
    return np.concatenate([np.zeros(0, np.int64), *parts]), start


def index_type(count: int) -> type[np.int32] | type[np.int64]:
    """Integers that number so many things, in half the room where that is enough."""
    return np.int32 if count <= np.iinfo(np.int32).max else np.int64


def _merged(engine: Engine, mesh: Mesh, order: Order) -> Mesh:
    """The same with vertices of one exact place as one."""
    reach = 2.0 * float(mesh.error.max(initial=0.0))
    pairs = cKDTree(mesh.vertices).query_pairs(reach, output_type="ndarray")
    gap = np.abs(mesh.vertices[pairs[:, 0]] - mesh.vertices[pairs[:, 1]]).max(axis=1, initial=0.0)
    pairs = pairs[gap <= mesh.error[pairs].sum(axis=1)]
    if not len(pairs):
        return mesh
    seat = np.full(len(mesh.vertices), -1)
    seat[mesh.corners] = np.arange(len(mesh.corners))
    exact: dict[Point, int] = {}
    number = np.arange(len(mesh.vertices))
    whole = True
    for v in np.unique(pairs).tolist():
        if engine.progress.seconds_left <= 0:
            whole = False
            break
        number[v] = exact.setdefault(_place(engine, mesh, order, int(seat[v])), v)
    kept, corners = np.unique(number[mesh.corners], return_inverse=True)
    where = (mesh.vertices[kept], mesh.error[kept], mesh.first, corners.astype(mesh.corners.dtype))
    return Mesh(*where, mesh.layers, mesh.units, mesh.words, whole)


def _place(engine: Engine, mesh: Mesh, order: Order, i: int) -> Point:
    """Exact place of corner i."""
    c = int(np.searchsorted(mesh.first, i, side="right")) - 1
    a, b = int(mesh.first[c]), int(mesh.first[c + 1])
    branches = engine.exact.branches(mesh.words[c], len(engine.plan))
    labels = [order.label(i - 1 if i > a else b - 1), order.label(i)]
    return engine.exact.corners(labels, branches)[1]
