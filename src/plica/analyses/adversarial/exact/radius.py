"""Certified radii: no wanted class within them, by linear bounds alone; for networks too large for a search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plica.analyses.adversarial.exact.bounds import ball, bound
from plica.analyses.adversarial.exact.dual import by_default, halfspace
from plica.analyses.adversarial.exact.kernels import distance
from plica.analyses.adversarial.exact.layers import Layers, prepare
from plica.analyses.adversarial.exact.smallest import aims, checked
from plica.analyses.adversarial.exact.tree import even
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.progress import Progress
from plica.errors import BudgetReached

TRIALS = 14  # radii that are tried per input
LARGEST = 1e6


def certified_radius(
    net: Network,
    X: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    *,
    norm: float = 2.0,
    box: Box | tuple[np.ndarray, np.ndarray] | None = None,
    targets: Sequence[int] | None = None,
    upper: Sequence[float] | np.ndarray | None = None,
    prepared: Layers | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Radii around inputs within which no other class wins (RIGOROUS), without branching.

    Parameters
    ----------
    net : Network
    X : ndarray, shape (inputs, n) or (inputs, ...)
    labels : sequence of int
        Their classes.
    norm, box, targets
        As in `smallest`.
    upper : sequence of float, optional
        Distances of known misclassified points, where the search for the radius starts.
    prepared : Layers, optional
    progress : Progress, optional
        A budget leaves the radii of the inputs that were not reached at 0.

    Returns
    -------
    ndarray, shape (inputs,)
        0 where nothing is proven.

    Notes
    -----
    Linear bounds (Zhang et al. 2018, CROWN) with outward rounding, at radii found by bisection. Cost: about fourteen
    products of matrices for every pair of layers and input.
    """
    base, watch = prepared or prepare(net), progress or Progress()
    out = np.zeros(len(X))
    try:
        for i in range(len(X)):
            watch.check()
            watch.report("inputs", i, len(X))
            x, lower, top = checked(base, X[i], int(labels[i]), norm, box)
            start = float(upper[i]) if upper is not None and 0 < upper[i] < np.inf else 1.0
            wanted = aims(base.classes, int(labels[i]), targets)
            out[i] = _radius(base.at(x, lower, top), wanted, float(norm), start, watch)
    except (BudgetReached, KeyboardInterrupt):
        return out
    return out


def _radius(layers: Layers, wanted: tuple[np.ndarray, ...], norm: float, start: float, watch: Progress) -> float:
    proven, refuted, radius = 0.0, np.inf, start
    for _ in range(TRIALS):
        watch.check()
        if holds(layers, wanted, norm, radius):
            proven = radius
        else:
            refuted = radius
        if proven >= LARGEST or proven >= 0.999 * refuted:
            break
        radius = 0.5 * (proven + refuted) if np.isfinite(refuted) else 2.0 * proven
        radius = 0.25 * refuted if proven == 0.0 else radius
    return proven


def holds(layers: Layers, wanted: tuple[np.ndarray, ...], norm: float, radius: float) -> bool:
    """Whether linear bounds over the ball exclude all wanted classes."""
    domain = ball(layers, norm, radius)
    state = bound(layers, domain, [np.full(c.units, -1) for c in layers.choices])
    if state.empty:
        return True
    for aim in wanted:
        w, beta = halfspace(layers, state, aim, by_default(layers, state, aim, even(aim)).rounded())
        if distance(w, beta, domain.lower, domain.upper, norm) < radius:
            return False
    return True
