"""A graph under construction, and what its operations read: values and constants.

A `Var` is a value of the network under construction; a constant is a NumPy array. A `Var` knows whether its first axis
in the original model is the batch; shapes in the graph never hold the batch axis.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Affine, Shape
from plica.core.choice import Choice
from plica.core.conv import Conv, Transposed
from plica.core.network import Graph
from plica.errors import ModelError, PlicaError, ShapeError, UnsupportedLayer

Pairs = tuple[tuple[int, int], ...]
MAX_ENTRIES = 1 << 24  # of one value: 128 MiB as float64, and a file of a few bytes can ask for any size
READS = (
    "Linear, Conv1d and Conv2d (also transposed), BatchNorm, ReLU, LeakyReLU, PReLU, ReLU6, Hardtanh, Hardsigmoid, "
    "Softshrink, clip, abs, max- and average-pooling, max, min, sort, sum, mean, residual connections, concatenation, "
    "reshaping, slicing, padding"
)
SMOOTH = {  # known to have no linear pieces, in lower case and without the number of axes
    *("celu", "cos", "elu", "erf", "exp", "gelu", "glu", "group_norm", "groupnorm", "gru", "hardswish", "layer_norm"),
    *("layernorm", "log", "logsigmoid", "logsoftmax", "logsumexp", "lstm", "mish", "pow", "rmsnorm", "rnn", "rsqrt"),
    *("groupnormalization", "instancenorm", "instancenormalization", "layernormalization", "reciprocal", "selu"),
    *("sigmoid", "silu", "sin", "softmax", "softmin", "softplus", "softsign", "sqrt", "swish", "tanh", "tanhshrink"),
}


@dataclass(frozen=True)
class Var:
    """A value of the graph, and whether the original has a batch axis in front of it."""

    name: str
    shape: Shape
    batch: bool = True

    @property
    def original(self) -> Shape:
        """Shape in the original model, for a batch of one."""
        return (1, *self.shape) if self.batch else self.shape

    @property
    def rank(self) -> int:
        """Rank in the original model."""
        return len(self.original)


Operand = Var | np.ndarray
Value = Operand | float | None  # torch's operations take numbers too


@dataclass
class Builder:
    """A graph under construction.

    Attributes
    ----------
    graph : Graph
    fixed : bool
        Whether the original's batch axis is exactly one entry long, so that it may be moved like any axis.
    node, layer : str
        Name of the original node being lowered, which the nodes it becomes are given, and its type; used in errors.
    notices : list of str
        What was dropped, folded or rounded, one sentence each.
    without_effect : Counter of str
        Operations that became nothing.
    """

    graph: Graph
    fixed: bool = False
    node: str = "node"
    layer: str = ""
    notices: list[str] = field(default_factory=list)
    without_effect: Counter[str] = field(default_factory=Counter)
    folded: int = 0

    def at(self, node: str, layer: str) -> None:
        """Turn to the next node of the original."""
        self.node, self.layer = node, layer

    def add(self, op: Affine | Choice, *inputs: Var, suffix: str = "") -> Var:
        """Append a node under the name of the original node."""
        shape = op.shape(*(v.shape for v in inputs))
        self.check_size(shape)
        inner = op.node if isinstance(op, Transposed) else op
        if isinstance(inner, Conv):
            self.check_size(
                [n + low + high for n, (low, high) in zip(inner.input_shape[1:], inner.padding, strict=True)]
            )
        name = self.graph.add(self.node + suffix, op, *(v.name for v in inputs))
        return Var(name, self.graph.shapes[name], inputs[0].batch)

    def check_size(self, shape: Any) -> None:
        """Refuse a value of absurd size before it is made."""
        size = math.prod(int(n) for n in shape)
        if size > MAX_ENTRIES:
            raise ShapeError(f"node {self.node!r} makes {size} numbers, more than plica takes for one value (2^24).")
        if size < 1 or min((int(n) for n in shape), default=1) < 1:
            raise ShapeError(f"node {self.node!r} makes a value of shape {tuple(shape)}, which is empty.")

    def notice(self, text: str) -> None:
        """Remember a sentence once."""
        if text not in self.notices:
            self.notices.append(text)

    def refuse(self, what: str) -> UnsupportedLayer:
        """The error for something plica does not read at this node."""
        return UnsupportedLayer(f"node {self.node!r} ({self.layer}): {what}")

    def lowered(self, table: Mapping[str, Callable[..., Any]], kind: str, *arguments: Any, **options: Any) -> Any:
        """Result of one operation of the original, looked up in a table.

        Raises
        ------
        UnsupportedLayer
            When the table does not hold it.
        ModelError
            When its arguments make no sense.
        """
        if kind not in table:
            smooth = re.sub(r"\d+d$", "", self.layer.lower()) in SMOOTH
            raise UnsupportedLayer(
                f"node {self.node!r} is {self.layer}, which {'is not piecewise linear' if smooth else 'is not known'}. "
                f"plica reads: {READS}. Replace it, or load the part of the model before it."
            )
        try:
            return table[kind](self, *arguments, **options)
        except PlicaError:
            raise
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
            raise ModelError(
                f"node {self.node!r} ({kind}) has arguments that do not fit together: {_line(error)}"
            ) from error

    def finish(self, dtype: str) -> tuple[str, ...]:
        """All notices, the summary of what loading did last."""
        if self.folded:
            self.notice(f"{self.folded} nodes that read constants only were folded.")
        if self.without_effect:
            kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(self.without_effect.items()))
            self.notice(f"Dropped, being without effect here: {kinds}.")
        self.notice(f"Weights and arithmetic are float64; the original's are {dtype}.")
        return tuple(self.notices)


def typeable(name: str, kind: str) -> str:
    """A name that cannot be taken for an index: 'relu_1' for the node '1'."""
    return name if any(c.isalpha() for c in name) else f"{kind.strip('_').lower()}_{name}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def tensor(values: np.ndarray | Tensor | float) -> Tensor:
    """A float64 tensor of its own; NaN and infinity are refused by the importers beforehand."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    return torch.from_numpy(np.array(array, dtype=np.float64))


def numbers(b: Builder, value: Any, what: str) -> np.ndarray:
    """A constant as float64, finite; a value of the graph is refused."""
    if isinstance(value, Var):
        raise b.refuse(f"its {what} depends on the input, which is not piecewise linear.")
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ModelError(f"node {b.node!r}: its {what} holds numbers that are NaN or infinite.")
    return array
