"""Boxes of few inputs cut down to where the conditions can hold.

Linear bounds of the conditions' value over a box are half-spaces of the input. They shrink the box, side by side by
intervals, then by linear programs whose multipliers are evaluated with every rounding error; or they prove that no
point of the box satisfies the conditions. Nothing that satisfies them is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from plica.core.choice import Choice
from plica.core.exact.floats import gamma
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.search.blocks import FINAL, Blocks
from plica.core.search.bounds import TINY, Bounds, forms_back, relax
from plica.core.search.conditions import Conditions
from plica.core.solve.warm import WarmProgram

SWEEPS = 3  # over all half-spaces, before programs
ROUND = 1e-12  # share of the terms' size by which a side is moved outward


@dataclass(frozen=True, eq=False)
class HalfSpaces:
    """``rows @ x <= level``, shapes (m, n) and (m,), proven for every x of a box that satisfies the conditions."""

    rows: np.ndarray
    level: np.ndarray


def half_spaces(graph: Blocks, known: Bounds, conditions: Conditions) -> HalfSpaces:
    """Necessary conditions on the input over a bounded box.

    Parameters
    ----------
    known : Bounds
        Over the box, with every choice's interval.

    Notes
    -----
    RIGOROUS. Cost: the linear bounds of the value (Zhang et al. 2018, CROWN).
    """
    span = graph.spans[INPUT]
    size = np.maximum(np.abs(known.low[span]), np.abs(known.high[span]))
    lines = {}
    for name in graph.rows:
        op = graph.network[name].op if name in graph.spans else None
        if isinstance(op, Choice):
            lines[name] = relax(op, known.below[name], known.above[name], None)
    f, shift, lost = forms_back(graph, known, lines, graph.rows[FINAL], slice(None))
    k = len(shift) // 2
    (up, down, top), terms = conditions.halves
    charge = up @ lost[:k] + down @ lost[k:]
    spread = up @ np.abs(f[:k]) + down @ np.abs(f[k:])
    constant = up @ shift[:k] + down @ shift[k:]
    bulk = spread @ size + up @ np.abs(shift[:k]) + down @ np.abs(shift[k:]) + np.abs(top)
    charge = (charge + gamma(terms + 6) * bulk) * (1 + 1e-9) + TINY
    rows, level = up @ f[:k] + down @ f[k:], top - constant + charge
    known_ones = np.isfinite(rows).all(1) & ~np.isnan(level)  # what overflowed says nothing
    return HalfSpaces(rows[known_ones], level[known_ones])


def swept(half: HalfSpaces, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The box cut down by one half-space at a time; None when it is proven empty."""
    A, b = half.rows, half.level
    up, down = np.maximum(A, 0), np.minimum(A, 0)
    for _ in range(SWEEPS):
        least = up * low + down * high  # smallest value of every term
        total = least.sum(1)
        room = ROUND * (np.abs(least).sum(1) + np.abs(b)) + TINY
        if (total - room > b).any():
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = (b + room - total)[:, None] + least
            side = ends / A
            side = side + ROUND * np.abs(side) * np.sign(A)
        new_high = np.minimum(high, np.where(A > 0, side, np.inf).min(0, initial=np.inf))
        new_low = np.maximum(low, np.where(A < 0, side, -np.inf).max(0, initial=-np.inf))
        if (new_low > new_high).any():
            return None
        gain = ((high - low) - (new_high - new_low)).max() > 0.05 * (high - low).max()
        low, high = new_low, new_high
        if not gain:
            break
    return low, high


def pressed(
    half: HalfSpaces, low: np.ndarray, high: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray] | None:
    """The smallest box around the box's part inside all half-spaces, proven; None when there is none.

    Raises
    ------
    BudgetReached
    """
    n = len(low)
    loose = np.maximum(half.rows, 0) @ high + np.minimum(half.rows, 0) @ low > half.level
    if not loose.any():
        return low, high
    sides = np.full(int(loose.sum()), -np.inf), half.level[loose]
    program = WarmProgram(np.zeros(n), sp.csr_array(half.rows[loose]), (low, high), sides, progress=progress)
    low, high = low.copy(), high.copy()
    for j in range(n):
        for sign in (1.0, -1.0):
            cost = np.zeros(n)
            cost[j] = sign
            program.costs(cost)
            status = program.solve()
            if status == "infeasible":
                ray = program.ray()
                return None if ray is not None and program.proves_empty(ray) else (low, high)
            if status != "optimal":
                continue
            end = _least(half.rows[loose], half.level[loose], (low, high), cost, np.abs(program.duals()))
            if sign > 0:
                low[j] = max(low[j], min(end, high[j]))
            else:
                high[j] = min(high[j], max(-end, low[j]))
    return low, high


def _least(A: np.ndarray, b: np.ndarray, box: tuple[np.ndarray, np.ndarray], cost: np.ndarray, w: np.ndarray) -> float:
    """Proven lower bound of ``cost.x`` where ``A x <= b`` in a box, from any weights w >= 0 of the rows.

    ``cost.x >= (cost + A'w).x - w.b``, and the box bounds the first part.
    """
    low, high = box
    rest = cost + w @ A
    size = np.maximum(np.abs(low), np.abs(high))
    value = float(np.minimum(rest * low, rest * high).sum() - w @ b)
    terms = float((np.abs(cost) + w @ np.abs(A)) @ size + w @ np.abs(b))
    return value - gamma(len(w) + len(cost) + 8) * terms * (1 + 1e-9) - TINY
