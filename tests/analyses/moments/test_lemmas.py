"""The statements of Bibi et al. (2018), section 3, in the paper's notation, and where the printed ones are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from scipy.stats import multivariate_normal, norm

from plica.analyses.moments.choice import relu_moments


def moments(mean, cov) -> tuple[np.ndarray, np.ndarray]:
    """E relu(x) and Cov relu(x)."""
    arrays = (np.atleast_1d(np.asarray(mean, float)), np.atleast_2d(np.asarray(cov, float)))
    return tuple(t.numpy() for t in relu_moments(*map(torch.from_numpy, arrays)))


def covariance(s1: float, s2: float, s12: float) -> np.ndarray:
    return np.array([[s1 * s1, s12], [s12, s2 * s2]])


# --- Remark 1 and Theorem 1: the mean ---------------------------------------------------------------------------


@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 1.0), (0.7, 2.0), (-1.5, 0.5)])
def test_remark_1_density_of_a_relu(mu, sigma):
    """Q(mu / sigma) delta(x) + f_x(x) u(x) has mass one and the mean of Theorem 1."""
    mass, _ = integrate.quad(lambda x: norm.pdf(x, mu, sigma), 0, mu + 40 * sigma)
    mean, _ = integrate.quad(lambda x: x * norm.pdf(x, mu, sigma), 0, mu + 40 * sigma)
    assert math.isclose(norm.sf(mu / sigma) + mass, 1, rel_tol=1e-9)
    assert math.isclose(mean, moments(mu, sigma**2)[0][0], rel_tol=1e-8)


def test_remark_1_mean_holds_at_mean_zero_only():
    def printed(sigma):
        return sigma / math.sqrt(2 * math.pi)

    assert math.isclose(moments(0, 4.0)[0][0], printed(2.0), rel_tol=1e-15)
    assert abs(moments(1.0, 4.0)[0][0] - printed(2.0)) > 0.5


def test_theorem_1():
    """As printed, for any mean, bias and covariance."""
    draw = np.random.default_rng(0)
    A, c1, B, c2 = draw.standard_normal((5, 3)), draw.standard_normal(5), draw.standard_normal((2, 5)), np.ones(2)
    mu_x, root = draw.standard_normal(3), draw.standard_normal((3, 3))
    mu, Sigma = A @ mu_x + c1, A @ root @ root.T @ A.T
    sigma = np.sqrt(np.diag(Sigma))
    erf = np.array([math.erf(-m / (math.sqrt(2) * s)) for m, s in zip(mu, sigma, strict=True)])
    tail = sigma * np.exp(-(mu**2) / (2 * sigma**2)) / math.sqrt(2 * math.pi)
    printed = B @ (mu / 2 - mu / 2 * erf + tail) + c2
    assert np.allclose(B @ moments(mu, Sigma)[0] + c2, printed, rtol=1e-13)


# --- Lemma 1: the square of a ReLU ------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_lemma_1(sigma):
    """Half an atom at zero and f_x(sqrt x) / (2 sqrt x); the mean is sigma^2 / 2."""
    mean, cov = moments(0.0, sigma**2)
    assert math.isclose(cov[0, 0] + mean[0] ** 2, sigma**2 / 2, rel_tol=1e-14)
    # x = y^2 takes the root out of the density
    mass, _ = integrate.quad(lambda y: norm.pdf(y, 0, sigma), 0, 40 * sigma)
    second, _ = integrate.quad(lambda y: y * y * norm.pdf(y, 0, sigma), 0, 40 * sigma)
    assert math.isclose(0.5 + mass, 1, rel_tol=1e-9)
    assert math.isclose(second, sigma**2 / 2, rel_tol=1e-9)


def test_lemma_1_cdf_has_no_delta():
    """Eq. (1) adds delta(c) / 2 to the distribution function, but F_x(sqrt c) u(c) starts at 1/2 and holds the atom."""
    x = np.random.default_rng(0).standard_normal(200_000)
    for c in (0.0, 0.5, 2.0):
        share = np.mean(np.maximum(x, 0) ** 2 <= c)
        assert abs(share - norm.cdf(math.sqrt(c))) < 5 * 0.5 / math.sqrt(len(x))
        assert abs(share - (norm.cdf(math.sqrt(c)) + 0.5)) > 0.4


# --- Lemma 2: derivatives by covariances ------------------------------------------------------------------------


def test_lemma_2_four_variables():
    """d^2 E[psi] / d sigma_12 d sigma_34 = E[d^4 psi / dx_1 .. dx_4] for psi = exp(u x)."""
    draw = np.random.default_rng(1)
    u, mean, root = draw.standard_normal(4) / 2, draw.standard_normal(4), draw.standard_normal((4, 4)) / 2

    def expectation(s12, s34):
        S = root @ root.T
        S[0, 1] = S[1, 0] = S[0, 1] + s12
        S[2, 3] = S[3, 2] = S[2, 3] + s34
        return math.exp(u @ mean + u @ S @ u / 2)

    h = 1e-3
    mixed = expectation(h, h) - expectation(h, -h) - expectation(-h, h) + expectation(-h, -h)
    assert math.isclose(mixed / (4 * h * h), np.prod(u) * expectation(0, 0), rel_tol=1e-5)


@pytest.mark.parametrize(("s12", "mean"), [(0.8, (0.0, 0.0)), (-1.1, (0.0, 0.0)), (0.5, (0.4, -0.7))])
def test_lemma_2_two_variables_as_gradient(s12, mean):
    """dE[T] / d sigma_12 = P(x_1 > 0, x_2 > 0), and once more the density at zero."""
    m = torch.tensor(mean, dtype=torch.float64)

    def slope(value):
        cov = torch.from_numpy(covariance(1.0, 2.0, value)).requires_grad_()
        (gradient,) = torch.autograd.grad(relu_moments(m, cov)[1][0, 1], cov)
        return float(2 * gradient[0, 1])

    law = multivariate_normal(mean, covariance(1.0, 2.0, s12))
    orthant = law.cdf([40, 80], lower_limit=[0, 0])
    assert math.isclose(slope(s12), orthant, rel_tol=1e-5)
    assert math.isclose((slope(s12 + 1e-5) - slope(s12 - 1e-5)) / 2e-5, law.pdf([0, 0]), rel_tol=1e-7)


# --- Lemma 3: the product of two ReLUs --------------------------------------------------------------------------


def lemma_3(s1: float, s2: float, s12: float) -> float:
    """E max(x_1, 0) max(x_2, 0) at mean zero, as printed."""
    r = s12 / (s1 * s2)
    return (s12 * math.asin(r) + s1 * s2 * math.sqrt(1 - r * r)) / (2 * math.pi) + s12 / 4


CASES = [(1.0, 1.0, 0.3), (0.5, 3.0, -1.2), (2.0, 4.0, 7.9), (1.0, 2.0, 2.0), (1.0, 2.0, -2.0), (1.0, 1.0, 0.0)]


@pytest.mark.parametrize(("s1", "s2", "s12"), CASES)
def test_lemma_3(s1, s2, s12):
    mean, cov = moments([0.0, 0.0], covariance(s1, s2, s12))
    assert math.isclose(cov[0, 1] + mean[0] * mean[1], lemma_3(s1, s2, s12), rel_tol=1e-13, abs_tol=1e-15)


def test_lemma_3_needs_mean_zero():
    mean, cov = moments([1.0, 0.5], covariance(1.0, 2.0, 0.6))
    assert abs(cov[0, 1] + mean[0] * mean[1] - lemma_3(1.0, 2.0, 0.6)) > 0.5


def test_lemma_3_steps_of_the_proof():
    """Eq. (2) needs (sigma_1 sigma_2)^2 under the root, and the last integral a factor 1 / (sigma_1 sigma_2)."""
    s1, s2, s12 = 1.5, 2.0, 1.7
    h = 1e-3
    second = (lemma_3(s1, s2, s12 + h) - 2 * lemma_3(s1, s2, s12) + lemma_3(s1, s2, s12 - h)) / h**2
    right = 1 / (2 * math.pi * s1 * s2 * math.sqrt(1 - s12**2 / (s1 * s2) ** 2))
    printed = 1 / (2 * math.pi * s1 * s2 * math.sqrt(1 - s12**2 / (s1 * s2)))
    assert math.isclose(second, right, rel_tol=1e-5)
    assert abs(second - printed) > 0.01

    def built(factor):
        inner = lambda y: 0.25 + factor * s1 * s2 * math.asin(y / (s1 * s2)) / (2 * math.pi)  # noqa: E731
        return integrate.quad(inner, 0, s12)[0] + s1 * s2 / (2 * math.pi)

    assert math.isclose(built(1 / (s1 * s2)), lemma_3(s1, s2, s12), rel_tol=1e-12)
    assert abs(built(1.0) - lemma_3(s1, s2, s12)) > 0.1


# --- Theorem 2: the second moment -------------------------------------------------------------------------------


def theorem_2(b: np.ndarray, S: np.ndarray) -> float:
    """The double sum and the sum of squares as printed, without the last term."""
    sd = np.sqrt(np.diag(S))
    pairs = [(i, j) for i in range(len(b)) for j in range(i)]
    cross = 2 * sum(b[i] * b[j] * lemma_3(sd[i], sd[j], S[i, j]) for i, j in pairs)
    return cross + 0.5 * float(b**2 @ np.diag(S))


def network(seed: int, p: int = 5) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    A = draw.standard_normal((p, 4))
    return draw.standard_normal(p), A @ A.T


def test_theorem_2_without_output_bias():
    b, S = network(0)
    mean, cov = moments(np.zeros(5), S)
    assert math.isclose(b @ cov @ b + (b @ mean) ** 2, theorem_2(b, S), rel_tol=1e-12)


@pytest.mark.parametrize("c2", [0.8, -2.0])
def test_theorem_2_last_term_is_wrong_as_printed(c2):
    """E g^2 = b' Omega b + 2 c2 b' e + c2^2, not + c2; the variance has no c2 at all."""
    b, S = network(1)
    mean, cov = moments(np.zeros(5), S)
    second = b @ cov @ b + (b @ mean + c2) ** 2
    e = np.sqrt(np.diag(S)) / math.sqrt(2 * math.pi)
    assert math.isclose(theorem_2(b, S) + 2 * c2 * (b @ e) + c2**2, second, rel_tol=1e-12)
    assert abs(theorem_2(b, S) + c2 - second) > 0.1
    sampled = np.random.default_rng(0).multivariate_normal(np.zeros(5), S, 200_000, method="eigh")
    squares = (np.maximum(sampled, 0) @ b + c2) ** 2
    assert abs(squares.mean() - second) < 5 * squares.std() / math.sqrt(len(squares))


def test_theorem_2_needs_zero_preactivation_means_only():
    """A mu + c1 = 0 is enough: mean and bias may cancel. At other means the formula is far off."""
    draw = np.random.default_rng(2)
    A, mu = draw.standard_normal((5, 4)), draw.standard_normal(4)
    b, S = draw.standard_normal(5), A @ A.T
    mean, cov = moments(A @ mu + (-A @ mu), S)
    assert math.isclose(b @ cov @ b + (b @ mean) ** 2, theorem_2(b, S), rel_tol=1e-12)
    mean, cov = moments(3 * A @ mu, S)
    variance, assumed = b @ cov @ b, theorem_2(b, S) - (b @ moments(np.zeros(5), S)[0]) ** 2
    assert abs(assumed / variance - 1) > 0.1
