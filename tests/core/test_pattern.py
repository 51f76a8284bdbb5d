"""Branches are decided exactly: against the oracle at ties, near ties, under overflow, and in each stage alone."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import zoo
from oracles import networks as oracle
from plica.core import pattern as decide
from plica.core.affine import Dense, Scale, Sum
from plica.core.choice import MaxOver, relu
from plica.core.network import Graph
from plica.core.pattern import Pattern, choose_exactly, generic_direction
from plica.errors import ArgumentError

EPS = Fraction(1, 2**4000)
RELU = ("relu", {})


def dense(W, b=None):
    return ("dense", {"W": W, "b": b})


def expected(data, x) -> dict[str, list[int]]:
    """The oracle's branches at x + eps d."""
    d = generic_direction(len(x)).tolist()
    return oracle.branches(data, [oracle.rational(v) + EPS * Fraction(int(g)) for v, g in zip(x, d, strict=True)])


def decided(data, x) -> dict[str, list[int]]:
    return zoo.as_branches(zoo.build(data).pattern(np.array(x, dtype=float)))


def stages(nodes, x: torch.Tensor):
    """Branches of each stage alone, and which inputs it leaves in doubt."""
    with torch.no_grad():
        yield decide._choose(nodes, x, None)
        yield decide._settle_by_rate(nodes, x)
        yield decide._settle_exactly(nodes, x)


CASES = [(kind, seed) for kind in zoo.KINDS for seed in range(60)]


@pytest.mark.big(sample=42)
@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_batches_agree_with_the_oracle(kind, seed):
    data, draw = zoo.random_net(kind, 1000 + seed, degenerate=seed % 2 == 1, scales=seed % 4 >= 2)
    net = zoo.build(data)
    n = int(np.prod(net.input_shape))
    X = np.stack([*(draw.point(n) for _ in range(4)), np.zeros(n), np.ones(n)])
    pattern = net.pattern(X)
    for row, x in enumerate(X):
        assert zoo.as_branches(pattern, row) == expected(data, x)


@pytest.mark.big(sample=28)
@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_every_stage_is_right_where_it_has_no_doubt(kind, seed):
    data, draw = zoo.random_net(kind, 2000 + seed, degenerate=seed % 2 == 1)
    net = zoo.build(data)
    n = int(np.prod(net.input_shape))
    x = net.as_batch(np.stack([draw.point(n) for _ in range(4)]))
    last = None
    for branches, doubt in stages(net.nodes, x):
        for row in (~doubt).nonzero()[:, 0].tolist():
            found = {name: b[row].flatten().tolist() for name, b in branches.items()}
            assert found == expected(data, x[row].flatten().tolist())
        last = doubt
    assert last is not None and not last.any()


@pytest.mark.parametrize("known", zoo.KNOWN, ids=[k.name for k in zoo.KNOWN])
def test_zoo(known):
    for x, _ in known.answers:
        assert decided(known.data, x) == expected(known.data, x)


# --- almost ties, and sums that are zero in one arithmetic only ---------------------------------------------------

THIRD = 1 / 3
HARD = {
    "zero in floats, 2^-54 in rationals": ([[1.0, 1.0, 1.0]], None, [1.0, 2.0**-54, -1.0]),
    "the same, negative": ([[1.0, 1.0, 1.0]], None, [1.0, -(2.0**-54), -1.0]),
    "1e-17 and no less": ([[1.0, -1.0]], [1e-17], [0.3, 0.3]),
    "-1e-17": ([[1.0, -1.0]], [-1e-17], [0.3, 0.3]),
    "zero in rationals, not in floats": ([[0.1, 0.2, -0.1, -0.2]], None, [THIRD, 0.7, THIRD, 0.7]),
    "0.1 + 0.2 - 0.3": ([[0.1, 0.2, -0.3]], None, [1.0, 1.0, 1.0]),
    "lattice": ([[3.0, -7.0, 2.0]], [-4.0], [1.0, 1.0, 4.0]),
    "quarters": ([[0.25, -0.75]], [0.5], [1.0, 1.0]),
    "below float64": ([[1e-200]], None, [1e-200]),
    "below float64, negative": ([[1e-200]], None, [-1e-200]),
    "subnormal": ([[1.0, -1.0]], None, [5e-324, 0.0]),
    "above float64": ([[1e200, -1e200]], None, [1e200, 1e200]),
    "above float64, no tie": ([[1e200, -1e200]], None, [1e200, 1.1e200]),
    "sum beyond the grid": ([[1.0, 1.0, -1.0]], None, [2.0**53, 1.0, 2.0**53]),
    "huge and tiny": ([[1.0, 1.0, 1.0]], None, [1e300, 1e-300, -1e300]),
}


