"""The linear map and the offset of a unit at any input, matrix-free (Montúfar et al. 2014, eq. 8)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from plica.analyses.units.result import UnitMapsResult
from plica.core.network import Network
from plica.core.pattern import Pattern
from plica.core.piece import pull
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, BudgetReached

CHUNK = 256  # pairs of input and unit per backward pass


def unit_maps(
    net: Network,
    X: npt.ArrayLike | Tensor,
    *,
    layer: str | int,
    units: Sequence[int] | np.ndarray | None = None,
    side: str = "post",
    progress: Progress | None = None,
) -> UnitMapsResult:
    """Linear map and offset of units of a layer on the piece of every input.

    Parameters
    ----------
    net : Network
    X : array, shape (n, *input_shape)
    layer : str or int
        The layer, by name or index.
    units : sequence of int, optional
        Flat indices of units; all by default.
    side : {"post", "pre"}
        After the layer's choices or before them. Eq. (8) of the paper is "pre"; after a rectifier an inactive unit has
        the zero map, and an active one the same map as before it.
    progress : Progress, optional
        Budgets and a listener. When the time is up, the inputs done so far are returned.

    Returns
    -------
    UnitMapsResult
        NUMERICAL: the pieces are decided exactly, the maps are float64 products.

    Raises
    ------
    ArgumentError
        For a unit that the layer does not have.
    MemoryBudgetError
        When n * units * inputs numbers do not fit into ``progress.max_bytes``.

    Notes
    -----
    One backward pass through the frozen network for every pair of input and unit, in batches; no matrix is built,
    whatever the nodes are. Cost: that of n * units passes, and of the patterns.

    Examples
    --------
    >>> import torch
    >>> from plica.core.affine import Dense
    >>> from plica.core.choice import relu
    >>> from plica.core.network import INPUT, Graph
    >>> graph = Graph((2,))
    >>> z = graph.add("z", Dense(torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64), None, (2,)), INPUT)
    >>> _ = graph.add("r", relu((2,)), z)
    >>> unit_maps(graph.network(), [[1.0, 1.0], [1.0, -3.0]], layer="r").maps[:, 0].tolist()
    [[1.0, 2.0], [0.0, 0.0]]
    """
    start, progress = time.monotonic(), progress or Progress()
    part, batch = net.upto(layer, side), net.as_batch(X if isinstance(X, Tensor) else np.asarray(X, dtype=np.float64))
    size = math.prod(part.output_shape)
    chosen = np.arange(size) if units is None else np.asarray(units, dtype=np.int64).ravel()
    if ((chosen < 0) | (chosen >= size)).any():
        raise ArgumentError(
            f"units: {int(chosen.min())} to {int(chosen.max())}, but {part.output!r} has 0 to {size - 1}."
        )
    needed = 8 * len(batch) * len(chosen) * math.prod(net.input_shape)
    refuse_above(progress.max_bytes, needed, f"The maps of {len(chosen)} units at {len(batch)} inputs",
                 "Name fewer units (units=), or give fewer inputs.")  # fmt: skip
    state, parts, keys = Completeness.COMPLETE, [], []
    try:
        for rows in progress.over(_chunks(len(batch), len(chosen)), "unit maps"):
            pattern = part.pattern(batch[rows])
            parts.append(_maps(part, batch[rows], pattern, chosen))
            keys += pattern.keys()
    except (BudgetReached, KeyboardInterrupt) as stop:
        state = Completeness.BUDGET if isinstance(stop, BudgetReached) else Completeness.INTERRUPTED
    maps, offsets, values = _joined(parts, len(chosen), net.input_shape)
    inputs = batch[: len(maps)].flatten(1).cpu().numpy()
    flat = maps.reshape(len(maps), len(chosen), inputs.shape[1])
    gap = np.einsum("nuk,nk->nu", flat, inputs) + offsets - values
    first: dict[bytes, int] = {}
    return UnitMapsResult(
        standing=Standing.NUMERICAL,
        completeness=state,
        header={"seconds": time.monotonic() - start},
        layer=part.output,
        units=chosen,
        maps=maps,
        offsets=offsets,
        values=values,
        pieces=np.array([first.setdefault(key, len(first)) for key in keys], dtype=np.int64),
        error=float(np.abs(gap).max(initial=0.0) / max(np.abs(values).max(initial=0.0), 1e-300)),
    )


def _chunks(inputs: int, units: int) -> list[slice]:
    rows = max(1, CHUNK // max(units, 1))
    return [slice(i, min(i + rows, inputs)) for i in range(0, inputs, rows)]


def _maps(part: Network, x: Tensor, pattern: Pattern, units: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps (n, u, *input_shape), offsets (n, u) and values (n, u) of a few inputs."""
    with torch.no_grad():
        zeros = torch.zeros_like(x)
        offsets = part.freeze(pattern).values(zeros, part.output)[part.output].flatten(1)[:, units]
        values = part.values(x, part.output)[part.output].flatten(1)[:, units]
        pulled = [_pulled(part, pattern, units[i : i + CHUNK]) for i in range(0, len(units), CHUNK)]
    maps = torch.cat(pulled, 1) if pulled else x.new_zeros(len(x), 0, *part.input_shape)
    return maps.cpu().numpy(), offsets.cpu().numpy(), values.cpu().numpy()


def _pulled(part: Network, pattern: Pattern, units: np.ndarray) -> Tensor:
    """Gradients of some units on the pieces of a pattern, shape (n, u, *input_shape)."""
    n, u, size = len(pattern), len(units), math.prod(part.output_shape)
    repeated = pattern[torch.arange(n).repeat_interleave(u)]
    covectors = torch.zeros(n * u, size, dtype=part.dtype, device=part.device)
    covectors[torch.arange(n * u), torch.as_tensor(units, device=part.device).repeat(n)] = 1.0
    out = pull(part.freeze(repeated), {part.output: covectors.reshape(n * u, *part.output_shape)})
    return out.reshape(n, u, *part.input_shape)


def _joined(parts: list, units: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chunks one below the other."""
    empty = (np.zeros((0, units, *shape)), np.zeros((0, units)), np.zeros((0, units)))
    maps, offsets, values = (np.concatenate(columns) for columns in zip(empty, *parts, strict=True))
    return maps, offsets, values
