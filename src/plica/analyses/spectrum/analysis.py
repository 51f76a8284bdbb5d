"""Singular values of the linearisation up to every layer (Behrmann et al. 2018, section 3)."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plica.analyses.spectrum.jacobian import At, jacobians
from plica.analyses.spectrum.result import SpectrumResult
from plica.analyses.spectrum.values import directions, rank_is_proven, singular_values
from plica.core.affine import Affine
from plica.core.choice import Choice
from plica.core.network import INPUT, Network
from plica.core.pattern import UNIT, Pattern
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, DataError

EPSILON = 2 * UNIT
CHUNK = 32  # inputs whose patterns are found together
Layers = Sequence[str | int] | str | int | None
Window = Sequence[slice] | np.ndarray | None


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of every input; see `one_spectrum`."""

    net: Network
    layers: tuple[str, ...]
    sides: tuple[str, ...]
    names: tuple[str, ...]
    chosen: np.ndarray
    vectors: int
    progress: Progress


@dataclass(frozen=True, eq=False)
class Row:
    """The spectra of one input, one entry per value."""

    values: tuple[np.ndarray, ...]
    ranks: tuple[int, ...]
    most: tuple[int, ...]
    proven: tuple[bool, ...]
    thresholds: tuple[float, ...]
    errors: tuple[float, ...]
    alive: tuple[int, ...]
    methods: tuple[str, ...]
    directions: tuple[np.ndarray, ...]


def spectrum(
    net: Network,
    X: np.ndarray | Tensor,
    layers: Layers = None,
    *,
    side: str = "both",
    vectors: int = 0,
    window: Window = None,
    progress: Progress | None = None,
) -> SpectrumResult:
    """Singular values of the linearisation at every input, from the network's input up to every layer.

    Around an input the network is one affine map (its piece); its matrix up to a layer is the Jacobian there.

    Parameters
    ----------
    net : Network
    X : array, shape (n, *input_shape)
    layers : sequence of str or int, optional
        Names or indices, as ``plica info`` prints them; by default all.
    side : {"both", "pre", "post"}
        Before a layer's choice (ReLU, maximum), after it, or both.
    vectors : int
        So many most and least amplified directions of the input, per input and value.
    window : sequence of slice, or boolean array of input_shape, optional
        Only these inputs vary; one slice per axis of the input. For images too large for all their directions.
    progress : Progress, optional
        Budgets and listener. When the time is up or the work is interrupted, the inputs done so far are returned.

    Returns
    -------
    SpectrumResult
        NUMERICAL; `proven` says which ranks are more.

    Raises
    ------
    ArgumentError, ShapeError
        For layers, sides or windows that are not there.
    DataError
        When weights or inputs are NaN or infinite.
    MemoryBudgetError
        When the Jacobians or a Gram matrix do not fit in ``progress.max_bytes``.

    Notes
    -----
    Where the condition number is below 1e3 every value has a relative error of about 1e-11, up to 1e6 of about
    eps cond, beyond that those of a singular value decomposition, eps times the largest value. A value counts as zero
    below ``max(rows, columns) * 2^-52 * largest``, as in NumPy, or below what rounding usually adds along the graph,
    whichever is more.

    Cost of k units alive and n directions with s = min(k, n): the affine maps of n vectors on the boxes where they are
    not zero, k n s flops for a Gram matrix (less for convolutions), 4/3 s^3 for its eigenvalues; for a condition above
    1e3 about twice, above 1e6 four times that.

    Source: Behrmann et al. (2018), section 3.2 and appendix A6.

    Examples
    --------
    >>> import torch
    >>> from plica.core.affine import Dense
    >>> from plica.core.choice import relu
    >>> from plica.core.network import INPUT, Graph
    >>> graph = Graph((2,))
    >>> A = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    >>> _ = graph.add("z", relu((3,)), graph.add("a", Dense(A, None, (2,)), INPUT))
    >>> found = spectrum(graph.network(), np.array([[1.0, 1.0]]))
    >>> found.sides, [v.round(6).tolist() for v in found.values]
    (('pre', 'post'), [[[2.236068, 1.0]], [[2.0, 1.0]]])
    >>> found.ranks.tolist(), found.proven.all().item()
    ([[2, 2]], True)
    """
    start, progress = time.monotonic(), progress or Progress()
    question = _question(net, layers, side, vectors, window, progress)
    batch = net.as_batch(X)
    rows, state = _rows(question, batch)
    return _result(question, rows, state, time.monotonic() - start, window)


