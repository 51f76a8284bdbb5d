"""A network as steps whose constants are known: nodes, with wrapped borders and sorting put together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from plica.analyses.lipschitz.norms import Bracket, Effort, best_gain, bracket, joint, of_several, torus_upper
from plica.core.affine import Concat, Dense, Gather, Scale, Sum
from plica.core.choice import MaxOver, Piecewise
from plica.core.conv import Conv, Transposed
from plica.core.network import INPUT, Node


@dataclass(frozen=True, eq=False)
class Smooth:
    """A layer with a known constant that is not a node of the core: contrast normalisation, sigmoid, wrapped borders.

    Attributes
    ----------
    kind : str
    constant : Bracket
    """

    kind: str
    constant: Bracket


@dataclass(frozen=True, eq=False)
class Part:
    """A node as in `plica.core.network.Node`, whose operation may be a `Smooth` layer."""

    name: str
    op: Any
    inputs: tuple[str, ...]
    shape: tuple[int, ...]


Item = Part | Node


@dataclass(frozen=True, eq=False)
class Step:
    """A node and its bracket."""

    node: Item
    constant: Bracket

    @property
    def kind(self) -> str:
        """What the node is."""
        return kind_of(self.node.op)


def kind_of(op: Any) -> str:
    """Word for a node."""
    if isinstance(op, (Smooth, Piecewise)):
        return op.kind if isinstance(op, Smooth) else op.name
    words = {Dense: "dense", Conv: "convolution", Transposed: "transposed", Gather: "rearranging", Scale: "scale",
             Sum: "sum", Concat: "concatenation", MaxOver: "maximum"}  # fmt: skip
    return next((word for kind, word in words.items() if isinstance(op, kind)), type(op).__name__.lower())


def measured(nodes: Sequence[Item], input_shape: tuple[int, ...], effort: Effort) -> tuple[list[Step], list[Item]]:
    """Brackets of the nodes, and the nodes that budgets left out (an upper bound of infinity stands for them)."""
    from plica.errors import BudgetReached

    shapes = {INPUT: input_shape, **{n.name: n.shape for n in nodes}}
    steps: list[Step] = []
    left: list[Item] = []
    for done, node in enumerate(nodes):
        effort.progress.report("layers", done, len(nodes))
        inputs = tuple(shapes[i] for i in node.inputs)
        try:
            if not left:
                effort.progress.check()
            constant = _constant(node, inputs, effort) if not left else None
        except BudgetReached:
            constant = None
        if constant is None:
            left.append(node)
            constant = Bracket(0.0, math.inf, "not reached")
        steps.append(Step(node, constant))
    return steps, left


def _constant(node: Item, inputs: tuple[tuple[int, ...], ...], effort: Effort) -> Bracket:
    return of_several(node.op) if isinstance(node.op, (Sum, Concat)) else bracket(node.op, inputs, effort)


def product(steps: Sequence[Step], output: str, start: str = INPUT) -> float:
    """Upper bound of the whole graph from its nodes' upper bounds."""
    known = {start: 1.0}
    for step in steps:
        if all(i in known for i in step.node.inputs):
            known[step.node.name] = joint(step.node.op, step.constant, [known[i] for i in step.node.inputs])
    return known[output]


# -- nodes that are one layer together --------------------------------------------------------------------------------


def joined(nodes: Sequence[Item], effort: Effort) -> list[Item]:
    """Wrapped borders with their convolution, and the exchanges of a sort, as single steps."""
    readers = Counter(i for node in nodes for i in node.inputs)
    by_name = {node.name: node for node in nodes}
    out: list[Item] = []
    for node in nodes:
        found = _wrapped(node, by_name, readers, effort) or _exchange(node, by_name, readers)
        if found is None:
            out.append(node)
            continue
        new, gone = found
        out = [n for n in out if n.name not in gone]
        out.append(new)
    return out


def _wrapped(node: Item, by_name: dict, readers: Counter, effort: Effort) -> tuple[Part, set[str]] | None:
    """A convolution that reads a wrapped border: circular padding."""
    border = by_name.get(node.inputs[0])
    if not isinstance(node.op, Conv) or border is None or not isinstance(border.op, Gather) or border.op.index is None:
        return None
    if any(map(any, node.op.padding)) or readers[border.name] != 1 or border.op.index.ndim != 1:
        return None
    inner = border.op.input_shape
    if len(inner) != len(border.op.output_shape) or inner[0] != border.op.output_shape[0]:
        return None
    places = border.op.index.cpu().numpy().reshape(border.op.output_shape)
    before = np.argwhere(places == 0)
    axes = [np.arange(m) for m in border.op.output_shape[1:]]
    grid = np.arange(math.prod(inner)).reshape(inner)
    for first in before:
        wrapped = [(axis - first[1 + i]) % inner[1 + i] for i, axis in enumerate(axes)]
        if first[0] == 0 and (grid[np.ix_(np.arange(inner[0]), *wrapped)] == places).all():
            constant = circular(replace(node.op, input_shape=inner), node.shape[1:], border.op, node.op, effort)
            if constant is None:
                return None
            found = Part(node.name, Smooth("circular convolution", constant), border.inputs, node.shape)
            return found, {border.name}
    return None


