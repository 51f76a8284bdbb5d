"""Distances to facets against rows built by hand, and against sampled points around the input."""

import math

import numpy as np
import pytest
import torch

from oracles.layers import conv, dense, tensor
from plica import ArgumentError, Progress, nearest_facet
from plica.analyses.preimage import facets as module
from plica.core.affine import Scale, Sum, reshape
from plica.core.choice import MaxOver, absolute, clip, leaky_relu, relu, windows
from plica.core.network import INPUT, Graph
from plica.core.result import Completeness

POOL = {"kernel": (2, 2), "stride": (1, 1), "padding": ((0, 1), (1, 0)), "dilation": (1, 1)}


def mlp(rng, wide=5):
    graph = Graph((3,))
    graph.add("a", dense(rng.normal(size=(wide, 3)), rng.normal(size=wide)), INPUT)
    graph.add("relu", relu((wide,)), "a")
    graph.add("b", dense(rng.normal(size=(6, wide)), rng.normal(size=6)), "relu")
    graph.add("max", MaxOver(torch.tensor([[0, 1, 2], [3, 4, -1]]), (6,), (2,)), "b")
    graph.add("c", dense(rng.normal(size=(4, 2)), rng.normal(size=4)), "max")
    graph.add("clip", clip((4,), -0.5, 0.5), "c")
    graph.add("d", dense(rng.normal(size=(2, 4)), rng.normal(size=2)), "clip")
    graph.add("abs", absolute((2,)), "d")
    return graph.network()


def narrow(rng):
    """Fewer units in the first layer than inputs."""
    return mlp(rng, wide=2)


def convolutional(rng):
    graph, shape = Graph((1, 4, 4)), (1, 4, 4)
    graph.add("a", conv(rng.normal(size=(2, 1, 3, 3)), rng.normal(size=2), shape, 1, 1), INPUT)
    graph.add("norm", Scale(tensor([-0.5, 2.0]).reshape(2, 1, 1), tensor(0.1), (2, 4, 4)), "a")
    graph.add("relu", relu((2, 4, 4)), "norm")
    graph.add("pool", windows((2, 4, 4), **POOL), "relu")
    graph.add("flat", reshape((2, 4, 4), (32,)), "pool")
    graph.add("b", dense(rng.normal(size=(3, 32)), rng.normal(size=3)), "flat")
    graph.add("leaky", leaky_relu((3,), 0.1), "b")
    return graph.network()


def residual(rng):
    graph = Graph((3,))
    graph.add("a", dense(rng.normal(size=(3, 3)), rng.normal(size=3)), INPUT)
    graph.add("relu", relu((3,)), "a")
    graph.add("b", dense(rng.normal(size=(3, 3)), None), "relu")
    graph.add("sum", Sum((1.0, 1.0), (3,)), "b", INPUT)
    graph.add("last", relu((3,)), "sum")
    return graph.network()


def funnel(rng):
    """More inputs than units at the end: their rows are pulled back."""
    graph = Graph((40,))
    graph.add("a", dense(rng.normal(size=(50, 40)), rng.normal(size=50)), INPUT)
    graph.add("relu", relu((50,)), "a")
    graph.add("b", dense(rng.normal(size=(4, 50)), rng.normal(size=4)), "relu")
    graph.add("max", MaxOver(torch.tensor([[0, 1], [2, 3]]), (4,), (2,)), "b")
    graph.add("c", dense(rng.normal(size=(2, 2)), rng.normal(size=2)), "max")
    graph.add("leaky", leaky_relu((2,), -0.5), "c")
    return graph.network()


def test_the_funnel_pulls():
    net = funnel(np.random.default_rng(0))
    plan = module._plan(net, net.choices, 2**30)
    assert (plan.pushed, plan.pulled, list(plan.shared)) == ((), ("max", "leaky"), ["relu"])


NETS = [mlp, narrow, convolutional, residual, funnel]


