"""--property: a .vnnlib file as domain and target of commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from plica.cli.app import app

TEXT = """(declare-const X_0 Real) (declare-const X_1 Real) (declare-const Y_0 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (>= X_1 -1)) (assert (<= X_1 1))
(assert (or (>= Y_0 1.5) (<= Y_0 -0.5)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The network relu(x0) + relu(x1) as pt2, and properties of it."""
    folder = tmp_path_factory.mktemp("property")
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)).eval()
    with torch.no_grad():
        for layer, weight in ((module[0], torch.eye(2)), (module[2], torch.ones(1, 2))):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 2),)), folder / "sum.pt2")
    (folder / "two.vnnlib").write_text(TEXT)
    (folder / "small.vnnlib").write_text("(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_preimage_of_a_property(folder):
    common = ["preimage-of", folder / "sum.pt2", "--trust-pickle", "--layer", "-1", "--json"]
    for case, kind in ((0, "compact"), (1, "empty")):
        found = json.loads(run(*common, "--property", folder / "two.vnnlib", "--case", case).stdout)
        assert found["kind"] == kind
    upper = np.array(json.loads(run(*common, "--property", folder / "two.vnnlib", "--case", 0).stdout)["upper"])
    assert np.allclose(upper, 1.0)


def test_lipschitz_on_the_box_of_a_property(folder):
    done = run("lipschitz", folder / "sum.pt2", "--trust-pickle", "--property", folder / "two.vnnlib", "--case", 0)
    assert "on a box of 2 variables with sides 2 to 2" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--property", "two.vnnlib"], "2 cases"),
        (["--property", "two.vnnlib", "--case", "2"], "no case 2"),
        (["--property", "small.vnnlib"], "1 inputs and 1 outputs, the network 2 and 1"),
        (["--property", "none.vnnlib"], "does not exist"),
        (["--property", "two.vnnlib", "--wins", "0"], "either"),
        ([], "either"),
    ],
)
def test_bad_properties(options, words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = run("preimage-of", "sum.pt2", "--trust-pickle", "--layer", "-1", *options)
    assert words in str(done.exception)
