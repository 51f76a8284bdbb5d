"""Networks back to torch: the same function, in torch's own layers where there are some."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import torch
from torch import nn

import plica
import zoo
from loaders.torch_cases import CASES, A, Do, Residual
from plica.core.affine import Dense, Gather, Scale
from plica.core.choice import Piecewise, windows
from plica.core.conv import Transposed
from plica.core.domain import Plane
from plica.core.network import INPUT, Graph, Network
from plica.errors import UnsupportedLayer
from plica.loaders.to_torch import LAYERS, PIECEWISE, to_torch


@functools.cache
def loaded(name):
    return plica.load(*CASES[name])


def assert_same(module, net, count=4):
    x = torch.randn(count, *net.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(module(x).flatten(1), net(x).flatten(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_same_function(name):
    net = loaded(name)
    assert_same(net.to_torch(), net)


@pytest.mark.parametrize("known", zoo.KNOWN, ids=[known.name for known in zoo.KNOWN])
def test_known_nets(known):
    assert_same(known.net.to_torch(), known.net)


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_random_nets(kind, seed):
    data, _ = zoo.random_net(kind, seed, degenerate=seed % 2 == 1)
    net = zoo.build(data)
    assert_same(net.to_torch(), net)


def test_every_node_has_a_layer():
    used = [node.op for known in zoo.KNOWN for node in known.net.nodes]
    used += [node.op for name in CASES for node in loaded(name).nodes]
    assert {type(op) for op in used} == set(LAYERS)
    assert {op.name for op in used if isinstance(op, Piecewise)} == set(PIECEWISE)


def test_layers_of_torch():
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.ConvTranspose2d(3, 2, 2), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Linear(112, 4), nn.Hardtanh(), nn.Softshrink(),
    )  # fmt: skip
    back = plica.load(module, A).to_torch()
    kinds = {type(layer) for layer in back.modules()}
    assert {type(layer) for layer in module} <= kinds
    assert not back.training
    assert {p.dtype for p in back.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.MaxPool2d(2), (2, 6, 7)),
        (nn.MaxPool2d((3, 2), (1, 2), (1, 1), dilation=(2, 1)), (2, 7, 6)),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 6, 7)),
        (nn.MaxPool2d((1, 3)), (2, 4, 6)),
        (nn.MaxPool2d(2, 3), (1, 4, 4)),
        (nn.MaxPool2d((4, 5)), (3, 4, 5)),
        (nn.MaxPool1d(3, 2, 1), (2, 9)),
        (nn.MaxPool1d(2, ceil_mode=True), (2, 9)),
        (nn.AdaptiveMaxPool2d((2, 2)), (1, 4, 4)),
    ],
)
def test_pooling_is_recognised(layer, shape):
    net = plica.load(layer, shape)
    (back,) = net.to_torch().children()
    assert isinstance(back, (nn.MaxPool1d, nn.MaxPool2d))
    assert_same(back, net)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.AdaptiveMaxPool2d((3, 4)), (2, 7, 6)),  # windows of several sizes
        (Do(lambda x: x.amax(1)), (3, 4)),
        (Do(lambda x: x.unflatten(1, (3, 2)).amax(2)), (6,)),
        (Do(lambda x: x.amax(3)[:, [1, 0]]), (2, 4, 3)),
        (Do(lambda x: nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 0), value=-1e9), 2)), (1, 4, 5)),
    ],
)
def test_other_maxima(layer, shape):
    net = plica.load(layer, shape)
    assert_same(net.to_torch(), net)


def test_uneven_padding_of_a_pool_is_no_layer():
    graph = Graph((1, 4, 5))
    graph.add("pool", windows((1, 4, 5), (3, 3), stride=(1, 1), padding=((1, 0), (0, 2)), dilation=(1, 1)), INPUT)
    net = graph.network()
    assert "Largest" in repr(net.to_torch())
    assert_same(net.to_torch(), net)


# --- what is done with the module -------------------------------------------------------------------------------


def test_back_and_forth_is_the_same_function():
    net = plica.load(Residual(), A)
    again = plica.load(net.to_torch(), A)
    x = torch.randn(3, *A)
    torch.testing.assert_close(again(x), net(x), rtol=1e-12, atol=1e-12)


def test_parts_and_slices():
    net = plica.load(Residual(), A)
    for part in (
        net.upto(1),
        net.after(net.layers[-2]),
        net.block(0)[0],
        net.on(Plane.through(np.random.default_rng(0).random((3, 84)))),
    ):
        assert_same(part.to_torch(), part)


def test_changing_the_module_leaves_the_network_alone():
    net = plica.load(Residual(), A)
    x = torch.randn(3, *A)
    before = net(x)
    back = net.to_torch()
    with torch.no_grad():
        for tensor in back.state_dict().values():
            tensor.zero_()
    assert torch.equal(net(x), before)


def test_state_dict_and_training():
    """Weights are written and read back; a step of training changes them."""
    net = plica.load(Residual(), A)
    first, second = net.to_torch(), net.to_torch()
    x = torch.randn(3, *A, dtype=torch.float64)
    step = torch.optim.SGD(first.parameters(), lr=0.1)
    first(x).square().sum().backward()
    step.step()
    assert not torch.allclose(first(x), second(x))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes(dtype):
    for name in ("residual", "constant_pad_nd", "avg_pool2d", "clamp_tensors", "prelu", "conv_transpose2d"):
        net = loaded(name)
        module = to_torch(net, dtype)
        floats = {t.dtype for t in module.state_dict().values() if t.is_floating_point()}
        assert floats <= {dtype}
        x = torch.randn(3, *net.input_shape, dtype=dtype)
        with torch.no_grad():
            torch.testing.assert_close(module(x).double(), net(x), rtol=1e-4, atol=1e-4)
    assert {p.dtype for p in net.cast(dtype).to_torch().parameters()} == {dtype}


def test_names_become_names_of_submodules():
    graph = Graph((2,))
    one = torch.ones((), dtype=torch.float64)
    for name, value in (
        ("features.0", INPUT),
        ("features_0", "features.0"),
        ("forward", "features_0"),
        ("7", "forward"),
    ):
        graph.add(name, Scale(one, None, (2,)), value)
    net = graph.network()
    assert [name for name, _ in net.to_torch().named_children()] == ["features_0", "features_0_", "forward_", "n7"]
    assert_same(net.to_torch(), net)


def test_frozen_networks():
    net = plica.load(Residual(), A)
    x = torch.randn(3, *A, dtype=torch.float64)
    one = net.freeze(net.pattern(x[:1]))
    torch.testing.assert_close(one.to_torch()(x[:1]), net(x[:1]), rtol=1e-12, atol=1e-12)
    with pytest.raises(UnsupportedLayer, match=r"node 'relu.*weights per row of a batch"):
        net.freeze(net.pattern(x)).to_torch()


def test_what_has_no_layer_is_refused():
    graph = Graph((3,))
    graph.add("odd", Transposed(Gather(torch.tensor([0, 2]), (3,), (2,)), None, (3,)), INPUT)
    with pytest.raises(UnsupportedLayer, match="node 'odd': the transpose of Gather"):
        Network((2,), tuple(graph.nodes)).to_torch()
    graph = Graph((3,))
    level = torch.zeros(1, dtype=torch.float64)
    graph.add("bent", Piecewise("steps", level, torch.ones(2), torch.zeros(2), (3,)), INPUT)
    with pytest.raises(UnsupportedLayer, match="node 'bent' is steps"):
        graph.network().to_torch()


def test_a_matrix_without_bias():
    graph = Graph((3,))
    graph.add("line", Dense(torch.eye(3, dtype=torch.float64), None, (3,)), INPUT)
    (layer,) = graph.network().to_torch().children()
    assert isinstance(layer, nn.Linear)
    assert layer.bias is None
