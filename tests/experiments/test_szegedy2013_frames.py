"""Table 5 of Szegedy et al. (2013): brackets against dense norms; weights from a file, or random and said."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from plica.core.progress import Progress
from plica.errors import BudgetReached, DataError
from plica.experiments.figure import Setting
from plica.experiments.szegedy2013.frames import FILE, LAYERS, Layer, alexnet, bracket, frame_bounds, printed_grid

SMALL = (
    Layer("Conv. 1", (6, 3, 5, 5), 2.75, 2, 2, 12),
    Layer("Conv. 2", (8, 6, 3, 3), 10.0, 1, 1, 6),
    Layer("FC. 1", (7, 40), 3.12),
)


def state(*, groups: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    layers = (nn.Conv2d(3, 6, 5), nn.Conv2d(6, 8, 3, groups=groups), nn.Linear(40, 7))
    names = ("features.2", "features.10", "classifier.1")
    return {f"{n}.weight": layer.weight.detach() for n, layer in zip(names, layers, strict=True)}


def dense_norm(layer: Layer, weight: torch.Tensor) -> float:
    """By the matrix of torch's own convolution."""
    if not layer.size:
        return float(torch.linalg.matrix_norm(weight.double(), 2))
    groups = layer.shape[1] // weight.shape[1]
    eye = torch.eye(layer.shape[1] * layer.size**2, dtype=torch.float64).reshape(
        -1, layer.shape[1], layer.size, layer.size
    )
    out = nn.functional.conv2d(eye, weight.double(), stride=layer.stride, padding=layer.padding, groups=groups)
    return float(torch.linalg.matrix_norm(out.flatten(1), 2))


def test_brackets_hold_the_dense_norm():
    weights, _ = alexnet(Setting(), SMALL)
    for layer, weight in zip(SMALL, weights, strict=True):
        bound = bracket(layer, weight, Progress())
        assert bound.lower <= dense_norm(layer, weight) <= bound.upper
        assert bound.width < 0.01


def test_random_weights_are_said_and_compared_with_nothing():
    claims, panels, standing = frame_bounds(Setting(), SMALL)
    rows = {c.what: c for c in claims}
    assert standing == "rigorous" and panels
    row = rows["Conv. 1, 3 x 5 x 5 x 6, stride 2"]
    assert row.holds is None and "Random" in row.reason and row.paper == "2.75"
    assert rows["max-pooling is contractive"].holds is False


def test_a_grid_of_the_kernels_size_misses_the_largest_frequency():
    """A difference of neighbours has norm 2 at frequency 1/2; a grid of three frequencies sees sqrt(3)."""
    layer, weight = Layer("Conv.", (1, 1, 3, 3), 1.0, 1, 1, 20), torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, 1, 0], weight[0, 0, 1, 1] = -1.0, 1.0
    bound = bracket(layer, weight, Progress())
    (claim,) = printed_grid([(layer, weight, bound)])
    assert claim.holds is False and "1.732" in claim.plica and bound.lower > 1.98


@pytest.mark.parametrize("groups", [1, 2])
def test_weights_from_a_file(tmp_path, groups):
    weights = state(groups=groups)
    save_file(weights, tmp_path / FILE)
    found, source = alexnet(Setting(data=tmp_path), SMALL)
    assert FILE in source
    for mine, theirs in zip(found, weights.values(), strict=True):
        np.testing.assert_array_equal(mine, theirs.double())
    claims, _, _ = frame_bounds(Setting(data=tmp_path), SMALL)
    rows = list(claims)[:3]
    for layer, row, weight in zip(SMALL, rows, found, strict=True):
        assert row.holds is (dense_norm(layer, weight) <= layer.printed)


def test_other_shapes_damage_and_nan_are_refused(tmp_path):
    save_file({"a.weight": torch.zeros(2, 2)}, tmp_path / FILE)
    with pytest.raises(DataError, match="Table 5"):
        alexnet(Setting(data=tmp_path), SMALL)
    (tmp_path / FILE).write_bytes(b"no")
    with pytest.raises(DataError, match="truncated"):
        alexnet(Setting(data=tmp_path), SMALL)
    bad = state()
    bad["features.2.weight"][0, 0, 0, 0] = float("nan")
    save_file(bad, tmp_path / FILE)
    with pytest.raises(DataError, match=r"features\.2.*NaN"):
        alexnet(Setting(data=tmp_path), SMALL)


def test_a_spent_budget_gives_no_number():
    with pytest.raises(BudgetReached):
        frame_bounds(dataclasses.replace(Setting(), progress=Progress(max_seconds=0.0)), SMALL)


def test_the_table_is_the_printed_one():
    assert [layer.printed for layer in LAYERS] == [2.75, 10, 7, 7.5, 11, 3.12, 4, 4]
    assert LAYERS[0].words == "Conv. 1, 3 x 11 x 11 x 96, stride 4" and LAYERS[5].words == "FC. 1, 9216 x 4096"
