"""What every complete list of regions has to fulfil: Euler's relation, and sizes that add up."""

from __future__ import annotations

import numpy as np
import pytest


def check_plane(found, area):
    """V - E + F = 1, the areas fill the domain, and every side inside the domain has a region on both sides.

    The unit that a side names takes another branch behind it.
    """
    free = found.neighbours < 0
    edges = (len(found.corners) + free.sum()) // 2
    assert len(found.vertices) - edges + found.count == 1
    assert found.sizes.sum() == pytest.approx(area, rel=1e-9)
    assert (found.sizes >= 0).all()
    assert (found.facet_layers[free] == -1).all()
    assert (found.facet_layers[~free] >= 0).all()
    start, branches = np.cumsum([0, *found.units]), found.branches()
    unit = (start[found.facet_layers] + found.facet_units)[~free]
    here = np.repeat(np.arange(found.count), np.diff(found.facet_first))[~free]
    assert (branches[here, unit] != branches[found.neighbours[~free], unit]).all()


def check_space(cells, volume, dimension):
    """The volumes fill the domain; in three dimensions V - E + F = 2 for every cell.

    An edge joins two vertices that have two facets in common.
    """
    assert cells.volumes().sum() == pytest.approx(volume, rel=1e-9)
    for i in range(len(cells) if dimension == 3 else 0):
        vertices, sides = cells.region(i)
        common = np.zeros((len(vertices), len(vertices)), int)
        for side in sides:
            common[np.ix_(side, side)] += 1
        edges = int((np.triu(common, 1) >= 2).sum())
        assert len(vertices) - edges + len(sides) == 2
