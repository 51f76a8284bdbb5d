"""Rate of relucent on task d, beside plica's on a smaller box of it: regions per CPU second.

    OMP_NUM_THREADS=1 python benchmarks/regions_relucent.py DATA --rival VENV/bin/python

DATA is the folder with d.npz (8-16-16-1, 6,198,717 regions in its box). relucent (its own environment: pip install
relucent torch) cannot finish the task; it searches breadth first from the origin until it has --cells regions, with one
worker and without its checks. Its rate falls a little with more regions. plica counts a box of --half; its rate on the
whole box is in `regions_solid.py`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def relucent(path: Path, cells: int) -> dict:
    """CPU seconds of one search, workers included."""
    import relucent
    import torch

    torch.set_num_threads(1)
    with np.load(path) as file:
        layers = []
        for i in range(sum(name.startswith("W") for name in file.files)):
            linear = torch.nn.Linear(*file[f"W{i}"].shape[::-1]).double()
            linear.weight.data, linear.bias.data = (torch.tensor(file[f"{n}{i}"]).double() for n in ("W", "b"))
            layers += [linear, torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    start = torch.full((1, layers[0].in_features), 1e-3, dtype=torch.float64)
    relucent.Complex(net).bfs(start, max_polys=5, nworkers=1, verify=False, verbose=0)
    complex_ = relucent.Complex(net)
    before = cpu()
    complex_.bfs(start, max_polys=cells, nworkers=1, verify=False, verbose=0)
    return {"cells": len(complex_), "cpu": cpu() - before}


def cpu() -> float:
    """CPU seconds of this process and its ended children."""
    own, others = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def plica(path: Path, half: float) -> dict:
    """CPU seconds of a count in a box."""
    from plica import Box, count_regions
    from plica.analyses.regions.chain import Chain

    with np.load(path) as file:
        n, i = file["W0"].shape[1], 0
        chain = Chain(n)
        while f"W{i + 1}" in file:
            chain.affine(f"a{i}", file[f"W{i}"], file[f"b{i}"])
            chain.choose(f"r{i}", "relu")
            i += 1
    net = chain.network()
    count_regions(net, Box(np.full(n, -half / 10), np.full(n, half / 10)))
    start = time.process_time()
    found = count_regions(net, Box(np.full(n, -half), np.full(n, half)))
    return {"cells": found.count, "cpu": time.process_time() - start}


def main() -> None:
    """Measure both, in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rival", required=True)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--half", type=float, default=0.5)
    parser.add_argument("--work", choices=["plica", "relucent"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    path = args.data / "d.npz"
    if args.work:
        print(json.dumps(plica(path, args.half) if args.work == "plica" else relucent(path, args.cells)))
        return
    rates = {}
    for name, python in (("plica", sys.executable), ("relucent", args.rival)):
        command = [python, __file__, *sys.argv[1:], "--work", name]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        rates[name] = row["cells"] / row["cpu"]
        print(json.dumps({"program": name, **row, "per_second": rates[name]}))
    print(json.dumps({"ratio": rates["plica"] / rates["relucent"]}))


if __name__ == "__main__":
    main()
