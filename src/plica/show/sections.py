"""The sections of the report: one row of `SECTIONS` each, a view of the data and a template that draws it."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plica.analyses.preimage.result import FacetResult, ImpostorResult, Kind, KindResult
from plica.core.result import Completeness, Result, Standing
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.findings import is_fooled, is_forced, is_near, kind_sentence, way, worst_layer
from plica.show.pictures import data_uri, to_pixels
from plica.show.words import listed, number, percent, plural, seconds, slug

MOST_REASONS = 5  # sentences shown per undecided layer


@dataclass(frozen=True)
class View:
    """What a section shows.

    Attributes
    ----------
    answer, lead : str
        The bold first sentence, and what follows it.
    standing, completeness
        Of everything in the section together; no badge where there is no standing.
    call : str
        The Python lines that give the same results.
    body : dict
        What its template draws.
    """

    answer: str
    lead: str
    standing: Standing | None
    completeness: Completeness
    call: str
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One question of the report."""

    slug: str
    title: str
    template: str
    view: Callable[[ReportData], View | None]


# --- what layers forget -----------------------------------------------------------------------------------------


def forget_view(data: ReportData) -> View | None:
    """Kinds of the preimages of every layer, and impostors."""
    results: list[Result] = [r for part in data.models for r in (*part.kinds, *part.impostors)]
    if not results:
        return None
    candidates = [(part, r) for part in data.models for r in part.kinds if len(r.kinds)]
    worst = worst_layer(data)
    answer = kind_sentence(worst[0].name, *worst[1:]) if worst else "No layer was finished."
    kinds: tuple[Result, ...] = tuple(r for r in results if isinstance(r, KindResult)) or tuple(results)
    lines = [f'plica.preimage_kind(net, images, layer="{r.layer}")' for _, r in candidates[:1]]
    pairs = [r for r in results if isinstance(r, ImpostorResult)]
    lines += [f'plica.impostor(net, x, towards, layer="{r.layer}")' for r in pairs[:1]]
    return View(
        answer,
        "Take an image and the output a layer gives for it. All inputs of the layer with exactly this output are its "
        "preimage: what lies in it, the layer cannot tell apart. Each layer is asked by itself, about its own input; "
        "whether the layers before it reach all of these inputs is another question.",
        standing_of(kinds),
        completeness_of(tuple(results)),
        "\n".join(lines),
        {"models": [_forget_model(part) for part in data.models if part.kinds or part.impostors]},
    )


def _forget_model(part: ModelPart) -> dict[str, Any]:
    """Return the table, the charts and the gallery of one model."""
    layers = [_layer_row(part, r) for r in part.kinds]
    order = list(charts.KINDS)
    header = ["layer", "units", "inputs", "images", *order, "standing", "completeness"]
    rows: list[list[Any]] = [
        [r.layer, *r.shape, len(r.kinds), *(int(np.sum(r.kinds == k)) for k in order), r.standing, r.completeness]
        for r in part.kinds
    ]
    return {
        "name": part.name,
        "slug": slug(part.name),
        "layers": layers,
        "charts": [_lanes(part, r) for r in part.kinds if len(set(r.kinds)) > 1 or (len(r.kinds) and not is_forced(r))],
        "pairs": [_pair(p, part) for p in part.impostors],
        "csv": _csv(header, rows) if rows else None,
        "csv_name": f"{slug(part.name)}-kinds.csv",
        "present": [k for k in order if any(np.any(r.kinds == k) for r in part.kinds)],
    }


def _layer_row(part: ModelPart, result: KindResult) -> dict[str, Any]:
    """Return one row of the table of layers."""
    sure = Counter(result.standings.tolist())
    mixed = ", ".join(f"{n:,} {s}" for s, n in sure.most_common()) if len(sure) > 1 else ""
    dimensions = result.dimensions[result.dimensions >= 0]
    return {
        "name": result.layer,
        "source": listed(["the image" if s == "input" else s for s in result.source]),
        "units": result.shape[0],
        "inputs": result.shape[1],
        "forced": is_forced(result),
        "bar": charts.shares_bar(result.shares(), f"{part.name}, layer {result.layer}"),
        "images": len(result.kinds),
        "dimension": number(float(np.median(dimensions))) if len(dimensions) else "",
        "standing": Standing(result.standing),
        "completeness": Completeness(result.completeness),
        "mixed": mixed,
    }


def _lanes(part: ModelPart, result: KindResult) -> dict[str, Any]:
    """Return the chart of kinds over positive outputs of one layer."""
    ranges = "; ".join(
        f"{k} from {result.positive[result.kinds == k].min()} to {result.positive[result.kinds == k].max()}"
        for k in charts.KINDS
        if np.any(result.kinds == k)
    )
    label = f"{part.name}, layer {result.layer}: positive outputs by kind; {ranges}"
    svg = charts.lanes(result.kinds, result.positive, label, inputs=result.shape[1])
    return {"name": result.layer, "svg": svg, "words": ranges}


def _pair(pair: ImpostorResult, part: ModelPart) -> dict[str, Any]:
    """Return one impostor as pictures and numbers."""
    trio = (pair.x, pair.impostor, pair.towards)
    uris = [data_uri(p) for p in to_pixels(trio, part.image_shape)] if part.image_shape is not None else []
    return {
        "layer": pair.layer,
        "model": part.name,
        "uris": uris,
        "x": pair.class_x,
        "towards": pair.class_towards,
        "impostor": pair.class_impostor,
        "fooled": is_fooled(pair),
        "near": is_near(pair),
        "way": percent(max(way(pair), 0.0)),
        "start": number(pair.distance_start),
        "distance": number(pair.distance),
        "difference": number(pair.feature_difference),
        "difference_model": number(pair.feature_difference_model),
        "dtype": pair.model_dtype,
        "scale": number(pair.feature_scale),
        "reason": pair.reason,
        "standing": Standing(pair.standing),
        "completeness": Completeness(pair.completeness),
    }


