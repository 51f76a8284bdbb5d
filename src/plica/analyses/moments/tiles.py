"""Tables and tiles for the kernels of `plica.analyses.moments.integral`: rules, units, and the work on threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from plica.analyses.moments.integral import EDGE, STEEP, TILE

SHARES = 8  # parts of the tiles per thread, so that threads end together
# Upper |r| of each rule and its nodes; measured against 30 digits, see tests/analyses/moments/test_integral.py.
NODES = {
    np.dtype(np.float64): ((0.2, 5), (0.35, 6), (0.6, 9), (0.8, 12), (STEEP, 19), (0.999, 33), (1 - EDGE, 76)),
    np.dtype(np.float32): ((0.35, 4), (0.8, 7), (STEEP, 10), (1 - EDGE, 48)),
}


class Rules(NamedTuple):
    """Gauss-Legendre rules on [0, 1], one after the other, each for a range of |r|."""

    limits: np.ndarray
    starts: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray


class Units(NamedTuple):
    """What the integral needs of each unit; all arrays have shape (knots, units), float64.

    `a` is the threshold (mean - knot) / sd, clamped to LIMIT; `scale` the jump of slope times sd; `below`, `half` and
    `square` are the moments of relu(Z - |a|) of orders 0, 1 and 2.
    """

    a: np.ndarray
    scale: np.ndarray
    below: np.ndarray
    half: np.ndarray
    square: np.ndarray


@lru_cache
def rules(dtype: np.dtype) -> Rules:
    """Rules for matrices of this dtype."""
    table = NODES[np.dtype(dtype)]
    parts = [np.polynomial.legendre.leggauss(n) for _, n in table]
    starts = np.cumsum([0, *(n for _, n in table)])
    nodes, weights = (np.concatenate(column) / 2 for column in zip(*parts, strict=True))
    return Rules(np.array([limit for limit, _ in table]), starts, nodes + 0.5, weights)


def tiles(size: int) -> np.ndarray:
    """Upper triangle of tiles of a matrix, shape (n, 2): first row and first column of each."""
    return TILE * np.column_stack(np.triu_indices(-(-size // TILE)))


def grid(rows: int, columns: int) -> np.ndarray:
    """All tiles of a matrix, shape (n, 2)."""
    return TILE * np.argwhere(np.ones((-(-rows // TILE), -(-columns // TILE))))


def over_tiles(every: np.ndarray, work: Callable[[np.ndarray], object]) -> list:
    """Results of `work` on parts of the tiles, on as many threads as torch uses."""
    threads = torch.get_num_threads()
    parts = [part for part in np.array_split(every, threads * SHARES) if len(part)]
    if threads == 1 or len(every) == 1:
        return [work(every)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))
