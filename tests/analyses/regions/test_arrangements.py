"""Numbers of regions of arrangements: against the intersection lattice, and known families."""

from __future__ import annotations

from fractions import Fraction
from math import comb, factorial

import numpy as np
import pytest

from oracles import arrangements as oracle
from plica.analyses.regions.arrangements import arrangement_regions, braid_family
from plica.core.progress import Progress
from plica.errors import BudgetReached, DataError, ShapeError


@pytest.mark.big(sample=25)
@pytest.mark.parametrize("seed", range(200))
def test_small_arrangements_against_the_intersection_lattice(seed):
    """Entries of -1, 0, 1: parallel, repeated, central and lower-rank arrangements are all among them."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 4)), int(rng.integers(1, 7))
    normals, offsets = rng.integers(-1, 2, size=(m, n)), rng.integers(-1, 2, size=m)
    normals[~normals.any(1)] = 1
    found = arrangement_regions(normals, offsets)
    assert list(found.polynomial) == oracle.characteristic_polynomial(normals.tolist(), offsets.tolist())
    assert (found.regions, found.bounded) == oracle.regions(normals.tolist(), offsets.tolist())


@pytest.mark.parametrize("n", range(2, 7))
def test_shi_and_catalan(n):
    """(n + 1)^(n - 1) and n! C_n; bounded regions of both: (n - 1)^(n - 1) and n! C_(n-1)."""
    shi = arrangement_regions(*braid_family(n, (0, 1)))
    assert (shi.regions, shi.bounded) == ((n + 1) ** (n - 1), (n - 1) ** (n - 1))
    if n < 6:
        catalan = arrangement_regions(*braid_family(n, (-1, 0, 1)))
        number = comb(2 * n, n) // (n + 1), comb(2 * n - 2, n - 1) // n
        assert (catalan.regions, catalan.bounded) == (factorial(n) * number[0], factorial(n) * number[1])


@pytest.mark.parametrize(("n", "m"), [(1, 5), (2, 6), (3, 7), (4, 6), (5, 5)])
def test_general_position_attains_zaslavskys_number(n, m):
    rng = np.random.default_rng(n)
    found = arrangement_regions(rng.normal(size=(m, n)), rng.normal(size=m))
    assert found.regions == sum(comb(m, j) for j in range(n + 1))
    assert found.bounded == comb(m - 1, n)


def test_braid_and_cube():
    assert arrangement_regions(*braid_family(5, (0,))).regions == factorial(5)
    assert arrangement_regions(np.eye(4), np.zeros(4)).regions == 16


def test_floats_are_the_rationals_they_are():
    """0.1 + 0.2 is not 0.3: three lines that seem to meet in a point do not."""
    normals, offsets = [[1, 0], [0, 1], [1, 1]], [0.1, 0.2, 0.3]
    assert arrangement_regions(normals, offsets).regions == 7
    exact = np.array([Fraction(1, 10), Fraction(1, 5), Fraction(3, 10)], dtype=object)
    assert arrangement_regions(normals, exact).regions == 6
    assert arrangement_regions([[1e-300, 0], [1, 0]], [1e-300, 1]).regions == 2


def test_empty_and_bad_input():
    assert arrangement_regions(np.zeros((0, 3)), np.zeros(0)).regions == 1
    assert arrangement_regions([[0, 0]], [1]).regions == 1
    with pytest.raises(ShapeError, match=r"\(m, n\) and \(m,\)"):
        arrangement_regions([[1, 2]], [1, 2])
    with pytest.raises(DataError, match="not finite"):
        arrangement_regions([[1.0, np.nan]], [1.0])
    with pytest.raises(BudgetReached):
        arrangement_regions(*braid_family(5, (0, 1)), progress=Progress(max_seconds=0.0))
