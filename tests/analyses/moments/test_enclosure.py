"""Proven bounds of moments: they hold the 30-digit values, are a few units wide, and say no where nothing is proven."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from scipy.stats import norm

import zoo
from oracles import gaussian as oracle
from plica.analyses.moments import LowRank, moment_bounds, moments
from plica.analyses.moments.propagate import is_exact
from plica.analyses.moments.rewrite import without_maxima
from plica.core.affine import Dense
from plica.core.choice import Piecewise, absolute, clip, leaky_relu, relu
from plica.core.network import INPUT, Graph
from plica.core.progress import Progress
from plica.core.result import Standing
from plica.errors import ArgumentError, BudgetReached, DataError, MemoryBudgetError

CASES = [case for i, case in enumerate(oracle.hard_cases()) if i % 7 == 0]


def choice(op, n=2):
    graph = Graph((n,))
    graph.add("f", op((n,)), INPUT)
    return graph.network()


def layered(W, b, B, c, op=relu):
    W, b, B, c = (torch.tensor(np.asarray(t, dtype=float)) for t in (W, b, B, c))
    graph = Graph((W.shape[1],))
    z = graph.add("a", Dense(W, b, (W.shape[1],)), INPUT)
    f = graph.add("f", op((len(b),)), z)
    graph.add("out", Dense(B, c, (len(b),)), f)
    return graph.network()


SLACK = mpf(10) ** -30  # of the oracle


def holds(low, high, exact, width):
    """low <= exact <= high but for the oracle's error, and no wider than asked."""
    with mp.workdps(40):
        inside = mpf(float(low)) - SLACK <= exact <= mpf(float(high)) + SLACK
        return inside and float(high) - float(low) <= width


def exact_mean(*case):
    with mp.workdps(40):
        return oracle.mean(*case)


@pytest.mark.big(sample=10)
@pytest.mark.parametrize(("a", "b", "r"), CASES)
def test_hard_pairs_of_relus(a, b, r):
    found = moment_bounds(choice(relu), [a, b], [[1.0, r], [r, 1.0]])
    assert found.standing is Standing.RIGOROUS
    assert holds(found.mean_lower[0], found.mean_upper[0], exact_mean(oracle.RELU, a, 1), 1e-14)
    assert holds(found.covariance_lower[0, 1], found.covariance_upper[0, 1], oracle.relu_covariance(a, b, r), 1e-15)
    assert holds(found.covariance_lower[1, 1], found.covariance_upper[1, 1], oracle.relu_covariance(b, b, 1), 1e-15)


@pytest.mark.big(sample=5)
@pytest.mark.parametrize(
    ("op", "branches"),
    [
        (absolute, oracle.ABS),
        (lambda shape: leaky_relu(shape, 0.01), oracle.leaky(0.01)),
        (lambda shape: clip(shape, -1.0, 0.5), oracle.clip(-1.0, 0.5)),
    ],
)
@pytest.mark.parametrize("r", [0.0, 0.4, -0.9375, 1.0, -1.0])
def test_other_choices(op, branches, r):
    m, s = (0.3, -0.7), (1.5, 0.25)
    cov = [[s[0] ** 2, r * s[0] * s[1]], [r * s[0] * s[1], s[1] ** 2]]
    found = moment_bounds(choice(op), m, cov)
    for i in range(2):
        assert holds(found.mean_lower[i], found.mean_upper[i], exact_mean(branches, m[i], s[i]), 1e-15)
        for j in range(2):
            exact = oracle.covariance(branches, branches, (m[i], m[j]), (s[i], s[j]), 1 if i == j else r)
            assert holds(found.covariance_lower[i, j], found.covariance_upper[i, j], exact, 1e-15)


def test_a_variance_is_the_float_given_not_the_square_of_its_root():
    """0.1 has no root in floats; at mean 0 the mean is sqrt(variance / (2 pi)) exactly."""
    for form in (0.1, [0.1, 0.1], [[0.1, 0.0], [0.0, 0.1]]):
        found = moment_bounds(choice(relu), [0.0, 0.0], form)
        with mp.workdps(40):
            exact = mp.sqrt(mpf(0.1) / (2 * mp.pi))
        assert holds(found.mean_lower[0], found.mean_upper[0], exact, 2e-16)


def test_large_weights_that_cancel_are_exact():
    """10^16 + 1 - 10^16: floats lose the 1; the unit's mean is 1 and its noise exactly zero."""
    net = layered([[1e16, 1.0, -1e16]], [0.0], [[1.0]], [0.0])
    found = moment_bounds(net, [1.0, 1.0, 1.0], LowRank([[1.0], [0.0], [1.0]]))
    assert found.mean_lower[0] < 1 < found.mean_upper[0] and found.width < 1e-15
    assert found.covariance_lower[0, 0] <= 0 <= found.covariance_upper[0, 0]


def test_knots_and_constants():
    """A constant unit on its knot, on either side of it, and a unit whose noise cancels exactly."""
    net = layered([[1, 0], [1, 0], [-1, 0], [1, -1]], [0, 1, 0, 0], np.eye(4), np.zeros(4))
    found = moment_bounds(net, [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]])
    assert np.allclose(found.mean_lower, [0, 1, 0, 0], atol=1e-300) and np.allclose(found.mean_upper, [0, 1, 0, 0])
    equal = moment_bounds(net, [3.0, 3.0], LowRank([[1.0], [1.0]]))
    assert equal.mean_lower[3] <= 0 <= equal.mean_upper[3] < 1e-300


