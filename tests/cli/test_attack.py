"""plica attack, end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from plica.cli.app import app
from plica.errors import ArgumentError, DataError
from plica.store import load_result

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six images of 2 x 2; the network's class is the brighter of the first two pixels. All but the last are right."""
    folder = tmp_path_factory.mktemp("attack")
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
    images = np.array([[255, 0], [0, 255], [100, 50], [51, 102], [255, 254], [0, 51]], np.uint8)
    images = np.concatenate([images, np.full_like(images, 255)], 1).reshape(-1, 2, 2)
    np.savez(folder / "images.npz", test_images=images, test_labels=np.array([0, 1, 0, 1, 0, 0]))
    np.savez(folder / "grey.npz", test_images=images / 10.0, test_labels=np.array([0, 1, 0, 1, 0, 0]))
    return folder


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


def test_attack(folder, tmp_path):
    given = ("attack", folder / "tiny.onnx", "--data", folder / "images.npz")
    done = run(*given, "--out", tmp_path / "a.npz")
    assert done.exit_code == 0, done.output
    assert "5 found, 1 misclassified already" in done.stdout
    result = load_result(tmp_path / "a.npz")
    assert result.x_adv.dtype == np.float32 and result.x_adv.min() >= 0 and result.x_adv.max() <= 1
    gaps = np.array([255, 255, 50, 51, 1, 0]) / 255
    np.testing.assert_allclose(result.distance, gaps / np.sqrt(2), rtol=1e-4, atol=3e-6)
    assert result.header["options"]["norm"] == 2.0
    exact = run(*given, "--norm", "inf", "--dtype", "float64", "--json")
    body = json.loads(exact.stdout)
    np.testing.assert_allclose(np.array(body["distance"], float), gaps / 2, rtol=1e-5, atol=1e-9)
    proof = run(*given, "--exact", "--dtype", "float64", "--limit", 3)
    assert "3 proven smallest" in proof.stdout
    paper = run(*given, "--method", "lbfgs", "--targets", "second", "--limit", 2)
    assert "method lbfgs" in paper.stdout and paper.exit_code == 0
    assert "at layer relu1" in run(*given, "--layer", "relu1", "--targets", 0, "--lower", 0, "--method", "fast").stdout


def test_the_box_is_that_of_the_pixels(folder, tmp_path):
    """Pixels are normalised, black and white with them."""
    run("attack", folder / "tiny.onnx", "--data", folder / "images.npz", "--mean", "0.5", "--std", "0.1",
        "--out", tmp_path / "n.npz", "--norm", "1")  # fmt: skip
    found = load_result(tmp_path / "n.npz").x_adv
    assert found.min() >= -5 and found.max() <= 5 and found.max() > 4.9
    half = run("attack", folder / "tiny.onnx", "--data", folder / "images.npz", "--upper", "1.5", "--limit", 2)
    assert half.exit_code == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("--dtype", "half"), "--dtype half"),
        (("--method", "pgd"), "lbfgs_scipy"),
        (("--upper", "0.5"), "outside the box"),
        (("--data", "grey.npz"), "--lower and --upper"),
    ],
)
def test_bad_options(folder, wrong, words):
    option, value = wrong
    data = folder / (value if option == "--data" else "images.npz")
    more = () if option == "--data" else wrong
    done = run("attack", folder / "tiny.onnx", "--data", data, *more)
    assert done.exit_code != 0
    assert words in str(done.exception)
    assert isinstance(done.exception, ArgumentError) or "outside" in words


def test_a_norm_that_is_no_number(folder):
    done = run("attack", folder / "tiny.onnx", "--data", folder / "images.npz", "--norm", "two")
    assert done.exit_code == 2
    assert "--norm two: use 2, inf or 1." in done.output


def test_labels_that_are_no_classes(folder, tmp_path):
    images = np.array([[[200, 0], [255, 255]]], np.uint8)
    np.savez(tmp_path / "wrong.npz", test_images=images, test_labels=np.array([7]))
    done = run("attack", folder / "tiny.onnx", "--data", tmp_path / "wrong.npz")
    assert isinstance(done.exception, DataError) and "classes 0 to 1" in str(done.exception)
