"""Linear regions: the pieces of the network on a plane through three images, as a map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from markupsafe import Markup

from plica.analyses.regions.result import RegionsResult
from plica.core.result import Completeness, Standing
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.finding import Finding
from plica.show.regionmap import picture_of, still
from plica.show.regionpack import payload
from plica.show.sections.view import Section, View, csv_uri
from plica.show.words import listed, number, percent, plural, slug

LINK = ("regions", "Linear regions")
NAMES = "ABC"


def regions_view(data: ReportData) -> View | None:
    """The map of every model."""
    parts = [(part, r) for part in data.models for r in part.of(RegionsResult) if r.count]
    if not parts:
        return None
    results = tuple(r for _, r in parts)
    counts = [f"{_least(r)}{r.count:,} pieces in {p.name}" for p, r in parts]
    return View(
        f"On a plane through three images there are {listed(counts)}.",
        "Inside each piece the network is one affine map, the same at every point: its answer, its gradient and what "
        "it can tell apart are those of that map. Borders between pieces are where a unit switches. Every border is "
        "where it is drawn up to a proven error, and none is missing where the badge says complete.",
        standing_of(results),
        completeness_of(results),
        "plane = plica.Plane.through(images[[a, b, c]].reshape(3, -1), margin=0.25)\n"
        "plica.regions(net, plane, maps=True)",
        {"models": [_model(part, r) for part, r in parts]},
    )


def _least(result: RegionsResult) -> str:
    return "" if result.completeness == Completeness.COMPLETE else "at least "


def _model(part: ModelPart, result: RegionsResult) -> dict[str, Any]:
    """The map and the sizes of one model."""
    places = np.asarray(result.header.get("places", np.zeros((0, 2))))
    points = tuple((NAMES[k], (float(a), float(b))) for k, (a, b) in enumerate(places[:3]))
    images = ", ".join(f"{NAMES[k]}: image {i}" for k, i in enumerate(np.asarray(result.header.get("images", []))[:3]))
    halvings = int(result.header.get("halvings", 0))
    shrunk = (
        f" The window is {2**halvings} times narrower than the images: the whole has too many regions."
        if halvings
        else ""
    )
    view: dict[str, Any] = {"name": part.name, "slug": slug(part.name), "map": None, "images": images, "shrunk": shrunk}
    if result.matrices is not None:
        drawn = picture_of(result, points)
        words = f"{plural(result.count, 'region')} of {part.name} on a plane through three images, by class"
        view |= {"map": payload(drawn), "still": still(drawn), "alt": words}
    quantiles = [number(v) for v in (result.size_quantiles((0.1, 0.5, 0.9)) / result.size).tolist()]
    layers = [[name, n] for name, n in zip(result.layers, result.per_layer, strict=True)]
    view |= {
        "count": f"{_least(result)}{result.count:,}",
        "linear": None if result.linear_count is None else f"{result.linear_count:,}",
        "median": quantiles[1],
        "range": f"{quantiles[0]} to {quantiles[2]}",
        "layers": ", ".join(f"{name}: {n:,}" for name, n in layers),
        "csv": csv_uri(["up to layer", "regions"], layers),
        "csv_name": f"{slug(part.name)}-regions.csv",
    }
    return view


def _finding(data: ReportData) -> Iterator[Finding]:
    for part in data.models:
        for result in part.of(RegionsResult):
            if not result.count or not np.isfinite(result.size):
                continue
            share = result.sizes / result.size
            half = int(np.searchsorted(np.cumsum(np.sort(share)[::-1]), 0.5)) + 1
            yield Finding(
                f"{_least(result)}{result.count:,}", "pieces on a plane",
                f"Between three images {part.name} is {_least(result)}{result.count:,} different affine maps.",
                f"Half of the plane is in the {plural(half, 'largest piece')}; the median piece has "
                f"{percent(float(np.median(share)))} of it.",
                Markup(charts.spark(share, f"Sizes of {result.count} pieces, as shares of the plane")),
                Standing(result.standing), Completeness(result.completeness), *LINK, 0.3,
            )  # fmt: skip


SECTION = Section(*LINK, "regions.html.j2", regions_view, (_finding,))
