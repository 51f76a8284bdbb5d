"""Constructions have the number of regions that they state, by exact clipping, and compute what the paper says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analyses.regions.plain_data import plain
from oracles import small_regions
from plica.analyses.regions import formulas
from plica.analyses.regions.arrangements import arrangement_regions
from plica.analyses.regions.bounds import region_bounds
from plica.analyses.regions.chain import cube_hyperplanes
from plica.analyses.regions.constructions import (
    absolute_value_network,
    catalan_network,
    fold_line,
    folding_network,
    maxout_folding_network,
    maxout_network,
    shi_network,
    voronoi_unit,
)
from plica.errors import ArgumentError, DataError


def corners(box):
    low, high = box.lower.tolist(), box.upper.tolist()
    return small_regions.interval(low[0], high[0]) if len(low) == 1 else small_regions.box(low, high)


def counts(made):
    data = plain(made.network)
    return small_regions.activation_regions(data, corners(made.domain)), data


FOLDINGS = [
    (1, [2, 3], False), (1, [3, 2], False), (1, [1, 4], False), (1, [3, 2], True), (1, [3, 4, 3], True),
    (1, [5, 2], True),
    (2, [2, 3], False), (2, [5, 3], False), (2, [4, 4, 3], False), (2, [7, 3], True), (2, [2], False), (2, [5], False),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "widths", "most"), FOLDINGS)
def test_folding_networks_attain_their_number(inputs, widths, most):
    made = folding_network(inputs, widths, most=most)
    found, data = counts(made)
    formula = formulas.serra2018_lower if most else formulas.equation7
    assert found == made.regions == formula(inputs, widths)
    if widths[-1] > inputs:
        assert small_regions.linear_regions(data, corners(made.domain)) == made.regions
    name = "Serra et al. 2018" if most else "eq. (7)"
    assert region_bounds(made.network).row(name, "lower").value == made.regions
    assert made.regions <= region_bounds(made.network).upper


def test_the_whole_line_has_more_regions():
    made = folding_network(1, [3, 2])
    assert small_regions.activation_regions(plain(made.network), small_regions.interval(-99, 99)) > made.regions


@pytest.mark.parametrize(("units", "most"), [(1, False), (2, True), (4, False), (3, True), (6, True)])
def test_every_fold_maps_onto_the_unit_interval(units, most):
    weight, bias, signs, constant, length = fold_line(units, most)
    knots = np.sort(np.concatenate([[0.0], -bias / weight, [length]]))
    knots = np.unique(knots)
    assert len(knots) == (units + 2 if most and units >= 3 else units + 1)
    ends = np.maximum(weight * knots[:, None] + bias, 0) @ signs + constant
    assert ends.tolist() == [float(i % 2) for i in range(len(knots))]


def test_the_printed_units_do_not_fold():
    """Section 3.1 prints 2x - (k - 1): knots at 0, 1/2, 1 instead of 0, 1, 2, and the sum leaves (0, 1)."""
    x = np.linspace(0, 3, 301)[:, None]
    printed = np.maximum(x * np.array([1, 2, 2]) - np.array([0, 1, 2]), 0) @ np.array([1, -1, 1])
    weight, bias, signs, _, _ = fold_line(3)
    right = np.maximum(x * weight + bias, 0) @ signs
    assert np.ptp(right) == pytest.approx(1)
    assert np.ptp(printed) == pytest.approx(2)


def test_unjoined_sums_are_nodes_that_fill_the_cube():
    made = folding_network(2, [4, 6, 3], join=False)
    joined = folding_network(2, [4, 6, 3])
    x = made.domain.sample(2000, seed=1)
    values = made.network.values(x, "fold1", "fold2")
    for name in ("fold1", "fold2"):
        assert values[name].min() >= 0
        assert values[name].max() <= 1
        assert values[name].amax() > 0.95
    assert torch.allclose(made.network(x), joined.network(x), atol=1e-9)
    assert len(joined.network.nodes) == 6


@pytest.mark.parametrize(("n", "count"), [(1, 4), (2, 2), (2, 6), (3, 5), (4, 6)])
def test_cube_hyperplanes_are_in_general_position_with_corners_inside(n, count):
    weight, bias = cube_hyperplanes(n, count)
    assert arrangement_regions(weight, -bias).regions == formulas.zaslavsky(count, n)
    from itertools import combinations

    for chosen in map(list, combinations(range(count), n)):
        corner = np.linalg.solve(weight[chosen], -bias[chosen])
        assert (corner > 0).all()
        assert (corner < 1).all()


@pytest.mark.parametrize("kind", ["abs", "relu", "maxout"])
@pytest.mark.parametrize(("inputs", "depth"), [(1, 3), (2, 2), (3, 1)])
def test_absolute_values_fold_along_the_axes(kind, inputs, depth):
    made = absolute_value_network(inputs, depth, kind=kind)
    assert made.regions == 2 ** (inputs * depth)
    if inputs < 3:
        assert counts(made)[0] == made.regions
    x = made.domain.sample(500, seed=0)
    expected = x
    for level in range(1, depth + 1):
        expected = np.abs(expected) - (2.0**-level if level < depth else 0.0)
    found = made.network(x).numpy()
    assert np.array_equal(found.reshape(expected.shape), expected)
    assert len(set(made.network.pattern(x).keys())) <= made.regions


@pytest.mark.parametrize(
    ("inputs", "widths", "rank"),
    [(1, [1, 1], 3), (1, [2, 2], 3), (1, [3, 2], 4), (1, [1, 1, 1], 2), (2, [2, 2], 3), (2, [4, 2], 3), (2, [3], 3)],
)
def test_maxout_foldings_attain_their_number(inputs, widths, rank):
    made = maxout_folding_network(inputs, widths, rank)
    assert counts(made)[0] == made.regions
    bounds = region_bounds(widths, inputs=inputs, kind="maxout", rank=rank)
    assert bounds.row("maxout folding").value == made.regions
    if len(widths) == 1:
        assert bounds.exact


@pytest.mark.parametrize(
    ("inputs", "depth", "rank"),
    [(1, 1, 4), (1, 3, 2), (2, 1, 3), (2, 2, 3), (2, 3, 5), (3, 2, 3), (3, 3, 4), (4, 2, 7)],
)
def test_theorem_8_by_witnesses(inputs, depth, rank):
    """Points with different patterns and different linear maps; ranks odd and above 2 n_0 among them."""
    made = maxout_network(inputs, depth, rank)
    assert made.regions == rank ** (depth - 1 + inputs)
    assert len(made.witnesses) == made.regions
    pattern = made.network.pattern(made.witnesses)
    assert len(set(pattern.keys())) == made.regions
    bounds = region_bounds([inputs] * depth, inputs=inputs, kind="maxout", rank=rank)
    assert bounds.row("Theorem 8").value == made.regions


def test_theorem_8_identifies_the_cones_exactly_up_to_rounding():
    made = maxout_network(2, 3, 5)
    first = made.network.values(made.witnesses, "maxout1")["maxout1"]
    found = np.unique(first.numpy().round(9), axis=0)
    assert len(found) == made.regions // 5


def test_theorem_8_in_the_plane_by_clipping():
    made = maxout_network(2, 2, 3)
    found = small_regions.activation_regions(plain(made.network), small_regions.box((-3, -3), (3, 3)))
    assert made.regions <= found <= region_bounds([2, 2], inputs=2, kind="maxout", rank=3).upper


@pytest.mark.parametrize(("make", "regions"), [(shi_network, 16), (catalan_network, 30)])
def test_shi_and_catalan_layers(make, regions):
    """In three variables, cut at x_3 = 0: the cells are prisms along (1, 1, 1)."""
    made = make(3)
    data = {"input": (2,), "nodes": plain(made.network)["nodes"]}
    data["nodes"][0][3]["W"] = [row[:2] for row in data["nodes"][0][3]["W"]]
    assert made.regions == regions
    assert small_regions.activation_regions(data, small_regions.box((-9, -9), (9, 9))) == regions


def test_voronoi_cells_are_nearest_sites():
    rng = np.random.default_rng(0)
    sites, weights = rng.integers(-8, 9, size=(7, 3)).astype(float), rng.integers(0, 9, size=7).astype(float)
    for w in (None, weights):
        made = voronoi_unit(sites, w)
        x = rng.normal(size=(300, 3)) * 6
        power = ((x[:, None] - sites) ** 2).sum(-1) - (0 if w is None else w)
        assert made.network.pattern(x).branches["maxout1"][:, 0].tolist() == power.argmin(1).tolist()
        lifted = (x**2).sum(1) - power.min(1)
        assert np.allclose(made.network(x)[:, 0].numpy(), lifted)


def test_voronoi_counts_cells_of_full_dimension():
    square = [[0, 0], [2, 0], [0, 2], [2, 2]]
    assert voronoi_unit(square).regions == 4
    assert voronoi_unit([*square, [1, 1]]).regions == 5
    assert voronoi_unit([*square, [1, 1]], [0, 0, 0, 0, -2]).regions == 4  # touches the others' corner only
    assert voronoi_unit([*square, [1, 1]], [0, 0, 0, 0, -1.5]).regions == 5
    assert voronoi_unit([[1, 2], [1, 2]]).regions == 1


@pytest.mark.parametrize("make", [lambda: folding_network(2, [5, 3]), lambda: maxout_network(2, 2, 3),
                                  lambda: absolute_value_network(2, 2), lambda: shi_network(4),
                                  lambda: voronoi_unit([[0.0, 1.0], [2.0, 0.0]])])  # fmt: skip
def test_as_torch_modules(make):
    made = make()
    x = torch.randn(50, *made.network.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(made.network.to_torch()(x), made.network(x))


def test_bad_input():
    for inputs, widths in ((2, [1, 3]), (2, []), (0, [2])):
        with pytest.raises(ArgumentError, match="at least as wide"):
            folding_network(inputs, widths)
        with pytest.raises(ArgumentError, match="at least as wide"):
            maxout_folding_network(inputs, widths, 3)
    with pytest.raises(ArgumentError, match="53 bits"):
        folding_network(12, [64])
    with pytest.raises(ArgumentError, match="53 bits"):
        maxout_folding_network(6, [20], 5)
    with pytest.raises(ArgumentError, match="2 or more"):
        maxout_folding_network(2, [2], 1)
    for inputs, depth, rank in ((1, 2, 3), (2, 0, 3), (2, 2, 1)):
        with pytest.raises(ArgumentError, match="Theorem 8 needs"):
            maxout_network(inputs, depth, rank)
    with pytest.raises(ArgumentError, match="abs, relu or maxout"):
        absolute_value_network(2, 1, kind="tanh")
    with pytest.raises(ArgumentError, match="two or more variables"):
        shi_network(1)
    with pytest.raises(DataError, match="finite points"):
        voronoi_unit([1.0, 2.0])
