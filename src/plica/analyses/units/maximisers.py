"""Images that stimulate a unit, or any direction of a layer, most (Szegedy et al. 2013, s. 3)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from plica.core.classifier import Classifier
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, DataError

CHUNK = 256  # images of one forward pass
DRAWS = 1000  # sets of random images behind the baseline
KINDS = ("natural", "gaussian", "orthogonal", "centred")


@dataclass(frozen=True, repr=False)
class MaximisersResult(Result):
    """The images with the largest <phi(x), v>, for some directions v of a layer.

    Attributes
    ----------
    layer, kind : str
        The layer phi; how the directions were chosen: "natural", "gaussian", "orthogonal", "centred", or "given".
    directions : ndarray, shape (d, units)
        Of length one, or as given.
    images : ndarray of int, shape (d, top)
        Which images, the strongest first; among equals the first.
    values : ndarray, shape (d, top)
        What they give.
    labels : ndarray of int, shape (d, top)
        Their labels; -1 without labels.
    purity : ndarray, shape (d,)
        Share of the most frequent label among them; NaN without labels.
    baseline : ndarray, shape (3,)
        Purity of as many images drawn at random: mean over 1000 draws, and its middle 95 %; NaN without labels.
    """

    layer: str
    kind: str
    directions: np.ndarray
    images: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    purity: np.ndarray
    baseline: np.ndarray

    @property
    def told(self) -> np.ndarray:
        """Purity of the directions that tell images apart: a unit that is never on has no strongest image."""
        return self.purity[self.values[:, 0] > self.values[:, -1]]

    def summary(self) -> str:
        """Purity against that of random images, and the strongest of the first directions."""
        d, top = self.images.shape
        lines = [f"{self.layer}: the {top} strongest images for {d} {self.kind} directions"]
        if d and top and not np.isnan(self.baseline[0]):
            mean, low, high = self.baseline
            lines[0] += f"; purity {self.purity.mean():.3f}, of random images {mean:.3f} ({low:.3f} to {high:.3f})"
        for k in range(min(d, 8)):
            lines.append(f"  {k}: images {', '.join(map(str, self.images[k]))}; {self.values[k, 0]:.4g} at most")
        return "\n".join(lines)


def maximisers(
    model: Classifier,
    images: npt.ArrayLike | Tensor,
    *,
    layer: str | int,
    directions: str | npt.ArrayLike = "natural",
    count: int | None = None,
    top: int = 8,
    labels: npt.ArrayLike | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> MaximisersResult:
    """Find the images of a set that stimulate directions of a layer most.

    Parameters
    ----------
    model : Classifier
        A network, or any torch module as a `TorchClassifier`.
    images : array, shape (n, *input_shape)
        Images that the model was not trained on, for the paper's reading.
    layer : str or int
        The layer phi.
    directions : {"natural", "gaussian", "orthogonal", "centred"} or array of shape (d, units)
        Single units; independent Gaussian directions; the same made orthogonal; Gaussian directions orthogonal to the
        mean of phi over the images, so that an image is not strong merely because everything fires. All of length
        one. An array is taken as it is.
    count : int, optional
        So many directions; by default all units, or as many random directions as there are units.
    top : int
        Images kept for each.
    labels : array of int, shape (n,), optional
        For the purity.
    seed : int
        Of the random directions and the baseline.
    progress : Progress, optional
        Budgets and listener.

    Returns
    -------
    MaximisersResult
        NUMERICAL: values in the model's own precision, in batches.

    Raises
    ------
    ArgumentError, DataError
        For directions, labels or counts that do not fit; when the layer gives NaN.

    Notes
    -----
    Cost: one forward pass, and n d units multiplications.
    """
    start, progress = time.monotonic(), progress or Progress()
    values = _features(model, images, layer, progress)
    n = len(values)
    given = _labels(labels, n)
    if not 1 <= top <= n:
        raise ArgumentError(f"top = {top}: there are {n} images.")
    kind = directions if isinstance(directions, str) else "given"
    ways = _directions(directions, count, values, seed)
    refuse_above(progress.max_bytes, 8 * n * len(ways), f"{n} values of {len(ways)} directions", "Give count=.")
    products = values @ ways.T
    order = np.argsort(-products, axis=0, kind="stable")[:top].T
    shown = given[order] if given is not None else np.full(order.shape, -1)
    return MaximisersResult(
        standing=Standing.NUMERICAL,
        completeness=Completeness.COMPLETE,
        header={"seconds": time.monotonic() - start, "seed": seed},
        layer=str(layer),
        kind=kind,
        directions=ways,
        images=order,
        values=np.take_along_axis(products.T, order, 1),
        labels=shown,
        purity=_purity(shown) if given is not None else np.full(len(order), np.nan),
        baseline=_baseline(given, top, seed),
    )


def _features(model: Classifier, images: Any, layer: str | int, progress: Progress) -> np.ndarray:
    """Values of the layer, shape (n, units), float64."""
    part, batch = model.upto(layer), torch.as_tensor(images)
    if not len(batch):
        raise DataError("There are no images.")
    parts = []
    with torch.no_grad():
        for first in range(0, len(batch), CHUNK):
            progress.check()
            progress.report("images", first, len(batch))
            parts.append(part.logits(batch[first : first + CHUNK].to(part.dtype)).flatten(1).double().cpu())
    values = torch.cat(parts).numpy()
    if not np.isfinite(values).all():
        where = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise DataError(f"layer {layer!r} gives NaN or infinity at image {where}. Look at the images' scale.")
    return values


def _labels(labels: npt.ArrayLike | None, n: int) -> np.ndarray | None:
    """Labels as whole numbers."""
    if labels is None:
        return None
    given = np.asarray(labels)
    if given.shape != (n,) or given.dtype.kind not in "iu" or (n and int(given.min()) < 0):
        raise ArgumentError(f"labels: give {n} whole numbers of at least 0; got shape {given.shape}, {given.dtype}.")
    return given.astype(np.int64)


def _directions(wanted: str | npt.ArrayLike, count: int | None, values: np.ndarray, seed: int) -> np.ndarray:
    """Directions as rows."""
    units, rng = values.shape[1], np.random.default_rng(seed)
    if not isinstance(wanted, str):
        ways = np.asarray(wanted, dtype=np.float64)
        if ways.ndim != 2 or ways.shape[1] != units or not np.isfinite(ways).all():
            raise ArgumentError(f"directions: give finite numbers of shape (d, {units}); got shape {ways.shape}.")
        return ways[:count]
    if wanted not in KINDS:
        raise ArgumentError(f"directions = {wanted!r}: give one of {', '.join(KINDS)}, or an array.")
    number = units if count is None else count
    if number < 1 or (number > units and wanted in ("natural", "orthogonal")):
        raise ArgumentError(f"count = {count}: the layer has {units} units.")
    if wanted == "natural":
        return np.eye(units)[:number]
    ways = rng.normal(size=(number, units))
    if wanted == "orthogonal":
        basis, upper = np.linalg.qr(ways.T)
        return (basis * np.sign(np.diag(upper))).T  # uniform over all orthonormal systems
    if wanted == "centred":
        mean = values.mean(0)
        size = float(mean @ mean)
        ways -= np.outer(ways @ mean, mean) / size if size > 0 else 0.0
    length = np.linalg.norm(ways, axis=1, keepdims=True)
    return ways / np.where(length > 0, length, 1.0)


def _purity(labels: np.ndarray) -> np.ndarray:
    """Share of the most frequent label in every row."""
    ordered = np.sort(labels, axis=1)
    run, best = np.ones(len(labels)), np.ones(len(labels))
    for k in range(1, labels.shape[1]):
        run = np.where(ordered[:, k] == ordered[:, k - 1], run + 1, 1)
        best = np.maximum(best, run)
    return best / labels.shape[1]


def _baseline(labels: np.ndarray | None, top: int, seed: int) -> np.ndarray:
    """Purity of random images: mean, and the middle 95 % of draws."""
    if labels is None:
        return np.full(3, np.nan)
    rng = np.random.default_rng([seed, 1])
    drawn = np.stack([labels[rng.choice(len(labels), top, replace=False)] for _ in range(DRAWS)])
    found = _purity(drawn)
    return np.array([found.mean(), *np.quantile(found, [0.025, 0.975])])
