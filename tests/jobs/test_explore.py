"""A search over a tree of cells: its frontier survives, and the count is the arrangement's."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch

from plica.core.progress import Progress
from plica.errors import ArgumentError
from plica.jobs import explore

LINES = np.array([[1, 0, 3], [0, 1, 5], [1, 1, 7], [2, -1, 1], [1, -3, -2], [3, 2, 16]])  # a x + b y = c
SIZE = 8  # of the square of integer cells


def parts(rows, size=2):
    """Rows as parts of a frontier."""
    return [{"rows": rows[i : i + size]} for i in range(0, len(rows), size)]


def expand(part, size=2):
    """Quarter integer squares until no line crosses them or they have side 1; each leaf is found."""
    rows = part["rows"]
    corners = rows[:, :2, None] + rows[:, 2, None, None] * np.array([[0, 1, 0, 1], [0, 0, 1, 1]])
    sides = np.einsum("lk,nkc->nlc", LINES[:, :2], corners) - LINES[:, None, 2][None]
    crossed = ((sides.min(2) < 0) & (sides.max(2) > 0)).any(1)
    split = crossed & (rows[:, 2] > 1)
    half = rows[split, 2] // 2
    shifts = [(0, 0), (1, 0), (0, 1), (1, 1)]
    squares = [np.column_stack([rows[split, 0] + a * half, rows[split, 1] + b * half, half]) for a, b in shifts]
    return {"leaves": rows[~split], "area": rows[~split, 2] ** 2}, parts(np.concatenate(squares), size)


def brute():
    """The same leaves by plain recursion."""

    def leaves(x, y, side):
        values = [[a * u + b * v - c for u in (x, x + side) for v in (y, y + side)] for a, b, c in LINES.tolist()]
        if side == 1 or not any(min(v) < 0 < max(v) for v in values):
            return [(x, y, side)]
        half = side // 2
        return [leaf for dx in (0, half) for dy in (0, half) for leaf in leaves(x + dx, y + dy, half)]

    return sorted(leaves(0, 0, SIZE))


ROOT = parts(np.array([[0, 0, SIZE]]))
KEY = {"lines": LINES}


def gathered(explored):
    return [tuple(map(int, row)) for found in explored.found() for row in found["leaves"]]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_finds_every_leaf_once(size, tmp_path):
    done = explore(partial(expand, size=size), ROOT, folder=tmp_path, key=KEY)
    assert (done.completeness, done.waiting) == ("complete", 0)
    assert sorted(gathered(done)) == brute()
    assert sum(int(found["area"].sum()) for found in done.found()) == SIZE**2
    again = explore(lambda part: pytest.fail("expanded again"), ROOT, folder=tmp_path, key=KEY)
    assert gathered(again) == gathered(done)


def test_two_workers_find_the_same_in_the_same_order(tmp_path):
    one = explore(expand, ROOT, folder=tmp_path / "one", key=KEY)
    two = explore(expand, ROOT, folder=tmp_path / "two", key=KEY, workers=2)
    assert gathered(one) == gathered(two)


def test_time_is_up_and_the_search_goes_on(tmp_path):
    progress = Progress(max_seconds=1000.0)

    def until(part):
        if part["rows"][0, 2] == 2:
            progress.max_seconds = 0.0
        return expand(part)

    part = explore(until, ROOT, folder=tmp_path, key=KEY, progress=progress)
    assert part.completeness == "budget reached"
    assert part.waiting
    assert set(gathered(part)) < set(brute())
    assert sorted(gathered(explore(expand, ROOT, folder=tmp_path, key=KEY))) == brute()


def test_an_interrupt_keeps_what_is_done(tmp_path):
    calls = []

    def until(part):
        calls.append(part)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return expand(part)

    part = explore(until, ROOT, folder=tmp_path, key=KEY)
    assert (part.completeness, part.expanded) == ("interrupted", 3)
    assert sorted(gathered(explore(expand, ROOT, folder=tmp_path, key=KEY))) == brute()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.big(sample=2)
@pytest.mark.parametrize("case", range(20))
def test_kill_at_random_moments(case, tmp_path, seed):
    whole = gathered(explore(expand, ROOT, folder=tmp_path / "whole", key=KEY))
    draw = random.Random(seed * 1000 + case)
    for _ in range(3):
        child = os.fork()
        if not child:
            torch.set_num_threads(1)
            try:
                explore(expand, ROOT, folder=tmp_path / "killed", key=KEY)
            finally:
                os._exit(0)
        time.sleep(draw.random() * 0.3)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert gathered(explore(expand, ROOT, folder=tmp_path / "killed", key=KEY)) == whole


def test_another_key_is_another_search(tmp_path):
    a = explore(expand, ROOT, folder=tmp_path, key=KEY)
    b = explore(expand, ROOT, folder=tmp_path, key={"lines": LINES + 1})
    assert a.expanded == b.expanded
    assert len(list((tmp_path / "chunks").iterdir())) == 2 * a.expanded
    with pytest.raises(ArgumentError, match="cannot name"):
        explore(expand, ROOT, folder=tmp_path, key={"what": object()})


def test_the_oracle_counts_an_arrangement():
    """The lines of the test cross inside the square, so that leaves are of several sizes."""
    sides = {side for _, _, side in brute()}
    assert len(sides) > 1
    assert all(np.linalg.det([p[:2], q[:2]]) for p, q in combinations(LINES.tolist(), 2))
