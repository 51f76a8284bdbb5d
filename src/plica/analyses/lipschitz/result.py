"""What lipschitz answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

import numpy as np

from plica.core.result import Result


@dataclass(frozen=True)
class LayerBound:
    """Proven bounds of one layer's Lipschitz constant in the Euclidean norm.

    Attributes
    ----------
    name, kind : str
        The node, and what it is.
    lower, upper : float
        Proven; 0 and infinity where nothing is.
    method : str
        How the bounds were found.
    """

    name: str
    kind: str
    lower: float
    upper: float
    method: str

    @property
    def width(self) -> float:
        """(upper - lower) / upper; 0 for an exact zero."""
        if self.upper == 0.0:
            return 0.0
        return (self.upper - self.lower) / self.upper if math.isfinite(self.upper) else math.inf


@dataclass(frozen=True, repr=False)
class LipschitzResult(Result):
    """Lipschitz constants in the Euclidean norm: of every layer, and of the whole network.

    Attributes
    ----------
    names, kinds, methods : tuple of str
        One per layer; see `layers`.
    lowers, uppers : ndarray, shape (layers,)
    product : float
        Upper bound of the network from the layers alone: the product along a chain, sums over branches.
    upper : float
        Best proven upper bound of the network; infinite when there is none.
    upper_method : str
    lower : float
        Proven lower bound: the norm of the network's matrix on some piece; 0.0 when none was looked at.
    domain : str
        Where the local constant holds; empty without one.
    local_lower, local_upper : float
        Proven bounds of the constant on the domain; NaN without a domain.
    local_pieces : int
        Pieces whose matrix was measured.
    local_reason : str
        How the local bounds were found, and whether they meet.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    methods: tuple[str, ...]
    lowers: np.ndarray
    uppers: np.ndarray
    product: float
    upper: float
    upper_method: str
    lower: float
    domain: str
    local_lower: float
    local_upper: float
    local_pieces: int
    local_reason: str

    @property
    def layers(self) -> tuple[LayerBound, ...]:
        """Bounds layer by layer, in the order of the network."""
        rows = zip(self.names, self.kinds, self.lowers.tolist(), self.uppers.tolist(), self.methods, strict=True)
        return tuple(LayerBound(*row) for row in rows)

    def __getitem__(self, name: str) -> LayerBound:
        return self.layers[self.names.index(name)]

    def summary(self) -> str:
        """Bounds of every layer, then of the network."""
        wide = max((len(n) for n in self.names), default=0)
        lines = [f"{b.name:<{wide}}  {_interval(b.lower, b.upper)}  {b.kind}, {b.method}" for b in self.layers]
        lines.append(f"product over the network: {_bound(self.product)}")
        lines.append(f"network: {_interval(self.lower, self.upper)} ({self.upper_method})")
        if self.domain:
            lines.append(f"on {self.domain}: {_interval(self.local_lower, self.local_upper)}; {self.local_reason}")
        return "\n".join(lines)


def outward(value: float, digits: int, *, up: bool) -> float:
    """Round to so many significant digits, never inward: what is printed as a bound must be one."""
    if not math.isfinite(value) or value == 0.0:
        return value
    exact = Decimal(value)
    place = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    return float(exact.quantize(place, ROUND_CEILING if up else ROUND_FLOOR, Context(prec=400)))


def _interval(lower: float, upper: float) -> str:
    if not math.isfinite(upper):
        return "no bound" if lower == 0.0 else f">= {outward(lower, 6, up=False):.6g}, no upper bound"
    digits = 6 if upper - lower > 1e-6 * upper else 9
    low, high = outward(lower, digits, up=False), outward(upper, digits, up=True)
    return f"[{low:.{digits}g}, {high:.{digits}g}]"


def _bound(value: float) -> str:
    return f"at most {outward(value, 6, up=True):.6g}" if math.isfinite(value) else "no bound"
