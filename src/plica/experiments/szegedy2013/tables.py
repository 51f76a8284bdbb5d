"""Tables 1 to 4: errors of the paper's networks, smallest distortions, and how they carry over."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from plica.analyses.adversarial import TransferResult, min_distortion, transfer
from plica.core.domain import Box
from plica.core.result import Standing
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.szegedy2013.models import error
from plica.experiments.szegedy2013.nets import HOW, SEARCHED, Images, across_sets, images, of_the_tables

PIXELS = Box(0, 1)
TABLE1 = {  # training error, test error, distortion
    "FC10(1e-4)": (6.7, 7.4, 0.062), "FC10(1e-2)": (10, 9.4, 0.1), "FC10(1)": (21.2, 20, 0.14),
    "FC100-100-10": (0, 1.64, 0.058), "FC200-200-10": (0, 1.54, 0.065), "AE400-10": (0.57, 1.9, 0.086),
}  # fmt: skip
TABLE2 = (
    (100, 11.7, 22.7, 2, 3.9, 2.7), (87.1, 100, 35.2, 35.9, 27.3, 9.8), (71.9, 76.2, 100, 48.1, 47, 34.4),
    (28.9, 13.7, 21.1, 100, 6.6, 2), (38.2, 14, 23.8, 20.3, 100, 2.7), (23.4, 16, 24.8, 9.4, 6.6, 100),
    (5.0, 10.1, 18.3, 0, 0, 0.8), (15.6, 11.3, 22.7, 5, 4.3, 3.1),
)  # fmt: skip
TABLE3 = {  # errors on P1, P2 and test, distortion
    "FC100-100-10": (0, 2.4, 2, 0.062), "FC123-456-10": (0, 2.5, 2.1, 0.059), "FC100-100-10'": (2.3, 0, 2.1, 0.058),
}  # fmt: skip
TABLE4 = (
    (100, 26.2, 5.9), (6.25, 100, 5.1), (8.2, 8.2, 100), (2.2, 2.6, 2.4), (2.6, 2.8, 2.7),
    (100, 98, 43), (96, 100, 22), (27, 50, 100), None, None, None,
)  # fmt: skip
NOISE2, NOISE4, AMPLIFIED = (0.1, 0.3), (0.06, 0.1), (0.1,)
SEARCH = "L-BFGS towards the second largest logit, noise clipped; "
DIFFERS = "the paper prints neither first weights nor the class aimed at."


def models(setting: Setting) -> Made:
    """Table 1."""
    data = images(setting)
    nets = of_the_tables(setting, data)
    x, y = _some(setting, data.x, data.y)
    sizes, nearest = {}, {}
    for name, module in nets.items():
        given: dict[str, Any] = {"box": PIXELS, "seed": setting.seed, "progress": setting.progress}
        sizes[name] = min_distortion(module, x, y, **given, **HOW).average()
        nearest[name] = min_distortion(module, x, y, **given).average()
    claims = []
    for name, (train, test, size) in TABLE1.items():
        own = (100 * error(nets[name], data.x, data.y), 100 * error(nets[name], data.test_x, data.test_y))
        claims.append(Claim(
            f"{name}: training error, test error, average distortion", f"{train:g} %, {test:g} %, {size:g}",
            f"{own[0]:.3g} %, {own[1]:.3g} %, {sizes[name]:.3f}; of all classes, nearest found: {nearest[name]:.3f}",
            None, _source(data, len(x)),
        ))  # fmt: skip
    decays = [sizes[name] for name in ("FC10(1e-4)", "FC10(1e-2)", "FC10(1)")]
    claims += [
        Claim("the more weight decay, the larger the smallest distortion", "0.062, 0.1, 0.14",
              ", ".join(f"{v:.3f}" for v in decays), decays == sorted(decays), "FC10 with 1e-4, 1e-2, 1."),
        Claim("noise of deviation 0.1 is larger than the distortions for all but one model", "5 of 6 up to 0.1",
              f"{sum(v <= 0.1 for v in sizes.values())} of 6", sum(v <= 0.1 for v in sizes.values()) >= 5),
    ]  # fmt: skip
    series = {"plica": np.stack([np.arange(1.0, 7), [sizes[n] for n in TABLE1]]),
              "printed": np.stack([np.arange(1.0, 7), [v[2] for v in TABLE1.values()]])}  # fmt: skip
    return claims, (Panel("bars", "average smallest distortion", series, ", ".join(TABLE1), "rms"),), Standing.ESTIMATE


def across_models(setting: Setting) -> Made:
    """Table 2."""
    data = images(setting)
    found = _carried(setting, of_the_tables(setting, data), _some(setting, data.x, data.y), NOISE2, ())
    source = _source(data, len(found.distortions[0].label))
    claims = _rows(found, TABLE2, source)
    others = _others(found.matrix())
    level = found.matrix("noise")[0]
    k = found.models.index("AE400-10")
    claims += [
        Claim("the images made for a model mislead it always", "100 %", _percent(found.matrix().diagonal().min()),
              bool((found.matrix().diagonal() == 1).all()), "Every point is classified once more."),
        Claim("distorted images stay hard for models with other hyperparameters", "off the diagonal 2 to 87 %",
              f"mean {_percent(others.mean())}; under noise of deviation 0.1 {_percent(level.mean())}",
              bool(others.mean() > level.mean()), source),
        Claim("the autoencoder's network withstands the others' images best", "2 to 34.4 %, mean 10.3 %",
              f"mean {_percent(others[:, k].mean())}; others {', '.join(_percent(v) for v in _without(others, k))}",
              bool(others[:, k].mean() <= min(_without(others, k))), "Sparsity and its weight are not printed."),
    ]  # fmt: skip
    return claims, (_heat(found),), Standing.NUMERICAL


def halves(setting: Setting) -> Made:
    """Table 3."""
    data = images(setting)
    nets = across_sets(setting, data)
    x, y = _some(setting, data.test_x, data.test_y)
    claims = []
    rows = []
    for name, (*printed, size) in TABLE3.items():
        sets = ((data.half(1).x, data.half(1).y), (data.half(2).x, data.half(2).y), (data.test_x, data.test_y))
        own = [100 * error(nets[name], *one) for one in sets]
        found = min_distortion(nets[name], x, y, box=PIXELS, seed=setting.seed, progress=setting.progress, **HOW)
        rows.append(own)
        claims.append(Claim(
            f"{name}: errors on P1, P2 and test, average distortion",
            f"{', '.join(f'{v:g} %' for v in printed)}, {size:g}",
            f"{', '.join(f'{v:.3g} %' for v in own)}, {found.average():.3f}", None, _source(data, len(x)),
        ))  # fmt: skip
    other = [rows[0][1], rows[1][1], rows[2][0]]
    test = [row[2] for row in rows]
    claims.append(Claim(
        "the half that a model did not see is to it as the test set", "2.3 to 2.5 % against 2 to 2.1 %",
        f"{min(other):.3g} to {max(other):.3g} % against {min(test):.3g} to {max(test):.3g} %",
        bool(max(abs(a - b) for a, b in zip(other, test, strict=True)) < 0.5 * max(other) + 0.5),
        "Held to be so when they differ by less than half.",
    ))  # fmt: skip
    bars = {name: np.stack([np.arange(1.0, 4), row]) for name, row in zip(TABLE3, rows, strict=True)}
    return claims, (Panel("bars", "errors on P1, P2, test", bars, "P1, P2, test", "%"),), Standing.ESTIMATE


def across_training_sets(setting: Setting) -> Made:
    """Table 4, with the rows of both readings of "amplified"."""
    data = images(setting)
    some = _some(setting, data.test_x, data.test_y)
    found = _carried(setting, across_sets(setting, data), some, NOISE4, AMPLIFIED)
    source = _source(data, len(some[0]))
    claims = _rows(found, TABLE4, source)
    plain, far = found.matrix(), found.matrix("amplified to stddev")
    near, noise = found.matrix("amplified to length"), found.matrix("noise")
    disjoint = [plain[0, 2], plain[1, 2], plain[2, 0], plain[2, 1]]
    wide = [far[0, 2], far[1, 2], far[2, 0], far[2, 1]]
    claims += [
        Claim("distorted images stay hard for a model trained on other images", "5.1 to 8.2 %, noise 2.2 to 2.6 %",
              f"{_percent(min(disjoint))} to {_percent(max(disjoint))}, noise up to {_percent(noise[0].max())}",
              bool(np.mean(disjoint) > noise[0].mean()), source),
        Claim("amplified to 0.1 they mislead more often", "22 to 50 %",
              f"{_percent(min(wide))} to {_percent(max(wide))}", bool(np.mean(wide) > np.mean(disjoint)), source),
        Claim("x + 0.1 (x' - x) / |x' - x| is meant", "100 % on the own model",
              f"{_percent(near.diagonal().mean())} on the own models at length 0.1; at deviation 0.1 "
              f"{_percent(far.diagonal().mean())}", bool(near.diagonal().mean() > 0.5),
              "As printed the change has length 0.1, which is shorter than the distortions; deviation 0.1 needs a "
              "factor sqrt(784)."),
    ]  # fmt: skip
    return claims, (_heat(found),), Standing.NUMERICAL


# --- parts ------------------------------------------------------------------------------------------------------


def _some(setting: Setting, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The first images in a quick figure."""
    return (x, y) if setting.full else (x[:SEARCHED], y[:SEARCHED])


