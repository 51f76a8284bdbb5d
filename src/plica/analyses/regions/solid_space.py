"""Regions of all of space, or of an unbounded polyhedron, unbounded ones included; exact, without linear programs.

Space is the union of d + 1 cones: the cone C_i is spanned by all but the i-th of the vectors e_1, ..., e_d and
-(1, ..., 1). In its coordinates, x = sum l_k g_k with l >= 0; the projective map l = y / (1 - sum y) takes the simplex
y >= 0, sum y < 1 onto the cone, and a . l + b = ((a - b) . y + b) / (1 - sum y), so signs of affine forms become signs
of affine forms: each cone is a bounded domain, and its cells are cut as any others. A region, being convex, meets a
cone in one cell or in none, and one pattern has at most one region; so cells of equal pattern are parts of the same
region.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from plica.analyses.regions import solid_exact as exact
from plica.analyses.regions.solid_arithmetic import Cells
from plica.analyses.regions.solid_cells import from_cells, from_tasks
from plica.analyses.regions.solid_domain import Domain
from plica.analyses.regions.solid_engine import Engine
from plica.analyses.regions.solid_exact import Point, Solid, Task
from plica.analyses.regions.solid_stages import ExactMaps, stages
from plica.core.domain import Plane
from plica.core.exact.columns import to_integers
from plica.core.network import Network
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress, refuse_above

MOST = 10  # variables


@dataclass(eq=False)
class Merged:
    """A region, as far as it is known from the cones.

    Attributes
    ----------
    witness : ndarray, shape (d,)
        A point inside, up to rounding.
    bounded : bool
    codes : set of int
        Forms that it has a facet on; rows of the polyhedron by their numbers.
    walls : set of integer rows
        Walls between cones that one of its parts has a facet on.
    """

    witness: np.ndarray
    bounded: bool = True
    codes: set[int] = field(default_factory=set)
    walls: set[Point] = field(default_factory=set)


@dataclass(frozen=True, eq=False)
class SpaceRegions:
    """Regions of an unbounded domain, by their facets.

    Attributes
    ----------
    patterns : ndarray of int16, shape (n, branches)
    witnesses : ndarray, shape (n, d)
        A point inside every region, up to rounding; vertices and rays are those of ``net.piece(witness)``.
    bounded : ndarray of bool, shape (n,)
    facets : ndarray, shape (f, d + 1)
        Rows (a, b) with a . x + b = 0 on the facet, of either sign, scaled to a largest entry of 1, rounded.
    facet_code : ndarray of int64, shape (f,)
        What the facet lies on: `plica.analyses.regions.solid_exact.decode`.
    facet_first : ndarray of int64, shape (n + 1,)
    nodes : tuple of (str, int, int)
        Name of every choice node, and where its branches stand among the columns of `patterns`.
    complete : bool
    """

    patterns: np.ndarray
    witnesses: np.ndarray
    bounded: np.ndarray
    facets: np.ndarray
    facet_code: np.ndarray
    facet_first: np.ndarray
    nodes: tuple[tuple[str, int, int], ...]
    complete: bool

    def __len__(self) -> int:
        return len(self.patterns)


def space_count(net: Network, where: Polyhedron | None, progress: Progress) -> tuple[int, bool]:
    """Number of regions, and whether it is complete; a set of all patterns is held in memory."""
    seen: set[bytes] = set()
    complete = True
    branches = sum(s.count for s in stages(net))
    for engine, _ in _engines(net, where, progress):
        for found in engine.run():
            rows = np.stack([t.branches for t in found]) if isinstance(found, list) else found.B
            seen.update(row.tobytes() for row in rows.astype(np.int8 if rows.size and rows.max() < 128 else np.int16))
            refuse_above(progress.max_bytes, len(seen) * (branches + 90), f"{len(seen)} patterns", "Bound the domain.")
        complete &= not engine.frontier
    return len(seen), complete


def space_regions(net: Network, where: Polyhedron | None, progress: Progress) -> SpaceRegions:
    """Regions with facets, boundedness and a point inside."""
    known: dict[bytes, Merged] = {}
    complete = True
    for engine, basis in _engines(net, where, progress):
        for found in engine.run():
            _merge(found, engine, basis, known)
        complete &= not engine.frontier
    plan, d = stages(net), math.prod(net.input_shape)
    maps, branches = ExactMaps(net, plan), sum(s.count for s in plan)
    sides = () if where is None else _integers(where)
    patterns = np.array([np.frombuffer(k, np.int16) for k in known], np.int16).reshape(-1, branches)
    facets = [_facets(p, r, maps, sides) for p, r in zip(patterns, known.values(), strict=True)]
    return SpaceRegions(
        patterns,
        np.array([r.witness for r in known.values()]).reshape(-1, d),
        np.array([r.bounded for r in known.values()], np.bool_),
        np.array([_floats(row) for found in facets for row in found]).reshape(-1, d + 1),
        np.array([code for found in facets for code in found.values()], np.int64),
        np.cumsum([0, *map(len, facets)]),
        tuple((s.node.name, s.first, s.first + s.count) for s in plan),
        complete,
    )


def _facets(pattern: np.ndarray, region: Merged, maps: ExactMaps, sides: tuple[Point, ...]) -> dict[Point, int]:
    """Rows of a region's facets up to their sign, each once, with a code.

    A form that vanishes on a wall between cones cuts no cell of a cone; it bounds the region if it is not zero.
    """
    out: dict[Point, int] = {}
    for code in sorted(region.codes):
        stage, form, against = exact.decode(code)
        row = sides[form] if stage < 0 else maps.row(stage, form, pattern, against)
        out.setdefault(_plain(row), code)
    if region.walls:
        walls = {_plain(w) for w in region.walls}
        rows = [*((i, row) for i, row in enumerate(sides)), *_forms(pattern, maps)]
        for code, row in rows:
            if any(row) and (plain := _plain(row)) in walls:
                out.setdefault(plain, code)
    return out


def _forms(pattern: np.ndarray, maps: ExactMaps) -> Iterator[tuple[int, Point]]:
    """Codes and rows of all forms that decide a pattern: units against knots, winners against the others."""
    for index, stage in enumerate(maps.plan):
        for k in range(stage.decisions):
            first, end = int(stage.start[k]), int(stage.start[k + 1])
            if stage.binary:
                yield exact.code(index, k), maps.row(index, k, pattern)
                continue
            taken = pattern[stage.first + stage.unit[k]]
            winner = next(c for c in range(first, end) if stage.position[c] == taken)
            for other in range(first, end):
                if other != winner:
                    yield exact.code(index, winner, other), maps.row(index, winner, pattern, other)


def _plain(row: Point) -> Point:
    """Row without common divisor, its first entry that is not zero positive."""
    common = math.gcd(*row) * (1 if next(v for v in row if v) > 0 else -1)
    return tuple(v // common for v in row)


def _floats(row: Point) -> list[float]:
    scale = max(map(abs, row))
    return [v / scale for v in row]


def _merge(found: Cells | list[Task], engine: Engine, basis: np.ndarray, known: dict[bytes, Merged]) -> None:
    """Add the cells of one cone to the regions that they are parts of."""
    cells = from_tasks(found, engine.exactly) if isinstance(found, list) else from_cells(found)
    d, centres = cells.dimension, cells.centres()
    far = _unbounded(found, d)
    walls = [(*(int(v) for v in row), 0) for row in np.rint(np.linalg.inv(basis))]
    for i, pattern in enumerate(cells.patterns):
        codes = cells.facet_code[cells.facet_first[i] : cells.facet_first[i + 1]].tolist()
        key = pattern.tobytes()
        if key not in known:
            known[key] = Merged(basis @ (centres[i] / (1.0 - centres[i].sum())))
        known[key].bounded &= not far[i]
        known[key].walls.update(walls[c] for c in codes if c < d)
        known[key].codes.update(c if exact.decode(c)[0] >= 0 else c - d - 1 for c in codes if not 0 <= c <= d)


def _unbounded(found: Cells | list[Task], d: int) -> list[bool]:
    """Which cells have a vertex at infinity, on the row named d."""
    if isinstance(found, list):
        return [any(t >> k & 1 for k, name in enumerate(task.solid.rows) if name == d for t in task.solid.tight)
                for task in found]  # fmt: skip
    out = []
    for cell in range(len(found.at)):
        names = found.code[found.rptr[cell] : found.rptr[cell + 1]]
        bits = sum(1 << int(k) for k in np.flatnonzero(names == d))
        out.append(bool((found.T[found.vptr[cell] : found.vptr[cell + 1]] & np.uint64(bits)).any()))
    return out


# --- cones ------------------------------------------------------------------------------------------------------


def _engines(net: Network, where: Polyhedron | None, progress: Progress) -> Iterator[tuple[Engine, np.ndarray]]:
    """An engine for every cone that the domain meets, and the cone's generators as columns."""
    d = math.prod(net.input_shape)
    sides = () if where is None else _integers(where)
    generators = np.column_stack([np.eye(d), -np.ones(d)])
    for i in range(d + 1):
        basis = np.delete(generators, i, axis=1)
        domain = _cone(sides, basis)
        if domain is not None:
            yield Engine(net.on(Plane(np.zeros(d), basis)), domain, progress, build=True), basis


