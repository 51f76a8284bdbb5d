"""The networks of Szegedy et al. (2013), section 4.2, trained with L-BFGS until it stops.

What the paper leaves open is a named field of `Recipe`, with its default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from plica.core.progress import Progress
from plica.errors import ArgumentError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}
CHUNK = 10_000  # images per pass of the full-batch loss


@dataclass(frozen=True)
class Recipe:
    """One network of the paper and how it is trained.

    Attributes
    ----------
    name : str
        As in the paper's tables.
    hidden : tuple of int
        Units of the hidden layers.
    decay : tuple of float
        lambda of every layer; the loss gets lambda sum w^2 / k, k the units of the layer.
    activation : {"sigmoid", "relu"}
        The paper's networks are sigmoid networks.
    autoencoder : bool
        The hidden layer is that of a sparse autoencoder trained without labels; only the last layer sees labels.
    sparsity, sparsity_weight : float
        Mean activity that the autoencoder's units are drawn to, and the weight of that term (Kullback-Leibler). The
        paper says "sparse" and gives no numbers.
    iterations : int
        Most iterations of L-BFGS. The paper trains until convergence.
    tolerance : float
        L-BFGS has converged when no entry of the gradient is larger.
    seed : int
        Of the first weights.
    """

    name: str
    hidden: tuple[int, ...]
    decay: tuple[float, ...]
    activation: str = "sigmoid"
    autoencoder: bool = False
    sparsity: float = 0.05
    sparsity_weight: float = 0.1
    iterations: int = 1000
    tolerance: float = 1e-5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ArgumentError(f"Recipe: activation = {self.activation!r}; use one of {', '.join(ACTIVATIONS)}.")
        if len(self.decay) != len(self.hidden) + 1:
            raise ArgumentError(f"Recipe: {len(self.decay)} decays for {len(self.hidden) + 1} layers; give one each.")


DECAYS = (1e-5, 1e-5, 1e-6)
RECIPES = {
    r.name: r
    for r in (
        Recipe("FC10(1e-4)", (), (1e-4,)),
        Recipe("FC10(1e-2)", (), (1e-2,)),
        Recipe("FC10(1)", (), (1.0,)),
        Recipe("FC100-100-10", (100, 100), DECAYS),
        Recipe("FC200-200-10", (200, 200), DECAYS),
        Recipe("FC123-456-10", (123, 456), DECAYS),
        Recipe("AE400-10", (400,), (0.0, 1e-6), autoencoder=True),
    )
}


def with_relu(recipe: Recipe) -> Recipe:
    """The same network with ReLU in place of the sigmoid."""
    return replace(recipe, name=f"{recipe.name} ReLU", activation="relu")


def key(recipe: Recipe, **data: Any) -> dict[str, Any]:
    """What the weights depend on, as plain values; the key of `Setting.trained`."""
    return {**asdict(recipe), **data}


# --- building and training --------------------------------------------------------------------------------------


def build(recipe: Recipe, inputs: int = 784, classes: int = 10) -> nn.Sequential:
    """The untrained network, weights drawn with the recipe's seed (Glorot), biases zero; in training mode."""
    sizes = (inputs, *recipe.hidden, classes)
    with seeded(recipe.seed):
        layers: list[nn.Module] = []
        for n, m in pairwise(sizes):
            linear = nn.Linear(n, m)
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
            layers += [linear, ACTIVATIONS[recipe.activation]()]
    return nn.Sequential(*layers[:-1])


