"""The local constant: between the pieces that were met and a proven bound over all that the domain can hold.

The constant on a convex domain is the largest norm of a piece's matrix over pieces with inner points in the domain.
Below: pieces at sampled points. Above: branch and bound over branches of units. A node of the tree allows every unit
some branches; it is bounded by the ellipsoid of `tight` with the slopes that these leave, and split at a unit of the
first layer that has a free one, where the unit's value is an affine function of the input. The half-space of either
side cuts the node's region; a region that is proven empty is dropped. A node without free units is one piece. Nothing
needs a solver's word: bounds are proven, and an empty region is decided exactly on rows moved outward by their errors.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.analyses.lipschitz.program import Unsuitable, vectors
from plica.analyses.lipschitz.search import stretched
from plica.analyses.lipschitz.slopes import Interval, box_of, branch_ranges, intervals, known_slopes
from plica.analyses.lipschitz.tight import tight_bound
from plica.analyses.lipschitz.verified import gain
from plica.core.affine import Affine, evaluate
from plica.core.choice import MaxOver, Piecewise
from plica.core.domain import Ball, Box
from plica.core.exact.floats import UNIT, gamma
from plica.core.network import INPUT, Network
from plica.core.piece import Piece, pull
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.solve import linear_program
from plica.errors import ArgumentError, BudgetReached, PlicaError

SAMPLES = 64
EQUAL = 1e-9  # bounds that differ by less, relatively, are equal


@dataclass(frozen=True)
class Local:
    """Bounds of a constant on a domain; see `LipschitzResult`."""

    lower: float
    upper: float
    pieces: int
    reason: str


@dataclass(frozen=True, eq=False)
class Region:
    """A node of the tree: allowed branches, and rows that the inputs meant satisfy."""

    ranges: dict[str, Interval]
    rows: tuple[tuple[np.ndarray, float], ...]
    upper: float


def sampled(net: Network, points: Tensor) -> tuple[float, int]:
    """Largest proven norm of the pieces at some points, and the number of pieces."""
    seen: dict[bytes, float] = {}
    for piece in net.pieces(points):
        key = b"".join(b.cpu().numpy().tobytes() for b in piece.pattern.branches.values())
        if key not in seen:
            seen[key] = piece_gain(piece)
    return max(seen.values(), default=0.0), len(seen)


def piece_gain(piece: Piece) -> float:
    """Proven lower bound of the norm of a piece's matrix."""
    m, n = math.prod(piece.network.output_shape), math.prod(piece.network.input_shape)
    if m == 0 or n == 0:
        return 0.0
    frozen = Frozen(piece.frozen)
    if m * n <= 2**22:
        _, _, right = torch.linalg.svd(piece.matrix(), full_matrices=False)
        v = right[0].reshape(piece.network.input_shape)
    else:
        v = stretched(frozen, piece.network.input_shape, Progress(), accuracy=1e-6)
    return gain(frozen, v)


@dataclass(frozen=True, eq=False)
class Frozen:
    """The linear part of an affine network, as one map.

    A chain of nodes errs by at most gamma_(sum of terms) |A_n| ... |A_1| |v|: every node multiplies relative errors.
    """

    network: Network
    absolute: bool = False

    @property
    def terms(self) -> int:
        """Roundings behind one output."""
        return sum(_terms(node.op) for node in self.network.nodes)

    def apply(self, *v: Tensor) -> Tensor:
        """Push directions."""
        values = {INPUT: v[0]}
        for node in self.network.nodes:
            op: Affine = node.op.magnitude() if self.absolute else node.op  # type: ignore[union-attr, assignment]
            values[node.name] = op.apply(*(values[i] for i in node.inputs))
        return values[self.network.output]

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """Pull covectors."""
        return (pull(self.network, {self.network.output: w}),)

    def magnitude(self) -> Frozen:
        """The chain of absolute nodes."""
        return replace(self, absolute=True)


def _terms(op: Any) -> int:
    return int(op.terms)


