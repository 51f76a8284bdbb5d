"""Directions pushed through an affine network on the boxes where they are not zero.

The columns of a convolutional Jacobian are zero outside the cone of their pixel. A `Slab` holds the values of a few
neighbouring columns on a box of a node's entries; a convolution is then computed on the box alone, which for the first
layers of an image network is a tenth of the work.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from plica.core.affine import Affine, Scale, Shape, Sum
from plica.core.conv import Conv
from plica.core.network import Network
from plica.core.pattern import direct_convolutions

CHUNK = 192  # columns pushed at once, about
TILE = 4  # side of a tile of pixels whose columns are pushed together


@dataclass(frozen=True, eq=False)
class Slab:
    """Values of some columns on a box of a node's entries; zero outside.

    Attributes
    ----------
    values : Tensor, shape (columns, *box)
    corner : tuple of int
        Lowest index of the box per axis.
    shape : tuple of int
        Of the node.
    """

    values: Tensor
    corner: Shape
    shape: Shape

    @property
    def box(self) -> tuple[slice, ...]:
        """The box as slices of the node's axes."""
        return tuple(slice(a, a + n) for a, n in zip(self.corner, self.values.shape[1:], strict=True))

    def on(self, low: Shape, high: Shape) -> Tensor:
        """Values on another box, low <= index < high, which may reach over the node's border."""
        pads = []
        for a, n, lo, hi in zip(self.corner, self.values.shape[1:], low, high, strict=True):
            pads.append((a - lo, hi - a - n))
        if not any(map(any, pads)):
            return self.values
        return F.pad(self.values, [p for pair in reversed(pads) for p in pair])

    def whole(self) -> Tensor:
        """Values on all entries."""
        return self.on((0,) * len(self.shape), self.shape)


def slab_of(values: Tensor, *, local: bool) -> Slab:
    """Slab of values on all entries; `local` looks for the box where they are not zero."""
    shape = tuple(values.shape[1:])
    if not local or len(shape) < 2 or not values.numel():
        return Slab(values, (0,) * len(shape), shape)
    touched = (values != 0).any(0)
    corner, box = [], []
    for axis in range(len(shape)):
        others = [a for a in range(len(shape)) if a != axis]
        places = torch.nonzero(touched.any(dim=others)).flatten()
        low, high = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 1)
        corner.append(low)
        box.append(slice(low, high))
    return Slab(values[(slice(None), *box)], tuple(corner), shape)


def push_node(op: Affine, slabs: list[Slab], *, local: bool) -> Slab:
    """The linear part of a node, on the boxes that matter."""
    first = slabs[0]
    if isinstance(op, Conv):
        return _convolve(op, first)
    if isinstance(op, Scale):
        return Slab(_cut(op, first).apply(first.values), first.corner, first.shape)
    if isinstance(op, Sum):
        low = tuple(min(s.corner[a] for s in slabs) for a in range(len(first.shape)))
        high = tuple(max(s.box[a].stop for s in slabs) for a in range(len(first.shape)))
        return Slab(op.apply(*(s.on(low, high) for s in slabs)), low, first.shape)
    return slab_of(op.apply(*(s.whole() for s in slabs)), local=local)


