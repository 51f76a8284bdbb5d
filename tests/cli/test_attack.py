"""plica attack, end to end."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from plica.cli.app import app
from plica.errors import ArgumentError, DataError, ImportMismatch, ModelError
from plica.store import load_result

runner = CliRunner()


def saved(path, W, V, b):
    """A file of V relu(W x) + b on four pixels."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = [numpy_helper.from_array(np.asarray(a, np.float32), name) for a, name in ((W, "W"), (V, "V"), (b, "b"))]
    nodes = [
        helper.make_node("Gemm", ["x", "W"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["a"], name="relu1"),
        helper.make_node("Gemm", ["a", "V", "b"], ["y"], name="fc", transB=1),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", n]) for name, n in (("x", 4), ("y", len(b)))]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six images of 2 x 2; the network's class is the brighter of the first two pixels. All but the last are right."""
    folder = tmp_path_factory.mktemp("attack")
    saved(folder / "tiny.onnx", np.eye(4), np.eye(2, 4), [0.0, 0.0])
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


@pytest.mark.parametrize(
    ("size", "options", "error", "words"),
    [
        (math.nan, (), ModelError, r"not\.onnx: tensor 'W' holds 4 numbers that are NaN or infinite; export"),
        (1e39, (), ModelError, r"tensor 'W' holds 4 numbers that are NaN or infinite; export"),
        (3e38, (), ImportMismatch, r"not\.onnx: .* random inputs is not finite; .*Export it again"),
        (1e36, ("--mean", "0.5", "--std", "1e-4"), DataError,
         "The model's output is NaN or infinite for 6 of 6 images, first for image 0; .* how the images are scaled"),
    ],
)  # fmt: skip
def test_a_model_whose_outputs_are_not_finite(folder, tmp_path, size, options, error, words):
    """Weights that are no numbers, weights that are too large, and images that are."""
    weights = np.where(np.eye(4) > 0, size, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        model = saved(tmp_path / "not.onnx", weights, [[1, 1, 0, 0], [1, -1, 0, 0]], [0, 0])
        done = run("attack", model, "--data", folder / "images.npz", *options)
    assert done.exit_code == 1 and isinstance(done.exception, error)
    assert re.search(words, str(done.exception)) and "\n" not in str(done.exception)


@pytest.mark.parametrize("method", ["auto", "fast", "lbfgs"])
def test_a_class_that_is_never_reached(folder, tmp_path, method):
    """The third logit is 0, the others are 1 or more."""
    model = saved(tmp_path / "two.onnx", np.eye(4), np.eye(3, 4) * [[1], [1], [0]], [1, 1, 0])
    given = ("attack", model, "--data", folder / "images.npz", "--targets", 2, "--method", method, "--limit", 3)
    done = run(*given, "--out", tmp_path / "none.npz")
    assert done.exit_code == 0 and "3 images: 3 not found" in done.stdout and "0 proven smallest" in done.stdout
    result = load_result(tmp_path / "none.npz")
    assert np.isnan(result.x_adv).all() and (result.target == -1).all() and (result.lower_bound == 0).all()
    for size in (result.distance, result.l2, result.linf, result.rms):
        assert np.isposinf(size).all()
    proof = run(*given, "--exact", "--dtype", "float64")
    assert "3 images: 3 proven that there is none" in proof.stdout and "largest gap" not in proof.stdout
    assert "0 proven smallest" in proof.stdout


@pytest.mark.parametrize(
    ("targets", "words"),
    [("9", "targets go from 9 to 9; the model has the classes 0 to 1."),
     ("-1", "targets = '-1'; use one of all, second, random, least, or class numbers."),
     ("nearest", "targets = 'nearest'; use one of all, second, random, least, or class numbers.")],
)  # fmt: skip
def test_targets_that_are_no_classes(folder, targets, words):
    done = run("attack", folder / "tiny.onnx", "--data", folder / "images.npz", "--targets", targets)
    assert done.exit_code == 1 and isinstance(done.exception, ArgumentError)
    assert str(done.exception) == words
