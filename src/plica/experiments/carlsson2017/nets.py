"""Two networks of different kind for the figures on images: convolutional, and fully connected."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from plica.experiments.figure import Setting
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
    name, train, _ = image_sets(setting)
    places = (train.images.shape[-1] // STRIDE) ** 2

    def make() -> nn.Sequential:
        first, second = nn.Conv2d(1, 2, 3, stride=STRIDE, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(4 * places, 10))

    return _trained(setting, f"carlsson2017-conv-{name}", make, train)


def fully_connected(setting: Setting) -> nn.Sequential:
    """Three layers; trained."""
    name, train, _ = image_sets(setting)

    def make() -> nn.Sequential:
        layers = [nn.Linear(train.images[0].size, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)]
        return nn.Sequential(nn.Flatten(), *layers)

    return _trained(setting, f"carlsson2017-mlp-{name}", make, train)


def untrained(make: Callable[[Setting], nn.Sequential], setting: Setting) -> nn.Sequential:
    """A network of the same shape with its first weights."""
    module = make(setting)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        for part in module.modules():
            if isinstance(part, (nn.Linear, nn.Conv2d)):
                part.reset_parameters()
    return module


def _trained(setting: Setting, name: str, make: Callable[[], nn.Sequential], train: ImageSet) -> nn.Sequential:
    epochs = 4 if setting.full else 40
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        module = make()
        key = {"name": name, "epochs": epochs, "seed": setting.seed}
        setting.trained(module, lambda m: _fit(setting, m, train, epochs), key)
    return module


def _fit(setting: Setting, module: nn.Module, train: ImageSet, epochs: int) -> None:
    """Adam on the cross-entropy, in float32."""
    images, labels = torch.from_numpy(train.images).float(), torch.from_numpy(train.labels)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(epochs):
        setting.progress.check()
        for chosen in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images[chosen]), labels[chosen]).backward()
            optimizer.step()
