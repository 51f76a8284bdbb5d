"""How often a shift and small noise change the class, and where noise in a window does (sections 4.2 and 4.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from plica.analyses.moments.noise import Array, Covariance, LowRank, gaussian
from plica.analyses.moments.sampling import batches
from plica.analyses.moments.uses.points import reason_of
from plica.analyses.moments.uses.results import FoolingMapResult, FoolingResult
from plica.analyses.moments.uses.stage import is_closed, on_cpu, stage
from plica.core.network import Network
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached, ShapeError

METHODS = ("two_stage", "monte_carlo")
TOP = 5


def fooling_rate(
    net: Network,
    X: Array,
    variance: Covariance,
    *,
    shift: Array | None = None,
    method: str | None = None,
    layer: str | int | None = None,
    samples: int = 1000,
    progress: Progress | None = None,
) -> FoolingResult:
    """How often a shift of the input changes the class, without and with small Gaussian noise on top.

    Parameters
    ----------
    net : Network
        Its outputs are the scores of classes.
    X : array, shape (n, *input_shape)
    variance : number or array of the input's size
        Of the noise, independent from input to input.
    shift : array, shape input_shape or (n, *input_shape), optional
        Added to every input, as a universal perturbation is; by default zero.
    method : {"two_stage", "monte_carlo"}, optional
        How mean outputs under noise are found. By default "two_stage" around input plus shift, which is exact (and then
        called "exact") where no choice comes after another.
    layer : str or int, optional
        The choice layer that "two_stage" keeps.
    samples : int
        Draws per input for "monte_carlo", whose seed is the input's number.
    progress : Progress, optional

    Returns
    -------
    FoolingResult
        ``rate`` (XN), ``noisy_rate`` (XNn), ``order_accuracy`` of the five largest outputs.

    Notes
    -----
    Source: Bibi et al. (2018), section 4.2 and Table 2.

    Cost: the affine maps of n vectors per input; two matrices of inputs x units of memory.
    """
    progress, net = progress or Progress(), on_cpu(net)
    batch = net.as_batch(torch.as_tensor(X))
    moved = batch + _shifts(net, batch, shift)
    spread = _variances(net, variance)
    chosen = _method(net, method, layer)
    means: list[Tensor] = []
    shares: list[float] = []

    def work(i: int) -> None:
        if chosen == "monte_carlo":
            mean, share = _drawn(net, moved[i], spread, samples, i, int(clean[i]))
            shares.append(share)
        else:
            part = stage(net, moved[i], layer)
            squares = part.squared_rates(progress) if part.exact else None
            mean = part.means(moved[i].reshape(1, -1), spread[None], squares)[0]
        means.append(mean)

    with torch.no_grad():
        clean, plain = net.logits(batch).argmax(1), net.logits(moved)
        state = _each(range(len(batch)), work, progress)
    found = torch.stack(means)
    top = min(TOP, found.shape[1])
    orders = torch.stack([_order(plain[: len(found)], top), _order(found, top)], 1)
    return FoolingResult(
        Standing.NUMERICAL if chosen == "exact" else Standing.ESTIMATE, state, {"seconds": progress.seconds}, chosen,
        clean[: len(found)].numpy(), plain[: len(found)].argmax(1).numpy(), found.argmax(1).numpy(), orders.numpy(),
        np.array(shares) if shares else None, samples if shares else 0, _reason(net, chosen, layer, samples),
    )  # fmt: skip


def fooling_map(
    net: Network,
    X: Array,
    variance: float,
    *,
    window: int = 7,
    stride: int = 1,
    method: str | None = None,
    layer: str | int | None = None,
    samples: int = 1000,
    progress: Progress | None = None,
) -> FoolingMapResult:
    """Where noise in a square window, slid over images without padding, changes the class.

    Parameters
    ----------
    net : Network
        Reads images of shape (channels, rows, columns) or (rows, columns).
    X : array, shape (n, *input_shape)
    variance : float
        Of the noise at every pixel of the window, in all channels; the rest of the image has none.
    window, stride : int
        Side of the window, and its steps.
    method : {"two_stage", "monte_carlo"}, optional
        The class of the mean outputs (exact where no choice comes after another), or the share of draws with another
        class. By default "two_stage".
    layer, samples, progress
        As for `fooling_rate`.

    Returns
    -------
    FoolingMapResult
        ``rate`` over all inputs and ``by_class()``.

    Raises
    ------
    ShapeError
        When the network does not read images, or the window is larger than they are.

    Notes
    -----
    Source: Bibi et al. (2018), section 4.4 and Figure 3: windows of 7 x 7, stride 1.

    Cost: per image the affine maps of as many vectors as it has pixels; every window is then a sum of squared rates.
    """
    progress, net = progress or Progress(), on_cpu(net)
    batch = net.as_batch(torch.as_tensor(X))
    spread = windows_of(net.input_shape, window, stride) * float(_variances(net, float(variance)).max())
    places = spread.shape[:2]
    spread = spread.flatten(0, 1)
    chosen = _method(net, method, layer)
    maps: list[np.ndarray] = []

    def work(i: int) -> None:
        if chosen == "monte_carlo":
            fooled = torch.tensor([_drawn(net, batch[i], v, samples, i, int(classes[i]))[1] for v in spread])
        else:
            part = stage(net, batch[i], layer)
            squares = part.squared_rates(progress) if part.exact else None
            fooled = (part.means(batch[i].reshape(1, -1), spread, squares).argmax(1) != classes[i]).double()
        maps.append(fooled.reshape(places).numpy())

    with torch.no_grad():
        classes = net.logits(batch).argmax(1)
        state = _each(range(len(batch)), work, progress)
    reason = _reason(net, chosen, layer, samples)
    return FoolingMapResult(
        Standing.NUMERICAL if chosen == "exact" else Standing.ESTIMATE, state, {"seconds": progress.seconds}, chosen,
        np.array(maps, dtype=np.float64), classes[: len(maps)].numpy(), window, stride, float(variance),
        samples if chosen == "monte_carlo" else 0, reason,
    )  # fmt: skip


def windows_of(shape: Sequence[int], window: int, stride: int) -> Tensor:
    """Indicators of all windows of an image, shape (rows, columns, n)."""
    if len(shape) not in (2, 3):
        raise ShapeError(f"A map needs images, of shape (channels, rows, columns); the network reads {tuple(shape)}.")
    rows, columns = (size - window for size in shape[-2:])
    if window < 1 or stride < 1 or min(rows, columns) < 0:
        raise ShapeError(f"window = {window}, stride = {stride}: they do not fit images of {shape[-2]} x {shape[-1]}.")
    down, right = range(0, rows + 1, stride), range(0, columns + 1, stride)
    refuse_above(Progress().max_bytes, 8 * len(down) * len(right) * math.prod(shape), "The windows", "Raise stride.")
    out = torch.zeros(len(down), len(right), *shape, dtype=torch.float64)
    for i, r in enumerate(down):
        for j, c in enumerate(right):
            out[i, j, ..., r : r + window, c : c + window] = 1.0
    return out.flatten(2)


def _each(items: Sequence[int], work: Callable[[int], None], progress: Progress) -> Completeness:
    """Do the work item by item; a budget or an interrupt keeps what is done, if there is anything."""
    begun = False
    try:
        for item in progress.over(items, "inputs"):
            work(item)
            begun = True
    except (BudgetReached, KeyboardInterrupt) as stop:
        if not begun:
            raise
        return Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    return Completeness.COMPLETE


def _method(net: Network, method: str | None, layer: str | int | None) -> str:
    if method is not None and method not in METHODS:
        raise ArgumentError(f"method = {method!r}: choose one of {', '.join(METHODS)}, or None.")
    if method == "monte_carlo":
        return method
    return "exact" if layer is None and is_closed(net) else "two_stage"


def _reason(net: Network, chosen: str, layer: str | int | None, samples: int) -> str:
    if chosen == "monte_carlo":
        return f"{samples} draws per Gaussian; unbiased."
    return reason_of(net, layer, chosen == "exact")


def _variances(net: Network, variance: Covariance) -> Tensor:
    """A variance per input, checked."""
    n = math.prod(net.input_shape)
    if isinstance(variance, LowRank) or (np.ndim(variance) == 2 and np.shape(variance) == (n, n)):
        raise ArgumentError("variance: give a number or a variance per input; dependent noise is for plica.moments.")
    x = gaussian(net, torch.zeros(n, dtype=torch.float64), variance)
    out = torch.zeros(n, dtype=torch.float64)
    return out if x.active is None else out.index_put((x.active,), x.rows.square())


def _shifts(net: Network, batch: Tensor, shift: Array | None) -> Tensor:
    if shift is None:
        return torch.zeros_like(batch)
    shifts = net.as_batch(torch.as_tensor(shift))
    if len(shifts) not in (1, len(batch)):
        raise ShapeError(f"shift: got {len(shifts)} shifts for {len(batch)} inputs; give one, or one for each.")
    return shifts


def _order(outputs: Tensor, k: int) -> Tensor:
    """The k largest outputs of every row, in order; ties go to the lowest."""
    return outputs.argsort(dim=1, descending=True, stable=True)[:, :k]


def _drawn(net: Network, x: Tensor, variances: Tensor, samples: int, seed: int, clean: int) -> tuple[Tensor, float]:
    """Mean outputs over draws, and the share of draws with another class than `clean`."""
    if samples < 1:
        raise ArgumentError(f"samples = {samples}: draw at least 1.")
    total, other = torch.zeros(math.prod(net.output_shape), dtype=torch.float64), 0
    for part in batches(net, gaussian(net, x, variances), samples, seed):
        outputs = net.logits(part)
        total += outputs.sum(0)
        other += int((outputs.argmax(1) != clean).sum())
    return total / samples, other / samples
