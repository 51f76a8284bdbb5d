"""Units, for the report: images that stimulate them most, templates of one, points of equal activity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from plica.analyses.units import (
    EqualActivationResult,
    MaximisersResult,
    UnitClustersResult,
    cluster_maps,
    equal_activation,
    maximisers,
    unit_maps,
)
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Result
from plica.errors import PlicaError
from plica.experiments.report.model import Done, Job, Part, image_shape
from plica.show.pictures import to_pixels

LAYERS = 4  # the last so many
DIRECTIONS = 64  # units, and random directions, of a layer
TOP = 6  # images kept for each
SHOWN = 3  # directions of a kind whose images are drawn
UNITS, IMAGES, TEMPLATES = 12, 60, 3  # of the clustered maps
POINTS = 3  # of equal activity


def _units(job: Job, progress: Progress, _: Done) -> Iterator[Result]:
    """Strongest images of the last layers; templates of the last layer's units; points of equal activity of one."""
    if not job.net.choices or len(job.images.images) < 2 * TOP:
        return
    for layer in job.net.choices[-LAYERS:]:
        yield from _strongest(job, layer, progress.part(0.2))
    last = job.net.choices[-1]
    clusters = _templates(job, last, progress.part(0.5))
    if clusters is None or not len(clusters.units):
        return
    yield clusters
    yield from _equal(job, last, int(clusters.units[clusters.order[0]]), progress)


def _strongest(job: Job, layer: str, progress: Progress) -> Iterator[MaximisersResult]:
    """For single units, spread over the layer, and for as many random directions."""
    images, labels = job.images.images, job.images.labels
    of = "label"
    if labels is None:
        labels, of = job.net(images).flatten(1).argmax(1).cpu().numpy(), "answer"
    width = int(np.prod(job.net.shape_of(layer)))
    chosen = np.unique(np.linspace(0, width - 1, min(width, DIRECTIONS)).astype(int))
    ways = np.zeros((len(chosen), width))
    ways[np.arange(len(chosen)), chosen] = 1.0
    for kind, directions, count in (("natural", ways, None), ("gaussian", "gaussian", len(chosen))):
        found = maximisers(job.net, images, layer=layer, directions=directions, count=count, top=TOP, labels=labels,
                           seed=job.seed, progress=progress)  # fmt: skip
        about = {"of": of, "units": chosen.tolist() if kind == "natural" else [], **_drawn(job, layer, found, kind)}
        yield replace(found, kind=kind, header={**found.header, **about})


def _drawn(job: Job, layer: str, found: MaximisersResult, kind: str) -> dict[str, list]:
    """Pictures of the strongest images of the purest units, or of the first random directions, of the last layer."""
    shape = image_shape(job)
    if shape is None or layer != job.net.choices[-1]:
        return {"shown": [], "pictures": []}
    alive = found.values[:, 0] > found.values[:, -1]
    order = np.argsort(-(found.purity + alive), kind="stable") if kind == "natural" else np.arange(len(found.purity))
    shown = _different(found.labels, order) if kind == "natural" else order[:SHOWN]
    flat = [job.images.images[i] for k in shown for i in found.images[k]]
    pixels = [p.tolist() for p in to_pixels(flat, shape)]
    return {"shown": shown.tolist(), "pictures": [pixels[a : a + TOP] for a in range(0, len(pixels), TOP)]}


def _different(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The first few whose most frequent labels are different, as far as there are such."""
    often = [int(np.bincount(row[row >= 0], minlength=1).argmax()) for row in labels[order]]
    first = [often.index(label) for label in dict.fromkeys(often)]
    return order[np.array((first + [k for k in range(len(order)) if k not in first])[:SHOWN], dtype=int)]


def _templates(job: Job, layer: str, progress: Progress) -> UnitClustersResult | None:
    """Clusters of the maps of the units that are on most often at the first images."""
    images = job.images.images[:IMAGES]
    values = job.net.upto(layer)(images).flatten(1).cpu().numpy()
    often = np.argsort(-(values > 0).sum(0), kind="stable")[:UNITS]
    try:
        maps = unit_maps(job.net, images, layer=layer, units=np.sort(often), progress=progress)
    except PlicaError:
        return None  # too large for the memory allowed
    return cluster_maps(maps, TEMPLATES, seed=job.seed, progress=progress)


def _equal(job: Job, layer: str, unit: int, progress: Progress) -> Iterator[EqualActivationResult]:
    """Points on different pieces, within the range of the images, at which the unit has exactly one value."""
    images = job.images.images[:IMAGES]
    inside = _within(job.net, images)
    try:
        found = equal_activation(inside, images, layer=layer, unit=unit, count=POINTS, progress=progress)
    except PlicaError:
        return  # never positive
    shape = image_shape(job)
    if shape is None or not len(found.points):
        yield found
        return
    before = np.asarray(images)[found.sources].reshape(found.points.shape)
    pixels = [p.tolist() for p in to_pixels([*before, *found.points], shape)]
    half = len(found.points)
    yield replace(found, header={**found.header, "before": pixels[:half], "after": pixels[half:]})


def _within(net: Network, images: np.ndarray) -> Network:
    """The network on the box of the images' values."""
    values = np.asarray(images, dtype=np.float64)
    some = np.zeros(values[0].size)
    return net.within(Box(some + values.min(), some + values.max()))


def _lines(results: Done) -> Iterator[str]:
    for r in results:
        if isinstance(r, MaximisersResult) and len(r.told):
            mean, low, high = r.baseline
            words = "single units" if r.kind == "natural" else "random directions"
            yield (
                f"{r.layer}: purity {r.told.mean():.2f} of {words}, of random images {mean:.2f} "
                f"({low:.2f} to {high:.2f}) [{r.standing}, {r.completeness}]"
            )


PARTS = (Part("units", 0.6, _units, _lines),)
