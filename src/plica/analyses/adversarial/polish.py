"""Search for the nearest point across the boundary: linearise, project, walk back to the boundary.

Every row is one pair of image and target class. At a point near the boundary the margin is replaced by its linear part;
the nearest point of the box on that half-space is the next guess. Where the guess is not across, the step towards it
is shortened; where it is, the segment from the image to it is cut at the boundary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from plica.analyses.adversarial.problem import Problem, Rows
from plica.analyses.adversarial.project import Pace, length, nearest, stride

BLOCK_BYTES = 1 << 20  # of one array
CUTS = 7  # evaluations that narrow the place where a segment crosses the boundary
SHORTER = 0.4  # a step that does not help is shortened to this share
TRIES = 4  # lengths of a step that are tried
STRETCHES = (0.002, 0.01, 0.05, 0.2, 1.0, 3.0)  # beyond a point that is not across
PATIENT = 3  # steps before a walk aims beyond the boundary, and before rows are dropped
ROUNDED = 2  # units of rounding that every step aims beyond the boundary
BEYOND = 0.02  # by how much more with every further step


@dataclass
class Best:
    """The nearest point found by every row; size is inf where there is none yet."""

    point: Tensor
    size: Tensor

    @classmethod
    def none(cls, like: Tensor) -> Best:
        """Nothing found for the rows of `like`, shape (n, d)."""
        return cls(like.clone(), torch.full((len(like),), math.inf, dtype=like.dtype, device=like.device))

    def __getitem__(self, which: Tensor | slice) -> Best:
        return Best(self.point[which], self.size[which])

    def take(self, which: Tensor, point: Tensor, size: Tensor) -> None:
        """Keep points of the rows `which` where they are nearer."""
        better = size < self.size[which]
        self.point[which[better]] = point[better]
        self.size[which[better]] = size[better]


@dataclass(frozen=True)
class Walk:
    """How far to walk.

    Attributes
    ----------
    steps : int
    limit : float
        Longest step, as a share of the distance of the best point of the image; inf for whole linearised steps.
    drop : float
        Rows end where they are farther out than this many times the best point of their image.
    damp : float
        Steps are divided by 1 + damp k, which settles what would swing between two linear pieces.
    reach : float
        Rows that were never across go on outwards at the end, unless they are farther than this many times the best.
    """

    steps: int
    limit: float = math.inf
    drop: float = 1.1
    damp: float = 0.1
    reach: float = 3.0


def walk(problem: Problem, rows: Rows, start: Tensor, least: Tensor, how: Walk, norm: float) -> Best:
    """Go towards the linearised boundary from any start, until it is crossed.

    Parameters
    ----------
    problem : Problem
    rows : Rows
    start : Tensor, shape (rows, d)
    least : Tensor, shape (images,)
        Distance of the best point of every image; inf where there is none.
    how : Walk
    norm : float
    """
    return in_blocks(problem, rows, lambda part, of: _walk(problem, part, start[of], least, how, norm))


def in_blocks(problem: Problem, rows: Rows, work: Callable[[Rows, slice], Best]) -> Best:
    """Work on some rows after the others, so few that their arrays stay in the processor's cache."""
    size = max(16, BLOCK_BYTES // (problem.x.element_size() * max(1, problem.x.shape[1])))
    if len(rows) <= size:
        return work(rows, slice(None))
    blocks = [slice(i, i + size) for i in range(0, len(rows), size)]
    parts = [work(rows[block], block) for block in blocks]
    return Best(torch.cat([part.point for part in parts]), torch.cat([part.size for part in parts]))


def _walk(problem: Problem, rows: Rows, start: Tensor, least: Tensor, how: Walk, norm: float) -> Best:
    x, ended, best = problem.x[rows.image], start.clone(), Best.none(start)
    alive, part, origin, current = torch.arange(len(rows), device=x.device), rows, x, start
    longest, size = how.limit * least[rows.image], length(start - x, norm)
    ahead = 1 + ROUNDED * torch.finfo(x.dtype).eps  # else a walk on a linear piece may end short of it by rounding
    for k in range(how.steps):
        if not len(alive):
            break
        margin, slope = problem.gradients(current, part)
        found = torch.nonzero(margin > 0)[:, 0]
        best.take(alive[found], current[found], size[found])
        pace = Pace(ahead + BEYOND * max(0, k - PATIENT), longest, 1 / (1 + how.damp * k))
        current, size = stride(origin, current, margin, slope, pace, box=problem.box, norm=norm)
        now = least.scatter_reduce(0, rows.image, best.size, "amin")[part.image]
        go = torch.isfinite(size) & ((size <= how.drop * now) | (k < PATIENT))
        go &= (margin <= 0) | (how.limit == math.inf)
        if not bool(go.all()):
            ended[alive[~go]] = current[~go]
            alive, part, longest = alive[go], part[go], longest[go]
            origin, current, size = origin[go], current[go], size[go]
    ended[alive] = current
    now = least.scatter_reduce(0, rows.image, best.size, "amin")[rows.image]
    lost = torch.isinf(best.size) & (length(ended - x, norm) <= how.reach * now)
    _reach(problem, rows, ended, best, norm, torch.nonzero(lost)[:, 0])
    return best


def _keep(which: Tensor, origin: Tensor, point: Tensor, margin: Tensor, best: Best, norm: float) -> None:
    found = margin > 0
    best.take(which[found], point[found], length(point[found] - origin[found], norm))


def _reach(problem: Problem, rows: Rows, point: Tensor, best: Best, norm: float, left: Tensor) -> None:
    """Go on along the segments from images through points of the rows `left` until these are across."""
    for stretch in STRETCHES:
        if not len(left):
            return
        x = problem.x[rows.image[left]]
        beyond = along(problem, x, point[left] - x, torch.full_like(x[:, 0], 1 + stretch))
        _keep(left, x, beyond, problem.margins(beyond, rows[left]), best, norm)
        left = left[torch.isinf(best.size[left])]


def border(problem: Problem, rows: Rows, point: Tensor, cuts: int = CUTS) -> Tensor:
    """Walk from points that are across towards their images, to the last point across that is seen.

    False position with Illinois' rule: the margin at both ends of the bracket says where to look.
    """
    x = problem.x[rows.image]
    step = point - x
    low, high = torch.zeros_like(step[:, 0]), torch.ones_like(step[:, 0])
    f_low, f_high = problem.margins(x, rows), problem.margins(point, rows)
    side = torch.zeros_like(low)
    for _ in range(cuts):
        share = (f_low / (f_low - f_high)).nan_to_num(0.5).clamp(0.02, 0.98)
        middle = low + share * (high - low)
        f = problem.margins(along(problem, x, step, middle), rows)
        across = f > 0
        f_low = torch.where(across & (side > 0), 0.5 * f_low, f_low)
        f_high = torch.where(~across & (side < 0), 0.5 * f_high, f_high)
        high, f_high = torch.where(across, middle, high), torch.where(across, f, f_high)
        low, f_low = torch.where(across, low, middle), torch.where(across, f_low, f)
        side = torch.where(across, 1.0, -1.0)
    return torch.where((high == 1)[:, None], point, along(problem, x, step, high))


def along(problem: Problem, x: Tensor, step: Tensor, share: Tensor) -> Tensor:
    """Points x + share * step, inside the box also after rounding."""
    return problem.inside(x + share[:, None] * step)


@dataclass(frozen=True)
class Refine:
    """How long to refine.

    Attributes
    ----------
    steps : int
    tolerance : float
        Least gain of a step, as a share of the distance.
    cuts : int
        Evaluations after each step that find the boundary.
    close, closer : float
        A row ends after step k when it is farther than 1 + close * closer^k times the best of its image.
    """

    steps: int = 20
    tolerance: float = 1e-4
    cuts: int = 3
    close: float = math.inf
    closer: float = 0.5


def refine(problem: Problem, rows: Rows, best: Best, least: Tensor, how: Refine, norm: float) -> Best:
    """Improve points that are across until a step gains little.

    Parameters
    ----------
    problem : Problem
    rows : Rows
    best : Best
        A point for every row; rows without one stay without.
    least : Tensor, shape (images,)
        Distance of the best point of every image.
    how : Refine
    norm : float

    Returns
    -------
    Best
        Never farther than before.
    """
    return in_blocks(problem, rows, lambda part, of: _refine(problem, part, best[of], least[part.image], how, norm))


def _refine(problem: Problem, rows: Rows, best: Best, least: Tensor, how: Refine, norm: float) -> Best:
    best = Best(best.point.clone(), best.size.clone())
    active = torch.nonzero(torch.isfinite(best.size) & (best.size > 0))[:, 0]
    if not len(active):
        return best
    x = problem.x[rows.image]
    current = border(problem, rows[active], best.point[active], how.cuts)
    best.take(active, current, length(current - x[active], norm))
    for k in range(how.steps):
        part, origin = rows[active], x[active]
        margin, slope = problem.gradients(current, part)
        guess, _ = nearest(origin, slope, (slope * current).sum(1) - margin, problem.box, norm)
        size = length(current - origin, norm)
        worth = length(guess - origin, norm) < size * (1 - how.tolerance)
        active, current, guess = active[worth], current[worth], guess[worth]
        if not len(active):
            break
        following, moved = _shortened(problem, rows[active], current, guess, norm, 1e-4 + 0.02 * 0.5**k)
        active = active[moved]
        if not len(active):
            break
        current = border(problem, rows[active], following[moved], how.cuts)
        before = best.size[active].clone()
        size = length(current - x[active], norm)
        best.take(active, current, size)
        go = (size < before * (1 - how.tolerance)) | (k < PATIENT)
        go &= size <= (1 + how.close * how.closer**k) * least[active]
        active, current = active[go], current[go]
        if not len(active):
            break
    return best


def _shortened(
    problem: Problem, rows: Rows, current: Tensor, guess: Tensor, norm: float, beyond: float
) -> tuple[Tensor, Tensor]:
    """The first of some points between `current` and a little beyond `guess` that is across and not farther."""
    x = problem.x[rows.image]
    limit = 1.02 * length(current - x, norm)
    out, left = current.clone(), torch.arange(len(x), device=x.device)
    moved = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    share = 1.0
    for _ in range(TRIES):
        origin = x[left]
        between = torch.lerp(current[left], guess[left], share)
        point = along(problem, origin, between - origin, torch.full_like(limit[left], 1 + beyond))
        ok = (length(point - origin, norm) < limit[left]) & (problem.margins(point, rows[left]) > 0)
        out[left[ok]] = point[ok]
        moved[left[ok]] = True
        left, share = left[~ok], share * SHORTER
        if not len(left):
            break
    return out, moved
