"""Rows of the planar engine: carried over a choice they are the exact ones within their bounds, and change nothing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from analyses.regions import solid_nets
from analyses.regions.mesh_checks import check_plane
from analyses.regions.test_planar import BOX, check, flawed, random_net
from plica.analyses.regions import planar_engine
from plica.analyses.regions.analysis import count_regions, regions
from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_kernels import KAPPA, UNIT
from plica.analyses.regions.planar_move import carry
from plica.analyses.regions.planar_window import window_of
from plica.analyses.regions.solid_domain import domain_of
from plica.core.progress import Progress


@pytest.fixture
def always(monkeypatch):
    """Rows are carried wherever they can be, however many units bend."""
    monkeypatch.setattr(planar_engine, "BENDS", 0)


def opened(net, monkeypatch):
    """The engine and its chunks, with whether their rows were carried, and weights of all new vertices."""
    engine = Engine(net, window_of(domain_of(BOX, 2)), Progress())
    chunks, weights, real = [], [], Engine._open

    def kept(self, item):
        chunk = real(self, item)
        weights.append(item.split.new.weights)
        chunks.append((chunk, item.split.ahead is not None))
        return chunk

    monkeypatch.setattr(Engine, "_open", kept)
    engine.run()
    return engine, chunks, np.concatenate(weights)


def exact_rows(engine, chunk, rng, most=12):
    """(vertex, exact values rounded) of some vertices of a chunk."""
    p = chunk.polygons
    for c in rng.permutation(len(p))[:most]:
        a, b = p.offset[c], p.offset[c + 1]
        branches = engine.exact.branches(p.words[c], chunk.stage)
        points = engine.exact.corners(p.label[a:b], branches)
        rows = engine.exact.rows(chunk.stage, branches, points)
        yield p.index[a:b], np.array([[x / w, y / w] for x, y, w in points]), rows


@pytest.mark.parametrize("widths", [(2, 16, 16, 16, 2), (2, 12, 20, 8, 12, 1)])
@pytest.mark.parametrize("force", [True, False])
def test_carried_rows_are_within_their_bounds(widths, force, monkeypatch):
    if force:
        monkeypatch.setattr(planar_engine, "BENDS", 0)
    engine, chunks, _ = opened(random_net(3, widths), monkeypatch)
    rng, seen, worst = np.random.default_rng(0), 0, 0.0
    for chunk, carried in chunks:
        (name,) = chunk.rows.values
        reach = engine.pusher.reach[name]
        for index, places, rows in exact_rows(engine, chunk, rng):
            X, off = chunk.X[index], chunk.rows.values[name][index] - rows[name]
            assert (np.abs(X[:, :2] - places).max(axis=1) <= X[:, 2] + X[:, 4] + 8 * UNIT).all()
            size = np.linalg.norm(rows[name], axis=1)
            bound = chunk.rows.error[name][index] + reach * X[:, 2] + 4 * UNIT * size
            assert (np.linalg.norm(off, axis=1) <= bound).all()
            forms = chunk.forms
            unit = forms.row * (chunk.base[index, None] + forms.reach * X[:, 2:3]) + forms.offset
            assert (np.abs(off) <= unit + 4 * UNIT * size[:, None]).all()
            assert (size <= chunk.rows.norm[name][index] * (1 + 1e-6) + bound).all()
            seen += carried * len(index)
            worst = max(worst, float(np.abs(off).max()))
    assert seen > 50 or not force
    assert worst < 1e-12


def test_weights_of_new_vertices_are_bounded(monkeypatch):
    """Three corners of a large triangle: no point of the cell needs more than KAPPA."""
    _, _, weights = opened(random_net(5, (2, 30, 30, 2)), monkeypatch)
    assert np.abs(weights[:, :3]).sum(axis=1).max() < KAPPA
    assert np.abs(weights[:, :3].sum(axis=1) - 1).max() < 1e-14


@pytest.mark.big(sample=10)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("flaw", solid_nets.FLAWS)
def test_degenerate_networks_with_carried_rows(flaw, seed, always):
    check(flawed("relu", flaw, seed, 2))


@pytest.mark.parametrize("kind", ["leaky", "clip", "residual", "pairs"])
def test_what_cannot_be_carried_is_not(kind, always):
    check(flawed(kind, "none", 1, 2))


def test_answers_do_not_depend_on_how_rows_are_made(monkeypatch):
    net = random_net(11, (2, 32, 32, 32, 1))
    found = []
    for bends in (0, planar_engine.BENDS, 1e9):
        monkeypatch.setattr(planar_engine, "BENDS", bends)
        found.append(regions(net, BOX))
        check_plane(found[-1], 4.0)
        assert found[-1].decided == 0
        assert count_regions(net, BOX).count == found[-1].count
    for other in found[1:]:
        assert np.array_equal(found[0].codes, other.codes)
        assert np.abs(found[0].vertices - other.vertices).max() < 1e-12


def carried(Y, error, W, b, weights, *, tight=-1, residue=0.0, rounding=None, off=0.0):
    """Row, error and base that `carry` gives one new vertex between three corners; `off`: of the rows ahead."""
    n, h = W.shape[1], np.maximum(Y, 0.0)
    A = h @ W.T + b + off
    norms = np.linalg.norm
    row = np.concatenate([weights, np.zeros(3), [np.abs(weights).sum()], [residue]])[None]
    source, out = np.array([[0, 1, 2, tight, -1]]), (np.empty((1, len(W))), np.empty(1), np.empty(1), np.empty(1))
    ahead = (A, np.zeros(3), norms(A, axis=1), np.zeros(3), norms(h, axis=1))
    node = (np.ascontiguousarray(W.T), norms(W, 2), norms(np.abs(W), 2), norms(b))
    node += (4 * (n + 2) * UNIT if rounding is None else rounding,)
    carry(np.array([3]), 3, (Y, error, norms(Y, axis=1)), ahead, source, row, node, out)
    return out[0][0], float(out[1][0]), float(out[3][0])


@pytest.mark.parametrize("weights", [(0.5, 0.25, 0.25), (1.5, 1.5, -2.0)])
def test_what_corners_are_off_by_reaches_a_carried_row(weights):
    """The worst rows within the corners' errors: nothing that is left out of the bound would be missed."""
    rng, w = np.random.default_rng(0), np.array(weights)
    Y, W, b = rng.uniform(1, 2, (3, 6)), rng.normal(size=(5, 6)), rng.normal(size=5)
    Y[0] += 8.0  # no unit bends
    found, error, base = carried(Y, np.full(3, 1e-3), W, b, w)
    _, values, right = np.linalg.svd(W)
    exact = W @ (w @ (Y + 1e-3 * np.sign(w)[:, None] * right[0])) + b
    off = np.linalg.norm(exact - found)
    assert off == pytest.approx(1e-3 * np.abs(w).sum() * values[0], rel=1e-6)
    assert off <= error <= 1.001 * off
    f = int(np.argmax(np.linalg.norm(W, axis=1)))
    worst = np.abs(w).sum() * 1e-3 * np.linalg.norm(W[f])  # of form f, by rows along W[f]
    assert worst <= np.linalg.norm(W[f]) * base <= 1.001 * worst


