"""Spectra of a WideCIFAR-shaped network at one image, beside torch's jacrev + svdvals, in CPU seconds of one process.

    python benchmarks/spectrum.py                         # random weights, reference on layers 6 and 7
    python benchmarks/spectrum.py --data DIR --epochs 2   # trained on DIR/cifar10_subset.npz first
    python benchmarks/spectrum.py --reference all         # slower: tens of thousands of rows by jacrev

Targets: 25 CPU seconds where every condition number is below 1e3, else 90; at least five times faster than jacrev and
svdvals on the layers of --reference. Both are measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from plica.analyses.spectrum import spectrum
from plica.experiments.behrmann2018.models import WIDE, accuracy, cifar_net, train
from plica.loaders import load

TARGET_GRAM, TARGET_SVD, TARGET_RATIO = 25.0, 90.0, 5.0


def timed(function, *arguments, **options):
    """Answer and CPU seconds of all threads."""
    start = time.process_time()
    answer = function(*arguments, **options)
    return answer, time.process_time() - start


def network(data: Path | None, epochs: int, seed: int) -> tuple[torch.nn.Module, np.ndarray]:
    """The module, trained where there is data, and an image."""
    torch.manual_seed(seed)
    module = cifar_net(WIDE)
    if data is None:
        return module.double(), np.random.default_rng(seed).random((3, 32, 32))
    with np.load(data / "cifar10_subset.npz") as file:
        parts = {name: file[name] for name in ("train_images", "train_labels", "test_images", "test_labels")}
    images, test = parts["train_images"] / 255.0, parts["test_images"] / 255.0
    train(module, images, parts["train_labels"], epochs=epochs, batch=64, optimiser=torch.optim.Adam, seed=seed)
    print(f"trained {epochs} epochs on {len(images)} images: {accuracy(module, test, parts['test_labels']):.3f} right")
    return module.double(), test[0]


def reference(module: torch.nn.Sequential, x: np.ndarray, depth: int) -> np.ndarray:
    """Singular values of the part up to module `depth`, by jacrev and svdvals."""
    part = module[: depth + 1]
    J = torch.func.jacrev(lambda v: part(v[None]).flatten(), chunk_size=256)(torch.from_numpy(x))
    return torch.linalg.svdvals(J.detach().flatten(1)).numpy()


def main() -> None:
    """Read the options, measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--reference", default="6,7", help="layers from 1 to 7, 'all' or 'none'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    module, x = network(options.data, options.epochs, options.seed)
    net = load(module, (3, 32, 32))
    layers = net.choices
    found, seconds = timed(spectrum, net, x[None], list(layers), side="post")
    print(f"{torch.get_num_threads()} threads; seven spectra: {seconds:.1f} CPU s")
    print(found)
    print("methods", found.methods[0].tolist())
    target = TARGET_GRAM if float(np.nanmax(found.condition)) < 1e3 else TARGET_SVD
    print(f"target {target:.0f} CPU s: {'met' if seconds <= target else 'MISSED'}")
    text = {"all": "1,2,3,4,5,6,7", "none": ""}.get(options.reference, options.reference)
    depths = [i for i, part in enumerate(module) if isinstance(part, torch.nn.ReLU)]
    figures: dict = {"seconds": seconds, "layers": {}}
    for k in [int(part) - 1 for part in text.split(",") if part]:
        expected, theirs = timed(reference, module, x, depths[k])
        alone, ours = timed(spectrum, net, x[None], layers[k], side="post")
        size = min(len(expected), len(alone.values[0][0]))
        rank = int(alone.ranks[0, 0])
        error = np.abs(alone.values[0][0][:size] - expected[:size])
        relative = float((error[:rank] / expected[:rank]).max())
        figures["layers"][k + 1] = {"jacrev": theirs, "plica": ours, "relative": relative}
        print(f"layer {k + 1}: jacrev + svdvals {theirs:.1f}, plica {ours:.1f} CPU s, "
              f"{theirs / ours:.1f} times faster; largest relative difference {relative:.1e}")  # fmt: skip
    if figures["layers"]:
        ratio = sum(v["jacrev"] for v in figures["layers"].values()) / sum(
            v["plica"] for v in figures["layers"].values()
        )
        verdict = "met" if ratio >= TARGET_RATIO else "MISSED"
        print(f"together {ratio:.1f} times faster, target {TARGET_RATIO:.0f}: {verdict}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
