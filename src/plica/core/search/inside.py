"""Whether a piece has a point, from a float point near it, with every rounding error accounted for.

The pattern makes every value an affine function of the input. From a float point u the equations of the conditions are
missed by at most r; where their rows have a smallest singular value of at least s > 0 on the variables that may move,
an exact solution lies within r / s of u, and every inequality that u satisfies by more than its row's norm times that
distance holds there too (the argument of Newton and Kantorovich for affine maps).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.exact.floats import gamma, smallest_singular_value, solution_radius
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.search.blocks import FINAL, Blocks, Rows
from plica.core.search.bounds import TINY, Taken, tables
from plica.core.search.conditions import Conditions


@dataclass(frozen=True, eq=False)
class Affine:
    """A value as an affine function of the input: float rows with bounds of their errors.

    Attributes
    ----------
    rows : ndarray, shape (units, n)
    error : ndarray, shape (units,)
        Bound of every row's error in the Euclidean norm.
    """

    rows: np.ndarray
    error: np.ndarray


@dataclass(frozen=True, eq=False)
class Inside:
    """A proven point of a half-open piece.

    Attributes
    ----------
    near : ndarray, shape (n,)
        Floats; the exact point is within `radius`.
    radius : float
    dimension : int or None
        Of the closed piece, where all its inequalities hold strictly.
    """

    near: np.ndarray
    radius: float
    dimension: int | None


def affine_values(graph: Blocks, branches: Taken, progress: Progress | None = None) -> dict[str, Affine]:
    """What every choice reads, and the value, as affine functions of the input under a whole pattern.

    Raises
    ------
    BudgetReached
        When the time is up between two choices.
    """
    progress = progress or Progress()
    n = graph.spans[INPUT].stop
    out: dict[str, Affine] = {}
    sources: dict[str, Affine] = {}
    for name, rows in graph.rows.items():
        progress.check()
        out[name] = _compose(graph, rows, sources, n)
        if name in graph.spans:
            sources[name] = _chosen(graph, name, branches[name], out[name])
    return out


def _compose(graph: Blocks, rows: Rows, sources: dict[str, Affine], n: int) -> Affine:
    own = rows.matrix[:, graph.spans[INPUT]]
    total = own.toarray()
    size = np.linalg.norm(total, axis=1)
    error = np.zeros(len(total))
    if rows.matrix_error is not None:
        error += np.asarray(abs(rows.matrix_error[:, graph.spans[INPUT]]).sum(1)).ravel()
    for name, source in sources.items():
        M = sp.csr_array(rows.matrix[:, graph.spans[name]])
        alive = np.flatnonzero(source.rows.any(1) | (source.error > 0))
        if not M.nnz or not len(alive):
            continue
        part = M[:, alive]
        total = total + part @ source.rows[alive]
        norms = np.linalg.norm(source.rows[alive], axis=1)
        bulk = abs(part) @ norms
        size = size + bulk
        error = error + gamma(len(alive) + 4) * bulk + abs(part) @ source.error[alive]
        if rows.matrix_error is not None:
            error = error + abs(rows.matrix_error[:, graph.spans[name]][:, alive]) @ (norms + source.error[alive])
    return Affine(total, (error + gamma(8) * size) * (1 + 1e-9) + TINY * (len(sources) > 0))


def _chosen(graph: Blocks, name: str, branches: np.ndarray, read: Affine) -> Affine:
    op = graph.network[name].op
    if isinstance(op, MaxOver):
        winner = op.index.cpu().numpy()[np.arange(len(branches)), branches]
        return Affine(read.rows[winner], read.error[winner])
    assert isinstance(op, Piecewise)
    slope = tables(op)[1][branches, np.arange(len(branches))]
    rounding = np.where(np.abs(slope) % 1 == 0, 0.0, gamma(2)) * np.abs(slope) * np.linalg.norm(read.rows, axis=1)
    return Affine(slope[:, None] * read.rows, np.abs(slope) * read.error * (1 + 1e-12) + rounding)


@dataclass(frozen=True, eq=False)
class Level:
    """Values at one point with bounds of their errors."""

    value: np.ndarray
    error: np.ndarray


def values_at(graph: Blocks, branches: Taken, u: np.ndarray) -> dict[str, Level]:
    """What every choice reads, and the value, at a float input under a whole pattern."""
    known, wrong = np.zeros(graph.columns), np.zeros(graph.columns)
    known[graph.spans[INPUT]] = u
    out = {}
    for name, rows in graph.rows.items():
        z = rows.matrix @ known + rows.offset
        bulk = rows.size @ np.abs(known) + np.abs(rows.offset)
        error = gamma(rows.terms + 4) * bulk + rows.size @ wrong
        if rows.matrix_error is not None and rows.offset_error is not None:
            error = error + rows.matrix_error @ (np.abs(known) + wrong) + rows.offset_error
        out[name] = Level(z, error * (1 + 1e-9))
        if name in graph.spans:
            h, e = _outputs(graph, name, branches[name], out[name])
            known[graph.spans[name]], wrong[graph.spans[name]] = h, e
    return out


def _outputs(graph: Blocks, name: str, branches: np.ndarray, read: Level) -> tuple[np.ndarray, np.ndarray]:
    op = graph.network[name].op
    units = np.arange(len(branches))
    if isinstance(op, MaxOver):
        winner = op.index.cpu().numpy()[units, branches]
        return read.value[winner], read.error[winner]
    assert isinstance(op, Piecewise)
    _, slopes, shifts = tables(op)
    slope, shift = slopes[branches, units], shifts[branches, units]
    product = slope * read.value
    return product + shift, (np.abs(slope) * read.error + gamma(4) * (np.abs(product) + np.abs(shift))) * (1 + 1e-9)


@dataclass(frozen=True, eq=False)
class System:
    """All conditions of a pattern: forms that must be positive or nonnegative, and zero.

    Attributes
    ----------
    slack, error, reach : ndarray
        Of every inequality at the point: its value, the value's error, and its row's norm (an upper bound).
    weak : ndarray of bool
        Inequalities that may be 0.
    rows, gap, gap_error : ndarray
        Rows of the equations (with `rows_error`), how far they miss at the point, and the error of that.
    sides, row_error : ndarray
        Rows of the inequalities and bounds of their errors, where asked for.
    """

    slack: np.ndarray
    error: np.ndarray
    reach: np.ndarray
    weak: np.ndarray
    rows: np.ndarray
    rows_error: np.ndarray
    gap: np.ndarray
    gap_error: np.ndarray
    sides: np.ndarray
    row_error: np.ndarray


def system_at(
    graph: Blocks,
    branches: Taken,
    conditions: Conditions,
    u: np.ndarray,
    maps: dict[str, Affine],
    *,
    rows: bool = False,
) -> System:
    """The conditions of a pattern at a float point, with the inequalities' rows where asked for."""
    at = values_at(graph, branches, u)
    slack: list[np.ndarray] = []
    error: list[np.ndarray] = []
    reach: list[np.ndarray] = []
    weak: list[np.ndarray] = []
    forms: list[Affine] = []
    for name in graph.rows:
        if name not in graph.spans:
            continue
        for s, e, r, w in _sides(graph.network[name].op, branches[name], at[name], maps[name]):
            for part, new in ((slack, s), (error, e), (reach, r), (weak, np.full(len(s), w))):
                part.append(new)
        op = graph.network[name].op
        forms += _forms(op, branches[name], maps[name]) if rows and isinstance(op, Choice) else []
    v, A = at[FINAL], maps[FINAL]
    h, low, high = conditions.floats()
    size = np.linalg.norm(A.rows, axis=1) * (1 + 1e-9) + A.error
    G, E = conditions.G, conditions.E
    G_size, E_size = conditions.sizes
    g = gamma(conditions.terms + 8)
    s = h - G @ v.value
    slack.append(s)
    error.append(G_size @ v.error + g * (np.abs(h) + G_size @ np.abs(v.value)) + np.spacing(np.abs(h)))
    reach.append(G_size @ size * (1 + 1e-9))
    weak.append(np.ones(len(s), dtype=bool))
    forms += [Affine(-(G @ A.rows), G_size @ (A.error + g * size))] if rows else []
    gap = 0.5 * (low + high) - E @ v.value
    gap_error = E_size @ v.error + (high - low) + g * (np.abs(high) + E_size @ np.abs(v.value))
    return System(
        np.concatenate(slack), np.concatenate(error), np.concatenate(reach), np.concatenate(weak),
        E @ A.rows, E_size @ (A.error + g * size), gap, gap_error,
        np.concatenate([f.rows for f in forms]) if rows else np.zeros((0, len(u))),
        np.concatenate([f.error for f in forms]) if rows else np.zeros(0),
    )  # fmt: skip


