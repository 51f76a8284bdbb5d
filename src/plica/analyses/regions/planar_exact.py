"""Exact decisions for planar cells: lines, corners, signs and whole splits in integers.

A line is (a, b, c), the form a x + b y + c; a point is (x, y, w) in homogeneous integers with w > 0. Lines come from
the exact affine map of the cell's pattern.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from plica.analyses.regions.planar_kernels import NONE
from plica.analyses.regions.solid_stages import ExactMaps, Stage
from plica.core.choice import Piecewise
from plica.core.network import Network

Line = tuple[int, int, int]
Point = tuple[int, int, int]
KEPT = 20_000  # lines that are remembered
FIELD = 16  # bits of a winner in the pattern words


def label_of(stage: int, form: int, other: int = NONE) -> int:
    """Label of a side: form of a stage, or the difference of two units of a group stage."""
    return (stage << 48) + (form << 24) + other


def meet(a: Line, b: Line) -> Point:
    """Intersection of two lines that are not parallel."""
    x, y, w = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    common = math.gcd(x, y, w)
    if w < 0:
        common = -common
    return x // common, y // common, w // common


def dot(line: Line, point: Point) -> int:
    """Value of a form at a point, times the point's w."""
    return line[0] * point[0] + line[1] * point[1] + line[2] * point[2]


