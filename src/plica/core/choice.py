"""Choice nodes: which branch of a piecewise-linear function wins.

`Piecewise` is a scalar function of every unit (ReLU, leaky ReLU, PReLU, abs, clip, soft threshold); `MaxOver` is the
largest of a group of units (max-pooling, maxout, max of two, group sort). `choose` says which branch wins,
`freeze` is the affine node of given branches, `margins` are affine rows that are >= 0 exactly where they are right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from plica.core.affine import Affine, Gather, Scale, Shape


@runtime_checkable
class Choice(Protocol):
    """What every choice node offers; branches carry a leading batch axis."""

    @property
    def faces(self) -> int:
        """Margin rows per output."""

    @property
    def dtype(self) -> torch.dtype:
        """Of branches: the smallest integer type that fits."""

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output, without the batch axis."""

    def value(self, z: Tensor) -> Tensor:
        """The function itself, batched and differentiable."""

    def choose(self, z: Tensor) -> Tensor:
        """Winning branch of every output; the lowest on a tie."""

    def freeze(self, branches: Tensor) -> Affine:
        """The affine node of these branches."""

    def margins(self, branches: Tensor) -> Affine:
        """Affine rows, >= 0 exactly where these branches are right."""


@dataclass(frozen=True, eq=False)
class Piecewise:
    """A continuous piecewise-linear function of every unit: slope_j z + intercept_j between knots.

    Parameters
    ----------
    name : str
        What the function is called ("relu", ...).
    knots : Tensor, shape (k, *broadcast)
        Increasing; branch j holds from knot j - 1 to knot j.
    slopes, intercepts : Tensor, shape (k + 1, *broadcast)
        `broadcast` is broadcast against the input's shape (channels of a PReLU); () for one function for all.
    input_shape : tuple of int
    """

    name: str
    knots: Tensor
    slopes: Tensor
    intercepts: Tensor
    input_shape: Shape

    @property
    def faces(self) -> int:
        """Margin rows per unit."""
        return len(self.knots)

    @property
    def dtype(self) -> torch.dtype:
        """Of branches."""
        return torch.uint8

    @property
    def monotone(self) -> bool:
        """Whether the function never decreases: then the inputs of one value form an interval."""
        return bool((self.slopes >= 0).all())

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        return inputs[0]

    def value(self, z: Tensor) -> Tensor:
        """The function itself, batched and differentiable."""
        branches = self.choose(z.detach())
        return z * self._pick(self.slopes, branches) + self._pick(self.intercepts, branches)

    def choose(self, z: Tensor) -> Tensor:
        """Branch of every unit, shape of z; on a knot the lower branch."""
        branches = torch.zeros(z.shape, dtype=self.dtype, device=z.device)
        for knot in self.knots:
            branches += z > knot
        return branches

    def _pick(self, table: Tensor, branches: Tensor) -> Tensor:
        """table[branches], with the table broadcast over units."""
        if len(table) == 2:
            return torch.where(branches.bool(), table[1], table[0])
        flat = table.reshape(len(table), *(1,) * (branches.ndim - table.ndim + 1), *table.shape[1:])
        return flat.expand(len(table), *branches.shape).gather(0, branches.long()[None])[0]

    def freeze(self, branches: Tensor) -> Scale:
        """X -> slope x + intercept of these branches."""
        intercepts = self._pick(self.intercepts, branches)
        bias = intercepts if bool((self.intercepts != 0).any()) else None
        return Scale(self._pick(self.slopes, branches), bias, self.input_shape)

    def margins(self, branches: Tensor) -> Affine:
        """Rows +-(z - knot_i), knot after knot, each of the shape of z; flat output (faces * units)."""
        n, k = math.prod(self.input_shape), len(self.knots)
        spread = Gather(torch.arange(n, device=branches.device).repeat(k), self.input_shape, (k, *self.input_shape))
        level = torch.arange(k, device=branches.device).reshape(-1, *(1,) * len(self.input_shape))
        sign = torch.where(branches[:, None] > level, 1.0, -1.0).to(self.slopes.dtype)
        knots = self.knots.reshape(k, *(1,) * (len(self.input_shape) - self.knots.ndim + 1), *self.knots.shape[1:])
        bias = -sign * knots if bool((self.knots != 0).any()) else None
        return Then(spread, Scale(sign, bias, spread.output_shape))


