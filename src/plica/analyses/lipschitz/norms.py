"""Lipschitz constants of single nodes in the Euclidean norm: brackets whose two ends are proven."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.analyses.lipschitz.fourier import enclosing_size, on_torus
from plica.analyses.lipschitz.search import stretched
from plica.analyses.lipschitz.verified import gain, norm_upper
from plica.core.affine import Affine, Concat, Dense, Gather, Scale, Sum
from plica.core.choice import Choice, MaxOver, Piecewise
from plica.core.conv import Conv, Transposed
from plica.core.exact.floats import UNIT, raised
from plica.core.progress import Progress

DENSE_SIDE = 3000  # smaller side of a matrix up to which its Gram matrix is built where the torus bound is loose
ENTRIES = 2**26  # of an unrolled operator at most


@dataclass(frozen=True)
class Bracket:
    """Proven bounds of a Lipschitz constant.

    Attributes
    ----------
    lower, upper : float
        Both proven; `lower` is 0 and `upper` infinite where nothing is.
    method : str
        How the bounds were found.
    """

    lower: float
    upper: float
    method: str

    @property
    def width(self) -> float:
        """(upper - lower) / upper; 0 for an exact zero."""
        if self.upper == 0.0:
            return 0.0
        return (self.upper - self.lower) / self.upper if math.isfinite(self.upper) else math.inf


@dataclass(frozen=True)
class Effort:
    """How much work a bracket may take: its largest relative width that needs no more work, and the budgets."""

    tolerance: float
    progress: Progress


def around(value: float, method: str, *, roundings: int = 0) -> Bracket:
    """Bracket of a number with this many roundings behind it; none: the number itself."""
    slack = (roundings + 2) * 2 * UNIT if roundings else 0.0
    return Bracket(max(0.0, value * (1.0 - slack)), value * (1.0 + slack), method)


def bracket(op: Any, input_shapes: tuple[tuple[int, ...], ...], effort: Effort) -> Bracket:
    """Bracket of a node of one input. Sums and concatenations are left to the graph: see `joint`.

    Parameters
    ----------
    op : Affine, Choice or Smooth
    input_shapes : tuple of shapes
    effort : Effort
    """
    if hasattr(op, "constant"):  # a smooth layer of a torch module, which knows its own
        return op.constant
    finite = all(bool(torch.isfinite(t).all()) for t in vars(op).values() if isinstance(t, Tensor) and t.numel())
    if not finite and not isinstance(op, Piecewise):
        return Bracket(0.0, math.inf, "weights that are NaN or infinite")
    for kind, rule in RULES.items():
        if isinstance(op, kind):
            return rule(op, effort)
    return _general(op, input_shapes[0], effort)


# -- choices ----------------------------------------------------------------------------------------------------------


def _piecewise(op: Piecewise, effort: Effort) -> Bracket:
    """Steepest slope: the Jacobian is diagonal."""
    slopes = op.slopes.abs()
    if not slopes.numel() or not math.prod(op.input_shape):
        return Bracket(0.0, 0.0, "empty")
    if not bool(torch.isfinite(slopes).all()):
        return Bracket(0.0, math.inf, "slopes that are NaN or infinite")
    return around(float(slopes.max()), "steepest slope")


def _maximum(op: MaxOver, effort: Effort) -> Bracket:
    """sqrt of the largest number of groups that share a unit.

    |max_g x - max_g y|^2 <= sum over the group of (x_i - y_i)^2, and a unit stands in that many sums. It is attained:
    raise one unit until it wins all its groups.
    """
    count = int(shared(op).max(initial=0))
    return around(math.sqrt(count), "overlap" if count > 1 else "disjoint groups", roundings=int(count > 1))


def shared(op: MaxOver) -> np.ndarray:
    """In how many groups every input unit stands, flat; a unit named twice in a group counts once."""
    index = np.sort(op.index.cpu().numpy(), axis=1)
    fresh = np.ones(index.shape, dtype=bool)
    fresh[:, 1:] = index[:, 1:] != index[:, :-1]
    return np.bincount(index[fresh & (index >= 0)], minlength=math.prod(op.input_shape))


# -- affine nodes -----------------------------------------------------------------------------------------------------


def _dense(op: Dense, effort: Effort) -> Bracket:
    """Cholesky factor of a shifted Gram matrix above, the best direction of a Lanczos search below."""
    if not op.weight.numel() or not math.prod(op.input_shape):
        return Bracket(0.0, 0.0, "empty")
    single = replace(op, input_shape=op.input_shape[-1:])
    upper = norm_upper(op.weight.detach().double().cpu()[None])
    lower = 0.0 if upper == 0.0 else best_gain(single, single.input_shape, effort)
    return Bracket(lower, upper, "matrix")


def _gather(op: Gather, effort: Effort) -> Bracket:
    """sqrt of the largest number of copies of an entry."""
    size = math.prod(op.input_shape)
    if op.index is None:
        return Bracket(float(size > 0), float(size > 0), "reshape")
    index = op.index.cpu().numpy().ravel()
    count = int(np.bincount(index[index >= 0], minlength=1).max(initial=0))
    return around(math.sqrt(count), "copies", roundings=int(count > 1))


def _scale(op: Scale, effort: Effort) -> Bracket:
    """Largest |factor / divisor|."""
    factor = op.factor.abs() if op.divisor is None else op.factor.abs() / op.divisor.abs()
    if not factor.numel() or not math.prod(op.input_shape):
        return Bracket(0.0, 0.0, "empty")
    largest = float(factor.max())
    if not math.isfinite(largest):
        return Bracket(0.0, math.inf, "factors that are NaN or infinite")
    return around(largest, "largest factor", roundings=int(op.divisor is not None))


def _transposed(op: Transposed, effort: Effort) -> Bracket:
    """As the node itself: a matrix and its transpose have the same norm."""
    return bracket(op.node, (op.node.input_shape,), effort)


def _conv(op: Conv, effort: Effort) -> Bracket:
    """Torus above, Lanczos below; the unrolled matrix where they are apart and it is small."""
    if not op.weight.numel() or not math.prod(op.shape(op.input_shape)) or not math.prod(op.input_shape):
        return Bracket(0.0, 0.0, "empty")
    op = replace(op, weight=op.weight.detach().double().cpu(), bias=None)
    upper = torus_upper(op, enclosing_size(op), effort)
    lower = 0.0 if upper == 0.0 else best_gain(op, op.input_shape, effort)
    found = Bracket(lower, upper, "torus")
    m, n = math.prod(op.shape(op.input_shape)), math.prod(op.input_shape)
    unrolled = 8 * max(m, n) * min(m, n)
    if (
        found.width > effort.tolerance
        and min(m, n) <= DENSE_SIDE
        and unrolled <= min(effort.progress.max_bytes, 8 * ENTRIES)
    ):
        exact = norm_upper(torch.from_numpy(op.entries()[0].toarray())[None])
        found = Bracket(lower, min(upper, exact), "matrix")
    return found


def torus_upper(op: Conv, size: tuple[int, ...], effort: Effort) -> float:
    """Proven upper bound of the norm of a circular convolution."""
    torus = on_torus(op, size)
    upper = 0.0
    for _, blocks in torus.blocks(effort.progress.max_bytes // 4):
        effort.progress.check()
        upper = max(upper, norm_upper(blocks.flatten(0, 1), torus.error))
    return upper


def _general(op: Affine, input_shape: tuple[int, ...], effort: Effort) -> Bracket:
    """Any other affine node of one input: by its exact sparse matrix."""
    (matrix,) = op.entries()
    if not matrix.nnz:
        return Bracket(0.0, 0.0, "zero")
    upper = norm_upper(torch.from_numpy(matrix.toarray())[None])
    return Bracket(best_gain(op, input_shape, effort), upper, "matrix")


def best_gain(op: Affine, input_shape: tuple[int, ...], effort: Effort) -> float:
    """Proven lower bound of a map's norm, by a search for the direction it stretches most."""
    accuracy = max(1e-12, min(1e-3 * effort.tolerance, 1e-4))
    return gain(op, stretched(op, input_shape, effort.progress, accuracy=accuracy))


