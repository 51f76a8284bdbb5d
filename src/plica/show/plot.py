"""A picture of every result that has one: what ``result.plot()`` draws, and pictures as files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plica.errors import ArgumentError
from plica.show.figures import COLOURS, draw
from plica.show.plots import plot_impostor, plot_kinds
from plica.show.preimages import plot_dual, plot_mixing
from plica.show.regionplot import plot_regions
from plica.store import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from plica.core.result import Result

FORMATS = (".png", ".svg", ".pdf")
MOST_IMAGES = 8


def plot(result: Result, **options: Any) -> Figure:
    """Draw a result.

    Parameters
    ----------
    result : Result
    **options
        Of the type's picture: ``shape=`` for an impostor.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: a notebook shows it, ``figure.savefig(path)`` writes it.

    Raises
    ------
    ArgumentError
        The type has no picture.
    """
    draw_it = PLOTS.get(type(result).__name__)
    if draw_it is None:
        raise ArgumentError(f"{type(result).__name__} has no picture. Those that have: {', '.join(sorted(PLOTS))}.")
    figure = draw_it(result, **options)
    figure._repr_png_ = partial(_png, figure)  # what Jupyter asks for; pyplot, which it knows, keeps figures for ever
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def save_plot(result: Result, path: str | os.PathLike[str], **options: Any) -> Path:
    """Draw a result into a file, as its name says: .png, .svg or .pdf.

    Parameters
    ----------
    result : Result
    path : path-like
    **options
        As for `plot`.

    Raises
    ------
    ArgumentError
        For another ending, a type without a picture, or a file that cannot be written.
    """
    target = Path(path)
    if target.suffix not in FORMATS:
        raise ArgumentError(f"'{path}': a picture is written as {', '.join(FORMATS)}; choose one of these endings.")
    figure, buffer = plot(result, **options), io.BytesIO()
    figure.savefig(buffer, format=target.suffix[1:], dpi=150)
    with whole_file(target) as file:
        file.write(buffer.getvalue())
    return target


def _axes(result: Result, x: str, y: str, size: tuple[float, float] = (6, 3.6)) -> tuple[Figure, Axes]:
    """One panel whose title is standing and completeness."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y, title=f"{type(result).__name__}: {result.standing}, {result.completeness}")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _facets(result: Any) -> Figure:
    """Distances to the nearest facet, sorted, a line per layer."""
    figure, axes = _axes(result, "inputs, sorted", "distance to the nearest facet")
    for k, name in enumerate(result.layers):
        values = np.sort(result.distances[:, k])
        axes.plot(values[np.isfinite(values)], ("-", "--", "-.", ":")[k % 4], color=COLOURS[k % 10], label=name)
    if (result.distances[np.isfinite(result.distances)] > 0).any():
        axes.set_yscale("log")
    axes.legend(frameon=False)
    return figure