@dataclass(frozen=True, eq=False)
class MaxOver:
    """The largest of a group of units; the lowest position wins a tie.

    Parameters
    ----------
    index : Tensor of int64, shape (groups, size)
        Flat input indices of every group; -1 stands for no unit (the border of a pooling window).
    input_shape, output_shape : tuple of int
    """

    index: Tensor
    input_shape: Shape
    output_shape: Shape

    @property
    def faces(self) -> int:
        """Margin rows per output."""
        return self.index.shape[1] - 1

    @property
    def dtype(self) -> torch.dtype:
        """Of branches: the smallest integer type that fits."""
        count = self.index.shape[1]
        return torch.uint8 if count <= 256 else torch.int16 if count <= 2**15 else torch.int32

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        return self.output_shape

    def candidates(self, z: Tensor) -> Tensor:
        """Values of every group, shape (batch, groups, size); -inf where there is no unit."""
        picked = z.flatten(1)[:, self.index.clamp(min=0)]
        return picked.masked_fill(self.index < 0, -torch.inf)

    def value(self, z: Tensor) -> Tensor:
        """The maximum, batched and differentiable."""
        return self.candidates(z).amax(-1).reshape(len(z), *self.output_shape)

    def choose(self, z: Tensor) -> Tensor:
        """Winning position of every group, shape (batch, *output_shape)."""
        winner = self.candidates(z).argmax(-1)
        return winner.to(self.dtype).reshape(len(z), *self.output_shape)

    def _winners(self, branches: Tensor) -> Tensor:
        """Flat input index of the winner of every group, shape (batch, groups)."""
        chosen = branches.flatten(1).long()
        return self.index.expand(len(chosen), -1, -1).gather(2, chosen[:, :, None])[:, :, 0]

    def freeze(self, branches: Tensor) -> Gather:
        """The node that picks the winners."""
        return Gather(self._winners(branches), self.input_shape, self.output_shape)

    def margins(self, branches: Tensor) -> Affine:
        """Rows z[winner] - z[other], others in order; 1 where there is no other unit; flat (groups * faces)."""
        batch, (groups, size) = len(branches), self.index.shape
        place = torch.arange(size - 1, device=branches.device).expand(batch, groups, -1)
        place = place + (place >= branches.flatten(1).long()[:, :, None])  # skip the winner itself
        others = self.index.expand(batch, -1, -1).gather(2, place)
        winners = self._winners(branches)[:, :, None].expand_as(others)
        winners = torch.where(others < 0, -1, winners)
        bias = (others < 0).double() if bool((others < 0).any()) else None
        return Difference(winners.flatten(1), others.flatten(1), self.input_shape, bias=_flat(bias))


