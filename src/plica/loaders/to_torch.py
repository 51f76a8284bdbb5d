"""Networks as torch modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from plica.core.affine import Concat, Dense, Gather, Scale, Shape, Sum
from plica.core.choice import MaxOver, Piecewise
from plica.core.conv import Conv, Transposed
from plica.core.network import INPUT, Network, Node
from plica.errors import UnsupportedLayer
from plica.loaders.window import max_pool_of


def to_torch(net: Network, dtype: torch.dtype | None = None) -> nn.Module:
    """Return a torch module that computes what a network computes.

    Parameters
    ----------
    net : Network
    dtype : torch.dtype, optional
        Of weights and arithmetic; the network's own (float64) by default. A narrower one rounds.

    Returns
    -------
    torch.fx.GraphModule
        In evaluation mode, batched; standard layers (Linear, Conv2d, ReLU, MaxPool2d, ...) where there is one. Its
        weights are copies.

    Raises
    ------
    UnsupportedLayer
        For the frozen network of several patterns, which has other weights for every row of a batch.
    """
    root, graph = nn.Module(), fx.Graph()
    values = {INPUT: graph.placeholder("input")}
    for node in net.nodes:
        inputs = [values[name] for name in node.inputs]
        layer = LAYERS[type(node.op)](node.op, node)
        name = _free(root, node.name)
        root.add_module(name, layer)
        values[node.name] = graph.call_module(name, tuple(inputs))
    graph.output(values[net.output])
    return fx.GraphModule(root, graph, "Network").eval().to(dtype or net.dtype)


def _free(root: nn.Module, name: str) -> str:
    """A name that a submodule can have."""
    name = "".join(c if c.isalnum() else "_" for c in name)
    name = f"n{name}" if not name[:1].isalpha() else name
    while hasattr(root, name):
        name += "_"
    return name


def _parameter(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone())


# -- layers that torch does not have ----------------------------------------------------------------------------------


class Reshape(nn.Module):
    """Keep the order of the entries, change the shape of one input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """The input in the new shape."""
        return x.reshape(x.shape[0], *self.shape)


class Pick(nn.Module):
    """Pick entries of the flattened input; -1 gives zero."""

    def __init__(self, index: Tensor, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("index", index.clamp(min=0).clone())
        self.register_buffer("mask", (index >= 0).double() if bool((index < 0).any()) else None)
        self.mask: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """The picked entries."""
        out = x.flatten(1).index_select(1, self.index)  # type: ignore[arg-type]
        out = out if self.mask is None else out * self.mask
        return out.reshape(x.shape[0], *self.shape)


class Shift(nn.Module):
    """Add a constant."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = _parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """X + bias."""
        return x + self.bias


class Rescale(nn.Module):
    """Multiply by a constant, divide by another, add a third."""

    def __init__(self, factor: Tensor, divisor: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.factor = _parameter(factor)
        self.bias = None if bias is None else _parameter(bias)
        self.register_buffer("divisor", None if divisor is None else divisor.clone())
        self.divisor: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """X * factor / divisor + bias."""
        out = x * self.factor
        out = out if self.divisor is None else out / self.divisor
        return out if self.bias is None else out + self.bias


class WeightedSum(nn.Module):
    """sum_i c_i x_i."""

    def __init__(self, coefficients: tuple[float, ...]) -> None:
        super().__init__()
        self.coefficients = coefficients

    def forward(self, *terms: Tensor) -> Tensor:
        """The sum."""
        parts = [x if c == 1 else c * x for c, x in zip(self.coefficients, terms, strict=True)]
        return sum(parts[1:], start=parts[0])


class Join(nn.Module):
    """Join along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *terms: Tensor) -> Tensor:
        """The joined values."""
        return torch.cat(terms, dim=self.axis)


class Absolute(nn.Module):
    """|x|."""

    def forward(self, x: Tensor) -> Tensor:
        """|x|."""
        return x.abs()


class Bound(nn.Module):
    """max(x, limit), or min(x, limit)."""

    def __init__(self, limit: Tensor, *, upper: bool) -> None:
        super().__init__()
        self.upper = upper
        self.register_buffer("limit", limit.clone())

    def forward(self, x: Tensor) -> Tensor:
        """The bounded input."""
        return torch.minimum(x, self.limit) if self.upper else torch.maximum(x, self.limit)  # type: ignore[arg-type]


