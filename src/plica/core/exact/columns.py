"""Exact evaluation of a network: columns of rational numbers pushed through its nodes.

A point and some directions are the columns of a matrix; every affine node multiplies them exactly (Python integers with
one common scale), every choice node is decided by the first column in which it is not tied. The bias counts for the
first column only. Numbers grow by about the width of a weight (53 bits and the spread of the exponents) per layer.
Products with weights are float products of short limbs, exact because no sum of them reaches 2^53.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from plica.core.affine import Affine, Dense, Scale, once_per_node
from plica.core.choice import MaxOver, Piecewise
from plica.core.conv import Conv, Transposed

Integers = np.ndarray  # of dtype object, Python integers


def to_integers(values: np.ndarray) -> tuple[Integers, int]:
    """Return integers k and an exponent q with values = k * 2^q, exactly.

    Parameters
    ----------
    values : ndarray of float64
        Any shape, finite.
    """
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    nonzero = whole != 0
    if not nonzero.any():
        return whole.astype(object), 0
    low = np.where(nonzero, whole & -whole, 1)
    trailing = np.where(nonzero, np.frexp(low.astype(np.float64))[1] - 1, 0)
    whole, exponent = whole >> trailing, exponent - 53 + trailing
    base = int(exponent[nonzero].min())
    shift = np.where(nonzero, exponent - base, 0)
    return whole.astype(object) * (2 ** shift.astype(object)), base


@dataclass(frozen=True, eq=False)
class Columns:
    """Exact columns: ``numerator * scale``.

    Attributes
    ----------
    numerator : ndarray of Python integers, shape (size, columns)
    scale : Fraction
        Positive.
    """

    numerator: Integers
    scale: Fraction

    @classmethod
    def of(cls, *columns: np.ndarray) -> Columns:
        """Exact copy of float64 vectors (any shape, flattened)."""
        whole, exponent = to_integers(np.stack([np.asarray(c, dtype=np.float64).ravel() for c in columns], axis=1))
        return cls(whole, Fraction(2) ** exponent)

    def to_float(self) -> np.ndarray:
        """Nearest float64 values, shape (size, columns); infinite beyond the range of floats."""
        flat = [_rounded(int(k) * self.scale) for k in self.numerator.ravel()]
        return np.array(flat, dtype=np.float64).reshape(self.numerator.shape)

    def entry(self, row: int, column: int = 0) -> Fraction:
        """One exact entry."""
        return int(self.numerator[row, column]) * self.scale


def _rounded(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _common(a: Fraction, b: Fraction) -> Fraction:
    """Largest scale of which both are integer multiples."""
    return Fraction(math.gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)


def add(a: Columns, b: Columns) -> Columns:
    """a + b."""
    scale = _common(a.scale, b.scale)
    return Columns(a.numerator * int(a.scale / scale) + b.numerator * int(b.scale / scale), scale)


def join(*parts: Columns) -> Columns:
    """Columns side by side."""
    scale = parts[0].scale
    for part in parts[1:]:
        scale = _common(scale, part.scale)
    return Columns(np.concatenate([p.numerator * int(p.scale / scale) for p in parts], axis=1), scale)


def stack(parts: list[Columns]) -> Columns:
    """Rows below each other."""
    turned = join(*(Columns(p.numerator.T, p.scale) for p in parts))
    return Columns(turned.numerator.T, turned.scale)


def _product(matrix: sp.csr_array, v: Columns) -> Columns:
    """Matrix times columns."""
    matrix = sp.csr_array(matrix)
    matrix.sum_duplicates()
    data, exponent = to_integers(matrix.data)
    out = np.zeros((matrix.shape[0], v.numerator.shape[1]), dtype=object)
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if len(filled):
        products = data[:, None] * v.numerator[matrix.indices]
        out[filled] = np.add.reduceat(products, matrix.indptr[filled], axis=0)
    return Columns(out, v.scale * Fraction(2) ** exponent)


def _limbs(whole: Integers, bits: int) -> np.ndarray:
    """Integers as sums of limbs * 2^(bits * position): floats below 2^bits with the integers' signs, lowest first."""
    sign, rest = np.where(whole < 0, -1.0, 1.0), abs(whole)
    limbs: list[np.ndarray] = []
    while not limbs or rest.any():
        limbs.append((rest & (2**bits - 1)).astype(np.float64) * sign)
        rest = np.right_shift(rest, bits)
    return np.stack(limbs)


@once_per_node
def _parts(op: Affine) -> tuple[list[Dense | Conv], int, int]:
    """Nodes of the weight's limbs, the bits of a limb, and the exponent of the weight.

    A limb is so short that a sum of products of two limbs stays below 2^53.
    """
    node = op.node if isinstance(op, Transposed) else op
    assert isinstance(node, (Dense, Conv))
    whole, exponent = to_integers(node.weight.detach().cpu().numpy())
    bits = (53 - op.terms.bit_length()) // 2
    limbs = map(torch.from_numpy, _limbs(whole, bits))
    return [replace(node, weight=limb, bias=None) for limb in limbs], bits, exponent


