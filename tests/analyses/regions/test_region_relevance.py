"""Cells whose relevant branches agree have equal maps, by exact evaluation; dead ends are left out."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from analyses.regions.test_planar import BOX, dense_net, flawed
from plica.analyses.regions.analysis import regions
from plica.analyses.regions.region_maps import ExactOutput
from plica.analyses.regions.region_relevance import relevant_branches
from plica.analyses.regions.solid_stages import stages


@pytest.mark.parametrize("kind", ["relu", "maxout", "leaky", "residual"])
@pytest.mark.parametrize("seed", range(3))
def test_equal_relevant_branches_mean_equal_maps(kind, seed):
    net = zoo.build(flawed(kind, "dead", seed, 2))
    plan = stages(net)
    branches = regions(net, BOX).branches()
    output, known = ExactOutput(net, plan), {}
    for row, own in zip(relevant_branches(net, plan, branches), branches, strict=True):
        found = output(own)
        assert known.setdefault(row.tobytes(), found) == found


def test_units_that_lead_nowhere_do_not_matter():
    """Unit 1 is read with weight zero; unit 0 of the first layer only by unit 1."""
    first, second = np.array([[1.0, 0], [0, 1]]), np.array([[0.0, 1], [1, 0]])
    net = dense_net([first, second, np.array([[1.0, 0]])], [np.zeros(2), np.zeros(2), np.zeros(1)])
    rows = relevant_branches(net, stages(net), np.array([[1, 1, 1, 1], [0, 1, 1, 0], [0, 1, 0, 0]], np.int16))
    assert rows.tolist() == [[-1, 1, 1, -1], [-1, 1, 1, -1], [-1, -1, 0, -1]]
    found = regions(net, BOX, maps=True)
    assert (found.count, found.linear_count) == (4, 2)
