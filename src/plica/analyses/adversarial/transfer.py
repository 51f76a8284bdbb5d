"""Whether perturbations made for one model mislead another (Szegedy et al. 2013, Tables 2 and 4)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.analyses.adversarial.distortion import min_distortion
from plica.analyses.adversarial.problem import Problem, make
from plica.analyses.adversarial.result import DistortionResult
from plica.core.domain import Box
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, BudgetReached


@dataclass(frozen=True, repr=False)
class TransferResult(Result):
    """How often every model errs on every set of changed images.

    That an image is read as it is read is a checked fact; that the perturbations are the smallest is not.

    Attributes
    ----------
    models : tuple of str
        Names; the columns of `errors`.
    rows : tuple of str
        What was done to the images, in words.
    kinds : tuple of str
        Per row: "distorted", "noise", "amplified to stddev" or "amplified to length".
    sources : ndarray of int, shape (rows,)
        Model that the row's perturbations were made for; -1 for noise.
    levels : ndarray, shape (rows,)
        Standard deviation or length asked for; NaN for the smallest perturbations.
    errors : ndarray, shape (rows, models)
        Share of the row's images that the model gets wrong, those that it got wrong before included; NaN without any.
    new_errors : ndarray, shape (rows, models)
        The same among the images that the model gets right unchanged.
    counts : ndarray of int, shape (rows,)
        Images of the row: those for which no perturbation was found are left out, those that the source got wrong
        before stay as they are.
    rms : ndarray, shape (rows,)
        Mean of sqrt(sum (x' - x)^2 / n) over the row's images that were changed; the paper's average distortion.
    clean : ndarray, shape (models,)
        Share of the unchanged images that each model gets wrong.
    clip : bool
        Whether noise and amplified images were moved into the box.
    distortions : tuple of DistortionResult
        The smallest perturbations found for each model.
    seed : int
    """

    models: tuple[str, ...]
    rows: tuple[str, ...]
    kinds: tuple[str, ...]
    sources: np.ndarray
    levels: np.ndarray
    errors: np.ndarray
    new_errors: np.ndarray
    counts: np.ndarray
    rms: np.ndarray
    clean: np.ndarray
    clip: bool
    distortions: tuple[DistortionResult, ...]
    seed: int

    def matrix(self, kind: str = "distorted") -> np.ndarray:
        """Errors for one kind, shape (models that perturbations were made for, models); level by level if several."""
        return self.errors[[k == kind for k in self.kinds]]

    def summary(self) -> str:
        """The table of errors in per cent."""
        wide = max(map(len, (*self.rows, "unchanged")), default=9)
        heads = [name if len(name) > 7 else f"{name:>7}" for name in self.models]
        lines = [f"errors in per cent\n{'':{wide}}  {'  '.join(heads)}  distortion"]
        table = zip(("unchanged", *self.rows), (self.clean, *self.errors), (0.0, *self.rms), strict=True)
        for words, errors, rms in table:
            cells = "  ".join(f"{100 * e:>{len(head)}.1f}" for e, head in zip(errors, heads, strict=True))
            lines.append(f"{words:{wide}}  {cells}  {rms:.4g}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Changed:
    """Images of one row: the points, which images count, and how the row is called."""

    kind: str
    words: str
    source: int
    level: float
    points: Tensor
    counted: np.ndarray


def transfer(
    models: Mapping[str, Any] | Sequence[Any],
    X: Any,
    y: Any,
    *,
    noise: Sequence[float] = (0.1, 0.3),
    amplify: Sequence[float] = (0.1,),
    clip: bool = True,
    box: Box | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **search: Any,
) -> TransferResult:
    """Make the smallest perturbations for each model and let every model read them.

    Parameters
    ----------
    models : mapping of str to model, or sequence of models
        As for `min_distortion`: networks, torch modules in evaluation mode, classifiers; trained alike or not, on the
        same images or not. Two or more, of the same classes.
    X : array, shape (n, ...)
        Images, inside the box.
    y : array of int, shape (n,)
        Right classes.
    noise : sequence of float
        Standard deviations of Gaussian noise: one reference row each, in units of the pixels.
    amplify : sequence of float
        Sizes a to which perturbations are stretched or shrunk: two rows per model each. The paper prints
        x + a (x' - x) / |x' - x|_2, which has length a ("amplified to length"), and reports that its standard
        deviation is a, which needs a factor sqrt(n) more ("amplified to stddev").
    clip : bool
        Move noisy and amplified images into the box; the paper does not say.
    box : Box, optional
        Allowed inputs; by default each model's own. The paper's is ``Box(0, 1)``.
    seed : int
        Of the noise and of the searches.
    progress : Progress, optional
        Budget and listener. When the budget runs out, models whose search did not begin have rows of NaN.
    **search
        Fields of `plica.analyses.adversarial.Search`, and `targets`.

    Returns
    -------
    TransferResult
        NUMERICAL: the readings are the models' own, in their own dtype, in one batch of all images.

    Raises
    ------
    ArgumentError, DataError, ShapeError
        Fewer than two models, sizes that are not positive, clipping without a box; else as `min_distortion`.

    Notes
    -----
    Cost: one `min_distortion` per model.

    Examples
    --------
    >>> import torch
    >>> import plica
    >>> def line(a):
    ...     module = torch.nn.Linear(2, 2, bias=False).double().eval()
    ...     with torch.no_grad():
    ...         _ = module.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, a]]))
    ...     return module
    >>> found = plica.transfer({"a": line(1.0), "b": line(2.0)}, [[0.9, 0.1]], [0], box=plica.Box(0, 1), noise=())
    >>> found.matrix().tolist()  # what misleads a misleads b, which prefers the second class; not the other way
    [[1.0, 1.0], [0.0, 1.0]]
    """
    start, watch = time.monotonic(), progress or Progress()
    named = _named(models)
    _positive("noise", noise)
    _positive("amplify", amplify)
    problems = [make(model, X, y, box, Progress()) for model in named.values()]
    if clip and (noise or amplify) and not all(bool(torch.isfinite(p.box[0]).all()) for p in problems):
        raise ArgumentError("clip = True needs a box: give box=, Box(0, 1) for pixels, or clip=False.")
    found, state = _searched(named, X, y, box=box, watch=watch, search={**search, "seed": seed})
    rows = list(_rows(problems, found, noise, amplify, clip=clip, seed=seed, names=list(named)))
    answers = [_wrong(p, p.x) for p in problems]
    errors, new, rms = _readings(problems, rows, answers)
    return TransferResult(
        Standing.NUMERICAL,
        state,
        {"seconds": time.monotonic() - start, "seed": seed},
        models=tuple(named),
        rows=tuple(row.words for row in rows),
        kinds=tuple(row.kind for row in rows),
        sources=np.array([row.source for row in rows], dtype=np.int64),
        levels=np.array([row.level for row in rows], dtype=np.float64),
        errors=errors,
        new_errors=new,
        counts=np.array([int(row.counted.sum()) for row in rows], dtype=np.int64),
        rms=rms,
        clean=np.array([float(a.mean()) for a in answers]),
        clip=clip,
        distortions=tuple(found),
        seed=seed,
    )


def _named(models: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """Models by name; a sequence is numbered."""
    if not isinstance(models, Mapping):
        models = {f"model {k}": model for k, model in enumerate(models)}
    if len(models) < 2:
        raise ArgumentError(f"models: {len(models)} given; errors are carried between two or more.")
    return {str(name): model for name, model in models.items()}


def _positive(name: str, values: Sequence[float]) -> None:
    if not all(math.isfinite(v) and v > 0 for v in values):
        raise ArgumentError(f"{name} = {values!r}; give numbers above 0.")


def _searched(
    named: dict[str, Any], X: Any, y: Any, *, box: Box | None, watch: Progress, search: dict[str, Any]
) -> tuple[list[DistortionResult], Completeness]:
    """Smallest perturbations of every model, as far as the budget goes."""
    found: list[DistortionResult] = []
    state = Completeness.COMPLETE
    for k, (name, model) in enumerate(named.items()):
        watch.report(f"perturbations for {name}", k, len(named))
        try:
            watch.check()
            found.append(min_distortion(model, X, y, box=box, progress=watch.part(1 / (len(named) - k)), **search))
        except BudgetReached:
            return found, Completeness.BUDGET
        if found[-1].completeness is not Completeness.COMPLETE:
            state = found[-1].completeness
        if state is Completeness.INTERRUPTED:
            break
    return found, state


def _rows(
    problems: list[Problem],
    found: list[DistortionResult],
    noise: Sequence[float],
    amplify: Sequence[float],
    *,
    clip: bool,
    seed: int,
    names: list[str],
) -> Iterator[Changed]:
    """Every set of changed images, in the order of the paper's tables."""
    images = problems[0].x.double().cpu()
    every = np.ones(len(images), dtype=bool)
    steps = []
    for k, result in enumerate(found):
        points = torch.from_numpy(result.x_adv).double().reshape(len(images), -1)
        counted = np.asarray(result.found)
        own = problems[k].x.double().cpu()
        points = torch.where(torch.from_numpy(counted)[:, None], points, own)
        steps.append((points - own, counted))
        yield Changed("distorted", f"distorted for {names[k]}", k, math.nan, points, counted)
    for k in range(len(found), len(problems)):
        yield Changed("distorted", f"distorted for {names[k]}", k, math.nan, images, ~every)
    for k, level in enumerate(noise):
        drawn = np.random.default_rng([seed, k]).normal(size=tuple(images.shape))
        points = images + level * torch.from_numpy(drawn)
        yield Changed("noise", f"Gaussian noise {level:g}", -1, level, _kept(points, problems, clip), every)
    for level in amplify:
        for reading, factor in (("stddev", math.sqrt(images.shape[1])), ("length", 1.0)):
            for k, (step, counted) in enumerate(steps):
                size = step.norm(dim=1, keepdim=True)
                way = torch.where(size > 0, step / size.clamp_min(1e-300), torch.zeros_like(step))
                points = _kept(images + level * factor * way, problems, clip)
                words = f"for {names[k]}, to {reading} {level:g}"
                yield Changed(f"amplified to {reading}", words, k, level, points, counted)