def train(recipe: Recipe, images: Tensor, labels: Tensor, *, progress: Progress | None = None) -> nn.Sequential:
    """Build and train a network of the paper.

    Parameters
    ----------
    recipe : Recipe
    images : Tensor, shape (n, inputs)
        Pixels in [0, 1]; the network is trained in their dtype.
    labels : Tensor, shape (n,)
        Whole numbers from 0.
    progress : Progress, optional
        Listener and time budget; a budget that runs out raises `BudgetReached`.

    Returns
    -------
    torch.nn.Sequential
        In evaluation mode.
    """
    module = build(recipe, images.shape[1], max(10, int(labels.max()) + 1)).to(images.dtype)
    watch = progress or Progress()
    if not recipe.autoencoder:
        fit(module, images, labels, recipe, progress=watch)
        return module.eval()
    encoder = nn.Sequential(module[0], module[1])
    _fit_autoencoder(encoder, images, recipe, watch)
    with torch.no_grad():
        features = encoder(images)
    head = module[2:]
    fit(head, features, labels, replace(recipe, decay=recipe.decay[-1:], hidden=()), progress=watch)
    return module.eval()


def weight_decay(module: nn.Module, decay: Sequence[float]) -> Tensor:
    """The paper's lambda sum w^2 / k, summed over the layers; k is the number of units of the layer."""
    layers = [m for m in module.modules() if isinstance(m, nn.Linear)]
    terms = [d * m.weight.square().sum() / m.out_features for d, m in zip(decay, layers, strict=True)]
    return torch.stack(terms).sum()


def fit(module: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, *, progress: Progress) -> None:
    """Minimise mean cross-entropy plus weight decay over all images with L-BFGS, in place."""

    def loss(rows: slice) -> Tensor:
        return nn.functional.cross_entropy(module(images[rows]), labels[rows], reduction="sum")

    _lbfgs(module, len(images), loss, lambda: weight_decay(module, recipe.decay), recipe, progress)


def _fit_autoencoder(encoder: nn.Sequential, images: Tensor, recipe: Recipe, progress: Progress) -> None:
    """Sparse autoencoder: squared reconstruction error plus a pull of every unit's mean activity to the sparsity."""
    with seeded(recipe.seed + 1):
        decoder = nn.Linear(recipe.hidden[0], images.shape[1]).to(images.dtype)
    whole = nn.Sequential(encoder, decoder, nn.Sigmoid())
    rho = recipe.sparsity

    def loss(rows: slice) -> Tensor:
        codes = encoder(images[rows])
        mean = codes.mean(0).clamp(1e-6, 1 - 1e-6)
        pull = (rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()).sum()
        error = (torch.sigmoid(decoder(codes)) - images[rows]).square().sum()
        return error + recipe.sparsity_weight * pull * len(codes)

    _lbfgs(whole, len(images), loss, lambda: images.new_zeros(()), recipe, progress)


def _lbfgs(
    module: nn.Module,
    n: int,
    loss: Callable[[slice], Tensor],
    penalty: Callable[[], Tensor],
    recipe: Recipe,
    progress: Progress,
) -> None:
    """L-BFGS with a strong Wolfe search until its gradient is small, or the iterations are used up."""
    optimizer = torch.optim.LBFGS(
        module.parameters(),
        max_iter=recipe.iterations,
        max_eval=2 * recipe.iterations,
        tolerance_grad=recipe.tolerance,
        tolerance_change=1e-12,
        history_size=30,
        line_search_fn="strong_wolfe",
    )
    seen = 0

    def closure() -> float:
        nonlocal seen
        progress.check()
        progress.report(f"training {recipe.name}", seen, None)
        seen += 1
        optimizer.zero_grad()
        total = 0.0
        for start in range(0, n, CHUNK):
            part = loss(slice(start, min(start + CHUNK, n))) / n
            part.backward()
            total += float(part.detach())
        extra = penalty()
        if extra.requires_grad:
            extra.backward()
        return total + float(extra.detach())

    optimizer.step(closure)
    if not all(bool(torch.isfinite(p).all()) for p in module.parameters()):
        raise ArgumentError(f"Training {recipe.name} diverged; use another seed, or more weight decay.")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw with a seed, and leave torch's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def error(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that are classified wrongly; NaN without images."""
    if len(images) == 0:
        return math.nan
    with torch.no_grad():
        wrong = sum(int((module(x).argmax(1) != y).sum()) for x, y in zip(images.split(CHUNK), labels.split(CHUNK),
                                                                         strict=True))  # fmt: skip
    return wrong / len(images)
