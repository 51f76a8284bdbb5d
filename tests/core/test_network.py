"""Networks: evaluation, cutting, slices, devices and dtypes, and the errors that name what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import plica
import zoo
from plica.core.affine import Concat, Dense, Gather, Sum
from plica.core.choice import relu
from plica.core.conv import Transposed
from plica.core.domain import Box, Plane, Segment
from plica.core.network import INPUT, Graph, Node, Origin
from plica.errors import ArgumentError, DeviceError, ReshapeNotice, ShapeError

EYE = torch.eye(2, dtype=torch.float64)


def conv_net():
    """(1, 2, 3) -> conv, relu, pool, relu."""
    return zoo.build(zoo.random_net("pool", 0, degenerate=False)[0])


def residual():
    return zoo.build(zoo.RESIDUAL)


# --- evaluation ----------------------------------------------------------------------------------------------------


def test_batches_and_single_inputs():
    net, X = conv_net(), np.random.default_rng(0).normal(size=(4, 1, 2, 3))
    Y = net(X)
    assert Y.shape == (4, 2) and Y.dtype == torch.float64
    assert torch.allclose(net(X[0]), Y[0])
    assert torch.allclose(net(X.reshape(4, 6)), Y) and torch.allclose(net(X.reshape(4, 2, 3)), Y)  # equal size
    assert torch.allclose(net(X[0].ravel()), Y[:1]) and torch.allclose(net(X[0, 0]), Y[:1])
    assert torch.allclose(net(X.astype(np.float32)), net(X.astype(np.float32).astype(np.float64)))
    assert torch.equal(net.logits(net.as_batch(X)), Y)


@pytest.mark.parametrize("shape", [(0, 1, 2, 3), (0, 6)])
def test_no_inputs(shape):
    net = conv_net()
    assert net(np.zeros(shape)).shape == (0, 2)
    assert net.freeze(net.pattern(np.zeros(shape)))(np.zeros(shape)).shape == (0, 2)


@pytest.mark.parametrize("shape", [(5,), (2, 7), (4, 1, 3, 3), ()])
def test_wrong_shapes_are_refused_with_both_shapes(shape):
    with pytest.raises(ShapeError, match=r"\(1, 2, 3\)"):
        conv_net()(np.zeros(shape))


def test_unusual_arrays_are_read():
    net, X = conv_net(), np.random.default_rng(0).normal(size=(4, 1, 2, 3))
    frozen = X.copy()
    frozen.setflags(write=False)
    assert torch.equal(net(frozen), net(X))
    assert torch.equal(net(X[::-1]), net(X[::-1].copy()))
    assert torch.allclose(net(X[:, :, :, ::-1]), net(X[:, :, :, ::-1].copy()))


def test_gradients_are_those_of_the_frozen_network():
    net = conv_net()
    x = torch.randn(3, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
    frozen = net.freeze(net.pattern(x.detach()))
    (expected,) = torch.autograd.grad(frozen(x)[:, 0].sum(), x)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(frozen(x), net(x))


def test_freeze_of_a_batch_uses_every_row_its_own():
    for kind in zoo.KINDS:
        net = zoo.build(zoo.random_net(kind, 2, degenerate=False)[0])
        X = torch.randn(5, *net.input_shape, dtype=torch.float64)
        torch.testing.assert_close(net.freeze(net.pattern(X))(X), net(X))


def test_values():
    net = residual()
    X = np.array([[1.0, 2.0], [0.0, -1.0]])
    everything = net.values(X)
    assert list(everything) == [INPUT, "a", "r", "s", "t", "out"]
    some = net.values(X, "s", INPUT)
    assert set(some) == {"s", INPUT} and torch.equal(some["s"], everything["s"])
    assert torch.equal(everything["s"], everything["r"] + everything[INPUT])
    with pytest.raises(ArgumentError, match="'nowhere'"):
        net.values(X, "nowhere")
    twice = zoo.build({"input": (2,), "nodes": [("s", "add", ("input", "input"), {"coefficients": [1, -1]})]})
    assert not twice(X).any()


# --- names ---------------------------------------------------------------------------------------------------------


def test_layers_and_resolve():
    net = residual()
    assert net.choices == ("r", "t") and net.layers == ("r", "t", "out") and net.output == "out"
    assert net.upto("t").layers == ("r", "t")
    assert [net.resolve(0), net.resolve(-1), net.resolve(np.int64(1))] == ["r", "out", "t"]
    assert [net.resolve("s"), net.resolve("t", "pre"), net.resolve(INPUT)] == ["s", "s", INPUT]
    assert (net.shape_of("s"), net.shape_of(INPUT), net.output_shape) == ((2,), (2,), (1,))
    for wrong, text in ((3, "3 layers"), (-4, "3 layers"), ("q", "no node of that name")):
        with pytest.raises(ArgumentError, match=text):
            net.resolve(wrong)
    with pytest.raises(ArgumentError, match="'post' or 'pre'"):
        net.resolve("r", "between")
    with pytest.raises(ArgumentError, match="2 inputs"):
        net.resolve("s", "pre")


def test_graphs_name_nodes_apart_and_drop_what_is_not_needed():
    graph = Graph([2])
    names = [graph.add("a", relu((2,)), INPUT) for _ in range(3)]
    assert names == ["a", "a_2", "a_3"] and graph.add(INPUT, relu((2,)), "a") == "input_2"
    assert [n.name for n in graph.network("a_2").nodes] == ["a_2"]
    assert [n.name for n in graph.network().nodes] == ["a", "input_2"]
    with pytest.raises(ArgumentError, match="'b'"):
        graph.network("b")
    identity = Graph((2,)).network()
    assert identity(np.array([1.0, 2.0])).tolist() == [1, 2] and identity.layers == ("identity",)


def test_repr_names_sizes():
    assert repr(residual()) == "Network('network': (2,) -> (1,), 5 nodes, 4 units in 2 choice layers)"


# --- parts ---------------------------------------------------------------------------------------------------------


def test_upto_and_after_are_the_two_halves():
    net, X = conv_net(), np.random.default_rng(1).normal(size=(3, 1, 2, 3))
    for layer in (INPUT, *(n.name for n in net.nodes)):
        head, tail = net.upto(layer), net.after(layer)
        torch.testing.assert_close(head(X), net.values(X, layer)[layer])
        torch.testing.assert_close(tail(head(X)), net(X))
    torch.testing.assert_close(net.upto("relu1", "pre")(X), net.values(X, "conv0")["conv0"])
    torch.testing.assert_close(net.after("relu1", "pre")(net.upto("conv0")(X)), net(X))


def test_after_refuses_a_layer_inside_a_branch():
    net = residual()
    with pytest.raises(ArgumentError, match="does not cut the graph: node 's' also reads 'input'"):
        net.after("r")
    X = np.array([[1.0, 2.0]])
    torch.testing.assert_close(net.after("s")(net.upto("s")(X)), net(X))


def test_block_is_the_affine_map_from_a_layers_own_input():
    net, X = residual(), np.random.default_rng(0).normal(size=(4, 2))
    values = net.values(X)
    for layer, side, sources, target in (
        ("r", "pre", (INPUT,), "a"),
        ("t", "pre", (INPUT, "r"), "s"),
        ("out", "post", ("t",), "out"),
        ("r", "post", ("r",), "r"),
    ):
        block, found = net.block(layer, side)
        assert found == sources and not block.choices
        joint = torch.cat([values[s].flatten(1) for s in sources], 1)
        torch.testing.assert_close(block(joint), values[target])


def test_on_a_slice():
    net = conv_net()
    rng = np.random.default_rng(0)
    plane = Plane(rng.normal(size=6), rng.normal(size=(6, 2)))
    small, s = net.on(plane), rng.normal(size=(5, 2))
    assert small.input_shape == (2,) and small.choices == net.choices
    torch.testing.assert_close(small(s), net(plane.origin + s @ plane.basis.T))
    line = net.on(Segment(np.zeros(6), plane.origin))
    assert line.box is not None
    torch.testing.assert_close(line(np.array([[0.0]])), net(np.zeros((1, 6))))
    with pytest.raises(ShapeError, match="5 dimensions"):
        net.on(Plane(np.zeros(5), np.eye(5, 2)))


def test_boxes_stay_with_the_part_that_reads_the_same_input():
    box = Box(np.zeros(2), np.ones(2))
    net = residual().within(box)
    assert net.box is box and net.upto("r").box is box and residual().box is None
    assert net.after("s").box is None
    assert net.freeze(net.pattern(np.zeros(2))).box is box


# --- devices and dtypes --------------------------------------------------------------------------------------------


def test_cast_changes_every_floating_tensor_and_no_index():
    for known in zoo.KNOWN:
        small = known.net.cast(torch.float32)
        X = np.array([x for x, _ in known.answers], dtype=float)
        out = small(X)
        assert out.dtype == small.dtype == (torch.float64 if known.name == "tied pool windows" else torch.float32)
        np.testing.assert_allclose(out.flatten(1).numpy(), np.array([y for _, y in known.answers]), rtol=1e-5)
    inner = Transposed(Dense(EYE, None, (2,)), None, (2,))
    graph = Graph((2,))
    graph.add("t", inner, INPUT)
    net = graph.network()
    assert net.dtype == torch.float64 and net.cast(torch.float32).dtype == torch.float32
    assert net.device == torch.device("cpu")


def test_devices():
    assert residual().to("cpu").device == torch.device("cpu")
    with pytest.raises(DeviceError, match="float64"):
        residual().to("mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_patterns_are_the_same():
    for kind in zoo.KINDS:
        net = zoo.build(zoo.random_net(kind, 1, degenerate=True)[0])
        X = torch.randint(-2, 3, (20, *net.input_shape)).double()
        assert net.to("cuda").pattern(X).keys() == net.pattern(X).keys()


def test_nodes_and_origins_are_plain_values():
    net = residual()
    assert isinstance(net["a"], Node) and net["a"].inputs == (INPUT,)
    assert np.isnan(Origin().difference) and net.origin.name == "network"


def test_joins_in_a_graph():
    graph = Graph((2,))
    a = graph.add("a", Dense(EYE, None, (2,)), INPUT)
    b = graph.add("b", Gather(torch.tensor([1]), (2,), (1,)), INPUT)
    c = graph.add("c", Concat(0, ((2,), (1,))), a, b)
    graph.add("d", Sum((1.0, 1.0), (3,)), c, c)
    assert graph.shapes["c"] == (3,)
    assert graph.network()(np.array([1.0, 2.0])).tolist() == [2, 4, 4]


def test_the_piece_of_an_input_and_the_pieces_of_a_batch():
    graph = Graph((2,))
    hidden = graph.add("fc", Dense(torch.tensor([[1.0, -1.0], [2.0, 0.5]], dtype=torch.float64), None, (2,)), INPUT)
    graph.add("relu", relu((2,)), hidden)
    net = graph.network()
    X = torch.tensor([[1.0, 0.0], [-1.0, 3.0], [0.5, 2.0]], dtype=torch.float64)
    pieces = list(net.pieces(X))
    for x, piece in zip(X, pieces, strict=True):
        torch.testing.assert_close(piece.frozen(x), net(x), rtol=0, atol=0)
        assert net.piece(x).pattern.keys() == piece.pattern.keys() == net.pattern(x).keys()
    with pytest.raises(ShapeError, match=r"net\.pieces"):
        net.piece(X)


def test_reshaping_is_said():
    graph = Graph((2, 1))
    graph.add("relu", relu((2, 1)), INPUT)
    net = graph.network()
    with pytest.warns(ReshapeNotice, match=r"\(3, 2\) are read as \(3, 2, 1\)"):
        assert net(torch.ones(3, 2)).shape == (3, 2, 1)
    with pytest.warns(ReshapeNotice) as seen:  # asked through any analysis, it points at the user's line
        plica.nearest_facet(net, np.ones((3, 2)))
    assert {one.filename for one in seen} == {__file__}
