"""Mean and covariance of a network's output under Gaussian noise at its input (Bibi et al. 2018)."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from plica.analyses.moments.noise import Array, Covariance, Gaussian, gaussian
from plica.analyses.moments.propagate import is_exact, joint_size, propagate
from plica.analyses.moments.result import MomentsResult
from plica.analyses.moments.rewrite import linearise, without_maxima
from plica.analyses.moments.sampling import sample
from plica.analyses.moments.streamed import streamed_moments
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError

MATRICES = 2  # of the size of the layer of choices, that `propagate` holds at once
METHODS = ("exact", "moment_matching", "two_stage", "monte_carlo")
REASONS = {
    "exact": "one layer of choices between affine maps; the formula is exact, evaluated in float64.",
    "moment_matching": "every choice after the first layer is taken of a Gaussian of equal mean and covariance; "
    "an approximation without error bound.",
    "two_stage": "all choices but those of layer {layer!r} are frozen at the mean of the input; exact for that "
    "network, an approximation without error bound for this one.",
}


def moments(
    net: Network,
    mean: Array,
    cov: Covariance,
    *,
    method: str | None = None,
    layer: str | int | None = None,
    samples: int = 100_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> MomentsResult:
    """Mean and covariance of the output for an input x ~ N(mean, cov).

    Parameters
    ----------
    net : Network
    mean : array, shape input_shape
    cov : number, array or LowRank
        A number is the variance of every input, n numbers a variance per input (0: constant), an (n, n) array the full
        covariance in flat order; ``LowRank(F)`` stands for F F'. Singular is fine.
    method : {"exact", "moment_matching", "two_stage", "monte_carlo"}, optional
        "exact" needs a network in which no choice comes after another; ReLU, leaky ReLU, abs, clip and every other
        function of one unit, and maxima of two. "moment_matching" goes layer by layer and takes the input of every
        later choice as Gaussian; a maximum of more than two is done in rounds of two, as approximately.
        "two_stage" freezes all choices but those of `layer` at the mean (section 3.4). By default "exact" where it can
        be, else "moment_matching"; the result says which.
    layer : str or int, optional
        The choice layer that "two_stage" keeps; the last one by default. Other methods do not read it.
    samples, seed : int
        For "monte_carlo": how many inputs are drawn, in batches, and the seed of the draw.
    progress : Progress, optional
        Budgets of time and memory, and a listener.

    Returns
    -------
    MomentsResult
        Standing NUMERICAL for "exact", ESTIMATE for the rest.

    Raises
    ------
    ArgumentError
        For an unknown method, "exact" on a network that is deeper, or fewer than 2 samples.
    ShapeError
        When mean or cov do not fit the network's input.
    DataError
        When they hold NaN or infinity, or cov is asymmetric, indefinite or has a negative variance.
    MemoryBudgetError
        When a covariance of some layer does not fit into ``progress.max_bytes``.
    BudgetReached
        When the time is up before there is an answer; sampling returns what it has.

    Notes
    -----
    Cost of a layer of p units: p^2 entries of memory, the affine maps of p + n vectors, and 5 to 80 exponentials per
    pair of units (0.05 CPU seconds at p = 2000). Where such matrices do not fit the budget and the method is exact for
    the network, they are streamed in blocks: (n + outputs) p entries (p = 20,000, n = 784: 16 CPU seconds, 0.9 GiB).

    Source: Bibi, Alfadly, Ghanem (2018), Theorems 1 and 2, which give the variance at zero mean and zero bias only;
    here mean, bias and covariance are arbitrary and the covariance is full.

    Examples
    --------
    >>> import torch
    >>> from plica.core.choice import relu
    >>> from plica.core.network import INPUT, Graph
    >>> graph = Graph((2,))
    >>> _ = graph.add("relu", relu((2,)), INPUT)
    >>> result = moments(graph.network(), [0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]])
    >>> result.method, result.mean.round(4).tolist(), result.covariance.round(4).tolist()
    ('exact', [0.3989, 0.3989], [[0.3408, 0.3408], [0.3408, 0.3408]])
    """
    start = time.monotonic()
    progress = progress or Progress()
    x = gaussian(net, mean, cov)
    plain = without_maxima(net.to("cpu"))
    chosen = _method(method, plain)

    def sampler(count: int, seed: int, budget: Progress | None = None) -> MomentsResult:
        with torch.no_grad():
            return _sampled(net.to("cpu"), x, count, seed, budget or Progress(max_bytes=progress.max_bytes))

    if chosen == "monte_carlo":
        return sampler(samples, seed, progress).sampled_by(sampler)
    with torch.no_grad():
        if chosen == "two_stage":
            layer = _layer(net, layer)
            plain = without_maxima(linearise(net.to("cpu"), layer, x.mean))
        m, c = _formula(plain, x, progress)
    reason = REASONS[chosen].format(layer=layer)
    if chosen == "two_stage" and not is_exact(plain):
        reason += f" Layer {layer!r} is a maximum of more than two, done in rounds of two by moment matching."
    return MomentsResult(
        standing=Standing.NUMERICAL if chosen == "exact" else Standing.ESTIMATE,
        completeness=Completeness.COMPLETE,
        header={"seconds": time.monotonic() - start},
        method=chosen,
        mean=m[0].numpy(),
        covariance=c.numpy(),
        standard_error=None,
        covariance_standard_error=None,
        samples=0,
        reason=reason,
    ).sampled_by(sampler)


def _formula(plain: Network, x: Gaussian, progress: Progress) -> tuple[Tensor, Tensor]:
    """By whole matrices where they fit, else streamed where that is possible."""
    if is_exact(plain) and MATRICES * 8 * joint_size(plain) ** 2 > progress.max_bytes:
        return streamed_moments(plain, x, progress)
    return propagate(plain, x, progress)


def differentiable_moments(
    net: Network, mean: Tensor, cov: Covariance, *, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and covariance as torch tensors, with gradients by the mean, the covariance and the network's weights.

    Parameters
    ----------
    net : Network
        Its weights may require gradients.
    mean : Tensor, shape input_shape
    cov : number, Tensor or LowRank
        As in `moments`.
    progress : Progress, optional

    Returns
    -------
    mean : Tensor, shape output_shape
    cov : Tensor, shape (d, d)
        As `moments` by its default method: exact where no choice comes after another, else moment matching.

    Notes
    -----
    The backward pass computes the integrals again and stores none, p^2 entries per layer. Gradients are finite for
    correlations of +-1. By a variance of 0 they are those of the limit, and 0 where a constant unit lies on a knot,
    where the derivative is infinite.
    """
    m, c = propagate(without_maxima(net), gaussian(net, mean, cov), progress or Progress())
    return m[0], c


