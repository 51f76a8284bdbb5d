"""Proven bounds of float64 linear algebra against exact rationals and hard matrices."""

from fractions import Fraction

import numpy as np
import pytest

from plica.core.exact import floats


def exact_dot(a, b):
    return sum(Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True))


def with_singular_values(rng, values, n):
    k = len(values)
    left, right = np.linalg.qr(rng.normal(size=(k, k)))[0], np.linalg.qr(rng.normal(size=(n, n)))[0][:k]
    return left @ np.diag(values) @ right


@pytest.mark.parametrize("n", [1, 2, 3, 100, 784, 10**6, 2**40])
def test_gamma_is_above_the_exact_value(n):
    exact = Fraction(n, 2**53) / (1 - Fraction(n, 2**53))
    assert exact <= Fraction(floats.gamma(n)) <= exact * (1 + Fraction(1, 2**49))


def test_gamma_ends_at_infinity():
    assert floats.gamma(2**53) == np.inf


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e-200, 1e150])
def test_norms_are_above_the_exact_norms(scale):
    M = np.random.default_rng(0).normal(size=(5, 30)) * scale
    for row, bound in zip(M, floats.row_norms(M), strict=True):
        assert Fraction(float(bound)) ** 2 >= exact_dot(row, row)
    assert Fraction(floats.norm(M)) ** 2 >= exact_dot(M.ravel(), M.ravel())


def test_norms_are_tight_and_overflow_to_infinity():
    M = np.random.default_rng(1).normal(size=(4, 50))
    assert np.allclose(floats.row_norms(M), np.linalg.norm(M, axis=1), rtol=1e-13)
    assert floats.norm(np.full(4, 1e300)) == np.inf
    assert floats.norm(np.zeros(0)) < 1e-150


@pytest.mark.parametrize("scale", [1.0, 1e-170, 1e120])
def test_product_encloses_the_exact_product(scale):
    rng = np.random.default_rng(2)
    C, v = rng.normal(size=(20, 40)) * scale, rng.normal(size=40)
    C[:, -1] = -(C[:, :-1] @ v[:-1]) / v[-1]  # nearly all cancels
    value, radius = floats.product(C, v)
    for row, x, r in zip(C, value, radius, strict=True):
        assert abs(exact_dot(row, v) - Fraction(float(x))) <= Fraction(float(r))


def test_combination_encloses_the_exact_combination():
    rng = np.random.default_rng(3)
    M, x = rng.normal(size=(60, 7)), rng.normal(size=60) * 1e6
    x[-1] = 0.0
    value, radius = floats.combination(M, x)
    error = sum((exact_dot(M[:, j], x) - Fraction(float(value[j]))) ** 2 for j in range(7))
    assert error <= Fraction(radius) ** 2
    assert floats.combination(M, x, floats.row_norms(M))[1] == radius


