"""A tree as data: what `bound_checker` reads, exact rows of the network, and the largest radius that it accepts."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from plica import bound_checker as exact
from plica.analyses.adversarial.exact.bounds import State
from plica.analyses.adversarial.exact.dual import Multipliers
from plica.analyses.adversarial.exact.hull import Hull
from plica.analyses.adversarial.exact.layers import Layers, Maximum, Scalar
from plica.analyses.adversarial.exact.tree import Node, Tree
from plica.core.affine import Affine, Scale
from plica.core.choice import Choice
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.search.blocks import _bias, _divisor
from plica.errors import ArgumentError

SHARES = (1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # by which the radius is lowered until the checker accepts

Row = dict[int, Fraction]


def exact_rows(layers: Layers) -> list[tuple[list[Row], list[Fraction]]]:
    """Rows of what every choice reads, and of the outputs, over the inputs and the outputs of choices, in fractions."""
    net, spans = layers.graph.network, layers.graph.spans
    known: dict[str, tuple[list[Row], list[Fraction]]] = {INPUT: _unit_rows(spans[INPUT])}
    out = []
    for node in net.nodes:
        inputs = [known[name] for name in node.inputs]
        if isinstance(node.op, Choice):
            out.append(inputs[0])
            known[node.name] = _unit_rows(spans[node.name])
        else:
            known[node.name] = _affine(node.op, math.prod(node.shape), inputs)
    return [*out, known[layers.graph.value]]


def _unit_rows(span: slice) -> tuple[list[Row], list[Fraction]]:
    return [{c: Fraction(1)} for c in range(span.start, span.stop)], [Fraction(0)] * (span.stop - span.start)


def _affine(op: Affine, units: int, inputs: list[tuple[list[Row], list[Fraction]]]) -> tuple[list[Row], list[Fraction]]:
    divisor = _divisor(op, units) if isinstance(op, Scale) else None
    bias = _bias(op, units)
    rows: list[Row] = [{} for _ in range(units)]
    offset = [Fraction(0)] * units
    for part, (given, constants) in zip(op.entries(), inputs, strict=True):
        csr = part.tocsr()
        for r in range(units):
            for p in range(csr.indptr[r], csr.indptr[r + 1]):
                weight, source = Fraction(float(csr.data[p])), int(csr.indices[p])
                offset[r] += weight * constants[source]
                for c, v in given[source].items():
                    rows[r][c] = rows[r].get(c, Fraction(0)) + weight * v
    for r in range(units):
        scale = Fraction(1) if divisor is None else 1 / Fraction(float(divisor[r]))
        rows[r] = {c: v * scale for c, v in rows[r].items() if v}
        offset[r] = offset[r] * scale + Fraction(float(bias[r]))
    return rows, offset


def _table(choice: Scalar | Maximum) -> tuple:
    if isinstance(choice, Maximum):
        return ("max", [[int(i) for i in group if i >= 0] for group in choice.index])
    parts = []
    for table in (choice.knots, choice.slopes, choice.intercepts):
        values = [[Fraction(float(v)) for v in column] for column in table.T]
        if any(exact.ONE % v.denominator for column in values for v in column):
            raise ArgumentError("a slope or knot of a choice needs more than 80 bits; this proof cannot be written.")
        parts.append([[exact.floor(v) for v in column] for column in values])
    return ("scalar", *parts)


def exact_network(layers: Layers) -> list[exact.Layer]:
    """The network around the layers' input, as `bound_checker` reads it."""
    x = [Fraction(float(v)) for v in layers.x]
    tables = [*map(_table, layers.choices), None]
    rows = exact_rows(layers)
    return [exact.exact_layer(r, offset, t, x) for (r, offset), t in zip(rows, tables, strict=True)]


def exact_ball(x: np.ndarray, lower: np.ndarray, upper: np.ndarray, norm: float, radius: Fraction) -> exact.Domain:
    """The ball of a radius cut with the box, rounded outward."""
    n, r = len(x), exact.ceil(radius)
    low, high = [-r] * n, [r] * n
    for i in range(n):
        if math.isfinite(lower[i]):
            low[i] = max(-r, exact.floor(Fraction(float(lower[i])) - Fraction(float(x[i]))))
        if math.isfinite(upper[i]):
            high[i] = min(r, exact.ceil(Fraction(float(upper[i])) - Fraction(float(x[i]))))
    return exact.Domain(low, high, f"{norm:g}", r, [0] * n, 0)


