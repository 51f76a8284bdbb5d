"""The smallest perturbation that changes the class (Szegedy et al. 2013, section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.analyses.adversarial.bracket import MET, Proofs, provable, proven
from plica.analyses.adversarial.penalty import penalised
from plica.analyses.adversarial.polish import Best
from plica.analyses.adversarial.problem import Problem, Rows, as_classifier, make
from plica.analyses.adversarial.project import length
from plica.analyses.adversarial.result import DistortionResult
from plica.analyses.adversarial.search import Board, auto, fast, finish, scatter
from plica.analyses.adversarial.settings import Search, explicit_targets
from plica.core.domain import Box
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached

BLOCK = 256  # images that are searched together
NUDGES = 24  # doublings of the last step outward, where rounding takes a point back


def min_distortion(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    norm: float = 2.0,
    targets: Any = "all",
    box: Box | None = None,
    layer: str | int | None = None,
    exact: bool = False,
    progress: Progress | None = None,
    **search: Any,
) -> DistortionResult:
    """Find small perturbations of images that a classifier gets wrong.

    Parameters
    ----------
    model : Classifier or torch.nn.Module
        A plica network, any torch module in evaluation mode, or `plica.core.classifier.TorchClassifier`.
    X : array, shape (n, ...)
        Images, inside the box.
    y : array of int, shape (n,), optional
        Right classes; by default those that the model gives.
    norm : {2, inf, 1}
        In which distances are measured.
    targets : {"all", "second", "random", "least"} or array of int, shape (n,) or (n, k)
        "all": any wrong class will do. Else the class to be reached: the second largest logit, a random one, the
        smallest logit, or given classes (of k, the nearest).
    box : Box, optional
        Allowed inputs; by default the model's own box, and no limit without one. The paper's is ``Box(0, 1)``.
    layer : str or int, optional
        Perturb the values of this layer instead of the input; `box` is then one of these values.
    exact : bool
        Also prove that nothing is nearer, image by image: `lower_bound` and `proven`. For a piecewise-linear `Network`;
        the claim is about its weights in real arithmetic. ``exact_seconds`` (30) limits the time for one image.
    progress : Progress, optional
        Budget and listener. A budget that runs out returns what was found.
    **search
        Fields of `plica.analyses.adversarial.Search`: ``method`` ("auto", "fast", "lbfgs", "lbfgs_scipy"), ``seed``
        and others.

    Returns
    -------
    DistortionResult
        Every returned point was classified once more by the model in its own dtype, in the batch of X and alone.

    Raises
    ------
    ArgumentError, DataError, ShapeError
        A module in training mode, images outside the box or not finite, labels or targets that are no classes, logits
        that are not finite.

    Notes
    -----
    Cost: about 800 gradients per image with the defaults, thirty with ``method="fast"``.

    Examples
    --------
    >>> import torch
    >>> import plica
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 2)).double().eval()
    >>> with torch.no_grad():
    ...     _ = module[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    ...     _ = module[0].bias.zero_()
    >>> result = plica.min_distortion(module, [[0.9, 0.1]], [0], box=plica.Box(0, 1))
    >>> round(float(result.distance[0]), 6)
    0.565685
    """
    if not isinstance(norm, (int, float)) or float(norm) not in (1.0, 2.0, math.inf):
        raise ArgumentError(f"norm = {norm!r}; use 2, float('inf') or 1.")
    settings, watch = Search.of(search), progress or Progress()
    if settings.method.startswith("lbfgs") and norm != 2:
        raise ArgumentError(f"method = {settings.method!r} is for norm = 2 (got {norm:g}); use method='auto'.")
    name = "" if layer is None else str(layer)
    if layer is not None:
        model, X, y, box = _at_layer(model, X, y, box, layer)
    calm = Progress(max_bytes=watch.max_bytes)  # every image is read once, whatever the budget
    problem = make(model, X, y, box, calm)
    if exact:
        provable(problem.model)
    given = explicit_targets(targets, problem.labels, problem.logits(problem.x), settings.seed)
    blocks, completeness = [], Completeness.COMPLETE
    step = _block(problem, settings)
    for start in range(0, len(problem.x), step):
        which = torch.arange(start, min(start + step, len(problem.x)), device=problem.x.device)
        watch.report("images", start, len(problem.x))
        part = _part(problem, which)
        board = Board(part, _rows(part, None if given is None else given[which], settings), float(norm))
        if completeness is Completeness.COMPLETE:
            part.progress = watch
            completeness = _searched(board, settings)
        blocks.append(board)
        problem.forward, problem.backward = problem.forward + part.forward, problem.backward + part.backward
    watch.report("images", len(problem.x), len(problem.x))
    best = Best(torch.cat([b.best.point for b in blocks]), torch.cat([b.best.size for b in blocks]))
    proofs = None
    if exact:
        proofs = proven(problem, best, given, float(norm), settings.exact_seconds, watch)
        completeness = proofs.completeness if completeness is Completeness.COMPLETE else completeness
    c = torch.cat([b.c for b in blocks]).double().cpu().numpy()
    return _result(problem, Found(best, c, float(norm), proofs, completeness), given, settings, name)


def _at_layer(model: Any, X: Any, y: Any, box: Box | None, layer: str | int) -> tuple[Any, Tensor, Any, Box | None]:
    """The rest of the model, the layer's values of the images, and their classes."""
    whole = as_classifier(model, X)
    problem = make(whole, X, y, None if whole.box is None else whole.box, Progress())
    with torch.no_grad():
        values = whole.upto(layer).logits(problem.x.reshape(-1, *problem.shape))
    return whole.after(layer), values, problem.labels, box


def _block(problem: Problem, settings: Search) -> int:
    """Images per block: their rows, with some ten arrays each, have to fit into the budget."""
    each = 12 * problem.x.element_size() * problem.x.shape[1] * (settings.candidates + settings.starts)
    return int(max(1, min(BLOCK, problem.progress.max_bytes // max(1, each))))


def _part(problem: Problem, which: Tensor) -> Problem:
    return Problem(problem.model, problem.x[which], problem.labels[which], problem.shape, problem.box, problem.progress)


def _rows(problem: Problem, given: Tensor | None, settings: Search) -> Rows:
    """One row per image and class aimed at; images that need no search have none."""
    logits = problem.logits(problem.x)
    right = logits.argmax(1) == problem.labels
    if given is not None:
        images = torch.arange(len(given), device=given.device).repeat_interleave(given.shape[1])
        targets = given.reshape(-1)
        todo = ~(given == logits.argmax(1)[:, None]).any(1)[images]
        return Rows(images[todo], problem.labels[images][todo], targets[todo], "win")
    count = min(settings.candidates, logits.shape[1] - 1)
    others = logits.scatter(1, problem.labels[:, None], -math.inf).topk(count, 1).indices
    images = torch.arange(len(logits), device=logits.device)[right].repeat_interleave(count)
    return Rows(images, problem.labels[images], others[right].reshape(-1), "beat")


def _searched(board: Board, settings: Search) -> Completeness:
    """Run the method; what it finds is on the board even when it is stopped."""
    if not len(board.rows):
        return Completeness.COMPLETE
    try:
        if settings.method.startswith("lbfgs"):
            penalised(board, settings)
        else:
            fast(board) if settings.method == "fast" else auto(board, settings)
            scatter(board, settings.seed)
            if settings.method == "auto":
                finish(board)
    except BudgetReached:
        return Completeness.BUDGET
    except KeyboardInterrupt:
        return Completeness.INTERRUPTED
    return Completeness.COMPLETE


# --- the result -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What the search and the proofs say."""

    best: Best
    c: np.ndarray
    norm: float
    proofs: Proofs | None
    completeness: Completeness


def _result(problem: Problem, found: Found, given: Tensor | None, settings: Search, layer: str) -> DistortionResult:
    best = found.best if found.proofs is None else found.proofs.best
    first = problem.logits(problem.x).argmax(1)
    done = first != problem.labels if given is None else (given == first[:, None]).any(1)
    point = _settled(problem, best, given)
    ok = done | _fooled(problem, point, given)
    point = torch.where(done[:, None], problem.x, point)
    step = (point.double() - problem.x.double()).cpu()
    size = torch.where(done.cpu(), 0.0, length(step, found.norm))
    size = torch.where(ok.cpu(), size, math.inf)
    point = torch.where(ok[:, None], point, torch.full_like(point, math.nan))
    reached = torch.where(ok, problem.logits(torch.where(ok[:, None], point, problem.x)).argmax(1), -1)
    l2, linf = (torch.where(ok.cpu(), length(step, norm), math.inf).numpy() for norm in (2.0, math.inf))
    lower, closed = _bounds(size.numpy(), done.cpu().numpy(), found.proofs)
    already = "misclassified already" if given is None else "has its target already"
    missing = np.where(np.isinf(lower), "proven that there is none", "not found")
    words = np.where(done.cpu().numpy(), already, np.where(ok.cpu().numpy(), "found", missing))
    return DistortionResult(
        Standing.ESTIMATE if found.proofs is None else Standing.RIGOROUS,
        found.completeness,
        {} if layer else _box_words(problem.box),
        x_adv=point.reshape(-1, *problem.shape).cpu().numpy(),
        distance=size.numpy(),
        lower_bound=lower,
        proven=closed,
        l2=l2,
        linf=linf,
        rms=l2 / math.sqrt(step.shape[1]),
        label=problem.labels.cpu().numpy(),
        target=reached.cpu().numpy(),
        status=tuple(words.tolist()),
        c=found.c,
        norm=found.norm,
        method=settings.method,
        layer=layer,
        forward=problem.forward,
        backward=problem.backward,
        seed=settings.seed,
    )


def _box_words(box: tuple[Tensor, Tensor]) -> dict[str, np.ndarray]:
    """The box, for the header: one number a side where it is the same for all inputs; nothing without one."""
    ends = [end.double().cpu().numpy() for end in box]
    if not np.isfinite(ends).any():
        return {}
    short = [end[:1] if (end == end[:1]).all() else end for end in ends]
    return {"box_lower": short[0], "box_upper": short[1]}


def _bounds(size: np.ndarray, done: np.ndarray, proofs: Proofs | None) -> tuple[np.ndarray, np.ndarray]:
    """Lower bounds, and where they meet the distance; both trivial for images that are wrong already."""
    if proofs is None:
        return np.zeros(len(size)), np.zeros(len(size), dtype=bool)
    lower = np.minimum(np.where(done, 0.0, proofs.lower), size)
    return lower, (size <= lower * (1 + MET)) | (np.isinf(size) & np.isinf(lower))


def _fooled(problem: Problem, point: Tensor, given: Tensor | None, which: Tensor | None = None) -> Tensor:
    """Whether points get a class as wanted, in one batch of all images and alone; of `which`, or of all."""
    run, shape = problem.model.logits, problem.shape
    which = torch.arange(len(point), device=point.device) if which is None else which
    with torch.no_grad():
        together = run(point.reshape(-1, *shape)).argmax(1)[which]
        alone = [run(one.reshape(1, *shape)).argmax(1) for one in point[which]]
    ok = torch.ones_like(together, dtype=torch.bool)
    for answer in (together, torch.cat(alone) if alone else together):
        wrong = answer != problem.labels[which]
        ok &= wrong if given is None else (answer[:, None] == given[which]).any(1)
    return ok


def _settled(problem: Problem, best: Best, given: Tensor | None) -> Tensor:
    """Points moved outward by the least power of two that makes them count in the batch and alone."""
    point = best.point.clone()
    left = torch.nonzero(torch.isfinite(best.size))[:, 0]
    left = left[~_fooled(problem, point, given, left)]
    for k in range(NUDGES):
        if not len(left):
            break
        share = 1 + 2.0**k * 4 * torch.finfo(point.dtype).eps
        beyond = problem.x[left] + share * (best.point[left] - problem.x[left])
        point[left] = problem.inside(beyond)
        left = left[~_fooled(problem, point, given, left)]
    return point