@pytest.mark.parametrize(("W", "b", "x"), HARD.values(), ids=HARD.keys())
def test_hard_sums(W, b, x):
    rows = [*W, [-v for v in W[0]]]  # z and -z
    data = zoo.chain((len(x),), dense(rows, None if b is None else [b[0], -b[0]]), RELU, dense([[1, -1]]), RELU)
    assert decided(data, x) == expected(data, x)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize("gap", [0.0, 2.0**-52, -(2.0**-52)])
def test_hard_maxima(order, gap):
    rows = [[[0.1, 0.2], [0.1 + gap, 0.2]][i] for i in order]
    data = zoo.chain((2,), dense(rows), ("maxout", {"size": 2}), dense([[1]], [-0.3]), RELU)
    for x in ([1.0, 1.0], [1.0, -3.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]):
        assert decided(data, x) == expected(data, x)


def test_underflow_behind_another_layer():
    """An error bound that itself underflows is not read as none."""
    data = zoo.chain((2,), dense([[1e-160, -1e-160]]), RELU, dense([[1e-160]]), RELU, dense([[1e-160]]), RELU)
    for x in ([2e-10, 1e-10], [1e-170, 1e-200], [0.0, 0.0], [1e-200, 1e-200]):
        assert decided(data, x) == expected(data, x)


def test_ties_through_slopes_and_averages_are_exact():
    """Leaky slopes and divisors are rationals: 0.1 z - 0.1 z and (a + b + c) / 3 - mean."""
    data = zoo.chain(
        (2,),
        dense([[1, 0], [1, 0], [0, 1]]),
        ("leaky", {"slope": 0.1}),
        dense([[3, -3, 0], [1, 1, -2]]),
        ("scale", {"divisor": 3.0}),
        ("leaky", {"slope": 0.3}),
    )
    for x in ([-0.7, 5.0], [-0.7, -0.7], [0.0, 0.0], [1.0, 1.0]):
        assert decided(data, x) == expected(data, x)


# --- the direction -------------------------------------------------------------------------------------------------


def test_the_direction_is_the_same_everywhere_and_generic():
    d = generic_direction(1000)
    assert np.array_equal(d[:3], generic_direction(3))
    assert (np.abs(d) <= 2.0**53).all() and (d == np.round(d)).all() and len(np.unique(np.abs(d))) == 1000
    assert (np.abs(d) > 2.0**40).all()
    assert 400 < (d > 0).sum() < 600


def test_ties_follow_the_direction():
    signs = (generic_direction(6) > 0).astype(int).tolist()
    eye = np.eye(6).tolist()
    assert decided(zoo.chain((6,), dense(eye), RELU), [0.0] * 6) == {"relu1": signs}
    assert decided(zoo.chain((6,), dense((-np.eye(6)).tolist()), RELU), [0.0] * 6) == {"relu1": [1 - s for s in signs]}
    top = int(np.argmax(generic_direction(6)))
    assert decided(zoo.chain((6,), ("maxout", {"size": 6})), [2.0] * 6) == {"maxout0": [top]}


def test_equal_branches_take_the_lowest():
    data = zoo.chain((2,), dense([[1, 1], [0, 0], [1, 1], [1, 1]]), ("maxout", {"size": 4}))
    assert decided(data, [1.0, 1.0]) == {"maxout1": [0]}
    data = zoo.chain((2,), dense([[-5, 0], [1, 1], [1, 1], [1, 1]]), ("maxout", {"size": 4}))
    assert decided(data, [1.0, 1.0]) == {"maxout1": [1]}
    assert decided(zoo.chain((2,), dense([[0, 0]]), RELU), [1.0, 1.0]) == {"relu1": [0]}


