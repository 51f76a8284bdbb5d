"""Kernels with twice the digits of a float against fractions, and what they decide against integers."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from numba import njit

import plica
from plica.analyses.regions import planar_fine as fine
from plica.analyses.regions import planar_fine_tier
from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_fine_maps import FineMaps
from plica.analyses.regions.planar_state import Window
from plica.core.affine import Dense
from plica.core.choice import relu
from plica.core.domain import Box
from plica.core.network import Graph
from plica.core.progress import Progress

F = Fraction


def exact(line):
    return [F(line[2 * q]) + F(line[2 * q + 1]) for q in range(3)]


def at(line, x, y):
    c, a, b = exact(line)
    return c + a * x + b * y


def lines(rng, n, spread=30):
    """Random lines with low parts; magnitudes differ widely."""
    out = np.zeros((n, 7))
    out[:, :6:2] = rng.normal(size=(n, 3)) * 2.0 ** rng.uniform(-spread, spread, size=(n, 1))
    out[:, 1:6:2] = out[:, :6:2] * rng.uniform(-1, 1, size=(n, 3)) * 2.0**-54
    return out


def test_fused_multiply_add_rounds_once():
    a, b = 1.0 + 2.0**-30, 1.0 - 2.0**-30
    assert _fma(a, b, -1.0) == -(2.0**-60)


def _fma(a, b, c):
    return njit(lambda x, y, z: fine.fma(x, y, z))(a, b, c)


@pytest.mark.parametrize("seed", range(5))
def test_values_are_within_their_bounds(seed):
    rng = np.random.default_rng(seed)
    for line in lines(rng, 40):
        point = np.array([rng.normal(), 0, rng.normal(), 0, 0.0])
        point[1::2][:2] = point[::2][:2] * 2.0**-55
        high, low, size = fine.value_at(line, point)
        true = at(line, F(point[0]) + F(point[1]), F(point[2]) + F(point[3]))
        assert abs(F(high) + F(low) - true) <= F(fine.FINE * size)


@pytest.mark.parametrize("seed", range(5))
def test_points_are_within_their_distance_and_near(seed):
    rng = np.random.default_rng(seed)
    told = 0
    for a, b in itertools.pairwise(lines(rng, 40)):
        point = np.empty(5)
        if not fine.meet(a, b, point):
            continue
        (c, p, q), (d, r, s) = exact(a), exact(b)
        det = p * s - q * r
        x, y = (q * d - c * s) / det, (c * r - p * d) / det
        off = max(abs(F(point[0]) + F(point[1]) - x), abs(F(point[2]) + F(point[3]) - y))
        assert off <= F(point[4])
        assert point[4] <= 1e-24 * (1 + abs(point[0]) + abs(point[2])) * 1e3
        told += 1
    assert told > 30


def test_lines_that_do_not_cross_are_left_open():
    a = np.array([1.0, 0, 1, 0, 2, 0, 0])
    b = np.array([3.0, 0, 2, 0, 4, 0, 0])
    assert not fine.meet(a, b, np.empty(5))


def test_signs_near_zero_are_not_told():
    line = np.array([0.0, 0, 1, 0, 1, 0, 1e-25])
    assert fine.sign_at(line, np.array([1.0, 0, -1, 0, 0])) == 0
    assert fine.sign_at(line, np.array([1.0, 0, -1, 1e-20, 0])) == 1
    assert fine.sign_at(line, np.array([1.0, 0, -1, -1e-20, 1e-30])) == -1
    assert fine.sign_at(line, np.array([1.0, 0, -1, 1e-20, 1e-19])) == 0


def test_differences_and_quotients():
    rng = np.random.default_rng(0)
    for a, b in itertools.pairwise(lines(rng, 30, 3)):
        out = np.empty(7)
        fine.difference(a, b, out)
        assert max(abs(u - v + w) for u, v, w in zip(exact(out), exact(a), exact(b), strict=True)) <= F(out[6])
    H, L = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)) * 2.0**-55
    true = [[(F(h) + F(w)) / 3 for h, w in zip(p, q, strict=True)] for p, q in zip(H, L, strict=True)]
    fine.divide_by(np.full(4, 3.0), H, L)
    for i, q in itertools.product(range(4), range(3)):
        assert abs(F(H[i, q]) + F(L[i, q]) - true[i][q]) <= 8 * F(2) ** -106 * abs(true[i][q])


# --- maps of cells ----------------------------------------------------------------------------------------------


def deep(width, depth, seed=7):
    """Float32 weights as drawn by numpy, all matrices before all biases."""
    rng, sizes = np.random.default_rng(seed), [2] + [width] * depth
    W = [(rng.standard_normal((n, m)) * np.sqrt(2 / m)).astype(np.float32) for m, n in itertools.pairwise(sizes)]
    b = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in sizes[1:]]
    graph, last = Graph((2,)), "input"
    for i, (A, c) in enumerate(zip(W, b, strict=True)):
        last = graph.add(
            f"d{i}", Dense(torch.tensor(A.astype(float)), torch.tensor(c.astype(float)), (A.shape[1],)), last
        )
        last = graph.add(f"r{i}", relu((len(A),)), last)
    return graph.network()


@pytest.mark.parametrize("width", [4, 16])
def test_maps_are_within_their_error_of_the_exact_ones(width):
    """For any pattern, whether it has a cell or not."""
    engine, rng = _engine(deep(width, 6)), np.random.default_rng(0)
    maps: FineMaps = engine._settle().fine.maps
    last = len(engine.plan) - 1
    for words in rng.integers(0, 1 << 63, size=(12, last + 1)).astype(np.uint64) & np.uint64((1 << width) - 1):
        branches = engine.exact.branches(words, last)
        name = engine.plan[last].node.inputs[0]
        true = engine.exact.maps.values(last, branches)[name]
        own = maps.values(last, words)[name]
        for q in range(3):
            gap = sum((F(h) + F(w) - F(int(n)) * true.scale) ** 2
                      for h, w, n in zip(own.H[:, q], own.L[:, q], true.numerator[:, q], strict=True))  # fmt: skip
            assert gap <= F(own.error[q]) ** 2
            assert own.error[q] < 1e-24


def _engine(net):
    lines = [(0, 1, 1), (-1, 0, 1), (0, -1, 1), (1, 0, 1)]
    return Engine(net, Window(lines, [(-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)]), Progress())


def test_deep_networks_need_no_integers(monkeypatch):
    """Where bounds of floats outgrow the forms: with more digits all is told, and told as integers tell it."""
    net, box = deep(64, 12), Box([-0.01, -0.01], [0.01, 0.01])
    told = plica.count_regions(net, box)
    assert told.decided == 0
    monkeypatch.setattr(planar_fine_tier.FineTier, "split", lambda *_, **__: None)
    monkeypatch.setattr(planar_fine_tier.FineTier, "signs", lambda *_, **__: None)
    slow = plica.count_regions(net, box)
    assert slow.decided > 0
    assert slow.per_layer == told.per_layer
