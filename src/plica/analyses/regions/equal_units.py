"""Units that compute the same function of the input, told by how they are wired.

Two entries have one *class* if they read equal classes with equal weights: then they are equal everywhere, in exact
arithmetic. (Over the constant border of images most positions of a convolution are of one class.) Class 0 is zero
everywhere. The converse does not hold: equal functions may differ in class.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

import numpy as np

from plica.core.affine import Dense, Scale, to_numpy
from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.network import INPUT, Network, Node

ENTRIES = 1 << 24  # a node with more weights is not looked into


class _Numbers:
    """Numbers for keys; a key that is None is a class of its own."""

    def __init__(self) -> None:
        self.known: dict[Hashable, int] = {}
        self.next = 1

    def of(self, key: Hashable | None) -> int:
        number = self.next if key is None else self.known.setdefault(key, self.next)
        self.next += number == self.next
        return number


def equal_units(net: Network, upto: str) -> dict[str, np.ndarray]:
    """Classes of the entries of all values up to a node, without that node.

    Returns
    -------
    dict of ndarray of int64, shape (size,)
    """
    numbers = _Numbers()
    classes = {INPUT: _own(numbers, math.prod(net.input_shape))}
    for node in net.nodes:
        if node.name == upto:
            break
        inputs = [classes[name] for name in node.inputs]
        if isinstance(node.op, Piecewise):
            classes[node.name] = _scalar(numbers, node, inputs[0])
        elif isinstance(node.op, MaxOver):
            classes[node.name] = _maximum(numbers, node, inputs[0])
        else:
            classes[node.name] = _affine(numbers, node, inputs)
    return classes


def _own(numbers: _Numbers, size: int) -> np.ndarray:
    return np.array([numbers.of(None) for _ in range(size)], np.int64)


def _scalar(numbers: _Numbers, node: Node, read: np.ndarray) -> np.ndarray:
    """Functions of one number: equal where they have equal tables and read one class; zero where 0 goes to 0."""
    op = node.op
    assert isinstance(op, Piecewise)
    rows = [np.broadcast_to(to_numpy(row), op.input_shape).ravel()
            for t in (op.knots, op.slopes, op.intercepts) for row in t]  # fmt: skip
    table = np.stack(rows, axis=1)
    zero = (op.value(op.slopes.new_zeros((1, *op.input_shape))) == 0).cpu().numpy().ravel() & (read == 0)
    return np.array([0 if z else numbers.of((node.name, c, t.tobytes()))
                     for c, t, z in zip(read.tolist(), table, zero, strict=True)], np.int64)  # fmt: skip


def _maximum(numbers: _Numbers, node: Node, read: np.ndarray) -> np.ndarray:
    """Maxima over one set of classes are equal; over one class they are that class."""
    assert isinstance(node.op, MaxOver)
    out = []
    for row in to_numpy(node.op.index):
        members = frozenset(read[row[row >= 0]].tolist())
        out.append(next(iter(members)) if len(members) == 1 else numbers.of(("max", members)))
    return np.array(out, np.int64)


def _affine(numbers: _Numbers, node: Node, inputs: list[np.ndarray]) -> np.ndarray:
    """Sums of classes with weights, which must agree one by one: nothing is added up, so nothing rounds."""
    op, size = node.op, math.prod(node.shape)
    assert not isinstance(op, Choice)
    wide = isinstance(op, Dense) and size * math.prod(op.input_shape) > ENTRIES
    if wide or isinstance(op, Scale):  # a division is not looked into
        return _own(numbers, size)
    bias = np.zeros(size) if op.bias is None else np.broadcast_to(to_numpy(op.bias), (1, *node.shape)).ravel()
    matrices = op.entries()
    out = np.empty(size, np.int64)
    for i in range(size):
        pairs = []
        for M, read in zip(matrices, inputs, strict=True):
            a, b = M.indptr[i], M.indptr[i + 1]
            own, weight = read[M.indices[a:b]], M.data[a:b]
            pairs += [(c, w) for c, w in zip(own.tolist(), weight.tolist(), strict=True) if c and w]
        if bias[i] == 0 and (not pairs or (len(pairs) == 1 and pairs[0][1] == 1)):
            out[i] = pairs[0][0] if pairs else 0
        else:
            out[i] = numbers.of((*sorted(pairs), float(bias[i])))
    return out
