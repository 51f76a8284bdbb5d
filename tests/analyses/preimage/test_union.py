"""Unions of pieces against an enumeration in fractions that shares no code; questions about whole unions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import zoo
from oracles import networks, unions
from plica import Box, Polyhedron, Progress
from plica.analyses.preimage import Kind, preimage, preimage_of
from plica.analyses.preimage.union_target import checked_box
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, DataError, ShapeError

CHOICES = ("relu", "leaky", "abs", "clip", "pool", "maxout")


def layers_of(data):
    return [name for name, kind, _, _ in data["nodes"] if kind in CHOICES]


def keys(pieces):
    """Pieces in the oracle's words."""
    out = {}
    for piece in pieces:
        key = tuple((name, tuple(b.ravel().tolist())) for name, b in piece.branches.items())
        assert key not in out
        out[key] = (piece.dimension, piece.is_bounded)
    return out


def compare(data, x, layer, box):
    """The library's union against the oracle's, piece by piece."""
    net, n = zoo.build(data), len(x)
    domain = None if box is None else Box(*(np.array(side, dtype=float) for side in box))
    union = preimage(net, x.reshape(net.input_shape), layer=layer, domain=domain)
    expected = unions.pieces(data, x.tolist(), layer, box)
    assert keys(union.pieces()) == {p.key: (p.dimension, p.bounded) for p in expected}
    assert union.is_complete and union._search.tally.unproven == 0
    assert (str(union.kind), union.dimension) == unions.kind(expected)
    y = unions.activity(data, x.tolist(), layer)
    for piece in union.pieces():
        point = piece.exact_point
        assert networks.run(data, point)[0][layer] == y
        taken = networks.branches(data, point)
        assert all(taken[name] == b.ravel().tolist() for name, b in piece.branches.items())
        if box is not None:
            assert all(a <= v <= b for a, v, b in zip(box[0], point, box[1], strict=True))
    draw = np.random.default_rng(n)
    points = np.round(draw.uniform(-2, 2, (40, n)) * 2) / 2
    if box is None:
        hits = [unions.activity(data, p.tolist(), layer) == y for p in points]
        assert union.contains(points).tolist() == hits
    return union


SMALL = [(kind, seed, bad) for kind in ("dense", "residual", "leaky", "maxout", "mixed") for seed in range(40)
         for bad in (False, True)]  # fmt: skip


@pytest.mark.big(sample=22)
@pytest.mark.parametrize("kind, seed, degenerate", SMALL)
def test_union_of_random_nets(kind, seed, degenerate):
    data, draw = zoo.random_net(kind, seed, degenerate=degenerate)
    n = int(np.prod(data["input"]))
    x = np.clip(draw.point(n), -2, 2)
    names = layers_of(data)
    box = ([-2.0] * n, [2.0] * n) if seed % 2 else None
    for layer in (names[seed % len(names)], names[min(1, len(names) - 1)]):
        compare(data, x, layer, box)


def tiny_images(seed, *, degenerate):
    """A convolution and a max-pooling with few enough units for the oracle."""
    draw = zoo.Draw(seed, degenerate=degenerate, scales=False)
    pool = ("pool", {"kernel": (1, 2), "stride": (1, 1)})
    conv = draw.conv(1, 1, (1, 2))
    layers = [conv, zoo.RELU, pool, ("flatten", {}), draw.dense(2, 2), zoo.RELU]
    return zoo.chain((1, 1, 4), *layers), draw


@pytest.mark.big(sample=10)
@pytest.mark.parametrize("seed", range(60))
def test_union_behind_convolution_and_pooling(seed):
    data, draw = tiny_images(seed, degenerate=seed % 2 == 0)
    x = np.clip(draw.point(4), -2, 2)
    names = layers_of(data)
    compare(data, x, names[seed % 3], ([-2.0] * 4, [2.0] * 4) if seed % 4 < 2 else None)


@pytest.mark.parametrize("known", zoo.KNOWN, ids=lambda k: k.name)
def test_union_of_known_nets(known):
    names = layers_of(known.data)
    for x, _ in known.answers[:2]:
        layer = names[min(1, len(names) - 1)]
        compare(known.data, np.array(x, dtype=float), layer, None)


