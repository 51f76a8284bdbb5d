"""What a domain says of a network's units: intervals of every value, and which slopes they leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Affine
from plica.core.choice import MaxOver, Piecewise
from plica.core.domain import Ball, Box
from plica.core.exact.floats import UNIT, gamma
from plica.core.network import INPUT, Network
from plica.core.pattern import direct_convolutions
from plica.errors import ArgumentError

TINY = 2.0**-900  # covers underflow
Interval = tuple[Tensor, Tensor]


def box_of(domain: Any, net: Network) -> Box:
    """Smallest box around a domain, or an error for one that is not bounded."""
    if not isinstance(domain, (Box, Ball)):
        raise ArgumentError(f"domain = {type(domain).__name__}: the local constant takes a Box or a Ball.")
    box = domain if isinstance(domain, Box) else domain.box()
    size = int(np.prod(net.input_shape))
    if box.ambient != size:
        raise ArgumentError(f"domain: it has {box.ambient} variables; the network reads {size} ({net.input_shape}).")
    if not (np.isfinite(box.lower).all() and np.isfinite(box.upper).all()):
        raise ArgumentError("domain: it is unbounded; give a bounded Box, or leave it out for the global constant.")
    return box


def intervals(net: Network, box: Box, branches: Mapping[str, Interval] | None = None) -> dict[str, Interval]:
    """Proven bounds of every value of a network on a box.

    Parameters
    ----------
    branches : mapping, optional
        Smallest and largest branch allowed per unit of piecewise layers: only such inputs are meant.

    Notes
    -----
    Centre and radius: |A x - A c| <= |A| r, with the rounding bound gamma_terms |A| (|c| + r) added; see `Affine`.
    """
    lower, upper = (torch.from_numpy(v.reshape(1, *net.input_shape).copy()) for v in (box.lower, box.upper))
    values = {INPUT: (lower, upper)}
    with torch.no_grad(), direct_convolutions():
        for node in net.nodes:
            inputs = [values[i] for i in node.inputs]
            if isinstance(node.op, Piecewise):
                values[node.name] = _piecewise(node.op, inputs[0], (branches or {}).get(node.name))
            elif isinstance(node.op, MaxOver):
                values[node.name] = (node.op.value(inputs[0][0]), node.op.value(inputs[0][1]))
            else:
                values[node.name] = _affine(node.op, inputs)  # type: ignore[arg-type]
    return values


def _affine(op: Affine, inputs: list[Interval]) -> Interval:
    centre = [(a + b) / 2 for a, b in inputs]
    radius = [torch.maximum(b - c, c - a) * (1 + 4 * UNIT) + TINY for (a, b), c in zip(inputs, centre, strict=True)]
    magnitude = op.magnitude()
    value = op.apply(*centre)
    spread = magnitude.apply(*radius)
    size = magnitude.apply(*[c.abs() + r for c, r in zip(centre, radius, strict=True)])
    if op.bias is not None:
        value, size = value + op.bias, size + op.bias.abs()
    reach = (spread + gamma(op.terms + 4) * size) * (1 + 2 * gamma(op.terms + 8)) + TINY
    return value - reach - 2 * UNIT * value.abs(), value + reach + 2 * UNIT * value.abs()


def _piecewise(op: Piecewise, z: Interval, allowed: Interval | None) -> Interval:
    """Extremes at the ends and at knots between; a unit held to some branches stays between their knots."""
    low, high = z
    knots = _spread(op.knots, low)
    if allowed is not None:
        low, high = _held(low, high, knots, allowed)
    points = [low, high, *[torch.minimum(torch.maximum(k, low), high) for k in knots]]
    values = torch.stack([op.value(p) for p in points])
    slack = 4 * UNIT * (values.abs() + _spread(op.intercepts.abs(), low).amax(0)) + TINY
    return (values - slack).amin(0), (values + slack).amax(0)


def _spread(table: Tensor, like: Tensor) -> Tensor:
    """A table over branches, broadcast against a batch of values."""
    ones = (1,) * (like.ndim - table.ndim + 1)
    return table.reshape(len(table), *ones, *table.shape[1:]).expand(len(table), *like.shape)


def _held(low: Tensor, high: Tensor, knots: Tensor, allowed: Interval) -> Interval:
    first, last = (a.reshape(low.shape) for a in allowed)
    for i, knot in enumerate(knots):
        low = torch.where(first > i, torch.maximum(low, knot), low)
        high = torch.where(last <= i, torch.minimum(high, knot), high)
    return low, torch.maximum(low, high)


def branch_ranges(net: Network, values: dict[str, Interval]) -> dict[str, Interval]:
    """Smallest and largest branch that every unit of the piecewise layers can take, flat.

    A unit whose interval only touches a knot may be on either side there, but a piece beyond the knot has no inner
    point in the domain; its slope does not count.
    """
    out = {}
    for name in net.choices:
        op = net[name].op
        if not isinstance(op, Piecewise):
            continue
        low, high = values[net[name].inputs[0]]
        knots = _spread(op.knots, low)
        first = (knots <= low).sum(0)
        last = torch.maximum((knots < high).sum(0), first)
        out[name] = (first.flatten(), last.flatten())
    return out


def known_slopes(net: Network, ranges: Mapping[str, Interval]) -> dict[str, Interval]:
    """Least and largest slope of every unit whose branches lie in a range."""
    out = {}
    for name, (first, last) in ranges.items():
        op = net[name].op
        assert isinstance(op, Piecewise)
        table = _spread(op.slopes.detach().double(), torch.zeros(1, *op.input_shape)).flatten(1)
        inside = torch.arange(len(table))[:, None]
        inside = (inside >= first) & (inside <= last)
        low = table.masked_fill(~inside, torch.inf).amin(0)
        high = table.masked_fill(~inside, -torch.inf).amax(0)
        out[name] = (low, high)
    return out
