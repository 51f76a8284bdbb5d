"""Piecewise-linear functions of Gaussian vectors: moments against quadrature, gradients against differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from oracles import gaussian as oracle
from plica.analyses.moments.choice import choice_moments, relu_moments
from plica.analyses.moments.units import Kinks, tails, unit_moments
from plica.core.choice import absolute, clip, leaky_relu, relu, soft_threshold
from plica.errors import ArgumentError, ShapeError

FUNCTIONS = {
    "relu": (relu, oracle.RELU),
    "abs": (absolute, oracle.ABS),
    "leaky": (lambda shape: leaky_relu(shape, 0.1), oracle.leaky(0.1)),
    "clip": (lambda shape: clip(shape, -0.5, 1.0), oracle.clip(-0.5, 1.0)),
    "relu6": (lambda shape: clip(shape, 0.0, 6.0), oracle.clip(0.0, 6.0)),
}


def double(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gaussian(seed: int, p: int = 6, n: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and a factor of a singular covariance with a zero, a repeated and an opposite unit."""
    draw = np.random.default_rng(seed)
    mean, factor = torch.from_numpy(draw.standard_normal(p)), torch.from_numpy(draw.standard_normal((p, n)))
    factor[0] = 0
    factor[1], mean[1] = 2 * factor[2], 2 * mean[2]
    factor[3], mean[3] = -factor[2], -mean[2]
    return mean, factor


# --- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("m", "s", "r"), [((0.4, -1.1), (0.7, 2.0), 0.55), ((0.9, 0.2), (1.5, 1.5), -0.97)])
def test_moments_of_a_pair(name, m, s, r):
    op, branches = FUNCTIONS[name]
    cov = double([[s[0] ** 2, r * s[0] * s[1]], [r * s[0] * s[1], s[1] ** 2]])
    mean, out = choice_moments(double(m), cov, op((2,)))
    for i in range(2):
        assert abs(float(oracle.mean(branches, m[i], s[i]) - float(mean[i]))) < 1e-14
        own = oracle.covariance(branches, branches, (m[i], m[i]), (s[i], s[i]), 1)
        assert abs(float(own - float(out[i, i]))) < 1e-13 * s[i] ** 2
    exact_r = float(cov[0, 1]) / math.sqrt(float(cov[0, 0]) * float(cov[1, 1]))
    both = oracle.covariance(branches, branches, m, s, exact_r)
    assert abs(float(both - float(out[0, 1]))) < 1e-13 * s[0] * s[1]


def test_units_of_different_functions_and_scales():
    parts = [FUNCTIONS[name] for name in ("relu", "clip", "leaky")]
    kinks = Kinks.join([Kinks.of(op((1,))) for op, _ in parts])
    m, s = (0.3, -0.2, 1e-8), (1e-3, 1e3, 1.0)
    r = np.array([[1.0, 0.3, -0.8], [0.3, 1.0, 0.1], [-0.8, 0.1, 1.0]])
    _, out = choice_moments(double(m), torch.from_numpy(r * np.outer(s, s)), kinks)
    for i in range(3):
        for j in range(i + 1, 3):
            pair = oracle.covariance(parts[i][1], parts[j][1], (m[i], m[j]), (s[i], s[j]), r[i, j])
            assert abs(float(pair - float(out[i, j]))) < 1e-12 * s[i] * s[j]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_kinks_are_the_function(name):
    op = FUNCTIONS[name][0]((2, 3))
    z = torch.linspace(-7, 7, 30).double().reshape(5, 2, 3)
    k = Kinks.of(op)
    flat = z.flatten(1)
    value = k.constant + k.slope * flat + (k.jumps * (flat[:, None] - k.knots).clamp(min=0)).sum(1)
    assert torch.allclose(value, op.value(z).flatten(1), rtol=1e-15, atol=1e-15)


def test_slopes_per_channel():
    op = leaky_relu((2, 3), double([[0.1], [0.5]]))
    mean, cov = torch.zeros(6).double(), torch.eye(6).double()
    out, _ = choice_moments(mean, cov, op)
    assert torch.allclose(out, double([0.9] * 3 + [0.5] * 3) / math.sqrt(2 * math.pi), rtol=1e-15)


