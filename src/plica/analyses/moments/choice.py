"""Exact mean and covariance of a piecewise-linear function of every entry of a Gaussian vector, differentiable.

f(z) = c + alpha z + sum_k d_k relu(z - t_k) for knots t_k with jumps of slope d_k. With z ~ N(m, S), s = sqrt(diag S),
a_k = (m - t_k) / s and e = E f'(z) = alpha + sum_k d_k Phi(a_k),

    E f(z_i)             = c + alpha m + sum_k d_k ((m - t_k) Phi(a_k) + s phi(a_k)),
    Cov(f(z_i), f(z_j))  = e_i e_j S_ij + s_i s_j sum_kl d_ki d_lj I(a_ki, a_lj, r_ij),

I the integral of `plica.analyses.moments.integral`. Variances have a formula of their own, in which nothing cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from plica.analyses.moments.integral import LIMIT, Units, rules
from plica.analyses.moments.tiles import fill, over_tiles, pull
from plica.core.choice import Piecewise, relu
from plica.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Kinks:
    """Functions of p units as a line and kinks: c + alpha z + sum_k d_k relu(z - t_k).

    Attributes
    ----------
    constant, slope : Tensor, shape (p,)
        c and alpha.
    knots, jumps : Tensor, shape (k, p)
        t and d; a unit with fewer kinks has jumps of 0.
    """

    constant: Tensor
    slope: Tensor
    knots: Tensor
    jumps: Tensor

    @staticmethod
    def of(op: Piecewise) -> Kinks:
        """The kinks of a choice node, flat over its units."""
        size = math.prod(op.input_shape)

        def flat(table: Tensor) -> Tensor:
            inner = table.reshape(len(table), *(1,) * (len(op.input_shape) - table.ndim + 1), *table.shape[1:])
            return inner.expand(len(table), *op.input_shape).reshape(len(table), size)

        slopes = flat(op.slopes)
        return Kinks(flat(op.intercepts)[0], slopes[0], flat(op.knots), slopes[1:] - slopes[:-1])

    @staticmethod
    def join(parts: Sequence[Kinks]) -> Kinks:
        """Units of several nodes, one after the other."""
        most = max(len(part.knots) for part in parts)

        def padded(t: Tensor) -> Tensor:
            return torch.cat([t, t.new_zeros(most - len(t), t.shape[1])])

        lines = [torch.cat(t) for t in zip(*((p.constant, p.slope) for p in parts), strict=True)]
        kinks = [torch.cat(t, 1) for t in zip(*((padded(p.knots), padded(p.jumps)) for p in parts), strict=True)]
        return Kinks(*lines, *kinks)


@dataclass(frozen=True, eq=False)
class Marginals:
    """What the law of every single unit gives; all of shape (p,) but `a`, shape (knots, p)."""

    sd: Tensor
    a: Tensor
    mean: Tensor
    slope: Tensor
    variance: Tensor


def density(x: Tensor) -> Tensor:
    """phi, the standard Gaussian density."""
    return torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def tails(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of relu(Z - |a|) of orders 0, 1 and 2."""
    x = a.abs()
    below, phi = torch.special.ndtr(-x), density(x)
    return below, phi - x * below, (1 + x * x) * below - x * phi


def at_one(a: Tensor, b: Tensor) -> Tensor:
    """Cov(relu(Z + a), relu(Z + b)) for one standard Gaussian Z, without cancellation."""
    (below_a, half_a, square_a), (below_b, half_b, square_b) = tails(a), tails(b)
    product = half_a * half_b
    a_far = a.abs() >= b.abs()
    same = torch.where(a_far, square_a, square_b) + (a.abs() - b.abs()).abs() * torch.where(a_far, half_a, half_b)
    same = same - product + torch.where(a >= 0, 1 - below_a - below_b, 0.0)
    return torch.where((a >= 0) == (b >= 0), same, torch.where(a >= 0, below_b, below_a) - product)


def marginals(mean: Tensor, variance: Tensor, kinks: Kinks) -> Marginals:
    """Means, slopes and variances of the units; O(knots^2 p), float64, differentiable by autograd."""
    positive = variance > 0
    sd = torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)
    gap = mean - kinks.knots
    a = torch.where(positive, gap / torch.where(positive, sd, 1.0), LIMIT * torch.sign(gap)).clamp(-LIMIT, LIMIT)
    above = torch.special.ndtr(a)
    first = kinks.constant + kinks.slope * mean + (kinks.jumps * (gap * above + sd * density(a))).sum(0)
    bend = (kinks.jumps * above).sum(0)
    second = kinks.slope**2 + 2 * kinks.slope * bend
    for a_k, d_k in zip(a, kinks.jumps, strict=True):
        for a_l, d_l in zip(a, kinks.jumps, strict=True):
            second = second + d_k * d_l * at_one(a_k, a_l)
    return Marginals(sd, a, first, kinks.slope + bend, sd * sd * second.clamp(min=0))


