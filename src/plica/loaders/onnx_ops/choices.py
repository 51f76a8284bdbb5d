"""ONNX operations: activations, maxima, pooling, sorting."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from plica.core.affine import Scale
from plica.core.choice import absolute, relu, soft_threshold
from plica.loaders import lower
from plica.loaders.lower import Builder, Operand, Var
from plica.loaders.lower.moves import unbatched_constant
from plica.loaders.onnx_ops.affine import over_places, reduction
from plica.loaders.onnx_ops.node import OpNode, Window, ints, setting, window


def _relu(b: Builder, node: OpNode, x: Var) -> Var:
    return b.add(relu(x.shape), x)


def _leaky(b: Builder, node: OpNode, x: Var) -> Var:
    return lower.leaky(b, x, node.get("alpha", 0.01))


def _prelu(b: Builder, node: OpNode, x: Var, slope: Operand) -> Var:
    return lower.leaky(b, x, unbatched_constant(b, x, lower.numbers(b, slope, "slope")))


def _abs(b: Builder, node: OpNode, x: Var) -> Var:
    return b.add(absolute(x.shape), x)


def _clip(b: Builder, node: OpNode, x: Var, low: Operand | None = None, high: Operand | None = None) -> Var:
    limits = setting(b, node, "min", low, -math.inf), setting(b, node, "max", high, math.inf)
    lower_limit, upper_limit = (float(np.reshape(v, ())) for v in limits)
    return lower.clipped(b, x, lower_limit, upper_limit)


def _hard_sigmoid(b: Builder, node: OpNode, x: Var) -> Var:
    line = Scale(lower.tensor(node.get("alpha", 0.2)), lower.tensor(node.get("beta", 0.5)), x.shape)
    return lower.clipped(b, b.add(line, x, suffix=".line"), 0.0, 1.0)


def _shrink(b: Builder, node: OpNode, x: Var) -> Var:
    width = node.get("lambd", 0.5)
    if node.get("bias", 0.0) != width or width < 0:
        raise b.refuse("it shrinks with a jump (its bias is not its lambd); plica reads continuous functions.")
    return b.add(soft_threshold(x.shape, width), x)


def _extreme(work: Callable[..., Var]) -> Callable[..., Var]:
    return lambda b, node, *terms: work(b, terms)


def _pool_window(b: Builder, node: OpNode, x: Var) -> tuple[Window, Window]:
    """The window as written, and with the overhang of ceil_mode."""
    written = window(b, node, x.shape[1:], node.get("kernel_shape"))
    if not node.get("ceil_mode", 0):
        return written, written
    wide = lower.ceil_padding(x.shape[1:], written.kernel, written.stride, written.padding, written.dilation)
    return written, replace(written, padding=wide)


def _max_pool(b: Builder, node: OpNode, x: Var) -> Var:
    if len(node.proto.output) > 1 and node.proto.output[1]:
        raise b.refuse("its indices are used.")
    x = lower.batched(b, x)
    _, w = _pool_window(b, node, x)
    return lower.max_pool(b, x, w.kernel, stride=w.stride, padding=w.padding, dilation=w.dilation)


def _average_pool(b: Builder, node: OpNode, x: Var) -> Var:
    x = lower.batched(b, x)
    written, w = _pool_window(b, node, x)
    return lower.average_pool(
        b,
        x,
        w.kernel,
        stride=w.stride,
        padding=w.padding,
        dilation=w.dilation,
        counted=written.padding if node.get("count_include_pad", 0) else None,
    )


def _top(b: Builder, node: OpNode, x: Var, count: Operand | None = None) -> tuple[Var]:
    """The first output; the second, indices, is not piecewise linear."""
    k = ints(setting(b, node, "k", count))[0]
    return (lower.topmost(b, x, k, node.get("axis", -1), largest=bool(node.get("largest", 1))),)


LOWER: dict[str, Callable[..., Any]] = {
    "Abs": _abs,
    "AveragePool": _average_pool,
    "Clip": _clip,
    "GlobalMaxPool": over_places(lower.largest_over),
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky,
    "Max": _extreme(lower.largest),
    "MaxPool": _max_pool,
    "Min": _extreme(lower.smallest),
    "PRelu": _prelu,
    "ReduceMax": reduction(lower.largest_over),
    "ReduceMin": reduction(lower.smallest_over),
    "Relu": _relu,
    "Shrink": _shrink,
    "TopK": _top,
}
