"""Uniform samples by hit-and-run, and projections on a plane by support lines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from plica.core.exact.integers import residual
from plica.core.polyhedron.decide import Facts
from plica.core.polyhedron.extent import Centre, Support, centre, hull_basis, largest_ball
from plica.core.progress import Progress
from plica.errors import SolverError

CHAINS = 256  # samples that are drawn side by side
RESOLUTION = 1e-13  # widths below this share of the coordinates are treated as zero


def sample(facts: Facts, n: int, seed: int, steps: int | None, progress: Progress) -> np.ndarray:
    """Draw points from a bounded polyhedron with points; see `Polyhedron.sample`."""
    start = centre(facts, progress).point
    d = int(facts.dimension)
    if d == 0 or n == 0:
        return np.tile(start, (n, 1))
    G, h = facts.G[~facts.implied], facts.h[~facts.implied]
    start, basis, rows, slack = _thick_part(G, h, start, hull_basis(facts), progress)
    if not basis.shape[1]:
        return np.tile(start, (n, 1))
    middle, stretch = _analytic_centre(rows / slack[:, None])  # around the start the polyhedron is rows u <= 1
    draws = _hit_and_run(rows @ stretch, slack - rows @ middle, n, seed, steps or 20 + 10 * d)
    return start + (middle + draws @ stretch.T) @ basis.T


def _thick_part(
    G: np.ndarray, h: np.ndarray, start: np.ndarray, basis: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centre, basis, unit rows and slacks without the directions in which floats cannot tell points apart.

    A slab narrower than the spacing of floats around it has an interior, but no two points across it: such directions
    are left out of the basis. They are spanned by the rows that hold the largest ball.
    """
    while True:
        spacing = RESOLUTION * (np.abs(start).max() + np.finfo(float).tiny)
        rows = G @ basis
        length = np.linalg.norm(rows, axis=1)
        moving = length > 1e-12 * np.linalg.norm(G, axis=1)
        rows = rows[moving] / length[moving, None]
        slack = np.maximum(residual(G[moving], start, h[moving]) / length[moving], 1e-3 * spacing)
        if not basis.shape[1]:
            return start, basis, rows, slack
        ball, multipliers = largest_ball(Centre(start, 0.0), rows, slack, basis, progress)
        if ball.radius > spacing:
            slack = np.maximum(residual(G[moving], ball.point, h[moving]) / length[moving], 1e-3 * spacing)
            return ball.point, basis, rows, slack
        thin = scipy.linalg.null_space(rows[multipliers > 1e-6 * multipliers.max()], rcond=1e-9)
        start, basis = ball.point, basis @ thin


def _analytic_centre(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimiser u of -sum log(1 - rows u), and the matrix that makes the barrier round there.

    Damped Newton steps from 0; both are affine invariant, so a thin polyhedron becomes a round one.
    """
    u = np.zeros(rows.shape[1])
    for _ in range(200):
        scaled = rows / (1.0 - rows @ u)[:, None]
        factor = scipy.linalg.qr(scaled, mode="r")[0][: len(u)]  # Hessian = factor' factor
        diagonal = np.abs(np.diag(factor))
        if len(factor) < len(u) or diagonal.min() <= 1e-15 * diagonal.max():
            raise SolverError("sample: the polyhedron is too thin for floats; scale its variables to similar widths.")
        half = scipy.linalg.solve_triangular(factor, scaled.sum(axis=0), trans="T")
        decrement = float(np.linalg.norm(half))
        u = u - scipy.linalg.solve_triangular(factor, half) / (1.0 if decrement < 0.25 else 1.0 + decrement)
        if decrement < 1e-6:
            break
    return u, scipy.linalg.solve_triangular(factor, np.eye(len(u)))


def _hit_and_run(rows: np.ndarray, slack: np.ndarray, n: int, seed: int, steps: int) -> np.ndarray:
    """Points of {w : rows w <= slack}, shape (n, d): many chains from 0, each used again after `steps` steps."""
    rng = np.random.default_rng(seed)
    chains = min(n, CHAINS)
    w, left = np.zeros((chains, rows.shape[1])), np.tile(slack, (chains, 1))
    draws = []
    for _ in range(-(-n // chains)):
        for _ in range(steps):
            direction = rng.standard_normal(w.shape)
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            speed = direction @ rows.T
            with np.errstate(divide="ignore", invalid="ignore"):
                reach = left / speed
            high = np.where(speed > 0, reach, np.inf).min(axis=1)
            low = np.where(speed < 0, reach, -np.inf).max(axis=1)
            # Not quite to the ends, so that rounding cannot leave the polyhedron.
            length = low + (high - low) * (1e-12 + (1.0 - 2e-12) * rng.random(chains))
            w = w + length[:, None] * direction
            left = np.maximum(left - length[:, None] * speed, 0.0)
        left = np.maximum(slack - w @ rows.T, 0.0)
        draws.append(w)
    return np.concatenate(draws)[:n]


def project(reach: Callable[[np.ndarray], Support], basis: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
    """Corners of the shadow {basis' x} in one or two dimensions; see `Polyhedron.project`."""
    if basis.shape[1] == 1:
        ends = [basis.T @ reach(sign * basis[:, 0]).point for sign in (-1.0, 1.0)]
        return np.array(ends)
    angles = np.array([0.0, 0.5, 1.0, 1.5]) * np.pi
    normals = np.column_stack([np.cos(angles), np.sin(angles)])
    corners = [basis.T @ reach(basis @ normal).point for normal in normals]
    size = 1.0 + float(np.abs(corners).max())
    todo = [(corners[k], corners[(k + 1) % 4]) for k in range(4)]
    while todo:
        a, b = todo.pop()
        edge = b - a
        length = float(np.linalg.norm(edge))
        if length <= tolerance * size:
            continue
        normal = np.array([edge[1], -edge[0]]) / length  # outward, for corners in counter-clockwise order
        c = basis.T @ reach(basis @ normal).point
        if normal @ (c - a) > tolerance * size:
            corners.append(c)
            todo += [(a, c), (c, b)]
    return hull(np.array(corners), tolerance * size)


def hull(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Convex hull of points in the plane, counter-clockwise from the lowest leftmost, without points on edges."""
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    close = np.linalg.norm(np.diff(points, axis=0), axis=1) <= tolerance
    points = points[np.concatenate([[True], ~close])]
    if len(points) < 3:
        return points
    chains = []
    for order in (points, points[::-1]):
        chain: list[np.ndarray] = []
        for p in order:
            while len(chain) > 1 and _right_of(chain[-2], p, chain[-1]) <= tolerance:
                chain.pop()
            chain.append(p)
        chains += chain[:-1]
    return np.array(chains)


def _right_of(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Distance of c to the right of the line from a to b."""
    edge = b - a
    length = float(np.hypot(*edge))
    return float((edge[1] * (c - a)[0] - edge[0] * (c - a)[1]) / length) if length > 0 else 0.0
