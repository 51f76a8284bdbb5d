"""Networks given by a few numbers, for figures that the paper draws by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from plica.core.network import Network
from plica.loaders import load

Layer = tuple[Sequence[Sequence[float]], Sequence[float]]


def relu_network(*layers: Layer) -> Network:
    """Layers of weights and biases, a ReLU behind each, in float64."""
    parts: list[nn.Module] = []
    for weight, bias in layers:
        W = torch.tensor(weight, dtype=torch.float64)
        linear = nn.Linear(W.shape[1], W.shape[0], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(W)
            linear.bias.copy_(torch.tensor(bias, dtype=torch.float64))
        parts += [linear, nn.ReLU()]
    return load(nn.Sequential(*parts).eval(), (len(layers[0][0][0]),))


def ring(corners: np.ndarray) -> np.ndarray:
    """Corners of a convex polygon in the plane in their order, shape (2, n)."""
    middle = corners.mean(0)
    turn = np.arctan2(*(corners - middle).T[::-1])
    return corners[np.argsort(turn)].T
