"""Kinds of the layer preimages of a data set (Behrmann et al. 2018, Theorem 4 and Algorithm 1, for every choice)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from plica.analyses.preimage.activity import Activity, activities, read_value
from plica.analyses.preimage.kinds import KindDecision, LayerKinds, decide
from plica.analyses.preimage.layer import INSTEAD, LayerMatrix, layer_matrix
from plica.analyses.preimage.result import Kind, KindResult
from plica.analyses.preimage.rows import finite_matrix
from plica.core.network import Network
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing, weakest
from plica.core.signs import signs
from plica.errors import ArgumentError, BudgetReached, MemoryBudgetError, ShapeError

CHUNK = 64  # inputs whose patterns and signs are held at once, at most
HELD = 2**24  # values of a chunk's inputs over all nodes, about
DEFAULT_FLOPS = 1e11  # per input: a few seconds on a core


@dataclass(frozen=True, eq=False)
class _Layer:
    """What all inputs share; `refusal` says why there is no dense matrix."""

    units: int
    inputs: int
    prior: np.ndarray | None
    progress: Progress
    max_flops: float
    matrix: LayerMatrix | None = None
    dense: np.ndarray | None = None
    shared: LayerKinds | None = None
    unread: int = 0  # inputs that neither the layer nor the prior reads; 0 where rounding hides which
    refusal: str = ""


def preimage_kind(
    net: Network,
    X: np.ndarray,
    *,
    layer: str | int,
    from_layer: str | int | None = None,
    prior: np.ndarray | None = None,
    progress: Progress | None = None,
    max_flops: float = DEFAULT_FLOPS,
) -> KindResult:
    """Return the kind and dimension of the layer preimage of every input.

    The layer preimage of x is the set of all values of the layer's own input (the outputs of the choices it reads, or
    the network's input) that give the layer exactly the activity it has at x.

    Parameters
    ----------
    net : Network
    X : array, shape (n, *input_shape)
    layer : str or int
        Name or index of the layer, as ``plica info`` prints them.
    from_layer : str or int, optional
        Must be the layer's own input (the default).
    prior : ndarray, shape (q, inputs), optional
        Rows p of further inequalities ``p u <= p u(x) + slack``, slack > 0, on the layer's own input (Remark 3);
        ``-eye`` for inputs known to be nonnegative. A slack of zero bounds the same directions, but may lower the
        dimension, which is not looked at.
    progress : Progress, optional
        Budgets and listener. When the time is up or the work is interrupted, the inputs done so far are returned.
    max_flops : float
        Floating-point operations that one input may take; an input that needs more is decided by counting its
        conditions, or left UNDECIDED with the arithmetic as its reason.

    Returns
    -------
    KindResult
        Without inputs (n = 0) an empty one. Its standing is the weakest among the decided inputs.

    Raises
    ------
    ArgumentError, ShapeError, DataError
        For a layer that is not there, another `from_layer` than the layer's own input, a prior that does not fit.

    Notes
    -----
    A layer of a function that is not monotone (abs, max) has a union of polyhedra as preimage. UNBOUNDED is then
    proven from the witness's own branches; when those alone give a bounded set, the kind of the union is UNDECIDED.
    The dimension is that of the witness's own branches.

    Cost per input, with k kept units, p inequalities, n inputs, r = min(k, n) and d = n - r: a rank decision, 2 n r^2
    flops, and where more than d inequalities face d > 0 free dimensions 2 d (n (n + p) + d p) for the cone.
    """
    progress, start = progress or Progress(), time.monotonic()
    name = net.resolve(layer)
    value = read_value(net, name)
    block, sources = net.block(value, "post")
    if from_layer is not None and (net.resolve(from_layer),) != sources:
        raise ArgumentError(
            f"from_layer = {from_layer!r}: layer {name!r} reads {', '.join(sources)}, and kinds are decided in "
            "the space of the layer's own input. Leave from_layer out."
        )
    size = _Layer(math.prod(block.output_shape), math.prod(block.input_shape), None, progress, max_flops)
    prepared = _prepare(net, value, replace(size, prior=_checked_prior(prior, size.inputs)))
    done, completeness = _decide_all(net, net.as_batch(X), name, prepared)
    decisions = [decision for decision, _ in done]
    known = [d.standing for d in decisions if d.kind is not Kind.UNDECIDED]
    return KindResult(
        standing=weakest(known) if known or not decisions else Standing.NUMERICAL,
        completeness=completeness,
        header={"seconds": time.monotonic() - start},
        layer=name,
        source=sources,
        kinds=np.array([d.kind.value for d in decisions], dtype=str),
        dimensions=np.array([d.dimension for d in decisions], dtype=np.int64),
        positive=np.array([count for _, count in done], dtype=np.int64),
        standings=np.array([d.standing.value for d in decisions], dtype=str),
        reasons=tuple(d.reason for d in decisions),
        shape=(prepared.units, prepared.inputs),
    )


def _checked_prior(prior: np.ndarray | None, inputs: int) -> np.ndarray | None:
    """The prior as a finite matrix of the layer's inputs."""
    if prior is None:
        return None
    rows = finite_matrix(prior, "prior")
    if rows.shape[1] != inputs:
        raise ShapeError(f"prior needs {inputs} columns, one per input of the layer; got shape {rows.shape}.")
    return rows


