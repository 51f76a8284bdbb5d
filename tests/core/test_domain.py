"""Boxes, balls, planes and segments."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from plica.core.domain import Ball, Box, Plane, Segment
from plica.errors import ArgumentError, DataError, ShapeError


def test_box():
    box = Box([0.0, -1.0, 2.0], [1.0, np.inf, 2.0])
    assert box.contains([0.0, 5.0, 2.0]) and not box.contains([0.0, 5.0, np.nextafter(2, 3)])
    body = box.polyhedron()
    assert body.dimension() == 2 and not body.is_bounded() and len(body.e) == 1
    X = np.random.default_rng(0).integers(-2, 4, (200, 3)).astype(float)
    assert (box.contains(X) == body.contains(X)).all()
    with pytest.raises(ArgumentError, match="unbounded"):
        box.sample(1)
    assert Box(np.zeros((3, 2, 2)), 1.0).ambient == 12
    huge = Box([-1.7e308], [1.7e308]).sample(50)
    assert np.isfinite(huge).all()
    assert (Box([1.0], [np.nextafter(1, 2)]).sample(50) >= 1).all()
    assert Box([0.0, 0.0], [1.0, 2.0]).sample(4000, seed=3).mean(0) == pytest.approx([0.5, 1.0], abs=0.03)


def test_box_errors():
    with pytest.raises(ArgumentError, match="variable 1"):
        Box([0.0, 2.0], [1.0, 1.0])
    with pytest.raises(DataError, match="NaN"):
        Box([np.nan], [1.0])
    with pytest.raises(ShapeError, match="last axis"):
        Box([0.0], [1.0]).contains([0.0, 1.0])


def inside(centre, radius, norm, x) -> bool:
    steps = [abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(centre, x, strict=True)]
    if norm == 2:
        return sum(s * s for s in steps) <= Fraction(radius) ** 2
    return (sum(steps) if norm == 1 else max(steps)) <= Fraction(radius)


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_ball_is_exact_at_the_boundary(norm):
    rng = np.random.default_rng(0)
    for centre, radius in (
        ([0.0, 0.0], 5.0),
        ([0.1, 0.2], 0.3),
        ([1e10, 0.0], 1e-3),
        ([0.0, 0.0], 0.0),
        ([0, 0], 1e-200),
    ):
        ball = Ball(centre, radius, norm)
        X = ball.centre + radius * rng.integers(-5, 6, (150, 2)) / 5.0
        X = np.vstack([X, np.nextafter(X, 9e9), np.nextafter(X, -9e9), [[3.0, 4.0], [4.0, np.nextafter(3, 4)]]])
        assert ball.contains(X).tolist() == [inside(ball.centre, radius, norm, x) for x in X]
        assert ball.contains(X[0]) == inside(ball.centre, radius, norm, X[0])
        assert ball.box().contains(X[ball.contains(X)]).all()


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_ball_samples_are_uniform(norm):
    X = Ball([1.0, -1.0, 0.0], 2.0, norm).sample(6000, seed=1) - [1.0, -1.0, 0.0]
    size = np.linalg.norm(X, ord=norm, axis=1) / 2.0
    assert size.max() <= 1 + 1e-12
    for r in (0.3, 0.6, 0.9):
        assert (size < r).mean() == pytest.approx(r**3, abs=0.025)
    assert X.mean(0) == pytest.approx(np.zeros(3), abs=0.06)


def test_ball_polyhedra():
    cross = Ball(np.zeros(3), 1.0, 1).polyhedron()
    assert len(cross.vertices()) == 6 and cross.volume() == pytest.approx(8 / 6)
    assert Ball(np.zeros(3), 1.0, np.inf).polyhedron().volume() == 8.0
    assert Ball(np.ones(2), 0.0, np.inf).polyhedron().dimension() == 0
    with pytest.raises(ArgumentError, match="round"):
        Ball(np.zeros(2), 1.0).polyhedron()
    with pytest.raises(ArgumentError, match="facets"):
        Ball(np.zeros(40), 1.0, 1).polyhedron()
    with pytest.raises(ArgumentError, match="radius"):
        Ball(np.zeros(2), -1.0)
    with pytest.raises(ArgumentError, match="norm"):
        Ball(np.zeros(2), 1.0, 3)


def test_plane_through_points():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((3, 7))
    plane = Plane.through(points, margin=0.25)
    assert plane.basis.T @ plane.basis == pytest.approx(np.eye(2))
    assert plane.contains(points).all() and plane.point(plane.coordinates(points)) == pytest.approx(points)
    s = plane.coordinates(points)
    assert plane.window.lower == pytest.approx(s.min(0) - 0.25 * np.ptp(s, axis=0))
    assert plane.contains(plane.sample(50)).all() and not plane.contains(points + 0.1 * rng.standard_normal(7)).any()
    assert plane.coordinates(points)[1, 0] > 0 == pytest.approx(plane.coordinates(points)[1, 1])  # to the second point
    assert Plane.through(np.zeros((2, 2, 2)) + np.array([0.0, 1.0])[:, None, None]).ambient == 4
    with pytest.raises(DataError, match="do not span"):
        Plane.through(np.array([[0.0, 0], [1, 1], [2, 2]]))
    with pytest.raises(DataError, match="do not span"):
        Plane.through(np.zeros((2, 3)))
    with pytest.raises(DataError, match="do not span"):
        Plane.through(np.zeros((1, 3)))


def test_plane_without_window():
    plane = Plane(np.zeros(3), np.eye(3)[:, :2])
    assert plane.polyhedron().dimension() == 2 and plane.contains([5.0, 5.0, 0.0])
    with pytest.raises(ArgumentError, match="window"):
        plane.sample(1)
    with pytest.raises(ShapeError, match="one row"):
        Plane(np.zeros(3), np.eye(2))
    with pytest.raises(ShapeError, match="window"):
        Plane(np.zeros(3), np.eye(3), Box([0.0], [1.0]))


def test_segment():
    a, b = np.array([0.1, 0.2]), np.array([0.3, 0.7])
    segment = Segment(a, b)
    assert (segment.point(0.0) == a).all() and (segment.point(1.0) == b).all()
    assert segment.contains(segment.sample(20)).all() and not segment.contains(b + (b - a) * 1e-3)
    assert segment.plane().point([1.0]) == pytest.approx(b) and segment.polyhedron().volume() == 1.0
    assert Segment(a, a).contains(a) and not Segment(a, a).contains(b)
    with pytest.raises(ShapeError, match="equal"):
        Segment(a, np.zeros(3))
