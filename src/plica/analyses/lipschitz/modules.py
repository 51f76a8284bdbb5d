"""Torch modules as nodes: layer by layer, also those that are not piecewise linear."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, fx, nn

from plica.analyses.lipschitz.norms import Bracket, Effort, around
from plica.analyses.lipschitz.steps import Item, Part, Smooth, circular
from plica.analyses.lipschitz.verified import norm_upper
from plica.core.affine import Concat, Dense, Gather, Scale, Sum, reshape
from plica.core.choice import absolute, clip, leaky_relu, relu, soft_threshold, windows
from plica.core.conv import Conv
from plica.core.exact.floats import raised
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.errors import ShapeError, UnsupportedLayer

Shape = tuple[int, ...]
READS = (
    "Linear, Conv1d, Conv2d, ReLU, LeakyReLU, PReLU, Hardtanh, Softshrink, Sigmoid, Tanh, Softplus, ELU, "
    "MaxPool, AvgPool, AdaptiveAvgPool2d, BatchNorm, LocalResponseNorm, Dropout, Flatten, sums and concatenations"
)


def nodes_of(module: nn.Module, input_shape: Shape | None) -> tuple[tuple[Item, ...], Shape]:
    """The layers of a module as nodes, in the order in which they are computed.

    Raises
    ------
    ShapeError
        Without an input shape, or when the module does not run on it.
    UnsupportedLayer
        For a layer without a rule.
    """
    if input_shape is None:
        first = next((m for m in module.modules() if not list(m.children())), None)
        if not isinstance(first, nn.Linear):
            raise ShapeError("input_shape: say what one input of the module is, such as (3, 32, 32), without batch.")
        input_shape = (first.in_features,)
    try:
        traced = fx.symbolic_trace(module)
    except Exception as error:  # a module may do anything
        raise UnsupportedLayer(
            f"{type(module).__name__} cannot be read layer by layer ({str(error).splitlines()[0][:200]}). "
            "Load it first: plica.lipschitz(plica.load(module, input_shape))."
        ) from error
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        reader = Reader(traced, input_shape)
    finally:
        for m, mode in modes.items():
            m.training = mode
    return reader.nodes, input_shape


class Reader:
    """Walks a traced module; shapes come from one run on zeros.

    Attributes
    ----------
    nodes : tuple of Part
    """

    def __init__(self, traced: fx.GraphModule, input_shape: Shape) -> None:
        self.modules = dict(traced.named_modules())
        self.shapes = _shapes(traced, input_shape)
        self.values: dict[fx.Node, str] = {}
        found: list[Item] = []
        output = ""
        for node in traced.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = INPUT
            elif node.op == "output":
                output = self.values.get(node.args[0], "")
            elif node in self.shapes:
                self._read(node, found)
        if not output:
            raise UnsupportedLayer("the module's output is not one tensor; give a module with a single output.")
        if not found or found[-1].name != output:
            last = found[-1].shape if found else input_shape
            found.append(Part("output", reshape(last, last), (output,), last))
        self.nodes = tuple(found)

    def _read(self, node: fx.Node, found: list[Item]) -> None:
        inputs = [a for a in _flat(node.args) if isinstance(a, fx.Node) and a in self.shapes]
        names = tuple(self.values[a] for a in inputs)
        before = [self.shapes[a] for a in inputs]
        name = str(node.target) if node.op == "call_module" else node.name
        if node.op == "call_module":
            layer = self.modules[str(node.target)]
            ops = layer_ops(layer, before[0], self.shapes[node], name)
        else:
            ops = function_ops(node, before, self.shapes[node])
        for i, op in enumerate(ops):
            taken = {n.name for n in found}
            own = name if i == len(ops) - 1 else f"{name}.{i}"
            while own in taken:
                own += "_again"
            shape = op.shape(*before) if not isinstance(op, Smooth) else self.shapes[node]
            found.append(Part(own, op, names, tuple(shape)))
            names, before = (own,), [tuple(shape)]
        self.values[node] = names[0]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [x for item in value for x in _flat(item)]
    return [value]


def _shapes(traced: fx.GraphModule, input_shape: Shape) -> dict[fx.Node, Shape]:
    """Shapes of all tensors of the graph, without batch axis."""
    shapes: dict[fx.Node, Shape] = {}

    class Run(fx.Interpreter):
        """Remembers shapes."""

        def run_node(self, n: fx.Node) -> Any:
            out = super().run_node(n)
            if isinstance(out, Tensor) and n.op != "get_attr":
                shapes[n] = tuple(out.shape[1:])
            return out

    dtype = next((p.dtype for p in traced.parameters()), torch.float32)
    try:
        with torch.no_grad():
            Run(traced).run(torch.zeros(1, *input_shape, dtype=dtype))
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ShapeError(f"input_shape = {input_shape}: the module does not run on it ({reason}).") from error
    return shapes


# -- layers -----------------------------------------------------------------------------------------------------------


def layer_ops(layer: nn.Module, before: Shape, after: Shape, name: str) -> list[Any]:
    """Nodes of one layer."""
    for kind, rule in LAYERS.items():
        if isinstance(layer, kind):
            return rule(layer, before, after)
    raise UnsupportedLayer(f"layer {name!r} is {type(layer).__name__}, whose constant is not known. Known: {READS}.")


def _linear(layer: nn.Linear, before: Shape, after: Shape) -> list[Any]:
    return [Dense(layer.weight.detach().double().cpu(), None, before)]


def _conv(layer: Any, before: Shape, after: Shape) -> list[Any]:
    weight = layer.weight.detach().double().cpu()
    d, stride = tuple(layer.dilation), tuple(layer.stride)
    if layer.padding == "same":
        total = [a * (k - 1) for a, k in zip(d, weight.shape[2:], strict=True)]
        pads = tuple((t // 2, t - t // 2) for t in total)
    else:
        pads = tuple((p, p) for p in ((0,) * len(d) if layer.padding == "valid" else layer.padding))
    if layer.padding_mode == "zeros" or not any(map(any, pads)):
        return [Conv(weight, None, before, stride, pads, d, layer.groups)]
    return _bordered(layer.padding_mode, Conv(weight, None, before, stride, pads, d, layer.groups), after)


def _bordered(mode: str, conv: Conv, after: Shape) -> list[Any]:
    """A convolution behind a border that is wrapped, reflected or repeated."""
    place = torch.arange(1, math.prod(conv.input_shape) + 1, dtype=torch.float64).reshape(1, *conv.input_shape)
    flat = [p for pair in reversed(conv.padding) for p in pair]
    index = F.pad(place, flat, mode={"circular": "circular", "reflect": "reflect"}.get(mode, "replicate")) - 1
    border = Gather(index.long().flatten(), conv.input_shape, tuple(index.shape[1:]))
    none = ((0, 0),) * len(conv.stride)
    inner = Conv(conv.weight, None, border.output_shape, conv.stride, none, conv.dilation, conv.groups)
    if mode == "circular":
        constant = circular(conv, after[1:], border, inner, Effort(0.01, Progress()))
        if constant is not None:
            return [Smooth("circular convolution", constant)]
    return [border, inner]


def _norm(layer: Any, before: Shape, after: Shape) -> list[Any]:
    """Batch normalisation in evaluation mode: one factor per channel, rounded once."""
    if layer.running_var is None:
        raise UnsupportedLayer("a BatchNorm without running statistics depends on the batch; it has no constant.")
    scale = 1.0 / torch.sqrt(layer.running_var.detach().double().cpu() + layer.eps)
    if layer.weight is not None:
        scale = scale * layer.weight.detach().double().cpu()
    return [Scale(scale.reshape(-1, *(1,) * (len(before) - 1)), None, before)]


def _pairs(value: Any, axes: int) -> Shape:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _max_pool(layer: Any, before: Shape, after: Shape) -> list[Any]:
    axes = len(before) - 1
    kernel, pad = _pairs(layer.kernel_size, axes), _pairs(layer.padding, axes)
    stride = _pairs(layer.stride if layer.stride is not None else layer.kernel_size, axes)
    dilation = _pairs(layer.dilation, axes)
    reach = [(m - 1) * s + d * (k - 1) + 1 for m, s, d, k in zip(after[1:], stride, dilation, kernel, strict=True)]
    padding = tuple((p, max(p, r - n - p)) for p, r, n in zip(pad, reach, before[1:], strict=True))
    return [windows(before, kernel, stride=stride, padding=padding, dilation=dilation)]


def _average_pool(layer: Any, before: Shape, after: Shape) -> list[Any]:
    """Sums over windows, divided by their size; a border that is not counted divides by less."""
    axes = len(before) - 1
    kernel, pad = _pairs(layer.kernel_size, axes), _pairs(layer.padding, axes)
    stride = _pairs(layer.stride if layer.stride is not None else layer.kernel_size, axes)
    reach = [(m - 1) * s + k for m, s, k in zip(after[1:], stride, kernel, strict=True)]
    padding = tuple((p, max(p, r - n - p)) for p, r, n in zip(pad, reach, before[1:], strict=True))
    ones = torch.ones(before[0], 1, *kernel, dtype=torch.float64)
    sums = Conv(ones, None, before, stride, padding, (1,) * axes, before[0])
    count = getattr(layer, "divisor_override", None)
    if count is None:
        edge = [(m - 1) * s + k > n + 2 * p for m, s, k, n, p in zip(after[1:], stride, kernel, before[1:], pad,
                                                                        strict=True)]  # fmt: skip
        if any(edge) or (any(pad) and not layer.count_include_pad):
            counts = Conv(ones[:1], None, (1, *before[1:]), stride, padding, (1,) * axes)
            inside = counts.apply(torch.ones(1, 1, *before[1:], dtype=torch.float64))[0]
            return [sums, Scale(torch.ones((), dtype=torch.float64), None, sums.shape(before), inside)]
        count = math.prod(kernel)
    return [sums, Scale(torch.ones((), dtype=torch.float64), None, sums.shape(before),
                        torch.tensor(float(count), dtype=torch.float64))]  # fmt: skip


def _adaptive(layer: Any, before: Shape, after: Shape) -> list[Any]:
    """Averages over cells, axis by axis: the norm of a Kronecker product is the product of the norms."""
    upper = 1.0
    for n, m in zip(before[1:], after[1:], strict=True):
        rows = torch.zeros(m, n, dtype=torch.float64)
        for i in range(m):
            a, b = i * n // m, -((-(i + 1) * n) // m)
            rows[i, a:b] = 1.0 / (b - a)
        upper = float(raised(upper * norm_upper(rows[None], 1e-15 * math.sqrt(n)), 1))
    return [Smooth("average pool", Bracket(upper * (1 - 1e-9), upper, "product over axes"))]


def _response(layer: nn.LocalResponseNorm, before: Shape, after: Shape) -> list[Any]:
    return [
        Smooth("contrast normalisation", response_constant(layer.size, layer.alpha, layer.beta, layer.k, before[0]))
    ]


def response_constant(size: int, alpha: float, beta: float, k: float, channels: int) -> Bracket:
    """Bracket of y_c = x_c / (k + alpha / size * sum over the window of x_j^2)^beta.

    With s_c the bracket's base and B the 0-1 matrix of windows, the Jacobian is D^-beta (I - 2 beta M), D = diag(s),
    M_cj = (alpha / size) x_c x_j / s_c on B. A window that holds all channels gives one s and the eigenvalues
    s^-beta (1 - 2 beta t), 0 <= t < 1: at most k^-beta max(1, 2 beta - 1) (Szegedy et al. 2013 for beta in [0.5, 1]).
    Otherwise |M|_inf <= (1 + sqrt(w)) / 2, the largest of x_c sum_j x_j over unit x, and |M|_1 <= (1 + w) / 2 because
    an entry off the diagonal is at most 1/2, with w channels in a window: |J| <= k^-beta (1 + 2 beta sqrt(|M|_1
    |M|_inf)). At x = 0 the Jacobian is k^-beta I.
    """
    if not (k > 0 and beta >= 0 and alpha >= 0):
        return Bracket(0.0, math.inf, "no bound for k <= 0 or negative alpha, beta")
    low = k**-beta
    w = min(size, channels)
    if alpha == 0 or beta == 0:
        factor = 1.0
    elif size // 2 >= channels - 1 and (size - 1) // 2 >= channels - 1:
        factor = max(1.0, 2 * beta - 1)
    else:
        factor = 1 + 2 * beta * math.sqrt((1 + w) / 2 * (1 + math.sqrt(w)) / 2)
    return Bracket(low * (1 - 1e-14), low * factor * (1 + 1e-14), "closed form")


def contrast_constant(epsilon: float, gamma: float) -> float:
    """Lipschitz constant epsilon^-gamma of x / (epsilon + |x|^2)^gamma, for gamma in [0, 1] (Szegedy et al. 2013).

    The Jacobian is s^-gamma (I - 2 gamma x x' / s) with s = epsilon + |x|^2, whose eigenvalues lie between
    s^-gamma (1 - 2 gamma) and s^-gamma; the printed range [0.5, 1] is not needed below.
    """
    return float(epsilon**-gamma * max(1.0, 2 * gamma - 1))


def _known(kind: str, value: float) -> Callable[..., list[Any]]:
    """A function of one number with this largest slope."""
    return lambda layer, before, after: [Smooth(kind, around(value, "largest slope"))]


def _through(layer: Any, before: Shape, after: Shape) -> list[Any]:
    return [Gather(None, before, after)]


LAYERS: dict[Any, Callable[..., list[Any]]] = {
    nn.Linear: _linear,
    (nn.Conv1d, nn.Conv2d): _conv,
    (nn.BatchNorm1d, nn.BatchNorm2d): _norm,
    nn.LocalResponseNorm: _response,
    (nn.MaxPool1d, nn.MaxPool2d): _max_pool,
    (nn.AvgPool1d, nn.AvgPool2d): _average_pool,
    (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d): _adaptive,
    nn.ReLU: lambda m, b, a: [relu(b)],
    nn.ReLU6: lambda m, b, a: [clip(b, 0.0, 6.0)],
    nn.Hardtanh: lambda m, b, a: [clip(b, m.min_val, m.max_val)],
    nn.LeakyReLU: lambda m, b, a: [leaky_relu(b, m.negative_slope)],
    nn.PReLU: lambda m, b, a: [leaky_relu(b, _channelwise(m.weight, b))],
    nn.Softshrink: lambda m, b, a: [soft_threshold(b, m.lambd)],
    nn.Sigmoid: _known("sigmoid", 0.25),
    nn.Tanh: _known("tanh", 1.0),
    nn.Softplus: _known("softplus", 1.0),
    nn.LogSigmoid: _known("log sigmoid", 1.0),
    nn.Softsign: _known("softsign", 1.0),
    nn.ELU: lambda m, b, a: _known("elu", max(1.0, abs(m.alpha)))(m, b, a),
    (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity, nn.Flatten, nn.Unflatten): _through,
}


def _channelwise(weight: Tensor, shape: Shape) -> Tensor:
    value = weight.detach().double().cpu()
    return value[0] if value.numel() == 1 else value.reshape(-1, *(1,) * (len(shape) - 1))


# -- functions --------------------------------------------------------------------------------------------------------

SHAPING = (
    torch.flatten,
    torch.reshape,
    "flatten",
    "view",
    "reshape",
    "contiguous",
    F.dropout,
    torch.squeeze,
    "squeeze",
)


def function_ops(node: fx.Node, before: list[Shape], after: Shape) -> list[Any]:
    """Nodes of a function call."""
    kind = node.target
    if kind in SHAPING:
        return [Gather(None, before[0], after)]
    if kind in (F.relu, torch.relu, "relu", "relu_"):
        return [relu(before[0])]
    if kind in (torch.abs, "abs"):
        return [absolute(before[0])]
    if kind in (torch.sigmoid, "sigmoid", F.sigmoid):
        return _known("sigmoid", 0.25)(None, before[0], after)
    if kind in (torch.tanh, "tanh", F.tanh):
        return _known("tanh", 1.0)(None, before[0], after)
    if kind in (operator.add, operator.iadd, torch.add, "add", "add_") and len(before) == 2 and before[0] == before[1]:
        return [Sum((1.0, 1.0), after)]
    if kind in (operator.sub, torch.sub) and len(before) == 2 and before[0] == before[1]:
        return [Sum((1.0, -1.0), after)]
    if kind is torch.cat:
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        axis = int(axis) % (len(after) + 1)  # type: ignore[arg-type]
        if axis > 0:
            return [Concat(axis - 1, tuple(before))]
    if kind in (F.leaky_relu,):
        slope = node.kwargs.get("negative_slope", node.args[1] if len(node.args) > 1 else 0.01)
        return [leaky_relu(before[0], float(slope))]  # type: ignore[arg-type]
    word = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    raise UnsupportedLayer(f"node {node.name!r} calls {word}, whose constant is not known. Known: {READS}.")