def _weighted(op: Dense | Conv | Transposed, v: Columns) -> Columns:
    """The linear part of a node with a weight: float products of limbs that round nothing, added up in integers."""
    parts, bits, exponent = _parts(op)
    turned = isinstance(op, Transposed)
    shape = parts[0].shape(parts[0].input_shape) if turned else parts[0].input_shape
    size = math.prod(op.shape(shape))
    values = _limbs(v.numerator.T, bits)
    batch = torch.from_numpy(values.reshape(-1, *shape))
    sums = np.zeros((len(parts) + len(values) - 1, values.shape[1], size), dtype=np.int64)
    for i, part in enumerate(parts):
        out = part.adjoint(batch)[0] if turned else part.apply(batch)
        sums[i : i + len(values)] += out.reshape(*values.shape[:2], size).numpy().astype(np.int64)
    total = np.zeros(sums.shape[1:], dtype=object)
    for row in sums[::-1]:
        total = total * 2**bits + row
    return Columns(total.T, v.scale * Fraction(2) ** exponent)


def _array(t: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter (possibly with a batch axis of one) at every unit, flat."""
    return np.broadcast_to(t.detach().cpu().numpy().astype(np.float64), (1, *shape)).ravel()


def _divide(v: Columns, divisor: np.ndarray) -> Columns:
    """Divide every row by its own divisor."""
    whole, exponent = to_integers(divisor)
    multiple = math.lcm(*{abs(int(d)) for d in whole})
    factor = np.array([multiple // int(d) for d in whole], dtype=object)
    return Columns(v.numerator * factor[:, None], v.scale / (multiple * Fraction(2) ** exponent))


def affine(op: Affine, out_shape: tuple[int, ...], *inputs: Columns) -> Columns:
    """Push columns through an affine node without batch axis."""
    if isinstance(getattr(op, "node", op), (Dense, Conv)):
        parts = [_weighted(op, inputs[0])]  # type: ignore[arg-type]
    else:
        parts = [_product(matrix, v) for matrix, v in zip(op.entries(), inputs, strict=True)]
    out = parts[0]
    for part in parts[1:]:
        out = add(out, part)
    if isinstance(op, Scale) and op.divisor is not None:
        out = _divide(out, _array(op.divisor, out_shape))
    if op.bias is None:
        return out
    return add(out, _first_column(_array(op.bias, out_shape), out.numerator.shape[1]))


def _first_column(values: np.ndarray, columns: int) -> Columns:
    whole, exponent = to_integers(values)
    numerator = np.zeros((len(values), columns), dtype=object)
    numerator[:, 0] = whole
    return Columns(numerator, Fraction(2) ** exponent)


def _signs(v: Columns) -> np.ndarray:
    """Sign of every row: that of its first nonzero column, 0 when there is none."""
    signs = np.zeros(len(v.numerator), dtype=np.int8)
    for column in v.numerator.T:
        sign = (column > 0).astype(np.int8) - (column < 0).astype(np.int8)
        signs = np.where(signs == 0, sign, signs)
    return signs


def piecewise(op: Piecewise, z: Columns) -> tuple[Columns, np.ndarray]:
    """Value and branch of every unit; on a knot the later columns decide, then the lower branch wins."""
    shape, columns = op.input_shape, z.numerator.shape[1]
    branches = np.zeros(len(z.numerator), dtype=np.int64)
    for knot in op.knots:
        branches += _signs(add(z, _first_column(-_array(knot, shape), columns))) > 0
    pick = [np.stack([_array(row, shape) for row in table])[branches, np.arange(len(branches))]
            for table in (op.slopes, op.intercepts)]  # fmt: skip
    slopes, exponent = to_integers(pick[0])
    out = Columns(z.numerator * slopes[:, None], z.scale * Fraction(2) ** exponent)
    return add(out, _first_column(pick[1], columns)), branches


def max_over(op: MaxOver, z: Columns) -> tuple[Columns, np.ndarray]:
    """Value and winner of every group; ties are decided by the later columns, then the lowest position wins."""
    index = op.index.cpu().numpy()
    winners = np.zeros(len(index), dtype=np.int64)
    for group, members in enumerate(index):
        places = np.flatnonzero(members >= 0)
        rows = z.numerator[members[places]]
        winners[group] = places[max(range(len(places)), key=lambda k: (tuple(rows[k]), -k))]
    return Columns(z.numerator[index[np.arange(len(index)), winners]], z.scale), winners


def forward(nodes: tuple, columns: Columns) -> tuple[dict[str, Columns], dict[str, np.ndarray]]:
    """Push columns through the nodes of a network.

    Returns
    -------
    values : dict of Columns
        Exact columns of every value, by name; "input" is the network's input.
    branches : dict of ndarray of int
        Flat branches of every choice node.
    """
    values, branches = {"input": columns}, {}
    for node in nodes:
        inputs = [values[name] for name in node.inputs]
        if isinstance(node.op, Piecewise):
            values[node.name], branches[node.name] = piecewise(node.op, *inputs)
        elif isinstance(node.op, MaxOver):
            values[node.name], branches[node.name] = max_over(node.op, *inputs)
        else:
            values[node.name] = affine(node.op, node.shape, *inputs)
    return values, branches
