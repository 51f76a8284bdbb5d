"""Networks of Behrmann et al. (2018), appendix A4."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

WIDE = (32, 64, 64, 32, 32, 64)  # feature maps of the convolutions (Table 3)
THIN = (32, 32, 16, 16, 16, 32)  # Table 4
STRIDES = (1, 2, 1, 1, 1, 2)


def cifar_net(maps: Sequence[int], *, side: int = 32, dense: int = 512) -> nn.Sequential:
    """Six 3 x 3 convolutions, two of stride 2, a dense layer, the logits (Tables 3 and 4).

    The paper does not say how borders are padded; its Fig. 4 shows as many outputs of layer 1 as padding by one gives.
    """
    layers: list[nn.Module] = []
    channels, size = 3, side
    for count, stride in zip(maps, STRIDES, strict=True):
        layers += [nn.Conv2d(channels, count, 3, stride, padding=1), nn.ReLU()]
        channels, size = count, -(-size // stride)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size**2, dense), nn.ReLU(), nn.Linear(dense, 10))


def mnist_net(widths: Sequence[int] = (3500, 784), *, inputs: int = 784) -> nn.Sequential:
    """Dense layers with ReLU and the logits; Table 2, and with ten layers of 100 units Table 1."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((inputs, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def accuracy(module: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers; NaN without images."""
    if not len(images):
        return math.nan
    with torch.no_grad():
        parts = [module(some).argmax(1) for some in torch.from_numpy(np.asarray(images)).float().split(256)]
    return float((torch.cat(parts).numpy() == labels).mean())
