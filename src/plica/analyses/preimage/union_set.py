"""A preimage: a lazy union of polyhedra, one for each pattern of the choices before a layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from plica.analyses.preimage.reach import proven_top, relaxed_top
from plica.analyses.preimage.result import Kind
from plica.analyses.preimage.slices import DRAWN, once, picture, sliced
from plica.analyses.preimage.union_piece import UnionPiece
from plica.analyses.preimage.union_record import kind_of, recorded
from plica.analyses.preimage.union_restore import found_again
from plica.analyses.preimage.union_result import PreimageResult, Reach
from plica.core.domain import Box, Plane
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Network
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.core.search.blocks import Blocks, blocks
from plica.core.search.bounds import Taken
from plica.core.search.conditions import Conditions
from plica.core.search.found import Tally
from plica.core.search.tree import Search
from plica.errors import BudgetReached, DataError, ShapeError


@dataclass(frozen=True, eq=False)
class Question:
    """What a preimage is of.

    Attributes
    ----------
    net : Network
        From the space of the preimage on.
    layer, source : str
        The layer asked about, and the value whose space the preimage lies in.
    target : str
        In words.
    conditions : Conditions
    domain : Box, optional
    witness : Columns, optional
        An exact point whose pattern is looked at first.
    fixed : dict of ndarray, optional
        Branches of some choices, -1 where undecided: only pieces with them are looked for.
    ahead : str, optional
        A choice whose branches are settled first; for questions that may well have no answer.
    """

    net: Network
    layer: str
    source: str
    target: str
    conditions: Conditions
    domain: Box | None
    witness: exact.Columns | None
    fixed: Taken | None = None
    ahead: str | None = None


class Preimage:
    """All inputs that satisfy conditions at a layer: a union of polyhedra that are found when asked for.

    Made by `plica.preimage` and `plica.preimage_of`. Iterating over `pieces` finds them one by one; questions about the
    whole union find all of them first, within the budget of the `Progress` given. What is found is kept.

    Notes
    -----
    A piece belongs to one pattern of the choices before the layer. Half-open pieces (above a knot, or on it and below;
    first among equals) are disjoint and cover the preimage, so each is counted once; what is shown is its closure.
    """

    def __init__(self, question: Question, progress: Progress | None = None) -> None:
        self.question, self.progress = question, progress or Progress()
        self.graph: Blocks = blocks(question.net, question.conditions.value, max_bytes=self.progress.max_bytes)
        self._search = self._new_search()
        self._source = self._search.found()
        self._found: list[UnionPiece] = []
        self._end: Completeness | None = None
        self._held = 0
        self._restored: set[bytes] = set()

    def __repr__(self) -> str:
        state = f"{self.standing}, {self.completeness}" if self._end else "its pieces are found when asked for"
        q = self.question
        what = f"{q.target} at layer {q.layer!r}, in the space of {q.source!r}"
        return f"Preimage: {state}\n{what}; {len(self._found)} pieces so far"

    def _new_search(self) -> Search:
        q, p = self.question, self.progress
        return Search(self.graph, q.conditions, q.domain, witness=q.witness, fixed=q.fixed, ahead=q.ahead, progress=p)

    # -- pieces ------------------------------------------------------------------------------------------------------

    def pieces(self, max_pieces: int | None = None) -> Iterator[UnionPiece]:
        """Yield the pieces, the witness's own first; at most `max_pieces` of them. They are kept for later questions.

        Ends early, without an error, when the budget of time or memory is reached; `completeness` says so.
        """
        count = 0
        while max_pieces is None or count < max_pieces:
            if count == len(self._found) and not self._advance():
                return
            yield self._found[count]
            count += 1

    def stream(self) -> Iterator[UnionPiece]:
        """Yield the pieces of a new search and keep none: memory stays bounded however many there are.

        Raises
        ------
        BudgetReached
            When the time is up.
        """
        for found in self._new_search().found():
            yield self._piece(found)

    def _piece(self, found) -> UnionPiece:
        part = self.graph.network
        return UnionPiece(part, self.question.conditions, self.question.domain, found, self._endless, self.progress)

    def _advance(self) -> bool:
        """Find one more piece; False at the end."""
        if self._end is not None:
            return False
        try:
            found = next(self._source, None)
            while found is not None and found.key in self._restored:
                found = next(self._source, None)
        except BudgetReached:
            self._end = Completeness.BUDGET
            return False
        except KeyboardInterrupt:
            self._end = Completeness.INTERRUPTED
            return False
        if found is None:
            complete = self._search.tally.complete
            empty = complete and not self._found
            self._end = Completeness.INFEASIBLE if empty else Completeness.COMPLETE if complete else Completeness.BUDGET
            return False
        self._found.append(self._piece(found))
        self._held += 200 * self.graph.spans[INPUT].stop + sum(b.nbytes for b in found.branches.values())
        self.progress.report(f"pieces of {self.question.layer}", len(self._found))
        if self._held > self.progress.max_bytes:
            self._end = Completeness.BUDGET
        return True

    def _all(self) -> list[UnionPiece]:
        while self._advance():
            pass
        return self._found

    @property
    def found(self) -> list[UnionPiece]:
        """The pieces found so far."""
        return list(self._found)

    @property
    def tally(self) -> Tally:
        """What the search did so far."""
        return self._search.tally

    @property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper sides of the domain, flat, possibly infinite."""
        return self._search.low, self._search.high

    @property
    def completeness(self) -> Completeness:
        """COMPLETE once all pieces are found (INFEASIBLE: there is none); BUDGET while some may be missing."""
        return self._end or Completeness.BUDGET

    @property
    def is_complete(self) -> bool:
        """Whether all pieces are found."""
        return self._end in (Completeness.COMPLETE, Completeness.INFEASIBLE)

    @property
    def standing(self) -> Standing:
        """How it is known that no other piece exists: CERTIFIED, RIGOROUS, or NUMERICAL (a solver's word)."""
        tally = self._search.tally
        if tally.unproven or not self.is_complete:
            return Standing.NUMERICAL
        return Standing.RIGOROUS

    @property
    def _endless(self) -> bool:
        """Whether fewer rows read the input than it has entries, with no domain: some direction changes nothing."""
        if "_no_end" not in self.__dict__:
            span = self.graph.spans[INPUT]
            q = self.question
            free = q.domain is None or not np.isfinite([q.domain.lower, q.domain.upper]).any()
            count = sum(
                int((np.diff(rows.matrix[:, span].tocsr().indptr) > 0).sum()) for rows in self.graph.rows.values()
            )
            self._no_end = free and count < span.stop
        return self._no_end

    # -- the union ---------------------------------------------------------------------------------------------------

    @property
    def kind(self) -> Kind:
        """EMPTY, SINGLETON, FINITE, COMPACT, UNBOUNDED; UNDECIDED when the budget ends before it is known.

        One unbounded piece settles it; anything else takes all pieces.
        """
        clock = self.progress.at_least()
        for piece in self.pieces():
            if piece.described(clock, "is_bounded") and not piece.is_bounded:
                return Kind.UNBOUNDED
        if not self.is_complete or not all(piece.described(clock) for piece in self._found):
            return Kind.UNDECIDED
        return kind_of(np.array([piece.dimension for piece in self._found]))

    @property
    def dimension(self) -> int:
        """Largest dimension of the pieces (of those found, when incomplete); -1 of the empty set.

        Raises
        ------
        BudgetReached
            When the time ends before all of them are known.
        """
        pieces, clock = self._all(), self.progress.at_least()
        if not all(piece.described(clock) for piece in pieces):
            raise BudgetReached(
                "dimension: the time was up before every piece was described; result() has those that were."
            )
        return max((p.dimension for p in pieces), default=-1)

    def contains(self, X: npt.ArrayLike) -> np.ndarray:
        """Which points, shape (..., n) or (..., *input_shape), lie in the preimage; exact, and no piece is needed."""
        flat, lead = self._points(X)
        q, inside = self.question, np.ones(len(flat), dtype=bool)
        if q.domain is not None:
            inside &= q.domain.contains(flat)
        for i in np.flatnonzero(inside):
            values, _ = exact.forward(self.graph.network.nodes, exact.Columns.of(flat[i]))
            inside[i] = q.conditions.holds(values[q.conditions.value])
        return inside.reshape(lead)

    def _points(self, X: npt.ArrayLike) -> tuple[np.ndarray, tuple[int, ...]]:
        X = np.asarray(X, dtype=np.float64)
        shape, n = self.question.net.input_shape, self.graph.spans[INPUT].stop
        axes = len(shape) if X.shape[-len(shape) :] == shape else 1
        if X.ndim < axes or int(np.prod(X.shape[X.ndim - axes :])) != n:
            raise ShapeError(f"The points have shape {X.shape}; each must have shape {shape} (or be flat).")
        if not np.isfinite(X).all():
            raise DataError("The points must be finite.")
        return X.reshape(-1, n), X.shape[: X.ndim - axes]

    def support(self, direction: npt.ArrayLike) -> Reach:
        """Largest value of ``direction.u`` over the union, with a bound that no point of it exceeds.

        The bound is proven, or inf: with all pieces found and none closed on a solver's word, the largest of the
        pieces' own proven maxima; otherwise that of the linear relaxation over the domain. When the time ends, the
        value is that of the pieces looked at.
        """
        c = self._points(direction)[0][0]
        best, top = Reach(-np.inf, -np.inf, np.full(len(c), np.nan)), -np.inf
        pieces, clock = self._all(), self.progress.at_least()
        try:
            for piece in pieces:
                found = piece.polyhedron(max_bytes=self.progress.max_bytes).support(c, clock)
                if found.value > best.value:
                    best = Reach(found.value, found.value, found.point)
                top = max(top, proven_top(piece, c, self.graph, clock) if top < np.inf else top)
        except BudgetReached:
            top = np.inf
        if not (self.is_complete and self.standing.is_proof):
            top = np.inf
        if top == np.inf:
            top = relaxed_top(self.graph, self.question.conditions, self.sides, c, self.progress.at_least())
        return Reach(best.value, top, best.point)

    def bounding_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest box around the union, (lower, upper).

        Raises
        ------
        DataError
            When it is empty.
        BudgetReached
            When not all pieces were found, or the time ends here.
        """
        pieces, clock = self._whole("bounding_box")
        boxes = [p.polyhedron().bounding_box(clock) for p in pieces]
        return np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)

    def _whole(self, who: str) -> tuple[list[UnionPiece], Progress]:
        """All pieces, and the time for a question about them."""
        pieces = self._all()
        if not self.is_complete:
            raise BudgetReached(
                f"{who}: {len(pieces)} pieces were found before the budget ended, and there may be more. Give more "
                "time, or a smaller domain; pieces() has those found."
            )
        if not pieces:
            raise DataError(f"{who}: the preimage is empty.")
        return pieces, self.progress.at_least()

    def project(self, basis: npt.ArrayLike) -> list[np.ndarray]:
        """Shadow of every piece on a line or plane: corners as of `Polyhedron.project`; basis of shape (n, 1 or 2)."""
        pieces, clock = self._whole("project")
        return [p.polyhedron().project(basis, clock) for p in pieces]

    def slice(self, plane: Plane) -> list[Polyhedron]:
        """The part of every piece in an affine slice, as polyhedra in its coordinates; empty parts are left out."""
        pieces, clock = self._whole("slice")
        parts = [sliced(piece, plane, clock) for piece in pieces]
        return [part for part in parts if part is not None]

    def plot(self, plane: Plane | None = None) -> Any:
        """Draw up to 1,000 pieces in the plane of two inputs, or in the window of a plane through more.

        Raises
        ------
        ArgumentError
            Without a plane and a bounded window where the preimage has not two inputs.
        """
        words = f"{self.question.target} at {self.question.layer}"
        title = lambda: f"{words}: {self.standing}, {self.completeness}"  # noqa: E731  (known when all are found)
        return picture(list(self.pieces(DRAWN)), plane, title, self.progress)

    def volume(self) -> float:
        """Volume in the union's own dimension: the sum over its pieces of that dimension (low dimension only)."""
        top = self.dimension
        return float(sum(b.volume() for b, p in self._bodies("volume") if p.dimension == top))

    def vertices(self) -> np.ndarray:
        """Vertices of the pieces, each once, shape (k, n) (low dimension only)."""
        return once([body.vertices() for body, _ in self._bodies("vertices")])

    def rays(self) -> np.ndarray:
        """Extreme directions of the pieces, each once, shape (k, n) (low dimension only)."""
        return once([body.rays() for body, _ in self._bodies("rays")])

    def _bodies(self, who: str) -> Iterator[tuple[Polyhedron, UnionPiece]]:
        """All pieces as polyhedra, with what they rest on decided."""
        pieces, clock = self._whole(who)
        for piece in pieces:
            body = piece.polyhedron()
            body.facts.decide(clock)
            yield body, piece

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw n points, shape (n, variables), from the pieces of the largest dimension.

        Uniform where the volumes can be had (up to 6 dimensions); else every piece is equally likely, and points are
        uniform inside it.

        Raises
        ------
        DataError
            When the union is empty or unbounded.
        """
        (pieces, clock), top = self._whole("sample"), self.dimension
        if not all(p.is_bounded for p in pieces if p.dimension == top):
            raise DataError("sample: the preimage is unbounded, so it has no uniform distribution; give a domain.")
        bodies = [body for body, p in self._bodies("sample") if p.dimension == top]
        weights = np.array([b.volume() for b in bodies]) if 0 < top <= 6 else np.ones(len(bodies))
        counts = np.random.default_rng(seed).multinomial(n, weights / weights.sum())
        drawn = [(b, int(k), seed + i) for i, (b, k) in enumerate(zip(bodies, counts, strict=True)) if k]
        draws = [b.sample(k, own, progress=clock) for b, k, own in drawn]
        nothing = np.zeros((0, bodies[0].ambient))
        return np.random.default_rng(seed + 1).permutation(np.concatenate([nothing, *draws]))

    # -- a record ----------------------------------------------------------------------------------------------------

    def result(self, max_pieces: int | None = None) -> PreimageResult:
        """Everything found, as a result that can be saved; looks for all pieces, or for `max_pieces`.

        Pieces are described while they are found, within the budget; what was not described then has dimension -1.
        """
        return recorded(self, max_pieces)

    def restore(self, result: PreimageResult) -> Preimage:
        """Take over the pieces of a saved result of the same question, each checked exactly; return this preimage.

        What was complete is complete again, on the saved word; what was not goes on where it stopped.

        Raises
        ------
        DataError
            When the result is of another question or network.
        """
        known = found_again(self.question, self.graph, result)
        self._found = [self._piece(found) for found in known]
        self._restored = {found.key for found in known}
        self._search.tally.unproven = result.counts.get("unproven", 0)
        if result.completeness in (Completeness.COMPLETE, Completeness.INFEASIBLE):
            self._end = result.completeness
            self._search.tally.nodes = result.counts.get("nodes", 0)
        return self
