"""The float engine for solids: chunks of cells through the stages, depth first; integers for what floats leave open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from plica.analyses.regions import solid_exact as exact
from plica.analyses.regions import solid_pieces as pieces
from plica.analyses.regions.solid_arithmetic import Cells, Forms, room
from plica.analyses.regions.solid_domain import Domain
from plica.analyses.regions.solid_exact import Task
from plica.analyses.regions.solid_kernels import split
from plica.analyses.regions.solid_sections import count_parts, levels
from plica.analyses.regions.solid_settle import Exactly, known_branches, packable
from plica.analyses.regions.solid_stages import (
    ExactMaps,
    Front,
    bytes_per_cell,
    choose,
    first_front,
    forms,
    reach,
    stages,
)
from plica.core.network import Network
from plica.core.progress import Progress
from plica.errors import BudgetReached

CHUNK = 512  # cells of a chunk
CHUNK_BYTES = 1 << 25
BLOCK = 64  # cells between two looks at the clock
VERTICES = 1 << 14  # room at the start; it grows where needed
DEPTH = 64


@dataclass
class Tally:
    """What has been done.

    Attributes
    ----------
    count : int
        Regions.
    cells : list of int
        Cells of every stage; 0 for the last stage where its cells are not built.
    signs, pieces : int
        Signs decided in integers one by one; pieces and cells done in integers altogether.
    """

    count: int = 0
    cells: list[int] = field(default_factory=list)
    signs: int = 0
    pieces: int = 0


@dataclass(frozen=True, eq=False)
class Batch:
    """Cells that wait for a stage when a budget ends; plain arrays, to be taken up again."""

    stage: int
    cells: Cells


class Sink(Protocol):
    """Takes finished regions."""

    def cells(self, cells: Cells) -> None:
        """Take regions in floats."""

    def tasks(self, tasks: list[Task]) -> None:
        """Take exact regions."""


class Engine:
    """Counts or lists the regions of a network in a bounded domain.

    Parameters
    ----------
    net : Network
    domain : Domain
    progress : Progress
    sink : Sink, optional
        Takes the regions in chunks; without it they are only counted, those of the last stage unbuilt.
    """

    def __init__(self, net: Network, domain: Domain, progress: Progress, sink: Sink | None = None) -> None:
        self.net, self.domain, self.progress, self.sink = net, domain, progress, sink
        self.plan = stages(net)
        self.d = len(domain.size)
        self.exactly = Exactly(ExactMaps(net, self.plan), domain)
        self.branches = sum(s.count for s in self.plan)
        self.tally = Tally(cells=[0] * len(self.plan))
        self.frontier: list[Batch] = []
        self.chunk = int(max(1, min(CHUNK, CHUNK_BYTES // (bytes_per_cell(net, self.d) + 2 * self.branches))))
        self.room = room(self.d)
        self._levels = levels(self.d, 1, 1, 1)

    # --- the walk over stages -----------------------------------------------------------------------------------

    def run(self, batches: list[Batch] | None = None) -> bool:
        """Do everything, or the batches of an earlier run; False when the budget ended before."""
        todo = [] if batches is None else list(batches)
        try:
            if batches is None:
                initial = np.concatenate([np.zeros(0, np.int16), *(s.initial for s in self.plan)])
                whole = Task(self.domain.solid, initial)
                if packable(whole):
                    todo.append(Batch(0, self.exactly.cells([whole])))
                else:
                    self._finish(0, whole)
            while todo:
                batch = todo.pop()
                self._walk(batch.stage, batch.cells, self._front_of(batch))
        except BudgetReached:
            self.frontier += todo
            return False
        return True

    def _front_of(self, batch: Batch) -> Front:
        """Affine maps of cells from their branches."""
        front, B = first_front(self.net), batch.cells.B
        parents = np.zeros(len(B), np.int64)
        for stage in self.plan[: batch.stage]:
            front = choose(reach(front, stage), stage, parents, B[:, stage.first : stage.first + stage.count])
            parents = np.arange(len(B))
        return front if batch.stage or len(B) == 1 else first_front(self.net, len(B))

    def _walk(self, index: int, cells: Cells, front: Front) -> None:
        """Take cells through the stages from `index` on."""
        if index == len(self.plan):
            self._done(cells)
            return
        stage, last = self.plan[index], index + 1 == len(self.plan)
        front = reach(front, stage)
        A, off = forms(front, stage, self.domain.size)
        table = Forms(
            A, off, self.domain.size, stage.first + stage.unit, stage.step, stage.start, stage.position, index,
            stage.binary,
        )  # fmt: skip
        if last and stage.binary and self.sink is None and not cells.at[:, 0].any():
            self._count_last(index, cells, table)
        else:
            self._split(index, cells, table, front)

    def _done(self, cells: Cells) -> None:
        self.tally.count += len(cells.at)
        if self.sink is not None:
            self.sink.cells(cells)

    def _split(self, index: int, cells: Cells, table: Forms, front: Front) -> None:
        """Split cells by a stage and pass what comes out on, chunk by chunk."""
        stage, store = self.plan[index], index + 1 < len(self.plan) or self.sink is not None
        work = pieces.work_of(self.d, self.branches, stage.decisions, VERTICES, DEPTH)
        out = pieces.buffer(self.d, self.branches, self.chunk, VERTICES)
        state = np.zeros(10, np.int64)
        state[pieces.TOP] = state[pieces.CELL] = -1
        try:
            while True:
                self.progress.check()
                status = split(work, self.room, cells, table, state, out, store)
                if status == pieces.GROW:
                    work = pieces.grown(work, 2 * len(work.T), 2 * len(work.at))
                elif status == pieces.DOUBT:
                    self.tally.signs += self.exactly.signs(index, work, cells, state)
                elif status == pieces.CROWDED:
                    self._finish(index, self.exactly.task(index, work, cells, state))
                    state[pieces.TOP] -= 1
                elif status == pieces.FULL and state[pieces.CELLS] == 0:
                    out = pieces.buffer(self.d, self.branches, self.chunk, 2 * len(out.T))
                else:
                    self._pass_on(index, state, out, front)
                    if status == pieces.DONE:
                        return
        except BudgetReached:
            self._keep(index, pieces.stacked(work, cells, table, state))
            self._keep(index, pieces.take(cells, int(state[pieces.CELL]) + 1, len(cells.at)))
            self._note(index, state)
            self._keep(index + 1, pieces.trimmed(out, state))
            raise

    def _note(self, index: int, state: np.ndarray) -> None:
        """Add the cells that the kernel has finished."""
        done, state[pieces.COUNTED] = int(state[pieces.COUNTED]), 0
        self.tally.cells[index] += done
        if index + 1 == len(self.plan) and self.sink is None:
            self.tally.count += done

    def _keep(self, index: int, cells: Cells) -> None:
        """Leave cells for a later run."""
        if len(cells.at):
            self.frontier.append(Batch(index, cells))

    def _pass_on(self, index: int, state: np.ndarray, out: Cells, front: Front) -> None:
        """Empty the buffer into the next stage."""
        self._note(index, state)
        ready = pieces.trimmed(out, state)
        if len(ready.at):
            stage, last = self.plan[index], index + 1 == len(self.plan)
            taken = ready.B[:, stage.first : stage.first + stage.count]
            self._walk(index + 1, ready, front if last else choose(front, stage, ready.parent, taken))

    # --- the last stage -----------------------------------------------------------------------------------------

    def _count_last(self, index: int, cells: Cells, table: Forms) -> None:
        """Count the regions of the last stage cell by cell."""
        n, done = len(cells.at), 0
        counts = np.zeros(n, np.int64)
        if self._levels.A.shape[0] < table.A.shape[1]:
            self._levels = levels(self.d, table.A.shape[1], 1 << 9, 1 << 12)
        while done < n:
            try:
                self.progress.check()
            except BudgetReached:
                self._keep(index, pieces.take(cells, done, n))
                raise
            lv, start, stop = self._levels, done, min(n, done + BLOCK)
            done = count_parts(lv, self.room, cells, table, (start, stop), counts)
            if done < stop:
                self._levels = levels(self.d, lv.A.shape[0], 2 * lv.T.shape[1], 2 * lv.u.shape[1])
            for cell in np.flatnonzero(counts[start:done] < 0) + start:
                counts[cell] = self._count_exactly(index, cells, int(cell))
            self.tally.count += int(counts[start:done].sum())

    def _count_exactly(self, index: int, cells: Cells, cell: int) -> int:
        """Regions of the last stage in one cell, in integers."""
        self.tally.pieces += 1
        solid = self.exactly.solid(cells, cell, known_branches(self.plan, index))
        return exact.count_sections(solid, self.exactly.maps.forms(index, cells.B[cell]))

    def _finish(self, index: int, task: Task) -> None:
        """Finish a task in integers, down to its regions."""
        self.tally.pieces += 1
        if self.sink is None:
            self.tally.count += exact.count(task, index, self.plan, self.exactly.maps, self.progress.check)
            return
        found = list(exact.regions(task, index, self.plan, self.exactly.maps, self.progress.check))
        self.tally.count += len(found)
        self.sink.tasks(found)
