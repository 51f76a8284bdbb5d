"""Certified radii: distances within which no other class wins, by linear bounds alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from plica.analyses.adversarial.bracket import provable
from plica.analyses.adversarial.exact.layers import Layers, prepare
from plica.analyses.adversarial.exact.points import value
from plica.analyses.adversarial.exact.radius import proven_radius
from plica.analyses.adversarial.exact.smallest import aims, checked
from plica.analyses.adversarial.problem import Problem, make
from plica.core.domain import Box
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import BudgetReached, DataError, ShapeError


@dataclass(frozen=True, repr=False)
class RadiusResult(Result):
    """Distances around inputs within which a network keeps its answer, proven.

    Attributes
    ----------
    radius : ndarray, shape (n,)
        No input of the box that is nearer has another class; 0 where nothing is proven, inf where the box holds no
        other class at all.
    label : ndarray of int, shape (n,)
        The class that is kept.
    right : ndarray of bool, shape (n,)
        Whether the network gives the input this class; where it does not, the radius is 0.
    done : ndarray of bool, shape (n,)
        Whether the search for the radius went to its end.
    norm : float
    """

    radius: np.ndarray
    label: np.ndarray
    right: np.ndarray
    done: np.ndarray
    norm: float

    def summary(self) -> str:
        """How many radii are above 0, and how large they are."""
        lines = [f"{len(self.radius)} inputs: {int((self.radius > 0).sum())} with a certified radius above 0"]
        wrong = int((~self.right).sum())
        if wrong:
            lines[0] += f", {wrong} misclassified"
        size = self.radius[(self.radius > 0) & np.isfinite(self.radius)]
        if len(size):
            lines.append(
                f"radius ({self.norm:g}-norm): smallest {size.min():.4g}, median {np.median(size):.4g}, largest "
                f"{size.max():.4g}"
            )
        if np.isinf(self.radius).any():
            lines.append(f"{int(np.isinf(self.radius).sum())} keep their class in the whole box")
        return "\n".join(lines)


def certified_radius(
    net: Any,
    X: Any,
    y: Any = None,
    *,
    norm: float = 2.0,
    box: Box | None = None,
    upper: Any = None,
    progress: Progress | None = None,
) -> RadiusResult:
    """Prove distances within which a network keeps its class, without a search.

    Parameters
    ----------
    net : Network
        Its outputs are the logits.
    X : array, shape (n, ...)
        Inputs, inside the box.
    y : array of int, shape (n,), optional
        Their classes; by default those that the network gives.
    norm : {2, inf, 1}
        In which distances are measured.
    box : Box, optional
        Allowed inputs; by default the network's own box, and no limit without one.
    upper : array, shape (n,), optional
        Distances of known misclassified points, such as `min_distortion(...).distance`: where the search starts.
    progress : Progress, optional
        A budget or an interrupt leaves the radii of inputs that were not reached at 0.

    Returns
    -------
    RadiusResult
        RIGOROUS, for the real-arithmetic map of the stored weights: a lower bound of the smallest distance that
        `min_distortion(..., exact=True)` looks for, at a fraction of its cost.

    Raises
    ------
    ArgumentError, DataError, ShapeError
        A classifier that is no network of plica, a norm of another kind, inputs outside the box or not finite.

    Notes
    -----
    Linear bounds of all layers over a ball (Zhang et al. 2018, "Efficient neural network robustness certification with
    general activation functions", CROWN), with every rounding charged. Cost: for each of about eight balls per input, a
    product of matrices for every pair of layers. Layers with more than 60 million entries of linear forms keep interval
    bounds.

    Examples
    --------
    >>> import torch
    >>> import plica
    >>> module = torch.nn.Linear(2, 2, bias=False).double()
    >>> _ = torch.nn.init.eye_(module.weight)
    >>> result = plica.certified_radius(plica.load(module, (2,)), [[0.9, 0.1]], norm=float("inf"))
    >>> round(float(result.radius[0]), 3)
    0.4
    """
    began, watch = time.monotonic(), progress or Progress()
    problem = make(provable(net), X, y, box, Progress())
    base = prepare(problem.model, max_bytes=watch.max_bytes)  # type: ignore[arg-type]
    n = len(problem.x)
    start = _starts(upper, n)
    out = RadiusResult(
        Standing.RIGOROUS,
        Completeness.COMPLETE,
        {},
        radius=np.zeros(n),
        label=problem.labels.cpu().numpy(),
        right=(problem.logits(problem.x).argmax(1) == problem.labels).cpu().numpy(),
        done=np.zeros(n, dtype=bool),
        norm=float(norm),
    )
    state = _fill(out, base, problem, start, watch)
    fields = {name: getattr(out, name) for name in ("radius", "label", "right", "done", "norm")}
    return RadiusResult(Standing.RIGOROUS, state, {"seconds": time.monotonic() - began}, **fields)


def _starts(upper: Any, n: int) -> np.ndarray:
    """First radii to be tried."""
    if upper is None:
        return np.ones(n)
    given = np.asarray(upper, dtype=np.float64)
    if given.shape != (n,):
        raise ShapeError(f"upper has shape {given.shape}; give one distance for each of {n} inputs.")
    if np.isnan(given).any() or (given < 0).any():
        raise DataError("upper: distances are numbers of at least 0.")
    return np.where((given > 0) & np.isfinite(given), given, 1.0)


def _fill(out: RadiusResult, base: Layers, problem: Problem, start: np.ndarray, watch: Progress) -> Completeness:
    """Radii one after the other, written into the result's arrays."""
    box = (problem.box[0].double().cpu().numpy(), problem.box[1].double().cpu().numpy())
    try:
        for i in range(len(out.radius)):
            watch.report("inputs", i, len(out.radius))
            watch.check()
            label = int(out.label[i])
            x, low, high = checked(base, problem.x[i].double().cpu().numpy(), label, out.norm, box)
            layers, wanted = base.at(x, low, high), aims(base.classes, label, None)
            if any((aim @ value(layers, np.zeros(layers.inputs)) > 0).all() for aim in wanted):
                out.done[i] = True
                continue
            out.radius[i], out.done[i] = proven_radius(layers, wanted, out.norm, float(start[i]), watch)
    except (BudgetReached, KeyboardInterrupt) as stop:
        return Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    watch.report("inputs", len(out.radius), len(out.radius))
    return Completeness.COMPLETE if out.done.all() else Completeness.BUDGET
