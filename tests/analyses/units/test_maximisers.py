"""Maximisers: the strongest images by sorting, directions with the properties they promise, purity by counting."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.analyses.units import maximisers
from plica.core.classifier import TorchClassifier
from plica.errors import ArgumentError, DataError
from zoo import KINDS, build, random_net

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return plica.load(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).double().eval(), (5,))


@pytest.fixture(scope="module")
def images():
    return rng.normal(size=(40, 5))


@pytest.mark.parametrize("kind", ["natural", "gaussian", "orthogonal", "centred"])
def test_the_strongest_by_hand(net, images, kind):
    found = maximisers(net, images, layer=0, directions=kind, top=5, seed=3)
    phi = net.upto(0)(images).numpy()
    for way, chosen, values in zip(found.directions, found.images, found.values, strict=True):
        every = [(-float(x @ way), k) for k, x in enumerate(phi)]
        assert chosen.tolist() == [k for _, k in sorted(every)[:5]]
        np.testing.assert_allclose(values, phi[chosen] @ way)
    assert found.kind == kind and np.isnan(found.purity).all()


def test_directions_are_what_they_promise(net, images):
    ways = {
        k: maximisers(net, images, layer=0, directions=k, seed=1).directions
        for k in ("natural", "orthogonal", "centred")
    }
    np.testing.assert_array_equal(ways["natural"], np.eye(7))
    np.testing.assert_allclose(ways["orthogonal"] @ ways["orthogonal"].T, np.eye(7), atol=1e-12)
    mean = net.upto(0)(images).numpy().mean(0)
    np.testing.assert_allclose(ways["centred"] @ mean, 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(ways["centred"], axis=1), 1)
    other = maximisers(net, images, layer=0, directions="gaussian", count=30, seed=2).directions
    assert other.shape == (30, 7) and not np.allclose(other[:7], ways["centred"])


def test_equals_are_taken_in_order(net):
    same = np.zeros((6, 5))
    assert maximisers(net, same, layer=0, top=3).images.tolist() == [[0, 1, 2]] * 7


def test_purity_by_counting(net, images):
    labels = rng.integers(0, 3, 40)
    found = maximisers(net, images, layer=0, top=6, labels=labels)
    for chosen, shown, share in zip(found.images, found.labels, found.purity, strict=True):
        assert shown.tolist() == labels[chosen].tolist()
        assert share == max(Counter(shown.tolist()).values()) / 6
    mean, low, high = found.baseline
    assert low <= mean <= high and 1 / 3 < mean < 0.8
    alike = maximisers(net, images, layer=0, top=6, labels=np.full(40, 4))
    assert (alike.purity == 1).all() and alike.baseline.tolist() == [1, 1, 1]
    assert "purity 1.000" in alike.summary()


def test_a_module_of_any_kind(images):
    module = nn.Sequential(nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 2)).double().eval()
    found = maximisers(TorchClassifier(module, (5,)), images, layer="1", top=2)
    phi = module[:2](torch.from_numpy(images)).detach().numpy()
    assert found.images[:, 0].tolist() == phi.argmax(0).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network(kind):
    net = build(random_net(kind, 5, degenerate=True)[0])
    X = np.random.default_rng(6).normal(size=(9, *net.input_shape))
    found = maximisers(net, X, layer=net.layers[-1], top=2)
    phi = net.upto(net.layers[-1])(X).flatten(1).numpy()
    np.testing.assert_allclose(found.values[:, 0], phi.max(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"directions": "random"}, "natural, gaussian"),
        ({"directions": np.ones((2, 3))}, r"\(d, 7\)"),
        ({"directions": "orthogonal", "count": 8}, "7 units"),
        ({"count": 0}, "7 units"),
        ({"top": 41}, "40 images"),
        ({"labels": np.zeros(3, dtype=int)}, "40 whole numbers"),
        ({"labels": np.zeros(40)}, "whole numbers"),
        ({"labels": np.full(40, -1)}, "at least 0"),
    ],
)
def test_what_does_not_fit_is_said(net, images, change, words):
    with pytest.raises(ArgumentError, match=words):
        maximisers(net, images, **{"layer": 0, **change})


def test_nan_and_nothing(net, images):
    bad = images.copy()
    bad[17, 2] = np.nan
    with pytest.raises(DataError, match="image 17"):
        maximisers(net, bad, layer=0)
    with pytest.raises(DataError, match="no images"):
        maximisers(net, images[:0], layer=0)
