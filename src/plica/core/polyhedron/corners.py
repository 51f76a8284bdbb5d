"""Vertices, rays, facets and volume of polyhedra of low dimension, in exact integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from operator import mul
from typing import NamedTuple

import daqp
import numpy as np
from flint import fmpz, fmpz_mat

from plica.core.exact.integers import null_space, particular, pivots, row_integers, select, stack, transpose
from plica.core.polyhedron.cone import partition
from plica.core.polyhedron.decide import Facts
from plica.core.polyhedron.extent import hull_basis
from plica.core.progress import Progress
from plica.core.result import Standing
from plica.errors import BudgetReached, SolverError

Row = list[int]
EXACT_FACETS = 2_000_000  # rows^2 x variables up to which every facet is decided exactly


class FacetRows(NamedTuple):
    """Rows of G that define the facets, one row a facet.

    Attributes
    ----------
    rows : ndarray of int
        Ascending; of rows that define the same facet, the lowest.
    standing : Standing
        CERTIFIED, or NUMERICAL above the size where every row is decided exactly.
    """

    rows: np.ndarray
    standing: Standing


@dataclass(frozen=True)
class Chart:
    """Exact coordinates t of the affine hull: x = (base + basis t) / denominator, with integers throughout.

    Attributes
    ----------
    base, basis : fmpz_mat, shapes (n, 1) and (n, d)
    denominator : fmpz
        Positive.
    """

    base: fmpz_mat
    basis: fmpz_mat
    denominator: fmpz

    def point(self, t: Row, s: int) -> list[Fraction]:
        """Point of the coordinates t / s."""
        moved = (self.base * s + self.basis * _column(t)).entries()
        return [Fraction(int(v), int(self.denominator) * s) for v in moved]

    def direction(self, t: Row) -> list[int]:
        """Direction of x for a direction of t."""
        return [int(v) for v in (self.basis * _column(t)).entries()]


@dataclass(frozen=True)
class Corners:
    """Generators of a polyhedron inside its affine hull, and which rows are tight there.

    Attributes
    ----------
    chart : Chart
    generators : list of (t, s)
        Integers: the vertex t / s for s > 0, the ray t for s = 0.
    tight : list of int
        For every generator the rows that are tight, as bits; bit i is row i of `rows`, the last bit is s >= 0.
    rows : ndarray of int
        Rows of G that are not implied equalities.
    lines : bool
        Whether the polyhedron contains lines; its generators then belong to a section without lines.
    """

    chart: Chart
    generators: list[tuple[Row, int]]
    tight: list[int]
    rows: np.ndarray
    lines: bool


def corners(facts: Facts, max_vertices: int) -> Corners:
    """Enumerate the generators of a polyhedron that is not empty."""
    chart = _chart(facts)
    kept = np.flatnonzero(~facts.implied)
    d = chart.basis.ncols()
    table = row_integers(np.column_stack([facts.G, facts.h])[kept])
    n, count = facts.G.shape[1], range(len(kept))
    G = select(table, count, range(n))
    offset = select(table, count, [n]) * chart.denominator - G * chart.base
    slopes = (G * chart.basis if d else fmpz_mat(len(kept), 0)).tolist()
    lifted = [[int(v) for v in a] + [-int(b)] for a, b in zip(slopes, offset.entries(), strict=True)]
    rows = [*lifted, [0] * d + [-1]]
    columns = pivots(fmpz_mat(rows))
    rays, tight = _double_description([_reduced([r[j] for j in columns]) for r in rows], max_vertices)
    generators = []
    for ray in rays:
        full = dict(zip(columns, ray, strict=True))
        generators.append(([full.get(j, 0) for j in range(d)], full.get(d, 0)))
    return Corners(chart, generators, tight, kept, len(columns) <= d)


def _chart(facts: Facts) -> Chart:
    """Coordinates of the affine hull; those of the space itself when no equality holds."""
    n = facts.G.shape[1]
    if not facts.flat.nrows():
        return Chart(fmpz_mat(n, 1), null_space(fmpz_mat(0, n)), fmpz(1))
    lifted = stack(
        row_integers(np.column_stack([facts.E, facts.e])),
        row_integers(np.column_stack([facts.G, facts.h])[facts.implied]),
    )
    count = range(lifted.nrows())
    base = particular(select(lifted, count, range(n)), select(lifted, count, [n]))
    if base is None:
        raise SolverError("no solution of the implied equalities was found; please report this polyhedron.")
    basis = null_space(facts.flat)
    # Coordinates are x's own units, divided by the denominator of the base: keep the basis short.
    return Chart(base[0], fmpz_mat(n, basis.ncols(), _short_columns(basis)), base[1])


def _short_columns(basis: fmpz_mat) -> list[fmpz]:
    """Entries of the basis, every column divided by its content."""
    columns = [_reduced([int(v) for v in column]) for column in (transpose(basis).tolist() if basis.ncols() else [])]
    return [fmpz(column[i]) for i in range(basis.nrows()) for column in columns]


def _column(entries: Row) -> fmpz_mat:
    return fmpz_mat(len(entries), 1, entries)


def _reduced(row: Row) -> Row:
    """Row divided by its greatest common divisor."""
    common = math.gcd(*row)
    return [v // common for v in row] if common > 1 else row


def _double_description(rows: list[Row], max_vertices: int) -> tuple[list[Row], list[int]]:
    """Extreme rays of the pointed cone {z : rows z <= 0}, and their tight rows as bits.

    Motzkin's double description: start from as many independent rows as there are dimensions, add the others one by
    one; a new ray lies between two adjacent rays on both sides of the row. Two rays are adjacent when no third ray is
    tight on all rows that both are tight on.
    """
    size = len(rows[0])
    first = pivots(transpose(fmpz_mat(rows)))
    inverse, _ = fmpz_mat([rows[i] for i in first]).inv().numer_denom()  # type: ignore[attr-defined]
    sign_ = -1 if (fmpz_mat([rows[first[0]]]) * inverse)[0, 0] > 0 else 1
    rays = [_reduced([sign_ * int(inverse[i, k]) for i in range(size)]) for k in range(size)]
    done = sum(1 << i for i in first)
    tight = [done & ~(1 << i) for i in first]
    for i in (i for i in range(len(rows)) if not done >> i & 1):
        values = [sum(map(mul, rows[i], ray)) for ray in rays]
        outside = [k for k, v in enumerate(values) if v > 0]
        fresh = list(_between(rays, tight, values, outside, size)) if outside else []
        keep = [k for k, v in enumerate(values) if v <= 0]
        rays, tight = (
            [rays[k] for k in keep] + [ray for ray, _ in fresh],
            [tight[k] | (values[k] == 0) << i for k in keep] + [bits | 1 << i for _, bits in fresh],
        )
        if len(rays) > max_vertices:
            raise BudgetReached(
                f"the polyhedron has more than max_vertices = {max_vertices} vertices and rays so far; raise "
                "max_vertices, or restrict it to a slice of lower dimension."
            )
    return rays, tight


def _between(
    rays: list[Row], tight: list[int], values: list[int], outside: list[int], size: int
) -> Iterator[tuple[Row, int]]:
    """Rays on the new row, between adjacent rays strictly inside and strictly outside."""
    inside = [k for k, v in enumerate(values) if v < 0]
    for u in outside:
        for w in inside:
            common = tight[u] & tight[w]
            if common.bit_count() < size - 2:
                continue
            if any(common & ~bits == 0 for k, bits in enumerate(tight) if k not in (u, w)):
                continue
            ray = [values[u] * b - values[w] * a for a, b in zip(rays[u], rays[w], strict=True)]
            yield _reduced(ray), common


def vertices(facts: Facts, max_vertices: int) -> np.ndarray:
    """Vertices rounded to floats, shape (k, n), in lexicographic order."""
    n = facts.G.shape[1]
    if facts.empty:
        return np.zeros((0, n))
    found = corners(facts, max_vertices)
    if found.lines:
        return np.zeros((0, n))
    exact = sorted(found.chart.point(t, s) for t, s in found.generators if s > 0)
    return np.array([[float(v) for v in x] for x in exact], dtype=np.float64).reshape(len(exact), n)


def rays(facts: Facts, max_vertices: int) -> np.ndarray:
    """Extreme recession directions with largest entry 1, rounded to floats, shape (k, n), in lexicographic order."""
    n = facts.G.shape[1]
    if facts.empty:
        return np.zeros((0, n))
    found = corners(facts, max_vertices)
    if found.lines:
        return np.zeros((0, n))
    exact = [found.chart.direction(t) for t, s in found.generators if s == 0]
    unit = sorted([Fraction(v, max(map(abs, x))) for v in x] for x in exact)
    return np.array([[float(v) for v in x] for x in unit], dtype=np.float64).reshape(len(unit), n)


# --- facets ---------------------------------------------------------------------------------------


def facets(facts: Facts, progress: Progress) -> FacetRows:
    """Irredundant rows; see `Polyhedron.facets`."""
    facts.decide(progress)
    kept = np.flatnonzero(~facts.implied)
    if facts.empty or int(facts.dimension) == 0 or not len(kept):
        return FacetRows(np.zeros(0, dtype=np.int64), Standing.CERTIFIED)
    if len(kept) ** 2 * facts.G.shape[1] > EXACT_FACETS:
        return FacetRows(_facets_in_floats(facts, kept), Standing.NUMERICAL)
    rows = np.column_stack([facts.G, -facts.h])
    equal = np.vstack([np.column_stack([facts.E, -facts.e]), rows[facts.implied]])
    ahead = np.zeros((1, rows.shape[1]))
    ahead[0, -1] = -1.0
    left = kept.tolist()
    # From the last row to the first, so that of rows that say the same the lowest index stays.
    for i in reversed(kept.tolist()):
        others = [k for k in left if k != i]
        if _is_spare(np.vstack([rows[others], ahead]), -rows[i], equal, progress):
            left = others
    return FacetRows(np.array(left, dtype=np.int64), Standing.CERTIFIED)


def _is_spare(others: np.ndarray, flipped: np.ndarray, equal: np.ndarray, progress: Progress) -> bool:
    """Whether a row follows from the others: its flip and the others have no strict point in the affine hull."""
    return bool(partition(np.vstack([others, flipped]), equal, progress).implied.any())


def _facets_in_floats(facts: Facts, kept: np.ndarray) -> np.ndarray:
    """Irredundant rows by daqp's reduction, in coordinates of the hull around an interior point."""
    basis, start = hull_basis(facts), np.array([float(v) for v in facts.inner_point])
    rows, slack = facts.G[kept] @ basis, facts.h[kept] - facts.G[kept] @ start
    length = np.linalg.norm(rows, axis=1)
    moving = length > 1e-12 * np.linalg.norm(facts.G[kept], axis=1)
    kept, rows, slack = kept[moving], rows[moving] / length[moving, None], slack[moving] / length[moving]
    _, first = np.unique(np.round(np.column_stack([rows, slack]), 12), axis=0, return_index=True)
    first = np.sort(first)
    redundant = np.asarray(daqp.minrep(np.ascontiguousarray(rows[first]), np.ascontiguousarray(slack[first])))
    return kept[first[redundant == 0]]


