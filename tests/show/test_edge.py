"""The section on the edge: what is searched, what is proven, and what is missing said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.core.progress import Progress
from plica.experiments.report.edge import PARTS
from plica.experiments.report.model import Job
from plica.loaders.images import ImageSet
from plica.show import ModelPart, ReportData, render
from plica.show.sections.edge import SECTION
from plica.store import load_result, save


def results(module, shape, folder, *, labels=None, count=8):
    images = np.random.default_rng(0).random((count, *shape))
    job = Job("net", plica.load(module, shape), ImageSet(images, labels, "noise"), folder, 0)
    return [r for part in PARTS for r in part.compute(job, Progress(), ())]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 10), nn.ReLU(), nn.Linear(10, 3))
    folder = tmp_path_factory.mktemp("edge")
    # as the page gets them: saved and read again
    return tuple(load_result(save(r, folder / f"{i}.npz")) for i, r in enumerate(results(net, (16,), folder)))


def test_search_and_proofs_are_shown(found):
    data = ReportData({}, (ModelPart("net", {}, found, (4, 4)),))
    view = SECTION.view(data)
    model = view.body["models"][0]
    assert len(model["pictures"]) == 6 and len(model["proofs"]) == 6
    assert {row["said"] for row in model["proofs"]} == {"proven"}
    for row, lower in zip(model["proofs"], found[1].lower_bound, strict=True):
        assert float(row["lower"]) <= lower
    sizes = [float(card["distance"]) for card in model["pictures"]]
    assert sizes == sorted(sizes) and sizes[0] == pytest.approx(found[0].distance.min(), rel=1e-2)
    page = render(data)
    assert 'id="the-edge"' in page and "How near can a mistake be?" in page and page.count(">changed<") == 6
    finding = next(SECTION.findings[0](data))
    assert "6 of 6" not in finding.number and "6 of 6 images" in finding.meaning


def test_without_pictures_proofs_or_mistakes(found, tmp_path):
    alone = ReportData({}, (ModelPart("net", {}, found[:1]),))
    assert SECTION.view(alone).body["models"][0]["pictures"] == [] and "How near" not in render(alone)
    constant = nn.Sequential(nn.Linear(16, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        constant[2].weight.zero_()
        constant[2].bias.copy_(torch.tensor([1.0, 0.0]))
    none = tuple(results(constant, (16,), tmp_path, labels=np.array([0, 0, 1]), count=3))
    data = ReportData({}, (ModelPart("net", {}, none, (4, 4)),))
    assert "No change of the answer was found." in SECTION.view(data).answer
    assert not list(SECTION.findings[0](data))
    assert "2 proven that there is none" in repr(none[1]) and "1 misclassified already" in render(data)
    assert results(nn.Sequential(nn.Linear(4, 1)), (4,), tmp_path) == []
    assert SECTION.view(ReportData({}, (ModelPart("net"),))) is None


def test_what_a_second_network_makes_of_the_mistakes(tmp_path):
    torch.manual_seed(1)
    first, second = (nn.Sequential(nn.Linear(16, 10), nn.ReLU(), nn.Linear(10, 3)) for _ in range(2))
    X = np.random.default_rng(0).random((8, 16))
    net, other = plica.load(first, (16,)), plica.load(second, (16,))
    labels = net(X).argmax(1).cpu().numpy()
    job = Job("net", net, ImageSet(X, labels, "noise"), tmp_path, 0, ("other", other))
    done = tuple(r for part in PARTS for r in part.compute(job, Progress(), ()))
    table = done[-1]
    assert table.models == ("net", "other") and table.rows[:2] == ("distorted for net", "distorted for other")
    right = other(X).argmax(1).cpu().numpy() == labels
    read = other(table.distortions[0].x_adv).argmax(1).cpu().numpy() != labels
    assert table.new_errors[0, 0] == 1 and table.new_errors[0, 1] == pytest.approx(read[right].mean())
    data = ReportData({}, (ModelPart("net", {}, done, (4, 4)),))
    shown = SECTION.view(data).body["models"][0]["transfer"]
    assert shown["other"] == "other" and str(shown["svg"]).count('class="bar"') == int(
        np.isfinite(table.new_errors).sum()
    )
    assert "Does other make the same mistakes?" in render(data)
    assert any("makes as well" in line for line in PARTS[0].lines(done))
    alone = ReportData({}, (ModelPart("net", {}, done[:-1], (4, 4)),))
    assert SECTION.view(alone).body["models"][0]["transfer"] is None
