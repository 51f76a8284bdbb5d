"""Charts as inline SVG, made by hand: colours come from the page's style, so they follow light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from plica.show.words import number, percent

KINDS = ("unbounded", "compact", "finite", "singleton", "empty", "undecided")  # from left to right in a bar
WIDTH = 320
LANE, TOP, LEFT, BARS = 46, 12, 8, 80  # lanes: height, room above, margin, most bars


def tag(name: str, content: Iterable[Any] | str = "", **attributes: Any) -> Markup:
    """Return one SVG element; a trailing underscore in a name is dropped, others become dashes."""
    words = [f'{k.rstrip("_").replace("_", "-")}="{escape(_short(v))}"' for k, v in attributes.items() if v is not None]
    body = escape(content) if isinstance(content, str) else Markup("").join(content)
    return Markup(f"<{' '.join([name, *words])}>{body}</{name}>")


def _short(value: Any) -> Any:
    """Print coordinates with one decimal."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def figure(content: Iterable[Any], label: str, width: Any, height: float, *, fluid: bool = False) -> Markup:
    """Wrap marks into an SVG with its text for those who do not see it; fluid: as wide as its place, in percent."""
    box = None if fluid else f"0 0 {width} {height}"
    return tag(
        "svg", [tag("title", label), *content], role="img", aria_label=label, viewBox=box, width=width, height=height,
        class_="chart",
    )  # fmt: skip


def text(x: Any, y: float, words: str, class_: str = "t", anchor: str | None = None) -> Markup:
    """Return a text mark."""
    return tag("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def patterns() -> Markup:
    """Return the hatchings that tell kinds apart without colour; once in a page."""
    marks = {
        "unbounded": tag("path", d="M-2 2L2 -2M0 8L8 0M6 10L10 6"),
        "compact": tag("circle", cx=4, cy=4, r=1.3, class_="dot"),
        "finite": tag("path", d="M4 0V8"),
        "undecided": tag("path", d="M0 0L8 8M8 0L0 8"),
    }
    cells = [
        tag("pattern", [mark], id=f"hatch-{kind}", width=8, height=8, patternUnits="userSpaceOnUse", class_="hatch")
        for kind, mark in marks.items()
    ]
    return tag("svg", [tag("defs", cells)], width=0, height=0, class_="defs", aria_hidden="true")


def kind_mark(kind: str, x: Any, y: float, width: Any, height: Any) -> Markup:
    """Return a rectangle in the colour and the hatching of a kind."""
    place = {"x": x, "y": y, "width": width, "height": height}
    over = [] if kind in ("singleton", "empty") else [tag("rect", **place, fill=f"url(#hatch-{kind})")]
    return tag("g", [tag("rect", **place, class_=f"k k-{kind}"), *over])


def swatch(kind: str) -> Markup:
    """Return the little square of a kind, for a key."""
    return tag("svg", [kind_mark(kind, 0.5, 0.5, 13, 13)], width=14, height=14, aria_hidden="true", class_="swatch")


def shares_words(shares: Mapping[str, float]) -> str:
    """Return the shares as text, in the order of the bar."""
    return ", ".join(f"{kind} {percent(shares[kind])}" for kind in KINDS if shares.get(kind)) or "nothing decided"


def shares_bar(shares: Mapping[str, float], label: str, *, height: int = 24, words: bool = True) -> Markup:
    """Return one bar of the shares of kinds, as wide as its place, labelled where a part is wide enough."""
    marks, start = [], 0.0
    for kind in (k for k in KINDS if shares.get(k)):
        share = shares[kind]
        marks.append(kind_mark(kind, f"{100 * start:.2f}%", 0, f"{100 * share:.2f}%", "100%"))
        if words and share >= 0.16:
            says = f"{kind} {percent(share)}" if share >= 0.5 else percent(share)
            marks.append(text(f"{100 * (start + share / 2):.2f}%", height / 2 + 4, says, "t on", "middle"))
        start += share
    return figure(marks, f"{label}: {shares_words(shares)}", "100%", height, fluid=True)


def accuracy_bar(share: float, width: int = 118) -> Markup:
    """Return the share of right answers as a bar with a tick at one half."""
    marks = [
        tag("rect", x=0, y=4, width=width, height=10, rx=3, class_="track"),
        tag("rect", x=0, y=4, width=max(share * width, 1), height=10, rx=3, class_="bar"),
        tag("path", d=f"M{width / 2} 0V18", class_="mark"),
        text(width / 2, 28, f"50{chr(0x202F)}%", "t small", "middle"),
    ]
    return figure(marks, f"{percent(share)} of the answers are right; the tick is at 50 %", width, 32)


def heat(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], label: str) -> Markup:
    """Return shares in [0, 1] as a table of shaded cells, NaN as a dash; rows and columns have names above and left."""
    left, wide, tall, top = 8 + 6.4 * max(map(len, rows)), 96, 30, 24
    marks = [text(left + wide * (j + 0.5), 15, name, "t small", "middle") for j, name in enumerate(columns)]
    for i, (name, line) in enumerate(zip(rows, values, strict=True)):
        y = top + tall * i
        marks.append(text(left - 8, y + 19, name, "t small", "end"))
        for j, value in enumerate(line):
            place: dict[str, Any] = {"x": left + wide * j, "y": y, "width": wide - 2, "height": tall - 2, "rx": 3}
            known = bool(np.isfinite(value))
            marks.append(tag("rect", class_="track", **place))
            if known:
                marks.append(tag("rect", class_="bar", fill_opacity=f"{value:.3f}", **place))
            marks.append(text(left + wide * (j + 0.5) - 1, y + 19, percent(value) if known else "-", "t on", "middle"))
    return figure(marks, label, left + wide * len(columns) + 2, top + tall * len(rows))


