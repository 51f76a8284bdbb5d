"""Is a polyhedron empty, what is its dimension, is it bounded: decided exactly, with a witness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from flint import fmpz, fmpz_mat

from plica.core.exact.integers import fractions, null_space, rank, row_integers, scaled_rows, stack
from plica.core.polyhedron.cone import Partition, partition
from plica.core.progress import Progress
from plica.core.result import Standing


@dataclass(frozen=True, eq=False)
class Decision:
    """A proven answer; it behaves like its value.

    Attributes
    ----------
    value : bool or int
    standing : Standing
        CERTIFIED or RIGOROUS, always.
    reason : str
        One sentence.
    witness : mapping of str to ndarray
        What proves it, as exact fractions (object arrays): ``point``, ``direction``, or ``multipliers`` and
        ``equality_multipliers`` of the rows.
    """

    value: bool | int
    standing: Standing
    reason: str
    witness: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, Decision) else other)

    def __hash__(self) -> int:
        return hash(self.value)


@dataclass(frozen=True, eq=False)
class Facts:
    """What is decided about {x : G x <= h, E x = e}; each fact is found once, when it is asked for."""

    G: np.ndarray
    h: np.ndarray
    E: np.ndarray
    e: np.ndarray

    @cached_property
    def lifted(self) -> Partition:
        """Partition of the cone over the polyhedron, {(x, t) : G x <= h t, E x = e t, t >= 0}; the last row is t."""
        return self._lift(Progress())

    def decide(self, progress: Progress, *, bounded: bool = False) -> None:
        """Decide what emptiness, dimension and implied rows rest on within a budget, and boundedness; kept.

        Raises
        ------
        SolverError, BudgetReached
        """
        if "lifted" not in self.__dict__:
            self.__dict__["lifted"] = self._lift(progress)
        if bounded and "recession" not in self.__dict__ and not _boxed(self.G):
            self.__dict__["recession"] = partition(self.G, self.E, progress)

    def _lift(self, progress: Progress) -> Partition:
        m, n = self.G.shape
        last = np.concatenate([np.zeros(n), [-1.0]])
        M = np.vstack([np.column_stack([self.G, -self.h]).reshape(m, n + 1), last])
        return partition(M, np.column_stack([self.E, -self.e]).reshape(len(self.e), n + 1), progress)

    @cached_property
    def recession(self) -> Partition:
        """Partition of the recession cone {d : G d <= 0, E d = 0}."""
        return partition(self.G, self.E)

    @cached_property
    def empty(self) -> Decision:
        """Whether there is no point; witness: a point, or Farkas multipliers."""
        proof, m = self.lifted, len(self.h)
        if proof.implied[m]:
            reason = "the multipliers combine the rows to 0 <= a negative number"
            rows, equalities = np.column_stack([self.G, -self.h]), np.column_stack([self.E, -self.e])
            return Decision(True, Standing.CERTIFIED, reason, _multipliers(proof, rows, equalities))
        return Decision(False, Standing.CERTIFIED, "the point satisfies every row", {"point": self.inner_point})

    @cached_property
    def inner_point(self) -> np.ndarray:
        """Relative interior point, exact fractions, shape (n,); only of a polyhedron that is not empty."""
        *x, t = self.lifted.interior.entries()
        return _exact([Fraction(int(v), int(t)) for v in x])

    @cached_property
    def implied(self) -> np.ndarray:
        """Rows of G that hold with equality on the whole polyhedron, boolean; all of them when it is empty."""
        rows = self.lifted.implied
        return np.ones(len(self.h), dtype=bool) if rows[-1] else rows[:-1].copy()

    @cached_property
    def flat(self) -> fmpz_mat:
        """Integer rows whose null space is the direction space of the affine hull."""
        return stack(row_integers(self.E), row_integers(self.G[self.implied]))

    @cached_property
    def dimension(self) -> Decision:
        """Dimension of the affine hull, -1 when empty; witness: a relative interior point."""
        if self.empty:
            return Decision(-1, Standing.CERTIFIED, "it is empty", self.empty.witness)
        n, fixed = self.G.shape[1], rank(self.flat)
        reason = f"{fixed} independent equalities hold in {n} variables ({int(self.implied.sum())} rows are implied)"
        return Decision(n - fixed, Standing.CERTIFIED, reason, {"point": self.inner_point})

    @cached_property
    def bounded(self) -> Decision:
        """Whether it is bounded (an empty set is); witness: a recession direction, or multipliers that exclude one."""
        if _boxed(self.G):
            return Decision(True, Standing.CERTIFIED, "rows with one entry bound every variable on both sides")
        if self.empty:
            return Decision(True, Standing.CERTIFIED, "it is empty", self.empty.witness)
        proof = self.recession
        direction = self._direction(proof)
        if direction is not None:
            return Decision(False, Standing.CERTIFIED, "it contains a ray", {"direction": direction})
        reason = "the rows have full rank, and positive multipliers combine them to zero"
        return Decision(True, Standing.CERTIFIED, reason, _multipliers(proof, self.G, self.E))

    def _direction(self, proof: Partition) -> np.ndarray | None:
        """Nonzero recession direction, or None."""
        if not proof.implied.all():
            return _exact(fractions(proof.interior))
        rows, n = stack(row_integers(self.E), row_integers(self.G)), self.G.shape[1]
        if rank(rows) == n:
            return None
        kernel = null_space(rows)
        return _exact(fractions(fmpz_mat(n, 1, [kernel[i, 0] for i in range(n)])))


def _exact(values: list[Fraction]) -> np.ndarray:
    """Vector of fractions."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _boxed(G: np.ndarray) -> bool:
    """Whether every variable has a row with this entry alone for either sign: bounded at sight."""
    single = G[(G != 0).sum(axis=1) == 1]
    return bool((single > 0).any(axis=0).all() and (single < 0).any(axis=0).all())


def _multipliers(proof: Partition, rows: np.ndarray, equalities: np.ndarray) -> dict[str, np.ndarray]:
    """Multipliers of the float rows; the partition has those of the rows scaled to integers."""
    y, mu = proof.multipliers.entries()[: len(rows)], proof.equality_multipliers.entries()
    return {"multipliers": _unscaled(y, rows), "equality_multipliers": _unscaled(mu, equalities)}


def _unscaled(weights: list[fmpz], rows: np.ndarray) -> np.ndarray:
    """Weights of float rows from the weights of their integers."""
    exponents = scaled_rows(rows)[1].tolist()
    return _exact([Fraction(int(v)) * Fraction(2) ** -k for v, k in zip(weights, exponents, strict=True)])
