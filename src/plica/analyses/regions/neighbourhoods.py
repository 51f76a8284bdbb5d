"""Neighbourhoods that a network identifies: the recursion (3) of Montúfar et al. (2014), as a tree."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from plica.core.domain import Box
from plica.core.network import INPUT, Network
from plica.core.piece import Piece
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, BudgetReached, ShapeError

TOLERANCE = 1e-9  # relative, of coordinates


@dataclass(frozen=True, repr=False)
class NeighbourhoodsResult(Result):
    """The neighbourhoods that are mapped onto a target, layer by layer.

    Attributes
    ----------
    layers : tuple of str
        "input", the layers in between, and the layer of the target; all other tuples follow them.
    counts : tuple of ndarray of int, shape (k,)
        For every neighbourhood at a layer the number N of input neighbourhoods that are mapped onto it.
    parents : tuple of ndarray of int, shape (k,)
        The neighbourhood of the next layer onto which each is mapped; -1 for the target.
    centres : tuple of ndarray, shape (k, n)
        The point itself, or the mean of the corners.
    corners : tuple of tuple of ndarray, shape (c, n)
        Corners of every neighbourhood; of a point, itself.
    partial : tuple of int
        Pieces of the block before the layer that reach into a neighbourhood there without covering it; they are not
        counted (0 for the input).
    border : bool
        Whether a point lies on the border of a piece, where two pieces share a preimage; it is counted once.
    """

    layers: tuple[str, ...]
    counts: tuple[np.ndarray, ...]
    parents: tuple[np.ndarray, ...]
    centres: tuple[np.ndarray, ...]
    corners: tuple[tuple[np.ndarray, ...], ...]
    partial: tuple[int, ...]
    border: bool

    @property
    def count(self) -> int:
        """N of the target: how many input neighbourhoods are identified with each other."""
        return int(self.counts[-1][0])

    def summary(self) -> str:
        """Neighbourhoods per layer."""
        sizes = ", ".join(f"{len(c)} at {name}" for name, c in zip(self.layers, self.counts, strict=True))
        notes = [f"{self.count} input neighbourhoods are mapped onto the target ({sizes})"]
        if any(self.partial):
            notes.append(f"{sum(self.partial)} pieces cover a part of a neighbourhood only and are not counted")
        if self.border:
            notes.append("a point lies on the border of a piece; preimages that pieces share are counted once")
        return "\n".join(notes)


@dataclass
class _Tree:
    """Neighbourhoods found so far, layer by layer from the target to the input."""

    corners: list[list[np.ndarray]] = field(default_factory=list)
    parents: list[list[int]] = field(default_factory=list)
    partial: list[int] = field(default_factory=list)
    border: bool = False


def identified_neighbourhoods(
    net: Network,
    target: npt.ArrayLike | Polyhedron,
    *,
    layers: Sequence[str | int],
    domain: Box | Polyhedron | None = None,
    max_pieces: int = 1000,
    progress: Progress | None = None,
) -> NeighbourhoodsResult:
    """Find all neighbourhoods of the input that are mapped onto a target, one block of layers after the other.

    Parameters
    ----------
    net : Network
    target : array, shape (n,), or Polyhedron
        A point y (flat), or a bounded polyhedron R, in the space of the last of `layers`.
    layers : sequence of str or int
        Where the recursion stops, in order: each must cut the graph. In a rectifier network of the paper these are the
        alternating sums, "fold1", "fold2", ...: before them nothing is identified.
    domain : Box or Polyhedron, optional
        Inputs that count.
    max_pieces : int
        Pieces per block; beyond, the result is marked and N is a lower bound.
    progress : Progress, optional

    Returns
    -------
    NeighbourhoodsResult
        NUMERICAL: N^l_R is the sum of N^(l-1)_R' over all R' that block l maps onto R (eq. 3), N^0 = 1.

    Raises
    ------
    ArgumentError
        For an unbounded or empty target, or where a preimage is unbounded: a whole ray is mapped onto a point.

    Notes
    -----
    R' ranges over the pieces of the block whose image contains all corners of R, found by walking across facets,
    decided exactly. A neighbourhood that lies across the border of two pieces is mapped onto by parts only; such
    pieces are reported in `partial`. Meant for figures: a piece takes 20 to 100 ms, a corner one small linear program.
    """
    start, progress = time.monotonic(), progress or Progress()
    names = [INPUT, *(net.resolve(layer) for layer in layers)]
    if len(names) < 2:
        raise ArgumentError("layers: name one or more, the last one that of the target.")
    n = int(np.prod(net.shape_of(names[-1])))
    tree, state = _Tree([[_target(target, n)]], [[-1]]), Completeness.COMPLETE
    try:
        for before, name in zip(reversed(names[:-1]), reversed(names[1:]), strict=True):
            block = net.upto(name) if before == INPUT else net.upto(name).after(before)
            pieces = list(_walk(block, max_pieces, progress))
            if len(pieces) > max_pieces:
                pieces, state = pieces[:max_pieces], Completeness.BUDGET
            _preimages(tree, pieces, _rows(domain) if before == INPUT else None, progress)
    except (BudgetReached, KeyboardInterrupt) as stop:
        if len(tree.corners) <= len(names) - 1:
            raise
        state = Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    return _result(tree, tuple(names), state, time.monotonic() - start)


def _target(target: npt.ArrayLike | Polyhedron, n: int) -> np.ndarray:
    """Corners of the target."""
    if isinstance(target, Polyhedron):
        if target.ambient != n:
            raise ShapeError(f"target: the polyhedron has {target.ambient} variables, the layer has {n}.")
        if target.is_empty() or not target.is_bounded():
            raise ArgumentError("target: the polyhedron must be bounded and not empty.")
        return target.vertices()
    point = np.asarray(target, dtype=np.float64).ravel()
    if point.shape != (n,) or not np.isfinite(point).all():
        raise ShapeError(f"target: got {point.size} numbers; the layer has {n}, and they must be finite.")
    return point[None]


def _rows(domain: Box | Polyhedron | None) -> Polyhedron | None:
    return domain.polyhedron() if isinstance(domain, Box) else domain


def _walk(block: Network, most: int, progress: Progress) -> Iterator[Piece]:
    """All pieces of a block, across facets from one to the next; at most one more than asked for."""
    first = block.piece(torch.zeros(block.input_shape, dtype=torch.float64))
    seen, todo = {first.pattern.keys()[0]}, [first]
    yield first
    while todo and len(seen) <= most:
        progress.check()
        piece = todo.pop()
        for facet in piece.polyhedron().facets(progress).rows:
            beyond = piece.neighbour(int(facet), progress=progress)
            key = beyond.pattern.keys()[0]
            if key not in seen:
                seen.add(key)
                todo.append(beyond)
                yield beyond
        progress.report("pieces", len(seen))


def _preimages(tree: _Tree, pieces: list[Piece], domain: Polyhedron | None, progress: Progress) -> None:
    """Append a layer to the tree: what the pieces of the block before map onto its last neighbourhoods."""
    found: list[np.ndarray] = []
    parents: list[int] = []
    partial = 0
    maps = [(p.matrix().numpy(), p.offset.numpy().ravel(), p.polyhedron()) for p in pieces]
    maps = [(M, c, P if domain is None else P.intersect(domain)) for M, c, P in maps]
    for number, corners in enumerate(tree.corners[-1]):
        progress.check()
        own: list[np.ndarray] = []
        for M, c, P in maps:
            reached = [_reached(M, c, P, corner, progress) for corner in corners]
            if all(r is not None for r in reached):
                preimage = _preimage(M, c, P, corners, [r for r in reached if r is not None])
                tree.border |= len(corners) == 1 and _on_border(P, preimage)
                if not any(_same(preimage, other) for other in own):
                    own.append(preimage)
            elif len(corners) > 1:
                partial += _meets_inside(M, c, P, corners)
        found += own
        parents += [number] * len(own)
    tree.corners.append(found)
    tree.parents.append(parents)
    tree.partial.append(partial)


def _slack(*values: np.ndarray) -> float:
    """Tolerance for coordinates of this size."""
    return TOLERANCE * max(1.0, *(float(np.abs(v).max(initial=0.0)) for v in values))


def _reached(M: np.ndarray, c: np.ndarray, P: Polyhedron, y: np.ndarray, progress: Progress) -> np.ndarray | None:
    """A point of the piece that is mapped to y, within the tolerance; None where there is none."""
    x = np.linalg.lstsq(M, y - c, rcond=None)[0]
    slack = _slack(x, y, c)
    if np.abs(M @ x + c - y).max(initial=0.0) > slack:
        return None
    if (P.G @ x <= P.h + slack * (1 + np.abs(P.G).sum(1))).all():
        return x
    if np.linalg.matrix_rank(M) == M.shape[1]:
        return None
    eased = Polyhedron(np.vstack([P.G, M, -M]), np.concatenate([P.h + slack, y - c + slack, c - y + slack]))
    eased.facts.decide(progress)
    return None if eased.is_empty() else eased.centre(progress).point


def _preimage(M: np.ndarray, c: np.ndarray, P: Polyhedron, corners: np.ndarray, reached: list) -> np.ndarray:
    """Corners of what the piece maps into the convex hull of some corners."""
    if np.linalg.matrix_rank(M) == M.shape[1]:
        return np.array(reached)  # the map is one to one on the piece
    slack = _slack(corners, c)
    hull = _hull(corners)
    mapped = Polyhedron(hull.G @ M, hull.h - hull.G @ c + slack, hull.E @ M, hull.e - hull.E @ c)
    part = P.intersect(mapped)
    if not part.is_bounded():
        raise ArgumentError(
            "A layer maps an unbounded set onto the target: it needs bounded neighbourhoods. Give a domain, or "
            "a target away from the values that inactive units share."
        )
    return part.vertices()


def _hull(corners: np.ndarray) -> Polyhedron:
    """Convex hull of a few points: a point, a segment or interval, or a polytope of full dimension."""
    from scipy.spatial import ConvexHull

    n = corners.shape[1]
    if len(corners) == 1:
        return Polyhedron(np.zeros((0, n)), np.zeros(0), np.eye(n), corners[0])
    if n == 1:
        return Polyhedron([[1.0], [-1.0]], [corners.max(), -corners.min()])
    rank = np.linalg.matrix_rank(corners - corners[0], tol=TOLERANCE)
    if rank < n:
        raise ArgumentError(
            "A neighbourhood is flat in a layer that is not one to one; give a target of full dimension."
        )
    rows = ConvexHull(corners).equations
    return Polyhedron(rows[:, :-1], -rows[:, -1])


def _meets_inside(M: np.ndarray, c: np.ndarray, P: Polyhedron, corners: np.ndarray) -> bool:
    """Whether a piece maps a set of full dimension into the convex hull of the corners."""
    try:
        hull = _hull(corners)
    except ArgumentError:
        return False
    inner = Polyhedron(hull.G @ M, hull.h - hull.G @ c - _slack(corners, c))
    both = P.intersect(inner)
    return not both.is_empty() and both.dimension() == M.shape[1]


def _on_border(P: Polyhedron, preimage: np.ndarray) -> bool:
    """Whether a point lies on a row of the piece, within the tolerance."""
    gap = np.abs(P.G @ preimage[0] - P.h)
    return bool((gap <= _slack(preimage) * (1 + np.abs(P.G).sum(1))).any()) if len(preimage) == 1 else False


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two neighbourhoods are one point, reached through two pieces."""
    return len(a) == len(b) == 1 and bool(np.abs(a - b).max() <= _slack(a, b))


def _result(tree: _Tree, names: tuple[str, ...], state: Completeness, seconds: float) -> NeighbourhoodsResult:
    """Counts by the recursion, from the input on, and everything in the order of the layers."""
    counts = [np.ones(len(tree.corners[-1]), dtype=np.int64)]
    for level in range(len(names) - 1, 0, -1):
        above = np.bincount(np.array(tree.parents[level], dtype=np.int64), weights=counts[-1],
                            minlength=len(tree.corners[level - 1]))  # fmt: skip
        counts.append(above.astype(np.int64))
    corners = tuple(tuple(level) for level in reversed(tree.corners))
    return NeighbourhoodsResult(
        standing=Standing.NUMERICAL,
        completeness=state,
        header={"seconds": seconds},
        layers=names,
        counts=tuple(counts),
        parents=tuple(np.array(p, dtype=np.int64) for p in reversed(tree.parents)),
        centres=tuple(np.array([c.mean(0) for c in level]) for level in corners),
        corners=corners,
        partial=(0, *reversed(tree.partial)),
        border=tree.border,
    )
