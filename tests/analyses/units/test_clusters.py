"""cluster_maps: representatives are maps of the unit, counted rightly; the most different units come first."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from plica.analyses.units import UnitMapsResult, cluster_maps, unit_maps
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError


def made(maps, values=None):
    """A result of maps (n, u, d), every input on a piece of its own."""
    maps = np.asarray(maps, dtype=float)
    n, u = maps.shape[:2]
    values = np.ones((n, u)) if values is None else np.asarray(values, dtype=float)
    return UnitMapsResult(Standing.NUMERICAL, Completeness.COMPLETE, {}, "a", np.arange(u) + 10, maps, np.zeros((n, u)),
                          values, np.arange(n), 0.0)  # fmt: skip


def test_well_separated_maps_are_found():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 30.0]])
    which = np.repeat([0, 1, 2], [20, 10, 5])
    near = centres[which] + rng.normal(size=(35, 2)) * 0.1
    far = made(np.stack([near, near / 100], axis=1))
    found = cluster_maps(far, 3)
    assert found.sizes.tolist() == [[20, 10, 5], [20, 10, 5]]
    assert np.allclose(found.centres[0], centres, atol=0.2)
    assert which[found.members[0]].tolist() == [0, 1, 2]
    assert np.array_equal(found.representatives[1], far.maps[found.members[1], 1])
    assert found.spread[0] == pytest.approx(np.hypot(10, 30), rel=0.02)
    assert found.order.tolist() == [0, 1]
    assert found.differences(10)[1, 0] == pytest.approx(found.representatives[0, 1] - found.representatives[0, 0])
    assert found.standing is Standing.ESTIMATE
    for i in range(3):
        own = np.flatnonzero(which == i)
        gap = np.linalg.norm(near[own] - found.centres[0, i], axis=1)
        assert found.members[0, i] == own[gap.argmin()]


def test_only_positive_responses_count():
    maps = made([[[1.0]], [[2.0]], [[100.0]]], [[1.0], [1.0], [-1.0]])
    found = cluster_maps(maps, 4)
    assert found.active.tolist() == [2]
    assert sorted(found.representatives[0, found.members[0] >= 0, 0].tolist()) == [1.0, 2.0]
    assert (found.members[0] >= 0).sum() == 2
    assert found.spread[0] == 1.0
    silent = cluster_maps(made([[[1.0]]], [[0.0]]))
    assert (silent.members == -1).all()
    assert silent.spread.tolist() == [0.0]


def test_inputs_on_one_piece_weigh_as_many():
    maps = made([[[0.0]], [[0.0]], [[0.0]], [[1.0]], [[8.0]]])
    shared = UnitMapsResult(**{**vars(maps), "pieces": np.array([0, 0, 0, 1, 2])})
    found = cluster_maps(shared, 2)
    assert found.sizes[0].tolist() == [4, 1]
    assert found.centres[0, 0] == pytest.approx(0.25)


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_on_every_kind_of_network(kind):
    data, draw = zoo.random_net(kind, 2, degenerate=True)
    net = zoo.build(data)
    x = np.stack([draw.rng.normal(size=net.input_shape) for _ in range(40)])
    maps = unit_maps(net, x, layer=-1)
    found = cluster_maps(maps, 3)
    assert found.sizes.sum(1).tolist() == maps.active.sum(0).tolist() == found.active.tolist()
    again = cluster_maps(maps, 3)
    assert np.array_equal(found.members, again.members)


def test_budget_and_bad_input():
    maps = made([[[1.0]], [[2.0]]])
    with pytest.raises(ArgumentError, match="1 or more"):
        cluster_maps(maps, 0)
    stopped = cluster_maps(maps, 2, progress=Progress(max_seconds=0.0))
    assert (stopped.completeness, len(stopped.units)) == (Completeness.BUDGET, 0)
    assert "2 clusters for each of 0 units" in repr(stopped)
    with pytest.raises(ArgumentError, match="unit = 3"):
        cluster_maps(maps).differences(3)
