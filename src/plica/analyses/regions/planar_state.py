"""What the planar engine passes from stage to stage: windows, cells after a split, chunks before one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from plica.analyses.regions.planar_exact import Line, Point, ratio
from plica.analyses.regions.planar_kernels import UNIT
from plica.analyses.regions.planar_rows import SAFE, TINY, FormBound, Rows
from plica.analyses.regions.planar_split import Out
from plica.analyses.regions.solid_stages import Stage
from plica.core.choice import Piecewise
from plica.core.network import INPUT, Network


@dataclass(frozen=True, eq=False)
class Window:
    """A convex polygon: its lines (positive inside), the exact corners, corner i beginning side i."""

    lines: list[Line]
    corners: list[Point]


@dataclass(eq=False)
class Tally:
    """What has been done: regions, cells after every stage, vertices opened, vertices and cells decided in integers."""

    count: int = 0
    cells: list[int] = field(default_factory=list)
    vertices: int = 0
    exact_vertices: int = 0
    exact_cells: int = 0


@dataclass(frozen=True, eq=False)
class New:
    """New vertices of a split: what they combine, weights and bounds, names (see `planar_split`)."""

    source: np.ndarray
    weights: np.ndarray
    names: np.ndarray


def no_new() -> New:
    """No new vertices."""
    return New(np.empty((0, 5), np.int64), np.empty((0, 8)), np.empty(0, np.uint64))


@dataclass(frozen=True, eq=False)
class Polygons:
    """Convex polygons: cell c has the vertices index[offset[c] : offset[c + 1]] in order, and labels of its sides.

    Attributes
    ----------
    offset, index, label : ndarray of int64
    words : ndarray of uint64, shape (cells, ...)
        Pattern words of the cells, all stages so far.
    """

    offset: np.ndarray
    index: np.ndarray
    label: np.ndarray
    words: np.ndarray

    def __len__(self) -> int:
        return len(self.offset) - 1


@dataclass(frozen=True, eq=False)
class Ahead:
    """Rows of the next stage at the vertices before a split, from which those at new ones follow; see `planar_move`.

    Attributes
    ----------
    rows : Rows
    base : ndarray, shape (V,)
        Of the forms' bounds.
    size : ndarray, shape (V,)
        Norms after the choice.
    """

    rows: Rows
    base: np.ndarray
    size: np.ndarray


@dataclass(frozen=True, eq=False)
class Split:
    """Cells after a stage, before the choice is applied to their vertices.

    Attributes
    ----------
    stage : int
    rows : Rows
        Of the vertices before the split.
    X : ndarray, shape (V, 5)
        x, y, delta, rho, eps of them.
    keys : ndarray of uint64, shape (V,)
        Equal only for the same vertex.
    polygons : Polygons
        Vertices from V on are new ones.
    new : New
    done : bool
        False when the cells are to be cut by more forms of the same stage.
    ahead : Ahead or None
        Where the next rows are made from those of the next stage, not from `rows` by a product.
    """

    stage: int
    rows: Rows
    X: np.ndarray
    keys: np.ndarray
    polygons: Polygons
    new: New
    done: bool = True
    ahead: Ahead | None = None


@dataclass(frozen=True, eq=False)
class Item:
    """Some cells of a split that wait for the next stage; `path` says which, whoever takes them and when."""

    split: Split
    cells: slice
    path: tuple[int, ...] = ()


@dataclass(eq=False)
class Chunk:
    """Cells before a stage, with rows of the values that it reads; `again`: some forms of the stage are done."""

    stage: int
    rows: Rows
    base: np.ndarray
    forms: FormBound
    again: bool
    X: np.ndarray
    keys: np.ndarray
    polygons: Polygons


@dataclass(frozen=True, eq=False)
class Waiting:
    """A chunk that waits to be split, with its path (see `Item`): what an item becomes when work stops."""

    chunk: Chunk
    path: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Found:
    """Finished cells: x, y, delta, rho, eps of their vertices, keys, polygons; paths as in `Item` are their order."""

    X: np.ndarray
    keys: np.ndarray
    polygons: Polygons
    path: tuple[int, ...] = ()


def first_split(net: Network, window: Window, radius: float) -> Split:
    """The window itself, as one cell."""
    points = window.corners
    m = len(points)
    xy = np.array([[ratio(p[0], p[2]), ratio(p[1], p[2])] for p in points])
    whole = [all(is_float(v, p[2]) for v in p[:2]) for p in points]
    move = np.where(whole, 0.0, 4.0 * UNIT * radius)
    values = xy.reshape(m, *net.input_shape).reshape(m, -1)
    rows = Rows({INPUT: values}, {INPUT: np.zeros(m)}, {INPUT: np.linalg.norm(xy, axis=1) * SAFE + TINY})
    polygon = Polygons(np.array([0, m]), np.arange(m), -1 - np.arange(m), np.zeros((1, 0), np.uint64))
    X = np.column_stack([xy, move, move, np.zeros(m)])
    return Split(-1, rows, X, np.arange(1, m + 1).astype(np.uint64), polygon, no_new())


def after_split(k: Chunk, out: Out) -> list[Split]:
    """Splits of the cells that are through with the stage, and of those that are not."""
    own = k.polygons.words[out.parent]
    joined = np.concatenate([own, out.words], axis=1)
    new = New(out.source, out.weights, out.names)
    if not out.more.any():
        polygons = Polygons(out.offset, out.vertex, out.label, joined)
        return [Split(k.stage, k.rows, k.X, k.keys, polygons, new)] if len(polygons) else []
    splits = []
    for done in (True, False):
        chosen = np.flatnonzero((out.more == 0) == done)
        sizes = np.diff(out.offset)[chosen]
        ends = np.concatenate([[0], np.cumsum(sizes)])
        take = np.repeat(out.offset[chosen] - ends[:-1], sizes) + np.arange(ends[-1])
        kept = joined[chosen] if done else own[chosen]
        if len(chosen):
            polygons = Polygons(ends, out.vertex[take], out.label[take], kept)
            splits.append(Split(k.stage, k.rows, k.X, k.keys, polygons, new, done=done))
    return splits


def bit_words(flags: np.ndarray) -> np.ndarray:
    """A bit for every entry."""
    room = np.zeros((len(flags) + 63) // 64 * 64, np.uint8)
    room[: len(flags)] = flags
    return np.packbits(room, bitorder="little").view(np.uint64)


def forms_are_units(stage: Stage) -> bool:
    """Whether the forms of a stage are its units themselves."""
    units = math.prod(stage.node.shape)
    return isinstance(stage.node.op, Piecewise) and stage.forms == units and not stage.knot.any()


def is_float(a: int, b: int) -> bool:
    """Whether a / b is a float exactly."""
    value = ratio(a, b)
    if not math.isfinite(value):
        return False
    p, q = value.as_integer_ratio()
    return p * b == a * q


def bytes_per_vertex(net: Network, stage: Stage) -> int:
    """Bytes of a vertex's rows at a stage: the values that exist there and that it or later nodes read."""
    order = [INPUT, *(node.name for node in net.nodes)]
    there = order[: order.index(stage.node.name)]
    names = {stage.node.inputs[0], *stage.keep} & set(there)
    return 8 * sum(math.prod(net.shape_of(name)) for name in names)
