"""How far an input is from the nearest facet of its piece."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from plica.analyses.preimage.result import FacetResult
from plica.core.network import Network
from plica.core.piece import Piece
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import BudgetReached

# A row this small against the layer's largest is a difference of equal units: no hyperplane of its own.
CONSTANT = 1e-12


def nearest_facet(
    net: Network, X: np.ndarray, layers: Sequence[str | int] | None = None, *, progress: Progress | None = None
) -> FacetResult:
    """Return the distance of every input to the nearest place where a choice of each layer changes.

    Parameters
    ----------
    net : Network
    X : array, shape (n, *input_shape)
    layers : sequence of str or int, optional
        Choice layers; all by default.
    progress : Progress, optional
        Budget and listener. When the time is up or the work is interrupted, the inputs done so far are returned.

    Returns
    -------
    FacetResult
        Distances in the Euclidean norm of the input space; the smallest over the layers is the distance to the
        nearest facet of the input's piece.

    Notes
    -----
    Cost per input: one linearised pass per input dimension.
    """
    progress = progress or Progress()
    start = time.monotonic()
    names = tuple(net.resolve(layer) for layer in (net.choices if layers is None else layers))
    batch = net.as_batch(X)
    pattern = net.pattern(batch)
    distances, units, completeness = [], [], Completeness.COMPLETE
    try:
        for i in progress.over(range(len(batch)), "nearest facets"):
            distance, unit = _nearest(Piece(net, pattern[i]), batch[i], names)
            distances.append(distance)
            units.append(unit)
    except BudgetReached:
        completeness = Completeness.BUDGET
    except KeyboardInterrupt:
        completeness = Completeness.INTERRUPTED
    shape = (len(distances), len(names))
    return FacetResult(
        standing=Standing.NUMERICAL,
        completeness=completeness,
        header={"seconds": time.monotonic() - start},
        layers=names,
        distances=np.array(distances, dtype=np.float64).reshape(shape),
        units=np.array(units, dtype=np.int64).reshape(shape),
    )


def _nearest(piece: Piece, point: Tensor, layers: Sequence[str]) -> tuple[list[float], list[int]]:
    """Per layer: distance to the nearest hyperplane of its margins, and the unit it belongs to."""
    heights, norms = piece.margins(point)[0], piece.row_norms()
    distances, units = [], []
    for name in layers:
        rows = piece.margin_slice(name)
        norm = norms[rows]
        away = torch.where(norm > CONSTANT * norm.max(), heights[rows] / norm, torch.inf)
        nearest = int(away.argmin())
        found = bool(torch.isfinite(away[nearest]))
        distances.append(max(float(away[nearest]), 0.0))
        units.append(piece.locate(rows.start + nearest)[1] if found else -1)
    return distances, units
