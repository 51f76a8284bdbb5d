"""The dimension of the cone {v : E v = 0, F v <= 0}, exactly, in integers.

Split the rows of F into those that vanish on the whole cone (I, the implied equalities) and the rest (J). The split is
proven by y > 0 on I with E'mu + F_I'y = 0, and by a v in the cone with F_J v < 0; then the linear hull of the cone is
the kernel of [E; F_I]. Floats propose the split and integers check it; a simplex method in integers decides what
floats cannot.
"""

from __future__ import annotations

import numpy as np
from flint import fmpz, fmpz_mat

from plica.analyses.preimage.cone import Cone, ConeProof, inward, propose
from plica.core.exact import integers
from plica.core.progress import Progress, refuse_above
from plica.core.result import Standing

SMALL = 2000  # entries of F up to which the simplex method is faster than a proposal from floats
CLEARLY_BELOW = 1e-9  # share of the largest value; only for proposals
BITS = 40  # of a rounded proposal


def exact_cone(cone: Cone, progress: Progress) -> ConeProof:
    """Decide a cone exactly. The equality rows must be independent.

    Raises
    ------
    MemoryBudgetError, BudgetReached
        When only the simplex method is left and its tableau does not fit, or the time is up.

    Notes
    -----
    Cost: two exact linear solves of the size of the cone (seconds at 784) when floats propose the right split;
    otherwise a simplex method whose numbers grow with the dimension.
    """
    both, _ = integers.to_integers(cone.rows[np.concatenate([cone.equal, cone.below])])
    k, columns = len(cone.equal), range(both.ncols())
    E, F = integers.select(both, range(k), columns), integers.select(both, range(k, both.nrows()), columns)
    split = None if F.nrows() * F.ncols() <= SMALL else _proposed_split(cone, E, F)
    implied, y, v = split or _simplex_split(E, F, progress)
    dimension = both.ncols() - exact_rank(integers.stack(E, integers.select(F, implied, columns)))
    certificate = {
        "method": "split",
        "equal": cone.equal,
        "implied": cone.below[implied],
        "strict": cone.below[np.setdiff1d(np.arange(F.nrows()), implied)],
        "multipliers": np.array([str(x) for x in y]),
        "direction": np.array([str(x) for x in v]),
    }
    return ConeProof(dimension, Standing.CERTIFIED, "exact multipliers and direction", certificate)


Split = tuple[list[int], list[fmpz], list[fmpz]]


def _proposed_split(cone: Cone, E: fmpz_mat, F: fmpz_mat) -> Split | None:
    """The split that floats propose, checked exactly; None when it fails the check."""
    implied = _peel(cone)
    if implied is None:
        return None
    columns = range(F.ncols())
    strict = np.setdiff1d(np.arange(F.nrows()), implied)
    flat = integers.stack(E, integers.select(F, implied, columns))
    y = _positive_multipliers(cone, implied, flat)
    v = _strict_direction(cone, strict, flat)
    if y is None or v is None:
        return None
    values = integers.select(F, strict, columns) * fmpz_mat(len(v), 1, v) if len(strict) else fmpz_mat(0, 1)
    return (implied.tolist(), y, v) if all(x < 0 for x in values.entries()) else None


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


def _positive_multipliers(cone: Cone, implied: np.ndarray, flat: fmpz_mat) -> list[fmpz] | None:
    """Integers y > 0 for the implied rows with E'mu + F'y = 0 for some rational mu."""
    if not len(implied):
        return []
    proposal = propose(cone.facing(cone.below[implied])) if cone.codimension else None
    wanted = np.ones(len(implied)) if proposal is None else proposal.multipliers
    near = _rounded(np.concatenate([np.zeros(len(cone.equal)), wanted]))
    solved = integers.particular(integers.transpose(flat), fmpz_mat(flat.ncols(), 1), near)
    if solved is None:
        return None
    y = solved[0].entries()[len(cone.equal) :]
    return y if all(x > 0 for x in y) else None


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


