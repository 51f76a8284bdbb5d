"""Preimages as pictures: pieces in the plane, a cone with its dual basis, and images that a layer mixes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from plica.analyses.preimage.dual import DualConeResult
from plica.analyses.preimage.mixing_result import DIFFERS, MixingResult
from plica.errors import DataError
from plica.show.figures import COLOURS
from plica.show.pictures import to_pixels
from plica.show.plots import image_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 6
AREA, LINE, POINT = 3, 2, 1  # corners


def plot_pieces(outlines: list[np.ndarray], title: str, side: tuple[np.ndarray, np.ndarray]) -> Figure:
    """Draw the pieces of a preimage in the plane, as Figures 1 and 2 of Carlsson et al. (2017).

    Parameters
    ----------
    outlines : list of ndarray, shape (k, 2)
        Corners in their order: a polygon, two for a segment, one for a point.
    title : str
    side : (lower, upper)
        The window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for corners in sorted(outlines, key=len, reverse=True):
        if len(corners) >= AREA:
            axes.fill(*corners.T, facecolor=COLOURS[0], edgecolor=COLOURS[0], alpha=0.3, linewidth=1)
        elif len(corners) == LINE:
            axes.plot(*corners.T, color=COLOURS[1], linewidth=2)
        else:
            axes.plot(*corners.T, "o", color=COLOURS[1], markersize=5)
    (left, low), (right, high) = side
    axes.set(title=title, xlim=(left, right), ylim=(low, high), aspect="equal")
    axes.title.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_dual(result: DualConeResult, reach: float = 2.0) -> Figure:
    """Draw the preimage of one layer and the dual basis, as Figure 3 of Carlsson et al. (2017).

    Parameters
    ----------
    result : DualConeResult
        Of two or three inputs.
    reach : float
        Length at which rays and lines are cut off.

    Raises
    ------
    DataError
        For another number of inputs, or generators that were not listed.
    """
    from matplotlib.figure import Figure

    n = result.lines.shape[1]
    if n not in (2, 3):
        raise DataError(f"The cone has {n} dimensions; pictures have 2 or 3. The fields rays and lines hold it.")
    if not result.listed:
        raise DataError("The generators were not listed (above 12 units that are off): there is nothing to draw.")
    figure = Figure(figsize=(5.0, 4.6), layout="constrained")
    axes = figure.add_subplot(projection="3d") if n == 3 else figure.add_subplot()
    _body(axes, _cut_off(result, reach))
    start = result.vertices[0]
    for k, e in enumerate(result.dual):
        colour = COLOURS[1] if result.on[k] else COLOURS[2]
        words = f"e{k + 1} ({'on' if result.on[k] else 'off: the cone runs against it'})"
        axes.plot(*np.stack([start, start + e], 1), color=colour, linewidth=2, label=words)
    axes.plot(*result.vertices.T, "o", color="black", markersize=4, label="vertices")
    axes.set_title(f"{result.summary()}", fontsize=8, wrap=True)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.08), ncols=2)
    if n == 2:
        axes.set_aspect("equal")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _cut_off(result: DualConeResult, reach: float) -> np.ndarray:
    """Corners of conv(vertices) + cone(rays) + span(lines), the unbounded part up to a length."""
    points = result.vertices
    for ray in result.rays:
        points = np.vstack([points, points + reach * ray / np.linalg.norm(ray)])
    for line in result.lines:
        points = np.vstack([points - reach * line, points + reach * line])
    return np.unique(points.round(12), axis=0)


def _body(axes: Any, points: np.ndarray) -> None:
    """The hull of points, whatever its dimension."""
    middle = points.mean(0)
    _, size, turn = np.linalg.svd(points - middle)
    flat = int((size > 1e-9 * max(1.0, size.max(initial=0.0))).sum())
    n = points.shape[1]
    if flat == 1:
        along = (points - middle) @ turn[0]
        ends = points[[along.argmin(), along.argmax()]]
        axes.plot(*ends.T, color=COLOURS[0], linewidth=3, alpha=0.6)
    elif flat >= AREA - 1:
        from scipy.spatial import ConvexHull

        if flat == n == AREA:
            axes.plot_trisurf(*points.T, triangles=ConvexHull(points).simplices, color=COLOURS[0], alpha=0.25)
            return
        ring = points[ConvexHull((points - middle) @ turn[:2].T).vertices]
        if n == AREA:
            from mpl_toolkits.mplot3d.art3d import Poly3DCollection

            axes.add_collection3d(Poly3DCollection([ring], facecolor=COLOURS[0], alpha=0.25))
        else:
            axes.fill(*ring.T, facecolor=COLOURS[0], alpha=0.3)


def plot_mixing(result: MixingResult, shape: tuple[int, ...] | None = None) -> Figure:
    """Draw images, the points of their preimages nearest to another label, and these images.

    Parameters
    ----------
    result : MixingResult
    shape : tuple of int, optional
        How to draw one input; by default its own shape, or a square.

    Raises
    ------
    DataError
        The inputs are no images, or the result has none.
    """
    from matplotlib.figure import Figure

    rows = _rows(result)
    if not rows:
        raise DataError("No point of a preimage was asked for (extent none), and no reference reads one differently.")
    shape = shape or image_shape(result.images[0])
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(1.9 * columns, 2.2 * len(rows)), layout="constrained")
    places = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, row in zip(places, rows, strict=True):
        pixels = to_pixels([image for image, _ in row], shape)
        for axes in axes_row:
            axes.set_axis_off()
        for axes, image, (_, words) in zip(axes_row, pixels, row, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(words, fontsize=8)
    figure.supxlabel(f"{result.standing}, {result.completeness}", fontsize=9)
    return figure


def _rows(result: MixingResult) -> list[list[tuple[np.ndarray, str]]]:
    """Pictures with their words, a row for each input and layer."""
    rows = []
    for layer, i in np.ndindex(result.verdicts.shape) if result.images.size else ():
        row = [(result.images[i], f"{result.layers[layer]}\nlabel {result.labels[i]}")]
        if np.isfinite(result.distances[layer, i]).any():
            c = int(np.nanargmin(result.distances[layer, i]))
            other = int(result.targets[layer, i, c])
            row.append((result.nearest[layer, i], f"same activity,\n{result.distances[layer, i, c]:.3g} from"))
            row.append((result.images[other], f"\nlabel {result.labels[other]}"))
        if result.verdicts[layer, i] == DIFFERS:
            row.append((result.points[layer, i], f"same activity, the\nreference reads {result.answers[layer, i]}"))
        rows += [row] if len(row) > 1 else []
    return rows[:MOST_ROWS]
