"""Stability, for the report: spectra around a few images, proven bounds of Lipschitz constants."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from plica.analyses.lipschitz import LipschitzResult, lipschitz
from plica.analyses.lipschitz.result import outward
from plica.analyses.spectrum import SpectrumResult, spectrum
from plica.core.progress import Progress
from plica.errors import MemoryBudgetError, PlicaError
from plica.experiments.report.model import Done, Job, Part

IMAGES = 8  # inputs whose spectra are computed
INPUTS = 1024  # directions at most, or images take minutes; larger inputs vary in a window at their centre


def _bounds(job: Job, progress: Progress, _: Done) -> Iterator[LipschitzResult]:
    yield lipschitz(job.net, progress=progress)


def _spectra(job: Job, progress: Progress, _: Done) -> Iterator[SpectrumResult]:
    """Of all layers; in a window where the input is large, a smaller one where memory does not suffice."""
    images, shape = job.images.images[:IMAGES], job.net.input_shape
    for share in (INPUTS, INPUTS // 16):
        window = _centre(shape, share) if math.prod(shape) > share else None
        try:
            yield spectrum(job.net, images, vectors=1, window=window, progress=progress)
        except MemoryBudgetError:
            continue
        except PlicaError:
            return  # a Jacobian that overflows: the section shows the bounds alone
        return


def _centre(shape: tuple[int, ...], most: int) -> tuple[slice, ...]:
    """A window with about `most` inputs at the centre, the long axes cut."""
    sides = np.array(shape)
    while math.prod(sides.tolist()) > most:
        sides[sides.argmax()] -= 1
    starts = [(n - m) // 2 for n, m in zip(shape, sides.tolist(), strict=True)]
    return tuple(slice(a, a + m) for a, m in zip(starts, sides.tolist(), strict=True))


def _bound_lines(results: Done) -> Iterator[str]:
    for r in results:
        if isinstance(r, LipschitzResult):
            low, high = outward(r.lower, 4, up=False), outward(r.upper, 4, up=True)
            said = f"between {low:.4g} and {high:.4g}, proven" if math.isfinite(r.upper) else "no bound"
            yield f"Lipschitz constant: {said} [{r.standing}, {r.completeness}]"


def _spectrum_lines(results: Done) -> Iterator[str]:
    for r in results:
        if isinstance(r, SpectrumResult) and len(r) and (r.ranks[:, -1] > 0).any():
            condition = np.nanmedian(r.condition[:, -1])
            yield f"spectra of {len(r)} images: condition {condition:.3g} up to {r.layers[-1]} [{r.standing}]"


PARTS = (
    Part("lipschitz", 1.0, _bounds, _bound_lines),
    Part("spectra", 1.0, _spectra, _spectrum_lines),
)
