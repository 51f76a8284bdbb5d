"""What can be asked of regions: parts, limits, distances in space, random planes, and one clear error for each slip."""

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.analyses.regions.facets import hull_distance
from plica.analyses.regions.question import question_of
from plica.core.domain import Ball, Box, Plane
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError, PlicaError, ShapeError


def dense(d, width=8, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(d, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)]
    return plica.load(nn.Sequential(*layers).double().eval(), (d,))


def cube(d):
    return Box([-1.0] * d, [1.0] * d)


# --- parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_parts_are_the_regions_each_once(d):
    net = dense(d, 24 if d < 4 else 8)
    whole = plica.regions(net, cube(d), maps=True)
    parts = list(plica.stream_regions(net, cube(d), maps=True, part=20))
    assert len(parts) > 1 or d in (1, 4)  # a part is at least a chunk
    assert all(p.completeness is Completeness.COMPLETE for p in parts)
    assert sum(p.count for p in parts) == whole.count
    codes = np.concatenate([p.codes for p in parts])
    assert sorted(map(bytes, codes)) == sorted(map(bytes, whole.codes))
    assert sum(p.sizes.sum() for p in parts) == pytest.approx(2.0**d)
    own = {bytes(c): m for c, m in zip(whole.codes, whole.matrices, strict=True)}
    for p in parts:
        assert p.matrices == pytest.approx(np.array([own[bytes(c)] for c in p.codes]))
        assert p.linear is None and (p.neighbours < p.count).all()


def test_a_stream_is_worked_out_as_it_is_read():
    progress = Progress()
    stream = plica.stream_regions(dense(2, 40), cube(2), part=50, progress=progress)
    first = next(stream)
    progress.max_seconds = 0.0
    rest = list(stream)
    assert first.count >= 50 and first.completeness is Completeness.COMPLETE
    assert [p.completeness for p in rest] == [Completeness.BUDGET]
    assert first.count + rest[0].count < plica.count_regions(dense(2, 40), cube(2)).count


@pytest.mark.parametrize("d", [2, 3])
def test_a_budget_that_ends_a_stream_at_once_says_so(d):
    (only,) = plica.stream_regions(dense(d), cube(d), progress=Progress(max_seconds=0.0))
    assert (only.count, only.completeness) == (0, Completeness.BUDGET)


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3, 4])
def test_listing_stops_at_a_number_of_regions(d):
    net, most = dense(d, 16), 40
    some = plica.regions(net, cube(d), max_regions=most, maps=True)
    assert most <= some.count < plica.count_regions(net, cube(d)).count
    assert some.completeness is Completeness.BUDGET and "at least" in repr(some)
    assert plica.regions(dense(3), cube(3), max_regions=10**9).completeness is Completeness.COMPLETE


@pytest.mark.parametrize("d", [1, 2, 3])
def test_counts_per_layer_are_of_the_domain(d):
    net = dense(d)
    for domain in (cube(d), Ball([0.0] * d, 0.5, np.inf)):
        listed, counted = plica.regions(net, domain), plica.count_regions(net, domain)
        assert listed.per_layer == counted.per_layer and counted.per_layer[-1] == counted.count
        first = plica.count_regions(net.upto(net.layers[0]), domain).count
        assert counted.per_layer[0] == first
    round_ = plica.count_regions(net, Ball([0.0] * d, 0.5))
    assert round_.per_layer == (0, round_.count) == plica.regions(net, Ball([0.0] * d, 0.5)).per_layer


# --- distances --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_point_of_a_hull_is_optimal(seed):
    rng = np.random.default_rng(seed)
    d = int(rng.integers(3, 7))
    corners = rng.normal(size=(int(rng.integers(1, 20)), d)) + rng.uniform(0, 2) * rng.normal(size=d)
    corners *= 10.0 ** rng.integers(-3, 4)
    found = hull_distance(corners)
    low, x = 0.0, corners.mean(0)
    for k in range(20_000):  # Frank-Wolfe: between the two bounds lies the distance
        best = corners[np.argmin(corners @ x)]
        low = max(low, float(best @ x) / np.linalg.norm(x))
        step = x - best
        x = x - np.clip(x @ step / max(step @ step, 1e-300), 0, 1) * step
        if np.linalg.norm(x) - low < 1e-6 * np.abs(corners).max() or (k > 200 and np.linalg.norm(x) < 1e-9):
            break
    assert low * (1 - 1e-9) <= found <= np.linalg.norm(x) * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("d", [2, 3, 4])
