"""What a budget ends goes on to the answer of one run: lists, streams, counts in balls, domains with many sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import plica
import zoo
from analyses.regions.test_planar import flawed
from plica.analyses.regions import planar_engine, planar_mesh, solid_engine
from plica.analyses.regions.resume import taken_up, taken_up_list
from plica.core.domain import Ball, Box, Plane, Segment
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError, BudgetReached
from plica.store import load_result, save

ARRAYS = ("codes", "vertices", "errors", "first", "corners", "facet_first", "facet_corner_first", "facet_corners",
          "facet_layers", "facet_units", "sizes", "matrices", "offsets", "linear")  # fmt: skip


def dense(d, width, seed, *, integer=False):
    torch.manual_seed(seed)
    layers = [nn.Linear(d, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)]
    model = nn.Sequential(*layers).double().eval()
    for p in model.parameters() if integer else ():
        p.data = torch.round(4 * p.data)
    return plica.load(model, (d,))


@pytest.fixture
def end_at(monkeypatch):
    """Make the budgets that have an end end at the given look at the clock."""

    def at(look):
        looks = [0]

        def check(self):
            looks[0] += self.max_seconds is not None
            if looks[0] == look and self.max_seconds is not None:
                raise BudgetReached("now")

        monkeypatch.setattr(Progress, "check", check)

    return at


def clock():
    """A budget, for `end_at` to end."""
    return Progress(max_seconds=1e9)


def test_a_count_in_a_ball_goes_on_from_anywhere(end_at):
    """Also where it ends between signs decided in integers, with cells that were not yet compared with the ball."""
    net, ball = dense(3, 10, 0, integer=True), Ball(np.zeros(3), 0.7)
    whole, looks = plica.count_regions(net, ball), 0
    assert whole.decided > 20
    while True:
        looks += 1
        end_at(looks)
        part = plica.count_regions(net, ball, progress=clock())
        if part.frontier is None:
            break
        assert part.count <= whole.count
        again = plica.count_regions(net, ball, resume=part)
        assert (again.count, again.completeness) == (whole.count, Completeness.COMPLETE)
    assert looks > 10


# --- lists and streams --------------------------------------------------------------------------------------------


def cube(d, half=1.0):
    return Box([-half] * d, [half] * d)


LISTS = {
    "plane": (dense(2, 20, 1), cube(2)),
    "plane of ties": (dense(2, 12, 3, integer=True), cube(2)),
    "plane of windows": (zoo.build(flawed("triples", "integer", 5, 2)), cube(2)),
    "slice": (dense(5, 16, 2), Plane.through(np.random.default_rng(0).normal(size=(3, 5)))),
    "line": (dense(4, 20, 0), Segment(-np.ones(4), 2 * np.ones(4))),
    "space": (dense(3, 9, 4), cube(3)),
    "space of ties": (dense(3, 6, 0, integer=True), cube(3)),
    "ball": (dense(3, 8, 0, integer=True), Ball(np.zeros(3), 0.7)),
    "four": (dense(4, 6, 1), cube(4)),
}


@pytest.fixture
def short_steps(monkeypatch):
    """Small chunks, so that a budget can end anywhere."""
    monkeypatch.setattr(planar_engine, "CHUNK", 32)
    monkeypatch.setattr(solid_engine, "CHUNK", 8)


def looks_of(monkeypatch, ask):
    """How often an answer looks at the clock, and the answer."""
    looks = [0]

    def check(self):
        looks[0] += self.max_seconds is not None

    monkeypatch.setattr(Progress, "check", check)
    return ask(), looks[0]


def same(found, whole):
    """Whether two lists are equal, up to the order of the regions."""
    assert (found.count, found.per_layer, found.completeness) == (whole.count, whole.per_layer, whole.completeness)
    order = [np.lexsort(r.codes.T) for r in (found, whole)]
    for i, j in zip(*order, strict=True):
        assert bytes(found.codes[i]) == bytes(whole.codes[j])
        a, b = (r.region(k)[np.lexsort(np.round(r.region(k), 9).T)] for r, k in ((found, i), (whole, j)))
        assert a == pytest.approx(b, abs=1e-9)
        assert found.matrices[i] == pytest.approx(whole.matrices[j])
    assert np.sort(found.sizes) == pytest.approx(np.sort(whole.sizes))
    assert len(found.vertices) == len(whole.vertices)
    assert pairs(found) == pairs(whole)
    assert found.linear_count == whole.linear_count


def pairs(found):
    """Which patterns share a facet."""
    return {frozenset((bytes(found.codes[i]), bytes(found.codes[j]))) for i, j in found.adjacency()}


@pytest.mark.parametrize("name", LISTS)
def test_lists_go_on_from_anywhere_also_saved(name, short_steps, end_at, monkeypatch, tmp_path):
    net, domain = LISTS[name]
    whole, looks = looks_of(monkeypatch, lambda: plica.regions(net, domain, maps=True, progress=clock()))
    assert whole.frontier is None and whole.completeness is Completeness.COMPLETE
    for look in {1, looks, *np.random.default_rng(len(name)).integers(1, looks, size=3).tolist()}:
        end_at(look)
        found, runs = plica.regions(net, domain, maps=True, progress=clock()), 1
        while found.frontier is not None:
            assert found.completeness is Completeness.BUDGET
            assert "regions(..., resume=this)" in found.summary()
            assert found.to_dict()["frontier"] == found.waiting
            found = load_result(save(found, tmp_path / "left.npz"))
            end_at(look if runs == 1 and look > looks // 2 else -1)
            found, runs = plica.regions(net, domain, maps=True, resume=found, progress=clock()), runs + 1
        assert runs > 1
        same(found, whole)
        if whole.dimension == 2:  # in a plane bit by bit, in the same order
            assert all(np.array_equal(getattr(found, a), getattr(whole, a)) for a in ARRAYS)


def streamed(net, domain, last=None):
    return list(plica.stream_regions(net, domain, maps=True, part=40, resume=last, progress=clock()))


@pytest.mark.parametrize("name", LISTS)
def test_streams_go_on_from_their_last_part(name, short_steps, end_at, monkeypatch, tmp_path):
    net, domain = LISTS[name]
    whole = plica.regions(net, domain, maps=True)
    _, looks = looks_of(monkeypatch, lambda: streamed(net, domain))
    for look in {1, *np.random.default_rng(len(name)).integers(1, looks + 1, size=3).tolist()}:
        end_at(look)
        parts = streamed(net, domain)
        assert all(p.frontier is None and p.completeness is Completeness.COMPLETE for p in parts[:-1])
        assert parts[-1].waiting and "stream_regions(..., resume=this)" in parts[-1].summary()
        last = load_result(save(parts[-1], tmp_path / "left.npz"))
        parts += streamed(net, domain, last)
        assert parts[-1].completeness is Completeness.COMPLETE
        assert sum(p.count for p in parts) == whole.count
        own = {tuple(b): m for b, m in zip(whole.branches().tolist(), whole.matrices, strict=True)}
        found = [(tuple(b), m) for p in parts for b, m in zip(p.branches().tolist(), p.matrices, strict=True)]
        assert {b for b, _ in found} == set(own) and len(own) == len(found)
        assert all(m == pytest.approx(own[b]) for b, m in found)
        assert sum(p.sizes.sum() for p in parts) == pytest.approx(whole.sizes.sum())


@pytest.mark.parametrize("name", ["plane", "slice", "space", "four"])
def test_a_list_of_so_many_goes_on(name, short_steps):
    net, domain = LISTS[name]
    whole = plica.regions(net, domain)
    some = plica.regions(net, domain, max_regions=2)
    assert 2 <= some.count < whole.count / 2 and some.waiting
    more = plica.regions(net, domain, max_regions=some.count + 1, resume=some)
    assert some.count < more.count <= whole.count
    while more.frontier is not None:
        more = plica.regions(net, domain, resume=more)
    assert more.count == whole.count
    rest = list(plica.stream_regions(net, domain, resume=some))
    assert sum(p.count for p in rest) == whole.count - some.count


def test_only_maps_are_left(end_at, monkeypatch):
    """The list is whole when the time ends: a later run makes its maps and lists nothing."""
    net, domain = LISTS["plane"]
    whole, looks = looks_of(monkeypatch, lambda: plica.regions(net, domain, maps=True, progress=clock()))
    end_at(looks)
    found = plica.regions(net, domain, maps=True, progress=clock())
    assert (found.count, found.linear, found.waiting) == (whole.count, None, 0)
    with pytest.raises(ArgumentError, match="only maps are left"):
        plica.stream_regions(net, domain, resume=found)
    monkeypatch.setattr(planar_engine.Engine, "run", None)
    again = plica.regions(net, domain, maps=True, resume=found)
    assert all(np.array_equal(getattr(again, a), getattr(whole, a)) for a in ARRAYS)


def test_vertices_not_compared_in_time_are_later(monkeypatch):
    net, domain = LISTS["plane of ties"]
    whole, real = plica.regions(net, domain), planar_mesh._merged

    def late(engine, mesh, order):
        engine.progress = Progress(max_seconds=0.0)
        return real(engine, mesh, order)

    monkeypatch.setattr(planar_mesh, "_merged", late)
    found = plica.regions(net, domain, progress=Progress(max_seconds=1e6))
    assert found.count == whole.count and len(found.vertices) > len(whole.vertices) and found.frontier is not None
    monkeypatch.setattr(planar_mesh, "_merged", real)
    again = plica.regions(net, domain, resume=found)
    assert np.array_equal(again.vertices, whole.vertices) and again.completeness is Completeness.COMPLETE


def test_one_cell_is_done_whatever_the_time():
    net = plica.load(nn.Linear(2, 2), (2,))
    none = Progress(max_seconds=0.0)
    assert plica.regions(net, cube(2), progress=none).count == 1
    assert plica.count_regions(net, cube(2), progress=none).count == 1


def test_lists_that_cannot_go_on_say_why(short_steps):
    net, domain = LISTS["plane"]
    whole, left = plica.regions(net, domain), plica.regions(net, domain, max_regions=1)
    (part, *_), counted = plica.stream_regions(net, domain, part=1), plica.count_regions(net, domain, max_regions=1)
    (last,) = plica.stream_regions(net, domain, progress=Progress(max_seconds=0.0))
    wrong = [
        ((net, domain, whole), "complete; there is nothing left"),
        ((net, domain, part), "take the last part"),
        ((net, domain, last), "a part of a stream"),
        ((net, domain, replace(left, frontier=None, completeness=Completeness.INTERRUPTED)), "interrupted"),
        ((net, cube(2, 2.0), left), "another network or domain"),
        ((dense(2, 20, 7), domain, left), "another network or domain"),
        ((dense(3, 9, 4), cube(3), left), "another network or domain"),
        ((net, domain, replace(left, frontier=left.frontier | {"plica": np.array("0.0")})), "begun by plica 0.0"),
    ]
    for (other, where, earlier), words in wrong:
        with pytest.raises(ArgumentError, match=words):
            plica.regions(other, where, resume=earlier)
        if earlier is not last:
            with pytest.raises(ArgumentError, match=words):
                plica.stream_regions(other, where, resume=earlier)
    with pytest.raises(ArgumentError, match=r"what plica\.regions"):
        taken_up_list(counted, "", planar=True)
    with pytest.raises(ArgumentError, match=r"what plica\.count_regions"):
        taken_up(left, planar=True)


# --- many sides ---------------------------------------------------------------------------------------------------


def round_body(sides=70):
    rows = np.random.default_rng(0).normal(size=(sides, 3))
    return Polyhedron(rows / np.linalg.norm(rows, axis=1)[:, None], np.ones(sides))


def test_a_domain_of_many_sides_says_when_it_is_not_done(tmp_path, monkeypatch):
    """More sides than a word has bits: all in integers, in one go."""
    net, body = dense(3, 2, 0), round_body()
    whole = plica.count_regions(net, body)
    assert (whole.completeness, whole.method) == (Completeness.COMPLETE, "vertices")
    none = plica.count_regions(net, body, progress=Progress(max_seconds=0.0))
    assert (none.count, none.completeness, none.frontier) == (0, Completeness.BUDGET, None)
    assert plica.regions(net, body).count == whole.count
    assert plica.regions(net, body, progress=Progress(max_seconds=0.0)).completeness is Completeness.BUDGET
    (last,) = plica.stream_regions(net, body, progress=Progress(max_seconds=0.0))
    assert last.completeness is Completeness.BUDGET
    with pytest.raises(ArgumentError, match="64 sides"):
        plica.count_regions(net, body, resume=none)
    monkeypatch.setattr("plica.jobs.count.SECONDS", 1e-9)
    assert plica.run_count(net, body, folder=tmp_path).count == whole.count
