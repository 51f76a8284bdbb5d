"""What constructions are made of: a chain of affine maps and choices, and hyperplanes in general position."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from plica.core.affine import Dense
from plica.core.choice import MaxOver, absolute, relu
from plica.core.domain import Box
from plica.core.network import INPUT, Graph, Network
from plica.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class Construction:
    """A network with a known number of regions.

    Attributes
    ----------
    network : Network
        Ends with its last layer of choices; ``network.to_torch()`` is a torch module.
    domain : Box or None
        Where the regions are counted; None for the whole space.
    regions : int
        Activation regions in the interior of the domain.
    exact : bool
        Whether there are exactly so many; otherwise at least.
    witnesses : ndarray, shape (k, n_0), or None
        Points with different patterns.
    source : str
    """

    network: Network
    domain: Box | None
    regions: int
    exact: bool
    source: str
    witnesses: np.ndarray | None = None


class Chain:
    """Builds a chain of dense layers and choices; affine maps are joined until a choice follows."""

    def __init__(self, inputs: int, *, join: bool = True) -> None:
        self.graph, self.last, self.join = Graph((inputs,)), INPUT, join
        self.weight, self.bias, self.name = np.eye(inputs), np.zeros(inputs), ""

    def affine(self, name: str, weight: npt.ArrayLike, bias: npt.ArrayLike) -> None:
        """Append x -> weight x + bias."""
        weight, bias = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)
        if self.name and not self.join:
            self.flush()
        self.weight, self.bias, self.name = weight @ self.weight, weight @ self.bias + bias, name

    def flush(self) -> None:
        """Write the affine map so far as a node."""
        if self.name:
            weight, bias = torch.from_numpy(self.weight.copy()), torch.from_numpy(self.bias.copy())
            self.last = self.graph.add(self.name, Dense(weight, bias, (weight.shape[1],)), self.last)
            self.weight, self.bias, self.name = np.eye(len(bias)), np.zeros(len(bias)), ""

    def choose(self, name: str, kind: str, rank: int = 2) -> None:
        """Append a layer of choices: relu, abs, or maxima of `rank` values in a row."""
        self.flush()
        (n,) = self.graph.shapes[self.last]
        if kind == "maxout":
            op: object = MaxOver(torch.arange(n).reshape(-1, rank), (n,), (n // rank,))
        else:
            op = {"relu": relu, "abs": absolute}[kind]((n,))
        self.last = self.graph.add(name, op, self.last)  # type: ignore[arg-type]
        (m,) = self.graph.shapes[self.last]
        self.weight, self.bias = np.eye(m), np.zeros(m)

    def network(self) -> Network:
        """The finished network."""
        self.flush()
        return self.graph.network()


def check_widths(inputs: int, widths: Sequence[int]) -> None:
    """Refuse layers narrower than the input."""
    if inputs < 1 or not widths or min(widths) < inputs:
        raise ArgumentError(
            f"inputs = {inputs}, widths = {list(widths)}: a layer is needed, and each at least as wide as the inputs."
        )


def cube_hyperplanes(n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Hyperplanes weight x + bias = 0 in general position, all of whose corners lie in the open unit cube.

    Returns
    -------
    weight : ndarray, shape (count, n)
    bias : ndarray, shape (count,)
        Integers.

    Raises
    ------
    ArgumentError
        When the integers do not fit 53 bits.
    """
    bits = max(1, math.ceil(math.log2(2 * count)))
    rows = []
    for u in range(count):
        t, side = 2 * u + 1, (-1) ** (count - 1 - u)  # t / 2^bits, scaled by 2^(bits n)
        terms = [(-1) ** j * math.comb(n, j) * t ** (n - j) * 2 ** (bits * j) for j in range(n + 1)]
        rows.append([side * v for v in terms])
    if max((abs(v) for row in rows for v in row), default=0) >= 2**53:
        raise ArgumentError(f"{count} units on {n} inputs: the weights need more than 53 bits. Use fewer.")
    table = np.array(rows, dtype=np.float64).reshape(count, n + 1)
    return table[:, 1:], table[:, 0]
