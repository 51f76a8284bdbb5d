"""A search for the smallest perturbation as data that `plica.checker` reads."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from plica import checker
from plica.analyses.adversarial.exact.bounds import State
from plica.analyses.adversarial.exact.dual import Multipliers
from plica.analyses.adversarial.exact.hull import Hull
from plica.analyses.adversarial.exact.layers import Layers
from plica.analyses.adversarial.exact.tree import Node, Tree
from plica.core.progress import Progress

SHARES = (1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # by which the radius is lowered until the checker accepts

DROPPED = 1e-7  # share of a unit's weights below which a rest is rounding

Step = dict[str, Any]


def proof(tree: Tree, network: Any, progress: Progress | None = None) -> dict[str, Any] | None:
    """The claim that no input within a radius has a wanted class, with its proof; None where none is accepted.

    Parameters
    ----------
    tree : Tree
        Of a `Bracket`. The radius claimed is a little smaller than what it proved: the largest of a few that
        the checker accepts.
    network : list of exact_model.Layer
        The same network around the same input, as the checker reads it.
    progress : Progress, optional
        For the search, which is made once more within the radius that is claimed, so that it is the same throughout.

    Returns
    -------
    dict, optional
        ``norm``, ``x``, ``lower``, ``upper``, ``radius`` and ``trees``, one for every matrix of margins.

    Notes
    -----
    CERTIFIED: the checker runs before this returns. Cost: seconds to minutes of pure Python.
    """
    for radius in dict.fromkeys((tree.lower, tree.closed)):  # pieces on which margins are 0 need exact weights
        found = _within(Tree(tree.layers, tree.best, radius, progress or Progress(), keep=True), network)
        if found is not None:
            return found
    return None


def _within(tree: Tree, network: Any) -> dict[str, Any] | None:
    """The claim about a little less than a radius, where a search closes there and the checker accepts it."""
    if not tree.radius > 0 or not tree.run():
        return None
    best = tree.best
    nodes = [_tree(tree, root) for root in tree.roots]
    words = {"x": tree.layers.x, "lower": best.lower, "upper": best.upper}
    claim: dict[str, Any] = {key: [float(v).hex() for v in value] for key, value in words.items()}
    claim |= {"norm": f"{best.norm:g}"}
    centre = [Fraction(float(v)) for v in tree.layers.x]
    for share in SHARES:
        claim["radius"] = (tree.lower * (1 - share)).hex()
        domain = checker.region(claim, len(centre), centre)
        pairs = zip(nodes, map(goal, best.aims), strict=True)
        if all(checker.check(network, node, domain, wanted) for node, wanted in pairs):
            return {**claim, "trees": nodes}
    return None


def goal(aim: np.ndarray) -> checker.Goal:
    """Margins above 0, as the checker reads them."""
    rows = [{k: int(v) for k, v in enumerate(row) if v} for row in aim]
    return checker.Goal(rows, [0] * len(rows), [None] * len(rows), True)


def _tree(tree: Tree, node: Node, before: State | None = None) -> dict[str, Any]:
    """A node and all below it as lists and whole numbers."""
    out: dict[str, Any] = {"steps": []}
    last = before
    for state, weights in node.proofs:
        if state is not last:
            out["steps"].append(_bounds(state))
        if weights is not None:
            out["steps"].append(_weights(tree.layers, state, tree.best.aims[node.aim], weights))
        last = state
    if node.split is not None and node.children:
        out["split"] = list(node.split)
        out["children"] = [_tree(tree, child, last) for child in node.children]
    return out


def _bounds(state: State) -> Step:
    """The bounds that were computed, and along which lines."""
    wanted = []
    for j, (numbers, found) in enumerate(state.found):
        rows = [[int(i), whole(a), whole(b)] for i, a, b in zip(numbers, found[1], found[3], strict=True)]
        if rows:
            wanted.append([j, rows])
    return {"bounds": wanted, "slopes": [[j, own] for j, h in enumerate(state.hulls) if (own := _default(h))]}


def _default(h: Hull) -> list[list]:
    """Lines of the undecided units below and above; none is the bound itself."""
    out = []
    for u in np.flatnonzero(~h.exact):
        ends = [
            [[int(lines.source[k[u]]), whole(lines.slope[k[u]])]] if len(lines.unit) and k[u] >= 0 else []
            for lines, k in zip((h.below, h.above), h.default[::-1], strict=True)
        ]
        out.append([int(u), *ends])
    return out


def _weights(layers: Layers, state: State, aim: np.ndarray, weights: Multipliers) -> Step:
    """Weights of the margins, and the lines that a solver's multipliers amount to."""
    slopes, edges = [], []
    y = weights.margins @ aim
    sums: dict[int, np.ndarray] = {s: y @ matrix for s, matrix, _ in layers.readings[-1].parts}
    for j in reversed(range(len(layers.choices))):
        h, width = state.hulls[j], len(state.below[j])
        c = sums.pop(j + 1, np.zeros(len(h.low)))
        edge: dict[tuple[int, ...], float] = {
            (int(i),): float(weights.bounds[j][i]) for i in np.flatnonzero(weights.bounds[j])
        }
        own = []
        for u, below, above in _by_unit(h, c, weights.below[j], weights.above[j]):
            if h.exact[u]:  # a group whose winner is taken: the others are not above it
                edge |= {(i, u): w for w, line in below for i in line}
                continue
            line, rest = merged(below, above)
            own += [[u, *line]] if any(line) else []
            for i, v in rest.items():
                edge[(i,)] = edge.get((i,), 0.0) + v
        slopes += [[j, own]] if own else []
        edges += [[j, [[key[0], whole(v), *key[1:]] for key, v in edge.items()]]] if edge else []
        y = weights.bounds[j].copy()
        for lines, w, sign in ((h.above, weights.above[j], 1.0), (h.below, weights.below[j], -1.0)):
            y += sign * np.bincount(lines.source, w * lines.slope, width)
            c = c - sign * np.bincount(lines.unit, w, len(c))  # what is left passes through a winner that is taken
        y += np.bincount(h.source, np.where(h.exact, c, 0.0) * h.slope, width)
        for s, matrix, _ in layers.readings[j].parts:
            sums[s] = sums.get(s, 0.0) + y @ matrix
    return {"rows": [-whole(v) for v in weights.margins], "slopes": slopes, "edges": edges}


