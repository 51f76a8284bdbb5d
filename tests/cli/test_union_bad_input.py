"""plica preimage and preimage-of on what has no answer, or no meaning: what is said, and by which exit code."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from typer.testing import CliRunner

from plica.cli.app import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """relu(|x| + |y| - 1) as ONNX, inputs and outputs for it, good and bad."""
    folder = tmp_path_factory.mktemp("bad")
    weights = [("W", [[1, 0], [-1, 0], [0, 1], [0, -1]]), ("V", [[1, 1, 1, 1]]), ("c", [-1])]
    nodes = [
        helper.make_node("Gemm", ["x", "W"], ["z"], transB=1), helper.make_node("Relu", ["z"], ["a"], name="first"),
        helper.make_node("Gemm", ["a", "V", "c"], ["w"], transB=1), helper.make_node("Relu", ["w"], ["y"], name="last"),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(v, TensorProto.FLOAT, ["n", k]) for v, k in (("x", 2), ("y", 1))]
    known = [numpy_helper.from_array(np.array(v, dtype=np.float32), name) for name, v in weights]
    graph = helper.make_graph(nodes, "diamond", ends[:1], ends[1:], known)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "net.onnx")
    inputs = {"x": [[2.0, 0.0]], "nan": [[np.nan, 0.0]], "three": [[0.0, 0.0, 0.0]]}
    outputs = {"below": [-1], "far": [50], "two": [1, 2], "none": [], "y_nan": [np.nan], "y_inf": [np.inf]}
    for name, values in (inputs | outputs).items():
        np.save(folder / f"{name}.npy", np.array(values))
    (folder / "words.csv").write_text("a,b\n")
    return folder


def run(folder, command, *arguments):
    given = [folder / a if str(a).endswith((".npy", ".csv")) else a for a in arguments]
    return CliRunner().invoke(app, [str(a) for a in (command, folder / "net.onnx", "--layer", "last", *given)])


@pytest.mark.parametrize(
    "arguments",
    [
        ("preimage-of", "--y", "below.npy"),
        ("preimage-of", "--y", "below.npy", "--tolerance", 0.5),
        ("preimage-of", "--y", "far.npy", "--lower", -1, "--upper", 1),
        ("preimage", "--data", "x.npy", "--lower", 5, "--upper", 6),
    ],
)
def test_what_nothing_reaches_is_said_with_its_proof(folder, arguments):
    done = run(folder, *arguments, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0 and found["kind"] == "empty" and len(found["points"]) == 0
    assert (found["standing"], found["completeness"]) == ("rigorous", "infeasible")
    assert "No input of the domain reaches the target" in run(folder, *arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("preimage-of", "--y", "two.npy"), "y has 2 entries; the layer has 1 units"),
        (("preimage-of", "--y", "none.npy"), "y has 0 entries"),
        (("preimage-of", "--y", "y_nan.npy"), "1 entries that are NaN or infinite, first at 0"),
        (("preimage-of", "--y", "y_inf.npy"), "1 entries that are NaN or infinite, first at 0"),
        (("preimage-of", "--y", "words.csv"), "not a matrix of numbers"),
        (("preimage-of", "--y", "missing.npy"), "No such file"),
        (("preimage-of", "--wins", 7), "units 0 to 0"),
        (("preimage-of", "--wins", -1), "units 0 to 0"),
        (("preimage-of", "--wins", 0, "--lower", 1, "--upper", 0), "lower exceeds upper in 2 of 2"),
        (("preimage-of", "--wins", 0, "--lower", "nan"), "lower has entries that are NaN"),
        (("preimage-of", "--wins", 0, "--y", "far.npy"), "Give either --wins"),
        (("preimage", "--data", "nan.npy"), "1 values that are not finite"),
        (("preimage", "--data", "three.npy"), "input (2,) has 2"),
        (("preimage", "--data", "x.npy", "--x", 1), "there is no image 1"),
        (("preimage", "--data", "x.npy", "--lower", 1, "--upper", 0), "lower exceeds upper"),
        (("preimage", "--data", "x.npy", "--radius", 1, "--lower", 5), "entry 0 of the image is 2"),
        (("preimage", "--data", "x.npy", "--radius", 1, "--lower", 1, "--upper", 0), "lower exceeds upper"),
        (("preimage", "--data", "x.npy", "--from-layer", "last"), "does not come before"),
        (("preimage", "--data", "x.npy", "--from-layer", "first", "--radius", 1), "--radius is about the image"),
    ],
)
def test_what_has_no_meaning_is_refused(folder, arguments, words):
    done = run(folder, *arguments)
    assert done.exit_code == 1 and words in str(done.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("preimage-of", "--y", "far.npy", "--tolerance", -1),
        ("preimage-of", "--y", "far.npy", "--tolerance", "nan"),
        ("preimage", "--data", "x.npy", "--radius", -1),
        ("preimage", "--data", "x.npy", "--radius", "nan"),
        ("preimage", "--data", "x.npy", "--max-pieces", 0),
    ],
)
def test_numbers_out_of_range_are_usage_errors(folder, arguments):
    done = run(folder, *arguments)
    assert done.exit_code == 2 and "greater than or equal to" in done.output
