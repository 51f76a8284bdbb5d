"""Dives: short descents on a sphere that shrinks while the point is across and grows while it is not.

After Rony et al. (2019), "Decoupling direction and norm", extended to the norms inf and 1 and to several variants at
once: rates, first radii, random starts, and the loss that is climbed. The point is to land near different parts of the
boundary; where exactly is left to `polish`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from plica.analyses.adversarial import kernels
from plica.analyses.adversarial.polish import Best, in_blocks
from plica.analyses.adversarial.problem import Problem, Rows
from plica.analyses.adversarial.project import compiled, length

# Rate of the radius, first radius as a share of the scale, length of the random start as a share, cross-entropy.
VARIANTS = (
    (0.05, 1.0, 0.0, True),
    (0.05, 1.0, 0.0, False),
    (0.10, 1.0, 0.0, True),
    (0.10, 1.0, 0.0, False),
    (0.05, 2.0, 0.0, True),
    (0.05, 2.0, 0.0, False),
    (0.05, 1.0, 2.0, True),
    (0.05, 1.0, 2.0, False),
)


def dive(
    problem: Problem, rows: Rows, scale: Tensor, norm: float, *, starts: int, steps: int, seed: int
) -> tuple[Rows, Best]:
    """Dive from every row's image in `starts` ways.

    Parameters
    ----------
    problem : Problem
    rows : Rows
    scale : Tensor, shape (rows,)
        A length at which something should be found.
    norm : float
    starts, steps, seed : int

    Returns
    -------
    rows : Rows
        `starts` times the rows, variant by variant.
    best : Best
        The nearest point across that each dive saw.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(starts):
        rate, first, noise, likely = VARIANTS[i % len(VARIANTS)]
        how = Dive(rate, first, noise if i < len(VARIANTS) else 2.0, likely, steps)

        def work(part: Rows, of: slice, how: Dive = how) -> Best:
            return _dive(problem, part, scale[of], norm, how, generator)

        found.append(in_blocks(problem, rows, work))
    every = rows[torch.arange(len(rows), device=scale.device).repeat(starts)]
    return every, Best(torch.cat([b.point for b in found]), torch.cat([b.size for b in found]))


@dataclass(frozen=True)
class Dive:
    """One way to dive: entries of `VARIANTS`, and the number of steps."""

    rate: float
    first: float
    noise: float
    likely: bool
    steps: int


def dive_from(problem: Problem, rows: Rows, start: Tensor, scale: Tensor, norm: float, how: Dive) -> Best:
    """Dive once from a point per row; the shapes are those of `dive`."""
    return in_blocks(problem, rows, lambda part, of: _descend(problem, part, start[of], scale[of], norm, how))


def _dive(problem: Problem, rows: Rows, scale: Tensor, norm: float, how: Dive, generator: torch.Generator) -> Best:
    start = problem.x[rows.image]
    if how.noise:
        start = problem.inside(scattered(start, how.noise * scale, norm, generator))
    return _descend(problem, rows, start, scale, norm, how)


def _descend(problem: Problem, rows: Rows, point: Tensor, scale: Tensor, norm: float, how: Dive) -> Best:
    x = problem.x[rows.image]
    radius = how.first * scale
    likely = torch.full_like(rows.image, how.likely, dtype=torch.bool) if how.likely else None
    best = Best.none(x)
    every, size = torch.arange(len(x), device=x.device), length(point - x, norm)
    for k in range(how.steps):
        margin, slope = problem.gradients(point, rows, likely)
        across = margin > 0
        best.take(every[across], point[across], size[across])
        share = 0.01 + 0.495 * (1 + math.cos(math.pi * k / how.steps))
        radius = radius * torch.where(across, 1 - how.rate, 1 + how.rate)
        point, size = _slid(problem, x, point, slope, share * scale, radius, norm=norm)
    return best


def _slid(
    problem: Problem, x: Tensor, point: Tensor, slope: Tensor, climb: Tensor, radius: Tensor, *, norm: float
) -> tuple[Tensor, Tensor]:
    """Points a step uphill, brought to a distance from x; and the distances after they were moved into the box."""
    if compiled(x, norm):
        moved, size = torch.empty_like(x), torch.empty_like(climb)
        arrays = (t.contiguous().numpy() for t in (x, point, slope, climb, radius))
        box = problem.box[0].numpy(), problem.box[1].numpy()
        kernels.slide(*arrays, box, norm == 2.0, moved.numpy(), size.numpy())
        return moved, size
    moved = point - x + _direction(slope, norm) * climb[:, None]
    moved = problem.inside(x + _onto(moved, radius, norm))
    return moved, length(moved - x, norm)


def scattered(x: Tensor, size: Tensor, norm: float, generator: torch.Generator) -> Tensor:
    """Points at a distance `size` from x in random directions."""
    return aside(x, torch.randn(x.shape, generator=generator, dtype=torch.float64), size, norm)


def aside(x: Tensor, way: Tensor, size: Tensor, norm: float) -> Tensor:
    """Points at a distance `size` from x in the directions `way`."""
    step = way.to(x)
    return x + step * (size / length(step, norm).clamp_min(1e-30))[:, None]


def _direction(slope: Tensor, norm: float) -> Tensor:
    """A step of length one in the norm, uphill."""
    step = slope.sign() if norm == math.inf else slope
    size = length(step, norm)
    return step / torch.where(size > 0, size, torch.ones_like(size))[:, None]


def _onto(step: Tensor, radius: Tensor, norm: float) -> Tensor:
    """Bring a step to a length: scaled in the 2-norm, cut in the others where it is too long."""
    if norm == math.inf:
        return torch.minimum(torch.maximum(step, -radius[:, None]), radius[:, None])
    size = length(step, norm)
    scaled = step * (radius / torch.where(size > 0, size, torch.ones_like(size)))[:, None]
    if norm == 2.0:
        return scaled
    # nearest point of the ball of the 1-norm: soft threshold found by sorting
    ordered = step.abs().sort(dim=1, descending=True).values
    excess = ordered.cumsum(1) - radius[:, None]
    count = torch.arange(1, step.shape[1] + 1, dtype=step.dtype, device=step.device)
    last = (ordered * count > excess).sum(1).clamp_min(1)
    level = (excess.gather(1, (last - 1)[:, None])[:, 0] / last).clamp_min(0)
    soft = step.sign() * (step.abs() - level[:, None]).clamp_min(0)
    return torch.where((size > radius)[:, None], soft, step)
