"""The plan of the default search, and what it has found so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from plica.analyses.adversarial.cuts import Settle, settle
from plica.analyses.adversarial.dive import Dive, aside, dive, dive_from, scattered
from plica.analyses.adversarial.polish import Best, Refine, Walk, refine, walk
from plica.analyses.adversarial.problem import Problem, Rows
from plica.analyses.adversarial.project import length
from plica.analyses.adversarial.settings import Search

CLOSE = 1.3  # rows within this many times the best distance of their image are worth more work
AGAIN, SHRUNK = 4, 0.6  # dives are repeated, at most so often, for images whose distance fell to this share
CLOSER = 1.1  # the same once every kind of start was tried
REACH = 3.0  # and rows within this many times it are worth a slow walk
SLOW, WHOLE = Walk(25, limit=0.1), Walk(6, drop=1.3, damp=0.0, reach=1.5)
STARTS = ("image of the class", "noise", "noise at the best", "any image")  # of the rounds, in turn
HOP, HOPPED = Dive(0.1, 1.0, 0.0, likely=False, steps=8), 1.2  # from this many distances off the best point
TIRED, GAINED = 6, 0.999  # hops in a row without a gain after which an image has no more; share that counts as one
FAR, NEARBY = 8.0, 3.0  # lengths of the noise, in distances
MIXED, ANY = 0.3, 0.4  # shares of an image of the class, and of any
MOST = 4  # rows per image that are refined after the dives
ALMOST = 1.1  # of rows with one image and one class, those this near to the best of them are refined
QUICK, LAST = Refine(cuts=2, close=0.15, closer=0.25), Refine(tolerance=1e-6, cuts=7)
SOON, END = Settle(tolerance=3e-4, close=0.15, closer=0.25), Settle(20, tolerance=1e-6)
SCATTER = 32  # random points per image and size where nothing else was found
FEW, ROAMED, NEAREST = 16, 4096, 96  # inputs at most, points per image, and how many of them are gone on from
BLOCK = 16  # rows whose points are held at once


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
        which = torch.nonzero(near & torch.isfinite(best.size))[:, 0]
        return which[_nearest(rows.image[which], best.size[which], most or len(which))].sort().values

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
    """Dives, a slow walk towards every class in reach, rounds of hops and short walks; refined as they come."""
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
    few = problem.x.shape[1] <= FEW
    if few:
        roam(board, _anywhere, settings.seed)
        roam(board, _nearer, settings.seed + 1)
    _rounds(board, settings)
    if few:
        roam(board, _nearer, settings.seed + 2)
        roam(board, _nearer, settings.seed + 3)


def _rounds(board: Board, settings: Search) -> None:
    """Short walks from elsewhere; in every second round hops instead for the images where these still pay."""
    problem = board.problem
    generator = torch.Generator().manual_seed(settings.seed + 1000)
    answers = problem.logits(problem.x).argmax(1)
    missed = torch.zeros_like(problem.labels)
    for k in range(settings.rounds):
        kind, before = STARTS[k // 2 % len(STARTS)], board.best.size.clone()
        hops = (missed < TIRED) & (board.target >= 0) & (k % 2 == 1)
        _hop(board, torch.nonzero(hops)[:, 0], generator)
        missed += hops
        missed[board.best.size < GAINED * before] = 0
        rows = board.within(CLOSE if k < 2 * len(STARTS) else CLOSER)
        rows = rows[torch.nonzero(~hops[rows.image])[:, 0]]
        start = _elsewhere(board, rows, kind, generator) if "noise" in kind else _mixed(
            board, rows, kind, answers, generator)  # fmt: skip
        board.improve(rows, walk(problem, rows, start, board.best.size, WHOLE, board.norm))


def _hop(board: Board, images: Tensor, generator: torch.Generator) -> None:
    """Short dives from points around the best ones, towards the same class: on to another piece of the boundary."""
    problem = board.problem
    rows = Rows(images, problem.labels[images], board.target[images], board.rows.aim)
    if len(rows):
        scale = board.best.size[images]
        start = _around(board, board.best.point[images], HOPPED * scale, generator)
        board.improve(rows, dive_from(problem, rows, start, scale, board.norm, HOP))


def _around(board: Board, centre: Tensor, far: Tensor, generator: torch.Generator) -> Tensor:
    """Points so far off in random directions, inside the box."""
    return board.problem.inside(scattered(centre, far, board.norm, generator))


def _elsewhere(board: Board, rows: Rows, kind: str, generator: torch.Generator) -> Tensor:
    """Points around the images, or around the best points, in random directions; a multiple of the distance away."""
    problem = board.problem
    centre = problem.x[rows.image]
    if kind == "noise at the best":
        own = board.target[rows.image] == rows.target
        centre = torch.where(own[:, None], board.best.point[rows.image], centre)
    return _around(board, centre, (FAR if kind == "noise" else NEARBY) * board.scale(rows.image), generator)


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
            point = problem.inside(problem.x[rows.image] + size * width * step)
        across = torch.nonzero(problem.margins(point, rows) > 0)[:, 0]
        rows, point = rows[across], point[across]
        board.improve(_reached(problem, rows, point), Best(point, length(point - problem.x[rows.image], board.norm)), 2)


def roam(board: Board, where: Callable[[Board, Rows, Tensor], Tensor], seed: int) -> None:
    """With few inputs, where points in volumes find thin pieces: on from the nearest of another class."""
    problem = board.problem
    engine = torch.quasirandom.SobolEngine(problem.x.shape[1] + 1, scramble=True, seed=seed)
    draw = engine.draw(ROAMED, dtype=torch.float64)
    rows = _leaving(problem, board.rows) if board.rows.aim == "beat" else board.rows
    for first in range(0, len(rows), BLOCK):
        some = rows[first : first + BLOCK]
        many = some[torch.arange(len(some)).repeat_interleave(ROAMED)]
        point = where(board, many, draw.repeat(len(some), 1).to(problem.x))
        across = torch.nonzero(problem.margins(point, many) > 0)[:, 0]
        many, point = many[across], point[across]
        key, size = many.image * problem.classes + many.target, length(point - problem.x[many.image], board.norm)
        near = _nearest(key, size, NEAREST)
        many, point, size = many[near], point[near], size[near]
        done = _reached(problem, many, point)
        board.improve(done, Best(point, size), MOST)
        board.improve(done, walk(problem, done, point, board.best.size, WHOLE, board.norm), MOST)


def _anywhere(board: Board, rows: Rows, draw: Tensor) -> Tensor:
    """Points of the box, or of ten scales where it has no end; half of them drawn towards the images."""
    x, far = board.problem.x[rows.image], 10 * board.scale(rows.image)[:, None]
    ends = zip(board.problem.box, (-far, far), strict=True)
    low, high = (torch.where(torch.isfinite(end), end, x + step) for end, step in ends)
    return torch.lerp(x, low + draw[:, 1:] * (high - low), (2 * draw[:, :1]).clamp_max(1))


def _nearer(board: Board, rows: Rows, draw: Tensor) -> Tensor:
    """Points of the box nearer than the best ones: those of another class are better at once."""
    eps = torch.finfo(draw.dtype).eps
    way = torch.special.ndtri(draw[:, 1:].clamp(eps, 1 - eps))
    far = board.scale(rows.image) * draw[:, 0] ** (1 / way.shape[1])
    return board.problem.inside(aside(board.problem.x[rows.image], way, far, board.norm))


def _nearest(key: Tensor, size: Tensor, most: int) -> Tensor:
    """At most so many rows of every key, those with the least sizes."""
    groups = key.cpu().numpy()
    order = np.lexsort((size.cpu().numpy(), groups))
    rank = np.arange(len(order)) - np.searchsorted(groups[order], groups[order], side="left")
    return torch.from_numpy(order[rank < most]).to(size.device)


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
