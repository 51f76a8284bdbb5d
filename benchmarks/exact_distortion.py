"""Proven smallest perturbations: this library's search, and the same questions to HiGHS and to Marabou in one run.

    python benchmarks/exact_distortion.py --images 100 --norm inf
    python benchmarks/exact_distortion.py --images 6 --norm inf --milp --marabou ENVIRONMENT/bin/python --asked 5
    python benchmarks/exact_distortion.py --net mnist --data DATA --images 100 --norm 2 --seconds 30
    python benchmarks/exact_distortion.py --net DATA/mnist_fc/mnist-net_256x2.onnx --data DATA --images 24 --seconds 10

The networks digits 64-64-64-10 and MNIST 784-64-64-10 are trained here; DATA holds mnist.npz. "mnist" is trained for 4
epochs at rate 1e-3 in batches of 128; "mnist-fast" at 2e-3 in batches of 64, whose proofs take far longer. All get the
same misclassified point as an upper bound. HiGHS' program has one binary per unit that interval bounds leave open; it
is for the norms inf and 1 (HiGHS solves no quadratic programs with integers), Marabou (PyPI, maraboupy 2.0.0) for inf.
Their answers are floats within tolerances, and are asserted to agree; this library's are proven.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch
from exact_rivals import layers_of, marabou, milp
from torch import nn

import plica
from plica.analyses.adversarial.exact import Bracket, prepare, smallest
from plica.core.progress import Progress
from plica.experiments.digits import digits_images

NORMS = {"2": 2.0, "inf": float("inf"), "1": 1.0}
AGREE = 1e-4  # relative difference of a rival's answer that its tolerances explain


class CpuProgress(Progress):
    """A budget of CPU time, which other work on the machine does not use up."""

    @property
    def seconds(self) -> float:
        """CPU seconds since the start."""
        return time.process_time() - self.started


def trained(sizes, images, labels, epochs, rate=2e-3, batch=64):
    """A ReLU network."""
    X, Y = torch.from_numpy(images).float(), torch.from_numpy(labels)
    torch.manual_seed(0)
    parts = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    module = nn.Sequential(*parts[:-1])
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    for _ in range(epochs):
        for chosen in torch.randperm(len(X)).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(X[chosen]), Y[chosen]).backward()
            optimizer.step()
    return module.eval()


def subject(name: str, data: Path | None, count: int):
    """The network, its module where there is one, and test images with labels."""
    if name == "digits":
        some, test = digits_images("train"), digits_images("test")
        module = trained((64, 64, 64, 10), some.images, some.labels, 150)
        return plica.load(module, (64,)), module, test.images[:count], test.labels[:count]
    z = np.load(data / "mnist.npz")
    X, Y = z["test_images"][:count].reshape(-1, 784) / 255.0, z["test_labels"][:count].astype(np.int64)
    if name in ("mnist", "mnist-fast"):
        images, labels = z["train_images"].reshape(-1, 784) / 255.0, z["train_labels"].astype(np.int64)
        how = (1e-3, 128) if name == "mnist" else (2e-3, 64)
        module = trained((784, 64, 64, 10), images, labels, 4, *how)
        return plica.load(module, (784,)), module, X, Y
    net = plica.load(name)
    return net, None, X.reshape(-1, *net.input_shape), Y


def asked(args, layers, x, label: int, b: Bracket) -> dict:
    """The rivals' answers to the question of one bracket, asserted to agree."""
    row, start = {}, time.process_time()
    if args.milp:
        low, high = milp(layers, x, label, args.norm, b.distance * 1.001, args.rival_seconds)
        row |= {"milp": (low, high), "milp_cpu": time.process_time() - start}
        row["milp_open"] = int(low < b.distance * (1 - AGREE))
        assert low <= b.distance * (1 + AGREE), (low, b.distance)
        assert high >= b.lower_bound * (1 - AGREE), (high, b.lower_bound)
    if args.marabou and args.norm == "inf":
        queries = []
        others = [t for t in range(len(layers[-1][1])) if t != label]
        for radius, targets in ((b.lower_bound * (1 - 1e-3), others), (b.distance * (1 + 1e-3), [b.target])):
            low, high = np.maximum(0, x - radius), np.minimum(1, x + radius)
            for t in targets:
                query = {"low": low.tolist(), "high": high.tolist(), "label": label, "target": t}
                queries.append({**query, "seconds": args.rival_seconds})
        told, row["marabou_cpu"] = marabou(args.marabou, layers, queries)
        codes = [a["code"] for a in told]
        row["marabou_open"] = codes.count("TIMEOUT")
        assert "sat" not in codes[:-1], codes
        assert codes[-1] != "unsat", codes
    return row


