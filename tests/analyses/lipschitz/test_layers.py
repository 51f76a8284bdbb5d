"""Spectra and norms of single layers, against dense matrices built by loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from oracles import operators as oracle
from plica.analyses.lipschitz import conv_spectrum, lipschitz
from plica.analyses.lipschitz.fourier import enclosing_size, on_torus, unit_roots
from plica.analyses.lipschitz.norms import Effort, bracket, torus_upper
from plica.analyses.lipschitz.verified import gain, largest_eigenvalue, norm_upper
from plica.core.affine import Concat, Dense, Gather, Scale, Sum
from plica.core.choice import MaxOver, absolute, clip, leaky_relu, relu, soft_threshold, windows
from plica.core.conv import Conv, Transposed
from plica.core.progress import Progress
from plica.errors import ArgumentError, BudgetReached, DataError, MemoryBudgetError, ShapeError

EFFORT = Effort(0.01, Progress())


def draw_conv(seed: int, *, axes: int = 2):
    """A random convolution: any stride, dilation, groups and padding, often degenerate."""
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 3))
    c_in, c_out = groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 4))
    kernel, stride, dilation = (tuple(map(int, rng.integers(1, m, axes))) for m in (4, 4, 3))
    size = tuple(map(int, rng.integers(5, 9, axes)))
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 6, (axes, 2)))
    weight = rng.normal(size=(c_out, c_in // groups, *kernel))
    if seed % 3 == 0:
        weight = np.round(weight)  # zero and repeated weights, rank-deficient layers
    return weight, (c_in, *size), stride, padding, dilation, groups


def node(weight, shape, stride, padding, dilation, groups):
    return Conv(torch.from_numpy(weight), None, shape, stride, padding, dilation, groups)


# --- spectra of circular convolutions --------------------------------------------------------------------------------


@pytest.mark.big(sample=12)
@pytest.mark.parametrize("seed", range(300))
def test_spectrum_equals_dense_svd(seed):
    weight, (c_in, *size), stride, _, dilation, groups = draw_conv(seed, axes=1 + seed % 2)
    size = tuple(n + -n % s for n, s in zip(size, stride, strict=True))
    conv = node(weight, (c_in, *size), stride, ((0, 0),) * len(size), dilation, groups)
    dense = np.linalg.svd(
        oracle.convolution(weight, size, stride, None, dilation, groups, circular=True), compute_uv=False
    )
    result = conv_spectrum(conv, (c_in, *size))
    assert result.values.shape == dense.shape
    well = dense > 1e-3 * dense[0]
    np.testing.assert_allclose(result.values[well], dense[well], rtol=1e-10, atol=0)
    np.testing.assert_allclose(result.values, dense, rtol=0, atol=2e-8 * max(dense[0], 1e-300))
    assert dense[0] * (1 - 1e-13) <= result.upper <= dense[0] * (1 + 1e-9) + 1e-300
    assert result.rank == np.linalg.matrix_rank(np.diag(dense), tol=1e-7 * dense[0] if dense[0] else 1)


def test_ill_conditioned_spectrum_is_as_good_as_an_svd():
    torch.manual_seed(0)
    weight = torch.randn(6, 6, 3, 3, dtype=torch.float64)
    weight[0] = weight[1] + 1e-6 * weight[0]
    conv = Conv(weight, None, (6, 5, 5), (1, 1), ((0, 0),) * 2, (1, 1))
    dense = np.linalg.svd(oracle.convolution(weight.numpy(), (5, 5), circular=True), compute_uv=False)
    values = conv_spectrum(conv, (6, 5, 5)).values
    assert dense[0] / dense[-1] > 1e5
    np.testing.assert_allclose(values, dense, rtol=0, atol=1e-13 * dense[0])


def test_chunks_give_the_same_spectrum():
    weight, shape, _, _, dilation, groups = draw_conv(1)
    conv = node(weight, (shape[0], 6, 8), (1, 2), ((0, 0),) * 2, dilation, groups)
    whole = conv_spectrum(conv, conv.input_shape)
    parts = conv_spectrum(conv, conv.input_shape, progress=Progress(max_bytes=2000))
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-12, atol=1e-12)


def test_spectrum_of_a_module_ignores_its_padding():
    torch.manual_seed(0)
    module = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", stride=2).double()
    dense = oracle.convolution(module.weight.detach().numpy(), (4, 6), (2, 2), circular=True)
    np.testing.assert_allclose(conv_spectrum(module, (2, 4, 6)).values, np.linalg.svd(dense, compute_uv=False))


def test_spectrum_refuses_what_makes_no_sense():
    conv = nn.Conv2d(2, 3, 3, stride=2)
    with pytest.raises(ArgumentError, match=r"stride 2 needs sizes that 2 divides; got 5. Use 4 or 6"):
        conv_spectrum(conv, (2, 5, 6))
    with pytest.raises(ShapeError, match="reads 2 channels"):
        conv_spectrum(conv, (3, 6, 6))
    with pytest.raises(ArgumentError, match="give a torch"):
        conv_spectrum(nn.Linear(2, 2), (2, 6, 6))
    with pytest.raises(BudgetReached):
        conv_spectrum(conv, (2, 6, 6), progress=Progress(max_seconds=0.0))
    with pytest.raises(MemoryBudgetError, match="singular values"):
        conv_spectrum(conv, (2, 6, 6), progress=Progress(max_bytes=10))
    conv.weight.data[0] = torch.nan
    with pytest.raises(DataError, match="NaN"):
        conv_spectrum(conv, (2, 6, 6))


def test_spectrum_of_nothing_and_of_zeros():
    empty = Conv(torch.zeros(0, 2, 1, 1), None, (2, 3, 3), (1, 1), ((0, 0),) * 2, (1, 1))
    result = conv_spectrum(empty, (2, 3, 3))
    assert (len(result.values), result.rank, result.upper) == (0, 0, 0.0)
    assert "empty" in result.summary()
    zero = Conv(torch.zeros(1, 2, 1, 1), None, (2, 3, 3), (1, 1), ((0, 0),) * 2, (1, 1))
    result = conv_spectrum(zero, (2, 3, 3))
    assert (result.rank, result.upper, result.condition) == (0, 0.0, math.inf)


def test_unit_roots_are_within_their_stated_error():
    from fractions import Fraction

    import flint

    for m in (1, 2, 3, 7, 227):
        for j, root in enumerate(unit_roots(m)):
            turn = flint.fmpq(2 * j, m)
            with flint.ctx.workprec(200):
                errors = [
                    flint.arb.cos_pi_fmpq(turn) - flint.arb(root.real),
                    flint.arb.sin_pi_fmpq(turn) - flint.arb(root.imag),
                ]
                assert all(abs(float(e)) <= float(Fraction(2, 2**53)) for e in errors)


# --- brackets of convolutions ----------------------------------------------------------------------------------------


@pytest.mark.big(sample=12)
@pytest.mark.parametrize("seed", range(300))
def test_brackets_hold_the_dense_norm(seed):
    weight, shape, stride, padding, dilation, groups = draw_conv(seed, axes=1 + seed % 2)
    conv = node(weight, shape, stride, padding, dilation, groups)
    true = oracle.norm(oracle.convolution(weight, shape[1:], stride, padding, dilation, groups))
    torus = torus_upper(conv, enclosing_size(conv), EFFORT)
    assert true * (1 - 1e-13) <= torus
    found = bracket(conv, (shape,), EFFORT)
    assert found.lower <= true * (1 + 1e-13)
    assert true * (1 - 1e-13) <= found.upper
    assert found.width <= 0.01


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "size"),
    [((3, 32), 3, 1, 1, 32), ((32, 64), 3, 2, 1, 32), ((64, 64), 3, 1, 1, 16), ((32, 64), 3, 2, 1, 16)],
)
def test_brackets_are_narrow_for_images(channels, kernel, stride, padding, size):
    """Layers of WideCIFAR; the torus alone, without an unrolled matrix."""
    torch.manual_seed(size)
    weight = nn.Conv2d(*channels, kernel).weight.detach().double()
    conv = Conv(weight, None, (channels[0], size, size), (stride,) * 2, ((padding,) * 2,) * 2, (1, 1))
    found = bracket(conv, (conv.input_shape,), Effort(1e-2, Progress()))
    assert found.method == "torus"
    assert found.width <= 0.01


def test_same_size_torus_is_no_bound():
    """Why the torus must be larger: with zero padding windows wrap onto the other side."""
    rng = np.random.default_rng(0)
    below = 0
    for _ in range(40):
        weight = rng.normal(size=(1, 1, 3, 3))
        conv = node(weight, (1, 2, 2), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
        true = oracle.norm(oracle.convolution(weight, (2, 2), None, ((1, 1), (1, 1))))
        below += torus_upper(conv, (2, 2), EFFORT) < true * (1 - 1e-9)
        assert torus_upper(conv, enclosing_size(conv), EFFORT) >= true * (1 - 1e-13)
    assert below


def test_torus_blocks_err_by_less_than_stated():
    weight, shape, stride, _, dilation, groups = draw_conv(4)
    torus = on_torus(node(weight, shape, stride, ((0, 0),) * 2, dilation, groups), tuple(12 for _ in shape[1:]))
    exact = next(b for _, b in torus.blocks(2**30))
    frequencies = [np.arange(m) for m in torus.half]
    for f, (a, b) in enumerate((a, b) for a in frequencies[0] for b in frequencies[1]):
        for g in range(groups):
            slow = np.zeros(torus.block, dtype=complex)
            for o, i, u, v in np.ndindex(*torus.weight.shape[1:]):
                (p, r), (q, s) = divmod(u * dilation[0] % 12, stride[0]), divmod(v * dilation[1] % 12, stride[1])
                turn = a * p / torus.grid[0] + b * q / torus.grid[1]
                column = (r * stride[1] + s) * torus.weight.shape[2] + i
                slow[o, column] += float(torus.weight[g, o, i, u, v]) * np.exp(2j * np.pi * turn)
            assert np.linalg.norm(slow - exact[g, f].numpy()) <= 50 * torus.error


# --- other nodes -----------------------------------------------------------------------------------------------------


def dense_of(op):
    return op.entries()[0].toarray()


def test_dense_transposed_gather_scale():
    rng = np.random.default_rng(0)
    W = torch.from_numpy(rng.normal(size=(4, 6)))
    for op in (Dense(W, None, (6,)), Dense(W, None, (3, 6)), Transposed(Dense(W, None, (6,)), None, (6,))):
        found = bracket(op, ((6,),), EFFORT)
        true = oracle.norm(W.numpy())
        assert found.lower <= true <= found.upper
        assert found.width < 1e-9
    gather = Gather(torch.tensor([0, 0, 0, 1, -1, 2]), (3,), (6,))
    assert bracket(gather, ((3,),), EFFORT).upper == pytest.approx(math.sqrt(3), rel=1e-12)
    assert bracket(gather, ((3,),), EFFORT).lower <= math.sqrt(3) <= bracket(gather, ((3,),), EFFORT).upper
    scale = Scale(torch.tensor([1.0, -4.0]).double(), None, (2,), torch.tensor(3.0).double())
    found = bracket(scale, ((2,),), EFFORT)
    assert found.lower <= 4 / 3 <= found.upper
    assert found.width < 1e-14


def test_choices():
    cases = [(relu((3,)), 1.0), (leaky_relu((3,), 0.1), 1.0), (leaky_relu((3,), -3.0), 3.0), (absolute((2,)), 1.0),
             (clip((2,), -1.0, 1.0), 1.0), (soft_threshold((2,), 0.5), 1.0), (relu((0,)), 0.0)]  # fmt: skip
    for op, constant in cases:
        found = bracket(op, (op.input_shape,), EFFORT)
        assert (found.lower, found.upper) == (constant, constant)


def test_pools_stretch_by_the_root_of_their_overlap():
    apart = windows((2, 4, 4), (2, 2), stride=(2, 2), padding=((0, 0),) * 2, dilation=(1, 1))
    assert bracket(apart, (apart.input_shape,), EFFORT).upper == 1.0
    overlap = windows((1, 5, 5), (3, 3), stride=(2, 2), padding=((0, 0),) * 2, dilation=(1, 1))
    assert bracket(overlap, (overlap.input_shape,), EFFORT).upper == pytest.approx(2.0, rel=1e-12)
    twice = MaxOver(torch.tensor([[0, 0, 1], [2, 3, -1]]), (4,), (2,))
    assert bracket(twice, ((4,),), EFFORT).upper == 1.0  # a unit named twice in one group counts once
    # attained: one unit that wins all its windows
    x = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 2, 2] = 1.0
    assert float((overlap.value(x) - overlap.value(0 * x)).norm()) == 2.0


def test_empty_zero_and_nan_layers():
    assert bracket(Dense(torch.zeros(0, 3), None, (3,)), ((3,),), EFFORT).method == "empty"
    zero = bracket(Dense(torch.zeros(2, 3).double(), None, (3,)), ((3,),), EFFORT)
    assert (zero.lower, zero.upper, zero.width) == (0.0, 0.0, 0.0)
    broken = bracket(Dense(torch.full((2, 3), math.nan).double(), None, (3,)), ((3,),), EFFORT)
    assert (broken.lower, broken.upper) == (0.0, math.inf)
    assert "NaN" in broken.method
    result = lipschitz(nn.Sequential(nn.Linear(2, 2), _poisoned()))
    assert result.product == math.inf
    assert "no bound" in repr(result)


def _poisoned():
    layer = nn.Linear(2, 1)
    layer.weight.data[0, 0] = math.inf
    return layer


# --- proofs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_upper_bounds_are_above_the_exact_norm(seed):
    """Matrices whose norm is known exactly, scaled over the whole range of floats."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 9))
    signs = np.sign(rng.normal(size=(k, k)))  # |A|_2^2 is the largest eigenvalue of an integer matrix
    from fractions import Fraction

    scale = 2.0 ** float(rng.integers(-150, 150))
    bound = norm_upper(torch.from_numpy(signs * scale)[None])
    import flint

    gram = flint.fmpz_mat((signs @ signs.T).astype(int).tolist())
    # p(t) = det(t I - gram) has no sign change above the largest root: test the bound's square exactly
    square = Fraction(bound) ** 2 / Fraction(scale) ** 2
    poly = flint.fmpq_poly(gram.charpoly().coeffs())
    derivative = poly
    while derivative.degree() >= 0:  # all derivatives positive at the bound: no root above it
        assert derivative(flint.fmpq(square.numerator, square.denominator)) >= 0
        derivative = derivative.derivative()
    top = float(np.linalg.norm(signs, 2)) * scale
    assert bound <= top * (1 + 1e-11)
    lower = gain(Dense(torch.from_numpy(signs * scale), None, (k,)), torch.from_numpy(np.linalg.svd(signs)[2][0]))
    assert top * (1 - 1e-11) <= lower <= bound


