"""Linear programs, nearest points and NNLS: optimality conditions, brute force, and what is not an answer."""

from __future__ import annotations

import time

import highspy
import numpy as np
import pytest
import scipy.sparse as sp

from oracles.polyhedra import Brute
from plica.core.progress import Progress
from plica.core.solve import linear as linear_module
from plica.core.solve import linear_program, nearest, nearest_point, nnls
from plica.core.solve.system import checked_system
from plica.errors import ArgumentError, DataError, ShapeError, SolverError


def random_rows(seed: int):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 4)), int(rng.integers(0, 7))
    G, h = rng.integers(-2, 3, (m, n)).astype(float), rng.integers(-1, 3, m).astype(float)
    p = int(rng.integers(0, 3) == 0)
    return G, h, rng.integers(-1, 2, (p, n)).astype(float), rng.integers(-1, 2, p).astype(float), rng, n


def test_linear_program_against_brute_force():
    seen = set()
    for seed in range(200):
        G, h, E, e, rng, n = random_rows(seed)
        c = rng.integers(-2, 3, n).astype(float)
        brute = Brute.of(G, h, E, e, n)
        got = linear_program(c, sp.csr_array(G) if seed % 2 else G, h, E, e)
        want = "infeasible" if brute.empty else "unbounded" if brute.support(-c) is None else "optimal"
        assert got.status == want, seed
        seen.add(want)
        if want != "optimal":
            assert np.isnan(got.x).all() and got.value == (np.inf if want == "infeasible" else -np.inf)
            continue
        assert got.value == pytest.approx(float(-brute.support(-c)), abs=1e-7)
        assert (got.dual >= 0).all() and (np.abs(got.dual * (h - G @ got.x)) < 1e-6).all()
        assert c + G.T @ got.dual + E.T @ got.equality_dual == pytest.approx(got.reduced_cost, abs=1e-7)
    assert seen == {"optimal", "infeasible", "unbounded"}


def test_linear_program_bounds_and_duals():
    got = linear_program(np.array([-1.0, -1.0]), np.array([[1.0, 2], [3, 1]]), np.array([4.0, 6]), bounds=(0.0, None))
    assert got.x == pytest.approx([1.6, 1.2]) and got.dual == pytest.approx([0.4, 0.2])
    got = linear_program(np.array([1.0, -1.0]), bounds=(np.array([2.0, -np.inf]), np.array([np.inf, 3.0])))
    assert got.x.tolist() == [2.0, 3.0] and got.reduced_cost.tolist() == [1.0, -1.0] and got.dual.shape == (0,)
    assert linear_program(np.ones(1), bounds=(1.0, 0.0)).status == "infeasible"
    assert linear_program(np.zeros(0), np.zeros((1, 0)), np.array([-1.0])).status == "infeasible"
    assert linear_program(np.zeros(0), np.zeros((1, 0)), np.array([0.0])).value == 0.0


def test_an_odd_end_is_solved_again_and_never_read_as_empty(monkeypatch, capfd):
    tried = []
    real = linear_module._run

    def odd(solver, options, seconds, allowed=2):
        tried.append(options)
        return None if len(tried) <= allowed else real(solver, options, seconds)

    monkeypatch.setattr(linear_module, "_run", odd)
    assert linear_program(np.array([1.0]), np.array([[-1.0]]), np.array([-2.0])).value == 2.0
    assert len(tried) == 3
    monkeypatch.setattr(linear_module, "_run", lambda *_: None)
    with pytest.raises(SolverError, match="found no answer"):
        linear_program(np.array([1.0]), np.array([[-1.0]]), np.array([-2.0]))
    assert capfd.readouterr() == ("", "")


def test_statuses_of_highs_that_are_no_answer():
    answers = set(linear_module._FINAL)
    assert highspy.HighsModelStatus.kUnboundedOrInfeasible not in answers
    assert highspy.HighsModelStatus.kUnknown not in answers and len(answers) == 3


