"""Cells by their vertices, split in integers: any dimension, any number of rows through a vertex.

A vertex is a vector of integers (x s, s) with s > 0. It carries the set of rows that are tight there, as bits. A form
cuts a cell if it is positive at one vertex and negative at another; it then cuts every edge between such vertices, and
vertices where it is zero belong to both parts. Two vertices span an edge iff the rows tight at both hold with equality
on a line: iff no third vertex has all of them (the smallest face with both has only these two vertices). Fewer than
D - 1 common rows never suffice; D - 1 do if one of the two vertices has exactly D tight rows, which are independent.

Nothing is rounded, so nothing is in doubt. `count_sections` counts the parts into which forms cut a cell without
building them. With r(P; f_1..f_k) the number of parts of P, r(P; f_1..f_k) = 1 + sum_j r(P_j; f_1..f_(j-1)): P_j is
the section of P by f_j = 0 and only forms that cut P count, coincident ones once (deletion and restriction; Zaslavsky,
Facing up to arrangements, 1975).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import gcd
from operator import mul

import numpy as np

from plica.analyses.regions.solid_stages import ExactMaps, Stage

Point = tuple[int, ...]
_STAGE, _FORM = 48, 24


def code(stage: int, form: int, against: int = -1) -> int:
    """Name of a row: a form of a stage, or its difference to another candidate; the domain's rows are 0, 1, ..."""
    return (stage + 1) << _STAGE | form << _FORM | (against + 1)


def decode(name: int) -> tuple[int, int, int]:
    """Stage (-1 for a row of the domain), form, other candidate (-1 for none)."""
    low = name & ((1 << _STAGE) - 1)
    if name == low:
        return -1, name, -1
    return (name >> _STAGE) - 1, low >> _FORM, (low & ((1 << _FORM) - 1)) - 1


@dataclass(frozen=True, eq=False)
class Solid:
    """A polytope with an interior, exactly.

    Attributes
    ----------
    points : tuple of integer vectors, each of D + 1 entries
    tight : tuple of int
        Rows tight at each vertex, as bits into `rows`.
    rows : tuple of int
        Names (`code`) of the rows.
    """

    points: tuple[Point, ...]
    tight: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.points[0]) - 1


