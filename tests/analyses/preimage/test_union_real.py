"""The own piece of an input at every layer of real networks: found at once, and exactly that of the input."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

import plica
from plica.core.exact import columns as exact

NETWORKS = (
    "acasxu/ACASXU_run2a_1_1_batch_2000.onnx",
    "mnist_fc/mnist-net_256x2.onnx",
    "mnist_fc/mnist-net_256x6.onnx",
    "eran/mnist_relu_9_200.onnx",
    "rl/*.onnx",
    "reach_prob/*.onnx",
    "tll/*.onnx",
    "test_small/*.onnx",
    "verivital/*.onnx",
    "collins_rul/*.onnx",
    "oval21/*.onnx",
    "marabou_cifar10/*.onnx",
    "cifar10_resnet/*.onnx",
)


@pytest.mark.big(sample=1)
@pytest.mark.parametrize("name", NETWORKS)
def test_own_piece_at_every_layer(name, shared_data, tmp_path):
    paths = sorted([*shared_data.glob(name), *shared_data.glob(name + ".gz")])
    assert paths
    for path in paths[:4]:
        if path.suffix == ".gz":
            plain = tmp_path / path.stem
            plain.write_bytes(gzip.decompress(path.read_bytes()))
            path = plain
        net = plica.load(path)
        x = np.random.default_rng(0).uniform(0, 1, net.input_shape)
        for layer in net.choices:
            piece = next(iter(plica.preimage(net, x, layer=layer).pieces(1)))
            _, branches = exact.forward(net.upto(layer).nodes, exact.Columns.of(x.ravel()))
            assert (piece.point == x.ravel()).all()
            assert all((branches[k].ravel() == b.ravel()).all() for k, b in piece.branches.items())
