"""The part of one piece of a preimage in an affine slice: exact where the piece's rows are."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from flint import fmpz_mat

from plica.analyses.preimage.union_piece import UnionPiece
from plica.core.domain import Plane
from plica.core.exact.integers import select, stack, to_integers
from plica.core.polyhedron import Polyhedron
from plica.core.search.decided import ExactPiece

FLAT = 1e-9  # equations of length 1 that say less than this about the slice, above 64 inputs, say nothing


def sliced(piece: UnionPiece, plane: Plane) -> Polyhedron | None:
    """The closed piece in the coordinates of a plane; None where they do not meet.

    Notes
    -----
    Up to 64 inputs the piece's integer rows are composed with the plane, its floats taken as they are, and emptiness
    and implied equations are decided before anything is rounded. Above, equations that the plane satisfies within 1e-9
    count as satisfied.
    """
    if piece.exact is not None:
        return _exactly(piece.exact, plane)
    body = piece.polyhedron()
    E, e = body.E @ plane.basis, body.e - body.E @ plane.origin
    kept = _independent(E)
    s = np.linalg.lstsq(E[kept], e[kept], rcond=None)[0] if len(kept) else np.zeros(E.shape[1])
    if np.abs(E @ s - e).max(initial=0.0) > FLAT * (1 + float(np.linalg.norm(plane.origin))):
        return None
    part = Polyhedron(body.G @ plane.basis, body.h - body.G @ plane.origin, E[kept], e[kept])
    part = part if plane.window is None else part.intersect(plane.window.polyhedron())
    return None if part.is_empty() else part


def _exactly(exact: ExactPiece, plane: Plane) -> Polyhedron | None:
    k = plane.basis.shape[1]
    last = np.append(np.zeros(k), 1.0)
    onto, _ = to_integers(np.vstack([np.column_stack([plane.basis, plane.origin]), last]))
    rows = select(exact.below, range(exact.below.nrows() - 1), range(exact.below.ncols())) * onto
    if plane.window is not None:
        rows = stack(rows, _sides(plane.window.lower, plane.window.upper))
    rows = stack(rows, fmpz_mat(1, k + 1, [0] * k + [-1]))
    equal = exact.equal * onto if exact.equal.nrows() else fmpz_mat(0, k + 1)
    part = ExactPiece(rows, np.zeros(rows.nrows(), dtype=bool), equal, False)
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