def local_constant(net: Network, domain: Box | Ball, progress: Progress, *, max_pieces: int, seed: int = 0) -> Local:
    """Bracket the constant on a domain, by branch and bound while the budgets last."""
    box = box_of(domain, net)
    if not (box.lower < box.upper).all():
        raise ArgumentError(
            "domain: it has no inner point (some variables are fixed), so pieces' matrices say nothing of differences "
            "inside it. Restrict the network to the free variables: net.on(plane)."
        )
    points = torch.from_numpy(domain.sample(SAMPLES, seed).reshape(-1, *net.input_shape))
    lower, met = sampled(net, points)
    ranges = branch_ranges(net, intervals(net, box))
    shapes = {INPUT: net.input_shape, **{n.name: n.shape for n in net.nodes}}
    tree = Tree(net, box, shapes, progress)
    try:
        root = tree.bounded(ranges, (), math.inf)
    except Unsuitable as reason:
        return Local(lower, math.inf, met, f"sampled pieces only: {reason}")
    return _search(tree, root, (lower, met), max_pieces)


def _search(tree: Tree, root: Region, found: tuple[float, int], max_pieces: int) -> Local:
    """Best first: split the region with the largest bound until bounds meet or budgets end."""
    lower, met = found
    order = itertools.count()
    heap = [(-root.upper, next(order), root)]
    closed, splits, why = 0.0, 0, "exact: the bounds meet"
    while heap:
        upper = max(-heap[0][0], closed)
        if upper <= lower * (1 + EQUAL):
            break
        if splits >= max_pieces or tree.progress.seconds_left <= 0:
            why = f"budget reached after {splits} splits; the bounds do not meet"
            break
        _, _, region = heapq.heappop(heap)
        children = tree.split(region)
        if children is None:  # one piece, or maxima that are not split
            closed = max(closed, region.upper)
            if tree.open_maxima:
                why = "maxima over groups are not split; the bounds do not meet"
            continue
        splits += 1
        for child in children:
            value = tree.inner_gain(child)
            if value is not None:
                lower, met = max(lower, value), met + 1
            heapq.heappush(heap, (-child.upper, next(order), child))
    upper = max(closed, -heap[0][0] if heap else 0.0)
    if upper > lower * (1 + 1e-6) and why.startswith("exact"):
        why = "a piece that is proven neither empty nor met keeps the bounds apart"
    return Local(lower, max(upper, lower), met, why)


