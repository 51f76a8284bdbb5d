"""Noise, for the report: a few images under more and more noise, and a fooling map of the first."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from plica.analyses.moments.uses import FoolingMapResult, NoiseCurveResult, fooling_map, noise_curve
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import BudgetReached
from plica.experiments.report.model import Done, Job, Part

IMAGES = 2
LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)  # parts of the range of the images' values
SAMPLES, MAP_SAMPLES = 1000, 100
PLACES = 24  # of the window, along an axis, at most


def _range(job: Job) -> float:
    return float(np.ptp(job.images.images)) or 1.0


def _curves(job: Job, progress: Progress, _: Done) -> Iterator[NoiseCurveResult]:
    if math.prod(job.net.output_shape) < 2:
        return
    levels = np.array(LEVELS) * _range(job)
    images = job.images.images[:IMAGES]
    for k, image in enumerate(images):
        clock = progress.part(1 / (len(images) - k))
        try:
            found = noise_curve(job.net, image, levels, samples=SAMPLES, seed=job.seed, progress=clock)
        except BudgetReached:
            return
        yield found
        if found.completeness is Completeness.INTERRUPTED:
            return


def _map(job: Job, progress: Progress, done: Done) -> Iterator[FoolingMapResult]:
    """By draws: the window's noise is as strong as the range of the values, far beyond a linearisation."""
    shape = job.net.input_shape
    if len(shape) not in (2, 3) or min(shape[-2:]) < 4 or math.prod(job.net.output_shape) < 2:
        return
    if len(shape) == 3 and shape[-1] in (1, 3) and shape[0] not in (1, 3):
        return  # colours last: a window would cut through them
    window = max(2, min(shape[-2:]) // 4)
    stride = max(1, math.ceil((max(shape[-2:]) - window) / PLACES))
    try:
        yield fooling_map(job.net, job.images.images[:1], _range(job) ** 2, window=window, stride=stride,
                          method="monte_carlo", samples=MAP_SAMPLES, progress=progress)  # fmt: skip
    except BudgetReached:
        return


def _curve_lines(results: Done) -> Iterator[str]:
    found = [r for r in results if isinstance(r, NoiseCurveResult)]
    if found:
        said = ", ".join(f"{r.tipping:.3g}" if math.isfinite(r.tipping) else "none tried" for r in found)
        yield f"noise that takes the class in half of the draws, by image: {said} [{found[0].standing}]"


def _map_lines(results: Done) -> Iterator[str]:
    for r in results:
        if isinstance(r, FoolingMapResult) and len(r.fooled):
            yield f"noise in a window of {r.window} x {r.window}: another class in at most {r.rate.max():.0%} of draws"


PARTS = (
    Part("noise", 1.0, _curves, _curve_lines),
    Part("fooling-map", 0.5, _map, _map_lines),
)