def reduced(point: tuple[int, ...] | list[int]) -> Point:
    """Point without common divisor, s > 0."""
    common = gcd(*point)
    if point[-1] < 0:
        common = -common
    return tuple(v // common for v in point) if common != 1 else tuple(point)


def compact(solid: Solid) -> Solid:
    """Without rows that are tight at no vertex."""
    used = 0
    for bits in solid.tight:
        used |= bits
    if used.bit_count() == len(solid.rows):
        return solid
    places = [i for i in range(len(solid.rows)) if used >> i & 1]
    tight = tuple(sum(1 << k for k, i in enumerate(places) if bits >> i & 1) for bits in solid.tight)
    return Solid(solid.points, tight, tuple(solid.rows[i] for i in places))


def edges(tight: list[int] | tuple[int, ...], above: list[int], below: list[int], dimension: int) -> Iterator[tuple]:
    """Edges between two sets of vertices, with the rows tight on them."""
    sizes = [bits.bit_count() for bits in tight]
    for u in above:
        for w in below:
            common = tight[u] & tight[w]
            if common.bit_count() < dimension - 1:
                continue
            if min(sizes[u], sizes[w]) > dimension and any(
                common & bits == common for k, bits in enumerate(tight) if k not in (u, w)
            ):
                continue
            yield u, w, common


def _between(u: Point, a: int, w: Point, b: int) -> Point:
    """Where a form with values a > 0 at u and b < 0 at w (in homogeneous coordinates) is zero."""
    return reduced([a * y - b * x for x, y in zip(u, w, strict=True)])


def values(row: tuple[int, ...], points: tuple[Point, ...]) -> list[int]:
    """Form at points, times their positive s."""
    return [sum(map(mul, row, point)) for point in points]


def cut(solid: Solid, row: tuple[int, ...], name: int) -> tuple[Solid | None, Solid | None]:
    """Parts where a form is <= 0 and >= 0, None for one without interior; a form that is zero everywhere is <= 0."""
    z = values(row, solid.points)
    if max(z) <= 0:
        return solid, None
    if min(z) >= 0:
        return None, solid
    bit = 1 << len(solid.rows)
    above, below = ([k for k, v in enumerate(z) if v * side > 0] for side in (1, -1))
    shared = [(p, t | bit) for p, t, v in zip(solid.points, solid.tight, z, strict=True) if v == 0]
    for u, w, common in edges(solid.tight, above, below, solid.dimension):
        shared.append((_between(solid.points[u], z[u], solid.points[w], z[w]), common | bit))
    out = []
    for side in (below, above):
        vertices = [(solid.points[k], solid.tight[k]) for k in side] + shared
        points, tight = zip(*vertices, strict=True)
        part = Solid(points, tight, (*solid.rows, name))
        out.append(compact(part) if len(part.rows) > 40 else part)
    return out[0], out[1]


# --- the parts of a cell ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Task:
    """A part of a cell in the middle of a stage.

    Attributes
    ----------
    solid : Solid
    branches : ndarray of int16
        Of all stages; those from `decision` on are not yet decided.
    decision : int
        The next one.
    candidate, opponent : int
        Inside a group: which candidate's part this is (-1 before any is named), and which it is compared with next.
    """

    solid: Solid
    branches: np.ndarray
    decision: int = 0
    candidate: int = -1
    opponent: int = 0


def split(task: Task, index: int, stage: Stage, maps: ExactMaps) -> Iterator[Task]:
    """Cells of a stage inside a task, last decisions first."""
    rows = maps.forms(index, task.branches)
    pending = [task]
    while pending:
        todo = pending.pop()
        while todo.decision < stage.decisions:
            step = _binary if stage.binary else _group
            parts = step(todo, index, stage, rows)
            if not parts:
                break
            todo = parts.pop()
            pending += parts
        else:
            yield todo


def _binary(task: Task, index: int, stage: Stage, rows: list) -> list[Task]:
    """A task's parts after a decision of one form."""
    k = task.decision
    below, above = cut(task.solid, rows[k], code(index, k))
    parts = []
    if below is not None:
        parts.append(Task(below, task.branches, k + 1))
    if above is not None:
        branches = task.branches.copy()
        branches[stage.first + stage.unit[k]] += stage.step[k]
        parts.append(Task(above, branches, k + 1))
    return parts


def _group(task: Task, index: int, stage: Stage, rows: list) -> list[Task]:
    """A task's parts after one comparison of two candidates, or one task for each candidate."""
    k = task.decision
    first, end = int(stage.start[k]), int(stage.start[k + 1])
    if task.candidate < 0:
        return [Task(task.solid, task.branches, k, c, first) for c in reversed(range(first, end))]
    here, other = task.candidate, task.opponent
    if other == here:
        other += 1
    if other >= end:
        branches = task.branches.copy()
        branches[stage.first + stage.unit[k]] = stage.position[here]
        return [Task(task.solid, branches, k + 1)]
    gap = tuple(a - b for a, b in zip(rows[here], rows[other], strict=True))
    _, above = cut(task.solid, gap, code(index, here, other))
    if above is None:  # equal everywhere: the lower position wins
        equal = not any(values(gap, task.solid.points))
        above = task.solid if equal and here < other else None
    return [] if above is None else [Task(above, task.branches, k, here, other + 1)]


# --- counting without building ----------------------------------------------------------------------------------


def count_sections(solid: Solid, rows: list[tuple[int, ...]]) -> int:
    """Number of parts into which forms cut a solid."""
    return _sections(solid.points, solid.tight, rows, solid.dimension)


def _sections(points: tuple[Point, ...], tight: tuple[int, ...], rows: list, dimension: int) -> int:
    active: list[tuple[tuple[int, ...], list[int]]] = []
    seen: set[tuple[int, ...]] = set()
    for row in rows:
        z = values(row, points)
        if max(z) <= 0 or min(z) >= 0:
            continue
        lead = next(v for v in z if v)
        scale = gcd(*z) * (1 if lead > 0 else -1)
        pattern = tuple(v // scale for v in z)  # proportional values: the same section
        if pattern not in seen:
            seen.add(pattern)
            active.append((row, z))
    total = 1
    for j, (_, z) in enumerate(active):
        if j == 0 or dimension == 1:
            total += 1
            continue
        above, below = ([k for k, v in enumerate(z) if v * side > 0] for side in (1, -1))
        shared = [(points[k], tight[k]) for k, v in enumerate(z) if v == 0]
        for u, w, common in edges(tight, above, below, dimension):
            shared.append((_between(points[u], z[u], points[w], z[w]), common))
        inside, bits = zip(*shared, strict=True)
        total += _sections(inside, bits, [row for row, _ in active[:j]], dimension - 1)
    return total


def count(task: Task, index: int, plan: tuple[Stage, ...], maps: ExactMaps, check: Callable[[], None]) -> int:
    """Number of regions of the stages from `index` on inside a task; `check` is called now and then."""
    check()
    if index == len(plan):
        return 1
    stage = plan[index]
    if index == len(plan) - 1 and stage.binary:
        return count_sections(task.solid, maps.forms(index, task.branches)[task.decision :])
    parts = split(task, index, stage, maps)
    return sum(count(Task(part.solid, part.branches), index + 1, plan, maps, check) for part in parts)


def regions(
    task: Task, index: int, plan: tuple[Stage, ...], maps: ExactMaps, check: Callable[[], None]
) -> Iterator[Task]:
    """Regions of the stages from `index` on inside a task, one by one."""
    check()
    if index == len(plan):
        yield task
        return
    for part in split(task, index, plan[index], maps):
        yield from regions(Task(part.solid, part.branches), index + 1, plan, maps, check)