@pytest.mark.big(sample=1)
@pytest.mark.parametrize("seed", range(30))
def test_scaled_weights(seed):
    data, draw = zoo.random_net("maxout" if seed % 2 else "leaky", seed, degenerate=False, scales=True)
    compare(data, draw.point(int(np.prod(data["input"]))), layers_of(data)[1], None)


def test_weights_on_which_an_interior_point_method_never_ends():
    """HiGHS went on without end (seed 14 of the ones above) in a program of 44 rows."""
    test_scaled_weights(14)


# --- questions about the union -------------------------------------------------------------------------------------


def folded():
    """relu(|x| + |y| - 1) on the plane, in two layers: outside it, level sets are diamonds."""
    rows = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    return zoo.build(zoo.chain((2,), zoo._dense_of(rows), zoo.RELU, zoo._dense_of([[1.0] * 4], [-1.0]), zoo.RELU))


def test_diamond():
    union = preimage(folded(), np.array([2.0, 0.0]), layer="relu3")
    assert union.kind is Kind.COMPACT and union.dimension == 1
    corners = sorted(map(tuple, union.vertices().tolist()))
    assert corners == [(-2.0, 0.0), (0.0, -2.0), (0.0, 2.0), (2.0, 0.0)]
    assert union.volume() == pytest.approx(8 * np.sqrt(2))
    assert union.support([1.0, 1.0]).value == union.support([1.0, 1.0]).bound == 2.0
    assert [side.tolist() for side in union.bounding_box()] == [[-2.0, -2.0], [2.0, 2.0]]
    assert union.contains([[1.0, 1.0], [1.0, -1.0], [1.0, 0.5]]).tolist() == [True, True, False]
    draws = union.sample(50, seed=1)
    assert np.abs(np.abs(draws).sum(1) - 2).max() < 1e-9
    assert {tuple(s) for s in np.sign(draws).tolist()} >= {(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)}
    assert len(union.rays()) == 0


def test_inside_of_the_diamond_is_flat():
    union = preimage(folded(), np.array([0.25, 0.0]), layer="relu3")
    assert union.kind is Kind.COMPACT and union.dimension == 2
    assert union.volume() == pytest.approx(2.0)


def test_slice_and_projection():
    from plica import Plane

    union = preimage(folded(), np.array([2.0, 0.0]), layer="relu3")
    line = Plane(np.array([0.0, 1.0]), np.array([[1.0], [0.0]]))
    cuts = sorted({round(v, 12) for part in union.slice(line) for v in part.vertices().ravel().tolist()})
    assert cuts == [-1.0, 1.0]
    shadows = union.project(np.array([[1.0], [0.0]]))
    assert min(s.min() for s in shadows) == -2.0 and max(s.max() for s in shadows) == 2.0


def test_from_layer_lies_in_that_layers_space():
    union = preimage(folded(), np.array([2.0, 0.0]), layer="relu3", from_layer="relu1", domain=Box(np.zeros(4), np.inf))
    assert union.kind is Kind.COMPACT and union.dimension == 3  # a simplex
    assert union.volume() == pytest.approx(np.sqrt(4) / 6 * 2**3)
    free = preimage(folded(), np.array([2.0, 0.0]), layer="relu3", from_layer="relu1")
    assert free.kind is Kind.UNBOUNDED and free.dimension == 3


def test_from_layer_of_values_that_are_no_floats():
    data = zoo.chain(
        (1,), ("scale", {"factor": 1.0, "divisor": 3.0}), zoo.RELU, zoo._dense_of([[1.0], [7.0]]), zoo.RELU
    )
    union = preimage(zoo.build(data), np.array([1.0]), layer="relu3", from_layer="relu1")
    assert union.kind is Kind.SINGLETON
    assert next(iter(union.pieces())).exact_point == (Fraction(1, 3),)


def test_over_determined_rows_do_not_clash():
    rng = np.random.default_rng(5)
    data = zoo.chain((2,), zoo._dense_of(rng.normal(size=(9, 2)).tolist(), rng.normal(size=9).tolist()), zoo.RELU)
    union = preimage(zoo.build(data), rng.normal(size=2), layer=0)
    assert union.kind is Kind.SINGLETON
    (piece,) = union.pieces()
    assert not piece.polyhedron().is_empty() and len(piece.polyhedron().e) == 2


