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
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Affine, Scale, once_per_node
from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.exact import columns as exact

UNIT = 2.0**-53
TINY = 2.0**-1000  # covers the underflow of a product, which loses at most 2^-1075
SMALL = 2.0**-960  # products above this, times a rounding error, do not underflow


@dataclass(frozen=True, eq=False)
class Pattern:
    """Branches of every choice node for a batch of inputs.

    Attributes
    ----------
    branches : mapping of str to Tensor
        Node name to branches, shape (batch, *shape of the node's output), smallest integer type that fits.
    size : int
        Number of inputs, for a network without choices.
    """

    branches: Mapping[str, Tensor]
    size: int = 1

    def __len__(self) -> int:
        return len(next(iter(self.branches.values()))) if self.branches else self.size

    def __getitem__(self, rows: int | np.integer | slice | Tensor | np.ndarray | list[int]) -> Pattern:
        """The patterns of some inputs; the batch axis stays."""
        if isinstance(rows, (int, np.integer)):
            rows = [int(rows)]
        return Pattern({name: b[rows] for name, b in self.branches.items()}, len(torch.empty(len(self))[rows]))

    def keys(self) -> list[bytes]:
        """One bytes object per input, equal exactly for equal patterns."""
        if not self.branches:
            return [b""] * self.size
        flat = [b.flatten(1).cpu().numpy() for b in self.branches.values()]
        return [b"".join(row.tobytes() for row in rows) for rows in zip(*flat, strict=True)]


def direct_convolutions() -> AbstractContextManager[None]:
    """Convolutions as sums of products: the error bounds do not hold for the transforms that cuDNN may choose."""
    return torch.backends.cudnn.flags(enabled=False)


def gamma(terms: int) -> float:
    """gamma_n = n u / (1 - n u), enlarged to cover the rounding of the bounds that use it."""
    return terms * UNIT / (1 - terms * UNIT) * (1 + 1e-9) if terms else 0.0


@dataclass(frozen=True, eq=False)
class Ball:
    """Float values with a bound on their distance from the exact ones.

    Attributes
    ----------
    value, error : Tensor
    fixed : Tensor of bool, optional
        Where the value is known to be the same on the whole piece (dead units); None: nothing is known.
    """

    value: Tensor
    error: Tensor
    fixed: Tensor | None = None


def _weight(op: Affine) -> Tensor:
    """All numbers that a node multiplies by."""
    inner = getattr(op, "node", op)
    weight = getattr(inner, "weight", getattr(inner, "factor", None))
    return torch.tensor(getattr(inner, "coefficients", (1.0,)), dtype=torch.float64) if weight is None else weight


@once_per_node
def _node_grids(op: Affine) -> tuple[int, int] | None:
    """Grid exponents of the weights and of the bias; None when the node divides by other than 1, 2, 4, ..."""
    shift = 0
    if isinstance(op, Scale) and op.divisor is not None:
        mantissa, exponent = torch.frexp(op.divisor.abs())
        if not bool(((mantissa == 0.5) & (exponent >= 1)).all()):
            return None
        shift = 1 - int(exponent.max())
    bias = 4096 if op.bias is None else int(_grid(op.bias.reshape(1, -1)))
    return int(_grid(_weight(op).reshape(1, -1))) + shift, bias


@once_per_node
def _underflow(op: Affine) -> tuple[float, float]:
    """Smallest number that a node multiplies by, and what one output may lose to underflow."""
    smallest = _smallest(_weight(op))
    if not isinstance(op, Scale) or op.divisor is None:
        return smallest, TINY * op.terms
    divisor = op.divisor.abs()
    return smallest / max(1.0, float(divisor.max())), TINY * op.terms / min(1.0, float(divisor.min()))


def _grid(t: Tensor) -> Tensor:
    """Largest q per batch row such that all entries are multiples of 2^q (a large q when all are zero)."""
    mantissa, exponent = torch.frexp(t.flatten(1))
    whole = (mantissa * 2.0**53).long()
    trailing = torch.frexp((whole & -whole).double())[1] - 1
    return torch.where(whole == 0, 4096, exponent - 53 + trailing).amin(1)


def _smallest(t: Tensor) -> float:
    """Smallest magnitude that is not zero; infinite when all are."""
    return float(torch.where(t == 0, torch.inf, t.abs()).amin()) if t.numel() else float("inf")


