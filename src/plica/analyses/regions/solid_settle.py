"""What floats leave in doubt about a solid: vertices, signs and whole pieces in integers, and back to floats."""

from __future__ import annotations

from collections import OrderedDict
from operator import mul

import numpy as np
from flint import fmpz_mat

from plica.analyses.regions import solid_exact as exact
from plica.analyses.regions.solid_arithmetic import BITS, SAFE, UNIT, Cells
from plica.analyses.regions.solid_domain import Domain, exact_row
from plica.analyses.regions.solid_exact import Point, Solid, Task
from plica.analyses.regions.solid_pieces import AGAINST, FORCED, FORM, NOTHING, TOP, Work
from plica.analyses.regions.solid_stages import ExactMaps, Stage

KEPT = 1 << 16  # exact vertices that are remembered


class Exactly:
    """Exact rows, vertices and pieces of one network and domain."""

    def __init__(self, maps: ExactMaps, domain: Domain) -> None:
        self.maps, self.domain, self.d = maps, domain, len(domain.size)
        self._points: OrderedDict[tuple, Point] = OrderedDict()
        self._rows: OrderedDict[tuple, Point] = OrderedDict()
        self._sides = [exact_row(domain, i) for i in range(len(domain.rows))]

    def row(self, code: int, branches: np.ndarray) -> Point:
        """Exact row behind a code, on a cell with these branches."""
        stage, form, against = exact.decode(code)
        if stage < 0:
            return self._sides[form]
        key = (code, branches[: self.maps.plan[stage].first].tobytes())
        if key not in self._rows:
            self._rows[key] = self.maps.row(stage, form, branches, against)
            if len(self._rows) > KEPT:
                self._rows.popitem(last=False)
        return self._rows[key]

    def point(self, codes: tuple[int, ...], branches: np.ndarray, prefix: bytes) -> Point:
        """Exact vertex where rows vanish, on a cell with these branches; `prefix` are those that the rows depend on."""
        key = (prefix, codes)
        if key not in self._points:
            kernel, _ = fmpz_mat([self.row(c, branches) for c in codes]).nullspace()
            self._points[key] = exact.reduced([int(kernel[k, 0]) for k in range(self.d + 1)])
            if len(self._points) > KEPT:
                self._points.popitem(last=False)
        return self._points[key]

    def signs(self, index: int, work: Work, cells: Cells, state: np.ndarray) -> int:
        """Decide the doubtful signs of the top piece, place its vertices anew; return how many there were."""
        level, form, against = int(state[TOP]), int(state[FORM]), int(state[AGAINST])
        branches = work.B[level]
        prefix = branches[: self.maps.plan[index].first].tobytes()
        row = self.row(exact.code(index, form, against), branches)
        span = range(int(work.first[level]), int(work.first[level + 1]))
        doubtful = [v for v in span if work.sign[v] == NOTHING]
        names = _names(index, work, cells, level, [int(work.T[v]) for v in doubtful])
        for v in doubtful:
            point = self.point(_codes(int(work.T[v]), names), branches, prefix)
            value = sum(map(mul, row, point))
            work.force[v] = (value > 0) - (value < 0)
            work.X[v], work.err[v] = rounded(point)
        state[FORCED] = 1
        return len(doubtful)

    def task(self, index: int, work: Work, cells: Cells, state: np.ndarray) -> Task:
        """The top piece, exactly."""
        level = int(state[TOP])
        tight = [int(t) for t in work.T[work.first[level] : work.first[level + 1]]]
        names = _names(index, work, cells, level, tight)
        branches = work.B[level].copy()
        solid = self._solid(tight, names, branches, self.maps.plan[index].first)
        decision, candidate, opponent = (int(v) for v in work.at[level])
        return Task(solid, branches, decision, candidate, opponent)

    def solid(self, cells: Cells, cell: int, known: int) -> Solid:
        """A cell, exactly; `known` branches are decided."""
        names = cells.code[cells.rptr[cell] : cells.rptr[cell + 1]].tolist()
        tight = [int(t) for t in cells.T[cells.vptr[cell] : cells.vptr[cell + 1]]]
        return self._solid(tight, names, cells.B[cell], known)

    def _solid(self, tight: list[int], names: list[int], branches: np.ndarray, known: int) -> Solid:
        prefix = branches[:known].tobytes()
        points = tuple(self.point(_codes(bits, names), branches, prefix) for bits in tight)
        return exact.compact(Solid(points, tuple(tight), tuple(names)))

    def cells(self, tasks: list[Task]) -> Cells:
        """Tasks as float cells; each must have at most 64 rows."""
        solids = [exact.compact(t.solid) for t in tasks]
        placed = [rounded(p) for s in solids for p in s.points]
        lines = [self.line(c, t.branches) for s, t in zip(solids, tasks, strict=True) for c in s.rows]
        d = self.d
        return Cells(
            np.array([x for x, _ in placed]).reshape(-1, d),
            np.array([e for _, e in placed]),
            np.array([t for s in solids for t in s.tight], np.uint64),
            np.cumsum([0, *(len(s.points) for s in solids)]),
            np.array([r for r, _ in lines]).reshape(-1, d + 1),
            np.array([o for _, o in lines]),
            np.array([c for s in solids for c in s.rows], np.int64),
            np.cumsum([0, *(len(s.rows) for s in solids)]),
            np.stack([t.branches for t in tasks]).astype(np.int16),
            np.array([(t.decision, t.candidate, t.opponent) for t in tasks], np.int64),
            np.arange(len(tasks)),
        )

    def line(self, code: int, branches: np.ndarray) -> tuple[np.ndarray, float]:
        """Row behind a code in floats, and how far it is off in the domain."""
        if exact.decode(code)[0] < 0 and self.domain.integers is None:
            return self.domain.rows[code], 0.0
        row = self.row(code, branches)
        scale = max(map(abs, row))
        line = np.array([v / scale for v in row])
        return line, float(UNIT * SAFE * SAFE * (np.abs(line[:-1]) @ self.domain.size + abs(line[-1])))


def packable(task: Task) -> bool:
    """Whether a task's rows fit into the bits of a word."""
    return len(exact.compact(task.solid).rows) <= BITS


def rounded(point: Point) -> tuple[np.ndarray, float]:
    """Nearest float point, and how far it is off in any coordinate."""
    s = point[-1]
    x = [v / s for v in point[:-1]]
    same = all(p * s == v * q for v, (p, q) in zip(point[:-1], (c.as_integer_ratio() for c in x), strict=True))
    return np.array(x), 0.0 if same else max(map(abs, x)) * 2.0 * UNIT


def _codes(bits: int, names: list[int]) -> tuple[int, ...]:
    """Codes of the rows of a vertex."""
    out = []
    while bits:
        low = bits & -bits
        out.append(names[low.bit_length() - 1])
        bits ^= low
    return tuple(sorted(out))


def _names(index: int, work: Work, cells: Cells, level: int, tight: list[int]) -> list[int]:
    """Codes of the rows behind the bits of a piece; -1 for bits that none of these vertices has."""
    used = 0
    for bits in tight:
        used |= bits
    names = []
    for b in range(BITS):
        q, against = int(work.row[level, b]), int(work.against[level, b])
        if not used >> b & 1:
            names.append(-1)
        else:
            names.append(int(cells.code[q]) if against == -2 else exact.code(index, q, against))
    return names


def known_branches(plan: tuple[Stage, ...], index: int) -> int:
    """How many branches are decided before a stage."""
    return plan[index].first if index < len(plan) else sum(s.count for s in plan)
