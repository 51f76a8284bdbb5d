"""Which units can matter for the output on a cell, by the zeros of the network alone: cheap proofs of equal maps."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from plica.analyses.regions.solid_stages import Stage
from plica.core.choice import MaxOver
from plica.core.network import Network


def relevant_branches(net: Network, plan: tuple[Stage, ...], branches: np.ndarray) -> np.ndarray:
    """Branches of the units from which a path of nonzero weights leads to the output on a cell, -1 for the others.

    Parameters
    ----------
    branches : ndarray of int, shape (cells, units)

    Returns
    -------
    ndarray of int16, shape (cells, units)

    Notes
    -----
    Backwards through the graph: an affine node passes relevance along its nonzero entries, a piecewise node where the
    slope of the branch is not zero, a maximum to its winner. Two cells with equal rows have equal maps: by induction
    from the input, every relevant value has one map on both, since all it reads with nonzero weight is relevant.
    """
    stages, n = {stage.node.name: stage for stage in plan}, len(branches)
    reach: dict[str, np.ndarray] = {net.output: np.ones((n, int(np.prod(net.output_shape))), bool)}
    out = np.full(branches.shape, -1, np.int16)
    for node in reversed(list(net.nodes)):
        own = reach.pop(node.name, None)
        if own is None:
            continue
        if node.name not in stages:
            for name, matrix in zip(node.inputs, node.op.entries(), strict=True):  # type: ignore[union-attr]
                linked = sp.csr_array(matrix != 0).astype(np.float32)  # sums of ones: never rounded to zero
                _join(reach, name, (linked.T @ own.T.astype(np.float32)).T > 0)
            continue
        stage = stages[node.name]
        taken = branches[:, stage.first : stage.first + stage.count]
        out[:, stage.first : stage.first + stage.count] = np.where(own, taken, -1)
        _join(reach, node.inputs[0], _through(node.op, own, taken, int(np.prod(net.shape_of(node.inputs[0])))))
    return out


def _join(reach: dict[str, np.ndarray], name: str, more: np.ndarray) -> None:
    """Add relevance of a value that several nodes read."""
    reach[name] = reach[name] | more if name in reach else more


def _through(op, own: np.ndarray, taken: np.ndarray, size: int) -> np.ndarray:
    """Relevance before a choice node, from that after it."""
    if isinstance(op, MaxOver):
        index = op.index.cpu().numpy()
        winner = index[np.arange(len(index)), taken]
        before = np.zeros((len(own), size), bool)
        cells, units = np.nonzero(own)
        before[cells, winner[cells, units]] = True
        return before
    slopes = op.slopes.cpu().numpy()
    fill = (1,) * (len(op.input_shape) + 1 - slopes.ndim)
    slopes = slopes.reshape(len(slopes), *fill, *slopes.shape[1:])
    slopes = np.broadcast_to(slopes, (len(slopes), *op.input_shape)).reshape(len(slopes), -1)
    return own & (np.take_along_axis(slopes, taken.astype(np.int64), axis=0) != 0)
