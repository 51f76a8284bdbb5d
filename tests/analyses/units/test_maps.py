"""unit_maps: eq. (8), and the exact affine map of every kind of network."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import zoo
from oracles import networks as oracle
from plica.analyses.units import unit_maps
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, MemoryBudgetError, ShapeError


def mlp(rng, widths):
    layers = []
    for a, b in pairwise(widths):
        layers += [("dense", {"W": rng.normal(size=(b, a)).tolist(), "b": rng.normal(size=b).tolist()}), ("relu", {})]
    return zoo.chain((widths[0],), *layers)


def test_equation_8_as_printed():
    """(W_l)_j diag(I) W_(l-1) ... diag(I) W_1, with the indicators of the layers below."""
    rng = np.random.default_rng(0)
    data = mlp(rng, [6, 8, 7, 5])
    net, x = zoo.build(data), rng.normal(size=(20, 6))
    W = [np.array(o["W"]) for _, kind, _, o in data["nodes"] if kind == "dense"]
    b = [np.array(o["b"]) for _, kind, _, o in data["nodes"] if kind == "dense"]
    result = unit_maps(net, x, layer="relu5", side="pre")
    for i, point in enumerate(x):
        first = W[0] @ point + b[0] > 0
        second = W[1] @ (first * (W[0] @ point + b[0])) + b[1] > 0
        expected = W[2] @ np.diag(second) @ W[1] @ np.diag(first) @ W[0]
        offset = W[2] @ (second * (W[1] @ (first * b[0]) + b[1])) + b[2]
        assert np.allclose(result.maps[i], expected, atol=1e-12)
        assert np.allclose(result.offsets[i], offset, atol=1e-12)
    after = unit_maps(net, x, layer="relu5", units=[3, 1])
    assert after.units.tolist() == [3, 1]
    active = result.values[:, [3, 1]] > 0
    assert np.array_equal(after.active, active)
    assert np.allclose(after.maps, result.maps[:, [3, 1]] * active[:, :, None], atol=1e-12)
    assert after.column(1) == 1


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_maps_of_every_kind_of_network_in_rationals(kind, seed):
    data, draw = zoo.random_net(kind, seed, degenerate=False)
    net = zoo.build(data)
    x = np.stack([draw.rng.normal(size=net.input_shape) for _ in range(4)])
    result = unit_maps(net, x, layer=-1)
    n = int(np.prod(net.input_shape))
    for i, point in enumerate(x.reshape(4, -1)):
        taken = oracle.branches(data, point)
        zero = oracle.affine_output(data, np.zeros(n), taken)
        columns = [oracle.affine_output(data, row, taken) for row in np.eye(n)]
        exact = np.array([[float(c[u] - zero[u]) for c in columns] for u in range(len(zero))])
        assert np.allclose(result.maps[i].reshape(len(zero), n), exact, rtol=1e-12, atol=1e-12)
        assert np.allclose(result.offsets[i], [float(v) for v in zero], rtol=1e-12, atol=1e-12)
    assert result.error < 1e-12
    assert result.standing is Standing.NUMERICAL


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_degenerate_networks_at_ties(kind):
    """The map is that of a piece that has the input on its closed cell."""
    data, draw = zoo.random_net(kind, 5, degenerate=True)
    net = zoo.build(data)
    x = np.stack([np.round(draw.rng.normal(size=net.input_shape)) for _ in range(6)])
    result = unit_maps(net, x, layer=-1)
    for i, piece in enumerate(net.pieces(x)):
        matrix = piece.matrix().numpy()
        assert np.allclose(result.maps[i].reshape(matrix.shape), matrix)
        assert np.allclose(result.offsets[i], piece.offset.flatten().numpy())
        assert (piece.margins(x[i]) >= -1e-9).all()
    assert result.error < 1e-12


def test_inputs_on_one_piece_share_a_number_and_a_map():
    net = zoo.build(mlp(np.random.default_rng(1), [2, 5, 4]))
    x = np.random.default_rng(2).normal(size=(300, 2)) * 2
    result = unit_maps(net, x, layer="relu3", units=[0])
    keys = net.pattern(x).keys()
    assert len(set(keys)) == result.pieces.max() + 1 > 5
    for number in range(result.pieces.max() + 1):
        rows = np.flatnonzero(result.pieces == number)
        assert len({keys[i] for i in rows}) == 1
        assert np.ptp(result.maps[rows], axis=0).max() < 1e-12


def test_an_inner_layer_does_not_split_by_later_units():
    net = zoo.build(mlp(np.random.default_rng(3), [2, 3, 9]))
    x = np.random.default_rng(4).normal(size=(200, 2))
    assert unit_maps(net, x, layer="relu1").pieces.max() < unit_maps(net, x, layer="relu3").pieces.max()


def test_budgets_and_bad_input():
    net = zoo.build(mlp(np.random.default_rng(1), [3, 5, 4]))
    x = np.random.default_rng(2).normal(size=(600, 3))
    with pytest.raises(MemoryBudgetError, match="fewer units"):
        unit_maps(net, x, layer="relu3", progress=Progress(max_bytes=1000))
    with pytest.raises(ArgumentError, match="has 0 to 3"):
        unit_maps(net, x, layer="relu3", units=[4])
    with pytest.raises(ArgumentError, match="no node"):
        unit_maps(net, x, layer="nothing")
    with pytest.raises(ShapeError):
        unit_maps(net, np.zeros((2, 4)), layer="relu3")
    with pytest.raises(ArgumentError, match="unit = 2"):
        unit_maps(net, x[:2], layer="relu3", units=[1]).column(2)
    stopped = unit_maps(net, x, layer="relu3", progress=Progress(max_seconds=0.0))
    assert stopped.completeness is Completeness.BUDGET
    assert len(stopped.maps) == len(stopped.pieces) == 0
    calls = []

    def stop(label, done, total):
        calls.append(done)
        if done == 2:
            raise KeyboardInterrupt

    part = unit_maps(net, x, layer="relu3", progress=Progress(listener=stop))
    assert part.completeness is Completeness.INTERRUPTED
    whole = unit_maps(net, x, layer="relu3")
    assert 0 < len(part.maps) < len(x)
    assert np.array_equal(part.maps, whole.maps[: len(part.maps)])


def test_no_units_and_no_inputs():
    net = zoo.build(mlp(np.random.default_rng(1), [3, 5, 4]))
    assert unit_maps(net, np.zeros((2, 3)), layer="relu3", units=[]).maps.shape == (2, 0, 3)
    assert unit_maps(net, np.zeros((0, 3)), layer="relu3").maps.shape == (0, 4, 3)
    assert "4 units at 2 inputs on 1 different pieces" in repr(unit_maps(net, torch.zeros(2, 3), layer="relu3"))
