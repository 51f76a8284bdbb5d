"""The smallest perturbation of one input, bracketed: a proven lower bound and a misclassified point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plica.analyses.adversarial.exact.bounds import ball
from plica.analyses.adversarial.exact.layers import Layers, prepare
from plica.analyses.adversarial.exact.points import Best, length, value
from plica.analyses.adversarial.exact.tree import Tree
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, DataError, ShapeError

CLOSED = 1e-6  # relative gap at which a bracket counts as closed
NOTHING = 1e-8  # and the absolute one, relative to the largest input
GLANCES = (0.5, 0.2, 0.05, 0.01)  # shares of the distance found, within which lines alone may prove that there is none
FIRST = 40  # nodes of a first search at full radius; where they are not enough, smaller radii come first
BRIEF = 0.1  # share of the time left that it gets
LADDER = (0.3, 0.5, 0.6, 0.7, 0.77, 0.85, 0.9, 0.95, 1.0)
GROWTHS = 24  # doublings of the radius where there is no box and no point


@dataclass(frozen=True, eq=False)
class Bracket:
    """The smallest perturbation lies between two numbers.

    Attributes
    ----------
    standing : Standing
        Of the lower bound and of the point: RIGOROUS, for the real-arithmetic map of the stored weights.
    completeness : Completeness
    lower_bound : float
        No point with a wanted class is nearer. inf: there is none in the box.
    distance : float
        Of `x`, rounded up; inf where no point is known.
    x : ndarray, shape (n,), or None
        Proven to be given a wanted class, strictly.
    target : int
        The class aimed at there; -1 for none.
    gap : float
        ``distance / lower_bound - 1``; 0 where both are 0 or inf.
    proven : bool
        Whether the gap is at most 1e-6, or the two differ by 1e-8 of the largest input at most (ties).
    nodes, programs : int
        Nodes bounded and programs solved.
    seconds : float
    tree : Tree or None
        The search that gave the lower bound; `proof` makes a certificate of it. None where nothing is proven.
    """

    standing: Standing
    completeness: Completeness
    lower_bound: float
    distance: float
    x: np.ndarray | None
    target: int
    gap: float
    proven: bool
    nodes: int
    programs: int
    seconds: float
    tree: Tree | None


def aims(classes: int, label: int, targets: Sequence[int] | None, *, win: bool = False) -> tuple[np.ndarray, ...]:
    """Margins that have to be positive, one matrix per target: above the label, or above all classes (`win`)."""
    out = []
    for t in range(classes) if targets is None else dict.fromkeys(int(t) for t in targets):
        if t == label:
            continue
        below = [k for k in range(classes) if k != t] if win else [label]
        rows = np.zeros((len(below), classes))
        rows[:, t] = 1.0
        rows[np.arange(len(below)), below] = -1.0
        out.append(rows)
    return tuple(out)


def smallest(
    net: Network | Layers,
    x: np.ndarray,
    label: int,
    *,
    norm: float = 2.0,
    box: Box | tuple[np.ndarray, np.ndarray] | None = None,
    wanted: tuple[np.ndarray, ...] | None = None,
    upper: np.ndarray | None = None,
    progress: Progress | None = None,
) -> Bracket:
    """Bracket the distance from an input to the nearest one with another class.

    Parameters
    ----------
    net : Network or Layers
        Its outputs are the logits; `prepare(net)` where many inputs of one network are asked for.
    x : ndarray, shape (n,) or the network's
    label : int
        The class that is to be left.
    norm : {2, inf, 1}
    box : Box or pair of arrays, optional
        Allowed inputs; x lies inside.
    wanted : tuple of ndarray, optional
        Margins that have to be positive, one matrix of small whole numbers per target: `aims` makes them. By default
        any other class above the label.
    upper : ndarray, optional
        A misclassified point, as near as known; it is checked, and improved within its piece.
    progress : Progress, optional
        A budget or an interrupt returns the bracket as it is.

    Returns
    -------
    Bracket

    Raises
    ------
    ArgumentError, DataError, ShapeError
        A norm of another kind, an input outside the box, a label that is no class.

    Notes
    -----
    The infimum over the closed set {margin >= 0} is bounded. Where margins are zero on whole pieces, the infimum of
    strictly misclassified points may be larger, and the bracket stays open.
    """
    base = net if isinstance(net, Layers) else prepare(net)
    x, lower, upper_box = checked(base, x, label, norm, box)
    layers = base.at(x, lower, upper_box)
    margins = aims(base.classes, label, None) if wanted is None else wanted
    best = Best(layers, lower, upper_box, float(norm), margins)
    watch = progress or Progress()
    run = _Run(layers, best, watch)
    completeness = Completeness.COMPLETE
    try:
        if upper is not None:
            run.suggest(np.asarray(upper, dtype=np.float64).reshape(-1))
        run.search()
    except BudgetReached:
        completeness = Completeness.BUDGET
        run.glance()
    except KeyboardInterrupt:
        completeness = Completeness.INTERRUPTED
    return run.bracket(completeness, watch.seconds)


def checked(
    base: Layers, x: np.ndarray, label: int, norm: float, box: Box | tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The input and the box as flat arrays, refused where they make no sense."""
    x = np.asarray(x, dtype=np.float64).reshape(-1)
    if len(x) != base.inputs:
        raise ShapeError(f"x has {len(x)} numbers; the network reads {base.inputs}.")
    if not np.isfinite(x).all():
        raise DataError("x: the numbers must be finite.")
    if float(norm) not in (1.0, 2.0, math.inf):
        raise ArgumentError(f"norm = {norm!r}; use 2, float('inf') or 1.")
    if not 0 <= label < base.classes:
        raise ArgumentError(f"label = {label}; the network has the classes 0 to {base.classes - 1}.")
    if box is None:
        return x, np.full(len(x), -np.inf), np.full(len(x), np.inf)
    ends = (box.lower, box.upper) if isinstance(box, Box) else box
    lower, upper = (np.broadcast_to(np.asarray(e, dtype=np.float64).reshape(-1), x.shape) for e in ends)
    if (x < lower).any() or (x > upper).any():
        raise DataError("x lies outside of the box.")
    return x, lower, upper


