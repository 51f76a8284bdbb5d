"""What is in a network: its nodes, their names, shapes and widths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from plica.core.choice import Choice
from plica.core.network import Network
from plica.core.result import Completeness, Result, Standing


@dataclass(frozen=True, repr=False)
class InfoResult(Result):
    """A table of a network's nodes.

    Attributes
    ----------
    name : str
        Of the network.
    input_shape : tuple of int
        Of one input, without batch axis.
    names, operations, reads, shapes : tuple of str
        Per node: its name (a value of ``layer=``), what it does, what it reads, and the shape of its output.
    units : ndarray of int
        Entries of a node's output.
    layers : tuple of str
        Per node: its index as ``layer=``, or an empty string.
    dtype : str
        Of the original weights.
    notices : tuple of str
        What was dropped, folded or rounded at loading.
    difference : float
        Largest difference from the original on random inputs, relative to the largest output.
    """

    name: str
    input_shape: tuple[int, ...]
    names: tuple[str, ...]
    operations: tuple[str, ...]
    reads: tuple[str, ...]
    shapes: tuple[str, ...]
    units: np.ndarray
    layers: tuple[str, ...]
    dtype: str
    notices: tuple[str, ...]
    difference: float

    def summary(self) -> str:
        """The table, and below it what loading did."""
        head = ("layer", "name", "operation", "shape", "units", "reads")
        rows = list(
            zip(self.layers, self.names, self.operations, self.shapes, map(str, self.units), self.reads, strict=True)
        )
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]
        below = [*self.notices, f"Largest difference from the original: {self.difference:.1e} of the largest output."]
        return "\n".join([f"{self.name}: input {self.input_shape}, weights {self.dtype}", *lines, *below])


def info(net: Network) -> InfoResult:
    """Return the table of a network's nodes.

    Parameters
    ----------
    net : Network
        What `plica.load` returns.

    Returns
    -------
    InfoResult
        Names and indices are the values that ``layer=`` takes everywhere.
    """
    index = {name: str(i) for i, name in enumerate(net.layers)}
    nodes = net.nodes
    return InfoResult(
        standing=Standing.NUMERICAL,
        completeness=Completeness.COMPLETE,
        header={},
        name=net.origin.name,
        input_shape=net.input_shape,
        names=tuple(n.name for n in nodes),
        operations=tuple(_operation(n.op) for n in nodes),
        reads=tuple(", ".join(n.inputs) for n in nodes),
        shapes=tuple("x".join(map(str, n.shape)) or "1" for n in nodes),
        units=np.array([math.prod(n.shape) for n in nodes], dtype=np.int64),
        layers=tuple(index.get(n.name, "") for n in nodes),
        dtype=net.origin.dtype,
        notices=net.origin.notices,
        difference=net.origin.difference,
    )


def _operation(op: Any) -> str:
    """'conv 3x3 / 2', 'max of 4', 'relu', 'dense'."""
    if isinstance(op, Choice):
        return getattr(op, "name", None) or f"max of {op.index.shape[1]}"  # type: ignore[attr-defined]
    if hasattr(op, "stride"):
        kernel = "x".join(map(str, op.weight.shape[2:]))
        stride = "" if set(op.stride) == {1} else f" / {'x'.join(map(str, op.stride))}"
        return f"conv {kernel}{stride}"
    if hasattr(op, "index") and op.index is None:
        return "reshape" if op.bias is None else "shift"
    return type(op).__name__.lower()
