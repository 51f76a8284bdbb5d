"""A preimage seen by a second network: both are joined at their common input, and one search decides."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import scipy.sparse as sp
import torch

from plica.analyses.preimage.mixing_result import DIFFERS, OPEN, SAME
from plica.analyses.preimage.union_piece import UnionPiece
from plica.analyses.preimage.union_set import Preimage, Question
from plica.analyses.preimage.union_target import levels
from plica.core.affine import Concat, reshape
from plica.core.choice import Choice, MaxOver
from plica.core.domain import Box
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Graph, Network
from plica.core.piece import Piece
from plica.core.progress import Progress
from plica.core.search.bounds import Taken
from plica.core.search.conditions import Conditions
from plica.core.search.point import as_columns, exact_point
from plica.core.solve.warm import WarmProgram
from plica.errors import BudgetReached, SolverError

RIVALS = 3  # other classes, the likeliest first, towards which the own piece is climbed
STEPS = 4  # linear programs along the reference's gradient, for each of them
PULLED = (0.01, 0.1, 0.4)  # back from a corner of the own piece, so that an exact point lies beside
LISTED = 1  # pieces that are asked one by one: a single piece fixes a network, more cost more than they save
SHARE = 0.3  # of the time, for the list
RIVAL = "rival"  # the largest other output of the reference
LOOKED = 3  # pieces that are looked at when the first points are ties of the reference


@dataclass(frozen=True, eq=False)
class Reading:
    """What the reference makes of a preimage.

    Attributes
    ----------
    verdict : str
    answer : int
        The reference's answer at the point; -1 without one.
    point : ndarray, optional
        In the preimage (within rounding of an exact point), flat.
    """

    verdict: str
    answer: int = -1
    point: np.ndarray | None = None


def read_differently(
    net: Network, reference: Network, x: np.ndarray, layer: str, domain: Box, seconds: float, progress: Progress
) -> Reading:
    """Search the preimage of x at a layer for a point that the reference reads otherwise than x.

    Notes
    -----
    First the witness's own piece is climbed along the reference's gradients, which finds many points at once. Then one
    search, over the patterns of both networks: activity as at x, and the largest other output of the
    reference not below that of its answer at x. Where the preimage alone is soon found to be the own piece
    and no more, only the reference's patterns are searched. "Proven the same" takes a complete search
    without a point.
    """
    witness = exact.Columns.of(x)
    logits = exact.forward(reference.nodes, witness)[0][reference.output]
    sizes = [logits.entry(k) for k in range(len(logits.numerator))]
    own = max(range(len(sizes)), key=lambda k: (sizes[k], -k))
    if len(sizes) < 2:
        return Reading(SAME)
    joined = _join(net, reference, layer, witness, own)
    budget = Progress(max_seconds=seconds, max_bytes=progress.max_bytes)
    fixed: list[Taken | None] = [None]
    if seconds > 0 and domain.contains(x):
        part = net.upto(joined.activity.value)
        clock = budget.part(SHARE)
        alone = Preimage(Question(part, layer, INPUT, "", joined.activity, domain, witness), clock)
        found = _climbed(alone, reference, x, own, budget)
        if found is not None:
            return found
        fixed = _listed(alone) or fixed
    proven = True
    for branches in fixed:
        question = Question(joined.net, layer, INPUT, "", joined.beaten(own), domain, witness, branches, RIVAL)
        reading = _looked(Preimage(question, budget), reference, own)
        if reading is not None and reading.verdict == DIFFERS:
            return reading
        proven &= reading is None
    return Reading(SAME if proven else OPEN)


def _listed(union: Preimage) -> list[Taken | None] | None:
    """The patterns of a preimage as branches in the joint network; None when they are many, or not proven to be all."""
    pieces = list(union.pieces(LISTED + 1))
    if len(pieces) > LISTED or not union.is_complete or not union.standing.is_proof:
        return None
    names = {"a." + name: name for name in union.graph.spans if name != INPUT}
    return [{joint: p.found.branches[name] for joint, name in names.items()} for p in pieces]


def _looked(union: Preimage, reference: Network, own: int) -> Reading | None:
    """A point of the union that the reference reads differently; None when the union is proven to be empty."""
    try:
        for piece in union.pieces(LOOKED):
            answer = _answer(reference, piece.exact_point)
            if answer != own:
                return Reading(DIFFERS, answer, piece.point)
    except (BudgetReached, SolverError):
        return Reading(OPEN)
    return None if union.is_complete and not union.found and union.standing.is_proof else Reading(OPEN)


def _climbed(union: Preimage, reference: Network, x: np.ndarray, own: int, budget: Progress) -> Reading | None:
    """A point of the witness's own piece that the reference reads differently, if linear programs come to one."""
    part, box = union.question.net, union.question.domain
    faces = sum(node.op.faces * int(np.prod(node.shape)) for node in part.nodes if isinstance(node.op, Choice))
    if box is None or 8 * len(x) * (faces + union.question.conditions.E.shape[0]) > budget.max_bytes:
        return None
    try:
        piece = next(iter(union.pieces(1)), None)
        if piece is None:
            return None
        program = _over(piece, box, budget)
        start = _logits(reference, x)
        for k in [k for k in np.argsort(-start).tolist() if k != own][:RIVALS]:
            u, last = x, start[k] - start[own]
            for _ in range(STEPS):
                budget.check()
                at = reference.as_batch(u.reshape(reference.input_shape))
                slopes = Piece(reference, reference.pattern(at), at[0]).matrix(reference.output).cpu().numpy()
                program.costs(slopes[own] - slopes[k])
                if program.solve() != "optimal":
                    break
                u, before = program.x, last
                last = np.diff(_logits(reference, u)[[own, k]])[0]
                reading = _settled(piece, reference, u, own, k) if last > 0 else None
                if reading is not None:
                    return reading
                if last <= before:
                    break
    except (BudgetReached, SolverError):
        return None
    return None


