"""The section on units: its sentence follows from the numbers, its pictures are those of the results."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from plica.analyses.units import EqualActivationResult, MaximisersResult, UnitClustersResult
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.experiments.digits import digits_images, digits_mlp
from plica.experiments.report.model import Job
from plica.experiments.report.units import DIRECTIONS, PARTS, TOP
from plica.loaders import load
from plica.loaders.images import ImageSet
from plica.show import ModelPart, ReportData, render
from plica.show.sections.units import SECTION


def computed(net, images, folder, seed=0):
    job = Job("net", net, images, folder, seed)
    return job, tuple(r for part in PARTS for r in part.compute(job, Progress(), ()))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    module, _ = digits_mlp(0)
    return computed(load(module, (64,)), digits_images("test"), tmp_path_factory.mktemp("units"))


def made_up(natural, gaussian, layer="relu2"):
    """Two results with given purities."""

    def one(kind, purity):
        n = len(purity)
        return MaximisersResult(
            Standing.NUMERICAL, Completeness.COMPLETE, {}, layer, kind, np.zeros((n, 3)), np.zeros((n, TOP), int),
            np.tile(np.arange(TOP, 0.0, -1.0), (n, 1)), np.zeros((n, TOP), int), np.array(purity),
            np.array([0.3, 0.2, 0.4]),
        )  # fmt: skip

    return ReportData({}, (ModelPart("made", {}, (one("natural", natural), one("gaussian", gaussian))),))


def test_the_sentence_follows_from_the_numbers():
    pure, mixed = [0.9, 0.8, 0.9, 0.8], [0.4, 0.5, 0.4, 0.5]
    for natural, gaussian, words in (
        (pure, mixed, "single units are purer than random directions (purity 0.85 of units, 0.45 of r"),
        (mixed, pure, "random directions are purer than single units"),
        (pure, pure, "random directions are as pure as single units"),
        ([0.4], [0.9], "as pure as"),  # a single direction says nothing about the mean
    ):
        view = SECTION.view(made_up(natural, gaussian))
        assert words in view.answer and view.standing is Standing.NUMERICAL
        (finding,) = SECTION.findings[0](made_up(natural, gaussian))
        assert finding.sentence == view.answer
        assert ("no more than" in finding.meaning) is (words.startswith("single") is False)
    assert "look at units" in SECTION.view(made_up(pure, mixed)).answer
    assert SECTION.view(ReportData({}, (ModelPart("none"),))) is None


def test_units_that_are_never_on_do_not_count():
    data = made_up([0.9, 0.9, 0.1], [0.5, 0.5])
    data.models[0].results[0].values[2] = 0.0
    view = SECTION.view(data)
    assert "purity 0.90 of units, 0.50 of random directions, 0.30 by chance" in view.answer
    assert (view.body["models"][0]["count"], view.body["models"][0]["dead"]) == ("2 units", 1)
    data.models[0].results[0].values[:] = 0.0
    assert SECTION.view(data) is None


def test_the_chart_has_its_marks_where_the_numbers_are():
    svg = str(SECTION.view(made_up([0.5, 0.5], [1.0, 1.0])).body["models"][0]["svg"])
    assert 'cx="310.0"' in svg and 'x="495.0"' in svg and "units 0.50, random directions 1.00" in svg


def test_what_the_report_computes(digits):
    job, results = digits
    found = [r for r in results if isinstance(r, MaximisersResult)]
    assert [(r.layer, r.kind) for r in found] == [
        (layer, kind) for layer in job.net.choices for kind in ("natural", "gaussian")
    ]
    last = found[-2]
    assert len(last.purity) == 16 <= DIRECTIONS and last.header["units"] == list(range(16))
    for k, pictures in zip(last.header["shown"], last.header["pictures"], strict=True):
        features = job.net.upto(last.layer)(job.images.images).numpy()
        best = np.argsort(-features[:, k], kind="stable")[:TOP]
        assert last.images[k].tolist() == best.tolist()
        shown = np.array(pictures, float).reshape(TOP, -1)
        assert all(np.corrcoef(a, job.images.images[i].ravel())[0, 1] > 0.999 for a, i in zip(shown, best, strict=True))
    (clusters,) = (r for r in results if isinstance(r, UnitClustersResult))
    (equal,) = (r for r in results if isinstance(r, EqualActivationResult))
    assert equal.unit == clusters.units[clusters.order[0]] and equal.standing is Standing.CERTIFIED
    low, high = job.images.images.min(), job.images.images.max()
    assert (equal.points >= low).all() and (equal.points <= high).all()
    assert any("purity" in line for line in PARTS[0].lines(results))


def test_the_page(digits):
    _, results = digits
    data = ReportData({}, (ModelPart("digits", {}, results, (8, 8)),))
    view = SECTION.view(data)
    model = view.body["models"][0]
    assert view.standing is Standing.ESTIMATE and len(model["strips"]) == 6
    page = render(data)
    assert 'id="units"' in page and "One unit, several templates" in page and "exactly one activity" in page
    assert page.count("Strongest image") == 6 * TOP and "by label" in page
    plain = dataclasses.replace(data, models=(ModelPart("digits", {}, results[:4]),))
    assert "One unit, several" not in render(plain)


def test_inputs_that_are_no_images_and_have_no_labels(tmp_path):
    torch.manual_seed(0)
    net = load(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), (5,))
    few = ImageSet(np.random.default_rng(0).random((30, 5)), None, "noise")
    _, results = computed(net, few, tmp_path)
    page = render(ReportData({}, (ModelPart("plain", {}, results),)))
    assert "Purity is by answer" in page and "Strongest image" not in page
    assert computed(load(nn.Linear(5, 2), (5,)), few, tmp_path)[1] == ()


def test_results_survive_saving(digits, tmp_path):
    from plica.store import load_result, save

    _, results = digits
    for k, result in enumerate(results):
        save(result, tmp_path / f"{k}.npz")
    again = tuple(load_result(tmp_path / f"{k}.npz") for k in range(len(results)))
    old, new = (render(ReportData({}, (ModelPart("digits", {}, r, (8, 8)),))) for r in (results, again))
    assert old == new
