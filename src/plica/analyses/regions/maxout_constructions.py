"""Maxout networks with a known number of regions: folding, and the cones of Theorem 8 (Montúfar et al. 2014)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from plica.analyses.regions import formulas
from plica.analyses.regions.chain import Chain, Construction, check_widths, cube_hyperplanes
from plica.core.domain import Box
from plica.errors import ArgumentError


def maxout_folding_network(inputs: int, widths: Sequence[int], rank: int) -> Construction:
    """Fold by maxout units in all layers but the last, and cut by parallel hyperplanes in the last.

    Parameters
    ----------
    inputs, rank : int
    widths : sequence of int
        n_l >= n_0.

    Returns
    -------
    Construction
        Exactly the number of `region_bounds`' row "maxout folding" in a box. Of p units per coordinate half are
        subtracted, half added, so that concave and convex kinks take turns.
    """
    check_widths(inputs, widths)
    if rank < 2:
        raise ArgumentError(f"rank = {rank}: a maxout unit takes the maximum of 2 or more.")
    chain, first = Chain(inputs), np.ones(inputs)
    for level, n in enumerate(widths[:-1], 1):
        sizes = formulas.group_sizes(n, inputs)
        parts = [_maxout_fold(p, rank) for p in sizes]
        lengths = np.array([formulas.maxout_folds(p, rank) for p in sizes], dtype=np.float64)
        first = lengths if level == 1 else first
        owner = np.repeat(np.arange(inputs), sizes)
        weight = np.zeros((n * rank, inputs))
        scale = np.ones(inputs) if level == 1 else lengths
        rows = np.repeat(owner, rank)
        weight[np.arange(n * rank), rows] = np.concatenate([part[0] for part in parts]) * scale[rows]
        chain.affine(f"units{level}", weight, np.concatenate([part[1] for part in parts]))
        chain.choose(f"maxout{level}", "maxout", rank)
        sums = np.zeros((inputs, n))
        sums[owner, np.arange(n)] = np.concatenate([part[2] for part in parts])
        chain.affine(f"fold{level}", sums, np.zeros(inputs))
    chain.affine(f"units{len(widths)}", *_maxout_cuts(inputs, widths[-1], rank))
    chain.choose(f"maxout{len(widths)}", "maxout", rank)
    number, source = formulas.maxout_lower(inputs, widths, rank), "as Montúfar, Ren, Zhang (2022)"
    return Construction(chain.network(), Box(np.zeros(inputs), first), number, True, source)


def _maxout_fold(units: int, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes and intercepts of the candidates of every unit, and the units' signs: x, folded at 1, 2, 3, ..."""
    slopes, intercepts, signs = [], [], []
    kinks = {-1.0: iter(range(1, 10**9, 2)), 1.0: iter(range(2, 10**9, 2))}  # concave ones, convex ones
    for u in range(units):
        sign, last_odd = (-1.0 if u % 2 == 0 else 1.0), units % 2 == 1 and u == units - 1
        places = [next(kinks[sign]) for _ in range(1 if last_odd else rank - 1)]
        heights = -2.0 * np.concatenate([[0.0], np.cumsum(places)])
        line = 2.0 * np.arange(len(heights)) - (1.0 if u == 0 else 0.0)  # the first unit carries x: -max(-x, ..)
        spare = rank - len(heights)  # candidates that never win
        slopes += [*line, *[line[0]] * spare]
        intercepts += [*heights, *[-1.0] * spare]
        signs.append(sign)
    return np.array(slopes), np.array(intercepts), np.array(signs)


