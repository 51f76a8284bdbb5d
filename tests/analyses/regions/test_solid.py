"""Regions in three and more dimensions: equal to the exact oracle, degenerate networks first of all."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

import zoo
from analyses.regions import solid_nets
from analyses.regions.mesh_checks import check_space
from oracles import regions_nd as oracle
from plica.analyses.regions import solid_engine
from plica.analyses.regions.solid import SolidCount, solid_count, solid_regions, solid_stream
from plica.core.domain import Ball, Box
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.errors import ArgumentError, DataError, MemoryBudgetError

CASES = 1000


def keys(patterns, nodes):
    """Patterns as the oracle writes them."""
    return {tuple((name, tuple(row[a:b].tolist())) for name, a, b in sorted(nodes)) for row in patterns}


def expected(data, lower, upper, extra=()):
    return {oracle.key(p) for p in oracle.regions(data, lower, upper, extra)}


def case(seed):
    data, lower, upper = solid_nets.draw(seed)
    return data, lower, upper, zoo.build(data), Box(np.array(lower), np.array(upper))


# --- equal to the oracle ------------------------------------------------------------------------------------------


@pytest.mark.big(sample=24)
@pytest.mark.parametrize("seed", range(CASES))
def test_counts_and_cells_are_those_of_the_oracle(seed):
    data, lower, upper, net, box = case(seed)
    want = expected(data, lower, upper)
    found = solid_regions(net, box)
    assert solid_count(net, box).count == len(want) == len(found.cells)
    assert keys(found.cells.patterns, found.nodes) == want
    volume = float(np.prod(np.subtract(upper, lower)))
    check_space(found.cells, volume, len(lower))


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("seed", range(300))
def test_vertices_are_those_of_the_inequalities(seed):
    """All vertices of every cell by solving every choice of rows, in fractions; volumes by a convex hull."""
    data, lower, upper, net, box = case(seed)
    n = len(lower)
    if n > 3:
        return
    found = solid_regions(net, box)
    centres, volumes = found.cells.centres(), found.cells.volumes()
    for i in range(0, len(found.cells), 7):
        key = keys(found.cells.patterns[i : i + 1], found.nodes).pop()
        rows = pattern_rows(data, dict(key), lower, upper)
        exact = brute_vertices(rows, n)
        vertices, _ = found.cells.region(i)
        error = found.cells.error[found.cells.first[i] : found.cells.first[i + 1]]
        assert len(vertices) == len(exact)
        off = np.abs(np.array(sorted(map(tuple, exact)), float)[:, None] - vertices[None]).max(-1)
        assert (off.min(0) <= error + 1e-15 * np.abs(vertices).max()).all()
        assert all(sum(a * Fraction(x) for a, x in zip(r, centres[i], strict=False)) + r[n] > 0 for r in rows)
        if volumes[i] > 1e-9:
            assert volumes[i] == pytest.approx(ConvexHull(vertices).volume, rel=1e-6)


def pattern_rows(data, taken, lower, upper):
    """Rows (a, b), a . x + b >= 0, of a pattern's cell."""
    n = len(lower)
    points = [[Fraction(0)] * n] + [[Fraction(i == k) for i in range(n)] for k in range(n)]
    values = [oracle.networks.margins(data, x, taken) for x in points]
    forms = oracle.affine_forms(values, n)
    return oracle.box_rows(lower, upper) + [oracle.integer_row(f) for f in forms if any(f[:n])]


def brute_vertices(rows, n):
    out = set()
    for chosen in combinations(rows, n):
        x = solve([r[:n] for r in chosen], [-r[n] for r in chosen])
        if x is not None and all(sum(a * v for a, v in zip(r, x, strict=False)) + r[n] >= 0 for r in rows):
            out.add(tuple(x))
    return out


