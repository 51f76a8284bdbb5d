"""Regions of real networks on planes: they complete; Euler's relation and the sum of areas hold, quantised or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import plica
from analyses.regions.mesh_checks import check_plane
from plica.analyses.regions.analysis import count_regions, regions
from plica.core.affine import Dense
from plica.core.conv import Conv
from plica.core.domain import Box, Plane

STEPS = 16.0  # weights and biases of a quantised copy are multiples of 1/16


def quantised(net):
    """The network with coarse weights: exact ties become common."""

    def coarse(t):
        return None if t is None else torch.round(t * STEPS) / STEPS

    nodes = []
    for node in net.nodes:
        if isinstance(node.op, (Dense, Conv)):
            node = replace(node, op=replace(node.op, weight=coarse(node.op.weight), bias=coarse(node.op.bias)))
        nodes.append(node)
    return replace(net, nodes=tuple(nodes))


def check(net, plane):
    """All regions of a plane, or as many as fit in a budget; a mesh without holes."""
    found = regions(net, plane, progress=plica.Progress(max_seconds=120))
    assert found.completeness == "complete"
    check_plane(found, found.size)
    assert count_regions(net, plane).count == found.count
    assert len({bytes(row) for row in found.codes}) == found.count
    return found


def small_plane(images, scale):
    """A plane through three images with a window around the first, so that a test is short."""
    plane = Plane.through(np.stack([image.ravel() for image in images]))
    half = scale * (plane.window.upper - plane.window.lower)
    return Plane(plane.origin, plane.basis, Box(-half, half))


@pytest.mark.big(sample=1)
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("name", ["1_1", "2_7", "5_9"])
def test_slices_of_acas_xu(shared_data, name, coarse):
    file = next((shared_data / "acasxu").glob(f"*_{name}_batch_2000.onnx*"))
    net = plica.load(file)
    basis = np.zeros((5, 2))
    basis[0, 0] = basis[1, 1] = 1.0
    plane = Plane(np.array([0.0, 0.0, 0.1, 0.3, 0.3]), basis, Box([-0.1, -0.1], [0.1, 0.1]))
    assert check(quantised(net) if coarse else net, plane).count > 1


@pytest.mark.big(sample=1)
@pytest.mark.parametrize("coarse", [False, True])
def test_planes_through_three_digits(shared_data, coarse):
    net = plica.load(shared_data / "mnist_fc" / "mnist-net_256x2.onnx")
    with np.load(shared_data / "mnist.npz") as data:
        images = data["test_images"][:3] / 255.0
    assert check(quantised(net) if coarse else net, small_plane(images, 0.2)).count > 1


MEANS = {"resnet": (0.4914, 0.4822, 0.4465), "oval21": (0.485, 0.456, 0.406)}
SCALES = {"resnet": (0.2470, 0.2435, 0.2616), "oval21": (0.225, 0.225, 0.225)}
CIFAR = {
    "residual": ("cifar10_resnet/resnet_2b.onnx", "resnet", 0.003),
    "convolution": ("oval21/cifar_base_kw.onnx", "oval21", 0.01),
    "channels last": ("marabou_cifar10/cifar10_small.onnx", "", 0.01),
}


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("name", CIFAR)
def test_planes_through_three_cifar_images(shared_data, name, coarse):
    file, kind, scale = CIFAR[name]
    net = plica.load(shared_data / file)
    with np.load(shared_data / "cifar10_subset.npz") as data:
        images = data["test_images"][:3] / 255.0
    if kind:
        mean, spread = (np.array(t[kind])[:, None, None] for t in (MEANS, SCALES))
        images = (images - mean) / spread
    else:
        images = images.transpose(0, 2, 3, 1)
    assert check(quantised(net) if coarse else net, small_plane(images, scale)).count > 10


@pytest.mark.big(sample=0)
def test_a_pooling_network_on_a_plane_through_three_digits(shared_data):
    """Ties of one pair of windows coincide over all channels."""
    net = plica.load(shared_data / "verivital" / "Convnet_maxpool.onnx")
    with np.load(shared_data / "mnist.npz") as data:
        images = data["test_images"][:3] / 255.0
    assert check(net, small_plane(images, 1e-5)).count > 1


def pooled(coarse):
    """A random network with two pools on images of 8 by 8, and its quantised copy."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    layers += [torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()]
    net = plica.load(torch.nn.Sequential(*layers, torch.nn.Linear(64, 10)).double(), (1, 8, 8))
    return quantised(net) if coarse else net


@pytest.mark.parametrize("coarse", [False, True])
def test_two_pools_on_a_plane_through_three_images(coarse):
    images = np.random.default_rng(0).uniform(size=(3, 64))
    found = check(pooled(coarse), small_plane(images, 0.1))
    assert found.count > 50
    assert coarse or found.decided == 0


@pytest.mark.big(sample=1)
@pytest.mark.parametrize("coarse", [False, True])
def test_the_box_of_a_property_of_acas_xu_under_a_budget(shared_data, coarse):
    """Five inputs: all regions, or those found in time, and which of the two it says."""
    net = plica.load(next((shared_data / "acasxu").glob("*_1_1_batch_2000.onnx*")))
    box = Box([0.6, -0.5, -0.5, 0.45, -0.5], [0.68, 0.5, 0.5, 0.5, -0.45])
    found = count_regions(quantised(net) if coarse else net, box, progress=plica.Progress(max_seconds=3))
    assert found.count > 1
    assert ("at least" in repr(found)) == (found.completeness == "budget reached") != (found.completeness == "complete")