# --- histograms -------------------------------------------------------------------------------------------------


def lanes(kinds: np.ndarray, positive: np.ndarray, label: str, *, inputs: int | None = None) -> Markup:
    """Return a histogram per kind over the number of positive outputs, in lanes that share both axes.

    As Figure 3 of Behrmann et al. (2018): where lanes overlap, the number of positive outputs alone does not decide.

    Parameters
    ----------
    kinds : ndarray of str, shape (n,)
        Kind of each image.
    positive : ndarray of int, shape (n,)
        Number of positive outputs of each image.
    label : str
        Text for those who do not see it.
    inputs : int, optional
        Number of inputs of the layer; drawn as a line where it falls into the range.
    """
    first, span = int(positive.min()), int(positive.max()) - int(positive.min()) + 1
    per = math.ceil(span / BARS)  # numbers of positive outputs that share a bar
    bars = math.ceil(span / per)
    present = [k for k in KINDS if np.any(kinds == k)]
    counts = {k: np.bincount((positive[kinds == k] - first) // per, minlength=bars) for k in present}
    step, highest = (WIDTH - 2 * LEFT) / bars, max(int(c.max()) for c in counts.values())
    bottom = TOP + LANE * len(counts)
    marks = [_both(counts, step, bottom)]
    for row, (kind, values) in enumerate(counts.items()):
        base = TOP + LANE * (row + 1) - 4
        for i in np.flatnonzero(values).tolist():
            height = max((LANE - 18) * values[i] / highest, 2.0)
            marks.append(kind_mark(kind, LEFT + i * step, base - height, max(step - 1, 0.5), height))
        marks.append(tag("path", d=f"M{LEFT} {base}H{WIDTH - LEFT}", class_="axis"))
        marks.append(text(LEFT, base - LANE + 14, f"{kind}: {int(values.sum()):,}", "t strong halo"))
    marks += _whole_ticks(first, span, step / per, bottom)
    if inputs is not None and first <= inputs < first + span:
        x = LEFT + (inputs - first + 0.5) * step / per
        side = "end" if x > WIDTH / 2 else "start"
        marks.append(tag("path", d=f"M{x:.1f} {TOP - 8}V{bottom - 4}", class_="mark dashed"))
        marks.append(text(x + (-4 if side == "end" else 4), TOP - 2, f"{inputs:,} inputs", "t small halo", side))
    return figure(marks, label, WIDTH, bottom + 32)


def _both(counts: Mapping[str, np.ndarray], step: float, bottom: float) -> Markup:
    """Shade the numbers of positive outputs at which more than one kind is seen."""
    seen = np.flatnonzero(np.sum([c > 0 for c in counts.values()], axis=0) > 1)
    if not len(seen):
        return Markup("")
    x, width = LEFT + int(seen[0]) * step, (int(seen[-1]) - int(seen[0]) + 1) * step
    return tag("rect", x=x, y=TOP - 8, width=width, height=bottom - TOP + 4, class_="strip")


def _whole_ticks(first: int, span: int, step: float, bottom: float) -> list[Markup]:
    """Label a few whole numbers under the lanes."""
    gap = next(g for e in range(10) for g in (10**e, 2 * 10**e, 5 * 10**e) if g * 6 >= span)
    ticks = [v for v in range(first, first + span) if v % gap == 0] or [first]
    marks = [text(LEFT + (v - first + 0.5) * step, bottom + 10, f"{v:,}", "t small", "middle") for v in ticks]
    return [*marks, text(WIDTH / 2, bottom + 26, "positive outputs of the layer", "t small", "middle")]


def log_range(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest exponent of the positive finite values, a little apart."""
    good = values[np.isfinite(values) & (values > 0)]
    if not len(good):
        return -1.0, 1.0
    low, high = math.log10(good.min()), math.log10(good.max())
    return (low - 0.05, high + 0.05) if high - low > 0.5 else (low - 0.5, high + 0.5)


def spread(values: np.ndarray, limits: tuple[float, float], label: str) -> Markup:
    """Return the distribution of positive numbers on a logarithmic axis, with median and middle 80 %.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Zeros count into the first bar; infinite values are left out.
    limits : tuple of float
        Exponents of the ends of the axis: the same for charts that are compared.
    label : str
        Text for those who do not see it.
    """
    base, left, bins = 84, 8, 40
    low, high = limits
    scale = (WIDTH - 2 * left) / (high - low)
    finite = values[np.isfinite(values)]
    logs = np.clip(np.log10(np.maximum(finite, 10.0**low)), low, high)
    counts, _ = np.histogram(logs, bins, (low, high))
    step, highest = (WIDTH - 2 * left) / bins, max(int(counts.max()), 1)
    marks = [
        tag("rect", x=left + i * step, y=base - 54 * c / highest, width=step - 1, height=54 * c / highest, class_="bar")
        for i, c in enumerate(counts.tolist()) if c
    ]  # fmt: skip
    marks += [tag("path", d=f"M{left} {base}H{WIDTH - left}", class_="axis"), *_log_ticks(limits, left, scale, base)]
    if len(finite):
        cuts = np.clip(np.quantile(logs, [0.1, 0.5, 0.9]), low, high)
        a, m, b = (left + (float(c) - low) * scale for c in cuts)
        side = "end" if m > WIDTH / 2 else "start"
        marks += [
            tag("path", d=f"M{a:.1f} {base + 5}H{b:.1f}", class_="band"),
            tag("path", d=f"M{m:.1f} {base - 68}V{base + 8}", class_="mark"),
            text(m + (-5 if side == "end" else 5), base - 60, f"median {number(float(np.median(finite)))}",
                 "t strong halo", side),
        ]  # fmt: skip
    return figure(marks, label, WIDTH, base + 28)


def _log_ticks(limits: tuple[float, float], left: float, scale: float, base: float) -> list[Markup]:
    """Label powers of ten; where fewer than two fall into the range, also 2 and 5 times these."""
    exponents = range(math.floor(limits[0]), math.ceil(limits[1]) + 1)
    ticks = [10.0**e for e in exponents]
    if limits[1] - limits[0] < 2:
        ticks = [f * 10.0**e for e in exponents for f in (1, 2, 5)]
    elif len(ticks) > 7:
        ticks = ticks[:: math.ceil(len(ticks) / 6)]
    marks = []
    for value in ticks:
        x = left + (math.log10(value) - limits[0]) * scale
        if left + 6 <= x <= WIDTH - left - 6:
            marks.append(tag("path", d=f"M{x:.1f} {base}V{base + 3}", class_="axis"))
            marks.append(text(x, base + 22, number(value), "t small", "middle"))
    return marks


def spark(values: np.ndarray, label: str, width: int = 118, height: int = 34) -> Markup:
    """Return a very small histogram on a logarithmic axis, the smallest value marked."""
    low, high = log_range(values)
    finite = values[np.isfinite(values)]
    logs = np.log10(np.maximum(finite, 10.0**low))
    counts, _ = np.histogram(logs, 14, (low, high))
    step, highest = width / 14, max(int(counts.max()), 1)
    marks = [
        tag("rect", x=i * step, y=height - h, width=step - 1.5, height=h, class_="bar")
        for i, h in ((i, height * c / highest) for i, c in enumerate(counts.tolist()) if c)
    ]
    if len(finite):
        x = (float(logs.min()) - low) / (high - low) * width
        marks.append(tag("path", d=f"M{x:.1f} 0V{height}", class_="mark"))
    return figure(marks, label, width, height)
