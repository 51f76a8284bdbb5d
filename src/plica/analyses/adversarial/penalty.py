"""The paper's penalty method: minimise c|r| + loss in the box, and search c (Szegedy et al. 2013, section 4.1).

Divided by c it is |r| + k loss (or |r|^2 / 2 + k loss), k the price of a wrong class. The least k that reaches the
target is the largest c that does: it is bracketed by powers of ten and then bisected.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from plica.analyses.adversarial.lbfgs import batched, one_by_one
from plica.analyses.adversarial.polish import Best
from plica.analyses.adversarial.search import Board
from plica.analyses.adversarial.settings import Search

DEAREST, CHEAPEST = 1e6, 1e-6  # limits of k
BRACKET = 7  # powers of ten that are tried at most
SMOOTH = 1e-6  # |r| is sqrt(|r|^2 + SMOOTH^2): its gradient at 0 does not exist
AGAIN, PART = 1.01, 0.5  # price and start of one more solution at the end: half way to the best point
NEAR = 1.01  # bisection ends when the prices of success and failure differ by less than this factor


class Prices:
    """Between which prices the target is reached, per row."""

    def __init__(self, like: Tensor) -> None:
        self.low, self.high = torch.zeros_like(like), torch.full_like(like, math.inf)
        self.now = torch.ones_like(like)

    def learn(self, which: Tensor, reached: Tensor) -> None:
        """Narrow the brackets of the rows `which`, and choose the next prices."""
        self.high[which[reached]] = self.now[which[reached]]
        self.low[which[~reached]] = self.now[which[~reached]]
        middle = (self.low * self.high).sqrt()
        self.now = torch.where(torch.isinf(self.high), self.now * 10, torch.where(self.low == 0, self.now / 10, middle))

    def open(self) -> Tensor:
        """Rows whose bracket is still wide."""
        closed = (self.low > 0) & (self.high / self.low < NEAR)
        return ~closed & (self.now <= DEAREST) & (self.now >= CHEAPEST)


def penalised(board: Board, settings: Search) -> None:
    """Run the paper's method on every row of the board.

    Where any wrong class will do, rows that failed at a larger distance than the best of their image are dropped.
    """
    problem, rows = board.problem, board.rows
    x = problem.x[rows.image]
    best, start = Best.none(x), x.clone()
    weight = torch.full_like(best.size, math.nan)
    prices = Prices(best.size)
    if settings.c_rule == "printed":
        prices.now = torch.full_like(prices.now, DEAREST)
    solve = one_by_one if settings.method == "lbfgs_scipy" else batched
    alive = torch.ones(len(rows), dtype=torch.bool, device=x.device)
    for _ in range(1 if settings.c_rule == "printed" else BRACKET + settings.c_steps):
        which = torch.nonzero(alive)[:, 0]
        if not len(which):
            break

        def value(points: Tensor, local: Tensor, which: Tensor = which) -> tuple[Tensor, Tensor]:
            return _objective(board, settings, points, which[local], prices.now, best, weight)

        box = problem.box
        end = solve(value, start[which], box, iterations=settings.iterations, memory=settings.memory)
        reached = problem.margins(end, rows[which]) > 0
        start[which] = end
        missed = which[~reached]
        prices.learn(which, reached)
        board.offer(rows, best, weight)
        alive &= prices.open()
        if rows.aim == "beat":
            far = (end[~reached] - x[missed]).norm(dim=1) > board.best.size[rows.image[missed]]
            alive[missed[far]] = False
    if settings.method == "lbfgs" and settings.c_rule == "largest":
        _again(board, settings, prices, best, weight)


def _again(board: Board, settings: Search, prices: Prices, best: Best, weight: Tensor) -> None:
    """Solve once more from between the image and its best point: there may be another minimum at the same price."""
    rows = board.rows
    which = torch.nonzero(torch.isfinite(best.size) & torch.isfinite(prices.high))[:, 0]
    if not len(which):
        return
    prices.now = AGAIN * prices.high
    start = torch.lerp(board.problem.x[rows.image[which]], best.point[which], PART)

    def value(points: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        return _objective(board, settings, points, which[local], prices.now, best, weight)

    batched(value, start, board.problem.box, iterations=settings.iterations, memory=settings.memory)
    board.offer(rows, best, weight)


def _objective(
    board: Board, settings: Search, points: Tensor, which: Tensor, prices: Tensor, best: Best, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Values and gradients; points that are across are kept in `best` with their c."""
    rows, price = board.rows[which], prices[which]
    likely = torch.full_like(which, settings.loss == "cross_entropy", dtype=torch.bool)
    margin, goal, slope = board.problem.climb(points, rows, likely)
    step = points - board.problem.x[rows.image]
    square = step.square().sum(1)
    size = square.sqrt()
    better = (margin > 0) & (size < best.size[which])
    c = 1 / price if settings.penalty == "norm" else 0.5 / price
    kept = which[better]
    best.point[kept], best.size[kept], weight[kept] = points[better], size[better], c[better]
    if settings.loss == "margin":  # nothing is gained beyond the boundary
        inside = margin < 0
        goal, slope = torch.where(inside, goal, torch.zeros_like(goal)), slope * inside[:, None]
    if settings.penalty == "norm":
        smooth = (square + SMOOTH**2).sqrt()
        return smooth - price * goal, step / smooth[:, None] - price[:, None] * slope
    return 0.5 * square - price * goal, step - price[:, None] * slope
