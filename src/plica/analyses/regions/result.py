"""What regions answer: counts, and cells with vertices, facets, sizes and affine maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from plica.analyses.regions import facets
from plica.core.result import Completeness, Result
from plica.errors import ArgumentError

SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)  # quantiles of a summary


@dataclass(frozen=True, repr=False)
class RegionCountResult(Result):
    """A number of activation regions.

    Attributes
    ----------
    count : int
        Regions with interior inside the domain; when not complete, those found so far, a lower bound.
    dimension : int
        Number of variables of the domain.
    layers : tuple of str
        Choice nodes.
    per_layer : tuple of int
        Activation regions up to every choice node, as far as cells were built for it; 0 where they were not.
    decided : int
        Signs and cells that floats left open and integers decided.
    method : {"polygons", "vertices", "cones", "rows"}
        How: in the plane; by vertices; unbounded domains by cones; by inequalities.
    undecided : int
        Sides of cells for which no proof was found ("rows" only); regions behind them are missing from the count.
    frontier : dict of ndarray, or None
        What a budget left undone, saved with the result: ``count_regions(..., resume=result)`` goes on from there.
        `to_dict` has its number of cells only.
    """

    count: int
    dimension: int
    layers: tuple[str, ...]
    per_layer: tuple[int, ...]
    decided: int
    method: str
    undecided: int = 0
    frontier: dict[str, np.ndarray] | None = None

    @property
    def waiting(self) -> int:
        """Cells that wait in the frontier."""
        return _waiting(self.frontier)

    def to_dict(self) -> dict[str, Any]:
        """As plain Python values; of the frontier the number of cells."""
        own = self if self.frontier is None else replace(self, frontier=None)
        return super(RegionCountResult, own).to_dict() | {"frontier": self.frontier and self.waiting}

    def summary(self) -> str:
        """The count, and the counts per layer."""
        least = "" if self.completeness is Completeness.COMPLETE else "at least "
        lines = [f"{least}{self.count:,} activation regions in {self.dimension} dimensions"]
        shown = [f"{name}: {n:,}" for name, n in zip(self.layers, self.per_layer, strict=True) if n]
        lines += [f"  up to {', '.join(shown)}"] if shown else []
        lines += [f"  undecided sides: {self.undecided:,}"] if self.undecided else []
        lines += _goes_on(self.frontier, "count_regions")
        return "\n".join([*lines, f"  decided in integers: {self.decided:,}"])


@dataclass(frozen=True, repr=False)
class RegionsResult(Result):
    """Activation regions with their vertices, and where asked for their affine maps.

    Attributes
    ----------
    count, dimension, layers, per_layer, decided :
        As in `RegionCountResult`.
    units : tuple of int
        Units of every choice node.
    codes : ndarray of uint8, shape (count, ...)
        Branches of all units, packed; `branches` unpacks them.
    bits : tuple of int
        Bits of a branch (1, 8 or 16), per choice node.
    vertices : ndarray, shape (V, dimension)
        Corners of all regions, each once, in the coordinates of the domain.
    errors : ndarray, shape (V,)
        Proven bound of the distance to the exact place, in every coordinate.
    first, corners : ndarray of int64
        Region i has the vertices ``corners[first[i] : first[i + 1]]``; in a plane in counter-clockwise order.
    facet_first, facet_corner_first, facet_corners : ndarray of int64
        Region i has the facets facet_first[i] to facet_first[i + 1], facet f the vertices
        ``facet_corners[facet_corner_first[f] : facet_corner_first[f + 1]]``.
    facet_layers, facet_units : ndarray of int64, shape (facets,)
        Choice node and unit whose change of branch makes the facet; -1 for a side of the domain.
    sizes : ndarray, shape (count,)
        Areas, volumes or lengths in the coordinates of the domain, rounded; NaN above 6 dimensions.
    size : float
        Of the domain; NaN where it is not known.
    origin, basis : ndarray or None
        The domain's points are ``origin + basis @ s``; None where s is the input itself.
    matrices, offsets : ndarray, shapes (count, outputs, dimension) and (count, outputs), or None
        The network on region i is ``matrices[i] @ s + offsets[i]``.
    singular_values : ndarray, shape (count, min(outputs, dimension)), or None
        Of the matrices, decreasing.
    linear : ndarray of int64, shape (count,), or None
        Number of the linear region of every activation region.
    frontier : dict of ndarray, or None
        What a budget left undone, with what later regions are joined to; saved with the result:
        ``regions(..., resume=result)`` goes on from there, after the last part of a stream
        ``stream_regions(..., resume=part)``. About as large as the rest. `to_dict` has its number of cells only.
    """

    count: int
    dimension: int
    layers: tuple[str, ...]
    per_layer: tuple[int, ...]
    decided: int
    units: tuple[int, ...]
    codes: np.ndarray
    bits: tuple[int, ...]
    vertices: np.ndarray
    errors: np.ndarray
    first: np.ndarray
    corners: np.ndarray
    facet_first: np.ndarray
    facet_corner_first: np.ndarray
    facet_corners: np.ndarray
    facet_layers: np.ndarray
    facet_units: np.ndarray
    sizes: np.ndarray
    size: float
    origin: np.ndarray | None = None
    basis: np.ndarray | None = None
    matrices: np.ndarray | None = None
    offsets: np.ndarray | None = None
    singular_values: np.ndarray | None = None
    linear: np.ndarray | None = None
    frontier: dict[str, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.count

    @property
    def waiting(self) -> int:
        """Cells that wait in the frontier."""
        return _waiting(self.frontier)

    def to_dict(self) -> dict[str, Any]:
        """As plain Python values; of the frontier the number of cells."""
        own = self if self.frontier is None else replace(self, frontier=None)
        return super(RegionsResult, own).to_dict() | {"frontier": self.frontier and self.waiting}

    # --- one region ---------------------------------------------------------------------------------------------

    def branches(self, regions: Any = slice(None)) -> np.ndarray:
        """Branches of all units on some regions, node after node, int16 of shape (regions, units)."""
        return unpacked(np.atleast_2d(self.codes[regions]), self.units, self.bits)

    def region(self, i: int | np.integer) -> np.ndarray:
        """Vertices of one region, shape (corners, dimension)."""
        return self.vertices[self.corners[self.first[i] : self.first[i + 1]]]

    def centres(self) -> np.ndarray:
        """Mean of the vertices of every region: a point inside, up to rounding, shape (count, dimension)."""
        total = np.add.reduceat(self.vertices[self.corners], self.first[:-1]) if self.count else self.vertices[:0]
        return total / np.diff(self.first)[:, None]

    def points(self, coordinates: np.ndarray) -> np.ndarray:
        """Input points of coordinates of the domain, shape (..., dimension)."""
        if self.origin is None or self.basis is None:
            return coordinates
        return self.origin + coordinates @ self.basis.T

    # --- facets -------------------------------------------------------------------------------------------------

    @property
    def neighbours(self) -> np.ndarray:
        """Region behind every facet, -1 at the domain's boundary, shape (facets,)."""
        return facets.neighbours_of(self.facet_corners, self.facet_corner_first, self._owner())

    def adjacency(self) -> np.ndarray:
        """Pairs i < j of regions that share a facet, shape (pairs, 2)."""
        pairs = np.column_stack([self._owner(), self.neighbours])
        return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)

    def graph(self) -> Any:
        """Regions and shared facets as a networkx graph."""
        import networkx as nx

        graph = nx.Graph()
        graph.add_nodes_from(range(self.count))
        graph.add_edges_from(self.adjacency().tolist())
        return graph

    def _owner(self) -> np.ndarray:
        return np.repeat(np.arange(self.count), np.diff(self.facet_first))

    # --- distances ----------------------------------------------------------------------------------------------

    def distances(self, point: npt.ArrayLike) -> np.ndarray:
        """Euclidean distance from a point (coordinates of the domain) to every region; 0 inside; rounded."""
        return facets.distances(self._place(point), self.vertices, self.corners, self.first)

    def nearest(self, point: npt.ArrayLike, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The k regions nearest to a point, nearest first, and their distances."""
        if k < 1:
            raise ArgumentError(f"k is {k}; it must be 1 or more.")
        where = self._place(point)
        least = facets.box_distances(where, self.vertices, self.corners, self.first)
        order = np.argsort(least, kind="stable")
        found, at = np.zeros(0), 0
        while at < len(order) and (at < k or np.partition(found, k - 1)[k - 1] >= least[order[at]]):
            chunk = order[at : at + max(k, 64)]
            found = np.append(found, self._distances(where, chunk))
            at += len(chunk)
        best = np.lexsort((order[:at], found))[:k]
        return order[best], found[best]

    def within(self, point: npt.ArrayLike, radius: float) -> np.ndarray:
        """Regions that come within a distance of a point."""
        where = self._place(point)
        near = np.flatnonzero(facets.box_distances(where, self.vertices, self.corners, self.first) < radius)
        return near[self._distances(where, near) < radius]

    def _distances(self, where: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Distances of some regions."""
        first = np.concatenate([[0], np.cumsum(np.diff(self.first)[chosen])])
        parts = [self.corners[self.first[i] : self.first[i + 1]] for i in chosen]
        return facets.distances(where, self.vertices, np.concatenate([self.corners[:0], *parts]), first)

    def _place(self, point: npt.ArrayLike) -> np.ndarray:
        where = np.asarray(point, dtype=np.float64).ravel()
        if len(where) != self.dimension:
            raise ArgumentError(f"point: it has {len(where)} coordinates, the domain {self.dimension}.")
        return where

    # --- sizes and maps -----------------------------------------------------------------------------------------

    def size_quantiles(self, levels: np.ndarray | tuple[float, ...] = SHOWN) -> np.ndarray:
        """Quantiles of the regions' sizes."""
        return np.quantile(self.sizes, levels) if self.count else np.full(len(levels), np.nan)

    @property
    def linear_count(self) -> int | None:
        """Number of linear regions; None where maps were not asked for."""
        return None if self.linear is None else int(self.linear.max(initial=-1)) + 1

    def linear_sizes(self) -> np.ndarray:
        """Sizes of the linear regions, shape (linear_count,)."""
        if self.linear is None:
            raise ArgumentError("linear: the regions were found without their maps; ask for maps=True.")
        return np.bincount(self.linear, weights=self.sizes)

    def show(self, path: Any = None, **options: Any) -> Any:
        """The interactive map of regions in a plane, for a notebook; see `plica.show.widget.RegionMap`."""
        widget = import_module("plica.show.widget").RegionMap(self, **options)
        if path is not None:
            widget.save(path)
        return widget

    def summary(self) -> str:
        """Counts, and how sizes are distributed."""
        least = "" if self.completeness is Completeness.COMPLETE else "at least "
        lines = [f"{least}{self.count:,} activation regions in {self.dimension} dimensions"]
        shown = [f"{name}: {n:,}" for name, n in zip(self.layers, self.per_layer, strict=True) if n]
        lines += [f"  up to {', '.join(shown)}"] if shown else []
        if self.linear is not None:
            lines.append(f"  {self.linear_count:,} linear regions")
        if self.count and np.isfinite(self.sizes).all():
            numbers = ", ".join(f"{v:.3g}" for v in self.size_quantiles())
            lines.append(f"  sizes (smallest, quartiles, largest): {numbers}")
        streamed = self.frontier is not None and str(self.frontier["held"]) == "none"
        lines += _goes_on(self.frontier, "stream_regions" if streamed else "regions")
        return "\n".join([*lines, f"  decided in integers: {self.decided:,}"])


def _waiting(frontier: dict[str, np.ndarray] | None) -> int:
    """Cells that wait."""
    return 0 if frontier is None else int(frontier["waiting"])


def _goes_on(frontier: dict[str, np.ndarray] | None, call: str) -> list[str]:
    """A line of a summary: what is left, and what goes on with it."""
    if frontier is None:
        return []
    left = f"cells that wait: {_waiting(frontier):,}" if _waiting(frontier) else "not everything about them is done"
    return [f"  {left}; {call}(..., resume=this) goes on"]


def packed(branches: np.ndarray, units: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Branches of shape (n, units) as bytes, and how many bits each node's take."""
    parts, bits, at = [np.zeros((len(branches), 0), np.uint8)], [], 0
    for count in units:
        own = branches[:, at : at + count]
        most = int(own.max(initial=0))
        bits.append(1 if most <= 1 else 8 if most < 256 else 16)
        if bits[-1] == 1:
            parts.append(np.packbits(own.astype(np.uint8), axis=1, bitorder="little"))
        else:
            parts.append(np.ascontiguousarray(own.astype(f"<u{bits[-1] // 8}")).view(np.uint8))
        at += count
    return np.concatenate(parts, axis=1), tuple(bits)


def unpacked(codes: np.ndarray, units: tuple[int, ...], bits: tuple[int, ...]) -> np.ndarray:
    """The branches again, int16."""
    parts, at = [np.zeros((len(codes), 0), np.int16)], 0
    for count, size in zip(units, bits, strict=True):
        width = (count * size + 7) // 8
        own = np.ascontiguousarray(codes[:, at : at + width])
        if size == 1:
            parts.append(np.unpackbits(own, axis=1, count=count, bitorder="little").astype(np.int16))
        else:
            parts.append(own.view(f"<u{size // 8}").astype(np.int16))
        at += width
    return np.concatenate(parts, axis=1)