def _method(method: str | None, plain: Network) -> str:
    exact = is_exact(plain)
    if method is None:
        return "exact" if exact else "moment_matching"
    if method not in METHODS:
        raise ArgumentError(f"method = {method!r}: choose one of {', '.join(METHODS)}, or None.")
    if method == "exact" and not exact:
        raise ArgumentError(
            "method = 'exact' needs a network in which no choice comes after another (affine, one layer of choices, "
            "affine; maxima of at most two). Use 'moment_matching', 'two_stage' or 'monte_carlo'."
        )
    return method


def _layer(net: Network, layer: str | int | None) -> str:
    if layer is None and not net.choices:
        raise ArgumentError("method = 'two_stage' needs a choice layer; this network is affine. Use method='exact'.")
    return net.resolve(net.choices[-1] if layer is None else layer)


def _sampled(net: Network, x: Gaussian, samples: int, seed: int, progress: Progress) -> MomentsResult:
    start = time.monotonic()
    if samples < 2:
        raise ArgumentError(f"samples = {samples}: a variance needs at least 2.")
    drawn = sample(net, x, samples, seed, progress)
    return MomentsResult(
        standing=Standing.ESTIMATE,
        completeness=drawn.completeness,
        header={"seconds": time.monotonic() - start, "seed": seed},
        method="monte_carlo",
        mean=drawn.mean.reshape(net.output_shape).numpy(),
        covariance=drawn.covariance.numpy(),
        standard_error=drawn.mean_error.reshape(net.output_shape).numpy(),
        covariance_standard_error=drawn.covariance_error.numpy(),
        samples=drawn.count,
        reason=f"{drawn.count} samples with seed {seed}; unbiased, with standard errors.",
    )
