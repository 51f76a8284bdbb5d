"""Pieces of a saved preimage, found again in the network and checked exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plica.core.network import INPUT
from plica.core.search.decided import exact_piece
from plica.core.search.found import Found
from plica.core.search.leaf import EXACT_COLUMNS
from plica.core.search.point import exact_point
from plica.errors import DataError

if TYPE_CHECKING:
    from plica.analyses.preimage.union_result import PreimageResult
    from plica.analyses.preimage.union_set import Question
    from plica.core.search.blocks import Blocks


def found_again(question: Question, graph: Blocks, result: PreimageResult) -> list[Found]:
    """Patterns of a saved result, each with an exact point in this question's preimage.

    Raises
    ------
    DataError
        When the result is of another layer, target, domain or network.
    """
    n = graph.spans[INPUT].stop
    names = [name for name in graph.spans if name != INPUT]
    low, high = (np.full(n, -np.inf), np.full(n, np.inf))
    if question.domain is not None:
        low, high = question.domain.lower, question.domain.upper
    asked = {
        "layer": (result.layer, question.layer),
        "space": (result.source, question.source),
        "target": (result.target, question.target),
        "choices": (sorted(result.branches), sorted(names)),
        "domain": ((result.lower.tolist(), result.upper.tolist()), (low.tolist(), high.tolist())),
    }
    wrong = [word for word, (saved, own) in asked.items() if saved != own]
    if wrong:
        raise DataError(f"The saved preimage has another {' and '.join(wrong)}; ask the question it was made from.")
    return [_checked(question, graph, result, i) for i in range(len(result.points))]


def _checked(question: Question, graph: Blocks, result: PreimageResult, i: int) -> Found:
    """One pattern with an exact point."""
    branches = {name: result.branches[name][i].astype(np.int64).reshape(-1) for name in graph.spans if name != INPUT}
    if len(result.points[i]) <= EXACT_COLUMNS:
        piece = exact_piece(graph.network, branches, question.conditions, question.domain)
        if not piece.is_empty:
            return Found(branches, tuple(piece.point), piece)
    else:
        point = exact_point(graph.network, branches, question.conditions, question.domain, result.points[i])
        if point is not None:
            return Found(branches, point)
    raise DataError(f"Piece {i} of the saved preimage is not one of this network's; the weights or the input differ.")
