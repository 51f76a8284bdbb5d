"""One layer as a matrix: from its own input to the values its choices look at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from plica.core.affine import Affine, Gather, Scale
from plica.core.choice import Choice
from plica.core.network import INPUT, Network
from plica.core.progress import refuse_above


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

    def dense(self, max_bytes: int) -> np.ndarray:
        """The matrix as an array, shape (units, inputs)."""
        m, n = self.rows.shape
        refuse_above(
            max_bytes,
            8 * m * n,
            f"The layer's matrix has {m} rows and {n} columns",
            "Raise max_bytes, or restrict the input: net.on(slice_).",
        )
        return self.rows.toarray()


def layer_matrix(net: Network, value: str) -> LayerMatrix:
    """Return the matrix of the affine map from the nearest choices (or the input) to a value.

    A scale at the end (batch normalisation, a division) only multiplies rows: its sign is kept, its size dropped, so
    that the rows stay exact. A product of two weight layers without a choice between is rounded, and said so.
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
        matrices[node.name], fine = _compose(node.op, [matrices[i] for i in node.inputs])
        exact = exact and fine
    rows = sp.csr_array(sp.diags_array(signs) @ matrices[nodes[-1].name])
    rows.eliminate_zeros()
    return LayerMatrix(rows, exact, sources)


def _row_signs(op: Affine | Choice) -> np.ndarray | None:
    """Signs by which a last node multiplies the rows; None when it does more than that."""
    if isinstance(op, Gather) and op.index is None:
        return np.ones(math.prod(op.output_shape))
    if isinstance(op, Scale):
        factor = op.apply(op.factor.new_ones(1, *op.input_shape))
        if bool((factor != 0).all()):
            return np.sign(factor.cpu().numpy()).ravel()
    return None


def _compose(op: Affine, inputs: list[sp.csr_array]) -> tuple[sp.csr_array, bool]:
    """Matrix of a node after others, and whether its entries are exact."""
    parts, exact = [], True
    for entries, before in zip(op.entries(), inputs, strict=True):
        product = sp.csr_array(entries @ before)
        exact = exact and _exact_product(entries, before)
        parts.append(product)
    total = parts[0]
    for part in parts[1:]:
        overlap = abs(total).multiply(abs(part)).nnz
        exact = exact and overlap == 0
        total = sp.csr_array(total + part)
    if isinstance(op, Scale) and op.divisor is not None:
        divisor = np.broadcast_to(op.divisor.cpu().numpy(), (1, *op.input_shape)).ravel()
        total = sp.csr_array(sp.diags_array(1 / divisor) @ total)
        exact = exact and bool((np.abs(np.frexp(divisor)[0]) == 0.5).all())
    return total, exact


def _exact_product(left: sp.csr_array, right: sp.csr_array) -> bool:
    """Whether a sparse product rounds nothing: one factor is made of signs, and no two terms meet in one entry."""
    signs = any(len(m.data) == 0 or bool((np.abs(m.data) == 1).all()) for m in (left, right))
    if not signs:
        return False
    ones = [sp.csr_array((np.ones(len(m.data)), m.indices, m.indptr), shape=m.shape) for m in (left, right)]
    return bool((ones[0] @ ones[1]).max() <= 1) if left.nnz and right.nnz else True
