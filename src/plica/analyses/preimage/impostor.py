"""An impostor: an input with the features of one image that looks like another (Behrmann et al. 2018, A7)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from plica.analyses.preimage.activity import Activity, activities, loosen, read_value, steepness
from plica.analyses.preimage.result import ImpostorResult
from plica.analyses.preimage.union_impostor import Extreme, farthest, nearest
from plica.analyses.preimage.union_set import Preimage, Question
from plica.analyses.preimage.union_target import levels
from plica.core.domain import Box
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Network
from plica.core.pattern import Pattern
from plica.core.piece import Piece
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing
from plica.core.solve import nearest_point
from plica.errors import ArgumentError, BudgetReached, ShapeError, SolverError

ALLOWED = 1e-9  # a condition of the program missed by this much, relative to its slack at the witness, is rounding
TOUCHED = 1e-12  # a condition that is not yet in the program enters it when missed by this much
DEPENDENT = 1e-12  # an equation this near to the span of others, relative to its length, repeats them
SETTLED = 1e-7  # a solution pulled back by at most this much, relative to its length, is the nearest point
ROUNDS = 100  # of adding violated conditions; each round adds at most as many as there are variables
HELD = 2**24  # entries of the unit vectors that are pulled back at once


@dataclass(frozen=True, eq=False)
class _Cell:
    """Inputs of the witness's own piece with its activity at a layer.

    Every inequality is a slack that must stay >= 0: first the margins of the earlier choices, then the activity's rows.
    """

    piece: Piece  # of the network up to the value that the layer's choices read
    conditions: Activity
    witness: Tensor  # batch of one
    values: np.ndarray  # of the witness at that value, flat

    def slacks(self, x: Tensor) -> np.ndarray:
        """All slacks at one point."""
        a, z = self.conditions, self.piece.frozen(x).flatten().cpu().numpy()
        minus = np.where(a.minus >= 0, z[a.minus], 0.0)
        return np.concatenate([self.piece.margins(x)[0].cpu().numpy(), a.limit - a.sign * (z[a.plus] - minus)])

    def equalities(self) -> np.ndarray:
        """Rows of the units whose value is kept, shape (fixed, n)."""
        return self._pull(self.conditions.fixed, None)

    def inequalities(self, rows: np.ndarray) -> np.ndarray:
        """Matrix G of some slacks, written as G x <= h; `rows` must be increasing."""
        count, a = len(self.piece), self.conditions
        earlier, own = rows[rows < count], rows[rows >= count] - count
        chunk = max(1, min(256, HELD // max(1, count)))
        normals = -self.piece.rows(earlier, chunk=chunk)[0].cpu().numpy()
        return np.vstack([normals, a.sign[own, None] * self._pull(a.plus[own], a.minus[own])])

    def _pull(self, plus: np.ndarray, minus: np.ndarray | None, chunk: int = 256) -> np.ndarray:
        """Rows z[plus] - z[minus] of the piece's Jacobian; minus = -1 stands for zero."""
        shape, parts = self.piece.network.output_shape, []
        for i in range(0, len(plus), chunk):
            pick = np.arange(len(plus[i : i + chunk]))
            w = torch.zeros(len(pick), len(self.values), dtype=torch.float64, device=self.witness.device)
            w[pick, plus[i : i + chunk]] = 1.0
            if minus is not None:
                other = minus[i : i + chunk]
                w[pick[other >= 0], other[other >= 0]] -= 1.0
            parts.append(self.piece.adjoint(w.reshape(-1, *shape)).flatten(1).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self.witness.numel()))


