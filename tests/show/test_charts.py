import math
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from plica.show import charts, words
from plica.show.pictures import png, to_pixels


@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 3)])
def test_png_is_read_back_as_it_was(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(png(pixels))
    np.testing.assert_array_equal(np.rint(imread(tmp_path / "a.png")[..., : shape[-1]] * 255), pixels)
    assert zlib.decompress(png(pixels)[41:-16])[0] == 0
    assert struct.unpack(">II", png(pixels)[16:24]) == (shape[1], shape[0])


def test_pictures_of_a_card_share_one_scale():
    dark, bright = to_pixels([np.zeros((1, 2, 2)), np.ones((1, 2, 2))], (1, 2, 2))
    assert dark.shape == (2, 2)
    assert dark.max() == 0
    assert bright.min() == 255
    assert to_pixels([np.full(4, 3.0)], (2, 2))[0].max() == 0
    assert [p.ravel().tolist() for p in to_pixels([np.array([1.0, 2.0]), np.full(2, np.nan)], (1, 2))] == [
        [0, 255],
        [0, 0],
    ]
    assert to_pixels([np.zeros((3, 2, 4))], (3, 2, 4))[0].shape == (2, 4, 3)


@pytest.mark.parametrize("positive", [[5], [0, 0, 3], list(range(3000))])
def test_lanes_count_every_image_once(positive):
    positive = np.array(positive)
    kinds = np.where(np.arange(len(positive)) % 2 == 0, "unbounded", "singleton")
    svg = ElementTree.fromstring(charts.lanes(kinds, positive, "label", inputs=2))
    labels = [t.text for t in svg.iter("text")]
    assert f"unbounded: {(len(positive) + 1) // 2:,}" in labels
    assert svg.get("aria-label") == "label"
    assert len(list(svg.iter("rect"))) <= 4 * charts.BARS + 1


@pytest.mark.parametrize(
    "values", [[1.0], [0.0, 0.0], [np.inf], [1e-9, 1e9], [0.1, 0.2, np.inf], [0.0, 3.0], [2.0, 2.0]]
)
def test_spread_and_spark_draw_any_distances(values):
    values = np.array(values)
    for svg in (charts.spread(values, charts.log_range(values), "label"), charts.spark(values, "label")):
        assert ElementTree.fromstring(svg).tag == "svg"
        assert "nan" not in svg


def test_shares_bar_fills_its_width_and_says_its_numbers():
    svg = charts.shares_bar({"unbounded": 0.75, "singleton": 0.25}, "fc1")
    assert ElementTree.fromstring(svg).get("aria-label").startswith("fc1: unbounded 75.0")
    assert 'x="75.00%"' in svg


def test_words_are_honest_at_the_ends():
    assert words.percent(1) == "100\u202f%"
    assert words.percent(0.9999) == "over 99.9\u202f%"
    assert words.percent(0.0001) == "under 0.1\u202f%"
    assert words.percent(0) == "0\u202f%"
    assert [words.number(v) for v in (3, 1234.0, 0.01234, 2.2e-7, float("inf"))] == [
        "3", "1,234", "0.0123", "2.2e-7", "infinite",
    ]  # fmt: skip
    assert words.seconds(112) == "1\u202fmin 52\u202fs"
    assert words.seconds(59.7) == "1\u202fmin 0\u202fs"
    assert words.plural(1, "image") == "1 image"
    assert words.part_of(1, 20, "image") == "all 20 images"
    assert words.part_of(0.5, 20, "image") == "50.0\u202f% of 20 images"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.slug("A net, v2.0") == "a-net-v2-0"


def test_shaded_cells_say_what_they_show():
    drawn = charts.heat(np.array([[0.0, 1.0], [0.25, math.nan]]), ["first", "second"], ["a", "b"], "what it is")
    assert drawn.count('class="track"') == 4 and drawn.count('class="bar"') == 3
    assert 'fill-opacity="0.250"' in drawn and ">-<" in drawn and "what it is" in drawn
