"""Figures of papers as pictures and tables: drawn from their saved numbers, nothing is computed."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Tol muted: told apart by the colour-blind; lines differ in style too.
COLOURS = ("#332288", "#cc6677", "#117733", "#ddcc77", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499", "#777777")
STYLES = ("-", "--", "-.", ":")
MOST_COLUMNS = 3
IMAGE_COLUMNS = 10
MOST_MARKS = 12  # bars that are numbered one by one
TITLE_WIDTH = 44  # letters of a panel's title in a line


def draw(figure: Any) -> Figure:
    """Draw every panel of a figure.

    Parameters
    ----------
    figure : FigureResult

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot.
    """
    from matplotlib.figure import Figure

    panels = figure.panels
    columns = max(1, min(MOST_COLUMNS, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    picture = Figure(figsize=(4.6 * columns, 3.5 * rows + 0.5), layout="constrained")
    said = f"{figure.paper} {figure.name}: {figure.title} [{figure.standing}, {figure.completeness}]"
    picture.suptitle(said, wrap=True)
    for k, panel in enumerate(panels):
        DRAW[panel.kind](picture.add_subplot(rows, columns, k + 1), panel)
    return picture


def _dressed(axes: Axes, panel: Any, *, below: bool = False) -> None:
    """Titles, scales and a legend where there is more than one series, below the axes where these are full."""
    axes.set(title=_wrapped(panel.title), xlabel=panel.x, ylabel=panel.y)
    axes.spines[["top", "right"]].set_visible(False)
    if "x" in panel.log:
        axes.set_xscale("log")
    if "y" in panel.log:
        axes.set_yscale("log")
    if len(panel.series) > 1 and not all(name.startswith("_") for name in panel.series):
        outside: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 3} if below else {}
        axes.legend(frameon=False, fontsize=8, **outside)


def _wrapped(title: str) -> str:
    return textwrap.fill(title, TITLE_WIDTH)


def _lines(axes: Axes, panel: Any) -> None:
    for k, (name, values) in enumerate(panel.series.items()):
        colour = COLOURS[k % len(COLOURS)]
        axes.plot(values[0], values[1], STYLES[k % len(STYLES)], color=colour, label=name, marker="o", markersize=3)
        if len(values) == 4:
            axes.fill_between(values[0], values[2], values[3], color=colour, alpha=0.2, linewidth=0)
    _dressed(axes, panel)


def _scatter(axes: Axes, panel: Any) -> None:
    for k, (name, values) in enumerate(panel.series.items()):
        axes.scatter(values[0], values[1], s=6, color=COLOURS[k % len(COLOURS)], marker="os^Dvx"[k % 6], label=name)
    _dressed(axes, panel)


def _bars(axes: Axes, panel: Any) -> None:
    width = 0.8 / max(1, len(panel.series))
    for k, (name, values) in enumerate(panel.series.items()):
        places = values[0] + (k - (len(panel.series) - 1) / 2) * width
        axes.bar(places, values[1], width, color=COLOURS[k % len(COLOURS)], label=name)
    marks = np.unique(np.concatenate([values[0] for values in panel.series.values()]))
    if len(marks) <= MOST_MARKS and (marks == marks.round()).all():
        axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
    _dressed(axes, panel, below=True)


def _images(axes: Axes, panel: Any) -> None:
    """Draw the images of a panel in rows of ten, their names above them."""
    axes.set_title(_wrapped(panel.title))
    axes.set_axis_off()
    count = len(panel.series)
    columns = min(IMAGE_COLUMNS, count)
    rows = -(-count // columns)
    for k, (name, values) in enumerate(panel.series.items()):
        row, column = divmod(k, columns)
        inner = axes.inset_axes((column / columns, 1 - (row + 1) / rows, 0.94 / columns, 0.86 / rows))
        inner.imshow(np.clip(values, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        inner.set_title(name, fontsize=7, pad=2)
        inner.set(xticks=(), yticks=())
        inner.spines[:].set(color="0.7", linewidth=0.5)


def _heat(axes: Axes, panel: Any) -> None:
    values = next(iter(panel.series.values()))
    drawn = axes.imshow(values, cmap="viridis", interpolation="nearest", aspect="auto")
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
    axes.set(title=_wrapped(panel.title), xlabel=panel.x, ylabel=panel.y)


def _areas(axes: Axes, panel: Any) -> None:
    """Draw polygons, segments and points; a name shares its colour with the same name after underscores."""
    names = list(dict.fromkeys(name.strip("_0123456789") for name in panel.series))
    for name, values in panel.series.items():
        colour = COLOURS[names.index(name.strip("_0123456789")) % len(COLOURS)]
        if values.shape[1] > 2:
            axes.fill(values[0], values[1], facecolor=colour, edgecolor=colour, alpha=0.35, label=name)
        else:
            marker = "o" if values.shape[1] == 1 else ""
            axes.plot(values[0], values[1], color=colour, marker=marker, linewidth=2, label=name)
    axes.set_aspect("equal")
    _dressed(axes, panel, below=True)


DRAW = {"lines": _lines, "scatter": _scatter, "bars": _bars, "images": _images, "heat": _heat, "areas": _areas}


def table(figure: Any) -> str:
    """Claims of a figure as a Markdown table.

    Parameters
    ----------
    figure : FigureResult

    Returns
    -------
    str
        A heading with standing and completeness, and a row per claim.
    """
    marks = {True: "yes", False: "**no**", None: "-"}
    head = f"## {figure.paper} {figure.name}: {figure.title}\n\n{figure.standing}, {figure.completeness}\n"
    lines = ["| claim | paper | plica | holds | reason |", "|---|---|---|---|---|"]
    for claim in figure.claims:
        cells = (claim.what, claim.paper, claim.plica, marks[claim.holds], claim.reason)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join((head, *lines))
