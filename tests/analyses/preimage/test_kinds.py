"""Kinds and dimensions of layer preimages: known cases, an exact rational oracle, certificates, budgets."""

from fractions import Fraction

import numpy as np
import pytest

from oracles import kinds as oracle
from plica.analyses.preimage import exact_cone as exact_module
from plica.analyses.preimage import kinds as kinds_module
from plica.analyses.preimage.kinds import LayerKinds, decide, is_omnidirectional
from plica.analyses.preimage.result import Kind
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, DataError, MemoryBudgetError, ShapeError

NONE = np.zeros((0, 2))
TRIANGLE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
SLAB = np.array([[1.0, 0.0], [-1.0, 0.0]])
HALF = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])  # 0 on the boundary of the hull

# ---------------------------------------------------------------------------------------------- known answers


@pytest.mark.parametrize(
    "A, C, tight, kind, dimension",
    [
        (NONE, TRIANGLE, [0, 0, 0], "compact", 2),
        (NONE, TRIANGLE, [1, 1, 1], "singleton", 0),  # Theorem 4 i: pinned down by units at zero
        (NONE, TRIANGLE, [1, 1, 0], "compact", 2),
        (NONE, SLAB, [0, 0], "unbounded", 2),
        (NONE, SLAB, [1, 0], "unbounded", 2),
        (NONE, SLAB, [1, 1], "unbounded", 1),
        (NONE, HALF, [0, 0, 0], "unbounded", 2),
        (NONE, HALF, [1, 1, 1], "unbounded", 1),
        (NONE, np.vstack([TRIANGLE, -TRIANGLE]), [1] * 6, "singleton", 0),  # [F; -F]
        (NONE, np.vstack([SLAB, [[0.0, 1.0], [0.0, -1.0]]]), [1, 1, 0, 0], "compact", 1),
        (NONE, [[1.0, 0.0], [1.0, -1e-12], [-1.0, -1e-12]], [0, 0, 0], "unbounded", 2),  # a hair from bounded
        (NONE, [[1.0, 0.0], [1.0, -2e-12], [-1.0, 1e-12]], [0, 0, 0], "compact", 2),  # a hair from unbounded
        (np.zeros((0, 3)), [[1.0, 0, 0], [1.0, -2e-12, 0], [-1.0, 1e-12, 0]], [1, 1, 1], "unbounded", 1),
        (NONE, NONE, [], "unbounded", 2),
        (NONE, np.zeros((3, 2)), [1, 1, 1], "unbounded", 2),
        ([[1.0, 1.0]], SLAB, [0, 0], "compact", 1),
        ([[1.0, 1.0]], SLAB[:1], [0], "unbounded", 1),
        ([[1.0, 1.0]], SLAB, [1, 1], "singleton", 0),
        ([[1.0, 1.0]], [[2.0, 2.0]], [1], "unbounded", 1),  # the row is zero on the kernel
        ([[1.0, 1.0], [2.0, 2.0]], SLAB, [0, 0], "compact", 1),
        ([[1.0, 1.0], [3.0, 3.0]], SLAB, [0, 0], "compact", 1),
        (np.eye(2), SLAB, [0, 0], "singleton", 0),
        ([[1.0, 2.0], [2.0, 4.0], [1.0, 0.0]], SLAB, [0, 0], "singleton", 0),
        ([[0.0, 0.0]], TRIANGLE, [0, 0, 0], "compact", 2),
    ],
)
def test_known_kinds(A, C, tight, kind, dimension):
    decision = decide(A, C, np.array(tight, dtype=bool))
    assert (decision.kind.value, decision.dimension) == (kind, dimension)
    assert decision.standing.is_proof and decision.reason.endswith(".")


