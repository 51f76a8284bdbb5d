"""Section 4.2: a 100-100-10 network trained with pools of adversarial examples, against its baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from plica.analyses.adversarial import adversarial_training, min_distortion
from plica.core.domain import Box
from plica.core.result import Standing
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.szegedy2013.models import seeded
from plica.experiments.szegedy2013.nets import Images, images

HIDDEN = 100
EPOCHS, FULL_EPOCHS = 25, 100
COMPARED = 60  # test images whose nearest mistake is looked for
PIXELS = Box(0, 1)


@dataclass(frozen=True)
class Way:
    """One way of training: its pools, its dropout, and what the paper prints."""

    name: str
    layers: tuple[str, ...] | str
    dropout: float = 0.0
    printed: str = "not printed"


FIRST, SECOND = "1", "3"  # the hidden layers' outputs
WAYS = (
    Way("weight decay alone", (), printed="1.6 %"),
    Way("dropout", (), 0.3, printed="around 1.3 %"),
    Way("pool of images", ("input",), printed="no improvement"),
    Way("pool at the first layer", (FIRST,)),
    Way("pool at the second layer", (SECOND,)),
    Way("a pool for each layer", ("input", FIRST, SECOND), printed="below 1.2 %"),
)


def training(setting: Setting) -> Made:
    """Test errors of every way, and the usefulness of each layer's pool."""
    data = images(setting)
    epochs = FULL_EPOCHS if setting.full else EPOCHS
    errors, sizes = {}, {}
    curves = {}
    for way in WAYS:
        module = _network(way, data, setting.seed)
        history = adversarial_training(
            module, data.x, data.y, layers=way.layers, test=(data.test_x, data.test_y), box=PIXELS, seed=setting.seed,
            progress=setting.progress, epochs=epochs,
        )  # fmt: skip
        setting.progress.check()
        errors[way.name] = float(history.test_error[-5:].mean())
        curves[way.name] = np.stack([np.arange(1.0, epochs + 1), 100 * history.test_error])
        sizes[way.name] = min_distortion(
            module, data.test_x[:COMPARED], data.test_y[:COMPARED], box=PIXELS, progress=setting.progress, method="fast"
        ).average()
    said = f"{len(data.x)} images ({data.name}), {epochs} epochs of Adam, one seed; mean of the last five epochs."
    claims = [
        Claim(f"test error, {way.name}", way.printed,
              f"{100 * errors[way.name]:.2f} %; nearest mistakes at {sizes[way.name]:.3f}", None, said)
        for way in WAYS
    ]  # fmt: skip
    plain, every = errors[WAYS[0].name], errors[WAYS[-1].name]
    low, high = errors["pool at the first layer"], errors["pool at the second layer"]
    spread = float(np.sqrt(2 * plain * (1 - plain) / len(data.test_x)))
    note = f"{said} Differences below {100 * spread:.2f} % are within one standard error and decide nothing."
    claims += [
        Claim("pools for each layer improve on weight decay alone", "1.6 to below 1.2 %",
              f"{100 * plain:.2f} to {100 * every:.2f} %", _better(every, plain, spread), note),
        Claim("pools for each layer improve on dropout", "around 1.3 to below 1.2 %",
              f"{100 * errors['dropout']:.2f} to {100 * every:.2f} %", _better(every, errors["dropout"], spread), note),
        Claim("a pool at a higher layer is more useful", "significantly",
              f"images {100 * errors['pool of images']:.2f} %, first layer {100 * low:.2f} %, second "
              f"{100 * high:.2f} %",
              _better(high, min(low, errors["pool of images"]), spread), note),
        Claim("training moves mistakes farther away", "not asked",
              f"{sizes[WAYS[0].name]:.3f} to {sizes[WAYS[-1].name]:.3f}", None,
              "Average distortion of the nearest mistakes found for test images."),
    ]  # fmt: skip
    return claims, (Panel("lines", "test error", curves, "epoch", "%"),), Standing.NUMERICAL


def _better(one: float, other: float, spread: float) -> bool | None:
    """Whether an error is smaller; None within a standard error."""
    return None if abs(one - other) <= spread else one < other


def _network(way: Way, data: Images, seed: int) -> nn.Sequential:
    """The same first weights for every way; dropout above the second hidden layer."""
    with seeded(seed):
        layers = [nn.Linear(data.x.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
        last: list[nn.Module] = [nn.Linear(HIDDEN, 10)]
    drop: list[nn.Module] = [nn.Dropout(way.dropout)] if way.dropout else []
    return nn.Sequential(*layers, *drop, *last).to(torch.float32)
