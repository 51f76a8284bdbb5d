"""What the first screen says: sentences with a number, made from results by fixed rules, the worst first.

A sentence is only as strong as the standing allows: "cannot tell" and "proven" need a proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from plica.analyses.preimage.result import ImpostorResult, KindResult
from plica.core.result import Completeness, Standing, weakest
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.pictures import data_uri, to_pixels
from plica.show.words import listed, number, part_of, percent, plural, short

LOW_ACCURACY = 0.5
LOOKS_LIKE = 0.5  # share of the way to an image from which an impostor is said to look like it
IMPORT_LIMIT = 1e-3  # a larger difference between the network and the original is a warning
INFINITE = ("unbounded", "compact")
MEANING = {
    "unbounded": "a direction leads to infinity unseen",
    "compact": "a bounded set of infinitely many",
    "finite": "several single points",
    "singleton": "one point, nothing lost",
    "empty": "no input at all",
    "undecided": "not decided in this run",
}


@dataclass(frozen=True)
class Finding:
    """One sentence with a number.

    Attributes
    ----------
    number, unit : str
        The number and what it counts.
    sentence, meaning : str
        The finding, and one line of what it means.
    graphic : Markup
        A small picture of the number.
    standing, completeness
        How sure it is, and how much of the question it covers.
    link, link_text : str
        Section that says more.
    rank : float
        Worse is larger; at least `WARNING` is a warning.
    """

    number: str
    unit: str
    sentence: str
    meaning: str
    graphic: Markup
    standing: Standing
    completeness: Completeness
    link: str
    link_text: str
    rank: float

    @property
    def is_warning(self) -> bool:
        """Whether the other findings may be void."""
        return self.rank >= WARNING


WARNING = 10.0
FORGET = ("what-layers-forget", "What layers forget")
FACET = ("nearest-facet", "Nearest facet")
ABOUT = ("about-this-run", "About this run")


def findings(data: ReportData, most: int = 4) -> tuple[Finding, ...]:
    """Return the findings of a report, the worst first, at most one of each sort."""
    found = [f for sort in SORTS if (f := max(sort(data), key=lambda f: f.rank, default=None)) is not None]
    return tuple(sorted(found, key=lambda f: -f.rank)[:most])


def worst_layer(data: ReportData) -> tuple[ModelPart, KindResult, float] | None:
    """The layer that the report speaks of first, with its share of images that share their output with others."""
    found = max(kind_candidates(data), key=lambda c: c[3], default=None)
    return None if found is None else found[:3]


def verdict(data: ReportData) -> str:
    """Return the whole report in one sentence with a number."""
    low = max(_accuracy(data), key=lambda f: f.rank, default=None)
    if low is not None and low.is_warning:
        return low.sentence
    worst = worst_layer(data)
    if worst is None:
        return low.sentence if low is not None else f"{listed([p.name for p in data.models])}: no result yet."
    part, result, share = worst
    accuracy = data.fact(part, "accuracy")
    start = f"{part.name} answers {percent(accuracy)} right, and" if accuracy is not None else f"{part.name}:"
    if share == 0:
        return f"{start} no layer was found to give infinitely many inputs the same output, at any image."
    proof = "" if _infinite_standing(result).is_proof else "it seems that "
    if result.source == ("input",):
        images = part_of(share, len(result.kinds), "image")
        return f"{start} {proof}its layer {result.layer} cannot tell {images} from infinitely many others."
    return (
        f"{start} {proof}its layer {result.layer} gives infinitely many of its inputs the same output "
        f"at {part_of(share, len(result.kinds), 'image')}."
    )


# --- the sorts of findings --------------------------------------------------------------------------------------


def _accuracy(data: ReportData) -> Iterator[Finding]:
    for part in data.models:
        share, count = data.fact(part, "accuracy"), data.fact(part, "images")
        if share is None:
            continue
        low = share < LOW_ACCURACY
        images = plural(count, "image") if count else "the images"
        meaning = (
            "Check scale, layout, mean and std of the images: below 50 % the input is often not what the model expects."
            if low
            else f"{round((1 - share) * count):,} of {images} are answered wrong."
            if count
            else "Share of right answers."
        )
        yield Finding(
            percent(share), "answered right", f"{part.name} answers {percent(share)} of {images} right.", meaning,
            charts.accuracy_bar(share), Standing.NUMERICAL, Completeness.COMPLETE, *ABOUT,
            WARNING if low else 1 - share,
        )  # fmt: skip


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


def _infinite_standing(result: KindResult) -> Standing:
    """Weakest standing of the images whose output is shared by infinitely many inputs."""
    return weakest(result.standings[np.isin(result.kinds, INFINITE)].tolist())


def kind_sentence(part_name: str, result: KindResult, share: float) -> str:
    """Say what a layer cannot distinguish, as strongly as its standing allows."""
    images = part_of(share, len(result.kinds), "image")
    if share == 0:
        return f"Layer {result.layer} of {part_name} was not found to lose anything at {len(result.kinds):,} images."
    proof = "" if _infinite_standing(result).is_proof else "In floating point, without proof: layer"
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
            _infinite_standing(result) if infinite else Standing(result.standing), Completeness(result.completeness),
            *FORGET, 2 + rank if infinite else 0.5,
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
            Standing(result.standing), Completeness(result.completeness), *FACET, 1.5 - min(float(nearest.min()), 0.4),
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
        pairs = part.impostors
        if not pairs:
            continue
        far = max(pairs, key=way)
        kept, flips = sum(is_fooled(p) and is_near(p) for p in pairs), sum(p.class_impostor != p.class_x for p in pairs)
        worst, share = max(p.feature_difference for p in pairs), percent(max(way(far), 0.0))
        yield Finding(
            share, "of the way to another image, same features",
            f"{plural(len(pairs), 'impostor')} found in {part.name}: one moves {share} of the way to an image of class "
            f"{far.class_towards}; its features at {far.layer} differ by at most {number(far.feature_difference)}.",
            f"{kept} of {len(pairs)} come more than half of the way and keep the first answer, {flips} change it. "
            f"Largest difference over all: {number(worst)} in float64.",
            _thumbnails(far, part), standing_of(pairs), completeness_of(pairs), *FORGET, 2.2 + max(way(far), 0.0),
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


def _imports(data: ReportData) -> Iterator[Finding]:
    for part in data.models:
        difference = data.fact(part, "import_difference")
        if difference is None:
            continue
        warn = not difference <= IMPORT_LIMIT
        value, advice = number(float(difference)), ": check the import before reading on." if warn else "."
        yield Finding(
            value, "largest difference seen",
            f"{part.name} as loaded and the original model differ by {value} of the largest output on random inputs.",
            f"The answers here are about the loaded network{advice}",
            Markup(""), Standing.NUMERICAL, Completeness.COMPLETE, *ABOUT, WARNING + 1 if warn else 0.0,
        )  # fmt: skip


SORTS = (_accuracy, _kinds, _impostors, _facets, _undecided, _imports)
