"""Bounded domains with their vertices: where the cells of a solid begin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import lcm

import numpy as np

from plica.analyses.regions.solid_exact import Point, Solid, reduced
from plica.core.domain import Ball, Box
from plica.core.exact.columns import to_integers
from plica.core.polyhedron import Polyhedron, corners
from plica.errors import ArgumentError, DataError

MAX_CORNERS = 20_000


@dataclass(frozen=True, eq=False)
class Domain:
    """A bounded domain with an interior.

    Attributes
    ----------
    rows : ndarray, shape (m, d + 1)
        (a, b) with a . x + b >= 0 inside, exactly.
    size : ndarray, shape (d,)
        Upper bounds of |x_k|.
    solid : Solid
        Its vertices; row i is named i.
    ball : Ball, optional
        Only cells that meet its interior count.
    projective : bool
        The variables are y, in the simplex y >= 0, sum y <= 1, and the network reads y / (1 - sum y).
    integers : tuple of integer rows, optional
        Positive multiples of the exact rows, where `rows` are rounded, with entries up to 1.
    """

    rows: np.ndarray
    size: np.ndarray
    solid: Solid
    ball: Ball | None = None
    projective: bool = False
    integers: tuple[Point, ...] | None = None


def domain_of(where: Box | Polyhedron | Ball, d: int) -> Domain:
    """Vertices of a box or polyhedron in d variables, or of a box around a ball.

    Raises
    ------
    ArgumentError, DataError
        When it is not bounded, has no interior, or lies in another number of variables.
    """
    if where.ambient != d:
        raise ArgumentError(f"domain: it lies in {where.ambient} variables, the network reads {d}.")
    if isinstance(where, Ball):
        found = _ball(where)
    else:
        found = _box(where) if isinstance(where, Box) else _polyhedron(where)
    if not found.solid.points:
        raise DataError("domain: it has no vertices.")
    return found


def _ball(ball: Ball) -> Domain:
    if ball.radius == 0:
        raise DataError("domain: the ball has radius 0, so it has no interior; give it a positive radius.")
    if ball.norm != 2.0:
        return _polyhedron(ball.polyhedron())
    return replace(_box(ball.box()), ball=ball)


def _box(box: Box) -> Domain:
    if not (np.isfinite(box.lower).all() and np.isfinite(box.upper).all()):
        raise ArgumentError("domain: the box is unbounded; give every variable a lower and an upper bound.")
    if (box.lower == box.upper).any():
        raise DataError(
            f"domain: the box is flat in {int((box.lower == box.upper).sum())} variables; put the network on the slice "
            "of the others, net.on(Plane(origin, basis, window))."
        )
    d = box.ambient
    if d > 14:
        raise ArgumentError(
            f"domain: a box in {d} variables has 2^{d} corners; count its regions, or put the network on a slice."
        )
    eye = np.eye(d)
    rows = np.vstack([np.column_stack([eye, -box.lower]), np.column_stack([-eye, box.upper])])
    sides = [[Fraction(float(v)) for v in side] for side in (box.lower, box.upper)]
    points, tight = [], []
    for choice in product((0, 1), repeat=d):
        points.append(homogeneous([sides[c][k] for k, c in enumerate(choice)]))
        tight.append(sum(1 << (k + d * c) for k, c in enumerate(choice)))
    size = np.maximum(np.abs(box.lower), np.abs(box.upper))
    return Domain(rows, size, Solid(tuple(points), tuple(tight), tuple(range(2 * d))))


def homogeneous(point: list[Fraction]) -> tuple[int, ...]:
    """Integers (x s, s) of a rational point."""
    scale = lcm(*(v.denominator for v in point))
    return reduced([int(v * scale) for v in point] + [scale])


def _polyhedron(where: Polyhedron) -> Domain:
    dimension = int(where.dimension())
    if dimension < where.ambient:
        what = "empty" if dimension < 0 else f"flat, of dimension {dimension} in {where.ambient} variables"
        raise DataError(f"domain: the polyhedron is {what}; put the network on the slice that it spans.")
    if not where.is_bounded():
        raise ArgumentError("domain: the polyhedron is unbounded; intersect it with a box.")
    found = corners.corners(where.facts, MAX_CORNERS)
    exact = [found.chart.point(t, s) for t, s in found.generators]
    mask = (1 << len(found.rows)) - 1
    size = np.array([float(max(abs(x[k]) for x in exact)) for k in range(where.ambient)])
    rows = np.column_stack([-where.G, where.h])[found.rows]
    solid = Solid(
        tuple(homogeneous(x) for x in exact), tuple(t & mask for t in found.tight), tuple(range(len(found.rows)))
    )
    return Domain(rows, np.nextafter(size, np.inf), solid)


def is_bounded(where: Box | Polyhedron | Ball | None) -> bool:
    """Whether a domain is bounded; None is all of space."""
    if isinstance(where, Box):
        return bool(np.isfinite(where.lower).all() and np.isfinite(where.upper).all())
    return where is not None and (isinstance(where, Ball) or bool(where.is_bounded()))


def exact_row(domain: Domain, i: int) -> tuple[int, ...]:
    """Row i of a domain, times a positive number: integers."""
    if domain.integers is not None:
        return domain.integers[i]
    return tuple(int(v) for v in to_integers(domain.rows[i])[0])
