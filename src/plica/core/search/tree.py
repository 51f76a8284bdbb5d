"""All patterns with a point, by depth-first search over branches; every "no" is proven or counted as unproven."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from plica.core.choice import MaxOver, Piecewise
from plica.core.domain import Box
from plica.core.exact import columns as exact
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.search.blocks import FINAL, Blocks
from plica.core.search.bounds import Bounds, Taken, bound, possible
from plica.core.search.boxes import bisects, by_boxes
from plica.core.search.conditions import Conditions
from plica.core.search.decided import exact_piece
from plica.core.search.effects import effects
from plica.core.search.found import Found, Tally, within
from plica.core.search.leaf import EXACT_COLUMNS, ROOM, Leaves
from plica.core.search.reduced import Reduced, reduced
from plica.core.search.relaxation import Literal, Relaxation
from plica.core.search.shallow import DEEP, shallow
from plica.core.search.ties import Ties, behind, closed_exactly

CLEAR = 1e-7  # strictness above this is taken for a point; below it nothing is concluded
VIOLATED = 1e-9  # a unit's output nearer to its function than this is taken for it
EXACT_LIFTED = 12_000  # entries of a relaxation up to which its emptiness is decided exactly
ROUNDS = 2  # of cuts at one node
Open = tuple[int, Literal | None, np.ndarray | None, np.ndarray | None, float]  # a node still to be looked at
COARSE = 1e-3  # rows of the input nearer than this to those wanted are not cut off


class Search:
    """Patterns of a network with a point in a box that satisfies conditions on one value.

    Parameters
    ----------
    graph : Blocks
        Of the network up to the conditions' value.
    conditions : Conditions
    domain : Box, optional
        None is the whole space.
    witness : ndarray of float, or exact Columns, optional
        A point whose pattern is looked at first.
    fixed : dict of ndarray, optional
        Branches of some choices, -1 where undecided: only patterns with them are looked for.
    ahead : str, optional
        A choice whose branches are settled first, for questions that may well have no answer: they are asked in the
        input's own variables, and split where the conditions feel it most.
    """

    def __init__(
        self,
        graph: Blocks,
        conditions: Conditions,
        domain: Box | None = None,
        *,
        witness: exact.Columns | None = None,
        fixed: Taken | None = None,
        ahead: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.graph, self.conditions, self.domain = graph, conditions, domain
        self.net, self.progress, self.tally = graph.network, progress or Progress(), Tally()
        n = graph.spans[INPUT].stop
        self.low = np.full(n, -np.inf) if domain is None else domain.lower
        self.high = np.full(n, np.inf) if domain is None else domain.upper
        self.small = n <= EXACT_COLUMNS
        self.reduced: Reduced | None = None
        bounded = bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())
        self.in_order = self.small and not graph.exact and not bounded  # rounded rows without bounds prove nothing
        self.witness, self.fixed, self.ahead = witness, fixed or {}, ahead
        self.preferred: Taken | None = None
        self.first: Found | None = None
        self._seen: set[bytes] | None = None
        if witness is not None:
            values, branches = exact.forward(self.net.nodes, witness)
            self.preferred = branches
            point = tuple(witness.entry(i) for i in range(n))
            inside = within(point, self.low, self.high)
            self._values = values
            kept = all(((b < 0) | (b == branches[name])).all() for name, b in self.fixed.items())
            if inside and kept and conditions.holds(values[conditions.value]):
                self.first = Leaves(graph, conditions, domain, None).given(branches, point)

    def found(self) -> Iterator[Found]:
        """Yield every pattern once, the witness's own first.

        Raises
        ------
        BudgetReached
            When the time is up.
        """
        if self.first is not None:
            yield self.first
        known = bound(self.graph, self.low, self.high, progress=self.progress)
        if not known.feasible or not self.conditions.possible(known.below[FINAL], known.above[FINAL]):
            self.tally.complete, self.tally.open_share = True, 0.0
            return
        if bisects(self, known):
            self._seen = set() if self.first is None else {self.first.key}
            yield from by_boxes(self)
        else:
            yield from self.descend(known)
        self.tally.complete = not self.tally.undecided
        if self.tally.complete:
            self.tally.open_share = 0.0

    # -- the tree ----------------------------------------------------------------------------------------------------

    def descend(self, known: Bounds, share: float = 1.0) -> Iterator[Found]:
        """Depth first; what is closed of the share of the question is taken off `tally.open_share`."""
        self.relaxation = relaxation = self._relaxation(known)
        taken = {name: np.full(self._units(name), -1) for name in self.graph.spans if name != INPUT}
        self.options = {name: self._options(name, known) for name in taken}
        self.scores = {name: self._scores(name, known) for name in taken}
        self.weights = {name: np.ones(len(branches)) for name, branches in taken.items()}
        if self.ahead is not None:
            self.weights = effects(self.graph, self.conditions, self.ahead)
        trail: list[Literal] = []
        for name, options in self.options.items():  # what the bounds settle stays
            if not options.any(0).all():
                self.tally.open_share -= share
                return
            for unit in np.flatnonzero(options.sum(0) == 1).tolist():
                self._take((name, unit, int(options[:, unit].argmax())), taken)
        # length of the trail to keep, literal to add, point that fits, its parent's, share
        stack: list[Open] = [(0, None, self._start(taken, known), None, share)]
        while stack:
            self.progress.check()
            depth, literal, point, parent, share = stack.pop()
            while len(trail) > depth:
                name, unit, branch = trail.pop()
                taken[name][unit] = -1
                relaxation.release((name, unit, branch))
            if literal is not None:
                self._take(literal, taken)
                trail.append(literal)
            self.tally.nodes += 1
            if point is None:
                point = self._raised(taken, literal, parent)
            if point is None:
                point = self._look(taken)
                if point is None:
                    self.tally.pruned += 1
                    self.tally.open_share -= share
                    continue
            choice = self._branching(taken, point)
            if choice is None:
                yield from self._leaf(taken, point, share)
                continue
            children = self._children(choice, point)[::-1]
            stack += [(len(trail), literal, at, point, share / len(children)) for literal, at in children]

    def _relaxation(self, known: Bounds) -> Relaxation:
        """The root's program: over the input, or over the rows that read it where these are fewer."""
        plain = self.small or self.fixed or self.ahead
        self.reduced = None if plain else reduced(self.graph, self.low, self.high)
        self.leaves = Leaves(self.graph, self.conditions, self.domain, self.reduced, self.progress)
        self.shallow, small, graph = None, self.reduced, self.graph
        if small is not None:
            graph, n = small.graph, self.graph.spans[INPUT].stop
            low, high = np.concatenate([small.low, known.low[n:]]), np.concatenate([small.high, known.high[n:]])
            known = Bounds(low, high, known.below, known.above, known.feasible)
            self.shallow = shallow(graph, self.conditions, self.progress) if small.free else None
        relaxation = Relaxation(graph, known, self.conditions, self.progress)
        self.ties: Ties | None = None
        if self.witness is not None and graph.exact and not self.in_order:
            x = self.witness
            start = [x.entry(i) for i in range(len(x.numerator))] if small is None else behind(graph, self._values)
            self.ties = Ties(relaxation, self._values, start)
        return relaxation

    def _start(self, taken: Taken, known: Bounds) -> np.ndarray | None:
        """The witness as a point of the root, where it is one."""
        if self.first is None or self.ties is None:
            return None
        x = np.array([float(v) for v in self.ties.w])
        n = len(self.low)
        if self.reduced is None and ((x[:n] < known.low[:n]) | (x[:n] > known.high[:n])).any():
            return None
        x[-1] = 1.0
        for name, branches in taken.items():
            for unit in np.flatnonzero(branches > 0).tolist():
                margin = self._margin((name, unit, int(branches[unit])), x)
                if margin <= CLEAR:
                    return None
                x[-1] = min(x[-1], margin)
        return x

    def _raised(self, taken: Taken, literal: Literal | None, x: np.ndarray | None) -> np.ndarray | None:
        """A point for a unit that is switched on or off, made of its parent's or a piece's without a program."""
        if self.shallow is None and literal is not None:
            return self.leaves.point(taken, literal, self.relaxation)
        if self.shallow is None or literal is None or x is None or np.isnan(x[-1]):
            return None
        name, unit, on = literal
        own, way = x[self.relaxation.graph.spans[name]], self.shallow
        h = way.raise_unit(own, unit, taken[name] != 0) if on else way.lower_unit(own, unit)
        if h is None or h[taken[name] == 1].min(initial=1.0) <= 2 * CLEAR:
            return None
        return self.shallow.as_relaxed(self.relaxation, h, taken[name] == 1, x)

    def _leaf(self, taken: Taken, x: np.ndarray, share: float) -> Iterator[Found]:
        """A whole pattern: decide it."""
        branches = {name: b.copy() for name, b in taken.items()}
        self.tally.open_share -= share
        if self._known(Found(branches).key):
            return
        outputs = self._outputs(branches, x)
        if outputs is None and self.shallow is not None:
            inner = self.relaxation.inner_point(branches, ROOM[0])  # weak rows have room there
            outputs = None if inner is None else self._outputs(branches, inner)
        if outputs is not None and self.shallow is not None:
            t = np.where(outputs > 0, outputs, -DEEP) - self.relaxation.graph.rows[self.shallow.name].offset
            more = self.graph.spans[INPUT].stop - len(t)
            yield self.leaves.near(branches, t, self.shallow.dimension + more)
            return
        found = self.leaves.decide(branches, self.relaxation, x)
        if found is None and self.reduced is not None and self._look(taken) is None:
            found = False
        if isinstance(found, Found):
            yield found
        elif found is None:
            self.tally.undecided.append(branches)
            self.tally.open_share += share

    def _outputs(self, branches: Taken, x: np.ndarray) -> np.ndarray | None:
        """Outputs of the only layer near which the pattern is proven to have a point; None where that is not so."""
        if self.shallow is None or not np.isfinite(x).all():
            return None
        on = branches[self.shallow.name] == 1
        h = np.where(on, x[self.relaxation.graph.spans[self.shallow.name]], 0.0)
        return self.shallow.settled(h) if h[on].min(initial=1.0) > 0 else None

    def _known(self, key: bytes) -> bool:
        """Whether a pattern was decided before; boxes meet patterns again and again."""
        if self._seen is None:
            return self.first is not None and key == self.first.key
        if key in self._seen:
            return True
        self._seen.add(key)
        return False

    def _take(self, literal: Literal, taken: Taken) -> None:
        taken[literal[0]][literal[1]] = literal[2]
        self.relaxation.take(literal)

    def _units(self, name: str) -> int:
        return int(np.prod(self.net[name].shape))

    def _options(self, name: str, known: Bounds) -> np.ndarray:
        """Branches that the bounds leave, shape (branches, units)."""
        op = self.net[name].op
        options = possible(op, known.below[name], known.above[name])  # type: ignore[arg-type]
        own = self.fixed.get(name, np.full(options.shape[1], -1))
        return options & ((own < 0) | (np.arange(len(options))[:, None] == own))

    def _scores(self, name: str, known: Bounds) -> np.ndarray:
        """How sure every unit is to be on the witness's branch: its distance from the knot over the way beyond.

        Behind free inputs, units that are on come first: those that are off can be switched on without a program.
        """
        op, units = self.net[name].op, self._units(name)
        if self.witness is None or not isinstance(op, Piecewise) or len(op.knots) != 1:
            return np.zeros(units)
        z = np.array([float(self._values[self.net[name].inputs[0]].entry(i)) for i in range(units)])
        away = z - self.relaxation.table(name)[0][0]
        if self.shallow is not None:
            return away
        beyond = np.where(away > 0, -known.below[name], known.above[name]) + np.sign(away) * (z - away)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(np.abs(away) / np.maximum(beyond, 1e-12), nan=0.0)

    def _look(self, taken: Taken) -> np.ndarray | None:
        """A point of the relaxation; None when the node is closed. NaN where nothing is known."""
        program = self.relaxation.program
        if self.in_order:
            prefix = exact_piece(self.net, taken, self.conditions, self.domain)
            prefix.prove(self.progress)
            return None if prefix.is_empty else np.full(len(program.cost), np.nan)
        if self.shallow is not None and self.first is not None and self.shallow.only(taken, self.first.branches):
            self.tally.ties += 1  # it has the witness's own pattern, or none
            return None
        self.tally.programs += 1
        status = self._solve(taken)
        if status == "optimal":
            x = program.x
            if x[-1] <= CLEAR and self._tied(taken):
                return None
            if self.shallow is not None:
                self.tally.programs += 1
                x = self.shallow.centred(self.relaxation, taken, x)
            return x if np.isfinite(x).all() else np.full(len(x), np.nan)
        if status == "infeasible":
            ray = program.ray()
            if ray is None or not program.proves_empty(ray):
                if self.relaxation.entries <= EXACT_LIFTED and closed_exactly(self.relaxation, self.progress):
                    return None
                if self.small and self.graph.exact and self.relaxation.entries <= EXACT_LIFTED:
                    return np.full(len(program.cost), np.nan)  # the solver is wrong: go on
                self.tally.unproven += 1
            return None
        return np.full(len(program.cost), np.nan)

    def _solve(self, taken: Taken) -> str | None:
        """Solve the relaxation, with cuts as long as they help."""
        program, small = self.relaxation.program, self.reduced
        status = program.solve()
        for _ in range(ROUNDS if small is not None and not small.free else 0):
            if status != "optimal" or not np.isfinite(program.x).all():
                break
            assert small is not None
            cut = small.separate(*self.relaxation.t_range(taken, program.x, 0.0), touch=COARSE)
            if cut is None:
                break
            self.relaxation.cut(*cut)
            self.tally.cuts += 1
            self.tally.programs += 1
            status = program.solve()
        return status

    def _tied(self, taken: Taken) -> bool:
        """Whether it is proven that the strict rows of a node cannot all be positive."""
        if self.ties is not None and self.ties.close():
            self.tally.ties += 1
            return True
        return self.relaxation.entries <= EXACT_LIFTED and closed_exactly(self.relaxation, self.progress)

    def _branching(self, taken: Taken, x: np.ndarray) -> tuple[str, int] | None:
        """The undecided unit whose output is farthest from its function at the point; None at a leaf.

        Where the point is one of the function, the unit is taken that is most surely on the witness's branch.
        """
        best, worst, first, most = None, 0.0, None, -np.inf
        for name, branches in taken.items():
            open_ = np.flatnonzero(branches < 0)
            if not len(open_):
                continue
            if np.isnan(x[-1]) or name == self.ahead:
                return name, int(open_[0])
            off = np.abs(x[self.relaxation.graph.spans[name]] - self._function(name, x))[open_]
            off = np.where(off > VIOLATED, off * self.weights[name][open_], 0.0)
            k = int(off.argmax())
            if off[k] > worst:
                best, worst = (name, int(open_[k])), float(off[k])
            score = self.scores[name][open_]
            k = int(score.argmax())
            if score[k] > most:
                first, most = (name, int(open_[k])), float(score[k])
        return best or first

    def _function(self, name: str, x: np.ndarray) -> np.ndarray:
        """The choice's outputs at the point's values."""
        op, z = self.net[name].op, x[self.relaxation.reads[name]]
        if isinstance(op, MaxOver):
            index = op.index.cpu().numpy()
            return np.where(index >= 0, z[index], -np.inf).max(1)
        knots, slopes, intercepts = self.relaxation.table(name)
        level = (z > knots).sum(0)
        units = np.arange(len(z))
        return slopes[level, units] * z + intercepts[level, units]

    def _children(self, choice: tuple[str, int], x: np.ndarray) -> list[tuple[Literal, np.ndarray | None]]:
        """Branches of a unit, the preferred one first; with the point where it satisfies the branch clearly."""
        name, unit = choice
        branches = [int(j) for j in np.flatnonzero(self.options[name][:, unit])]
        margins = {j: self._margin((name, unit, j), x) for j in branches}
        if self.preferred is not None:
            own = int(self.preferred[name][unit])
            order = sorted(branches, key=lambda j: (j != own, -margins[j]))
        else:
            order = sorted(branches, key=lambda j: -margins[j])
        out: list[tuple[Literal, np.ndarray | None]] = []
        for j in order:
            fits = margins[j] > CLEAR
            out.append(((name, unit, j), np.append(x[:-1], min(x[-1], margins[j])) if fits else None))
        return out

    def _margin(self, literal: Literal, x: np.ndarray) -> float:
        """How clearly a point satisfies a branch: the slack of its rows, negative where it does not."""
        name, unit, branch = literal
        if np.isnan(x[-1]):
            return -np.inf
        op, z = self.net[name].op, x[self.relaxation.reads[name]]
        h = x[self.relaxation.graph.spans[name].start + unit]
        if isinstance(op, MaxOver):
            index = op.index[unit].cpu().numpy()
            others = [z[i] for p, i in enumerate(index) if p != branch and i >= 0]
            slack = z[index[branch]] - max(others, default=-np.inf)
            return float(slack) if abs(h - z[index[branch]]) <= CLEAR / 100 else -np.inf
        knots, slopes, intercepts = self.relaxation.table(name)
        at = z[unit]
        if abs(h - slopes[branch, unit] * at - intercepts[branch, unit]) > CLEAR / 100:
            return -np.inf
        low = at - knots[branch - 1, unit] if branch > 0 else np.inf
        high = knots[branch, unit] - at if branch < len(knots) else np.inf
        return float(min(low, high))
