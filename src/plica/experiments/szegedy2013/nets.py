"""Networks and images of the figures: MNIST, else scikit-learn's digits; a CIFAR-10 network at hand for AlexNet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plica.core.network import Network
from plica.experiments.figure import FILES, Setting
from plica.experiments.szegedy2013.models import RECIPES, Recipe, build, key, train
from plica.loaders import load

CIFAR_NET = "marabou_cifar10/cifar10_large.onnx"
CIFAR_SOURCE = "A CIFAR-10 network (VNN-COMP 2021, marabou-cifar10, large) and CIFAR-10 test images for {}."
TRAINED, ITERATIONS = 4000, 150  # images and iterations of a quick figure
SEARCHED = 60  # images that are distorted in a quick figure
EPOCHS = 3
HOW: dict[str, Any] = {
    "method": "lbfgs",
    "targets": "second",
}  # the paper's search; it does not say which class it aims at


@dataclass(frozen=True)
class Images:
    """Flat float32 images and labels of one data set."""

    name: str
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor

    @property
    def side(self) -> int:
        """Pixels along an edge."""
        return round(self.x.shape[1] ** 0.5)

    def half(self, which: int) -> Images:
        """P1 or P2: the first or the second half of the training images."""
        middle = len(self.x) // 2
        part = slice(0, middle) if which == 1 else slice(middle, 2 * middle)
        return replace(self, name=f"{self.name}, P{which}", x=self.x[part], y=self.y[part])


def images(setting: Setting) -> Images:
    """MNIST where the data folder has it, else the digits; a part of it unless the figure is full."""
    name = "mnist" if setting.data is not None and (setting.data / FILES["mnist"]).exists() else "digits"
    limit = None if setting.full else TRAINED
    parts: list[Tensor] = []
    for split in ("train", "test"):
        found = setting.images(name, split, limit=limit)
        labels = np.asarray(found.labels)
        parts += [torch.from_numpy(found.images.reshape(len(labels), -1)).float(), torch.from_numpy(labels)]
    return Images(name, *parts)


def network(setting: Setting, recipe: Recipe, data: Images) -> nn.Module:
    """One of the paper's networks, trained on the images or read from an earlier run."""
    recipe = replace(recipe, seed=setting.seed) if setting.full else replace(
        recipe, seed=setting.seed, iterations=ITERATIONS)  # fmt: skip
    facts = key(recipe, data=data.name, images=len(data.x))

    def fit(module: nn.Module) -> None:
        made = train(recipe, data.x, data.y, progress=setting.progress)
        module.load_state_dict(made.state_dict())

    return setting.trained(build(recipe, data.x.shape[1]), fit, facts)


def of_the_tables(setting: Setting, data: Images) -> dict[str, nn.Module]:
    """The six networks of Tables 1 and 2."""
    names = [name for name in RECIPES if name != "FC123-456-10"]
    return {name: network(setting, RECIPES[name], data) for name in names}


def across_sets(setting: Setting, data: Images) -> dict[str, nn.Module]:
    """The three networks of Tables 3 and 4."""
    first, second = data.half(1), data.half(2)
    return {
        "FC100-100-10": network(setting, RECIPES["FC100-100-10"], first),
        "FC123-456-10": network(setting, RECIPES["FC123-456-10"], first),
        "FC100-100-10'": network(setting, RECIPES["FC100-100-10"], second),
    }


def convolutional(setting: Setting, data: Images) -> nn.Sequential:
    """A small convolutional network; the paper does not print that of Figs 1 and 2."""
    pixels = (data.side // 4) ** 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        module = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * pixels, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        epochs = EPOCHS if data.name == "mnist" else 20
        facts = {"name": "szegedy2013-conv", "data": data.name, "images": len(data.x), "seed": setting.seed,
                 "epochs": epochs}  # fmt: skip
        setting.trained(module, lambda m: _fit(setting, m, data, epochs), facts)
    return module


def _fit(setting: Setting, module: nn.Module, data: Images, epochs: int) -> None:
    """Adam on the cross-entropy."""
    x, optimizer = data.x.reshape(-1, 1, data.side, data.side), torch.optim.Adam(module.parameters(), lr=2e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(64):
            setting.progress.check()
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[chosen]), data.y[chosen]).backward()
            optimizer.step()


def cifar(setting: Setting) -> tuple[Network, np.ndarray, np.ndarray] | None:
    """The network in float32, test images in its shape, labels; None where the data folder lacks one of them."""
    folder = setting.data
    if folder is None or not (folder / CIFAR_NET).exists() or not (folder / FILES["cifar"]).exists():
        return None
    net = load(folder / CIFAR_NET)
    found = setting.images("cifar", "test", shape=net.input_shape)
    return net.cast(torch.float32), found.images, np.asarray(found.labels)