def told(rows: list[dict], each: float) -> None:
    """Print the summary."""
    cpu = np.array([r["cpu"] for r in rows])
    share = np.array([r["lower"] / r["distance"] for r in rows])
    print(
        f"attack {each:.3f} CPU s an image; proven {sum(r['proven'] for r in rows)} of {len(rows)}; CPU s median "
        f"{np.median(cpu):.3f}, mean {cpu.mean():.3f}, largest {cpu.max():.3f}; lower bound at least 0.85 of the "
        f"distance: {(share >= 0.85).sum()}, least {share.min():.3f}; {sum(r['nodes'] for r in rows)} nodes"
    )
    for name in ("milp", "marabou"):
        asked_ = [r for r in rows if name + "_cpu" in r]
        if asked_:
            took, ours = ([r[key] for r in asked_] for key in (name + "_cpu", "cpu"))
            late = sum(r[name + "_open"] > 0 for r in asked_)
            print(f"{name} on {len(took)}: {late} not decided in its time; median {np.median(took):.2f}, largest "
                  f"{max(took):.2f} CPU s; plica's search on the same: median "
                  f"{np.median(ours):.3f}, largest {max(ours):.3f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--net", default="digits", help="digits, mnist, mnist-fast, or an ONNX file of a network that reads MNIST"
    )
    parser.add_argument("--data", type=Path, help="folder with mnist.npz")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--norm", choices=NORMS, default="inf")
    parser.add_argument("--seconds", type=float, default=30.0, help="per image (CPU)")
    parser.add_argument("--rival-seconds", type=float, default=4.0, help="per question to a rival: up to 20 an image")
    parser.add_argument("--milp", action="store_true", help="ask HiGHS as well")
    parser.add_argument("--marabou", help="Python of an environment with maraboupy")
    parser.add_argument("--asked", type=int, default=5, help="so many images go to the rivals")
    args = parser.parse_args()
    torch.set_num_threads(1)
    norm = NORMS[args.norm]
    net, module, X, Y = subject(args.net, args.data, args.images)
    start = time.process_time()
    attack = plica.min_distortion(net, X, Y, norm=norm, box=plica.Box(0, 1))
    each = (time.process_time() - start) / len(X)
    base, n = prepare(net), X[0].size
    box = np.zeros(n), np.ones(n)
    smallest(base, X[0], int(Y[0]), norm=norm, box=box, progress=Progress(max_seconds=0.5))  # compiles
    rows: list[dict] = []
    for i in np.flatnonzero(np.isfinite(attack.distance) & (attack.distance > 0)):
        start = time.process_time()
        progress = CpuProgress(max_seconds=args.seconds, started=start)
        b = smallest(base, X[i], int(Y[i]), norm=norm, box=box, upper=attack.x_adv[i], progress=progress)
        row = {"image": int(i), "lower": b.lower_bound, "distance": b.distance, "proven": b.proven, "nodes": b.nodes}
        row["cpu"] = time.process_time() - start
        if module is not None and norm != 2.0 and len(rows) < args.asked:
            row |= asked(args, layers_of(module), X[i].reshape(-1), int(Y[i]), b)
        rows.append(row)
        print(json.dumps(row), flush=True)
    told(rows, each)


if __name__ == "__main__":
    main()
