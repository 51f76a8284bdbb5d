"""The part of one piece of a preimage in an affine slice: exact where the piece's rows are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import numpy as np
import scipy.linalg
from flint import fmpz_mat

from plica.analyses.preimage.union_piece import UnionPiece
from plica.core.domain import Box, Plane
from plica.core.exact.integers import select, stack, to_integers
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.core.search.decided import ExactPiece
from plica.errors import ArgumentError

DRAWN = 1000  # pieces of a picture
SAME = 1e-9  # corners of two pieces that differ by less, relative to the largest entry, are one
FLAT = 1e-9  # equations of length 1 that say less than this about the slice, above 64 inputs, say nothing


def sliced(piece: UnionPiece, plane: Plane, clock: Progress) -> Polyhedron | None:
    """The closed piece in the coordinates of a plane; None where they do not meet.

    Notes
    -----
    Up to 64 inputs the piece's integer rows are composed with the plane, its floats taken as they are, and emptiness
    and implied equations are decided before anything is rounded. Above, equations that the plane satisfies within 1e-9
    count as satisfied.
    """
    if piece.exact is not None:
        return _exactly(piece.exact, plane, clock)
    body = piece.polyhedron()
    E, e = body.E @ plane.basis, body.e - body.E @ plane.origin
    kept = _independent(E)
    s = np.linalg.lstsq(E[kept], e[kept], rcond=None)[0] if len(kept) else np.zeros(E.shape[1])
    if np.abs(E @ s - e).max(initial=0.0) > FLAT * (1 + float(np.linalg.norm(plane.origin))):
        return None
    part = Polyhedron(body.G @ plane.basis, body.h - body.G @ plane.origin, E[kept], e[kept])
    part = part if plane.window is None else part.intersect(plane.window.polyhedron())
    part.facts.decide(clock)
    return None if part.is_empty() else part


def _exactly(exact: ExactPiece, plane: Plane, clock: Progress) -> Polyhedron | None:
    k = plane.basis.shape[1]
    last = np.append(np.zeros(k), 1.0)
    onto, _ = to_integers(np.vstack([np.column_stack([plane.basis, plane.origin]), last]))
    rows = select(exact.below, range(exact.below.nrows() - 1), range(exact.below.ncols())) * onto
    if plane.window is not None:
        rows = stack(rows, _sides(plane.window.lower, plane.window.upper))
    rows = stack(rows, fmpz_mat(1, k + 1, [0] * k + [-1]))
    equal = exact.equal * onto if exact.equal.nrows() else fmpz_mat(0, k + 1)
    part = ExactPiece(rows, np.zeros(rows.nrows(), dtype=bool), equal, False)
    part.prove(clock)
    return None if part.proof.implied[-1] else Polyhedron(*part.rows())


def _sides(low: np.ndarray, high: np.ndarray) -> fmpz_mat:
    """Finite sides of a window, row by row."""
    unit, rows = np.eye(len(low)), fmpz_mat(0, len(low) + 1)
    up, down = np.isfinite(high), np.isfinite(low)
    for row in np.vstack([np.column_stack([unit[up], -high[up]]), np.column_stack([-unit[down], low[down]])]):
        rows = stack(rows, to_integers(row[None])[0])
    return rows


def _independent(E: np.ndarray) -> np.ndarray:
    """Rows that say something, without repetition."""
    if not len(E):
        return np.zeros(0, dtype=int)
    _, triangle, order = scipy.linalg.qr(E.T, mode="economic", pivoting=True)
    return np.sort(order[: int((np.abs(np.diag(triangle)) > FLAT).sum())])


def outlines(pieces: Iterable[UnionPiece], plane: Plane, progress: Progress) -> list[np.ndarray]:
    """Corners of every piece in a plane with a bounded window, in their order around it, shape (k, 2) each.

    Every piece has the seconds left, or one.
    """
    out = []
    for piece in pieces:
        part = sliced(piece, plane, progress.at_least())
        corners = np.zeros((0, 2)) if part is None else part.vertices()
        if len(corners):
            across = corners - corners.mean(0)
            out.append(corners[np.argsort(np.arctan2(across[:, 1], across[:, 0]), kind="stable")])
    return out


def picture(pieces: list[UnionPiece], plane: Plane | None, words: Callable[[], str], progress: Progress) -> Any:
    """Pieces drawn in a plane's window, or in the plane of two inputs; see `Preimage.plot`."""
    if plane is None and pieces and pieces[0].ambient == 2:
        side = 1.5 * max(float(np.abs(piece.point).max()) for piece in pieces) + 1.0
        plane = Plane(np.zeros(2), np.eye(2), Box(np.full(2, -side), side))
    if plane is None or plane.window is None or plane.dimension != 2:
        raise ArgumentError("plot: give a plica.Plane with a window of two sides; only two inputs need none.")
    drawn = import_module("plica.show.preimages").plot_pieces
    title = f"{words()}; {len(pieces)} pieces"
    return drawn(outlines(pieces, plane, progress), title, (plane.window.lower, plane.window.upper))


def once(parts: list[np.ndarray]) -> np.ndarray:
    """Points in lexicographic order; those that pieces share differ by the rounding of each piece's rows."""
    points = np.unique(np.concatenate(parts), axis=0)
    size = SAME * (1 + np.abs(points).max(initial=0.0))
    kept: list[np.ndarray] = []
    for p in points:
        if not kept or not (np.abs(np.array(kept) - p).max(1) <= size).any():
            kept.append(p)
    return np.array(kept).reshape(-1, points.shape[1])
