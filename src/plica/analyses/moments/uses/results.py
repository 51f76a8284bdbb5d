"""What the uses of moments answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from plica.core.result import Result
from plica.errors import ArgumentError


def binomial_interval(successes: np.ndarray, trials: np.ndarray | int, confidence: float) -> np.ndarray:
    """Clopper and Pearson's interval of a probability, shape (..., 2); it covers at least as often as it says.

    Parameters
    ----------
    successes : array of int
    trials : int or array of int
    confidence : float
        In (0, 1).

    Notes
    -----
    Source: Clopper and Pearson (1934), Biometrika 26, 404-413; the quantiles are those of beta distributions.
    """
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence = {confidence}: give a number between 0 and 1, like 0.95.")
    k, n, tail = np.asarray(successes), np.asarray(trials), (1 - confidence) / 2
    with np.errstate(all="ignore"):  # the ends k = 0 and k = n are set below
        low = np.where(k == 0, 0.0, beta.ppf(tail, k, n - k + 1))
        high = np.where(k == n, 1.0, beta.ppf(1 - tail, k + 1, n - k))
    return np.stack([low, high], -1)


@dataclass(frozen=True, repr=False)
class ProbabilityResult(Result):
    """How probable each class is under Gaussian noise.

    Attributes
    ----------
    method : str
        "gaussian" (the logits taken as jointly Gaussian) or "monte_carlo".
    probabilities : ndarray, shape (d,)
        Of the largest output being each of the d outputs; ties go to the lowest.
    intervals : ndarray, shape (d, 2)
        "monte_carlo": Clopper and Pearson's intervals, each holding its probability at least at the rate `confidence`.
        "gaussian": the probability plus and minus 3.5 standard errors of the randomised quadrature, in [0, 1].
    confidence : float
    samples : int
        Inputs drawn; 0 for "gaussian".
    reason : str
        What the method does and how far to trust it.
    """

    method: str
    probabilities: np.ndarray
    intervals: np.ndarray
    confidence: float
    samples: int
    reason: str

    @property
    def likely(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    def summary(self) -> str:
        """The most probable classes."""
        order = np.argsort(-self.probabilities, kind="stable")[:5]
        shown = [
            f"class {k}: {self.probabilities[k]:.4g} [{self.intervals[k, 0]:.4g}, {self.intervals[k, 1]:.4g}]"
            for k in order.tolist()
        ]
        return "\n".join([f"{self.method}: {self.reason}", *shown])


@dataclass(frozen=True, repr=False)
class FoolingResult(Result):
    """Which inputs change class under a shift, and under the shift and noise.

    Attributes
    ----------
    method : str
        How the mean outputs were found: "exact", "two_stage" or "monte_carlo".
    clean, shifted, expected : ndarray of int, shape (n,)
        Class of every input, of the input and the shift, and of the mean outputs under shift and noise.
    orders : ndarray of int, shape (n, 2, k)
        The k largest outputs in order, without noise and of the means.
    share : ndarray, shape (n,), or None
        For "monte_carlo": of draws whose class is not the clean one.
    samples : int
        Per input; 0 for a formula.
    reason : str
    """

    method: str
    clean: np.ndarray
    shifted: np.ndarray
    expected: np.ndarray
    orders: np.ndarray
    share: np.ndarray | None
    samples: int
    reason: str

    @property
    def rate(self) -> float:
        """Share of inputs whose class the shift changes (XN in section 4.2 of Bibi et al.)."""
        return float(np.mean(self.clean != self.shifted))

    @property
    def noisy_rate(self) -> float:
        """Share of inputs for which the class of the mean outputs under noise is another (XNn)."""
        return float(np.mean(self.clean != self.expected))

    @property
    def order_accuracy(self) -> np.ndarray:
        """Share of inputs whose k largest outputs have the same order with and without noise, k = 1, 2, ..."""
        same = self.orders[:, 0] == self.orders[:, 1]
        return np.logical_and.accumulate(same, axis=1).mean(0)

    def summary(self) -> str:
        """Both rates and the accuracy of the order."""
        order = ", ".join(f"{a:.2%}" for a in self.order_accuracy)
        return (
            f"{self.method}: {self.reason}\n{len(self.clean)} inputs; fooling rate {self.rate:.2%} without noise, "
            f"{self.noisy_rate:.2%} of the means with it; order of the top 1, 2, ... kept: {order}"
        )


@dataclass(frozen=True, repr=False)
class FoolingMapResult(Result):
    """Where noise in a window changes the class.

    Attributes
    ----------
    method : str
        "exact" or "two_stage" (the class of the mean outputs), or "monte_carlo" (draws).
    fooled : ndarray, shape (n, rows, columns)
        1 where noise in the window at that place changes the class of the input, 0 where not; for "monte_carlo" the
        share of draws that do.
    classes : ndarray of int, shape (n,)
        Of the inputs without noise.
    window, stride : int
        The first window has its corner at row and column 0; the one at [r, c] at (r stride, c stride).
    variance : float
    samples : int
        Per window; 0 for a formula.
    reason : str
    """

    method: str
    fooled: np.ndarray
    classes: np.ndarray
    window: int
    stride: int
    variance: float
    samples: int
    reason: str

    @property
    def rate(self) -> np.ndarray:
        """Fooling rate at every place, shape (rows, columns): the mean over inputs."""
        return self.fooled.mean(0)

    def by_class(self, labels: np.ndarray | None = None) -> dict[int, np.ndarray]:
        """Fooling rate at every place over the inputs of each class, as in Figure 3 of Bibi et al.

        Parameters
        ----------
        labels : array of int, shape (n,), optional
            By default the classes that the network gives.
        """
        labels = self.classes if labels is None else np.asarray(labels)
        if labels.shape != self.classes.shape:
            raise ArgumentError(f"labels: got shape {labels.shape} for {len(self.classes)} inputs.")
        return {int(k): self.fooled[labels == k].mean(0) for k in np.unique(labels)}

    def summary(self) -> str:
        """The place where noise fools most often."""
        if not len(self.fooled):
            return f"{self.method}: {self.reason}\nno input was finished"
        rate = self.rate
        row, column = (int(i) for i in np.unravel_index(rate.argmax(), rate.shape))
        return (
            f"{self.method}: {self.reason}\n{len(self.fooled)} inputs, windows of {self.window} x {self.window} at "
            f"{rate.shape[0]} x {rate.shape[1]} places: fooling rate {rate.mean():.2%} on average, at most "
            f"{rate.max():.2%} with the window's corner at ({row * self.stride}, {column * self.stride})"
        )


@dataclass(frozen=True, repr=False)
class BatchMomentsResult(Result):
    """Means and variances of the outputs for many inputs under the same noise.

    Attributes
    ----------
    method : str
        "exact" or "two_stage".
    inputs : ndarray of int, shape (n,)
        Which inputs: all, unless the time was up.
    mean, variance : ndarray, shape (n, d)
    centred_variance : ndarray, shape (n, d)
        What Theorem 2 of Bibi et al. (2018) gives, which takes the mean before the choices as zero.
    points : ndarray of int, shape (n,)
        The point of linearisation of each input; its own number where no points were given.
    reason : str
    """

    method: str
    inputs: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    centred_variance: np.ndarray
    points: np.ndarray
    reason: str

    def summary(self) -> str:
        """How many inputs and points."""
        count = len(np.unique(self.points))
        return f"{self.method}: {self.reason}\n{len(self.mean)} inputs, {self.mean.shape[1]} outputs, {count} points"


@dataclass(frozen=True, repr=False)
class NoiseResult(Result):
    """Gaussian noise that changes the class, and whether it does.

    Attributes
    ----------
    method : str
        "exact" or "two_stage".
    shift : ndarray, shape input_shape
        Mean of the noise; zero outside the support.
    variance : float
        Of the noise at every input of the support.
    support : ndarray of bool, shape input_shape
    before, target : int
        Class of the input; the class aimed at, -1 for any other.
    mean : ndarray, shape (d,)
        Mean outputs by the formula.
    margin : float
        The largest other mean less the target's (targeted), or the mean of `before` less the largest other: negative
        where the network is fooled in expectation by the formula.
    sampled_mean, sampled_error : ndarray, shape (d,)
        Mean outputs of the network itself by Monte Carlo, and their standard errors.
    share : float
        Of draws with the target's class (targeted), or any class but `before`.
    interval : ndarray, shape (2,)
        Clopper and Pearson's 95 % interval of that probability.
    samples : int
    reason : str
    """

    method: str
    shift: np.ndarray
    variance: float
    support: np.ndarray
    before: int
    target: int
    mean: np.ndarray
    margin: float
    sampled_mean: np.ndarray
    sampled_error: np.ndarray
    share: float
    interval: np.ndarray
    samples: int
    reason: str

    @property
    def fooled(self) -> bool:
        """Whether the class of the sampled mean outputs is the target (any other than `before`)."""
        found = int(self.sampled_mean.argmax())
        return found == self.target if self.target >= 0 else found != self.before

    def summary(self) -> str:
        """What was found and how it was verified."""
        aim = f"class {self.before} to class {self.target}" if self.target >= 0 else f"away from class {self.before}"
        low, high = self.interval
        return (
            f"{self.method}: {self.reason}\n{aim}: margin of the means {self.margin:.4g} by the formula; "
            f"{'fooled' if self.fooled else 'not fooled'} in expectation by {self.samples} draws, of which "
            f"{self.share:.2%} [{low:.2%}, {high:.2%}] have the class wanted\n"
            f"noise: {int(self.support.sum())} inputs, shift up to {np.abs(self.shift).max():.4g}, "
            f"variance {self.variance:.4g}"
        )


@dataclass(frozen=True, repr=False)
class NoiseCurveResult(Result):
    """Outputs and classes of one input against the level of the noise.

    Attributes
    ----------
    x : ndarray, shape input_shape
    levels : ndarray, shape (l,)
        Standard deviations of the noise of every input, increasing; as many as were finished.
    mean, spread : ndarray, shape (l, d)
        Of the outputs, by Monte Carlo.
    formula_mean, formula_spread : ndarray, shape (l, d)
        By `plica.moments`; NaN where it had no time or memory.
    method : str
        Its method.
    probabilities : ndarray, shape (l, d)
        Shares of draws in which an output is the largest.
    intervals : ndarray, shape (l, d, 2)
        Clopper and Pearson's, each at 95 %.
    samples : int
        Draws per level.
    """

    x: np.ndarray
    levels: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    formula_mean: np.ndarray
    formula_spread: np.ndarray
    method: str
    probabilities: np.ndarray
    intervals: np.ndarray
    samples: int

    @property
    def clean(self) -> int:
        """The class at the lowest level."""
        return int(self.probabilities[0].argmax())

    @property
    def tipping(self) -> float:
        """The lowest level at which half of the draws or more have another class; infinity where there is none."""
        other = np.flatnonzero(self.probabilities[:, self.clean] <= 0.5)
        return float(self.levels[other[0]]) if len(other) else float("inf")

    def summary(self) -> str:
        """Where the class tips."""
        kept = ", ".join(
            f"{p:.0%} at {s:.3g}" for s, p in zip(self.levels, self.probabilities[:, self.clean], strict=True)
        )
        return f"class {self.clean} in {kept}; {self.samples} draws a level"
