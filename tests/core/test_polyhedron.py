"""Polyhedra against brute force in fractions; half of the random cases are degenerate on purpose."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from flint import fmpz_mat

from oracles.polyhedra import KINDS, Brute, cases, dot, eliminate, system
from plica.core.exact.integers import proves_empty
from plica.core.polyhedron import Polyhedron, cone, extent
from plica.core.result import Standing
from plica.errors import ArgumentError, BudgetReached, DataError, ShapeError


@pytest.fixture(params=["rational pivots", "float guess"])
def route(request, monkeypatch):
    """Both ways to decide: rational pivots at once, and a float guess that is then proven."""
    monkeypatch.setattr(cone, "EXACT_AT_ONCE", 10**9 if request.param == "rational pivots" else -1)
    return request.param


def test_oracle_agrees_with_elimination():
    for kind, n, seed, (G, h, E, e) in cases(6):
        brute = Brute.of(G, h, E, e, n)
        both = [*brute.G, *brute.E, *[[-v for v in row] for row in brute.E]]
        assert brute.empty == eliminate(both, [*brute.h, *brute.e, *[-v for v in brute.e]], n), (kind, n, seed)


def test_decisions(route):
    for kind, n, seed, rows in cases(8):
        brute, body = Brute.of(*rows, n), Polyhedron(*rows)
        got = (body.is_empty(), body.dimension(), body.is_bounded())
        assert got == (brute.empty, brute.dimension, brute.bounded), (kind, n, seed)
        assert all(d.standing is Standing.CERTIFIED for d in got)
        check_witnesses(brute, body, rows)


def check_witnesses(brute: Brute, body: Polyhedron, rows) -> None:
    empty, bounded = body.is_empty(), body.is_bounded()
    if brute.empty:
        assert proves_empty(rows, empty.witness["multipliers"], empty.witness["equality_multipliers"])
        assert body.implied_equalities().tolist() == list(range(len(rows[0])))
        return
    point = empty.witness["point"]
    assert brute.contains(point)
    assert body.implied_equalities().tolist() == brute.implied
    strict = [i for i in range(len(brute.G)) if dot(brute.G[i], point) < brute.h[i]]
    assert strict == [i for i in range(len(brute.G)) if i not in brute.implied]
    if not bounded:
        direction = bounded.witness["direction"]
        assert any(direction)
        assert all(dot(g, direction) <= 0 for g in brute.G) and not any(dot(g, direction) for g in brute.E)
    elif bounded.witness:
        y, mu = bounded.witness["multipliers"], bounded.witness["equality_multipliers"]
        assert all(v > 0 for v in y)
        for j in range(brute.n):
            assert dot(y, [g[j] for g in brute.G]) + dot(mu, [g[j] for g in brute.E]) == 0


def test_four_dimensions_both_routes(monkeypatch):
    for seed in range(12):
        rows = system(KINDS[seed % len(KINDS)], seed, 4)
        brute = Brute.of(*rows, 4)
        for limit in (-1, 10**9):
            monkeypatch.setattr(cone, "EXACT_AT_ONCE", limit)
            body = Polyhedron(*rows)
            assert (body.is_empty(), body.dimension(), body.is_bounded()) == (
                brute.empty,
                brute.dimension,
                brute.bounded,
            )


def test_contains_is_exact_at_the_boundary():
    for kind, n, seed, rows in cases(4):
        brute, body = Brute.of(*rows, n), Polyhedron(*rows)
        rng = np.random.default_rng(seed)
        points = [[float(v) for v in p] for p in brute.points]
        X = np.array([*points, *(rng.integers(-4, 5, (20, n)) / 2.0).tolist()])
        X = np.vstack([X, np.nextafter(X, 9.0), np.nextafter(X, -9.0)])
        assert body.contains(X).tolist() == [brute.contains(x) for x in X.tolist()], (kind, n, seed)


def test_contains_where_floats_cannot_tell():
    tenth = Polyhedron(np.array([[1.0, 1.0, 1.0]]), np.array([0.3]))
    assert not tenth.contains(np.full(3, 0.1))  # three times the float 0.1 is above the float 0.3
    assert tenth.contains(np.full(3, 0.1), tolerance=1e-12)
    with np.errstate(all="raise"):
        assert Polyhedron(np.array([[1e308, 1e308]]), np.array([1e308])).contains(np.array([10.0, -10.0]))
    big = Polyhedron(np.array([[1e308, 1e308, -1e308]]), np.array([1e308]))
    assert big.contains(np.ones(3)) and big.contains(np.array([1e10, 0.0, 1e10]))
    assert Polyhedron(np.zeros((0, 2)), np.zeros(0)).contains(np.zeros((4, 3, 2))).shape == (4, 3)
    assert Polyhedron(np.ones((1, 2)), np.ones(1)).contains(np.zeros((0, 2))).shape == (0,)


def test_support():
    seen = set()
    for kind, n, seed, rows in cases(4):
        brute, body = Brute.of(*rows, n), Polyhedron(*rows)
        rng = np.random.default_rng(seed)
        for c in (rng.integers(-2, 3, n).astype(float), rng.standard_normal(n)):
            found = body.support(c)
            seen.add(found.standing)
            if brute.empty:
                assert found.value == -np.inf
                continue
            want = brute.support(c)
            if want is None:
                assert found.value == np.inf and found.standing is Standing.CERTIFIED, (kind, n, seed)
            elif found.standing is Standing.CERTIFIED:
                assert found.value == float(want), (kind, n, seed)
            else:
                assert found.value == pytest.approx(float(want), rel=1e-6, abs=1e-6)
    assert Standing.CERTIFIED in seen


def test_bounding_box():
    for kind, n, seed, rows in cases(2):
        brute, body = Brute.of(*rows, n), Polyhedron(*rows)
        if brute.empty:
            with pytest.raises(DataError, match="empty"):
                body.bounding_box()
            continue
        lower, upper = body.bounding_box()
        for i in range(n):
            for sign, got in ((1.0, upper[i]), (-1.0, -lower[i])):
                want = brute.support([sign * float(i == j) for j in range(n)])
                assert got == pytest.approx(np.inf if want is None else float(want), rel=1e-6, abs=1e-6)


def test_centre():
    for kind, n, seed, rows in cases(4):
        brute, body = Brute.of(*rows, n), Polyhedron(*rows)
        if brute.empty:
            continue
        point, radius = body.centre()
        G, h = rows[0], rows[1]
        size = 1 + np.abs(point).max()
        assert (G @ point - h <= 1e-9 * size * (1 + np.abs(G).sum(1))).all(), (kind, n, seed)
        if brute.dimension == 0:
            assert radius == 0 and point.tolist() == [float(v) for v in brute.points[0]]
        if brute.dimension == n and np.isfinite(radius):
            length = np.linalg.norm(G, axis=1)
            reach = ((h - G @ point)[length > 0] / length[length > 0]).min()
            assert reach == pytest.approx(radius, rel=1e-6, abs=1e-12 * size), (kind, n, seed)
            if brute.bounded:  # no larger ball: widths of the vertex set bound it
                widths = [np.ptp([float(p[i]) for p in brute.points]) for i in range(n)]
                assert radius <= min(widths) / 2 * (1 + 1e-9)


@pytest.mark.parametrize("ends", [(0.0, 1e-9), (5.0, 5.0 + 1e-9), (-1e6, 1e6), (0.0, 5e-324)])
def test_centre_of_a_slab(ends):
    low, high = ends
    body = Polyhedron(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), np.array([high, -low, 1e3, 1e3]))
    assert body.centre().radius == pytest.approx(min((high - low) / 2, 1e3), rel=1e-6, abs=5e-324)


def test_centre_in_a_lower_dimension():
    # The triangle x + y + z = 1, x, y, z >= 0 has an inscribed circle of radius 1 / sqrt 6.
    body = Polyhedron(-np.eye(3), np.zeros(3), np.ones((1, 3)), np.ones(1))
    point, radius = body.centre()
    assert radius == pytest.approx(1 / math.sqrt(6)) and point == pytest.approx(np.full(3, 1 / 3))
    assert Polyhedron(np.zeros((0, 2)), np.zeros(0)).centre().radius == np.inf


def test_intersect_and_on():
    for kind, n, seed, rows in cases(2, dimensions=(2, 3)):
        other = system("integer", seed + 50, n)
        both = Polyhedron(*rows).intersect(Polyhedron(*other))
        X = np.random.default_rng(seed).integers(-3, 4, (40, n)) / 2.0
        want = Polyhedron(*rows).contains(X) & Polyhedron(*other).contains(X)
        assert (both.contains(X) == want).all()
        if kind in ("gaussian", "scaled"):
            continue
        rng = np.random.default_rng(seed)
        origin, basis = rng.integers(-1, 2, n).astype(float), rng.integers(-1, 2, (n, 2)).astype(float)
        S = rng.integers(-3, 4, (40, 2)) / 2.0
        got = Polyhedron(*rows).on(origin, basis).contains(S)
        if "ulp" not in kind:
            assert (got == Polyhedron(*rows).contains(origin + S @ basis.T)).all()


def test_many_variables():
    """A preimage of a wide layer in a box: decided by the float guess with a proof."""
    rng = np.random.default_rng(0)
    n = 60
    A, x = rng.standard_normal((80, n)), rng.uniform(0, 1, n)
    z = A @ x
    on = z > 0
    box = np.vstack([np.eye(n), -np.eye(n)])
    body = Polyhedron(
        np.vstack([A[~on], box]),
        np.concatenate([np.zeros((~on).sum()), np.ones(n), np.zeros(n)]),
        A[on][:20],
        z[on][:20],
    )
    assert not body.is_empty() and body.is_bounded()
    assert body.dimension() == n - 20 or np.abs(body.e - body.E @ x).max() > 0
    free = Polyhedron(A[~on], np.zeros((~on).sum()))
    assert not free.is_bounded() and free.dimension() == n
    closed = Polyhedron(np.vstack([A, -A.sum(0, keepdims=True)]), np.ones(81))
    assert closed.is_bounded() and closed.dimension() == n


def test_a_wrong_guess_is_no_proof():
    M, N = fmpz_mat([[1, 0], [-1, 0]]), fmpz_mat(0, 2)
    none, both, ones = np.zeros(2, bool), np.ones(2, bool), np.ones(2)
    assert cone._certify(M, N, (none, np.array([0.0, 1.0]), ones, np.zeros(0))) is None  # M z = 0 is not strict
    assert cone._certify(M, N, (both, np.zeros(2), np.array([1.0, 0.0]), np.zeros(0))) is None  # a multiplier is 0
    assert cone._certify(M, N, (both, np.zeros(2), ones, np.zeros(0))) is not None


def test_a_guess_is_enough_for_ordinary_rows(monkeypatch):
    monkeypatch.setattr(cone, "EXACT_AT_ONCE", -1)
    monkeypatch.setattr(cone, "_by_pivots", lambda *_: pytest.fail("ordinary rows should not need rational pivots"))
    for search in ("_search_by_lp", "_search_by_nnls"):
        with monkeypatch.context() as patch:
            patch.setattr(cone, search, lambda *_: None)
            for seed in range(10):
                rng = np.random.default_rng(seed)
                A = rng.standard_normal((40, 12)) * 10.0 ** rng.integers(-3, 4, (40, 1))
                E = rng.standard_normal((4, 12))
                body = Polyhedron(A, np.abs(A).sum(1), E, np.zeros(4))
                assert not body.is_empty() and body.dimension() == 8 and body.is_bounded()
                assert not Polyhedron(A[:6], np.ones(6), E, np.zeros(4)).is_bounded()
                whole = np.round(A[:9])  # the sum is exact: one row contradicts the others
                apart = Polyhedron(np.vstack([whole, -whole.sum(0, keepdims=True)]), np.append(np.ones(9), -99.0))
                assert apart.is_empty()


def test_a_wrong_optimum_is_not_certified():
    facts = Polyhedron(np.array([[1.0, 0], [0, 1], [1, 1], [0, -1]]), np.array([1.0, 1, 1.5, 0])).facts
    c, mu = np.ones(2), np.zeros(0)
    assert extent._prove(facts, c, np.array([1.0, 1.0]), np.array([1.0, 1, 0, 0]), mu) is None  # outside
    assert extent._prove(facts, c, np.array([1.0, 0.0]), np.array([1.0, 0, 0, 1]), mu) is None  # not the largest
    right = extent._prove(facts, c, np.array([1.0, 0.5]), np.array([1e-12, 0, 1.0, 0]), mu)
    assert right is not None and right.value == 1.5


def test_intersect_keeps_the_order_of_equalities():
    first = Polyhedron(np.zeros((0, 2)), np.zeros(0), [[1.0, 0.0]], [1.0])
    both = first.intersect(Polyhedron(np.zeros((0, 2)), np.zeros(0), [[0.0, 1.0]], [2.0]))
    assert both.contains([1.0, 2.0]) and not both.contains([2.0, 1.0])


def test_messages():
    with pytest.raises(ShapeError, match="one entry for each of 2 rows"):
        Polyhedron(np.eye(2), np.ones(3))
    with pytest.raises(ShapeError, match="E has 3"):
        Polyhedron(np.eye(2), np.ones(2), np.ones((1, 3)), np.ones(1))
    with pytest.raises(DataError, match="not finite"):
        Polyhedron(np.array([[np.nan]]), np.ones(1))
    with pytest.raises(DataError, match="leave out rows"):
        Polyhedron(np.eye(2), np.array([1.0, np.inf]))
    with pytest.raises(ArgumentError, match="both, or neither"):
        Polyhedron(np.eye(2), np.ones(2), np.ones((1, 2)))
    with pytest.raises(ShapeError, match="last axis must be 2"):
        Polyhedron(np.eye(2), np.ones(2)).contains(np.zeros(3))
    with pytest.raises(BudgetReached, match="max_vertices"):
        Polyhedron(np.vstack([np.eye(6), -np.eye(6)]), np.ones(12)).vertices(max_vertices=20)


def test_sparse_rows_copies_and_repr():
    G = np.eye(3)
    body = Polyhedron(sp.csr_array(G), np.ones(3))
    assert body.dimension() == 3 and "3 inequalities" in repr(body) and "3 variables" in body._repr_html_()
    own = Polyhedron(G, np.ones(3))
    G[0, 0] = 7
    assert own.G[0, 0] == 1 and not own.G.flags.writeable


def test_no_variables_and_no_rows():
    assert not Polyhedron(np.zeros((0, 0)), np.zeros(0)).is_empty()
    assert Polyhedron(np.zeros((1, 0)), np.array([-1.0])).is_empty()
    assert Polyhedron(np.zeros((2, 0)), np.zeros(2)).dimension() == 0
    whole = Polyhedron(np.zeros((0, 3)), np.zeros(0))
    assert whole.dimension() == 3 and not whole.is_bounded() and whole.support(np.zeros(3)).value == 0
    assert Polyhedron(np.zeros((1, 2)), np.array([-5e-324])).is_empty()


def test_decision_behaves_like_its_value():
    body = Polyhedron(np.vstack([np.eye(2), -np.eye(2)]), np.ones(4))
    assert body.dimension() == 2 and int(body.dimension()) == 2 and list(range(body.dimension())) == [0, 1]
    assert bool(body.is_bounded()) and body.is_bounded() == body.is_bounded() and hash(body.dimension()) == hash(2)
    assert isinstance(body.is_empty().witness["point"][0], Fraction)
