"""Regions of all of space and of unbounded polyhedra: equal to the exact oracle in a box beyond all vertices."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

import zoo
from analyses.regions import solid_nets
from analyses.regions.test_solid import brute_vertices, keys, pattern_rows
from oracles import regions_nd as oracle
from plica.analyses.regions.solid_space import space_count, space_regions
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress

ROUNDING = Fraction(1, 2**50)  # of the sizes of what is added
FAR = Fraction(2) ** 4000  # beyond the Hadamard bound of every vertex of these networks


def expected(data, extra=()):
    n = int(np.prod(data["input"]))
    return {oracle.key(p) for p in oracle.regions(data, [-FAR] * n, [FAR] * n, extra)}


def check_facets(data, found, sides=()):
    """Facets and boundedness from all vertices, in fractions, of the region cut off far away."""
    n = found.witnesses.shape[1]
    for i in range(0, len(found), 4):
        taken = dict(keys(found.patterns[i : i + 1], found.nodes).pop())
        rows = pattern_rows(data, taken, [-FAR] * n, [FAR] * n) + list(sides)
        vertices = brute_vertices(rows, n)
        on = [frozenset(v for v in vertices if dot(r, v) == 0) for r in rows]
        facets = {s for s in on if not any(s < other for other in on)}
        near = {s for s, r in zip(on, rows, strict=True) if s in facets and FAR not in map(abs, r)}
        assert found.bounded[i] == all(max(map(abs, v)) < FAR for v in vertices)
        mine = found.facets[found.facet_first[i] : found.facet_first[i + 1]]
        assert len(mine) == len(near)
        for row in mine:
            assert any(parallel(row, r) for r, s in zip(rows, on, strict=True) if s in near)
        point = [Fraction(float(v)) for v in found.witnesses[i]]
        gaps = [Fraction(dot(r, point), sum(abs(a * v) for a, v in zip(r, [*point, 1], strict=True))) for r in rows]
        assert min(gaps) > (-ROUNDING if thin(rows, gaps) else 0)


def thin(rows, gaps):
    """Whether two rows with opposite directions leave a few roundings between them: perhaps no float is inside."""
    ways = [np.array([float(v / max(map(abs, r[:-1]))) for v in r[:-1]]) if any(r[:-1]) else None for r in rows]
    opposite = [
        (i, k)
        for i, a in enumerate(ways)
        for k, b in enumerate(ways[:i])
        if a is not None and b is not None and np.allclose(a, -b, rtol=0, atol=1e-12)
    ]
    return any(gaps[i] + gaps[k] < ROUNDING for i, k in opposite)


def dot(row, x):
    return sum(a * v for a, v in zip(row, x, strict=False)) + row[len(x)]


def parallel(a, b):
    scale = max(map(abs, b))
    b = np.array([float(Fraction(v) / scale) for v in b])
    return np.allclose(a, b, rtol=0, atol=1e-12) or np.allclose(a, -b, rtol=0, atol=1e-12)


@pytest.mark.big(sample=3)
@pytest.mark.parametrize("seed", range(300))
def test_space(seed):
    data, lower, _ = solid_nets.draw(seed)
    if len(lower) > 3:
        return
    net, want = zoo.build(data), expected(data)
    found = space_regions(net, None, Progress())
    assert space_count(net, None, Progress()) == (len(want), True)
    assert keys(found.patterns, found.nodes) == want
    check_facets(data, found)


@pytest.mark.big(sample=3)
@pytest.mark.parametrize("seed", range(100))
def test_unbounded_polyhedra(seed):
    data, lower, _ = solid_nets.draw(seed)
    n = len(lower)
    if n > 3:
        return
    rng = np.random.default_rng(seed)
    G, h = rng.integers(-2, 3, size=(2, n)).astype(float), rng.integers(0, 3, size=2) / 2
    G[:, 0] = 1.0
    sides = [oracle.integer_row([*(-Fraction(v) for v in g), Fraction(c)]) for g, c in zip(G, h, strict=True)]
    net, want = zoo.build(data), expected(data, sides)
    found = space_regions(net, Polyhedron(G, h), Progress())
    assert space_count(net, Polyhedron(G, h), Progress())[0] == len(want)
    assert keys(found.patterns, found.nodes) == want
    check_facets(data, found, sides)


@pytest.mark.parametrize(("n", "m"), [(2, 5), (3, 6), (4, 6), (5, 7)])
def test_hyperplanes_in_general_position(n, m):
    """Zaslavsky: sum_{j <= n} C(m, j) regions, C(m - 1, n) of them bounded."""
    rng = np.random.default_rng(n)
    W, b = rng.normal(size=(m, n)).tolist(), rng.normal(size=m).tolist()
    net = zoo.build(zoo.chain((n,), ("dense", {"W": W, "b": b}), ("relu", {})))
    found = space_regions(net, None, Progress())
    assert len(found) == sum(comb(m, j) for j in range(n + 1))
    assert found.bounded.sum() == comb(m - 1, n)


def test_hyperplanes_on_the_walls_between_the_cones():
    """Each of the 8 orthants has 3 facets, though its forms cut some of the cones nowhere."""
    net = zoo.build(zoo.chain((3,), ("dense", {"W": np.eye(3).tolist(), "b": None}), ("relu", {})))
    found = space_regions(net, None, Progress())
    assert len(found) == 8
    assert np.diff(found.facet_first).tolist() == [3] * 8
    assert not found.bounded.any()
