"""Regions in the plane against exact clipping, on generic and degenerate networks; Euler's relation, areas, maps."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

import zoo
from analyses.regions import solid_nets
from analyses.regions.mesh_checks import check_plane
from oracles import small_regions as oracle
from plica.analyses.regions.analysis import count_regions, regions
from plica.core.affine import Dense
from plica.core.choice import relu
from plica.core.domain import Ball, Box, Plane, Segment
from plica.core.network import Graph
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError, DataError, MemoryBudgetError

CORNERS = oracle.box([-1, -1], [1, 1])
BOX = Box([-1, -1], [1, 1])


def dense_net(weights, biases):
    graph, last = Graph((weights[0].shape[1],)), "input"
    for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
        last = graph.add(f"d{i}", Dense(torch.tensor(W), torch.tensor(b), (W.shape[1],)), last)
        if i < len(weights) - 1:
            last = graph.add(f"r{i}", relu((len(W),)), last)
    return graph.network()


def random_net(seed, widths=(2, 8, 8, 3)):
    rng = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(widths))
    return dense_net([rng.normal(size=(n, m)) for m, n in pairs], [0.3 * rng.normal(size=n) for _, n in pairs])


def flawed(kind, flaw, seed, n):
    """Plain data of a random network with one kind of degeneracy."""
    w = solid_nets.Weights(np.random.default_rng([seed, len(flaw), len(kind)]), flaw)
    return solid_nets._residual(w, n) if kind == "residual" else zoo.chain(*solid_nets._chain(kind, w, n))


def check(data, corners=CORNERS, domain=BOX):
    """Counts, patterns and linear regions are those of the oracle; the mesh is sound."""
    net, wanted = zoo.build(data), oracle.cells(data, corners)
    found = regions(net, domain, maps=True)
    assert found.count == count_regions(net, domain).count == len(wanted)
    names = [node.name for node in net.nodes if node.name in found.layers]
    patterns = {tuple(b for name in names for b in taken[name]) for _, taken in wanted}
    assert {tuple(row) for row in found.branches().tolist()} == patterns
    assert found.linear_count == oracle.linear_regions(data, corners)
    check_plane(found, float(oracle.size(corners, 2)) / 2)
    return found


@pytest.mark.big(sample=24)
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("flaw", solid_nets.FLAWS)
@pytest.mark.parametrize("kind", [kind for kind in solid_nets.KINDS if kind != "conv"])
def test_counts_and_linear_regions_match_exact_clipping(kind, flaw, seed):
    check(flawed(kind, flaw, seed, 2))


@pytest.mark.parametrize("case", [c for c in zoo.KNOWN if c.data["input"] == (2,)], ids=lambda c: c.name)
def test_known_networks(case):
    check(case.data, oracle.box([-3, -2], [2, 3]), Box([-3, -2], [2, 3]))


@pytest.mark.big(sample=6)
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("kind", ["conv", "pool", "residual", "mixed"])
def test_slices_of_convolutions_and_pools_match_a_slice_by_hand(kind, seed, monkeypatch):
    """A plane through the input, with small integers: windows tie along whole lines."""
    data, _ = zoo.random_net(kind, seed, degenerate=seed % 2 == 0)
    shape, rng = data["input"], np.random.default_rng(seed)
    n = int(np.prod(shape))
    basis, origin = rng.integers(-2, 3, size=(n, 2)).astype(float), rng.integers(-1, 2, size=n).astype(float)
    while np.linalg.matrix_rank(basis) < 2:
        basis = rng.integers(-2, 3, size=(n, 2)).astype(float)
    from oracles import networks

    monkeypatch.setitem(networks.AFFINE, "shape", lambda u, s, op: (u, tuple(op["shape"])))
    nodes = [
        ("slice", "dense", ("input",), {"W": basis.tolist(), "b": origin.tolist()}),
        ("shaped", "shape", ("slice",), {"shape": shape}),
    ]
    nodes += [(a, b, tuple("shaped" if i == "input" else i for i in c), d) for a, b, c, d in data["nodes"]]
    wanted = oracle.cells({"input": (2,), "nodes": nodes}, CORNERS)
    plane = Plane(origin, basis, BOX)
    found = regions(zoo.build(data), plane)
    assert found.count == count_regions(zoo.build(data), plane).count == len(wanted)
    check_plane(found, 4.0)
    assert np.array_equal(found.points(np.zeros(2)), origin)


def test_lines_through_corners_of_the_domain_and_along_its_sides():
    W = np.array([[1.0, 1], [1, -1], [1, 0], [0, 1], [2, 2], [-1, -1], [0, 0]])
    b = np.array([0.0, 0, 1, -1, 0, 0, 0])
    found = regions(dense_net([W, np.ones((1, 7))], [b, np.zeros(1)]), BOX)
    assert found.count == 4
    check_plane(found, 4.0)


def test_hundreds_of_lines_through_one_cell_are_cut_in_rounds():
    """More forms than a round takes; the number of cells is 1 + lines + crossings inside."""
    rng = np.random.default_rng(3)
    W, b = rng.normal(size=(270, 2)), rng.normal(size=270)
    lines = {(*map(Fraction, v), Fraction(c)) for v, c in zip(W.tolist(), b.tolist(), strict=True)}
    net = dense_net([W, np.ones((1, 270))], [b, np.zeros(1)])
    found = regions(net, Box([-1, -1], [1, 1]))
    assert found.count == count_regions(net, BOX).count == 1 + arrangement(lines)
    check_plane(found, 4.0)


def arrangement(lines):
    """Lines that cross the open square, plus for each crossing point inside the lines through it less one."""
    inside, through = [], {}
    for a, b, c in lines:
        values = [a * x + b * y + c for x in (-1, 1) for y in (-1, 1)]
        if min(values) < 0 < max(values):
            inside.append((a, b, c))
    for i, (a, b, c) in enumerate(inside):
        for d, e, f in inside[:i]:
            w = a * e - b * d
            if w:
                point = (b * f - c * e) / w, (c * d - a * f) / w
                if max(map(abs, point)) < 1:
                    through.setdefault(point, set()).update(((a, b, c), (d, e, f)))
    return len(inside) + sum(len(s) - 1 for s in through.values())


# --- domains ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_polygons(seed):
    data = flawed("relu", "integer", seed, 2)
    triangle = Polyhedron(np.array([[-1.0, 0], [0, -1], [1, 1], [1, 1], [1, 0]]), np.array([1.0, 1, 1, 1, 2]))
    corners = [[Fraction(-1), Fraction(-1)], [Fraction(2), Fraction(-1)], [Fraction(-1), Fraction(2)]]
    check(data, corners, triangle)


def test_a_segment_is_cut_where_its_line_crosses_cells():
    data = flawed("relu", "none", 5, 2)
    net = zoo.build(data)
    a, b = np.array([-1.0, -0.5]), np.array([0.75, 1.0])
    found = regions(net, Segment(a, b), maps=True)
    assert len(found.vertices) == found.count + 1
    assert found.sizes.sum() == pytest.approx(1.0)
    assert count_regions(net, Segment(a, b)).count == found.count
    assert len(found.adjacency()) == found.count - 1


def test_a_ball_counts_the_cells_it_meets():
    net = random_net(1)
    found = regions(net, BOX)
    for radius in (0.05, 0.3, 0.8):
        near = found.within(np.array([0.1, -0.1]), radius)
        assert count_regions(net, Ball([0.1, -0.1], radius)).count == len(near)


@pytest.mark.parametrize(
    ("domain", "error"),
    [
        (Box([-np.inf, 0], [0, 1]), ArgumentError),
        (Box([0, 0], [0, 1]), DataError),
        (Box([0], [1]), ArgumentError),
        (Plane(np.zeros(2), np.eye(2)), ArgumentError),
        (Polyhedron(np.array([[1.0, 0], [-1, 0]]), np.array([-1.0, -1])), DataError),
        (Segment([1.0, 1], [1.0, 1]), DataError),
        (Plane(np.zeros(2), np.array([[1.0, 2], [1, 2]]), BOX), DataError),
    ],
    ids=["unbounded", "flat", "other space", "plane without window", "empty", "point", "collinear"],
)
def test_domains_that_cannot_be(domain, error):
    with pytest.raises(error):
        regions(random_net(0), domain)


def test_three_dimensions_go_to_the_solid_engine():
    found = regions(random_net(2, (3, 5, 4, 2)), Box([-1] * 3, [1] * 3), maps=True)
    assert found.count == count_regions(random_net(2, (3, 5, 4, 2)), Box([-1] * 3, [1] * 3)).count
    assert found.sizes.sum() == pytest.approx(8.0)
    inner = found.neighbours >= 0
    assert (inner == (found.facet_layers >= 0)).all()
    assert found.nearest(np.zeros(3))[1].tolist() == [0.0]


# --- what a result answers --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed():
    net = random_net(7)
    return net, regions(net, BOX, maps=True)


def test_maps_and_branches_are_those_of_pieces(listed):
    net, found = listed
    middle = found.centres()
    values = net.values(net.as_batch(torch.from_numpy(middle)), net.output)[net.output].numpy()
    assert np.einsum("noi,ni->no", found.matrices, middle) + found.offsets == pytest.approx(values, abs=1e-12)
    assert found.singular_values == pytest.approx(np.linalg.svd(found.matrices, compute_uv=False))
    hidden = [net.values(net.as_batch(torch.from_numpy(middle)), f"d{i}")[f"d{i}"].numpy() > 0 for i in (0, 1)]
    assert np.array_equal(found.branches(), np.concatenate(hidden, axis=1))
    assert np.array_equal(found.branches([3, 5]), found.branches()[[3, 5]])


def test_a_facet_names_the_unit_that_switches_there(listed):
    _, found = listed
    layer = found.facet_layers
    for f in np.flatnonzero(layer >= 0):
        owner = int(np.searchsorted(found.facet_first, f, side="right")) - 1
        switched = np.flatnonzero(found.branches([owner])[0] != found.branches([found.neighbours[f]])[0])
        assert found.facet_units[f] + 8 * layer[f] in switched


def test_nearest_regions(listed):
    _, found = listed
    rng = np.random.default_rng(0)
    for point in rng.uniform(-1, 1, (20, 2)):
        order, distance = found.nearest(point, 5)
        assert distance[0] == 0.0
        assert (np.diff(distance) >= 0).all()
        samples = [min(np.linalg.norm(p - point) for p in _samples(found.region(i), rng)) for i in order]
        assert (np.array(samples) >= distance - 1e-12).all()
        assert samples == pytest.approx(distance, abs=0.05)


def _samples(corners, rng):
    shares = np.vstack([rng.dirichlet(np.full(len(corners), 0.4), 500), np.eye(len(corners))])
    sides = [(1 - t) * a + t * b for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)
             for t in np.linspace(0, 1, 40)]  # fmt: skip
    return np.vstack([shares @ corners, sides])


def test_graph_and_sizes(listed):
    _, found = listed
    graph = found.graph()
    assert graph.number_of_nodes() == found.count
    import networkx as nx

    assert nx.is_connected(graph)
    assert found.linear_sizes().sum() == pytest.approx(4.0)
    assert found.size_quantiles((0.0, 1.0)).tolist() == [found.sizes.min(), found.sizes.max()]
    assert f"{found.count:,} activation regions" in repr(found)


# --- budgets and threads ----------------------------------------------------------------------------------------


def test_threads_give_the_same_count():
    net = random_net(4, (2, 24, 24, 24, 1))
    alone = regions(net, BOX)
    together = regions(net, BOX, threads=2)
    assert alone.count == together.count == count_regions(net, BOX, threads=2).count
    assert sorted(map(bytes, alone.codes)) == sorted(map(bytes, together.codes))
    check_plane(together, 4.0)


@pytest.mark.parametrize("threads", [1, 2])
def test_budgets_end_a_count(threads):
    net = random_net(4, (2, 24, 24, 24, 1))
    timed = count_regions(net, BOX, threads=threads, progress=Progress(max_seconds=0.0))
    assert timed.completeness is Completeness.BUDGET
    assert "at least" in repr(timed)
    some = regions(net, BOX, max_regions=1, threads=threads)
    assert some.completeness is Completeness.BUDGET
    assert 1 <= some.count < count_regions(net, BOX).count
    with pytest.raises(ArgumentError):
        count_regions(net, BOX, max_regions=0)


def test_memory_is_refused_with_arithmetic():
    with pytest.raises(MemoryBudgetError):
        regions(random_net(4, (2, 24, 24, 1)), BOX, progress=Progress(max_bytes=10_000))


def test_an_affine_network_is_one_region():
    net = dense_net([np.eye(2)], [np.zeros(2)])
    assert count_regions(net, BOX).count == 1
    found = regions(net, BOX, maps=True)
    assert (found.count, found.linear_count) == (1, 1)
    assert found.matrices.tolist() == [[[1, 0], [0, 1]]]


def test_deep_networks_are_settled_in_integers():
    """Error bounds outgrow the forms here; the count is that of exact clipping."""
    rng = np.random.default_rng(0)
    weights = [rng.integers(-3, 4, size=s).astype(float) for s in [(3, 2), *[(3, 3)] * 9, (1, 3)]]
    biases = [rng.integers(-3, 4, size=len(W)).astype(float) for W in weights]
    layers = []
    for W, b in zip(weights, biases, strict=True):
        layers += [("dense", {"W": W.tolist(), "b": b.tolist()}), ("relu", {})]
    check(zoo.chain((2,), *layers[:-1]))