def _convolve(op: Conv, slab: Slab) -> Slab:
    """Convolution on the box of outputs that read the slab."""
    shape = op.shape(slab.shape)
    low, high, first, last = [0], [slab.shape[0]], [0], [shape[0]]
    for axis, (s, d, k) in enumerate(zip(op.stride, op.dilation, op.weight.shape[2:], strict=True), 1):
        before, reach, box = op.padding[axis - 1][0], d * (k - 1), slab.box[axis]
        start = max(0, -(-(box.start + before - reach) // s))
        stop = min(shape[axis], (box.stop - 1 + before) // s + 1)
        start, stop = (start, stop) if start < stop else (0, 1)  # between the windows: one output, which is zero
        first.append(start)
        last.append(stop)
        low.append(start * s - before)
        high.append((stop - 1) * s - before + reach + 1)
    inner = replace(op, padding=((0, 0),) * len(op.stride))
    return Slab(inner.apply(slab.on(tuple(low), tuple(high))), tuple(first), shape)


def _cut(op: Scale, slab: Slab) -> Scale:
    """The factors of a slab's box."""
    factor, divisor = (None if t is None else _of_box(t, slab) for t in (op.factor, op.divisor))
    return Scale(factor, None, op.input_shape, divisor)  # type: ignore[arg-type]


def _of_box(t: Tensor, slab: Slab) -> Tensor:
    """Entries of a tensor that is broadcast against (batch, *shape), on a slab's box."""
    axes = min(t.ndim, len(slab.shape))
    cuts: list = [slice(None) if t.shape[-i] == 1 else slab.box[-i] for i in range(axes, 0, -1)]
    return t[(..., *cuts)] if cuts else t


def push_slabs(frozen: Network, start: dict[str, Slab], last: str, *, local: bool) -> Iterator[tuple[str, Slab]]:
    """Slabs of all nodes up to `last`, in the order of the graph; nodes whose value is in `start` are not computed.

    Parameters
    ----------
    frozen : Network
        Affine nodes only.
    start : dict of str to Slab
        Values that the rest is computed from; they are not yielded.
    last : str
    local : bool
        Whether boxes are looked for.
    """
    values = dict(start)
    last_use = {name: i for i, node in enumerate(frozen.nodes) for name in node.inputs}
    with direct_convolutions():
        for i, node in enumerate(frozen.nodes):
            if last in values:
                return
            if node.name not in values and all(name in values for name in node.inputs):
                values[node.name] = push_node(node.op, [values[n] for n in node.inputs], local=local)  # type: ignore[arg-type]
                yield node.name, values[node.name]
            for name in node.inputs:
                if last_use[name] <= i:
                    values.pop(name, None)


def tiles(shape: Shape, chosen: np.ndarray) -> list[np.ndarray]:
    """Groups of neighbouring entries of an input, as flat indices; only entries `chosen` (boolean, flat)."""
    places = np.arange(math.prod(shape)).reshape(shape)
    if len(shape) < 2 or max(shape) <= TILE:
        flat = places.ravel()[chosen]
        return [flat[i : i + CHUNK] for i in range(0, len(flat), CHUNK)]
    axes = sorted(np.argsort(shape, kind="stable")[-2:].tolist()) if len(shape) > 2 else [int(np.argmax(shape))]
    side = TILE if len(axes) == 2 else TILE * TILE
    steps = [range(0, shape[a], side) for a in axes]
    found = []
    for corner in itertools.product(*steps):
        cut = [slice(None)] * len(shape)
        for a, c in zip(axes, corner, strict=True):
            cut[a] = slice(c, c + side)
        flat = places[tuple(cut)].ravel()
        flat = flat[chosen[flat]]
        found += [flat[i : i + CHUNK] for i in range(0, len(flat), CHUNK)]
    return found


def unit_slab(shape: Shape, columns: np.ndarray, device: torch.device) -> Slab:
    """Unit vectors of some input entries, on their common box."""
    places = np.stack(np.unravel_index(columns, shape)) if shape else np.zeros((0, len(columns)), dtype=np.int64)
    corner = places.min(1) if len(columns) else np.zeros(len(shape), dtype=np.int64)
    size = places.max(1) - corner + 1 if len(columns) else np.zeros(len(shape), dtype=np.int64)
    values = torch.zeros(len(columns), *size.tolist(), dtype=torch.float64, device=device)
    inside = np.ravel_multi_index(tuple(places - corner[:, None]), tuple(size.tolist())) if shape else 0
    values.reshape(len(columns), -1)[np.arange(len(columns)), inside] = 1.0
    return Slab(values, tuple(corner.tolist()), shape)
