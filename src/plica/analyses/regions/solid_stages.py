"""A network as stages: the affine maps that decide each choice node on a cell, in floats with error bounds or exactly.

A *form* is an affine function a . x + b of the input on a cell, its row (a, b). A *decision* is one question about the
signs of forms: a binary one asks whether one form is positive (a unit against a knot, or the second of two candidates
of a maximum against the first), a group asks which of three or more forms is largest. Each decision sets or raises one
entry of the cell's branches.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from plica.core.choice import MaxOver, Piecewise
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Network, Node
from plica.core.pattern import UNIT, Ball, affine_ball, direct_convolutions, freeze_ball

SAFE = 1.0 + 2.0**-30  # covers the rounding of bounds that are themselves computed in floats
TINY = 2.0**-900  # covers underflow


@dataclass(frozen=True, eq=False)
class Stage:
    """One choice node, the affine nodes before it, and its decisions.

    Attributes
    ----------
    node : Node
    before : tuple of Node
        Affine nodes after the previous choice node.
    keep : frozenset of str
        Values that nodes after this one read.
    first, count : int
        Where the node's branches stand among all branches of a cell.
    initial : ndarray of int16, shape (count,)
        Branches before any decision.
    binary : bool
        Whether every decision has one form.
    unit, step : ndarray, shape (decisions,)
        Which of the branches a decision changes; by how much a positive form raises it (binary).
    start : ndarray of int64, shape (decisions + 1,)
        Where a decision's forms begin (groups: its candidates, in `position` order).
    position : ndarray of int16, shape (forms,)
        Branch of every candidate (groups).
    plus, minus, knot : ndarray
        Form f is z[plus[f]] - z[minus[f]] - knot[f]; minus = -1 for none.
    """

    node: Node
    before: tuple[Node, ...]
    keep: frozenset[str]
    first: int
    count: int
    initial: np.ndarray
    binary: bool
    unit: np.ndarray
    step: np.ndarray
    start: np.ndarray
    position: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    knot: np.ndarray

    @property
    def decisions(self) -> int:
        """Number of decisions."""
        return len(self.unit)

    @property
    def forms(self) -> int:
        """Number of forms."""
        return len(self.plus)


def stages(net: Network) -> tuple[Stage, ...]:
    """Stages of a network, in order; what follows the last choice node decides nothing."""
    out: list[Stage] = []
    before: list[Node] = []
    first = 0
    for i, node in enumerate(net.nodes):
        if not isinstance(node.op, (Piecewise, MaxOver)):
            before.append(node)
            continue
        keep = frozenset(name for later in net.nodes[i + 1 :] for name in later.inputs)
        count = math.prod(node.shape)
        make = _piecewise if isinstance(node.op, Piecewise) else _max_over
        out.append(Stage(node, tuple(before), keep, first, count, **make(node.op)))  # type: ignore[arg-type]
        first += count
        before = []
    return tuple(out)


def _piecewise(op: Piecewise) -> dict:
    """Decisions of a function of one number: one for each unit and knot."""
    units, levels = math.prod(op.input_shape), len(op.knots)
    knots = np.stack([np.broadcast_to(k.detach().cpu().numpy(), op.input_shape).ravel() for k in op.knots], axis=1)
    forms = units * levels
    return {
        "initial": np.zeros(units, np.int16),
        "binary": True,
        "unit": np.repeat(np.arange(units), levels),
        "step": np.ones(forms, np.int16),
        "start": np.arange(forms + 1),
        "position": np.zeros(forms, np.int16),
        "plus": np.repeat(np.arange(units), levels),
        "minus": np.full(forms, -1),
        "knot": knots.ravel().astype(np.float64),
    }


def _max_over(op: MaxOver) -> dict:
    """Decisions of a maximum: one for each group of two or more units."""
    index = op.index.cpu().numpy()
    members = [np.flatnonzero(row >= 0) for row in index]
    wide = [g for g, places in enumerate(members) if len(places) > 1]
    initial = np.array([places[0] for places in members], np.int16)
    if all(len(members[g]) == 2 for g in wide):
        pair = np.array([members[g] for g in wide], np.int64).reshape(-1, 2)
        rows = index[wide]
        plus, minus = (np.take_along_axis(rows, pair[:, k : k + 1], axis=1)[:, 0] for k in (1, 0))
        step, start, position = (pair[:, 1] - pair[:, 0]).astype(np.int16), np.arange(len(wide) + 1), pair[:, 1]
    else:
        position = np.concatenate([members[g] for g in wide])
        plus = np.concatenate([index[g, members[g]] for g in wide])
        minus, step = np.full(len(plus), -1), np.zeros(len(wide), np.int16)
        start = np.concatenate([[0], np.cumsum([len(members[g]) for g in wide])])
    return {
        "initial": initial,
        "binary": len(start) == len(plus) + 1,
        "unit": np.array(wide, np.int64),
        "step": step,
        "start": start.astype(np.int64),
        "position": position.astype(np.int16),
        "plus": plus.astype(np.int64),
        "minus": minus.astype(np.int64),
        "knot": np.zeros(len(plus)),
    }


# --- floats -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Front:
    """Affine maps of some cells up to a stage: values at the origin and rates along every axis, with error bounds.

    Attributes
    ----------
    cells : int
    values : dict of Ball
        By name, shape (cells, *shape): the map at x = 0.
    rates : dict of Ball
        By name, shape (cells * dimension, *shape): its columns.
    """

    cells: int
    values: dict[str, Ball]
    rates: dict[str, Ball]


def first_front(net: Network, cells: int = 1) -> Front:
    """The identity map, of some cells."""
    size = math.prod(net.input_shape)
    origin = torch.zeros((cells, *net.input_shape), dtype=torch.float64)
    axes = torch.eye(size, dtype=torch.float64).repeat(cells, 1).reshape(cells * size, *net.input_shape)
    values, rates = ({INPUT: Ball(t, torch.zeros_like(t))} for t in (origin, axes))
    return Front(cells, values, rates)


def _push(front: Front, stage: Stage, *, use_grid: bool) -> Front:
    """The same cells with the affine nodes of a stage."""
    values, rates = dict(front.values), dict(front.rates)
    for node in stage.before:
        for known, constant in ((values, True), (rates, False)):
            inputs = [known[name] for name in node.inputs]
            known[node.name] = affine_ball(node.op, inputs, constant=constant, use_grid=use_grid)  # type: ignore
    return Front(front.cells, values, rates)


def reach(front: Front, stage: Stage) -> Front:
    """Push a front through the affine nodes of a stage; for few cells also look for sums that round nothing."""
    with torch.no_grad(), direct_convolutions():
        return _push(front, stage, use_grid=front.cells <= 8)


def forms(front: Front, stage: Stage, size: np.ndarray, *, projective: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a stage's forms on every cell, and how far they may be off.

    Parameters
    ----------
    front : Front
        After `reach`.
    size : ndarray, shape (d,)
        Largest |x_k| in the domain.
    projective : bool
        The domain is part of the simplex y >= 0, sum y <= 1, and x = y / (1 - sum y): rows of y instead.

    Returns
    -------
    rows : ndarray, shape (cells, forms, d + 1)
    off : ndarray, shape (cells, forms)
        |float form - exact form| <= off everywhere in the domain.
    """
    name, d, c = stage.node.inputs[0], len(size), front.cells
    value, rate = front.values[name], front.rates[name]
    rows = np.empty((c, value.value[0].numel(), d + 1))
    rows[:, :, d] = _flat(value.value, c)
    rows[:, :, :d] = _flat(rate.value, c * d).reshape(c, d, -1).transpose(0, 2, 1)
    most = partial(_most, size=None if projective else size)
    off = _flat(value.error, c) + most(_flat(rate.error, c * d).reshape(c, d, -1).transpose(0, 2, 1))
    out, error = rows[:, stage.plus], off[:, stage.plus]
    if (stage.minus >= 0).any():  # pairs: all have a second candidate
        out, error = out - rows[:, stage.minus], error + off[:, stage.minus]
        error = error + UNIT * (most(out[..., :d]) + np.abs(out[..., d]))
    if stage.knot.any():
        out[..., d] -= stage.knot
        error = error + UNIT * np.abs(out[..., d]) * (stage.knot != 0)
    if projective:  # (a . x + b) (1 - sum y) = (a - b) . y + b
        out[..., :d] -= out[..., d:]
        error = error + UNIT * most(out[..., :d])
    return np.ascontiguousarray(out), error * SAFE


