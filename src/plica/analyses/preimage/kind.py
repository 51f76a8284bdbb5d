"""Kinds of the layer preimages of a data set (Behrmann et al. 2018, Theorem 4 and Algorithm 1, for every choice)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from plica.analyses.preimage.activity import Activity, activities, read_value
from plica.analyses.preimage.kinds import KindDecision, LayerKinds, decide
from plica.analyses.preimage.layer import LayerMatrix, layer_matrix
from plica.analyses.preimage.result import Kind, KindResult
from plica.core.choice import MaxOver
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing, weakest
from plica.errors import ArgumentError, BudgetReached, MemoryBudgetError

CHUNK = 64  # inputs whose patterns and signs are held at once


@dataclass(frozen=True, eq=False)
class _Layer:
    """What all inputs share."""

    matrix: LayerMatrix
    prior: np.ndarray | None
    progress: Progress
    shared: LayerKinds | None  # for a layer whose rows are all of the form z <= knot
    dense: np.ndarray | None
    refusal: str


def preimage_kind(
    net: Network,
    X: np.ndarray,
    *,
    layer: str | int,
    from_layer: str | int | None = None,
    prior: np.ndarray | None = None,
    progress: Progress | None = None,
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
        ``-eye`` for inputs known to be nonnegative.
    progress : Progress, optional
        Budgets and listener. When the time is up or the work is interrupted, the inputs done so far are returned.

    Returns
    -------
    KindResult

    Notes
    -----
    A layer of a function that is not monotone (abs, max) has a union of polyhedra as preimage. UNBOUNDED is then
    proven from the witness's own branches; when those alone give a bounded set, the kind of the union is UNDECIDED.
    The dimension is that of the witness's own branches.

    Cost per input: a rank decision of the positive units' rows, and where they do not fix the input a nonnegative
    least squares problem.
    """
    progress, start = progress or Progress(), time.monotonic()
    name = net.resolve(layer)
    matrix = layer_matrix(net, read_value(net, name))
    if from_layer is not None and (net.resolve(from_layer),) != matrix.sources:
        raise ArgumentError(
            f"from_layer = {from_layer!r}: layer {name!r} reads {', '.join(matrix.sources)}, and kinds are decided in "
            "the space of the layer's own input. Leave from_layer out."
        )
    prepared = _prepare(net, name, matrix, prior, progress)
    decisions, positive, completeness = _decide_all(net, net.as_batch(X), name, prepared)
    return KindResult(
        standing=weakest(d.standing for d in decisions if d.kind is not Kind.UNDECIDED),
        completeness=completeness,
        header={"seconds": time.monotonic() - start},
        layer=name,
        source=matrix.sources,
        kinds=np.array([d.kind.value for d in decisions], dtype=str),
        dimensions=np.array([d.dimension for d in decisions], dtype=np.int64),
        positive=np.array(positive, dtype=np.int64),
        standings=np.array([d.standing.value for d in decisions], dtype=str),
        reasons=tuple(d.reason for d in decisions),
        shape=matrix.rows.shape,
    )


def _prepare(net: Network, name: str, matrix: LayerMatrix, prior: np.ndarray | None, progress: Progress) -> _Layer:
    """Make the layer's matrix dense once, where the budget allows it."""
    try:
        dense = matrix.dense(progress.max_bytes)
        simple = not isinstance(net[name].op, MaxOver)
        shared = LayerKinds(dense, prior=prior, progress=progress) if simple else None
        return _Layer(matrix, prior, progress, shared, dense, "")
    except MemoryBudgetError as error:
        return _Layer(matrix, prior, progress, None, None, str(error))


def _decide_all(net: Network, batch, name: str, layer: _Layer):
    """Decide input after input; stop early at a budget or an interrupt."""
    decisions: list[KindDecision] = []
    positive: list[int] = []
    completeness = Completeness.COMPLETE
    progress, total = layer.progress, len(batch)
    try:
        for i in range(0, total, CHUNK):
            part = batch[i : i + CHUNK]
            held = activities(net, part, net.pattern(part), name)
            outputs = net.values(part, name)[name].flatten(1)
            counts = (outputs > 0).sum(1).tolist()
            for activity, count in zip(held, counts, strict=True):
                progress.check()
                decisions.append(_decide(activity, layer))
                positive.append(count)
                progress.report(f"kinds of {name}", len(decisions), total)
    except BudgetReached:
        completeness = Completeness.BUDGET
    except KeyboardInterrupt:
        completeness = Completeness.INTERRUPTED
    return decisions, positive, completeness


