"""Nearest points of a half-space in a box, against enumeration and linear programs."""

import math

import numpy as np
import pytest
import torch

from oracles import halfspaces as oracle
from plica.analyses.adversarial import dive, project
from plica.analyses.adversarial.problem import Problem
from plica.analyses.adversarial.project import Pace, length, nearest, stride
from plica.core.progress import Progress

NORMS = (2.0, math.inf, 1.0)


def draw(rng, n, count):
    """Problems with zero coefficients, points on faces, fixed and unbounded variables, and infeasible ones."""
    lower, upper = -rng.random(n), rng.random(n)
    kind = rng.integers(4, size=n)
    lower, upper = np.where(kind == 1, -np.inf, lower), np.where(kind == 2, np.inf, upper)
    upper = np.where(kind == 3, np.maximum(lower, -9), upper) if rng.random() < 0.3 else upper
    low, high = np.where(np.isinf(lower), -2, lower), np.where(np.isinf(upper), 2, upper)
    x = low + (high - low) * np.clip(rng.normal(0.5, 0.5, (count, n)), 0, 1)
    a = rng.normal(size=(count, n)) * (rng.random((count, n)) < 0.8)
    if rng.random() < 0.3:
        a = np.round(a)
    b = (a * x).sum(1) + rng.normal(0.5, 1.0, count)
    return x, a, b, lower, upper


@pytest.mark.big(sample=12)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("case", range(60))
def test_distances_are_the_oracles(case, norm):
    rng = np.random.default_rng(case)
    n = int(rng.integers(1, 5))
    x, a, b, lower, upper = draw(rng, n, 6)
    box = (torch.from_numpy(lower), torch.from_numpy(upper))
    v, reached = nearest(*(torch.from_numpy(t) for t in (x, a, b)), box, norm)
    sizes = length(v - torch.from_numpy(x), norm)
    for i in range(len(x)):
        expected = oracle.distance(x[i], a[i], b[i], lower, upper, norm)
        assert bool(reached[i]) == math.isfinite(expected), i
        assert (v[i] >= box[0]).all() and (v[i] <= box[1]).all()
        if math.isfinite(expected):
            assert float(sizes[i]) == pytest.approx(expected, abs=1e-7, rel=1e-7), i
            assert float((v[i] * torch.from_numpy(a[i])).sum()) >= b[i] - 1e-7 * (1 + abs(b[i]))


@pytest.mark.parametrize("norm", NORMS)
def test_a_point_inside_stays(norm):
    x = torch.tensor([[0.2, 0.3]], dtype=torch.float64)
    a, b = torch.tensor([[1.0, 1.0]], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    v, reached = nearest(x, a, b, (torch.zeros(2).double(), torch.ones(2).double()), norm)
    assert torch.equal(v, x) and bool(reached.all())


@pytest.mark.parametrize("norm", NORMS)
def test_single_precision_and_many_variables(norm):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((20, 784), generator=generator)
    a = torch.randn((20, 784), generator=generator)
    b = (a * x).sum(1) + 3.0
    box = (torch.zeros(784), torch.ones(784))
    v, reached = nearest(x, a, b, box, norm)
    exact, _ = nearest(x.double(), a.double(), b.double(), (box[0].double(), box[1].double()), norm)
    assert bool(reached.all())
    torch.testing.assert_close(v.double(), exact, atol=2e-4, rtol=0)
    assert ((v * a).sum(1) >= b - 1e-3).all()


def test_nothing_to_gain():
    x, zero = torch.zeros((1, 3)).double(), torch.zeros((1, 3)).double()
    whole = (torch.full((3,), -math.inf).double(), torch.full((3,), math.inf).double())
    for norm in NORMS:
        v, reached = nearest(x, zero, torch.ones(1).double(), whole, norm)
        assert torch.equal(v, x) and not bool(reached.any())


@pytest.mark.parametrize("norm", [2.0, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", range(4))
def test_compiled_steps_are_those_of_the_tensors(case, dtype, norm, monkeypatch):
    rng = np.random.default_rng(case)
    x, slope, _, lower, upper = draw(rng, 7, 9)
    to, radius = x + rng.normal(size=x.shape), rng.random(9)
    x, slope, to, lower, upper, margin, far, radius = (
        torch.from_numpy(a).to(dtype) for a in (x, slope, to, lower, upper, rng.normal(size=9), rng.random(9), radius)
    )
    box = lower, upper
    pace = Pace(1.0 + 0.02 * case, torch.full_like(far, math.inf) if case % 2 else far, 1 / (1 + 0.1 * case))
    slope[1] = math.nan
    problem = Problem(None, x, torch.zeros(9), (7,), box, Progress())
    found = []
    for _ in range(2):
        walked = stride(x, to, margin, slope, pace, box=box, norm=norm)
        found.append((*walked, *dive._slid(problem, x, to, slope.nan_to_num(), far, radius, norm=norm)))
        for module in (project, dive):
            monkeypatch.setattr(module, "compiled", lambda *_: False)
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5, equal_nan=True)
    moved, size = found[0][:2]
    assert torch.equal(moved[1], to[1]) and math.isnan(float(size[1])) and torch.isfinite(size).sum() == 8
