"""Networks with a known number of regions (Montúfar et al. 2014): foldings, arrangements, Voronoi diagrams."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from plica.analyses.regions import formulas
from plica.analyses.regions.arrangements import braid_family
from plica.analyses.regions.chain import Chain, Construction, check_widths, cube_hyperplanes
from plica.analyses.regions.maxout_constructions import maxout_folding_network, maxout_network
from plica.core.domain import Box
from plica.core.polyhedron import Polyhedron
from plica.errors import ArgumentError, DataError

__all__ = [
    "Construction",
    "absolute_value_network",
    "catalan_network",
    "fold_line",
    "folding_network",
    "maxout_folding_network",
    "maxout_network",
    "shi_network",
    "voronoi_unit",
]


# --- folding by rectifiers -----------------------------------------------------------------------------------------


def fold_line(units: int, most: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Rectifiers whose signed sum folds an interval onto (0, 1).

    Parameters
    ----------
    units : int
        How many, p.
    most : bool
        With three or more units, fold p + 1 times (Serra et al. 2018) instead of p times (Montúfar et al. 2014).

    Returns
    -------
    weight, bias, signs : ndarray, shape (p,)
        The sum is ``signs @ relu(weight x + bias) + constant``.
    constant, length : float
        The interval is (0, length); every fold maps onto (0, 1).

    Notes
    -----
    The units of the paper are max{0, x} and max{0, 2x - 2(k - 1)} (appendix B; section 3.1 prints 2x - (k - 1), which
    does not fold), with alternating signs.
    """
    if not most or units < 3:
        steps = np.arange(units, dtype=np.float64)
        weight = np.where(steps == 0, 1.0, 2.0)
        return weight, -2.0 * steps, (-1.0) ** steps, 0.0, float(units)
    # slopes 1, -1, 1, -2, 1, -1, ...: units 2 and 3 look left, and their jumps add up to the first slope
    slopes = (-1.0) ** np.arange(units + 1) * np.where(np.arange(units + 1) == 3, 2.0, 1.0)
    knots = np.cumsum(1.0 / np.abs(slopes))
    jumps = np.diff(slopes)
    left = np.isin(np.arange(units), (1, 2))
    weight = np.where(left, -1.0, 1.0)
    constant = -float(jumps[left] @ knots[:-1][left])
    return weight, -weight * knots[:-1], jumps, constant, float(knots[-1])


def folding_network(inputs: int, widths: Sequence[int], *, most: bool = False, join: bool = True) -> Construction:
    """The rectifier network of Theorem 4 and eq. (7): every layer but the last folds a cube onto itself.

    Parameters
    ----------
    inputs : int
        n_0.
    widths : sequence of int
        n_l >= n_0; remaining units join the last groups, as in eq. (7).
    most : bool
        Groups of three or more units fold once more (Serra et al. 2018, Theorem 7).
    join : bool
        Join the alternating sums with the next layer's weights, as in the paper; otherwise they are nodes "fold1", ...,
        whose values fill the unit cube.

    Returns
    -------
    Construction
        In the domain, a box of the first layer's group sizes, there are exactly eq. (7) activation regions (with
        `most`, Serra's number), and for n_L > n_0 as many linear regions. The whole space has more.

    Notes
    -----
    All weights are small dyadic numbers. The last layer's hyperplanes are t^n - C(n,1) x_1 t^(n-1) + C(n,2) x_2 t^(n-2)
    - ... = 0 for n_L values of t: n of them meet in one point, the elementary symmetric means of the n values, which
    lies in the cube. The units look in alternating directions, so that no cell leaves all of them inactive.

    Examples
    --------
    >>> folding = folding_network(2, [4, 4, 3])
    >>> folding.regions, folding.domain.upper.tolist()
    (112, [2.0, 2.0])
    """
    check_widths(inputs, widths)
    chain, first = Chain(inputs, join=join), np.ones(inputs)
    scale = None
    for level, n in enumerate(widths[:-1], 1):
        parts = [fold_line(p, most) for p in formulas.group_sizes(n, inputs)]
        lengths = np.array([part[4] for part in parts])
        scale = lengths if level > 1 else np.ones(inputs)
        first = lengths if level == 1 else first
        owner = np.repeat(np.arange(inputs), [len(part[0]) for part in parts])
        weight = np.zeros((n, inputs))
        weight[np.arange(n), owner] = np.concatenate([part[0] for part in parts]) * scale[owner]
        chain.affine(f"units{level}", weight, np.concatenate([part[1] for part in parts]))
        chain.choose(f"relu{level}", "relu")
        sums = np.zeros((inputs, n))
        sums[owner, np.arange(n)] = np.concatenate([part[2] for part in parts])
        chain.affine(f"fold{level}", sums, [part[3] for part in parts])
    weight, bias = cube_hyperplanes(inputs, widths[-1])
    chain.affine(f"units{len(widths)}", weight, bias)
    chain.choose(f"relu{len(widths)}", "relu")
    number = formulas.serra2018_lower if most else formulas.equation7
    source = "Serra et al. (2018), Theorem 7" if most else "Montúfar et al. (2014), appendix B, eq. (7)"
    return Construction(chain.network(), Box(np.zeros(inputs), first), number(inputs, widths), True, source)


