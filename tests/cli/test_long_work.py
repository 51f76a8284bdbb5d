"""plica run: the same answers as the commands, kept in a folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from plica.cli import app as application
from plica.cli.app import app
from plica.cli.long_work import arguments
from plica.errors import ArgumentError, DataError
from plica.store import load_result


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A 4-3-2 network as ONNX, and eight labelled images of 2 x 2 for it."""
    from onnx import TensorProto, helper, numpy_helper, save

    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    weights = [("W", rng.normal(size=(3, 4))), ("b", rng.normal(size=3)), ("V", rng.normal(size=(2, 3)))]
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["z"], name="fc1", transB=1),
        helper.make_node("Relu", ["z"], ["a"], name="relu1"),
        helper.make_node("Gemm", ["a", "V"], ["y"], name="fc2", transB=1),
    ]
    value = helper.make_tensor_value_info
    ends = [value("x", TensorProto.FLOAT, ["n", 4])], [value("y", TensorProto.FLOAT, ["n", 2])]
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights]
    graph = helper.make_graph(nodes, "tiny", *ends, tensors)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "tiny.onnx")
    images = rng.integers(0, 256, (8, 2, 2), dtype=np.uint8)
    np.savez(folder / "images.npz", test_images=images, test_labels=np.arange(8) % 2)
    return folder


def common(model, folder):
    return [model / "tiny.onnx", "--data", model / "images.npz", "--folder", folder]


def test_kinds_are_those_of_the_command(model, tmp_path):
    given = [*common(model, tmp_path / "job"), "--chunk", 3, "--set", "layer=relu1"]
    done = run("run", "preimage-kind", *given, "--out", tmp_path / "all.npz")
    assert done.exit_code == 0, done.output
    direct = run("preimage-kind", *given[:3], "--layer", "relu1", "--json")
    saved = load_result(tmp_path / "all.npz")
    assert saved.kinds.tolist() == json.loads(direct.stdout)["kinds"]
    assert saved.header["options"]["analysis"] == "preimage-kind"
    assert len(list((tmp_path / "job" / "chunks").iterdir())) == 3


def test_labels_seeds_and_single_inputs(model, tmp_path):
    done = run("run", "moments", *common(model, tmp_path), "--set", "cov=0.01", "--limit", 3, "--json")
    assert len(json.loads(done.stdout)["results"]) == 3
    box = ["--set", "box=[0, 1]"]
    done = run("run", "min-distortion", *common(model, tmp_path), *box, "--json")
    assert json.loads(done.stdout)["label"] == [0, 1] * 4, done.output


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["nothing"], 2, "preimage_kind"),
        (["preimage-kind"], 2, "needs layer"),
        (["preimage-kind", "--set", "layer"], 2, "NAME=VALUE"),
        (["preimage-kind", "--set", "layer=relu1", "--set", "prior=@none.npy"], 2, "none.npy"),
        (["preimage-kind", "--set", "layer=relu1", "--max-seconds", "0"], 3, "time was up"),
    ],
)
def test_bad_input_and_no_time(given, code, words, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["plica", "run", given[0], *map(str, common(model, tmp_path)), *given[1:]])
    with pytest.raises(SystemExit) as end:
        application.run()
    error = capsys.readouterr().err
    assert (end.value.code, error.count("Traceback")) == (code, 0)
    assert words in error


def test_arguments(tmp_path):
    np.save(tmp_path / "p.npy", np.eye(2))
    given = ["layer=relu1", "cov=0.5", "layers=[0, 1]", "exact=true", f"prior=@{tmp_path / 'p.npy'}", "note=a=b"]
    found = arguments(given)
    assert found.pop("prior").tolist() == [[1, 0], [0, 1]]
    assert found == {"layer": "relu1", "cov": 0.5, "layers": [0, 1], "exact": True, "note": "a=b"}
    with pytest.raises(ArgumentError):
        arguments(["1x=2"])
    with pytest.raises(DataError):
        arguments(["x=@nothing.npy"])
