"""Impostors over whole preimages: closed forms, brute force over pieces, many inputs, budgets."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from oracles import bodies, unions
from plica import ArgumentError, Box, Progress, impostor, load_result, preimage, save
from plica.core.result import Completeness


def folded():
    """|x1| + |x2| at relu3."""
    rows = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    return zoo.build(zoo.chain((2,), zoo._dense_of(rows), zoo.RELU, zoo._dense_of([[1.0] * 4]), zoo.RELU))


BOX = Box(-9 * np.ones(2), 9.0)


@pytest.mark.parametrize(
    "extent, tolerance, point, distance",
    [
        ("nearest", 0.0, [0.0, -2.0], 1.0),
        ("farthest", 0.0, [0.0, 2.0], 5.0),
        ("nearest", 0.5, [0.0, -2.5], 0.5),
        ("farthest", 0.5, [0.0, 2.5], 5.5),
    ],
)
def test_the_diamond(extent, tolerance, point, distance):
    result = impostor(folded(), np.array([2.0, 0.0]), np.array([0.0, -3.0]), layer="relu3", domain=BOX,
                      tolerance=tolerance, extent=extent)  # fmt: skip
    assert result.impostor == pytest.approx(point, abs=1e-8) and result.distance == pytest.approx(distance)
    assert result.bound == pytest.approx(distance) and result.completeness is Completeness.COMPLETE
    assert result.feature_difference == pytest.approx(tolerance, abs=1e-8) and result.extent == extent


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("seed", range(60))
def test_nothing_in_any_piece_is_nearer_or_farther(seed):
    kind = ("dense", "leaky", "maxout", "residual", "mixed")[seed % 5]
    data, draw = zoo.random_net(kind, seed, degenerate=seed % 2 == 0)
    net, n = zoo.build(data), int(np.prod(data["input"]))
    if n > 5:
        pytest.skip("brute force takes few inputs")
    x = np.clip(draw.point(n), -2, 2)
    other = np.random.default_rng(seed).uniform(-2, 2, n)
    choices = ("relu", "leaky", "abs", "clip", "pool", "maxout")
    layer = [name for name, k, _, _ in data["nodes"] if k in choices][1]
    box = Box(np.full(n, -2.0), 2.0)
    given = (net, x.reshape(net.input_shape), other.reshape(net.input_shape))
    near = impostor(*given, layer=layer, domain=box, extent="nearest")
    far = impostor(*given, layer=layer, domain=box, extent="farthest")
    own = impostor(*given, layer=layer, domain=box)
    assert near.distance <= own.distance + 1e-9 <= far.distance + 2e-9
    y = [float(v) for v in unions.activity(data, x.tolist(), layer)]
    for result in (near, far):
        assert result.completeness is Completeness.COMPLETE
        assert result.feature_difference <= 1e-7 * (1 + max(map(abs, y)))
        assert box.contains(np.clip(result.impostor.ravel(), -2, 2)) and np.abs(result.impostor).max() <= 2 + 1e-9
    for piece in preimage(net, given[1], layer=layer, domain=box).pieces():
        body = piece.polyhedron()
        points = np.vstack([body.sample(200, seed), body.vertices()])
        distances = np.linalg.norm(points - other, axis=1)
        assert distances.min() >= near.distance - 1e-6 and distances.max() <= far.distance + 1e-6


def test_many_inputs():
    rng = np.random.default_rng(2)
    layers = [zoo._dense_of(rng.normal(size=s).tolist()) for s in ((4, 66), (2, 4))]
    net, x = zoo.build(zoo.chain((66,), layers[0], zoo.RELU, layers[1], zoo.RELU)), rng.normal(size=66)
    box, other = Box(x - 0.3, x + 0.3), x + rng.uniform(-0.3, 0.3, 66)
    near = impostor(net, x, other, layer="relu3", domain=box, extent="nearest")
    own = impostor(net, x, other, layer="relu3", domain=box)
    assert near.distance <= own.distance + 1e-7 and near.feature_difference < 1e-7
    union = preimage(net, x, layer="relu3", domain=box)
    for piece in union.pieces():
        assert np.linalg.norm(piece.point - other) >= near.distance - 1e-7
    assert near.completeness is Completeness.COMPLETE and near.bound == pytest.approx(near.distance)
    far = impostor(net, x, other, layer="relu3", domain=box, extent="farthest")
    assert far.distance <= far.bound and far.distance >= max(np.linalg.norm(p.point - other) for p in union.pieces())
    assert far.completeness is Completeness.BUDGET and far.feature_difference < 1e-7


def test_single_points_are_complete_in_many_dimensions():
    rng = np.random.default_rng(0)
    net = zoo.build(zoo.chain((8,), zoo._dense_of((np.eye(8) + 0.1 * rng.normal(size=(8, 8))).tolist()), zoo.RELU))
    x, other = rng.uniform(0.5, 1, 8), rng.uniform(0, 1, 8)
    far = impostor(net, x, other, layer=-1, domain=Box(np.zeros(8), 1.0), extent="farthest")
    assert far.completeness is Completeness.COMPLETE and far.bound == far.distance == pytest.approx(far.distance_start)
    assert far.impostor == pytest.approx(x)


def test_farthest_points_of_many_dimensions_are_not_called_proven():
    """One piece, all found; but its corners are not all seen, so only the box's corner bounds the distance."""
    net = zoo.build(zoo.chain((8,), zoo._dense_of([[1.0] * 8]), zoo.RELU))
    x, other = np.full(8, 0.5), np.linspace(0.1, 0.4, 8)
    far = impostor(net, x, other, layer=-1, domain=Box(np.zeros(8), 1.0), extent="farthest")
    assert far.pieces == 1 and far.completeness is Completeness.BUDGET
    corner = np.linalg.norm(np.maximum(other, 1 - other))
    assert far.bound == pytest.approx(corner) and far.distance < far.bound - 1e-3
    assert far.impostor.sum() == pytest.approx(4) and sorted(far.impostor.round(6).tolist()) == [0.0] * 4 + [1.0] * 4


