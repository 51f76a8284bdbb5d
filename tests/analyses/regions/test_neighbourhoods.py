"""Identified neighbourhoods against eq. (6) and against counting all pieces by clipping; the drawing; perturbations."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from analyses.regions.plain_data import plain
from oracles import small_regions
from plica.analyses.regions.constructions import absolute_value_network, folding_network
from plica.analyses.regions.neighbourhoods import identified_neighbourhoods
from plica.analyses.regions.perturbation import perturbed, perturbed_counts
from plica.core.domain import Box
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, ShapeError
from plica.show.neighbourhoods import plot_neighbourhoods


@pytest.mark.parametrize(("inputs", "widths"), [(1, [3, 2, 2]), (1, [4, 1]), (2, [2, 3, 2])])
def test_foldings_identify_as_many_cubes_as_equation_6(inputs, widths):
    made = folding_network(inputs, widths, join=False)
    layers = [f"fold{i}" for i in range(1, len(widths))]
    sizes = [[n // inputs + (i >= inputs - n % inputs) for i in range(inputs)] for n in widths[:-1]]
    expected = int(np.prod([p for layer in sizes for p in layer]))
    for low, high in ((0.25, 0.5), (0.0, 1.0)):
        target = Box(np.full(inputs, low), np.full(inputs, high)).polyhedron()
        result = identified_neighbourhoods(made.network, target, layers=layers, domain=made.domain)
        assert result.count == expected == len(result.counts[0])
        assert not any(result.partial)
    assert result.layers == ("input", *layers)
    per_layer = [int(np.prod(layer)) for layer in sizes]
    assert [len(c) for c in result.counts] == [int(np.prod(per_layer[i:])) for i in range(len(layers) + 1)]
    volume = sum(Polyhedron(*_box_rows(c)).volume() for c in result.corners[0])
    assert volume == pytest.approx(np.prod(made.domain.upper - made.domain.lower))


def _box_rows(corners):
    box = Box(corners.min(0), corners.max(0)).polyhedron()
    return box.G, box.h


def test_neighbourhoods_are_mapped_onto_their_parents():
    made = folding_network(2, [4, 4, 2], join=False)
    target = Polyhedron([[-1.0, 0], [0, -1], [1, 1]], [-0.1, -0.1, 0.8])
    result = identified_neighbourhoods(made.network, target, layers=["fold1", "fold2"], domain=made.domain)
    assert result.count == 16
    assert result.standing is Standing.NUMERICAL
    blocks = [made.network.upto("fold1"), made.network.upto("fold2").after("fold1")]
    for level, block in enumerate(blocks):
        for corners, parent in zip(result.corners[level], result.parents[level], strict=True):
            image = block(corners).numpy()
            onto = result.corners[level + 1][parent]
            assert {tuple(p) for p in image.round(9)} == {tuple(p) for p in onto.round(9)}
    assert result.counts[1].tolist() == [4] * 4


@pytest.mark.big(sample=6)
@pytest.mark.parametrize("seed", range(30))
def test_points_of_random_networks_by_clipping(seed):
    """N(y): cells of the whole network whose image contains y, every preimage once."""
    rng = np.random.default_rng(seed)
    n = 1 + seed % 2
    sizes = [(n, 4), (4, n), (n, 3), (3, n)]
    layers = []
    for i, (a, b) in enumerate(sizes):
        weight, bias = np.round(rng.normal(size=(b, a)) * 8) / 4 + 0.125, np.round(rng.normal(size=b) * 8) / 4
        layers.append(("dense", {"W": weight.tolist(), "b": bias.tolist()}))
        layers += [("abs" if seed % 3 else "leaky", {} if seed % 3 else {"slope": -0.5})] if i % 2 == 0 else []
    data = zoo.chain((n,), *layers)
    net = zoo.build(data)
    domain = Box(np.full(n, -8.0), np.full(n, 8.0))
    corners = small_regions.interval(-8, 8) if n == 1 else small_regions.box((-8, -8), (8, 8))
    pieces = []
    for cell, taken in small_regions.cells(data, corners):
        offset, *columns = small_regions.affine_map(data, taken, n)
        pieces.append((np.array(cell, dtype=float), np.array(columns, dtype=float).T, np.array(offset, dtype=float)))
    full = [piece for piece in pieces if np.linalg.matrix_rank(piece[1]) == n]
    ring, M, c = full[seed % len(full)]
    y = M @ ((2 * ring[0] + ring[1] + ring[-1]) / 4) + c
    found = set()
    for ring, M, c in full:
        x = np.linalg.solve(M, y - c)
        if n == 1:
            inside = ring.min() - 1e-9 <= x[0] <= ring.max() + 1e-9
        else:
            edges = np.roll(ring, -1, axis=0) - ring
            turn = edges[:, 0] * (x - ring)[:, 1] - edges[:, 1] * (x - ring)[:, 0]
            inside = (turn >= -1e-7).all() or (turn <= 1e-7).all()
        if inside:
            found.add(tuple(x.round(6) + 0.0))
    layer = [name for name, *_ in data["nodes"] if name.startswith("dense")]
    result = identified_neighbourhoods(net, y, layers=[layer[1], layer[3]], domain=domain)
    assert {tuple(c[0].round(6) + 0.0) for c in result.corners[0]} == found
    assert result.count == len(found) >= 1


def test_absolute_values_identify_the_quadrants():
    made = absolute_value_network(2, 2)
    result = identified_neighbourhoods(made.network, [0.25, 0.125], layers=["abs1", "abs2"])
    assert (result.count, len(result.counts[1])) == (16, 4)
    assert not result.border
    on_axis = identified_neighbourhoods(made.network, [0.0, 0.125], layers=["abs1", "abs2"])
    assert on_axis.border
    assert on_axis.count == 8
    assert "border of a piece" in repr(on_axis)


def test_a_neighbourhood_across_a_border_is_not_counted_but_said():
    made = folding_network(1, [2, 1], join=False)
    across = Box(np.array([0.5]), np.array([1.5])).polyhedron()
    result = identified_neighbourhoods(made.network, across, layers=["fold1"], domain=Box(np.zeros(1), np.full(1, 9.0)))
    assert (result.count, result.partial[1]) == (0, 2)
    assert "cover a part" in repr(result)


def test_layers_that_are_not_one_to_one():
    """max(0, x_1 + x_2) >= 1 on a box: one neighbourhood, of two dimensions, is mapped onto an interval."""
    net = zoo.build(zoo.chain((2,), ("dense", {"W": [[1.0, 1.0]]}), ("relu", {})))
    target = Box(np.array([0.5]), np.array([1.0])).polyhedron()
    box = Box(np.zeros(2), np.ones(2))
    result = identified_neighbourhoods(net, target, layers=["relu1"], domain=box)
    assert result.count == 1
    assert Polyhedron([[1, 1], [-1, -1], [-1, 0], [0, -1]], [1, -0.5, 0, 0]).volume() == pytest.approx(0.375)
    assert {tuple(c) for c in result.corners[0][0].round(6)} == {(0.0, 0.5), (0.5, 0.0), (0.0, 1.0), (1.0, 0.0)}
    with pytest.raises(ArgumentError, match="unbounded"):
        identified_neighbourhoods(net, target, layers=["relu1"])


@pytest.mark.parametrize(("inputs", "folds"), [(1, 2), (2, 2), (3, 1)])
def test_drawing(inputs, folds):
    made = folding_network(inputs, [folds * inputs, inputs], join=False)
    target = Box(np.full(inputs, 0.25), np.full(inputs, 0.5)).polyhedron()
    result = identified_neighbourhoods(made.network, target, layers=["fold1"], domain=made.domain)
    figure = plot_neighbourhoods(result)
    assert len(figure.axes) == 3
    texts = [t.get_text() for t in figure.axes[-1].texts]
    assert texts == ["1"] * folds**inputs + [str(folds**inputs)]
    assert "identified" in figure.get_suptitle()
    shapes = sum(len(axes.patches) for axes in figure.axes)
    assert shapes == (5 if inputs == 2 else 0)
    figure.canvas.draw()


def test_budgets_and_bad_input():
    made = folding_network(2, [4, 2], join=False)
    capped = identified_neighbourhoods(made.network, [0.3, 0.3], layers=["fold1"], max_pieces=3, domain=made.domain)
    assert capped.completeness is Completeness.BUDGET
    assert capped.count < 4
    with pytest.raises(BudgetReached):
        identified_neighbourhoods(made.network, [0.3, 0.3], layers=["fold1"], progress=Progress(max_seconds=0.0))
    with pytest.raises(ShapeError, match="the layer has 2"):
        identified_neighbourhoods(made.network, [0.3], layers=["fold1"])
    with pytest.raises(ShapeError, match="3 variables"):
        identified_neighbourhoods(made.network, Box(np.zeros(3), 1.0).polyhedron(), layers=["fold1"])
    with pytest.raises(ArgumentError, match="bounded and not empty"):
        identified_neighbourhoods(made.network, Polyhedron([[1.0, 0.0]], [1.0]), layers=["fold1"])
    with pytest.raises(ArgumentError, match="name one or more"):
        identified_neighbourhoods(made.network, [0.3, 0.3], layers=[])


# --- perturbations -----------------------------------------------------------------------------------------------


def test_small_moves_keep_the_regions_and_large_ones_do_not():
    made = folding_network(1, [3, 2])
    corners = small_regions.interval(0, 3)

    def count(net):
        return small_regions.linear_regions(plain(net), corners)

    result = perturbed_counts(made.network, count, sizes=[1e-9, 1e-4, 30.0], samples=4, seed=1)
    assert result.base == made.regions == 9
    assert result.at_least[:2].tolist() == [1.0, 1.0]
    assert result.counts[2].min() < 9
    assert "moved by 30: 2 to 3, as many or more in 0 %" in repr(result)


def test_degenerate_networks_gain_regions():
    net = zoo.build(zoo.chain((2,), ("dense", {"W": [[1, 0], [1, 0], [0, 1]], "b": [0, 0, 0]}), ("relu", {})))
    box = small_regions.box((-9, -9), (9, 9))
    count = lambda moved: small_regions.activation_regions(plain(moved), box)  # noqa: E731
    result = perturbed_counts(net, count, sizes=[1e-3], samples=3)
    assert result.base == 4
    assert result.counts.min() > 4


def test_the_move_has_the_length_asked_for():
    for kind in zoo.KINDS:
        net = zoo.build(zoo.random_net(kind, 0, degenerate=False)[0])
        moved = perturbed(net, 0.25, np.random.default_rng(0))
        total = 0.0
        for old, new in zip(net.nodes, moved.nodes, strict=True):
            for name in ("weight", "bias", "factor"):
                a, b = getattr(old.op, name, None), getattr(new.op, name, None)
                total += 0.0 if a is None else float((a - b).square().sum())
        assert total**0.5 == pytest.approx(0.25)


def test_perturbation_budget_and_bad_input():
    net = folding_network(1, [2, 2]).network
    stopped = perturbed_counts(net, lambda n: 4, progress=Progress(max_seconds=0.0))
    assert stopped.completeness is Completeness.BUDGET
    assert (stopped.counts == -1).all()
    assert np.isnan(stopped.at_least).all()
    for sizes, samples in (([], 3), ([-1.0], 3), ([1.0], 0)):
        with pytest.raises(ArgumentError, match="sizes of 0 or more"):
            perturbed_counts(net, lambda n: 4, sizes=sizes, samples=samples)
