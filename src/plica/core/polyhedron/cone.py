"""One theorem decides everything: which rows of a cone {z : M z <= 0, N z = 0} are zero on the whole cone.

Goldman and Tucker (1956): every row is either strictly negative somewhere on the cone (a strict row), or zero on all of
it (an implied row); one vector z is negative on all strict rows at once, and one combination ``M'y + N'mu = 0`` has
y > 0 on all implied rows at once. The pair (z, y) proves the partition, and both are open conditions inside a linear
space: a float guess moves exactly into that space and stays on the right side, unless it is a matter of a hair. Then a
simplex method in rationals decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from flint import fmpq, fmpz, fmpz_mat

from plica.core.exact.integers import column_signs, particular, scaled_rows, select, stack, to_integers, transpose
from plica.core.progress import Progress
from plica.core.solve import linear_program, nnls
from plica.errors import SolverError

EXACT_AT_ONCE = 400  # entries of M up to which rational pivots are faster than a call of an LP solver
ONE_AT_ONCE = 4_000  # the same where one row alone is asked about
EXACT_AT_MOST = 200_000  # entries of M above which rational pivots would take hours


@dataclass(frozen=True)
class Partition:
    """The rows of a cone {z : M z <= 0, N z = 0}, with both proofs in integers.

    Attributes
    ----------
    implied : ndarray of bool, shape (m,)
        Rows that are zero on the whole cone.
    interior : fmpz_mat, shape (n, 1)
        A point of the cone with ``M z < 0`` on all other rows.
    multipliers, equality_multipliers : fmpz_mat, shapes (m, 1) and (p, 1)
        ``M'y + N'mu = 0`` with y > 0 on the implied rows, 0 on the others, where M and N are scaled to integers
        as by `plica.core.exact.integers.scaled_rows`.
    """

    implied: np.ndarray
    interior: fmpz_mat
    multipliers: fmpz_mat
    equality_multipliers: fmpz_mat


def partition(M: np.ndarray, N: np.ndarray, progress: Progress | None = None) -> Partition:
    """Decide the implied rows of the cone {z : M z <= 0, N z = 0} exactly.

    Parameters
    ----------
    M : ndarray, shape (m, n)
    N : ndarray, shape (p, n)
        Finite floats.
    progress : Progress, optional
        Its seconds bound the linear program and are looked at before every rational pivot.

    Raises
    ------
    SolverError
        When the float guess cannot be proven and the cone is too large for a simplex method in rationals.
    BudgetReached
        When the time is up.
    """
    return _decided(M, N, scaled_rows(M), scaled_rows(N), progress or Progress())


def partition_of_integers(rows: fmpz_mat, equalities: fmpz_mat, progress: Progress | None = None) -> Partition:
    """As `partition`, for a cone given by integer rows of any size; the multipliers belong to these rows.

    Raises
    ------
    SolverError, BudgetReached
        As `partition`.
    """
    (M, below), (N, equal) = _rounded_rows(rows), _rounded_rows(equalities)
    top = max([*below.tolist(), *equal.tolist()], default=0)  # a common factor of all multipliers does not matter
    return _decided(M, N, (rows, below - top), (equalities, equal - top), progress or Progress())


def is_implied(M: np.ndarray, N: np.ndarray, row: int, progress: Progress | None = None) -> bool:
    """Decide exactly whether one row is zero on the whole cone {z : M z <= 0, N z = 0}; faster than `partition`.

    Parameters and errors are those of `partition`.
    """
    progress = progress or Progress()
    rows, equalities = scaled_rows(M), scaled_rows(N)
    proof = _guessed(M, N, rows, equalities, progress) if M.size > ONE_AT_ONCE else None
    if proof is not None:
        return bool(proof.implied[row])
    _bound_pivots(M)
    table, basis = _tableau(rows[0], equalities[0])
    return _ray(table, basis, {row % len(M)}, len(M), progress) is not None


Scaled = tuple[fmpz_mat, np.ndarray]  # integers, and exponents: float rows are about integers * 2**exponent


def _decided(M: np.ndarray, N: np.ndarray, rows: Scaled, equalities: Scaled, progress: Progress) -> Partition:
    """Partition of the cone of the integers, which M and N are near."""
    proof = _guessed(M, N, rows, equalities, progress) if M.size > EXACT_AT_ONCE else None
    if proof is not None:
        return proof
    _bound_pivots(M)
    return _by_pivots(rows[0], equalities[0], progress)


def _bound_pivots(M: np.ndarray) -> None:
    if M.size > EXACT_AT_MOST:
        raise SolverError(
            f"a cone of {M.shape[0]} rows in {M.shape[1]} dimensions is too close to degenerate for floats, and too "
            "large for rational pivots. Restrict it to a slice, or round the weights to fewer digits."
        )


def _rounded_rows(A: fmpz_mat) -> tuple[np.ndarray, np.ndarray]:
    """Rows as floats with largest entries of about 1, and the powers of two that were taken out."""
    out, exponents = np.zeros((A.nrows(), A.ncols())), np.zeros(A.nrows(), dtype=np.int64)
    for i, row in enumerate(A.tolist() if out.size else []):
        bits = max(int(abs(v)).bit_length() for v in row)
        out[i] = [int(v) / (1 << bits) for v in row]  # a quotient of integers rounds once, and never overflows
        exponents[i] = -bits
    return out, exponents


def _guessed(M: np.ndarray, N: np.ndarray, rows: Scaled, equalities: Scaled, progress: Progress) -> Partition | None:
    """Guess in floats and prove in integers; None when neither way to guess leads to a proof."""
    columns = _powers(np.maximum(np.abs(M).max(axis=0, initial=0.0), np.abs(N).max(axis=0, initial=0.0)))
    size = _powers(np.abs(M * columns).max(axis=1, initial=0.0))
    equal = _powers(np.abs(N * columns).max(axis=1, initial=0.0))
    for search in (_search_by_nnls, _search_by_lp):
        try:
            guess = search(M * columns * size[:, None], N * columns * equal[:, None], progress)
        except SolverError:
            continue
        if guess is None:
            continue
        implied, z, y, mu = guess
        # The multipliers of integer rows are powers of two away.
        y, mu = np.ldexp(y * size, rows[1]), np.ldexp(mu * equal, equalities[1])
        proof = _certify(rows[0], equalities[0], (implied, z * columns, y, mu))
        if proof is not None:
            return proof
    return None


# --- search in floats -----------------------------------------------------------------------------


Guess = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _search_by_nnls(M: np.ndarray, N: np.ndarray, progress: Progress) -> Guess | None:
    """Guess (implied, z, y, mu) by non-negative least squares, for rows of similar sizes.

    In the null space of N let C be the rows of M and r the residual of ``C'(1 + l)`` at the best l >= 0. Either r = 0:
    all rows are implied, with multipliers 1 + l. Or z = -r has C z <= 0, strictly for some rows; the question is then
    asked again for the rows that are left.
    """
    basis, C = np.eye(M.shape[1]), M
    if len(N):
        q, triangle, _ = scipy.linalg.qr(N.T, pivoting=True, check_finite=False)
        diagonal = np.abs(np.diag(triangle))
        basis = q[:, int((diagonal > 1e-12 * diagonal.max(initial=0.0)).sum()) :]
        C = M @ basis
    length = np.linalg.norm(C, axis=1)
    size = 1.0 / np.where(length > 1e-13 * np.linalg.norm(M, axis=1), length, np.inf)
    C = C * size[:, None]
    left, z, y = np.arange(len(M)), np.zeros(C.shape[1]), np.ones(len(M))
    while len(left):
        progress.check()
        total = C[left].sum(axis=0)
        weights, rest = nnls(C[left].T, -total)
        if np.linalg.norm(rest) <= 1e-9 * (1.0 + np.linalg.norm(total)):
            y[left] = np.where(size[left] > 0, (1.0 + weights) * size[left], 1.0)
            break
        step = rest / np.linalg.norm(rest)  # C'(1 + l) is -rest
        strict = C[left] @ step < -1e-10
        if not strict.any():
            return None
        z = z + _share(C, left, z, step) * step
        left = left[~strict]
    implied = np.zeros(len(M), dtype=bool)
    implied[left] = True
    mu = np.linalg.lstsq(N.T, -(M[implied].T @ y[implied]), rcond=None)[0] if len(N) else np.zeros(0)
    return implied, basis @ z, y, mu


def _share(C: np.ndarray, left: np.ndarray, z: np.ndarray, step: np.ndarray) -> float:
    """How much of the step keeps half the margin of every row that is settled already."""
    settled = np.setdiff1d(np.arange(len(C)), left)
    rise = C[settled] @ step
    up = rise > 0
    return float(min(1.0, (0.5 * -(C[settled] @ z)[up] / rise[up]).min(initial=1.0)))


def _search_by_lp(M: np.ndarray, N: np.ndarray, progress: Progress) -> Guess | None:
    """Guess (implied, z, y, mu): maximise the sum of s over M z + s <= 0, N z = 0, 0 <= s <= 1.

    At the optimum s is 1 on the strict rows and 0 on the implied rows, where the multipliers are at least 1
    (Freund, Roundy and Todd 1985).
    """
    m, n = M.shape
    slack = sp.hstack([sp.csr_array(M), sp.eye_array(m)])
    tight = sp.hstack([sp.csr_array(N), sp.csr_array((len(N), m))])
    lower, upper = np.concatenate([np.full(n, -np.inf), np.zeros(m)]), np.concatenate([np.full(n, np.inf), np.ones(m)])
    cost = np.concatenate([np.zeros(n), -np.ones(m)])
    sides = lower, upper
    best = linear_program(cost, slack, np.zeros(m), tight, np.zeros(len(N)), bounds=sides, progress=progress)
    if best.status != "optimal":
        return None
    return best.x[n:] < 0.5, best.x[:n], best.dual, best.equality_dual


def _powers(sizes: np.ndarray) -> np.ndarray:
    """Powers of two that bring these sizes to about 1."""
    return np.ldexp(1.0, -np.frexp(np.where(sizes > 0, sizes, 1.0))[1])


def _certify(M: fmpz_mat, N: fmpz_mat, guess: Guess) -> Partition | None:
    """Move the float guess exactly into its linear spaces; None when a sign does not come out."""
    implied, z, y, mu = guess
    inside, outside, width = np.flatnonzero(implied), np.flatnonzero(~implied), range(M.ncols())
    # Without strict rows the origin will do, without implied rows no multipliers are needed.
    interior = _near(stack(N, select(M, inside, width)), z) if len(outside) else fmpz_mat(M.ncols(), 1)
    if interior is None or (column_signs(select(M, outside, width) * interior) >= 0).any():
        return None
    weights: fmpz_mat | None = fmpz_mat(N.nrows(), 1)
    if len(inside):
        weights = _near(transpose(stack(select(M, inside, width), N)), np.concatenate([y[inside], mu]), len(inside))
    if weights is None:
        return None
    entries = weights.entries()
    if any(v <= 0 for v in entries[: len(inside)]):
        return None
    return Partition(
        implied, interior, _scatter(entries[: len(inside)], inside, len(implied)), _column(entries[len(inside) :])
    )


def _near(A: fmpz_mat, guess: np.ndarray, signed: int = 0) -> fmpz_mat | None:
    """Integer vector of the null space of A close to a multiple of the guess; None when none is found.

    The columns that are solved for are chosen by pivoted QR, weighted by the guess in the first `signed` entries:
    an entry near zero must not be the one that takes up the errors.
    """
    if not len(guess):
        return fmpz_mat(0, 1)
    order = None
    if A.nrows():
        floats = np.array([[float(v) for v in row] for row in _shortened(A)], dtype=np.float64)
        weight = np.ones(len(guess))
        weight[:signed] = np.abs(guess[:signed])
        order = scipy.linalg.qr(floats * weight, mode="r", pivoting=True, check_finite=False)[1]
    found = particular(A, fmpz_mat(A.nrows(), 1), to_integers(guess[:, None])[0], order)
    return None if found is None else found[0]


def _shortened(A: fmpz_mat) -> list[list[fmpq]]:
    """Rows divided by their largest entries."""
    largest = [max((abs(v) for v in row), default=fmpz(1)) or fmpz(1) for row in A.tolist()]
    return [[fmpq(v, top) for v in row] for row, top in zip(A.tolist(), largest, strict=True)]


def _column(entries: list[fmpz]) -> fmpz_mat:
    return fmpz_mat(len(entries), 1, entries)


def _scatter(entries: list[fmpz], places: np.ndarray, size: int) -> fmpz_mat:
    """Column of the given size with the entries at the places, 0 elsewhere."""
    full = [fmpz(0)] * size
    for place, value in zip(places.tolist(), entries, strict=True):
        full[place] = value
    return _column(full)


# --- decide in rationals --------------------------------------------------------------------------


def _by_pivots(M: fmpz_mat, N: fmpz_mat, progress: Progress) -> Partition:
    """Partition by a simplex method in rationals.

    The pivots run over y in {y >= 0 : M'y + N'mu = 0}, from y = 0. Maximise the sum of y over the rows that are still
    undecided. Unbounded: the ray has y > 0 on some of them, which are therefore implied. Optimal: the prices are a
    point of the cone that is strict on all of them.
    """
    m, p = M.nrows(), N.nrows()
    table, basis = _tableau(M, N)
    undecided, y = set(range(m)), [fmpq(0)] * m
    while (ray := _ray(table, basis, undecided, m, progress)) is not None:
        y = [a + b for a, b in zip(y, ray, strict=True)]
        undecided -= {j for j in range(m) if ray[j] > 0}
    right = [fmpz(0)] * p + [fmpz(-1 if j in undecided else 0) for j in basis]
    interior = particular(stack(N, select(M, basis, range(M.ncols()))), _column(right))
    multipliers = _integral(y)
    balance = particular(transpose(N), transpose(M) * multipliers * -1) if M.ncols() else (fmpz_mat(p, 1), fmpz(1))
    if interior is None or balance is None:
        raise SolverError("rational pivots ended in a system without solution; please report this polyhedron.")
    implied = np.array([j not in undecided for j in range(m)], dtype=bool)
    return Partition(implied, interior[0], multipliers * balance[1], balance[0])


def _tableau(M: fmpz_mat, N: fmpz_mat) -> tuple[list[list[fmpq]], list[int]]:
    """Rows ``y_basic + T y = 0`` over all columns of M'; rows whose basic variable is free (of N') never bind."""
    m, p = M.nrows(), N.nrows()
    if not m or not M.ncols():
        return [], []
    reduced, denominator, rank = transpose(stack(N, M)).rref()
    table, basis = [], []
    for row in reduced.tolist()[:rank]:
        pivot = next(j for j, v in enumerate(row) if v)
        if pivot >= p:
            basis.append(pivot - p)
            table.append([fmpq(v, denominator) for v in row[p:]])
    return table, basis


def _ray(table: list[list[fmpq]], basis: list[int], wanted: set[int], m: int, progress: Progress) -> list[fmpq] | None:
    """Ray with a positive sum over the wanted entries, or None when there is none; pivots in place.

    Every basic solution is y = 0, so every pivot is degenerate: the steepest column first, Bland's rule when that has
    gone on for long, which ends always.
    """
    patience = 5 * (m + len(basis))
    while True:
        progress.check()
        costs = [k for k, j in enumerate(basis) if j in wanted]
        gains = [fmpq(int(j in wanted)) - sum((table[k][j] for k in costs), fmpq(0)) for j in range(m)]
        rising = [j for j in range(m) if gains[j] > 0]
        if not rising:
            return None
        enter = rising[0] if patience < 0 else max(rising, key=lambda j: (gains[j], -j))
        leaving = [k for k in range(len(basis)) if table[k][enter] > 0]
        if not leaving:
            ray = [fmpq(0)] * m
            ray[enter] = fmpq(1)
            for k, j in enumerate(basis):
                ray[j] = -table[k][enter]
            return ray
        _pivot(table, basis, min(leaving, key=lambda k: basis[k]), enter)
        patience -= 1


def _pivot(table: list[list[fmpq]], basis: list[int], leave: int, enter: int) -> None:
    """Exchange a basic for another variable."""
    lead = table[leave][enter]
    row = table[leave] = [v / lead for v in table[leave]]
    for k, other in enumerate(table):
        factor = other[enter]
        if k != leave and factor:
            table[k] = [a - factor * b for a, b in zip(other, row, strict=True)]
    basis[leave] = enter


def _integral(values: list[fmpq]) -> fmpz_mat:
    """Values times their least common denominator."""
    common = fmpz(1)
    for v in values:
        common = common.lcm(v.q)
    return _column([fmpz(v.p * (common // v.q)) for v in values])
