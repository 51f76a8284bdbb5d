"""Curves over the level of noise, with whiskers: linear axes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from plica.show.charts import WIDTH, figure, tag, text
from plica.show.words import number

LEFT, RIGHT, TOP, HEIGHT = 46, 10, 14, 120
LOOKS = ("curve", "curve dashed")  # by the order of the series


def over_levels(
    levels: np.ndarray, series: Mapping[str, np.ndarray], limits: tuple[float, float], label: str
) -> Markup:
    """Return curves of values against levels of noise.

    Parameters
    ----------
    levels : ndarray, shape (l,)
    series : mapping of str to ndarray, shape (3, l)
        At most two: values, and the lower and upper ends of whiskers. What is not finite is left out.
    limits : tuple of float
        Ends of the upright axis.
    label : str
        Text for those who do not see it.
    """
    low, high = limits
    base, last = TOP + HEIGHT, float(levels[-1]) or 1.0

    def across(level: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * level / last

    def up(value: float) -> float:
        return base - HEIGHT * min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0)

    marks = [tag("path", d=f"M{LEFT} {base}H{WIDTH - RIGHT}", class_="axis")]
    for value in (low, (low + high) / 2, high):
        marks.append(tag("path", d=f"M{LEFT} {up(value):.1f}H{WIDTH - RIGHT}", class_="level"))
        marks.append(text(LEFT - 5, up(value) + 4, number(value), "t small", "end"))
    for k, (look, (name, (middle, lower, upper))) in enumerate(zip(LOOKS, series.items(), strict=False)):
        kept = np.isfinite(middle)
        points = [
            f"{across(s):.1f} {up(v):.1f}" for s, v in zip(levels[kept].tolist(), middle[kept].tolist(), strict=True)
        ]
        ends = zip(levels.tolist(), lower.tolist(), upper.tolist(), strict=True)
        bars = [
            f"M{across(s) + 3 * k - 1.5:.1f} {up(a):.1f}V{up(b):.1f}" for s, a, b in ends if np.isfinite([a, b]).all()
        ]
        marks.append(tag("path", d="".join(bars), class_="axis"))
        if points:
            marks.append(tag("path", [tag("title", name)], d="M" + "L".join(points), class_=look))
    ticks = ((LEFT, "0" if levels[0] == 0 else number(float(levels[0])), "start"), (WIDTH - RIGHT, number(last), "end"))
    marks += [text(x, base + 15, words, "t small", anchor) for x, words, anchor in ticks]
    marks.append(text((LEFT + WIDTH - RIGHT) / 2, base + 15, "standard deviation of the noise", "t small", "middle"))
    return figure(marks, label, WIDTH, base + 22)
