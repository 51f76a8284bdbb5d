"""Smallest perturbations, for the report: searched for a few images, proven for fewer where the network is small."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from plica.analyses.adversarial import DistortionResult, TransferResult, min_distortion, transfer
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.progress import Progress
from plica.errors import PlicaError
from plica.experiments.report.model import Done, Job, Part, own_limit

IMAGES = 40  # searched
SHOWN = 6  # nearest ones whose images are kept to be drawn
PROVEN = 6  # images for which a lower bound is proven
EACH = 10.0  # seconds for the proof of one, many times what a small network takes
UNITS, INPUTS = 400, 1024  # above which a proof is not tried


def _edge(job: Job, progress: Progress, _: Done) -> Iterator[DistortionResult | TransferResult]:
    """The search in the model's own precision, the proofs in float64, and what a second network makes of it."""
    if math.prod(job.net.output_shape) < 2:
        return
    images, labels = job.images.images[:IMAGES], _labels(job)
    box = _box(job)
    try:
        found = min_distortion(_own(job.net), images, labels, box=box, seed=job.seed, progress=progress.part(0.5))
        yield _with_images(found, images)
        if _small(job.net):
            few, known = images[:PROVEN], None if labels is None else labels[:PROVEN]
            given: dict[str, Any] = {
                "method": "fast",
                "exact": True,
                "exact_seconds": EACH,
                "seed": job.seed,
                "box": box,
            }
            clock = progress.part(0.8)
            proven = min_distortion(job.net, few, known, progress=clock, **given)
            yield replace(proven, header={**proven.header, **own_limit(clock)})
        if job.reference is not None and labels is not None:
            yield _read_by_both(job, images, labels, found, progress)
    except PlicaError:
        return  # outputs that overflow, or a matrix that does not fit: the section shows what there is


def _read_by_both(
    job: Job, images: np.ndarray, labels: np.ndarray, found: DistortionResult, progress: Progress
) -> TransferResult:
    """Both networks on the nearest mistakes of either, and on noise of the same size."""
    assert job.reference is not None
    name, other = job.reference
    size = found.rms[[status == "found" for status in found.status]]
    noise = [float(f"{size.mean():.2g}")] if len(size) else []
    models = {job.name: _own(job.net), name: _own(other)}
    given: dict[str, Any] = {"box": _box(job), "seed": job.seed, "method": "fast"}
    return transfer(models, images, labels, noise=noise, amplify=[], progress=progress, **given)


def _box(job: Job) -> Box:
    """From black to white, or the range of the images' own numbers where that is not known."""
    images, limits = job.images.images, job.images.limits
    if limits is None or (images < limits[0]).any() or (images > limits[1]).any():
        return Box(float(images.min()), float(images.max()))
    return Box(*limits)


def _labels(job: Job) -> np.ndarray | None:
    """The labels, where they are classes of the model."""
    labels = job.images.labels
    return None if labels is None or labels.max() >= math.prod(job.net.output_shape) else labels[:IMAGES]


def _own(net: Network) -> Network:
    return net.cast(torch.float32) if net.origin.dtype == "float32" else net


def _small(net: Network) -> bool:
    units = sum(math.prod(net.shape_of(name)) for name in net.choices)
    return units <= UNITS and math.prod(net.input_shape) <= INPUTS


def _with_images(result: DistortionResult, images: np.ndarray) -> DistortionResult:
    """Keep the images of the nearest ones, for the page."""
    found = np.array([status == "found" for status in result.status])
    order = np.argsort(np.where(found, result.distance, np.inf), kind="stable")[: min(SHOWN, int(found.sum()))]
    return replace(result, header={**result.header, "nearest": order, "nearest_images": images[order]})


def _lines(results: Done) -> Iterator[str]:
    for r in results:
        if isinstance(r, TransferResult):
            mine = r.new_errors[[k == "distorted" for k in r.kinds]][0, 1]
            yield f"mistakes of {r.models[0]} that {r.models[1]} makes as well: {mine:.0%}"
        elif isinstance(r, DistortionResult) and r.standing.is_proof:
            yield f"smallest perturbations: {int(r.proven.sum())} of {len(r.proven)} proven [{r.standing}]"
        elif isinstance(r, DistortionResult):
            size = r.distance[[status == "found" for status in r.status]]
            if len(size):
                yield f"smallest perturbations found: median {np.median(size):.3g} over {len(size)} images"


PARTS = (Part("edge", 1.5, _edge, _lines),)
