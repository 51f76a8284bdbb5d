"""Unions saved and taken over again; the commands preimage and preimage-of."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from typer.testing import CliRunner

import plica
import zoo
from plica import Box, Progress
from plica.analyses.preimage import Kind, preimage, preimage_of
from plica.analyses.preimage.union_piece import UnionPiece
from plica.cli.app import app
from plica.core.result import Completeness
from plica.errors import ArgumentError, DataError

runner = CliRunner()


def folded(scale=1.0):
    """|x1| + |x2| = 2 at relu3, in eight half-open pieces."""
    rows = [[scale, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    return zoo.build(zoo.chain((2,), zoo._dense_of(rows), zoo.RELU, zoo._dense_of([[1.0] * 4]), zoo.RELU))


X = np.array([2.0, 0.0])


def test_a_saved_union_is_taken_over(tmp_path):
    union = preimage(folded(), X, layer="relu3")
    path = plica.save(union.result(), tmp_path / "u.npz")
    again = preimage(folded(), X, layer="relu3").restore(plica.load_result(path))
    assert again.is_complete and again.kind is Kind.COMPACT and again._search.tally.programs == 0
    assert {p.found.key for p in again.pieces()} == {p.found.key for p in union.pieces()}
    assert again.result().dimensions.tolist() == union.result().dimensions.tolist()


def test_an_unfinished_union_goes_on():
    some = preimage(folded(), X, layer="relu3").result(max_pieces=3)
    assert some.completeness is Completeness.BUDGET and len(some.points) == 3
    union = preimage(folded(), X, layer="relu3").restore(some)
    keys = [p.found.key for p in union.pieces()]
    assert len(keys) == 8 == len(set(keys)) and union.is_complete


def test_a_union_with_many_inputs_is_checked_when_taken_over():
    rng = np.random.default_rng(2)
    layers = [zoo._dense_of(rng.normal(size=s).tolist()) for s in ((6, 80), (3, 6))]
    net, x = zoo.build(zoo.chain((80,), layers[0], zoo.RELU, layers[1], zoo.RELU)), rng.normal(size=80)
    box = Box(x - 0.1, x + 0.1)
    result = preimage(net, x, layer="relu3", domain=box).result()
    again = preimage(net, x, layer="relu3", domain=box).restore(result)
    assert again.is_complete and len(list(again.pieces())) == len(result.points)


def many_inputs():
    """80 inputs and a domain without upper sides: what a piece is takes programs."""
    rng = np.random.default_rng(2)
    layers = [zoo._dense_of(rng.normal(size=s).tolist()) for s in ((6, 80), (3, 6))]
    net, x = zoo.build(zoo.chain((80,), layers[0], zoo.RELU, layers[1], zoo.RELU)), rng.normal(size=80)
    return net, x, Box(x - 0.1, np.full(80, np.inf))


def test_pieces_that_the_time_did_not_describe_are_said(monkeypatch):
    net, x, box = many_inputs()
    whole = preimage(net, x, layer="relu3", domain=box)
    dimensions = whole.result(max_pieces=2).dimensions
    assert len(dimensions) == 2 and (dimensions >= 0).all()
    progress = Progress()
    union = preimage(net, x, layer="relu3", domain=box, progress=progress)
    list(union.pieces(2))
    progress.max_seconds = 0.0
    monkeypatch.setattr(Progress, "at_least", lambda self: self)
    result = union.result()
    assert result.dimensions.tolist() == [-1, -1] and result.dimension == -1 and not result.bounded.any()
    assert result.kind is Kind.UNDECIDED and "2 of unknown dimension" in result.summary()
    assert result.reason.endswith("The time ended before 2 pieces were described.")
    assert len(preimage(net, x, layer="relu3", domain=box).restore(result).found) == 2


def test_describing_pieces_is_part_of_the_time(monkeypatch):
    """With 0.3 s for each, a result of at most a second holds few of the 8 pieces; the last one's time may end."""
    own = UnionPiece.described

    def slow(piece, clock):
        time.sleep(0.3)
        return own(piece, clock)

    monkeypatch.setattr(UnionPiece, "described", slow)
    result = preimage(folded(), X, layer="relu3", progress=Progress(max_seconds=1.0)).result()
    assert result.completeness is Completeness.BUDGET and 1 <= len(result.points) <= 4
    assert result.header["seconds"] < 2.5 and (result.dimensions[:-1] >= 0).all()


