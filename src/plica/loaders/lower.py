"""What importers share: a graph under construction, and one small function per operation.

An operand is either a `Var`, a value of the network under construction, or a NumPy constant. A `Var` knows whether its
first axis in the original model is the batch; shapes in the graph never hold the batch axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Affine, Concat, Dense, Gather, Scale, Shape, Sum
from plica.core.choice import Choice, MaxOver, clip, relu, windows
from plica.core.conv import Conv, Transposed
from plica.core.network import Graph
from plica.errors import ModelError, ShapeError, UnsupportedLayer

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Var:
    """A value of the graph, and whether the original has a batch axis in front of it."""

    name: str
    shape: Shape
    batch: bool = True

    @property
    def rank(self) -> int:
        """Rank in the original model."""
        return len(self.shape) + self.batch


@dataclass
class Builder:
    """A graph under construction.

    Attributes
    ----------
    graph : Graph
    node : str
        Name of the original node being lowered: given to the nodes it becomes, and used in errors.
    notices : list of str
        What was dropped, folded or rounded, one sentence each.
    """

    graph: Graph
    node: str = "node"
    notices: list[str] = field(default_factory=list)

    def add(self, op: Affine | Choice, *inputs: Var, suffix: str = "") -> Var:
        """Append a node under the name of the original node."""
        name = self.graph.add(self.node + suffix, op, *(v.name for v in inputs))
        return Var(name, self.graph.shapes[name], inputs[0].batch)

    def notice(self, text: str) -> None:
        """Remember a sentence once."""
        if text not in self.notices:
            self.notices.append(text)

    def refuse(self, what: str) -> UnsupportedLayer:
        """The error for something plica does not read at this node."""
        return UnsupportedLayer(f"node {self.node!r}: {what}")


def tensor(values: np.ndarray | Tensor | float) -> Tensor:
    """A float64 tensor of its own; NaN and infinity are refused by the importers beforehand."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    return torch.from_numpy(np.array(array, dtype=np.float64))


# -- axes and shapes ----------------------------------------------------------------------------------------------


def axis_of(b: Builder, x: Var, axis: int) -> int:
    """Position in `x.shape` of an axis of the original."""
    if not -x.rank <= axis < x.rank:
        raise ShapeError(f"node {b.node!r}: axis {axis} of a value of rank {x.rank}.")
    axis %= x.rank
    if x.batch and axis == 0:
        raise b.refuse("it works along the batch axis. plica reads networks that treat every input on its own.")
    return axis - x.batch


