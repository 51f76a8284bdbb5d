"""The integral over pairs against quadrature in 30 digits, its rules, its derivatives, and the tiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mpmath import mp

from oracles import gaussian as oracle
from plica.analyses.moments.choice import inverse_of, relu_moments, units_of
from plica.analyses.moments.integral import EDGE, STEEP, TILE, pull
from plica.analyses.moments.tiles import NODES, over_tiles, rules, tiles

ERROR = 1e-13  # of covariances, in units of the standard deviations; the requirement is 1e-12
SLOPE_ERROR = 1e-12


def pair(a: float, b: float, r: float, dtype: torch.dtype = torch.float64) -> float:
    """Covariance of the ReLUs of one pair of unit variances."""
    cov = torch.tensor([[1.0, r], [r, 1.0]], dtype=dtype)
    return float(relu_moments(torch.tensor([a, b], dtype=dtype), cov)[1][0, 1])


def slopes(a: float, b: float, r: float) -> tuple[float, ...]:
    """Derivatives of I by a, b and r, as the backward pass gets them."""
    cov, ones = np.array([[1.0, r], [r, 1.0]]), np.ones(2)
    units = units_of(torch.tensor([[a, b]], dtype=torch.float64), torch.ones(1, 2).double(), torch.ones(2).double())
    out, sums = np.zeros((2, 2)), np.zeros((3, 1, 2))
    seed = np.array([[0.0, 0.5], [0.5, 0.0]])
    pull(cov, ones, units, rules(cov.dtype), tiles(2), seed, out, sums)
    return float(sums[0, 0, 0]), float(sums[0, 0, 1]), float(2 * out[0, 1])


def drawn(count: int, seed: int) -> list[tuple[float, float, float]]:
    """Pairs with |r| close below and above the limits of the rules, thresholds equal, nearly equal, and not."""
    draw = np.random.default_rng(seed)
    limits = [limit for limit, _ in NODES[np.dtype(np.float64)]] + [1 - EDGE / 2, 1.0]
    cases = []
    for _ in range(count):
        a = draw.normal(0, 2)
        b = a + draw.choice([0.0, 1e-5, 1e-3, 0.03, 0.3]) if draw.random() < 0.6 else draw.normal(0, 2)
        r = min(draw.choice(limits) * (1 + draw.choice([-1e-12, 1e-12])), 1.0)
        sign = draw.choice([-1, 1])
        cases.append((float(a), float(sign * b), float(sign * r)))
    return cases


def some_hard_cases(count: int, seed: int) -> list[tuple[float, float, float]]:
    every = list(oracle.hard_cases())
    return [every[i] for i in np.random.default_rng(seed).choice(len(every), count, replace=False)]


FIXED = [(0.0, 0.0, 1 - 1e-12), (0.7, 0.7, -(1 - 1e-12)), (8.0, 8.0, 0.94), (0.0, 1e-9, 1.0), (2.5, -2.5, -1.0)]


@pytest.mark.parametrize("case", FIXED)
def test_covariance_of_fixed_hard_cases(case):
    assert abs(float(oracle.relu_covariance(*case) - pair(*case))) < ERROR


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("part", range(40))
def test_covariance_of_hard_cases(part):
    for case in some_hard_cases(8, part) + drawn(8, part):
        assert abs(float(oracle.relu_covariance(*case) - pair(*case))) < ERROR, case


@pytest.mark.big(sample=1)
@pytest.mark.parametrize("part", range(20))
def test_float32_covariances(part):
    for a, b, r in some_hard_cases(6, 100 + part) + drawn(6, 100 + part):
        # the case that float32 sees, so that only the arithmetic is judged
        a, b, r = (float(np.float32(v)) for v in (a, b, r))
        assert abs(float(oracle.relu_covariance(a, b, r)) - pair(a, b, r, torch.float32)) < 1e-6, (a, b, r)


@pytest.mark.parametrize("limit", [limit for limit, _ in NODES[np.dtype(np.float32)]])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_float32_at_the_end_of_every_rule(limit, sign):
    """Against the float64 rules, at every pair of a grid of thresholds and at close ones."""
    grid = torch.cat([torch.linspace(-4, 4, 33), torch.linspace(-0.1, 0.1, 21)])
    r = float(np.float32(sign * limit * (1 - 1e-6)))
    mean = torch.cat([grid, sign * grid])  # rows of the upper right block are pairs with correlation r
    n = len(grid)
    cov = torch.full((2 * n, 2 * n), abs(r), dtype=torch.float32)
    cov[:n, n:] = cov[n:, :n] = r
    cov.fill_diagonal_(1.0)
    got, exact = relu_moments(mean, cov)[1], relu_moments(mean.double(), cov.double())[1]
    assert ((got - exact).abs() < 1e-6).all()


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("part", range(40))
def test_derivatives(part):
    """The backward pass leaves out the term r Phi(a) Phi(b), which is differentiated elsewhere."""
    cases = [c for c in some_hard_cases(4, 200 + part) + drawn(4, 200 + part) if abs(c[2]) < 1]
    for a, b, r in cases:
        with mp.workdps(40):
            by_a, by_b, by_r = oracle.relu_derivatives(a, b, r)
            rest = (r * mp.npdf(a) * mp.ncdf(b), r * mp.ncdf(a) * mp.npdf(b), mp.ncdf(a) * mp.ncdf(b))
            expected = [float(v - w) for v, w in zip((by_a, by_b, by_r), rest, strict=True)]
        assert np.allclose(slopes(a, b, r), expected, rtol=0, atol=SLOPE_ERROR), (a, b, r)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(("a", "b"), [(0.3, 0.3), (0.0, 0.0), (-1.2, 0.4), (2.0, 5.0), (-8.0, -8.0)])
def test_derivatives_at_correlation_one_are_the_limits(a, b, sign):
    at, near = slopes(a, sign * b, sign), slopes(a, sign * b, sign * (1 - 1e-13))
    assert np.isfinite(at).all()
    assert np.allclose(at, near, rtol=0, atol=1e-6)  # by_r approaches its limit like sqrt(1 - r)


def test_far_thresholds_give_the_linear_map():
    mean = torch.tensor([1e3, -1e3, 1e8]).double()
    cov = torch.tensor([[2.0, 0.5, 1.0], [0.5, 1.0, 0.1], [1.0, 0.1, 3.0]]).double()
    out_mean, out = relu_moments(mean, cov)
    assert torch.equal(out_mean, mean.clamp(min=0))
    active = torch.tensor([1.0, 0.0, 1.0]).double()
    assert torch.allclose(out, cov * torch.outer(active, active), rtol=1e-15, atol=1e-300)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rules_cover_every_correlation_and_integrate_polynomials(dtype):
    rule = rules(np.dtype(dtype))
    assert list(rule.limits) == sorted(rule.limits)
    assert STEEP in rule.limits and rule.limits[-1] == 1 - EDGE
    for start, stop in zip(rule.starts[:-1], rule.starts[1:], strict=True):
        x, w = rule.nodes[start:stop], rule.weights[start:stop]
        assert math.isclose(w @ x**5, 1 / 6, rel_tol=1e-13)


@pytest.mark.parametrize("size", [1, 2, TILE - 1, TILE, TILE + 1, 2 * TILE + 7])
def test_any_size_is_symmetric_and_equals_its_own_pairs(size):
    draw = np.random.default_rng(size)
    factor = torch.from_numpy(draw.standard_normal((size, 3)))
    mean, cov = torch.from_numpy(draw.standard_normal(size)), factor @ factor.T
    out = relu_moments(mean, cov)[1]
    assert torch.equal(out, out.T)
    i, j = draw.integers(size, size=(2, 20))
    for u, v in zip(i, j, strict=True):
        pick = [u, v]
        alone = relu_moments(mean[pick], cov[pick][:, pick])[1][0, 1]
        assert abs(float(alone - out[u, v])) <= 1e-15 * float((cov[u, u] * cov[v, v]).sqrt()) + 1e-300 or u == v


def test_threads_do_not_change_the_answer():
    draw = np.random.default_rng(0)
    factor = torch.from_numpy(draw.standard_normal((200, 5)))
    mean, cov = torch.from_numpy(draw.standard_normal(200)), factor @ factor.T
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = relu_moments(mean, cov)
        torch.set_num_threads(3)
        three = relu_moments(mean, cov)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one[0], three[0]) and torch.equal(one[1], three[1])


def test_tiles_cover_the_upper_triangle_once():
    covered = np.zeros((4, 4), dtype=int)
    for part in over_tiles(tiles(3 * TILE + 1), lambda part: part):
        for i, j in part // TILE:
            covered[i, j] += 1
    assert np.array_equal(covered, np.triu(np.ones((4, 4), dtype=int)))


def test_inverse_of_zero_is_zero():
    assert np.array_equal(inverse_of(np.array([0.0, 4.0])), [0.0, 0.25])