@pytest.mark.big(sample=5)
@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("degenerate", [False, True])
def test_floats_agree_on_every_kind_of_network(kind, degenerate):
    """The part of each network up to its first choice and one affine map more."""
    data, draw = zoo.random_net(kind, 9, degenerate=degenerate)
    net = zoo.build(data)
    part = next((p for name in net.choices for p in [net.upto(name)] if is_exact(without_maxima(p))), None)
    n = math.prod(net.input_shape)
    if part is None:
        with pytest.raises(ArgumentError, match="no choice comes after another"):
            moment_bounds(net, np.zeros(n), 1.0)
        return
    x, root = draw.point(n).astype(float), draw.rng.standard_normal((n, n))
    for cov in (0.3, np.arange(n) % 2 * 0.7, root @ root.T, LowRank(root[:, :1])):
        found, floats = moment_bounds(part, x.reshape(part.input_shape), cov), None
        floats = moments(part, x.reshape(part.input_shape), cov)
        size = 1 + np.abs(floats.mean).max() + np.abs(floats.covariance).max()
        for value, low, high in (
            (floats.mean, found.mean_lower, found.mean_upper),
            (floats.covariance, found.covariance_lower, found.covariance_upper),
        ):
            assert (low <= high).all()
            assert np.maximum(low - value, value - high).max() < 1e-12 * size
        assert found.width < 1e-13 * size


def test_sampling_agrees():
    draw = np.random.default_rng(0)
    W, b, B, c = draw.normal(size=(6, 3)), draw.normal(size=6), draw.normal(size=(2, 6)), draw.normal(size=2)
    found = moment_bounds(layered(W, b, B, c), [0.1, 0.2, -0.3], 0.8)
    x = np.array([0.1, 0.2, -0.3]) + math.sqrt(0.8) * draw.normal(size=(200_000, 3))
    y = np.maximum(x @ W.T + b, 0) @ B.T + c
    error = y.std(0) / math.sqrt(len(y))
    assert (np.abs(y.mean(0) - found.mean_lower) < 5 * error).all()


def test_the_mean_alone():
    found = moment_bounds(choice(relu), [0.3, 1.0], 1.0, covariance=False)
    assert np.isneginf(found.covariance_lower).all() and found.width < 1e-15
    assert found.class_bound() == (1, 0.0)
    assert "widest interval" in repr(found)


# --- a proven class -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.5, 2.0, 10.0])
def test_class_bound_is_cantellis(gap):
    graph = Graph((1,))
    weight = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    graph.add("out", Dense(weight, None, (1,)), INPUT)
    label, bound = moment_bounds(graph.network(), [gap], 1.0).class_bound()
    exact = 1 - Fraction(1) / (1 + Fraction(gap) ** 2)
    assert label == 0 and Fraction(bound) <= exact and bound == pytest.approx(float(exact), rel=1e-12)
    assert bound < norm.cdf(gap)


def test_class_bound_holds_where_it_is_tight():
    """Many networks: the share of draws in the class is never below the bound (less chance)."""
    draw = np.random.default_rng(3)
    seen = 0
    for _ in range(20):
        W, b, B = draw.normal(size=(5, 2)), draw.normal(size=5), draw.normal(size=(3, 5))
        mean = 2 * draw.normal(size=2)
        label, bound = moment_bounds(layered(W, b, B, np.zeros(3)), mean, 0.05).class_bound()
        x = mean + math.sqrt(0.05) * draw.normal(size=(4000, 2))
        share = np.mean((np.maximum(x @ W.T + b, 0) @ B.T).argmax(1) == label)
        assert share >= bound - 0.03
        seen += bound > 0.5
    assert seen >= 5


def test_no_bound_without_a_lead():
    assert moment_bounds(choice(relu), [1.0, 1.0], 1.0).class_bound()[1] == 0.0


# --- refusals -----------------------------------------------------------------------------------------------------


def test_deeper_networks_are_refused():
    graph = Graph((2,))
    f = graph.add("f", relu((2,)), INPUT)
    graph.add("g", relu((2,)), f)
    with pytest.raises(ArgumentError, match="no choice comes after another"):
        moment_bounds(graph.network(), [0.0, 0.0], 1.0)


def test_indefinite_in_exact_arithmetic():
    """Rounding that floats forgive: a product just above the root of the variances."""
    r = 1.0 + 2.0**-52
    with pytest.raises(DataError, match="indefinite in exact arithmetic"):
        moment_bounds(choice(relu), [0.0, 0.0], [[1.0, r], [r, 1.0]])


def test_a_jump_is_refused():
    step = Piecewise("step", *(torch.tensor(t, dtype=torch.float64) for t in ([0.0], [0.0, 1.0], [0.0, 1e-30])), (1,))
    graph = Graph((1,))
    graph.add("f", step, INPUT)
    with pytest.raises(ArgumentError, match="not continuous"):
        moment_bounds(graph.network(), [0.0], 1.0)


def test_budgets():
    net = layered(np.ones((30, 2)), np.arange(30.0), np.ones((1, 30)), [0.0])
    with pytest.raises(MemoryBudgetError, match="Exact columns"):
        moment_bounds(net, [0.0, 0.0], 1.0, progress=Progress(max_bytes=1000))
    with pytest.raises(BudgetReached):
        moment_bounds(net, [0.0, 0.0], 1.0, progress=Progress(max_seconds=0.0))
