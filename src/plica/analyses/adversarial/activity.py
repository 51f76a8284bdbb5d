"""Whether an adversarial example keeps the activity that decided the class (Carlsson et al. 2017, section 5)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.core.choice import Choice
from plica.core.network import INPUT, Network
from plica.core.pattern import Pattern
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, BudgetReached, ShapeError

CHUNK = 256  # pairs that are looked at together


@dataclass(frozen=True, repr=False)
class SharedActivityResult(Result):
    """What pairs of inputs have in common, layer by layer of choices.

    Attributes
    ----------
    layers : tuple of str
        The choices, from the input on.
    changed : ndarray, shape (n, layers)
        Share of the layer's units that take another branch; NaN where a budget ended before.
    same : ndarray of bool, shape (n, layers)
        Whether all units up to and including this layer take the same branches: the pair lies on one piece of the
        network up to here.
    same_layer : ndarray of bool, shape (n, layers)
        Whether the units of this layer do.
    distance : ndarray, shape (n, layers)
        Distance of the layer's values, relative to their length for the first input. 0: the second lies in the
        preimage of the first one's activity.
    decided : ndarray of int, shape (n, layers)
        The class that the later layers give the second input's values at this layer when they keep the branches of the
        first input; -1 where the layer does not cut the network.
    kept : ndarray of bool, shape (n, layers)
        Whether that is the first input's class: the second lies in the preimage of the activities that the first
        one's later layers, kept as they are, decide for its class.
    label, target : ndarray of int, shape (n,)
        Classes of the pair.
    """

    layers: tuple[str, ...]
    changed: np.ndarray
    same: np.ndarray
    same_layer: np.ndarray
    distance: np.ndarray
    decided: np.ndarray
    kept: np.ndarray
    label: np.ndarray
    target: np.ndarray

    @property
    def depth(self) -> np.ndarray:
        """How many layers, from the input on, take the same branches for both; shape (n,)."""
        return self.same.sum(1)

    def summary(self) -> str:
        """A line per layer."""
        known = ~np.isnan(self.changed).any(1)
        lines = [f"{int(known.sum())} pairs, {int((self.label != self.target)[known].sum())} of two classes"]
        if not known.any():
            return lines[0]
        for k, name in enumerate(self.layers):
            line = f"  {name}: {100 * self.changed[known, k].mean():.2g} % of the units switch"
            line += f", {int(self.same[known, k].sum())} pairs on one piece up to here"
            line += f", values {self.distance[known, k].mean():.2g} of their length apart"
            if (self.decided[known, k] >= 0).all():
                line += f"; later layers kept: {int(self.kept[known, k].sum())} keep the class"
            lines.append(line)
        return "\n".join(lines)


def shared_activity(net: Network, X: Any, others: Any, *, progress: Progress | None = None) -> SharedActivityResult:
    """Compare the activity of inputs with that of others, such as adversarial examples of them.

    Parameters
    ----------
    net : Network
    X : array, shape (n, ...)
        Inputs.
    others : array, shape (n, ...)
        One for each of them: `DistortionResult.x_adv`, say. Rows with NaN (nothing was found) are refused.
    progress : Progress, optional
        A budget or an interrupt leaves NaN where no pair was looked at.

    Returns
    -------
    SharedActivityResult
        NUMERICAL. Branches are decided exactly, as everywhere; distances and classes are floats.

    Raises
    ------
    ArgumentError, ShapeError
        For a network without choices, shapes that differ, and what `Network.pattern` refuses.

    Notes
    -----
    Carlsson et al. (2017, section 5) ask whether adversarial examples are related to the preimages of the activities
    of a class. An input with the same branches up to a layer and the same values lies in the preimage of that
    activity. Freezing the later layers at the first input's branches makes the question about one layer only: if the
    class is kept, it takes another piece of the later layers to lose it. Cost: the patterns, and one pass per layer.

    Examples
    --------
    >>> import torch
    >>> import plica
    >>> _ = torch.manual_seed(0)
    >>> net = plica.load(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), (4,))
    >>> X = torch.rand(3, 4)
    >>> found = plica.min_distortion(net, X)
    >>> shared = plica.shared_activity(net, X, found.x_adv)
    >>> len(shared.layers), bool(shared.kept.any())
    (1, False)
    """
    began, watch = time.monotonic(), progress or Progress()
    if not net.choices:
        raise ArgumentError("The network has no choices: all inputs share one piece.")
    first, second = (net.as_batch(torch.as_tensor(np.asarray(v, dtype=np.float64))) for v in (X, others))
    if first.shape != second.shape:
        raise ShapeError(f"X has {len(first)} inputs of shape {tuple(first.shape[1:])}, others {tuple(second.shape)}.")
    n, layers = len(first), net.choices
    shape = (n, len(layers))
    out = SharedActivityResult(
        Standing.NUMERICAL, Completeness.COMPLETE, {}, layers, np.full(shape, np.nan), np.zeros(shape, bool),
        np.zeros(shape, bool), np.full(shape, np.nan), np.full(shape, -1), np.zeros(shape, bool),
        np.full(n, -1), np.full(n, -1),
    )  # fmt: skip
    state = Completeness.COMPLETE
    try:
        for start in range(0, n, CHUNK):
            watch.check()
            watch.report("pairs", start, n)
            _compare(net, first[start : start + CHUNK], second[start : start + CHUNK], out, start)
    except (BudgetReached, KeyboardInterrupt) as stop:
        state = Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    return replace(out, completeness=state, header={"seconds": time.monotonic() - began})


def _compare(net: Network, first: Tensor, second: Tensor, out: SharedActivityResult, start: int) -> None:
    """Fill the rows of one chunk."""
    rows = slice(start, start + len(first))
    patterns = net.pattern(first), net.pattern(second)
    values = net.values(first, *net.choices), net.values(second, *net.choices)
    out.label[rows], out.target[rows] = (net(v).flatten(1).argmax(1).cpu().numpy() for v in (first, second))
    together = np.ones(len(first), dtype=bool)
    for k, name in enumerate(net.choices):
        differ = (patterns[0].branches[name] != patterns[1].branches[name]).flatten(1).double().mean(1).cpu().numpy()
        together &= differ == 0
        out.changed[rows, k], out.same[rows, k], out.same_layer[rows, k] = differ, together, differ == 0
        a, b = values[0][name].flatten(1), values[1][name].flatten(1)
        size = torch.where(a.norm(dim=1) > 0, a.norm(dim=1), 1.0)
        out.distance[rows, k] = ((a - b).norm(dim=1) / size).cpu().numpy()
        found = _later(net, name, patterns[0], values[1][name])
        if found is not None:
            out.decided[rows, k] = found
            out.kept[rows, k] = found == out.label[rows]


def _later(net: Network, name: str, pattern: Pattern, values: Tensor) -> np.ndarray | None:
    """Classes of a layer's values under the later branches of other inputs; None where the layer does not cut."""
    try:
        rest = net.after(name)
    except ArgumentError:
        return None
    if len(rest.nodes) == 0:
        return values.flatten(1).argmax(1).cpu().numpy()
    known = {node.name for node in rest.nodes if isinstance(node.op, Choice) and node.name != INPUT}
    frozen = rest.freeze(Pattern({c: pattern.branches[c] for c in known}, len(pattern)))
    with torch.no_grad():
        return frozen(values).flatten(1).argmax(1).cpu().numpy()
