"""Figure 3: fooling maps of noise in a 7 x 7 window that slides over the images of each digit."""

from __future__ import annotations

from typing import Any

import numpy as np

from plica.analyses.moments.uses import fooling_map
from plica.core.result import Standing
from plica.experiments.bibi2018.nets import REGIMES, lenet
from plica.experiments.figure import Claim, Made, Panel, Setting

STRONG = 400.0**2  # of a standard deviation above the range of pixels, 255
CENTRE = 3  # of a window of 7


def maps(setting: Setting) -> Made:
    """Maps of the mean's class at the paper's variance and at a strong one; Monte Carlo beside them."""
    made = lenet(setting)
    net, images, labels = made.net, made.images, made.labels
    each, few, draws, stride = (500, 10, 200, 1) if setting.full else (10, 2, 60, 3)
    X, classes = _of_each(images, labels, each)
    options: dict[str, Any] = {"stride": stride, "progress": setting.progress}
    weak = fooling_map(net, X, REGIMES["high"], layer=net.choices[-1], **options)
    strong = fooling_map(net, X, STRONG, layer=net.choices[-1], **options)
    fewer, few_classes = _of_each(images, labels, few)
    sampled = fooling_map(net, fewer, STRONG, method="monte_carlo", samples=draws, **options)
    same = fooling_map(net, fewer, STRONG, layer=net.choices[-1], **options)
    agree = float(((sampled.fooled > 0.5) == (same.fooled > 0.5)).mean())
    by_class, drawn = strong.by_class(classes), sampled.by_class(few_classes)
    peaks = {k: float(m.max()) for k, m in drawn.items()}
    inner, outer = _inside(sampled.rate)
    claims = [
        Claim("noise of the high regime (variance 200) in a window fools", "yes (maps without a scale)",
              f"rate of the means over all windows {weak.rate.mean():.2%}, at most {weak.rate.max():.2%}",
              bool(weak.rate.max() > 0.01), f"{made.source} Standard deviation 14 of 255, in 49 pixels."),
        Claim(f"variance {STRONG:.0f}: rate of the means", "-",
              f"{strong.rate.mean():.2%}, at most {strong.rate.max():.1%}; by Monte Carlo {sampled.rate.mean():.1%} of "
              f"draws, at most {sampled.rate.max():.1%}", None, "Standard deviation 400: the least that shows a map."),
        Claim("the rate depends on the place: highest on and beside strokes", "yes (drawn)",
              f"draws fooled inside {inner:.1%}, at the border {outer:.1%}", bool(inner > outer), ""),
        Claim("and on the digit", "yes (drawn)", ", ".join(f"{k}: {v:.0%}" for k, v in peaks.items()),
              bool(np.ptp(list(peaks.values())) > 0.05), "Highest share of draws fooled, over the places."),
        Claim("the analytic mean against the majority of draws", "-",
              f"the same verdict at {agree:.1%} of {sampled.fooled.size} windows", None,
              f"{len(fewer)} images, {draws} draws a window. Choices that are frozen switch under such noise."),
    ]  # fmt: skip
    panels = [
        _panel("means", X, classes, by_class, stride),
        _panel("draws", fewer, few_classes, drawn, stride),
        Panel("heat", f"all digits, draws, variance {STRONG:.0f}", {"sampled": sampled.rate}, "column", "row"),
    ]
    return claims, panels, Standing.ESTIMATE


def _of_each(images: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` images of each digit, and their digits."""
    chosen = np.concatenate([np.flatnonzero(labels == k)[:count] for k in range(10)])
    return images[chosen], labels[chosen]


def _panel(title: str, X: np.ndarray, classes: np.ndarray, maps: dict[int, np.ndarray], stride: int) -> Panel:
    """One image of each digit under its map."""
    top = max(float(m.max()) for m in maps.values())
    drawn = {str(k): _coloured(*_over(X[classes == k][0], m, stride), top) for k, m in maps.items()}
    return Panel("images", f"{title}: blue 0, red {top:.0%}", drawn)


def _inside(rate: np.ndarray) -> tuple[float, float]:
    """Mean rate of windows inside, and at the border of, the places."""
    edge = max(1, round(len(rate) / 7))
    inner = rate[edge:-edge, edge:-edge]
    rest = (rate.sum() - inner.sum()) / (rate.size - inner.size)
    return float(inner.mean()), float(rest)


def _over(image: np.ndarray, rate: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Image in [0, 1], and the rate at the centres of the windows, 0 where no window is centred."""
    ink = (image[0] + 127.5) / 255
    full = np.zeros_like(ink)
    wide = np.kron(rate, np.ones((stride, stride)))
    start = CENTRE - (stride - 1) // 2
    rows, columns = (min(s, len(ink) - start) for s in wide.shape)
    full[start : start + rows, start : start + columns] = wide[:rows, :columns]
    return ink, full


def _coloured(ink: np.ndarray, rate: np.ndarray, top: float) -> np.ndarray:
    """Half ink, half a scale from blue over white to red, shape (rows, columns, 3)."""
    t = np.clip(rate / max(top, 1e-9), 0, 1)[..., None]
    blue, white, red = (np.array(c) for c in ((0.2, 0.3, 0.8), (0.95, 0.95, 0.95), (0.85, 0.1, 0.1)))
    heat = np.where(t < 0.5, blue + 2 * t * (white - blue), white + (2 * t - 1) * (red - white))
    return 0.55 * heat + 0.45 * ink[..., None]
