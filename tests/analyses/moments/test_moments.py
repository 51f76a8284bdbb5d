"""moments(): exact against sampling on every kind of graph, methods, forms of covariance, budgets, bad input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from oracles import gaussian as oracle
from plica.analyses.moments import LowRank, MomentsResult, differentiable_moments, linearise, moments
from plica.core import choice
from plica.core.affine import Concat, Dense, Gather, Scale, Sum, reshape
from plica.core.choice import MaxOver, relu
from plica.core.conv import Conv
from plica.core.network import INPUT, Graph
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, DataError, MemoryBudgetError, ShapeError

OPS = {
    "relu": relu,
    "leaky": lambda shape: choice.leaky_relu(shape, 0.2),
    "abs": choice.absolute,
    "clip": lambda shape: choice.clip(shape, -1.0, 1.0),
    "soft": lambda shape: choice.soft_threshold(shape, 0.3),
}


class Draw:
    """Seeded weights."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def dense(self, m: int, n: int) -> Dense:
        return Dense(self(m, n) / math.sqrt(n), self(m), (n,))


def chain(op, widths=(5, 8, 3), seed=0):
    draw, graph, value = Draw(seed), Graph((widths[0],)), INPUT
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        value = graph.add(f"dense{i}", draw.dense(m, n), value)
        if i < len(widths) - 2:
            value = graph.add(f"act{i}", op((m,)), value)
    return graph.network()


def residual(seed=1):
    """x + f(Ax), then a readout."""
    draw, graph = Draw(seed), Graph((4,))
    a = graph.add("a", draw.dense(4, 4), INPUT)
    f = graph.add("f", relu((4,)), a)
    both = graph.add("sum", Sum((1.0, 1.0), (4,)), INPUT, f)
    graph.add("out", draw.dense(3, 4), both)
    return graph.network()


def parallel(seed=2):
    """Two layers of choices side by side (concatenated ReLU and abs), both of affine functions."""
    draw, graph = Draw(seed), Graph((4,))
    a, b = graph.add("a", draw.dense(5, 4), INPUT), graph.add("b", draw.dense(3, 4), INPUT)
    f, g = graph.add("f", relu((5,)), a), graph.add("g", choice.absolute((3,)), b)
    both = graph.add("both", Concat(0, ((5,), (3,))), f, g)
    graph.add("out", draw.dense(3, 8), both)
    return graph.network()


def maxout(groups, size=9, seed=3):
    draw, graph = Draw(seed), Graph((4,))
    a = graph.add("a", draw.dense(size, 4), INPUT)
    m = graph.add("max", MaxOver(torch.tensor(groups), (size,), (len(groups),)), a)
    graph.add("out", draw.dense(3, len(groups)), m)
    return graph.network()


def convolutional(deep: bool, seed=4):
    """Convolution, ReLU, (convolution, ReLU, skip,) average pool, dense."""
    draw, graph, shape = Draw(seed), Graph((2, 6, 6)), (3, 6, 6)

    def conv(c):
        return Conv(draw(3, c, 3, 3) / (3 * math.sqrt(c)), draw(3, 1, 1), (c, 6, 6), (1, 1), ((1, 1), (1, 1)), (1, 1))

    value = graph.add("relu0", relu(shape), graph.add("conv0", conv(2), INPUT))
    if deep:
        inner = graph.add("relu1", relu(shape), graph.add("conv1", conv(3), value))
        value = graph.add("skip", Sum((1.0, 1.0), shape), inner, value)
    quarter = torch.tensor(0.25, dtype=torch.float64).expand(3, 1, 2, 2)
    pool = Conv(quarter.clone(), None, shape, (2, 2), ((0, 0), (0, 0)), (1, 1), groups=3)
    value = graph.add("flat", reshape((3, 3, 3), (27,)), graph.add("pool", pool, value))
    graph.add("out", draw.dense(4, 27), value)
    return graph.network()


EXACT = {
    **{name: (lambda op=op: chain(op)) for name, op in OPS.items()},
    "residual": residual,
    "parallel": parallel,
    "max of two": lambda: maxout([[0, 1], [2, 3], [3, 4], [5, -1], [-1, 6]]),
    "conv": lambda: convolutional(deep=False),
    "no choice": lambda: chain(relu, (4, 3)),
}


def law(net, seed=9):
    """A mean and a full covariance."""
    draw, n = Draw(seed), math.prod(net.input_shape)
    F = draw(n, n) / math.sqrt(n)
    return draw(*net.input_shape).numpy(), (F @ F.T).numpy()


