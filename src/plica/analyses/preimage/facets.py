"""How far an input is from the nearest facet of its piece."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plica.analyses.preimage.result import FacetResult
from plica.core.choice import Choice, Piecewise
from plica.core.network import INPUT, Network, Node
from plica.core.pattern import Pattern
from plica.core.piece import pull, push
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached

# A row this small against the layer's largest is a difference of equal units: no hyperplane of its own.
CONSTANT = 1e-12
HELD = 2**17  # float64 entries of the widest value of a chunk: larger chunks fall out of the processor's cache


def nearest_facet(
    net: Network, X: np.ndarray, layers: Sequence[str | int] | None = None, *, progress: Progress | None = None
) -> FacetResult:
    """Return the distance of every input to the nearest place where a choice of each layer changes.

    Parameters
    ----------
    net : Network
    X : array, shape (n, *input_shape)
    layers : sequence of str or int, optional
        Choice layers; all by default.
    progress : Progress, optional
        Budget and listener. When the time is up or the work is interrupted, the inputs done so far are returned.

    Returns
    -------
    FacetResult
        Distances in the Euclidean norm of the input space; the smallest over the layers is the distance to the
        nearest facet of the input's piece.

    Raises
    ------
    ArgumentError
        When a layer makes no choice.

    Notes
    -----
    A distance is the unit's height over its knot divided by the norm of its row of the piece's Jacobian. Cost per
    input: a linear pass per input dimension (or per unit of the first layer, where these are fewer) through the layers
    with many units, and a transposed pass per unit of the small layers behind them.
    """
    progress = progress or Progress()
    start = time.monotonic()
    names = _choice_names(net, layers)
    batch = net.as_batch(X)
    found: list[tuple[list[float], list[int]]] = []
    completeness = Completeness.COMPLETE
    try:
        plan = _plan(net, names, progress.max_bytes) if len(batch) and names else None
        for i in range(0, len(batch), plan.group if plan else 1):
            part = batch[i : i + plan.group] if plan else batch[i : i + 1]
            found.extend(_nearest(plan, part, names, progress) if plan else [([], [])])
            progress.report("nearest facets", len(found), len(batch))
    except BudgetReached:
        completeness = Completeness.BUDGET
    except KeyboardInterrupt:
        completeness = Completeness.INTERRUPTED
    shape = (len(found), len(names))
    return FacetResult(
        standing=Standing.NUMERICAL,
        completeness=completeness,
        header={"seconds": time.monotonic() - start},
        layers=names,
        distances=np.array([d for d, _ in found], dtype=np.float64).reshape(shape),
        units=np.array([u for _, u in found], dtype=np.int64).reshape(shape),
    )


def _choice_names(net: Network, layers: Sequence[str | int] | None) -> tuple[str, ...]:
    """Names of the layers asked for."""
    names = tuple(net.resolve(layer) for layer in (net.choices if layers is None else layers))
    for name in names:
        if name not in net.choices:
            raise ArgumentError(f"layer = {name!r} makes no choice; the choice layers are {', '.join(net.choices)}.")
    return names


@dataclass(frozen=True, eq=False)
class _Plan:
    """What all inputs share.

    Attributes
    ----------
    network : Network
        Up to the last layer asked for.
    pushed, pulled : tuple of str
        Layers whose rows are found column by column from the input, and row by row from the layer.
    shared : dict of Tensor
        Row norms of the layers that no choice precedes, shape (1, units).
    columns : dict of Tensor
        Values that no choice precedes, for directions that span the input space isometrically; shape (r, *shape).
    directions : int
        How many directions there are, r.
    width : int
        Entries of the widest value that is pushed, of one direction.
    group : int
        Inputs treated at once.
    """

    network: Network
    pushed: tuple[str, ...]
    pulled: tuple[str, ...]
    shared: dict[str, Tensor]
    columns: dict[str, Tensor]
    directions: int
    width: int
    group: int


def _plan(net: Network, names: Iterable[str], max_bytes: int) -> _Plan:
    """Decide which layers are pushed and which pulled, and push the part that no choice precedes once."""
    order = [name for name in net.choices if name in set(names)]
    net = Network(net.input_shape, tuple(_ancestors(net.nodes, order)), net.origin)
    linear = _linear_part(net)
    columns, directions = _columns(net, linear, max_bytes)
    shared = {
        name: columns[_read(net, name)].flatten(1).norm(dim=0)[None]
        for name in order
        if isinstance(net[name].op, Piecewise) and _read(net, name) in columns
    }
    none = torch.zeros(1, 0, dtype=torch.float64, device=net.device)
    shared |= {name: none for name in order if not net[name].op.faces}  # type: ignore[union-attr]
    order = [name for name in order if name not in shared]
    costs = []
    for split in range(len(order) + 1):
        forward = sum(_work(net, n) for n in _ancestors(net.nodes, order[:split]) if n.name not in columns)
        backward = sum(
            math.prod(net[name].shape) * sum(_work(net, n) for n in _ancestors(net.nodes, [name]))
            for name in order[split:]
        )
        costs.append(directions * forward + backward)
    split = int(np.argmin(costs))
    pushed = tuple(order[:split])
    widths = [math.prod(node.shape) for node in _ancestors(net.nodes, pushed) if node.name not in linear - set(columns)]
    width = max(widths, default=1)
    group = max(1, HELD // (directions * width)) if split == len(order) else 1
    return _Plan(net, pushed, tuple(order[split:]), shared, columns, directions, width, group)


def _ancestors(nodes: Sequence[Node], names: Iterable[str]) -> list[Node]:
    """The nodes that some values need, these included, in order."""
    needed, kept = set(names), []
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _work(net: Network, node: Node) -> int:
    """Multiplications of a node for one direction, about."""
    weight = getattr(node.op, "weight", getattr(getattr(node.op, "node", None), "weight", None))
    size = max(math.prod(node.shape), *(math.prod(net.shape_of(i)) for i in node.inputs))
    return size if weight is None else size * math.prod(weight.shape[1:])


def _linear_part(net: Network) -> set[str]:
    """Names of the values that no choice precedes."""
    linear = {INPUT}
    for node in net.nodes:
        if not isinstance(node.op, Choice) and linear.issuperset(node.inputs):
            linear.add(node.name)
    return linear


def _columns(net: Network, linear: set[str], max_bytes: int) -> tuple[dict[str, Tensor], int]:
    """Values of the linear part where the rest reads them, for an orthonormal basis of what they see of the input.

    Without values (the input's unit vectors are then pushed chunk by chunk) when these do not fit in a quarter of the
    budget. With few values against the inputs the triangular factor of the values' matrix stands for it.
    """
    rest = [node for node in net.nodes if node.name not in linear]
    frontier = sorted({name for node in rest for name in node.inputs if name in linear})
    n = math.prod(net.input_shape)
    sizes = [math.prod(net.shape_of(name)) for name in frontier]
    if 8 * n * sum(sizes) > max_bytes // 4:
        return {}, n
    part = Network(net.input_shape, tuple(node for node in net.nodes if node.name in linear), net.origin)
    joint = torch.empty(n, sum(sizes), dtype=torch.float64, device=net.device)
    chunk = max(1, HELD // max(sizes))
    for i in range(0, n, chunk):
        unit = torch.zeros(min(chunk, n - i), n, dtype=torch.float64, device=net.device)
        unit[:, i : i + len(unit)].fill_diagonal_(1.0)
        values = push(part, unit.reshape(-1, *net.input_shape))
        joint[i : i + len(unit)] = torch.cat([values[name].flatten(1) for name in frontier], 1)
    if sum(sizes) <= n // 2:  # worth a factorisation
        joint = torch.linalg.qr(joint, mode="r").R
    parts = joint.split(sizes, 1)
    return {name: part.reshape(-1, *net.shape_of(name)) for name, part in zip(frontier, parts, strict=True)}, len(joint)


def _nearest(plan: _Plan, x: Tensor, names: Sequence[str], progress: Progress) -> list[tuple[list[float], list[int]]]:
    """Per input and layer: distance to the nearest hyperplane of its margins, and the unit it belongs to."""
    net = plan.network
    with torch.no_grad():
        pattern = net.pattern(x)
        norms = plan.shared | _pushed_norms(plan, pattern, progress) | _pulled_norms(plan, pattern, progress)
        values = net.values(x, *{_read(net, name) for name in norms})
    best = {name: _smallest(net, name, pattern, values[_read(net, name)], norm) for name, norm in norms.items()}
    return [([best[n][0][i] for n in names], [best[n][1][i] for n in names]) for i in range(len(x))]


def _read(net: Network, choice: str) -> str:
    return net[choice].inputs[0]


def _smallest(net: Network, name: str, pattern: Pattern, z: Tensor, norm: Tensor) -> tuple[list[float], list[int]]:
    """Smallest distance of every input in a layer, and its unit; norms have shape (inputs, hyperplanes)."""
    op = net[name].op
    if not norm.shape[1]:
        return [math.inf] * len(z), [-1] * len(z)
    if isinstance(op, Piecewise):
        heights = torch.stack([(z - knot).abs().flatten(1) for knot in op.knots]).amin(0)
        per_unit = 1
    else:
        margins = op.margins(pattern.branches[name])  # type: ignore[union-attr]
        heights = margins.apply(z)
        heights = (heights if margins.bias is None else heights + margins.bias).clamp(min=0)
        per_unit = op.faces  # type: ignore[union-attr]
    real = norm > CONSTANT * norm.amax(1, keepdim=True)
    away, at = torch.where(real, heights / norm, torch.inf).min(1)
    unit = torch.where(away.isfinite(), torch.div(at, per_unit, rounding_mode="floor"), -1)
    return away.tolist(), unit.tolist()


def _pushed_norms(plan: _Plan, pattern: Pattern, progress: Progress) -> dict[str, Tensor]:
    """Row norms of the pushed layers, shape (inputs, hyperplanes)."""
    net, inputs = plan.network, len(pattern)
    chunk = plan.directions if plan.group > 1 else max(1, min(plan.directions, HELD // plan.width))
    if inputs > 1:  # every direction of every input is a row of its own
        pattern = Pattern({name: b.repeat_interleave(chunk, 0) for name, b in pattern.branches.items()})
    nodes = _ancestors(net.nodes, plan.pushed)
    frozen = Network(net.input_shape, tuple(n for n in nodes if n.name not in plan.columns), net.origin).freeze(pattern)
    margins = {
        name: net[name].op.margins(pattern.branches[name])  # type: ignore[union-attr]
        for name in plan.pushed
        if not isinstance(net[name].op, Piecewise)
    }
    total: dict[str, Tensor] = {}
    for start in _starts(plan, chunk) if plan.pushed else ():
        progress.check()
        values = {name: v if inputs == 1 else v.repeat(inputs, *(1,) * (v.ndim - 1)) for name, v in start.items()}
        for name, z in _reads(net, frozen.nodes, values, plan.pushed):
            rows = margins[name].apply(z) if name in margins else z.flatten(1)
            square = rows.reshape(inputs, -1, rows.shape[1]).square().sum(1)
            total[name] = total[name] + square if name in total else square
    return {name: square.sqrt() for name, square in total.items()}


def _starts(plan: _Plan, chunk: int) -> Iterator[dict[str, Tensor]]:
    """Values to start from, for all directions in chunks."""
    for i in range(0, plan.directions, chunk):
        if plan.columns:
            yield {name: v[i : i + chunk] for name, v in plan.columns.items()}
            continue
        rows = min(chunk, plan.directions - i)
        e = torch.zeros(rows, plan.directions, dtype=torch.float64, device=plan.network.device)
        e[:, i : i + rows].fill_diagonal_(1.0)
        yield {INPUT: e.reshape(rows, *plan.network.input_shape)}


def _reads(
    net: Network, nodes: Sequence[Node], values: dict[str, Tensor], choices: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Push values through frozen nodes and yield what each of the choices reads, freeing what is not needed."""
    last = {name: i for i, node in enumerate(nodes) for name in node.inputs}
    for i, node in enumerate(nodes):
        if any(name not in values for name in node.inputs):
            continue  # of the linear part, already pushed beyond it
        if node.name in choices:
            yield node.name, values[node.inputs[0]]
        values[node.name] = node.op.apply(*(values[name] for name in node.inputs))  # type: ignore[union-attr]
        for name in node.inputs:
            if last[name] == i:
                values.pop(name, None)


def _pulled_norms(plan: _Plan, pattern: Pattern, progress: Progress) -> dict[str, Tensor]:
    """Row norms of the pulled layers of one input, shape (1, hyperplanes)."""
    net, norms = plan.network, {}
    frozen = net.freeze(pattern) if plan.pulled else net
    for name in plan.pulled:
        op, read = net[name].op, _read(net, name)
        shape = net.shape_of(read)
        margins = None if isinstance(op, Piecewise) else op.margins(pattern.branches[name])  # type: ignore[union-attr]
        count = math.prod(shape) if margins is None else margins.shape(shape)[0]
        chunk = max(1, HELD // max(math.prod(net.shape_of(n.name)) for n in _ancestors(net.nodes, [name])))
        parts = []
        for i in range(0, count, chunk):
            progress.check()
            w = torch.zeros(min(chunk, count - i), count, dtype=torch.float64, device=net.device)
            w[:, i : i + len(w)].fill_diagonal_(1.0)
            w = w.reshape(-1, *shape) if margins is None else margins.adjoint(w)[0]
            parts.append(pull(frozen, {read: w}).flatten(1).norm(dim=1))
        norms[name] = torch.cat(parts)[None]
    return norms
