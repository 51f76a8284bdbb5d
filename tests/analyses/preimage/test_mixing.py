"""Mixing: exactly equal activities, nearest points, and a second network's reading, against brute force."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from typer.testing import CliRunner

import zoo
from oracles import bodies, networks, unions
from oracles.layers import dense
from plica import Box, Progress, load_result, mixing, preimage, save
from plica.analyses.preimage import joint
from plica.analyses.preimage.mixing import cuts
from plica.analyses.preimage.mixing_result import DIFFERS, NOT_ASKED, OPEN, SAME
from plica.cli.app import app
from plica.core.affine import Sum
from plica.core.choice import relu
from plica.core.network import INPUT, Graph
from plica.core.result import Completeness
from plica.errors import ArgumentError, DataError, ShapeError


def folded():
    rows = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    return zoo.chain((2,), zoo._dense_of(rows), zoo.RELU, zoo._dense_of([[1.0] * 4]), zoo.RELU)


@pytest.mark.parametrize("kind", ["dense", "maxout", "residual", "leaky"])
def test_pairs_are_those_of_rational_arithmetic(kind):
    data, _ = zoo.random_net(kind, 3, degenerate=True)
    n = int(np.prod(data["input"]))
    net, X = zoo.build(data), np.random.default_rng(0).integers(-1, 2, (30, n)).astype(float)
    labels = np.arange(30) % 3
    result = mixing(net, X.reshape(30, *net.input_shape), labels, extent="none")
    for number, layer in enumerate(result.layers):
        y = [unions.activity(data, x.tolist(), layer) for x in X]
        want = [(i, j) for i, j in itertools.combinations(range(30), 2) if labels[i] != labels[j] and y[i] == y[j]]
        assert [tuple(p[1:]) for p in result.pairs.tolist() if p[0] == number] == want


def test_almost_equal_activities_are_no_pairs():
    net = zoo.build(zoo.chain((1,), zoo._dense_of([[1.0]]), zoo.RELU))
    X = np.array([[1.0], [1.0 + 2**-40], [-1.0], [-2.0]])
    result = mixing(net, X, [0, 1, 0, 1], layer=0, extent="none")
    assert result.pairs.tolist() == [[0, 2, 3]]


def test_nearest_points_share_the_activity_and_are_nearest():
    rng = np.random.default_rng(1)
    A = rng.normal(size=(2, 4))
    data = zoo.chain((4,), zoo._dense_of(A.tolist()), zoo.RELU)
    net, X, labels = zoo.build(data), rng.normal(size=(9, 4)), np.arange(9) % 3
    box = Box(np.full(4, -9.0), 9.0)
    result = mixing(net, X, labels, layer="relu1", domain=box)
    for i in range(9):
        y = np.array([float(v) for v in unions.activity(data, X[i].tolist(), "relu1")])
        free = rng.normal(size=(4000, 4))  # points of the preimage of a layer, by brute force
        on = y > 0
        kernel = np.eye(4) - np.linalg.pinv(A[on]) @ A[on]
        base = X[i] + free @ kernel
        base = base[((base @ A.T)[:, ~on] <= 0).all(1)]
        for c, label in enumerate(result.classes):
            if label == labels[i]:
                assert np.isnan(result.distances[0, i, c])
                continue
            rivals = X[labels == label]
            brute = min(np.linalg.norm(base - r, axis=1).min() for r in rivals)
            assert result.distances[0, i, c] <= brute + 1e-9
            assert labels[result.targets[0, i, c]] == label
        point = result.nearest[0, i]
        assert np.maximum(A @ point, 0) == pytest.approx(np.maximum(A @ X[i], 0), abs=1e-9)
        best = np.nanmin(result.distances[0, i])
        assert min(np.linalg.norm(point - r) for r in X[labels != labels[i]]) == pytest.approx(best)


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("kind, seed", [("dense", 1), ("leaky", 2), ("maxout", 4), ("residual", 3), ("images", 6)])
def test_whole_preimages_come_nearest(kind, seed):
    """Against projections on the oracle's pieces, by a solver that shares no code."""
    if kind == "images":
        data = zoo.chain((1, 1, 4), ("conv", {"W": [[[[1.0, -1.0]]]], "b": [0.5]}), zoo.RELU,
                         ("pool", {"kernel": (1, 2), "stride": (1, 1)}), ("flatten", {}))  # fmt: skip
    else:
        data, _ = zoo.random_net(kind, seed, degenerate=seed % 2 == 0)
    n = int(np.prod(data["input"]))
    layer = [name for name, k, _, _ in data["nodes"] if k in ("relu", "leaky", "abs", "pool", "maxout")][1]
    X, labels = np.random.default_rng(seed).uniform(-1, 1, (3, n)), np.array([0, 1, 1])
    net = zoo.build(data)
    found = mixing(net, X.reshape(3, *net.input_shape), labels, layer=layer, domain=Box(np.full(n, -1.0), 1.0),
                   extent="nearest")  # fmt: skip
    own = mixing(net, X.reshape(3, *net.input_shape), labels, layer=layer, domain=Box(np.full(n, -1.0), 1.0))
    assert found.extent == "nearest" and found.images == pytest.approx(X.reshape(3, *net.input_shape))
    for i in range(2):
        pieces = unions.systems(data, X[i].tolist(), layer, ([-1.0] * n, [1.0] * n))
        for c, label in enumerate(found.classes):
            if label == labels[i]:
                continue
            goals = X[labels == label]
            brute = min(bodies.distance(rows, g) for _, rows in pieces for g in goals)
            assert found.distances[0, i, c] == pytest.approx(brute, abs=1e-6)
            assert found.bounds[0, i, c] == found.distances[0, i, c] <= own.distances[0, i, c] + 1e-7
    assert "(whole preimage, 3 of 3 searched completely)" in str(found)


