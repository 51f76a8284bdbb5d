"""Figs 1 to 4: images that stimulate single units and random directions of the last hidden layer most."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from plica.analyses.units import maximisers
from plica.analyses.units.maximisers import MaximisersResult
from plica.core.classifier import Classifier, TorchClassifier
from plica.core.result import Standing
from plica.errors import DataError
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.szegedy2013.nets import CIFAR_SOURCE, cifar, convolutional, images

TOP, SHOWN = 8, 4  # images per direction; directions that are drawn
LABELS = "Share of the most frequent label among the 8 strongest images; the paper shows rows of images and no numbers."


def natural_digits(setting: Setting) -> Made:
    """Fig. 1."""
    return _figure(setting, "natural", _digits(setting))


def random_digits(setting: Setting) -> Made:
    """Fig. 2."""
    return _figure(setting, "gaussian", _digits(setting))


def natural_colour(setting: Setting) -> Made:
    """Fig. 3."""
    return _figure(setting, "natural", _colour(setting))


def random_colour(setting: Setting) -> Made:
    """Fig. 4."""
    return _figure(setting, "gaussian", _colour(setting))


Source: TypeAlias = tuple[
    Classifier, str, np.ndarray, np.ndarray, str
]  # model, layer, images, labels, what was substituted


def _digits(setting: Setting) -> Source:
    data = images(setting)
    shape = (1, data.side, data.side)
    model = TorchClassifier(convolutional(setting, data), shape)
    source = f"A convolutional network trained here on {len(data.x)} images ({data.name}); the paper prints none."
    return model, "8", data.test_x.reshape(-1, *shape).numpy(), data.test_y.numpy(), source


def _colour(setting: Setting) -> Source:
    found = cifar(setting)
    if found is None:
        raise DataError("Figs 3 and 4 need a CIFAR-10 network and images in the data folder (data=, --data).")
    net, x, y = found
    return net, net.choices[-1], x, y, CIFAR_SOURCE.format("AlexNet and ImageNet")


def _figure(setting: Setting, kind: str, source: Source) -> Made:
    """One figure, and the comparison of single units with random directions."""
    model, layer, x, y, said = source
    found = {
        way: maximisers(model, x, layer=layer, directions=way, top=TOP, labels=y, seed=setting.seed,
                        progress=setting.progress)
        for way in ("natural", "gaussian", "centred")
    }  # fmt: skip
    claims = _claims(found, kind, said)
    shown = found[kind]
    names = {f"{'unit' if kind == 'natural' else 'direction'} {k}": _strip(x[shown.images[k]])
             for k in _alive(shown)[:SHOWN]}  # fmt: skip
    words = "single units" if kind == "natural" else "random directions"
    return claims, (Panel("images", f"strongest images of {words}", names),), Standing.NUMERICAL


def _alive(found: MaximisersResult) -> np.ndarray:
    """Directions that some image stimulates: a unit that never fires has no strongest image."""
    return np.flatnonzero(found.values[:, 0] > found.values[:, -1])


def _claims(found: dict[str, MaximisersResult], kind: str, said: str) -> list[Claim]:
    purity = {way: result.purity[_alive(result)] for way, result in found.items()}
    base = found[kind].baseline
    own = purity[kind]
    said_all = f"{said} {LABELS}"
    gap, error = _gap(purity["natural"], purity["gaussian"])
    centred, error_centred = _gap(purity["natural"], purity["centred"])
    return [
        Claim("images within each row share semantic properties", "shown",
              f"purity {own.mean():.2f} over {len(own)} directions; random images {base[0]:.2f} "
              f"(95 % below {base[2]:.2f})", bool(own.mean() > base[2]), said_all),
        Claim("random directions are as meaningful as single units", "no distinction",
              f"purity {purity['natural'].mean():.3f} of units, {purity['gaussian'].mean():.3f} of directions: "
              f"difference {gap:+.3f}, standard error {error:.3f}", bool(abs(gap) <= 2 * error),
              "Held to be so within two standard errors."),
        Claim("the same, directions orthogonal to the mean activity", "not asked",
              f"{purity['centred'].mean():.3f}: difference {centred:+.3f}, standard error {error_centred:.3f}", None,
              "Without the mean an image is not strong merely because many units fire."),
    ]  # fmt: skip


def _gap(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
    """Difference of two means, and its standard error."""
    if len(one) < 2 or len(two) < 2:
        return math.nan, math.nan
    return float(one.mean() - two.mean()), math.sqrt(one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two))


def _strip(x: np.ndarray) -> np.ndarray:
    """Images side by side, as (h, w) or (h, w, 3)."""
    return np.concatenate([picture(one) for one in x], axis=1)


def picture(x: np.ndarray) -> np.ndarray:
    """An image as (h, w) or (h, w, 3) in [0, 1], whether flat, or with its colours first or last."""
    if x.ndim == 1:
        side = round(x.size**0.5)
        return np.clip(x.reshape(side, side), 0, 1)
    if x.shape[0] in (1, 3):
        x = np.moveaxis(x, 0, -1)
    return np.clip(x[..., 0] if x.shape[-1] == 1 else x, 0, 1)
