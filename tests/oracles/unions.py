"""All inputs with one activity, as a union of half-open pieces, by trying branch after branch in fractions; no plica.

A piece is named by the branches of the choices before the layer (the lower branch on a knot, the lowest position on a
tie), and by the layer's own where its function does not increase: abs and maxima. Pieces are disjoint by definition.
A prefix of branches is kept when the strict and weak inequalities found so far have a common point, which one simplex
in fractions decides (Motzkin's alternative).
"""

from dataclasses import dataclass
from fractions import Fraction

from oracles import kinds, networks

F = Fraction

INCREASING = ("relu", "leaky", "clip")


@dataclass(frozen=True)
class Piece:
    """A half-open piece: its branches per choice node, its dimension, and whether it is bounded."""

    branches: dict
    dimension: int
    bounded: bool

    @property
    def key(self):
        return tuple((name, tuple(b)) for name, b in self.branches.items())


@dataclass
class Rows:
    """Affine forms (constant first) that must be > 0, >= 0, or = 0."""

    strict: list
    weak: list
    equal: list

    def plus(self, other):
        return Rows(self.strict + other.strict, self.weak + other.weak, self.equal + other.equal)


def has_point(rows, n):
    """Whether some u has all strict forms > 0, weak ones >= 0 and equal ones = 0."""
    one = [F(1)] + [F(0)] * n
    columns = [[*form, F(1)] for form in [one, *rows.strict]]
    columns += [[*form, F(0)] for form in rows.weak + rows.equal]
    columns += [[*(-v for v in form), F(0)] for form in rows.equal]
    return kinds.separate(columns, [F(0)] * (n + 1) + [F(1)]) is not None


def measures(rows, n):
    """Dimension of the closed piece and whether it is bounded; the half-open one must have a point."""
    one = [F(1)] + [F(0)] * n
    basis = kinds.null_space(rows.equal, n + 1)
    below = [[-kinds.dot(form, v) for v in basis] for form in [one, *rows.strict, *rows.weak]]
    zero = kinds.vanishing(below)
    dimension = len(basis) - kinds.rank([below[i] for i in zero]) - 1
    below = [[-v for v in form[1:]] for form in rows.strict + rows.weak]
    return dimension, kinds.cone_dimension([form[1:] for form in rows.equal], below, n) == 0


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def scalar_rows(form, knots, j):
    """Conditions of branch j of a function of one number."""
    rows = Rows([], [], [])
    if j > 0:
        rows.strict.append([form[0] - knots[j - 1], *form[1:]])
    if j < len(knots):
        rows.weak.append([knots[j] - form[0], *(-v for v in form[1:])])
    return rows


def max_rows(members, j):
    """Conditions of winner j among forms; None is a border place."""
    rows = Rows([], [], [])
    for p, other in enumerate(members):
        if p != j and other is not None:
            (rows.strict if p < j else rows.weak).append(minus(members[j], other))
    return rows


def level_rows(form, kind, o, y):
    """Conditions of an increasing function to have the value y: its inputs form an interval."""
    knots, table = networks.pieces_of(kind, o)
    low, high = None, None
    for j, (slope, intercept) in enumerate(table):
        a = knots[j - 1] if j > 0 else None
        b = knots[j] if j < len(knots) else None
        if slope:
            z = (y - intercept) / slope
            ends = (z, z) if (a is None or z >= a) and (b is None or z <= b) else None
        else:
            ends = (a, b) if intercept == y else None
        if ends is not None:
            low = (ends[0],) if low is None else (None if None in (low[0], ends[0]) else min(low[0], ends[0]),)
            high = (ends[1],) if high is None else (None if None in (high[0], ends[1]) else max(high[0], ends[1]),)
    if low is None:
        return Rows([[F(0)] * len(form)], [], [])  # never
    (low,), (high,) = low, high
    if low is not None and low == high:
        return Rows([], [], [[form[0] - low, *form[1:]]])
    weak = [] if low is None else [[form[0] - low, *form[1:]]]
    weak += [] if high is None else [[high - form[0], *(-v for v in form[1:])]]
    return Rows([], weak, [])


