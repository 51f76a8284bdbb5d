"""Largest values of units against exhaustion over all patterns; attained points in fractions; brackets on a budget."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

import plica
from oracles import networks, smallest
from plica.analyses.adversarial import largest_activation
from plica.analyses.adversarial.exact import largest as inner
from plica.errors import ArgumentError, DataError, ShapeError
from zoo import KINDS, build, random_net


def exhausted(data, low, high):
    """Largest value of every output over the box: one program per pattern and output."""
    best = None
    for _, rows, value in smallest.cells(data, len(low), (list(low), list(high))):
        best = np.full(len(value), -math.inf) if best is None else best
        for k, form in enumerate(value):
            for slack in (0.0, 1e-10):
                b = rows[:, 0] + slack
                found = linprog(-form[1:], A_ub=-rows[:, 1:], b_ub=b, bounds=list(zip(low, high, strict=True)))
                if found.status == 0:
                    best[k] = max(best[k], form[0] - found.fun)
                    break
    return best


@pytest.mark.big(sample=21)
@pytest.mark.parametrize("seed", range(140))
def test_brackets_hold_the_exact_largest(seed):
    kind = KINDS[seed % 7]
    data, draw = random_net(kind, 900 + seed, degenerate=seed % 2 == 1)
    x = np.clip(draw.point(math.prod(data["input"])), -2, 2)
    half = 0.5 if kind in ("pool", "conv") else 1.0
    low, high = x - half, x + np.where(np.arange(len(x)) % 2, half, 0.0)
    exact = exhausted(data, low, high)
    net = build(data)
    found = largest_activation(net, layer=net.layers[-1], box=plica.Box(low, high), progress=plica.Progress(3.0))
    scale = 1.0 + np.abs(exact)
    assert (found.upper_bound >= exact - 1e-7 * scale).all()
    assert (found.attained <= exact + 1e-7 * scale).all()
    if found.completeness == "complete":
        assert found.proven.all() and (found.upper_bound - found.attained <= 1e-4 * scale).all()
    for k, point in enumerate(found.inputs.reshape(len(exact), -1)):
        if not np.isfinite(found.attained[k]):  # not begun when the time was up
            assert found.completeness == "budget reached"
            continue
        assert (point >= low).all() and (point <= high).all()
        assert networks.output(data, point)[k] >= found.attained[k]  # in fractions


def small():
    torch.manual_seed(0)
    return plica.load(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2)), (3,))


def test_sides_units_and_starts():
    net, box = small(), plica.Box(-1, 1)
    pre = largest_activation(net, layer=1, side="pre", box=box)
    post = largest_activation(net, layer=1, box=box)
    assert pre.proven.all() and post.proven.all() and len(post.units) == 5
    np.testing.assert_allclose(post.attained, np.maximum(pre.attained, 0), rtol=1e-6, atol=1e-9)
    one = largest_activation(net, layer=1, units=[3], box=box, starts=np.ones((2, 3)))
    assert one.units.tolist() == [3] and one.upper_bound[0] == pytest.approx(post.upper_bound[3], rel=1e-6)
    X = np.random.default_rng(0).uniform(-1, 1, size=(5000, 3))
    assert (net.upto(1)(X).max(0).values.numpy() <= post.upper_bound).all()
    assert "proven" in post.summary() and post.plot().axes
    fixed = largest_activation(net, layer=1, box=plica.Box(np.array([-1.0, 0.5, 0.0]), np.array([1.0, 0.5, 0.0])))
    assert (fixed.inputs[:, 1] == 0.5).all() and (fixed.inputs[:, 2] == 0).all() and fixed.proven.all()


def test_budgets_and_interrupts_leave_brackets(monkeypatch):
    net, box = small(), plica.Box(-1, 1)
    stopped = largest_activation(net, layer=1, box=box, progress=plica.Progress(max_seconds=0.0))
    assert stopped.completeness == "budget reached" and np.isinf(stopped.upper_bound).all()
    full = largest_activation(net, layer=2, box=box)
    calls, real = [], inner.Largest._visit

    def interrupting(self, *args):
        calls.append(0)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(inner.Largest, "_visit", interrupting)
    cut = largest_activation(net, layer=2, box=box)
    assert cut.completeness == "interrupted"
    assert cut.upper_bound[0] >= full.attained[0] and cut.attained[0] <= full.upper_bound[0]


def test_bad_input():
    net = small()
    with pytest.raises(ArgumentError, match="bounded box"):
        largest_activation(net, layer=1)
    with pytest.raises(ArgumentError, match="not bounded"):
        largest_activation(net, layer=1, box=plica.Box(0, math.inf))
    with pytest.raises(ShapeError, match="variables"):
        largest_activation(net, layer=1, box=plica.Box(np.zeros(4), np.ones(4)))
    with pytest.raises(ArgumentError, match="flat indices"):
        largest_activation(net, layer=1, units=[5], box=plica.Box(0, 1))
    with pytest.raises(DataError, match="outside"):
        largest_activation(net, layer=1, box=plica.Box(0, 1), starts=np.full((1, 3), 2.0))
    with pytest.raises(ShapeError, match="starts"):
        largest_activation(net, layer=1, box=plica.Box(0, 1), starts=np.zeros((1, 4)))
