"""What moments answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plica.core.result import Result
from plica.errors import ArgumentError


@dataclass(frozen=True, repr=False)
class MomentsResult(Result):
    """Mean and covariance of a network's output under Gaussian noise at its input.

    Attributes
    ----------
    method : str
        "exact", "moment_matching", "two_stage" or "monte_carlo".
    mean : ndarray, shape output_shape
    covariance : ndarray, shape (d, d)
        Of the d outputs in flat order; symmetric.
    standard_error : ndarray, shape output_shape, or None
        Of the mean, for "monte_carlo".
    covariance_standard_error : ndarray, shape (d, d), or None
        Of every entry of the covariance, for "monte_carlo".
    samples : int
        Inputs drawn; 0 for a formula.
    reason : str
        What the method does and how far to trust it, in a sentence.
    """

    method: str
    mean: np.ndarray
    covariance: np.ndarray
    standard_error: np.ndarray | None
    covariance_standard_error: np.ndarray | None
    samples: int
    reason: str

    @property
    def standard_deviation(self) -> np.ndarray:
        """Standard deviation of every output, shape output_shape."""
        return np.sqrt(self.covariance.diagonal().clip(min=0.0)).reshape(self.mean.shape)

    def standardised_errors(self, sampled: MomentsResult) -> tuple[np.ndarray, np.ndarray]:
        """Differences from a Monte Carlo result of the same question, in its standard errors.

        Parameters
        ----------
        sampled : MomentsResult
            Of method "monte_carlo".

        Returns
        -------
        mean : ndarray, shape output_shape
        covariance : ndarray, shape (d, d)
            Of exact moments about 95 % lie within 2; 0 where neither varies.

        Raises
        ------
        ArgumentError
            When `sampled` was not sampled or has other outputs.
        """
        mean_error, covariance_error = sampled.standard_error, sampled.covariance_standard_error
        if mean_error is None or covariance_error is None:
            raise ArgumentError(f"sampled: got a result of method {sampled.method!r}; it needs 'monte_carlo'.")
        if sampled.mean.shape != self.mean.shape:
            raise ArgumentError(f"sampled: its outputs have shape {sampled.mean.shape}, these {self.mean.shape}.")
        return (
            _ratio(self.mean - sampled.mean, mean_error),
            _ratio(self.covariance - sampled.covariance, covariance_error),
        )

    def sampled_by(self, sampler: Callable[[int, int], MomentsResult]) -> MomentsResult:
        """Return this result, able to `check` itself: `sampler` answers the same question with (samples, seed)."""
        object.__setattr__(self, "_sampler", sampler)  # no field: it is not saved and not part of the answer
        return self

    def check(self, samples: int = 100_000, seed: int = 1) -> MomentsCheck:
        """Compare with Monte Carlo.

        Parameters
        ----------
        samples : int
            Inputs to draw.
        seed : int
            Of the draw; for a result that was sampled itself, give another seed than its own.

        Returns
        -------
        MomentsCheck
            The sampled moments and all differences in their standard errors.

        Raises
        ------
        ArgumentError
            For a result that was read from a file: the network is not in it.
        """
        sampler = getattr(self, "_sampler", None)
        if sampler is None:
            raise ArgumentError(
                "check: this result was read from a file and has no network. Call moments(net, mean, cov, "
                "method='monte_carlo') and result.standardised_errors(of that)."
            )
        sampled = sampler(samples, seed)
        return MomentsCheck(sampled, *self.standardised_errors(sampled))

    def summary(self) -> str:
        """The method, and mean and standard deviation of the first outputs."""
        pairs = list(zip(self.mean.ravel(), self.standard_deviation.ravel(), strict=True))
        shown = ", ".join(f"{m:.4g} +- {s:.3g}" for m, s in pairs[:10])
        more = f" and {len(pairs) - 10} more" if len(pairs) > 10 else ""
        return f"{self.method}: {self.reason}\noutputs: {shown}{more}"


@dataclass(frozen=True, repr=False)
class MomentBoundsResult(Result):
    """Proven bounds of the mean and covariance of a network's output under Gaussian noise.

    Attributes
    ----------
    mean_lower, mean_upper : ndarray, shape output_shape
    covariance_lower, covariance_upper : ndarray, shape (d, d)
        Of the d outputs in flat order; -inf and inf where they were not asked for.
    """

    mean_lower: np.ndarray
    mean_upper: np.ndarray
    covariance_lower: np.ndarray
    covariance_upper: np.ndarray

    @property
    def width(self) -> float:
        """The largest distance of a lower from an upper bound, those of the covariance where there are any."""
        with np.errstate(invalid="ignore"):  # an entry without bounds: inf - inf, left out
            gaps = np.concatenate(
                [(self.mean_upper - self.mean_lower).ravel(), (self.covariance_upper - self.covariance_lower).ravel()]
            )
        return float(gaps[np.isfinite(gaps)].max(initial=0.0))

    def class_bound(self) -> tuple[int, float]:
        """The class of the largest mean, and a lower bound of its probability under the noise.

        Notes
        -----
        Cantelli's inequality for every difference of outputs D with mean g > 0 and variance v, P(D <= 0) <=
        v / (v + g^2), summed: it holds for any distribution with these moments, and the moments are bounded. The sum is
        rounded outward. The bound is 0 where it says nothing.
        """
        low, high = self.mean_lower.ravel(), self.mean_upper.ravel()
        k = int(low.argmax())
        failing = 0.0
        for j in range(len(low)):
            if j == k:
                continue
            gap = np.nextafter(low[k] - high[j], -np.inf)
            lower, upper = self.covariance_lower, self.covariance_upper
            v = np.nextafter(np.nextafter(upper[k, k] + upper[j, j], np.inf) - 2 * lower[k, j], np.inf)
            v = max(float(v), 0.0)
            if not (gap > 0 and np.isfinite(v)):
                return k, 0.0
            failing += v / (v + float(gap) ** 2) * (1 + 1e-14)
        return k, max(0.0, 1.0 - failing * (1 + 1e-14) - 1e-300) * (1 - 1e-15)

    def summary(self) -> str:
        """The outputs and their widths."""
        pairs = list(zip(self.mean_lower.ravel(), self.mean_upper.ravel(), strict=True))
        shown = ", ".join(f"[{a:.17g}, {b:.17g}]" for a, b in pairs[:4])
        more = f" and {len(pairs) - 4} more" if len(pairs) > 4 else ""
        return f"means in {shown}{more}\nwidest interval: {self.width:.3g}"


@dataclass(frozen=True, repr=False)
class MomentsCheck:
    """A result beside Monte Carlo.

    Attributes
    ----------
    sampled : MomentsResult
        Of method "monte_carlo".
    mean : ndarray, shape output_shape
    covariance : ndarray, shape (d, d)
        Differences in standard errors. For exact moments they are near standard normal (independent only in part); for
        approximate ones they grow with the root of the number of samples.
    """

    sampled: MomentsResult
    mean: np.ndarray
    covariance: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """All differences in standard errors: the means, then the covariances on and above the diagonal."""
        return np.concatenate([self.mean.ravel(), self.covariance[np.triu_indices(len(self.covariance))]])

    @property
    def largest(self) -> float:
        """The largest difference, in standard errors."""
        return float(np.abs(self.errors).max(initial=0.0))

    @property
    def share_within_two(self) -> float:
        """Share of the differences within two standard errors; about 0.95 for exact moments."""
        return float(np.mean(np.abs(self.errors) <= 2))

    def __repr__(self) -> str:
        return (
            f"MomentsCheck: {self.sampled.samples} samples, largest difference {self.largest:.3g} standard errors, "
            f"{self.share_within_two:.0%} of {self.errors.size} within 2"
        )


def _ratio(difference: np.ndarray, error: np.ndarray) -> np.ndarray:
    """difference / error, 0 where the difference is rounding only."""
    rounding = np.abs(difference) <= 1e-12 * (1 + np.abs(difference))
    return np.where(rounding & (error == 0), 0.0, difference / np.where(error > 0, error, 1e-300))