def _kept(points: Tensor, problems: list[Problem], clip: bool) -> Tensor:
    """Points moved into the box that all models share."""
    if not clip:
        return points
    for problem in problems:
        low, high = (bound.double().cpu() for bound in problem.box)
        points = torch.minimum(torch.maximum(points, low), high)
    return points


def _wrong(problem: Problem, points: Tensor) -> np.ndarray:
    """Which points a model gets wrong; read in one batch, as `min_distortion` checks its own."""
    with torch.no_grad():
        logits = problem.model.logits(points.to(problem.x).reshape(-1, *problem.shape))
    return (logits.argmax(1) != problem.labels).cpu().numpy()


def _readings(
    problems: list[Problem], rows: list[Changed], clean: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of all models on all rows, errors among images that were right, and the rows' mean distortion."""
    errors, new = np.full((2, len(rows), len(problems)), math.nan)
    rms = np.full(len(rows), math.nan)
    images = problems[0].x.double().cpu()
    for r, row in enumerate(rows):
        if not row.counted.any():
            continue
        size = (row.points - images).norm(dim=1).numpy()[row.counted] / math.sqrt(images.shape[1])
        rms[r] = size[size > 0].mean() if (size > 0).any() else 0.0
        for m, problem in enumerate(problems):
            wrong = _wrong(problem, row.points)
            errors[r, m] = wrong[row.counted].mean()
            right = row.counted & ~clean[m]
            new[r, m] = wrong[right].mean() if right.any() else math.nan
    return errors, new, rms
