"""The section on what may be confused: read from results of a network small enough to know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import plica
import zoo
from plica import ArgumentError, Box, DataError, Plane, dual_cone, mixing, preimage
from plica.show import ModelPart, ReportData, render
from plica.show.preimages import plot_dual, plot_mixing, plot_pieces
from plica.show.sections.confuse import confuse_view, twins


@pytest.fixture(scope="module")
def net():
    """Four pixels; the layer sums them, and sees nothing else."""
    return zoo.build(zoo.chain((4,), zoo._dense_of([[1.0] * 4]), zoo.RELU))


@pytest.fixture(scope="module")
def reader():
    """Reads the first pixel against the last."""
    return zoo.build(zoo.chain((4,), zoo._dense_of([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])))


@pytest.fixture(scope="module")
def images():
    return np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])


@pytest.fixture(scope="module")
def mixed(net, reader, images):
    found = mixing(net, images, [0, 1, 1], reference=reader, domain=Box(np.zeros(4), 1.0), extent="nearest")
    return replace(found, header={**found.header, "reference": "the reader"})


@pytest.fixture
def data(net, images, mixed):
    box = Box(np.zeros(4), 1.0)
    whole = preimage(net, images[0], layer=-1).result()
    inside = preimage(net, images[0], layer=-1, domain=box).result()
    unions = [replace(r, header={**r.header, "image": 0, "domain": d})
              for r, d in ((whole, "whole space"), (inside, "range of the images"))]  # fmt: skip
    all_of_them = mixing(net, images, [0, 1, 1], extent="none")
    return ReportData({"options": {}}, (ModelPart("sum", {}, (*unions, all_of_them, mixed), (2, 2)),))


def test_what_is_said_is_what_was_found(data):
    """The first image and the second have the same sum: all of the way, without a change."""
    best = twins(data.models[0])[0]
    assert best.way == pytest.approx(1.0) and best.bound == best.distance == pytest.approx(0.0, abs=1e-6)
    view = confuse_view(data)
    assert view.answer.startswith("At layer relu1 of sum an image of class") and "100" in view.answer
    model = view.body["models"][0]
    assert model["rows"][0]["pieces"] == "1" and model["rows"][0]["all"] == "all found at 1 of 1"
    assert any("exactly the same activity: 1 at relu1" in line for line in model["words"])
    assert any("the reader reads some input differently in 3" in line for line in model["words"])
    assert "no piece comes nearer" in model["twins"][0]["numbers"] and len(model["readings"]) == 3
    assert str(view.standing) == "numerical"  # the sentence rests on distances in floats


def test_the_page_shows_it(data):
    page = render(data)
    assert 'id="what-may-be-confused"' in page and "read as 1" in page and "looks like B" in page
    few = ReportData(data.facts, (replace(data.models[0], results=()),))
    assert confuse_view(few) is None


def test_images_that_cannot_be_moved(images):
    """A layer that keeps everything: no card, and a sentence."""
    keep = zoo.build(zoo.chain((4,), zoo._dense_of(np.eye(4).tolist()), zoo.RELU))
    found = mixing(keep, images + 1, [0, 1, 1], extent="nearest")
    view = confuse_view(ReportData({}, (ModelPart("keep", {}, (found,), (2, 2)),)))
    model = view.body["models"][0]
    assert model["twins"] == [] and model["words"][0].startswith("At relu1, 3 of 3 images cannot be moved")


def test_plots(mixed, tmp_path):
    figure = mixed.plot(shape=(2, 2))
    assert len(figure.axes) == 12  # three images, nearest points, their goals, and what the reader reads differently
    with pytest.raises(DataError, match="extent none"):
        plot_mixing(replace(mixed, distances=mixed.distances * np.nan, verdicts=np.full((1, 3), "open")))
    flat = plica.preimage(zoo.build(zoo.chain((2,), zoo._dense_of([[1.0, 1.0]]), zoo.RELU)), np.ones(2), layer=-1)
    (line,) = flat.plot().axes[0].lines
    ends = np.array(line.get_data()).T
    assert np.abs(ends.sum(1) - 2).max() < 1e-9 and len(ends) == 2
    plane = Plane(np.zeros(2), np.eye(2), Box(np.full(2, -1.0), 3.0))
    assert flat.plot(plane).axes[0].get_xlim() == (-1.0, 3.0)
    with pytest.raises(ArgumentError, match="Plane"):
        flat.plot(Plane(np.zeros(2), np.eye(2)))
    assert len(plot_pieces([np.zeros((1, 2)), np.eye(3)[:, :2]], "t", (-np.ones(2), np.ones(2))).axes[0].patches) == 1


@pytest.mark.parametrize("on", [(1, 1), (1, -1), (-1, -1), (1, 1, 1), (1, 1, -1), (1, -1, -1), (-1, -1, -1)])
def test_cones_are_drawn_in_two_and_three_dimensions(on):
    n = len(on)
    W = np.eye(n) + 0.25 * np.eye(n, k=1)
    found = dual_cone(W, np.linalg.solve(W, np.array(on, dtype=float)))
    drawn = found.plot()
    drawn.canvas.draw()
    off = sum(s < 0 for s in on)
    axes = drawn.axes[0]
    areas = len(axes.patches) + len([c for c in axes.collections if type(c).__name__.startswith("Poly3D")])
    assert areas == (off >= 2) and len(axes.lines) == n + 1 + (off == 1)
    with pytest.raises(DataError, match="dimensions"):
        plot_dual(dual_cone(np.eye(4), np.ones(4)))