def _flat(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.flatten(1)


@dataclass(frozen=True, eq=False)
class Difference:
    """z -> z[plus] - z[minus] (+ bias); indices (batch, rows), -1 gives zero."""

    plus: Tensor
    minus: Tensor
    input_shape: Shape
    bias: Tensor | None = None
    sign: float = -1.0

    @property
    def terms(self) -> int:
        """Roundings behind one output."""
        return 2

    def _parts(self) -> tuple[Gather, Gather]:
        shape = (self.plus.shape[1],)
        return Gather(self.plus, self.input_shape, shape), Gather(self.minus, self.input_shape, shape)

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        return (self.plus.shape[1],)

    def apply(self, *v: Tensor) -> Tensor:
        """Subtract."""
        plus, minus = self._parts()
        return plus.apply(*v) + self.sign * minus.apply(*v)

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """Spread back."""
        plus, minus = self._parts()
        return (plus.adjoint(w)[0] + self.sign * minus.adjoint(w)[0],)

    def magnitude(self) -> Difference:
        """The sum instead of the difference."""
        return Difference(self.plus, self.minus, self.input_shape, self.bias, 1.0)

    def entries(self):
        """Sparse matrix; only for a batch of one."""
        plus, minus = (Gather(i[0], self.input_shape, (i.shape[1],)).entries()[0] for i in (self.plus, self.minus))
        return (plus + self.sign * minus,)


@dataclass(frozen=True, eq=False)
class Then:
    """Two affine nodes in a row, flat output; the margins of a `Piecewise`."""

    first: Gather
    second: Scale

    @property
    def bias(self) -> Tensor | None:
        """Constant part."""
        return None if self.second.bias is None else self.second.bias.flatten(1)

    @property
    def terms(self) -> int:
        """Roundings behind one output."""
        return self.first.terms + self.second.terms

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        return (math.prod(self.first.output_shape),)

    def apply(self, *v: Tensor) -> Tensor:
        """Second after first."""
        return self.second.apply(self.first.apply(*v)).flatten(1)

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """First's adjoint after second's."""
        return self.first.adjoint(self.second.adjoint(w.reshape(-1, *self.first.output_shape))[0])

    def magnitude(self) -> Then:
        """|second| after |first|."""
        return Then(self.first.magnitude(), self.second.magnitude())

    def entries(self):
        """Sparse matrix; only for a batch of one."""
        diagonal = Scale(self.second.factor[0], None, self.first.output_shape)
        return (diagonal.entries()[0] @ self.first.entries()[0],)


def _table(*values: float | Tensor) -> Tensor:
    tensors = [torch.as_tensor(v, dtype=torch.float64) for v in values]
    return torch.stack(torch.broadcast_tensors(*tensors))


def relu(shape: Shape) -> Piecewise:
    """max(z, 0)."""
    return Piecewise("relu", _table(0.0), _table(0.0, 1.0), _table(0.0, 0.0), shape)


def leaky_relu(shape: Shape, slope: float | Tensor) -> Piecewise:
    """Z above 0, slope * z below; a tensor of slopes (broadcast against the shape) is a PReLU."""
    slope = torch.as_tensor(slope, dtype=torch.float64)
    zero = torch.zeros_like(slope)
    return Piecewise("leaky_relu", _table(zero), _table(slope, zero + 1), _table(zero, zero), shape)


def absolute(shape: Shape) -> Piecewise:
    """|z|."""
    return Piecewise("abs", _table(0.0), _table(-1.0, 1.0), _table(0.0, 0.0), shape)


def clip(shape: Shape, lower: float, upper: float) -> Piecewise:
    """min(max(z, lower), upper); one of the two may be infinite."""
    if math.isinf(lower):
        return Piecewise("clip", _table(upper), _table(1.0, 0.0), _table(0.0, upper), shape)
    if math.isinf(upper):
        return Piecewise("clip", _table(lower), _table(0.0, 1.0), _table(lower, 0.0), shape)
    return Piecewise("clip", _table(lower, upper), _table(0.0, 1.0, 0.0), _table(lower, 0.0, upper), shape)


def soft_threshold(shape: Shape, width: float) -> Piecewise:
    """Z - width above width, z + width below -width, 0 between."""
    return Piecewise("soft_threshold", _table(-width, width), _table(1.0, 0.0, 1.0), _table(width, 0.0, -width), shape)


def windows(
    input_shape: Shape, kernel: Shape, *, stride: Shape, padding: tuple[tuple[int, int], ...], dilation: Shape
) -> MaxOver:
    """Max-pooling over (c, *size): windows of `kernel` places, border places left out.

    `padding` gives (before, after) per spatial axis; a window that lies wholly in the border is an error of the model.
    """
    channels, size = input_shape[0], input_shape[1:]
    axes = []
    for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True):
        starts = torch.arange(0, n + before + after - d * (k - 1), s) - before
        axes.append(starts[:, None] + d * torch.arange(k))  # (places, k); outside [0, n) is border
    index = torch.zeros((), dtype=torch.long)
    inside = torch.ones((), dtype=torch.bool)
    for axis, (places, n) in enumerate(zip(axes, size, strict=True)):
        view = [1] * (2 * len(size))
        view[axis], view[len(size) + axis] = places.shape
        index = index * n + places.reshape(view)
        inside = inside & ((places >= 0) & (places < n)).reshape(view)
    out_size = tuple(len(a) for a in axes)
    flat = torch.where(inside, index, -1).reshape(math.prod(out_size), math.prod(kernel))
    offset = torch.arange(channels)[:, None, None] * math.prod(size)
    index = torch.where(flat >= 0, flat + offset, -1).reshape(-1, flat.shape[-1])
    return MaxOver(index, input_shape, (channels, *out_size))
