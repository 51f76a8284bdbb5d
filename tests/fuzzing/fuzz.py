"""Fuzz the readers: ``PYTHONPATH=tests python tests/fuzzing/fuzz.py --cases 10000``.

Every case is the damage that its number stands for, read in a child process with limits of time and memory. What is no
clear error of plica is a failure: another exception, a crash, a hang, a blow-up, a wrong certificate accepted. Failures
are written to a folder; those that were mended belong into tests/fuzzing/corpus/TARGET, where a test reads them again.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
from pathlib import Path

from fuzzing.targets import Target, failure, targets

SECONDS, GIB = 20.0, 4  # of one case
BATCH = 200  # cases per child


def case(target: Target, number: int) -> bytes:
    """The damaged bytes of a case."""
    draw = random.Random(number)
    return draw.choice(target.mutations)(draw.choice(target.seeds), draw)


def child(name: str, target: Target, numbers: list[int], pipe: int) -> None:
    """Read cases; say on the pipe which one begins, and what went wrong."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + GIB * 2**30, used + GIB * 2**30))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            os.write(pipe, f"begin {number}\n".encode())
            reason = failure(target, case(target, number), Path(folder))
            if reason:
                os.write(pipe, f"fail {number} {' '.join(reason.split())[:300]}\n".encode())
    os.write(pipe, b"end 0\n")
    os._exit(0)


def run_batch(name: str, target: Target, numbers: list[int]) -> list[tuple[int, str]]:
    """Read cases in a child; (case, reason) of every failure."""
    failures: list[tuple[int, str]] = []
    left = list(numbers)
    while left:
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            child(name, target, left, writer)
        os.close(writer)
        current, ended, buffer = left[0], False, b""
        while True:
            ready = _waited(pid, reader)
            data = os.read(reader, 65536) if ready else b""
            if not data:
                break
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                word, number, *reason = line.decode(errors="replace").split(" ", 2)
                current = int(number) if word != "end" else current
                ended = ended or word == "end"
                if word == "fail":
                    failures.append((int(number), reason[0]))
        if not ready:
            failures.append((current, f"no answer within {SECONDS:g} s"))
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        os.close(reader)
        if ended:
            return failures
        if ready:
            failures.append((current, f"the process ended: {os.waitstatus_to_exitcode(status)}"))
        left = left[left.index(current) + 1 :]
    return failures


def _waited(pid: int, reader: int) -> bool:
    """Wait for the child's next word; False when it has computed too long without one, or slept much longer."""
    start, began = _cpu(pid), time.monotonic()
    while not select.select([reader], [], [], 1.0)[0]:
        if _cpu(pid) - start > SECONDS or time.monotonic() - began > 10 * SECONDS:
            return False
    return True


def _cpu(pid: int) -> float:
    """Seconds of a processor that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Fuzz all targets, or those named; 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    everything = targets()
    chosen = {name: everything[name] for name in options.targets or everything}
    each = -(-options.cases // len(chosen))
    done = failed = 0
    began = time.monotonic()
    for target in chosen.values():  # what reading imports is imported here, once
        with tempfile.TemporaryDirectory() as folder:
            failure(target, target.seeds[0], Path(folder))
    for name, target in chosen.items():
        count, start = 0, time.monotonic()
        for first in range(options.first, options.first + each, BATCH):
            if time.monotonic() - began > options.seconds:
                break
            numbers = list(range(first, min(first + BATCH, options.first + each)))
            count += len(numbers)
            for number, reason in run_batch(name, target, numbers):
                failed += 1
                path = options.out / name / str(number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(case(target, number))
                sys.stdout.write(f"{name} {number}: {reason}\n")
        done += count
        sys.stdout.write(f"{name}: {count} cases in {time.monotonic() - start:.0f} s\n")
        sys.stdout.flush()
    sys.stdout.write(f"{done} cases, {failed} failures\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
