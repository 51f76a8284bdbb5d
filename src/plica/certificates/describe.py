"""A network as the checker reads it: steps with the names of ONNX operations, and weights as safetensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from plica.core.affine import Affine, Concat, Dense, Gather, Scale, Sum
from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.conv import Conv
from plica.core.network import INPUT, Network, Node
from plica.errors import ArgumentError

DENSE = 1 << 24  # entries of an operation without a description of its own that are written out


@dataclass
class _Writer:
    """Steps and weights, as they are written."""

    net: Network
    steps: list[list[Any]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def constant(self, name: str, value: Any) -> str:
        """Name of a weight."""
        self.weights[name] = torch.tensor(np.asarray(value), dtype=torch.float64)
        return name

    def step(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Name of what the step makes."""
        self.steps.append([op, inputs, output, attributes])
        return output

    def shaped(self, value: str, shape: tuple[int, ...], output: str) -> str:
        """The value in another shape."""
        return self.step("Reshape", [value], output, shape=list(shape))


def described(net: Network) -> tuple[dict[str, Any], bytes]:
    """Return the graph of a network as plain data, and its weights as the bytes of a safetensors file.

    Parameters
    ----------
    net : Network

    Returns
    -------
    graph : dict
        ``input``, ``shape`` and ``steps``; outputs of steps have the names of the network's nodes.
    weights : bytes

    Raises
    ------
    ArgumentError
        For an operation that is too large to be written out (a transposed convolution of a large image).
    """
    writer = _Writer(net)
    for node in net.nodes:
        _write(writer, node)
    graph = {"input": INPUT, "shape": list(net.input_shape), "steps": writer.steps}
    return graph, save(writer.weights)


def _write(w: _Writer, node: Node) -> None:
    op, name, inputs = node.op, node.name, list(node.inputs)
    if isinstance(op, Piecewise):
        tables = (("knot", op.knots), ("slope", op.slopes), ("intercept", op.intercepts))
        constants = [w.constant(f"{name}.{word}{k}", row.cpu()) for word, t in tables for k, row in enumerate(t)]
        w.step("Piecewise", [*inputs, *constants], name)
        return
    if isinstance(op, MaxOver):
        w.step("MaxOver", inputs, name, groups=op.index.cpu().tolist(), shape=list(op.output_shape))
        return
    bias = getattr(op, "bias", None)
    linear = name if bias is None else f"{name}.linear"
    _linear(w, op, inputs, linear, tuple(node.shape))
    if bias is not None:
        added = np.broadcast_to(bias.cpu().numpy(), np.broadcast_shapes(tuple(bias.shape), tuple(node.shape)))
        w.step("Add", [linear, w.constant(f"{name}.bias", added.reshape(node.shape))], name)


def _linear(w: _Writer, op: Affine | Choice, inputs: list[str], name: str, shape: tuple[int, ...]) -> None:
    """The linear part of an affine node."""
    if isinstance(op, Dense):
        flat = w.shaped(inputs[0], (math.prod(op.input_shape[:-1]), op.input_shape[-1]), f"{name}.flat")
        product = w.step("Gemm", [flat, w.constant(f"{name}.weight", op.weight.cpu())], f"{name}.row", transB=1)
        w.shaped(product, shape, name)
    elif isinstance(op, Conv):
        image = w.shaped(inputs[0], (1, *op.input_shape), f"{name}.image")
        pads = [p for end in (0, 1) for p in (pair[end] for pair in op.padding)]
        sizes = {"strides": list(op.stride), "dilations": list(op.dilation), "pads": pads, "group": op.groups}
        weight = w.constant(f"{name}.weight", op.weight.cpu())
        w.shaped(w.step("Conv", [image, weight], f"{name}.maps", **sizes), shape, name)
    elif isinstance(op, Gather):
        if op.index is None:
            w.shaped(inputs[0], shape, name)
        else:
            w.step("Pick", inputs, name, index=op.index.reshape(-1).cpu().tolist(), shape=list(shape))
    elif isinstance(op, Scale):
        scaled = name if op.divisor is None else f"{name}.scaled"
        w.step("Mul", [*inputs, w.constant(f"{name}.factor", op.factor.cpu())], scaled)
        if op.divisor is not None:
            w.step("Div", [scaled, w.constant(f"{name}.divisor", op.divisor.cpu())], name)
    elif isinstance(op, (Sum, Concat)):
        _joined(w, op, inputs, name, shape)
    else:
        _written_out(w, op, inputs, name, shape)


def _joined(w: _Writer, op: Sum | Concat, inputs: list[str], name: str, shape: tuple[int, ...]) -> None:
    """Inputs added, or one after the other."""
    if isinstance(op, Concat):
        order = [np.arange(math.prod(s)).reshape(s) for s in op.input_shapes]
        starts = np.cumsum([0, *(o.size for o in order[:-1])])
        index = np.concatenate([o + s for o, s in zip(order, starts, strict=True)], axis=op.axis)
        w.step("Pick", inputs, name, index=index.ravel().tolist(), shape=list(shape))
        return
    terms = [
        value if c == 1 else w.step("Mul", [value, w.constant(f"{name}.by{k}", c)], f"{name}.term{k}")
        for k, (value, c) in enumerate(zip(inputs, op.coefficients, strict=True))
    ]
    total = terms[0]
    for k, term in enumerate(terms[1:]):
        total = w.step("Add", [total, term], f"{name}.sum{k}")
    w.shaped(total, shape, name)


def _written_out(w: _Writer, op: Any, inputs: list[str], name: str, shape: tuple[int, ...]) -> None:
    """Any other affine node, as a matrix."""
    matrices = op.entries()
    if len(matrices) != 1 or math.prod(matrices[0].shape) > DENSE:
        raise ArgumentError(
            f"certify: node {name!r} ({type(op).__name__}) is too large to be described to the checker."
        )
    flat = w.shaped(inputs[0], (1, matrices[0].shape[1]), f"{name}.flat")
    weight = w.constant(f"{name}.weight", matrices[0].toarray())
    w.shaped(w.step("Gemm", [flat, weight], f"{name}.row", transB=1), shape, name)
