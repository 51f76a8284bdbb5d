"""Linear programs that take long: seconds, iterations and Ctrl-C end them, and a warm one goes on afterwards."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
import scipy.sparse as sp
from flint import fmpz_mat

from plica import Progress
from plica.core.polyhedron.cone import partition
from plica.core.search.decided import ExactPiece
from plica.core.solve import linear as linear_module
from plica.core.solve import linear_program, watch
from plica.core.solve.warm import WarmProgram
from plica.errors import BudgetReached, SolverError

M, N = 500, 400


@pytest.fixture(scope="module")
def large():
    """A dense program that takes half a second or more: costs and rows."""
    rng = np.random.default_rng(0)
    return rng.standard_normal(N), rng.standard_normal((M, N))


def warm(large, **more):
    c, G = large
    return WarmProgram(
        c, sp.csr_array(G), (-np.ones(N), np.ones(N)), (np.full(M, -np.inf), np.ones(M)), **more
    )  # fmt: skip


def interrupted(work):
    """Seconds from Ctrl-C until the work ends."""
    sent = []

    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.1, send)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        work()
    timer.join()
    return time.monotonic() - sent[0]


def test_seconds_and_ctrl_c_end_a_program_that_goes_on_afterwards(large, monkeypatch):
    monkeypatch.setattr(watch, "SHORT", 1)  # soon in the second thread
    clock = Progress(max_seconds=0.05)
    program = warm(large, progress=clock)
    with pytest.raises(BudgetReached, match="reached in a linear program"):
        program.solve()
    with pytest.raises(BudgetReached, match="is reached after"):
        program.solve()
    clock.max_seconds = None
    assert interrupted(program.solve) < 1.0
    assert program.solve() == "optimal"
    c, G = large
    assert (program.matrix @ program.x <= 1 + 1e-7).all()
    assert c @ program.x == pytest.approx(program.least(c, program.duals()), rel=1e-6)
    program.column(0, 0.0, 0.0)
    clock.max_seconds = clock.seconds + program._solver.getRunTime() / 2
    assert program.solve() == "optimal"  # the seconds of HiGHS count from here
    started = time.monotonic()
    with pytest.raises(BudgetReached):
        linear_program(c, G, np.ones(M), bounds=(-1, 1), progress=Progress(max_seconds=0.05))
    assert time.monotonic() - started < 1.0
    assert interrupted(lambda: linear_program(c, G, np.ones(M), bounds=(-1, 1))) < 1.5


def test_in_another_thread_a_program_runs_there(large, monkeypatch):
    monkeypatch.setattr(watch, "_run_beside", lambda *_: pytest.fail("nobody hears Ctrl-C there"))
    monkeypatch.setattr(watch, "SHORT", 10)
    found = []
    c, G = large[0][:20], large[1][:30, :20]
    ask = lambda: found.append(linear_program(c, G, np.ones(30), bounds=(-1, 1)).status)  # noqa: E731
    worker = threading.Thread(target=ask)
    worker.start()
    worker.join()
    assert found == ["optimal"]


def test_iterations_end_a_program_and_no_answer_is_no_status(large, monkeypatch):
    c, G = large[0][:60], large[1][:80, :60]
    monkeypatch.setattr(watch, "LONG", (2, 0))
    monkeypatch.setattr(watch, "POINTS", 2)
    with pytest.raises(SolverError, match="found no answer"):
        linear_program(c, G, np.ones(80), bounds=(-1, 1))
    tight = np.full(80, -np.inf), np.ones(80)
    assert WarmProgram(c, sp.csr_array(G), (-np.ones(60), np.ones(60)), tight).solve() is None


@pytest.mark.parametrize("short", [1, 100_000_000])
def test_a_program_in_parts_ends_as_in_one(large, monkeypatch, short):
    c, G = large[0][:60], large[1][:80, :60]
    monkeypatch.setattr(watch, "SHORT", short)
    monkeypatch.setattr(watch, "LEAST", 3)
    monkeypatch.setattr(watch, "LARGE", 10)
    program = WarmProgram(c, sp.csr_array(G), (-np.ones(60), np.ones(60)), (np.full(80, -np.inf), np.ones(80)))
    value = linear_program(c, G, np.ones(80), bounds=(-1, 1)).value
    assert program.solve() == "optimal" and c @ program.x == pytest.approx(value)
    program.column(0, 0.5, 0.5)
    assert program.solve() == "optimal" and c @ program.x > value and program.x[0] == 0.5


def test_time_ends_a_partition(monkeypatch):
    rows = np.random.default_rng(1).integers(-3, 4, (12, 6)).astype(float)
    with pytest.raises(BudgetReached):
        partition(rows, np.zeros((0, 6)), Progress(max_seconds=0.0))
    monkeypatch.setattr(linear_module, "_run", lambda *_: None)
    monkeypatch.setattr("plica.core.polyhedron.cone.EXACT_AT_ONCE", 0)
    with pytest.raises(BudgetReached):
        partition(rows, np.zeros((0, 6)), Progress(max_seconds=0.0))
    assert len(partition(rows, np.zeros((0, 6)), Progress(max_seconds=60.0)).implied) == 12


def test_time_ends_an_exact_decision_and_not_later_questions():
    body = ExactPiece(fmpz_mat([[1, -2], [-1, 1], [0, -1]]), np.array([True, False, True]), fmpz_mat(0, 2), True)
    with pytest.raises(BudgetReached):
        body.prove(Progress(max_seconds=0.0))
    body.prove(Progress(max_seconds=60.0))
    assert not body.is_empty and body.dimension == 1
