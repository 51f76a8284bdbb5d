"""Fig. 1 and appendix F: a shallow and a deep network of 20 units learn a sinusoidal boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import plica
from plica.analyses.regions.constructions import folding_network
from plica.analyses.regions.formulas import zaslavsky
from plica.core.domain import Box
from plica.core.result import Standing
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.montufar2014.whole import number_of

BOX = Box([-1.0, -1.0], [1.0, 1.0])
POINTS = 2000  # the paper does not print its number
WIDTHS = {"20": (20,), "10-10": (10, 10)}
HOW = (
    "The paper prints neither the sinusoid nor the number of points and takes a conjugate natural gradient: here "
    "x2 = 0.6 sin(3 pi x1), {} points, Adam and L-BFGS; the best of {} runs."
)


def sinusoid(setting: Setting) -> Made:
    """Misclassified points, regions, and the boundary of the best of several runs."""
    runs = 10 if setting.full else 8
    points, labels = boundary_points(setting.seed)
    every: dict[str, list[int]] = {}
    errors: dict[str, int] = {}
    counts: dict[str, int] = {}
    series: dict[str, np.ndarray] = {}
    for name in WIDTHS:
        module, every[name] = _best(setting, name, runs, points, labels)
        errors[name] = min(every[name])
        counts[name] = number_of(plica.load(module, (2,)), BOX, setting)
        series[f"{name} units"] = _zero_line(module)
    x = np.linspace(-1, 1, 401)
    drawn = {"boundary to learn": np.stack([x, 0.6 * np.sin(3 * np.pi * x)]), **series}
    how = HOW.format(f"{POINTS:,}", runs)
    claims = (
        Claim("misclassified by 20 units", "123", f"{errors['20']}", None, how),
        Claim("misclassified by 10 + 10 units", "24", f"{errors['10-10']}", None, how),
        Claim("the deep model misclassifies fewer", "24 < 123", f"{errors['10-10']} against {errors['20']}",
              None,
              f"Not judged: it depends on the runs, {every['10-10']} against {every['20']} in order; medians "
              f"{np.median(every['10-10']):g} against {np.median(every['20']):g}. With this training the usual deep "
              "model need not be the better one."),
        Claim("the deep model has more linear pieces", "more", f"{counts['10-10']} against {counts['20']} activation "
              "regions in the square", None, f"Not judged: the best of {runs} runs each, counted exactly."),
        *_reach(setting, counts["20"]),
    )  # fmt: skip
    near = {name: values[:, np.abs(values[0]) < 0.3] for name, values in drawn.items()}
    panels = (Panel("scatter", "Boundaries", drawn, "x1", "x2"), Panel("scatter", "Close-up", near, "x1", "x2"))
    return claims, panels, Standing.ESTIMATE


def _reach(setting: Setting, shallow: int) -> tuple[Claim, Claim]:
    """What lies behind the figure, whatever the training: pieces that 20 units can have in one layer, and in two."""
    built = folding_network(2, WIDTHS["10-10"])
    most, deep = zaslavsky(WIDTHS["20"][0], 2), number_of(built.network, built.domain, setting)
    return (
        Claim("20 units in one layer have few pieces", f"at most {most} (Zaslavsky)", str(shallow), shallow <= most),
        Claim("10 + 10 units can have more pieces than any 20 in one layer", f"at least {built.regions:,} (eq. 7)",
              f"{deep:,}", deep == built.regions > most, "The network of Theorem 4's proof, its regions counted."),
    )  # fmt: skip


def boundary_points(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Uniform points of the square, and on which side of the sinusoid they lie."""
    points = np.random.default_rng(seed).uniform(-1, 1, size=(POINTS, 2))
    side = points[:, 1] > 0.6 * np.sin(3 * np.pi * points[:, 0])
    return torch.from_numpy(points).float(), torch.from_numpy(side).float()


def _best(
    setting: Setting, name: str, runs: int, points: torch.Tensor, labels: torch.Tensor
) -> tuple[nn.Module, list[int]]:
    """The network with the fewest errors of several first weights."""
    found = []
    for run in range(runs):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * setting.seed + run)
            module = _module(WIDTHS[name])
            key: dict[str, Any] = {"name": f"montufar2014-{name}", "run": run, "seed": setting.seed, "steps": STEPS}
            setting.trained(module, lambda m: _fit(setting, m, points, labels), key)
        with torch.no_grad():
            wrong = int(((module(points)[:, 0] > 0) != (labels > 0)).sum())
        found.append((wrong, run, module))
    return min(found, key=lambda f: f[:2])[2], [wrong for wrong, _, _ in found]


def _module(widths: tuple[int, ...]) -> nn.Sequential:
    parts: list[nn.Module] = []
    size = 2
    for n in widths:
        parts += [nn.Linear(size, n), nn.ReLU()]
        size = n
    return nn.Sequential(*parts, nn.Linear(size, 1))


STEPS = (1000, 40)  # of Adam on batches, of L-BFGS on all points


def _fit(setting: Setting, module: nn.Module, points: torch.Tensor, labels: torch.Tensor) -> None:
    """Adam with a falling rate, then L-BFGS, on the logistic loss."""
    loss_of = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS[0])
    for _ in range(STEPS[0]):
        setting.progress.check()
        chosen = torch.randint(POINTS, (128,))
        optimizer.zero_grad()
        loss_of(module(points[chosen])[:, 0], labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    polish = torch.optim.LBFGS(module.parameters(), max_iter=STEPS[1], line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        polish.zero_grad()
        loss = loss_of(module(points)[:, 0], labels)
        loss.backward()
        return loss

    for _ in range(2):
        setting.progress.check()
        polish.step(closure)


def _zero_line(module: nn.Module) -> np.ndarray:
    """Points of the decision boundary, from sign changes on a fine grid, shape (2, n)."""
    x = np.linspace(-1, 1, 401)
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    with torch.no_grad():
        values = module(torch.from_numpy(grid).float())[:, 0].numpy().reshape(401, 401)
    i, j = np.nonzero((values[:, :-1] > 0) != (values[:, 1:] > 0))
    a, b = values[i, j], values[i, j + 1]
    return np.stack([x[i], x[j] + a / (a - b) * (x[1] - x[0])])
