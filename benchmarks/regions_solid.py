"""Regions of networks with more than two inputs: CPU seconds to count and to store, with known counts asserted.

    OMP_NUM_THREADS=1 python benchmarks/regions_solid.py DATA --tasks c d --workers 1 --json figures.json

DATA is the folder with c.npz (4-16-16-1, 40,828 regions in its box) and d.npz (8-16-16-1, 6,198,717): arrays W0, b0,
W1, b1, ..., and hw, half the side of the box. Compile time is left out by a first run in a small box; task d runs once.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numba
import numpy as np
import torch

from plica.analyses.regions.chain import Chain
from plica.analyses.regions.solid import solid_count, solid_regions
from plica.core.domain import Box
from plica.core.network import Network

KNOWN = {"c": 40_828, "d": 6_198_717}
RUNS = {"c": 5, "d": 1}


def read(path: Path) -> tuple[Network, Box]:
    """Network and box of a task."""
    with np.load(path) as file:
        n, i = file["W0"].shape[1], 0
        chain = Chain(n)
        while f"W{i + 1}" in file:
            chain.affine(f"a{i}", file[f"W{i}"], file[f"b{i}"])
            chain.choose(f"r{i}", "relu")
            i += 1
        half = float(file["hw"])
    return chain.network(), Box(np.full(n, -half), np.full(n, half))


def timed(call, runs: int) -> tuple[float, float]:
    """Median CPU and wall seconds."""
    cpu, wall = [], []
    for _ in range(runs):
        start = time.process_time(), time.perf_counter()
        call()
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    return statistics.median(cpu), statistics.median(wall)


def measure(name: str, folder: Path, workers: int) -> dict:
    """Figures of one task."""
    net, box = read(folder / f"{name}.npz")
    small = Box(box.lower * 0.1, box.upper * 0.1)
    solid_count(net, small, workers=workers)
    counts = []
    cpu, wall = timed(lambda: counts.append(solid_count(net, box, workers=workers)), RUNS[name])
    assert all(c.count == KNOWN[name] and c.complete for c in counts)
    out = {"task": name, "regions": KNOWN[name], "count_cpu": cpu, "count_wall": wall, "per_second": KNOWN[name] / cpu,
           "signs": counts[0].signs, "pieces": counts[0].pieces}  # fmt: skip
    if name == "c":
        solid_regions(net, small)
        stored = []
        out["store_cpu"], _ = timed(lambda: stored.append(solid_regions(net, box)), RUNS[name])
        assert len(stored[0].cells) == KNOWN[name]
        assert abs(stored[0].cells.volumes().sum() / np.prod(box.upper - box.lower) - 1) < 1e-9
    return out


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=sorted(KNOWN), default=["c"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "workers": args.workers,
    }
    figures = {"versions": versions, "tasks": [measure(name, args.data, args.workers) for name in args.tasks]}
    text = json.dumps(figures, indent=1)
    print(text)
    if args.json is not None:
        args.json.write_text(text)


if __name__ == "__main__":
    main()
