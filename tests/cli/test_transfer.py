"""plica transfer, end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from typer.testing import CliRunner

from plica.cli.app import app
from plica.store import load_result

runner = CliRunner()


def network(path, weights):
    """Two logits, linear in four pixels."""
    w = numpy_helper.from_array(np.array(weights, dtype=np.float32), "W")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "W"], ["y"], transB=1)], "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])], [w],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The second network prefers the second class: what misleads the first to it misleads both."""
    folder = tmp_path_factory.mktemp("transfer")
    network(folder / "fair.onnx", [[1, 0, 0, 0], [0, 1, 0, 0]])
    network(folder / "partial.onnx", [[1, 0, 0, 0], [0, 1.5, 0, 0]])
    images = np.array([[250, 20, 255, 0], [200, 30, 255, 0]], np.uint8).reshape(-1, 2, 2)
    np.savez(folder / "images.npz", test_images=images, test_labels=np.array([0, 0]))
    np.savez(folder / "bare.npz", images=images)
    return folder


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


def test_transfer(folder, tmp_path):
    given = ("transfer", folder / "fair.onnx", folder / "partial.onnx", "--data", folder / "images.npz")
    done = run(*given, "--noise", "0.05", "--amplify", "", "--json", "--out", tmp_path / "t.npz")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["models"] == ["fair.onnx", "partial.onnx"]
    assert found["rows"] == ["distorted for fair.onnx", "distorted for partial.onnx", "Gaussian noise 0.05"]
    assert found["errors"][:2] == [[1.0, 1.0], [0.0, 1.0]]
    kept = load_result(tmp_path / "t.npz")
    assert kept.distortions[0].status == ("found", "found") and kept.header["options"]["noise"] == "0.05"
    assert "distorted for fair.onnx" in run(*given).output


def test_models_of_one_name_are_told_apart(folder, tmp_path):
    network(tmp_path / "fair.onnx", [[1, 0, 0, 0], [0, 2, 0, 0]])
    done = run("transfer", folder / "fair.onnx", tmp_path / "fair.onnx", "--data", folder / "images.npz", "--json")
    assert [name[:2] for name in json.loads(done.stdout)["models"]] == ["0 ", "1 "]


def test_what_cannot_be(folder):
    one = run("transfer", folder / "fair.onnx", "--data", folder / "images.npz")
    assert one.exit_code and "two or more" in str(one.exception)
    bare = run("transfer", folder / "fair.onnx", folder / "partial.onnx", "--data", folder / "bare.npz")
    assert bare.exit_code and "no labels" in str(bare.exception)
    words = run("transfer", folder / "fair.onnx", folder / "partial.onnx", "--data", folder / "images.npz",
                "--noise", "much")  # fmt: skip
    assert words.exit_code and "--noise" in str(words.exception)