@pytest.mark.parametrize("smallest", [1.0, 1e-2, 1e-4, 1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("shape", [(12, 12), (8, 20), (20, 8)])
def test_smallest_singular_value_is_below_the_true_one(smallest, shape):
    rng = np.random.default_rng(4)
    values = np.geomspace(1.0, smallest, min(shape))
    M = with_singular_values(rng, values, max(shape))
    M = M if shape[0] <= shape[1] else M.T
    bound = floats.smallest_singular_value(M)
    assert 0.0 < bound <= smallest * (1 + 1e-6)


def test_both_ways_to_bound_a_singular_value():
    M = with_singular_values(np.random.default_rng(5), np.geomspace(1.0, 1e-3, 30), 40)
    assert 0.0 < floats._by_cholesky(M, M @ M.T) <= 1e-3 * (1 + 1e-9)
    assert 0.5e-3 / 30 < floats._by_inverse(M) <= 1e-3 * (1 + 1e-9)
    M = with_singular_values(np.random.default_rng(5), np.geomspace(1.0, 1e-9, 30), 40)
    assert floats._by_cholesky(M, M @ M.T) == 0.0 < floats._by_inverse(M)


def singular_matrices():
    rng = np.random.default_rng(6)
    integers = rng.integers(-9, 10, (6, 8)).astype(float)
    integers[5] = integers[0] + integers[1] - 2 * integers[2]
    yield "a sum of rows", integers
    yield "a repeated row", np.vstack([rng.normal(size=(3, 5)), np.ones((2, 5))])
    yield "a zero row", np.vstack([rng.normal(size=(3, 5)), np.zeros((1, 5))])
    yield "a product of low rank", np.round(rng.normal(size=(7, 3)) * 64) @ np.round(rng.normal(size=(3, 7)) * 64)
    yield "zero columns", np.hstack([rng.normal(size=(4, 3)), np.zeros((4, 3))])
    yield "the Laplacian of a ring", np.eye(9) * 2 - np.roll(np.eye(9), 1, 0) - np.roll(np.eye(9), -1, 0)
    yield "all underflows", np.full((3, 3), 1e-200)
    yield "overflow", np.full((2, 2), 1e200)


@pytest.mark.parametrize("name,M", list(singular_matrices()), ids=lambda x: x if isinstance(x, str) else "")
def test_singular_matrices_are_never_proven_regular(name, M):
    assert floats.smallest_singular_value(M) == 0.0
    assert floats.smallest_singular_value(M.T) == 0.0


@pytest.mark.parametrize("size", [2, 10, 60])
def test_singular_up_to_one_rounding_is_not_proven(size):
    """Exactly singular integer matrices whose float factorisations need not notice."""
    rng = np.random.default_rng(size)
    for _ in range(50):
        M = rng.integers(-100, 101, (size, size)).astype(float)
        M[-1] = M[: size - 1].T @ rng.integers(-3, 4, size - 1)
        assert floats.smallest_singular_value(M) == 0.0


def test_hilbert_matrices_are_bounded_or_left_open():
    for size in range(1, 16):
        M = 1.0 / (np.arange(size)[:, None] + np.arange(size) + 1.0)
        bound = floats.smallest_singular_value(M)
        assert bound >= 0.0
        if bound:  # M M' - bound^2 I is positive semidefinite, by exact elimination
            gram = [[exact_dot(a, b) for b in M] for a in M]
            for i in range(size):
                gram[i][i] -= Fraction(bound) ** 2
            for i in range(size):
                assert gram[i][i] > 0
                for j in range(i + 1, size):
                    factor = gram[j][i] / gram[i][i]
                    gram[j] = [x - factor * y for x, y in zip(gram[j], gram[i], strict=True)]
        assert bound or size > 9


def test_no_rows_are_independent():
    assert floats.smallest_singular_value(np.zeros((0, 4))) == np.inf


def test_solution_radius_covers_the_error_of_a_solve():
    rng = np.random.default_rng(7)
    M = with_singular_values(rng, np.geomspace(1.0, 1e-4, 10), 10)
    truth = rng.integers(-5, 6, 10)
    M = np.round(M * 2**20) / 2**20  # so that M truth is exact
    b = M @ truth
    guess = np.linalg.solve(M, b) + 1e-9
    value, radius = floats.product(M, guess)
    residual = floats.norm(np.abs(b - value) * (1 + 1e-15) + radius)
    bound = floats.solution_radius(residual, floats.smallest_singular_value(M))
    assert np.linalg.norm(guess - truth) <= bound < 1e-2


def test_products_of_a_larger_matrix_serve_its_rows():
    W = np.random.default_rng(5).normal(size=(40, 30))
    rows = np.array([3, 7, 11, 39])
    gram = (W @ W.T)[np.ix_(rows, rows)]
    exact = np.linalg.svd(W[rows], compute_uv=False)[-1]
    assert 0.0 < floats.smallest_singular_value(W[rows], gram) <= exact
    tall = W[:, :5]  # more rows than columns: products of rows are of no use
    assert 0.0 < floats.smallest_singular_value(tall, tall @ tall.T) <= np.linalg.svd(tall, compute_uv=False)[-1]
