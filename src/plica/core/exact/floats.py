"""Verified float64 linear algebra: statements about the stored matrices with every rounding error accounted for.

The model of arithmetic (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., sections 2.2 and 3.1): each
operation rounds to nearest with relative error at most u = 2^-53, or has an absolute error of at most eta = 2^-1022
when its result underflows (flushed to zero or not). Sums run in any order, fused multiply-adds and a division by way of
the reciprocal (two roundings) are allowed; fast (Strassen-like) products are not, and no common BLAS uses them.

A bound that overflows becomes infinity, or the function returns "not proven"; neither is ever wrong.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import lapack

UNIT = 2.0**-53
TINY = 2.0**-1022
_SAFE = 2.0**900  # squared norms between 1/_SAFE and _SAFE keep underflow far below one rounding error


def gamma(n: int) -> float:
    """Upper bound of gamma_n = n u / (1 - n u), the relative error of n roundings.

    ``n u`` is exact; the difference and the quotient round once each, which the factor 1 + 8u covers.
    """
    return float("inf") if n * UNIT >= 0.5 else n * UNIT / (1.0 - n * UNIT) * (1.0 + 8.0 * UNIT)


def raised(value, roundings: int):
    """Upper bound of a nonnegative quantity computed from nonnegative numbers with this many roundings each.

    If computed >= (1 - gamma_k) exact, then exact <= computed (1 + gamma_{2k+4}): 1/(1 - gamma_k) <= 1 + gamma_{2k},
    and four more roundings cover the evaluation of this product. Underflow: k eta, and the product's own.
    """
    return value * (1.0 + gamma(2 * roundings + 4)) + (roundings + 2) * TINY


def row_norms(M: np.ndarray) -> np.ndarray:
    """Upper bounds of the Euclidean norms of the rows, shape (k,).

    A square sum of n terms has n roundings, the root one more (the root halves relative errors).
    """
    n = M.shape[1]
    return raised(np.sqrt(raised(np.einsum("ij,ij->i", M, M), n)), 2)


def norm(v: np.ndarray) -> float:
    """Upper bound of the Euclidean norm of all the entries (Frobenius norm of a matrix)."""
    flat = np.ravel(v)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(raised(math.sqrt(raised(float(flat @ flat), flat.size)), 2))


def product(C: np.ndarray, v: np.ndarray, norms: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Enclosure of ``C v``: the float product, and a radius per row.

    Parameters
    ----------
    C : ndarray, shape (p, n)
    v : ndarray, shape (n,)
    norms : ndarray, shape (p,), optional
        `row_norms` of C, when already known.

    Returns
    -------
    value, radius : ndarray, shape (p,)
        ``|C v - value| <= radius`` in exact arithmetic.

    Notes
    -----
    ``|fl(c'v) - c'v| <= gamma_n |c|'|v| <= gamma_n |c|_2 |v|_2`` (Higham, eq. 3.5, then Cauchy-Schwarz), plus n
    underflows; three roundings to evaluate the radius. Cost: one matrix-vector product.
    """
    n = C.shape[1]
    norms = row_norms(C) if norms is None else norms
    return C @ v, raised(gamma(n) * norms * norm(v), 3) + n * TINY


