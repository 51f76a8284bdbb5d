"""The global bound of a graph: parts between values that everything passes through, each by its best bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

from plica.analyses.lipschitz.program import Program, Unsuitable, images, vectors
from plica.analyses.lipschitz.steps import Item, Smooth, Step, product
from plica.analyses.lipschitz.tight import tight_bound
from plica.core.affine import Gather, Scale
from plica.core.choice import Choice
from plica.core.exact.floats import raised
from plica.core.network import INPUT
from plica.core.progress import Progress

WORK = 1.0e11  # multiplications of one evaluation above which the search is not tried
TOTAL = 3.0e11  # multiplications of a whole search, about
CHEAP = 1.0e9  # of one evaluation in the space of vectors, which is tighter than that of images


def better_product(
    steps: Sequence[Step], input_shape: tuple[int, ...], plain: float, progress: Progress, *, search: int = 60
) -> tuple[float, str]:
    """Upper bound of the whole graph, and how it was found; `search` limits the steps for the multipliers of a part.

    Parts that lie between cuts (values that everything later depends on alone) are joined as far as one ellipsoid can
    carry them; a part takes the better of that bound and its product.
    """
    shapes = {INPUT: input_shape, **{s.node.name: s.node.shape for s in steps}}
    cuts = _cuts([s.node for s in steps])
    total, at, parts, carried = 1.0, 0, 0, 0
    while at < len(cuts) - 1:
        stop, bound = _longest(steps, cuts, at, shapes, (progress, search))
        start = INPUT if cuts[at] < 0 else steps[cuts[at]].node.name
        piece = steps[cuts[at] + 1 : cuts[stop] + 1]
        own = product(piece, piece[-1].node.name, start)
        total = 0.0 if 0.0 in (total, own) else float(raised(total * min(bound, own), 1))
        parts += 1
        carried += bound < own
        at = stop
    if total >= plain or not carried:
        return plain, "product over the graph"
    return total, "ellipsoids" if parts == 1 else f"ellipsoids over {carried} of {parts} parts"


def _cuts(nodes: Sequence[Item]) -> list[int]:
    """Positions after which only that node's value is read; -1 is the input."""
    last = {name: i for i, node in enumerate(nodes) for name in node.inputs}
    cuts, reach = [-1], last.get(INPUT, -1)
    for i, node in enumerate(nodes):
        if reach <= i:
            cuts.append(i)
        reach = max(reach, last.get(node.name, -1))
    if cuts[-1] != len(nodes) - 1:
        cuts.append(len(nodes) - 1)
    return cuts


def _longest(
    steps: Sequence[Step], cuts: list[int], at: int, shapes: dict[str, tuple[int, ...]], effort: tuple[Progress, int]
) -> tuple[int, float]:
    """The farthest cut that one ellipsoid carries from a cut, with its bound; else the next cut and infinity."""
    progress, search = effort
    limit = at + 1
    while limit < len(cuts) and not any(
        isinstance(s.node.op, Smooth) or not math.isfinite(s.constant.upper)
        for s in steps[cuts[at] + 1 : cuts[limit] + 1]
    ):
        limit += 1
    for stop in range(limit - 1, at, -1):
        nodes = [s.node for s in steps[cuts[at] + 1 : cuts[stop] + 1]]
        if not _promising(nodes):
            break
        found = _program(nodes, INPUT if cuts[at] < 0 else steps[cuts[at]].node.name, shapes, progress)
        if found is not None:
            program, work = found
            return stop, tight_bound(program, progress, steps=min(search, max(4, int(TOTAL / max(work, 1.0)))))
    return at + 1, math.inf


def _promising(nodes: Sequence[Item]) -> bool:
    """Whether a choice stands between two maps that mix units: only there an ellipsoid beats the product."""
    mixing = [i for i, n in enumerate(nodes) if not isinstance(n.op, (Choice, Gather, Scale))]
    return any(isinstance(n.op, Choice) and mixing[0] < i < mixing[-1] for i, n in enumerate(nodes) if mixing)


def _program(
    nodes: Sequence[Item], start: str, shapes: dict[str, tuple[int, ...]], progress: Progress
) -> tuple[Program, float] | None:
    """A program for these nodes that fits the budgets, and its work: vectors where cheap, else the cheaper one."""
    found = []
    for build in (lambda: vectors(nodes, start, shapes, {}), lambda: images(nodes, start, shapes)):
        try:
            program = build()
        except Unsuitable:
            continue
        entries, work = _size(program)
        if 64 * entries <= progress.max_bytes and work <= WORK:
            found.append((program, work))
            if work <= CHEAP:
                break
    return min(found, key=lambda pair: pair[1], default=None)


def _size(program: Program) -> tuple[float, float]:
    """Entries held at once, and multiplications of one evaluation with its gradient."""
    entries, work, count = 0.0, 0.0, program.frequencies
    for push in program.pushes:
        if push.maps is not None:
            rows = max(len(a[0]) for a, _ in push.maps.values())
            columns = sum(a.shape[-1] for a, _ in push.maps.values())
            blocks = max(len(a) for a, _ in push.maps.values())
            count = blocks if blocks > 1 else count
            entries += count * (rows * rows + rows * columns)
            work += 4 * count * rows * columns * (rows + columns)
            count = 1 if push.gather is not None else count
        elif push.slopes is not None:
            size = len(push.slopes.scale)
            entries += 6 * count * size * size
            work += (30 if push.slopes.one_sided else 60) * count * size**3
    return entries, work
