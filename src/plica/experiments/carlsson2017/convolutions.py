"""Section 3: kernels accumulated through layers, step edges they do not see, and preimages that keep their class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from plica.analyses.preimage import preimage
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.result import Standing, weakest
from plica.experiments.carlsson2017.nets import SOURCE, STRIDE, convolutional, fully_connected, image_sets, untrained
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.loaders import load

LINE = 16  # samples of the one-dimensional signal
KERNELS = {"(1, -1)": [1, -1], "(1, 0, -1)": [1, 0, -1], "(-1, 2, -1)": [-1, 2, -1]}
EDGE = [[1.0, 0.0, -1.0]] * 3  # negative where an image gets brighter from left to right
LAYERS = ("first", "second")


def accumulated(module: nn.Sequential) -> np.ndarray:
    """Eq. (10): kernels of the second layer over the input, summed over the first layer's channels, shape (k, 7, 7).

    A stride of the first layer spreads the second layer's kernel out.
    """
    first, second = (module.get_parameter(f"{k}.weight").detach().double() for k in (0, 2))
    rows = [nn.functional.conv_transpose2d(kernel[None], first, stride=STRIDE)[0, 0] for kernel in second]
    return torch.stack(rows).numpy()


def _responses(module: nn.Sequential, shape: tuple[int, ...]) -> np.ndarray:
    """What the second layer's units in the middle do to every pixel when no choice is made between."""
    chain = nn.Sequential(module[0], module[2]).double()
    zeros = torch.zeros(1, *shape, dtype=torch.float64, requires_grad=True)
    out = chain(zeros)
    middle = out.shape[-1] // 2
    units = out[0, :, middle, middle]
    rows = [torch.autograd.grad(unit, zeros, retain_graph=True)[0][0, 0] for unit in units]
    return torch.stack(rows).numpy()


def _constant_share(kernels: np.ndarray) -> float:
    """Median over kernels of |sum| / sum of |entries|: 0 when a constant image is not seen, 1 when all signs agree."""
    flat = kernels.reshape(len(kernels), -1)
    return float(np.median(np.abs(flat.sum(1)) / np.abs(flat).sum(1)))


def _band(kernel: list[int], left_out: int) -> np.ndarray:
    """Eq. (9): the matrix of a one-dimensional convolution, without some neighbouring rows in the middle."""
    k = len(kernel)
    rows = np.zeros((LINE - k + 1, LINE), dtype=int)
    for i in range(len(rows)):
        rows[i, i : i + k] = kernel
    middle = len(rows) // 2
    return np.delete(rows, np.arange(middle, middle + left_out), axis=0)


def _blind_edges(rows: np.ndarray) -> list[int]:
    """Places p such that the step edge (0 .. 0, 1 .. 1) at p is a null vector; in integers."""
    steps = np.tri(LINE, LINE, -1, dtype=int).T[:-1]  # row p: 1 beyond p
    return [p for p in range(LINE - 1) if not (rows @ steps[p]).any()]


def step_edges(setting: Setting) -> Made:
    """Eqs (9) to (12)."""
    module = convolutional(setting)
    name, _, test = image_sets(setting)
    kernels, seen = accumulated(module), _responses(convolutional(setting), test.images.shape[1:])
    gap = _misfit(kernels, seen)
    rough = untrained(convolutional, setting)
    claims = [
        Claim("(10): the accumulated kernel is the convolution of the layers' kernels", "equal",
              f"equal to {gap:.0e} of its size", gap < 1e-12, SOURCE.format(name)),
    ]  # fmt: skip
    for layer, kernel in zip(
        LAYERS, (lambda m: m.get_parameter("0.weight").detach().numpy(), accumulated), strict=True
    ):
        own, random = _constant_share(kernel(module)), _constant_share(kernel(rough))
        claims.append(
            Claim(
                f"the constant vector is a null vector of the {layer} layer's kernels", "typically",
                f"|sum| / sum of |entries|: median {own:.2f}, untrained {random:.2f}", own < 0.1,
                "Held to be so below 0.1. Digits are bright on black: their mean brightness tells classes apart.",
            )
        )  # fmt: skip
    for words, taps in KERNELS.items():
        one, enough = (_blind_edges(_band(taps, k)) for k in (1, len(taps) - 1))
        claims.append(
            Claim(
                f"(12): a step edge at the kernel left out is a null vector, kernel {words}", "yes",
                f"one row left out: {len(one)} edges; {len(taps) - 1} left out: {len(enough)}", len(enough) == 1,
                "" if one else "The windows beside a single row overlap: as many rows must be left out as the kernel "
                "is wide, less one, which is what the paper's 'no overlap' asks for.",
            )
        )  # fmt: skip
    more, panel, standing = _on_an_image()
    return [*claims, *more], [_kernel_panel(module, kernels), panel], standing


def _misfit(kernels: np.ndarray, seen: np.ndarray) -> float:
    """Largest difference of the kernels from the responses, at the place that fits, as a share of the largest entry."""
    k, side = kernels.shape[-1], seen.shape[-1]
    padded = np.pad(seen, ((0, 0), (k, k), (k, k)))
    places = [(i, j) for i in range(side + k) for j in range(side + k)]
    return min(
        float(np.abs(padded[:, i : i + k, j : j + k] - kernels).max()) for i, j in places
    ) / float(np.abs(kernels).max())  # fmt: skip


