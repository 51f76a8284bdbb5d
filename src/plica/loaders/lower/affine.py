"""Affine operations: sums, products, matrices, convolutions, means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from plica.core.affine import Dense, Gather, Scale, Shape, Sum
from plica.core.conv import Conv, Transposed
from plica.errors import ModelError, ShapeError
from plica.loaders.lower.builder import Builder, Pairs, Value, Var, numbers, tensor
from plica.loaders.lower.moves import (
    aligned,
    along_all,
    batched,
    expand,
    flat,
    opened,
    pick,
    places,
    unbatched_constant,
)

# -- sums and products ------------------------------------------------------------------------------------------------


def add(b: Builder, x: Value, y: Value, factor: float = 1.0) -> Var:
    """X + factor * y, of values and constants."""
    if isinstance(x, Var) and isinstance(y, Var):
        return combine(b, (x, y), (1.0, factor))
    if isinstance(x, Var):
        return _shift(b, x, factor * numbers(b, y, "constant"))
    assert isinstance(y, Var)
    if factor == 1:
        return _shift(b, y, numbers(b, x, "constant"))
    offset = unbatched_constant(b, y, np.asarray(x))
    y = expand(b, y, np.broadcast_shapes(y.shape, offset.shape))
    return b.add(Scale(tensor(factor), tensor(offset), y.shape), y)


def subtract(b: Builder, x: Value, y: Value, factor: float = 1.0) -> Var:
    """X - factor * y."""
    return add(b, x, y, -factor)


def _shift(b: Builder, x: Var, offset: np.ndarray) -> Var:
    offset = unbatched_constant(b, x, offset)
    x = expand(b, x, np.broadcast_shapes(x.shape, offset.shape))
    return b.add(Gather(None, x.shape, x.shape, tensor(offset)), x)


def multiply(b: Builder, x: Value, y: Value) -> Var:
    """A value times a constant."""
    if isinstance(x, Var) and isinstance(y, Var):
        raise b.refuse("it multiplies two values that both depend on the input, which is not piecewise linear.")
    value, other = (x, y) if isinstance(x, Var) else (y, x)
    assert isinstance(value, Var)
    factor = unbatched_constant(b, value, np.asarray(other))
    value = expand(b, value, np.broadcast_shapes(value.shape, factor.shape))
    return b.add(Scale(tensor(factor), None, value.shape), value)


def quotient(b: Builder, x: Value, y: Value) -> Var:
    """A value by a constant, the divisor kept for exact arithmetic."""
    if isinstance(y, Var):
        raise b.refuse("it divides by a value that depends on the input, which is not piecewise linear.")
    assert isinstance(x, Var)
    divisor = unbatched_constant(b, x, np.asarray(y), "divisor")
    if not (divisor != 0).all():
        raise ModelError(f"node {b.node!r} divides by zero.")
    x = expand(b, x, np.broadcast_shapes(x.shape, divisor.shape))
    return b.add(Scale(tensor(1.0), None, x.shape, tensor(divisor)), x)


def combine(b: Builder, terms: Sequence[Var], coefficients: Sequence[float]) -> Var:
    """sum_i c_i x_i of values, broadcast against each other."""
    terms = aligned(b, terms)
    shape = np.broadcast_shapes(*(t.shape for t in terms))
    return b.add(Sum(tuple(map(float, coefficients)), shape), *(expand(b, t, shape) for t in terms))


def where(b: Builder, condition: Any, x: Value, y: Value) -> Var:
    """X where a constant condition holds, else y; both values or constants."""
    if isinstance(condition, Var):
        raise b.refuse("its condition depends on the input; such a choice may jump.")
    reference = next(v for v in (x, y) if isinstance(v, Var))
    mask = unbatched_constant(b, reference, condition, "condition") != 0
    parts = []
    for value, keep in ((x, mask), (y, ~mask)):
        inner = value if isinstance(value, Var) else unbatched_constant(b, reference, np.asarray(value))
        parts.append((inner, keep))
    shape = np.broadcast_shapes(mask.shape, *(v.shape for v, _ in parts))
    kept = [_kept(b, v, np.broadcast_to(keep, shape), reference) for v, keep in parts]
    return combine(b, kept, (1.0, 1.0))


def _kept(b: Builder, value: Var | np.ndarray, keep: np.ndarray, reference: Var) -> Var:
    """A value or constant where a mask holds, zero elsewhere."""
    if isinstance(value, Var):
        return pick(b, value, np.where(keep, np.broadcast_to(places(value), keep.shape), -1), suffix=".part")
    return pick(b, reference, np.full(keep.shape, -1), np.where(keep, value, 0.0), ".part")


# -- matrices ---------------------------------------------------------------------------------------------------------


def dense(b: Builder, x: Var, weight: np.ndarray, bias: np.ndarray | None = None) -> Var:
    """W x + bias along the last axis; weight has shape (m, n)."""
    if not x.shape or weight.ndim != 2 or weight.shape[1] != x.shape[-1]:
        raise ShapeError(f"node {b.node!r}: a matrix {tuple(weight.shape)} meets a value of shape {x.original}.")
    return b.add(Dense(tensor(weight), None if bias is None else tensor(bias), x.shape), x)


def matmul(b: Builder, x: Value, y: Value) -> Var:
    """A value times a constant matrix, on either side."""
    if isinstance(x, Var) and isinstance(y, Var):
        raise b.refuse("it multiplies two values that both depend on the input, which is not piecewise linear.")
    if isinstance(x, Var):
        return _right(b, x, numbers(b, y, "matrix"))
    assert isinstance(y, Var)
    return _left(b, numbers(b, x, "matrix"), y)


def _right(b: Builder, x: Var, weight: np.ndarray) -> Var:
    """X W."""
    if weight.ndim == 1:
        out = dense(b, x, weight[None])
        return flat(b, out, out.shape[:-1], ".shape")
    return dense(b, x, _one_matrix(b, weight, x).T)


def _left(b: Builder, weight: np.ndarray, y: Var) -> Var:
    """W y, along the axis before the last."""
    if y.batch and len(y.shape) < 2:
        y = opened(b, y)
    if len(y.shape) == 1:
        return dense(b, y, np.atleast_2d(weight)) if weight.ndim == 2 else _right(b, y, weight)
    turned = pick(b, y, np.swapaxes(places(y), -1, -2), suffix=".turn")
    if weight.ndim == 1:
        return _right(b, turned, weight)
    out = dense(b, turned, _one_matrix(b, weight, y))
    return pick(b, out, np.swapaxes(places(out), -1, -2), suffix=".back")


def _one_matrix(b: Builder, weight: np.ndarray, x: Var) -> np.ndarray:
    """A matrix without leading axes of one."""
    if math.prod(weight.shape[:-2]) != 1 or weight.ndim > max(x.rank, 2):
        raise b.refuse(f"it multiplies a value of shape {x.original} by a stack of matrices of shape {weight.shape}.")
    return weight.reshape(weight.shape[-2:])


def batch_norm(b: Builder, x: Var, parameters: Sequence[np.ndarray], eps: float) -> Var:
    """Batch normalisation in evaluation: a scale and a shift per channel, rounded once.

    `parameters` are gamma, beta, mean and variance.
    """
    x = batched(b, x)
    gamma, beta, mean, var = (numbers(b, p, "parameter") for p in parameters)
    if not x.shape or {p.shape for p in (gamma, beta, mean, var)} != {x.shape[:1]}:
        raise ShapeError(f"node {b.node!r} normalises {x.original} by {mean.size} means and {var.size} variances.")
    if (var + eps <= 0).any():
        raise ModelError(f"node {b.node!r}: a variance of a batch normalisation is not positive.")
    factor = gamma / np.sqrt(var + eps)
    lift = (-1, *(1,) * (len(x.shape) - 1))
    b.notice("Batch normalisation became a scale and a shift per channel, each rounded once to float64.")
    return b.add(Scale(tensor(factor).reshape(lift), tensor(beta - mean * factor).reshape(lift), x.shape), x)


# -- convolutions -----------------------------------------------------------------------------------------------------


def conv(
    b: Builder,
    x: Var,
    weight: np.ndarray,
    bias: np.ndarray | None,
    *,
    stride: Shape,
    padding: Pairs,
    dilation: Shape,
    groups: int,
) -> Var:
    """Convolution over the axes after the channels."""
    spatial, x = len(stride), batched(b, x)
    if spatial not in (1, 2):
        raise b.refuse(f"it is a convolution over {spatial} axes; plica reads one and two.")
    check_steps(b, stride, dilation, padding, groups)
    if len(x.shape) != spatial + 1 or x.shape[0] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ShapeError(f"node {b.node!r}: a kernel {tuple(weight.shape)} meets a value of shape {x.original}.")
    if bias is not None and np.size(bias) != weight.shape[0]:
        raise ShapeError(f"node {b.node!r}: a bias of {np.size(bias)} numbers for {weight.shape[0]} channels.")
    offset = None if bias is None else tensor(bias).reshape(-1, *(1,) * spatial)
    op = Conv(tensor(weight), offset, x.shape, tuple(stride), padding, tuple(dilation), groups)
    if min(op.shape(x.shape)) < 1:
        raise ShapeError(f"node {b.node!r}: a kernel {tuple(weight.shape)} does not fit into a value of {x.original}.")
    return b.add(op, x)


def check_steps(b: Builder, stride: Shape, dilation: Shape, padding: Pairs, groups: int) -> None:
    """Refuse strides, dilations and groups below 1, and padding below 0."""
    sizes, pads = (*stride, *dilation, groups), [p for pair in padding for p in pair]
    if min(sizes) < 1 or max(sizes) >= 1 << 31 or min(pads, default=0) < 0:
        given = f"strides {tuple(stride)}, dilations {tuple(dilation)}, padding {tuple(padding)}, {groups} groups"
        raise b.refuse(f"it has {given}; plica reads positive ones, and padding of 0 or more.")


def conv_transpose(
    b: Builder,
    x: Var,
    weight: np.ndarray,
    bias: np.ndarray | None,
    *,
    stride: Shape,
    padding: Pairs,
    dilation: Shape,
    groups: int,
    output: Shape,
) -> Var:
    """Transposed convolution to a given output size; weight has shape (c_in, c_out / groups, *kernel)."""
    shape = (weight.shape[1] * groups, *output)
    b.check_size(shape)
    check_steps(b, stride, dilation, padding, groups)
    if weight.shape[0] % groups or min(shape, default=1) < 1:
        raise ShapeError(f"node {b.node!r}: a kernel {tuple(weight.shape)} in {groups} groups cannot make {shape}.")
    forward = Conv(tensor(weight), None, shape, tuple(stride), padding, tuple(dilation), groups)
    if len(x.shape) not in (2, 3) or len(output) != len(x.shape) - 1 or forward.shape(shape) != x.shape:
        raise ShapeError(f"node {b.node!r}: a transposed convolution cannot map {x.original} to {shape}.")
    if bias is not None and np.size(bias) != shape[0]:
        raise ShapeError(f"node {b.node!r}: a bias of {np.size(bias)} numbers for {shape[0]} channels.")
    offset = None if bias is None else tensor(bias).reshape(-1, *(1,) * len(output))
    return b.add(Transposed(forward, offset, shape), x)


# -- sums and means over axes -----------------------------------------------------------------------------------------


def mean_over(b: Builder, x: Var, axes: Sequence[int] | None, keep: bool) -> Var:
    """Mean over axes of the original; None for all."""
    count = math.prod(n for i, n in enumerate(x.original) if axes is None or i in {a % x.rank for a in axes})
    total = total_over(b, x, axes, keep)
    return b.add(Scale(tensor(1.0), None, total.shape, tensor(float(count))), total)


def total_over(b: Builder, x: Var, axes: Sequence[int] | None, keep: bool) -> Var:
    """Sum over axes of the original; None for all."""
    x, inner = along_all(b, x, axes)
    rest = [a for a in range(len(x.shape)) if a not in inner]
    index = places(x).transpose([*rest, *inner])
    shape = index.shape[: len(rest)]
    rows = pick(b, x, index.reshape(*shape, -1), suffix=".join")
    total = b.add(Dense(torch.ones(1, rows.shape[-1], dtype=torch.float64), None, rows.shape), rows, suffix=".sum")
    return flat(b, total, kept_shape(x.shape, inner, keep), ".shape")


def kept_shape(shape: Shape, inner: Sequence[int], keep: bool) -> Shape:
    """Shape after work over some axes: kept as ones, or dropped."""
    return tuple(1 if a in inner else n for a, n in enumerate(shape) if keep or a not in inner)
