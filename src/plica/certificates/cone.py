"""Proofs about cones as the checker wants them: integers for the rows that the checker has computed itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from flint import fmpz_mat

from plica.analyses.preimage.cone import Cone
from plica.analyses.preimage.exact_cone import Split, split_cone
from plica.analyses.preimage.rows import LayerRows
from plica.core.exact import integers
from plica.core.progress import Progress
from plica.errors import ArgumentError, SolverError

Rows = list[list[int]]
ENOUGH = (
    3  # rows per free dimension: twice as many random half-spaces meet in a point with probability 1/2 (Wendel 1962)
)


def cone_proof(equal: Rows, below: Rows, n: int, progress: Progress) -> dict[str, Any]:
    """Return what proves the dimension of {v : equal v = 0, below v <= 0}.

    Parameters
    ----------
    equal, below : lists of rows of n integers
    n : int
    progress : Progress
        Budgets.

    Returns
    -------
    dict
        ``implied``: the rows of `below` that vanish on the cone; ``equal`` and ``multipliers``: weights of the equality
        rows and of the implied ones, the latter positive, which cancel; ``direction``: in the cone, with the other rows
        negative; ``independent``: numbers of rows among equality and implied ones that span them; ``kernel``: a basis
        of the vectors that all of these leave at zero, where it takes one. Integers in hexadecimal.

    Raises
    ------
    ArgumentError
        For rows that floats cannot hold: products of weights of several layers.
    """
    live = [i for i, row in enumerate(below) if any(row)]
    rows = LayerRows(_floats([*equal, *(below[i] for i in live)], n), progress)
    if not rows.are_level:
        raise ArgumentError("certify: entries of one row of the layer differ too much in size.")
    E = fmpz_mat(len(equal), n, [v for row in equal for v in row])
    spanning = np.array(integers.pivots(integers.transpose(E)), dtype=int)
    tail = np.arange(len(equal), len(equal) + len(live))
    split = split_cone(Cone(rows.scaled, rows.norms, spanning, tail, 0.0), progress)
    # The split is of rows divided by powers of two.
    levels = rows.exponents[np.concatenate([spanning, tail[split.implied]])].tolist()
    weights = [w << (max(levels) - level) for w, level in zip(_multipliers(split), levels, strict=True)]
    mu = [0] * len(equal)
    for row, weight in zip(spanning.tolist(), weights, strict=False):
        mu[row] = weight
    zero = sorted(set(range(len(below))) - set(live))  # these vanish on everything
    implied, y = [*(live[i] for i in split.implied), *zero], [*weights[len(spanning) :], *[1] * len(zero)]
    held = fmpz_mat(len(equal) + len(implied), n, [v for row in [*equal, *(below[i] for i in implied)] for v in row])
    independent = integers.pivots(integers.transpose(held))
    short = len(independent) < min(n, held.nrows())
    return {
        "implied": implied,
        "equal": hexadecimal(mu),
        "multipliers": hexadecimal(y),
        "direction": hexadecimal(split.v),
        "independent": independent,
        "kernel": [hexadecimal(column) for column in integers.transpose(integers.null_space(held)).tolist()]
        if short
        else [],
    }


def bounded_proof(equal: Rows, below: Rows, n: int, progress: Progress) -> dict[str, Any]:
    """What proves that {v : equal v = 0, below v <= 0} is {0}; few of the rows of `below` are enough, and quicker."""
    free = n - integers.rank(fmpz_mat(len(equal), n, [v for row in equal for v in row]))
    order = np.random.default_rng(0).permutation(len(below))
    size = ENOUGH * free + 8
    while size < len(below):
        chosen = np.sort(order[:size])
        proof = cone_proof(equal, [below[i] for i in chosen.tolist()], n, progress)
        if len(proof["independent"]) == n:
            return {**proof, "implied": chosen[proof["implied"]].tolist()}
        size *= 2
    return cone_proof(equal, below, n, progress)


def direction_to_infinity(equal: Rows, below: Rows, n: int, progress: Progress) -> dict[str, Any]:
    """A direction other than 0 with equal v = 0 and below v <= 0, for a cone that has one."""
    proof = cone_proof(equal, below, n, progress)
    if any(int(w, 16) for w in proof["direction"]):
        return {"direction": proof["direction"]}
    held = [*equal, *(below[i] for i in proof["implied"])]
    basis = integers.null_space(fmpz_mat(len(held), n, [v for row in held for v in row]))
    return {"direction": hexadecimal([basis[i, 0] for i in range(n)])}


def hexadecimal(values: Any) -> list[str]:
    """Integers as text."""
    return [f"{int(v):x}" for v in values]


def _floats(rows: Rows, n: int) -> np.ndarray:
    """Integer rows as floats, if that is exact."""
    flat = [v for row in rows for v in row]
    if any(int(float(v)) != v for v in flat if abs(v) < 1 << 1000) or any(abs(v) >> 1000 for v in flat):
        raise ArgumentError("certify: the rows of this layer are products of weights, which floats cannot hold.")
    return np.array(flat, dtype=np.float64).reshape(len(rows), n)


def _multipliers(split: Split) -> list[int]:
    """Weights of the equality rows and of the implied ones that cancel."""
    if split.mu is not None:
        return [int(w) for w in (*split.mu, *split.y)]
    F = integers.select(split.F, split.implied, range(split.F.ncols()))
    right = -(integers.transpose(F) * fmpz_mat(len(split.y), 1, split.y)) if split.y else fmpz_mat(split.F.ncols(), 1)
    solved = integers.particular(integers.transpose(split.E), right)
    if solved is None:
        raise SolverError("certify: the multipliers of the equality rows were not found.")
    return [int(w) for w in (*solved[0].entries(), *(y * solved[1] for y in split.y))]