def test_a_result_of_something_else_is_refused():
    result = preimage(folded(), X, layer="relu3").result()
    for other in (
        preimage(folded(), X, layer="relu1"),
        preimage(folded(), X, layer="relu3", domain=Box(np.zeros(2), 3.0)),
        preimage_of(folded(), (np.array([2.0]), 0.0), layer="relu3"),
    ):
        with pytest.raises(DataError, match="another"):
            other.restore(result)
    with pytest.raises(DataError, match="not one of this network"):
        preimage(folded(-1.0), X, layer="relu3").restore(result)


# --- commands ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same network as ONNX, and two images for it."""
    folder = tmp_path_factory.mktemp("union")
    from onnx import TensorProto, helper, numpy_helper, save

    W = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "W"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["a"], name="relu1"),
        helper.make_node("Gemm", ["a", "V"], ["w"], transB=1),
        helper.make_node("Relu", ["w"], ["y"], name="relu2"),
    ]
    weights = [numpy_helper.from_array(W, "W"), numpy_helper.from_array(np.ones((1, 4), dtype=np.float32), "V")]
    graph = helper.make_graph(nodes, "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])], weights)  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "tiny.onnx")
    np.savez(folder / "images.npz", test_images=np.array([[2.0, 0.0], [1.0, -1.0]]))
    np.save(folder / "y.npy", np.array([1.5]))
    return folder


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


def test_preimage_command(folder, tmp_path):
    given = ("preimage", folder / "tiny.onnx", "--data", folder / "images.npz", "--scale", 1, "--layer", "relu2")
    done = run(*given, "--x", 1, "--out", tmp_path / "u.npz")
    assert done.exit_code == 0, done.output
    assert "compact, 8 pieces (4 of dimension 0, 4 of dimension 1)" in done.stdout
    assert plica.load_result(tmp_path / "u.npz").dimension == 1
    near = json.loads(run(*given, "--x", 1, "--radius", 0.25, "--json").stdout)
    assert near["kind"] == "compact" and len(near["points"]) == 1
    positive = run(*given, "--lower", 0)
    assert "compact, 3 pieces" in positive.stdout
    later = run(*given, "--from-layer", "relu1", "--lower", 0)
    assert "in the space of 'relu1': compact, 1 pieces" in later.stdout
    few = run(*given, "--max-pieces", 2)
    assert few.exit_code == 3 and "2 pieces" in few.stdout
    assert isinstance(run(*given, "--x", 7).exception, (ArgumentError, DataError))
    assert isinstance(run(*given, "--from-layer", "relu1", "--radius", 1).exception, ArgumentError)


def test_preimage_of_command(folder):
    given = ("preimage-of", folder / "tiny.onnx", "--layer", "relu2")
    done = run(*given, "--y", folder / "y.npy", "--tolerance", 0.5)
    assert done.exit_code == 0 and "compact, 8 pieces (4 of dimension 1, 4 of dimension 2)" in done.stdout, done.output
    never = run(*given, "--y", folder / "y.npy", "--lower", 1)
    assert "rigorous, infeasible" in never.stdout and "empty, 0 pieces" in never.stdout
    wins = run("preimage-of", folder / "tiny.onnx", "--layer", "relu1", "--wins", 0, "--lower", -1, "--upper", 1)
    assert "unit 0 is a largest one" in wins.stdout and wins.exit_code == 0
    assert isinstance(run(*given).exception, ArgumentError)
    assert isinstance(run(*given, "--wins", 9).exception, ArgumentError)


def test_a_spent_budget_is_an_exit_code(folder):
    given = ("preimage", folder / "tiny.onnx", "--data", folder / "images.npz", "--scale", 1, "--layer", "relu2")
    assert run(*given, "--max-seconds", 0).exit_code == 3
    assert preimage(folded(), X, layer="relu3", progress=Progress(max_seconds=0)).result().kind is Kind.UNDECIDED
