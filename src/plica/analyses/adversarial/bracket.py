"""Lower bounds for the images of a problem, and nearer points that their search finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plica.analyses.adversarial.exact.layers import prepare
from plica.analyses.adversarial.exact.smallest import aims, smallest
from plica.analyses.adversarial.polish import Best
from plica.analyses.adversarial.problem import Problem
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError

MET = 2e-6  # relative gap between bound and point that counts as none: the search's own, and one rounding


@dataclass
class Proofs:
    """What is proven of every image.

    Attributes
    ----------
    lower : ndarray, shape (n,)
        No point with a wanted class is nearer; inf where the box holds none.
    best : Best
        The points of the search, or nearer ones.
    completeness : Completeness
    """

    lower: np.ndarray
    best: Best
    completeness: Completeness


def provable(model: object) -> Network:
    """The network in float64, whose real-arithmetic map the proofs are about.

    Raises
    ------
    ArgumentError
        For a classifier that is no network of plica.
    """
    if not isinstance(model, Network):
        raise ArgumentError(
            "exact=True is for piecewise-linear networks of plica; load a torch module first: plica.load(module)."
        )
    return model.cast(torch.float64)


def proven(
    problem: Problem, best: Best, given: Tensor | None, norm: float, seconds: float, progress: Progress
) -> Proofs:
    """Bracket every image that is right, one after the other.

    Parameters
    ----------
    problem : Problem
    best : Best
        A point for every image, in the model's dtype; its size is inf where there is none.
    given : Tensor of int, shape (n, k), or None
        Classes that may be reached; None for all others.
    norm : float
    seconds : float
        Longest search for one image.
    progress : Progress
        The budget of all.

    Notes
    -----
    An image without its turn keeps the lower bound 0. Nearer points are rounded to the model's dtype.
    """
    net = provable(problem.model)
    base = prepare(net, max_bytes=progress.max_bytes)
    box = (problem.box[0].double().cpu().numpy(), problem.box[1].double().cpu().numpy())
    out = Proofs(np.zeros(len(problem.x)), Best(best.point.clone(), best.size.clone()), Completeness.COMPLETE)
    first = problem.logits(problem.x).argmax(1)
    done = first != problem.labels if given is None else (given == first[:, None]).any(1)
    todo = torch.nonzero(~done)[:, 0].tolist()
    for turn, i in enumerate(todo):
        progress.report("proofs", turn, len(todo))
        if progress.seconds_left <= 0:
            out.completeness = Completeness.BUDGET
            break
        budget = Progress(min(seconds, progress.seconds_left), progress.max_bytes)
        known = best.point[i].double().cpu().numpy() if bool(torch.isfinite(best.size[i])) else None
        found = smallest(
            base,
            problem.x[i].double().cpu().numpy(),
            int(problem.labels[i]),
            norm=norm,
            box=box,
            wanted=None if given is None else aims(base.classes, int(problem.labels[i]), given[i].tolist(), win=True),
            upper=known,
            progress=budget,
        )
        out.lower[i] = found.lower_bound
        if found.x is not None and found.distance < float(out.best.size[i]):
            out.best.point[i] = torch.as_tensor(found.x).to(problem.x)
            out.best.size[i] = found.distance
        if found.completeness is Completeness.INTERRUPTED:
            out.completeness = found.completeness
            break
        if found.completeness is not Completeness.COMPLETE:
            out.completeness = found.completeness
    progress.report("proofs", len(todo), len(todo))
    return out
