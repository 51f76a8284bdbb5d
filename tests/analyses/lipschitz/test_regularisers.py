"""Terms for training: values against dense decompositions, gradients against differences, projections."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from oracles import operators as oracle
from plica.analyses.lipschitz import conv_spectrum, lipschitz
from plica.analyses.lipschitz.regularisers import (
    layer_bounds,
    layer_norm,
    lipschitz_penalty,
    project_spectrum,
    row_correlation,
    smallest_singular_values,
    torus_of,
)
from plica.core.network import Network
from plica.errors import ArgumentError, DataError
from plica.loaders import load

CASES = [  # channels in and out, kernel, stride, dilation, groups, size of the torus
    (1, 1, (3, 3), (1, 1), (1, 1), 1, (5, 4)),
    (2, 3, (3, 2), (2, 1), (1, 2), 1, (6, 5)),
    (4, 2, (2, 3), (1, 3), (2, 1), 2, (5, 6)),
    (3, 2, (4,), (2,), (1,), 1, (8,)),
]


def draw(case, seed=0):
    c_in, c_out, kernel, stride, dilation, groups, _ = case
    kind = nn.Conv1d if len(kernel) == 1 else nn.Conv2d
    torch.manual_seed(seed)
    return kind(c_in, c_out, kernel, stride, dilation=dilation, groups=groups).double()


def dense_values(layer, size):
    matrix = oracle.convolution(
        layer.weight.detach().numpy(), size, layer.stride, None, layer.dilation, layer.groups, circular=True
    )
    return np.linalg.svd(matrix, compute_uv=False)


@pytest.mark.parametrize("case", CASES)
def test_norms_and_smallest_values_are_those_of_the_matrix(case):
    layer, size = draw(case), case[-1]
    values = dense_values(layer, size)
    assert layer_norm(layer, size).item() == pytest.approx(values[0], rel=1e-12)
    found = smallest_singular_values(layer, 1, size)
    assert found.item() == pytest.approx(values[-1], rel=1e-9, abs=1e-13)
    linear = nn.Linear(4, 3).double()
    expected = np.linalg.svd(linear.weight.detach().numpy(), compute_uv=False)
    assert layer_norm(linear).item() == pytest.approx(expected[0], rel=1e-13)
    np.testing.assert_allclose(smallest_singular_values(linear, 2).detach(), expected[::-1][:2], rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_right(case):
    layer, size = draw(case), case[-1]

    def norm(weight):
        other = draw(case)
        del other.weight
        other.weight = weight  # a plain tensor with its gradient
        return layer_norm(other, size) + smallest_singular_values(other, 1, size).sum() + row_correlation(other)

    weight = layer.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(norm, (weight,), eps=1e-6, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_blocks_go_back_to_the_kernel(case):
    torus = torus_of(draw(case), case[-1])
    with torch.no_grad():
        back = torus.with_blocks(torus.all_blocks())
    torch.testing.assert_close(back.weight, torus.weight.detach(), rtol=0, atol=1e-14)


def test_a_kernel_as_large_as_the_torus_is_clipped_exactly():
    torch.manual_seed(0)
    layer, size = nn.Conv2d(2, 2, (4, 5)).double(), (4, 5)
    before = dense_values(layer, size)
    project_spectrum(layer, float(before[3]), floor=float(before[-4]), size=size, rounds=1)
    after = dense_values(layer, size)
    np.testing.assert_allclose(after, np.clip(before, before[-4], before[3]), rtol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_projected_layers_are_below_the_ceiling(case):
    layer, size = draw(case), case[-1]
    ceiling = 0.5 * layer_norm(layer, size).item()
    project_spectrum(layer, ceiling, size=size)
    assert dense_values(layer, size)[0] <= ceiling * (1 + 1e-12)
    linear = nn.Linear(5, 4).double()
    project_spectrum(linear, 0.3, floor=0.2)
    values = np.linalg.svd(linear.weight.detach().numpy(), compute_uv=False)
    assert values[-1] >= 0.2 * (1 - 1e-12) and values[0] <= 0.3 * (1 + 1e-12)


def test_bounds_of_a_model_hold_for_zero_padding():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 2)
    ).double()
    bounds = layer_bounds(model, (1, 8, 8))
    proven = {
        b.name: b for b in lipschitz(load(model, (1, 8, 8)), tight=False).layers if b.kind in ("convolution", "dense")
    }
    assert len(bounds) == len(proven) == 3
    for mine, theirs in zip(bounds.values(), proven.values(), strict=True):
        assert mine.item() >= theirs.lower and mine.item() <= 1.2 * theirs.upper
    penalty = lipschitz_penalty(model, (1, 8, 8), above=1.0)
    assert penalty.item() == pytest.approx(sum(max(0.0, b.item() - 1.0) ** 2 for b in bounds.values()))
    penalty.backward()
    assert model[0].weight.grad is not None and model.training


def test_correlation_of_rows():
    layer = nn.Linear(3, 3, bias=False).double()
    for rows, expected in ((np.eye(3), 0.0), (np.ones((3, 3)), 1.0), ([[1, 0, 0], [1, 1, 0], [0, 0, 0]], 1 / 6)):
        layer.weight.data = torch.tensor(np.array(rows, float))
        assert row_correlation(layer).item() == pytest.approx(expected, abs=1e-15)
    assert row_correlation(nn.Linear(3, 1)).item() == 0.0


def test_degenerate_layers():
    zero = nn.Conv2d(2, 2, 3).double()
    nn.init.zeros_(zero.weight)
    assert layer_norm(zero, (4, 4)).item() == 0.0 and smallest_singular_values(zero, 2, (4, 4)).tolist() == [0.0, 0.0]
    project_spectrum(zero, 1.0, size=(4, 4))
    assert not zero.weight.any()
    empty = nn.Linear(0, 3)
    assert layer_norm(empty).item() == 0.0 and smallest_singular_values(empty).numel() == 0
    assert lipschitz_penalty(nn.ReLU(), (2,)).item() == 0.0
    for bad in (nn.Linear(2, 2), nn.Conv2d(1, 1, 2)):
        bad.weight.data.view(-1)[0] = float("nan")
        for use in (layer_norm, smallest_singular_values):
            with pytest.raises(DataError, match="NaN"):
                use(bad, size=(4, 4))
        with pytest.raises(DataError, match="NaN"):
            project_spectrum(bad, 1.0, size=(4, 4))


def test_bad_arguments():
    with pytest.raises(ArgumentError, match="Linear, Conv1d or Conv2d"):
        layer_norm(nn.ReLU())
    with pytest.raises(ArgumentError, match="size"):
        layer_norm(nn.Conv2d(1, 1, 3))
    with pytest.raises(ArgumentError, match="multiple of the stride"):
        layer_norm(nn.Conv2d(1, 1, 3, stride=2), (5, 6))
    with pytest.raises(ArgumentError, match="floor"):
        project_spectrum(nn.Linear(2, 2), 1.0, floor=2.0)


def test_the_projected_norm_is_proven_by_lipschitz():
    torch.manual_seed(1)
    layer = nn.Conv2d(2, 3, 3, padding=1)
    project_spectrum(layer, 0.7, size=(10, 10))
    net = load(nn.Sequential(layer), (2, 8, 8))
    assert isinstance(net, Network) and lipschitz(net).upper <= 0.7 * (1 + 1e-6)
    assert conv_spectrum(layer.double(), (2, 10, 10)).values.max() <= 0.7 * (1 + 1e-6)
