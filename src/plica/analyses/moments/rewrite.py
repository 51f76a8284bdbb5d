"""Networks in the form that moments reads: maxima as ReLUs of differences, and the paper's two-stage linearisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Gather, Sum, reshape
from plica.core.choice import Choice, MaxOver, relu
from plica.core.network import INPUT, Graph, Network
from plica.errors import ArgumentError


def without_maxima(net: Network) -> Network:
    """The same function with every maximum over a group as rounds of max(u, v) = v + relu(u - v).

    A group of two needs one round, so one layer of such maxima of affine functions stays exactly tractable; a group of
    k needs ceil(log2 k) rounds, each of which moment matching takes as Gaussian (Clark, 1961, does so too).
    """
    if not any(isinstance(node.op, MaxOver) for node in net.nodes):
        return net
    graph, names = Graph(net.input_shape), {INPUT: INPUT}
    for node in net.nodes:
        inputs = [names[name] for name in node.inputs]
        if isinstance(node.op, MaxOver):
            names[node.name] = _tournament(graph, node.name, node.op, inputs[0])
        else:
            names[node.name] = graph.add(node.name, node.op, *inputs)
    return replace(graph.network(names[net.output], net.origin), box=net.box)


def _tournament(graph: Graph, name: str, op: MaxOver, value: str) -> str:
    """Add rounds of pairwise maxima to a graph; return the name of the result."""
    index, shape = op.index, op.input_shape  # (groups, places left), -1: no unit
    while True:
        groups, size = index.shape
        if size % 2:
            index = torch.cat([index, index.new_full((groups, 1), -1)], 1)
        left, right = index[:, 0::2].flatten(), index[:, 1::2].flatten()
        left, right = torch.where(left < 0, right, left), torch.where(right < 0, left, right)
        flat = (len(left),)
        if torch.equal(left, right):
            value = graph.add(f"{name}_pick", Gather(left, shape, flat), value)
        else:
            first = graph.add(f"{name}_left", Gather(left, shape, flat), value)
            second = graph.add(f"{name}_right", Gather(right, shape, flat), value)
            gap = graph.add(f"{name}_gap", Sum((1.0, -1.0), flat), first, second)
            lift = graph.add(f"{name}_relu", relu(flat), gap)
            value = graph.add(f"{name}_max", Sum((1.0, 1.0), flat), second, lift)
        index = torch.where(left < 0, -1, torch.arange(len(left))).reshape(groups, -1)
        shape = flat
        if index.shape[1] == 1:
            return graph.add(name, reshape(shape, op.output_shape), value)


def linearise(net: Network, layer: str | int, at: Tensor | np.ndarray) -> Network:
    """The two-stage linearisation of Bibi et al. (2018), section 3.4: every choice but one layer is frozen.

    Parameters
    ----------
    net : Network
    layer : str or int
        The choice layer to keep, by name or index.
    at : array, shape input_shape
        The point x of the first stage; the second stage is linearised at y = layer(x), as in section 4.1.

    Returns
    -------
    Network
        Affine, `layer`, affine: its moments are exact. It agrees with `net` where all frozen choices stay the same.

    Raises
    ------
    ArgumentError
        When `layer` is not a choice layer.
    """
    name = net.resolve(layer)
    if name == INPUT or not isinstance(net[name].op, Choice):
        raise ArgumentError(f"layer = {name!r} is not a choice layer; those are {', '.join(net.choices) or 'none'}.")
    pattern = net.pattern(net.as_batch(at)[:1])
    nodes = tuple(
        replace(node, op=node.op.freeze(pattern.branches[node.name]))
        if isinstance(node.op, Choice) and node.name != name
        else node
        for node in net.nodes
    )
    return replace(net, nodes=nodes)
