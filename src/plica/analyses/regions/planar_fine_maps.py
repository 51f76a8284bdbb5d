"""Affine maps of planar cells with twice the digits of a float, composed layer by layer from a cell's pattern."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from plica.analyses.regions.planar_exact import Line, word_count
from plica.analyses.regions.planar_fine import FINE, TINY, choose, difference, divide_by, multiply_add
from plica.analyses.regions.planar_kernels import NONE, UNIT
from plica.analyses.regions.planar_rows import NodeBound, choice_norm, choice_of
from plica.analyses.regions.solid_stages import Stage
from plica.core.affine import Scale, to_numpy
from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.network import INPUT, Network, Node

SAFE = 1.0 + 1e-9
KEPT_BYTES = 1 << 26  # of maps that are remembered


@dataclass(frozen=True, eq=False)
class Map:
    """Constant and columns of x and y of an affine map, shape (size, 3), as H + L, and each column's error."""

    H: np.ndarray
    L: np.ndarray
    error: np.ndarray

    @property
    def off(self) -> float:
        """Error of any coefficient, at most."""
        return float(self.error.max())


@dataclass(frozen=True, eq=False)
class _Affine:
    """An affine node: its sparse matrices, divisor and bias."""

    matrices: tuple
    divisor: np.ndarray | None
    bias: np.ndarray | None
    terms: int
    bound: NodeBound


class FineMaps:
    """Maps of cells, from their pattern words; the latest are kept.

    Parameters
    ----------
    net : Network
        With two inputs.
    plan : tuple of Stage
    bounds : dict of NodeBound
        By name of the affine nodes before the stages.
    window : list of Line
        Lines of the domain's sides.
    """

    def __init__(self, net: Network, plan: tuple[Stage, ...], bounds: dict[str, NodeBound], window: list[Line]) -> None:
        self.plan = plan
        self.starts = np.cumsum([0, *(word_count(stage) for stage in plan)])
        self.nodes = {n.name: _affine(n, bounds[n.name]) for stage in plan for n in stage.before}
        self.tables = [_tables(stage) for stage in plan]
        self.window = [_window_line(line) for line in window]
        H = np.zeros((2, 3))
        H[0, 1] = H[1, 2] = 1.0
        self.first = {INPUT: Map(H, np.zeros((2, 3)), np.zeros(3))}
        self.known: OrderedDict[tuple[int, bytes], dict[str, Map]] = OrderedDict()
        self.bytes = 0

    def values(self, index: int, words: np.ndarray) -> dict[str, Map]:
        """Maps of the values that stage `index` and later nodes read, on a cell."""
        key = index, words[: self.starts[index]].tobytes()
        found = self.known.get(key)
        if found is not None:
            self.known.move_to_end(key)
            return found
        known = dict(self.first)
        if index:
            before = self.plan[index - 1]
            known = dict(self.values(index - 1, words))
            known[before.node.name] = self._choose(index - 1, known[before.node.inputs[0]], words)
            known = {k: v for k, v in known.items() if k in before.keep}
        for node in self.plan[index].before:
            known[node.name] = _apply(self.nodes[node.name], [known[i] for i in node.inputs])
        self.known[key] = known
        self.bytes += _bytes(known)
        while self.bytes > KEPT_BYTES and len(self.known) > 1:
            self.bytes -= _bytes(self.known.popitem(last=False)[1])
        return known

    def _choose(self, index: int, read: Map, words: np.ndarray) -> Map:
        """A map after a choice node."""
        stage = self.plan[index]
        op, taken = choice_of(stage), self.branches(index, words)
        if isinstance(op, MaxOver):
            chosen = self.tables[index][0][np.arange(len(taken)), taken]
            return Map(read.H[chosen], read.L[chosen], read.error * choice_norm(op) * SAFE)
        units = np.arange(len(taken))
        slope, shift = (table[taken, units] for table in self.tables[index])
        H, L = np.empty_like(read.H), np.empty_like(read.H)
        choose(slope, shift, read.H, read.L, H, L)
        most = choice_norm(op)
        size = most * np.linalg.norm(read.H, axis=0) + np.array([np.linalg.norm(shift), 0.0, 0.0])
        return Map(H, L, (read.error * most + 8.0 * UNIT * UNIT * size + TINY) * SAFE)

    def branches(self, index: int, words: np.ndarray) -> np.ndarray:
        """Branches of one stage on a cell."""
        stage, own = self.plan[index], words[self.starts[index] : self.starts[index + 1]]
        taken = stage.initial.copy()
        if stage.binary:
            bits = np.unpackbits(own.view(np.uint8), bitorder="little")[: stage.forms]
            np.add.at(taken, stage.unit, stage.step * bits.astype(np.int16))
        else:
            taken[stage.unit] = own.view(np.uint16)[: stage.decisions]
        return taken

    def line(self, label: int, words: np.ndarray) -> np.ndarray:
        """Line of a side of a cell, as in `plica.analyses.regions.planar_fine`."""
        if label < 0:
            return self.window[-1 - label]
        index, form, other = label >> 48, (label >> 24) & NONE, label & NONE
        read = self.values(index, words)[self.plan[index].node.inputs[0]]
        if other == NONE:
            return self.forms(index, read, np.array([form]))[0]
        rows, out = lines_of(read, np.array([form, other])), np.empty(7)
        difference(rows[0], rows[1], out)
        return out

    def forms(self, index: int, read: Map, chosen: np.ndarray) -> np.ndarray:
        """Lines of forms of a stage on a cell."""
        stage = self.plan[index]
        out = lines_of(read, stage.plus[chosen])
        if (stage.minus[chosen] >= 0).any():
            for row, other in zip(out, lines_of(read, stage.minus[chosen]), strict=True):
                difference(row.copy(), other, row)
        for row, knot in zip(out, stage.knot[chosen], strict=True):
            if knot:
                difference(row.copy(), np.array([knot, 0, 0, 0, 0, 0, 0]), row)
        return out