def test_reference_differs_same_and_open():
    net = zoo.build(folded())
    sign = zoo.build(zoo.chain((2,), zoo._dense_of([[1.0, -1.0], [-1.0, 1.0]])))
    size = zoo.build(zoo.chain((2,), zoo._dense_of([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]), zoo.RELU,
                               zoo._dense_of([[1.0] * 4, [0.5] * 4])))  # fmt: skip
    X = np.array([[2.0, 0.0], [0.5, 0.5]])
    seen = mixing(net, X, [0, 1], layer="relu3", reference=sign, extent="none")
    assert (seen.verdicts == DIFFERS).all()
    for x, point in zip(X, seen.points[0], strict=True):
        assert np.abs(point).sum() == pytest.approx(np.abs(x).sum())
        assert point[1] >= point[0]
    same = mixing(net, X, [0, 1], layer="relu3", reference=size, extent="none")
    assert (same.verdicts == SAME).all() and (same.answers == -1).all() and np.isnan(same.points).all()
    late = mixing(net, X, [0, 1], layer="relu3", reference=sign, extent="none", max_seconds_each=0.0)
    assert (late.verdicts == OPEN).all()
    assert (str(same.completeness), str(late.completeness)) == ("complete", "budget reached")
    late = mixing(net, X, [0, 1], layer="relu3", extent="nearest", max_seconds_each=0.0)
    assert str(late.completeness) == "budget reached" and (late.bounds[np.isfinite(late.distances)] == 0).any()
    assert (mixing(net, X, [0, 1], layer="relu3", extent="none").verdicts == NOT_ASKED).all()


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("seed", range(40))
def test_readings_of_random_networks(seed):
    """Against the oracle's pieces of both networks together: a corner of some piece, or none."""
    kind = ("dense", "leaky", "maxout", "residual")[seed % 4]
    data, draw = zoo.random_net(kind, seed, degenerate=seed % 2 == 0)
    n = int(np.prod(data["input"]))
    reference = zoo.chain(
        tuple(data["input"]), *([("flatten", {})] if len(data["input"]) > 1 else []), draw.dense(3, n)
    )
    x = np.clip(draw.point(n), -2, 2)
    layer = [name for name, k, _, _ in data["nodes"] if k in ("relu", "leaky", "abs", "clip", "pool", "maxout")][1]
    box = Box(np.full(n, -2.0), 2.0)
    net, other = zoo.build(data), zoo.build(reference)
    X = x.reshape(1, *net.input_shape)
    result = mixing(net, X, [0], layer=layer, reference=other, domain=box, extent="none")
    verdict = result.verdicts[0, 0]
    logits = [networks.run(reference, x.tolist())[0][reference["nodes"][-1][0]]]
    own = int(np.argmax([float(v) for v in logits[0]]))
    rows = np.array([[float(v) for v in networks.run(reference, e)[0][reference["nodes"][-1][0]]] for e in np.eye(n)])
    zero = np.array([float(v) for v in networks.run(reference, [0.0] * n)[0][reference["nodes"][-1][0]]])
    union = preimage(net, X[0], layer=layer, domain=box)
    beats = []
    for piece in union.pieces():
        for k in range(3):
            if k != own:
                c = (rows - zero)[:, k] - (rows - zero)[:, own]
                beats.append(piece.polyhedron().support(c).value + zero[k] - zero[own])
    top = max(beats)
    if top > 1e-6:
        assert verdict == DIFFERS
    elif top < -1e-6:
        assert verdict == SAME
    if verdict == DIFFERS:
        y = unions.activity(data, x.tolist(), layer)
        at = unions.activity(data, [Fraction(v) for v in result.points[0, 0].ravel().tolist()], layer)
        assert max(abs(float(a - b)) for a, b in zip(at, y, strict=True)) < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_readings_of_many_inputs(seed, monkeypatch):
    """70 inputs and an affine reference: the largest lead of another class over the whole preimage decides."""
    monkeypatch.setattr(joint, "_climbed", lambda *_: None)  # the search alone answers
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=s) / np.sqrt(s[1]) for s in ((5, 70), (2, 5), (4, 70))]
    net = zoo.build(
        zoo.chain((70,), zoo._dense_of(rows[0].tolist()), zoo.RELU, zoo._dense_of(rows[1].tolist()), zoo.RELU)
    )
    x = rng.normal(size=70)
    box, own = Box(x - 0.1, x + 0.1), int(np.argmax(rows[2] @ x))
    shift = [0.2 * (seed % 3) if k == own else 0.0 for k in range(4)]
    other = zoo.build(zoo.chain((70,), zoo._dense_of(rows[2].tolist(), shift)))
    union = preimage(net, x, layer="relu3", domain=box)
    leads = [union.support(rows[2][k] - rows[2][own]).bound - shift[own] for k in range(4) if k != own]
    result = mixing(net, x[None], [0], layer="relu3", reference=other, domain=box, extent="none")
    assert union.is_complete and abs(max(leads)) > 1e-6
    assert result.verdicts[0, 0] == (DIFFERS if max(leads) > 0 else SAME)


