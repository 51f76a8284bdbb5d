"""A network as rows over its sources: the input and the outputs of its choices, with proven rounding errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from plica.core.affine import Affine, Scale
from plica.core.choice import Choice
from plica.core.exact.floats import gamma
from plica.core.network import INPUT, Network
from plica.core.progress import DEFAULT_BYTES, refuse_above

FINAL = ""  # key of the value's own rows, which may be those of a choice's output
DENSE = 100_000  # entries up to which a matrix is multiplied dense
ENTRY = 40  # bytes of a stored entry while a sparse matrix is built


@dataclass(frozen=True, eq=False)
class Rows:
    """A value as affine rows of all sources: ``matrix @ sources + offset``.

    Attributes
    ----------
    matrix : csr_array, shape (units, columns)
    offset : ndarray, shape (units,)
    matrix_error, offset_error
        Bounds, entry by entry, on the distance from the exact rows; None where they are exact.
    """

    matrix: sp.csr_array
    offset: np.ndarray
    matrix_error: sp.csr_array | None = None
    offset_error: np.ndarray | None = None

    @property
    def exact(self) -> bool:
        """Whether nothing was rounded."""
        return self.matrix_error is None

    @cached_property
    def small(self) -> bool:
        """Whether the matrix is multiplied dense."""
        return self.matrix.shape[0] * self.matrix.shape[1] <= DENSE

    @cached_property
    def used(self) -> np.ndarray:
        """Columns with an entry."""
        out = np.zeros(self.matrix.shape[1], dtype=bool)
        out[self.matrix.indices] = True
        return out

    @cached_property
    def terms(self) -> int:
        """Most entries of a row."""
        return int(np.diff(self.matrix.indptr).max(initial=0))

    @cached_property
    def split(self) -> tuple[sp.csr_array, sp.csr_array]:
        """Positive and negative part, without stored zeros (which would meet infinities)."""
        parts = sp.csr_array(self.matrix.maximum(0)), sp.csr_array((-self.matrix).maximum(0))
        for part in parts:
            part.eliminate_zeros()
        return parts

    @cached_property
    def dense(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positive part, negative part and sizes, of a small matrix."""
        full = self.matrix.toarray()
        return np.maximum(full, 0), np.maximum(-full, 0), np.abs(full)

    @cached_property
    def quick(self) -> np.ndarray | sp.csr_array:
        """The matrix, dense where small."""
        return self.matrix.toarray() if self.small else self.matrix

    @cached_property
    def size(self) -> np.ndarray | sp.csr_array:
        """Sizes of the entries, dense where small."""
        return self.dense[2] if self.small else sp.csr_array(abs(self.matrix))


@dataclass(frozen=True, eq=False)
class Blocks:
    """The rows of what every choice reads, and of one more value.

    Attributes
    ----------
    network : Network
        Up to the value.
    spans : dict of slice
        Columns of every source, in order: the input, then the outputs of the choices.
    rows : dict of Rows
        By the choice's name; by `FINAL` for the value.
    value : str
    """

    network: Network
    spans: dict[str, slice]
    rows: dict[str, Rows]
    value: str

    @property
    def columns(self) -> int:
        """Number of source columns."""
        return max(span.stop for span in self.spans.values())

    @property
    def exact(self) -> bool:
        """Whether all rows are."""
        return all(rows.exact for rows in self.rows.values())


def blocks(net: Network, value: str, *, max_bytes: int = DEFAULT_BYTES) -> Blocks:
    """Write every choice's input, and a value, as rows over the input and the earlier choices' outputs.

    Raises
    ------
    MemoryBudgetError
        When a matrix does not fit.
    """
    part = net.upto(value)
    spans, start = {}, 0
    for name, shape in [(INPUT, part.input_shape)] + [(n.name, n.shape) for n in part.nodes if _chooses(n.op)]:
        spans[name] = slice(start, start + math.prod(shape))
        start = spans[name].stop
    known, rows = {INPUT: _source(spans[INPUT], start)}, {}
    for node in part.nodes:
        inputs = [known[name] for name in node.inputs]
        if isinstance(node.op, Choice):
            rows[node.name] = inputs[0]
            known[node.name] = _source(spans[node.name], start)
        else:
            known[node.name] = _compose(node.op, math.prod(node.shape), inputs, max_bytes)
    rows[FINAL] = known[value]
    return Blocks(part, spans, rows, value)


