"""Training on pools of adversarial examples, one pool per layer (Szegedy et al. 2013, section 4.2)."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plica.analyses.adversarial.distortion import min_distortion
from plica.analyses.adversarial.problem import as_classifier, make
from plica.core.domain import Box
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, BudgetReached, ShapeError

INPUT = "input"


@dataclass(frozen=True)
class Schedule:
    """What the paper leaves open, with defaults.

    Attributes
    ----------
    epochs : int
        Passes over the original images.
    batch : int
        Original images per step; as many examples are drawn from a pool.
    rate : float
        Of Adam.
    decay : float
        lambda of the paper's weight decay: the loss gets lambda sum w^2 / k for every layer, k its outputs.
    pool : float
        Size of every pool, as a share of the original images.
    replaced : float
        Share of a pool that is made anew each time it is used; a pool grows by as much until it is full.
    mix : float
        Weight of the pool's loss beside that of the original images.
    stretch : float
        Multiple of the smallest perturbation that goes into the pool.
    warmup : int
        Epochs without pools at the beginning: what misleads an untrained network is of no use later.
    alternate : bool
        One layer's pool per epoch, in turn; else all of them in every epoch.
    method : str
        Of `min_distortion`.
    """

    epochs: int = 20
    batch: int = 100
    rate: float = 1e-3
    decay: float = 1e-5
    pool: float = 0.2
    replaced: float = 0.25
    mix: float = 0.3
    stretch: float = 1.0
    warmup: int = 3
    alternate: bool = True
    method: str = "fast"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ArgumentError(f"{name} = {getattr(self, name)!r}; give a whole number of at least 1.")
        if not isinstance(self.warmup, int) or self.warmup < 0:
            raise ArgumentError(f"warmup = {self.warmup!r}; give a whole number of at least 0.")
        for name in ("pool", "replaced"):
            if not 0 < getattr(self, name) <= 1:
                raise ArgumentError(f"{name} = {getattr(self, name)!r}; give a share above 0, 1 at most.")
        for name in ("rate", "decay", "mix", "stretch"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ArgumentError(f"{name} = {getattr(self, name)!r}; give a number of at least 0.")

    @classmethod
    def of(cls, options: dict[str, Any]) -> Schedule:
        """Settings from keyword arguments."""
        known = [field.name for field in fields(cls)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise ArgumentError(f"{unknown[0]} is not a setting of the training; there are: {', '.join(known)}.")
        return cls(**options)


@dataclass(frozen=True, repr=False)
class AdversarialTrainingResult(Result):
    """How the training went, epoch by epoch.

    Attributes
    ----------
    layers : tuple of str
        Layers with a pool; "input" for images.
    loss : ndarray, shape (epochs,)
        Mean cross-entropy of the original images, while training.
    error, test_error : ndarray, shape (epochs,)
        Share of original and of test images that are wrong after the epoch; NaN without test images.
    sizes : ndarray of int, shape (epochs, layers)
        Examples in every pool after the epoch.
    distortion : ndarray, shape (epochs, layers)
        Mean length of the perturbations made in the epoch, before stretching; NaN where none was made.
    pool_error : ndarray, shape (epochs, layers)
        Share of every pool that is wrong after the epoch; NaN for empty pools.
    seed : int
    """

    layers: tuple[str, ...]
    loss: np.ndarray
    error: np.ndarray
    test_error: np.ndarray
    sizes: np.ndarray
    distortion: np.ndarray
    pool_error: np.ndarray
    seed: int

    def summary(self) -> str:
        """The last epoch in words."""
        pools = ", ".join(self.layers) or "none"
        if not len(self.loss):
            return f"pools: {pools}; no epoch was finished"
        lines = [f"pools: {pools}; {len(self.loss)} epochs; error {100 * self.error[-1]:.3g} %"]
        if not math.isnan(self.test_error[-1]):
            lines[0] += f", test error {100 * self.test_error[-1]:.3g} %"
        for k, layer in enumerate(self.layers):
            lines.append(
                f"  {layer}: {self.sizes[-1, k]} examples, {100 * self.pool_error[-1, k]:.3g} % of them wrong; length "
                f"{_last(self.distortion[:, k]):.3g}, at first {_last(self.distortion[::-1, k]):.3g}"
            )
        return "\n".join(lines)


def _last(values: np.ndarray) -> float:
    """The last one that is a number."""
    kept = values[np.isfinite(values)]
    return float(kept[-1]) if len(kept) else math.nan


@dataclass
class Pool:
    """Values at a layer, their labels, and where in the module they enter."""

    layer: str
    above: nn.Module
    values: Tensor
    labels: Tensor
    room: int

    def replace(self, values: Tensor, labels: Tensor, draw: torch.Generator) -> None:
        """Add examples while there is room, then put them in place of random ones."""
        free = min(self.room - len(self.values), len(values))
        if len(values) > free:
            where = torch.randperm(len(self.values), generator=draw)[: len(values) - free]
            self.values[where], self.labels[where] = values[free : free + len(where)], labels[free : free + len(where)]
        self.values = torch.cat([self.values, values[:free]])
        self.labels = torch.cat([self.labels, labels[:free]])


def adversarial_training(
    module: Any,
    X: Any,
    y: Any,
    *,
    layers: str | Sequence[str] = "all",
    test: tuple[Any, Any] | None = None,
    box: Box | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **schedule: Any,
) -> AdversarialTrainingResult:
    """Train a module, in place, on images and on pools of adversarial examples that are made anew as it learns.

    Parameters
    ----------
    module : torch.nn.Sequential
        Its parts may be anything; its weights are where the training starts. Left in evaluation mode. With
        `torch.nn.Dropout` among its parts and ``layers=()`` it is the paper's baseline.
    X : array, shape (n, ...)
        Images, inside the box.
    y : array of int, shape (n,)
        Classes.
    layers : "all" or sequence of str
        Pools: "input" for images, or names of parts of the module ("1"), for values at their outputs, which train the
        parts above alone. "all": the input and every part but the last, less flattenings and dropouts. ``()``: no
        pool, plain training with weight decay.
    test : pair of arrays, optional
        Test images and their classes.
    box : Box, optional
        Allowed images; the values at other layers have no limits.
    seed : int
        Of the order of the images, and of the pools.
    progress : Progress, optional
        Budget and listener. A budget that runs out ends the training; the module keeps what it learnt.
    **schedule
        Fields of `Schedule`: ``epochs``, ``pool``, ``replaced``, ``mix``, ``alternate`` and others.

    Returns
    -------
    AdversarialTrainingResult

    Raises
    ------
    ArgumentError, DataError, ShapeError
        A module that is no Sequential, unknown layers or settings; images and labels as for `min_distortion`.

    Notes
    -----
    Szegedy et al. (2013), section 4.2. Cost: a training of so many epochs, and ``replaced * pool * n`` calls of
    `min_distortion` per epoch (per epoch and layer when not alternating).
    """
    start, how, watch = time.monotonic(), Schedule.of(schedule), progress or Progress()
    if not isinstance(module, nn.Sequential) or len(module) < 2:
        raise ArgumentError(f"module is a {type(module).__name__}; give a torch.nn.Sequential of two or more parts.")
    module.eval()
    images, labels = _checked(module, X, y, box)
    held_out = None if test is None else _checked(module, *test, None)
    draw = torch.Generator().manual_seed(seed)
    pools = [_pool(module, name, images, how) for name in _names(module, layers)]
    run = Run(module, images, labels, pools, how, box, draw, watch)
    rows: list[tuple[Any, ...]] = []
    state = Completeness.COMPLETE
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global state
        torch.manual_seed(seed)
        try:
            for epoch in range(how.epochs):
                watch.report("epochs", epoch, how.epochs)
                rows.append((*run.epoch(epoch), run.error(images, labels), _error_of(run, held_out), *run.pools_now()))
        except BudgetReached:
            state = Completeness.BUDGET
        except KeyboardInterrupt:
            state = Completeness.INTERRUPTED
        finally:
            module.eval()
    loss, made, error, test_error, sizes, wrong = ([row[k] for row in rows] for k in range(6))
    wide = (len(rows), len(pools))
    return AdversarialTrainingResult(
        Standing.NUMERICAL,
        state,
        {"seconds": time.monotonic() - start, "seed": seed},
        layers=tuple(pool.layer for pool in pools),
        loss=np.array(loss, dtype=np.float64),
        error=np.array(error, dtype=np.float64),
        test_error=np.array(test_error, dtype=np.float64),
        sizes=np.array(sizes, dtype=np.int64).reshape(wide),
        distortion=np.array(made, dtype=np.float64).reshape(wide),
        pool_error=np.array(wrong, dtype=np.float64).reshape(wide),
        seed=seed,
    )


@dataclass
class Run:
    """A training under way."""

    module: nn.Sequential
    images: Tensor
    labels: Tensor
    pools: list[Pool]
    how: Schedule
    box: Box | None
    draw: torch.Generator
    watch: Progress

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=self.how.rate)

    def epoch(self, number: int) -> tuple[float, list[float]]:
        """Renew the pools whose turn it is, then pass over the images once; mean loss, and lengths by pool."""
        number -= self.how.warmup
        whose = range(len(self.pools)) if number >= 0 else ()
        turn = [k for k in whose if not self.how.alternate or k == number % len(self.pools)]
        lengths = [self.renew(pool) if k in turn else math.nan for k, pool in enumerate(self.pools)]
        self.module.train()
        total = 0.0
        for chosen in torch.randperm(len(self.images), generator=self.draw).split(self.how.batch):
            self.watch.check()
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.module(self.images[chosen]), self.labels[chosen])
            total += float(loss.detach()) * len(chosen)
            for k in turn:
                loss = loss + self.how.mix * self.pool_loss(self.pools[k], len(chosen))
            (loss + self.penalty()).backward()
            self.optimizer.step()
        self.module.eval()
        return total / len(self.images), lengths

    def renew(self, pool: Pool) -> float:
        """Make examples of the present network and put them into the pool; their mean length before stretching."""
        count = max(1, round(self.how.replaced * pool.room))
        chosen = torch.randperm(len(self.images), generator=self.draw)[:count]
        x, y = self.images[chosen], self.labels[chosen]
        given: dict[str, Any] = {"box": self.box} if pool.layer == INPUT else {"layer": pool.layer}
        given["seed"] = int(torch.randint(2**31, (), generator=self.draw))
        still = copy.deepcopy(self.module)
        found = min_distortion(still, x, y, method=self.how.method, progress=self.watch, **given)
        keep = np.array([status == "found" for status in found.status])
        if not keep.any():
            return math.nan
        with torch.no_grad():
            clean = x if pool.layer == INPUT else _below(self.module, pool.layer)(x)
        step = torch.from_numpy(found.x_adv).to(clean).reshape(clean.shape) - clean
        values = (clean + self.how.stretch * step)[torch.from_numpy(keep)]
        if pool.layer == INPUT and self.box is not None:
            low, high = (torch.tensor(v).to(values) for v in (self.box.lower, self.box.upper))
            flat = values.flatten(1)
            values = torch.minimum(torch.maximum(flat, low), high).reshape(values.shape)
        pool.replace(values, y[torch.from_numpy(keep)], self.draw)
        return float(found.l2[keep].mean())

    def pool_loss(self, pool: Pool, count: int) -> Tensor:
        """Cross-entropy of random examples of a pool; it reaches the parts above the layer alone."""
        if len(pool.values) < 2:  # a batch norm needs two
            return torch.zeros(())
        some = torch.randint(len(pool.values), (count,), generator=self.draw)
        return nn.functional.cross_entropy(pool.above(pool.values[some]), pool.labels[some])

    def penalty(self) -> Tensor:
        """lambda sum w^2 / k over the matrices and kernels."""
        weights = [p for p in self.module.parameters() if p.ndim > 1]
        return self.how.decay * torch.stack([w.square().sum() / len(w) for w in weights]).sum()

    def error(self, x: Tensor, y: Tensor, part: nn.Module | None = None) -> float:
        """Share of images, or values below a part, that are wrong."""
        with torch.no_grad():
            wrong = [(part or self.module)(a).argmax(1) != b for a, b in zip(x.split(1000), y.split(1000), strict=True)]
        return float(torch.cat(wrong).double().mean()) if len(x) else math.nan

    def pools_now(self) -> tuple[list[int], list[float]]:
        """Sizes and errors of the pools."""
        return [len(p.values) for p in self.pools], [self.error(p.values, p.labels, p.above) for p in self.pools]


# --- parts ------------------------------------------------------------------------------------------------------


def _checked(module: nn.Module, X: Any, y: Any, box: Box | None) -> tuple[Tensor, Tensor]:
    """Images in the module's dtype, and labels, as `min_distortion` reads them."""
    if y is None or len(np.shape(X)) < 2:
        raise ShapeError("X and y: give a batch of images and a class for each of them.")
    problem = make(as_classifier(module, X), X, y, box, Progress())
    return problem.x.reshape(-1, *problem.shape), problem.labels