def combination(M: np.ndarray, x: np.ndarray, norms: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Enclosure of ``M' x``, a combination of rows: the float value, and a radius in the Euclidean norm.

    ``|fl(M'x) - M'x| <= gamma_k |M|'|x|`` entry by entry, and ``| |M|'|x| |_2 <= sum_i |m_i|_2 |x_i|``. Cost: one
    matrix-vector product and the row norms.
    """
    k, n = M.shape
    norms = row_norms(M) if norms is None else norms
    bulk = raised(float(norms @ np.abs(x)), k + 1)
    return M.T @ x, raised(gamma(k) * bulk, 2) + k * n * TINY


def smallest_singular_value(M: np.ndarray, gram: np.ndarray | None = None) -> float:
    """Proven lower bound of the smallest of the min(k, n) singular values of M; 0.0 when nothing is proven.

    A positive answer proves that the rows (k <= n) or the columns (k >= n) are linearly independent.

    Parameters
    ----------
    M : ndarray, shape (k, n)
        Finite. Rows of similar norm give the best bound: scale them first (by powers of two, exactly).
    gram : ndarray, shape (k, k), optional
        ``M @ M.T`` as floats gave it, for k <= n; overwritten. Rows of a larger product will do.

    Notes
    -----
    First by a Cholesky factor of the shifted Gram matrix, which works to condition numbers of about 1e6 and costs
    k^2 n + k^3/3; then by an approximate inverse, to about 1e13, at several times the cost.
    """
    if M.shape[0] > M.shape[1]:
        M, gram = M.T, None
    if not M.shape[0]:
        return float("inf")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _by_cholesky(M, M @ M.T if gram is None else gram) or _by_inverse(M)


def _by_cholesky(M: np.ndarray, gram: np.ndarray) -> float:
    """Bound from a Cholesky factor of ``H = fl(M M' - tau I)`` (after Rump, BIT 46 (2006) 433-452).

    Proof. Let t bound both |M|_F^2 and tr fl(M M'). (1) ``|fl(M M') - M M'|_F <= gamma_n t`` since entry (i, j) errs
    by at most gamma_n |m_i| |m_j|. (2) The shift rounds the diagonal: at most u t. (3) If the factorisation ends, its
    factor R has ``|R'R - H|_ij <= gamma_{k+2} (|R|'|R|)_ij <= gamma_{k+2} |r_i| |r_j|`` (Higham, Theorem 10.3; +2 for
    reciprocals) and ``|r_i|^2 <= h_ii / (1 - gamma_{k+2})``, so ``|R'R - H|_F <= gamma_{2k+4} tr H <= gamma_{2k+4} t``
    up to the factor 1 + u, and R'R >= 0. Together ``lambda_min(M M') >= tau - gamma_{n+2k+8} t`` (Higham, Lemma 3.3).
    Underflow adds at most k^2 (n + k + 4) eta (1 + sqrt t), below u t in the admitted range: two more in the index.
    """
    k, n = M.shape
    trace = raised(float(np.trace(gram)), n + k)
    error = raised(gamma(n + 2 * k + 10) * trace, 1)
    if not 1.0 / _SAFE < trace < _SAFE or error >= trace:
        return 0.0
    shift = 8.0 * error  # larger shifts give larger bounds, but fewer successes
    gram.flat[:: k + 1] -= shift
    factor, info = lapack.dpotrf(gram.T, lower=1, clean=0, overwrite_a=1)
    if info != 0 or not np.isfinite(np.diagonal(factor)).all():
        return 0.0
    return math.sqrt(6.0 * error)  # below sqrt(shift - error) = sqrt(7 error) by far more than its roundings


def _by_inverse(M: np.ndarray) -> float:
    """Bound from an approximate right inverse R: ``M R = I - E`` with ``|E|_2 <= |E|_F <= g < 1``.

    Proof. Then X = R (I - E)^-1 is a right inverse of M, so sigma_min(M) >= 1 / |X|_2 >= (1 - g) / |R|_F. The
    computed product errs by at most gamma_n |M|_F |R|_F in Frobenius norm, the subtraction of I by one rounding
    (included as gamma_{n+2}).
    """
    k, n = M.shape
    packed, tau, _, _ = lapack.dgeqrf(np.asfortranarray(M.T), lwork=64 * k)
    inverse, info = lapack.dtrtri(packed[:k, :k], lower=0)
    if info != 0 or not np.isfinite(inverse).all():
        return 0.0
    thin = lapack.dorgqr(packed, tau, lwork=64 * k)[0]
    right = thin @ np.triu(inverse).T
    size = norm(right)
    if not np.isfinite(size):
        return 0.0
    defect = M @ right
    defect.flat[:: k + 1] -= 1.0
    bound = raised(norm(defect) + gamma(n + 2) * (norm(M) * size + k), 6) + k * k * n * TINY
    return (1.0 - bound) / size * (1.0 - 8.0 * UNIT) if bound < 1.0 else 0.0


def solution_radius(residual: float, sigma: float) -> float:
    """Upper bound of ``|x - x~|_2`` from a residual and a bound of the smallest singular value.

    For a square regular M with sigma_min >= sigma > 0 and ``|b - M x~|_2 <= residual``:
    ``x - x~ = M^-1 (b - M x~)``. The same number bounds the distance of v to ker A when |A v|_2 <= residual and the
    rows of A are independent: ``v - A^+ (A v)`` lies in the kernel.
    """
    return float(raised(residual / sigma, 2))
