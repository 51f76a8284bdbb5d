"""Regions of real networks on planes: they complete; Euler's relation and the sum of areas hold, quantised or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import plica
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
    free = found.neighbours < 0
    edges = (len(found.corners) + free.sum()) // 2
    assert len(found.vertices) - edges + found.count == 1
    assert found.sizes.sum() == pytest.approx(found.size, rel=1e-9)
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
