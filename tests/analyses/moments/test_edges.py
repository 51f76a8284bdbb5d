"""Where the rules change hands: every rule has converged, and the closed form takes over next to |r| = 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oracles import gaussian as oracle
from plica.analyses.moments import relu_moments, tiles

RULES = tiles.NODES[np.dtype(np.float64)]
NEAR_ONE = [
    (0.3, 0.3 + 1e-4, 1 - 1e-8),
    (0.3, 0.3, 1 - 1e-8),
    (-1.0, -1.0 - 3e-5, 1 - 1.9e-8),
    (0.0, 0.0, 1 - 1e-12),
    (0.5, 0.5 + 1e-6, 1 - 1e-12),
]


def pairs_between(lower: float, upper: float, count: int = 512) -> tuple[np.ndarray, ...]:
    """Thresholds and correlations of one rule, half of them at its end, many with thresholds next to each other."""
    draw = np.random.default_rng(int(1e6 * upper))
    gap = np.log((1 - lower) / (1 - upper)) * draw.random(count) * (np.arange(count) < count // 2)
    a = draw.normal(0, 1.5, count)
    near = a + draw.choice([0.0, 1e-4, 1e-3, 1e-2, 0.1, 0.5], count) * draw.normal(size=count)
    return a, np.where(draw.random(count) < 0.6, near, draw.normal(0, 2, count)), 1 - (1 - upper) * np.exp(gap)


def covariances(a: np.ndarray, b: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Of many pairs at once: unit i is correlated with unit i + n only."""
    n = len(a)
    S, i = torch.eye(2 * n, dtype=torch.float64), torch.arange(n)
    S[i, n + i] = S[n + i, i] = torch.from_numpy(r)
    return relu_moments(torch.from_numpy(np.concatenate([a, b])), S)[1][i, n + i].numpy()


@pytest.mark.parametrize("rule", range(len(RULES)))
def test_every_rule_has_converged(rule, monkeypatch):
    """Three times the nodes change nothing above 3e-14, and a third fewer would."""
    pairs = pairs_between(([0.0] + [limit for limit, _ in RULES])[rule], RULES[rule][0])
    answers = {}
    for name, change in {"as is": lambda n: n, "more": lambda n: 3 * n + 20, "fewer": lambda n: 2 * n // 3}.items():
        monkeypatch.setitem(tiles.NODES, np.dtype(np.float64), tuple((limit, change(n)) for limit, n in RULES))
        tiles.rules.cache_clear()
        answers[name] = covariances(*pairs)
    monkeypatch.undo()
    tiles.rules.cache_clear()
    assert np.abs(answers["as is"] - answers["more"]).max() < 3e-14
    assert np.abs(answers["fewer"] - answers["more"]).max() > 1e-13


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("case", NEAR_ONE)
def test_next_to_correlation_one(case, sign):
    a, b, r = case[0], sign * case[1], sign * case[2]
    mean = torch.tensor([a, b], dtype=torch.float64, requires_grad=True)
    S = torch.tensor([[1.0, r], [r, 1.0]], dtype=torch.float64, requires_grad=True)
    value = relu_moments(mean, S)[1][0, 1]
    by_mean, by_S = torch.autograd.grad(value, (mean, S))
    assert abs(oracle.relu_covariance(a, b, r) - float(value)) < 2e-14
    exact = oracle.relu_derivatives(a, b, r)
    for wanted, found in zip(exact, (by_mean[0], by_mean[1], 2 * by_S[0, 1]), strict=True):
        assert abs(wanted - float(found)) < 1e-11
