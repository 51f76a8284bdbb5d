"""Figure 2: analytic moments of six random networks against Monte Carlo, three noise regimes, two-stage at 0, l = 2."""

from __future__ import annotations

import numpy as np

from plica.analyses.moments import moments
from plica.analyses.moments.noise import LowRank
from plica.analyses.moments.uses import batch_moments
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Standing
from plica.experiments.bibi2018.nets import REGIMES, SYNTHETIC, covariances
from plica.experiments.figure import Claim, Made, Panel, Setting

WAYS = (
    "mean, two-stage",
    "mean, layer by layer",
    "variance, Theorem 2",
    "variance, exact two-stage",
    "variance, layer by layer",
)
SHOWN = {"FC": "medium", "Conv": "high"}  # the regimes that the paper draws
CLOSE = 0.1  # a slope this far from 1 is called close here
SUPPLEMENT = "Sizes, biases and covariances are options here, the paper has them in its supplement."


def tightness(setting: Setting) -> Made:
    """Slopes of analytic against Monte Carlo moments; 200 covariances and 75,000 samples each in full."""
    runs, samples = (200, 75_000) if setting.full else (6, 2_000)
    found = {}
    for number, (name, options) in enumerate(SYNTHETIC.items()):
        net = options.make(setting.seed + number)
        for regime, level in REGIMES.items():
            covs = covariances(int(np.prod(net.input_shape)), level, runs, setting.seed + number)
            rows = [_run(net, cov, samples, i, setting.progress) for i, cov in enumerate(covs)]
            found[name, regime] = np.array(rows)  # (runs, 7)
    slopes = {key: slopes_of(rows) for key, rows in found.items()}
    return _claims(slopes), _panels(found), Standing.ESTIMATE


def _run(net: Network, cov: LowRank, samples: int, seed: int, progress: Progress) -> list[float]:
    """Monte Carlo mean and variance, then the five of WAYS."""
    zero = np.zeros((1, *net.input_shape))
    drawn = moments(net, zero[0], cov, method="monte_carlo", samples=samples, seed=seed, progress=progress)
    two = batch_moments(net, zero, cov, points=zero, layer=net.choices[1], progress=progress)
    matched = moments(net, zero[0], cov, method="moment_matching", progress=progress)
    means = [drawn.mean.item(), drawn.covariance.item(), two.mean.item(), matched.mean.item()]
    return [*means, two.centred_variance.item(), two.variance.item(), matched.covariance.item()]


def slopes_of(rows: np.ndarray) -> np.ndarray:
    """Slope of the line through 0 of analytic against sampled, for each of WAYS; rows as of `_run`, shape (runs, 7)."""
    sampled = rows[:, [0, 0, 1, 1, 1]]
    return (sampled * rows[:, 2:]).sum(0) / (sampled**2).sum(0)


def _claims(slopes: dict) -> list[Claim]:
    claims = []
    for name in SYNTHETIC:
        mine = np.array([slopes[name, regime] for regime in REGIMES])  # (regimes, ways)
        for k, what in ((0, "mean"), (2, "variance")):
            other = "" if what == "mean" else f"; exact covariance of the same linearisation {_row(mine[:, 3])}"
            text = f"{_row(mine[:, k])}{other}; layer by layer {_row(mine[:, 1 if what == 'mean' else 4])}"
            shown = mine[list(REGIMES).index(SHOWN[name.split("-")[0]]), k]
            claims.append(
                Claim(f"{name}, slope of the {what} (low, medium, high noise)", "close to 1.0 (drawn)", text,
                      bool(abs(shown - 1) < CLOSE), f"Judged: within {CLOSE} of 1 in the regime drawn. {SUPPLEMENT}")
            )  # fmt: skip
    every = np.array([slopes[name, regime] for name in SYNTHETIC for regime in REGIMES])
    gap = np.abs(every - 1)
    claims.append(
        Claim("means are tight for all networks, depths and noise levels", "yes",
              f"largest distance of a slope from 1: {gap[:, 0].max():.2f}", bool(gap[:, 0].max() < CLOSE),
              "With noise larger than the biases the layers frozen at 0 switch in every sample.")
    )  # fmt: skip
    deep = np.array([gap[3 * i : 3 * i + 3, 2].mean() for i in range(len(SYNTHETIC))])
    claims.append(
        Claim("variances are less tight with deeper networks", "yes",
              f"mean distance from 1: {', '.join(f'{n} {g:.2f}' for n, g in zip(SYNTHETIC, deep, strict=True))}",
              bool(deep[2] > deep[0] and deep[5] > deep[3]), "Beyond layer 2 every ReLU is frozen.")
    )  # fmt: skip
    spread = max(np.ptp([slopes[name, r][2] for r in REGIMES]) for name in SYNTHETIC)
    claims.append(
        Claim("the variance is unaffected by the noise level", "yes",
              f"slopes of one network differ by up to {spread:.2f}", bool(spread < CLOSE),
              "Theorem 2 sets the mean before the layer to 0, which is wrong while biases outweigh the noise.")
    )  # fmt: skip
    low = np.array([slopes[name, "low"] for name in SYNTHETIC])
    claims.append(
        Claim("low noise, variance: Theorem 2 against the exact covariance", "-",
              f"slopes {_row(low[:, 2])} against {_row(low[:, 3])}", None,
              "Same linearisation. The exact covariance is right where nothing switches; the paper's reads zero mean.")
    )  # fmt: skip
    return claims


def _row(values: np.ndarray) -> str:
    return ", ".join(f"{v:.2f}" for v in values)


def _panels(found: dict) -> list[Panel]:
    """Analytic against sampled, in the regimes that the paper draws."""
    panels = []
    for what, sampled, ways in (("mean", 0, (0, 1)), ("variance", 1, (2, 3, 4))):
        for name in SYNTHETIC:
            rows = found[name, SHOWN[name.split("-")[0]]]
            series = {WAYS[k].split(", ")[1]: np.stack([rows[:, sampled], rows[:, 2 + k]]) for k in ways}
            ends = np.array([rows[:, sampled].min(), rows[:, sampled].max()])
            title = f"{name}, {SHOWN[name.split('-')[0]]} noise: {what}"
            panels.append(
                Panel("scatter", title, {**series, "equal": np.stack([ends, ends])}, "Monte Carlo", "analytic")
            )
    return panels
