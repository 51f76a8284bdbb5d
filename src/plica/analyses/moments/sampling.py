"""Moments by Monte Carlo, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from plica.analyses.moments.noise import Gaussian
from plica.core.network import Network
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness
from plica.errors import BudgetReached

BATCH = 4096
SCRATCH = 1 << 28  # bytes of network values that one batch may take, roughly


@dataclass(frozen=True, eq=False)
class Sampled:
    """Sample mean (d,) and covariance (d, d), their standard errors, how many samples, and how it ended."""

    mean: Tensor
    covariance: Tensor
    mean_error: Tensor
    covariance_error: Tensor
    count: int
    completeness: Completeness


def sample(net: Network, x: Gaussian, samples: int, seed: int, progress: Progress) -> Sampled:
    """Draw inputs in batches and return the moments of the outputs.

    Notes
    -----
    The standard error of a covariance is that of the mean of products of centred outputs, from their fourth moments; it
    holds for any distribution. The batches do not depend on the budget, so equal seeds give equal samples.

    Raises
    ------
    MemoryBudgetError
        When the outputs do not fit into ``progress.max_bytes``.
    BudgetReached
        When the time is up before two batches are done.
    """
    d = math.prod(net.output_shape)
    refuse_above(
        progress.max_bytes,
        8 * (samples * d + 3 * d * d),
        f"{samples} samples of {d} outputs and their covariance",
        "Draw fewer samples.",
    )
    outputs: list[Tensor] = []
    completeness = Completeness.COMPLETE
    try:
        for batch in progress.over(batches(net, x, samples, seed), "samples", -(-samples // batch_size(net))):
            outputs.append(net.logits(batch))
    except BudgetReached:
        if len(outputs) < 2:
            raise
        completeness = Completeness.BUDGET
    except KeyboardInterrupt:
        if len(outputs) < 2:
            raise
        completeness = Completeness.INTERRUPTED
    return _moments(torch.cat(outputs), completeness)


def batch_size(net: Network) -> int:
    """Inputs per batch: fewer for networks with large values."""
    widest = max(math.prod(net.input_shape), *(math.prod(node.shape) for node in net.nodes))
    return max(1, min(BATCH, SCRATCH // (32 * widest)))


def batches(net: Network, x: Gaussian, samples: int, seed: int) -> Iterator[Tensor]:
    """Inputs drawn from a Gaussian; equal seeds give equal inputs."""
    generator = torch.Generator().manual_seed(seed)
    draw, size = x.sampler(), batch_size(net)
    for start in range(0, samples, size):
        count = min(size, samples - start)
        yield draw(count, generator).reshape(count, *net.input_shape)


def _moments(outputs: Tensor, completeness: Completeness) -> Sampled:
    count = len(outputs)
    mean = outputs.mean(0)
    centred = outputs - mean
    covariance = centred.T @ centred / (count - 1)
    squares = centred.square()
    fourth = (squares.T @ squares / count - covariance.square()).clamp(min=0.0)
    return Sampled(
        mean,
        covariance,
        (covariance.diagonal() / count).sqrt(),
        (fourth / count).sqrt(),
        count,
        completeness,
    )
