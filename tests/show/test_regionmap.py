"""The region map: the payload says what it was given, the engine draws it, picks it, and opens a permalink."""

import base64
import gzip
import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from importlib.resources import files

import numpy as np
import pytest

from plica.show.regionmap import RegionPicture, still
from plica.show.regionpack import BIT_BYTES, payload

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def picture():
    """A 3 x 3 board on [-1, 2] x [0, 6]: the class of a tile is its column, and unit 0 is on in the upper row."""
    xs, ys = np.linspace(-1, 2, 4), np.linspace(0, 6, 4)
    corners = np.array([[x, y] for y in ys for x in xs])
    loop, label = [], []
    for row in range(3):
        for column in range(3):
            k = 4 * row + column
            loop += [k, k + 1, k + 5, k + 4]
            label.append(column)
    bits = np.array([[int(row == 2)] for row in range(3) for _ in range(3)], dtype=np.uint8)
    maps = np.arange(9 * 2 * 3, dtype=float).reshape(9, 2, 3)
    return RegionPicture(
        corners, 4 * np.arange(10), np.array(loop), np.array(label), ("left", "middle", "right"), np.arange(1.0, 10.0),
        bits[:, 0].astype(int), (("relu", 2),), bits, maps, (("A", (0.5, 3.0)),),
    )  # fmt: skip


def unpacked(text):
    """Head and arrays of a payload, read as the format says."""
    raw = gzip.decompress(base64.b64decode(text))
    size = int.from_bytes(raw[:4], "little")
    head = json.loads(raw[4 : 4 + size])
    return head, {k: np.frombuffer(raw, np.uint8, n, 4 + size + at) for k, (at, n) in head["arrays"].items()}


def numbers(planes, width):
    """Numbers of several bytes from all lowest bytes, all second ones, and so on."""
    return (planes.reshape(width, -1).astype(np.int64) << 8 * np.arange(width)[:, None]).sum(0)


def loops_of(back):
    """Corner numbers from distances back."""
    loop, newest = [], 0
    for k in back.tolist():
        loop.append(newest - k if k else newest)
        newest += k == 0
    return np.array(loop)


def checked(picture):
    """Compare a payload with what it was made from; the head and the arrays."""
    head, arrays = unpacked(payload(picture))
    folded = numbers(arrays["xy"], 4).reshape(2, -1)
    steps = np.where(folded % 2, -(folded + 1) // 2, folded // 2).cumsum(1).T
    assert len(steps) == head["vertices"] and steps.min() >= 0
    places = steps * head["step"] + head["origin"]
    span = np.ptp(picture.corners, axis=0).max()
    np.testing.assert_allclose(places[loops_of(numbers(arrays["back"], 4))], picture.corners[picture.loop], rtol=0,
                               atol=span / 2**28)  # fmt: skip
    np.testing.assert_array_equal(numbers(arrays["counts"], 2), np.diff(picture.start))
    np.testing.assert_array_equal(numbers(arrays["label"], 2), picture.label)
    low, step = head["gains"]
    levels = np.cumsum(numbers(arrays["gain"], 2)) & 0xFFFF
    gains = np.where(levels > 0, np.exp(low + (levels - 1) * step), 0.0)
    np.testing.assert_allclose(gains, picture.gain, rtol=max(step, 1e-12))
    return head, arrays


def test_the_payload_holds_what_was_given(picture):
    head, arrays = checked(picture)
    changes = arrays["bits"].reshape(-1, picture.count).T
    np.testing.assert_array_equal(np.bitwise_xor.accumulate(changes, axis=0), picture.bits)
    words = numbers(arrays["maps"], 4).astype(np.uint32).view(np.float32)
    np.testing.assert_allclose(words.reshape(9, 2, 3), picture.maps, rtol=2.0**-13)
    assert np.multiply(head["points"][0]["at"], head["step"]).tolist() == pytest.approx([1.5, 3.0])
    assert head["known"] and "active" not in arrays


@pytest.mark.parametrize("seed", range(5))
def test_payloads_of_random_shapes(seed):
    import dataclasses

    rng = np.random.default_rng(seed)
    n, vertices = 40, 300
    sizes = rng.integers(3, 9, n)
    start = np.concatenate([[0], sizes.cumsum()])
    shapes = RegionPicture(
        rng.normal(size=(vertices, 2)) * 10.0 ** rng.integers(-6, 6) + 10.0 * rng.normal(size=2), start,
        rng.integers(0, vertices, start[-1]), rng.integers(0, 1000, n), tuple("0123456789"),
        np.where(rng.random(n) < 0.2, 0.0, np.exp(5 * rng.normal(size=n))), rng.integers(0, 900, n), (("a", 900),),
    )  # fmt: skip
    head, arrays = checked(shapes)
    np.testing.assert_array_equal(numbers(arrays["active"], 2), shapes.active)
    assert not head["known"] and not {"bits", "maps"} & set(arrays)
    checked(dataclasses.replace(shapes, gain=np.zeros(n)))


def test_what_is_too_large_is_left_out(picture):
    import dataclasses

    wide = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (9, BIT_BYTES), (0, 0))
    _, arrays = unpacked(payload(dataclasses.replace(picture, bits=wide, maps=None)))
    assert not {"bits", "maps"} & set(arrays) and "active" in arrays


