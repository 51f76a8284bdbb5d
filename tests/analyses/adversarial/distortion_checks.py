"""Small classifiers, and what every result of min_distortion promises, for the tests of the smallest perturbations."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import plica

NORMS = (2.0, math.inf, 1.0)
UNIT = plica.Box(0, 1)
QUICK = {"starts": 4, "steps": 25, "rounds": 2}


def linear(W, b):
    module = nn.Sequential(nn.Flatten(), nn.Linear(len(W[0]), len(W))).double()
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor(W))
        module[1].bias.copy_(torch.tensor(b))
    return module.eval()


def relu_net(seed, sizes=(3, 4, 3, 3)):
    torch.manual_seed(seed)
    parts = []
    for n, m in itertools.pairwise(sizes):
        parts += [nn.Linear(n, m), nn.ReLU()]
    module = nn.Sequential(*parts[:-1]).double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, dtype=p.dtype))
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in module if isinstance(m, nn.Linear)]
    return module, layers


def deep(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 20), nn.Sigmoid(), nn.Linear(20, 4)).eval()


def checked(result, model, X, box, *, exact=False):
    """What every result promises."""
    X = np.asarray(X)
    for i, status in enumerate(result.status):
        point = torch.as_tensor(result.x_adv[i : i + 1])
        if status in ("not found", "proven that there is none"):
            assert math.isinf(result.distance[i]) and np.isnan(result.x_adv[i]).all() and result.target[i] == -1
            continue
        answer = int(model(point).argmax(1))
        assert answer == result.target[i]
        step = (result.x_adv[i].astype(float) - X[i].astype(result.x_adv.dtype)).ravel()
        sizes = [np.linalg.norm(step, k) for k in (2, np.inf)]
        np.testing.assert_allclose([result.l2[i], result.linf[i]], sizes, rtol=1e-12)
        assert result.rms[i] == pytest.approx(sizes[0] / math.sqrt(step.size))
        assert result.distance[i] == pytest.approx(np.linalg.norm(step, result.norm), rel=1e-12)
        if box is not None:
            assert result.x_adv[i].min() >= box.lower.min() and result.x_adv[i].max() <= box.upper.max()
        if status == "found":
            assert answer != result.label[i]
        else:
            assert result.distance[i] == 0
    assert (result.lower_bound <= result.distance).all()
    if not exact:
        assert not result.proven.any() and (result.lower_bound == 0).all() and result.standing == "estimate"
