"""Which tier decides regions in the plane: deep networks, and pools; counts and CPU seconds, warm.

``python benchmarks/regions_tiers.py --deep 0.3`` counts 2-64x12 (default_rng(7), all W = N sqrt(2 / m), then all
b = 0.1 N, float32) in [-0.3, 0.3]^2; ``--pool 0.5`` counts a network with two max-pools, trained on scikit-learn's
digits, on a plane through three of them (the window is that share of the images' own); ``--integers`` without floats
for pools and without the tier of twice the digits.
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np
import torch

import plica
from plica.analyses.regions import planar_engine, planar_fine_tier
from plica.core.domain import Box, Plane


def deep_network() -> plica.Network:
    """Twelve layers of 64."""
    rng, sizes = np.random.default_rng(7), [2] + [64] * 12
    weights = [(rng.standard_normal((n, m)) * np.sqrt(2 / m)).astype(np.float32) for m, n in itertools.pairwise(sizes)]
    layers: list[torch.nn.Module] = []
    for W in weights:
        layer = torch.nn.Linear(W.shape[1], len(W)).double()
        layer.weight.data = torch.tensor(W, dtype=torch.float64)
        layers += [layer, torch.nn.ReLU()]
    for layer in layers[::2]:
        bias = (0.1 * rng.standard_normal(64)).astype(np.float32)
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)  # type: ignore[union-attr]
    return plica.load(torch.nn.Sequential(*layers), (2,))


def pooled_network() -> tuple[plica.Network, np.ndarray]:
    """Two convolutions with pools, trained for 30 epochs, and the images."""
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    X, y = load_digits(return_X_y=True)
    images, labels = torch.tensor(X / 16.0).float().reshape(-1, 1, 8, 8), torch.tensor(y)
    layers = [torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    layers += [torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(64, 10))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30):
        for i in range(0, len(images), 128):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(images[i : i + 128]), labels[i : i + 128]).backward()
            optimiser.step()
    return plica.load(model.double(), (1, 8, 8)), images.double().numpy()


def plane(images: np.ndarray, share: float) -> Plane:
    """A plane through three images, with a part of its window."""
    whole = Plane.through(images[:3].reshape(3, -1))
    half = share * (whole.window.upper - whole.window.lower)  # type: ignore[union-attr]
    return Plane(whole.origin, whole.basis, Box(-half, half))


def only_integers() -> None:
    """Switch the tiers between off."""
    planar_engine.split_maxima = lambda k, *_, **__: (0, [], np.arange(len(k.polygons)))  # type: ignore
    planar_engine.needs_rounds = lambda _: False  # type: ignore
    planar_fine_tier.FineTier.split = planar_fine_tier.FineTier.signs = lambda *_, **__: None  # type: ignore


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deep", type=float)
    parser.add_argument("--pool", type=float)
    parser.add_argument("--integers", action="store_true")
    parser.add_argument("--seconds", type=float, default=600.0)
    asked = parser.parse_args()
    if asked.integers:
        only_integers()
    tasks = []
    if asked.deep:
        tasks.append((deep_network(), Box([-asked.deep] * 2, [asked.deep] * 2), Box([-1e-3] * 2, [1e-3] * 2)))
    if asked.pool:
        net, images = pooled_network()
        tasks.append((net, plane(images, asked.pool), plane(images, 1e-4)))
    for net, domain, small in tasks:
        plica.count_regions(net, small)
        start = time.process_time()
        found = plica.count_regions(net, domain, progress=plica.Progress(max_seconds=asked.seconds))
        print(found, f"\n  {time.process_time() - start:.2f} CPU s")


if __name__ == "__main__":
    main()
