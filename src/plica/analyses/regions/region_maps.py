"""Affine maps of regions, with error bounds, and linear regions: cells with equal maps joined across facets."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from plica.analyses.regions import solid_stages
from plica.analyses.regions.region_relevance import relevant_branches
from plica.analyses.regions.solid_stages import ExactMaps, Stage, choose, first_front, reach
from plica.core.exact import columns as exact
from plica.core.network import Network
from plica.core.pattern import affine_ball, direct_convolutions
from plica.core.progress import Progress

BYTES = 1 << 26
CELLS = 1 << 12


@dataclass(frozen=True, eq=False)
class Maps:
    """x -> matrices[k] x + offsets[k] with k = number[i] on cell i, and bounds of the errors of both.

    Attributes
    ----------
    number : ndarray of int, shape (cells,)
        Cells where the units that matter for the output take the same branches have one map, computed once.
    first : ndarray of int, shape (n,)
        A cell of each map.
    matrices, matrix_error : ndarray, shape (n, outputs, d)
    offsets, offset_error : ndarray, shape (n, outputs)
    """

    number: np.ndarray
    first: np.ndarray
    matrices: np.ndarray
    offsets: np.ndarray
    matrix_error: np.ndarray
    offset_error: np.ndarray

    def fields(self) -> dict[str, np.ndarray]:
        """Matrices, offsets and singular values, cell by cell."""
        each = {"matrices": self.matrices, "offsets": self.offsets}
        each["singular_values"] = np.linalg.svd(self.matrices, compute_uv=False)
        return {name: values[self.number] for name, values in each.items()}


def affine_maps(net: Network, plan: tuple[Stage, ...], branches: np.ndarray, progress: Progress) -> Maps:
    """Maps of cells from their branches, shape (cells, units)."""
    number, first = _alike(net, plan, branches, progress)
    d, out, n = math.prod(net.input_shape), math.prod(net.output_shape), len(first)
    step = max(1, BYTES // solid_stages.bytes_per_cell(net, d))
    shapes = (n, out, d), (n, out)
    maps = Maps(number, first, *map(np.empty, shapes), *map(np.empty, shapes))
    for a in range(0, n, step):
        progress.check()
        B = branches[first[a : a + step]]
        front = first_front(net, len(B))
        for stage in plan:
            taken = B[:, stage.first : stage.first + stage.count]
            front = choose(reach(front, stage), stage, np.arange(len(B)), taken)
        values, rates = dict(front.values), dict(front.rates)
        with torch.no_grad(), direct_convolutions():
            for node in _tail(net, plan):
                for known, constant in ((values, True), (rates, False)):
                    inputs = [known[name] for name in node.inputs]
                    known[node.name] = affine_ball(node.op, inputs, constant=constant, use_grid=False)
        value, rate = values[net.output], rates[net.output]
        own = slice(a, a + len(B))
        maps.offsets[own] = value.value.reshape(len(B), out).numpy()
        maps.offset_error[own] = value.error.reshape(len(B), out).numpy()
        maps.matrices[own] = rate.value.reshape(len(B), d, out).transpose(1, 2).numpy()
        maps.matrix_error[own] = rate.error.reshape(len(B), d, out).transpose(1, 2).numpy()
    return maps


def _alike(
    net: Network, plan: tuple[Stage, ...], branches: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Number cells by the branches of the units that matter, and the first cell of each number."""
    known: dict[bytes, int] = {}
    number, first = np.empty(len(branches), np.int64), list[int]()
    for a in range(0, len(branches), CELLS):
        progress.check()
        for i, row in enumerate(relevant_branches(net, plan, branches[a : a + CELLS]), a):
            number[i] = known.setdefault(row.tobytes(), len(known))
            if number[i] == len(first):
                first.append(i)
    return number, np.array(first, np.int64)


def _tail(net: Network, plan: tuple[Stage, ...]) -> list:
    """The affine nodes after the last choice."""
    names = [node.name for node in net.nodes]
    return list(net.nodes[names.index(plan[-1].node.name) + 1 :]) if plan else list(net.nodes)


class ExactOutput:
    """Exact affine maps of the output, cell by cell."""

    def __init__(self, net: Network, plan: tuple[Stage, ...]) -> None:
        self.net, self.plan, self.maps = net, plan, ExactMaps(net, plan)
        self.tail = _tail(net, plan)

    def __call__(self, branches: np.ndarray) -> tuple[object, ...]:
        """Scaled integers that are equal exactly for equal maps."""
        known = dict(self.maps.start)
        if self.plan:
            last = self.plan[-1]
            known = dict(self.maps.values(len(self.plan) - 1, branches))
            source = known[last.node.inputs[0]]
            known[last.node.name] = solid_stages._freeze(last.node.op, source, branches[last.first :])
        for node in self.tail:
            known[node.name] = exact.affine(node.op, node.shape, *(known[i] for i in node.inputs))
        found = known[self.net.output]
        up, down = found.scale.numerator, found.scale.denominator
        numbers = [int(v) * up for v in found.numerator.ravel()]
        common = math.gcd(down, *numbers) or 1
        return (down // common, *(v // common for v in numbers))


def linear_regions(
    net: Network, plan: tuple[Stage, ...], branches: np.ndarray, maps: Maps, pairs: np.ndarray, progress: Progress
) -> np.ndarray:
    """Number the linear regions: the label of every cell.

    Parameters
    ----------
    pairs : ndarray of int, shape (m, 2)
        Cells with a common facet.
    """
    both, seat = np.unique(maps.number[pairs], axis=0, return_inverse=True)
    i, j = both.T
    far = (np.abs(maps.offsets[i] - maps.offsets[j]) > maps.offset_error[i] + maps.offset_error[j]).any(axis=1)
    gap = np.abs(maps.matrices[i] - maps.matrices[j]) > maps.matrix_error[i] + maps.matrix_error[j]
    same, output = i == j, ExactOutput(net, plan)
    exactly = functools.cache(lambda k: output(branches[maps.first[k]]))
    for row in np.flatnonzero(~(same | far | gap.any(axis=(1, 2)))).tolist():
        progress.check()
        same[row] = exactly(int(i[row])) == exactly(int(j[row]))
    joined = pairs[same[seat.ravel()]]
    graph = coo_array((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), shape=(len(branches), len(branches)))
    return connected_components(graph, directed=False)[1].astype(np.int64)
