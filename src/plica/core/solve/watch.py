"""HiGHS under watch: limits of seconds and iterations count from each start, and Ctrl-C ends a long program."""

from __future__ import annotations

import contextlib
import threading
import time

import highspy
import numpy as np

from plica.core.progress import Progress
from plica.errors import BudgetReached

SHORT = 100_000_000  # entries times iterations that take some tenths of a second
LARGE = 50_000  # entries from which a program that starts cold is given a thread at once
LEAST = 50  # iterations at once, however large the program
LONG = 20_000, 100  # iterations after which a program ends without an answer: at least; per row and variable
POINTS = 300  # the same for the interior-point method, which takes about 50; on its own it may go on for ever
PATIENCE = 1.0  # seconds that a cold program, which is not used again, has to stop; presolve looks up rarely


def run_watched(solver: highspy.Highs, entries: int, progress: Progress, *, warm: bool = False) -> None:
    """Run HiGHS within a budget.

    Parameters
    ----------
    solver : Highs
        With a model.
    entries : int
        Of the matrix.
    progress : Progress
        Its seconds.
    warm : bool
        The simplex method without presolve: what was done is kept when it stops. It starts at once, and goes on in a
        second thread, where the main one hears Ctrl-C, when it is not soon done. Otherwise large programs start there.

    Raises
    ------
    BudgetReached
        When the seconds end, before or in the program.
    KeyboardInterrupt
        After Ctrl-C; a warm solver may be run again.

    Notes
    -----
    HiGHS counts the seconds of all runs of a model together. A second thread costs up to 2 ms.
    """
    progress.check()
    solver.setOptionValue("time_limit", solver.getRunTime() + max(progress.seconds_left, 0.0))
    solver.setOptionValue("ipm_iteration_limit", POINTS)
    long = LONG[0] + LONG[1] * (solver.getNumRow() + solver.getNumCol())
    short = max(LEAST, SHORT // max(entries, 1))
    alone = threading.current_thread() is not threading.main_thread()  # no Ctrl-C is heard there
    quick = alone or short >= long or (entries < LARGE and not warm)
    done = False
    if warm and not quick:
        solver.setOptionValue("simplex_iteration_limit", short)
        solver.run()
        done = solver.getModelStatus() != highspy.HighsModelStatus.kIterationLimit
    if not done:
        solver.setOptionValue("simplex_iteration_limit", long)
        if quick:
            solver.run()
        else:
            _run_beside(solver, np.inf if warm else PATIENCE)
    if solver.getModelStatus() == highspy.HighsModelStatus.kTimeLimit:
        raise BudgetReached(f"max_seconds = {progress.max_seconds:g} is reached in a linear program.")


def _run_beside(solver: highspy.Highs, patience: float) -> None:
    """Run in a second thread and wait for it; Ctrl-C stops it, and ends the wait after these seconds at the latest."""
    stop, done = threading.Event(), threading.Event()

    def interrupted(event: object) -> None:
        event.interrupt(stop.is_set())  # type: ignore[attr-defined]  # HiGHS remembers an earlier one

    def work() -> None:
        try:
            solver.run()
        finally:
            done.set()

    asked = (solver.cbSimplexInterrupt, solver.cbIpmInterrupt)
    for callback in asked:
        callback.subscribe(interrupted)
    threading.Thread(target=work, daemon=True).start()
    try:
        while not done.wait(0.2):  # an event, because Ctrl-C in a join makes a thread look ended that is not
            pass
    except BaseException:
        stop.set()
        _wait(done, patience)
        raise
    finally:
        if done.is_set():
            for callback in asked:
                callback.unsubscribe(interrupted)


def _wait(done: threading.Event, seconds: float) -> None:
    """Wait for the end; more of Ctrl-C is not heard, since a model must never run twice at a time."""
    end = time.monotonic() + seconds
    while not done.is_set() and time.monotonic() < end:
        with contextlib.suppress(KeyboardInterrupt):
            done.wait(0.1)
