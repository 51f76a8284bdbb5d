"""What a search finds, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np

from plica.core.progress import Progress
from plica.core.search.bounds import Taken
from plica.core.search.decided import ExactPiece
from plica.errors import SolverError

Point = tuple[Fraction, ...]


@dataclass(frozen=True, eq=False)
class Found:
    """A pattern whose half-open piece has a point, proven.

    Attributes
    ----------
    branches : dict of ndarray
        Flat branches of every choice.
    given : tuple of Fraction, optional
        A point in the half-open piece, exactly.
    piece : ExactPiece, optional
        The exact rows, where they were needed.
    measured : int, optional
        Dimension of the closed piece, where the proof gives it.
    measure : callable, optional
        Finds the dimension out within a budget; None when that fails.
    close : callable, optional
        Floats near an exact point, of which a proof says that it exists.
    settle : callable, optional
        Makes an exact point of these floats; None when it fails.
    """

    branches: Taken
    given: Point | None = None
    piece: ExactPiece | None = None
    measured: int | None = None
    measure: Callable[[Progress], int | None] | None = field(default=None, repr=False)
    close: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    settle: Callable[[np.ndarray], Point | None] | None = field(default=None, repr=False)

    @property
    def key(self) -> bytes:
        """Equal exactly for equal patterns."""
        return b"".join(b.astype(np.int32).tobytes() for b in self.branches.values())

    @cached_property
    def dimension(self) -> int | None:
        """Dimension of the closed piece, proven; None where it is not."""
        return self._dimension(Progress())

    def dimension_within(self, progress: Progress) -> int | None:
        """The dimension, found out within a budget and kept; `BudgetReached` when that ends first."""
        if "dimension" not in self.__dict__:
            self.__dict__["dimension"] = self._dimension(progress)
        return self.dimension

    def _dimension(self, progress: Progress) -> int | None:
        return self.measured if self.measured is not None or self.measure is None else self.measure(progress)

    @cached_property
    def near(self) -> np.ndarray:
        """Floats at or near a point of the half-open piece, flat."""
        if self.given is not None or self.close is None:
            return np.array([float(v) for v in self.point])
        return self.close()

    @cached_property
    def point(self) -> Point:
        """A point of the half-open piece, exactly.

        Raises
        ------
        SolverError
            When rounding the proven point to a rational one failed.
        """
        if self.given is not None:
            return self.given
        point = self.settle(self.near) if self.settle is not None else None
        if point is None:
            raise SolverError("no exact point of this piece was found, though one exists; `point` has floats near it.")
        return point


@dataclass(eq=False)
class Tally:
    """What a search did, and what it could not prove."""

    nodes: int = 0
    programs: int = 0
    pruned: int = 0
    cuts: int = 0
    ties: int = 0  # parts closed by the exact argument about the witness
    unproven: int = 0  # parts of the tree closed on the word of a float solver
    undecided: list[Taken] = field(default_factory=list)  # patterns about which nothing is known
    complete: bool = False
    boxes: int = 0  # that were looked at
    open_share: float = 1.0  # of the domain's volume, and of the tree over a box (children share alike), not closed


def within(point: Point, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether an exact point lies in a box; rounding keeps the order, so floats settle all but the sides themselves."""
    near = np.array([float(v) for v in point])
    if (near < low).any() or (near > high).any():
        return False
    for i in np.flatnonzero((near == low) | (near == high)).tolist():
        p = point[i]
        exact = (p.numerator, p.denominator) == float(near[i]).as_integer_ratio()  # then it is on the side
        if not exact and not low[i] <= p <= high[i]:
            return False
    return True
