"""Which regions share a facet, and distances from points to polygons."""

from __future__ import annotations

import numpy as np


def neighbours_of(corners: np.ndarray, corner_first: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The region behind every facet, -1 where there is none.

    Parameters
    ----------
    corners : ndarray of int
        Vertices of facet f from ``corner_first[f]`` to ``corner_first[f + 1]``.
    owner : ndarray of int, shape (facets,)
        Region of every facet.

    Notes
    -----
    Facets match when they have the same vertices; a facet's set of vertices is compared by a 128-bit sum of hashes.
    """
    out = np.full(len(owner), -1, np.int64)
    if not len(owner):
        return out
    with np.errstate(over="ignore"):
        keys = np.stack([np.add.reduceat(_mix(corners, salt), corner_first[:-1]) for salt in (1, 2)], axis=1)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    a, b = order[:-1][same], order[1:][same]
    out[a], out[b] = owner[b], owner[a]
    return out


def _mix(numbers: np.ndarray, salt: int) -> np.ndarray:
    """Scrambled words (the finaliser of splitmix64; Steele, Lea, Flood, 2014)."""
    x = numbers.astype(np.uint64) + np.uint64(salt * 0x9E3779B97F4A7C15 & (2**64 - 1))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def distances(point: np.ndarray, vertices: np.ndarray, corners: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Euclidean distance from a point to every interval, convex polygon or polytope; 0 inside."""
    if vertices.shape[1] > 2:
        hulls = zip(first[:-1].tolist(), first[1:].tolist(), strict=True)
        return np.array([hull_distance(vertices[corners[a:b]] - point) for a, b in hulls])
    start, after = _sides(corners, first)
    p, q = vertices[start] - point, vertices[after] - point
    if vertices.shape[1] == 1:
        low, high = np.minimum.reduceat(p[:, 0], first[:-1]), np.maximum.reduceat(p[:, 0], first[:-1])
        return np.maximum(np.maximum(low, -high), 0.0)
    step = q - p
    length = np.maximum((step * step).sum(axis=1), 1e-300)
    share = np.clip(-(p * step).sum(axis=1) / length, 0.0, 1.0)
    to_side = np.linalg.norm(p + share[:, None] * step, axis=1)
    left = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] >= 0.0
    inside = np.logical_and.reduceat(left, first[:-1])
    return np.where(inside, 0.0, np.minimum.reduceat(to_side, first[:-1]))


def hull_distance(corners: np.ndarray) -> float:
    """Euclidean distance from the origin to the convex hull of some points, shape (n, d).

    Minimising |P u|^2 + (1 - sum u)^2 over u >= 0 gives, for u = t w with weights w of sum 1, a minimum over t that
    grows with |P w|; so w are the weights of the nearest point (the step of Lawson and Hanson, 1974, ch. 23, from least
    distance to non-negative least squares).
    """
    from scipy.optimize import nnls

    size = float(np.abs(corners).max(initial=0.0))
    if size == 0.0:
        return 0.0
    rows = np.vstack([corners.T / size, np.ones(len(corners))])
    weights, _ = nnls(rows, np.append(np.zeros(corners.shape[1]), 1.0))
    near = weights @ corners / weights.sum()
    found = float(np.linalg.norm(near))
    return found if found > 1e-12 * size else 0.0


def box_distances(point: np.ndarray, vertices: np.ndarray, corners: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Distance from a point to the box around every region: never more than to the region."""
    low = np.minimum.reduceat(vertices[corners], first[:-1])
    high = np.maximum.reduceat(vertices[corners], first[:-1])
    return np.linalg.norm(np.maximum(np.maximum(low - point, point - high), 0.0), axis=1)


def _sides(corners: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of every side of some polygons."""
    after = np.arange(1, len(corners) + 1)
    after[first[1:] - 1] = first[:-1]
    return corners, corners[after]


def merged_vertices(vertices: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices that are equal up to their errors as one: those kept, and the number of each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    reach = 2.0 * float(error.max(initial=0.0)) * np.sqrt(vertices.shape[1]) + 1e-300
    pairs = cKDTree(vertices).query_pairs(reach, output_type="ndarray")
    gap = np.abs(vertices[pairs[:, 0]] - vertices[pairs[:, 1]]).max(axis=1, initial=0.0)
    pairs = pairs[gap <= error[pairs].sum(axis=1)]
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(vertices), len(vertices)))
    _, number = connected_components(graph, directed=False)
    _, kept = np.unique(number, return_index=True)
    return kept, number.astype(np.int64)