def solve(A, b):
    """Exact solution of a square system, or None."""
    n = len(A)
    rows = [[Fraction(v) for v in line] + [Fraction(c)] for line, c in zip(A, b, strict=True)]
    for k in range(n):
        p = next((i for i in range(k, n) if rows[i][k]), None)
        if p is None:
            return None
        rows[k], rows[p] = rows[p], rows[k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        for i in range(n):
            if i != k and rows[i][k]:
                rows[i] = [u - rows[i][k] * v for u, v in zip(rows[i], rows[k], strict=True)]
    return [r[n] for r in rows]


# --- other domains ------------------------------------------------------------------------------------------------


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("seed", range(200))
def test_polyhedra(seed):
    data, lower, upper, net, box = case(seed)
    rng, n = np.random.default_rng(seed), len(lower)
    G = rng.integers(-3, 4, size=(2, n)).astype(float)
    h = G @ (np.array(lower) + np.array(upper)) / 2 + rng.integers(0, 2, size=2)
    domain = box.polyhedron().intersect(Polyhedron(G, h))
    if int(domain.dimension()) < n:
        with pytest.raises(DataError, match=r"flat|empty"):
            solid_count(net, domain)
        return
    extra = [[*(-Fraction(v) for v in g), Fraction(c)] for g, c in zip(G, h, strict=True) if any(g)]
    want = expected(data, lower, upper, extra)
    found = solid_regions(net, domain)
    assert solid_count(net, domain).count == len(want)
    assert keys(found.cells.patterns, found.nodes) == want


@pytest.mark.parametrize("n", [1, 2])
def test_few_inputs(n):
    for seed in range(12):
        w = solid_nets.Weights(np.random.default_rng(seed), solid_nets.FLAWS[seed % 8])
        layers = [w.dense(4, n), ("relu", {}), w.dense(3, 4), ("abs", {}), w.dense(2, 3), ("maxout", {"size": 2})]
        data = zoo.chain((n,), *layers)
        net, box = zoo.build(data), Box(-np.ones(n), np.ones(n))
        want = expected(data, [-1] * n, [1] * n)
        found = solid_regions(net, box)
        assert solid_count(net, box).count == len(want)
        assert keys(found.cells.patterns, found.nodes) == want


def test_no_choices():
    net = zoo.build(zoo.chain((3,), ("dense", {"W": np.eye(3).tolist(), "b": None})))
    found = solid_regions(net, Box(-np.ones(3), np.ones(3)))
    assert solid_count(net, Box(-np.ones(3), np.ones(3))).count == len(found.cells) == 1
    assert found.cells.volumes()[0] == 8
    assert found.cells.patterns.shape == (1, 0)
    assert len(found.cells.facets) == 6


# --- room, doubt, crowds ------------------------------------------------------------------------------------------


def test_buffers_may_be_small(monkeypatch):
    for name, value in (("VERTICES", 64), ("DEPTH", 2), ("CHUNK", 5), ("BLOCK", 3)):
        monkeypatch.setattr(solid_engine, name, value)
    for seed in (3, 5, 9, 12):
        data, lower, upper, net, box = case(seed)
        want = expected(data, lower, upper)
        found = solid_regions(net, box)
        assert solid_count(net, box).count == len(want)
        assert keys(found.cells.patterns, found.nodes) == want


def test_more_rows_than_bits():
    """A domain with 70 facets: pieces with more than 64 rows are done in integers."""
    rng = np.random.default_rng(0)
    G = rng.normal(size=(70, 3))
    domain = Polyhedron(G, np.linalg.norm(G, axis=1))
    assert len(domain.facets().rows) > 66
    W = np.round(rng.normal(size=(5, 3)), 3)
    net = zoo.build(zoo.chain((3,), ("dense", {"W": W.tolist(), "b": None}), ("relu", {})))
    found = solid_regions(net, domain)
    assert found.count.pieces > 0
    assert solid_count(net, domain).count == len(found.cells) == 22  # 2 sum_{j<3} C(4, j): a central arrangement
    check_space(found.cells, domain.volume(), 3)


def test_integers_are_asked_where_floats_are_in_doubt():
    """Three planes through one line: no float can tell the last from the line, and no cell between them is invented."""
    W = [[1.0, 2.0, 3.0], [3.0, 1.0, -2.0], [0.1, 0.7, 1.3]]
    u, v = np.array(W[0]), np.array(W[1])
    W[2] = (0.1 * u + 0.7 * v).tolist()
    data = zoo.chain((3,), ("dense", {"W": W, "b": None}), ("relu", {}))
    found = solid_regions(zoo.build(data), Box(-np.ones(3), np.ones(3)))
    assert found.count.signs + found.count.pieces > 0
    assert keys(found.cells.patterns, found.nodes) == expected(data, [-1] * 3, [1] * 3)


# --- budgets, streams, threads ------------------------------------------------------------------------------------


class Steps(Progress):
    """A budget of looks at the clock."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    @property
    def seconds_left(self) -> float:
        self.steps -= 1
        return float(self.steps)

    def check(self) -> None:
        if self.seconds_left < 0:
            from plica.errors import BudgetReached

            raise BudgetReached("no steps left")


@pytest.fixture
def small_steps(monkeypatch):
    for name, value in (("CHUNK", 16), ("BLOCK", 8), ("VERTICES", 512)):
        monkeypatch.setattr(solid_engine, name, value)


@pytest.mark.parametrize(("seed", "steps"), [(0, 1), (1, 3), (4, 2), (9, 7), (12, 4)])
def test_a_budget_can_be_taken_up_again(seed, steps, small_steps, tmp_path):
    *_, net, box = case(seed)
    whole = solid_count(net, box)
    assert whole.complete
    assert whole.frontier is None
    count = solid_count(net, box, progress=Steps(steps))
    assert count.count <= whole.count
    rounds = 0
    while not count.complete:
        count.frontier.save(tmp_path / "left.npz")
        left = type(count.frontier).load(tmp_path / "left.npz")
        count = solid_count(net, box, progress=Steps(steps + rounds), resume=left)
        rounds += 5
    assert count.count == whole.count


def test_streams_hand_over_every_region_once(small_steps):
    data, lower, upper, net, box = case(9)
    parts = list(solid_stream(net, box))
    *chunks, last = parts
    assert isinstance(last, SolidCount)
    assert last.count == sum(map(len, chunks))
    assert len(chunks) > 1
    spans = solid_regions(net, box).nodes
    assert set().union(*(keys(c.patterns, spans) for c in chunks)) == expected(data, lower, upper)


def test_a_stream_can_be_taken_up_again(small_steps):
    rng, b = np.random.default_rng(5), [0.25] * 6
    first, second = ({"W": rng.normal(size=shape).tolist(), "b": b} for shape in ((6, 3), (6, 6)))
    net = zoo.build(zoo.chain((3,), ("dense", first), ("relu", {}), ("dense", second), ("relu", {})))
    box = Box(-np.ones(3), np.ones(3))
    clock = Steps(10**6)
    solid_regions(net, box, progress=clock)
    first = solid_regions(net, box, progress=Steps((10**6 - clock.steps) * 2 // 3))
    assert not first.count.complete
    assert 0 < len(first.cells) == first.count.count
    rest = solid_regions(net, box, resume=first.count.frontier)
    together = keys(first.cells.patterns, first.nodes) | keys(rest.cells.patterns, rest.nodes)
    assert len(first.cells) + len(rest.cells) == len(together) == solid_count(net, box).count == rest.count.count


def test_threads_count_the_same():
    for seed in (0, 4, 9):
        *_, net, box = case(seed)
        assert solid_count(net, box, workers=2).count == solid_count(net, box).count


def test_a_frontier_of_another_network_is_refused(small_steps):
    *_, net, box = case(6)
    left = solid_count(net, box, progress=Steps(3)).frontier
    with pytest.raises(ArgumentError, match="another network"):
        solid_count(net, Box(box.lower * 2, box.upper * 2), resume=left)


def test_memory_is_refused_with_numbers():
    *_, net, box = case(6)
    with pytest.raises(MemoryBudgetError, match="regions so far"):
        solid_regions(net, box, progress=Progress(max_bytes=100))


# --- balls --------------------------------------------------------------------------------------------------------


@pytest.mark.big(sample=3)
@pytest.mark.parametrize("seed", range(120))
def test_cells_met_by_a_ball(seed):
    """Nearest points by an active-set program in fractions: the vertices' faces, brute force."""
    data, _, _, net, _ = case(seed)
    rng = np.random.default_rng(seed)
    n = int(np.prod(data["input"]))
    if n > 3:
        return
    centre, radius = rng.integers(-1, 2, size=n) / 2, float(rng.choice([0.25, 0.5]))
    ball = Ball(centre, radius)
    found = solid_regions(net, ball)
    assert solid_count(net, ball).count == len(found.cells)
    box = ball.box()
    want = set()
    for pattern in oracle.regions(data, box.lower.tolist(), box.upper.tolist()):
        rows = pattern_rows(data, pattern, box.lower.tolist(), box.upper.tolist())
        if squared_distance(rows, [Fraction(c) for c in centre]) < Fraction(radius) ** 2:
            want.add(oracle.key(pattern))
    assert keys(found.cells.patterns, found.nodes) == want


def squared_distance(rows, centre):
    """Distance to {a . x + b >= 0}, squared: the nearest point of the flat of some tight rows that is feasible."""
    n = len(centre)
    best = None
    values = [sum(a * c for a, c in zip(r, centre, strict=False)) + r[n] for r in rows]
    if min(values) >= 0:
        return Fraction(0)
    for k in range(1, n + 1):
        for chosen in combinations(range(len(rows)), k):
            gram = [[sum(a * b for a, b in zip(rows[i][:n], rows[j][:n], strict=True)) for j in chosen] for i in chosen]
            share = solve(gram, [-values[i] for i in chosen])
            if share is None or min(share) < 0:
                continue
            x = [c + sum(s * rows[i][m] for s, i in zip(share, chosen, strict=True)) for m, c in enumerate(centre)]
            if all(sum(a * v for a, v in zip(r, x, strict=False)) + r[n] >= 0 for r in rows):
                size = sum((v - c) ** 2 for v, c in zip(x, centre, strict=True))
                best = size if best is None else min(best, size)
    return best


def test_a_ball_that_only_touches_a_cell_does_not_meet_it():
    W, b = [[3.0, 4.0, 0.0], [0.0, 3.0, 4.0]], [-5.0, -5.000001]
    net = zoo.build(zoo.chain((3,), ("dense", {"W": W, "b": b}), ("relu", {})))
    assert solid_count(net, Ball(np.zeros(3), 1.0)).count == 1
    assert solid_count(net, Ball(np.zeros(3), 1.0000001)).count == 2
    assert solid_count(net, Ball(np.zeros(3), 1.000001)).count == 3


# --- bad input ----------------------------------------------------------------------------------------------------


def test_bad_domains():
    *_, net, _ = case(0)
    d = net.input_shape[0]
    with pytest.raises(ArgumentError, match="variables"):
        solid_count(net, Box(np.zeros(d + 1), 1.0))
    with pytest.raises(DataError, match="flat"):
        solid_count(net, Box(np.zeros(d), np.r_[0.0, np.ones(d - 1)]))
    with pytest.raises(DataError, match="radius 0"):
        solid_count(net, Ball(np.zeros(d), 0.0))


def test_the_given_task(shared_data):
    """40,828 regions of a network on 4 inputs, counted by two other programs."""
    with np.load(shared_data / "regions" / "c.npz") as file:
        layers = [("dense", {"W": file[f"W{i}"].tolist(), "b": file[f"b{i}"].tolist()}) for i in range(2)]
        half = float(file["hw"])
    net = zoo.build(zoo.chain((4,), layers[0], ("relu", {}), layers[1], ("relu", {})))
    assert solid_count(net, Box(np.full(4, -half), np.full(4, half))).count == 40_828
