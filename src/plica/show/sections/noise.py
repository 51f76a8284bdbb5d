"""Noise: how outputs and class go with the level of Gaussian noise, and where on an image noise changes the class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from plica.analyses.moments.uses.results import FoolingMapResult, NoiseCurveResult
from plica.core.result import Completeness, Result, Standing
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.finding import Finding
from plica.show.levels import over_levels
from plica.show.pictures import data_uri, to_pixels
from plica.show.sections.view import Section, View, csv_uri
from plica.show.words import listed, number, percent, plural, short, slug

LINK = ("noise", "Noise")


def noise_view(data: ReportData) -> View | None:
    """Curves over levels of noise, and a fooling map."""
    parts = [part for part in data.models if part.of(NoiseCurveResult)]
    if not parts:
        return None
    results: tuple[Result, ...] = tuple(r for p in parts for r in (*p.of(NoiseCurveResult), *p.of(FoolingMapResult)))
    return View(
        " ".join(_sentence(part) for part in parts),
        "Gaussian noise, independent from pixel to pixel, is added to an image. The outputs then have means and "
        "standard deviations, and each class a probability. Noise is measured by its standard deviation, in the units "
        "of the network's input.",
        standing_of(results),
        completeness_of(results),
        "plica.moments(net, image, sigma**2)\nplica.class_probabilities(net, image, sigma**2)\n"
        "plica.fooling_map(net, images, sigma**2)",
        {"models": [_model(part) for part in parts]},
    )


def _sentence(part: ModelPart) -> str:
    found = part.of(NoiseCurveResult)
    tipping = np.array([r.tipping for r in found])
    tipped = int(np.isfinite(tipping).sum())
    top = number(max(float(r.levels[-1]) for r in found))
    if not tipped:
        return f"No noise up to {top} takes {plural(len(found), 'image')} from {part.name} in half of the draws."
    return (
        f"{part.name} loses {tipped} of {plural(len(found), 'image')} in half of the draws or more at noise of "
        f"{number(float(tipping.min()))} or more."
    )


def _model(part: ModelPart) -> dict[str, Any]:
    found = part.of(NoiseCurveResult)
    maps = part.of(FoolingMapResult)
    header = ["image", "class", "level", "probability", "low", "high", "mean", "spread", "mean by formula",
              "spread by formula"]  # fmt: skip
    rows = [
        [i, r.clean, *(repr(float(v)) for v in (s, r.probabilities[k, r.clean], *r.intervals[k, r.clean],
                                                r.mean[k, r.clean], r.spread[k, r.clean], r.formula_mean[k, r.clean],
                                                r.formula_spread[k, r.clean]))]
        for i, r in enumerate(found) for k, s in enumerate(r.levels)
    ]  # fmt: skip
    return {
        "name": part.name,
        "slug": slug(part.name),
        "samples": found[0].samples,
        "method": next((r.method for r in found if r.method), ""),
        "cards": [_card(part, i, r) for i, r in enumerate(found)],
        "map": _map(part, maps[0], found[0]) if maps and len(maps[0].fooled) and part.image_shape else None,
        "csv": csv_uri(header, rows),
        "csv_name": f"{slug(part.name)}-noise.csv",
    }


def _rival(found: NoiseCurveResult) -> int:
    """The output that gets largest most often beside the class."""
    others = found.probabilities[-1].copy()
    others[found.clean] = -1.0
    return int(others.argmax())


def _card(part: ModelPart, number_: int, found: NoiseCurveResult) -> dict[str, Any]:
    """Charts of one image: logits with spreads, and probabilities with intervals."""
    k, other = found.clean, _rival(found)
    logits = {f"class {j}": _band(found.mean[:, j], found.spread[:, j]) for j in (k, other)}
    formula = {f"class {j}": _band(found.formula_mean[:, j], found.formula_spread[:, j]) for j in (k, other)}
    together = np.concatenate([*logits.values(), *formula.values()]).ravel()
    finite = together[np.isfinite(together)]
    limits = (float(finite.min()), float(finite.max()))
    shares = {f"class {j}": np.stack([found.probabilities[:, j], *found.intervals[:, j].T]) for j in (k, other)}
    said = listed([f"{percent(float(p))} at {number(float(s))}" for s, p in
                   zip(found.levels[[0, -1]], found.probabilities[[0, -1], k], strict=True)])  # fmt: skip
    label = f"{part.name}, image {number_}"
    cells = [
        ("Probability of the class", over_levels(found.levels, shares, (0.0, 1.0), f"{label}: class {k} in {said}")),
        (
            "Logits, by draws",
            over_levels(found.levels, logits, limits, f"{label}: logits of classes {k}, {other} by draws"),
        ),
    ]
    if np.isfinite(found.formula_mean).any():
        drawn = over_levels(found.levels, formula, limits, f"{label}: logits of classes {k} and {other} by the formula")
        cells.append(("Logits, by formula", drawn))
    return {"number": number_, "clean": k, "other": other, "cells": cells}


def _band(middle: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.stack([middle, middle - spread, middle + spread])


def _map(part: ModelPart, found: FoolingMapResult, curve: NoiseCurveResult) -> dict[str, Any]:
    """The image, and the share of draws fooled by noise in a window centred at each pixel."""
    assert part.image_shape is not None
    rate = found.rate
    picture = to_pixels([curve.x], part.image_shape)[0]
    heat = np.rint(255 * rate / (rate.max() or 1.0)).astype(np.uint8)
    row, column = (int(i) for i in np.unravel_index(rate.argmax(), rate.shape))
    return {
        "image": data_uri(picture),
        "heat": data_uri(heat),
        "most": percent(float(rate.max())),
        "mean": percent(float(rate.mean())),
        "window": found.window,
        "sigma": number(math.sqrt(found.variance)),
        "row": row * found.stride + found.window // 2,
        "column": column * found.stride + found.window // 2,
        "samples": found.samples,
    }


def _tips(data: ReportData) -> Iterator[Finding]:
    """The least noise that takes a class in half of the draws."""
    for part in data.models:
        found = part.of(NoiseCurveResult)
        tipping = [r.tipping for r in found]
        if not tipping or not math.isfinite(min(tipping)):
            continue
        image = int(np.argmin(tipping))
        curve, level = found[image], short(min(tipping))
        yield Finding(
            level, "noise, standard deviation",
            f"Noise of {level} takes the class of image {image} from {part.name} in half of the draws or more.",
            f"{plural(curve.samples, 'draw')} a level; the level is the first of those tried.",
            charts.spark(np.array(tipping)[np.isfinite(tipping)], "Levels at which classes are lost"),
            Standing(curve.standing), Completeness(curve.completeness), *LINK, 1.0,
        )  # fmt: skip


SECTION = Section(*LINK, "noise.html.j2", noise_view, (_tips,))
