"""The plan of the default search: which images hop, from where, and what walks do in the meantime."""

import math

import numpy as np
import pytest
import torch

from analyses.adversarial.distortion_checks import UNIT, deep
from plica.analyses.adversarial import search
from plica.analyses.adversarial.polish import Best
from plica.analyses.adversarial.problem import make
from plica.analyses.adversarial.settings import Search
from plica.core.progress import Progress

IMAGES = 5


def board_of(norm, aim="beat"):
    """A board where something was found for all images but the last."""
    X = np.random.default_rng(0).random((IMAGES, 6))
    problem = make(deep(), X, None, UNIT, Progress())
    images = torch.arange(IMAGES).repeat_interleave(2)
    own = problem.labels[images]
    rows = search.Rows(images, own, (own + 1 + torch.arange(len(images)) % 2) % problem.classes, aim)
    board = search.Board(problem, rows, norm)
    first = rows[torch.arange(0, len(rows) - 2, 2)]
    point = problem.x[first.image] + 0.01
    board.offer(first, Best(point, search.length(point - problem.x[first.image], norm)))
    return board


def seen(monkeypatch, name, answer):
    """Calls of a function of the search, replaced by `answer`."""
    calls = []

    def instead(*given):
        calls.append(given)
        return answer(*given)

    monkeypatch.setattr(search, name, instead)
    return calls


@pytest.mark.parametrize("norm", [2.0, math.inf, 1.0])
def test_a_hop_starts_around_the_best_point_and_aims_at_its_class(norm, monkeypatch):
    board = board_of(norm)
    calls = seen(monkeypatch, "dive_from", lambda problem, rows, start, *_: Best.none(start))
    images = torch.tensor([0, 2])
    search._hop(board, images, torch.Generator().manual_seed(0))
    (_, rows, start, scale, _, how), best = calls[0], board.best
    assert rows.image.tolist() == [0, 2] and torch.equal(rows.target, board.target[images])
    assert torch.equal(scale, best.size[images]) and how is search.HOP
    off = search.length(start - best.point[images], norm)
    assert (off <= search.HOPPED * scale * (1 + 1e-4)).all() and (off > 0.1 * scale).all()
    assert (start >= 0).all() and (start <= 1).all()
    search._hop(board, images[:0], torch.Generator())
    assert len(calls) == 1


def test_every_image_has_one_try_a_round_and_hops_end_where_they_do_not_pay(monkeypatch):
    board = board_of(2.0)
    walks = seen(monkeypatch, "walk", lambda problem, rows, start, *_: Best.none(start))

    def dived(problem, rows, start, *_):
        found = Best.none(start)
        if len(dives) % 4 == 0:  # every fourth hop gains for image 1
            which = rows.image == 1
            found.point[which] = board.best.point[1]
            found.size[which] = 0.9 * board.best.size[1]
        return found

    dives = seen(monkeypatch, "dive_from", dived)
    monkeypatch.setattr(board, "refined", lambda rows, best, *_: best)
    rounds = 2 * search.TIRED + 8
    search._rounds(board, Search(rounds=rounds))
    hops = [call[1].image.tolist() for call in dives]
    assert hops == [[0, 1, 2, 3]] * search.TIRED + [[1]] * 4
    walked = [sorted(set(call[1].image.tolist())) for call in walks]
    for k in range(rounds):
        left = set(range(IMAGES)) - set(hops[k // 2] if k % 2 else [])
        assert set(walked[k]) == left, k


@pytest.mark.parametrize("norm", [2.0, math.inf, 1.0])
def test_points_nearer_than_the_best_lie_in_the_box_at_every_distance_and_in_every_direction(norm):
    board = board_of(norm)
    rows = board.rows[torch.zeros(2000, dtype=torch.long)]
    draw = torch.rand((2000, 7), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draw[0], draw[1] = 0.0, 1.0
    step = search._nearer(board, rows, draw) - board.problem.x[0]
    share = search.length(step, norm) / board.best.size[0]
    assert (step + board.problem.x[0] >= 0).all() and (step + board.problem.x[0] <= 1).all()
    assert (share <= 1 + 1e-4).all() and 0.4 < float((share < 0.5 ** (1 / 6)).double().mean()) < 0.6  # half the volume
    assert all(0.3 < float((step[:, k] > 0).double().mean()) < 0.7 for k in range(6))


def test_few_inputs_are_searched_in_volumes_and_many_are_not(monkeypatch):
    calls = seen(monkeypatch, "roam", lambda *_: None)
    search.auto(board_of(2.0), Search(starts=0, rounds=0))
    assert [where for _, where, _ in calls] == [search._anywhere, *[search._nearer] * 3]
    assert len({seed for _, _, seed in calls}) == 4
    monkeypatch.setattr(search, "FEW", 5)
    search.auto(board_of(2.0), Search(starts=0, rounds=0))
    assert len(calls) == 4
