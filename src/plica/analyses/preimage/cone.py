"""Is the cone {v : E v = 0, F v <= 0} a point, or solid? Nonnegative least squares proposes, proven bounds decide.

Stiemke's alternative (Behrmann et al. 2018, Theorem 11): with B the rows of F on ker E, either B z <= 0 and B z != 0
for some z, or y'B = 0 for some y > 0. With c = B'1 and l* = argmin |B'l + c| over l >= 0, the residual r = B'(1 + l*)
decides which: r = 0 gives y = 1 + l* >= 1, and otherwise z = -r, since the optimality conditions are B r >= 0 and
1'B r = |r|^2 > 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import lapack

from plica.core.exact import floats
from plica.core.result import Standing
from plica.core.solve import nnls
from plica.errors import SolverError

SMALL_RESIDUAL = 1e-7  # |r| below this share of |c| is taken for zero first; only a proposal, never a proof

NEARLY_ZERO = 1e-3  # values of rows on a unit direction that are pushed further down; only for proposals


@dataclass(frozen=True)
class ConeProof:
    """What is proven about a cone.

    Attributes
    ----------
    dimension : int
        Dimension of its linear hull; 0 is the point {0}.
    standing : Standing
        RIGOROUS (floats with bounds) or CERTIFIED (integers).
    reason : str
        How, as the end of a sentence.
    certificate : dict
        Plain data; row numbers refer to the layer's matrix.
    """

    dimension: int
    standing: Standing
    reason: str
    certificate: dict[str, Any]


@dataclass(frozen=True)
class Cone:
    """{v : rows[equal] v = 0, rows[below] v <= 0}, the equality rows proven independent.

    Attributes
    ----------
    rows : ndarray, shape (m, n)
        The layer's matrix with rows of similar size.
    norms : ndarray, shape (m,)
        Upper bounds of the row norms.
    equal, below : ndarray of int
        Row numbers.
    sigma : float
        Proven lower bound of the smallest singular value of the equality rows.
    """

    rows: np.ndarray
    norms: np.ndarray
    equal: np.ndarray
    below: np.ndarray
    sigma: float

    @property
    def codimension(self) -> int:
        """Dimension of the kernel of the equality rows."""
        return self.rows.shape[1] - len(self.equal)

    def facing(self, below: np.ndarray) -> Cone:
        """The cone with other inequality rows."""
        return replace(self, below=below)


@dataclass(frozen=True)
class Proposal:
    """A float answer: multipliers y >= 1 of the inequality rows, and what they leave.

    ``residual`` is B'y in the coordinates of ``kernel``, an orthonormal basis of the kernel of the equality rows.
    """

    kernel: np.ndarray
    reduced: np.ndarray
    multipliers: np.ndarray
    residual: np.ndarray
    packed: tuple[np.ndarray, np.ndarray]

    @property
    def is_small(self) -> bool:
        """Whether the residual looks like zero."""
        return bool(np.linalg.norm(self.residual) <= SMALL_RESIDUAL * np.linalg.norm(self.reduced.sum(0)))

    @property
    def support(self) -> np.ndarray:
        """Inequality rows with a multiplier above 1: linearly independent on the kernel."""
        return np.flatnonzero(self.multipliers > 1.0)


def decide_cone(cone: Cone) -> ConeProof | None:
    """Prove that a cone is {0}, or that it has the dimension of ker E; None when floats cannot tell.

    Cost: one QR factorisation of the equality rows, one nonnegative least squares problem of p columns in
    n - k rows, one Gram matrix with its Cholesky factor.
    """
    if cone.codimension == 0:
        return ConeProof(
            0, Standing.RIGOROUS, "the equality rows have full rank", {"method": "rank", "rows": cone.equal}
        )
    if not len(cone.below):
        certificate = {"method": "subspace", "equal": cone.equal}
        return ConeProof(cone.codimension, Standing.RIGOROUS, "no inequality is left", certificate)
    proposal = propose(cone)
    if proposal is None:
        return None
    first, second = (_point, _solid) if proposal.is_small else (_solid, _point)
    return first(cone, proposal) or second(cone, proposal)


def propose(cone: Cone) -> Proposal | None:
    """Solve min |B'(1 + l)| over l >= 0 in float64; None when the solver gives up."""
    packed, kernel = complement(cone.rows[cone.equal])
    reduced = cone.rows[cone.below] @ kernel
    try:
        extra, _ = nnls(reduced.T, -reduced.sum(0))
    except SolverError:
        return None
    multipliers = 1.0 + extra
    return Proposal(kernel, reduced, multipliers, reduced.T @ multipliers, packed)


