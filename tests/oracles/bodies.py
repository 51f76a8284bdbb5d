"""Corners, directions, sizes and shadows of closed polyhedra in few variables, by solving every square system."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import scipy.optimize
import scipy.spatial

from oracles import polyhedra

NEAR = 1e-9


def floats(rows):
    """Forms (constant first, to be >= 0 and = 0) as arrays G u <= h, E u = e with rows of length 1."""

    def arrays(forms, n):
        M = np.array([[float(v) for v in form] for form in forms]).reshape(-1, n + 1)
        size = np.linalg.norm(M[:, 1:], axis=1)
        return M[size > 0] / size[size > 0, None]

    n = len((rows.strict + rows.weak + rows.equal)[0]) - 1
    below, equal = arrays(rows.strict + rows.weak, n), arrays(rows.equal, n)
    return -below[:, 1:], below[:, 0], equal[:, 1:], -equal[:, 0]


def corners(G, h, E, e):
    """All vertices, shape (k, n): every square system of independent equations and enough inequalities."""
    n = G.shape[1]
    (E, e), (every, right) = independent(E, e), (E, e)
    picks = np.array(list(combinations(range(len(G)), n - len(E))), dtype=int)
    picks = picks.reshape(len(picks), n - len(E))
    A = np.concatenate([np.broadcast_to(E, (len(picks), *E.shape)), G[picks]], axis=1)
    b = np.concatenate([np.broadcast_to(e, (len(picks), len(e))), h[picks]], axis=1)
    regular = np.abs(np.linalg.det(A)) > 1e-10
    U = np.linalg.solve(A[regular], b[regular][:, :, None])[:, :, 0]
    room = NEAR * (1 + np.abs(U).max(1, initial=0))
    below = (h[:, None] + room >= G @ U.T).all(0)
    return once(U[below & (np.abs(every @ U.T - right[:, None]) <= room).all(0)])


def independent(E, e):
    """Rows that the earlier ones do not span."""
    kept = []
    for i in range(len(E)):
        if np.linalg.matrix_rank(E[[*kept, i]], tol=1e-10) > len(kept):
            kept.append(i)
    return E[kept], e[kept]


def directions(G, E):
    """Extreme directions of {v : G v <= 0, E v = 0}, a pointed cone, of length 1."""
    n = G.shape[1]
    E, _ = independent(E, np.zeros(len(E)))
    found = []
    for pick in combinations(range(len(G)), max(n - len(E) - 1, 0)):
        _, s, V = np.linalg.svd(np.vstack([E, G[list(pick)], np.zeros((1, n))]))
        if (s > 1e-10).sum() == n - 1:
            found += [v for v in (V[-1], -V[-1]) if (G @ v <= NEAR).all() and (np.abs(E @ v) <= NEAR).all()]
    return once(np.array(found).reshape(-1, n))


def once(points):
    kept = []
    for p in points:
        if all(np.abs(p - q).max(initial=0) > 1e-7 * (1 + np.abs(p).max(initial=0)) for q in kept):
            kept.append(p)
    return np.array(kept).reshape(-1, points.shape[1])


def size(points, dimension):
    """Volume of the hull of points in its own dimension."""
    if dimension == 0:
        return 1.0
    _, _, V = np.linalg.svd(points - points.mean(0))
    flat = (points - points.mean(0)) @ V[:dimension].T
    return float(np.ptp(flat)) if dimension == 1 else scipy.spatial.ConvexHull(flat).volume


def inside(points, hull, tolerance=1e-7):
    """Which points of the plane or line lie in the hull of others."""
    if hull.shape[1] == 1:
        return (points[:, 0] >= hull.min() - tolerance) & (points[:, 0] <= hull.max() + tolerance)
    middle, out = hull.mean(0), []
    for p in points:
        turns = np.linspace(0, 2 * np.pi, 721)  # no direction sees the point beyond the hull
        W = np.stack([np.cos(turns), np.sin(turns)])
        out.append(bool(((p - middle) @ W <= ((hull - middle) @ W).max(0) + tolerance).all()))
    return np.array(out)


def exact_top(rows, c):
    """Largest value of c.u on a closed bounded polyhedron, as a fraction: the best corner, solved again exactly."""
    G, h, E, e = floats(rows)
    points = corners(G, h, E, e)
    best = points[np.argmax(points @ np.array(c, dtype=float))]
    forms = rows.strict + rows.weak + rows.equal
    size = [max(map(abs, form)) or 1 for form in forms]
    tight = [form for form, s in zip(forms, size, strict=True) if abs(value(form, best)) <= 1e-7 * s]
    point = polyhedra.point_of([form[1:] for form in tight], [-form[0] for form in tight], len(c))
    return sum((Fraction(a) * b for a, b in zip(c, point, strict=True)), Fraction(0))


def distance(rows, goal):
    """From a point to a closed polyhedron: non-negative least squares on the dual, with large weights on the rows.

    The nearest point minimises |u - g|; with M the rows G u <= h and +-(E u = e), the least-distance program is solved
    by Lawson and Hanson's reduction: w = argmin |[M'; (M g - m)'] w - (0, .., 0, -1)| over w >= 0 gives the step.
    """
    G, h, E, e = floats(rows)
    M, m = np.vstack([G, E, -E]), np.concatenate([h, e, -e])
    room = m - M @ goal  # M s <= room for the step s
    if (room >= -NEAR).all():
        return 0.0
    system = np.vstack([-M.T, -room])
    w, _ = scipy.optimize.nnls(system, np.append(np.zeros(len(goal)), 1.0), maxiter=10_000)
    r = system @ w - np.append(np.zeros(len(goal)), 1.0)
    return float(np.linalg.norm(r[:-1] / r[-1]))


def value(form, u):
    return float(form[0]) + sum(float(a) * b for a, b in zip(form[1:], u, strict=True))
