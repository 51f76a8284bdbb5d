"""Cost of spectra and brackets of convolutions, and global bounds beside eclipse-nn.

Three parts, each in CPU seconds of all threads:

* spectra: all singular values of AlexNet-shaped circular convolutions by `conv_spectrum`, beside the floor in the same
  run: a fast Fourier transform of the padded kernel and batched eigenvalues of its Gram matrices, in torch.
* brackets: `lipschitz` on AlexNet's five zero-padded convolutions and on WideCIFAR's, with the widths.
* global: bounds of ReLU MLPs, beside ECLipsE and ECLipsE-Fast of eclipse-nn in an interpreter of its own
  (--rival PYTHON, an environment with eclipse-nn and torch; without it the part shows plica alone).

    python benchmarks/lipschitz.py --rival /path/to/python --json figures.json
"""

import argparse
import itertools
import json
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from plica.analyses.lipschitz import conv_spectrum, lipschitz
from plica.analyses.lipschitz.program import vectors
from plica.analyses.lipschitz.tight import tight_bound
from plica.core.affine import Dense
from plica.core.choice import relu
from plica.core.conv import Conv
from plica.core.network import INPUT, Graph
from plica.core.progress import Progress

ALEXNET = {  # channels in and out, kernel, stride, padding, size of the image
    "conv1": (3, 96, 11, 4, 2, 224),
    "conv2": (96, 256, 5, 1, 2, 27),
    "conv3": (256, 384, 3, 1, 1, 13),
    "conv4": (384, 384, 3, 1, 1, 13),
    "conv5": (384, 256, 3, 1, 1, 13),
}
WIDECIFAR = {
    "conv1": (3, 32, 3, 1, 1, 32),
    "conv2": (32, 64, 3, 2, 1, 32),
    "conv3": (64, 64, 3, 1, 1, 16),
    "conv4": (64, 32, 3, 1, 1, 16),
    "conv5": (32, 32, 3, 1, 1, 16),
    "conv6": (32, 64, 3, 2, 1, 16),
}
MLPS = {  # widths, and how the weights are drawn: torch's start, or uniform in [0, 1) as eclipse-nn's own generator
    "784-100-100-10": ((784, 100, 100, 10), "torch"),
    "5-32-32-2 (its example)": ((5, 32, 32, 2), "torch"),
    "64-64x5-10": ((64, 64, 64, 64, 64, 64, 10), "torch"),
    "4-20-20-20-1, uniform": ((4, 20, 20, 20, 1), "uniform"),
    "20-80x4-2, uniform": ((20, 80, 80, 80, 80, 2), "uniform"),
}
FEW = 3  # steps of a short search
TARGET_FLOOR, TARGET_SECONDS = 1.3, 60.0
RIVAL = """
import json, sys, time, io, contextlib
import numpy as np, torch
torch.set_num_threads(1)
from eclipse_nn import LipConstEstimator
out = {}
for path in sys.argv[1:]:
    held = np.load(path)
    W = [torch.from_numpy(held[k]) for k in sorted(held.files)]
    estimator = LipConstEstimator(weights=W)
    start = time.process_time(); fast = float(estimator.estimate("ECLipsE_Fast")); fast_s = time.process_time() - start
    start, said = time.process_time(), io.StringIO()
    with contextlib.redirect_stdout(said):
        full = float(estimator.estimate("ECLipsE"))
    out[path] = {"fast": fast, "fast_s": fast_s, "full": full, "full_s": time.process_time() - start,
                 "fell back": "Falling back" in said.getvalue()}
print(json.dumps(out))
"""


def timed(function, *arguments, **options):
    """Answer and CPU seconds of all threads."""
    start = time.process_time()
    answer = function(*arguments, **options)
    return answer, time.process_time() - start


def draw(layer, seed: int) -> Conv:
    """A convolution with torch's starting weights."""
    c_in, c_out, kernel, stride, padding, size = layer
    torch.manual_seed(seed)
    weight = nn.Conv2d(c_in, c_out, kernel).weight.detach().double()
    return Conv(weight, None, (c_in, size, size), (stride,) * 2, ((padding,) * 2,) * 2, (1, 1))


