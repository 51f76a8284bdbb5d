"""Probability that a Gaussian vector lies in an orthant, also where its covariance is singular.

With D ~ N(m, L L'), P(D > 0) is an integral over the unit cube: z_1, z_2, ... are drawn one after the other from normal
laws cut to what the rows of L that end there still allow (Genz, 1992). Rows that depend on earlier columns only, as in
singular covariances, cut the column they end in (Genz and Kwong, 2000). Rows are taken in the order of the smallest
conditional probability (Gibson, Glasbey and Elston, 1994). Scrambled Sobol points, several independent sets of them,
give the integral and its standard error.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from plica.core.progress import Progress

SETS = 8  # independent sets of points: their scatter is the error
FIRST, LAST = 10, 16  # powers of two: points per set at the start and at most
SINGULAR = 1e-13  # a conditional variance below this part of the row's own counts as none


def orthant(
    mean: np.ndarray, cov: np.ndarray, *, tolerance: float, seed: int, progress: Progress
) -> tuple[float, float]:
    """P(D >= 0) for D ~ N(mean, cov), and its standard error.

    Parameters
    ----------
    mean : ndarray, shape (k,)
    cov : ndarray, shape (k, k)
        Positive semidefinite; rows of zero variance are constants.
    tolerance : float
        Points are doubled until the standard error is below it, or there are 2^16 in each of 8 sets.
    seed : int

    Returns
    -------
    probability, error : float
        The error is 0 where one normal variable decides.

    Notes
    -----
    Source: Genz (1992), J. Comput. Graph. Stat. 1, 141-149; Genz and Kwong (2000), J. Stat. Comput. Simul. 68, 1-21.
    """
    sd = np.sqrt(np.clip(np.diagonal(cov), 0.0, None))
    constant = sd == 0
    if (mean[constant] < 0).any():
        return 0.0, 0.0
    if constant.all():
        return 1.0, 0.0
    s = sd[~constant]
    groups = _groups(*_factor(mean[~constant] / s, cov[np.ix_(~constant, ~constant)] / np.outer(s, s)))
    if len(groups) == 1:
        return float(_integrand(groups, np.zeros((1, 0)))[0]), 0.0
    sources = [qmc.Sobol(len(groups) - 1, seed=np.random.default_rng([seed, i])) for i in range(SETS)]
    sums, count, size = np.zeros(SETS), 0, 1 << FIRST
    while True:
        progress.check()
        sums += [_integrand(groups, source.random(size)).sum() for source in sources]
        count += size
        found = sums / count
        error = float(found.std(ddof=1) / np.sqrt(SETS))
        if error <= tolerance or count >= 1 << LAST:
            return float(found.mean()), error
        size = count


def _factor(mean: np.ndarray, correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of L (k, rank), thresholds -mean, and the column in which each row ends; smallest probability first."""
    C, threshold, k = correlation.copy(), -mean.copy(), len(mean)
    L, middle, ends = np.zeros((k, k)), np.zeros(k), np.full(k, -1)
    for t in range(k):
        rest = np.clip(np.diagonal(C) - (L[:, :t] ** 2).sum(1), 0.0, None)
        alive = ends < 0
        gap = threshold - L[:, :t] @ middle[:t]
        chance = np.where(alive, ndtr(-gap / np.sqrt(np.where(alive, rest, 1.0))), np.inf)
        pick = int(chance.argmin())
        pivot = np.sqrt(rest[pick])
        L[alive, t] = (C[alive, pick] - L[alive, :t] @ L[pick, :t]) / pivot
        middle[t] = _mean_above(gap[pick] / pivot)
        spent = np.diagonal(C) - (L[:, : t + 1] ** 2).sum(1) <= SINGULAR
        ends[alive & spent] = t
        ends[pick] = t
        if (ends >= 0).all():
            break
    return L[:, : ends.max() + 1], threshold, ends


def _mean_above(x: float) -> float:
    """E(Z | Z > x)."""
    tail = ndtr(-x)
    return float(np.exp(-0.5 * x * x) / (np.sqrt(2 * np.pi) * tail)) if tail > 1e-300 else max(x, 0.0)


def _groups(rows: np.ndarray, thresholds: np.ndarray, ends: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every column the rows that end in it: coefficients (m, column + 1) and thresholds."""
    return [(rows[ends == c, : c + 1], thresholds[ends == c]) for c in range(rows.shape[1])]


def _integrand(groups: list[tuple[np.ndarray, np.ndarray]], u: np.ndarray) -> np.ndarray:
    """Product of the conditional probabilities at points u of the cube, shape (points,)."""
    z, total = np.zeros((len(u), len(groups))), np.ones(len(u))
    for c, (rows, thresholds) in enumerate(groups):
        bounds = (thresholds - z[:, :c] @ rows[:, :c].T) / rows[:, c]
        lower = np.where(rows[:, c] > 0, bounds, -np.inf).max(1, initial=-np.inf)
        upper = np.where(rows[:, c] < 0, bounds, np.inf).min(1, initial=np.inf)
        turned = lower > 0  # the tail on whose side probabilities are small
        low, high = np.where(turned, -upper, lower), np.where(turned, -lower, upper)
        below = ndtr(low)
        mass = np.where(high > low, ndtr(high) - below, 0.0)
        total *= mass
        if c < u.shape[1]:
            drawn = np.clip(ndtri(np.clip(below + u[:, c] * mass, 1e-300, 1 - 1e-16)), low, np.maximum(low, high))
            z[:, c] = np.where(turned, -drawn, drawn)
    return total
