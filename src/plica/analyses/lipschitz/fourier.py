"""Convolutions on a torus as small matrices, one per frequency: polyphase components and a discrete Fourier transform.

On a torus of n places per axis a convolution of stride s, s dividing n, commutes with shifts by s. Its matrix is
unitarily equivalent to (n / s) blocks per axis: with input place n' = s t + r (phase r),

    A(xi)[o, (i, r)] = sum over kernel places u with (d u mod n) mod s = r of  w[o, i, u] exp(2 pi i xi t_u / (n / s)),

t_u = (d u mod n) div s (Szegedy et al. 2013, eq. (1), with the factor 1/stride that the printed frequencies lack, and a
grid as large as the image). Padding and shifts do not matter: they are unitary on the torus. Kernels are small, so the
sums are evaluated as products with small matrices of roots of unity, which costs less than a transform of the padded
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

        An entry is a sum S of |weights| times unit roots, in one product per axis. Roots err by at most 2u each in
        both parts, so by 3u; a complex inner product of k terms is two real ones of 2k terms, and errs by at most
        sqrt(2) gamma_2k (Higham, Accuracy and Stability, s. 3.1) of its terms' absolute values. Together no entry errs
        by more than gamma_c S, c = sum over axes of 3 k + 8, and the S of a block have Frobenius norm at most
        sqrt(places) |w|_F by Cauchy-Schwarz.
        """
        roundings = sum(3 * k + 8 for k in self.weight.shape[3:])
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
        roots = [self._roots(axis) for axis in range(len(self.size))]
        for start in range(0, self.half[0], step):
            stop = min(start + step, self.half[0])
            yield slice(start * rest, stop * rest), self._blocks([roots[0][start:stop], *roots[1:]])

    def _roots(self, axis: int) -> Tensor:
        """Roots of unity of one axis by frequency, phase and kernel place; zero where the phase does not fit."""
        m, s = self.grid[axis], self.stride[axis]
        places = np.arange(self.weight.shape[3 + axis]) * self.dilation[axis] % self.size[axis]
        frequency = np.arange(self.half[axis])
        values = unit_roots(m)[np.outer(frequency, places // s) % m]
        fits = places % s == np.arange(s)[:, None]
        return torch.from_numpy(values[:, None, :] * fits)

    def _blocks(self, roots: list[Tensor]) -> Tensor:
        """Blocks for some roots of the first axis; one product per axis, the last axis first."""
        groups, rows, columns = self.weight.shape[:3]
        value = self.weight
        for axis, root in reversed(list(enumerate(roots))):
            value = value.movedim(3 + axis, -1)  # contracted; (frequency, phase) take its place at the end
            flat = root.flatten(0, 1)
            if value.is_complex():
                value = value @ flat.T
            else:
                value = torch.complex(value @ flat.real.T, value @ flat.imag.T)
            value = value.unflatten(-1, root.shape[:2])
        # axes now: groups, rows, columns, then (frequency, phase) from the last spatial axis to the first
        spatial = len(roots)
        frequency = [3 + 2 * (spatial - 1 - axis) for axis in range(spatial)]
        phase = [f + 1 for f in frequency]
        value = value.permute(0, *frequency, 1, 2, *phase)
        count = math.prod(r.shape[0] for r in roots)
        return value.reshape(groups, count, rows, columns * math.prod(self.stride))


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