def _maxout_cuts(n: int, count: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of units cut by rank - 1 near, parallel hyperplanes, general otherwise, with corners in the cube."""
    weight, bias = cube_hyperplanes(n, count)
    step = 2.0 ** -math.ceil(math.log2(rank * n * (2.0 * count) ** n))
    if rank * np.abs(bias).max() / step >= 2.0**52:
        raise ArgumentError(
            f"{count} units of rank {rank} on {n} inputs: the weights need more than 53 bits. Use fewer."
        )
    ranks = np.arange(rank, dtype=np.float64)
    heights = step * ranks * (ranks - 1) / 2  # kinks of max_s (s z - heights_s) at 0, step, 2 step, ...
    rows = (weight[:, None, :] * ranks[None, :, None]).reshape(-1, n)
    return rows, (bias[:, None] * ranks - heights).ravel()


def maxout_network(inputs: int, depth: int, rank: int) -> Construction:
    """Theorem 8: L layers of n_0 maxout units of rank k with at least k^(L-1) k^n_0 regions.

    Parameters
    ----------
    inputs : int
        n_0, 2 or more (1 for rank 2).
    depth, rank : int
        L and k.

    Returns
    -------
    Construction
        With one witness per region; their patterns differ.

    Raises
    ------
    ArgumentError
        For one input and rank 3 or more, where the theorem is false.

    Notes
    -----
    The printed construction takes +- coordinate vectors as gradients, which needs an even k <= 2 n_0. Here unit j of a
    layer has the gradients rho^i w_j, i < k, with rho the rotation by 2 pi / k in the plane of the first two
    coordinates, and independent w_j near the first axis: max_i <rho^i w_j, x> does not change when x is turned by rho,
    so all k cones have the same image. The next layer's origin is a point inside it.
    """
    if depth < 1 or rank < 2 or inputs < 1 or (inputs == 1 and rank > 2 and depth > 1):
        raise ArgumentError(
            f"inputs = {inputs}, depth = {depth}, rank = {rank}: Theorem 8 needs two or more inputs, or rank 2; for "
            "one input and rank 3 it is false (two units make at most 7 regions, not 9)."
        )
    chain = Chain(inputs)
    line = np.array([[[1.0]], [[-1.0]]]), np.array([0.5]), 0.4
    cones, centre, radius = _cones(inputs, rank) if inputs > 1 else line
    for level in range(1, depth):
        chain.affine(f"units{level}", cones.transpose(1, 0, 2).reshape(-1, inputs), np.zeros(inputs * rank))
        chain.choose(f"maxout{level}", "maxout", rank)
        chain.affine(f"centre{level}", np.eye(inputs) / radius, -centre / radius)
    levels = (2.0 * np.arange(1, rank) - rank) / rank / math.sqrt(inputs)
    heights = -np.concatenate([[0.0], np.cumsum(levels)])
    steps = np.kron(np.eye(inputs), np.arange(rank, dtype=np.float64)[:, None])
    chain.affine(f"units{depth}", steps, np.tile(heights, inputs))
    chain.choose(f"maxout{depth}", "maxout", rank)
    middles = (2.0 * np.arange(rank) + 1 - rank) / rank / math.sqrt(inputs)
    points = np.stack(np.meshgrid(*[middles] * inputs, indexing="ij"), -1).reshape(-1, inputs)
    for _ in range(1, depth):  # the preimages of every point under every cone
        points = np.concatenate([np.linalg.solve(cone, (radius * points + centre).T).T for cone in cones])
    return Construction(chain.network(), None, rank ** (depth - 1 + inputs), False,
                        "Montúfar et al. (2014), Theorem 8, with rotated k-gons", points)  # fmt: skip


def _cones(n: int, rank: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Gradients (cone, unit, input), and a ball that the images of all cones, cut off at the unit ball, contain."""
    tilt = math.pi / (4 * rank)
    own = np.zeros((n, n))
    own[:, 0] = 1.0
    own[0, :2], own[1, :2] = (math.cos(tilt), -math.sin(tilt)), (math.cos(tilt), math.sin(tilt))
    own[range(2, n), range(2, n)] = 1.0
    cones = []
    for i in range(rank):
        turn, angle = np.eye(n), 2 * math.pi * i / rank
        turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        cones.append(own @ turn.T)
    inside = 0.5 * np.eye(n)[0]  # in the middle of the first cone
    room = 0.5 * math.sin(math.pi / rank - tilt)
    return np.array(cones), own @ inside, 0.9 * room * float(np.linalg.svd(own, compute_uv=False)[-1])
