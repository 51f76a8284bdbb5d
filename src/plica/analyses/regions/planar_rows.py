"""Values of many vertices, pushed from one choice node to the next, each with an error bound in the Euclidean norm.

A vertex carries one row per live value of the graph. Of a row y the engine knows ``|y - A(x')| <= error`` where A is
the affine map of any cell at the vertex and x' a point near the vertex (see `plica.analyses.regions.planar_kernels`).
An affine node multiplies the error by its spectral norm and adds its own rounding,
``gamma (| |A| | |y| + |b|)`` (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., s. 3.1, with
Cauchy-Schwarz); a choice node with its right branches is a diagonal or a selection and multiplies it by its norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
import torch

from plica.analyses.regions.planar_kernels import KAPPA, UNIT
from plica.analyses.regions.solid_stages import Stage
from plica.core.affine import Affine, Dense, Gather, Scale, evaluate, to_numpy
from plica.core.choice import MaxOver, Piecewise
from plica.core.network import INPUT, Network
from plica.core.pattern import direct_convolutions, gamma

SAFE = 1.0 + 1e-9  # covers the rounding of bounds that are themselves computed in floats
TINY = 1e-290  # covers underflow
DENSE_ENTRIES = 1 << 22  # up to this size a matrix is made dense for a sharp bound of its norm


@dataclass(frozen=True, eq=False)
class NodeBound:
    """Norms of an affine node.

    Attributes
    ----------
    spectral, absolute : tuple of float
        Upper bounds of |A| and of the norm of its absolute values, for every input.
    offset : float
        Norm of the bias.
    rounding : float
        Relative error of one output against ``|A| |x| + |b|``.
    row : ndarray, shape (size,), or None
        Euclidean norms of the rows, for a node with one input.
    bias : ndarray, shape (size,), or None
        Magnitude of the bias.
    """

    spectral: tuple[float, ...]
    absolute: tuple[float, ...]
    offset: float
    rounding: float
    row: np.ndarray | None
    bias: np.ndarray | None


def node_bound(op: Affine, out_shape: tuple[int, ...]) -> NodeBound:
    """Norms of one node; all are upper bounds."""
    size = math.prod(out_shape)
    bias = None
    if op.bias is not None:
        bias = np.abs(np.broadcast_to(to_numpy(op.bias), (1, *out_shape)).ravel())
    offset = 0.0 if bias is None else float(np.linalg.norm(bias)) * SAFE
    if isinstance(op, Gather) and op.index is None:
        return NodeBound((1.0,), (1.0,), offset, gamma(op.terms), None, None)
    if isinstance(op, Dense) and len(op.input_shape) == 1:
        matrices = [to_numpy(op.weight)]
    else:
        matrices = list(op.entries())
    if isinstance(op, Scale) and op.divisor is not None:
        divisor = np.broadcast_to(to_numpy(op.divisor), (1, *out_shape)).ravel()
        matrices = [sp.csr_array(sp.diags_array(1.0 / np.abs(divisor))) @ abs(matrices[0])]
    norms = [_norms(m) for m in matrices]
    row = None
    if len(matrices) == 1:
        M = matrices[0]
        square = (M * M).sum(axis=1) if isinstance(M, np.ndarray) else M.multiply(M).sum(axis=1)
        row = np.sqrt(np.asarray(square).ravel()) * SAFE
    rounding = gamma(2 * op.terms + 2) if op.terms else 0.0
    return NodeBound(
        tuple(s for s, _ in norms),
        tuple(a for _, a in norms),
        offset,
        rounding,
        row,
        bias if bias is not None else np.zeros(size),
    )


def _norms(M: np.ndarray | sp.csr_array) -> tuple[float, float]:
    """Upper bounds of the spectral norms of M and of |M|."""
    sizes = abs(M)
    by_sums = math.sqrt(float(sizes.sum(axis=0).max(initial=0.0)) * float(sizes.sum(axis=1).max(initial=0.0))) * SAFE
    flat = M if isinstance(M, np.ndarray) else M.data
    frobenius = float(np.linalg.norm(flat)) * SAFE
    absolute = min(by_sums, frobenius)
    if absolute == 0.0 or M.shape[0] * M.shape[1] > DENSE_ENTRIES:
        return absolute, absolute
    dense = M if isinstance(M, np.ndarray) else M.toarray()
    return min(absolute, spectral_norm(dense)), absolute


def spectral_norm(W: np.ndarray) -> float:
    """Upper bound of the largest singular value: |(W'W)^16| in the Frobenius norm, to the power 1/32.

    Every product carries a bound of its distance from the exact power: ``gamma_n |M|^2`` for the rounding and
    ``2 |M| d + d^2`` for the distance d of its factor. Larger than the norm by at most the factor n^(1/64).
    """
    scale = float(np.linalg.norm(W))
    if not 0 < scale < math.inf:
        return scale
    V = W / scale  # rounds once per entry: covered by SAFE below
    V = V if V.shape[0] >= V.shape[1] else V.T
    M = V.T @ V
    power = 2
    off = gamma(len(V) + 8) * 1.01  # |V|_F is 1
    for _ in range(4):
        size = float(np.linalg.norm(M)) * SAFE
        M = M @ M
        off = (2 * size * off + off * off + gamma(len(M) + 2) * size * size) * SAFE
        power *= 2
    total = (float(np.linalg.norm(M)) * SAFE + off) ** (1 / power)
    return total * scale * SAFE


@dataclass(eq=False)
class Rows:
    """Rows of some vertices: by name of the value, (vertices, size) floats, error and norm of each row."""

    values: dict[str, np.ndarray]
    error: dict[str, np.ndarray]
    norm: dict[str, np.ndarray]

    def put(self, name: str, values: np.ndarray, error: np.ndarray, norm: np.ndarray) -> None:
        """Set the rows of a value."""
        self.values[name], self.error[name], self.norm[name] = values, error, norm


@dataclass(frozen=True, eq=False)
class FormBound:
    """How far the forms of a stage may be off: ``row * base + offset`` at a vertex, ``row * reach`` per distance.

    Attributes
    ----------
    row, offset : ndarray, shape (forms,)
    reach : float
        Upper bound of the gradient is ``row * reach``.
    source : str
        The value whose error and norm are behind `base`.
    rounding : float
        ``base = error[source] + rounding * norm[source]``.
    """

    row: np.ndarray
    offset: np.ndarray
    reach: float
    source: str
    rounding: float


@dataclass(frozen=True, eq=False)
class Link:
    """The dense node between two rectified stages, where rows can be carried over the choice.

    Attributes
    ----------
    source, target : str
        The values before and after it.
    columns : ndarray, shape (inputs, outputs)
        Transposed weight.
    bound : tuple of float
        Spectral norm, norm of the absolute values, norm of the bias, rounding.
    """

    source: str
    target: str
    columns: np.ndarray
    bound: tuple[float, float, float, float]


@dataclass(eq=False)
class Pusher:
    """Pushes rows through the affine nodes of a stage; knows the norms of every node."""

    net: Network
    plan: tuple[Stage, ...]
    tail: tuple = ()
    nodes: dict[str, NodeBound] = field(default_factory=dict)
    reach: dict[str, float] = field(default_factory=dict)
    forms: list[FormBound] = field(default_factory=list)
    links: list[Link | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reach[INPUT] = 1.0
        for stage in self.plan:
            for node in stage.before:
                bound = self.nodes[node.name] = node_bound(node.op, node.shape)  # type: ignore[arg-type]
                self.reach[node.name] = SAFE * sum(
                    s * self.reach[i] for s, i in zip(bound.spectral, node.inputs, strict=True)
                )
            source = stage.node.inputs[0]
            self.reach[stage.node.name] = choice_norm(choice_of(stage)) * self.reach[source] * SAFE
            self.forms.append(self._form_bound(stage))
        self.links = [self._link(i) for i in range(len(self.plan))]
        for i, link in enumerate(self.links):
            if link is not None:
                self.forms[i + 1] = _for_carried(self.forms[i + 1], link)

    def _link(self, i: int) -> Link | None:
        """What is between stage i and the next, if that is one dense node and nothing else is kept."""
        if i + 1 == len(self.plan) or len(self.plan[i + 1].before) != 1:
            return None
        stage, after = self.plan[i], self.plan[i + 1]
        node = after.before[0]
        names = [INPUT, *(n.name for n in self.net.nodes)]
        if set(names[: names.index(after.node.name)]) & after.keep or not is_relu(stage.node.op):
            return None
        if not isinstance(node.op, Dense) or len(node.op.input_shape) != 1 or node.inputs != (stage.node.name,):
            return None
        if after.node.inputs[0] != node.name or stage.node.inputs[0] in stage.keep:
            return None
        n = self.nodes[node.name]
        columns = np.ascontiguousarray(to_numpy(node.op.weight).T)
        return Link(stage.node.name, node.name, columns, (n.spectral[0], n.absolute[0], n.offset, n.rounding))

    def _form_bound(self, stage: Stage) -> FormBound:
        """Bounds of the forms of a stage, unit by unit where the last node has a weight."""
        name = stage.node.inputs[0]
        size = math.prod(self.net.shape_of(name))
        before = {node.name: node for node in stage.before}
        walk = name
        while walk in before and _only_reshapes(before[walk].op):
            walk = before[walk].inputs[0]
        bound = self.nodes.get(walk)
        if walk in before and bound is not None and bound.row is not None and bound.bias is not None:
            source, rounding = before[walk].inputs[0], bound.rounding
            offset = np.where(bound.row > 0, bound.rounding * bound.bias + TINY, 0.0)  # a row of zeros rounds nothing
            row, reach = bound.row, self.reach[source]
        else:
            source, rounding, reach = name, 0.0, self.reach[name]
            row, offset = np.ones(size), np.full(size, TINY)
        return _of_forms(stage, FormBound(row * SAFE, offset * SAFE, reach, source, rounding))

    def push(self, rows: Rows, index: int) -> tuple[Rows, np.ndarray]:
        """Rows of the values that stage `index` and later nodes read, and the `base` of its forms' bounds."""
        stage = self.plan[index]
        values = {k: torch.from_numpy(v).reshape(len(v), *self.net.shape_of(k)) for k, v in rows.values.items()}
        error, norm = dict(rows.error), dict(rows.norm)
        with torch.no_grad(), direct_convolutions():
            for node in stage.before:
                op, bound = node.op, self.nodes[node.name]
                values[node.name] = _value(op, [values[i] for i in node.inputs])
                grown = _weighed(bound.spectral, [error[i] for i in node.inputs])
                size = _weighed(bound.absolute, [norm[i] for i in node.inputs]) + bound.offset
                error[node.name] = (grown + bound.rounding * size + TINY) * SAFE
                norm[node.name] = size * SAFE
        wanted = {stage.node.inputs[0], *stage.keep} - {stage.node.name}
        kept = [k for k in values if k in wanted]
        flat = {k: np.ascontiguousarray(values[k].flatten(1).numpy()) for k in kept}
        forms = self.forms[index]
        base = (error[forms.source] + forms.rounding * norm[forms.source]) * SAFE
        return Rows(flat, {k: error[k] for k in kept}, {k: norm[k] for k in kept}), base


def is_relu(op: object) -> bool:
    """Whether a node is max(., 0)."""
    if not isinstance(op, Piecewise) or len(op.knots) != 1 or bool((op.knots[0] != 0).any()):
        return False
    return bool((op.slopes[0] == 0).all() and (op.slopes[1] == 1).all() and (op.intercepts == 0).all())


def _for_carried(forms: FormBound, link: Link) -> FormBound:
    """Room in the bounds for what carried rows do to a bias (`planar_move`; sums of weights are below KAPPA)."""
    rounding, few = link.bound[3], UNIT * (len(link.columns) + 32)
    factor = KAPPA * (rounding + 2.0 * few) + few
    return replace(forms, offset=forms.offset * max(1.0, factor / rounding) * SAFE)


def _weighed(factors: tuple[float, ...], rows: list[np.ndarray]) -> np.ndarray:
    """Sum of rows with factors."""
    total = factors[0] * rows[0]
    for factor, row in zip(factors[1:], rows[1:], strict=True):
        total = total + factor * row
    return total


def _value(op, inputs: list[torch.Tensor]) -> torch.Tensor:
    """A v + bias; one call for the common case."""
    if isinstance(op, Dense) and op.bias is not None and inputs[0].ndim == 2:
        return torch.addmm(op.bias, inputs[0], op.weight.T)
    return evaluate(op, *inputs)


def _only_reshapes(op: object) -> bool:
    return isinstance(op, Gather) and op.index is None and op.bias is None


def choice_of(stage: Stage) -> Piecewise | MaxOver:
    """The stage's choice node."""
    op = stage.node.op
    assert isinstance(op, (Piecewise, MaxOver))
    return op


def choice_norm(op: Piecewise | MaxOver) -> float:
    """Upper bound of the norm of a choice node's linear part, whatever the branches."""
    if isinstance(op, Piecewise):
        return float(op.slopes.abs().max()) if op.slopes.numel() else 0.0
    members = to_numpy(op.index)
    times = np.bincount(members[members >= 0].ravel(), minlength=1)
    return math.sqrt(float(times.max(initial=0)))


def _of_forms(stage: Stage, units: FormBound) -> FormBound:
    """From bounds of units to bounds of forms (differences of units, or of a unit and a knot)."""
    row, offset = units.row[stage.plus], units.offset[stage.plus]
    pairs = stage.minus >= 0
    row = row + np.where(pairs, units.row[stage.minus], 0.0)
    offset = offset + np.where(pairs, units.offset[stage.minus], 0.0)
    return FormBound(row * SAFE, offset * SAFE, units.reach, units.source, units.rounding)
