"""Inputs at which a unit has exactly one value, on different pieces (Montúfar et al. 2014, section 2.6, Fig. 10)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from plica.analyses.units.result import EqualActivationResult
from plica.core.affine import Gather
from plica.core.exact import columns as exact
from plica.core.network import Graph, Network
from plica.core.piece import pull
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached

STEPS = 100  # Newton steps from one input
WIDTHS = [2.0**-k for k in range(40, 12, -4)]  # half the length of the segment around a point, relative to its size


@dataclass(frozen=True, eq=False)
class _Found:
    """One point and its certificate; tensors without batch axis."""

    source: int
    point: Tensor
    gradient: Tensor
    low: Tensor
    high: Tensor
    share: Fraction
    error: float


def equal_activation(
    net: Network,
    X: npt.ArrayLike | Tensor,
    *,
    layer: str | int,
    unit: int,
    level: float | None = None,
    count: int = 3,
    side: str = "post",
    progress: Progress | None = None,
) -> EqualActivationResult:
    """Find inputs on different pieces at which a unit has exactly the same value.

    Parameters
    ----------
    net : Network
        With a box of allowed inputs (``net.within``) the points stay in it.
    X : array, shape (n, *input_shape)
        Where to start: the inputs whose value is nearest to the level, on different pieces, one after the other.
    layer : str or int
    unit : int
        Flat index.
    level : float, optional
        The value; by default the median of the unit's positive values on X.
    count : int
        How many points.
    side : {"post", "pre"}
    progress : Progress, optional

    Returns
    -------
    EqualActivationResult
        CERTIFIED: for each point the ends of a segment on one piece, with the unit's exact values on both sides of
        the level, and the exact share of the segment at which it is the level. Points are printed rounded; the exact
        ones are `exact_point`.

    Raises
    ------
    ArgumentError
        When the layer has no such unit, or the unit is positive at no input and no level is given.

    Notes
    -----
    Newton steps along the unit's map, x + (level - f(x)) u / |u|^2 (the search of the paper), within the box. On the
    piece where they end, the map is affine, so two exact evaluations give the point as a fraction of a segment. Cost: a
    few passes per step; two passes in big integers per point.
    """
    start, progress = time.monotonic(), progress or Progress()
    part = _single(net, layer, side, unit)
    batch = part.as_batch(X if isinstance(X, Tensor) else np.asarray(X, dtype=np.float64))
    with torch.no_grad():
        values = part(batch)[:, 0]
    if level is None:
        positive = values[values > 0]
        if not len(positive):
            raise ArgumentError(f"unit {unit} of {layer!r} is positive at none of {len(batch)} inputs; give a level.")
        level = float(positive.sort().values[len(positive) // 2])
    found, state = [], Completeness.COMPLETE
    try:
        for point in _points(part, batch, values, float(level), progress):
            found.append(point)
            if len(found) == count:
                break
    except (BudgetReached, KeyboardInterrupt) as stop:
        state = Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    reason = "" if len(found) >= count else f"{len(found)} of {count} points: "
    if reason:
        done = state is Completeness.COMPLETE
        reason += "no more inputs lead to the level on a new piece" if done else "the search was stopped"
    return EqualActivationResult(
        standing=Standing.CERTIFIED,
        completeness=state,
        header={"seconds": time.monotonic() - start},
        layer=net.resolve(layer, side),
        unit=int(unit),
        level=float(level),
        sources=np.array([f.source for f in found], dtype=np.int64),
        before=values[[f.source for f in found]].cpu().numpy(),
        **_arrays(found, batch),
        reason=reason,
    )


def _arrays(found: list[_Found], batch: Tensor) -> dict[str, np.ndarray]:
    """Fields of the result, stacked."""

    def stack(name: str) -> np.ndarray:
        rows = [getattr(f, name) for f in found]
        return (torch.stack(rows) if rows else batch[:0]).cpu().numpy()

    moved = [float((f.point - batch[f.source]).norm()) for f in found]
    return {
        "points": stack("point"),
        "maps": stack("gradient"),
        "low": stack("low"),
        "high": stack("high"),
        "shares": np.array([_digits(f.share) for f in found], dtype=object),
        "errors": np.array([f.error for f in found]),
        "distances": np.array(moved),
    }


def _digits(share: Fraction) -> str:
    """A fraction as text; flint writes numbers of any length."""
    from flint import fmpz

    return f"{fmpz(share.numerator)}/{fmpz(share.denominator)}"


def _single(net: Network, layer: str | int, side: str, unit: int) -> Network:
    """The network that ends in one unit."""
    part = net.upto(layer, side)
    size = int(np.prod(part.output_shape))
    if not 0 <= unit < size:
        raise ArgumentError(f"unit = {unit}: {part.output!r} has the units 0 to {size - 1}.")
    graph = Graph(part.input_shape)
    for node in part.nodes:
        graph.add(node.name, node.op, *node.inputs)
    index = torch.tensor([unit], device=net.device)
    graph.add("unit", Gather(index, part.output_shape, (1,)), part.output)
    out = graph.network(origin=net.origin)
    return out if net.box is None else out.within(net.box)


def _points(part: Network, batch: Tensor, values: Tensor, level: float, progress: Progress) -> Iterator[_Found]:
    """Points from the inputs nearest in value, each on another piece than those before."""
    seen: set[bytes] = set()
    order = (values - level).abs().argsort(stable=True).tolist()
    for source in progress.over(order, "equal activation", total=len(order)):
        x = _newton(part, batch[source], level)
        if x is None:
            continue
        key = part.pattern(x[None]).keys()[0]
        if key in seen:
            continue
        found = _certified(part, x, source, level)
        if found is not None:
            seen.add(key)
            yield found


def _gradient(part: Network, x: Tensor) -> tuple[Tensor, float]:
    """Map of the unit on the piece of x, and its value at x."""
    with torch.no_grad():
        frozen = part.freeze(part.pattern(x[None]))
        u = pull(frozen, {part.output: torch.ones(1, 1, dtype=part.dtype, device=part.device)})[0]
        return u, float(part(x[None])[0, 0])


def _limits(part: Network, x: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds of the box in the shape of one input."""
    if part.box is None:
        return torch.full_like(x, -torch.inf), torch.full_like(x, torch.inf)
    low, high = (torch.from_numpy(v.copy()).to(x).reshape(x.shape) for v in (part.box.lower, part.box.upper))
    return low, high


