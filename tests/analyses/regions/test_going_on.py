"""What a budget ends goes on to the answer of one run: counts in balls, domains with many sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.core.domain import Ball
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError, BudgetReached


def dense(d, width, seed, *, integer=False):
    torch.manual_seed(seed)
    layers = [nn.Linear(d, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)]
    model = nn.Sequential(*layers).double().eval()
    for p in model.parameters() if integer else ():
        p.data = torch.round(4 * p.data)
    return plica.load(model, (d,))


@pytest.fixture
def end_at(monkeypatch):
    """Make the budget end at the given look at the clock."""

    def at(look):
        looks = [0]

        def check(self):
            looks[0] += 1
            if looks[0] == look:
                raise BudgetReached("now")

        monkeypatch.setattr(Progress, "check", check)

    return at


def test_a_count_in_a_ball_goes_on_from_anywhere(end_at):
    """Also where it ends between signs decided in integers, with cells that were not yet compared with the ball."""
    net, ball = dense(3, 10, 0, integer=True), Ball(np.zeros(3), 0.7)
    whole, looks = plica.count_regions(net, ball), 0
    assert whole.decided > 20
    while True:
        looks += 1
        end_at(looks)
        part = plica.count_regions(net, ball)
        if part.frontier is None:
            break
        assert part.count <= whole.count
        again = plica.count_regions(net, ball, resume=part)
        assert (again.count, again.completeness) == (whole.count, Completeness.COMPLETE)
    assert looks > 10


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
