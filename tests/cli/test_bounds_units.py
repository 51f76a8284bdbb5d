"""plica bounds and plica units, end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from plica.cli.app import app
from plica.errors import ArgumentError
from plica.store import load_result

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A 4-3-3-2 network as ONNX, and eight images of 2 x 2 for it."""
    folder = tmp_path_factory.mktemp("units")
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    shapes = {"W": (3, 4), "b": (3,), "V": (3, 3), "U": (2, 3)}
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["a"], name="relu1"),
        helper.make_node("Gemm", ["a", "V"], ["w"], transB=1),
        helper.make_node("Relu", ["w"], ["c"], name="relu2"),
        helper.make_node("Gemm", ["c", "U"], ["y"], name="fc", transB=1),
    ]
    weights = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]
    graph = helper.make_graph(nodes, "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])], weights)  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "tiny.onnx")
    np.savez(folder / "images.npz", test_images=rng.integers(0, 256, (8, 2, 2), dtype=np.uint8))
    return folder


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


def test_bounds_of_widths(tmp_path):
    done = run("bounds", "4,4,2", "--inputs", 2, "--out", tmp_path / "b.npz")
    assert done.exit_code == 0, done.output
    assert ">= 64  Theorem 4" in done.stdout
    assert load_result(tmp_path / "b.npz").upper == 484
    same = json.loads(run("bounds", "4x4x2", "--inputs", 2, "--json").stdout)
    assert [r["decimal"] for r in same["rows"] if r["name"] == "Theorem 4"] == ["64"]
    maxout = run("bounds", "2,2", "--inputs", 2, "--kind", "maxout", "--rank", 3)
    assert ">= 27  Theorem 8" in maxout.stdout
    huge = run("bounds", "40000", "--inputs", 2, "--json")
    assert len(json.loads(huge.stdout)["rows"][7]["decimal"]) == 12042


def test_bounds_of_a_model(folder):
    done = run("bounds", folder / "tiny.onnx", "--inputs", 2)
    assert done.exit_code == 0, done.output
    assert "relu, 2 inputs, layers of 3-3" in done.stdout
    assert isinstance(run("bounds", "4,4").exception, ArgumentError)
    assert run("bounds", "nothing.onnx").exit_code != 0


def test_units(folder, tmp_path):
    given = ("units", folder / "tiny.onnx", "--data", folder / "images.npz", "--scale", 255)
    done = run(*given, "--layer", "relu2", "--units", "0,2", "--out", tmp_path / "u.npz")
    assert done.exit_code == 0, done.output
    assert load_result(tmp_path / "u.npz").maps.shape == (8, 2, 4)
    clustered = run(*given, "--layer", "relu2", "--clusters", 2)
    assert "2 clusters for each of 3 units" in clustered.stdout
    values = load_result(tmp_path / "u.npz").values
    unit = 0 if values[:, 0].max() > 0 else 2
    level = float(values.max(0)[0 if unit == 0 else 1]) / 2 + 0.01
    equal = run(*given, "--layer", "relu2", "--units", unit, "--level", level)
    assert "EqualActivationResult: certified" in equal.stdout
    for wrong in (("--units", "0,2", "--level", "1"), ("--units", "a")):
        assert isinstance(run(*given, "--layer", "relu2", *wrong).exception, ArgumentError)


def test_a_module_is_read_too():
    """region_bounds of a torch module's network."""
    import plica

    net = plica.load(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), (2,))
    assert plica.region_bounds(net).upper == 7
    assert plica.unit_maps(net, torch.zeros(1, 2), layer=0).maps.shape == (1, 3, 2)


def test_maximisers_of_a_model(folder, tmp_path):
    words = ("maximisers", folder / "tiny.onnx", "--data", folder / "images.npz", "--layer", "relu1", "--top", 2)
    done = run(*words, "--directions", "centred", "--out", tmp_path / "m.npz")
    assert done.exit_code == 0 and "2 strongest images for 3 centred" in done.stdout, done.output
    assert load_result(tmp_path / "m.npz").images.shape == (3, 2)
    with pytest.raises(ArgumentError, match="8 images"):
        raise run(*words[:-1], 9).exception
