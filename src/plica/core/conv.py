"""Convolutions, and transposes of other nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import scipy.sparse as sp
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from plica.core.affine import Dense, Gather, Shape, absolute_values, to_numpy


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution (cross-correlation, as in torch) in one or two dimensions with zero padding.

    Parameters
    ----------
    weight : Tensor, shape (c_out, c_in / groups, *kernel)
    bias : Tensor, shape (c_out, 1, ...), optional
    input_shape : tuple of int
        (c_in, *size).
    stride, dilation : tuple of int
        One entry per spatial axis.
    padding : tuple of (int, int)
        Zeros before and after, per spatial axis.
    groups : int
    """

    weight: Tensor
    bias: Tensor | None
    input_shape: Shape
    stride: Shape
    padding: tuple[tuple[int, int], ...]
    dilation: Shape
    groups: int = 1

    @property
    def terms(self) -> int:
        """Roundings behind one output."""
        return math.prod(self.weight.shape[1:]) + 1

    @property
    def _kernel(self) -> Shape:
        return tuple(self.weight.shape[2:])

    @property
    def _torch_padding(self) -> list[int]:
        return [p for pair in reversed(self.padding) for p in pair]

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        size = tuple(
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(inputs[0][1:], self.padding, self.dilation, self._kernel, self.stride, strict=True)
        )
        return (self.weight.shape[0], *size)

    def apply(self, *v: Tensor) -> Tensor:
        """Convolve."""
        x = F.pad(v[0], self._torch_padding) if any(map(any, self.padding)) else v[0]
        function = F.conv1d if len(self.stride) == 1 else F.conv2d
        return function(x, self.weight, None, self.stride, 0, self.dilation, self.groups)

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """Transposed convolution, cropped by the padding."""
        padded = [n + sum(p) for n, p in zip(self.input_shape[1:], self.padding, strict=True)]
        extra = [
            n - ((o - 1) * s + d * (k - 1) + 1)
            for n, o, s, d, k in zip(padded, w.shape[2:], self.stride, self.dilation, self._kernel, strict=True)
        ]
        function = F.conv_transpose1d if len(self.stride) == 1 else F.conv_transpose2d
        # Inputs the last window does not reach have no output behind them: zeros, appended here.
        out = function(w, self.weight, None, self.stride, 0, 0, self.groups, self.dilation)
        if any(extra):
            out = F.pad(out, [q for e in reversed(extra) for q in (0, e)])
        for axis, ((before, _), n) in enumerate(zip(self.padding, self.input_shape[1:], strict=True), 2):
            out = out.narrow(axis, before, n)
        return (out,)

    def magnitude(self) -> Conv:
        """The node of |weight| and |bias|."""
        return Conv(
            self.weight.abs(),
            absolute_values(self.bias),
            self.input_shape,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    def entries(self) -> tuple[sp.csr_array, ...]:
        """The unrolled convolution, one nonzero per weight and place."""
        n = math.prod(self.input_shape)
        place = torch.arange(1, n + 1, dtype=torch.float64).reshape(1, *self.input_shape)
        place = F.pad(place, self._torch_padding)
        if len(self.stride) == 1:
            place = place[:, :, None]  # as an image of height 1
        kernel, dilation, stride = _pair(self._kernel), _pair(self.dilation), _pair(self.stride)
        patches = F.unfold(place, kernel, dilation, 0, stride)[0].long()  # (c_in * k, places); 0 = padding
        places, per_group = patches.shape[1], math.prod(self.weight.shape[1:])
        c_out = self.weight.shape[0]
        group = torch.arange(c_out) // (c_out // self.groups)
        columns = patches.reshape(self.groups, per_group, places)[group].transpose(1, 2)  # (c_out, places, k)
        values = self.weight.cpu().reshape(c_out, 1, per_group).expand(-1, places, -1)
        rows = torch.arange(c_out * places).reshape(c_out, places, 1).expand_as(columns)
        keep = (columns > 0) & (values != 0)
        data = (to_numpy(values[keep]), (to_numpy(rows[keep]), to_numpy(columns[keep] - 1)))
        return (sp.csr_array(sp.coo_array(data, shape=(c_out * places, n))),)


@dataclass(frozen=True, eq=False)
class Transposed:
    """The transpose of another node, as a node: transposed convolution is ``Transposed(Conv(...), bias)``."""

    node: Dense | Conv | Gather
    bias: Tensor | None
    output_shape: Shape

    @property
    def terms(self) -> int:
        """Roundings behind one output: no column of the matrix holds more weights than the tensor."""
        if isinstance(self.node, Gather):
            return math.prod(self.node.output_shape) + 1
        return self.node.weight.numel() + 1

    def shape(self, *inputs: Shape) -> Shape:
        """Shape of one output."""
        return self.output_shape

    def apply(self, *v: Tensor) -> Tensor:
        """A' v."""
        return self.node.adjoint(v[0])[0]

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """A w."""
        return (self.node.apply(w),)

    def magnitude(self) -> Transposed:
        """The transpose of |A|, with |bias|."""
        return Transposed(self.node.magnitude(), absolute_values(self.bias), self.output_shape)

    def entries(self) -> tuple[sp.csr_array, ...]:
        """The transposed matrix."""
        return (sp.csr_array(self.node.entries()[0].T),)


def _pair(sizes: Shape) -> tuple[int, int]:
    """Sizes over two axes; one axis is an image of height 1."""
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
