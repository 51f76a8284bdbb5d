"""Exact mean and covariance of a piecewise-linear function of every entry of a Gaussian vector, differentiable.

f(z) = c + alpha z + sum_k d_k relu(z - t_k) for knots t_k with jumps of slope d_k. With z ~ N(m, S), s = sqrt(diag S),
a_k = (m - t_k) / s and e = E f'(z) = alpha + sum_k d_k Phi(a_k),

    E f(z_i)             = c + alpha m + sum_k d_k ((m - t_k) Phi(a_k) + s phi(a_k)),
    Cov(f(z_i), f(z_j))  = e_i e_j S_ij + s_i s_j sum_kl d_ki d_lj I(a_ki, a_lj, r_ij),

I the integral of `plica.analyses.moments.integral`. Means and variances are those of `plica.analyses.moments.units`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.analyses.moments.integral import fill, pull
from plica.analyses.moments.tiles import Units, over_tiles, rules, tiles
from plica.analyses.moments.units import Kinks, tails, unit_moments
from plica.core.choice import Piecewise, relu
from plica.errors import ArgumentError, ShapeError


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
    units = unit_moments(kinks, mean.double(), cov.diagonal().double())
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
    return Units(_array(a), _array(jumps * sd), *(_array(t) for t in tails(a.detach().abs())))


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
        over_tiles(tiles(len(S)), lambda part: fill(S, inverse, _array(slope), units, rules(S.dtype), part, out))
        np.fill_diagonal(out, _array(variance))
        return torch.from_numpy(out).to(cov)

    @staticmethod
    def backward(ctx: Any, seed: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise ArgumentError("create_graph=True: moments are differentiable once; second derivatives are not known.")
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

        by_a, by_scale, by_inverse = (torch.from_numpy(t).to(sd) for t in sum(over_tiles(tiles(len(S)), work)))
        by_cov = torch.from_numpy(out).to(cov) + both * torch.outer(slope, slope).to(cov)
        by_slope = 2 * ((both * cov) @ slope.to(cov)).to(slope)
        by_sd = (by_scale * jumps - by_inverse * torch.from_numpy(inverse).to(sd)).sum(0)
        return by_cov, by_sd, by_a, None, by_slope, seed.diagonal().to(sd)
