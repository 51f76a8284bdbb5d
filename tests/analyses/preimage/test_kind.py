"""Kinds of the preimages of whole layers against exact rationals, budgets, interrupts, and what is left undecided."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from oracles import kinds as oracle
from oracles.layers import affine, conv, conv_matrix, dense, rational, relu, tensor
from plica import ArgumentError, Progress, ShapeError, preimage_kind
from plica.core.affine import Scale, Sum
from plica.core.choice import MaxOver, absolute, clip, leaky_relu, soft_threshold, windows
from plica.core.choice import relu as relu_node
from plica.core.network import INPUT, Graph
from plica.core.result import Completeness, Standing
from plica.errors import DataError

ZERO = Fraction(0)

# ---------------------------------------------------------------------------- conditions, straight from definitions


def minus(row):
    return [-a for a in row]


def conditions(op, z, A):
    """Lists of (equality rows, inequality rows, tight): one for each way to read a tie between winners."""
    if isinstance(op, MaxOver):
        return max_conditions(op.index.tolist(), z, A)
    equal, below, tight = [], [], []
    for value, row in zip(z, A, strict=True):
        if op.name == "relu" and value <= 0:
            below, tight = [*below, row], [*tight, value == 0]
        elif op.name == "clip" and value <= -1:
            below, tight = [*below, row], [*tight, value == -1]
        elif op.name == "clip" and value >= 2:
            below, tight = [*below, minus(row)], [*tight, value == 2]
        elif op.name == "soft_threshold" and abs(value) <= 1:
            below, tight = [*below, row, minus(row)], [*tight, value == 1, value == -1]
        else:
            equal.append(row)
    return [(equal, below, tight)]


def max_conditions(groups, z, A):
    """Every choice of winners among those that are tied."""
    groups = [[i for i in group if i >= 0] for group in groups]
    tops = [[i for i in group if z[i] == max(z[j] for j in group)] for group in groups]
    found = []
    for winners in itertools.product(*tops):
        below, tight = [], []
        for group, w in zip(groups, winners, strict=True):
            for j in (j for j in group if j != w):
                below.append([a - b for a, b in zip(A[j], A[w], strict=True)])
                tight.append(z[j] == z[w])
        found.append(([A[w] for w in winners], below, tight))
    return found


def expected(op, z, A, n):
    """The answers that are right, as (kind, dimension) pairs."""
    ways = {oracle.kind(*way, n) for way in conditions(op, z, A)}
    if isinstance(op, MaxOver) and op.index.shape[1] > 1:
        return {way if way[0] == "unbounded" else ("undecided", -1) for way in ways}
    ((kind, dimension),) = ways
    if op.name == "abs" and kind == "singleton" and any(z):
        return {("finite", 0) if len(A) == n else ("undecided", -1)}
    return {(kind, dimension)}


# --------------------------------------------------------------------------------------------------- nets of all kinds


def weights(rng, style, m, n):
    """A matrix and a bias."""
    if style == "normal":
        return rng.normal(size=(m, n)), rng.normal(size=m)
    W = rng.integers(-2, 3, (m, n)).astype(float)
    if style == "degenerate":  # duplicated, opposite, scaled and dead units
        for i in range(1, m):
            W[i] = W[rng.integers(i)] * rng.choice([1.0, -1.0, 2.0, -0.5, 0.0]) if rng.random() < 0.6 else W[i]
        return W, np.zeros(m)
    return W, rng.integers(-1, 2, m).astype(float)


OPS = {
    "relu": relu_node,
    "leaky": lambda shape: leaky_relu(shape, 0.25),
    "abs": absolute,
    "clip": lambda shape: clip(shape, -1.0, 2.0),
    "soft": lambda shape: soft_threshold(shape, 1.0),
    "maxout": lambda shape: MaxOver(torch.arange(shape[0]).reshape(-1, 2), shape, (shape[0] // 2,)),
}


def dense_layer(rng, style, op):
    n = int(rng.integers(1, 5))
    m = 2 * int(rng.integers(1, 5)) if rng.random() < 0.7 else 2 * ((n + 1) // 2)
    W, b = weights(rng, style, m, n)
    graph = Graph((n,))
    graph.add("z", dense(W, b), INPUT)
    graph.add("layer", OPS[op]((m,)), "z")
    return graph.network(), lambda u: u, rational(W), rational(b)


def second_layer(rng, style, op):
    n, h, m = 3, int(rng.integers(1, 4)), 2 * int(rng.integers(1, 4))
    (W, b), (V, c) = weights(rng, style, h, n), weights(rng, style, m, h)
    graph = Graph((n,))
    graph.add("y", dense(W, b), INPUT)
    graph.add("hidden", relu_node((h,)), "y")
    graph.add("z", dense(V, c), "hidden")
    graph.add("layer", OPS[op]((m,)), "z")
    W, b = rational(W), rational(b)
    return graph.network(), lambda u: relu(affine(W, b, u)), rational(V), rational(c)


def conv_layer(rng, style, op):
    shape, filters = (1, 3, 3), int(rng.integers(1, 4))
    W, b = weights(rng, style, filters, 4)
    W = W.reshape(filters, 1, 2, 2)
    graph = Graph(shape)
    graph.add("z", conv(W, b, shape), INPUT)
    scale = rng.choice([-0.3, 0.7, 1.1], (filters, 1, 1))
    graph.add("norm", Scale(tensor(scale), None, (filters, 2, 2)), "z")  # a batch normalisation
    out = (filters, 2, 2)
    pool = {"kernel": (2, 2), "stride": (2, 2), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
    graph.add("layer", windows(out, **pool) if op == "maxout" else OPS[op](out), "norm")
    A, c = conv_matrix(W, b, shape)
    exact = [Fraction(float(scale[i // 4, 0, 0])) for i in range(len(A))]
    A, c = (
        [[f * a for a in row] for f, row in zip(exact, A, strict=True)],
        [f * v for f, v in zip(exact, c, strict=True)],
    )
    return graph.network(), lambda u: u, A, c


def residual_layer(rng, style, op):
    n = 2
    (W, b), (V, c) = weights(rng, style, n, n), weights(rng, style, n, n)
    (U, d) = weights(rng, style, 4, n)
    graph = Graph((n,))
    graph.add("y", dense(W, b), INPUT)
    graph.add("first", relu_node((n,)), "y")
    graph.add("branch", dense(V, c), "first")
    graph.add("second", relu_node((n,)), "branch")
    graph.add("sum", Sum((1.0, 1.0), (n,)), "first", "second")
    graph.add("z", dense(U, d), "sum")
    graph.add("layer", OPS[op]((4,)), "z")
    W, b, V, c = (rational(a) for a in (W, b, V, c))

    def source(u):
        first = relu(affine(W, b, u))
        return [*first, *relu(affine(V, c, first))]

    return graph.network(), source, [[*row, *row] for row in rational(U)], rational(d)


FAMILIES = {"dense": dense_layer, "second": second_layer, "conv": conv_layer, "residual": residual_layer}
STYLES = ("normal", "integer", "degenerate")


def check(family, style, op, seed):
    rng = np.random.default_rng([seed, *map(ord, family + style + op)])
    net, source, A, b = FAMILIES[family](rng, style, op)
    n = math.prod(net.input_shape)
    X = rng.integers(-1, 2, (3, n)).astype(float) if style != "normal" else rng.normal(size=(3, n))
    X[2] = 0
    result = preimage_kind(net, X.reshape(3, *net.input_shape), layer="layer")
    assert result.completeness is Completeness.COMPLETE
    assert result.shape == (len(A), len(A[0]))
    for i, x in enumerate(rational(X)):
        z = affine(A, b, source(x))
        answers = expected(net["layer"].op, z, A, len(A[0]))
        assert (result.kinds[i], result.dimensions[i]) in answers, (result.reasons[i], X[i], answers)
        if result.kinds[i] != "undecided" and family != "residual":
            assert Standing(result.standings[i]).is_proof
        if op == "relu":
            assert result.positive[i] == sum(v > 0 for v in z)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", FAMILIES)
def test_against_rationals(family, style, op, seed):
    check(family, style, op, seed)


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("seed", range(10, 200))
def test_many_against_rationals(seed):
    for family, style, op in itertools.product(FAMILIES, STYLES, OPS):
        if family != "conv" or seed % 5 == 0:
            check(family, style, op, seed)


def single(W, op, b=None):
    W = np.asarray(W, dtype=float)
    graph = Graph((W.shape[1],))
    graph.add("z", dense(W, b), INPUT)
    graph.add("layer", op, "z")
    return graph.network()


def answer(net, x, **options):
    result = preimage_kind(net, np.atleast_2d(np.asarray(x, dtype=float)), layer="layer", **options)
    return result.kinds[0], int(result.dimensions[0]), result.reasons[0]


def test_abs_of_a_regular_square_matrix_has_finitely_many_inputs():
    net = single([[1.0, 2.0], [0.0, 1.0]], absolute((2,)))
    assert answer(net, [1.0, 1.0])[:2] == ("finite", 0)
    assert "2^2 choices" in answer(net, [1.0, 1.0])[2]
    assert "2^1 choices" in answer(net, [-2.0, 1.0])[2]
    assert answer(net, [0.0, 0.0])[:2] == ("singleton", 0)
    tall = single([[1.0, 2.0], [0.0, 1.0], [1.0, 0.0]], absolute((3,)))
    kind, dimension, reason = answer(tall, [1.0, 1.0])
    assert (kind, dimension) == ("undecided", -1) and "other branches" in reason
    assert answer(tall, [0.0, 0.0])[:2] == ("singleton", 0)


def test_abs_with_a_prior_is_not_called_finite():
    """The prior may cut the other points off."""
    net = single(np.eye(2), absolute((2,)))
    assert answer(net, [1.0, 1.0], prior=-np.eye(2))[0] == "undecided"


def test_a_maximum_of_rows_that_do_not_agree():
    net = single([[1.0], [-1.0]], MaxOver(torch.tensor([[0, 1]]), (2,), (1,)))
    kind, _, reason = answer(net, [2.0])
    assert kind == "undecided" and "singleton set; other branches" in reason
    bounded = single([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], MaxOver(torch.tensor([[0, 1, 2]]), (3,), (1,)))
    assert "compact set; other branches" in answer(bounded, [1.0, 0.0])[2]


def test_pooling_alone_lets_the_losers_fall():
    op = MaxOver(torch.tensor([[0, 1], [1, 2]]), (4,), (2,))
    graph = Graph((4,))
    graph.add("layer", op, INPUT)
    net = graph.network()
    assert answer(net, [1.0, 2.0, 3.0, 0.0])[:2] == ("unbounded", 2)
    assert answer(net, [1.0, 2.0, 0.0, 0.0])[:2] == ("unbounded", 3)
    result = preimage_kind(net, np.array([[1.0, 2.0, 3.0, 0.0]]), layer="layer")
    assert result.standing is Standing.CERTIFIED


def test_units_that_no_window_reads_are_no_conditions():
    rows = [[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    assert answer(single(rows, MaxOver(torch.tensor([[0]]), (3,), (1,))), [1.0, 1.0])[:2] == ("unbounded", 1)


def test_a_prior_bounds_what_the_layer_does_not():
    net = single([[1.0, 1.0], [-1.0, 1.0]], relu_node((2,)))
    assert answer(net, [0.5, -3.0])[:2] == ("unbounded", 2)
    assert answer(net, [0.5, -3.0], prior=-np.eye(2))[:2] == ("compact", 2)
    clipped = single([[1.0, 1.0]], clip((1,), -1.0, 2.0))
    assert answer(clipped, [5.0, 0.0])[:2] == ("unbounded", 2)
    assert answer(clipped, [5.0, 0.0], prior=np.eye(2))[:2] == ("compact", 2)
    for wrong, error in [(np.eye(3), ShapeError), (np.ones(2), ShapeError), (np.full((1, 2), np.nan), DataError)]:
        with pytest.raises(error, match="prior"):
            answer(net, [0.0, 0.0], prior=wrong)


def test_an_affine_layer():
    assert answer(single(np.eye(2), Scale(tensor(2.0), None, (2,))), [1.0, 2.0])[:2] == ("singleton", 0)
    assert answer(single(np.ones((2, 3)), Scale(tensor(1.0), None, (2,))), np.zeros(3))[:2] == ("unbounded", 2)


def test_two_dense_layers_in_a_row_prove_nothing():
    graph = Graph((2,))
    graph.add("a", dense([[0.1, 0.2], [0.3, 0.7]], None), INPUT)
    graph.add("b", dense([[0.3, 0.1], [0.9, 0.2]], None), "a")
    graph.add("layer", relu_node((2,)), "b")
    result = preimage_kind(graph.network(), np.ones((1, 2)), layer="layer")
    assert (result.kinds[0], result.standing) == ("singleton", Standing.NUMERICAL)
    assert "rounded" in result.reasons[0]


def test_ties_that_floats_do_not_see():
    """x lies on two hyperplanes exactly, though 0.1 + 0.2 > 0.3 in floats; a unit is dead at 1e-17 below its knot."""
    net = single([[1.0, 1.0, -1.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], relu_node((3,)), [0.0, -0.1, 0.1])
    result = preimage_kind(net, np.array([[0.1, 0.2, 0.3]]), layer="layer")
    exact = Fraction(0.1) + Fraction(0.2) - Fraction(0.3)
    assert result.positive[0] == (exact > 0) == 1
    assert (result.kinds[0], result.dimensions[0]) == ("unbounded", 1)


def test_from_layer():
    graph = Graph((2,))
    graph.add("y", dense(np.eye(2), None), INPUT)
    graph.add("hidden", relu_node((2,)), "y")
    graph.add("z", dense(np.eye(2), None), "hidden")
    graph.add("layer", relu_node((2,)), "z")
    net, X = graph.network(), np.ones((1, 2))
    for given in (None, "hidden", 0):
        assert preimage_kind(net, X, layer="layer", from_layer=given).source == ("hidden",)
    with pytest.raises(ArgumentError, match="reads hidden"):
        preimage_kind(net, X, layer="layer", from_layer="input")
    with pytest.raises(ArgumentError, match="no node of that name"):
        preimage_kind(net, X, layer="layer", from_layer="nowhere")
    with pytest.raises(ArgumentError, match="no node of that name"):
        preimage_kind(net, X, layer="nowhere")
    with pytest.raises(ArgumentError, match="name a later layer"):
        preimage_kind(net, X, layer="input")


def test_one_input_and_none():
    net = single(np.eye(2), relu_node((2,)))
    assert preimage_kind(net, np.ones(2), layer="layer").kinds.tolist() == ["singleton"]
    empty = preimage_kind(net, np.zeros((0, 2)), layer=0)
    assert empty.completeness is Completeness.COMPLETE
    assert len(empty.kinds) == len(empty.dimensions) == len(empty.positive) == len(empty.reasons) == 0
    assert empty.shares() == {} and "0 inputs" in empty.summary()
    with pytest.raises(ShapeError):
        preimage_kind(net, np.ones((1, 3)), layer="layer")
    with pytest.raises(ArgumentError, match="finite"):
        preimage_kind(net, np.full((1, 2), np.nan), layer="layer")


# --------------------------------------------------------------------------------------------------- budgets

TALL = single(np.vstack([np.eye(3), -np.eye(3), np.ones((1, 3))]), relu_node((7,)))


def test_a_budget_of_memory_leaves_the_input_undecided_and_says_the_arithmetic():
    reasons = set()
    for max_bytes in range(10, 3000, 30):
        result = preimage_kind(TALL, np.full((2, 3), 0.5), layer="layer", progress=Progress(max_bytes=max_bytes))
        assert result.completeness is Completeness.COMPLETE
        assert result.positive.tolist() == [4, 4] and result.shape == (7, 3)
        if result.kinds[0] == "undecided":
            assert result.dimensions.tolist() == [-1, -1] and result.standing is Standing.NUMERICAL
            assert "GiB as float64), above max_bytes" in result.reasons[0]
            reasons.add(result.reasons[0].split(" (")[0])
    assert "Deciding kinds holds four copies of a 7 x 3 matrix" in reasons
    assert result.kinds.tolist() == ["singleton"] * 2


def test_a_budget_of_memory_in_a_layer_of_mixed_conditions():
    """A soft threshold at rest has two conditions a unit: more rows than the layer's matrix."""
    net = single(np.vstack([np.eye(3), -np.eye(3), np.ones((1, 3))]), soft_threshold((7,), 1.0))
    kinds = {
        max_bytes: preimage_kind(net, np.zeros((1, 3)), layer="layer", progress=Progress(max_bytes=max_bytes)).kinds[0]
        for max_bytes in range(100, 3000, 50)
    }
    assert set(kinds.values()) == {"undecided", "compact"} and kinds[2950] == "compact"


