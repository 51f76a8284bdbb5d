"""Certified radii against the exact distance by exhaustion, known answers, budgets and bad input."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import plica
from oracles import networks
from oracles import smallest as oracle
from plica.analyses.adversarial import certified_radius
from plica.analyses.adversarial.exact import radius as inner
from plica.errors import ArgumentError, DataError, ShapeError
from zoo import KINDS, build, random_net

NORMS = (2.0, math.inf, 1.0)


@pytest.mark.big(sample=28)
@pytest.mark.parametrize("seed", range(210))
def test_no_radius_exceeds_the_exact_distance(seed):
    data, draw = random_net(KINDS[seed % 7], 5000 + seed, degenerate=seed % 2 == 1)
    x = np.clip(draw.point(math.prod(data["input"])), -2, 2)
    label = int(np.argmax([float(v) for v in networks.output(data, x)]))
    norm, box = NORMS[(seed // 2) % 3], (x - 1.0, x + 1.5)
    exact = oracle.smallest(data, x, label, norm, box=tuple(map(list, box)))
    net = build(data)
    X = x.reshape(1, *net.input_shape)
    for upper in (None, [0.01], [50.0]):
        found = certified_radius(net, X, [label], norm=norm, box=plica.Box(*box), upper=upper)
        assert found.radius[0] <= exact * (1 + 1e-9) + 1e-9
        assert found.standing.is_proof and found.done.all()


def test_linear_networks_are_solved():
    net = plica.load(_eye(), (2,))
    for norm, answer in ((2.0, 0.8 / math.sqrt(2)), (math.inf, 0.4), (1.0, 0.8)):
        found = certified_radius(net, [[0.9, 0.1], [0.1, 0.9]], [0, 0], norm=norm)
        assert answer * 0.998 < found.radius[0] <= answer and found.right.tolist() == [True, False]
        assert found.radius[1] == 0
    assert "1 misclassified" in found.summary()
    alone = certified_radius(net, [[0.9, 0.1]], box=plica.Box([0.5, 0.0], [1.0, 0.4]))
    assert alone.radius[0] == math.inf and "whole box" in alone.summary()


def _eye():
    module = nn.Linear(2, 2, bias=False).double()
    nn.init.eye_(module.weight)
    return module


def test_a_ball_that_does_not_hold_still_proves_a_smaller_one():
    """Few balls are needed: the bound over a ball that is too large is a radius itself."""
    torch.manual_seed(0)
    net = plica.load(nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3)), (6,))
    X, calls = np.random.default_rng(0).normal(size=(5, 6)), []
    real = inner.nearest

    def counted(*args):
        calls.append(args[-1])
        return real(*args)

    inner.nearest = counted
    try:
        found = certified_radius(net, X)
    finally:
        inner.nearest = real
    assert len(calls) <= 12 * len(X) and (found.radius > 0).all()
    exact = plica.min_distortion(net, X, exact=True)
    assert exact.proven.all() and (found.radius <= exact.distance).all()
    assert (found.radius >= 0.2 * exact.lower_bound).all()


def test_budgets_leave_zeros():
    net = plica.load(_eye(), (2,))
    stopped = certified_radius(net, [[0.9, 0.1]] * 3, progress=plica.Progress(max_seconds=0.0))
    assert stopped.completeness == "budget reached" and not stopped.radius.any() and not stopped.done.any()

    class Interrupting(plica.Progress):
        def check(self):
            raise KeyboardInterrupt

    assert certified_radius(net, [[0.9, 0.1]], progress=Interrupting()).completeness == "interrupted"


def test_bad_input():
    net, X = plica.load(_eye(), (2,)), [[0.9, 0.1]]
    with pytest.raises(ArgumentError, match=r"plica\.load"):
        certified_radius(_eye().eval(), X)
    with pytest.raises(ArgumentError, match="norm"):
        certified_radius(net, X, norm=3.0)
    with pytest.raises(DataError, match="outside the box"):
        certified_radius(net, X, box=plica.Box(2, 3))
    with pytest.raises(ShapeError, match="upper"):
        certified_radius(net, X, upper=[1.0, 2.0])
    with pytest.raises(DataError, match="at least 0"):
        certified_radius(net, X, upper=[-1.0])
