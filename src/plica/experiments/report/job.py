"""The main job: from a trained network and images to a report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing, weakest
from plica.errors import ArgumentError, BudgetReached
from plica.experiments.digits import digits_conv, digits_mlp
from plica.experiments.report.model import Job, image_shape, model_facts
from plica.experiments.report.parts import PARTS
from plica.loaders import load
from plica.loaders.images import ImageSet, read_images
from plica.show import ModelPart, ReportData, render
from plica.store import header, save, stamped


@dataclass(frozen=True, repr=False)
class ReportResult(Result):
    """Where a report was written and what it says first.

    Attributes
    ----------
    page : str
        The self-contained ``report.html``.
    folder : str
        Holds the page, ``summary.json``, and every result as npz under ``results/``.
    lines : tuple of str
        The summary that the command line prints.
    """

    page: str
    folder: str
    lines: tuple[str, ...]

    def summary(self) -> str:
        """The summary, and where the page is."""
        return "\n".join((*self.lines, f"page: {self.page}"))


def report(
    model: Any = None,
    data: Any = None,
    *,
    out: str | os.PathLike[str] = "report",
    limit: int = 200,
    max_seconds: float | None = 600.0,
    seed: int = 0,
    progress: Progress | None = None,
    **reading: Any,
) -> ReportResult:
    """Study a network on images and write a report that opens in any browser.

    Parameters
    ----------
    model : path, torch.nn.Module or Network, optional
        What `plica.load` takes. Without it, two small networks are trained on scikit-learn's digits, in seconds.
    data : path, array or ImageSet, optional
        What `plica.loaders.images.read_images` takes, or inputs as an array. Needed with a model.
    out : path
        Folder to write to; created if missing.
    limit : int
        Number of images studied.
    max_seconds : float, optional
        Budget of the whole job; a part that does not finish says how far it came. None: no limit.
    seed : int
        Of the training of the embedded networks and of the choice of images to imitate.
    progress : Progress, optional
        Listener and memory budget.
    **reading
        Options of `read_images` (split, scale, mean, std, layout, labels), and of `plica.load` (weights,
        input_shape, trust_pickle).

    Returns
    -------
    ReportResult
        An interrupt keeps what is done: the page is then written from it, and says so.
    """
    start = time.monotonic()
    progress = progress or Progress()
    folder = Path(out)
    jobs = list(_jobs(model, data, folder, limit, seed, reading))
    parts, completeness = [], Completeness.COMPLETE
    for k, job in enumerate(jobs):
        left = None if max_seconds is None else (max_seconds - (time.monotonic() - start)) / (len(jobs) - k)
        part = _study(job, replace(progress, max_seconds=left, started=time.monotonic()))
        parts.append(part)
        states = [result.completeness for result in part.results]
        if Completeness.INTERRUPTED in states:
            completeness = Completeness.INTERRUPTED
            break
        planned = [r.completeness for r in part.results if "limit" not in r.header]  # see `own_limit`
        if Completeness.BUDGET in planned or part.facts["ended"]:
            completeness = Completeness.BUDGET
    return _write(ReportData(_facts(jobs, start, seed, limit), tuple(parts)), folder, completeness)


def _jobs(model: Any, data: Any, folder: Path, limit: int, seed: int, reading: dict) -> Iterator[Job]:
    """The models to study, each with its images."""
    if model is None:
        if data is not None:
            raise ArgumentError("report: data was given without a model. Give both, or neither for the example.")
        trained = [("digits-mlp", *digits_mlp(seed)), ("digits-conv", *digits_conv(seed))]
        for (name, module, images), (second, other, own) in zip(trained, reversed(trained), strict=True):
            shape = images.images.shape[1:]
            reader = nn.Sequential(nn.Flatten(), nn.Unflatten(1, own.images.shape[1:]), other)
            yield Job(name, load(module, shape), _first(images, limit), folder, seed, (second, load(reader, shape)))
        return
    loading = {k: reading.pop(k) for k in ("input_shape", "weights", "trust_pickle") if k in reading}
    net = model if isinstance(model, Network) else load(model, **loading)
    if data is None:
        raise ArgumentError("report: give images for the model (data=, or --data FILE): npz, csv, idx or PNG folder.")
    if isinstance(data, ImageSet):
        images = _first(data, limit)
    elif isinstance(data, np.ndarray):
        images = ImageSet(net.as_batch(data[:limit]).cpu().numpy(), reading.get("labels"), "array")
    else:
        images = read_images(data, limit=limit, shape=net.input_shape, **reading)
    yield Job(net.origin.name, net, images, folder, seed)


def _first(images: ImageSet, limit: int) -> ImageSet:
    labels = None if images.labels is None else images.labels[:limit]
    return replace(images, images=images.images[:limit], labels=labels)


def _study(job: Job, progress: Progress) -> ModelPart:
    """Everything the report says about one model; every result is saved as soon as it is there."""
    done: list[Result] = []
    timings: dict[str, float] = {}
    ended: list[str] = []
    for n, part in enumerate(PARTS):
        start = time.monotonic()
        clock = progress.part(part.weight / sum(p.weight for p in PARTS[n:]))
        try:
            for k, result in enumerate(part.compute(job, clock, tuple(done))):
                done.append(_saved(job, result, f"{part.name}-{k}"))
                if result.completeness is Completeness.INTERRUPTED:
                    break
        except BudgetReached:  # what is done stays
            ended.append(part.name)
        timings[part.name] = time.monotonic() - start
        if done and done[-1].completeness is Completeness.INTERRUPTED:
            break
    return ModelPart(job.name, {**model_facts(job), "timings": timings, "ended": ended}, tuple(done), image_shape(job))


def _saved(job: Job, result: Result, name: str) -> Result:
    """Complete a result's header and write it."""
    images = job.images.images
    full = stamped(result, network=job.net, data=images, options={"limit": len(images)}, seed=job.seed)
    folder = job.folder / "results" / job.name
    folder.mkdir(parents=True, exist_ok=True)
    save(full, folder / f"{name}.npz")
    return full


