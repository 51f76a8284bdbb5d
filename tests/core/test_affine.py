"""The contract of affine nodes: one row per node in a table, every clause of the contract checked on every row."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from fractions import Fraction

import numpy as np
import pytest
import torch

import plica.core
from plica.core.affine import Affine, Concat, Dense, Gather, Scale, Sum, evaluate, permute, reshape
from plica.core.choice import Choice, Difference, Piecewise, Then, absolute, clip, relu, windows
from plica.core.conv import Conv, Transposed
from plica.core.pattern import gamma

BATCH = 5


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape))


def sparse(*shape: int) -> torch.Tensor:
    """Weights with zeros, as after pruning."""
    return rand(*shape) * (rand(*shape, seed=1) > 0)


def conv1d(**changes) -> Conv:
    given = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), **changes}
    return Conv(rand(3, 2, 3), rand(3, 1), (2, 9), given["stride"], given["padding"], given["dilation"])


def conv2d(weight=None, bias=None, shape=(2, 6, 5), **changes) -> Conv:
    weight = rand(3, 2, 3, 2) if weight is None else weight
    given = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1, **changes}
    return Conv(weight, bias, shape, given["stride"], given["padding"], given["dilation"], given["groups"])


def piecewise_margins() -> Then:
    op = clip((2, 3), -0.5, 1.25)
    return op.margins(op.choose(rand(1, 2, 3)))


def pool_margins() -> Difference:
    op = windows((2, 3, 4), (2, 2), stride=(2, 2), padding=((1, 0), (0, 1)), dilation=(1, 1))
    return op.margins(op.choose(rand(1, 2, 3, 4)))


PAD = ((2, 0), (1, 3))  # rows before and after, columns before and after
PICK = torch.tensor([3, -1, 0, 3, 5])
ONE = (1, 1)
# name -> the node and the shapes of its inputs
NODES: dict[str, tuple[Affine, list[tuple[int, ...]]]] = {
    "dense": (Dense(rand(4, 3), rand(4), (3,)), [(3,)]),
    "dense without bias": (Dense(sparse(4, 3), None, (3,)), [(3,)]),
    "dense with leading axes": (Dense(sparse(4, 3), rand(4), (2, 5, 3)), [(2, 5, 3)]),
    "dense of zeros": (Dense(torch.zeros(2, 3, dtype=torch.float64), None, (3,)), [(3,)]),
    "dense of extreme scales": (Dense(rand(4, 6) * 10.0 ** torch.arange(-6, 6, 2), rand(4), (6,)), [(6,)]),
    "conv 1-d": (conv1d(), [(2, 9)]),
    "conv 1-d with everything": (conv1d(stride=(2,), padding=((3, 1),), dilation=(2,)), [(2, 9)]),
    "conv 2-d": (conv2d(), [(2, 6, 5)]),
    "conv 2-d padded": (conv2d(bias=rand(3, 1, 1), padding=PAD), [(2, 6, 5)]),
    "conv 2-d strided": (conv2d(stride=(3, 2)), [(2, 6, 5)]),  # the last rows are not reached
    "conv 2-d strided and padded": (conv2d(stride=(2, 3), padding=PAD), [(2, 6, 5)]),
    "conv 2-d dilated": (conv2d(sparse(3, 2, 3, 2), dilation=(2, 3), padding=PAD), [(2, 6, 5)]),
    "conv 2-d grouped": (conv2d(rand(6, 2, 2, 2), rand(6, 1, 1), (4, 3, 4), groups=2, padding=(ONE, ONE)), [(4, 3, 4)]),
    "conv depthwise": (conv2d(rand(4, 1, 3, 3), None, (4, 3, 4), groups=4, padding=(ONE, ONE)), [(4, 3, 4)]),
    "gather": (Gather(torch.tensor([5, 0, 0, 2]), (2, 3), (2, 2)), [(2, 3)]),
    "gather with zeros": (Gather(PICK, (2, 3), (5,)), [(2, 3)]),
    "gather with bias": (Gather(PICK, (2, 3), (5,), rand(5)), [(2, 3)]),
    "gather, one index for the batch": (Gather(PICK[None], (2, 3), (5,)), [(2, 3)]),
    "permute": (permute((2, 0, 1), (2, 3, 4)), [(2, 3, 4)]),
    "reshape": (reshape((2, 6), (3, 4)), [(2, 6)]),
    "scale": (Scale(rand(2, 1, 1), rand(2, 1, 1), (2, 3, 2)), [(2, 3, 2)]),
    "scale by one number": (Scale(torch.tensor(-0.3, dtype=torch.float64), None, (4,)), [(4,)]),
    "scale with divisor": (Scale(rand(2, 3), rand(3), (2, 3), torch.tensor([9.0, -7, 1]).double()), [(2, 3)]),
    "scale, one row for the batch": (Scale(rand(1, 2, 3), rand(1, 2, 3), (2, 3)), [(2, 3)]),
    "sum": (Sum((1.0, 1.0), (2, 3)), [(2, 3)] * 2),
    "sum, difference and multiple": (Sum((1.0, -1.0, 0.1), (4,), rand(4)), [(4,)] * 3),
    "sum of one": (Sum((0.7,), (4,)), [(4,)]),
    "concat 0": (Concat(0, ((2, 3, 2), (1, 3, 2)), rand(3, 3, 2)), [(2, 3, 2), (1, 3, 2)]),
    "concat 1": (Concat(1, ((2, 3, 2), (2, 1, 2), (2, 2, 2))), [(2, 3, 2), (2, 1, 2), (2, 2, 2)]),
    "concat 2": (Concat(2, ((2, 3, 2), (2, 3, 4))), [(2, 3, 2), (2, 3, 4)]),
    "transposed dense": (Transposed(Dense(rand(4, 3), None, (3,)), rand(3), (3,)), [(4,)]),
    "transposed dense with leading axes": (Transposed(Dense(rand(4, 3), None, (2, 3)), None, (2, 3)), [(2, 4)]),
    "transposed conv": (Transposed(conv2d(stride=(2, 3), padding=PAD), rand(2, 1, 1), (2, 6, 5)), [(3, 3, 3)]),
    "transposed grouped conv 1-d": (
        Transposed(Conv(rand(4, 1, 3), None, (2, 7), (2,), ((1, 0),), (1,), 2), None, (2, 7)),
        [(4, 3)],
    ),
    "transposed gather": (Transposed(Gather(PICK, (2, 3), (5,)), rand(2, 3), (2, 3)), [(5,)]),
    "margins of a clip": (piecewise_margins(), [(2, 3)]),
    "margins of a pool": (pool_margins(), [(2, 3, 4)]),
}
CHOICES: dict[str, Choice] = {
    "relu": relu((3,)),
    "pool": windows((1, 4, 4), (2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1)),
}
each_node = pytest.mark.parametrize(("node", "shapes"), NODES.values(), ids=NODES.keys())


def test_every_node_class_of_the_core_is_in_the_table():
    found = set()
    for module in pkgutil.walk_packages(plica.core.__path__, "plica.core."):
        for cls in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(cls) and hasattr(cls, "entries") and hasattr(cls, "adjoint") and cls is not Affine:
                found.add(cls)
    assert found == {type(node) for node, _ in NODES.values()}


def test_every_choice_class_of_the_core_is_known_to_the_exact_stages():
    found = set()
    for module in pkgutil.walk_packages(plica.core.__path__, "plica.core."):
        for cls in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(cls) and hasattr(cls, "choose") and hasattr(cls, "freeze") and cls is not Choice:
                found.add(cls)
    assert found == {type(op) for op in CHOICES.values()}  # `pattern` and `columns` name both


@each_node
def test_nodes_satisfy_the_protocol(node, shapes):
    assert isinstance(node, Affine)
    assert not isinstance(node, Choice)


@each_node
def test_shape_is_that_of_the_result(node, shapes):
    out = node.apply(*(rand(BATCH, *s) for s in shapes))
    assert out.shape == (BATCH, *node.shape(*shapes))


@each_node
def test_apply_is_linear(node, shapes):
    u, v = [rand(BATCH, *s, seed=1) for s in shapes], [rand(BATCH, *s, seed=2) for s in shapes]
    both = node.apply(*(2.0 * a - 3.0 * b for a, b in zip(u, v, strict=True)))
    torch.testing.assert_close(both, 2.0 * node.apply(*u) - 3.0 * node.apply(*v))
    assert not node.apply(*(torch.zeros_like(a) for a in u)).any()


@each_node
def test_evaluate_adds_the_bias(node, shapes):
    v = [rand(BATCH, *s) for s in shapes]
    bias = evaluate(node, *v) - node.apply(*v)
    assert bias.shape == (BATCH, *node.shape(*shapes))
    expected = 0.0 if node.bias is None else node.bias
    torch.testing.assert_close(bias, torch.zeros_like(bias) + expected)


@each_node
def test_adjoint_is_the_transpose(node, shapes):
    v = [rand(BATCH, *s) for s in shapes]
    w = rand(BATCH, *node.shape(*shapes), seed=3)
    back = node.adjoint(w)
    assert [b.shape for b in back] == [x.shape for x in v]
    right = sum((x * b).flatten(1).sum(1) for x, b in zip(v, back, strict=True))
    torch.testing.assert_close((node.apply(*v) * w).flatten(1).sum(1), right)


@each_node
def test_entries_are_apply_on_unit_vectors(node, shapes):
    """Exactly: products with one and zero round nothing. The divisor of a scale is kept apart."""
    divisor = getattr(node, "divisor", None)
    plain = node if divisor is None else Scale(node.factor, node.bias, node.input_shape)
    for k, (shape, matrix) in enumerate(zip(shapes, node.entries(), strict=True)):
        size = math.prod(shape)
        units = [torch.zeros(size, *s, dtype=torch.float64) for s in shapes]
        units[k] = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
        assert matrix.shape == (math.prod(node.shape(*shapes)), size)
        assert np.array_equal(matrix.toarray(), plain.apply(*units).flatten(1).numpy().T)
        assert matrix.nnz == len(set(zip(*matrix.nonzero(), strict=True)))  # no place twice: sums would round


@each_node
def test_adjoint_on_unit_vectors_is_the_transposed_matrix(node, shapes):
    out = node.shape(*shapes)
    back = node.adjoint(torch.eye(math.prod(out), dtype=torch.float64).reshape(-1, *out))
    divisor = getattr(node, "divisor", None)
    for part, matrix in zip(back, node.entries(), strict=True):
        dense = matrix.toarray()
        if divisor is not None:
            dense = dense / np.broadcast_to(divisor.numpy(), shapes[0]).reshape(-1, 1)
        assert np.array_equal(part.flatten(1).numpy(), dense)


@each_node
def test_magnitude_has_the_absolute_entries_and_bias(node, shapes):
    magnitude = node.magnitude()
    assert magnitude.terms == node.terms
    for ours, theirs in zip(magnitude.entries(), node.entries(), strict=True):
        if isinstance(node, Difference):  # both entries of a row may meet in one place only when they cancel
            assert (ours - abs(theirs)).min() >= 0
        else:
            assert np.array_equal(ours.toarray(), abs(theirs).toarray())
    assert (magnitude.bias is None) == (node.bias is None)
    if node.bias is not None:
        assert torch.equal(magnitude.bias, node.bias.abs())
    if getattr(node, "divisor", None) is not None:
        assert torch.equal(magnitude.divisor, node.divisor.abs())


def exact_rows(node: Affine, shapes: list, point: list[torch.Tensor]):
    """Of every output: A x + b and |A| |x| + |b| as fractions."""
    size = math.prod(node.shape(*shapes))

    def flat(t: torch.Tensor, shape) -> list[Fraction]:
        return [Fraction(float(v)) for v in torch.broadcast_to(t, (1, *shape)).ravel()]

    divisor = getattr(node, "divisor", None)
    below = [Fraction(1)] * size if divisor is None else flat(divisor, node.shape(*shapes))
    offset = [Fraction(0)] * size if node.bias is None else flat(node.bias, node.shape(*shapes))
    value, total = list(offset), [abs(b) for b in offset]
    for matrix, x in zip(node.entries(), point, strict=True):
        coo, xs = matrix.tocoo(), x.flatten().tolist()
        for i, j, a in zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True):
            term = Fraction(a) * Fraction(xs[j]) / below[i]
            value[i] += term
            total[i] += abs(term)
    return value, total


@each_node
def test_terms_bound_the_rounding(node, shapes):
    """|float - exact| <= gamma(terms) (|A| |x| + |b|), also where everything cancels."""
    for seed in range(4):
        point = [rand(1, *s, seed=seed) * 10.0 ** (2 * rand(1, *s, seed=seed + 9)) for s in shapes]
        value, total = exact_rows(node, shapes, point)
        bound = Fraction(gamma(node.terms))
        for got, exact, size in zip(evaluate(node, *point).flatten().tolist(), value, total, strict=True):
            assert abs(Fraction(got) - exact) <= bound * size


@each_node
def test_terms_count_every_rounding(node, shapes):
    """A product, if any entry is not 0 or +-1, the additions of a full row, a quotient, and the bias."""
    rows = np.concatenate([m.toarray() for m in node.entries()], axis=1)
    rounds = bool((~np.isin(rows, (-1.0, 0.0, 1.0))).any()) + (getattr(node, "divisor", None) is not None)
    additions = int(np.count_nonzero(rows, axis=1).max()) - 1
    assert node.terms >= rounds + max(additions, 0) + (node.bias is not None)


def test_gamma_of_no_roundings_is_zero():
    assert gamma(0) == 0.0
    assert Fraction(gamma(7)) >= Fraction(7, 2**53) / (1 - Fraction(7, 2**53))


@pytest.mark.parametrize("terms", [1, 2, 3, 17])
def test_terms_are_not_too_few_for_a_sum_that_always_rounds_the_same_way(terms):
    """1 + u + u + ...: every addition drops u, so that the error is (terms - 1) u exactly."""
    small = 2.0**-53
    weight = torch.ones(1, terms, dtype=torch.float64)
    x = torch.tensor([[1.0] + [small] * (terms - 1)], dtype=torch.float64)
    node = Dense(weight, None, (terms,))
    in_order = float(x[0, 0])
    for v in x[0, 1:].tolist():
        in_order += v
    exact = Fraction(1) + (terms - 1) * Fraction(small)
    assert abs(Fraction(in_order) - exact) <= Fraction(gamma(node.terms)) * exact
    assert abs(Fraction(float(node.apply(x)[0, 0])) - exact) <= Fraction(gamma(node.terms)) * exact


# --- what nodes made by `freeze` carry: a batch axis of their own -----------------------------------------------


def test_gather_with_an_index_for_every_row():
    index = torch.tensor([[0, -1, 2], [5, 5, 1]])
    node = Gather(index, (2, 3), (3,))
    v, w = rand(2, 2, 3), rand(2, 3, seed=1)
    for i in range(2):
        alone = Gather(index[i], (2, 3), (3,))
        assert torch.equal(node.apply(v)[i], alone.apply(v[i : i + 1])[0])
        assert torch.equal(node.adjoint(w)[0][i], alone.adjoint(w[i : i + 1])[0][0])
        assert torch.equal(node.apply(v[:1])[i], alone.apply(v[:1])[0])  # one point, many indices
        assert torch.equal(node.adjoint(w[:1])[0][i], alone.adjoint(w[:1])[0][0])


def test_scale_with_a_factor_for_every_row():
    factor = rand(3, 2, 2)
    node = Scale(factor, None, (2, 2))
    v = rand(3, 2, 2, seed=1)
    assert torch.equal(node.apply(v), v * factor)
    assert torch.equal(node.adjoint(v)[0], v * factor)
    assert node.apply(v[:1]).shape == (3, 2, 2)


def test_concat_repeats_a_single_row():
    node = Concat(0, ((2,), (3,)))
    u, v = rand(1, 2), rand(4, 3)
    assert torch.equal(node.apply(u, v), torch.cat([u.expand(4, 2), v], 1))


def test_margins_of_a_batch_are_those_of_its_rows():
    for op, shape in ((absolute((4,)), (4,)), (clip((4,), -1.0, 2.0), (4,)), (CHOICES["pool"], (1, 4, 4))):
        z = rand(3, *shape)
        branches = op.choose(z)
        node = op.margins(branches)
        for i in range(3):
            alone = op.margins(branches[i : i + 1])
            assert torch.equal(evaluate(node, z)[i], evaluate(alone, z[i : i + 1])[0])
            w = rand(3, *node.shape(shape), seed=2)
            assert torch.equal(node.adjoint(w)[0][i], alone.adjoint(w[i : i + 1])[0][0])


def test_weights_that_want_gradients_are_read():
    weight = rand(2, 3).requires_grad_()
    assert Dense(weight, None, (3,)).entries()[0].shape == (2, 3)
    assert isinstance(relu((3,)), Piecewise)
