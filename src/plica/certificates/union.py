"""The claim that a preimage is empty, or consists of the pieces found: a tree of branches with multipliers."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from plica import checker
from plica.analyses.preimage import Preimage, PreimageResult, preimage, preimage_of
from plica.certificates.cover import Cover
from plica.core.domain import Box
from plica.core.network import INPUT, Network
from plica.core.progress import Progress
from plica.core.search.conditions import Conditions
from plica.errors import ArgumentError, PlicaError

ACTIVITY = "the activity of x"


def union_claim(
    model: Any, result: Preimage | PreimageResult, X: Any, index: int, progress: Progress, target: Any = None
) -> dict[str, Any]:
    """Say what a whole preimage is, with a point of every piece, and what excludes all other branches.

    Parameters
    ----------
    model : as `certify` reads it
    result : Preimage or PreimageResult
        All pieces must be known.
    X : array
        The inputs; `index` is the one whose activity is asked for. Not needed for other targets, nor for a `Preimage`
        in the space of the inputs.
    target : optional
        What `preimage_of` was asked, for a saved result.

    Raises
    ------
    ArgumentError
        Where pieces may be missing, a point of one is not known exactly, or no proof is found.
    """
    x = None if X is None else model.net.as_batch(np.asarray(X))[index].double().cpu().numpy().ravel()
    union = result if isinstance(result, Preimage) else _asked_again(model.net, result, x, target, progress)
    for _ in union.pieces():
        progress.check()
    if not union.is_complete:
        raise ArgumentError("certify: pieces may be missing. Give the search more time, or a smaller domain.")
    claim = {**_question(model, union, x), **_box(union)}
    network, shape, goal, _ = checker.asked(model.graph, claim)
    names = [layer.output for layer in network[:-1]]
    own = {model.names[node.name]: node.name for node in union.graph.network.nodes if node.name in model.names}
    if not set(names) <= own.keys() or len(names) != len(union.graph.spans) - 1:
        raise ArgumentError("certify: the checker reads this network with other choices; it has no certificate.")
    claim["pieces"] = [
        {"branches": [piece.found.branches[own[name]].tolist() for name in names], "point": _point(piece)}
        for piece in union.pieces()
    ]
    patterns = [piece["branches"] for piece in claim["pieces"]]
    claim["tree"] = Cover(network, checker.region(claim, math.prod(shape)), goal, patterns, progress).tree()
    try:
        checker.union_claim(model.graph, claim)
    except Exception as error:
        raise ArgumentError(f"certify: the checker does not accept the proof ({error}).") from error
    return claim


def _asked_again(net: Network, result: PreimageResult, x: Any, target: Any, progress: Progress) -> Preimage:
    """The preimage of a saved result, its pieces taken over."""
    domain = Box(result.lower, result.upper) if np.isfinite([result.lower, result.upper]).any() else None
    if result.target == ACTIVITY:
        if x is None:
            raise ArgumentError("certify: give the inputs X of the result, and the index of its own.")
        source = None if result.source == INPUT else result.source
        x = np.reshape(x, net.input_shape)
        found = preimage(net, x, layer=result.layer, from_layer=source, domain=domain, progress=progress)
    elif target is None:
        raise ArgumentError(f"certify: the result is about {result.target}; give it as target, as preimage_of had it.")
    else:
        found = preimage_of(net, target, layer=result.layer, domain=domain, progress=progress)
    return found.restore(result)


def _question(model: Any, union: Preimage, x: np.ndarray | None) -> dict[str, Any]:
    """What is asked, for the checker: an input's activity, or rows of a value."""
    q = union.question
    words: dict[str, Any] = {"claim": "union", "source": model.of(q.source), "layer": model.of(q.layer)}
    if q.target == ACTIVITY:
        if x is None and q.source == INPUT and q.witness is not None:
            x = np.array([float(q.witness.entry(i)) for i in range(len(q.witness.numerator))])
        if x is None:
            raise ArgumentError("certify: give the inputs X of the preimage, and the index of its own.")
        return {**words, "x": [float(v).hex() for v in x]}
    return {**words, "layer": model.of(q.conditions.value), "rows": _rows(q.conditions)}


def _rows(conditions: Conditions) -> list[list]:
    """Conditions as [[number, coefficient], ...], lower and upper limit."""
    out = []
    for A, ends, equal in ((conditions.G, conditions.h, False), (conditions.E, conditions.e, True)):
        for i, end in enumerate(ends):
            span = slice(A.indptr[i], A.indptr[i + 1])
            terms = zip(A.indices[span].tolist(), A.data[span].tolist(), strict=True)
            out.append([[[j, _hex(Fraction(v))] for j, v in terms], _hex(end) if equal else None, _hex(end)])
    return out


def _box(union: Preimage) -> dict[str, Any]:
    n, box = union.graph.spans[INPUT].stop, union.question.domain
    low, high = ([-math.inf] * n, [math.inf] * n) if box is None else (box.lower.tolist(), box.upper.tolist())
    return {"lower": [float(v).hex() for v in low], "upper": [float(v).hex() for v in high]}


def _point(piece: Any) -> list[str]:
    """An exact point of a piece."""
    try:
        return [_hex(v) for v in piece.exact_point]
    except PlicaError as error:
        raise ArgumentError(f"certify: a piece has no exact point ({error}).") from error


def _hex(value: Fraction) -> str:
    """A fraction as the checker reads it."""
    return f"{value.numerator:x}/{value.denominator:x}"
