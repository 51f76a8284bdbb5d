"""A network around one input, as numbers: what every choice reads, block by block, and what the floats lost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from plica.core.choice import Choice, MaxOver
from plica.core.exact.floats import gamma
from plica.core.network import Network
from plica.core.progress import DEFAULT_BYTES
from plica.core.search.blocks import FINAL, Blocks, Rows, blocks
from plica.core.search.bounds import TINY, tables

DENSE = 4_000_000  # entries of a block that is kept as a full matrix
FEW = 200  # inputs up to which programs are over the inputs themselves
SPARSE_SHARE = 0.2  # of entries that are not zero, above which a large block is kept full as well
Matrix: TypeAlias = "np.ndarray | sp.csr_array"


@dataclass(frozen=True, eq=False)
class Reading:
    """Affine rows of the sources: ``sum_s matrix_s @ source_s + offset``, source 0 being the perturbation.

    Attributes
    ----------
    parts : tuple of (source, matrix, |matrix|)
    offset : ndarray, shape (units,)
        Value at the input that is perturbed, as far as it does not depend on choices.
    size : ndarray, shape (units,)
        Bound on what was added up for the offset.
    lost : tuple of (source, matrix)
        Bounds on the errors of the parts, entry by entry.
    offset_lost : ndarray, shape (units,)
    terms : int
        Most numbers that are added up for one row.
    """

    parts: tuple[tuple[int, Matrix, Matrix], ...]
    offset: np.ndarray
    lost: tuple[tuple[int, Matrix], ...]
    offset_lost: np.ndarray
    terms: int


@dataclass(frozen=True, eq=False)
class Scalar:
    """Units that choose by one number: knots (k, units), slopes and intercepts (k + 1, units)."""

    knots: np.ndarray
    slopes: np.ndarray
    intercepts: np.ndarray

    @property
    def units(self) -> int:
        """Number of outputs."""
        return self.knots.shape[1]

    @property
    def branches(self) -> int:
        """Number of branches of every unit."""
        return len(self.slopes)


@dataclass(frozen=True, eq=False)
class Maximum:
    """Units that take the largest of a group: index (groups, size), -1 for no member."""

    index: np.ndarray

    @property
    def units(self) -> int:
        """Number of outputs."""
        return len(self.index)

    @property
    def branches(self) -> int:
        """Largest number of members of a group."""
        return self.index.shape[1]


@dataclass(frozen=True, eq=False)
class Layers:
    """A network as blocks over its sources: 0 is the input (as a perturbation of `x`), k + 1 the output of choice k.

    Attributes
    ----------
    graph : Blocks
    names : tuple of str
        Choices, in order.
    choices : tuple of Scalar or Maximum
    readings : tuple of Reading
        Of every choice, then of the value.
    x : ndarray, shape (n,)
    lower, upper : ndarray, shape (n,)
        Allowed perturbations, rounded outward.
    base : Layers, optional
        Around the input 0; None for that itself.
    """

    graph: Blocks
    names: tuple[str, ...]
    choices: tuple[Scalar | Maximum, ...]
    readings: tuple[Reading, ...]
    x: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    base: Layers | None = None

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return len(self.x)

    @cached_property
    def read(self) -> tuple[np.ndarray, dict[int, slice]] | None:
        """All rows that read the input, shape (rows, n), and which ones of every reading; None unless fewer than n."""
        parts = {j: m for j, r in enumerate(self.readings) for s, m, _ in r.parts if s == 0}
        if self.inputs <= FEW or sum(m.shape[0] for m in parts.values()) >= self.inputs:
            return None
        full = [m if isinstance(m, np.ndarray) else m.toarray() for m in parts.values()]
        ends = np.cumsum([0, *(len(m) for m in full)])
        places = {j: slice(int(a), int(b)) for j, a, b in zip(parts, ends[:-1], ends[1:], strict=True)}
        return np.ascontiguousarray(np.vstack(full)), places

    @cached_property
    def gram(self) -> np.ndarray | None:
        """Products of the rows of `read` with each other."""
        return None if self.read is None else self.read[0] @ self.read[0].T

    @property
    def classes(self) -> int:
        """Number of outputs."""
        return len(self.readings[-1].offset)

    def at(self, x: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Layers:
        """The same network around another input, within another box."""
        base = self.base or self
        moved = tuple(_moved(r, x) for r in base.readings)
        low, high = np.nextafter(lower - x, -np.inf), np.nextafter(upper - x, np.inf)
        low, high = np.where(lower == x, 0.0, low), np.where(upper == x, 0.0, high)
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
        return Layers(self.graph, self.names, self.choices, moved, x, low, high, base)


def prepare(net: Network, *, max_bytes: int = DEFAULT_BYTES) -> Layers:
    """Blocks of a network, around the input 0 without a box; `Layers.at` moves them to an input.

    Raises
    ------
    MemoryBudgetError
        When a matrix does not fit.
    """
    graph = blocks(net, net.nodes[-1].name, max_bytes=max_bytes)
    names = tuple(name for name in graph.rows if name != FINAL)
    choices = tuple(_choice(graph.network[name].op) for name in names)
    readings = tuple(_reading(graph, graph.rows[name]) for name in (*names, FINAL))
    n = next(iter(graph.spans.values())).stop
    return Layers(graph, names, choices, readings, np.zeros(n), np.full(n, -np.inf), np.full(n, np.inf))


def _choice(op: object) -> Scalar | Maximum:
    assert isinstance(op, Choice)
    if isinstance(op, MaxOver):
        return Maximum(op.index.cpu().numpy())
    return Scalar(*tables(op))  # type: ignore[arg-type]


def _reading(graph: Blocks, rows: Rows) -> Reading:
    spans = list(graph.spans.values())
    parts: list[tuple[int, Matrix, Matrix]] = []
    for s, span in enumerate(spans):
        block = sp.csr_array(rows.matrix[:, span])
        if block.nnz:
            kept = _kept(block)
            parts.append((s, kept, abs(kept)))
    lost = []
    if rows.matrix_error is not None:
        cut = [(s, sp.csr_array(rows.matrix_error[:, span])) for s, span in enumerate(spans)]
        lost = [(s, _kept(block)) for s, block in cut if block.nnz]
    off = np.zeros(len(rows.offset)) if rows.offset_error is None else rows.offset_error
    terms = int(np.diff(rows.matrix.indptr).max(initial=0)) + 1
    return Reading(tuple(parts), rows.offset, tuple(lost), off, terms)


def _kept(block: sp.csr_array) -> Matrix:
    entries = block.shape[0] * block.shape[1]
    if entries <= DENSE or block.nnz > SPARSE_SHARE * entries:
        return np.ascontiguousarray(block.toarray())
    return block


def _moved(r: Reading, x: np.ndarray) -> Reading:
    """The reading as a function of the distance from x."""
    offset, lost = r.offset, r.offset_lost
    for s, matrix, size in r.parts:
        if s == 0:
            reach = size @ np.abs(x) + np.abs(r.offset)
            offset = matrix @ x + r.offset
            lost = lost + gamma(r.terms + 3) * reach + TINY * (reach > 0)
    for s, error in r.lost:
        if s == 0:
            lost = lost + (error @ np.abs(x)) * (1 + 1e-9) + TINY
    return Reading(r.parts, offset, r.lost, lost * (1 + 1e-12), r.terms)
