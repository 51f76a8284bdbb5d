"""Three units in three dimensions: Fig. 3 and the dual basis of s. 2."""

from __future__ import annotations

import numpy as np

from plica.analyses.preimage import Kind, preimage
from plica.core.result import weakest
from plica.experiments.carlsson2017.tiny import relu_network, ring
from plica.experiments.figure import Claim, Made, Panel, Setting

W = np.array([[1.0, 0.25, -0.25], [-0.5, 1.0, 0.25], [0.25, -0.5, 1.0]])
VIEW = np.array([[-0.7, 0.7, 0.0], [-0.4, -0.4, 0.8]])  # of the drawing
LENGTH = 2.0
CASES = (("unit 3 off", (1, 1, -1)), ("unit 2 off", (1, -1, 1)), ("units 2 and 3 off", (1, -1, -1)))


def three_planes(setting: Setting) -> Made:
    """Fig. 3: preimages are spanned by the basis vectors of the units that are off, backwards."""
    net = relu_network((W.tolist(), [0.0, 0.0, 0.0]))
    dual = np.linalg.inv(W)  # its columns e_i have w_j.e_i = 1 where i = j, else 0
    claims, series, standings = [], {}, []
    for k in range(3):
        series[f"e{k + 1}"] = np.stack([np.zeros(2), VIEW @ dual[:, k]], 1)
    for name, signs in CASES:
        x = dual @ np.array(signs, dtype=float)
        off = [k for k in range(3) if signs[k] < 0]
        whole = preimage(net, x, layer=-1)
        rays = whole.rays()
        wanted = -dual[:, off] / np.linalg.norm(dual[:, off], axis=0)
        found = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        gap = max(float(np.abs(found - w).max(1).min()) for w in wanted.T)
        same = len(rays) == len(off) and gap < 1e-12
        claims.append(
            Claim(
                f"preimage with {name}", "an arrow" if len(off) == 1 else "a shaded area",
                f"dimension {whole.dimension}; its {len(rays)} extreme directions are those of "
                f"{', '.join(f'-e{k + 1}' for k in off)} to {gap:.0e}",
                same and whole.dimension == len(off) and whole.kind is Kind.UNBOUNDED,
            )
        )  # fmt: skip
        foot = dual @ np.maximum(signs, 0)  # the point of the preimage on the null spaces of the units that are off
        corners = [foot, *(foot - LENGTH * dual[:, k] for k in off)]
        if len(off) == 2:
            corners.append(foot - LENGTH * dual[:, off].sum(1))
        shape = np.array(corners) @ VIEW.T
        series[name] = ring(shape) if len(off) == 2 else shape.T
        standings.append(whole.standing)
    claims.append(
        Claim(
            "signs of the coordinates alpha", "alpha > 0 for i_1 .. i_p, which (7) defines as the units that are off",
            "alpha = w.x: positive for units that are on", None,
            "The index sets i and j are printed swapped between (7) and (8); with units on and off as here, every "
            "statement of s. 2 holds.",
        )
    )  # fmt: skip
    return claims, [Panel("areas", "dual basis and preimages, seen from one side", series)], weakest(standings)