@pytest.mark.parametrize("name", EXACT)
def test_exact_moments_agree_with_sampling(name):
    net = EXACT[name]()
    mean, cov = law(net)
    result, sampled = moments(net, mean, cov), moments(net, mean, cov, method="monte_carlo", samples=40_000, seed=1)
    assert (result.method, result.standing) == ("exact", Standing.NUMERICAL)
    assert (sampled.method, sampled.standing) == ("monte_carlo", Standing.ESTIMATE)
    by_mean, by_cov = result.standardised_errors(sampled)
    assert np.abs(by_mean).max() < 5
    assert np.abs(by_cov).max() < 6
    assert np.linalg.eigvalsh(result.covariance)[0] > -1e-12
    assert np.array_equal(result.covariance, result.covariance.T)
    assert result.mean.shape == net.output_shape
    assert "exact" in repr(result)


@pytest.mark.parametrize("r", [0.3, -0.8, 1.0])
def test_max_of_two_is_clarks(r):
    graph = Graph((2,))
    graph.add("max", MaxOver(torch.tensor([[0, 1]]), (2,), (1,)), INPUT)
    m, s = (0.3, -0.2), (1.5, 0.7)
    cov = np.array([[s[0] ** 2, r * s[0] * s[1]], [r * s[0] * s[1], s[1] ** 2]])
    result = moments(graph.network(), m, cov)
    mean, variance = oracle.max_of_two(m, s, r)
    assert result.mean[0] == pytest.approx(float(mean), abs=1e-14)
    assert result.covariance[0, 0] == pytest.approx(float(variance), abs=1e-14)


def test_affine_relu_affine_by_hand():
    """B Cov B' + c2: weights, biases and order of the readout."""
    net = chain(relu, (3, 2, 2))
    A, B = net["dense0"].op, net["dense1"].op
    mean, cov = law(net)
    z, S = A.weight.numpy() @ mean + A.bias.numpy(), A.weight.numpy() @ cov @ A.weight.numpy().T
    s = np.sqrt(np.diag(S))
    pairs = [
        [
            oracle.covariance(
                oracle.RELU, oracle.RELU, (z[i], z[j]), (s[i], s[j]), 1 if i == j else S[i, j] / s[i] / s[j]
            )
            for j in range(2)
        ]
        for i in range(2)
    ]
    means = np.array([float(oracle.mean(oracle.RELU, z[i], s[i])) for i in range(2)])
    result = moments(net, mean, cov)
    weight = B.weight.numpy()
    assert np.allclose(result.mean, weight @ means + B.bias.numpy(), rtol=0, atol=1e-14)
    assert np.allclose(result.covariance, weight @ np.array(pairs, dtype=float) @ weight.T, rtol=0, atol=1e-14)


# --- forms of covariance ----------------------------------------------------------------------------------------


def test_forms_of_covariance_agree():
    net, draw = chain(relu), Draw(5)
    mean, variances, F = draw(5).numpy(), np.array([0.5, 0.0, 2.0, 1e-6, 1.0]), draw(5, 2).numpy()
    pairs = [
        (variances, np.diag(variances)),
        (0.3, 0.3 * np.eye(5)),
        (LowRank(F), F @ F.T),
        (LowRank(np.diag(np.sqrt(variances))), variances),
        (torch.from_numpy(variances), variances.tolist()),
    ]
    for one, other in pairs:
        a, b = moments(net, mean, one), moments(net, mean, other)
        assert np.allclose(a.mean, b.mean, rtol=0, atol=1e-14)
        assert np.allclose(a.covariance, b.covariance, rtol=0, atol=1e-14)


@pytest.mark.parametrize("cov", [0.0, np.zeros((5, 5)), np.zeros(5), LowRank(np.zeros((5, 0)))])
@pytest.mark.parametrize("method", ["exact", "moment_matching", "two_stage", "monte_carlo"])
def test_no_noise_gives_the_networks_output(cov, method):
    net, mean = chain(relu), np.array([0.0, 1.0, -1.0, 2.0, 0.5])
    result = moments(net, mean, cov, method=method, samples=10)
    assert np.allclose(result.mean, net(torch.from_numpy(mean)).numpy(), rtol=0, atol=1e-14)
    assert np.abs(result.covariance).max() < 1e-28


def test_noise_in_a_window_only():
    """Constant inputs take no part, and cost nothing: the matrix of a window has its size, not the image's."""
    net = convolutional(deep=False)
    mean, variances = law(net)[0], np.zeros((2, 6, 6))
    variances[:, 1:3, 1:3] = 0.4
    full = moments(net, mean, np.diag(variances.ravel()))
    assert np.allclose(moments(net, mean, variances).covariance, full.covariance, rtol=0, atol=1e-14)