def test_many_inputs_are_done_with_exact_points():
    rng = np.random.default_rng(2)
    data = zoo.chain((80,), zoo._dense_of(rng.normal(size=(6, 80)).tolist()), zoo.RELU,
                     zoo._dense_of(rng.normal(size=(3, 6)).tolist()), zoo.RELU)  # fmt: skip
    net, x = zoo.build(data), rng.normal(size=80)
    union = preimage(net, x, layer="relu3", domain=Box(x - 0.1, x + 0.1))
    y = unions.activity(data, x.tolist(), "relu3")
    for piece in union.pieces():
        assert networks.run(data, piece.exact_point)[0]["relu3"] == y
        assert piece.dimension >= 77
    assert union.is_complete and union.kind is Kind.COMPACT
    free = preimage(net, x, layer="relu3")
    assert free.kind is Kind.UNBOUNDED


# --- sets ----------------------------------------------------------------------------------------------------------


def test_unreachable_outputs_are_said_with_a_proof():
    net = folded()
    negative = preimage_of(net, (np.array([-1.0]), 0.5), layer="relu3")
    assert negative.kind is Kind.EMPTY and negative.standing.is_proof
    assert negative.result().completeness is Completeness.INFEASIBLE
    boxed = preimage_of(net, (np.array([50.0]), 1.0), layer="relu3", domain=Box(-np.ones(2), 1.0))
    assert boxed.kind is Kind.EMPTY and boxed.standing.is_proof
    far = preimage_of(net, Polyhedron([[1.0]], [-0.5]), layer="relu3")
    assert far.kind is Kind.EMPTY and far.standing.is_proof


def test_preimage_of_an_interval_and_of_a_class():
    ring = preimage_of(folded(), (np.array([1.5]), 0.5), layer="relu3")
    assert ring.kind is Kind.COMPACT and ring.volume() == pytest.approx(18.0 - 8.0)
    both = zoo.build(zoo.chain((2,), zoo._dense_of(zoo.EYE), zoo.RELU, zoo._dense_of([[1.0, 0.0], [0.0, 1.0]])))
    first = preimage_of(both, 0, layer=-1, domain=Box(-np.ones(2), 1.0))
    points = first.sample(40, seed=3)
    assert (np.maximum(points[:, 0], 0) >= np.maximum(points[:, 1], 0) - 1e-9).all()
    assert first.volume() == pytest.approx(1.0 + 1.0 + 0.5)


@pytest.mark.big(sample=4)
@pytest.mark.parametrize("seed", range(40))
def test_set_preimages_hold_exactly_the_points_that_reach_them(seed):
    data, draw = zoo.random_net(("dense", "leaky", "maxout", "residual")[seed % 4], seed, degenerate=seed % 3 == 0)
    net, n = zoo.build(data), int(np.prod(data["input"]))
    layer, x = layers_of(data)[1], draw.point(n)
    y = np.array([float(v) for v in unions.activity(data, x.tolist(), layer)])
    union = preimage_of(net, (y, 0.25), layer=layer, domain=Box(x - 1, x + 1))
    pieces = list(union.pieces())
    assert union.is_complete
    bodies = [p.polyhedron() for p in pieces]
    points = np.vstack([x + np.random.default_rng(seed).uniform(-1, 1, (30, n)), *[b.sample(3) for b in bodies[:5]]])
    values = [unions.activity(data, p.tolist(), layer) for p in points]
    hits = [all(abs(v - Fraction(t)) <= Fraction(1, 4) for v, t in zip(u, y.tolist(), strict=True)) for u in values]
    assert union.contains(points).tolist() == hits
    covered = np.any([b.contains(points, 1e-9) for b in bodies], axis=0)
    assert (covered[np.array(hits)]).all()


# --- budgets and bad input -----------------------------------------------------------------------------------------


def test_a_budget_ends_the_search_and_is_said():
    data, draw = zoo.random_net("dense", 3, degenerate=False)
    net = zoo.build(data)
    union = preimage(net, draw.point(net.input_shape[0]), layer="relu5", progress=Progress(max_seconds=0.0))
    result = union.result()
    assert len(result.dimensions) == 1 and result.completeness is Completeness.BUDGET
    assert union.kind in (Kind.UNDECIDED, Kind.UNBOUNDED)
    if union.kind is Kind.UNDECIDED:
        assert result.standing is Standing.NUMERICAL
    with pytest.raises(BudgetReached):
        union.vertices()
    small = preimage(net, draw.point(net.input_shape[0]), layer="relu5", progress=Progress(max_bytes=100_000))
    assert len(list(small.pieces(2))) <= 2


