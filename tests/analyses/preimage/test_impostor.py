"""Impostors: equal features, in the box and the piece, and nearest by a general solver on the explicit polyhedron."""

import itertools
import sys

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from oracles.layers import conv, dense, tensor
from plica import ArgumentError, Box, Progress, ShapeError, impostor
from plica.analyses.preimage import impostor as package_function
from plica.core.affine import Scale, Sum, reshape
from plica.core.choice import MaxOver, absolute, clip, leaky_relu, relu, windows
from plica.core.network import INPUT, Graph, Origin
from plica.core.result import Completeness, Standing
from plica.errors import SolverError

POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
OPS = {
    "relu": relu,
    "leaky": lambda shape: leaky_relu(shape, 0.25),
    "abs": absolute,
    "clip": lambda shape: clip(shape, -0.5, 0.5),
    "maxout": lambda shape: MaxOver(torch.arange(shape[0]).reshape(-1, 2), shape, (shape[0] // 2,)),
}


def weights(rng, style, m, n):
    if style == "normal":
        return rng.normal(size=(m, n)), rng.normal(size=m)
    W = rng.integers(-2, 3, (m, n)).astype(float)
    for i in range(1, m):  # duplicated, opposite and dead units
        W[i] = W[rng.integers(i)] * rng.choice([1.0, -1.0, 2.0, 0.0]) if rng.random() < 0.5 else W[i]
    return W, np.zeros(m)


def two_layers(rng, style, op):
    n, h, m = 6, 5, 4
    graph = Graph((n,))
    graph.add("y", dense(*weights(rng, style, h, n)), INPUT)
    graph.add("hidden", relu((h,)), "y")
    graph.add("z", dense(*weights(rng, style, m, h)), "hidden")
    graph.add("layer", OPS[op]((m,)), "z")
    graph.add("out", dense(rng.normal(size=(2, m // 2 if op == "maxout" else m)), None), "layer")
    return graph.network()


def wide(rng, style, op):
    n, m = 6, 4
    graph = Graph((n,))
    graph.add("z", dense(*weights(rng, style, m, n)), INPUT)
    graph.add("layer", OPS[op]((m,)), "z")
    return graph.network()


def convolutional(rng, style, op):
    W, b = weights(rng, style, 2, 4)
    graph, out = Graph((1, 3, 3)), (2, 2, 2)
    graph.add("z", conv(W.reshape(2, 1, 2, 2), b, (1, 3, 3)), INPUT)
    graph.add("norm", Scale(tensor([-0.3, 1.7]).reshape(2, 1, 1), None, out), "z")
    graph.add("layer", windows(out, **POOL) if op == "maxout" else OPS[op](out), "norm")
    return graph.network()


def residual(rng, style, op):
    n = 4
    graph = Graph((n,))
    graph.add("y", dense(*weights(rng, style, n, n)), INPUT)
    graph.add("hidden", relu((n,)), "y")
    graph.add("back", dense(*weights(rng, style, n, n)), "hidden")
    graph.add("sum", Sum((1.0, 1.0), (n,)), "back", INPUT)
    graph.add("z", dense(*weights(rng, style, 4, n)), "sum")
    graph.add("layer", OPS[op]((4,)), "z")
    return graph.network()


BUILD = {"two": two_layers, "wide": wide, "conv": convolutional, "residual": residual}


def explicit(net, x, tolerance):
    """The witness's piece with equal features as G v <= h, E v = e on the flat input.

    Rows by automatic differentiation of the affine map of the input's pattern; a unit of the last layer that lies on a
    knot counts as at rest.
    """
    pattern = net.pattern(x)
    frozen, G, h, E, e = net.freeze(pattern), [], [], [], []

    def below(row, limit):
        G.append(row)
        h.append(limit)

    for node in (net[name] for name in net.choices):
        op, last = node.op, node.name == "layer"

        def value(v, read=node.inputs[0]):
            return frozen.values(v.reshape(1, *net.input_shape), read)[read].flatten()

        t = torch.from_numpy(x.ravel())
        A, z = torch.autograd.functional.jacobian(value, t).numpy(), value(t).detach().numpy()
        b = z - A @ x.ravel()
        branches = pattern.branches[node.name].flatten().tolist()
        if isinstance(op, MaxOver):
            for group, branch in zip(op.index.tolist(), branches, strict=True):
                w = group[branch]
                for j in (j for j in group if j >= 0 and j != w):
                    below(A[j] - A[w], b[w] - b[j])
                E += [A[w]] * last
            continue
        knots, slopes = op.knots.tolist(), op.slopes.tolist()
        for u, (v, branch) in enumerate(zip(z, branches, strict=True)):
            if last:
                branch = sum(v > k + 1e-9 for k in knots)
                branch += any(abs(v - k) < 1e-9 and slopes[i + 1] == 0 for i, k in enumerate(knots))
                if slopes[branch] != 0:
                    E.append(A[u])
                    continue
            if branch < len(knots):
                below(A[u], knots[branch] - b[u])
            if branch > 0:
                below(-A[u], b[u] - knots[branch - 1])
    G, h, E = np.array(G).reshape(-1, x.size), np.array(h), np.array(E).reshape(-1, x.size)
    e = E @ x.ravel()
    if tolerance:
        return np.vstack([G, E, -E]), np.concatenate([h, e + tolerance, tolerance - e]), E[:0], e[:0]
    return G, h, E, e


def nearest(goal, start, system, lower, upper):
    """Distance by SLSQP on independent rows, from the witness."""
    G, h, E, e = system
    kept = []
    for i in range(len(E)):
        if np.linalg.matrix_rank(E[[*kept, i]], tol=1e-9) > len(kept):
            kept.append(i)
    found = minimize(
        lambda v: 0.5 * ((v - goal) ** 2).sum(),
        start,
        jac=lambda v: v - goal,
        method="SLSQP",
        bounds=list(zip(lower, upper, strict=True)),
        constraints=[
            {"type": "ineq", "fun": lambda v: h - G @ v, "jac": lambda v: -G},
            *([{"type": "eq", "fun": lambda v: E[kept] @ v - e[kept], "jac": lambda v: E[kept]}] if kept else []),
        ],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    point = found.x
    slack = max((G @ point - h).max(initial=0), np.abs(E @ point - e).max(initial=0))
    return np.linalg.norm(point - goal) if slack < 1e-7 else None


def features(net, x, layer="layer"):
    return net.values(torch.from_numpy(x[None]), layer)[layer].flatten().numpy()


def check(build, style, op, seed, tolerance=0.0):
    rng = np.random.default_rng([seed, *map(ord, build + style + op)])
    net = BUILD[build](rng, style, op)
    x, towards = rng.uniform(0, 1, (2, *net.input_shape))
    if style == "degenerate" and seed % 2:
        x = np.round(x)
    result = impostor(net, x, towards, layer="layer", tolerance=tolerance)
    own, other = features(net, x), features(net, result.impostor)
    scale = max(1.0, np.abs(own).max())
    assert np.abs(own - other).max() <= tolerance + 1e-9 * scale
    assert result.feature_difference == pytest.approx(np.abs(own - other).max(), abs=1e-15)
    low, high = min(x.min(), towards.min()), max(x.max(), towards.max())
    assert result.impostor.min() >= low and result.impostor.max() <= high
    assert result.distance == pytest.approx(np.linalg.norm(result.impostor - towards))
    assert result.distance <= result.distance_start + 1e-12
    assert result.completeness is Completeness.COMPLETE and result.standing is Standing.NUMERICAL
    system = G, h, E, e = explicit(net, x, tolerance)
    at = result.impostor.ravel()
    assert (G @ at - h).max(initial=0) <= 1e-8 and np.abs(E @ at - e).max(initial=0) <= 1e-8
    bounds = np.full(x.size, low), np.full(x.size, high)
    best = nearest(towards.ravel(), x.ravel(), system, *bounds)
    if best is not None:  # the solver may stop early, never too near
        assert result.distance <= best + 1e-6
    return best


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("style", ["normal", "degenerate"])
@pytest.mark.parametrize("build", BUILD)
def test_against_a_general_solver(build, style, op):
    solved = [check(build, style, op, seed) for seed in range(3)]
    assert any(best is not None for best in solved)


@pytest.mark.big(sample=3)
@pytest.mark.parametrize("seed", range(100, 300))
def test_many_against_a_general_solver(seed):
    for build in BUILD:
        for op in OPS:
            check(build, "degenerate", op, seed)
            check(build, "normal", op, seed, 0.05 if op != "abs" else 0.0)


@pytest.mark.parametrize("op", ["relu", "leaky", "maxout"])
def test_a_tolerance_comes_nearer(op):
    for build in BUILD:
        assert check(build, "normal", op, 3, 0.1) <= check(build, "normal", op, 3) + 1e-9


def test_a_steep_unit_moves_no_further_than_the_tolerance():
    graph = Graph((2,))
    graph.add("layer", leaky_relu((2,), 10.0), INPUT)
    result = impostor(graph.network(), np.array([-1.0, 0.5]), np.array([-3.0, 3.0]), layer="layer", tolerance=1.0)
    assert 0.999 <= result.feature_difference <= 1.0 + 1e-9


def test_what_cannot_move_stays():
    graph = Graph((3,))
    graph.add("z", dense(np.random.default_rng(0).normal(size=(5, 3)), None), INPUT)
    graph.add("layer", leaky_relu((5,), 0.5), "z")
    net, x = graph.network(), np.array([0.1, 0.7, 0.2])
    result = impostor(net, x, np.ones(3), layer="layer")
    np.testing.assert_allclose(result.impostor, x, atol=1e-12)
    assert result.completeness is Completeness.COMPLETE
    assert "no other input" in result.reason
    tall = Graph((60,))
    tall.add("z", dense(np.random.default_rng(0).normal(size=(200, 60)), None), INPUT)
    tall.add("layer", relu((200,)), "z")
    many_rows = impostor(tall.network(), np.full(60, 0.5), np.ones(60), layer="layer")
    np.testing.assert_array_equal(many_rows.impostor, np.full(60, 0.5))
    same = impostor(net, x, x, layer="layer")
    np.testing.assert_allclose(same.impostor, x, atol=1e-12)
    assert same.distance_start == 0 and same.distance <= 1e-12


def test_towards_itself_is_itself():
    for build in BUILD:
        net = BUILD[build](np.random.default_rng(1), "degenerate", "relu")
        x = np.round(np.random.default_rng(2).uniform(0, 1, net.input_shape))
        np.testing.assert_allclose(impostor(net, x, x, layer="layer").impostor, x, atol=1e-12)


def test_a_domain():
    net = wide(np.random.default_rng(0), "normal", "relu")
    x, towards = np.full(6, 0.5), np.full(6, 3.0)
    narrow = impostor(net, x, towards, layer=0, domain=Box(np.full(6, 0.45), np.full(6, 0.6)))
    assert narrow.impostor.min() >= 0.45 and narrow.impostor.max() <= 0.6
    free = impostor(net, x, towards, layer=0, domain=Box(np.full(6, -np.inf), np.full(6, np.inf)))
    assert free.distance <= narrow.distance
    fixed = impostor(net, x, towards, layer=0, domain=Box(np.r_[0.5, np.zeros(5)], np.r_[0.5, np.ones(5)]))
    assert fixed.impostor[0] == 0.5
    with pytest.raises(ArgumentError, match="outside the domain"):
        impostor(net, x, towards, layer=0, domain=Box(np.full(6, 0.6), np.ones(6)))
    with pytest.raises(ShapeError, match=r"6 inputs.*5"):
        impostor(net, x, towards, layer=0, domain=Box(np.zeros(5), np.ones(5)))
    with pytest.raises(ArgumentError, match="tolerance = -1"):
        impostor(net, x, towards, layer=0, tolerance=-1)
    with pytest.raises(ArgumentError, match="finite"):
        impostor(net, x, np.full(6, np.nan), layer=0)
    with pytest.raises(ArgumentError, match="one input"):
        impostor(net, np.ones((2, 6)), towards, layer=0)


def test_the_answer_in_the_dtype_of_the_model():
    graph = Graph((6,))
    graph.add("z", dense(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32), None), INPUT)
    graph.add("layer", relu((4,)), "z")
    net = graph.network(origin=Origin(dtype="float32"))
    x, towards = np.random.default_rng(1).uniform(0, 1, (2, 6))
    result = impostor(net, x, towards, layer="layer")
    assert result.model_dtype == "float32" and 0 <= result.feature_difference_model < 1e-5
    assert result.feature_scale == np.abs(features(net, x)).max()
    assert result.class_x == result.class_impostor == int(features(net, x).argmax())
    assert "float32" in repr(result)


def many(seed=0):
    """A net whose search takes several rounds."""
    rng = np.random.default_rng(seed)
    graph = Graph((8,))
    graph.add("y", dense(rng.normal(size=(40, 8)), rng.normal(size=40)), INPUT)
    graph.add("hidden", relu((40,)), "y")
    graph.add("z", dense(rng.normal(size=(2, 40)), None), "hidden")
    graph.add("layer", relu((2,)), "z")
    return graph.network(), rng.uniform(0, 1, 8), rng.uniform(0, 1, 8)


def test_a_budget_or_an_interrupt_keeps_the_best_point():
    net, x, towards = many()
    whole = impostor(net, x, towards, layer="layer")
    progress = Progress(max_seconds=1e9)

    def late(label, done, total):
        if done == 0:
            progress.max_seconds = 0.0

    def interrupt(label, done, total):
        if done == 1:
            raise KeyboardInterrupt

    progress.listener = late
    for given, completeness in [
        (progress, Completeness.BUDGET),
        (Progress(listener=interrupt), Completeness.INTERRUPTED),
        (Progress(max_seconds=0.0), Completeness.BUDGET),
    ]:
        result = impostor(net, x, towards, layer="layer", progress=given)
        assert result.completeness is completeness and "best point" in result.reason
        assert whole.distance - 1e-9 <= result.distance <= result.distance_start
        assert result.feature_difference < 1e-9
    assert result.distance == result.distance_start


def test_a_solver_without_an_answer_keeps_the_best_point(monkeypatch):
    module, calls = sys.modules[package_function.__module__], []
    net, x, towards = many(30)
    original = module.nearest_point

    def twice(*args, **options):
        calls.append(1)
        if len(calls) > 2:
            raise SolverError("no answer")
        return original(*args, **options)

    monkeypatch.setattr(module, "nearest_point", twice)
    result = impostor(net, x, towards, layer="layer")
    assert result.completeness is Completeness.BUDGET and "best point" in result.reason
    assert result.distance < result.distance_start and result.feature_difference < 1e-9


def test_rounds_never_lose_a_better_point(monkeypatch):
    """With any number of rounds, the answer is at least as near as with fewer."""
    module = sys.modules[package_function.__module__]
    net, x, towards = many(30)
    distances = []
    for rounds in range(8):
        monkeypatch.setattr(module, "ROUNDS", rounds)
        distances.append(impostor(net, x, towards, layer="layer").distance)
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(distances))


def test_an_affine_layer_and_flat_shapes():
    graph = Graph((2, 3))
    graph.add("flat", reshape((2, 3), (6,)), INPUT)
    graph.add("z", dense(np.ones((1, 6)), None), "flat")
    net = graph.network()
    result = impostor(net, np.zeros((2, 3)), np.array([[3.0, 0.0, 0.0], [0.0, 0.0, -3.0]]), layer="z")
    assert result.impostor.shape == (2, 3)
    np.testing.assert_allclose(result.impostor, result.towards, atol=1e-9)
