"""From a float point near a piece to an exact point in it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import scipy.linalg
import torch
from flint import fmpq, fmpq_mat

from plica.core.choice import Choice
from plica.core.domain import Box
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Network
from plica.core.search.conditions import Conditions

INSIDE = 1e-9  # a variable this near to a side of the box, relative to the box, stays there
SPAN = 1e-10  # an equation this near to the span of others, relative to its length, repeats them


def exact_point(
    net: Network,
    branches: dict[str, np.ndarray],
    conditions: Conditions,
    domain: Box | None,
    guess: np.ndarray,
) -> tuple[Fraction, ...] | None:
    """Move a float point exactly onto the equations of a pattern's piece; None when it is not in the piece then.

    As many variables as there are independent equations move, those inside the box; the moved point is run through the
    network in exact arithmetic, which must take the given branches.

    Notes
    -----
    CERTIFIED. Cost: a rational linear system of the number of equations, one pass in integers.
    """
    low, high = (-np.inf, np.inf) if domain is None else (domain.lower, domain.upper)
    start = np.clip(guess, low, high)
    frozen = _freeze(net, branches)
    E = conditions.E
    moved: tuple[Fraction, ...] = tuple(map(Fraction, start.tolist()))
    if E.shape[0]:
        room = INSIDE * (1 + np.abs(start))
        free = np.flatnonzero((start > low + room) & (start < high - room))
        rows = _jacobian(frozen, conditions)[:, free]
        chosen, variables = _regular(rows)
        change = _solved(frozen, conditions, start, chosen, free[variables]) if len(chosen) else {}
        if change is None:
            return None
        moved = tuple(v + change.get(i, Fraction(0)) for i, v in enumerate(moved))
        if domain is not None and not all(
            a <= v <= b for a, v, b in zip(domain.lower.tolist(), moved, domain.upper.tolist(), strict=True)
        ):
            return None
    values, taken = exact.forward(net.nodes, as_columns(moved))
    same = all((taken[name] == b).all() for name, b in branches.items())
    return moved if same and conditions.holds(values[conditions.value]) else None


def as_columns(point: tuple[Fraction, ...] | list[Fraction]) -> exact.Columns:
    """A rational point as one exact column."""
    common = int(np.lcm.reduce(np.array([v.denominator for v in point], dtype=object))) if len(point) else 1
    whole = np.array([int(v * common) for v in point], dtype=object)[:, None]
    return exact.Columns(whole, Fraction(1, common))


def _freeze(net: Network, branches: dict[str, np.ndarray]) -> Network:
    from plica.core.pattern import Pattern

    shaped = {}
    for node in net.nodes:
        if isinstance(node.op, Choice):
            shaped[node.name] = torch.from_numpy(branches[node.name]).to(node.op.dtype).reshape(1, *node.shape)
    return net.freeze(Pattern(shaped))


def _jacobian(frozen: Network, conditions: Conditions) -> np.ndarray:
    """Float rows of the equations, shape (p, n)."""
    from plica.core.piece import pull

    shape = frozen.shape_of(conditions.value)
    w = torch.from_numpy(conditions.E.toarray()).reshape(-1, *shape)
    with torch.no_grad():
        return pull(frozen, {conditions.value: w}).flatten(1).cpu().numpy()


def _regular(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Independent rows, and as many columns in which they stay independent."""
    length = np.linalg.norm(rows, axis=1)
    kept = np.flatnonzero(length > 0)
    if not len(kept) or not rows.shape[1]:
        return kept[:0], kept[:0]
    _, triangle, order = scipy.linalg.qr(
        (rows[kept] / length[kept, None]).T, mode="economic", pivoting=True, check_finite=False
    )
    size = np.abs(np.diag(triangle))
    chosen = np.sort(kept[order[: int((size > SPAN * size[0]).sum())]])
    columns = scipy.linalg.qr(rows[chosen], mode="r", pivoting=True, check_finite=False)[1]
    return chosen, columns[: len(chosen)]


def _solved(
    frozen: Network, conditions: Conditions, start: np.ndarray, rows: np.ndarray, variables: np.ndarray
) -> dict[int, Fraction] | None:
    """Exact changes of some variables that make some equations hold."""
    unit = np.zeros((len(variables), len(start)))
    unit[np.arange(len(variables)), variables] = 1.0
    values = {INPUT: exact.Columns.of(start, *unit)}
    for node in frozen.nodes:
        assert not isinstance(node.op, Choice)
        values[node.name] = exact.affine(node.op, node.shape, *(values[i] for i in node.inputs))
    v = values[conditions.value]
    E = conditions.E
    table = []
    for i in rows:
        span = slice(E.indptr[i], E.indptr[i + 1])
        total = [fmpq(0)] * (len(variables) + 1)
        for a, j in zip(E.data[span].tolist(), E.indices[span].tolist(), strict=True):
            weight = Fraction(a) * v.scale
            factor = fmpq(weight.numerator, weight.denominator)
            total = [t + factor * int(k) for t, k in zip(total, v.numerator[j], strict=True)]
        table.append(total)
    A = fmpq_mat(len(rows), len(variables), [q for row in table for q in row[1:]])
    wanted = [fmpq(conditions.e[i].numerator, conditions.e[i].denominator) for i in rows]
    gaps = [e - row[0] for e, row in zip(wanted, table, strict=True)]
    try:
        found = A.solve(fmpq_mat(len(rows), 1, gaps))
    except ZeroDivisionError:
        return None
    return {int(j): Fraction(int(q.p), int(q.q)) for j, q in zip(variables, found.entries(), strict=True)}
