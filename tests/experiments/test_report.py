"""The main job: from a network and images to a page, results and a summary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.core.progress import Progress
from plica.errors import ArgumentError, DataError
from plica.experiments.report import edge, job, preimages, regions, report
from plica.loaders.images import ImageSet


def small_net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def images(module: nn.Module, count: int = 12, *, shift: int = 0) -> ImageSet:
    x = np.random.default_rng(0).random((count, 16))
    labels = module(torch.from_numpy(x).float()).argmax(1).numpy()
    return ImageSet(x, (labels + shift) % 3, "noise")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The embedded example on a few images, a small part of the plane, and little time for whole preimages."""
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "MOST", 2000)
        for limit in ("EACH", "UNIONS", "READ", "READS"):
            patch.setattr(preimages, limit, getattr(preimages, limit) / 4)
        return report(out=folder, limit=6, max_seconds=None), folder


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A network of one's own, on twelve images."""
    folder, module = tmp_path_factory.mktemp("given"), small_net()
    return report(module, images(module), out=folder, input_shape=(16,)), folder


def test_the_example_studies_two_networks(example):
    result, folder = example
    page = Path(result.page).read_text(encoding="utf-8")
    assert "digits-mlp" in page and "digits-conv" in page
    assert result.completeness == "complete"
    results = [plica.load_result(path) for path in (folder / "results").rglob("*.npz")]
    limited = {type(r).__name__ for r in results if r.completeness != "complete"}
    assert limited <= {"PreimageResult", "MixingResult"}  # searches with a limit of their own, which their section says
    assert sorted(p.name for p in (folder / "results").iterdir()) == ["digits-conv", "digits-mlp"]
    assert not list(folder.glob(".*"))  # nothing half-written is left


def test_every_saved_result_can_be_read_and_says_what_it_is_about(example):
    _, folder = example
    files = sorted((folder / "results").rglob("*.npz"))
    kinds = [plica.load_result(f) for f in files if f.name.startswith("kinds")]
    assert len(kinds) == 3 + 5  # layers of the two networks
    assert all(len(k.kinds) == 6 and k.header["seed"] == 0 and "network_hash" in k.header for k in kinds)
    assert {k.layer for k in kinds} >= {"relu1", "relu2", "fc3", "pool", "relu3", "fc"}


def test_summary_begins_with_the_accuracy(example):
    result, folder = example
    lines = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["lines"]
    assert tuple(lines) == result.lines
    assert lines[1].startswith("  accuracy ")


def test_a_given_network_and_images(given):
    result, _ = given
    assert result.lines[1] == "  accuracy 100.0%"
    assert any("nearest facet" in line and "over 12 images" in line for line in result.lines)
    assert not any("WARNING" in line for line in result.lines)


def test_low_accuracy_is_a_warning(tmp_path):
    module = small_net()
    result = report(module, images(module, shift=1), out=tmp_path, limit=3, input_shape=(16,))
    assert result.lines[1] == "  accuracy 0.0%" and "WARNING" in result.lines[2]
    assert any("nearest facet" in line and "over 3 images" in line for line in result.lines)


def test_without_labels_there_is_no_accuracy(tmp_path):
    result = report(small_net(), np.random.default_rng(1).random((5, 16)), out=tmp_path, input_shape=(16,))
    assert not any("accuracy" in line for line in result.lines)


def test_impostors_keep_their_features(given):
    found = [plica.load_result(f) for f in given[1].rglob("impostors*.npz")]
    assert found
    for pair in found:
        assert pair.feature_difference <= 1e-9 * (1 + pair.feature_scale)
        assert pair.distance <= pair.distance_start


def test_an_interrupt_keeps_what_is_done(tmp_path):
    def interrupt(label: str, done: int, total: int | None) -> None:
        if label == "nearest facets" and done == 2:
            raise KeyboardInterrupt

    module = small_net()
    result = report(module, images(module), out=tmp_path, input_shape=(16,), progress=Progress(listener=interrupt))
    assert result.completeness == "interrupted"
    facets = plica.load_result(next(tmp_path.rglob("facets*.npz")))
    assert facets.completeness == "interrupted" and len(facets.distances) < 12
    assert len(list(tmp_path.rglob("kinds*.npz"))) == 3
    assert "interrupted" in Path(result.page).read_text(encoding="utf-8")


def test_a_spent_budget_is_said(tmp_path):
    module = small_net()
    result = report(module, images(module), out=tmp_path, input_shape=(16,), max_seconds=0.0)
    assert result.completeness == "budget reached"
    assert Path(result.page).is_file()


def test_a_limit_of_a_section_is_no_budget_of_the_report(tmp_path, monkeypatch):
    """A proof that takes longer than its section gives it is open there; the report has done what it planned."""
    monkeypatch.setattr(edge, "EACH", 1e-3)
    monkeypatch.setattr(job, "PARTS", edge.PARTS)
    torch.manual_seed(4)
    module = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 3)).eval()
    result = report(module, images(module, 3), out=tmp_path, input_shape=(16,), max_seconds=None)
    proofs = [plica.load_result(path) for path in (tmp_path / "results").rglob("edge-*.npz")]
    assert "budget reached" in [r.completeness for r in proofs]
    assert result.completeness == "complete"


def test_the_same_seed_gives_the_same_results(tmp_path, monkeypatch):
    for limit in ("EACH", "UNIONS", "READ", "READS"):  # what a time limit ends depends on the machine
        monkeypatch.setattr(preimages, limit, 1e6)
    monkeypatch.setattr(preimages, "PIECES", 5)
    monkeypatch.setattr(preimages, "UNION_IMAGES", 2)
    module = small_net()
    for name in ("a", "b"):
        report(module, images(module), out=tmp_path / name, input_shape=(16,), max_seconds=None)
    for first in sorted((tmp_path / "a").rglob("*.npz")):
        a, b = (plica.load_result(p) for p in (first, tmp_path / "b" / first.relative_to(tmp_path / "a")))
        a, b = (r.to_dict() | {"header": None} for r in (a, b))
        assert json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def test_missing_parts_are_asked_for(tmp_path):
    with pytest.raises(ArgumentError, match="images"):
        report(small_net(), out=tmp_path, input_shape=(16,))
    with pytest.raises(ArgumentError, match="without a model"):
        report(data="images.npz", out=tmp_path)
    with pytest.raises(DataError, match="There is no file"):
        report(small_net(), tmp_path / "none.npz", out=tmp_path, input_shape=(16,))
