"""The search of networks with many inputs, made to work on few: floats with error bounds, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from oracles import networks, unions
from plica import Box, Progress
from plica.analyses.preimage import Kind, preimage, union_piece
from plica.core.search import leaf, tree
from plica.core.search.inside import proven_point
from plica.core.search.leaf_program import pattern_program
from plica.core.search.reduced import reduced
from plica.core.search.shallow import Shallow, shallow

CHOICES = ("relu", "leaky", "abs", "clip", "pool", "maxout")


def layers_of(data):
    return [name for name, kind, _, _ in data["nodes"] if kind in CHOICES]


@pytest.fixture
def floats(monkeypatch):
    """Nothing is decided by exact rows of patterns or of relaxations."""
    monkeypatch.setattr(tree, "EXACT_COLUMNS", 0)
    monkeypatch.setattr(leaf, "EXACT_COLUMNS", 0)
    monkeypatch.setattr(union_piece, "EXACT_COLUMNS", 0)
    monkeypatch.setattr(tree, "EXACT_LIFTED", 0)


def wide(seed):
    """More inputs than first units; half degenerate."""
    draw = zoo.Draw(seed, degenerate=seed % 2 == 0, scales=False)
    n, k, m = (5, 3, 3) if seed % 3 else (6, 4, 2)
    return zoo.chain((n,), draw.dense(k, n), zoo.RELU, draw.dense(m, k), zoo.RELU), draw, n


def checked(data, x, layer, box):
    """All that is found is right; what is complete has everything; dimensions that are given are proven."""
    union = preimage(zoo.build(data), x.reshape(zoo.build(data).input_shape), layer=layer,
                     domain=None if box is None else Box(*(np.array(s, dtype=float) for s in box)))  # fmt: skip
    expected = {p.key: p for p in unions.pieces(data, x.tolist(), layer, box)}
    seen = set()
    for piece in union.pieces():
        key = tuple((name, tuple(b.ravel().tolist())) for name, b in piece.branches.items())
        assert key in expected and key not in seen
        seen.add(key)
        if piece.found.dimension is not None:
            assert piece.found.dimension == expected[key].dimension
    tally = union._search.tally
    if not tally.unproven:
        missing = [dict(k) for k in expected.keys() - seen]
        open_ = [{n: tuple(b.tolist()) for n, b in u.items()} for u in tally.undecided]
        assert all(m in open_ for m in missing)
        assert union.is_complete == (not open_)
    return union


@pytest.mark.big(sample=8)
@pytest.mark.parametrize("seed", range(120))
def test_wide_networks(seed, floats):
    data, draw, n = wide(seed)
    x = np.clip(draw.point(n), -2, 2)
    box = (np.minimum(x - 0.5, -0.5).tolist(), np.maximum(x + 0.5, 0.5).tolist()) if seed % 4 < 2 else None
    checked(data, x, "relu3", box)


@pytest.mark.big(sample=5)
@pytest.mark.parametrize("seed", range(60))
def test_all_kinds_of_networks(seed, floats):
    kind = ("dense", "residual", "leaky", "maxout", "mixed")[seed % 5]
    data, draw = zoo.random_net(kind, seed, degenerate=seed % 2 == 0)
    n = int(np.prod(data["input"]))
    x = np.clip(draw.point(n), -2, 2)
    names = layers_of(data)
    checked(data, x, names[min(1, len(names) - 1)], ([-2.0] * n, [2.0] * n))


def test_generic_networks_are_decided_completely(floats):
    done = 0
    for seed in (3, 5, 11):
        data, draw, n = wide(seed)
        x = draw.point(n)
        union = checked(data, x, "relu3", ((x - 1).tolist(), (x + 1).tolist()))
        done += union.is_complete and union.standing.is_proof and union.kind is not Kind.UNDECIDED
    assert done >= 2


def test_cuts_hold_on_the_whole_box():
    rng = np.random.default_rng(3)
    net = zoo.build(zoo.chain((70,), zoo._dense_of(rng.normal(size=(5, 70)).tolist()), zoo.RELU))
    union = preimage(net, rng.normal(size=70), layer="relu1")
    small = reduced(union.graph, -np.ones(70), np.ones(70))
    points = rng.uniform(-1, 1, (400, 70)) @ small.J.T
    found = 0
    for _ in range(30):
        target = small.low + rng.random(5) * (small.high - small.low)
        cut = small.separate(target, target)
        if cut is None:
            assert np.abs(small.J @ small.x - target).max() < 1e-3 and (np.abs(small.x) <= 1).all()
            continue
        found += 1
        w, level = cut
        assert (points @ w <= level).all() and w @ target > level
        assert level == pytest.approx(np.abs(w @ small.J).sum())
    assert found > 5


def test_a_stream_makes_points_without_programs(monkeypatch):
    rng = np.random.default_rng(4)
    layers = [zoo._dense_of(rng.normal(size=s).tolist()) for s in ((12, 70), (4, 12))]
    data = zoo.chain((70,), layers[0], zoo.RELU, layers[1], zoo.RELU)
    net, x = zoo.build(data), rng.normal(size=70)
    proved = []
    monkeypatch.setattr(
        Shallow, "proves", lambda self, h, keep=Shallow.proves: proved.append(keep(self, h)) or proved[-1]
    )
    union = preimage(net, x, layer="relu3")
    y = unions.activity(data, x.tolist(), "relu3")
    for piece in union.pieces(20):
        assert networks.run(data, piece.exact_point)[0]["relu3"] == y
        taken = networks.branches(data, piece.exact_point)
        assert all(taken[name] == b.ravel().tolist() for name, b in piece.branches.items())
        assert piece.dimension == 70 - sum(v > 0 for v in y)
    assert sum(proved) >= 10


@pytest.mark.parametrize("seed", range(6))
def test_proofs_accept_no_empty_pattern_and_refute_no_other(seed):
    data, draw, n = wide(seed)
    x = np.clip(draw.point(n), -2, 2)
    low, high = x - 1.5, x + 1.5
    union = preimage(zoo.build(data), x, layer="relu3", domain=Box(low, high))
    conditions, graph = union.question.conditions, union.graph
    full = {dict(p.key)["relu1"] for p in unions.pieces(data, x.tolist(), "relu3", (low.tolist(), high.tolist()))}
    small = reduced(graph, np.full(n, -np.inf), np.full(n, np.inf))
    free = {dict(p.key)["relu1"] for p in unions.pieces(data, x.tolist(), "relu3", None)}
    above = shallow(small.graph, conditions, Progress()) if small is not None else None
    units = graph.spans["relu1"].stop - graph.spans["relu1"].start
    rng = np.random.default_rng(seed)
    for pattern in np.ndindex(*(2,) * units):
        branches = {"relu1": np.array(pattern)}
        program = pattern_program(graph, branches, conditions, (low, high), Progress())
        assert not (program.strict()[1] and pattern in full)
        inner = program.inner()
        guesses = [x, *rng.uniform(low, high, (6, n)), *([] if inner is None else [inner])]
        for guess in guesses:
            proof = proven_point(graph, branches, conditions, (low, high), guess)
            assert proof is None or pattern in full
        assert inner is None or pattern in full
        if above is not None:
            h = np.where(np.array(pattern) > 0, rng.exponential(size=units), 0.0)
            if len(above.E):  # as near to the equations as positive outputs can be
                h[h > 0] += np.linalg.lstsq(above.E[:, h > 0], above.e - above.E @ h, rcond=None)[0]
            assert not above.proves(np.maximum(h, 0)) or tuple((h > 0).astype(int)) in free


@pytest.mark.parametrize("seed", range(3))
def test_outputs_move_between_the_conditions(seed):
    """Outputs made without a program, or in the middle: they keep the conditions and have the pattern asked for."""
    rng = np.random.default_rng(seed)
    n, k, m = 40, 12, 8
    layers = [zoo._dense_of(rng.normal(size=s).tolist()) for s in ((k, n), (m, k))]
    net, x = zoo.build(zoo.chain((n,), layers[0], zoo.RELU, layers[1], zoo.RELU)), rng.normal(size=n)
    union = preimage(net, x, layer="relu3")
    small = reduced(union.graph, np.full(n, -np.inf), np.full(n, np.inf))
    above = shallow(small.graph, union.question.conditions, Progress())
    done = 0
    for _ in range(6):
        branches = rng.choice([-1, 0, 1], k, p=[0.7, 0.1, 0.2])
        h = above.middle(branches, 1e-7)
        if h is None:
            continue
        assert (h[branches == 1] > 1e-7).all() and (h[branches == 0] == 0).all() and (h >= 0).all()
        for unit in np.flatnonzero(h > 0).tolist():
            lower = above.lower_unit(h, unit)
            raised = None if lower is None else above.raise_unit(lower, unit, branches != 0)
            for new, on in ((h, True), (lower, False), (raised, True)):
                if new is not None:
                    assert (new[unit] > 0) == on and (new >= 0).all() and (above.G @ new < above.g).all()
                    assert np.abs(above.E @ new - above.e).max(initial=0) < 1e-9 * (1 + np.abs(new).sum())
            done += raised is not None
    assert done >= 3
