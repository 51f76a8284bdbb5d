"""Cost and memory of counting in the plane against the number of regions, and against the products it cannot avoid.

    OMP_NUM_THREADS=1 python benchmarks/regions_linear.py --json linear.json --plot docs/images/regions-linear.png

Networks 2-w-w-w-w are drawn as in `regions.py` (default_rng(7)), over boxes [-half, half]^2: one width over growing
boxes, then growing widths over [-10, 10]^2. For every count: CPU seconds, the part of them in matrix products (the
floor: each row of values costs w^2 multiplications, whatever is done with it), and the peak of memory above that after
a small count. Every count runs in a process of its own. --grow 1152 --threads 2 goes to about 10^7 regions of one
network and takes minutes.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

HALVES = [0.01, 0.03, 0.1, 0.3, 10.0]
WIDTHS = [64, 128, 256, 384, 512]
SMALL = 0.002  # half of the box counted before, so that nothing is compiled in what is measured


def work(width: int, half: float, threads: int) -> dict:
    """One count."""
    import torch
    from regions import read

    import plica
    from plica.analyses.regions import planar_rows
    from plica.analyses.regions.chain import Chain

    torch.set_num_threads(1)
    W, b, _ = read(f"{width}x4", Path())
    chain = Chain(2)
    for i, (w, v) in enumerate(zip(W, b, strict=True)):
        chain.affine(f"a{i}", w.astype(float), v.astype(float))
        chain.choose(f"r{i}", "relu")
    net, product, spent = chain.network(), planar_rows._value, [0.0]

    def timed(*args):
        start = time.thread_time()
        value = product(*args)
        spent[0] += time.thread_time() - start
        return value

    planar_rows._value = timed
    plica.count_regions(net, plica.Box([-SMALL] * 2, [SMALL] * 2))
    before, spent[0] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0
    start = time.process_time(), time.perf_counter()
    found = plica.count_regions(net, plica.Box([-half] * 2, [half] * 2), threads=threads)
    cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    assert found.completeness == "complete"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"width": width, "half": half, "threads": threads, "regions": found.count, "cpu": cpu, "wall": wall,
            "products": spent[0], "mib": peak / 1024, "decided": found.decided}  # fmt: skip


def draw(rows: list[dict], path: Path, grow: int) -> None:
    """Time per region and memory over the number of regions."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for name, chosen, marker in (
        (f"{grow} units, growing box", [r for r in rows if r["width"] == grow], "o-"),
        ("growing width, one box", [r for r in rows if r["half"] == 10.0], "s--"),
    ):
        chosen = sorted(chosen, key=lambda r: r["regions"])
        count = [r["regions"] for r in chosen]
        left.plot(count, [1e6 * r["cpu"] / r["regions"] for r in chosen], marker, label=name)
        floor = [1e6 * r["products"] / r["regions"] for r in chosen]
        left.plot(count, floor, marker[1:], color="0.6", label="of which matrix products" if marker == "o-" else None)
        right.plot(count, [r["mib"] for r in chosen], marker, label=name)
    left.set(xscale="log", yscale="log", xlabel="regions", ylabel="CPU µs per region")
    right.set(xscale="log", ylim=(0, None), xlabel="regions", ylabel="MiB above a small count")
    left.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--grow", type=int, default=256, help="width of the network in growing boxes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--halves", type=float, nargs="*", default=HALVES)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(json.dumps(work(int(args.work[0]), float(args.work[1]), args.threads)))
        return
    rows = []
    for width, half in dict.fromkeys([*((args.grow, h) for h in args.halves), *((w, 10.0) for w in args.widths)]):
        command = [sys.executable, __file__, "--threads", str(args.threads), "--work", str(width), str(half)]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True)
        rows.append(json.loads(done.stdout))
        print(json.dumps(rows[-1]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1))
    if args.plot:
        draw(rows, args.plot, args.grow)


if __name__ == "__main__":
    main()
