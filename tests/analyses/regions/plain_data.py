"""A plica network of dense layers, rectifiers, absolute values and maxima of groups, as the oracles' plain data."""

from __future__ import annotations

from plica.core.affine import Dense
from plica.core.choice import MaxOver


def plain(net):
    nodes = []
    for node in net.nodes:
        op = node.op
        if isinstance(op, Dense):
            bias = None if op.bias is None else op.bias.tolist()
            nodes.append((node.name, "dense", node.inputs, {"W": op.weight.tolist(), "b": bias}))
        elif isinstance(op, MaxOver):
            nodes.append((node.name, "maxout", node.inputs, {"size": op.index.shape[1]}))
        else:
            nodes.append((node.name, {"relu": "relu", "abs": "abs"}[op.name], node.inputs, {}))
    return {"input": net.input_shape, "nodes": nodes}
