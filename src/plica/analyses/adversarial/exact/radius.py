"""Radii within which linear bounds alone exclude every other class; for networks too large for a search."""

from __future__ import annotations

import numpy as np

from plica.analyses.adversarial.exact.bounds import ball, bound
from plica.analyses.adversarial.exact.dual import by_default, halfspace
from plica.analyses.adversarial.exact.kernels import distance
from plica.analyses.adversarial.exact.layers import Layers
from plica.analyses.adversarial.exact.tree import even
from plica.core.progress import Progress

TRIALS = 14  # radii that are tried for one input
LARGEST = 1e6
NEAR = 0.999  # share of the radius that failed at which the search ends


def proven_radius(
    layers: Layers, wanted: tuple[np.ndarray, ...], norm: float, start: float, watch: Progress
) -> tuple[float, bool]:
    """The largest radius found within which no wanted class wins (RIGOROUS), and whether the search went to its end.

    Parameters
    ----------
    layers : Layers
        Around the input.
    wanted : tuple of ndarray
        Margins, as `aims` makes them.
    norm : float
    start : float
        First radius tried.

    Notes
    -----
    Bounds over a ball say how near a wanted point of that ball may be. Where this is less than the ball's radius, the
    ball does not hold, but the smaller one does: so no trial is in vain, and a few are enough.
    """
    far = float(np.abs(np.maximum(-layers.lower, layers.upper)).max(initial=0.0)) * max(1, layers.inputs)
    proven, refuted, radius = 0.0, np.inf, start
    for _ in range(TRIALS):
        if watch.seconds_left <= 0:
            return proven, False
        near = nearest(layers, wanted, norm, radius)
        if near >= radius:
            proven = max(proven, radius)
        else:
            proven, refuted = max(proven, near), radius
        if proven >= min(LARGEST, far):
            return np.inf if proven >= far else proven, True
        if proven >= NEAR * refuted:
            break
        radius = 0.5 * (proven + refuted) if np.isfinite(refuted) else 2.0 * proven
        radius = 0.25 * refuted if proven == 0.0 else radius
    return proven, True


def nearest(layers: Layers, wanted: tuple[np.ndarray, ...], norm: float, radius: float) -> float:
    """No wanted point of the ball is nearer than this, by linear bounds over the ball; inf where it holds none."""
    domain = ball(layers, norm, radius)
    state = bound(layers, domain, [np.full(c.units, -1) for c in layers.choices])
    if state.empty:
        return np.inf
    near = np.inf
    for aim in wanted:
        w, beta = halfspace(layers, state, aim, by_default(layers, state, aim, even(aim)).rounded())
        near = min(near, float(distance(w, beta, domain.lower, domain.upper, norm)))
        if near == 0.0:
            break
    return near