def _decide(activity: Activity, layer: _Layer) -> KindDecision:
    """Kind of one activity."""
    m, n = layer.matrix.rows.shape
    decision = _of_selection(activity, layer)
    if decision is not None:
        return decision
    if layer.dense is None:
        return _by_counting(activity, n, layer)
    if layer.shared is not None and _is_simple(activity, m):
        active, tight = (np.zeros(m, dtype=bool) for _ in range(2))
        active[activity.fixed] = True
        tight[activity.plus[activity.tight]] = True
        decision = layer.shared.decide(active, tight)
    else:
        decision = _general(activity, layer, layer.dense)
    return _of_union(_weakened(decision, layer), activity, square=m == n)


def _is_simple(activity: Activity, units: int) -> bool:
    """Whether every unit is either kept or held below a knot: then all inputs share the same rows."""
    below = bool((activity.minus < 0).all() and (activity.sign > 0).all())
    return below and len(activity.fixed) + len(activity.plus) == units


def _general(activity: Activity, layer: _Layer, dense: np.ndarray) -> KindDecision:
    """Any mixture of kept units and of rows above, below and between."""
    difference = dense[activity.plus] - np.where(activity.minus[:, None] >= 0, dense[activity.minus], 0.0)
    rows = activity.sign[:, None] * difference
    tight = activity.tight
    if layer.prior is not None:
        rows = np.vstack([rows, layer.prior])
        tight = np.concatenate([tight, np.zeros(len(layer.prior), dtype=bool)])
    return decide(dense[activity.fixed], rows, tight, progress=layer.progress)


def _by_counting(activity: Activity, n: int, layer: _Layer) -> KindDecision:
    """What can be said without the dense matrix: too few rows cannot bound the input."""
    rows = len(activity.fixed) + len(activity.plus) + (0 if layer.prior is None else len(layer.prior))
    if rows <= n and len(activity.fixed) < n:
        equations = len(activity.fixed)
        reason = f"{rows} conditions, {equations} of them equations, cannot bound {n} inputs. {layer.refusal}"
        return KindDecision(Kind.UNBOUNDED, -1, Standing.CERTIFIED, reason, {"method": "count"})
    return KindDecision(Kind.UNDECIDED, -1, Standing.NUMERICAL, layer.refusal, {})


def _weakened(decision: KindDecision, layer: _Layer) -> KindDecision:
    """A matrix that is itself a rounded product proves nothing about the network's own."""
    if layer.matrix.exact or decision.kind is Kind.UNDECIDED:
        return decision
    reason = f"{decision.reason} The layer's matrix is a product of weights rounded to float64."
    return replace(decision, standing=Standing.NUMERICAL, reason=reason)


def _of_selection(activity: Activity, layer: _Layer) -> KindDecision | None:
    """Of a layer that only picks entries of its input (pooling): an entry that is not kept may fall for ever."""
    rows, n = layer.matrix.rows, layer.matrix.rows.shape[1]
    picks = len(rows.data) == rows.shape[0] and bool((np.diff(rows.indptr) == 1).all() and (rows.data > 0).all())
    if not picks or layer.prior is not None or bool((activity.sign < 0).any()):
        return None
    kept = np.unique(rows.indices[activity.fixed])
    if len(kept) == n:
        return None
    reason = f"The layer picks {len(kept)} of its {n} inputs; each of the others may fall without bound."
    return KindDecision(Kind.UNBOUNDED, n - len(kept), Standing.CERTIFIED, reason, {"method": "selection"})


def _of_union(decision: KindDecision, activity: Activity, *, square: bool) -> KindDecision:
    """Read a decision about the witness's own branches as one about all inputs with the activity."""
    if activity.alone or decision.kind in (Kind.UNBOUNDED, Kind.UNDECIDED):
        return decision
    if activity.mirrored is not None and decision.kind is Kind.SINGLETON:
        if len(activity.mirrored) == 0:
            return decision
        if square:  # a regular matrix: every choice of sides is some point
            reason = f"A regular square matrix: one point for each of the 2^{len(activity.mirrored)} choices of sides."
            return replace(decision, kind=Kind.FINITE, reason=reason)
    reason = (
        f"The input's own branches give a {decision.kind} set; other branches may give the same activity, and they are "
        "not searched here."
    )
    return replace(decision, kind=Kind.UNDECIDED, standing=Standing.NUMERICAL, reason=reason, certificate={})
