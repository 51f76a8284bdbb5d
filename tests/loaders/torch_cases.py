"""Small torch modules: every aten operation, on odd sizes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

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
