"""Figs 5 to 7: images beside the nearest ones that a network gets wrong."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from plica.analyses.adversarial import DistortionResult, min_distortion
from plica.core.classifier import TorchClassifier
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.result import Standing
from plica.errors import DataError
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.szegedy2013.models import RECIPES
from plica.experiments.szegedy2013.nets import CIFAR_SOURCE, HOW, SEARCHED, cifar, images, network
from plica.experiments.szegedy2013.units import picture

PIXELS = Box(0, 1)
CAR, AIMED = 1, 2  # CIFAR-10: automobile; bird, for the paper's ostrich
COLOURED, SHOWN = 64, 4  # images of Fig. 5, as in the paper; drawn
MAGNIFIED = 10.0


def one_class(setting: Setting) -> Made:
    """Fig. 5: every image becomes a bird."""
    net, x, y = _given(setting)
    answers = _answers(net, x)
    chosen = np.flatnonzero((answers == y) & (y != AIMED))[: COLOURED if setting.full else 16]
    found = min_distortion(net, x[chosen], y[chosen], targets=AIMED, box=PIXELS, seed=setting.seed, method="lbfgs",
                           progress=setting.progress)  # fmt: skip
    setting.progress.check()
    source = CIFAR_SOURCE.format("AlexNet")
    claims = [
        Claim("every image is predicted as the class aimed at", "ostrich", f"bird, {_share(found)}",
              bool(found.found.all()), source),
        Claim("average distortion", "0.006508, 64 images", f"{found.average():.4f}, {len(chosen)} images", None,
              f"{source} 32 x 32 pixels instead of some 224 x 224: with k times as many pixels the same length is "
              "a distortion sqrt(k) times smaller."),
        Claim("the perturbation is hardly perceptible", "shown",
              f"a pixel changes by {255 * found.average():.2g} of 255 on average (rms)", found.average() < 8 / 255,
              "Held to be so below 8 of 255."),
    ]  # fmt: skip
    return claims, (_pairs(x[chosen], found, "distorted to be birds", signed=True),), Standing.NUMERICAL


def binary(setting: Setting) -> Made:
    """Fig. 6: cars that are no longer recognised by a two-class reading of the network."""
    net, x, y = _given(setting)
    module = _CarOrNot(net).eval()
    model = TorchClassifier(module, tuple(net.input_shape))
    cars = np.flatnonzero((y == CAR) & (_answers(net, x) == CAR))[: SEARCHED if setting.full else 12]
    found = min_distortion(model, x[cars].astype(np.float32), np.ones(len(cars), dtype=int), box=PIXELS,
                           seed=setting.seed, method="lbfgs", progress=setting.progress)  # fmt: skip
    setting.progress.check()
    source = (
        CIFAR_SOURCE.format("QuocNet") + " Its logit for cars against the largest other one is the binary classifier."
    )
    claims = [
        Claim("cars are not recognised after a small change", "all", _share(found), bool(found.found.all()), source),
        Claim("average distortion", "not printed", f"{found.average():.4f}", None, source),
    ]
    return claims, (_pairs(x[cars], found, "cars, changed, difference", signed=False),), Standing.NUMERICAL


class _CarOrNot(nn.Module):
    """Two logits of a network: the largest of the others, and the car's."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.body = net.to_torch()
        self.others = [k for k in range(math.prod(net.output_shape)) if k != CAR]

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        logits = self.body(x)
        return torch.stack([logits[:, self.others].amax(1), logits[:, CAR]], 1)


def digits(setting: Setting) -> Made:
    """Fig. 7: distorted digits of two networks, and digits under noise."""
    data = images(setting)
    x, y = data.test_x, data.test_y
    claims, panels = [], []
    for name, printed in (("FC10(1e-4)", "0 %"), ("FC200-200-10", "0 %")):
        module = network(setting, RECIPES[name], data)
        some = (x, y) if setting.full else (x[:SEARCHED], y[:SEARCHED])
        found = min_distortion(module, *some, box=PIXELS, seed=setting.seed, progress=setting.progress, **HOW)
        setting.progress.check()
        with torch.no_grad():
            points = torch.from_numpy(np.where(found.found[:, None], found.x_adv, some[0].numpy()))
            right = float((module(points).argmax(1) == some[1]).float().mean())
        said = f"{100 * right:.3g} %; distortion {found.average():.3f}"
        claims.append(Claim(f"accuracy of {name} on images distorted for it", printed, said, right == 0.0,
                            f"Trained here ({data.name})."))  # fmt: skip
        panels.append(_pairs(some[0].numpy(), found, f"distorted for {name}", signed=True))
    noise = np.random.default_rng(setting.seed).normal(size=tuple(x.shape))
    for clip in (False, True):
        noisy = x.double() + torch.from_numpy(noise)
        noisy = noisy.clamp(0, 1) if clip else noisy
        with torch.no_grad():
            right = float((module(noisy.float()).argmax(1) == y).float().mean())
        words = "clipped" if clip else "not clipped"
        claims.append(Claim(f"accuracy under noise of deviation 1, {words}: half of the cases", "51 %",
                            f"{100 * right:.3g} %", 0.3 < right < 0.7, "The paper does not say whether it clips; "
                            "FC200-200-10; held to be so from 30 to 70 %."))  # fmt: skip
    return claims, panels, Standing.NUMERICAL


# --- parts ------------------------------------------------------------------------------------------------------


def _given(setting: Setting) -> tuple[Network, np.ndarray, np.ndarray]:
    found = cifar(setting)
    if found is None:
        raise DataError("Figs 5 and 6 need a CIFAR-10 network and images in the data folder (data=, --data).")
    return found


def _answers(net: Network, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net.logits(torch.from_numpy(x).float()).argmax(1).numpy()


def _share(found: DistortionResult) -> str:
    return f"{int(found.found.sum())} of {len(found.status)} images"


def _pairs(x: np.ndarray, found: DistortionResult, title: str, *, signed: bool) -> Panel:
    """Image, difference magnified (around grey, or its size), and what it becomes."""
    rows = []
    for k in np.flatnonzero(found.found)[:SHOWN]:
        gap = MAGNIFIED * (found.x_adv[k] - x[k])
        middle = np.clip(0.5 + gap, 0, 1) if signed else np.clip(np.abs(gap), 0, 1)
        rows.append(np.concatenate([picture(x[k]), picture(middle), picture(found.x_adv[k])], axis=1))
    return Panel("images", title, {"image, 10 times the change, changed image": np.concatenate(rows)} if rows else {})
