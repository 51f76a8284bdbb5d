"""`plica certify` and `plica verify`: a saved result becomes a file that others check; the report does so itself."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import plica
from plica.cli.app import app
from plica.core.result import Completeness, Standing
from plica.show import ModelPart, ReportData, render
from plica.show.findings import findings

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A 4-6-3 network as an ONNX file, images, and the kinds of its first layer, saved."""
    from onnx import TensorProto, helper, numpy_helper, save

    place, rng = tmp_path_factory.mktemp("proof"), np.random.default_rng(0)
    weights = {"W": rng.normal(size=(6, 4)), "b": rng.normal(size=6), "V": rng.normal(size=(3, 6))}
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["z"], name="fc1", transB=1),
        helper.make_node("Relu", ["z"], ["a"], name="relu1"),
        helper.make_node("Gemm", ["a", "V"], ["y"], name="fc2", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), place / "tiny.onnx")
    images = rng.random((8, 2, 2)).astype(np.float32)
    np.savez(place / "images.npz", test_images=images)
    plica.save(plica.preimage_kind(plica.load(place / "tiny.onnx"), images.reshape(8, 4), layer=0), place / "kinds.npz")
    return place


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


def certified(folder, index):
    path = folder / f"claim{index}.json"
    end = run("certify", folder / "kinds.npz", folder / "tiny.onnx", "--path", path, "--data", folder / "images.npz",
              "--index", index)  # fmt: skip
    assert end.exit_code == 0, end.output
    return path


@pytest.mark.parametrize("index", [0, 7])
def test_a_saved_result_becomes_a_claim_that_is_accepted(folder, index):
    path = certified(folder, index)
    end = run("verify", path, "--model", folder / "tiny.onnx")
    kind = plica.load_result(folder / "kinds.npz").kinds[index]
    assert end.exit_code == 0 and "accepted" in end.output and str(kind) in end.output
    shown = json.loads(run("verify", path, "--model", folder / "tiny.onnx", "--json").output)
    assert shown["standing"] == "certified"


PROPERTY = """(declare-const X_0 Real)(declare-const X_1 Real)(declare-const X_2 Real)(declare-const X_3 Real)
(declare-const Y_0 Real)(declare-const Y_1 Real)(declare-const Y_2 Real)
(assert (>= X_0 0.2))(assert (<= X_0 0.4))(assert (>= X_1 0.2))(assert (<= X_1 0.4))
(assert (>= X_2 0.1))(assert (<= X_2 0.3))(assert (>= X_3 0.5))(assert (<= X_3 0.6))
(assert (or (and (>= Y_A Y_B) (>= Y_A Y_C)) (and (<= Y_B Y_A) (<= Y_B -100.0))))
"""


@pytest.mark.parametrize("case", [0, 1])
def test_a_preimage_that_a_property_asks_for(folder, case):
    asked = folder / "asked.vnnlib"
    order = np.argsort(-plica.load(folder / "tiny.onnx")(np.array([[0.3, 0.3, 0.2, 0.55]])).detach().numpy().ravel())
    text = PROPERTY
    for letter, number in zip("ABC", order, strict=True):
        text = text.replace(f"Y_{letter}", f"Y_{number}")
    asked.write_text(text)
    given, model = ["--property", asked, "--case", case], folder / "tiny.onnx"
    saved, path = folder / f"asked{case}.npz", folder / f"asked{case}.json"
    done = run("preimage-of", model, "--layer", plica.load(model).layers[-1], *given, "--out", saved)
    assert done.exit_code == 0, done.output
    for wrong, words in (([*given, "--wins", 0], "Give one of"), ([], "target")):
        end = run("certify", saved, model, "--path", path, *wrong)
        assert end.exit_code != 0 and words in str(end.exception) + end.output
    end = run("certify", saved, model, "--path", path, *given)
    assert end.exit_code == 0, end.output
    end = run("verify", path, "--model", model)
    assert end.exit_code == 0 and "accepted" in end.output
    assert ("there are no" in end.output) == (case == 1)
    asked.write_text(text.replace("0.6", "0.7"))
    end = run("certify", saved, model, "--path", path, *given)
    assert end.exit_code != 0 and "another box" in str(end.exception) + end.output


def test_the_checker_alone_accepts_it(folder):
    path = certified(folder, 1)
    alone = [sys.executable, "-I", "-S", str(Path(plica.__file__).parent / "checker.py"), str(path)]
    assert subprocess.run([*alone, str(folder / "tiny.onnx")], capture_output=True, check=False).returncode == 0
    assert subprocess.run([*alone, str(path)], capture_output=True, check=False).returncode == 1


