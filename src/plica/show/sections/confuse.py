"""What may be confused: whole preimages in input space, and how near they come to images of other labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from plica.analyses.preimage.mixing_result import DIFFERS, NOT_ASKED, OPEN, SAME, MixingResult
from plica.analyses.preimage.union_result import PreimageResult
from plica.core.result import Completeness, Result, Standing, weakest
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.finding import Finding
from plica.show.pictures import data_uri, to_pixels
from plica.show.sections.forget import LOOKS_LIKE, MEANING
from plica.show.sections.view import Section, View, csv_uri
from plica.show.words import listed, number, percent, plural, slug

LINK = ("what-may-be-confused", "What may be confused")
CARDS = 4  # of each sort, for a model


@dataclass(frozen=True)
class Twin:
    """The point of one preimage that comes nearest to an image of another label."""

    part: ModelPart
    result: MixingResult
    layer: int
    image: int
    target: int
    distance: float
    bound: float

    @property
    def start(self) -> float:
        """Distance between the two images."""
        return float(np.linalg.norm((self.result.images[self.image] - self.result.images[self.target]).ravel()))

    @property
    def way(self) -> float:
        """Share of this distance that was covered without a change at the layer."""
        return max(1 - self.distance / self.start, 0.0) if self.start > 0 else 1.0


def confuse_view(data: ReportData) -> View | None:
    """Unions and mixing of every model."""
    unions = [r for part in data.models for r in part.of(PreimageResult)]
    mixed = [found for part in data.models for found in part.of(MixingResult)]
    results: list[Result] = [*unions, *mixed]
    if not results:
        return None
    best = max((t for part in data.models for t in twins(part) if t.way > 0), key=lambda t: t.way, default=None)
    lines = [f'plica.preimage(net, x, layer="{r.layer}").kind' for r in unions[:1]]
    lines += ['plica.mixing(net, images, labels, extent="nearest", reference=second)']
    return View(
        twin_sentence(best) if best else _kind_sentence(unions),
        "Here the layers before count as well: which inputs of the network end with exactly the activity that an image "
        "gives at a layer? They are a union of polyhedra, searched piece by piece. What lies in one union is one "
        "thing to everything that reads this layer alone. If two labels that matter meet in one, the layer needs more "
        "units, or the pair more training images.",
        standing_of(tuple(results)),
        completeness_of(tuple(results)),
        "\n".join(lines),
        {"models": [_model(part) for part in data.models if any(map(part.of, (PreimageResult, MixingResult)))]},
    )


def twins(part: ModelPart) -> list[Twin]:
    """The nearest point of every preimage asked about, the farthest moved first."""
    found = []
    for r in part.of(MixingResult):
        for layer, i in zip(*np.nonzero(np.isfinite(r.distances).any(2)), strict=True) if r.images.size else ():
            c = int(np.nanargmin(r.distances[layer, i]))
            bound = float(r.bounds[layer, i, c]) if r.bounds.size else 0.0
            place = int(layer), int(i), int(r.targets[layer, i, c])
            found.append(Twin(part, r, *place, float(r.distances[layer, i, c]), bound))
    return sorted(found, key=lambda t: -t.way)


def twin_sentence(twin: Twin) -> str:
    """What the nearest point says, as a sentence."""
    r = twin.result
    own, other = (int(r.labels[k]) for k in (twin.image, twin.target))
    return (
        f"At layer {r.layers[twin.layer]} of {twin.part.name} an image of class {own} can be moved {percent(twin.way)} "
        f"of the way to an image of class {other}, and the layer gives the same."
    )


def _kind_sentence(unions: list[PreimageResult]) -> str:
    infinite = sum(r.dimension > 0 for r in unions)
    return f"{infinite} of {plural(len(unions), 'preimage')} hold infinitely many inputs of the network."


# --- one model ------------------------------------------------------------------------------------------------------


def _model(part: ModelPart) -> dict[str, Any]:
    """The table of unions, and the cards."""
    unions = part.of(PreimageResult)
    layers = list(dict.fromkeys(r.layer for r in unions))
    rows = [_row(part, layer, [r for r in unions if r.layer == layer]) for layer in layers]
    header = ["layer", "image", "domain", "kind", "dimension", "pieces", "standing", "completeness"]
    table = [
        [r.layer, r.header.get("image", ""), r.header.get("domain", ""), r.kind, r.dimension, len(r.dimensions),
         r.standing, r.completeness]
        for r in unions
    ]  # fmt: skip
    found = twins(part)
    return {
        "name": part.name,
        "slug": slug(part.name),
        "rows": rows,
        "present": [k for k in charts.KINDS if any(str(r.kind) == k for r in unions)],
        "meaning": MEANING,
        "csv": csv_uri(header, table) if table else None,
        "csv_name": f"{slug(part.name)}-unions.csv",
        "twins": [_twin_card(t) for t in _spread([t for t in found if t.way > 0])],
        "readings": [_reading_card(part, *place) for place in _readings(part)][:CARDS],
        "words": [*_stuck(found), *(line for r in part.of(MixingResult) for line in _mixing_words(r))],
    }


def _row(part: ModelPart, layer: str, unions: list[PreimageResult]) -> dict[str, Any]:
    """One layer: kinds in the whole space, pieces inside the images' range."""
    whole = [r for r in unions if r.header.get("domain") == "whole space"]
    inside = [r for r in unions if r.header.get("domain") != "whole space"]
    shares = {k: sum(str(r.kind) == k for r in whole) / len(whole) for k in charts.KINDS} if whole else {}
    done = sum(r.completeness in (Completeness.COMPLETE, Completeness.INFEASIBLE) for r in inside)
    pieces = sorted(len(r.dimensions) for r in inside)
    return {
        "name": layer,
        "bar": charts.shares_bar(shares, f"{part.name}, layer {layer}, whole preimages") if whole else "",
        "images": max(len(whole), len(inside)),
        "dimension": number(int(np.median([r.dimension for r in inside]))) if inside else "",
        "pieces": (f"{pieces[0]:,}" if pieces[0] == pieces[-1] else f"{pieces[0]:,} to {pieces[-1]:,}")
        if pieces
        else "",
        "all": f"all found at {done} of {len(inside)}" if inside else "",
        "standing": weakest(r.standing for r in whole or inside),
    }


