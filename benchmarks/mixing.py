"""Mixing, image by image: does a second network read some input with the same activity differently?

    OMP_NUM_THREADS=1 python benchmarks/mixing.py DATA [digits|mnist ...]

DATA is the folder with mnist.npz. `plica.mixing` (question c) against a mixed-integer program of our own in HiGHS, with
big-M rows for the units that the same proven bounds leave open, one program for each class of the reference, until one
has a solution. Both get the same images, boxes and time, in turns; where both decide, the answers are asserted to be
equal. CPU seconds (process time).
"""

from __future__ import annotations

import itertools
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from scipy.optimize import LinearConstraint, milp
from sklearn.datasets import load_digits

import plica
from plica import Box
from plica.core.search.blocks import FINAL, blocks
from plica.core.search.bounds import bound

LIMIT = 100.0  # seconds of the clock for each image and method
DIFFERS, SAME, OPEN = "read differently", "proven the same", "open"


def trained(X: np.ndarray, y: np.ndarray, widths: list[int], seed: int) -> plica.Network:
    """Dense layers with ReLU, Adam, a few epochs."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    sizes = [X.shape[1], *widths, 10]
    parts: list[torch.nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        parts += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    net = torch.nn.Sequential(*parts[:-1])
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    images, labels = torch.tensor(X, dtype=torch.float32), torch.tensor(y.astype(int))
    for _ in range(max(4, 20_000 // len(X))):
        order = torch.randperm(len(X))
        for i in range(0, len(X), 100):
            batch = order[i : i + 100]
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    return plica.load(net, (X.shape[1],))


def hidden(net: plica.Network, value: str, box: Box) -> tuple:
    """First layer z = J x + c with proven bounds, and the later rows W h + d of a value."""
    graph = blocks(net, value)
    known = bound(graph, box.lower, box.upper)
    first, last = graph.rows[net.choices[0]], graph.rows[FINAL]
    n = graph.spans["input"].stop
    low, high = known.below[net.choices[0]], known.above[net.choices[0]]
    return first.matrix[:, :n], first.offset, low, high, last.matrix[:, n:], last.offset


def big_m(J, c, low, high) -> tuple[list, int]:
    """Rows (over x, h, a) of h = relu(J x + c): the lower and upper limits last."""
    u = len(c)
    eye, zero = sp.eye_array(u), sp.csr_array((u, J.shape[1]))
    return [
        (-J, eye, 0 * eye, c, np.full(u, np.inf)),
        (-J, eye, -sp.diags_array(np.minimum(low, 0)), np.full(u, -np.inf), c - np.minimum(low, 0)),
        (zero, eye, -sp.diags_array(np.maximum(high, 0)), np.full(u, -np.inf), np.zeros(u)),
    ], u


def by_milp(net: plica.Network, reference: plica.Network, x: np.ndarray, layer: str, box: Box) -> str:
    """The same question for HiGHS: one program for each other class of the reference."""
    stop = time.monotonic() + LIMIT
    J, c, low, high, W, d = hidden(net, net[layer].inputs[0], box)
    K, k, low2, high2, V, f = hidden(reference, reference.output, box)
    (one, u), (two, v), n = big_m(J, c, low, high), big_m(K, k, low2, high2), len(x)
    blank = lambda rows, columns: sp.csr_array((rows, columns))  # noqa: E731
    rows = [(sp.hstack([A, H, B, blank(u, 2 * v)]), a, b) for A, H, B, a, b in one]
    rows += [(sp.hstack([A, blank(v, 2 * u), H, B]), a, b) for A, H, B, a, b in two]
    z = W @ np.maximum(J @ x + c, 0) + d
    on = z > 0
    activity = sp.hstack([blank(len(z), n), W, blank(len(z), u + 2 * v)])
    rows.append((activity, np.where(on, z, -np.inf) - d, np.where(on, z, 0.0) - d))
    logits = V @ np.maximum(K @ x + k, 0) + f
    own = int(np.argmax(logits))
    lower = np.concatenate([box.lower, np.zeros(u), low > 0, np.zeros(v), low2 > 0]).astype(float)
    upper = np.concatenate([box.upper, np.maximum(high, 0), high > 0, np.maximum(high2, 0), high2 > 0]).astype(float)
    whole = np.concatenate([np.zeros(n + u), np.ones(u), np.zeros(v), np.ones(v)])
    V = V.toarray()
    for other in sorted(set(range(len(f))) - {own}, key=lambda j: -logits[j]):
        beats = np.concatenate([np.zeros(n + 2 * u), V[other] - V[own], np.zeros(v)])[None]
        asked = [*rows, (sp.csr_array(beats), np.array([f[own] - f[other]]), np.array([np.inf]))]
        left = stop - time.monotonic()
        if left <= 0:
            return OPEN
        answer = milp(
            np.zeros(len(lower)),
            constraints=[LinearConstraint(sp.csr_array(A), a, b) for A, a, b in asked],
            bounds=(lower, upper),
            integrality=whole,
            options={"time_limit": left},
        )
        if answer.x is not None:
            return DIFFERS
        if answer.status != 2:
            return OPEN
    return SAME


def compare(name: str, net: plica.Network, reference: plica.Network, X: np.ndarray, boxes: list[Box]) -> None:
    """Both methods on every image, in turns."""
    layer = net.choices[1]
    took: dict[str, list[float]] = {"plica": [], "MILP": []}
    said: dict[str, list[str]] = {"plica": [], "MILP": []}
    for i, (x, box) in enumerate(zip(X, boxes, strict=True)):
        for who in ("plica", "MILP") if i % 2 == 0 else ("MILP", "plica"):
            start = time.process_time()
            if who == "plica":
                result = plica.mixing(
                    net, x[None], [0], layer=layer, reference=reference, domain=box, extent="none",
                    max_seconds_each=LIMIT,
                )  # fmt: skip
                verdict = str(result.verdicts[0, 0])
            else:
                verdict = by_milp(net, reference, x, layer, box)
            took[who].append(time.process_time() - start)
            said[who].append(verdict)
        ours, theirs = said["plica"][-1], said["MILP"][-1]
        print(
            f"  {name} #{i}: plica {ours}, {took['plica'][-1]:.2f} s; MILP {theirs}, {took['MILP'][-1]:.2f} s",
            flush=True,
        )
        assert OPEN in (ours, theirs) or ours == theirs, "the answers differ"
    for who in took:
        counts = ", ".join(f"{said[who].count(v)} {v}" for v in (DIFFERS, SAME, OPEN))
        print(f"{name}: {who} {counts}; CPU s median {np.median(took[who]):.2f}, max {max(took[who]):.2f}")


def around(x: np.ndarray, radius: float) -> Box:
    """A box around an image, inside [0, 1]."""
    return Box(np.maximum(x - radius, 0), np.minimum(x + radius, 1))


def main() -> None:
    """Run the parts that are named, all by default."""
    data, parts = Path(sys.argv[1]), sys.argv[2:] or ["digits", "mnist"]
    names = ("torch", "numpy", "scipy", "highspy")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in names), flush=True)
    if "digits" in parts:
        digits = load_digits()
        X = digits.data / 16.0
        net, reference = trained(X, digits.target, [30, 20], 0), trained(X, digits.target, [20], 1)
        for radius in (0.25, 0.5, 1.0):
            some = X[:10]
            compare(f"digits 64-30-20, +-{radius:g}", net, reference, some, [around(x, radius) for x in some])
    if "mnist" in parts:
        z = np.load(data / "mnist.npz")
        X, y = z["train_images"].reshape(-1, 784) / 255.0, z["train_labels"]
        net, reference = trained(X[:20_000], y[:20_000], [100, 100], 0), trained(X[:20_000], y[:20_000], [50], 1)
        T = z["test_images"].reshape(-1, 784)[:4] / 255.0
        for radius in (0.05, 0.1):
            compare(f"MNIST 784-100-100, +-{radius:g}", net, reference, T, [around(x, radius) for x in T])


if __name__ == "__main__":
    main()
