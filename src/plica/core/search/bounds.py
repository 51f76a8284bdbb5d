"""Proven bounds of every choice's input over a box: intervals, then linear bounds pulled back to the box.

Every bound is rounded outward: a float sum of n products is off by at most gamma_n times the sum of their sizes
(Higham, section 3.1). A linear bound's coefficients are whatever the floats say they are; what a product of matrices
lost on the way is charged with the largest size of the variable it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.exact.floats import UNIT, gamma
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.search.blocks import Blocks, Rows

TINY = 1e-300
MOST_ENTRIES = 30_000_000  # of a matrix of linear bounds; larger layers keep their intervals
AT_ONCE = 2_000_000  # entries that are pulled back in one step, between two looks at the clock
Taken = dict[str, np.ndarray]  # flat branches of every choice, -1 where undecided


@dataclass(eq=False)
class Bounds:
    """Bounds of the sources' columns, and of what every choice reads.

    Attributes
    ----------
    low, high : ndarray, shape (columns,)
    below, above : dict of ndarray
        Of the rows of every choice, and of the value (by `FINAL`).
    feasible : bool
        False when some interval is empty: no point of the box has the branches taken.
    """

    low: np.ndarray
    high: np.ndarray
    below: dict[str, np.ndarray]
    above: dict[str, np.ndarray]
    feasible: bool = True


def bound(
    graph: Blocks,
    low: np.ndarray,
    high: np.ndarray,
    taken: Taken | None = None,
    *,
    linear: bool = True,
    progress: Progress | None = None,
) -> Bounds:
    """Bounds over the box [low, high] of the input, under the branches taken.

    Parameters
    ----------
    linear : bool
        Whether to pull linear bounds back to the box (a bounded box only), which costs a product of matrices for every
        pair of layers.
    progress : Progress, optional
        Its seconds; `BudgetReached` when they end.

    Notes
    -----
    RIGOROUS.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # `outward` opens what overflows
        return _bound(graph, (low, high), taken, linear, progress or Progress())


def _bound(
    graph: Blocks, box: tuple[np.ndarray, np.ndarray], taken: Taken | None, linear: bool, progress: Progress
) -> Bounds:
    columns, (low, high) = graph.columns, box
    known = Bounds(np.full(columns, -np.inf), np.full(columns, np.inf), {}, {})
    known.low[graph.spans[INPUT]], known.high[graph.spans[INPUT]] = low, high
    linear = linear and bool(np.isfinite(low).all() and np.isfinite(high).all())
    lines: dict[str, Lines] = {}
    for name, rows in graph.rows.items():
        progress.check()
        least, most = _interval(rows, known)
        if linear and lines and rows.matrix.shape[0] * columns <= MOST_ENTRIES:
            better = _pulled_back(graph, known, lines, rows, progress)
            least, most = np.maximum(least, better[0]), np.minimum(most, better[1])
        if name in graph.spans:
            op = graph.network[name].op
            assert isinstance(op, Choice)
            branches = None if taken is None else taken[name]
            least, most = restrict(op, least, most, branches)
            span = graph.spans[name]
            known.low[span], known.high[span] = image(op, least, most, branches)
            if linear:
                lines[name] = relax(op, least, most, branches)
        known.below[name], known.above[name] = least, most
        known.feasible &= bool((least <= most).all())
        if not known.feasible:
            break
    return known


