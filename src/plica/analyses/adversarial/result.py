"""What `min_distortion` returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plica.core.result import Result
from plica.errors import ArgumentError


@dataclass(frozen=True, repr=False)
class DistortionResult(Result):
    """Nearest misclassified points found, one row per image.

    That a returned point is misclassified is a checked fact; that there is no nearer one is not, unless `proven`. A tie
    of logits is no mistake, so the smallest distance is an infimum: `lower_bound` is below it, `distance` a point's.

    Attributes
    ----------
    x_adv : ndarray, shape (n, ...)
        In the model's dtype, inside the box; NaN where nothing was found. With `layer`, values of that layer.
    distance : ndarray, shape (n,)
        In the norm asked for; 0 for images that are misclassified as they are, inf where nothing was found.
    lower_bound : ndarray, shape (n,)
        No misclassified point is nearer than this, for the weights in real arithmetic; 0 where nothing is proven, inf
        where the box holds none.
    proven : ndarray of bool, shape (n,)
        Whether the two have met, up to a share of 2e-6.
    l2, linf, rms : ndarray, shape (n,)
        The same perturbations in the norms 2 and inf, and as the paper measures them: sqrt(sum (x' - x)^2 / n). Inf
        where nothing was found.
    label, target : ndarray of int, shape (n,)
        Class of the image, and the class that x_adv is given; -1 where nothing was found.
    status : tuple of str
        Per image: "found", "misclassified already" (or "has its target already"), "not found", or with proofs
        "proven that there is none".
    c : ndarray, shape (n,)
        Weight of |r| at which the paper's method found the point; NaN for other methods.
    norm : float
    method, layer : str
        `layer` is empty for perturbations of the input.
    forward, backward : int
        Images that passed through the model, and gradients taken.
    seed : int
    """

    x_adv: np.ndarray
    distance: np.ndarray
    lower_bound: np.ndarray
    proven: np.ndarray
    l2: np.ndarray
    linf: np.ndarray
    rms: np.ndarray
    label: np.ndarray
    target: np.ndarray
    status: tuple[str, ...]
    c: np.ndarray
    norm: float
    method: str
    layer: str
    forward: int
    backward: int
    seed: int

    @property
    def found(self) -> np.ndarray:
        """Which images have a misclassified point, themselves included; shape (n,)."""
        return np.isfinite(self.distance)

    def average(self, rule: str = "mean of roots") -> float:
        """The paper's average distortion over the images that were classified right and then fooled.

        Parameters
        ----------
        rule : {"mean of roots", "root of means"}
            The paper does not say which; they differ when distances do.
        """
        rms = self.rms[[status == "found" for status in self.status]]
        if rule == "mean of roots":
            return float(rms.mean()) if len(rms) else float("nan")
        if rule == "root of means":
            return float(np.sqrt(np.square(rms).mean())) if len(rms) else float("nan")
        raise ArgumentError(f"rule = {rule!r}; use 'mean of roots' or 'root of means'.")

    def summary(self) -> str:
        """Lines of plain text."""
        images = ", ".join(f"{self.status.count(word)} {word}" for word in sorted(set(self.status)))
        where = f" at layer {self.layer}" if self.layer else ""
        lines = [f"{len(self.status)} images{where}: {images}"]
        size = self.distance[[status == "found" for status in self.status]]
        if len(size):
            norm = f"{self.norm:g}-norm"
            lines.append(
                f"distance ({norm}): median {np.median(size):.4g}, mean {size.mean():.4g}, largest {size.max():.4g}; "
                f"paper's distortion {self.average():.4g}"
            )
        open_ = (self.lower_bound > 0) & np.isfinite(self.distance)
        if open_.any():
            gap = self.distance[open_] / self.lower_bound[open_] - 1
            lines.append(
                f"proven lower bounds: {int(open_.sum())} above 0, largest gap {100 * gap.max(initial=0.0):.3g} %"
            )
        smallest = int((self.proven & self.found).sum())
        lines.append(
            f"method {self.method}; {smallest} proven smallest; {self.forward} forward and "
            f"{self.backward} backward passes"
        )
        return "\n".join(lines)