def circular(conv: Conv, out: tuple[int, ...], border: Gather, padded: Conv, effort: Effort) -> Bracket | None:
    """Bracket of a convolution behind a wrapped border: all rows of the circular one, or some of them."""
    size = conv.input_shape[1:]
    if any(n % s or m > n // s for n, s, m in zip(size, conv.stride, out, strict=True)):
        return None
    if not bool(torch.isfinite(conv.weight).all()):
        return Bracket(0.0, math.inf, "weights that are NaN or infinite")
    clean = replace(conv, weight=conv.weight.detach().double().cpu(), bias=None)
    upper = torus_upper(clean, size, effort)
    both = Behind(border, replace(padded, weight=clean.weight, bias=None))
    return Bracket(best_gain(both, conv.input_shape, effort) if upper > 0 else 0.0, upper, "circular")


@dataclass(frozen=True, eq=False)
class Behind:
    """A convolution behind a rearrangement, as one map."""

    first: Gather
    second: Conv
    bias: None = None

    @property
    def terms(self) -> int:
        """Roundings behind one output."""
        return self.second.terms

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one output."""
        return self.second.shape(self.first.output_shape)

    def apply(self, *v: torch.Tensor) -> torch.Tensor:
        """Rearrange, then convolve."""
        return self.second.apply(self.first.apply(*v))

    def adjoint(self, w: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The transpose."""
        return self.first.adjoint(self.second.adjoint(w)[0])

    def magnitude(self) -> Behind:
        """With |weights|."""
        return Behind(self.first, self.second.magnitude())

    def entries(self) -> tuple[Any, ...]:
        """The matrix."""
        return (self.second.entries()[0] @ self.first.entries()[0],)


def _exchange(node: Item, by_name: dict, readers: Counter) -> tuple[Part, set[str]] | None:
    """One round of a sorting network: every pair replaced by its larger and its smaller entry.

    The pair (max, min) is a permutation of the pair on either branch, so the round stretches nothing if it reads the
    larger, the smaller and the remaining entries once each.
    """
    join = by_name.get(node.inputs[0])
    if not (isinstance(node.op, Gather) and node.op.index is not None and join and isinstance(join.op, Concat)):
        return None
    if node.op.index.ndim != 1 or len(join.inputs) != 3 or readers[join.name] != 1:
        return None
    source, top = join.inputs[0], by_name.get(join.inputs[1])
    chain = [by_name.get(join.inputs[2])]
    for _ in range(2):
        chain.append(by_name.get(chain[-1].inputs[0]) if chain[-1] else None)
    minus, low, turned = chain
    if not (top and minus and low and turned and isinstance(top.op, MaxOver) and isinstance(low.op, MaxOver)):
        return None
    if not (_is_minus(minus) and _is_minus(turned) and top.inputs == turned.inputs == (source,)):
        return None
    if not torch.equal(top.op.index, low.op.index) or top.op.index.shape[1] != 2 or shared_pairs(top.op):
        return None
    if not _reads_once(node.op, join.op, top.op):
        return None
    gone = {join.name, top.name, minus.name, low.name, turned.name}
    if any(readers[name] != 1 for name in gone):
        return None
    return Part(node.name, Smooth("sort", Bracket(1.0, 1.0, "permutations")), (source,), node.shape), gone


def _is_minus(node: Item) -> bool:
    op = node.op
    return isinstance(op, Scale) and op.divisor is None and bool((op.factor == -1).all()) and op.bias is None


def shared_pairs(op: MaxOver) -> bool:
    """Whether some unit stands in two groups, or a group holds fewer than two units."""
    flat = op.index.flatten()
    return bool((flat < 0).any()) or len(flat.unique()) < len(flat)


def _reads_once(pick: Gather, join: Concat, top: MaxOver) -> bool:
    """Whether no entry of the joined values is read twice, nor a pair's own entry beside its larger or smaller one."""
    index = pick.index
    assert index is not None
    sizes = [math.prod(s) for s in join.input_shapes]
    tags = [torch.full((n,), t).reshape(s) for t, (n, s) in enumerate(zip(sizes, join.input_shapes, strict=True))]
    own = [torch.arange(n).reshape(s) for n, s in zip(sizes, join.input_shapes, strict=True)]
    tag, place = torch.cat(tags, join.axis).flatten(), torch.cat(own, join.axis).flatten()
    read = index[index >= 0].cpu()
    if len(read.unique()) < len(read):
        return False
    pairs = set(place[read][tag[read] > 0].tolist())
    originals = place[read][tag[read] == 0].tolist()
    members = {int(i) for g in pairs for i in top.index[g]}
    return not members & set(originals)
