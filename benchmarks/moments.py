"""Cost of the exact covariance of ReLUs of a Gaussian vector, beside series in the correlation.

Draws p units with random weights of n inputs, and lets three programs take turns on the same means and covariance:

* plica: the exact integral (`relu_moments`), errors near 1e-14 s_i s_j;
* a Hermite series of four terms, sum_k r^k / k! g_k(a) g_k(b), in torch operations on whole matrices, as it is usually
  written;
* the same series in one compiled pass over the upper triangle, as fast as we can make it: close to the cost of
  reading and writing the matrices.

Prints the median of the CPU seconds (compile time apart), ratios, and how far the series is from the exact answer.

    python benchmarks/moments.py --units 2000 --inputs 784 --json figures.json

With --gradient it times the backward pass as well.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from numba import njit
from torch import Tensor

from plica.analyses.moments.choice import relu_moments
from plica.analyses.moments.integral import FAST, TILE
from plica.analyses.moments.tiles import over_tiles, tiles

TARGET_SECONDS, TARGET_RATIO = 0.4, 2.5  # CPU seconds at p = 2000; plica / series in torch


def hermite_factors(mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Rows g_k(a) / sqrt(k!) for k = 1 to 4, and standard deviations."""
    sd = cov.diagonal().sqrt()
    a = mean / sd
    phi = torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    rows = [torch.special.ndtr(a), phi, -a * phi, (a * a - 1) * phi]
    return torch.stack([row / math.sqrt(math.factorial(k)) for k, row in enumerate(rows, 1)]), sd


def hermite_torch(mean: Tensor, cov: Tensor) -> Tensor:
    """Covariance of the ReLUs by four terms, Horner's rule in place."""
    g, sd = hermite_factors(mean, cov)
    inverse = 1 / sd
    r = cov * inverse[:, None]
    r *= inverse
    out = torch.outer(g[3], g[3])
    for row in (g[2], g[1], g[0]):
        out *= r
        out.addr_(row, row)
    out *= r
    out *= sd[:, None]
    out *= sd
    return out


@njit(**FAST)
def _hermite_tiles(S, inverse, g, part, out):
    size = len(S)
    for tile in range(len(part)):
        first_i, first_j = part[tile]
        stop_i, stop_j = min(first_i + TILE, size), min(first_j + TILE, size)
        for i in range(first_i, stop_i):
            for j in range(first_j, stop_j):
                r = S[i, j] * inverse[i] * inverse[j]
                series = ((g[3, i] * g[3, j] * r + g[2, i] * g[2, j]) * r + g[1, i] * g[1, j]) * r + g[0, i] * g[0, j]
                out[i, j] = series * S[i, j]
        if first_i != first_j:
            for j in range(first_j, stop_j):
                for i in range(first_i, stop_i):
                    out[j, i] = out[i, j]


def hermite_compiled(mean: Tensor, cov: Tensor) -> Tensor:
    """The same series in one pass over tiles."""
    g, sd = hermite_factors(mean, cov)
    S, out = cov.numpy(), np.empty(cov.shape)
    arrays = ((1 / sd).numpy(), g.numpy())
    over_tiles(tiles(len(S)), lambda part: _hermite_tiles(S, *arrays, part, out))
    return torch.from_numpy(out)


PROGRAMS = {
    "plica, exact": lambda mean, cov: relu_moments(mean, cov)[1],
    "series, torch": hermite_torch,
    "series, compiled": hermite_compiled,
}


def draw(units: int, inputs: int, seed: int) -> tuple[Tensor, Tensor]:
    """Means and covariance of random weights with unit-variance inputs; rows of norm near 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(units, inputs, generator=generator, dtype=torch.float64) / math.sqrt(inputs)
    return torch.randn(units, generator=generator, dtype=torch.float64), weights @ weights.T


def timed(function, *arguments):
    """Answer and CPU seconds of all threads."""
    start = time.process_time()
    answer = function(*arguments)
    return answer, time.process_time() - start


def measure(mean: Tensor, cov: Tensor, rounds: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Median CPU seconds per program, the programs taking turns, and their answers."""
    for program in PROGRAMS.values():
        program(mean, cov)  # compiles, and touches the memory
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    answers = {}
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            answers[name], spent = timed(program, mean, cov)
            seconds[name].append(spent)
    return {name: float(np.median(s)) for name, s in seconds.items()}, answers


def gradient_seconds(mean: Tensor, cov: Tensor, rounds: int) -> float:
    """Median CPU seconds of the backward pass of a weighted sum of the covariance."""
    mean, cov = mean.clone().requires_grad_(), cov.clone().requires_grad_()
    seed = torch.ones_like(cov)
    spent = []
    for _ in range(rounds + 1):
        out = relu_moments(mean, cov)[1]
        spent.append(timed(torch.autograd.grad, out, (mean, cov), seed)[1])
    return float(np.median(spent[1:]))


def main() -> None:
    """Read the options, measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=2000)
    parser.add_argument("--inputs", type=int, default=784, help="fewer inputs: larger correlations")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gradient", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    mean, cov = draw(options.units, options.inputs, options.seed)
    seconds, answers = measure(mean, cov, options.rounds)
    sd = cov.diagonal().sqrt()
    above = torch.triu_indices(len(sd), len(sd), 1)
    scale = torch.outer(sd, sd)
    correlation = ((cov / scale)[*above]).abs()
    print(f"{options.units} units of {options.inputs} inputs, |r| up to {float(correlation.max()):.3f}", end=", ")
    print(f"{torch.get_num_threads()} threads, median of {options.rounds}")
    exact, errors = answers["plica, exact"], {}
    for name, answer in answers.items():
        errors[name] = float(((answer - exact) / scale)[*above].abs().max())
        ratio = seconds["plica, exact"] / seconds[name]
        print(f"  {name:<17} {seconds[name]:.4f} CPU s, plica takes {ratio:.2f} times as long", end="")
        print("" if answer is exact else f"; off by up to {errors[name]:.1e} s_i s_j")
    ratio = seconds["plica, exact"] / seconds["series, torch"]
    if options.units == 2000:
        met = seconds["plica, exact"] <= TARGET_SECONDS and ratio <= TARGET_RATIO
        print(f"  targets {TARGET_SECONDS} CPU s and {TARGET_RATIO} times the series: {'met' if met else 'MISSED'}")
    figures = {"units": options.units, "inputs": options.inputs, "seconds": seconds, "errors": errors}
    if options.gradient:
        figures["gradient"] = gradient_seconds(mean, cov, options.rounds)
        print(f"  backward pass     {figures['gradient']:.4f} CPU s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
