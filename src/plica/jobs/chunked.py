"""An analysis over many inputs, chunk after chunk, each written once."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from plica.core.progress import DEFAULT_BYTES, Progress
from plica.core.result import Completeness, Result
from plica.errors import ArgumentError, BudgetReached, ShapeError
from plica.jobs.folder import JobFolder, digest
from plica.jobs.pool import pool
from plica.jobs.table import Analysis, analysis_named, compute, join
from plica.store import data_hash, network_hash

if TYPE_CHECKING:
    from plica.core.network import Network

SHORTEST, TARGET = 0.5, 2.0  # seconds per chunk


@dataclass(frozen=True)
class Job:
    """What is computed, and where it is kept."""

    name: str
    analysis: Analysis
    net: Network
    X: np.ndarray
    options: dict[str, Any]
    folder: JobFolder
    max_bytes: int = DEFAULT_BYTES
    facts: dict[str, Any] = field(default_factory=dict)

    def chunk(self, start: int, stop: int) -> str:
        """Name of the chunk of these inputs: a hash of everything its result depends on."""
        place = {"start": start} if self.analysis.seeded else {}
        options = self._options(start, stop)
        return digest({**self.facts, "options": options, "data": data_hash(self.X[start:stop]), **place})

    def task(self, start: int, stop: int) -> tuple:
        """Arguments of `work` for the chunk of these inputs."""
        return self.name, self.net, self.X[start:stop], start, stop, self._options(start, stop), self.max_bytes

    def _options(self, start: int, stop: int) -> dict[str, Any]:
        """The options, those with an entry per input cut to the chunk."""
        cut = {
            name: self.options[name][start:stop] for name in self.analysis.each if self.options.get(name) is not None
        }
        return {**self.options, **cut}


def run(
    analysis: str,
    net: Network,
    X: np.ndarray,
    *,
    folder: str | os.PathLike[str],
    workers: int = 1,
    cluster: str | None = None,
    chunk: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Run an analysis over many inputs in chunks; what is done stays in a folder, and a second run continues.

    Parameters
    ----------
    analysis : str
        Name of the analysis: a key of `plica.jobs.ANALYSES`, such as "preimage_kind".
    net : Network
    X : array, shape (n, *input_shape)
    folder : path-like
        Every chunk's result is one file there, named by a hash of network, data, options and versions, and written
        whole or not at all. Chunks that are there are not computed again.
    workers : int
        Processes (joblib's loky); 1 works in this one, -1 is one per core.
    cluster : str, optional
        Address of a dask scheduler, whose workers are used instead. Only this process writes to the folder.
    chunk : int, optional
        Inputs per chunk. By default chosen by time, about two seconds each.
    progress : Progress, optional
        The budget of time ends the run between chunks; a chunk is always computed as a whole. ``max_bytes`` is each
        chunk's.
    **options
        Arguments of the analysis, and ``wait=True`` to wait for another run in the same folder.

    Returns
    -------
    Result
        What the analysis gives for all inputs; for an analysis of one input a `plica.jobs.ManyResult`. After an
        interrupt (Ctrl-C) or when the time is up: that of the first inputs, up to the first chunk that is missing.

    Raises
    ------
    ArgumentError
        For an analysis or an option that is not there, a folder that cannot be written to or is in use, a full disk.
    BudgetReached
        No chunk was finished.

    Notes
    -----
    An analysis with a ``seed`` gets ``seed + number of the input`` for each input, so that the result does not depend
    on the division into chunks. "impostor" moves each input towards the next one; the last one towards the first.
    """
    began, progress = time.monotonic(), progress or Progress()
    wait = bool(options.pop("wait", False))
    job = _job(analysis, net, X, JobFolder(folder), options, progress)
    if chunk is not None and chunk < 1:
        raise ArgumentError(f"chunk = {chunk}: give at least 1 input, or leave it out.")
    with job.folder.locked(wait=wait, progress=progress):
        state, starts = _all_chunks(job, workers, cluster, chunk, progress)
        return _joined(job, starts, state, {"seconds": time.monotonic() - began})


def _job(
    analysis: str, net: Network, X: np.ndarray, folder: JobFolder, options: dict[str, Any], progress: Progress
) -> Job:
    """Check the arguments and name what the job depends on."""
    from plica import __version__

    found = analysis_named(analysis, options)
    data = net.as_batch(X).cpu().numpy()
    if found.pairs:
        data = np.stack([data, np.roll(data, -1, axis=0)], axis=1)
    facts = {"analysis": found.address, "network": network_hash(net), "options": options, "plica": __version__}
    name = analysis.replace("-", "_")
    for own in found.each:
        if options.get(own) is not None and len(options[own]) != len(data):
            raise ShapeError(f"{own} has {len(options[own])} entries for {len(data)} inputs; give one for each.")
    return Job(name, found, net, data, options, folder, progress.max_bytes, facts)