def _most(slopes: np.ndarray, size: np.ndarray | None) -> np.ndarray:
    """Largest |a . x| in the domain, at most; in the simplex, without `size`, it is an entry."""
    return np.abs(slopes).max(-1) if size is None else np.abs(slopes) @ size


def _flat(t: Tensor, rows: int) -> np.ndarray:
    return t.reshape(rows, -1).cpu().numpy()


def choose(front: Front, stage: Stage, parents: np.ndarray, branches: np.ndarray) -> Front:
    """Fronts of cells after a stage.

    Parameters
    ----------
    front : Front
        After `reach`.
    parents : ndarray of int64, shape (c,)
        Which of the front's cells each new cell lies in.
    branches : ndarray of int16, shape (c, stage.count)
    """
    d = len(next(iter(front.rates.values())).value) // max(front.cells, 1)
    rows = torch.from_numpy(parents)
    turned = (rows[:, None] * d + torch.arange(d)).flatten()
    taken = torch.from_numpy(branches.astype(np.int64)).reshape(-1, *stage.node.shape)
    source, name, op = stage.node.inputs[0], stage.node.name, stage.node.op
    values = {k: _pick(v, rows) for k, v in front.values.items() if k in stage.keep or k == source}
    rates = {k: _pick(v, turned) for k, v in front.rates.items() if k in stage.keep or k == source}
    with torch.no_grad(), direct_convolutions():
        values[name] = freeze_ball(op, taken.to(op.dtype), values[source], constant=True)  # type: ignore
        wide = taken.repeat_interleave(d, dim=0).to(op.dtype)  # type: ignore[union-attr]
        rates[name] = freeze_ball(op, wide, rates[source], constant=False)  # type: ignore[arg-type]
    if source not in stage.keep:
        del values[source], rates[source]
    return Front(len(parents), values, rates)


