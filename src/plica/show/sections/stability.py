"""Stability: how much the map amplifies, what it hardly sees, and how far its output can move."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from plica.analyses.lipschitz.result import LipschitzResult, outward
from plica.analyses.spectrum.result import SpectrumResult
from plica.core.result import Completeness, Result, Standing
from plica.show import charts
from plica.show.curves import curves
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.finding import Finding
from plica.show.pictures import data_uri, to_pixels
from plica.show.sections.view import Section, View, csv_uri
from plica.show.words import listed, number, plural, slug

LINK = ("stability", "Stability")
PICTURES = 3  # values whose directions are shown: the first, a middle and the last


def stability_view(data: ReportData) -> View | None:
    """Spectra per layer, bounds of Lipschitz constants, directions as pictures."""
    parts = [part for part in data.models if _spectrum(part) or _bounds(part)]
    if not parts:
        return None
    results: tuple[Result, ...] = tuple(r for part in parts for r in (_spectrum(part), _bounds(part)) if r is not None)
    sentences = [s for part in parts if (s := _sentence(part))]
    return View(
        " ".join(sentences) or "Nothing was finished.",
        "Around an image the network is one affine map. The singular values of its matrix say how much directions are "
        "amplified: along a large one the output is sensitive; along a small one large changes hardly show, so the "
        "inverse is unstable; a zero one is not seen at all. A Lipschitz constant holds everywhere: no two inputs get "
        "apart by a larger factor.",
        standing_of(results),
        completeness_of(results),
        "plica.spectrum(net, images, vectors=1)\nplica.lipschitz(net)",
        {"models": [_model(part) for part in parts]},
    )


def _spectrum(part: ModelPart) -> SpectrumResult | None:
    return next((r for r in part.of(SpectrumResult) if len(r)), None)


def _bounds(part: ModelPart) -> LipschitzResult | None:
    return next(iter(part.of(LipschitzResult)), None)


def _high(value: float, digits: int = 3) -> str:
    """An upper bound, rounded up."""
    return number(outward(value, digits, up=True))


def _low(value: float, digits: int = 3) -> str:
    """A lower bound, rounded down."""
    return number(outward(value, digits, up=False))


def _sentence(part: ModelPart) -> str:
    """What is proven about the whole network, else what its last spectrum says."""
    bounds, spectrum = _bounds(part), _spectrum(part)
    if bounds is not None and math.isfinite(bounds.upper):
        at_least = f", and at least {_low(bounds.lower)} somewhere" if bounds.lower > 0 else ""
        return f"{part.name} moves its output by at most {_high(bounds.upper)} times the change of the input{at_least}."
    if spectrum is None:
        return ""
    largest = number(float(np.median(spectrum.largest[:, -1])))
    return f"{part.name} has no proven bound; at half of the images it amplifies some direction by {largest} or more."


def _model(part: ModelPart) -> dict[str, Any]:
    spectrum, bounds = _spectrum(part), _bounds(part)
    rows = _rows(spectrum) if spectrum is not None else []
    return {
        "name": part.name,
        "slug": slug(part.name),
        "images": len(spectrum) if spectrum is not None else 0,
        "inputs": spectrum.inputs if spectrum is not None else 0,
        "window": _window(spectrum),
        "spectrum": spectrum,
        "rows": rows,
        "charts": _charts(part.name, spectrum) if spectrum is not None else [],
        "pairs": _directions(part, spectrum) if spectrum is not None else [],
        "bounds": bounds,
        "layers": [_layer(b) for b in bounds.layers] if bounds is not None else [],
        "whole": _whole(bounds) if bounds is not None else [],
        "csv": csv_uri(["layer", "side", *HEADER], [[r["layer"], r["side"], *r["raw"]] for r in rows]),
        "csv_name": f"{slug(part.name)}-spectra.csv",
    }


HEADER = ("units", "rank", "proven", "unseen", "largest", "smallest nonzero", "condition")


def _rows(found: SpectrumResult) -> list[dict[str, Any]]:
    """One row per value, medians over the images."""
    rows = []
    for j, (layer, side) in enumerate(zip(found.layers, found.sides, strict=True)):
        rank, unseen = (float(np.median(a[:, j])) for a in (found.ranks, found.null_dimensions))
        alive = bool((found.ranks[:, j] > 0).any())
        triple = [float(np.nanmedian(a[:, j])) if alive else math.nan for a in
                  (found.largest, found.smallest, found.condition)]  # fmt: skip
        proven = int(found.proven[:, j].sum())
        rows.append({
            "layer": layer, "side": side, "units": int(found.units[j]), "rank": number(rank), "unseen": number(unseen),
            "proven": "proven" if proven == len(found) else f"proven for {proven} of {len(found)}",
            "numbers": [number(v) if math.isfinite(v) else "none" for v in triple],
            "raw": [int(found.units[j]), rank, proven, unseen, *triple],
        })  # fmt: skip
    return rows


def _window(found: SpectrumResult | None) -> str:
    if found is None or found.window is None:
        return ""
    spans = listed([f"{a} to {b - 1}" for a, b in found.window])
    return f"Only inputs in a window vary (places {spans} along the axes)."


def _charts(name: str, found: SpectrumResult) -> list[dict[str, Any]]:
    """One chart per layer: medians before and after its choice."""
    positive = [v[v > 0] for v in (found.curve(j) for j in range(len(found.layers)))]
    together = np.concatenate([*positive, np.ones(0)])
    limits = charts.log_range(together)
    count = max((v.shape[1] for v in found.values), default=1)
    cells = []
    for layer in dict.fromkeys(found.layers):
        sides = [(s, j) for j, (n, s) in enumerate(zip(found.layers, found.sides, strict=True)) if n == layer]
        series = {s: found.curve(j) for s, j in sorted(sides)}  # "post" before "pre": it is drawn through
        label = f"{name}, {layer}: singular values, from largest to smallest; " + listed(
            [
                f"{s} {number(float(v[0]))} down to {number(float(v[v > 0].min()))}"
                for s, v in series.items()
                if v.max(initial=0.0) > 0
            ]
        )
        cells.append({"name": layer, "svg": curves(series, limits, count, label), "both": len(series) > 1})
    return cells


def _directions(part: ModelPart, found: SpectrumResult) -> list[dict[str, Any]]:
    """The first image with its most and least amplified direction, at a few values."""
    if found.directions is None or part.image_shape is None:
        return []
    post = [j for j, s in enumerate(found.sides) if s == "post" and found.ranks[0, j] > 0]
    picked = dict.fromkeys(post[round(i)] for i in np.linspace(0, len(post) - 1, PICTURES)) if post else {}
    cards = []
    for j in picked:
        kept = found.directions[j][0]
        rank = int(found.ranks[0, j])
        values = found.values[j][0]
        least = kept[len(kept) - 1]
        uris = [data_uri(to_pixels([v, -v], part.image_shape)[0]) for v in (kept[0], least)]
        most, unseen = number(float(values[0])), int(found.null_dimensions[0, j])
        cards.append({"layer": found.layers[j], "uris": uris, "most": most, "unseen": unseen,
                      "least": number(float(values[rank - 1]))})  # fmt: skip
    return cards


def _layer(bound: Any) -> dict[str, Any]:
    finite = math.isfinite(bound.upper)
    return {
        "name": bound.name,
        "kind": bound.kind,
        "method": bound.method,
        "lower": _low(bound.lower) if bound.lower > 0 or finite else "none",
        "upper": _high(bound.upper) if finite else "no bound",
    }


def _whole(bounds: LipschitzResult) -> list[tuple[str, str, str]]:
    """The network's bounds: what, the number, how it was found."""
    rows = [("At most", bounds.upper, bounds.upper_method), ("Product of the layers", bounds.product, "")]
    said = [(name, _high(v) if math.isfinite(v) else "no bound", how) for name, v, how in rows]
    if bounds.lower > 0:
        said.insert(1, ("At least", _low(bounds.lower), "norm of the map of a piece"))
    return said


def _amplifies(data: ReportData) -> Iterator[Finding]:
    """How far the output of a network can move."""
    for part in data.models:
        bounds = _bounds(part)
        if bounds is None or not math.isfinite(bounds.upper):
            continue
        low, high = _low(bounds.lower, 2), _high(bounds.upper, 2)
        spectrum = _spectrum(part)
        graphic = charts.spark(
            spectrum.largest[:, -1], f"Largest amplification at {plural(len(spectrum), 'image')}, by image"
        ) if spectrum is not None else charts.Markup("")  # fmt: skip
        yield Finding(
            high, "at most, proven",
            f"No two inputs of {part.name} get apart by more than {high} times."
            + (f" Somewhere they do by {low}." if bounds.lower > 0 else ""),
            "The proven Lipschitz constant of the network. It is a promise of stability where it is small; where it is "
            "large it is no proof of the opposite.",
            graphic, Standing(bounds.standing), Completeness(bounds.completeness), *LINK, 0.8,
        )  # fmt: skip


SECTION = Section(*LINK, "stability.html.j2", stability_view, (_amplifies,))
