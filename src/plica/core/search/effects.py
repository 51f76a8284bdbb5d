"""How much each unit can matter to the conditions: the order in which a question is split that has no answer."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from plica.core.choice import MaxOver, Piecewise
from plica.core.network import INPUT
from plica.core.search.blocks import FINAL, Blocks
from plica.core.search.bounds import tables
from plica.core.search.conditions import Conditions


def effects(graph: Blocks, conditions: Conditions, ahead: str) -> dict[str, np.ndarray]:
    """Size by which the conditions change when a unit's output does, in floats; a heuristic, nothing rests on it.

    A unit whose output is far from its function is worth a split only as far as some condition feels it. Each of the
    branches of the choice that is settled first has its own size, and the largest counts; through other choices, sizes
    add up with their steepest branches.

    Parameters
    ----------
    graph : Blocks
        Whose value the conditions are on.
    ahead : str
        The choice that is settled first.

    Returns
    -------
    dict of ndarray, shape (units,)
        By choice.
    """
    last = graph.rows[FINAL].matrix
    direct = sp.csr_array(sp.vstack([conditions.G @ last, conditions.E @ last], format="csr"))
    total = np.maximum.reduce([np.sqrt(np.asarray(A.power(2).sum(0)).ravel()) for A in _settled(graph, direct, ahead)])
    for name in reversed([name for name in graph.spans if name not in (INPUT, ahead)]):
        rows, own = graph.rows[name].matrix, total[graph.spans[name]]
        total = total + abs(rows).T @ _read(graph, name, own, rows.shape[0])
    return {name: total[span] for name, span in graph.spans.items() if name != INPUT}


def _settled(graph: Blocks, direct: sp.csr_array, ahead: str) -> list[sp.csr_array]:
    """The conditions as rows of all sources under every branch of the first choice."""
    op, rows, own = graph.network[ahead].op, graph.rows[ahead].matrix, direct[:, graph.spans[ahead]]
    if not isinstance(op, MaxOver):
        return [direct]
    index = op.index.cpu().numpy()
    return [sp.csr_array(direct + own @ rows[np.maximum(members, 0)]) for members in index.T]


def _read(graph: Blocks, name: str, own: np.ndarray, units: int) -> np.ndarray:
    """Sizes of what a choice reads, from those of its outputs."""
    op = graph.network[name].op
    if isinstance(op, Piecewise):
        return own * np.abs(tables(op)[1]).max(0)
    assert isinstance(op, MaxOver)
    out = np.zeros(units)
    for members in op.index.cpu().numpy().T:
        np.add.at(out, members[members >= 0], own[members >= 0])
    return out
