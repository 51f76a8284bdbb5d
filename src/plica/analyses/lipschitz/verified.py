"""Proven upper bounds of spectral norms, and proven lower bounds by explicit vectors.

The model of arithmetic is that of `plica.core.exact.floats`. Complex products are read as real ones of twice the
length, whose errors are at most sqrt(2) times as large: an index of gamma is tripled for complex matrices.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from plica.core.exact.floats import UNIT, gamma, norm, raised
from plica.core.pattern import direct_convolutions

SAFE = 2.0**400  # squared norms between 1/SAFE and SAFE: underflow stays far below one rounding error
EIGEN_SIZE = 512  # larger matrices: the largest eigenvalue by Lanczos


@runtime_checkable
class Linear(Protocol):
    """What the bounds need of an affine node."""

    @property
    def terms(self) -> int:
        """Roundings behind one output."""

    def apply(self, *v: Tensor) -> Tensor:
        """The linear part."""

    def magnitude(self) -> Linear:
        """The map with absolute entries."""


def index(count: int, blocks: Tensor) -> int:
    """Index of gamma for inner products of this length."""
    return 3 * count if blocks.is_complex() else count


def gram(blocks: Tensor) -> Tensor:
    """A A* or A* A, whichever is smaller, for matrices in the last two axes."""
    if blocks.shape[-2] <= blocks.shape[-1]:
        return blocks @ blocks.mH
    return blocks.mH @ blocks


def squared_norms(blocks: Tensor) -> Tensor:
    """Squared Frobenius norm of every matrix, not rounded outward."""
    blocks = blocks.resolve_conj()
    parts = torch.view_as_real(blocks).flatten(-3) if blocks.is_complex() else blocks.flatten(-2)
    return (parts * parts).sum(-1)


def norm_upper(blocks: Tensor, error: float = 0.0, *, products: Tensor | None = None, guess: float = 0.0) -> float:
    """Proven upper bound of the largest spectral norm of some matrices.

    Parameters
    ----------
    blocks : Tensor, shape (batch, p, q)
        float64 or complex128.
    error : float
        Bound on the Frobenius norm by which every matrix may differ from the one that is meant.
    products : Tensor, optional
        `gram` of the blocks, when already known.
    guess : float
        The largest eigenvalue of these, when already computed in floats; need not be right.

    Returns
    -------
    float
        Infinity where nothing is proven (entries not finite or out of range).

    Notes
    -----
    Proof. Let G be the computed Gram matrix of a block A, k x k of inner products of n terms, and t >= |A|_F^2. Then
    ``|G - A A*|_F <= gamma_n t``. The bound of the largest eigenvalue of G is that of `largest_eigenvalue`.
    """
    if not blocks.numel():
        return error
    products = gram(blocks) if products is None else products
    largest = float(products.diagonal(dim1=-2, dim2=-1).real.sum(-1).max())  # the largest squared Frobenius norm
    if largest == 0.0 and not bool((blocks != 0).any()):
        return error
    if not 1.0 / SAFE < largest < SAFE:
        return math.inf
    terms = blocks.shape[-2] * blocks.shape[-1]
    trace = raised(largest, 2 * terms + 8)
    rounding = raised(gamma(index(max(blocks.shape[-2:]), blocks) + 2) * trace, 2)
    top = largest_eigenvalue(products, guess)
    square = raised(top + rounding, 2)
    return float(raised(raised(math.sqrt(square), 2) + error, 1))


def largest_eigenvalue(matrices: Tensor, guess: float = 0.0) -> float:
    """Proven upper bound of the largest eigenvalue of some Hermitian matrices with nonnegative diagonal.

    Notes
    -----
    Proof. If the Cholesky factorisation of ``H = fl(tau I - G)`` ends with a finite factor R, then
    ``|R*R - H|_F <= gamma_{2k+4} tr H`` (Higham, Theorem 10.3, as in `plica.core.exact.floats`), ``tr H <= k tau`` for
    a nonnegative diagonal, and the diagonal of H rounds by at most u tau each (u (tau + max g)); so R*R >= 0 proves
    ``lambda_max(G) <= tau + gamma_{2k+8} k tau``. tau comes from eigenvalues in floats, which need not be right: it is
    raised until every factorisation ends. Only the lower triangle of G is read.
    """
    k = matrices.shape[-1]
    slack = gamma(index(2 * k + 12, matrices)) * k
    if slack > 0.1:
        return math.inf
    todo, tau, margin = matrices, 0.0, 4.0 * slack + 16 * UNIT
    for attempt in range(60):
        guess = _largest_guess(todo) if attempt or not guess > 0 else guess
        if not math.isfinite(guess):
            return math.inf
        if guess <= tau:  # the guess does not explain the failure
            margin *= 10.0
        tau = max(tau, guess) * (1.0 + margin)
        failed = [part[_fails(part, tau)] for part in todo.split(_chunk(todo))]
        todo = torch.cat(failed)
        if not len(todo):
            return float(raised(tau * (1.0 + slack), 4))
    return math.inf


def _chunk(matrices: Tensor) -> int:
    return max(1, 2**28 // max(matrices[0].numel() * matrices.element_size(), 1))


def _fails(matrices: Tensor, tau: float) -> Tensor:
    """Which matrices tau I - G have no Cholesky factor, boolean."""
    shifted = matrices.neg()
    shifted.diagonal(dim1=-2, dim2=-1).add_(tau)
    factor, info = torch.linalg.cholesky_ex(shifted)
    diagonal = factor.diagonal(dim1=-2, dim2=-1).real
    return (info != 0) | ~torch.isfinite(diagonal).all(-1)


def _largest_guess(matrices: Tensor) -> float:
    """Largest eigenvalue of the most promising matrix, in floats, without proof."""
    v = torch.ones(matrices.shape[-1], 1, dtype=matrices.dtype).expand(len(matrices), -1, 1)
    v = v + matrices[:, :, :1] / matrices.abs().amax().clamp(min=1e-300)
    for _ in range(6):
        v = matrices @ v
        v = v / torch.linalg.vector_norm(v, dim=-2, keepdim=True).clamp(min=1e-300)
    values = torch.linalg.vector_norm(matrices @ v, dim=(-2, -1))
    best = matrices[int(values.argmax())]
    if not bool(torch.isfinite(torch.view_as_real(best) if best.is_complex() else best).all()):
        return math.nan
    if len(best) <= EIGEN_SIZE:
        return float(torch.linalg.eigvalsh(best)[-1])
    return _lanczos_guess(best)


def _lanczos_guess(matrix: Tensor, steps: int = 48) -> float:
    """Largest eigenvalue by Lanczos with full reorthogonalisation."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(len(matrix), generator=generator, dtype=torch.float64).to(matrix.dtype)
    basis = [v / torch.linalg.vector_norm(v)]
    images = []
    for _ in range(steps):
        images.append(matrix @ basis[-1])
        V = torch.stack(basis)
        w = images[-1] - V.T @ (V.conj() @ images[-1])
        w = w - V.T @ (V.conj() @ w)
        size = float(torch.linalg.vector_norm(w))
        if size <= 1e-13 * float(torch.linalg.vector_norm(images[-1])):
            break
        basis.append(w / size)
    V, W = torch.stack(basis[: len(images)]), torch.stack(images)
    projected = V.conj() @ W.T
    return float(torch.linalg.eigvalsh((projected + projected.mH) / 2)[-1])


def gain(op: Linear, v: Tensor) -> float:
    """Proven lower bound of |A v| / |v|, and so of the norm of A.

    ``|fl(A v) - A v| <= gamma_terms |A| |v|`` entry by entry; the right side is evaluated by the node of absolute
    entries with as many roundings. Norms are rounded towards the lower bound. 0.0 where nothing is proven.
    """
    with direct_convolutions(), torch.no_grad():
        image = op.apply(v[None])
        spread = op.magnitude().apply(v.abs()[None])
    size = norm(v.numpy())
    error = raised(gamma(op.terms) * norm(spread.numpy()), op.terms + 2)
    flat = image.numpy().ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        value = math.sqrt(float(flat @ flat)) if np.isfinite(flat).all() else 0.0
    if not (1 / SAFE < size < SAFE and math.isfinite(value) and math.isfinite(error)):
        return 0.0
    return max(0.0, (value * (1.0 - gamma(flat.size + 8)) - error) / size * (1.0 - 8 * UNIT))