def _spectrum(result: Any) -> Figure:
    """Median singular values over the inputs, a line per layer and side."""
    figure, axes = _axes(result, "index", "singular value, median over the inputs")
    for k, values in enumerate(result.values):
        if not len(values):
            continue
        median = np.median(values, axis=0)
        label = f"{result.layers[k]} ({result.sides[k]})"
        axes.plot(np.where(median > 0, median, np.nan), ("-", "--")[result.sides[k] == "post"],
                  color=COLOURS[k // 2 % 10], label=label)  # fmt: skip
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _lipschitz(result: Any) -> Figure:
    """Bounds of every layer's Lipschitz constant."""
    figure, axes = _axes(result, "", "Lipschitz constant")
    places = np.arange(len(result.names))
    finite = np.where(np.isfinite(result.uppers), result.uppers, np.nan)
    axes.bar(places - 0.2, finite, 0.4, color=COLOURS[0], label="upper bound")
    axes.bar(places + 0.2, result.lowers, 0.4, color=COLOURS[1], label="lower bound", hatch="//")
    axes.set_xticks(places, result.names, rotation=45, ha="right")
    axes.legend(frameon=False)
    return figure


def _moments(result: Any) -> Figure:
    """Means of the outputs with their standard deviations."""
    figure, axes = _axes(result, "output", "mean and standard deviation")
    deviation = np.sqrt(np.clip(np.diag(result.covariance), 0, None))
    axes.errorbar(np.arange(len(result.mean)), result.mean, deviation, fmt="o", capsize=3, color=COLOURS[0])
    return figure


def _probabilities(result: Any) -> Figure:
    """Probabilities of the classes with their intervals."""
    figure, axes = _axes(result, "class", "probability")
    p = result.probabilities
    ends = np.abs(result.intervals - p[:, None]).T
    axes.bar(np.arange(len(p)), p, color=COLOURS[4], yerr=ends, capsize=3)
    return figure


def _fooling_map(result: Any) -> Figure:
    """Where noise changes the class, mean over the inputs."""
    figure, axes = _axes(result, "column of the window", "row of the window", (4.6, 3.6))
    drawn = axes.imshow(result.rate, cmap="viridis", interpolation="nearest", vmin=0)
    figure.colorbar(drawn, ax=axes, label="share of inputs fooled")
    return figure


def _distortions(result: Any) -> Figure:
    """Distances found and proven lower bounds, sorted."""
    figure, axes = _axes(result, "images, sorted by distance", f"distance, {result.norm:g}-norm")
    order = np.argsort(result.distance)
    order = order[np.isfinite(result.distance[order])]
    axes.plot(result.distance[order], "o", color=COLOURS[1], markersize=4, label="found")
    if result.lower_bound.any():
        axes.plot(result.lower_bound[order], "_", color=COLOURS[0], label="proven lower bound")
    axes.legend(frameon=False)
    return figure


def _error_rates(result: Any) -> Figure:
    """Mean error probability against the size of the change, with its standard error and where it is 0 by proof."""
    figure, axes = _axes(result, f"radius, {result.norm:g}-norm", "error probability in the ball")
    axes.errorbar(result.radii, result.mean, result.mean_error, fmt="o-", markersize=4, capsize=3, color=COLOURS[0],
                  label="mean over the inputs, standard error")  # fmt: skip
    axes.plot(result.radii, result.none.mean(0), "s--", markersize=3, color=COLOURS[1],
              label="share of inputs with probability 0, proven")  # fmt: skip
    if (result.radii > 0).all() and result.radii.max() > 20 * result.radii.min():
        axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _radii(result: Any) -> Figure:
    """Certified radii, sorted."""
    figure, axes = _axes(result, "inputs, sorted", f"certified radius, {result.norm:g}-norm")
    axes.plot(np.sort(result.radius[np.isfinite(result.radius)]), "o", color=COLOURS[0], markersize=4)
    return figure


def _shared_activity(result: Any) -> Figure:
    """Units that switch and pairs that stay on one piece, layer by layer."""
    figure, axes = _axes(result, "", "share")
    places = np.arange(len(result.layers))
    axes.bar(places - 0.2, np.nanmean(result.changed, 0), 0.4, color=COLOURS[0], label="units that switch")
    axes.bar(places + 0.2, result.same.mean(0), 0.4, color=COLOURS[1], hatch="//", label="pairs on one piece so far")
    axes.set_xticks(places, result.layers, rotation=45, ha="right")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _largest(result: Any) -> Figure:
    """Brackets of the largest values of units."""
    figure, axes = _axes(result, f"units of {result.layer}", "largest value over the box")
    places, known = np.arange(len(result.units)), np.isfinite(result.upper_bound)
    axes.plot(places[known], result.upper_bound[known], "_", markersize=10, color=COLOURS[0], label="proven bound")
    axes.plot(places[known], result.attained[known], "o", markersize=4, color=COLOURS[1], label="attained")
    axes.set_xticks(places, [str(u) for u in result.units])
    axes.legend(frameon=False, fontsize=8)
    return figure


def _unit_maps(result: Any) -> Figure:
    """Linear maps of the first units at the first inputs, as images."""
    from matplotlib.figure import Figure

    maps = result.maps.reshape(-1, *result.maps.shape[2:])[:MOST_IMAGES]
    figure = Figure(figsize=(1.6 * len(maps), 2.2), layout="constrained")
    figure.suptitle(f"{result.layer}: {result.standing}, {result.completeness}", fontsize=10)
    for axes, values in zip(np.atleast_1d(figure.subplots(1, len(maps))), maps, strict=True):
        flat = values.reshape(-1, *values.shape[-2:])[0] if values.ndim > 1 else _square(values)
        size = max(np.abs(flat).max(), 1e-300)
        axes.imshow(flat, cmap="RdBu_r", vmin=-size, vmax=size, interpolation="nearest")
        axes.set_axis_off()
    return figure


def _square(values: np.ndarray) -> np.ndarray:
    side = round(values.size**0.5)
    return values.reshape(side, side) if side * side == values.size else values[None]


PLOTS: dict[str, Callable[..., Any]] = {
    "KindResult": plot_kinds,
    "ImpostorResult": plot_impostor,
    "DualConeResult": plot_dual,
    "MixingResult": plot_mixing,
    "FigureResult": draw,
    "FacetResult": _facets,
    "SpectrumResult": _spectrum,
    "LipschitzResult": _lipschitz,
    "MomentsResult": _moments,
    "ProbabilityResult": _probabilities,
    "FoolingMapResult": _fooling_map,
    "DistortionResult": _distortions,
    "ErrorRateResult": _error_rates,
    "RadiusResult": _radii,
    "SharedActivityResult": _shared_activity,
    "LargestActivationResult": _largest,
    "UnitMapsResult": _unit_maps,
    "RegionsResult": plot_regions,
}