def impostor(
    net: Network,
    x: np.ndarray,
    towards: np.ndarray,
    *,
    layer: str | int,
    domain: Box | None = None,
    tolerance: float = 0.0,
    extent: str = "piece",
    progress: Progress | None = None,
) -> ImpostorResult:
    """Return the input nearest to `towards` that shares the features of `x` at a layer.

    Searched inside the piece of `x` (its own choices in all layers up to this one), where the inputs with equal
    features are a polyhedron: the answer is the Euclidean projection of `towards` on it. Other pieces may hold inputs
    with the same features that come nearer: ``extent="nearest"`` looks at all of them.

    Parameters
    ----------
    net : Network
    x, towards : array, shape input_shape
        The input whose features are kept, and the input to look like.
    layer : str or int
        Name or index of the layer, as ``plica info`` prints them.
    domain : Box, optional
        Allowed inputs. By default the smallest box with equal sides that holds both images: [min, max] of their
        entries.
    tolerance : float
        How far each feature may move; 0 keeps them exactly (Behrmann s. 1: invariant; above 0: stable). Units at rest
        in a flat stretch (ReLU below zero) stay in it inside the own piece; over the union every feature may move.
    extent : {"piece", "nearest", "farthest"}
        The own piece; or the point of the whole preimage that is nearest to, or farthest from, `towards`. The preimage
        is searched piece by piece until the budget ends; the domain must then be bounded.
    progress : Progress, optional
        Budget and listener.

    Returns
    -------
    ImpostorResult
        Complete when the nearest point of the piece is found; "budget reached" when the time, the memory or the solvers
        end before (heavily tied inputs), with the best point found. Standing numerical: the largest differences of the
        features are measured and reported, in float64 and in the dtype of the original model.

    Raises
    ------
    ArgumentError, ShapeError
        For a negative tolerance, inputs that are not single and finite, a domain of another size or without x.
    MemoryBudgetError
        When the rows of the layer do not fit in ``progress.max_bytes``.

    Notes
    -----
    Few of the piece's inequalities matter: the projection is solved with those that the solutions so far violate, until
    none is left. Cost: a few projections, each of them some factorisations of a matrix of (kept units + added
    inequalities)^2; in 3072 dimensions seconds.
    """
    progress, start = progress or Progress(), time.monotonic()
    if not 0 <= tolerance < np.inf:
        raise ArgumentError(f"tolerance = {tolerance}: it must not be negative, nor infinite.")
    if extent not in ("piece", "nearest", "farthest"):
        raise ArgumentError(f'extent = {extent!r}: "piece", "nearest" or "farthest".')
    own, other = _one(net, x, "x"), _one(net, towards, "towards")
    lower, upper = _box(own, other, domain)
    name = net.resolve(layer)
    cell = _cell(net, own, name, tolerance, progress)
    goal = np.clip(other[0].flatten().cpu().numpy(), lower, upper)
    found, completeness, reason = _project(cell, goal, lower, upper, progress)
    bound, pieces = float("nan"), 1
    if extent != "piece":
        question = _question(net, own, name, tolerance, lower, upper)
        whole = _whole(question, extent, other[0].flatten().cpu().numpy(), found, progress)
        found, completeness, bound, pieces = whole.point, whole.completeness, whole.bound, whole.pieces
        reason = f"{extent} point of the preimage among {pieces} pieces; no other is beyond distance {bound:.6g}."
    point = torch.from_numpy(found).to(own).reshape(own.shape)
    difference, scale = _difference(net, own, point, name, torch.float64)
    in_model, _ = _difference(net, own, point, name, getattr(torch, net.origin.dtype))
    answers = net(torch.cat([own, other, point])).flatten(1).argmax(1).tolist()
    return ImpostorResult(
        standing=Standing.NUMERICAL,
        completeness=completeness,
        header={"seconds": time.monotonic() - start},
        layer=name,
        x=own[0].cpu().numpy(),
        towards=other[0].cpu().numpy(),
        impostor=point[0].cpu().numpy(),
        feature_difference=difference,
        feature_difference_model=in_model,
        model_dtype=net.origin.dtype,
        feature_scale=scale,
        distance_start=float((own - other).norm()),
        distance=float((point - other).norm()),
        class_x=answers[0],
        class_towards=answers[1],
        class_impostor=answers[2],
        reason=reason,
        extent=extent,
        bound=bound,
        pieces=pieces,
    )


