"""Activation regions of small networks in any dimension, in exact integers, without plica.

A pattern is taken up unit by unit. A set of strict linear inequalities has an interior or not, which an exact simplex
method decides; nothing is known about vertices, edges or faces. Every open set of inputs with one pattern counts once;
a unit that is constant on a knot takes the lower branch, equal candidates of a maximum give way to the lowest position.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm

from oracles import networks

F = Fraction


def integer_row(row):
    """Positive multiple of a rational row with integer entries without common divisor."""
    scale = lcm(*(v.denominator for v in row))
    whole = [int(v * scale) for v in row]
    common = gcd(*whole)
    return tuple(v // common for v in whole) if common > 1 else tuple(whole)


def interior(rows, n):
    """A point x with a . x + b > 0 for every integer row (a, b), or None; rows 0 and 1 bound x_0, row k + 1 bounds x_k.

    The largest t with a . x + b >= t is, by duality, the least of sum l_i b_i over l >= 0 with sum l_i = 1 and
    sum l_i a_i = 0. The first basis is rows 0 to n; the revised simplex method keeps the adjoint of its basis, in
    integers (Bareiss), with the determinant beside it. Largest step first, Bland's rule after a while.
    """
    columns = [(*row[:n], 1) for row in rows]
    costs = [row[n] for row in rows]
    basis = list(range(n + 1))
    inverse, det = adjoint([[columns[j][i] for j in basis] for i in range(n + 1)])
    for step in range(10_000):
        price = [sum(costs[j] * inverse[k][i] for k, j in enumerate(basis)) for i in range(n + 1)]
        if price[n] <= 0:
            return None
        reduced = [c * det - sum(p * v for p, v in zip(price, column, strict=True))
                   for c, column in zip(costs, columns, strict=True)]  # fmt: skip
        if min(reduced) >= 0:
            return [F(-p, det) for p in price[:n]]
        enter = reduced.index(min(reduced)) if step < 30 else next(j for j, v in enumerate(reduced) if v < 0)
        move = [sum(v * x for v, x in zip(row, columns[enter], strict=True)) for row in inverse]
        leave = min((k for k in range(n + 1) if move[k] > 0), key=lambda k: (F(inverse[k][n], move[k]), basis[k]))
        pivot = move[leave]
        for k in range(n + 1):
            if k != leave:
                inverse[k] = [(pivot * a - move[k] * b) // det for a, b in zip(inverse[k], inverse[leave], strict=True)]
        basis[leave], det = enter, pivot
    raise AssertionError("the simplex method did not end")


def adjoint(matrix):
    """Integer matrix and positive determinant with inverse = matrix / determinant."""
    n = len(matrix)
    rows = [[F(v) for v in row] + [F(i == j) for j in range(n)] for i, row in enumerate(matrix)]
    det = F(1)
    for k in range(n):
        p = next(i for i in range(k, n) if rows[i][k])
        if p != k:
            rows[k], rows[p], det = rows[p], rows[k], -det
        det *= rows[k][k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        for i in range(n):
            if i != k:
                rows[i] = [a - rows[i][k] * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [[int(v * abs(det)) for v in row[n:]] for row in rows], int(abs(det))


def box_rows(lower, upper):
    """Rows (a, b) with a . x + b > 0 inside a box; the lower side of x_0, its upper side, then the other sides."""
    n = len(lower)
    low = [[F(i == k) for i in range(n)] + [-F(lower[k])] for k in range(n)]
    high = [[-F(i == k) for i in range(n)] + [F(upper[k])] for k in range(n)]
    return [integer_row(r) for r in (low[0], high[0], *low[1:], *high[1:])]


class Cell:
    """An open set of inputs: rows, a point inside."""

    def __init__(self, rows, n, point=None):
        self.rows, self.n, self.point = rows, n, point

    def cut(self, forms):
        """The part where all affine forms (rational rows) are positive, or None; constants are decided at once."""
        fresh = []
        for form in forms:
            if any(form[: self.n]):
                fresh.append(integer_row(form))
            elif form[self.n] <= 0:
                return None
        if not fresh:
            return self
        rows = self.rows + fresh
        inside = self.point is not None and all(
            sum(a * x for a, x in zip(row, self.point, strict=False)) + row[self.n] > 0 for row in fresh
        )
        point = self.point if inside else interior(rows, self.n)
        return None if point is None else Cell(rows, self.n, point)


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def constant(n, value):
    return [F(0)] * n + [value]


def scalar_branches(form, knots, n):
    """Per branch the forms that must be positive, or None for a branch that is never taken."""
    if not any(form[:n]):
        taken = sum(form[n] > k for k in knots)
        return [[] if j == taken else None for j in range(len(knots) + 1)]
    out = []
    for j in range(len(knots) + 1):
        above = [minus(form, constant(n, knots[j - 1]))] if j else []
        below = [minus(constant(n, knots[j]), form)] if j < len(knots) else []
        out.append(above + below)
    return out


def max_branches(forms, n):
    """Likewise for a maximum; `forms` has None where there is no unit."""
    out = []
    for i, form in enumerate(forms):
        if form is None:
            out.append(None)
            continue
        needed = []
        for h, other in enumerate(forms):
            if h == i or other is None:
                continue
            gap = minus(form, other)
            if any(gap):
                needed.append(gap)
            elif h < i:  # equal everywhere: the lower position wins
                needed = None
                break
        out.append(needed)
    return out


def units_of(kind, shape, o, forms, n):
    """Choices of a node, one list of branches for every output."""
    if kind in networks.SCALAR:
        knots, _ = networks.pieces_of(kind, o)
        return [scalar_branches(form, knots, n) for form in forms]
    groups, _ = networks.groups_of(kind, shape, o)
    return [max_branches([None if i is None else forms[i] for i in group], n) for group in groups]


def node_values(net, points, taken):
    """Values of all nodes at some points under the branches taken so far, up to the next choice."""
    names = [name for name, *_ in net["nodes"]]
    todo = next((i for i, (name, kind, *_) in enumerate(net["nodes"]) if name not in taken and is_choice(kind)), None)
    part = {"input": net["input"], "nodes": net["nodes"][:todo]}
    runs = [networks.run(part, x, taken) for x in points]
    return names[todo] if todo is not None else None, [r[0] for r in runs], runs[0][2]


def is_choice(kind):
    return kind in networks.SCALAR or kind in networks.MAXIMA


def affine_forms(values, n):
    """Rows (slopes, constant) of the units from their values at 0 and at the unit vectors."""
    origin = values[0]
    return [[values[k + 1][i] - origin[i] for k in range(n)] + [origin[i]] for i in range(len(origin))]


def regions(net, lower, upper, extra=()):
    """Patterns of all regions in a box, further cut by rows (a, b) with a . x + b > 0: a list of {node: branches}."""
    n = len(lower)
    rows = box_rows(lower, upper) + [integer_row([F(v) for v in row]) for row in extra]
    point = interior(rows, n)
    return [] if point is None else list(descend(net, Cell(rows, n, point), {}))


def descend(net, cell, taken):
    n = cell.n
    points = [[F(0)] * n] + [[F(i == k) for i in range(n)] for k in range(n)]
    name, values, shapes = node_values(net, points, taken)
    if name is None:
        yield taken
        return
    _, kind, inputs, o = next(node for node in net["nodes"] if node[0] == name)
    forms = affine_forms([v[inputs[0]] for v in values], n)
    cells = [(cell, [])]
    for choices in units_of(kind, shapes[inputs[0]], o, forms, n):
        cells = [
            (part, [*done, j])
            for piece, done in cells
            for j, needed in enumerate(choices)
            if needed is not None and (part := piece.cut(needed)) is not None
        ]
    for piece, done in cells:
        yield from descend(net, piece, {**taken, name: done})


def key(pattern):
    """Hashable form of a pattern."""
    return tuple((name, tuple(branches)) for name, branches in sorted(pattern.items()))