@pytest.mark.parametrize("x", [0.0, 0.5, 3.0, 8.0, 20.0, 35.0])
def test_tails_keep_their_relative_accuracy(x):
    with mp.workdps(60):
        density, below, z = mp.npdf(mpf(x)), mp.ncdf(-mpf(x)), mpf(x)
        expected = (below, density - z * below, (1 + z * z) * below - z * density)
        for got, exact in zip(tails(double([x])), expected, strict=True):
            assert abs(mpf(float(got)) / exact - 1) < 1e-14 * max(1, x**4)


@pytest.mark.parametrize("a", [8.0, -8.0, 12.0, -12.0, 30.0, -30.0])
def test_means_and_variances_far_from_the_knot(a):
    unit = unit_moments(Kinks.of(relu((1,))), double([a]), double([1.0]))
    with mp.workdps(80):
        below, z = mp.ncdf(-mpf(abs(a))), mpf(abs(a))
        half, square = mp.npdf(z) - z * below, (1 + z * z) * below - z * mp.npdf(z)
        variance = square - half**2 + (1 - 2 * below if a > 0 else 0)
        assert abs(float(unit.mean) / (half + max(mpf(a), 0)) - 1) < 1e-12
        assert abs(float(unit.variance) / variance - 1) < 1e-9


# --- degenerate covariances -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_zero_covariance_gives_the_function_itself(name):
    op = FUNCTIONS[name][0]((7,))
    mean = double([-8.0, -0.5, -1e-300, 0.0, 0.3, 1.0, 8.0])
    out, cov = choice_moments(mean, torch.zeros(7, 7).double(), op)
    assert torch.allclose(out, op.value(mean[None])[0], rtol=1e-15, atol=1e-16)
    assert not cov.any()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_singular_covariances_stay_positive_semidefinite(name, seed):
    mean, factor = gaussian(seed, p=80)
    _, out = choice_moments(mean, factor @ factor.T, FUNCTIONS[name][0]((80,)))
    values = torch.linalg.eigvalsh(out)
    assert values[0] > -1e-14 * values[-1]


def test_repeated_and_opposite_units():
    mean, factor = gaussian(0)
    _, out = relu_moments(mean, factor @ factor.T)
    assert not out[0].any()
    assert torch.allclose(out[1], 2 * out[2], rtol=1e-13, atol=1e-15)
    # relu(z) - relu(-z) = z: the variance of the difference is that of z
    assert math.isclose(out[2, 2] + out[3, 3] - 2 * out[2, 3], factor[2] @ factor[2], rel_tol=1e-14)


def test_function_without_kink_is_linear():
    mean, factor = gaussian(1)
    out, cov = choice_moments(mean, factor @ factor.T, soft_threshold((6,), 0.0))
    assert torch.allclose(out, mean, rtol=1e-15)
    assert torch.allclose(cov, factor @ factor.T, rtol=1e-13, atol=1e-15)


def test_tiny_and_huge_scales():
    for scale in (1e-140, 1e140):
        mean, factor = gaussian(2)
        plain = relu_moments(mean, factor @ factor.T)[1]
        scaled = relu_moments(mean * scale, (factor @ factor.T) * scale**2)[1]
        assert torch.allclose(scaled / scale**2, plain, rtol=1e-10, atol=1e-14)


def test_float32_stays_float32():
    mean, factor = gaussian(3, p=70)
    cov = factor @ factor.T
    got_mean, got = relu_moments(mean.float(), cov.float())
    exact_mean, exact = relu_moments(mean, cov)
    assert got.dtype == got_mean.dtype == torch.float32
    sd = cov.diagonal().sqrt()
    assert ((got - exact).abs() <= 1e-6 * torch.outer(sd, sd)).all()
    assert ((got_mean - exact_mean).abs() <= 1e-6 * (sd + mean.abs())).all()


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match="do not fit 3 units"):
        choice_moments(torch.zeros(2).double(), torch.eye(2).double(), relu((3,)))


# --- gradients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("seed", range(2))
def test_gradients_through_mean_and_weights(name, seed):
    """Central differences at a singular covariance: correlations of +1 and -1 and a unit of variance zero."""
    mean, factor = gaussian(seed)
    op = FUNCTIONS[name][0]((6,))

    def moments(m, w):
        return choice_moments(m, w @ w.T, op)

    inputs = (mean.requires_grad_(), factor.requires_grad_())
    assert torch.autograd.gradcheck(moments, inputs, eps=1e-6, atol=2e-7, rtol=1e-6, nondet_tol=1e-14)


