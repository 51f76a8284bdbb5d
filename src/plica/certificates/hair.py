"""Multipliers in integers, for nodes where something is a matter of a hair, or nothing bounds the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpz_mat

from plica import checker
from plica.core.exact.integers import particular, transpose
from plica.core.polyhedron.cone import partition_of_integers
from plica.errors import SolverError
from plica.exact_model import ONE

LARGEST = 1 << 20  # entries of a cone that is decided in integers

Taken = dict[int, dict[int, int]]
Known = list[Any]


def in_integers(of: Any, taken: Taken, known: Known) -> dict[str, Any] | None:
    """A step from exact multipliers of exact rows: branches, the goal, and single lines below undecided units.

    Where `of` leaves the inputs out of its relaxations, the numbers of the first choice are what forms are about.
    All rows that can have a multiplier get one, so that two lines of a unit may be weighed, which no step can say: then
    what contradicts itself without lines is looked for.
    """
    for lines in (True, False):
        step = _weighed(of, taken, known, lines)
        if step is not None:
            return step if checker.excluded(of.net, of.domain, of.goal, taken, known, step)[0] else None
    return None


def _weighed(of: Any, taken: Taken, known: Known, lines: bool) -> dict[str, Any] | None:
    """The step of `in_integers`, with lines below undecided units or without; None where no step can say it."""
    net, domain = (_behind(of.net), of.root) if of.lean else (of.net, of.domain)
    columns = [*range(net[0].first), *(layer.first + u for layer, own in zip(net, known, strict=False)
                                       for u, b in enumerate(own.only) if b is None)]  # fmt: skip
    rows: list[tuple[dict, tuple | None]] = []
    equal: list[tuple[dict, tuple | None]] = []
    for j, own in enumerate(known):
        for u, b in taken.get(j, {}).items():
            rows += _literal(net, j, u, b, own)
        for u, unit in enumerate(net[j].units):
            rows += _lines(unit, u, j, net, own) if lines and own.only[u] is None else []
    for r, (row, low, high) in enumerate(zip(of.goal.rows, of.goal.low, of.goal.high, strict=True)):
        form = checker.through({}, net[-1], row)
        if low == high:
            equal.append((checker.plus(form, {ONE: -high}), ("goal", r, 1)))
            continue
        rows += [(checker.plus(form, {ONE: -high}), ("goal", r, 1))] if high is not None else []
        rows += [(checker.plus({ONE: low}, form, -1), ("goal", r, -1))] if low is not None else []
    sides = [({k: sign, ONE: -sign * end}, None) for k, ends in enumerate(zip(domain.low, domain.high, strict=True))
             for end, sign in zip(ends, (-1, 1), strict=True) if not isinstance(end, float)]  # fmt: skip
    rows += [*sides, ({ONE: Fraction(-1)}, None)]
    if (len(rows) + len(equal)) * len(columns) > LARGEST:
        return None
    reduced = [[_integers(_decided(net, known, form), columns) for form, _ in part] for part in (rows, equal)]
    weights = _multipliers([row for row, _ in reduced[0]], [row for row, _ in reduced[1]], len(columns) + 1)
    if weights is None:
        return None
    factors = [[w * f for w, (_, f) in zip(*pair, strict=True)] for pair in zip(weights, reduced, strict=True)]
    return _step(of, [(f, name) for part, own in zip((rows, equal), factors, strict=True)
                      for (_, name), f in zip(part, own, strict=True) if name and f], len(known))  # fmt: skip


def _step(of: Any, weighed: list[tuple[Fraction, tuple]], choices: int) -> dict[str, Any] | None:
    """Multipliers as a step; None where two lines of a unit are needed: their mean is not one of the checker's."""
    goal, slopes = [Fraction(0)] * len(of.goal.rows), dict[tuple[int, int], list]()
    edges: list[dict[tuple, Fraction]] = [{} for _ in range(choices)]
    for weight, (word, *at) in weighed:
        if word == "goal":
            goal[at[0]] += weight * at[1]
        elif word == "edge":
            edges[at[0]][at[1]] = edges[at[0]].get(at[1], Fraction(0)) + weight * at[2]
        elif slopes.setdefault((at[0], at[1]), at[2]) != at[2]:
            return None
    top = math.lcm(*(v.denominator for v in (*goal, *(v for own in edges for v in own.values()))))
    return {
        "rows": [int(v * top) for v in goal],
        "slopes": [[j, [[u, line, []]]] for (j, u), line in slopes.items()],
        "edges": [[j, [[i, int(v * top), *u] for (i, *u), v in own.items() if v]] for j, own in enumerate(edges)],
    }


