"""Appendices C and E and section 2.5: regions per parameter, convolutions, and small changes of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import nn

import plica
from plica.analyses.regions import formulas
from plica.analyses.regions.constructions import absolute_value_network, folding_network
from plica.analyses.regions.perturbation import PerturbationResult, perturbed_counts
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.result import Standing
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.montufar2014.whole import all_regions, number_of

# --- appendix C -------------------------------------------------------------------------------------------------

WIDTH, DEPTHS = 8, (1, 2, 3, 4, 6, 8, 12, 16)
INPUTS = 2
GROWTH = (16, 4096)  # depths between which the shallow rate is fitted


def parameters(inputs: int, widths: tuple[int, ...]) -> int:
    """Weights and biases of the hidden layers."""
    sizes = (inputs, *widths)
    return sum((a + 1) * b for a, b in pairwise(sizes))


def deep(inputs: int, width: int, depth: int) -> Fraction:
    """Regions per parameter that some deep network has, by eq. (7)."""
    widths = (width,) * depth
    return Fraction(formulas.equation7(inputs, widths), parameters(inputs, widths))


def shallow(inputs: int, units: int) -> Fraction:
    """Regions per parameter of the best network with one hidden layer, by Zaslavsky."""
    return Fraction(formulas.zaslavsky(units, inputs), parameters(inputs, (units,)))


def per_parameter(setting: Setting) -> Made:
    """App. C: regions per parameter grow exponentially with depth, and polynomially with as many units in one layer."""
    deeps = [deep(INPUTS, WIDTH, L) for L in DEPTHS]
    wides = [shallow(INPUTS, WIDTH * L) for L in DEPTHS]
    factor = (WIDTH // INPUTS) ** INPUTS  # regions by one more layer, of the same number of parameters
    ratios = [deep(INPUTS, WIDTH, L + 1) * (L + 1) / (deep(INPUTS, WIDTH, L) * L) for L in (16, 256)]
    small, large = (shallow(INPUTS, WIDTH * L) for L in GROWTH)
    power = float(np.log(float(large / small)) / np.log(GROWTH[1] / GROWTH[0]))
    built = {L: folding_network(INPUTS, [WIDTH] * L).network for L in (1, 2)}
    counts = {L: number_of(net, None, setting) for L, net in built.items()}
    claims = [
        Claim("deep: one more layer multiplies the rate by (n / n_0)^n_0 L / (L + 1)", f"{factor} L / (L + 1)",
              f"{float(ratios[1]):.4f} L / (L + 1) at L = 256", abs(float(ratios[1]) / factor - 1) < 0.01,
              "Lower bounds, eq. (7), divided by all weights and biases of the hidden layers."),
        Claim("shallow, as many units: the rate grows as L^(n_0 - 1)", f"L^{INPUTS - 1}", f"L^{power:.3f}",
              abs(power - (INPUTS - 1)) < 0.01, "The largest number that one layer can have."),
        Claim("deep models have more regions per parameter from some depth on", "yes",
              f"from {_first(deeps, wides)} layers of {WIDTH} units", deeps[-1] > wides[-1]),
    ]  # fmt: skip
    for depth, count in counts.items():
        least = formulas.equation7(INPUTS, (WIDTH,) * depth)
        claims.append(Claim(f"a network that has them: {depth} layers of {WIDTH} units", f"at least {least:,}",
                            f"{count:,} counted", count >= least))  # fmt: skip
    places = np.array(DEPTHS, dtype=np.float64)
    series = {
        f"layers of {WIDTH} units: at least": np.stack([places, [float(v) for v in deeps]]),
        "one layer, as many units: at most": np.stack([places, [float(v) for v in wides]]),
    }
    panel = Panel("lines", f"Regions per parameter, {INPUTS} inputs", series, "layers", "regions per parameter", "y")
    return claims, (panel,), Standing.RIGOROUS


def _first(a: list[Fraction], b: list[Fraction]) -> int:
    """First depth from which on a is larger."""
    larger = [x > y for x, y in zip(a, b, strict=True)]
    return DEPTHS[max((i + 1 for i, yes in enumerate(larger) if not yes), default=0)]


# --- appendix E -------------------------------------------------------------------------------------------------


def convolutions(setting: Setting) -> Made:
    """App. E: convolutional networks belong to the class, with restricted matrices: the same upper bounds hold."""
    claims, rows = [], []
    samples = 8 if setting.full else 3
    for name, layers in CONVOLUTIONS.items():
        pairs = [_counted(setting, layers, seed) for seed in range(samples)]
        bounds = plica.region_bounds(pairs[0][2])
        conv, dense = max(p[0] for p in pairs), max(p[1] for p in pairs)
        claims += [
            Claim(f"{name}: affine maps with restricted matrices; written out, regions are as many", "the same",
                  f"{[p[0] for p in pairs]} and {[p[1] for p in pairs]}", all(a == b for a, b, *_ in pairs)),
            Claim(f"{name}: the upper bound of dense layers holds", f"at most {bounds.upper:,}", f"{conv:,}",
                  conv <= bounds.upper),
            Claim(f"{name}: as many units with free weights", "not said",
                  f"{conv:,} against {max(p[3] for p in pairs):,} at random", None),
        ]  # fmt: skip
        rows.append((conv, max(p[3] for p in pairs), bounds.upper, dense))
    places = np.arange(len(rows), dtype=np.float64) + 1
    series = {title: np.stack([places, np.array([float(r[k]) for r in rows])])
              for k, title in enumerate(("convolution", "dense, as wide", "upper bound"))}  # fmt: skip
    title = f"Regions of the whole input space, most of {samples} random networks"
    panel = Panel("bars", title, series, "layers of 2 filters of 2 on 4 pixels", "regions")
    return claims, (panel,), Standing.RIGOROUS


CONVOLUTIONS = {
    "4 pixels, 2 filters of 2": ((1, 4), ((1, 2),)),
    "4 pixels, 2 filters of 2, then 2 of 2": ((1, 4), ((1, 2), (1, 2))),
}


def _counted(setting: Setting, layers: tuple, seed: int) -> tuple[int, int, Network, int]:
    """Regions of a random convolutional network, of the same written out, and of a dense one as wide."""
    shape, filters = layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * setting.seed + seed)
        parts: list[nn.Module] = []
        for k, size in enumerate(filters):
            parts += [nn.Conv2d(2 if k else 1, 2, size), nn.ReLU()]
        conv = nn.Sequential(*parts, nn.Flatten()).double()
        written, free = _written_out(conv, (1, *shape))
    net = plica.load(conv, (1, *shape))
    count = [
        number_of(n, None, setting)
        for n in (net, plica.load(written, (shape[0] * shape[1],)), plica.load(free, (shape[0] * shape[1],)))
    ]
    return count[0], count[1], net, count[2]


def _written_out(conv: nn.Sequential, shape: tuple[int, ...]) -> tuple[nn.Sequential, nn.Sequential]:
    """Convolutions as dense layers, by their values on a basis; and dense layers of the same sizes at random."""
    same: list[nn.Module] = []
    free: list[nn.Module] = []
    for module in conv:
        if not isinstance(module, nn.Conv2d):
            continue
        size = int(np.prod(shape))
        with torch.no_grad():
            offset = module(torch.zeros(1, *shape, dtype=torch.float64))
            rows = module(torch.eye(size, dtype=torch.float64).reshape(size, *shape)) - offset
        dense = nn.Linear(size, offset.numel()).double()
        free += [nn.Linear(size, offset.numel()).double(), nn.ReLU()]
        dense.weight.data, dense.bias.data = rows.flatten(1).T.clone(), offset.flatten().clone()
        same += [dense, nn.ReLU()]
        shape = tuple(offset.shape[1:])
    return nn.Sequential(*same), nn.Sequential(*free)


# --- section 2.5 ------------------------------------------------------------------------------------------------

SIZES = (1e-9, 1e-6, 1e-4, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


def small_changes(setting: Setting) -> Made:
    """s. 2.5: small enough changes of the weights leave at least as many linear regions."""
    samples = 20 if setting.full else 5
    claims, series = [], {}
    for name, net, box in _networks():
        count = partial(_linear, box, setting)
        found = perturbed_counts(net, count, sizes=SIZES, samples=samples, seed=setting.seed, progress=setting.progress)
        claims += list(_judged(name, found, samples))
        shares = [found.counts[i][found.counts[i] >= 0] / found.base for i in range(len(SIZES))]
        series[name] = np.array([SIZES, [float(np.median(s)) for s in shares], [s.min() for s in shares],
                                 [s.max() for s in shares]])  # fmt: skip
    panel = Panel("lines", f"Linear regions after a move of all weights, as a share of those before; {samples} random "
                  "directions: median, smallest, largest", series, "length of the move", "share", "x")  # fmt: skip
    return claims, (panel,), Standing.ESTIMATE


def _linear(box: Box, setting: Setting, net: Network) -> int:
    """Linear regions in a box."""
    count = all_regions(net, box, setting, maps=True).linear_count
    assert count is not None
    return count


def _networks() -> Iterator[tuple[str, Network, Box]]:
    folding = folding_network(2, [4, 4, 3])
    assert folding.domain is not None
    yield "Theorem 4, 2-4-4-3", folding.network, folding.domain
    crossed = absolute_value_network(2, 2)
    assert crossed.domain is not None
    yield "|x| twice", crossed.network, crossed.domain
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        net = plica.load(nn.Sequential(*layers).double(), (2,))
    yield "random weights, 2-8-8-1", net, Box([-2.0, -2.0], [2.0, 2.0])


def _judged(name: str, found: PerturbationResult, samples: int) -> Iterator[Claim]:
    """Small moves are judged; the first size at which a region is lost is told."""
    kept = found.at_least
    lost = next((size for size, share in zip(found.sizes, kept, strict=True) if share < 1), None)
    least = [int(counts.min()) for counts in found.counts]
    what = f"{name}: a move of length {found.sizes[0]:g} leaves at least as many linear regions"
    yield Claim(what, f"at least {found.base}", f"at least {least[0]} in {samples} directions", bool(kept[0] == 1))
    first = "none of those tried" if lost is None else f"{lost:g}"
    yield Claim(f"{name}: smallest move that loses a region", "some epsilon > 0", first, None,
                "The paper does not say how small; random directions.")  # fmt: skip
