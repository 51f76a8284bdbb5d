"""Nearest and farthest inputs over a whole preimage: every piece is looked at, within the budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plica.analyses.preimage.union_piece import UnionPiece
from plica.analyses.preimage.union_set import Preimage
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.core.solve import linear_program, nearest_point
from plica.errors import BudgetReached, SolverError

ROUNDS = 60  # of adding violated rows to one projection
MISSED = 1e-9  # a row of length 1 missed by less is met
CORNERS = 6  # dimensions up to which the farthest point is taken from the vertices
STARTS = 4  # ascents for a farthest point in more dimensions
STEPS = 30


@dataclass(frozen=True)
class Extreme:
    """A nearest or farthest point of a union.

    Attributes
    ----------
    point : ndarray, shape (n,)
    distance : float
    bound : float
        No point of the union is nearer (or farther), as far as floats tell; 0 or inf where nothing is known.
    pieces : int
        Looked at.
    completeness : Completeness
    """

    point: np.ndarray
    distance: float
    bound: float
    pieces: int
    completeness: Completeness


def nearest(union: Preimage, goal: np.ndarray, start: np.ndarray, progress: Progress) -> Extreme:
    """The point of the union that is nearest to a goal; `start` is a point of the union."""
    best, least, count = start, float(np.linalg.norm(start - goal)), 0
    skipped = False
    for piece in union.pieces():
        count += 1
        progress.report("impostor", count, None)
        try:
            point = _project(piece, goal, progress)
        except SolverError:
            point, skipped = None, True
        except BudgetReached:
            skipped = True
            break
        if point is not None and np.linalg.norm(point - goal) < least:
            best, least = point, float(np.linalg.norm(point - goal))
    known = union.is_complete and not skipped
    return Extreme(best, least, least if known else 0.0, count, _ending(union, skipped))


def farthest(union: Preimage, goal: np.ndarray, start: np.ndarray, progress: Progress) -> Extreme:
    """The point of the union that is farthest from a goal; the domain must be bounded.

    Up to six inputs the vertices decide, and a piece of one point decides itself; above, linear programs climb from
    several starts, and only the distance to the farthest corner of the domain is known not to be exceeded.
    """
    best, most, count = start, float(np.linalg.norm(start - goal)), 0
    exact = True
    for piece in union.pieces():
        count += 1
        progress.report("impostor", count, None)
        try:
            points, all_of_them = _far_points(piece, goal, count, progress)
        except BudgetReached:
            exact = False
            break
        exact &= all_of_them
        for point in points:
            if np.linalg.norm(point - goal) > most:
                best, most = point, float(np.linalg.norm(point - goal))
    box = union.question.domain
    assert box is not None
    corner = float(np.linalg.norm(np.maximum(np.abs(box.lower - goal), np.abs(box.upper - goal))))
    known = union.is_complete and exact
    ending = _ending(union, not exact)
    return Extreme(best, most, most if known else corner, count, ending)


def _far_points(
    piece: UnionPiece, goal: np.ndarray, seed: int, progress: Progress
) -> tuple[np.ndarray | list[np.ndarray], bool]:
    """Points of a piece among which the farthest may be, and whether it surely is."""
    if len(goal) <= CORNERS:
        body = piece.polyhedron()
        body.facts.decide(progress)
        return body.vertices(), True
    if piece.dimension == 0:
        return [piece.point], True
    return _climbs(piece, goal, seed, progress), False


def _ending(union: Preimage, partly: bool) -> Completeness:
    if union.is_complete:
        return Completeness.BUDGET if partly else Completeness.COMPLETE
    return union.completeness


def _project(piece: UnionPiece, goal: np.ndarray, progress: Progress) -> np.ndarray | None:
    """Nearest point of a closed piece: rows that are violated are added until none is."""
    G, h, E, e = piece.own_rows()
    bounds = None if piece.domain is None else (piece.domain.lower, piece.domain.upper)
    rows = np.zeros(0, dtype=int)
    for _ in range(ROUNDS):
        solution = nearest_point(goal, G[rows], h[rows], E, e, bounds=bounds, progress=progress)
        if solution.status != "optimal":
            return None
        excess = G @ solution.x - h
        violated = np.setdiff1d(np.flatnonzero(excess > MISSED * (1 + np.abs(h))), rows)
        if not len(violated):
            return solution.x
        rows = np.sort(np.concatenate([rows, violated[np.argsort(-excess[violated])][: len(goal)]]))
    return None


def _climbs(piece: UnionPiece, goal: np.ndarray, seed: int, progress: Progress) -> list[np.ndarray]:
    """Vertices at which no neighbour is farther, by linear programs along the way from the goal."""
    G, h, E, e = piece.own_rows()
    bounds = None if piece.domain is None else (piece.domain.lower, piece.domain.upper)
    rng = np.random.default_rng(seed)
    out = []
    for k in range(STARTS):
        direction = piece.point - goal if k == 0 else rng.normal(size=len(goal))
        last = -np.inf
        for _ in range(STEPS):
            found = linear_program(-direction, G, h, E, e, bounds=bounds, progress=progress)
            if found.status != "optimal" or np.linalg.norm(found.x - goal) <= last + 1e-9:
                break
            last = float(np.linalg.norm(found.x - goal))
            out.append(found.x)
            direction = found.x - goal
    return out