def forms_of(net, upto, taken, n):
    """Affine forms of every value of the nodes before `upto`, for given branches."""
    before = {"input": net["input"], "nodes": net["nodes"][:upto]}
    zero = [F(0)] * n
    points = [zero, *([F(int(i == j)) for i in range(n)] for j in range(n))]
    runs = [networks.run(before, p, taken) for p in points]
    forms = {}
    for name in runs[0][0]:
        at = [r[0][name] for r in runs]
        forms[name] = [[at[0][i], *(v[i] - at[0][i] for v in at[1:])] for i in range(len(at[0]))]
    return forms, runs[0][2]


def domain_rows(box, n):
    """Conditions of a box, None where there is no bound."""
    rows = Rows([], [], [])
    for i, (low, high) in enumerate(zip(*box, strict=True) if box else ()):
        unit = [F(int(i == j)) for j in range(n)]
        if low is not None:
            rows.weak.append([-F(low), *unit])
        if high is not None:
            rows.weak.append([F(high), *(-v for v in unit)])
    return rows


def ancestors(net, layer):
    needed = {layer}
    for name, _, inputs, _ in reversed(net["nodes"]):
        if name in needed:
            needed.update(inputs)
    return needed


def pieces(net, x, layer, box=None):
    """All nonempty half-open pieces of {u : layer(u) = layer(x)} in a box (lists of numbers or None)."""
    return [Piece(t, *measures(r, len(x))) for t, r in systems(net, x, layer, box)]


def systems(net, x, layer, box=None):
    """Branches and conditions of every piece."""
    n, needed = len(x), ancestors(net, layer)
    net = {"input": net["input"], "nodes": [node for node in net["nodes"] if node[0] in needed]}
    y = networks.run(net, x)[0][layer]
    found = [({}, domain_rows(box, n))]
    for i, (name, kind, inputs, o) in enumerate(net["nodes"]):
        own = name == layer
        if own and kind in INCREASING:
            new = []
            for taken, rows in found:
                forms = forms_of(net, i, taken, n)[0][inputs[0]]
                for form, value in zip(forms, y, strict=True):
                    rows = rows.plus(level_rows(form, kind, o, value))
                new.append((taken, rows))
            found = new
        elif kind in networks.SCALAR or kind in networks.MAXIMA:
            new = []
            for taken, rows in found:
                new += [({**taken, name: b}, r) for b, r in choose(net, i, taken, rows, n)]
            found = new
        if own and kind not in INCREASING:
            found = [
                (t, r.plus(Rows([], [], [[f[0] - v, *f[1:]] for f, v in zip(
                    forms_of(net, i + 1, t, n)[0][name], y, strict=True)])))
                for t, r in found
            ]  # fmt: skip
        if own:
            break
    return [(t, r) for t, r in found if has_point(r, n)]


def choose(net, i, taken, rows, n):
    """All (branches, rows) of one choice node behind a prefix that have a point."""
    _, kind, inputs, o = net["nodes"][i]
    forms, shapes = forms_of(net, i, taken, n)
    z = forms[inputs[0]]
    if kind in networks.SCALAR:
        knots = networks.pieces_of(kind, o)[0]
        options = [[scalar_rows(form, knots, j) for j in range(len(knots) + 1)] for form in z]
    else:
        groups = networks.groups_of(kind, shapes[inputs[0]], o)[0]
        options = []
        for group in groups:
            members = [None if k is None else z[k] for k in group]
            options.append([None if m is None else max_rows(members, j) for j, m in enumerate(members)])
    partial = [([], rows)]
    for option in options:
        grown = [([*b, j], r.plus(more)) for b, r in partial for j, more in enumerate(option) if more is not None]
        partial = [(b, r) for b, r in grown if has_point(r, n)]
    return partial


def kind(found):
    """Kind and dimension of a union of pieces."""
    if not found:
        return "empty", -1
    dimension = max(p.dimension for p in found)
    if not all(p.bounded for p in found):
        return "unbounded", dimension
    if dimension > 0:
        return "compact", dimension
    return ("singleton" if len(found) == 1 else "finite"), 0


def activity(net, x, layer):
    return networks.run(net, x)[0][layer]