def _prepare(net: Network, value: str, layer: _Layer) -> _Layer:
    """Make the layer's matrix once, where the budget allows it."""
    max_bytes, m, n = layer.progress.max_bytes, layer.units, layer.inputs
    rows = m if layer.prior is None else m + len(layer.prior)
    try:
        what = f"Deciding kinds holds four copies of a {rows} x {n} matrix"
        refuse_above(max_bytes, 4 * 8 * rows * n, what, INSTEAD)
    except (
        MemoryBudgetError
    ) as error:  # a small sparse matrix may still tell which inputs are picked, and which not read
        layer, max_bytes = replace(layer, refusal=str(error)), max_bytes // 32
    try:
        matrix = layer_matrix(net, value, max_bytes=max_bytes)
    except MemoryBudgetError as error:
        return replace(layer, refusal=layer.refusal or str(error))
    reads = (np.bincount(matrix.rows.indices, minlength=n) > 0) | (not matrix.exact)
    if layer.prior is not None:
        reads |= layer.prior.any(axis=0)
    layer = replace(layer, matrix=matrix, unread=int((~reads).sum()))
    if layer.refusal:
        return layer
    dense = matrix.dense(max_bytes)
    return replace(layer, dense=dense, shared=LayerKinds(dense, prior=layer.prior, progress=layer.progress))


def _decide_all(
    net: Network, batch: Tensor, name: str, layer: _Layer
) -> tuple[list[tuple[KindDecision, int]], Completeness]:
    """Kind and number of positive outputs, input after input; stop early at a budget or an interrupt."""
    done: list[tuple[KindDecision, int]] = []
    try:
        for activity, count in _activities(net, batch, name):
            layer.progress.check()
            done.append((_decide(activity, layer), count))
            layer.progress.report(f"kinds of {name}", len(done), len(batch))
    except BudgetReached:
        return done, Completeness.BUDGET
    except KeyboardInterrupt:
        return done, Completeness.INTERRUPTED
    return done, Completeness.COMPLETE


