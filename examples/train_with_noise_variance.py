"""Train a small network on handwritten digits to withstand Gaussian noise: by a formula, and by noisy copies.

Bibi et al. (2018), section 4.6, propose moments of the outputs under noise as a regulariser, in place of training on
noisy copies. plica gives mean and covariance of the logits exactly, with gradients by the weights. The loss under noise
is then the cross-entropy of the mean logits plus, to second order, half the trace of their covariance times the Hessian
of the cross-entropy: no noise is drawn. Takes a few seconds.
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from plica.analyses.moments import differentiable_moments
from plica.core.affine import Dense
from plica.core.choice import relu
from plica.core.network import INPUT, Graph, Network

STEPS, BATCH, UNITS = 100, 8, 20
NOISE = 0.5  # standard deviation of every pixel; pixels lie in [0, 1]
WAYS = {"plain": 0, "1 noisy copy": 1, "10 noisy copies": 10, "variance of the logits": None}


def digits():
    """Images with values in [0, 1], as training and test set."""
    data = load_digits()
    images, labels = torch.tensor(data.data) / 16, torch.tensor(data.target)
    return (images[:1400], labels[:1400]), (images[1400:], labels[1400:])


def as_network(model: nn.Sequential) -> Network:
    """Two linear layers with a ReLU between, as plica's graph on the same tensors: gradients reach them."""
    graph = Graph((64,))
    z = graph.add("z", Dense(model[0].weight, model[0].bias, (64,)), INPUT)
    kept = graph.add("relu", relu((UNITS,)), z)
    graph.add("logits", Dense(model[2].weight, model[2].bias, (UNITS,)), kept)
    return graph.network()


def expected_loss(model: nn.Sequential, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy under noise to second order around the mean logits, averaged over the images."""
    net, total = as_network(model), torch.zeros((), dtype=torch.float64)
    for image, label in zip(images, labels, strict=True):
        mean, cov = differentiable_moments(net, image, NOISE**2)
        p = mean.softmax(0)
        curvature = (p * cov.diagonal()).sum() - p @ cov @ p
        total = total + nn.functional.cross_entropy(mean, label) + curvature / 2
    return total / len(images)


def train(images: Tensor, labels: Tensor, copies: int | None) -> nn.Sequential:
    """Train on so many noisy copies of every image, 0: on the images; None: with the moments."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, UNITS), nn.ReLU(), nn.Linear(UNITS, 10)).double()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        batch = torch.randint(len(images), (BATCH,), generator=generator)
        x, y = images[batch], labels[batch]
        if copies is None:
            loss = expected_loss(model, x, y)
        else:
            x, y = x.repeat(max(copies, 1), 1), y.repeat(max(copies, 1))
            noise = NOISE * torch.randn(x.shape, generator=generator, dtype=x.dtype) if copies else 0.0
            loss = nn.functional.cross_entropy(model(x + noise), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def accuracy(model: nn.Sequential, images: Tensor, labels: Tensor, noise: float) -> float:
    """Share of right answers over 20 noisy copies of every image."""
    generator = torch.Generator().manual_seed(1)
    x = images.repeat(20, 1)
    x = x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return (model(x).argmax(1) == labels.repeat(20)).double().mean().item()


def main() -> None:
    """Train in four ways, compare under noise."""
    (images, labels), (test_images, test_labels) = digits()
    for name, copies in WAYS.items():
        model = train(images, labels, copies)
        _, cov = differentiable_moments(as_network(model), test_images[0], NOISE**2)
        found = [accuracy(model, test_images, test_labels, noise) for noise in (0.0, 0.25, NOISE)]
        print(
            f"{name:<23} accuracy {found[0]:.3f}, with noise 0.25: {found[1]:.3f}, with {NOISE}: {found[2]:.3f}; "
            f"largest standard deviation of a logit {cov.detach().diagonal().max().sqrt().item():.2f}"
        )


if __name__ == "__main__":
    main()