def test_dead_units_under_a_pool_are_settled_by_the_first_stage():
    """In a net of ReLU and max-pooling most windows hold zeros only; they need no second look."""
    data = zoo.chain((1, 2, 2), ("conv", {"W": [[[[1.0]]]], "b": [-1.5]}), RELU, ("pool", {"kernel": (2, 2)}))
    net = zoo.build(data)
    X = net.as_batch(np.array([[0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]]))
    branches, doubt = decide._choose(net.nodes, X, None)
    assert doubt.tolist() == [False, False, True]  # equal living units are a tie
    assert branches["pool2"].flatten().tolist()[:2] == [0, 1]


# --- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_grid", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_balls_hold_the_exact_values(seed, use_grid):
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 6, size=2)
    integers = seed % 3 != 0
    scale = 2.0 ** rng.integers(-3, 4) * (2.0**45 if seed % 5 == 0 else 1.0)
    W = np.round(rng.normal(size=(m, n)) * 8) * scale if integers else rng.normal(size=(m, n))
    x = np.round(rng.normal(size=n) * 64) / 4 if integers else rng.normal(size=n) * 10.0 ** rng.integers(-3, 4, size=n)
    e = np.abs(rng.normal(size=n)) * 1e-12 * (seed % 2)
    op = Dense(torch.from_numpy(W), torch.from_numpy(W[:, 0] / 2), (int(n),))
    ball = decide.Ball(torch.from_numpy(x)[None], torch.from_numpy(e)[None])
    out = decide.affine_ball(op, [ball], constant=True, use_grid=use_grid)
    for i in range(m):
        row = [Fraction(float(w)) for w in W[i]]
        exact = Fraction(float(W[i, 0] / 2)) + sum(w * Fraction(float(v)) for w, v in zip(row, x, strict=True))
        spread = sum(abs(w) * Fraction(float(v)) for w, v in zip(row, e, strict=True))
        off = abs(Fraction(float(out.value[0, i])) - exact) + spread
        assert off <= Fraction(float(out.error[0, i]))
        if use_grid and integers and seed % 2 == 0 and seed % 5:
            assert out.error[0, i] == 0  # small integers: nothing rounds


def test_the_grid_claims_nothing_above_53_bits():
    """2^53 + 1 - 2^53 lies on the grid of integers and is lost in floats all the same."""
    op = Dense(torch.ones(1, 3, dtype=torch.float64), None, (3,))
    for top, claimed in ((2.0**50, True), (2.0**53, False)):
        x = torch.tensor([[top, 1.0, -top]], dtype=torch.float64)
        ball = decide.affine_ball(op, [decide.Ball(x, torch.zeros_like(x))], constant=True, use_grid=True)
        assert bool(ball.error[0, 0] == 0) == claimed


def test_grids_of_nodes_that_divide():
    def grid(divisor: float):
        return decide._node_grids(Scale(torch.ones(1).double(), None, (1,), torch.tensor([divisor]).double()))

    assert grid(3.0) is None
    assert grid(4.0) == (-2, 4096)
    assert decide._node_grids(Sum((1.0, 0.75), (2,))) == (-2, 4096)


# --- values of patterns --------------------------------------------------------------------------------------------


def test_batches_rows_and_keys():
    net = zoo.build(zoo.chain((2,), dense([[1, 0], [0, 1]]), RELU))
    X = np.array([[1.0, 1.0], [1.0, -1.0], [2.0, 3.0]])
    pattern = net.pattern(X)
    assert len(pattern) == 3 and pattern.branches["relu1"].dtype == torch.uint8
    keys = pattern.keys()
    assert keys[0] == keys[2] != keys[1]
    assert pattern[1].keys() == pattern[-2].keys() == [keys[1]] and len(pattern[1]) == 1
    assert pattern[1:].keys() == pattern[[1, 2]].keys() == pattern[torch.tensor([False, True, True])].keys() == keys[1:]
    assert net.pattern(X, chunk=2).keys() == keys
    assert len(net.pattern(X[:0])) == 0 and net.pattern(X[:0]).keys() == []


