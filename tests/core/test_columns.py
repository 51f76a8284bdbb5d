"""Exact columns: integers, sums, products, and the forward pass against the oracle."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import zoo
from oracles import networks as oracle
from plica.core.affine import Gather, Scale, Sum
from plica.core.choice import MaxOver, clip
from plica.core.exact import columns as exact
from plica.core.exact.columns import Columns

VALUES = [
    [0.0, 0.0],
    [1.0, -1.0, 0.5, 3.0],
    [0.1, 1e300, -1e-300, 5e-324],
    [-(2.0**53) + 1, 2.0**-1074, 1.7976931348623157e308],
    [0.0, 1e-5, 0.0],
]


def fractions_of(c: Columns, column: int = 0) -> list[Fraction]:
    return [c.entry(i, column) for i in range(len(c.numerator))]


@pytest.mark.parametrize("values", VALUES)
def test_integers_are_exact(values):
    whole, exponent = exact.to_integers(np.array(values))
    assert whole.dtype == object
    assert [int(k) * Fraction(2) ** exponent for k in whole] == [Fraction(v) for v in values]
    columns = Columns.of(np.array(values), -np.array(values))
    assert fractions_of(columns) == [Fraction(v) for v in values]
    assert np.array_equal(columns.to_float(), np.stack([values, -np.array(values)], axis=1))


def test_sums_joins_and_stacks_of_different_scales():
    a, b = Columns(np.array([[3], [-1]], dtype=object), Fraction(1, 6)), Columns.of(np.array([0.25, 0.1]))
    left, right = fractions_of(a), fractions_of(b)
    assert fractions_of(exact.add(a, b)) == [x + y for x, y in zip(left, right, strict=True)]
    joined = exact.join(a, b)
    assert (fractions_of(joined, 0), fractions_of(joined, 1)) == (left, right)
    assert fractions_of(exact.stack([a, b])) == left + right


def test_the_bias_counts_for_the_first_column_only():
    op = Scale(torch.tensor([2.0, 4.0]).double(), torch.tensor([1.0, -1.0]).double(), (2,), torch.tensor([3.0, -6.0]))
    out = exact.affine(op, (2,), Columns.of(np.array([1.0, 1.0]), np.array([1.0, 3.0])))
    assert fractions_of(out, 0) == [Fraction(5, 3), Fraction(-5, 3)]
    assert fractions_of(out, 1) == [Fraction(2, 3), Fraction(-2)]


def test_empty_rows_and_several_inputs():
    out = exact.affine(Gather(torch.tensor([-1, 1]), (2,), (2,)), (2,), Columns.of(np.array([1.0, 0.1])))
    assert fractions_of(out) == [Fraction(0), Fraction(0.1)]
    both = exact.affine(Sum((1.0, -0.5), (1,)), (1,), Columns.of(np.array([0.1])), Columns.of(np.array([0.2])))
    assert fractions_of(both) == [Fraction(0.1) - Fraction(0.2) / 2]


def test_later_columns_decide_a_knot_and_then_the_lower_branch():
    op = clip((5,), -1.0, 2.0)
    z = Columns.of(
        np.array([-1.0, -1.0, -1.0, 2.0, 0.0]),
        np.array([1.0, -1.0, 0.0, 0.0, -9.0]),
        np.array([0.0, 5.0, 0.0, 1.0, 0.0]),
    )
    value, branches = exact.piecewise(op, z)
    assert branches.tolist() == [1, 0, 0, 2, 1]
    assert fractions_of(value) == [-1, -1, -1, 2, 0]
    assert fractions_of(value, 1) == [1, 0, 0, 0, -9]


def test_later_columns_decide_a_maximum_and_then_the_lowest_position():
    op = MaxOver(torch.tensor([[-1, 0, 1, 2], [3, 1, -1, -1], [2, 2, -1, 0]]), (4,), (3,))
    z = Columns.of(np.array([1.0, 1.0, 1.0, 1.0]), np.array([0.0, 2.0, 2.0, 2.0]), np.array([9.0, 0.0, 1.0, 0.0]))
    value, winners = exact.max_over(op, z)
    assert winners.tolist() == [3, 0, 0]
    assert fractions_of(value, 2) == [1, 0, 1]


@pytest.mark.big(sample=40)
@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind in zoo.KINDS for seed in range(30)])
def test_forward_is_the_oracle(kind, seed):
    data, draw = zoo.random_net(kind, 3000 + seed, degenerate=seed % 2 == 1, scales=seed % 4 >= 2)
    net = zoo.build(data)
    x = draw.point(int(np.prod(net.input_shape)))
    values, branches = exact.forward(net.nodes, Columns.of(x))
    known, taken, _ = oracle.run(data, x)
    assert {name: fractions_of(v) for name, v in values.items()} == known
    assert {name: b.tolist() for name, b in branches.items()} == taken  # one column: lowest branch at a tie


@pytest.mark.parametrize("known", zoo.KNOWN, ids=[k.name for k in zoo.KNOWN])
def test_forward_gives_the_known_answers(known):
    net = known.net
    for x, y in known.answers:
        values, _ = exact.forward(net.nodes, Columns.of(np.array(x, dtype=float)))
        assert fractions_of(values[net.output]) == [oracle.rational(v) for v in y]
