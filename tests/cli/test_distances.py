"""certified-radius, error-rate, shared-activity and largest-activation, end to end."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from plica.cli.app import app
from plica.errors import ArgumentError, DataError
from plica.store import load_result

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of 2 x 2; the network's class is the brighter of the first two pixels."""
    folder = tmp_path_factory.mktemp("distances")
    from onnx import TensorProto, helper, numpy_helper, save

    weights = [numpy_helper.from_array(np.eye(4, dtype=np.float32), "W"),
               numpy_helper.from_array(np.eye(2, 4, dtype=np.float32), "V")]  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["x", "W"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["a"], name="relu1"),
        helper.make_node("Gemm", ["a", "V"], ["y"], name="fc", transB=1),
    ]
    graph = helper.make_graph(nodes, "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])], weights)  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "tiny.onnx")
    images = np.array([[255, 0], [0, 255], [102, 51]], np.uint8)
    images = np.concatenate([images, np.full_like(images, 255)], 1).reshape(-1, 2, 2)
    np.savez(folder / "images.npz", test_images=images, test_labels=np.array([0, 1, 0]))
    return folder


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


def test_all_four(folder, tmp_path):
    given = (folder / "tiny.onnx", "--data", folder / "images.npz")
    done = run("certified-radius", *given, "--norm", "inf", "--out", tmp_path / "r.npz")
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(load_result(tmp_path / "r.npz").radius, [0.5, 0.5, 0.1], rtol=2e-3)
    done = run(
        "error-rate", *given, "--norm", "inf", "--radii", "0.05,0.4", "--samples", 500, "--out", tmp_path / "e.npz"
    )
    assert done.exit_code == 0 and "proven to be 0 for 3" in done.stdout
    often = load_result(tmp_path / "e.npz")
    assert often.none[:, 0].all() and 0 < often.rate[2, 1] < 0.5 and often.samples == 500
    run("attack", *given, "--out", tmp_path / "a.npz")
    done = run("shared-activity", *given, "--others", tmp_path / "a.npz", "--out", tmp_path / "s.npz")
    assert done.exit_code == 0 and "3 pairs, 3 of two classes" in done.stdout
    done = run("largest-activation", *given, "--layer", "relu1", "--units", "0,2", "--out", tmp_path / "l.npz")
    assert done.exit_code == 0 and "2 largest values proven" in done.stdout
    np.testing.assert_allclose(load_result(tmp_path / "l.npz").upper_bound, [1, 1])


def test_what_is_no_attack_is_refused(folder, tmp_path):
    given = (folder / "tiny.onnx", "--data", folder / "images.npz")
    run("certified-radius", *given, "--out", tmp_path / "r.npz")
    wrong = run("shared-activity", *given, "--others", tmp_path / "r.npz")
    assert isinstance(wrong.exception, ArgumentError) and "plica attack" in str(wrong.exception)
    run("attack", *given, "--out", tmp_path / "a.npz")
    fewer = run("shared-activity", *given, "--others", tmp_path / "a.npz", "--limit", 2)
    assert isinstance(fewer.exception, DataError)
