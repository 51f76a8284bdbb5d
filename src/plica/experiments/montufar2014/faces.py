"""Figs 7 to 10 and appendix G: what units respond to, on the digits of scikit-learn in place of faces."""

from __future__ import annotations

import numpy as np

import plica
from plica.analyses.units import cluster_maps, equal_activation
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.result import Standing
from plica.experiments.digits import digits_images, digits_mlp
from plica.experiments.figure import Claim, Made, Panel, Setting

SUBSTITUTE = (
    "Not on the Toronto Faces Dataset: scikit-learn's digits, and a network 64-32-16-10 trained on them with "
    "Adam, without dropout or norm constraints, in place of three hidden layers of 1000, 1000 and 100 units."
)


def maps_of_layers(setting: Setting) -> Made:
    """Figs 7 to 9: linear maps of hidden and output units, clustered; differences of one unit's maps."""
    net, images = _trained(setting)
    panels, claims = [], []
    for layer, title in (("relu1", "first"), ("relu2", "second"), ("fc3", "output")):
        maps = plica.unit_maps(net, images, layer=layer, progress=setting.progress)
        clusters = cluster_maps(maps, 4, seed=setting.seed)
        shown = clusters.order[:4]
        drawn = {f"{clusters.units[u]}, {k + 1}": _image(clusters.representatives[u, k])
                 for u in shown for k in range(4) if clusters.members[u, k] >= 0}  # fmt: skip
        panels.append(Panel("images", f"Units of the {title} layer, each with up to four maps", drawn))
        most = float(clusters.spread.max())
        alone = layer == "relu1"
        claims.append(Claim(
            f"{title} layer: a unit responds with {'one map' if alone else 'different maps'}",
            "one" if alone else "several", f"largest distance of two maps of a unit {most:.3g}",
            most < 1e-9 if alone else most > 1e-3, SUBSTITUTE if alone else ""))  # fmt: skip
        if layer == "relu2":
            gaps = clusters.differences(int(clusters.units[shown[0]]))
            pairs = {f"{i + 1} - {j + 1}": _image(gaps[i, j]) for i in range(4) for j in range(i + 1, 4)}
            panels.append(Panel("images", f"Differences of the maps of unit {clusters.units[shown[0]]}", pairs))
    return claims, panels, Standing.ESTIMATE


def same_activation(setting: Setting) -> Made:
    """Fig. 10: three points on different pieces at which a unit has exactly one value."""
    net, images = _trained(setting)
    inside = net.within(Box(0.0 * images[0], 0.0 * images[0] + 1.0))
    found = equal_activation(inside, images, layer="relu2", unit=3, level=2.5, count=3, progress=setting.progress)
    worst = float(np.abs(found.errors).max(initial=0.0))
    new = bool((found.distances > 0).all())
    claims = (
        Claim("distinct points with exactly one activation, 2.5", "3", f"{len(found.points)}",
              len(found.points) == 3, "Exact in real arithmetic. " + SUBSTITUTE),
        Claim("they are not images of the set", "not", "not" if new else "some are", new),
        Claim("rounded to floats the value is off by", "", f"{worst:.1e}", None, "The paper does not say."),
    )  # fmt: skip
    points = {f"point {i + 1}": x.reshape(8, 8) for i, x in enumerate(found.points)}
    maps = {f"map {i + 1}": _image(m) for i, m in enumerate(found.maps)}
    return claims, (Panel("images", "Points", points), Panel("images", "Maps there", maps)), found.standing


def _trained(setting: Setting) -> tuple[Network, np.ndarray]:
    """The network, and the images it was trained on."""
    return plica.load(digits_mlp(setting.seed)[0], (64,)), digits_images("train").images


def _image(values: np.ndarray) -> np.ndarray:
    """A map as an image: 0 is grey."""
    most = float(np.abs(values).max()) or 1.0
    return (0.5 + 0.5 * values / most).reshape(8, 8)
