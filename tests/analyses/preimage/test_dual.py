"""Generators of a layer's preimage against its inequalities: square, wide, tall, dependent rows, convolutions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls
from typer.testing import CliRunner

from oracles.layers import conv
from plica import dual_cone
from plica.cli.app import app
from plica.errors import DataError, ShapeError

SHAPES = {"square": (4, 4), "wide": (3, 5), "tall": (6, 3), "twice": (6, 4)}


def drawn(kind, seed):
    rng = np.random.default_rng(seed)
    m, n = SHAPES[kind]
    W = rng.integers(-3, 4, (m, n)).astype(float) if seed % 2 else rng.normal(size=(m, n))
    if kind == "twice":
        W[3:] = W[:3] * rng.choice([1.0, -1.0, 2.0], (3, 1))
    b = rng.normal(size=m) if seed % 3 else np.zeros(m)
    x = np.zeros(n) if seed % 7 == 6 else rng.normal(size=n)
    return W, b, x, rng


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("seed", range(20))
def test_generators_are_the_inequalities(kind, seed):
    W, b, x, rng = drawn(kind, seed)
    found = dual_cone(W, x, b)
    y = np.maximum(W @ x + b, 0)
    assert found.listed and found.rank == np.linalg.matrix_rank(W)
    assert np.abs(W @ found.lines.T).max(initial=0) < 1e-9
    for _ in range(20):  # every combination of the generators has the activity
        weights = rng.dirichlet(np.ones(len(found.vertices)))
        u = weights @ found.vertices + rng.exponential(size=len(found.rays)) @ found.rays
        u = u + rng.normal(size=len(found.lines)) @ found.lines
        assert np.abs(np.maximum(W @ u + b, 0) - y).max() < 1e-8 * (1 + np.abs(u).max())
    on = W @ x + b > 0
    kernel = np.eye(len(x)) - np.linalg.pinv(W[on]) @ W[on] if on.any() else np.eye(len(x))
    for _ in range(40):  # every point with the activity is a combination
        u = x + kernel @ rng.normal(size=len(x)) * rng.choice([0.01, 0.3, 3.0])
        if ((W @ u + b)[~on] > 0).any():
            continue
        k = len(found.vertices)
        columns = np.column_stack([found.vertices.T, found.rays.T, found.lines.T, -found.lines.T])
        system = np.vstack([columns, np.append(np.ones(k), np.zeros(columns.shape[1] - k))])
        assert nnls(system, np.append(u, 1.0))[1] < 1e-7


@pytest.mark.parametrize("kind", ["square", "wide"])
def test_dual_basis(kind):
    W, b, x, _ = drawn(kind, 4)
    found = dual_cone(W, x, b)
    assert np.abs(W @ found.dual.T - np.eye(len(W))).max() < 1e-12
    assert found.rays == pytest.approx(-found.dual[~found.on])


def test_a_unit_exactly_at_its_knot_is_off():
    W = np.array([[0.1, 0.2], [1.0, 0.0]])
    assert dual_cone(W, [2.0, -1.0]).on.tolist() == [(0.1 * 2 - 0.2) > 0, True]
    assert dual_cone(np.eye(2), [0.0, 1.0]).on.tolist() == [False, True]


def test_convolution_and_too_many_units():
    op = conv([[[[1.0, -1.0]]]], [0.0], (1, 1, 4))
    W = op.entries()[0].toarray()
    found = dual_cone(W, [1.0, 1.0, 1.0, 1.0])
    assert found.lines == pytest.approx(np.full((1, 4), 0.5) * np.sign(found.lines[0, 0])) and len(found.rays) == 3
    many = dual_cone(np.random.default_rng(0).normal(size=(30, 3)), np.zeros(3))
    assert not many.listed and str(many.completeness) == "budget reached"


def test_bad_input():
    for arguments, error in (
        ((np.eye(2), [1.0]), ShapeError),
        ((np.eye(2), [1.0, 2.0], [0.0]), ShapeError),
        ((np.eye(2), [np.nan, 1.0]), DataError),
        (([1.0, 2.0], [1.0, 2.0]), ShapeError),
    ):
        with pytest.raises(error):
            dual_cone(*arguments)


def test_command(tmp_path):
    np.save(tmp_path / "W.npy", np.eye(2))
    np.save(tmp_path / "x.npy", np.array([1.0, -1.0]))
    done = CliRunner().invoke(app, ["dual-cone", str(tmp_path / "W.npy"), "--x", str(tmp_path / "x.npy")])
    assert done.exit_code == 0 and "1 of 2 units on, rank 2; dual basis" in done.stdout, done.output
