"""Vertices, facets, volumes, samples and shadows of polyhedra, against brute force in fractions and known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from oracles.polyhedra import Brute, cases
from plica.core.polyhedron import Polyhedron, cone, corners, extent
from plica.core.result import Standing
from plica.errors import DataError


@pytest.fixture(params=["rational pivots", "float guess"])
def route(request, monkeypatch):
    """Both ways to decide: rational pivots at once, and a float guess that is then proven."""
    monkeypatch.setattr(cone, "EXACT_AT_ONCE", 10**9 if request.param == "rational pivots" else -1)
    return request.param


def test_vertices_rays_facets(route):
    for kind, n, seed, rows in cases(6):
        brute, body = Brute.of(*rows, n), Polyhedron(*rows)
        points = [] if brute.lineality else sorted(brute.points)
        assert body.vertices().tolist() == [[float(v) for v in p] for p in points], (kind, n, seed)
        directions = [] if brute.lineality else sorted({tuple(v / max(map(abs, d)) for v in d) for d in brute.rays})
        assert body.rays().tolist() == [[float(v) for v in d] for d in directions], (kind, n, seed)
        found = body.facets()
        assert found.rows.tolist() == brute.facets and found.standing is Standing.CERTIFIED, (kind, n, seed)


def test_facets_in_floats_agree(monkeypatch):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        G = rng.standard_normal((25, 3))
        G, h = np.vstack([G, 2 * G[:5]]), np.concatenate([np.ones(25), 2 * np.ones(5)])
        exact = Polyhedron(G, h).facets()
        monkeypatch.setattr(corners, "EXACT_FACETS", 0)
        guess = Polyhedron(G, h).facets()
        monkeypatch.undo()
        assert guess.standing is Standing.NUMERICAL and exact.standing is Standing.CERTIFIED
        assert guess.rows.tolist() == exact.rows.tolist()


def test_volume():
    for kind, n, seed, rows in cases(6):
        brute, body = Brute.of(*rows, n), Polyhedron(*rows)
        if brute.empty or not brute.bounded:
            assert body.volume() == (0.0 if brute.empty else np.inf)
        elif brute.dimension == 0:
            assert body.volume() == 1.0
        elif brute.dimension == n and body.centre().radius > 1e-6:
            points = np.array([[float(v) for v in p] for p in brute.points])
            want = ConvexHull(points).volume if n > 1 else np.ptp(points)
            assert body.volume() == pytest.approx(want, rel=1e-9), (kind, n, seed)


def test_known_volumes():
    for d in range(1, 6):
        cube = Polyhedron(np.vstack([np.eye(d), -np.eye(d)]), np.concatenate([np.full(d, 3.0), np.zeros(d)]))
        assert cube.volume() == 3.0**d and len(cube.vertices()) == 2**d
        simplex = Polyhedron(-np.eye(d + 1), np.zeros(d + 1), np.ones((1, d + 1)), np.ones(1))
        assert simplex.volume() == pytest.approx(math.sqrt(d + 1) / math.factorial(d), rel=1e-15)
        signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * d)).reshape(d, -1).T
        cross = Polyhedron(signs, np.ones(2**d))  # not simple: every vertex has 2**(d-1) tight rows
        assert cross.volume() == pytest.approx(2.0**d / math.factorial(d), rel=1e-15)
    segment = Polyhedron(np.array([[1.0, 0], [-1, 0]]), np.array([3.0, 0]), np.array([[4.0, -3.0]]), np.zeros(1))
    assert segment.volume() == 5.0  # from (0, 0) to (3, 4)
    sliver = Polyhedron(np.array([[1.0, 1.0], [-1, -1], [1, -1], [-1, 1]]), np.array([2.0**-1070, 0, 1.0, 0]))
    assert sliver.volume() == 2.0**-1071


def test_sample_is_inside_and_uniform():
    for kind, n, seed, rows in cases(2):
        brute, body = Brute.of(*rows, n), Polyhedron(*rows)
        if brute.empty or not brute.bounded:
            with pytest.raises(DataError):
                body.sample(3)
            continue
        X = body.sample(40, seed=seed)
        room = 1e-12 * (1 + np.abs(X).max()) * (1 + np.abs(np.vstack([rows[0], rows[2]])).sum(1).max(initial=0.0))
        assert X.shape == (40, n) and body.contains(X, tolerance=room).all(), (kind, n, seed)
        assert (body.sample(40, seed=seed) == X).all()


@pytest.mark.parametrize("width", [1.0, 1e-6, 1e6])
def test_sample_moments(width):
    # A rotated rectangle on the plane z = 1: mean and covariance of the uniform distribution.
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    G = np.vstack([turn.T, -turn.T])
    body = Polyhedron(np.column_stack([G, np.zeros(4)]), [1.0, width, 0, 0], np.array([[0.0, 0, 1]]), np.ones(1))
    X = body.sample(4000, seed=1)
    assert (np.abs(X[:, 2] - 1) < 1e-9).all()
    s = X[:, :2] @ turn / [1.0, width]
    assert s.mean(0) == pytest.approx([0.5, 0.5], abs=0.03)
    assert np.cov(s.T) == pytest.approx(np.eye(2) / 12, abs=0.01)


def test_sample_triangle_is_uniform():
    body = Polyhedron(np.array([[-1.0, 0], [0, -1], [1, 1]]), np.array([0.0, 0, 1]))
    X = body.sample(6000, seed=2)
    # P(x > a) = (1 - a)^2
    for a in (0.1, 0.3, 0.5, 0.7):
        assert (X[:, 0] > a).mean() == pytest.approx((1 - a) ** 2, abs=0.025)
    assert body.contains(X).all()


def test_project():
    for kind, n, seed, rows in cases(2, dimensions=(2, 3)):
        brute, body = Brute.of(*rows, n), Polyhedron(*rows)
        if brute.empty or not brute.bounded:
            continue
        basis = np.random.default_rng(seed).integers(-1, 2, (n, 2)).astype(float)
        shadow = np.array([[float(v) for v in p] for p in brute.points]) @ basis
        got = body.project(basis)
        angles = np.linspace(0, 2 * np.pi, 17)
        for u in np.column_stack([np.cos(angles), np.sin(angles)]):
            assert (got @ u).max() == pytest.approx((shadow @ u).max(), abs=1e-6 * (1 + np.abs(shadow).max()))
        for corner in got:
            assert np.abs(shadow - corner).sum(1).min() < 1e-6 * (1 + np.abs(shadow).max()), (kind, n, seed)


def test_project_shapes():
    cube = Polyhedron(np.vstack([np.eye(3), -np.eye(3)]), np.ones(6))
    assert cube.project(np.eye(3)[:, :2]).tolist() == [[-1, -1], [1, -1], [1, 1], [-1, 1]]
    hexagon = cube.project(np.array([[1.0, 0], [0, 1], [1, 1]]))
    assert len(hexagon) == 6
    assert cube.project(np.ones((3, 1))).tolist() == [[-3.0], [3.0]]
    point = Polyhedron(np.zeros((0, 3)), np.zeros(0), np.eye(3), np.ones(3))
    assert point.project(np.eye(3)[:, :2]).tolist() == [[1.0, 1.0]]
    with pytest.raises(DataError, match="unbounded"):
        Polyhedron(-np.eye(3), np.zeros(3)).project(np.eye(3)[:, :2])


def test_project_finds_every_corner_in_few_steps(monkeypatch):
    angles = 2 * np.pi * np.arange(40) / 40 + 0.01
    sides = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(40)])
    prism = Polyhedron(np.vstack([sides, [[0, 0, 1.0], [0, 0, -1]]]), np.ones(42))
    calls, real = [], extent.support
    monkeypatch.setattr(extent, "support", lambda *a, **k: calls.append(1) or real(*a, **k))
    found = prism.project(np.eye(3)[:, :2])
    assert len(found) == 40 and len(calls) <= 84
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.full(40, 1 / np.cos(np.pi / 40)))
