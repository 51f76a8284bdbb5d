"""A budget reaches every single program: none runs without an end, whatever is asked."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import plica
import zoo
from plica import Box, Progress
from plica.analyses.preimage.union_set import Preimage
from plica.analyses.regions.neighbourhoods import identified_neighbourhoods
from plica.analyses.regions.solid_rows import RowSearch
from plica.core.polyhedron import cone
from plica.core.progress import GRACE
from plica.core.result import Completeness
from plica.core.solve import linear, nearest, warm
from plica.errors import BudgetReached

LONG = 1e6  # seconds
WIDE = 70  # inputs, above those that are decided in integers


def folded():
    """|x1| + |x2| at relu3."""
    rows = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    return zoo.build(zoo.chain((2,), zoo._dense_of(rows), zoo.RELU, zoo._dense_of([[1.0] * 4]), zoo.RELU))


def dense(*sizes, seed=0):
    torch.manual_seed(seed)
    layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return plica.load(nn.Sequential(*layers), (sizes[0],))


def union(net, layer, side, progress, n=None):
    n = n or int(np.prod(net.input_shape))
    x = np.random.default_rng(3).normal(size=n) * 0.3
    return plica.preimage(net, x, layer=layer, domain=None if side is None else Box(x - side, x + side),
                          progress=progress)  # fmt: skip


def everything(found):
    """All questions about a union; those that its size forbids refuse."""
    found.result()
    c = np.ones(found.graph.spans["input"].stop)
    yield lambda: found.support(c)
    yield lambda: found.project(np.eye(len(c))[:, :1])
    if len(c) < WIDE:
        yield found.bounding_box
    yield lambda: found.sample(3)
    yield lambda: (found.kind, found.dimension)
    yield lambda: [(p.dimension, p.is_bounded, p.standing) for p in found.found]


def asked(net, layer, side, most=3):
    def ask(progress):
        found = union(net, layer, side, progress)
        list(found.pieces(most))
        for question in everything(found) if found.is_complete else ():
            question()
        if not found.is_complete:
            found.result(most)
            found.support(np.ones(int(np.prod(net.input_shape))))

    return ask


def impostors(extent, n):
    def ask(progress):
        net = folded() if n == 2 else dense(n, 6, 3)
        x, other = (np.array([2.0, 0.0]), np.array([0.0, -3.0])) if n == 2 else (np.zeros(n), np.full(n, 0.1))
        return plica.impostor(net, x, other, layer=net.choices[-1], domain=Box(x - 4, x + 4) if n == 2 else None,
                              extent=extent, progress=progress)  # fmt: skip

    return ask


def mixed(extent):
    X = np.array([[2.0, 0.0], [0.0, -2.0], [1.0, 0.5]])
    reference = dense(2, 3, 2, seed=1)
    return lambda progress: plica.mixing(
        folded(), X, [0, 1, 0], layer="relu3", reference=reference, extent=extent, max_seconds_each=LONG,
        progress=progress,
    )  # fmt: skip


def neighbours(progress):
    net = zoo.build(zoo.chain((2,), zoo._dense_of([[1.0, 2.0], [3.0, -1.0], [1.0, 1.0]], [0.1, 0.2, -0.3]), zoo.RELU))
    identified_neighbourhoods(net, [0.5, 0.1, 0.2], layers=[net.choices[0]], domain=Box(-np.ones(2), 1.0),
                              progress=progress)  # fmt: skip


ANALYSES = {
    "exact pieces": asked(folded(), "relu3", 4.0, 20),
    "boxes": asked(dense(3, 10, 10, 4), 2, 2.0),
    "a bounded box of many inputs": asked(dense(WIDE, 5, 3), 1, 0.05),
    "free space": asked(dense(WIDE, 3, 2), 1, None),
    "more rows than inputs": asked(dense(WIDE, 80, 3), 1, 0.001),
    "impostor": impostors("piece", 2),
    "nearest": impostors("nearest", 2),
    "farthest": impostors("farthest", 2),
    "nearest of many": impostors("nearest", WIDE),
    "farthest of many": impostors("farthest", WIDE),
    "mixing": mixed("piece"),
    "mixing over all pieces": mixed("nearest"),
    "regions in space": lambda progress: list(RowSearch(dense(3, 5, 4), Box(-np.ones(3), 1.0), progress).run()),
    "neighbourhoods": neighbours,
    "Lipschitz": lambda progress: plica.lipschitz(dense(2, 4, 2), domain=Box(-np.ones(2), 1.0), progress=progress),
}


@pytest.fixture
def limits(monkeypatch):
    """Seconds that every program was given, with its name."""
    seen = []

    def recorded(name, run, seconds):
        def work(*given, **more):
            seen.append((name, seconds(*given, **more)))
            return run(*given, **more)

        return work

    for module in (linear, warm):
        run = recorded(
            module.__name__, module.run_watched, lambda _solver, _entries, progress, **_: progress.seconds_left
        )
        monkeypatch.setattr(module, "run_watched", run)
    given = lambda *_, time_limit=np.inf, **__: time_limit  # noqa: E731
    monkeypatch.setattr(nearest.daqp, "solve", recorded("daqp", nearest.daqp.solve, given))
    last = lambda *given: given[-1].seconds_left  # noqa: E731
    monkeypatch.setattr(cone, "_decided", recorded("cone", cone._decided, last))
    return seen


@pytest.mark.parametrize("name", ANALYSES)
def test_every_program_has_an_end(name, limits):
    ANALYSES[name](Progress(max_seconds=LONG))
    assert limits and max(seconds for _, seconds in limits) <= LONG, set(limits)


@pytest.fixture
def endless(monkeypatch):
    """From a call on, every program takes all the time there is: no waiting, the clock is put forward."""

    def spent(*given, **more):
        progress = next(v for v in (*given, *more.values()) if isinstance(v, Progress))
        assert 0 < progress.seconds_left <= GRACE, "a program was given more than a second after the end"
        progress.started -= progress.seconds_left
        raise BudgetReached("the time was up in a program.")

    def start(progress):
        def stopped(*_, time_limit, **__):
            progress.started -= time_limit
            return None, None, -7, {}

        progress.max_seconds = progress.seconds + 0.2 * GRACE
        for module in (linear, warm):
            monkeypatch.setattr(module, "run_watched", spent)
        monkeypatch.setattr(cone, "_decided", spent)
        monkeypatch.setattr(nearest.daqp, "solve", stopped)

    return start


def test_questions_after_the_end_have_a_second_and_say_what_they_know(endless):
    progress = Progress()
    found = union(folded(), "relu3", 4.0, progress)
    pieces = list(found.pieces())
    c, (low, high) = np.array([1.0, 0.5]), found.bounding_box()
    top = found.support(c).bound
    endless(progress)
    reach = found.support(c)
    assert reach.value == -np.inf and reach.bound == np.inf > top
    for question in (found.bounding_box, found.vertices, found.volume, lambda: found.sample(3),
                     lambda: found.project(np.eye(2)[:, :1])):  # fmt: skip
        with pytest.raises(BudgetReached):
            question()
    assert found.is_complete and len(pieces) == 8 and (high > low).all()


def test_a_piece_after_the_end_is_undescribed(endless):
    progress = Progress()
    found = union(dense(WIDE, 80, 3), 1, 0.001, progress)
    piece = next(iter(found.pieces(1)))
    endless(progress)
    piece.found.__dict__["dimension"] = None  # no proof gave it
    piece.__dict__.pop("dimension", None)
    with pytest.raises(BudgetReached):
        _ = piece.dimension
    assert found.result(1).dimensions.tolist() == [-1] and str(found.kind) == "undecided"
    assert found.contains(piece.point).shape == ()


@pytest.mark.parametrize("n, extent", [(2, "nearest"), (2, "farthest"), (WIDE, "farthest")])
def test_an_impostor_whose_programs_take_all_the_time_is_the_best_found(n, extent, endless, monkeypatch):
    progress, pieces = Progress(), Preimage.pieces

    def then_the_end(self, most=None):
        found = list(pieces(self, most))
        assert found and self.is_complete
        endless(progress)
        yield from found

    monkeypatch.setattr(Preimage, "pieces", then_the_end)
    result = impostors(extent, n)(progress)
    assert result.completeness is Completeness.BUDGET and result.feature_difference < 1e-9
    assert result.bound < result.distance if extent == "nearest" else result.bound > result.distance
