"""Long searches: a frontier that survives, because every chunk of it that was expanded is a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import BudgetReached
from plica.jobs.folder import JobFolder, digest
from plica.jobs.pool import pool
from plica.jobs.result import ExpansionResult
from plica.store import data_hash

ROUND = 16  # chunks per worker that are handed out together
Expand = Callable[[np.ndarray], tuple[dict[str, np.ndarray], np.ndarray]]


@dataclass(frozen=True)
class Explored:
    """How far a search came.

    Attributes
    ----------
    completeness : Completeness
    counts : dict of str to int
        How many entries were found under each name.
    expanded, waiting : int
        Chunks of the frontier that are done, and that are not.
    """

    completeness: Completeness
    counts: dict[str, int]
    expanded: int
    waiting: int
    _folder: JobFolder
    _key: dict[str, Any]
    _roots: np.ndarray
    _chunk: int

    def found(self) -> Iterator[dict[str, np.ndarray]]:
        """Everything found, a chunk at a time, in an order that depends on the search alone."""
        for _, result in _walk(self._folder, self._key, self._roots, self._chunk):
            if result is not None:
                yield result.found


def explore(
    expand: Expand,
    roots: np.ndarray,
    *,
    folder: Any,
    key: dict[str, Any],
    workers: int = 1,
    cluster: str | None = None,
    chunk: int = 256,
    progress: Progress | None = None,
) -> Explored:
    """Expand a tree of cells, chunks of its frontier at a time; a killed search goes on where it was.

    The files of expanded chunks hold their children, so the frontier is what they name and what has no file yet:
    it cannot get out of step with what was found.

    Parameters
    ----------
    expand : callable
        Takes rows of the frontier, shape (m, ...), and returns what it found, arrays by name, and the rows to expand
        next. It depends on nothing but the rows and `key`. Sent to other processes with more than one worker.
    roots : array, shape (n, ...)
        Where the search begins.
    folder : path-like
        As for `plica.run`.
    key : dict
        What the search depends on, as plain values and arrays: part of the names of all files.
    workers, cluster
        As for `plica.run`.
    chunk : int
        Rows per chunk at most.
    progress : Progress, optional
        The budget of time ends the search between chunks.

    Returns
    -------
    Explored
        `expand` must give each cell of a tree once: two rows with the same descendants are counted twice.
    """
    progress, place = progress or Progress(), JobFolder(folder)
    with place.locked(wait=False, progress=progress):
        state = _expand_all(expand, roots, (place, key, chunk), (workers, cluster), progress)
    counts: dict[str, int] = {}
    expanded = waiting = 0
    for _, result in _walk(place, key, roots, chunk):
        expanded, waiting = expanded + (result is not None), waiting + (result is None)
        for name, values in (result.found if result is not None else {}).items():
            counts[name] = counts.get(name, 0) + len(values)
    if not waiting:
        state = Completeness.COMPLETE
    return Explored(state, counts, expanded, waiting, place, key, roots, chunk)


def _name(key: dict[str, Any], rows: np.ndarray) -> str:
    return digest({"key": key, "rows": data_hash(rows)})


def _chunks(rows: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), chunk):
        yield rows[start : start + chunk]


def _walk(
    folder: JobFolder, key: dict[str, Any], roots: np.ndarray, chunk: int
) -> Iterator[tuple[np.ndarray, ExpansionResult | None]]:
    """Every chunk of the tree that is known, depth first, with its file if it is there."""
    stack = list(_chunks(roots, chunk))[::-1]
    while stack:
        rows = stack.pop()
        result = folder.read(_name(key, rows))
        yield rows, result
        if result is not None:
            stack.extend(list(_chunks(result.children, chunk))[::-1])


def _expand_all(
    expand: Expand,
    roots: np.ndarray,
    where: tuple[JobFolder, dict[str, Any], int],
    how: tuple[int, str | None],
    progress: Progress,
) -> Completeness:
    """Expand level after level of what has no file."""
    folder, key, chunk = where
    frontier = [rows for rows, result in _walk(folder, key, roots, chunk) if result is None]
    try:
        with pool(*how) as each:
            while frontier:
                # The youngest first, as in a depth-first search: what waits stays small.
                tasks = [frontier.pop() for _ in range(min(len(frontier), ROUND * max(1, how[0])))]
                for rows, result in each(_work, _in_time(expand, tasks, progress)):
                    folder.write(_name(key, rows), result)
                    frontier.extend(_chunks(result.children, chunk))
                    progress.report("chunks to expand", len(frontier))
                progress.check()
    except KeyboardInterrupt:
        return Completeness.INTERRUPTED
    except BudgetReached:
        return Completeness.BUDGET
    return Completeness.COMPLETE


def _in_time(expand: Expand, frontier: list[np.ndarray], progress: Progress) -> Iterator[tuple]:
    for rows in frontier:
        if progress.seconds_left <= 0:
            return
        yield expand, rows


def _work(expand: Expand, rows: np.ndarray) -> tuple[np.ndarray, ExpansionResult]:
    """Expand one chunk: what a worker does."""
    began = time.monotonic()
    found, children = expand(rows)
    seconds = {"seconds": time.monotonic() - began}
    return rows, ExpansionResult(Standing.NUMERICAL, Completeness.COMPLETE, seconds, found, children)
