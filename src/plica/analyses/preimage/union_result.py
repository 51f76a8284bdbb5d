"""What is kept of a preimage that is a union of pieces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from plica.analyses.preimage.result import Kind
from plica.core.result import Result
from plica.core.search.found import Tally

UNKNOWN = -1  # dimension of a piece that was found and not described


@dataclass(frozen=True, repr=False)
class PreimageResult(Result):
    """The pieces of a preimage that were found, and what follows from them.

    Attributes
    ----------
    layer : str
        Name of the layer.
    source : str
        The value whose space the preimage lies in: "input", or `from_layer`.
    target : str
        What was asked of the layer, in words.
    kind : Kind
        Of the union; UNDECIDED when the pieces found do not settle it.
    dimension : int
        Largest dimension of the pieces described: that of the union when complete and all are.
    dimensions : ndarray of int, shape (k,)
        Of every piece; `UNKNOWN` (-1) where the time ended before.
    bounded : ndarray of bool, shape (k,)
        Of every piece; False where its dimension is unknown.
    points : ndarray, shape (k, n)
        A point of every piece, rounded to floats.
    branches : dict of ndarray, shape (k, *shape)
        Branches of every choice before the layer, piece by piece.
    lower, upper : ndarray, shape (n,)
        The domain.
    counts : dict of int
        Nodes, programs, pruned and unproven parts of the search.
    reason : str
        How the kind is known, in a sentence.
    open_share : float
        What an unfinished search had not closed: of the domain's volume where it goes by boxes (``counts["boxes"]``
        above 0), else of the tree of branches, in which children share alike. 0 when complete; NaN in older files.
    """

    layer: str
    source: str
    target: str
    kind: Kind
    dimension: int
    dimensions: np.ndarray
    bounded: np.ndarray
    points: np.ndarray
    branches: dict[str, np.ndarray]
    lower: np.ndarray
    upper: np.ndarray
    counts: dict[str, int]
    reason: str
    open_share: float = math.nan

    def summary(self) -> str:
        """Kind, number of pieces and their dimensions."""
        levels, numbers = np.unique(self.dimensions, return_counts=True)
        parts = ", ".join(
            f"{k} of {'unknown dimension' if d == UNKNOWN else f'dimension {d}'}"
            for d, k in zip(levels.tolist(), numbers.tolist(), strict=True)
        )
        return (
            f"{self.target} at layer {self.layer!r}, in the space of {self.source!r}: {self.kind}, "
            f"{len(self.dimensions)} pieces{' (' + parts + ')' if parts else ''}\n{self.reason}"
        )


def reason(tally: Tally, kind: Kind, dimensions: np.ndarray, *, complete: bool) -> str:
    """How a kind is known, and what is open, in a sentence."""
    unknown = int((dimensions == UNKNOWN).sum())
    if unknown:
        which = "1 piece was" if unknown == 1 else f"{unknown} pieces were"
        return f"{_reason(tally, kind, len(dimensions), complete)} The time ended before {which} described."
    return _reason(tally, kind, len(dimensions), complete)


def _reason(tally: Tally, kind: Kind, pieces: int, complete: bool) -> str:
    of = "the domain's volume" if tally.boxes else "the tree of branches, in which children share alike,"
    open_ = f" {100 * min(max(tally.open_share, 0.0), 1.0):.3g} % of {of} is open."
    if kind is Kind.UNBOUNDED and not complete:
        return "One piece is unbounded; others may be missing." + open_
    if not complete:
        undecided = f" {len(tally.undecided)} patterns are undecided." if tally.undecided else ""
        return f"The search ended before all patterns were looked at.{undecided}{open_}"
    how = f"{tally.unproven} parts were closed on a solver's word" if tally.unproven else "all others are excluded"
    if kind is Kind.EMPTY:
        return f"No input of the domain reaches the target: {how.replace('all others', 'all patterns')}."
    return f"{pieces} patterns have a point; {how}, {tally.nodes} nodes."


@dataclass(frozen=True)
class Reach:
    """Largest value of a linear function over a union.

    Attributes
    ----------
    value : float
        Over the pieces found, attained at `point`.
    bound : float
        No point of the union gives more: proven, and inf where nothing less is.
    point : ndarray
    """

    value: float
    bound: float
    point: np.ndarray
