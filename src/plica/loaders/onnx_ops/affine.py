"""ONNX operations: sums, products, matrices, convolutions, means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from plica.loaders import lower
from plica.loaders.lower import Builder, Operand, Var
from plica.loaders.onnx_ops.node import OpNode, axes_of, explicit_padding, halves, window


def _of_two(work: Callable[..., Var]) -> Callable[..., Var]:
    """An operation of two operands without settings."""
    return lambda b, node, x, y: work(b, x, y)


def _neg(b: Builder, node: OpNode, x: Var) -> Var:
    return lower.multiply(b, x, -1.0)


def _sum(b: Builder, node: OpNode, *terms: Operand) -> Var:
    values = [t for t in terms if isinstance(t, Var)]
    out = lower.combine(b, values, [1.0] * len(values)) if len(values) > 1 else values[0]
    for constant in (t for t in terms if not isinstance(t, Var)):
        out = lower.add(b, out, constant)
    return out


def _mean(b: Builder, node: OpNode, *terms: Operand) -> Var:
    return lower.quotient(b, _sum(b, node, *terms), float(len(terms)))


def _gemm(b: Builder, node: OpNode, a: Operand, c: Operand, bias: Operand | None = None) -> Var:
    if not isinstance(a, Var) or node.get("transA", 0):
        raise b.refuse("this Gemm is not of the form x W + c with constant W.")
    weight = lower.numbers(b, c, "matrix")
    weight = node.get("alpha", 1.0) * (weight if node.get("transB", 0) else weight.T)
    beta = node.get("beta", 1.0)
    if bias is None or beta == 0:
        return lower.dense(b, a, weight)
    if not isinstance(bias, Var) and np.shape(bias) in {(), (1,), (1, 1), weight.shape[:1], (1, *weight.shape[:1])}:
        offset = beta * lower.numbers(b, bias, "bias")
        return lower.dense(b, a, weight, np.broadcast_to(offset.ravel(), weight.shape[:1]))
    return lower.add(b, lower.dense(b, a, weight), bias, beta)


def _conv(b: Builder, node: OpNode, x: Var, weight: Operand, bias: Operand | None = None) -> Var:
    x, kernel = lower.batched(b, x), lower.numbers(b, weight, "weight")
    w = window(b, node, x.shape[1:], kernel.shape[2:])
    return lower.conv(
        b,
        x,
        kernel,
        None if bias is None else lower.numbers(b, bias, "bias"),
        stride=w.stride,
        padding=w.padding,
        dilation=w.dilation,
        groups=node.get("group", 1),
    )


def _conv_transpose(b: Builder, node: OpNode, x: Var, weight: Operand, bias: Operand | None = None) -> Var:
    x, kernel = lower.batched(b, x), lower.numbers(b, weight, "weight")
    size = kernel.shape[2:]
    w = window(b, node, x.shape[1:], size)
    extra = node.get("output_padding") or [0] * len(size)
    full = [s * (n - 1) + e + d * (k - 1) + 1
            for n, s, e, d, k in zip(x.shape[1:], w.stride, extra, w.dilation, size, strict=True)]  # fmt: skip
    wanted, mode = node.get("output_shape"), node.get("auto_pad", "NOTSET")
    padding = explicit_padding(b, node, len(size))
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(x.shape[1:], w.stride, strict=True)]
    if wanted is not None:
        totals = [max(f - n, 0) for f, n in zip(full, wanted[-len(size) :], strict=True)]
        padding = halves(totals, upper=mode == "SAME_UPPER")
    return lower.conv_transpose(
        b,
        x,
        kernel,
        None if bias is None else lower.numbers(b, bias, "bias"),
        stride=w.stride,
        padding=padding,
        dilation=w.dilation,
        groups=node.get("group", 1),
        output=tuple(f - low - high for f, (low, high) in zip(full, padding, strict=True)),
    )


def _batch_norm(b: Builder, node: OpNode, x: Var, *parameters: np.ndarray) -> Var:
    if node.get("training_mode", 0):
        raise b.refuse("it normalises by the batch (training_mode = 1). Export the model in evaluation mode.")
    return lower.batch_norm(b, x, parameters, node.get("epsilon", 1e-5))


def reduction(work: Callable[..., Var]) -> Callable[..., Var]:
    """An operation over axes, all of them when the node names none."""

    def reduce(b: Builder, node: OpNode, x: Var, axes: Operand | None = None) -> Var:
        over = axes_of(b, node, axes)
        if over is None and node.get("noop_with_empty_axes", 0):
            return x
        return work(b, x, over, bool(node.get("keepdims", 1)))

    return reduce


def over_places(work: Callable[..., Var]) -> Callable[..., Var]:
    """An operation over everything after batch and channels."""

    def lowered(b: Builder, node: OpNode, x: Var) -> Var:
        if x.rank < 3:
            raise b.refuse(f"it pools a value of shape {x.original}, which has no places behind its channels.")
        return work(b, x, range(2, x.rank), True)

    return lowered


LOWER: dict[str, Callable[..., Any]] = {
    "Add": _of_two(lower.add),
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _of_two(lower.quotient),
    "Gemm": _gemm,
    "GlobalAveragePool": over_places(lower.mean_over),
    "MatMul": _of_two(lower.matmul),
    "Mean": _mean,
    "Mul": _of_two(lower.multiply),
    "Neg": _neg,
    "ReduceMean": reduction(lower.mean_over),
    "ReduceSum": reduction(lower.total_over),
    "Sub": _of_two(lower.subtract),
    "Sum": _sum,
}