def reshape(b: Builder, x: Var, target: Sequence[int]) -> Var:
    """Reshape to an original shape (with batch axis; 0 keeps an axis, -1 is inferred)."""
    given = [int(t) for t in target]
    size = math.prod(x.shape)
    original = (1, *x.shape) if x.batch else x.shape
    wanted = [original[i] if t == 0 and i < len(original) else t for i, t in enumerate(given)]
    batch = x.batch and len(wanted) > 0 and wanted[0] in (-1, 1)
    inner = wanted[1:] if batch else wanted
    if inner.count(-1) == 1:
        rest = -math.prod(inner)
        inner = [size // rest if t == -1 and rest else t for t in inner]
    if math.prod(inner) != size or min(inner, default=1) < 0:
        raise b.refuse(f"it reshapes {original} to {tuple(given)}, which does not keep the batch axis in front.")
    if tuple(inner) == x.shape and batch == x.batch:
        return x
    out = b.add(Gather(None, x.shape, tuple(inner)), x)
    return Var(out.name, out.shape, batch)


def flat(b: Builder, x: Var, shape: Shape, suffix: str = "") -> Var:
    """Reshape by shape without batch axis."""
    return x if x.shape == shape else b.add(Gather(None, x.shape, shape), x, suffix=suffix)


def transpose(b: Builder, x: Var, order: Sequence[int]) -> Var:
    """Permute axes of the original."""
    order = [int(a) % x.rank for a in order]
    if x.batch and order[0] != 0:
        raise b.refuse(f"it moves the batch axis (permutation {tuple(order)}).")
    inner = [a - 1 for a in order[1:]] if x.batch else order
    return pick(b, x, places(x).transpose(inner))


def places(x: Var) -> np.ndarray:
    """Flat index of every entry, in the shape of x."""
    return np.arange(math.prod(x.shape)).reshape(x.shape)


def pick(b: Builder, x: Var, index: np.ndarray, bias: np.ndarray | None = None) -> Var:
    """Gather flat entries; -1 gives zero."""
    flat_index = torch.from_numpy(np.ascontiguousarray(index, dtype=np.int64).ravel())
    constant = None if bias is None else tensor(bias)
    return b.add(Gather(flat_index, x.shape, tuple(index.shape), constant), x)


def pad(b: Builder, x: Var, before: Sequence[int], after: Sequence[int], *, mode: str = "constant", value: float = 0.0):
    """Pad (or crop, by negative amounts) the axes of `x.shape`."""
    index = places(x)
    if mode != "constant":
        kinds = {"reflect": "reflect", "edge": "edge", "replicate": "edge", "wrap": "wrap", "circular": "wrap"}
        if mode not in kinds:
            raise b.refuse(f"padding mode {mode!r} is not known. plica reads constant, reflect, replicate, circular.")
        return pick(b, x, np.pad(index, list(zip(before, after, strict=True)), mode=kinds[mode]))  # type: ignore[call-overload]
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        keep = slice(max(-low, 0), index.shape[axis] - max(-high, 0))
        index = index[(slice(None),) * axis + (keep,)]
    widths = [(max(low, 0), max(high, 0)) for low, high in zip(before, after, strict=True)]
    index = np.pad(index, widths, constant_values=-1)
    return pick(b, x, index, np.where(index < 0, value, 0.0) if value else None)


def expand(b: Builder, x: Var, shape: Shape) -> Var:
    """Broadcast to a shape without batch axis."""
    return x if x.shape == shape else pick(b, x, np.broadcast_to(places(x), shape))


def inner_constant(b: Builder, x: Var, constant: np.ndarray) -> np.ndarray:
    """A constant operand without the batch axis it may carry."""
    constant = np.asarray(constant, dtype=np.float64)
    if x.batch and constant.ndim >= x.rank:
        if constant.ndim > x.rank or constant.shape[0] != 1:
            raise b.refuse(f"a constant of shape {constant.shape} reaches over the batch axis.")
        constant = constant[0]
    return constant


# -- affine operations ----------------------------------------------------------------------------------------------


def dense(b: Builder, x: Var, weight: np.ndarray | Tensor, bias: np.ndarray | Tensor | None) -> Var:
    """W x + bias along the last axis; weight has shape (m, n)."""
    if not x.shape or weight.shape[1] != x.shape[-1]:
        raise ShapeError(f"node {b.node!r}: a matrix {tuple(weight.shape)} meets a value of shape {x.shape}.")
    return b.add(Dense(tensor(weight), None if bias is None else tensor(bias), x.shape), x)


def shift(b: Builder, x: Var, constant: np.ndarray, sign: float = 1.0) -> Var:
    """X + constant, or x - constant."""
    constant = inner_constant(b, x, constant)
    x = expand(b, x, np.broadcast_shapes(x.shape, constant.shape))
    return b.add(Gather(None, x.shape, x.shape, sign * tensor(constant)), x)


def scale(b: Builder, x: Var, factor: np.ndarray | float, bias: np.ndarray | None = None) -> Var:
    """X * factor + bias."""
    factor = inner_constant(b, x, np.asarray(factor))
    x = expand(b, x, np.broadcast_shapes(x.shape, factor.shape))
    return b.add(Scale(tensor(factor), None if bias is None else tensor(bias), x.shape), x)


def divide(b: Builder, x: Var, divisor: np.ndarray | float) -> Var:
    """X / divisor, the divisor kept for exact arithmetic."""
    divisor = inner_constant(b, x, np.asarray(divisor))
    if not (divisor != 0).all():
        raise ModelError(f"node {b.node!r} divides by zero.")
    x = expand(b, x, np.broadcast_shapes(x.shape, divisor.shape))
    return b.add(Scale(tensor(1.0), None, x.shape, tensor(divisor)), x)


def combine(b: Builder, terms: Sequence[Var], coefficients: Sequence[float]) -> Var:
    """sum_i c_i x_i of values, broadcast against each other."""
    shape = np.broadcast_shapes(*(t.shape for t in terms))
    return b.add(Sum(tuple(map(float, coefficients)), shape), *(expand(b, t, shape) for t in terms))


def concat(b: Builder, terms: Sequence[Var], axis: int) -> Var:
    """Join along an axis of the original."""
    inner = axis_of(b, terms[0], axis)
    return terms[0] if len(terms) == 1 else b.add(Concat(inner, tuple(t.shape for t in terms)), *terms)


def batch_norm(b: Builder, x: Var, gamma, beta, mean, var, eps: float) -> Var:
    """Batch normalisation in evaluation: a scale and a shift per channel, rounded once."""
    gamma, beta, mean, var = (np.asarray(a, dtype=np.float64) for a in (gamma, beta, mean, var))
    if (var + eps <= 0).any():
        raise ModelError(f"node {b.node!r}: a variance of a batch normalisation is not positive.")
    factor = gamma / np.sqrt(var + eps)
    lift = (-1, *(1,) * (len(x.shape) - 1))
    b.notice("Batch normalisation became a scale and a shift per channel, each rounded once to float64.")
    return b.add(Scale(tensor(factor).reshape(lift), tensor(beta - mean * factor).reshape(lift), x.shape), x)


def conv(
    b: Builder, x: Var, weight, bias, *, stride: Shape, padding: Pairs, dilation: Shape, groups: int, suffix: str = ""
) -> Var:
    """Convolution over the axes after the channels."""
    spatial = len(stride)
    if spatial not in (1, 2):
        raise b.refuse(f"it is a convolution over {spatial} axes; plica reads one and two.")
    if len(x.shape) != spatial + 1 or x.shape[0] != weight.shape[1] * groups:
        raise ShapeError(f"node {b.node!r}: a kernel {tuple(weight.shape)} meets a value of shape {x.shape}.")
    offset = None if bias is None else tensor(bias).reshape(-1, *(1,) * spatial)
    op = Conv(tensor(weight), offset, x.shape, tuple(stride), padding, tuple(dilation), groups)
    if min(op.shape(x.shape)) < 1:
        raise ShapeError(f"node {b.node!r}: the kernel is larger than its padded input {x.shape}.")
    return b.add(op, x, suffix=suffix)


def conv_transpose(
    b: Builder, x: Var, weight, bias, *, stride: Shape, padding: Pairs, dilation: Shape, groups: int, output: Shape
) -> Var:
    """Transposed convolution to a given output size; weight has shape (c_in, c_out / groups, *kernel)."""
    shape = (weight.shape[1] * groups, *output)
    forward = Conv(tensor(weight), None, shape, tuple(stride), padding, tuple(dilation), groups)
    if forward.shape(shape) != x.shape:
        raise ShapeError(f"node {b.node!r}: a transposed convolution cannot map {x.shape} to {shape}.")
    offset = None if bias is None else tensor(bias).reshape(-1, *(1,) * len(output))
    return b.add(Transposed(forward, offset, shape), x)


# -- pooling ----------------------------------------------------------------------------------------------------------


def ceil_padding(size: Shape, kernel: Shape, stride: Shape, padding: Pairs, dilation: Shape) -> Pairs:
    """Padding that lets the last window overhang, as ceil_mode does; a window must start inside input or left pad."""
    out = []
    for n, k, s, (low, high), d in zip(size, kernel, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        count = -((reach - n - low - high) // s) + 1
        if (count - 1) * s >= n + low:
            count -= 1
        out.append((low, max(high, (count - 1) * s + reach - n - low)))
    return tuple(out)


def max_pool(b: Builder, x: Var, kernel: Shape, *, stride: Shape, padding: Pairs, dilation: Shape) -> Var:
    """Max-pooling over the axes after the channels."""
    op = windows(x.shape, tuple(kernel), stride=tuple(stride), padding=padding, dilation=tuple(dilation))
    if (op.index < 0).all(1).any() or min(op.output_shape) < 1:
        raise ShapeError(f"node {b.node!r}: a pooling window lies wholly in the padding of its input {x.shape}.")
    return b.add(op, x)


def average_pool(
    b: Builder,
    x: Var,
    kernel: Shape,
    *,
    stride: Shape,
    padding: Pairs,
    counted: Pairs | None,
    divisor: int | None = None,
) -> Var:
    """Average pooling: sums by a convolution with ones, divided by the number of places of every window.

    `counted` is the padding whose zeros count as places: None for none of it.
    """
    channels, size = x.shape[0], x.shape[1:]
    ones = np.ones((channels, 1, *kernel))
    unit = (1,) * len(size)
    total = conv(b, x, ones, None, stride=stride, padding=padding, dilation=unit, groups=channels, suffix=".sum")
    if divisor is None:
        inside = np.ones((1, 1, *size))
        wide = counted or ((0, 0),) * len(size)
        inside = np.pad(inside, [(0, 0), (0, 0), *wide], constant_values=1.0)
        rest = tuple((p[0] - w[0], p[1] - w[1]) for p, w in zip(padding, wide, strict=True))
        count_op = Conv(
            torch.ones(1, 1, *kernel, dtype=torch.float64), None, inside.shape[1:], tuple(stride), rest, unit
        )
        counts = count_op.apply(tensor(inside))[0].numpy()
    else:
        counts = np.full((1,) * (len(size) + 1), float(divisor))
    if (counts == counts.flat[0]).all():
        counts = counts.reshape(-1)[:1].reshape((1,) * counts.ndim)
    return b.add(Scale(tensor(1.0), None, total.shape, tensor(counts)), total)


def mean_over(b: Builder, x: Var, axes: Sequence[int], keep: bool) -> Var:
    """Mean over axes of the original."""
    inner = sorted({axis_of(b, x, a) for a in axes})
    total = total_over(b, x, inner, keep)
    return b.add(Scale(tensor(1.0), None, total.shape, tensor(float(math.prod(x.shape[a] for a in inner)))), total)


def total_over(b: Builder, x: Var, inner: Sequence[int], keep: bool) -> Var:
    """Sum over axes of `x.shape`."""
    moved, rest = _last(b, x, inner)
    total = b.add(Dense(torch.ones(1, moved.shape[-1], dtype=torch.float64), None, moved.shape), moved, suffix=".sum")
    return flat(b, total, _kept(x.shape, inner, keep, rest), ".shape")


def largest_over(b: Builder, x: Var, axes: Sequence[int], keep: bool) -> Var:
    """Maximum over axes of the original: max-pooling over everything, or a maxout unit."""
    inner = sorted({axis_of(b, x, a) for a in axes})
    rest = [a for a in range(len(x.shape)) if a not in inner]
    groups = places(x).transpose([*rest, *inner]).reshape(math.prod(x.shape[a] for a in rest), -1)
    shape = _kept(x.shape, inner, keep, tuple(x.shape[a] for a in rest))
    return b.add(MaxOver(torch.from_numpy(np.ascontiguousarray(groups)), x.shape, shape), x)


def _last(b: Builder, x: Var, inner: Sequence[int]) -> tuple[Var, Shape]:
    """Some axes moved to the end and joined, and the shape of the others."""
    rest = [a for a in range(len(x.shape)) if a not in inner]
    index = places(x).transpose([*rest, *inner]).reshape(*(x.shape[a] for a in rest), -1)
    shape = tuple(x.shape[a] for a in rest)
    joined = tuple(index.shape)
    if list(inner) == list(range(len(rest), len(x.shape))):
        return flat(b, x, joined, ".join"), shape
    return pick(b, x, index), shape


def _kept(shape: Shape, inner: Sequence[int], keep: bool, rest: Shape) -> Shape:
    return tuple(1 if a in inner else n for a, n in enumerate(shape)) if keep else rest


# -- choices ------------------------------------------------------------------------------------------------------------


def clipped(b: Builder, x: Var, low: float, high: float) -> Var:
    """Clip, with limits of +-3.4e38 (float32's largest) read as none."""
    low = -math.inf if low <= np.finfo(np.float32).min else low
    high = math.inf if high >= np.finfo(np.float32).max else high
    if low > high:
        raise ShapeError(f"node {b.node!r} clips to [{low}, {high}], which is empty.")
    if math.isinf(low) and math.isinf(high):
        return x
    return b.add(relu(x.shape) if (low, high) == (0.0, math.inf) else clip(x.shape, low, high), x)


def largest(b: Builder, terms: Sequence[Var]) -> Var:
    """Entrywise maximum of values, broadcast against each other; the first wins a tie."""
    if len(terms) == 1:
        return terms[0]
    shape = np.broadcast_shapes(*(t.shape for t in terms))
    size = math.prod(shape)
    rows = [flat(b, expand(b, t, shape), (size,), ".flat") for t in terms]
    joined = b.add(Concat(0, ((size,),) * len(rows)), *rows, suffix=".concat")
    index = torch.arange(size)[:, None] + size * torch.arange(len(rows))
    return b.add(MaxOver(index, joined.shape, tuple(shape)), joined)


def smallest(b: Builder, terms: Sequence[Var]) -> Var:
    """Entrywise minimum: -max(-x)."""
    minus = [b.add(Scale(tensor(-1.0), None, t.shape), t, suffix=".minus") for t in terms]
    out = largest(b, minus)
    return b.add(Scale(tensor(-1.0), None, out.shape), out, suffix=".minus")


def constant_var(b: Builder, x: Var, constant: np.ndarray) -> Var:
    """A constant as a value beside x: zero times x plus the constant."""
    inner = inner_constant(b, x, constant)
    index = np.full(inner.shape, -1)
    return pick(b, x, index, inner)


def sorted_groups(b: Builder, x: Var, axis: int, descending: bool) -> Var:
    """Sort along an axis of `x.shape` by a network of exchanges (odd-even transposition): group sort, MaxMin."""
    n, turned = x.shape[axis], np.moveaxis(places(x), axis, -1)
    count = turned[..., 0].size
    rows = pick(b, x, turned.reshape(count, n))
    for step in range(n):
        rows = _exchange(b, rows, step % 2, descending)
    back = np.moveaxis(np.arange(count * n).reshape(turned.shape), -1, axis)
    return pick(b, rows, back)


def _exchange(b: Builder, rows: Var, start: int, descending: bool) -> Var:
    """Put neighbours (start, start + 1), (start + 2, start + 3), ... of the last axis in order."""
    count, n = rows.shape
    first = np.arange(start, n - 1, 2)
    if len(first) == 0:
        return rows
    at = places(rows)
    low, high = at[:, first], at[:, first + 1]
    groups = torch.from_numpy(np.stack([low.ravel(), high.ravel()], axis=1))
    shape = (count, len(first))
    top = b.add(MaxOver(groups, rows.shape, shape), rows, suffix=".max")
    minus = b.add(Scale(tensor(-1.0), None, rows.shape), rows, suffix=".minus")
    bottom = b.add(MaxOver(groups, rows.shape, shape), minus, suffix=".min")
    bottom = b.add(Scale(tensor(-1.0), None, shape), bottom, suffix=".minus")
    joined = b.add(Concat(1, (rows.shape, shape, shape)), rows, top, bottom, suffix=".concat")
    source = np.arange(n)
    source[first] = n + np.arange(len(first)) + (0 if descending else len(first))
    source[first + 1] = n + np.arange(len(first)) + (len(first) if descending else 0)
    return pick(b, joined, places(joined)[:, source])
