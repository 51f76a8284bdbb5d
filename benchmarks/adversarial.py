"""Smallest perturbations beside foolbox DDN and Carlini-Wagner and adv-lib ALMA: lengths and CPU time.

    python benchmarks/adversarial.py prepare FOLDER DATA [--images 200]
    RIVALS/bin/python benchmarks/adversarial_rivals.py FOLDER MODEL ...      (its own environment, see there)
    python benchmarks/adversarial.py compare FOLDER [--models relu,sigmoid] [--method auto]
    python benchmarks/adversarial.py lbfgs FOLDER [--images 200]
    python benchmarks/adversarial.py few DATA

DATA holds mnist.npz, cifar10_subset.npz, oval21/cifar_base_kw.onnx and acasxu. `prepare` trains FC100-100-10 (sigmoid)
and a ReLU network of the same widths, and writes models in float32 that read pixels in [0, 1], with images that they
get right. `compare` measures plica and reads what the rivals found. `lbfgs` compares the batched L-BFGS with SciPy's,
`few` on networks of five inputs (ACAS Xu) the default search with itself without points in volumes.
One thread throughout.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn

import plica
from plica.analyses.adversarial import search as plan

RIVALS = ("DDN-1000", "ALMA-1000", "CW")
MODELS = ("sigmoid", "relu", "oval21")
UNIT = plica.Box(0, 1)


def trained(hidden: type[nn.Module], data: Path) -> nn.Module:
    """A network 784-100-100-10 after eight epochs of Adam, with a little weight decay."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 100), hidden(), nn.Linear(100, 100), hidden(), nn.Linear(100, 10))
    z = np.load(data / "mnist.npz")
    x = torch.from_numpy(z["train_images"].reshape(-1, 784) / 255.0).float()
    y = torch.from_numpy(z["train_labels"].astype(np.int64))
    adam = torch.optim.Adam(net.parameters(), 2e-3, weight_decay=1e-6)
    for _ in range(8):
        for batch in torch.randperm(len(x)).split(128):
            adam.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            adam.step()
    return net.eval()


class Normalised(nn.Module):
    """oval21's base network on pixels in [0, 1]."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        self.net = plica.load(data / "oval21" / "cifar_base_kw.onnx").to_torch().float()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net((x - self.mean) / 0.225)


def prepare(folder: Path, data: Path, count: int) -> None:
    """Write models and the first images of the test sets that they get right."""
    folder.mkdir(parents=True, exist_ok=True)
    mnist, cifar = np.load(data / "mnist.npz"), np.load(data / "cifar10_subset.npz")
    digits = mnist["test_images"].reshape(-1, 784), mnist["test_labels"]
    sets = {"sigmoid": digits, "relu": digits, "oval21": (cifar["test_images"], cifar["test_labels"])}
    for name in MODELS:
        kind = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}.get(name)
        net = Normalised(data) if kind is None else trained(kind, data)
        x = torch.from_numpy(sets[name][0][:1000] / 255.0).float()
        y = torch.from_numpy(sets[name][1][:1000].astype(np.int64))
        with torch.no_grad():
            right = net(x).argmax(1) == y
            torch.jit.trace(net.eval(), x[:2]).save(str(folder / f"{name}.pt"))
        print(f"{name}: {float(right.float().mean()):.3f} right")
        np.savez(folder / f"{name}.npz", images=x[right][:count].numpy(), labels=y[right][:count].numpy())


def opened(folder: Path, name: str, count: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Model, images and labels."""
    data = np.load(folder / f"{name}.npz")
    net = torch.jit.load(str(folder / f"{name}.pt")).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return net, torch.from_numpy(data["images"])[:count], torch.from_numpy(data["labels"])[:count]


def timed(net: nn.Module, x: torch.Tensor, y: torch.Tensor, **search: object) -> tuple[object, float]:
    """The result and its CPU seconds, after a first call on one image."""
    plica.min_distortion(net, x[:1], y[:1], box=UNIT, **search)
    start = time.process_time()
    return plica.min_distortion(net, x, y, box=UNIT, **search), time.process_time() - start


