"""How often random changes of a given size make a classifier wrong (the question of Szegedy et al. 2013, section 5)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from plica.analyses.adversarial.certified import certified_radius
from plica.analyses.adversarial.problem import Problem, make
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, BudgetReached

BATCH = 1024  # points of one forward pass
LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class Points:
    """Which points `error_rate` draws.

    Attributes
    ----------
    samples : int
        Points per input and radius.
    sphere : bool
        Draw uniformly from the surface of the balls instead: changes of exactly this length (before they are moved
        into the box).
    seed : int
    """

    samples: int = 1000
    sphere: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.samples, int) or self.samples < 1:
            raise ArgumentError(f"samples = {self.samples!r}; give a whole number of at least 1.")
        if not isinstance(self.sphere, bool):
            raise ArgumentError(f"sphere = {self.sphere!r}; use True or False.")

    @classmethod
    def of(cls, options: dict[str, Any]) -> Points:
        """From keyword arguments.

        Raises
        ------
        ArgumentError
            For a name that is none of the fields.
        """
        known = [field.name for field in fields(cls)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise ArgumentError(f"{unknown[0]} is not an argument of error_rate; of the points: {', '.join(known)}.")
        return cls(**options)


@dataclass(frozen=True, repr=False)
class ErrorRateResult(Result):
    """Error probability under uniform perturbations of a given size.

    Attributes
    ----------
    radii : ndarray, shape (m,)
    rate : ndarray, shape (n, m)
        Share of the points around input i with another class; NaN where the budget ended before.
    low, high : ndarray, shape (n, m)
        95 % interval of the probability (Clopper and Pearson 1934), which is honest where no error was seen.
    standard_error : ndarray, shape (n, m)
        sqrt(rate (1 - rate) / samples).
    none : ndarray of bool, shape (n, m)
        Where the probability is 0 by proof: the ball lies within `certified`. No points were drawn there.
    mean, mean_error : ndarray, shape (m,)
        Mean over the inputs, and its standard error as a mean of n independent inputs.
    certified : ndarray, shape (n,)
        Radii within which no other class is proven to win; 0 where nothing is known.
    label : ndarray of int, shape (n,)
    norm : float
    samples, seed : int
    sphere : bool
        Whether the perturbations have exactly the length `radii`.
    """

    radii: np.ndarray
    rate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    standard_error: np.ndarray
    none: np.ndarray
    mean: np.ndarray
    mean_error: np.ndarray
    certified: np.ndarray
    label: np.ndarray
    norm: float
    samples: int
    seed: int
    sphere: bool = False

    def summary(self) -> str:
        """A line per radius."""
        norm, proven = f"{self.norm:g}-norm", "; proven to be 0 for"
        where = "on each sphere" if self.sphere else "in each ball"
        lines = [f"{len(self.label)} inputs, {self.samples} points {where} ({norm})"]
        for k, radius in enumerate(self.radii):
            known = ~np.isnan(self.rate[:, k])
            if not known.any():
                lines.append(f"  {radius:.4g}: not reached")
                continue
            line = f"  {radius:.4g}: error probability {self.mean[k]:.4g} +- {self.mean_error[k]:.2g}"
            lines.append(line + f", {int((self.rate[known, k] > 0).sum())} of {int(known.sum())} inputs with errors")
            if self.none[:, k].any():
                lines[-1] += f"{proven} {int(self.none[:, k].sum())}"
        return "\n".join(lines)


def error_rate(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    radii: Sequence[float] | np.ndarray,
    norm: float = 2.0,
    box: Box | None = None,
    progress: Progress | None = None,
    **points: Any,
) -> ErrorRateResult:
    """Estimate how often a random perturbation of a given size makes a classifier wrong.

    Parameters
    ----------
    model : Classifier or torch.nn.Module
        As for `min_distortion`.
    X : array, shape (n, ...)
        Inputs.
    y : array of int, shape (n,), optional
        Their classes; by default those that the model gives.
    radii : sequence of float
        Sizes, 0 or more.
    norm : {2, inf, 1}
        Of the balls.
    box : Box, optional
        Points are moved into the box, coordinate by coordinate, which brings none of them farther from an input in the
        box. By default the model's own box, and no limit without one.
    progress : Progress, optional
        A budget or an interrupt leaves NaN where no points were drawn.
    **points
        Fields of `Points`: samples, sphere, seed.

    Returns
    -------
    ErrorRateResult
        ESTIMATE, with standard errors. For a network of plica `none` says where the probability is 0 by proof, in real
        arithmetic: the ball lies within the radius of `certified_radius`, which is computed first (with at most half
        of a budget's time). A torch module has no such proof.

    Raises
    ------
    ArgumentError, DataError, ShapeError
        Other norms, negative radii, fewer than one sample, and what `min_distortion` refuses.

    Notes
    -----
    Cost: samples * n * len(radii) forward passes, less those that a proof saves. Every input has its own random
    numbers, the same for all radii, so that curves are smooth.

    Examples
    --------
    >>> import numpy as np
    >>> import plica
    >>> import torch
    >>> module = torch.nn.Linear(1, 2, bias=False).double()
    >>> module.weight.data[:] = torch.tensor([[1.0], [-1.0]])  # class 0 for x > 0
    >>> net = plica.load(module, (1,))
    >>> result = plica.error_rate(net, [[1.0]], norm=float("inf"), radii=[0.5, 2.0], samples=4000)
    >>> result.none.tolist(), bool(abs(result.rate[0, 1] - 0.25) < 0.03)
    ([[True, False]], True)
    """
    began, watch = time.monotonic(), progress or Progress()
    sizes, how = _checked(radii, norm), Points.of(points)
    problem = make(model, X, y, box, Progress())
    label = problem.labels.cpu().numpy()
    safe = _certified(problem, norm, label, watch)
    counts = np.full((len(label), len(sizes)), -1)
    none = (sizes[None] <= safe[:, None]) & (safe[:, None] > 0)
    if how.sphere:
        none &= sizes[None] < safe[:, None]  # the proof is of what is nearer
    problem.progress = watch
    state = _count(problem, sizes, (float(norm), how), none, counts)
    rate = np.where(counts >= 0, counts / how.samples, np.nan)
    low, high = _interval(counts, how.samples, none)
    with np.errstate(invalid="ignore"):
        spread = np.sqrt(rate * (1 - rate) / how.samples)
    mean, error = _mean(rate)
    return ErrorRateResult(
        Standing.ESTIMATE, state, {"seconds": time.monotonic() - began}, sizes, rate, low, high, spread, none, mean,
        error, safe, label, float(norm), how.samples, how.seed, how.sphere,
    )  # fmt: skip


def _checked(radii: Sequence[float] | np.ndarray, norm: float) -> np.ndarray:
    sizes = np.asarray(radii, dtype=np.float64).reshape(-1)
    if not len(sizes) or not np.isfinite(sizes).all() or (sizes < 0).any():
        raise ArgumentError(f"radii = {radii!r}; give one or more finite numbers of at least 0.")
    if not isinstance(norm, (int, float)) or float(norm) not in (2.0, math.inf, 1.0):
        raise ArgumentError(f"norm = {norm!r}; balls are of the norms 2, float('inf') and 1.")
    return sizes


def _certified(problem: Problem, norm: float, label: np.ndarray, watch: Progress) -> np.ndarray:
    """Radii without another class; 0 where nothing is known."""
    if not isinstance(problem.model, Network):
        return np.zeros(len(label))
    ends = (side.double().cpu().numpy() for side in problem.box)
    x = problem.x.double().cpu().numpy().reshape(-1, *problem.shape)
    half = watch if watch.max_seconds is None else watch.part(0.5)
    return certified_radius(problem.model, x, label, norm=norm, box=Box(*ends), progress=half).radius


def _count(
    problem: Problem, sizes: np.ndarray, how: tuple[float, Points], none: np.ndarray, counts: np.ndarray
) -> Completeness:
    """Errors of every input and radius, written into `counts`."""
    norm, samples, seed, sphere = how[0], how[1].samples, how[1].seed, how[1].sphere
    watch, (low, high) = problem.progress, problem.box
    try:
        for i in range(len(counts)):
            watch.report("inputs", i, len(counts))
            wrong = np.zeros(len(sizes), dtype=np.int64)
            draw = torch.Generator().manual_seed(seed * 1_000_003 + i)
            todo = np.flatnonzero(~none[i])
            for first in range(0, samples if len(todo) else 0, BATCH):
                steps = directions(min(BATCH, samples - first), problem.x.shape[1], norm, draw, sphere=sphere)
                steps = steps.to(problem.x)
                for k in todo:
                    points = torch.minimum(torch.maximum(problem.x[i] + float(sizes[k]) * steps, low), high)
                    wrong[k] += int((problem.logits(points).argmax(1) != problem.labels[i]).sum())
            counts[i] = wrong
    except (BudgetReached, KeyboardInterrupt) as stop:
        return Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    watch.report("inputs", len(counts), len(counts))
    return Completeness.COMPLETE


def directions(count: int, d: int, norm: float, draw: torch.Generator, *, sphere: bool = False) -> Tensor:
    """Uniform points of the unit ball or of its surface, shape (count, d), float64.

    In the norms 2 and 1 independent normal and Laplace variables, divided by their norm, are uniform on the surface
    (Schechtman and Zinn 1990, "On the volume of the intersection of two L_p^n balls").
    """
    if norm == math.inf:
        steps = 2 * torch.rand(count, d, generator=draw, dtype=torch.float64) - 1
        if sphere:
            side = torch.randint(d, (count, 1), generator=draw)
            steps.scatter_(1, side, torch.where(steps.gather(1, side) < 0, -1.0, 1.0).double())
        return steps
    steps = torch.randn(count, d, generator=draw, dtype=torch.float64)
    if norm == 1:
        steps = steps.sign() * -torch.log1p(-torch.rand(count, d, generator=draw, dtype=torch.float64))
    steps = steps / torch.linalg.vector_norm(steps, ord=norm, dim=1, keepdim=True)
    if sphere:
        return steps
    return steps * torch.rand(count, 1, generator=draw, dtype=torch.float64) ** (1 / d)


def _interval(counts: np.ndarray, samples: int, none: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Clopper and Pearson's intervals; 0 where that is proven."""
    tail, known = (1 - LEVEL) / 2, counts >= 0
    k = np.where(known, counts, 0)
    low = np.where(k > 0, stats.beta.ppf(tail, np.maximum(k, 1), samples - k + 1), 0.0)
    high = np.where(k < samples, stats.beta.ppf(1 - tail, k + 1, np.maximum(samples - k, 1)), 1.0)
    low, high = (np.where(none & known, 0.0, np.where(known, v, np.nan)) for v in (low, high))
    return low, high


def _mean(rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over the inputs that were reached, and their standard errors (NaN for a single input)."""
    mean, error = np.full(rate.shape[1], np.nan), np.full(rate.shape[1], np.nan)
    for k, column in enumerate(rate.T):
        known = column[~np.isnan(column)]
        if len(known):
            mean[k] = known.mean()
        if len(known) > 1:
            error[k] = known.std(ddof=1) / math.sqrt(len(known))
    return mean, error
