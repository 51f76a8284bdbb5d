"""The statements of Behrmann et al. (2018), section 2 and A1, on the public functions, boundary cases in fractions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import zoo
from oracles import kinds as oracle
from oracles.layers import conv
from plica import Box, dual_cone, is_omnidirectional, preimage, preimage_kind

SEEDS = range(40)


def matrix(seed):
    """Small integers: zero, repeated and opposite rows, and hulls with 0 on their boundary, are frequent."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 8)), int(rng.integers(1, 4))
    return rng.integers(-2, 3, (m, n)).astype(float), rng


def layer(A, b):
    return zoo.build(zoo.chain((A.shape[1],), zoo._dense_of(A.tolist(), list(b)), zoo.RELU))


def rows(A):
    return oracle.rational(A.tolist())


@pytest.mark.parametrize("seed", SEEDS)
def test_corollary_2_and_theorems_5_and_11(seed):
    """Omnidirectional: rank n, and a positive combination of the rows is 0; else some v has A v <= 0."""
    A, rng = matrix(seed)
    exact = rows(A)
    total = [-sum(column) for column in zip(*exact, strict=True)]
    positive = oracle.separate(exact, total) is None  # -sum of the rows is a nonnegative combination of them
    wanted = positive and oracle.rank(exact) == A.shape[1]
    found = is_omnidirectional(A)
    assert found.value is wanted and found.standing.is_proof
    directions = rng.integers(-3, 4, (300, A.shape[1])).astype(float)
    directions = directions[directions.any(1)]
    seen = ((A @ directions.T) > 0).any(0)  # every open half-space holds a row
    assert seen.all() if wanted else True
    if not wanted:
        blind = [v for v in np.array(np.meshgrid(*[range(-4, 5)] * A.shape[1])).reshape(A.shape[1], -1).T if v.any()]
        kernel = oracle.cone_dimension([], exact, A.shape[1])
        assert kernel > 0 and (len(A) > 5 or any((A @ v <= 0).all() for v in blind))


@pytest.mark.parametrize("n", range(1, 6))
def test_corollary_6(n):
    rng = np.random.default_rng(n)
    for _ in range(10):
        assert not is_omnidirectional(rng.integers(-3, 4, (int(rng.integers(1, n + 1)), n)).astype(float))
    simplex = np.vstack([np.eye(n), -np.ones((1, n))])  # n + 1 rows are enough
    assert is_omnidirectional(simplex) and not is_omnidirectional(simplex[:-1])


@pytest.mark.parametrize("seed", range(12))
def test_a_spanning_set_and_its_negative(seed):
    """[F; -F] (concatenated ReLU): omnidirectional when F spans; then every preimage is one point."""
    rng = np.random.default_rng(seed)
    n, k = 3, int(rng.integers(1, 5))
    F = rng.integers(-2, 3, (k, n)).astype(float)
    rank = oracle.rank(rows(F))
    both, x = np.vstack([F, -F]), rng.integers(-2, 3, n).astype(float)
    assert is_omnidirectional(both).value is (rank == n)
    net = layer(both, np.zeros(2 * k))
    found, union = preimage_kind(net, x[None], layer=-1), preimage(net, x, layer=-1)
    wanted = ("singleton", 0) if rank == n else ("unbounded", n - rank)
    assert (str(found.kinds[0]), int(found.dimensions[0])) == (str(union.kind), union.dimension) == wanted