def _pick(ball: Ball, rows: Tensor) -> Ball:
    return Ball(ball.value.index_select(0, rows), ball.error.index_select(0, rows))


def bytes_per_cell(net: Network, d: int) -> int:
    """What the float maps of one cell take at their widest: value and error of every live entry, twice."""
    return 32 * (d + 1) * max(math.prod(net.shape_of(n.name)) for n in net.nodes) + 64


# --- exact ------------------------------------------------------------------------------------------------------


class ExactMaps:
    """Exact rows of forms on cells, from the cell's branches; the latest maps are kept."""

    def __init__(self, net: Network, plan: tuple[Stage, ...], *, projective: bool = False, kept: int = 512) -> None:
        size = math.prod(net.input_shape)
        self.plan, self.kept, self.projective = plan, kept, projective
        self.start = {INPUT: exact.Columns.of(np.zeros(size), *np.eye(size))}
        self._values: OrderedDict[bytes, dict[str, exact.Columns]] = OrderedDict()
        self._rows: OrderedDict[bytes, list] = OrderedDict()
        self.evaluated = 0

    def values(self, index: int, branches: np.ndarray) -> dict[str, exact.Columns]:
        """Values that stage `index` reads, given the branches of the stages before it."""
        key = branches[: self.plan[index].first].astype(np.int16).tobytes() + bytes([index & 255, index >> 8])
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        stage = self.plan[index]
        if index == 0:
            known = dict(self.start)
        else:
            previous = self.plan[index - 1]
            known = dict(self.values(index - 1, branches))
            source = known[previous.node.inputs[0]]
            taken = branches[previous.first : previous.first + previous.count]
            known[previous.node.name] = _freeze(previous.node.op, source, taken)
            known = {k: v for k, v in known.items() if k in previous.keep}
        for node in stage.before:
            known[node.name] = exact.affine(node.op, node.shape, *(known[i] for i in node.inputs))  # type: ignore
        self.evaluated += 1
        return _remember(self._values, key, known, self.kept)

    def row(self, index: int, form: int, branches: np.ndarray, against: int = -1) -> tuple[int, ...]:
        """Row (a, b) of a form, or of its difference to another form, times a positive number: integers."""
        stage = self.plan[index]
        z = self.values(index, branches)[stage.node.inputs[0]]
        row = z.numerator[stage.plus[form]]
        other = stage.minus[form] if against < 0 else stage.plus[against]
        if other >= 0:
            row = row - z.numerator[other]
        if stage.knot[form]:
            numerator, denominator = float(stage.knot[form]).as_integer_ratio()
            scale = z.scale * denominator
            row = row * scale.numerator
            row[0] -= numerator * scale.denominator
        if self.projective:
            row = np.concatenate([row[:1], row[1:] - row[0]])
        common = math.gcd(*row) or 1
        return (*(int(v) // common for v in row[1:]), int(row[0]) // common)

    def forms(self, index: int, branches: np.ndarray) -> list[tuple[int, ...]]:
        """Rows of all forms of a stage, with one positive scale for all candidates of a group."""
        key = branches[: self.plan[index].first].astype(np.int16).tobytes() + bytes([index & 255, index >> 8])
        if key in self._rows:
            self._rows.move_to_end(key)
            return self._rows[key]
        stage = self.plan[index]
        if stage.binary:
            rows = [self.row(index, f, branches) for f in range(stage.forms)]
        else:
            z = self.values(index, branches)[stage.node.inputs[0]].numerator[stage.plus]
            if self.projective:
                z = np.concatenate([z[:, :1], z[:, 1:] - z[:, :1]], axis=1)
            rows = [(*(int(v) for v in row[1:]), int(row[0])) for row in z]
        return _remember(self._rows, key, rows, self.kept)


def _remember(table: OrderedDict, key: bytes, value, kept: int):
    """Keep a value, and drop the one that was used longest ago."""
    table[key] = value
    if len(table) > kept:
        table.popitem(last=False)
    return value


def _freeze(op, z: exact.Columns, branches: np.ndarray) -> exact.Columns:
    """Exact columns after a choice node with given branches."""
    if isinstance(op, MaxOver):
        index = op.index.cpu().numpy()
        return exact.Columns(z.numerator[index[np.arange(len(index)), branches]], z.scale)
    node = op.freeze(torch.from_numpy(branches.astype(np.int64)).reshape(1, *op.input_shape))
    return exact.affine(node, op.input_shape, z)
