"""Choices: clip, maximum and minimum, sorting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from plica.core.affine import Concat, Scale
from plica.core.choice import MaxOver, Piecewise, clip, leaky_relu, relu
from plica.errors import ShapeError
from plica.loaders.lower.affine import kept_shape
from plica.loaders.lower.builder import Builder, Value, Var, numbers, tensor
from plica.loaders.lower.moves import aligned, along, along_all, expand, flat, pick, places, unbatched_constant

MAX_SORTED = 64  # entries sorted against each other; the network of exchanges grows with the square


def leaky(b: Builder, x: Var, slope: np.ndarray | float) -> Var:
    """X above 0, slope * x below; a slope for all entries, or an array that fits the shape."""
    slopes = numbers(b, slope, "slope")
    if slopes.ndim > len(x.shape) or np.broadcast_shapes(slopes.shape, x.shape) != x.shape:
        raise ShapeError(f"node {b.node!r}: slopes of shape {slopes.shape} meet a value of shape {x.original}.")
    return b.add(leaky_relu(x.shape, tensor(slopes)), x)


def clipped(b: Builder, x: Var, low: float, high: float) -> Var:
    """Clip, with limits of +-3.4e38 (float32's largest) read as none."""
    low = -math.inf if low <= np.finfo(np.float32).min else low
    high = math.inf if high >= np.finfo(np.float32).max else high
    if math.isnan(low) or math.isnan(high) or low > high:
        raise ShapeError(f"node {b.node!r} clips to [{low}, {high}], which is empty.")
    if math.isinf(low) and math.isinf(high):
        return x
    if low == high:
        return pick(b, x, np.full(x.shape, -1), np.full(x.shape, low))
    return b.add(relu(x.shape) if (low, high) == (0.0, math.inf) else clip(x.shape, low, high), x)


# -- maximum and minimum ----------------------------------------------------------------------------------------------


def largest(b: Builder, terms: Sequence[Value]) -> Var:
    """Entrywise maximum of values and constants, broadcast against each other; the first value wins a tie."""
    values = [t for t in terms if isinstance(t, Var)]
    out = values[0] if len(values) == 1 else _largest_of(b, aligned(b, values))
    for constant in (t for t in terms if not isinstance(t, Var)):
        out = _bounded(b, out, constant, upper=False)
    return out


def smallest(b: Builder, terms: Sequence[Value]) -> Var:
    """Entrywise minimum of values and constants: of several values, -max(-x)."""
    values = [t for t in terms if isinstance(t, Var)]
    out = values[0]
    if len(values) > 1:
        out = _minus(b, _largest_of(b, [_minus(b, t) for t in aligned(b, values)]))
    for constant in (t for t in terms if not isinstance(t, Var)):
        out = _bounded(b, out, constant, upper=True)
    return out


def _largest_of(b: Builder, terms: Sequence[Var]) -> Var:
    shape = np.broadcast_shapes(*(t.shape for t in terms))
    size = math.prod(shape)
    rows = [flat(b, expand(b, t, shape), (size,), ".flat") for t in terms]
    joined = b.add(Concat(0, ((size,),) * len(rows)), *rows, suffix=".concat")
    index = torch.arange(size)[:, None] + size * torch.arange(len(rows))
    return b.add(MaxOver(index, joined.shape, tuple(shape)), joined)


def _bounded(b: Builder, x: Var, constant: Any, *, upper: bool) -> Var:
    """min(x, constant) or max(x, constant)."""
    if np.size(constant) == 1 and np.ndim(constant) <= x.rank:
        limit = float(np.reshape(constant, ()))
        return clipped(b, x, -math.inf if upper else limit, limit if upper else math.inf)
    limits = tensor(unbatched_constant(b, x, np.asarray(constant)))
    x = expand(b, x, np.broadcast_shapes(x.shape, tuple(limits.shape)))
    zero = torch.zeros_like(limits)
    name, slopes, levels = "max", (zero, zero + 1), (limits, zero)
    if upper:
        name, slopes, levels = "min", slopes[::-1], levels[::-1]
    return b.add(Piecewise(name, limits[None], torch.stack(slopes), torch.stack(levels), x.shape), x)


def largest_over(b: Builder, x: Var, axes: Sequence[int] | None, keep: bool) -> Var:
    """Maximum over axes of the original: max-pooling over everything, or a maxout unit."""
    x, inner = along_all(b, x, axes)
    rest = [a for a in range(len(x.shape)) if a not in inner]
    groups = places(x).transpose([*rest, *inner]).reshape(math.prod(x.shape[a] for a in rest), -1)
    return b.add(MaxOver(_index(groups), x.shape, kept_shape(x.shape, inner, keep)), x)


def smallest_over(b: Builder, x: Var, axes: Sequence[int] | None, keep: bool) -> Var:
    """Minimum over axes of the original."""
    return _minus(b, largest_over(b, _minus(b, x), axes, keep))


def _minus(b: Builder, x: Var) -> Var:
    return b.add(Scale(tensor(-1.0), None, x.shape), x, suffix=".minus")


def _index(groups: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(groups, dtype=np.int64))


# -- sorting ----------------------------------------------------------------------------------------------------------


def sorted_along(b: Builder, x: Var, axis: int, descending: bool) -> Var:
    """Sort along an axis of the original by a network of exchanges (odd-even transposition): group sort, MaxMin."""
    x, inner = along(b, x, axis)
    n, turned = x.shape[inner], np.moveaxis(places(x), inner, -1)
    if n > MAX_SORTED:
        raise b.refuse(f"it sorts {n} entries against each other; plica reads up to {MAX_SORTED}.")
    count = turned[..., 0].size
    rows = pick(b, x, turned.reshape(count, n), suffix=".rows")
    for step in range(n):
        rows = _exchange(b, rows, step % 2, descending)
    back = np.moveaxis(np.arange(count * n).reshape(turned.shape), -1, inner)
    return pick(b, rows, back)


def topmost(b: Builder, x: Var, count: int, axis: int, *, largest: bool = True) -> Var:
    """The largest (or smallest) entries along an axis of the original, in order."""
    if count == 1:
        return (largest_over if largest else smallest_over)(b, x, [axis], True)
    x, inner = along(b, x, axis)
    if not 1 <= count <= x.shape[inner]:
        raise ShapeError(f"node {b.node!r} asks for {count} of {x.shape[inner]} entries.")
    ordered = sorted_along(b, x, inner + x.batch, largest)
    return pick(b, ordered, np.take(places(ordered), range(count), inner))


def _exchange(b: Builder, rows: Var, start: int, descending: bool) -> Var:
    """Put neighbours (start, start + 1), (start + 2, start + 3), ... of the last axis in order."""
    count, n = rows.shape
    first = np.arange(start, n - 1, 2)
    if len(first) == 0:
        return rows
    at = places(rows)
    groups = _index(np.stack([at[:, first].ravel(), at[:, first + 1].ravel()], axis=1))
    shape = (count, len(first))
    top = b.add(MaxOver(groups, rows.shape, shape), rows, suffix=".max")
    bottom = _minus(b, b.add(MaxOver(groups, rows.shape, shape), _minus(b, rows), suffix=".min"))
    joined = b.add(Concat(1, (rows.shape, shape, shape)), rows, top, bottom, suffix=".concat")
    source = np.arange(n)
    source[first] = n + np.arange(len(first)) + (0 if descending else len(first))
    source[first + 1] = n + np.arange(len(first)) + (len(first) if descending else 0)
    return pick(b, joined, places(joined)[:, source], suffix=".swap")
