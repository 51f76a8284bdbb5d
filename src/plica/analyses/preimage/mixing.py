"""Mixing: whether preimages of differently labelled inputs meet (Carlsson et al. 2017, s. 3; Behrmann et al. 2018)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from plica.analyses.preimage.impostor import _box, _cell, _independent, _project, impostor
from plica.analyses.preimage.joint import read_differently
from plica.analyses.preimage.mixing_result import NOT_ASKED, OPEN, MixingResult
from plica.analyses.preimage.result import ImpostorResult
from plica.core.domain import Box
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Network
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, DataError, ShapeError

CANDIDATES = 3  # images of each other label that (b) tries
NEAR = 1e-6  # activities that differ by more than this, relative to their size, differ; rounding is far below it


def mixing(
    net: Network,
    X: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    layer: str | int | Sequence[str | int] | None = None,
    reference: Network | None = None,
    domain: Box | None = None,
    extent: str = "piece",
    max_seconds_each: float = 10.0,
    progress: Progress | None = None,
) -> MixingResult:
    """Ask whether a layer gives inputs of different labels the same activity.

    Three questions for each layer: (a) which inputs with different labels have exactly equal activity; (b) how near the
    preimage of each input comes to inputs of every other label; (c) with a reference network, whether some input of
    the preimage is read differently by it, or proof that there is none.

    Parameters
    ----------
    net : Network
    X : array, shape (n, *input_shape)
    labels : array of int, shape (n,)
    layer : str, int or several, optional
        All choice layers by default.
    reference : Network, optional
        Reads the same inputs; its answer is its largest output. Without it (c) is not asked.
    domain : Box, optional
        Allowed inputs for (b) and (c). By default the smallest box with equal sides that holds both images for (b),
        and all images for (c).
    extent : {"piece", "nearest", "none"}
        Where (b) looks: in the input's own piece of the preimage, in all pieces within reach, or nowhere. Of each other
        label it tries the three images with the smallest lower bounds.
    max_seconds_each : float
        Time for each input in (c), what is not decided by then is "open"; and for each search of (b) over all pieces.
        A search that it ends makes the result's completeness "budget reached".
    progress : Progress, optional
        Budgets and listener.

    Returns
    -------
    MixingResult
        Pairs of (a) are equal in exact arithmetic. With ``extent="piece"`` points of (b) are in the input's own piece:
        other pieces of the preimage may come nearer. In (c) the whole preimage is searched.

    Raises
    ------
    ArgumentError, ShapeError, DataError
        For labels that do not fit, inputs that are not finite, a reference of another input shape.

    Notes
    -----
    Cost: (a) a forward pass and comparisons of neighbours along a random direction; (b) about three projections
    for each input and label, with ``extent="nearest"`` a search over patterns for each; (c) a search over patterns of
    both networks for each class of the reference.
    """
    progress, start = progress or Progress(), time.monotonic()
    if extent not in ("piece", "nearest", "none"):
        raise ArgumentError(f'extent = {extent!r}: "piece", "nearest" or "none".')
    task = _task(net, X, labels, layer, reference, domain, progress)
    task = replace(task, whole=extent == "nearest", seconds=max_seconds_each)
    out = _empty(task)
    completeness = Completeness.COMPLETE
    try:
        for number, name in enumerate(task.layers):
            out.pairs += [(number, i, j) for i, j in equal_pairs(net, task, name, progress)]
        for number, name in enumerate(task.layers):
            for i in progress.over(range(len(task.labels)), f"mixing at {name}"):
                if extent != "none":
                    _approach(net, task, number, i, out, progress)
                if reference is not None:
                    _read(net, reference, task, number, i, out, progress)
    except BudgetReached:
        completeness = Completeness.BUDGET
    except KeyboardInterrupt:
        completeness = Completeness.INTERRUPTED
    if out.open and completeness is Completeness.COMPLETE:
        completeness = Completeness.BUDGET
    return MixingResult(
        standing=Standing.NUMERICAL,
        completeness=completeness,
        header={
            "seconds": time.monotonic() - start,
            "certified": "pairs; points of (c); 'proven the same' is rigorous",
        },
        layers=task.layers,
        cuts=np.array([cuts(net, name) for name in task.layers]),
        labels=task.labels,
        classes=task.classes,
        pairs=np.array(out.pairs, dtype=np.int64).reshape(-1, 3),
        distances=out.distances,
        targets=out.targets,
        nearest=out.nearest,
        verdicts=out.verdicts,
        answers=out.answers,
        points=out.points,
        extent=extent,
        bounds=out.bounds if extent == "nearest" else np.zeros((0, 0, 0)),
        images=task.X.numpy(),
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """The question, checked."""

    X: torch.Tensor
    labels: np.ndarray
    classes: np.ndarray
    layers: tuple[str, ...]
    given: Box | None
    domain: Box
    whole: bool = False
    seconds: float = 10.0


@dataclass(eq=False)
class _Found:
    """What is filled in."""

    pairs: list[tuple[int, int, int]]
    distances: np.ndarray
    bounds: np.ndarray
    targets: np.ndarray
    nearest: np.ndarray
    verdicts: np.ndarray
    answers: np.ndarray
    points: np.ndarray
    open: bool = False  # a search ended by its own limit


def _task(net, X, labels, layer, reference, domain, progress) -> _Task:
    """Check the arguments."""
    batch = net.as_batch(np.asarray(X))
    y = np.asarray(labels)
    if y.shape != (len(batch),) or not np.issubdtype(y.dtype, np.integer):
        raise ShapeError(f"labels has shape {y.shape} and type {y.dtype}; give {len(batch)} whole numbers.")
    if not len(batch):
        raise DataError("X is empty; give at least one input.")
    if not bool(torch.isfinite(batch).all()):
        raise DataError("X holds NaN or infinite entries; give finite inputs.")
    if reference is not None and reference.input_shape != net.input_shape:
        raise ShapeError(f"The reference reads {reference.input_shape}, the network {net.input_shape}.")
    several = isinstance(layer, Sequence) and not isinstance(layer, str)
    wanted = net.choices if layer is None else layer if several else (layer,)
    names = tuple(net.resolve(name) for name in wanted)
    if not names or INPUT in names:
        raise ArgumentError("layer: name at least one layer behind the input.")
    n = batch[0].numel()
    if domain is not None and domain.ambient != n:
        raise ShapeError(f"The domain has {domain.ambient} variables; the network has {n} inputs.")
    refuse_above(
        progress.max_bytes, 16 * len(names) * batch.numel(), "The points of all inputs take two arrays of that size",
        "Ask about fewer inputs or layers.",
    )  # fmt: skip
    whole = domain or Box(np.full(n, float(batch.min())), float(batch.max()))
    return _Task(batch.cpu().double(), y.astype(np.int64), np.unique(y).astype(np.int64), names, domain, whole)


def _empty(task: _Task) -> _Found:
    count, n, k = len(task.layers), len(task.labels), len(task.classes)
    shape = (count, n, *task.X.shape[1:])
    return _Found(
        [], np.full((count, n, k), np.nan), np.zeros((count, n, k)), np.full((count, n, k), -1), np.full(shape, np.nan),
        np.full((count, n), NOT_ASKED, dtype="<U16"), np.full((count, n), -1), np.full(shape, np.nan),
    )  # fmt: skip


def cuts(net: Network, layer: str) -> bool:
    """Whether every path from the input to the output passes through a layer."""
    inputs = {node.name: node.inputs for node in net.nodes}
    seen, todo = {layer}, [net.output]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name == INPUT:
            return False
        todo += inputs[name]
    return True


def equal_pairs(net: Network, task: _Task, layer: str, progress: Progress) -> list[tuple[int, int]]:
    """Pairs i < j of different labels with equal activity: floats pick the pairs, exact arithmetic decides."""
    part = net.upto(layer)
    with torch.no_grad():
        Y = np.concatenate([part(chunk).flatten(1).cpu().numpy() for chunk in task.X.split(256)])
    direction = np.random.default_rng(0).normal(size=Y.shape[1])
    key = Y @ direction
    size = NEAR * (1 + float(np.abs(Y).max(initial=0.0)))
    reach = size * float(np.abs(direction).sum())
    order = np.argsort(key, kind="stable")
    exactly: dict[int, exact.Columns] = {}
    pairs = []
    for a, i in enumerate(order):
        progress.check()
        for j in order[a + 1 :]:
            if key[j] - key[i] > reach:
                break
            if task.labels[i] != task.labels[j] and np.abs(Y[i] - Y[j]).max(initial=0.0) <= size:
                values = [_exactly(part, layer, task, int(m), exactly) for m in (i, j)]
                if all(values[0].entry(u) == values[1].entry(u) for u in range(Y.shape[1])):
                    pairs.append((min(int(i), int(j)), max(int(i), int(j))))
    return sorted(pairs)


def _exactly(part: Network, layer: str, task: _Task, i: int, known: dict[int, exact.Columns]) -> exact.Columns:
    if i not in known:
        known[i] = exact.forward(part.nodes, exact.Columns.of(task.X[i].numpy().ravel()))[0][layer]
    return known[i]


def _read(net: Network, reference: Network, task: _Task, number: int, i: int, out: _Found, progress: Progress) -> None:
    """What the reference makes of one preimage."""
    seconds = min(task.seconds, progress.seconds_left)
    x = task.X[i].numpy().ravel()
    found = read_differently(net, reference, x, task.layers[number], task.domain, seconds, progress)
    out.verdicts[number, i], out.answers[number, i] = found.verdict, found.answer
    out.open |= found.verdict == OPEN
    if found.point is not None:
        out.points[number, i] = found.point.reshape(net.input_shape)


def _approach(net: Network, task: _Task, number: int, i: int, out: _Found, progress: Progress) -> None:
    """Nearest points of the input's own piece, or of all pieces, to images of every other label.

    The images come in the order of their distance to the common solutions of the own piece's equations, which in the
    own piece is a lower bound.
    """
    own = task.X[i : i + 1]
    cell = _cell(net, own, task.layers[number], 0.0, progress)
    E = _independent(cell.equalities())
    Q = np.linalg.qr(E.T)[0] if len(E) else np.zeros((own.numel(), 0))
    flat = task.X.flatten(1).numpy()
    least = np.linalg.norm((flat - flat[i]) @ Q, axis=1)
    nearest = np.inf
    for c, label in enumerate(task.classes):
        if label == task.labels[i]:
            continue
        best = np.inf
        rivals = np.flatnonzero(task.labels == label)
        for j in rivals[np.argsort(least[rivals], kind="stable")][:CANDIDATES]:
            progress.check()
            if not task.whole and least[j] >= best:
                break
            if task.whole:
                found = _over_all(net, task, number, i, int(j), progress)
                point, bound = found.impostor.ravel(), found.bound
                out.open |= found.completeness is Completeness.BUDGET
            else:
                lower, upper = _box(own, task.X[j : j + 1], task.given)
                point, bound = _project(cell, np.clip(flat[j], lower, upper), lower, upper, progress)[0], 0.0
            distance = float(np.linalg.norm(point - flat[j]))
            if distance < best:
                best = distance
                out.distances[number, i, c], out.targets[number, i, c] = distance, j
                out.bounds[number, i, c] = min(bound, distance)
            if distance < nearest:
                nearest = distance
                out.nearest[number, i] = point.reshape(out.nearest.shape[2:])


def _over_all(net: Network, task: _Task, number: int, i: int, j: int, progress: Progress) -> ImpostorResult:
    """The nearest point of the whole preimage, with the distance that no other undercuts."""
    clock = Progress(max_seconds=min(task.seconds, progress.seconds_left), max_bytes=progress.max_bytes)
    found = impostor(
        net, task.X[i].numpy(), task.X[j].numpy(), layer=task.layers[number], domain=task.given, extent="nearest",
        progress=clock,
    )  # fmt: skip
    if found.completeness is Completeness.INTERRUPTED:
        raise KeyboardInterrupt
    return found
