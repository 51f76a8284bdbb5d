"""Singular values of a network's linearisations, with how many of them are zero and how that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plica.core.result import Completeness, Result, weakest
from plica.errors import ArgumentError


@dataclass(frozen=True, repr=False)
class SpectrumResult(Result):
    """Singular values of the linearisation from the input to values of the network, per input.

    The arrays have one row per input that was done, and one column (or entry) per value: layer `layers[j]` at side
    `sides[j]`.

    Attributes
    ----------
    layers, sides : tuple of str
        Which values: a layer's name, and "pre" or "post".
    units : ndarray of int, shape (values,)
        Size of every value.
    inputs : int
        Number of inputs n whose directions count: all, or those of the window.
    values : tuple of ndarray, each of shape (images, min(units, n))
        Singular values, decreasing.
    ranks : ndarray of int, shape (images, values)
        Values above the threshold.
    most : ndarray of int, shape (images, values)
        Largest rank that the units alive here and before allow; proven.
    proven : ndarray of bool, shape (images, values)
        Whether the rank is proven.
    thresholds : ndarray, shape (images, values)
        Below it a value counts as zero.
    errors : ndarray, shape (images, values)
        Proven bound of how far rounding moved the Jacobian (2-norm); infinite where there is none.
    alive : ndarray of int, shape (images, values)
        Units with a row that is not identically zero.
    methods : ndarray of str, shape (images, values)
        How the values were found: "gram", "inverse", "svd", "zero".
    directions : tuple of ndarray, each of shape (images, 2 k, *input_shape), or None
        Unit vectors at the input: the k most amplified, then the k least amplified of nonzero value (decreasing).
    window : tuple of (int, int), or None
        The part of the input whose directions count, start and stop per axis.
    """

    layers: tuple[str, ...]
    sides: tuple[str, ...]
    units: np.ndarray
    inputs: int
    values: tuple[np.ndarray, ...]
    ranks: np.ndarray
    most: np.ndarray
    proven: np.ndarray
    thresholds: np.ndarray
    errors: np.ndarray
    alive: np.ndarray
    methods: np.ndarray
    directions: tuple[np.ndarray, ...] | None = None
    window: tuple[tuple[int, int], ...] | None = None

    def __len__(self) -> int:
        return len(self.ranks)

    def place(self, layer: str | int, side: str = "post") -> int:
        """Column of a value; an index counts the values in order."""
        if isinstance(layer, int):
            return range(len(self.layers))[layer]
        for j, named in enumerate(zip(self.layers, self.sides, strict=True)):
            if named == (layer, side):
                return j
        have = ", ".join(f"{a} ({b})" for a, b in zip(self.layers, self.sides, strict=True))
        raise ArgumentError(f"layer = {layer!r}, side = {side!r}: this spectrum holds {have}.")

    @property
    def largest(self) -> np.ndarray:
        """Largest singular value, shape (images, values)."""
        return self._columns(lambda v, r: v[:, 0] if v.shape[1] else np.zeros(len(v)))

    @property
    def smallest(self) -> np.ndarray:
        """Smallest nonzero singular value, shape (images, values); NaN at rank 0."""
        return self._columns(_smallest)

    @property
    def condition(self) -> np.ndarray:
        """Largest over smallest nonzero singular value; NaN at rank 0."""
        return self.largest / self.smallest

    @property
    def null_dimensions(self) -> np.ndarray:
        """Dimension of the space of directions that the value does not see, shape (images, values)."""
        return self.inputs - self.ranks

    def _columns(self, rule) -> np.ndarray:
        parts = [rule(v, self.ranks[:, j]) for j, v in enumerate(self.values)]
        return np.stack(parts, 1) if parts else np.zeros((len(self), 0))

    def curve(self, layer: str | int, side: str = "post", quantile: float = 0.5) -> np.ndarray:
        """Quantile over the images of the i-th singular value, values below the threshold taken as 0; the median."""
        j = self.place(layer, side)
        values = self.values[j]
        if not len(values):
            return np.full(values.shape[1], np.nan)
        nonzero = np.arange(values.shape[1]) < self.ranks[:, j, None]
        return np.quantile(np.where(nonzero, values, 0.0), quantile, axis=0)

    def summary(self) -> str:
        """One line per value, medians over the images."""
        if not len(self):
            return "no input was done"
        lines = [f"{len(self)} inputs, {self.inputs} input directions; medians over the inputs"]
        width = max(len(name) for name in self.layers) + 7 if self.layers else 0
        for j, (layer, side) in enumerate(zip(self.layers, self.sides, strict=True)):
            known = f"proven for {int(self.proven[:, j].sum())} of {len(self)}"
            rank = np.median(self.ranks[:, j])
            head = f"{layer} ({side})".ljust(width)
            if not (self.ranks[:, j] > 0).any():
                lines.append(f"{head} {self.units[j]} units, rank 0 ({known}): the value is constant around the input")
                continue
            numbers = [np.nanmedian(a[:, j]) for a in (self.largest, self.smallest, self.condition)]
            lines.append(
                f"{head} {self.units[j]} units, rank {rank:g} ({known}), values {numbers[0]:.3g} to {numbers[1]:.3g}, "
                f"condition {numbers[2]:.3g}"
            )
        low, high = float(np.nanmin(self.thresholds)), float(np.nanmax(self.thresholds))
        lines.append(f"a value counts as zero below its threshold, {low:.1e} to {high:.1e}")
        return "\n".join(lines)


def _smallest(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    found = values[np.arange(len(values)), np.maximum(ranks, 1) - 1]
    return np.where(ranks > 0, found, np.nan)


ROWS = ("ranks", "most", "proven", "thresholds", "errors", "alive", "methods")


def join_spectra(parts: Sequence[SpectrumResult]) -> SpectrumResult:
    """One result of the spectra of several batches of inputs, in their order.

    Parameters
    ----------
    parts : sequence of SpectrumResult
        Of the same network, layers, sides and window.

    Raises
    ------
    ArgumentError
        When they do not belong together.
    """
    if not parts:
        raise ArgumentError("join_spectra: got no parts; give at least one SpectrumResult.")
    first = parts[0]
    for part in parts:
        if (part.layers, part.sides, part.inputs, part.window) != (
            first.layers, first.sides, first.inputs, first.window,
        ) or (part.directions is None) != (first.directions is None):  # fmt: skip
            raise ArgumentError("join_spectra: the parts have other layers, sides, windows or vectors than the first.")
    worst = (Completeness.INTERRUPTED, Completeness.BUDGET, Completeness.INFEASIBLE)
    states = [part.completeness for part in parts]
    lists: dict[str, Any] = {"values": tuple(np.concatenate(v) for v in zip(*(p.values for p in parts), strict=True))}
    if first.directions is not None:
        pairs = zip(*(p.directions or () for p in parts), strict=True)
        lists["directions"] = tuple(np.concatenate(v) for v in pairs)
    lists |= {name: np.concatenate([getattr(p, name) for p in parts]) for name in ROWS}
    return replace(
        first,
        standing=weakest(part.standing for part in parts),
        completeness=next((s for s in worst if s in states), Completeness.COMPLETE),
        **lists,
    )
