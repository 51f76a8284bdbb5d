"""Brute force over polyhedra {x : G x <= h, E x = e} in a few variables, in fractions, without plica.

Every polyhedron is conv(points) + cone(rays) + lineality space. A minimal face is a flat {x : G_S x = h_S, E x = e} of
the smallest possible dimension; all of them are found by trying every set S of the right size. Exponential on purpose:
nothing here is clever, so nothing here shares a mistake with the library.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np

Vector = list[Fraction]
Matrix = list[Vector]


def fractions_of(rows) -> Matrix:
    return [[Fraction(float(v)) for v in row] for row in rows]


def dot(a, b) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def echelon(rows: Matrix, width: int) -> tuple[Matrix, list[int]]:
    """Reduced row echelon form over the first `width` columns, and its pivot columns."""
    rows, pivots, top = [list(r) for r in rows], [], 0
    for column in range(width):
        found = next((i for i in range(top, len(rows)) if rows[i][column]), None)
        if found is None:
            continue
        rows[top], rows[found] = rows[found], rows[top]
        lead = rows[top][column]
        rows[top] = [v / lead for v in rows[top]]
        for i in range(len(rows)):
            if i != top and rows[i][column]:
                factor = rows[i][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[top], strict=True)]
        pivots.append(column)
        top += 1
    return rows, pivots


def rank(rows: Matrix) -> int:
    return len(echelon(rows, len(rows[0]))[1]) if rows else 0


def null_space(rows: Matrix, n: int) -> Matrix:
    reduced, pivots = echelon(rows, n) if rows else ([], [])
    basis = []
    for free in (j for j in range(n) if j not in pivots):
        vector = [Fraction(0)] * n
        vector[free] = Fraction(1)
        for i, p in enumerate(pivots):
            vector[p] = -reduced[i][free]
        basis.append(vector)
    return basis


def point_of(rows: Matrix, right: Vector, n: int) -> Vector | None:
    """One solution of rows x = right, or None."""
    reduced, pivots = echelon([[*r, b] for r, b in zip(rows, right, strict=True)], n) if rows else ([], [])
    if any(r[n] for r in reduced[len(pivots) :]):
        return None
    x = [Fraction(0)] * n
    for i, p in enumerate(pivots):
        x[p] = reduced[i][n]
    return x


@dataclass
class Brute:
    """The points, rays and lineality of a polyhedron, and what follows from them."""

    G: Matrix
    h: Vector
    E: Matrix
    e: Vector
    n: int

    @classmethod
    def of(cls, G, h, E, e, n: int) -> Brute:
        self = cls(
            fractions_of(G), [Fraction(float(v)) for v in h], fractions_of(E), [Fraction(float(v)) for v in e], n
        )
        self.lineality = null_space(self.G + self.E, n)
        self.points = self._points()
        self.rays = self._rays() if self.points else []
        return self

    def _points(self) -> Matrix:
        need = self.n - len(self.lineality) - rank(self.E)
        found: Matrix = []
        for S in combinations(range(len(self.G)), need):
            rows = self.E + [self.G[i] for i in S]
            if rank(rows) < self.n - len(self.lineality):
                continue
            x = point_of(rows, self.e + [self.h[i] for i in S], self.n)
            if x is not None and self.contains(x) and x not in found:
                found.append(x)
        return found

    def _rays(self) -> Matrix:
        need = self.n - len(self.lineality) - rank(self.E) - 1
        found: Matrix = []
        if need < 0:
            return found
        for S in combinations(range(len(self.G)), need):
            rows = self.E + [self.G[i] for i in S]
            kernel = null_space(rows, self.n)
            if len(kernel) != len(self.lineality) + 1:
                continue
            kernel = [d for d in kernel if any(dot(g, d) for g in self.G)]
            for d in kernel[:1]:
                for ray in (d, [-v for v in d]):
                    if all(dot(g, ray) <= 0 for g in self.G):
                        found.append(ray)
        return found

    def contains(self, x) -> bool:
        x = [Fraction(v) for v in x]
        return all(dot(g, x) <= b for g, b in zip(self.G, self.h, strict=True)) and all(
            dot(g, x) == b for g, b in zip(self.E, self.e, strict=True)
        )

    @property
    def empty(self) -> bool:
        return not self.points

    def span(self, points: Matrix, rays: Matrix) -> int:
        """Dimension of conv(points) + cone(rays) + lineality; -1 when there are no points."""
        if not points:
            return -1
        return rank([[a - b for a, b in zip(p, points[0], strict=True)] for p in points[1:]] + rays + self.lineality)

    @property
    def dimension(self) -> int:
        return self.span(self.points, self.rays)

    @property
    def bounded(self) -> bool:
        return self.empty or not (self.rays or self.lineality)

    def face(self, i: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Which points and rays lie in the hyperplane of row i."""
        return (
            tuple(k for k, p in enumerate(self.points) if dot(self.G[i], p) == self.h[i]),
            tuple(k for k, d in enumerate(self.rays) if dot(self.G[i], d) == 0),
        )

    @property
    def implied(self) -> list[int]:
        """Rows that hold with equality on the whole polyhedron."""
        everything = (tuple(range(len(self.points))), tuple(range(len(self.rays))))
        return [i for i in range(len(self.G)) if self.face(i) == everything]

    @property
    def facets(self) -> list[int]:
        """Lowest row of every facet; rows that are implied equalities are not facets."""
        seen, result = set(), []
        for i in (i for i in range(len(self.G)) if i not in self.implied):
            points, rays = self.face(i)
            big = self.span([self.points[k] for k in points], [self.rays[k] for k in rays]) == self.dimension - 1
            if big and (points, rays) not in seen:
                seen.add((points, rays))
                result.append(i)
        return [] if self.empty or self.dimension == 0 else result

    def support(self, c) -> Fraction | None:
        """max c.x; None when it is unbounded above."""
        c = [Fraction(float(v)) for v in c]
        if any(dot(c, d) > 0 for d in self.rays) or any(dot(c, d) for d in self.lineality):
            return None
        return max(dot(c, p) for p in self.points)