@pytest.mark.parametrize("rival", [0, 1, 3])
def test_every_other_class_is_a_rival(rival, monkeypatch):
    monkeypatch.setattr(joint, "_climbed", lambda *_: None)
    rows = [[0.0, 0.0] for _ in range(4)]
    rows[rival] = [0.0, 1.0]  # above the own class, 2, at (0, 2) alone
    other = zoo.build(zoo.chain((2,), zoo._dense_of(rows, [1.5 if k == 2 else 0.0 for k in range(4)])))
    result = mixing(zoo.build(folded()), np.array([[2.0, 0.0]]), [0], layer="relu3", reference=other, extent="none",
                    domain=Box(-3 * np.ones(2), 3.0))  # fmt: skip
    assert result.verdicts[0, 0] == DIFFERS and result.answers[0, 0] == rival and result.points[0, 0, 1] >= 1.5


def test_layers_in_residual_branches_do_not_cut():
    graph = Graph((2,))
    graph.add("z", dense(np.eye(2), None), INPUT)
    graph.add("branch", relu((2,)), "z")
    graph.add("sum", Sum((1.0, 1.0), (2,)), "branch", INPUT)
    graph.add("after", relu((2,)), "sum")
    graph.add("out", dense(np.ones((1, 2)), None), "after")
    net = graph.network()
    assert not cuts(net, "branch") and cuts(net, "after") and cuts(net, "out")
    result = mixing(net, np.array([[-1.0, -1.0], [-2.0, -1.0]]), [0, 1], extent="none")
    assert result.layers == ("branch", "after") and result.cuts.tolist() == [False, True]
    assert "does not imply equal output" in str(result).splitlines()[1]


