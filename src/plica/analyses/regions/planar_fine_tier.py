"""Between floats and integers: signs at vertices and whole cells, from maps with twice the digits of a float.

Every answer is proven or not given; integers decide what is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from plica.analyses.regions.planar_exact import Point, ratio
from plica.analyses.regions.planar_fine import corners_of, meet, round_at, sign_at, values_at
from plica.analyses.regions.planar_fine_maps import FineMaps, lines_of
from plica.analyses.regions.planar_group_split import split_groups
from plica.analyses.regions.planar_kernels import FULL, NONE, UNIT
from plica.analyses.regions.planar_rivals import UNKNOWN, Groups
from plica.analyses.regions.planar_rows import SAFE, TINY
from plica.analyses.regions.planar_split import Out
from plica.analyses.regions.planar_state import Chunk
from plica.analyses.regions.solid_stages import Stage


@dataclass(frozen=True, eq=False)
class FineParts:
    """Parts of one cell.

    Attributes
    ----------
    offset, index, label : ndarray of int64
        As of `Polygons`; vertices in `X`.
    words : ndarray of uint64
        Of the stage.
    X : ndarray, shape (V, 5)
        x, y, delta, rho, eps.
    keys : ndarray of uint64, shape (V,)
    values, spread : dict
        By name, rows at the vertices, and how far they may be off beside their rounding.
    done : bool
        False when other forms of the stage are left.
    """

    offset: np.ndarray
    index: np.ndarray
    label: np.ndarray
    words: np.ndarray
    X: np.ndarray
    keys: np.ndarray
    values: dict[str, np.ndarray]
    spread: dict[str, float]
    done: bool


class FineTier:
    """Decides with about 32 digits.

    Parameters
    ----------
    maps : FineMaps
    groups : list of Groups or None
        Tables of the stages of maxima.
    real : list of ndarray of bool
        Which forms of each stage divide anything.
    place_error : float
        Of a rounded coordinate.
    """

    def __init__(self, maps: FineMaps, groups: list[Groups | None], real: list[np.ndarray], place_error: float) -> None:
        self.maps, self.place_error = maps, place_error
        self.groups = [_two_sides(s, r) if g is None else g for g, s, r in zip(groups, maps.plan, real, strict=True)]

    def signs(
        self, stage: int, sides: list[int], words: np.ndarray, forms: list[int]
    ) -> tuple[list[int], np.ndarray] | None:
        """Signs of forms of a stage at the corner of two sides of a cell, and the point; None when not told."""
        point = np.empty(5)
        if not meet(self.maps.line(sides[0], words), self.maps.line(sides[1], words), point):
            return None
        read = self.maps.values(stage, words)[self.maps.plan[stage].node.inputs[0]]
        signs = [sign_at(line, point) for line in self.maps.forms(stage, read, np.array(forms))]
        return (signs, point) if all(signs) else None

    def rows(self, stage: int, words: np.ndarray, points: np.ndarray) -> tuple[dict, dict]:
        """Values that a stage reads, at points of a cell, rounded; and how far they are off besides."""
        node, keep = self.maps.plan[stage].node, self.maps.plan[stage].keep
        wanted = {node.inputs[0], *keep} - {node.name}
        values, spread = {}, {}
        far = 1.0 + float(np.abs(points[:, [0, 2]]).max(initial=0.0))
        for name, v in self.maps.values(stage, words).items():
            if name in wanted:
                values[name] = np.empty((len(points), len(v.H)))
                round_at(v.H, v.L, points, values[name])
                spread[name] = float(np.linalg.norm(v.H) * UNIT**2 * 16.0 + 2.0 * np.linalg.norm(v.error)) * far
        return values, spread

    def rows_at(self, stage: int, words: np.ndarray, exact: list[Point]) -> tuple[dict, dict] | None:
        """The same at exact points, with their rounding; None where that is more than that of the values."""
        points = np.array([two_floats(p) for p in exact])
        values, spread = self.rows(stage, words, points)
        spread = {name: 2.0 * s for name, s in spread.items()}
        good = all(spread[n] <= UNIT * np.linalg.norm(v, axis=1).min(initial=np.inf) for n, v in values.items())
        return (values, spread) if good else None

    def near(self, stage: int, words: np.ndarray, exact: list[Point]) -> np.ndarray:
        """What floats tell of a stage on a whole cell with these corners, as `Exact.split` wants it.

        Five roundings of each term at the corners, and the map's own error.
        """
        plan = self.maps.plan[stage]
        read = self.maps.values(stage, words)[plan.node.inputs[0]]
        x = np.array([[1.0, *two_floats(p)[:3:2]] for p in exact])
        H = read.H[plan.plus]
        size, error = np.abs(H), read.off
        if plan.binary:
            other = np.where((plan.minus >= 0)[:, None], read.H[plan.minus], 0.0)
            H, size, error = H - other, size + np.abs(other), 2.0 * read.off
            H[:, 0] -= plan.knot
            size[:, 0] += np.abs(plan.knot)
        values = x @ H.T
        off = SAFE * (16.0 * UNIT * (np.abs(x) @ size.T) + error * np.abs(x).sum(1)[:, None]) + TINY
        if plan.binary:
            return (values > off).all(0).astype(np.int8) - (values < -off).all(0)
        total, group = values.sum(0), np.repeat(np.arange(plan.decisions), np.diff(plan.start))
        most = np.flatnonzero(total == np.maximum.reduceat(total, plan.start[:-1])[group])
        best = most[np.unique(group[most], return_index=True)[1]]
        if len(best) < plan.decisions:  # values that are no numbers
            return np.ones(plan.forms, bool)
        rival = best[group]
        return ~(values[:, rival] - values > off[:, rival] + off).all(0)

    def places(self, points: np.ndarray) -> np.ndarray:
        """x, y, delta, rho, eps of points."""
        X = np.empty((len(points), 5))
        X[:, 0], X[:, 1] = points[:, 0] + points[:, 1], points[:, 2] + points[:, 3]
        X[:, 2], X[:, 3], X[:, 4] = points[:, 4], points[:, 4], self.place_error
        return X

    def split(self, k: Chunk, c: int, *, emit: bool) -> tuple[int, FineParts | None] | None:
        """Number of parts of a cell, and the parts where `emit`; None when not told."""
        p, stage, groups = k.polygons, self.maps.plan[k.stage], self.groups[k.stage]
        own = slice(int(p.offset[c]), int(p.offset[c + 1]))
        words, label = p.words[c], np.ascontiguousarray(p.label[own])
        sides = np.array([self.maps.line(int(v), words) for v in label])
        points = np.empty((len(sides), 5))
        if not corners_of(sides, points):
            return None
        read = self.maps.values(k.stage, words)[stage.node.inputs[0]]
        if stage.binary:
            units = np.zeros((2 * stage.forms, 7))
            units[::2] = self.maps.forms(k.stage, read, np.arange(stage.forms))
        else:
            units = lines_of(read, np.arange(len(read.H)))
        high, low, off = np.empty((len(sides), len(units))), np.empty((len(sides), len(units))), np.empty(len(sides))
        values_at(units, points, high, low, off)
        none = np.zeros(len(groups.unit))
        m = len(label)
        chunk = (np.array([0, m]), np.arange(m), label, self.places(points), high, low)
        bounds = (none + 1.0, none, off, off, 0.0, 4.0 * UNIT * UNIT)
        keys = k.keys[p.index[own]]
        fine = (sides, points, units)
        total, out, doubt = split_groups(chunk, bounds, k.stage, words[None], groups, emit, keys, fine)
        if total == FULL or len(doubt):
            return None
        return total, self._parts(
            k.stage, words, np.concatenate([points, out.weights[:, :5]]), keys, out
        ) if emit else None

    def _parts(self, index: int, words: np.ndarray, points: np.ndarray, keys: np.ndarray, out: Out) -> FineParts:
        """What leaves a cell, with rows for the vertices that are used."""
        stage, label, taken = self.maps.plan[index], out.label, out.words
        if stage.binary:
            new = (label >= 0) & (label >> 48 == index) & (label & NONE != NONE)
            form = ((label >> 24) & NONE) >> 1
            label = np.where(new, (index << 48) + (form << 24) + NONE, label)
            taken = _bits(stage, self.groups[index], taken)
        used, number = np.unique(out.vertex, return_inverse=True)
        points = points[used]
        done = not out.more.any()
        last = done and index + 1 == len(self.maps.plan)  # nothing reads these rows
        values, spread = ({}, {}) if last else self.rows(index, words, points)
        return FineParts(out.offset, number.ravel(), label, taken, self.places(points),
                         np.concatenate([keys, out.names])[used], values, spread, done)  # fmt: skip


def two_floats(point: Point) -> tuple[float, float, float, float, float]:
    """An exact point as in `planar_fine`; its distance is within the rounding of `FineTier.rows_at`."""
    out: list[float] = []
    for v in point[:2]:
        high = ratio(v, point[2])
        p, q = high.as_integer_ratio() if math.isfinite(high) else (0, 1)
        out += [high, ratio(v * q - p * point[2], q * point[2])]
    return out[0], out[1], out[2], out[3], 0.0


def errors_of(values: np.ndarray, spread: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error and norm of rounded rows."""
    norm = np.linalg.norm(values, axis=1) * SAFE + TINY
    return 2.0 * UNIT * norm + spread + TINY, norm


def _two_sides(stage: Stage, real: np.ndarray) -> Groups:
    """A stage of questions with two answers as groups of two: a form (unit 2 f) against zero (unit 2 f + 1)."""
    forms = np.flatnonzero(real)
    both = np.stack([2 * forms, 2 * forms + 1], axis=1).ravel()
    return Groups(2 * np.arange(len(forms) + 1), both, np.tile([1, 0], len(forms)), np.full(len(both), UNKNOWN),
                  np.array([-1, 0, 1]), np.repeat(forms, 2))  # fmt: skip


def _bits(stage: Stage, groups: Groups, taken: np.ndarray) -> np.ndarray:
    """Pattern words of a stage of two answers from those of its groups of two."""
    won = taken.view(np.uint16).reshape(len(taken), -1)[:, : len(groups.form) // 2]
    room = np.zeros((len(taken), (stage.forms + 63) // 64 * 64), np.uint8)
    room[:, groups.form[::2]] = won
    return np.packbits(room, axis=1, bitorder="little").view(np.uint64)
