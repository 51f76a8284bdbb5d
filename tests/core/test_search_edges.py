"""The search's helpers where only the error that they charge keeps them right: each case against exact rationals."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

import zoo
from oracles import networks
from plica.core.polyhedron.cone import partition
from plica.core.progress import Progress
from plica.core.search.blocks import blocks
from plica.core.search.bounds import bound
from plica.core.search.conditions import Conditions
from plica.core.search.contract import HalfSpaces, _least, half_spaces, swept
from plica.core.search.found import within
from plica.core.search.inside import proven_point
from plica.core.search.reduced import reduced
from plica.core.search.relaxation import Relaxation
from plica.core.search.shallow import Shallow
from plica.core.search.ties import Ties, homogeneous

F = Fraction
TINY = 2.0**-53
MANY = 4000


def dot(a, b):
    return sum((F(x) * F(y) for x, y in zip(a, b, strict=True)), F(0))


def at_most(value):
    """Largest float that is not above a rational."""
    near = float(value)
    return near if F(near) <= value else float(np.nextafter(near, -np.inf))


# --- points ---------------------------------------------------------------------------------------------------------


def twice(value):
    """One equation, asked twice with its terms in another order: its float rows are independent, nearly."""
    first = np.zeros((MANY + 2, 2))
    first[:, 0], first[[0, -1], 1] = 1.0, 1.0
    rows = np.full((2, MANY + 2), TINY)
    rows[0, 0] = rows[1, -1] = 1.0
    rows[0, -1] = rows[1, 0] = 0.0
    never = sp.csr_array((0, MANY + 2))
    conditions = Conditions("dense0", never, (), sp.csr_array(rows), (F(0), F(value)))
    return zoo.chain((2,), zoo._dense_of(first.tolist())), first, rows, conditions


def test_rows_that_only_rounding_keeps_apart_solve_nothing():
    """The equation cannot be 0 and 1, though the float rows have a solution, and even a proven one."""
    data, first, rows, conditions = twice(1)
    graph, infinite = blocks(zoo.build(data), "dense0"), (np.full(2, -np.inf), np.full(2, np.inf))
    M = conditions.E @ sp.csr_array(first)
    assert np.linalg.matrix_rank(M.toarray(), tol=1e-14) == 2  # apart in floats
    exact = [[dot(row, column) for column in first.T.tolist()] for row in rows.tolist()]
    assert exact[0][0] * exact[1][1] == exact[0][1] * exact[1][0]
    for guess in (np.zeros(2), np.linalg.solve(M.toarray(), [0.0, 1.0])):
        assert proven_point(graph, {}, conditions, infinite, guess) is None


def test_columns_that_only_rounding_keeps_apart_fix_no_outputs():
    """Two units behind the same equation, asked twice: outputs of both can change together."""
    _, first, _, conditions = twice(0)
    data = zoo.chain((3,), zoo._dense_of([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]), zoo.RELU, zoo._dense_of(first.tolist()))
    small = reduced(blocks(zoo.build(data), "dense2"), np.full(3, -np.inf), np.full(3, np.inf))
    same = Conditions("dense2", conditions.G, (), conditions.E, (F(0), F(0)))
    above, witness = Shallow(small.graph, "relu1", same, Progress()), {"relu1": np.ones(2, dtype=int)}
    assert np.linalg.matrix_rank(above.E, tol=1e-14) == 2
    assert not above.only({"relu1": np.ones(2, dtype=int)}, witness)
    assert above.only({"relu1": np.array([1, 0])}, {"relu1": np.array([1, 0])})


def test_outputs_are_fixed_where_the_rank_says_so():
    """Small integers, whose rank the floats know: what is proven is so, and nothing is kept for other patterns."""
    fixed = open_ = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        W = rng.integers(-1, 2, (4, 6)).astype(float)
        data = zoo.chain((8,), zoo._dense_of(rng.normal(size=(6, 8)).tolist()), zoo.RELU, zoo._dense_of(W.tolist()))
        small = reduced(blocks(zoo.build(data), "dense2"), np.full(8, -np.inf), np.full(8, np.inf))
        conditions = Conditions("dense2", sp.csr_array((0, 4)), (), sp.csr_array(np.eye(4)), (F(1),) * 4)
        above = Shallow(small.graph, "relu1", conditions, Progress())
        for _ in range(10):
            taken, witness = rng.choice([-1, 0, 1], 6, p=[0.2, 0.5, 0.3]), (rng.random(6) < 0.4).astype(int)
            moving = (taken != 0) | (witness == 1)
            unique = np.linalg.matrix_rank(W[:, moving]) == moving.sum()
            assert above.only({"relu1": taken}, {"relu1": witness}) == unique
            fixed, open_ = fixed + unique, open_ + (not unique)
    assert fixed > 50 and open_ > 50


# --- boxes ----------------------------------------------------------------------------------------------------------


def kept_at(data, conditions, value, x):
    """Whether all half-spaces over a box around a point keep it, and whether floats without a charge would."""
    graph = blocks(zoo.build(data), value)
    half = half_spaces(graph, bound(graph, x - 0.5, x + 0.5), conditions)
    assert len(half.rows)
    return all(dot(row, x.tolist()) <= F(level) for row, level in zip(half.rows.tolist(), half.level.tolist(),
                                                                       strict=True))  # fmt: skip


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_half_spaces_hold_what_a_layer_lost(sign):
    """h = sum of 1 and many tiny terms, times x: the float row is 1."""
    W = np.zeros((MANY + 1, 1))
    W[:, 0] = 1.0
    sums = np.full((1, MANY + 1), TINY * sign)
    sums[0, 0] = sign
    data = zoo.chain((1,), zoo._dense_of(W.tolist(), [1.0] * (MANY + 1)), zoo.RELU, zoo._dense_of(sums.tolist()))
    x = np.ones(1)
    y = networks.run(data, x.tolist())[0]["dense2"]
    never, eye = sp.csr_array((0, 1)), sp.csr_array(np.eye(1))
    assert kept_at(data, Conditions("dense2", never, (), eye, tuple(y)), "dense2", x)
    assert kept_at(data, Conditions("dense2", eye, tuple(y), never, ()), "dense2", x)
    assert kept_at(data, Conditions("dense2", -eye, (-y[0],), never, ()), "dense2", x)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_half_spaces_hold_what_their_own_rows_lost(sign):
    """The same sum in a condition's row, and nothing lost before it."""
    data = zoo.chain((1,), zoo._dense_of([[1.0]] * (MANY + 1)))
    row = np.full((1, MANY + 1), TINY * sign)
    row[0, 0] = sign
    x = np.ones(1)
    y = (dot(row[0].tolist(), [1.0] * (MANY + 1)),)
    never, rows = sp.csr_array((0, MANY + 1)), sp.csr_array(row)
    assert kept_at(data, Conditions("dense0", never, (), rows, y), "dense0", x)
    assert kept_at(data, Conditions("dense0", rows, y, never, ()), "dense0", x)


