"""The folder of a job: names of chunks, a lock, and files that are there whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from plica.core.progress import Progress
from plica.core.result import Result
from plica.errors import ArgumentError, DataError
from plica.store import FORMAT, data_hash, load_result, save, whole_file

JOBS_FORMAT = 2  # of the division into chunks; part of every name
CHUNKS, LOCK, POLL = "chunks", "lock", 0.2


def digest(facts: dict[str, Any]) -> str:
    """SHA-256 of plain facts and the format versions, in hexadecimal."""
    text = json.dumps({"format": FORMAT, "jobs": JOBS_FORMAT, **facts}, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Options that JSON does not know: arrays by their hash, domains by their fields."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        return {"array": data_hash(value.detach().cpu().numpy() if hasattr(value, "detach") else value)}
    if dataclasses.is_dataclass(value):
        return {type(value).__name__: {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    raise ArgumentError(f"An option is a {type(value).__name__}, which a job cannot name. Use numbers, text or arrays.")


class JobFolder:
    """Where a job keeps what is done.

    Parameters
    ----------
    path : path-like
        Made if missing; several jobs may use one folder, one after the other.

    Raises
    ------
    ArgumentError
        The folder cannot be made or written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.chunks = self.path / CHUNKS
        try:
            self.chunks.mkdir(parents=True, exist_ok=True)
            with (self.path / LOCK).open("a"):
                pass
        except OSError as error:
            raise ArgumentError(
                f"folder = '{self.path}': cannot be written ({error.strerror}). Name a folder that can."
            ) from error

    @contextmanager
    def locked(self, *, wait: bool, progress: Progress) -> Iterator[None]:
        """Keep other runs out until the end; the system ends the lock of a run that was killed.

        Parameters
        ----------
        wait : bool
            Wait for the other run to end, at most as long as the budget; otherwise raise at once.
        progress : Progress

        Raises
        ------
        ArgumentError
            Another run is using the folder.
        BudgetReached
            It still was when the time was up.
        """
        with (self.path / LOCK).open("a+") as file:
            while not _lock(file):
                if not wait:
                    file.seek(0)
                    owner = file.read().strip() or "unknown"
                    raise ArgumentError(
                        f"folder = '{self.path}' is in use by another run (process {owner}). Wait for it (wait=True, "
                        "--wait), or name another folder."
                    )
                progress.check()
                progress.report("waiting for the folder", 0)
                time.sleep(POLL)
            with suppress(OSError):  # a full disk does not matter for a name that only an error message shows
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what killed runs left half written."""
        for partial in (*self.chunks.glob(".*.part"), *self.path.glob(".*.part")):
            with suppress(OSError):
                partial.unlink()

    def place(self, name: str) -> Path:
        """File of the chunk of this name."""
        return self.chunks / f"{name}.npz"

    def read(self, name: str) -> Any:
        """Result of a chunk; None when it is not there, or damaged (and will be made again)."""
        path = self.place(name)
        if not path.exists():
            return None
        try:
            return load_result(path)
        except DataError:
            return None

    def write(self, name: str, result: Result) -> None:
        """Write the result of a chunk, whole or not at all."""
        save(result, self.place(name))

    def read_plan(self, name: str) -> dict[str, Any] | None:
        """What was decided about a job when it began; None before that."""
        try:
            plan = json.loads((self.path / f"{name}.json").read_text(encoding="utf-8"))
            return plan if isinstance(plan.get("starts"), list) else None
        except (OSError, ValueError, AttributeError):
            return None

    def write_plan(self, name: str, plan: dict[str, Any]) -> None:
        """Keep what was decided."""
        with whole_file(self.path / f"{name}.json") as file:
            file.write(json.dumps(plan, indent=1, default=_plain).encode())


def _lock(file: Any) -> bool:
    """Try to lock an open file; True as well where the system or the file system has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows: chunks are still written whole, only work may be done twice
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