# --- approximations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "within"),
    [
        (chain(relu, (6, 12, 12, 12, 3)), 0.2),
        (convolutional(deep=True), 0.1),
        (maxout([[0, 1, 2], [3, 4, -1], [5, -1, -1], [6, 7, 8]]), 0.15),
    ],
    ids=["dense", "conv, average pool, residual", "max of three"],
)
def test_moment_matching_is_near_and_says_that_it_is_approximate(net, within):
    mean, cov = law(net)
    result = moments(net, mean, cov)
    sampled = moments(net, mean, cov, method="monte_carlo", samples=40_000)
    assert (result.method, result.standing) == ("moment_matching", Standing.ESTIMATE)
    assert "approximation" in result.reason
    scale = sampled.standard_deviation
    assert np.abs((result.mean - sampled.mean) / scale).max() < within
    assert np.abs((result.covariance - sampled.covariance) / np.outer(scale, scale)).max() < within


def test_moment_matching_of_one_layer_is_exact():
    net = chain(relu)
    mean, cov = law(net)
    assert np.array_equal(
        moments(net, mean, cov, method="moment_matching").covariance, moments(net, mean, cov).covariance
    )


def test_two_stage_is_exact_for_the_linearised_network():
    net = chain(relu, (5, 8, 7, 3))
    mean, cov = law(net)
    for layer in ("act0", "act1"):
        result = moments(net, mean, cov, method="two_stage", layer=layer)
        frozen = linearise(net, layer, mean)
        sampled = moments(frozen, mean, cov, method="monte_carlo", samples=40_000)
        by_mean, by_cov = result.standardised_errors(sampled)
        assert max(np.abs(by_mean).max(), np.abs(by_cov).max()) < 5
        assert result.standing == Standing.ESTIMATE
        assert layer in result.reason
    assert np.array_equal(moments(net, mean, cov, method="two_stage").mean, result.mean)  # the last layer by default


def test_two_stage_is_right_for_small_noise():
    """Where no frozen choice changes, the linearised network is the network."""
    net = chain(relu, (5, 8, 7, 3))
    mean, cov = law(net)
    x = torch.from_numpy(mean)
    for layer in net.choices:
        assert torch.allclose(linearise(net, layer, x)(x), net(x), rtol=1e-13)
        assert linearise(net, layer, x).choices == (layer,)
    tiny = moments(net, mean, 1e-12 * cov, method="two_stage", layer="act0")
    jacobian = torch.autograd.functional.jacobian(net, x).numpy()
    assert np.allclose(tiny.covariance, 1e-12 * jacobian @ cov @ jacobian.T, rtol=1e-6)


# --- sampling ---------------------------------------------------------------------------------------------------


def test_standard_errors_cover_at_the_stated_rate():
    """95 % intervals over 60 seeds and all outputs hold the exact values in 88 to 99 % of the cases."""
    net = chain(relu)
    mean, cov = law(net)
    exact = moments(net, mean, cov)
    inside = []
    for seed in range(60):
        sampled = moments(net, mean, cov, method="monte_carlo", samples=2000, seed=seed)
        by_mean, by_cov = exact.standardised_errors(sampled)
        inside += [np.abs(by_mean) < 1.96, np.abs(by_cov[np.triu_indices(3)]) < 1.96]
    assert 0.88 < np.concatenate(inside).mean() < 0.99


def test_seeds_decide_the_samples():
    net = chain(relu)
    mean, cov = law(net)
    a, b, c = (moments(net, mean, cov, method="monte_carlo", samples=9000, seed=s) for s in (1, 1, 2))
    assert np.array_equal(a.covariance, b.covariance)
    assert not np.array_equal(a.mean, c.mean)
    assert a.samples == 9000
    assert np.allclose(a.standard_error**2 * 9000, a.covariance.diagonal(), rtol=1e-12)
    assert a.header["seed"] == 1


def test_a_budget_of_time_ends_sampling_early():
    net, calls = chain(relu), []
    progress = Progress(max_seconds=1000.0)

    def listen(label: str, done: int, total: int | None) -> None:
        calls.append(done)
        if done == 3:
            progress.max_seconds = 0.0

    progress.listener = listen
    result = moments(net, np.zeros(5), 1.0, method="monte_carlo", samples=10**6, progress=progress)
    assert result.completeness == Completeness.BUDGET
    assert 2 * 4096 <= result.samples < 10**6
    with pytest.raises(BudgetReached):
        moments(net, np.zeros(5), 1.0, method="monte_carlo", progress=Progress(max_seconds=0.0))


@pytest.mark.parametrize("method", ["exact", "monte_carlo"])
def test_memory_is_refused_with_arithmetic(method):
    with pytest.raises(MemoryBudgetError, match=r"GiB as float64\), above max_bytes"):
        moments(chain(relu), np.zeros(5), 1.0, method=method, progress=Progress(max_bytes=500))


# --- gradients through a network --------------------------------------------------------------------------------


