"""The zoo's stated answers hold, in the oracle's exact arithmetic and in plica's forward pass."""

import numpy as np
import pytest

import zoo
from oracles import networks as oracle

NAMES = [known.name for known in zoo.KNOWN]


@pytest.mark.parametrize("known", zoo.KNOWN, ids=NAMES)
def test_stated_answers(known):
    zoo.check_known(known)
    X = np.array([x for x, _ in known.answers], dtype=float)
    assert np.array_equal(known.net(X).flatten(1).numpy(), np.array([y for _, y in known.answers], dtype=float))


def test_at_least_half_are_degenerate():
    assert 2 * sum(known.degenerate for known in zoo.KNOWN) >= len(zoo.KNOWN)


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_random_nets_agree_with_the_oracle(kind, seed):
    data, draw = zoo.random_net(kind, seed, degenerate=seed % 2 == 1, scales=seed % 3 == 2)
    net = zoo.build(data)
    X = np.stack([draw.point(int(np.prod(net.input_shape))) for _ in range(4)])
    values = net.values(X)
    for row, x in enumerate(X):
        exact, _, shapes = oracle.run(data, x)
        for name, value in exact.items():
            got = values[name][row]
            assert tuple(got.shape) == tuple(shapes[name]) == net.shape_of(name)
            scale = max([abs(float(v)) for v in value] + [1e-300])
            assert np.allclose(got.flatten().numpy(), [float(v) for v in value], rtol=1e-9, atol=1e-7 * scale)
