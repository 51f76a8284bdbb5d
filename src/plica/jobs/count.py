"""A count of regions that survives: its frontier is kept in a folder."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError
from plica.jobs.explore import Part, explore
from plica.store import network_hash

if TYPE_CHECKING:
    from plica.analyses.regions.question import Question, Where
    from plica.analyses.regions.result import RegionCountResult

SECONDS = 2.0  # of work in a part
CHILDREN = 4  # parts that what is left of one becomes


def run_count(
    net: Network,
    domain: Where | None,
    *,
    folder: str | os.PathLike[str],
    workers: int = 1,
    cluster: str | None = None,
    wait: bool = False,
    progress: Progress | None = None,
) -> RegionCountResult:
    """Count activation regions; what is done stays in a folder, and a second run continues.

    Parameters
    ----------
    net, domain :
        As for `plica.count_regions`. Bounded, or of more than eight variables.
    folder : path-like
        Every part of the count, about two seconds of work, is one file there, written whole or not at all.
    workers : int
        Processes (joblib's loky); 1 works in this one, -1 is one per core.
    cluster : str, optional
        Address of a dask scheduler, whose workers are used instead.
    wait : bool
        Wait for another run in the same folder.
    progress : Progress, optional
        The budget of time ends the count between parts.

    Returns
    -------
    RegionCountResult
        After an interrupt (Ctrl-C) or when the time is up, what was counted: a lower bound.

    Raises
    ------
    ArgumentError
        For a domain that cannot be taken up again, a folder that cannot be written to or is in use, a full disk.

    Notes
    -----
    By polygons in the plane, vertices in up to ten variables, inequalities above: cells that wait are arrays.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> import plica
    >>> net = plica.load(torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.ReLU()), (3,))
    >>> box = plica.Box(-np.ones(3), np.ones(3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plica.run_count(net, box, folder=folder).count == plica.count_regions(net, box).count
    True
    """
    from plica import __version__
    from plica.analyses.regions.analysis import count_result
    from plica.analyses.regions.question import question_of
    from plica.analyses.regions.solid import SolidCount, can_resume

    began, asked = time.monotonic(), question_of(net, domain)
    if not can_resume(asked.net, asked.where):
        raise ArgumentError(
            f"domain: counts in unbounded domains of {asked.dimension} variables cannot be taken up again; "
            "use plica.count_regions, or bound the domain."
        )
    key = {"count": "regions", "network": network_hash(asked.net), "domain": asked.where, "plica": __version__}
    done = explore(partial(_expand, asked), [{}], folder=folder, key=key, workers=workers,
                   cluster=cluster, wait=wait, progress=progress)  # fmt: skip
    total = SolidCount(0, complete=not done.waiting, method="vertices")
    for found in done.found():
        total = _added(total, found)
    state = Completeness.BUDGET if total.complete and total.undecided else done.completeness
    return count_result(asked, total, {"seconds": time.monotonic() - began}, state)


def _expand(asked: Question, part: Part) -> tuple[dict[str, np.ndarray], list[Part]]:
    """Count in the cells of a part for some seconds; what is left is its children."""
    from plica.analyses.regions.planar import planar_count
    from plica.analyses.regions.planar_frontier import PlanarFrontier
    from plica.analyses.regions.solid import solid_count
    from plica.analyses.regions.solid_frontier import Frontier

    count: Any = planar_count if asked.planar else solid_count
    frontier: Any = PlanarFrontier if asked.planar else Frontier
    resume = frontier.of(part) if part else None
    seconds = SECONDS
    while True:
        done = count(asked.net, asked.where, progress=Progress(max_seconds=seconds), resume=resume)
        left = done.frontier
        again = left is None and not (done.complete or done.undecided)  # many sides: done in one go or not at all
        if not again and (left is None or done.count or resume is None or len(left) != len(resume)):
            break
        seconds = 2 * seconds + 0.1  # nothing happened in the time: kernels were compiled, or one cell is long
    found = {
        "count": np.array([done.count]),
        "layers": np.array(done.layers),
        "decided": np.array([done.signs, done.pieces, done.undecided]),
        "method": np.array([done.method]),
    }
    return found, [] if left is None else [child.arrays() for child in left.split(CHILDREN)]


def _added(total: Any, found: dict[str, np.ndarray]) -> Any:
    """A count and that of another part."""
    layers = [int(n) for n in found["layers"]]
    signs, pieces, undecided = (int(n) for n in found["decided"])
    return replace(
        total,
        count=total.count + int(found["count"][0]),
        method=str(found["method"][0]),
        layers=tuple(a + b for a, b in zip(total.layers or [0] * len(layers), layers, strict=True)),
        signs=total.signs + signs,
        pieces=total.pieces + pieces,
        undecided=total.undecided + undecided,
    )
