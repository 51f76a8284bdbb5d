"""aten operations: moving entries, and operations without effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from plica.loaders import lower
from plica.loaders.lower import Builder, Operand, Value, Var
from plica.loaders.torch_ops.arguments import BatchSize, axes, sizes

# -- joining and splitting --------------------------------------------------------------------------------------------


def _cat(b: Builder, terms: Sequence[Operand], dim: int = 0) -> Var:
    return lower.concat(b, terms, dim)


def _stack(b: Builder, terms: Sequence[Operand], dim: int = 0) -> Var:
    lifted = [lower.unsqueeze(b, t, [dim]) if isinstance(t, Var) else np.expand_dims(t, dim) for t in terms]
    return lower.concat(b, lifted, dim)


def _split(b: Builder, x: Var, size: Any, dim: int = 0) -> list[Var]:
    ends = np.cumsum(size)[:-1] if isinstance(size, (list, tuple)) else range(size, x.original[dim], size)
    return lower.split(b, x, list(ends), dim)


def _chunk(b: Builder, x: Var, chunks: int, dim: int = 0) -> list[Var]:
    return _split(b, x, -(-x.original[dim] // chunks), dim)


def _unbind(b: Builder, x: Var, dim: int = 0) -> list[Var]:
    return [lower.indexed(b, x, i, dim) for i in range(x.original[dim])]


# -- picking ----------------------------------------------------------------------------------------------------------


def _slice(b: Builder, x: Var, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Var:
    end = None if isinstance(end, BatchSize) else end
    return lower.sliced(b, x, [(dim, slice(start, end, step))])


def _narrow(b: Builder, x: Var, dim: int, start: int, length: int) -> Var:
    start %= x.original[dim]
    return _slice(b, x, dim, start, length if start == 0 else start + length)


def _select(b: Builder, x: Var, dim: int, index: int) -> Var:
    return lower.indexed(b, x, index, dim)


def _index_select(b: Builder, x: Var, dim: int, index: Any) -> Var:
    if isinstance(index, Var):
        raise b.refuse("its indices depend on the input.")
    return lower.indexed(b, x, index, dim)


def _index(b: Builder, x: Var, indices: Sequence[Any]) -> Var:
    if any(isinstance(i, Var) for i in indices) or (x.batch and indices and indices[0] is not None):
        raise b.refuse("its indices depend on the input or pick from the batch.")
    key = tuple(slice(None) if i is None else i for i in indices)
    index = lower.places(x).reshape(x.original)[key]
    if x.batch and len(index) != 1:  # separated index arrays put the axes they make in front of the batch
        raise b.refuse("its index arrays are apart, which moves the batch axis.")
    return lower.pick(b, x, index[0] if x.batch else index)


def _flip(b: Builder, x: Var, dims: Any) -> Var:
    return lower.sliced(b, x, [(d, slice(None, None, -1)) for d in axes(dims) or []])


def _roll(b: Builder, x: Var, shifts: Any, dims: Any = ()) -> Var:
    for shift, dim in zip(axes(shifts) or [], axes(dims) or [], strict=True):
        n = x.original[dim]
        x = lower.indexed(b, x, (np.arange(n) - shift) % n, dim)
    return x


def _repeat(b: Builder, x: Var, *repeats: Any) -> Var:
    counts = [int(n) for n in sizes(repeats)]
    if x.batch and (len(counts) != x.rank or counts[0] != 1):
        raise b.refuse("it repeats the batch axis.")
    return lower.pick(b, x, np.tile(lower.places(x), counts[int(x.batch) :]))


# -- shapes -----------------------------------------------------------------------------------------------------------


def _permute(b: Builder, x: Var, *order: Any) -> Var:
    return lower.transpose(b, x, sizes(order))


def _transpose(b: Builder, x: Var, first: int = 0, second: int = 1) -> Var:
    order = list(range(x.rank))
    order[first], order[second] = order[second], order[first]
    return lower.transpose(b, x, order)


def _flatten(b: Builder, x: Var, start: int = 0, end: int = -1) -> Var:
    start, end = start % x.rank, end % x.rank
    joined = math.prod(x.original[start : end + 1])
    if x.batch and start == 0 and end > 0:
        return lower.reshape(b, x, (joined, *x.original[end + 1 :]))
    return lower.reshape(b, x, (*x.original[:start], joined, *x.original[end + 1 :]))


def _view(b: Builder, x: Var, *shape: Any) -> Var:
    return lower.reshape(b, x, sizes(shape))


def _like_other(work: Callable[..., Var]) -> Callable[..., Any]:
    """An operation that takes its shape from another value."""

    def like(b: Builder, x: Operand, other: Operand) -> Any:
        shape = list(other.original if isinstance(other, Var) else other.shape)
        if isinstance(x, Var):
            return work(b, x, shape)
        return torch.from_numpy(np.array(np.broadcast_to(x, shape) if work is _expand else x.reshape(shape)))

    return like


def _movedim(b: Builder, x: Var, source: Any, target: Any) -> Var:
    moved = [a % x.rank for a in axes(source) or []]
    rest = [a for a in range(x.rank) if a not in moved]
    for place, axis in sorted(zip([a % x.rank for a in axes(target) or []], moved, strict=True)):
        rest.insert(place, axis)
    return lower.transpose(b, x, rest)


def _unflatten(b: Builder, x: Var, dim: int, shape: Sequence[int]) -> Var:
    dim %= x.rank
    rest = math.prod(n for n in shape if n != -1)
    full = [x.original[dim] // rest if n == -1 else n for n in shape]
    return lower.reshape(b, x, (*x.original[:dim], *full, *x.original[dim + 1 :]))


def _squeeze(b: Builder, x: Var, dim: Any = None) -> Var:
    dims = axes(dim)
    if dims is None:
        return lower.squeeze(b, x, None)
    return lower.squeeze(b, x, [d for d in dims if x.original[d] == 1 and not (x.batch and d % x.rank == 0)])


def _unsqueeze(b: Builder, x: Var, dim: int) -> Var:
    return lower.unsqueeze(b, x, [dim])


def _expand(b: Builder, x: Var, *shape: Any, implicit: bool = False) -> Var:
    target = sizes(shape)
    own = (1,) * (len(target) - x.rank) + x.original
    full = tuple(o if n == -1 else int(n) for n, o in zip(target, own, strict=True))
    if x.batch and (len(full) != x.rank or full[0] != 1):
        raise b.refuse(f"it expands {x.original} to {tuple(target)}, over the batch axis.")
    return lower.expand(b, x, full[1:] if x.batch else full)


def _pad(b: Builder, x: Var, pads: Sequence[int], mode: str = "constant", value: float | None = None) -> Var:
    widths = [(0, 0)] * x.rank
    for k in range(len(pads) // 2):
        widths[-1 - k] = (int(pads[2 * k]), int(pads[2 * k + 1]))
    if x.batch and widths[0] != (0, 0):
        raise b.refuse("it pads the batch axis.")
    return lower.pad(b, x, widths[int(x.batch) :], mode=mode, value=float(value or 0.0))


def _pad_mode(mode: str) -> Callable[..., Var]:
    return lambda b, x, pads: _pad(b, x, pads, mode)


def _constant_pad(b: Builder, x: Var, pads: Sequence[int], value: float = 0.0) -> Var:
    return _pad(b, x, pads, "constant", value)


def _size(b: Builder, x: Var, dim: int | None = None) -> Any:
    shape = (BatchSize(), *x.shape) if x.batch else x.shape
    return shape if dim is None else shape[dim]


# -- nothing ----------------------------------------------------------------------------------------------------------


def _without_effect(name: str) -> Callable[..., Value]:
    def identity(b: Builder, x: Value, *_: Any, **__: Any) -> Value:
        if "dropout" in name:
            b.without_effect["dropout"] += 1
        return x

    return identity


IDENTITIES = (
    *("alias", "alpha_dropout", "clone", "contiguous", "detach", "dropout", "feature_alpha_dropout", "feature_dropout"),
    *("lift_fresh_copy", "positive"),
)

LOWER: dict[str, Callable[..., Any]] = {name: _without_effect(name) for name in IDENTITIES} | {
    "_unsafe_view": _view,
    "cat": _cat,
    "chunk": _chunk,
    "constant_pad_nd": _constant_pad,
    "expand": _expand,
    "expand_as": _like_other(_expand),
    "flatten": _flatten,
    "flip": _flip,
    "index": _index,
    "index_select": _index_select,
    "movedim": _movedim,
    "narrow": _narrow,
    "numpy_T": lambda b, x: lower.transpose(b, x, list(range(x.rank))[::-1]),
    "pad": _pad,
    "permute": _permute,
    "reflection_pad1d": _pad_mode("reflect"),
    "reflection_pad2d": _pad_mode("reflect"),
    "repeat": _repeat,
    "replication_pad1d": _pad_mode("replicate"),
    "replication_pad2d": _pad_mode("replicate"),
    "reshape": _view,
    "reshape_as": _like_other(_view),
    "roll": _roll,
    "select": _select,
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "swapaxes": _transpose,
    "sym_size": _size,
    "t": _transpose,
    "transpose": _transpose,
    "unbind": _unbind,
    "unflatten": _unflatten,
    "unsqueeze": _unsqueeze,
    "view": _view,
    "view_as": _like_other(_view),
}
