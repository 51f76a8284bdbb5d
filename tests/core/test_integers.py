"""Exact decisions on floats, against fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from flint import fmpz_mat
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from oracles.polyhedra import dot, fractions_of, null_space, rank
from plica.core.exact import integers
from plica.errors import DataError, ShapeError

FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 0.3, 5e-324, -5e-324, 1e-300, 1.7e308, 2.0**-1022, np.nextafter(1, 2)]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-3, 3).map(float),
)
MATRICES = st.tuples(st.integers(0, 4), st.integers(0, 4)).flatmap(lambda s: arrays(np.float64, s, elements=FLOATS))


def exact(A: np.ndarray) -> list[Fraction]:
    return [Fraction(float(v)) for v in A.ravel()]


@given(MATRICES)
def test_to_integers_is_exact_and_shortest(A):
    M, k = integers.to_integers(A)
    assert [Fraction(int(v)) * Fraction(2) ** k for v in M.entries()] == exact(A)
    assert not A.any() or any(int(v) % 2 for v in M.entries())


@given(MATRICES)
def test_scaled_rows(A):
    M, exponents = integers.scaled_rows(A)
    for row, k, floats in zip(M.tolist(), exponents.tolist(), A, strict=False):
        assert [Fraction(int(v)) * Fraction(2) ** k for v in row] == exact(floats)
    assert integers.row_integers(A) == M


@given(MATRICES)
def test_rank_and_null_space(A):
    rows = fractions_of(A)
    assert integers.rank(A) == (rank(rows) if A.size else 0)
    N = integers.null_space(A)
    assert (N.nrows(), N.ncols()) == (A.shape[1], A.shape[1] - integers.rank(A))
    if A.size and N.ncols():
        assert not any((integers.row_integers(A) * N).entries())
        assert N.rank() == N.ncols() == len(null_space(rows, A.shape[1]))


def test_rank_by_a_hair():
    u = np.spacing(1.0)
    assert integers.rank(np.array([[1.0, 1.0], [1.0, 1.0 + u]])) == 2
    assert integers.rank(np.array([[0.1, 0.2], [0.2, 0.4]])) == 1
    assert integers.rank(np.array([[0.1, 0.3], [0.2, 0.6]])) == 1
    assert integers.rank(np.array([[0.1, 0.3], [1.0, 3.0]])) == 2  # 3 * fl(0.1) is not fl(0.3)
    multiple = (1 << 61) - 1  # singular modulo the prime, regular over the integers
    assert integers.rank(fmpz_mat([[multiple, 0], [0, 1]])) == 2


@given(st.integers(0, 10**6))
def test_dot_signs_and_residual(seed):
    rng = np.random.default_rng(seed)
    m, n = rng.integers(0, 4, 2)
    A = rng.integers(-3, 4, (m, n)) * 0.1
    x = [Fraction(float(v)) / 3 for v in rng.integers(-3, 4, n) * 0.7]
    b = np.array([float(dot(row, x)) for row in fractions_of(A)])
    gap = [dot(row, x) - Fraction(float(v)) for row, v in zip(fractions_of(A), b, strict=True)]
    assert integers.dot_signs(A, x, b).tolist() == [(g > 0) - (g < 0) for g in gap]
    assert integers.residual(A, x, b).tolist() == [float(-g) for g in gap]


def test_sign_where_floats_say_zero():
    assert integers.sign(np.array([0.1, 0.2]), [1.0, 1.0], 0.3) == 1
    assert integers.sign(np.array([0.1, 0.2]), [1.0, 1.0], 0.1 + 0.2) == -1
    assert integers.sign(np.array([1e300, -1e300, 5e-324]), np.ones(3)) == 1
    assert integers.sign(np.array([0.5]), [Fraction(1, 3)], 1 / 6) == 1


@given(st.integers(0, 10**6))
def test_particular_solves_or_says_no(seed):
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 5, 2)
    A, b = rng.integers(-2, 3, (m, n)), rng.integers(-2, 3, m)
    rows = fractions_of(A)
    solvable = rank(rows) == rank([[*r, Fraction(int(v))] for r, v in zip(rows, b, strict=True)])
    near = rng.integers(-5, 6, n)
    column = [fmpz_mat(len(v), 1, v.tolist()) for v in (b, near)]
    found = integers.particular(fmpz_mat(A.tolist()), column[0], column[1], rng.permutation(n))
    assert (found is not None) == solvable
    if found is not None:
        x = [Fraction(int(v), int(found[1])) for v in found[0].entries()]
        assert [dot(r, x) for r in rows] == [int(v) for v in b]
        assert sum(v != w for v, w in zip(x, near.tolist(), strict=True)) <= rank(rows)


def test_solve_near_stays_near():
    A, b = np.array([[0.1, 0.2, 0.3]]), np.array([0.7])
    x = integers.solve_near(A, b, np.array([1.0, 2.0, 0.7]))
    assert dot(fractions_of(A)[0], x) == Fraction(0.7)
    assert max(abs(float(v) - w) for v, w in zip(x, [1.0, 2.0, 0.7], strict=True)) < 1.0
    assert integers.solve_near(np.array([[1.0], [1.0]]), np.array([1.0, np.nextafter(1, 2)]), np.ones(1)) is None


def test_solve():
    X, d = integers.solve(fmpz_mat([[2, 0], [0, 3]]), fmpz_mat([[1], [1]]))
    assert integers.fractions(X) == [3, 2] and d == 6
    assert integers.solve(fmpz_mat([[1, 2], [2, 4]]), fmpz_mat([[1], [1]])) is None
    assert integers.to_float(X, d).ravel().tolist() == [0.5, 1 / 3]


def certificate(name: str):
    G, h = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), np.array([0.3, -np.nextafter(0.3, 1), 1.0])
    E, e = np.array([[0.0, 1.0]]), np.array([0.5])
    y, mu = {"good": ([1, 1, 0], [0]), "negative": ([1, 1, -1], [1]), "no zero": ([1, 2, 0], [0])}[name]
    return (G, h, E, e), y, mu


def test_farkas_certificates():
    assert integers.proves_empty(*certificate("good"))
    assert not integers.proves_empty(*certificate("negative"))
    assert not integers.proves_empty(*certificate("no zero"))
    system, y, mu = certificate("good")
    touching = (system[0], np.array([0.3, -0.3, 1.0]), *system[2:])
    assert not integers.proves_empty(touching, y, mu)
    assert not integers.proves_empty(system, [0, 0, 0], [0])
    # 0.2 - 0.1 - 0.1 is zero for floats and for the numbers they stand for; 0.3 - 0.1 - 0.2 is neither
    crossing = (np.array([[0.3], [-0.1], [-0.2]]), np.array([-1.0, 0.0, 0.0]), np.zeros((0, 1)), np.zeros(0))
    assert not integers.proves_empty(crossing, [1, 1, 1], [])
    exact_weights = [Fraction(1), Fraction(0.3) / Fraction(0.1), 0]
    assert integers.proves_empty(crossing, exact_weights, [])


def test_dual_bounds():
    G, h = np.array([[1.0, 1.0], [-1.0, 0.0]]), np.array([0.1, 0.0])
    system = (G, h, np.array([[0.0, 1.0]]), np.array([0.05]))
    assert integers.proves_at_most(0.1, np.array([1.0, 1.0]), system, [1, 0], [0])
    assert not integers.proves_at_most(np.nextafter(0.1, 0), np.array([1.0, 1.0]), system, [1, 0], [0])
    assert not integers.proves_at_most(1.0, np.array([1.0, 0.5]), system, [1, 0], [0])
    assert integers.proves_at_most(Fraction(0.1) - Fraction(0.05), np.array([1.0, 0.0]), system, [1, 0], [-1])
    assert not integers.proves_at_most(1.0, np.array([1.0, 0.0]), system, [-1, -2], [1])


def test_bad_input():
    with pytest.raises(DataError, match="finite"):
        integers.to_integers(np.array([[np.inf]]))
    with pytest.raises(ShapeError, match="matrix"):
        integers.rank(np.zeros(3))
