"""Figures 1 to 7 and Tables 1 to 4 of Szegedy et al. (2013), in small: on the digits, or a network made here."""

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.errors import DataError
from plica.experiments.figure import Setting
from plica.experiments.szegedy2013 import FIGURES, nets, pictures, pools, tables, units

ORDER = [*(f"fig{k}" for k in range(1, 8)), "training", *(f"table{k}" for k in range(1, 6))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(nets, "TRAINED", 300)
    monkeypatch.setattr(nets, "ITERATIONS", 25)
    monkeypatch.setattr(tables, "SEARCHED", 8)
    monkeypatch.setattr(pictures, "SEARCHED", 8)


def made(name, folder):
    (row,) = [row for row in FIGURES if row.name == name]
    claims, panels, standing = row.make(Setting(models=folder))
    return {claim.what: claim for claim in claims}, list(panels), standing


def test_rows_are_in_the_order_of_the_paper():
    assert [row.name for row in FIGURES] == ORDER


@pytest.mark.parametrize("name", ["fig1", "fig2"])
def test_strongest_images(name, folder):
    claims, panels, standing = made(name, folder)
    assert claims["images within each row share semantic properties"].holds is True
    assert len(claims) == 3 and standing == "numerical"
    assert all(picture.ndim == 2 for picture in panels[0].series.values())


@pytest.mark.parametrize("name", ["fig3", "fig4", "fig5", "fig6"])
def test_without_colour_images_it_is_said(name, folder):
    with pytest.raises(DataError, match="CIFAR"):
        made(name, folder)


@pytest.fixture
def colour(monkeypatch):
    """A network of ten classes on small colour images in place of the one at hand; its answers are the labels."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 10)).eval()
    net = plica.load(module, (3, 8, 8)).cast(torch.float32)
    x = np.random.default_rng(0).random((80, 3, 8, 8))
    with torch.no_grad():
        logits = module(torch.from_numpy(x).float())
        module[3].bias -= logits.mean(0)
    net = plica.load(module, (3, 8, 8)).cast(torch.float32)
    y = net.logits(torch.from_numpy(x).float()).argmax(1).numpy()
    for place in (pictures, units):
        monkeypatch.setattr(place, "cifar", lambda _: (net, x, y))
    return net, x, y


@pytest.mark.parametrize("name", ["fig3", "fig4", "fig5", "fig6"])
def test_colour_figures(name, folder, colour):
    claims, panels, _ = made(name, folder)
    if name in ("fig3", "fig4"):
        assert len(claims) == 3
    if name == "fig5":
        assert claims["every image is predicted as the class aimed at"].holds is True
    if name == "fig6":
        assert claims["cars are not recognised after a small change"].holds is True
    assert all(picture.shape[-1] == 3 for picture in panels[0].series.values())


def test_the_binary_reading(colour):
    net, x, _ = colour
    logits = net.logits(torch.from_numpy(x).float()).detach()
    two = pictures._CarOrNot(net).eval()(torch.from_numpy(x).float()).detach()
    for row, pair in zip(logits.tolist(), two.tolist(), strict=True):
        car = row.pop(pictures.CAR)
        assert pair == pytest.approx([max(row), car], abs=1e-5)


def test_distorted_digits(folder):
    claims, panels, _ = made("fig7", folder)
    for name in ("FC10(1e-4)", "FC200-200-10"):
        assert claims[f"accuracy of {name} on images distorted for it"].holds is True
    assert len(panels) == 2 and len(claims) == 4


def test_six_networks(folder):
    claims, _, standing = made("table1", folder)
    assert len(claims) == 8 and standing == "estimate"
    assert claims["the more weight decay, the larger the smallest distortion"].holds is True


def test_across_models(folder):
    claims, panels, _ = made("table2", folder)
    rows = [c for what, c in claims.items() if what.startswith(("distorted for", "Gaussian"))]
    assert len(rows) == 8 and [r.paper for r in rows][:2] == [
        "100 %, 11.7 %, 22.7 %, 2 %, 3.9 %, 2.7 %", "87.1 %, 100 %, 35.2 %, 35.9 %, 27.3 %, 9.8 %"]  # fmt: skip
    assert claims["the images made for a model mislead it always"].holds is True
    error = panels[0].series["error"]
    assert error.shape == (8, 6) and (error[:6].diagonal() == 1).all()


def test_halves_and_what_carries_over(folder):
    claims, _, _ = made("table3", folder)
    assert len(claims) == 4
    claims, panels, _ = made("table4", folder)
    assert panels[0].series["error"].shape == (3 + 2 + 6, 3)
    assert claims["x + 0.1 (x' - x) / |x' - x| is meant"].plica
    assert claims["Gaussian noise 0.1: errors of FC100-100-10, FC123-456-10, FC100-100-10'"].paper.startswith("2.6")
    amplified = [what for what in claims if "to stddev 0.1" in what]
    assert [claims[what].paper[:5] for what in amplified] == ["100 %", "96 %,", "27 %,"]


def test_ways_of_training(folder, monkeypatch):
    monkeypatch.setattr(pools, "EPOCHS", 6)
    monkeypatch.setattr(pools, "COMPARED", 10)
    claims, panels, _ = made("training", folder)
    assert len(claims) == 6 + 4
    assert {name: curve.shape for name, curve in panels[0].series.items()} == {w.name: (2, 6) for w in pools.WAYS}
    assert claims["test error, a pool for each layer"].paper == "below 1.2 %"


def test_halves_share_no_image():
    data = nets.images(Setting())
    first, second = data.half(1), data.half(2)
    assert len(first.x) == len(second.x) == len(data.x) // 2
    assert torch.equal(torch.cat([first.x, second.x]), data.x[: 2 * len(first.x)])


def test_a_network_is_trained_once(folder, monkeypatch):
    data = nets.images(Setting())
    setting = Setting(models=folder)
    first = nets.network(setting, nets.RECIPES["FC10(1e-4)"], data)
    monkeypatch.setattr(nets, "train", None)
    again = nets.network(setting, nets.RECIPES["FC10(1e-4)"], data)
    assert torch.equal(first[0].weight, again[0].weight)
