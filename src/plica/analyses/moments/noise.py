"""The Gaussian at the input: every form of covariance, checked once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from plica.core.network import Network
from plica.errors import ArgumentError, DataError, ShapeError

Array = ArrayLike | Sequence[Any] | Tensor
# How far below zero rounding may push an eigenvalue of a correlation matrix, relative to its size
ROUNDING = 2.0**-46


@dataclass(frozen=True, eq=False)
class LowRank:
    """A covariance F F'.

    Attributes
    ----------
    factor : array, shape (n, k)
        F, one row per input (in flat order); any k, also more than n.
    """

    factor: Array


@dataclass(frozen=True, eq=False)
class Gaussian:
    """x = mean + basis' xi, with k directions of noise xi ~ N(0, metric).

    Attributes
    ----------
    mean : Tensor, shape (n,)
    rows : Tensor, shape (k, n) or (k,)
        The basis; of shape (k,) the entries of a basis with one entry a row, at the inputs `active`.
    active : Tensor of int, shape (k,), or None
    metric : Tensor, shape (k, k), or None
        None: the identity. Otherwise `rows` holds ones and every input is active.
    """

    mean: Tensor
    rows: Tensor
    active: Tensor | None = None
    metric: Tensor | None = None

    @property
    def directions(self) -> int:
        """k."""
        return len(self.rows)

    def basis(self) -> Tensor:
        """The basis as a matrix, shape (k, n)."""
        if self.active is None:
            return self.rows
        place = (torch.arange(len(self.rows)), self.active)
        return self.mean.new_zeros(len(self.rows), len(self.mean)).index_put(place, self.rows)

    def sampler(self) -> Callable[[int, torch.Generator], Tensor]:
        """A function of a number and a generator that draws inputs, shape (number, n); a metric is factored once."""
        factor = self.rows
        if self.metric is not None:
            values, vectors = torch.linalg.eigh(self.metric)
            factor = (vectors * values.clamp(min=0.0).sqrt()).T

        def draw(count: int, generator: torch.Generator) -> Tensor:
            xi = torch.randn(count, len(factor), generator=generator, dtype=torch.float64)
            if factor.ndim == 2:
                return self.mean + xi @ factor
            return self.mean.repeat(count, 1).index_add(1, self.active, xi * factor)  # type: ignore[arg-type]

        return draw


Covariance = Array | LowRank


def gaussian(net: Network, mean: Array, cov: Covariance) -> Gaussian:
    """Return the input distribution of a network, checked.

    Parameters
    ----------
    net : Network
    mean : array, shape input_shape
        Data of equal size is reshaped.
    cov : number, array or LowRank
        A number is the variance of every input; an array of n numbers holds a variance per input; an (n, n) array is
        the full covariance in flat order. Variances of zero are constants.

    Raises
    ------
    ShapeError
        When mean or cov do not fit the network's input.
    DataError
        When they hold NaN or infinite entries, when a variance is negative, or when the matrix is not symmetric or has
        a negative eigenvalue.
    """
    m = _numbers("mean", mean)
    n = math.prod(net.input_shape)
    if m.numel() != n:
        raise ShapeError(f"mean has shape {tuple(m.shape)}; the network reads {net.input_shape}, {n} numbers.")
    m = m.reshape(n)
    if isinstance(cov, LowRank):
        factor = _numbers("cov.factor", cov.factor)
        if factor.ndim != 2 or len(factor) != n:
            raise ShapeError(f"cov.factor has shape {tuple(factor.shape)}; it needs one row per input: ({n}, k).")
        return Gaussian(m, factor.T)
    c = _numbers("cov", cov)
    if tuple(c.shape) == (n, n) and n > 1:
        _check_matrix(c.detach())
        return Gaussian(m, torch.ones(n, dtype=torch.float64), torch.arange(n), c)
    if c.ndim == 0:
        c = c.expand(n)
    if c.numel() != n:
        raise ShapeError(
            f"cov has shape {tuple(c.shape)}; give a number, {n} variances, a matrix of shape ({n}, {n}), or "
            "LowRank(factor)."
        )
    return _independent(m, c.reshape(n))


def _independent(mean: Tensor, variances: Tensor) -> Gaussian:
    """Independent inputs; only those that vary take part."""
    if bool((variances < 0).any()):
        worst = int(variances.argmin())
        raise DataError(f"cov: the variance of input {worst} is {variances[worst]:.3g}; variances are not negative.")
    active = (variances > 0).nonzero()[:, 0]
    return Gaussian(mean, variances[active].sqrt(), active)


def _numbers(name: str, value: object) -> Tensor:
    """A float64 tensor on the CPU, finite; tensors keep their gradient."""
    try:
        t = value if isinstance(value, Tensor) else torch.as_tensor(np.array(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name}: got {type(value).__name__}, which is not an array of numbers.") from error
    if t.is_complex():
        raise ArgumentError(f"{name}: got complex numbers; give real ones.")
    t = t.to(device="cpu", dtype=torch.float64)
    if not bool(torch.isfinite(t).all()):
        bad = int((~torch.isfinite(t)).sum())
        raise DataError(f"{name} holds {bad} entries that are NaN or infinite; every entry must be finite.")
    return t


def _check_matrix(c: Tensor) -> None:
    """Refuse a matrix that is no covariance; rounding is forgiven relative to the variances of each pair."""
    variances = c.diagonal()
    if bool((variances < 0).any()):
        worst = int(variances.argmin())
        raise DataError(f"cov: the variance of input {worst} is {variances[worst]:.3g}; variances are not negative.")
    sd = variances.sqrt()
    gap = (c - c.T).abs()
    if bool((gap > 1e-10 * torch.outer(sd, sd)).any()):
        i, j = divmod(int(gap.argmax()), len(c))
        raise DataError(
            f"cov is not symmetric: cov[{i}, {j}] = {c[i, j]:.6g}, cov[{j}, {i}] = {c[j, i]:.6g}. "
            "Give (cov + cov.T) / 2 if that is what you mean."
        )
    inverse = torch.where(sd > 0, 1 / sd, 0.0)
    correlation = c * torch.outer(inverse, inverse)
    idle = sd == 0
    if bool((c[idle] != 0).any()):
        i = int(idle.nonzero()[0])
        raise DataError(f"cov is indefinite: input {i} has variance 0 and a covariance with another that is not 0.")
    slack = ROUNDING * len(c)
    correlation.diagonal().copy_(torch.full_like(sd, 1.0 + slack))
    if int(torch.linalg.cholesky_ex(correlation).info) > 0:
        lowest = float(torch.linalg.eigvalsh(correlation)[0]) - slack
        raise DataError(
            f"cov is indefinite: the smallest eigenvalue of its correlation matrix is {lowest:.3g}. "
            "A covariance has none below 0."
        )
