"""The contract of choice nodes: one row per function in a table, every clause checked on knots, ties and between."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil

import numpy as np
import pytest
import torch

import plica.core
from plica.core.affine import Affine, Gather, Scale, evaluate
from plica.core.choice import (
    Choice,
    MaxOver,
    Piecewise,
    absolute,
    clip,
    leaky_relu,
    relu,
    soft_threshold,
    windows,
)


def tensor(values) -> torch.Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))


def pool(shape, kernel, stride=None, padding=None, dilation=None) -> MaxOver:
    axes = len(kernel)
    return windows(
        shape,
        kernel,
        stride=stride or (1,) * axes,
        padding=padding or ((0, 0),) * axes,
        dilation=dilation or (1,) * axes,
    )


PRELU = tensor([0.25, -2.0]).reshape(2, 1, 1)
# name -> the node, and its value by definition
SCALAR: dict[str, tuple[Piecewise, object]] = {
    "relu": (relu((2, 3)), lambda z: np.maximum(z, 0)),
    "leaky": (leaky_relu((2, 3), 0.25), lambda z: np.where(z > 0, z, 0.25 * z)),
    "leaky of slope one": (leaky_relu((2, 3), 1.0), lambda z: z),
    "leaky beyond one": (leaky_relu((2, 3), 2.0), lambda z: np.minimum(z, 2 * z) * (z > 0) + 2 * z * (z <= 0)),
    "prelu": (leaky_relu((2, 3, 1), PRELU), lambda z: np.where(z > 0, z, z * PRELU.numpy())),
    "abs": (absolute((2, 3)), np.abs),
    "clip": (clip((2, 3), -1.0, 2.0), lambda z: np.clip(z, -1, 2)),
    "relu6": (clip((6,), 0.0, 6.0), lambda z: np.clip(z, 0, 6)),
    "clip to one point": (clip((6,), 1.0, 1.0), lambda z: np.clip(z, 1, 1)),
    "clip from below": (clip((6,), -1.0, math.inf), lambda z: np.maximum(z, -1)),
    "clip from above": (clip((6,), -math.inf, 2.0), lambda z: np.minimum(z, 2)),
    "soft threshold": (soft_threshold((6,), 1.0), lambda z: np.sign(z) * np.maximum(np.abs(z) - 1, 0)),
}
MAXIMA: dict[str, MaxOver] = {
    "maxout": MaxOver(torch.tensor([[0, 1, 2], [5, 3, 4]]), (2, 3), (2,)),
    "repeated": MaxOver(torch.tensor([[0, 0, 1], [1, 2, 1]]), (6,), (2, 1)),
    "border": MaxOver(torch.tensor([[-1, 0, 1], [2, -1, -1], [5, 4, -1]]), (6,), (3,)),
    "groups of one": MaxOver(torch.tensor([[3], [1]]), (6,), (2,)),
    "pool": pool((1, 2, 3), (2, 2)),
    "pool 1-d": pool((2, 3), (2,), padding=((1, 1),)),
    "pool with everything": pool((1, 3, 2), (2, 2), (2, 1), ((1, 0), (0, 1)), (1, 1)),
    "pool of one place": pool((2, 3, 1), (1, 1)),
}
ALL: dict[str, Choice] = {**{k: op for k, (op, _) in SCALAR.items()}, **MAXIMA}
scalar = pytest.mark.parametrize(("op", "definition"), SCALAR.values(), ids=SCALAR)
maxima = pytest.mark.parametrize("op", MAXIMA.values(), ids=MAXIMA)
every = pytest.mark.parametrize("op", ALL.values(), ids=ALL)


def inputs(op) -> torch.Tensor:
    """Small integers, where everything is tied or on a knot, halves, and ordinary numbers."""
    rng, shape = np.random.default_rng(0), op.input_shape
    ties = rng.integers(-2, 4, size=(60, *shape)) / rng.choice([1, 2], size=(60, *(1,) * len(shape)))
    return tensor(np.concatenate([np.zeros((1, *shape)), ties, rng.normal(size=(20, *shape)) * 2]))


def test_every_choice_class_of_the_core_is_in_the_table():
    found = set()
    for module in pkgutil.walk_packages(plica.core.__path__, "plica.core."):
        for cls in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(cls) and hasattr(cls, "choose") and hasattr(cls, "freeze") and cls is not Choice:
                found.add(cls)
    assert found == {type(op) for op in ALL.values()}


@every
def test_choices_satisfy_the_protocol(op):
    assert isinstance(op, Choice)
    assert not isinstance(op, Affine)
    z = inputs(op)
    branches = op.choose(z)
    assert branches.dtype == op.dtype == torch.uint8
    assert branches.shape == op.value(z).shape == (len(z), *op.shape(op.input_shape))
    assert op.margins(branches).shape(op.input_shape) == (op.faces * math.prod(op.shape(op.input_shape)),)


@scalar
def test_scalar_functions_are_what_they_say(op, definition):
    z = inputs(op)
    assert np.array_equal(op.value(z).numpy(), definition(z.numpy()))


@maxima
def test_maxima_are_the_largest_and_the_lowest_of_them(op):
    z = inputs(op)
    flat, winners = z.flatten(1), op.choose(z).flatten(1)
    for row, value, winner in zip(flat.tolist(), op.value(z).flatten(1).tolist(), winners.tolist(), strict=True):
        for group, v, w in zip(op.index.tolist(), value, winner, strict=True):
            members = [row[i] if i >= 0 else -math.inf for i in group]
            assert v == max(members)
            assert w == members.index(max(members))


@every
def test_the_frozen_node_is_the_function_at_its_point(op):
    z = inputs(op)
    node = op.freeze(op.choose(z))
    assert isinstance(node, (Scale, Gather))
    assert torch.equal(evaluate(node, z), op.value(z))
    alone = op.freeze(op.choose(z[3:4]))
    assert torch.equal(evaluate(alone, z[3:4])[0], op.value(z)[3])


@every
def test_margins_are_not_negative_exactly_where_the_branches_are_right(op):
    """At every point and for the branches of every point: right means that they give the function's value."""
    z = inputs(op)
    for branches in op.choose(z).unique(dim=0):
        node, frozen = op.margins(branches[None]), op.freeze(branches[None])
        inside = (evaluate(node, z) >= 0).all(1)
        assert bool(inside.any())
        assert torch.equal(evaluate(frozen, z)[inside], op.value(z)[inside])
        for i in (~inside).nonzero()[:, 0].tolist():
            assert not torch.equal(op.choose(z[i : i + 1])[0], branches)


