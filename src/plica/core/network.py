"""The network: a graph of affine and choice nodes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Affine, Dense, Gather, Shape, evaluate
from plica.core.choice import Choice
from plica.core.pattern import Pattern, choose_exactly
from plica.errors import ArgumentError, DeviceError, ShapeError

INPUT = "input"


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its name, what it does, the names of its inputs, and the shape of its output without batch axis."""

    name: str
    op: Affine | Choice
    inputs: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class Origin:
    """Where a network came from.

    Attributes
    ----------
    name : str
        Name to print.
    path : str
        File it was read from; empty for a module.
    dtype : str
        Dtype of the original weights ("float32", ...).
    notices : tuple of str
        What was dropped, folded or rounded at loading, one sentence each.
    difference : float
        Largest absolute difference from the original on random inputs, divided by its largest absolute output.
    """

    name: str = "network"
    path: str = ""
    dtype: str = "float64"
    notices: tuple[str, ...] = ()
    difference: float = float("nan")


class Graph:
    """Builds a network node by node, in topological order."""

    def __init__(self, input_shape: Iterable[int]) -> None:
        self.input_shape = tuple(input_shape)
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {INPUT: self.input_shape}

    def add(self, name: str, op: Affine | Choice, *inputs: str) -> str:
        """Append a node that reads the named values and return its name, made unique by a suffix if taken."""
        unique, n = name, 1
        while unique in self.shapes:
            n += 1
            unique = f"{name}_{n}"
        shape = op.shape(*(self.shapes[i] for i in inputs))
        self.nodes.append(Node(unique, op, inputs, shape))
        self.shapes[unique] = shape
        return unique

    def network(self, output: str | None = None, origin: Origin | None = None) -> Network:
        """Return the network that ends in `output` (the last node by default), without nodes it does not need."""
        output = output or (self.nodes[-1].name if self.nodes else INPUT)
        needed, kept = {output}, []
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
                kept.append(node)
        kept.reverse()
        if not kept or kept[-1].name != output:  # the input itself: one identity node
            kept.append(Node("identity", Gather(None, self.input_shape, self.input_shape), (output,), self.input_shape))
        return Network(self.input_shape, tuple(kept), origin or Origin())