def _question(net: Network, layers: Layers, side: str, vectors: int, window: Window, progress: Progress) -> Question:
    """Check the arguments."""
    if net.dtype != torch.float64:
        raise ArgumentError(f"spectrum: the network was cast to {net.dtype}; use the float64 original.")
    if vectors < 0:
        raise ArgumentError(f"vectors = {vectors}: a count of 0 or more.")
    for node in net.nodes:
        if not all(bool(torch.isfinite(t).all()) for t in _numbers(node.op)):
            raise DataError(f"spectrum: node {node.name!r} has weights that are NaN or infinite; no spectrum exists.")
    places = _values(net, layers, side)
    chosen = window_mask(window, net.input_shape)
    largest = max((min(int(chosen.sum()), math.prod(net.shape_of(name))) for _, _, name in places), default=0)
    refuse_above(
        progress.max_bytes, 24 * largest**2,
        f"A Gram matrix of {largest} rows and the work space of its eigenvalues",
        "Give a window= of the input, or layers= with fewer units.",
    )  # fmt: skip
    named, sides, names = (tuple(place[k] for place in places) for k in range(3))
    return Question(net, named, sides, names, chosen.ravel(), vectors, progress)


def _numbers(op: Affine | Choice) -> list[Tensor]:
    """Floating-point parameters of a node, biases left out; infinite knots or intercepts do not matter here."""
    inner = getattr(op, "node", op)
    names = ("weight", "factor", "divisor", "slopes")
    found = [getattr(inner, name) for name in names if isinstance(getattr(inner, name, None), Tensor)]
    return [t for t in found if t.is_floating_point()]


def _values(net: Network, layers: Layers, side: str) -> list[tuple[str, str, str]]:
    """Layer, side and name of the values asked for; an affine layer has a side after it only."""
    if side not in ("both", "pre", "post"):
        raise ArgumentError(f"side = {side!r}: use 'both', 'pre' or 'post'.")
    wanted = net.layers if layers is None else (layers,) if isinstance(layers, (str, int)) else tuple(layers)
    found = []
    for layer in wanted:
        name = net.resolve(layer)
        is_choice = name != INPUT and isinstance(net[name].op, Choice)
        for which in ("pre", "post") if side == "both" and is_choice else ("post",) if side == "both" else (side,):
            if which == "pre" and not is_choice and layers is None:
                continue
            found.append((name, which, net.resolve(name, which)))
    return found


def window_mask(window: Window, shape: tuple[int, ...]) -> np.ndarray:
    """Which inputs vary, boolean of the input's shape."""
    mask = np.zeros(shape, dtype=bool)
    if window is None:
        mask[...] = True
    elif isinstance(window, np.ndarray):
        if window.dtype != bool or window.shape != shape:
            raise ArgumentError(f"window has shape {window.shape}; give a boolean array of shape {shape}, or slices.")
        mask[...] = window
    else:
        cuts = tuple(window)
        if len(cuts) != len(shape) or not all(isinstance(c, slice) for c in cuts):
            raise ArgumentError(f"window = {cuts}: give one slice per axis of the input, whose shape is {shape}.")
        mask[cuts] = True
    if not mask.any():
        raise ArgumentError(f"window: no input of shape {shape} lies in it.")
    return mask


def _rows(question: Question, batch: Tensor) -> tuple[list[Row], Completeness]:
    """Spectra of the inputs, one after the other; inputs of one piece are done once."""
    rows: list[Row] = []
    known: dict[bytes, Row] = {}
    report = question.progress
    report.report("spectrum", 0, len(batch))
    try:
        for first in range(0, len(batch), CHUNK):
            patterns = question.net.pattern(batch[first : first + CHUNK])
            for i, key in enumerate(patterns.keys()):
                report.check()
                digest = hashlib.sha256(key).digest()
                if digest not in known:
                    known[digest] = one_spectrum(question, patterns[i])
                rows.append(known[digest])
                report.report("spectrum", len(rows), len(batch))
    except BudgetReached:
        return rows, Completeness.BUDGET
    except KeyboardInterrupt:
        return rows, Completeness.INTERRUPTED
    return rows, Completeness.COMPLETE


