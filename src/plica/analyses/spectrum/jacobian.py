"""Jacobians of a piece at many layers, from one pass of the input's unit vectors through the graph.

Rows of units that are off are not kept. Where fewer units are alive than columns are left, the values of the graph are
replaced by a triangular factor with as many columns: J = L Q with orthonormal rows of Q, so that everything later is
the same map of fewer columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from plica.analyses.spectrum.matrix import Block, Jacobian
from plica.analyses.spectrum.rounding import Doubt, doubts
from plica.analyses.spectrum.slabs import CHUNK, Slab, push_slabs, tiles, unit_slab
from plica.core.affine import Scale
from plica.core.network import INPUT, Network
from plica.core.piece import pull
from plica.core.progress import refuse_above

PULL_COLUMNS = 2048  # from here on few rows are pulled back instead of pushing all columns
PULL_SHARE = 0.25  # of the columns: as many rows at most
SHRINK_COLUMNS = 1024  # from here on columns are replaced by fewer
SHRINK_SHARE = 0.75


@dataclass(frozen=True, eq=False)
class At:
    """The Jacobian at one value of the graph.

    Attributes
    ----------
    name : str
    jacobian : Jacobian
        Of the units that are alive.
    most : int
        Largest rank that the graph allows: no more than the units alive here or at any cut before.
    doubt : Doubt
        Distance of the computed from the exact Jacobian.
    basis : Tensor or None
        Orthonormal columns, shape (columns of the input, columns of the Jacobian); None for the input's own.
    columns : ndarray
        Flat input index of every column of the input.
    """

    name: str
    jacobian: Jacobian
    most: int
    doubt: Doubt
    basis: Tensor | None
    columns: np.ndarray


@dataclass
class _Collected:
    """What one pass through a part of the graph leaves."""

    names: set[str]
    blocks: dict[str, list[Block]] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)


def alive(frozen: Network, chosen: Tensor) -> dict[str, Tensor]:
    """Which units of every value depend on the chosen inputs, by the zeros of weights and slopes alone; boolean."""
    found = {INPUT: chosen[None]}
    for node in frozen.nodes:
        masks = [found[name] for name in node.inputs]
        if isinstance(node.op, Scale):
            found[node.name] = masks[0] & (node.op.factor != 0)
        else:
            size = node.op.magnitude()  # type: ignore[union-attr]
            found[node.name] = size.apply(*(m.to(torch.float64) for m in masks)) > 0
    return {name: mask[0] for name, mask in found.items()}


def cuts(frozen: Network, masks: dict[str, Tensor]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """For every value the number of units alive in all values that later nodes read, and these values."""
    last_use = {name: i for i, node in enumerate(frozen.nodes) for name in node.inputs}
    last_use[frozen.output] = len(frozen.nodes)
    live, found = [INPUT], {}
    for i, node in enumerate(frozen.nodes):
        live = [name for name in (*live, node.name) if last_use.get(name, -1) > i]
        found[node.name] = (sum(int(masks[name].sum()) for name in live), tuple(live))
    return found


def jacobians(
    frozen: Network,
    wanted: tuple[str, ...],
    chosen: np.ndarray,
    *,
    vectors: bool = False,
    max_bytes: int,
    check: Callable[[], None] = lambda: None,
) -> Iterator[At]:
    """Jacobians at the wanted values, in the order of the graph.

    Parameters
    ----------
    frozen : Network
        The affine network of a piece.
    wanted : tuple of str
    chosen : ndarray of bool, flat
        Inputs whose columns are taken.
    vectors : bool
        Whether `At.basis` is wanted.
    max_bytes : int
    check : callable
        Called between steps; may raise to stop.

    Raises
    ------
    MemoryBudgetError
    """
    order = [INPUT, *(node.name for node in frozen.nodes)]
    wanted = tuple(name for name in order if name in set(wanted))
    shape = frozen.input_shape
    masks = alive(frozen, torch.from_numpy(chosen.reshape(shape)).to(frozen.device))
    rows, columns = sum(int(masks[name].sum()) for name in wanted), int(chosen.sum())
    if columns > PULL_COLUMNS and rows <= PULL_SHARE * columns and INPUT not in wanted:
        yield from _pulled(frozen, wanted, masks, chosen, max_bytes)
    else:
        yield from _Push(frozen, wanted, masks, chosen, vectors, max_bytes, check).run()


def _pulled(
    frozen: Network, wanted: tuple[str, ...], masks: dict[str, Tensor], chosen: np.ndarray, max_bytes: int
) -> Iterator[At]:
    """Rows, pulled back to the input."""
    columns, most = np.flatnonzero(chosen), int(chosen.sum())
    limits = cuts(frozen, masks)
    pick = torch.from_numpy(columns).to(frozen.device)
    running, bound = most, {}
    for node in frozen.nodes:
        bound[node.name] = running  # of the cuts before the node
        running = min(running, limits[node.name][0])
    for name in wanted:
        units = torch.nonzero(masks[name].flatten()).flatten()
        size = math.prod(frozen.shape_of(name))
        refuse_above(max_bytes, 16 * len(units) * len(columns), f"The {len(units)} rows of the Jacobian at {name!r} "
                     f"have {len(columns)} entries each", "Give window= or other layers.")  # fmt: skip
        parts = []
        step = max(1, min(CHUNK, 2**26 // max(size, math.prod(frozen.input_shape), 1)))
        for some in units.split(step):
            e = torch.zeros(len(some), size, dtype=torch.float64, device=frozen.device)
            e[torch.arange(len(some)), some] = 1.0
            parts.append(pull(frozen, {name: e.reshape(-1, *frozen.shape_of(name))}).flatten(1)[:, pick])
        data = torch.cat(parts) if parts else torch.zeros(0, len(columns), dtype=torch.float64)
        block = Block(0, torch.arange(len(units), device=frozen.device), data.T)
        J = Jacobian((len(units), len(columns)), (block,))
        yield At(name, J, min(len(units), bound[name]), Doubt(math.inf, 0.0), None, columns)


@dataclass(eq=False)
class _Push:
    """Unit vectors pushed forward, the graph in parts where columns can be saved."""

    frozen: Network
    wanted: tuple[str, ...]
    masks: dict[str, Tensor]
    chosen: np.ndarray
    vectors: bool
    max_bytes: int
    check: Callable[[], None]

    def __post_init__(self) -> None:
        self.groups = tiles(self.frozen.input_shape, np.asarray(self.chosen, dtype=bool).ravel())
        self.columns = np.concatenate(self.groups) if self.groups else np.zeros(0, dtype=np.int64)
        self.limits = cuts(self.frozen, self.masks)
        self.basis: Tensor | None = None
        self.exact = True  # whether the columns are unit vectors
        self.values: dict[str, Tensor] = {}  # of live values, transposed: (columns, alive); empty at the start

    def run(self) -> Iterator[At]:
        """Jacobians at the wanted values."""
        most = len(self.columns)
        if INPUT in self.wanted:
            start = {INPUT: [self._block(INPUT, slab, a) for slab, a in self._starts(INPUT)]}
            yield self._at(INPUT, start[INPUT], most, Doubt(0.0, 0.0))
        left = [name for name in self.wanted if name != INPUT]
        nodes, first = list(self.frozen.nodes), 0
        while left:
            last = self._end(nodes, first, left[-1])
            part = [node.name for node in nodes[first : last + 1]]
            live = self.limits[part[-1]][1] if part[-1] != self.wanted[-1] else ()
            got = self._collect(part[-1], {*left, *live} & set(part))
            found = doubts(self.frozen, got.squares) if self.exact else {}
            for name in part:
                if name in left:
                    left.remove(name)
                    doubt = found.get(name, Doubt(math.inf, 0.0))
                    yield self._at(name, got.blocks.pop(name) if name not in live else got.blocks[name], most, doubt)
                    self.check()
                most = min(most, self.limits[name][0])
            first = last + 1
            if left:
                self._shrink(live, got)

    def _end(self, nodes: list, first: int, last_wanted: str) -> int:
        """Last node of the part of the graph that starts at `first`."""
        columns = len(self.columns) if not self.values else self._width()
        for i in range(first, len(nodes)):
            if nodes[i].name == last_wanted:
                return i
            count, _ = self.limits[nodes[i].name]
            if columns >= SHRINK_COLUMNS and count <= SHRINK_SHARE * columns:
                return i
        return len(nodes) - 1

    def _width(self) -> int:
        return len(next(iter(self.values.values())))

    def _starts(self, name: str = "") -> Iterator[tuple[Slab, int]]:
        start = 0
        for group in self.groups:
            yield unit_slab(self.frozen.input_shape, group, self.frozen.device), start
            start += len(group)

    def _collect(self, last: str, keep: set[str]) -> _Collected:
        """Push all columns to a node and keep the rows alive of some values."""
        got = _Collected(keep, {name: [] for name in keep})
        self._refuse(last, keep)
        for start, slabs, local in self._sources():
            for name, slab in slabs.items():
                got.squares[name] = got.squares.get(name, 0.0) + float(slab.values.square().sum())
            for name, slab in push_slabs(self.frozen, slabs, last, local=local):
                got.squares[name] = got.squares.get(name, 0.0) + float(slab.values.square().sum())
                if name in keep:
                    got.blocks[name].append(self._block(name, slab, start))
            self.check()
        return got

    def _sources(self) -> Iterator[tuple[int, dict[str, Slab], bool]]:
        """Groups of columns as slabs, each with the place of its first column."""
        if not self.values:
            yield from ((start, {INPUT: slab}, True) for slab, start in self._starts())
            return
        for start in range(0, self._width(), CHUNK):
            slabs = {}
            for name, rows in self.values.items():
                shape, some = self.frozen.shape_of(name), rows[start : start + CHUNK]
                whole = some.new_zeros(len(some), math.prod(shape))
                whole[:, self.masks[name].flatten()] = some
                slabs[name] = Slab(whole.reshape(-1, *shape), (0,) * len(shape), shape)
            yield start, slabs, False

    def _refuse(self, last: str, keep: set[str]) -> None:
        """Compare what the blocks will take with the budget, from one column of the middle group."""
        group = self.groups[len(self.groups) // 2] if self.groups else np.zeros(0, dtype=np.int64)
        if self.values or not len(group):
            share = dict.fromkeys(keep, 1.0)
        else:
            slab = unit_slab(self.frozen.input_shape, group, self.frozen.device)
            one = Slab(slab.values.sum(0, keepdim=True), slab.corner, slab.shape)
            reached = push_slabs(self.frozen, {INPUT: one}, last, local=True)
            share = {n: s.values.numel() / max(1, math.prod(s.shape)) for n, s in reached if n in keep}
        columns = self._width() if self.values else len(self.columns)
        entries = sum(int(self.masks[n].sum()) * columns * share.get(n, 1.0) for n in keep)
        refuse_above(
            self.max_bytes, int(8 * entries),
            f"The Jacobians at {len(keep)} values have {columns} columns and "
            f"{sum(int(self.masks[n].sum()) for n in keep)} rows",
            "Give fewer layers=, side='post', or a window= of the input.",
        )  # fmt: skip

    def _block(self, name: str, slab: Slab, start: int) -> Block:
        mask = self.masks[name]
        inside = mask[slab.box]
        place = (mask.flatten().cumsum(0) - 1).reshape(mask.shape)
        return Block(start, place[slab.box][inside], slab.values[:, inside])

    def _at(self, name: str, blocks: list[Block], most: int, doubt: Doubt) -> At:
        rows = int(self.masks[name].sum())
        columns = self._width() if self.values else len(self.columns)
        return At(name, Jacobian((rows, columns), tuple(blocks)), min(most, rows), doubt, self.basis, self.columns)

    def _shrink(self, live: tuple[str, ...], got: _Collected) -> None:
        """Replace the columns by as many as units are alive."""
        parts = [_stacked(got.blocks[name], int(self.masks[name].sum())) for name in live if name in got.blocks]
        parts += [self.values[name] for name in live if name not in got.blocks]
        names = [n for n in live if n in got.blocks] + [n for n in live if n not in got.blocks]
        Q, R = torch.linalg.qr(torch.cat(parts, 1), mode="reduced" if self.vectors else "r")  # (columns, alive) = Q R
        if self.vectors:
            self.basis = Q if self.basis is None else self.basis @ Q
        self.values = dict(zip(names, R.split([p.shape[1] for p in parts], dim=1), strict=True))
        self.exact = False


def _stacked(blocks: list[Block], rows: int) -> Tensor:
    """All columns of a Jacobian, transposed: shape (columns, rows)."""
    out = blocks[0].data.new_zeros(sum(len(b.data) for b in blocks), rows)
    for block in blocks:
        out[block.columns].index_copy_(1, block.rows, block.data)
    return out