# --- folding by absolute values ------------------------------------------------------------------------------------


def absolute_value_network(inputs: int, depth: int, *, kind: str = "abs") -> Construction:
    """Fold space along its axes, again and again (Fig. 2): y -> |y| - 2^-l in layer l.

    Parameters
    ----------
    inputs, depth : int
    kind : {"abs", "relu", "maxout"}
        |z|, relu(z) + relu(-z), or max{z, -z}: a maxout layer of rank 2 is here a rectifier layer with twice the units
        (section 4).

    Returns
    -------
    Construction
        2^(n_0 L) activation regions in (-1, 1)^n_0.
    """
    if inputs < 1 or depth < 1 or kind not in ("abs", "relu", "maxout"):
        raise ArgumentError(
            f"inputs = {inputs}, depth = {depth}, kind = {kind!r}: give 1 or more, and abs, relu or maxout."
        )
    chain, eye = Chain(inputs), np.eye(inputs)
    for level in range(1, depth + 1):
        if kind != "abs":
            pairs = np.kron(eye, [[1.0], [-1.0]])
            chain.affine(f"units{level}", pairs, np.zeros(2 * inputs))
        chain.choose(f"{kind}{level}", kind)
        if kind == "relu":
            chain.affine(f"sum{level}", np.kron(eye, [[1.0, 1.0]]), np.zeros(inputs))
        if level < depth:
            chain.affine(f"shift{level}", eye, np.full(inputs, -(2.0**-level)))
    box = Box(-np.ones(inputs), np.ones(inputs))
    return Construction(chain.network(), box, 2 ** (inputs * depth), True, "Montúfar et al. (2014), Fig. 2, section 4")


# --- arrangements and diagrams -------------------------------------------------------------------------------------


def shi_network(n: int) -> Construction:
    """One layer of n(n-1)/2 maxout units of rank 3 whose cells are those of the Shi arrangement (Example 9).

    Unit (i, j) is max{0, d, 2d - 1} of d = x_i - x_j; (n + 1)^(n - 1) regions.
    """
    return _braid_network(n, [0.0, 1.0, 2.0], [0.0, 0.0, -1.0], (n + 1) ** (n - 1), "Shi")


def catalan_network(n: int) -> Construction:
    """One layer of n(n-1)/2 maxout units of rank 4 whose cells are those of the Catalan arrangement.

    Unit (i, j) is max{-d - 1, 0, d, 2d - 1} of d = x_i - x_j; n! C_n regions.
    """
    number = math.factorial(n) * math.comb(2 * n, n) // (n + 1)
    return _braid_network(n, [-1.0, 0.0, 1.0, 2.0], [-1.0, 0.0, 0.0, -1.0], number, "Catalan")


def _braid_network(n: int, slopes: list[float], heights: list[float], regions: int, name: str) -> Construction:
    if n < 2:
        raise ArgumentError(f"n = {n}: the {name} arrangement needs two or more variables.")
    differences = braid_family(n, (0,))[0].astype(np.float64)
    chain = Chain(n)
    chain.affine("units1", np.kron(differences, np.array(slopes)[:, None]), np.tile(heights, len(differences)))
    chain.choose("maxout1", "maxout", len(slopes))
    source = f"Montúfar et al. (2014), Example 9; Stanley (2004): {name} arrangement"
    return Construction(chain.network(), None, regions, True, source)


def voronoi_unit(sites: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Construction:
    """One maxout unit whose cells are the Voronoi cells of some sites, or, with weights, their power cells.

    Parameters
    ----------
    sites : array, shape (k, n)
        Different points.
    weights : array, shape (k,), optional
        Cell i is where |x - s_i|^2 - w_i is smallest.

    Returns
    -------
    Construction
        The unit is max_i 2 <s_i, x> - |s_i|^2 + w_i = |x|^2 - min_i (|x - s_i|^2 - w_i): the diagram lifted to an upper
        envelope of planes (section 4). `regions` counts the cells of full dimension, exactly for the stored weights.
    """
    sites = np.asarray(sites, dtype=np.float64)
    if sites.ndim != 2 or len(sites) < 1 or not np.isfinite(sites).all():
        raise DataError(f"sites have shape {sites.shape}; they must be k finite points, shape (k, n).")
    heights = -(sites**2).sum(1) + (0.0 if weights is None else np.asarray(weights, dtype=np.float64))
    k, n = sites.shape
    chain = Chain(n)
    chain.affine("units1", 2.0 * sites, heights)
    chain.choose("maxout1", "maxout", k)
    planes = np.column_stack([2.0 * sites, heights])
    first = sorted({tuple(row): i for i, row in reversed(list(enumerate(planes.tolist())))}.values())
    count = 0
    for i in first:
        others = np.delete(planes, i, axis=0) - planes[i]
        distinct = others[others.any(1)]
        count += int(Polyhedron(distinct[:, :n], -distinct[:, n]).dimension()) == n
    return Construction(chain.network(), None, count, True, "Montúfar et al. (2014), section 4")
