"""Exact signs of a layer's values: on which side of a knot a unit lies, or exactly on it.

`Pattern` reads every input as infinitesimally moved, so that it names a full-dimensional piece; an activity, in
contrast, is that of the input itself, where a unit exactly on a knot counts as on it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from plica.core.choice import Choice
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Network
from plica.core.pattern import UNIT, Ball, Pattern, affine_ball, freeze_ball


def enclose(net: Network, x: Tensor, pattern: Pattern, value: str) -> Ball:
    """Float values of a named value with a proven bound on their distance from the exact ones.

    Parameters
    ----------
    x : Tensor, shape (n, *input_shape)
    pattern : Pattern
        Of x; its branches are right in exact arithmetic, so the bound needs no doubt at a kink.
    """
    part = net.upto(value)
    balls = {INPUT: Ball(x, torch.zeros_like(x))}
    for node in part.nodes:
        inputs = [balls[name] for name in node.inputs]
        if isinstance(node.op, Choice):
            balls[node.name] = freeze_ball(node.op, pattern.branches[node.name], inputs[0], constant=True)
        else:
            balls[node.name] = affine_ball(node.op, inputs, constant=True, use_grid=True)
    return balls[part.output]


def signs(net: Network, x: Tensor, pattern: Pattern, value: str, knots: Tensor) -> np.ndarray:
    """Sign of value - knot for every unit, decided exactly.

    Parameters
    ----------
    knots : Tensor, shape (k, *broadcast)
        Levels to compare with, as in `plica.core.choice.Piecewise`.

    Returns
    -------
    ndarray of int8, shape (k, n, *shape of the value)
        -1, 0 or 1. Inputs that floats cannot settle cost one pass in big integers each.
    """
    ball = enclose(net, x, pattern, value)
    out = []
    for knot in knots:
        gap = ball.value - knot
        error = ball.error + UNIT * gap.abs() * (ball.error > 0) + UNIT * gap.abs() * (knot != 0)
        sign = torch.sign(gap).to(torch.int8)
        doubt = (gap.abs() <= error) & ((gap != 0) | (error > 0))
        for row in doubt.flatten(1).any(1).nonzero()[:, 0].tolist():
            sign[row] = torch.from_numpy(_exact_sign(net, x[row], value, knot)).reshape(sign[row].shape)
        out.append(sign.cpu().numpy())
    return np.stack(out) if out else np.zeros((0, *ball.value.shape), dtype=np.int8)


def difference_signs(
    net: Network, x: Tensor, pattern: Pattern, value: str, plus: list[np.ndarray], minus: list[np.ndarray]
) -> list[np.ndarray]:
    """Sign of value[plus] - value[minus] for pairs of flat units of every input, decided exactly."""
    ball = enclose(net, x, pattern, value)
    values, errors = (t.flatten(1).cpu().numpy() for t in (ball.value, ball.error))
    out = []
    for i, (p, m) in enumerate(zip(plus, minus, strict=True)):
        gap = values[i][p] - values[i][m]
        error = (errors[i][p] + errors[i][m]) * (1 + 1e-12)
        error = error + UNIT * np.abs(gap)
        sign = np.sign(gap).astype(np.int8)
        if ((np.abs(gap) <= error) & ((gap != 0) | (error > 0))).any():
            part = net.upto(value)
            exact_values, _ = exact.forward(part.nodes, exact.Columns.of(x[i].cpu().numpy()))
            numerator = exact_values[part.output].numerator[:, 0]
            difference = numerator[p] - numerator[m]
            sign = (difference > 0).astype(np.int8) - (difference < 0).astype(np.int8)
        out.append(sign)
    return out


def _exact_sign(net: Network, x: Tensor, value: str, knot: Tensor) -> np.ndarray:
    """Signs at one input, from its exact values."""
    part = net.upto(value)
    values, _ = exact.forward(part.nodes, exact.Columns.of(x.cpu().numpy()))
    levels = np.broadcast_to(-knot.cpu().numpy(), (1, *net.shape_of(value))).ravel()
    gap = exact.add(values[part.output], exact.Columns.of(levels)).numerator[:, 0]
    return (gap > 0).astype(np.int8) - (gap < 0).astype(np.int8)
