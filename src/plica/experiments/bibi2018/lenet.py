"""Tables 1 and 3: ratios of sampled to analytic moments of LeNet, linearised at the image and at other points."""

from __future__ import annotations

import numpy as np

from plica.analyses.moments import moments
from plica.analyses.moments.noise import LowRank
from plica.analyses.moments.uses import batch_moments, linearisation_points
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Standing
from plica.experiments.bibi2018.nets import REGIMES, covariances, lenet
from plica.experiments.figure import Claim, Made, Panel, Setting

TABLE1 = {  # printed: average ratio of means, of variances
    0: (1.007, 0.5431), 1: (1.043, 0.6192), 2: (0.916, 0.3681), 3: (1.061, 0.517), 4: (0.581, 0.4878),
    5: (0.699, 0.4267), 6: (0.999, 0.4795), 7: (0.990, 0.446), 8: (1.001, 0.4476), 9: (1.164, 0.5931),
}  # fmt: skip
TABLE3 = {  # printed, ranges over the ten logits: average ratio of means, of variances
    "k = n": ("0.9844 to 0.9998", "0.213 to 0.3782"), "k = n / 10": ("0.752 to 2.5221", "0.2156 to 0.3739"),
    "k = n / 20": ("1.0587 to 1.9592", "0.2169 to 0.3668"),
    "k = n / 20, farthest": ("-3.8096 to 2.9314", "0.2258 to 0.3916"),
}  # fmt: skip
FACTOR = 1.3  # a ratio is called constant over the logits where the largest is at most so many times the smallest


def one_image(setting: Setting) -> Made:
    """Table 1: one image, 200 random covariances of each regime, 75,000 samples each in full."""
    made = lenet(setting)
    net, images = made.net, made.images
    runs, samples = (200, 75_000) if setting.full else (3, 2_500)
    image = images[np.random.default_rng(setting.seed).integers(len(images))]
    found = {}
    for regime in ("medium", "high"):
        covs = covariances(image.size, REGIMES[regime], runs, setting.seed)
        rows = [ratios(net, image, cov, samples, i, setting.progress) for i, cov in enumerate(covs)]
        found[regime] = np.array(rows)  # (runs, 3, logits)
    return _claims1(found, made.source), [_panel1(found["medium"])], Standing.ESTIMATE


def ratios(
    net: Network, image: np.ndarray, cov: LowRank, samples: int, seed: int, progress: Progress
) -> tuple[np.ndarray, ...]:
    """Sampled over analytic, per logit: means, variances of Theorem 2, variances of the exact covariance."""
    drawn = moments(net, image, cov, method="monte_carlo", samples=samples, seed=seed, progress=progress)
    two = batch_moments(net, image[None], cov, layer=net.choices[-1], progress=progress)
    sampled = drawn.covariance.diagonal()
    return drawn.mean / two.mean[0], sampled / two.centred_variance[0], sampled / two.variance[0]


def _claims1(found: dict[str, np.ndarray], source: str) -> list[Claim]:
    medium = found["medium"].mean(0)
    scatter = found["medium"].std(0)
    claims = [
        Claim(
            f"logit {k}: ratios of means and of variances", f"{TABLE1[k][0]}, {TABLE1[k][1]}",
            f"{medium[0, k]:.3f} (sd {scatter[0, k]:.3f}), {medium[1, k]:.3f} (sd {scatter[1, k]:.3f}); exact "
            f"covariance {medium[2, k]:.3f} (sd {scatter[2, k]:.3f})", None, "Another network: numbers differ.",
        )
        for k in range(len(medium[0]))
    ]  # fmt: skip
    high = found["high"].mean(0)
    claims += [
        Claim("the mean is tight, ratios near 1 with small deviation", "0.581 to 1.164, sd at most 0.006",
              f"{_range(medium[0])}, sd at most {scatter[0].max():.3f}", bool(np.abs(medium[0] - 1).max() < 0.05),
              source),
        Claim("variances of Theorem 2 are off by a nearly constant factor, about 1/2", "0.368 to 0.619",
              _range(medium[1]), bool(medium[1].max() / medium[1].min() < FACTOR),
              f"Judged: largest over smallest below {FACTOR}. With the means before the layer set "
              "to 0 each unit counts (1 - 1 / pi) / 2 of its variance, whether on (really 1) or off (0): the factor "
              "depends on how many are on."),
        Claim("the variance of the same linearisation with its exact covariance", "-", _range(medium[2]),
              bool(np.abs(medium[2] - 1).max() < 0.1),
              "Judged: within 0.1 of 1. Then the error is the assumption of zero mean, not the linearisation."),
        Claim("high noise: means, variances of Theorem 2, exact covariance", "in the supplement",
              f"{_range(high[0])}; {_range(high[1])}; {_range(high[2])}", None, "Here choices switch that are frozen."),
    ]  # fmt: skip
    return claims