def _facts(jobs: list[Job], start: float, seed: int, limit: int) -> dict[str, Any]:
    """Facts of the whole run."""
    about = header(jobs[0].net, jobs[0].images.images, {"limit": limit}, seed)
    return {
        **model_facts(jobs[0]),
        "seconds": time.monotonic() - start,
        "cores": os.cpu_count(),
        "seed": seed,
        "options": {"limit": limit},
        "versions": {k: about[k] for k in ("plica", "torch", "numpy", "python") if k in about},
        "hashes": {k: v for k, v in about.items() if "hash" in k},
    }


def _write(data: ReportData, folder: Path, completeness: Completeness) -> ReportResult:
    """Write the page and the summary; the page appears under its name only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = tuple(_lines(data))
    standing = weakest(r.standing for part in data.models for r in part.results)
    summary = {"standing": standing.value, "completeness": completeness.value, "lines": lines}
    for name, text in (("summary.json", json.dumps(summary, indent=2)), ("report.html", render(data))):
        partial = folder / f".{name}.part"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    return ReportResult(Standing(standing), completeness, {}, str(folder / "report.html"), str(folder), lines)


def _lines(data: ReportData) -> Iterator[str]:
    """The summary in the terminal, accuracy first."""
    for part in data.models:
        facts = part.facts
        yield f"{part.name}: {facts['architecture']}, {facts['images']} images of {facts['data']}"
        if facts["accuracy"] is not None:
            yield f"  accuracy {facts['accuracy']:.1%}"
            if facts["accuracy"] < 0.5:
                yield "  WARNING: below 50 %. Do the images have the scale, layout and normalisation of the training?"
        yield from (f"  {line}" for row in PARTS for line in row.lines(part.results))
