"""Probabilities of classes: orthants against closed forms and quadrature, sampling and its intervals, every network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

import zoo
from oracles import noise as oracle
from plica.analyses.moments import LowRank, moments
from plica.analyses.moments.uses import binomial_interval, class_probabilities, gaussian_probabilities
from plica.analyses.moments.uses.orthant import orthant
from plica.core.affine import Dense
from plica.core.network import INPUT, Graph
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached


def probability(mean, cov, **options):
    settings = {"tolerance": 1e-6, "seed": 0, "progress": Progress(), **options}
    return orthant(np.asarray(mean, float), np.asarray(cov, float), **settings)


def close(found, expected):
    p, error = found
    return abs(p - expected) <= 6 * error + 1e-9


def random_cov(seed, k, rank=None):
    draw = np.random.default_rng(seed)
    F = draw.standard_normal((k, rank or k))
    return F @ F.T, F, draw


# --- orthants -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_centred_orthants(k, seed):
    cov, _, _ = random_cov(seed, k)
    sd = np.sqrt(np.diag(cov))
    assert close(probability(np.zeros(k), cov), oracle.centred_orthant(cov / np.outer(sd, sd)))


@pytest.mark.parametrize("k", [2, 9, 40])
def test_equal_correlations_of_one_half(k):
    """The probability that the first of k + 1 equal variables is the largest."""
    found = probability(np.zeros(k), 0.5 + 0.5 * np.eye(k))
    assert close(found, 1 / (k + 1))
    assert found[1] < 1e-5


@pytest.mark.parametrize("seed", range(6))
def test_one_factor(seed):
    draw = np.random.default_rng(seed)
    mean, loads = draw.normal(0.3, 1, size=6), draw.uniform(-0.99, 0.99, size=6)
    cov = np.outer(loads, loads) + np.diag(1 - loads**2)
    sd = 10.0 ** draw.uniform(-5, 5, size=6)
    assert close(probability(mean * sd, cov * np.outer(sd, sd)), oracle.one_factor(mean, loads))


@pytest.mark.parametrize("seed", range(6))
def test_singular_covariance_is_a_cone_in_the_plane(seed):
    cov, F, _ = random_cov(seed, 4, rank=2)
    assert close(probability(np.zeros(4), cov), oracle.plane_cone(F))


@pytest.mark.parametrize("seed", range(3))
def test_singular_covariance_off_the_origin(seed):
    cov, F, draw = random_cov(seed, 5, rank=2)
    mean = draw.normal(1.0, 1.0, size=5)
    assert close(probability(mean, cov), oracle.plane_half_planes(mean, F))


def test_repeated_and_opposite_rows():
    assert probability([1, 1], np.ones((2, 2))) == (pytest.approx(norm.cdf(1), abs=1e-15), 0.0)
    assert probability([1, 0.5], [[1, -1], [-1, 1]])[0] == pytest.approx(norm.cdf(1) - norm.cdf(-0.5), abs=1e-15)
    assert probability([-1, 0.5], [[1, -1], [-1, 1]])[0] == 0


def test_constants_and_tails():
    assert probability([1, 0], np.zeros((2, 2))) == (1.0, 0.0)
    assert probability([1, -1], np.diag([1.0, 0.0])) == (0.0, 0.0)
    assert probability([0.3, 2], np.diag([1.0, 0.0]))[0] == pytest.approx(norm.cdf(0.3), abs=1e-15)
    found, error = probability([-8, -8], np.eye(2))  # a tail is relative to itself
    assert found == pytest.approx(norm.cdf(-8) ** 2, rel=1e-10)
    assert error < 1e-30


def test_errors_are_honest():
    """Over many seeds the differences from the truth are as large as the standard errors say, not larger."""
    cov, k = 0.5 + 0.5 * np.eye(7), 7
    found = [probability(np.zeros(k), cov, seed=s, tolerance=1e-4) for s in range(60)]
    ratios = np.array([(p - 1 / (k + 1)) / e for p, e in found])
    assert 0.4 < ratios.std() < 2.0
    assert np.abs(ratios).max() < 6


def test_a_bad_seed_changes_little_and_the_same_seed_nothing():
    cov, _, draw = random_cov(3, 6)
    mean = draw.normal(1, 1, size=6)
    first, again, other = (probability(mean, cov, seed=s) for s in (0, 0, 1))
    assert first == again != other
    assert abs(first[0] - other[0]) < 8 * (first[1] + other[1])


# --- class probabilities ------------------------------------------------------------------------------------------


def affine(W, b):
    graph = Graph((len(W[0]),))
    weight, bias = (torch.tensor(t, dtype=torch.float64) for t in (W, b))
    graph.add("out", Dense(weight, bias, (len(W[0]),)), INPUT)
    return graph.network()


def test_affine_network_by_both_methods():
    draw = np.random.default_rng(0)
    net = affine(draw.standard_normal((6, 4)).tolist(), draw.standard_normal(6).tolist())
    mean = draw.standard_normal(4)
    exact, sampled = (class_probabilities(net, mean, 0.7, method=m) for m in (None, "monte_carlo"))
    assert exact.method == "gaussian" and exact.standing is Standing.NUMERICAL
    assert sampled.standing is Standing.ESTIMATE and sampled.samples == 100_000
    assert exact.probabilities.sum() == pytest.approx(1, abs=1e-5)
    error = np.sqrt(exact.probabilities * (1 - exact.probabilities) / sampled.samples) + 1e-9
    assert (np.abs(exact.probabilities - sampled.probabilities) < 5 * error).all()


def test_two_classes_are_one_normal_variable():
    net = affine([[1.0, 2.0], [0.5, -1.0]], [0.1, 0.0])
    result = class_probabilities(net, [0.2, -0.1], [[1.0, 0.3], [0.3, 0.5]])
    w = np.array([0.5, 3.0])
    p = norm.cdf((w @ [0.2, -0.1] + 0.1) / math.sqrt(w @ [[1.0, 0.3], [0.3, 0.5]] @ w))
    assert result.probabilities == pytest.approx([p, 1 - p], abs=1e-14)
    assert result.likely == int(np.argmax([p, 1 - p]))


def test_low_rank_noise_that_only_some_classes_feel():
    net = affine([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [0.0, -0.5, 0.2])
    result = class_probabilities(net, [0.0, 0.0], LowRank([[1.0], [0.0]]))
    assert result.probabilities == pytest.approx([norm.cdf(-0.2), 0, norm.cdf(0.2)], abs=1e-12)


def test_ties_go_to_the_lowest_class():
    net = affine([[1.0], [1.0], [0.0]], [0.0, 0.0, 0.0])
    result = class_probabilities(net, [0.0], 1.0)
    assert result.probabilities == pytest.approx([0.5, 0.0, 0.5], abs=1e-14)
    sampled = class_probabilities(net, [0.0], 1.0, method="monte_carlo", samples=2000)
    assert sampled.probabilities[1] == 0
    still = class_probabilities(net, [0.0], 0.0)
    assert still.probabilities.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("degenerate", [False, True])
def test_every_kind_of_network(kind, degenerate):
    data, draw = zoo.random_net(kind, 5, degenerate=degenerate)
    net = zoo.build(data)
    x = draw.point(math.prod(net.input_shape)).reshape(net.input_shape)
    sampled = class_probabilities(net, x, 0.5, samples=3000)
    assert sampled.method == "monte_carlo" and sampled.probabilities.sum() == pytest.approx(1)
    assert (
        (sampled.intervals[:, 0] <= sampled.probabilities) & (sampled.probabilities <= sampled.intervals[:, 1])
    ).all()
    formula = class_probabilities(net, x, 0.5, method="gaussian")
    assert formula.standing is Standing.ESTIMATE
    assert formula.probabilities.sum() == pytest.approx(1, abs=1e-4)


def test_other_moments_can_be_given():
    data, draw = zoo.random_net("dense", 1, degenerate=False)
    net = zoo.build(data)
    found = moments(net, draw.point(net.input_shape[0]), 0.5, method="monte_carlo", samples=5000)
    result = gaussian_probabilities(found)
    assert "monte_carlo" in result.reason and "class" in repr(result)


def test_one_output_has_one_class():
    assert class_probabilities(affine([[1.0]], [0.0]), [0.0], 1.0).probabilities.tolist() == [1.0]


# --- intervals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 10, 200])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_cover_at_the_stated_rate(n, confidence):
    """Exactly: the probability of every count whose interval holds p, summed, for many p."""
    counts = np.arange(n + 1)
    intervals = binomial_interval(counts, n, confidence)
    for p in np.linspace(0, 1, 101):
        holds = (intervals[:, 0] <= p) & (p <= intervals[:, 1])
        assert binom.pmf(counts[holds], n, p).sum() >= confidence - 1e-9
    assert intervals[0, 0] == 0 and intervals[-1, 1] == 1


def test_sampled_intervals_cover_at_the_stated_rate():
    """300 runs with 200 draws: 90 % intervals hold the true probability in at least 90 % of runs, less chance."""
    net = affine([[1.0], [0.0]], [0.0, 0.0])
    truth = norm.cdf(0.4)
    held = 0
    for seed in range(300):
        low, high = class_probabilities(
            net, [0.4], 1.0, method="monte_carlo", samples=200, confidence=0.9, seed=seed
        ).intervals[0]
        held += low <= truth <= high
    assert held >= binom.ppf(1e-4, 300, 0.9)
    assert held < 300  # and are no wider than needed


# --- arguments and budgets ----------------------------------------------------------------------------------------


def test_bad_arguments():
    net = affine([[1.0], [0.0]], [0.0, 0.0])
    with pytest.raises(ArgumentError, match="gaussian"):
        class_probabilities(net, [0.0], 1.0, method="genz")
    for confidence in (0.0, 1.0, 2.0, math.nan):
        with pytest.raises(ArgumentError, match="confidence"):
            class_probabilities(net, [0.0], 1.0, method="monte_carlo", confidence=confidence)
    with pytest.raises(ArgumentError, match="samples"):
        class_probabilities(net, [0.0], 1.0, method="monte_carlo", samples=0)


def test_budget_keeps_what_is_counted():
    net = affine([[1.0], [0.0]], [0.0, 0.0])
    with pytest.raises(BudgetReached):
        class_probabilities(net, [0.0], 1.0, method="monte_carlo", progress=Progress(max_seconds=0.0))
    seen = []

    def stop(label, done, total):
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    result = class_probabilities(net, [0.0], 1.0, method="monte_carlo", progress=Progress(listener=stop))
    assert result.completeness is Completeness.INTERRUPTED
    assert result.samples == 8192
