"""The different responses of a unit, by k-means over its maps (Montúfar et al. 2014, appendix G)."""

from __future__ import annotations

import math
import time
import warnings

import numpy as np

from plica.analyses.units.result import UnitClustersResult, UnitMapsResult
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached

STARTS = 4  # restarts of k-means


def cluster_maps(
    maps: UnitMapsResult, clusters: int = 4, *, seed: int = 0, progress: Progress | None = None
) -> UnitClustersResult:
    """Cluster the maps of each unit at the inputs where it is positive, and name a representative of each cluster.

    Parameters
    ----------
    maps : UnitMapsResult
        From `unit_maps`.
    clusters : int
        At most so many per unit; a unit with fewer different maps gets fewer.
    seed : int
        Of the starting points.
    progress : Progress, optional
        When the time is up, the units done so far are returned.

    Returns
    -------
    UnitClustersResult
        ESTIMATE: k-means finds a local optimum.

    Notes
    -----
    Inputs on one piece share a map, which counts with their number. Uses scikit-learn's KMeans.
    """
    if clusters < 1:
        raise ArgumentError(f"clusters = {clusters}: give 1 or more.")
    start, progress = time.monotonic(), progress or Progress()
    shape, done, state = maps.maps.shape[2:], [], Completeness.COMPLETE
    try:
        for column in progress.over(range(len(maps.units)), "k-means", total=len(maps.units)):
            done.append(_clustered(maps, column, clusters, seed))
    except (BudgetReached, KeyboardInterrupt) as stop:
        state = Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    centres = np.zeros((len(done), clusters, *shape))
    representatives = np.zeros_like(centres)
    members = np.full((len(done), clusters), -1)
    sizes = np.zeros((len(done), clusters), dtype=np.int64)
    for i, (centre, member, size) in enumerate(done):
        centres[i, : len(member)] = centre.reshape(-1, *shape)
        members[i, : len(member)], sizes[i, : len(member)] = member, size
        representatives[i, : len(member)] = maps.maps[member, i]
    return UnitClustersResult(
        standing=Standing.ESTIMATE,
        completeness=state,
        header={"seconds": time.monotonic() - start, "seed": seed},
        layer=maps.layer,
        units=maps.units[: len(done)],
        centres=centres,
        members=members,
        representatives=representatives,
        sizes=sizes,
        active=maps.active.sum(0)[: len(done)],
        spread=np.array([_spread(r[m >= 0]) for r, m in zip(representatives, members, strict=True)]),
    )


def _clustered(
    maps: UnitMapsResult, column: int, clusters: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, representatives and sizes of one unit's clusters, largest first."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    inputs = np.flatnonzero(maps.active[:, column])
    flat = maps.maps[inputs, column].reshape(len(inputs), math.prod(maps.maps.shape[2:]))
    _, first, where = np.unique(maps.pieces[inputs], return_index=True, return_inverse=True)
    rows, weights = flat[first], np.bincount(where, minlength=len(first)).astype(np.float64)
    if not len(rows):
        return np.zeros((0, flat.shape[1])), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    count = min(clusters, len(np.unique(rows, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(count, n_init=STARTS, random_state=seed).fit(rows, sample_weight=weights)
    sizes = np.bincount(model.labels_, weights=weights, minlength=count).astype(np.int64)
    order = [k for k in np.argsort(-sizes, kind="stable") if sizes[k]]
    nearest = []
    for k in order:
        own = np.flatnonzero(model.labels_ == k)
        gap = np.square(rows[own] - model.cluster_centers_[k]).sum(1)
        nearest.append(inputs[first[own[gap.argmin()]]])
    return model.cluster_centers_[order], np.array(nearest), sizes[order]


def _spread(rows: np.ndarray) -> float:
    """Largest distance between two rows."""
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    return max((float(np.linalg.norm(flat - row, axis=1).max()) for row in flat), default=0.0)
