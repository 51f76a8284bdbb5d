"""Hyperplane arrangements and region bounds by brute force, in rationals, without plica.

Regions by Zaslavsky: all flats (intersections) of the arrangement, their Möbius function by its definition, the
characteristic polynomial, r = (-1)^n chi(-1) and b = (-1)^rank chi(1). Exponential in the number of hyperplanes.
"""

from fractions import Fraction
from itertools import combinations, product
from math import comb, prod

from oracles.polyhedra import echelon


def flat_key(rows, n):
    """Reduced echelon form of {x : a x = b for rows (a, b)}, or None when empty."""
    reduced, pivots = echelon(rows, n)
    if any(r[n] for r in reduced[len(pivots) :]):
        return None
    return tuple(tuple(r) for r in reduced[: len(pivots)])


def flats(normals, offsets):
    """All nonempty intersections, as echelon forms; the whole space is ()."""
    n = len(normals[0])
    rows = [[*map(Fraction, a), Fraction(b)] for a, b in zip(normals, offsets, strict=True)]
    found = {()}
    for size in range(1, n + 1):
        for chosen in combinations(rows, size):
            key = flat_key([list(r) for r in chosen], n)
            if key is not None:
                found.add(key)
    return found, n


def inside(small, large, n):
    """Whether the flat `small` is a subset of `large`: adding large's equations changes nothing."""
    return flat_key([list(r) for r in (*small, *large)], n) == small


def characteristic_polynomial(normals, offsets):
    """Coefficients of chi, that of t^i at place i."""
    found, n = flats(normals, offsets)
    order = sorted(found, key=len)  # by codimension
    mobius = {}
    for flat in order:
        above = [g for g in order if len(g) < len(flat) and inside(flat, g, n)]
        mobius[flat] = 1 if not flat else -sum(mobius[g] for g in above)
    chi = [0] * (n + 1)
    for flat, value in mobius.items():
        chi[n - len(flat)] += value
    return chi


def regions(normals, offsets):
    """Regions and bounded regions (bounded relative to the span of the normals)."""
    chi = characteristic_polynomial(normals, offsets)
    n = len(chi) - 1
    rank = max(len(f) for f in flats(normals, offsets)[0])
    at = lambda t: sum(c * t**i for i, c in enumerate(chi))  # noqa: E731
    return (-1) ** n * at(-1), (-1) ** rank * at(1)


# --- bounds straight from their statements -----------------------------------------------------------------------


def serra_index_set(n0, widths):
    """The set J of Serra et al. (2018), Theorem 1, by trying every tuple."""
    for js in product(*(range(n + 1) for n in widths)):
        if all(j <= min([n0, *(widths[i] - js[i] for i in range(level))]) for level, j in enumerate(js)):
            yield js


def serra(n0, widths):
    return sum(prod(comb(n, j) for n, j in zip(widths, js, strict=True)) for js in serra_index_set(n0, widths))


def zaslavsky(m, n):
    return sum(comb(m, j) for j in range(n + 1))


def montufar2017(n0, widths):
    total = 1
    for level, n in enumerate(widths):
        total *= zaslavsky(n, min([n0, *widths[:level]]))
    return total


def parallel(faces, dimension):
    """Sum of the elementary symmetric polynomials of the faces, by subsets."""
    return sum(prod(s) for j in range(min(dimension, len(faces)) + 1) for s in combinations(faces, j))
