"""Maxima of three or more units in the plane: tables of a stage's candidates, and the split of a chunk in floats."""

from __future__ import annotations

import math

import numpy as np

from plica.analyses.regions.equal_units import equal_units
from plica.analyses.regions.planar_group_split import split_groups
from plica.analyses.regions.planar_kernels import FULL, MOST, UNIT
from plica.analyses.regions.planar_rivals import UNKNOWN, ZERO, Groups
from plica.analyses.regions.planar_rows import SAFE
from plica.analyses.regions.planar_state import Chunk, Split, after_split
from plica.analyses.regions.solid_stages import Stage
from plica.core.affine import Gather, to_numpy
from plica.core.network import Network
from plica.errors import SolverError

NO_LINES = (np.empty((0, 7)), np.empty((0, 5)), np.empty((0, 7)))


def groups_of(net: Network, plan: tuple[Stage, ...], rectified: list[bool], starts: np.ndarray) -> list[Groups | None]:
    """Tables of candidates for the stages of maxima.

    Parameters
    ----------
    net : Network
    plan : tuple of Stage
    rectified : list of bool
        Which stages are rectifiers with one form per unit.
    starts : ndarray of int64
        Where the pattern words of each stage begin.
    """
    rectifiers = {stage.node.name: i for i, stage in enumerate(plan) if rectified[i]}
    out: list[Groups | None] = []
    for stage in plan:
        if stage.binary:
            out.append(None)
            continue
        entry, source = _origin(net, stage.node.inputs[0], set(rectifiers))
        where = np.array([rectifiers[source], starts[rectifiers[source]], 0] if source else [-1, 0, 0], np.int64)
        kind = equal_units(net, stage.node.name)[stage.node.inputs[0]][stage.plus]
        kept, start = _first_of_each(stage, kind)
        origin = np.where(kind == 0, ZERO, entry[stage.plus])[kept]
        out.append(Groups(start, stage.plus[kept], stage.position[kept].astype(np.int64), origin, where, kept))
    return out


def _first_of_each(stage: Stage, kind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates without those that equal an earlier one of their group everywhere, and where the groups begin then."""
    kept: list[int] = []
    start = [0]
    for g in range(stage.decisions):
        first: dict[int, int] = {}
        for f in range(stage.start[g], stage.start[g + 1]):
            first.setdefault(kind[f], f)
        kept += first.values()
        start.append(len(kept))
    return np.array(kept, np.int64), np.array(start, np.int64)


def _origin(net: Network, name: str, rectifiers: set[str]) -> tuple[np.ndarray, str]:
    """For every entry of a value the rectifier's output that it is, looking through nodes that only move entries."""
    entry = np.arange(math.prod(net.shape_of(name)))
    while name not in rectifiers:
        op = net[name].op if name in {node.name for node in net.nodes} else None
        if not isinstance(op, Gather) or op.bias is not None:
            return np.where(entry == ZERO, ZERO, UNKNOWN), ""
        if op.index is not None:
            index = to_numpy(op.index).ravel()
            moved = np.where(entry >= 0, index[np.maximum(entry, 0)], ZERO)
            entry = np.where(moved < 0, ZERO, moved)
        name = net[name].inputs[0]
    return entry, name


def split_maxima(k: Chunk, source: str, groups: Groups, *, emit: bool) -> tuple[int, list[Split], np.ndarray]:
    """Cells of a chunk after a stage of maxima that reads `source`: how many, the cells where `emit`, and the doubtful.

    The doubtful are the numbers of cells that floats do not settle.
    """
    Z, p, forms = k.rows.values[source], k.polygons, k.forms
    chunk = (p.offset, p.index, p.label, k.X, Z, Z[:0])
    at = (k.base + forms.reach * k.X[:, 2]) * SAFE
    bounds = (forms.row[groups.form], forms.offset[groups.form], k.base, at, forms.reach, UNIT)
    total, out, doubt = split_groups(chunk, bounds, k.stage, p.words, groups, emit, k.keys, NO_LINES)
    if total == FULL:
        raise SolverError("A kernel of the plane's maxima ran out of room: a fault of plica, please report it.")
    return total, after_split(k, out) if emit else [], doubt


def needs_rounds(groups: Groups) -> bool:
    """Whether a cell may be cut by more ties than one round takes."""
    sizes = np.diff(groups.start)
    return int((sizes * (sizes - 1) // 2).sum()) > MOST
