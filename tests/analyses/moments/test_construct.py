"""Noise that fools: inside its box, as good as brute force, with exact gradients, verified by sampling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import zoo
from oracles import noise as oracle
from plica.analyses.moments.uses import NoiseLimits, noise
from plica.analyses.moments.uses.construct import _mean_function
from plica.analyses.moments.uses.stage import stage
from plica.core.affine import Dense
from plica.core.choice import relu
from plica.core.network import INPUT, Graph
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, ShapeError


def chain(*widths, seed=0):
    draw = np.random.default_rng(seed)
    pairs = itertools.pairwise(widths)
    return [(draw.standard_normal((m, n)) / math.sqrt(n), draw.standard_normal(m) / 2) for n, m in pairs]


def network(weights):
    n = weights[0][0].shape[1]
    graph, value = Graph((n,)), INPUT
    for i, (W, b) in enumerate(weights):
        value = graph.add(f"dense{i}", Dense(torch.tensor(W), torch.tensor(b), (W.shape[1],)), value)
        if i < len(weights) - 1:
            value = graph.add(f"relu{i}", relu((len(b),)), value)
    return graph.network()


WEIGHTS = chain(2, 12, 3, seed=3)
NET = network(WEIGHTS)
DEEP = network(chain(8, 16, 12, 3, seed=1))
POINT = np.array([0.3, -0.2])


def margins(weights, x, before, target, shift, variance):
    """The objective of eq. (3) or (4), by Theorem 1."""
    (W, b), (B, c) = weights
    mean = oracle.theorem_1(W, b, B, c, x + shift, variance * np.eye(len(x)))
    if target is None:
        return mean[before] - np.delete(mean, before).max()
    return np.delete(mean, target).max() - mean[target]


@pytest.mark.parametrize("target", [None, 0, 1, 2])
def test_as_good_as_a_grid(target):
    """Two inputs and one variance: the best of a fine grid is not better by more than its spacing allows."""
    before = int(oracle.relu_chain(WEIGHTS, POINT).argmax())
    if target == before:
        with pytest.raises(ArgumentError, match=f"other than the input's, {before}"):
            noise(NET, POINT, NoiseLimits(1.0), target=target)
        return
    result = noise(NET, POINT, NoiseLimits(1.5, 1.0), target=target, samples=2000)
    steps = np.linspace(-1.5, 1.5, 13)
    best = min(
        margins(WEIGHTS, POINT, before, target, np.array(shift), v)
        for shift in itertools.product(steps, steps)
        for v in (1e-6, 0.25, 0.5, 1.0)
    )
    assert result.method == "exact" and result.before == before
    assert result.margin == pytest.approx(
        margins(WEIGHTS, POINT, before, target, result.shift, result.variance), rel=1e-10, abs=1e-12
    )
    assert result.margin <= best + 2e-3 * abs(best)


@pytest.mark.parametrize("target", [None, 0])
def test_stays_in_its_box(target):
    limits = NoiseLimits(0.7, 0.3, 0.5)
    result = noise(DEEP, np.zeros(8), limits, target=target, samples=200, seed=4)
    assert result.support.sum() == 4
    assert np.abs(result.shift).max() <= 0.7 * (1 + 1e-12)
    assert not result.shift[~result.support].any()
    assert 0 < result.variance <= 0.3 * (1 + 1e-12)


def test_support_is_drawn_by_the_seed_or_given():
    limits = NoiseLimits(1.0, 1.0, 0.3)
    first, again, other = (noise(DEEP, np.zeros(8), limits, target=0, samples=50, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.support, again.support) and np.array_equal(first.shift, again.shift)
    assert not np.array_equal(first.support, other.support)
    mask = np.array([1, 0, 0, 0, 0, 0, 0, 1], dtype=bool)
    given = noise(DEEP, np.zeros(8), NoiseLimits(1.0, 1.0, mask), samples=50)
    assert np.array_equal(given.support, mask)


def test_verified_by_sampling_the_network_itself():
    result = noise(NET, POINT, NoiseLimits(1.5, 1.0), samples=20_000)
    assert result.standing is Standing.ESTIMATE and result.samples == 20_000
    gaps = (result.sampled_mean - result.mean) / result.sampled_error  # the network is exact
    assert np.abs(gaps).max() < 5
    draw = np.random.default_rng(1).standard_normal((20_000, 2)) * math.sqrt(result.variance)
    classes = np.array([oracle.relu_chain(WEIGHTS, POINT + result.shift + e).argmax() for e in draw])
    share = np.mean(classes != result.before)
    assert abs(share - result.share) < 5 * math.sqrt(0.5 / 20_000)
    assert result.interval[0] <= result.share <= result.interval[1]
    assert result.fooled == (result.sampled_mean.argmax() != result.before)
    assert "draws" in repr(result)


def test_targets_are_reached():
    found = [noise(NET, POINT, NoiseLimits(6.0, 0.01), target=t, samples=500) for t in range(3)
             if t != int(oracle.relu_chain(WEIGHTS, POINT).argmax())]  # fmt: skip
    assert any(r.fooled and r.share > 0.99 and r.margin < 0 for r in found)
    for r in found:
        assert r.fooled == (r.sampled_mean.argmax() == r.target)


def test_more_rounds_are_never_worse_in_the_draws():
    x = np.random.default_rng(0).standard_normal(8)
    one, two = (noise(DEEP, x, NoiseLimits(1.2, 0.2, rounds=r), samples=1000) for r in (1, 2))
    assert one.method == "two_stage"
    assert two.share >= one.share - 0.15  # the rounds are chosen by fewer draws


def test_gradients_of_the_means():
    """Against central differences, by shift and by variance."""
    mask = np.array([1, 1, 0, 1, 1, 0, 1, 1], dtype=bool)
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((1, 8)))
    mean = _mean_function(stage(DEEP, x[0]), x, mask, Progress())
    theta = torch.cat([torch.linspace(-0.5, 0.5, 6, dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)])
    jacobian = torch.autograd.functional.jacobian(mean, theta)
    for i in range(7):
        step = torch.zeros(7, dtype=torch.float64)
        step[i] = 1e-5
        assert torch.allclose((mean(theta + step) - mean(theta - step)) / 2e-5, jacobian[:, i], atol=1e-8)


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("degenerate", [False, True])
def test_every_kind_of_network(kind, degenerate):
    data, draw = zoo.random_net(kind, 6, degenerate=degenerate)
    net = zoo.build(data)
    x = draw.point(math.prod(net.input_shape)).reshape(net.input_shape)
    result = noise(net, x, NoiseLimits(2.0, 0.5, 0.7, rounds=2), samples=300)
    outputs = net(x.astype(float)).numpy().ravel()
    assert result.before == outputs.argmax() and result.target == -1
    assert np.isfinite(result.shift).all() and result.shift.shape == net.input_shape


def test_budget_and_interrupt():
    with pytest.raises(BudgetReached):
        noise(DEEP, np.zeros(8), NoiseLimits(1.0), progress=Progress(max_seconds=0.0))

    def stop(label, done, total):
        seen.append(done)
        if label == "classes" and seen.count(2) == 2:
            raise KeyboardInterrupt

    seen: list[int] = []
    result = noise(DEEP, np.zeros(8), NoiseLimits(1.0, rounds=3), samples=50, progress=Progress(listener=stop))
    assert result.completeness is Completeness.INTERRUPTED


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"shift": 0.0}, ArgumentError), ({"shift": math.nan}, ArgumentError), ({"variance": -1.0}, ArgumentError),
        ({"rounds": 0}, ArgumentError), ({"support": 0.0}, ArgumentError), ({"support": 1.5}, ArgumentError),
        ({"support": np.zeros(8)}, ShapeError), ({"support": np.ones(7)}, ShapeError),
    ],
)  # fmt: skip
def test_bad_limits(options, error):
    with pytest.raises(error):
        noise(DEEP, np.zeros(8), NoiseLimits(**({"shift": 1.0} | options)))


@pytest.mark.parametrize("target", [-1, 3])
def test_bad_targets(target):
    with pytest.raises(ArgumentError, match="target"):
        noise(DEEP, np.zeros(8), NoiseLimits(1.0), target=target)


def test_one_output_has_no_classes():
    with pytest.raises(ArgumentError, match="two or more"):
        noise(network(chain(2, 3, 1)), POINT, NoiseLimits(1.0))
