"""Unions by bisection of the domain, against the enumeration in fractions; its half-spaces against exact points."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

import zoo
from oracles import unions
from plica import Box, Polyhedron, Progress
from plica.analyses.preimage import Kind, preimage, preimage_of
from plica.core.result import Completeness
from plica.core.search import boxes
from plica.core.search.bounds import bound
from plica.core.search.contract import half_spaces, pressed, swept

CHOICES = ("relu", "leaky", "abs", "clip", "pool", "maxout")
KINDS = ("dense", "residual", "leaky", "maxout", "mixed")


def layers_of(data):
    return [name for name, kind, _, _ in data["nodes"] if kind in CHOICES]


@pytest.fixture
def tiny(monkeypatch):
    """Boxes are bisected even where few units are open, but not for ever."""
    monkeypatch.setattr(boxes, "FEW_UNITS", 1)
    monkeypatch.setattr(boxes, "DEEPEST", 1)


def keys(pieces):
    out = {}
    for piece in pieces:
        key = tuple((name, tuple(b.ravel().tolist())) for name, b in piece.branches.items())
        assert key not in out
        out[key] = (piece.dimension, piece.is_bounded)
    return out


@pytest.mark.big(sample=8)
@pytest.mark.parametrize("seed", range(60))
def test_union_by_boxes(seed, tiny):
    data, draw = zoo.random_net(KINDS[seed % 5], seed, degenerate=seed % 2 == 0)
    net, n = zoo.build(data), int(np.prod(data["input"]))
    x = np.clip(draw.point(n), -2, 2)
    names = layers_of(data)
    layer, box = names[min(1, len(names) - 1)], ([-2.0] * n, [2.0] * n)
    union = preimage(net, x.reshape(net.input_shape), layer=layer, domain=Box(np.full(n, -2.0), 2.0))
    expected = unions.pieces(data, x.tolist(), layer, box)
    assert keys(union.pieces()) == {p.key: (p.dimension, p.bounded) for p in expected}
    assert union.is_complete and union.result().open_share == 0.0
    assert (str(union.kind), union.dimension) == unions.kind(expected)
    again = {tuple(b.tobytes() for b in p.branches.values()) for p in union.stream()}
    assert len(again) == len(expected)


def test_boxes_are_used(tiny):
    data, draw = zoo.random_net("dense", 1, degenerate=False)
    n = int(np.prod(data["input"]))
    union = preimage(zoo.build(data), draw.point(n), layer=layers_of(data)[1], domain=Box(np.full(n, -5.0), 5.0))
    list(union.pieces())
    assert union._search.tally.boxes > 1


@pytest.mark.parametrize("seed", range(10))
def test_nothing_that_satisfies_the_conditions_is_cut_off(seed):
    data, _ = zoo.random_net(KINDS[seed % 5], seed, degenerate=seed % 3 == 0, scales=seed % 2 == 0 and seed % 5 < 1)
    net, n = zoo.build(data), int(np.prod(data["input"]))
    rng = np.random.default_rng(seed)
    for layer in layers_of(data)[:3]:
        x = np.round(4 * rng.uniform(-1, 1, n)) / 4
        y = np.array([float(v) for v in unions.activity(data, x.tolist(), layer)])
        union = preimage_of(net, (y, 0.125), layer=layer, domain=Box(x - 1, x + 1))
        search = union._search
        known = bound(search.graph, x - 1, x + 1)
        half = half_spaces(search.graph, known, search.conditions)
        sides = swept(half, x - 1, x + 1)
        assert sides is not None
        tight = pressed(half, *sides, Progress())
        assert tight is not None
        hit = 0
        for p in [x, *(x + rng.normal(size=(60, n)) * rng.choice([0.3, 0.03, 1e-3], (60, 1)))]:
            value = unions.activity(data, p.tolist(), layer)
            inside = (np.abs(p - x) <= 1).all()
            if inside and all(abs(v - Fraction(t)) <= Fraction(1, 8) for v, t in zip(value, y.tolist(), strict=True)):
                hit += 1
                exact = [Fraction(float(v)) for v in p]
                for row, level in zip(half.rows.tolist(), half.level.tolist(), strict=True):
                    left = sum((Fraction(a) * v for a, v in zip(row, exact, strict=True)), Fraction(0))
                    assert left <= Fraction(level)
                for low, high in (sides, tight):
                    assert (low <= p).all() and (p <= high).all()
        assert hit


def test_an_empty_box_is_proven_empty():
    data, _ = zoo.random_net("dense", 4, degenerate=False)
    net, n = zoo.build(data), int(np.prod(data["input"]))
    layer = layers_of(data)[1]
    units = int(np.prod(net.shape_of(layer)))
    far = preimage_of(net, Polyhedron(-np.eye(units), np.full(units, -1e6)), layer=layer, domain=Box(-np.ones(n), 1.0))
    assert far.kind is Kind.EMPTY and far.standing.is_proof


def wide(seed=0):
    """2-16-16-16 with more open units than one tree should hold."""
    rng = np.random.default_rng(seed)
    sizes = ((16, 2), (16, 16), (16, 16))
    layers = [zoo._dense_of(rng.normal(size=s).tolist(), rng.normal(size=s[0]).tolist()) for s in sizes]
    return zoo.build(zoo.chain((2,), layers[0], zoo.RELU, layers[1], zoo.RELU, layers[2], zoo.RELU)), rng


def test_every_input_of_a_set_lies_in_a_piece_found(tiny):
    net, rng = wide()
    layer = net.choices[1]
    for x in rng.uniform(-2, 2, (1, 2)):
        y = np.asarray(net.upto(layer)(x[None])[0]).ravel()
        union = preimage_of(net, (y, 1.0), layer=layer, domain=Box(np.full(2, -2.0), 2.0))
        bodies = [p.polyhedron() for p in union.pieces()]
        assert union._search.tally.boxes > 1 and union.is_complete and union.standing.is_proof
        points = np.vstack([x + rng.normal(size=(300, 2)) * s for s in (0.01, 0.1, 1.0)])
        hits = union.contains(points)
        assert hits.sum() > 5
        assert np.any([b.contains(points[hits], 1e-9) for b in bodies], axis=0).all()


def test_what_is_open_is_said():
    net, rng = wide(1)
    x = rng.uniform(-1, 1, 2)
    union = preimage(net, x, layer=net.choices[2], domain=Box(np.full(2, -2.0), 2.0), progress=Progress(max_seconds=0))
    result = union.result()
    assert result.completeness is Completeness.BUDGET and result.open_share == 1.0
    assert "100 %" in result.summary()
    whole = preimage(net, x, layer=net.choices[2], domain=Box(np.full(2, -2.0), 2.0)).result()
    assert whole.completeness is Completeness.COMPLETE and whole.open_share == 0.0


def test_the_share_that_is_open_falls(tiny):
    data, draw = zoo.random_net("dense", 1, degenerate=False)
    n = int(np.prod(data["input"]))
    for domain in (Box(np.full(n, -5.0), 5.0), None):
        union = preimage(zoo.build(data), draw.point(n), layer=layers_of(data)[1], domain=domain)
        shares = [union._search.tally.open_share]
        for _ in union.pieces():
            shares.append(union._search.tally.open_share)
        shares.append(union._search.tally.open_share)
        assert shares[0] == 1.0 and shares[-1] == 0.0
        assert all(a >= b - 1e-9 for a, b in pairwise(shares)) and min(shares) > -1e-9
