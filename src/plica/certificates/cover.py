"""A tree over branches whose leaves are excluded by multipliers, or are listed pieces.

Linear programs in floats find the multipliers where they can; where something is a matter of a hair, or nothing bounds
the inputs, integers do. The checker's own functions decide what holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp

from plica import checker
from plica.certificates.bracket import merged, whole
from plica.certificates.hair import Known, Taken, in_integers
from plica.core.progress import Progress
from plica.core.solve.warm import WarmProgram
from plica.errors import ArgumentError
from plica.exact_model import ONE, extreme, fits

TIGHT = 60_000  # entries of a layer's rows up to which bounds are pulled back to the input
DENSE = 4_000  # entries of the first choice's rows up to which a relaxation has them; else cuts stand for them
SLACK = 1e-7  # of a strict row: what has less seems to be a tie
ROUNDS, STEPS = 3, 60  # of cuts at one node; towards the nearest point that the input reaches


@dataclass(eq=False)
class Program:
    """Rows of a relaxation: entries, limits, and what each is for the checker; the solver that has them.

    Rows of a unit hold in nodes where it is undecided, or where it has one branch: `of` has them, under (choice, unit)
    and None or the branch.
    """

    entries: list[tuple[int, int, float]] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    kinds: list[tuple] = field(default_factory=list)
    of: dict[tuple[int, int], dict[int | None, list[int]]] = field(default_factory=dict)
    solver: WarmProgram | None = None

    def row(self, terms: dict[int, float], low: float, high: float, *kind: Any) -> None:
        """Add a row."""
        self.entries += [(len(self.low), k, v) for k, v in terms.items()]
        self.low.append(low)
        self.high.append(high)
        self.kinds.append(kind)


@dataclass(eq=False)
class Cover:
    """The tree of a claim.

    Attributes
    ----------
    net, domain, goal
        As the checker reads them.
    patterns : list
        Branches of the listed pieces: of every choice, of every unit.
    progress : Progress
    """

    net: Any
    domain: Any
    goal: Any
    patterns: list[list[list[int]]]
    progress: Progress

    def __post_init__(self) -> None:
        self.program: Program | None = None
        self.inputs = self.net[0].first
        ends = [*self.domain.low, *self.domain.high]
        self.bounded = not any(isinstance(v, float) for v in ends)
        inner = all(k == ONE or k >= self.inputs for layer in self.net[1:] for row in layer.rows for k in row)
        self.lean = self.bounded and len(self.net) > 1 and inner and self.inputs * len(self.net[0].rows) > DENSE

    def tree(self) -> dict[str, Any]:
        """The root, with everything below it."""
        steps: list[dict] = [{}]
        known = checker.bounds(self.net, self.domain, {}, None, {})
        for j in range(1, len(self.net) - 1):
            if known is None or not self.bounded:
                break
            step = self._tighter(j, known)
            if step is not None:
                steps.append(step)
                known = checker.bounds(self.net, self.domain, {}, known, step)
        node = {"steps": steps} if known is None else self._node({}, known)
        return {**node, "steps": [*steps, *node["steps"][1:]]} if known is not None else node

    def _tighter(self, j: int, known: Known) -> dict[str, Any] | None:
        """A step that pulls the bounds of one choice's undecided units back to the input."""
        open_ = [unit for unit, b in zip(self.net[j].units, known[j].only, strict=True) if b is None]
        numbers = sorted({i for unit in open_ for i in _numbers(unit)})
        if not numbers or len(numbers) * self.inputs > TIGHT * 10:
            return None
        slopes = []
        for k in range(j):
            own = [[u, *self._default(k, u, known[k])] for u, b in enumerate(known[k].only) if b is None]
            slopes += [[k, own]] if own else []
        return {"bounds": [[j, [[i, 0, 0] for i in numbers]]], "slopes": slopes}

    def _default(self, j: int, u: int, known: Any) -> list[list]:
        """The lines below and above a unit that are best in the middle."""
        out = []
        for sign in (1, -1):
            lines = [(line, float(t)) for line, t in self._lines(j, u, known, sign)]
            heights = [t + sum(float(s) * _middle(known, i) for i, s in line.items()) for line, t in lines]
            line = lines[int(np.argmax(sign * np.array(heights)))][0]
            out.append([[i, whole(float(s))] for i, s in line.items() if s])
        return out

    def _lines(self, j: int, u: int, known: Any, sign: int) -> Iterator[tuple[dict[int, Any], Any]]:
        """Lines below (sign 1) or above a unit with finite shifts: of its branches, and chords."""
        unit, low, high = self.net[j].units[u], known.low, known.high
        lines: list[dict[int, Any]] = [{}]
        finite = not any(isinstance(end[i], float) for i in _numbers(unit) for end in (low, high))
        if ONE in unit[0][0]:
            inside = [own for own, limits in unit if all(extreme(form, low, high) < 0 for form, _ in limits)]
            lines += [{u: own[u]} for own in inside]
            if finite and high[u] > low[u]:
                a, b = (extreme(own, end, end) for own, end in ((inside[0], low), (inside[-1], high)))
                lines.append({u: (b - a) / (high[u] - low[u])})
        else:
            group = _numbers(unit)
            lines += [{i: 1} for i in group]
            for i in group if sign < 0 and finite and len(group) > 1 else ():
                top = max(high[k] for k in group if k != i)
                lines += [{i: (high[i] - top) / (high[i] - low[i])}] if low[i] < top < high[i] else []
            lines += [dict.fromkeys(group, 1)] if sign < 0 and len(group) <= 16 else []
        for line in lines:
            t = checker.shift(unit, line, low, high, sign)
            if np.isfinite(float(t)):
                yield line, t

    # -- nodes -------------------------------------------------------------------------------------------------------

    def _node(self, taken: Taken, known: Known | None, last: tuple[int, int, int] | None = None) -> dict[str, Any]:
        """One node: closed, a piece, or split. Its first step cuts the bounds down to the branch taken."""
        self.progress.check()
        known = checker.bounds(self.net, self.domain, taken, known, {})
        if known is None:
            return {"steps": [{}]}
        step, point = self._refuted(taken, known, last)
        if step is not None:
            return {"steps": [{}, step]}
        split = self._where(known, point)
        if split is None:
            for k in range(len(self.patterns)):
                leaf = {"steps": [], "piece": k}
                if checker.check(self.net, leaf, self.domain, self.goal, self.patterns, taken, known):
                    return {"steps": [{}], "piece": k}
            split = self._touching(taken, known)
        j, u = split
        branches = range(len(self.net[j].units[u]))
        children = [self._node({**taken, j: {**taken.get(j, {}), u: b}}, known, (j, u, b)) for b in branches]
        return {"steps": [{}], "split": [j, u], "children": children}

    def _touching(self, taken: Taken, known: Known) -> tuple[int, int]:
        """A unit that is one line, though another branch touches the node: its own may be another one's everywhere."""
        for j, (layer, own) in enumerate(zip(self.net, known, strict=False)):
            for u, unit in enumerate(layer.units):
                others = [limits for b, (_, limits) in enumerate(unit) if b != own.only[u]]
                touched = any(all(extreme(form, own.low, own.high) <= 0 for form, _ in limits) for limits in others)
                if touched and u not in taken.get(j, {}):
                    return j, u
        raise ArgumentError("certify: no proof was found that a pattern that is not listed has no point.")

    def _where(self, known: Known, point: np.ndarray | None) -> tuple[int, int] | None:
        """The undecided unit whose output is farthest from its function at a point; the first one without a point."""
        best, where = -1.0, None
        for j, layer in enumerate(self.net[:-1]):
            for u, b in enumerate(known[j].only):
                if b is not None:
                    continue
                if point is None:
                    return j, u
                off = abs(point[layer.first + u] - _value(layer.units[u], point[self.starts[j] :]))
                if off > best:
                    best, where = float(off), (j, u)
        return where

    def _tied(self, solver: WarmProgram, last: tuple[int, int, int] | None) -> bool:
        """Whether the branch taken last, which is strict above its knot, seems to have points on the knot only."""
        if last is None or last[2] == 0 or ONE not in self.net[last[0]].units[last[1]][0][0]:
            return False
        j, u, b = last
        column = self.starts[j] + u
        cost = np.zeros(len(solver.cost))
        cost[column] = -1.0
        solver.costs(cost)
        status, knot = solver.solve(), float(self.net[j].units[u][b][1][0][0][ONE])
        tied = status == "optimal" and bool(solver.x[column] <= knot + SLACK * (1 + abs(knot)))
        solver.costs(np.zeros(len(cost)))
        return tied

    def _refuted(
        self, taken: Taken, known: Known, last: tuple[int, int, int] | None
    ) -> tuple[dict[str, Any] | None, np.ndarray | None]:
        """A step that closes a node, or a point of its relaxation, as far as there is one."""
        point = None
        if self.bounded:
            solver = self._solver(taken, known)
            status = solver.solve()
            for _ in range(ROUNDS):
                if status == "optimal" and self.lean and self._cut(solver):
                    status = solver.solve()
            if status == "optimal":
                point = solver.x
            ray = solver.ray() if status == "infeasible" else None
            for way in () if ray is None else (ray, -ray):
                found = self._step(known, way)
                if checker.excluded(self.net, self.domain, self.goal, taken, known, found)[0]:
                    return found, None
            if status == "optimal" and any(None in k.only for k in known) and not self._tied(solver, last):
                return None, point
        step = in_integers(self, taken, known)
        return step, point

    # -- in floats ---------------------------------------------------------------------------------------------------

    def _program(self, known: Known) -> Program:
        """Rows of the relaxation; columns: input, outputs of the choices, what each choice reads, the last layer."""
        self.starts = [self.inputs + sum(len(layer.units) for layer in self.net[:-1])]
        for layer in self.net:
            self.starts.append(self.starts[-1] + len(layer.rows))
        p = Program()
        for layer, z in list(zip(self.net, self.starts, strict=False))[self.lean :]:
            for i, row in enumerate(layer.rows):
                constant = float(row.get(ONE, 0) * layer.unit)
                terms = {c: -float(v * layer.unit) for c, v in row.items() if c != ONE}
                p.row({**terms, z + i: 1.0}, constant, constant, "reads")
        for r, (row, low, high) in enumerate(zip(self.goal.rows, self.goal.low, self.goal.high, strict=True)):
            ends = (-np.inf if low is None else float(low), np.inf if high is None else float(high))
            p.row({self.starts[len(self.net) - 1] + i: float(v) for i, v in row.items()}, *ends, "goal", r)
        for j, own in enumerate(known):
            for u in range(len(own.only)):
                self._unit_rows(p, j, u, own)
        rows, columns, values = zip(*p.entries, strict=True)
        n = self.starts[-1]
        matrix = sp.csr_array((values, (rows, columns)), shape=(len(p.low), n))
        low, high = np.full(n, -np.inf), np.full(n, np.inf)
        low[: self.inputs], high[: self.inputs] = _ends(self.domain.low), _ends(self.domain.high)
        sides = np.array(p.low), np.array(p.high)
        p.solver = WarmProgram(np.zeros(n), matrix, (low, high), sides, progress=self.progress)
        if self.lean:
            self.root, first = known[0], self.net[0]
            weights = [[float(row.get(k, 0) * first.unit) for k in range(self.inputs)] for row in first.rows]
            offsets = np.array([float(row.get(ONE, 0) * first.unit) for row in first.rows])
            self.first = np.array(weights), offsets, float(np.linalg.norm(weights, 2)) ** 2
        return p

    def _cut(self, solver: WarmProgram) -> bool:
        """Cut off numbers of the first choice that no input of the box has: a half-space around all that some has.

        The row needs no proof of its own: what multipliers leave of these numbers is pulled back to the input.
        """
        (W, b, size), (low, high) = self.first, (_ends(self.domain.low), _ends(self.domain.high))
        z = solver.x[self.starts[0] : self.starts[1]]
        u = v = 0.5 * (low + high)
        t = 1.0
        for _ in range(STEPS):  # Beck and Teboulle 2009
            new = np.clip(v - W.T @ (W @ v + b - z) / size, low, high)
            t, before = 0.5 * (1 + np.sqrt(1 + 4 * t * t)), t
            u, v = new, new + (before - 1) / t * (new - u)
        away = z - (W @ u + b)
        away /= max(np.abs(away).max(), 1e-300)
        g = W.T @ away
        most = float(np.where(g > 0, high, low) @ g + away @ b)
        if not away @ z > most + 1e-6 * (1 + np.abs(z).max()):
            return False
        solver.add_row(np.arange(self.starts[0], self.starts[1]), away, -np.inf, most)
        assert self.program is not None
        self.program.kinds.append(("cut",))
        return True

    def _unit_rows(self, p: Program, j: int, u: int, known: Any) -> None:
        """Rows of one unit: those of every branch it may have, and lines below and above it where there are several."""
        unit, h, z = self.net[j].units[u], self.net[j].first + u, self.starts[j]
        sets = p.of[j, u] = dict[int | None, list[int]]()
        for b in range(len(unit)) if known.only[u] is None else [known.only[u]]:
            (line, limits), sets[b] = unit[b], [len(p.low)]
            slopes = {z + i: -float(s) for i, s in line.items() if s and i != ONE}
            p.row({h: 1.0, **slopes}, *[float(line.get(ONE, 0))] * 2, "is")
            for form, _ in limits if ONE not in line else ():
                sets[b].append(len(p.low))
                (i,) = (k for k, c in form.items() if c == 1)
                p.row({z + k: -float(c) for k, c in form.items()}, 0.0, np.inf, "pair", j, i, u)
        if known.only[u] is not None:
            return
        sets[None] = []
        for sign, word in ((1, "below"), (-1, "above")):
            for own, t in self._lines(j, u, known, sign):
                sets[None].append(len(p.low))
                ends = (float(t), np.inf) if sign > 0 else (-np.inf, float(t))
                slopes = {i: float(s) for i, s in own.items() if s}
                p.row({h: 1.0, **{z + i: -s for i, s in slopes.items()}}, *ends, word, j, u, slopes)

    def _solver(self, taken: Taken, known: Known) -> WarmProgram:
        """The solver of the root's relaxation, with the bounds and branches of a node; lines stay those of the root."""
        if self.program is None:
            self.program = self._program(known)
        p, solver = self.program, self.program.solver
        assert solver is not None
        for z, own in zip(self.starts, known, strict=False):
            for k, (low, high) in enumerate(zip(_ends(own.low), _ends(own.high), strict=True), start=z):
                if (solver.lower[k], solver.upper[k]) != (low, high):
                    solver.column(k, low, max(low, high))
        for (j, u), sets in p.of.items():
            for b, rows in sets.items():
                for r in rows:
                    holds = b == known[j].only[u] and (p.kinds[r][0] != "pair" or u in taken.get(j, {}))
                    ends = (p.low[r], p.high[r]) if holds else (-np.inf, np.inf)
                    if (solver.row_lower[r], solver.row_upper[r]) != ends:
                        solver.row(r, *ends)
        return solver

    def _step(self, known: Known, ray: np.ndarray) -> dict[str, Any]:
        """Multipliers of rows as a step: weights of the goal, lines, weights of bounds."""
        assert self.program is not None and self.program.solver is not None
        solver = self.program.solver
        ray = np.where(np.isinf(solver.row_lower) & np.isinf(solver.row_upper), 0.0, ray)  # of rows of other nodes
        ray /= max(float(np.abs(ray).max(initial=0.0)), 1e-300)
        rows, edges = [0] * len(self.goal.rows), {j: {} for j in range(len(known))}  # type: ignore[var-annotated]
        lines: dict[tuple[int, int], tuple[list, list]] = {}
        for weight, (word, *rest) in zip(ray.tolist(), self.program.kinds, strict=True):
            if word == "goal":
                end = (self.goal.low if weight > 0 else self.goal.high)[rest[0]]
                rows[rest[0]] = 0 if end is None else -whole(weight)  # the ray's other sign leans on missing ends
            elif word == "pair" and weight > 0:
                edges[rest[0]][tuple(rest[1:])] = weight
            elif (word == "below" and weight > 0) or (word == "above" and weight < 0):
                j, u, line = rest
                lines.setdefault((j, u), ([], []))[word == "above"].append((abs(weight), line))
        slopes: dict[int, list] = {}
        for (j, u), (below, above) in lines.items():
            line, left = merged(below, above)
            slopes.setdefault(j, []).append([u, *line])
            for i, v in left.items():
                edges[j][(i,)] = edges[j].get((i,), 0.0) + v
        self._bound_weights(known, solver.matrix.T @ ray, edges)
        words = [[j, [[i, whole(v), *u] for (i, *u), v in own.items() if whole(v)]] for j, own in edges.items() if own]
        return {"rows": rows, "slopes": [[j, own] for j, own in slopes.items()], "edges": words}

    def _bound_weights(self, known: Known, total: np.ndarray, edges: dict) -> None:
        """What the multipliers leave of what choices read is weighed against its bounds."""
        for j, (z, own) in enumerate(zip(self.starts, known, strict=False)):
            for i, v in enumerate(-total[z : z + len(own.low)]):
                end = own.low[i] if v > 0 else own.high[i]
                if j == 0 and self.lean and end in (self.root.low[i], self.root.high[i]):
                    continue  # pulled back to the input
                if abs(v) > 1e-12 and not isinstance(end, float):
                    edges[j][(i,)] = edges[j].get((i,), 0.0) + float(v)


def _ends(values: list) -> np.ndarray:
    return np.array([float(v) for v in values])


def _middle(known: Any, i: int) -> float:
    """The middle of a number's bounds; the finite one where there is one only."""
    low, high = float(known.low[i]), float(known.high[i])
    return (
        0.5 * (low + high)
        if np.isfinite([low, high]).all()
        else low
        if np.isfinite(low)
        else high
        if np.isfinite(high)
        else 0.0
    )


def _value(unit: list, z: np.ndarray) -> float:
    """A unit's function at what it reads, in floats."""
    if ONE not in unit[0][0]:
        return max(float(z[i]) for i in _numbers(unit))
    near = {i: Fraction(float(z[i])) for i in _numbers(unit)}
    return float(next(extreme(line, near, near) for line, limits in unit if fits(limits, near, near)))


def _numbers(unit: list) -> list[int]:
    """The numbers that a unit reads."""
    return list(dict.fromkeys(i for line, _ in unit for i in line if i != ONE))
