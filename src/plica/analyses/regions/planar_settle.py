"""What floats leave open in the planar engine, decided in integers: signs at vertices, and whole cells."""

from __future__ import annotations

import threading
from hashlib import blake2b

import numpy as np

from plica.analyses.regions.planar_exact import Exact, Part, Point, dot, ratio
from plica.analyses.regions.planar_kernels import NONE, UNIT
from plica.analyses.regions.planar_rows import SAFE, TINY, FormBound, Rows
from plica.analyses.regions.planar_state import Chunk, Polygons, Split, no_new


class Settler:
    """Decides signs and splits cells exactly; one thread at a time.

    Parameters
    ----------
    exact : Exact
    radius : float
        Of the window, for the rounding of coordinates.
    """

    def __init__(self, exact: Exact, radius: float) -> None:
        self.exact, self.place_error = exact, 4.0 * UNIT * radius
        self.lock = threading.Lock()
        self.vertices = self.cells = 0

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
                self.vertices += 1
                for f, sign in self._vertex(k, v, seat[v], int(cell_of[seat[v]]), forms):
                    words = POS if sign > 0 else NEG
                    words[v, f >> 6] |= np.uint64((sign != 0) << (f & 63))

    def _vertex(self, k: Chunk, v: int, i: int, c: int, forms: list[int]) -> list[tuple[int, int]]:
        """Signs of forms at vertex v, which is corner i of cell c; overwrites it with exact values, rounded."""
        p = k.polygons
        a, b = int(p.offset[c]), int(p.offset[c + 1])
        branches = self.exact.branches(p.words[c], k.stage)
        before = i - 1 if i > a else b - 1
        point = self.exact.corners([int(p.label[before]), int(p.label[i])], branches)[1]
        lines = [self.exact.line((k.stage << 48) + (f << 24) + NONE, branches) for f in forms]
        rows = k.rows
        for name, row in self.exact.rows(k.stage, branches, [point]).items():
            rows.values[name][v] = row[0]
            rows.norm[name][v] = np.linalg.norm(row) * SAFE + TINY
            rows.error[name][v] = 2.0 * UNIT * rows.norm[name][v] + TINY
        k.base[v] = self._base(k.stage, rows, v, k.forms)
        k.X[v] = ratio(point[0], point[2]), ratio(point[1], point[2]), 0.0, 0.0, self.place_error
        return [(f, dot(line, point)) for f, line in zip(forms, lines, strict=True)]

    def _base(self, stage: int, rows: Rows, v: int, forms: FormBound) -> float:
        """`base` of a vertex whose forms are right up to one rounding of each unit and of the difference."""
        name = self.exact.plan[stage].node.inputs[0]
        positive = forms.row[forms.row > 0]
        least = float(positive.min()) if len(positive) else 1.0
        return 4.0 * UNIT * float(rows.norm[name][v]) / least

    def split(self, k: Chunk, cells: np.ndarray, *, emit: bool) -> tuple[int, list[Split]]:
        """Split cells; returns the number of parts, and the parts where `emit`, with rows for their vertices."""
        points: list[Point] = []
        values: dict[str, list] = {name: [] for name in k.rows.values}
        parts: list[tuple[np.ndarray, list[int], Part]] = []
        total, p = 0, k.polygons
        for c in cells.tolist():
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
        return total, [self._parts(k, points, values, parts)] if emit else []

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


def _key(point: Point) -> int:
    """A hash of a point (Python's own is equal for -1 and -2)."""
    return int.from_bytes(blake2b(repr(point).encode(), digest_size=8).digest(), "little")
