"""A progress bar for work that takes longer than a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plica.core.progress import Progress

PATIENCE = 1.0  # seconds before a bar appears
WAITING = "working (the first time, parts are compiled: up to a minute)"


class Bar:
    """Listener of a `Progress`: draws a bar on a terminal once the work has lasted a second.

    Parameters
    ----------
    terminal : bool
        Whether there is a terminal to draw on.
    """

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.started = time.monotonic()
        self.tasks: dict[str, Any] = {}
        self.bars: Any = None
        self.lock = threading.Lock()
        self.timer = threading.Timer(PATIENCE, self._wait)
        self.timer.daemon = True
        if terminal:
            self.timer.start()

    def __call__(self, label: str, done: int, total: int | None) -> None:
        """Move the bar of one label."""
        if not self.terminal or time.monotonic() - self.started < PATIENCE:
            return
        with self.lock:
            bars = self._shown()
            if WAITING in self.tasks:
                bars.remove_task(self.tasks.pop(WAITING))
            if label not in self.tasks:
                self.tasks[label] = bars.add_task(label, total=total)
            bars.update(self.tasks[label], completed=done, total=total)

    def _wait(self) -> None:
        """Say that it is at work where nothing tells how far."""
        with self.lock:
            if not self.tasks and not self.timer.finished.is_set():
                self.tasks[WAITING] = self._shown().add_task(WAITING, total=None)

    def _shown(self) -> Any:
        if self.bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            text = TextColumn("{task.description}", markup=False)
            columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bars = Progress(*columns, console=Console(stderr=True), transient=True)
            self.bars.start()
        return self.bars

    def stop(self) -> None:
        """Remove the bar."""
        self.timer.cancel()
        with self.lock:
            if self.bars is not None:
                self.bars.stop()


@contextmanager
def progress(max_seconds: float | None = None) -> Iterator[Progress]:
    """Give a `Progress` with a time budget whose bar is removed at the end.

    Parameters
    ----------
    max_seconds : float, optional
        Wall-clock budget; none by default.
    """
    from plica.core.progress import Progress

    bar = Bar(sys.stderr.isatty())
    try:
        yield Progress(max_seconds=max_seconds, listener=bar)
    finally:
        bar.stop()