def test_gradients_through_a_network():
    """By mean, covariance and weights of a deep network, against central differences along random directions."""
    net, draw = chain(relu, (4, 6, 5, 2)), Draw(8)
    mean, cov = (torch.from_numpy(v).requires_grad_() for v in law(net))
    weight = net["dense0"].op.weight.requires_grad_()

    def value() -> torch.Tensor:
        m, c = differentiable_moments(net, mean, cov)
        return m.sum() + c.diagonal().sum() + c[0, 1]

    leaves = (mean, cov, weight)
    slopes = torch.autograd.grad(value(), leaves)
    for leaf, slope in zip(leaves, slopes, strict=True):
        step = draw(*leaf.shape)
        step = step + step.T if leaf is cov else step
        ends = []
        for h in (1e-6, -1e-6):
            with torch.no_grad():
                leaf += h * step
                ends.append(float(value()))
                leaf -= h * step
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float((slope * step).sum()), rel=1e-6, abs=1e-8)


# --- bad input --------------------------------------------------------------------------------------------------

INDEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]])


@pytest.mark.parametrize(
    ("mean", "cov", "error", "words"),
    [
        ([0.0, 0.0], INDEFINITE, DataError, "indefinite.*-1"),
        ([0.0, 0.0], 1e-9 * INDEFINITE, DataError, "indefinite"),
        ([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]], DataError, r"not symmetric.*0\.5.*0\.4"),
        ([0.0, 0.0], [[0.0, 0.5], [0.5, 1.0]], DataError, "variance 0"),
        ([0.0, 0.0], [[-1.0, 0.0], [0.0, 1.0]], DataError, "variance of input 0 is -1"),
        ([0.0, 0.0], [1.0, -2.0], DataError, "variance of input 1 is -2"),
        ([0.0, 0.0], -1.0, DataError, "not negative"),
        ([0.0, math.nan], 1.0, DataError, "NaN or infinite"),
        ([0.0, 0.0], [1.0, math.inf], DataError, "NaN or infinite"),
        ([0.0, 0.0], LowRank(np.array([[math.nan], [0.0]])), DataError, "NaN or infinite"),
        ([0.0] * 3, 1.0, ShapeError, "2 numbers"),
        ([0.0, 0.0], np.eye(3), ShapeError, "2 variances"),
        ([0.0, 0.0], LowRank(np.eye(3)), ShapeError, "one row per input"),
        ("text", 1.0, ArgumentError, "not an array of numbers"),
        ([0.0, 1j], 1.0, ArgumentError, "numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_bad_input_is_refused(mean, cov, error, words):
    with pytest.raises(error, match=words):
        moments(chain(relu, (2, 3, 1)), mean, cov)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "exact"}, "no choice comes after another"),
        ({"method": "guess"}, "choose one of exact"),
        ({"method": "monte_carlo", "samples": 1}, "at least 2"),
        ({"method": "two_stage", "layer": "dense0"}, "not a choice layer"),
        ({"method": "two_stage", "layer": "nowhere"}, "no node of that name"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ArgumentError, match=words):
        moments(chain(relu, (2, 3, 3, 1)), [0.0, 0.0], 1.0, **options)


def test_two_stage_of_an_affine_network_is_refused():
    with pytest.raises(ArgumentError, match="this network is affine"):
        moments(chain(relu, (2, 1)), [0.0, 0.0], 1.0, method="two_stage")


def test_rounding_of_a_covariance_is_forgiven():
    """Sample covariances of fewer samples than inputs have eigenvalues of rounding below 0."""
    X = np.random.default_rng(0).standard_normal((20, 60)) * 10.0 ** np.linspace(-4, 4, 60)
    net = chain(relu, (60, 8, 2))
    assert np.isfinite(moments(net, np.zeros(60), np.cov(X.T)).covariance).all()


def test_scale_gather_and_integers_are_ordinary():
    graph = Graph((3,))
    a = graph.add(
        "scale", Scale(torch.tensor([2.0, 0.0, -1.0]).double(), None, (3,), torch.tensor(3.0).double()), INPUT
    )
    b = graph.add("pick", Gather(torch.tensor([0, 0, 2, -1]), (3,), (4,)), a)
    graph.add("relu", relu((4,)), b)
    result = moments(graph.network(), np.array([1, 2, 3]), np.eye(3, dtype=int))
    assert isinstance(result, MomentsResult)
    assert result.covariance[0, 1] == pytest.approx(result.covariance[0, 0])
    assert not result.covariance[3].any()


def test_standardised_errors_need_samples():
    net = chain(relu)
    exact = moments(net, np.zeros(5), 1.0)
    with pytest.raises(ArgumentError, match="needs 'monte_carlo'"):
        exact.standardised_errors(exact)
    with pytest.raises(ArgumentError, match="outputs have shape"):
        exact.standardised_errors(moments(chain(relu, (5, 8, 2)), np.zeros(5), 1.0, method="monte_carlo", samples=9))
