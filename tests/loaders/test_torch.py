"""Every aten operation against the module itself, on odd sizes; and modules back from networks."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import plica
from plica.core.choice import MaxOver
from plica.core.network import Origin
from plica.errors import ModelError, PlicaError, ShapeError, UnsupportedLayer
from plica.loaders import torch_graph
from plica.loaders.torch import load_program
from plica.loaders.torch_ops import LOWER

torch.manual_seed(0)
aten = torch.ops.aten


def w(*shape):
    return torch.randn(*shape)


class Do(nn.Module):
    """A function as a module; tensors it uses are given by name and become buffers."""

    def __init__(self, function, **tensors):
        super().__init__()
        self.function = function
        for name, value in tensors.items():
            self.register_buffer(name, value)

    def forward(self, x):
        return self.function(x, **dict(self.named_buffers()))


class Maxout(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(5, 12)

    def forward(self, x):
        return self.line(x).view(x.size(0), 4, 3).max(dim=2).values


class Residual(nn.Module):
    """A block that adds in place, with everything a small ResNet has."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.down = nn.Sequential(nn.Conv2d(2, 4, 1, stride=2), nn.BatchNorm2d(4))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 3)
        for layer in (self.bn1, self.down[1]):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)

    def forward(self, x):
        out = self.conv2(self.relu(self.bn1(self.conv1(x))))
        out += self.down(x)
        return self.fc(torch.flatten(self.pool(self.relu(out)), 1))


def norm(layer):
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    return layer


