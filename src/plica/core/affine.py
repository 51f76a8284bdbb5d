"""Affine nodes: dense, convolution, gather, scale, sum, concatenation.

Every node is x -> A x + bias. `apply` is the linear part A, batched; `adjoint` is its transpose; `magnitude` is the
node with |A| (for error bounds); `entries` is A as an exact sparse matrix. Values carry a leading batch axis; weights
do not, except in nodes made by `freeze`, whose `Scale.factor` or `Gather.index` may carry the batch axis of a pattern.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Shape = tuple[int, ...]
T = TypeVar("T")


@runtime_checkable
class Affine(Protocol):
    """What every affine node offers.

    `terms` bounds the number of roundings behind one output: computed and exact output differ by at most
    ``gamma(terms) * (|A| |x| + |bias|)``, in any order of summation (Higham, Accuracy and Stability, s. 3.1).
    """

    @property
    def bias(self) -> Tensor | None:
        """The constant part, broadcast against the output; None for none."""

    @property
    def terms(self) -> int:
        """Roundings behind one output."""

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output, without the batch axis."""

    def apply(self, *v: Tensor) -> Tensor:
        """The linear part."""

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """The transpose of the linear part, one result per input."""

    def magnitude(self) -> Affine:
        """The node with absolute entries and bias."""

    def entries(self) -> tuple[sp.csr_array, ...]:
        """The linear part as exact sparse matrices, one per input."""


def evaluate(node: Affine, *v: Tensor) -> Tensor:
    """A v + bias."""
    out = node.apply(*v)
    return out if node.bias is None else out + node.bias


def absolute_values(t: Tensor | None) -> Tensor | None:
    """|t| of a parameter that may be missing."""
    return None if t is None else t.abs()


def to_numpy(t: Tensor) -> np.ndarray:
    """A parameter as an array."""
    return t.detach().cpu().numpy()


def once_per_node(function: Callable[[Affine], T]) -> Callable[[Affine], T]:
    """Remember what a function says of a node for as long as the node lives."""
    known: WeakKeyDictionary[Affine, T] = WeakKeyDictionary()

    def look_up(op: Affine) -> T:
        if op not in known:
            known[op] = function(op)
        return known[op]

    return look_up


def _rows(t: Tensor) -> Tensor:
    """One row of entries per input, also where an input has no axes."""
    return t.flatten(1) if t.ndim > 1 else t[:, None]


@dataclass(frozen=True, eq=False)
class Dense:
    """x -> x W' + bias along the last axis.

    Parameters
    ----------
    weight : Tensor, shape (m, n)
    bias : Tensor, shape (m,), optional
    input_shape : tuple of int
        Shape of one input; the last entry is n.
    """

    weight: Tensor
    bias: Tensor | None
    input_shape: Shape

    @property
    def terms(self) -> int:
        """Roundings behind one output."""
        return self.weight.shape[1] + 1

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        return (*inputs[0][:-1], self.weight.shape[0])

    def apply(self, *v: Tensor) -> Tensor:
        """W v."""
        return F.linear(v[0], self.weight)

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """W' w."""
        return (w @ self.weight,)

    def magnitude(self) -> Dense:
        """The node of |W| and |bias|."""
        return Dense(self.weight.abs(), absolute_values(self.bias), self.input_shape)

    def entries(self) -> tuple[sp.csr_array, ...]:
        """W, once per leading index."""
        matrix = sp.csr_array(to_numpy(self.weight))
        repeats = math.prod(self.input_shape[:-1])
        return (matrix if repeats == 1 else sp.csr_array(sp.kron(sp.eye_array(repeats), matrix, format="csr")),)


@dataclass(frozen=True, eq=False)
class Gather:
    """Pick entries of the flattened input: reshape, transpose, slice, pad, index, expand.

    Parameters
    ----------
    index : Tensor of int64, shape (size,) or (batch, size), optional
        Flat input index of every output; -1 gives zero. None: the identity (a reshape).
    input_shape, output_shape : tuple of int
    bias : Tensor, optional
        Constant part (padding with a value).
    """

    index: Tensor | None
    input_shape: Shape
    output_shape: Shape
    bias: Tensor | None = None

    @property
    def terms(self) -> int:
        """Roundings behind one output: the addition of the bias, if any."""
        return 0 if self.bias is None else 1

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        return self.output_shape

    def apply(self, *v: Tensor) -> Tensor:
        """Pick."""
        flat = _rows(v[0])
        if self.index is not None:
            index = self.index
            if index.ndim == 1:
                picked = flat.index_select(1, index.clamp(min=0))
            else:
                rows = len(flat) if len(index) == 1 else len(index)
                picked = flat.expand(rows, -1).gather(1, index.clamp(min=0).expand(rows, -1))
            flat = torch.where(index >= 0, picked, 0.0) if bool((index < 0).any()) else picked
        return flat.reshape(len(flat), *self.output_shape)

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """Add every output back to where it came from."""
        flat = _rows(w)
        if self.index is None:
            return (flat.reshape(len(flat), *self.input_shape),)
        index = self.index.expand(len(flat), -1) if self.index.ndim == 1 or len(self.index) == 1 else self.index
        flat = flat.expand(len(index), -1)
        out = flat.new_zeros(len(index), math.prod(self.input_shape))
        out = out.scatter_add(1, index.clamp(min=0), torch.where(index >= 0, flat, 0.0))
        return (out.reshape(len(out), *self.input_shape),)

    def magnitude(self) -> Gather:
        """The same gather with |bias|."""
        return Gather(self.index, self.input_shape, self.output_shape, absolute_values(self.bias))

    def entries(self) -> tuple[sp.csr_array, ...]:
        """Zero-one matrix; the index may carry a batch axis of one."""
        n, m = math.prod(self.input_shape), math.prod(self.output_shape)
        index = np.arange(n) if self.index is None else to_numpy(self.index).reshape(m)
        rows = np.flatnonzero(index >= 0)
        data = (np.ones(len(rows)), (rows, index[rows]))
        return (sp.csr_array(sp.coo_array(data, shape=(m, n))),)


