"""Moments of degenerate units: duplicated, opposite, constant, exactly on a knot; of many scales at once."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

from plica.analyses.moments import choice_moments, relu_moments
from plica.core import choice
from plica.errors import ShapeError

FUNCTIONS = {
    "relu": choice.relu,
    "leaky": lambda shape: choice.leaky_relu(shape, 0.2),
    "abs": choice.absolute,
    "clip": lambda shape: choice.clip(shape, -0.5, 1.0),
}


def many_units(p: int = 150, rank: int = 40, seed: int = 3):
    """Duplicated, opposite, constant and ordinary units; more than one tile, and rank below p."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((p, rank)) * 10.0 ** rng.uniform(-3, 3, (p, 1))
    mean = rng.standard_normal(p) * np.linalg.norm(W, axis=1)
    W[5], mean[5] = W[4], mean[4]
    W[-3], mean[-3] = -2 * W[4], -2 * mean[4]
    W[9] = W[-1] = 0.0
    mean[-1] = 0.0
    return torch.from_numpy(mean), torch.from_numpy(W)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_covariance_matrix_is_positive_semidefinite_and_symmetric(name):
    mean, W = many_units()
    _, cov = choice_moments(mean, W @ W.T, FUNCTIONS[name]((len(mean),)))
    sd = cov.diagonal().sqrt()
    R = cov / torch.outer(sd, sd).clamp(min=1e-300)
    assert torch.equal(cov, cov.T)
    assert torch.linalg.eigvalsh(R)[0] > -1e-13
    assert not cov[9].any()
    assert not cov[-1].any()


def test_duplicates_are_equal_and_opposites_have_no_common_activity():
    mean, W = many_units()
    means, cov = relu_moments(mean, W @ W.T)
    assert cov[4, 5] == pytest.approx(float(cov[4, 4]), rel=1e-13)
    assert cov[4, -3] == pytest.approx(-float(means[4] * means[-3]), rel=1e-12)


def test_no_units_and_wrong_shapes():
    mean, cov = relu_moments(torch.zeros(0).double(), torch.zeros(0, 0).double())
    assert mean.shape == (0,)
    assert cov.shape == (0, 0)
    with pytest.raises(ShapeError, match="do not fit 3 units"):
        choice_moments(torch.zeros(3), torch.zeros(2, 2), choice.relu((3,)))


# --- gradients --------------------------------------------------------------------------------------------------


def weighted(mean, W, name, seed=7):
    """A number that reads every entry of both moments."""
    generator = torch.Generator().manual_seed(seed)
    p = len(mean)
    G, g = torch.randn(p, p, generator=generator).double(), torch.randn(p, generator=generator).double()
    m, c = choice_moments(mean, W @ W.T, FUNCTIONS[name]((p,)))
    return (c * G).sum() + (m * g).sum()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_against_central_differences(name):
    """Through mean and W with S = W W': covers duplicated and opposite units, and units exactly on a knot."""
    generator = torch.Generator().manual_seed(0)
    W, mean = torch.randn(6, 4, generator=generator).double(), torch.randn(6, generator=generator).double()
    W[3], W[4], mean[3], mean[4], mean[0] = W[2], -W[2], mean[2] + 0.3, 0.5, 0.0
    leaves = [mean.requires_grad_(), W.requires_grad_()]
    weighted(mean, W, name).backward()
    for leaf in leaves:
        differences, h = torch.zeros_like(leaf), 1e-5
        for place in np.ndindex(*leaf.shape):
            with torch.no_grad():
                old = leaf[place].item()
                leaf[place] = old + h
                up = weighted(mean, W, name)
                leaf[place] = old - h
                down = weighted(mean, W, name)
                leaf[place] = old
            differences[place] = (up - down) / (2 * h)
        assert torch.allclose(differences, leaf.grad, rtol=1e-6, atol=2e-8)


@pytest.mark.parametrize("r", [1.0, -1.0])
@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.5, 0.5), (0.5, -0.5), (-1.0, 2.0)])
def test_gradients_are_finite_at_correlation_one(a, b, r):
    mean = torch.tensor([a, b], dtype=torch.float64).requires_grad_()
    S = torch.tensor([[1.0, r], [r, 1.0]], dtype=torch.float64).requires_grad_()
    by_mean, by_S = torch.autograd.grad(relu_moments(mean, S)[1][0, 1], (mean, S))
    both = np.clip((a, b), -9, 9)  # P(X > 0, Y > 0) for Y = r X + ...
    normal = lambda x: float(mpmath.ncdf(x))  # noqa: E731
    joint = normal(min(both)) if r > 0 else max(0.0, normal(both[0]) - normal(-both[1]))
    assert torch.isfinite(by_mean).all()
    assert torch.isfinite(by_S).all()
    assert float(2 * by_S[0, 1]) == pytest.approx(joint, abs=1e-12)


def test_gradients_of_constant_units():
    """Variance 0: off the knot those of a line; on the knot half the jump by the mean, 0 by the variance."""
    mean = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64).requires_grad_()
    S = torch.zeros(3, 3).double().requires_grad_()
    m, c = relu_moments(mean, S)
    assert m.tolist() == [1.0, 0.0, 0.0]
    by_mean, by_S = torch.autograd.grad(m.sum() + c.sum(), (mean, S))
    assert by_mean.tolist() == [1.0, 0.0, 0.5]
    assert torch.isfinite(by_S).all()
    assert by_S[0, 0] == 1.0
    assert by_S[1, 1] == 0.0
