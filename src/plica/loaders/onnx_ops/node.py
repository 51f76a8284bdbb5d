"""A node of an ONNX file, and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from plica.core.affine import Shape
from plica.errors import ModelError
from plica.loaders.lower import Builder, Operand, Pairs, Var


@dataclass(frozen=True)
class OpNode:
    """A node of the file and the version of the operator set."""

    proto: onnx.NodeProto
    version: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, strings decoded."""
        for a in self.proto.attribute:
            if a.name == name:
                value = helper.get_attribute_value(a)
                return value.decode() if isinstance(value, bytes) else value
        return default


def ints(value: Any) -> list[int]:
    """Whole numbers of an array or a list."""
    return [int(v) for v in np.asarray(value).ravel()]


def setting(b: Builder, node: OpNode, name: str, operand: Operand | None, default: Any = None) -> Any:
    """A setting that is an attribute in old operator sets and a constant input in new ones."""
    if operand is None:
        return node.get(name, default)
    if isinstance(operand, Var):
        raise b.refuse(f"its {name} depends on the input.")
    return operand


def axes_of(b: Builder, node: OpNode, axes: Operand | None) -> list[int] | None:
    """The axes a node works along; None when it does not say."""
    wanted = setting(b, node, "axes", axes)
    return None if wanted is None or np.size(wanted) == 0 else ints(wanted)


@dataclass(frozen=True)
class Window:
    """How a kernel moves over its input."""

    kernel: Shape
    stride: Shape
    dilation: Shape
    padding: Pairs


def window(b: Builder, node: OpNode, size: Shape, kernel: Sequence[int]) -> Window:
    """Kernel, stride, dilation, and padding with auto_pad resolved."""
    n = len(kernel)
    stride, dilation = tuple(node.get("strides") or [1] * n), tuple(node.get("dilations") or [1] * n)
    if {len(size), len(stride), len(dilation)} != {n} or min(*stride, *dilation, *kernel) < 1:
        raise ModelError(
            f"node {b.node!r}: kernel {tuple(kernel)}, stride {stride} and dilation {dilation} do not fit a value with "
            f"{len(size)} spatial axes."
        )
    mode = node.get("auto_pad", "NOTSET")
    padding = explicit_padding(b, node, n)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        totals = [max((-(-m // s) - 1) * s + r - m, 0) for m, s, r in zip(size, stride, reach, strict=True)]
        padding = halves(totals, upper=mode == "SAME_UPPER")
    return Window(tuple(kernel), stride, dilation, padding)


def explicit_padding(b: Builder, node: OpNode, n: int) -> Pairs:
    """The padding that the node writes down: all beginnings, then all ends."""
    pads = node.get("pads") or [0] * (2 * n)
    if len(pads) != 2 * n:
        raise ModelError(f"node {b.node!r}: {len(pads)} paddings for {n} spatial axes.")
    return tuple((pads[i], pads[i + n]) for i in range(n))


def halves(totals: Sequence[int], *, upper: bool) -> Pairs:
    """Totals split in two, the odd one after (upper) or before."""
    return tuple((t // 2, t - t // 2) if upper else (t - t // 2, t // 2) for t in totals)
