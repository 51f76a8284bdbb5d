"""How probable each class is under Gaussian noise: by sampling, or with the logits taken as jointly Gaussian."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtr

from plica.analyses.moments.analysis import moments
from plica.analyses.moments.noise import Array, Covariance, Gaussian, gaussian
from plica.analyses.moments.result import MomentsResult
from plica.analyses.moments.sampling import batch_size, batches
from plica.analyses.moments.uses.orthant import orthant
from plica.analyses.moments.uses.results import ProbabilityResult, binomial_interval
from plica.analyses.moments.uses.stage import on_cpu
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached

METHODS = ("gaussian", "monte_carlo")
TOLERANCE = 1e-6  # standard error of the quadrature at which it stops
NEGLIGIBLE = 1e-14  # a class whose probability is bounded by this is given 0
WIDTH = 3.5  # standard errors on either side: with 8 sets of points about 99 % of a t distribution


def class_probabilities(
    net: Network,
    mean: Array,
    cov: Covariance,
    *,
    method: str | None = None,
    confidence: float = 0.95,
    samples: int = 100_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> ProbabilityResult:
    """Probability of each output being the largest for an input x ~ N(mean, cov).

    Parameters
    ----------
    net, mean, cov
        As for `plica.moments`.
    method : {"gaussian", "monte_carlo"}, optional
        "monte_carlo" draws inputs and counts. "gaussian" takes the logits as jointly Gaussian with the mean and
        covariance of `plica.moments` (see `gaussian_probabilities` for other moments). By default "gaussian" for an
        affine network, for which it is exact, else "monte_carlo".
    confidence : float
        Of the intervals of "monte_carlo", each by itself.
    samples, seed : int
        Of "monte_carlo"; the seed also of the quadrature's points.
    progress : Progress, optional

    Returns
    -------
    ProbabilityResult
        Standing NUMERICAL for an affine network by "gaussian", else ESTIMATE.

    Raises
    ------
    ArgumentError
        For an unknown method or fewer than one sample.

    Examples
    --------
    >>> import torch
    >>> from plica.core.affine import Dense
    >>> from plica.core.network import INPUT, Graph
    >>> graph = Graph((1,))
    >>> _ = graph.add("out", Dense(torch.tensor([[1.0], [0.0]]).double(), None, (1,)), INPUT)
    >>> class_probabilities(graph.network(), [1.0], 1.0).probabilities.round(6).tolist()  # Phi(1)
    [0.841345, 0.158655]
    """
    progress, net = progress or Progress(), on_cpu(net)
    if method is not None and method not in METHODS:
        raise ArgumentError(f"method = {method!r}: choose one of {', '.join(METHODS)}, or None.")
    x = gaussian(net, mean, cov)
    if method == "monte_carlo" or (method is None and net.choices):
        return _counted(net, x, confidence, samples, seed, progress)
    found = moments(net, mean, cov, progress=progress)
    return gaussian_probabilities(found, affine=not net.choices, seed=seed, progress=progress)


def gaussian_probabilities(
    found: MomentsResult, *, affine: bool = False, seed: int = 0, progress: Progress | None = None
) -> ProbabilityResult:
    """Probability of each output being the largest if the outputs are jointly Gaussian with these moments.

    Parameters
    ----------
    found : MomentsResult
        Of any method.
    affine : bool
        Whether the outputs really are Gaussian, as those of an affine network.
    seed : int
        Of the quadrature's points.
    progress : Progress, optional

    Notes
    -----
    For class k the differences y_k - y_j are Gaussian, and the class wins where all are positive: the probability of an
    orthant in d - 1 dimensions (`plica.analyses.moments.uses.orthant`).
    """
    progress = progress or Progress()
    mean, cov = found.mean.ravel(), found.covariance
    pairs = [_class(mean, cov, k, seed, progress) for k in progress.over(range(len(mean)), "classes")]
    p, error = (np.array(t) for t in zip(*pairs, strict=True))
    intervals = np.stack([np.clip(p - WIDTH * error, 0, 1), np.clip(p + WIDTH * error, 0, 1)], -1)
    reason = f"moments by {found.method!r}; "
    reason += (
        "the logits are Gaussian; quadrature without a proven bound."
        if affine
        else "the logits are taken as jointly Gaussian, which they are not; an approximation without error bound."
    )
    return ProbabilityResult(
        Standing.NUMERICAL if affine else Standing.ESTIMATE, Completeness.COMPLETE,
        {"seconds": progress.seconds, "seed": seed}, "gaussian", p, intervals, 0.99, 0, reason,
    )  # fmt: skip


def _class(mean: np.ndarray, cov: np.ndarray, k: int, seed: int, progress: Progress) -> tuple[float, float]:
    """Probability of class k and its standard error; by a tie the lower class wins."""
    others = np.delete(np.arange(len(mean)), k)
    if not len(others):
        return 1.0, 0.0
    gap = mean[k] - mean[others]
    own = np.diagonal(cov)
    spread = cov[np.ix_(others, others)] - cov[others, k][:, None] - cov[others, k][None, :] + cov[k, k]
    # a difference of equal outputs has variance 0 up to rounding
    still = np.diagonal(spread) <= 1e-15 * len(mean) * (own[others] + own[k])
    spread[still] = 0.0
    spread[:, still] = 0.0
    tied = still & (np.abs(gap) <= 1e-14 * (np.abs(mean[k]) + np.abs(mean[others])))
    gap = np.where(tied, np.where(others > k, 0.0, -1.0), gap)
    sd = np.sqrt(np.diagonal(spread))
    bound = ndtr(gap[~still] / sd[~still]).min(initial=1.0)  # the class must beat each of the others
    if bound <= NEGLIGIBLE or (gap[still] < 0).any():
        return 0.0, 0.0
    return orthant(gap, spread, tolerance=TOLERANCE, seed=seed, progress=progress)


def _counted(
    net: Network, x: Gaussian, confidence: float, samples: int, seed: int, progress: Progress
) -> ProbabilityResult:
    if samples < 1:
        raise ArgumentError(f"samples = {samples}: draw at least 1.")
    counts, drawn = np.zeros(math.prod(net.output_shape), dtype=int), 0
    binomial_interval(counts, 1, confidence)  # refuses a bad confidence before the work
    state = Completeness.COMPLETE
    try:
        total = -(-samples // batch_size(net))
        with torch.no_grad():
            for part in progress.over(batches(net, x, samples, seed), "samples", total):
                counts += np.bincount(net.logits(part).argmax(1).numpy(), minlength=len(counts))
                drawn += len(part)
    except (BudgetReached, KeyboardInterrupt) as stop:
        if not drawn:
            raise
        state = Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    reason = f"{drawn} samples with seed {seed}; each interval holds its probability at least {confidence:g} of times."
    return ProbabilityResult(
        Standing.ESTIMATE, state, {"seconds": progress.seconds, "seed": seed}, "monte_carlo", counts / drawn,
        binomial_interval(counts, drawn, confidence), confidence, drawn, reason,
    )  # fmt: skip
