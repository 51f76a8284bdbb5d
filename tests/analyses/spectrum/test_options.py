"""spectrum(): windows, vectors, batches, budgets, bad input, larger networks, real ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import plica
import zoo
from plica.analyses.spectrum import jacobian as module
from plica.analyses.spectrum import join_spectra, spectrum
from plica.core.affine import Dense
from plica.core.choice import relu
from plica.core.network import INPUT, Graph
from plica.core.piece import push
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, DataError, MemoryBudgetError, ShapeError
from plica.loaders import load


def image_net(*, pool: bool = False, seed: int = 0):
    """3 x 8 x 8 image, strided and padded convolutions, a skip connection or a pool, dense layers."""
    torch.manual_seed(seed)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Conv2d(3, 6, 3, padding=1)
            self.b = torch.nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2)
            self.c = torch.nn.Conv2d(6, 8, 3, stride=2)
            self.d = torch.nn.Linear(72, 20)
            self.e = torch.nn.Linear(20, 30)

        def forward(self, x):
            u = torch.relu(self.a(x))
            u = torch.relu(self.b(u) + u)
            u = torch.nn.functional.leaky_relu(self.c(u), 0.1)
            u = torch.nn.functional.max_pool2d(u, 3, stride=1, padding=1) if pool else u
            return self.e(torch.relu(self.d(u.flatten(1))))

    return load(Net().double(), (3, 8, 8))


def dense_jacobian(net, x, value):
    """All columns at once, by the frozen graph without boxes."""
    frozen, n = net.freeze(net.pattern(x)), x.size
    start = torch.eye(n, dtype=torch.float64).reshape(n, *net.input_shape)
    return push(frozen, start, value)[value].flatten(1).T.numpy()


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("shrink", [False, True])
def test_image_networks_against_dense_decompositions(pool, shrink, monkeypatch):
    if shrink:
        monkeypatch.setattr(module, "SHRINK_COLUMNS", 50)
    net = image_net(pool=pool)
    x = np.random.default_rng(1).random((2, 3, 8, 8))
    found = spectrum(net, x)
    for i in range(2):
        for j, (layer, side) in enumerate(zip(found.layers, found.sides, strict=True)):
            J = dense_jacobian(net, x[i], net.resolve(layer, side))
            expected = np.linalg.svd(J, compute_uv=False)
            atol = 2 * found.thresholds[i, j]
            np.testing.assert_allclose(found.values[j][i], expected, rtol=1e-10, atol=atol)
            assert found.ranks[i, j] == np.linalg.matrix_rank(J)
            assert found.alive[i, j] == (np.abs(J).sum(1) > 0).sum()
    assert found.proven[:, 0].all()


@pytest.mark.parametrize("window", [np.s_[:, 2:7, 3:8], np.s_[0:1, ::3, :], "mask"])
def test_a_window_takes_its_columns(window):
    net = image_net()
    x = np.random.default_rng(2).random((1, 3, 8, 8))
    mask = np.zeros((3, 8, 8), dtype=bool)
    if isinstance(window, str):
        window = np.random.default_rng(3).random((3, 8, 8)) < 0.1
        mask |= window
    else:
        mask[window] = True
    found = spectrum(net, x, window=window)
    assert found.inputs == mask.sum()
    for j, (layer, side) in enumerate(zip(found.layers, found.sides, strict=True)):
        J = dense_jacobian(net, x[0], net.resolve(layer, side))[:, mask.ravel()]
        expected = np.linalg.svd(J, compute_uv=False)
        np.testing.assert_allclose(found.values[j][0], expected, rtol=1e-10, atol=2 * found.thresholds[0, j])
    low, high = np.array(found.window).T
    places = np.argwhere(mask)
    assert (low == places.min(0)).all()
    assert (high == places.max(0) + 1).all()


@pytest.mark.parametrize("shrink", [False, True])
def test_directions_are_singular_vectors(shrink, monkeypatch):
    if shrink:
        monkeypatch.setattr(module, "SHRINK_COLUMNS", 50)
    net = image_net(pool=True)
    x = np.random.default_rng(4).random((1, 3, 8, 8))
    found = spectrum(net, x, vectors=2)
    for j, (layer, side) in enumerate(zip(found.layers, found.sides, strict=True)):
        J = dense_jacobian(net, x[0], net.resolve(layer, side))
        v = found.directions[j][0].reshape(4, -1)
        np.testing.assert_allclose(v @ v.T, np.eye(4), atol=1e-7)
        rank = found.ranks[0, j]
        picked = found.values[j][0, [0, 1, rank - 2, rank - 1]]
        np.testing.assert_allclose(np.linalg.norm(J @ v.T, axis=0), picked, rtol=1e-6)
        assert (np.abs(v).max(1) == v.max(1)).all()


def test_directions_beyond_the_rank_are_nan_and_a_window_keeps_the_rest_zero():
    net = zoo.build(zoo.chain((3,), ("dense", {"W": [[1.0, 2.0, 0.0]]}), ("relu", {})))
    found = spectrum(net, np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, 0.0]]), side="post", vectors=2, window=[slice(0, 2)])
    v = found.directions[0]
    assert v.shape == (2, 4, 3)
    np.testing.assert_allclose(v[0, 0], np.array([1.0, 2.0, 0.0]) / math.sqrt(5))
    assert np.isnan(v[0, 1, :2]).all()
    np.testing.assert_allclose(v[0, 3], v[0, 0])
    assert np.isnan(v[1][:, :2]).all()
    assert found.ranks[:, 0].tolist() == [1, 0]


def test_batches_join_and_equal_pieces_are_done_once(monkeypatch):
    net = image_net()
    x = np.random.default_rng(5).random((3, 3, 8, 8))
    calls = []
    whole = spectrum(net, x)
    joined = join_spectra([spectrum(net, part) for part in (x[:1], x[1:])])
    for a, b in zip(whole.values, joined.values, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(joined) == 3
    one = module.jacobians
    monkeypatch.setattr("plica.analyses.spectrum.analysis.jacobians", lambda *a, **k: calls.append(1) or one(*a, **k))
    spectrum(net, np.concatenate([x[:1]] * 3))
    assert len(calls) == 1
    with pytest.raises(ArgumentError, match="other layers"):
        join_spectra([whole, spectrum(net, x, side="post")])
    with pytest.raises(ArgumentError, match="at least one"):
        join_spectra([])


def test_medians_and_quantiles():
    net = image_net()
    found = spectrum(net, np.random.default_rng(6).random((5, 3, 8, 8)), side="post")
    layer = found.layers[1]
    j = found.place(layer)
    np.testing.assert_allclose(found.curve(layer)[:10], np.median(found.values[j], axis=0)[:10])
    assert (found.curve(layer, quantile=0.1) <= found.curve(layer, quantile=0.9)).all()
    np.testing.assert_allclose(found.condition, found.largest / found.smallest)
    with pytest.raises(ArgumentError, match="this spectrum holds"):
        found.curve(layer, "pre")


def test_budgets_and_interrupts_keep_what_is_done(monkeypatch):
    net = image_net()
    x = np.random.default_rng(7).random((4, 3, 8, 8))
    none = spectrum(net, x, progress=Progress(max_seconds=0.0))
    assert (none.completeness, len(none)) == (Completeness.BUDGET, 0)
    assert "no input was done" in repr(none)

    def stop(label, done, total):
        if done == 2:
            raise KeyboardInterrupt

    some = spectrum(net, x, progress=Progress(listener=stop))
    assert (some.completeness, len(some), some.values[0].shape[0]) == (Completeness.INTERRUPTED, 2, 2)
    with pytest.raises(MemoryBudgetError, match="Gram matrix"):
        spectrum(net, x, progress=Progress(max_bytes=10_000))
    with pytest.raises(MemoryBudgetError, match=r"Jacobians at .* window="):
        spectrum(net, x, progress=Progress(max_bytes=900_000))


def test_few_rows_of_a_large_input_are_pulled_back(monkeypatch):
    net = image_net()
    x = np.random.default_rng(8).random((1, 3, 8, 8))
    plain = spectrum(net, x, net.output)
    monkeypatch.setattr(module, "PULL_COLUMNS", 50)
    pulled = spectrum(net, x, net.output)
    np.testing.assert_allclose(plain.values[0], pulled.values[0], rtol=1e-10)
    assert math.isinf(pulled.errors[0, 0])
    assert not pulled.proven[0, 0]


def test_weights_and_inputs_that_are_not_finite():
    bad = torch.tensor([[1.0, math.nan]], dtype=torch.float64)
    graph = Graph((2,))
    graph.add("broken", Dense(bad, None, (2,)), INPUT)
    with pytest.raises(DataError, match="'broken' has weights that are NaN"):
        spectrum(graph.network(), np.zeros((1, 2)))
    net = image_net()
    with pytest.raises(ArgumentError, match="NaN or infinite"):
        spectrum(net, np.full((1, 3, 8, 8), np.nan))
    graph = Graph((1,))
    a = graph.add("a", Dense(torch.tensor([[1e200]], dtype=torch.float64), None, (1,)), INPUT)
    graph.add("b", Dense(torch.tensor([[1e200]], dtype=torch.float64), None, (1,)), a)
    with pytest.raises(DataError, match="'b' overflows"):
        spectrum(graph.network(), np.zeros((1, 1)))


def test_huge_and_tiny_weights():
    for size in (1e-170, 1e-30, 1e150):
        A = size * np.array([[3.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
        found = spectrum(zoo.build(zoo.chain((2,), ("dense", {"W": A.tolist()}))), np.zeros((1, 2)))
        np.testing.assert_allclose(found.values[0][0] / size, np.linalg.svd(A / size, compute_uv=False), rtol=1e-12)
        assert found.ranks[0, 0] == 2


def test_empty_batches_empty_layers_and_rank_zero():
    net = image_net()
    none = spectrum(net, np.zeros((0, 3, 8, 8)))
    assert (len(none), none.completeness) == (0, Completeness.COMPLETE)
    graph = Graph((3,))
    a = graph.add("a", Dense(torch.zeros(0, 3, dtype=torch.float64), None, (3,)), INPUT)
    graph.add("r", relu((0,)), a)
    found = spectrum(graph.network(), np.ones((2, 3)))
    assert found.ranks.tolist() == [[0, 0], [0, 0]]
    assert found.values[0].shape == (2, 0)
    dead = zoo.build(
        zoo.chain((2,), ("dense", {"W": [[1.0, 0.0]], "b": [-5.0]}), ("relu", {}), ("dense", {"W": [[2.0]]}))
    )
    found = spectrum(dead, np.zeros((1, 2)), side="post")
    assert found.ranks.tolist() == [[0, 0]]
    assert found.proven.all()
    assert np.isnan(found.smallest).all()
    assert found.null_dimensions.tolist() == [[2, 2]]
    assert "constant around the input" in repr(found)


def test_a_sum_that_cancels_is_zero_and_not_rounding():
    rng = np.random.default_rng(9)
    A, B = rng.normal(size=(6, 6)), rng.normal(size=(6, 6))
    data = {"input": (6,), "nodes": [
        ("b", "dense", ("input",), {"W": B.tolist()}), ("ab", "dense", ("b",), {"W": A.tolist()}),
        ("c", "dense", ("input",), {"W": (A @ B).tolist()}),
        ("d", "add", ("ab", "c"), {"coefficients": [1, -1]}),
    ]}  # fmt: skip
    found = spectrum(zoo.build(data), np.zeros((1, 6)))
    assert found.ranks[0, 0] == 0
    assert not found.proven[0, 0]


def test_bad_arguments():
    net = image_net()
    x = np.zeros((1, 3, 8, 8))
    for window in (np.s_[0:2, 0:2], np.s_[:, 5:5, :], np.ones((3, 8), dtype=bool), np.ones((3, 8, 8))):
        with pytest.raises(ArgumentError, match="window"):
            spectrum(net, x, window=window)
    with pytest.raises(ArgumentError, match="side"):
        spectrum(net, x, side="after")
    with pytest.raises(ArgumentError, match="vectors"):
        spectrum(net, x, vectors=-1)
    with pytest.raises(ArgumentError, match="no node of that name"):
        spectrum(net, x, "nothing")
    with pytest.raises(ShapeError):
        spectrum(net, np.zeros((2, 7)))
    with pytest.raises(ArgumentError, match="cast"):
        spectrum(net.cast(torch.float32), x)


def test_the_public_name():
    found = plica.spectrum(image_net(), np.zeros((3, 8, 8)))
    assert found.standing is Standing.NUMERICAL
    assert len(found) == 1


@pytest.mark.data
def test_real_networks(shared_data):
    """Max-pooling, residual and dense networks from files, a window of the input for the larger."""
    for name, window in (
        ("verivital/Convnet_maxpool.onnx", np.s_[:, 10:16, 10:16]),
        ("cifar10_resnet/resnet_2b.onnx", np.s_[:, 12:16, 12:18]),
    ):
        files = sorted((shared_data / name).parent.glob("*max*.onnx*" if "max" in name else "*2b*.onnx*"))
        if not files:
            pytest.skip(f"no {name}")
        net = load(files[0])
        x = np.random.default_rng(0).random((1, *net.input_shape))
        found = spectrum(net, x, side="post", window=window)
        mask = np.zeros(net.input_shape, dtype=bool)
        mask[window] = True
        for j, layer in enumerate(found.layers):
            J = dense_jacobian_window(net, x[0], layer, mask)
            expected = np.linalg.svd(J, compute_uv=False)
            atol = 2 * found.thresholds[0, j]
            np.testing.assert_allclose(found.values[j][0], expected, rtol=1e-10, atol=atol)


def dense_jacobian_window(net, x, value, mask):
    """Columns of a window, all at once."""
    frozen, places = net.freeze(net.pattern(x)), np.flatnonzero(mask.ravel())
    start = torch.zeros(len(places), x.size, dtype=torch.float64)
    start[np.arange(len(places)), places] = 1.0
    return push(frozen, start.reshape(-1, *net.input_shape), value)[value].flatten(1).T.numpy()
