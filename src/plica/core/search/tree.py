"""All patterns with a point, by depth-first search over branches; every "no" is proven or counted as unproven."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from plica.core.choice import MaxOver
from plica.core.domain import Box
from plica.core.exact import columns as exact
from plica.core.network import INPUT
from plica.core.polyhedron.cone import partition
from plica.core.progress import Progress
from plica.core.search.blocks import FINAL, Blocks
from plica.core.search.bounds import Bounds, Taken, bound, possible
from plica.core.search.conditions import Conditions
from plica.core.search.decided import ExactPiece, exact_piece
from plica.core.search.point import exact_point
from plica.core.search.relaxation import Literal, Relaxation
from plica.errors import SolverError

CLEAR = 1e-7  # strictness above this is taken for a point; below it nothing is concluded
ROOM = (1e-4, 1e-6)  # distances from the weak sides that are tried for a point of a whole pattern
EXACT_COLUMNS = 64  # inputs up to which every pattern is decided by its exact rows
EXACT_LIFTED = 12_000  # entries of a relaxation up to which its emptiness is decided exactly


@dataclass(frozen=True, eq=False)
class Found:
    """A pattern whose half-open piece has a point.

    Attributes
    ----------
    branches : dict of ndarray
        Flat branches of every choice.
    point : tuple of Fraction
        In the half-open piece, exactly.
    piece : ExactPiece, optional
        The exact rows, where they were needed.
    """

    branches: Taken
    point: tuple[Fraction, ...]
    piece: ExactPiece | None = None

    @property
    def key(self) -> bytes:
        """Equal exactly for equal patterns."""
        return b"".join(b.astype(np.int32).tobytes() for b in self.branches.values())


@dataclass(eq=False)
class Tally:
    """What a search did, and what it could not prove."""

    nodes: int = 0
    programs: int = 0
    pruned: int = 0
    unproven: int = 0  # parts of the tree closed on the word of a float solver
    undecided: list[Taken] = field(default_factory=list)  # patterns about which nothing is known
    complete: bool = False


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
    """

    def __init__(
        self,
        graph: Blocks,
        conditions: Conditions,
        domain: Box | None = None,
        *,
        witness: exact.Columns | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.graph, self.conditions, self.domain = graph, conditions, domain
        self.net, self.progress, self.tally = graph.network, progress or Progress(), Tally()
        n = graph.spans[INPUT].stop
        self.low = np.full(n, -np.inf) if domain is None else domain.lower
        self.high = np.full(n, np.inf) if domain is None else domain.upper
        self.small = n <= EXACT_COLUMNS
        bounded = bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())
        self.in_order = self.small and not graph.exact and not bounded  # rounded rows without bounds prove nothing
        self.witness = witness
        self.preferred: Taken | None = None
        self.first: Found | None = None
        if witness is not None:
            values, branches = exact.forward(self.net.nodes, witness)
            self.preferred = branches
            point = tuple(witness.entry(i) for i in range(n))
            inside = all(a <= p <= b for a, p, b in zip(self.low.tolist(), point, self.high.tolist(), strict=True))
            if inside and conditions.holds(values[conditions.value]):
                self.first = Found(branches, point)

    def found(self) -> Iterator[Found]:
        """Yield every pattern once, the witness's own first.

        Raises
        ------
        BudgetReached
            When the time is up.
        """
        if self.first is not None:
            yield self.first
        known = bound(self.graph, self.low, self.high)
        if not known.feasible or not self._conditions_possible(known):
            self.tally.complete = True
            return
        yield from self._descend(known)
        self.tally.complete = not self.tally.undecided

    def _conditions_possible(self, known: Bounds) -> bool:
        """Whether interval bounds of the value leave the conditions a chance."""
        below, above = known.below[FINAL], known.above[FINAL]
        h, low, high = self.conditions.floats()
        for A, bottom, top in (
            (self.conditions.G, np.full(len(h), -np.inf), h),
            (self.conditions.E, low, high),
        ):
            single = (np.diff(A.indptr) == 1) if A.shape[0] else np.zeros(0, dtype=bool)
            for i in np.flatnonzero(single):
                j, sign = A.indices[A.indptr[i]], A.data[A.indptr[i]]
                if abs(sign) != 1:
                    continue
                ends = (below[j], above[j]) if sign > 0 else (-above[j], -below[j])
                if ends[0] > top[i] or ends[1] < bottom[i]:
                    return False
        return True

    # -- the tree ----------------------------------------------------------------------------------------------------

    def _descend(self, known: Bounds) -> Iterator[Found]:
        """Depth first, with an explicit stack: (length of the trail to keep, literal to add, point that fits)."""
        self.relaxation = relaxation = Relaxation(self.graph, known, self.conditions)
        taken = {name: np.full(self._units(name), -1) for name in self.graph.spans if name != INPUT}
        self.options = {name: self._options(name, known) for name in taken}
        trail: list[Literal] = []
        for name, options in self.options.items():  # what the bounds settle stays
            if not options.any(0).all():
                return
            for unit in np.flatnonzero(options.sum(0) == 1).tolist():
                self._take((name, unit, int(options[:, unit].argmax())), taken)
        stack: list[tuple[int, Literal | None, np.ndarray | None]] = [(0, None, None)]
        while stack:
            self.progress.check()
            depth, literal, point = stack.pop()
            while len(trail) > depth:
                name, unit, branch = trail.pop()
                taken[name][unit] = -1
                relaxation.release((name, unit, branch))
            if literal is not None:
                self._take(literal, taken)
                trail.append(literal)
            self.tally.nodes += 1
            if point is None:
                point = self._look(taken)
                if point is None:
                    self.tally.pruned += 1
                    continue
            choice = self._branching(taken, point)
            if choice is None:
                yield from self._leaf(taken, point)
                continue
            stack += [(len(trail), *child) for child in reversed(self._children(choice, point))]

    def _take(self, literal: Literal, taken: Taken) -> None:
        taken[literal[0]][literal[1]] = literal[2]
        self.relaxation.take(literal)

    def _units(self, name: str) -> int:
        return int(np.prod(self.net[name].shape))

    def _options(self, name: str, known: Bounds) -> np.ndarray:
        """Branches that the bounds leave, shape (branches, units)."""
        op = self.net[name].op
        return possible(op, known.below[name], known.above[name])  # type: ignore[arg-type]

    def _look(self, taken: Taken) -> np.ndarray | None:
        """A point of the relaxation; None when the node is closed. NaN where nothing is known."""
        program = self.relaxation.program
        self.tally.programs += 1
        if self.in_order:
            prefix = exact_piece(self.net, taken, self.conditions, self.domain)
            return None if prefix.is_empty else np.full(len(program.cost), np.nan)
        status = program.solve()
        if status == "optimal":
            x = program.x
            if x[-1] <= CLEAR and self._closed_exactly(taken):
                return None
            return x if np.isfinite(x).all() else np.full(len(x), np.nan)
        if status == "infeasible":
            ray = program.ray()
            if ray is None or not program.proves_empty(ray):
                if self._closed_exactly(taken):
                    return None
                if self.small and self.graph.exact and self._lifted_entries() <= EXACT_LIFTED:
                    return np.full(len(program.cost), np.nan)  # the solver is wrong: go on
                self.tally.unproven += 1
            return None
        return np.full(len(program.cost), np.nan)

    def _lifted_entries(self) -> int:
        m, n = self.relaxation.program.matrix.shape
        return (m + n) * n

    def _closed_exactly(self, taken: Taken) -> bool:
        """Whether integers prove that the relaxation has no point with all strict rows strict."""
        if self._lifted_entries() > EXACT_LIFTED:
            return False
        M, N = _homogeneous(self.relaxation)
        try:
            proof = partition(M, N)
        except SolverError:
            return False
        return bool(proof.implied[-1])

    def _branching(self, taken: Taken, x: np.ndarray) -> tuple[str, int] | None:
        """The undecided unit whose output is farthest from its function at the point; None at a leaf."""
        best, worst = None, -1.0
        for name, branches in taken.items():
            open_ = np.flatnonzero(branches < 0)
            if not len(open_):
                continue
            if np.isnan(x[-1]):
                return name, int(open_[0])
            off = np.abs(x[self.graph.spans[name]] - self._function(name, x))[open_]
            k = int(off.argmax())
            if off[k] > worst:
                best, worst = (name, int(open_[k])), float(off[k])
        return best

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
            out.append(((name, unit, j), self._lowered(x, margins[j]) if fits else None))
        return out

    def _lowered(self, x: np.ndarray, margin: float) -> np.ndarray:
        """The point with the slack that a further strict row leaves."""
        if x[-1] <= margin:
            return x
        x = x.copy()
        x[-1] = margin
        return x

    def _margin(self, literal: Literal, x: np.ndarray) -> float:
        """How clearly a point satisfies a branch: the slack of its rows, negative where it does not."""
        name, unit, branch = literal
        if np.isnan(x[-1]):
            return -np.inf
        op, z = self.net[name].op, x[self.relaxation.reads[name]]
        h = x[self.graph.spans[name].start + unit]
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

    # -- leaves ------------------------------------------------------------------------------------------------------

    def _leaf(self, taken: Taken, x: np.ndarray) -> Iterator[Found]:
        """A whole pattern: decide it, exactly or by an exact point."""
        branches = {name: b.copy() for name, b in taken.items()}
        own = Found(branches, ())
        if self.first is not None and own.key == self.first.key:
            return
        if self.small:
            piece = exact_piece(self.net, branches, self.conditions, self.domain)
            try:
                if not piece.is_empty:
                    yield Found(branches, tuple(piece.point), piece)
                return
            except SolverError:
                pass
        else:
            for guess in self._guesses(taken, x):
                point = exact_point(self.net, branches, self.conditions, self.domain, guess)
                if point is not None:
                    yield Found(branches, point)
                    return
        self.tally.undecided.append(branches)

    def _guesses(self, taken: Taken, x: np.ndarray) -> Iterator[np.ndarray]:
        """Float points of a whole pattern, those far from being tied first."""
        for room in ROOM:
            found = self.relaxation.inner_point(taken, room)
            if found is not None:
                yield found[: len(self.low)]
        if not np.isnan(x[-1]):
            yield x[: len(self.low)]


def _homogeneous(relaxation: Relaxation) -> tuple[np.ndarray, np.ndarray]:
    """The relaxation as a cone {M (v, t) <= 0, N (v, t) = 0}; the last row says t > 0 and all strict rows strict.

    The slack s takes the place of t's strictness: (v, s, t) with s <= t, and the row -s is last.
    """
    p = relaxation.program
    A = p.matrix.toarray()
    n = A.shape[1]
    eye = np.eye(n)
    rows = np.vstack([A, eye])
    low, high = np.concatenate([p.row_lower, p.lower]), np.concatenate([p.row_upper, p.upper])
    equal = np.flatnonzero((low == high) & np.isfinite(low))
    up = np.flatnonzero(np.isfinite(high) & (low != high))
    down = np.flatnonzero(np.isfinite(low) & (low != high))
    last = np.zeros(n + 1)
    last[relaxation.slack] = -1.0
    M = np.vstack([
        np.column_stack([rows[up], -high[up]]), np.column_stack([-rows[down], low[down]]), last
    ])  # fmt: skip
    return M, np.column_stack([rows[equal], -low[equal]])