# --- volume ---------------------------------------------------------------------------------------


def volume(facts: Facts, max_vertices: int) -> float:
    """Volume in the polyhedron's own dimension; see `Polyhedron.volume`."""
    if facts.empty:
        return 0.0
    if not facts.bounded:
        return math.inf
    found = corners(facts, max_vertices)
    d = found.chart.basis.ncols()
    points = [[*t, s] for t, s in found.generators]
    total = Fraction(0)
    for simplex in _triangles((1 << len(points)) - 1, d, _faces(found), {}):
        size = abs(int(fmpz_mat([points[k] for k in simplex]).det()))
        total += Fraction(size, math.prod(points[k][-1] for k in simplex))
    basis = found.chart.basis
    stretch = int((transpose(basis) * basis).det()) if d else 1
    unit = Fraction(1, math.factorial(d) * int(found.chart.denominator) ** d)
    return _root((total * unit) ** 2 * stretch)


def _root(square: Fraction) -> float:
    """Square root with about 64 correct bits before the last rounding, at any scale."""
    p, q = square.numerator, square.denominator
    shift = max(0, 64 - (p.bit_length() - q.bit_length()) // 2)
    return float(Fraction(math.isqrt((p << (2 * shift)) // q), 1 << shift))


def _faces(found: Corners) -> list[int]:
    """For every row the generators on it, as bits."""
    return [
        sum(1 << k for k, bits in enumerate(found.tight) if bits >> i & 1)
        for i in range(len(found.rows))
        if any(bits >> i & 1 for bits in found.tight)
    ]


def _triangles(face: int, dimension: int, rows: list[int], known: dict[int, list[list[int]]]) -> list[list[int]]:
    """Triangulation of a face, given by the bits of its vertices: its lowest vertex over its far facets."""
    if face not in known:
        apex = face & -face
        top = apex.bit_length() - 1
        if dimension == 0:
            known[face] = [[top]]
        else:
            cuts = {face & row for row in rows if face & row not in (0, face)}
            sides = [c for c in cuts if not any(c & ~other == 0 for other in cuts if other != c)]
            known[face] = [
                [top, *simplex]
                for side in sorted(sides)
                if not side & apex
                for simplex in _triangles(side, dimension - 1, rows, known)
            ]
    return known[face]
