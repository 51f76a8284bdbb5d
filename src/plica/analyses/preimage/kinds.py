"""One point, bounded or unbounded: the kind and the exact dimension of a layer's preimage, in the space of its input.

Around a witness u the preimage is {u + v : A v = 0, C v <= s}: A holds the rows of the positive units, C the others
and s >= 0 their slacks. Two cones decide everything (Behrmann et al. 2018, Definition 1, Corollary 2, Theorem 4):

* the feasible directions at u, {A v = 0, C v <= 0 where s = 0}, whose dimension is that of the preimage; the preimage
  is one point exactly when they are {0} (Theorem 4 i);
* the recession cone {A v = 0, C v <= 0}: the preimage is bounded exactly when it is {0} (Theorem 4 ii).

The paper assumes that 0 is not on the boundary of the hull of the rows (appendix A3); nothing is assumed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from plica.analyses.preimage.cone import Cone, ConeProof, decide_cone
from plica.analyses.preimage.exact_cone import exact_cone
from plica.analyses.preimage.result import Kind
from plica.analyses.preimage.rows import Basis, LayerRows, finite_matrix
from plica.core.exact import integers
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Result, Standing, weakest
from plica.errors import ArgumentError, BudgetReached, MemoryBudgetError, ShapeError, SolverError


@dataclass(frozen=True)
class KindDecision:
    """Kind and dimension of one layer preimage, and why.

    Attributes
    ----------
    kind : Kind
        SINGLETON, COMPACT, UNBOUNDED, or UNDECIDED when a budget was reached.
    dimension : int
        Dimension of the preimage; -1 where undecided.
    standing : Standing
        RIGOROUS (floats with proven bounds) or CERTIFIED (integers); NUMERICAL only beside UNDECIDED.
    reason : str
        How it was decided, or the arithmetic of the budget.
    certificate : dict
        ``rank``, ``directions`` and ``recession``: plain data with a ``method`` word each. Rows are numbered as in the
        layer's matrix with the prior's rows below it; ``free inputs``, when present, are read by no row, and vectors
        leave them out.
    """

    kind: Kind
    dimension: int
    standing: Standing
    reason: str
    certificate: dict[str, Any]


@dataclass(frozen=True, repr=False)
class OmnidirectionalResult(Result):
    """Whether a matrix, or a matrix with biases, is omnidirectional (Behrmann et al. 2018, Definition 1).

    Attributes
    ----------
    value : bool
        The answer.
    reason : str
        How it was decided.
    certificate : dict
        Plain data with a ``method`` word.
    """

    value: bool
    reason: str
    certificate: dict[str, Any]

    def __bool__(self) -> bool:
        return self.value

    def summary(self) -> str:
        """The answer in a line."""
        return f"{'omnidirectional' if self.value else 'not omnidirectional'}: {self.reason}"


class LayerKinds:
    """Kinds of many preimages of one ReLU layer.

    Parameters
    ----------
    W : array_like, shape (m, n)
        The layer's matrix, finite.
    prior : array_like, shape (q, n), optional
        Rows of further inequalities ``prior v <= slack`` on the input (Remark 3), such as ``-eye(n)`` for nonnegative
        inputs.
    progress : Progress, optional
        Budgets of memory and time.

    Raises
    ------
    ShapeError, DataError
        When W or the prior is not a finite matrix of n columns.
    MemoryBudgetError
        When copies of W do not fit.

    Notes
    -----
    Rows are scaled by powers of two, which is exact and changes no preimage; rows on the same line and inputs that no
    row reads are found once. ``shape`` is the number of rows, those of the prior included, and of inputs.
    """

    def __init__(self, W: Any, *, prior: Any = None, progress: Progress | None = None) -> None:
        rows = finite_matrix(W, "W")
        self.units = len(rows)
        if prior is not None:
            extra = finite_matrix(prior, "prior")
            if extra.shape[1] != rows.shape[1]:
                raise ShapeError(f"prior needs {rows.shape[1]} columns as W has; got shape {extra.shape}.")
            rows = np.vstack([rows, extra])
        self.shape = rows.shape
        read: np.ndarray = np.any(rows != 0.0, axis=0)
        read[0] = read[0] or not read.any()  # a matrix keeps a column
        self._free_inputs = np.flatnonzero(~read)
        self._rows = LayerRows(rows if read.all() else rows[:, read], progress or Progress())

    def decide(self, active: np.ndarray, tight: np.ndarray | None = None) -> KindDecision:
        """Kind and dimension of the preimage in which exactly the `active` rows are equalities.

        Parameters
        ----------
        active : ndarray of bool, shape (m,) or (m + q,)
            The positive units; rows of a prior that are left out are inequalities.
        tight : ndarray of bool, same shapes, optional
            The inequality rows with slack exactly zero. None: no row.

        Notes
        -----
        Cost: a Gram matrix and its Cholesky factor when the positive units fix the input; otherwise also a QR
        factorisation and a nonnegative least squares problem; exact integers only where floats prove nothing.
        """
        active = self._mask(active, "active")
        tight = self._mask(tight, "tight") & ~active
        try:
            return self._decide(active, tight)
        except (MemoryBudgetError, BudgetReached, SolverError) as error:
            return KindDecision(Kind.UNDECIDED, -1, Standing.NUMERICAL, str(error), {})

    def _decide(self, active: np.ndarray, tight: np.ndarray) -> KindDecision:
        """The decision; a budget that is reached is raised."""
        span = self._rows.independent(self._rows.faces(active, np.zeros_like(active)).equal)
        directions = self._directions(active, tight, span)
        dimension = directions.dimension + len(self._free_inputs)
        standing = weakest([span.standing, directions.standing])
        certificate: dict[str, Any] = {"rank": {"method": "independent rows", "rows": span.rows}}
        certificate["directions"] = directions.certificate
        if len(self._free_inputs):
            certificate["free inputs"] = self._free_inputs
            reason = f"No unit reads {len(self._free_inputs)} of the {self.shape[1]} inputs."
            return KindDecision(Kind.UNBOUNDED, dimension, standing, reason, certificate)
        if dimension == 0:
            return KindDecision(Kind.SINGLETON, 0, standing, f"One input: {directions.reason}.", certificate)
        same = bool((active | tight).all())
        recession = directions if same else self._recession(active, span)
        certificate["recession"] = recession.certificate
        kind, word = (Kind.UNBOUNDED, "Some") if recession.dimension else (Kind.COMPACT, "No")
        reason = f"{word} direction leads to infinity: {recession.reason}."
        return KindDecision(kind, dimension, weakest([standing, recession.standing]), reason, certificate)

    def _directions(self, active: np.ndarray, tight: np.ndarray, span: Basis) -> ConeProof:
        """The cone of feasible directions at the witness."""
        rank, n = len(span.rows), self._rows.shape[1]
        if rank == n or not tight.any():
            reason = f"the positive units have {rank} independent rows for {n} inputs"
            return ConeProof(n - rank, span.standing, reason, {"method": "rank", "rows": span.rows})
        return self._cone(active, tight, span)

    def _recession(self, active: np.ndarray, span: Basis) -> ConeProof:
        """Decide whether the recession cone is {0}; a dimension above 0 may be too large.

        With d = dim ker A and p <= d inequalities there always is a direction: the p rows are dependent on the kernel
        and leave a line, or p = d and B z = -1 has a solution (Corollary 6).
        """
        faces = self._rows.faces(active, ~active)
        free = self._rows.shape[1] - len(span.rows) - len(faces.pairs)
        if 0 < free >= len(faces.below):
            reason = f"{len(faces.below)} inequalities do not bound {free} dimensions"
            return ConeProof(free, Standing.CERTIFIED, reason, {"method": "count", "below": faces.below})
        return self._cone(active, ~active, span)

    def _cone(self, active: np.ndarray, below: np.ndarray, span: Basis) -> ConeProof:
        """Decide {v : active rows v = 0, below rows v <= 0}, floats first, then integers."""
        rows, faces = self._rows, self._rows.faces(active, below)
        if len(faces.pairs):
            span = rows.independent(np.concatenate([span.rows, faces.pairs[:, 0]]))
        cone = Cone(rows.scaled, rows.norms, span.rows, faces.below, span.sigma)
        self._refuse(cone)
        proof = decide_cone(cone) if rows.are_level and span.sigma > 0.0 else None
        proof = proof or exact_cone(cone, rows.progress)
        certificate = rows.for_unscaled(proof.certificate)
        if len(faces.pairs):
            certificate["pairs"] = faces.pairs
        return ConeProof(proof.dimension, weakest([proof.standing, span.standing]), proof.reason, certificate)

    def _refuse(self, cone: Cone) -> None:
        """Keep the reduced problem within the budget of memory."""
        n, d, p = self._rows.shape[1], cone.codimension, len(cone.below)
        refuse_above(
            self._rows.progress.max_bytes,
            8 * (p * n + 3 * p * d + 4 * n * n),
            f"The recession cone has {p} inequalities in {d} dimensions of {n} inputs",
            "Raise max_bytes, or ask about a slice of the input space.",
        )

    def _mask(self, given: np.ndarray | None, name: str) -> np.ndarray:
        """A mask over all rows from one over all rows or over the units."""
        mask = np.zeros(self.shape[0], dtype=bool)
        if given is None:
            return mask
        given = np.asarray(given)
        if given.dtype != bool or given.shape not in ((self.units,), mask.shape):
            raise ShapeError(
                f"{name} needs one bool per unit, shape ({self.units},); got {given.dtype} of shape {given.shape}."
            )
        mask[: len(given)] = given
        return mask


def decide(A: Any, C: Any, tight: Any = None, *, progress: Progress | None = None) -> KindDecision:
    """Kind and dimension of {v : A v = 0, C v <= s} with s >= 0, and s = 0 exactly where `tight`.

    Parameters
    ----------
    A : array_like, shape (k, n)
        Equality rows; k may be 0.
    C : array_like, shape (p, n)
        Inequality rows; p may be 0.
    tight : array_like of bool, shape (p,), optional
        None: no row.
    progress : Progress, optional
        Budgets of memory and time.

    Examples
    --------
    A slab in the plane is unbounded and full-dimensional; at zero slack it is a line:

    >>> import numpy as np
    >>> slab = np.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> decide(np.zeros((0, 2)), slab).kind.value, decide(np.zeros((0, 2)), slab).dimension
    ('unbounded', 2)
    >>> decide(np.zeros((0, 2)), slab, [True, True]).dimension
    1
    """
    A, C = finite_matrix(A, "A"), finite_matrix(C, "C")
    if A.shape[1] != C.shape[1]:
        raise ShapeError(f"A and C need the same number of columns; got {A.shape} and {C.shape}.")
    active = np.arange(len(A) + len(C)) < len(A)
    at_zero = np.zeros(len(active), dtype=bool)
    if tight is not None:
        given = np.asarray(tight, dtype=bool)
        if given.shape != (len(C),):
            raise ShapeError(f"tight needs one bool per row of C, shape ({len(C)},); got shape {given.shape}.")
        at_zero[len(A) :] = given
    return LayerKinds(np.vstack([A, C]), progress=progress).decide(active, at_zero)


def is_omnidirectional(
    A: Any, b: Any = None, point: Any = None, *, progress: Progress | None = None
) -> OmnidirectionalResult:
    """Return whether only v = 0 has A v <= 0 and, when given, whether b = -A p exactly.

    Behrmann et al. (2018), Definition 1; equivalently every open half-space through 0 contains a row (Corollary 2), or
    0 is in the interior of the hull of the rows (Theorem 5). The boundary is decided exactly.

    Parameters
    ----------
    A : array_like, shape (m, n)
    b, point : array_like, shapes (m,) and (n,), optional
        Both or neither.
    progress : Progress, optional
        Budgets of memory and time.

    Returns
    -------
    OmnidirectionalResult
        As good as a bool, with its standing, the reason, and a certificate.

    Raises
    ------
    ShapeError, DataError, ArgumentError
        For arrays that do not fit, are not finite, or when only one of b and point is given.
    MemoryBudgetError, BudgetReached, SolverError
        When a budget ends the exact decision.

    Examples
    --------
    >>> bool(is_omnidirectional([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
    True
    >>> bool(is_omnidirectional([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    False
    """
    A = finite_matrix(A, "A")
    if (b is None) != (point is None):
        raise ArgumentError("b and point belong together: give both, or neither.")
    if b is not None:
        failing = _rows_off_point(A, np.asarray(b, dtype=np.float64), np.asarray(point, dtype=np.float64))
        if len(failing):
            reason = f"b differs from -A p in {len(failing)} rows, first in row {failing[0]}."
            return _omnidirectional(False, Standing.CERTIFIED, reason, {"method": "point", "rows": failing})
    at_zero = np.ones(len(A), dtype=bool)
    decision = LayerKinds(A, progress=progress)._decide(~at_zero, at_zero)
    value = decision.kind is Kind.SINGLETON
    reason = decision.reason if value else f"A v <= 0 on a cone of dimension {decision.dimension}."
    return _omnidirectional(value, decision.standing, reason, decision.certificate)


def _omnidirectional(value: bool, standing: Standing, reason: str, certificate: dict) -> OmnidirectionalResult:
    """A complete result without a header: no network, data or options are involved."""
    return OmnidirectionalResult(standing, Completeness.COMPLETE, {}, value, reason, certificate)


def _rows_off_point(A: np.ndarray, b: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Rows in which A p + b is not exactly zero."""
    if b.shape != (len(A),) or point.shape != (A.shape[1],):
        raise ShapeError(f"b and point need shapes ({len(A)},) and ({A.shape[1]},); got {b.shape} and {point.shape}.")
    return np.flatnonzero(integers.dot_signs(A, point, -b))