def _all_chunks(
    job: Job, workers: int, cluster: str | None, chunk: int | None, progress: Progress
) -> tuple[Completeness, list[int]]:
    """Compute what is missing; the completeness and the first input of every chunk."""
    total, plan = len(job.X), digest({**job.facts, "data": data_hash(job.X), "chunk": chunk})
    starts: list[int] = []
    try:
        with pool(workers, cluster) as each:
            starts = (job.folder.read_plan(plan) or {}).get("starts", []) or _planned(job, chunk, progress)
            job.folder.write_plan(plan, {"starts": starts, "inputs": total, **job.facts})
            ends = dict(_ends(starts, total))
            missing = [s for s in starts if job.folder.read(job.chunk(s, ends[s])) is None]
            done = len(starts) - len(missing)
            progress.report(f"chunks of {job.name}", done, len(starts))
            for start, stop, result in each(work, _in_time((job.task(s, ends[s]) for s in missing), progress)):
                _keep(job, start, stop, result)
                done += 1
                progress.report(f"chunks of {job.name}", done, len(starts))
    except KeyboardInterrupt:
        return Completeness.INTERRUPTED, starts
    except BudgetReached:
        return Completeness.BUDGET, starts
    return (Completeness.COMPLETE if done == len(starts) else Completeness.BUDGET), starts


def _in_time(tasks: Iterator[tuple], progress: Progress) -> Iterator[tuple]:
    """Hand out tasks until the time is up."""
    for task in tasks:
        if progress.seconds_left <= 0:
            return
        yield task


def _keep(job: Job, start: int, stop: int, result: Result) -> None:
    """Write a chunk; one that was cut short is not kept."""
    if result.completeness is Completeness.INTERRUPTED:
        raise KeyboardInterrupt
    job.folder.write(job.chunk(start, stop), result)


def work(
    name: str, net: Network, X: np.ndarray, start: int, stop: int, options: dict[str, Any], max_bytes: int
) -> tuple[int, int, Result]:
    """Compute one chunk: what a worker does.

    Parameters
    ----------
    name, net, X, start, options
        As for `plica.jobs.table.compute`.
    stop : int
        Number of the first input after the chunk.
    max_bytes : int
        Largest array that may be built in one piece.
    """
    began = time.monotonic()
    result = compute(name, net, X, start, options, Progress(max_bytes=max_bytes))
    return start, stop, dataclasses.replace(result, header={"seconds": time.monotonic() - began})


def _planned(job: Job, chunk: int | None, progress: Progress) -> list[int]:
    """First input of every chunk. Without a given size the first chunks double until one takes long enough.

    Their results and times are kept like all others, so that a run that is killed here plans the same.
    """
    total = len(job.X)
    if chunk is not None:
        return list(range(0, total, chunk))
    starts, start, size = [], 0, 1
    while start < total:
        progress.check()
        stop = min(total, start + size)
        result = job.folder.read(job.chunk(start, stop))
        if result is None:
            *_, result = work(*job.task(start, stop))
            _keep(job, start, stop, result)
        starts.append(start)
        start, seconds = stop, float(result.header.get("seconds", 0.0))
        if seconds >= SHORTEST:
            size = max(1, min(2 * size, round(size * TARGET / seconds)))
            break
        size *= 2
    return [*starts, *range(start, total, size)]


def _ends(starts: list[int], total: int) -> Iterator[tuple[int, int]]:
    """First input of every chunk, and the first after it."""
    return zip(starts, [*starts[1:], total][: len(starts)], strict=True)


def _joined(job: Job, starts: list[int], state: Completeness, header: dict[str, Any]) -> Result:
    """Join the chunks up to the first that is missing."""
    parts = []
    for start, stop in _ends(starts, len(job.X)):
        part = job.folder.read(job.chunk(start, stop))
        if part is None:
            break
        parts.append(part)
    if not parts:
        if len(job.X) and state is Completeness.INTERRUPTED:
            raise KeyboardInterrupt
        if len(job.X):
            raise BudgetReached(f"{job.name}: the time was up before a chunk was finished. Give more seconds.")
        parts = [compute(job.name, job.net, job.X, 0, job.options, Progress())]
    whole = join(job.name, parts)
    if state is not Completeness.COMPLETE:
        whole = dataclasses.replace(whole, completeness=state)
    return dataclasses.replace(whole, header=header)