def one_spectrum(question: Question, pattern: Pattern) -> Row:
    """Spectra of one pattern; depends on nothing else."""
    with torch.no_grad():
        frozen = question.net.freeze(pattern)
        found = {}
        steps = jacobians(
            frozen, question.names, question.chosen, vectors=question.vectors > 0,
            max_bytes=question.progress.max_bytes, check=question.progress.check,
        )  # fmt: skip
        for at in steps:
            found[at.name] = _answer(at, question, question.progress.check)
    entries = [found[name] for name in question.names]
    return Row(*(tuple(column) for column in zip(*entries, strict=True))) if entries else Row(*((),) * 9)


def _answer(at: At, question: Question, check: Callable[[], None]) -> tuple:
    """Entries of a `Row` for one value."""
    J, frozen = at.jacobian, question.net
    size = min(math.prod(frozen.shape_of(at.name)), int(question.chosen.sum()))
    got = singular_values(J, at.most, check)
    values = np.zeros(size)
    values[: len(got.values)] = got.values
    if np.isnan(got.values).any():
        raise DataError(f"spectrum: the Jacobian at {at.name!r} overflows float64; scale the weights down.")
    largest = float(values.max(initial=0.0))
    threshold = max(max(J.shape) * EPSILON * largest, at.doubt.usual)
    rank = int((values > threshold).sum())
    proven = rank == at.most and got.gram is not None and rank_is_proven(J, got.gram, rank, at.doubt.bound)
    proven = proven or at.most == 0
    pictures = _pictures(at, question, rank, got.gram, got.method) if question.vectors else np.zeros(0)
    return values, rank, at.most, proven, threshold, at.doubt.bound, J.shape[0], got.method, pictures


def _pictures(at: At, question: Question, rank: int, gram: Tensor | None, method: str) -> np.ndarray:
    """Directions as inputs, shape (2 vectors, *input_shape); their entry of largest magnitude is positive."""
    found = directions(at.jacobian, gram, rank, question.vectors, method)
    rows = (found if at.basis is None else at.basis @ found).T.cpu().numpy()
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(1)]
    out = np.zeros((2 * question.vectors, len(question.chosen)))
    out[:, at.columns] = rows * np.sign(largest)[:, None]
    return out.reshape(-1, *question.net.input_shape)


def _result(question: Question, rows: list[Row], state: Completeness, seconds: float, window: Window) -> SpectrumResult:
    count, net = len(question.names), question.net
    units = np.array([math.prod(net.shape_of(name)) for name in question.names], dtype=np.int64)
    inputs = int(question.chosen.sum())
    corners = np.nonzero(question.chosen.reshape(net.input_shape or (1,)))

    def table(name: str, kind: type) -> np.ndarray:
        return np.array([getattr(row, name) for row in rows], dtype=kind).reshape(len(rows), count)

    def lists(name: str, shapes: list[tuple[int, ...]]) -> tuple[np.ndarray, ...]:
        return tuple(
            np.array([getattr(row, name)[j] for row in rows]).reshape(len(rows), *shape)
            for j, shape in enumerate(shapes)
        )

    pictures = [(2 * question.vectors, *net.input_shape)] * count
    return SpectrumResult(
        standing=Standing.NUMERICAL,
        completeness=state,
        header={"seconds": seconds},
        layers=question.layers,
        sides=question.sides,
        units=units,
        inputs=inputs,
        values=lists("values", [(min(int(u), inputs),) for u in units]),
        ranks=table("ranks", np.int64),
        most=table("most", np.int64),
        proven=table("proven", bool),
        thresholds=table("thresholds", float),
        errors=table("errors", float),
        alive=table("alive", np.int64),
        methods=table("methods", str),
        directions=lists("directions", pictures) if question.vectors else None,
        window=None if window is None else tuple((int(c.min()), int(c.max()) + 1) for c in corners),
    )
