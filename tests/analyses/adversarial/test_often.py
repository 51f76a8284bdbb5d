"""Error rates against the volume of a cap and of half a cube; proofs of none; intervals; budgets."""

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

import plica
from plica.analyses.adversarial import error_rate
from plica.analyses.adversarial.often import directions
from plica.errors import ArgumentError, DataError
from zoo import KINDS, build, random_net


def plane(w, margin):
    """Two classes on the two sides of w.x = margin; class 0 holds 0."""
    module = nn.Linear(len(w), 2).double()
    with torch.no_grad():
        module.weight[:] = torch.stack([torch.zeros(len(w)), torch.tensor(w)]).double()
        module.bias[:] = torch.tensor([0.0, -margin])
    return module.eval()


@pytest.mark.parametrize("d", [1, 2, 5, 40])
def test_the_share_of_a_cap(d):
    """A half-space at distance t cuts I_(1 - t^2)((d + 1) / 2, 1 / 2) / 2 off the unit ball."""
    w = np.zeros(d)
    w[-1] = 2.0
    net = plica.load(plane(w.tolist(), 0.5), (d,))
    found = error_rate(net, np.zeros((1, d)), radii=[0.2, 1.0, 2.0], samples=20000)
    for k, radius in enumerate(found.radii):
        cut = 0.25 / radius
        share = 0.0 if cut >= 1 else 0.5 * special.betainc((d + 1) / 2, 0.5, 1 - cut**2)
        assert abs(found.rate[0, k] - share) <= 5 * math.sqrt(max(share, 1e-9) / 20000)
        assert found.low[0, k] <= share * (1 + 0.03) and found.high[0, k] >= share * (1 - 0.03)
    assert found.none.tolist() == [[True, False, False]] and found.high[0, 0] == 0


def test_cubes_and_boxes():
    net = plica.load(plane([1.0, 1.0], 1.0), (2,))
    free = error_rate(net, np.zeros((1, 2)), radii=[1.0], norm=math.inf, samples=20000)
    assert abs(free.rate[0, 0] - 1 / 8) < 0.012  # the triangle x + y > 1 in a square of area 4
    kept = error_rate(net, np.zeros((1, 2)), radii=[1.0], norm=math.inf, samples=20000, box=plica.Box(-1, 0.4))
    assert kept.rate[0, 0] == 0 and kept.none.all()  # the box holds no such point, proven
    moved = error_rate(net, np.zeros((1, 2)), radii=[1.0], norm=math.inf, samples=20000, box=plica.Box(-1, 0.75))
    assert abs(moved.rate[0, 0] - _clipped()) < 0.015


SHARES = {  # of the coordinate above t: in the unit ball, and on its surface
    1.0: (lambda t, d: (1 - t) ** d / 2, lambda t, d: (1 - t) ** (d - 1) / 2),
    2.0: (
        lambda t, d: special.betainc((d + 1) / 2, 0.5, 1 - t**2) / 2,
        lambda t, d: special.betainc((d - 1) / 2, 0.5, 1 - t**2) / 2,
    ),
    math.inf: (lambda t, d: (1 - t) / 2, lambda t, d: 1 / (2 * d) + (1 - 1 / d) * (1 - t) / 2),
}


@pytest.mark.parametrize("norm", SHARES)
@pytest.mark.parametrize("sphere", [False, True])
@pytest.mark.parametrize("d", [2, 3, 9])
def test_balls_and_spheres_of_every_norm(norm, sphere, d):
    w = np.zeros(d)
    w[d // 2] = -1.0
    net = plica.load(plane(w.tolist(), 0.25), (d,))
    found = error_rate(net, np.zeros((1, d)), radii=[0.2, 1.0, 2.5], norm=norm, sphere=sphere, samples=20000)
    for k, radius in enumerate(found.radii[1:], 1):
        share = SHARES[norm][sphere](0.25 / radius, d)
        assert abs(found.rate[0, k] - share) <= 5 * math.sqrt(share / 20000)
    assert found.none.tolist() == [[True, False, False]] and found.sphere is sphere
    assert ("on each sphere" in found.summary()) is sphere
    steps = directions(500, d, norm, torch.Generator().manual_seed(1), sphere=sphere)
    size = torch.linalg.vector_norm(steps, ord=norm, dim=1)
    assert (size <= 1 + 1e-12).all() and bool((size > 1 - 1e-12).all()) is sphere


def _clipped():
    """Share of the square moved into the box whose sum is above 1: uniform, min(v, 0.75)."""
    v = np.minimum(np.linspace(-1, 1, 4001), 0.75)
    return float((v[:, None] + v[None] > 1).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_where_none_is_proven(kind):
    net = build(random_net(kind, 3, degenerate=True)[0])
    X = np.random.default_rng(0).normal(size=(5, *net.input_shape))
    first = error_rate(net, X, radii=[1e-3, 0.05, 0.5], samples=300)
    again = error_rate(net.to_torch().double().eval(), X, radii=first.radii, samples=300)  # without proofs
    assert not again.none.any() and (again.rate[first.none] == 0).all()
    drawn = ~first.none
    assert (first.rate[drawn] == again.rate[drawn]).all()
    assert (first.none == ((first.radii <= first.certified[:, None]) & (first.certified[:, None] > 0))).all()


def test_numbers_belong_together():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.Sigmoid(), nn.Linear(8, 3)).double().eval()
    X = np.random.default_rng(1).normal(size=(6, 3))
    found = error_rate(module, X, radii=[2.0, 20.0], samples=400, seed=4)
    np.testing.assert_allclose(found.mean, found.rate.mean(0))
    np.testing.assert_allclose(found.mean_error, found.rate.std(0, ddof=1) / math.sqrt(6))
    np.testing.assert_allclose(found.standard_error, np.sqrt(found.rate * (1 - found.rate) / 400))
    assert (found.low <= found.rate).all() and (found.rate <= found.high).all() and (found.high > 0).all()
    assert (error_rate(module, X, radii=[2.0, 20.0], samples=400, seed=4).rate == found.rate).all()
    assert (error_rate(module, X, radii=[2.0, 20.0], samples=400, seed=5).rate != found.rate).any()
    wrong = error_rate(module, X, (found.label + 1) % 3, radii=[0.0], samples=2)
    assert (wrong.rate == 1).all()
    assert "error probability" in found.summary() and found.plot().axes


def test_budgets_leave_nan():
    net = plica.load(plane([1.0, 1.0], 1.0), (2,))
    stopped = error_rate(net, np.zeros((2, 2)), radii=[1.0], progress=plica.Progress(max_seconds=1e-9))
    assert stopped.completeness == "budget reached" and np.isnan(stopped.rate).all()
    assert "not reached" in stopped.summary()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"radii": []}, "radii"),
        ({"radii": [-1.0]}, "radii"),
        ({"radii": [math.nan]}, "radii"),
        ({"norm": 3.0}, "norm"),
        ({"samples": 0}, "samples"),
        ({"sampels": 5}, "sampels is not an argument"),
    ],
)
def test_bad_input(change, words):
    net = plica.load(plane([1.0, 1.0], 1.0), (2,))
    with pytest.raises(ArgumentError, match=words):
        error_rate(net, np.zeros((1, 2)), **{"radii": [1.0], **change})
    with pytest.raises(DataError, match="outside the box"):
        error_rate(net, np.zeros((1, 2)), radii=[1.0], box=plica.Box(2, 3))
