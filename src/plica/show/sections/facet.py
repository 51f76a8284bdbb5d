"""Nearest facet: how far the affine map of an input reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from plica.analyses.preimage.result import FacetResult
from plica.core.result import Completeness, Standing
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.finding import Finding
from plica.show.sections.view import Section, View, csv_uri
from plica.show.words import listed, number, part_of, percent, plural, short, slug

LINK = ("nearest-facet", "Nearest facet")


def facet_view(data: ReportData) -> View | None:
    """Distances to the nearest facet, per layer."""
    parts = [(part, part.facets) for part in data.models if part.facets is not None]
    if not parts:
        return None
    results = tuple(r for _, r in parts)
    medians = [
        f"within {number(float(np.median(r.distances.min(axis=1))))} of a facet of {p.name}"
        for p, r in parts
        if r.distances.size
    ]
    return View(
        f"Half of the images are {listed(medians)}." if medians else "No image was finished.",
        "Around each image the network is one affine map, up to the first facet: the hyperplane at which one choice "
        "(a ReLU that switches, another winner of a max-pooling) changes. A gradient taken at the image holds up to "
        "there and no further. Distances are Euclidean, in the units of the network's input; 0 is a tie, such as two "
        "equal values in a pooling window.",
        standing_of(results),
        completeness_of(results),
        "plica.nearest_facet(net, images)",
        {"models": [_facet_model(part, r) for part, r in parts if r.distances.size]},
    )


def _facet_model(part: ModelPart, result: FacetResult) -> dict[str, Any]:
    """Return the small multiples of one model; the first is over all layers."""
    columns = [("all layers", result.distances.min(axis=1))] if len(result.layers) > 1 else []
    columns += [(name, result.distances[:, i]) for i, name in enumerate(result.layers)]
    limits = charts.log_range(result.distances)
    cells, rows = [], []
    for name, values in columns:
        finite = values[np.isfinite(values)]
        low, median, high = np.quantile(finite, [0.1, 0.5, 0.9]).tolist() if len(finite) else [float("inf")] * 3
        words = f"median {number(median)}, middle 80 % from {number(low)} to {number(high)}"
        label = f"{part.name}, {name}: distance to the nearest facet; {words}"
        cells.append(
            {
                "name": name,
                "svg": charts.spread(values, limits, label),
                "words": f"middle 80 % from {number(low)} to {number(high)}" if len(finite) else "",
                "infinite": int(len(values) - len(finite)),
            }
        )
        rows.append([name, len(values), *(repr(v) for v in (low, median, high)), len(values) - len(finite)])
    header = ["layer", "images", "10 %", "median", "90 %", "infinite"]
    return {
        "name": part.name,
        "slug": slug(part.name),
        "cells": cells,
        "images": len(result.distances),
        "csv": csv_uri(header, rows),
        "csv_name": f"{slug(part.name)}-facets.csv",
    }


def _facets(data: ReportData) -> Iterator[Finding]:
    for part in data.models:
        result = part.facets
        if result is None or not result.distances.size:
            continue
        nearest = result.distances.min(axis=1)
        if not np.isfinite(nearest).any():
            continue
        image = int(nearest.argmin())
        layer = result.layers[int(result.distances[image].argmin())]
        smallest, median = short(float(nearest.min())), short(float(np.median(nearest)))
        tied = nearest == 0
        if tied.any():
            figure, below = percent(float(tied.mean())), f"on a facet, layer {layer}"
            images = part_of(float(tied.mean()), len(nearest), "image")
            sentence = f"At {images} two choices in {part.name} are tied, in layer {layer}."
            meaning = "The image lies on a facet: every small change decides which affine map holds."
        else:
            figure, below = smallest, "smallest distance, L2"
            sentence = f"A choice in {part.name} changes within {smallest} of image {image}, in layer {layer}."
            meaning = (
                f"Half of {plural(len(nearest), 'image')} are within {median} of a facet: inside it the network is one "
                "affine map, beyond it another."
            )
        yield Finding(
            figure, below, sentence, meaning,
            charts.spark(nearest, f"Distances of {len(nearest)} images: smallest {smallest}, median {median}"),
            Standing(result.standing), Completeness(result.completeness), *LINK, 1.5 - min(float(nearest.min()), 0.4),
        )  # fmt: skip


SECTION = Section(*LINK, "facet.html.j2", facet_view, (_facets,))
