"""Every aten operation against the module itself, on odd sizes."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import plica
from loaders.torch_cases import CASES, A, B, Do, Maxout, Residual
from plica.core.choice import MaxOver
from plica.core.network import Origin
from plica.errors import ModelError, PlicaError, ShapeError, UnsupportedLayer
from plica.loaders import torch_graph
from plica.loaders.torch import load_program
from plica.loaders.torch_ops import LOWER

MOVES = {  # operations that move entries or choose among them: nothing is rounded
    *("abs", "adaptive_max_pool2d", "amax", "cat", "channels_last", "chunk", "constant_pad_nd", "expand", "flatten"),
    *("flip", "index", "index_two", "index_select", "max_two", "max_pool2d", "max_pool2d_ceil", "movedim", "narrow"),
    *("neg", "pad_reflect", "pad_replicate", "pad_circular", "permute", "pixel_moves", "relu", "repeat", "reshape"),
    *("roll", "slice", "sort", "split", "squeeze", "stack", "topk", "transpose", "unflatten", "view", "zeros"),
}


def difference(module, net, shape, count=5):
    """Largest difference between a network and a module in evaluation mode, relative to the largest output."""
    x = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module(x).double()
        got = net(x)
    return float((got.reshape(expected.shape) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", CASES)
def test_operation(name):
    module, shape = CASES[name]
    net = plica.load(module, shape)
    assert net.input_shape == shape
    assert net.origin.difference < 1e-6
    assert difference(copy.deepcopy(module).eval(), net, shape) < 1e-6
    if name in MOVES:
        x = torch.randn(3, *shape)
        assert torch.equal(net(x).flatten(), copy.deepcopy(module).eval()(x).double().flatten())


def test_every_operation_has_a_case():
    seen = set()
    for module, shape in CASES.values():
        source = torch_graph.exported(copy.deepcopy(module).eval(), shape, torch.float32)
        seen |= {torch_graph.kind_of(node) for node in source.needed if node.op == "call_function"}
    program = torch.export.export(Residual().eval(), (torch.zeros(2, *A),)).run_decompositions()
    seen |= {torch_graph.kind_of(node) for node in program.graph.nodes if node.op == "call_function"}
    assert set(LOWER) - seen == set()


def test_decomposed_programs_are_read():
    """What torch.export gives after decomposition to its core operations."""
    module = nn.Sequential(Residual(), nn.Unflatten(1, (1, 3)), nn.MaxPool1d(2), nn.Flatten(), nn.Hardtanh()).eval()
    batch = {0: torch.export.Dim("batch", min=2)}
    program = torch.export.export(module, (torch.zeros(2, *A),), dynamic_shapes=(batch,)).run_decompositions()
    assert difference(module, load_program(program, None, Origin("program")), A) < 1e-6


# --- the module -------------------------------------------------------------------------------------------------


def test_the_module_is_not_changed():
    module = Residual().train()
    before = copy.deepcopy(module.state_dict())
    net = plica.load(module, A)
    assert any("training mode" in text for text in net.origin.notices)
    assert all(layer.training for layer in module.modules())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_network_has_weights_of_its_own():
    module = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).double()
    net = plica.load(module)
    x = torch.randn(4, 3)
    before = net(x)
    with torch.no_grad():
        module[0].weight.zero_()
    assert torch.equal(net(x), before)


def test_hooks_run_on_the_copy_only():
    """A hook is part of what the module computes; it and what it stores stay where they are."""
    module = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval()
    module[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    hooks = dict(module[0]._forward_hooks)
    net = plica.load(module)
    assert difference(module, net, (3,)) < 1e-6
    assert dict(module[0]._forward_hooks) == hooks


def test_choices_of_numbers_without_axes():
    """A unit that the module holds without an axis is a layer of one unit, which every analysis can count."""
    either = Do(lambda x: torch.stack([x[:, 0].relu(), x[:, 1].abs(), (x * torch.tensor([1.0, 2.0])).amax(1)], 1))
    net = plica.load(either.eval(), (2,))
    assert difference(either, net, (2,)) < 1e-6
    assert [net[name].shape for name in net.choices] == [(1,)] * 3
    X = np.array([[1.0, 3.0], [-1.0, 0.5]])
    for layer in net.choices:
        assert list(plica.preimage_kind(net, X, layer=layer).kinds) == ["unbounded"] * 2
    assert plica.count_regions(net, plica.Box([-1.0, -1.0], [1.0, 1.0])).count == 6  # between three lines through 0


def test_an_input_without_axes():
    net = plica.load(Do(lambda x: torch.stack([x, -x], 1).amax(1)).eval(), ())
    assert net(np.array([2.0, -3.0])).flatten().tolist() == [2, 3]
    assert plica.count_regions(net, plica.Box(-1.0, 1.0)).count == 2
    assert plica.spectrum(net, np.array([2.0, -3.0])).completeness.value == "complete"


def test_wrapped_modules():
    inner = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval()
    for module in (nn.DataParallel(inner), nn.Sequential(inner, nn.Identity())):
        assert difference(inner, plica.load(module, (3,)), (3,)) < 1e-6


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.LazyLinear(3), "parameter 'weight' has no values yet"),
        (nn.Linear(4, 3, dtype=torch.complex64), "parameter 'weight' is complex"),
        (Do(lambda x: None), "returns no tensor"),
        (Do(lambda x: torch.ones(2, 3)), "does not depend on its input"),
        (nn.Embedding(5, 3), "cannot be exported"),
        (nn.Bilinear(4, 4, 2), "cannot be exported"),
    ],
)
def test_modules_that_are_no_networks(module, match):
    with pytest.raises(ModelError, match=match):
        plica.load(module, (4,))


def test_a_module_that_cannot_be_copied():
    module = nn.Linear(4, 3)
    module.file = open(__file__, encoding="utf-8")  # noqa: SIM115
    with module.file, pytest.raises(ModelError, match="Linear cannot be copied"):
        plica.load(module)


def test_gradients_flow():
    net = plica.load(Residual(), A)
    x = torch.randn(3, *A, dtype=torch.float64, requires_grad=True)
    net(x).sum().backward()
    assert bool((x.grad != 0).any())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(kind):
    module = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)).to(kind)
    net = plica.load(module)
    assert net.origin.dtype == str(kind).removeprefix("torch.")
    rounds = [text for text in net.origin.notices if "rounds by" in text]
    assert bool(rounds) == (kind.itemsize == 2)
    assert net.dtype == torch.float64


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid(), nn.LogSigmoid()])
def test_final_softmax_is_dropped(last):
    module = nn.Sequential(nn.Linear(4, 3), last)
    net = plica.load(module)
    assert difference(module[0], net, (4,)) < 1e-6
    assert any("dropped" in text for text in net.origin.notices)


@pytest.mark.parametrize("layer", [nn.Softmax(1), nn.Sigmoid(), nn.GELU(), nn.Tanh(), nn.SiLU(), nn.Hardswish(),
                                   nn.Hardshrink(), nn.LayerNorm(3), nn.Threshold(0.1, 5.0)])  # fmt: skip
def test_other_layers_are_refused_by_name(layer):
    module = nn.Sequential()
    module.add_module("features", nn.Sequential(nn.Linear(4, 3), layer, nn.Linear(3, 2)))
    name = type(layer).__name__
    known = {"Hardshrink": " is Hardshrink, which is not known", "Threshold": r" \(Threshold\): it jumps"}
    with pytest.raises(
        UnsupportedLayer, match=rf"node 'features\.1'{known.get(name, f' is {name}, which is not pie')}"
    ):
        plica.load(module)


def test_functions_are_refused_by_name():
    with pytest.raises(UnsupportedLayer, match="node 'gelu' is gelu, which is not piecewise linear"):
        plica.load(Do(F.gelu), B)
    outer = nn.Sequential()
    outer.add_module("block", Do(torch.tanh))
    with pytest.raises(UnsupportedLayer, match=r"node 'block\.tanh' is tanh"):
        plica.load(outer, B)


def test_added_constants_become_a_bias():
    c = torch.randn(3)
    for function in (lambda x, m, c: x @ m + c, lambda x, m, c: c + x @ m, lambda x, m, c: torch.addmm(c, x, m)):
        net = plica.load(Do(function, m=torch.randn(6, 3), c=c), (6,))
        assert [type(node.op).__name__ for node in net.nodes] == ["Dense"]
        assert torch.equal(net.nodes[0].op.bias, c.double())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x,
        lambda x: 1 / x,
        lambda x: x @ x.transpose(1, 2),
        lambda x: x.sort(1).indices.float(),
        lambda x: x.max(1)[1].float(),
        lambda x: torch.where(x > 0, x, 2 * x),
        lambda x: x.to(torch.int32).float(),
        lambda x: x + torch.rand(4),
        lambda x: torch.floor(x),
        lambda x: x.half().float(),
    ],
)
def test_what_is_not_piecewise_linear_is_refused(function):
    with pytest.raises(UnsupportedLayer, match="node '"):
        plica.load(Do(function), B)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.flip(0),
        lambda x: x - x.mean(0),
        lambda x: x.transpose(0, 1),
        lambda x: x.reshape(-1, 2),
        lambda x: x.flatten(0, 1),
        lambda x: x[1:],
        lambda x: x[:-1],
        lambda x: x.sum(),
        lambda x: x.max(),
        lambda x: torch.cat([x, x]),
        lambda x: x.repeat(2, 1, 1),
        lambda x: x.unsqueeze(0),
        lambda x: x / x.size(0),
    ],
)
def test_the_batch_axis_stays_in_front(function):
    with pytest.raises(PlicaError):
        plica.load(Do(function), B)


def test_a_module_for_a_batch_of_one():
    module = Do(lambda x: x.view(1, -1) @ torch.ones(12, 2))
    net = plica.load(module, B)
    assert difference(module, net, B, count=1) < 1e-6
    assert any("batch of one" in text for text in net.origin.notices)


def test_only_the_first_output_counts():
    net = plica.load(Do(lambda x: (x.relu(), torch.tanh(x))), B)
    assert any("returns 2 values" in text for text in net.origin.notices)


def test_tracing_where_export_cannot(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no export today")

    monkeypatch.setattr(torch.export, "export", fails)
    for module, shape in ((Residual(), A), (Maxout(), (5,)), CASES["weight_norm"], CASES["slice_batch"]):
        net = plica.load(module, shape)
        assert difference(copy.deepcopy(module).eval(), net, shape) < 1e-6


def test_a_shape_that_does_not_fit_is_one_error(caplog, capfd):
    with pytest.raises(ModelError, match=r"inputs of shape \(5,\).*If input_shape is right"):
        plica.load(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), (5,))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_traced_has_one_error():
    class Branches(nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(ModelError, match=r"Branches cannot be exported .* nor traced"):
        plica.load(Branches(), B)


def test_names_are_paths():
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert [node.name for node in plica.load(module).nodes] == ["linear_0", "relu_1", "linear_2"]
    outer = nn.Sequential()
    outer.add_module("features", module)
    assert [node.name for node in plica.load(outer).nodes] == ["features.0", "features.1", "features.2"]
    assert [node.name for node in plica.load(Do(lambda x: F.relu(x) - 1), B).nodes] == ["relu", "sub"]


def test_names_of_operations_inside_own_modules():
    outer = nn.Sequential()
    outer.add_module("block", Do(lambda x: F.relu(x) + F.relu(-x)))
    names = [node.name for node in plica.load(outer, B).nodes]
    assert names == ["block.relu", "block.neg", "block.relu_2", "block.add"]


def test_input_shape_from_the_first_layer():
    assert plica.load(nn.Sequential(nn.Flatten(), nn.Linear(6, 2))).input_shape == (6,)
    with pytest.raises(ShapeError, match=r"input_shape=\(3, 32, 32\)"):
        plica.load(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(ShapeError, match="at least 1"):
        plica.load(nn.Linear(3, 2), (0,))
    with pytest.raises(ModelError, match=r"inputs of shape \(5,\)"):
        plica.load(nn.Linear(3, 2), (5,))


@pytest.mark.parametrize("shape", [4.0, "4", (4.5,), (4, "x"), (None,), (-4,), (4, 0)])
def test_input_shapes_that_make_no_sense(shape):
    with pytest.raises(ShapeError, match=r"input_shape = .*(whole numbers|at least 1)"):
        plica.load(nn.Linear(4, 2), shape)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value):
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight[1, 2] = value
    with pytest.raises(ModelError, match=r"parameter 'weight' holds 1 numbers that are NaN or infinite"):
        plica.load(module)


def test_maxima_of_groups():
    net = plica.load(Maxout(), (5,))
    op = net[net.layers[0]].op
    assert isinstance(op, MaxOver)
    assert tuple(op.index.shape) == (4, 3)


def test_sorting_many_entries_is_refused():
    with pytest.raises(UnsupportedLayer, match="it sorts 65 entries"):
        plica.load(Do(lambda x: x.sort(1).values), (65,))
