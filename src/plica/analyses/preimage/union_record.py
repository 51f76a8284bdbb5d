"""A preimage written down: its pieces are described while they are found, so that the time is kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from plica.analyses.preimage.result import Kind
from plica.analyses.preimage.union_result import UNKNOWN, PreimageResult, reason
from plica.core.network import INPUT
from plica.core.result import weakest

if TYPE_CHECKING:
    from plica.analyses.preimage.union_piece import UnionPiece
    from plica.analyses.preimage.union_set import Preimage

COUNTED = ("nodes", "programs", "pruned", "cuts", "ties", "unproven", "boxes")


def recorded(union: Preimage, max_pieces: int | None) -> PreimageResult:
    """Everything found, as a result that can be saved; looks for all pieces, or for `max_pieces`.

    What a piece is (dimension, bounded or not) takes time as well; pieces that the time does not allow to be
    described have dimension `UNKNOWN`.
    """
    start, clock = time.monotonic(), union.progress.at_least()
    pieces: list[UnionPiece] = []
    known: list[bool] = []
    for piece in union.pieces(max_pieces):
        pieces.append(piece)
        known.append(piece.described(clock))
    pieces += union.found[len(pieces) :]
    known += [False] * (len(pieces) - len(known))
    looked = [p for p, k in zip(pieces, known, strict=True) if k]
    dimensions = np.array([p.dimension if k else UNKNOWN for p, k in zip(pieces, known, strict=True)], dtype=np.int64)
    bounded = np.array([k and p.is_bounded for p, k in zip(pieces, known, strict=True)], dtype=bool)
    kind = _kind(dimensions, bounded, complete=union.is_complete)
    own = weakest(p.standing for p in looked)
    q, tally, n = union.question, union.tally, union.graph.spans[INPUT].stop
    names = [name for name in union.graph.spans if name != INPUT]
    low, high = union.sides
    return PreimageResult(
        standing=own if kind is Kind.UNBOUNDED else weakest([own, union.standing]),
        completeness=union.completeness,
        header={"seconds": time.monotonic() - start},
        layer=q.layer,
        source=q.source,
        target=q.target,
        kind=kind,
        dimension=int(dimensions.max(initial=UNKNOWN)),
        dimensions=dimensions,
        bounded=bounded,
        points=np.array([p.point for p in pieces]).reshape(-1, n),
        branches={name: np.array([p.branches[name] for p in pieces]) for name in names},
        lower=low.copy(),
        upper=high.copy(),
        counts={k: int(getattr(tally, k)) for k in COUNTED},
        reason=reason(tally, kind, dimensions, complete=union.is_complete),
        open_share=0.0 if union.is_complete else min(max(tally.open_share, 0.0), 1.0),
    )


def _kind(dimensions: np.ndarray, bounded: np.ndarray, *, complete: bool) -> Kind:
    """Of the union, as far as the pieces described settle it."""
    known = dimensions != UNKNOWN
    if (known & ~bounded).any():
        return Kind.UNBOUNDED
    if not complete or not known.all():
        return Kind.UNDECIDED
    return kind_of(dimensions)


def kind_of(dimensions: np.ndarray) -> Kind:
    """Of a complete union of bounded pieces of these dimensions."""
    if not len(dimensions):
        return Kind.EMPTY
    if dimensions.max() > 0:
        return Kind.COMPACT
    return Kind.SINGLETON if len(dimensions) == 1 else Kind.FINITE
