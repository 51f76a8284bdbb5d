"""The polyhedron {x : G x <= h, E x = e}: a value with questions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from plica.core.polyhedron import extent
from plica.core.polyhedron.decide import Decision, Facts
from plica.core.polyhedron.extent import Centre, Support
from plica.core.polyhedron.membership import contains
from plica.core.progress import DEFAULT_BYTES, refuse_above
from plica.core.solve import NearestPoint, nearest_point
from plica.errors import ArgumentError, DataError, ShapeError


@dataclass(frozen=True, eq=False, repr=False)
class Polyhedron:
    """The set {x : G x <= h, E x = e} in n variables.

    Parameters
    ----------
    G : array or sparse matrix, shape (m, n)
        Finite; m may be 0. A sparse matrix is stored dense.
    h : ndarray, shape (m,)
    E : array or sparse matrix, shape (p, n), optional
    e : ndarray, shape (p,), optional

    Raises
    ------
    ShapeError, DataError
        When shapes do not fit, or numbers are not finite.
    MemoryBudgetError
        When a sparse matrix does not fit into 2 GiB as a dense one.

    Notes
    -----
    Claims are about the real-arithmetic set of the stored floats. `is_empty`, `dimension`, `is_bounded` and `contains`
    are exact however degenerate the rows are; the other methods say in their notes how accurate they are.

    Examples
    --------
    >>> import numpy as np
    >>> triangle = Polyhedron(np.array([[-1.0, 0], [0, -1], [1, 1]]), np.array([0.0, 0, 1]))
    >>> bool(triangle.is_empty()), int(triangle.dimension()), bool(triangle.is_bounded())
    (False, 2, True)
    >>> triangle.contains(np.array([[0.5, 0.5], [0.5, 0.6]])).tolist()
    [True, False]
    """

    G: np.ndarray
    h: np.ndarray
    E: np.ndarray = None  # type: ignore[assignment]
    e: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        G = _matrix(self.G, "G")
        if (self.E is None) != (self.e is None):
            raise ArgumentError("Polyhedron: E and e belong together; give both, or neither.")
        E = np.zeros((0, G.shape[1])) if self.E is None else _matrix(self.E, "E")
        if E.shape[1] != G.shape[1]:
            raise ShapeError(f"Polyhedron: G has {G.shape[1]} columns and E has {E.shape[1]}; both act on the same x.")
        checked = {"G": G, "h": _vector(self.h, "h", "G", len(G)), "E": E}
        checked["e"] = _vector(np.zeros(0) if self.e is None else self.e, "e", "E", len(E))
        for name, array in checked.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def ambient(self) -> int:
        """Number of variables n."""
        return int(self.G.shape[1])

    @cached_property
    def facts(self) -> Facts:
        """Exact decisions about this polyhedron, each made once."""
        return Facts(self.G, self.h, self.E, self.e)

    # --- exact questions ------------------------------------------------------------------------------

    def contains(self, X: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
        """Which points lie in the polyhedron; exact, boundary included, when `tolerance` is 0.

        Parameters
        ----------
        X : ndarray, shape (..., n)
            Points; float64 or anything that casts to it without loss.
        tolerance : float
            Allowed excess ``G x - h`` and ``|E x - e|``; a positive one is checked in plain floats.

        Returns
        -------
        ndarray of bool, shape (...)

        Notes
        -----
        Cost: one matrix product, and integers for points within rounding of a row.
        """
        X = np.asarray(X, dtype=np.float64)
        if X.ndim < 1 or X.shape[-1] != self.ambient:
            raise ShapeError(f"contains: the points have shape {X.shape}; the last axis must be {self.ambient} long.")
        if not np.isfinite(X).all():
            raise DataError("contains: the points must be finite.")
        if not tolerance >= 0:
            raise ArgumentError(f"contains: tolerance is {tolerance}; it must be 0 or more.")
        flat = X.reshape(-1, self.ambient) if X.size else np.zeros((int(np.prod(X.shape[:-1])), self.ambient))
        return contains((self.G, self.h, self.E, self.e), flat, tolerance).reshape(X.shape[:-1])

    def is_empty(self) -> Decision:
        """Whether there is no point at all; exact, with a point or Farkas multipliers as witness.

        Raises
        ------
        SolverError
            When floats cannot tell and the rows are too many for rational pivots (200000 entries).
        """
        return self.facts.empty

    def dimension(self) -> Decision:
        """Dimension of the affine hull, -1 when empty; exact."""
        return self.facts.dimension

    def is_bounded(self) -> Decision:
        """Whether the polyhedron is bounded (an empty one is); exact, with a ray or multipliers as witness."""
        return self.facts.bounded

    def implied_equalities(self) -> np.ndarray:
        """Rows of G that hold with equality on the whole polyhedron, as indices; exact. All rows of an empty one."""
        return np.flatnonzero(self.facts.implied)

    # --- how far it reaches ---------------------------------------------------------------------------

    def support(self, direction: np.ndarray) -> Support:
        """Largest value of ``direction.x``, with a point where it is attained.

        Parameters
        ----------
        direction : ndarray, shape (n,)

        Returns
        -------
        Support
            ``(value, point, standing)``: inf when unbounded, -inf when empty (both exact). A finite value is proven
            in rationals, and CERTIFIED, for up to 20000 entries of rows; else NUMERICAL.
        """
        c = np.asarray(direction, dtype=np.float64)
        if c.shape != (self.ambient,) or not np.isfinite(c).all():
            raise ShapeError(f"support: the direction has shape {c.shape}; it must be {self.ambient} finite numbers.")
        return extent.support(self.facts, c)

    def bounding_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest box around the polyhedron as (lower, upper), with infinite entries where it is unbounded.

        Notes
        -----
        Cost: 2 n linear programs.

        Raises
        ------
        DataError
            When the polyhedron is empty.
        """
        self._require_points("bounding_box")
        return extent.bounding_box(self.facts)

    def centre(self) -> Centre:
        """Centre and radius of a largest ball inside, measured in the affine hull.

        Raises
        ------
        DataError
            When the polyhedron is empty.
        """
        self._require_points("centre")
        return extent.centre(self.facts)

    def nearest(self, target: np.ndarray) -> NearestPoint:
        """Euclidean projection of `target`, shape (n,); see `plica.core.solve.nearest_point`."""
        return nearest_point(np.asarray(target, dtype=np.float64), self.G, self.h, self.E, self.e)

    # --- new polyhedra --------------------------------------------------------------------------------

    def intersect(self, other: Polyhedron) -> Polyhedron:
        """Points of both; the rows of `other` come after the own rows."""
        if other.ambient != self.ambient:
            raise ShapeError(f"intersect: one polyhedron has {self.ambient} variables, the other {other.ambient}.")
        return Polyhedron(
            np.vstack([self.G, other.G]),
            np.concatenate([self.h, other.h]),
            np.vstack([self.E, other.E]),
            np.concatenate([self.e, other.e]),
        )

    def on(self, origin: np.ndarray, basis: np.ndarray) -> Polyhedron:
        """Preimage {s : origin + basis s in self} under an affine map.

        Parameters
        ----------
        origin : ndarray, shape (n,)
        basis : ndarray, shape (n, k)

        Notes
        -----
        The new rows are rounded to floats once; the result is exact about those rows.
        """
        origin, basis = np.asarray(origin, dtype=np.float64), np.asarray(basis, dtype=np.float64)
        if origin.shape != (self.ambient,) or basis.ndim != 2 or len(basis) != self.ambient:
            raise ShapeError(
                f"on: origin has shape {origin.shape}, basis {basis.shape}; they must be ({self.ambient},) and "
                f"({self.ambient}, k)."
            )
        return Polyhedron(self.G @ basis, self.h - self.G @ origin, self.E @ basis, self.e - self.E @ origin)

    # --- showing --------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"Polyhedron({len(self.h)} inequalities, {len(self.e)} equalities, {self.ambient} variables)"

    def _repr_html_(self) -> str:
        """Show the sizes; decisions are not made for a picture."""
        return f"<code>{self!r}</code>"

    def _require_points(self, who: str) -> None:
        """Refuse an empty polyhedron."""
        if self.is_empty():
            raise DataError(f"{who}: the polyhedron is empty. Ask is_empty() first; its witness says why.")


