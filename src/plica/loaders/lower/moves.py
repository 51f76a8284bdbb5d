"""Operations that move entries: reshape, transpose, pick, pad, join, split; and what keeps the batch axis in front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from plica.core.affine import Concat, Gather, Shape
from plica.errors import ShapeError
from plica.loaders.lower.builder import Builder, Operand, Var, numbers, tensor

PADDING = {"reflect": "reflect", "edge": "edge", "replicate": "edge", "wrap": "wrap", "circular": "wrap"}


# -- the batch axis ---------------------------------------------------------------------------------------------------


def opened(b: Builder, x: Var) -> Var:
    """The value with its batch axis as an axis like any other: only where that axis always has one entry."""
    if not x.batch:
        return x
    if not b.fixed:
        raise b.refuse("it works along the batch axis. plica reads networks that treat every input on its own.")
    return Var(flat(b, x, x.original, ".batch").name, x.original, False)


def batched(b: Builder, x: Var) -> Var:
    """The value with a first axis of one entry as its batch axis."""
    if x.batch or not x.shape or x.shape[0] != 1:
        return x
    return Var(flat(b, x, x.shape[1:], ".batch").name, x.shape[1:], True)


def along(b: Builder, x: Var, axis: int) -> tuple[Var, int]:
    """A value that can be worked on along an axis of the original, and that axis in its shape."""
    if not -x.rank <= axis < x.rank:
        raise ShapeError(f"node {b.node!r}: axis {axis} of a value of rank {x.rank}.")
    axis %= x.rank
    if x.batch and axis == 0:
        return opened(b, x), 0
    return x, axis - x.batch


def along_all(b: Builder, x: Var, axes: Sequence[int] | None) -> tuple[Var, list[int]]:
    """The same for several axes; None for all of them."""
    wanted = list(range(x.rank)) if axes is None else [int(a) for a in axes]
    if any(not -x.rank <= a < x.rank for a in wanted):
        raise ShapeError(f"node {b.node!r}: axes {tuple(wanted)} of a value of rank {x.rank}.")
    if x.batch and any(a % x.rank == 0 for a in wanted):
        rank, x = x.rank, opened(b, x)
        return x, sorted({a % rank for a in wanted})
    return x, sorted({a % x.rank - x.batch for a in wanted})


def aligned(b: Builder, terms: Sequence[Var]) -> list[Var]:
    """Values of one kind, all with a batch axis or all without, fit to be broadcast against each other."""
    if len({t.batch for t in terms}) > 1:
        rank = max(t.rank for t in terms)
        terms = [t if t.batch else batched(b, t) if t.rank == rank else Var(t.name, t.shape, True) for t in terms]
        if not all(t.batch for t in terms):
            terms = [opened(b, t) for t in terms]
    if terms[0].batch and not b.fixed and len({t.rank for t in terms}) > 1:
        raise b.refuse("it joins values of different rank, which moves the batch axis of one of them.")
    return list(terms)


def unbatched_constant(b: Builder, x: Var, values: np.ndarray, what: str = "constant") -> np.ndarray:
    """A constant operand without the batch axis it may carry."""
    array = numbers(b, values, what)
    if x.batch and array.ndim >= x.rank:
        if array.ndim > x.rank or array.shape[0] != 1:
            raise b.refuse(f"a constant of shape {array.shape} reaches over the batch axis.")
        array = array[0]
    return array


# -- shapes -----------------------------------------------------------------------------------------------------------


def flat(b: Builder, x: Var, shape: Shape, suffix: str = "") -> Var:
    """Reshape by shape without batch axis."""
    return x if x.shape == tuple(shape) else b.add(Gather(None, x.shape, tuple(shape)), x, suffix=suffix)


def reshape(b: Builder, x: Var, target: Sequence[int]) -> Var:
    """Reshape to an original shape, which may hold one -1; the batch axis must stay in front."""
    given = [int(t) for t in target]
    size = math.prod(x.shape)
    rest = math.prod(t for t in given if t != -1)
    wanted = tuple(size // rest if t == -1 and rest else t for t in given)
    if math.prod(wanted) != size or min(wanted, default=1) < 1 or given.count(-1) > 1:
        raise b.refuse(f"it reshapes {x.original} to {tuple(given)}, which does not keep every input on its own.")
    if not x.batch:
        return flat(b, x, wanted)
    if wanted and wanted[0] == 1:
        return flat(b, x, wanted[1:])
    if not b.fixed:
        raise b.refuse(f"it reshapes {x.original} to {tuple(given)}, which does not keep the batch axis in front.")
    return flat(b, opened(b, x), wanted)


def squeeze(b: Builder, x: Var, axes: Sequence[int] | None) -> Var:
    """Drop axes of one entry; None for all but the batch."""
    if axes is None:
        return flat(b, x, tuple(n for n in x.shape if n != 1))
    x, inner = along_all(b, x, axes)
    if any(x.shape[a] != 1 for a in inner):
        raise ShapeError(f"node {b.node!r} drops axes {tuple(axes)} of a value of shape {x.original}.")
    return flat(b, x, tuple(n for a, n in enumerate(x.shape) if a not in inner))


def unsqueeze(b: Builder, x: Var, axes: Sequence[int]) -> Var:
    """Insert axes of one entry, at places of the result."""
    rank = x.rank + len(axes)
    new = {int(a) % rank for a in axes}
    if x.batch and 0 in new:
        x = opened(b, x)
    rest = iter(x.original)
    shape = tuple(1 if i in new else next(rest) for i in range(rank))
    return flat(b, x, shape[1:] if x.batch else shape)


def expand(b: Builder, x: Var, shape: Shape) -> Var:
    """Broadcast to a shape without batch axis."""
    b.check_size(shape)
    return x if x.shape == tuple(shape) else pick(b, x, np.broadcast_to(places(x), shape), suffix=".expand")


# -- entries ----------------------------------------------------------------------------------------------------------


def places(x: Var) -> np.ndarray:
    """Flat index of every entry, in the shape of x."""
    return np.arange(math.prod(x.shape)).reshape(x.shape)


def pick(b: Builder, x: Var, index: np.ndarray, bias: np.ndarray | None = None, suffix: str = "") -> Var:
    """Gather flat entries; -1 gives zero."""
    b.check_size(index.shape)
    entries = np.ascontiguousarray(index, dtype=np.int64).ravel()
    if bias is None and entries.size == math.prod(x.shape) and (entries == np.arange(entries.size)).all():
        return flat(b, x, index.shape, suffix)
    constant = None if bias is None else tensor(bias)
    return b.add(Gather(torch.from_numpy(entries), x.shape, tuple(index.shape), constant), x, suffix=suffix)


def constant(b: Builder, beside: Var, values: np.ndarray) -> Var:
    """A constant as a value beside another: zero times it, plus the constant."""
    inner = unbatched_constant(b, beside, values)
    return pick(b, beside, np.full(inner.shape, -1), inner, ".constant")


def transpose(b: Builder, x: Var, order: Sequence[int]) -> Var:
    """Permute axes of the original."""
    order = [int(a) % x.rank for a in order]
    if x.batch and order[0] != 0:
        x = opened(b, x)
    return pick(b, x, places(x).transpose([a - x.batch for a in order[int(x.batch) :]]))


def indexed(b: Builder, x: Var, index: np.ndarray | int, axis: int) -> Var:
    """Entries at given places of an axis of the original."""
    x, inner = along(b, x, axis)
    return pick(b, x, np.take(places(x), np.asarray(index).astype(np.int64), inner))


def sliced(b: Builder, x: Var, cuts: Sequence[tuple[int, slice]]) -> Var:
    """Slices along axes of the original."""
    cuts = [(axis, cut) for axis, cut in cuts if not (x.batch and axis % x.rank == 0 and _is_everything(b, cut))]
    x, _ = along_all(b, x, [axis for axis, _ in cuts])
    index = places(x)
    for axis, cut in cuts:
        index = index[(slice(None),) * (axis % x.rank - x.batch) + (cut,)]
    return pick(b, x, index)


def _is_everything(b: Builder, cut: slice) -> bool:
    """Whether a slice keeps every entry of the batch axis."""
    if b.fixed:
        return cut.indices(1) == (0, 1, 1)
    return cut.start in (None, 0) and cut.step in (None, 1) and (cut.stop is None or cut.stop >= 2**31 - 1)


def split(b: Builder, x: Var, ends: Sequence[int], axis: int) -> list[Var]:
    """Parts of an axis of the original, cut at `ends`."""
    x, inner = along(b, x, axis)
    return [pick(b, x, part) for part in np.split(places(x), [int(e) for e in ends], inner)]


def concat(b: Builder, terms: Sequence[Operand], axis: int) -> Var:
    """Join values and constants along an axis of the original."""
    first = next(t for t in terms if isinstance(t, Var))
    values = [t if isinstance(t, Var) else constant(b, first, t) for t in terms]
    if len({t.batch for t in values}) > 1:
        values = [batched(b, t) for t in values]
    moved = [along(b, t, axis) for t in values]
    if len(moved) == 1:
        return moved[0][0]
    joined = [t for t, _ in moved]
    inner = moved[0][1]
    shapes = {t.shape[:inner] + t.shape[inner + 1 :] for t in joined}
    if len(shapes) > 1 or len({t.batch for t in joined}) > 1:
        raise ShapeError(f"node {b.node!r} joins values of shapes {', '.join(str(t.original) for t in joined)}.")
    return b.add(Concat(inner, tuple(t.shape for t in joined)), *joined)


def pad(b: Builder, x: Var, widths: Sequence[Sequence[int]], *, mode: str = "constant", value: float = 0.0) -> Var:
    """Pad the axes of `x.shape` by (before, after), or crop them by negative amounts."""
    b.check_size([n + max(low, 0) + max(high, 0) for n, (low, high) in zip(x.shape, widths, strict=True)])
    index = places(x)
    if mode in PADDING:
        return pick(b, x, np.pad(index, widths, mode=PADDING[mode]))  # type: ignore[call-overload]
    if mode != "constant":
        raise b.refuse(f"padding mode {mode!r} is not known. plica reads constant, {', '.join(PADDING)}.")
    for axis, (low, high) in enumerate(widths):
        keep = slice(max(-low, 0), index.shape[axis] - max(-high, 0))
        index = index[(slice(None),) * axis + (keep,)]
    index = np.pad(index, [(max(low, 0), max(high, 0)) for low, high in widths], constant_values=-1)
    fill = float(numbers(b, value, "padding value"))
    return pick(b, x, index, np.where(index < 0, fill, 0.0) if fill else None)
