"""Where a question is asked: boxes, balls, planes and segments of input space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from plica.core.exact.integers import rational
from plica.core.polyhedron import Polyhedron
from plica.core.polyhedron.membership import contains
from plica.errors import ArgumentError, DataError, ShapeError

UNIT = 2.0**-53


def _array(value: Any, name: str, axes: int) -> np.ndarray:
    """Read-only float64 copy with this number of axes and no NaN; vectors are flattened."""
    array = np.array(value, dtype=np.float64)
    if axes == 1:
        array = array.ravel()
    if array.ndim != axes:
        raise ShapeError(f"{name} has shape {array.shape}; it must have {axes} axes.")
    if np.isnan(array).any():
        raise DataError(f"{name} has entries that are NaN.")
    array.setflags(write=False)
    return array


def _finite(value: Any, name: str, axes: int) -> np.ndarray:
    """As `_array`, all entries finite."""
    array = _array(value, name, axes)
    if not np.isfinite(array).all():
        raise DataError(f"{name} has entries that are not finite.")
    return array


def _points(X: Any, n: int, who: str) -> np.ndarray:
    """Points with n entries in the last axis."""
    X = np.asarray(X, dtype=np.float64)
    if X.ndim < 1 or X.shape[-1] != n:
        raise ShapeError(f"{who}: the points have shape {X.shape}; the last axis must be {n} long.")
    return X


@dataclass(frozen=True, eq=False, init=False)
class Box:
    """The points between two corners, {x : lower <= x <= upper}.

    Parameters
    ----------
    lower, upper : ndarray, shape (n,), or numbers beside an array
        -inf and inf where there is no bound. Equal entries fix a variable. An image is flattened.

    Raises
    ------
    ArgumentError
        When a lower bound exceeds the upper one.

    Examples
    --------
    >>> import numpy as np
    >>> box = Box(np.zeros(2), 1.0)
    >>> box.contains(np.array([[0.0, 1.0], [0.5, 1.5]])).tolist()
    [True, False]
    """

    lower: np.ndarray
    upper: np.ndarray

    def __init__(self, lower: npt.ArrayLike, upper: npt.ArrayLike) -> None:
        sides = np.broadcast_arrays(np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64))
        for name, value in zip(("lower", "upper"), sides, strict=True):
            object.__setattr__(self, name, _array(value, f"Box: {name}", 1))
        wrong = np.flatnonzero(self.lower > self.upper)
        if len(wrong):
            i = int(wrong[0])
            raise ArgumentError(
                f"Box: lower exceeds upper in {len(wrong)} of {self.ambient} variables, first in variable {i} "
                f"({self.lower[i]:g} > {self.upper[i]:g}); swap them."
            )

    @property
    def ambient(self) -> int:
        """Number of variables n."""
        return len(self.lower)

    def polyhedron(self) -> Polyhedron:
        """The same set as rows: upper bounds, then lower bounds; fixed variables become equalities."""
        unit, fixed = np.eye(self.ambient), self.lower == self.upper
        high, low = np.isfinite(self.upper) & ~fixed, np.isfinite(self.lower) & ~fixed
        return Polyhedron(
            np.vstack([unit[high], -unit[low]]),
            np.concatenate([self.upper[high], -self.lower[low]]),
            unit[fixed],
            self.lower[fixed],
        )

    def contains(self, X: npt.ArrayLike) -> np.ndarray:
        """Which points, shape (..., n), lie in the box; exact."""
        X = _points(X, self.ambient, "Box.contains")
        return np.asarray(((self.lower <= X) & (self.upper >= X)).all(axis=-1))

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw n independent uniform points, shape (n, variables); a bounded box only."""
        if not (np.isfinite(self.lower).all() and np.isfinite(self.upper).all()):
            raise ArgumentError("Box.sample: the box is unbounded, so it has no uniform distribution; bound it first.")
        # A convex combination, and the clip: no overflow for huge boxes, no point outside by rounding.
        share = np.random.default_rng(seed).random((n, self.ambient))
        return np.clip((1.0 - share) * self.lower + share * self.upper, self.lower, self.upper)