def test_a_network_without_choices_has_one_pattern():
    net = zoo.build(zoo.chain((2,), dense([[1, 0]])))
    pattern = net.pattern(np.ones((3, 2)))
    assert len(pattern) == 3 and pattern.keys() == [b""] * 3
    assert len(Pattern({})) == 1


@pytest.mark.parametrize(("size", "dtype"), [(256, torch.uint8), (257, torch.int16), (2**15 + 1, torch.int32)])
def test_every_stage_uses_the_smallest_type(size, dtype):
    graph = Graph((size,))
    graph.add("max", MaxOver(torch.arange(size)[None], (size,), (1,)), "input")
    net = graph.network()
    far = torch.zeros(1, size).double()
    far[0, -1] = 1.0
    assert net.pattern(far).branches["max"].dtype == dtype
    assert net.pattern(far).branches["max"].item() == size - 1
    tie = net.pattern(torch.zeros(1, size))  # settled by the second stage
    exact = decide._settle_exactly(net.nodes, torch.zeros(1, size).double())[0]["max"]
    assert tie.branches["max"].dtype == exact.dtype == dtype
    assert tie.branches["max"].item() == exact.item() == int(np.argmax(generic_direction(size)))


def test_inputs_that_have_no_pattern_are_refused():
    net = zoo.build(zoo.chain((1,), RELU))
    for bad in (np.nan, np.inf):
        with pytest.raises(ArgumentError, match="finite"):
            net.pattern(np.array([[bad]]))
    with pytest.raises(ArgumentError, match="float64"):
        zoo.build(zoo.chain((1,), dense([[1.0]]), RELU)).cast(torch.float32).pattern(np.ones((1, 1)))


def test_choosing_needs_no_gradient():
    weight = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    graph = Graph((1,))
    graph.add("a", Dense(weight, None, (1,)), "input")
    graph.add("r", relu((1,)), "a")
    assert choose_exactly(graph.network().nodes, torch.zeros(1, 1).double()).branches["r"].shape == (1, 1)


def test_a_bias_alone_is_exact():
    """Black patches of an image give the bias itself, however fine the grid of the other patches."""
    op = Dense(zoo.tensor([[0.1, 0.0], [0.0, 0.3]]), zoo.tensor([0.7, 0.7]), (2,))
    x = zoo.tensor([[0.0, 1 / 3]])
    ball = decide.affine_ball(op, [decide.Ball(x, torch.zeros_like(x))], constant=True, use_grid=True)
    assert ball.error[0, 0] == 0 < ball.error[0, 1]
    tiny = torch.full((1, 2), 5e-324, dtype=torch.float64)  # 0.1 of it underflows
    ball = decide.affine_ball(op, [decide.Ball(tiny, torch.zeros_like(x))], constant=True, use_grid=True)
    assert (ball.error > 0).all()


@pytest.mark.parametrize(
    ("weights", "bias", "x"),
    [([1.0, 2.0**-60, -1.0], 0.0, [1.0, 1.0, 1.0]), ([1.0], 2.0**-60, [1.0]), ([1.0, 1.0], 0.0, [1.0, 2.0**-60])],
    ids=["weight", "bias", "value"],
)
def test_every_term_counts_for_the_grid(weights, bias, x):
    op = Dense(zoo.tensor([weights]), zoo.tensor([bias]), (len(x),))
    ball = decide.affine_ball(op, [decide.Ball(zoo.tensor([x]), zoo.tensor([x]) * 0)], constant=True, use_grid=True)
    assert ball.error[0, 0] >= 2.0**-60


def test_equal_living_units_are_a_tie_also_without_rounding():
    data = zoo.chain((2,), RELU, ("maxout", {"size": 2}))
    net = zoo.build(data)
    assert decide._choose(net.nodes, net.as_batch(np.array([[2.0, 2.0]])), None)[1].tolist() == [True]
    assert decided(data, [2.0, 2.0]) == expected(data, [2.0, 2.0])
    assert decided(data, [2.0, 2.0])["maxout1"] == [int(np.argmax(generic_direction(2)))]


def test_keys_hold_every_layer():
    net = zoo.build(zoo.chain((1,), dense([[1]]), RELU, dense([[1]], [-2]), RELU))
    keys = net.pattern(np.array([[1.0], [3.0]])).keys()
    assert keys[0] != keys[1]