def _error_of(run: Run, held_out: tuple[Tensor, Tensor] | None) -> float:
    return math.nan if held_out is None else run.error(*held_out)


def _names(module: nn.Sequential, layers: str | Sequence[str]) -> list[str]:
    """Where there are pools, from the input up."""
    parts = [name for name, _ in module.named_children()]
    if isinstance(layers, str):
        if layers != "all":
            raise ArgumentError(f"layers = {layers!r}; give 'all' or a list such as ['input', {parts[0]!r}].")
        skipped = (nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity)
        return [INPUT, *(n for n, part in list(module.named_children())[:-1] if not isinstance(part, skipped))]
    known = [INPUT, *parts[:-1]]
    for name in layers:
        if name not in known:
            raise ArgumentError(f"layers: {name!r} is not a place for a pool; there are: {', '.join(known)}.")
    return [name for name in known if name in set(layers)]


def _index(module: nn.Sequential, layer: str) -> int:
    """How many parts lie up to and with a layer."""
    return 0 if layer == INPUT else [name for name, _ in module.named_children()].index(layer) + 1


def _below(module: nn.Sequential, layer: str) -> nn.Module:
    return module[: _index(module, layer)]


def _pool(module: nn.Sequential, layer: str, images: Tensor, how: Schedule) -> Pool:
    """An empty pool."""
    with torch.no_grad():
        shape = _below(module, layer)(images[:1]).shape[1:]
    room = max(1, round(how.pool * len(images)))
    return Pool(layer, module[_index(module, layer) :], images.new_zeros((0, *shape)),
                torch.zeros(0, dtype=torch.long), room)  # fmt: skip