def test_one_input():
    up, down = [[2.0]], [[-3.0]]
    nothing = np.zeros((0, 1))
    assert decide(nothing, nothing).kind is Kind.UNBOUNDED
    assert decide(nothing, up).kind is Kind.UNBOUNDED
    assert decide(nothing, up + down).kind is Kind.COMPACT
    assert decide(nothing, up + down, [True, True]).kind is Kind.SINGLETON
    assert decide(up, down).kind is Kind.SINGLETON


def test_a_prior_bounds_what_the_layer_does_not():
    W = np.array([[1.0, 1.0], [-1.0, 1.0]])
    active = np.array([False, False])
    assert LayerKinds(W).decide(active).kind is Kind.UNBOUNDED
    above = LayerKinds(W, prior=-np.eye(2))  # nonnegative inputs: -v <= u
    assert above.decide(active).kind is Kind.COMPACT
    both = np.array([True, False, True, True])
    assert above.decide(active, both).kind is Kind.SINGLETON
    box = LayerKinds(W[:1], prior=np.vstack([np.eye(2), -np.eye(2)]))
    assert (box.decide(np.array([False])).kind, box.decide(np.array([False])).dimension) == (Kind.COMPACT, 2)


def test_inputs_that_no_unit_reads_are_free():
    W = np.hstack([np.vstack([np.eye(2), -np.ones((1, 2))]), np.zeros((3, 2))])
    layer = LayerKinds(W)
    inactive = np.zeros(3, dtype=bool)
    for tight, dimension in ((None, 4), (np.ones(3, dtype=bool), 2)):
        decision = layer.decide(inactive, tight)
        assert (decision.kind, decision.dimension, layer.shape) == (Kind.UNBOUNDED, dimension, (3, 4))
    assert layer.decide(np.array([True, True, False])).dimension == 2
    assert decision.certificate["free inputs"].tolist() == [2, 3]
    assert decide(np.zeros((2, 3)), np.zeros((1, 3)), [True]).dimension == 3
    boxed = LayerKinds(W, prior=np.vstack([np.eye(4), -np.eye(4)]))
    assert boxed.decide(inactive).kind is Kind.COMPACT


def test_scales_that_cannot_be_levelled_are_decided_in_integers():
    C = np.array([[1e300, 5e-324], [-1e300, 0.0], [0.0, -1.0]])
    decision = decide(NONE, C)
    assert (decision.kind, decision.standing) == (Kind.COMPACT, Standing.CERTIFIED)
    assert decide(NONE, C[[0, 1]]).kind is Kind.UNBOUNDED


# ------------------------------------------------------------------------------------- the exact rational oracle


def degenerate_layer(rng):
    """Rows, number of equality rows, tight rows: mostly in special position."""
    n, m = int(rng.integers(1, 9)), int(rng.integers(1, 31))
    shape = (m, n)
    W = [
        lambda: rng.normal(size=shape),
        lambda: rng.integers(-1, 2, shape).astype(float),
        lambda: rng.integers(-3, 4, shape).astype(float),
        lambda: np.round(rng.normal(size=shape) * 8) / 8,  # quantised
    ][rng.integers(4)]()
    if rng.random() < 0.2:
        W = np.vstack([W, -W])[:30]
    if rng.random() < 0.2:
        W[rng.integers(len(W), size=3)] = W[rng.integers(len(W), size=3)]
    if rng.random() < 0.15:
        W[rng.integers(len(W))] = 0.0
    if rng.random() < 0.1:
        W[:, rng.integers(n)] = 0.0
    if rng.random() < 0.15:
        W = W @ rng.integers(-1, 2, (n, n))  # low rank
    if rng.random() < 0.2:
        W[:, -1] = -np.abs(W[:, -1]) * (rng.random(len(W)) < 0.5)  # 0 outside or on the boundary of the hull
    if rng.random() < 0.2:
        W = W + (rng.random(W.shape) < 0.1) * 10.0 ** rng.uniform(-16, -7)  # a hair off the special position
    if rng.random() < 0.2:
        W = W * 10.0 ** rng.uniform(-6, 6, (len(W), 1))
    W = W[rng.permutation(len(W))]
    k = int(rng.integers(0, min(n + 2, len(W)) + 1)) if rng.random() < 0.7 else 0
    return W, k, rng.random(len(W) - k) < rng.choice([0.0, 0.3, 1.0])


