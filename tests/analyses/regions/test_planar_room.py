"""Arrays of the planar kernels: they grow together, nothing is written behind their ends, and no room is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analyses.regions.mesh_checks import check_plane
from analyses.regions.test_planar import random_net
from plica.analyses.regions import planar_engine, planar_split
from plica.analyses.regions.analysis import count_regions, regions
from plica.core.domain import Box
from plica.errors import SolverError

TESTS = Path(__file__).resolve().parents[2]

# The same cells elsewhere; as plain Python, whose indexes NumPy checks, arrays can begin as short as they can.
SHORT = "make = planar_split.make_out; planar_split.make_out = lambda cap, words: make({}, words)"
CHECKED = """
import numpy as np
from analyses.regions.test_planar import random_net
from plica.analyses.regions import planar_split
from plica.analyses.regions.analysis import regions
from plica.core.domain import Box
SHORT
for seed in (1, 2, 3):
    for half in (0.1, 0.5, 2.0):
        found = regions(random_net(seed, (2, 9, 7, 6, 1)), Box([-half, -half], [half, half]))
        print(found.count, repr(float(found.sizes.sum())))
"""


def listed():
    lines = []
    for seed in (1, 2, 3):
        for half in (0.1, 0.5, 2.0):
            found = regions(random_net(seed, (2, 9, 7, 6, 1)), Box([-half, -half], [half, half]))
            lines.append(f"{found.count} {float(found.sizes.sum())!r}")
    return lines


def run(code, **settings):
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **settings}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("cells", [2])
def test_kernels_stay_inside_their_arrays(cells):
    """With every index checked and arrays that grow from nothing, the same cells as compiled."""
    assert run(CHECKED.replace("SHORT", SHORT.format(cells)), NUMBA_DISABLE_JIT="1") == listed()


@pytest.mark.big(sample=0)
def test_compiled_kernels_stay_inside_their_arrays(tmp_path):
    """The same compiled with checked indexes; kernels of an earlier run are not used."""
    code = CHECKED.replace("SHORT", "")
    settings = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert run(code, **settings) == listed()


def test_arrays_that_are_filled_together_grow_together():
    for cap in (1, 5, 64):
        for cells in range(3 * cap):
            out = planar_split.make_out(cap, 2)
            for m, k in ((3, 1), (7, 2), (12, 9)):
                out.at[:] = min(cells, len(out.parent)), min(3 * cells, len(out.vertex)), min(cells, len(out.names))
                out = planar_split.out_for(out, m, k)
                new = 2 * k + k * (k - 1) // 2
                assert len(out.offset) == len(out.parent) + 1
                assert len(out.parent) == len(out.words) == len(out.more) >= out.at[0] + 2 + new
                assert len(out.vertex) == len(out.label) >= out.at[1] + m + 8 * k + 4 * new
                assert len(out.source) == len(out.weights) == len(out.names) >= out.at[2] + new


def test_growing_keeps_what_is_there():
    out = planar_split.make_out(4, 1)
    out.at[:] = 4, 9, 4
    out.offset[:] = [0, 3, 5, 7, 9]
    out.vertex[:9] = np.arange(9)
    out.names[:] = np.arange(4).astype(np.uint64)
    more = planar_split.out_for(out, 5, 3)
    assert more.offset[:5].tolist() == [0, 3, 5, 7, 9]
    assert more.vertex[:9].tolist() == list(range(9))
    assert more.names[:4].tolist() == [0, 1, 2, 3]


def test_a_kernel_without_room_says_so(monkeypatch):
    """An array that is too short is an error, not a write behind its end."""
    room = planar_engine.split_binary

    def short(*args):
        _, out, doubt = room(*args)
        return planar_split.FULL, out, doubt

    monkeypatch.setattr(planar_engine, "split_binary", short)
    with pytest.raises(SolverError, match="room"):
        regions(random_net(1), Box([-1, -1], [1, 1]))


def test_checks_of_room():
    out = planar_split.make_out(3, 1)
    assert planar_split.has_room(out, 3, 12, 3)
    for cells, sides, made in ((4, 12, 3), (3, 13, 3), (3, 12, 4)):
        assert not planar_split.has_room(out, cells, sides, made)
    assert not planar_split.has_room(out._replace(offset=out.offset[:3]), 3, 12, 3)


@pytest.mark.parametrize("seed", range(3))
def test_small_and_large_lists_in_turns(seed):
    """Lists of one process do not disturb each other."""
    net = random_net(seed, (2, 32, 32, 16, 1))
    counts = [count_regions(net, Box([-half, -half], [half, half])).count for half in (0.05, 2.0)]
    for _ in range(3):
        for half, count in zip((0.05, 2.0), counts, strict=True):
            found = regions(net, Box([-half, -half], [half, half]))
            assert found.count == count
            check_plane(found, 4 * half * half)