def by_hand(net, x, layer):
    """Distance and unit of every hyperplane of a layer: gradients of the differences, branches of the float forward."""
    op, read = net[layer].op, net[layer].inputs[0]

    def value(v):
        return net.values(v[None], read)[read].flatten()

    z = value(x).detach()
    jacobian = torch.autograd.functional.jacobian(value, x).reshape(len(z), -1).numpy()
    z, found = z.numpy(), []
    if isinstance(op, MaxOver):
        for group, members in enumerate(op.index.tolist()):
            members = [m for m in members if m >= 0]
            top = max(members, key=lambda m: z[m])
            found += [(z[top] - z[m], jacobian[top] - jacobian[m], group) for m in members if m != top]
    else:
        knots = np.broadcast_to(op.knots.numpy().reshape(len(op.knots), -1), (len(op.knots), len(z)))
        found = [(abs(z[u] - k[u]), jacobian[u], u) for k in knots for u in range(len(z))]
    return [(height / np.linalg.norm(row), unit) for height, row, unit in found if np.linalg.norm(row) > 1e-12]


def inputs(net, rng, count=4):
    return rng.normal(size=(count, *net.input_shape))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("build", NETS)
def test_against_rows_built_by_hand(build, seed):
    rng = np.random.default_rng(seed)
    net = build(rng)
    X = inputs(net, rng)
    result = nearest_facet(net, X)
    assert result.layers == net.choices and result.completeness is Completeness.COMPLETE
    for i, x in enumerate(torch.from_numpy(X)):
        for j, layer in enumerate(result.layers):
            found = by_hand(net, x, layer)
            wanted, unit = min(found, default=(math.inf, -1))
            assert result.distances[i, j] == pytest.approx(wanted, rel=1e-9)
            assert result.units[i, j] == unit or (wanted, result.units[i, j]) in [(d, u) for d, u in found]


@pytest.mark.parametrize("held", [1, 40, 200, 10**6])
def test_how_the_work_is_cut_changes_nothing(held, monkeypatch):
    """Chunks of one direction, all inputs at once, rows pushed forward or pulled back."""
    rng = np.random.default_rng(7)
    for build in NETS:
        net = build(rng)
        X = inputs(net, rng, 5)
        usual = nearest_facet(net, X)
        monkeypatch.setattr(module, "HELD", held)
        for factor in (0, 10**6):
            monkeypatch.setattr(module, "_work", lambda net, node, factor=factor: factor ** (node.name != "a"))
            for progress in (Progress(), Progress(max_bytes=1)):
                other = nearest_facet(net, X, progress=progress)
                np.testing.assert_allclose(other.distances, usual.distances, rtol=1e-9)
                np.testing.assert_array_equal(other.units, usual.units)
        monkeypatch.undo()


@pytest.mark.parametrize("build", NETS)
def test_nothing_changes_nearer_and_something_changes_farther(build):
    rng = np.random.default_rng(11)
    net = build(rng)
    X = inputs(net, rng, 2)
    result = nearest_facet(net, X)
    for x, distances in zip(X, result.distances, strict=True):
        nearest = distances.min()
        steps = rng.normal(size=(400, *net.input_shape))
        steps /= np.linalg.norm(steps.reshape(400, -1), axis=1).reshape(-1, *(1,) * (steps.ndim - 1))
        own = net.pattern(x).keys()[0]
        assert {own} == set(net.pattern(x + nearest * (1 - 1e-9) * steps).keys())
        row = min((d, i) for i, d in enumerate(distances))[1]
        assert crossing(net, x, result.layers[row], nearest) != own


def crossing(net, x, layer, distance):
    """Pattern a hair beyond the facet: along the gradient of the hyperplane's height, whichever way reaches it."""
    t = torch.from_numpy(x)
    candidates = []
    op, read = net[layer].op, net[layer].inputs[0]
    z = net.values(t[None], read)[read].flatten()
    pairs = [(u, None) for u in range(len(z))]
    if isinstance(op, MaxOver):
        pairs = [(a, b) for group in op.index.tolist() for a in group for b in group if a >= 0 and b >= 0 and a != b]
    for a, b in pairs:
        v = t.clone().requires_grad_(True)
        values = net.values(v[None], read)[read].flatten()
        (values[a] if b is None else values[a] - values[b]).backward()
        if v.grad.norm() > 1e-12:
            candidates += [t + s * distance * (1 + 1e-6) * v.grad / v.grad.norm() for s in (1.0, -1.0)]
    own = net.pattern(t).keys()[0]
    return next((k for k in net.pattern(torch.stack(candidates)).keys() if k != own), own)  # noqa: SIM118


