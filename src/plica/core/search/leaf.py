"""A whole pattern: whether its half-open piece has a point."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from plica.core.choice import Piecewise
from plica.core.domain import Box
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.search.beside import Beside
from plica.core.search.blocks import Blocks
from plica.core.search.bounds import Taken, tables
from plica.core.search.conditions import Conditions
from plica.core.search.decided import exact_piece
from plica.core.search.found import Found
from plica.core.search.inside import affine_values, proven_point
from plica.core.search.leaf_program import PatternProgram, pattern_program
from plica.core.search.point import exact_point
from plica.core.search.reduced import Reduced
from plica.core.search.relaxation import Literal, Relaxation
from plica.core.search.shallow import DEEP
from plica.errors import SolverError

EXACT_COLUMNS = 64  # inputs up to which every pattern is decided by its exact rows
ROOM = (1e-4, 1e-6)  # distances from the weak sides that are tried for a point of a whole pattern
SHARE = 2e-4  # of the box: the room that is tried without a program


class Leaves:
    """Decides whole patterns, exactly or by a proven point.

    Parameters
    ----------
    graph : Blocks
    conditions : Conditions
    domain : Box, optional
    small : Reduced, optional
        The network behind its first rows, in which the relaxation is.
    progress : Progress, optional
        Its seconds end an exact decision with `BudgetReached`.
    """

    def __init__(
        self,
        graph: Blocks,
        conditions: Conditions,
        domain: Box | None,
        small: Reduced | None,
        progress: Progress | None = None,
    ) -> None:
        self.graph, self.conditions, self.domain, self.small = graph, conditions, domain, small
        self.progress = progress or Progress()
        n = graph.spans[INPUT].stop
        self.box = (np.full(n, -np.inf), np.full(n, np.inf)) if domain is None else (domain.lower, domain.upper)
        self.exactly = n <= EXACT_COLUMNS
        self.boxed = bool(np.isfinite(self.box).all()) and not self.exactly
        self.beside = Beside(graph, small)

    def decide(self, branches: Taken, relaxation: Relaxation, x: np.ndarray) -> Found | bool | None:
        """What is known of a pattern: a found piece, False when it has no point, None when nothing is known."""
        if self.exactly:
            piece = exact_piece(self.graph.network, branches, self.conditions, self.domain)
            try:
                piece.prove(self.progress)
                return False if piece.is_empty else Found(branches, tuple(piece.point), piece)
            except SolverError:
                return None
        if self.boxed:
            known = self.beside.ahead.pop(Found(branches).key, None)
            return self._boxed(branches) if known is None else known
        guess = None
        for guess in self._guesses(branches, relaxation, x):
            found = self._proven(branches, guess)
            if found is not None:
                return found
        if guess is None:
            return None
        point = self._settle(branches, self._lifted(guess))
        return None if point is None else self.given(branches, point)

    def _boxed(self, branches: Taken) -> Found | bool | None:
        """By programs in the input's own variables."""
        program = pattern_program(self.graph, branches, self.conditions, self.box, self.progress)
        for start in self._starts():
            found = self._moved(branches, program, start)
            if found is not None:
                return found
        guess = program.inner()
        empty = False
        if guess is None:
            guess, empty = program.strict()
        if guess is None:
            return False if empty else None
        self.beside.remember(branches, guess)
        found = self._proven(branches, guess, program)
        if found is None:
            point = self._settle(branches, guess)
            return None if point is None else self.given(branches, point)
        return found

    def _starts(self) -> Iterator[np.ndarray]:
        """Points from which a piece may be reached: of the last one found, and the last one near the relaxation."""
        if self.beside.recent:
            yield self.beside.recent[0].point
        if self.small is not None and len(self.small.x):
            yield self.small.x

    def _moved(self, branches: Taken, program: PatternProgram, start: np.ndarray) -> Found | None:
        """A found piece, by projections of a point of another."""
        guess = program.moved(start, SHARE)
        found = None if guess is None else self._proven(branches, guess, program)
        if guess is not None and found is not None:
            self.beside.remember(branches, guess)
        return found

    def point(self, taken: Taken, literal: Literal, relaxation: Relaxation) -> np.ndarray | None:
        """A point of a node, in the relaxation's variables: of a piece beside one that was found before.

        The piece is given when its turn comes. None where no point is found so.
        """
        pattern = self.beside.across(taken, literal) if self.boxed else None
        if pattern is None:
            return None
        branches, start = pattern
        program = pattern_program(self.graph, branches, self.conditions, self.box, self.progress)
        found = self._moved(branches, program, start)
        if found is None:
            return None
        self.beside.ahead[found.key] = found
        return self.beside.as_relaxed(relaxation)

    def given(self, branches: Taken, point: tuple[Fraction, ...]) -> Found:
        """A found piece with an exact point; its dimension is found out when it is asked for."""
        near = np.array([float(v) for v in point])

        def measure(progress: Progress) -> int | None:
            return interior(self.graph, branches, self.conditions, self.box, near, progress=progress)

        return Found(branches, point, measure=None if self.exactly else measure)

    def _proven(self, branches: Taken, guess: np.ndarray, program: PatternProgram | None = None) -> Found | None:
        """A found piece, when a point near the guess is proven."""
        small = self.small
        if small is not None and small.free:
            infinite = np.full(len(guess), np.inf)
            inside = proven_point(small.graph, branches, self.conditions, (-infinite, infinite), guess)
            more = self.graph.spans[INPUT].stop - len(guess)
        else:
            maps = None if program is None else program.maps
            inside = proven_point(self.graph, branches, self.conditions, self.box, guess, maps=maps)
            more = 0
        if inside is None:
            return None
        return self.near(branches, inside.near, None if inside.dimension is None else inside.dimension + more)

    def near(self, branches: Taken, guess: np.ndarray, dimension: int | None) -> Found:
        """A found piece of which a point near the guess is proven; the exact point is made when it is asked for."""
        return Found(
            branches,
            measured=dimension,
            close=lambda: self._lifted(guess),
            settle=lambda u: self._settle(branches, u),
        )

    def _lifted(self, guess: np.ndarray) -> np.ndarray:
        """A guess as an input."""
        small = self.small
        if small is None or not small.free:
            return guess
        return small.lifted(guess)

    def _settle(self, branches: Taken, u: np.ndarray) -> tuple[Fraction, ...] | None:
        return exact_point(self.graph.network, branches, self.conditions, self.domain, u)

    # -- guesses -----------------------------------------------------------------------------------------------------

    def _guesses(self, branches: Taken, relaxation: Relaxation, x: np.ndarray) -> Iterator[np.ndarray]:
        """Float inputs that may lie in the piece; those far from being tied first where they cost a program."""
        small, span = self.small, relaxation.graph.spans[INPUT]
        if small is not None and small.free and not np.isnan(x[-1]):
            yield self._deep(branches, relaxation, x)[span]
        for room in ROOM:
            found = relaxation.inner_point(branches, room)
            if found is None:
                continue
            yield (found if small is None else self._deep(branches, relaxation, found))[span]
        if small is None and not np.isnan(x[-1]):
            yield x[span]

    def _deep(self, branches: Taken, relaxation: Relaxation, x: np.ndarray) -> np.ndarray:
        """The point with every unit that is off far below its knot; t is free."""
        x = x.copy()
        for name, reads in relaxation.reads.items():
            if name not in branches:
                continue
            op = relaxation.graph.network[name].op
            if not isinstance(op, Piecewise):
                continue
            knots, slopes, _ = tables(op)
            own = branches[name]
            units = np.flatnonzero((own == 0) & (slopes[0] == 0))
            columns = relaxation.inputs[name][units]
            units, columns = units[columns >= 0], columns[columns >= 0]
            z = reads.start + units
            wanted = knots[0, units] - DEEP
            x[columns] += wanted - x[z]
            x[z] = wanted
        return x


def interior(
    graph: Blocks,
    branches: Taken,
    conditions: Conditions,
    box: tuple[np.ndarray, np.ndarray],
    near: np.ndarray,
    *,
    progress: Progress,
) -> int | None:
    """Dimension of a piece, proven by a point at which all its inequalities are strict; None when none is found.

    First by projections of a point of the piece, then by a program, in the part of the box around the point.

    Raises
    ------
    BudgetReached
    """
    maps = affine_values(graph, branches, progress)
    inside = proven_point(graph, branches, conditions, box, near, consistent=True, maps=maps)
    if inside is not None and inside.dimension is not None:
        return inside.dimension
    around = 1 + np.abs(near)
    part = np.maximum(box[0], near - around), np.minimum(box[1], near + around)
    program = pattern_program(graph, branches, conditions, part, progress)
    for way in (lambda: program.moved(near, SHARE), program.inner):
        guess = way()
        if guess is None:
            continue
        progress.check()
        inside = proven_point(graph, branches, conditions, box, guess, consistent=True, maps=program.maps)
        if inside is not None and inside.dimension is not None:
            return inside.dimension
    return None
