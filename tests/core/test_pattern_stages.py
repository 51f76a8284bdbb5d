"""Patterns: exact decisions against rationals, at ties, below the resolution of floats, and beyond their range."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

import zoo
from oracles import networks as oracle
from plica.core import pattern as module
from plica.core.affine import Concat, Dense, Gather, Scale, Sum
from plica.core.choice import MaxOver, Piecewise, absolute, clip, leaky_relu, relu, soft_threshold, windows
from plica.core.conv import Conv, Transposed
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Graph
from plica.core.pattern import Ball, Pattern, affine_ball, choose_exactly, freeze_ball, generic_direction
from plica.errors import ArgumentError

EPS = Fraction(1, 2**2000)
U = 2.0**-53


def tensor(values) -> torch.Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))


def network(shape, *ops):
    graph, last = Graph(shape), INPUT
    for op in ops:
        last = graph.add(type(op).__name__.lower(), op, last)
    return graph.network()


def line(weights, bias=0.0):
    """One unit w.x + b and a ReLU."""
    return network((len(weights),), Dense(tensor([weights]), tensor([bias]), (len(weights),)), relu((1,)))


def branch(net, x) -> int:
    return int(net.pattern(tensor([x])).branches["piecewise"].reshape(-1)[0])


def generic(n: int) -> list[Fraction]:
    return [Fraction(int(v)) for v in generic_direction(n)]


def beside(x) -> list[Fraction]:
    """x + eps d for the direction that decides ties."""
    return [oracle.rational(v) + EPS * d for v, d in zip(np.ravel(x).tolist(), generic(np.size(x)), strict=True)]


@pytest.fixture
def stages(monkeypatch) -> dict[str, int]:
    """How many inputs each later stage is asked for."""
    counts = {"_settle_by_rate": 0, "_settle_exactly": 0}

    def counted(name):
        function = getattr(module, name)

        def settle(nodes, x):
            counts[name] += len(x)
            return function(nodes, x)

        return settle

    for name in counts:
        monkeypatch.setattr(module, name, counted(name))
    return counts


# --- against rationals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", zoo.KNOWN, ids=[k.name for k in zoo.KNOWN])
def test_patterns_of_the_zoo_hold_on_an_open_set(known):
    n = int(np.prod(known.data["input"]))
    points = [x for x, _ in known.answers] + [(0.0,) * n, (1.0,) * n, (-0.5,) * n]
    pattern = known.net.pattern(tensor(points))
    for row, x in enumerate(points):
        branches = zoo.as_branches(pattern, row)
        assert branches == oracle.branches(known.data, beside(x))
        check_open(known.data, x, branches)


def check_open(data, x, branches) -> None:
    """Beside x all margins are positive, but for those that vanish on the whole piece."""
    n = np.size(x)
    near = oracle.margins(data, beside(x), branches)
    offset = oracle.margins(data, [Fraction(0)] * n, branches)
    units = [oracle.margins(data, row, branches) for row in np.eye(n, dtype=int).tolist()]
    for i, margin in enumerate(near):
        dead = offset[i] == 0 and all(u[i] == 0 for u in units)
        assert margin > 0 or dead


CASES = [(kind, seed) for kind in zoo.KINDS for seed in range(60)]


@pytest.mark.big(sample=40)
@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_patterns_of_random_nets_and_the_stages_agree(kind, seed):
    data, draw = zoo.random_net(kind, seed, degenerate=seed % 2 == 1, scales=seed % 4 >= 2)
    net, n = zoo.build(data), int(np.prod(data["input"]))
    X = torch.from_numpy(np.stack([draw.point(n) for _ in range(3)])).reshape(3, *net.input_shape)
    first, unsure = module._choose(net.nodes, X, None)
    second, still = module._settle_by_rate(net.nodes, X)
    third, _ = module._settle_exactly(net.nodes, X)
    together = choose_exactly(net.nodes, X)
    for row, x in enumerate(X):
        expected = oracle.branches(data, beside(x.flatten().numpy()))
        assert zoo.as_branches(Pattern(third), row) == expected
        assert zoo.as_branches(together, row) == expected
        if not unsure[row]:
            assert zoo.as_branches(Pattern(first), row) == expected
        if not still[row]:
            assert zoo.as_branches(Pattern(second), row) == expected


def test_a_direction_that_is_not_generic_gives_no_piece():
    """Along (1, 1) the unit x - y stays tied: the lowest branch of such a tie need not be a cell of its own."""
    net = network((2,), Dense(tensor([[1.0, -1.0]]), None, (2,)), relu((1,)))
    rows = exact.forward(net.nodes, exact.Columns.of(np.zeros(2), np.ones(2)))[1]
    assert rows["piecewise"].tolist() == [0]
    d = generic_direction(2)
    assert branch(net, [0.0, 0.0]) == int(d[0] > d[1])
    flipped = network((2,), Dense(tensor([[-1.0, 1.0]]), None, (2,)), relu((1,)))
    assert branch(flipped, [0.0, 0.0]) == int(d[1] > d[0])  # exactly one of a unit and its opposite is active


def test_generic_direction_is_fixed():
    d = generic_direction(3)
    assert d.tolist() == generic_direction(3).tolist()
    assert d.tolist() == generic_direction(5)[:3].tolist()
    assert len(set(np.abs(generic_direction(1000)).tolist())) == 1000
    assert np.abs(generic_direction(1000)).max() <= 2.0**53


# --- below the resolution of floats ------------------------------------------------------------------------------


def test_zero_in_floats_but_not_in_rationals():
    """0.1 + 0.2 - 0.3 is 2^-54 off zero; in floats the sum may round to zero or to a few 1e-17."""
    for weights, x, bias in (
        ([0.1, 1.0], [3.0, -0.3], 0.0),
        ([1.0, 1.0], [0.1, 0.2], -0.3),
        ([1 / 3, 1.0], [3.0, -1.0], 0.0),
        ([49.0, -1.0], [1 / 49, 1.0], 0.0),
        ([1.0, 1.0, 1.0], [1.0, 2.0**-60, -1.0], 0.0),
        ([1.0, 1.0, 1.0], [1.0, -(2.0**-60), -1.0], 0.0),
        ([1e200, 1.0], [1e-216, -1e-16], 0.0),
    ):
        value = sum(Fraction(w) * Fraction(v) for w, v in zip(weights, x, strict=True)) + Fraction(bias)
        assert value != 0
        assert abs(value) < 1e-15
        assert branch(line(weights, bias), x) == int(value > 0)
        assert branch(line([-w for w in weights], -bias), x) == int(value < 0)


def test_zero_in_rationals_but_not_in_floats():
    """Three products that cancel exactly while every order of summation rounds."""
    a, b = 1.0 + 2.0**-30, 1.0 - 2.0**-30
    net = line([a, -1.0, 1.0], 0.0)
    x = [b, 1.0, 2.0**-60]
    assert sum(Fraction(w) * Fraction(v) for w, v in zip([a, -1.0, 1.0], x, strict=True)) == 0
    d = generic(3)
    rate = Fraction(a) * d[0] - d[1] + d[2]
    assert branch(net, x) == int(rate > 0)
    assert branch(line([-a, 1.0, -1.0], 0.0), x) == int(rate < 0)


def test_a_tie_behind_a_division_is_exact():
    """(x + y + z) / 3 - 1 at 1 + 1 + 1, which no power of two divides."""
    ops = (Dense(tensor([[1.0, 1.0, 1.0]]), None, (3,)), Scale(tensor([1.0]), tensor([-1.0]), (1,), tensor([3.0])))
    net = network((3,), *ops, relu((1,)))
    assert branch(net, [1.0, 1.0, 1.0]) == int(sum(generic(3)) > 0)
    assert branch(net, [1.0, 1.0, 1.0 + 2.0**-50]) == 1
    assert branch(net, [1.0, 1.0, 1.0 - 2.0**-50]) == 0


def test_underflow_is_seen():
    """1e-200 * 1e-200 is not zero."""
    for weight, sign in ((1e-200, 1), (-1e-200, 0)):
        assert branch(line([weight]), [1e-200]) == sign
        assert branch(line([weight, 0.0]), [1e-200, 5.0]) == sign
        deep = network((1,), Dense(tensor([[weight]]), None, (1,)), Dense(tensor([[1e-150]]), None, (1,)), relu((1,)))
        assert branch(deep, [1e-100]) == sign
    tiny = Scale(tensor([1e-200]), None, (1,), tensor([-1e200]))
    assert branch(network((1,), tiny, relu((1,))), [1.0]) == 0
    assert branch(network((1,), tiny, relu((1,))), [-1.0]) == 1
    assert branch(network((1,), Scale(tensor([1e-300]), None, (1,), tensor([1e-300])), relu((1,))), [-1e-100]) == 0


def test_overflow_is_seen():
    """inf - inf is no number, but the rational is."""
    for weights, x, sign in (([1e300, -1e300], [1e10, 2e10], 0), ([1e300, -1e300], [2e10, 1e10], 1)):
        assert branch(line(weights), x) == sign
        doubled = network((2,), Dense(torch.diag(tensor(weights)), None, (2,)), Dense(tensor([[1.0, 1.0]]), None, (2,)),
                          relu((1,)))  # fmt: skip
        assert branch(doubled, x) == sign
    largest = network(
        (2,), Dense(torch.diag(tensor([1e300, 1e300])), None, (2,)), MaxOver(torch.tensor([[0, 1]]), (2,), (1,))
    )
    assert int(largest.pattern(tensor([[1e10, 2e10]])).branches["maxover"]) == 1
    assert int(largest.pattern(tensor([[2e10, 1e10]])).branches["maxover"]) == 0


def test_knots_are_hit_from_both_sides():
    net = network((1,), clip((1,), -0.1, 0.3))
    up = int(generic_direction(1)[0] > 0)
    for x, expected in (
        (-0.1, up), (np.nextafter(-0.1, -1), 0), (np.nextafter(-0.1, 1), 1),
        (0.3, 1 + up), (np.nextafter(0.3, 0), 1), (np.nextafter(0.3, 1), 2),
    ):  # fmt: skip
        assert branch(net, [x]) == expected


# --- ties --------------------------------------------------------------------------------------------------------


def test_equal_candidates_take_the_lowest_position():
    net = network((2,), MaxOver(torch.tensor([[1, 1, 0], [0, 0, 1], [-1, 1, 1]]), (2,), (3,)))
    assert net.pattern(tensor([[0.0, 1.0], [1.0, 0.0]])).branches["maxover"].tolist() == [[0, 2, 1], [2, 0, 1]]
    d = generic_direction(2)
    tied = net.pattern(tensor([[1.0, 1.0]])).branches["maxover"].tolist()[0]
    assert tied == ([0, 2, 1] if d[1] > d[0] else [2, 0, 1])


def test_dead_units_are_inactive_and_the_first_of_a_window():
    net = network((1, 4), Dense(torch.zeros(4, 4, dtype=torch.float64), None, (1, 4)), relu((1, 4)),
                  windows((1, 4), (2,), stride=(2,), padding=((0, 0),), dilation=(1,)))  # fmt: skip
    pattern = net.pattern(tensor([[[1.0, 2.0, 3.0, 4.0]]]))
    assert not pattern.branches["piecewise"].any()
    assert not pattern.branches["maxover"].any()


@pytest.mark.parametrize("slope", [0.1, 1.0, -1.0])
def test_a_tie_is_decided_alike_before_every_function(slope):
    active = branch(network((1,), leaky_relu((1,), slope)), [0.0])
    assert active == branch(network((1,), absolute((1,))), [0.0]) == int(generic_direction(1)[0] > 0)


# --- which stage is needed ---------------------------------------------------------------------------------------


def random_dense(*sizes):
    rng, ops = np.random.default_rng(0), []
    for n, m in itertools.pairwise(sizes):
        ops += [Dense(tensor(rng.normal(size=(m, n)) / n**0.5), tensor(rng.normal(size=m)), (n,)), relu((m,))]
    return network((sizes[0],), *ops)


def pooled(bias):
    weight, shape = tensor(np.random.default_rng(1).normal(size=(4, 1, 3, 3))), (1, 8, 8)
    conv = Conv(weight, bias, shape, (1, 1), ((1, 1), (1, 1)), (1, 1))
    pool = windows((4, 8, 8), (2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1))
    return network(shape, conv, relu((4, 8, 8)), Gather(torch.arange(256), (4, 8, 8), (4, 8, 8)), pool)


def test_ordinary_inputs_need_the_first_stage_only(stages):
    X = torch.from_numpy(np.random.default_rng(2).random((50, 20)))
    random_dense(20, 30, 30).pattern(X)
    assert stages == {"_settle_by_rate": 0, "_settle_exactly": 0}


def test_windows_of_dead_units_are_no_doubt(stages):
    X = torch.from_numpy(np.random.default_rng(2).random((20, 1, 8, 8)))
    net = pooled(tensor([-0.5, -9.0, 0.1, -1.0]).reshape(-1, 1, 1))
    pattern = net.pattern(X)
    assert stages == {"_settle_by_rate": 0, "_settle_exactly": 0}
    for name, branches in module._settle_exactly(net.nodes, X[:2])[0].items():
        assert torch.equal(pattern.branches[name][:2], branches)


def test_units_that_only_meet_at_zero_are_a_doubt(stages):
    """A window over the active sides of two ReLUs, both exactly zero here."""
    net = network((2,), relu((2,)), MaxOver(torch.tensor([[0, 1]]), (2,), (1,)))
    d = generic_direction(2)
    live = net.pattern(tensor([[0.0, 0.0]]))
    assert stages["_settle_by_rate"] == 1
    rates = np.maximum(d, 0)
    assert int(live.branches["maxover"]) == int(np.argmax(rates))


def test_living_units_that_are_equal_are_a_doubt(stages):
    net = network((2,), relu((2,)), MaxOver(torch.tensor([[0, 1]]), (2,), (1,)))
    d = generic_direction(2)
    assert int(net.pattern(tensor([[1.0, 1.0]])).branches["maxover"]) == int(d[1] > d[0])
    swapped = network((2,), relu((2,)), MaxOver(torch.tensor([[1, 0]]), (2,), (1,)))
    assert int(swapped.pattern(tensor([[1.0, 1.0]])).branches["maxover"]) == int(d[0] > d[1])
    assert stages == {"_settle_by_rate": 2, "_settle_exactly": 0}


def test_exact_ties_are_settled_by_rates_without_big_integers(stages):
    X = torch.zeros(3, 1, 8, 8, dtype=torch.float64)
    X[1, 0, 2:5, 3] = 1.0
    pooled(None).pattern(X)
    assert stages == {"_settle_by_rate": 3, "_settle_exactly": 0}


def test_sums_on_a_common_grid_are_exact(stages):
    """Quantised weights and inputs: ties are recognised without big integers."""
    rng = np.random.default_rng(3)
    W = tensor(rng.integers(-8, 9, size=(30, 20)) / 8)
    scaled = Scale(tensor(3.0), None, (30,), tensor(4.0))
    net = network((20,), Dense(W, None, (20,)), relu((30,)), Sum((2.0,), (30,)), scaled,
                  Dense(tensor(rng.integers(-8, 9, size=(20, 30)) / 8), None, (30,)), relu((20,)))  # fmt: skip
    net.pattern(torch.from_numpy(rng.integers(-2, 3, size=(20, 20)).astype(float)))
    assert stages["_settle_exactly"] == 0


def test_doubts_below_the_error_bound_go_to_big_integers(stages):
    branch(line([1.0, 1.0, 1.0]), [1.0, 2.0**-60, -1.0])
    assert stages == {"_settle_by_rate": 1, "_settle_exactly": 1}


# --- balls -------------------------------------------------------------------------------------------------------

OPS = {
    "dense": Dense(tensor(np.random.default_rng(0).normal(size=(5, 6))), tensor([1, -1, 0.1, 0, 3]), (6,)),
    "conv": Conv(tensor([[[0.1, -3.0], [2.5, 0.7]]] * 2), tensor([[0.1], [0.2]]), (2, 3), (1,), ((1, 0),), (1,)),
    "transposed": Transposed(Dense(tensor(np.random.default_rng(2).normal(size=(6, 5))), None, (5,)), None, (5,)),
    "scale": Scale(tensor([0.1, 0.2, 3.0, -1, 1, 2]), tensor([0.1] * 6), (6,), tensor([3.0, 7, 1, 2, 3, -3])),
    "sum": Sum((0.1,), (6,), tensor([1.0] * 6)),
    "gather": Gather(torch.tensor([5, -1, 0]), (6,), (3,)),
    "padding": Gather(torch.tensor([5, -1, 0]), (6,), (3,), tensor([0.0, 0.1, 0.0])),
    "join": Concat(0, ((6,),)),
}  # fmt: skip


@pytest.mark.parametrize("use_grid", [False, True])
@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_balls_hold_the_exact_values(op, use_grid):
    """For every exact input within the ball, here its two ends, the exact output is within the new ball."""
    rng = np.random.default_rng(7)
    for spread in (0.0, 1e-13, 1e-3):
        centre = tensor(rng.normal(size=(1, 6)) * 10.0 ** rng.integers(-3, 4, 6))
        error = spread * tensor(rng.random((1, 6)))
        shape = (1, *op.input_shape) if hasattr(op, "input_shape") and not isinstance(op, Concat) else (1, 6)
        out = affine_ball(op, [Ball(centre.reshape(shape), error.reshape(shape))], constant=True, use_grid=use_grid)
        size = op.shape(shape[1:])
        for signs in (np.ones(6), -np.ones(6), rng.choice([-1.0, 1.0], 6)):
            x = [Fraction(c) + Fraction(e) * int(s) for c, e, s in
                 zip(centre[0].tolist(), error[0].tolist(), signs.tolist(), strict=True)]  # fmt: skip
            start = exact.Columns(np.array([[v] for v in scaled(x)], dtype=object), Fraction(1, common(x)))
            values = exact.affine(op, size, start)
            for i, (v, e) in enumerate(zip(out.value.flatten().tolist(), out.error.flatten().tolist(), strict=True)):
                assert abs(values.entry(i) - Fraction(v)) <= Fraction(e)


def common(x) -> int:
    return int(np.lcm.reduce([v.denominator for v in x], dtype=object))


def scaled(x) -> list[int]:
    return [int(v * common(x)) for v in x]


def test_balls_are_not_much_wider_than_the_rounding():
    x = tensor(np.random.default_rng(3).normal(size=(1, 6)))
    op = OPS["dense"]
    error = affine_ball(op, [Ball(x, torch.zeros_like(x))], constant=True, use_grid=False).error
    size = op.magnitude().apply(x.abs()) + op.bias.abs()
    assert bool((error >= 7 * U * size).all())
    assert bool((error <= 32 * U * size).all())


def test_exact_zeros_stay_exact():
    zero = Ball(torch.zeros(1, 6, dtype=torch.float64), torch.zeros(1, 6, dtype=torch.float64))
    for op in (OPS["conv"], OPS["transposed"], OPS["gather"]):
        shape = (1, 2, 3) if isinstance(op, Conv) else (1, 6)
        ball = Ball(zero.value.reshape(shape), zero.error.reshape(shape))
        assert not affine_ball(op, [ball], constant=False, use_grid=False).error.any()


@pytest.mark.parametrize(
    ("op", "x"),
    [
        (Dense(tensor([[1.0]]), tensor([2.0**-60]), (1,)), 1.0),
        (Dense(tensor([[1.0]]), tensor([2.0**-44]), (1,)), 2.0**7),
        (Scale(tensor([1.0 + 2.0**-30]), None, (1,), tensor([4.0])), 1.0 + 2.0**-30),
        (Scale(tensor([2.0**27 + 1.0]), None, (1,), tensor([4.0])), 2.0**27 + 1.0),  # 55 bits
        (Scale(tensor([3.0]), tensor([2.0**-50]), (1,), tensor([64.0])), 5.0),
        (Scale(tensor([3.0]), tensor([2.0**-40]), (1,), tensor([64.0])), 5.0),
        (Sum((1.0 + 2.0**-40,), (1,)), 1.0 - 2.0**-40),
    ],
)
def test_a_grid_is_claimed_only_where_nothing_rounds(op, x):
    """These lose bits, or fit exactly; both must be told apart."""
    ball = affine_ball(op, [Ball(tensor([[x]]), tensor([[0.0]]))], constant=True, use_grid=True)
    exact_value = exact.affine(op, (1,), exact.Columns.of(np.array([x]))).entry(0)
    assert abs(Fraction(float(ball.value)) - exact_value) <= Fraction(float(ball.error))
    assert (float(ball.error) == 0.0) == (Fraction(float(ball.value)) == exact_value)


def test_an_intercept_rounds():
    z = Ball(tensor([[0.7, -0.7, 0.05]]), tensor([[0.0, 0.0, 0.0]]))
    op = soft_threshold((3,), 0.1)
    out = freeze_ball(op, op.choose(z.value), z, constant=True)
    assert Fraction(float(out.value[0, 0])) != Fraction(0.7) - Fraction(0.1)
    assert bool((out.error[0, :2] > 0).all())
    assert out.error[0, 2] == 0.0


def test_slopes_of_one_round_nothing():
    z = Ball(tensor([[-2.0, 0.5, 7.0]]), tensor([[0.125, 0.25, 0.5]]))
    for op, errors in (
        (relu((3,)), [0.0, 0.25, 0.5]),
        (absolute((3,)), [0.125, 0.25, 0.5]),
        (clip((3,), -1.0, 1.0), [0.0, 0.25, 0.0]),
    ):
        out = freeze_ball(op, op.choose(z.value), z, constant=True)
        assert out.error.tolist() == [errors]
        assert torch.equal(out.value, op.value(z.value))
    leaky = leaky_relu((3,), 0.1)
    assert freeze_ball(leaky, leaky.choose(z.value), z, constant=True).error[0, 0] > 0.0125


# --- the object --------------------------------------------------------------------------------------------------


def test_rows_of_a_pattern():
    pattern = random_dense(4, 5, 5).pattern(torch.from_numpy(np.random.default_rng(0).normal(size=(6, 4))))
    keys = pattern.keys()
    assert len(pattern) == len(keys) == 6
    for rows in (2, np.int64(2), -4, slice(2, 3), [2], torch.tensor([2]), np.array([2])):
        assert len(pattern[rows]) == 1
        assert pattern[rows].keys() == [keys[2]]
    assert pattern[-1].keys() == [keys[-1]]
    assert len(pattern[torch.arange(6) > 3]) == 2


def test_keys_are_equal_exactly_for_equal_patterns():
    net = random_dense(2, 6)
    X = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 2)))
    pattern = net.pattern(X)
    rows = [tuple(r) for r in pattern.branches["piecewise"].tolist()]
    for i in range(40):
        for j in range(40):
            assert (pattern.keys()[i] == pattern.keys()[j]) == (rows[i] == rows[j])


def test_patterns_without_choices_keep_their_size():
    pattern = network((2,), Dense(tensor([[1.0, 2.0]]), None, (2,))).pattern(torch.zeros(5, 2))
    assert len(pattern) == 5
    assert pattern.keys() == [b""] * 5
    assert len(pattern[1:3]) == 2
    assert len(pattern[0]) == 1


@pytest.mark.parametrize(("count", "dtype"), [(256, torch.uint8), (257, torch.int16), (40000, torch.int32)])
def test_branches_have_the_smallest_type_in_every_stage(count, dtype):
    op = MaxOver(torch.arange(count)[None], (count,), (1,))
    net = network((count,), op)
    x = torch.zeros(1, count, dtype=torch.float64)
    x[0, count - 1] = 1.0
    for found in (
        choose_exactly(net.nodes, x).branches,
        module._settle_exactly(net.nodes, x)[0],
        {"maxover": op.choose(x)},
    ):
        assert found["maxover"].dtype == dtype
        assert int(found["maxover"]) == count - 1


def test_patterns_are_of_float64_only():
    with pytest.raises(ArgumentError, match="float32"):
        random_dense(3, 4).cast(torch.float32).pattern(torch.zeros(1, 3))


def test_no_inputs_have_no_patterns():
    for net in (random_dense(3, 4), pooled(None)):
        pattern = net.pattern(torch.zeros(0, *net.input_shape))
        assert len(pattern) == 0
        assert pattern.keys() == []


def test_chunks_change_nothing():
    net = random_dense(3, 4)
    X = torch.from_numpy(np.random.default_rng(0).normal(size=(7, 3)))
    assert net.pattern(X, chunk=2).keys() == net.pattern(X).keys()
    assert isinstance(net["piecewise"].op, Piecewise)


def test_sources_of_a_block_stand_in_the_order_of_the_network():
    graph = Graph((2,))
    z = graph.add("z", relu((2,)), INPUT)
    a = graph.add("a", absolute((2,)), INPUT)
    graph.add("c", Concat(0, ((2,), (2,), (2,))), a, z, INPUT)
    block, sources = graph.network().block("c", "post")
    assert sources == (INPUT, "z", "a")
    joint = tensor([[1.0, -2.0, 3.0, 4.0, 5.0, 6.0]])
    assert block(joint).tolist() == [[5.0, 6.0, 3.0, 4.0, 1.0, -2.0]]
