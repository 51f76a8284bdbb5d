"""The main job: from a trained network and images to a report."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg

from plica.analyses.preimage import impostor, nearest_facet, preimage_kind
from plica.analyses.preimage.result import FacetResult, ImpostorResult, KindResult
from plica.core.network import Network
from plica.core.piece import Piece
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing, weakest
from plica.errors import ArgumentError, BudgetReached, PlicaError
from plica.experiments.digits import digits_conv, digits_mlp
from plica.loaders import load
from plica.loaders.images import ImageSet, read_images
from plica.show import ModelPart, ReportData, render
from plica.store import header, save, stamped

SHARE = {"kinds": 0.5, "facets": 0.25, "impostors": 0.25}  # of the time a report may take
IMPOSTOR_LAYERS = 3  # first, middle and last choice layer
FEWEST = 6  # inputs with the fewest positive units whose features are kept (Behrmann A7)
TARGETS = 3  # images of other classes to imitate, tried for each
DENSE = 1 << 24  # entries of a layer's Jacobian up to which the images to imitate are chosen by it, else at random
SHOWN = 2  # impostors kept per layer


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


@dataclass(frozen=True)
class _Job:
    """One model on its images."""

    name: str
    net: Network
    images: ImageSet
    folder: Path
    seed: int

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None without labels or with one output."""
        if self.images.labels is None or math.prod(self.net.output_shape) < 2:
            return None
        answers = self.net(self.images.images).flatten(1).argmax(1).cpu().numpy()
        return float((answers == self.images.labels).mean())


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
        if Completeness.BUDGET in states:
            completeness = Completeness.BUDGET
    return _write(ReportData(_facts(jobs, start, seed, limit), tuple(parts)), folder, completeness)


def _jobs(model: Any, data: Any, folder: Path, limit: int, seed: int, reading: dict) -> Iterator[_Job]:
    """The models to study, each with its images."""
    if model is None:
        if data is not None:
            raise ArgumentError("report: data was given without a model. Give both, or neither for the example.")
        for name, train in (("digits-mlp", digits_mlp), ("digits-conv", digits_conv)):
            module, images = train(seed)
            net = load(module, images.images.shape[1:])
            yield _Job(name, net, _first(images, limit), folder, seed)
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
    yield _Job(net.origin.name, net, images, folder, seed)


def _first(images: ImageSet, limit: int) -> ImageSet:
    labels = None if images.labels is None else images.labels[:limit]
    return replace(images, images=images.images[:limit], labels=labels)


def _study(job: _Job, progress: Progress) -> ModelPart:
    """Everything the report says about one model; every result is saved as soon as it is there."""
    budget = progress.seconds_left
    kinds: list[KindResult] = []
    impostors: list[ImpostorResult] = []
    facets: list[FacetResult] = []
    parts: tuple[tuple[str, list, Callable], ...] = (
        ("kinds", kinds, _kinds),
        ("facets", facets, _facets),
        ("impostors", impostors, _impostors),
    )
    timings = {}
    for name, found, compute in parts:
        start = time.monotonic()
        share = budget * SHARE[name]
        clock = replace(progress, max_seconds=None if math.isinf(share) else share, started=start)
        for result in compute(job, clock, kinds):
            found.append(_saved(job, result, f"{name}-{len(found)}"))
            if result.completeness is Completeness.INTERRUPTED:
                break
        timings[name] = time.monotonic() - start
        if found and found[-1].completeness is Completeness.INTERRUPTED:
            break
    facts = {**_model_facts(job), "timings": timings}
    return ModelPart(job.name, facts, tuple(kinds), facets[0] if facets else None, tuple(impostors), _image_shape(job))


def _saved(job: _Job, result: Result, name: str) -> Result:
    """Complete a result's header and write it."""
    images = job.images.images
    full = stamped(result, network=job.net, data=images, options={"limit": len(images)}, seed=job.seed)
    folder = job.folder / "results" / job.name
    folder.mkdir(parents=True, exist_ok=True)
    save(full, folder / f"{name}.npz")
    return full


def _kinds(job: _Job, progress: Progress, _: list[KindResult]) -> Iterator[KindResult]:
    layers = job.net.layers
    for k, layer in enumerate(layers):
        share = progress.seconds_left / (len(layers) - k)
        clock = replace(progress, max_seconds=None if math.isinf(share) else share, started=time.monotonic())
        yield preimage_kind(job.net, job.images.images, layer=layer, progress=clock)


def _facets(job: _Job, progress: Progress, _: list[KindResult]) -> Iterator[FacetResult]:
    if job.net.choices:
        yield nearest_facet(job.net, job.images.images, progress=progress)


def _impostors(job: _Job, progress: Progress, kinds: list[KindResult]) -> Iterator[ImpostorResult]:
    """For a few layers the impostors that come nearest to the image they imitate, the most striking first."""
    choices = [k for k in kinds if k.layer in job.net.choices and len(k.positive) == len(job.images.images)]
    picked = {choices[round(i)].layer: choices[round(i)] for i in np.linspace(0, len(choices) - 1, IMPOSTOR_LAYERS)} \
        if choices else {}  # fmt: skip
    for result in picked.values():
        found: list[ImpostorResult] = []
        share = progress.seconds_left / len(picked)
        clock = replace(progress, max_seconds=None if math.isinf(share) else share, started=time.monotonic())
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


def _pairs(job: _Job, kinds: KindResult) -> Iterator[tuple[int, int]]:
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


def _out_of_reach(job: _Job, layer: str, i: int, others: np.ndarray) -> np.ndarray:
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


def _image_shape(job: _Job) -> tuple[int, ...] | None:
    """How to draw one input: as it is when it is an image, a square when its size is one."""
    shape = tuple(n for n in job.net.input_shape if n != 1)
    if len(shape) == 3 and (shape[0] in (3, 4) or shape[-1] in (3, 4)):
        return shape
    if len(shape) == 2 and min(shape) > 1:
        return shape
    side = math.isqrt(math.prod(shape))
    return (side, side) if side > 2 and side * side == math.prod(shape) else None


def _model_facts(job: _Job) -> dict[str, Any]:
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


def _facts(jobs: list[_Job], start: float, seed: int, limit: int) -> dict[str, Any]:
    """Facts of the whole run."""
    about = header(jobs[0].net, jobs[0].images.images, {"limit": limit}, seed)
    return {
        **_model_facts(jobs[0]),
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
        for result in part.kinds:
            shares = ", ".join(f"{share:.0%} {kind}" for kind, share in result.shares().items())
            yield f"  {result.layer}: {shares} [{result.standing}, {result.completeness}]"
        if part.facets is not None and len(part.facets.distances):
            nearest = part.facets.distances.min(1)
            yield f"  nearest facet: median distance {np.median(nearest):.3g} over {len(nearest)} images"
        if part.impostors:
            worst = max(r.feature_difference for r in part.impostors)
            yield f"  {len(part.impostors)} impostors; features differ by at most {worst:.1e}"