Weighted = list[tuple[float, dict[int, float]]]


def _by_unit(h: Hull, c: np.ndarray, below: np.ndarray, above: np.ndarray) -> Iterator[tuple[int, Weighted, Weighted]]:
    """Weighted lines of every unit that has some; the bound itself, a line of slope 0, has the rest of the weight."""
    found: dict[int, tuple[Weighted, Weighted]] = {}
    for side, lines, weight in ((0, h.below, below), (1, h.above, above)):
        for k in np.flatnonzero(weight > 0):
            line = {int(lines.source[k]): float(lines.slope[k])}
            found.setdefault(int(lines.unit[k]), ([], []))[side].append((float(weight[k]), line))
    for u, pair in found.items():
        totals = [sum(w for w, _ in part) for part in pair]
        rest = float(c[u]) - totals[1] + totals[0]
        if abs(rest) > DROPPED * max(*totals, abs(float(c[u]))):
            pair[int(rest > 0)].append((abs(rest), {}))
        yield u, *pair


def merged(below: Weighted, above: Weighted) -> tuple[list[list], dict[int, float]]:
    """One line that proves as much as weighted lines below and above a unit, and what they say of what it reads.

    Returns
    -------
    line : [below, above], lists of [number, slope]
    rest : dict of int to float
        Weights of the numbers read: lines below and above with equal weights bound these alone.
    """
    totals = [sum(w for w, _ in part) for part in (below, above)]
    means: list[dict[int, float]] = [{}, {}]
    for mean, part, total in zip(means, (below, above), totals, strict=True):
        for w, line in part:
            for i, slope in line.items():
                mean[i] = mean.get(i, 0.0) + w / total * slope
    both, side = min(totals), int(totals[1] > totals[0])
    rest = {i: both * (means[1].get(i, 0.0) - means[0].get(i, 0.0)) for i in {*means[0], *means[1]}} if both else {}
    found: list[list] = [[], []]
    found[side] = [[i, whole(slope)] for i, slope in means[side].items() if slope]
    return found, rest


def whole(value: float) -> int:
    """The whole number of which the checker reads a float: over its grid, rounded down."""
    n, d = float(value).as_integer_ratio()
    return n * checker.GRID // d
