"""The section on stability: bounds rounded outward, spectra, directions, and what is missing said."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.analyses.lipschitz.result import outward
from plica.core.result import Completeness, Standing
from plica.experiments.report.model import Job
from plica.experiments.report.stability import PARTS, _centre
from plica.loaders.images import ImageSet
from plica.show import ModelPart, ReportData, render
from plica.show.sections.stability import SECTION


def job(tmp_path, module, shape, count=3):
    images = np.random.default_rng(0).random((count, *shape))
    return Job("net", plica.load(module, shape), ImageSet(images, None, "noise"), tmp_path, 0)


def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))


def computed(tmp_path, module, shape):
    own = job(tmp_path, module, shape)
    progress = plica.core.progress.Progress()
    return tuple(r for part in PARTS for r in part.compute(own, progress, ()))


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    return ModelPart("net", {}, computed(tmp_path_factory.mktemp("part"), dense(), (16,)), (4, 4))


def numbers(text: str) -> list[float]:
    return [float(v) for v in re.findall(r"\d+\.?\d*(?:e-?\d+)?", text.replace(",", ""))]


def test_the_section_shows_bounds_spectra_and_directions(part):
    bounds, spectrum = part.results
    page = render(ReportData({}, (part,)))
    assert 'id="stability"' in page and "how to read it" in page.lower()
    assert page.count("direction that") == 2 * 2  # two layers, most and least
    view = SECTION.view(ReportData({}, (part,)))
    said = numbers(view.answer)
    assert said[0] >= bounds.upper and said[1] <= bounds.lower
    rows = view.body["models"][0]["rows"]
    assert [r["layer"] for r in rows] == list(spectrum.layers)
    assert rows[0]["raw"][4] == np.median(spectrum.largest[:, 0])


def test_bounds_are_rounded_outward():
    for value in (1.2345678, 99.96, 0.1, 1 / 3, 1e-300, 7.0, 0.0, math.inf):
        for digits in (1, 3, 6):
            low, high = outward(value, digits, up=False), outward(value, digits, up=True)
            assert low <= value <= high
            assert float(f"{high:.{digits}g}") == high and float(f"{low:.{digits}g}") == low
    assert outward(32.6137, 3, up=True) == 32.7


def test_every_printed_bound_of_the_network_is_one(part):
    """Numbers that would be rounded inward: 32.613 to 32.6, 21.057 to 21.1."""
    bounds, spectrum = part.results
    odd = dataclasses.replace(bounds, upper=32.613, product=35.817, lower=21.057)
    data = ReportData({}, (dataclasses.replace(part, results=(odd, spectrum)),))
    view = SECTION.view(data)
    assert numbers(view.answer) == [32.7, 21.0]
    assert [value for _, value, _ in view.body["models"][0]["whole"]] == ["32.7", "21", "35.9"]
    (finding,) = SECTION.findings[0](data)
    assert numbers(finding.sentence) == [33.0, 21.0]


def test_no_bound_is_not_printed_as_one(part):
    bounds, spectrum = part.results
    none = dataclasses.replace(bounds, upper=math.inf, product=math.inf, uppers=np.full(len(bounds.uppers), np.inf))
    data = ReportData({}, (dataclasses.replace(part, results=(none, spectrum)),))
    view = SECTION.view(data)
    assert "no proven bound" in view.answer
    assert not list(SECTION.findings[0](data))
    assert "no bound" in render(data) and "inf" not in re.sub(
        r"<style>.*?</style>|\"data:[^\"]*\"", "", render(data)
    ).split("Stability")[-1][:4000].replace("information", "")


def test_each_of_the_two_alone(part):
    for result in part.results:
        alone = ReportData({}, (dataclasses.replace(part, results=(result,)),))
        assert 'id="stability-net"' in render(alone)
    none = ReportData({}, (ModelPart("net"),))
    assert SECTION.view(none) is None


def test_a_constant_network_has_no_smallest_value(tmp_path):
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        module[0].weight.zero_()
    part = ModelPart("net", {}, computed(tmp_path, module, (4,)), (2, 2))
    view = SECTION.view(ReportData({}, (part,)))
    assert all(r["numbers"][1] == "none" for r in view.body["models"][0]["rows"])
    page = render(ReportData({}, (part,)))
    assert not re.search(r"\bnan\b", re.sub(r'"data:[^"]*"', "", page))


def test_large_inputs_vary_in_a_window(tmp_path):
    assert _centre((3, 100, 200), 3 * 64 * 64) == (slice(0, 3), slice(18, 82), slice(68, 132))
    assert math.prod(s.stop - s.start for s in _centre((1, 1, 10_000), 256)) == 256


def test_a_spent_budget_is_said(tmp_path):
    own = job(tmp_path, dense(), (16,))
    progress = plica.core.progress.Progress(max_seconds=0.0)
    results = tuple(r for part in PARTS for r in part.compute(own, progress, ()))
    assert all(r.completeness is Completeness.BUDGET for r in results)
    assert Standing(results[0].standing) is Standing.RIGOROUS
    assert "budget reached" in render(ReportData({}, (ModelPart("net", {}, results),)))