def _forms(op: Choice, branches: np.ndarray, read: Affine) -> list[Affine]:
    """The rows whose values `_sides` gives, in its order."""
    units = np.arange(len(branches))
    if isinstance(op, MaxOver):
        index = op.index.cpu().numpy()
        own, out = index[units, branches], []
        for place in range(index.shape[1]):
            rest = np.flatnonzero((index[:, place] >= 0) & (branches != place))
            for weak in (True, False):
                part = rest[(place > branches[rest]) == weak]
                a, b = own[part], index[part, place]
                rounding = gamma(1) * (np.linalg.norm(read.rows[a], axis=1) + np.linalg.norm(read.rows[b], axis=1))
                out.append(Affine(read.rows[a] - read.rows[b], read.error[a] + read.error[b] + rounding))
        return out
    assert isinstance(op, Piecewise)
    above, below = units[branches > 0], units[branches < len(op.knots)]
    return [Affine(read.rows[above], read.error[above]), Affine(-read.rows[below], read.error[below])]


def _sides(op, branches: np.ndarray, at: Level, read: Affine):
    """(slack, error, reach, weak) of a choice's rows."""
    size = np.linalg.norm(read.rows, axis=1) * (1 + 1e-9) + read.error
    if isinstance(op, MaxOver):
        index = op.index.cpu().numpy()
        units = np.arange(len(index))
        own = index[units, branches]
        for place in range(index.shape[1]):
            rest = np.flatnonzero((index[:, place] >= 0) & (branches != place))
            a, b = own[rest], index[rest, place]
            difference = read.rows[a] - read.rows[b]
            reach = np.linalg.norm(difference, axis=1) * (1 + 1e-9) + read.error[a] + read.error[b]
            s = at.value[a] - at.value[b]
            e = at.error[a] + at.error[b] + gamma(2) * (np.abs(at.value[a]) + np.abs(at.value[b]))
            for weak in (True, False):
                part = (place > branches[rest]) == weak
                yield s[part], e[part], reach[part] * (1 + 1e-9), weak
        return
    knots = tables(op)[0]
    units = np.arange(len(branches))
    for above in (True, False):
        rest = units[branches > 0] if above else units[branches < len(knots)]
        knot = knots[branches[rest] - 1, rest] if above else knots[branches[rest], rest]
        s = at.value[rest] - knot if above else knot - at.value[rest]
        yield s, at.error[rest] + gamma(2) * (np.abs(knot) + np.abs(at.value[rest])), size[rest], not above