class SlopesByChannel(nn.Module):
    """X above 0, slope * x below, with a slope per entry."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.slope = _parameter(slope)

    def forward(self, x: Tensor) -> Tensor:
        """X where positive, slope * x elsewhere."""
        return torch.relu(x) - self.slope * torch.relu(-x)


class Largest(nn.Module):
    """The largest of every group of entries."""

    def __init__(self, index: Tensor, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        first = index.gather(1, (index >= 0).int().argmax(1, keepdim=True))  # stands in for places in the border
        self.size = index.shape[1]
        self.register_buffer("index", torch.where(index >= 0, index, first).flatten())

    def forward(self, x: Tensor) -> Tensor:
        """The maxima."""
        groups = x.flatten(1).index_select(1, self.index)  # type: ignore[arg-type]
        return groups.reshape(x.shape[0], -1, self.size).amax(2).reshape(x.shape[0], *self.shape)


# -- one function per kind of node ------------------------------------------------------------------------------------


def _dense(op: Dense, node: Node) -> nn.Module:
    layer = nn.Linear(op.weight.shape[1], op.weight.shape[0], bias=op.bias is not None, dtype=torch.float64)
    layer.weight = _parameter(op.weight)
    layer.bias = None if op.bias is None else _parameter(op.bias)  # type: ignore[assignment]
    return layer


def _conv(op: Conv, node: Node) -> nn.Module:
    one = len(op.stride) == 1
    even = all(low == high for low, high in op.padding)
    layer = (nn.Conv1d if one else nn.Conv2d)(
        op.input_shape[0],
        op.weight.shape[0],
        tuple(op.weight.shape[2:]),  # type: ignore[arg-type]
        stride=op.stride,  # type: ignore[arg-type]
        padding=tuple(low for low, _ in op.padding) if even else 0,  # type: ignore[arg-type]
        dilation=op.dilation,  # type: ignore[arg-type]
        groups=op.groups,
        bias=op.bias is not None,
        dtype=torch.float64,
    )
    layer.weight = _parameter(op.weight)
    layer.bias = None if op.bias is None else _parameter(op.bias.flatten())
    if even:
        return layer
    widths = tuple(n for pair in reversed(op.padding) for n in pair)
    return nn.Sequential((nn.ConstantPad1d if one else nn.ConstantPad2d)(widths, 0.0), layer)  # type: ignore[arg-type]


def _transposed(op: Transposed, node: Node) -> nn.Module:
    """A transposed convolution without padding, cut to size afterwards."""
    forward = op.node
    if not isinstance(forward, Conv):
        raise UnsupportedLayer(f"node {node.name!r}: the transpose of {type(forward).__name__} has no torch layer.")
    one = len(forward.stride) == 1
    layer = (nn.ConvTranspose1d if one else nn.ConvTranspose2d)(
        forward.weight.shape[0],
        forward.input_shape[0],
        tuple(forward.weight.shape[2:]),  # type: ignore[arg-type]
        stride=forward.stride,  # type: ignore[arg-type]
        dilation=forward.dilation,  # type: ignore[arg-type]
        groups=forward.groups,
        bias=False,
        dtype=torch.float64,
    )
    layer.weight = _parameter(forward.weight)
    crop = (nn.ConstantPad1d if one else nn.ConstantPad2d)(_crop(forward), 0.0)  # type: ignore[arg-type]
    return nn.Sequential(layer, crop, *([] if op.bias is None else [Shift(op.bias)]))


def _crop(forward: Conv) -> tuple[int, ...]:
    """What to add before and after every axis of a transposed convolution, last axis first; mostly negative."""
    widths = []
    for axis, m in enumerate(forward.shape(forward.input_shape)[1:]):
        low, _ = forward.padding[axis]
        reach = forward.dilation[axis] * (forward.weight.shape[2 + axis] - 1) + 1
        full = (m - 1) * forward.stride[axis] + reach
        widths.append((-low, forward.input_shape[1 + axis] + low - full))
    return tuple(n for pair in reversed(widths) for n in pair)


def _gather(op: Gather, node: Node) -> nn.Module:
    parts: list[nn.Module] = []
    if op.index is not None:
        _check_alone(op.index.ndim > 1 and len(op.index) > 1, node)
        parts.append(Pick(op.index.reshape(-1), op.output_shape))
    elif op.output_shape == (math.prod(op.input_shape),) and len(op.input_shape) > 1:
        parts.append(nn.Flatten())
    elif op.output_shape != op.input_shape:
        parts.append(Reshape(op.output_shape))
    if op.bias is not None:
        parts.append(Shift(op.bias))
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _scale(op: Scale, node: Node) -> nn.Module:
    several = any(t is not None and t.ndim > len(op.input_shape) and len(t) > 1 for t in (op.factor, op.bias))
    _check_alone(several, node)
    return Rescale(op.factor, op.divisor, op.bias)


def _check_alone(several: bool, node: Node) -> None:
    if several:
        raise UnsupportedLayer(f"node {node.name!r} has weights per row of a batch. Freeze one pattern at a time.")


def _sum(op: Sum, node: Node) -> nn.Module:
    return WeightedSum(op.coefficients)


def _concat(op: Concat, node: Node) -> nn.Module:
    return Join(op.axis + 1)


def _largest(op: MaxOver, node: Node) -> nn.Module:
    return max_pool_of(op) or Largest(op.index, op.output_shape)


def _piecewise(op: Piecewise, node: Node) -> nn.Module:
    if op.name not in PIECEWISE:
        raise UnsupportedLayer(f"node {node.name!r} is {op.name}, which has no torch layer.")
    return PIECEWISE[op.name](op)


def _leaky(op: Piecewise) -> nn.Module:
    slope = op.slopes[0]
    return nn.LeakyReLU(float(slope)) if slope.ndim == 0 else SlopesByChannel(slope)


def _clip(op: Piecewise) -> nn.Module:
    levels = [float(k) for k in op.knots]
    if len(levels) == 2:
        return nn.Hardtanh(levels[0], levels[1])
    return Bound(op.knots[0], upper=float(op.slopes[0]) == 1)


PIECEWISE: dict[str, Callable[[Piecewise], nn.Module]] = {
    "abs": lambda op: Absolute(),
    "clip": _clip,
    "leaky_relu": _leaky,
    "max": lambda op: Bound(op.knots[0], upper=False),
    "min": lambda op: Bound(op.knots[0], upper=True),
    "relu": lambda op: nn.ReLU(),
    "soft_threshold": lambda op: nn.Softshrink(float(op.knots[1])),
}

LAYERS: dict[type, Callable[[Any, Node], nn.Module]] = {
    Concat: _concat,
    Conv: _conv,
    Dense: _dense,
    Gather: _gather,
    MaxOver: _largest,
    Piecewise: _piecewise,
    Scale: _scale,
    Sum: _sum,
    Transposed: _transposed,
}
