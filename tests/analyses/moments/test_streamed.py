"""Moments without the covariance of the layer, against the whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from plica.analyses.moments import moments, streamed
from plica.analyses.moments.noise import LowRank, gaussian
from plica.analyses.moments.propagate import propagate
from plica.core.affine import Concat, Dense, Sum
from plica.core.choice import absolute, clip, leaky_relu, relu
from plica.core.network import INPUT, Graph, Network
from plica.core.progress import Progress
from plica.errors import BudgetReached, MemoryBudgetError


def network(op, p: int, seed: int = 0) -> Network:
    """Two branches of choices, one of them an input of two sums, and a path around all choices."""
    draw = np.random.default_rng(seed)

    def dense(rows, columns):
        bias = torch.from_numpy(draw.standard_normal(rows))
        return Dense(torch.from_numpy(draw.standard_normal((rows, columns))), bias, (columns,))

    graph = Graph((5,))
    wide = graph.add("wide", op((p,)), graph.add("a", dense(p, 5), INPUT))
    narrow = graph.add("narrow", absolute((7,)), graph.add("b", dense(7, 5), INPUT))
    joined = graph.add("joined", Concat(0, ((p,), (7,))), wide, narrow)
    total = graph.add(
        "total", Sum((1.0, -2.0), (3,)), graph.add("c", dense(3, p + 7), joined), graph.add("d", dense(3, 5), INPUT)
    )
    graph.add("out", Sum((1.0, 0.5), (3,)), total, graph.add("e", dense(3, 7), narrow))
    return graph.network()


@pytest.mark.parametrize("p", [1, 63, 300])
@pytest.mark.parametrize("op", [relu, lambda shape: clip(shape, -0.3, 0.8), lambda shape: leaky_relu(shape, 0.1)])
def test_equals_the_whole_matrix(monkeypatch, op, p):
    monkeypatch.setattr(streamed, "BLOCK", 128)
    net, draw = network(op, p), np.random.default_rng(p)
    factor = draw.standard_normal((5, 7))
    for cov in (0.5, [1.0, 0.0, 2.0, 0.0, 0.1], LowRank(draw.standard_normal((5, 2))), factor @ factor.T, 0.0):
        x = gaussian(net, draw.standard_normal(5), cov)
        mean, whole = propagate(net, x, Progress())
        streamed_mean, blocks = streamed.streamed_moments(net, x, Progress())
        assert torch.allclose(streamed_mean, mean, rtol=1e-13, atol=1e-12)
        assert torch.allclose(blocks, whole, rtol=1e-12, atol=1e-12 * float(whole.abs().max()))


def test_affine_network_without_choices():
    graph = Graph((2,))
    graph.add("a", Dense(torch.tensor([[1.0, 2.0]]).double(), None, (2,)), INPUT)
    net = graph.network()
    mean, cov = streamed.streamed_moments(net, gaussian(net, [1.0, 1.0], 3.0), Progress())
    assert mean.tolist() == [[3.0]] and abs(float(cov) - 15) < 1e-13


def test_budgets():
    net = network(relu, 300)
    x = gaussian(net, np.zeros(5), 1.0)
    with pytest.raises(MemoryBudgetError, match="307 units from 5 directions"):
        streamed.streamed_moments(net, x, Progress(max_bytes=10_000))
    with pytest.raises(BudgetReached):
        streamed.streamed_moments(net, x, Progress(max_seconds=0.0))


def test_many_inputs_need_no_square_matrix():
    """Independent noise on 60,000 inputs: sampling draws it directly; a formula is refused with the arithmetic."""
    graph = Graph((60_000,))
    graph.add("a", Dense(torch.ones(2, 60_000).double(), None, (60_000,)), INPUT)
    net, mean = graph.network(), np.zeros(60_000)
    drawn = moments(net, mean, 1.0, method="monte_carlo", samples=200)
    assert abs(drawn.covariance[0, 1] / 60_000 - 1) < 0.6
    with pytest.raises(MemoryBudgetError, match="60000 directions in 60000 inputs"):
        moments(net, mean, 1.0)
    window = np.zeros(60_000)
    window[100:150] = 2.0
    assert np.allclose(moments(net, mean, window).covariance, 100.0)