def _simplex_split(E: fmpz_mat, F: fmpz_mat, progress: Progress) -> Split:
    """The split by the simplex method: one phase 1 for every direction that is found."""
    kernel = integers.null_space(E)
    B = F * kernel
    left, direction = list(range(F.nrows())), fmpz_mat(kernel.ncols(), 1)
    while left:
        rows = integers.select(B, left, range(B.ncols()))
        feasible, answer = phase_one(rows, progress)
        if feasible:
            return left, answer, (kernel * direction).entries()
        step = fmpz_mat(len(answer), 1, answer)
        old, new = (B * direction).entries(), (B * step).entries()
        longer = max((n // -o + 1 for o, n in zip(old, new, strict=True) if o < 0 < n), default=fmpz(1))
        direction = direction * longer + step
        left = [i for i in left if new[i] == 0]
    return [], [], (kernel * direction).entries()


def phase_one(B: fmpz_mat, progress: Progress) -> tuple[bool, list[fmpz]]:
    """Stiemke's alternative for the rows of B, exactly.

    Returns
    -------
    (True, y) : y >= 1 in every entry (up to a positive factor) and B'y = 0
    (False, z) : B z <= 0 and 1'B z < 0

    Notes
    -----
    Simplex method with Bland's rule for ``min 1'a, B'l + a = -B'1, l >= 0, a >= 0`` in a tableau of integers over one
    common denominator, the last pivot (Edmonds): every division is exact. z is read from the artificial columns.
    """
    p, d = B.nrows(), B.ncols()
    bits = max((int(abs(x)).bit_length() for x in B.entries()), default=1) + 1
    needed = (d + 1) * (p + d + 1) * (40 + d * bits // 8)
    refuse_above(
        progress.max_bytes,
        needed,
        f"An exact simplex tableau of {d} rows and {p + d} columns with numbers of up to {d * bits} bits does not fit",
        "Raise max_bytes, or perturb the weights off the degenerate position.",
    )
    table, signs = _tableau(B)
    basis, denominator = np.arange(p, p + d), 1
    while (enter := _first_negative(table[-1, : p + d])) is not None:
        progress.check()
        leave = _bland_row(table, basis, enter)
        pivot = table[leave, enter]
        kept = table[leave].copy()
        table = (table * pivot - np.outer(table[:, enter], kept)) // denominator
        table[leave], basis[leave], denominator = kept, enter, pivot
    if table[-1, -1] == 0:
        y = [denominator] * p
        for row, column in enumerate(basis):
            if column < p:
                y[column] += table[row, -1]
        return True, [fmpz(x) for x in y]
    dual = (denominator - table[-1, p : p + d]) * signs
    return False, [fmpz(x) for x in dual]


def _tableau(B: fmpz_mat) -> tuple[np.ndarray, np.ndarray]:
    """First tableau [B' | I | -B'1], rows signed so that the last column is >= 0, over the row of reduced costs."""
    p, d = B.nrows(), B.ncols()
    columns = np.array([int(x) for x in B.entries()], dtype=object).reshape(p, d).T
    right = -columns.sum(axis=1) if p else np.zeros(d, dtype=object)
    signs = np.array([-1 if x < 0 else 1 for x in right], dtype=object)
    table = np.zeros((d + 1, p + d + 1), dtype=object)
    table[:d, :p], table[:d, -1] = columns * signs[:, None], right * signs
    table[np.arange(d), p + np.arange(d)] = 1
    table[-1] = -table[:d].sum(axis=0)
    table[-1, p : p + d] = 0
    return table, signs


def _first_negative(costs: np.ndarray) -> int | None:
    """Bland's entering column: the first with a negative reduced cost."""
    return next((j for j, x in enumerate(costs) if x < 0), None)


def _bland_row(table: np.ndarray, basis: np.ndarray, enter: int) -> int:
    """Bland's leaving row: the smallest ratio, ties to the lowest basis column; ratios compared in integers."""
    best = -1
    for i in range(len(basis)):
        if table[i, enter] <= 0:
            continue
        if best >= 0:
            gap = table[i, -1] * table[best, enter] - table[best, -1] * table[i, enter]
            if gap > 0 or (gap == 0 and basis[i] > basis[best]):
                continue
        best = i
    return best


__all__ = ["exact_cone", "exact_rank", "phase_one"]
