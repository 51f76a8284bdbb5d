"""What layers forget: kinds of the preimages of every layer, and impostors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from markupsafe import Markup

from plica.analyses.preimage.result import ImpostorResult, KindResult
from plica.core.result import Completeness, Result, Standing, weakest
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.finding import Finding
from plica.show.pictures import data_uri, to_pixels
from plica.show.sections.view import Section, View, csv_uri
from plica.show.words import listed, number, part_of, percent, plural, slug

LOOKS_LIKE = 0.5  # share of the way to an image from which an impostor is said to look like it
INFINITE = ("unbounded", "compact")
MEANING = {
    "unbounded": "a direction leads to infinity unseen",
    "compact": "a bounded set of infinitely many",
    "finite": "several single points",
    "singleton": "one point, nothing lost",
    "empty": "no input at all",
    "undecided": "not decided in this run",
}
LINK = ("what-layers-forget", "What layers forget")
ABOUT = ("about-this-run", "About this run")


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
        "pairs": [_pair(p, part) for p in part.impostors if way(p) > 0],
        "still": _still([p for p in part.impostors if way(p) <= 0]),
        "csv": csv_uri(header, rows) if rows else None,
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


def _still(pairs: list[ImpostorResult]) -> list[str]:
    """A sentence for each layer where images came no nearer to others, and why."""
    lines = []
    for layer in dict.fromkeys(p.layer for p in pairs):
        here = [p for p in pairs if p.layer == layer]
        why = "; ".join(dict.fromkeys(p.reason[:1].lower() + p.reason[1:].rstrip(".") for p in here))
        lines.append(f"At {layer}, {plural(len(here), 'image')} came no nearer to another at all: {why}.")
    return lines


def best_pair(data: ReportData) -> dict[str, Any] | None:
    """Return the impostor of the first screen: the one that moves most of the way and keeps the answer."""
    found = [
        (pair, part)
        for part in data.models
        for pair in part.impostors
        if part.image_shape is not None and way(pair) > 0
    ]
    best = max(found, key=lambda f: (is_fooled(f[0]), way(f[0])), default=None)
    return _pair(*best) if best else None


# --- findings -------------------------------------------------------------------------------------------------------


def worst_layer(data: ReportData) -> tuple[ModelPart, KindResult, float] | None:
    """The layer that the report speaks of first, with its share of images that share their output with others."""
    found = max(kind_candidates(data), key=lambda c: c[3], default=None)
    return None if found is None else found[:3]


def kind_candidates(data: ReportData) -> Iterator[tuple[ModelPart, KindResult, float, float]]:
    """Yield every layer with its share of images that share their output with infinitely many inputs, and its rank."""
    for part in data.models:
        for result in part.kinds:
            if len(result.kinds):
                shares = result.shares()
                share = sum(shares.get(kind, 0.0) for kind in INFINITE)
                # What the image itself loses says more than what some inner value loses; by choice more than by force.
                yield part, result, share, share * (1 + 1.5 * (result.source == ("input",)) + (not is_forced(result)))


def is_forced(result: KindResult) -> bool:
    """Whether a layer has fewer units than inputs, so that no weights could keep everything."""
    return result.shape[0] < result.shape[1]


def infinite_standing(result: KindResult) -> Standing:
    """Weakest standing of the images whose output is shared by infinitely many inputs."""
    return weakest(result.standings[np.isin(result.kinds, INFINITE)].tolist())


def kind_sentence(part_name: str, result: KindResult, share: float) -> str:
    """Say what a layer cannot distinguish, as strongly as its standing allows."""
    images = part_of(share, len(result.kinds), "image")
    if share == 0:
        return f"Layer {result.layer} of {part_name} was not found to lose anything at {len(result.kinds):,} images."
    proof = "" if infinite_standing(result).is_proof else "In floating point, without proof: layer"
    start = proof or "Layer"
    if result.source == ("input",) and not proof:
        name = f"{start} {result.layer} of {part_name}"
        return f"{name} cannot tell {images} from infinitely many others."
    return f"{start} {result.layer} of {part_name} gives infinitely many of its inputs the same output, at {images}."


def _kinds(data: ReportData) -> Iterator[Finding]:
    for part, result, share, rank in kind_candidates(data):
        shares = result.shares()
        parts = "; ".join(f"{k} {percent(shares[k])}: {MEANING[k]}" for k in charts.KINDS if k in shares)
        units, inputs = result.shape
        forced = (
            f" It has {units:,} units for {inputs:,} inputs, so no weights could keep all." if is_forced(result) else ""
        )
        infinite = share > 0
        yield Finding(
            percent(share), f"of {plural(len(result.kinds), 'image')}, layer {result.layer}",
            kind_sentence(part.name, result, share), f"{parts[:1].upper()}{parts[1:]}.{forced}",
            charts.shares_bar(shares, f"{part.name}, layer {result.layer}", height=14, words=False),
            infinite_standing(result) if infinite else Standing(result.standing), Completeness(result.completeness),
            *LINK, 2 + rank if infinite else 0.5,
        )  # fmt: skip


def _undecided(data: ReportData) -> Iterator[Finding]:
    for part in data.models:
        for result in part.kinds:
            share = result.shares().get("undecided", 0.0) if len(result.kinds) else 0.0
            if share > 0:
                yield Finding(
                    percent(share), f"undecided, layer {result.layer}",
                    f"Layer {result.layer} of {part.name} is undecided at {percent(share)} of "
                    f"{plural(len(result.kinds), 'image')}.",
                    "Nothing is claimed about these images; the arithmetic of each refusal is listed.",
                    charts.shares_bar(result.shares(), f"{part.name}, layer {result.layer}", height=14, words=False),
                    weakest(result.standings[result.kinds == "undecided"].tolist()),
                    Completeness(result.completeness), *ABOUT, 0.4 + share,
                )  # fmt: skip


def is_fooled(pair: ImpostorResult) -> bool:
    """Whether an impostor of another class's image is still answered as the first image."""
    return pair.class_x != pair.class_towards and pair.class_impostor == pair.class_x