def test_equal_units_and_dead_units_are_no_facets():
    W = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    graph = Graph((2,))
    graph.add("a", dense(W, [0.0, 0.0, 0.0, -1.0]), INPUT)
    graph.add("max", MaxOver(torch.tensor([[0, 1], [2, 3]]), (4,), (2,)), "a")
    result = nearest_facet(graph.network(), np.array([[3.0, 1.0]]))
    assert result.units.tolist() == [[1]] and result.distances[0, 0] == pytest.approx(1.5)
    graph = Graph((2,))
    graph.add("a", dense([[1.0, 0.0], [1.0, 0.0]], None), INPUT)
    graph.add("max", MaxOver(torch.tensor([[0, 1]]), (2,), (1,)), "a")
    graph.add("b", dense([[0.0], [1.0]], [1.0, 0.0]), "max")
    graph.add("relu", relu((2,)), "b")
    result = nearest_facet(graph.network(), np.array([[3.0, 1.0]]))
    assert result.distances.tolist() == [[math.inf, 3.0]] and result.units.tolist() == [[-1, 1]]
    graph = Graph((2,))
    graph.add("a", dense([[1.0, 0.0]], [-9.0]), INPUT)
    graph.add("first", relu((1,)), "a")
    graph.add("b", dense([[1.0], [2.0]], None), "first")
    graph.add("second", relu((2,)), "b")  # behind a unit that is off: zero for every input of the piece
    result = nearest_facet(graph.network(), np.zeros((1, 2)))
    assert result.distances.tolist() == [[9.0, math.inf]] and result.units.tolist() == [[0, -1]]


def test_an_input_on_a_facet():
    graph = Graph((2,))
    graph.add("a", dense([[1.0, 1.0]], None), INPUT)
    graph.add("relu", relu((1,)), "a")
    assert nearest_facet(graph.network(), np.array([[1.0, -1.0]])).distances.tolist() == [[0.0]]


def test_a_choice_of_one_is_never_changed():
    graph = Graph((2,))
    graph.add("max", MaxOver(torch.tensor([[0], [1]]), (2,), (2,)), INPUT)
    result = nearest_facet(graph.network(), np.zeros((3, 2)))
    assert (result.distances == math.inf).all() and (result.units == -1).all()


def test_layers_by_name_and_what_is_no_choice():
    net = mlp(np.random.default_rng(0))
    X = inputs(net, np.random.default_rng(1))
    full = nearest_facet(net, X)
    part = nearest_facet(net, X, ["clip", 0])
    assert part.layers == ("clip", "relu")
    np.testing.assert_allclose(part.distances, full.distances[:, [2, 0]])
    with pytest.raises(ArgumentError, match="makes no choice"):
        nearest_facet(net, X, ["b"])
    assert nearest_facet(net, X[0]).distances.shape == (1, 4)
    assert nearest_facet(net, X[:0]).distances.shape == (0, 4)
    assert nearest_facet(net, X, []).distances.shape == (4, 0)


def test_a_budget_and_an_interrupt_return_what_is_done(monkeypatch):
    monkeypatch.setattr(module, "HELD", 1)  # one input at a time
    net = mlp(np.random.default_rng(0))
    X = inputs(net, np.random.default_rng(1), 5)
    full = nearest_facet(net, X)
    progress = Progress(max_seconds=1e9)

    def late(label, done, total):
        progress.max_seconds = 1e9 if done < 2 else 0.0

    def interrupt(label, done, total):
        if done == 3:
            raise KeyboardInterrupt

    progress.listener = late
    for given, completeness, count in [
        (progress, Completeness.BUDGET, 2),
        (Progress(listener=interrupt), Completeness.INTERRUPTED, 3),
        (Progress(max_seconds=0.0), Completeness.BUDGET, 0),
    ]:
        result = nearest_facet(net, X, progress=given)
        assert result.completeness is completeness
        np.testing.assert_array_equal(result.distances, full.distances[:count])
