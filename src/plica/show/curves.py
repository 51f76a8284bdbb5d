"""Falling curves on a logarithmic axis: singular values by their number."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from plica.show.charts import WIDTH, figure, tag, text
from plica.show.words import number

LEFT, RIGHT, TOP, HEIGHT = 46, 10, 14, 110
LOOKS = ("curve", "curve dashed")  # by the order of the series


def curves(series: Mapping[str, np.ndarray], limits: tuple[float, float], count: int, label: str) -> Markup:
    """Return curves of positive numbers in decreasing order; each ends where its numbers are zero.

    Parameters
    ----------
    series : mapping of str to ndarray, shape (n,)
        At most two.
    limits : tuple of float
        Exponents of the ends of the logarithmic axis: the same for charts that are compared.
    count : int
        Numbers across.
    label : str
        Text for those who do not see it.
    """
    low, high = limits
    base, across = TOP + HEIGHT, max(count - 1, 1)

    def place(i: int, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * i / across
        level = min(max((math.log10(value) - low) / (high - low), 0.0), 1.0)
        return f"{x:.1f} {base - HEIGHT * level:.1f}"

    marks = [*_levels(limits, base), tag("path", d=f"M{LEFT} {base}H{WIDTH - RIGHT}", class_="axis")]
    for look, (name, values) in zip(LOOKS, series.items(), strict=False):
        shown = values[(values > 0) & np.isfinite(values)].tolist()
        picked = sorted({round(i) for i in np.linspace(0, len(shown) - 1, min(len(shown), 160))}) if shown else []
        points = [place(i, shown[i]) for i in picked]
        if len(points) == 1:
            x, y = points[0].split()
            marks.append(tag("circle", cx=x, cy=y, r=2.5, class_="bar"))
        elif points:
            marks.append(tag("path", [tag("title", name)], d="M" + "L".join(points), class_=look))
    ends = ((LEFT, "1", "start"), (WIDTH - RIGHT, f"{count:,}", "end"))
    marks += [text(x, base + 15, words, "t small", anchor) for x, words, anchor in ends]
    marks.append(text((LEFT + WIDTH - RIGHT) / 2, base + 15, "number of the singular value", "t small", "middle"))
    return figure(marks, label, WIDTH, base + 22)


def _levels(limits: tuple[float, float], base: float) -> list[Markup]:
    """Lines at powers of ten, at most five."""
    exponents = list(range(math.ceil(limits[0]), math.floor(limits[1]) + 1))
    marks = []
    for e in exponents[:: max(1, math.ceil(len(exponents) / 5))]:
        y = base - HEIGHT * (e - limits[0]) / (limits[1] - limits[0])
        marks.append(tag("path", d=f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}", class_="level"))
        marks.append(text(LEFT - 5, y + 4, number(10.0**e), "t small", "end"))
    return marks
