"""Regions in the plane: CPU seconds and memory to count and to list, beside regioncam, with known counts asserted.

    OMP_NUM_THREADS=1 python benchmarks/regions.py DATA --tasks a b --rival VENV/bin/python --json figures.json

DATA is the folder with a.npz (2-64-64-64-1, 16,623 regions) and b.npz (a plane through 784-256-256-10, 45,180 once the
first layer is composed and rounded): arrays W0, b0, W1, b1, ..., P and o for b, and hw, half the side of the box. Tasks
WxD are ReLU networks drawn here: default_rng(7), D layers of W units, He weights, biases of 0.1, as float32; 256x4 in
[-10, 10]^2 has 521,460 regions. --rival is a Python with regioncam (its own environment: pip install regioncam). Every
program runs in its own process, which is warmed up first; runs alternate. Memory is the peak above that after imports.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

KNOWN = {"a": 16_623, "b": 45_180, "256x4": 521_460}
HALF = {"256x4": 10.0, "64x12": 2.0}
RUNS = 5


def read(task: str, data: Path) -> tuple[list, list, float]:
    """Weights and biases of the hidden layers, half the side of the box."""
    if "x" in task:
        width, depth = map(int, task.split("x"))
        rng, sizes = np.random.default_rng(7), [2] + [width] * depth
        W = [rng.standard_normal((n, m)) * np.sqrt(2 / m) for m, n in itertools.pairwise(sizes)]
        b = [0.1 * rng.standard_normal(n) for n in sizes[1:]]
        half = HALF.get(task, 2.0)
    else:
        with np.load(data / f"{task}.npz") as file:
            layers = sum(name.startswith("W") for name in file.files) - 1
            W, b = [file[f"W{i}"] for i in range(layers)], [file[f"b{i}"] for i in range(layers)]
            half = float(file["hw"])
            if "P" in file.files:
                W[0], b[0] = W[0] @ file["P"], W[0] @ file["o"] + b[0]
    return [w.astype(np.float32) for w in W], [v.astype(np.float32) for v in b], half


# --- workers ----------------------------------------------------------------------------------------------------


def plica_worker(W: list, b: list, half: float, args: argparse.Namespace):
    """A function that counts or lists once."""
    import torch

    import plica
    from plica.analyses.regions.chain import Chain

    torch.set_num_threads(1)
    chain = Chain(2)
    for i, (w, v) in enumerate(zip(W, b, strict=True)):
        chain.affine(f"a{i}", w.astype(float), v.astype(float))
        chain.choose(f"r{i}", "relu")
    net, box = chain.network(), plica.Box([-half, -half], [half, half])
    small = plica.Box([-half / 20, -half / 20], [half / 20, half / 20])
    call = plica.regions if args.mode == "list" else plica.count_regions
    progress = {"max_seconds": args.seconds}

    def once(where=box) -> int:
        found = call(net, where, threads=args.threads, progress=plica.Progress(**progress))
        return found.count if found.completeness == "complete" else -found.count

    once(small)
    return once


def rival_worker(W: list, b: list, half: float, args: argparse.Namespace):
    """The same with regioncam, which always stores."""
    import regioncam

    def once() -> int:
        cam = regioncam.Regioncam(size=half)
        for w, v in zip(W, b, strict=True):
            cam.linear(np.ascontiguousarray(w.T), v)
            cam.relu()
        return cam.num_faces

    return once


def work(args: argparse.Namespace) -> None:
    """Answer each line of standard input with one run."""
    W, b, half = read(args.work, args.data)
    once = (rival_worker if args.mode == "rival" else plica_worker)(W, b, half, args)
    print(json.dumps({"ready": True}), flush=True)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in sys.stdin:
        start = time.process_time(), time.perf_counter()
        count = once()
        cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
        print(json.dumps({"count": count, "cpu": cpu, "wall": wall, "kib": peak}), flush=True)


# --- the driver -------------------------------------------------------------------------------------------------


def start(python: str, task: str, mode: str, threads: int, args: argparse.Namespace) -> subprocess.Popen:
    """A warmed-up worker."""
    command = [python, __file__, str(args.data), "--work", task, "--mode", mode, "--threads", str(threads)]
    command += ["--seconds", str(args.seconds)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    worker.stdout.readline()
    return worker


def measure(task: str, args: argparse.Namespace) -> dict:
    """Alternating runs of all programs on one task."""
    modes = [("count", sys.executable, 1), ("list", sys.executable, 1)]
    modes += [("count, two threads", sys.executable, 2), ("list, two threads", sys.executable, 2)] if args.two else []
    modes += [("rival", args.rival, 1)] if args.rival else []
    workers = {name: start(python, task, name.split(",")[0], n, args) for name, python, n in modes}
    rows: dict[str, list] = {name: [] for name in workers}
    for _ in range(args.runs):
        for name, worker in workers.items():
            worker.stdin.write("run\n")
            worker.stdin.flush()
            rows[name].append(json.loads(worker.stdout.readline()))
    out = {"task": task}
    for name, runs in rows.items():
        workers[name].stdin.close()
        workers[name].wait()
        counts = {run["count"] for run in runs}
        assert len(counts) == 1, (name, counts)
        if task in KNOWN:
            assert counts == {KNOWN[task]}, (name, counts)
        cpu = [run["cpu"] for run in runs]
        out[name] = {"count": counts.pop(), "cpu": statistics.median(cpu), "cpu_least": min(cpu), "cpu_most": max(cpu),
                     "wall": statistics.median(run["wall"] for run in runs),
                     "mib": runs[-1]["kib"] / 1024}  # fmt: skip
    return out


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["a", "b"])
    parser.add_argument("--rival")
    parser.add_argument("--two", action="store_true", help="also with two threads")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--mode", default="count", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args)
        return
    versions = {name: version(name) for name in ("numpy", "torch", "numba")}
    print(json.dumps({**versions, "python": platform.python_version(), "cores": os.cpu_count()}))
    figures = []
    for task in args.tasks:
        figures.append(measure(task, args))
        print(json.dumps(figures[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"versions": versions, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
