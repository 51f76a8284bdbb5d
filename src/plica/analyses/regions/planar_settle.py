"""What floats leave open in the planar engine: signs at vertices, and whole cells, with more digits or in integers."""

from __future__ import annotations

import threading
from hashlib import blake2b

import numpy as np

from plica.analyses.regions.planar_exact import Exact, Part, Point, dot, ratio
from plica.analyses.regions.planar_fine_tier import FineParts, FineTier, errors_of
from plica.analyses.regions.planar_kernels import NONE, UNIT
from plica.analyses.regions.planar_rows import SAFE, TINY, FormBound, Rows
from plica.analyses.regions.planar_state import Chunk, Polygons, Split, no_new


class Settler:
    """Decides signs and splits cells; one thread at a time.

    Parameters
    ----------
    exact : Exact
    fine : FineTier
        Is asked first.
    radius : float
        Of the window, for the rounding of coordinates.

    Attributes
    ----------
    vertices, cells : int
        Decided in integers.
    fine_vertices, fine_cells : int
        Decided by `fine`.
    """

    def __init__(self, exact: Exact, fine: FineTier, radius: float) -> None:
        self.exact, self.fine, self.place_error = exact, fine, 4.0 * UNIT * radius
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
        self._put(k, v, self.exact.rows(k.stage, branches, [point]), {})
        k.X[v] = ratio(point[0], point[2]), ratio(point[1], point[2]), 0.0, 0.0, self.place_error
        return [(f, dot(line, point)) for f, line in zip(forms, lines, strict=True)]

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
        points: list[Point] = []
        values: dict[str, list] = {name: [] for name in k.rows.values}
        parts: list[tuple[np.ndarray, list[int], Part]] = []
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
                found = self.exact.split(k.stage, p.label[p.offset[c] : p.offset[c + 1]], p.words[c])
                total += len(found)
                if not emit:
                    continue
                own = list(dict.fromkeys(x for part in found for x in part.points))
                rows = self.exact.rows(k.stage, self.exact.branches(p.words[c], k.stage), own)
            numbers = {x: len(points) + i for i, x in enumerate(own)}
            points += own
            for name, kept in values.items():
                kept += list(rows[name])
            parts += [(p.words[c], [numbers[x] for x in part.points], part) for part in found]
        splits = [_fine_split(k, [t for t in told if t[1].done == done], done=done) for done in (True, False)]
        exact = [self._parts(k, points, values, parts)] if parts else []
        return total, [s for s in splits if s is not None] + exact

    def _parts(self, k: Chunk, points: list[Point], values: dict, parts: list) -> Split:
        """Parts of cells as a split of its own."""
        X = np.array([[ratio(p[0], p[2]), ratio(p[1], p[2]), 0.0, 0.0, self.place_error] for p in points])
        rows = Rows({n: np.array(v) for n, v in values.items()}, {}, {})
        for n, Y in rows.values.items():
            rows.norm[n] = np.linalg.norm(Y, axis=1) * SAFE + TINY
            rows.error[n] = 2.0 * UNIT * rows.norm[n] + TINY
        keys = np.array([_key(p) for p in points], np.uint64)
        polygons = Polygons(
            np.cumsum([0, *(len(part.points) for _, _, part in parts)]),
            np.array([v for _, numbers, _ in parts for v in numbers], np.int64),
            np.array([s for _, _, part in parts for s in part.labels], np.int64),
            np.array([np.concatenate([words, part.words]) for words, _, part in parts]),
        )
        return Split(k.stage, rows, X, keys, polygons, no_new())


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
