"""Commands end to end, in processes' own terms: output, saved files, exit codes."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from plica.cli import app as application
from plica.cli.app import app
from plica.store import load_result

runner = CliRunner()
EYE = [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A 4-3-2 network as ONNX, and eight images of 2 x 2 for it."""
    from onnx import TensorProto, helper, numpy_helper, save

    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    weights = [("W", rng.normal(size=(3, 4))), ("b", rng.normal(size=3)), ("V", rng.normal(size=(2, 3)))]
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["z"], name="fc1", transB=1),
        helper.make_node("Relu", ["z"], ["a"], name="relu1"),
        helper.make_node("Gemm", ["a", "V"], ["y"], name="fc2", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "tiny.onnx")
    np.savez(folder / "images.npz", test_images=rng.integers(0, 256, (8, 2, 2), dtype=np.uint8))
    return folder


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


def ended(monkeypatch, capsys, *arguments):
    """Run as the shell does, and return the exit code and what stderr shows."""
    monkeypatch.setattr("sys.argv", ["plica", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        application.run()
    return end.value.code or 0, capsys.readouterr().err


# --- without a model --------------------------------------------------------------------------------------------


def test_version():
    import plica

    done = run("--version")
    lines = done.stdout.splitlines()
    assert (done.exit_code, lines[0]) == (0, f"plica {plica.__version__}")
    assert {"python", "torch", "numpy", "highspy", "onnx"} <= {line.split()[0] for line in lines}
    assert f"numpy {np.__version__}" in lines


@pytest.mark.parametrize("command", [[], *([c.name] for c in app.registered_commands)])
def test_help_of_every_command(command):
    done = run(*command, "--help")
    assert done.exit_code == 0
    assert "Usage: " in done.stdout


def test_is_omnidirectional_reads_csv_and_npy(tmp_path):
    np.save(tmp_path / "A.npy", np.array(EYE))
    np.savetxt(tmp_path / "A.csv", EYE, delimiter=",")
    np.savetxt(tmp_path / "half.csv", EYE[:2], delimiter=",")
    for name, expected in (("A.npy", True), ("A.csv", True), ("half.csv", False)):
        done = run("is-omnidirectional", tmp_path / name, "--json")
        assert done.exit_code == 0
        assert json.loads(done.stdout)["value"] is expected


def test_b_and_point_go_together(tmp_path):
    np.save(tmp_path / "A.npy", np.array(EYE))
    np.save(tmp_path / "p.npy", np.array([1.0, 2.0]))
    np.save(tmp_path / "b.npy", -np.array(EYE) @ [1.0, 2.0])
    options = ["--b", tmp_path / "b.npy", "--point", tmp_path / "p.npy"]
    assert "\nomnidirectional" in run("is-omnidirectional", tmp_path / "A.npy", *options).stdout


def test_saved_result_is_shown_again(tmp_path):
    np.save(tmp_path / "A.npy", np.array(EYE))
    first = run("is-omnidirectional", tmp_path / "A.npy", "--out", tmp_path / "r.npz")
    assert f"saved: {tmp_path / 'r.npz'}" in first.stdout
    again = run("load-result", tmp_path / "r.npz")
    assert again.exit_code == 0
    assert again.stdout.splitlines()[0] == first.stdout.splitlines()[0]
    assert "data_hash: " in again.stdout
    assert json.loads(run("load-result", tmp_path / "r.npz", "--json").stdout)["value"] is True


# --- bad input: exit code 2, one line, no traceback -------------------------------------------------------------


def test_missing_files(monkeypatch, capsys, tmp_path):
    for arguments in (
        ["load-result", tmp_path / "none.npz"],
        ["is-omnidirectional", tmp_path / "none.npy"],
        ["info", tmp_path / "none.onnx"],
        ["report", tmp_path / "none.onnx", "--data", tmp_path / "none.npz"],
    ):
        code, error = ended(monkeypatch, capsys, *arguments)
        assert code == 2, arguments
        assert re.fullmatch(r"plica: .*none\.\w+.*\n", error), arguments


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mean", "a"], "--mean a"),
        (["--input-shape", "2,b"], "--input-shape 2,b"),
        (["--layer", "nothing"], "relu1"),
        (["--layer", "7"], "layer"),
        (["--data", "none.npz"], "none.npz"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--limit", "0"], "limit"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_bad_options(monkeypatch, capsys, model, options, words):
    arguments = ["preimage-kind", model / "tiny.onnx", "--data", model / "images.npz", "--layer", "relu1"]
    code, error = ended(monkeypatch, capsys, *arguments, *options)
    assert code == 2
    assert words in error
    assert "Traceback" not in error


def test_report_of_a_model_needs_images(monkeypatch, capsys, model):
    code, error = ended(monkeypatch, capsys, "report", model / "tiny.onnx")
    assert (code, error.count("\n")) == (2, 1)
    assert "--data" in error


def test_impostor_counts_the_images(monkeypatch, capsys, model):
    arguments = ["impostor", model / "tiny.onnx", "--data", model / "images.npz", "--layer", "0"]
    code, error = ended(monkeypatch, capsys, *arguments, "--x", 0, "--towards", 8)
    assert code == 2
    assert "8 images" in error


# --- with a model -----------------------------------------------------------------------------------------------


def test_info(model):
    done = run("info", model / "tiny.onnx")
    assert done.exit_code == 0
    assert "relu1" in done.stdout


def test_preimage_kind_is_what_python_says(model, tmp_path):
    import plica
    from plica.loaders.images import read_images

    out = tmp_path / "kinds.npz"
    arguments = ["preimage-kind", model / "tiny.onnx", "--data", model / "images.npz", "--layer", "relu1"]
    assert run(*arguments, "--out", out, "--threads", torch.get_num_threads()).exit_code == 0
    net = plica.load(model / "tiny.onnx")
    images = read_images(model / "images.npz", shape=net.input_shape)
    expected = plica.preimage_kind(net, images.images, layer="relu1")
    saved = load_result(out)
    assert saved.kinds.tolist() == expected.kinds.tolist()
    assert saved.header["options"]["layer"] == "relu1"
    assert {"network_hash", "data_hash", "seconds", "plica"} <= saved.header.keys()
    assert json.loads(run(*arguments, "--json", "--limit", 3).stdout)["kinds"] == expected.kinds.tolist()[:3]


def test_nearest_facet_of_chosen_layers(model):
    arguments = ["nearest-facet", model / "tiny.onnx", "--data", model / "images.npz", "--json"]
    for extra in ([], ["--layers", "relu1"], ["--layers", "0"]):
        done = run(*arguments, *extra)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["layers"] == ["relu1"]


def test_impostor(model):
    arguments = ["impostor", model / "tiny.onnx", "--data", model / "images.npz", "--layer", "relu1", "--json"]
    found = json.loads(run(*arguments, "--x", 0, "--towards", 1).stdout)
    assert found["distance"] <= found["distance_start"]


def test_budget_ends_with_3_and_keeps_what_is_done(model, tmp_path):
    out = tmp_path / "kinds.npz"
    arguments = ["preimage-kind", model / "tiny.onnx", "--data", model / "images.npz", "--layer", "relu1"]
    done = run(*arguments, "--max-seconds", 0, "--out", out)
    assert done.exit_code == 3
    assert "budget reached" in done.stdout
    assert load_result(out).completeness == "budget reached"


def test_interrupt_ends_with_130(monkeypatch, capsys, model):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("plica.analyses.preimage.preimage_kind", interrupted)
    arguments = ["preimage-kind", model / "tiny.onnx", "--data", model / "images.npz", "--layer", "relu1"]
    code, _ = ended(monkeypatch, capsys, *arguments)
    assert code == 130