def _question(net: Network, x: Tensor, layer: str, tolerance: float, lower: np.ndarray, upper: np.ndarray) -> Question:
    """The whole preimage of the features of x, within a tolerance."""
    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        raise ArgumentError('extent: over the whole preimage the domain must be bounded; "piece" needs no bounds.')
    part, witness = net.upto(layer), exact.Columns.of(x.flatten().cpu().numpy())
    values, _ = exact.forward(part.nodes, witness)
    conditions = levels(part, layer, values[layer], Fraction(tolerance))
    words = "the activity of x" if tolerance == 0 else f"outputs within {tolerance:g} of those at x"
    return Question(part, layer, INPUT, words, conditions, Box(lower, upper), witness)


def _whole(question: Question, extent: str, goal: np.ndarray, found: np.ndarray, progress: Progress) -> Extreme:
    """Over all pieces; for the nearest point only those within the distance that the own piece gives."""
    if extent == "farthest":
        return farthest(Preimage(question, progress), goal, found, progress)
    radius = float(np.linalg.norm(found - goal)) * (1 + 1e-9) + 1e-12
    box = question.domain
    assert box is not None
    near = np.clip(goal - radius, box.lower, box.upper), np.clip(goal + radius, box.lower, box.upper)
    return nearest(Preimage(replace(question, domain=Box(*near)), progress), goal, found, progress)


def _one(net: Network, x: np.ndarray, name: str) -> Tensor:
    """One finite input as a batch of one."""
    batch = net.as_batch(x)
    if len(batch) != 1:
        raise ArgumentError(f"{name} holds {len(batch)} inputs; give one input of shape {net.input_shape}.")
    if not bool(torch.isfinite(batch).all()):
        raise ArgumentError(f"{name} holds NaN or infinite entries; give a finite input.")
    return batch


def _box(x: Tensor, towards: Tensor, domain: Box | None) -> tuple[np.ndarray, np.ndarray]:
    """Flat lower and upper limits."""
    if domain is None:
        both = torch.stack([x, towards])
        return np.full(x.numel(), float(both.min())), np.full(x.numel(), float(both.max()))
    flat = x.flatten().cpu().numpy()
    if domain.ambient != len(flat):
        raise ShapeError(f"The network has {len(flat)} inputs; the domain has {domain.ambient}.")
    if not bool(domain.contains(flat)):
        raise ArgumentError("x lies outside the domain: no input of the domain is known to share its features.")
    return domain.lower, domain.upper


def _cell(net: Network, x: Tensor, layer: str, tolerance: float, progress: Progress) -> _Cell:
    """The polyhedron to search, as conditions."""
    pattern = net.pattern(x)
    (held,) = activities(net, x, pattern, layer)
    part = net.upto(read_value(net, layer))
    piece = Piece(part, Pattern({k: pattern.branches[k] for k in part.choices}), x[0])
    values = part(x).flatten().cpu().numpy()
    n = x.numel()
    refuse_above(
        progress.max_bytes,
        8 * len(held.fixed) * n,
        f"Keeping {len(held.fixed)} features equal takes as many equations in {n} variables",
        "Raise max_bytes, or restrict the input: net.on(slice_).",
    )
    allowed = tolerance / steepness(net, layer)[held.fixed]
    return _Cell(piece, loosen(held, values, allowed) if tolerance > 0 else held, x, values)


