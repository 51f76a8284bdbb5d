"""How far a polyhedron reaches: support, bounding box, centre, nearest point."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from plica.core.exact.integers import dot_signs, proves_at_most, residual, solve_near
from plica.core.polyhedron.cone import partition
from plica.core.polyhedron.decide import Facts
from plica.core.progress import Progress
from plica.core.result import Standing
from plica.core.solve import linear_program
from plica.errors import SolverError

EXACT_AT_MOST = 20_000  # entries of the rows up to which the optimum of a linear program is proven


class Support(NamedTuple):
    """Largest value of a linear function.

    Attributes
    ----------
    value : float
        inf when unbounded, -inf on an empty polyhedron.
    point : ndarray, shape (n,)
        Where it is attained (rounded to floats), NaN where it is not.
    standing : Standing
        CERTIFIED: the value is the exact maximum, rounded once. NUMERICAL: within the solver's tolerance.
    """

    value: float
    point: np.ndarray
    standing: Standing


class Centre(NamedTuple):
    """Centre and radius of a largest ball inside a polyhedron, in its affine hull.

    Attributes
    ----------
    point : ndarray, shape (n,)
    radius : float
        0 for a single point, inf when there is no largest ball.
    """

    point: np.ndarray
    radius: float


def support(facts: Facts, direction: np.ndarray, progress: Progress, *, prove: bool = True) -> Support:
    """Maximise ``direction.x``; see `Polyhedron.support`."""
    G, h, E, e = facts.G, facts.h, facts.E, facts.e
    nowhere = np.full(G.shape[1], np.nan)
    facts.decide(progress)
    if facts.empty:
        return Support(-np.inf, nowhere, Standing.CERTIFIED)
    best = linear_program(-direction, G, h, E, e, progress=progress)
    if best.status == "optimal":
        small = prove and (len(h) + len(e)) * G.shape[1] <= EXACT_AT_MOST
        proven = _prove(facts, direction, best.x, best.dual, best.equality_dual) if small else None
        if proven is not None:
            return proven
        if not small or not _escapes(facts, direction, progress):
            return Support(-best.value, best.x, Standing.NUMERICAL)
    elif not _escapes(facts, direction, progress):
        raise SolverError(
            f"HiGHS calls this linear program {best.status}, exact arithmetic does not; scale the rows alike."
        )
    return Support(np.inf, nowhere, Standing.CERTIFIED)


def _escapes(facts: Facts, direction: np.ndarray, progress: Progress) -> bool:
    """Whether ``direction.d > 0`` for some recession direction d, exactly."""
    rising = partition(np.vstack([facts.G, -direction]), facts.E, progress)
    return not rising.implied[-1]


def _prove(facts: Facts, c: np.ndarray, x: np.ndarray, y: np.ndarray, mu: np.ndarray) -> Support | None:
    """Exact maximum from the rows with positive multipliers: a point on them, and multipliers that add up to c."""
    G, h, E, e = facts.G, facts.h, facts.E, facts.e
    tight = np.flatnonzero(y > 1e-9 * y.max(initial=0.0))
    rows = np.vstack([G[tight], E])
    point = solve_near(rows, np.concatenate([h[tight], e]), x)
    weights = solve_near(rows.T, c, np.concatenate([y[tight], mu]))
    if point is None or weights is None or (dot_signs(G, point, h) > 0).any():
        return None
    full = [Fraction(0)] * len(h)
    for place, weight in zip(tight.tolist(), weights, strict=False):
        full[place] = weight
    value = sum((Fraction(a) * b for a, b in zip(c.tolist(), point, strict=True)), Fraction(0))
    if not proves_at_most(value, c, (G, h, E, e), full, weights[len(tight) :]):
        return None
    return Support(float(value), np.array([float(v) for v in point]), Standing.CERTIFIED)


def bounding_box(facts: Facts, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Smallest box around the polyhedron; see `Polyhedron.bounding_box`."""
    n = facts.G.shape[1]
    unit = np.eye(n)
    lower = np.array([-support(facts, -unit[i], progress).value for i in range(n)])
    upper = np.array([support(facts, unit[i], progress).value for i in range(n)])
    return lower, upper


def hull_basis(facts: Facts) -> np.ndarray:
    """Orthonormal float basis of the affine hull's directions, shape (n, dimension)."""
    n, d = facts.G.shape[1], int(facts.dimension)
    rows = np.vstack([facts.E, facts.G[facts.implied]])
    if d == n:
        return np.eye(n)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.linalg.svd(rows / np.where(length > 0, length, 1.0))[2][n - d :].T


def centre(facts: Facts, progress: Progress) -> Centre:
    """Chebyshev centre inside the affine hull; see `Polyhedron.centre`.

    The linear program is shifted to an exact interior point and scaled by its distance to the rows, so that slabs of
    any width look alike to the solver; when that distance proves much too small, once more from the point found.
    """
    facts.decide(progress)
    start = facts.inner_point
    found = Centre(np.array([float(v) for v in start]), 0.0)
    if int(facts.dimension) == 0:
        return found
    basis = hull_basis(facts)
    G, h = facts.G[~facts.implied], facts.h[~facts.implied]
    length = np.linalg.norm(G @ basis, axis=1)
    moving = length > 1e-12 * np.linalg.norm(G, axis=1)  # the other rows are constant on the hull
    G, h, length = G[moving], h[moving], length[moving]
    if not len(h):
        return Centre(found.point, np.inf)
    slack = residual(G, list(start), h) / length
    for _ in range(2):
        unit, before = float(slack.min()), found
        found, _ = largest_ball(before, (G @ basis) / length[:, None], slack, basis, progress)
        slack = residual(G, found.point, h) / length
        if not unit < 1e-3 * found.radius < np.inf or slack.min() <= unit:
            return found
    return found


def largest_ball(
    start: Centre, rows: np.ndarray, slack: np.ndarray, basis: np.ndarray, progress: Progress
) -> tuple[Centre, np.ndarray]:
    """Largest ball, in units of the start's distance to the nearest row; `rows` have length 1 in the hull.

    Also returns the multipliers of the rows: positive ones belong to rows between which the ball is stuck.
    """
    unit = float(slack.min())
    if unit < 1e-290:  # the width of the polyhedron is below what floats can scale
        return Centre(start.point, unit), (slack <= unit).astype(np.float64)
    d = basis.shape[1]
    cost = np.concatenate([np.zeros(d), [-1.0]])
    room = np.minimum(slack / unit, 1e15)
    best = linear_program(cost, np.column_stack([rows, np.ones(len(rows))]), room, progress=progress)
    if best.status != "optimal":
        return Centre(start.point, np.inf), np.zeros(len(rows))
    return Centre(start.point + basis @ best.x[:d] * unit, float(best.x[d] * unit)), best.dual
