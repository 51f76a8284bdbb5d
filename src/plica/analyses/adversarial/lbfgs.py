"""Projected L-BFGS in a box for many problems at once, and SciPy's L-BFGS-B for one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from scipy.optimize import Bounds, minimize
from torch import Tensor

# value(points, which) -> values and gradients at one point for each of the problems `which`
Value: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
ARMIJO, SHRINK, SEARCHES = 0.1, 0.3, 10
CURVED = 1e-10  # least s.y of a pair that is remembered


class Memory:
    """The last pairs (step, change of gradient) of every problem."""

    def __init__(self, like: Tensor, size: int) -> None:
        self.steps = like.new_zeros((size, *like.shape))
        self.changes = like.new_zeros((size, *like.shape))
        self.size, self.count = size, 0

    def add(self, which: Tensor, step: Tensor, change: Tensor) -> None:
        """Remember one pair of the problems `which`; the others get an empty one."""
        slot = self.count % self.size
        self.steps[slot], self.changes[slot] = 0.0, 0.0
        self.steps[slot, which], self.changes[slot, which] = step, change
        self.count += 1

    def direction(self, which: Tensor, slope: Tensor, free: Tensor) -> Tensor:
        """The two-loop recursion on the variables that may move (Byrd et al. 1995 keep a subspace; so does this)."""
        used = [(self.count - 1 - j) % self.size for j in range(min(self.size, self.count))]
        q, kept = slope * free, []
        scale = torch.ones_like(slope[:, 0])
        first = torch.ones_like(scale, dtype=torch.bool)
        for slot in used:
            s, y = self.steps[slot, which] * free, self.changes[slot, which] * free
            sy = (s * y).sum(1)
            good = sy > CURVED
            rho = torch.where(good, 1 / torch.where(good, sy, torch.ones_like(sy)), torch.zeros_like(sy))
            a = rho * (s * q).sum(1)
            q = q - a[:, None] * y
            kept.append((a, rho, s, y))
            scale = torch.where(first & good, sy / (y * y).sum(1).clamp_min(1e-30), scale)
            first &= ~good
        q = q * scale[:, None]
        for a, rho, s, y in reversed(kept):
            q = q + (a - rho * (y * q).sum(1))[:, None] * s
        return -q * free


def batched(
    value: Value, start: Tensor, box: tuple[Tensor, Tensor], *, iterations: int, memory: int, tolerance: float = 1e-6
) -> Tensor:
    """Minimise every row's function in the box from its start.

    Parameters
    ----------
    value : callable
        ``value(points, which)`` gives values (m,) and gradients (m, d) of the problems `which`, indices (m,).
    start : Tensor, shape (n, d)
        Inside the box.
    box : pair of Tensor, shape (d,)
    iterations, memory : int
    tolerance : float
        A row ends when an iteration lowers its value by less than this share.

    Notes
    -----
    Each row has its own memory and its own step, found by halving along the projected arc.
    """
    lower, upper = box
    x, rows = start.clone(), torch.arange(len(start), device=start.device)
    f, g = value(x, rows)
    past = Memory(x, memory)
    for _ in range(iterations):
        inner = x[rows] - torch.minimum(torch.maximum(x[rows] - g[rows], lower), upper)
        rows = rows[inner.abs().amax(1) > 1e-9]
        if not len(rows):
            break
        here, slope, before = x[rows], g[rows], f[rows]
        free = ~(((here <= lower) & (slope > 0)) | ((here >= upper) & (slope < 0)))
        way = past.direction(rows, slope, free.to(slope.dtype))
        rising = (way * slope).sum(1) > -1e-12
        way[rising] = -(slope * free)[rising]
        step = torch.ones_like(before)
        if past.count == 0:
            step = (1 / slope.norm(dim=1).clamp_min(1e-9)).clamp_max(1.0)
        there, f_there, g_there, moved = _line(value, rows, (here, before, slope), way, step, box)
        past.add(rows, there - here, g_there - slope)
        x[rows], f[rows], g[rows] = there, f_there, g_there
        rows = rows[moved & (before - f_there > tolerance * before.abs().clamp_min(1e-6))]
    return x


def _line(
    value: Value,
    rows: Tensor,
    at: tuple[Tensor, Tensor, Tensor],
    way: Tensor,
    step: Tensor,
    box: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shorten the steps along the projected arc until the value falls enough."""
    here, before, slope = at
    there, f, g = here.clone(), before.clone(), slope.clone()
    todo = torch.arange(len(rows), device=here.device)
    moved = torch.zeros(len(rows), dtype=torch.bool, device=here.device)
    for _ in range(SEARCHES):
        guess = torch.minimum(torch.maximum(here[todo] + step[todo, None] * way[todo], box[0]), box[1])
        f_guess, g_guess = value(guess, rows[todo])
        ok = f_guess <= before[todo] + ARMIJO * (slope[todo] * (guess - here[todo])).sum(1)
        done = todo[ok]
        there[done], f[done], g[done], moved[done] = guess[ok], f_guess[ok], g_guess[ok], True
        todo = todo[~ok]
        step[todo] *= SHRINK
        if not len(todo):
            break
    return there, f, g, moved


def one_by_one(
    value: Value, start: Tensor, box: tuple[Tensor, Tensor], *, iterations: int, memory: int, tolerance: float = 1e-5
) -> Tensor:
    """The same with SciPy's L-BFGS-B, in float64, one problem after the other."""
    limits = Bounds(*(side.double().cpu().numpy() for side in box))
    ends = []
    for i in range(len(start)):
        which = torch.tensor([i], device=start.device)

        def plain(v: np.ndarray, which: Tensor = which) -> tuple[float, np.ndarray]:
            f, g = value(torch.from_numpy(v)[None].to(start), which)
            return float(f), g[0].double().cpu().numpy()

        options = {"maxiter": iterations, "maxcor": memory, "ftol": tolerance * 1e-3}
        found = minimize(plain, start[i].double().cpu().numpy(), jac=True, method="L-BFGS-B", bounds=limits,
                         options=options)  # fmt: skip
        ends.append(torch.from_numpy(found.x).to(start))
    return torch.minimum(torch.maximum(torch.stack(ends), box[0]), box[1])
