"""aten operations as functions of a builder and their arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Shape
from plica.core.choice import absolute, leaky_relu, relu, soft_threshold
from plica.loaders import lower
from plica.loaders.lower import Builder, Pairs, Var, clipped

Value = Any  # Var, Tensor, number, or a list of them


def _array(value: Value) -> np.ndarray:
    return np.asarray(value.detach().cpu().double().numpy() if isinstance(value, Tensor) else value, dtype=np.float64)


def _each(value: int | Sequence[int] | None, count: int, default: int | None = None) -> Shape:
    """A setting per spatial axis."""
    if value is None or (isinstance(value, (list, tuple)) and len(value) == 0):
        value = default
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return tuple(int(v) for v in (values * count if len(values) == 1 else values))


def _constant(b: Builder, value: Value, what: str) -> np.ndarray | None:
    if isinstance(value, Var):
        raise b.refuse(f"its {what} depends on the input.")
    return None if value is None else _array(value)


# -- sums, products, matrices -----------------------------------------------------------------------------------------


def _add(b: Builder, x: Value, y: Value, *, alpha: float = 1) -> Var:
    if isinstance(x, Var) and isinstance(y, Var):
        return lower.combine(b, (x, y), (1, alpha))
    if isinstance(x, Var):
        return lower.shift(b, x, _array(y) * alpha)
    return lower.shift(b, y if alpha == 1 else lower.scale(b, y, alpha), _array(x))


def _sub(b: Builder, x: Value, y: Value, *, alpha: float = 1) -> Var:
    return _add(b, x, y, alpha=-alpha)


def _rsub(b: Builder, x: Value, y: Value, alpha: float = 1) -> Var:
    return _add(b, y, x, alpha=-alpha)


def _mul(b: Builder, x: Value, y: Value) -> Var:
    if isinstance(x, Var) and isinstance(y, Var):
        raise b.refuse("it multiplies two values that both depend on the input, which is not piecewise linear.")
    return lower.scale(b, x, _array(y)) if isinstance(x, Var) else lower.scale(b, y, _array(x))


def _div(b: Builder, x: Value, y: Value, *, rounding_mode: str | None = None) -> Var:
    if isinstance(y, Var) or rounding_mode is not None:
        raise b.refuse("it divides by a value that depends on the input, or rounds; neither is piecewise linear.")
    return lower.divide(b, x, _array(y))


def _neg(b: Builder, x: Var) -> Var:
    return lower.scale(b, x, -1.0)


def _linear(b: Builder, x: Value, weight: Value, bias: Value = None) -> Var:
    weight = _constant(b, weight, "weight")
    return lower.dense(b, x, weight, _constant(b, bias, "bias"))


def _addmm(b: Builder, bias: Value, x: Value, weight: Value, *, beta: float = 1, alpha: float = 1) -> Var:
    weight = _constant(b, weight, "weight")
    constant = _constant(b, bias, "bias")
    out = np.broadcast_to(beta * constant, (weight.shape[1],))
    return lower.dense(b, x, alpha * weight.T, out)


def _matmul(b: Builder, x: Value, y: Value) -> Var:
    if isinstance(x, Var) and isinstance(y, Var):
        raise b.refuse("it multiplies two values that both depend on the input, which is not piecewise linear.")
    if isinstance(x, Var):
        weight = _array(y)
        if weight.ndim == 1:
            out = lower.dense(b, x, weight[None], None)
            return lower.flat(b, out, out.shape[:-1], ".shape")
        if weight.ndim != 2:
            raise b.refuse(f"it multiplies by a stack of matrices of shape {weight.shape}.")
        return lower.dense(b, x, weight.T, None)
    weight = _array(x)
    if weight.ndim != 2 or len(y.shape) < 2:
        raise b.refuse("a matrix on the left would mix the batch.")
    turned = lower.pick(b, y, np.swapaxes(lower.places(y), -1, -2))
    out = lower.dense(b, turned, weight, None)
    return lower.pick(b, out, np.swapaxes(lower.places(out), -1, -2))


# -- convolution, normalisation and pooling ---------------------------------------------------------------------------


def _same(kernel: Shape, dilation: Shape) -> Pairs:
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((t // 2, t - t // 2) for t in totals)


def _conv(b, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Var:
    weight = _constant(b, weight, "weight")
    n = weight.ndim - 2
    wide = _each(dilation, n)
    if isinstance(padding, str):
        pads = _same(weight.shape[2:], wide) if padding == "same" else ((0, 0),) * n
    else:
        pads = tuple((p, p) for p in _each(padding, n))
    return lower.conv(
        b,
        x,
        weight,
        _constant(b, bias, "bias"),
        stride=_each(stride, n),
        padding=pads,
        dilation=wide,
        groups=groups,
    )


def _conv_transpose(b, x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1) -> Var:
    weight = _constant(b, weight, "weight")
    n = weight.ndim - 2
    settings = (_each(v, n) for v in (stride, padding, output_padding, dilation))
    step, pads, extra, wide = settings
    output = tuple(
        (m - 1) * s - 2 * p + d * (k - 1) + e + 1
        for m, s, p, d, k, e in zip(x.shape[1:], step, pads, wide, weight.shape[2:], extra, strict=True)
    )
    padding = tuple((p, p) for p in pads)
    return lower.conv_transpose(
        b,
        x,
        weight,
        _constant(b, bias, "bias"),
        stride=step,
        padding=padding,
        dilation=wide,
        groups=groups,
        output=output,
    )


def _convolution(b, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *_) -> Var:
    if transposed:
        return _conv_transpose(b, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _conv(b, x, weight, bias, stride, padding, dilation, groups)


def _batch_norm(b, x, weight, bias, mean, var, training=False, momentum=0.1, eps=1e-5, *_) -> Var:
    if training is True or mean is None:
        raise b.refuse("it normalises by the batch. Put the module in evaluation mode, with running statistics.")
    ones = np.ones(x.shape[0])
    gamma = ones if weight is None else _array(weight)
    beta = 0 * ones if bias is None else _array(bias)
    return lower.batch_norm(b, x, gamma, beta, _array(mean), _array(var), eps)


def _no_training(b, x, weight, bias, mean, var, momentum, eps) -> list[Var]:
    return [_batch_norm(b, x, weight, bias, mean, var, False, momentum, eps)]


def _with_channel(x: Var, count: int, b: Builder) -> Var:
    """Pooling of (batch, *size) without channels: one channel."""
    return x if len(x.shape) == count + 1 else lower.flat(b, x, (1, *x.shape), ".channel")


def _max_pool(count: int) -> Callable:
    def pool(b, x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False) -> Var:
        size = _each(kernel, count)
        step, wide = _each(stride, count) if stride else size, _each(dilation, count)
        pads: Pairs = tuple((p, p) for p in _each(padding, count))
        if ceil_mode:
            pads = lower.ceil_padding(x.shape[1:], size, step, pads, wide)
        return lower.max_pool(b, x, size, stride=step, padding=pads, dilation=wide)

    return pool


def _max_pool_with_indices(count: int) -> Callable:
    pool = _max_pool(count)
    return lambda b, *arguments: (pool(b, *arguments), None)


def _average_pool(count: int) -> Callable:
    def pool(
        b, x, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
    ) -> Var:
        size = _each(kernel, count)
        step = _each(stride, count) if stride else size
        pads: Pairs = tuple((p, p) for p in _each(padding, count))
        wide = lower.ceil_padding(x.shape[1:], size, step, pads, (1,) * count) if ceil_mode else pads
        counted = pads if count_include_pad else None
        return lower.average_pool(b, x, size, stride=step, padding=wide, counted=counted, divisor=divisor_override)

    return pool


def _cells(n: int, m: int) -> list[tuple[int, int]]:
    """Start and end of the m windows of an adaptive pool over n places."""
    return [(i * n // m, -((-(i + 1) * n) // m)) for i in range(m)]


def _adaptive_average(b: Builder, x: Var, output: Value) -> Var:
    """Adaptive average pooling, axis by axis: windows may have different sizes."""
    sizes = output if isinstance(output, (list, tuple)) else [output] * (len(x.shape) - 1)
    for axis, m in enumerate(sizes, 1):
        x = _adaptive_axis(b, x, axis, x.shape[axis] if m is None else int(m))
    return x


def _adaptive_axis(b: Builder, x: Var, axis: int, m: int) -> Var:
    n = x.shape[axis]
    if n == m:
        return x
    cells = _cells(n, m)
    weight = np.zeros((m, n))
    for row, (start, end) in enumerate(cells):
        weight[row, start:end] = 1.0
    turned = lower.pick(b, x, np.moveaxis(lower.places(x), axis, -1))
    total = lower.dense(b, turned, weight, None)
    back = lower.pick(b, total, np.moveaxis(lower.places(total), -1, axis))
    counts = np.array([end - start for start, end in cells], dtype=np.float64)
    return lower.divide(b, back, counts.reshape(-1, *(1,) * (len(back.shape) - 1 - axis)))


def _adaptive_max(b: Builder, x: Var, output: Value) -> tuple[Var, None]:
    """Adaptive max-pooling: one group of places per window."""
    sizes = _each(output, len(x.shape) - 1)
    place = lower.places(x)
    groups = [place]
    for axis, m in enumerate(sizes, 1):
        groups = [np.take(g, range(*cell), axis) for g in groups for cell in _cells(x.shape[axis], m)]
    width = max(g[0].size for g in groups)
    rows = [np.pad(g.reshape(len(g), -1), [(0, 0), (0, width - g[0].size)], constant_values=-1) for g in groups]
    index = np.stack(rows, axis=1).reshape(-1, width)
    from plica.core.choice import MaxOver

    op = MaxOver(torch.from_numpy(np.ascontiguousarray(index)), x.shape, (x.shape[0], *sizes))
    return b.add(op, x), None


# -- choices ------------------------------------------------------------------------------------------------------------


def _relu(b: Builder, x: Var, inplace: bool = False) -> Var:
    return b.add(relu(x.shape), x)


def _leaky(b: Builder, x: Var, slope: float = 0.01, inplace: bool = False) -> Var:
    return b.add(leaky_relu(x.shape, slope), x)


def _prelu(b: Builder, x: Var, weight: Value) -> Var:
    slope = lower.tensor(_constant(b, weight, "slope"))
    slope = slope.reshape(()) if slope.numel() == 1 else slope.reshape(-1, *(1,) * (len(x.shape) - 1))
    return b.add(leaky_relu(x.shape, slope), x)


def _rrelu(b: Builder, x: Var, low: float = 1 / 8, high: float = 1 / 3, training: bool = False, *_: Any) -> Var:
    return b.add(leaky_relu(x.shape, (low + high) / 2), x)


def _clamp(b: Builder, x: Var, low: Value = None, high: Value = None, *, min: Value = None, max: Value = None) -> Var:
    low, high = low if min is None else min, high if max is None else max
    if isinstance(low, (Tensor, Var)) or isinstance(high, (Tensor, Var)):
        raise b.refuse("it clips at tensors; plica reads clips at numbers.")
    return clipped(b, x, -math.inf if low is None else float(low), math.inf if high is None else float(high))


def _hardtanh(b: Builder, x: Var, low: float = -1.0, high: float = 1.0, inplace: bool = False) -> Var:
    return clipped(b, x, float(low), float(high))


def _relu6(b: Builder, x: Var, inplace: bool = False) -> Var:
    return clipped(b, x, 0.0, 6.0)


def _hardsigmoid(b: Builder, x: Var, inplace: bool = False) -> Var:
    return clipped(b, lower.divide(b, lower.shift(b, x, np.asarray(3.0)), 6.0), 0.0, 1.0)


def _abs(b: Builder, x: Var) -> Var:
    return b.add(absolute(x.shape), x)


def _softshrink(b: Builder, x: Var, width: float = 0.5) -> Var:
    return b.add(soft_threshold(x.shape, float(width)), x)


def _extreme(work: Callable) -> Callable:
    def extreme(b: Builder, x: Value, y: Value) -> Var:
        reference = x if isinstance(x, Var) else y
        return work(b, [v if isinstance(v, Var) else lower.constant_var(b, reference, _array(v)) for v in (x, y)])

    return extreme


def _max(b: Builder, x: Var, other: Value = None, keepdim: bool = False, *, dim: int | None = None) -> Any:
    """max(x, dim) gives values and indices; max(x, y) is entrywise."""
    if isinstance(other, (Var, Tensor)):
        return _extreme(lower.largest)(b, x, other)
    axis = other if dim is None else dim
    if axis is None:
        raise b.refuse("it takes the maximum over the batch.")
    return lower.largest_over(b, x, [axis], keepdim), None


def _min(b: Builder, x: Var, other: Value = None, keepdim: bool = False, *, dim: int | None = None) -> Any:
    if isinstance(other, (Var, Tensor)):
        return _extreme(lower.smallest)(b, x, other)
    values, _ = _max(b, lower.scale(b, x, -1.0), other, keepdim, dim=dim)
    return lower.scale(b, values, -1.0), None


def _amax(b: Builder, x: Var, dim: Value = (), keepdim: bool = False) -> Var:
    return lower.largest_over(b, x, _each(dim, 1), keepdim)


def _amin(b: Builder, x: Var, dim: Value = (), keepdim: bool = False) -> Var:
    return lower.scale(b, _amax(b, lower.scale(b, x, -1.0), dim, keepdim), -1.0)


def _sort(b: Builder, x: Var, dim: int = -1, descending: bool = False, *, stable: bool = False) -> tuple[Var, None]:
    return lower.sorted_groups(b, x, lower.axis_of(b, x, dim), descending), None


def _mean(b: Builder, x: Var, dim: Value = None, keepdim: bool = False, *, dtype: Any = None) -> Var:
    if dim is None:
        raise b.refuse("it averages over the batch.")
    return lower.mean_over(b, x, _each(dim, 1), keepdim)


def _sum(b: Builder, x: Var, dim: Value = None, keepdim: bool = False, *, dtype: Any = None) -> Var:
    if dim is None:
        raise b.refuse("it adds over the batch.")
    return lower.total_over(b, x, sorted({lower.axis_of(b, x, a) for a in _each(dim, 1)}), keepdim)


# -- moving entries -----------------------------------------------------------------------------------------------------


def _cat(b: Builder, terms: Sequence[Value], dim: int = 0) -> Var:
    reference = next(t for t in terms if isinstance(t, Var))
    values = [t if isinstance(t, Var) else lower.constant_var(b, reference, _array(t)) for t in terms]
    return lower.concat(b, values, dim)


def _stack(b: Builder, terms: Sequence[Value], dim: int = 0) -> Var:
    return _cat(b, [_unsqueeze(b, t, dim) if isinstance(t, Var) else t.unsqueeze(dim) for t in terms], dim)


def _parts(b: Builder, x: Var, ends: Sequence[int], dim: int) -> list[Var]:
    return [lower.pick(b, x, part) for part in np.split(lower.places(x), ends, lower.axis_of(b, x, dim))]


def _split(b: Builder, x: Var, size: Value, dim: int = 0) -> list[Var]:
    n = x.shape[lower.axis_of(b, x, dim)]
    ends = np.cumsum(size)[:-1] if isinstance(size, (list, tuple)) else range(size, n, size)
    return _parts(b, x, list(ends), dim)


def _chunk(b: Builder, x: Var, chunks: int, dim: int = 0) -> list[Var]:
    n = x.shape[lower.axis_of(b, x, dim)]
    return _split(b, x, -(-n // chunks), dim)


def _unbind(b: Builder, x: Var, dim: int = 0) -> list[Var]:
    return [_select(b, x, dim, i) for i in range(x.shape[lower.axis_of(b, x, dim)])]


def _slice(b: Builder, x: Var, dim: int = 0, start: Value = None, end: Value = None, step: int = 1) -> Var:
    if dim % x.rank == 0 and x.batch and start in (None, 0) and (end is None or end > 2**31 or end == -1):
        return x
    inner = lower.axis_of(b, x, dim)
    return lower.pick(b, x, lower.places(x)[(slice(None),) * inner + (slice(start, end, step),)])


def _select(b: Builder, x: Var, dim: int, index: int) -> Var:
    return lower.pick(b, x, np.take(lower.places(x), index, lower.axis_of(b, x, dim)))


def _index_select(b: Builder, x: Var, dim: int, index: Value) -> Var:
    if isinstance(index, Var):
        raise b.refuse("its indices depend on the input.")
    return lower.pick(b, x, np.take(lower.places(x), index.cpu().numpy(), lower.axis_of(b, x, dim)))


def _index(b: Builder, x: Var, indices: Sequence[Value]) -> Var:
    if any(isinstance(i, Var) for i in indices) or (x.batch and indices and indices[0] is not None):
        raise b.refuse("its indices depend on the input or pick from the batch.")
    inner = indices[1:] if x.batch else indices
    key = tuple(slice(None) if i is None else i.cpu().numpy() for i in inner)
    return lower.pick(b, x, lower.places(x)[key])


def _permute(b: Builder, x: Var, *order: Value) -> Var:
    dims = order[0] if len(order) == 1 and isinstance(order[0], (list, tuple)) else order
    return lower.transpose(b, x, list(dims))


def _transpose(b: Builder, x: Var, first: int, second: int) -> Var:
    order = list(range(x.rank))
    order[first], order[second] = order[second], order[first]
    return lower.transpose(b, x, order)


def _flatten(b: Builder, x: Var, start: int = 0, end: int = -1) -> Var:
    shape = (-1, *x.shape)
    start, end = start % x.rank, end % x.rank
    if x.batch and start == 0 and end > 0:
        raise b.refuse("it joins the batch axis with others.")
    joined = math.prod(shape[start : end + 1])
    return lower.reshape(b, x, (*shape[:start], joined, *shape[end + 1 :]))


def _view(b: Builder, x: Var, *shape: Value) -> Var:
    target = list(shape[0] if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else shape)
    if x.batch and target.count(-1) == 2 and target[0] == -1:  # the batch size, and one axis to infer
        target[target.index(-1, 1)] = math.prod(x.shape) // -math.prod(target[1:])
    return lower.reshape(b, x, target)


def _unflatten(b: Builder, x: Var, dim: int, sizes: Sequence[int]) -> Var:
    inner = lower.axis_of(b, x, dim)
    rest = math.prod(s for s in sizes if s != -1)
    full = tuple(x.shape[inner] // rest if s == -1 else s for s in sizes)
    return lower.flat(b, x, (*x.shape[:inner], *full, *x.shape[inner + 1 :]))


def _squeeze(b: Builder, x: Var, dim: Value = None) -> Var:
    shape = (-1, *x.shape)
    dims = range(x.rank) if dim is None else _each(dim, 1)
    drop = {d % x.rank for d in dims if shape[d % x.rank] == 1}
    return lower.flat(b, x, tuple(n for i, n in enumerate(shape) if i not in drop)[1:])


def _unsqueeze(b: Builder, x: Var, dim: int) -> Var:
    place = dim % (x.rank + 1)
    if place == 0:
        raise b.refuse("it puts an axis before the batch axis.")
    return lower.flat(b, x, (*x.shape[: place - 1], 1, *x.shape[place - 1 :]))


def _expand(b: Builder, x: Var, shape: Sequence[int], *, implicit: bool = False) -> Var:
    inner = list(shape)[1:] if x.batch and len(shape) >= x.rank else list(shape)
    own = (1,) * (len(inner) - len(x.shape)) + x.shape
    return lower.expand(b, x, tuple(o if n == -1 else n for n, o in zip(inner, own, strict=True)))


def _pad(b: Builder, x: Var, pads: Sequence[int], mode: str = "constant", value: float | None = None) -> Var:
    before, after = [0] * len(x.shape), [0] * len(x.shape)
    for k in range(len(pads) // 2):
        if k >= len(x.shape):
            raise b.refuse("it pads the batch axis.")
        before[-1 - k], after[-1 - k] = pads[2 * k], pads[2 * k + 1]
    return lower.pad(b, x, before, after, mode=mode, value=float(value or 0.0))


def _pad_mode(mode: str) -> Callable:
    return lambda b, x, pads: _pad(b, x, pads, mode)


def _constant_pad(b: Builder, x: Var, pads: Sequence[int], value: float = 0.0) -> Var:
    return _pad(b, x, pads, "constant", value)


def _identity(b: Builder, x: Var, *_: Any, **__: Any) -> Var:
    return x


def _size(b: Builder, x: Var, dim: int | None = None) -> Any:
    shape = (-1, *x.shape)
    return shape if dim is None else shape[dim]


IDENTITIES = [
    "alias",
    "clone",
    "contiguous",
    "detach",
    "detach_",
    "dropout",
    "dropout_",
    "feature_dropout",
    "alpha_dropout",
    "lift_fresh_copy",
    "_to_copy",
    "to",
    "double",
    "float",
    "identity",
]

LOWER: dict[str, Callable[..., Any]] = {name: _identity for name in IDENTITIES} | {
    "_native_batch_norm_legit_no_training": _no_training,
    "_unsafe_view": _view,
    "abs": _abs,
    "adaptive_avg_pool1d": _adaptive_average,
    "adaptive_avg_pool2d": _adaptive_average,
    "adaptive_max_pool1d": _adaptive_max,
    "adaptive_max_pool2d": _adaptive_max,
    "add": _add,
    "addmm": _addmm,
    "amax": _amax,
    "amin": _amin,
    "avg_pool1d": _average_pool(1),
    "avg_pool2d": _average_pool(2),
    "batch_norm": _batch_norm,
    "cat": _cat,
    "chunk": _chunk,
    "clamp": _clamp,
    "clamp_max": lambda b, x, high: _clamp(b, x, None, high),
    "clamp_min": lambda b, x, low: _clamp(b, x, low, None),
    "constant_pad_nd": _constant_pad,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv_transpose1d": _conv_transpose,
    "conv_transpose2d": _conv_transpose,
    "convolution": _convolution,
    "div": _div,
    "expand": _expand,
    "flatten": _flatten,
    "hardsigmoid": _hardsigmoid,
    "hardtanh": _hardtanh,
    "index": _index,
    "index_select": _index_select,
    "leaky_relu": _leaky,
    "linear": _linear,
    "matmul": _matmul,
    "max": _max,
    "max_pool1d": _max_pool(1),
    "max_pool2d": _max_pool(2),
    "max_pool2d_with_indices": _max_pool_with_indices(2),
    "maximum": _extreme(lower.largest),
    "mean": _mean,
    "min": _min,
    "minimum": _extreme(lower.smallest),
    "mm": _matmul,
    "mul": _mul,
    "neg": _neg,
    "pad": _pad,
    "permute": _permute,
    "prelu": _prelu,
    "reflection_pad1d": _pad_mode("reflect"),
    "reflection_pad2d": _pad_mode("reflect"),
    "relu": _relu,
    "relu6": _relu6,
    "replication_pad1d": _pad_mode("replicate"),
    "replication_pad2d": _pad_mode("replicate"),
    "reshape": _view,
    "rrelu": _rrelu,
    "rsub": _rsub,
    "select": _select,
    "size": _size,
    "slice": _slice,
    "softshrink": _softshrink,
    "sort": _sort,
    "split": _split,
    "split_with_sizes": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "sub": _sub,
    "sum": _sum,
    "sym_size": _size,
    "transpose": _transpose,
    "unbind": _unbind,
    "unflatten": _unflatten,
    "unsqueeze": _unsqueeze,
    "view": _view,
}