def proven_point(
    graph: Blocks,
    branches: Taken,
    conditions: Conditions,
    box: tuple[np.ndarray, np.ndarray],
    guess: np.ndarray,
    *,
    consistent: bool = False,
    maps: dict[str, Affine] | None = None,
) -> Inside | None:
    """Prove that a half-open piece has a point near a float point; None when that is not proven.

    Parameters
    ----------
    box : (low, high)
        Sides of the input, possibly infinite.
    guess : ndarray, shape (n,)
    consistent : bool
        Whether the pattern's equations are known to have a common solution. Then as many independent ones as their
        rank can be at most (the units that they pass through) stand for all.
    maps : dict, optional
        `affine_values` of the pattern, where they are known.

    Notes
    -----
    RIGOROUS. Cost: the pattern's matrix up to the value, and a factorisation of the equations' rows.
    """
    low, high = box
    maps = affine_values(graph, branches) if maps is None else maps
    E = conditions.E @ maps[FINAL].rows
    u = np.clip(guess, low, high)
    room = 1e-9 * (1 + np.abs(u))
    free = (u > low + room) & (u < high - room)
    sigma, length = np.inf, np.ones(len(E))
    most = _rank_bound(graph, branches, len(E)) if consistent else len(E)
    if most < len(E):
        conditions = _independent(conditions, E[:, free], most)
        E, length = conditions.E @ maps[FINAL].rows, np.ones(most)
    if len(E):
        length = np.linalg.norm(E[:, free], axis=1)
        if not (length > 0).all() or len(E) > free.sum():
            return None
        scaled = E[:, free] / length[:, None]
        sigma = smallest_singular_value(scaled)
        A, g = maps[FINAL], gamma(conditions.terms + 8)
        lost = (conditions.sizes[1] @ (A.error + g * np.linalg.norm(A.rows, axis=1)) + gamma(8) * length) / length
        sigma -= float(np.linalg.norm(lost)) * (1 + 1e-9)
        if sigma <= 0:
            return None
        middle = 0.5 * np.add(*conditions.floats()[1:])
        Q, R = np.linalg.qr(scaled.T)  # the shortest solution of scaled d = g is Q R^-T g
        for _ in range(2):
            gap = middle - conditions.E @ values_at(graph, branches, u)[FINAL].value
            u[free] += Q @ scipy.linalg.solve_triangular(R, gap / length, trans="T", check_finite=False)
    at = system_at(graph, branches, conditions, u, maps)
    radius = solution_radius(float(np.linalg.norm((np.abs(at.gap) + at.gap_error) / length)) * (1 + 1e-9), sigma)
    radius = radius if len(E) else 0.0
    spare = at.slack - at.error - at.reach * radius * (1 + 1e-9)
    inner = np.minimum(u - low, high - u)
    if not (spare >= 0).all() or (spare[~at.weak] <= 0).any() or (inner[free] <= radius * (1 + 1e-9)).any():
        return None
    strict = bool((spare > 0).all() and free.all())
    return Inside(u, radius, len(u) - len(E) if strict else None)


def _rank_bound(graph: Blocks, branches: Taken, equations: int) -> int:
    """Upper bound of the rank of rows of the value: the units of a choice that alone lies between."""
    best, at = equations, FINAL
    while True:
        M = graph.rows[at].matrix
        used = [name for name, span in graph.spans.items() if M[:, span].nnz]
        if len(used) != 1 or used == [INPUT]:
            return best
        (at,) = used
        op = graph.network[at].op
        own = branches[at]
        moving = len(own)
        if isinstance(op, Piecewise):
            moving = int((tables(op)[1][own, np.arange(len(own))] != 0).sum())
        best = min(best, moving)


def _independent(conditions: Conditions, E: np.ndarray, most: int) -> Conditions:
    """Conditions with so many of the equations, the most independent ones."""
    length = np.linalg.norm(E, axis=1, keepdims=True)
    order = scipy.linalg.qr((E / np.where(length > 0, length, 1)).T, mode="r", pivoting=True, check_finite=False)[1]
    kept = np.sort(order[:most])
    return replace(conditions, E=sp.csr_array(conditions.E[kept]), e=tuple(conditions.e[i] for i in kept))