@dataclass(frozen=True, eq=False)
class Tree:
    """What all regions share."""

    net: Network
    box: Box
    shapes: dict[str, Any]
    progress: Progress

    @property
    def open_maxima(self) -> bool:
        """Whether the network takes maxima over groups, which are not split."""
        return any(isinstance(self.net[name].op, MaxOver) for name in self.net.choices)

    def bounded(self, ranges: dict[str, Interval], rows: tuple[tuple[np.ndarray, float], ...], above: float) -> Region:
        """The region of these branches with its bound, at most that of the region it is part of."""
        known = known_slopes(self.net, ranges)
        if not self.open_maxima and all(bool((a == b).all()) for a, b in known.values()):
            upper = self._one_piece(ranges)
        else:
            program = vectors(self.net.nodes, INPUT, self.shapes, known)
            upper = tight_bound(program, self.progress, steps=8 if rows else 60)
        return Region(ranges, rows, min(above, upper))

    def _one_piece(self, ranges: dict[str, Interval]) -> float:
        """Proven norm of the only affine map that is left, by its ellipsoid without choices."""
        program = vectors(self.net.nodes, INPUT, self.shapes, known_slopes(self.net, ranges))
        return tight_bound(program, self.progress, steps=0)

    def split(self, region: Region) -> list[Region] | None:
        """Both sides of a knot of the first free unit, without those proven empty; None without a free unit."""
        picked = self._pick(region)
        if picked is None:
            return None
        name, unit, knot = picked
        row, offset, error = self._row(region, name, unit)
        first, last = region.ranges[name]
        level = float(_flat_knots(self.net[name].op)[knot, unit])
        children = []
        for side in (0, 1):
            low, high = first.clone(), last.clone()
            if side == 0:
                high[unit] = knot
            else:
                low[unit] = knot + 1
            sign = 1.0 if side == 0 else -1.0
            bound = math.nextafter(sign * (level - offset) + 4 * UNIT * (abs(level) + abs(offset)) + error, math.inf)
            rows = (*region.rows, (sign * row, bound))
            ranges = {**region.ranges, name: (low, high)}
            if self._empty(rows):
                continue
            narrow = self._narrowed(ranges)
            if narrow is not None:
                children.append(self.bounded(narrow, rows, region.upper))
        return children

    def _pick(self, region: Region) -> tuple[str, int, int] | None:
        """First layer with a free unit that reads no free one before it; in it the unit with the widest interval."""
        values = intervals(self.net, self.box, region.ranges)
        for name in self.net.choices:
            if name not in region.ranges:
                return None
            first, last = region.ranges[name]
            free = torch.nonzero(last > first).flatten()
            if len(free):
                low, high = (v.flatten() for v in values[self.net[name].inputs[0]])
                unit = int(free[torch.minimum(high[free], -low[free]).argmax()])
                return name, unit, int(first[unit])
        return None

    def _row(self, region: Region, name: str, unit: int) -> tuple[np.ndarray, float, float]:
        """The unit's value before the choice as row . x + offset, and a bound of the error of both on the box."""
        part = self.net.upto(name, "pre")
        nodes = []
        for node in part.nodes:
            op = node.op
            if isinstance(op, Piecewise):
                op = op.freeze(region.ranges[node.name][0].reshape(1, *node.shape).to(op.dtype))
            nodes.append(replace(node, op=op))
        frozen = replace(part, nodes=tuple(nodes))
        pick = torch.zeros(1, math.prod(part.output_shape), dtype=torch.float64)
        pick[0, unit] = 1.0
        row = pull(frozen, {frozen.output: pick.reshape(1, *part.output_shape)}).flatten().numpy()
        zero = torch.zeros(1, *part.input_shape, dtype=torch.float64)
        offset = float(frozen.values(zero, frozen.output)[frozen.output].flatten()[unit])
        reach = torch.from_numpy(np.maximum(np.abs(self.box.lower), np.abs(self.box.upper)))
        values = {INPUT: reach.reshape(1, *part.input_shape)}
        terms = sum(_terms(node.op) for node in nodes) + 4
        for node in nodes:
            values[node.name] = evaluate(node.op.magnitude(), *(values[i] for i in node.inputs))  # type: ignore[union-attr]
        size = float(values[frozen.output].flatten()[unit])
        return row, offset, 4 * gamma(2 * terms + len(row)) * size + 1e-250

    def _empty(self, rows: tuple[tuple[np.ndarray, float], ...]) -> bool:
        """Whether a region is proven empty."""
        inside = self.box.polyhedron()
        G = np.vstack([inside.G, *[r[None] for r, _ in rows]])
        h = np.concatenate([inside.h, [b for _, b in rows]])
        try:
            body = Polyhedron(G, h, inside.E, inside.e)
            body.facts.decide(self.progress)
            return bool(body.is_empty())
        except PlicaError:
            return False

    def _narrowed(self, ranges: dict[str, Interval]) -> dict[str, Interval] | None:
        """Branches that remain when the intervals are computed again; None where none does."""
        again = branch_ranges(self.net, intervals(self.net, self.box, ranges))
        out = {}
        for name, (first, last) in ranges.items():
            low, high = torch.maximum(first, again[name][0]), torch.minimum(last, again[name][1])
            if bool((low > high).any()):
                return None
            out[name] = (low, high)
        return out

    def inner_gain(self, region: Region) -> float | None:
        """Norm of the piece at a point of the region, if one is found in the box."""
        inside = self.box.polyhedron()
        G = np.vstack([inside.G, *[r[None] for r, _ in region.rows]])
        h = np.concatenate([inside.h, [b for _, b in region.rows]])
        try:
            centre = _deep_point(G, h, self.progress)
        except BudgetReached:
            return None
        if centre is None:
            return None
        point = np.clip(centre, self.box.lower, self.box.upper).reshape(1, *self.net.input_shape)
        return piece_gain(next(self.net.pieces(torch.from_numpy(point))))


def _deep_point(G: np.ndarray, h: np.ndarray, progress: Progress) -> np.ndarray | None:
    """A point as far as possible from all rows, by linear programming; None where there is none."""
    cost = np.append(np.zeros(G.shape[1]), -1.0)
    rows = np.vstack([np.column_stack([G, np.linalg.norm(G, axis=1)]), -cost])
    solution = linear_program(cost, rows, np.append(h, 1e6), progress=progress)
    return solution.x[:-1] if solution.status == "optimal" and solution.x[-1] > 0 else None


def _flat_knots(op: Any) -> Tensor:
    """Knots per unit, shape (knots, units)."""
    knots = op.knots.detach().double()
    knots = knots.reshape(len(knots), *(1,) * (len(op.input_shape) + 1 - knots.ndim), *knots.shape[1:])
    return knots.expand(len(knots), *op.input_shape).flatten(1)
