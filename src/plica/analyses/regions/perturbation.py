"""Numbers of regions under small changes of the weights (Montúfar et al. 2014, section 2.5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, BudgetReached

WEIGHTS = ("weight", "bias", "factor")


@dataclass(frozen=True, repr=False)
class PerturbationResult(Result):
    """Numbers of regions of a network and of networks near it.

    Attributes
    ----------
    base : int
        Of the network itself.
    sizes : ndarray, shape (s,)
        Euclidean distances between the parameters.
    counts : ndarray of int, shape (s, samples)
        Of networks at that distance, in random directions; -1 where the budget ended.
    """

    base: int
    sizes: np.ndarray
    counts: np.ndarray

    @property
    def at_least(self) -> np.ndarray:
        """Share of the networks with at least as many regions, per size; NaN where none was counted."""
        done = self.counts >= 0
        with np.errstate(invalid="ignore"):
            return ((self.counts >= self.base) & done).sum(1) / done.sum(1)

    def summary(self) -> str:
        """One line per size."""
        lines = [f"{self.base} regions"]
        for size, counts, share in zip(self.sizes, self.counts, self.at_least, strict=True):
            counts = counts[counts >= 0]
            if len(counts):
                lines.append(
                    f"  moved by {size:g}: {counts.min()} to {counts.max()}, as many or more in {100 * share:.0f} %"
                )
        return "\n".join(lines)


def perturbed_counts(
    net: Network,
    count: Callable[[Network], int],
    *,
    sizes: Sequence[float] = (1e-6, 1e-3, 1e-1),
    samples: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> PerturbationResult:
    """Move all weights and biases a little in random directions, and count the regions again.

    Parameters
    ----------
    net : Network
    count : callable
        ``count(network)`` returns the number to compare, such as that of the regions in a box.
    sizes : sequence of float
        Euclidean lengths of the moves, in the space of all weights and biases that the network has.
    samples : int
        Moves of each size.
    seed : int
    progress : Progress, optional
        When the time is up, the counts so far are returned.

    Returns
    -------
    PerturbationResult
        ESTIMATE: a sample of directions. By section 2.5 there is a size below which the number of linear regions does
        not fall. Regions that only degenerate weights merge (repeated or parallel hyperplanes) appear at every size.
    """
    start, progress = time.monotonic(), progress or Progress()
    if samples < 1 or not len(sizes) or min(sizes) < 0:
        raise ArgumentError(
            f"sizes = {list(sizes)}, samples = {samples}: give sizes of 0 or more, and 1 sample or more."
        )
    base = int(count(net))
    counts, state = np.full((len(sizes), samples), -1, dtype=np.int64), Completeness.COMPLETE
    jobs = [(i, j) for i in range(len(sizes)) for j in range(samples)]
    try:
        for i, j in progress.over(jobs, "perturbed networks"):
            counts[i, j] = count(perturbed(net, float(sizes[i]), np.random.default_rng([seed, i, j])))
    except (BudgetReached, KeyboardInterrupt) as stop:
        state = Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    header = {"seconds": time.monotonic() - start, "seed": seed}
    return PerturbationResult(Standing.ESTIMATE, state, header, base, np.array(sizes, dtype=np.float64), counts)


def perturbed(net: Network, size: float, rng: np.random.Generator) -> Network:
    """The network with all weights and biases moved by a vector of this length, in a uniformly random direction."""
    places = [(i, name) for i, node in enumerate(net.nodes) for name in WEIGHTS if _has(node.op, name)]
    steps = [rng.standard_normal(tuple(getattr(net.nodes[i].op, name).shape)) for i, name in places]
    length = float(np.sqrt(sum(float(np.square(s).sum()) for s in steps)))
    nodes = list(net.nodes)
    for (i, name), step in zip(places, steps, strict=True):
        old = getattr(nodes[i].op, name)
        new = old + torch.from_numpy(np.asarray(step * (size / length))).to(old)
        nodes[i] = replace(nodes[i], op=replace(nodes[i].op, **{name: new}))  # type: ignore[type-var]
    return replace(net, nodes=tuple(nodes))


def _has(op: object, name: str) -> bool:
    """Whether a node has a tensor of that name."""
    value = vars(op).get(name)
    return isinstance(value, torch.Tensor) and value.is_floating_point()