def complement(E: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """QR factors of E' (packed, as LAPACK stores them) and an orthonormal basis of ker E, for independent rows."""
    k, n = E.shape
    if not k:
        return (np.zeros((n, 0)), np.zeros(0)), np.eye(n)
    packed, tau, _, _ = lapack.dgeqrf(np.asfortranarray(E.T), lwork=64 * k)
    last = np.zeros((n, n - k), order="F")
    last[k:] = np.eye(n - k)
    kernel = lapack.dormqr("L", "N", packed, tau, last, lwork=64 * max(1, n - k), overwrite_c=1)[0]
    return (packed, tau), kernel


def _point(cone: Cone, proposal: Proposal) -> ConeProof | None:
    """Prove that the cone is {0} from y > 0 with E'mu + F'y = 0.

    Let M be n independent rows: E and some of F. M'x = -(the other rows of F)'y has one solution, and the float one
    is within |E'mu + F'y|_2 / sigma_min(M) of it. When its entries at rows of F stay positive, every v in the cone has
    0 = y'F v with y > 0 and F v <= 0, hence M v = 0 and v = 0. The proof needs M regular, which also proves rank E.
    """
    chosen = _basis(proposal)
    regular = np.concatenate([cone.equal, cone.below[chosen]])
    sigma = floats.smallest_singular_value(cone.rows[regular]) if len(regular) == cone.rows.shape[1] else 0.0
    if sigma == 0.0:
        return None
    weights = np.zeros(len(cone.rows))
    weights[cone.below] = proposal.multipliers
    weights[cone.equal] = _equality_multipliers(proposal, cone.rows.T @ weights)
    left, radius = floats.combination(cone.rows, weights, cone.norms)
    error = floats.solution_radius(floats.norm(left) + radius, sigma)
    if not (proposal.multipliers[chosen].min() > error and (proposal.multipliers > 0.0).all()):
        return None
    certificate = {"method": "multipliers", "regular": regular, "equal": cone.equal, "weights": weights}
    return ConeProof(0, Standing.RIGOROUS, "positive multipliers of a regular system", certificate)


def _basis(proposal: Proposal) -> np.ndarray:
    """Rows of B that span its row space: the support, completed by pivoted QR when it is short."""
    support, d = proposal.support, proposal.kernel.shape[1]
    if len(support) >= d:
        return support[:d]
    _, rest = complement(proposal.reduced[support])
    _, pivots, *_ = lapack.dgeqp3(np.asfortranarray((proposal.reduced @ rest).T))
    return np.concatenate([support, pivots[: d - len(support)] - 1])


def _equality_multipliers(proposal: Proposal, combination: np.ndarray) -> np.ndarray:
    """The mu that makes E'mu + combination smallest, from the QR factors of E'."""
    packed, tau = proposal.packed
    k = len(tau)
    if not k:
        return np.zeros(0)
    turned = lapack.dormqr("L", "T", packed, tau, combination[:, None], lwork=64)[0]
    return -lapack.dtrtrs(packed[:k], turned[:k])[0][:, 0]


def _solid(cone: Cone, proposal: Proposal) -> ConeProof | None:
    """Prove that some v has E v = 0 and F v < 0: the cone is nontrivial and spans ker E.

    The float v is within |E v|_2 / sigma_min(E) of its projection on ker E, so a row of F stays negative there when
    its value is below -(rounding + |row|_2 distance).
    """
    if not proposal.residual.any():
        return None
    direction = proposal.kernel @ inward(proposal)
    value, radius = floats.product(cone.rows[cone.below], direction, cone.norms[cone.below])
    slip = 0.0
    if len(cone.equal):
        left, error = floats.product(cone.rows[cone.equal], direction, cone.norms[cone.equal])
        slip = floats.solution_radius(floats.norm(np.abs(left) + error), cone.sigma)
    if not (-value > floats.raised(radius + cone.norms[cone.below] * slip, 2)).all():
        return None
    certificate = {
        "method": "direction",
        "equal": cone.equal,
        "below": cone.below,
        "direction": direction,
        "slip": slip,
    }
    return ConeProof(cone.codimension, Standing.RIGOROUS, "a direction strictly inside the recession cone", certificate)


def inward(proposal: Proposal) -> np.ndarray:
    """A z with B z < 0: -residual, turned off the rows where it is (nearly) zero, as far as half the other margins."""
    start = -proposal.residual / np.linalg.norm(proposal.residual)
    at_start, d = proposal.reduced @ start, len(start)
    near = np.flatnonzero((proposal.multipliers > 1.0) | (at_start > -NEARLY_ZERO))
    held = near if len(near) <= d else proposal.support[:d]
    if not len(held):
        return start
    packed, tau, _, _ = lapack.dgeqrf(np.asfortranarray(proposal.reduced[held].T), lwork=64 * len(held))
    lifted = np.zeros((d, 1), order="F")
    lifted[: len(held)], info = lapack.dtrtrs(packed[: len(held)], -np.ones((len(held), 1)), trans=1)
    turn = lapack.dormqr("L", "N", packed, tau, lifted, lwork=64)[0][:, 0]
    at_turn = proposal.reduced @ turn
    rising = at_turn > 0.0
    reach = (-at_start[rising] / at_turn[rising]).min(initial=2.0)
    return start + 0.5 * max(reach, 0.0) * turn if info == 0 else start
