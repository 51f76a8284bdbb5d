"""Regions in a notebook and as files: the map in a frame, a still picture, PNG, SVG and PDF."""

import html
import json
import os
import re
import shutil
import subprocess
import tempfile

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.core.domain import Box, Segment
from plica.errors import ArgumentError
from plica.show import widget
from plica.show.regionplot import VECTORS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    layers = [nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)]
    return plica.load(nn.Sequential(*layers).double().eval(), (2,))


@pytest.fixture(scope="module")
def found(net):
    return plica.regions(net, Box([-2, -2], [2, 2]), maps=True)


def frame_of(shown):
    """The page inside a notebook's frame."""
    return html.unescape(re.search(r'<iframe srcdoc="([^"]*)"', shown)[1])


def test_a_notebook_shows_the_map_and_a_still_picture(found):
    shown = found._repr_html_()
    page = frame_of(shown)
    assert shown.startswith("<div><strong>RegionsResult: rigorous, complete")
    assert 'id="regions-data"' in page and "plicaRegionMap" in page and f"{found.count} regions" in page
    assert 'sandbox="allow-scripts allow-downloads"' in shown
    assert shown.count("data:image/png;base64,") == 2  # in the frame, and beside it
    assert "<th>sizes</th>" in shown and "<th>codes" not in shown
    assert not re.search(r'(src|href)="https?:', page)


def test_marks_and_files(found, tmp_path):
    target = tmp_path / "map.html"
    shown = found.show(target, points=[[0.0, 0.5], [1.0, 1.0]])
    assert shown.height == widget.HEIGHT and target.read_text().count("<html") == 1
    assert [name for name, _ in shown._marks()] == ["A", "B"]
    with pytest.raises(ArgumentError, match="use plot"):
        found.show(tmp_path / "map.png")


def test_many_regions_are_still_at_first(found, monkeypatch):
    monkeypatch.setattr(widget, "AT_ONCE", 3)
    shown = found._repr_html_()
    assert "<iframe" not in shown and "<details open>" in shown and ".show()" in shown
    assert "<iframe" in found.show()._repr_html_()


def test_without_maps_there_are_no_classes(net):
    plain = plica.regions(net, Box([-1, -1], [1, 1]))
    assert "<iframe" in plain._repr_html_()


def test_no_map_of_other_dimensions(net):
    line = plica.regions(net, Segment([-1, -1], [1, 1]), maps=True)
    assert "<iframe" not in line._repr_html_()
    with pytest.raises(ArgumentError, match="in 1 dimensions"):
        line.show()


# --- matplotlib -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["class", "size", "gain", "active"])
def test_pictures_by_every_colour(found, by, tmp_path):
    figure = found.plot(by=by)
    (drawn,) = figure.axes[0].collections
    assert len(drawn.get_paths()) == found.count
    assert found.plot(by="unit", unit=(1, 5)).axes[0].get_legend().get_title().get_text().endswith("unit 5:\nbranch")


def test_a_unit_is_drawn_as_it_is(found):
    drawn = found.plot(unit=(1, 2)).axes[0].collections[0]
    assert len(np.unique(drawn.get_facecolor(), axis=0)) == len(np.unique(found.branches()[:, 8]))


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_files(found, ending, tmp_path):
    from plica.show.plot import save_plot

    path = save_plot(found, tmp_path / f"regions{ending}", points=[[0.0, 0.0]])
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)


def test_many_polygons_are_one_picture_in_a_vector_file(found):
    assert found.count < VECTORS and not found.plot().axes[0].collections[0].get_rasterized()


def test_lines_and_space(net, found):
    line = plica.regions(net, Segment([-1, -1], [1, 1]), maps=True)
    axes = line.plot().axes[0]
    ends = axes.lines[0].get_xydata()
    values = net(line.points(ends[:, :1])).numpy()[:, 0]
    np.testing.assert_allclose(ends[:, 1], values, atol=1e-12)
    assert len(axes.lines) == 4
    three = plica.load(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double(), (3,))
    assert plica.regions(three, Box([-1] * 3, [1] * 3)).plot().axes[0].get_ylabel() == "volume"


def test_pictures_that_cannot_be(net, found):
    plain = plica.regions(net, Box([-1, -1], [1, 1]))
    for result, options, words in (
        (plain, {"by": "gain"}, "maps=True"),
        (found, {"by": "colour"}, "give one of"),
        (found, {"by": "unit"}, "unit="),
        (found, {"unit": (5, 0)}, "have .6, 6. units"),
    ):
        with pytest.raises(ArgumentError, match=words):
            result.plot(**options)
    assert plain.plot().axes[1].get_ylabel() == "area"


# --- in a browser -----------------------------------------------------------------------------------------------

PROBE = """<script>
addEventListener("message", e => { document.body.dataset.probe = JSON.stringify(e.data); });
</script>"""
INSIDE = """<script>
const errors = []; addEventListener("error", e => errors.push(e.message));
addEventListener("unhandledrejection", e => errors.push(String(e.reason)));
addEventListener("load", async () => {
  const root = document.getElementById("regions");
  for (let k = 0; k < 100 && !root.dataset.ready; k++) await new Promise(next => setTimeout(next, 20));
  const map = root.regions, seen = { ready: root.dataset.ready, errors };
  if (map) {
    map.select(2); await new Promise(next => setTimeout(next, 400));
    seen.panel = root.querySelector(".regions-panel").textContent; seen.count = map.data.count;
    seen.buttons = [...root.querySelectorAll("[data-by]")].map(b => b.dataset.by); seen.by = map.by;
  }
  parent.postMessage(seen, "*");
});
</script>"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("maps", [True, False])
def test_the_frame_runs_in_its_sandbox(tmp_path, net, maps):
    result = plica.regions(net, Box([-2, -2], [2, 2]), maps=maps)
    shown = result.show()._repr_html_()
    inside = html.escape(frame_of(shown).replace("<body>", "<body>" + INSIDE), quote=True)
    shown = re.sub(r'srcdoc="[^"]*"', lambda _: f'srcdoc="{inside}"', shown)
    (tmp_path / "book.html").write_text(f"<!DOCTYPE html><html><body>{PROBE}{shown}</body></html>", encoding="utf-8")
    flags = ("--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
             "--disable-features=IsolateSandboxedIframes", "--window-size=1200,800", "--virtual-time-budget=8000",
             "--dump-dom")  # fmt: skip
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            [CHROMIUM, *flags, f"--user-data-dir={profile}", f"file://{tmp_path}/book.html"],
            capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )  # fmt: skip
    probe = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert probe, done.stderr[-2000:]
    seen = json.loads(html.unescape(probe[1]))
    assert seen["ready"] == "1" and seen["errors"] == [] and seen["count"] == result.count
    assert seen["buttons"] == (["class", "gain", "size", "active"] if maps else ["size", "active"])
    assert ("gain" in seen["panel"]) is maps and "neighbours" in seen["panel"]
