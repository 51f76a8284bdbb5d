"""Rows that are zero on a whole cone: one row's answer, and the proofs of all rows' answers."""

from __future__ import annotations

import numpy as np
import pytest
from flint import fmpz_mat

from plica import Progress
from plica.core.polyhedron import cone
from plica.errors import BudgetReached, SolverError


def drawn(seed):
    """A cone of small integers, half of them with rows that repeat, cancel each other, or are zero."""
    draw = np.random.default_rng(seed)
    m, n, p = draw.integers(1, 9), draw.integers(1, 6), draw.integers(0, 3)
    M, N = draw.integers(-2, 3, (m, n)).astype(float), draw.integers(-2, 3, (p, n)).astype(float)
    if seed % 2:
        M = np.vstack([M, -M[: draw.integers(0, m + 1)], M[:1], 0 * M[:1]])
    return M * 2.0 ** draw.integers(-20, 20, (len(M), 1)), N


@pytest.mark.parametrize("at_once", [4_000, 0])
@pytest.mark.parametrize("seed", range(40))
def test_one_row_is_answered_as_all_rows_are(seed, at_once, monkeypatch):
    monkeypatch.setattr(cone, "ONE_AT_ONCE", at_once)
    M, N = drawn(seed)
    proof = cone.partition(M, N)
    assert [cone.is_implied(M, N, row) for row in range(len(M))] == proof.implied.tolist()
    assert cone.is_implied(M, N, -1) == proof.implied[-1]
    (rows, _), (equal, _) = cone.scaled_rows(M), cone.scaled_rows(N)
    at = np.array((rows * proof.interior).tolist(), dtype=object)[:, 0]
    assert ((at < 0) == ~proof.implied).all() and (at <= 0).all() and not any((equal * proof.interior).entries())
    y = np.array(proof.multipliers.tolist(), dtype=object)[:, 0]
    assert ((y > 0) == proof.implied).all() and (y >= 0).all()
    total = rows.transpose() * proof.multipliers
    if len(N):
        total += equal.transpose() * proof.equality_multipliers
    assert total == fmpz_mat(M.shape[1], 1)


def test_time_and_size_end_one_row(monkeypatch):
    M, N = drawn(1)
    with pytest.raises(BudgetReached):
        cone.is_implied(M, N, 0, Progress(max_seconds=0.0))
    monkeypatch.setattr(cone, "EXACT_AT_MOST", 1)
    with pytest.raises(SolverError, match="too large"):
        cone.is_implied(M, N, 0)
