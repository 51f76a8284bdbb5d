"""Results that check themselves against Monte Carlo, and intervals that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from plica.analyses.moments import LowRank, moments
from plica.core.affine import Dense
from plica.core.choice import relu
from plica.core.network import INPUT, Graph, Network
from plica.core.progress import Progress
from plica.errors import ArgumentError


def network(*widths: int, seed: int = 0) -> Network:
    draw, graph, value = np.random.default_rng(seed), Graph((widths[0],)), INPUT
    for i in range(len(widths) - 1):
        weight = torch.from_numpy(draw.standard_normal((widths[i + 1], widths[i])) / math.sqrt(widths[i]))
        value = graph.add(
            "affine", Dense(weight, torch.from_numpy(draw.standard_normal(len(weight))), (widths[i],)), value
        )
        if i < len(widths) - 2:
            value = graph.add("relu", relu((widths[i + 1],)), value)
    return graph.network()


def test_exact_moments_pass_their_check():
    check = moments(network(4, 9, 3), np.ones(4), 0.7).check(samples=50_000)
    assert check.sampled.samples == 50_000
    assert check.mean.shape == (3,) and check.covariance.shape == (3, 3) and check.errors.size == 9
    assert check.largest < 5
    assert "standard errors" in repr(check)


def test_a_wrong_result_fails_its_check():
    net = network(4, 16, 3)
    frozen = moments(net, np.zeros(4), 4.0, method="two_stage", layer=0)
    assert frozen.check(samples=20_000).largest < 5  # one layer of choices: nothing is frozen
    deep = network(4, 16, 16, 3)
    assert moments(deep, np.zeros(4), 4.0, method="two_stage", layer=1).check(samples=20_000).largest > 10


def test_two_samples_of_the_same_question_agree():
    drawn = moments(network(4, 9, 9, 2), np.zeros(4), 1.0, method="monte_carlo", samples=20_000, seed=0)
    assert drawn.check(samples=20_000, seed=1).largest < 6


def test_a_result_without_network_says_so():
    import dataclasses

    loaded = dataclasses.replace(moments(network(4, 9, 3), np.ones(4), 0.7))
    with pytest.raises(ArgumentError, match="read from a file"):
        loaded.check()


def test_streams_what_does_not_fit():
    net = network(5, 2000, 3)
    noise = LowRank(np.random.default_rng(0).standard_normal((5, 2)))
    whole = moments(net, np.zeros(5), noise)
    blocks = moments(net, np.zeros(5), noise, progress=Progress(max_bytes=60 * 2000 * 2000 // 10))
    assert blocks.method == whole.method == "exact"
    assert np.allclose(blocks.covariance, whole.covariance, rtol=1e-12, atol=1e-13)
