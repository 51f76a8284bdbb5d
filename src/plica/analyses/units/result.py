"""What the analyses of units answer."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import fmpz

from plica.core.result import Result
from plica.errors import ArgumentError


@dataclass(frozen=True, repr=False)
class UnitMapsResult(Result):
    """Linear maps of units at inputs: unit(x) = <map, x> + offset on the piece of the input.

    Attributes
    ----------
    layer : str
        Name of the value the units belong to.
    units : ndarray of int, shape (u,)
        Flat indices.
    maps : ndarray, shape (n, u, *input_shape)
        Gradient of every unit on the piece of every input.
    offsets : ndarray, shape (n, u)
    values : ndarray, shape (n, u)
        What the units give at the inputs.
    pieces : ndarray of int, shape (n,)
        Equal for inputs on the same piece of the layer, numbered in order of appearance.
    error : float
        Largest difference of <map, x> + offset from the value, divided by the largest value.
    """

    layer: str
    units: np.ndarray
    maps: np.ndarray
    offsets: np.ndarray
    values: np.ndarray
    pieces: np.ndarray
    error: float

    @property
    def active(self) -> np.ndarray:
        """Where a unit is positive, boolean (n, u)."""
        return self.values > 0

    def column(self, unit: int) -> int:
        """Place of a unit among `units`."""
        found = np.flatnonzero(self.units == unit)
        if not len(found):
            raise ArgumentError(f"unit = {unit}: this result has the units {self.units.tolist()[:20]}.")
        return int(found[0])

    def summary(self) -> str:
        """Sizes, and how many maps are different."""
        inputs, count = self.values.shape
        different = len(np.unique(self.pieces))
        share = (
            f"{100 * self.active.mean():.0f} % of the responses are positive" if self.values.size else "no responses"
        )
        return (
            f"{self.layer}: {count} units at {inputs} inputs on {different} different pieces; {share}; "
            f"map and value agree to {self.error:.1e}"
        )


@dataclass(frozen=True, repr=False)
class UnitClustersResult(Result):
    """The different maps of every unit, as a few representatives.

    Attributes
    ----------
    layer : str
    units : ndarray of int, shape (u,)
    centres : ndarray, shape (u, k, *input_shape)
        Means of the clusters; zero where a unit has fewer maps than k.
    members : ndarray of int, shape (u, k)
        Input whose map is nearest to the centre: the representative, a map that the unit really has; -1 for none.
    representatives : ndarray, shape (u, k, *input_shape)
        Those maps.
    sizes : ndarray of int, shape (u, k)
        Inputs in each cluster, largest first.
    active : ndarray of int, shape (u,)
        Inputs at which the unit is positive: only they are clustered.
    spread : ndarray, shape (u,)
        Largest Euclidean distance between two representatives of the unit.
    """

    layer: str
    units: np.ndarray
    centres: np.ndarray
    members: np.ndarray
    representatives: np.ndarray
    sizes: np.ndarray
    active: np.ndarray
    spread: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """Places of the units, the ones with the most different responses first."""
        return np.argsort(-self.spread, kind="stable")

    def differences(self, unit: int) -> np.ndarray:
        """Differences of a unit's representatives, shape (k, k, *input_shape); entry (i, j) is i minus j (Fig. 9)."""
        found = np.flatnonzero(self.units == unit)
        if not len(found):
            raise ArgumentError(f"unit = {unit}: this result has the units {self.units.tolist()[:20]}.")
        maps = self.representatives[found[0]]
        return maps[:, None] - maps[None]

    def summary(self) -> str:
        """The units with the most different responses."""
        lines = [f"{self.layer}: {self.members.shape[1]} clusters for each of {len(self.units)} units, by k-means"]
        for i in self.order[:10]:
            sizes = ", ".join(map(str, self.sizes[i][self.members[i] >= 0]))
            lines.append(
                f"  unit {self.units[i]}: spread {self.spread[i]:.4g}; active at {self.active[i]} inputs: {sizes}"
            )
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class EqualActivationResult(Result):
    """Inputs at which one unit has exactly the same value (Fig. 10).

    Attributes
    ----------
    layer : str
    unit : int
        Flat index.
    level : float
        The value.
    sources : ndarray of int, shape (k,)
        Inputs from which the points were found.
    before : ndarray, shape (k,)
        The unit's value there.
    points : ndarray, shape (k, *input_shape)
        The points, rounded to floats.
    maps : ndarray, shape (k, *input_shape)
        The unit's linear map on the points' pieces.
    low, high : ndarray, shape (k, *input_shape)
        Ends of a short segment on one piece; the unit is at most `level` at the one and at least `level` at the other.
    shares : ndarray of text, shape (k,)
        The exact point is low + share (high - low), with the share a fraction "p/q": the unit's value there is `level`
        in exact arithmetic.
    errors : ndarray, shape (k,)
        Float value of the unit at the rounded point minus `level`.
    distances : ndarray, shape (k,)
        Euclidean distances from the sources.
    reason : str
        Why there are fewer points than asked for; empty otherwise.
    """

    layer: str
    unit: int
    level: float
    sources: np.ndarray
    before: np.ndarray
    points: np.ndarray
    maps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shares: np.ndarray
    errors: np.ndarray
    distances: np.ndarray
    reason: str

    def exact_point(self, i: int) -> list[Fraction]:
        """Coordinates of a point as fractions, in flat order."""
        share = Fraction(*(int(fmpz(digits)) for digits in str(self.shares[i]).split("/")))
        ends = zip(self.low[i].ravel().tolist(), self.high[i].ravel().tolist(), strict=True)
        return [Fraction(a) + share * (Fraction(b) - Fraction(a)) for a, b in ends]

    def summary(self) -> str:
        """One line per point."""
        lines = [f"unit {self.unit} of {self.layer} is exactly {self.level:.6g} at {len(self.sources)} points"]
        rows = zip(self.sources, self.before, self.distances, self.errors, strict=True)
        lines += [
            f"  from input {i}, where it is {v:.4g}: {d:.3g} away, rounded point off by {e:.1e}" for i, v, d, e in rows
        ]
        return "\n".join((*lines, *([self.reason] if self.reason else [])))
