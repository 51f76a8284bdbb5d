"""How to search: every choice that the paper leaves open has a name and a default here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.errors import ArgumentError, ShapeError

METHODS = ("auto", "fast", "lbfgs", "lbfgs_scipy")
WORDS = {
    "method": METHODS,
    "penalty": ("squared", "norm"),
    "loss": ("cross_entropy", "margin"),
    "c_rule": ("largest", "printed"),
}
TARGET_RULES = ("all", "second", "random", "least")


@dataclass(frozen=True)
class Search:
    """Settings of the search for a smallest perturbation.

    Attributes
    ----------
    method : {"auto", "fast", "lbfgs", "lbfgs_scipy"}
        "auto": many starts, then linearise, project and walk back to the boundary. "fast": one start per class, in a
        few steps. "lbfgs": the paper's box-constrained L-BFGS with a search over c, all rows in one batch.
        "lbfgs_scipy": the same with SciPy's L-BFGS-B, one row after the other; slow, a reference.
    seed : int
        Of everything random.
    starts : int
        "auto": dives per image, up to eight different ones and then the same from other random points.
    steps : int
        "auto": steps of a dive.
    rounds : int
        "auto": further starts after the dives: towards other images of the batch, and random. Every second one is a hop
        instead, a short dive from a point near the best one, until six hops of an image in a row gained nothing.
    candidates : int
        At most so many classes per image, those with the largest logits, are aimed at on their own. The dives leave
        the own class wherever that is nearest, so every class can be found.
    penalty : {"squared", "norm"}
        L-BFGS: the paper prints c|r|; "squared" takes |r|^2, which is smooth at 0. The exact solution of a convex
        problem is the same.
    loss : {"cross_entropy", "margin"}
        L-BFGS: the paper's loss_f; its networks are trained with the cross-entropy.
    c_rule : {"largest", "printed"}
        L-BFGS: "largest" searches the largest c whose minimiser reaches the target. The paper prints the minimum
        c > 0, which is every small c, with a perturbation that is not small: "printed" takes the least c of the
        search.
    c_steps : int
        L-BFGS: bisections of c, after it is bracketed by powers of ten.
    iterations, memory : int
        L-BFGS: most iterations per c, and pairs remembered.
    exact_seconds : float
        exact: longest search for the proof of one image.
    """

    method: str = "auto"
    seed: int = 0
    starts: int = 2
    steps: int = 25
    rounds: int = 44
    candidates: int = 10
    penalty: str = "squared"
    loss: str = "cross_entropy"
    c_rule: str = "largest"
    c_steps: int = 10
    iterations: int = 50
    memory: int = 10
    exact_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, known in WORDS.items():
            if getattr(self, name) not in known:
                raise ArgumentError(f"{name} = {getattr(self, name)!r}; use one of {', '.join(map(repr, known))}.")
        for name in ("starts", "steps", "rounds", "candidates", "c_steps", "iterations", "memory"):
            least = 0 if name in ("starts", "rounds") else 1
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ArgumentError(f"{name} = {getattr(self, name)!r}; it must be a whole number, {least} or more.")
        if not isinstance(self.exact_seconds, (int, float)) or not self.exact_seconds > 0:
            raise ArgumentError(f"exact_seconds = {self.exact_seconds!r}; give seconds, more than 0.")

    @classmethod
    def of(cls, options: dict[str, Any]) -> Search:
        """Settings from keyword arguments.

        Raises
        ------
        ArgumentError
            For a name that is not a setting.
        """
        known = [field.name for field in fields(cls)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise ArgumentError(f"{unknown[0]} is not a setting of the search; there are: {', '.join(known)}.")
        return cls(**options)


def explicit_targets(targets: Any, labels: Tensor, logits: Tensor, seed: int) -> Tensor | None:
    """The classes to reach, shape (n, k); None when any other class will do.

    Parameters
    ----------
    targets : {"all", "second", "random", "least"} or ndarray of int, shape (n,) or (n, k)
    labels : Tensor, shape (n,)
    logits : Tensor, shape (n, classes)
    seed : int

    Raises
    ------
    ArgumentError, ShapeError
        For an unknown rule, wrong shapes, and classes that the model does not have.
    """
    n, classes = logits.shape
    if targets is None or (isinstance(targets, str) and targets == "all"):
        return None
    if isinstance(targets, str):
        if targets not in TARGET_RULES:
            raise ArgumentError(f"targets = {targets!r}; use one of {', '.join(TARGET_RULES)}, or class numbers.")
        others = logits.scatter(1, labels[:, None], -torch.inf if targets != "least" else torch.inf)
        if targets == "random":
            draws = torch.from_numpy(np.random.default_rng(seed).integers(1, classes, n)).to(labels)
            return ((labels + draws) % classes)[:, None]
        return (others.argmax(1) if targets == "second" else others.argmin(1))[:, None]
    given = np.asarray(targets.detach().cpu() if isinstance(targets, Tensor) else targets)
    if given.ndim == 0:
        given = np.full(n, given)
    if given.dtype.kind not in "iu" or given.ndim not in (1, 2) or len(given) != n:
        raise ShapeError(
            f"targets has shape {given.shape} and dtype {given.dtype}; give class numbers, ({n},) or ({n}, k)."
        )
    if given.min() < 0 or given.max() >= classes:
        raise ArgumentError(
            f"targets go from {given.min()} to {given.max()}; the model has the classes 0 to {classes - 1}."
        )
    return torch.as_tensor(given.reshape(n, -1).astype(np.int64)).to(labels)
