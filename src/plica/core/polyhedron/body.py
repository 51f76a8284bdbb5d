"""The polyhedron {x : G x <= h, E x = e}: a value with questions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from plica.core.polyhedron import corners, extent, walk
from plica.core.polyhedron.corners import FacetRows
from plica.core.polyhedron.decide import Decision, Facts
from plica.core.polyhedron.extent import Centre, Support
from plica.core.polyhedron.membership import contains
from plica.core.progress import DEFAULT_BYTES, Progress, refuse_above
from plica.core.solve import Matrix, NearestPoint, nearest_point
from plica.errors import ArgumentError, DataError, ShapeError


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Polyhedron:
    """The set {x : G x <= h, E x = e} in n variables.

    Parameters
    ----------
    G : array or sparse matrix, shape (m, n)
        Finite; m may be 0. A sparse matrix is stored dense.
    h : array, shape (m,)
    E : array or sparse matrix, shape (p, n), optional
    e : array, shape (p,), optional

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
    E: np.ndarray
    e: np.ndarray

    def __init__(
        self,
        G: Matrix | npt.ArrayLike,
        h: npt.ArrayLike,
        E: Matrix | npt.ArrayLike | None = None,
        e: npt.ArrayLike | None = None,
    ) -> None:
        G = _matrix(G, "G")
        if (E is None) != (e is None):
            raise ArgumentError("Polyhedron: E and e belong together; give both, or neither.")
        E = np.zeros((0, G.shape[1])) if E is None else _matrix(E, "E")
        if E.shape[1] != G.shape[1]:
            raise ShapeError(f"Polyhedron: G has {G.shape[1]} columns and E has {E.shape[1]}; both act on the same x.")
        right = _vector(np.zeros(0) if e is None else e, "e", "E", len(E))
        checked = {"G": G, "h": _vector(h, "h", "G", len(G)), "E": E, "e": right}
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

    def contains(self, X: npt.ArrayLike, tolerance: float = 0.0) -> np.ndarray:
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

    def support(self, direction: npt.ArrayLike, progress: Progress | None = None) -> Support:
        """Largest value of ``direction.x``, with a point where it is attained.

        Parameters
        ----------
        direction : ndarray, shape (n,)
        progress : Progress, optional
            Its seconds; `BudgetReached` when they end, here and in the questions below.

        Returns
        -------
        Support
            ``(value, point, standing)``: inf when unbounded, -inf when empty (both exact). A finite value is proven
            in rationals, and CERTIFIED, for up to 20000 entries of rows; else NUMERICAL.
        """
        c = np.asarray(direction, dtype=np.float64)
        if c.shape != (self.ambient,) or not np.isfinite(c).all():
            raise ShapeError(f"support: the direction has shape {c.shape}; it must be {self.ambient} finite numbers.")
        return extent.support(self.facts, c, progress or Progress())

    def bounding_box(self, progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Smallest box around the polyhedron as (lower, upper), with infinite entries where it is unbounded.

        Notes
        -----
        Cost: 2 n linear programs.

        Raises
        ------
        DataError
            When the polyhedron is empty.
        """
        clock = self._require_points("bounding_box", progress)
        return extent.bounding_box(self.facts, clock)

    def centre(self, progress: Progress | None = None) -> Centre:
        """Centre and radius of a largest ball inside, measured in the affine hull.

        Raises
        ------
        DataError
            When the polyhedron is empty.
        """
        clock = self._require_points("centre", progress)
        return extent.centre(self.facts, clock)

    def nearest(self, target: npt.ArrayLike, progress: Progress | None = None) -> NearestPoint:
        """Euclidean projection of `target`, shape (n,); see `plica.core.solve.nearest_point`."""
        return nearest_point(np.asarray(target, dtype=np.float64), self.G, self.h, self.E, self.e, progress=progress)

    # --- corners, volume, samples ---------------------------------------------------------------------

    def vertices(self, *, max_vertices: int = 20_000) -> np.ndarray:
        """Vertices, shape (k, n), in lexicographic order; none when the polyhedron contains a line or is empty.

        Raises
        ------
        BudgetReached
            When more than `max_vertices` vertices and rays turn up on the way.

        Notes
        -----
        Found exactly by double description, then rounded once. Meant for low dimension: the number of vertices grows
        like rows**(dimension / 2), the cost like its square.
        """
        return corners.vertices(self.facts, max_vertices)

    def rays(self, *, max_vertices: int = 20_000) -> np.ndarray:
        """Extreme recession directions, shape (k, n), largest entry 1; none when the polyhedron contains a line."""
        return corners.rays(self.facts, max_vertices)

    def facets(self, progress: Progress | None = None) -> FacetRows:
        """Rows of G that define the facets: no other row follows from the rest.

        Implied equalities are no facets; of rows that define the same facet the lowest index is named. An empty
        polyhedron and a single point have none.

        Returns
        -------
        FacetRows
            ``(rows, standing)``: decided exactly row by row while rows^2 x variables is at most 2 million, else
            NUMERICAL by daqp's reduction.
        """
        return corners.facets(self.facts, progress or Progress())

    def volume(self, *, max_vertices: int = 20_000) -> float:
        """Volume in the polyhedron's own dimension: length, area ...; 1 for a single point, 0 when empty.

        Notes
        -----
        Exact triangulation in rationals, rounded at the end; inf when unbounded. Low dimension only, as `vertices`.
        """
        return corners.volume(self.facts, max_vertices)

    def sample(
        self, n: int, seed: int = 0, *, steps: int | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        """Draw n points, uniform on the polyhedron inside its affine hull, by hit-and-run.

        Parameters
        ----------
        n : int
        seed : int
        steps : int, optional
            Steps before a point is used; 20 + 10 times the dimension by default. More is closer to uniform.
        progress : Progress, optional
            Its seconds, for what is decided before the first step.

        Returns
        -------
        ndarray, shape (n, variables)
            On the affine hull, and inside, up to rounding.

        Raises
        ------
        DataError
            When the polyhedron is empty or unbounded.
        """
        clock = self._require_points("sample", progress)
        self.facts.decide(clock, bounded=True)
        if not self.is_bounded():
            raise DataError("sample: the polyhedron is unbounded, so it has no uniform distribution; add a box.")
        return walk.sample(self.facts, n, seed, steps, clock)

    def project(self, basis: npt.ArrayLike, progress: Progress | None = None) -> np.ndarray:
        """Corners of the shadow {basis' x : x in the polyhedron} on a line or a plane.

        Parameters
        ----------
        basis : ndarray, shape (n, 1) or (n, 2)

        Returns
        -------
        ndarray, shape (k, 1) or (k, 2)
            The ends of an interval, or the corners of a polygon counter-clockwise (two for a segment, one for a
            point), within 1e-9 of its size.

        Raises
        ------
        DataError
            When the polyhedron is empty or its shadow unbounded.

        Notes
        -----
        Cost: about two linear programs for each corner.
        """
        basis = np.asarray(basis, dtype=np.float64)
        if basis.ndim != 2 or len(basis) != self.ambient or basis.shape[1] not in (1, 2):
            raise ShapeError(f"project: basis has shape {basis.shape}; it must be ({self.ambient}, 1 or 2).")
        clock = self._require_points("project", progress)
        return walk.project(lambda direction: self._bounded_support(direction, clock), basis)

    def _bounded_support(self, direction: np.ndarray, progress: Progress) -> Support:
        """Support, refused where it is infinite."""
        found = extent.support(self.facts, direction, progress, prove=False)
        if not np.isfinite(found.value):
            raise DataError("project: the shadow is unbounded; intersect the polyhedron with a box first.")
        return found

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

    def on(self, origin: npt.ArrayLike, basis: npt.ArrayLike) -> Polyhedron:
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

    def _require_points(self, who: str, progress: Progress | None) -> Progress:
        """Refuse an empty polyhedron; the budget, which that is part of."""
        progress = progress or Progress()
        self.facts.decide(progress)
        if self.is_empty():
            raise DataError(f"{who}: the polyhedron is empty. Ask is_empty() first; its witness says why.")
        return progress


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
