"""Exact signs against rationals computed by hand."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from oracles.layers import affine, conv, conv_matrix, dense, rational, relu
from plica.core import signs as module
from plica.core.choice import MaxOver, Piecewise, clip, leaky_relu
from plica.core.choice import relu as relu_node
from plica.core.network import INPUT, Graph
from plica.core.signs import difference_signs, enclose, signs


def sign(value):
    return (value > 0) - (value < 0)


def two_layers(rng, kind):
    """A net n - m - k without an end, its matrices, and inputs that hit knots."""
    n, m, k = 3, 5, 4
    if kind == "integer":
        W, b, V, c = (rng.integers(-2, 3, s).astype(float) for s in [(m, n), m, (k, m), k])
        X = rng.integers(-2, 3, (6, n)).astype(float)
    elif kind == "zero bias":
        W, V = rng.normal(size=(m, n)), rng.normal(size=(k, m))
        b, c, X = np.zeros(m), np.zeros(k), np.vstack([np.zeros((2, n)), rng.normal(size=(4, n))])
        V[1] = V[0] * 3
    else:
        W, V = rng.normal(size=(m, n)), rng.normal(size=(k, m))
        X = rng.normal(size=(6, n))
        b = -(W @ X[0])  # zero up to rounding at the first input: only rationals know the sign
        c = -(V @ np.maximum(W @ X[1] + b, 0))
    graph = Graph((n,))
    graph.add("first", dense(W, b), INPUT)
    graph.add("relu", relu_node((m,)), "first")
    graph.add("second", dense(V, c), "relu")
    graph.add("end", relu_node((k,)), "second")
    return graph.network(), [rational(a) for a in (W, b, V, c)], X


@pytest.mark.parametrize("kind", ["integer", "zero bias", "doubts"])
@pytest.mark.parametrize("seed", range(5))
def test_signs_are_exact(kind, seed):
    net, (W, b, V, c), X = two_layers(np.random.default_rng(seed), kind)
    x = torch.from_numpy(X)
    knots = torch.tensor([-1.0, 0.0, 0.5], dtype=torch.float64)
    pattern = net.pattern(x)
    for value, exact in (
        ("first", lambda u: affine(W, b, u)),
        ("second", lambda u: affine(V, c, relu(affine(W, b, u)))),
    ):
        got = signs(net, x, pattern, value, knots)
        assert got.dtype == np.int8
        for i, u in enumerate(rational(X)):
            for k, knot in enumerate(knots.tolist()):
                assert got[k, i].tolist() == [sign(v - Fraction(knot)) for v in exact(u)]


def test_the_doubtful_cases_do_need_rationals(monkeypatch):
    """The test above is no test if floats settle everything."""
    net, _, X = two_layers(np.random.default_rng(0), "doubts")
    calls = []
    original = module._exact_values
    monkeypatch.setattr(module, "_exact_values", lambda *a: calls.append(1) or original(*a))
    x = torch.from_numpy(X)
    signs(net, x, net.pattern(x), "first", torch.tensor([-1.0, 0.0], dtype=torch.float64))
    assert 1 <= len(calls) < len(X)  # one pass for a doubtful input, whatever the number of knots


def test_values_a_hair_off_a_knot():
    """0.1 + 0.2 - 0.3 in rationals is not the float 5.55e-17, and 1 + 1e-17 lies above 1."""
    graph = Graph((3,))
    graph.add("sum", dense([[1.0, 1.0, -1.0], [1.0, 1e-17, 0.0]], None), INPUT)
    graph.add("clip", clip((2,), 0.0, 1.0), "sum")
    net = graph.network()
    X = np.array([[0.1, 0.2, 0.3], [1.0, 1.0, 2.0], [1.0, -1.0, 0.0], [1.0, 0.0, 1.0]])
    x = torch.from_numpy(X)
    got = signs(net, x, net.pattern(x), "sum", net["clip"].op.knots)
    for i, (a, b, c) in enumerate(rational(X)):
        exact = [a + b - c, a + Fraction(1e-17) * b]
        for k in (0, 1):
            assert got[k, i].tolist() == [sign(v - k) for v in exact]
    assert got[1, :, 1].tolist() == [-1, 1, -1, 0]


def test_the_bound_holds():
    rng = np.random.default_rng(3)
    net, (W, b, V, c), X = two_layers(rng, "doubts")
    x = torch.from_numpy(X)
    ball = enclose(net, x, net.pattern(x), "second")
    for i, u in enumerate(rational(X)):
        for value, got, error in zip(affine(V, c, relu(affine(W, b, u))), ball.value[i], ball.error[i], strict=True):
            assert abs(value - Fraction(float(got))) <= Fraction(float(error))


def test_a_knot_for_each_channel_and_slopes_that_round():
    rng = np.random.default_rng(5)
    weight, bias = rng.normal(size=(2, 1, 2, 2)), rng.normal(size=2)
    graph = Graph((1, 3, 3))
    graph.add("conv", conv(weight, bias, (1, 3, 3)), INPUT)
    graph.add("leaky", leaky_relu((2, 2, 2), 0.1), "conv")
    graph.add("mix", dense(rng.normal(size=(2, 2)), None, (2, 2, 2)), "leaky")
    levels = torch.tensor(rng.normal(size=(1, 2, 1, 1)))
    graph.add("step", Piecewise("step", levels, torch.tensor([0.0, 1.0]), torch.zeros(2), (2, 2, 2)), "conv")
    net = graph.network("step")
    A, b = conv_matrix(weight, bias, (1, 3, 3))
    X = rng.normal(size=(3, 1, 3, 3))
    x = torch.from_numpy(X)
    got = signs(net, x, net.pattern(x), "conv", levels)
    for i, u in enumerate(X.reshape(3, -1)):
        expected = [sign(v - rational(levels[0, r // 4, 0, 0])) for r, v in enumerate(affine(A, b, rational(u)))]
        assert got[0, i].ravel().tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_differences(seed):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(6, 3))
    W[3], W[4] = W[0], W[1]
    X = rng.normal(size=(4, 3))
    b = rng.normal(size=6)
    b[3] = b[0]
    b[5] = b[2] + W[2] @ X[0] - W[5] @ X[0]  # a tie up to rounding
    graph = Graph((3,))
    graph.add("dense", dense(W, b), INPUT)
    graph.add("max", MaxOver(torch.tensor([[0, 3, 1], [2, 5, 4]]), (6,), (2,)), "dense")
    net = graph.network()
    x = torch.from_numpy(X)
    plus, minus = [np.array([3, 0, 5, 4])] * 4, [np.array([0, 1, 2, 1])] * 4
    got = difference_signs(net, x, net.pattern(x), "dense", plus, minus)
    for i, u in enumerate(rational(X)):
        z = affine(rational(W), rational(b), u)
        assert got[i].tolist() == [sign(z[p] - z[m]) for p, m in zip(plus[i], minus[i], strict=True)]
        assert got[i][0] == 0


def test_no_inputs_and_the_input_itself():
    graph = Graph((2,))
    graph.add("relu", relu_node((2,)), INPUT)
    net = graph.network()
    zero = torch.zeros(1, dtype=torch.float64)
    x = torch.tensor([[0.0, -1e-300]], dtype=torch.float64)
    assert signs(net, x, net.pattern(x), INPUT, zero).tolist() == [[[0, -1]]]
    assert signs(net, x[:0], net.pattern(x)[:0], INPUT, zero).shape == (1, 0, 2)


def test_overflow_settles_nothing():
    graph = Graph((2,))
    graph.add("first", dense(np.array([[1e308, 1e308], [1.0, 0.0]]), np.zeros(2)), INPUT)
    graph.add("second", dense(np.array([[1.0, -1.0], [-1.0, 1e308]]), np.zeros(2)), "first")
    graph.add("end", relu_node((2,)), "second")
    net = graph.network()
    x = torch.tensor([[4.0, 5.0]], dtype=torch.float64)  # (inf, 4), then inf - inf in floats
    exact = [Fraction(1e308) * 9 - 4, 4 * Fraction(1e308) - Fraction(1e308) * 9]
    assert not bool(torch.isfinite(net.values(x, "second")["second"]).all())
    got = signs(net, x, net.pattern(x), "second", torch.zeros(1, dtype=torch.float64))
    assert got[0, 0].tolist() == [sign(v) for v in exact]
