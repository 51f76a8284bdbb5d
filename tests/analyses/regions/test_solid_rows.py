"""Regions by inequalities, in many variables: equal to the exact oracle, and to the cells with vertices."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import zoo
from analyses.regions import solid_nets
from analyses.regions.test_solid import Steps, keys, pattern_rows
from oracles import regions_nd as oracle
from plica.analyses.regions import solid_rows
from plica.analyses.regions.solid import solid_count, solid_regions
from plica.analyses.regions.solid_frontier import Frontier
from plica.analyses.regions.solid_rows import RowSearch, row_regions
from plica.analyses.regions.solid_space import space_count
from plica.core.domain import Ball, Box
from plica.core.progress import Progress
from plica.errors import ArgumentError, SolverError


def narrow(n, widths, seed):
    """A dense network with weights and biases of size 1."""
    rng = np.random.default_rng(seed)
    layers, before = [], n
    for m in widths:
        W, b = rng.normal(size=(m, before)) / before**0.5, rng.normal(size=m) / 4
        layers += [("dense", {"W": W.tolist(), "b": b.tolist()}), ("relu", {})]
        before = m
    return zoo.build(zoo.chain((n,), *layers))


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("seed", range(300))
def test_regions_are_those_of_the_oracle(seed):
    data, lower, upper = solid_nets.draw(seed)
    net, box = zoo.build(data), Box(np.array(lower), np.array(upper))
    found = row_regions(net, box, Progress())
    assert keys(found.patterns, found.nodes) == {oracle.key(p) for p in oracle.regions(data, lower, upper)}
    assert len(found) == len(set(map(bytes, found.patterns)))
    assert not found.undecided
    assert not found.left
    for i, cell in list(enumerate(RowSearch(net, box, Progress()).run()))[::9]:
        taken = dict(keys(found.patterns[i : i + 1], found.nodes).pop())
        point = [Fraction(v, cell.points[0][-1]) for v in cell.points[0][:-1]]
        rows = pattern_rows(data, taken, lower, upper)
        assert all(sum(a * v for a, v in zip(r, point, strict=False)) + r[-1] > 0 for r in rows)


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("seed", range(60))
def test_all_of_space(seed):
    data, *_ = solid_nets.draw(seed)
    net = zoo.build(data)
    assert sum(1 for _ in RowSearch(net, None, Progress()).run()) == space_count(net, None, Progress())[0]


def test_many_variables():
    """The cells by vertices say the same in 11 variables."""
    net, box = narrow(11, (3, 3), 0), Box(np.full(11, -1.0), np.ones(11))
    count = solid_count(net, box)
    assert count.method == "rows"
    assert count.complete
    assert count.count == solid_regions(net, box).count.count > 8


def test_the_box_bounds_all_units():
    net, small = narrow(100, (30, 30), 1), Box(np.full(100, -1e-9), np.full(100, 1e-9))
    search = RowSearch(net, small, Progress())
    assert sum(1 for _ in search.run()) == 1
    assert search.linear == 0


def test_a_budget_can_be_taken_up_again(tmp_path):
    net, box = narrow(12, (3, 3), 2), Box(np.full(12, -1.0), np.ones(12))
    whole = solid_count(net, box).count
    part, rounds = solid_count(net, box, progress=Steps(12)), 0
    while not part.complete:
        assert part.count <= whole
        part.frontier.save(tmp_path / "left.npz")
        part = solid_count(net, box, progress=Steps(60), resume=Frontier.load(tmp_path / "left.npz"))
        rounds += 1
    assert part.count == whole
    assert rounds > 0


def test_what_is_not_decided_is_counted(monkeypatch):
    def refuse(*_):
        raise SolverError("too large")

    net, box = narrow(12, (3, 3), 3), Box(np.full(12, -1.0), np.ones(12))
    whole = solid_count(net, box)
    decide, calls = solid_rows.partition_of_integers, []
    monkeypatch.setattr(RowSearch, "_by_program", lambda *_: (False, None))

    def sometimes(*arguments):
        calls.append(1)
        return decide(*arguments) if len(calls) % 5 else refuse()

    monkeypatch.setattr(solid_rows, "partition_of_integers", sometimes)
    part = solid_count(net, box)
    assert part.undecided > 0
    assert not part.complete
    assert part.count <= whole.count


def test_round_balls_in_many_variables_are_refused():
    with pytest.raises(ArgumentError, match="round ball"):
        solid_count(narrow(12, (3,), 0), Ball(np.zeros(12), 1.0))
    assert solid_count(narrow(12, (3,), 0), Ball(np.zeros(12), 1.0, norm=np.inf)).complete


def test_equal_candidates_give_way_to_the_first():
    W = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    net = zoo.build(zoo.chain((3,), ("dense", {"W": W, "b": None}), ("maxout", {"size": 3})))
    found = row_regions(net, Box(-np.ones(3), np.ones(3)), Progress())
    assert sorted(found.patterns.ravel().tolist()) == [0, 2]


def test_multipliers_prove_only_what_follows():
    """x <= -1/2 proves that x is not positive; a tenth of it does not, nor does nothing."""
    box, aim, row = Box(-np.ones(1), np.ones(1)), np.array([1.0, 0.0]), np.array([[-1.0, -0.5]])
    assert solid_rows._never(aim, row, np.array([1.0]), box)
    assert not solid_rows._never(aim, row, np.array([0.1]), box)
    assert not solid_rows._never(aim, row, np.array([0.0]), box)
    assert not solid_rows._never(aim, np.array([[-1.0, 0.0]]), np.array([1.0]), box)  # rounding might hide a point
