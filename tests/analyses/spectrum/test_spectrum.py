"""spectrum(): against exact rationals and 60 digits on every kind of graph, half of them degenerate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import zoo
from oracles import spectra as oracle
from plica.analyses.spectrum import jacobian as module
from plica.analyses.spectrum import spectrum
from plica.analyses.spectrum.jacobian import jacobians
from plica.core.network import INPUT

EPS = 2.0**-52
CASES = [(kind, seed) for kind in zoo.KINDS for seed in range(24)]


class Case:
    """A random net, a point of it, and the branches there."""

    def __init__(self, kind: str, seed: int) -> None:
        self.data, draw = zoo.random_net(kind, seed, degenerate=seed % 2 == 1, scales=seed % 4 >= 2)
        self.net = zoo.build(self.data)
        self.x = draw.point(int(np.prod(self.net.input_shape))).reshape(self.net.input_shape)
        self.pattern = self.net.pattern(self.x)
        self.branches = zoo.as_branches(self.pattern)

    def exact(self, layer: str, side: str):
        return oracle.jacobian(self.data, self.branches, self.net.resolve(layer, side))


def check(found, j: int, rows, image: int = 0) -> None:
    """One value's spectrum against the exact matrix."""
    values, exact = found.values[j][image], np.array(oracle.singular_values(rows))
    threshold, rank = found.thresholds[image, j], oracle.rank(rows)
    size = min(int(found.units[j]), found.inputs)
    assert values.shape == (size,)
    assert (np.diff(values) <= 0).all()
    exact = np.pad(exact, (0, size - len(exact)))
    assert (np.abs(values - exact) <= 2 * threshold + 1e-10 * exact).all()
    if rank and exact[0] < 1e3 * exact[rank - 1] and threshold < 1e-13 * exact[0]:
        np.testing.assert_allclose(values[:rank], exact[:rank], rtol=1e-10)
    if rank == 0 or exact[rank - 1] > 10 * threshold:
        assert found.ranks[image, j] == rank
    assert rank <= found.most[image, j] <= found.alive[image, j]
    if found.proven[image, j]:
        assert found.ranks[image, j] == rank


@pytest.mark.big(sample=10)
@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_spectra_of_random_networks(kind, seed):
    case = Case(kind, seed)
    found = spectrum(case.net, case.x[None])
    for j, (layer, side) in enumerate(zip(found.layers, found.sides, strict=True)):
        check(found, j, case.exact(layer, side))


@pytest.mark.big(sample=10)
@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_the_error_bound_holds_for_every_value(kind, seed):
    case = Case(kind, seed)
    frozen = case.net.freeze(case.pattern)
    names = tuple(node.name for node in frozen.nodes)
    n = case.x.size
    for at in jacobians(frozen, names, np.ones(n, dtype=bool), max_bytes=2**30):
        rows = np.array(oracle.jacobian(case.data, case.branches, at.name), dtype=object).reshape(-1, n)
        computed = dense(at, rows.shape[0], module.alive(frozen, torch.ones(case.net.input_shape, dtype=torch.bool)))
        difference = np.array([[float(oracle.networks.rational(a) - b) for a, b in zip(*pair, strict=True)]
                               for pair in zip(computed, rows, strict=True)])  # fmt: skip
        assert np.linalg.norm(difference.reshape(computed.shape), 2 if computed.size else None) <= at.doubt.bound
        assert oracle.rank(rows.tolist()) <= at.most


def dense(at, units: int, masks) -> np.ndarray:
    """The whole computed Jacobian."""
    J = at.jacobian
    kept = J.tall().T if J.wide else J.tall()
    out = np.zeros((units, len(at.columns)))
    rows = np.flatnonzero(masks[at.name].flatten().numpy())
    out[np.ix_(rows, at.columns)] = kept.numpy()
    return out


