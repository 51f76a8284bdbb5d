"""The float engine for solids: chunks of cells through the stages, depth first; integers for what floats leave open."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from plica.analyses.regions import solid_exact as exact
from plica.analyses.regions import solid_pieces as pieces
from plica.analyses.regions.pages import keep_pages
from plica.analyses.regions.solid_arithmetic import Cells, Forms, room
from plica.analyses.regions.solid_ball import exact_near, near
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


Found = Cells | list[Task]  # finished regions: in floats, or exactly


class Engine:
    """Counts or lists the regions of a network in a bounded domain.

    Parameters
    ----------
    net : Network
    domain : Domain
    progress : Progress
    build : bool
        Yield the regions in chunks; without it they are only counted, those of the last stage unbuilt.
    hand_over : callable, optional
        Takes batches of cells for the stages after the first, which are then not done here.
    max_regions : float
        Stop when so many are found, as if the time were over.

    Attributes
    ----------
    frontier : list of Batch
        What a budget has left undone.
    lost : bool
        Whether a budget ended in a domain with more sides than a word has bits, which is done in integers in one go:
        its regions are missing, and nothing can be taken up.
    """

    def __init__(
        self,
        net: Network,
        domain: Domain,
        progress: Progress,
        *,
        build: bool = False,
        hand_over: Callable[[Batch], None] | None = None,
        max_regions: float = math.inf,
    ) -> None:
        self.net, self.domain, self.progress, self.max_regions = net, domain, progress, max_regions
        self.build = build or domain.ball is not None
        self.hand_over = hand_over
        self.plan = stages(net)
        self.d = len(domain.size)
        self.exactly = Exactly(ExactMaps(net, self.plan, projective=domain.projective), domain)
        self.branches = sum(s.count for s in self.plan)
        self.tally = Tally(cells=[0] * len(self.plan))
        self.frontier: list[Batch] = []
        self.lost = False
        self.chunk = int(max(1, min(CHUNK, CHUNK_BYTES // (bytes_per_cell(net, self.d) + 2 * self.branches))))
        self.room = room(self.d)
        self._levels = levels(self.d, 1, 1, 1)
        keep_pages()

    # --- the walk over stages -----------------------------------------------------------------------------------

    def run(self, batches: list[Batch] | None = None) -> Iterator[Found]:
        """Do everything, or the batches of an earlier run; what a budget leaves undone is in `frontier`."""
        todo = [] if batches is None else list(batches)
        try:
            if batches is None:
                initial = np.concatenate([np.zeros(0, np.int16), *(s.initial for s in self.plan)])
                whole = Task(self.domain.solid, initial)
                if packable(whole):
                    todo.append(Batch(0, self.exactly.cells([whole])))
                else:
                    self.lost = True
                    yield from self._finish(0, whole)
                    self.lost = False
            while todo:
                batch = todo.pop()
                yield from self._walk(batch.stage, batch.cells, self._front_of(batch))
        except BudgetReached:
            self.frontier += todo

    def _front_of(self, batch: Batch) -> Front:
        """Affine maps of cells from their branches."""
        front, B = first_front(self.net), batch.cells.B
        parents = np.zeros(len(B), np.int64)
        for stage in self.plan[: batch.stage]:
            front = choose(reach(front, stage), stage, parents, B[:, stage.first : stage.first + stage.count])
            parents = np.arange(len(B))
        return front if batch.stage or len(B) == 1 else first_front(self.net, len(B))

    def _walk(self, index: int, cells: Cells, front: Front) -> Iterator[Found]:
        """Take cells through the stages from `index` on."""
        if index == len(self.plan):
            self.tally.count += len(cells.at)
            if self.build:
                yield cells
            return
        stage, last = self.plan[index], index + 1 == len(self.plan)
        front = reach(front, stage)
        A, off = forms(front, stage, self.domain.size, projective=self.domain.projective)
        table = Forms(
            np.ascontiguousarray(A), np.ascontiguousarray(off), self.domain.size, stage.first + stage.unit, stage.step,
            stage.start, stage.position, index, stage.binary,
        )  # fmt: skip
        if last and stage.binary and not self.build and not cells.at[:, 0].any():
            self._count_last(index, cells, table)
        else:
            yield from self._split(index, cells, table, front)

    def _split(self, index: int, cells: Cells, table: Forms, front: Front) -> Iterator[Found]:
        """Split cells by a stage and pass what comes out on, chunk by chunk."""
        stage, store = self.plan[index], index + 1 < len(self.plan) or self.build
        work = pieces.work_of(self.d, self.branches, stage.decisions, VERTICES, DEPTH)
        out = pieces.buffer(self.d, self.branches, self.chunk, VERTICES)
        state = np.zeros(10, np.int64)
        state[pieces.TOP] = state[pieces.CELL] = -1
        try:
            while True:
                self._check()
                status = split(work, self.room, cells, table, state, out, store)
                if status == pieces.GROW:
                    work = pieces.grown(work, 2 * len(work.T), 2 * len(work.at))
                elif status == pieces.DOUBT:
                    self.tally.signs += self.exactly.signs(index, work, cells, state)
                elif status == pieces.CROWDED:
                    yield from self._finish(index, self.exactly.task(index, work, cells, state))
                    state[pieces.TOP] -= 1
                elif status == pieces.FULL and state[pieces.CELLS] == 0:
                    out = pieces.buffer(self.d, self.branches, self.chunk, 2 * len(out.T))
                else:
                    yield from self._pass_on(index, state, out, front)
                    if status == pieces.DONE:
                        return
        except BudgetReached:
            self._keep(index, pieces.stacked(work, cells, table, state))
            self._keep(index, pieces.take(cells, int(state[pieces.CELL]) + 1, len(cells.at)))
            self._note(index, state)
            self._keep(index + 1, self._inside(index, pieces.trimmed(out, state)))
            raise

    def _check(self) -> None:
        """Raise `BudgetReached` when the time is up, or when enough is found."""
        self.progress.check()
        if self.tally.count >= self.max_regions:
            raise BudgetReached(f"max_regions = {self.max_regions:g} is reached.")

    def _note(self, index: int, state: np.ndarray) -> None:
        """Add the cells that the kernel has finished."""
        done, state[pieces.COUNTED] = int(state[pieces.COUNTED]), 0
        self.tally.cells[index] += done
        if index + 1 == len(self.plan) and not self.build:
            self.tally.count += done

    def _keep(self, index: int, cells: Cells) -> None:
        """Leave cells for a later run."""
        if len(cells.at):
            self.frontier.append(Batch(index, cells))

    def _pass_on(self, index: int, state: np.ndarray, out: Cells, front: Front) -> Iterator[Found]:
        """Empty the buffer into the next stage."""
        self._note(index, state)
        ready = self._inside(index, pieces.trimmed(out, state))
        if not len(ready.at):
            return
        stage, last = self.plan[index], index + 1 == len(self.plan)
        if self.hand_over is not None and not last:
            self.hand_over(Batch(index + 1, ready))
            return
        taken = ready.B[:, stage.first : stage.first + stage.count]
        yield from self._walk(index + 1, ready, front if last else choose(front, stage, ready.parent, taken))

    def _inside(self, index: int, cells: Cells) -> Cells:
        """Those of the cells after a stage that count: in a ball's box, the ones that the open ball meets."""
        ball = self.domain.ball
        if ball is None or not len(cells.at):
            return cells
        met = near(cells.X, cells.err, cells.vptr, ball)
        known = known_branches(self.plan, index + 1)
        for cell in np.flatnonzero(met == 0):
            self.tally.pieces += 1
            met[cell] = 1 if exact_near(self.exactly.solid(cells, int(cell), known), ball) else -1
        return cells if (met > 0).all() else pieces.chosen(cells, np.flatnonzero(met > 0))

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

    def _finish(self, index: int, task: Task) -> Iterator[Found]:
        """Finish a task in integers, down to its regions."""
        self.tally.pieces += 1
        if not self.build:
            self.tally.count += exact.count(task, index, self.plan, self.exactly.maps, self.progress.check)
            return
        found = list(exact.regions(task, index, self.plan, self.exactly.maps, self.progress.check))
        if self.domain.ball is not None:
            found = [t for t in found if exact_near(t.solid, self.domain.ball)]
        self.tally.count += len(found)
        if found:
            yield found
