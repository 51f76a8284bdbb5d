"""The linear relaxation of a network under a partial pattern, as one warm program.

Variables: the sources (input, outputs of choices), what every choice reads, the value of the conditions, and s, by
which all strict rows must be positive. A branch that is taken becomes bounds of rows and columns; nothing else changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from plica.core.choice import MaxOver, Piecewise
from plica.core.exact.floats import UNIT
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.search.blocks import FINAL, Blocks
from plica.core.search.bounds import TINY, Bounds, _corner_values, _lost, tables
from plica.core.search.conditions import Conditions
from plica.core.solve.warm import WarmProgram

Literal = tuple[str, int, int]  # choice, unit, branch


class _Builder:
    """Rows of a program, appended block by block."""

    def __init__(self, columns: int) -> None:
        self.columns, self.count = columns, 0
        self.parts: list[sp.csr_array] = []
        self.low: list[np.ndarray] = []
        self.high: list[np.ndarray] = []

    def add(self, matrix: sp.sparray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Append rows and return their numbers."""
        self.parts.append(sp.csr_array(matrix))
        self.low.append(np.asarray(low, dtype=np.float64))
        self.high.append(np.asarray(high, dtype=np.float64))
        self.count += matrix.shape[0]
        return np.arange(self.count - matrix.shape[0], self.count)

    def entries(self, *parts: tuple[np.ndarray, np.ndarray | float]) -> sp.csr_array:
        """Matrix with one row for each entry of the columns given, as (columns, values) pairs."""
        rows = np.arange(len(parts[0][0]))
        data = np.concatenate([np.broadcast_to(v, len(rows)) for _, v in parts])
        place = (np.tile(rows, len(parts)), np.concatenate([c for c, _ in parts]))
        return sp.csr_array(sp.coo_array((data, place), shape=(len(rows), self.columns)))


@dataclass(frozen=True, eq=False)
class _Unit:
    """Where the rows of one choice are: links per branch (-1 for none), and strict rows."""

    links: np.ndarray
    strict: np.ndarray


