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
from plica.analyses.regions.planar_join import numbered, renumber
from plica.analyses.regions.planar_kernels import MOST, UNIT
from plica.analyses.regions.planar_state import Found


@dataclass(frozen=True, eq=False)
class Mesh:
    """Polygons with common vertices.

    Attributes
    ----------
    vertices : ndarray, shape (V, 2)
    error : ndarray, shape (V,)
        Distance to the exact place, at most.
    first : ndarray of int64, shape (n + 1,)
    corners : ndarray of int64, shape (first[-1],)
        Vertices of polygon i in order, counter-clockwise, from first[i] to first[i + 1].
    label : ndarray of int64, shape (first[-1],)
        Of the side that begins at each corner.
    words : ndarray of uint64, shape (n, ...)
    whole : bool
        False when a budget ended while vertices were compared: then some places may be there twice.
    """

    vertices: np.ndarray
    error: np.ndarray
    first: np.ndarray
    corners: np.ndarray
    label: np.ndarray
    words: np.ndarray
    whole: bool = True


def mesh_of(engine: Engine, found: list[Found]) -> Mesh:
    """One mesh of all finished cells of an engine."""
    if not found:
        none = np.zeros(0, np.int64)
        return Mesh(np.zeros((0, 2)), np.zeros(0), np.zeros(1, np.int64), none, none, np.zeros((0, 0), np.uint64))
    found = sorted(found, key=lambda f: f.path)
    before = np.cumsum([0, *(len(f.X) for f in found)])
    sides = np.cumsum([0, *(f.polygons.offset[-1] for f in found)])
    number, chosen = numbered(np.concatenate([f.keys for f in found]))
    corners = np.empty(sides[-1], np.int64)
    for f, b, a, z in zip(found, before, sides, sides[1:], strict=False):
        renumber(f.polygons.index, number, b, corners[a:z])
    first = np.concatenate(
        [np.zeros(1, np.int64), *(f.polygons.offset[1:] + s for f, s in zip(found, sides, strict=False))]
    )
    label = np.concatenate([f.polygons.label for f in found])
    words = np.concatenate([f.polygons.words for f in found])
    X = np.concatenate([f.X for f in found])[chosen]
    vertices = np.ascontiguousarray(X[:, :2])
    error = X[:, 2] + X[:, 4] + 4.0 * UNIT * np.abs(vertices).max(axis=1)
    mesh = Mesh(vertices, error, first, corners, label, words)
    # Two names for one vertex arise only where a cell was done in integers or in rounds: elsewhere a third line through
    # a vertex would have been in doubt.
    rounds = any(stage.forms > MOST for stage in engine.plan)
    return _merged(engine, mesh) if rounds or engine.tally.exact_cells or engine.tally.exact_vertices else mesh


def _merged(engine: Engine, mesh: Mesh) -> Mesh:
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
        number[v] = exact.setdefault(_place(engine, mesh, int(seat[v])), v)
    kept, corners = np.unique(number[mesh.corners], return_inverse=True)
    return Mesh(mesh.vertices[kept], mesh.error[kept], mesh.first, corners, mesh.label, mesh.words, whole)


def _place(engine: Engine, mesh: Mesh, i: int) -> Point:
    """Exact place of corner i."""
    c = int(np.searchsorted(mesh.first, i, side="right")) - 1
    a, b = int(mesh.first[c]), int(mesh.first[c + 1])
    branches = engine.exact.branches(mesh.words[c], len(engine.plan))
    labels = [int(mesh.label[i - 1 if i > a else b - 1]), int(mesh.label[i])]
    return engine.exact.corners(labels, branches)[1]
