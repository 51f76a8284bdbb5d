"""`plica reproduce`: figures are made, kept, taken again, left out; on a paper made up for these tests."""

import dataclasses
import json
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import plica
from plica.cli.app import app
from plica.core.result import Completeness, Standing
from plica.errors import BudgetReached
from plica.experiments import reproduce as module
from plica.experiments.figure import Claim, Panel, Row, Setting
from plica.experiments.reproduce import reproduce


@pytest.fixture
def paper(monkeypatch):
    """Made in turn: a figure that works, one that needs MNIST, one that runs out of time."""
    calls = []

    def works(setting):
        calls.append(setting.full)
        x = np.arange(1.0, 5.0)
        panels = [
            Panel("lines", "error", {"a": np.stack([x, 1 / x]), "b": np.stack([x, x, x - 1, x + 1])}, "n", "e", "xy"),
            Panel("scatter", "points", {"a": np.stack([x, x])}),
            Panel("bars", "counts", {"a": np.stack([x, x]), "b": np.stack([x, x])}),
            Panel("images", "digits", {str(k): np.full((4, 4), k / 12) for k in range(12)}),
            Panel("heat", "table", {"t": np.eye(3)}),
        ]
        claims = [Claim("slope | sign", "-1", "-1.0", True), Claim("size", "784", "64", None, "Digits instead.")]
        return claims, panels, Standing.RIGOROUS

    def mnist(setting):
        return [Claim("n", "60000", str(len(setting.images("mnist"))), True)], [], Standing.NUMERICAL

    def slow(setting):
        raise BudgetReached("max_seconds = 1 is reached.")

    rows = (Row("fig1", "Works", works, 2.0), Row("fig2", "Needs data", mnist), Row("table1", "Slow", slow))
    toy = types.ModuleType("toy2020")
    toy.FIGURES = rows
    monkeypatch.setitem(sys.modules, "toy2020", toy)
    monkeypatch.setitem(module.PAPERS, "toy2020", "toy2020")
    return calls


def test_figures_are_made_saved_and_drawn(paper, tmp_path):
    result = reproduce("toy2020", out=tmp_path)
    assert [f.completeness for f in result.figures] == ["complete", "infeasible", "budget reached"]
    assert result.standing == Standing.NUMERICAL
    folder = tmp_path / "toy2020"
    assert {p.name for p in folder.iterdir()} == {"fig1.npz", "fig1.png", "fig1.svg", "tables.md"}
    assert plica.load_result(folder / "fig1.npz").claims == result.figures[0].claims
    text = (folder / "tables.md").read_text(encoding="utf-8")
    assert "| slope \\| sign | -1 | -1.0 | yes |" in text
    assert "needs mnist.npz" in text
    assert "1 of 1 claims hold" in repr(result)


def test_a_second_run_takes_what_is_there_and_other_options_do_not(paper, tmp_path):
    reproduce("toy2020", ["fig1"], out=tmp_path)
    again = reproduce("toy2020", ["fig1"], out=tmp_path)
    assert len(paper) == 1
    assert again.figures[0].was_read
    assert again.completeness is Completeness.COMPLETE
    reproduce("toy2020", ["fig1"], out=tmp_path, full=True)
    assert paper == [False, True]
    (tmp_path / "toy2020" / "fig1.npz").write_bytes(b"damaged")
    reproduce("toy2020", ["fig1"], out=tmp_path)
    assert len(paper) == 3


def test_an_interrupt_keeps_what_is_done(paper, tmp_path, monkeypatch):
    def stop(setting):
        raise KeyboardInterrupt

    rows = sys.modules["toy2020"].FIGURES
    monkeypatch.setattr(sys.modules["toy2020"], "FIGURES", (rows[0], dataclasses.replace(rows[1], make=stop), rows[2]))
    result = reproduce("toy2020", out=tmp_path)
    assert result.completeness is Completeness.INTERRUPTED
    assert [f.name for f in result.figures] == ["fig1", "fig2"]


def test_wrong_names_say_which_there_are(paper, tmp_path):
    with pytest.raises(plica.ArgumentError, match=r"no paper 'nobody1900'\. There are: .*toy2020"):
        reproduce("nobody1900", out=tmp_path)
    with pytest.raises(plica.ArgumentError, match=r"no figure 'fig9'\. There are: fig1, fig2, table1"):
        reproduce("toy2020", ["fig9"], out=tmp_path)


def test_the_command(paper, tmp_path):
    done = CliRunner().invoke(app, ["reproduce", "toy2020", "fig1", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["figures"][0]["name"] == "fig1"
    assert CliRunner().invoke(app, ["reproduce", "toy2020", "--out", str(tmp_path)]).exit_code == 3


def test_data_sets_and_trained_networks(tmp_path):
    images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    parts = {f"{s}_{k}": v for s in ("train", "test") for k, v in (("images", images), ("labels", np.array([0, 1])))}
    np.savez(tmp_path / "mnist.npz", **parts)
    setting = Setting(data=tmp_path, models=tmp_path / "models")
    assert setting.images("mnist").images.max() == 31 / 255
    assert len(setting.images("digits", limit=7).images) == 7
    trained = []

    def train(m):
        trained.append(1)
        nn.init.constant_(m.weight, 3.0)

    for epochs in (1, 1, 2):
        found = setting.trained(nn.Linear(2, 2), train, {"name": "tiny", "epochs": epochs})
        assert torch.equal(found.weight, torch.full((2, 2), 3.0))
    assert len(trained) == 2
