"""The embedded example: scikit-learn's 8 x 8 digits and two small networks trained on the spot."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from plica.loaders.images import ImageSet

TEST_SHARE = 5  # every fifth image, after a fixed shuffle, is a test image
HIGHEST = 16.0  # the pixels are whole numbers from 0 to 16


def digits_images(split: str = "test", *, shape: tuple[int, ...] = (64,)) -> ImageSet:
    """Return the handwritten digits that come with scikit-learn, divided by 16.

    Parameters
    ----------
    split : {"test", "train"}
        360 images for testing or the 1437 others; the split is the same in every run.
    shape : tuple of int
        Shape of one image: (64,) or (1, 8, 8).
    """
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    chosen = order[(np.arange(len(order)) % TEST_SHARE == 0) == (split == "test")]
    return ImageSet(
        images=(data.data[chosen] / HIGHEST).reshape(len(chosen), *shape),
        labels=data.target[chosen].astype(np.int64),
        name="scikit-learn digits",
        notices=("Pixels are whole numbers from 0 to 16 and are divided by 16.",),
        raw_range=(0.0, HIGHEST),
    )


def digits_mlp(seed: int = 0) -> tuple[nn.Module, ImageSet]:
    """Train a fully connected ReLU network 64-32-16-10 on the digits.

    Parameters
    ----------
    seed : int
        Fixes the first weights and the order of the batches. The global random state of torch is left as it was.

    Returns
    -------
    module : torch.nn.Module
        float32, in eval mode; at seed 0 at least 95 % of the test images are classified right.
    images : ImageSet
        The test images, shape (360, 64).

    Notes
    -----
    Takes about a second on one core.
    """
    with _alone(seed):
        layers = {"fc1": nn.Linear(64, 32), "relu1": nn.ReLU(), "fc2": nn.Linear(32, 16), "relu2": nn.ReLU()}
        module = nn.Sequential(OrderedDict(layers, fc3=nn.Linear(16, 10)))
        _train(module, digits_images("train"), epochs=40)
    return module, digits_images("test")


class DigitsConv(nn.Module):
    """A small convolutional network with max-pooling and a residual block, for images (n, 1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        x = self.pool(self.relu1(self.conv1(x)))
        x = self.relu3(x + self.conv3(self.relu2(self.conv2(x))))
        return self.fc(self.flatten(x))


def digits_conv(seed: int = 0) -> tuple[nn.Module, ImageSet]:
    """Train a convolutional network with max-pooling and a residual block on the digits.

    Parameters
    ----------
    seed : int
        Fixes the first weights and the order of the batches. The global random state of torch is left as it was.

    Returns
    -------
    module : torch.nn.Module
        float32, in eval mode; at seed 0 at least 95 % of the test images are classified right.
    images : ImageSet
        The test images, shape (360, 1, 8, 8).

    Notes
    -----
    Takes about two seconds on one core.
    """
    shape = (1, 8, 8)
    with _alone(seed):
        module = DigitsConv()
        _train(module, digits_images("train", shape=shape), epochs=40)
    return module, digits_images("test", shape=shape)


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Train with a seed of its own, on one thread: layers this small lose more to a second thread than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _train(module: nn.Module, data: ImageSet, epochs: int, batch: int = 64) -> None:
    """Train with Adam on the cross-entropy, in float32, and leave the module in eval mode."""
    images, labels = torch.from_numpy(data.images).float(), torch.from_numpy(data.labels)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    module.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images[chosen]), labels[chosen]).backward()
            optimizer.step()
        schedule.step()
    module.eval()