def layer_at_zero_bias(rng):
    """A layer without biases and a witness at ties: what is exactly zero is tight, what is positive is active."""
    n, m = int(rng.integers(1, 7)), int(rng.integers(1, 21))
    W = rng.integers(-2, 3, (m, n)).astype(float)
    z = W @ rng.integers(-1, 2, n)
    order = np.argsort(~(z > 0), kind="stable")
    k = int((z > 0).sum())
    return W[order], k, (z == 0)[order][k:]


def layers(seed, count):
    rng = np.random.default_rng(seed)
    for i in range(count):
        yield layer_at_zero_bias(rng) if i % 5 == 0 else degenerate_layer(rng)


def check_against_oracle(W, k, tight):
    n = W.shape[1]
    decision = decide(W[:k], W[k:], tight)
    expected = oracle.kind(W[:k], W[k:], tight, n)
    assert (decision.kind.value, decision.dimension) == expected, (W.tolist(), k, tight.tolist(), decision)
    assert decision.standing.is_proof


@pytest.mark.big(sample=8)
@pytest.mark.parametrize("block", range(40))
def test_kinds_agree_with_an_exact_rational_oracle_on_1000_layers(block):
    for W, k, tight in layers(block, 25):
        check_against_oracle(W, k, tight)


@pytest.mark.parametrize("way", ["partition", "proposal"])
def test_the_integer_stage_agrees_with_the_oracle(way, monkeypatch):
    monkeypatch.setattr(kinds_module, "decide_cone", lambda cone: None)
    monkeypatch.setattr(exact_module, "SMALL", 10**9 if way == "partition" else -1)
    for W, k, tight in layers(100, 40):
        check_against_oracle(W, k, tight)


def test_without_float_bounds_everything_is_certified(monkeypatch):
    monkeypatch.setattr(kinds_module, "decide_cone", lambda cone: None)
    monkeypatch.setattr("plica.core.exact.floats.smallest_singular_value", lambda *_: 0.0)
    for W, k, tight in layers(200, 20):
        check_against_oracle(W, k, tight)
        assert decide(W[:k], W[k:], tight).standing is Standing.CERTIFIED


# ------------------------------------------------------------------------------------------- larger, against an LP


def linear_program_is_bounded(A, C):
    """Whether {A v = 0, C v <= 0} = {0}, numerically, by one LP and a rank."""
    from scipy.optimize import linprog

    n = A.shape[1]
    equal = {"A_eq": A, "b_eq": np.zeros(len(A))} if len(A) else {}
    inside = linprog(C.sum(0), A_ub=C, b_ub=np.zeros(len(C)), bounds=[(-1, 1)] * n, **equal)
    return inside.fun > -1e-7 and np.linalg.matrix_rank(np.vstack([A, C])) == n


@pytest.mark.parametrize("n, m, k", [(50, 180, 20), (80, 300, 50), (100, 260, 30), (150, 420, 100), (200, 700, 120)])
@pytest.mark.parametrize("bias", [0.0, 0.6])
def test_larger_layers_agree_with_a_linear_program(n, m, k, bias):
    rng = np.random.default_rng(n + m)
    W = rng.normal(size=(m, n))
    W[k:] -= bias * rng.normal(size=n)  # rows that lean one way leave a direction open
    decision = decide(W[:k], W[k:])
    assert (decision.kind is Kind.COMPACT) == linear_program_is_bounded(W[:k], W[k:])
    assert (decision.dimension, decision.standing) == (n - k, Standing.RIGOROUS)


