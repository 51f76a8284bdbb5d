"""Best-first search over branches for an input within a radius that has a wanted class.

A node has some branches taken. Bounds over its domain give a relaxation; a solver's multipliers give a half-space,
which bounds the distance from below and makes the domain smaller; then bounds again, while that decides units.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field, replace

import numpy as np

from plica.analyses.adversarial.exact.bounds import Domain, State, ball, bound
from plica.analyses.adversarial.exact.dual import Multipliers, by_default, halfspace
from plica.analyses.adversarial.exact.kernels import distance
from plica.analyses.adversarial.exact.layers import Layers, Maximum
from plica.analyses.adversarial.exact.points import LIFTS, Best, value
from plica.analyses.adversarial.exact.program import highest, multipliers, nearest, nearest_of, rows
from plica.analyses.adversarial.exact.tied import branches_of, inside
from plica.core.progress import Progress

ROUNDS = 3
WITHIN = 1 - 2e-7  # share of the nearest point's distance that is to be proven
MOST_COLUMNS = 6000  # variables of a program; larger networks get the default multipliers


@dataclass(eq=False)
class Node:
    """One node of the proof.

    Attributes
    ----------
    aim : int
    parent : Node or None
    literal : (choice, unit, branch) or None
        What was taken on the way from the parent.
    proofs : list of Multipliers with the lines they are for
        Each gives a half-space; None where bounds show that there is no point.
    split : (choice, unit) or None
    children : list of Node
    lower : float
        No point of the node is nearer.
    """

    aim: int
    parent: Node | None = None
    literal: tuple[int, int, int] | None = None
    proofs: list[tuple[State, Multipliers | None]] = field(default_factory=list)
    split: tuple[int, int] | None = None
    children: list[Node] = field(default_factory=list)
    lower: float = 0.0


@dataclass(eq=False)
class Front:
    """What is needed to go on below a node."""

    node: Node
    taken: list[np.ndarray]
    state: State
    cut: tuple[np.ndarray, float]
    near: np.ndarray | None = None


@dataclass
class Tree:
    """A search within one radius.

    Attributes
    ----------
    layers : Layers
    best : Best
        Points found; shared by all searches for one input.
    radius : float
        The search looks no farther than this, and never farther than the nearest point found.
    progress : Progress
    keep : bool
        Whether nodes keep their multipliers, for a certificate.
    """

    layers: Layers
    best: Best
    radius: float
    progress: Progress
    keep: bool = False
    nodes: int = 0
    programs: int = 0
    roots: list[Node] = field(default_factory=list)
    heap: list[tuple[float, int, Front]] = field(default_factory=list)
    stuck: list[float] = field(default_factory=list)
    pending: list[float] = field(default_factory=lambda: [0.0])  # nothing is known before the roots are bounded
    tied: list[float] = field(default_factory=list)
    count: itertools.count = field(default_factory=itertools.count)

    @property
    def reach(self) -> float:
        """Radius within which it is to be proven that there is nothing."""
        return min(self.radius, self.best.distance * WITHIN)

    @property
    def lower(self) -> float:
        """No wanted point is nearer than this, whenever the search is stopped."""
        open_ = [entry[0] for entry in self.heap] + self.stuck + self.pending
        return min([self.reach, *open_])

    @property
    def closed(self) -> float:
        """The same with points on ties, whose margins are 0, taken for wanted ones: what needs no exact weights."""
        return min([self.lower, *self.tied])

    def glance(self) -> None:
        """Bound the roots by lines alone, without a program: not much, but at once."""
        domain = self._domain((np.zeros(self.layers.inputs), 0.0))
        state = bound(self.layers, domain, [np.full(c.units, -1) for c in self.layers.choices])
        self.pending = []
        for k, aim in enumerate(() if state.empty else self.best.aims):
            node = Node(k)
            self._proved(node, state, aim, [by_default(self.layers, state, aim, even(aim))], domain)
            self.pending.append(node.lower)

    def finish(self) -> None:
        """Forget what is open but its bound."""
        self.stuck = [self.lower]
        self.heap, self.pending, self.roots = [], [], []

    def run(self, most: int | None = None) -> bool:
        """Search; True when everything within reach is closed.

        Raises
        ------
        BudgetReached
            With `lower` as good as it is.
        """
        if not self.roots:
            self._start()
        while self.heap and not (most is not None and self.nodes >= most):
            if self.heap[0][0] >= self.reach:
                self.heap.clear()
                break
            self.progress.check()
            low, _, front = self.heap[0]
            self.pending = [low]
            heapq.heappop(self.heap)
            self._split(front)
            self.pending = []
        return not self.heap and not [s for s in self.stuck if s < self.reach]

    def _start(self) -> None:
        taken = [np.full(c.units, -1) for c in self.layers.choices]
        none = np.zeros(self.layers.inputs), 0.0
        for k in range(len(self.best.aims)):
            self.roots.append(Node(k))
        root, reach = bound(self.layers, self._domain(none), taken), self.reach
        for node in self.roots:
            self.progress.check()
            if self.reach < 0.999 * reach:
                root, reach = bound(self.layers, self._domain(none), taken), self.reach
            self._visit(node, Front(node, taken, root, none), fresh=True)
        self.pending = []

    def _domain(self, cut: tuple[np.ndarray, float]) -> Domain:
        return replace(ball(self.layers, self.best.norm, self.reach), w=cut[0], beta=cut[1])

    def _split(self, front: Front) -> None:
        assert front.node.split is not None
        j, unit = front.node.split
        choice = self.layers.choices[j]
        branches = range(choice.branches)
        if isinstance(choice, Maximum):
            branches = [p for p in branches if choice.index[unit, p] >= 0]  # type: ignore[assignment]
        for branch in branches:
            taken = [*front.taken]
            taken[j] = taken[j].copy()
            taken[j][unit] = branch
            child = Node(front.node.aim, front.node, (j, unit, branch), lower=front.node.lower)
            front.node.children.append(child)
            self._visit(child, Front(child, taken, front.state, front.cut, front.near))

    def _visit(self, node: Node, front: Front, *, fresh: bool = False) -> None:
        """Bound a node, from what is known of its parent; what is left open goes to the heap."""
        self.nodes += 1
        taken, cut, state, near = front.taken, front.cut, front.state, front.near
        aim, before, weights = self.best.aims[node.aim], np.inf, None
        for _ in range(ROUNDS):
            domain = self._domain(cut)
            found = state if fresh else bound(self.layers, domain, taken, state)
            if found.empty:
                node.lower = np.inf
                if self.keep:
                    node.proofs.append((found, None))
                return
            count = sum(int((~h.exact).sum()) for h in found.hulls)
            if count >= before:
                break
            state, before, fresh = found, count, False
            weights = self._proved(node, state, aim, [by_default(self.layers, state, aim, even(aim))], domain)
            if node.lower >= self.reach:
                return
            if self._columns(state) <= MOST_COLUMNS:
                weights, near = self._solved(Front(node, taken, state, cut, near), domain)
                if node.lower >= self.reach:
                    return
            if weights is None:
                break
            cut = halfspace(self.layers, state, aim, weights)
        node.split = _where(state, weights)
        if node.split is None:
            self._tied(Front(node, taken, state, cut, near))
            return
        heapq.heappush(self.heap, (node.lower, next(self.count), Front(node, taken, state, cut, near)))

    def _tied(self, front: Front) -> None:
        """Nothing is left to split: a point on a tie. Drop the cell where it holds none beyond, in integers."""
        best, node = self.best, front.node
        branches = branches_of(self.layers, front.state, front.taken)
        decided, some = inside(self.layers, branches, best.aims[node.aim], best.lower, best.upper)
        if decided and not some:
            self.tied.append(node.lower)
            return
        if not self.keep:
            self._beyond(front)
        if node.lower < self.reach:
            self.stuck.append(node.lower)

    def _beyond(self, front: Front) -> None:
        """Try the nearest points of a cell whose margins are a little above 0."""
        best, which = self.best, front.node.aim
        of = rows(self.layers, front.state, front.taken, best.aims[which])
        domain = self._domain((np.zeros(self.layers.inputs), 0.0))
        size = float(np.abs(value(self.layers, np.zeros(self.layers.inputs))).max())
        for share in LIFTS:
            lifted = replace(of, h=of.h - (of.kind == 4) * (share * size / of.scale))
            near = nearest_of(lifted, domain, self.progress)
            if near is None or best.accept(np.clip(self.layers.x + near, best.lower, best.upper), which):
                return

    def _columns(self, state: State) -> int:
        return self.layers.inputs + sum(int((~h.exact).sum()) for h in state.hulls)

    def _proved(
        self, node: Node, state: State, aim: np.ndarray, candidates: list[Multipliers], domain: Domain
    ) -> Multipliers | None:
        """The multipliers that prove most; the node's bound grows with them."""
        best, most = None, -1.0
        for weights in candidates:
            given = weights.rounded()
            w, beta = halfspace(self.layers, state, aim, given)
            size = distance(w, beta, domain.lower, domain.upper, domain.norm)
            if size > most:
                best, most = given, size
        if best is not None:
            node.lower = max(node.lower, most)
            if self.keep:
                node.proofs.append((state, best))
        return best

    def _solved(self, front: Front, domain: Domain) -> tuple[Multipliers | None, np.ndarray | None]:
        """Solve the relaxation; try its point, and a point of its piece where nothing is undecided."""
        node, state = front.node, front.state
        aim = self.best.aims[node.aim]
        of = rows(self.layers, state, front.taken, aim)
        self.programs += 1
        if domain.norm == 2.0:
            weight, d = nearest(of, domain, front.near)
            raw = [weight]
        else:
            raw, d = highest(of, domain, self.progress)
        given = [multipliers(self.layers, state, of, weight) for weight in raw]
        weights = self._proved(node, state, aim, given, domain)
        if d is not None and node.lower < self.reach:
            self.best.offer(d, node.aim, domain, self.progress)
        return weights, front.near if d is None else d


def even(aim: np.ndarray) -> np.ndarray:
    """Equal weights of the margins, whose sums are exact."""
    return np.full(len(aim), 2.0 ** -np.ceil(np.log2(len(aim))))


def _where(state: State, weights: Multipliers | None) -> tuple[int, int] | None:
    """The unit whose lines lose most, weighed by their multipliers; else the widest undecided one."""
    best, where = 0.0, None
    for j, h in enumerate(state.hulls):
        score = np.zeros(len(h.low))
        if weights is not None:
            for lines, weight in ((h.above, weights.above[j]), (h.below, weights.below[j])):
                if len(lines.unit):
                    score += np.bincount(lines.unit, weight * lines.gap, len(score))
        score = np.where(h.exact, -1.0, score + 1e-9 * (h.high - h.low) + 1e-300)
        unit = int(score.argmax()) if len(score) else 0
        if len(score) and score[unit] > best:
            best, where = float(score[unit]), (j, unit)
    return where
