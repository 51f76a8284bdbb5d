"""Section 4.2: kernels, what a layer does not see, and the tangents of shifts and rotations (Figs 4 and 5)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from plica.analyses.units import unit_maps
from plica.core.network import Network
from plica.core.result import Standing
from plica.experiments.carlsson2017.nets import SOURCE, convolutional, image_sets
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.loaders import load

DEGREES = 5.0
FACTORS = ("shift right", "shift down", "rotation")


def tangents(x: np.ndarray) -> dict[str, np.ndarray]:
    """Central differences of an image (side, side) under shifts by a pixel and rotations by some degrees."""
    right, down = (0, 1), (1, 0)
    moved = {
        name: [ndimage.shift(x, np.multiply(way, s), order=1) for s in (1, -1)]
        for name, way in (("shift right", right), ("shift down", down))
    }
    moved["rotation"] = [ndimage.rotate(x, s * DEGREES, reshape=False, order=1) for s in (1, -1)]
    return {name: ((a - b) / 2).ravel() for name, (a, b) in moved.items()}


def _measure(net: Network, layer: str, x: np.ndarray, ways: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """For each direction: mean |cos| with the active units' kernels, and the share of it that these do not see."""
    maps = unit_maps(net, x[None], layer=layer).maps[0].reshape(-1, x.size)
    rows = maps[np.linalg.norm(maps, axis=1) > 0]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    _, sizes, right = np.linalg.svd(unit, full_matrices=False)
    seen = right[sizes > 1e-9 * sizes[0]] if len(sizes) else np.zeros((0, x.size))
    out = {}
    for name, way in ways.items():
        v = way / np.linalg.norm(way)
        out[name] = (float(np.abs(unit @ v).mean()) if len(unit) else 0.0, 1.0 - float(((seen @ v) ** 2).sum()))
    return out


def external_factors(setting: Setting) -> Made:
    """Kernels, and what they do not see, against external factors and steps to another class."""
    module = convolutional(setting)
    name, _, test = image_sets(setting)
    net, rng = load(module, test.images.shape[1:]), np.random.default_rng(setting.seed)
    count = 200 if setting.full else 60
    images, labels = test.images[:count], np.asarray(test.labels)[:count]
    cosine: dict[str, np.ndarray] = {}
    unseen: dict[str, np.ndarray] = {}
    names = (*FACTORS, "other class", "random")
    for layer in net.layers:
        table = []
        for x, label in zip(images, labels, strict=True):
            setting.progress.check()
            other = images[labels != label]
            nearest = other[np.argmin(((other - x) ** 2).reshape(len(other), -1).sum(1))]
            ways = {**tangents(x[0]), "other class": (nearest - x).ravel(), "random": rng.normal(size=x.size)}
            found = _measure(net, layer, x, ways)
            table.append([found[n] for n in names])
        mean = np.mean(table, axis=0)
        cosine[layer], unseen[layer] = mean[:, 0], mean[:, 1]
    claims = []
    for layer in net.layers:
        c, u = (dict(zip(names, values[layer], strict=True)) for values in (cosine, unseen))
        factors = float(np.mean([c[f] for f in FACTORS]))
        claims.append(
            Claim(
                f"hyperplanes of {layer} stand across external factors", "necessary (Fig. 5)",
                f"|cos| of kernels with tangents {factors:.3f}, with random directions {c['random']:.3f}",
                factors > c["random"], SOURCE.format(name),
            )
        )  # fmt: skip
        lost = float(np.mean([u[f] for f in FACTORS]))
        claims.append(
            Claim(
                f"{layer} does not mix classes: its preimages run along external factors", "necessary (Fig. 5)",
                f"unseen share of tangents {lost:.3f}, of the step to the nearest other class "
                f"{u['other class']:.3f}, of random directions {u['random']:.3f}", lost > u["other class"],
                "Squared length of the part that no active unit sees; both shares are of unit vectors.",
            )
        )  # fmt: skip
    panels = []
    for title, y, values in (("kernels and directions", "mean |cos|", cosine), ("not seen", "share", unseen)):
        depth = np.arange(len(net.layers))
        series = {n: np.array([depth, [values[layer][k] for layer in net.layers]]) for k, n in enumerate(names)}
        panels.append(Panel("bars", title, series, "layer (0: first)", y))
    shown = {
        "image": images[0][0],
        **{k: 0.5 + v.reshape(images[0][0].shape) for k, v in tangents(images[0][0]).items()},
    }
    return claims, [Panel("images", "tangents of external factors", shown), *panels], Standing.ESTIMATE