def lines_of(read: Map, units: np.ndarray) -> np.ndarray:
    """Rows of a map as lines."""
    out = np.empty((len(units), 7))
    out[:, :6:2], out[:, 1:6:2], out[:, 6] = read.H[units], read.L[units], read.off
    return out


def _bytes(known: dict[str, Map]) -> int:
    return sum(2 * v.H.nbytes for v in known.values()) + 1000


def _affine(node: Node, bound: NodeBound) -> _Affine:
    """What a node does, as arrays."""
    op = node.op
    assert not isinstance(op, Choice)
    size = math.prod(node.shape)
    matrices = tuple((M.indptr.astype(np.int64), M.indices.astype(np.int64), M.data.astype(np.float64))
                     for M in op.entries())  # fmt: skip
    divisor = op.divisor if isinstance(op, Scale) else None
    flat = [None if t is None else np.ascontiguousarray(np.broadcast_to(to_numpy(t), (1, *node.shape)).reshape(size),
                                                        np.float64) for t in (divisor, op.bias)]  # fmt: skip
    terms = max((int(np.diff(M[0]).max(initial=0)) for M in matrices), default=0)
    return _Affine(matrices, flat[0], flat[1], terms * len(matrices) + 1, bound)


def _apply(node: _Affine, inputs: list[Map]) -> Map:
    """An affine node of maps; see `planar_fine` for the bound."""
    size = len(node.matrices[0][0]) - 1
    H, L = np.zeros((size, 3)), np.zeros((size, 3))
    if node.bias is not None and node.divisor is None:
        H[:, 0] = node.bias
    for (indptr, indices, data), v in zip(node.matrices, inputs, strict=True):
        multiply_add(indptr, indices, data, v.H, v.L, H, L)
    if node.divisor is not None:
        divide_by(node.divisor, H, L)
        if node.bias is not None:
            one, unit = np.ones(size), np.zeros((size, 3))
            unit[:, 0] = node.bias
            rest = L.copy()
            multiply_add(np.arange(size + 1), np.arange(size), one, unit, np.zeros((size, 3)), H, rest)
            L = rest
    error = np.array([node.bound.offset, 0.0, 0.0])
    for absolute, v in zip(node.bound.absolute, inputs, strict=True):
        error += absolute * np.linalg.norm(v.H, axis=0)
    error *= (4.0 * (node.terms + 2) ** 2 + 16.0) * UNIT * UNIT
    for spectral, v in zip(node.bound.spectral, inputs, strict=True):
        error += spectral * v.error
    return Map(H, L, (error + TINY) * SAFE)


def _tables(stage: Stage) -> tuple[np.ndarray, ...]:
    """Candidates of a maximum, shape (groups, most); or slopes and intercepts, shape (pieces, units)."""
    op = stage.node.op
    if isinstance(op, MaxOver):
        return (to_numpy(op.index),)
    assert isinstance(op, Piecewise)
    return tuple(np.stack([np.broadcast_to(to_numpy(row), op.input_shape).ravel() for row in t])
                 for t in (op.slopes, op.intercepts))  # fmt: skip


def _window_line(line: Line) -> np.ndarray:
    """A line of integers, scaled to floats."""
    out = np.empty(7)
    scale = 1 << max(abs(v) for v in line).bit_length()
    for q, v in enumerate((line[2], line[0], line[1])):
        exact = Fraction(v, scale)
        out[2 * q] = float(exact)
        out[2 * q + 1] = float(exact - Fraction(out[2 * q]))
    out[6] = FINE
    return out
