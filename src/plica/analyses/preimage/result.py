"""What the preimage analyses answer."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass

import numpy as np

from plica.core.result import Result


class Kind(enum.StrEnum):
    """The shape of a set of inputs with equal activity.

    Behrmann et al. (2018) call SINGLETON and COMPACT "finite" (Theorem 4).
    """

    EMPTY = "empty"
    SINGLETON = "singleton"  # one point
    FINITE = "finite"  # several isolated points: abs, maxout, unions
    COMPACT = "compact"  # bounded, dimension >= 1
    UNBOUNDED = "unbounded"
    UNDECIDED = "undecided"  # a budget was reached, or the question is open; the reason says which


@dataclass(frozen=True, repr=False)
class KindResult(Result):
    """Kinds of the layer preimages of a batch of inputs.

    Attributes
    ----------
    layer : str
        Name of the layer.
    source : tuple of str
        The values the layer reads, whose joint space the preimage lies in ("input" is the network's input).
    kinds : ndarray of str, shape (n,)
        A `Kind` value per input.
    dimensions : ndarray of int, shape (n,)
        Dimension of the preimage; -1 where undecided.
    positive : ndarray of int, shape (n,)
        Number of units of the layer with positive output.
    standings : ndarray of str, shape (n,)
        A `Standing` value per input.
    reasons : tuple of str
        One sentence per input that says how the kind was decided, or why it was not.
    shape : tuple of int
        (units, inputs): size of the layer's matrix.
    """

    layer: str
    source: tuple[str, ...]
    kinds: np.ndarray
    dimensions: np.ndarray
    positive: np.ndarray
    standings: np.ndarray
    reasons: tuple[str, ...]
    shape: tuple[int, int]

    def shares(self) -> dict[str, float]:
        """Share of the inputs per kind."""
        count = Counter(self.kinds.tolist())
        return {kind.value: count[kind.value] / len(self.kinds) for kind in Kind if count[kind.value]}

    def summary(self) -> str:
        """Shares of the kinds in one line."""
        parts = [f"{share:.1%} {kind}" for kind, share in self.shares().items()]
        return f"layer {self.layer!r}, {len(self.kinds)} inputs: " + ", ".join(parts)


@dataclass(frozen=True, repr=False)
class FacetResult(Result):
    """Distance from each input to the nearest facet of its piece, per layer.

    Attributes
    ----------
    layers : tuple of str
        Names of the choice layers.
    distances : ndarray, shape (n, len(layers))
        Euclidean distance in input space to the nearest hyperplane on which a choice of the layer changes,
        with the choices of the earlier layers held; infinity where no choice of the layer can change.
    units : ndarray of int, shape (n, len(layers))
        The unit that changes there (flat index in the layer); -1 where none can.
    """

    layers: tuple[str, ...]
    distances: np.ndarray
    units: np.ndarray

    def summary(self) -> str:
        """Median distance per layer."""
        medians = np.median(self.distances, axis=0) if len(self.distances) else np.full(len(self.layers), np.nan)
        return "median distance: " + ", ".join(f"{n} {m:.3g}" for n, m in zip(self.layers, medians, strict=True))


@dataclass(frozen=True, repr=False)
class ImpostorResult(Result):
    """An input with the same features as `x` at a layer that looks like another input.

    Attributes
    ----------
    layer : str
        Name of the layer.
    x, towards, impostor : ndarray, shape input_shape
        The given input, the input to look like, and what was found.
    feature_difference : float
        Largest absolute difference of the features of `x` and `impostor` at the layer, in float64.
    feature_difference_model : float
        The same, in the dtype of the original model.
    model_dtype : str
        That dtype.
    feature_scale : float
        Largest absolute feature of `x`, to read the differences against.
    distance_start, distance : float
        Euclidean distance from `towards` to `x` and to `impostor`.
    class_x, class_towards, class_impostor : int
        The network's answers (largest logit).
    reason : str
        How it was found, in a sentence.
    extent : str
        "piece": the nearest point of the input's own piece; "nearest" and "farthest": over the whole union.
    bound : float
        No point of the union is nearer (farther) than this, as far as floats tell; NaN where it was not asked for.
    pieces : int
        Pieces that were looked at.
    """

    layer: str
    x: np.ndarray
    towards: np.ndarray
    impostor: np.ndarray
    feature_difference: float
    feature_difference_model: float
    model_dtype: str
    feature_scale: float
    distance_start: float
    distance: float
    class_x: int
    class_towards: int
    class_impostor: int
    reason: str
    extent: str = "piece"
    bound: float = float("nan")
    pieces: int = 1

    def summary(self) -> str:
        """How near it came and how equal the features are."""
        return (
            f"layer {self.layer!r}: distance to the other image {self.distance_start:.4g} -> {self.distance:.4g}; "
            f"features differ by at most {self.feature_difference:.1e} (float64), "
            f"{self.feature_difference_model:.1e} ({self.model_dtype})"
        )
