"""Pieces beside those that were found: a point is carried across one unit's knot into the next pattern.

A search over branches finds most pieces next to others. The pattern of a piece found before, with a node's last unit on
its other branch, is tried as a whole before a linear program looks at the node. A proven point of that pattern is a
point of the node, and the piece is known when its turn comes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from plica.core.choice import MaxOver, Piecewise
from plica.core.network import INPUT
from plica.core.search.blocks import Blocks
from plica.core.search.bounds import Taken, tables
from plica.core.search.found import Found
from plica.core.search.inside import values_at
from plica.core.search.reduced import Reduced
from plica.core.search.relaxation import Literal, Relaxation

RECENT = 32  # pieces that are remembered


@dataclass(frozen=True, eq=False)
class Neighbour:
    """A pattern, a float point in its piece, and what the choices and the conditions read there."""

    branches: Taken
    point: np.ndarray
    reads: dict[str, np.ndarray]


@dataclass(eq=False)
class Beside:
    """The last pieces found, newest first, and those found ahead of their turn.

    Parameters
    ----------
    graph : Blocks
    small : Reduced, optional
        Whose rows the relaxation has as its input.
    """

    graph: Blocks
    small: Reduced | None
    recent: deque[Neighbour] = field(default_factory=lambda: deque(maxlen=RECENT))
    ahead: dict[bytes, Found] = field(default_factory=dict)

    def remember(self, branches: Taken, point: np.ndarray) -> None:
        """Keep a piece with a float point in it."""
        reads = {name: level.value for name, level in values_at(self.graph, branches, point).items()}
        self.recent.appendleft(Neighbour(branches, point, reads))

    def across(self, taken: Taken, literal: Literal) -> tuple[Taken, np.ndarray] | None:
        """A pattern that takes the branches taken, and a point near it: of the nearest piece on the other side.

        Parameters
        ----------
        taken : dict of ndarray
            With the literal in it; -1 where undecided.
        """
        name, unit, branch = literal
        fits = [near for near in self.recent if self._agrees(near, taken, literal)]
        if not fits:
            return None
        best = min(fits, key=lambda near: self._distance(near, literal))
        branches = {k: b.copy() for k, b in best.branches.items()}
        branches[name][unit] = branch
        return branches, best.point

    def _agrees(self, near: Neighbour, taken: Taken, literal: Literal) -> bool:
        """Whether a piece has all branches taken but for the literal."""
        differ = sum(int(((b >= 0) & (b != near.branches[name])).sum()) for name, b in taken.items())
        return differ == 1 and bool(near.branches[literal[0]][literal[1]] != literal[2])

    def _distance(self, near: Neighbour, literal: Literal) -> float:
        """How far what a unit reads is from a branch; 0 for maxima."""
        name, unit, branch = literal
        op = self.graph.network[name].op
        if not isinstance(op, Piecewise):
            return 0.0
        knots, z = tables(op)[0][:, unit], near.reads[name][unit]
        below = knots[branch - 1] - z if branch > 0 else 0.0
        above = z - knots[branch] if branch < len(knots) else 0.0
        return float(max(below, above, 0.0))

    def as_relaxed(self, relaxation: Relaxation) -> np.ndarray:
        """The newest point in the variables of a relaxation."""
        near = self.recent[0]
        x = np.zeros(relaxation.slack + 1)
        x[relaxation.graph.spans[INPUT]] = near.point if self.small is None else self.small.J @ near.point
        least = 1.0
        for name, span in relaxation.reads.items():
            z = x[span] = near.reads[name]
            if name not in near.branches:
                continue
            op, own = self.graph.network[name].op, near.branches[name]
            units = np.arange(len(own))
            if isinstance(op, MaxOver):
                index = op.index.cpu().numpy()
                h = z[index[units, own]]
                earlier = (index >= 0) & (np.arange(index.shape[1]) < own[:, None])
                least = float((h[:, None] - z[index])[earlier].min(initial=least))
            else:
                assert isinstance(op, Piecewise)
                knots, slopes, shifts = tables(op)
                h = slopes[own, units] * z + shifts[own, units]
                above = own > 0
                least = float((z - knots[own - 1, units])[above].min(initial=least))
            x[relaxation.graph.spans[name]] = h
        x[relaxation.slack] = least
        return x
