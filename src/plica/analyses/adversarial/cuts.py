"""Nearest points next to kinks of the boundary: projections onto several linearised margins at once.

A piecewise-linear boundary often has its nearest point where several pieces meet. There one linear part sends a point
to and fro. So the last few are kept (a cutting-plane method, Kelley 1960): the next guess satisfies all of them. What
the best point itself does not satisfy is dropped, and where a guess lies deeper inside than its linear parts say (the
region is not convex there) the old ones are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plica.analyses.adversarial import halfspaces
from plica.analyses.adversarial.corners import shortest
from plica.analyses.adversarial.polish import Best, along, in_blocks
from plica.analyses.adversarial.problem import Problem, Rows
from plica.analyses.adversarial.project import length

KEPT = 8  # half-spaces of a row
MISSED = 1e-3  # largest violation of a projection, as a share of its length, that counts as a solution
DEEP = 1e-3  # depth inside, as a share of the length, from which on the region is not convex here
DUAL = {2.0: 2.0, 1.0: math.inf, math.inf: 1.0}  # |margin| <= dual norm of its slope * length
RAYS = (0.001, 0.01)  # beyond a guess that is not across


@dataclass(frozen=True)
class Settle:
    """How long to settle.

    Attributes
    ----------
    steps : int
    tolerance : float
        A row ends when the projection is shorter than its best point by less than this share.
    close, closer : float
        A row ends after step k when its projection is farther than 1 + close * closer^k times the best of its image.
    norm : {2, inf, 1}
        A linear program per step and row unless it is 2.
    """

    steps: int = 12
    tolerance: float = 1e-5
    close: float = math.inf
    closer: float = 0.5
    norm: float = 2.0


@dataclass
class Cuts:
    """The last linearised margins of every row: normals.v >= values where `use`; of interest only for some `rows`."""

    normals: np.ndarray
    values: np.ndarray
    use: np.ndarray
    weights: np.ndarray
    rows: np.ndarray

    @classmethod
    def none(cls, like: np.ndarray) -> Cuts:
        """No half-spaces yet for the rows of `like`, shape (n, d)."""
        n, d = like.shape
        zeros = np.zeros((n, KEPT))
        return cls(np.zeros((n, KEPT, d), like.dtype), zeros, zeros > 0, zeros.copy(), np.arange(n))

    def keep(self, which: np.ndarray) -> None:
        """Forget the other rows."""
        self.rows = self.rows[which]

    def add(self, slot: int, normals: np.ndarray, values: np.ndarray, alone: np.ndarray) -> None:
        """One more half-space per row, in place of another; where `alone` in place of all others."""
        self.use[self.rows[alone]] = False
        self.normals[self.rows, slot], self.values[self.rows, slot] = normals, values
        self.use[self.rows, slot], self.weights[self.rows, slot] = True, 0.0

    def drop(self, points: np.ndarray, slot: int) -> None:
        """Forget half-spaces, except the newest, that these points violate."""
        halfspaces.drop(self.rows, self.normals, self.values, points, slot, self.use)


def settle(problem: Problem, rows: Rows, best: Best, least: Tensor, how: Settle) -> Best:
    """Improve points that are across until the projection onto the linearised margins gains little.

    Parameters
    ----------
    problem : Problem
    rows : Rows
    best : Best
        A point for every row; rows without one stay without.
    least : Tensor, shape (images,)
        Distance of the best point of every image.
    how : Settle

    Returns
    -------
    Best
        Never farther than before.

    Notes
    -----
    Cost: one gradient, and one projection onto at most `KEPT` half-spaces, per step and row.
    """
    return in_blocks(problem, rows, lambda part, of: _settle(problem, part, best[of], least[part.image], how))


def _settle(problem: Problem, rows: Rows, best: Best, least: Tensor, how: Settle) -> Best:
    best = Best(best.point.clone(), best.size.clone())
    active = torch.nonzero(torch.isfinite(best.size) & (best.size > 0))[:, 0]
    x = problem.x[rows.image]
    probe = best.point[active]
    cuts = Cuts.none(probe.cpu().numpy())
    for k in range(how.steps):
        if not len(active):
            break
        margin, slope = problem.gradients(probe, rows[active])
        origin = x[active]
        size = length(probe - origin, how.norm)
        across = margin > 0
        best.take(active[across], probe[across], size[across])
        deep = across & (margin > DEEP * size * length(slope, DUAL[how.norm]))
        value = (slope * probe).sum(1) - margin
        slot = k % KEPT
        cuts.add(slot, slope.cpu().numpy(), value.double().cpu().numpy(), deep.cpu().numpy())
        cuts.drop(best.point[active].cpu().numpy(), slot)
        step, worst = _projected(problem, origin, cuts, how.norm)
        guess = length(step, how.norm).to(size)
        go = (guess < best.size[active] * (1 - how.tolerance)) & (worst <= MISSED * guess)
        go &= guess <= (1 + how.close * how.closer**k) * least[active]
        beyond = how.tolerance * (0.2 if k else 1.0)
        probe = along(problem, origin, step.to(origin), torch.full_like(size, 1 + beyond))
        active, probe = active[go], probe[go]
        cuts.keep(go.cpu().numpy())
    _outward(problem, rows, best, active, probe, how.norm)
    return best


def _projected(problem: Problem, origin: Tensor, cuts: Cuts, norm: float) -> tuple[Tensor, Tensor]:
    """The shortest steps that satisfy all half-spaces, and by how much these are missed."""
    box = problem.box[0].cpu().numpy(), problem.box[1].cpu().numpy()
    if norm != 2.0:
        some = cuts.normals[cuts.rows], cuts.values[cuts.rows], cuts.use[cuts.rows]
        found = shortest(origin.cpu().numpy(), some, box, norm, problem.progress)
        none = np.isnan(found).any(1)
        return torch.from_numpy(np.nan_to_num(found)).to(origin.device), torch.from_numpy(np.where(none, np.inf, 0.0))
    step, worst = np.empty(origin.shape), np.empty(len(origin))
    every = cuts.normals, cuts.values, cuts.use
    halfspaces.project(cuts.rows, origin.cpu().numpy(), every, box, cuts.weights, step, worst)
    return torch.from_numpy(step).to(origin.device), torch.from_numpy(worst).to(origin.device)


def _outward(problem: Problem, rows: Rows, best: Best, active: Tensor, probe: Tensor, norm: float) -> None:
    """Try guesses that were never seen, and points a little beyond them."""
    x = problem.x[rows.image]
    for share in (0.0, *RAYS):
        if not len(active):
            return
        point = along(problem, x[active], probe - x[active], torch.full_like(best.size[active], 1 + share))
        across = problem.margins(point, rows[active]) > 0
        best.take(active[across], point[across], length(point[across] - x[active[across]], norm))
        active, probe = active[~across], probe[~across]
