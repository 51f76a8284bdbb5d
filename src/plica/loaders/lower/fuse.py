"""Matrices and convolutions take up the constant that is added to them: MatMul and Add become one node."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from torch import Tensor

from plica.core.affine import Affine, Dense, Gather
from plica.core.choice import Choice
from plica.core.conv import Conv
from plica.core.network import Network, Node
from plica.loaders.lower.axes import with_axes
from plica.loaders.lower.builder import Builder, Var


def network_of(b: Builder, output: Var) -> tuple[Network, dict[str, str]]:
    """The network that ends in a value, and the nodes that took up others, by the names of these."""
    net, gone = with_axes(b.graph.network(output.name))
    net, joined = fused(net)
    return net, {**{name: joined.get(other, other) for name, other in gone.items()}, **joined}


def fused(net: Network) -> tuple[Network, dict[str, str]]:
    """The network with constants as biases, where what they are added to has none and is read by nothing else.

    Nothing is rounded: the constant becomes the bias as it is. The node keeps the name of the matrix; the second value
    says, for every node that is gone, which one took it up.
    """
    readers = Counter(name for node in net.nodes for name in node.inputs)
    kept: dict[str, Node] = {}
    names: dict[str, str] = {}
    for node in net.nodes:
        inputs = tuple(names.get(name, name) for name in node.inputs)
        before = kept.get(inputs[0])
        joined = _joined(before.op, node.op) if before and readers[node.inputs[0]] == 1 else None
        if before and joined is not None:
            kept[before.name] = replace(before, op=joined)
            names[node.name] = before.name
        else:
            kept[node.name] = replace(node, inputs=inputs)
    return replace(net, nodes=tuple(kept.values())), names


def _joined(op: Affine | Choice, shift: Affine | Choice) -> Dense | Conv | None:
    """The node with the constant of a shift as its bias; None where that is not possible."""
    if not (isinstance(shift, Gather) and shift.index is None and shift.bias is not None):
        return None
    if shift.input_shape != shift.output_shape or not isinstance(op, (Dense, Conv)) or op.bias is not None:
        return None
    spatial = 0 if isinstance(op, Dense) else len(op.stride)
    bias = _per_channel(shift.bias, op.weight.shape[0], spatial)
    return None if bias is None else replace(op, bias=bias)


def _per_channel(constant: Tensor, channels: int, spatial: int) -> Tensor | None:
    """A constant as one number per channel, which `spatial` axes follow; None where it has more."""
    lifted = constant.reshape((1,) * (spatial + 1 - constant.ndim) + tuple(constant.shape))
    axis = lifted.ndim - 1 - spatial
    if lifted.numel() != lifted.shape[axis]:
        return None
    return lifted.flatten().expand(channels).clone().reshape(channels, *(1,) * spatial)
