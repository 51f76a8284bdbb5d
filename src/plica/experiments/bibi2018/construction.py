"""Figures 4 to 6: noise that fools in expectation, aimed at a class or on few pixels, verified by sampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from plica.analyses.moments.uses import NoiseLimits, NoiseResult, noise
from plica.core.network import Network
from plica.core.result import Standing
from plica.experiments.bibi2018.nets import CIFAR_SOURCE, PIXELS, answers, cifar, lenet
from plica.experiments.figure import Claim, Made, Panel, Setting

TARGETS = (2, 3, 4, 7, 8)
VARIANCE = 2.0
ROUNDS = 5  # of linearisation, where the paper has one


def targeted(setting: Setting) -> Made:
    """Figure 4: a 9 becomes 2, 3, 4, 7 and 8 with beta = 30; one linearisation at the image, and several."""
    made = lenet(setting)
    net, images, labels = made.net, made.images, made.labels
    nines = np.flatnonzero((labels[:1000] == 9) & (answers(net, images[:1000]) == 9))[: 10 if setting.full else 3]
    limits = NoiseLimits(shift=30.0, variance=VARIANCE)
    tried = {int(i): _aimed(net, images[i], limits, setting) for i in nines}
    best = max(tried, key=lambda i: sum(r.fooled for r in tried[i].values()))
    again = {j: r if r.fooled else noise(net, images[best], replace(limits, rounds=ROUNDS), target=j, samples=1000,
                                         layer=net.choices[-1], seed=setting.seed, progress=setting.progress)
             for j, r in tried[best].items()}  # fmt: skip
    claims = [
        Claim(f"a 9 becomes {j} in expectation", "yes",
              f"{_verdict(tried[best][j])}; {ROUNDS} linearisations: {_verdict(again[j])}", bool(again[j].fooled),
              "Mean outputs of 1,000 draws; share of draws with that class." if j > TARGETS[0] else made.source)
        for j in TARGETS
    ]  # fmt: skip
    reached = [sum(r.fooled for r in found.values()) for found in tried.values()]
    wrong = sum(r.margin < 0 and not r.fooled for found in tried.values() for r in found.values())
    total = len(TARGETS) * len(tried)
    claims.append(
        Claim("not every target is easily reached", "yes", f"{sum(reached)} of {total} with one linearisation",
              bool(sum(reached) < total), f"{len(tried)} images; the formula alone says fooled in {wrong} of {total}.")
    )  # fmt: skip
    shown = {"9": _picture(images[best])} | {
        f"{j}{'' if r.fooled else ' not'}": _picture(images[best] + _draw(r, setting.seed)) for j, r in again.items()
    }
    return claims, [Panel("images", "a 9, and noisy versions by class aimed at", shown)], Standing.ESTIMATE


def _aimed(net: Network, image: np.ndarray, limits: NoiseLimits, setting: Setting) -> dict[int, NoiseResult]:
    return {
        j: noise(net, image, limits, target=j, layer=net.choices[-1], samples=1000, seed=setting.seed,
                 progress=setting.progress)
        for j in TARGETS
    }  # fmt: skip


def few_pixels(setting: Setting) -> Made:
    """Figure 5: 4 % of the pixels, beta = 550, away from the class."""
    made = lenet(setting)
    net, images, labels = made.net, made.images, made.labels
    right = np.flatnonzero(answers(net, images[:200]) == labels[:200])[: 50 if setting.full else 6]
    limits = NoiseLimits(shift=550.0, variance=VARIANCE, support=0.04)
    found = _away(net, images[right], limits, setting)
    shown: dict[str, np.ndarray] = {}
    for i, (k, (_, r)) in enumerate(zip(right, found, strict=True)):
        if r.fooled and len(shown) < 6:
            shown[f"{r.before} > {int(r.sampled_mean.argmax())} ({i})"] = _picture(images[k] + _draw(r, setting.seed))
    source = f"{made.source} beta = 550 is twice the range of pixels; pictures are cut to it."
    return (
        _claims_away(found, 0.04, source),
        [Panel("images", "class before > after (image)", shown)],
        Standing.ESTIMATE,
    )


def few_pixels_cifar(setting: Setting) -> Made:
    """Figure 6: 2 % of the pixels, beta = 75, on colour images."""
    net, images = cifar(setting, limit=50 if setting.full else 6)
    chosen = np.random.default_rng(setting.seed).permutation(32 * 32)[: round(0.02 * 32 * 32)]
    support = np.zeros((32 * 32, 3), dtype=bool)
    support[chosen] = True
    limits = NoiseLimits(75 / PIXELS, VARIANCE / PIXELS**2, support.reshape(32, 32, 3))
    found = _away(net, images, limits, setting)
    shown: dict[str, np.ndarray] = {}
    for i, (_, r) in enumerate(found):
        if r.fooled and len(shown) < 10:
            drawn = _draw(r, setting.seed)
            shown[f"{r.before} > {int(r.sampled_mean.argmax())} ({i})"] = images[i] + drawn
            shown[f"noise ({i})"] = 0.5 + drawn * PIXELS / 150
    panel = Panel("images", "class before > after (image), and the noise", shown)
    return _claims_away(found, 0.02, CIFAR_SOURCE), [panel], Standing.ESTIMATE


def _away(
    net: Network, images: np.ndarray, limits: NoiseLimits, setting: Setting
) -> list[tuple[NoiseResult, NoiseResult]]:
    """For every image the noise of the paper's one linearisation, and where that does not fool, of several."""
    found = []
    for i, image in enumerate(images):
        options: dict[str, Any] = {
            "layer": net.choices[-1],
            "samples": 1000,
            "seed": setting.seed + i,
            "progress": setting.progress,
        }
        one = noise(net, image, limits, **options)
        found.append((one, one if one.fooled else noise(net, image, replace(limits, rounds=ROUNDS), **options)))
    return found


def _claims_away(found: list[tuple[NoiseResult, NoiseResult]], share: float, source: str) -> list[Claim]:
    ones, more = ([pair[i].fooled for pair in found] for i in (0, 1))
    shares = [pair[1].share for pair in found if pair[1].fooled]
    wrong = sum(one.margin < 0 and not one.fooled for one, _ in found)
    typical = f"; median share of draws with another class {np.median(shares):.0%}" if shares else ""
    return [
        Claim(f"noise on {share:.0%} of the pixels changes the class in expectation", "examples",
              f"{sum(ones)} of {len(found)} images with one linearisation{typical}", any(ones), source),
        Claim("the formula says fooled and sampling does not", "-", f"{wrong} of {len(found)} images", None,
              "Frozen choices switch on the way; sampling verifies every result."),
        Claim(f"up to {ROUNDS} linearisations, each at the noisy image found", "-",
              f"{sum(more)} of {len(found)} images", None, "The paper linearises once, around the image."),
    ]  # fmt: skip


def _verdict(result: NoiseResult) -> str:
    return f"{'fooled' if result.fooled else 'not fooled'} ({result.share:.0%})"


def _draw(result: NoiseResult, seed: int) -> np.ndarray:
    """One draw of the noise."""
    drawn = np.random.default_rng(seed).standard_normal(result.shift.shape)
    return result.shift + np.sqrt(result.variance) * drawn * result.support


def _picture(image: np.ndarray) -> np.ndarray:
    """Pixels (1, rows, columns) as numbers in [0, 1]."""
    return np.clip((image[0] + PIXELS / 2) / PIXELS, 0, 1)
