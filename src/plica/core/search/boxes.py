"""Few inputs: the domain is bisected, each box cut down by the conditions, and small ones are searched by branches.

In a small box few units can change sides, so that the search over branches behind it is short. A pattern that is met in
several boxes is decided once, over the whole domain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from plica.core.search.blocks import FINAL
from plica.core.search.bounds import Bounds, bound, possible
from plica.core.search.contract import HalfSpaces, half_spaces, pressed, swept
from plica.core.search.found import Found

if TYPE_CHECKING:
    from plica.core.search.tree import Search

FEW_INPUTS = 8  # domains of more are not bisected
FEW_UNITS = 14  # undecided units up to which a box is searched by branches
TIED = 1e-9  # units that stay within this of 0 are not told apart by smaller boxes
DEEPEST = 40  # bisections per input after which a box is searched whatever is open in it
WORTH = 0.7  # a box cut down to less than this share is cut again before it is bisected


@dataclass(frozen=True, eq=False)
class Part:
    """A box with its share of the domain's volume, and how often it was bisected."""

    low: np.ndarray
    high: np.ndarray
    share: float
    depth: int


def bisects(search: Search, known: Bounds) -> bool:
    """Whether a search is by boxes: few inputs, a bounded domain, more open units than one tree should hold."""
    n = len(search.low)
    bounded = bool(np.isfinite(search.low).all() and np.isfinite(search.high).all())
    return n <= FEW_INPUTS and bounded and open_units(search, known) > FEW_UNITS


def open_units(search: Search, known: Bounds) -> int:
    """Units with more than one possible branch that smaller boxes may settle."""
    total = 0
    for name in search.graph.spans:
        if name not in known.below:
            continue
        below, above = known.below[name], known.above[name]
        op = search.net[name].op
        open_ = possible(op, below, above).sum(0) > 1  # type: ignore[arg-type]
        if len(open_) == len(below):
            open_ &= above - below > TIED * (1 + np.abs(above) + np.abs(below))
        total += int(open_.sum())
    return total


def by_boxes(search: Search) -> Iterator[Found]:
    """Yield every pattern with a point in the domain once; `search.tally.open_share` says how much is left.

    Raises
    ------
    BudgetReached
        When the time is up.
    """
    stack = [Part(search.low, search.high, 1.0, 0)]
    while stack:
        search.progress.check()
        part = stack.pop()
        search.tally.boxes += 1
        left = _cut(search, part)
        if left is None:
            search.tally.open_share -= part.share
            continue
        part, known, half = left
        if open_units(search, known) <= FEW_UNITS or part.depth >= DEEPEST * len(part.low):
            yield from search.descend(known, part.share)
            continue
        stack += _halves(search, part, half)


def _cut(search: Search, part: Part) -> tuple[Part, Bounds, HalfSpaces] | None:
    """The part cut down as long as that helps, its bounds and half-spaces; None when it is proven empty."""
    while True:
        known = bound(search.graph, part.low, part.high, progress=search.progress)
        if not known.feasible or not search.conditions.possible(known.below[FINAL], known.above[FINAL]):
            return None
        half = half_spaces(search.graph, known, search.conditions)
        sides = swept(half, part.low, part.high)
        sides = None if sides is None else pressed(half, *sides, search.progress)
        if sides is None:
            return None
        kept = _ratio(part, *sides)
        search.tally.open_share -= part.share * (1 - kept)
        part = Part(*sides, part.share * kept, part.depth)
        if kept > WORTH:
            return part, known, half


def _ratio(part: Part, low: np.ndarray, high: np.ndarray) -> float:
    """Share of a box's volume that is left; sides of no length do not count."""
    wide = part.high > part.low
    return float(np.prod((high - low)[wide] / (part.high - part.low)[wide]))


def _halves(search: Search, part: Part, half: HalfSpaces) -> list[Part]:
    """Two halves, across the side that the conditions feel most; the half of the witness is looked at first."""
    width = part.high - part.low
    felt = width * (np.abs(half.rows).sum(0) + TIED)
    j = int(felt.argmax())
    middle = 0.5 * (part.low[j] + part.high[j])
    high, low = part.high.copy(), part.low.copy()
    high[j] = low[j] = middle
    parts = [Part(part.low, high, 0.5 * part.share, part.depth + 1), Part(low, part.high, 0.5 * part.share,
                                                                          part.depth + 1)]  # fmt: skip
    own = search.witness
    return parts[::-1] if own is not None and float(own.entry(j)) <= middle else parts