def test_half_spaces_swept_keep_the_points_that_touch_them():
    """The corner at which a sum is smallest, and points that reach as far from it as a level allows."""
    touching = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 6))
        a = rng.normal(size=n) * 10.0 ** rng.uniform(-3, 3, n)
        low, high = -rng.uniform(0, 1, n), rng.uniform(0, 1, n)
        corner = np.where(a > 0, low, high)
        least = dot(a.tolist(), corner.tolist())
        level = -at_most(-least)  # reached by the corner and hardly anything else
        sides = swept(HalfSpaces(a[None], np.array([level])), low, high)
        assert sides is not None and (sides[0] <= corner).all() and (corner <= sides[1]).all()
        level = float(least) + float(rng.uniform(0, 1) * np.abs(a * (high - low)).min())
        for j in range(n):
            x = corner.copy()
            reach = F(corner[j]) + (F(level) - least) / F(a[j])
            x[j] = at_most(reach) if a[j] > 0 else -at_most(-reach)
            assert dot(a.tolist(), x.tolist()) <= F(level)
            sides = swept(HalfSpaces(a[None], np.array([level])), low, high)
            assert sides is not None and (sides[0] <= x).all() and (x <= sides[1]).all()
            touching += low[j] < x[j] < high[j]
    assert touching > 300


def test_multipliers_bound_costs_without_their_rounding():
    """The bound is never above the exact value of the same multipliers, and hardly below it."""
    above = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        m, n = int(rng.integers(1, 12)), int(rng.integers(1, 6))
        A, w = rng.normal(size=(m, n)), np.abs(rng.normal(size=m)) * (rng.random(m) < 0.8)
        low, high = -rng.uniform(0, 2, n), rng.uniform(0, 2, n)
        b, cost = rng.normal(size=m), rng.normal(size=n)
        rest = [F(c) + dot(w.tolist(), column) for c, column in zip(cost.tolist(), A.T.tolist(), strict=True)]
        ends = zip(rest, low.tolist(), high.tolist(), strict=True)
        exact = sum((min(r * F(lo), r * F(hi)) for r, lo, hi in ends), F(0)) - dot(w.tolist(), b.tolist())
        got = _least(A, b, (low, high), cost, w)
        assert F(got) <= exact <= F(got) + F(1, 10**11)
        rounded = cost + w @ A
        above += F(float(np.minimum(rounded * low, rounded * high).sum() - w @ b)) > exact
    assert above > 20  # what floats alone would have claimed


# --- ties -----------------------------------------------------------------------------------------------------------