def check_optimal(target, G, h, E, e, low, high, got):
    """KKT conditions of the projection."""
    size = 1 + np.abs(target).max()
    assert (G @ got.x - h <= 1e-7 * size).all() and (np.abs(E @ got.x - e) <= 1e-7 * size).all()
    assert (got.x >= low).all() and (got.x <= high).all() and (got.dual >= 0).all()
    pulled = np.clip(target - G.T @ got.dual - E.T @ got.equality_dual, low, high)
    assert pulled == pytest.approx(got.x, abs=1e-7 * size)
    assert np.abs(got.dual * (h - G @ got.x)).max(initial=0) <= 1e-6 * size
    assert got.distance == pytest.approx(np.linalg.norm(got.x - target))


@pytest.mark.parametrize("method", ["_by_daqp", "_by_newton"])
def test_nearest_point_optimality(method):
    for seed in range(80):
        rng = np.random.default_rng(seed)
        n, m = int(rng.integers(1, 25)), int(rng.integers(0, 35))
        p = int(rng.integers(0, n // 3 + 1))
        G, E, x = rng.standard_normal((m, n)), rng.standard_normal((p, n)), rng.uniform(0, 1, n)
        if seed % 3 == 0:
            G = np.round(G)
            G[: m // 3] = G[-(m // 3) :] if m // 3 else G[:0]
        h, e = G @ x + (seed % 2) * 0.1, E @ x
        target = rng.standard_normal(n) * 2
        low, high = np.zeros(n), np.ones(n)
        if seed % 4 == 0:
            low[0] = high[0] = x[0]  # fixed by its box
        got = getattr(nearest, method)(target, checked_system(n, G, h, E, e, bounds=(low, high)), Progress())
        assert got is not None, seed
        check_optimal(target, G, h, E, e, low, high, got)


def test_nearest_point_statuses():
    assert nearest_point(np.zeros(1), np.array([[1.0], [-1.0]]), np.array([0.0, -1.0])).status == "infeasible"
    assert nearest_point(np.zeros(2), np.zeros((1, 2)), np.array([-1.0])).status == "infeasible"
    assert nearest_point(np.zeros(2), bounds=(1.0, 0.0)).distance == np.inf
    assert nearest_point(np.array([3.0, 0.2]), bounds=(0.0, 1.0)).x.tolist() == [1.0, 0.2]
    free = nearest_point(np.array([3.0, 4.0]), np.array([[0.0, 0.0]]), np.array([0.0]))
    assert free.distance == 0 and free.x.tolist() == [3.0, 4.0]
    line = nearest_point(np.array([1.0, 1.0]), E=np.array([[1e-6, -1e-6]]), e=np.array([1e-6]))
    assert line.x == pytest.approx([1.5, 0.5])


def test_nearest_point_in_many_variables():
    rng = np.random.default_rng(0)
    n, m = 3072, 2000
    G, x, target = rng.standard_normal((m, n)) / 55, rng.uniform(0, 1, n), rng.uniform(0, 1, n)
    h = G @ x
    started = time.process_time()
    got = nearest_point(target, G[200:], h[200:], G[:200], h[:200], bounds=(0.0, 1.0))
    assert time.process_time() - started < 15
    check_optimal(target, G[200:], h[200:], G[:200], h[:200], np.zeros(n), np.ones(n), got)
    assert nearest_point(target, G, h, np.ones((1, n)), np.array([n + 1.0]), bounds=(0.0, 1.0)).status == "infeasible"


def test_nnls_decides_with_its_residual():
    rng = np.random.default_rng(0)
    for _ in range(30):
        A, b = rng.standard_normal((5, int(rng.integers(1, 12)))), rng.standard_normal(5)
        y, r = nnls(A, b)
        assert (y >= 0).all() and r == pytest.approx(b - A @ y)
        assert (A.T @ r <= 1e-9).all() and np.abs(y * (A.T @ r)).max() < 1e-9


def test_bad_input():
    with pytest.raises(ShapeError, match="do not fit 2 variables"):
        linear_program(np.zeros(2), np.eye(3), np.zeros(3))
    with pytest.raises(ArgumentError, match="both, or neither"):
        linear_program(np.zeros(2), np.eye(2))
    with pytest.raises(DataError, match="finite"):
        linear_program(np.zeros(2), np.eye(2), np.array([np.inf, 0]))
    with pytest.raises(DataError, match="NaN"):
        linear_program(np.zeros(2), bounds=(np.nan, None))
    with pytest.raises(DataError, match="target"):
        nearest_point(np.array([np.nan]))
