"""ONNX operations as functions of a builder, a node and its operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from plica.core.affine import Scale, Shape
from plica.core.choice import absolute, leaky_relu, relu
from plica.loaders import lower
from plica.loaders.lower import Builder, Pairs, Var

Operand = Var | np.ndarray


@dataclass(frozen=True)
class OpNode:
    """A node of the file and the version of the operator set."""

    proto: onnx.NodeProto
    version: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, strings decoded."""
        for a in self.proto.attribute:
            if a.name == name:
                value = helper.get_attribute_value(a)
                return value.decode() if isinstance(value, bytes) else value
        return default


def _ints(value: Any) -> list[int]:
    return [int(v) for v in np.asarray(value).ravel()]


def _setting(b: Builder, node: OpNode, name: str, operand: Operand | None, default: Any = None) -> Any:
    """A setting that is an attribute in old operator sets and a constant input in new ones."""
    if operand is None:
        return node.get(name, default)
    if isinstance(operand, Var):
        raise b.refuse(f"its {name} depends on the input.")
    return operand


# -- sums, products, matrices -----------------------------------------------------------------------------------------


def _add(b: Builder, node: OpNode, x: Operand, y: Operand) -> Var:
    if isinstance(x, Var) and isinstance(y, Var):
        return lower.combine(b, (x, y), (1, 1))
    return lower.shift(b, x, y) if isinstance(x, Var) else lower.shift(b, y, x)


def _sub(b: Builder, node: OpNode, x: Operand, y: Operand) -> Var:
    if isinstance(x, Var) and isinstance(y, Var):
        return lower.combine(b, (x, y), (1, -1))
    if isinstance(x, Var):
        return lower.shift(b, x, y, -1.0)
    constant = lower.inner_constant(b, y, x)
    y = lower.expand(b, y, np.broadcast_shapes(y.shape, constant.shape))
    return lower.scale(b, y, -1.0, constant)


def _mul(b: Builder, node: OpNode, x: Operand, y: Operand) -> Var:
    if isinstance(x, Var) and isinstance(y, Var):
        raise b.refuse("it multiplies two values that both depend on the input, which is not piecewise linear.")
    return lower.scale(b, x, y) if isinstance(x, Var) else lower.scale(b, y, x)


def _div(b: Builder, node: OpNode, x: Operand, y: Operand) -> Var:
    if isinstance(y, Var):
        raise b.refuse("it divides by a value that depends on the input, which is not piecewise linear.")
    return lower.divide(b, x, y)


def _neg(b: Builder, node: OpNode, x: Var) -> Var:
    return lower.scale(b, x, -1.0)


def _sum(b: Builder, node: OpNode, *terms: Operand) -> Var:
    constants = [t for t in terms if not isinstance(t, Var)]
    values = [t for t in terms if isinstance(t, Var)]
    out = lower.combine(b, values, [1.0] * len(values)) if len(values) > 1 else values[0]
    for constant in constants:
        out = lower.shift(b, out, constant)
    return out


def _mean(b: Builder, node: OpNode, *terms: Operand) -> Var:
    return lower.divide(b, _sum(b, node, *terms), float(len(terms)))


def _gemm(b: Builder, node: OpNode, a: Operand, c: Operand, bias: Operand | None = None) -> Var:
    if not isinstance(a, Var) or isinstance(c, Var) or isinstance(bias, Var) or node.get("transA", 0):
        raise b.refuse("this Gemm is not of the form x W + b with constant W and b.")
    weight = np.asarray(c, dtype=np.float64)
    weight = weight if node.get("transB", 0) else weight.T
    out = lower.dense(b, a, node.get("alpha", 1.0) * weight, None)
    if bias is None or node.get("beta", 1.0) == 0:
        return out
    shift = node.get("beta", 1.0) * lower.inner_constant(b, out, bias)
    return _with_bias(b, out, np.broadcast_to(shift, out.shape))


