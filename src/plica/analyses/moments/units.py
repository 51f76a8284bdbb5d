"""What a single Gaussian unit needs: mean, mean slope and variance of a piecewise-linear function of it.

A continuous piecewise-linear function is f(z) = base(z) + sum_k jump_k relu(z - knot_k): ReLU has one knot with jump 1,
leaky ReLU 1 - slope, abs 2, clip +1 and -1. Everything below is torch and differentiable, also where a unit lies
exactly on a knot; far tails are computed from the side on which they are small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plica.analyses.moments.integral import LIMIT, SQRT_2PI
from plica.core.choice import Piecewise


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
class UnitMoments:
    """Moments of f(z), z ~ N(mean, sd^2), unit by unit, and what the integral over pairs reads.

    Attributes
    ----------
    mean, slope, variance : Tensor, shape (p,)
        E f(z), E f'(z) and Var f(z).
    sd : Tensor, shape (p,)
    a : Tensor, shape (knots, p)
        (mean - knot) / sd, clamped to LIMIT.
    """

    mean: Tensor
    slope: Tensor
    variance: Tensor
    sd: Tensor
    a: Tensor


def tails(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of relu(Z - x) of orders 0, 1 and 2 for x >= 0, with small relative error.

    Mills' ratio R = P(Z > x) / phi(x) carries the exponential once: 1 - x R and (1 + x^2) R - x lose at most x^2 units.
    """
    density = torch.exp(-0.5 * x * x) / SQRT_2PI
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(x / math.sqrt(2))
    return density * ratio, density * (1 - x * ratio), density * ((1 + x * x) * ratio - x)


def unit_moments(kinks: Kinks, mean: Tensor, variance: Tensor) -> UnitMoments:
    """Mean, mean slope and variance of f(z) per unit.

    Parameters
    ----------
    kinks : Kinks
    mean, variance : Tensor, shape (p,)
        Of z; a variance of zero is a constant, and its derivative is then that of the limit sd -> 0 off the knots.

    Notes
    -----
    Means as in Bibi et al. (2018), Theorem 1, which holds at any mean (Remark 1's mean sd / sqrt(2 pi) only at mean 0).
    On a knot with variance zero E f grows like the standard deviation: its derivative by the variance is infinite, and
    zero is returned; that by the mean is the average of both slopes.
    """
    constant = variance <= 0
    sd = torch.where(constant, 1.0, variance).sqrt()
    gap = mean - kinks.knots
    a = torch.where(constant, LIMIT * torch.sign(gap.detach()), (gap / sd).clamp(-LIMIT, LIMIT))
    upper = a >= 0
    x = torch.where(upper, a, -a)  # not |a|, whose derivative at 0 is neither side's
    below, half, square = tails(x)
    lift = torch.where(upper, gap, 0.0) + sd * half
    lift = torch.where(constant, 0.5 * (gap + gap.abs()), lift)
    share = (kinks.jumps * torch.where(upper, 1 - below, below)).sum(0)
    spread = kinks.slope**2 + 2 * kinks.slope * share + _at_one(kinks.jumps, x, upper, (below, half, square))
    slope = kinks.slope + share
    return UnitMoments(
        kinks.constant + kinks.slope * mean + (kinks.jumps * lift).sum(0),
        slope,
        torch.where(constant, slope**2, spread.clamp(min=0.0)) * variance,
        torch.where(constant, 0.0, sd),
        a,
    )


def _at_one(jumps: Tensor, x: Tensor, upper: Tensor, moments: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """sum_kl jump_k jump_l Cov(relu(Z + a_k), relu(Z + a_l)), with a = x where `upper`, else -x."""
    below, half, square = moments
    total = torch.zeros_like(x[0])
    for k in range(len(x)):
        for m in range(len(x)):
            far = x[k] >= x[m]
            same = torch.where(far, square[k], square[m]) + (x[k] - x[m]).abs() * torch.where(far, half[k], half[m])
            same = same + torch.where(upper[k], 1 - below[k] - below[m], 0.0)
            apart = torch.where(upper[k], below[m], below[k])
            pair = torch.where(upper[k] == upper[m], same, apart) - half[k] * half[m]
            total = total + jumps[k] * jumps[m] * pair
    return total