def choice_moments(mean: Tensor, cov: Tensor, kinks: Kinks | Piecewise) -> tuple[Tensor, Tensor]:
    """Mean and covariance of f(z) for z ~ N(mean, cov), exact up to rounding, differentiable once.

    Parameters
    ----------
    mean : Tensor, shape (p,)
    cov : Tensor, shape (p, p)
        Symmetric, positive semidefinite; singular and zero are allowed. Its part above the diagonal is read, and its
        gradient is symmetric.
    kinks : Kinks or Piecewise
        The functions; `plica.core.choice` has relu, leaky_relu, absolute, clip, soft_threshold.

    Returns
    -------
    mean : Tensor, shape (p,)
    cov : Tensor, shape (p, p)
        In the dtype of the input. Absolute errors below 1e-13 s_i s_j in float64, 1e-6 in float32.

    Notes
    -----
    Cost: 5 to 80 exponentials per pair of units and pair of kinks, more as |r| nears 1; on all of torch's threads, on
    the CPU. Where a unit has variance 0 and its mean lies on a knot, the derivative by the variance is infinite; 0 is
    returned there, and half the jump as the derivative by the mean.
    """
    kinks = Kinks.of(kinks) if isinstance(kinks, Piecewise) else kinks
    p = len(kinks.slope)
    if mean.shape != (p,) or cov.shape != (p, p):
        raise ShapeError(f"mean {tuple(mean.shape)} and cov {tuple(cov.shape)} do not fit {p} units.")
    units = marginals(mean.double(), cov.diagonal().double(), kinks)
    out = _Pairs.apply(cov, units.sd, units.a, kinks.jumps, units.slope, units.variance)
    return units.mean.to(mean.dtype), out


def relu_moments(mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of relu(z) for z ~ N(mean, cov); see `choice_moments`.

    Examples
    --------
    >>> import torch
    >>> mean, cov = relu_moments(torch.zeros(2).double(), torch.eye(2).double())
    >>> [round(float(v), 6) for v in (mean[0], cov[0, 0], cov[0, 1])]  # 1 / sqrt(2 pi), 1/2 - 1 / (2 pi), 0
    [0.398942, 0.340845, 0.0]
    """
    return choice_moments(mean, cov, relu(tuple(mean.shape)))


def _array(t: Tensor, dtype: Any = np.float64) -> np.ndarray:
    return np.ascontiguousarray(t.detach().cpu().numpy(), dtype=dtype)


def units_of(a: Tensor, jumps: Tensor, sd: Tensor) -> Units:
    """The arrays that the integral reads."""
    return Units(_array(a), _array(jumps * sd), *(_array(t) for t in tails(a.detach())))


def inverse_of(sd: np.ndarray) -> np.ndarray:
    """1 / sd, and 0 where sd = 0."""
    return np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0)


class _Pairs(torch.autograd.Function):
    """Covariances of all pairs; the backward pass does the integrals again, tile by tile, and stores none of them."""

    @staticmethod
    def forward(ctx: Any, cov: Tensor, sd: Tensor, a: Tensor, jumps: Tensor, slope: Tensor, variance: Tensor) -> Tensor:
        ctx.save_for_backward(cov, sd, a, jumps, slope)
        dtype = np.float32 if cov.dtype == torch.float32 else np.float64
        S, inverse, units = _array(cov, dtype), inverse_of(_array(sd)), units_of(a, jumps, sd)
        out = np.empty_like(S)
        over_tiles(len(S), lambda part: fill(S, inverse, _array(slope), units, rules(S.dtype), part, out))
        np.fill_diagonal(out, _array(variance))
        return torch.from_numpy(out).to(cov)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, seed: Tensor) -> tuple[Tensor | None, ...]:
        cov, sd, a, jumps, slope = ctx.saved_tensors
        S = _array(cov, np.float32 if cov.dtype == torch.float32 else np.float64)
        inverse, units = inverse_of(_array(sd)), units_of(a, jumps, sd)
        both = 0.5 * (seed + seed.T)
        both.fill_diagonal_(0.0)  # variances are an input of their own
        G, out = _array(both, S.dtype), np.zeros_like(S)

        def work(part: np.ndarray) -> np.ndarray:
            sums = np.zeros((3, *a.shape))
            pull(S, inverse, units, rules(S.dtype), part, G, out, sums)
            return sums

        by_a, by_scale, by_inverse = (torch.from_numpy(t).to(sd) for t in sum(over_tiles(len(S), work)))
        by_cov = torch.from_numpy(out).to(cov) + both * torch.outer(slope, slope).to(cov)
        by_slope = 2 * ((both * cov) @ slope.to(cov)).to(slope)
        by_sd = (by_scale * jumps - by_inverse * torch.from_numpy(inverse).to(sd)).sum(0)
        return by_cov, by_sd, by_a, None, by_slope, seed.diagonal().to(sd)
