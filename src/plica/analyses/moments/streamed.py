"""Exact moments of the output without the covariance of the layer of choices, block by block.

With z = Z' xi + E z before the choices, y = B f(z) + (an affine map of the input), e = E f'(z) and S = Cov z,

    Cov y = T' Cov(xi) T + B (Cov f(z) - e e' * S) B',

T the map from xi to y with the choices replaced by their mean slopes e: by Stein's lemma it carries everything that is
linear, also paths around the choices. What is left in brackets is needed one block of rows and columns at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plica.analyses.moments.choice import inverse_of, units_of
from plica.analyses.moments.integral import TILE, fill, fill_block
from plica.analyses.moments.noise import Gaussian
from plica.analyses.moments.propagate import LESS, affine_part, first_choices, piecewise
from plica.analyses.moments.tiles import Units, grid, over_tiles, rules, tiles
from plica.analyses.moments.units import Kinks, unit_moments
from plica.core.affine import evaluate
from plica.core.network import Network, Node
from plica.core.progress import Progress, refuse_above

BLOCK = 2048  # units per block at most: a multiple of the tile
SHARE = 4  # the part of the budget, as 1 / SHARE, that blocks may take
MATRICES = 3  # blocks held at once


def block_size(progress: Progress) -> int:
    """Units per block: a multiple of the tile that suits the memory budget."""
    fits = math.isqrt(progress.max_bytes // (8 * MATRICES * SHARE)) // TILE * TILE
    return min(BLOCK, max(TILE, fits))


@dataclass(frozen=True, eq=False)
class _Layer:
    """All choices side by side: rates (k, p) and metric rates of z, what the integral reads, and E f and E f'."""

    rates: Tensor
    metric_rates: Tensor
    units: Units
    inverse: np.ndarray
    mean: Tensor
    slope: Tensor
    excess: np.ndarray  # Var f(z) - e^2 S_ii


