"""Moments of piecewise-linear functions of Gaussians by quadrature in 30 digits; imports nothing from plica.

Everything here integrates over the conditional distribution of Y given X, never over the correlation, so that it shares
no formula with the code under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mpmath import mp, mpf

DIGITS = 30
GUARD = 10  # E f g - E f E g cancels; the extra digits pay for it
END = 15  # the density beyond it is below 1e-49
Branches = Sequence[tuple[float, float, float]]  # (upper knot, slope, intercept), in order; the last knot is infinite

RELU: Branches = ((0.0, 0.0, 0.0), (float("inf"), 1.0, 0.0))
ABS: Branches = ((0.0, -1.0, 0.0), (float("inf"), 1.0, 0.0))


def leaky(slope: float) -> Branches:
    """Leaky ReLU."""
    return ((0.0, slope, 0.0), (float("inf"), 1.0, 0.0))


def clip(lower: float, upper: float) -> Branches:
    """min(max(z, lower), upper)."""
    return ((lower, 0.0, lower), (upper, 1.0, 0.0), (float("inf"), 0.0, upper))


def _pieces(f: Branches):
    low = -mp.inf
    for knot, slope, intercept in f:
        yield low, mpf(knot), mpf(slope), mpf(intercept)
        low = mpf(knot)


def mean(f: Branches, m, s):
    """E f(X), X ~ N(m, s^2), branch by branch."""
    m, s = mpf(m), mpf(s)
    if s == 0:
        return next(c * m + d for _, high, c, d in _pieces(f) if m <= high)
    total = mpf(0)
    for low, high, c, d in _pieces(f):
        u, v = (low - m) / s, (high - m) / s
        # tails from the side on which they are small
        mass = mp.ncdf(v) - mp.ncdf(u) if u + v < 0 else mp.ncdf(-u) - mp.ncdf(-v)
        total += (c * m + d) * mass + c * s * (mp.npdf(u) - mp.npdf(v))
    return total


def covariance(f: Branches, g: Branches, m: Sequence, s: Sequence, r):
    """Cov(f(X), g(Y)) of a Gaussian pair with means m, standard deviations s and correlation r, to DIGITS digits."""
    with mp.workdps(DIGITS + GUARD):
        m, s, r = [mpf(v) for v in m], [mpf(v) for v in s], mpf(r)
        if s[0] == 0 or s[1] == 0:
            return mpf(0)
        spread = mp.sqrt((1 - r) * (1 + r)) * s[1]

        def both(z):
            x = m[0] + s[0] * z
            value = next(c * x + d for _, high, c, d in _pieces(f) if x <= high)
            return value * mean(g, m[1] + r * s[1] * z, spread) * mp.npdf(z)

        total = mp.quad(both, _cuts(f, g, m, s, r), method="gauss-legendre")
        return total - mean(f, m[0], s[0]) * mean(g, m[1], s[1])


def _cuts(f: Branches, g: Branches, m, s, r):
    """Points that split the range of z where the integrand has a kink, or bends within a width of sqrt(1 - r^2)."""
    cuts = {mpf(n) for n in range(-END, END + 1, END)}
    cuts.update((mpf(k) - m[0]) / s[0] for k, *_ in f[:-1])
    if r != 0:
        width = mp.sqrt((1 - r) * (1 + r)) / abs(r)
        bends = [(mpf(k) - m[1]) / (r * s[1]) for k, *_ in g[:-1]]
        cuts.update(b + n * width for b in bends for n in (-15, -9, -4, 0, 4, 9, 15))
    return sorted(c for c in cuts if abs(c) <= END)


def relu_covariance(a, b, r):
    """Cov(relu(X), relu(Y)) of unit variances, means a and b, correlation r."""
    return covariance(RELU, RELU, (a, b), (1, 1), r)


def relu_derivatives(a, b, r):
    """Derivatives of `relu_covariance` by a, b and r: the probabilities and half means behind them (Price, 1958)."""
    with mp.workdps(DIGITS + GUARD):
        a, b, r = mpf(a), mpf(b), mpf(r)
        q = mp.sqrt((1 - r) * (1 + r))
        if q == 0:
            raise ValueError("at |r| = 1 the derivatives are limits; take differences instead")

        def along(z_from, mean_other, weight):  # E[weight(other) 1(Z > z_from)]
            cuts = sorted({z_from, *(c for c in _cuts(RELU, RELU, (0, mean_other), (1, 1), r) if c > z_from)})
            return mp.quad(lambda z: weight((mean_other + r * z) / q) * mp.npdf(z), cuts, method="gauss-legendre")

        half = lambda x: x * mp.ncdf(x) + mp.npdf(x)  # noqa: E731
        by_r = along(-a, b, mp.ncdf)
        by_a = q * along(-a, b, half) - mp.ncdf(a) * half(b)
        by_b = q * along(-b, a, half) - mp.ncdf(b) * half(a)
        return by_a, by_b, by_r


def max_of_two(m: Sequence, s: Sequence, r):
    """Mean and variance of max(X, Y) (Clark, 1961, eqs 2 to 4)."""
    with mp.workdps(DIGITS + GUARD):
        m, s, r = [mpf(v) for v in m], [mpf(v) for v in s], mpf(r)
        theta = mp.sqrt(s[0] ** 2 + s[1] ** 2 - 2 * r * s[0] * s[1])
        if theta == 0:
            return max(m), s[0] ** 2
        d = (m[0] - m[1]) / theta
        first = m[0] * mp.ncdf(d) + m[1] * mp.ncdf(-d) + theta * mp.npdf(d)
        squares = [x**2 + y**2 for x, y in zip(m, s, strict=True)]
        second = squares[0] * mp.ncdf(d) + squares[1] * mp.ncdf(-d) + (m[0] + m[1]) * theta * mp.npdf(d)
        return first, second - first**2


def hard_cases():
    """(a, b, r) where cancellation, tails or the edge of the correlation hurt."""
    points = (0.0, 1e-9, 0.7, -0.7, 2.5, -2.5, 8.0, -8.0, 12.0)
    near = [1 - mpf(10) ** -k for k in (1, 3, 6, 7, 8, 9, 12)]
    correlations = [0.0, 1e-8, 0.2, 0.34, 0.6, 0.8, 0.94, *(float(n) for n in near), 1.0]
    for a, b in itertools.combinations_with_replacement(points, 2):
        for r in correlations:
            yield a, b, r
            yield a, b, -r