def eliminate(G: Matrix, h: Vector, n: int) -> bool:
    """Whether {G x <= h} is empty, by Fourier-Motzkin elimination; a second opinion for the enumeration above."""
    rows = {tuple([*g, b]) for g, b in zip(G, h, strict=True)}
    for k in range(n):
        up, down, rest = [], [], set()
        for r in rows:
            (up.append(r) if r[k] > 0 else down.append(r) if r[k] < 0 else rest.add(r))
        for p in up:
            for q in down:
                mixed = [a * -q[k] + b * p[k] for a, b in zip(p, q, strict=True)]
                scale = max((abs(v) for v in mixed), default=Fraction(0)) or Fraction(1)
                rest.add(tuple(v / scale for v in mixed))
        rows = rest
    return any(r[n] < 0 for r in rows)


# --- random systems, half of them degenerate -----------------------------------------------------

KINDS = ("integer", "duplicate", "slab of width 0", "slab of one ulp", "empty by one ulp", "box", "scaled", "gaussian")


def system(kind: str, seed: int, n: int):
    """Random rows (G, h, E, e) of one kind."""
    rng = np.random.default_rng([seed, n, KINDS.index(kind)])
    m = int(rng.integers(0 if kind == "integer" else 1, 7))
    G = rng.integers(-2, 3, (m, n)).astype(float)
    h = rng.integers(-1 if seed % 2 else 0, 3, m).astype(float)
    p = int(rng.integers(0, 4) == 0)
    E, e = rng.integers(-1, 2, (p, n)).astype(float), rng.integers(-1, 2, p).astype(float)
    if kind == "duplicate":
        G, h = np.vstack([G, 3 * G[:2], np.zeros((1, n))]), np.concatenate([h, 3 * h[:2], [float(rng.integers(0, 2))]])
    elif kind.startswith(("slab", "empty")):
        step = {"0": h[0], "p": np.nextafter(h[0], -9 if kind.startswith("empty") else 9)}[
            "0" if kind.endswith("0") else "p"
        ]
        G, h = np.vstack([G, -G[:1]]), np.append(h, -step)
    elif kind == "box":
        G, h = np.vstack([G, np.eye(n), -np.eye(n)]), np.concatenate([h, np.ones(2 * n)])
    elif kind == "scaled":
        size = 10.0 ** rng.integers(-6, 7, m)
        G, h = G * size[:, None] * 0.1, h * size
    elif kind == "gaussian":
        G, h = rng.standard_normal((m, n)), rng.standard_normal(m) + 0.5
    return G, h, E, e


def cases(count: int, dimensions=(1, 2, 3)):
    for kind in KINDS:
        for n in dimensions:
            for seed in range(count):
                yield kind, n, seed, system(kind, seed, n)
