"""Rows removed by a ReLU: Lemmas 8 and 9, condition (3), Definition 7, Fig. 2, and the statements of s.3.1 and s.4."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from oracles import spectra as oracle
from plica.analyses.spectrum import admissible_sets, removed_rows, rows_within, spectrum
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, DataError, ShapeError

EPS = 2.0**-52


@st.composite
def matrices(draw, most: int = 6):
    """Small integers, repeated, opposite and zero rows, or normal numbers; scales 1e-6 to 1e6; some rows removed."""
    m, n = draw(st.integers(1, most)), draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    degenerate = draw(st.booleans())
    A = rng.integers(-2, 3, size=(m, n)).astype(float) if degenerate else rng.normal(size=(m, n))
    for i in range(m) if degenerate else ():
        A[i] *= rng.choice([1.0, 1.0, 0.0, -1.0]) if rng.random() < 0.5 else 1.0
        if rng.random() < 0.3:
            A[i] = rng.choice([1.0, -1.0]) * A[rng.integers(m)]
    scale = draw(st.sampled_from([1e-6, 1.0, 1e6]))
    removed = np.flatnonzero(rng.random(m) < draw(st.sampled_from([0.2, 0.5, 0.8])))
    return scale * A, removed.tolist()


def without(A, removed):
    left = A.copy()
    left[removed] = 0.0
    return left


@given(matrices())
def test_lemma_8_and_its_sharper_form(case):
    A, removed = case
    found = removed_rows(A, removed)
    N, r = oracle.rank(A.tolist()), oracle.rank(without(A, removed).tolist())
    assert (found.rank_before, found.rank_after) == (N, r)
    values, left = oracle.singular_values(A.tolist()), oracle.singular_values(without(A, removed).tolist())
    slack = 1e-12 * (values[0] if values else 0.0)
    np.testing.assert_allclose(found.before, values, atol=slack)
    np.testing.assert_allclose(found.after, left, atol=slack)
    assert left[0] <= values[0] + slack
    for i in range(len(left)):  # interlacing
        assert left[i] <= values[i] + slack
        if i + len(removed) < len(values):
            assert left[i] >= values[i + len(removed)] - slack
    if r == 0:
        assert math.isnan(found.smallest)
        return
    assert found.smallest <= found.lemma8_sharp + slack
    k = N - len(removed)
    assert math.isnan(found.lemma8) == (k <= 0)
    if k > 0:
        assert r >= k
        assert found.lemma8 == found.before[k - 1]
        assert found.lemma8_sharp <= found.lemma8 + slack
        assert left[r - 1] <= values[k - 1] + slack


@given(matrices())
def test_lemma_9_corrected_and_where_the_printed_one_holds(case):
    A, removed = case
    found = removed_rows(A, removed)
    left = without(A, removed)
    kept = [j for j in range(len(A)) if j not in removed]
    slack = 1e-9 * max(1e-300, np.abs(A).max(initial=0.0))
    basis = np.linalg.svd(left)[2][: found.rank_after]
    for place, k in enumerate(found.removed):
        size = np.linalg.norm(A[k])
        if size == 0:
            assert math.isnan(found.constants[place])
            continue
        v = A[k] / size
        c = math.sqrt(len(kept)) * max((abs(A[j] @ v) for j in kept), default=0.0)
        assert found.constants[place] == pytest.approx(c, rel=1e-12, abs=slack)
        assert found.responses[place] == pytest.approx(np.linalg.norm(left @ v), rel=1e-9, abs=slack)
        assert found.responses[place] <= c + slack
        if found.shares[place] > 0:
            assert found.shares[place] == pytest.approx(np.linalg.norm(basis @ v), rel=1e-9, abs=1e-12)
            assert found.smallest * found.shares[place] <= found.responses[place] + slack
        else:
            assert np.linalg.norm(left @ v) <= slack
    if not math.isnan(found.lemma9):
        assert found.smallest <= found.lemma9_sharp * (1 + 1e-9) + slack
        assert found.lemma9_sharp <= found.lemma9 * (1 + 1e-9) + slack
        if found.rank_after == A.shape[1]:
            assert not found.printed_fails
            assert found.smallest <= found.lemma9_printed * (1 + 1e-9) + slack


def test_lemma_9_as_printed_is_false():
    found = removed_rows([[1.0, 0.0], [0.01, 1.0]], [1])
    assert found.smallest == 1.0
    assert found.lemma9_printed == pytest.approx(0.01, rel=1e-3)
    assert found.printed_fails
    assert found.lemma9 >= 1.0
    rng = np.random.default_rng(1)
    failing = [removed_rows(rng.normal(size=(6, 8)), [0, 1, 2]).printed_fails for _ in range(200)]
    assert np.mean(failing) > 0.1  # without full column rank it is no rare event


def test_figure_2_two_correlated_vectors_are_left():
    """Three rows, well conditioned; the weakly correlated one is removed, and the rest is badly conditioned."""
    close = 0.05
    A = np.array([[math.cos(close), math.sin(close)], [math.cos(close), -math.sin(close)], [0.0, 1.0]])
    found = removed_rows(A, [2])
    assert found.before[0] / found.before[1] < 1.5
    assert found.after[0] / found.after[1] > 15
    assert found.smallest <= found.lemma9 == pytest.approx(math.sqrt(2) * math.sin(close))
    assert bool(admissible_sets(A, removed=[2]))


def test_condition_3_and_the_curve_of_figure_8():
    rng = np.random.default_rng(0)
    A, removed = rng.normal(size=(30, 7)), list(range(0, 30, 3))
    c = np.geomspace(1e-2, 1e2, 25)
    kept = [j for j in range(30) if j not in removed]
    by_hand = [
        max(sum(abs(A[j] @ A[k]) <= x * np.linalg.norm(A[k]) / math.sqrt(len(kept)) for j in kept) for k in removed)
        for x in c
    ]
    assert rows_within(A, removed, c).tolist() == by_hand
    first = removed_rows(A, removed).lemma9_printed
    assert rows_within(A, removed, np.array([first * (1 - 1e-9), first * (1 + 1e-9)])).tolist()[1] == len(kept)
    assert rows_within(A, removed, first * (1 - 1e-9)) < len(kept)
    assert rows_within(A, [], [1.0]).tolist() == [0]


# --- Definition 7 -----------------------------------------------------------------------------------------------


def strict(A, b, gone) -> bool:
    """Largest s <= 1 with s below every kept row: positive exactly for an admissible set."""
    from scipy.optimize import linprog

    n = A.shape[1]
    rows = np.column_stack([np.where(gone[:, None], A, -A), np.where(gone, 0.0, 1.0)])
    found = linprog(np.append(np.zeros(n), -1.0), rows, np.where(gone, -b, b), bounds=[(None, None)] * n + [(None, 1)])
    return found.status in (0, 3) and (found.status == 3 or -found.fun > 1e-7)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_admissible_sets_are_those_of_linear_programs(seed, degenerate):
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    A = rng.integers(-1, 2, size=(m, n)).astype(float) if degenerate else rng.normal(size=(m, n))
    b = rng.integers(-1, 2, size=m).astype(float) if degenerate else rng.normal(size=m)
    found = admissible_sets(A, b)
    assert found.standing is Standing.CERTIFIED
    expected = {gone for gone in itertools.product([False, True], repeat=m) if strict(A, b, np.array(gone))}
    assert {tuple(row) for row in found.sets.tolist()} == expected
    assert len(found) == len(expected)
    for gone in itertools.product([False, True], repeat=m):
        assert bool(admissible_sets(A, b, np.flatnonzero(gone).tolist())) == (gone in expected)


def test_general_position_has_as_many_sets_as_regions():
    rng = np.random.default_rng(3)
    assert len(admissible_sets(rng.normal(size=(7, 3)), rng.normal(size=7))) == sum(math.comb(7, i) for i in range(4))


def test_opposite_rows_and_ties():
    A = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert {tuple(s) for s in admissible_sets(A).sets.tolist()} == {(True, False), (False, True), (True, True)}
    assert not admissible_sets(A, removed=[])
    assert not admissible_sets(np.zeros((1, 2)), removed=[])  # 0 > 0 never holds
    assert bool(admissible_sets(np.zeros((1, 2)), [1e-300], removed=[]))


def test_a_budget_returns_the_sets_found(monkeypatch):
    rng = np.random.default_rng(0)
    found = admissible_sets(rng.normal(size=(8, 3)), progress=Progress(max_seconds=0.0))
    assert found.completeness is Completeness.BUDGET
    assert len(found) == 0


# --- s.3.1 and s.4 ----------------------------------------------------------------------------------------------


@given(matrices())
def test_a_leaky_unit_trades_invariance_for_instability(case):
    A, removed = case
    slack = 1e-12 * max(1e-300, np.abs(A).max(initial=0.0))
    for slope in (0.3, 1e-3):
        found = removed_rows(A, removed, slopes=slope)
        assert (
            oracle.rank((A * np.where(np.isin(np.arange(len(A)), removed), 0.5, 1.0)[:, None]).tolist())
            == found.rank_before
        )
        assert found.leaky[-1] >= slope * found.before[-1] - slack
        if not math.isnan(found.leaky_bound):
            assert found.leaky[-1] <= found.leaky_bound + slack
            assert found.leaky_bound <= slope * found.before[0] + slack


def test_leaky_and_elu_networks_lose_no_direction_but_their_inverse_is_unstable():
    rng = np.random.default_rng(5)
    W = rng.normal(size=(8, 6))
    x = -W.sum(0)
    inactive = np.flatnonzero(W @ x <= 0)
    assert 8 - len(inactive) < 6
    relu = spectrum(zoo.build(zoo.chain((6,), ("dense", {"W": W.tolist()}), ("relu", {}))), x[None])
    assert relu.null_dimensions[0, relu.place("relu1")] == 6 - (8 - len(inactive))
    for slope in (1e-1, 1e-3, 1e-5):
        net = zoo.build(zoo.chain((6,), ("dense", {"W": W.tolist()}), ("leaky", {"slope": slope})))
        leaky = spectrum(net, x[None])
        j = leaky.place("leaky1")
        assert leaky.null_dimensions[0, j] == 0
        assert leaky.proven[0, j]
        bound = removed_rows(W, inactive, slopes=slope).leaky_bound
        assert leaky.smallest[0, j] <= bound * (1 + 1e-9)
        assert bound <= slope * leaky.largest[0, leaky.place("leaky1", "pre")]
    z = 20 * (W @ x)  # an ELU saturates: its slopes exp(z) vanish far below zero
    elu = removed_rows(W, inactive, slopes=np.exp(z[inactive]))
    assert 0 < elu.leaky[-1] <= elu.leaky_bound < 1.0


@pytest.mark.parametrize("seed", range(5))
def test_orthogonal_columns_lose_their_orthogonality(seed):
    """A with orthonormal columns: A' D A = 1 - A_I' A_I, orthogonal only if all removed directions weigh the same."""
    rng = np.random.default_rng(seed)
    A = np.linalg.qr(rng.normal(size=(12, 5)))[0]
    removed = rng.choice(12, size=4, replace=False)
    found = removed_rows(A, removed)
    gone = np.zeros(5)
    gone[:4] = np.linalg.svd(A[removed], compute_uv=False)[:4]
    np.testing.assert_allclose(np.sort(found.after**2), np.sort(1 - gone**2), atol=1e-12)
    np.testing.assert_allclose(found.before, 1.0)
    assert found.after[0] / found.after[-1] > 1.05


def test_orthogonal_layers_still_decay_with_depth():
    rng = np.random.default_rng(2)
    layers = []
    for _ in range(6):
        layers += [("dense", {"W": np.linalg.qr(rng.normal(size=(40, 40)))[0].tolist()}), ("relu", {})]
    found = spectrum(zoo.build(zoo.chain((40,), *layers)), rng.normal(size=(3, 40)), side="post")
    smallest, largest = np.median(found.smallest, axis=0), np.median(found.largest, axis=0)
    assert (largest <= 1 + 1e-12).all()
    assert largest[-1] / smallest[-1] > 3 * largest[0] / smallest[0]


def test_a_preconditioner_fits_one_piece_only():
    rng = np.random.default_rng(4)
    W = rng.normal(size=(12, 4))
    x, y = rng.normal(size=(2, 4))
    here = W * (W @ x > 0)[:, None]
    fitted = np.linalg.pinv(here)
    net = zoo.build(zoo.chain((4,), ("dense", {"W": W.tolist()}), ("relu", {}), ("dense", {"W": fitted.tolist()})))
    found = spectrum(net, np.stack([x, y]), net.output)
    assert found.condition[0, 0] == pytest.approx(1.0, rel=1e-9)
    assert found.condition[1, 0] > 1.5


def test_bad_input():
    with pytest.raises(ArgumentError, match="rows 0 to 1"):
        removed_rows(np.eye(2), [2])
    with pytest.raises(ShapeError):
        removed_rows(np.ones(3), [0])
    with pytest.raises(DataError):
        removed_rows([[np.nan]], [0])
    with pytest.raises(ShapeError, match="2 rows"):
        admissible_sets(np.eye(2), [1.0])
    with pytest.raises(ArgumentError):
        admissible_sets(np.eye(2), removed=[5])
    assert removed_rows(np.eye(3), []).smallest == 1.0
    assert math.isnan(removed_rows(np.eye(3), [0, 1, 2]).smallest)
