import dataclasses
import html
import html.parser
import json
import os
import re
import shutil
import subprocess
import tempfile

import numpy as np
import pytest

from plica.core.result import Standing
from plica.show import ModelPart, ReportData, render
from plica.show.findings import findings, verdict
from plica.show.sections import SECTIONS
from plica.show.sections.forget import forget_view

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


class Page(html.parser.HTMLParser):
    """Collects what the tests ask about."""

    VOID = ("meta", "link", "img", "br", "rect", "circle", "path")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [v for k, v in attributes.items() if k in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def page(data):
    return render(data)


def test_the_page_is_one_small_well_formed_file(page):
    parsed = Page(page)
    assert parsed.open == []
    assert len(page.encode()) < 1_000_000
    assert all(link.startswith(("#", "data:")) for link in parsed.links)
    assert not re.search(r"(?:https?:)?//[a-z]", page.replace("http://www.w3.org", "")), "an address outside the page"
    assert "@import" not in page


def test_links_inside_the_page_have_targets(page, data):
    parsed = Page(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    inside = {link[1:] for link in parsed.links if link.startswith("#")}
    assert inside <= set(parsed.ids)
    assert {section.slug for section in SECTIONS if section.view(data)} <= inside
    assert {re.sub(r"url\(#(.*)\)", r"\1", m) for m in re.findall(r"url\(#[\w-]+\)", page)} <= set(parsed.ids)


def test_pictures_and_charts_say_their_numbers(page):
    parsed = Page(page)
    assert all(a.get("alt") for tag, a in parsed.tags if tag == "img")
    charts = [a for tag, a in parsed.tags if tag == "svg" and a.get("role") == "img"]
    assert len(charts) > 10
    assert all(re.search(r"\d", a["aria-label"]) for a in charts)


def test_badges_use_the_words_of_the_results(page):
    for word in ("certified", "rigorous", "numerical", "complete", "budget reached"):
        assert re.search(rf'class="badge[^>]*>.*?{word}', page, re.S), word


def test_first_screen_has_the_answer(data, page):
    assert verdict(data) in page
    assert re.search(r"\d", verdict(data))
    found = findings(data)
    assert len(found) == 4
    assert [f.rank for f in found] == sorted((f.rank for f in found), reverse=True)
    assert all(re.search(r"\d", f.sentence) for f in found)
    for word in ("96.1", "64-32-32-10", "3,466", "scikit-learn digits", "52"):
        assert word in page


def test_without_a_proof_no_sentence_claims_one(data):
    part = data.models[0]
    strong = part.kinds[0]
    for standing in Standing:
        result = dataclasses.replace(strong, standing=standing, standings=np.full(200, standing.value))
        alone = dataclasses.replace(part, results=(result,))
        page = render(ReportData(data.facts, (alone,)))
        assert ("cannot tell" in findings(ReportData({}, (alone,)))[0].sentence) == standing.is_proof
        assert ("without proof" in page) != standing.is_proof


def test_low_accuracy_is_a_warning_and_the_verdict(data):
    part = dataclasses.replace(data.models[0], facts={**data.models[0].facts, "accuracy": 0.34})
    low = ReportData(data.facts, (part,))
    first = findings(low)[0]
    assert first.is_warning
    assert "layout" in first.meaning
    assert verdict(low) == first.sentence
    assert "Warning: " in render(low)


def test_impostors_that_do_not_move_are_a_sentence(data):
    part = data.models[0]
    still = dataclasses.replace(part.impostors[0], distance=part.impostors[0].distance_start, reason="All is kept.")
    part = dataclasses.replace(part, results=(*part.results, still))
    model = forget_view(dataclasses.replace(data, models=(part,))).body["models"][0]
    assert len(model["pairs"]) == len(data.models[0].impostors)
    assert model["still"] == ["At relu1, 1 image came no nearer to another at all: all is kept."]


def test_an_impostor_that_hardly_moves_is_not_said_to_look_like_the_other(data):
    part = data.models[0]
    still = dataclasses.replace(part.impostors[0], distance=0.8 * part.impostors[0].distance_start)
    page = render(ReportData(data.facts, (dataclasses.replace(part, results=(still,)),)))
    assert "looks like B" not in page
    assert "20.0\u202f% to B" in page


def test_unknown_or_large_import_differences(data):
    part = data.models[0]
    for difference, warned in ((float("nan"), False), (0.2, True)):
        changed = dataclasses.replace(part, facts={**part.facts, "import_difference": difference})
        assert findings(ReportData({}, (changed,)))[0].is_warning == warned
        assert not re.search(r"\bnan\b", re.sub(r'"data:[^"]*"', "", render(ReportData({}, (changed,)))))


def test_undecided_preimages_are_listed_with_their_arithmetic(page):
    assert "3,072 inequalities in 3,072 variables (0.1 GiB as float64)" in page


def test_nothing_done_still_gives_a_page(empty_data):
    text = render(empty_data)
    assert Page(text).open == []
    assert "interrupted" in text
    assert "no result yet" in text


def test_names_are_escaped_and_inputs_need_not_be_images(data):
    part = data.models[0]
    evil = dataclasses.replace(part, name="<script>alert(1)</script>", image_shape=None)
    text = render(ReportData({**data.facts, "file": "a<b&c"}, (evil,)))
    assert "<script>alert" not in text
    assert "a&lt;b&amp;c" in text
    assert "<img" not in text


def test_a_model_without_results(data):
    assert "plain" in render(ReportData(data.facts, (ModelPart("plain"),)))


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1])
def test_text_has_the_contrast_of_wcag_aa(page, theme):
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", page)
    colours = {name: pair[theme] for name, *pair in found}
    pairs = [(ink, paper) for ink in ("ink", "soft", "rust", "link") for paper in ("paper", "card")]
    pairs += [(s.value, f"{s.value}-bg") for s in Standing]
    for ink, paper in pairs:
        high, low = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)