def _behind(net: list) -> list:
    """The network from the numbers of its first choice, which take the place of the inputs."""
    first = net[0]
    moved = len(first.rows) - first.first

    def shifted(row: dict) -> dict:
        return {k if k == ONE else k + moved: v for k, v in row.items()}

    start = first._replace(rows=[{i: 1} for i in range(len(first.rows))], unit=Fraction(1), first=len(first.rows))
    later = [layer._replace(rows=[*map(shifted, layer.rows)], first=layer.first + moved) for layer in net[1:]]
    return [start, *later]


def _decided(net: list, known: Known, form: dict) -> dict:
    """A form of the input and of undecided units: the others are lines."""
    for j in reversed(range(len(known))):
        numbers: dict = {}
        for u, b in enumerate(known[j].only):
            c = form.pop(net[j].first + u, 0) if b is not None else 0
            numbers = checker.plus(numbers, net[j].units[u][b][0], c) if c else numbers
        form = checker.through(form, net[j], numbers)
    return form


def _lines(unit: list, u: int, j: int, net: list, known: Any) -> Iterator[tuple[dict, tuple | None]]:
    """Lines below an undecided unit, and the bound above it: forms at most 0."""
    output = net[j].first + u
    slopes = [{}, *({i: c for i, c in line.items() if i != ONE and c} for line, _ in unit)]
    for line in [line for k, line in enumerate(slopes) if line not in slopes[:k]]:
        t = checker.shift(unit, line, known.low, known.high, 1)
        if not isinstance(t, float) and all((c * checker.GRID).denominator == 1 for c in map(Fraction, line.values())):
            words = [[i, int(c * checker.GRID)] for i, c in line.items()]
            yield checker.through({output: -1, ONE: t}, net[j], line), ("line", j, u, words)
    t = checker.shift(unit, {}, known.low, known.high, -1)
    if not isinstance(t, float):
        yield {output: 1, ONE: -t}, None


def _literal(net: list, j: int, u: int, b: int, known: Any) -> Iterator[tuple[dict, tuple | None]]:
    """Forms that a branch keeps at or below 0, and the edges of a step that they are: of a bound, or of a pair."""
    for limit, _ in net[j].units[u][b][1]:
        form = checker.through({}, net[j], limit)
        if ONE not in limit:
            yield form, ("edge", j, (next(i for i, c in limit.items() if c == 1), u), 1)
        elif limit == {u: -1, ONE: known.low[u]}:  # the knot, not a bound that is nearer
            yield form, ("edge", j, (u,), 1)
        elif limit == {u: 1, ONE: -known.high[u]}:
            yield form, ("edge", j, (u,), -1)


def _multipliers(rows: list[list[int]], equal: list[list[int]], n: int) -> tuple[list[int], list[int]] | None:
    """Weights of the rows and of the equations that cancel, positive for all rows that vanish on the whole cone."""
    below, N = (fmpz_mat(len(A), n, [v for row in A for v in row]) for A in (rows, equal))
    try:
        proof = partition_of_integers(below, N)
    except SolverError:
        return None
    y, mu = ([int(v) for v in part.entries()] for part in (proof.multipliers, proof.equality_multipliers))
    for r in np.flatnonzero(proof.implied).tolist():
        if y[r] == 0:  # a combination of the equations alone
            found = particular(transpose(N), -transpose(fmpz_mat(1, n, rows[r]))) if equal else None
            if found is None:
                continue  # zero on its own, or cancelled by others
            y, mu = [v * int(found[1]) for v in y], [v * int(found[1]) for v in mu]
            y[r] = int(found[1])
            mu = [a + int(b) for a, b in zip(mu, found[0].entries(), strict=True)]
    return y, mu


def _integers(form: dict, columns: list[int]) -> tuple[list[int], Fraction]:
    """A form as a row of integers, its constant last, and the factor that makes it one."""
    values = [Fraction(form.get(k, 0)) for k in (*columns, ONE)]
    top = math.lcm(*(v.denominator for v in values))
    row = [int(v * top) for v in values]
    common = math.gcd(*row) or 1
    return [v // common for v in row], Fraction(top, common)
