"""Proven upper bounds of a linear function over one piece of a preimage."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from flint import fmpq_mat, fmpz_mat

from plica.analyses.preimage.union_piece import UnionPiece
from plica.core.exact.integers import pivots, rational_column, select, transpose
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.search.blocks import Blocks
from plica.core.search.bounds import bound
from plica.core.search.conditions import Conditions
from plica.core.search.decided import ExactPiece
from plica.core.search.relaxation import Relaxation
from plica.core.solve import linear_program
from plica.errors import BudgetReached, SolverError

USED = 1e-9  # multipliers above this share of the largest are kept for the exact system


def proven_top(piece: UnionPiece, c: np.ndarray, graph: Blocks, clock: Progress) -> float:
    """A number that ``c.u`` exceeds nowhere on the closed piece, proven; inf where no proof is found.

    Parameters
    ----------
    piece : UnionPiece
    c : ndarray, shape (n,)
    graph : Blocks
        Of the network that the piece belongs to.
    clock : Progress
        Its seconds; `BudgetReached` when they end.

    Notes
    -----
    Up to 64 inputs, multipliers of the piece's exact rows that add up to c, in fractions. Otherwise, or where these are
    not found, float multipliers of the network's own rows with the piece's branches, all rounding errors included
    (Neumaier and Shcherbina 2004); they need a bounded domain. Cost: a linear program, and a rational system of n rows.
    """
    if piece.exact is not None:
        top = _exact_top(piece.exact, c, clock)
        if top is not None:
            return top
    return _float_top(piece, c, graph, clock)


def _exact_top(exact: ExactPiece, c: np.ndarray, clock: Progress) -> float | None:
    """The maximum by exact multipliers, rounded up; None where the proposed rows do not combine to c."""
    exact.prove(clock)
    loose = select(exact.below, np.flatnonzero(~exact.proof.implied)[:-1], range(exact.below.ncols()))
    kept = pivots(transpose(exact.flat)) if exact.flat.nrows() else []
    equal = select(exact.flat, kept, range(exact.flat.ncols()))
    G, E = _floats(loose), _floats(equal)
    try:
        found = linear_program(-c, G[:, :-1], -G[:, -1], E[:, :-1], -E[:, -1], progress=clock)
    except SolverError:
        return None
    if found.status != "optimal":
        return None
    used = np.flatnonzero(found.dual > USED * found.dual.max(initial=0.0))
    rows = [loose.tolist()[i] for i in used] + equal.tolist()
    weights = _combination(rows, c)
    if weights is None or any(w < 0 for w in weights[: len(used)]):
        return None
    value = sum((w * -Fraction(int(row[-1])) for w, row in zip(weights, rows, strict=True)), Fraction(0))
    return _up(value)


def _combination(rows: list, c: np.ndarray) -> list[Fraction] | None:
    """Exact weights of rows (u, t) that add up to c in u; None when there are none."""
    n = len(c)
    if not rows:
        return [] if not c.any() else None
    columns = fmpz_mat(len(rows), n, [v for row in rows for v in row[:-1]]).transpose()
    system = fmpq_mat(columns)
    goal = rational_column(c)
    full = fmpq_mat(n, len(rows) + 1, [v for i in range(n) for v in (*system.tolist()[i], goal[i, 0])])
    reduced, rank = full.rref()
    weights = [Fraction(0)] * len(rows)
    for i in range(rank):
        pivot = next(j for j in range(len(rows) + 1) if reduced[i, j] != 0)
        if pivot == len(rows):
            return None
        value = reduced[i, len(rows)]
        weights[pivot] = Fraction(int(value.p), int(value.q))
    return weights


def _floats(rows: fmpz_mat) -> np.ndarray:
    """Integer rows with their largest coefficient near 1, for the program only."""
    out = np.zeros((rows.nrows(), rows.ncols()))
    for i, row in enumerate(rows.tolist() if out.size else []):
        bits = max((int(abs(v)).bit_length() for v in row[:-1]), default=0)
        out[i] = [int(v) / (1 << bits) for v in row]
    return out


def _up(value: Fraction) -> float:
    """The next float that is not smaller."""
    near = float(value)
    return near if Fraction(near) >= value else math.nextafter(near, math.inf)


def _float_top(piece: UnionPiece, c: np.ndarray, graph: Blocks, clock: Progress) -> float:
    """Over the relaxation with the piece's branches, which then is the closed piece."""
    n = graph.spans[INPUT].stop
    box = piece.domain
    low, high = (np.full(n, -np.inf), np.full(n, np.inf)) if box is None else (box.lower, box.upper)
    known = bound(graph, low, high, piece.found.branches, linear=False, progress=clock)
    if not known.feasible:
        return math.inf  # the piece has a point, so rounding outward cannot say so; nothing is concluded
    relaxed = Relaxation(graph, known, piece.conditions, clock)
    for name, branches in piece.found.branches.items():
        for unit, branch in enumerate(branches.tolist()):
            relaxed.take((name, unit, branch))
    return _top(relaxed, c)


def relaxed_top(
    graph: Blocks, conditions: Conditions, box: tuple[np.ndarray, np.ndarray], c: np.ndarray, clock: Progress
) -> float:
    """A number that ``c.u`` exceeds nowhere on the whole preimage in a box, proven, by the linear relaxation.

    inf when the time ends first.
    """
    try:
        known = bound(graph, *box, progress=clock)
        return _top(Relaxation(graph, known, conditions, clock), c) if known.feasible else -math.inf
    except BudgetReached:
        return math.inf


def _top(relaxed: Relaxation, c: np.ndarray) -> float:
    """Proven maximum over a relaxation; inf where the solver gives no answer, or nothing bounds an input."""
    program = relaxed.program
    cost = np.zeros(len(program.cost))
    cost[relaxed.graph.spans[INPUT]] = -c
    program.costs(cost)
    if program.solve() != "optimal":
        return math.inf
    duals = program.duals()
    return -max(program.least(cost, duals), program.least(cost, -duals))
