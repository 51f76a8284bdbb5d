"""Identified neighbourhoods drawn as in Fig. 2c of Montúfar et al. (2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plica.analyses.regions.neighbourhoods import NeighbourhoodsResult
from plica.show.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HATCHES = ("", "//", "\\\\", "..", "xx", "--", "++", "oo")  # told apart without colour


def plot_neighbourhoods(result: NeighbourhoodsResult) -> Figure:
    """Draw every layer's neighbourhoods, and below them the tree that counts them.

    Parameters
    ----------
    result : NeighbourhoodsResult
        Layers of one or two values are drawn to scale; larger ones in the tree alone.

    Returns
    -------
    matplotlib.figure.Figure
        Neighbourhoods that are mapped onto the same one of the next layer share a colour and a hatch. Not registered
        with pyplot.
    """
    from matplotlib.figure import Figure

    count = len(result.layers)
    figure = Figure(figsize=(3.2 * count, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, count, height_ratios=[3, 2])
    for level, name in enumerate(result.layers):
        axes = figure.add_subplot(grid[0, level])
        axes.set_title(f"{name}: {len(result.counts[level])}", fontsize=10)
        _layer(axes, result, level)
    _tree(figure.add_subplot(grid[1, :]), result)
    figure.suptitle(f"{result.count} input neighbourhoods identified [{result.standing}, {result.completeness}]")
    return figure


def _layer(axes: Axes, result: NeighbourhoodsResult, level: int) -> None:
    """One layer's neighbourhoods, to scale."""
    dimension = result.centres[level].shape[1] if len(result.centres[level]) else 0
    if dimension not in (1, 2):
        axes.text(0.5, 0.5, f"{dimension} values", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    for number, corners in enumerate(result.corners[level]):
        parent = max(int(result.parents[level][number]), 0)
        colour, hatch = COLOURS[parent % len(COLOURS)], HATCHES[parent // len(COLOURS) % len(HATCHES)]
        if dimension == 1:
            axes.plot([corners.min(), corners.max()], [0, 0], color=colour, linewidth=6, marker="|", markersize=14)
        elif len(corners) > 2:
            ring = _ring(corners)
            axes.fill(*ring.T, facecolor=colour, edgecolor="black", hatch=hatch, alpha=0.6)
        else:
            axes.plot(*corners.T, color=colour, marker="o")
    if dimension == 2:
        axes.set_aspect("equal", adjustable="datalim")
    else:
        axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)


def _ring(corners: np.ndarray) -> np.ndarray:
    """Corners in order around their centre."""
    gap = corners - corners.mean(0)
    return corners[np.argsort(np.arctan2(gap[:, 1], gap[:, 0]))]


def _tree(axes: Axes, result: NeighbourhoodsResult) -> None:
    """The tree with N at every neighbourhood; the target is on the right."""
    places = [np.empty(0)] * len(result.layers)
    leaves = len(result.counts[0])
    places[0] = (np.arange(leaves) + 0.5) / max(leaves, 1)
    for level in range(1, len(result.layers)):
        below = result.parents[level - 1]
        own = [places[level - 1][below == i] for i in range(len(result.counts[level]))]
        places[level] = np.array([p.mean() if len(p) else 0.5 for p in own])
    for level, ys in enumerate(places):
        for y, n, parent in zip(ys, result.counts[level], result.parents[level], strict=True):
            if parent >= 0:
                axes.plot([level, level + 1], [y, places[level + 1][parent]], color="0.6", linewidth=0.8, zorder=0)
            colour = COLOURS[max(int(parent), 0) % len(COLOURS)]
            axes.plot(level, y, "o", color=colour)
            axes.annotate(f"{n}", (level, y), xytext=(4, 2), textcoords="offset points", fontsize=8)
    axes.set(
        yticks=[],
        xticks=range(len(result.layers)),
        xticklabels=result.layers,
        title="N of every neighbourhood, eq. (3)",
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