def _interval(rows: Rows, known: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """Interval arithmetic for affine rows."""
    low, high = np.where(rows.used, known.low, 0.0), np.where(rows.used, known.high, 0.0)
    finite = rows.small and bool(np.isfinite(low).all() and np.isfinite(high).all())
    up, down = rows.dense[:2] if finite else rows.split
    g = gamma(rows.terms + 4)
    size = np.abs(rows.offset)
    with np.errstate(invalid="ignore"):
        least = up @ np.abs(low) + down @ np.abs(high) + size
        most = up @ np.abs(high) + down @ np.abs(low) + size
        below = up @ low - down @ high + rows.offset - g * least - TINY
        above = up @ high - down @ low + rows.offset + g * most + TINY
        lost = _lost(rows, np.maximum(np.abs(known.low), np.abs(known.high)))
        below, above = below - lost, above + lost
    plain = np.diff(rows.matrix.indptr) == 0  # constant rows are exact
    if rows.exact:
        below, above = np.where(plain, rows.offset, below), np.where(plain, rows.offset, above)
    return outward(below, above)


def outward(below: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds without NaN: where floats overflowed, nothing is known. A comparison with NaN would exclude everything."""
    return np.where(np.isnan(below), -np.inf, below), np.where(np.isnan(above), np.inf, above)


def _lost(rows: Rows, size: np.ndarray) -> np.ndarray:
    """How far the float rows may be from the exact ones, for sources of these sizes."""
    if rows.matrix_error is None or rows.offset_error is None:
        return np.zeros(len(rows.offset))
    return (rows.matrix_error @ size + rows.offset_error) * (1 + 1e-9) + TINY


# --- choices ------------------------------------------------------------------------------------------------------


def tables(op: Piecewise) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knots, slopes and intercepts of every flat unit, shapes (k, units) and (k + 1, units)."""
    out = []
    for table in (op.knots, op.slopes, op.intercepts):
        array = table.detach().cpu().numpy().astype(np.float64)
        lifted = array.reshape(len(array), *(1,) * (len(op.input_shape) - array.ndim + 1), *array.shape[1:])
        out.append(np.broadcast_to(lifted, (len(array), *op.input_shape)).reshape(len(array), -1))
    return out[0], out[1], out[2]


def restrict(
    op: Choice, below: np.ndarray, above: np.ndarray, branches: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the bounds of a choice's input down to the branches taken."""
    if branches is None or not isinstance(op, Piecewise):
        return below, above
    knots = tables(op)[0]
    padded = np.vstack([np.full(knots.shape[1], -np.inf), knots, np.full(knots.shape[1], np.inf)])
    units = np.flatnonzero(branches >= 0)
    below, above = below.copy(), above.copy()
    below[units] = np.maximum(below[units], padded[branches[units], units])
    above[units] = np.minimum(above[units], padded[branches[units] + 1, units])
    return below, above


def image(
    op: Choice, below: np.ndarray, above: np.ndarray, branches: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a choice's output from those of its input."""
    if isinstance(op, Piecewise):
        corners = _corner_values(op, below, above)
        return corners[1].min(0), corners[2].max(0)
    assert isinstance(op, MaxOver)
    index = op.index.cpu().numpy()
    low = np.where(index >= 0, below[index], -np.inf).max(1)
    high = np.where(index >= 0, above[index], -np.inf).max(1)
    if branches is not None:
        groups = np.flatnonzero(branches >= 0)
        high[groups] = np.minimum(high[groups], above[index[groups, branches[groups]]])
    return low, high


def _corner_values(op: Piecewise, below: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends and inner knots of every unit's interval, and lower and upper bounds of the function there."""
    knots, slopes, intercepts = tables(op)
    points = np.vstack([below, above, np.clip(knots, below, above)])
    level = (points[:, None] > knots[None]).sum(1)
    slope, shift = np.take_along_axis(slopes, level, 0), np.take_along_axis(intercepts, level, 0)
    with np.errstate(invalid="ignore"):
        product = np.where(slope == 0, 0.0, slope * points)
    value = product + shift
    exact = ((slope == 0) | (np.abs(slope) == 1)) & ((shift == 0) | (slope == 0))
    room = np.where(exact, 0.0, 4 * UNIT * (np.abs(product) + np.abs(shift)) + TINY)
    with np.errstate(invalid="ignore"):
        return points, *outward(value - room, value + room)


def possible(op: Choice, below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Which branches some input within the bounds takes, boolean, shape (branches, units of the output)."""
    if isinstance(op, Piecewise):
        knots = tables(op)[0]
        padded = np.vstack([np.full(knots.shape[1], -np.inf), knots, np.full(knots.shape[1], np.inf)])
        first = np.arange(len(knots) + 1)[:, None] == 0
        return ((above > padded[:-1]) | first) & (below <= padded[1:])
    assert isinstance(op, MaxOver)
    index = op.index.cpu().numpy()
    least = np.where(index >= 0, below[index], -np.inf)
    most = np.where(index >= 0, above[index], -np.inf)
    out = index >= 0
    for place in range(index.shape[1]):
        for other in range(index.shape[1]):
            if other < place:
                out[:, place] &= most[:, place] > least[:, other]
            elif other > place:
                out[:, place] &= most[:, place] >= least[:, other]
    return out.T


@dataclass(frozen=True, eq=False)
class Lines:
    """Affine functions below and above a choice's output: slope * z[source] + shift, output by output."""

    source: np.ndarray
    lower_slope: np.ndarray
    lower_shift: np.ndarray
    upper_slope: np.ndarray
    upper_shift: np.ndarray


def relax(op: Choice, below: np.ndarray, above: np.ndarray, branches: np.ndarray | None) -> Lines:
    """Lines that hold on the whole interval of every unit (bounded intervals)."""
    if isinstance(op, MaxOver):
        return _relax_max(op, below, above, branches)
    assert isinstance(op, Piecewise)
    _, slopes, _ = tables(op)
    points, least, most = _corner_values(op, below, above)
    width = above - below
    chord = np.where(width > 0, (most[1] - least[0]) / np.where(width > 0, width, 1.0), 0.0)
    middle = 0.5 * (below + above)
    candidates = np.vstack([slopes, chord[None]])
    sizes = np.abs(candidates[:, None] * points[None])
    room = 4 * UNIT * (sizes + np.abs(least) + np.abs(most)) + TINY
    products = candidates[:, None] * points[None]
    lower = (least[None] - products - room).min(1)
    upper = (most[None] - products + room).max(1)
    best = (candidates * middle + lower).argmax(0), (candidates * middle + upper).argmin(0)
    units = np.arange(len(below))
    return Lines(
        units, candidates[best[0], units], lower[best[0], units], candidates[best[1], units], upper[best[1], units]
    )


def _relax_max(op: MaxOver, below: np.ndarray, above: np.ndarray, branches: np.ndarray | None) -> Lines:
    index = op.index.cpu().numpy()
    low = np.where(index >= 0, below[index], -np.inf)
    high = np.where(index >= 0, above[index], -np.inf)
    winner = low.argmax(1)
    if branches is not None:
        winner = np.where(branches >= 0, branches, winner)
    groups = np.arange(len(index))
    others = np.where(np.arange(index.shape[1]) == winner[:, None], -np.inf, high).max(1)
    settled = others <= low[groups, winner]
    if branches is not None:
        settled |= branches >= 0
    top = high.max(1)
    ones = np.ones(len(index))
    return Lines(index[groups, winner], ones, 0 * ones, np.where(settled, 1.0, 0.0), np.where(settled, 0.0, top))


# --- linear bounds ------------------------------------------------------------------------------------------------


def _pulled_back(
    graph: Blocks, known: Bounds, lines: dict[str, Lines], rows: Rows, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of affine rows by lines of the choices, over the box of the input."""
    count, step = len(rows.offset), max(1, AT_ONCE // graph.columns)
    parts = []
    for start in range(0, max(count, 1), step):
        progress.check()
        parts.append(_some_pulled_back(graph, known, lines, rows, slice(start, min(start + step, count))))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _some_pulled_back(
    graph: Blocks, known: Bounds, lines: dict[str, Lines], rows: Rows, units: slice
) -> tuple[np.ndarray, np.ndarray]:
    f, shift, lost = forms_back(graph, known, lines, rows, units)
    span = graph.spans[INPUT]
    least, most = known.low[span], known.high[span]
    value = np.maximum(f, 0) @ least + np.minimum(f, 0) @ most + shift
    size = np.maximum(np.abs(least), np.abs(most))
    lost = lost + gamma(f.shape[1] + 8) * (np.abs(f) @ size + np.abs(shift))
    lower = value - lost * (1 + 1e-9) - TINY
    k = len(lower) // 2
    return outward(lower[:k], -lower[k:])


def forms_back(
    graph: Blocks, known: Bounds, lines: dict[str, Lines], rows: Rows, units: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear forms of the input below affine rows, nearest choice first (Zhang et al. 2018, CROWN).

    Returns
    -------
    f, shift, lost : ndarray, shapes (2 k, n), (2 k,), (2 k,)
        ``rows >= f x + shift - lost`` over the box, for the k rows and then their negatives; evaluating the form is not
        in `lost`.
    """
    matrix = rows.matrix[units].toarray()
    size = np.maximum(np.abs(known.low), np.abs(known.high))
    size = np.where(np.isfinite(size), size, 0.0)  # columns of later choices; nothing reads them yet
    forms = np.vstack([matrix, -matrix])
    shift = np.concatenate([rows.offset[units], -rows.offset[units]])
    lost = np.tile(_lost(rows, size)[units], 2)
    for name in reversed(list(lines)):
        span, line = graph.spans[name], lines[name]
        w = forms[:, span]
        if not w.any():
            continue
        below = graph.rows[name]
        positive = w > 0
        at = np.where(positive, line.lower_slope, line.upper_slope)
        part = np.where(positive, line.lower_shift, line.upper_shift)
        shift = shift + (w * part).sum(1)
        n = w.shape[1]
        product = w * at
        z_size = np.maximum(np.abs(known.below[name]), np.abs(known.above[name]))
        lost = (
            lost
            + gamma(n + 6) * (np.abs(w * part).sum(1) + np.abs(shift))
            + (gamma(4) * np.abs(product) @ z_size[line.source])
        )
        pulled = np.zeros((len(forms), below.matrix.shape[0]))
        if (line.source == np.arange(pulled.shape[1])[: len(line.source)]).all() and len(line.source) == pulled.shape[
            1
        ]:
            pulled = product
        else:
            np.add.at(pulled.T, line.source, product.T)
        forms = forms.copy()
        forms[:, span] = 0.0
        forms = forms + pulled @ below.quick
        reach = below.size @ size + np.abs(below.offset)
        shift = shift + pulled @ below.offset
        lost = lost + np.abs(pulled) @ (gamma(pulled.shape[1] + 8) * reach + _lost(below, size))
        lost = lost + gamma(4) * np.abs(forms) @ size
    return forms[:, graph.spans[INPUT]], shift, lost * (1 + 1e-9) + TINY
