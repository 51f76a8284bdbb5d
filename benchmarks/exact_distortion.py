"""Proven smallest perturbations: this library's search against a mixed-integer program of the same network in HiGHS.

    python benchmarks/exact_distortion.py --images 20 --norm inf --seconds 30

Digits 64-64-64-10 is trained here (scikit-learn's digits). Both get the same misclassified point as an upper bound. The
program has one binary per unit that interval bounds leave open; it exists for the norms inf and 1 (HiGHS solves no
quadratic programs with integers). Its bound is a float within HiGHS' tolerances; this library's is proven.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time

import highspy
import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

import plica
from plica.analyses.adversarial.exact import prepare, smallest
from plica.core.progress import Progress
from plica.experiments.digits import digits_images

NORMS = {"2": 2.0, "inf": float("inf"), "1": 1.0}


def trained(sizes=(64, 64, 64, 10), epochs=150):
    """A ReLU network on the digits."""
    data = digits_images("train")
    X, Y = torch.from_numpy(data.images).float(), torch.from_numpy(data.labels)
    torch.manual_seed(0)
    parts = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    module = nn.Sequential(*parts[:-1])
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(X[chosen]), Y[chosen]).backward()
            optimizer.step()
    return module.eval()


def layers_of(module):
    return [
        (m.weight.detach().double().numpy(), m.bias.detach().double().numpy()) for m in module if hasattr(m, "weight")
    ]


def milp(layers, x, label, norm, radius, seconds):
    """Smallest distance over all targets by one program per target; (lower bound, distance)."""
    best, lower = radius, np.inf
    for target in range(len(layers[-1][1])):
        if target != label:
            low, high = _one(layers, x, label, target, norm, best, seconds)
            best, lower = min(best, high), min(lower, low)
    return min(lower, best), best


def _one(layers, x, label, target, norm, radius, seconds):
    n = len(x)
    low, high = np.maximum(-x, -radius), np.minimum(1 - x, radius)
    columns, cost, kinds = [], [], []  # (lower, upper) per variable

    def variables(count, lower, upper, price=0.0, integer=False):
        start = len(columns)
        columns.extend(zip(np.broadcast_to(lower, count), np.broadcast_to(upper, count), strict=True))
        cost.extend([price] * count)
        kinds.extend([integer] * count)
        return np.arange(start, start + count)

    rows, least, most = [], [], []

    def row(entries, lower, upper):
        rows.append(entries)
        least.append(lower)
        most.append(upper)

    source = variables(n, low, high)
    if norm == "inf":
        t = variables(1, 0.0, radius, 1.0)[0]
        for i in range(n):
            row([(source[i], 1.0), (t, -1.0)], -np.inf, 0.0)
            row([(source[i], -1.0), (t, -1.0)], -np.inf, 0.0)
    else:
        size = variables(n, 0.0, np.maximum(-low, high), 1.0)
        for i in range(n):
            row([(source[i], 1.0), (size[i], -1.0)], -np.inf, 0.0)
            row([(source[i], -1.0), (size[i], -1.0)], -np.inf, 0.0)
    centre = x
    for W, b in layers[:-1]:
        q = W @ centre + b
        below = np.maximum(W, 0) @ low + np.minimum(W, 0) @ high + q
        above = np.maximum(W, 0) @ high + np.minimum(W, 0) @ low + q
        out = variables(len(b), np.maximum(below, 0), np.maximum(above, 0))
        for j in range(len(b)):
            z = [(source[i], -W[j, i]) for i in np.flatnonzero(W[j])]
            if below[j] >= 0:
                row([(out[j], 1.0), *z], q[j], q[j])
            elif above[j] > 0:
                s = variables(1, 0.0, 1.0, integer=True)[0]
                row([(out[j], 1.0), *z], q[j], np.inf)
                row([(out[j], 1.0), *z, (s, -below[j])], -np.inf, q[j] - below[j])
                row([(out[j], 1.0), (s, -above[j])], -np.inf, 0.0)
        low, high, source, centre = np.maximum(below, 0), np.maximum(above, 0), out, np.zeros(len(b))
    W, b = layers[-1]
    g = W[target] - W[label]
    row([(source[i], g[i]) for i in np.flatnonzero(g)], b[label] - b[target], np.inf)
    return _highs(columns, cost, kinds, rows, least, most, seconds)


def _highs(columns, cost, kinds, rows, least, most, seconds):
    place = [(r, c, v) for r, entries in enumerate(rows) for c, v in entries]
    r, c, v = zip(*place, strict=True)
    A = sp.csr_array(sp.coo_array((v, (r, c)), shape=(len(rows), len(columns))))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(columns), len(rows)
    model.col_cost_ = np.array(cost)
    model.col_lower_, model.col_upper_ = (np.array(side) for side in zip(*columns, strict=True))
    model.row_lower_, model.row_upper_ = np.array(least), np.array(most)
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = A.indptr, A.indices, A.data
    model.integrality_ = [highspy.HighsVarType.kInteger if k else highspy.HighsVarType.kContinuous for k in kinds]
    solver = highspy.Highs()
    for name, setting in {"output_flag": False, "threads": 1, "time_limit": seconds, "mip_rel_gap": 1e-7}.items():
        solver.setOptionValue(name, setting)
    solver.passModel(model)
    solver.run()
    status, info = solver.getModelStatus(), solver.getInfo()
    if status == highspy.HighsModelStatus.kInfeasible:
        return np.inf, np.inf
    done = status == highspy.HighsModelStatus.kOptimal
    return (info.objective_function_value if done else max(0.0, info.mip_dual_bound),
            info.objective_function_value if done else np.inf)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--norm", choices=NORMS, default="inf")
    parser.add_argument("--seconds", type=float, default=30.0, help="per image (wall clock), and per program of HiGHS")
    parser.add_argument("--milp", type=int, default=5, help="so many images by HiGHS as well")
    args = parser.parse_args()
    norm, module, data = NORMS[args.norm], trained(), digits_images("test")
    net = plica.load(module, (64,))
    X, Y = data.images[: args.images], data.labels[: args.images]
    start = time.process_time()
    attack = plica.min_distortion(net, X, Y, norm=norm, box=plica.Box(0, 1))
    each = (time.process_time() - start) / len(X)
    base, layers, box = prepare(net), layers_of(module), (np.zeros(64), np.ones(64))
    smallest(base, X[0], int(Y[0]), norm=norm, box=box, progress=Progress(max_seconds=0.5))  # compiles
    rows = []
    for i in np.flatnonzero(np.isfinite(attack.distance) & (attack.distance > 0)):
        start = time.process_time()
        progress = Progress(max_seconds=args.seconds)
        b = smallest(base, X[i], int(Y[i]), norm=norm, box=box, upper=attack.x_adv[i], progress=progress)
        row = {"image": int(i), "lower": b.lower_bound, "distance": b.distance, "proven": b.proven, "nodes": b.nodes}
        row["cpu"] = time.process_time() - start
        if norm != 2.0 and len([r for r in rows if "milp_cpu" in r]) < args.milp:
            start = time.process_time()
            row["milp"] = milp(layers, X[i], int(Y[i]), args.norm, b.distance * 1.001, args.seconds)
            row["milp_cpu"] = time.process_time() - start
        rows.append(row)
        print(json.dumps(row), flush=True)
    cpu = np.array([r["cpu"] for r in rows])
    print(f"attack {each:.3f} CPU s an image; proven {sum(r['proven'] for r in rows)} of {len(rows)}; CPU s median "
          f"{np.median(cpu):.3f}, mean {cpu.mean():.3f}, largest {cpu.max():.3f}")  # fmt: skip
    other = [r["milp_cpu"] for r in rows if "milp_cpu" in r]
    if other:
        print(f"HiGHS on the first {len(other)}: median {np.median(other):.2f}, largest {max(other):.2f} CPU s")


if __name__ == "__main__":
    main()
