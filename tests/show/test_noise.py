"""The section on noise: curves, whiskers, a map, and what is missing said; and the parts that compute it."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from plica.analyses.moments import moments
from plica.analyses.moments.uses import noise_curve
from plica.core.progress import Progress
from plica.errors import ArgumentError
from plica.experiments.report.model import Job
from plica.experiments.report.noise import PARTS
from plica.loaders import load
from plica.loaders.images import ImageSet
from plica.show import ModelPart, ReportData, render
from plica.show.levels import over_levels
from plica.show.sections.noise import SECTION

LEVELS = (0.0, 0.3, 1.0)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    return load(nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 3)), (1, 8, 8))


@pytest.fixture(scope="module")
def results(net, tmp_path_factory):
    images = ImageSet(np.random.default_rng(0).random((3, 1, 8, 8)), None, "noise")
    job = Job("net", net, images, tmp_path_factory.mktemp("report"), 0)
    return tuple(r for part in PARTS for r in part.compute(job, Progress(), ()))


def test_curves_agree_with_moments_and_with_themselves(net):
    x = np.random.default_rng(0).random((1, 8, 8))
    found = noise_curve(net, x, LEVELS, samples=3000)
    assert found.method == "exact" and found.clean == int(net(x[None]).argmax())
    np.testing.assert_allclose(found.mean[0], net(x[None])[0].detach().numpy(), atol=1e-12)
    assert (found.spread[0] < 1e-12).all()
    exact = moments(net, x, 0.09)
    np.testing.assert_allclose(found.formula_mean[1], exact.mean)
    np.testing.assert_allclose(found.formula_spread[1], exact.standard_deviation)
    assert (np.abs(found.mean - found.formula_mean) <= 5 * found.spread / math.sqrt(3000) + 1e-12).all()
    np.testing.assert_allclose(found.spread, found.formula_spread, rtol=0.1)
    np.testing.assert_allclose(found.probabilities.sum(1), 1.0)
    low, high = np.moveaxis(found.intervals, -1, 0)
    assert ((low <= found.probabilities) & (found.probabilities <= high)).all()


def test_tipping_is_the_first_level_at_which_half_is_lost():
    """Two outputs x and 0 around x = 1: the class is kept with probability Phi(1 / sigma), above a half for ever."""
    layer = nn.Linear(1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [0.0]]))
        layer.bias.zero_()
    found = noise_curve(load(layer, (1,)), np.array([1.0]), (0.0, 1.0, 100.0), samples=4000)
    np.testing.assert_allclose(found.probabilities[:, 0], [1.0, 0.8413, 0.5040], atol=0.03)
    assert noise_curve(load(layer, (1,)), np.array([1.0]), (0.5,), samples=100).tipping == math.inf


@pytest.mark.parametrize("levels", [[], [0.2, 0.1], [-1.0, 1.0], [0.1, math.nan]])
def test_bad_levels(net, levels):
    with pytest.raises(ArgumentError, match="levels"):
        noise_curve(net, np.zeros((1, 8, 8)), levels)


def test_bad_samples(net):
    with pytest.raises(ArgumentError, match="samples"):
        noise_curve(net, np.zeros((1, 8, 8)), LEVELS, samples=1)


def test_the_section_is_on_the_page(results):
    assert [type(r).__name__ for r in results] == ["NoiseCurveResult", "NoiseCurveResult", "FoolingMapResult"]
    page = render(ReportData({"model": "net"}, (ModelPart("net", {}, results, (1, 8, 8)),)))
    assert 'id="noise"' in page and "fooling map" in page and "Logits, by formula" in page
    assert (
        "nan" not in SECTION.view(ReportData({}, (ModelPart("net", {}, results, (1, 8, 8)),))).body["models"][0]["map"]
    )
    lines = [line for part in PARTS for line in part.lines(results)]
    assert len(lines) == 2 and "half of the draws" in lines[0]


def test_nothing_to_say_without_curves():
    assert SECTION.view(ReportData({}, (ModelPart("net", {}, (), None),))) is None


def test_curves_leave_out_what_is_not_there():
    levels = np.array([0.0, 1.0])
    values = np.stack([np.array([0.5, np.nan])] * 3)
    drawn = str(over_levels(levels, {"a": values}, (0.0, 1.0), "label"))
    assert "nan" not in drawn and 'aria-label="label"' in drawn