def compare(folder: Path, names: list[str], count: int, search: dict[str, object]) -> None:
    """Print one line per model for plica and each rival, and the worst image."""
    for name in names:
        net, x, y = opened(folder, name, count)
        result, seconds = timed(net, x, y, **search)
        print(f"{name}: plica mean {result.distance.mean():.6f} in {seconds:.2f} CPU s, "
              f"{result.forward / len(x):.0f} forward, {result.backward / len(x):.0f} backward an image")  # fmt: skip
        best = np.full(len(x), np.inf)
        for rival in RIVALS:
            path = folder / f"{name}-{rival}.npz"
            if not path.exists():
                continue
            found = np.load(path)
            point = torch.from_numpy(found["found"])[:count]
            fooled = (net(point).argmax(1) != y).numpy()
            size = np.where(fooled, (point.double() - x.double()).flatten(1).norm(dim=1).numpy(), np.inf)
            best = np.minimum(best, size)
            print(f"  {rival}: mean {size[fooled].mean():.6f}, fooled {fooled.sum()}/{len(x)}, "
                  f"{float(found['seconds']):.2f} CPU s for {len(found['found'])} images")  # fmt: skip
        excess = result.distance / best - 1
        print(f"  against the best rival of each image: worst {100 * excess.max():+.2f} %, more than 0.5 % worse on "
              f"{int((excess > 0.005).sum())} of {len(x)}, best {100 * excess.min():+.2f} %")  # fmt: skip


def lbfgs(folder: Path, names: list[str], count: int) -> None:
    """Distances and CPU time of the batched L-BFGS beside SciPy's, target: the second largest logit."""
    for name in names:
        net, x, y = opened(folder, name, count)
        both = [timed(net, x, y, targets="second", method=method) for method in ("lbfgs", "lbfgs_scipy")]
        (ours, fast), (slow, long) = both
        share = ours.distance / slow.distance - 1
        print(f"{name}: batched {ours.distance.mean():.6f} in {fast:.2f} CPU s, SciPy {slow.distance.mean():.6f} in "
              f"{long:.2f} CPU s: {long / fast:.1f} times; excess mean {100 * share.mean():+.3f} %, worst "
              f"{100 * share.max():+.3f} %, best {100 * share.min():+.3f} %")  # fmt: skip


def few(data: Path) -> None:
    """Distances of 100 points of each of three networks of ACAS Xu, with and without points in volumes."""
    paths, box = sorted(data.glob("acasxu/**/*.onnx*")), plica.Box(np.full(5, -0.5), np.full(5, 0.5))
    for norm in (2.0, np.inf):
        distances, seconds = {}, dict.fromkeys(("with", "without"), 0.0)
        for name in seconds:
            with mock.patch.object(plan, "FEW", 0 if name == "without" else plan.FEW):
                parts = []
                for k in range(3):
                    net = plica.load(paths[15 * k + 4])
                    points = np.random.default_rng(k).uniform(-0.5, 0.5, (100, 5)).astype(np.float32)
                    start = time.process_time()
                    found = plica.min_distortion(net, points.reshape(100, *net.input_shape), box=box, norm=norm, seed=k)
                    seconds[name] += time.process_time() - start
                    parts.append(found.distance)
                distances[name] = np.concatenate(parts)
        a, b = distances["with"], distances["without"]
        ratio = b / a
        print(
            f"norm {norm:g}: without them {(ratio > 1.005).sum()} of {len(a)} more than 0.5 % longer (most "
            f"{ratio.max():.1f} times), {(ratio < 0.995).sum()} shorter (least {ratio.min():.2f}); means "
            f"{a.mean():.4f} with, {b.mean():.4f} without; CPU {seconds['with']:.1f} and {seconds['without']:.1f} s"
        )


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("prepare", "compare", "lbfgs", "few"))
    parser.add_argument("folder", type=Path, help="DATA itself for few")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--method", default="auto")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = given.models.split(",")
    if given.what == "prepare":
        prepare(given.folder, given.data, given.images)
    elif given.what == "compare":
        compare(given.folder, names, given.images, {"method": given.method})
    elif given.what == "few":
        few(given.folder)
    else:
        lbfgs(given.folder, names, given.images)


if __name__ == "__main__":
    main()