def _matrix(A: Any, name: str) -> np.ndarray:
    """Dense float64 copy of a matrix."""
    if sp.issparse(A):
        rows, columns = A.shape
        what = f"{name} has {rows} rows and {columns} columns as a dense matrix"
        refuse_above(DEFAULT_BYTES, 8 * rows * columns, what, "Restrict it to a slice, or leave out rows.")
        A = A.toarray()
    try:
        dense = np.array(A, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DataError(f"Polyhedron: {name} is no matrix of real numbers ({error}).") from error
    if dense.ndim != 2:
        raise ShapeError(
            f"Polyhedron: {name} has shape {dense.shape}; it must be a matrix, one row for each condition."
        )
    if not np.isfinite(dense).all():
        raise DataError(f"Polyhedron: {name} has entries that are not finite.")
    return dense


def _vector(b: Any, name: str, rows: str, length: int) -> np.ndarray:
    """Float64 copy of a right-hand side."""
    vector = np.array(b, dtype=np.float64)
    if vector.shape != (length,):
        raise ShapeError(
            f"Polyhedron: {name} has shape {vector.shape}; it must have one entry for each of {length} rows of {rows}."
        )
    if not np.isfinite(vector).all():
        raise DataError(f"Polyhedron: {name} has entries that are not finite; leave out rows without a bound.")
    return vector