def _chooses(op: Affine | Choice) -> bool:
    return isinstance(op, Choice)


def _source(span: slice, columns: int) -> Rows:
    units = span.stop - span.start
    data = (np.ones(units), np.arange(span.start, span.stop), np.arange(units + 1))
    return Rows(sp.csr_array(data, shape=(units, columns)), np.zeros(units))


def _compose(op: Affine, units: int, inputs: list[Rows], max_bytes: int) -> Rows:
    """Rows of an affine node, from those of its inputs."""
    parts = op.entries()
    terms = sum(int(np.diff(r.matrix.indptr)[p.indices].sum()) for p, r in zip(parts, inputs, strict=True))
    refuse_above(
        max_bytes, ENTRY * terms, f"The rows of a layer have up to {terms} terms", "Restrict the input: net.on(slice_)."
    )
    factor = _divisor(op, units)
    bias = _bias(op, units)
    lifted = [_lift(r.matrix, r.offset) for r in inputs]
    total = _sum([sp.csr_array(p @ m) for p, m in zip(parts, lifted, strict=True)])
    counts = _sum([_ones(p) @ _ones(m) for p, m in zip(parts, lifted, strict=True)])
    plain = all(_signs(p) or _signs(m) for p, m in zip(parts, lifted, strict=True))
    exact = plain and (counts.data <= 1).all() and all(r.exact for r in inputs)
    constants = total[:, [-1]].toarray().ravel()
    exact = bool(exact and not ((constants != 0) & (bias != 0)).any() and factor is None)
    scale = np.ones(units) if factor is None else 1.0 / factor
    total = sp.csr_array(sp.diags_array(scale) @ total)
    offset = total[:, [-1]].toarray().ravel() + bias
    matrix = sp.csr_array(total[:, :-1])
    matrix.eliminate_zeros()
    if exact:
        return Rows(matrix, offset)
    g = gamma(int(np.diff(sp.csr_array(_sum([abs(p) for p in parts])).indptr).max(initial=0)) * len(parts) + 8)
    size = _sum([sp.csr_array(abs(p) @ abs(m)) for p, m in zip(parts, lifted, strict=True)])
    inherited = [
        sp.csr_array(abs(p) @ _lift(r.matrix_error, r.offset_error))
        for p, r in zip(parts, inputs, strict=True)
        if r.matrix_error is not None and r.offset_error is not None
    ]
    error = sp.csr_array(sp.diags_array(np.abs(scale)) @ (g * size + (1 + g) * _sum([*inherited, 0 * size])))
    offset_error = error[:, [-1]].toarray().ravel() + g * np.abs(bias)
    return Rows(matrix, offset, sp.csr_array(error[:, :-1]), offset_error * (1 + 1e-9))


def _lift(matrix: sp.csr_array, offset: np.ndarray) -> sp.csr_array:
    """The constant as a last column."""
    return sp.csr_array(sp.hstack([matrix, sp.csr_array(offset[:, None])], format="csr"))


def _sum(parts: list[sp.csr_array]) -> sp.csr_array:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return sp.csr_array(total)


def _ones(m: sp.csr_array) -> sp.csr_array:
    return sp.csr_array((np.ones(len(m.data)), m.indices, m.indptr), shape=m.shape)


def _signs(m: sp.csr_array) -> bool:
    return bool((np.abs(m.data) == 1).all())


def _divisor(op: Affine, units: int) -> np.ndarray | None:
    if not isinstance(op, Scale) or op.divisor is None:
        return None
    return np.broadcast_to(op.divisor.detach().cpu().numpy(), (1, *op.input_shape)).reshape(units)


def _bias(op: Affine, units: int) -> np.ndarray:
    if op.bias is None:
        return np.zeros(units)
    shape = op.shape(*_input_shapes(op))
    return np.broadcast_to(op.bias.detach().cpu().numpy(), (1, *shape)).reshape(units).astype(np.float64)


def _input_shapes(op: Affine) -> tuple[tuple[int, ...], ...]:
    """Shapes of the inputs that a node was made for."""
    if hasattr(op, "input_shapes"):
        return op.input_shapes
    if hasattr(op, "node"):
        inner = op.node
        return (inner.shape(inner.input_shape),)
    return (op.input_shape,)  # type: ignore[attr-defined]
