"""Train a small convolutional network on handwritten digits with and without a penalty on its Lipschitz bounds.

The penalty is that of Szegedy et al. (2013), section 4.3: the upper bound of every layer. Both networks are then
bounded by `plica.lipschitz`, whose numbers are proven. Takes a few seconds.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import plica
from plica.analyses.lipschitz.regularisers import lipschitz_penalty, row_correlation

SHAPE, STEPS = (1, 8, 8), 150


def digits():
    """Images with values in [0, 1], as training and test set."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(data.target)
    return (images[:1400], labels[:1400]), (images[1400:], labels[1400:])


def network() -> nn.Sequential:
    """A small network: the same start for every call."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(192, 10),
    )  # fmt: skip


def train(images, labels, penalty: float, correlation: float = 0.0) -> nn.Sequential:
    """Train with cross-entropy, the penalty on all layers' bounds, and one on correlated filters."""
    model = network()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        batch = torch.randint(len(images), (128,), generator=generator)
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        if penalty:
            loss = loss + penalty * lipschitz_penalty(model, SHAPE)
        if correlation:
            loss = loss + correlation * (row_correlation(model[0]) + row_correlation(model[2]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def main() -> None:
    """Train, bound, compare."""
    (images, labels), (test_images, test_labels) = digits()
    for name, penalty, correlation in (
        ("plain", 0.0, 0.0),
        ("with penalty", 0.01, 0.0),
        ("and correlation", 0.01, 1.0),
    ):
        model = train(images, labels, penalty, correlation)
        accuracy = (model(test_images).argmax(1) == test_labels).float().mean()
        result = plica.lipschitz(plica.load(model, SHAPE))
        filters = row_correlation(model[2]).item()
        print(
            f"{name:<16} accuracy {accuracy.item():.3f}, correlation of filters {filters:.3f}, "
            f"Lipschitz constant at most {result.upper:.2f} (product {result.product:.2f}), at least {result.lower:.2f}"
        )


if __name__ == "__main__":
    main()