class Relaxation:
    """A warm program that knows which of its rows belong to which branch.

    Parameters
    ----------
    graph : Blocks
    known : Bounds
        Of the root; possibly infinite.
    conditions : Conditions
        On ``graph.value``.
    progress : Progress
        Its seconds end the programs.
    """

    def __init__(self, graph: Blocks, known: Bounds, conditions: Conditions, progress: Progress) -> None:
        self.graph, self.known, self.conditions, self.progress = graph, known, conditions, progress
        self.reads, start = {}, graph.columns
        for name, rows in graph.rows.items():
            self.reads[name] = slice(start, start + rows.matrix.shape[0])
            start = self.reads[name].stop
        self.slack = start
        self._build()
        self.root = {
            "lower": self.program.lower.copy(),
            "upper": self.program.upper.copy(),
            "row_lower": self.program.row_lower.copy(),
            "row_upper": self.program.row_upper.copy(),
        }

    # -- building ---------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        graph, known = self.graph, self.known
        n = self.slack + 1
        lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
        lower[: graph.columns], upper[: graph.columns] = known.low, known.high
        lower[self.slack], upper[self.slack] = 0.0, 1.0
        build = _Builder(n)
        defined = []
        size = np.maximum(np.abs(known.low), np.abs(known.high))
        self.units: dict[str, _Unit] = {}
        for name, rows in graph.rows.items():
            span = self.reads[name]
            lower[span], upper[span] = known.below[name], known.above[name]
            eye = sp.csr_array((np.ones(span.stop - span.start), (range(span.stop - span.start),
                               range(span.start, span.stop))), shape=(span.stop - span.start, n))  # fmt: skip
            wide = sp.csr_array(sp.hstack([rows.matrix, sp.csr_array((rows.matrix.shape[0], n - graph.columns))]))
            lost = _lost(rows, size)
            lost = np.where(np.isfinite(lost), lost, 0.0)  # without bounds the rounded rows stand for the exact ones
            defined.append(build.add(sp.csr_array(eye - wide), rows.offset - lost, rows.offset + lost))
            if name in graph.spans:
                op = graph.network[name].op
                make = self._scalar if isinstance(op, Piecewise) else self._maximum
                self.units[name] = make(name, op, build)  # type: ignore[arg-type]
        self._conditions(build, lower, upper)
        cost = np.zeros(n)
        cost[self.slack] = -1.0
        sides = np.concatenate(build.low), np.concatenate(build.high)
        self.defined = np.zeros(build.count, dtype=bool)  # rows that every input satisfies with equality
        self.defined[np.concatenate(defined)] = True
        matrix = sp.csr_array(sp.vstack(build.parts, format="csr"))
        self.program = WarmProgram(cost, matrix, (lower, upper), sides, progress=self.progress)

    def _conditions(self, build: _Builder, lower: np.ndarray, upper: np.ndarray) -> None:
        """Conditions on one unit become bounds of its column, others rows."""
        span = self.reads[FINAL]
        h, e_low, e_high = self.conditions.floats()
        self.pinned: list[int] = []  # variables with one value, rounded outward to an interval
        for A, low, high in ((self.conditions.G, np.full(len(h), -np.inf), h), (self.conditions.E, e_low, e_high)):
            single = (np.diff(A.indptr) == 1) & np.array(
                [abs(A.data[p]) == 1 if p < len(A.data) else False for p in A.indptr[:-1]], dtype=bool
            )
            for i in np.flatnonzero(single):
                j, sign = span.start + A.indices[A.indptr[i]], A.data[A.indptr[i]]
                ends = (low[i], high[i]) if sign > 0 else (-high[i], -low[i])
                lower[j], upper[j] = max(lower[j], ends[0]), min(upper[j], ends[1])
                self.pinned += [int(j)] if A is self.conditions.E else []
            rest = np.flatnonzero(~single)
            if len(rest):
                left = sp.csr_array((len(rest), span.start))
                right = sp.csr_array((len(rest), build.columns - span.stop))
                build.add(sp.csr_array(sp.hstack([left, A[rest], right])), low[rest], high[rest])

    def _scalar(self, name: str, op: Piecewise, build: _Builder) -> _Unit:
        """Links h - slope z per branch, a chord, and one strict row z - s per unit."""
        slopes = tables(op)[1]
        z = np.arange(self.reads[name].start, self.reads[name].stop)
        h = np.arange(self.graph.spans[name].start, self.graph.spans[name].stop)
        below, above = self.known.below[name], self.known.above[name]
        points, least, most = _corner_values(op, below, above)
        links = np.full(slopes.shape, -1)
        for j, slope in enumerate(slopes):
            units = np.flatnonzero(slope != 0)
            low, high = _levels(points[:, units], least[:, units], most[:, units], slope[units], slopes[:, units])
            links[j, units] = build.add(build.entries((h[units], 1.0), (z[units], -slope[units])), low, high)
        with np.errstate(invalid="ignore", divide="ignore"):
            width = above - below
            chord = (most[1] - least[0]) / width
        units = np.flatnonzero(np.isfinite(chord) & (width > 0) & (chord != slopes).all(0))
        low, high = _levels(points[:, units], least[:, units], most[:, units], chord[units], slopes[:, units])
        rising, falling = (
            (np.diff(slopes[:, units], axis=0) >= 0).all(0),
            (np.diff(slopes[:, units], axis=0) <= 0).all(0),
        )
        low, high = (
            np.where(rising, -np.inf, low),
            np.where(falling, np.inf, high),
        )  # the branches themselves are better
        build.add(build.entries((h[units], 1.0), (z[units], -chord[units])), low, high)
        s = np.full(len(z), self.slack)
        strict = build.add(
            build.entries((np.where(_plain(op), h, z), 1.0), (s, -1.0)),
            np.full(len(z), -np.inf),
            np.full(len(z), np.inf),
        )
        return _Unit(links, strict[None])

    def _maximum(self, name: str, op: MaxOver, build: _Builder) -> _Unit:
        """Rows h - z_i >= 0 of all members, and strict rows h - z_i - s."""
        index = op.index.cpu().numpy()
        start = self.reads[name].start
        h = np.arange(self.graph.spans[name].start, self.graph.spans[name].stop)
        links, strict = np.full(index.T.shape, -1), np.full(index.T.shape, -1)
        for p in range(index.shape[1]):
            groups = np.flatnonzero(index[:, p] >= 0)
            z, s = start + index[groups, p], np.full(len(groups), self.slack)
            zero, free = np.zeros(len(groups)), np.full(len(groups), np.inf)
            links[p, groups] = build.add(build.entries((h[groups], 1.0), (z, -1.0)), zero, free)
            if p < index.shape[1] - 1:
                rows = build.entries((h[groups], 1.0), (z, -1.0), (s, -1.0))
                strict[p, groups] = build.add(rows, -free, free)
        return _Unit(links, strict)

    @property
    def entries(self) -> int:
        """Size of the program, as rows (bounds of columns among them) by columns."""
        m, n = self.program.matrix.shape
        return int((m + n) * n)

    # -- branches ---------------------------------------------------------------------------------------------------

    def take(self, literal: Literal) -> None:
        """Impose a branch."""
        name, unit, branch = literal
        op = self.graph.network[name].op
        program, rows = self.program, self.units[name]
        h = self.graph.spans[name].start + unit
        if isinstance(op, MaxOver):
            program.row(int(rows.links[branch, unit]), 0.0, 0.0)
            for p in range(branch):
                if rows.strict[p, unit] >= 0:
                    program.row(int(rows.strict[p, unit]), 0.0, np.inf)
            return
        knots, slopes, intercepts = self.table(name)
        z = self.reads[name].start + unit
        level = float(intercepts[branch, unit])
        if slopes[branch, unit] == 0:
            program.column(h, level, level)
        else:
            program.row(int(rows.links[branch, unit]), level, level)
        low = knots[branch - 1, unit] if branch > 0 else -np.inf
        high = knots[branch, unit] if branch < len(knots) else np.inf
        program.column(z, max(self.root["lower"][z], low), min(self.root["upper"][z], high))
        if branch > 0:
            program.row(int(rows.strict[0, unit]), low, np.inf)

    def release(self, literal: Literal) -> None:
        """Undo `take`."""
        name, unit, branch = literal
        program, rows, root = self.program, self.units[name], self.root
        touched = [int(rows.links[branch, unit])]
        op = self.graph.network[name].op
        if isinstance(op, MaxOver):
            touched += [int(r) for r in rows.strict[:branch, unit]]
        else:
            touched.append(int(rows.strict[0, unit]))
            for j in (self.graph.spans[name].start + unit, self.reads[name].start + unit):
                program.column(j, root["lower"][j], root["upper"][j])
        for i in touched:
            if i >= 0:
                program.row(i, root["row_lower"][i], root["row_upper"][i])

    def cut(self, weights: np.ndarray, level: float) -> None:
        """Add ``weights.input <= level``, which every input satisfies."""
        columns = self.graph.spans[INPUT].start + np.flatnonzero(weights)
        self.program.add_row(columns, weights[weights != 0], -np.inf, level)
        self.defined = np.append(self.defined, False)
        self.root["row_lower"] = np.append(self.root["row_lower"], -np.inf)
        self.root["row_upper"] = np.append(self.root["row_upper"], level)

    @cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        """By value: the input column that each of its units reads, -1 for none (behind `reduced` there is one)."""
        n = self.graph.spans[INPUT].stop
        out = {}
        for name, rows in self.graph.rows.items():
            own = sp.csr_array(rows.matrix[:, :n])
            column = np.full(own.shape[0], -1)
            reading = np.flatnonzero(np.diff(own.indptr))
            column[reading] = own.indices[own.indptr[reading]]
            out[name] = column
        return out

    def t_range(self, taken: dict[str, np.ndarray], x: np.ndarray, room: float) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (behind `reduced`) that serve a point of the relaxation as well as its own, unit by unit.

        A unit on a flat branch may be anywhere on it, `room` inside; an undecided ReLU anywhere its output allows.
        """
        t = x[self.graph.spans[INPUT]]
        low, high = t.copy(), t.copy()
        for name, column in self.inputs.items():
            units = np.flatnonzero(column >= 0)
            if name not in taken or not isinstance(self.graph.network[name].op, Piecewise) or not len(units):
                continue
            z, columns = x[self.reads[name]][units], column[units]
            ends = self._z_range(name, units, taken[name][units], x, room)
            low[columns], high[columns] = t[columns] + np.minimum(ends[0] - z, 0), t[columns] + ends[1] - z
            high[columns] = np.maximum(high[columns], low[columns])
        return low, high

    def _z_range(
        self, name: str, units: np.ndarray, branches: np.ndarray, x: np.ndarray, room: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values of units that go with the outputs at a point."""
        knots, slopes, _ = self.table(name)
        z, h = x[self.reads[name]][units], x[self.graph.spans[name]][units]
        low, high = z.copy(), z.copy()
        padded = np.vstack([np.full(knots.shape[1], -np.inf), knots, np.full(knots.shape[1], np.inf)])
        own = np.maximum(branches, 0)
        flat = (branches >= 0) & (slopes[own, units] == 0)
        low[flat], high[flat] = padded[own, units][flat] + room, padded[own + 1, units][flat] - room
        if len(knots) == 1:
            open_ = (branches < 0) & (slopes[0, units] == 0) & (slopes[1, units] == 1) & (knots[0, units] == 0)
            below, above = self.known.below[name][units], self.known.above[name][units]
            with np.errstate(invalid="ignore", divide="ignore"):
                chord = np.where(np.isfinite(below) & np.isfinite(above), h * (above - below) / above + below, -np.inf)
            low[open_], high[open_] = np.minimum(chord, z)[open_], np.maximum(h, z)[open_]
        return low, high

    def inner_point(self, taken: dict[str, np.ndarray], room: float) -> np.ndarray | None:
        """A point of a whole pattern's relaxation that keeps a distance from the weak sides as well; None if none."""
        p, value = self.program, self.reads[FINAL]
        columns = [
            np.arange(self.reads[name].start, self.reads[name].stop) for name in taken if name not in self._maxima
        ]
        moved = np.concatenate([*columns, np.arange(value.start, value.stop)]).astype(int)
        moved = moved[p.upper[moved] - p.lower[moved] > 4 * room]
        before = p.lower[moved].copy(), p.upper[moved].copy()
        rows = [
            int(self.units[name].links[place, unit])
            for name in self._maxima
            for unit, winner in enumerate(taken[name])
            for place in range(len(self.units[name].links))
            if place != winner and self.units[name].links[place, unit] >= 0
        ]
        p.columns(moved, p.lower[moved] + room, p.upper[moved] - room)
        for i in rows:
            p.row(i, room, np.inf)
        found = p.x if p.solve() == "optimal" else None
        p.columns(moved, *before)
        for i in rows:
            p.row(i, 0.0, np.inf)
        return found if found is not None and np.isfinite(found).all() and found[self.slack] > 0 else None

    @property
    def _maxima(self) -> list[str]:
        return [name for name in self.units if isinstance(self.graph.network[name].op, MaxOver)]

    def table(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Knots, slopes and intercepts of a scalar choice, kept."""
        known = self.__dict__.setdefault("_tables", {})
        if name not in known:
            op = self.graph.network[name].op
            assert isinstance(op, Piecewise)
            known[name] = tables(op)
        return known[name]


def _plain(op: Piecewise) -> np.ndarray:
    """Units whose output is what they read wherever it is above their first knot, 0 (ReLU)."""
    knots, slopes, shifts = tables(op)
    if len(knots) != 1:
        return np.zeros(knots.shape[1], dtype=bool)
    return (knots[0] == 0) & (slopes[1] == 1) & (shifts[1] == 0)


def _levels(
    points: np.ndarray, least: np.ndarray, most: np.ndarray, slope: np.ndarray, slopes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Proven range of f(z) - slope z over every unit's interval; infinite where f runs away from the line."""
    with np.errstate(invalid="ignore"):
        product = slope * points
        room = 4 * UNIT * (np.abs(product) + np.abs(least) + np.abs(most)) + TINY
        plain = (np.abs(slope) <= 1) & (np.abs(slope) % 1 == 0) & (least == most)
        plain = plain & ((least == 0) | (product == 0) | (np.abs(least) == np.abs(product)))
        room = np.where(plain, 0.0, room)  # nothing rounds
        low, high = least - product - room, most - product + room
    low[:2], high[:2] = _ends(points, low, slope, slopes, -1), _ends(points, high, slope, slopes, 1)
    return low.min(0), high.max(0)


def _ends(points: np.ndarray, level: np.ndarray, slope: np.ndarray, slopes: np.ndarray, side: int) -> np.ndarray:
    """Levels at the two ends of the interval, also infinite ones: there the outer branch's slope decides.

    Where the outer branch runs along the line, its level is that of the next inner corner.
    """
    out = level[:2].copy()
    for k, (outer, direction) in enumerate(((slopes[0], -1.0), (slopes[-1], 1.0))):
        far = ~np.isfinite(points[k])
        growth = (outer - slope) * direction
        away = np.where(growth == 0, -np.inf * side, np.where(growth > 0, np.inf, -np.inf))
        out[k] = np.where(far, away, out[k])
    return out
