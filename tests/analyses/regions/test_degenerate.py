"""A thousand random degenerate networks in two to four inputs against exact rational oracles; nothing may differ."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from analyses.regions import degenerate_nets
from analyses.regions.mesh_checks import check_plane, check_space
from oracles import regions_nd, small_regions
from plica.analyses.regions.analysis import count_regions, regions
from plica.analyses.regions.solid import solid_regions
from plica.core.domain import Box

CASES = 1000


@pytest.mark.big(sample=16)
@pytest.mark.parametrize("seed", range(CASES))
def test_degenerate_networks(seed):
    data, n, _, _ = degenerate_nets.draw(seed)
    net, box = zoo.build(data), Box(-np.ones(n), np.ones(n))
    if n == 2:
        wanted = small_regions.cells(data, small_regions.box([-1, -1], [1, 1]))
        found = regions(net, box)
        assert found.count == count_regions(net, box).count == len(wanted)
        names = [node.name for node in net.nodes if node.name in found.layers]
        patterns = {tuple(b for name in names for b in taken[name]) for _, taken in wanted}
        assert {tuple(row) for row in found.branches().tolist()} == patterns
        check_plane(found, 4.0)
        return
    wanted = {regions_nd.key(p) for p in regions_nd.regions(data, [-1.0] * n, [1.0] * n, ())}
    found = solid_regions(net, box)
    assert count_regions(net, box).count == len(wanted) == len(found.cells)
    seen = {
        tuple((name, tuple(row[a:b].tolist())) for name, a, b in sorted(found.nodes)) for row in found.cells.patterns
    }
    assert seen == wanted
    check_space(found.cells, 2.0**n, n)
