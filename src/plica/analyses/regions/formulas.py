"""Formulas for numbers of linear regions, in Python integers; nothing here knows a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from flint import fmpz_poly


def zaslavsky(hyperplanes: int, dimension: int) -> int:
    """Most regions of so many hyperplanes: sum over j <= dimension of C(hyperplanes, j) (Zaslavsky 1975).

    Attained exactly by arrangements in general position.
    """
    return parallel_regions({1: hyperplanes}, dimension)


def parallel_regions(faces: Mapping[int, int], dimension: int) -> int:
    """Most cells that units with several faces each cut a space of this dimension into.

    Parameters
    ----------
    faces : mapping of int to int
        ``{f: n}``: n units that are affine on f + 1 parts of a line (a function of one number with f knots) or the
        maximum of f + 1 affine functions.
    dimension : int
        Of the space.

    Returns
    -------
    int
        ``sum over j <= dimension of e_j``, with e_j the elementary symmetric polynomial of the units' face numbers; for
        n equal units C(n, j) f^j.

    Notes
    -----
    Attained by f parallel hyperplanes for each unit, otherwise in general position. For maxima: Montúfar, Ren, Zhang
    (2022); their number is exact for one layer of maxout units.
    """
    total = fmpz_poly([1])  # the product of (1 + f x)^n, up to x^dimension
    for f, n in sorted(faces.items()):
        terms = [c * f**j for j, c in enumerate(binomials(n, dimension))]
        total = fmpz_poly((total * fmpz_poly(terms)).coeffs()[: dimension + 1])
    return sum(map(int, total.coeffs()))


# --- lower bounds for the maximum over the parameters --------------------------------------------------------------


def group_sizes(width: int, groups: int) -> list[int]:
    """Sizes of groups of units that differ by at most one, smaller ones first."""
    size, larger = divmod(width, groups)
    return [size] * (groups - larger) + [size + 1] * larger


def pascanu2013(inputs: int, widths: Sequence[int]) -> int:
    """Pascanu, Montúfar, Bengio (2013), Theorem 1: prod floor(n_l / n_0) sum C(n_L, j)."""
    return math.prod(n // inputs for n in widths[:-1]) * zaslavsky(widths[-1], inputs)


def theorem4(inputs: int, widths: Sequence[int]) -> int:
    """Montúfar et al. (2014), Theorem 4: prod floor(n_l / n_0)^n_0 sum C(n_L, j)."""
    return math.prod((n // inputs) ** inputs for n in widths[:-1]) * zaslavsky(widths[-1], inputs)


def equation7(inputs: int, widths: Sequence[int]) -> int:
    """Montúfar et al. (2014), eq. (7): Theorem 4 with the remaining units put to use."""
    folds = math.prod(p for n in widths[:-1] for p in group_sizes(n, inputs))
    return folds * zaslavsky(widths[-1], inputs)


def folds_of(units: int) -> int:
    """Most folds of a line by so many rectifiers: one more than units from three on (Serra et al. 2018, s. 4)."""
    return units + 1 if units >= 3 else units


def serra2018_lower(inputs: int, widths: Sequence[int]) -> int:
    """Serra, Tjandraatmadja, Ramalingam (2018), Theorem 7, with the remaining units put to use as in eq. (7).

    The theorem is for n_l >= 3 n_0; a group of one or two rectifiers folds once or twice, as in Theorem 4.
    """
    folds = math.prod(folds_of(p) for n in widths[:-1] for p in group_sizes(n, inputs))
    return folds * zaslavsky(widths[-1], inputs)


def maxout_folds(units: int, rank: int) -> int:
    """Folds of a line by a signed sum of so many maxout units.

    Of an even number of units of rank k half are added, half subtracted, so that convex and concave kinks take turns;
    of an odd number the last one contributes one kink.
    """
    even = units - units % 2
    return even * (rank - 1) + units % 2 + 1


def maxout_lower(inputs: int, widths: Sequence[int], rank: int) -> int:
    """Folds by maxout units in all layers but the last, which cuts by parallel hyperplanes."""
    folds = math.prod(maxout_folds(p, rank) for n in widths[:-1] for p in group_sizes(n, inputs))
    return folds * parallel_regions({rank - 1: widths[-1]}, inputs)


# --- upper bounds for every choice of the parameters ---------------------------------------------------------------


def montufar2017(inputs: int, layers: Sequence[Mapping[int, int]], dimensions: Sequence[int] | None = None) -> int:
    """Product over layers of the most cells in the dimension that arrives there (Montúfar 2017, Proposition 3).

    Parameters
    ----------
    inputs : int
    layers : sequence of mapping
        Faces of the units of every layer, as in `parallel_regions`; ``{1: n}`` for n rectifiers.
    dimensions : sequence of int, optional
        Largest dimension of what each layer reads; by default the smallest width so far.
    """
    if dimensions is None:
        widths = [inputs, *(sum(layer.values()) for layer in layers)]
        dimensions = list(accumulate(widths, min))[: len(layers)]
    return math.prod(parallel_regions(layer, d) for layer, d in zip(layers, dimensions, strict=True))


def serra2018(inputs: int, widths: Sequence[int]) -> int:
    """Serra, Tjandraatmadja, Ramalingam (2018), Theorem 1, rectifiers only.

    The sum of prod C(n_l, j_l) over the set J of all (j_1, ..., j_L) with 0 <= j_l <= n_l and
    j_l <= min(n_0, n_1 - j_1, ..., n_(l-1) - j_(l-1)).

    Notes
    -----
    Summed from the last layer on: T_l(d) = sum_{j <= min(d, n_l)} C(n_l, j) T_(l+1)(min(d, n_l - j)) is the sum over
    j_l, ..., j_L when the minimum so far is d. The terms with n_l - j >= d share one factor and the others depend on
    n_l - j alone, so prefix sums make it a few products per layer and d, instead of the size of J.
    """
    after = [1] * (inputs + 1)  # T_(l+1)(d)
    for n in reversed(widths):
        after = _layer_sums(n, after)
    return after[inputs]


def _layer_sums(n: int, after: list[int]) -> list[int]:
    """T_l(d) for every d, from T_(l+1)."""
    choose = binomials(n, len(after) - 1)
    wide = list(accumulate(choose, initial=0))  # wide[i]: the first i binomials
    # narrow[i]: the first i terms whose dimension n - j is that of the active units; larger ones are not asked for
    terms = (c * after[n - j] if n - j < len(after) else 0 for j, c in enumerate(choose))
    narrow = list(accumulate(terms, initial=0))
    out = []
    for d in range(len(after)):
        split, end = max(0, min(d, n - d) + 1), min(d, n) + 1
        out.append(after[d] * wide[split] + narrow[end] - narrow[split])
    return out


def binomials(n: int, top: int) -> list[int]:
    """C(n, 0), ..., C(n, min(n, top))."""
    return list(accumulate(range(1, min(n, top) + 1), lambda c, j: c * (n - j + 1) // j, initial=1))


def hinz2019(inputs: int, widths: Sequence[int], histogram: str = "binomial") -> int:
    """Hinz, van de Geer (2019): regions counted by the dimension of their images, pushed through by matrices.

    Parameters
    ----------
    inputs : int
    widths : sequence of int
        Rectifiers per layer.
    histogram : {"all", "zaslavsky", "binomial"}
        How many regions of each image dimension a layer of n' rectifiers is assumed to make of a region of dimension n:
        2^n' of dimension min(n, n'); as many as an arrangement has, of dimension min(n, n'); or C(n', j) of dimension
        min(n, n' - j), j <= n. They give Proposition 3, Montúfar (2017) and Serra et al. (2018).

    Notes
    -----
    The bound is the sum of the entries of B_(n_L) M ... B_(n_1) M e_(n_0), where column n of B_(n') is the histogram
    and M passes dimensions on; here every B has n_0 + 1 rows and columns, so that M is the identity. Cost: n_0^2
    products per layer.
    """
    column = np.zeros(inputs + 1, dtype=object)
    column[inputs] = 1
    for n in widths:
        column = _histograms(n, inputs, histogram) @ column
    return int(column.sum())


def _histograms(n: int, inputs: int, histogram: str) -> np.ndarray:
    """Column d: how many regions of each dimension a layer of n rectifiers makes of one of dimension d."""
    B = np.zeros((inputs + 1, inputs + 1), dtype=object)
    choose = binomials(n, inputs)
    for d in range(inputs + 1):
        if histogram == "binomial":
            for j in range(min(d, n) + 1):
                B[min(d, n - j), d] += choose[j]
        else:
            B[min(d, n), d] += 2**n if histogram == "all" else sum(choose[: d + 1])
    return B