def best_pair(data: ReportData) -> dict[str, Any] | None:
    """Return the impostor of the first screen: the one that moves most of the way and keeps the answer."""
    found = [(pair, part) for part in data.models for pair in part.impostors if part.image_shape is not None]
    best = max(found, key=lambda f: (is_fooled(f[0]), way(f[0])), default=None)
    return _pair(*best) if best else None


# --- nearest facet ----------------------------------------------------------------------------------------------


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
        "csv": _csv(header, rows),
        "csv_name": f"{slug(part.name)}-facets.csv",
    }


# --- about this run ---------------------------------------------------------------------------------------------


def about_view(data: ReportData) -> View:
    """Facts of the run, notices, and what is missing."""
    facts = data.facts
    results = [(part, r) for part in data.models for r in part.results]
    complete = sum(r.completeness == Completeness.COMPLETE for _, r in results)
    undecided = [u for part in data.models for r in part.kinds for u in _undecided(part, r)]
    open_ = sum(u["count"] for u in undecided)
    answer = (
        f"{complete:,} of {plural(len(results), 'result')} are complete, and {plural(open_, 'preimage')} undecided."
    )
    took = f" The run took {seconds(facts['seconds'])}." if facts.get("seconds") is not None else ""
    return View(
        answer,
        f"What was read, with which versions and options, and what was left open.{took}",
        None,
        completeness_of(tuple(r for _, r in results)),
        facts.get("command") or "plica.report(model, images, out='report')",
        {
            "models": [_about_model(data, part) for part in data.models],
            "tables": [(title, rows) for title, rows in _tables(facts) if rows],
            "notices": _notices(data),
            "undecided": undecided,
            "results": [_result_row(part, r) for part, r in results],
        },
    )


def _about_model(data: ReportData, part: ModelPart) -> dict[str, Any]:
    """Return the facts of one model as pairs of words."""

    def fact(key: str, show: Callable[[Any], str] = str) -> str:
        value = data.fact(part, key)
        return "" if value is None else show(value)

    pairs = (
        ("file", fact("file")), ("architecture", fact("architecture")), ("units", fact("units", number)),
        ("parameters", fact("parameters", number)), ("answered right", fact("accuracy", percent)),
        ("images", fact("images", number)), ("data", fact("data")), ("dtype of the original", fact("dtype")),
        ("import check, share of the largest output", fact("import_difference", number)),
        ("time", ", ".join(f"{k} {seconds(v)}" for k, v in (part.facts.get("timings") or {}).items())),
    )  # fmt: skip
    return {"name": part.name, "pairs": [(k, v) for k, v in pairs if v]}


def _tables(facts: dict[str, Any]) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    """Yield the facts that are dictionaries, and the few others about the run."""
    run = {"seed": facts.get("seed"), "cores": facts.get("cores")}
    yield "Run", [(k, str(v)) for k, v in run.items() if v is not None]
    for key in ("versions", "options", "hashes"):
        pairs = (facts.get(key) or {}).items()
        yield key.capitalize(), [(str(k), v if isinstance(v, str) else json.dumps(v)) for k, v in pairs]
    yield "Timings", [(str(k), seconds(float(v))) for k, v in (facts.get("timings") or {}).items()]


def _notices(data: ReportData) -> list[str]:
    """Every notice once, with its model where it is of one model only."""
    found = [str(n) for n in data.facts.get("notices") or ()]
    for part in data.models:
        found += [f"{part.name}: {n}" for n in part.facts.get("notices") or () if str(n) not in found]
    return list(dict.fromkeys(found))


def _undecided(part: ModelPart, result: KindResult) -> list[dict[str, Any]]:
    """Return the sentences that say why preimages were not decided, with their number."""
    reasons = Counter(r for r, k in zip(result.reasons, result.kinds, strict=False) if str(k) == Kind.UNDECIDED.value)
    shown = [
        {"model": part.name, "layer": result.layer, "count": n, "reason": r}
        for r, n in reasons.most_common(MOST_REASONS)
    ]
    rest = sum(reasons.values()) - sum(n for _, n in reasons.most_common(MOST_REASONS))
    more = f"{len(reasons) - MOST_REASONS} other reasons; all are in the saved result."
    return [*shown, *([{"model": part.name, "layer": result.layer, "count": rest, "reason": more}] if rest else [])]


def _result_row(part: ModelPart, result: Any) -> dict[str, Any]:
    """Return one line about a saved result."""
    names = {KindResult: "kinds of preimages", FacetResult: "nearest facet", ImpostorResult: "impostor"}
    layer = getattr(result, "layer", None) or listed(list(result.layers))
    took = result.header.get("seconds")
    return {
        "model": part.name,
        "what": names.get(type(result), type(result).__name__),
        "layer": layer,
        "seconds": "" if took is None else seconds(float(took)),
        "standing": Standing(result.standing),
        "completeness": Completeness(result.completeness),
    }


def _csv(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as the address of a file inside the page."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return "data:text/csv;base64," + base64.b64encode(out.getvalue().encode()).decode("ascii")


SECTIONS = (
    Section("what-layers-forget", "What layers forget", "forget.html.j2", forget_view),
    Section("nearest-facet", "Nearest facet", "facet.html.j2", facet_view),
    Section("about-this-run", "About this run", "about.html.j2", about_view),
)
