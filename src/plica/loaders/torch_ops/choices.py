"""aten operations: activations, maxima, pooling, sorting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from plica.core.choice import absolute, relu, soft_threshold
from plica.loaders import lower
from plica.loaders.lower import Builder, Pairs, Value, Var
from plica.loaders.torch_ops.arguments import axes, each

# -- activations ------------------------------------------------------------------------------------------------------


def _relu(b: Builder, x: Var) -> Var:
    return b.add(relu(x.shape), x)


def _leaky(b: Builder, x: Var, slope: float = 0.01) -> Var:
    return lower.leaky(b, x, float(slope))


def _prelu(b: Builder, x: Var, weight: Value) -> Var:
    slope = lower.numbers(b, weight, "slope")
    return lower.leaky(b, x, slope.reshape(() if slope.size == 1 else (-1, *(1,) * (len(x.shape) - 1))))


def _rrelu(b: Builder, x: Var, low: float = 1 / 8, high: float = 1 / 3, training: bool = False, *_: Any) -> Var:
    if training:
        raise b.refuse("its slope is random. Put the module in evaluation mode.")
    return lower.leaky(b, x, (low + high) / 2)


def _clamp(b: Builder, x: Var, low: Value = None, high: Value = None, *, min: Value = None, max: Value = None) -> Var:
    low, high = low if min is None else min, high if max is None else max
    if all(v is None or isinstance(v, (int, float)) for v in (low, high)):
        return lower.clipped(b, x, -math.inf if low is None else float(low), math.inf if high is None else float(high))  # type: ignore[arg-type]
    if low is not None:
        x = lower.largest(b, [x, low])
    return x if high is None else lower.smallest(b, [x, high])


def _clamp_min(b: Builder, x: Var, low: Value) -> Var:
    return _clamp(b, x, low)


def _clamp_max(b: Builder, x: Var, high: Value) -> Var:
    return _clamp(b, x, None, high)


def _hardtanh(b: Builder, x: Var, low: float = -1.0, high: float = 1.0) -> Var:
    return lower.clipped(b, x, float(low), float(high))


def _relu6(b: Builder, x: Var) -> Var:
    return lower.clipped(b, x, 0.0, 6.0)


def _hardsigmoid(b: Builder, x: Var) -> Var:
    return lower.clipped(b, lower.quotient(b, lower.add(b, x, 3.0), 6.0), 0.0, 1.0)


def _abs(b: Builder, x: Var) -> Var:
    return b.add(absolute(x.shape), x)


def _softshrink(b: Builder, x: Var, width: float = 0.5) -> Var:
    return b.add(soft_threshold(x.shape, float(width)), x)


def _threshold(b: Builder, x: Var, level: float, value: float) -> Var:
    if level != value:
        raise b.refuse(f"it jumps from {value} to {level}; plica reads continuous functions.")
    return lower.clipped(b, x, float(level), math.inf)


# -- maximum and minimum ----------------------------------------------------------------------------------------------


def _extreme(work: Callable[..., Var]) -> Callable[..., Var]:
    return lambda b, x, y: work(b, [x, y])


def _of_axis_or_two(over: Callable[..., Var], of_two: Callable[..., Var]) -> Callable[..., Any]:
    """max(x) is over everything, max(x, dim) gives values and indices, max(x, y) is entrywise."""

    def extreme(b: Builder, x: Value, other: Any = None, keepdim: bool = False, *, dim: int | None = None) -> Any:
        if isinstance(other, (Var, np.ndarray)) or isinstance(x, np.ndarray):
            return of_two(b, [x, other])
        axis = other if dim is None else dim
        result = over(b, x, axes(axis), keepdim)
        return result if axis is None else (result, None)

    return extreme


def _over(work: Callable[..., Var]) -> Callable[..., Var]:
    return lambda b, x, dim=(), keepdim=False: work(b, x, axes(dim), keepdim)


def _sort(b: Builder, x: Var, dim: int = -1, descending: bool = False, *, stable: bool | None = None) -> tuple:
    return lower.sorted_along(b, x, dim, descending), None


def _top(b: Builder, x: Var, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple:
    return lower.topmost(b, x, k, dim, largest=largest), None


# -- pooling ----------------------------------------------------------------------------------------------------------


def _max_pool(count: int) -> Callable[..., Var]:
    def pool(b, x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False) -> Var:
        size = each(kernel, count)
        step, wide = each(stride, count) if stride else size, each(dilation, count)
        pads: Pairs = tuple((p, p) for p in each(padding, count))
        if ceil_mode:
            pads = lower.ceil_padding(x.shape[1:], size, step, pads, wide)
        return lower.max_pool(b, x, size, stride=step, padding=pads, dilation=wide)

    return pool


def _with_indices(work: Callable[..., Var]) -> Callable[..., tuple]:
    return lambda b, *arguments: (work(b, *arguments), None)


def _average_pool(count: int) -> Callable[..., Var]:
    def pool(b, x, kernel, stride=None, padding=0, ceil_mode=False, counts_padding=True, divisor=None) -> Var:
        size = each(kernel, count)
        step, unit = each(stride, count) if stride else size, (1,) * count
        pads: Pairs = tuple((p, p) for p in each(padding, count))
        return lower.average_pool(
            b,
            x,
            size,
            stride=step,
            padding=lower.ceil_padding(x.shape[1:], size, step, pads, unit) if ceil_mode else pads,
            dilation=unit,
            counted=pads if counts_padding else None,
            divisor=divisor,
        )

    return pool


def _adaptive(work: Callable[..., Any], count: int) -> Callable[..., Any]:
    return lambda b, x, output: work(b, x, list(output) if isinstance(output, (list, tuple)) else [output] * count)


LOWER: dict[str, Callable[..., Any]] = {
    "abs": _abs,
    "_adaptive_avg_pool2d": _adaptive(lower.adaptive_average, 2),
    "adaptive_avg_pool1d": _adaptive(lower.adaptive_average, 1),
    "adaptive_avg_pool2d": _adaptive(lower.adaptive_average, 2),
    "adaptive_max_pool1d": _with_indices(_adaptive(lower.adaptive_max, 1)),
    "adaptive_max_pool2d": _with_indices(_adaptive(lower.adaptive_max, 2)),
    "amax": _over(lower.largest_over),
    "amin": _over(lower.smallest_over),
    "avg_pool1d": _average_pool(1),
    "avg_pool2d": _average_pool(2),
    "clamp": _clamp,
    "clamp_max": _clamp_max,
    "clamp_min": _clamp_min,
    "clip": _clamp,
    "hardsigmoid": _hardsigmoid,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky,
    "max": _of_axis_or_two(lower.largest_over, lower.largest),
    "max_pool1d": _max_pool(1),
    "max_pool1d_with_indices": _with_indices(_max_pool(1)),
    "max_pool2d": _max_pool(2),
    "max_pool2d_with_indices": _with_indices(_max_pool(2)),
    "maximum": _extreme(lower.largest),
    "min": _of_axis_or_two(lower.smallest_over, lower.smallest),
    "minimum": _extreme(lower.smallest),
    "prelu": _prelu,
    "relu": _relu,
    "relu6": _relu6,
    "rrelu": _rrelu,
    "softshrink": _softshrink,
    "sort": _sort,
    "threshold": _threshold,
    "topk": _top,
}
