"""The plan of the default search, and what it has found so far."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from plica.analyses.adversarial.cuts import Settle, settle
from plica.analyses.adversarial.dive import dive
from plica.analyses.adversarial.polish import Best, Refine, Walk, refine, walk
from plica.analyses.adversarial.problem import Problem, Rows
from plica.analyses.adversarial.project import length
from plica.analyses.adversarial.settings import Search

CLOSE = 1.3  # rows within this many times the best distance of their image are worth more work
AGAIN, SHRUNK = 4, 0.6  # dives are repeated, at most so often, for images whose distance fell to this share
CLOSER = 1.1  # the same once every kind of start was tried
REACH = 3.0  # and rows within this many times it are worth a slow walk
SLOW, WHOLE = Walk(25, limit=0.1), Walk(8, drop=1.5, damp=0.0)
STARTS = ("image of the class", "noise", "noise at the best", "any image")  # of the rounds, in turn
FAR, NEARBY = 8.0, 3.0  # lengths of the noise, in distances
MIXED, ANY = 0.3, 0.4  # shares of an image of the class, and of any
MOST = 4  # rows per image that are refined after the dives
ALMOST = 1.1  # of rows with one image and one class, those this near to the best of them are refined
QUICK, LAST = Refine(close=CLOSE - 1), Refine(tolerance=1e-6, cuts=7)
SOON, END = Settle(tolerance=1e-4, close=CLOSE - 1), Settle(20, tolerance=1e-6)
SCATTER = 32  # random points per image and size where nothing else was found


class Board:
    """The nearest point of every image so far, and the distance of every class.

    Parameters
    ----------
    problem : Problem
    rows : Rows
        One per image and class that is aimed at.
    norm : float
    """

    def __init__(self, problem: Problem, rows: Rows, norm: float) -> None:
        self.problem, self.rows, self.norm = problem, rows, norm
        self.best = Best.none(problem.x)
        self.target = torch.full_like(problem.labels, -1)
        self.c = torch.full_like(self.best.size, math.nan)
        self.classes = torch.full((len(problem.x), problem.classes), math.inf).to(problem.x)

    def offer(self, rows: Rows, best: Best, c: Tensor | None = None) -> None:
        """Keep what is nearer; c is the weight at which every point was found."""
        finite = torch.nonzero(torch.isfinite(best.size))[:, 0]
        if not len(finite):
            return
        images, targets, sizes = rows.image[finite], rows.target[finite], best.size[finite]
        flat = self.classes.view(-1)
        flat.scatter_reduce_(0, images * self.classes.shape[1] + targets, sizes, "amin")
        order = np.lexsort((sizes.cpu().numpy(), images.cpu().numpy()))
        _, first = np.unique(images.cpu().numpy()[order], return_index=True)
        chosen = finite[torch.from_numpy(order[first]).to(finite.device)]
        better = chosen[best.size[chosen] < self.best.size[rows.image[chosen]]]
        place = rows.image[better]
        self.best.point[place], self.best.size[place] = best.point[better], best.size[better]
        self.target[place] = rows.target[better]
        if c is not None:
            self.c[place] = c[better]

    def improve(self, rows: Rows, best: Best, most: int | None = None) -> None:
        """Keep rows, refine those that are close to the best of their image, and keep the outcome."""
        self.offer(rows, best)
        which = self._worth(rows, best, most)
        if len(which):
            self.offer(rows[which], self.refined(rows[which], best[which], QUICK, SOON))

    def refined(self, rows: Rows, best: Best, how: Refine, kinks: Settle) -> Best:
        """Points that were moved to where the distance is least nearby; in the norm 2 also along kinks."""
        if self.norm == 2.0:
            return settle(self.problem, rows, best, self.best.size, kinks)
        return refine(self.problem, rows, best, self.best.size, how, self.norm)

    def _worth(self, rows: Rows, best: Best, most: int | None) -> Tensor:
        """Rows close to the best of their image and of their class; at most so many per image."""
        key = rows.image * self.classes.shape[1] + rows.target
        of_class = torch.full_like(self.classes.view(-1), math.inf).scatter_reduce(0, key, best.size, "amin")[key]
        near = (best.size <= CLOSE * self.best.size[rows.image]) & (best.size <= ALMOST * of_class)
        which = torch.nonzero(near & torch.isfinite(best.size))[:, 0].cpu().numpy()
        images = rows.image.cpu().numpy()[which]
        order = np.lexsort((best.size.cpu().numpy()[which], images))
        rank = np.arange(len(order)) - np.searchsorted(images[order], images[order], side="left")
        chosen = which[order[rank < (most or len(order))]]
        return torch.from_numpy(np.sort(chosen)).to(rows.image.device)

    def within(self, share: float) -> Rows:
        """Rows whose class is not known to be farther than this many times the best of its image."""
        sizes = self.classes[self.rows.image, self.rows.target]
        return self.rows[torch.nonzero(~(sizes > share * self.best.size[self.rows.image]))[:, 0]]

    def scale(self, images: Tensor) -> Tensor:
        """A length at which something should be found: the best distance, else one from the size of the box."""
        size = self.best.size[images]
        width = self.problem.box[1] - self.problem.box[0]
        width = torch.where(torch.isfinite(width), width, torch.ones_like(width))
        return torch.where(torch.isfinite(size), size, 0.1 * length(width[None], self.norm))


def first_look(board: Board, steps: int = 4) -> None:
    """A few whole linearised steps towards every class."""
    least = board.best.size.clone()
    start = board.problem.x[board.rows.image]
    found = walk(board.problem, board.rows, start, least, Walk(steps, drop=1.5, damp=0.0), board.norm)
    board.offer(board.rows, found)


def fast(board: Board) -> None:
    """A few linearised steps from the image towards every class; the best ones refined."""
    first_look(board)
    near = board.within(CLOSE)
    start = board.problem.x[near.image]
    board.improve(near, walk(board.problem, near, start, board.best.size, Walk(6, drop=1.5, damp=0.0), board.norm), 1)


def auto(board: Board, settings: Search) -> None:
    """Dives, a slow walk towards every class in reach, rounds of short walks from elsewhere; refined as they come."""
    problem, norm = board.problem, board.norm
    first_look(board)
    off = torch.full_like(problem.labels, settings.starts > 0, dtype=torch.bool)
    for _ in range(AGAIN):
        if not bool(off.any()):
            break
        before = board.best.size.clone()
        _dives(board, settings, off)
        off &= board.best.size < SHRUNK * before  # the length that the dives began with was far too large
    rows = board.within(REACH if board.rows.aim == "beat" else math.inf)
    board.improve(rows, walk(problem, rows, problem.x[rows.image], board.best.size, SLOW, norm))
    generator = torch.Generator().manual_seed(settings.seed + 1000)
    answers = problem.logits(problem.x).argmax(1)
    for k in range(settings.rounds):
        rows = board.within(CLOSE if k < len(STARTS) else CLOSER)
        kind = STARTS[k % len(STARTS)]
        start = _elsewhere(board, rows, kind, generator) if "noise" in kind else _mixed(
            board, rows, kind, answers, generator)  # fmt: skip
        board.improve(rows, walk(problem, rows, start, board.best.size, WHOLE, norm))


def _elsewhere(board: Board, rows: Rows, kind: str, generator: torch.Generator) -> Tensor:
    """Points around the images, or around the best points, in random directions; a multiple of the distance away."""
    problem = board.problem
    centre = problem.x[rows.image]
    if kind == "noise at the best":
        own = board.target[rows.image] == rows.target
        centre = torch.where(own[:, None], board.best.point[rows.image], centre)
    step = torch.randn((len(rows), problem.x.shape[1]), generator=generator, dtype=torch.float64).to(problem.x)
    far = FAR if kind == "noise" else NEARBY
    step *= (far * board.scale(rows.image) / length(step, board.norm).clamp_min(1e-30))[:, None]
    return torch.minimum(torch.maximum(centre + step, problem.box[0]), problem.box[1])


def _mixed(board: Board, rows: Rows, kind: str, answers: Tensor, generator: torch.Generator) -> Tensor:
    """Points on the way to another image: one of the class aimed at where there is one, or any."""
    problem = board.problem
    share = MIXED if kind == "image of the class" else ANY
    draw = torch.rand((len(rows), len(problem.x)), generator=generator).to(problem.x)
    if kind == "image of the class":
        draw = draw + (answers[None] == rows.target[:, None])
    return torch.lerp(problem.x[rows.image], problem.x[draw.argmax(1)], share)


def _dives(board: Board, settings: Search, which: Tensor) -> None:
    """Dives from the images `which`; each row is then one of the class that it reached."""
    problem = board.problem
    rows = _leaving(problem, board.rows) if board.rows.aim == "beat" else board.rows
    rows = rows[torch.nonzero(which[rows.image])[:, 0]]
    scale = board.scale(rows.image)
    done, best = dive(
        problem, rows, scale, board.norm, starts=settings.starts, steps=settings.steps, seed=settings.seed
    )
    board.improve(_reached(problem, done, best.point), best, MOST)


def scatter(board: Board, seed: int) -> None:
    """Where nothing was found: random points at growing distances, and other images."""
    problem = board.problem
    generator = torch.Generator().manual_seed(seed + 2000)
    width = problem.box[1] - problem.box[0]
    width = torch.where(torch.isfinite(width), width, torch.ones_like(width))
    for size in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, math.inf):
        left = board.rows[torch.nonzero(torch.isinf(board.best.size[board.rows.image]))[:, 0]]
        if not len(left):
            return
        rows = _leaving(problem, left) if left.aim == "beat" else left
        rows = rows[torch.arange(len(rows)).repeat_interleave(SCATTER)]
        if size == math.inf:
            point = problem.x[torch.randint(len(problem.x), (len(rows),), generator=generator)]
        else:
            step = torch.randn((len(rows), len(width)), generator=generator, dtype=torch.float64).to(problem.x)
            point = problem.x[rows.image] + size * width * step
            point = torch.minimum(torch.maximum(point, problem.box[0]), problem.box[1])
        across = torch.nonzero(problem.margins(point, rows) > 0)[:, 0]
        rows, point = rows[across], point[across]
        board.improve(_reached(problem, rows, point), Best(point, length(point - problem.x[rows.image], board.norm)), 2)


def _leaving(problem: Problem, rows: Rows) -> Rows:
    """One row per image: leave the own class wherever that is nearest."""
    images = rows.image.unique()
    return Rows(images, problem.labels[images], problem.labels[images], "leave")


def _reached(problem: Problem, rows: Rows, point: Tensor) -> Rows:
    """Rows that left their class as rows of the class they reached."""
    if rows.aim != "leave" or not len(rows):
        return rows
    logits = problem.logits(point).scatter(1, rows.own[:, None], -math.inf)
    return Rows(rows.image, rows.own, logits.argmax(1), "beat")


def finish(board: Board) -> None:
    """Refine the best point of every image once more, to a finer tolerance, and again from there."""
    for _ in range(2):
        images = torch.nonzero(torch.isfinite(board.best.size) & (board.best.size > 0))[:, 0]
        if len(images):
            rows = Rows(images, board.problem.labels[images], board.target[images], board.rows.aim)
            board.offer(rows, board.refined(rows, board.best[images], LAST, END))
            if board.norm != 2.0:
                how = replace(END, norm=board.norm)
                board.offer(rows, settle(board.problem, rows, board.best[images], board.best.size, how))