def affine_ball(op: Affine, balls: list[Ball], *, constant: bool, use_grid: bool) -> Ball:
    """Push balls through an affine node; `constant` says whether the bias counts."""
    bias = op.bias if constant else None
    value = op.apply(*(b.value for b in balls))
    value = value if bias is None else value + bias
    if not op.terms:  # entries are picked, not computed
        masks = [b.fixed.to(value.dtype) for b in balls if b.fixed is not None]
        fixed = op.apply(*masks) > 0 if len(masks) == len(balls) else None
        return Ball(value, op.apply(*(b.error for b in balls)), fixed)
    # gamma of twice the terms, because the bounds themselves are computed in floats
    magnitude, g = op.magnitude(), gamma(2 * op.terms + 4)
    if use_grid and (grids := _node_grids(op)) is not None:
        size = magnitude.apply(*(b.value.abs() for b in balls))
        alone = size == 0  # only the bias is left (a black patch of an image): nothing rounds
        size = size if bias is None else size + bias.abs()
        spread = magnitude.apply(*(b.error for b in balls))
        whole = alone | _is_exact(size, grids, balls, constant=constant)
        error = spread * (1 + g) + torch.where(whole, 0.0, g * size)
    else:
        error = magnitude.apply(*(g * b.value.abs() + (1 + g) * b.error for b in balls))
        error = error if bias is None else error + g * bias.abs()
    smallest, loss = _underflow(op)
    smallest *= min(min(_smallest(b.value), _smallest(b.error)) for b in balls)
    return Ball(value, error if smallest > SMALL else error + loss)


def _is_exact(size: Tensor, grids: tuple[int, int], balls: list[Ball], *, constant: bool) -> Tensor:
    """Where no sum rounds: all terms share a grid, and their absolute sum has at most 53 bits on it."""
    grid = torch.stack([_grid(b.value) for b in balls]).amin(0) + grids[0]
    grid = grid.clamp(max=grids[1] if constant else 4096)
    largest = torch.pow(2.0, (grid.clamp(-1000, 900) + 52).double())
    largest = torch.where(grid < -1000, 0.0, largest)  # too fine for float64: claim nothing
    return (size.flatten(1) < largest[:, None]).reshape(size.shape)


def _above(gap: Ball, rate: Ball | None) -> tuple[Tensor, Tensor]:
    """Whether gap + eps * rate > 0, and where that is in doubt (also after an overflow, which leaves NaN)."""
    above = gap.value > 0
    doubt = ~(gap.value.abs() > gap.error)
    if rate is None:
        return above, doubt
    tie = (gap.value == 0) & (gap.error == 0)
    still = tie & ~(rate.value.abs() > rate.error) & ~((rate.value == 0) & (rate.error == 0))
    return torch.where(tie, rate.value > 0, above), (doubt & ~tie) | still


def _piecewise(op: Piecewise, z: Ball, rate: Ball | None) -> tuple[Tensor, Tensor]:
    """Branches, and per input whether any is in doubt."""
    branches = torch.zeros(z.value.shape, dtype=op.dtype, device=z.value.device)
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
    if z.fixed is not None:  # dead units that are equal here are equal on the whole piece
        fixed = z.fixed.flatten(1)[:, op.index.clamp(min=0)]
        unsure &= ~((gap == 0) & (error == 0) & fixed & fixed.gather(-1, winner))
    others = torch.arange(op.index.shape[1], device=gap.device) != winner
    branches = winner.to(op.dtype).reshape(len(winner), *op.output_shape)
    return branches, (unsure & others).flatten(1).any(1)


def freeze_ball(op: Choice, branches: Tensor, z: Ball, *, constant: bool) -> Ball:
    """Push a ball through a choice node with given branches; slopes -1, 0, 1 without intercept round nothing."""
    node = op.freeze(branches)
    if not isinstance(node, Scale):
        return affine_ball(node, [z], constant=constant, use_grid=False)
    plain = (node.factor == 0) | (node.factor.abs() == 1)
    if constant and node.bias is not None:
        plain &= (node.factor == 0) | (node.bias == 0)
    if bool(plain.all()):
        value = node.apply(z.value)
        value = value if node.bias is None or not constant else value + node.bias
        return Ball(value, node.factor.abs() * z.error, node.factor == 0)
    out = affine_ball(node, [z], constant=constant, use_grid=False)
    return Ball(out.value, torch.where(plain, node.factor.abs() * z.error, out.error), node.factor == 0)


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

    A nonzero row is orthogonal to it with probability at most 2^-53 (Schwartz, Zippel). The raw stream of the generator
    is the same in every version of NumPy.
    """
    raw = np.random.PCG64(20170303).random_raw(size) >> np.uint64(10)  # 54 bits
    return (raw.astype(np.int64) - 2**53).astype(np.float64)


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
    with torch.no_grad(), direct_convolutions():
        branches, doubt = _choose(nodes, x, None)
        for stage in (_settle_by_rate, _settle_exactly):
            rows = doubt.nonzero()[:, 0]
            if len(rows) == 0:
                break
            settled, still = stage(nodes, x[rows])
            for name, b in settled.items():
                branches[name][rows] = b.to(branches[name].device)
            doubt[rows] = still.to(doubt.device)
    return Pattern(branches, len(x))


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
            flat = torch.from_numpy(np.stack([r[node.name] for r in rows]))
            out[node.name] = flat.to(node.op.dtype).reshape(len(rows), *node.shape)
    return out
