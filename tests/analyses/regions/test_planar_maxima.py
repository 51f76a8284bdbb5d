"""Maxima of three and more units in the plane: floats, twice the digits and integers agree with exact clipping."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import plica
import zoo
from analyses.regions.degenerate_nets import FLAWS, dense
from analyses.regions.mesh_checks import check_plane
from oracles import small_regions as oracle
from plica.analyses.regions import planar_engine, planar_fine_tier
from plica.analyses.regions.equal_units import equal_units
from plica.analyses.regions.planar_rivals import Groups, is_tied
from plica.core.affine import Dense
from plica.core.choice import MaxOver, relu
from plica.core.domain import Box
from plica.core.network import Graph

BOX, CORNERS = Box([-1, -1], [1, 1]), oracle.box([-1, -1], [1, 1])
TIERS = ("floats", "digits", "integers")


@pytest.fixture
def tier(request, monkeypatch):
    """Let only one tier and those after it decide about cells; says which cells the tiers after it were asked about."""
    asked = []
    if request.param != "floats":
        monkeypatch.setattr(planar_engine, "split_maxima", lambda k, *_, **__: (0, [], np.arange(len(k.polygons))))

        def nothing(chunk, bounds, labels, cells, *rest):
            total, out, _ = split(chunk, bounds, labels, cells[:0], *rest)
            return total, out, cells

        split = planar_engine.split_binary
        monkeypatch.setattr(planar_engine, "split_binary", nothing)
    own = planar_fine_tier.FineTier.split

    def fine(self, k, c, *, emit):
        told = own(self, k, c, emit=emit) if request.param != "integers" else None
        asked.extend([c] if told is None or request.param == "floats" else [])
        return told

    monkeypatch.setattr(planar_fine_tier.FineTier, "split", fine)
    return asked


def check(data):
    """Count, patterns and mesh are those of exact clipping."""
    net, wanted = zoo.build(data), oracle.cells(data, CORNERS)
    found = plica.regions(net, BOX)
    assert found.count == plica.count_regions(net, BOX).count == len(wanted)
    names = [node.name for node in net.nodes if node.name in found.layers]
    patterns = {tuple(b for name in names for b in taken[name]) for _, taken in wanted}
    assert {tuple(row) for row in found.branches().tolist()} == patterns
    check_plane(found, 4.0)


def generic(seed, size, layers=2):
    """Maxima of `size` random forms."""
    rng, n, parts = np.random.default_rng(seed), 2, []
    for _ in range(layers):
        parts += [dense(rng, "none", 3 * size, n), ("maxout", {"size": size})]
        n = 3
    return zoo.chain((2,), *parts)


@pytest.mark.parametrize("tier", TIERS, indirect=True)
@pytest.mark.parametrize("size", [3, 5])
def test_every_tier_alone_counts_right(size, tier):
    check(generic(size, size))
    assert tier is not None


@pytest.mark.parametrize("tier", ["floats", "digits"], indirect=True)
@pytest.mark.parametrize("seed", range(4))
def test_generic_maxima_never_reach_the_integers(seed, tier):
    check(generic(seed, 4))
    assert not tier


@pytest.mark.big(sample=6)
@pytest.mark.parametrize("tier", TIERS, indirect=True)
@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("seed", range(6))
def test_degenerate_maxima(seed, flaw, tier):
    rng = np.random.default_rng([seed, len(flaw)])
    check(zoo.chain((2,), dense(rng, flaw, 8, 2), ("relu", {}), dense(rng, flaw, 8, 8), ("maxout", {"size": 4}),
                    dense(rng, flaw, 3, 2), ("maxout", {"size": 3})))  # fmt: skip


def windows(seed, units, index, *, rectify):
    """A layer, perhaps rectified, and maxima over overlapping windows of it."""
    rng, graph = np.random.default_rng(seed), Graph((2,))
    weight, bias = torch.tensor(rng.normal(size=(units, 2))), torch.tensor(rng.normal(size=units) / 2)
    last = graph.add("d", Dense(weight, bias, (2,)), "input")
    last = graph.add("r", relu((units,)), last) if rectify else last
    graph.add("m", MaxOver(torch.tensor(index), (units,), (len(index),)), last)
    return graph.network(), weight, bias


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("tier", ["floats", "digits"], indirect=True)
def test_overlapping_windows_after_a_rectifier(rectify, tier):
    """Windows share candidates and ties; rectifiers that are off are equal: no integers are needed."""
    index = [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]]
    net, W, b = windows(5, 5, index, rectify=rectify)
    nodes = [("d", "dense", ("input",), {"W": W.tolist(), "b": b.tolist()})]
    nodes += [("r", "relu", ("d",), {})] if rectify else []
    picks = np.eye(5)[np.array(index).ravel()]
    nodes += [("p", "dense", (nodes[-1][0],), {"W": picks.tolist(), "b": None}), ("m", "maxout", ("p",), {"size": 3})]
    wanted = oracle.cells({"input": (2,), "nodes": nodes}, CORNERS)
    found = plica.regions(net, BOX)
    assert found.count == plica.count_regions(net, BOX).count == len(wanted)
    patterns = {tuple(b for name in found.layers for b in taken[name]) for _, taken in wanted}
    assert {tuple(row) for row in found.branches().tolist()} == patterns
    check_plane(found, 4.0)
    assert not tier


def test_more_ties_than_one_round_takes():
    """Thirty maxima of five are cut in rounds; every layer's count is that of its finished cells."""
    index = np.arange(150).reshape(30, 5).tolist()
    net, W, b = windows(0, 150, index, rectify=False)
    count = plica.count_regions(net, BOX)
    assert count.per_layer == (count.count,)
    found = plica.regions(net, BOX)
    assert found.count == count.count
    check_plane(found, 4.0)
    points = found.centres()
    values = (points @ W.numpy().T + b.numpy()).reshape(len(points), 30, 5)
    assert np.array_equal(found.branches(), values.argmax(axis=2))
    assert len({tuple(row) for row in found.branches().tolist()}) == found.count


