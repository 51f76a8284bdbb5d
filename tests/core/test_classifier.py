"""Classifiers: a Network, and any torch module through its adapter."""

import pytest
import torch
from torch import nn

from plica.core.affine import Dense
from plica.core.choice import relu
from plica.core.classifier import Classifier, TorchClassifier
from plica.core.domain import Box
from plica.core.network import Graph
from plica.errors import ArgumentError


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        x = torch.sigmoid(self.first(x))
        return self.last(x + torch.tanh(self.second(x)))


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Skip().double().eval()


def test_torch_classifier_is_a_classifier(module):
    assert isinstance(TorchClassifier(module, (3,)), Classifier)


def test_logits_are_the_modules(module):
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(TorchClassifier(module, (3,)).logits(x), module(x), rtol=0, atol=0)


def test_upto_then_after_is_the_whole(module):
    model = TorchClassifier(module, (3,), Box([0, 0, 0], [1, 1, 1]))
    x = torch.randn(5, 3, dtype=torch.float64)
    inner = model.upto("first").logits(x)
    torch.testing.assert_close(inner, module.first(x))
    torch.testing.assert_close(model.after("first").logits(inner), module(x))
    assert model.upto("first").box is model.box
    assert model.after("first").box is None


def test_a_layer_inside_a_branch_does_not_cut(module):
    with pytest.raises(ArgumentError, match="does not cut"):
        TorchClassifier(module, (3,)).after("second").logits(torch.zeros(2, 3, dtype=torch.float64))


def test_gradients_reach_the_inner_value(module):
    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    TorchClassifier(module, (3,)).after("first").logits(z).sum().backward()
    assert bool((z.grad != 0).any())


def test_no_hook_is_left(module):
    TorchClassifier(module, (3,)).upto("first").logits(torch.zeros(1, 3, dtype=torch.float64))
    assert not any(m._forward_hooks for m in module.modules())


def test_errors_say_what_to_do(module):
    with pytest.raises(ArgumentError, match="first, second, last"):
        TorchClassifier(module, (3,)).upto("third")
    with pytest.raises(ArgumentError, match="eval"):
        TorchClassifier(Skip(), (3,))


def test_a_network_is_a_classifier():
    graph = Graph((2,))
    hidden = graph.add("fc1", Dense(torch.eye(2, dtype=torch.float64), None, (2,)), "input")
    graph.add("relu1", relu((2,)), hidden)
    net = graph.network()
    box = Box([0, 0], [1, 1])
    assert isinstance(net, Classifier)
    assert net.box is None and net.within(box).box is box
    x = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    assert torch.equal(net.logits(x), net(x))
    assert net.within(box).upto("fc1").box is box and net.within(box).after("fc1").box is None
