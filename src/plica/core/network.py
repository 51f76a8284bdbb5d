"""The network: a graph of affine and choice nodes."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Affine, Dense, Gather, Shape, evaluate
from plica.core.choice import Choice
from plica.core.domain import Box, Plane, Segment
from plica.core.origin import Origin
from plica.core.pattern import Pattern, choose_exactly
from plica.errors import ArgumentError, DeviceError, ReshapeNotice, ShapeError

if TYPE_CHECKING:
    from plica.core.piece import Piece

INPUT = "input"


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its name, what it does, the names of its inputs, and the shape of its output without batch axis."""

    name: str
    op: Affine | Choice
    inputs: tuple[str, ...]
    shape: Shape


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
        if output not in self.shapes:
            raise ArgumentError(f"output = {output!r}: no node of that name among {', '.join(self.shapes)}.")
        needed, kept = {output}, []
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
                kept.append(node)
        kept.reverse()
        if not kept or kept[-1].name != output:  # the input itself: one identity node
            kept.append(Node("identity", Gather(None, self.input_shape, self.input_shape), (output,), self.input_shape))
        return Network(self.input_shape, tuple(kept), origin or Origin())


@dataclass(frozen=True, eq=False)
class Network:
    """A piecewise-linear network: a graph whose every node is affine or a choice, in topological order.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of one input, without batch axis.
    nodes : tuple of Node
        The last one is the output.
    origin : Origin
        Where it came from and what loading changed.
    box : Box, optional
        Allowed inputs; None when there is no limit.

    Notes
    -----
    All arithmetic is float64. Claims are about the real-arithmetic map of the stored weights.
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    origin: Origin = field(default_factory=Origin)
    box: Box | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})

    def __repr__(self) -> str:
        units = sum(math.prod(self[name].shape) for name in self.choices)
        return (
            f"Network({self.origin.name!r}: {self.input_shape} -> {self.output_shape}, "
            f"{len(self.nodes)} nodes, {units} units in {len(self.choices)} choice layers)"
        )

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]  # type: ignore[attr-defined]

    @property
    def output_shape(self) -> Shape:
        """Shape of one output."""
        return self.nodes[-1].shape

    @property
    def output(self) -> str:
        """Name of the output value."""
        return self.nodes[-1].name

    @property
    def choices(self) -> tuple[str, ...]:
        """Names of the choice nodes."""
        return tuple(n.name for n in self.nodes if isinstance(n.op, Choice))

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, the values of ``layer=``: every choice node, and the output."""
        return self.choices if self.output in self.choices else (*self.choices, self.output)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((t.device for node in self.nodes for t in _tensors(node.op)), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights; float64 except after `cast`."""
        dtypes = (t.dtype for node in self.nodes for t in _tensors(node.op))
        return next((d for d in dtypes if d.is_floating_point), torch.float64)

    def shape_of(self, value: str) -> Shape:
        """Shape of a named value; "input" is the network's input."""
        return self.input_shape if value == INPUT else self[value].shape

    def resolve(self, layer: str | int | np.integer, side: str = "post") -> str:
        """Name of the value that a layer stands for.

        Parameters
        ----------
        layer : str or int
            A node's name, or an index into `layers`, as ``plica info`` prints them.
        side : {"post", "pre"}
            After the node or before it.
        """
        if isinstance(layer, (int, np.integer)):
            if not -len(self.layers) <= layer < len(self.layers):
                raise ArgumentError(f"layer = {layer}: the network has {len(self.layers)} layers, {self.layers}.")
            layer = self.layers[layer]
        if layer == INPUT:
            return INPUT
        if layer not in self._by_name:  # type: ignore[attr-defined]
            raise ArgumentError(f"layer = {layer!r}: no node of that name. The layers are {', '.join(self.layers)}.")
        if side not in ("post", "pre"):
            raise ArgumentError(f"side = {side!r}: use 'post' or 'pre'.")
        if side == "post":
            return layer
        if len(self[layer].inputs) != 1:
            raise ArgumentError(f"layer = {layer!r} has {len(self[layer].inputs)} inputs; name one of them instead.")
        return self[layer].inputs[0]

    def as_batch(self, x: Tensor | np.ndarray) -> Tensor:
        """Return x as a batch of the network's dtype on its device; a single input becomes a batch of one.

        Data of equal size are reshaped, with a `ReshapeNotice`.

        Raises
        ------
        ShapeError
            When x is neither one input, nor a batch, nor data of equal size that can be reshaped.
        """
        # torch takes no array that is read-only or runs backwards: such a one is copied
        t = x if isinstance(x, Tensor) else torch.as_tensor(np.require(x, requirements=["C", "W"]))
        t = t.to(dtype=self.dtype, device=self.device)
        shape, size = self.input_shape, math.prod(self.input_shape)
        if t.ndim == len(shape) + 1 and tuple(t.shape[1:]) == shape:
            return t
        if tuple(t.shape) == shape:
            return t[None]
        rows = len(t) if t.ndim > 1 and math.prod(t.shape[1:]) == size else 1
        if t.numel() == rows * size:
            notice = f"Data of shape {tuple(t.shape)} are read as {(rows, *shape)}."
            warnings.warn(notice, ReshapeNotice, stacklevel=_level_outside(sys._getframe()))
            return t.reshape(rows, *shape)
        raise ShapeError(
            f"The input has shape {tuple(t.shape)}; the network reads {shape} (or a batch of them, {('n', *shape)})."
        )

    def __call__(self, x: Tensor | np.ndarray) -> Tensor:
        """Outputs for a batch of inputs (or one input), batched and differentiable."""
        single = tuple(np.shape(x)) == self.input_shape
        out = self.values(self.as_batch(x), self.output)[self.output]
        return out[0] if single else out

    def logits(self, x: Tensor) -> Tensor:
        """Outputs of a batch as vectors, shape (n, outputs)."""
        return self.values(x, self.output)[self.output].flatten(1)

    def within(self, box: Box) -> Network:
        """The network with a box of allowed inputs."""
        return replace(self, box=box)

    def values(self, x: Tensor | np.ndarray, *wanted: str) -> dict[str, Tensor]:
        """Values of the named nodes (all by default) for a batch of inputs."""
        kept = {self.resolve(name) for name in wanted} or {INPUT, *self._by_name}  # type: ignore[attr-defined]
        last_use = {name: i for i, node in enumerate(self.nodes) for name in node.inputs}
        values = {INPUT: self.as_batch(x)}
        for i, node in enumerate(self.nodes):
            inputs = [values[name] for name in node.inputs]
            values[node.name] = node.op.value(*inputs) if isinstance(node.op, Choice) else evaluate(node.op, *inputs)
            for name in node.inputs:
                if last_use[name] == i and name not in kept:
                    values.pop(name, None)
            if kept <= values.keys():
                break
        return {name: values[name] for name in values if name in kept}

    def pattern(self, x: Tensor | np.ndarray, chunk: int = 256) -> Pattern:
        """Patterns of a batch of inputs, every branch decided exactly (see `plica.core.pattern`)."""
        if self.dtype != torch.float64:
            raise ArgumentError(f"A pattern is decided in float64; this network was cast to {self.dtype}.")
        batch = self.as_batch(x)
        if not bool(torch.isfinite(batch).all()):
            raise ArgumentError("The input holds NaN or infinite entries; a pattern needs finite ones.")
        starts = range(0, max(len(batch), 1), chunk)
        parts = [choose_exactly(self.nodes, batch[i : i + chunk]).branches for i in starts]
        return Pattern({name: torch.cat([p[name] for p in parts]) for name in self.choices}, len(batch))

    def freeze(self, pattern: Pattern) -> Network:
        """The affine network of a pattern (or of a batch of patterns, each applied to its own row)."""
        nodes = tuple(
            replace(node, op=node.op.freeze(pattern.branches[node.name])) if isinstance(node.op, Choice) else node
            for node in self.nodes
        )
        return replace(self, nodes=nodes)

    def on(self, plane: Plane | Segment) -> Network:
        """The network restricted to an affine slice x = origin + basis s, as a network of s.

        The slice's window, where it has one, becomes the box of allowed inputs.
        """
        cut = plane.plane() if isinstance(plane, Segment) else plane
        n, k = cut.ambient, cut.dimension
        if n != math.prod(self.input_shape):
            raise ShapeError(f"The slice lies in {n} dimensions; the network reads {self.input_shape}.")
        graph = Graph((k,))
        basis, origin = (torch.from_numpy(a.copy()).to(self.device, self.dtype) for a in (cut.basis, cut.origin))
        start = graph.add("slice", Dense(basis, origin, (k,)), INPUT)
        start = graph.add("slice_shape", Gather(None, (n,), self.input_shape), start)
        return replace(_copy(self.nodes, graph, {INPUT: start}).network(None, self.origin), box=cut.window)

    def upto(self, layer: str | int, side: str = "post") -> Network:
        """The part of the network from its input to a layer."""
        graph = _copy(self.nodes, Graph(self.input_shape), {INPUT: INPUT})
        return replace(graph.network(self.resolve(layer, side), self.origin), box=self.box)

    def after(self, layer: str | int, side: str = "post") -> Network:
        """The part of the network that reads a layer.

        Raises
        ------
        ArgumentError
            When the layer does not cut the graph (it lies inside a residual branch).
        """
        name = self.resolve(layer, side)
        start = 0 if name == INPUT else 1 + self.nodes.index(self[name])
        known, later = {name}, []
        for node in self.nodes[start:]:
            missing = [i for i in node.inputs if i not in known]
            if missing:
                raise ArgumentError(
                    f"layer = {name!r} does not cut the graph: node {node.name!r} also reads {missing[0]!r}. "
                    "Name a layer that everything after it depends on alone."
                )
            known.add(node.name)
            later.append(node)
        return _copy(tuple(later), Graph(self.shape_of(name)), {name: INPUT}).network(None, self.origin)

    def block(self, layer: str | int, side: str = "pre") -> tuple[Network, tuple[str, ...]]:
        """The affine map from a layer's own input to its units.

        Returns
        -------
        network : Network
            Affine nodes only; its input is the joint flat vector of the sources.
        sources : tuple of str
            The values it reads: outputs of choice nodes, or "input"; several where branches meet.
        """
        target = self.resolve(layer, side)
        needed, inner = {target}, []
        for node in reversed(self.nodes):
            if node.name in needed and not isinstance(node.op, Choice):
                needed.update(node.inputs)
                inner.append(node)
        inner.reverse()
        names = {node.name for node in inner}
        order = (INPUT, *(node.name for node in self.nodes))
        sources = tuple(name for name in order if name in needed - names)
        graph, mapping, start = Graph((sum(math.prod(self.shape_of(s)) for s in sources),)), {}, 0
        for name in sources:
            shape = self.shape_of(name)
            index = torch.arange(start, start + math.prod(shape), device=self.device)
            mapping[name] = graph.add(f"{name}_part", Gather(index, graph.input_shape, shape), INPUT)
            start += math.prod(shape)
        graph = _copy(tuple(inner), graph, mapping)
        return graph.network(mapping.get(target, target), self.origin), sources

    def to(self, device: str | torch.device) -> Network:
        """The network on another device.

        Raises
        ------
        DeviceError
            On a device without float64 (MPS).
        """
        target = torch.device(device)
        if target.type == "mps":
            raise DeviceError("device = 'mps' has no float64, which plica computes in. Use 'cpu' or 'cuda'.")
        return self._moved(device=target)

    def cast(self, dtype: torch.dtype) -> Network:
        """The network in another floating-point dtype: to see what the original model's arithmetic does."""
        return self._moved(dtype=dtype)

    def _moved(self, **where: object) -> Network:
        return replace(self, nodes=tuple(replace(n, op=_moved(n.op, where)) for n in self.nodes))

    def piece(self, x: Tensor | np.ndarray) -> Piece:
        """The piece of one input: the cell around it on which the network is one affine map."""
        batch = self.as_batch(x)
        if len(batch) != 1:
            raise ShapeError(f"net.piece takes one input; got a batch of {len(batch)}. Use net.pieces(X).")
        return next(self.pieces(batch))

    def pieces(self, x: Tensor | np.ndarray) -> Iterator[Piece]:
        """The pieces of a batch of inputs, one after the other; their patterns are found together."""
        from importlib import import_module

        make = import_module("plica.core.piece").Piece  # which stands on this module
        batch = self.as_batch(x)
        pattern = self.pattern(batch)
        return (make(self, pattern[i], point) for i, point in enumerate(batch))

    def to_torch(self) -> torch.nn.Module:
        """The network as a torch module."""
        from importlib import import_module

        return import_module("plica.loaders.to_torch").to_torch(self)


def _level_outside(frame: FrameType) -> int:
    """Stack level, for a warning from this frame, of the first frame outside of plica: a notice points there."""
    level = 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "plica":
        frame, level = frame.f_back, level + 1
    return level


def _copy(nodes: tuple[Node, ...], graph: Graph, mapping: dict[str, str]) -> Graph:
    """Append nodes to a graph, with some values renamed."""
    for node in nodes:
        mapping[node.name] = graph.add(node.name, node.op, *(mapping[i] for i in node.inputs))
    return graph


def _tensors(op: Affine | Choice) -> Iterator[Tensor]:
    """Parameters of a node, also of one inside it."""
    for value in vars(op).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Affine):
            yield from _tensors(value)


def _moved(op: Affine | Choice, where: dict) -> Affine | Choice:
    """The node with its tensors on a device or in a dtype; indices keep theirs."""
    changes: dict[str, object] = {}
    for name, value in vars(op).items():
        if isinstance(value, Tensor):
            keep = "dtype" in where and not value.is_floating_point()
            changes[name] = value if keep else value.to(**where)
    if hasattr(op, "node"):
        changes["node"] = _moved(op.node, where)
    return replace(op, **changes)  # type: ignore[type-var]