def _spread(found: list[Twin]) -> list[Twin]:
    """The best of every layer first, then the others."""
    names = list(dict.fromkeys(t.result.layers[t.layer] for t in found))
    first = {t.result.layers[t.layer]: t for t in reversed(found)}
    rest = [t for t in found if t not in first.values()]
    return sorted([*first.values(), *rest][:CARDS], key=lambda t: names.index(t.result.layers[t.layer]))


def _stuck(found: list[Twin]) -> Iterator[str]:
    """Layers at which some image could not be moved at all."""
    for name in sorted({t.result.layers[t.layer] for t in found if t.way == 0}):
        here = [t for t in found if t.result.layers[t.layer] == name]
        still = [t for t in here if t.way == 0]
        sure = all(t.bound >= t.distance for t in still)
        yield (
            f"At {name}, {len(still)} of {plural(len(here), 'image')} cannot be moved towards another class at all"
            f"{'' if sure else ' within the own piece, and the other pieces were not all searched'}."
        )


def _twin_card(twin: Twin) -> dict[str, Any]:
    """Image, nearest point of its preimage, and the image of the other label."""
    r, part = twin.result, twin.part
    trio = (r.images[twin.image], r.nearest[twin.layer, twin.image], r.images[twin.target])
    cut = bool(r.cuts[twin.layer])
    sure = "no piece comes nearer" if twin.bound >= twin.distance else "other pieces were not all searched"
    return {
        "uris": [data_uri(p) for p in to_pixels(trio, part.image_shape)] if part.image_shape is not None else [],
        "labels": (int(r.labels[twin.image]), int(r.labels[twin.target])),
        "layer": r.layers[twin.layer],
        "way": percent(twin.way),
        "near": twin.way >= LOOKS_LIKE,
        "numbers": f"{number(twin.start)} → {number(twin.distance)}; {sure}",
        "cut": cut,
    }


def _readings(part: ModelPart) -> Iterator[tuple[MixingResult, int, int]]:
    for r in part.of(MixingResult):
        if r.images.size:
            yield from ((r, int(a), int(i)) for a, i in zip(*np.nonzero(r.verdicts == DIFFERS), strict=True))


def _reading_card(part: ModelPart, r: MixingResult, layer: int, image: int) -> dict[str, Any]:
    """Image, and the point of its preimage that the second network reads differently."""
    both = (r.images[image], r.points[layer, image])
    return {
        "uris": [data_uri(p) for p in to_pixels(both, part.image_shape)] if part.image_shape is not None else [],
        "label": int(r.labels[image]),
        "answer": int(r.answers[layer, image]),
        "layer": r.layers[layer],
        "second": r.header.get("reference", "a second network"),
        "distance": number(float(np.linalg.norm((both[0] - both[1]).ravel()))),
    }


def _mixing_words(r: MixingResult) -> Iterator[str]:
    """A sentence for each question that was asked."""
    if not np.isfinite(r.distances).any() and (r.verdicts == NOT_ASKED).all():
        counts = [(name, int((r.pairs[:, 0] == k).sum())) for k, name in enumerate(r.layers)]
        met = [f"{n:,} at {name}" for name, n in counts if n]
        yield (
            f"Among {plural(len(r.labels), 'image')}, pairs of different classes with exactly the same activity: "
            f"{listed(met) if met else 'none at ' + listed([n for n, _ in counts])}."
        )
    asked = r.verdicts[r.verdicts != NOT_ASKED]
    if len(asked):
        second = r.header.get("reference", "a second network")
        differs, same, left = (int((asked == v).sum()) for v in (DIFFERS, SAME, OPEN))
        was = "was" if left == 1 else "were"
        yield (
            f"Of {plural(len(asked), 'preimage')} at {listed(list(r.layers))}, {second} reads some input differently "
            f"in {differs}, and is proven to read all inputs alike in {same}"
            f"{f'; {left} {was} open when the time ended' if left else ''}."
        )


# --- findings -------------------------------------------------------------------------------------------------------


def _read(data: ReportData) -> Iterator[Finding]:
    """Preimages that a second network reads as several classes."""
    for part in data.models:
        for r in part.of(MixingResult):
            asked, differs = r.verdicts != NOT_ASKED, r.verdicts == DIFFERS
            if not differs.any():
                continue
            layer = int(np.argmax(differs.sum(1)))
            count, total = int(differs[layer].sum()), int(asked[layer].sum())
            second = r.header.get("reference", "a second network")
            yield Finding(
                percent(count / total), f"of {plural(total, 'preimage')}, layer {r.layers[layer]}",
                f"Layer {r.layers[layer]} of {part.name} gives one output to inputs that {second} reads as different "
                f"classes, at {count} of {plural(total, 'image')}.",
                "Each was found as an exact point and run through both networks. What the layer has lost, nothing "
                "behind it can tell.",
                charts.shares_bar({"unbounded": count / total, "undecided": 1 - count / total},
                                  f"{part.name}, layer {r.layers[layer]}: read differently", height=14, words=False),
                Standing(r.standing), Completeness(r.completeness), *LINK, 2.1 + count / total,
            )  # fmt: skip


SECTION = Section(*LINK, "confuse.html.j2", confuse_view, (_read,))