def _on_an_image() -> tuple[list[Claim], Panel, Standing]:
    """A step edge over an image of an edge: the preimage holds it one way only."""
    conv = nn.Conv2d(1, 1, 3, bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(EDGE).double())
    net = load(nn.Sequential(conv, nn.ReLU()).eval(), (1, 8, 8))
    x, step = np.full((8, 8), 0.25), np.zeros((8, 8))
    x[:, 4:], step[:, 4:] = 0.75, 1.0
    shifts = (0.25, 4.0, -0.5, -0.75)
    both = preimage(net, x, layer=-1)
    inside = both.contains(np.array([(x + t * step).ravel() for t in shifts])).tolist()
    words = ", ".join(f"{t:+g}: {'same' if i else 'other'}" for t, i in zip(shifts, inside, strict=True))
    claim = Claim(
        "the preimage of an image with an edge holds the image with a step edge laid over that edge", "yes",
        f"activity of x + t step, by t: {words}", inside == [True, True, True, False],
        "Exactly: down to the edge's disappearance at t = -0.5, and upwards without end.",
    )  # fmt: skip
    shown = {f"t = {t:+g}": np.clip(x + t * step, 0, 1) for t in (0.0, *shifts)}
    return [claim], Panel("images", "x + t step: one activity but the last", shown), both.standing


def _kernel_panel(module: nn.Sequential, second: np.ndarray) -> Panel:
    first = module.get_parameter("0.weight").detach().numpy()[:, 0]
    named = {f"layer 1, {k + 1}": v for k, v in enumerate(first)} | {
        f"layer 2, {k + 1}": v for k, v in enumerate(second)
    }
    return Panel("images", "accumulated kernels", {k: 0.5 + v / (2 * np.abs(v).max()) for k, v in named.items()})


def well_behaved(setting: Setting) -> Made:
    """Samples of preimages inside the image box, and the class that a second network sees in them."""
    module, second = convolutional(setting), fully_connected(setting).double()
    name, _, test = image_sets(setting)
    net = load(module, test.images.shape[1:])
    count, draws = (100, 50) if setting.full else (20, 20)
    claims, bars, standings = [], {}, []
    images = test.images[:count]
    for layer, words in zip(net.layers, LAYERS, strict=False):
        kept, noise, sizes = [], [], []
        for x, y, far, standing in _draws(setting, net, layer, images, draws):
            kept.append(_same(second, x, y))
            noise.append(_same(second, x, _at_distance(x, far, setting.seed)))
            sizes.append(far)
            standings.append(standing)
        bars[words] = np.array([np.mean(kept), np.mean(noise)]) if kept else np.zeros(2)
        distance = float(np.mean(sizes)) if sizes else 0.0
        claims.append(
            Claim(
                f"preimages of the {words} layer keep their class", "in general",
                f"{bars[words][0]:.1%} of {len(kept) * draws} samples (mean distance {distance:.2f}); of "
                f"images as far away in random directions {bars[words][1]:.1%}; {count - len(kept)} of {count} "
                "preimages are single points", None,
                SOURCE.format(name) + " Not judged: 73 and 94 % after training with two orders of the same images.",
            )
        )  # fmt: skip
    series = {n: np.array([[0, 1], [bars[w][k] for w in LAYERS]]) for k, n in enumerate(("preimage", "random"))}
    panel = Panel("bars", "share that keeps its class for a second network", series, "layer (0: first)", "share")
    return claims, [panel], weakest([*standings, Standing.ESTIMATE])


Draw = tuple[np.ndarray, np.ndarray, np.ndarray, Standing]


def _draws(setting: Setting, net: Network, layer: str, images: np.ndarray, draws: int) -> Iterator[Draw]:
    """Image, samples of the piece of its preimage that it lies on, inside [0, 1], and their distances."""
    n = images[0].size
    for x in images:
        setting.progress.check()
        whole = preimage(net, x, layer=layer, domain=Box(np.zeros(n), np.ones(n)))
        piece = next(whole.pieces(1))
        if piece.dimension:
            samples = piece.polyhedron().sample(draws, setting.seed).reshape(draws, *x.shape)
            distance = np.sqrt(((samples - x) ** 2).reshape(draws, -1).sum(1))
            yield x, samples, distance, whole.standing


def _at_distance(x: np.ndarray, distance: np.ndarray, seed: int) -> np.ndarray:
    """Images as far from x, in random directions that respect the box at its edges."""
    noise = np.random.default_rng(seed).normal(size=(len(distance), *x.shape))
    noise = np.where(x == 0, np.abs(noise), np.where(x == 1, -np.abs(noise), noise))
    length = np.sqrt((noise**2).reshape(len(noise), -1).sum(1))
    return x + noise * (distance / length).reshape(-1, 1, 1, 1)


def _same(second: nn.Module, x: np.ndarray, others: np.ndarray) -> float:
    """Share of images that a network puts in the class of x."""
    with torch.no_grad():
        classes = second(torch.from_numpy(np.concatenate([x[None], others])).double()).argmax(1)
    return float((classes[1:] == classes[0]).double().mean())
