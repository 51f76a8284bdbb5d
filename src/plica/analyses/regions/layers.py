"""What bounds need to know of a network: its layers of choices, and the dimension of what they read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from plica.core.affine import Dense, Gather
from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.network import INPUT, Network, Node
from plica.errors import ArgumentError


@dataclass(frozen=True)
class Layers:
    """Layers of choices in order.

    Attributes
    ----------
    inputs : int
        Dimension of the input space.
    faces : tuple of mapping
        Per layer ``{f: n}``: n units of f + 1 affine parts each.
    is_rectifier_chain : bool
        Whether every unit is a rectifier and every layer reads the one before alone.
    is_dense : bool
        Whether one full matrix stands before each layer.
    dimensions : tuple of int, optional
        Largest dimension of what each layer reads on a cell; None for a chain of full layers.
    """

    inputs: int
    faces: tuple[Mapping[int, int], ...]
    is_rectifier_chain: bool
    is_dense: bool
    dimensions: tuple[int, ...] | None

    @property
    def widths(self) -> tuple[int, ...]:
        """Units per layer."""
        return tuple(sum(layer.values()) for layer in self.faces)


def layers_of(net: Network, inputs: int | None = None) -> Layers:
    """Layers of choices of a network, for its input space or a slice of fewer dimensions.

    Raises
    ------
    ArgumentError
        For `inputs` that are no whole number between 1 and the network's own.
    """
    own = math.prod(net.input_shape)
    inputs = own if inputs is None else inputs
    if not 1 <= inputs <= own or int(inputs) != inputs:
        raise ArgumentError(
            f"inputs = {inputs}: the network has {own}; give a whole number from 1 to that, or nothing."
        )
    dimensions = {INPUT: int(inputs)}
    for node in net.nodes:
        read = min(int(inputs), sum(dimensions[name] for name in node.inputs))
        dimensions[node.name] = min(math.prod(node.shape), read)
    chosen = [net[name] for name in net.choices]
    return Layers(
        inputs=int(inputs),
        faces=tuple(_faces(node) for node in chosen),
        is_rectifier_chain=_is_rectifier_chain(net, chosen),
        is_dense=all(_is_dense(net, node) for node in chosen),
        dimensions=tuple(dimensions[node.inputs[0]] for node in chosen),
    )


def _faces(node: Node) -> dict[int, int]:
    """How many units have how many faces; places of a pooling window in the border are no candidates."""
    if isinstance(node.op, MaxOver):
        return dict(Counter(((node.op.index >= 0).sum(1) - 1).tolist()))
    assert isinstance(node.op, Choice)
    return {node.op.faces: math.prod(node.shape)}


def _is_rectifier_chain(net: Network, chosen: list[Node]) -> bool:
    """Whether all units are rectifiers, and every layer reads the one before alone."""
    before = INPUT
    for node in chosen:
        if not _is_rectifier(node) or net.block(node.name)[1] != (before,):
            return False
        before = node.name
    return True


def _is_dense(net: Network, node: Node) -> bool:
    """Whether one matrix without a prescribed form stands before a layer."""
    ops = [inner.op for inner in net.block(node.name)[0].nodes]
    full = [op for op in ops if isinstance(op, Dense) and len(op.input_shape) == 1]
    plain = (op for op in ops if isinstance(op, Gather))
    same = all(op.index is None or op.index.tolist() == list(range(math.prod(op.input_shape))) for op in plain)
    others = sum(not isinstance(op, Gather) for op in ops)
    return len(full) == 1 == others and same


def _is_rectifier(node: Node) -> bool:
    """Whether the units are zero on one side: then an inactive unit takes a dimension away."""
    op = node.op
    if not isinstance(op, Piecewise) or len(op.slopes) != 2:
        return False
    return bool((op.slopes[0] == 0).all()) and bool((op.slopes[1] != 0).all())