@dataclass(eq=False)
class _Run:
    """The searches for one input."""

    layers: Layers
    best: Best
    progress: Progress
    lower: float = 0.0
    nodes: int = 0
    programs: int = 0
    tree: Tree | None = None
    nowhere: bool = False

    def suggest(self, point: np.ndarray) -> None:
        """Take a point that is said to be misclassified."""
        d = point - self.layers.x
        if not np.isfinite(d).all():
            return
        margins = [float((aim @ value(self.layers, d)).min()) for aim in self.best.aims]
        if margins:
            which = int(np.argmax(margins))
            self.best.offer(
                d * (1 + 1e-6), which, ball(self.layers, self.best.norm, 2 * length(d, self.best.norm)), self.progress
            )

    def search(self) -> None:
        """All radii, from the largest down where that is quick, else from small ones up."""
        best, layers = self.best, self.layers
        if not best.aims:
            self.lower, self.nowhere = math.inf, True
            return
        if any((aim @ value(layers, np.zeros(layers.inputs)) > -1e-9).all() for aim in best.aims):
            for k in range(len(best.aims)):
                best.accept(layers.x, k)
            if best.distance == 0:
                return
        far = length(np.maximum(-layers.lower, layers.upper), best.norm)
        if not math.isfinite(best.distance):
            self._blind(far)
            if not math.isfinite(best.distance):
                return
        try:
            if self._within(best.distance, FIRST, self.progress.part(BRIEF)):
                return
        except BudgetReached:
            self.progress.check()
        step = 0
        while step < len(LADDER):
            radius, before = LADDER[step] * best.distance, self.nodes
            if radius > self.lower and not self._within(radius, None):
                return
            easy = self.nodes - before < FIRST and step < len(LADDER) - 2
            step += 2 if easy else 1

    def _blind(self, far: float) -> None:
        """Without a point: growing radii, up to the farthest corner of the box."""
        radius = min(far, max(1e-3 * (1.0 + float(np.abs(self.layers.x).max(initial=0.0))), 1e-3))
        for _ in range(GROWTHS):
            whole = radius >= far
            closed = self._within(radius * (1 + 1e-9), None if whole else 4 * FIRST)
            if math.isfinite(self.best.distance):
                return
            if whole:
                self.nowhere = closed
                self.lower = math.inf if closed else self.lower
                return
            radius = min(far, 2 * radius)

    def glance(self) -> None:
        """A bound where time was too short for any other."""
        for share in GLANCES if self.lower == 0 and 0 < self.best.distance < math.inf else ():
            tree = Tree(self.layers, self.best, share * self.best.distance, self.progress)
            tree.glance()
            self._proven_by(tree)
            if self.lower >= tree.reach:
                return

    def _within(self, radius: float, most: int | None, progress: Progress | None = None) -> bool:
        """Search within a radius; the bound grows by what is proven, however the search ends."""
        tree = Tree(self.layers, self.best, radius, progress or self.progress)
        try:
            return tree.run(most)
        finally:
            tree.finish()
            self.nodes, self.programs = self.nodes + tree.nodes, self.programs + tree.programs
            self._proven_by(tree)

    def _proven_by(self, tree: Tree) -> None:
        if tree.lower > self.lower:
            self.lower, self.tree = tree.lower, tree

    def bracket(self, completeness: Completeness, seconds: float) -> Bracket:
        """What is known."""
        best = self.best
        lower, upper = min(self.lower, best.distance), best.distance
        if lower == upper:
            gap = 0.0
        else:
            gap = upper / lower - 1 if lower > 0 else math.inf
        target = -1 if best.x is None else int(np.argmax(best.aims[best.aim].sum(0)))
        return Bracket(
            Standing.RIGOROUS,
            completeness,
            lower,
            upper,
            best.x,
            target,
            gap,
            gap <= CLOSED or upper - lower <= NOTHING * (1.0 + float(np.abs(self.layers.x).max(initial=0.0))),
            self.nodes,
            self.programs,
            seconds,
            self.tree,
        )
