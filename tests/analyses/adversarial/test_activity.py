"""What pairs share, by hand in NumPy; residual parts that do not cut; identical pairs."""

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.analyses.adversarial import shared_activity
from plica.errors import ArgumentError, ShapeError
from zoo import KINDS, build, random_net

rng = np.random.default_rng(0)


def test_by_hand():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    (A, a), (B, b), (C, c) = (
        (m.weight.detach().numpy(), m.bias.detach().numpy()) for m in module if hasattr(m, "bias")
    )
    X, others = rng.normal(size=(40, 4)), rng.normal(size=(40, 4))
    others[:20] = X[:20] + 0.05 * others[:20]
    found = shared_activity(plica.load(module, (4,)), X, others)
    for i, (x, v) in enumerate(zip(X, others, strict=True)):
        z, y = [A @ x + a], [A @ v + a]
        z.append(B @ np.maximum(z[0], 0) + b)
        y.append(B @ np.maximum(y[0], 0) + b)
        switched = [((p > 0) != (q > 0)) for p, q in zip(z, y, strict=True)]
        assert found.changed[i].tolist() == [s.mean() for s in switched]
        assert found.same[i].tolist() == [not switched[0].any(), not (switched[0].any() or switched[1].any())]
        assert found.same_layer[i].tolist() == [not s.any() for s in switched]
        for k in range(2):
            p, q = np.maximum(z[k], 0), np.maximum(y[k], 0)
            assert found.distance[i, k] == pytest.approx(np.linalg.norm(p - q) / (np.linalg.norm(p) or 1.0))
        later = C @ ((B @ np.maximum(y[0], 0) + b) * (z[1] > 0)) + c  # the second layer as the first input has it
        assert found.decided[i].tolist() == [int(later.argmax()), int((C @ np.maximum(y[1], 0) + c).argmax())]
        label = int((C @ np.maximum(z[1], 0) + c).argmax())
        assert found.label[i] == label and found.kept[i].tolist() == (found.decided[i] == label).tolist()
    assert found.target.tolist() == found.decided[:, 1].tolist()
    assert (found.depth == found.same.sum(1)).all() and found.same.any() and not found.same.all()


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_of_one_input(kind):
    net = build(random_net(kind, 5, degenerate=True)[0])
    X = rng.normal(size=(9, *net.input_shape))
    found = shared_activity(net, X, X)
    assert (found.changed == 0).all() and found.same.all() and (found.distance == 0).all()
    cuts = found.decided[0] >= 0
    assert found.kept[:, cuts].all() and cuts[-1] and (found.target == found.label).all()
    far = shared_activity(net, X, X + 3.0)
    assert (far.changed >= far.changed * far.same_layer).all() and (far.same <= far.same_layer).all()
    assert (far.decided[:, -1] == far.target).all()  # behind the last choice nothing is frozen
    assert "9 pairs" in far.summary() and far.plot().axes


def test_ties_and_dead_units():
    """At a tie the exact rule decides; a layer of zeros has distance 0."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        module[0].weight[:] = torch.eye(2)
        module[0].bias[:] = -5.0
    found = shared_activity(plica.load(module, (2,)), np.array([[1.0, 2.0]]), np.array([[3.0, -1.0]]))
    assert found.distance[0, 0] == 0 and found.same.all() and found.kept.all()


def test_budgets_and_bad_input():
    net = build(random_net("dense", 5, degenerate=False)[0])
    X = rng.normal(size=(4, *net.input_shape))
    stopped = shared_activity(net, X, X, progress=plica.Progress(max_seconds=0.0))
    assert stopped.completeness == "budget reached" and np.isnan(stopped.changed).all()
    assert "0 pairs" in stopped.summary()
    with pytest.raises(ShapeError, match="others"):
        shared_activity(net, X, X[:2])
    with pytest.raises(ArgumentError, match="NaN"):
        shared_activity(net, X, X * np.nan)
    with pytest.raises(ArgumentError, match="no choices"):
        shared_activity(plica.load(nn.Linear(2, 2), (2,)), np.zeros((1, 2)), np.zeros((1, 2)))
