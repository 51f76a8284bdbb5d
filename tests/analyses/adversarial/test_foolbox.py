"""Called as an attack of foolbox: with a stand-in for its model, and with foolbox where it is installed."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from plica.analyses.adversarial.foolbox import FoolboxAttack
from plica.errors import ArgumentError

X = torch.tensor([[0.9, 0.1], [0.2, 0.6], [0.5, 0.4]])
Y = torch.tensor([0, 1, 0])


class Model:
    """The class of the larger entry."""

    def __init__(self):
        self._model = nn.Linear(2, 2).eval()
        with torch.no_grad():
            self._model.weight.copy_(torch.eye(2))
            self._model.bias.zero_()
        self.bounds = (0.0, 1.0)

    def __call__(self, x):
        return self._model(x)


@pytest.mark.parametrize("norm", [2.0, math.inf, 1.0])
def test_one_epsilon_or_several(norm):
    attack = FoolboxAttack(norm, {"method": "fast"})
    raw, clipped, won = attack(Model(), X, Y, epsilons=None)
    size = torch.linalg.vector_norm(raw - X, ord=norm, dim=1)
    gaps = torch.tensor([0.8, 0.4, 0.1]) / {2.0: math.sqrt(2), math.inf: 2.0, 1.0: 1.0}[norm]
    torch.testing.assert_close(size, gaps, rtol=1e-4, atol=1e-5)
    assert won.all() and torch.equal(raw, clipped) and raw.dtype == X.dtype
    raws, cut, each = attack(Model(), X, Y, epsilons=[0.0, float(gaps[1]) * 1.01, 9.0])
    assert len(raws) == len(cut) == 3 and each.tolist() == [[False] * 3, [False, True, True], [True] * 3]
    assert torch.linalg.vector_norm(cut[1] - X, ord=norm, dim=1).max() <= gaps[1] * 1.0101
    torch.testing.assert_close(cut[2], raws[2])


def test_criteria():
    attack = FoolboxAttack(options={"method": "fast"})
    _, _, won = attack(Model(), X, SimpleNamespace(labels=SimpleNamespace(raw=Y)), epsilons=None)
    assert won.all()
    raw, _, won = attack(Model(), X, SimpleNamespace(target_classes=torch.tensor([0, 0, 1])), epsilons=None)
    assert won.all() and torch.equal(raw[0], X[0]) and not torch.equal(raw[1], X[1])
    with pytest.raises(ArgumentError, match="Misclassification"):
        attack(Model(), X, "labels", epsilons=None)
    training = Model()
    training._model.train()
    with pytest.raises(ArgumentError, match="training mode"):
        attack(training, X, Y, epsilons=None)


def test_nothing_found_is_not_adversarial():
    model = Model()
    with torch.no_grad():
        model._model.weight.zero_()
        model._model.bias.copy_(torch.tensor([1.0, 0.0]))
    raw, _, won = FoolboxAttack(options={"method": "fast"})(model, X, torch.zeros(3, dtype=torch.long), epsilons=None)
    assert not won.any() and torch.equal(raw, X)


def test_beside_foolbox():
    foolbox = pytest.importorskip("foolbox")
    fmodel = foolbox.PyTorchModel(Model()._model, bounds=(0, 1))
    for criterion in (Y, foolbox.criteria.Misclassification(Y), foolbox.criteria.TargetedMisclassification(1 - Y)):
        ours = FoolboxAttack()(fmodel, X, criterion, epsilons=[0.3, None])
        theirs = foolbox.attacks.DDNAttack()(fmodel, X, criterion, epsilons=[0.3, None])
        assert [len(v) for v in ours] == [len(v) for v in theirs]
        assert torch.equal(ours[2], theirs[2])
        assert ((ours[0][1] - X).norm(dim=1) <= (theirs[0][1] - X).norm(dim=1) * 1.0001 + 1e-6).all()
        torch.testing.assert_close(ours[1][0].norm(), theirs[1][0].norm(), rtol=0.05, atol=0.01)
