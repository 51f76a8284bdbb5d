"""Figures 1, 2, 3 and 6 of Behrmann et al. (2018)."""

import pytest
import torch

from plica.experiments.behrmann2018 import FIGURES, kinds
from plica.experiments.behrmann2018.invariances import reader, vanilla
from plica.experiments.figure import Setting


def made(name, setting):
    (row,) = [row for row in FIGURES if row.name == name]
    claims, panels, standing = row.make(setting)
    return list(claims), list(panels), standing


@pytest.mark.parametrize("name", ["fig1", "fig2"])
def test_figures_drawn_in_the_plane(name, tmp_path):
    claims, panels, standing = made(name, Setting(models=tmp_path))
    assert len(claims) == 4 and all(claim.holds for claim in claims) and panels
    assert standing in ("certified", "rigorous") or name == "fig2"


def test_fig3_on_small_networks(tmp_path, shared_data, monkeypatch):
    """The recipe on fewer images: a hundred units leave only infinite preimages, a thousand mostly single points."""
    few = (kinds.Trained(100, 1e-3, 1, 2000), kinds.Trained(1000, 1e-3, 1, 2000))
    monkeypatch.setattr(kinds, "QUICK", few)
    monkeypatch.setattr(kinds, "IMAGES", 30)
    claims, panels, standing = made("fig3", Setting(data=shared_data, models=tmp_path))
    assert standing in ("certified", "rigorous") and len(panels) == 2
    assert next(claim.plica for claim in claims if claim.what == "fewer give").startswith(
        "compact: none; unbounded: 30"
    )
    assert all(sum(values[1].sum() for values in panel.series.values()) == 30 for panel in panels)
    (enough,) = [c for c in claims[3:] if c.what.startswith("at least 784")]
    assert enough.holds or enough.plica == "0 of 0"
    assert claims[-1].holds == ("compact" in claims[-2].plica and "unbounded: none" not in claims[-2].plica and
                                "compact: none" not in claims[-2].plica)  # fmt: skip


def test_networks_are_those_of_the_tables():
    dense = [tuple(p.shape) for p in vanilla().parameters() if p.ndim == 2]
    assert dense == [(100, 784), *[(100, 100)] * 9, (10, 100)]
    assert reader()(torch.zeros(2, 28, 28)).shape == (2, 10)