def test_gradient_by_the_covariance_is_symmetric_and_right():
    mean, factor = gaussian(4)
    cov = factor @ factor.T + 0.3 * torch.eye(6).double()
    given = cov.clone().requires_grad_()
    seed = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 6)))
    (relu_moments(mean, given)[1] * seed).sum().backward()
    assert torch.equal(given.grad, given.grad.T)
    for i, j in [(0, 0), (0, 1), (2, 5), (4, 4)]:
        step = torch.zeros(6, 6).double()
        step[i, j] = step[j, i] = 1e-6
        up, down = ((relu_moments(mean, cov + sign * step)[1] * seed).sum() for sign in (1, -1))
        assert math.isclose((up - down) / 2e-6, (given.grad * step).sum() / 1e-6, rel_tol=1e-7, abs_tol=1e-8)


def test_gradients_by_the_closed_forms():
    """dCov/dS_ij = Phi2, and the derivatives by means and variances, from 30-digit quadrature."""
    m, s, r = (0.4, -1.1), (0.7, 2.0), 0.9
    mean = double(m).requires_grad_()
    cov = double([[s[0] ** 2, r * s[0] * s[1]], [r * s[0] * s[1], s[1] ** 2]]).requires_grad_()
    relu_moments(mean, cov)[1][0, 1].backward()
    a, b = m[0] / s[0], m[1] / s[1]
    by_a, by_b, by_r = (float(v) for v in oracle.relu_derivatives(a, b, r))
    value = float(oracle.relu_covariance(a, b, r))
    assert math.isclose(2 * cov.grad[0, 1], by_r, rel_tol=1e-13)
    assert np.allclose(mean.grad, [s[1] * by_a, s[0] * by_b], rtol=1e-12)
    by_sd = s[1] * (value - a * by_a - r * by_r)
    assert math.isclose(cov.grad[0, 0], by_sd / (2 * s[0]), rel_tol=1e-11)


@pytest.mark.parametrize("r", [0.3, -0.6, 0.97, -0.999])
def test_gradients_are_the_closed_forms(r):
    """The formulas of docs/moments.md, with Phi_2 itself from the gradient by the covariance."""
    a, b, s = 0.4, -0.9, (0.7, 2.0)
    mean = double([a * s[0], b * s[1]]).requires_grad_()
    cov = double([[s[0] ** 2, r * s[0] * s[1]], [r * s[0] * s[1], s[1] ** 2]]).requires_grad_()
    relu_moments(mean, cov)[1][0, 1].backward()

    def phi(x):
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    def Phi(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    def h(x):
        return phi(x) + x * Phi(x)

    q, both = math.sqrt((1 - r) * (1 + r)), float(2 * cov.grad[0, 1])
    conditional = b * both + phi(b) * Phi((a - r * b) / q) + r * phi(a) * Phi((b - r * a) / q)
    assert math.isclose(mean.grad[0], s[1] * conditional - Phi(a) * s[1] * h(b), rel_tol=1e-11)
    by_variance = phi(a) / (2 * s[0]) * s[1] * (q * h((b - r * a) / q) - h(b))
    assert math.isclose(cov.grad[0, 0], by_variance, rel_tol=1e-11)


def test_derivatives_of_the_variance():
    """dVar/dS_ii = Phi(a) - h(a) phi(a), dVar/dm = 2 s h(a) Phi(-a)."""
    a, s = 0.6, 1.7
    mean, cov = double([a * s]).requires_grad_(), double([[s * s]]).requires_grad_()
    relu_moments(mean, cov)[1].sum().backward()
    phi, Phi = math.exp(-a * a / 2) / math.sqrt(2 * math.pi), 0.5 * math.erfc(-a / math.sqrt(2))
    h = phi + a * Phi
    assert math.isclose(cov.grad, Phi - h * phi, rel_tol=1e-13)
    assert math.isclose(mean.grad, 2 * s * h * (1 - Phi), rel_tol=1e-13)


def test_gradients_are_finite_where_variances_vanish():
    mean = double([0.0, 1.0, -1.0]).requires_grad_()
    weights = torch.zeros(3, 2).double().requires_grad_()
    out, cov = relu_moments(mean, weights @ weights.T)
    (out.sum() + cov.sum()).backward()
    assert mean.grad.tolist() == [0.5, 1.0, 0.0]
    assert not weights.grad.any()


def test_second_derivatives_are_refused():
    mean, factor = gaussian(5)
    given = (factor @ factor.T).requires_grad_()
    with pytest.raises(ArgumentError, match="differentiable once"):
        torch.autograd.grad(relu_moments(mean, given)[1].sum(), given, create_graph=True)
