"""Two networks of different kind for the figures on images: convolutional, and fully connected."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from plica.experiments.figure import Setting
from plica.experiments.training import train
from plica.loaders.images import ImageSet

STRIDE = 2  # of the first convolution
SOURCE = "The paper shows no experiment: networks trained here on {}."


def image_sets(setting: Setting) -> tuple[str, ImageSet, ImageSet]:
    """Name, training and test images with a channel axis: the digits of scikit-learn, or MNIST for full figures."""
    name = "mnist" if setting.full else "digits"
    sets = [setting.images(name, split) for split in ("train", "test")]
    side = round(sets[0].images[0].size ** 0.5)
    train, test = (
        ImageSet(s.images.reshape(-1, 1, side, side), s.labels, s.name, s.notices, s.raw_range) for s in sets
    )
    return name, train, test


def convolutional(setting: Setting) -> nn.Sequential:
    """Two convolutions of few kernels, the first with a stride, and a linear layer; trained. It forgets on purpose."""
    name, images, _ = image_sets(setting)
    places = (images.images.shape[-1] // STRIDE) ** 2

    def make() -> nn.Sequential:
        first, second = nn.Conv2d(1, 2, 3, stride=STRIDE, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(4 * places, 10))

    return _trained(setting, f"carlsson2017-conv-{name}", make, images)


def fully_connected(setting: Setting) -> nn.Sequential:
    """Three layers; trained."""
    name, images, _ = image_sets(setting)

    def make() -> nn.Sequential:
        layers = [nn.Linear(images.images[0].size, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)]
        return nn.Sequential(nn.Flatten(), *layers)

    return _trained(setting, f"carlsson2017-mlp-{name}", make, images)


def untrained(make: Callable[[Setting], nn.Sequential], setting: Setting) -> nn.Sequential:
    """A network of the same shape with its first weights."""
    module = make(setting)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        for part in module.modules():
            if isinstance(part, (nn.Linear, nn.Conv2d)):
                part.reset_parameters()
    return module


def _trained(setting: Setting, name: str, make: Callable[[], nn.Sequential], data: ImageSet) -> nn.Sequential:
    epochs = 4 if setting.full else 40
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        module = make()
        key = {"name": name, "epochs": epochs, "seed": setting.seed}

    def fit(module: nn.Module) -> None:
        train(module, data.images, np.asarray(data.labels), epochs=epochs, batch=64, seed=setting.seed,
              optimiser=partial(torch.optim.Adam, lr=3e-3), check=setting.progress.check)  # fmt: skip

    setting.trained(module, fit, key)
    return module
