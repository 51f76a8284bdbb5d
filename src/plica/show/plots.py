"""The same figures in matplotlib: what a result's ``.plot()`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plica.analyses.preimage.result import ImpostorResult, KindResult
from plica.errors import DataError
from plica.show.charts import KINDS
from plica.show.pictures import to_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {  # colour (Tol muted), line style, marker: kinds differ without colour
    "unbounded": ("#cc6677", "-", "o"),
    "compact": ("#999933", "--", "s"),
    "finite": ("#88ccee", "-.", "D"),
    "singleton": ("#44aa99", ":", "^"),
    "empty": ("#bbbbbb", "-", "x"),
    "undecided": ("#777777", "--", "v"),
}


def plot_kinds(result: KindResult) -> Figure:
    """Draw the number of inputs of each kind over the number of positive outputs.

    As Figure 3 of Behrmann et al. (2018); the grey strip is where more than one kind is seen, the dotted line the
    number of inputs of the layer.

    Parameters
    ----------
    result : KindResult

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: show it in a notebook, or ``figure.savefig(path)``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    present = [k for k in KINDS if np.any(result.kinds == k)]
    if present:
        first, last = int(result.positive.min()), int(result.positive.max())
        places = np.arange(first, last + 1)
        counts = {k: np.bincount(result.positive[result.kinds == k] - first, minlength=len(places)) for k in present}
        shared = places[np.sum([c > 0 for c in counts.values()], axis=0) > 1]
        if len(shared):
            axes.axvspan(shared[0] - 0.5, shared[-1] + 0.5, color="0.9", zorder=0)
        for kind, values in counts.items():
            colour, line, marker = STYLES[kind]
            label = f"{kind}: {values.sum():,}"
            axes.plot(places, values, line, color=colour, marker=marker, markersize=4, label=label)
        if first <= result.shape[1] <= last:
            axes.axvline(result.shape[1], color="0.4", linestyle=":")
        axes.legend(frameon=False)
    axes.set(
        xlabel="positive outputs",
        ylabel="number of inputs",
        title=f"{result.layer}: {result.standing}, {result.completeness}",
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_impostor(result: ImpostorResult, shape: tuple[int, ...] | None = None) -> Figure:
    """Draw an image, its impostor, and the image it was moved towards.

    Parameters
    ----------
    result : ImpostorResult
    shape : tuple of int, optional
        How to draw one input: (h, w), (1, h, w), (3, h, w) or (h, w, 3). By default the inputs' own shape, or a square
        where that has one axis.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: show it in a notebook, or ``figure.savefig(path)``.

    Raises
    ------
    DataError
        The inputs are no images and no shape was given.
    """
    from matplotlib.figure import Figure

    trio = (result.x, result.impostor, result.towards)
    pictures = to_pixels(trio, shape or image_shape(result.x))
    titles = (
        f"image A\nanswered {result.class_x}",
        f"features of A at {result.layer}\nanswered {result.class_impostor}",
        f"image B\nanswered {result.class_towards}",
    )
    figure = Figure(figsize=(7, 3.1), layout="constrained")
    for axes, picture, title in zip(figure.subplots(1, 3), pictures, titles, strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    figure.supxlabel(
        f"features differ by at most {result.feature_difference:.1e}; "
        f"distance to B {result.distance_start:.3g} → {result.distance:.3g}; {result.standing}",
        fontsize=9,
    )
    return figure


def image_shape(x: np.ndarray) -> tuple[int, ...]:
    """Guess how to draw an input."""
    if x.ndim in (2, 3) and min(x.shape[-2:]) > 1:
        return x.shape
    side = round(x.size**0.5)
    if side * side != x.size:
        raise DataError(f"Inputs of shape {x.shape} are no images. Give shape=(h, w), (3, h, w) or (h, w, 3).")
    return side, side
