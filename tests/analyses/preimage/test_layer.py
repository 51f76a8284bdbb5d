"""The matrix of a layer: rows equal to the Jacobian's up to positive factors, exact where it says so."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from oracles.layers import conv, conv_matrix, dense, rational, tensor
from plica.analyses.preimage.layer import layer_matrix
from plica.core.affine import Concat, Gather, Scale, Sum, permute, reshape
from plica.core.choice import relu, windows
from plica.core.conv import Transposed
from plica.core.network import INPUT, Graph
from plica.errors import MemoryBudgetError

IMAGE = (2, 4, 4)


def jacobian(net, value):
    """The Jacobian of a block at any point, by automatic differentiation, over its joint flat input."""
    block, sources = net.block(value, "post")
    x = torch.zeros(block.input_shape, dtype=torch.float64)
    rows = torch.autograd.functional.jacobian(lambda v: block(v).reshape(-1), x)
    return rows.reshape(len(rows), -1).numpy(), sources


def assert_same_rows(got, wanted):
    """Equal up to positive factors of the rows."""
    assert got.shape == wanted.shape
    sizes = [np.linalg.norm(M, axis=1, keepdims=True) for M in (got, wanted)]
    a, b = (M / np.where(size > 0, size, 1.0) for M, size in zip((got, wanted), sizes, strict=True))
    np.testing.assert_allclose(a, b, atol=1e-13)


def dense_net(rng):
    graph = Graph((3,))
    graph.add("z", dense(rng.normal(size=(4, 3)), rng.normal(size=4)), INPUT)
    return graph, True


def conv_net(rng):
    graph = Graph(IMAGE)
    graph.add("z", conv(rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3), IMAGE, 1, 1), INPUT)
    return graph, True


def conv_flat(rng):
    graph = Graph(IMAGE)
    graph.add("conv", conv(rng.normal(size=(3, 2, 2, 2)), rng.normal(size=3), IMAGE, 2), INPUT)
    graph.add("turned", permute((1, 2, 0), (3, 2, 2)), "conv")
    graph.add("z", reshape((2, 2, 3), (12,)), "turned")
    return graph, True


def batch_norm(rng):
    graph, _ = conv_net(rng)
    factor = tensor(np.array([-0.3, 0.7, 0.0])).reshape(3, 1, 1)
    graph.add("norm", Scale(factor, tensor(np.ones((3, 1, 1))), (3, 4, 4)), "z")
    graph.add("flat", reshape((3, 4, 4), (48,)), "norm")
    graph.add("halved", Scale(tensor(0.1), None, (48,), tensor(-7.0)), "flat")
    return graph, True


def norm_before(rng):
    graph = Graph((3,))
    graph.add("norm", Scale(tensor([0.1, 0.2, 0.3]), tensor([1.0, 2.0, 3.0]), (3,), tensor([3.0, 7.0, 11.0])), INPUT)
    graph.add("z", dense(rng.normal(size=(4, 3)), None), "norm")
    return graph, False


def two_dense(rng):
    graph, _ = dense_net(rng)
    graph.add("w", dense(rng.normal(size=(2, 4)), None), "z")
    return graph, False


def residual(rng):
    graph = Graph((3,))
    graph.add("relu", relu((3,)), INPUT)
    graph.add("branch", dense(rng.normal(size=(3, 3)), rng.normal(size=3)), "relu")
    graph.add("inner", relu((3,)), "branch")
    graph.add("back", dense(rng.normal(size=(3, 3)), None), "inner")
    graph.add("sum", Sum((1.0, 1.0), (3,)), "back", "relu")
    return graph, True


def residual_same_source(rng):
    """Identity plus float32 weights: the sums fit in 53 bits."""
    graph = Graph((3,))
    weights = rng.normal(size=(3, 3)).astype(np.float32)
    graph.add("branch", dense(weights, None), INPUT)
    graph.add("sum", Sum((1.0, -1.0), (3,)), "branch", INPUT)
    return graph, True


def residual_rounded(rng):
    graph = Graph((3,))
    graph.add("branch", dense(np.full((3, 3), 0.1), None), INPUT)
    graph.add("sum", Sum((1.0, 1.0), (3,)), "branch", INPUT)
    return graph, False


def joined(rng):
    graph = Graph((4,))
    graph.add("relu", relu((4,)), INPUT)
    graph.add("left", dense(rng.normal(size=(2, 4)), None), "relu")
    graph.add("right", dense(rng.normal(size=(3, 4)), None), INPUT)
    graph.add("both", Concat(0, ((2,), (3,))), "left", "right")
    return graph, True


def average_pool(rng, divisor):
    graph = Graph(IMAGE)
    pool = windows(IMAGE, (2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1))
    spread = Gather(pool.index.flatten(), IMAGE, (8, 4))
    graph.add("windows", spread, INPUT)
    graph.add("total", dense(np.ones((1, 4)), None, (8, 4)), "windows")
    graph.add("mean", Scale(tensor(1.0), None, (8, 1), tensor(divisor)), "total")
    return graph, True


def pool_then_dense(rng):
    graph, _ = average_pool(rng, 3.0)
    graph.add("flat", reshape((8, 1), (8,)), "mean")
    graph.add("z", dense(rng.normal(size=(2, 8)), None), "flat")
    return graph, False


def transposed_conv(rng):
    graph = Graph((3, 3, 3))
    node = conv(rng.normal(size=(3, 2, 2, 2)), np.zeros(3), IMAGE)
    graph.add("z", Transposed(node, None, IMAGE), INPUT)
    return graph, True


NETS = [
    dense_net, conv_net, conv_flat, batch_norm, norm_before, two_dense, residual, residual_same_source,
    residual_rounded, joined, lambda rng: average_pool(rng, 9.0), pool_then_dense, transposed_conv,
]  # fmt: skip


@pytest.mark.parametrize("build", NETS)
def test_rows_are_those_of_the_jacobian(build):
    graph, exact = build(np.random.default_rng(1))
    net = graph.network()
    matrix = layer_matrix(net, net.output)
    wanted, sources = jacobian(net, net.output)
    assert matrix.sources == sources
    assert matrix.exact is exact
    assert_same_rows(matrix.rows.toarray(), wanted)
    assert_same_rows(matrix.dense(), wanted)


def test_several_sources_are_joined_in_the_order_of_the_nodes():
    matrix = layer_matrix(residual(np.random.default_rng(1))[0].network(), "sum")
    assert matrix.sources == ("relu", "inner")
    np.testing.assert_array_equal(matrix.rows.toarray()[:, :3], np.eye(3))


def test_the_entries_of_a_convolution_are_its_weights():
    weight = np.random.default_rng(2).normal(size=(3, 2, 3, 3))
    graph = Graph(IMAGE)
    graph.add("conv", conv(weight, np.zeros(3), IMAGE, 2, 1), INPUT)
    graph.add("norm", Scale(tensor([-0.3, 0.7, -2.0]).reshape(3, 1, 1), None, (3, 2, 2)), "conv")
    rows, _ = conv_matrix(weight, np.zeros(3), IMAGE, 2, 1)
    got = layer_matrix(graph.network(), "norm")
    signs = np.repeat([-1, 1, -1], 4)
    assert got.exact
    assert rational(got.rows.toarray()) == [[int(s) * v for v in row] for s, row in zip(signs, rows, strict=True)]


def test_exact_means_exact():
    """Sums that are called exact agree with rationals."""
    weights = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    graph = Graph((3,))
    graph.add("branch", dense(weights, None), INPUT)
    graph.add("sum", Sum((1.0, 1.0), (3,)), "branch", INPUT)
    got = layer_matrix(graph.network(), "sum")
    assert got.exact
    for i in range(3):
        for j in range(3):
            assert Fraction(got.rows.toarray()[i, j]) == Fraction(float(weights[i, j])) + (i == j)


def test_what_does_not_fit_is_refused_before_it_is_built():
    graph = Graph((3, 32, 32))
    graph.add("a", conv(np.ones((8, 3, 5, 5)), np.zeros(8), (3, 32, 32), 1, 2), INPUT)
    graph.add("b", conv(np.ones((8, 8, 5, 5)), np.zeros(8), (8, 32, 32), 1, 2), "a")
    net = graph.network()
    with pytest.raises(MemoryBudgetError, match=r"node 'a' has up to 614400 nonzero entries .*max_bytes"):
        layer_matrix(net, "a", max_bytes=10**6)
    with pytest.raises(MemoryBudgetError, match="product of two layers"):
        layer_matrix(net, "b", max_bytes=10**8)
    with pytest.raises(MemoryBudgetError, match="8192 rows and 3072 columns"):
        layer_matrix(net, "a").dense(max_bytes=10**8)