@pytest.mark.parametrize("known", zoo.KNOWN, ids=lambda k: k.name)
def test_spectra_of_known_degenerate_networks(known):
    points = np.array([x for x, _ in known.answers], dtype=float)
    net = known.net
    found = spectrum(net, points.reshape(len(points), *net.input_shape))
    for i, x in enumerate(points):
        branches = zoo.as_branches(net.pattern(x.reshape(net.input_shape)))
        for j, (layer, side) in enumerate(zip(found.layers, found.sides, strict=True)):
            check(found, j, oracle.jacobian(known.data, branches, net.resolve(layer, side)), i)


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_every_way_to_the_jacobian_gives_the_same(kind, seed, monkeypatch):
    """Tiles of one pixel, columns replaced by fewer, and rows pulled back."""
    case = Case(kind, seed)
    plain = spectrum(case.net, case.x[None])
    changes = ({"CHUNK": 1}, {"SHRINK_COLUMNS": 1, "SHRINK_SHARE": 0.99}, {"PULL_COLUMNS": 0, "PULL_SHARE": 1e9})
    for change in changes:
        with monkeypatch.context() as patch:
            for name, value in change.items():
                patch.setattr(module, name, value)
                if name == "CHUNK":
                    patch.setattr("plica.analyses.spectrum.slabs.CHUNK", value)
                    patch.setattr("plica.analyses.spectrum.slabs.TILE", 1)
            other = spectrum(case.net, case.x[None])
        for a, b, t in zip(plain.values, other.values, plain.thresholds[0], strict=True):
            assert (np.abs(a - b) <= 2 * t + 1e-10 * a).all()
        assert (plain.most == other.most).all()


def with_values(values, rng, rows=None) -> np.ndarray:
    """A matrix with given singular values, up to rounding."""
    n = len(values)
    left, right = (np.linalg.qr(rng.normal(size=(k, n)))[0] for k in (rows or n, n))
    return (left * values) @ right.T


@pytest.mark.parametrize(("condition", "method"), [(1e2, "gram"), (9e2, "gram"), (1e4, "inverse"), (5e5, "inverse"),
                                                   (1e8, "svd"), (1e13, "svd")])  # fmt: skip
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("wide", [False, True])
def test_accuracy_beside_a_dense_decomposition(condition, method, scale, wide):
    rng = np.random.default_rng(int(100 + np.log10(condition * scale)) + 7 * wide)
    A = with_values(scale * np.geomspace(1.0, 1 / condition, 40), rng, 50)
    A = A.T if wide else A
    data = zoo.chain((A.shape[1],), ("dense", {"W": A.tolist()}))
    found = spectrum(zoo.build(data), np.zeros((1, A.shape[1])))
    exact = np.array(oracle.singular_values(A.tolist())) if condition in (9e2, 5e5) and scale != 1 else None
    reference = np.linalg.svd(A, compute_uv=False)
    assert found.methods[0, 0] == method
    assert (np.abs(found.values[0][0] - reference) <= 50 * EPS * reference[0] + 1e-11 * reference).all()
    if exact is not None:
        np.testing.assert_allclose(found.values[0][0], exact, rtol=max(1e-10, 20 * EPS * condition))
    if condition <= 9e2:
        np.testing.assert_allclose(found.values[0][0], reference, rtol=1e-10)
    assert found.ranks[0, 0] == 40


def test_rank_is_not_called_proven_where_rounding_could_hide_it():
    rng = np.random.default_rng(0)
    A = with_values(np.geomspace(1.0, 1e-12, 20), rng)
    found = spectrum(zoo.build(zoo.chain((20,), ("dense", {"W": A.tolist()}))), np.zeros((1, 20)))
    assert found.ranks[0, 0] == 20
    assert not found.proven[0, 0]
    B = with_values(np.geomspace(1.0, 1e-3, 20), rng)
    found = spectrum(zoo.build(zoo.chain((20,), ("dense", {"W": B.tolist()}))), np.zeros((1, 20)))
    assert found.proven[0, 0]


def test_the_input_itself_and_single_values():
    case = Case("conv", 0)
    found = spectrum(case.net, case.x[None], INPUT)
    assert found.values[0].tolist() == [[1.0] * case.x.size]
    some = spectrum(case.net, case.x[None], [0, case.net.output], side="post")
    whole = spectrum(case.net, case.x[None])
    for layer in some.layers:
        np.testing.assert_allclose(some.values[some.place(layer)], whole.values[whole.place(layer)], rtol=1e-12)
