"""Singular values of a Jacobian, and how many of them are proven not to be zero.

The Gram matrix of the smaller side gives the values above a thousandth of the largest with a relative error of about
eps cond^2, so 1e-11. Smaller ones come from the Gram matrix of the inverse of R in a QR decomposition, where they are
the large ones, as long as cond < 1e6; beyond that from a singular value decomposition of R.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from plica.analyses.spectrum.matrix import Jacobian
from plica.core.pattern import TINY, UNIT, gamma

GRAM_CONDITION = 1e3  # up to which the Gram matrix alone is used
INVERSE_CONDITION = 1e6  # up to which its inverse's is used too
RAISE = 1 + 1e-9


@dataclass(frozen=True, eq=False)
class Values:
    """Singular values of one matrix.

    Attributes
    ----------
    values : ndarray, shape (min(rows, columns),)
        Decreasing; those beyond the largest possible rank are 0.
    method : {"gram", "inverse", "svd", "zero"}
    gram : Tensor or None
        Of the smaller side.
    """

    values: np.ndarray
    method: str
    gram: Tensor | None = None


def singular_values(J: Jacobian, most: int, check: Callable[[], None] = lambda: None) -> Values:
    """Singular values of the rows kept.

    Parameters
    ----------
    J : Jacobian
    most : int
        A rank that it cannot exceed; values beyond it are zero.
    check : callable
        Called between the expensive steps; may raise to stop.
    """
    size = min(J.shape)
    most = min(most, size)
    if most == 0:
        return Values(np.zeros(size), "zero")
    gram = J.gram()
    check()
    if not bool(torch.isfinite(gram).all()) or float(gram.diagonal().amax()) == 0.0:
        return _plain(J, most, None)
    squares = torch.linalg.eigvalsh(gram).flip(0)[:most].clamp(min=0.0)
    if float(squares[-1]) * GRAM_CONDITION**2 > float(squares[0]) > TINY:
        return Values(_padded(squares.sqrt(), size), "gram", gram)
    check()
    if most < size:
        return _plain(J, most, gram)
    return _with_inverse(J, squares, gram, check)


def _plain(J: Jacobian, most: int, gram: Tensor | None, triangle: Tensor | None = None) -> Values:
    """By QR and a singular value decomposition."""
    R = J.triangle() if triangle is None else triangle
    size = min(J.shape)
    if not bool(torch.isfinite(R).all()):
        return Values(np.full(size, np.nan), "svd", gram)
    return Values(_padded(torch.linalg.svdvals(R)[:most], size), "svd", gram)


def _with_inverse(J: Jacobian, squares: Tensor, gram: Tensor, check: Callable[[], None]) -> Values:
    """Large values from the Gram matrix, small ones from that of the inverse, where the condition allows it."""
    R = J.triangle()
    diagonal = R.diagonal().abs()
    check()
    if float(diagonal.amin()) * INVERSE_CONDITION <= float(diagonal.amax()):  # a lower bound of the condition
        return _plain(J, len(R), gram, R)
    inverse = torch.linalg.solve_triangular(R, torch.eye(len(R), dtype=R.dtype, device=R.device), upper=True)
    reciprocal = torch.linalg.eigvalsh(inverse @ inverse.T)
    if float(reciprocal[-1] * squares[0]) > INVERSE_CONDITION**2:
        check()
        return _plain(J, len(R), gram, R)
    small = reciprocal.rsqrt()  # increasing eigenvalues of the inverse are decreasing values
    middle = squares[0].sqrt() * small[-1]  # where both are equally good
    return Values(torch.where(squares > middle, squares.sqrt(), small).cpu().numpy(), "inverse", gram)


def _padded(values: Tensor, size: int) -> np.ndarray:
    out = np.zeros(size)
    out[: len(values)] = values.cpu().numpy()
    return out


def rank_is_proven(J: Jacobian, gram: Tensor, rank: int, error: float) -> bool:
    """Whether a Cholesky decomposition proves that the exact Jacobian has at least this rank.

    Parameters
    ----------
    J : Jacobian
        Computed.
    gram : Tensor
        Of its smaller side, computed.
    rank : int
    error : float
        Bound of the 2-norm of computed minus exact Jacobian.

    Notes
    -----
    Some `rank` columns of M (all, or those that a pivoted Cholesky decomposition picks) have the Gram matrix H. If the
    Cholesky decomposition of H - t I in floats runs to its end, then H - t I has no eigenvalue below
    -gamma_(r+1) / (1 - gamma_(r+1)) trace (Rump, Verification of positive definiteness, BIT 2006). H itself is off by
    at most gamma_k |M|_F^2. With t above the sum of both and of error^2, the smallest singular value of the columns is
    larger than the error, and by Weyl's inequality the exact columns are independent.
    """
    if rank == 0:
        return True
    if not math.isfinite(error):
        return False
    part = gram if rank == len(gram) else _independent(gram, rank)
    trace = float(gram.diagonal().sum()) * RAISE
    products = gamma(max(J.shape) + len(J.blocks) + 4) * trace  # also for sums of partial sums
    steps = gamma(2 * rank + 8) * trace
    shift = (error**2 + products + steps + UNIT * trace * 4) * RAISE + TINY * max(J.shape)
    if not 0 < shift < trace:
        return False
    moved = part.clone()
    moved.diagonal().sub_(shift)
    return int(torch.linalg.cholesky_ex(moved).info) == 0


def _independent(gram: Tensor, rank: int) -> Tensor:
    """The part of a Gram matrix that belongs to well-independent columns."""
    _, pivots, _, _ = scipy.linalg.lapack.dpstrf(gram.cpu().numpy(), lower=1)
    pick = torch.from_numpy(pivots[:rank].astype(np.int64) - 1).to(gram.device)
    return gram[pick][:, pick]


def directions(J: Jacobian, gram: Tensor | None, rank: int, count: int, method: str) -> Tensor:
    """Right singular vectors of the largest and the smallest nonzero values, in the columns' order.

    Returns
    -------
    Tensor, shape (columns, 2 count)
        First those of the largest values, decreasing, then those of the smallest, decreasing. NaN where there are
        fewer than `count` values.
    """
    columns = J.shape[1]
    some = next((b.data for b in J.blocks), torch.zeros(0, dtype=torch.float64))
    out = some.new_full((columns, 2 * count), torch.nan)
    kept = min(count, rank)
    if kept == 0:
        return out
    pick = [*range(kept), *range(rank - kept, rank)]
    if method == "gram" and gram is not None:
        vectors = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, pick]
        found = J.tall() @ vectors if J.wide else vectors
    else:
        M = J.tall()
        found = torch.linalg.svd(M.T if J.wide else M, full_matrices=False).Vh[pick].T
    found = found / found.norm(dim=0)
    out[:, :kept] = found[:, :kept]
    out[:, 2 * count - kept :] = found[:, kept:]
    return out