@dataclass(frozen=True, eq=False)
class Scale:
    """x -> x * factor / divisor + bias, broadcast against the input.

    The divisor is kept apart so that averages and divisions stay exact rationals in exact arithmetic.
    """

    factor: Tensor
    bias: Tensor | None
    input_shape: Shape
    divisor: Tensor | None = None

    @property
    def terms(self) -> int:
        """Roundings behind one output: product, quotient, sum."""
        return 3

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        return inputs[0]

    def apply(self, *v: Tensor) -> Tensor:
        """Multiply, then divide."""
        out = v[0] * self.factor
        return out if self.divisor is None else out / self.divisor

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """The same: the matrix is diagonal."""
        return (self.apply(w),)

    def magnitude(self) -> Scale:
        """The node of |factor| / |divisor| and |bias|."""
        return Scale(self.factor.abs(), absolute_values(self.bias), self.input_shape, absolute_values(self.divisor))

    def entries(self) -> tuple[sp.csr_array, ...]:
        """The factors as a diagonal matrix, without the divisor; the factor may carry a batch axis of one."""
        diagonal = to_numpy(self.factor.expand(1, *self.input_shape)).ravel()
        return (sp.csr_array(sp.diags_array(diagonal)),)


@dataclass(frozen=True, eq=False)
class Sum:
    """sum_i c_i v_i of inputs of equal shape; residual connections."""

    coefficients: tuple[float, ...]
    input_shape: Shape
    bias: Tensor | None = None

    @property
    def terms(self) -> int:
        """Roundings behind one output."""
        return len(self.coefficients) + (self.bias is not None) + any(abs(c) != 1 for c in self.coefficients)

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        return inputs[0]

    def apply(self, *v: Tensor) -> Tensor:
        """Add."""
        parts = [x if c == 1 else c * x for c, x in zip(self.coefficients, v, strict=True)]
        return sum(parts[1:], start=parts[0])

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """A copy for every input."""
        return tuple(c * w for c in self.coefficients)

    def magnitude(self) -> Sum:
        """The sum with |c_i|."""
        return Sum(tuple(map(abs, self.coefficients)), self.input_shape, absolute_values(self.bias))

    def entries(self) -> tuple[sp.csr_array, ...]:
        """Multiples of the identity."""
        eye = sp.csr_array(sp.eye_array(math.prod(self.input_shape)))
        return tuple(sp.csr_array(c * eye) for c in self.coefficients)


@dataclass(frozen=True, eq=False)
class Concat:
    """Join inputs along an axis (0 is the first axis after the batch)."""

    axis: int
    input_shapes: tuple[Shape, ...]
    bias: Tensor | None = None

    @property
    def terms(self) -> int:
        """Roundings behind one output: the addition of the bias, if any."""
        return 0 if self.bias is None else 1

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        out = list(inputs[0])
        out[self.axis] = sum(s[self.axis] for s in inputs)
        return tuple(out)

    def apply(self, *v: Tensor) -> Tensor:
        """Join."""
        rows = max(len(x) for x in v)
        return torch.cat([x.expand(rows, *x.shape[1:]) for x in v], dim=self.axis + 1)

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """Split."""
        return tuple(w.split([s[self.axis] for s in self.input_shapes], dim=self.axis + 1))

    def magnitude(self) -> Concat:
        """The same join with |bias|."""
        return Concat(self.axis, self.input_shapes, absolute_values(self.bias))

    def entries(self) -> tuple[sp.csr_array, ...]:
        """Zero-one matrices."""
        sizes = [math.prod(s) for s in self.input_shapes]
        places = [
            np.arange(a, b).reshape(s)
            for a, b, s in zip(np.cumsum([0, *sizes[:-1]]), np.cumsum(sizes), self.input_shapes, strict=True)
        ]
        order = np.concatenate(places, axis=self.axis).ravel()
        joined = sp.csr_array((np.ones(len(order)), order, np.arange(len(order) + 1)), shape=(len(order), sum(sizes)))
        ends = np.cumsum([0, *sizes])
        return tuple(sp.csr_array(joined[:, a:b]) for a, b in itertools.pairwise(ends))


def permute(order: Sequence[int], input_shape: Shape) -> Gather:
    """The node that transposes axes (batch axis not counted)."""
    index = torch.arange(math.prod(input_shape)).reshape(input_shape).permute(*order)
    return Gather(index.flatten(), input_shape, tuple(index.shape))


def reshape(input_shape: Shape, output_shape: Shape) -> Gather:
    """The node that keeps the order of the entries and changes the shape."""
    return Gather(None, input_shape, output_shape)