def _panel1(medium: np.ndarray) -> Panel:
    logits, mean = np.arange(medium.shape[2], dtype=float), medium.mean(0)
    names = ("means", "variances, Theorem 2", "variances, exact covariance")
    series = {name: np.stack([logits, mean[i]]) for i, name in enumerate(names)}
    return Panel("bars", "Monte Carlo over analytic, medium noise", series, "logit", "ratio")


def _range(values: np.ndarray) -> str:
    return f"{values.min():.3f} to {values.max():.3f}"


def other_points(setting: Setting) -> Made:
    """Table 3: many images, linearised at the nearest of k cluster centres; noise of independent pixels."""
    made = lenet(setting)
    net, images = made.net, made.images
    count, samples = (5000, 2000) if setting.full else (100, 800)
    X, level = images[:count], REGIMES["medium"]
    drawn = _sampled(net, X, level, samples, setting)
    found = {}
    for name, share, far in (("k = n", 1, False), ("k = n / 10", 10, False), ("k = n / 20", 20, False),
                             ("k = n / 20, farthest", 20, True)):  # fmt: skip
        points = linearisation_points(X, max(1, len(X) // share), seed=setting.seed)
        at = points.farthest if far else points.centres
        two = batch_moments(
            net, X, level, points=at, assigned=points.cluster, layer=net.choices[-1], progress=setting.progress
        )
        done = drawn[two.inputs]
        found[name] = np.stack([done[:, 0] / two.mean, done[:, 1] / two.centred_variance, done[:, 1] / two.variance])
    return _claims3(found, made.source, len(X)), _panels3(found), Standing.ESTIMATE


def _sampled(net: Network, X: np.ndarray, level: float, samples: int, setting: Setting) -> np.ndarray:
    """Sampled means and variances, shape (n, 2, logits)."""
    rows = []
    for i, image in enumerate(X):
        found = moments(net, image, level, method="monte_carlo", samples=samples, seed=i, progress=setting.progress)
        rows.append((found.mean, found.covariance.diagonal()))
    return np.array(rows)


def _claims3(found: dict[str, np.ndarray], source: str, count: int) -> list[Claim]:
    claims, gaps = [], {}
    for name, values in found.items():
        means, variances = values[:2].mean(1)
        gaps[name] = float(np.median(np.abs(values[0] - 1)))
        claims.append(
            Claim(f"{name}: ratios of means and of variances, range over the logits", "; ".join(TABLE3[name]),
                  f"{_range(means)}; {_range(variances)}; medians: means {_range(np.median(values[0], 0))}, exact "
                  f"covariance {_range(np.median(values[2], 0))}", None,
                  f"{source} n = {count}. Averages of ratios swing where a mean is near 0, as the -3.8 printed.")
        )  # fmt: skip
    near, far = gaps["k = n / 20"], gaps["k = n / 20, farthest"]
    variances = np.concatenate([values[1].mean(0) for values in found.values()])
    claims += [
        Claim("a linearisation at each image is tight in the mean", "0.984 to 1.000",
              f"median distance of a ratio from 1: {gaps['k = n']:.4f}", bool(gaps["k = n"] < 0.02), ""),
        Claim("the mean stays very close to Monte Carlo with n / 20 points", "1.06 to 1.96",
              f"median distance of a ratio from 1: {near:.2f}", bool(near < 0.1),
              "The affine map of another image has another offset."),
        Claim("the farthest images are worse points than the centres", "yes", f"{far:.2f} against {near:.2f}",
              bool(far > near), "Median distance of a ratio of means from 1."),
        Claim("ratios of variances of Theorem 2 lie in [0.2, 0.4] for all points", "0.213 to 0.392", _range(variances),
              bool(variances.min() >= 0.2 and variances.max() <= 0.4), "Averages over images; another network."),
    ]  # fmt: skip
    return claims


def _panels3(found: dict[str, np.ndarray]) -> list[Panel]:
    panels = []
    for i, what in enumerate(("means", "variances, Theorem 2", "variances, exact covariance")):
        series = {}
        for name, values in found.items():
            series[name] = np.stack([np.arange(values.shape[2], dtype=float), np.median(values[i], 0)])
        panels.append(Panel("bars", f"{what}: median of Monte Carlo over analytic", series, "logit", "ratio"))
    return panels
