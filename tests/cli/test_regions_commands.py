"""plica regions and plica count-regions, end to end."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from typer.testing import CliRunner

from plica.cli.app import app
from plica.errors import ArgumentError
from plica.store import load_result

runner = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Three lines in the plane that make seven cells."""
    path = tmp_path_factory.mktemp("regions") / "lines.onnx"
    W = numpy_helper.from_array(np.array([[1, 0], [0, 1], [1, 1]], np.float32), "W")
    b = numpy_helper.from_array(np.array([0, 0, -1], np.float32), "b")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "W", "b"], ["z"], transB=1), helper.make_node("Relu", ["z"], ["y"])], "lines",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])], [W, b],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return str(path)


def test_count_regions(model):
    done = runner.invoke(app, ["count-regions", model, "--lower", "-2", "--upper", "2"])
    assert done.exit_code == 0, done.output
    assert "7 activation regions" in done.output


def test_a_count_goes_on(model, tmp_path):
    out, other = tmp_path / "left.npz", tmp_path / "regions.npz"
    asked = ["count-regions", model, "--lower", "-2", "--upper", "2"]
    ended = runner.invoke(app, [*asked, "--max-seconds", "0", "--out", str(out)])
    assert ended.exit_code == 3
    assert "cells that wait: 1" in ended.output
    done = runner.invoke(app, [*asked, "--resume", str(out)])
    assert done.exit_code == 0, done.output
    assert "7 activation regions" in done.output
    runner.invoke(app, ["regions", *asked[1:], "--out", str(other)])
    wrong = runner.invoke(app, [*asked, "--resume", str(other)])
    assert isinstance(wrong.exception, ArgumentError)
    assert "give a saved count of regions" in str(wrong.exception)


def test_regions_are_written(model, tmp_path):
    out = tmp_path / "regions.npz"
    done = runner.invoke(app, ["regions", model, "--lower", "-2", "--upper", "2", "--maps", "--out", str(out)])
    assert done.exit_code == 0, done.output
    found = load_result(out)
    assert (found.count, found.linear_count) == (7, 7)
    assert found.sizes.sum() == pytest.approx(16.0)


def test_regions_are_written_in_parts(model, tmp_path):
    out = tmp_path / "parts"
    asked = ["stream-regions", model, "--lower", "-2", "--upper", "2", "--part", "3", "--out", str(out)]
    done = runner.invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "7 activation regions" in done.output
    parts = [load_result(file) for file in sorted(out.iterdir())]
    assert sum(part.count for part in parts) == 7
    again = runner.invoke(app, asked)
    assert again.exit_code != 0 and "earlier run" in str(again.exception)
    stopped = runner.invoke(app, [*asked[:-1], str(tmp_path / "none"), "--max-seconds", "0", "--json"])
    assert stopped.exit_code == 3 and '"budget reached"' in stopped.output


def test_lists_and_streams_go_on(model, tmp_path):
    box = [model, "--lower", "-2", "--upper", "2"]
    left, done = tmp_path / "left.npz", tmp_path / "done.npz"
    ended = runner.invoke(app, ["regions", *box, "--max-regions", "1", "--max-seconds", "0", "--out", str(left)])
    assert ended.exit_code == 3 and "regions(..., resume=this)" in ended.output
    rest = runner.invoke(app, ["regions", *box, "--maps", "--resume", str(left), "--out", str(done)])
    assert rest.exit_code == 0, rest.output
    assert load_result(done).linear_count == 7
    over = runner.invoke(app, ["regions", *box, "--resume", str(done)])
    assert "there is nothing left to do" in str(over.exception)

    out = tmp_path / "parts"
    asked = ["stream-regions", *box, "--out", str(out)]
    ended = runner.invoke(app, [*asked, "--max-seconds", "0"])
    last = out / "part-00000.npz"
    assert ended.exit_code == 3 and f"--resume {last}" in ended.output.replace("\n", "")
    again = runner.invoke(app, asked)
    assert isinstance(again.exception, ArgumentError) and f"--resume {last}" in str(again.exception)
    for wrong, words in ((left, "last part"), (done, "last part")):
        assert words in str(runner.invoke(app, [*asked, "--resume", str(wrong)]).exception)
    rest = runner.invoke(app, [*asked, "--resume", str(last)])
    assert rest.exit_code == 0, rest.output
    assert [load_result(f).count for f in sorted(out.iterdir())] == [0, 7]


def test_slips_say_what_to_do(model, tmp_path):
    data = tmp_path / "points.npz"
    points = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    points[2] = (points[0] + points[1]) / 3  # of a line through 0 only up to rounding
    points[1], points[0] = 3 * points[2], 0
    np.savez(data, images=points)
    slips = {
        "--lower and --upper": [],
        "flat in 2 variables": ["--lower", "0", "--upper", "0"],
        "lower exceeds upper": ["--lower", "1", "--upper", "0"],
        "unbounded; bound it": ["--lower", "-inf", "--upper", "0"],
        "on a line": ["--data", str(data), "--through", "0,1,2"],
        "repeated points": ["--data", str(data), "--through", "1,1"],
        "no image 7": ["--data", str(data), "--through", "0,1,7"],
        "give both corners": ["--lower", "0"],
        "give one domain": ["--lower", "0", "--upper", "1", "--data", str(data), "--through", "0,1"],
    }
    for words, where in slips.items():
        for command in (["regions"], ["stream-regions", "--out", str(tmp_path / "none")]):
            done = runner.invoke(app, [*command, model, *where])
            assert words in str(done.exception), (words, done.exception)
    assert not (tmp_path / "none").exists()
