"""What floats leave open in the planar engine: signs at vertices, and whole cells, with more digits or in integers."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from plica.analyses.regions.planar_exact import Exact, Part, Point, dot, ratio
from plica.analyses.regions.planar_fine_tier import FineParts, FineTier, errors_of
from plica.analyses.regions.planar_kernels import NONE, UNIT
from plica.analyses.regions.planar_rows import FormBound, Rows
from plica.analyses.regions.planar_state import Chunk, Polygons, Split, no_new

AT_ONCE = 16  # forms that integers cut a cell by before floats go on


@dataclass(frozen=True, eq=False)
class Cut:
    """A cell cut in integers: its pattern words, vertices of its parts, these, rows there, their spread."""

    words: np.ndarray
    points: list[Point]
    parts: list[Part]
    values: dict[str, np.ndarray]
    spread: dict[str, float]


class Settler:
    """Decides signs and splits cells; one thread at a time.

    Parameters
    ----------
    exact : Exact
    fine : FineTier
        Is asked first.
    units : list of bool
        Stages whose forms are their units.
    radius : float
        Of the window, for the rounding of coordinates.

    Attributes
    ----------
    vertices, cells : int
        Decided in integers.
    fine_vertices, fine_cells : int
        Decided by `fine`.
    """

    def __init__(self, exact: Exact, fine: FineTier, units: list[bool], radius: float) -> None:
        self.exact, self.fine, self.units, self.place_error = exact, fine, units, 4.0 * UNIT * radius
        self.lock = threading.Lock()
        self.vertices = self.cells = self.fine_vertices = self.fine_cells = 0

    def signs(self, k: Chunk, where: np.ndarray, POS: np.ndarray, NEG: np.ndarray) -> None:
        """Decide doubtful (vertex, form); each vertex is recomputed and rounded once."""
        want: dict[int, list[int]] = {}
        for v, f in where.tolist():
            want.setdefault(v, []).append(f)
        p = k.polygons
        cell_of = np.repeat(np.arange(len(p)), np.diff(p.offset))
        seat: dict[int, int] = {}
        for i in np.flatnonzero(np.isin(p.index, np.fromiter(want, np.int64))).tolist():
            seat.setdefault(int(p.index[i]), i)
        with self.lock:
            for v, forms in want.items():
                for f, sign in self._vertex(k, v, seat[v], int(cell_of[seat[v]]), forms):
                    words = POS if sign > 0 else NEG
                    words[v, f >> 6] |= np.uint64((sign != 0) << (f & 63))

    def _vertex(self, k: Chunk, v: int, i: int, c: int, forms: list[int]) -> list[tuple[int, int]]:
        """Signs of forms at vertex v, which is corner i of cell c; overwrites it with exact values, rounded."""
        p = k.polygons
        a, b = int(p.offset[c]), int(p.offset[c + 1])
        sides = [int(p.label[i - 1 if i > a else b - 1]), int(p.label[i])]
        told = self.fine.signs(k.stage, sides, p.words[c], forms)
        if told is not None:
            self.fine_vertices += 1
            values, spread = self.fine.rows(k.stage, p.words[c], told[1][None])
            self._put(k, v, values, spread)
            k.X[v] = self.fine.places(told[1][None])[0]
            return list(zip(forms, told[0], strict=True))
        self.vertices += 1
        branches = self.exact.branches(p.words[c], k.stage)
        point = self.exact.corners(sides, branches)[1]
        lines = [self.exact.line((k.stage << 48) + (f << 24) + NONE, branches) for f in forms]
        self._put(k, v, *self._rows(k, c, [point]))
        k.X[v] = ratio(point[0], point[2]), ratio(point[1], point[2]), 0.0, 0.0, self.place_error
        return [(f, dot(line, point)) for f, line in zip(forms, lines, strict=True)]

    def _rows(self, k: Chunk, c: int, points: list[Point]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Rows of exact points of a cell, rounded, and how far they are off beside their rounding."""
        words = k.polygons.words[c]
        found = self.fine.rows_at(k.stage, words, points)
        return found or (self.exact.rows(k.stage, self.exact.branches(words, k.stage), points), {})

    def _put(self, k: Chunk, v: int, values: dict[str, np.ndarray], spread: dict[str, float]) -> None:
        """Overwrite the rows of a vertex; `spread` is their error beside the rounding."""
        rows = k.rows
        for name, row in values.items():
            rows.values[name][v] = row[0]
            rows.error[name][v : v + 1], rows.norm[name][v : v + 1] = errors_of(row, spread.get(name, 0.0))
        source = self.exact.plan[k.stage].node.inputs[0]
        k.base[v] = self._base(k.stage, rows, v, k.forms) + spread.get(source, 0.0) / self._least(k.forms)

    def _base(self, stage: int, rows: Rows, v: int, forms: FormBound) -> float:
        """`base` of a vertex whose forms are right up to one rounding of each unit and of the difference."""
        name = self.exact.plan[stage].node.inputs[0]
        return 4.0 * UNIT * float(rows.norm[name][v]) / self._least(forms)

    def _least(self, forms: FormBound) -> float:
        """Smallest positive factor of `base`."""
        positive = forms.row[forms.row > 0]
        return float(positive.min()) if len(positive) else 1.0

    def split(self, k: Chunk, cells: np.ndarray, *, emit: bool) -> tuple[int, list[Split]]:
        """Split cells; returns the number of parts, and the parts where `emit`, with rows for their vertices."""
        cut: dict[bool, list[Cut]] = {True: [], False: []}
        told: list[tuple[np.ndarray, FineParts]] = []
        total, p = 0, k.polygons
        for c in cells.tolist():
            with self.lock:
                answer = self.fine.split(k, c, emit=emit)
            if answer is not None:
                self.fine_cells += 1
                total += answer[0]
                told += [(p.words[c], answer[1])] if answer[1] is not None else []
                continue
            with self.lock:
                self.cells += 1
                found, done = self._split(k, c, emit)
                total += len(found)
                if emit:
                    cut[done].append(self._cut(k, c, found, done))
        splits = [_fine_split(k, [t for t in told if t[1].done == done], done=done) for done in (True, False)]
        splits += [self._parts(k, cut[done], done) for done in (True, False) if cut[done]]
        return total, [s for s in splits if s is not None]

    def _split(self, k: Chunk, c: int, emit: bool) -> tuple[list[Part], bool]:
        """Parts of a cell in integers; a few forms at a time where floats can go on with the parts."""
        words, label = k.polygons.words[c], k.polygons.label[k.polygons.offset[c] : k.polygons.offset[c + 1]]
        near = self.fine.near(k.stage, words, self.exact.corners(label, self.exact.branches(words, k.stage)))
        most = AT_ONCE if emit and self.units[k.stage] else math.inf
        return self.exact.split(k.stage, label, words, near, most)

    def _cut(self, k: Chunk, c: int, parts: list[Part], done: bool) -> Cut:
        """Parts of a cell, with rows for their vertices where a stage reads them."""
        words = k.polygons.words[c]
        points = list(dict.fromkeys(x for part in parts for x in part.points))
        if done and k.stage + 1 == len(self.exact.plan):
            return Cut(words, points, parts, {}, {})
        values, spread = self._rows(k, c, points)
        if not done:
            self._set_zeros(k, c, points, values[self.exact.plan[k.stage].node.inputs[0]])
        return Cut(words, points, parts, values, spread)

    def _set_zeros(self, k: Chunk, c: int, points: list[Point], values: np.ndarray) -> None:
        """Set units that are exactly zero at points to negative zero: the mark of a tight unit."""
        branches = self.exact.branches(k.polygons.words[c], k.stage)
        doubtful = np.abs(values) <= 2.0**-20 * np.abs(values).max(axis=1, initial=0.0)[:, None]
        for i, unit in np.argwhere(doubtful & self.exact.real[k.stage]).tolist():
            if dot(self.exact.line((k.stage << 48) + (unit << 24) + NONE, branches), points[i]) == 0:
                values[i, unit] = -0.0

    def _parts(self, k: Chunk, cut: list[Cut], done: bool) -> Split:
        """Parts of cells as a split of its own."""
        points = [x for own in cut for x in own.points]
        X = np.array([[ratio(p[0], p[2]), ratio(p[1], p[2]), 0.0, 0.0, self.place_error] for p in points])
        rows = Rows({}, {}, {})
        for name in cut[0].values:
            values = np.concatenate([own.values[name] for own in cut])
            spread = np.concatenate([np.full(len(own.points), own.spread.get(name, 0.0)) for own in cut])
            rows.put(name, values, *errors_of(values, spread))
        keys = np.array([_key(p) for p in points], np.uint64)
        before = np.cumsum([0, *(len(own.points) for own in cut)]).tolist()
        number = [{x: at + i for i, x in enumerate(own.points)} for own, at in zip(cut, before, strict=False)]
        parts = [(own.words, seat, part) for own, seat in zip(cut, number, strict=True) for part in own.parts]
        polygons = Polygons(
            np.cumsum([0, *(len(part.points) for _, _, part in parts)]),
            np.array([seat[x] for _, seat, part in parts for x in part.points], np.int64),
            np.array([s for _, _, part in parts for s in part.labels], np.int64),
            np.array([np.concatenate([words, part.words]) for words, _, part in parts]),
        )
        return Split(k.stage, rows, X, keys, polygons, no_new(), done=done)


