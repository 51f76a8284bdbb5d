"""Points of linearisation for many inputs: cluster centres, and the farthest inputs as a baseline (section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plica.analyses.moments.noise import Array, Covariance, gaussian
from plica.analyses.moments.uses.results import BatchMomentsResult
from plica.analyses.moments.uses.stage import Spread, Stage, is_closed, kept_layer, on_cpu, stage
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached


@dataclass(frozen=True, eq=False)
class LinearisationPoints:
    """Inputs that stand for others.

    Attributes
    ----------
    centres : ndarray, shape (k, *input_shape)
        Means of the clusters.
    farthest : ndarray, shape (k, *input_shape)
        Of each cluster the input that is farthest from its centre: the paper's weak baseline.
    cluster : ndarray of int, shape (n,)
        Of each input.
    """

    centres: np.ndarray
    farthest: np.ndarray
    cluster: np.ndarray

    def nearest(self, X: np.ndarray) -> np.ndarray:
        """Number of the nearest centre of each row of X, in the Euclidean norm, shape (n,)."""
        rows, centres = np.asarray(X, dtype=float).reshape(len(X), -1), self.centres.reshape(len(self.centres), -1)
        return ((centres**2).sum(1) - 2 * rows @ centres.T).argmin(1)


def linearisation_points(X: np.ndarray, k: int, *, seed: int = 0) -> LinearisationPoints:
    """Cluster inputs by k-means and return what can stand for each cluster.

    Parameters
    ----------
    X : array, shape (n, *input_shape)
    k : int
        Clusters, at most n; with k = n every input is its own point.
    seed : int
        Of the start of k-means.

    Raises
    ------
    ArgumentError
        For k < 1 or k > n.

    Notes
    -----
    Lloyd's algorithm from one k-means++ start (scikit-learn). Source: Bibi et al. (2018), section 4.3.
    """
    X = np.asarray(X, dtype=np.float64)
    if not 1 <= k <= len(X):
        raise ArgumentError(f"k = {k}: give a number of points between 1 and the number of inputs, {len(X)}.")
    rows = X.reshape(len(X), -1)
    if k == len(X):
        return LinearisationPoints(X, X, np.arange(len(X)))
    from sklearn.cluster import KMeans

    found = KMeans(k, n_init=1, random_state=seed).fit(rows)
    gap = ((rows - found.cluster_centers_[found.labels_]) ** 2).sum(1)
    last = np.array([np.flatnonzero(found.labels_ == c)[gap[found.labels_ == c].argmax()] for c in range(k)])
    return LinearisationPoints(found.cluster_centers_.reshape(k, *X.shape[1:]), X[last], found.labels_.astype(int))


def batch_moments(
    net: Network,
    X: Array,
    cov: Covariance,
    *,
    points: Array | None = None,
    assigned: np.ndarray | None = None,
    layer: str | int | None = None,
    progress: Progress | None = None,
) -> BatchMomentsResult:
    """Means and variances of the outputs around many inputs, each linearised in two stages at the point it belongs to.

    Parameters
    ----------
    net : Network
    X : array, shape (n, *input_shape)
        Means of the noisy inputs.
    cov : number, array or LowRank
        Of the noise, the same for all; as in `plica.moments`.
    points : array, shape (k, *input_shape), optional
        Points of linearisation; by default every input is its own.
    assigned : array of int, shape (n,), optional
        The point of each input; by default the nearest.
    layer : str or int, optional
        The choice layer to keep; by default the last whose moments have a formula. Where no choice of the network comes
        after another and no layer is named, nothing is linearised and the answer is exact.
    progress : Progress, optional

    Returns
    -------
    BatchMomentsResult
        Standing NUMERICAL without linearisation, else ESTIMATE; what is done when the time is up, at least one input.

    Notes
    -----
    Cost: the affine maps of n vectors and the Gram matrix of the layer per point, p^2 integrals per input.

    Source: Bibi et al. (2018), sections 3.4 and 4.3.
    """
    progress, net = progress or Progress(), on_cpu(net)
    batch = net.as_batch(torch.as_tensor(X))
    own = points is None
    at = batch if points is None else net.as_batch(torch.as_tensor(points))
    place = _places(batch, at, own, assigned)
    closed = layer is None and is_closed(net)
    order = np.argsort(place, kind="stable")
    done: list[int] = []
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    state, held = Completeness.COMPLETE, None
    try:
        with torch.no_grad():
            for i in progress.over(order.tolist(), "inputs"):
                key = 0 if closed else int(place[i])
                if held is None or held[0] != key:
                    held = key, *_prepared(stage(net, at[key], layer), net, cov, progress)
                rows.append(_row(*held[1:], batch[i].flatten()))
                done.append(i)
    except BudgetReached:
        if not rows:
            raise
        state = Completeness.BUDGET
    except KeyboardInterrupt:
        if not rows:
            raise
        state = Completeness.INTERRUPTED
    back = np.argsort(done)
    mean, variance, centred = (torch.stack(part).numpy()[back] for part in zip(*rows, strict=True))
    return BatchMomentsResult(
        Standing.NUMERICAL if closed else Standing.ESTIMATE, state, {"seconds": progress.seconds},
        "exact" if closed else "two_stage", np.sort(done), mean, variance, centred, place[np.sort(done)],
        reason_of(net, layer, closed),
    )  # fmt: skip


def reason_of(net: Network, layer: str | int | None, closed: bool) -> str:
    """What was computed, in a sentence."""
    if closed:
        return "no choice comes after another; the formula is exact, evaluated in float64."
    name = kept_layer(net) if layer is None else net.resolve(layer)
    return (
        f"all choices but those of layer {name!r} are frozen at the point of linearisation; an approximation without "
        "error bound."
    )


def _places(batch: Tensor, at: Tensor, own: bool, assigned: np.ndarray | None) -> np.ndarray:
    if own:
        return np.arange(len(batch))
    if assigned is None:
        centres = at.numpy()
        return LinearisationPoints(centres, centres, np.arange(len(at))).nearest(batch.numpy())
    place = np.asarray(assigned)
    if place.shape != (len(batch),) or place.min(initial=0) < 0 or place.max(initial=0) >= len(at):
        raise ArgumentError(f"assigned: give {len(batch)} numbers of points, from 0 to {len(at) - 1}.")
    return place


def _prepared(part: Stage, net: Network, cov: Covariance, progress: Progress) -> tuple[Spread, Tensor, Tensor]:
    """The noise pushed through a stage, the covariance before its choices, and the variance at mean zero there."""
    x = gaussian(net, torch.zeros(net.input_shape, dtype=torch.float64), cov)
    spread = Spread.of(part, x, progress)
    S = spread.covariance()
    return spread, S, spread.moments(x.mean, S, centred=True)[1].diagonal()


def _row(spread: Spread, S: Tensor, centred: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, cov = spread.moments(x, S)
    return mean, cov.diagonal(), centred