def tied(A, y, low, high, weak=()):
    """A relaxation with rows A v = 0 (>= 0 where weak), multipliers y, the witness at 0, and s, at most 1, last."""
    m, n = A.shape
    row_high, defined = np.zeros(m), np.ones(m, dtype=bool)
    row_high[list(weak)], defined[list(weak)] = np.inf, False
    program = SimpleNamespace(
        matrix=sp.csr_array(A), cost=np.append(np.zeros(n - 1), -1.0), lower=low, upper=high,
        row_lower=np.zeros(m), row_upper=row_high, duals=lambda: y,
    )  # fmt: skip
    relaxation = Relaxation.__new__(Relaxation)
    relaxation.program, relaxation.slack, relaxation.pinned, relaxation.defined = program, n - 1, [], defined
    ties = Ties.__new__(Ties)
    ties.relaxation, ties.w, ties._rows, ties._floats = relaxation, [F(0)] * n, {}, np.zeros(n)
    return ties


def always_zero(ties):
    """Whether integers prove that the slack can only be 0."""
    return bool(partition(*homogeneous(ties.relaxation)).implied[-1])


FREE = np.array([-np.inf, -np.inf, 0.0, 0.0]), np.array([np.inf, np.inf, np.inf, 1.0])


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize("own", [1.0, -1.0])
def test_multipliers_that_solve_their_equations_nearly_close_nothing(own, weak):
    """Equations of two free columns that are nearly one: exact multipliers are far away, and one has another sign."""
    near, size = 1e-6, 1e-2
    A = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0 + near, -1.0, 0.0], [1.0, 1.0 + own * size * near, 0.0, 1.0]])
    A[1, 2] *= not weak  # the sign of the second multiplier is that of r's coefficient, or its row is an inequality
    exact = np.array([1.0 - own * size, own * size, -1.0])
    for wrong in (0.0, 1e-9, 5e-3, -2 * own * size):
        y = exact + wrong * np.array([-1.0, 1.0, 0.0])
        ties = tied(A, y, *FREE, weak=(1,) if weak else ())
        assert always_zero(ties) == (own > 0)
        closed = ties.close()
        assert not closed or own > 0
        assert closed or wrong or own < 0


def test_multipliers_on_a_side_with_room_are_left_to_the_columns():
    """h - z = 0 does not hold at the witness (z = -1), and h >= 0 says the same as it and z >= 0."""
    A = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, 1.0]])  # columns h, z, s; s = -h
    ties = tied(A, np.array([1.0, -1.0]), np.zeros(3), np.array([np.inf, np.inf, 1.0]), weak=())
    ties.relaxation.defined[0], ties._rows = False, {0: F(1)}
    ties.w[1], ties._floats[1] = F(-1), -1.0
    assert ties.close() and always_zero(ties)


def test_equations_that_only_floats_call_solved_close_nothing():
    """The float sums are exactly 0, the multipliers are off by 2^-23 for all that, and a sign is another."""
    near, size = 2.0**-30, 2.0**-23
    A = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0 + near, -100.0, 0.0], [1.0, 1.0, -50 * size, 1.0]])
    y = np.array([1.0 - size, size, -1.0])
    ties = tied(A, y, *FREE)
    rest = ties.relaxation.program.cost - ties.relaxation.program.matrix.T @ y
    assert (rest[[0, 1, 3]] == 0).all() and rest[2] > 1e-6
    assert not always_zero(ties) and not ties.close()


def test_multipliers_whose_rounding_decides_close_nothing():
    """Two signs that no multipliers have at once, by less than what large ones lose; floats have both."""
    rng = np.random.default_rng(0)
    misled, e = 0, 1e-10
    for _ in range(100):
        a, b, c = rng.uniform(0.5, 1, 3)
        d = -at_most(-F(a) * F(c) / F(b))  # rows a r1 - d r2 + e s = 0, -b r1 + c r2 = 0
        assert F(b) * F(d) > F(a) * F(c)  # so that s > 0 is possible
        size = -2.0 / e * rng.dirichlet(np.ones(20))  # 20 copies of each row, so that much is lost
        A = np.repeat([[a, -d, e], [-b, c, 0.0]], 20, axis=0)
        y = np.concatenate([size, size * (a / b)])
        ties = tied(A, y, np.zeros(3), np.array([np.inf, np.inf, 1.0]))
        rest = ties.relaxation.program.cost - ties.relaxation.program.matrix.T @ y
        misled += bool((rest[:2] > 1e-7).all())
        assert not ties.close()
    assert misled > 0 and not always_zero(ties)


def test_points_at_the_sides_of_a_box_are_in_it_or_not():
    """Fractions whose nearest float is the side: on it, and hardly inside and outside."""
    unit = np.zeros(1), np.ones(1)
    for point, inside in ((F(0), True), (F(1), True), (F(-1, 10**400), False), (F(1, 10**400), True),
                          (1 - F(1, 10**40), True), (1 + F(1, 10**40), False), (F(2), False)):  # fmt: skip
        assert within((point,), *unit) == inside
        assert within((F(1, 2), point), np.zeros(2), np.ones(2)) == inside
