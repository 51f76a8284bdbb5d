"""aten operations: sums, products, matrices, convolutions, means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from plica.core.affine import Shape
from plica.loaders import lower
from plica.loaders.lower import Builder, Pairs, Value, Var
from plica.loaders.torch_ops.arguments import axes, each


def _add(b: Builder, x: Value, y: Value, *, alpha: float = 1) -> Var:
    return lower.add(b, x, y, float(alpha))


def _sub(b: Builder, x: Value, y: Value, *, alpha: float = 1) -> Var:
    return lower.subtract(b, x, y, float(alpha))


def _rsub(b: Builder, x: Value, y: Value, alpha: float = 1) -> Var:
    return lower.subtract(b, y, x, float(alpha))


def _div(b: Builder, x: Value, y: Value, *, rounding_mode: str | None = None) -> Var:
    if rounding_mode is not None:
        raise b.refuse("it rounds, which is not piecewise linear without jumps.")
    return lower.quotient(b, x, y)


def _neg(b: Builder, x: Var) -> Var:
    return lower.multiply(b, x, -1.0)


def _linear(b: Builder, x: Value, weight: Value, bias: Value = None) -> Var:
    if not isinstance(x, Var):
        raise b.refuse("its weight depends on the input, which is not piecewise linear.")
    offset = None if bias is None else lower.numbers(b, bias, "bias")
    return lower.dense(b, x, np.atleast_2d(lower.numbers(b, weight, "weight")), offset)


def _addmm(b: Builder, bias: Value, x: Value, weight: Value, *, beta: float = 1, alpha: float = 1) -> Var:
    product = lower.matmul(b, x, weight)
    if alpha != 1:
        product = lower.multiply(b, product, float(alpha))
    return lower.add(b, product, bias, float(beta)) if beta else product


def _where(b: Builder, condition: Any, x: Value, y: Value) -> Var:
    return lower.where(b, condition, x, y)


def _masked_fill(b: Builder, x: Value, mask: Any, value: Value) -> Var:
    return lower.where(b, mask, value, x)


# -- convolution and normalisation ------------------------------------------------------------------------------------


def _padding(b: Builder, padding: Any, kernel: Shape, dilation: Shape) -> Pairs:
    """Zeros before and after every axis; 'same' puts the odd one after."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    return tuple((p, p) for p in each(padding, len(kernel)))


def _conv(b, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Var:
    kernel = lower.numbers(b, weight, "weight")
    n = kernel.ndim - 2
    wide = each(dilation, n)
    return lower.conv(
        b,
        x,
        kernel,
        None if bias is None else lower.numbers(b, bias, "bias"),
        stride=each(stride, n),
        padding=_padding(b, padding, kernel.shape[2:], wide),
        dilation=wide,
        groups=groups,
    )


def _conv_transpose(b, x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1) -> Var:
    kernel = lower.numbers(b, weight, "weight")
    n = kernel.ndim - 2
    step, pads, extra, wide = (each(v, n) for v in (stride, padding, output_padding, dilation))
    output = tuple(
        (m - 1) * s - 2 * p + d * (k - 1) + e + 1
        for m, s, p, d, k, e in zip(x.shape[1:], step, pads, wide, kernel.shape[2:], extra, strict=True)
    )
    return lower.conv_transpose(
        b,
        x,
        kernel,
        None if bias is None else lower.numbers(b, bias, "bias"),
        stride=step,
        padding=tuple((p, p) for p in pads),
        dilation=wide,
        groups=groups,
        output=output,
    )


def _convolution(b, x, weight, bias, stride, padding, dilation, *rest: Any) -> Var:
    transposed, output_padding, groups = rest[:3]
    if transposed:
        return _conv_transpose(b, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _conv(b, x, weight, bias, stride, padding, dilation, groups)


def _batch_norm(b, x, weight, bias, mean, var, *settings: Any) -> Var:
    """Settings: training, momentum, eps, ..."""
    if settings[0] is True or mean is None or var is None:
        raise b.refuse("it normalises by the batch. Put the module in evaluation mode, with running statistics.")
    ones = np.ones(np.shape(mean))
    return lower.batch_norm(b, x, [ones if weight is None else weight, 0 * ones if bias is None else bias, mean, var],
                            settings[2])  # fmt: skip


def _no_training(b, x, weight, bias, mean, var, *settings: Any) -> list[Var]:
    """Settings: momentum, eps."""
    return [_batch_norm(b, x, weight, bias, mean, var, False, *settings)]


# -- means ------------------------------------------------------------------------------------------------------------


def _reduction(work: Callable[..., Var]) -> Callable[..., Var]:
    def reduce(b: Builder, x: Var, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Var:
        return work(b, x, axes(dim), keepdim)

    return reduce


LOWER: dict[str, Callable[..., Any]] = {
    "_native_batch_norm_legit_no_training": _no_training,
    "add": _add,
    "addmm": _addmm,
    "batch_norm": _batch_norm,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv_transpose1d": _conv_transpose,
    "conv_transpose2d": _conv_transpose,
    "convolution": _convolution,
    "div": _div,
    "linear": _linear,
    "masked_fill": _masked_fill,
    "matmul": lower.matmul,
    "mean": _reduction(lower.mean_over),
    "mm": lower.matmul,
    "mul": lower.multiply,
    "mv": lower.matmul,
    "neg": _neg,
    "rsub": _rsub,
    "sub": _sub,
    "sum": _reduction(lower.total_over),
    "where": _where,
}
