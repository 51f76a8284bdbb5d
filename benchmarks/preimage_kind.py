"""Cost of the kind of a layer preimage: Behrmann et al. (2018), section 2.2, figure 3.

Trains (once, then cached) a 784-3500-784-10 ReLU network on MNIST and decides, with its proof, the kind of the
first layer's preimage for a sample of test images. Reports CPU seconds an image, split by what decided: the rank, or
nonnegative least squares. Then solves the paper's Algorithm 1 (appendix A3) for a few of the same images with
scipy.optimize.linprog (HiGHS) in the same process, the two programs taking turns, and compares verdicts and cost.

    python benchmarks/preimage_kind.py --mnist mnist.npz --folder cache --json figures.json

The npz holds `train_images`, `train_labels` and `test_images`. Runs on one thread.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.linalg import null_space
from scipy.optimize import linprog
from threadpoolctl import threadpool_limits

from plica.analyses.preimage.kinds import LayerKinds

TARGETS = {"rank": 0.06, "least squares": 0.25}  # CPU seconds an image, median


def images(path: Path, part: str) -> np.ndarray:
    """Images as rows of 784 numbers in [0, 1]."""
    return np.load(path)[f"{part}_images"].reshape(-1, 784).astype(np.float32) / 255


def train(mnist: Path, epochs: int, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """First layer of the paper's network (Table 2): Adam, batches of 1000."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    X, y = torch.from_numpy(images(mnist, "train")), torch.from_numpy(np.load(mnist)["train_labels"].astype(np.int64))
    layers = [torch.nn.Linear(784, 3500), torch.nn.ReLU(), torch.nn.Linear(3500, 784), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(784, 10))
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    for epoch in range(epochs):
        for batch in torch.randperm(len(X)).split(1000):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(X[batch]), y[batch])
            loss.backward()
            optimiser.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.4f}", flush=True)
    return net[0].weight.detach().numpy(), net[0].bias.detach().numpy()


def first_layer(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases, trained or from the cache."""
    name = f"mnist-784-3500-784-{options.epochs}-{options.rate:g}-{options.seed}.npz"
    cache = options.folder / name
    if not cache.exists():
        options.folder.mkdir(parents=True, exist_ok=True)
        W, b = train(options.mnist, options.epochs, options.rate, options.seed)
        np.savez(cache, W=W, b=b)
    stored = np.load(cache)
    return stored["W"].astype(float), stored["b"].astype(float)


def algorithm_1(W: np.ndarray, active: np.ndarray, limit: float) -> bool | None:
    """Whether the preimage is finite by the paper's Algorithm 1, with an orthonormal null space and HiGHS.

    None when HiGHS stops at the time limit, in seconds.
    """
    kernel = null_space(W[active]) if active.any() else np.eye(W.shape[1])
    if kernel.shape[1] == 0:
        return True
    reduced = W[~active] @ kernel
    if len(reduced) <= kernel.shape[1]:
        return False
    system, right = np.vstack([reduced.T, np.ones(len(reduced))]), np.append(np.zeros(kernel.shape[1]), 1.0)
    options = {"time_limit": limit}
    found = linprog(np.ones(len(reduced)), A_eq=system, b_eq=right, bounds=(0, 1), method="highs", options=options)
    return {0: True, 2: False}.get(found.status)


def timed(function, *arguments):
    """Answer and CPU seconds."""
    start = time.process_time()
    answer = function(*arguments)
    return answer, time.process_time() - start


def measure(kinds: LayerKinds, active: np.ndarray, tight: np.ndarray, positions: np.ndarray) -> list[dict]:
    """One row per image: positive units, verdict, what decided it, CPU seconds."""
    rows = []
    for i in positions:
        decision, seconds = timed(kinds.decide, active[i], tight[i])
        assert decision.standing.is_proof, decision.reason
        by = "least squares" if "recession" in decision.certificate else "rank"
        rows.append({"image": int(i), "positive": int(active[i].sum()), "kind": str(decision.kind), "by": by})
        rows[-1] |= {"dimension": decision.dimension, "standing": str(decision.standing), "seconds": seconds}
    return rows


def compare(
    kinds: LayerKinds, W: np.ndarray, active: np.ndarray, tight: np.ndarray, positions: list[int], *, limit: float
) -> list[dict]:
    """The two programs on the same images, taking turns; their verdicts must agree where both have one."""
    rows = []
    for i in positions:
        decision, ours = timed(kinds.decide, active[i], tight[i])
        finite, theirs = timed(algorithm_1, W, active[i], limit)
        assert finite in (None, str(decision.kind) != "unbounded"), (i, decision.kind, finite)
        row = {
            "image": int(i),
            "positive": int(active[i].sum()),
            "kind": str(decision.kind),
            "answered": finite is not None,
        }
        row |= {"plica": ours, "linprog": theirs, "ratio": theirs / ours}
        print(f"  {i:>5} {row['positive']:>5} positive {row['kind']:<10} {ours:.3f} s, linprog {theirs:.2f} s", end="")
        print("" if row["answered"] else " without an answer", flush=True)
        rows.append(row)
    return rows


def report(rows: list[dict], prepare: float) -> dict[str, float]:
    """Print medians per deciding step and return them."""
    print(f"preparation of the layer: {prepare:.3f} CPU s, once")
    medians = {}
    for by, target in TARGETS.items():
        seconds = [row["seconds"] for row in rows if row["by"] == by]
        if not seconds:
            print(f"{by}: no image of the sample")
            continue
        medians[by] = float(np.median(seconds))
        word = "met" if medians[by] <= target else "MISSED"
        kinds = dict(Counter(row["kind"] for row in rows if row["by"] == by))
        print(
            f"{by}: {len(seconds)} images {kinds}, median {medians[by]:.4f}, largest {max(seconds):.4f} CPU s", end="; "
        )
        print(f"target {target} {word}; standings {dict(Counter(r['standing'] for r in rows if r['by'] == by))}")
    return medians


def main() -> None:
    """Read the options, train or load, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("cache"), help="where the trained weights are kept")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--rate", type=float, default=0.002, help="of Adam; decides how many units stay positive")
    parser.add_argument("--images", type=int, default=200, help="sample of the test images")
    parser.add_argument("--compare", type=int, default=5, help="images on which Algorithm 1 runs too")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for each linear program")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    W, b = first_layer(options)
    values = images(options.mnist, "test").astype(float) @ W.T + b
    active, tight = values > 0, values == 0
    counts = active.sum(1)
    print("positive units:", {q: int(np.quantile(counts, q)) for q in (0, 0.1, 0.5, 0.9, 1)})
    positions = np.random.default_rng(options.seed).choice(len(values), options.images, replace=False)
    kinds, prepare = timed(LayerKinds, W)
    rows = measure(kinds, active, tight, positions)
    medians = report(rows, prepare)
    hard = sorted((row for row in rows if row["by"] == "least squares"), key=lambda row: row["positive"])
    chosen = [hard[j]["image"] for j in np.linspace(0, len(hard) - 1, min(options.compare, len(hard))).astype(int)]
    versus = compare(kinds, W, active, tight, chosen, limit=options.limit)
    ratio = float(np.median([row["ratio"] for row in versus])) if versus else None
    print(f"median ratio linprog / plica: {ratio}")
    if options.json:
        figures = {"prepare": prepare, "medians": medians, "ratio": ratio, "images": rows, "compare": versus}
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
