"""Regions in matplotlib: what ``plot()`` of a list of regions draws, as PNG, SVG or PDF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from plica.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from plica.analyses.regions.result import RegionsResult

# Tol muted and grey: smallest distance for the colour-blind 15.6. The page's engine has the same table.
HUES = ("#332288", "#cc6677", "#117733", "#ddcc77", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499", "#dddddd")
KINDS = ("class", "size", "gain", "active", "unit")
VECTORS = 5_000  # regions above which polygons are one picture inside an SVG or PDF
ENDS = (0.02, 0.98)  # quantiles at which a ramp of colours is clipped


def plot_regions(
    result: RegionsResult, *, by: str | None = None, unit: tuple[int, int] | None = None, points: Any = None
) -> Figure:
    """Draw regions: in a plane as a map, on a line as a graph of the outputs, in space as the sizes' distribution.

    Parameters
    ----------
    result : RegionsResult
    by : {"class", "size", "gain", "active", "unit"}, optional
        Colour, in a plane. Class (at the middle) and gain (the largest singular value) need ``maps=True``; by default
        the class where it is known, else the size.
    unit : (int, int), optional
        Choice node and unit whose branch is drawn; means ``by="unit"``.
    points : array, shape (n, 2), optional
        Marked, in the plane's coordinates.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot.

    Raises
    ------
    ArgumentError
        For a colour that is not there, or maps that were not asked for.
    """
    from matplotlib.figure import Figure

    by = by or ("unit" if unit is not None else "class" if result.matrices is not None else "size")
    if by not in KINDS or (by == "unit" and unit is None):
        raise ArgumentError(f"by = {by!r}: give one of {', '.join(KINDS)}, and unit=(node, unit) for a unit.")
    if by in ("class", "gain") and result.matrices is None:
        raise ArgumentError(f"by = {by!r}: the regions were found without their maps; ask for maps=True.")
    figure = Figure(figsize=(6.4, 5.4) if result.dimension == 2 else (6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"{result.count:,} regions: {result.standing}, {result.completeness}", fontsize=11)
    if result.dimension == 2:
        _map(axes, result, by, unit)
        if points is not None:
            axes.plot(*np.asarray(points, dtype=np.float64).T, "o", color="black", markeredgecolor="white")
    elif result.dimension == 1 and result.matrices is not None:
        _graph(axes, result)
    else:
        _sizes(axes, result)
    return figure


def _map(axes: Axes, result: RegionsResult, by: str, unit: tuple[int, int] | None) -> None:
    """Polygons in the colours of a class or a number."""
    from matplotlib.collections import PolyCollection

    shapes = [result.vertices[c] for c in np.split(result.corners, result.first[1:-1])] if result.count else []
    many = result.count > VECTORS
    drawn = PolyCollection(shapes, edgecolors="black", rasterized=many,
                           linewidths=0.3 if result.count < 1000 else 0.0 if many else 0.1)  # fmt: skip
    axes.add_collection(drawn)
    if by in ("class", "unit"):
        _in_classes(axes, drawn, *_classes(result, by, unit))
    else:
        _on_a_ramp(axes, drawn, by, _numbers(result, by))
    axes.set(xlabel="first coordinate", ylabel="second coordinate", aspect="equal")
    if result.count:
        low, high = result.vertices.min(0), result.vertices.max(0)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))


def _classes(result: RegionsResult, by: str, unit: tuple[int, int] | None) -> tuple[np.ndarray, str]:
    """The number of a class for every region, and what it is."""
    if by == "class":
        assert result.matrices is not None and result.offsets is not None
        values = np.einsum("rkd,rd->rk", result.matrices, result.centres()) + result.offsets
        return values.argmax(1) if values.shape[1] > 1 else (values[:, 0] > 0).astype(int), "class"
    node, k = unit or (0, 0)
    if not (0 <= node < len(result.layers) and 0 <= k < result.units[node]):
        raise ArgumentError(f"unit = {unit}: the choice nodes have {list(result.units)} units.")
    return result.branches()[:, sum(result.units[:node]) + k], f"{result.layers[node]},\nunit {k}:\nbranch"


def _numbers(result: RegionsResult, by: str) -> np.ndarray:
    if by == "gain":
        assert result.singular_values is not None
        return result.singular_values[:, 0]
    return (result.branches() > 0).sum(1).astype(float) if by == "active" else result.sizes


def _in_classes(axes: Axes, drawn: Any, labels: np.ndarray, what: str) -> None:
    """One colour a class, with a legend of those that are there."""
    from matplotlib.patches import Patch

    hues = HUES if what == "class" else (HUES[-1], *HUES[1:-1])  # branch 0 is grey, as off
    drawn.set_facecolor([hues[int(k) % len(hues)] for k in labels])
    here = np.unique(labels)[: 2 * len(HUES)]
    handles = [Patch(facecolor=hues[int(k) % len(hues)], edgecolor="0.4", label=str(k)) for k in here]
    axes.legend(handles=handles, title=what, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _on_a_ramp(axes: Axes, drawn: Any, by: str, values: np.ndarray) -> None:
    """One hue, darker for more; logarithmic for sizes and gains."""
    from matplotlib.colors import LogNorm, Normalize

    positive = values[values > 0] if by != "active" else values
    low, high = np.quantile(positive, ENDS) if len(positive) else (0.5, 1.0)
    high = high if high > low else low + 1.0
    drawn.set(array=np.maximum(values, low), cmap="Blues", norm=(Normalize if by == "active" else LogNorm)(low, high))
    names = {"size": "area", "gain": "gain, the largest singular value", "active": "active units"}
    axes.figure.colorbar(drawn, ax=axes, label=names[by], shrink=0.8)


def _graph(axes: Axes, result: RegionsResult) -> None:
    """Outputs along a line, with a tick at every border."""
    assert result.matrices is not None and result.offsets is not None
    ends = np.sort(result.vertices[result.corners].reshape(result.count, 2), axis=1)
    order = np.argsort(ends[:, 0])
    places = ends[order]
    for k in range(min(result.matrices.shape[1], len(HUES))):
        values = result.matrices[order, k] * places + result.offsets[order, k][:, None]
        axes.plot(places.ravel(), values.ravel(), color=HUES[k], label=str(k), linestyle=("-", "--", "-.")[k % 3])
    axes.plot(
        np.unique(places), np.zeros(len(np.unique(places))), "|", color="0.4", transform=axes.get_xaxis_transform()
    )
    axes.set(xlabel="coordinate on the line; ticks are borders", ylabel="output")
    axes.legend(frameon=False, fontsize=8, title="output")


def _sizes(axes: Axes, result: RegionsResult) -> None:
    """Sizes in decreasing order."""
    values = np.sort(result.sizes[np.isfinite(result.sizes) & (result.sizes > 0)])[::-1]
    axes.plot(np.arange(1, len(values) + 1), values, color=HUES[0])
    axes.set(xlabel="regions, largest first", ylabel=("length", "area", "volume")[min(result.dimension, 3) - 1])
    if len(values):
        axes.set(xscale="log", yscale="log")