def _project(
    cell: _Cell, goal: np.ndarray, lower: np.ndarray, upper: np.ndarray, progress: Progress
) -> tuple[np.ndarray, Completeness, str]:
    """Nearest point to the goal: solve with few inequalities, add the violated ones, until none is left.

    The best known point of the cell is the nearest among the last points on the ways from the witness to the solutions
    that violate nothing; it is what an interrupted search returns.
    """
    start = cell.witness.flatten().cpu().numpy()
    kept = len(cell.conditions.fixed)
    E, at_start = _independent(cell.equalities()), np.maximum(cell.slacks(cell.witness), 0.0)
    if len(E) == len(start):
        return (
            start,
            Completeness.COMPLETE,
            f"The {kept} features that are kept equal leave no other input in the piece.",
        )
    allowed = TOUCHED * (1 + at_start)
    rows, added = np.zeros(0, dtype=int), np.zeros((0, len(start)))
    best, completeness = start, Completeness.BUDGET
    try:
        for done in range(ROUNDS):
            progress.check()
            progress.report("impostor", done, None)
            end = _solved(goal, (added, added @ start + at_start[rows], E, E @ start), (lower, upper), progress)
            if end is None:
                break
            slack = cell.slacks(torch.from_numpy(end).to(cell.witness).reshape(cell.witness.shape))
            reached = start + _share(at_start, slack, allowed) * (end - start)
            best = min(best, reached, key=lambda point: float(np.linalg.norm(point - goal)))
            violated = np.setdiff1d(np.flatnonzero(slack < -allowed), rows)
            if len(violated) == 0:
                near = np.linalg.norm(best - end) <= SETTLED * (1 + np.linalg.norm(end))
                completeness = Completeness.COMPLETE if near else completeness
                break
            worst = np.sort(violated[np.argsort(slack[violated])][: len(start)])  # the order of a matrix's rows
            if 8 * len(start) * (len(E) + len(rows) + len(worst)) > progress.max_bytes:
                break
            allowed[worst] *= ALLOWED / TOUCHED
            rows, added = np.concatenate([rows, worst]), np.vstack([added, cell.inequalities(worst)])
    except BudgetReached:
        pass
    except KeyboardInterrupt:
        completeness = Completeness.INTERRUPTED
    found = "nearest point of the input's own piece" if completeness == Completeness.COMPLETE else "best point found"
    return best, completeness, f"{found}; {kept} features kept equal, {len(rows)} of {len(at_start)} conditions met."


def _solved(goal: np.ndarray, rows: tuple, box: tuple, progress: Progress) -> np.ndarray | None:
    """The nearest point under some of the conditions, or None.

    The set holds the witness. Where a solver calls it empty, or finds no answer, it is flat up to rounding (many tied
    units), and the best point so far is all there is.
    """
    try:
        solution = nearest_point(goal, *rows, bounds=box, progress=progress)
    except SolverError:
        return None
    return solution.x if solution.status == "optimal" else None


def _independent(E: np.ndarray) -> np.ndarray:
    """Independent rows with the same span up to rounding: a solver needs no repeated equations."""
    lengths = np.linalg.norm(E, axis=1)
    E = E[lengths > DEPENDENT * lengths.max(initial=0.0)]
    if not len(E):
        return E
    unit = E / np.linalg.norm(E, axis=1)[:, None]
    triangle, pivots = scipy.linalg.qr(unit.T, mode="r", pivoting=True, check_finite=False)
    size = np.abs(np.diagonal(triangle))
    return E[np.sort(pivots[: int((size > DEPENDENT * size[0]).sum())])]


def _share(at_start: np.ndarray, at_end: np.ndarray, allowed: np.ndarray) -> float:
    """How much of the way from the witness to a point violates no condition."""
    falling = at_end < -allowed
    room = np.maximum(at_start, allowed)[falling]
    return float((room / (at_start - at_end)[falling]).min(initial=1.0))


def _difference(net: Network, x: Tensor, point: Tensor, layer: str, dtype: torch.dtype) -> tuple[float, float]:
    """Largest difference of the features at a layer computed in a dtype, and the largest feature of x."""
    part = net.upto(layer).cast(dtype)
    own, other = (part.values(t, part.output)[part.output] for t in (x, point))
    return float((own - other).abs().max()), float(own.abs().max())