# --- in a browser --------------------------------------------------------------------------------------------------

PROBE = """
<script>addEventListener("load", () => setTimeout(() => {
  const wide = [...document.querySelectorAll("main *")].filter(e => !e.closest("svg, .panel, pre") &&
    e.getBoundingClientRect().right > innerWidth + 1);
  parent.document.body.dataset.probe = JSON.stringify({
    requests: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
    scroll: scrollY, wide: wide.map(e => e.outerHTML.slice(0, 80)), errors: window.errors,
    over: document.documentElement.scrollWidth - innerWidth, width: innerWidth,
    current: document.querySelector("nav a[aria-current]").hash,
    first: document.querySelector(".sure").getBoundingClientRect().bottom + scrollY,
  });
}, 900));</script>"""
CATCH = """<script>window.errors = []; addEventListener("error", e => window.errors.push(String(e.message)));
console.error = (...a) => window.errors.push(a.join(" "));</script>"""


def in_browser(test):
    """Mark a test that needs Chromium."""
    return pytest.mark.browser(pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")(test))


def chromium(*arguments):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments]
        environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def probe(folder, page, *, width=1440, hash_=""):
    """Open the page and return what it says about itself."""
    text = page.replace("<head>", "<head>" + CATCH, 1).replace("</body>", PROBE + "</body>")
    if width < 500:  # headless Chromium has no narrower window
        text = f'<body><iframe width="{width}" height="800" srcdoc="{html.escape(text)}"></iframe></body>'
    (folder / "page.html").write_text(text, encoding="utf-8")
    address = f"file://{folder}/page.html{hash_}"
    done = chromium(f"--window-size={width},900", "--virtual-time-budget=4000", "--dump-dom", address)
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


@in_browser
def test_desktop_one_request_no_error_all_on_the_first_screen(tmp_path, page):
    seen = probe(tmp_path, page)
    assert seen["requests"] == []
    assert seen["errors"] == []
    assert seen["over"] <= 0
    assert seen["wide"] == []
    assert seen["first"] <= 900


@in_browser
@pytest.mark.parametrize("width", [360, 390, 820, 1100])
def test_narrow_screens_clip_nothing(tmp_path, page, width):
    seen = probe(tmp_path, page, width=width)
    assert seen["width"] == width
    assert seen["over"] <= 0
    assert seen["wide"] == []


@in_browser
def test_permalink_opens_its_section(tmp_path, page):
    seen = probe(tmp_path, page, hash_="#what-layers-forget")
    assert seen["scroll"] > 400
    assert seen["current"] == "#what-layers-forget"


@in_browser
def test_print_has_every_section(tmp_path, page):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    target = tmp_path / "page.pdf"
    chromium(f"--print-to-pdf={target}", "--no-pdf-header-footer", f"file://{tmp_path}/page.html")
    pages = len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))
    assert 3 <= pages <= 12
