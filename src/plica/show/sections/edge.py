"""The edge: how little changes the answer, and where that is proven to be the least."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from plica.analyses.adversarial.result import DistortionResult
from plica.analyses.adversarial.transfer import TransferResult
from plica.analyses.lipschitz.result import outward
from plica.core.result import Completeness, Standing
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of
from plica.show.finding import Finding
from plica.show.pictures import data_uri, to_pixels
from plica.show.sections.view import Section, View, csv_uri
from plica.show.words import listed, number, percent, plural, short, slug

LINK = ("the-edge", "The edge")


def edge_view(data: ReportData) -> View | None:
    """Distances, pictures and proofs of every model."""
    parts = [(part, _searched(part)) for part in data.models if _searched(part) is not None]
    results = tuple(r for part in data.models for r in part.of(DistortionResult))
    medians = [f"{number(float(np.median(_sizes(r))))} in {p.name}" for p, r in parts if r and len(_sizes(r))]
    if not results:
        return None
    return View(
        f"Half of the images are answered differently after a change of {listed(medians)} or less."
        if medians
        else "No change of the answer was found.",
        "For every image that is answered right, the nearest one found within the range of pixels that the network "
        "answers wrong. Distances are Euclidean, in the units of the network's input. Every picture was answered once "
        "more by the network in its own precision: that it is wrong is a fact. That nothing is nearer is claimed only "
        "where it says proven.",
        Standing.ESTIMATE,
        completeness_of(results),
        "plica.min_distortion(net, images, labels, box=plica.Box(0, 1))",
        {"models": [_edge_model(part, r) for part, r in parts if r is not None]},
    )


def _searched(part: ModelPart) -> DistortionResult | None:
    return next((r for r in part.of(DistortionResult) if not Standing(r.standing).is_proof), None)


def _proofs(part: ModelPart) -> DistortionResult | None:
    return next((r for r in part.of(DistortionResult) if Standing(r.standing).is_proof), None)


def _sizes(result: DistortionResult) -> np.ndarray:
    return result.distance[[status == "found" for status in result.status]]


def _edge_model(part: ModelPart, result: DistortionResult) -> dict[str, Any]:
    size, proofs = _sizes(result), _proofs(part)
    rows = [
        [i, s, repr(float(d)), repr(float(m)), int(a), int(b)]
        for i, (s, d, m, a, b) in enumerate(
            zip(result.status, result.distance, result.linf, result.label, result.target, strict=True)
        )
    ]
    words = f"median {number(float(np.median(size)))}, smallest {number(float(size.min()))}" if len(size) else ""
    counts = {status: result.status.count(status) for status in dict.fromkeys(result.status)}
    return {
        "name": part.name,
        "slug": slug(part.name),
        "counts": ", ".join(f"{count} {status}" for status, count in counts.items()),
        "svg": charts.spread(size, charts.log_range(size), f"{part.name}: distance to a mistake; {words}")
        if len(size)
        else "",
        "words": words,
        "pictures": _pictures(part, result),
        "proofs": [] if proofs is None else _proof_rows(proofs),
        "standing": None if proofs is None else Standing(proofs.standing),
        "completeness": None if proofs is None else Completeness(proofs.completeness),
        "transfer": _transfer(part),
        "csv": csv_uri(["image", "status", "L2", "Linf", "class", "answered"], rows),
        "csv_name": f"{slug(part.name)}-edge.csv",
    }


def _transfer(part: ModelPart) -> dict[str, Any] | None:
    """How often either network errs on the nearest mistakes of the other."""
    found = next(iter(part.of(TransferResult)), None)
    if found is None:
        return None
    label = "Wrong answers: " + "; ".join(
        f"{row}: " + ", ".join(f"{m} {percent(e)}" for m, e in zip(found.models, line, strict=True) if np.isfinite(e))
        for row, line in zip(found.rows, found.new_errors, strict=True)
    )
    return {
        "svg": charts.heat(found.new_errors, found.rows, found.models, label),
        "other": found.models[1],
        "count": int(found.counts.max(initial=0)),
        "standing": Standing(found.standing),
        "completeness": Completeness(found.completeness),
    }


def _pictures(part: ModelPart, result: DistortionResult) -> list[dict[str, Any]]:
    """The image, the change and what becomes of it, for the nearest ones."""
    order, images = result.header.get("nearest"), result.header.get("nearest_images")
    if order is None or part.image_shape is None:
        return []
    cards = []
    for i, image in zip(np.asarray(order).tolist(), np.asarray(images), strict=True):
        near = result.x_adv[i].astype(np.float64)
        step = near - image
        most = float(np.abs(step).max()) or 1.0
        # with its negative beside it the change is drawn around mid-grey
        first, last = (data_uri(p) for p in to_pixels([image, near], part.image_shape))
        change = data_uri(to_pixels([step / most, -step / most], part.image_shape)[0])
        cards.append(
            {
                "image": i,
                "uris": [first, change, last],
                "label": int(result.label[i]),
                "target": int(result.target[i]),
                "distance": number(float(result.distance[i])),
                "most": number(most),
            }
        )
    return cards


def _proof_rows(proofs: DistortionResult) -> list[dict[str, Any]]:
    rows = []
    for i, status in enumerate(proofs.status):
        lower, distance = float(proofs.lower_bound[i]), float(proofs.distance[i])
        gap = "" if not lower or np.isinf(distance) else percent(max(distance / lower - 1, 0.0))
        said = "proven" if proofs.proven[i] and status == "found" else gap and f"at most {gap} above the smallest"
        floor = f"{outward(lower, 4, up=False):.4g}" if 0 < lower < np.inf else number(lower)
        above = f"{outward(distance, 4, up=True):.4g}" if 0 < distance < np.inf else number(distance)
        rows.append({"image": i, "status": status, "lower": floor, "distance": above, "said": said})
    return rows


def _findings(data: ReportData) -> Iterator[Finding]:
    for part in data.models:
        result = _searched(part)
        size = _sizes(result) if result is not None else np.zeros(0)
        if result is None or not len(size):
            continue
        median, least = short(float(np.median(size))), short(float(size.min()))
        proofs = _proofs(part)
        tried = np.array([s == "found" for s in proofs.status]) if proofs is not None else np.zeros(0, dtype=bool)
        closed = 0 if proofs is None else int(proofs.proven[tried].sum())
        proof = f" For {closed} of {plural(int(tried.sum()), 'image')} it is proven that nothing is nearer."
        yield Finding(
            median, "changes the answer, L2",
            f"A change of {median} or less alters the answer of {part.name} at half of {plural(len(size), 'image')}; "
            f"at one, {least} is enough.",
            f"Each changed image was answered once more, and wrong.{proof if closed else ''}",
            charts.spark(size, f"Distances of {len(size)} images: smallest {least}, median {median}"),
            Standing(result.standing), Completeness(result.completeness), *LINK, 1.8,
        )  # fmt: skip


SECTION = Section(*LINK, "edge.html.j2", edge_view, (_findings,))
