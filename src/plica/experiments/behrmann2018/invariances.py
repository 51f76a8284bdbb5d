"""Images of another class inside a preimage of the first layer (Figs 6 and 11, appendix A7)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from plica.analyses.preimage import impostor, preimage
from plica.core.domain import Box
from plica.core.result import Standing
from plica.experiments.behrmann2018.models import mnist_net
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.training import train
from plica.loaders import load

COUNT = 3  # images with the fewest positive outputs


def vanilla() -> nn.Sequential:
    """The network of Table 1."""
    return mnist_net((100,) * 10)


def reader() -> nn.Sequential:
    """A small convolutional network, to read images as an eye would."""
    first, second = nn.Conv2d(1, 16, 5, stride=2), nn.Conv2d(16, 32, 5, stride=2)
    layers = [first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)]
    return nn.Sequential(nn.Unflatten(1, (1, 28)), *layers)


def trained(setting: Setting, make: Callable[[], nn.Sequential]) -> nn.Sequential:
    """A network trained by A4's recipe, in a quick figure on fewer images."""
    epochs, count = (25, None) if setting.full else (8, 20_000)

    def fit(module: nn.Module) -> None:
        images = setting.images("mnist", "train", limit=count)
        train(module, images.images, np.asarray(images.labels), epochs=epochs, batch=1000 if setting.full else 100,
              optimiser=torch.optim.Adam, seed=setting.seed, check=setting.progress.check)  # fmt: skip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        module = make()
    key = {"name": f"behrmann2018-{make.__name__}", "epochs": epochs, "images": count, "seed": setting.seed}
    setting.trained(module, fit, key)
    return module


def other_classes(setting: Setting) -> Made:
    """The paper's linear program max <c, x> over the preimage in the image box, and the nearest point to c."""
    module, second = trained(setting, vanilla), trained(setting, reader)
    test = setting.images("mnist", "test", limit=2000)
    images, labels = test.images, np.asarray(test.labels)
    net = load(module, images.shape[1:])
    with torch.no_grad():
        fired = (module[:2](torch.from_numpy(images).float()) > 0).sum(1).numpy()
    claims, panels, changed = list[Claim](), list[Panel](), []
    for number in np.argsort(fired, kind="stable")[:COUNT]:
        setting.progress.check()
        x = images[number]
        goals = images[labels != labels[number]]
        c = goals[np.argmin(((goals - x) ** 2).reshape(len(goals), -1).sum(1))]
        shown = {"x": x, "c": c}
        nearest = impostor(net, x, c, layer=0).impostor
        for name, u in (("max <c, x>", _linear_program(net, x, c)), ("nearest to c", nearest)):
            own, other = net(np.stack([x, u])).argmax(1).tolist()
            with torch.no_grad():
                gap, seen = _gap(module, x, u), int(second(torch.from_numpy(u[None]).float()).argmax())
            changed.append(seen != other)
            claims.append(
                Claim(
                    f"a {labels[number]} with {fired[number]} positive outputs, {name}",
                    "identical features, another digit to the eye",
                    f"features differ by {gap:.1e}; answers {own} and {other}; a second network sees a {seen}; "
                    f"{_share(x, u, c):.0%} of the way to c", gap < 1e-4 and own == other,
                    "Judged here: equal features in float32, and equal answers.",
                )
            )  # fmt: skip
            shown[name] = u
        panels.append(Panel("images", f"a {labels[number]}, and images with its features", shown))
    claims.append(
        Claim("a second network reads another digit", "to the eye", f"in {sum(changed)} of {len(changed)} images",
              any(changed), "The paper shows pictures and no number.")
    )  # fmt: skip
    return claims, panels, Standing.NUMERICAL


def _linear_program(net, x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Appendix A7: the point of the preimage in [0, 1] that correlates most with c."""
    box = Box(np.zeros(x.size), np.ones(x.size))
    piece = next(preimage(net, x, layer=0, domain=box).pieces(1))
    return np.clip(piece.polyhedron().support(c.ravel()).point, 0, 1).reshape(x.shape)


def _gap(module: nn.Sequential, x: np.ndarray, u: np.ndarray) -> float:
    """Largest difference of the first layer's outputs, in float32."""
    pair = module[:3](torch.from_numpy(np.stack([x, u])).float())
    return float((pair[0] - pair[1]).abs().max())


def _share(x: np.ndarray, u: np.ndarray, c: np.ndarray) -> float:
    """How far u has come from x towards c, along the line."""
    way = (c - x).ravel()
    return float(way @ (u - x).ravel() / (way @ way))
