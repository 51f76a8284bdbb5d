"""A count of regions kept in a folder: equal to the one in memory, however often it is stopped."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise

import numpy as np
import pytest
import torch

import plica
from plica.core.progress import Progress
from plica.errors import ArgumentError
from plica.jobs import count, run_count


def net_of(*widths, seed=0, scale=1.0):
    """Random weights; half of the biases are zero, and one unit is dead."""
    torch.manual_seed(seed)
    layers = []
    for a, b in pairwise(widths):
        layers += [torch.nn.Linear(a, b).double(), torch.nn.ReLU()]
        layers[-2].weight.data *= scale
        layers[-2].bias.data[: b // 2] = 0
    layers[0].weight.data[0] = 0
    return plica.load(torch.nn.Sequential(*layers), (widths[0],))


def cube(d, size=1.0):
    return plica.Box(-size * np.ones(d), size * np.ones(d))


CASES = {
    "plane": (net_of(2, 40, 30, 20), cube(2)),
    "disc": (net_of(2, 8, 6), plica.Ball(np.zeros(2), 0.8)),
    "space": (net_of(3, 8, 6), cube(3)),
    "ball": (net_of(3, 7, 4), plica.Ball(np.zeros(3), 0.8)),
    "rows": (net_of(11, 4, 3), cube(11)),
    "large numbers": (net_of(3, 7, 5, scale=1e6), cube(3, 1e-3)),
}


@pytest.fixture
def hurry(monkeypatch):
    """Parts of nearly no work, so that there are many."""
    monkeypatch.setattr(count, "SECONDS", 1e-4)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_count_in_memory(case, tmp_path, hurry):
    net, domain = CASES[case]
    here, kept = plica.count_regions(net, domain), run_count(net, domain, folder=tmp_path)
    assert (kept.count, kept.completeness, kept.standing) == (here.count, "complete", here.standing)
    assert kept.method == here.method
    if here.method in ("polygons", "vertices"):
        assert kept.per_layer == here.per_layer
    made = len(list((tmp_path / "chunks").iterdir()))
    assert made > 1 or case == "disc"
    assert run_count(net, domain, folder=tmp_path).count == here.count
    assert len(list((tmp_path / "chunks").iterdir())) == made


def test_time_is_up_and_the_count_goes_on(tmp_path, hurry):
    net, domain = CASES["space"]
    whole, some, seconds = plica.count_regions(net, domain).count, [], 0.0
    while not some or some[-1].completeness != "complete":
        some.append(run_count(net, domain, folder=tmp_path, progress=Progress(max_seconds=seconds)))
        seconds = 0.02
    assert some[0].completeness == "budget reached" and some[0].count == 0
    assert [r.count for r in some] == sorted(r.count for r in some) and some[-1].count == whole


def test_workers_share_it(tmp_path):
    net, domain = CASES["space"]
    assert run_count(net, domain, folder=tmp_path, workers=2).count == plica.count_regions(net, domain).count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_and_taken_up(tmp_path, hurry):
    net, domain = CASES["space"]
    whole = plica.count_regions(net, domain).count
    for _ in range(3):
        child = os.fork()
        if not child:
            torch.set_num_threads(1)
            try:
                run_count(net, domain, folder=tmp_path)
            finally:
                os._exit(0)
        time.sleep(0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert run_count(net, domain, folder=tmp_path).count == whole


def test_other_networks_and_domains_in_one_folder(tmp_path):
    net, domain = CASES["space"]
    first = run_count(net, domain, folder=tmp_path).count
    assert run_count(net, cube(3, 0.1), folder=tmp_path).count < first
    other = net_of(3, 8, 6, seed=1)
    assert run_count(other, domain, folder=tmp_path).count == plica.count_regions(other, domain).count


def test_unbounded_domains_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be taken up again"):
        run_count(CASES["space"][0], None, folder=tmp_path)
