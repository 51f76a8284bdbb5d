"""The largest value of a unit over a box, bracketed: a proven upper bound and a point that attains the lower one.

The search is the one for the smallest perturbation with another objective: linear bounds over the box, a relaxation
solved by HiGHS, and multipliers that are evaluated anew, which bound the unit from above on the whole node.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from plica.analyses.adversarial.exact.bounds import Domain, State, bound
from plica.analyses.adversarial.exact.dual import Multipliers, by_default, halfspace
from plica.analyses.adversarial.exact.layers import Layers, Maximum
from plica.analyses.adversarial.exact.points import proven_margins, value
from plica.analyses.adversarial.exact.program import highest, multipliers, piece, rows
from plica.analyses.adversarial.exact.tree import MOST_COLUMNS, _where
from plica.core.exact.floats import gamma
from plica.core.progress import Progress
from plica.core.solve.linear import linear_program

CLOSED = 1e-6  # gap that counts as none, relative to the value (or a millionth of what choices give)
STEPS = 12  # pieces that one climb walks through
BEYOND = 1e-9  # share of the box by which a climb steps over the border of a piece


@dataclass(frozen=True, eq=False)
class _Open:
    """A node: branches taken, and what is known below it."""

    taken: list[np.ndarray]
    state: State
    split: tuple[int, int]


@dataclass
class Largest:
    """A search for the largest value of one unit.

    Attributes
    ----------
    layers : Layers
        Around a point of the box.
    aim : ndarray, shape (1, units)
        Picks the unit.
    box : pair of ndarray
        Allowed inputs.
    x : ndarray or None
        The best point so far.
    low, high : float
        Value proven to be attained at `x`, and proven upper bound.
    """

    layers: Layers
    aim: np.ndarray
    box: tuple[np.ndarray, np.ndarray]
    progress: Progress
    x: np.ndarray | None = None
    low: float = -math.inf
    high: float = math.inf
    nodes: int = 0
    heap: list[tuple[float, int, _Open]] = field(default_factory=list)
    count: itertools.count = field(default_factory=itertools.count)
    scale: float = 0.0
    stuck: float = -math.inf

    def run(self, starts: list[np.ndarray]) -> None:
        """Search until the bracket closes.

        Raises
        ------
        BudgetReached
            With `high` as good as it is.
        """
        n = self.layers.inputs
        self.domain = Domain(self.layers.lower, self.layers.upper, math.inf, math.inf, np.zeros(n), 0.0)
        taken = [np.full(c.units, -1) for c in self.layers.choices]
        root = bound(self.layers, self.domain, taken)
        self.scale = max((float(h.high.max(initial=0.0)) for h in root.hulls), default=0.0) * 1e-6
        self._visit(taken, root, math.inf)
        self.high = self._top()
        for d in starts:
            self._climb(d)
        while self.heap and not self.closed:
            self.progress.check()
            top, _, node = heapq.heappop(self.heap)
            for branch in self._branches(node.split):
                j, unit = node.split
                child = [*node.taken]
                child[j] = child[j].copy()
                child[j][unit] = branch
                self._visit(child, bound(self.layers, self.domain, child, node.state), -top)
            self.high = min(self.high, self._top())
        self.high = min(self.high, self._top())

    @property
    def closed(self) -> bool:
        """Whether bound and value have met."""
        return self._met(self.high)

    def _met(self, high: float) -> bool:
        return high - self.low <= CLOSED * max(self.scale, abs(high), abs(self.low))

    def _top(self) -> float:
        """The largest bound of what is open; the value found where nothing is."""
        return max(self.low, self.stuck, max((-entry[0] for entry in self.heap), default=-math.inf))

    def _branches(self, split: tuple[int, int]) -> list[int]:
        choice = self.layers.choices[split[0]]
        if isinstance(choice, Maximum):
            return [p for p in range(choice.branches) if choice.index[split[1], p] >= 0]
        return list(range(choice.branches))

    def _visit(self, taken: list[np.ndarray], state: State, top: float) -> None:
        """Bound a node; what may hold more than the value found goes to the heap."""
        self.nodes += 1
        if state.empty:
            return
        weights = by_default(self.layers, state, self.aim, np.ones(1)).rounded()
        high = min(top, self._bound(state, weights))
        if high > self.low and self.layers.inputs + sum(int((~h.exact).sum()) for h in state.hulls) <= MOST_COLUMNS:
            of = rows(self.layers, state, taken, self.aim)
            raw, d = highest(of, self.domain, self.progress)
            for weight in raw:
                given = multipliers(self.layers, state, of, weight)
                found = self._bound(state, given)
                high, weights = (found, given) if found < high else (high, weights)
            if d is not None:
                self._climb(d)
        split = _where(state, weights)
        if high <= self.low:
            return
        if split is None or self._met(high):
            self.stuck = max(self.stuck, high)
            return
        heapq.heappush(self.heap, (-high, next(self.count), _Open(taken, state, split)))

    def _bound(self, state: State, given: Multipliers) -> float:
        """No input of the node has a larger value (RIGOROUS): margins[0] * value <= w.d - beta on all of it.

        Multipliers without the margin may show that the node is empty: -inf.
        """
        w, beta = halfspace(self.layers, state, self.aim, given)
        most = -float(self.domain.least(-w[None])[0, 0])
        total = (most - beta) + 4 * gamma(2) * (abs(most) + abs(beta))
        share = float(given.margins[0])
        if share <= 0:
            return -math.inf if share == 0 and total < 0 else math.inf
        return math.nextafter(total / share, math.inf)

    def _climb(self, d: np.ndarray) -> None:
        """From a point to the highest one of its piece, and on over the border while that gains."""
        layers, last = self.layers, -math.inf
        for _ in range(STEPS):
            d = np.clip(d, layers.lower, layers.upper)
            now = float((self.aim @ value(layers, d))[0])
            if now > self.low:
                self._accept(layers.x + d)
            if now <= last + 1e-9 * (1.0 + abs(now)):
                return
            last = now
            G, h = piece(layers, d, self.aim)
            if layers.read is not None:
                G = G @ layers.read[0]
            found = linear_program(G[-1], G[:-1], h[:-1], bounds=(layers.lower, layers.upper), progress=self.progress)
            if found.status != "optimal":
                return
            d = found.x + BEYOND * (found.x - d)

    def _accept(self, x: np.ndarray) -> None:
        x = np.clip(x, *self.box)
        low = float(proven_margins(self.layers, x, self.aim)[0])
        if low > self.low:
            self.low, self.x = low, x
