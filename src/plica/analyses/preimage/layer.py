"""One layer as a matrix: from its own input to the values its choices look at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from plica.core.affine import Affine, Gather, Scale
from plica.core.choice import Choice
from plica.core.conv import Transposed
from plica.core.network import INPUT, Network, Node
from plica.core.progress import DEFAULT_BYTES, refuse_above

ENTRY = 40  # bytes for one stored entry while a sparse matrix is built: value, row, column, and a copy
INSTEAD = "Raise max_bytes, or restrict the input: net.on(slice_)."


@dataclass(frozen=True, eq=False)
class LayerMatrix:
    """The linear part of the map from a layer's own input to its units, up to positive factors of the rows.

    Attributes
    ----------
    rows : csr_array, shape (units, inputs)
        Kinds and dimensions do not change when a row is multiplied by a positive factor.
    exact : bool
        Whether the entries are exact; else each is a rounded product of weights.
    sources : tuple of str
        The values the layer reads.
    """

    rows: sp.csr_array
    exact: bool
    sources: tuple[str, ...]

    def dense(self, max_bytes: int = DEFAULT_BYTES) -> np.ndarray:
        """The matrix as an array, shape (units, inputs)."""
        m, n = self.rows.shape
        refuse_above(max_bytes, 8 * m * n, f"The layer's matrix has {m} rows and {n} columns", INSTEAD)
        return self.rows.toarray()


def layer_matrix(net: Network, value: str, *, max_bytes: int = DEFAULT_BYTES) -> LayerMatrix:
    """Return the matrix of the affine map from the nearest choices (or the input) to a value.

    A scale at the end (batch normalisation, a division) only multiplies rows: its sign is kept, its size dropped, so
    that the rows stay exact. A product of two weight layers without a choice between is rounded, and said so.

    Raises
    ------
    MemoryBudgetError
        When a sparse matrix on the way does not fit in `max_bytes`; nothing of its size has been built then.
    """
    block, sources = net.block(value, "post")
    nodes = list(block.nodes)
    signs = np.ones(math.prod(block.output_shape))
    while len(nodes) > 1 and (factor := _row_signs(nodes[-1].op)) is not None:
        signs = signs * factor
        nodes.pop()
    matrices, exact = {INPUT: sp.eye_array(block.input_shape[0], format="csr")}, True
    for node in nodes:
        assert not isinstance(node.op, Choice)  # a block is affine
        _refuse(node, block, max_bytes)
        matrices[node.name], fine = _compose(node.op, [matrices[i] for i in node.inputs], max_bytes)
        exact = exact and fine
    rows = sp.csr_array(sp.diags_array(signs) @ matrices[nodes[-1].name])
    rows.eliminate_zeros()
    return LayerMatrix(rows, exact, sources)


def _row_signs(op: Affine | Choice) -> np.ndarray | None:
    """Signs by which a last node multiplies the rows; None when it does more than that."""
    if isinstance(op, Gather) and op.index is None:
        return np.ones(math.prod(op.output_shape))
    if isinstance(op, Scale):
        sign = op.factor.sign() if op.divisor is None else op.factor.sign() * op.divisor.sign()
        return np.broadcast_to(sign.cpu().numpy(), (1, *op.input_shape)).ravel()
    return None


def _refuse(node: Node, block: Network, max_bytes: int) -> None:
    """Refuse a node whose own sparse matrix does not fit, before it is built."""
    transposed = isinstance(node.op, Transposed)
    outputs = math.prod(block.shape_of(node.inputs[0]) if transposed else node.shape)
    weight = getattr(getattr(node.op, "node", node.op), "weight", None)
    entries = outputs * (len(node.inputs) if weight is None else math.prod(weight.shape[1:]))
    what = f"The matrix of node {node.name!r} has up to {entries} nonzero entries"
    refuse_above(max_bytes, ENTRY * entries, what, INSTEAD)


def _compose(op: Affine, inputs: list[sp.csr_array], max_bytes: int) -> tuple[sp.csr_array, bool]:
    """Matrix of a node after others, and whether its entries are exact."""
    total, exact = None, True
    for entries, before in zip(op.entries(), inputs, strict=True):
        terms = int(np.diff(before.indptr)[entries.indices].sum(dtype=np.int64))
        what = f"A product of two layers without a choice between has {terms} terms"
        refuse_above(max_bytes, ENTRY * terms, what, INSTEAD)
        product = sp.csr_array(entries @ before)
        fine = _product_is_exact(entries, before)
        total, fine_sum = (product, True) if total is None else _add(total, product)
        exact = exact and fine and fine_sum
    assert total is not None  # every node reads something
    if isinstance(op, Scale) and op.divisor is not None:
        divisor = np.broadcast_to(op.divisor.cpu().numpy(), (1, *op.input_shape)).ravel()
        total = sp.csr_array(sp.diags_array(1 / divisor) @ total)
        exact = exact and bool((np.abs(np.frexp(divisor)[0]) == 0.5).all())
    return total, exact


def _product_is_exact(left: sp.csr_array, right: sp.csr_array) -> bool:
    """Whether a sparse product rounds nothing: one factor is made of signs, and no two terms meet in one entry."""
    signs = any(bool((np.abs(m.data) == 1).all()) for m in (left, right))
    if not signs or not (left.nnz and right.nnz):
        return signs
    if int(np.diff(left.indptr).max()) == 1 or int(np.diff(right.tocsc().indptr).max()) == 1:
        return True  # one entry a row of the left, or a column of the right
    ones = [sp.csr_array((np.ones(len(m.data)), m.indices, m.indptr), shape=m.shape) for m in (left, right)]
    return bool((ones[0] @ ones[1]).max() <= 1)


def _add(a: sp.csr_array, b: sp.csr_array) -> tuple[sp.csr_array, bool]:
    """Sum, and whether it is exact: the rounding errors (Knuth's two-sum, itself exact) are all zero."""
    total = sp.csr_array(a + b)
    part = sp.csr_array(total - a)
    error = (a - (total - part)) + (b - part)
    return total, bool((error.data == 0).all())
