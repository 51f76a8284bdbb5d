"""Budgets and progress: how long work may take, how much it may hold, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from plica.errors import BudgetReached, MemoryBudgetError

T = TypeVar("T")
GIB = 1 << 30
DEFAULT_BYTES = 2 * GIB
GRACE = 1.0  # seconds for a question about what was found, when the time is already up


def refuse_above(max_bytes: int, needed: int, what: str, instead: str) -> None:
    """Raise `MemoryBudgetError` with the arithmetic when `needed` bytes exceed `max_bytes`.

    Parameters
    ----------
    max_bytes, needed : int
        The budget and what the answer would take.
    what : str
        The thing that does not fit, with its sizes, as the start of a sentence.
    instead : str
        What the user can do, as full sentences.
    """
    if needed > max_bytes:
        raise MemoryBudgetError(
            f"{what} ({needed / GIB:.1f} GiB as float64), above max_bytes = {max_bytes / GIB:.3g} GiB. {instead}"
        )


@dataclass
class Progress:
    """A clock, a counter and a listener; the one object that long work reports to.

    Parameters
    ----------
    max_seconds : float, optional
        Wall-clock budget, counted from the creation of the object. None: no limit.
    max_bytes : int
        Largest array that may be built in one piece.
    listener : callable, optional
        Called as ``listener(label, done, total)``; `total` is None where it is not known. The command line
        and notebooks draw a bar with it; the library itself prints nothing.
    """

    max_seconds: float | None = None
    max_bytes: int = DEFAULT_BYTES
    listener: Callable[[str, int, int | None], None] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float:
        """Seconds until the budget ends; infinity without one."""
        return float("inf") if self.max_seconds is None else self.max_seconds - self.seconds

    def check(self) -> None:
        """Raise `BudgetReached` when the time is up."""
        if self.seconds_left <= 0:
            raise BudgetReached(f"max_seconds = {self.max_seconds:g} is reached after {self.seconds:.1f} s.")

    def at_least(self, seconds: float = GRACE) -> Progress:
        """The same budget, or where fewer seconds are left one that starts now and has so many: for one question."""
        enough = self.seconds_left >= seconds
        return self if enough else replace(self, max_seconds=seconds, started=time.monotonic())

    def part(self, share: float) -> Progress:
        """A budget that starts now and has a share of the seconds left; listener and memory stay the same."""
        left = self.seconds_left
        return replace(self, max_seconds=None if left == float("inf") else left * share, started=time.monotonic())

    def report(self, label: str, done: int, total: int | None = None) -> None:
        """Tell the listener how far the work named `label` is."""
        if self.listener is not None:
            self.listener(label, done, total)

    def over(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yield the items, checking the budget before each and reporting after each."""
        if total is None and hasattr(items, "__len__"):
            total = len(items)  # type: ignore[arg-type]
        self.report(label, 0, total)
        for done, item in enumerate(items, 1):
            self.check()
            yield item
            self.report(label, done, total)
