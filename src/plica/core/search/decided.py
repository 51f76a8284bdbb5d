"""One pattern decided exactly: its half-open piece's points, dimension and recession directions.

The pattern freezes the network to an affine map, which is computed in exact integers for the unit vectors of the input.
A half-open piece has strict rows (above a knot, before earlier winners of a tie) and weak ones; one partition of the
cone over its closure decides everything: it has a point exactly when no strict row vanishes on the whole closure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch
from flint import fmpz, fmpz_mat

from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.domain import Box
from plica.core.exact import columns as exact
from plica.core.exact.integers import fractions, pivots, rank, select, stack, transpose
from plica.core.network import INPUT, Network
from plica.core.polyhedron.cone import Partition, partition_of_integers
from plica.core.progress import Progress
from plica.core.search.conditions import Conditions

Branches = Mapping[str, np.ndarray]  # flat branches of every choice node


@dataclass(frozen=True, eq=False)
class ExactPiece:
    """The half-open piece of a pattern, as integer rows in (u, t): the points u are those at t = 1.

    Attributes
    ----------
    below : fmpz_mat, shape (m + 1, n + 1)
        ``below (u, t) <= 0``; the last row is -t.
    strict : ndarray of bool, shape (m + 1,)
        Rows that must be negative.
    equal : fmpz_mat, shape (p, n + 1)
    boxed : bool
        Whether the domain alone bounds the piece.
    """

    below: fmpz_mat
    strict: np.ndarray
    equal: fmpz_mat
    boxed: bool

    @cached_property
    def proof(self) -> Partition:
        """Which rows vanish on the whole closed piece."""
        return partition_of_integers(self.below, self.equal)

    def prove(self, progress: Progress) -> None:
        """Decide now, within a budget, unless it is decided; later questions have the answer.

        Raises
        ------
        SolverError, BudgetReached
        """
        if "proof" not in self.__dict__:
            self.__dict__["proof"] = partition_of_integers(self.below, self.equal, progress)

    def describe(self, progress: Progress) -> None:
        """Decide now what `dimension` and `is_bounded` rest on, within a budget; what is known is kept.

        Raises
        ------
        SolverError, BudgetReached
        """
        self.prove(progress)
        if "is_bounded" not in self.__dict__:
            self.__dict__["is_bounded"] = self._bounded(progress)

    @property
    def is_empty(self) -> bool:
        """Whether the half-open piece has no point."""
        return bool(self.proof.implied[self.strict].any())

    @cached_property
    def point(self) -> list[Fraction]:
        """A point of the relative interior."""
        *u, t = self.proof.interior.entries()
        return [Fraction(int(v), int(t)) for v in u]

    @cached_property
    def flat(self) -> fmpz_mat:
        """All equations: the given rows, then the implied ones."""
        return stack(self.equal, select(self.below, np.flatnonzero(self.proof.implied), range(self.below.ncols())))

    @cached_property
    def dimension(self) -> int:
        """Dimension of the affine hull."""
        return self.below.ncols() - 1 - rank(self.flat)

    @cached_property
    def is_bounded(self) -> bool:
        """Whether no ray lies in the closed piece."""
        return self._bounded(Progress())

    def _bounded(self, progress: Progress) -> bool:
        if self.boxed or self.dimension == 0:
            return True
        n = self.below.ncols() - 1
        rows = select(self.below, range(self.below.nrows() - 1), range(n))
        equalities = select(self.equal, range(self.equal.nrows()), range(n))
        return (
            bool(partition_of_integers(rows, equalities, progress).implied.all()) and rank(stack(equalities, rows)) == n
        )

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """G, h, E, e as floats: independent equations, and inequalities that are not implied; rounded once.

        A point strictly inside stays inside, so that rounding does not empty the piece.
        """
        kept = pivots(transpose(self.flat)) if self.flat.nrows() else []
        E = _floats(select(self.flat, kept, range(self.flat.ncols())))
        loose = np.flatnonzero(~self.proof.implied)[:-1]
        G = _floats(select(self.below, loose, range(self.below.ncols())))
        G = np.unique(G[(G[:, :-1] != 0).any(axis=1)], axis=0)
        return G[:, :-1], -G[:, -1], E[:, :-1], -E[:, -1]


def _floats(rows: fmpz_mat) -> np.ndarray:
    """Rows as floats with their largest coefficient of u at 1/2 to 1, each entry rounded once."""
    out = np.zeros((rows.nrows(), rows.ncols()))
    for i, row in enumerate(rows.tolist() if out.size else []):
        bits = max((int(abs(v)).bit_length() for v in row[:-1]), default=0)
        out[i] = [int(v) / (1 << bits) for v in row]
    return out


def exact_piece(net: Network, branches: Branches, conditions: Conditions, domain: Box | None) -> ExactPiece:
    """Return the half-open piece of a pattern inside a domain, under conditions on a value.

    Parameters
    ----------
    net : Network
        Up to the value of the conditions.
    branches : mapping of str to ndarray
        Flat branches of every choice node of `net`; -1 where undecided. What lies behind an undecided choice is left
        out, and the rows describe a set that holds the pieces of all patterns with these branches.

    Notes
    -----
    Cost: one pass in integers with n + 1 columns; the decisions of `ExactPiece` take a rational linear system each.
    """
    n = int(np.prod(net.input_shape))
    start = exact.Columns.of(np.zeros(n), *np.eye(n))
    values, margins, strict = {INPUT: start}, [], []
    for node in net.nodes:
        inputs = [values[name] for name in node.inputs]
        op = node.op
        if isinstance(op, Choice):
            own = np.asarray(branches[node.name])
            shaped = torch.from_numpy(np.maximum(own, _first(op))).to(op.dtype).reshape(1, *node.shape)
            margin = op.margins(shaped)
            at = exact.affine(margin, margin.shape(net.shape_of(node.inputs[0])), *inputs)
            known = np.flatnonzero(_spread(op, own >= 0))
            margins.append(exact.Columns(at.numerator[known], at.scale))
            strict.append(strict_margins(op, own)[known])
            if (own < 0).any():
                break
            op = op.freeze(shaped)
        values[node.name] = exact.affine(op, node.shape, *inputs)
    below = [_forms(exact.stack(margins), -1)] if margins else []
    flags = [np.concatenate(strict)] if strict else []
    nothing = fmpz_mat(0, n + 1), fmpz_mat(0, n + 1)
    bound, equations = _conditions(conditions, values[conditions.value]) if conditions.value in values else nothing
    low, high = (np.full(n, -np.inf), np.full(n, np.inf)) if domain is None else (domain.lower, domain.upper)
    sides = _sides(low, high)
    rows = fmpz_mat(0, n + 1)
    for part in (*below, bound, sides):
        rows = stack(rows, part)
    last = fmpz_mat(1, n + 1, [0] * n + [-1])
    loose = np.zeros(bound.nrows() + sides.nrows(), dtype=bool)
    return ExactPiece(
        stack(rows, last),
        np.concatenate([*flags, loose, [True]]),
        equations,
        bool(np.isfinite(low).all() and np.isfinite(high).all()),
    )


def _first(op: Choice) -> np.ndarray | int:
    """A branch that every unit has."""
    return (op.index.cpu().numpy() >= 0).argmax(1) if isinstance(op, MaxOver) else 0


def _spread(op: Choice, units: np.ndarray) -> np.ndarray:
    """Units as their margins, in the order of `Choice.margins`."""
    return np.repeat(units, op.faces) if isinstance(op, MaxOver) else np.tile(units, op.faces)


def strict_margins(op: Choice, branches: np.ndarray) -> np.ndarray:
    """Which margins must be positive in the half-open piece: above a knot, and before an earlier place of a tie."""
    if isinstance(op, Piecewise):
        return (branches[None] > np.arange(len(op.knots))[:, None]).ravel()
    assert isinstance(op, MaxOver)
    index = op.index.cpu().numpy()
    place = np.tile(np.arange(index.shape[1] - 1), (len(index), 1))
    place = place + (place >= branches[:, None])
    earlier = place < branches[:, None]
    return (earlier & (np.take_along_axis(index, place, 1) >= 0)).ravel()


def _forms(v: exact.Columns, sign: int) -> fmpz_mat:
    """Affine forms (constant first) as integer rows in (u, t), without their common factors."""
    rows = []
    for constant, *linear in v.numerator.tolist():
        row = [sign * int(k) for k in (*linear, constant)]
        factor = int(np.gcd.reduce(np.array(row, dtype=object))) or 1
        rows += [k // factor for k in row]
    return fmpz_mat(v.numerator.shape[0], v.numerator.shape[1], rows)


def _conditions(conditions: Conditions, v: exact.Columns) -> tuple[fmpz_mat, fmpz_mat]:
    """Rows of the conditions in (u, t)."""
    parts = []
    for A, right in ((conditions.G, conditions.h), (conditions.E, conditions.e)):
        rows: list[fmpz] = []
        for i, value in enumerate(right):
            span = slice(A.indptr[i], A.indptr[i + 1])
            weights = [Fraction(a) * v.scale for a in A.data[span].tolist()]
            common = math.lcm(value.denominator, *(a.denominator for a in weights))
            total = np.zeros(v.numerator.shape[1], dtype=object)
            for a, j in zip(weights, A.indices[span].tolist(), strict=True):
                total += int(a * common) * v.numerator[j].astype(object)
            total[0] -= int(value * common)
            whole = [int(k) for k in (*total[1:], total[0])]
            factor = int(np.gcd.reduce(np.array(whole, dtype=object))) or 1
            rows += [fmpz(k // factor) for k in whole]
        parts.append(fmpz_mat(len(right), v.numerator.shape[1], rows))
    return parts[0], parts[1]


def _sides(low: np.ndarray, high: np.ndarray) -> fmpz_mat:
    """Finite sides of a box as rows in (u, t)."""
    n, entries = len(low), []
    for sign, sides in ((1, high), (-1, low)):
        for j in np.flatnonzero(np.isfinite(sides)).tolist():
            numerator, denominator = float(sides[j]).as_integer_ratio()
            row = [0] * (n + 1)
            row[j], row[n] = sign * denominator, -sign * numerator
            entries += row
    return fmpz_mat(len(entries) // (n + 1), n + 1, entries)


def as_fractions(column: fmpz_mat) -> list[Fraction]:
    """Entries as fractions."""
    return fractions(column)
