"""Pooling: windows of any size, overlap and padding, and adaptive windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

from plica.core.affine import Scale, Shape
from plica.core.choice import MaxOver, windows
from plica.core.conv import Conv
from plica.errors import ShapeError
from plica.loaders.lower.affine import check_steps, dense, quotient
from plica.loaders.lower.builder import Builder, Pairs, Var, tensor
from plica.loaders.lower.moves import batched, pick, places


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
    x = batched(b, x)
    _check_window(b, x, kernel, padding)
    op = windows(x.shape, tuple(kernel), stride=tuple(stride), padding=padding, dilation=tuple(dilation))
    if (op.index < 0).all(1).any():
        raise ShapeError(f"node {b.node!r}: a pooling window lies wholly in the padding of its input {x.original}.")
    return b.add(op, x)


def _check_window(b: Builder, x: Var, kernel: Shape, padding: Pairs) -> None:
    if len(x.shape) != len(kernel) + 1:
        raise ShapeError(f"node {b.node!r}: a window {tuple(kernel)} meets a value of shape {x.original}.")
    b.check_size([x.shape[0], *(n + low + high for n, (low, high) in zip(x.shape[1:], padding, strict=True))])
    b.check_size(kernel)


def average_pool(
    b: Builder,
    x: Var,
    kernel: Shape,
    *,
    stride: Shape,
    padding: Pairs,
    dilation: Shape,
    counted: Pairs | None,
    divisor: int | None = None,
) -> Var:
    """Average pooling: sums by a convolution with ones, divided by the number of places of every window.

    `counted` is the padding whose zeros count as places: None for none of it.
    """
    x = batched(b, x)
    check_steps(b, stride, dilation, padding, 1)
    _check_window(b, x, kernel, padding)
    channels = x.shape[0]
    ones = torch.ones(channels, 1, *kernel, dtype=torch.float64)
    sums = Conv(ones, None, x.shape, tuple(stride), padding, tuple(dilation), channels)
    total = b.add(sums, x, suffix=".sum")
    if divisor is None:
        counts = _counts(sums, counted or ((0, 0),) * len(kernel))
    else:
        counts = np.full((1,) * len(x.shape), float(divisor))
    return b.add(Scale(tensor(1.0), None, total.shape, tensor(counts)), total)


def _counts(sums: Conv, counted: Pairs) -> np.ndarray:
    """Places of every window that lie in the input or in counted padding; one number if all are equal."""
    size = sums.input_shape[1:]
    inside = np.pad(np.ones((1, 1, *size)), [(0, 0), (0, 0), *counted], constant_values=1.0)
    rest = tuple((p[0] - c[0], p[1] - c[1]) for p, c in zip(sums.padding, counted, strict=True))
    op = Conv(sums.weight[:1], None, inside.shape[1:], sums.stride, rest, sums.dilation)
    counts = op.apply(tensor(inside))[0].numpy()
    return counts.reshape(-1)[:1].reshape((1,) * counts.ndim) if (counts == counts.flat[0]).all() else counts


def _cells(n: int, m: int) -> list[tuple[int, int]]:
    """Start and end of the m windows of an adaptive pool over n places."""
    return [(i * n // m, -((-(i + 1) * n) // m)) for i in range(m)]


def adaptive_average(b: Builder, x: Var, sizes: Sequence[int | None]) -> Var:
    """Adaptive average pooling, axis by axis: windows may have different sizes."""
    for axis, m in enumerate(sizes, len(x.shape) - len(sizes)):
        n = x.shape[axis]
        if m not in (None, n):
            x = _adaptive_axis(b, x, axis, _cells(n, int(m)))
    return x


def _adaptive_axis(b: Builder, x: Var, axis: int, cells: list[tuple[int, int]]) -> Var:
    weight = np.zeros((len(cells), x.shape[axis]))
    for row, (start, end) in enumerate(cells):
        weight[row, start:end] = 1.0
    turned = pick(b, x, np.moveaxis(places(x), axis, -1), suffix=".turn")
    total = dense(b, turned, weight)
    back = pick(b, total, np.moveaxis(places(total), -1, axis), suffix=".back")
    counts = np.array([end - start for start, end in cells], dtype=np.float64)
    return quotient(b, back, counts.reshape(-1, *(1,) * (len(back.shape) - 1 - axis)))


def adaptive_max(b: Builder, x: Var, sizes: Sequence[int | None]) -> Var:
    """Adaptive max-pooling: one group of places per window."""
    lead = len(x.shape) - len(sizes)
    place = places(x).reshape(-1, *x.shape[lead:])
    counts = [n if m is None else int(m) for n, m in zip(x.shape[lead:], sizes, strict=True)]
    cells = [_cells(n, m) for n, m in zip(x.shape[lead:], counts, strict=True)]
    boxes = [place[(slice(None), *(slice(*c) for c in box))].reshape(len(place), -1)
             for box in itertools.product(*cells)]  # fmt: skip
    width = max(g.shape[1] for g in boxes)
    rows = [np.pad(g, [(0, 0), (0, width - g.shape[1])], constant_values=-1) for g in boxes]
    index = np.stack(rows, axis=1).reshape(len(place) * math.prod(counts), width)
    return b.add(MaxOver(torch.from_numpy(index), x.shape, (*x.shape[:lead], *counts)), x)