def sign(value: int) -> int:
    """-1, 0 or 1."""
    return (value > 0) - (value < 0)


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a cell: its corners, side labels, and pattern words of the stage."""

    points: list[Point]
    labels: list[int]
    words: np.ndarray


def word_count(stage: Stage) -> int:
    """Pattern words of a stage: a bit for each question with two answers, or FIELD bits for each winner."""
    return (stage.forms + 63) // 64 if stage.binary else (stage.decisions * FIELD + 63) // 64


def real_forms(stage: Stage) -> np.ndarray:
    """Which forms change the branch to another one: a knot without a kink divides nothing."""
    real = np.ones(stage.forms, bool)
    op = stage.node.op
    if isinstance(op, Piecewise):
        tables = [np.stack([np.broadcast_to(row.numpy(), op.input_shape).ravel() for row in t.cpu()])
                  for t in (op.slopes, op.intercepts)]  # fmt: skip
        same = np.all([t[1:] == t[:-1] for t in tables], axis=0)
        real = ~same.T.ravel()
    return real


class Exact:
    """Exact answers about cells, from their pattern words."""

    def __init__(self, net: Network, plan: tuple[Stage, ...], window: list[Line]) -> None:
        self.plan, self.window = plan, window
        self.maps = ExactMaps(net, plan)
        self.real = [real_forms(stage) for stage in plan]
        self.starts = np.cumsum([0, *(word_count(stage) for stage in plan)])
        self.lines: OrderedDict[tuple, Line] = OrderedDict()

    def branches(self, words: np.ndarray, upto: int) -> np.ndarray:
        """Branches of all stages before `upto`, shape (..., units), from pattern words, shape (..., words)."""
        out = [np.zeros((*words.shape[:-1], 0), np.int16)]
        for i, stage in enumerate(self.plan[:upto]):
            own = np.ascontiguousarray(words[..., self.starts[i] : self.starts[i + 1]])
            taken = np.broadcast_to(stage.initial, (*words.shape[:-1], len(stage.initial))).copy()
            if stage.binary:
                bits = np.unpackbits(own.view(np.uint8), axis=-1, count=stage.forms, bitorder="little")
                where: tuple = (..., stage.unit)
                np.add.at(taken, where, stage.step * bits.astype(np.int16))
            else:
                taken[..., stage.unit] = own.view(np.uint16)[..., : stage.decisions]
            out.append(taken)
        return np.concatenate(out, axis=-1)

    def line(self, label: int, branches: np.ndarray) -> Line:
        """Line of a side of a cell, or the form of a label."""
        if label < 0:
            return self.window[-1 - label]
        index, form, other = label >> 48, (label >> 24) & NONE, label & NONE
        stage = self.plan[index]
        key = (label, branches[: stage.first].tobytes())
        known = self.lines.get(key)
        if known is not None:
            return known
        if other == NONE:
            x, y, const = self.maps.row(index, form, branches)
        else:
            z = self.maps.values(index, branches)[stage.node.inputs[0]].numerator
            const, x, y = (int(v) for v in z[form] - z[other])
        common = math.gcd(const, x, y) or 1
        found = self.lines[key] = (x // common, y // common, const // common)
        if len(self.lines) > KEPT:
            self.lines.popitem(last=False)
        return found

    def corners(self, labels: np.ndarray | list[int], branches: np.ndarray) -> list[Point]:
        """Corners of a cell from the labels of its sides; corner i begins side i."""
        lines = [self.line(int(label), branches) for label in labels]
        return [meet(lines[i - 1], lines[i]) for i in range(len(lines))]

    def rows(self, index: int, branches: np.ndarray, points: list[Point]) -> dict[str, np.ndarray]:
        """Values that stage `index` reads at points of a cell, each rounded once, shape (points, size)."""
        stage = self.plan[index]
        wanted = {stage.node.inputs[0], *stage.keep} - {stage.node.name}
        out = {}
        for name, v in self.maps.values(index, branches).items():
            if name not in wanted:
                continue
            up, down = v.scale.numerator, v.scale.denominator
            out[name] = np.array([
                [ratio(int(n) * up, p[2] * down) for n in v.numerator[:, 0] * p[2] + v.numerator[:, 1] * p[0]
                 + v.numerator[:, 2] * p[1]] for p in points
            ]).reshape(len(points), -1)  # fmt: skip
        return out

    def split(
        self, index: int, labels: np.ndarray, words: np.ndarray, near: np.ndarray, most: float = math.inf
    ) -> tuple[list[Part], bool]:
        """Parts of one cell under the forms of a stage; nothing rounds. And whether the stage is done.

        Parameters
        ----------
        near : ndarray
            Of maxima: which candidates no other one is known to be above on the whole cell (bool). Of other forms: the
            sign that they are known to have on it, 0 for none (int8).
        most : float
            Of these forms so many at most cut the cell; then the parts are pieces of it, with no words of this stage.
        """
        branches = self.branches(words, index)
        whole = list(zip(self.corners(labels, branches), (int(v) for v in labels), strict=True))
        if self.plan[index].binary:
            return self._split_binary(index, whole, branches, near, most)
        return self._split_groups(index, whole, branches, near), True

    def _split_binary(
        self, index: int, whole: list, branches: np.ndarray, near: np.ndarray, most: float
    ) -> tuple[list[Part], bool]:
        parts, cuts, done = [(whole, (near > 0).astype(np.uint8))], 0, True
        for form in np.flatnonzero(self.real[index] & (near == 0)).tolist():
            line = self.line(label_of(index, form), branches)
            if not any(line):
                continue
            if cuts >= most:
                done = False
                break
            new = []
            for piece, bits in parts:
                above, below = cut(piece, line, label_of(index, form))
                raised = bits.copy()
                raised[form] = 1
                new += [(above, raised)] if above else []
                new += [(below, bits)] if below else []
            cuts += len(new) > len(parts)
            parts = new
        none = np.zeros(0, np.uint64)
        return [
            Part([p for p, _ in piece], [s for _, s in piece], _pack(bits, index, self) if done else none)
            for piece, bits in parts
        ], done

    def _split_groups(self, index: int, whole: list, branches: np.ndarray, near: np.ndarray) -> list[Part]:
        stage = self.plan[index]
        z = self.maps.values(index, branches)[stage.node.inputs[0]].numerator
        corners = np.array([[p[2], p[0], p[1]] for p, _ in whole], object)
        parts: list[tuple[list, list[int]]] = [(whole, [])]
        for g in range(stage.decisions):
            first: dict[tuple, int] = {}  # equal on the whole cell: the first wins
            for f in (stage.start[g] + np.flatnonzero(near[stage.start[g] : stage.start[g + 1]])).tolist():
                first.setdefault(tuple(z[stage.plus[f]]), f)
            forms = list(first.values())
            if len(forms) == 1:
                for _, winners in parts:
                    winners.append(int(stage.position[forms[0]]))
                continue
            whole_cell = _rivals((z[[stage.plus[f] for f in forms]] @ corners.T).tolist())
            forms = [forms[k] for k, _ in whole_cell]
            units = [int(stage.plus[f]) for f in forms]
            rows = [(int(z[u][1]), int(z[u][2]), int(z[u][0])) for u in units]
            new = []
            for piece, winners in parts:
                for k, others in _rivals([[dot(row, p) for p, _ in piece] for row in rows]):
                    part = self._clip(index, piece, units, rows, k, others)
                    if part:
                        new.append((part, [*winners, int(stage.position[forms[k]])]))
            parts = new
        out = []
        for piece, winners in parts:
            words = np.zeros(4 * word_count(stage), np.uint16)
            words[: len(winners)] = winners
            out.append(Part([p for p, _ in piece], [s for _, s in piece], words.view(np.uint64)))
        return out

    def _clip(self, index: int, piece: list, units: list[int], rows: list[Line], k: int, others: list[int]) -> list:
        """The part of a piece where candidate k is above some others."""
        for h in others:
            line = tuple(a - b for a, b in zip(rows[k], rows[h], strict=True))
            u, v = units[k], units[h]
            piece = cut(piece, line, label_of(index, min(u, v), max(u, v)))[0]  # type: ignore[arg-type]
            if not piece:
                return []
        return piece


def _rivals(values: list[list[int]]) -> list[tuple[int, list[int]]]:
    """Candidates that win somewhere in a cell as far as pairs tell, each with those whose line cuts the cell.

    values: exact, one row per candidate, at the corners (times their positive w). A difference with one sign at all
    corners has it inside; one that is zero at all corners of a cell with interior is zero, and the lowest wins.
    """
    found = []
    for k, own in enumerate(values):
        others = []
        for h, rival in enumerate(values):
            less = any(a < b for a, b in zip(own, rival, strict=True))
            more = any(a > b for a, b in zip(own, rival, strict=True))
            if (less and not more) or (h < k and not less and not more):
                break
            others += [h] if less and more else []
        else:
            found.append((k, others))
    return found


def cut(piece: list, line: Line, label: int) -> tuple[list, list]:
    """The parts of a convex piece above and below a line; [] for a part without interior."""
    signs = [sign(dot(line, p)) for p, _ in piece]
    if min(signs) >= 0 or max(signs) <= 0:
        return (piece, []) if max(signs) > 0 else ([], piece)
    above, below = [], []
    for i, (p, side) in enumerate(piece):
        q = piece[(i + 1) % len(piece)][0]
        s, t = signs[i], signs[(i + 1) % len(piece)]
        if s >= 0:
            above.append((p, side if s > 0 or t > 0 else label))
        if s <= 0:
            below.append((p, side if s < 0 or t < 0 else label))
        if s * t < 0:
            a, b = dot(line, p), dot(line, q)
            x = between(p, q, a, b)
            above.append((x, label if s > 0 else side))
            below.append((x, side if s > 0 else label))
    return above, below


def between(p: Point, q: Point, a: int, b: int) -> Point:
    """The point between p and q where a form vanishes that is a at p and b at q, signs opposite."""
    x = tuple(abs(b) * u + abs(a) * v for u, v in zip(p, q, strict=True))
    common = math.gcd(*x)
    return x[0] // common, x[1] // common, x[2] // common


def _pack(bits: np.ndarray, index: int, exact: Exact) -> np.ndarray:
    room = np.zeros(64 * word_count(exact.plan[index]), np.uint8)
    room[: len(bits)] = bits
    return np.packbits(room, bitorder="little").view(np.uint64)


def ratio(a: int, b: int) -> float:
    """a / b, correctly rounded; infinite beyond the range of floats."""
    try:
        return a / b
    except OverflowError:
        return math.inf if (a > 0) == (b > 0) else -math.inf
