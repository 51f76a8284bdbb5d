"""One model on its images: what the parts of a report work on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Result
from plica.loaders.images import ImageSet

Done: TypeAlias = tuple[Result, ...]


@dataclass(frozen=True)
class Job:
    """One model on its images."""

    name: str
    net: Network
    images: ImageSet
    folder: Path
    seed: int
    reference: tuple[str, Network] | None = None  # a second network of the same inputs, by name

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None without labels or with one output."""
        if self.images.labels is None or math.prod(self.net.output_shape) < 2:
            return None
        answers = self.net(self.images.images).flatten(1).argmax(1).cpu().numpy()
        return float((answers == self.images.labels).mean())


@dataclass(frozen=True)
class Part:
    """One computation of the report; its results are saved, and a section of the page shows them.

    Attributes
    ----------
    name : str
        Of its files and its timing.
    weight : float
        Its share of the time, beside the weights of the others.
    compute : callable
        ``compute(job, progress, done)`` yields results within the budget of `progress`; `done` are the results of the
        parts before it.
    lines : callable
        ``lines(results)`` yields what the terminal says about them.
    """

    name: str
    weight: float
    compute: Callable[[Job, Progress, Done], Iterable[Result]]
    lines: Callable[[Done], Iterator[str]]


def own_limit(progress: Progress) -> dict[str, str]:
    """Of a result that ends by its section's own limit, which is part of the plan, while the report has time left."""
    return {"limit": "seconds a search"} if progress.seconds_left > 0 else {}


def image_shape(job: Job) -> tuple[int, ...] | None:
    """How to draw one input: as it is when it is an image, a square when its size is one."""
    shape = tuple(n for n in job.net.input_shape if n != 1)
    if len(shape) == 3 and (shape[0] in (3, 4) or shape[-1] in (3, 4)):
        return shape
    if len(shape) == 2 and min(shape) > 1:
        return shape
    side = math.isqrt(math.prod(shape))
    return (side, side) if side > 2 and side * side == math.prod(shape) else None


def model_facts(job: Job) -> dict[str, Any]:
    """What the page says about the model and its images."""
    net = job.net
    widths = [math.prod(net.shape_of(name)) for name in (*net.choices, net.output)]
    return {
        "model": job.name,
        "architecture": "-".join(map(str, [math.prod(net.input_shape), *widths])),
        "units": sum(widths[:-1]),
        "parameters": _parameters(net),
        "file": Path(net.origin.path).name,
        "accuracy": job.accuracy,
        "images": len(job.images.images),
        "data": job.images.name,
        "dtype": net.origin.dtype,
        "import_difference": net.origin.difference,
        "notices": [*net.origin.notices, *job.images.notices],
    }


def _parameters(net: Network) -> int:
    """Number of weights and biases of dense and convolution nodes."""
    tensors = [getattr(node.op, name, None) for node in net.nodes for name in ("weight", "bias")]
    return sum(t.numel() for t in tensors if t is not None)
