"""Long searches: a frontier that survives, because every part of it that was expanded is a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import BudgetReached
from plica.jobs.folder import JobFolder, digest
from plica.jobs.pool import pool
from plica.jobs.result import ExpansionResult

ROUND = 16  # parts per worker that are handed out together
Part = Mapping[str, np.ndarray]
Expand = Callable[[Part], tuple[dict[str, np.ndarray], Sequence[Part]]]


@dataclass(frozen=True)
class Explored:
    """How far a search came.

    Attributes
    ----------
    completeness : Completeness
    expanded, waiting : int
        Parts of the frontier that are done, and that are not.
    """

    completeness: Completeness
    expanded: int
    waiting: int
    _tree: _Tree

    def found(self) -> Iterator[dict[str, np.ndarray]]:
        """Everything found, a part at a time, in an order that depends on the parts alone."""
        for _, result in self._tree.walk():
            if result is not None:
                yield result.found


def explore(
    expand: Expand,
    roots: Sequence[Part],
    *,
    folder: Any,
    key: dict[str, Any],
    workers: int = 1,
    cluster: str | None = None,
    wait: bool = False,
    progress: Progress | None = None,
) -> Explored:
    """Expand a tree of cells, part after part of its frontier; a killed search goes on where it was.

    The file of a part that was expanded holds its children, so the frontier is what the files name and what has no file
    yet: it cannot get out of step with what was found.

    Parameters
    ----------
    expand : callable
        Takes a part of the frontier, arrays by name, and returns what it found, arrays by name, and the parts to expand
        next; a second or two of work. What it finds depends on nothing but the part and `key`. Sent to other processes
        with more than one worker.
    roots : sequence of dict of str to array
        Where the search begins.
    folder, workers, cluster, wait
        As for `plica.run`.
    key : dict
        What the search depends on, as plain values and arrays: part of the names of all files.
    progress : Progress, optional
        The budget of time ends the search between parts.

    Returns
    -------
    Explored
        `expand` must give each cell of a tree once: what is in two parts is counted twice.
    """
    progress, place = progress or Progress(), JobFolder(folder)
    tree = _Tree(place, key, tuple(roots))
    with place.locked(wait=wait, progress=progress):
        state = _expand_all(expand, tree, (workers, cluster), progress)
    done = [result is not None for _, result in tree.walk()]
    state = Completeness.COMPLETE if all(done) else state
    return Explored(state, sum(done), len(done) - sum(done), tree)


@dataclass(frozen=True)
class _Tree:
    """The parts of a search that are known: its roots, and the children that files name."""

    folder: JobFolder
    key: dict[str, Any]
    roots: tuple[Part, ...]

    def name(self, part: Part) -> str:
        """Of the part's file."""
        return digest({"key": self.key, "part": {name: np.asarray(part[name]) for name in sorted(part)}})

    def walk(self) -> Iterator[tuple[Part, ExpansionResult | None]]:
        """Every part, depth first, with its file if it is there."""
        stack = list(self.roots)[::-1]
        while stack:
            part = stack.pop()
            result = self.folder.read(self.name(part))
            yield part, result
            if result is not None:
                stack.extend(result.children[::-1])


def _expand_all(expand: Expand, tree: _Tree, how: tuple[int, str | None], progress: Progress) -> Completeness:
    """Expand whatever has no file."""
    frontier = [part for part, result in tree.walk() if result is None]
    try:
        with pool(*how) as each:
            while frontier:
                # The youngest first, as in a depth-first search: what waits stays small.
                tasks = [frontier.pop() for _ in range(min(len(frontier), ROUND * max(1, how[0])))]
                for part, result in each(_work, _in_time(expand, tasks, progress)):
                    tree.folder.write(tree.name(part), result)
                    frontier.extend(result.children)
                    progress.report("parts to expand", len(frontier))
                progress.check()
    except KeyboardInterrupt:
        return Completeness.INTERRUPTED
    except BudgetReached:
        return Completeness.BUDGET
    return Completeness.COMPLETE


def _in_time(expand: Expand, frontier: list[Part], progress: Progress) -> Iterator[tuple]:
    for part in frontier:
        if progress.seconds_left <= 0:
            return
        yield expand, part


def _work(expand: Expand, part: Part) -> tuple[Part, ExpansionResult]:
    """Expand one part: what a worker does."""
    began = time.monotonic()
    found, children = expand(part)
    seconds = {"seconds": time.monotonic() - began}
    return part, ExpansionResult(
        Standing.NUMERICAL, Completeness.COMPLETE, seconds, found, tuple(dict(child) for child in children)
    )