def _activities(net: Network, batch: Tensor, name: str) -> Iterator[tuple[Activity, int]]:
    """Activity and number of positive outputs of every input, a chunk of inputs at a time."""
    part = net.upto(name)
    chunk = max(1, min(CHUNK, HELD // sum(math.prod(node.shape) for node in part.nodes)))
    for i in range(0, len(batch), chunk):
        x = batch[i : i + chunk]
        pattern = part.pattern(x)
        outputs = signs(part, x, pattern, name, torch.zeros(1, dtype=torch.float64, device=x.device))[0]
        counts = (outputs > 0).reshape(len(x), -1).sum(1).tolist()
        yield from zip(activities(part, x, pattern, name), counts, strict=True)


def _decide(activity: Activity, layer: _Layer) -> KindDecision:
    """Kind of one activity."""
    decision = _of_selection(activity, layer)
    if decision is not None:
        return decision
    if (refusal := layer.refusal or _too_long(activity, layer)) or layer.dense is None:
        return _by_counting(activity, layer, refusal)
    decision = _of_rows(activity, layer, layer.dense)
    if decision.kind is Kind.UNDECIDED:
        return _by_counting(activity, layer, decision.reason)
    return _of_union(_weakened(decision, layer), activity, layer)


def _of_rows(activity: Activity, layer: _Layer, dense: np.ndarray) -> KindDecision:
    """Kind of the witness's own branches.

    The row of a difference z[plus] - z[minus] may be taken as that of z[plus]: its subtrahend is a winner, which is
    kept, so that its own row is zero on the preimage's directions.
    """
    covered = np.zeros(layer.units, dtype=bool)
    covered[activity.fixed] = covered[activity.plus] = True
    if layer.shared is not None and covered.all() and bool((activity.sign > 0).all()):
        active, tight = (np.zeros(layer.units, dtype=bool) for _ in range(2))
        active[activity.fixed] = True
        tight[activity.plus[activity.tight]] = True
        return layer.shared.decide(active, tight)
    rows, tight = activity.sign[:, None] * dense[activity.plus], activity.tight
    if layer.prior is not None:
        rows = np.vstack([rows, layer.prior])
        tight = np.concatenate([tight, np.zeros(len(layer.prior), dtype=bool)])
    try:
        return decide(dense[activity.fixed], rows, tight, progress=layer.progress)
    except MemoryBudgetError as error:
        return _undecided(str(error))


def _undecided(reason: str) -> KindDecision:
    return KindDecision(Kind.UNDECIDED, -1, Standing.NUMERICAL, reason, {})


def _too_long(activity: Activity, layer: _Layer) -> str:
    """The arithmetic of a decision that takes more than `max_flops`; empty when it does not."""
    n, k = layer.inputs - layer.unread, len(activity.fixed)
    p = len(activity.plus) + (0 if layer.prior is None else len(layer.prior))
    r = min(k, n)
    d = n - r
    flops = 2.0 * n * r**2 + (2.0 * d * (n * (n + p) + d * p) if p > d > 0 else 0.0)
    if flops <= layer.max_flops:
        return ""
    return (
        f"{k} kept units and {p} inequalities on {n} inputs take about {flops:.1e} floating-point operations, above "
        f"max_flops = {layer.max_flops:.1e}."
    )


def _by_counting(activity: Activity, layer: _Layer, refusal: str) -> KindDecision:
    """What can be said without linear algebra: too few rows cannot bound the input."""
    equations = len(activity.fixed)
    below = len(np.unique(activity.plus)) + (0 if layer.prior is None else len(layer.prior))
    rows, n = equations + below, layer.inputs
    if layer.unread or (rows <= n and equations < n):
        reason = f"{rows} conditions, {equations} of them equations, cannot bound {n} inputs. {refusal}"
        if layer.unread:
            reason = f"{layer.unread} of the {n} inputs are not read. {refusal}"
        return KindDecision(Kind.UNBOUNDED, -1, Standing.CERTIFIED, reason, {"method": "count"})
    return _undecided(refusal)


def _weakened(decision: KindDecision, layer: _Layer) -> KindDecision:
    """A matrix that is itself a rounded product proves nothing about the network's own."""
    if layer.matrix is None or layer.matrix.exact or decision.kind is Kind.UNDECIDED:
        return decision
    reason = f"{decision.reason} The layer's matrix is a product of weights rounded to float64."
    return replace(decision, standing=Standing.NUMERICAL, reason=reason)


def _of_selection(activity: Activity, layer: _Layer) -> KindDecision | None:
    """Of a layer that only picks entries of its input (pooling): an entry that is not kept may fall for ever."""
    if layer.matrix is None or layer.prior is not None:
        return None
    rows, n = layer.matrix.rows, layer.inputs
    picks = len(rows.data) == rows.shape[0] and bool((np.diff(rows.indptr) == 1).all() and (rows.data > 0).all())
    if not picks or bool((activity.sign < 0).any()):
        return None
    kept = np.unique(rows.indices[activity.fixed])
    if len(kept) == n:
        return None
    reason = f"The layer picks {len(kept)} of its {n} inputs; each of the others may fall without bound."
    return KindDecision(Kind.UNBOUNDED, n - len(kept), Standing.CERTIFIED, reason, {"method": "selection"})


def _of_union(decision: KindDecision, activity: Activity, layer: _Layer) -> KindDecision:
    """Read a decision about the witness's own branches as one about all inputs with the activity."""
    if activity.alone or decision.kind is Kind.UNBOUNDED:
        return decision
    is_regular = layer.units == layer.inputs and layer.prior is None
    if is_regular and activity.mirrored is not None and decision.kind is Kind.SINGLETON:
        reason = f"A regular square matrix: one point for each of the 2^{len(activity.mirrored)} choices of sides."
        return replace(decision, kind=Kind.FINITE, reason=reason)
    reason = (
        f"The input's own branches give a {decision.kind} set; other branches may give the same activity, and they are "
        "not searched here."
    )
    return _undecided(reason)
