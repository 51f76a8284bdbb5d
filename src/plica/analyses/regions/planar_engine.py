"""The planar engine: chunks of polygons through the stages of a network, depth first.

Floats with proven bounds decide signs; what they leave open is decided in integers, vertex by vertex, or for a whole
cell. Rows of new vertices are made only when their chunk is taken up, so memory is about depth times chunk.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from plica.analyses.regions.pages import keep_pages
from plica.analyses.regions.planar_exact import Exact, ratio
from plica.analyses.regions.planar_fine_maps import FineMaps
from plica.analyses.regions.planar_fine_tier import FineTier
from plica.analyses.regions.planar_kernels import FULL, MOST, UNIT, pack_signs
from plica.analyses.regions.planar_maxima import groups_of, needs_rounds, split_maxima
from plica.analyses.regions.planar_move import carry, combine, compact, places, positive_norms
from plica.analyses.regions.planar_rows import SAFE, TINY, FormBound, Pusher, Rows, choice_norm, choice_of, is_relu
from plica.analyses.regions.planar_settle import Settler
from plica.analyses.regions.planar_split import split_binary
from plica.analyses.regions.planar_state import (
    Ahead,
    Chunk,
    Found,
    Item,
    Polygons,
    Split,
    Tally,
    Waiting,
    Window,
    after_split,
    bit_words,
    bytes_per_vertex,
    first_split,
    forms_are_units,
)
from plica.analyses.regions.solid_stages import stages
from plica.core.choice import Piecewise
from plica.core.network import INPUT, Network
from plica.core.progress import Progress
from plica.errors import BudgetReached, SolverError

CHUNK = 1024
CHUNK_BYTES = 1 << 24
BENDS = 8  # rows are carried over a choice where cells fall into fewer parts than units / BENDS


class Engine:
    """Counts, or hands out, the cells of a network on a polygon in its two inputs.

    Parameters
    ----------
    net : Network
        With two inputs.
    window : Window
    progress : Progress
    max_regions : float
        Stop when so many are found.
    sink : callable, optional
        Called with finished cells, one call at a time. None: only count.
    """

    def __init__(
        self,
        net: Network,
        window: Window,
        progress: Progress,
        *,
        max_regions: float = math.inf,
        sink: Callable[[Found], None] | None = None,
    ) -> None:
        self.net, self.window, self.progress, self.sink = net, window, progress, sink
        self.max_regions = max_regions
        self.plan = stages(net)
        self.pusher = Pusher(net, self.plan)
        self.exact = Exact(net, self.plan, window.lines)
        radius = max(abs(ratio(v, p[2])) for p in window.corners for v in p[:2])
        self.lock = threading.Lock()
        self.tally = Tally(cells=[0] * len(self.plan))
        self.alive = [bit_words(real) for real in self.exact.real]
        self.units = [forms_are_units(stage) for stage in self.plan]
        self.rectified = [u and is_relu(stage.node.op) for u, stage in zip(self.units, self.plan, strict=True)]
        self.groups = groups_of(net, self.plan, self.rectified, self.exact.starts)
        self.radius = radius
        self.settler: Settler | None = None  # made when floats leave something open for the first time
        widest = max((bytes_per_vertex(net, stage) for stage in self.plan), default=1)
        self.chunk = max(32, min(CHUNK, CHUNK_BYTES // (12 * widest)))
        keep_pages()
        self.items: list[Item | Waiting] = [Item(first_split(net, window, radius), slice(0, 1))]

    # --- the loop -----------------------------------------------------------------------------------------------

    def run(self, threads: int = 1) -> None:
        """Work until nothing is left or a budget ends (`BudgetReached`); what is left stays in `items`."""
        try:
            while self.items and not self.plan:
                self._step(self.items.pop())  # one cell that nothing cuts, whatever the time
            if threads <= 1:
                self._work_alone()
            else:
                self._work_together(threads)
        finally:
            if self.settler is not None:
                self.tally.exact_vertices, self.tally.exact_cells = self.settler.vertices, self.settler.cells
        if self.items:
            raise BudgetReached(f"max_regions = {self.max_regions:g} is reached.")

    def _settle(self) -> Settler:
        """Who decides what floats leave open."""
        with self.lock:
            if self.settler is None:
                maps = FineMaps(self.net, self.plan, self.pusher.nodes, self.window.lines)
                fine = FineTier(maps, self.groups, self.exact.real, 4.0 * UNIT * self.radius)
                self.settler = Settler(self.exact, fine, self.units, self.radius)
            return self.settler

    def _work_alone(self) -> None:
        while self.items and self.tally.count < self.max_regions:
            self.progress.check()
            self._step(self.items.pop())
            self.progress.report("regions", self.tally.count)

    def _work_together(self, threads: int) -> None:
        ready, busy, failed = threading.Condition(self.lock), [0], list[BaseException]()

        def take() -> Item | Waiting | None:
            with ready:
                while not self.items and busy[0] and not failed:
                    ready.wait()
                if failed or not self.items or self.tally.count >= self.max_regions:
                    return None
                busy[0] += 1
                return self.items.pop()

        def work() -> None:
            while (item := take()) is not None:
                try:
                    self.progress.check()
                    self._step(item)
                except BaseException as error:
                    failed.append(error)  # raised again below, in the caller's thread
                    with ready:
                        self.items.append(item)
                with ready:
                    busy[0] -= 1
                    ready.notify_all()

        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(work) for _ in range(threads)]:
                future.result()
        self.progress.report("regions", self.tally.count)
        if failed:
            raise failed[0]

    def frontier(self) -> list[Waiting]:
        """What is left to do, each chunk by itself; later runs of this engine, or of another, take it as `items`."""
        opened = []
        for item in self.items:
            chunk = item.chunk if isinstance(item, Waiting) else self._open(item)
            opened += [] if chunk is None else [Waiting(chunk, item.path)]
        self.items = list(opened)
        return opened

    def _step(self, item: Item | Waiting) -> None:
        """Take some cells through one stage."""
        chunk = item.chunk if isinstance(item, Waiting) else self._open(item)
        if chunk is None:
            return
        for i, split in enumerate(self._split(chunk)):
            cells = len(split.polygons)
            if split.stage + split.done == len(self.plan):
                self._open(Item(split, slice(0, cells), (*item.path, i)))
                continue
            size = self.chunk if chunk.stage or cells > self.chunk else max(1, min(self.chunk, cells // 8))
            parts = [slice(a, min(a + size, cells)) for a in range(0, cells, size)]
            with self.lock:
                self.items.extend(Item(split, part, (*item.path, i, part.start)) for part in parts)

    # --- from a split to the next stage -------------------------------------------------------------------------

    def _open(self, item: Item) -> Chunk | None:
        """Rows of the cells' vertices before the next stage; None when the cells were the last."""
        s, cells, p = item.split, item.cells, item.split.polygons
        a, b = p.offset[cells.start], p.offset[cells.stop]
        index = np.empty(b - a, np.int64)
        V = len(s.X)
        used = compact(p.index[a:b], np.full(V + len(s.new.names), -1), index)
        X, keys = np.empty((len(used), 5)), np.empty(len(used), np.uint64)
        places(used, V, s.X, s.new.source, s.new.weights, s.keys, s.new.names, X, keys)
        polygons = Polygons(p.offset[cells.start : cells.stop + 1] - a, index, p.label[a:b], p.words[cells])
        stage = s.stage + s.done
        if stage == len(self.plan):
            self._finish(Found(X, keys, polygons, item.path))
            return None
        forms = self.pusher.forms[stage]
        if s.ahead is not None:
            rows, base = self._carry(s, s.ahead, used)
        elif s.done:
            rows, base = self.pusher.push(self._combine(s, used), stage)
        else:
            rows = self._combine(s, used)
            base, forms = self._forms_again(rows, stage)
        with self.lock:
            self.tally.vertices += len(used)
        return Chunk(stage, rows, base, forms, not s.done, X, keys, polygons)

    def _ahead(self, k: Chunk, parts: int) -> Ahead | None:
        """Rows of the next stage at the vertices of a chunk, where those at new ones are made from them."""
        link = self.pusher.links[k.stage]
        if link is None or BENDS * parts > len(link.columns) * len(k.polygons):
            return None
        name = self.plan[k.stage].node.inputs[0]
        Z, size = k.rows.values[name], np.empty(len(k.X))
        positive_norms(Z, size)
        rows = Rows({link.source: np.maximum(Z, 0.0)}, {link.source: k.rows.error[name]}, {link.source: size})
        return Ahead(*self.pusher.push(rows, k.stage + 1), size)

    def _carry(self, s: Split, ahead: Ahead, used: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Rows of the next stage after a split, and the `base` of its forms' bounds."""
        link, name = self.pusher.links[s.stage], self.plan[s.stage].node.inputs[0]
        assert link is not None  # else there is nothing ahead
        n, after = len(used), link.target
        rows, error, norm, base = np.empty((n, link.columns.shape[1])), np.empty(n), np.empty(n), np.empty(n)
        old = (s.rows.values[name], s.rows.error[name], s.rows.norm[name])
        there = (ahead.rows.values[after], ahead.rows.error[after], ahead.rows.norm[after], ahead.base, ahead.size)
        carry(used, len(s.X), old, there, s.new.source, s.new.weights, (link.columns, *link.bound),
              (rows, error, norm, base))  # fmt: skip
        return Rows({after: rows}, {after: error}, {after: norm}), base

    def _forms_again(self, rows: Rows, stage: int) -> tuple[np.ndarray, FormBound]:
        """Bounds of forms whose values were combined: each unit within its row's error."""
        name = self.plan[stage].node.inputs[0]
        units = 1.0 + (self.plan[stage].minus >= 0)
        return rows.error[name], FormBound(units * SAFE, np.full(len(units), TINY), self.pusher.reach[name], name, 0.0)

    def _finish(self, found: Found) -> None:
        with self.lock:
            self.tally.count += len(found.polygons)
            if self.sink is not None:
                self.sink(found)

    def _combine(self, s: Split, used: np.ndarray) -> Rows:
        """Rows after the choice of the split's stage (before it, when it is not done)."""
        out = Rows({}, {}, {})
        stage = self.plan[s.stage] if s.stage >= 0 else None
        source = stage.node.inputs[0] if stage is not None else INPUT
        none = np.full((len(s.new.names), 2), -1)
        for name, Y in s.rows.values.items():
            own = stage if name == source else None
            rectify = own is not None and s.done and self.rectified[s.stage] and name not in own.keep
            new, error, norm = np.empty((len(used), Y.shape[1])), np.empty(len(used)), np.empty(len(used))
            tight = s.new.source[:, 3:5] if own is not None and self.units[s.stage] else none
            old = (Y, s.rows.error[name], s.rows.norm[name])
            combine(used, len(s.X), old, s.new.source, s.new.weights, tight, rectify, (new, error, norm))
            if own is None or not s.done:
                out.put(name, new, error, norm)
                continue
            if not rectify:
                if name in own.keep:
                    out.put(name, new, error, norm)
                new, error, norm = self._choose(s.stage, new, error, norm)
            out.put(own.node.name, new, error, norm)
        return out

    def _choose(
        self, index: int, Z: np.ndarray, error: np.ndarray, norm: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values after a choice node, with bounds."""
        node = self.plan[index].node
        op = choice_of(self.plan[index])
        with torch.no_grad():
            value = op.value(torch.from_numpy(Z).reshape(len(Z), *self.net.shape_of(node.inputs[0])))
        flat = np.ascontiguousarray(value.flatten(1).numpy())
        size = np.linalg.norm(flat, axis=1) * SAFE + TINY
        grown = error * choice_norm(op) * SAFE
        if isinstance(op, Piecewise):
            shift = float(op.intercepts.abs().max()) * math.sqrt(Z.shape[1])
            grown = grown + 4.0 * UNIT * (choice_norm(op) * norm + shift + size)
        return flat, grown + TINY, size

    # --- one stage ----------------------------------------------------------------------------------------------

    def _split(self, k: Chunk) -> list[Split]:
        """Cells of a chunk after its stage."""
        stage, emit = self.plan[k.stage], self.sink is not None or k.stage < len(self.plan) - 1
        groups = self.groups[k.stage]
        emit = emit or (groups is not None and needs_rounds(groups))
        total, doubt = 0, np.arange(len(k.polygons))
        counted = 0  # regions that are not built
        splits: list[Split] = []
        if stage.binary:
            total, splits, doubt = self._split_forms(k, doubt, emit=emit)
            counted = 0 if emit else total
            if len(doubt) and not emit and stage.forms > MOST:  # many forms: rounds
                more, splits, doubt = self._split_forms(k, doubt, emit=True)
                total, emit = total + more, True
            if k.stage < len(self.plan) - 1 and len(splits) == 1 and splits[0].done:
                splits = [replace(splits[0], ahead=self._ahead(k, len(splits[0].polygons)))]
        elif groups is not None:
            total, splits, doubt = split_maxima(k, stage.node.inputs[0], groups, emit=emit)
            counted = 0 if emit else total
        if len(doubt):
            more, exact = self._settle().split(k, doubt, emit=emit)
            total, splits = total + more, splits + exact
            counted += 0 if emit else more
        unfinished = sum(len(s.polygons) for s in splits if not s.done)
        with self.lock:
            self.tally.cells[k.stage] += total - unfinished
            self.tally.count += counted
        return splits

    def _split_forms(self, k: Chunk, cells: np.ndarray, *, emit: bool) -> tuple[int, list[Split], np.ndarray]:
        """Cells of a chunk after a stage of questions with two answers, in floats; see `split_binary`."""
        POS, NEG = self._signs(k)
        p, values = k.polygons, self._forms(k)  # vertices may have been recomputed
        chunk = (p.offset, p.index, p.label, k.X, POS, NEG, values)
        bounds = (k.forms.row, k.forms.offset, k.base, k.forms.reach)
        code = np.uint64((k.stage + 1) << 40)
        total, out, doubt = split_binary(chunk, bounds, k.stage << 48, cells, emit, k.keys, code)
        if total == FULL:
            raise SolverError("A kernel of the plane's regions ran out of room: a fault of plica, please report it.")
        return total, after_split(k, out) if emit else [], doubt

    def _forms(self, k: Chunk) -> np.ndarray:
        """Values of the stage's forms at the vertices."""
        stage = self.plan[k.stage]
        Z = k.rows.values[stage.node.inputs[0]]
        if self.units[k.stage]:
            return Z
        C = Z[:, stage.plus]
        if (stage.minus >= 0).any():
            C = C - np.where(stage.minus >= 0, Z[:, stage.minus], 0.0)
        return np.ascontiguousarray(C - stage.knot)

    def _signs(self, k: Chunk) -> tuple[np.ndarray, np.ndarray]:
        """Exact signs of all forms at all vertices, as bit words."""
        C, alive = self._forms(k), self.alive[k.stage]
        POS, NEG = np.empty((len(C), len(alive)), np.uint64), np.empty((len(C), len(alive)), np.uint64)
        base = (k.base + k.forms.reach * k.X[:, 2]) * SAFE
        where = np.empty((256, 2), np.int64)
        found = pack_signs(C, k.forms.row, k.forms.offset, base, alive, k.again, POS, NEG, where)
        if found > len(where):
            where = np.empty((found, 2), np.int64)
            pack_signs(C, k.forms.row, k.forms.offset, base, alive, k.again, POS, NEG, where)
        if found:
            self._settle().signs(k, where[:found], POS, NEG)
        return POS, NEG
