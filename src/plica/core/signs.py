"""Exact signs of a layer's values: on which side of a knot a unit lies, or exactly on it.

`Pattern` reads every input as infinitesimally moved, so that it names a full-dimensional piece; an activity, in
contrast, is that of the input itself, where a unit exactly on a knot counts as on it.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from plica.core.choice import Choice
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Network
from plica.core.pattern import UNIT, Ball, Pattern, affine_ball, direct_convolutions, freeze_ball

T = TypeVar("T", Tensor, np.ndarray)


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
    with torch.no_grad(), direct_convolutions():
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
        -1, 0 or 1.

    Notes
    -----
    Cost: a forward pass with error bounds; one pass in big integers for each input that floats cannot settle.
    """
    ball = enclose(net, x, pattern, value)
    sides = np.zeros((len(knots), *ball.value.shape), dtype=np.int8)
    doubt = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for side, knot in zip(sides, knots, strict=True):
        gap = ball.value - knot
        rounding = UNIT * gap.abs() * (ball.error > 0) + UNIT * gap.abs() * (knot != 0)
        side[...] = torch.sign(gap).to(torch.int8).cpu().numpy()
        doubt |= _in_doubt(gap, ball.error + rounding).flatten(1).any(1)
    for i in doubt.nonzero()[:, 0].tolist():
        values = _exact_values(net, x[i], value)
        for side, knot in zip(sides, knots, strict=True):
            levels = np.broadcast_to(-knot.cpu().numpy(), (1, *side.shape[1:])).ravel()
            side[i] = _signs(exact.add(values, exact.Columns.of(levels)).numerator[:, 0]).reshape(side[i].shape)
    return sides


def difference_signs(
    net: Network, x: Tensor, pattern: Pattern, value: str, plus: list[np.ndarray], minus: list[np.ndarray]
) -> list[np.ndarray]:
    """Sign of value[plus] - value[minus] for pairs of flat units of every input, decided exactly."""
    ball = enclose(net, x, pattern, value)
    values, errors = (t.flatten(1).cpu().numpy() for t in (ball.value, ball.error))
    out = []
    for i, (p, m) in enumerate(zip(plus, minus, strict=True)):
        gap = values[i][p] - values[i][m]
        error = (errors[i][p] + errors[i][m]) * (1 + 1e-12) + UNIT * np.abs(gap)
        if _in_doubt(gap, error).any():
            numerator = _exact_values(net, x[i], value).numerator[:, 0]
            gap = numerator[p] - numerator[m]
        out.append(_signs(gap))
    return out


def _in_doubt(gap: T, error: T) -> T:
    """Where a float difference does not settle the sign; a zero without error is exact, NaN settles nothing."""
    return ~((abs(gap) > error) | ((gap == 0) & (error == 0)))


def _signs(values: np.ndarray) -> np.ndarray:
    """Signs of floats or Python integers, as int8."""
    return (values > 0).astype(np.int8) - (values < 0).astype(np.int8)


def _exact_values(net: Network, x: Tensor, value: str) -> exact.Columns:
    """Exact values of a named value at one input."""
    part = net.upto(value)
    return exact.forward(part.nodes, exact.Columns.of(x.cpu().numpy()))[0][part.output]