def _carried(
    setting: Setting, nets: dict[str, nn.Module], some: tuple[Tensor, Tensor], noise: tuple[float, ...],
    amplify: tuple[float, ...],
) -> TransferResult:  # fmt: skip
    found = transfer(nets, *some, noise=noise, amplify=amplify, box=PIXELS, seed=setting.seed,
                     progress=setting.progress, **HOW)  # fmt: skip
    setting.progress.check()  # an unfinished table is none
    return found


def _rows(found: TransferResult, printed: tuple[tuple[float, ...] | None, ...], source: str) -> list[Claim]:
    """A claim per row of the table; numbers of other networks and images are not compared."""
    rows = zip(found.rows, printed, found.errors, found.rms, strict=True)
    return [
        Claim(f"{words}: errors of {', '.join(found.models)}", "not printed" if values is None else
              ", ".join(f"{v:g} %" for v in values),
              f"{', '.join(_percent(e) for e in errors)}; distortion {rms:.3f}", None, source)
        for words, values, errors, rms in rows
    ]  # fmt: skip


def _others(matrix: np.ndarray) -> np.ndarray:
    """Errors on the images of other models: per column, shape (models - 1, models)."""
    return np.stack([np.delete(column, k) for k, column in enumerate(matrix.T)], axis=1)


def _without(others: np.ndarray, k: int) -> list[float]:
    return [float(v) for v in np.delete(others.mean(0), k)]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _source(data: Images, count: int) -> str:
    return f"Trained here on {len(data.x)} images ({data.name}), {count} distorted; {SEARCH}{DIFFERS}"


def _heat(found: TransferResult) -> Panel:
    """Rows as in the table."""
    title = "errors: " + "; ".join(f"{k + 1} {words}" for k, words in enumerate(found.rows[: len(found.models)]))
    return Panel("heat", title, {"error": found.errors}, "model that reads", "row of the table")
