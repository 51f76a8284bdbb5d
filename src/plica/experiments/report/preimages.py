"""What layers forget, for the report: kinds of preimages, nearest facets, impostors."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.linalg

from plica.analyses.preimage import impostor, nearest_facet, preimage_kind
from plica.analyses.preimage.result import FacetResult, ImpostorResult, KindResult
from plica.core.piece import Piece
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import BudgetReached, PlicaError
from plica.experiments.report.model import Done, Job, Part

IMPOSTOR_LAYERS = 3  # first, middle and last choice layer
FEWEST = 6  # inputs with the fewest positive units whose features are kept (Behrmann A7)
TARGETS = 3  # images of other classes to imitate, tried for each
DENSE = 1 << 24  # entries of a layer's Jacobian up to which the images to imitate are chosen by it, else at random
SHOWN = 2  # impostors kept per layer


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
    classes = job.images.labels
    if classes is None:
        classes = job.net(job.images.images).flatten(1).argmax(1).cpu().numpy()
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
)
