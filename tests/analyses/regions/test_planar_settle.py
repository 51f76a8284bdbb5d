"""Cells cut in integers go back to floats a few forms later; last layers of many lines; rows at exact points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import plica
import zoo
from analyses.regions import solid_nets
from analyses.regions.test_planar import BOX, CORNERS, dense_net, flawed
from oracles import small_regions as oracle
from plica.analyses.regions import planar_engine, planar_settle
from plica.analyses.regions.analysis import count_regions, regions
from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_exact import Exact
from plica.analyses.regions.planar_fine_tier import FineTier
from plica.core.domain import Box


@pytest.fixture(params=[1, 3])
def integers_first(request, monkeypatch):
    """Integers cut every cell by one form, or three, before floats are asked."""
    monkeypatch.setattr(planar_settle, "AT_ONCE", request.param)
    monkeypatch.setattr(FineTier, "split", lambda self, k, c, *, emit: None)
    real = Engine._split_forms

    def doubts(self, k, cells, *, emit):
        return real(self, k, cells, emit=emit) if k.again else (0, [], cells)

    monkeypatch.setattr(Engine, "_split_forms", doubts)


@pytest.mark.parametrize("flaw", solid_nets.FLAWS)
@pytest.mark.parametrize("kind", ["relu", "residual", "clip"])
def test_floats_go_on_after_integers(kind, flaw, integers_first):
    data = flawed(kind, flaw, 4, 2)
    wanted = len(oracle.cells(data, CORNERS))
    found = regions(zoo.build(data), BOX)
    assert found.count == wanted == count_regions(zoo.build(data), BOX).count
    assert found.decided > 0
    assert found.sizes.sum() == pytest.approx(4.0)


def layer(W, b):
    return dense_net([np.array(W, float), np.ones((1, len(W)))], [np.array(b, float), np.zeros(1)])


def test_many_lines_of_a_last_layer_are_counted_without_integers():
    rng = np.random.default_rng(0)
    net = layer(rng.normal(size=(300, 2)), 0.5 * rng.normal(size=300))
    counted = count_regions(net, BOX)
    assert counted.count == regions(net, BOX).count > 10_000
    assert counted.decided == 0


def test_many_lines_through_one_point():
    """Sectors: two for each direction."""
    angles = np.arange(1, 281)
    W = np.column_stack([angles, 300 - angles])
    net = layer([*W, *(-2 * W[:10])], np.zeros(290))
    assert count_regions(net, BOX).count == regions(net, BOX).count == 2 * 280


def test_a_grid_of_many_lines():
    places = np.arange(-140, 141) / 128
    W = np.concatenate([np.tile([[1.0, 0.0]], (281, 1)), np.tile([[0.0, 3.0]], (281, 1))])
    net = layer(W, np.concatenate([-places, -3.0 * places]))
    inside = int((np.abs(places) < 1).sum())
    assert count_regions(net, Box([-1, -1], [1, 1])).count == (inside + 1) ** 2


@pytest.mark.parametrize("flaw", ["integer", "twins", "mixed"])
def test_rows_at_exact_points_are_the_rounded_ones_within_their_bounds(flaw, monkeypatch):
    """Values with twice the digits against the exact ones, each rounded once."""
    seen, real = [0], FineTier.rows_at

    def compared(self, stage, words, points):
        found = real(self, stage, words, points)
        if found is not None:
            exact = engines[-1].rows(stage, engines[-1].branches(words, stage), points)
            for name, values in found[0].items():
                gap = np.linalg.norm(values - exact[name], axis=1)
                assert (gap <= 2.0**-52 * np.linalg.norm(values, axis=1) + found[1][name]).all()
                seen[0] += len(gap)
        return found

    engines, init = [], Exact.__init__

    def made(self, *given):
        init(self, *given)
        engines.append(self)

    monkeypatch.setattr(Exact, "__init__", made)
    monkeypatch.setattr(FineTier, "rows_at", compared)
    for seed in range(4):
        regions(zoo.build(flawed("triples", flaw, seed, 2)), BOX)
        regions(zoo.build(flawed("relu", flaw, seed, 2)), BOX)
    assert seen[0] > 10


class Largest(torch.nn.Module):
    """max(x, x, y)"""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)
        self.layer.weight.data = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        self.layer.bias.data[:] = 0.0

    def forward(self, x):
        return self.layer(x).amax(1, keepdim=True)


def test_the_first_of_equal_candidates_wins_in_integers_too(monkeypatch):
    monkeypatch.setattr(FineTier, "split", lambda self, k, c, *, emit: None)
    monkeypatch.setattr(planar_engine, "split_maxima", lambda k, *_, emit: (0, [], np.arange(len(k.polygons))))
    found = regions(plica.load(Largest(), (2,)), BOX)
    assert found.decided == 1
    assert sorted(found.branches().ravel().tolist()) == [0, 2]
