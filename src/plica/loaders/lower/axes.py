"""Numbers without axes become arrays of one number: the units of a value count along its axes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plica.core.affine import Affine, Gather, Shape
from plica.core.choice import Choice
from plica.core.network import INPUT, Graph, Network


def with_axes(net: Network) -> tuple[Network, dict[str, str]]:
    """The network whose values have an axis each, the input's aside; and what stands for the reshapes it lacks."""
    if net.input_shape and all(node.shape for node in net.nodes):
        return net, {}
    graph = Graph(net.input_shape)
    names = {INPUT: INPUT if net.input_shape else graph.add("input.axis", Gather(None, (), (1,)), INPUT)}
    gone = {}
    for node in net.nodes:
        inputs, op = [names[name] for name in node.inputs], _with_axis(node.op)
        if _gives_an_axis(node.op):
            names[node.name] = gone[node.name] = inputs[0]
        else:
            names[node.name] = graph.add(node.name, op, *inputs)
    return graph.network(names[net.output]), gone


def _gives_an_axis(op: Affine | Choice) -> bool:
    """Whether a node only gives its input an axis, or takes it away."""
    if not isinstance(op, Gather) or op.index is not None or op.bias is not None:
        return False
    return {op.input_shape, op.output_shape} == {(), (1,)}


def _with_axis(op: Any) -> Any:
    """The node between values of one axis."""
    shapes: dict[str, Shape] = {key: (1,) for key in ("input_shape", "output_shape") if getattr(op, key, None) == ()}
    inner = {"node": _with_axis(op.node)} if hasattr(op, "node") else {}
    return replace(op, **shapes, **inner) if shapes or inner else op