def test_budget_and_bad_input(tmp_path):
    net, X = zoo.build(folded()), np.array([[2.0, 0.0], [0.0, 2.0]])
    short = mixing(net, X, [0, 1], progress=Progress(max_seconds=0.0))
    assert short.completeness is Completeness.BUDGET and np.isnan(short.distances).all()
    assert load_result(save(short, tmp_path / "m.npz")).layers == short.layers
    for arguments, error in (
        ((X, [0]), ShapeError),
        ((X, [0.5, 1.0]), ShapeError),
        ((X * np.nan, [0, 1]), DataError),
        ((X[:0], np.zeros(0, dtype=int)), DataError),
        ((np.zeros((2, 3)), [0, 1]), ShapeError),
    ):
        with pytest.raises(error):
            mixing(net, *arguments)
    with pytest.raises(ArgumentError):
        mixing(net, X, [0, 1], layer="nowhere")
    with pytest.raises(ArgumentError):
        mixing(net, X, [0, 1], layer="input")
    with pytest.raises(ArgumentError, match="extent"):
        mixing(net, X, [0, 1], extent="farthest")
    with pytest.raises(ShapeError):
        mixing(net, X, [0, 1], domain=Box(np.zeros(3), 1.0))
    with pytest.raises(ShapeError):
        mixing(net, X, [0, 1], reference=zoo.build(zoo.chain((3,), zoo._dense_of([[1.0, 1.0, 1.0]]))))


def test_command(tmp_path):
    from onnx import TensorProto, helper, numpy_helper
    from onnx import save as write

    nodes = [
        helper.make_node("Gemm", ["x", "W"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["y"], name="relu1"),
    ]
    weights = [numpy_helper.from_array(np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32), "W")]
    graph = helper.make_graph(nodes, "t", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])], weights)  # fmt: skip
    write(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", test_images=np.array([[1.0, 0.0], [1.0, 3.0]]), test_labels=np.array([0, 1]))
    given = ["mixing", tmp_path / "m.onnx", "--data", tmp_path / "d.npz", "--scale", 1]
    done = CliRunner().invoke(
        app, [str(a) for a in (*given, "--reference", tmp_path / "m.onnx", "--out", tmp_path / "r")]
    )
    assert done.exit_code == 0, done.output
    assert "1 pairs of different labels" in done.stdout and "2 proven the same" in done.stdout


@pytest.mark.parametrize("kind", ["dense", "residual"])
def test_the_own_piece_is_climbed_before_it_is_searched(kind, monkeypatch):
    """Points found by climbing are in the preimage exactly, and the exact reference reads them differently."""
    from plica.analyses.preimage import joint

    data, draw = zoo.random_net(kind, 5, degenerate=False)
    n = int(np.prod(data["input"]))
    reference = zoo.chain((n,), draw.dense(6, n), zoo.RELU, draw.dense(3, 6))
    layer = next(name for name, k, _, _ in data["nodes"] if k in ("relu", "leaky"))
    X, box = np.random.default_rng(0).uniform(-1, 1, (6, n)), Box(np.full(n, -3.0), 3.0)
    given = (zoo.build(data), X, np.zeros(6, dtype=int))
    found = []
    settled = joint._settled
    monkeypatch.setattr(joint, "_settled", lambda *a: found.append(settled(*a)) or found[-1])
    seen = mixing(*given, layer=layer, reference=zoo.build(reference), domain=box, extent="none")
    climbed = [r for r in found if r is not None]
    monkeypatch.setattr(joint, "_climbed", lambda *a: None)
    searched = mixing(*given, layer=layer, reference=zoo.build(reference), domain=box, extent="none")
    assert seen.verdicts.tolist() == searched.verdicts.tolist() and len(climbed) <= (seen.verdicts == DIFFERS).sum()
    for i in np.flatnonzero(seen.verdicts[0] == DIFFERS):
        out = [[float(v) for v in networks.output(reference, u.tolist())] for u in (X[i], seen.points[0, i])]
        answer = seen.answers[0, i]
        assert answer != np.argmax(out[0]) and out[1][answer] >= max(out[1]) - 1e-9  # the float beside the exact point
        y, at = (unions.activity(data, u.tolist(), layer) for u in (X[i], seen.points[0, i]))
        assert max(abs(float(a - b)) for a, b in zip(y, at, strict=True)) < 1e-9
        assert box.contains(seen.points[0, i])
    assert kind != "dense" or climbed
