"""ONNX operations: moving entries, and nodes without effect."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from plica.core.affine import Shape
from plica.loaders import lower
from plica.loaders.lower import Builder, Operand, Var
from plica.loaders.onnx_ops.node import OpNode, axes_of, ints, setting

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


def _concat(b: Builder, node: OpNode, *terms: Operand) -> Var:
    return lower.concat(b, terms, node.get("axis"))


def _split(b: Builder, node: OpNode, x: Var, sizes: Operand | None = None) -> list[Var]:
    axis = node.get("axis", 0)
    given = setting(b, node, "split", sizes)
    if given is None:
        n, count = x.original[axis], node.get("num_outputs", len(node.proto.output))
        b.check_size([count])
        given = [-(-n // count)] * (count - 1)
    else:
        given = ints(given)[:-1]
    return lower.split(b, x, np.cumsum(given).tolist(), axis)


def _slice(b: Builder, node: OpNode, x: Var, *settings: Operand | None) -> Var:
    given = [*settings, None, None, None, None][:4]
    starts, ends = (ints(setting(b, node, n, s)) for n, s in zip(("starts", "ends"), given[:2], strict=True))
    axes = ints(setting(b, node, "axes", given[2], range(len(starts))))
    steps = ints(setting(b, node, "steps", given[3], [1] * len(starts)))
    cuts = []
    if 0 in steps:
        raise b.refuse("it slices in steps of 0.")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end < -x.original[axis] else end
        cuts.append((axis, slice(start, stop, step)))
    return lower.sliced(b, x, cuts)


def _pad(b: Builder, node: OpNode, x: Var, pads: Any = None, value: Any = None, axes: Any = None) -> Var:
    amounts = ints(setting(b, node, "pads" if node.version > 1 else "paddings", pads))
    if not x.rank:
        raise b.refuse("it pads a single number.")
    where = [a % x.rank for a in ints(axes)] if axes is not None else list(range(x.rank))
    widths = np.zeros((x.rank, 2), dtype=int)
    widths[where] = np.reshape(amounts, (2, -1)).T
    if x.batch and widths[0].any():
        raise b.refuse("it pads the batch axis.")
    fill = setting(b, node, "value", value, 0.0)
    constant = float(np.reshape(fill, (-1,))[0]) if np.size(fill) else 0.0
    inner = [(int(low), int(high)) for low, high in widths[int(x.batch) :]]
    return lower.pad(b, x, inner, mode=node.get("mode", "constant"), value=constant)


def _gather(b: Builder, node: OpNode, x: Operand, index: Operand) -> Var:
    if not isinstance(x, Var) or isinstance(index, Var):
        raise b.refuse("its indices depend on the input.")
    return lower.indexed(b, x, index, node.get("axis", 0))


def _flatten(b: Builder, node: OpNode, x: Var) -> Var:
    axis = node.get("axis", 1)
    head = x.original[: axis + x.rank if axis < 0 else axis]
    if x.batch and not head:
        x = lower.opened(b, x)
    return lower.reshape(b, x, (math.prod(head), -1))


def _reshape(b: Builder, node: OpNode, x: Var, shape: Operand | None = None) -> Var:
    target = ints(setting(b, node, "shape", shape))
    if not node.get("allowzero", 0):
        target = [x.original[i] if t == 0 else t for i, t in enumerate(target)]
    return lower.reshape(b, x, target)


def _transpose(b: Builder, node: OpNode, x: Var) -> Var:
    return lower.transpose(b, x, node.get("perm") or list(range(x.rank))[::-1])


def _squeeze(b: Builder, node: OpNode, x: Var, axes: Operand | None = None) -> Var:
    return lower.squeeze(b, x, axes_of(b, node, axes))


def _unsqueeze(b: Builder, node: OpNode, x: Var, axes: Operand | None = None) -> Var:
    return lower.unsqueeze(b, x, axes_of(b, node, axes) or [])


def _expand(b: Builder, node: OpNode, x: Var, shape: Operand) -> Var:
    target: Shape = tuple(ints(setting(b, node, "shape", shape)))
    full = np.broadcast_shapes(x.original, target)
    if x.batch and (len(full) != x.rank or full[0] != 1):
        raise b.refuse(f"it expands {x.original} to {target}, over the batch axis.")
    return lower.expand(b, x, full[1:] if x.batch else full)


def _tile(b: Builder, node: OpNode, x: Var, repeats: Operand) -> Var:
    counts = ints(setting(b, node, "repeats", repeats))
    if len(counts) != x.rank or (x.batch and counts[0] != 1):
        raise b.refuse("it repeats the batch axis.")
    inner = counts[int(x.batch) :]
    b.check_size([n * c for n, c in zip(x.shape, inner, strict=True)])
    return lower.pick(b, x, np.tile(lower.places(x), inner))


def _where(b: Builder, node: OpNode, condition: Operand, x: Operand, y: Operand) -> Var:
    return lower.where(b, condition, x, y)


def _shape(b: Builder, node: OpNode, x: Var) -> np.ndarray:
    return np.array(x.original[node.get("start", 0) : node.get("end", x.rank)], dtype=np.int64)


def _size(b: Builder, node: OpNode, x: Var) -> np.ndarray:
    return np.array(math.prod(x.shape), dtype=np.int64)


def _identity(b: Builder, node: OpNode, x: Var, *settings: Any) -> Var:
    if len(settings) > 1 and node.proto.op_type == "Dropout" and settings[1] is not None and np.any(settings[1]):
        raise b.refuse("it drops entries at random (training_mode). Export the model in evaluation mode.")
    b.without_effect[node.proto.op_type] += 1
    return x


def _cast(b: Builder, node: OpNode, x: Var) -> Var:
    if node.get("to") not in FLOATS:
        raise b.refuse("it casts a value that depends on the input to a type that rounds it.")
    return _identity(b, node, x)


LOWER: dict[str, Callable[..., Any]] = {
    "Cast": _cast,
    "Concat": _concat,
    "Dropout": _identity,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