def test_a_block_that_a_guess_misses_is_still_bounded():
    """The largest block is one where the guess by few power steps is poor: the factorisation notices."""
    blocks = torch.eye(40, dtype=torch.float64).repeat(50, 1, 1)
    blocks[:, 0, 0] = 1.0 + 1e-3 * torch.arange(50)
    blocks[33] = torch.diag(torch.linspace(0.1, 1.0499, 40, dtype=torch.float64))
    assert norm_upper(blocks) >= 1.0499
    assert largest_eigenvalue(blocks @ blocks.mT) >= 1.0499**2


def test_out_of_range_gives_no_bound():
    huge = torch.full((1, 2, 2), 1e300, dtype=torch.float64)
    assert norm_upper(huge) == math.inf
    assert norm_upper(torch.full((1, 2, 2), math.nan, dtype=torch.float64)) == math.inf
    assert gain(Dense(huge[0], None, (2,)), torch.ones(2, dtype=torch.float64)) == 0.0
    assert norm_upper(torch.zeros(3, 2, 0, dtype=torch.float64)) == 0.0


def test_sums_and_concatenations_in_the_product():
    from plica.core.network import INPUT, Graph

    graph = Graph((2,))
    double = graph.add("double", Scale(torch.tensor(2.0).double(), None, (2,)), INPUT)
    total = graph.add("sum", Sum((1.0, -3.0), (2,)), double, INPUT)
    graph.add("cat", Concat(0, ((2,), (2,))), total, double)
    result = lipschitz(graph.network(), tight=False)
    assert result.product == pytest.approx(math.sqrt(25 + 4), rel=1e-12)