RULES: dict[type, Callable[[Any, Effort], Bracket]] = {
    Piecewise: _piecewise,
    MaxOver: _maximum,
    Dense: _dense,
    Conv: _conv,
    Gather: _gather,
    Scale: _scale,
    Transposed: _transposed,
}


# -- several inputs ---------------------------------------------------------------------------------------------------


def joint(op: Any, own: Bracket, before: list[float]) -> float:
    """Upper bound of a value's Lipschitz constant from those of the values it reads.

    Parameters
    ----------
    op : Affine, Choice or Smooth
    own : Bracket
        The node's own.
    before : list of float
        Upper bounds for the node's inputs.
    """
    if isinstance(op, Sum):
        return _sum([raised(abs(c) * b, 1) for c, b in zip(op.coefficients, before, strict=True)])
    if isinstance(op, Concat):
        return float(raised(math.sqrt(_sum([raised(b * b, 1) for b in before])), 1))
    (constant,) = before
    return 0.0 if 0.0 in (own.upper, constant) else float(raised(own.upper * constant, 1))


def _sum(values: list[float]) -> float:
    return float(raised(math.fsum(values), 1))


def of_several(op: Sum | Concat) -> Bracket:
    """Bracket of a sum or concatenation as a map of all its inputs together: sqrt(sum c_i^2), and 1."""
    if isinstance(op, Concat):
        return Bracket(1.0, 1.0, "concatenation")
    size = math.sqrt(math.fsum(c * c for c in op.coefficients))
    return around(size, "sum", roundings=len(op.coefficients) + 2)


def is_choice(op: Any) -> bool:
    """Whether a node chooses between branches."""
    return isinstance(op, Choice)
