"""Multipliers in integers, for nodes where something is a matter of a hair, or nothing bounds the inputs."""

from __future__ import annotations

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
    """A step from exact multipliers of the rows that are exact: behind choices that are all decided."""
    rows, equal, names = _exact_rows(of, taken, known)
    n = of.inputs + 1
    if not names or len(rows) * n > LARGEST:
        return None
    weights = _multipliers(rows, equal, n)
    if weights is None:
        return None
    goal, edges = [Fraction(0)] * len(of.goal.rows), {j: {} for j in range(len(known))}  # type: ignore[var-annotated]
    for kind, at, place, factor in names:
        weight = weights[kind][at] * factor
        if place[0] == "goal":
            goal[place[1]] += weight
        else:
            j, key = place
            edges[j][key] = edges[j].get(key, Fraction(0)) + weight
    top = int(np.lcm.reduce(np.array([v.denominator for own in (goal, *(e.values() for e in edges.values()))
                                      for v in own] or [1], dtype=object)))  # fmt: skip
    step = {
        "rows": [int(v * top) for v in goal],
        "edges": [[j, [[i, int(v * top), *u] for (i, *u), v in own.items() if v]] for j, own in edges.items()],
    }
    return step if checker.excluded(of.net, of.domain, of.goal, taken, known, step)[0] else None


def _exact_rows(of: Any, taken: Taken, known: Known) -> tuple[list, list, list]:
    """Integer rows in (u, t), below and equal 0, and which weights of the checker they stand for."""
    rows: list[list[int]] = []
    equal: list[list[int]] = []
    names: list[tuple] = []
    for j in range(len(of.net) - 1):
        for u, b in taken.get(j, {}).items():
            for form, key, sign in _literal(of, j, u, b, known):
                row, factor = _integers(form, of.inputs)
                names.append((0, len(rows), (j, key), sign * factor))
                rows.append(row)
        if None in known[j].only:
            break
    else:
        for r, (given, low, high) in enumerate(zip(of.goal.rows, of.goal.low, of.goal.high, strict=True)):
            form = checker.pull(of.net, known, checker.through({}, of.net[-1], given), {})
            for end, sign in ((high, 1), (low, -1)):
                if end is None or (low == high and sign < 0):
                    continue
                own = {k: sign * v for k, v in form.items()}
                own[ONE] -= sign * end
                row, factor = _integers(own, of.inputs)
                kind = int(low == high)
                names.append((kind, len(equal if kind else rows), ("goal", r), sign * factor))
                (equal if kind else rows).append(row)
    rows += _sides(of.domain)
    return rows, equal, names


def _literal(of: Any, j: int, u: int, b: int, known: Known) -> Iterator[tuple[dict, tuple, int]]:
    """Forms that a branch keeps at or below 0, and their weights in a step: of a bound, or of a pair."""
    for limit, _ in of.net[j].units[u][b][1]:
        form = checker.pull(of.net, known[:j], checker.through({}, of.net[j], limit), {})
        if ONE not in limit:
            yield form, (next(i for i, c in limit.items() if c == 1), u), 1
        elif limit == {u: -1, ONE: known[j].low[u]}:  # the knot, not a bound that is nearer
            yield form, (u,), 1
        elif limit == {u: 1, ONE: -known[j].high[u]}:
            yield form, (u,), -1


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


def _integers(form: dict, n: int) -> tuple[list[int], Fraction]:
    """A form as a row of integers, its constant last, and the factor that makes it one."""
    values = [Fraction(form.get(k, 0)) for k in (*range(n), ONE)]
    top = int(np.lcm.reduce(np.array([v.denominator for v in values], dtype=object)))
    row = [int(v * top) for v in values]
    common = int(np.gcd.reduce(np.array(row, dtype=object))) or 1
    return [v // common for v in row], Fraction(top, common)


def _sides(domain: Any) -> list[list[int]]:
    """Finite sides of the box, and t >= 0."""
    rows, n = [[0] * len(domain.low) + [-1]], len(domain.low)
    for k, ends in enumerate(zip(domain.low, domain.high, strict=True)):
        for end, sign in zip(ends, (-1, 1), strict=True):
            if not isinstance(end, float):
                row = [0] * n + [-sign * end.numerator]
                row[k] = sign * end.denominator
                rows.append(row)
    return rows
