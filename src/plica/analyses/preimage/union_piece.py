"""One piece of a union: the closure of a half-open piece, with its exact rows where these can be had."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from plica.core.choice import Choice
from plica.core.pattern import Pattern
from plica.core.piece import Piece, pull
from plica.core.polyhedron import Polyhedron
from plica.core.progress import DEFAULT_BYTES, Progress, refuse_above
from plica.core.result import Standing
from plica.core.search.decided import ExactPiece, exact_piece
from plica.core.search.found import Found
from plica.core.search.leaf import EXACT_COLUMNS
from plica.core.solve import linear_program
from plica.errors import BudgetReached

if TYPE_CHECKING:
    from plica.core.domain import Box
    from plica.core.network import Network
    from plica.core.search.conditions import Conditions

THICK = 1e-7  # a centre with a larger ball than this, in rows of length 1, is taken for an interior point


@dataclass(frozen=True, eq=False)
class UnionPiece:
    """A piece of a preimage: one pattern of the choices before the layer.

    Attributes
    ----------
    net : Network
        Up to the value of the conditions.
    conditions : Conditions
    domain : Box, optional
    found : Found
        Branches, and an exact point of the half-open piece.
    endless : bool
        Whether some direction of the input changes nothing at all.
    progress : Progress
        Its seconds, and at least one for each question, end the linear programs with `BudgetReached`.
    """

    net: Network
    conditions: Conditions
    domain: Box | None
    found: Found
    endless: bool = field(default=False, repr=False)
    progress: Progress = field(default_factory=Progress, repr=False)

    @property
    def branches(self) -> dict[str, np.ndarray]:
        """Branch of every choice before the layer, in the shape of its output."""
        return {name: b.reshape(self.net[name].shape) for name, b in self.found.branches.items()}

    @property
    def point(self) -> np.ndarray:
        """A point of the piece, rounded to floats, flat; `exact_point` is not rounded."""
        return self.found.near

    @property
    def exact_point(self) -> tuple:
        """A point of the half-open piece, as fractions."""
        return self.found.point

    @property
    def ambient(self) -> int:
        """Number of input variables."""
        return int(np.prod(self.net.input_shape))

    @cached_property
    def exact(self) -> ExactPiece | None:
        """The exact rows; None above 64 variables."""
        if self.ambient > EXACT_COLUMNS:
            return None
        return self.found.piece or exact_piece(self.net, self.found.branches, self.conditions, self.domain)

    @property
    def standing(self) -> Standing:
        """How dimension and boundedness are known."""
        if self.exact is not None:
            return Standing.CERTIFIED
        try:
            proven = self.found.dimension_within(self.progress.at_least()) is not None
        except BudgetReached:
            proven = False
        known = proven and (self._boxed or self.endless)
        return Standing.RIGOROUS if known else Standing.NUMERICAL

    @property
    def _boxed(self) -> bool:
        """Whether the domain bounds everything."""
        return self.domain is not None and bool(np.isfinite([self.domain.lower, self.domain.upper]).all())

    @cached_property
    def dimension(self) -> int:
        """Dimension of the closed piece."""
        return self._dimension(self.progress.at_least())

    def _dimension(self, clock: Progress) -> int:
        if self.exact is not None:
            self.exact.describe(clock)
            return self.exact.dimension
        known = self.found.dimension_within(clock)
        if known is not None:
            return known
        G, _, E, _ = self._rows
        implied = self._implied(clock) if len(G) else np.zeros(0, dtype=bool)
        flat = np.vstack([E, G[implied]])
        return self.ambient - (int(np.linalg.matrix_rank(flat, tol=1e-9)) if len(flat) else 0)

    @cached_property
    def is_bounded(self) -> bool:
        """Whether the piece is bounded."""
        return self._is_bounded(self.progress.at_least())

    def _is_bounded(self, clock: Progress) -> bool:
        if self.exact is not None:
            self.exact.describe(clock)
            return self.exact.is_bounded
        if self._boxed:
            return True
        return not self.endless and self._recession_is_zero(clock)

    def described(self, clock: Progress, *names: str) -> bool:
        """Find dimension and boundedness out within a budget, or one of them by its name; whether they are known.

        Needs no time where the proof of the piece gave them.
        """
        given = self.found.measured is not None and (self._boxed or self.endless)
        ways = {"dimension": self._dimension, "is_bounded": self._is_bounded}
        try:
            for name in names or ways:
                if name not in self.__dict__:
                    if not given:
                        clock.check()
                    self.__dict__[name] = ways[name](clock)
        except BudgetReached:
            return False
        return True

    def polyhedron(self, *, max_bytes: int = DEFAULT_BYTES) -> Polyhedron:
        """The closed piece in flat coordinates, its rows rounded to floats once.

        Its equations are independent, and implied equations are equations: rounding does not empty it.

        Raises
        ------
        MemoryBudgetError, BudgetReached
            When the rows do not fit, or no time is left to find implied equations.
        """
        if self.exact is not None:
            self.exact.prove(self.progress.at_least())
            return Polyhedron(*self.exact.rows())
        count = sum(node.op.faces * int(np.prod(node.shape)) for node in self.net.nodes if isinstance(node.op, Choice))
        refuse_above(
            max_bytes,
            8 * self.ambient * (count + 2 * self.ambient),
            f"The polyhedron of this piece has up to {count + 2 * self.ambient} rows in {self.ambient} variables",
            "Restrict the input: net.on(slice_).",
        )
        return Polyhedron(*self._rows)

    # -- in floats ---------------------------------------------------------------------------------------------------

    def own_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """G, h, E, e as floats without the sides of the domain, rows of length 1, the equations independent."""
        return self._scaled(*self._raw)

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The same with the domain."""
        G, h, E, e = self._raw
        if self.domain is not None:
            box = self.domain.polyhedron()
            G, h = np.vstack([G, box.G]), np.concatenate([h, box.h])
            E, e = np.vstack([E, box.E]), np.concatenate([e, box.e])
        return self._scaled(G, h, E, e)

    @cached_property
    def _raw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the pattern and of the conditions."""
        shaped = {
            name: torch.from_numpy(b).to(self.net[name].op.dtype)[None]  # type: ignore[union-attr]
            for name, b in self.branches.items()
        }
        piece = Piece(self.net, Pattern(shaped))
        with torch.no_grad():
            normals, offsets = (t.cpu().numpy() for t in piece.rows())
            maps = [
                pull(piece.frozen, {self.conditions.value: torch.from_numpy(A.toarray()).reshape(
                    -1, *self.net.shape_of(self.conditions.value))}).flatten(1).cpu().numpy()
                for A in (self.conditions.G, self.conditions.E)
            ]  # fmt: skip
        x = self.point
        with torch.no_grad():
            value = piece.frozen.values(x.reshape(1, *self.net.input_shape), self.conditions.value)
        v = value[self.conditions.value].flatten().cpu().numpy()
        slack = np.array([float(h) for h in self.conditions.h]) - self.conditions.G @ v
        G, h = np.vstack([-normals, maps[0]]), np.concatenate([offsets, slack + maps[0] @ x])
        return G, h, maps[1], maps[1] @ x

    def _scaled(
        self, G: np.ndarray, h: np.ndarray, E: np.ndarray, e: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows of length 1 without those that are 0; independent equations."""
        n = self.ambient
        length = np.linalg.norm(G, axis=1) if len(G) else np.zeros(0)
        moving = length > 1e-12
        G, h = G[moving] / length[moving, None], h[moving] / length[moving]
        if len(E):
            import scipy.linalg

            _, triangle, order = scipy.linalg.qr(E.T, mode="economic", pivoting=True)
            size = np.abs(np.diag(triangle))
            kept = np.sort(order[: int((size > 1e-10 * max(size[0], 1e-300)).sum())])
            norm = np.linalg.norm(E[kept], axis=1)
            E, e = E[kept] / norm[:, None], e[kept] / norm
        return G.reshape(-1, n), h, E.reshape(-1, n), e

    def _implied(self, clock: Progress) -> np.ndarray:
        """Rows that no point satisfies with room to spare: one ball if there is one, else row by row sums of slacks."""
        G, h, E, e = self._rows
        n, m = G.shape[1], len(G)
        ball = linear_program(
            np.append(np.zeros(n), -1.0),
            np.column_stack([G, np.ones(m)]),
            h,
            np.column_stack([E, np.zeros(len(E))]),
            e,
            bounds=(np.append(np.full(n, -np.inf), 0.0), np.append(np.full(n, np.inf), 1.0)),
            progress=clock,
        )
        if ball.status == "optimal" and ball.x[-1] > THICK:
            return np.zeros(m, dtype=bool)
        import scipy.sparse as sp

        slack = sp.hstack([sp.csr_array(G), sp.eye_array(m)])
        tight = sp.hstack([sp.csr_array(E), sp.csr_array((len(E), m))])
        low, high = np.append(np.full(n, -np.inf), np.zeros(m)), np.append(np.full(n, np.inf), np.ones(m))
        cost = np.append(np.zeros(n), -np.ones(m))
        best = linear_program(cost, slack, h, tight, e, bounds=(low, high), progress=clock)
        return best.x[n:] < THICK if best.status == "optimal" else np.zeros(m, dtype=bool)

    def _recession_is_zero(self, clock: Progress) -> bool:
        """Whether no direction keeps all rows, by a linear program."""
        G, _, E, _ = self._rows
        n = self.ambient
        if np.linalg.matrix_rank(np.vstack([G, E])) < n:
            return False
        sides, rest = (np.full(n, -1.0), np.full(n, 1.0)), (np.zeros(len(G)), np.zeros(len(E)))
        lean = linear_program(G.sum(0), G, rest[0], E, rest[1], bounds=sides, progress=clock)
        return lean.status == "optimal" and lean.value > -1e-9