def _with_bias(b: Builder, out: Var, bias: np.ndarray) -> Var:
    """The last node, a dense one, with a bias."""
    node = b.graph.nodes.pop()
    del b.graph.shapes[node.name]
    op = node.op
    name = b.graph.add(node.name, type(op)(op.weight, lower.tensor(bias), op.input_shape), *node.inputs)  # type: ignore[call-arg, union-attr]
    return Var(name, out.shape, out.batch)


def _matmul(b: Builder, node: OpNode, x: Operand, y: Operand) -> Var:
    if isinstance(x, Var) and isinstance(y, Var):
        raise b.refuse("it multiplies two values that both depend on the input, which is not piecewise linear.")
    if isinstance(x, Var):
        weight = np.asarray(y, dtype=np.float64)
        weight = weight.reshape(weight.shape[-2:]) if weight.ndim > 2 and math.prod(weight.shape[:-2]) == 1 else weight
        if weight.ndim == 1:
            out = lower.dense(b, x, weight[None], None)
            return lower.flat(b, out, out.shape[:-1], ".shape")
        if weight.ndim != 2:
            raise b.refuse(f"it multiplies by a stack of matrices of shape {weight.shape}.")
        return lower.dense(b, x, weight.T, None)
    assert isinstance(y, Var)
    weight = np.asarray(x, dtype=np.float64)
    if weight.ndim != 2 or (y.batch and len(y.shape) < 2):
        raise b.refuse(f"a matrix of shape {weight.shape} on the left would mix the batch.")
    if len(y.shape) == 1:
        return lower.dense(b, y, weight, None)
    turned = lower.pick(b, y, np.swapaxes(lower.places(y), -1, -2))
    out = lower.dense(b, turned, weight, None)
    return lower.pick(b, out, np.swapaxes(lower.places(out), -1, -2))


# -- convolution and pooling ------------------------------------------------------------------------------------------