def test_budget_bad_input_and_saving(tmp_path):
    x, other = np.array([2.0, 0.0]), np.array([0.0, -3.0])
    short = impostor(
        folded(), x, other, layer="relu3", domain=BOX, extent="nearest", progress=Progress(max_seconds=0.0)
    )
    assert short.completeness is Completeness.BUDGET and short.bound == 0.0 and short.feature_difference < 1e-9
    again = load_result(save(short, tmp_path / "i.npz"))
    assert again.extent == "nearest" and again.bound == 0.0
    with pytest.raises(ArgumentError, match="extent"):
        impostor(folded(), x, other, layer="relu3", extent="everything")
    with pytest.raises(ArgumentError, match="bounded"):
        impostor(folded(), x, other, layer="relu3", extent="nearest", domain=Box(-np.full(2, np.inf), np.inf))
    with pytest.raises(ArgumentError, match="tolerance"):
        impostor(folded(), x, other, layer="relu3", tolerance=np.nan)


CHOICES = ("relu", "leaky", "abs", "clip", "pool", "maxout")


def tiny_images(seed):
    """A convolution, max-pooling, and a layer behind them."""
    draw = zoo.Draw(seed, degenerate=seed % 2 == 0, scales=False)
    pool = ("pool", {"kernel": (1, 2), "stride": (1, 1)})
    layers = [draw.conv(1, 1, (1, 2)), zoo.RELU, pool, ("flatten", {}), draw.dense(2, 2), zoo.RELU]
    return zoo.chain((1, 1, 4), *layers)


CASES = {known.name: known.data for known in zoo.KNOWN if int(np.prod(known.data["input"])) <= 4}
CASES |= {f"images {seed}": tiny_images(seed) for seed in range(6)}


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("name", CASES)
def test_known_and_degenerate_networks_against_corners(name):
    """Exact and stable features, nearest and farthest, against the oracle's pieces: least distances and corners."""
    data = CASES[name]
    net, n, rng = zoo.build(data), int(np.prod(data["input"])), np.random.default_rng(len(name))
    layer = [node for node, k, _, _ in data["nodes"] if k in CHOICES][-1]
    x, other = rng.integers(-1, 2, n).astype(float), rng.uniform(-2, 2, n)
    box = Box(np.full(n, -2.0), 2.0)
    given = (net, x.reshape(net.input_shape), other.reshape(net.input_shape))
    pieces = [rows for _, rows in unions.systems(data, x.tolist(), layer, ([-2.0] * n, [2.0] * n))]
    near = impostor(*given, layer=layer, domain=box, extent="nearest")
    assert near.distance == pytest.approx(min(bodies.distance(rows, other) for rows in pieces), abs=1e-6)
    far = impostor(*given, layer=layer, domain=box, extent="farthest")
    corners = np.vstack([bodies.corners(*bodies.floats(rows)) for rows in pieces])
    assert far.distance == pytest.approx(np.linalg.norm(corners - other, axis=1).max(), abs=1e-6)
    assert near.completeness is far.completeness is Completeness.COMPLETE
    assert near.bound == pytest.approx(near.distance) and far.bound == pytest.approx(far.distance)
    y = np.array([float(v) for v in unions.activity(data, x.tolist(), layer)])
    for result in (near, far):
        at = unions.activity(data, result.impostor.ravel().tolist(), layer)
        assert np.array([float(v) for v in at]) == pytest.approx(y, abs=1e-7 * (1 + np.abs(y).max()))
    stable = impostor(*given, layer=layer, domain=box, extent="nearest", tolerance=0.25)
    at = np.array([float(v) for v in unions.activity(data, stable.impostor.ravel().tolist(), layer)])
    assert np.abs(at - y).max() <= 0.25 + 1e-7 and stable.distance <= near.distance + 1e-7
    for u in rng.uniform(-2, 2, (200, n)):  # no point within the tolerance is nearer
        seen = np.array([float(v) for v in unions.activity(data, u.tolist(), layer)])
        assert np.abs(seen - y).max() > 0.25 or np.linalg.norm(u - other) >= stable.distance - 1e-7