def test_larger_degenerate_layers():
    rng = np.random.default_rng(11)
    F = rng.integers(-3, 4, (60, 40)).astype(float)
    slabs = np.vstack([F[:30], -F[:30]])
    assert decide(np.zeros((0, 40)), np.vstack([F, -F])).kind is Kind.COMPACT
    assert decide(np.zeros((0, 40)), slabs).kind is Kind.UNBOUNDED
    at_zero = decide(np.zeros((0, 40)), slabs, np.ones(60, dtype=bool))
    assert (at_zero.kind, at_zero.dimension) == (Kind.UNBOUNDED, 10)
    simplex = np.vstack([np.eye(40), -np.ones((1, 40))])
    assert decide(np.zeros((0, 40)), simplex, np.ones(41, dtype=bool)).kind is Kind.SINGLETON
    boundary = np.vstack([3.0 * F[:30], -F[:30], rng.normal(size=(5, 40))])  # opposite, of different length
    assert decide(np.zeros((0, 40)), boundary, np.ones(65, dtype=bool)).dimension == 10


# -------------------------------------------------------------------------------------------------- certificates


def exact_rows(rows):
    return oracle.rational(np.asarray(rows))


def test_certificate_of_a_singleton_names_independent_rows():
    rng = np.random.default_rng(3)
    W = np.vstack([rng.normal(size=(4, 4)), rng.normal(size=(1, 4))])
    W[1] = W[0]
    decision = LayerKinds(W).decide(np.ones(5, dtype=bool))
    rows = decision.certificate["rank"]["rows"]
    assert decision.kind is Kind.SINGLETON and len(rows) == 4 == oracle.rank(exact_rows(W[rows]))


def test_certificate_of_a_bounded_preimage_holds_positive_multipliers():
    rng = np.random.default_rng(4)
    W = rng.normal(size=(30, 5)) * 10.0 ** rng.uniform(-3, 3, (30, 1))
    active = np.arange(30) < 2
    decision = LayerKinds(W).decide(active)
    proof = decision.certificate["recession"]
    assert decision.kind is Kind.COMPACT and proof["method"] == "multipliers"
    regular, weights = proof["regular"], [Fraction(float(w)) for w in proof["weights"]]
    rows = exact_rows(W)
    assert oracle.rank([rows[i] for i in regular]) == 5
    others = [i for i in range(30) if i not in set(regular.tolist())]
    right = [-sum(weights[i] * rows[i][j] for i in others) for j in range(5)]
    system = [[rows[i][j] for i in regular] + [right[j]] for j in range(5)]
    solution = [row[-1] for row in oracle.echelon(system)[0]]
    assert all(y > 0 for i, y in zip(regular, solution, strict=True) if not active[i])
    assert all(weights[i] >= 0 for i in others)


def test_certificate_of_an_unbounded_preimage_holds_a_direction():
    rng = np.random.default_rng(5)
    W = rng.normal(size=(8, 6))
    W[2:] -= rng.normal(size=6)
    decision = LayerKinds(W).decide(np.arange(8) < 2)
    proof = decision.certificate["recession"]
    assert decision.kind is Kind.UNBOUNDED
    if proof["method"] == "direction":
        assert (W[proof["below"]] @ proof["direction"] < 0).all()
        assert np.abs(W[proof["equal"]] @ proof["direction"]).max() < 1e-12
    else:
        assert proof["method"] == "count"


def test_certificate_of_an_exact_split():
    C = np.array([[1.0, 2.0, 0.0], [-3.0, -6.0, 0.0], [0.0, 0.0, 1.0]])
    proof = decide(np.zeros((0, 3)), C, [True] * 3).certificate["directions"]
    assert proof["method"] == "split"
    assert (proof["implied"].tolist(), proof["strict"].tolist()) == ([0, 1], [2])
    y, v = ([int(x, 16) for x in proof[key]] for key in ("multipliers", "direction"))
    assert min(y) > 0 and (np.array(y) @ C[:2] == 0).all()
    assert (C[:2] @ v == 0).all() and C[2] @ v < 0


