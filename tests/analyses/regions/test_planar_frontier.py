"""Counts and lists in the plane that a budget stops: what is left is taken up again, saved or not, by any threads."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from analyses.regions.test_planar import BOX, flawed, random_net
from plica.analyses.regions import planar_engine, planar_mesh
from plica.analyses.regions.analysis import count_regions, regions
from plica.analyses.regions.cells import Listed
from plica.analyses.regions.planar import planar_count, planar_stream
from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_frontier import PlanarFrontier
from plica.analyses.regions.planar_window import window_of
from plica.analyses.regions.solid_domain import domain_of
from plica.core.domain import Box
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError, DataError


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(planar_engine, "CHUNK", 32)


def steps(net, most, through=lambda frontier: frontier):
    """Count in runs of about `most` regions; the count, the runs, the cells per layer."""
    resume, runs = None, 0
    while True:
        found = planar_count(net, BOX, max_regions=(resume.count if resume else 0) + most, resume=resume)
        runs += 1
        if found.frontier is None:
            assert found.complete
            return found.count, runs, found.layers
        assert not found.complete
        resume = through(found.frontier)


def nets():
    yield random_net(4, (2, 24, 24, 24, 1))
    yield random_net(9, (2, 40, 40, 1))
    yield zoo.build(flawed("relu", "integer", 2, 2))
    yield zoo.build(flawed("residual", "none", 2, 2))


@pytest.mark.parametrize("i", range(4))
def test_counts_in_runs_are_counts_at_once(i, short_chunks):
    net = list(nets())[i]
    whole = planar_count(net, BOX)
    assert whole.complete
    assert whole.frontier is None
    assert whole.count == count_regions(net, BOX).count
    count, runs, layers = steps(net, 50)
    assert (count, layers) == (whole.count, whole.layers)
    assert runs > 1 or whole.count < 100


def test_a_frontier_survives_a_file(short_chunks, tmp_path):
    net = random_net(4, (2, 24, 24, 24, 1))

    def through(frontier):
        frontier.save(tmp_path / "left.npz")
        again = PlanarFrontier.load(tmp_path / "left.npz")
        assert len(again) == len(frontier) > 0
        assert [w.path for w in again.waiting] == [w.path for w in frontier.waiting]
        return again

    assert steps(net, 150, through)[0] == count_regions(net, BOX).count


def test_every_array_of_a_frontier_comes_back():
    """Also of cells that are to be cut by more forms of the same stage."""
    engine = Engine(random_net(3, (2, 270, 3, 1)), window_of(domain_of(BOX, 2)), Progress())
    engine._step(engine.items.pop())
    waiting = engine.frontier()
    assert {w.chunk.again for w in waiting} >= {True}
    left = PlanarFrontier(tuple(waiting[:3] + waiting[-3:]), 7, (1, 2), "mark")
    again = PlanarFrontier.of(left.arrays())
    assert (again.count, again.layers, again.mark) == (7, (1, 2), "mark")
    for a, b in zip(left.waiting, again.waiting, strict=True):
        assert (a.path, a.chunk.stage, a.chunk.again) == (b.path, b.chunk.stage, b.chunk.again)
        for one, two in zip(plain(a.chunk), plain(b.chunk), strict=True):
            assert np.array_equal(one, two)


def plain(chunk):
    """All values of a chunk."""
    parts = [chunk.rows.values, chunk.rows.error, chunk.rows.norm, vars(chunk.forms), vars(chunk.polygons)]
    yield from (value for part in parts for _, value in sorted(part.items()))
    yield from (chunk.base, chunk.X, chunk.keys)


def test_parts_of_a_frontier_add_up(short_chunks):
    net = random_net(4, (2, 24, 24, 24, 1))
    begun = planar_count(net, BOX, max_regions=60)
    parts = [planar_count(net, BOX, resume=part) for part in begun.frontier.split(3)]
    assert len(parts) > 1
    assert begun.count + sum(p.count for p in parts) == count_regions(net, BOX).count


def test_no_time_leaves_everything(short_chunks):
    net = random_net(4, (2, 24, 24, 24, 1))
    none = planar_count(net, BOX, progress=Progress(max_seconds=0.0))
    assert (none.count, none.complete, len(none.frontier)) == (0, False, 1)
    assert planar_count(net, BOX, resume=none.frontier, workers=2).count == count_regions(net, BOX).count


def test_a_frontier_of_something_else_is_refused(tmp_path):
    net = random_net(4, (2, 24, 24, 24, 1))
    left = planar_count(net, BOX, max_regions=1).frontier
    with pytest.raises(ArgumentError, match="another network"):
        planar_count(random_net(5, (2, 24, 24, 24, 1)), BOX, resume=left)
    with pytest.raises(ArgumentError, match="another network"):
        planar_count(net, Box([-1, -1], [1, 2]), resume=left)
    with pytest.raises(ArgumentError, match="3 variables"):
        planar_count(random_net(2, (3, 5, 2)), BOX)
    (tmp_path / "no.npz").write_bytes(b"no")
    with pytest.raises(DataError):
        PlanarFrontier.load(tmp_path / "no.npz")


def test_streams_hand_over_every_region_once_and_go_on(short_chunks):
    net = random_net(4, (2, 24, 24, 24, 1))
    whole = regions(net, BOX)
    *parts, left = planar_stream(net, BOX, part=100, progress=None)
    assert left.complete
    assert left.count == whole.count == sum(len(p.first) - 1 for p in parts)
    begun = planar_stream(net, BOX, part=100)
    one = next(begun)
    assert isinstance(one, Listed)
    stopped = planar_count(net, BOX, max_regions=100)
    *rest, end = planar_stream(net, BOX, part=100, resume=stopped.frontier)
    assert end.count == whole.count == stopped.count + sum(len(p.first) - 1 for p in rest)
    codes = [bytes(row) for p in [*parts] for row in p.codes]
    assert sorted(codes) == sorted(map(bytes, whole.codes))
    assert sum(p.sizes.sum() for p in parts) == pytest.approx(4.0)
    with pytest.raises(ArgumentError):
        next(planar_stream(net, BOX, part=0))


def test_lists_do_not_depend_on_threads(short_chunks):
    net = random_net(4, (2, 24, 24, 24, 1))
    alone = regions(net, BOX)
    for _ in range(3):
        together = regions(net, BOX, threads=3)
        for name in ("codes", "vertices", "errors", "first", "corners", "facet_corners", "facet_units", "sizes"):
            assert np.array_equal(getattr(alone, name), getattr(together, name)), name


def test_time_that_ends_while_vertices_are_compared_leaves_the_cells(monkeypatch):
    """The list is there, and says that it is not whole."""
    net = zoo.build(flawed("relu", "integer", 3, 2))
    whole = regions(net, BOX)
    assert whole.decided > 0
    seen, real = [], planar_mesh._merged

    def late(engine, mesh, order):
        seen.append(len(mesh.vertices))
        engine.progress = Progress(max_seconds=0.0)
        return real(engine, mesh, order)

    monkeypatch.setattr(planar_mesh, "_merged", late)
    found = regions(net, BOX)
    assert seen
    assert found.count == whole.count
    assert found.sizes.sum() == pytest.approx(4.0)
    assert len(found.vertices) >= len(whole.vertices)
    assert (found.completeness is Completeness.BUDGET) == (len(found.vertices) > len(whole.vertices))