def streamed_moments(net: Network, x: Gaussian, progress: Progress) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the output of a network in which no choice comes after another.

    Parameters
    ----------
    net : Network
        With choices of type `Piecewise` only.
    x : Gaussian
        With k directions of noise.

    Returns
    -------
    mean : Tensor, shape (1, *output_shape)
    cov : Tensor, shape (d, d)

    Raises
    ------
    MemoryBudgetError
        When 2 (k + d) x p numbers, p units of all choices and d outputs, do not fit into ``progress.max_bytes``.

    Notes
    -----
    Cost: k p^2 multiplications and 5 to 80 exponentials per pair of units; memory (2 k + d) p and some blocks of
    2048 x 2048. At p = 20,000 and k = 784 about ten CPU seconds. Equal to `propagate` up to rounding.
    """
    firsts = [net[name] for name in first_choices(net)]
    k, p, d = x.directions, sum(math.prod(n.shape) for n in firsts), math.prod(net.output_shape)
    needed = 8 * (2 * (k + d) * p + d * d + MATRICES * block_size(progress) ** 2)
    what = (
        f"Streaming {p} units from {k} directions of noise to {d} outputs takes 2 ({k} + {d}) x {p} entries and blocks"
    )
    refuse_above(progress.max_bytes, needed, what, LESS)
    linear = affine_part(net, x, progress)
    layer = _layer(firsts, linear, x) if firsts else None
    mean, response = _output(net, linear | (_linearised(firsts, layer) if layer else {}))
    cov = response.T @ (response if x.metric is None else x.metric @ response)
    if layer:
        cov = cov + _bent(layer, readout(net, firsts), progress)
    return mean, 0.5 * (cov + cov.T)


def _layer(firsts: list[Node], linear: dict, x: Gaussian) -> _Layer:
    means, rates = (torch.cat(parts, -1) for parts in zip(*(_before(linear, node) for node in firsts), strict=True))
    metric_rates = rates if x.metric is None else x.metric @ rates
    variance = (rates * metric_rates).sum(0)
    kinks = Kinks.join([Kinks.of(piecewise(node)) for node in firsts])
    unit = unit_moments(kinks, means, variance)
    excess = (unit.variance - unit.slope**2 * variance).numpy()
    units = units_of(unit.a, kinks.jumps, unit.sd)
    return _Layer(rates, metric_rates, units, inverse_of(unit.sd.numpy()), unit.mean, unit.slope, excess)


def _before(linear: dict, node: Node) -> tuple[Tensor, Tensor]:
    mean, rates = linear[node.inputs[0]]
    return mean.flatten(), rates.flatten(1)


def _linearised(firsts: list[Node], layer: _Layer) -> dict[str, tuple[Tensor, Tensor]]:
    """Means of the choices, and their rates with every choice replaced by its mean slope."""
    sizes = [math.prod(node.shape) for node in firsts]
    means, rates = layer.mean.split(sizes), (layer.rates * layer.slope).split(sizes, 1)
    return {
        n.name: (m.reshape(1, *n.shape), r.reshape(-1, *n.shape)) for n, m, r in zip(firsts, means, rates, strict=True)
    }


def _output(net: Network, values: dict) -> tuple[Tensor, Tensor]:
    """Mean and rates (k, d) of the output from those of the values before its last affine part."""
    for node in net.nodes:
        if node.name not in values:
            inputs = [values[name] for name in node.inputs]
            values[node.name] = evaluate(node.op, *(v[0] for v in inputs)), node.op.apply(*(v[1] for v in inputs))  # type: ignore[arg-type, union-attr]
    mean, rates = values[net.output]
    return mean, rates.flatten(1)


def readout(net: Network, firsts: list[Node]) -> np.ndarray:
    """B: what the outputs take of every unit, shape (d, p); the transposes of the affine nodes after the choices."""
    d = math.prod(net.output_shape)
    if not firsts:
        return np.zeros((d, 0))
    pending = {net.output: torch.eye(d, dtype=torch.float64).reshape(d, *net.output_shape)}
    names = {node.name for node in firsts}
    for node in reversed(net.nodes):
        if node.name in names or node.name not in pending:
            continue
        for name, part in zip(node.inputs, node.op.adjoint(pending.pop(node.name)), strict=True):  # type: ignore[union-attr]
            pending[name] = pending[name] + part if name in pending else part
    parts = [pending[n.name].flatten(1) if n.name in pending else torch.zeros(d, math.prod(n.shape)) for n in firsts]
    return torch.cat(parts, 1).double().numpy()


def _bent(layer: _Layer, weights: np.ndarray, progress: Progress) -> Tensor:
    """B (Cov f(z) - e e' * S) B', block by block over the upper triangle."""
    d, p = weights.shape
    half, rule, block = np.zeros((d, d)), rules(np.dtype(np.float64)), block_size(progress)
    starts = range(0, p, block)
    pairs = [(i, j) for i in starts for j in starts if i <= j]
    for i, j in progress.over(pairs, "blocks of units"):
        rows, columns = slice(i, i + block), slice(j, j + block)
        S = (layer.rates[:, rows].T @ layer.metric_rates[:, columns]).numpy()
        out = np.zeros_like(S)
        if i == j:
            inverse, units = layer.inverse[rows], Units(*(np.ascontiguousarray(t[:, rows]) for t in layer.units))
            _triangle(S, inverse, units, rule, out)
            np.fill_diagonal(out, layer.excess[rows])
            out *= 0.5  # its transpose is added below
        else:
            _rectangle(S, (i, j), layer, rule, out)
        half += weights[:, rows] @ (out @ weights[:, columns].T)
    return torch.from_numpy(half + half.T)


def _triangle(S: np.ndarray, inverse: np.ndarray, units: Units, rule: tuple, out: np.ndarray) -> None:
    flat = np.zeros(len(S))  # no mean slopes: their part is in the linear response
    over_tiles(tiles(len(S)), lambda part: fill(S, inverse, flat, units, rule, part, out))


def _rectangle(S: np.ndarray, corner: tuple[int, int], layer: _Layer, rule: tuple, out: np.ndarray) -> None:
    every = grid(*S.shape)
    over_tiles(every, lambda part: fill_block(S, corner, layer.inverse, layer.units, rule, part, out))
