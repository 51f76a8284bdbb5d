"""Exact columns against fractions, entry by entry."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import zoo
from oracles import networks as oracle
from plica.core.affine import Dense, Gather, Scale, Sum
from plica.core.choice import MaxOver, absolute, clip, relu
from plica.core.conv import Conv, Transposed
from plica.core.exact import columns as module
from plica.core.exact.columns import Columns, add, affine, forward, join, max_over, piecewise, stack, to_integers


def tensor(values) -> torch.Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))


def table(columns: Columns) -> list[list[Fraction]]:
    rows, count = columns.numerator.shape
    return [[columns.entry(i, j) for j in range(count)] for i in range(rows)]


def fractions(array) -> list:
    return [[Fraction(float(v)) for v in row] for row in np.atleast_2d(array)]


def thirds(*rows) -> Columns:
    """Columns in units of 1/3."""
    return Columns(np.array(rows, dtype=object), Fraction(1, 3))


# --- integers and sums -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        [0.0, -0.0],
        [1.0, -3.0, 0.5],
        [0.1, 1e300, -1e-300],
        [5e-324, -5e-324, 2.0**-1022],
        [np.finfo(float).max, -np.finfo(float).tiny],
        [[2.0**52 + 1, -(2.0**53)], [3 * 2.0**80, 1 / 3]],
    ],
)
def test_integers_times_a_power_of_two_are_the_floats(values):
    whole, exponent = to_integers(np.array(values))
    assert whole.shape == np.shape(values)
    for k, v in zip(whole.ravel().tolist(), np.ravel(values).tolist(), strict=True):
        assert isinstance(k, int)
        assert k * Fraction(2) ** exponent == Fraction(v)
    assert any(k % 2 for k in whole.ravel()) or not np.any(values)  # the largest exponent that is possible


def test_columns_of_vectors_and_back():
    x, d = np.array([[0.1, -2.0], [3.0, 1e-9]]), np.array([1.0, 0.0, -1.0, 1e9])
    both = Columns.of(x, d)
    assert table(both) == [[Fraction(a), Fraction(b)] for a, b in zip(x.ravel().tolist(), d.tolist(), strict=True)]
    assert np.array_equal(both.to_float(), np.stack([x.ravel(), d], axis=1))
    assert thirds([1, 2]).to_float().tolist() == [[1 / 3, 2 / 3]]


def test_columns_far_outside_the_range_of_floats():
    huge = Columns(np.array([[10**400, -(10**400)], [1, 0]], dtype=object), Fraction(1, 10**800))
    assert huge.to_float().tolist() == [[0.0, -0.0], [0.0, 0.0]]
    large = Columns(np.array([[10**400, -(10**400)]], dtype=object), Fraction(1))
    assert large.to_float().tolist() == [[np.inf, -np.inf]]


def test_sums_of_different_scales():
    a, b = thirds([1, 2], [0, -5]), Columns.of(np.array([0.25, -8.0]), np.array([1.0, 0.0]))
    expected = [[p + q for p, q in zip(r, s, strict=True)] for r, s in zip(table(a), table(b), strict=True)]
    assert table(add(a, b)) == table(add(b, a)) == expected


def test_join_and_stack():
    a, b = thirds([1], [2]), Columns.of(np.array([0.5, 0.25]))
    assert table(join(a, b)) == [[Fraction(1, 3), Fraction(1, 2)], [Fraction(2, 3), Fraction(1, 4)]]
    assert table(stack([a, b])) == [[Fraction(1, 3)], [Fraction(2, 3)], [Fraction(1, 2)], [Fraction(1, 4)]]


# --- nodes -------------------------------------------------------------------------------------------------------


def test_the_bias_counts_for_the_first_column_only():
    op = Dense(tensor([[0.1, 2.0], [0.0, 0.0]]), tensor([0.3, -1.0]), (2,))
    out = affine(op, (2,), Columns.of(np.array([3.0, 0.7]), np.array([1.0, 1.0])))
    first = Fraction(0.1) * 3 + 2 * Fraction(0.7) + Fraction(0.3)
    assert table(out) == [[first, Fraction(0.1) + 2], [Fraction(-1), Fraction(0)]]


def test_divisors_of_both_signs_divide_every_column():
    op = Scale(tensor([1.0, 0.1, 2.0]), tensor([1.0, 0.0, 0.5]), (3,), tensor([3.0, -7.0, 0.5]))
    x, d = [1.0, 2.0, 3.0], [5.0, 0.25, -1.0]
    out = affine(op, (3,), Columns.of(np.array(x), np.array(d)))
    scale = [Fraction(1, 3), Fraction(0.1) / -7, Fraction(4)]
    bias = [Fraction(1), Fraction(0), Fraction(1, 2)]
    expected = [[s * Fraction(a) + c, s * Fraction(b)] for s, a, b, c in zip(scale, x, d, bias, strict=True)]
    assert table(out) == expected


def test_sums_have_several_inputs_and_gathers_may_give_zero():
    a, b = thirds([1], [2]), Columns.of(np.array([0.5, 0.25]))
    assert table(affine(Sum((1.0, -0.1), (2,)), (2,), a, b)) == [
        [Fraction(1, 3) - Fraction(0.1) / 2], [Fraction(2, 3) - Fraction(0.1) / 4]]  # fmt: skip
    picked = affine(Gather(torch.tensor([1, -1, 1]), (2,), (3,), tensor([0.0, 4.0, 0.0])), (3,), a)
    assert table(picked) == [[Fraction(2, 3)], [Fraction(4)], [Fraction(2, 3)]]


def test_a_knot_is_decided_by_the_next_columns_then_by_the_lower_branch():
    rows = [[3, 1, 0], [3, -1, 0], [3, 0, 1], [3, 0, -1], [3, 0, 0], [4, -9, -9], [2, 9, 9]]
    out, branches = piecewise(clip((7,), -1.0, 1.0), thirds(*rows))
    assert branches.tolist() == [2, 1, 2, 1, 1, 2, 1]
    assert table(out)[0] == [Fraction(1), Fraction(0), Fraction(0)]
    assert table(out)[1] == [Fraction(1), Fraction(-1, 3), Fraction(0)]
    low = piecewise(clip((3,), -1.0, 1.0), thirds([-3, 1], [-3, 0], [-3, -1]))[1]
    assert low.tolist() == [1, 0, 0]
    assert piecewise(absolute((2,)), thirds([0, 0], [0, 2]))[1].tolist() == [0, 1]


def test_a_tied_maximum_is_decided_by_the_next_columns_then_by_the_lowest_position():
    z = thirds([1, 0, 0], [1, 0, 0], [1, 0, 1], [1, -1, 5], [0, 9, 9])
    index = torch.tensor([[0, 1, -1], [1, 0, 3], [-1, 0, 2], [3, 4, -1], [4, -1, 0]])
    out, winners = max_over(MaxOver(index, (5,), (5,)), z)
    assert winners.tolist() == [0, 0, 2, 0, 2]
    assert table(out)[2] == [Fraction(1, 3), Fraction(0), Fraction(1, 3)]


def test_a_negative_border_never_wins():
    out, winners = max_over(MaxOver(torch.tensor([[-1, 0]]), (1,), (1,)), thirds([-7]))
    assert winners.tolist() == [1]
    assert table(out) == [[Fraction(-7, 3)]]


# --- networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", zoo.KNOWN, ids=[k.name for k in zoo.KNOWN])
def test_values_of_the_zoo_are_exact(known):
    for x, answer in known.answers:
        check(known.data, known.net, np.array(x, dtype=float))
        last = forward(known.net.nodes, Columns.of(np.array(x, dtype=float)))[0][known.net.output]
        assert [row[0] for row in table(last)] == [Fraction(v) for v in answer]


@pytest.mark.big(sample=20)
@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind in zoo.KINDS for seed in range(20)])
def test_values_of_random_nets_are_exact(kind, seed):
    data, draw = zoo.random_net(kind, seed, degenerate=seed % 2 == 1, scales=seed % 4 >= 2)
    net = zoo.build(data)
    check(data, net, draw.point(int(np.prod(net.input_shape))))


def check(data, net, x) -> None:
    """Values and branches at x, where a lone column decides ties by the lowest branch; rates as differences."""
    values, branches = forward(net.nodes, Columns.of(x))
    exact, taken, _ = oracle.run(data, x)
    for name, rows in exact.items():
        assert [r[0] for r in table(values[name])] == rows
    for name, rows in taken.items():
        assert branches[name].tolist() == rows
    d = np.arange(1.0, len(x) + 1)
    values, branches = forward(net.nodes, Columns.of(x, d))
    frozen = {name: b.tolist() for name, b in branches.items()}
    moved = oracle.run(data, [Fraction(a) + Fraction(b) for a, b in zip(x.tolist(), d.tolist(), strict=True)], frozen)[
        0
    ]
    for name, rows in oracle.run(data, x, frozen)[0].items():
        assert table(values[name]) == [[v, m - v] for v, m in zip(rows, moved[name], strict=True)]


def test_numbers_grow_by_a_weight_per_layer():
    """No scale is carried along that no entry needs."""
    graph = zoo.build(zoo.chain((1,), *[("dense", {"W": [[0.1]], "b": [0.3]}), ("relu", {})] * 10))
    values, _ = forward(graph.nodes, Columns.of(np.array([0.7])))
    bits = int(values[graph.output].numerator[0, 0]).bit_length()
    assert bits < 64 * 11
    assert relu((1,)).input_shape == (1,)
    assert module.Columns is Columns


# --- products of limbs -------------------------------------------------------------------------------------------


def test_limbs_add_up():
    whole = np.array([[0, 1, -1], [2**200 + 3, -(2**63), 7]], dtype=object)
    limbs = module._limbs(whole, 17)
    assert np.abs(limbs).max() < 2**17
    for (i, j), k in np.ndenumerate(whole):
        assert sum(int(limb) << 17 * position for position, limb in enumerate(limbs[:, i, j])) == k
    assert module._limbs(np.zeros(2, dtype=object), 17).tolist() == [[0.0, 0.0]]


WEIGHTED = {
    "dense": Dense(tensor(np.random.default_rng(0).normal(size=(3, 6)) * 10.0 ** np.arange(-9, 9, 3)), None, (6,)),
    "dense with leading axes": Dense(tensor([[0.1, -2.0, 1e-30]]), tensor([0.7]), (2, 3)),
    "ones, the widest sums": Dense(torch.ones(1, 6, dtype=torch.float64), None, (6,)),
    "zeros": Dense(torch.zeros(2, 6, dtype=torch.float64), None, (6,)),
    "conv": Conv(tensor([[[0.1, -3.0]], [[1e9, 1e-9]]]), tensor([[1.0], [0.1]]), (1, 6), (2,), ((1, 2),), (2,)),
    "grouped": Conv(tensor([[[0.1]], [[-0.3]]]), None, (2, 3), (1,), ((1, 0),), (1,), 2),
    "transposed": Transposed(
        Conv(tensor([[[0.1, 0.7]]]), None, (1, 7), (1,), ((0, 0),), (1,)), tensor([[0.5]]), (1, 7)
    ),
    "transposed dense": Transposed(Dense(tensor(np.random.default_rng(1).normal(size=(6, 2))), None, (2,)), None, (2,)),
}


@pytest.mark.parametrize("op", WEIGHTED.values(), ids=WEIGHTED)
def test_products_of_limbs_are_products_of_matrices(op):
    """Against the sparse matrix, with numbers of one to several hundred bits and of both signs."""
    rng = np.random.default_rng(2)
    rows = [[int(rng.integers(-9, 10)), int(rng.integers(-(2**62), 2**62)) * 3**300, -(2**400) + 1] for _ in range(6)]
    v = Columns(np.array(rows, dtype=object), Fraction(1, 3))
    inner = op.node if isinstance(op, Transposed) else op
    shape = inner.input_shape if inner is op else inner.shape(inner.input_shape)
    out = table(affine(op, op.shape(shape), v))
    matrix = op.entries()[0].toarray()
    bias = np.zeros(len(matrix)) if op.bias is None else np.broadcast_to(op.bias.numpy(), op.shape(shape)).ravel()
    for i, row in enumerate(fractions(matrix)):
        for j in range(3):
            expected = sum((w * x[j] for w, x in zip(row, table(v), strict=True)), Fraction(0))
            assert out[i][j] == expected + (Fraction(float(bias[i])) if j == 0 else 0)