def test_a_changed_claim_or_model_is_refused(folder):
    path = certified(folder, 2)
    body = json.loads(path.read_text())
    body["claims"][0]["dimension"] += 1
    (folder / "wrong.json").write_text(json.dumps(body))
    end = run("verify", folder / "wrong.json", "--model", folder / "tiny.onnx")
    assert end.exit_code == 2 and "refused" in end.output
    data = bytearray((folder / "tiny.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "other.onnx").write_bytes(data)
    assert run("verify", path, "--model", folder / "other.onnx").exit_code == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"--index": 8}, "8 images"), ({"--data": None}, "give the inputs"), ({"RESULT": "images.npz"}, "not a whole")],
)
def test_what_does_not_fit_is_said(folder, changed, words):
    options = {"--path": folder / "never.json", "--data": folder / "images.npz", "--index": 0} | changed
    words_given = [w for name, v in options.items() if name != "RESULT" and v is not None for w in (name, v)]
    end = run("certify", folder / changed.get("RESULT", "kinds.npz"), folder / "tiny.onnx", *words_given)
    assert end.exit_code != 0 and words in str(end.exception) + end.output
    assert not (folder / "never.json").exists()


def test_the_report_says_what_was_accepted_and_warns_of_what_was_not(folder):
    path = certified(folder, 3)
    good = plica.verify(path, folder / "tiny.onnx")
    (folder / "empty.json").write_text("{}")
    bad = plica.verify(folder / "empty.json", folder / "tiny.onnx")
    assert good and not bad and good.standing == Standing.CERTIFIED and good.completeness == Completeness.COMPLETE
    page = render(ReportData({}, (ModelPart("tiny", {}, (good,)),)))
    assert "1 claim of this page, drawn at random, was proven again" in page
    both = ReportData({}, (ModelPart("tiny", {}, (good, bad)),))
    assert "1 could not be proven again" in render(both) and ">refused<" in render(both)
    first = findings(both)[0]
    assert first.is_warning and first.number == "1" and "2 about tiny" in first.sentence


def test_a_saved_bound_becomes_a_claim_that_is_accepted(folder):
    net, images = plica.load(folder / "tiny.onnx"), np.load(folder / "images.npz")["test_images"].reshape(8, 4)
    result = plica.min_distortion(net, images[:2], method="fast", exact=True)
    plica.save(result, folder / "bound.npz")
    path = folder / "bound.json"
    end = run("certify", folder / "bound.npz", folder / "tiny.onnx", "--path", path, "--data", folder / "images.npz",
              "--index", 1)  # fmt: skip
    assert end.exit_code == 0, end.output
    end = run("verify", path, "--model", folder / "tiny.onnx")
    radius = float.fromhex(json.loads(path.read_text())["claims"][0]["radius"])
    assert end.exit_code == 0 and "accepted" in end.output
    assert 0.999 * result.lower_bound[1] <= radius <= result.distance[1]


def test_saved_preimages_become_claims_that_are_accepted(folder):
    files = [folder / "tiny.onnx", "--layer", "relu1", "--data", folder / "images.npz"]
    assert run("preimage", *files, "--x", 2, "--radius", 0.5, "--out", folder / "whole.npz").exit_code == 0
    end = run("certify", folder / "whole.npz", folder / "tiny.onnx", "--path", folder / "whole.json", "--index", 2,
              "--data", folder / "images.npz")  # fmt: skip
    assert end.exit_code == 0, end.output
    end = run("verify", folder / "whole.json", "--model", folder / "tiny.onnx")
    assert end.exit_code == 0 and "closed pieces" in end.output
    ask = ["preimage-of", folder / "tiny.onnx", "--layer", "fc2", "--wins", 1, "--lower", 0, "--upper", 1]
    assert run(*ask, "--out", folder / "wins.npz").exit_code == 0
    made = [folder / "wins.npz", folder / "tiny.onnx", "--path", folder / "wins.json"]
    assert "target" in str(run("certify", *made).exception)
    assert run("certify", *made, "--wins", 1).exit_code == 0
    assert run("verify", folder / "wins.json", "--model", folder / "tiny.onnx").exit_code == 0


def test_the_box_of_a_bound_is_the_result_s_or_the_one_given(folder):
    net, images = plica.load(folder / "tiny.onnx"), np.load(folder / "images.npz")["test_images"].reshape(8, 4)
    result = plica.min_distortion(net, images[:2], method="fast", exact=True, box=plica.Box(-0.25, 1.25))
    path = plica.certify(result, net, images, path=folder / "boxed.json")
    assert set(json.loads(path.read_text())["claims"][0]["lower"]) == {(-0.25).hex()}
    plica.save(result, folder / "boxed.npz")
    end = run("certify", folder / "boxed.npz", folder / "tiny.onnx", "--path", path, "--data", folder / "images.npz",
              "--lower", 0, "--upper", 2)  # fmt: skip
    assert end.exit_code == 0, end.output
    assert set(json.loads(path.read_text())["claims"][0]["upper"]) == {(2.0).hex()}
    assert plica.verify(path, folder / "tiny.onnx")
