"""Networks, noise and pixels of Bibi et al. (2018); what the paper leaves to its supplement is a named option here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from plica.analyses.moments.noise import LowRank
from plica.core.network import Network
from plica.errors import DataError
from plica.experiments.figure import Setting
from plica.loaders import load

REGIMES = {"low": 1e-4, "medium": 1.0, "high": 200.0}  # largest variances of the three base covariances
PIXELS = 255.0
CIFAR_NET = "marabou_cifar10/cifar10_large.onnx"  # two convolutions, two dense layers
CIFAR_SOURCE = "A CIFAR-10 network (VNN-COMP 2021, marabou-cifar10, large; 32 x 32 x 3, 10 classes) for AlexNet."


@dataclass(frozen=True)
class Synthetic:
    """A random network; the paper names depths and inputs, the rest is in its supplement.

    Attributes
    ----------
    hidden : tuple of int
        Units (dense) or channels (convolutional) of the hidden layers, each followed by ReLU; a dense layer to one
        number ends the network.
    side : int
        0: dense layers on 100 numbers; else convolutions on side x side images.
    kernel : int
        Side of the kernels, without padding.
    gain, bias : float
        Weights are N(0, gain^2 / fan-in), biases N(0, bias^2).
    """

    hidden: tuple[int, ...]
    side: int = 0
    kernel: int = 3
    gain: float = 1.0
    bias: float = 0.1

    def make(self, seed: int) -> Network:
        """Draw the weights."""
        layers: list[nn.Module] = []
        if self.side:
            channels, side = 1, self.side
            for count in self.hidden:
                layers += [nn.Conv2d(channels, count, self.kernel), nn.ReLU()]
                channels, side = count, side - self.kernel + 1
            layers += [nn.Flatten(), nn.Linear(channels * side**2, 1)]
        else:
            for before, after in zip((100, *self.hidden), self.hidden, strict=False):
                layers += [nn.Linear(before, after), nn.ReLU()]
            layers.append(nn.Linear(self.hidden[-1], 1))
        generator = torch.Generator().manual_seed(seed)
        for layer in layers:
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                fan = layer.weight[0].numel()
                nn.init.normal_(layer.weight, 0.0, self.gain / fan**0.5, generator=generator)
                assert layer.bias is not None
                nn.init.normal_(layer.bias, 0.0, self.bias, generator=generator)
        return load(nn.Sequential(*layers), (1, self.side, self.side) if self.side else (100,))


SYNTHETIC = {
    "FC-A": Synthetic((100, 100)),
    "FC-B": Synthetic((100, 100, 100)),
    "FC-C": Synthetic((100, 100, 100, 100)),
    "Conv-A": Synthetic((4, 4), side=20),
    "Conv-B": Synthetic((4, 4, 4), side=20),
    "Conv-C": Synthetic((4, 4, 4, 4), side=20),
}


def covariances(inputs: int, level: float, count: int, seed: int) -> Iterator[LowRank]:
    """Random covariances like a random base covariance whose largest variance is `level`.

    The base is F F' with Gaussian F (inputs x inputs), scaled; each sample is Wishart with that mean and as many
    degrees of freedom as inputs. The paper says "random" and "similar" only.
    """
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((inputs, inputs))
    base *= np.sqrt(level / (base**2).sum(1).max())
    for _ in range(count):
        yield LowRank(base @ rng.standard_normal((inputs, inputs)) / np.sqrt(inputs))


def pixels(images: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1] as the paper's pixels in [-127.5, 127.5]."""
    return PIXELS * images - PIXELS / 2


@dataclass(frozen=True)
class LeNet:
    """LeNet and what it is asked about.

    Attributes
    ----------
    net : Network
    images : ndarray, shape (n, 1, 28, 28)
        Test images as `pixels`.
    labels : ndarray, shape (n,)
    source : str
        Where it comes from, in a sentence.
    """

    net: Network
    images: np.ndarray
    labels: np.ndarray
    source: str


def lenet(setting: Setting) -> LeNet:
    """LeNet, trained here on MNIST, or on scikit-learn's digits enlarged where no folder with data is given.

    Convolutions of 5 x 5 with ReLU and max-pooling by 2, twice; a dense layer with ReLU; logits. Channels and units are
    20, 50 and 500 in full figures, 6, 16 and 120 in quick ones.
    """
    first, second, dense = (20, 50, 500) if setting.full else (6, 16, 120)
    data = "digits" if setting.data is None else "mnist"
    epochs, count = (6, None) if setting.full else (3, 15_000)
    epochs *= 5 if data == "digits" else 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        layers = [nn.Conv2d(1, first, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(first, second, 5), nn.ReLU()]
        module = nn.Sequential(
            *layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * second, dense), nn.ReLU(), nn.Linear(dense, 10)
        )

    def fit(module: nn.Module) -> None:
        _fit(setting, module, epochs, *_digits(setting, data, "train", count))

    key = {"name": f"bibi2018-lenet-{data}", "epochs": epochs, "images": count, "seed": setting.seed}
    setting.trained(module, fit, key)
    images, labels = _digits(setting, data, "test", None)
    net = load(module, (1, 28, 28))
    name = "MNIST" if data == "mnist" else "scikit-learn's digits, enlarged to 28 x 28"
    share = float((answers(net, images[:1000]) == labels[:1000]).mean())
    return LeNet(net, images, labels, f"LeNet trained here on {name}, test accuracy {share:.1%}.")


def _digits(setting: Setting, data: str, split: str, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images as `pixels`, shape (n, 1, 28, 28), and labels."""
    found = setting.images(data, split, limit=count)
    side = round(found.images[0].size ** 0.5)
    images = torch.from_numpy(np.asarray(found.images).reshape(-1, 1, side, side))
    if side != 28:
        images = nn.functional.interpolate(images, size=(28, 28), mode="bilinear", align_corners=False)
    return pixels(images.numpy()), np.asarray(found.labels)


def _fit(setting: Setting, module: nn.Module, epochs: int, images: np.ndarray, labels: np.ndarray) -> None:
    """Adam on the cross-entropy of pixels divided by half their range, which the first weights then take over."""
    x, y = torch.from_numpy(images / (PIXELS / 2)).float(), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(setting.seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    for _ in range(epochs):
        for some in torch.randperm(len(x), generator=generator).split(64):
            setting.progress.check()
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[some]), y[some]).backward()
            optimizer.step()
    with torch.no_grad():
        module[0].weight /= PIXELS / 2  # type: ignore[index]


def cifar(setting: Setting, split: str = "test", limit: int | None = None) -> tuple[Network, np.ndarray]:
    """The stand-in for AlexNet and images for it, (n, 32, 32, 3) in [0, 1]."""
    file = None if setting.data is None else setting.data / CIFAR_NET
    if file is None or not file.exists():
        raise DataError(f"This figure needs {CIFAR_NET} in the folder with data (data=, --data).")
    images = np.asarray(setting.images("cifar", split, limit=limit).images)
    return load(file), np.ascontiguousarray(np.moveaxis(images, 1, 3))


def answers(net: Network, images: np.ndarray) -> np.ndarray:
    """Classes of images, shape (n,)."""
    with torch.no_grad():
        return net.logits(torch.from_numpy(np.asarray(images, dtype=np.float64))).argmax(1).numpy()
