"""Figures 4, 5 and 7 to 10 of Behrmann et al. (2018): claims on networks whose spectra are known, and kept batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from plica.core.progress import Progress
from plica.errors import BudgetReached, DataError
from plica.experiments.behrmann2018 import FIGURES, correlation, spectra
from plica.experiments.behrmann2018.correlation import LEVELS, correlations
from plica.experiments.behrmann2018.models import cifar_net
from plica.experiments.behrmann2018.spectra import Study, counted, cut_off, grown, removes
from plica.experiments.figure import Setting
from plica.loaders import load

MINE = ("fig4", "fig5", "fig7", "fig8", "fig9", "fig10")


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """A few noise images in place of CIFAR-10 and MNIST, and thin networks."""
    rng = np.random.default_rng(0)
    for name, shape in (("cifar10_subset.npz", (3, 8, 8)), ("mnist.npz", (28, 28))):
        arrays = {f"{k}_images": rng.integers(0, 256, (12, *shape), dtype=np.uint8) for k in ("train", "test")}
        labels = {f"{k}_labels": rng.integers(0, 10, 12) for k in ("train", "test")}
        np.savez(tmp_path / name, **arrays, **labels)
    monkeypatch.setattr(spectra, "MAPS", {"WideCIFAR": (6, 6, 6, 4, 4, 6), "ThinCIFAR": (4, 4, 2, 2, 2, 4)})
    narrow = dataclasses.replace(spectra.MNIST_QUICK[0], width=60, epochs=1)
    monkeypatch.setattr(spectra, "MNIST_QUICK", (narrow,))
    return Setting(data=tmp_path, models=tmp_path / "models")


@pytest.mark.parametrize("name", MINE)
def test_every_figure_is_made(setting, name):
    (row,) = [row for row in FIGURES if row.name == name]
    claims, panels, standing = row.make(setting)
    claims, panels = list(claims), list(panels)
    assert panels and standing == "numerical"
    assert all(c.what and c.plica for c in claims)
    lowered = [c for c in claims if "lowers every singular value" in c.what]
    assert all(c.holds for c in lowered) and bool(lowered) == (name in ("fig7", "fig9", "fig10"))


def test_without_data_the_figures_say_what_they_need(tmp_path):
    for row in (row for row in FIGURES if row.name in MINE):
        with pytest.raises(DataError, match=r"npz"):
            row.make(Setting(models=tmp_path))


# --- spectra kept image by image --------------------------------------------------------------------------------


def small(setting, module=None, count=3):
    torch.manual_seed(0)
    module = module or cifar_net((4, 4, 4, 4, 4, 4), side=8, dense=12).eval()
    images = np.random.default_rng(1).random((count, 3, 8, 8))
    return load(module, (3, 8, 8)), module, images


def test_images_that_are_done_are_not_done_again(setting, monkeypatch):
    net, module, images = small(setting)
    first = spectra.spectra(setting, net, module, images[:2])
    done, own = [], spectra.spectrum
    monkeypatch.setattr(spectra, "spectrum", lambda *a, **k: (done.append(a[1]), own(*a, **k))[1])
    again = spectra.spectra(setting, net, module, images)
    assert len(done) == 1 and len(again) == 3
    np.testing.assert_array_equal(again.values[0][:2], first.values[0])
    with torch.no_grad():
        module[0].weight.mul_(2.0)
    spectra.spectra(setting, load(module, (3, 8, 8)), module, images[:1])
    assert len(done) == 2  # other weights, other spectra


def test_a_damaged_file_is_made_again_and_a_spent_budget_is_said(setting):
    net, module, images = small(setting, count=1)
    wanted = spectra.spectra(setting, net, module, images)
    (file,) = setting.models.glob("spectra-*.npz")
    file.write_bytes(b"no")
    np.testing.assert_array_equal(spectra.spectra(setting, net, module, images).values[0], wanted.values[0])
    file.unlink()
    with pytest.raises(BudgetReached):
        spectra.spectra(dataclasses.replace(setting, progress=Progress(max_seconds=0.0)), net, module, images)


# --- claims on networks whose answer is known -------------------------------------------------------------------


def diagonal(*layers: tuple[list[float], list[float]]) -> Study:
    """A network of diagonal layers: gains, and shifts that say which units are alive at an input of ones."""
    parts: list[nn.Module] = []
    for gains, shifts in layers:
        linear = nn.Linear(len(gains), len(gains))
        with torch.no_grad():
            linear.weight.copy_(torch.diag(torch.tensor(gains)))
            linear.bias.copy_(torch.tensor(shifts))
        parts += [linear, nn.ReLU()]
    net = load(nn.Sequential(*parts), (len(layers[0][0]),))
    x = np.ones((1, len(layers[0][0])))
    return Study("diagonal", net, x, 1.0, spectra.spectrum(net, x, net.choices))


def held(claims):
    return {claim.what: claim.holds for claim in claims if claim.holds is not None}


def test_what_fig4_says_is_found_and_its_opposite_too():
    grows, ones, none = [1.0, 0.5, 0.1], [1.0] * 3, [0.0] * 3
    cut = ([1.0] * 3, [0.0, 0.0, -10.0])
    steady = (ones, none)
    found = diagonal(steady, steady, (grows, none), steady, steady, cut)
    assert list(held(counted(found)).values()) == [True, True, True]
    found = diagonal((grows, none), steady, ([1.0, 2.0, 10.0], none), cut, steady, steady)
    assert list(held(counted(found)).values()) == [False, False, True]
    cutting = diagonal(steady, steady, steady, steady, (grows, [0.0, 0.0, -10.0]), steady)
    assert list(held(cut_off(cutting)).values()) == [True, True]
    assert list(held(cut_off(diagonal(*[steady] * 6))).values()) == [False, False]


def test_decay_and_removal():
    falls, none = [1.0, 1.0, 0.2], [0.0] * 3
    found = diagonal((falls, none), (falls, none), (falls, [0.0, -10.0, 0.0]))
    assert list(held(grown(found, 3)).values()) == [True]
    assert list(held(grown(found, 2)).values()) == [False]
    assert all(held(removes(found, (1, 3))).values())
    wrong = dataclasses.replace(found.found, values=tuple(v * (1 + j) for j, v in enumerate(found.found.values)))
    assert not any(held(removes(dataclasses.replace(found, found=wrong), (3,))).values())


def test_condition_three_against_the_matrix(setting):
    """Products by pushes and pulls are those of the rows, one by one."""
    net, _, images = small(setting, count=1)
    constants, counts, kept, removed = correlations(net, images, 2, setting)
    piece = net.piece(images[0])
    before = net.resolve(net.choices[1], "pre")
    A = piece.matrix(before).numpy()
    alive = net.values(net.as_batch(images), before)[before].flatten().numpy() > 0
    assert (kept, removed) == (alive.sum(), (~alive).sum()) and len(constants) == removed <= correlation.ROWS[False]
    rows = [np.sqrt(kept) * np.abs(A[alive] @ a) / np.linalg.norm(a) for a in A[~alive] if np.linalg.norm(a) > 0]
    np.testing.assert_allclose(np.sort(constants), np.sort([r.max() for r in rows]), rtol=1e-10)
    assert counts.tolist() == [max(int((r <= c).sum()) for r in rows) for c in LEVELS]
