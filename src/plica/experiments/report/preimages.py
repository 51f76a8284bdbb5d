"""What layers forget, for the report: kinds of preimages, whole preimages, mixing, nearest facets, impostors."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.linalg

from plica.analyses.preimage import (
    MixingResult,
    PreimageResult,
    impostor,
    mixing,
    nearest_facet,
    preimage,
    preimage_kind,
)
from plica.analyses.preimage.result import FacetResult, ImpostorResult, KindResult
from plica.core.domain import Box
from plica.core.piece import Piece
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import BudgetReached, PlicaError
from plica.experiments.report.model import Done, Job, Part, own_limit

IMPOSTOR_LAYERS = 3  # first, middle and last choice layer
FEWEST = 6  # inputs with the fewest positive units whose features are kept (Behrmann A7)
TARGETS = 3  # images of other classes to imitate, tried for each
DENSE = 1 << 24  # entries of a layer's Jacobian up to which the images to imitate are chosen by it, else at random
SHOWN = 2  # impostors kept per layer
UNION_LAYERS = 3  # whose whole preimages are searched
UNION_IMAGES = 4  # of different classes, whose preimages are
PIECES = 50  # looked for in one of them
EACH, UNIONS = 0.5, 8.0  # seconds for one search, and for all
READ, READS = 0.5, 12.0  # seconds for one search of nearest points or of what a second network reads, and for all
INPUTS, UNITS = 1024, 4000  # above which whole preimages are not searched


def _kinds(job: Job, progress: Progress, _: Done) -> Iterator[KindResult]:
    layers = job.net.layers
    for k, layer in enumerate(layers):
        clock = progress.part(1 / (len(layers) - k))
        yield preimage_kind(job.net, job.images.images, layer=layer, progress=clock)


def _facets(job: Job, progress: Progress, _: Done) -> Iterator[FacetResult]:
    if job.net.choices:
        yield nearest_facet(job.net, job.images.images, progress=progress)


def _impostors(job: Job, progress: Progress, done: Done) -> Iterator[ImpostorResult]:
    """For a few layers the impostors that come nearest to the image they imitate, the most striking first."""
    kinds = [r for r in done if isinstance(r, KindResult)]
    choices = [k for k in kinds if k.layer in job.net.choices and len(k.positive) == len(job.images.images)]
    picked = {choices[round(i)].layer: choices[round(i)] for i in np.linspace(0, len(choices) - 1, IMPOSTOR_LAYERS)} \
        if choices else {}  # fmt: skip
    for n, result in enumerate(picked.values()):
        found: list[ImpostorResult] = []
        clock = progress.part(1 / (len(picked) - n))
        for i, j in _pairs(job, result):
            try:
                clock.check()
                found.append(
                    impostor(job.net, job.images.images[i], job.images.images[j], layer=result.layer, progress=clock)
                )
            except BudgetReached:
                break
            except PlicaError:
                continue  # one pair that no solver settles is no reason to drop the others
            if found[-1].completeness is Completeness.INTERRUPTED:
                break
        found.sort(key=lambda r: r.distance / max(r.distance_start, 1e-300))
        images = [r.x.tobytes() for r in found]
        yield from [r for k, r in enumerate(found) if images.index(images[k]) == k][:SHOWN]  # the best of every image


def _pairs(job: Job, kinds: KindResult) -> Iterator[tuple[int, int]]:
    """Images with the fewest positive units whose preimage is more than a point, each with promising other images."""
    free = np.flatnonzero((kinds.kinds != "singleton") & (kinds.kinds != "empty"))
    fewest = free[np.argsort(kinds.positive[free], kind="stable")][:FEWEST]
    classes = _classes(job)
    for i in fewest.tolist():
        others = np.flatnonzero(classes != classes[i])
        order = np.argsort(_out_of_reach(job, kinds.layer, i, others), kind="stable")
        yield from ((i, int(j)) for j in others[order][:TARGETS])


def _out_of_reach(job: Job, layer: str, i: int, others: np.ndarray) -> np.ndarray:
    """Share of the way to other images that equal features rule out, by the layer's linear map at image i alone."""
    x = job.net.as_batch(job.images.images[i])
    piece = Piece(job.net, job.net.pattern(x), x[0])
    rows, size = math.prod(job.net.shape_of(layer)), x.numel()
    if rows * size > DENSE:
        return np.random.default_rng(job.seed).random(len(others))
    jacobian = piece.matrix(layer).cpu().numpy()
    basis, upper, _ = scipy.linalg.qr(jacobian.T, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(upper))
    basis = basis[:, : int((diagonal > 1e-10 * diagonal.max(initial=0.0)).sum())]
    way = job.net.as_batch(job.images.images[others]).flatten(1).cpu().numpy() - x.flatten().cpu().numpy()
    lengths = np.linalg.norm(way, axis=1)
    return np.linalg.norm(way @ basis, axis=1) / np.where(lengths > 0, lengths, 1.0)