def way(pair: ImpostorResult) -> float:
    """Share of the distance between the two images that the impostor has covered."""
    return 1 - pair.distance / pair.distance_start if pair.distance_start > 0 else 0.0


def is_near(pair: ImpostorResult) -> bool:
    """Whether an impostor may be said to look like the other image."""
    return way(pair) >= LOOKS_LIKE


def _impostors(data: ReportData) -> Iterator[Finding]:
    for part in data.models:
        pairs = [p for p in part.impostors if way(p) > 0]
        if not pairs:
            continue
        far = max(pairs, key=way)
        kept, flips = sum(is_fooled(p) and is_near(p) for p in pairs), sum(p.class_impostor != p.class_x for p in pairs)
        worst, share = max(p.feature_difference for p in pairs), percent(way(far))
        yield Finding(
            share, "of the way to another image, same features",
            f"{plural(len(pairs), 'impostor')} found in {part.name}: one moves {share} of the way to an image of class "
            f"{far.class_towards}; its features at {far.layer} differ by at most {number(far.feature_difference)}.",
            f"{kept} of {len(pairs)} come more than half of the way and keep the first answer, {flips} change it. "
            f"Largest difference over all: {number(worst)} in float64.",
            _thumbnails(far, part), standing_of(tuple(pairs)), completeness_of(tuple(pairs)), *LINK, 2.2 + way(far),
        )  # fmt: skip


def _thumbnails(pair: ImpostorResult, part: ModelPart) -> Markup:
    """Two small pictures: the image and its impostor."""
    if part.image_shape is None:
        return Markup("")
    uris = [data_uri(p) for p in to_pixels([pair.x, pair.impostor], part.image_shape)]
    words = (f"Image of class {pair.class_x}", f"Its impostor, near an image of class {pair.class_towards}")
    return Markup("").join(
        Markup('<img class="pixel" src="{}" alt="{}" width="52" height="52">').format(uri, alt)
        for uri, alt in zip(uris, words, strict=True)
    )


SECTION = Section(*LINK, "forget.html.j2", forget_view, (_kinds, _impostors, _undecided))
