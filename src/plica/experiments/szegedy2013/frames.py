"""Upper Lipschitz bounds of AlexNet's layers (Table 5)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from plica.analyses.lipschitz import conv_spectrum, lipschitz
from plica.analyses.lipschitz.result import LayerBound, outward
from plica.core.affine import Dense
from plica.core.conv import Conv
from plica.core.network import INPUT, Graph
from plica.core.progress import Progress
from plica.core.result import Standing
from plica.errors import BudgetReached, DataError
from plica.experiments.figure import Claim, Made, Panel, Setting

FILE = "alexnet.safetensors"  # in the folder of the data: convolutions and dense layers in the order of their names


@dataclass(frozen=True)
class Layer:
    """A row of Table 5, with what it leaves out: padding and image size are those of Krizhevsky et al. (2012)."""

    name: str
    shape: tuple[int, ...]  # outputs, inputs, kernel
    printed: float
    stride: int = 1
    padding: int = 0
    size: int = 0

    @property
    def words(self) -> str:
        """Name and shape, as in the table."""
        kernel = f", stride {self.stride}" if self.size else ""
        return f"{self.name}, {' x '.join(map(str, (self.shape[1], *self.shape[2:], self.shape[0])))}{kernel}"


LAYERS = (
    Layer("Conv. 1", (96, 3, 11, 11), 2.75, 4, 2, 224),
    Layer("Conv. 2", (256, 96, 5, 5), 10.0, 1, 2, 27),
    Layer("Conv. 3", (384, 256, 3, 3), 7.0, 1, 1, 13),
    Layer("Conv. 4", (384, 384, 3, 3), 7.5, 1, 1, 13),
    Layer("Conv. 5", (256, 384, 3, 3), 11.0, 1, 1, 13),
    Layer("FC. 1", (4096, 9216), 3.12),
    Layer("FC. 2", (4096, 4096), 4.0),
    Layer("FC. 3", (1000, 4096), 4.0),
)


def frame_bounds(setting: Setting, layers: tuple[Layer, ...] = LAYERS) -> Made:
    """Table 5: the operator norm of every layer, bracketed with proof, with the weights that are given."""
    weights, source = alexnet(setting, layers)
    found = [(layer, bracket(layer, w, setting.progress)) for layer, w in zip(layers, weights, strict=True)]
    given = source != RANDOM
    rows = [_row(layer, bound, given, source) for layer, bound in found]
    product = math.prod(bound.upper for _, bound in found)
    printed = math.prod(layer.printed for layer, _ in found)
    first = found[0][1]
    claims = (
        *rows,
        Claim("product of these rows", f"{printed:.3g}", f"at most {outward(product, 4, up=True):.4g}", None, source),
        Claim("instabilities can appear in the first layer: its norm exceeds 1", "bound 2.75",
              f"at least {outward(first.lower, 4, up=False):.4g}", first.lower > 1, source),
        *printed_grid([(layer, w, b) for (layer, b), w in zip(found, weights, strict=True)]),
        *_pooling(),
    )  # fmt: skip
    return claims, (_panel(found),), Standing.RIGOROUS


RANDOM = "Random weights (torch's initialisation): the trained ones were not given, so the numbers cannot agree."


def alexnet(setting: Setting, layers: tuple[Layer, ...]) -> tuple[list[Tensor], str]:
    """Weights from a file in the data folder, else random; and which.

    Raises
    ------
    DataError
        The file does not hold matrices and kernels of the table's shapes, in its order.
    """
    file = None if setting.data is None else setting.data / FILE
    if file is not None and file.exists():
        found = _read(file)
        shapes = [tuple(w.shape) for w in found]
        if len(shapes) != len(layers) or not all(map(_fits, layers, shapes)):
            raise DataError(
                f"{file}: weights of shapes {shapes} are not those of Table 5, {[layer.shape for layer in layers]} "
                "(outputs, inputs, kernel; inputs may be halved by two groups)."
            )
        return found, f"Weights of {FILE}."
    generator = torch.Generator().manual_seed(setting.seed)
    return [_drawn(layer.shape, generator) for layer in layers], RANDOM


def _read(file: Path) -> list[Tensor]:
    """Kernels, then matrices, each in the order of the numbers in their names (the file does not keep an order)."""
    try:
        state = load_file(file)
    except SafetensorError as error:
        raise DataError(f"{file}: not a safetensors file, or truncated ({error}).") from error
    kept = {name: w.detach().double() for name, w in state.items() if w.ndim in (2, 4)}
    for name, w in kept.items():
        if not bool(torch.isfinite(w).all()):
            raise DataError(f"{file}: {name} holds NaN or infinite weights; no norm exists.")
    order = sorted(kept, key=lambda name: (kept[name].ndim == 2, [int(n) for n in re.findall(r"\d+", name)], name))
    return [kept[name] for name in order]


def _fits(layer: Layer, shape: tuple[int, ...]) -> bool:
    """Whether a weight has the shape of the table, or that of two groups."""
    wanted = layer.shape
    return shape == wanted or (len(shape) == 4 and shape == (wanted[0], wanted[1] // 2, *wanted[2:]))


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return (torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1) * bound


def bracket(layer: Layer, weight: Tensor, progress: Progress) -> LayerBound:
    """Proven bounds of one layer's norm, zero padding included.

    Raises
    ------
    BudgetReached
        When the time ended before there were any.
    """
    op = convolution(layer, weight) if layer.size else Dense(weight, None, (weight.shape[1],))
    graph = Graph(op.input_shape)
    graph.add("layer", op, INPUT)
    bound = lipschitz(graph.network(), tight=False, progress=progress).layers[0]
    if not math.isfinite(bound.upper):
        raise BudgetReached(f"{layer.name}: no bound before the time ended.")
    return bound


def convolution(layer: Layer, weight: Tensor) -> Conv:
    """The layer as a node."""
    inputs, groups = layer.shape[1], layer.shape[1] // weight.shape[1]
    pads = ((layer.padding, layer.padding),) * 2
    return Conv(weight, None, (inputs, layer.size, layer.size), (layer.stride,) * 2, pads, (1, 1), groups)


def _row(layer: Layer, bound: LayerBound, given: bool, source: str) -> Claim:
    low, high = outward(bound.lower, 5, up=False), outward(bound.upper, 5, up=True)
    holds = bound.lower <= layer.printed if given else None
    return Claim(layer.words, f"{layer.printed:g}", f"[{low:.5g}, {high:.5g}], proven", holds, source)


def printed_grid(rows: list[tuple[Layer, Tensor, LayerBound]]) -> list[Claim]:
    """Eq. (1) takes frequencies of a grid as large as the kernel; where the stride is 1 that can be compared."""
    said, below = [], 0
    for layer, weight, bound in rows:
        if not layer.size or layer.stride != 1:
            continue
        kernel = layer.shape[2:]
        value = float(conv_spectrum(convolution(layer, weight), (layer.shape[1], *kernel)).values.max())
        below += value < bound.lower
        said.append(f"{layer.name} {value:.4g}, norm at least {outward(bound.lower, 4, up=False):.4g}")
    if not said:
        return []
    return [
        Claim("eq. (1), frequencies on a grid of the kernel's size, bounds the norm", "used", "; ".join(said),
              below == 0,
              "The grid must be as large as the padded image; then it does.")
    ]  # fmt: skip


def _pooling() -> list[Claim]:
    """Max-pooling of AlexNet overlaps."""
    pool = lipschitz(nn.Sequential(nn.MaxPool2d(3, stride=2)), (1, 13, 13)).layers[0]
    factor = f"[{pool.lower:g}, {pool.upper:g}] for windows of 3 at stride 2"
    return [
        Claim("max-pooling is contractive", "factor 1", factor,
              pool.upper <= 1, "Contractive without overlap; a unit that wins in four windows counts four times.")
    ]  # fmt: skip


def _panel(found: list[tuple[Layer, LayerBound]]) -> Panel:
    numbers = np.arange(1.0, len(found) + 1)
    series = {
        "plica, upper bound": np.stack([numbers, [b.upper for _, b in found]]),
        "printed": np.stack([numbers, [layer.printed for layer, _ in found]]),
    }
    return Panel("bars", "upper bounds of AlexNet's layers", series, "Conv. 1 to 5, FC. 1 to 3", "norm")
