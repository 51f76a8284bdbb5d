"""Training of classifiers for the papers' figures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn


def train(
    module: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    batch: int,
    optimiser: Callable,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> nn.Module:
    """Minimise the cross-entropy of the labels, in place.

    Parameters
    ----------
    module : torch.nn.Module
    images : ndarray, shape (n, ...)
    labels : ndarray of int, shape (n,)
    epochs, batch : int
    optimiser : callable
        Makes an optimiser from the parameters.
    seed : int
        Of the order of the images.
    check : callable
        Called before every batch; may raise to stop.
    """
    x, y = torch.from_numpy(np.asarray(images)).float(), torch.from_numpy(np.asarray(labels)).long()
    generator = torch.Generator().manual_seed(seed)
    steps = optimiser(module.parameters())
    module.train()
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for some in order.split(batch):
            check()
            steps.zero_grad()
            nn.functional.cross_entropy(module(x[some]), y[some]).backward()
            steps.step()
    return module.eval()
