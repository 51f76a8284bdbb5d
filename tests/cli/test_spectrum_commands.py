"""Commands about stability end to end: spectrum, removed-rows, admissible-sets."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from plica.cli.app import app
from plica.store import load_result


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small convolutional network as pt2, four images for it, and a matrix."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 3)
    ).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 1, 4, 4),)), folder / "tiny.pt2")
    rng = np.random.default_rng(0)
    np.savez(folder / "images.npz", test_images=rng.integers(0, 256, (4, 4, 4), dtype=np.uint8))
    np.savetxt(folder / "A.csv", [[1.0, 0.0], [0.01, 1.0]], delimiter=",")
    return folder


def test_spectrum(folder, tmp_path):
    common = ("spectrum", folder / "tiny.pt2", "--data", folder / "images.npz", "--trust-pickle", "--scale", 255)
    out = tmp_path / "s.npz"
    done = run(*common, "--limit", 2, "--vectors", 1, "--side", "post", "--out", out)
    assert done.exit_code == 0, done.output
    assert "condition" in done.stdout
    result = load_result(out)
    assert len(result) == 2
    assert result.directions[0].shape == (2, 2, 1, 4, 4)
    done = run(*common, "--layers", 0, "--window", ":,1:3,:", "--limit", 1, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["inputs"] == 8
    assert run(*common, "--window", "1-3", "--limit", 1).exit_code != 0


def test_removed_rows_and_admissible_sets(folder, tmp_path):
    done = run("removed-rows", folder / "A.csv", "--removed", "1", "--out", tmp_path / "r.npz")
    assert done.exit_code == 0, done.output
    assert "which does not hold" in done.stdout
    assert load_result(tmp_path / "r.npz").printed_fails
    done = run("removed-rows", folder / "A.csv", "--removed", "1", "--slopes", 0.1, "--json")
    assert json.loads(done.stdout)["leaky"] is not None
    done = run("admissible-sets", folder / "A.csv", "--out", tmp_path / "a.npz")
    assert "4 admissible sets" in done.stdout
    assert len(load_result(tmp_path / "a.npz")) == 4
    done = run("admissible-sets", folder / "A.csv", "--removed", "")
    assert "removing rows [] is admissible" in done.stdout
    assert run("removed-rows", folder / "A.csv", "--removed", "x").exit_code != 0
