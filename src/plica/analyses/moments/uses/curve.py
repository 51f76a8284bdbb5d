"""One input under more and more noise: means, spreads and classes of the outputs."""

from __future__ import annotations

import math

import numpy as np
import torch

from plica.analyses.moments.analysis import moments
from plica.analyses.moments.noise import Array, gaussian
from plica.analyses.moments.sampling import batches
from plica.analyses.moments.uses.results import NoiseCurveResult, binomial_interval
from plica.analyses.moments.uses.stage import on_cpu
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, MemoryBudgetError


def noise_curve(
    net: Network, x: Array, levels: Array, *, samples: int = 2000, seed: int = 0, progress: Progress | None = None
) -> NoiseCurveResult:
    """Means, spreads and classes of the outputs at several levels of independent noise.

    Parameters
    ----------
    net : Network
    x : array, shape input_shape
    levels : array, shape (l,)
        Standard deviations of the noise, increasing, at least one.
    samples, seed : int
        Draws per level; equal draws, scaled, at every level.
    progress : Progress, optional

    Returns
    -------
    NoiseCurveResult
        Standing ESTIMATE; the levels that were finished, at least one.

    Raises
    ------
    ArgumentError
        Levels that are negative or do not increase, or fewer than 2 samples.
    """
    progress, net = progress or Progress(), on_cpu(net)
    steps = np.asarray(levels, dtype=np.float64)
    if steps.ndim != 1 or not len(steps) or not (np.diff(steps) > 0).all() or not 0 <= steps[0] < math.inf:
        raise ArgumentError(f"levels = {steps.tolist()}: give standard deviations, 0 or more, that increase.")
    if samples < 2:
        raise ArgumentError(f"samples = {samples}: at least 2.")
    rows: list[tuple[np.ndarray, ...]] = []
    state, method = Completeness.COMPLETE, ""
    try:
        for level in progress.over(steps.tolist(), "levels of noise"):
            formula, used = _formula(net, x, level, progress)
            rows.append((*_drawn(net, x, level, samples, seed), *formula))
            method = used or method
    except (BudgetReached, KeyboardInterrupt) as stop:
        if not rows:
            raise
        state = Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    mean, spread, share, formula_mean, formula_spread = (np.array(part) for part in zip(*rows, strict=True))
    counts = np.rint(share * samples).astype(int)
    return NoiseCurveResult(
        Standing.ESTIMATE, state, {"seconds": progress.seconds, "seed": seed},
        np.asarray(x, dtype=np.float64).reshape(net.input_shape), steps[: len(rows)], mean, spread, formula_mean,
        formula_spread, method, share, binomial_interval(counts, samples, 0.95), samples,
    )  # fmt: skip


def _drawn(net: Network, x: Array, level: float, samples: int, seed: int) -> tuple[np.ndarray, ...]:
    """Sampled means, spreads and shares of classes."""
    with torch.no_grad():
        parts = [net.logits(part) for part in batches(net, gaussian(net, x, level**2), samples, seed)]
    y = torch.cat(parts)
    share = torch.bincount(y.argmax(1), minlength=y.shape[1]).double() / samples
    return y.mean(0).numpy(), y.std(0).numpy(), share.numpy()


def _formula(net: Network, x: Array, level: float, progress: Progress) -> tuple[tuple[np.ndarray, np.ndarray], str]:
    """Means and spreads by the default method, NaN where it does not fit; and its name."""
    try:
        found = moments(net, x, level**2, progress=progress.part(0.5))
    except (BudgetReached, MemoryBudgetError):
        progress.check()
        none = np.full(math.prod(net.output_shape), math.nan)
        return (none, none), ""
    return (found.mean.ravel(), found.standard_deviation.ravel()), found.method