A, B, C, D = (2, 7, 6), (3, 4), (6,), (2, 9)  # shapes of one input
MASK = torch.tensor([[True, False, True, False]])
CASES = {
    "abs": (Do(lambda x: torch.abs(x)), B),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d(4), D),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d((3, 4)), A),
    "adaptive_avg_pool2d_none": (nn.AdaptiveAvgPool2d((None, 1)), A),
    "adaptive_avg_pool2d_core": (Do(lambda x: aten._adaptive_avg_pool2d(x, [2, 3])), A),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d(4), D),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d((3, 4)), A),
    "add_scalar": (Do(lambda x: 2 + x), B),
    "add_alpha": (Do(lambda x, c: torch.add(c, x, alpha=3), c=w(4)), B),
    "add_alpha_value": (Do(lambda x: torch.add(x, x.abs(), alpha=-0.5)), B),
    "add_in_place": (Do(lambda x: (x * 2).add_(1).relu_()), B),
    "in_place_seen_later": (Do(lambda x: _in_place(x)), B),
    "addmm": (Do(lambda x, c, m: torch.addmm(c, x, m, beta=0.5, alpha=2), c=w(3), m=w(6, 3)), C),
    "alias": (Do(lambda x: aten.alias(x) * 2), B),
    "alpha_dropout": (nn.Sequential(nn.AlphaDropout(0.4), nn.ReLU()), B),
    "amax": (Do(lambda x: x.amax(dim=(1, 2))), A),
    "amin": (Do(lambda x: x.amin(dim=-1, keepdim=True)), A),
    "avg_pool1d": (nn.AvgPool1d(3, 2, 1), D),
    "avg_pool1d_ceil": (nn.AvgPool1d(2, 2, ceil_mode=True), D),
    "avg_pool2d": (nn.AvgPool2d((3, 2), (2, 3), (1, 1)), A),
    "avg_pool2d_ceil": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (2, 6, 7)),
    "avg_pool2d_uncounted": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 6, 7)),
    "avg_pool2d_divisor": (nn.AvgPool2d(2, divisor_override=3), A),
    "batch_norm": (norm(nn.BatchNorm2d(2)), A),
    "batch_norm_1d": (norm(nn.BatchNorm1d(6)), C),
    "batch_norm_bare": (norm(nn.BatchNorm1d(2, affine=False)), D),
    "cat": (Do(lambda x, c: torch.cat([x, c.expand(x.size(0), -1, -1), -x], 1), c=w(1, 2, 4)), B),
    "channels_last": (Do(lambda x: x.permute(0, 2, 3, 1).contiguous().relu()), A),
    "chunk": (Do(lambda x: torch.cat(x.chunk(3, dim=-1)[::-1], -1)), (2, 7)),
    "clamp": (Do(lambda x: x.clamp(-0.3, 0.4)), B),
    "clamp_tensors": (Do(lambda x, low, high: x.clamp(low, high), low=-torch.rand(4), high=torch.rand(4)), B),
    "clamp_min": (Do(lambda x: x.clamp_min(-0.3)), B),
    "clamp_max": (Do(lambda x: x.clamp_max(0.3)), B),
    "clip": (Do(lambda x: torch.clip(x, max=0.3)), B),
    "clone": (Do(lambda x: x.clone().detach() * 2), B),
    "constant_pad_nd": (nn.ConstantPad2d((1, 2, 0, -1), 0.5), A),
    "constant_pad_nd_core": (Do(lambda x: aten.constant_pad_nd(x, [1, 2, -1, 0], 0.25)), A),
    "conv1d": (nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2), D),
    "conv1d_same": (nn.Conv1d(2, 4, 4, padding="same"), D),
    "conv2d": (nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(2, 0), dilation=(1, 2), groups=2), A),
    "conv2d_valid": (nn.Conv2d(2, 3, 2, padding="valid", bias=False), A),
    "conv2d_circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), A),
    "conv_transpose1d": (nn.ConvTranspose1d(2, 3, 4, stride=3, padding=1, output_padding=2), D),
    "conv_transpose2d": (nn.ConvTranspose2d(2, 4, (3, 2), 2, (1, 0), (1, 0), groups=2, dilation=(1, 3)), A),
    "convolution": (Do(lambda x, k: aten.convolution(x, k, None, [2], [1], [1], False, [0], 1), k=w(3, 2, 3)), D),
    "convolution_transposed": (
        Do(lambda x, k: aten.convolution(x, k, None, [2], [1], [1], True, [1], 1), k=w(2, 3, 3)),
        D,
    ),
    "div": (Do(lambda x, c: x / c / 3, c=w(4) + 4), B),
    "dropout": (nn.Sequential(nn.Dropout(0.4), nn.ReLU()), B),
    "double": (Do(lambda x: x.double().mul(2).float()), B),
    "einsum_free_mv": (Do(lambda x, v: x @ v, v=w(4)), B),
    "expand": (Do(lambda x: x.expand(-1, 3, -1)), (1, 4)),
    "feature_dropout": (nn.Sequential(nn.Dropout2d(0.4), nn.ReLU()), A),
    "feature_alpha_dropout": (nn.Sequential(nn.FeatureAlphaDropout(0.4), nn.ReLU()), A),
    "flatten": (nn.Flatten(), A),
    "flatten_part": (Do(lambda x: x.flatten(1, 2)), A),
    "flip": (Do(lambda x: x.flip(1, -1)), A),
    "hardsigmoid": (nn.Sequential(nn.Hardsigmoid(), nn.Linear(4, 2)), B),
    "hardtanh": (nn.Hardtanh(-0.4, 0.7), B),
    "identity": (nn.Sequential(nn.Identity(), nn.ReLU()), B),
    "expand_as": (Do(lambda x, c: c.expand_as(x) - x.amax(2, keepdim=True).expand_as(x), c=w(4)), B),
    "index": (Do(lambda x, i: x[:, :, i], i=torch.tensor([3, 0, 0])), B),
    "index_two": (Do(lambda x, i, j: x[:, i, j], i=torch.tensor([2, 0]), j=torch.tensor([1, 3])), B),
    "index_select": (Do(lambda x, i: x.index_select(1, i), i=torch.tensor([2, 0, 2])), B),
    "leaky_relu": (nn.LeakyReLU(0.07), B),
    "lift_fresh_copy": (Do(lambda x: x + torch.tensor([1.0, 2.0, 3.0, 4.0])), B),
    "linear": (nn.Linear(4, 3), B),
    "linear_bare": (nn.Linear(4, 3, bias=False), (4,)),
    "masked_fill": (Do(lambda x, m: x.masked_fill(m, 0.7), m=MASK[0]), B),
    "matmul": (Do(lambda x, m: x @ m, m=w(4, 3)), B),
    "matmul_left": (Do(lambda x, m: m @ x, m=w(5, 3)), B),
    "max_all_axes": (Do(lambda x: torch.max(x, dim=2)[0]), A),
    "max_two": (Do(lambda x: torch.max(x, -x)), B),
    "max_two_constant": (Do(lambda x, c: torch.max(c, x), c=w(4)), B),
    "max_pool1d": (nn.MaxPool1d(3, 2, 1), D),
    "max_pool2d": (nn.MaxPool2d((3, 2), (1, 2), (1, 1), dilation=(2, 1)), A),
    "max_pool2d_ceil": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 6, 7)),
    "max_pool2d_with_indices": (Do(lambda x: aten.max_pool2d_with_indices(x, [3, 3], [2, 2])[0]), A),
    "max_pool1d_with_indices": (Do(lambda x: aten.max_pool1d_with_indices(x, [3], [2], [1])[0]), D),
    "maximum": (Do(lambda x, c: torch.maximum(x, torch.maximum(-x, c)), c=w(4)), B),
    "maxout": (Maxout(), (5,)),
    "mean": (Do(lambda x: x.mean(dim=(2, 3))), A),
    "mean_keep": (Do(lambda x: x.mean(-1, keepdim=True)), A),
    "min_axis": (Do(lambda x: x.min(dim=1, keepdim=True).values), B),
    "min_two": (Do(lambda x: torch.min(x, x * 0.5)), B),
    "minimum": (Do(lambda x, c: torch.minimum(c, x), c=w(3, 4)), B),
    "mm": (Do(lambda x, m: torch.mm(x, m), m=w(6, 3)), C),
    "movedim": (Do(lambda x: x.movedim((1, 3), (2, 1)).swapaxes(1, -1)), A),
    "mul": (Do(lambda x, c: c * x * 0.25, c=w(3, 1)), B),
    "mv": (Do(lambda x, v: torch.mv(x, v).unsqueeze(1), v=w(6)), C),
    "narrow": (Do(lambda x: x.narrow(2, 1, 2)), B),
    "neg": (Do(lambda x: -x), B),
    "numpy_T": (Do(lambda x, m: x @ m.T, m=w(3, 4)), B),
    "pad_reflect": (nn.ReflectionPad2d((1, 2, 3, 0)), A),
    "pad_reflect_1d": (nn.ReflectionPad1d((1, 2)), D),
    "pad_replicate": (nn.ReplicationPad2d((1, 2, 3, 0)), A),
    "pad_replicate_1d": (nn.ReplicationPad1d((1, 2)), D),
    "pad_aten": (Do(lambda x: aten.replication_pad1d(aten.reflection_pad1d(x, [2, 1]), [1, 0])), D),
    "pad_aten_2d": (Do(lambda x: aten.replication_pad2d(aten.reflection_pad2d(x, [2, 1, 0, 3]), [1, 0, 1, 2])), A),
    "pad_circular": (Do(lambda x: F.pad(x, (1, 2), mode="circular")), D),
    "pad_mode": (Do(lambda x: aten.pad(x, [1, 2], "reflect")), D),
    "permute": (Do(lambda x: x.permute(0, 3, 1, 2)), A),
    "pixel_moves": (Do(lambda x: x.view(x.shape[0], 1, 2, 7, 6).permute(0, 1, 3, 2, 4).reshape(-1, 7, 12)), A),
    "positive": (Do(lambda x: torch.positive(x) * 2), B),
    "prelu": (nn.PReLU(2, init=0.2), A),
    "prelu_one": (nn.PReLU(), B),
    "relu": (nn.ReLU(), B),
    "relu6": (nn.ReLU6(), B),
    "relu6_core": (Do(lambda x: aten.relu6(x * 5)), B),
    "relu_threshold": (nn.Threshold(0.2, 0.2), B),
    "repeat": (Do(lambda x: x.repeat(1, 2, 3)), B),
    "reshape": (Do(lambda x: x.reshape(x.size(0), -1, 2)), B),
    "residual": (Residual(), A),
    "reshape_as": (Do(lambda x: x.transpose(1, 2).reshape_as(x).view_as(x)), B),
    "roll": (Do(lambda x: torch.roll(x, (1, -2), (1, 2))), B),
    "rrelu": (nn.RReLU(), B),
    "rsub": (Do(lambda x: torch.rsub(x, 3, alpha=2)), B),
    "select": (Do(lambda x: x[:, 1] + x.select(1, -1)), B),
    "slice": (Do(lambda x: x[:, 1:, ::2]), B),
    "slice_batch": (Do(lambda x: x[: x.size(0), :2]), B),
    "softshrink": (nn.Softshrink(0.3), B),
    "sort": (Do(lambda x: x.view(x.size(0), 4, 3).sort(2, descending=True).values.flatten(1)), (12,)),
    "sort_plain": (Do(lambda x: torch.sort(x)[0]), (5,)),
    "split": (Do(lambda x: torch.cat(x.split(2, dim=1)[::-1], 1)), (5, 2)),
    "split_with_sizes": (Do(lambda x: x.split([1, 4], dim=1)[1]), (5, 2)),
    "squeeze": (Do(lambda x: x.squeeze(2).squeeze()), (3, 1, 4)),
    "stack": (Do(lambda x, c: torch.stack([x, c.expand_as(x), -x], 1), c=w(4)), B),
    "sub": (Do(lambda x, c: (x - c) + (c - x * 2) - 1, c=w(4)), B),
    "sum": (Do(lambda x: x.sum(1)), B),
    "t": (Do(lambda x, m: x @ m.t(), m=w(3, 4)), B),
    "to": (Do(lambda x: x.to(torch.float64).to(torch.float32) * 2), B),
    "topk": (Do(lambda x: x.topk(2, dim=1)[0]), B),
    "transpose": (Do(lambda x: x.transpose(1, -1)), A),
    "unbind": (Do(lambda x: x.unbind(1)[2] - x.unbind(1)[0]), B),
    "unflatten": (Do(lambda x: x.unflatten(1, (2, -1))), C),
    "unsafe_view": (Do(lambda x: aten._unsafe_view(x, [x.size(0), 12])), B),
    "unsqueeze": (Do(lambda x: x.unsqueeze(1).unsqueeze(-1)), B),
    "view": (Do(lambda x: x.view(-1, 2, 6)), B),
    "weight_norm": (nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), B),
    "scalar_inside": (Do(lambda x: x.squeeze(1).relu().unsqueeze(1) * 2), (1,)),
    "scalar_output": (Do(lambda x: x.sum(1)), (4,)),
    "where": (Do(lambda x, m: torch.where(m, x, x * 0.5), m=MASK[0]), B),
    "zeros": (Do(lambda x: torch.cat([x, torch.zeros(x.size(0), 2, 4)], 1)), B),
}


