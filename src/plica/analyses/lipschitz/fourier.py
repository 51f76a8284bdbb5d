"""Convolutions on a torus as small matrices, one per frequency: polyphase components and a discrete Fourier transform.

On a torus of n places per axis a convolution of stride s, s dividing n, commutes with shifts by s. Its matrix is
unitarily equivalent to (n / s) blocks per axis: with input place n' = s t + r (phase r),

    A(xi)[o, (r, i)] = sum over kernel places u with (d u mod n) mod s = r of  w[o, i, u] exp(2 pi i xi t_u / (n / s)),

t_u = (d u mod n) div s (Szegedy et al. 2013, eq. (1), with the factor 1/stride that the printed frequencies lack, and a
grid as large as the image). Padding and shifts do not matter: they are unitary on the torus. Kernels are small, so the
sums are evaluated as products with matrices of roots of unity, which costs no more than a transform of the padded
kernel, and whose rounding errors are those of inner products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import flint
import numpy as np
import torch
from torch import Tensor

from plica.core.conv import Conv
from plica.core.exact.floats import gamma, norm, raised
from plica.errors import ArgumentError

Sizes = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Torus:
    """A convolution on a torus.

    Attributes
    ----------
    weight : Tensor of float64, shape (groups, c_out / groups, c_in / groups, *kernel)
    size : tuple of int
        Places per axis; multiples of the stride.
    stride, dilation : tuple of int
    """

    weight: Tensor
    size: Sizes
    stride: Sizes
    dilation: Sizes

    @property
    def grid(self) -> Sizes:
        """Frequencies per axis: output places."""
        return tuple(n // s for n, s in zip(self.size, self.stride, strict=True))

    @property
    def half(self) -> Sizes:
        """Frequencies per axis that are evaluated: the others are conjugates, because weights are real."""
        return (*self.grid[:-1], self.grid[-1] // 2 + 1)

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of one block of one group."""
        return self.weight.shape[1], self.weight.shape[2] * math.prod(self.stride)

    @property
    def frobenius(self) -> float:
        """Upper bound of the largest Frobenius norm of a block."""
        if not bool((self.weight != 0).any()):
            return 0.0
        places = math.prod(self.weight.shape[3:])
        return max((math.sqrt(places) * norm(w.numpy()) for w in self.weight), default=0.0) * (1 + 1e-12)

    @property
    def error(self) -> float:
        """Bound on the Frobenius norm of the rounding error of any block.

        An entry is a sum of weights times products of unit roots, one root per axis. A root errs by at most 2u in both
        parts, so by 3u, and a product of two by 3u more; a complex inner product of k terms is two real ones of 2k
        terms, and errs by at most sqrt(2) gamma_2k (Higham, Accuracy and Stability, s. 3.1) of its terms' absolute
        values, whose sum is S. Together no entry errs by more than gamma_c S, c = 3 k + 8 axes, k all kernel places,
        and the S of a block have Frobenius norm at most sqrt(k) |w|_F by Cauchy-Schwarz.
        """
        roundings = 3 * math.prod(self.weight.shape[3:]) + 8 * len(self.size)
        return float(raised(gamma(roundings) * self.frobenius, 4)) if self.frobenius else 0.0

    def multiplicity(self) -> np.ndarray:
        """How often every evaluated frequency counts, shape half, flat: 2 where its conjugate is left out."""
        last = self.grid[-1]
        weights = np.full(self.half[-1], 2)
        weights[0] = 1
        if last % 2 == 0:
            weights[-1] = 1
        return np.broadcast_to(weights, self.half).ravel()

    def blocks(self, max_bytes: int) -> Iterator[tuple[slice, Tensor]]:
        """Blocks in chunks of frequencies: (flat frequencies, complex tensor (groups, chunk, rows, columns))."""
        rows, columns = self.block
        per_row = len(self.weight) * math.prod(self.half[1:]) * rows * columns * 16
        step = max(1, min(self.half[0], max_bytes // max(per_row, 1)))
        rest = math.prod(self.half[1:])
        for start in range(0, self.half[0], step):
            stop = min(start + step, self.half[0])
            yield slice(start * rest, stop * rest), self._blocks(start, stop)

    def phases(self, start: int, stop: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """For every phase: its number, the flat kernel places that have it, and their roots (frequencies, places)."""
        kernel = self.weight.shape[3:]
        for number, phase in enumerate(np.ndindex(*self.stride)):
            picked, roots = [], np.ones((1, 1), dtype=complex)
            for axis, r in enumerate(phase):
                m, s = self.grid[axis], self.stride[axis]
                place = np.arange(kernel[axis]) * self.dilation[axis] % self.size[axis]
                picked.append(np.flatnonzero(place % s == r))
                frequency = np.arange(start, stop) if axis == 0 else np.arange(self.half[axis])
                own = unit_roots(m)[np.outer(frequency, place[picked[-1]] // s) % m]
                roots = (roots[:, None, :, None] * own[None, :, None, :]).reshape(
                    len(roots) * len(own), roots.shape[1] * own.shape[1]
                )
            flat = np.ravel_multi_index(np.ix_(*picked), kernel).ravel()
            yield number, torch.from_numpy(flat), torch.from_numpy(roots)

    def _blocks(self, start: int, stop: int) -> Tensor:
        """Blocks at the frequencies start to stop of the first axis: one product per phase."""
        groups, rows, columns = self.weight.shape[:3]
        flat = self.weight.flatten(3).permute(0, 3, 1, 2).flatten(2)  # (groups, places, rows * columns)
        parts = [roots @ flat[:, places].to(roots.dtype) for _, places, roots in self.phases(start, stop)]
        shape = (groups, -1, rows, columns)
        if len(parts) == 1:
            return parts[0].reshape(shape)
        return torch.stack([part.reshape(shape) for part in parts], dim=3).flatten(3)


@lru_cache(maxsize=64)
def unit_roots(m: int) -> np.ndarray:
    """exp(2 pi i j / m) for j < m, each part within one unit in the last place (python-flint's ball arithmetic)."""
    turns = [flint.fmpq(2 * j, m) for j in range(m)]
    with flint.ctx.workprec(80):
        cos = [float(flint.arb.cos_pi_fmpq(t)) for t in turns]
        sin = [float(flint.arb.sin_pi_fmpq(t)) for t in turns]
    return np.array(cos) + 1j * np.array(sin)


def on_torus(conv: Conv, size: Sizes) -> Torus:
    """The weights of a convolution on a torus of this size.

    Raises
    ------
    ArgumentError
        When a stride does not divide its size.
    """
    for n, s in zip(size, conv.stride, strict=True):
        if n % s or n < 1:
            raise ArgumentError(
                f"A circular convolution of stride {s} needs sizes that {s} divides; got {n}. "
                f"Use {max(n - n % s, s)} or {n - n % -s}."
            )
    weight = conv.weight.detach().double().cpu()
    grouped = weight.reshape(conv.groups, weight.shape[0] // conv.groups, *weight.shape[1:])
    return Torus(grouped, tuple(size), tuple(conv.stride), tuple(conv.dilation))


def enclosing_size(conv: Conv) -> Sizes:
    """Size of a torus on which the zero-padded convolution is a part of the circular one.

    Per axis: every window that touches the image starts between -p and s (m - 1) - p, with p places padded in front
    (at most the kernel's reach e = d (k - 1); windows wholly in the padding give zero) and m outputs. On a torus of N
    places the windows read nothing twice and stay distinct once N >= n + p, N >= s (m - 1) - p + e + 1 and N >= s m.
    Then padded = restrict . circular . embed, so the circular norm is an upper bound.
    """
    out = conv.shape(conv.input_shape)[1:]
    sizes = []
    for n, m, (before, _), k, s, d in zip(
        conv.input_shape[1:], out, conv.padding, conv.weight.shape[2:], conv.stride, conv.dilation, strict=True
    ):
        reach = d * (k - 1)
        if before > reach:  # then windows may lie wholly in the padding; all that touch the image fit here
            need = n + reach + s
        else:
            last = min(s * (m - 1) - before, n - 1)  # later windows lie wholly behind the image
            count = (last + before) // s + 1
            need = max(n + max(before, 0), last + reach + 1, s * count)
        sizes.append(need + -need % s)
    return tuple(sizes)
