"""The question as numbers: images, classes and a box, checked; margins and their gradients, counted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.core.classifier import Classifier, TorchClassifier
from plica.core.domain import Box
from plica.core.progress import Progress
from plica.errors import ArgumentError, DataError, ShapeError

SPARE = 16  # units of rounding of the largest logit by which a class has to win
ROUNDED = 4  # units of rounding by which an image may lie outside the box; it is moved into it
CHUNK_BYTES = 1 << 26  # of the points that pass through the model at once


@dataclass
class Problem:
    """Images to be moved across the boundary of a classifier.

    Attributes
    ----------
    model : Classifier
    x : Tensor, shape (n, d)
        The images, flat, in the model's dtype.
    labels : Tensor of int, shape (n,)
    shape : tuple of int
        Of one image.
    box : pair of Tensor, shape (d,)
        Lower and upper bounds.
    progress : Progress
        Asked before every pass through the model.
    forward, backward : int
        Images that passed through the model.
    """

    model: Classifier
    x: Tensor
    labels: Tensor
    shape: tuple[int, ...]
    box: tuple[Tensor, Tensor]
    progress: Progress
    forward: int = 0
    backward: int = 0
    chunk: int = field(default=0)

    def __post_init__(self) -> None:
        size = self.x.element_size() * max(1, self.x.shape[1])
        self.chunk = self.chunk or max(16, min(4096, CHUNK_BYTES // (64 * size)))

    @property
    def classes(self) -> int:
        """Number of logits."""
        return int(self.logits(self.x[:1]).shape[1])

    def inside(self, points: Tensor) -> Tensor:
        """The nearest points of the box."""
        return torch.minimum(torch.maximum(points, self.box[0]), self.box[1])

    def logits(self, points: Tensor) -> Tensor:
        """Logits of flat points, shape (n, classes), without gradient."""
        with torch.no_grad():
            return torch.cat([self._pass(part) for part in points.split(self.chunk)])

    def margins(self, points: Tensor, rows: Rows) -> Tensor:
        """By how much the aim of every row is reached: above 0 the point counts as found; shape (n,)."""
        return rows.margin(self.logits(points))

    def gradients(self, points: Tensor, rows: Rows, likely: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Margins, shape (n,), and gradients of the margins, shape (n, d).

        Rows where `likely` is true give the gradient of the cross-entropy instead.
        """
        margin, _, slope = self.climb(points, rows, likely)
        return margin, slope

    def climb(self, points: Tensor, rows: Rows, likely: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Margins, what is climbed (margin or cross-entropy), and its gradients."""
        parts = []
        for start in range(0, len(points), self.chunk):
            part = slice(start, start + self.chunk)
            p = points[part].detach().requires_grad_(True)
            logits = self._pass(p)
            goal = margin = rows[part].margin(logits)
            if likely is not None:
                goal = torch.where(likely[part], rows[part].likelihood(logits), margin)
            parts.append((margin.detach(), goal.detach(), torch.autograd.grad(goal.sum(), p)[0]))
            self.backward += len(p)
        margins, goals, slopes = (torch.cat(column) for column in zip(*parts, strict=True))
        return margins, goals, slopes

    def _pass(self, points: Tensor) -> Tensor:
        self.progress.check()
        self.forward += len(points)
        return self.model.logits(points.reshape(-1, *self.shape))


@dataclass
class Rows:
    """One search per row: which image, from which class to which.

    Attributes
    ----------
    image : Tensor of int, shape (n,)
    own, target : Tensor of int, shape (n,)
        Class of the image, and the class to reach; `target` does not matter for "leave".
    aim : {"beat", "win", "leave"}
        The target exceeds the own class; the target exceeds all others; any class exceeds the own.
    """

    image: Tensor
    own: Tensor
    target: Tensor
    aim: str = "beat"

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, which: Any) -> Rows:
        return Rows(self.image[which], self.own[which], self.target[which], self.aim)

    def margin(self, logits: Tensor) -> Tensor:
        """By how much the aim is reached, less what rounding may be; shape (n,)."""
        spare = SPARE * torch.finfo(logits.dtype).eps * logits.detach().abs().amax(1)
        own, target = self.own[:, None], self.target[:, None]
        if self.aim == "win":
            return logits.gather(1, target)[:, 0] - logits.scatter(1, target, -math.inf).amax(1) - spare
        if self.aim == "leave":
            return logits.scatter(1, own, -math.inf).amax(1) - logits.gather(1, own)[:, 0] - spare
        return (logits.gather(1, target) - logits.gather(1, own))[:, 0] - spare

    def likelihood(self, logits: Tensor) -> Tensor:
        """The same aim as a negative cross-entropy, up to its sign for "leave"; grows towards the aim; shape (n,)."""
        whole = torch.logsumexp(logits, 1)
        if self.aim == "leave":
            return whole - logits.gather(1, self.own[:, None])[:, 0]
        return logits.gather(1, self.target[:, None])[:, 0] - whole


# --- checks at the border ---------------------------------------------------------------------------------------


def as_classifier(model: Any, X: Any) -> Classifier:
    """The model, or a torch module wrapped; the module must be in evaluation mode.

    Raises
    ------
    ArgumentError
        For a module in training mode, or something that has no logits.
    """
    if isinstance(model, torch.nn.Module):
        return TorchClassifier(model, tuple(int(n) for n in np.shape(X)[1:]))
    if not isinstance(model, Classifier):
        raise ArgumentError(
            f"model is a {type(model).__name__}; give a plica Network, a torch module, or an object with the methods "
            "of plica.core.classifier.Classifier."
        )
    return model


def make(model: Any, X: Any, y: Any, box: Box | None, progress: Progress) -> Problem:
    """Check everything that the caller gave.

    Raises
    ------
    ArgumentError, DataError, ShapeError
        Images outside the box or not finite, labels that are no classes, wrong shapes, logits that are NaN.
    """
    net = as_classifier(model, X)
    images = X.detach().cpu().numpy() if isinstance(X, Tensor) else np.asarray(X, dtype=np.float64)
    shape = tuple(getattr(net, "shape", getattr(net, "input_shape", images.shape[1:])))
    if images.ndim < min(2, 1 + len(shape)) or images.shape[0] == 0:
        raise ShapeError(f"X has shape {images.shape}; give a batch of images, one per entry of the first axis.")
    if math.prod(shape) != math.prod(images.shape[1:]):
        raise ShapeError(f"X holds images of shape {images.shape[1:]}; the model reads {shape}.")
    if not np.isfinite(images).all():
        raise DataError("X has entries that are NaN or infinite; remove these images.")
    device = getattr(net, "device", torch.device("cpu"))
    x = torch.as_tensor(images.reshape(len(images), -1).copy()).to(device, net.dtype)
    limits = _limits(box if box is not None else net.box, x)
    x = torch.minimum(torch.maximum(x, limits[0]), limits[1])  # by rounding at most
    problem = Problem(net, x, torch.zeros(len(x), dtype=torch.long), shape, limits, progress)
    logits = problem.logits(x)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ShapeError(f"The model's output has shape {tuple(logits.shape)}; a classifier has two or more logits.")
    if not bool(torch.isfinite(logits).all()):
        bad = torch.nonzero(~torch.isfinite(logits).all(1))[:, 0]
        raise DataError(
            f"The model's output is NaN or infinite for {len(bad)} of {len(x)} images, first for image {int(bad[0])}; "
            "check its weights and how the images are scaled."
        )
    problem.labels = _labels(y, logits).to(device)
    return problem


def _limits(box: Box | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds as tensors of the model's dtype, rounded inward; every image must lie between them, up to rounding."""
    d = x.shape[1]
    if box is None:
        whole = torch.full((d,), math.inf, dtype=x.dtype, device=x.device)
        return -whole, whole
    if box.ambient not in (1, d):
        raise ShapeError(f"The box has {box.ambient} variables, an image has {d}.")
    low, high = (torch.as_tensor(np.broadcast_to(v, (d,)).copy(), device=x.device) for v in (box.lower, box.upper))
    lower, upper = low.to(x.dtype), high.to(x.dtype)
    lower = torch.where(lower.double() < low, torch.nextafter(lower, torch.full_like(lower, math.inf)), lower)
    upper = torch.where(upper.double() > high, torch.nextafter(upper, torch.full_like(upper, -math.inf)), upper)
    room = ROUNDED * torch.finfo(x.dtype).eps * torch.maximum(lower.abs(), upper.abs()).nan_to_num(0.0, 0.0, 0.0)
    out = ((x < lower - room) | (x > upper + room)).any(1)
    if bool(out.any()):
        i = int(torch.nonzero(out)[0, 0])
        image, limits = (f"from {float(a.min()):g} to {float(b.max()):g}" for a, b in ((x[i], x[i]), (lower, upper)))
        raise DataError(
            f"{int(out.sum())} of {len(x)} images lie outside the box, first image {i} (values {image}, box {limits}). "
            "Scale the images as the model reads them, or give the box of the scaled images."
        )
    return lower, upper


def _labels(y: Any, logits: Tensor) -> Tensor:
    """Labels as whole numbers; the model's own answers when there are none."""
    if y is None:
        return logits.argmax(1)
    labels = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if labels.shape != (len(logits),):
        raise ShapeError(f"y has shape {labels.shape}; give one label for each of {len(logits)} images.")
    if labels.dtype.kind not in "iu" and not (labels.dtype.kind == "f" and (labels == np.round(labels)).all()):
        raise DataError(f"y holds {labels.dtype}; labels are whole numbers.")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise DataError(
            f"y goes from {labels.min()} to {labels.max()}; the model has the classes 0 to {logits.shape[1] - 1}."
        )
    return torch.as_tensor(labels.astype(np.int64))
