"""Networks: evaluation, shapes of inputs, layers and parts, slices, devices and dtypes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import zoo
from plica.core.affine import Concat, Dense, Gather, Scale, Sum, evaluate, reshape
from plica.core.choice import absolute, relu, windows
from plica.core.conv import Conv, Transposed
from plica.core.domain import Box, Plane, Segment
from plica.core.network import INPUT, Graph, Origin
from plica.errors import ArgumentError, DeviceError, ShapeError


def tensor(values) -> torch.Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))


def rand(*shape, seed=0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape))


def small():
    """2 -> 3 -> 3 -> 1 with a residual connection around the second layer."""
    graph = Graph((2,))
    a = graph.add("a", Dense(rand(3, 2), rand(3), (2,)), INPUT)
    r = graph.add("r", relu((3,)), a)
    b = graph.add("b", Dense(rand(3, 3), rand(3), (3,)), r)
    s = graph.add("s", Sum((1.0, 1.0), (3,)), b, r)
    t = graph.add("t", absolute((3,)), s)
    graph.add("out", Dense(rand(1, 3), None, (3,)), t)
    return graph.network()


def image():
    """(1, 4, 4) -> conv -> relu -> pool -> 2."""
    graph = Graph((1, 4, 4))
    c = graph.add("c", Conv(rand(2, 1, 3, 3), None, (1, 4, 4), (1, 1), ((1, 1), (1, 1)), (1, 1)), INPUT)
    r = graph.add("r", relu((2, 4, 4)), c)
    p = graph.add("p", windows((2, 4, 4), (2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1)), r)
    f = graph.add("f", reshape((2, 2, 2), (8,)), p)
    graph.add("d", Dense(rand(2, 8), rand(2), (8,)), f)
    return graph.network()


def by_hand(net, x):
    """Node after node, keeping everything."""
    values = {INPUT: x}
    for node in net.nodes:
        inputs = [values[i] for i in node.inputs]
        values[node.name] = node.op.value(*inputs) if node.name in net.choices else evaluate(node.op, *inputs)
    return values


# --- graph -------------------------------------------------------------------------------------------------------


def test_names_are_made_unique():
    graph = Graph((2,))
    names = [graph.add(name, relu((2,)), INPUT) for name in ("a", "a", INPUT, "a", "a_2")]
    assert names == ["a", "a_2", "input_2", "a_3", "a_2_2"]
    assert len(set(names)) == 5


def test_nodes_that_the_output_does_not_need_are_left_out():
    graph = Graph((2,))
    a = graph.add("a", relu((2,)), INPUT)
    graph.add("spare", absolute((2,)), a)
    graph.add("b", Sum((1.0, 1.0), (2,)), a, INPUT)
    assert [n.name for n in graph.network().nodes] == ["a", "b"]
    assert [n.name for n in graph.network("a").nodes] == ["a"]


def test_the_input_itself_is_a_network():
    net = Graph((2, 3)).network()
    x = rand(4, 2, 3)
    assert torch.equal(net(x), x)
    assert net.output_shape == (2, 3)
    assert net.layers == (net.output,)
    assert torch.equal(small().upto(INPUT)(rand(4, 2)), rand(4, 2))


def test_an_output_that_is_no_node_is_refused():
    with pytest.raises(ArgumentError, match="'nothing'"):
        Graph((2,)).network("nothing")


def test_repr_counts():
    assert repr(image()) == "Network('network': (1, 4, 4) -> (2,), 5 nodes, 40 units in 2 choice layers)"


# --- evaluation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [small(), image()], ids=["small", "image"])
def test_values_and_outputs(net):
    x = rand(5, *net.input_shape)
    expected = by_hand(net, x)
    assert torch.equal(net(x), expected[net.output])
    assert torch.equal(net.logits(x), expected[net.output].flatten(1))
    values = net.values(x)
    assert set(values) == set(expected)
    assert all(torch.equal(values[k], expected[k]) for k in expected)
    for name in expected:
        only = net.values(x, name)
        assert list(only) == [name]
        assert torch.equal(only[name], expected[name])
    assert set(net.values(x, INPUT, net.choices[0])) == {INPUT, net.choices[0]}
    with pytest.raises(ArgumentError, match="'nothing'"):
        net.values(x, "nothing")


def test_one_input_gives_one_output():
    net, x = image(), rand(3, 1, 4, 4)
    assert net(x[0]).shape == (2,)
    assert net(x[:1]).shape == (1, 2)
    torch.testing.assert_close(net(x[0]), net(x)[0])
    assert net(x[:0]).shape == (0, 2)


def test_inputs_of_equal_size_are_reshaped():
    net, x = image(), rand(3, 1, 4, 4)
    for other in (x.flatten(1), x.reshape(3, 4, 4), x.reshape(3, 2, 8), x.numpy()):
        torch.testing.assert_close(net(other), net(x))
    for single in (x[0], x[0, 0], x[0].flatten()):
        assert torch.equal(net.as_batch(single), x[:1])
    assert net.as_batch(torch.zeros(0, 16)).shape == (0, 1, 4, 4)
    assert net.as_batch(np.zeros((0, 1, 4, 4))).shape == (0, 1, 4, 4)


def test_arrays_that_torch_refuses_are_copied(recwarn):
    net, x = image(), rand(3, 1, 4, 4).numpy()
    frozen = x.copy()
    frozen.flags.writeable = False
    assert torch.equal(net.as_batch(frozen), torch.from_numpy(x))
    assert torch.equal(net.as_batch(x[::-1]), torch.from_numpy(x[::-1].copy()))
    assert torch.equal(net.as_batch(np.asfortranarray(x)), torch.from_numpy(x))
    assert not recwarn.list


def test_other_dtypes_are_cast():
    net = small()
    for dtype in (np.float32, np.int64, np.uint8, bool):
        batch = net.as_batch(np.ones((2, 2), dtype=dtype))
        assert batch.dtype == torch.float64
        assert torch.equal(batch, torch.ones(2, 2, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (0, 3), (4, 2, 2), ()])
def test_inputs_of_another_size_are_refused(shape):
    with pytest.raises(ShapeError, match=r"reads \(2,\)"):
        small()(torch.zeros(shape))


def test_gradients():
    net, x = small(), rand(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(net, (x,))
    pattern = net.pattern(x)
    frozen = net.freeze(pattern)
    w = rand(3, 1, seed=4)
    (expected,) = torch.autograd.grad((net(x) * w).sum(), x)
    (got,) = torch.autograd.grad((frozen(x) * w).sum(), x)
    torch.testing.assert_close(got, expected)


def test_frozen_networks_agree_row_by_row():
    for net in (small(), image()):
        x = rand(6, *net.input_shape)
        frozen = net.freeze(net.pattern(x))
        assert frozen.choices == ()
        torch.testing.assert_close(frozen(x), net(x))
        alone = net.freeze(net.pattern(x[2]))
        torch.testing.assert_close(alone(x)[2], net(x)[2])
        torch.testing.assert_close(alone(x), net.freeze(net.pattern(x)[torch.tensor([2])])(x))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_patterns_need_finite_inputs(bad):
    with pytest.raises(ArgumentError, match="finite"):
        small().pattern(tensor([0.0, bad]))


# --- layers and parts --------------------------------------------------------------------------------------------


def test_layers_are_the_choices_and_the_output():
    net = small()
    assert net.choices == ("r", "t")
    assert net.layers == ("r", "t", "out")
    assert net.upto("t").layers == ("r", "t")
    assert net.shape_of(INPUT) == (2,)
    assert net.shape_of("s") == (3,)


def test_resolve():
    net = small()
    assert [net.resolve(i) for i in (0, 1, 2, -1, np.int64(-3))] == ["r", "t", "out", "out", "r"]
    assert net.resolve("s") == "s"
    assert net.resolve(INPUT) == INPUT
    assert [net.resolve(i, "pre") for i in (0, 1, 2)] == ["a", "s", "t"]
    with pytest.raises(ArgumentError, match="3 layers"):
        net.resolve(3)
    with pytest.raises(ArgumentError, match="3 layers"):
        net.resolve(-4)
    with pytest.raises(ArgumentError, match="The layers are r, t, out"):
        net.resolve("relu")
    with pytest.raises(ArgumentError, match="use 'post' or 'pre'"):
        net.resolve(0, "before")
    with pytest.raises(ArgumentError, match="has 2 inputs"):
        net.resolve("s", "pre")


@pytest.mark.parametrize("net", [small(), image()], ids=["small", "image"])
def test_parts_of_a_network(net):
    x = rand(4, *net.input_shape)
    values = net.values(x)
    for name in values:
        upto = net.upto(name)
        torch.testing.assert_close(upto(x), values[name])
        assert upto.output_shape == net.shape_of(name)
        if name in ("b",):
            continue
        after = net.after(name)
        assert after.input_shape == net.shape_of(name)
        torch.testing.assert_close(after(values[name]), values[net.output])
    torch.testing.assert_close(net.upto(0, "pre")(x), values[net.resolve(0, "pre")])


def test_a_layer_inside_a_residual_branch_does_not_cut():
    with pytest.raises(ArgumentError, match="does not cut the graph: node 's' also reads 'r'"):
        small().after("b")


@pytest.mark.parametrize("net", [small(), image()], ids=["small", "image"])
def test_blocks_are_affine_maps_of_their_sources(net):
    x = rand(4, *net.input_shape)
    values = net.values(x)
    for layer in net.layers:
        for side in ("pre", "post"):
            block, sources = net.block(layer, side)
            assert block.choices == ()
            joint = torch.cat([values[s].flatten(1) for s in sources], 1)
            assert block.input_shape == joint.shape[1:]
            torch.testing.assert_close(block(joint), values[net.resolve(layer, side)])


def test_sources_of_blocks():
    net = small()
    assert net.block("r")[1] == (INPUT,)
    assert net.block("t")[1] == ("r",)
    assert net.block("t", "post")[1] == ("t",)
    graph = Graph((2,))
    r = graph.add("r", relu((2,)), INPUT)
    a = graph.add("a", absolute((2,)), INPUT)
    graph.add("c", Concat(0, ((2,), (2,), (2,))), a, r, INPUT)
    assert graph.network().block("c", "post")[1] == (INPUT, "r", "a")  # in the order of the network


def test_slices():
    net = image()
    plane = Plane(rand(16).numpy(), rand(16, 2, seed=3).numpy())
    cut = net.on(plane)
    s = rand(5, 2)
    assert cut.input_shape == (2,)
    torch.testing.assert_close(cut(s), net(tensor(plane.origin) + s @ tensor(plane.basis).T))
    assert cut.box is None
    assert cut.choices == net.choices
    again = cut.on(Plane(rand(2).numpy(), rand(2, 1).numpy()))
    torch.testing.assert_close(again(s[:, :1]), cut(rand(2) + s[:, :1] @ rand(2, 1).T))
    with pytest.raises(ShapeError, match="5 dimensions"):
        net.on(Plane(np.zeros(5), np.eye(5)[:, :2]))


def test_slices_of_full_dimension_segments_and_windows():
    net, turn = small(), np.array([[1.0, 2.0], [3.0, 5.0]])
    s = rand(5, 2)
    torch.testing.assert_close(net.on(Plane(np.ones(2), turn))(s), net(1.0 + s @ tensor(turn).T))
    a, b = np.array([1.0, -1.0]), np.array([0.5, 2.0])
    cut = net.on(Segment(a, b))
    torch.testing.assert_close(cut(tensor([[0.0], [1.0], [0.25]])), net(np.stack([a, b, 0.75 * a + 0.25 * b])))
    assert cut.box is not None
    assert (cut.box.lower.item(), cut.box.upper.item()) == (0.0, 1.0)


def test_box_and_origin_travel_along():
    net = Graph((2,)).network(origin=Origin("mine"))
    boxed = net.within(Box(np.zeros(2), np.ones(2)))
    assert net.box is None
    assert boxed.box is not None
    assert boxed.origin.name == boxed.upto(0).origin.name == boxed.cast(torch.float32).origin.name == "mine"


# --- devices and dtypes ------------------------------------------------------------------------------------------


def test_mps_is_refused():
    with pytest.raises(DeviceError, match="no float64"):
        small().to("mps")


def test_to_the_same_device():
    net = image()
    moved = net.to("cpu")
    assert moved.device == torch.device("cpu")
    assert torch.equal(moved(rand(2, 1, 4, 4)), net(rand(2, 1, 4, 4)))


def inner_only():
    """All numbers inside a transposed node."""
    graph = Graph((3,))
    graph.add("t", Transposed(Dense(rand(3, 2), None, (2,)), None, (2,)), INPUT)
    return graph.network()


@pytest.mark.parametrize("net", [small(), image(), inner_only()], ids=["small", "image", "transposed"])
def test_moving_moves_every_tensor(net):
    """The device without data stands for any other."""
    moved = net.to("meta")
    assert moved.device.type == "meta"
    assert moved.cast(torch.float32).dtype == torch.float32
    for node in moved.nodes:
        inner = [node.op, getattr(node.op, "node", node.op)]
        assert all(t.device.type == "meta" for op in inner for t in vars(op).values() if isinstance(t, torch.Tensor))


@pytest.mark.parametrize("net", [small(), image(), inner_only()], ids=["small", "image", "transposed"])
def test_cast(net):
    single = net.cast(torch.float32)
    x = rand(3, *net.input_shape)
    assert net.dtype == torch.float64
    assert single.dtype == torch.float32
    assert single(x).dtype == torch.float32
    torch.testing.assert_close(single(x).double(), net(x), rtol=1e-5, atol=1e-5)


def test_patterns_are_of_float64_only():
    with pytest.raises(ArgumentError, match="float32"):
        small().cast(torch.float32).pattern(rand(2))


def test_a_network_without_numbers():
    net = Graph((2,)).network()
    assert net.dtype == torch.float64
    assert net.device == torch.device("cpu")


# --- all families ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_parts_of_every_family(kind):
    data, draw = zoo.random_net(kind, 3, degenerate=True)
    net = zoo.build(data)
    x = tensor([draw.point(math.prod(net.input_shape)) for _ in range(4)])
    values = net.values(x)
    for layer in net.layers:
        block, sources = net.block(layer)
        joint = torch.cat([values[s].flatten(1) for s in sources], 1)
        torch.testing.assert_close(block(joint), values[net.resolve(layer, "pre")])
        assert torch.equal(net.upto(layer)(x), values[layer])
    assert isinstance(block.nodes[0].op, (Gather, Scale))
