"""Probabilities of orthants by formulas and quadrature, two-stage moments by hand; imports nothing from plica."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import integrate
from scipy.stats import norm


def centred_orthant(correlation: np.ndarray) -> float:
    """P(D > 0) at mean 0 in one to three dimensions, in closed form (Sheppard, 1900)."""
    k = len(correlation)
    angles = sum(math.asin(correlation[i, j]) for i in range(k) for j in range(i))
    return {1: 0.5, 2: 0.25 + angles / (2 * math.pi), 3: 0.125 + angles / (4 * math.pi)}[k]


def one_factor(mean: np.ndarray, loads: np.ndarray) -> float:
    """P(D > 0) for D_i = mean_i + loads_i T + sqrt(1 - loads_i^2) E_i with independent normals, by one integral."""
    rest = np.sqrt(1 - loads**2)

    def given(t: float) -> float:
        return float(norm.pdf(t) * np.prod(norm.cdf((mean + loads * t) / rest)))

    cuts = sorted({-9.0, 9.0, 0.0, *np.clip(-mean / np.where(loads == 0, 1.0, loads), -9, 9).tolist()})
    return sum(integrate.quad(given, a, b, epsabs=1e-13, limit=200)[0] for a, b in itertools.pairwise(cuts))


def plane_cone(rows: np.ndarray) -> float:
    """P(rows z > 0) for a standard normal z in the plane: the share of angles, found on a fine circle of intervals."""
    edges = np.sort(
        np.concatenate([np.arctan2(rows[:, 1], rows[:, 0]) + s * math.pi / 2 for s in (-1, 1)]) % (2 * math.pi)
    )
    edges = np.concatenate([edges, [edges[0] + 2 * math.pi]])
    middle = (edges[1:] + edges[:-1]) / 2
    inside = (rows @ np.stack([np.cos(middle), np.sin(middle)]) > 0).all(0)
    return float((np.diff(edges) * inside).sum() / (2 * math.pi))


def plane_half_planes(mean: np.ndarray, rows: np.ndarray) -> float:
    """P(mean + rows z > 0) for a standard normal z in the plane, by one integral over its first coordinate."""

    def given(x: float) -> float:
        low, high = -math.inf, math.inf
        for m, (a, b) in zip(mean + rows[:, 0] * x, rows, strict=True):
            if b == 0 and m <= 0:
                return 0.0
            if b > 0:
                low = max(low, -m / b)
            if b < 0:
                high = min(high, -m / b)
        return norm.pdf(x) * max(0.0, norm.cdf(high) - norm.cdf(low)) if high > low else 0.0

    grid = np.linspace(-9, 9, 721)
    return sum(integrate.quad(given, a, b, epsabs=1e-12)[0] for a, b in itertools.pairwise(grid))


def relu_chain(weights: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """Outputs of dense layers with ReLUs between."""
    for i, (W, b) in enumerate(weights):
        x = W @ x + b
        x = np.maximum(x, 0) if i < len(weights) - 1 else x
    return x


def two_stage(
    weights: list[tuple[np.ndarray, np.ndarray]], keep: int, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A, c1, B, c2 of the linearisation of a chain at a point that keeps ReLU number `keep` (from 0)."""
    n = len(at)
    A, c1, value = np.eye(n), np.zeros(n), at
    B = c2 = None
    for i, (W, b) in enumerate(weights):
        value = W @ value + b
        if B is None:
            A, c1 = W @ A, W @ c1 + b
        else:
            B, c2 = W @ B, W @ c2 + b
        if i == len(weights) - 1:
            break
        on = (value > 0).astype(float)
        if i == keep:
            B, c2 = np.eye(len(on)), np.zeros(len(on))
        elif B is None:
            A, c1 = on[:, None] * A, on * c1
        else:
            B, c2 = on[:, None] * B, on * c2
        value = np.maximum(value, 0)
    return A, c1, B, c2


def theorem_1(A, c1, B, c2, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Mean outputs of B relu(A x + c1) + c2, as printed in the paper."""
    mu, sigma = A @ mean + c1, np.sqrt(np.diag(A @ cov @ A.T))
    out = np.maximum(mu, 0)
    on = sigma > 0
    m, s = mu[on], sigma[on]
    out[on] = m / 2 - m / 2 * np.array([math.erf(v) for v in -m / (math.sqrt(2) * s)]) + s * norm.pdf(m / s)
    return B @ out + c2


def theorem_2_variance(A, B, cov: np.ndarray) -> np.ndarray:
    """Variance of B relu(A x) at mean zero: Theorem 2's double sum less the squared mean."""
    S = A @ cov @ A.T
    s = np.sqrt(np.diag(S))
    r = np.clip(S / np.outer(s, s), -1, 1)
    second = (S * np.arcsin(r) + np.outer(s, s) * np.sqrt(1 - r**2)) / (2 * math.pi) + S / 4
    e = s / math.sqrt(2 * math.pi)
    return np.diag(B @ (second - np.outer(e, e)) @ B.T)
