"""Fewer units than directions of noise: rates come from transposes, and give what the way forward gives."""

import numpy as np
import pytest
import torch
from torch import nn

from plica.analyses.moments import LowRank, moments
from plica.analyses.moments.uses import batch_moments
from plica.analyses.moments.uses.stage import stage
from plica.core.progress import Progress
from plica.errors import MemoryBudgetError
from plica.loaders import load

RNG = np.random.default_rng(5)
SQUARE = RNG.standard_normal((18, 18))
FORMS = {
    "number": 0.3,
    "a variance each, some of them 0": np.where(RNG.random(18) < 0.4, 0.0, RNG.random(18)),
    "matrix": SQUARE @ SQUARE.T,
    "low rank": LowRank(RNG.standard_normal((18, 9))),
}


class Skip(nn.Module):
    """A convolution of few outputs beside a linear path: the units read the input in one way, the output in two."""

    def __init__(self):
        super().__init__()
        self.conv, self.out, self.straight = nn.Conv2d(2, 1, 2), nn.Linear(4, 3), nn.Linear(18, 3)

    def forward(self, x):
        return self.out(torch.relu(self.conv(x)).flatten(1)) + self.straight(x.flatten(1))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return load(Skip(), (2, 3, 3))


@pytest.mark.parametrize("form", FORMS)
def test_batches_equal_moments_where_units_are_few(net, form):
    X = RNG.standard_normal((2, 2, 3, 3))
    found = batch_moments(net, X, FORMS[form])
    for x, mean, variance in zip(X, found.mean, found.variance, strict=True):
        wanted = moments(net, x, FORMS[form])  # goes forward through the network
        np.testing.assert_allclose(mean, wanted.mean, rtol=1e-12)
        np.testing.assert_allclose(variance, wanted.covariance.diagonal(), rtol=1e-11)


def test_squared_rates_are_squared_weights():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(9, 2), nn.ReLU(), nn.Linear(2, 2))
    part = stage(load(module, (9,)), torch.zeros(9, dtype=torch.float64))
    wanted = module[0].weight.detach().double().T ** 2
    np.testing.assert_allclose(part.squared_rates(Progress()), wanted, rtol=1e-12)
    with pytest.raises(MemoryBudgetError):
        part.squared_rates(Progress(max_bytes=100))
