"""Cells at whose nearest point the margin is 0: whether they hold a strictly misclassified point, in integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from plica.analyses.adversarial.exact.bounds import State
from plica.analyses.adversarial.exact.layers import Layers, Scalar
from plica.core.domain import Box
from plica.core.search.conditions import Conditions
from plica.core.search.decided import exact_piece
from plica.errors import SolverError

MOST = 64  # inputs up to which a cell is decided


def branches_of(layers: Layers, state: State, taken: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The branches of a node in which nothing is undecided."""
    out = {}
    for j, (name, choice) in enumerate(zip(layers.names, layers.choices, strict=True)):
        below = state.below[j]
        if isinstance(choice, Scalar):
            settled = (choice.knots <= below).sum(0)
        else:
            settled = np.where(choice.index >= 0, below[choice.index], -np.inf).argmax(1)
        out[name] = np.where(taken[j] >= 0, taken[j], settled)
    return out


def inside(
    layers: Layers, branches: dict[str, np.ndarray], aim: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> tuple[bool, bool]:
    """Whether the closed cell of some branches holds a point of the box with all margins positive.

    Returns
    -------
    decided : bool
        False where the cell is too large for this.
    some : bool
        Where decided, CERTIFIED.

    Notes
    -----
    On the closed cell the margins are affine, so that they are those of the network at its border too.
    """
    if layers.inputs > MOST:
        return False, True
    rows = sp.csr_array(-aim)
    none = sp.csr_array((0, aim.shape[1]))
    value = layers.graph.value
    conditions = Conditions(value, rows, (Fraction(0),) * len(aim), none, ())
    try:
        cell = exact_piece(layers.graph.network, branches, conditions, Box(lower, upper))
        implied = cell.proof.implied
        sides = int(np.isfinite(lower).sum() + np.isfinite(upper).sum())
        end = len(implied) - 1 - sides
        if implied[-1] or implied[end - len(aim) : end].any():
            return True, False
        return True, True
    except SolverError:
        return False, True
