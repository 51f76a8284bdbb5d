"""Counts and lists in the plane that a budget stops: what is left is taken up again, saved or not, by any threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import zoo
from analyses.regions.test_planar import BOX, flawed, random_net
from plica.analyses.regions import planar_engine, planar_mesh
from plica.analyses.regions.analysis import count_regions, regions
from plica.analyses.regions.planar import planar_count
from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_frontier import PlanarFrontier
from plica.analyses.regions.planar_window import window_of
from plica.analyses.regions.solid_domain import domain_of
from plica.core.domain import Ball, Box
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError, BudgetReached, DataError
from plica.store import load_result, save


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


def cube(n, half=1.0):
    return Box(-half * np.ones(n), half * np.ones(n))


GOING_ON = {
    "plane": (random_net(4, (2, 24, 24, 24, 1)), cube(2), {"max_regions": 60}, 3),
    "space": (random_net(4, (3, 24, 24, 1)), cube(3), {}, 3),
    "ball": (random_net(4, (3, 16, 16, 1)), Ball(np.zeros(3), 2.0), {}, 3),
    "rows": (random_net(4, (11, 3, 3, 1)), cube(11, 0.5), {}, 9),
}


@pytest.mark.parametrize("name", GOING_ON)
def test_results_go_on_also_saved(name, short_chunks, tmp_path, monkeypatch):
    """The answer, per layer too, is that of one run, wherever runs were ended."""
    net, domain, limit, step = GOING_ON[name]
    whole, looks, allowed = count_regions(net, domain), 0, step
    assert whole.frontier is None

    def check(self):  # every run may go on for longer than the one before: a step looks at the budget more than once
        nonlocal looks, allowed
        looks += 1
        if looks > allowed:
            looks, allowed = 0, allowed + step
            raise BudgetReached("now")

    monkeypatch.setattr(Progress, "check", check)
    found = count_regions(net, domain, **limit)
    runs = 1
    while found.frontier is not None:
        assert found.completeness is Completeness.BUDGET
        assert found.count < whole.count
        assert f"{found.waiting:,}; count_regions(..., resume=this)" in found.summary()
        assert found.to_dict()["frontier"] == found.waiting > 0
        found = load_result(save(found, tmp_path / "left.npz"))
        found, runs = count_regions(net, domain, resume=found), runs + 1
    assert (found.count, found.per_layer, found.undecided) == (whole.count, whole.per_layer, whole.undecided)
    assert found.completeness is Completeness.COMPLETE
    assert runs > 2


def test_what_cannot_go_on_says_why():
    net, box = random_net(4, (2, 24, 24, 24, 1)), cube(2)
    left = count_regions(net, box, max_regions=1)
    assert left.frontier is not None
    nearly = random_net(4, (2, 24, 24, 24, 1))
    weight = next(n.op.weight for n in nearly.nodes if hasattr(n.op, "weight"))
    weight[0, 0] = weight[0, 0] * (1 + 2**-40)
    wrong = [
        ((net, box, count_regions(net, box)), "complete; there is nothing left"),
        ((net, box, replace(left, frontier=None, completeness=Completeness.INTERRUPTED)), "plica.run_count"),
        ((net, box, replace(left, frontier=None)), "unbounded domains"),
        ((net, Box([-1, -1], [1, 2]), left), "another network or domain"),
        ((nearly, box, left), "another network or domain"),
        ((random_net(4, (3, 24, 24, 1)), cube(3), left), "another network or domain"),
        ((net, box, replace(left, frontier=left.frontier | {"plica": np.array("0.0")})), "begun by plica 0.0"),
    ]
    for (other, domain, earlier), words in wrong:
        with pytest.raises(ArgumentError, match=words):
            count_regions(other, domain, resume=earlier)


def test_an_interrupt_leaves_a_bound_and_nothing_to_go_on_with(short_chunks):
    def stop(label, done, total):
        raise KeyboardInterrupt

    net = random_net(4, (2, 24, 24, 24, 1))
    found = count_regions(net, BOX, progress=Progress(listener=stop))
    assert found.completeness is Completeness.INTERRUPTED
    assert found.frontier is None


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
