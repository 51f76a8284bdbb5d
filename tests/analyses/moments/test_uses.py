"""Batches of moments, points of linearisation, fooling rates and maps, against the paper's formulas by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import zoo
from oracles import noise as oracle
from plica.analyses.moments import LowRank, linearise, moments
from plica.analyses.moments.uses import batch_moments, fooling_map, fooling_rate, linearisation_points
from plica.analyses.moments.uses.fooling import windows_of
from plica.core.affine import Dense, reshape
from plica.core.choice import relu
from plica.core.network import INPUT, Graph
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, DataError, MemoryBudgetError, ShapeError


def chain(*widths, seed=0):
    draw = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(widths))
    return [(draw.standard_normal((m, n)) / math.sqrt(n), draw.standard_normal(m) / 2) for n, m in pairs]


def network(weights, shape=None):
    n = weights[0][0].shape[1]
    graph, value = Graph(shape or (n,)), INPUT
    if shape:
        value = graph.add("flat", reshape(shape, (n,)), value)
    for i, (W, b) in enumerate(weights):
        value = graph.add(f"dense{i}", Dense(torch.tensor(W), torch.tensor(b), (W.shape[1],)), value)
        if i < len(weights) - 1:
            value = graph.add(f"relu{i}", relu((len(b),)), value)
    return graph.network()


WEIGHTS = chain(6, 9, 7, 4)
NET = network(WEIGHTS)
X = np.random.default_rng(1).standard_normal((12, 6))


# --- batches of moments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1])
def test_batches_are_the_papers_two_stages(keep):
    root = np.random.default_rng(2).standard_normal((6, 6)) / 3
    cov = root @ root.T
    result = batch_moments(NET, X, cov, layer=f"relu{keep}")
    assert result.method == "two_stage" and result.standing is Standing.ESTIMATE and f"relu{keep}" in result.reason
    for i, x in enumerate(X):
        A, c1, B, c2 = oracle.two_stage(WEIGHTS, keep, x)
        assert result.mean[i] == pytest.approx(oracle.theorem_1(A, c1, B, c2, x, cov), rel=1e-12)
        assert result.centred_variance[i] == pytest.approx(oracle.theorem_2_variance(A, B, cov), rel=1e-10)
        whole = moments(NET, x, cov, method="two_stage", layer=f"relu{keep}")
        assert result.variance[i] == pytest.approx(np.diag(whole.covariance), rel=1e-11)


def test_centred_variance_ignores_the_mean():
    first, moved = (batch_moments(network(WEIGHTS[:2]), x, 0.3) for x in (X, X + 1))
    assert first.method == "exact" and first.standing is Standing.NUMERICAL
    assert np.array_equal(first.centred_variance, moved.centred_variance)
    assert not np.allclose(first.variance, moved.variance)


def test_points_serve_the_inputs_nearest_to_them():
    points = linearisation_points(X, 3, seed=1)
    result = batch_moments(NET, X, 0.2, points=points.centres)
    gaps = ((X[:, None] - points.centres[None]) ** 2).sum(2)
    assert result.points.tolist() == gaps.argmin(1).tolist() == points.cluster.tolist()
    for i, x in enumerate(X):
        stages = oracle.two_stage(WEIGHTS, 1, points.centres[result.points[i]])
        assert result.mean[i] == pytest.approx(oracle.theorem_1(*stages, x, 0.2 * np.eye(6)), rel=1e-12)
    given = batch_moments(NET, X, 0.2, points=points.farthest, assigned=points.cluster)
    stages = oracle.two_stage(WEIGHTS, 1, points.farthest[given.points[0]])
    assert given.mean[0] == pytest.approx(oracle.theorem_1(*stages, X[0], 0.2 * np.eye(6)), rel=1e-12)


def test_farthest_inputs_are_the_farthest():
    points = linearisation_points(X, 4)
    for c in range(4):
        own = X[points.cluster == c]
        gaps = np.linalg.norm(own - points.centres[c], axis=1)
        assert np.allclose(points.centres[c], own.mean(0), atol=1e-6)
        assert np.array_equal(points.farthest[c], own[gaps.argmax()])


def test_as_many_points_as_inputs_are_the_inputs():
    points = linearisation_points(X, len(X))
    assert np.array_equal(points.centres, X) and points.cluster.tolist() == list(range(12))
    for k in (0, 13):
        with pytest.raises(ArgumentError, match="points between 1"):
            linearisation_points(X, k)


@pytest.mark.big(sample=6)
@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("degenerate", [False, True])
@pytest.mark.parametrize("form", ["number", "matrix", "low rank", "window"])
def test_batches_on_every_kind_of_network(kind, degenerate, form):
    data, draw = zoo.random_net(kind, 7, degenerate=degenerate)
    net = zoo.build(data)
    n = math.prod(net.input_shape)
    points = np.stack([draw.point(n) for _ in range(3)]).reshape(3, *net.input_shape)
    root = draw.rng.standard_normal((n, 2))
    cov = {"number": 0.3, "matrix": root @ root.T, "low rank": LowRank(root), "window": np.arange(n) % 2 * 0.5}[form]
    result = batch_moments(net, points, cov)
    for i, x in enumerate(points):
        part = linearise(net, result.reason.split("'")[1], x) if result.method == "two_stage" else net
        expected = moments(part, x, cov, method="exact")
        assert result.mean[i] == pytest.approx(expected.mean.ravel(), rel=1e-10, abs=1e-12)
        assert result.variance[i] == pytest.approx(np.diag(expected.covariance), rel=1e-9, abs=1e-12)


def test_affine_networks_need_no_layer():
    net = network(WEIGHTS[:1])
    result = batch_moments(net, X, 0.5)
    W, b = WEIGHTS[0]
    assert np.allclose(result.mean, X @ W.T + b) and np.allclose(result.variance, 0.5 * (W**2).sum(1))
    with pytest.raises(ArgumentError, match="not a choice layer"):
        batch_moments(net, X, 0.5, layer="dense0")


def test_budget_returns_the_inputs_that_are_done():
    clock = []

    def stop(label, done, total):
        if label == "inputs":
            clock.append(done)
            if done == 5:
                raise KeyboardInterrupt

    result = batch_moments(NET, X, 0.2, progress=Progress(listener=stop))
    assert result.completeness is Completeness.INTERRUPTED
    assert len(result.mean) == len(result.inputs) == 5
    whole = batch_moments(NET, X, 0.2)
    assert np.array_equal(result.mean, whole.mean[result.inputs])
    with pytest.raises(BudgetReached):
        batch_moments(NET, X, 0.2, progress=Progress(max_seconds=0.0))


def test_bad_points():
    with pytest.raises(ArgumentError, match="assigned"):
        batch_moments(NET, X, 0.2, points=X[:2], assigned=np.full(12, 2))
    with pytest.raises(ShapeError):
        batch_moments(NET, X, 0.2, points=np.zeros((2, 5)))


# --- fooling rates ------------------------------------------------------------------------------------------------


def test_fooling_rate_by_hand():
    shift, variance = np.full(6, 0.8), 0.4
    result = fooling_rate(NET, X, variance, shift=shift, layer="relu1")
    plain = np.array([oracle.relu_chain(WEIGHTS, x) for x in X])
    moved = np.array([oracle.relu_chain(WEIGHTS, x + shift) for x in X])
    means = np.array(
        [oracle.theorem_1(*oracle.two_stage(WEIGHTS, 1, x + shift), x + shift, variance * np.eye(6)) for x in X]
    )
    assert result.clean.tolist() == plain.argmax(1).tolist()
    assert result.shifted.tolist() == moved.argmax(1).tolist()
    assert result.expected.tolist() == means.argmax(1).tolist()
    assert result.rate == np.mean(plain.argmax(1) != moved.argmax(1)) > 0
    assert result.noisy_rate == np.mean(plain.argmax(1) != means.argmax(1))
    orders = np.argsort(-moved, 1), np.argsort(-means, 1)
    same = [np.mean([(a[:k] == b[:k]).all() for a, b in zip(*orders, strict=True)]) for k in (1, 2, 3, 4)]
    assert result.order_accuracy.tolist() == same
    assert same[0] > same[-1]


def test_without_noise_the_means_are_the_outputs():
    for method in (None, "monte_carlo"):
        result = fooling_rate(NET, X, 0.0, shift=0.5 * X, method=method, samples=3)
        assert result.noisy_rate == result.rate
        assert result.order_accuracy.tolist() == [1.0] * 4


def test_sampled_rates_count_draws():
    result = fooling_rate(NET, X[:3], 0.5, method="monte_carlo", samples=4000)
    assert result.standing is Standing.ESTIMATE and result.rate == 0
    draw = np.random.default_rng(0)
    for i in range(3):
        classes = [oracle.relu_chain(WEIGHTS, x).argmax() for x in X[i] + math.sqrt(0.5) * draw.normal(size=(2000, 6))]
        share = np.mean(np.array(classes) != result.clean[i])
        assert abs(share - result.share[i]) < 5 * math.sqrt(0.25 / 2000 + 0.25 / 4000)


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("degenerate", [False, True])
def test_rates_on_every_kind_of_network(kind, degenerate):
    data, draw = zoo.random_net(kind, 2, degenerate=degenerate)
    net = zoo.build(data)
    n = math.prod(net.input_shape)
    points = np.stack([draw.point(n) for _ in range(4)]).reshape(4, *net.input_shape)
    result = fooling_rate(net, points, 0.4)
    batch = batch_moments(net, points, 0.4)
    assert result.expected.tolist() == batch.mean.argmax(1).tolist()


def test_a_pool_of_four_is_done_by_moment_matching():
    graph = Graph((1, 4, 4))
    pool = graph.add("pool", zoo.BUILD["pool"]({"kernel": (2, 2)}, (1, 4, 4)), INPUT)
    graph.add("flat", reshape((1, 2, 2), (4,)), pool)
    net, images = graph.network(), np.random.default_rng(0).standard_normal((2, 1, 4, 4))
    result = fooling_rate(net, images, 0.2)
    for i in range(2):
        expected = moments(net, images[i], 0.2, method="moment_matching").mean
        assert result.orders[i, 1].tolist() == np.argsort(-expected).tolist()
    assert result.standing is Standing.ESTIMATE
    with pytest.raises(ArgumentError, match="maximum of more than two"):
        batch_moments(net, images, 0.2)


# --- fooling maps -------------------------------------------------------------------------------------------------


def test_windows():
    found = windows_of((2, 4, 5), 3, 1)
    assert found.shape == (2, 3, 40) and found.sum(2).unique().tolist() == [18.0]
    image = found[1, 2].reshape(2, 4, 5)
    assert image[:, 1:4, 2:5].min() == 1 and image.sum() == 18
    assert windows_of((5, 5), 2, 3).shape == (2, 2, 25)
    for shape, window, stride in [((7,), 2, 1), ((1, 4, 4), 5, 1), ((1, 4, 4), 0, 1), ((1, 4, 4), 2, 0)]:
        with pytest.raises(ShapeError):
            windows_of(shape, window, stride)


IMAGE_WEIGHTS = chain(25, 12, 8, 3, seed=4)
IMAGE_NET = network(IMAGE_WEIGHTS, (1, 5, 5))
IMAGES = np.random.default_rng(5).standard_normal((6, 1, 5, 5))


def test_map_by_hand():
    result = fooling_map(IMAGE_NET, IMAGES, 4.0, window=3, layer="relu1")
    assert result.fooled.shape == (6, 3, 3) and result.rate.max() > 0
    for i, image in enumerate(IMAGES):
        stages = oracle.two_stage(IMAGE_WEIGHTS, 1, image.ravel())
        clean = oracle.relu_chain(IMAGE_WEIGHTS, image.ravel()).argmax()
        assert result.classes[i] == clean
        for r in range(3):
            for c in range(3):
                mask = np.zeros((5, 5))
                mask[r : r + 3, c : c + 3] = 4.0
                mean = oracle.theorem_1(*stages, image.ravel(), np.diag(mask.ravel()))
                assert result.fooled[i, r, c] == (mean.argmax() != clean)


def test_sampled_map_agrees_with_draws():
    result = fooling_map(IMAGE_NET, IMAGES[:2], 4.0, window=4, method="monte_carlo", samples=2000)
    assert result.fooled.shape == (2, 2, 2) and result.samples == 2000
    draw = np.random.default_rng(0)
    noise = np.zeros((3000, 5, 5))
    noise[:, 1:5, 0:4] = 2 * draw.standard_normal((3000, 4, 4))
    classes = [oracle.relu_chain(IMAGE_WEIGHTS, (IMAGES[1, 0] + e).ravel()).argmax() for e in noise]
    share = np.mean(np.array(classes) != result.classes[1])
    assert abs(share - result.fooled[1, 1, 0]) < 5 * math.sqrt(0.25 / 2000 + 0.25 / 3000)


def test_maps_by_class():
    result = fooling_map(IMAGE_NET, IMAGES, 4.0, window=3)
    maps = result.by_class(np.array([0, 0, 1, 1, 1, 1]))
    assert np.allclose(maps[0], result.fooled[:2].mean(0)) and np.allclose(maps[1], result.fooled[2:].mean(0))
    assert set(result.by_class()) == set(result.classes.tolist())
    with pytest.raises(ArgumentError, match="labels"):
        result.by_class(np.array([1]))


def test_a_window_of_the_whole_image_is_noise_everywhere():
    result = fooling_map(IMAGE_NET, IMAGES, 1.5, window=5)
    rate = fooling_rate(IMAGE_NET, IMAGES, 1.5)
    assert result.fooled[:, 0, 0].tolist() == (rate.expected != rate.clean).tolist()


def test_summaries_say_what_was_found():
    assert "with the window's corner" in repr(fooling_map(IMAGE_NET, IMAGES[:1], 1.0, window=3))
    assert "order of the top" in repr(fooling_rate(NET, X, 0.1))
    assert "12 inputs, 4 outputs, 12 points" in repr(batch_moments(NET, X, 0.1))


@pytest.mark.parametrize(
    ("variance", "options", "error"),
    [
        (-1.0, {}, DataError),
        (math.nan, {}, DataError),
        (np.eye(6), {}, ArgumentError),
        (LowRank(np.eye(6)), {}, ArgumentError),
        (np.ones(5), {}, ShapeError),
        (0.1, {"method": "exact"}, ArgumentError),
        (0.1, {"shift": np.ones((2, 6))}, ShapeError),
        (0.1, {"method": "monte_carlo", "samples": 0}, ArgumentError),
        (0.1, {"layer": "dense0"}, ArgumentError),
    ],
)
def test_bad_arguments(variance, options, error):
    with pytest.raises(error):
        fooling_rate(NET, X, variance, **options)


def test_no_memory_for_the_rates():
    with pytest.raises(MemoryBudgetError, match="rates of 7 units in 6 inputs"):
        fooling_rate(NET, X, 0.1, layer="relu1", progress=Progress(max_bytes=600))