def _integers(where: Polyhedron) -> tuple[Point, ...]:
    """Rows (a, b), a . x + b >= 0 inside, in integers."""
    return tuple(tuple(int(v) for v in to_integers(row)[0]) for row in np.column_stack([-where.G, where.h]))


def _cone(sides: tuple[Point, ...], basis: np.ndarray) -> Domain | None:
    """Part of the domain in a cone, as part of the simplex; None when it has no interior."""
    d = len(basis)
    columns = basis.T.astype(int).tolist()
    rows = [(*(int(i == k) for k in range(d)), 0) for i in range(d)] + [(-1,) * d + (1,)]
    corners = [(0,) * d + (1,)] + [(*(int(i == k) for k in range(d)), 1) for i in range(d)]
    every = (1 << (d + 1)) - 1
    solid = Solid(tuple(corners), (every ^ 1 << d, *(every ^ 1 << i for i in range(d))), tuple(range(d + 1)))
    for side in sides:
        slopes = [sum(a * int(v) for a, v in zip(side, column, strict=False)) for column in columns]
        rows.append((*(a - side[d] for a in slopes), side[d]))
        _, above = exact.cut(solid, rows[-1], len(rows) - 1)
        if above is None and any(rows[-1]):
            return None
        solid = solid if above is None else above
    floats = np.array([_floats(row) if any(row) else [0.0] * (d + 1) for row in rows])
    return Domain(floats, np.ones(d), solid, projective=True, integers=tuple(rows))
