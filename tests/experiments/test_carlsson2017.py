"""Figures of Carlsson et al. (2017): every claim that the paper draws holds; what does not hold is known and said."""

import numpy as np
import pytest
import torch
from torch import nn

from plica.experiments.carlsson2017 import FIGURES
from plica.experiments.carlsson2017.convolutions import accumulated
from plica.experiments.carlsson2017.manifolds import tangents
from plica.experiments.carlsson2017.tiny import relu_network
from plica.experiments.figure import Setting

DRAWN = ("fig1", "fig2", "fig3", "fig6")
ON_IMAGES = ("eq12", "s43")


def made(name, tmp_path):
    (row,) = [row for row in FIGURES if row.name == name]
    claims, panels, standing = row.make(Setting(models=tmp_path))
    return list(claims), list(panels), standing


@pytest.mark.parametrize("name", DRAWN)
def test_figures_drawn_from_exact_preimages(name, tmp_path):
    claims, panels, standing = made(name, tmp_path)
    assert panels and standing in ("certified", "rigorous")
    judged = [claim.holds for claim in claims if claim.holds is not None]
    assert len(judged) >= 3 and all(judged)


def test_what_holds_on_trained_kernels(tmp_path):
    claims, panels, _ = made("eq12", tmp_path)
    held = {claim.what: claim.holds for claim in claims}
    assert held.pop("(10): the accumulated kernel is the convolution of the layers' kernels")
    assert [
        held.pop(f"the constant vector is a null vector of the {k} layer's kernels") for k in ("first", "second")
    ] == [
        False,
        False,
    ]
    assert len(held) == 4 and all(held.values())
    assert panels[0].kind == "images"


def test_classes_spread_over_the_units_of_these_networks(tmp_path):
    claims, _, _ = made("s43", tmp_path)
    assert [claim.holds for claim in claims] == [False, False]


def test_accumulated_kernels_by_hand():
    """A kernel that picks one pixel, and one that doubles its left neighbour: the product is one entry."""
    module = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.ReLU(), nn.Conv2d(1, 1, 3))
    with torch.no_grad():
        module[0].weight.zero_()[0, 0, 1, 1] = 1.0
        module[2].weight.zero_()[0, 0, 1, 0] = 2.0
    wanted = np.zeros((7, 7))
    wanted[3, 1] = 2.0
    np.testing.assert_array_equal(accumulated(module)[0], wanted)


def test_tangents_of_a_ramp():
    """The central difference of a ramp under a shift is its slope, backwards, away from the border."""
    ramp = np.tile(np.arange(8.0), (8, 1)) / 8
    found = tangents(ramp)["shift right"].reshape(8, 8)
    np.testing.assert_allclose(found[:, 2:-2], -1 / 8)


def test_tiny_networks_are_exact():
    net = relu_network(([[1.0, -2.0]], [0.5]))
    assert net(np.array([[1.0, 0.25], [0.0, 1.0]])).tolist() == [[1.0], [0.0]]
