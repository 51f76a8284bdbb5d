"""Every question about a union, for networks of every kind of node, against corners found by solving square systems."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import zoo
from oracles import bodies, unions
from plica import Box, Plane, load_result, preimage, save

CHOICES = ("relu", "leaky", "abs", "clip", "pool", "maxout")
KINDS = ("dense", "residual", "leaky", "maxout", "mixed", "images")


def drawn(kind, seed):
    """Plain data, a witness, and a layer behind the first."""
    degenerate = seed % 2 == 0
    if kind == "images":
        draw = zoo.Draw(seed, degenerate=degenerate, scales=False)
        pool = ("pool", {"kernel": (1, 2), "stride": (1, 1)})
        layers = [draw.conv(1, 1, (1, 2)), zoo.RELU, pool, ("flatten", {}), draw.dense(2, 2), zoo.RELU]
        data = zoo.chain((1, 1, 4), *layers)
    else:
        data, draw = zoo.random_net(kind, seed, degenerate=degenerate)
    names = [name for name, k, _, _ in data["nodes"] if k in CHOICES]
    x = np.clip(draw.point(int(np.prod(data["input"]))), -2, 2)
    return data, x, names[min(1 + seed % 2, len(names) - 1)]


def asked(data, x, layer, side=2.0):
    net, n = zoo.build(data), len(x)
    box = Box(np.full(n, -side), side)
    return preimage(net, x.reshape(net.input_shape), layer=layer, domain=box)


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_questions_about_a_union(kind, seed, tmp_path):
    data, x, layer = drawn(kind, seed)
    n, rng = len(x), np.random.default_rng(seed)
    union = asked(data, x, layer)
    systems = unions.systems(data, x.tolist(), layer, ([-2.0] * n, [2.0] * n))
    hulls = [bodies.corners(*bodies.floats(rows)) for _, rows in systems]
    every = np.vstack(hulls)

    for c in rng.normal(size=(2, n)):
        reach = union.support(c)
        top = max(bodies.exact_top(rows, c.tolist()) for _, rows in systems)
        assert Fraction(reach.bound) >= top and reach.bound == pytest.approx(float(top), abs=1e-7)
        assert reach.value == pytest.approx(float(top), abs=1e-7) and c @ reach.point == pytest.approx(reach.value)
    lower, upper = union.bounding_box()
    assert lower == pytest.approx(every.min(0), abs=1e-8) and upper == pytest.approx(every.max(0), abs=1e-8)

    known, wanted = union.vertices(), bodies.once(every)
    assert len(known) == len(wanted)
    assert np.abs(known[:, None] - wanted[None]).max(2).min(0).max() < 1e-6
    assert len(union.rays()) == 0
    top = max(unions.measures(rows, n)[0] for _, rows in systems)
    assert union.dimension == top
    parts = [h for h, (_, rows) in zip(hulls, systems, strict=True) if unions.measures(rows, n)[0] == top]
    assert union.volume() == pytest.approx(sum(bodies.size(h, top) for h in parts), rel=1e-6, abs=1e-9)

    shadow(union, hulls, np.linalg.qr(rng.normal(size=(n, min(n, 2))))[0])
    if n > 1:
        cut(union, systems, x, np.linalg.qr(rng.normal(size=(n, 2)))[0])
    draws(union, data, x, layer)
    again = asked(data, x, layer).restore(load_result(save(union.result(), tmp_path / "u.npz")))
    assert again.is_complete and again.kind == union.kind and again.volume() == union.volume()
    assert [p.exact_point is not None for p in again.pieces()] == [True] * len(systems)


def shadow(union, hulls, basis):
    """Each piece's shadow spans what its corners' shadows span."""
    shadows = union.project(basis)
    directions = np.random.default_rng(1).normal(size=(6, basis.shape[1]))
    of = lambda sets: sorted(tuple(np.round((s @ directions.T).max(0), 6)) for s in sets)  # noqa: E731
    assert np.array(of(shadows)) == pytest.approx(np.array(of([h @ basis for h in hulls])), abs=1e-5)


def cut(union, systems, x, basis):
    """A slice through the witness holds the corners of every piece's rows on it, and no more."""
    parts = [p.vertices() for p in union.slice(Plane(x, basis))]
    wanted = []
    for _, rows in systems:
        G, h, E, e = bodies.floats(rows)
        wanted.append(bodies.corners(G @ basis, h - G @ x, (E @ basis).reshape(-1, 2), e - E @ x))
    assert sum(map(len, parts)) > 0
    for t in np.random.default_rng(2).normal(size=(6, 2)):
        assert max((p @ t).max() for p in parts if len(p)) == pytest.approx((np.vstack(wanted) @ t).max(), abs=1e-6)


def draws(union, data, x, layer):
    """Samples have the activity of x."""
    y = np.array([float(v) for v in unions.activity(data, x.tolist(), layer)])
    for u in union.sample(10, seed=3):
        at = np.array([float(v) for v in unions.activity(data, u.tolist(), layer)])
        assert at == pytest.approx(y, abs=1e-8 * (1 + np.abs(y).max()))
        assert np.abs(u).max() <= 2 + 1e-9
    assert union.sample(0).shape == (0, len(x))
