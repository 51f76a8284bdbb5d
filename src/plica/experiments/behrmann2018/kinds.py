"""Finite and infinite preimages of the first layer over the test set (Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from plica.analyses.preimage import Kind, KindResult, preimage_kind
from plica.core.result import Completeness, weakest
from plica.errors import BudgetReached
from plica.experiments.behrmann2018.models import mnist_net
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.training import train
from plica.loaders import load

BINS = 25
IMAGES = 150  # of a quick figure


@dataclass(frozen=True)
class Trained:
    """A first layer, and how its network is trained: Adam's rate is not printed in A4."""

    width: int
    rate: float = 1e-3
    epochs: int = 25
    images: int | None = None
    batch: int = 1000

    def __str__(self) -> str:
        count = "all" if self.images is None else f"{self.images:,}"
        return (
            f"{self.width} units, rate {self.rate:g}, {self.epochs} epochs of {count} images, batches of {self.batch}"
        )


# As printed; a width at which about as many units fire as there are inputs; a rate that leaves fewer of them firing.
FULL = (Trained(3500), Trained(1600), Trained(3500, 2e-3))
QUICK = (Trained(3500, 1e-3, 2, 20_000), Trained(1000, 1e-3, 2, 20_000), Trained(3500, 3e-3, 2, 20_000, 250))


def first_layer(setting: Setting, how: Trained) -> nn.Module:
    """The network of Table 2 with a first layer of some width, trained."""

    def fit(module: nn.Module) -> None:
        images = setting.images("mnist", "train", limit=how.images)
        adam = partial(torch.optim.Adam, lr=how.rate)
        train(module, images.images, np.asarray(images.labels), epochs=how.epochs, batch=how.batch, optimiser=adam,
              seed=setting.seed, check=setting.progress.check)  # fmt: skip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        module = mnist_net((how.width, 784))
    return setting.trained(module, fit, {"name": f"behrmann2018-{how.width}", "how": str(how), "seed": setting.seed})


def kinds(setting: Setting, how: Trained) -> KindResult:
    """Kinds of the first layer's preimages of test images.

    Raises
    ------
    BudgetReached
        When the time ends before the last of them.
    """
    images = setting.images("mnist", "test", limit=10_000 if setting.full else IMAGES)
    net = load(first_layer(setting, how), images.images.shape[1:])
    found = preimage_kind(net, images.images, layer=0, progress=setting.progress)
    if found.completeness is not Completeness.COMPLETE:
        raise BudgetReached(f"{how}: {len(found.kinds)} of {len(images.images)} images before the time ended.")
    return found


def strip(setting: Setting) -> Made:
    """Fig. 3 for the printed network, and for two that fill the strip."""
    rows = [(how, kinds(setting, how)) for how in (FULL if setting.full else QUICK)]
    claims = [claim for how, found in rows for claim in _claims(how, found)]
    both = [str(how) for how, found in rows if {"compact", "unbounded"} <= set(found.kinds.tolist())]
    claims.append(
        Claim("below 784 positive outputs both compact and infinite preimages occur", "from 723 to 784",
              f"in {len(both)} of {len(rows)} networks", bool(both),
              "Where the two meet depends on the training, for which A4 prints neither rate nor first weights.")
    )  # fmt: skip
    return claims, [_panel(how, found) for how, found in rows], weakest(found.standing for _, found in rows)


def _claims(how: Trained, found: KindResult) -> list[Claim]:
    """What one network shows."""
    fired, n = found.positive, found.shape[1]
    single, enough = found.kinds == Kind.SINGLETON, fired >= n
    counts = f"{fired.min()} to {fired.max()}, median {np.median(fired):.0f}"
    words = "; ".join(_range(kind, fired[found.kinds == kind]) for kind in (Kind.COMPACT, Kind.UNBOUNDED))
    printed = how == FULL[0]
    return [
        Claim(f"positive outputs: {how}", "likely about 784" if how.width == 3500 else "", counts,
              bool(fired.min() <= n <= fired.max()) if printed else None,
              "" if printed else "Not the printed training, or width."),
        Claim("at least 784 of them give a singleton", "assumed", f"{int(single[enough].sum())} of {int(enough.sum())}",
              bool(single[enough].all()) if enough.any() else None, "Decided here by the rank of the rows, proven."),
        Claim("fewer give", "finite or infinite", words, None, "Every kind is proven."),
    ]  # fmt: skip


def _range(kind: Kind, fired: np.ndarray) -> str:
    return f"{kind}: {len(fired)}, at {fired.min()} to {fired.max()}" if len(fired) else f"{kind}: none"


def _panel(how: Trained, found: KindResult) -> Panel:
    """Images by positive outputs."""
    edges = np.linspace(found.positive.min(), found.positive.max() + 1, BINS + 1)
    middle, infinite = (edges[1:] + edges[:-1]) / 2, found.kinds == Kind.UNBOUNDED
    parts = {"infinite": infinite, "finite": ~infinite}
    series = {k: np.stack([middle, np.histogram(found.positive[v], edges)[0]]) for k, v in parts.items()}
    return Panel("lines", f"{how.width} units, rate {how.rate:g}", series, "positive outputs", "images")