def test_a_running_maximum_would_cut_too_much():
    """Three forms that meet in one point inside: three regions, though each pair ties along a whole line."""
    weight = torch.tensor([[1.0, 0], [-0.5, 1], [-0.5, -1]], dtype=torch.float64)
    graph = Graph((2,))
    graph.add("d", Dense(weight, torch.zeros(3, dtype=torch.float64), (2,)), "input")
    graph.add("m", MaxOver(torch.tensor([[0, 1, 2]]), (3,), (1,)), "d")
    found = plica.regions(graph.network(), BOX)
    assert found.count == plica.count_regions(graph.network(), BOX).count == 3
    check_plane(found, 4.0)


def test_classes_of_equal_units():
    """Rows over equal inputs with equal weights are one class; zero is class 0; other rows are not."""
    weight = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 0], [2, 0], [0, 0]], dtype=torch.float64)
    bias = torch.tensor([1.0, 1, 1, 0, 1, 3], dtype=torch.float64)
    graph = Graph((2,))
    graph.add("d", Dense(weight, bias, (2,)), "input")
    graph.add("r", relu((6,)), "d")
    again = torch.tensor([[1.0, 2, 0, 0, 0, 0], [2, 1, 0, 5, 0, 0], [1, 1, 1, 0, 0, 0]], dtype=torch.float64)
    graph.add("e", Dense(again, None, (6,)), "r")
    kinds = equal_units(graph.network(), "")
    d, r, e = kinds["d"], kinds["r"], kinds["e"]
    assert d[0] == d[1] and d[3] == 0
    assert len(set(d.tolist())) == 5
    assert r[0] == r[1] and r[3] == 0 and len(set(r.tolist())) == 5
    assert e[0] == e[1] != e[2]


@pytest.mark.parametrize("tier", TIERS, indirect=True)
@pytest.mark.parametrize("rectify", [False, True])
def test_a_facet_names_a_maximum_whose_winner_changes(rectify, tier):
    """Also where windows share candidates, and ties."""
    index = [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]]
    check_plane(plica.regions(windows(5, 5, index, rectify=rectify)[0], BOX), 4.0)
    assert tier is not None


def test_corners_tell_which_candidates_are_equal():
    """At a corner of the ties a = u and b = u candidates a and b are equal; at one of a = u and b = v they are not."""
    unit = np.array([3, 5, 7, 8])  # candidates 0 to 3 read these units
    none = np.full(4, -1)
    groups = Groups(np.array([0, 4]), unit, np.arange(4), none, np.array([-1, 0, 0]), np.arange(4))

    def tie(a, b, stage=2):
        return stage << 48 | int(unit[a]) << 24 | int(unit[b])

    assert is_tied(tie(0, 2), tie(1, 2), 2, 0, 1, groups)
    assert is_tied(tie(0, 1), -1, 2, 0, 1, groups)
    assert not is_tied(tie(0, 2), tie(1, 3), 2, 0, 1, groups)
    assert not is_tied(tie(0, 2), tie(0, 2), 2, 0, 1, groups)
    assert not is_tied(tie(0, 2, stage=1), tie(1, 2, stage=1), 2, 0, 1, groups)
    assert not is_tied(tie(0, 2), -1, 2, 0, 1, groups)
