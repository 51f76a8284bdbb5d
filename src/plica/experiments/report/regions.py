"""Linear regions, for the report: those of a plane through three images that are answered differently."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from plica.analyses.regions.analysis import regions
from plica.analyses.regions.result import RegionsResult
from plica.core.domain import Plane
from plica.core.progress import Progress
from plica.errors import PlicaError
from plica.experiments.report.model import Done, Job, Part

MARGIN = 0.25
MOST = 100_000  # regions kept for the picture
OUTPUTS = 100  # above which maps are not kept


def _regions(job: Job, progress: Progress, _: Done) -> Iterator[RegionsResult]:
    """The regions on the plane, with their maps; nothing where no three images span one."""
    chosen = _three(job)
    if chosen is None:
        return
    points = job.net.as_batch(job.images.images[chosen]).flatten(1).cpu().numpy()
    try:
        plane = Plane.through(points, MARGIN)
        found = regions(job.net, plane, maps=True, max_regions=MOST, progress=progress)
    except PlicaError:
        return  # three images on a line, or regions that do not fit: the page goes without
    about = {"images": chosen, "places": plane.coordinates(points)}
    yield replace(found, header={**found.header, **about})


def _three(job: Job) -> list[int] | None:
    """The first image of each of the three classes answered first, right ones only where labels are known."""
    outputs = math.prod(job.net.output_shape)
    if not 2 <= outputs <= OUTPUTS or len(job.images.images) < 3:
        return None
    answers = job.net(job.images.images).flatten(1).argmax(1).cpu().numpy()
    labels = job.images.labels
    right = np.ones(len(answers), dtype=bool) if labels is None else answers == labels
    first = {int(answers[i]): i for i in np.flatnonzero(right)[::-1].tolist()}
    chosen = sorted(first.values())[:3]
    others = [i for i in range(len(answers)) if i not in chosen]
    return (chosen + others)[:3]


def _lines(results: Done) -> Iterator[str]:
    for r in results:
        if isinstance(r, RegionsResult):
            least = "" if r.completeness == "complete" else "at least "
            yield f"{least}{r.count:,} regions on a plane through three images [{r.standing}, {r.completeness}]"


PARTS = (Part("regions", 1.0, _regions, _lines),)