def _over(piece: UnionPiece, box: Box, budget: Progress) -> WarmProgram:
    """The piece as a program whose costs change: every climb starts where the last one ended."""
    G, h, E, e = piece.own_rows()
    sides = np.concatenate([np.full(len(h), -np.inf), e]), np.concatenate([h, e])
    rows = sp.csr_array(np.vstack([G, E]))
    return WarmProgram(np.zeros(G.shape[1]), rows, (box.lower, box.upper), sides, progress=budget)


def _settled(piece: UnionPiece, reference: Network, u: np.ndarray, own: int, k: int) -> Reading | None:
    """An exact point of the piece near a corner that the reference reads differently, exactly; None without one."""
    for share in PULLED:
        near = (1 - share) * u + share * piece.point
        sizes = _logits(reference, near)
        if sizes[k] <= sizes[own]:
            return None
        point = exact_point(piece.net, piece.found.branches, piece.conditions, piece.domain, near)
        if point is not None and (answer := _answer(reference, point)) != own:
            return Reading(DIFFERS, answer, np.array([float(v) for v in point]))
    return None


def _logits(reference: Network, u: np.ndarray) -> np.ndarray:
    return reference(u.reshape(reference.input_shape)[None]).flatten().cpu().numpy()


def _answer(reference: Network, point: tuple) -> int:
    """The reference's answer at an exact point, the lowest of ties."""
    logits = exact.forward(reference.nodes, as_columns(point))[0][reference.output]
    sizes = [logits.entry(k) for k in range(len(logits.numerator))]
    return max(range(len(sizes)), key=lambda k: (sizes[k], -k))


@dataclass(frozen=True, eq=False)
class _Joined:
    """Both networks, and the activity's conditions on the first part of their joint value."""

    net: Network
    activity: Conditions
    units: int
    classes: int

    def beaten(self, own: int) -> Conditions:
        """The activity, and the largest other output of the reference not below output `own`."""
        a, wide = self.activity, self.classes + 1
        more = np.zeros((1, self.units + wide))
        more[0, -1], more[0, self.units + own] = -1.0, 1.0
        G = sp.csr_array(sp.vstack([_widen(a.G, wide), sp.csr_array(more)], format="csr"))
        return Conditions(self.net.output, G, (*a.h, Fraction(0)), _widen(a.E, wide), a.e)


def _widen(A: sp.csr_array, columns: int) -> sp.csr_array:
    return sp.csr_array(sp.hstack([A, sp.csr_array((A.shape[0], columns))], format="csr"))


def _join(net: Network, reference: Network, layer: str, witness: exact.Columns, own: int) -> _Joined:
    """One graph with both networks.

    Its value holds what the activity is about, the reference's outputs, and the largest of them but output `own`.
    """
    part = net.upto(layer)
    values, _ = exact.forward(part.nodes, witness)
    activity = levels(part, layer, values[layer])
    graph = Graph(net.input_shape)
    first = _copy(graph, part.upto(activity.value), "a.")
    second = _copy(graph, reference, "b.")
    units, classes = (int(np.prod(graph.shapes[name])) for name in (first, second))
    left = graph.add("left", reshape(graph.shapes[first], (units,)), first)
    right = graph.add("right", reshape(graph.shapes[second], (classes,)), second)
    rivals = torch.tensor([[k for k in range(classes) if k != own]])
    graph.add(RIVAL, MaxOver(rivals, (classes,), (1,)), right)
    graph.add("both", Concat(0, ((units,), (classes,), (1,))), left, right, RIVAL)
    return _Joined(graph.network(), activity, units, classes)


def _copy(graph: Graph, net: Network, prefix: str) -> str:
    """Add a network's nodes under other names."""
    names = {INPUT: INPUT}
    for node in net.nodes:
        names[node.name] = graph.add(prefix + node.name, node.op, *(names[i] for i in node.inputs))
    return names[net.output]