@pytest.mark.parametrize("seed", SEEDS)
def test_theorems_4_and_12(seed):
    """A point: some rows through it are omnidirectional on the kernel. Bounded: all rows at rest are."""
    A, rng = matrix(seed)
    n = A.shape[1]
    x, b = rng.integers(-2, 3, n).astype(float), rng.integers(-2, 3, len(A)).astype(float)
    b = np.where(rng.random(len(A)) < 0.5, -A @ x, b)  # many units exactly at their knot
    z = A @ x + b
    on, tight = z > 0, z == 0
    basis = oracle.null_space(rows(A[on]), n) if on.any() else rows(np.eye(n))
    on_kernel = [[oracle.dot(row, v) for v in basis] for row in rows(A)]
    k = len(basis)

    def omnidirectional(which):
        return k == 0 or oracle.cone_dimension([], [on_kernel[i] for i in which], k) == 0

    at_knot = np.flatnonzero(tight).tolist()
    sets = [c for size in range(len(at_knot) + 1) for c in combinations(at_knot, size)]
    single = any(omnidirectional(c) for c in sets)
    bounded = omnidirectional(np.flatnonzero(~on).tolist())
    wanted = "singleton" if single else "compact" if bounded else "unbounded"
    net = layer(A, b)
    assert str(preimage_kind(net, x[None], layer=-1).kinds[0]) == wanted
    assert str(preimage(net, x, layer=-1).kind) == wanted
    if not on.any():  # Theorem 12 is about the inequalities alone, for the point itself
        assert single is any(bool(is_omnidirectional(A[list(c)], b[list(c)], x)) for c in sets if c)


@pytest.mark.parametrize("seed", SEEDS)
def test_remark_3(seed):
    """Knowledge about the input as further rows: those of a domain say the same."""
    A, rng = matrix(seed)
    n = A.shape[1]
    x, b = rng.integers(1, 4, n).astype(float), rng.integers(-3, 4, len(A)).astype(float)
    z = A @ x + b
    on, tight = z > 0, z == 0
    below = np.vstack([A[~on], -np.eye(n)])
    wanted = oracle.kind(rows(A[on]), rows(below), [*tight[~on].tolist(), *[False] * n], n)
    net = layer(A, b)
    found = preimage_kind(net, x[None], layer=-1, prior=-np.eye(n))
    union = preimage(net, x, layer=-1, domain=Box(np.zeros(n), np.inf))
    assert (str(found.kinds[0]), int(found.dimensions[0])) == (str(union.kind), union.dimension) == tuple(wanted)


@pytest.mark.parametrize("units, listed", [(12, True), (13, False)])
def test_generators_of_many_dependent_rows(units, listed):
    """Twelve half-planes that are off around a polygon: its corners; one more, and only the inequalities are left."""
    turns = 2 * np.pi * np.arange(units) / units
    W = np.stack([np.cos(turns), np.sin(turns)], 1)
    found = dual_cone(W, np.zeros(2), -np.ones(units))
    assert found.listed is listed and len(found.rays) == len(found.lines) == 0
    if listed:
        radius = 1 / np.cos(np.pi / units)
        assert len(found.vertices) == units
        assert np.linalg.norm(found.vertices, axis=1) == pytest.approx(radius)


@pytest.mark.parametrize("channels, independent", [(1, True), (4, False)])
def test_generators_of_convolutions(channels, independent):
    """The same set as the preimage of the network with this convolution: generators inside, corners found."""
    rng = np.random.default_rng(channels)
    weight = rng.integers(-2, 3, (channels, 1, 2, 2)).astype(float)
    op = conv(weight, np.zeros(channels), (1, 2, 3))
    W, x = op.entries()[0].toarray(), rng.normal(size=6)
    found = dual_cone(W, x)
    assert found.listed and (len(found.dual) > 0) is independent
    data = zoo.chain((1, 2, 3), ("conv", {"W": weight.tolist(), "b": None}), zoo.RELU)
    union = preimage(zoo.build(data), x.reshape(1, 2, 3), layer=-1)
    y = np.maximum(W @ x, 0)
    for _ in range(20):
        u = rng.dirichlet(np.ones(len(found.vertices))) @ found.vertices
        u = u + rng.exponential(size=len(found.rays)) @ found.rays + rng.normal(size=len(found.lines)) @ found.lines
        assert np.maximum(W @ u, 0) == pytest.approx(y, abs=1e-9)
    cone = np.vstack([found.rays, found.lines])
    assert union.dimension == np.linalg.matrix_rank(np.vstack([cone, found.vertices - found.vertices[0]]))
    assert (str(union.kind) == "unbounded") is bool(len(cone))
