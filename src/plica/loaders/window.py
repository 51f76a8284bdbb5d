"""Which max-pooling layer of torch a group of units is."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from plica.core.affine import Shape
from plica.core.choice import MaxOver, windows
from plica.loaders.lower import ceil_padding

Axis = tuple[int, int, int]  # stride, dilation, padding


def max_pool_of(op: MaxOver) -> nn.MaxPool1d | nn.MaxPool2d | None:
    """The layer that takes exactly the maxima of a node; None where there is none."""
    spatial = len(op.input_shape) - 1
    if spatial not in (1, 2) or len(op.output_shape) != spatial + 1 or op.output_shape[0] != op.input_shape[0]:
        return None
    for kernel in _kernels(op.index.shape[1], op.input_shape[1:]):
        axes = _axes(op, kernel)
        if axes is not None:
            stride, dilation, padding = (tuple(a[i] for a in axes) for i in range(3))
            for ceil in (False, True):
                if _fits(op, kernel, (stride, dilation, padding), ceil=ceil):
                    kind: Any = nn.MaxPool1d if spatial == 1 else nn.MaxPool2d
                    return kind(kernel, stride, padding, dilation, ceil_mode=ceil)
    return None


def _kernels(count: int, size: Shape) -> list[Shape]:
    """Window shapes of a number of places."""
    if len(size) == 1:
        return [(count,)]
    return [(k, count // k) for k in range(1, count + 1) if count % k == 0]


def _axes(op: MaxOver, kernel: Shape) -> list[Axis] | None:
    """Stride, dilation and padding per axis as the first channel's places have them: place = o stride + k dilation - p.

    Read off from places that lie in the input. A single window has a stride that leaves room for no other.
    """
    size, out = op.input_shape[1:], op.output_shape[1:]
    index = op.index.reshape(op.output_shape[0], *out, *kernel)[0]
    axes = []
    for axis in range(len(size)):
        own = torch.where(index >= 0, index if len(size) == 1 else (index // size[1], index % size[1])[axis], -1)
        table = (
            own.movedim((axis, len(out) + axis), (0, 1)).reshape(out[axis], kernel[axis], -1).amax(2)
        )  # places by window and by offset
        stride, dilation = _step(table, 0, size[axis]), _step(table, 1, 1)
        at = (table >= 0).nonzero()
        if len(at) == 0:
            return None
        window, offset = at[0].tolist()
        padding = window * stride + offset * dilation - int(table[window, offset])
        axes.append((stride, dilation, padding))
    return axes


def _step(table: torch.Tensor, axis: int, unseen: int) -> int:
    """Distance of neighbours along an axis of a table of places."""
    n = table.shape[axis]
    first, second = table.narrow(axis, 0, n - 1), table.narrow(axis, 1, n - 1)
    both = (first >= 0) & (second >= 0)
    return int((second - first)[both][0]) if bool(both.any()) else unseen


def _fits(op: MaxOver, kernel: Shape, settings: tuple[Shape, ...], *, ceil: bool) -> bool:
    """Whether a layer has the very places of the node, and torch allows it."""
    stride, dilation, padding = settings
    if min(*stride, *dilation) < 1 or any(not 0 <= 2 * p <= k for p, k in zip(padding, kernel, strict=True)):
        return False
    pads = tuple((p, p) for p in padding)
    if ceil:
        pads = ceil_padding(op.input_shape[1:], kernel, stride, pads, dilation)
    sizes = zip(op.input_shape[1:], pads, kernel, stride, dilation, strict=True)
    if tuple((n + low + high - d * (k - 1) - 1) // s + 1 for n, (low, high), k, s, d in sizes) != op.output_shape[1:]:
        return False
    same = windows(op.input_shape, kernel, stride=stride, padding=pads, dilation=dilation)
    return torch.equal(same.index, op.index.to(same.index.device))