@dataclass(frozen=True, eq=False, init=False)
class Ball:
    """The points within a distance, {x : |x - centre| <= radius}.

    Parameters
    ----------
    centre : ndarray, shape (n,)
    radius : float
        0 or more; 0 is the centre alone.
    norm : {2, inf, 1}
    """

    centre: np.ndarray
    radius: float
    norm: float

    def __init__(self, centre: npt.ArrayLike, radius: float, norm: float = 2.0) -> None:
        object.__setattr__(self, "centre", _finite(centre, "Ball: centre", 1))
        object.__setattr__(self, "radius", float(radius))
        object.__setattr__(self, "norm", float(norm))
        if not 0 <= self.radius < np.inf:
            raise ArgumentError(f"Ball: radius is {self.radius}; it must be finite and 0 or more.")
        if self.norm not in (1.0, 2.0, np.inf):
            raise ArgumentError(f"Ball: norm is {self.norm}; it must be 1, 2 or inf.")

    @property
    def ambient(self) -> int:
        """Number of variables n."""
        return len(self.centre)

    def polyhedron(self) -> Polyhedron:
        """The ball as rows; for the norms inf (2 n rows) and 1 (2**n rows, at most 12 variables).

        Notes
        -----
        The bounds are ``centre`` plus or minus ``radius``, rounded once.
        """
        n = self.ambient
        if self.norm == np.inf:
            return Box(self.centre - self.radius, self.centre + self.radius).polyhedron()
        if self.norm == 1.0 and n <= 12:
            signs = 1.0 - 2.0 * ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1)
            return Polyhedron(signs, signs @ self.centre + self.radius)
        reason = f"has 2**{n} facets in the 1-norm" if self.norm == 1.0 else "is round"
        raise ArgumentError(f"Ball.polyhedron: this ball {reason}; use norm=inf, or its bounding box Ball.box().")

    def box(self) -> Box:
        """Smallest box around the ball, its bounds rounded outward."""
        return Box(np.nextafter(self.centre - self.radius, -np.inf), np.nextafter(self.centre + self.radius, np.inf))

    def contains(self, X: npt.ArrayLike) -> np.ndarray:
        """Which points, shape (..., n), lie in the ball; exact, boundary included."""
        X = _points(X, self.ambient, "Ball.contains")
        step = np.abs(X - self.centre)
        size = {1.0: step.sum(-1), 2.0: np.sqrt((step * step).sum(-1)), np.inf: step.max(-1, initial=0.0)}[self.norm]
        inside = np.asarray(size <= self.radius)
        # Rounding of the differences, the sum and the root stays far below this; the rest is decided in rationals.
        margin = (self.ambient + 8) * UNIT * (size + self.radius) + 1e-150
        for place in zip(*np.nonzero(np.atleast_1d(np.abs(size - self.radius) <= margin)), strict=True):
            inside = np.atleast_1d(inside)
            inside[place] = self._decide(np.atleast_2d(X)[place])
        return inside.reshape(X.shape[:-1])

    def _decide(self, x: np.ndarray) -> bool:
        """Whether one point lies in the ball, in rationals."""
        steps = [abs(rational(a) - rational(b)) for a, b in zip(x.tolist(), self.centre.tolist(), strict=True)]
        radius = rational(self.radius)
        if self.norm == 2.0:
            return bool(sum((s * s for s in steps), rational(0)) <= radius * radius)
        return bool((sum(steps, rational(0)) if self.norm == 1.0 else max(steps, default=rational(0))) <= radius)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw n independent uniform points, shape (n, variables), in the ball up to rounding."""
        rng, d = np.random.default_rng(seed), self.ambient
        if self.norm == np.inf:
            step = rng.uniform(-1.0, 1.0, (n, d))
        elif self.norm == 2.0:
            step = rng.standard_normal((n, d))
            length = np.linalg.norm(step, axis=1, keepdims=True)
            step *= rng.random((n, 1)) ** (1.0 / max(d, 1)) / np.where(length > 0, length, 1.0)
        else:  # exponentials over their sum with one spare are uniform in the simplex
            draws = rng.exponential(size=(n, d + 1))
            step = draws[:, :d] / draws.sum(axis=1, keepdims=True) * rng.choice([-1.0, 1.0], (n, d))
        return self.centre + self.radius * step


@dataclass(frozen=True, eq=False, init=False)
class Plane:
    """An affine slice, {origin + basis s}, of any dimension, perhaps with bounds on s.

    Parameters
    ----------
    origin : ndarray, shape (n,)
    basis : ndarray, shape (n, k)
    window : Box, optional
        Bounds on the coordinates s; without it the whole plane is meant.
    """

    origin: np.ndarray
    basis: np.ndarray
    window: Box | None

    def __init__(self, origin: npt.ArrayLike, basis: npt.ArrayLike, window: Box | None = None) -> None:
        object.__setattr__(self, "origin", _finite(origin, "Plane: origin", 1))
        object.__setattr__(self, "basis", _finite(basis, "Plane: basis", 2))
        object.__setattr__(self, "window", window)
        if len(self.basis) != self.ambient:
            raise ShapeError(
                f"Plane: basis has shape {self.basis.shape}; it needs one row for each of {self.ambient} variables."
            )
        if self.window is not None and self.window.ambient != self.dimension:
            raise ShapeError(
                f"Plane: the window bounds {self.window.ambient} coordinates, the plane has {self.dimension}."
            )

    @classmethod
    def through(cls, points: npt.ArrayLike, margin: float = 0.1) -> Plane:
        """Plane through two or more points, with an orthonormal basis and a window around them.

        Parameters
        ----------
        points : ndarray, shape (k + 1, n)
            The first one becomes the origin; two give a line, three a plane.
        margin : float
            By how much the window reaches beyond the points on every side, as a share of their extent.

        Raises
        ------
        DataError
            When the points do not span k dimensions, up to rounding (that of float32 where they are such numbers).
        """
        points = np.array(points, dtype=np.float64)
        points = _finite(points.reshape(len(points), -1) if points.ndim > 2 else points, "Plane.through: points", 2)
        steps = (points[1:] - points[0]).T
        basis, triangle = np.linalg.qr(steps)
        size = np.abs(np.diag(triangle))
        rounding = 1e-6 if (points == points.astype(np.float32)).all() else 1e-12
        if len(points) < 2 or steps.shape[1] > steps.shape[0] or size.min() <= rounding * np.abs(steps).max():
            raise DataError(
                f"Plane.through: {len(points)} points of {points.shape[1]} variables do not span "
                f"{max(len(points) - 1, 1)} dimensions; leave out repeated points, and those on a line (or plane) "
                "through others."
            )
        basis = basis * np.where(np.diag(triangle) < 0, -1.0, 1.0)
        places = (points - points[0]) @ basis
        low, high = places.min(axis=0), places.max(axis=0)
        spare = margin * (high - low)
        return cls(points[0], basis, Box(low - spare, high + spare))

    @classmethod
    def random(cls, ambient: int, dimension: int = 2, *, half: float = 1.0, seed: int = 0,
               origin: npt.ArrayLike | None = None) -> Plane:  # fmt: skip
        """Plane in a uniformly random direction, with an orthonormal basis and a window around its origin.

        Parameters
        ----------
        ambient, dimension : int
            Number of variables n, and of coordinates k.
        half : float
            The window is [-half, half]^k.
        seed : int
        origin : ndarray, shape (n,), optional
            Zero by default.
        """
        if not 1 <= dimension <= ambient:
            raise ShapeError(f"Plane.random: dimension is {dimension}; it must be 1 to {ambient}.")
        basis, triangle = np.linalg.qr(np.random.default_rng(seed).normal(size=(ambient, dimension)))
        side = np.full(dimension, half)
        centre = np.zeros(ambient) if origin is None else origin
        return cls(centre, basis * np.sign(np.diag(triangle)), Box(-side, side))

    @property
    def ambient(self) -> int:
        """Number of variables n."""
        return len(self.origin)

    @property
    def dimension(self) -> int:
        """Number of coordinates k."""
        return int(self.basis.shape[1])

    def point(self, s: npt.ArrayLike) -> np.ndarray:
        """Points of coordinates s, shape (..., k), as floats of shape (..., n)."""
        return self.origin + _points(s, self.dimension, "Plane.point") @ self.basis.T

    def coordinates(self, X: npt.ArrayLike) -> np.ndarray:
        """Coordinates of the points' nearest points on the plane, shape (..., k)."""
        X = _points(X, self.ambient, "Plane.coordinates")
        return np.linalg.lstsq(self.basis, (X - self.origin).reshape(-1, self.ambient).T, rcond=None)[0].T.reshape(
            *X.shape[:-1], self.dimension
        )

    def polyhedron(self) -> Polyhedron:
        """Window as a polyhedron in the coordinates s; all of R^k without one."""
        if self.window is None:
            return Polyhedron(np.zeros((0, self.dimension)), np.zeros(0))
        return self.window.polyhedron()

    def contains(self, X: npt.ArrayLike, tolerance: float = 1e-9) -> np.ndarray:
        """Which points, shape (..., n), lie near the plane, relative to their size, and in the window."""
        s = self.coordinates(X)
        off = np.linalg.norm(self.point(s) - X, axis=-1)
        near = off <= tolerance * (1.0 + np.abs(X).max(axis=-1, initial=0.0))
        if self.window is None:
            return np.asarray(near)
        rows = self.window.polyhedron()
        slack = tolerance * (1.0 + np.abs(s).max(initial=0.0))
        system = (rows.G, rows.h, rows.E, rows.e)
        inside = contains(system, s.reshape(-1, self.dimension), slack) if slack > 0 else rows.contains(s).ravel()
        return np.asarray(near & inside.reshape(near.shape))

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw n points, uniform in the coordinates of the window, shape (n, variables)."""
        if self.window is None:
            raise ArgumentError("Plane.sample: the plane is unbounded; give it a window.")
        return self.point(self.window.sample(n, seed))


@dataclass(frozen=True, eq=False, init=False)
class Segment:
    """The points between two points, {(1 - s) a + s b : 0 <= s <= 1}; `a` may equal `b`.

    Parameters
    ----------
    a, b : ndarray, shape (n,)
    """

    a: np.ndarray
    b: np.ndarray

    def __init__(self, a: npt.ArrayLike, b: npt.ArrayLike) -> None:
        object.__setattr__(self, "a", _finite(a, "Segment: a", 1))
        object.__setattr__(self, "b", _finite(b, "Segment: b", 1))
        if self.a.shape != self.b.shape:
            raise ShapeError(f"Segment: the ends have shapes {self.a.shape} and {self.b.shape}; they must be equal.")

    @property
    def ambient(self) -> int:
        """Number of variables n."""
        return len(self.a)

    def plane(self) -> Plane:
        """The same points as a slice with one coordinate, 0 at `a` and 1 at `b` (rounded)."""
        return Plane(self.a, (self.b - self.a)[:, None], Box(np.zeros(1), np.ones(1)))

    def point(self, s: npt.ArrayLike) -> np.ndarray:
        """Points of coordinates s, shape (...), as floats of shape (..., n); exactly `a` at 0 and `b` at 1."""
        share = np.asarray(s, dtype=np.float64)[..., None]
        return (1.0 - share) * self.a + share * self.b

    def polyhedron(self) -> Polyhedron:
        """The interval 0 <= s <= 1 as a polyhedron in the coordinate s."""
        return Box(np.zeros(1), np.ones(1)).polyhedron()

    def contains(self, X: npt.ArrayLike, tolerance: float = 1e-9) -> np.ndarray:
        """Which points, shape (..., n), lie within a distance of the segment, relative to their size."""
        X = _points(X, self.ambient, "Segment.contains")
        step = self.b - self.a
        length = float(step @ step)
        share = np.clip((X - self.a) @ step / length, 0.0, 1.0) if length > 0 else np.zeros(X.shape[:-1])
        off = np.linalg.norm(self.point(share) - X, axis=-1)
        return np.asarray(off <= tolerance * (1.0 + np.abs(X).max(axis=-1, initial=0.0)))

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Draw n independent uniform points, shape (n, variables)."""
        return self.point(np.random.default_rng(seed).random(n))
