"""Section 4.3: the number of units of the last layer that a class lives on."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from plica.core.result import Standing
from plica.experiments.carlsson2017.nets import SOURCE, convolutional, fully_connected, image_sets, untrained
from plica.experiments.figure import Claim, Made, Panel, Setting

TOP = 3


def _activity(module: nn.Sequential, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean output of every unit of the last ReLU, for every class, shape (classes, units)."""
    last = max(k for k, part in enumerate(module) if isinstance(part, nn.ReLU))
    with torch.no_grad():
        values = module[: last + 1](torch.from_numpy(images).float()).flatten(1).double().numpy()
    return np.stack([values[labels == c].mean(0) for c in np.unique(labels)])


def _shares(activity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of a class's activity on its three strongest units, and how many equal units would spread it as far."""
    p = activity / activity.sum(1, keepdims=True)
    return np.sort(p, axis=1)[:, -TOP:].sum(1), 1.0 / (p**2).sum(1)


def concentration(setting: Setting) -> Made:
    """Trained networks against the same ones before training."""
    name, _, test = image_sets(setting)
    claims, panels = [], []
    for words, make in (("fully connected", fully_connected), ("convolutional", convolutional)):
        series, numbers = {}, {}
        for state, module in (("trained", make(setting)), ("untrained", untrained(make, setting))):
            activity = _activity(module, test.images, np.asarray(test.labels))
            top, widths = _shares(activity)
            series[state] = np.stack([np.arange(len(widths)), widths])
            numbers[state] = (float(top.mean()), float(widths.mean()), activity.shape[1])
        (share, spread, units), (before, wide, _) = numbers["trained"], numbers["untrained"]
        claims.append(
            Claim(
                f"{words}: classes concentrate on few of the {units} units", "a small set, sometimes individual units",
                f"{TOP} units carry {share:.0%} of a class's activity (untrained {before:.0%}); as if on {spread:.1f} "
                f"units (untrained {wide:.1f})", spread < wide and spread < units / 4,
                SOURCE.format(name) + " Held to be so when narrower than untrained and below a quarter.",
            )
        )  # fmt: skip
        panels.append(Panel("bars", f"{words}, {units} units", series, "class", "units that carry it"))
    return claims, panels, Standing.NUMERICAL
