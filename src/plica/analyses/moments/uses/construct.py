"""Noise that fools a network in expectation, found by box-constrained optimisation (section 4.5)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from plica.analyses.moments.noise import Array, Gaussian, gaussian
from plica.analyses.moments.sampling import batches
from plica.analyses.moments.units import unit_moments
from plica.analyses.moments.uses.points import reason_of
from plica.analyses.moments.uses.results import NoiseResult, binomial_interval
from plica.analyses.moments.uses.stage import Spread, Stage, is_closed, on_cpu, stage
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, ShapeError

SOFTNESS = (0.3, 0.03, 0.003)  # of the maximum over classes, as parts of the spread of the outputs
SMALLEST = 1e-6  # of the largest variance: the paper asks for more than 0
TRIALS = 200  # draws per round that choose between rounds


@dataclass(frozen=True, eq=False)
class NoiseLimits:
    """What noise may be built from.

    Attributes
    ----------
    shift : float
        Bound of the absolute mean of the noise at every input (beta in the paper).
    variance : float
        Largest variance at every input of the support.
    support : float or array of bool, shape input_shape
        The inputs that may be changed; a number in (0, 1] is the share of them, drawn by the seed (alpha).
    rounds : int
        Rounds of linearisation: the first at the input, as in the paper, each further one at the input plus the shift
        found so far. One round is enough where nothing is linearised.
    """

    shift: float
    variance: float = 2.0
    support: float | np.ndarray = 1.0
    rounds: int = 1

    def __post_init__(self) -> None:
        for name in ("shift", "variance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ArgumentError(f"{name} = {value}: give a positive number.")
        if self.rounds < 1:
            raise ArgumentError(f"rounds = {self.rounds}: at least 1.")

    def mask(self, shape: tuple[int, ...], seed: int) -> np.ndarray:
        """The support as truth values, shape (n,)."""
        n = math.prod(shape)
        if np.ndim(self.support) == 0:
            share = float(self.support)
            if not 0 < share <= 1:
                raise ArgumentError(f"support = {share}: give a share in (0, 1], or an array of truth values.")
            mask = np.zeros(n, dtype=bool)
            mask[np.random.default_rng(seed).permutation(n)[: max(1, round(share * n))]] = True
            return mask
        mask = np.asarray(self.support, dtype=bool).reshape(-1)
        if mask.size != n or not mask.any():
            raise ShapeError(f"support: give {n} truth values, at least one of them true; got {mask.size}.")
        return mask


def noise(
    net: Network,
    x: Array,
    limits: NoiseLimits,
    *,
    target: int | None = None,
    layer: str | int | None = None,
    samples: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> NoiseResult:
    """Gaussian noise under which the mean outputs of a network have another class.

    Parameters
    ----------
    net : Network
        Its outputs are the scores of classes.
    x : array, shape input_shape
    limits : NoiseLimits
        Bounds of shift and variance, the support, and rounds.
    target : int, optional
        The class aimed at; by default any but the network's.
    layer : str or int, optional
        The choice layer that the two-stage linearisation keeps; by default the last whose moments have a formula.
        Nothing is linearised where no choice of the network comes after another.
    samples, seed : int
        Draws that verify the result, and the seed of these and of a drawn support.
    progress : Progress, optional

    Returns
    -------
    NoiseResult
        Standing ESTIMATE: what the optimisation found, verified by sampling the network itself. Noise that was not
        found may exist. The noisy inputs are not clipped to any range, as in the paper.

    Notes
    -----
    Minimises max_{i != j} E y_i - E y_j for a target j (eq. 3), or E y_i - max_{j != i} E y_j (eq. 4) by one problem
    for each j, over shift and variance in their box, by L-BFGS-B. The mean is Theorem 1's, its gradient exact; the
    maximum in (3) is smoothed, with less softness from run to run. The paper used an interior-point method.
    """
    progress, net = progress or Progress(), on_cpu(net)
    point = net.as_batch(torch.as_tensor(x))[:1]
    with torch.no_grad():
        before = int(net.logits(point).argmax())
    d = math.prod(net.output_shape)
    if target is not None and not (0 <= target < d and target != before):
        raise ArgumentError(f"target = {target}: give a class from 0 to {d - 1} other than the input's, {before}.")
    if d < 2:
        raise ArgumentError("noise: the network has one output; classes need two or more.")
    mask = limits.mask(net.input_shape, seed)
    closed = layer is None and is_closed(net)
    state, best = Completeness.COMPLETE, None
    start = torch.zeros(int(mask.sum()) + 1, dtype=torch.float64)
    start[-1] = limits.variance / 2
    for number in range(1 if closed else limits.rounds):
        try:
            found = _round(net, point, mask, limits, start, (before, target, layer), progress)
        except (BudgetReached, KeyboardInterrupt) as stop:
            if best is None:
                raise
            state = Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
            break
        checked = _sampled(net, point, mask, found[0], (before, target, TRIALS, seed + 1 + number))
        if best is None or checked[2] > best[1]:
            best = found, checked[2]
        start = found[0]
    assert best is not None
    theta, mean, margin = best[0]
    verified = _sampled(net, point, mask, theta, (before, target, samples, seed))
    shift, variances = _parts(theta, mask)
    return NoiseResult(
        Standing.ESTIMATE, state, {"seconds": progress.seconds, "seed": seed}, "exact" if closed else "two_stage",
        shift.reshape(net.input_shape).numpy(), float(variances.max()), mask.reshape(net.input_shape), before,
        -1 if target is None else target, mean.numpy(), margin, verified[0], verified[1], verified[2],
        binomial_interval(np.array(round(verified[2] * samples)), samples, 0.95), samples,
        reason_of(net, layer, closed),
    )  # fmt: skip


def _parts(theta: Tensor, mask: np.ndarray) -> tuple[Tensor, Tensor]:
    """Shift and variances of all inputs, shape (n,) each, from those of the support and one variance."""
    place = (torch.from_numpy(np.flatnonzero(mask)),)
    zero = torch.zeros(len(mask), dtype=torch.float64)
    return zero.index_put(place, theta[:-1]), zero.index_put(place, theta[-1].expand(len(theta) - 1))


def _round(
    net: Network, point: Tensor, mask: np.ndarray, limits: NoiseLimits, start: Tensor, aim: tuple, progress: Progress
) -> tuple[Tensor, Tensor, float]:
    """Linearise at the point plus the shift so far and solve; returns (theta, mean outputs, margin)."""
    before, target, layer = aim
    part = stage(net, point[0] + _parts(start, mask)[0].reshape(net.input_shape), layer)
    mean = _mean_function(part, point, mask, progress)
    spread = float(mean(start).detach().std()) or 1.0
    others = [target] if target is not None else [j for j in range(len(mean(start))) if j != before]
    found = []
    for j in progress.over(others, "classes"):
        theta = start
        if target is None:
            theta = _minimise(lambda m, j=j: m[before] - m[j], mean, theta, limits)
        else:
            for softness in SOFTNESS:
                theta = _minimise(lambda m, j=j, s=softness * spread: _soft_gap(m, j, s), mean, theta, limits)
        outputs = mean(theta).detach()
        found.append((theta, outputs, _margin(outputs, before, target)))
    return min(found, key=lambda f: f[2])


def _mean_function(part: Stage, point: Tensor, mask: np.ndarray, progress: Progress) -> Callable[[Tensor], Tensor]:
    """Mean outputs as a differentiable function of shift and variance."""
    x = point.reshape(1, -1)
    if not part.exact:
        return lambda theta: part.means(x + _parts(theta, mask)[0], _parts(theta, mask)[1][None], None)[0]
    basis = torch.eye(len(mask), dtype=torch.float64)[torch.from_numpy(mask)]
    spread = Spread.of(part, Gaussian(x[0], basis), progress, pairs=False)
    z, none, kinks = part.before(x)[0] if part.firsts else x[0, :0], x.new_zeros(1, spread.rates.shape[1]), part.kinks
    base, own = part.after(x, none)[0], spread.rates.square().sum(0)

    def mean(theta: Tensor) -> Tensor:
        y = base + theta[:-1] @ spread.direct
        if not part.firsts:
            return y
        return y + spread.weights @ unit_moments(kinks, z + theta[:-1] @ spread.rates, theta[-1] * own).mean

    return mean


def _soft_gap(m: Tensor, j: int, softness: float) -> Tensor:
    """A smooth upper bound of max_{i != j} m_i - m_j."""
    rest = torch.cat([m[:j], m[j + 1 :]])
    return softness * torch.logsumexp(rest / softness, 0) - m[j]


def _margin(m: Tensor, before: int, target: int | None) -> float:
    if target is None:
        return float(m[before] - torch.cat([m[:before], m[before + 1 :]]).max())
    return float(torch.cat([m[:target], m[target + 1 :]]).max() - m[target])


def _minimise(loss: Callable, mean: Callable[[Tensor], Tensor], start: Tensor, limits: NoiseLimits) -> Tensor:
    """L-BFGS-B in the box of shifts and variances; variables are scaled to it."""
    scale = torch.full_like(start, limits.shift)
    scale[-1] = limits.variance
    bounds = [(-1.0, 1.0)] * (len(start) - 1) + [(SMALLEST, 1.0)]

    def value(u: np.ndarray) -> tuple[float, np.ndarray]:
        v = torch.from_numpy(u.copy()).requires_grad_()
        out = loss(mean(v * scale))
        (gradient,) = torch.autograd.grad(out, v)
        return float(out.detach()), gradient.numpy()

    found = minimize(value, (start / scale).numpy(), jac=True, bounds=bounds, method="L-BFGS-B")
    return torch.from_numpy(found.x.copy()) * scale


def _sampled(
    net: Network, point: Tensor, mask: np.ndarray, theta: Tensor, aim: tuple[int, int | None, int, int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean outputs of the network itself under the noise, their standard errors, and the share of draws wanted."""
    before, target, samples, seed = aim
    if samples < 2:
        raise ArgumentError(f"samples = {samples}: at least 2.")
    shift, variances = _parts(theta, mask)
    x = gaussian(net, point.flatten() + shift, variances)
    with torch.no_grad():
        outputs = torch.cat([net.logits(part) for part in batches(net, x, samples, seed)])
    classes = outputs.argmax(1)
    wanted = classes != before if target is None else classes == target
    error = outputs.std(0) / math.sqrt(samples)
    return outputs.mean(0).numpy(), error.numpy(), float(wanted.double().mean())
