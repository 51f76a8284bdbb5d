"""Patterns: which branch every choice node takes, decided exactly.

A pattern must name a full-dimensional piece, also at inputs where units are tied. Every input is therefore read as
``x + eps d`` for an infinitesimal eps > 0 and a fixed generic direction d: a tie is decided by the sign of the unit's
rate along d, and by the lowest branch where the rate vanishes too (the branches then agree on the whole piece).

Stages: (1) float64 values with a proven error bound settle almost every input; (2) inputs with a doubt are done again
with rates, and with sums recognised as exact when all terms share a grid of at most 53 bits; (3) what is still in doubt
is evaluated in rationals (`exact.columns`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Affine, Scale
from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.exact import columns as exact

UNIT = 2.0**-53
TINY = 2.0**-1000  # covers every underflow: products and sums of underflowed terms stay below terms * 2^-1022


@dataclass(frozen=True, eq=False)
class Pattern:
    """Branches of every choice node for a batch of inputs.

    Attributes
    ----------
    branches : mapping of str to Tensor
        Node name to branches, shape (batch, *shape of the node's output), smallest integer type that fits.
    """

    branches: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.branches.values()))) if self.branches else 1

    def __getitem__(self, rows: int | slice | Tensor | list[int]) -> Pattern:
        """The patterns of some inputs; the batch axis stays."""
        if isinstance(rows, int):
            rows = slice(rows, rows + 1) if rows != -1 else slice(-1, None)
        return Pattern({name: b[rows] for name, b in self.branches.items()})

    def keys(self) -> list[bytes]:
        """One bytes object per input, equal exactly for equal patterns."""
        if not self.branches:
            return [b""]
        flat = [b.flatten(1).cpu().numpy() for b in self.branches.values()]
        return [b"".join(row.tobytes() for row in rows) for rows in zip(*flat, strict=True)]


def gamma(terms: int) -> float:
    """gamma_n = n u / (1 - n u), enlarged to cover the rounding of the bounds that use it."""
    return terms * UNIT / (1 - terms * UNIT) * (1 + 1e-9) if terms else 0.0


@dataclass(frozen=True, eq=False)
class Ball:
    """Float values with a bound on their distance from the exact ones."""

    value: Tensor
    error: Tensor


def _grid(t: Tensor) -> Tensor:
    """Largest q per batch row such that all entries are multiples of 2^q (a large q when all are zero)."""
    mantissa, exponent = torch.frexp(t.flatten(1))
    whole = (mantissa * 2.0**53).long()
    trailing = torch.frexp((whole & -whole).double())[1] - 1
    return torch.where(whole == 0, 4096, exponent - 53 + trailing).amin(1)


@lru_cache(maxsize=512)
def _node_grids(op: Affine) -> tuple[int, int] | None:
    """Grid exponents of the weights and of the bias; None when the node divides by other than powers of two."""
    shift = 0
    if isinstance(op, Scale) and op.divisor is not None:
        mantissa, exponent = torch.frexp(op.divisor.abs())
        if not bool((mantissa == 0.5).all()):
            return None
        shift = -int(exponent.max()) + 1
    weight = getattr(op, "weight", getattr(op, "factor", None))
    if weight is None and hasattr(op, "node"):
        weight = getattr(op.node, "weight", None)
    coefficients = getattr(op, "coefficients", (1.0,))
    weight = torch.tensor(coefficients, dtype=torch.float64) if weight is None else weight
    bias = 4096 if op.bias is None else int(_grid(op.bias.reshape(1, -1)))
    return int(_grid(weight.reshape(1, -1))) + shift, bias


def affine_ball(op: Affine, balls: list[Ball], *, constant: bool, use_grid: bool) -> Ball:
    """Push balls through an affine node; `constant` says whether the bias counts."""
    magnitude = op.magnitude()
    bias = op.bias if constant else None
    value = op.apply(*(b.value for b in balls))
    value = value if bias is None else value + bias
    size = magnitude.apply(*(b.value.abs() for b in balls))
    size = size if bias is None else size + bias.abs()
    spread = magnitude.apply(*(b.error for b in balls))
    g = gamma(2 * op.terms + 4)  # twice: the bounds themselves are computed in floats
    rounding = g * size + TINY * (size > 0) * op.terms if op.terms else torch.zeros_like(size)
    if use_grid and op.terms and (grids := _node_grids(op)) is not None:  # type: ignore[arg-type]
        inner = torch.stack([_grid(b.value) for b in balls]).amin(0) + grids[0]
        grid = inner.clamp(max=grids[1] if constant else 4096)
        largest = torch.pow(2.0, (grid.clamp(-1000, 900) + 52).double())
        largest = torch.where(grid < -1000, 0.0, largest)  # too fine for float64: claim nothing
        exact_sum = size.flatten(1) < largest[:, None]
        rounding = torch.where(exact_sum.reshape(size.shape), 0.0, rounding)
    return Ball(value, spread * (1 + g) + rounding)


def _above(gap: Ball, rate: Ball | None) -> tuple[Tensor, Tensor]:
    """Whether gap + eps * rate > 0, and where that is in doubt."""
    above = gap.value > 0
    doubt = gap.value.abs() <= gap.error
    if rate is None:
        return above, doubt | (gap.value == 0)
    tie = (gap.value == 0) & (gap.error == 0)
    still = tie & (rate.value.abs() <= rate.error) & ~((rate.value == 0) & (rate.error == 0))
    return torch.where(tie, rate.value > 0, above), (doubt & ~tie) | still


def _piecewise(op: Piecewise, z: Ball, rate: Ball | None) -> tuple[Tensor, Tensor]:
    """Branches, and per input whether any is in doubt."""
    branches = torch.zeros(z.value.shape, dtype=torch.uint8, device=z.value.device)
    doubt = torch.zeros(len(z.value), dtype=torch.bool, device=z.value.device)
    for knot in op.knots:
        difference = z.value - knot
        above, unsure = _above(Ball(difference, z.error + UNIT * difference.abs() * (z.error > 0)), rate)
        branches += above
        doubt |= unsure.flatten(1).any(1)
    return branches, doubt


def _max_over(op: MaxOver, z: Ball, rate: Ball | None) -> tuple[Tensor, Tensor]:
    """Winners, and per input whether any is in doubt."""
    border = op.index < 0
    values = op.candidates(z.value)
    errors = z.error.flatten(1)[:, op.index.clamp(min=0)]
    if rate is not None:  # among exact ties the largest rate goes first
        rates = rate.value.flatten(1)[:, op.index.clamp(min=0)].masked_fill(border, -torch.inf)
        top = values == values.amax(-1, keepdim=True)
        winner = torch.where(top, rates, -torch.inf).argmax(-1, keepdim=True)
        rate_errors = rate.error.flatten(1)[:, op.index.clamp(min=0)]
        rate_gap = Ball(
            (rates.gather(-1, winner) - rates).masked_fill(border, 0.0),
            rate_errors + rate_errors.gather(-1, winner),
        )
    else:
        winner, rate_gap = values.argmax(-1, keepdim=True), None
    gap = (values.gather(-1, winner) - values).masked_fill(border, 1.0)
    error = (errors + errors.gather(-1, winner)).masked_fill(border, 0.0)
    error = error * (1 + 1e-12) + UNIT * gap * (error > 0)
    _, unsure = _above(Ball(gap, error), rate_gap)
    others = torch.arange(op.index.shape[1], device=gap.device) != winner
    branches = winner.to(op.choose(z.value[:1]).dtype).reshape(-1, *op.output_shape)
    return branches, (unsure & others).flatten(1).any(1)


def freeze_ball(op: Choice, branches: Tensor, z: Ball, *, constant: bool) -> Ball:
    """Push a ball through a choice node with given branches; slopes -1, 0, 1 without intercept round nothing."""
    if not isinstance(op, Piecewise):
        picked = op.freeze(branches)
        return Ball(picked.apply(z.value), picked.apply(z.error))
    node = op.freeze(branches)
    out = affine_ball(node, [z], constant=constant, use_grid=False)
    bias = torch.zeros_like(out.value) if node.bias is None or not constant else node.bias
    plain = (node.factor == 0) | ((node.factor.abs() == 1) & (bias == 0))
    return Ball(out.value, torch.where(plain, node.factor.abs() * z.error, out.error))


def _choose(nodes: tuple, x: Tensor, direction: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
    """Branches of every choice node and, per input, whether any is in doubt (stage 1, or 2 with a direction)."""
    values = {"input": Ball(x, torch.zeros_like(x))}
    rates = None
    if direction is not None:
        rates = {"input": Ball(direction.expand_as(x), torch.zeros_like(x))}
    branches: dict[str, Tensor] = {}
    doubt = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for node in nodes:
        balls = [values[i] for i in node.inputs]
        speeds = None if rates is None else [rates[i] for i in node.inputs]
        if isinstance(node.op, (Piecewise, MaxOver)):
            speed = None if speeds is None else speeds[0]
            if isinstance(node.op, Piecewise):
                chosen, unsure = _piecewise(node.op, balls[0], speed)
            else:
                chosen, unsure = _max_over(node.op, balls[0], speed)
            branches[node.name] = chosen
            doubt |= unsure
            values[node.name] = freeze_ball(node.op, chosen, balls[0], constant=True)
            if rates is not None and speeds is not None:
                rates[node.name] = freeze_ball(node.op, chosen, speeds[0], constant=False)
        else:
            values[node.name] = affine_ball(node.op, balls, constant=True, use_grid=rates is not None)
            if rates is not None and speeds is not None:
                rates[node.name] = affine_ball(node.op, speeds, constant=False, use_grid=False)
    return branches, doubt


def generic_direction(size: int) -> np.ndarray:
    """The fixed direction that decides ties: random integers below 2^53, the same for every network of this size.

    A nonzero row is orthogonal to it with probability at most 2^-52 (Schwartz, Zippel).
    """
    return np.random.default_rng(20170303).integers(-(2**53) + 1, 2**53, size).astype(np.float64)


def choose_exactly(nodes: tuple, x: Tensor) -> Pattern:
    """Return the patterns of a batch of inputs, every branch decided exactly.

    Parameters
    ----------
    nodes : tuple of Node
        A network's nodes in order.
    x : Tensor of float64, shape (batch, *input_shape)

    Notes
    -----
    Cost: two forward passes (values and error bounds); four more for the inputs with a doubt; a pass in big integers
    for those that floats cannot settle.
    """
    with torch.no_grad():
        branches, doubt = _choose(nodes, x, None)
        for stage in (_settle_by_rate, _settle_exactly):
            rows = doubt.nonzero()[:, 0]
            if len(rows) == 0:
                break
            settled, still = stage(nodes, x[rows])
            for name, b in settled.items():
                branches[name][rows] = b.to(branches[name].device)
            doubt[rows] = still.to(doubt.device)
    return Pattern(branches)


def _settle_by_rate(nodes: tuple, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    direction = torch.from_numpy(generic_direction(x[0].numel())).to(x).reshape(x.shape[1:])
    return _choose(nodes, x, direction)


def _settle_exactly(nodes: tuple, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    direction = generic_direction(x[0].numel())
    rows = [exact.forward(nodes, exact.Columns.of(point.cpu().numpy(), direction))[1] for point in x]
    return stack_branches(nodes, rows), torch.zeros(len(x), dtype=torch.bool)


def stack_branches(nodes: tuple, rows: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Flat exact branches of several inputs as the tensors of a `Pattern`."""
    out = {}
    for node in nodes:
        if isinstance(node.op, Choice):
            dtype = torch.uint8
            if isinstance(node.op, MaxOver) and node.op.index.shape[1] > 256:
                dtype = torch.int32
            flat = torch.from_numpy(np.stack([r[node.name] for r in rows]))
            out[node.name] = flat.to(dtype).reshape(len(rows), *node.shape)
    return out