def _fine_split(k: Chunk, told: list[tuple[np.ndarray, FineParts]], *, done: bool) -> Split | None:
    """Parts of cells, decided with more digits, as one split."""
    if not told:
        return None
    parts = [t for _, t in told]
    rows = Rows({}, {}, {})
    for name in parts[0].values:
        values = np.concatenate([t.values[name] for t in parts])
        spread = np.concatenate([np.full(len(t.X), t.spread[name]) for t in parts])
        rows.put(name, values, *errors_of(values, spread))
    vertices, sides = (np.cumsum([0, *sizes]) for sizes in ([len(t.X) for t in parts], [len(t.index) for t in parts]))
    polygons = Polygons(
        np.concatenate([[0], *(t.offset[1:] + s for t, s in zip(parts, sides[:-1], strict=True))]),
        np.concatenate([t.index + v for t, v in zip(parts, vertices[:-1], strict=True)]),
        np.concatenate([t.label for t in parts]),
        np.concatenate([
            np.concatenate([np.tile(words, (len(t.words), 1)), *([t.words] if done else [])], axis=1)
            for words, t in told
        ]),
    )  # fmt: skip
    X, keys = np.concatenate([t.X for t in parts]), np.concatenate([t.keys for t in parts])
    return Split(k.stage, rows, X, keys, polygons, no_new(), done=done)


def _key(point: Point) -> int:
    """A hash of a point (Python's own is equal for -1 and -2)."""
    return int.from_bytes(blake2b(repr(point).encode(), digest_size=8).digest(), "little")
