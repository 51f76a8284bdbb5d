"""Unions of pieces: complete in boxes, streamed in free space, against a MILP of our own in HiGHS in the same run.

    OMP_NUM_THREADS=1 python benchmarks/preimage_union.py DATA [mnist|fc|acas|deep|stream|milp|certify ...]

DATA is the folder with mnist.npz, mnist_fc and acasxu. CPU seconds (process time) per question; the MILP has big-M rows
for the units that the same proven bounds leave open, and a no-good row after each pattern it finds.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from scipy.optimize import LinearConstraint, milp

import plica
from plica import Box, Progress
from plica.core.search.blocks import blocks
from plica.core.search.bounds import bound

LIMIT = float(os.environ.get("LIMIT", "30"))  # seconds for each question
STRICT = 1e-6  # of the MILP: units that are on are above this


def trained(data: Path) -> tuple[plica.Network, np.ndarray]:
    """784-100-100-10, six epochs of Adam, and the test images."""
    z = np.load(data / "mnist.npz")
    X = torch.tensor(z["train_images"].reshape(-1, 784) / 255.0, dtype=torch.float32)
    y = torch.tensor(z["train_labels"].astype(int))
    torch.manual_seed(0)
    torch.set_num_threads(1)
    layers = [torch.nn.Linear(784, 100), torch.nn.ReLU(), torch.nn.Linear(100, 100), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(100, 10))
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(6):
        order = torch.randperm(len(X))
        for i in range(0, len(X), 100):
            batch = order[i : i + 100]
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(X[batch]), y[batch]).backward()
            optimiser.step()
    return plica.load(net, (784,)), z["test_images"].reshape(-1, 784) / 255.0


def around(x: np.ndarray, radius: float) -> Box:
    """A box around an image, inside [0, 1]."""
    return Box(np.maximum(x - radius, 0), np.minimum(x + radius, 1))


def show(name: str, net: plica.Network, questions: list[tuple[np.ndarray, str, Box]]) -> None:
    """Complete unions: CPU seconds, pieces, and what stayed open."""
    seconds, closed = [], 0
    for i, (x, layer, box) in enumerate(questions):
        start = time.process_time()
        result = plica.preimage(net, x, layer=layer, domain=box, progress=Progress(max_seconds=LIMIT)).result()
        seconds.append(time.process_time() - start)
        done = str(result.completeness) == "complete"
        closed += done
        print(
            f"  {name} #{i}: {result.kind}, {len(result.points)} pieces, {result.completeness}, {result.standing}, "
            f"nodes {result.counts['nodes']}, programs {result.counts['programs']}, unproven "
            f"{result.counts['unproven']}, boxes {result.counts['boxes']}, open {result.open_share:.3g}, "
            f"{seconds[-1]:.2f} s",
            flush=True,
        )
    print(
        f"{name}: complete {closed} of {len(questions)}; CPU s median {np.median(seconds):.2f}, max {max(seconds):.2f}"
    )


def by_milp(net: plica.Network, x: np.ndarray, layer: str, box: Box, limit: float) -> tuple[int, bool, float, float]:
    """Patterns found by HiGHS, whether all, CPU seconds to the first and in all. Two ReLU layers."""
    start = time.process_time()
    first_layer = net.choices[0]
    graph = blocks(net, net[layer].inputs[0])
    known = bound(graph, box.lower, box.upper)
    first, last = list(graph.rows.values())
    n = graph.spans["input"].stop
    J, W = first.matrix[:, :n], last.matrix[:, n:]
    low, high = known.below[first_layer], known.above[first_layer]
    u = len(low)
    z = J @ x + first.offset
    target = W @ np.maximum(z, 0) + last.offset
    eye, zero = sp.eye_array(u), sp.csr_array((u, n))
    high_, low_ = sp.diags_array(np.maximum(high, 0)), sp.diags_array(np.minimum(low, 0))
    rows = [  # h >= z, h <= z - low (1 - a), h <= high a, strictness, conditions; variables x, h, a
        (sp.hstack([-J, eye, 0 * eye]), first.offset, np.full(u, np.inf)),
        (sp.hstack([-J, eye, -low_]), np.full(u, -np.inf), first.offset - np.minimum(low, 0)),
        (sp.hstack([zero, eye, -high_]), np.full(u, -np.inf), np.zeros(u)),
        (sp.hstack([zero, eye, -STRICT * eye]), np.zeros(u), np.full(u, np.inf)),
        (sp.hstack([sp.csr_array((len(target), n)), W, sp.csr_array((len(target), u))]),
         np.where(target > 0, target, -np.inf) - last.offset, np.where(target > 0, target, 0.0) - last.offset),
    ]  # fmt: skip
    lower = np.concatenate([box.lower, np.zeros(u), (low > 0).astype(float)])
    upper = np.concatenate([box.upper, np.maximum(high, 0), (high > 0).astype(float)])
    whole = np.concatenate([np.zeros(n + u), np.ones(u)])
    found, first_at = 0, np.nan
    while True:
        left = limit - (time.process_time() - start)
        if left <= 0:
            return found, False, first_at, time.process_time() - start
        constraints = [LinearConstraint(sp.csr_array(A), a, b) for A, a, b in rows]
        answer = milp(np.zeros(n + 2 * u), constraints=constraints, bounds=(lower, upper), integrality=whole,
                      options={"time_limit": left})  # fmt: skip
        if answer.status == 2:
            return found, True, first_at, time.process_time() - start
        if answer.x is None:
            return found, False, first_at, time.process_time() - start
        found += 1
        first_at = first_at if found > 1 else time.process_time() - start
        on = np.round(answer.x[n + u :])
        no_good = np.concatenate([np.zeros(n + u), np.where(on > 0, -1.0, 1.0)])
        rows.append((sp.csr_array(no_good[None]), np.array([1.0 - on.sum()]), np.array([np.inf])))


def against_milp(name: str, net: plica.Network, questions: list[tuple[np.ndarray, str, Box]]) -> None:
    """Both on the same questions."""
    for i, (x, layer, box) in enumerate(questions):
        start = time.process_time()
        union = plica.preimage(net, x, layer=layer, domain=box, progress=Progress(max_seconds=LIMIT))
        next(iter(union.pieces(1)), None)
        first = time.process_time() - start
        count = sum(1 for _ in union.pieces())
        ours = time.process_time() - start
        theirs = by_milp(net, x.ravel(), layer, box, LIMIT)
        for who, got, done, at, took in (("plica", count, union.is_complete, first, ours), ("MILP", *theirs)):
            end = "" if done else " (open)"
            print(f"  {name} #{i}: {who} {got} pieces{end}, first {at:.3f} s, all {took:.2f} s", flush=True)


def stream(name: str, net: plica.Network, X: np.ndarray, layer: str, count: int = 5000) -> None:
    """Free space: the first piece, the second, and pieces per second."""
    for i, x in enumerate(X):
        start = time.process_time()
        union = plica.preimage(net, x, layer=layer)
        marks = []
        for k, _ in enumerate(islice(union.stream(), count)):
            if k in (0, 1, count - 1):
                marks.append(time.process_time() - start)
            if k == count // 5:
                early = peak()
        rate = (count - 1) / (marks[-1] - marks[0])
        print(f"  {name} #{i}: first {marks[0]:.3f} s, second {marks[1]:.3f} s, {rate:.0f} pieces/s; peak memory "
              f"{early:.0f} MB after a fifth of them, {peak():.0f} MB at the end", flush=True)  # fmt: skip


def peak() -> float:
    """Peak resident memory of this process, MB (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def acas(data: Path, parts: list[str]) -> None:
    """Layers 2 and 3 in the whole box, 4 to 6 in smaller and smaller boxes until they close."""
    low = np.array([-0.328422874212265, -0.5, -0.5, -0.5, -0.5])
    high = np.array([0.679857769, 0.5, 0.5, 0.5, 0.5])
    rng = np.random.default_rng(0)
    net = plica.load(data / "acasxu" / "ACASXU_run2a_1_1_batch_2000.onnx")
    points = [rng.uniform(low, high).reshape(net.input_shape) for _ in range(5)]
    if "acas" in parts:
        for depth in (2, 3):
            show(
                f"ACAS 1_1 layer {depth}, whole box", net, [(x, net.choices[depth - 1], Box(low, high)) for x in points]
            )
    if "deep" in parts:
        for depth, radius in ((4, 0.1), (5, 0.05), (6, 0.05)):
            boxes = [Box(np.maximum(x.ravel() - radius, low), np.minimum(x.ravel() + radius, high)) for x in points]
            asked = [(x, net.choices[depth - 1], box) for x, box in zip(points, boxes, strict=True)]
            show(f"ACAS 1_1 layer {depth}, +-{radius}", net, asked)


def certify(net: plica.Network, questions: list[tuple[np.ndarray, float]], limit: float) -> None:
    """Certificates of whole preimages at layer 2: CPU seconds to find and to verify, and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for x, radius in questions:
            union = plica.preimage(
                net, x, layer=net.choices[1], domain=around(x, radius), progress=Progress(max_seconds=limit)
            )
            pieces, start = len(list(union.pieces())), time.process_time()
            try:
                path = plica.certify(union, net, path=Path(folder) / "whole.json", progress=Progress(max_seconds=limit))
            except plica.PlicaError as error:
                print(f"certify, +-{radius}: {pieces} pieces, {str(error)[:80]}", flush=True)
                continue
            found, start = time.process_time() - start, time.process_time()
            accepted = bool(plica.verify(path, path.with_suffix(".safetensors")))
            seconds, size = time.process_time() - start, path.stat().st_size / 1e6
            said = f"{pieces} pieces, {found:.1f} s, {size:.2f} MB, verify {seconds:.1f} s, {accepted}"
            print(f"certify, +-{radius}: {said}", flush=True)


def main() -> None:
    """Run the parts that are named, all by default."""
    data, parts = Path(sys.argv[1]), sys.argv[2:] or ["mnist", "fc", "acas", "deep", "stream", "milp"]
    net, T = trained(data)
    fc = plica.load(data / "mnist_fc" / "mnist-net_256x2.onnx")
    images = T.reshape(-1, *fc.input_shape)
    if "mnist" in parts:
        show("784-100-100 layer 2, +-0.05", net, [(T[i], net.choices[1], around(T[i], 0.05)) for i in range(20)])
    if "fc" in parts:
        show("256x2 layer 2, +-0.03", fc, [(images[i], fc.choices[1], around(T[i], 0.03)) for i in range(10)])
    if "certify" in parts:
        certify(
            net,
            [*((T[i], 0.02) for i in range(4)), *((T[i], 0.05) for i in range(4))],
            float(os.environ.get("LIMIT", "300")),
        )
    acas(data, parts)
    if "stream" in parts:
        stream("256x2 layer 2, free", fc, images[:5], fc.choices[1])
        stream("784-100-100 layer 2, free", net, T[:5], net.choices[1])
    if "milp" in parts:
        against_milp("784-100-100 layer 2, +-0.05", net, [(T[i], net.choices[1], around(T[i], 0.05)) for i in range(4)])
        against_milp("256x2 layer 2, +-0.03", fc, [(images[i], fc.choices[1], around(T[i], 0.03)) for i in (1, 3)])


if __name__ == "__main__":
    main()