def _in_place(x):
    y = x * 2
    z = y.relu_()
    return y + z


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


@pytest.mark.parametrize("name", CASES)
def test_back_to_torch(name):
    module, shape = CASES[name]
    net = plica.load(module, shape)
    back = net.to_torch()
    x = torch.randn(4, *shape, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(back(x).reshape(net(x).shape), net(x), rtol=1e-12, atol=1e-12)


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


# --- going back -------------------------------------------------------------------------------------------------


def test_back_to_torch_uses_layers_of_torch():
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(3, 2, 2), nn.LeakyReLU(0.1), nn.Flatten(),
        nn.Linear(112, 4), nn.Hardtanh(), nn.Softshrink(),
    )  # fmt: skip
    back = plica.load(module, A).to_torch()
    kinds = {type(layer) for layer in back.modules()}
    layers = {nn.Conv2d, nn.ReLU, nn.ConvTranspose2d, nn.LeakyReLU, nn.Flatten, nn.Linear, nn.Hardtanh, nn.Softshrink}
    assert layers <= kinds
    assert not back.training
    assert {p.dtype for p in back.parameters()} == {torch.float64}


def test_back_and_forth_is_the_same_function():
    net = plica.load(Residual(), A)
    again = plica.load(net.to_torch(), A)
    x = torch.randn(3, *A)
    torch.testing.assert_close(again(x), net(x), rtol=1e-12, atol=1e-12)


def test_changing_the_module_leaves_the_network_alone():
    net = plica.load(Residual(), A)
    x = torch.randn(3, *A)
    before = net(x)
    back = net.to_torch()
    with torch.no_grad():
        for parameter in back.parameters():
            parameter.zero_()
    assert torch.equal(net(x), before)


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
    with pytest.raises(UnsupportedLayer, match=r"node 'features\.1'"):
        plica.load(module)


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
