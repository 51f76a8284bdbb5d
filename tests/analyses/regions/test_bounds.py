"""region_bounds: every formula against its statement, against exact counts, and where it must not apply."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from oracles import arrangements as oracle
from oracles import small_regions
from plica.analyses.regions import formulas
from plica.analyses.regions.bounds import region_bounds
from plica.core.affine import Dense
from plica.core.choice import relu
from plica.core.domain import Plane
from plica.core.network import INPUT, Graph
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, MemoryBudgetError

architectures = st.tuples(st.integers(1, 5), st.lists(st.integers(1, 6), min_size=1, max_size=4))


# --- formulas ----------------------------------------------------------------------------------------------------


@given(architectures)
def test_upper_bounds_are_those_of_their_statements(architecture):
    n0, widths = architecture
    bounds = region_bounds(widths, inputs=n0)
    assert bounds.row("Proposition 3").value == 2 ** sum(widths)
    assert bounds.row("Montúfar 2017").value == oracle.montufar2017(n0, widths)
    assert bounds.row("Serra et al. 2018", "upper").value == oracle.serra(n0, widths)
    assert bounds.row("Hinz, van de Geer 2019").value == oracle.serra(n0, widths)


@given(architectures)
def test_histograms_give_the_three_known_bounds(architecture):
    n0, widths = architecture
    assert formulas.hinz2019(n0, widths, "all") == 2 ** sum(widths)
    assert formulas.hinz2019(n0, widths, "zaslavsky") == oracle.montufar2017(n0, widths)


@given(st.lists(st.integers(1, 4), max_size=6), st.integers(0, 5))
def test_units_with_several_faces_by_subsets(faces, dimension):
    counted = {f: faces.count(f) for f in faces}
    assert formulas.parallel_regions(counted, dimension) == oracle.parallel(faces, dimension)


@given(architectures, st.sampled_from([None, 2, 3, 4]))
def test_no_lower_bound_exceeds_an_upper_one(architecture, rank):
    n0, widths = architecture
    bounds = region_bounds(widths, inputs=n0, kind="maxout" if rank else "relu", rank=rank)
    assert 1 <= bounds.lower <= bounds.upper
    of = {row.name: row.value for row in bounds.rows if row.side == "lower" and row.value is not None}
    if "eq. (7)" in of:
        assert of["Pascanu et al. 2013"] <= of["Theorem 4"] <= of["eq. (7)"] <= of["Serra et al. 2018"]
        assert of["Serra et al. 2018"] <= of["fewer inputs"]


def test_numbers_by_hand():
    bounds = region_bounds([5, 7, 4], inputs=2)
    last = 1 + 4 + 6
    assert bounds.row("Pascanu et al. 2013").value == 2 * 3 * last
    assert bounds.row("Theorem 4").value == 2**2 * 3**2 * last
    assert bounds.row("eq. (7)").value == (2 * 3) * (3 * 4) * last
    assert bounds.row("Serra et al. 2018", "lower").value == (2 * 4) * (4 * 5) * last
    assert bounds.row("fewer inputs").value == max((2 * 4) * (4 * 5) * last, 6 * 8 * 5)
    assert Fraction(bounds.row("eq. (7)").value, 15 + 42 + 32) == Fraction(792, 89)
    assert "8.899" in bounds.row("appendix C").note
    assert "(89 of them)" in bounds.row("appendix C").note
    assert "Omega((n/2)^4 n^2)" in bounds.row("Corollary 5").note
    assert bounds.row("Corollary 5").value is None


def test_zaslavsky_is_exact_for_one_layer():
    bounds = region_bounds([6], inputs=3)
    assert bounds.lower == bounds.upper == sum(comb(6, j) for j in range(4))
    assert bounds.exact
    assert "general position" in bounds.row("Zaslavsky").note
    assert region_bounds([6, 6], inputs=3).row("Zaslavsky").value is None


def test_one_input_is_exact_from_three_units_on():
    bounds = region_bounds([3, 5, 4], inputs=1)
    assert bounds.exact
    assert bounds.upper == 4 * 6 * 5


# --- maxout ------------------------------------------------------------------------------------------------------


def test_maxout_numbers_by_hand():
    bounds = region_bounds([3], inputs=2, kind="maxout", rank=3)
    assert bounds.row("Proposition 7", "lower").value == 3**2
    assert bounds.row("Proposition 7", "upper").value == 27
    assert bounds.row("Montúfar, Ren, Zhang 2022").value == bounds.lower == 1 + 3 * 2 + 3 * 4
    assert bounds.row("Serra et al. 2018", "upper").value == 1 + 9 + 36
    many = region_bounds([9], inputs=2, kind="maxout", rank=3)
    assert many.row("Proposition 7", "upper").value == 1 + 81 + 81 * 40
    deep = region_bounds([2, 2, 2], inputs=2, kind="maxout", rank=3)
    assert deep.row("Theorem 8").value == 3**2 * 3**2
    assert region_bounds([2, 2], inputs=2, kind="maxout", rank=2).row("rank 2 as rectifiers").value == 2**4


def test_theorem_8_is_refused_where_it_is_false():
    row = region_bounds([1, 1], inputs=1, kind="maxout", rank=3).row("Theorem 8")
    assert row.value is None
    assert "false for n_0 = 1" in row.note
    assert region_bounds([1, 1], inputs=1, kind="maxout", rank=2).row("Theorem 8").value == 4
    assert region_bounds([1], inputs=1, kind="maxout", rank=3).row("Theorem 8").value == 3
    assert "all widths" in region_bounds([2, 3], inputs=2, kind="maxout", rank=2).row("Theorem 8").note


@pytest.mark.parametrize("seed", range(12))
def test_the_counterexample_two_units_of_rank_three_make_at_most_seven(seed):
    rng = np.random.default_rng(seed)
    W = rng.integers(-4, 5, size=(2, 3, 1)).tolist()
    b = rng.integers(-9, 10, size=(2, 3)).tolist()
    net = zoo.chain((1,), *[pair for w, c in zip(W, b, strict=True)
                            for pair in (("dense", {"W": w, "b": c}), ("maxout", {"size": 3}))])  # fmt: skip
    assert small_regions.activation_regions(net, small_regions.interval(-1000, 1000)) <= 7


# --- against exact counts ----------------------------------------------------------------------------------------


def random_chain(rng, n0, widths, kind, rank):
    layers, before = [], n0
    for n in widths:
        m = n * (rank if kind == "maxout" else 1)
        weight, bias = rng.integers(-9, 10, size=(m, before)), rng.integers(-20, 21, size=m)
        layers.append(("dense", {"W": weight.tolist(), "b": bias.tolist()}))
        layers.append(("relu", {}) if kind == "relu" else ("maxout", {"size": rank}))
        before = n
    return zoo.chain((n0,), *layers)


@pytest.mark.big(sample=6)
@pytest.mark.parametrize("case", range(60))
def test_exact_counts_stay_below_every_upper_bound(case):
    rng = np.random.default_rng([17, case])
    n0 = int(rng.integers(1, 3))
    kind, rank = [("relu", 2), ("maxout", 2), ("maxout", 3)][case % 3]
    widths = rng.integers(1, 4, size=2 if n0 == 2 else 3).tolist()
    net = random_chain(rng, n0, widths, kind, rank)
    domain = small_regions.interval(-(10**6), 10**6) if n0 == 1 else small_regions.box((-(10**4),) * 2, (10**4,) * 2)
    count = small_regions.activation_regions(net, domain)
    bounds = region_bounds(widths, inputs=n0, kind=kind, rank=None if kind == "relu" else rank)
    for row in bounds.rows:
        assert row.side != "upper" or row.value is None or count <= row.value, (row.name, widths)


def test_one_layer_of_random_units_attains_the_exact_numbers():
    """Zaslavsky for rectifiers in general position."""
    rng = np.random.default_rng(5)
    net = random_chain(rng, 2, [4], "relu", 2)
    dense = net["nodes"][0][3]
    assert oracle.regions(dense["W"], dense["b"])[0] == region_bounds([4], inputs=2).upper == 11
    assert small_regions.activation_regions(net, small_regions.box((-999, -999), (999, 999))) == 11


# --- networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("degenerate", [True, False])
def test_a_network_of_every_kind(kind, degenerate):
    data, _ = zoo.random_net(kind, 3, degenerate=degenerate)
    net = zoo.build(data)
    bounds = region_bounds(net)
    n = int(np.prod(net.input_shape))
    assert (bounds.inputs, bounds.kind) == (n, "relu" if kind in ("dense", "conv") else "network")
    assert bounds.upper >= 1
    cut = net.on(Plane(np.zeros(n), np.eye(n)[:, :2], None))
    assert region_bounds(cut).upper >= region_bounds(net, inputs=2).upper
    count = small_regions.activation_regions(data, small_regions.box((-50, -50), (50, 50))) if n == 2 else 1
    for row in bounds.rows:
        assert row.side != "upper" or row.value is None or count <= row.value


def test_lower_bounds_are_for_fully_connected_layers():
    dense = zoo.build(zoo.random_net("dense", 1, degenerate=False)[0])
    assert region_bounds(dense).row("eq. (7)").value is not None
    assert region_bounds(dense).widths == region_bounds(dense.on(Plane(np.zeros(3), np.eye(3)[:, :1], None))).widths
    conv = region_bounds(zoo.build(zoo.random_net("conv", 1, degenerate=False)[0]))
    assert conv.row("Theorem 4").value is None
    assert conv.row("Serra et al. 2018", "upper").value is not None
    assert conv.lower == 1


def test_a_bottleneck_without_choices_lowers_the_dimension():
    graph = Graph((3,))
    name = INPUT
    for i, (m, n, choose) in enumerate([(1, 3, False), (4, 1, True)]):
        weight = torch.ones(m, n, dtype=torch.float64)
        name = graph.add(f"a{i}", Dense(weight, None, (n,)), name)
        name = graph.add(f"r{i}", relu((m,)), name) if choose else name
    bounds = region_bounds(graph.network())
    assert bounds.row("Montúfar 2017").value == 5
    assert bounds.row("Theorem 4").value is None


def test_border_places_of_a_pool_are_no_candidates():
    net = zoo.build(zoo.random_net("pool", 1, degenerate=False)[0])
    sizes = [int(v) for v in (net["pool2"].op.index >= 0).sum(1)]
    assert min(sizes) < max(sizes)
    plain = region_bounds(net).row("patterns").value
    assert plain == 2**8 * int(np.prod(sizes)) * 2**3


# --- large, bad, saved -------------------------------------------------------------------------------------------


def test_numbers_beyond_the_digits_python_prints(tmp_path):
    from plica.store import load_result, save

    bounds = region_bounds([20_000, 20_000], inputs=3)
    assert bounds.row("Proposition 3").value == 2**40_000
    assert "e12041" in bounds.summary()
    loaded = load_result(save(bounds, tmp_path / "b.npz"))
    assert loaded.row("Proposition 3").value == 2**40_000
    assert loaded == dataclasses.replace(bounds)


def test_bad_input():
    for widths, inputs in (([3, 0], 2), ([3], 0), ([3], None), ([-1], 2)):
        with pytest.raises(ArgumentError, match="whole numbers from 1 on"):
            region_bounds(widths, inputs=inputs)
    with pytest.raises(ArgumentError, match="'relu' or 'maxout'"):
        region_bounds([3], inputs=2, kind="tanh")
    for rank in (None, 1, 0):
        with pytest.raises(ArgumentError, match="give rank=2"):
            region_bounds([3], inputs=2, kind="maxout", rank=rank)
    with pytest.raises(ArgumentError, match="rectifiers have no rank"):
        region_bounds([3], inputs=2, rank=3)
    net = zoo.KNOWN[0].net
    for inputs in (0, 3):
        with pytest.raises(ArgumentError, match="the network has 2"):
            region_bounds(net, inputs=inputs)
    with pytest.raises(ArgumentError, match="no bound 'x'"):
        region_bounds([3], inputs=2).row("x")


def test_budgets():
    with pytest.raises(MemoryBudgetError, match="bits"):
        region_bounds([10**6] * 3, inputs=10**5, progress=Progress(max_bytes=10**6))
    with pytest.raises(BudgetReached):
        region_bounds([5], inputs=2, progress=Progress(max_seconds=0.0))


def test_what_a_result_says():
    bounds = region_bounds([4, 4], inputs=2)
    assert (bounds.standing, bounds.completeness) == (Standing.CERTIFIED, Completeness.COMPLETE)
    assert all(row.of and row.when and row.source for row in bounds.rows)
    text = repr(bounds)
    assert "relu, 2 inputs, layers of 4-4" in text
    assert "<= 121  Montúfar 2017" in text
    assert region_bounds([], inputs=3).upper == 1