def test_regions_near_a_point_are_those_of_the_ball(d):
    net = dense(d)
    listed = plica.regions(net, cube(d))
    for seed, radius in enumerate((0.05, 0.2, 0.4)):
        point = np.random.default_rng(seed).uniform(-0.5, 0.5, d)
        near = listed.within(point, radius)
        assert len(near) == plica.count_regions(net, Ball(point, radius)).count
        order, gaps = listed.nearest(point, len(near))
        assert sorted(order) == sorted(near) and gaps[0] == 0.0 and gaps.max() < radius
        every = listed.distances(point)
        assert (np.diff(gaps) >= 0).all() and every[order] == pytest.approx(gaps)
        assert np.sort(every)[: len(near)] == pytest.approx(gaps)
    assert len(listed.nearest(point, 10**6)[0]) == listed.count


# --- domains ----------------------------------------------------------------------------------------------------


def test_a_random_plane():
    net = dense(5)
    plane = Plane.random(5, half=2.0, seed=3)
    assert plane.basis.T @ plane.basis == pytest.approx(np.eye(2))
    assert (plane.basis == Plane.random(5, seed=3).basis).all() and (plane.basis != Plane.random(5, seed=4).basis).any()
    found = plica.regions(net, plane)
    assert found.sizes.sum() == pytest.approx(16.0)
    assert Plane.random(5, 1, origin=np.ones(5)).point([0.0]).tolist() == [1.0] * 5
    for wrong in (0, 6):
        with pytest.raises(ShapeError, match="1 to 5"):
            Plane.random(5, wrong)


FLAT = Polyhedron(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), np.array([1.0, -1, 1, 1]))
EMPTY = Polyhedron(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), np.array([-1.0, -1, 1, 1]))
STRIP = Polyhedron(np.array([[1.0, 0], [-1, 0]]), np.array([1.0, 1]))
SLIPS = {
    "whole space": (lambda net: plica.regions(net, None), "unbounded; bound it"),
    "strip": (lambda net: plica.regions(net, STRIP), "unbounded; bound it"),
    "strip in parts": (lambda net: plica.stream_regions(net, STRIP), "unbounded; bound it"),
    "half-infinite box": (lambda net: plica.regions(net, Box([0, 0], [1, np.inf])), "unbounded; bound it"),
    "plane without window": (lambda net: plica.regions(net, Plane(np.zeros(2), np.eye(2))), "give it a window"),
    "flat box": (lambda net: plica.regions(net, Box([0, 0], [0, 1])), "flat in 1 variables"),
    "flat polygon": (lambda net: plica.regions(net, FLAT), "flat, of dimension 1"),
    "empty polygon": (lambda net: plica.count_regions(net, EMPTY), "empty"),
    "ball of radius 0": (lambda net: plica.count_regions(net, Ball([0, 0], 0.0)), "radius 0"),
    "points on a line": (lambda _: Plane.through([[0.0, 0], [1, 1], [2, 2]]), "do not span 2"),
    "equal ends": (lambda net: plica.regions(net, plica.Segment([1, 1], [1, 1])), "equal ends"),
    "another space": (lambda net: plica.regions(net, cube(3)), "3 variables, the network reads 2"),
    "a list": (lambda net: question_of(net, [[-1, 1], [-1, 1]]), "of type list; give a plica.Box"),
    "a word": (lambda net: question_of(net, "box"), "of type str"),
    "twelve dimensions": (lambda _: plica.regions(dense(12), cube(12)), "12 dimensions.*up to 10.*slice"),
    "twelve, in parts": (lambda _: plica.stream_regions(dense(12), cube(12)), "12 dimensions"),
    "no threads": (lambda net: plica.count_regions(net, cube(2), threads=0), "threads is 0"),
    "no regions": (lambda net: plica.regions(net, cube(2), max_regions=0), "max_regions is 0"),
    "empty parts": (lambda net: plica.stream_regions(net, cube(2), part=0), "part is 0"),
    "a limited count in space": (lambda _: plica.count_regions(dense(3), cube(3), max_regions=5), "end this one by ti"),
    "a point elsewhere": (lambda net: plica.regions(net, cube(2)).nearest([0, 0, 0]), "3 coordinates"),
    "no neighbours": (lambda net: plica.regions(net, cube(2)).nearest([0, 0], 0), "k is 0"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_one_clear_error(slip):
    ask, words = SLIPS[slip]
    with pytest.raises(PlicaError, match=words):
        ask(dense(2))


def test_linear_sizes_need_maps():
    with pytest.raises(ArgumentError, match="maps=True"):
        plica.regions(dense(2), cube(2)).linear_sizes()