def test_counting_decides_where_memory_does_not_suffice():
    net = single(np.ones((2, 5)), relu_node((2,)))
    result = preimage_kind(net, np.ones((1, 5)), layer="layer", progress=Progress(max_bytes=10))
    assert (result.kinds[0], result.dimensions[0], result.standings[0]) == ("unbounded", -1, "certified")
    assert "2 conditions" in result.reasons[0] and "max_bytes" in result.reasons[0]
    square = single(np.eye(3), relu_node((3,)))
    one_below, none = np.array([[1.0, 1.0, -1.0]]), np.ones((1, 3))
    tiny = Progress(max_bytes=10)
    assert preimage_kind(square, one_below, layer="layer", progress=tiny).kinds[0] == "unbounded"
    assert preimage_kind(square, none, layer="layer", progress=tiny).kinds[0] == "undecided"


def test_a_budget_of_work():
    result = preimage_kind(TALL, np.full((1, 3), 0.5), layer="layer", max_flops=10)
    assert result.kinds[0] == "undecided"
    assert "4 kept units and 3 inequalities on 3 inputs take about" in result.reasons[0]
    assert "max_flops = 1.0e+01" in result.reasons[0]
    unread = single(np.hstack([np.eye(3), np.zeros((3, 1))]), relu_node((3,)))
    assert preimage_kind(unread, np.ones((1, 4)), layer="layer", max_flops=1).kinds[0] == "unbounded"


def test_a_budget_of_time_returns_what_is_done():
    X = np.full((5, 3), 0.5)
    result = preimage_kind(TALL, X, layer="layer", progress=Progress(max_seconds=0.0))
    assert (result.completeness, len(result.kinds)) == (Completeness.BUDGET, 0)
    progress = Progress(max_seconds=1e9)

    def stop(label, done, total):
        assert (label, total) == ("kinds of layer", 5)
        if done == 2:
            progress.max_seconds = 0.0

    progress.listener = stop
    result = preimage_kind(TALL, X, layer="layer", progress=progress)
    assert result.completeness is Completeness.BUDGET
    assert len(result.kinds) == len(result.positive) == len(result.reasons) == 2


def test_an_interrupt_returns_what_is_done():
    def stop(label, done, total):
        if done == 3:
            raise KeyboardInterrupt

    result = preimage_kind(TALL, np.full((5, 3), 0.5), layer="layer", progress=Progress(listener=stop))
    assert result.completeness is Completeness.INTERRUPTED
    assert result.kinds.tolist() == ["singleton"] * 3 and result.positive.tolist() == [4] * 3
