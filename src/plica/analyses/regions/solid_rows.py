"""Regions in many variables, by their inequalities: no vertices; every decision is proven.

A cell is a set of strict rows a . x + b > 0 with some points inside. A form splits it if both sides have a point: known
points settle one side or both; a form that the domain's box keeps on one side settles itself. Else a linear program
over the box is asked: its point, moved a little towards a known one, is checked in integers; its multipliers y >= 0
prove that a side is empty if f - sum y_i row_i is positive on the box, with all rounding counted. Where neither
succeeds, the theorem of Goldman and Tucker decides (`plica.core.polyhedron.cone`), with a point or multipliers that are
checked in integers. What that search cannot decide is counted, and not gone into.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from flint import fmpz_mat

from plica.analyses.regions import solid_exact as exact
from plica.analyses.regions.solid_domain import Domain, homogeneous
from plica.analyses.regions.solid_exact import Point, Solid
from plica.analyses.regions.solid_settle import Exactly
from plica.analyses.regions.solid_stages import ExactMaps, Stage, stages
from plica.core.domain import Box
from plica.core.exact.columns import to_integers
from plica.core.network import Network
from plica.core.polyhedron import Polyhedron
from plica.core.polyhedron.cone import partition_of_integers
from plica.core.progress import Progress
from plica.core.solve import linear_program
from plica.errors import BudgetReached, SolverError

POINTS = 8  # points of a cell that are remembered
SHARES = (0.3, 0.03, 1e-3, 1e-5)  # of the way from a program's point to a known one


@dataclass(frozen=True, eq=False)
class RowCell:
    """A cell by its rows.

    Attributes
    ----------
    stage, decision : int
        What is to be decided next; a region has none left.
    branches : ndarray of int16
        Of all stages.
    rows : tuple of int
        Names (`plica.analyses.regions.solid_exact.code`) of the forms that cut it, with the side that it is on.
    points : tuple of integer vectors (x s, s), s > 0
        Inside, exactly.
    """

    stage: int
    decision: int
    branches: np.ndarray
    rows: tuple[tuple[int, int], ...]
    points: tuple[Point, ...] = ()

    def witness(self) -> np.ndarray:
        """A point inside, rounded."""
        return np.array([v / self.points[0][-1] for v in self.points[0][:-1]])


@dataclass(eq=False)
class RowSearch:
    """A search for all regions of a network in any convex domain, also an unbounded one.

    Attributes
    ----------
    found : int
        Regions so far.
    linear, programs, undecided : int
        Linear programs; decisions by the theorem; sides that it could not decide.
    left : list of RowCell
        What a budget has left undone.
    """

    net: Network
    where: Box | Polyhedron | None
    progress: Progress
    found: int = 0
    linear: int = 0
    programs: int = 0
    undecided: int = 0
    left: list[RowCell] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.d = math.prod(self.net.input_shape)
        self.plan = stages(self.net)
        self.sides = sides_of(self.where, self.d)
        domain = Domain(np.zeros((len(self.sides), self.d + 1)), np.zeros(self.d), Solid((), (), ()),
                        integers=self.sides)  # fmt: skip
        self.exactly = Exactly(ExactMaps(self.net, self.plan), domain)
        self.box = self.where if isinstance(self.where, Box) else Box(np.full(self.d, -np.inf), np.inf)
        self.boxed = bool(np.isfinite(self.box.lower).all() and np.isfinite(self.box.upper).all())

    def run(self, cells: list[RowCell] | None = None) -> Iterator[RowCell]:
        """Yield all regions, or those below cells of an earlier run; what a budget leaves undone is in `left`."""
        pending = [self._whole()] if cells is None else list(cells)
        try:
            if cells is None:
                pending = [root for root in map(self._with_point, pending) if root.points]
            while pending:
                self.progress.check()
                cell = self._with_point(pending[-1])  # it leaves the list when it is done: a budget must not lose it
                if cell.stage == len(self.plan):
                    pending.pop()
                    self.found += 1
                    yield cell
                else:
                    pending[-1:] = self._split(cell)
        except BudgetReached:
            self.left += pending

    def _whole(self) -> RowCell:
        return RowCell(0, 0, np.concatenate([np.zeros(0, np.int16), *(s.initial for s in self.plan)]), ())

    def _with_point(self, cell: RowCell) -> RowCell:
        """A cell of an earlier run, or the whole domain, with a point."""
        if cell.points:
            return cell
        point = self._inside(cell, ())
        return cell if point is None else RowCell(cell.stage, cell.decision, cell.branches, cell.rows, (point,))

    # --- splitting ----------------------------------------------------------------------------------------------

    def _split(self, cell: RowCell) -> list[RowCell]:
        """Parts of a cell after its next decision that cuts it."""
        stage = self.plan[cell.stage]
        rows = self.exactly.maps.forms(cell.stage, cell.branches)
        fixed = self._fixed(rows) if stage.binary else np.zeros(len(rows), np.int8)
        branches, decision = cell.branches.copy(), cell.decision
        while decision < stage.decisions:
            now = RowCell(cell.stage, decision, branches, cell.rows, cell.points)
            parts = self._binary(now, stage, rows, fixed) if stage.binary else self._group(now, stage, rows)
            if len(parts) != 1:
                return parts
            (cell,) = parts
            branches, decision = cell.branches, cell.decision
        return [RowCell(cell.stage + 1, 0, branches, cell.rows, cell.points)]

    def _fixed(self, rows: list[Point]) -> np.ndarray:
        """Side of every form in the whole box, 0 where it has both."""
        scale = [max(map(abs, row)) or 1 for row in rows]
        table = np.array([[v / s for v in row] for row, s in zip(rows, scale, strict=True)]).reshape(-1, self.d + 1)
        with np.errstate(invalid="ignore"):
            ends = np.where(table[:, :-1] != 0, table[:, :-1] * self.box.lower, 0.0)
            tops = np.where(table[:, :-1] != 0, table[:, :-1] * self.box.upper, 0.0)
        low, high = np.minimum(ends, tops).sum(1) + table[:, -1], np.maximum(ends, tops).sum(1) + table[:, -1]
        far = np.maximum(np.abs(ends), np.abs(tops)).sum(1) + np.abs(table[:, -1])
        margin = (self.d + 8) * 2.0**-52 * far + 2.0**-1000
        return np.where(low > margin, 1, np.where(high < -margin, -1, 0)).astype(np.int8)

    def _binary(self, cell: RowCell, stage: Stage, rows: list[Point], fixed: np.ndarray) -> list[RowCell]:
        """Parts of a cell on the sides of one form."""
        k, row = cell.decision, rows[cell.decision]
        side = int(fixed[k])
        if not any(row[:-1]):
            side = 1 if row[-1] > 0 else -1
        raised = cell.branches.copy()
        raised[stage.first + stage.unit[k]] += stage.step[k]
        out = []
        for sign, branches in ((-1, cell.branches), (1, raised)):
            if side == -sign:
                continue
            added = () if side else ((exact.code(cell.stage, k), sign),)
            out.append(self._part(cell, branches, added))
        parts = [p for p in out if p is not None]
        if len(parts) == 1 and not self.undecided:  # the form does not cut: its row says nothing new
            parts = [RowCell(cell.stage, k + 1, parts[0].branches, cell.rows, cell.points)]
        return parts

    def _group(self, cell: RowCell, stage: Stage, rows: list[Point]) -> list[RowCell]:
        """Parts of a cell where each candidate of a maximum wins."""
        k = cell.decision
        first, end = int(stage.start[k]), int(stage.start[k + 1])
        out = []
        for here in range(first, end):
            added: list[tuple[int, int]] = []
            possible = True
            for other in range(first, end):
                gap = [a - b for a, b in zip(rows[here], rows[other], strict=True)]
                if other == here or (not any(gap) and here < other) or (not any(gap[:-1]) and gap[-1] > 0):
                    continue
                if not any(gap[:-1]):
                    possible = False
                    break
                added.append((exact.code(cell.stage, here, other), 1))
            if not possible:
                continue
            branches = cell.branches.copy()
            branches[stage.first + stage.unit[k]] = stage.position[here]
            out.append(self._part(cell, branches, tuple(added)))
        return [p for p in out if p is not None]

    def _part(self, cell: RowCell, branches: np.ndarray, added: tuple[tuple[int, int], ...]) -> RowCell | None:
        """Part of a cell on the given sides of some forms, one decision on; None without a point."""
        lines = [self.line(name, cell.branches) for name in added]
        points = tuple(p for p in cell.points if all(_at(line, p) > 0 for line in lines))
        if not points:
            point = self._inside(cell, added)
            if point is None:
                return None
            points = (point,)
        return RowCell(cell.stage, cell.decision + 1, branches, cell.rows + added, points[:POINTS])

    # --- decisions ----------------------------------------------------------------------------------------------

    def line(self, name: tuple[int, int], branches: np.ndarray) -> Point:
        """Row (a, b), positive on the named side."""
        row = self.exactly.row(name[0], branches)
        return row if name[1] > 0 else tuple(-v for v in row)

    def _inside(self, cell: RowCell, added: tuple[tuple[int, int], ...]) -> Point | None:
        """A point where all rows are positive, in integers; None when there is none, or when that stays open."""
        self.progress.check()
        if len(added) == 1 and cell.points:
            known, point = self._by_program(cell, added[0])
            if known:
                return point
        self.programs += 1
        rows = [*self.sides, *(self.line(name, cell.branches) for name in cell.rows + added)]
        matrix = [[-v for v in row] for row in rows] + [[0] * self.d + [-1]]
        try:
            found = partition_of_integers(fmpz_mat(matrix), fmpz_mat(0, self.d + 1), self.progress)
        except SolverError:
            self.undecided += 1
            return None
        if found.implied.any():
            return None
        return exact.reduced([int(found.interior[k, 0]) for k in range(self.d + 1)])

    def _by_program(self, cell: RowCell, added: tuple[int, int]) -> tuple[bool, Point | None]:
        """Whether a linear program decides about one more row, and the point that it finds."""
        if not self.boxed:
            return False, None
        self.linear += 1
        rows = [self.line(name, cell.branches) for name in cell.rows]
        goal = self.line(added, cell.branches)
        table, aim = np.array([_floats(r) for r in rows]).reshape(-1, self.d + 1), np.array(_floats(goal))
        try:
            sides = self.box.lower, self.box.upper
            best = linear_program(-aim[:-1], -table[:, :-1], table[:, -1], bounds=sides, progress=self.progress)
        except SolverError:
            return False, None
        if best.status != "optimal":
            return False, None
        if aim[:-1] @ best.x + aim[-1] <= 0:
            return _never(aim, table, np.maximum(best.dual, 0.0), self.box), None
        return self._moved(best.x, cell.points[0], [*rows, goal])

    def _moved(self, x: np.ndarray, known: Point, rows: list[Point]) -> tuple[bool, Point | None]:
        """A point between x and a known one where all rows are positive."""
        base = np.array([v / known[-1] for v in known[:-1]])
        for share in SHARES:
            near = np.clip(x + share * (base - x), self.box.lower, self.box.upper)
            point = homogeneous([Fraction(v) for v in near.tolist()])
            if all(_at(row, point) > 0 for row in (*rows, *self.sides)):
                return True, point
        return False, None


def _never(aim: np.ndarray, table: np.ndarray, share: np.ndarray, box: Box) -> bool:
    """Whether a form is at most 0 where some rows are not negative, in a box, for sure: aim + share . table <= 0 there.

    All rows are rounded once from exact ones.
    """
    total = aim + share @ table
    off = (len(table) + 4) * 2.0**-52 * (np.abs(aim) + share @ np.abs(table))
    ends = np.maximum(total[:-1] * box.lower, total[:-1] * box.upper)
    size = np.maximum(np.abs(box.lower), np.abs(box.upper))
    error = off[:-1] @ size + off[-1] + (len(aim) + 4) * 2.0**-52 * (np.abs(total[:-1]) @ size + abs(total[-1]))
    return bool(ends.sum() + total[-1] + error * (1 + 1e-9) + 2.0**-900 <= 0)


def _floats(row: Point) -> list[float]:
    scale = max(map(abs, row))
    return [v / scale for v in row]


def _at(row: Point, point: Point) -> int:
    return sum(a * b for a, b in zip(row, point, strict=True))


@dataclass(frozen=True, eq=False)
class RowRegions:
    """Regions by inequalities.

    Attributes
    ----------
    patterns : ndarray of int16, shape (n, branches)
    witnesses : ndarray, shape (n, d)
        A point inside every region; found in integers, rounded once.
    rows : ndarray, shape (r, d + 1)
        (a, b) with a . x + b >= 0, beside the domain's own; largest entry 1, rounded; some may say nothing new.
    row_code : ndarray of int64, shape (r,)
        What they are: `plica.analyses.regions.solid_exact.decode`.
    row_first : ndarray of int64, shape (n + 1,)
    nodes : tuple of (str, int, int)
        Name of every choice node, and where its branches stand among the columns of `patterns`.
    undecided : int
        Sides of which it is not known whether they have a point; regions there are missing.
    left : tuple of RowCell
        What a budget has left undone.
    """

    patterns: np.ndarray
    witnesses: np.ndarray
    rows: np.ndarray
    row_code: np.ndarray
    row_first: np.ndarray
    nodes: tuple[tuple[str, int, int], ...]
    undecided: int
    left: tuple[RowCell, ...]

    def __len__(self) -> int:
        return len(self.patterns)


def row_regions(
    net: Network, where: Box | Polyhedron | None, progress: Progress, cells: list[RowCell] | None = None
) -> RowRegions:
    """Regions with a point and inequalities each, in memory; see `RowSearch`."""
    search = RowSearch(net, where, progress)
    found = list(search.run(cells))
    lines = [_floats(search.line(name, c.branches)) for c in found for name in c.rows]
    return RowRegions(
        np.array([c.branches for c in found], np.int16).reshape(len(found), sum(s.count for s in search.plan)),
        np.array([c.witness() for c in found]).reshape(-1, search.d),
        np.array(lines).reshape(-1, search.d + 1),
        np.array([code for c in found for code, _ in c.rows], np.int64),
        np.cumsum([0, *(len(c.rows) for c in found)]),
        tuple((s.node.name, s.first, s.first + s.count) for s in search.plan),
        search.undecided,
        tuple(search.left),
    )


def packed(cells: Sequence[RowCell]) -> dict[str, np.ndarray]:
    """Cells that wait, as plain arrays; their points are found again."""
    return {
        "at": np.array([(c.stage, c.decision) for c in cells], np.int64).reshape(-1, 2),
        "branches": np.stack([c.branches for c in cells]) if cells else np.zeros((0, 0), np.int16),
        "rows": np.array([name for c in cells for name in c.rows], np.int64).reshape(-1, 2),
        "row_first": np.cumsum([0, *(len(c.rows) for c in cells)]),
    }


def unpacked(arrays: Mapping[str, np.ndarray]) -> list[RowCell]:
    """The cells of `packed`."""
    first = arrays["row_first"]
    return [
        RowCell(int(stage), int(decision), arrays["branches"][i],
                tuple((int(c), int(s)) for c, s in arrays["rows"][first[i] : first[i + 1]]))
        for i, (stage, decision) in enumerate(arrays["at"])
    ]  # fmt: skip


def sides_of(where: Box | Polyhedron | None, d: int) -> tuple[Point, ...]:
    """Rows (a, b), a . x + b > 0 in the domain's interior, in integers."""
    if where is None:
        return ()
    body = where.polyhedron() if isinstance(where, Box) else where
    table = np.column_stack([-body.G, body.h]).reshape(-1, d + 1)
    return tuple(tuple(int(v) for v in to_integers(row)[0]) for row in table)