def floor(conv: Conv, size: int) -> torch.Tensor:
    """Transform of the padded kernel by polyphase components, Gram matrices of the smaller side, eigenvalues."""
    c_out, c_in, k, _ = conv.weight.shape
    s = conv.stride[0]
    m = size // s
    padded = torch.zeros(c_out, c_in, size, size, dtype=torch.float64)
    padded[:, :, :k, :k] = conv.weight
    phases = padded.reshape(c_out, c_in, m, s, m, s).permute(0, 1, 3, 5, 2, 4)
    blocks = torch.fft.rfft2(phases).permute(4, 5, 0, 1, 2, 3).reshape(m * (m // 2 + 1), c_out, c_in * s * s)
    gram = blocks @ blocks.mH if blocks.shape[1] <= blocks.shape[2] else blocks.mH @ blocks
    return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()


def _verdict(value: float, target: float) -> str:
    return f"target {target:g}: {'met' if value <= target else 'MISSED'}"


def spectra(rounds: int) -> dict:
    """Spectra beside the floor, taking turns."""
    figures = {}
    for name, layer in ALEXNET.items():
        conv, size = draw(layer, 0), layer[-1] + -layer[-1] % layer[3]
        ours, floors = [], []
        for _ in range(rounds):
            reference, seconds = timed(floor, conv, size)
            floors.append(seconds)
            result, seconds = timed(conv_spectrum, conv, (layer[0], size, size))
            ours.append(seconds)
        ratio = float(np.median(ours) / np.median(floors))
        top = abs(float(reference.max()) - result.values[0]) / result.values[0]
        figures[name] = {"plica": float(np.median(ours)), "floor": float(np.median(floors)), "ratio": ratio}
        print(f"  {name}: {len(result.values)} values, {np.median(ours):.2f} s, floor {np.median(floors):.2f} s, "
              f"ratio {ratio:.2f}, largest differ by {top:.0e}")  # fmt: skip
    total = sum(f["plica"] for f in figures.values()) / sum(f["floor"] for f in figures.values())
    print(f"  all five: {total:.2f} times the floor ({_verdict(total, TARGET_FLOOR)})")
    return figures


def brackets() -> dict:
    """Brackets of single layers."""
    figures = {}
    for net, layers in (("AlexNet", ALEXNET), ("WideCIFAR", WIDECIFAR)):
        total = 0.0
        for name, layer in layers.items():
            graph = Graph(draw(layer, 0).input_shape)
            graph.add(name, draw(layer, 0), INPUT)
            result, seconds = timed(lipschitz, graph.network(), tight=False)
            bound = result.layers[0]
            total += seconds
            figures[f"{net} {name}"] = {"lower": bound.lower, "upper": bound.upper, "seconds": seconds}
            width = f"{100 * bound.width:.3f} % wide"
            print(f"  {net} {name}: [{bound.lower:.6f}, {bound.upper:.6f}], {width}, {seconds:.2f} s")
        goal = f" ({_verdict(total, TARGET_SECONDS)})" if net == "AlexNet" else ""
        print(f"  {net}: {total:.1f} s{goal}")
    return figures


def mlp(widths, kind: str, seed: int) -> list[np.ndarray]:
    """Weights of an MLP."""
    torch.manual_seed(seed)
    if kind == "uniform":
        return [torch.rand(b, a, dtype=torch.float64).numpy() for a, b in itertools.pairwise(widths)]
    return [nn.Linear(a, b).weight.detach().double().numpy() for a, b in itertools.pairwise(widths)]


def network(weights: list[np.ndarray]):
    """The network of an MLP."""
    graph, last = Graph((weights[0].shape[1],)), INPUT
    for i, W in enumerate(weights):
        last = graph.add(f"dense{i}", Dense(torch.from_numpy(W), None, (W.shape[1],)), last)
        if i < len(weights) - 1:
            last = graph.add(f"relu{i}", relu((len(W),)), last)
    return graph.network()


def closed_form(net) -> float:
    """The proven bound of the search's first multipliers, which are those of ECLipsE-Fast."""
    shapes = {INPUT: net.input_shape, **{n.name: n.shape for n in net.nodes}}
    return tight_bound(vectors(net.nodes, INPUT, shapes, {}), Progress(), steps=0)


def bounds(rival: str | None) -> dict:
    """Global bounds of MLPs."""
    weights = {name: mlp(widths, kind, 0) for name, (widths, kind) in MLPS.items()}
    theirs = {}
    if rival:
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: str(Path(folder) / f"{i}.npz") for i, name in enumerate(weights)}
            for name, path in paths.items():
                np.savez(path, **{f"w{i:02d}": W for i, W in enumerate(weights[name])})
            done = subprocess.run([rival, "-c", RIVAL, *paths.values()], capture_output=True, text=True, check=True)
            answers = json.loads(done.stdout.strip().splitlines()[-1])
            theirs = {name: answers[path] for name, path in paths.items()}
    figures = {}
    for name, W in weights.items():
        result, seconds = timed(lipschitz, network(W))
        few, few_s = timed(partial(lipschitz, steps=FEW), network(W))
        start, start_s = timed(closed_form, network(W))
        figures[name] = {"plica": result.upper, "product": result.product, "lower": result.lower, "seconds": seconds,
                         f"{FEW} steps": few.upper, f"{FEW} steps seconds": few_s,
                         "closed form": start, "closed form seconds": start_s}  # fmt: skip
        print(f"  {name}: plica {result.upper:.6g} (proven) in {seconds:.2f} s, product {result.product:.6g}, "
              f"at least {result.lower:.6g}; {FEW} steps {few.upper:.6g} in {few_s:.3f} s; "
              f"without the search {start:.6g} (proven) in {start_s:.3f} s")  # fmt: skip
        if name in theirs:
            r = theirs[name]
            figures[name]["eclipse-nn"] = r
            word = " (its SDP failed, it fell back to Fast)" if r["fell back"] else ""
            print(f"    eclipse-nn: ECLipsE {r['full']:.6g} in {r['full_s']:.2f} s{word}, "
                  f"Fast {r['fast']:.6g} in {r['fast_s']:.3f} s")  # fmt: skip
    return figures


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["spectra", "brackets", "global"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rival", help="python of an environment with eclipse-nn")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = {"spectra": lambda: spectra(options.rounds), "brackets": brackets, "global": lambda: bounds(options.rival)}
    figures = {}
    for part in options.parts:
        print(part)
        figures[part] = runs[part]()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
