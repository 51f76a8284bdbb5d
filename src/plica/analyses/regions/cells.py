"""Cells of both engines in one form: packed branches, common vertices, facets."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from plica.analyses.regions import facets
from plica.analyses.regions.planar_engine import Engine
from plica.analyses.regions.planar_join import outlines
from plica.analyses.regions.planar_mesh import Mesh, index_type, mesh_of
from plica.analyses.regions.planar_state import Found
from plica.analyses.regions.result import RegionsResult, packed, unpacked
from plica.analyses.regions.solid import SolidRegions
from plica.analyses.regions.solid_exact import decode
from plica.analyses.regions.solid_stages import Stage, stages
from plica.core.network import Network

CELLS = 1 << 12  # whose branches are unpacked at once


@dataclass(frozen=True, eq=False)
class Listed:
    """Cells; fields as in `plica.analyses.regions.result.RegionsResult`, `whole` as in `planar_mesh.Mesh`."""

    plan: tuple[Stage, ...]
    units: tuple[int, ...]
    codes: np.ndarray
    bits: tuple[int, ...]
    vertices: np.ndarray
    errors: np.ndarray
    first: np.ndarray
    corners: np.ndarray
    facet_first: np.ndarray
    facet_corner_first: np.ndarray
    facet_corners: np.ndarray
    facet_layers: np.ndarray
    facet_units: np.ndarray
    sizes: np.ndarray
    whole: bool = True

    def branches(self) -> np.ndarray:
        """Branches of all units, shape (cells, units)."""
        return unpacked(self.codes, self.units, self.bits)

    def pairs(self) -> np.ndarray:
        """Pairs of cells with a common facet."""
        owner = np.repeat(np.arange(len(self.first) - 1), np.diff(self.facet_first))
        found = np.column_stack([owner, facets.neighbours_of(self.facet_corners, self.facet_corner_first, owner)])
        return found[found[:, 0] < found[:, 1]]


def listed_plane(engine: Engine, found: list[Found], *, exact: bool = False) -> Listed:
    """Polygons of the planar engine; the list is emptied. `exact` as for `planar_mesh.mesh_of`."""
    mesh = mesh_of(engine, found, exact=exact)
    units = tuple(stage.count for stage in engine.plan)
    codes, bits = _codes(engine, mesh, units)
    areas, ends = outlines(mesh.vertices, mesh.corners, mesh.first)
    return Listed(
        engine.plan, units, codes, bits, mesh.vertices, mesh.error, mesh.first, mesh.corners, mesh.first,
        np.arange(0, ends.size + 1, 2, dtype=index_type(ends.size)), ends, mesh.layers, mesh.units, areas, mesh.whole,
    )  # fmt: skip


def _codes(engine: Engine, mesh: Mesh, units: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Packed branches; of stages with one form per unit the pattern words are that already."""
    if not units or not len(mesh.words) or not all(engine.units):
        rows = np.empty((len(mesh.words), sum(units)), np.int16)
        for a in range(0, len(rows), CELLS):
            rows[a : a + CELLS] = engine.exact.branches(mesh.words[a : a + CELLS], len(units))
        return packed(rows, units)
    words = np.ascontiguousarray(mesh.words).view(np.uint8)
    if all(count % 64 == 0 for count in units):
        return words, (1,) * len(units)
    at, parts = 0, []
    for count in units:
        parts.append(words[:, at : at + (count + 7) // 8])
        at += (count + 63) // 64 * 8
    return np.concatenate(parts, axis=1), (1,) * len(units)


def listed_again(net: Network, earlier: RegionsResult) -> Listed:
    """The cells of a result."""
    own = {f.name: getattr(earlier, f.name) for f in fields(Listed) if f.name not in ("plan", "whole")}
    return Listed(plan=stages(net), **own)


def listed_solid(net: Network, solid: SolidRegions) -> Listed:
    """Polytopes of the solid engine, with common vertices."""
    cells, plan = solid.cells, stages(net)
    units = tuple(stage.count for stage in plan)
    codes, bits = packed(cells.patterns, units)
    kept, number = facets.merged_vertices(cells.vertices, cells.error)
    per_facet = np.diff(cells.corner_first)
    owner = np.repeat(np.arange(len(cells)), np.diff(cells.facet_first))
    own = cells.corners + np.repeat(cells.first[owner], per_facet)
    makers = np.array([decode(int(code))[:2] for code in cells.facet_code], np.int64).reshape(-1, 2)
    layers, owners = makers[:, 0], np.full(len(makers), -1)
    for i, stage in enumerate(plan):
        chosen = layers == i
        decision = np.searchsorted(stage.start, makers[chosen, 1], side="right") - 1
        owners[chosen] = stage.unit[decision]
    return Listed(
        plan, units, codes, bits, cells.vertices[kept], cells.error[kept], cells.first, number, cells.facet_first,
        cells.corner_first, number[own], layers, owners, cells.volumes(),
    )  # fmt: skip
