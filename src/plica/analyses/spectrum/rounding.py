"""How far the computed Jacobian of a piece may be from the exact one.

For J = A B, computed column by column, the error obeys |E| <= |A| |E_B| + gamma |abs(A)| |B|_F in the 2-norm, where
gamma counts the roundings behind one entry (Higham, Accuracy and Stability of Numerical Algorithms, s. 3.5). Followed
through the graph with proven norms this is a bound, often a wide one; with estimated norms and one rounding per entry
it is a size that errors have in practice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from plica.core.affine import Affine, Concat, Gather, Scale, Shape, Sum, once_per_node
from plica.core.conv import Transposed
from plica.core.network import INPUT, Network
from plica.core.pattern import TINY, UNIT, direct_convolutions, gamma

STEPS = 12  # of a power iteration: norms within a few per cent
RAISE = 1 + 1e-9  # covers the roundings of the bounds themselves


@dataclass(frozen=True)
class Doubt:
    """Error of a computed matrix in the 2-norm.

    Attributes
    ----------
    bound : float
        Proven; infinite where nothing is.
    usual : float
        Its size in practice.
    """

    bound: float
    usual: float


def _ones(shape: Shape, like: Tensor | None) -> Tensor:
    device = None if like is None else like.device
    return torch.ones(1, *shape, dtype=torch.float64, device=device)


def _source(op: Affine) -> Shape:
    """Shape of a node's input."""
    return op.node.shape(op.output_shape) if isinstance(op, Transposed) else op.input_shape  # type: ignore[attr-defined]


def _weight(op: Affine) -> Tensor | None:
    inner = op.node if isinstance(op, Transposed) else op
    return next((t for t in vars(inner).values() if isinstance(t, Tensor)), None)


def gain_bound(op: Affine) -> float:
    """Upper bound of the 2-norm of |A|: sqrt(|A|_1 |A|_inf), raised above its own roundings."""
    ones, size = _ones(_source(op), _weight(op)), op.magnitude()
    with direct_convolutions():
        rows = size.apply(ones)
        columns = size.adjoint(torch.ones_like(rows))[0]
    largest = [float(t.amax()) if t.numel() else 0.0 for t in (rows, columns)]
    roundings = op.terms + columns.numel() + rows.numel()
    return math.sqrt(largest[0] * largest[1]) * (1 + gamma(roundings)) * RAISE


@once_per_node
def _weights_bound(op: Affine) -> float:
    return gain_bound(op)


@once_per_node
def _weights_norm(op: Affine) -> float:
    """Estimate of the 2-norm by power iteration, from below."""
    weight = _weight(op)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(1, *_source(op), dtype=torch.float64, generator=generator)
    v = v if weight is None else v.to(weight.device)
    norm = 0.0
    for _ in range(STEPS):
        size = float(v.norm())
        if size == 0.0 or not math.isfinite(size):
            break
        w = op.apply(v / size)
        norm = float(w.norm())
        v = op.adjoint(w)[0]
    return norm


def _gains(op: Affine) -> tuple[float, float]:
    """Bound and estimate of a node's norm; nodes made by freezing have exact ones."""
    if isinstance(op, Scale):
        factor = op.factor.abs() if op.divisor is None else op.factor.abs() / op.divisor.abs()
        largest = float(factor.amax()) if factor.numel() else 0.0
        return largest * RAISE, largest
    if isinstance(op, Gather):
        if op.index is None:
            return 1.0, 1.0
        kept = op.index[op.index >= 0]
        most = math.sqrt(int(torch.bincount(kept).max())) if len(kept) else 0.0
        return most * RAISE, most
    return _weights_bound(op), _weights_norm(op)


def doubts(frozen: Network, squares: dict[str, float]) -> dict[str, Doubt]:
    """Errors of the Jacobian at every value.

    Parameters
    ----------
    frozen : Network
        The affine network whose columns were pushed, from exact unit vectors.
    squares : dict of str to float
        Squared Frobenius norms of the computed Jacobians of the values that were computed.
    """
    found = {INPUT: Doubt(0.0, 0.0)}
    for node in frozen.nodes:
        if any(name not in found or name not in squares for name in node.inputs):
            continue
        parts = [(found[name], math.sqrt(squares[name]) * RAISE) for name in node.inputs]
        found[node.name] = _after(node.op, parts, math.prod(node.shape))  # type: ignore[arg-type]
    return found


def _after(op: Affine, parts: list[tuple[Doubt, float]], size: int) -> Doubt:
    """Error after a node."""
    if isinstance(op, Sum):
        factors = [abs(c) for c in op.coefficients]
        pairs = list(zip(factors, parts, strict=True))
        bound = sum(c * d.bound for c, (d, _) in pairs) + gamma(op.terms) * sum(c * f for c, (_, f) in pairs)
        usual = sum(c * d.usual for c, (d, _) in pairs) + UNIT * sum(c * f for c, (_, f) in pairs)
        return Doubt(bound * RAISE, usual)
    if isinstance(op, Concat):
        return Doubt(math.hypot(*(d.bound for d, _ in parts)) * RAISE, math.hypot(*(d.usual for d, _ in parts)))
    (before, frobenius) = parts[0]
    upper, norm = _gains(op)
    lost = TINY * math.sqrt(size)  # to underflow
    bound = upper * before.bound + gamma(op.terms) * upper * frobenius + (lost if op.terms else 0.0)
    return Doubt(bound * RAISE, norm * before.usual + (UNIT * norm * frobenius if op.terms else 0.0))