@maxima
def test_a_wrong_winner_has_a_negative_margin(op):
    z = inputs(op)
    flat, faces = z.flatten(1), op.faces
    for i in range(len(z)):
        for g, group in enumerate(op.index.tolist()):
            members = [float(flat[i, m]) if m >= 0 else -math.inf for m in group]
            for wrong, value in enumerate(members):
                if group[wrong] < 0:
                    continue
                branches = op.choose(z[i : i + 1]).reshape(1, -1)
                branches[0, g] = wrong
                rows = evaluate(op.margins(branches.reshape(1, *op.output_shape)), z[i : i + 1])[0]
                mine = rows.reshape(-1, faces)[g] if faces else rows
                assert bool((mine >= 0).all()) == (value == max(members))
                others = [v for k, v in enumerate(members) if k != wrong]
                assert mine.tolist() == [value - v if v > -math.inf else 1.0 for v in others]


@scalar
def test_margins_stand_knot_after_knot(op, definition):
    z = inputs(op)[:7]
    branches = op.choose(z)
    rows = evaluate(op.margins(branches), z).reshape(len(z), op.faces, -1)
    for j, knot in enumerate(op.knots):
        distance = (z - knot).flatten(1)
        assert torch.equal(rows[:, j], torch.where(branches.flatten(1) > j, distance, -distance))


@scalar
def test_on_a_knot_the_lower_branch(op, definition):
    for j, knot in enumerate(op.knots):
        z = torch.zeros(1, *op.input_shape, dtype=torch.float64) + knot
        lowest = int((op.knots.reshape(len(op.knots), -1)[:, 0] < float(knot.flatten()[0])).sum())
        assert bool((op.choose(z) == lowest).all()), j
        above = torch.nextafter(z, torch.full_like(z, math.inf))
        assert bool((op.choose(above) > lowest).all())


@scalar
def test_functions_are_continuous(op, definition):
    """Neighbouring branches agree on the knot between them: no jump."""
    for j, knot in enumerate(op.knots):
        low = op.slopes[j] * knot + op.intercepts[j]
        high = op.slopes[j + 1] * knot + op.intercepts[j + 1]
        assert torch.equal(low, high)


def test_monotone_functions():
    monotone = {name for name, (op, _) in SCALAR.items() if op.monotone}
    assert set(SCALAR) - monotone == {"prelu", "abs"}


@every
def test_gradients_are_those_of_the_frozen_node(op):
    z = torch.from_numpy(np.random.default_rng(1).permutation(math.prod(op.input_shape) * 2) * 0.37 - 1.9)
    z = z.reshape(2, *op.input_shape).requires_grad_()
    out = op.value(z)
    w = tensor(np.random.default_rng(2).normal(size=out.shape))
    (gradient,) = torch.autograd.grad((out * w).sum(), z)
    assert torch.equal(gradient, op.freeze(op.choose(z.detach())).adjoint(w)[0])


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_windows_are_those_of_torch(kernel, stride, dilation):
    z = tensor(np.random.default_rng(0).normal(size=(2, 3, 7, 8)))
    pad = kernel // 2
    ours = pool((3, 7, 8), (kernel, kernel), (stride, stride), ((pad, pad),) * 2, (dilation, dilation)).value(z)
    assert torch.equal(ours, torch.nn.functional.max_pool2d(z, kernel, stride, pad, dilation))
    line = pool((3, 7), (kernel,), (stride,), ((pad, pad),), (dilation,)).value(z[..., 0])
    assert torch.equal(line, torch.nn.functional.max_pool1d(z[..., 0], kernel, stride, pad, dilation))


def test_windows_with_uneven_borders():
    z = tensor(np.random.default_rng(0).normal(size=(1, 2, 4, 5)))
    op = pool((2, 4, 5), (2, 3), (2, 2), ((1, 0), (0, 2)))
    padded = torch.nn.functional.pad(z, (0, 2, 1, 0), value=-math.inf)
    assert torch.equal(op.value(z), torch.nn.functional.max_pool2d(padded, (2, 3), (2, 2)))
    assert op.output_shape == (2, 2, 3)
    assert bool((op.index < 0).any())
