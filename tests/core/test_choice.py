"""Choice nodes: value, choose, freeze and margins agree with each other, knots and ties included."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from plica.core.affine import evaluate
from plica.core.choice import Choice, MaxOver, Piecewise, absolute, clip, leaky_relu, relu, soft_threshold, windows

GRID = torch.arange(-3.0, 3.25, 0.25, dtype=torch.float64)  # hits every knot below
SHAPE = (len(GRID),)
PRELU = leaky_relu((2, 3), torch.tensor([[0.25], [-0.5]]))

# name -> node and the function it stands for
SCALAR = {
    "relu": (relu(SHAPE), torch.relu),
    "leaky": (leaky_relu(SHAPE, 0.125), lambda z: F.leaky_relu(z, 0.125)),
    "leaky, decreasing": (leaky_relu(SHAPE, -2.0), lambda z: F.leaky_relu(z, -2.0)),
    "abs": (absolute(SHAPE), torch.abs),
    "clip": (clip(SHAPE, -1.0, 0.5), lambda z: z.clamp(-1.0, 0.5)),
    "clip from below": (clip(SHAPE, -0.5, math.inf), lambda z: z.clamp(min=-0.5)),
    "clip from above": (clip(SHAPE, -math.inf, 2.0), lambda z: z.clamp(max=2.0)),
    "soft threshold": (soft_threshold(SHAPE, 0.75), lambda z: F.softshrink(z, 0.75)),
}
each_function = pytest.mark.parametrize(("op", "function"), SCALAR.values(), ids=SCALAR.keys())


@each_function
def test_scalar_functions(op, function):
    z = torch.stack([GRID, -GRID])
    assert isinstance(op, Choice) and op.shape(SHAPE) == SHAPE
    assert torch.equal(op.value(z), function(z))
    branches = op.choose(z)
    assert branches.dtype == op.dtype == torch.uint8 and branches.shape == z.shape
    assert torch.equal(evaluate(op.freeze(branches), z), function(z))


@each_function
def test_margins_of_scalar_functions_are_right_exactly_on_their_branches(op, function):
    z = torch.stack([GRID, -GRID])
    own = op.choose(z)
    knots = op.knots.reshape(-1).tolist()
    for branch in range(len(knots) + 1):
        branches = torch.full_like(own, branch)
        margins = evaluate(op.margins(branches), z).reshape(2, op.faces, -1)
        low, high = ([-math.inf, *knots][branch], [*knots, math.inf][branch])
        assert torch.equal((margins >= 0).all(1), (z >= low) & (z <= high))  # closed: a knot belongs to both sides
        assert torch.equal((margins == 0).any(1), sum(z == k for k in knots) > 0)
        inside = (z >= low) & (z <= high)
        assert torch.equal(evaluate(op.freeze(branches), z)[inside], function(z)[inside])


@each_function
def test_on_a_knot_the_lower_branch(op, function):
    for j, knot in enumerate(op.knots.reshape(-1).tolist()):
        z = torch.full((1, *SHAPE), knot, dtype=torch.float64)
        assert (op.choose(z) == j).all()
        assert (op.choose(z + 1e-9) == j + 1).all()


@each_function
def test_values_can_be_differentiated(op, function):
    z = (GRID[None] + 0.1).requires_grad_()
    (slope,) = torch.autograd.grad(op.value(z).sum(), z)
    (expected,) = torch.autograd.grad(function(z).sum(), z)
    assert torch.equal(slope, expected)


def test_monotone():
    assert relu(SHAPE).monotone and clip(SHAPE, 0, 1).monotone and soft_threshold(SHAPE, 1).monotone
    assert not absolute(SHAPE).monotone and not PRELU.monotone


def test_slopes_of_channels():
    z = torch.tensor([[[-1.0, 0.0, 2.0], [-1.0, 0.0, 2.0]]]).double()
    expected = torch.tensor([[[-0.25, 0.0, 2.0], [0.5, 0.0, 2.0]]]).double()
    assert torch.equal(PRELU.value(z), expected)
    branches = PRELU.choose(z)
    assert branches.flatten().tolist() == [0, 0, 1, 0, 0, 1]
    assert torch.equal(evaluate(PRELU.freeze(branches), z), expected)
    assert evaluate(PRELU.margins(branches), z).flatten().tolist() == [1, 0, 2, 1, 0, 2]


def test_knots_of_channels():
    op = Piecewise("step", torch.tensor([[[1.0], [-1.0]]]).double(), torch.tensor([0.0, 1.0]).double()[:, None, None],
                   torch.tensor([[[0.0], [0.0]], [[-1.0], [1.0]]]).double(), (2, 2))  # fmt: skip
    z = torch.tensor([[[1.0, 3.0], [-1.0, 0.0]]]).double()
    branches = op.choose(z)
    assert branches.flatten().tolist() == [0, 1, 0, 1]
    assert op.value(z).flatten().tolist() == [0, 2, 0, 1]
    assert evaluate(op.margins(branches), z).flatten().tolist() == [0, 2, 0, 1]


# --- maxima --------------------------------------------------------------------------------------------------------


def test_the_lowest_position_wins_a_tie():
    op = MaxOver(torch.tensor([[0, 1, 2], [2, 1, 0], [-1, 2, 2]]), (3,), (3,))
    z = torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0], [3.0, 2.0, 3.0]]).double()
    assert op.choose(z).tolist() == [[0, 0, 1], [1, 0, 1], [0, 0, 1]]
    assert op.value(z).tolist() == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]


def test_margins_of_maxima():
    op = MaxOver(torch.tensor([[0, 1, 2], [-1, 2, -1]]), (3,), (2,))
    z = torch.tensor([[1.0, 4.0, -2.0], [5.0, 5.0, 0.0]]).double()
    branches = op.choose(z)
    assert branches.tolist() == [[1, 1], [0, 1]]
    assert op.faces == 2
    assert evaluate(op.margins(branches), z).tolist() == [[3, 6, 1, 1], [0, 5, 1, 1]]  # 1: no other unit
    wrong = torch.tensor([[2, 1], [2, 1]], dtype=torch.uint8)
    assert (evaluate(op.margins(wrong), z)[:, :2] < 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_margins_of_maxima_are_right_exactly_for_winners(seed):
    rng = np.random.default_rng(seed)
    op = MaxOver(torch.from_numpy(rng.integers(-1, 6, size=(4, 3))).clamp(min=torch.tensor([0, -1, -1])), (6,), (4,))
    z = torch.from_numpy(rng.integers(-2, 3, size=(20, 6))).double()
    candidates = op.candidates(z)
    for position in range(3):
        branches = torch.full((20, 4), position, dtype=torch.uint8)
        there = op.index[:, position] >= 0
        margins = evaluate(op.margins(branches), z).reshape(20, 4, 2)
        wins = candidates[:, :, position] == candidates.amax(-1)
        assert torch.equal((margins >= 0).all(-1)[:, there], wins[:, there])
        picked = evaluate(op.freeze(branches), z)
        assert torch.equal(picked[:, there], candidates[:, there, position])


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 1, 2), (3, 0, 1), (2, 1, 2)])
def test_windows_are_torch_pooling(stride, padding, dilation):
    shape, pads = (2, 7, 6), ((padding, padding), (padding, padding))
    op = windows(shape, (3, 2), stride=(stride, stride), padding=pads, dilation=(dilation, dilation))
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(3, *shape))) - 5
    expected = F.max_pool2d(z, (3, 2), stride, padding, dilation)
    assert op.shape(shape) == tuple(expected.shape[1:])
    assert torch.equal(op.value(z), expected)
    assert torch.equal(evaluate(op.freeze(op.choose(z)), z), expected)
    assert (evaluate(op.margins(op.choose(z)), z) >= 0).all()


def test_windows_in_one_dimension_and_uneven_borders():
    op = windows((2, 5), (2,), stride=(2,), padding=((1, 0),), dilation=(1,))
    z = torch.arange(10.0, dtype=torch.float64).reshape(1, 2, 5)
    assert op.value(z).tolist() == [[[0, 2, 4], [5, 7, 9]]]
    assert op.index.tolist() == [[-1, 0], [1, 2], [3, 4], [-1, 5], [6, 7], [8, 9]]


def test_groups_of_one_unit_have_no_margins():
    op = MaxOver(torch.tensor([[1], [0]]), (2,), (2,))
    z = torch.tensor([[1.0, 2.0]]).double()
    branches = op.choose(z)
    assert op.faces == 0 and evaluate(op.margins(branches), z).shape == (1, 0)
    assert evaluate(op.freeze(branches), z).tolist() == [[2, 1]]
