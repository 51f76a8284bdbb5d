"""What a mixing analysis returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from plica.core.result import Result

NOT_ASKED, DIFFERS, SAME, OPEN = "not asked", "read differently", "proven the same", "open"


@dataclass(frozen=True, repr=False)
class MixingResult(Result):
    """Whether a layer mixes inputs of different labels.

    Attributes
    ----------
    layers : tuple of str
    cuts : ndarray of bool, shape (layers,)
        Whether every path to the output passes through the layer: only then does equal activity imply equal output.
    labels : ndarray of int, shape (n,)
    classes : ndarray of int, shape (k,)
        The labels that occur, in order.
    pairs : ndarray of int, shape (p, 3)
        (a) Layer, and two inputs of different labels with exactly equal activity at it.
    distances : ndarray, shape (layers, n, k)
        (b) Distance from an image of each other label to the nearest point found with the input's activity, in the
        input's own piece or (`extent` "nearest") in the whole preimage; NaN for its own label and where it was not
        asked for.
    targets : ndarray of int, shape (layers, n, k)
        The image that is meant; -1 where there is none.
    nearest : ndarray, shape (layers, n, *input_shape)
        The point that comes nearest to an image of any other label.
    verdicts : ndarray of str, shape (layers, n)
        (c) How a reference network reads the preimage: "read differently", "proven the same", "open", "not asked".
    answers : ndarray of int, shape (layers, n)
        The reference's answer at the point below; -1 where there is none.
    points : ndarray, shape (layers, n, *input_shape)
        A point with the input's activity that the reference reads differently; NaN where there is none.
    extent : str
        "piece", "nearest" or "none".
    bounds : ndarray, shape (layers, n, k)
        No point of the whole preimage is nearer to the image meant, as far as floats tell: equal to the distance where
        the search was complete, 0 where it was not. Empty for "piece".
    images : ndarray, shape (n, *input_shape)
        The inputs, to be shown beside the points; empty in results of earlier versions.
    """

    layers: tuple[str, ...]
    cuts: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    pairs: np.ndarray
    distances: np.ndarray
    targets: np.ndarray
    nearest: np.ndarray
    verdicts: np.ndarray
    answers: np.ndarray
    points: np.ndarray
    extent: str = "piece"
    bounds: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    images: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def summary(self) -> str:
        """A line for each layer."""
        return "\n".join(self._line(i, name) for i, name in enumerate(self.layers))

    def _settled(self, i: int) -> str:
        """How many of the distances no other piece can undercut."""
        asked = np.isfinite(self.distances[i])
        done = int((self.bounds[i][asked] >= self.distances[i][asked]).sum())
        return f"{done} of {int(asked.sum())} searched completely"

    def _line(self, i: int, name: str) -> str:
        count = int((self.pairs[:, 0] == i).sum())
        words = [f"{count} pairs of different labels with equal activity"]
        if np.isfinite(self.distances[i]).any():
            least = np.nanmin(np.where(np.isfinite(self.distances[i]), self.distances[i], np.inf), axis=1)
            where = "whole preimage" if self.extent == "nearest" else "own piece"
            words.append(
                f"median distance to another label {np.median(least[np.isfinite(least)]):.4g} ({where}"
                + (f", {self._settled(i)})" if self.extent == "nearest" else ")")
            )
        asked = self.verdicts[i][self.verdicts[i] != NOT_ASKED]
        if len(asked):
            words.append(
                f"reference: {int((asked == DIFFERS).sum())} read differently, {int((asked == SAME).sum())} proven the "
                f"same, {int((asked == OPEN).sum())} open"
            )
        cut = "" if self.cuts[i] else " (other paths go round this layer: equal activity does not imply equal output)"
        return f"{name}{cut}: " + "; ".join(words)