def steps_of(node: Node, before: State | None = None) -> dict[str, Any]:
    """A node and all below it as lists and whole numbers."""
    out: dict[str, Any] = {"steps": []}
    last = before
    for state, weights in node.proofs:
        out["steps"].append(_step(state, weights, new=state is not last))
        last = state
    if node.split is not None and node.children:
        out["split"] = list(node.split)
        out["children"] = [steps_of(child, last) for child in node.children]
    return out


def _step(state: State, weights: Multipliers | None, *, new: bool) -> dict[str, Any]:
    wanted = []
    for j, (numbers, found) in enumerate(state.found if new else ()):
        rows = [[int(i), *(_whole(v) for v in column)] for i, column in zip(numbers, found.T, strict=True)]
        if rows:
            wanted.append([j, rows])
    slopes = [[j, own] for j, h in enumerate(state.hulls if new else ()) if (own := _slopes(h))]
    step: dict[str, Any] = {"wanted": wanted, "slopes": slopes, "margins": [], "lines": [], "edges": []}
    if weights is None:
        return step
    lines, edges = [], []
    for j, h in enumerate(state.hulls):
        own = []
        for given, weight, sign in ((h.above, weights.above[j], 1), (h.below, weights.below[j], -1)):
            for k in np.flatnonzero(weight):
                slope, size = Fraction(float(given.slope[k])), sign * _whole(weight[k])
                own.append([int(given.unit[k]), int(given.source[k]), exact.floor(slope), size])
        if own:
            lines.append([j, own])
        edge = [[int(i), _whole(weights.bounds[j][i])] for i in np.flatnonzero(weights.bounds[j])]
        if edge:
            edges.append([j, edge])
    return {**step, "margins": [_whole(v) for v in weights.margins], "lines": lines, "edges": edges}


def _slopes(h: Hull) -> list[list]:
    """Default lines of the undecided units: unit, then (source, slope) above and below, None for the bound itself."""
    out = []
    for u in np.flatnonzero(~h.exact):
        pair = [
            [int(lines.source[k[u]]), _whole(lines.slope[k[u]])] if len(lines.unit) and k[u] >= 0 else None
            for lines, k in zip((h.above, h.below), h.default, strict=True)
        ]
        out.append([int(u), *pair])
    return out


def _whole(value: float) -> int:
    return exact.floor(Fraction(float(value)))


def proof(tree: Tree, progress: Progress | None = None) -> dict[str, Any] | None:
    """The claim that no input within a radius has a wanted class, with its proof; None where none is accepted.

    Parameters
    ----------
    tree : Tree
        Of a `Bracket`. The radius claimed is a little smaller than what it proved: the largest of a few that
        `bound_checker` accepts.
    progress : Progress, optional
        For the search, which is made once more within the radius that is claimed, so that it is the same throughout.

    Notes
    -----
    CERTIFIED: the checker runs before this returns. Cost: seconds to minutes of pure Python.
    """
    tree = Tree(tree.layers, tree.best, tree.lower, progress or Progress(), keep=True)
    if not tree.run():
        return None
    best, net = tree.best, exact_network(tree.layers)
    nodes = [steps_of(root) for root in tree.roots]
    margins = [[[int(v) for v in row] for row in aim] for aim in best.aims]
    for share in SHARES:
        radius = tree.lower * (1 - share)
        domain = exact_ball(tree.layers.x, best.lower, best.upper, best.norm, Fraction(radius))
        if all(exact.check(net, node, domain, aim) for node, aim in zip(nodes, margins, strict=True)):
            return {
                "claim": "bound",
                "norm": f"{best.norm:g}",
                "x": [float(v).hex() for v in tree.layers.x],
                "lower": [float(v).hex() for v in best.lower],
                "upper": [float(v).hex() for v in best.upper],
                "radius": radius.hex(),
                "margins": margins,
                "trees": nodes,
            }
    return None
