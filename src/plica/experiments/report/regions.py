"""Linear regions, for the report: those of a plane through three images that are answered differently."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from plica.analyses.regions.analysis import regions
from plica.analyses.regions.result import RegionsResult
from plica.core.domain import Box, Plane
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import PlicaError
from plica.experiments.report.model import Done, Job, Part

MARGIN = 0.1
MOST = 50_000  # regions of the picture
SECONDS, TRIES = 10.0, 5  # for a window; one that takes longer is halved
OUTPUTS = 100  # above which maps are not kept


def _regions(job: Job, progress: Progress, _: Done) -> Iterator[RegionsResult]:
    """The regions on the plane, with their maps; on a smaller window of it where there are too many; or none."""
    chosen = _three(job)
    if chosen is None:
        return
    points = job.net.as_batch(job.images.images[chosen]).flatten(1).cpu().numpy()
    try:
        plane = Plane.through(points, MARGIN)
    except PlicaError:
        return  # three images on a line
    for halvings in range(TRIES):
        seconds = min(SECONDS, progress.seconds_left / (TRIES - halvings))
        try:
            clock = replace(progress, max_seconds=seconds, started=time.monotonic())
            found = regions(job.net, plane, maps=True, max_regions=MOST, progress=clock)
        except PlicaError:
            found = None
        if found is not None and found.completeness is Completeness.COMPLETE:
            places = plane.coordinates(points)
            assert plane.window is not None
            inside = plane.window.contains(places)
            about = {"images": [c for c, i in zip(chosen, inside, strict=True) if i], "places": places[inside]}
            yield replace(found, header={**found.header, **about, "halvings": halvings})
            return
        plane = _halved(plane)


def _halved(plane: Plane) -> Plane:
    """The same plane with a window half as wide, around the same middle."""
    assert plane.window is not None
    middle, half = (plane.window.upper + plane.window.lower) / 2, (plane.window.upper - plane.window.lower) / 4
    return Plane(plane.origin, plane.basis, Box(middle - half, middle + half))


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
