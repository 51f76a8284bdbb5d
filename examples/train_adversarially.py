"""Train a small network on handwritten digits, with pools of adversarial examples for one layer or another.

Szegedy et al. (2013), section 4.2, report that such pools help most at the higher layers. Here the same network is
trained without a pool, with dropout, with a pool of images, with one at each hidden layer, and with all in turn. Takes
some seconds. On so few images the test errors differ by chance as much as by training.
"""

import torch
from torch import nn

import plica
from plica.experiments.digits import digits_images

EPOCHS, UNITS = 15, 50
WAYS = {"no pool": (), "dropout": (), "input": ["input"], "first layer": ["1"], "second layer": ["3"], "all": "all"}
BOX = plica.Box(0, 1)


def network(*, dropout: bool) -> nn.Sequential:
    """64-50-50-10 with ReLU; the same first weights every time."""
    torch.manual_seed(0)
    layers = [nn.Linear(64, UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU(), nn.Linear(UNITS, 10)]
    return nn.Sequential(*layers[:4], nn.Dropout(0.3), *layers[4:]) if dropout else nn.Sequential(*layers)


def main() -> None:
    """Train in every way; print test error, and how far the nearest mistake is."""
    train, test = digits_images("train"), digits_images("test")
    print(f"{'pool':14}{'test error':>12}{'distance of the nearest mistake':>34}")
    for name, layers in WAYS.items():
        module = network(dropout=name == "dropout")
        history = plica.adversarial_training(
            module, train.images, train.labels, layers=layers, test=(test.images, test.labels), box=BOX, epochs=EPOCHS,
            batch=50, rate=3e-3,
        )  # fmt: skip
        found = plica.min_distortion(module, test.images[:100], test.labels[:100], box=BOX, method="fast")
        print(f"{name:14}{100 * history.test_error[-1]:>10.1f} %{found.distance[found.distance > 0].mean():>34.3f}")


main()