def test_support_of_an_unfinished_union_is_bounded():
    net = folded()
    x = np.array([2.0, 0.0])
    union = preimage(net, x, layer="relu3", domain=Box(-3 * np.ones(2), 3.0), progress=Progress(max_seconds=0.0))
    reach = union.support([0.0, 1.0])
    assert reach.value <= 2.0 <= reach.bound <= 3.0 + 1e-9


def test_a_stream_keeps_nothing():
    union = preimage(folded(), np.array([2.0, 0.0]), layer="relu3")
    assert len(list(union.stream())) == 8 and union._found == []


def test_a_box_of_numbers_holds_for_every_input():
    short, long = (preimage(folded(), np.array([2.0, 0.0]), layer="relu3", domain=d)
                   for d in (Box(-1.0, 3.0), Box(-np.ones(2), 3.0 * np.ones(2))))  # fmt: skip
    assert short.question.domain.ambient == 2
    assert keys(short.pieces()) == keys(long.pieces())


def test_a_negative_output_is_said_to_be_unreachable():
    for target in ((np.array([-1.0]), 0.0), (np.array([-1e-300]), 0.0), Polyhedron([[1.0]], [-1e-9])):
        never = preimage_of(folded(), target, layer="relu3")
        result = never.result()
        assert never.kind is Kind.EMPTY and result.standing.is_proof and result.open_share == 0.0
        assert "No input of the domain reaches the target" in result.summary()
        assert list(never.pieces()) == [] and never.dimension == -1


def test_a_witness_outside_the_domain_is_no_piece():
    union = preimage(folded(), np.array([2.0, 0.0]), layer="relu3", domain=Box(np.full(2, 5.0), 6.0))
    assert union.kind is Kind.EMPTY and union.standing.is_proof
    with pytest.raises(DataError, match="empty"):
        union.bounding_box()


def test_bad_domains():
    for lower, upper, error in ((1.0, 0.0, ArgumentError), (np.nan, 1.0, DataError)):
        with pytest.raises(error, match="Box"):
            Box(np.full(2, lower), upper)
    with pytest.raises(ArgumentError, match=r"plica\.Box"):
        checked_box(Polyhedron(np.eye(2), np.ones(2)), 2)
    with pytest.raises(ShapeError, match="3 variables"):
        checked_box(Box(np.zeros(3), 1.0), 2)


def test_bad_input():
    net, x = folded(), np.zeros(2)
    for arguments, error in (
        ({"layer": "nowhere"}, ArgumentError),
        ({"layer": "input"}, ArgumentError),
        ({"layer": "relu3", "domain": Box(np.zeros(3), 1.0)}, ShapeError),
        ({"layer": "relu1", "from_layer": "relu3"}, ArgumentError),
    ):
        with pytest.raises(error):
            preimage(net, x, **arguments)
    with pytest.raises(DataError):
        preimage(net, np.array([np.nan, 0.0]), layer="relu3")
    with pytest.raises(ShapeError):
        preimage(net, np.zeros(3), layer="relu3")
    for target, error in (
        ((np.zeros(2), 0.1), ShapeError),
        ((np.zeros(1), -0.1), DataError),
        ((np.array([np.nan]), 0.1), DataError),
        ((np.array([np.inf]), 0.1), DataError),
        ((np.array([1.0]), np.nan), DataError),
        (-1, ArgumentError),
        (7, ArgumentError),
        (Polyhedron(np.eye(2), np.ones(2)), ShapeError),
    ):
        with pytest.raises(error):
            preimage_of(net, target, layer="relu3")


def test_what_it_shows_of_itself():
    """Standing and completeness once there is an answer; before that, that there is none yet."""
    union = preimage(folded(), np.array([2.0, 0.0]), layer="relu3")
    assert repr(union).startswith("Preimage: its pieces are found when asked for\n")
    assert len(union.result().points) == 8  # sides, and the corners by themselves
    assert repr(union).startswith(f"Preimage: {union.standing}, complete\n")
    assert repr(union).endswith("8 pieces so far")
