"""Activation regions and linear regions of tiny networks on an interval or a convex polygon, by exact clipping.

Networks are plain data as in `oracles.networks`. A cell is a list of corners in fractions; layer by layer every cell is
cut by the units' knots, or into the parts where each candidate of a maximum wins. Slow and simple; no plica here.
"""

from fractions import Fraction
from itertools import combinations

from oracles import networks


def interval(low, high):
    return [[Fraction(low)], [Fraction(high)]]


def box(low, high):
    """Counter-clockwise corners of a box in the plane."""
    (a, b), (c, d) = map(Fraction, low), map(Fraction, high)
    return [[a, b], [c, b], [c, d], [a, d]]


def size(points, n):
    """Length of an interval, twice the area of a polygon."""
    if n == 1:
        return max(p[0] for p in points) - min(p[0] for p in points) if points else Fraction(0)
    turned = zip(points, points[1:] + points[:1], strict=True)
    return abs(sum(p[0] * q[1] - q[0] * p[1] for p, q in turned)) if points else Fraction(0)


def clip(points, f):
    """The part with f >= 0 of a convex cell; corners carry further entries, which are interpolated with them."""
    if len(points) == 1:
        return points if f(points[0]) >= 0 else []
    out = []
    pairs = zip(points, points[1:] + points[:1], strict=True) if len(points) > 2 else [points, points[::-1]]
    for p, q in pairs:
        a, b = f(p), f(q)
        if a >= 0:
            out.append(p)
        if (a > 0 > b) or (a < 0 < b):
            t = a / (a - b)
            out.append([u + t * (v - u) for u, v in zip(p, q, strict=True)])
    unique = []
    for p in out:
        if p not in unique:
            unique.append(p)
    return unique


def cut_scalar(cell, place, knots, n):
    """(branch, part) for a function of one number."""
    parts = []
    for j in range(len(knots) + 1):
        part = cell
        if j > 0:
            part = clip(part, lambda p, k=knots[j - 1]: p[place] - k)
        if part and j < len(knots):
            part = clip(part, lambda p, k=knots[j]: k - p[place])
        constant = j > 0 and all(p[place] == knots[j - 1] for p in part)  # equal branches: the lower one
        if part and size(part, n) > 0 and not constant:
            parts.append((j, part))
    return parts


def cut_max(cell, places, n):
    """(winner, part) for a maximum; of equal candidates the first."""
    parts = []
    for j, own in enumerate(places):
        part = cell
        for other in places:
            if part and own is not None and other is not None:
                part = clip(part, lambda p, a=own, b=other: p[a] - p[b])
        if own is None or not part or size(part, n) == 0:
            continue
        earlier = (o for o in places[:j] if o is not None)
        if not any(all(p[o] == p[own] for p in part) for o in earlier):
            parts.append((j, part))
    return parts


def cells(net, corners):
    """All (corners, branches) of activation regions inside the convex hull of the corners."""
    n, found = len(corners[0]), [([list(p) for p in corners], {})]
    for i, (name, kind, inputs, o) in enumerate(net["nodes"]):
        if kind not in networks.SCALAR and kind not in networks.MAXIMA:
            continue
        before, new = {"input": net["input"], "nodes": net["nodes"][:i]}, []
        for points, taken in found:
            runs = [networks.run(before, p, taken) for p in points]
            with_values = [p + r[0][inputs[0]] for p, r in zip(points, runs, strict=True)]
            partial = [([], with_values)]
            if kind in networks.SCALAR:
                knots = networks.pieces_of(kind, o)[0]
                cuts = [lambda c, u=u: cut_scalar(c, n + u, knots, n) for u in range(len(with_values[0]) - n)]
            else:
                groups = networks.groups_of(kind, runs[0][2][inputs[0]], o)[0]
                cuts = [lambda c, g=g: cut_max(c, [None if v is None else n + v for v in g], n) for g in groups]
            for cut in cuts:
                partial = [([*b, j], part) for b, c in partial for j, part in cut(c)]
            new += [([p[:n] for p in part], {**taken, name: b}) for b, part in partial]
        found = new
    return found


def activation_regions(net, corners):
    return len(cells(net, corners))


def affine_map(net, taken, n):
    """Constant and columns of the affine map of a cell, as a tuple."""
    zero = [Fraction(0)] * n
    points = [zero, *([Fraction(int(i == j)) for i in range(n)] for j in range(n))]
    at = [networks.affine_output(net, p, taken) for p in points]
    return tuple(at[0]), *(tuple(b - a for a, b in zip(at[0], v, strict=True)) for v in at[1:])


def touch(P, Q, n):
    """Whether two cells share a point (n = 1) or a segment (n = 2)."""
    if n == 1:
        return max(p[0] for p in P) == min(q[0] for q in Q) or max(q[0] for q in Q) == min(p[0] for p in P)
    for a, b in zip(P, P[1:] + P[:1], strict=True):
        d = [b[0] - a[0], b[1] - a[1]]
        for c, e in zip(Q, Q[1:] + Q[:1], strict=True):
            if any(d[0] * (p[1] - a[1]) != d[1] * (p[0] - a[0]) for p in (c, e)):
                continue
            s, t = sorted((d[0] * (p[0] - a[0]) + d[1] * (p[1] - a[1])) / (d[0] ** 2 + d[1] ** 2) for p in (c, e))
            if min(t, 1) > max(s, 0):
                return True
    return False


def linear_regions(net, corners):
    """Cells with equal affine maps that touch count once."""
    n, found = len(corners[0]), cells(net, corners)
    parent = list(range(len(found)))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    maps = [affine_map(net, taken, n) for _, taken in found]
    for i, j in combinations(range(len(found)), 2):
        if maps[i] == maps[j] and touch(found[i][0], found[j][0], n):
            parent[root(i)] = root(j)
    return len({root(i) for i in range(len(found))})