def _newton(part: Network, start: Tensor, level: float) -> Tensor | None:
    """A point whose float value is the level up to rounding; None where the steps do not lead there."""
    low, high = _limits(part, start)
    x = start.clamp(low, high)
    for _ in range(STEPS):
        u, value = _gradient(part, x)
        gap = level - value
        free = torch.where(gap * u > 0, x < high, x > low)  # coordinates that the step does not push out of the box
        u = torch.where(free, u, 0.0)
        square = float(u.square().sum())
        if abs(gap) <= 1e-12 * (abs(level) + float((u.abs() * x.abs()).sum())):
            return x
        if square == 0.0:
            return None
        x = (x + gap / square * u).clamp(low, high)
    return None


def _certified(part: Network, x: Tensor, source: int, level: float) -> _Found | None:
    """A segment through the point on one piece, with exact values of the unit at its ends around the level."""
    u, _ = _gradient(part, x)
    low, high = _limits(part, x)
    size = max(float(x.abs().max()), 1.0)
    for width in WIDTHS:
        reach = width * size
        inside = (x - reach >= low) & (x + reach <= high)
        step = torch.where(inside, u, 0.0)
        largest = float(step.abs().max())
        if largest == 0.0:
            return None
        ends = torch.stack([x - reach / largest * step, x + reach / largest * step])
        keys = part.pattern(torch.cat([ends, x[None]])).keys()
        if len(set(keys)) > 1:
            return None  # a border passes through the segment, and shorter ones were too short
        a, b = (_exact_value(part, end) for end in ends)
        if a <= Fraction(level) <= b and a < b:
            share = (Fraction(level) - a) / (b - a)
            point = ends[0] + float(share) * (ends[1] - ends[0])
            with torch.no_grad():
                error = float(part(point[None])[0, 0]) - level
            return _Found(source, point, u, ends[0], ends[1], share, error)
    return None


def _exact_value(part: Network, x: Tensor) -> Fraction:
    """The unit's value in exact arithmetic."""
    values, _ = exact.forward(part.nodes, exact.Columns.of(x.cpu().numpy()))
    return values[part.output].entry(0)
