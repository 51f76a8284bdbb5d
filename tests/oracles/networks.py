"""Small networks in exact rationals, by explicit loops: nothing here is shared with the library.

A network is plain data: ``{"input": shape, "nodes": [(name, kind, inputs, options), ...]}`` in topological order, the
last node being the output, "input" the name of the input. Values are flat lists of Fractions in C order.
"""

from fractions import Fraction
from functools import cache
from itertools import product
from math import prod

F = Fraction


def rational(value):
    return value if isinstance(value, Fraction) else _of_float(float(value))


@cache
def _of_float(value):
    return Fraction(value)


def dense(u, shape, o):
    """W u + b along the last axis."""
    W = [[rational(w) for w in row] for row in o["W"]]
    b = [rational(v) for v in (o.get("b") or [0] * len(W))]
    n, out = shape[-1], []
    assert all(len(row) == n for row in W) and len(b) == len(W)
    for start in range(0, len(u), n):
        part = u[start : start + n]
        used = [(i, x) for i, x in enumerate(part) if x]
        out += [sum((row[i] * x for i, x in used), c) for row, c in zip(W, b, strict=True)]
    return out, (*shape[:-1], len(W))


def conv(u, shape, o):
    """Cross-correlation over (channels, height, width); W[c_out][c_in / groups][kh][kw]."""
    W, (c_in, height, width) = o["W"], shape
    b, groups = o.get("b") or [0] * len(W), o.get("groups", 1)
    (sy, sx), (dy, dx) = o.get("stride", (1, 1)), o.get("dilation", (1, 1))
    (top, bottom), (left, right) = o.get("padding", ((0, 0), (0, 0)))
    kh, kw = len(W[0][0]), len(W[0][0][0])
    rows = range(0, height + top + bottom - dy * (kh - 1), sy)
    columns = range(0, width + left + right - dx * (kw - 1), sx)
    per_out, per_in, out = len(W) // groups, c_in // groups, []
    for c, i, j in product(range(len(W)), rows, columns):
        total = rational(b[c])
        for k, p, q in product(range(per_in), range(kh), range(kw)):
            y, x = i + p * dy - top, j + q * dx - left
            if 0 <= y < height and 0 <= x < width:
                channel = (c // per_out) * per_in + k
                value = u[(channel * height + y) * width + x]
                total += rational(W[c][k][p][q]) * value if value else 0
        out.append(total)
    return out, (len(W), len(rows), len(columns))


def scale(u, shape, o):
    """u * factor / divisor + bias, given per first axis (channel), or as one number."""
    per = prod(shape[1:])

    def at(key, default, i):
        v = o.get(key, default)
        return rational(v[i // per] if isinstance(v, (list, tuple)) else v)

    return [x * at("factor", 1, i) / at("divisor", 1, i) + at("bias", 0, i) for i, x in enumerate(u)], shape


def add(values, shapes, o):
    coefficients = o.get("coefficients") or [1] * len(values)
    return [sum((rational(c) * v for c, v in zip(coefficients, row, strict=True)), F(0))
            for row in zip(*values, strict=True)], shapes[0]  # fmt: skip


def concat(values, shapes, o):
    """Along the first axis."""
    return [x for v in values for x in v], (sum(s[0] for s in shapes), *shapes[0][1:])


def windows(shape, o):
    """For every output of a max-pooling: input positions in window order, None at the border."""
    channels, height, width = shape
    kh, kw = o["kernel"]
    sy, sx = o.get("stride", o["kernel"])
    (top, bottom), (left, right) = o.get("padding", ((0, 0), (0, 0)))
    rows, columns = range(0, height + top + bottom - kh + 1, sy), range(0, width + left + right - kw + 1, sx)
    groups = []
    for c, i, j in product(range(channels), rows, columns):
        places = [(i + p - top, j + q - left) for p, q in product(range(kh), range(kw))]
        groups.append([(c * height + y) * width + x if 0 <= y < height and 0 <= x < width else None for y, x in places])
    return groups, (channels, len(rows), len(columns))


def groups_of(kind, shape, o):
    """Groups of a max: pooling windows, or consecutive units of a maxout."""
    if kind == "pool":
        return windows(shape, o)
    size = o["size"]
    return [list(range(i, i + size)) for i in range(0, prod(shape), size)], (prod(shape) // size,)


# --- piecewise-linear functions of one number: knots, and (slope, intercept) between them ------------------------


def pieces_of(kind, o):
    if kind in ("relu", "leaky"):
        return [F(0)], [(rational(o.get("slope", 0)), F(0)), (F(1), F(0))]
    if kind == "abs":
        return [F(0)], [(F(-1), F(0)), (F(1), F(0))]
    if kind == "clip":
        low, high = rational(o["lower"]), rational(o["upper"])
        return [low, high], [(F(0), low), (F(1), F(0)), (F(0), high)]
    raise KeyError(kind)


SCALAR = ("relu", "leaky", "abs", "clip")
MAXIMA = ("pool", "maxout")
AFFINE = {"dense": dense, "conv": conv, "scale": scale, "flatten": lambda u, shape, o: (u, (prod(shape),))}


def choose_scalar(u, kind, o):
    knots, _ = pieces_of(kind, o)
    return [sum(x > k for k in knots) for x in u]


def choose_max(u, groups):
    """Lowest position of the largest member."""
    out = []
    for group in groups:
        best = max(u[i] for i in group if i is not None)
        out.append(next(p for p, i in enumerate(group) if i is not None and u[i] == best))
    return out


def run(net, x, branches=None):
    """Values, branches and shapes of all nodes at x; with `branches`, of the affine map that they freeze."""
    values, shapes = {"input": [rational(v) for v in x]}, {"input": tuple(net["input"])}
    taken = {}
    for name, kind, inputs, o in net["nodes"]:
        u, shape = values[inputs[0]], shapes[inputs[0]]
        if kind in SCALAR:
            taken[name] = choose_scalar(u, kind, o) if branches is None else branches[name]
            table = pieces_of(kind, o)[1]
            values[name] = [table[j][0] * v + table[j][1] for v, j in zip(u, taken[name], strict=True)]
            shapes[name] = shape
        elif kind in MAXIMA:
            groups, shapes[name] = groups_of(kind, shape, o)
            taken[name] = choose_max(u, groups) if branches is None else branches[name]
            values[name] = [u[g[j]] for g, j in zip(groups, taken[name], strict=True)]
        elif kind in AFFINE:
            values[name], shapes[name] = AFFINE[kind](u, shape, o)
        else:
            join = {"add": add, "concat": concat}[kind]
            values[name], shapes[name] = join([values[i] for i in inputs], [shapes[i] for i in inputs], o)
    return values, taken, shapes


def output(net, x):
    """The network at x."""
    return run(net, x)[0][net["nodes"][-1][0]]


def branches(net, x):
    """Branches at x: the lower branch on a knot, the lowest position on a tie."""
    return run(net, x)[1]


def affine_output(net, x, taken):
    """At x, the affine map of given branches."""
    return run(net, x, taken)[0][net["nodes"][-1][0]]


def margins(net, x, taken):
    """All margins of given branches at x: per choice node, knot after knot, or winner minus others (1 for none)."""
    values, _, shapes = run(net, x, taken)
    out = []
    for name, kind, inputs, o in net["nodes"]:
        u = values[inputs[0]]
        if kind in SCALAR:
            for level, knot in enumerate(pieces_of(kind, o)[0]):
                out += [v - knot if j > level else knot - v for v, j in zip(u, taken[name], strict=True)]
        elif kind in MAXIMA:
            for group, j in zip(groups_of(kind, shapes[inputs[0]], o)[0], taken[name], strict=True):
                others = [i for p, i in enumerate(group) if p != j]
                out += [F(1) if i is None else u[group[j]] - u[i] for i in others]
    return out
