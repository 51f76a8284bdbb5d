"""Activities as conditions: they hold exactly where the function, written in NumPy, has the same values."""

import itertools

import numpy as np
import pytest
import torch

from oracles.layers import dense
from plica.analyses.preimage.activity import activities, loosen, read_value, steepness
from plica.core.choice import MaxOver, Piecewise, absolute, clip, leaky_relu, relu, soft_threshold, windows
from plica.core.network import INPUT, Graph
from plica.errors import ArgumentError

GRID = np.array([-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
SLOPES = torch.tensor([0.25, -2.0, 0.0, 1.0], dtype=torch.float64)
STEEP = SLOPES.abs() + 1


def table(*values):
    return torch.tensor(values, dtype=torch.float64)


def prelu(z, slopes):
    return np.where(z > 0, z, np.asarray(slopes) * z)


CASES = {
    "relu": (relu((4,)), lambda z: np.maximum(z, 0), True),
    "leaky": (leaky_relu((4,), 0.5), lambda z: prelu(z, 0.5), True),
    "prelu with a negative slope": (leaky_relu((4,), SLOPES), lambda z: prelu(z, SLOPES.numpy()), False),
    "prelu, all slopes positive": (leaky_relu((4,), STEEP), lambda z: prelu(z, STEEP.numpy()), True),
    "clip": (clip((4,), -1.0, 2.0), lambda z: np.clip(z, -1.0, 2.0), True),
    "clip below": (clip((4,), -1.0, np.inf), lambda z: np.maximum(z, -1.0), True),
    "clip above": (clip((4,), -np.inf, 0.5), lambda z: np.minimum(z, 0.5), True),
    "clip to a point": (clip((4,), 1.0, 1.0), np.ones_like, True),
    "soft threshold": (soft_threshold((4,), 1.0), lambda z: np.sign(z) * np.maximum(abs(z) - 1.0, 0), True),
    "abs": (absolute((4,)), np.abs, False),
    "stairs with a needless knot": (
        Piecewise("stairs", table(-1.0, 0.0, 1.0), table(1.0, 0.0, 0.0, 1.0), table(1.0, 0.0, 0.0, -1.0), (4,)),
        lambda z: np.minimum(z + 1, 0) + np.maximum(z - 1, 0),
        True,
    ),
    "falling": (
        Piecewise("falling", table(0.0), table(-1.0, 0.0), table(0.0, 0.0), (4,)),
        lambda z: np.maximum(-z, 0),
        True,
    ),
    "hat": (
        Piecewise("hat", table(-1.0, 1.0), table(1.0, 0.0, -1.0), table(1.0, 0.0, 1.0), (4,)),
        lambda z: np.minimum(0.0, 1.0 - np.abs(z)),
        False,
    ),
}  # fmt: skip


def single(op, n=4):
    graph = Graph((n,) if isinstance(op, Piecewise) else op.input_shape)
    graph.add("layer", op, INPUT)
    return graph.network()


def of(net, X):
    x = net.as_batch(X)
    return activities(net, x, net.pattern(x), "layer")


def holds(held, z, at):
    """Whether the conditions of the witness `at` hold at z."""
    minus = np.where(held.minus >= 0, z[held.minus], 0.0)
    below = held.sign * (z[held.plus] - minus) <= held.limit
    return bool((z[held.fixed] == at[held.fixed]).all() and below.all())


@pytest.mark.parametrize("name", CASES)
def test_scalar_functions(name):
    op, function, alone = CASES[name]
    rng = np.random.default_rng(0)
    witnesses = rng.choice(GRID, (15, 4))
    for held, at in zip(of(single(op), witnesses), witnesses, strict=True):
        tight = {int(r) for r in held.plus[held.tight]}
        for unit, value in itertools.product(range(4), GRID):  # one unit at a time: the function acts on each
            z = at.copy()
            z[unit] = value
            same = np.array_equal(function(z), function(at))
            if held.alone:
                assert holds(held, z, at) == same
            assert same or not holds(held, z, at)
            inside = abs(value - at[unit]) <= 0.5 and (value - at[unit]) * at[unit] >= 0
            if unit not in held.fixed and unit not in tight and inside and same:
                assert holds(held, z, at)
        assert holds(held, at, at)
        if alone:
            assert held.alone
    assert alone or not all(held.alone for held in of(single(op), witnesses))


def test_tight_is_exactly_on_the_knot():
    (held,) = of(single(clip((4,), -1.0, 2.0)), np.array([[-1.0, 2.0, np.nextafter(-1.0, -2.0), 3.0]]))
    assert held.fixed.tolist() == []
    order = np.argsort(held.plus)
    assert held.tight[order].tolist() == [True, True, False, False]
    assert (held.sign[order] * np.array([1, -1, 1, -1]) > 0).all()
    assert (held.sign * held.limit)[order].tolist() == [-1.0, 2.0, -1.0, 2.0]


def test_what_other_branches_can_do():
    (some,), (none,) = of(single(absolute((4,))), np.array([[1.0, 0.0, -2.0, 0.0]])), of(
        single(absolute((4,))), np.zeros((1, 4))
    )  # fmt: skip
    assert (some.alone, some.mirrored.tolist()) == (False, [0, 2])
    assert (none.alone, none.mirrored.tolist()) == (True, [])
    (mixed,) = of(single(leaky_relu((4,), SLOPES)), np.array([[1.0, 1.0, -1.0, 1.0]]))
    assert not mixed.alone and mixed.mirrored is None  # a flat unit beside one that turns: not understood
    (kept,) = of(single(leaky_relu((4,), SLOPES)), np.array([[1.0, 0.0, -1.0, 1.0]]))
    assert kept.alone


def group_max(z, index):
    return np.array([max(z[i] for i in group if i >= 0) for group in index])


MAXIMA = {
    "maxout": MaxOver(torch.tensor([[0, 1, 2], [3, 4, 5]]), (6,), (2,)),
    "border": MaxOver(torch.tensor([[-1, 0, 1], [2, -1, -1], [3, 4, 5]]), (6,), (3,)),
    "overlapping": MaxOver(torch.tensor([[0, 1, 2], [2, 3, 4]]), (6,), (2,)),
    "one each": MaxOver(torch.tensor([[0], [3]]), (6,), (2,)),
    "a border of one": MaxOver(torch.tensor([[0, -1], [-1, 3]]), (6,), (2,)),
    "windows": windows((1, 2, 3), (2, 2), stride=(1, 1), padding=((0, 1), (0, 0)), dilation=(1, 1)),
}


@pytest.mark.parametrize("name", MAXIMA)
def test_maxima(name):
    op, rng = MAXIMA[name], np.random.default_rng(1)
    net, index = single(op), op.index.numpy()
    witnesses = rng.choice([-1.0, 0.0, 1.0, 2.0], (15, 6))
    others = rng.choice([-1.0, 0.0, 1.0, 2.0], (100, 6))
    branches = net.pattern(net.as_batch(witnesses)).branches["layer"].reshape(15, -1).numpy()
    for held, at, branch in zip(of(net, witnesses), witnesses, branches, strict=True):
        winners = index[np.arange(len(index)), branch]
        assert holds(held, at, at) and set(held.fixed) == set(winners)
        assert held.alone == all((group >= 0).sum() == 1 for group in index)
        for z in np.vstack([others, np.where(rng.random((100, 6)) < 0.5, at, others)]):
            same = np.array_equal(group_max(z, index), group_max(at, index))
            own = same and np.array_equal(z[winners], at[winners])
            assert holds(held, z, at) == own
        for plus, minus, tight in zip(held.plus, held.minus, held.tight, strict=True):
            assert tight == (at[plus] == at[minus]) and minus in held.fixed


def test_an_affine_layer_keeps_everything():
    graph = Graph((3,))
    graph.add("layer", dense(np.ones((2, 3)), None), INPUT)
    (held,) = of(graph.network(), np.ones((1, 3)))
    assert held.fixed.tolist() == [0, 1] and held.alone and not len(held.plus)


def test_the_input_is_no_layer():
    with pytest.raises(ArgumentError, match="name a later layer"):
        read_value(single(relu((4,))), INPUT)


@pytest.mark.parametrize("name", [name for name in CASES if name != "hat"])
def test_a_loosened_activity_moves_no_feature_further(name):
    op, function, _ = CASES[name]
    net, rng = single(op), np.random.default_rng(2)
    for at in rng.choice(GRID, (8, 4)):
        (held,) = of(net, at[None])
        loose = loosen(held, at, 0.5 / steepness(net, "layer")[held.fixed])
        assert holds(loose, at, at)
        for z in at + rng.uniform(-1, 1, (200, 4)) * rng.choice([0.05, 0.6, 2.0], (200, 1)):
            if holds(loose, z, at):
                assert np.abs(function(z) - function(at)).max() <= 0.5 + 1e-12