# ----------------------------------------------------------------------------------------------- omnidirectional


@pytest.mark.parametrize(
    "A, expected",
    [
        (TRIANGLE, True),
        (SLAB, False),
        (HALF, False),  # 0 on the boundary of the hull
        (np.vstack([np.eye(3), -np.eye(3)]), True),  # [F; -F] of a spanning set
        (np.eye(2), False),
        (np.zeros((4, 2)), False),
        (NONE, False),
        ([[1.0], [-1e-300]], True),
    ],
)
def test_omnidirectional(A, expected):
    result = is_omnidirectional(A)
    assert bool(result) is expected is result.value
    assert result.standing.is_proof and result.completeness is Completeness.COMPLETE
    assert ("not " in repr(result)) is not expected


def test_omnidirectional_for_a_point_is_exact():
    p = np.array([0.1, -0.3])
    A = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [0.5, 2.0]])
    exact = np.array([-0.1, 0.3, p[0] + p[1], 0.0])
    rounded = is_omnidirectional(A, exact, p)
    assert not rounded and rounded.standing is Standing.CERTIFIED  # row 3 is off, row 2 by a rounding
    assert is_omnidirectional(A[:3] * [[1], [1], [0.5]], [-0.25, 0.5, -0.125], [0.25, -0.5])
    assert not is_omnidirectional(A[:3], [-0.25, 0.5, -0.25 + 1e-16], [0.25, -0.5])


def test_omnidirectional_agrees_with_the_oracle():
    rng = np.random.default_rng(8)
    for _ in range(60):
        A = rng.integers(-1, 2, (int(rng.integers(1, 12)), int(rng.integers(1, 5)))).astype(float)
        assert is_omnidirectional(A).value is oracle.omnidirectional(A, A.shape[1])


# ------------------------------------------------------------------------------------------- errors and budgets


def test_bad_arguments_are_named():
    with pytest.raises(ShapeError, match="A needs shape"):
        decide(np.zeros(3), NONE)
    with pytest.raises(ShapeError, match="same number of columns"):
        decide(np.zeros((1, 3)), NONE)
    with pytest.raises(ShapeError, match="tight needs"):
        decide(NONE, TRIANGLE, [True])
    with pytest.raises(DataError, match="not finite"):
        decide(NONE, [[np.nan, 1.0]])
    with pytest.raises(ShapeError, match="active needs one bool"):
        LayerKinds(TRIANGLE).decide(np.zeros(3))
    with pytest.raises(ShapeError, match="prior needs 2 columns"):
        LayerKinds(TRIANGLE, prior=np.eye(3))
    with pytest.raises(ArgumentError, match="belong together"):
        is_omnidirectional(TRIANGLE, b=np.zeros(3))
    with pytest.raises(ShapeError, match="b and point need"):
        is_omnidirectional(TRIANGLE, np.zeros(2), np.zeros(2))


def test_a_budget_leaves_the_kind_open_and_says_the_arithmetic():
    rng = np.random.default_rng(9)
    W = rng.normal(size=(100, 30))
    decision = LayerKinds(W, progress=Progress(max_bytes=90_000)).decide(np.arange(100) < 10)
    assert (decision.kind, decision.dimension) == (Kind.UNDECIDED, -1)
    assert not decision.standing.is_proof and "above max_bytes" in decision.reason and "90" in decision.reason
    with pytest.raises(MemoryBudgetError, match="three copies"):
        LayerKinds(W, progress=Progress(max_bytes=1000))


def test_a_time_budget_ends_the_exact_stage(monkeypatch):
    monkeypatch.setattr(kinds_module, "decide_cone", lambda cone: None)
    progress = Progress(max_seconds=0.0)
    decision = LayerKinds(TRIANGLE, progress=progress).decide(np.zeros(3, dtype=bool))
    assert decision.kind is Kind.UNDECIDED and "max_seconds" in decision.reason