def _unions(job: Job, progress: Progress, _: Done) -> Iterator[PreimageResult]:
    """Whole preimages of a few images: in free space for their kind, and within the range of the images."""
    whole, progress = progress, _at_most(UNIONS, progress)
    for i in _different(job):
        x = np.reshape(job.images.images[i], job.net.input_shape)
        for layer in _layers(job):
            for domain in (None, _range(job)):
                if progress.seconds_left <= 0:
                    return
                clock = Progress(max_seconds=min(EACH, progress.seconds_left), max_bytes=progress.max_bytes)
                try:
                    union = preimage(job.net, x, layer=layer, domain=domain, progress=clock)
                    found = union.result(PIECES)
                except PlicaError:
                    continue  # does not fit, or no solver settles it: the others are shown
                where = "whole space" if domain is None else "range of the images"
                header = {"image": i, "domain": where, **own_limit(whole)}
                yield replace(found, header={**found.header, **header})
                if found.completeness is Completeness.INTERRUPTED:
                    return


def _mixing(job: Job, progress: Progress, _: Done) -> Iterator[MixingResult]:
    """Equal activities among all images; nearest points and second readings for a few."""
    layers, few, labels = _layers(job), _different(job), _classes(job)
    if not layers or len(few) < 2:
        return
    second = None if job.reference is None else job.reference[1]
    about = {"images": few, **({} if job.reference is None else {"reference": job.reference[0]})}
    whole, progress = progress, _at_most(READS, progress)
    try:
        yield mixing(job.net, job.images.images, labels, layer=layers, extent="none", progress=progress.part(0.2))
        for n, layer in enumerate(layers):
            found = mixing(
                job.net, job.images.images[few], labels[few], layer=layer, reference=second,
                extent="nearest", max_seconds_each=READ, progress=progress.part(1 / (len(layers) - n)),
            )  # fmt: skip
            yield replace(found, header={**found.header, **about, **own_limit(whole)})
            if found.completeness is Completeness.INTERRUPTED:
                return
    except PlicaError:
        return  # what does not fit: the section shows what there is


def _at_most(seconds: float, progress: Progress) -> Progress:
    """A budget that starts now."""
    return replace(progress, max_seconds=min(seconds, progress.seconds_left), started=time.monotonic())


def _layers(job: Job) -> list[str]:
    """The first, a middle and the last choice layer of a network that is not too large."""
    units = sum(math.prod(job.net.shape_of(name)) for name in job.net.choices)
    if math.prod(job.net.input_shape) > INPUTS or units > UNITS or not job.net.choices:
        return []
    places = np.linspace(0, len(job.net.choices) - 1, UNION_LAYERS).round().astype(int)
    return [job.net.choices[k] for k in dict.fromkeys(places.tolist())]


def _classes(job: Job) -> np.ndarray:
    """Labels, or the network's answers."""
    if job.images.labels is not None:
        return np.asarray(job.images.labels).astype(np.int64)
    return job.net(job.images.images).flatten(1).argmax(1).cpu().numpy()


def _different(job: Job) -> list[int]:
    """The first images of different classes."""
    _, first = np.unique(_classes(job), return_index=True)
    return sorted(first.tolist())[:UNION_IMAGES]


def _range(job: Job) -> Box:
    """Between the smallest and the largest value of the images."""
    size = math.prod(job.net.input_shape)
    return Box(np.full(size, float(job.images.images.min())), float(job.images.images.max()))


def _union_lines(results: Done) -> Iterator[str]:
    unions = [r for r in results if isinstance(r, PreimageResult) and r.header.get("domain") == "whole space"]
    for layer in dict.fromkeys(r.layer for r in unions):
        kinds = [str(r.kind) for r in unions if r.layer == layer]
        counts = ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
        yield f"whole preimages at {layer}: {counts}"


def _mixing_lines(results: Done) -> Iterator[str]:
    for result in results:
        if isinstance(result, MixingResult):
            few = result.header.get("images")
            about = "mixing" if few is None else f"mixing of {len(few)} images"  # without a number: of all
            yield from (f"{about} at {line}" for line in result.summary().splitlines())


def _kind_lines(results: Done) -> Iterator[str]:
    for result in results:
        if isinstance(result, KindResult):
            shares = ", ".join(f"{share:.0%} {kind}" for kind, share in result.shares().items())
            yield f"{result.layer}: {shares} [{result.standing}, {result.completeness}]"


def _facet_lines(results: Done) -> Iterator[str]:
    for result in results:
        if isinstance(result, FacetResult) and len(result.distances):
            nearest = result.distances.min(1)
            yield f"nearest facet: median distance {np.median(nearest):.3g} over {len(nearest)} images"


def _impostor_lines(results: Done) -> Iterator[str]:
    differences = [r.feature_difference for r in results if isinstance(r, ImpostorResult)]
    if differences:
        yield f"{len(differences)} impostors; features differ by at most {max(differences):.1e}"


PARTS = (
    Part("kinds", 2.0, _kinds, _kind_lines),
    Part("facets", 1.0, _facets, _facet_lines),
    Part("impostors", 1.0, _impostors, _impostor_lines),
    Part("unions", 0.5, _unions, _union_lines),
    Part("mixing", 1.0, _mixing, _mixing_lines),
)