def test_a_unit_set_to_zero_moves_a_carried_row_by_its_residue():
    Y, W, b = np.array([[3.0, 1.0], [-1.0, 1.0], [3.0, 2.0]]), np.diag([4.0, 1.0]), np.zeros(2)
    w, residue = np.array([0.25 + 2.0**-12, 0.75 - 2.0**-12, 0.0]), 2.0**-10
    found, error, base = carried(Y, np.zeros(3), W, b, w, tight=0, residue=residue)
    exact = W @ np.maximum(w @ Y, 0.0)
    assert found == pytest.approx([0.0, 1.0])
    assert exact[0] - found[0] == 4 * residue
    assert 4 * residue <= error <= 4.01 * residue
    assert residue <= base <= 1.01 * residue


def test_what_products_round_reaches_a_carried_row():
    """Rows ahead that are off by all that their products may round: a share of the sum of sizes."""
    rng, w = np.random.default_rng(2), np.array([1.5, 1.5, -2.0])
    Y, W = rng.uniform(1, 2, (3, 6)), rng.normal(size=(5, 6))
    off = 1e-6 * np.sign(w)[:, None] * (Y @ np.abs(W).T)
    found, error, base = carried(Y, np.zeros(3), W, np.zeros(5), w, rounding=1e-6, off=off)
    gap = np.abs(found - W @ (w @ Y))
    assert gap == pytest.approx(1e-6 * np.abs(W) @ (np.abs(w) @ Y))
    assert (gap <= np.linalg.norm(W, axis=1) * base).all()
    assert base <= 1.001e-6 * 5.0 * np.linalg.norm(Y, axis=1).max()
    assert np.linalg.norm(gap) <= error <= 1.5 * np.linalg.norm(gap)


def test_large_biases_round_in_carried_rows():
    """Rows are small, so nothing but the bias rounds; sums are those of fractions."""
    rng, w = np.random.default_rng(1), np.array([0.3, 0.3, 0.4])
    w[2] = 1.0 - w[0] - w[1]
    Y, W, b = 1e-9 * rng.uniform(1, 2, (3, 4)), rng.normal(size=(6, 4)), 1e6 * rng.normal(size=6)
    found, error, _ = carried(Y, np.zeros(3), W, b, w)
    h = [sum(Fraction(float(a)) * Fraction(float(y)) for a, y in zip(w, Y[:, j], strict=True)) for j in range(4)]
    off = [sum((Fraction(float(a)) * x for a, x in zip(W[f], h, strict=True)), Fraction(float(b[f])))
           - Fraction(float(found[f])) for f in range(6)]  # fmt: skip
    size = float(sum(v * v for v in off)) ** 0.5
    assert 1e-17 * np.linalg.norm(b) < size <= error