def test_areas_by_the_shoelace_formula():
    corners = np.array([[0.0, 0], [4, 0], [0, 3], [1e6, 1e6], [1e6 + 1, 1e6], [1e6 + 1, 1e6 + 1], [1e6, 1e6 + 1]])
    shapes = RegionPicture(corners, np.array([0, 3, 7]), np.arange(7), np.zeros(2, int), ("0",), np.ones(2),
                           np.zeros(2, int), ())  # fmt: skip
    np.testing.assert_allclose(shapes.areas(), [6.0, 1.0])


def test_the_still_picture_is_a_png(picture):
    data = base64.b64decode(still(picture).removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"


FLAGS = ("--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
         "--window-size=1200,800", "--virtual-time-budget=8000", "--dump-dom")  # fmt: skip
CATCH = """
const errors = [];
addEventListener("error", e => errors.push(e.message));
console.error = (...a) => errors.push(a.join(" "));
"""
PROBE = """
addEventListener("load", async () => {
  const root = document.getElementById("regions");
  for (let k = 0; k < 100 && !root.dataset.ready; k++) await new Promise(next => setTimeout(next, 20));
  const map = root.regions, seen = { ready: root.dataset.ready, errors, by: map?.by, selected: map?.selected };
  if (map) {
    seen.panel = root.querySelector(".regions-panel").textContent;
    seen.width = map.view.w * map.data.step;
    seen.neighbours = [...Array(9).keys()].map(r => map.near(r).sort((a, b) => a - b));
    seen.active = [...map.data.active]; seen.sizes = [...map.data.size]; seen.order = new Set(map.order).size;
    map.whole(); map.draw(true);
    const spot = r => map.pick(map.canvas.width / 2 + (map.data.middle[2 * r] - map.view.x) / map.unit(),
                               map.canvas.height / 2 - (map.data.middle[2 * r + 1] - map.view.y) / map.unit());
    seen.picked = [...Array(9).keys()].map(spot);
    const colour = () => {
      const p = new Uint8Array(4), gl = map.gl;
      map.pass("shade");
      gl.readPixels(map.canvas.width / 2 + 9, map.canvas.height / 2 + 9, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, p);
      return [...p.slice(0, 3)];
    };
    map.select(-1); seen.colour = colour();
    map.choose("unit0"); seen.unit = colour();
    map.select(4); root.querySelector(".regions-neighbours button").click(); seen.after = map.selected;
    map.canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "0" }));
    map.canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" })); seen.entered = map.selected;
    await new Promise(next => setTimeout(next, 400)); seen.hash = location.hash;
  }
  document.body.dataset.probe = JSON.stringify(seen);
});
"""


def opened(folder, picture, hash_="", *, engine=None):
    """What a page with the map says about itself."""
    from jinja2 import Environment

    templates = files("plica.show") / "templates"
    macro = (templates / "regionmap.html.j2").read_text()
    part = Environment().from_string(macro + '{{ map("regions", picture, data, "tiles") }}')
    css = "".join((templates / name).read_text() for name in ("report.css", "regionmap.css"))
    engine = engine or (templates / "regionmap.js").read_text()
    body = part.render(picture=still(picture), data=payload(picture))
    head = f"<!DOCTYPE html><html><head><style>{css}</style><script>{CATCH}</script></head>"
    page = f"{head}<body>{body}<script>{engine}</script><script>{PROBE}</script></body></html>"
    (folder / "map.html").write_text(page, encoding="utf-8")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"file://{folder}/map.html{hash_}"],
            capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )  # fmt: skip
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_engine_draws_picks_and_links(tmp_path, picture):
    seen = opened(tmp_path, picture, "#regions?x=0.5&y=3&w=2&by=gain&region=7")
    assert seen["errors"] == [] and seen["ready"] == "1"
    assert (seen["by"], seen["selected"]) == ("gain", 7) and seen["width"] == pytest.approx(2, rel=1e-6)
    assert (
        "Region 7" in seen["panel"] and "class at its middlemiddle" in seen["panel"] and "3 neighbours" in seen["panel"]
    )
    assert "relu, unit 0 → region 4, class middle" in seen["panel"]
    assert "a choice of several → region 6, class left" in seen["panel"]
    assert seen["neighbours"] == [
        [1, 3],
        [0, 2, 4],
        [1, 5],
        [0, 4, 6],
        [1, 3, 5, 7],
        [2, 4, 8],
        [3, 7],
        [4, 6, 8],
        [5, 7],
    ]
    assert seen["active"] == [0] * 6 + [1] * 3 and seen["sizes"] == pytest.approx([1 / 9] * 9)
    assert seen["order"] == 9
    assert seen["picked"] == list(range(9))
    assert seen["unit"] == [0xDD] * 3 != seen["colour"]
    assert seen["after"] in (1, 3, 5, 7) and seen["entered"] == 4
    assert seen["hash"].startswith("#regions?x=0.5&y=3&w=6.12&by=unit0&region=4")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_nonsense_in_the_address_changes_nothing(tmp_path, picture):
    seen = opened(tmp_path, picture, "#regions?x=NaN&y=&w=-1&by=colour&region=99")
    assert seen["errors"] == [] and (seen["by"], seen["selected"]) == ("class", -1)
    assert seen["width"] == pytest.approx(6.12)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_broken_payload_leaves_the_still_picture(tmp_path, picture):
    text = (files("plica.show") / "templates" / "regionmap.js").read_text().replace('"gzip"', '"deflate"')
    seen = opened(tmp_path, picture, engine=text)
    assert seen["ready"] == "still" and seen["errors"] == []