def _padding(b: Builder, node: OpNode, size: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> Pairs:
    """Padding before and after every axis, auto_pad resolved."""
    mode = node.get("auto_pad", "NOTSET")
    pads = node.get("pads") or [0] * (2 * len(kernel))
    if mode in ("NOTSET", ""):
        return tuple((pads[i], pads[i + len(kernel)]) for i in range(len(kernel)))
    if mode == "VALID":
        return ((0, 0),) * len(kernel)
    out = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        half = total // 2
        out.append((half, total - half) if mode == "SAME_UPPER" else (total - half, half))
    return tuple(out)


def _window(b: Builder, node: OpNode, x: Var, kernel: Shape) -> tuple[Shape, Shape, Pairs]:
    """Stride, dilation and padding of a node."""
    stride = tuple(node.get("strides") or [1] * len(kernel))
    dilation = tuple(node.get("dilations") or [1] * len(kernel))
    return stride, dilation, _padding(b, node, x.shape[1:], kernel, stride, dilation)


def _constant_weight(b: Builder, weight: Operand, bias: Operand | None) -> np.ndarray:
    if isinstance(weight, Var) or isinstance(bias, Var):
        raise b.refuse("its weights depend on the input.")
    return weight


def _conv(b: Builder, node: OpNode, x: Var, weight: Operand, bias: np.ndarray | None = None) -> Var:
    weight = _constant_weight(b, weight, bias)
    stride, dilation, padding = _window(b, node, x, weight.shape[2:])
    group = node.get("group", 1)
    return lower.conv(b, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=group)


def _conv_transpose(b: Builder, node: OpNode, x: Var, weight: Operand, bias: np.ndarray | None = None) -> Var:
    weight = _constant_weight(b, weight, bias)
    kernel, size = weight.shape[2:], x.shape[1:]
    stride = tuple(node.get("strides") or [1] * len(kernel))
    dilation = tuple(node.get("dilations") or [1] * len(kernel))
    extra = node.get("output_padding") or [0] * len(kernel)
    full = [s * (n - 1) + e + d * (k - 1) + 1
            for n, s, e, d, k in zip(size, stride, extra, dilation, kernel, strict=True)]  # fmt: skip
    pads = node.get("pads") or [0] * (2 * len(kernel))
    padding = [(pads[i], pads[i + len(kernel)]) for i in range(len(kernel))]
    wanted, mode = node.get("output_shape"), node.get("auto_pad", "NOTSET")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(size, stride, strict=True)]
    if wanted is not None:
        total = [f - w for f, w in zip(full, wanted, strict=True)]
        padding = [(t // 2, t - t // 2) if mode == "SAME_UPPER" else (t - t // 2, t // 2) for t in total]
    output = tuple(f - low - high for f, (low, high) in zip(full, padding, strict=True))
    # The forward convolution of the transpose reads `output`; output_padding lies beyond its last window.
    return lower.conv_transpose(
        b,
        x,
        weight,
        bias,
        stride=stride,
        padding=tuple(padding),
        dilation=dilation,
        groups=node.get("group", 1),
        output=output,
    )


def _batch_norm(b: Builder, node: OpNode, x: Var, *parameters: np.ndarray) -> Var:
    if node.get("training_mode", 0):
        raise b.refuse("it normalises by the batch (training_mode = 1). Export the model in evaluation mode.")
    return lower.batch_norm(b, x, *parameters, eps=node.get("epsilon", 1e-5))


def _pool_window(b: Builder, node: OpNode, x: Var) -> tuple[Shape, Shape, Shape, Pairs, Pairs]:
    """Kernel, stride, dilation, the padding as written, and with ceil_mode's overhang."""
    kernel = tuple(node.get("kernel_shape"))
    stride, dilation, padding = _window(b, node, x, kernel)
    wide = padding
    if node.get("ceil_mode", 0):
        wide = lower.ceil_padding(x.shape[1:], kernel, stride, padding, dilation)
    return kernel, stride, dilation, padding, wide


def _max_pool(b: Builder, node: OpNode, x: Var) -> Var:
    if len(node.proto.output) > 1 and node.proto.output[1]:
        raise b.refuse("its indices are used.")
    kernel, stride, dilation, _, wide = _pool_window(b, node, x)
    return lower.max_pool(b, x, kernel, stride=stride, padding=wide, dilation=dilation)


def _average_pool(b: Builder, node: OpNode, x: Var) -> Var:
    kernel, stride, dilation, padding, wide = _pool_window(b, node, x)
    if any(d != 1 for d in dilation):
        raise b.refuse("it is an average pool with dilation.")
    counted = padding if node.get("count_include_pad", 0) else None
    return lower.average_pool(b, x, kernel, stride=stride, padding=wide, counted=counted)


def _global_average(b: Builder, node: OpNode, x: Var) -> Var:
    return lower.mean_over(b, x, range(2, x.rank), keep=True)


def _global_max(b: Builder, node: OpNode, x: Var) -> Var:
    return lower.largest_over(b, x, range(2, x.rank), keep=True)


def _reduce(work: Callable) -> Callable:
    def reduce(b: Builder, node: OpNode, x: Var, axes: Operand | None = None) -> Var:
        wanted = _setting(b, node, "axes", axes)
        over = _ints(wanted) if wanted is not None else list(range(int(x.batch), x.rank))
        return work(b, x, over, bool(node.get("keepdims", 1)))

    return reduce


def _sum_over(b: Builder, x: Var, axes: Sequence[int], keep: bool) -> Var:
    return lower.total_over(b, x, sorted({lower.axis_of(b, x, a) for a in axes}), keep)


def _min_over(b: Builder, x: Var, axes: Sequence[int], keep: bool) -> Var:
    return lower.scale(b, lower.largest_over(b, lower.scale(b, x, -1.0), axes, keep), -1.0)


# -- choices ------------------------------------------------------------------------------------------------------------


def _relu(b: Builder, node: OpNode, x: Var) -> Var:
    return b.add(relu(x.shape), x)


def _leaky(b: Builder, node: OpNode, x: Var) -> Var:
    return b.add(leaky_relu(x.shape, node.get("alpha", 0.01)), x)


def _prelu(b: Builder, node: OpNode, x: Var, slope: np.ndarray) -> Var:
    return b.add(leaky_relu(x.shape, lower.tensor(lower.inner_constant(b, x, slope))), x)


def _abs(b: Builder, node: OpNode, x: Var) -> Var:
    return b.add(absolute(x.shape), x)


def _clip(b: Builder, node: OpNode, x: Var, low: Operand | None = None, high: Operand | None = None) -> Var:
    lower_limit = float(np.asarray(_setting(b, node, "min", low, -math.inf)).reshape(()))
    upper_limit = float(np.asarray(_setting(b, node, "max", high, math.inf)).reshape(()))
    return lower.clipped(b, x, lower_limit, upper_limit)


def _hard_sigmoid(b: Builder, node: OpNode, x: Var) -> Var:
    line = Scale(lower.tensor(node.get("alpha", 0.2)), lower.tensor(node.get("beta", 0.5)), x.shape)
    return lower.clipped(b, b.add(line, x, suffix=".line"), 0.0, 1.0)


def _extreme(work: Callable) -> Callable:
    def extreme(b: Builder, node: OpNode, *terms: Operand) -> Var:
        reference = next(t for t in terms if isinstance(t, Var))
        return work(b, [t if isinstance(t, Var) else lower.constant_var(b, reference, t) for t in terms])

    return extreme


# -- moving entries -----------------------------------------------------------------------------------------------------


def _concat(b: Builder, node: OpNode, *terms: Operand) -> Var:
    reference = next(t for t in terms if isinstance(t, Var))
    values = [t if isinstance(t, Var) else lower.constant_var(b, reference, t) for t in terms]
    return lower.concat(b, values, node.get("axis"))


def _split(b: Builder, node: OpNode, x: Var, sizes: Operand | None = None) -> list[Var]:
    axis = lower.axis_of(b, x, node.get("axis", 0))
    given = _setting(b, node, "split", sizes)
    count = node.get("num_outputs", len(node.proto.output))
    step = -(-x.shape[axis] // count)
    ends = np.cumsum(_ints(given)) if given is not None else np.arange(1, count + 1) * step
    return [lower.pick(b, x, part) for part in np.split(lower.places(x), ends[:-1], axis)]


def _slice(b: Builder, node: OpNode, x: Var, *settings: Operand | None) -> Var:
    given = [*settings, None, None, None, None][:4]
    starts, ends = (_ints(_setting(b, node, n, s)) for n, s in zip(("starts", "ends"), given[:2], strict=True))
    axes = _ints(_setting(b, node, "axes", given[2], range(len(starts))))
    steps = _ints(_setting(b, node, "steps", given[3], [1] * len(starts)))
    index = lower.places(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if x.batch and axis % x.rank == 0 and start == 0 and end > 2**30:
            continue
        inner = lower.axis_of(b, x, axis)
        stop = None if step < 0 and end < -index.shape[inner] else end
        index = index[(slice(None),) * inner + (slice(start, stop, step),)]
    return lower.pick(b, x, index)


def _pad(b: Builder, node: OpNode, x: Var, pads: Operand | None = None, value: Any = None, axes: Any = None) -> Var:
    amounts = _ints(_setting(b, node, "pads" if node.version > 1 else "paddings", pads))
    places = [a % x.rank for a in _ints(axes)] if axes is not None else list(range(x.rank))
    both = np.zeros((2, x.rank), dtype=int)
    both[:, places] = np.reshape(amounts, (2, -1))
    if x.batch and both[:, 0].any():
        raise b.refuse("it pads the batch axis.")
    fill = value if value is not None else node.get("value", 0.0)
    constant = float(np.asarray(fill).reshape(-1)[0]) if np.size(fill) else 0.0
    before, after = both[:, int(x.batch) :].tolist()
    return lower.pad(b, x, before, after, mode=node.get("mode", "constant"), value=constant)


def _gather(b: Builder, node: OpNode, x: Operand, index: Operand) -> Var:
    if not isinstance(x, Var) or isinstance(index, Var):
        raise b.refuse("its indices depend on the input.")
    axis = lower.axis_of(b, x, node.get("axis", 0))
    return lower.pick(b, x, np.take(lower.places(x), np.asarray(index).astype(np.int64), axis))


def _flatten(b: Builder, node: OpNode, x: Var) -> Var:
    axis = node.get("axis", 1) % (x.rank + 1)
    if not x.batch:
        sizes = (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
        return Var(lower.flat(b, x, sizes).name, sizes, False)
    if axis == 0:
        return lower.reshape(b, x, (1, -1))
    rows = math.prod(x.shape[: axis - 1])
    if rows != 1:
        raise b.refuse(f"it joins the batch axis with others (axis = {axis}).")
    return lower.reshape(b, x, (1, -1))


def _reshape(b: Builder, node: OpNode, x: Var, shape: Operand | None = None) -> Var:
    return lower.reshape(b, x, _ints(_setting(b, node, "shape", shape)))


def _transpose(b: Builder, node: OpNode, x: Var) -> Var:
    return lower.transpose(b, x, node.get("perm") or list(range(x.rank))[::-1])


def _squeeze(b: Builder, node: OpNode, x: Var, axes: Operand | None = None) -> Var:
    wanted = _setting(b, node, "axes", axes)
    shape = (1, *x.shape) if x.batch else x.shape
    if wanted is None:
        drop = {i for i, n in enumerate(shape) if n == 1 and not (x.batch and i == 0)}
    else:
        drop = {a % x.rank for a in _ints(wanted)}
    if x.batch and 0 in drop:
        raise b.refuse("it removes the batch axis.")
    kept = tuple(n for i, n in enumerate(shape) if i not in drop)
    return lower.flat(b, x, kept[1:] if x.batch else kept)


def _unsqueeze(b: Builder, node: OpNode, x: Var, axes: Operand | None = None) -> Var:
    wanted = _ints(_setting(b, node, "axes", axes))
    rank = x.rank + len(wanted)
    new = {a % rank for a in wanted}
    if x.batch and 0 in new:
        raise b.refuse("it puts an axis before the batch axis.")
    rest = iter((1, *x.shape) if x.batch else x.shape)
    shape = tuple(1 if i in new else next(rest) for i in range(rank))
    return lower.flat(b, x, shape[1:] if x.batch else shape)


def _expand(b: Builder, node: OpNode, x: Var, shape: np.ndarray) -> Var:
    target = _ints(shape)
    inner = target[1:] if x.batch and len(target) >= x.rank else target
    return lower.expand(b, x, np.broadcast_shapes(x.shape, tuple(inner)))


def _shape(b: Builder, node: OpNode, x: Var) -> np.ndarray:
    full = (1, *x.shape) if x.batch else x.shape
    return np.array(full[node.get("start", 0) : node.get("end", len(full))], dtype=np.int64)


def _identity(b: Builder, node: OpNode, x: Var, *_: Any) -> Var:
    return x


def _cast(b: Builder, node: OpNode, x: Var) -> Var:
    if node.get("to") not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        raise b.refuse("it casts a value that depends on the input to a type that rounds it.")
    return x


LOWER: dict[str, Callable[..., Any]] = {
    "Abs": _abs,
    "Add": _add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _div,
    "Dropout": _identity,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "HardSigmoid": _hard_sigmoid,
    "Identity": _identity,
    "LeakyRelu": _leaky,
    "MatMul": _matmul,
    "Max": _extreme(lower.largest),
    "MaxPool": _max_pool,
    "Mean": _mean,
    "Min": _extreme(lower.smallest),
    "Mul": _mul,
    "Neg": _neg,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMax": _reduce(lower.largest_over),
    "ReduceMean": _reduce(lower.mean_over),
    "ReduceMin": _reduce(_min_over),
    "ReduceSum": _reduce(_sum_over),
    "Relu": _relu,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Sum": _sum,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
