"""What is asked of a layer: an activity, or a set of outputs, as exact conditions on one value."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from plica.core.choice import Choice, Piecewise
from plica.core.domain import Box
from plica.core.exact.columns import Columns
from plica.core.network import INPUT, Network
from plica.core.search.bounds import tables
from plica.core.search.conditions import Conditions, intervals
from plica.errors import ArgumentError, ShapeError


def levels(net: Network, layer: str, y: Columns, tolerance: Fraction = Fraction(0)) -> Conditions:
    """Conditions that hold exactly where a layer's output is within a tolerance of y, unit by unit.

    Where the layer's function increases, they are intervals of what it reads, and its own branches do not matter.
    Otherwise they are on its output.
    """
    want = [y.entry(i) for i in range(len(y.numerator))]
    op = net[layer].op if layer != INPUT else None
    if isinstance(op, Piecewise) and op.monotone:
        knots, slopes, intercepts = tables(op)
        ends = [
            _inverse(knots[:, i], slopes[:, i], intercepts[:, i], (v - tolerance, v + tolerance))
            for i, v in enumerate(want)
        ]
        if not any(e is None for e in ends):
            low, high = zip(*(e for e in ends if e is not None), strict=True) if ends else ((), ())
            return intervals(net[layer].inputs[0], list(low), list(high))
    return intervals(layer, [v - tolerance for v in want], [v + tolerance for v in want])


Interval = tuple[Fraction | None, Fraction | None]


def _inverse(
    knots: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray, wanted: tuple[Fraction, Fraction]
) -> Interval | None:
    """Inputs of an increasing function of one number with values in an interval; None where there are none."""
    parts: list[Interval] = []
    for j in range(len(slopes)):
        a = Fraction(float(knots[j - 1])) if j > 0 else None
        b = Fraction(float(knots[j])) if j < len(knots) else None
        slope, shift = Fraction(float(slopes[j])), Fraction(float(intercepts[j]))
        if slope == 0:
            inside = wanted[0] <= shift <= wanted[1]
        else:
            low, high = (wanted[0] - shift) / slope, (wanted[1] - shift) / slope
            a = low if a is None else max(a, low)
            b = high if b is None else min(b, high)
            inside = a <= b
        if inside:
            parts.append((a, b))
    if not parts:
        return None
    lows, highs = [p[0] for p in parts], [p[1] for p in parts]
    return (
        None if None in lows else min(v for v in lows if v is not None),
        None if None in highs else max(v for v in highs if v is not None),
    )


def reads_own(net: Network, layer: str, conditions: Conditions) -> bool:
    """Whether the layer's own branches are part of a pattern."""
    return isinstance(net[layer].op, Choice) and conditions.value == layer


def inside(layer: str, G: np.ndarray, h: np.ndarray, E: np.ndarray, e: np.ndarray) -> Conditions:
    """Conditions that a layer's flat output lies in a polyhedron."""
    rows = [sp.csr_array(np.asarray(A, dtype=np.float64)) for A in (G, E)]
    right = [tuple(Fraction(float(v)) for v in b) for b in (h, e)]
    return Conditions(layer, rows[0], right[0], rows[1], right[1])


def wins(net: Network, layer: str, k: int) -> Conditions:
    """Conditions that unit k of a layer's output is a largest one."""
    units = math.prod(net.shape_of(layer))
    rows = np.delete(np.eye(units), k, axis=0)
    rows[:, k] = -1.0
    return inside(layer, rows, np.zeros(units - 1), np.zeros((0, units)), np.zeros(0))


def checked_box(domain: object, n: int) -> Box | None:
    """A domain as a box of n variables; one with a single pair of sides holds for every variable."""
    if domain is None:
        return None
    if isinstance(domain, Box) and domain.ambient == 1 != n:
        domain = Box(np.full(n, domain.lower[0]), domain.upper[0])
    if not isinstance(domain, Box):
        raise ArgumentError(
            f"domain is a {type(domain).__name__}; give a plica.Box, or restrict the network: net.on(slice_)."
        )
    if domain.ambient != n:
        raise ShapeError(f"The domain has {domain.ambient} variables; the preimage lies in {n}.")
    return domain
