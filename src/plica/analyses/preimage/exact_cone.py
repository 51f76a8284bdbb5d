"""The dimension of the cone {v : E v = 0, F v <= 0}, exactly, in integers.

Split the rows of F into those that vanish on the whole cone (I, the implied equalities) and the rest (J). The split is
proven by y > 0 on I with E'mu + F_I'y = 0, and by a v in the cone with F_J v < 0; then the linear hull of the cone is
the kernel of [E; F_I]. For a large layer nonnegative least squares on ker E proposes the split and integers check it,
which is faster than a linear program in all variables; what is small, or fails the check, goes to
`plica.core.polyhedron.cone.partition`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from flint import fmpz, fmpz_mat

from plica.analyses.preimage.cone import Cone, ConeProof, inward, propose
from plica.core.exact import integers
from plica.core.polyhedron.cone import partition
from plica.core.progress import Progress
from plica.core.result import Standing

SMALL = 2000  # entries of F up to which there is nothing to gain
CLEARLY_BELOW = 1e-9  # share of the largest value; only for proposals
BITS = 40  # of a rounded proposal


@dataclass(frozen=True)
class Split:
    """What proves the dimension of a cone.

    Attributes
    ----------
    E, F : fmpz_mat
        Its rows as integers, all on one scale.
    implied : list of int
        Rows of F that vanish on the cone.
    mu, y : list of fmpz
        E'mu + F[implied]'y = 0 with y > 0; `mu` is None where only its existence was decided.
    v : list of fmpz
        In the cone, negative at the other rows of F.
    """

    E: fmpz_mat
    F: fmpz_mat
    implied: list[int]
    mu: list[fmpz] | None
    y: list[fmpz]
    v: list[fmpz]


def split_cone(cone: Cone, progress: Progress) -> Split:
    """Split the inequality rows of a cone exactly. The equality rows must be independent.

    Raises
    ------
    BudgetReached
        When the time is up (looked at before the step that may be long).
    SolverError
        When no proposal is right and the cone is too large for rational pivots; the message holds the sizes.
    """
    both, _ = integers.to_integers(cone.rows[np.concatenate([cone.equal, cone.below])])
    k, columns = len(cone.equal), range(both.ncols())
    E, F = integers.select(both, range(k), columns), integers.select(both, range(k, both.nrows()), columns)
    split = None if F.nrows() * F.ncols() <= SMALL else _proposed_split(cone, E, F)
    if split is None:
        progress.check()
        split = _decided_split(cone, E, F)
    return split


def exact_cone(cone: Cone, progress: Progress) -> ConeProof:
    """Decide a cone exactly; as `split_cone`.

    Notes
    -----
    Cost: two exact linear solves of the size of the cone (about 20 s at 784 inputs and 3500 units).
    """
    split = split_cone(cone, progress)
    E, F, implied = split.E, split.F, split.implied
    dimension = F.ncols() - exact_rank(integers.stack(E, integers.select(F, implied, range(F.ncols()))))
    certificate = {
        "method": "split",
        "equal": cone.equal,
        "implied": cone.below[implied],
        "strict": cone.below[np.setdiff1d(np.arange(F.nrows()), implied)],
        "multipliers": np.array([f"{int(x):x}" for x in split.y], dtype=str),  # Python limits decimal digits
        "direction": np.array([f"{int(x):x}" for x in split.v], dtype=str),
    }
    return ConeProof(dimension, Standing.CERTIFIED, "exact multipliers and direction", certificate)


def _proposed_split(cone: Cone, E: fmpz_mat, F: fmpz_mat) -> Split | None:
    """The split that floats propose, checked exactly; None when it fails the check."""
    implied = _peel(cone)
    if implied is None:
        return None
    columns = range(F.ncols())
    strict = np.setdiff1d(np.arange(F.nrows()), implied)
    flat = integers.stack(E, integers.select(F, implied, columns))
    weights = _positive_multipliers(cone, implied, flat)
    v = _strict_direction(cone, strict, flat)
    if weights is None or v is None:
        return None
    mu, y = weights
    values = integers.select(F, strict, columns) * fmpz_mat(len(v), 1, v) if len(strict) else fmpz_mat(0, 1)
    return Split(E, F, implied.tolist(), mu, y, v) if all(x < 0 for x in values.entries()) else None


def _peel(cone: Cone) -> np.ndarray | None:
    """Positions in `below` of rows that seem to vanish on the cone: drop what a direction makes negative, repeat."""
    left = np.arange(len(cone.below))
    while len(left) and cone.codimension:
        proposal = propose(cone.facing(cone.below[left]))
        if proposal is None:
            return None
        if proposal.is_small:
            return left
        values = proposal.reduced @ -proposal.residual
        kept = values >= CLEARLY_BELOW * values.min()
        if kept.all():
            return None
        left = left[kept]
    return left


def _positive_multipliers(cone: Cone, implied: np.ndarray, flat: fmpz_mat) -> tuple[list[fmpz], list[fmpz]] | None:
    """Integers mu, and y > 0 for the implied rows, with E'mu + F'y = 0."""
    if not len(implied):
        return [fmpz(0)] * len(cone.equal), []
    proposal = propose(cone.facing(cone.below[implied])) if cone.codimension else None
    wanted = np.ones(len(implied)) if proposal is None else proposal.multipliers
    near = _rounded(np.concatenate([np.zeros(len(cone.equal)), wanted]))
    solved = integers.particular(integers.transpose(flat), fmpz_mat(flat.ncols(), 1), near)
    if solved is None:
        return None
    mu, y = solved[0].entries()[: len(cone.equal)], solved[0].entries()[len(cone.equal) :]
    return (mu, y) if all(x > 0 for x in y) else None


def _strict_direction(cone: Cone, strict: np.ndarray, flat: fmpz_mat) -> list[fmpz] | None:
    """An integer v with [E; F_I] v = 0, near a float direction that makes the strict rows negative."""
    n = flat.ncols()
    if not len(strict):
        return [fmpz(0)] * n
    independent = np.array(integers.pivots(integers.transpose(flat)), dtype=int)
    rows = np.concatenate([cone.equal, cone.below[np.setdiff1d(np.arange(len(cone.below)), strict)]])
    inner = Cone(cone.rows, cone.norms, rows[independent], cone.below[strict], 0.0)
    proposal = propose(inner) if inner.codimension else None
    if proposal is None:
        return None
    solved = integers.particular(flat, fmpz_mat(flat.nrows(), 1), _rounded(proposal.kernel @ inward(proposal)))
    return None if solved is None else solved[0].entries()


def _rounded(values: np.ndarray) -> fmpz_mat:
    """Integers in the proportions of the values, with `BITS` bits for the largest."""
    scale = 2.0**BITS / max(float(np.abs(values).max(initial=0.0)), np.finfo(float).tiny)
    return fmpz_mat(len(values), 1, [int(x) for x in np.rint(values * scale).tolist()])


def exact_rank(A: fmpz_mat) -> int:
    """Exact rank: pivots modulo a prime from below, one exact solve with them from above.

    The pivot rows P and columns Q are independent over the rationals. The rank is |P| exactly when the other rows
    vanish on the kernel of A[P], whose basis is (-A[P,Q]^-1 A[P,free], 1).
    """
    columns = integers.pivots(A)
    if len(columns) == min(A.nrows(), A.ncols()):
        return len(columns)
    rows = integers.pivots(integers.transpose(integers.select(A, range(A.nrows()), columns)))
    other, free = _others(A.nrows(), rows), _others(A.ncols(), columns)
    square = integers.select(A, rows, columns)
    if len(other) < len(free):  # the transposed statement has fewer right-hand sides
        A, square, rows, columns, other, free = (
            integers.transpose(A), integers.transpose(square), columns, rows, free, other
        )  # fmt: skip
    solved = integers.solve(square, integers.select(A, rows, free))
    assert solved is not None  # regular modulo a prime
    X, denominator = solved
    spanned = not rows or integers.select(A, other, columns) * X == integers.select(A, other, free) * denominator
    return len(rows) if spanned else int(A.rank())


def _others(count: int, chosen: list[int]) -> list[int]:
    """The numbers below `count` that were not chosen."""
    return sorted(set(range(count)) - set(chosen))


def _decided_split(cone: Cone, E: fmpz_mat, F: fmpz_mat) -> Split:
    """The split as `partition` decides it, its multipliers turned from its integer rows to those of F."""
    rows = cone.rows[cone.below]
    found = partition(rows, cone.rows[cone.equal])
    lengths = [_largest(row) for row in F.tolist()]
    own = [_largest(row) for row in integers.row_integers(rows).tolist()]
    factors = [long // short for long, short in zip(lengths, own, strict=True)]  # powers of two
    top = max(factors, default=fmpz(1))
    implied = np.flatnonzero(found.implied).tolist()
    y = found.multipliers.entries()
    return Split(E, F, implied, None, [y[i] * (top // factors[i]) for i in implied], found.interior.entries())


def _largest(row: list[fmpz]) -> fmpz:
    """Largest absolute entry of a row that is not zero."""
    return max(abs(x) for x in row)


__all__ = ["Split", "exact_cone", "exact_rank", "split_cone"]
