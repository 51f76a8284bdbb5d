"""Infimum of the distance to the inputs that a small network gives another class: every pattern, one program each.

Any choice is allowed (ReLU, leaky ReLU, abs, clip, max). A pattern's closed cell with margin >= 0 is the closure of the
part with margin > 0 where that has a point, which one simplex in fractions decides: so ties are told apart exactly.
Distances come from a QP or LP per cell, to about 1e-9. Nothing here is shared with the library.
"""

import math
from fractions import Fraction
from math import prod

import daqp
import numpy as np
from scipy.optimize import linprog

from oracles import networks, unions

F = Fraction
FAR = 1e30


def smallest(net, x, label, norm, box=None, targets=None) -> float:
    """Infimum of |v - x| over v in the box with a target's output above the label's; inf for none."""
    x = np.asarray(x, dtype=float)
    box = box or ([None] * len(x), [None] * len(x))
    found = []
    for taken, rows, value in cells(net, len(x), box):
        for t in range(len(value)) if targets is None else targets:
            if t != label:
                G = np.vstack([rows, value[t] - value[label]])
                if not G[-1, 1:].any() and G[-1, 0] <= 0:
                    continue
                near = distance(x, G, 2, box)
                if near < math.inf:
                    found.append((near, taken, t, G))
    best = math.inf
    for near, taken, t, G in sorted(found, key=lambda f: f[0]):
        least = near if norm == 2 else near / math.sqrt(len(x)) if norm == math.inf else near
        if least > best + 1e-9:
            break
        size = near if norm == 2 else distance(x, G, norm, box)
        if size < best and (clearly(x, G, box) or crosses(net, taken, t, label, len(x), box)):
            best = size
    return best


def clearly(x, G, box) -> bool:
    """Whether a cell has a point with a margin far above what the floats lose."""
    inner = G.copy()
    inner[-1, 0] -= 1e-5 * np.abs(G[-1]).max()
    return distance(x, inner, 2, box) < math.inf


def crosses(net, taken, t, label, n, box) -> bool:
    """Whether a cell has a point of the box with margin > 0, in fractions."""
    rows = unions.domain_rows(box, n)
    forms, shapes = unions.forms_of(net, len(net["nodes"]), taken, n)
    for name, kind, inputs, o in net["nodes"]:
        z = forms[inputs[0]]
        if kind in networks.SCALAR:
            knots = networks.pieces_of(kind, o)[0]
            for form, j in zip(z, taken[name], strict=True):
                more = unions.scalar_rows(form, knots, j)
                rows.weak += more.strict + more.weak
        elif kind in networks.MAXIMA:
            for group, j in zip(networks.groups_of(kind, shapes[inputs[0]], o)[0], taken[name], strict=True):
                more = unions.max_rows([None if k is None else z[k] for k in group], j)
                rows.weak += more.strict + more.weak
    value = forms[net["nodes"][-1][0]]
    rows.strict.append(unions.minus(value[t], value[label]))
    return unions.has_point(rows, n)


def distance(x, G, norm, box) -> float:
    """Least |v - x| over forms G (constant first) >= 0 and the box, in floats."""
    near = [
        _distance(x, G, norm, box, slack) for slack in (0.0, 1e-10)
    ]  # thin cells need the slack, which costs accuracy
    return near[0] if near[0] < math.inf else near[1]


def _distance(x, G, norm, box, slack) -> float:
    n = len(x)
    size = np.maximum(np.abs(G[:, 1:]).max(1, initial=0.0), 1e-12)
    A, b = G[:, 1:] / size[:, None], (G[:, 0] + G[:, 1:] @ x) / size
    low = np.array([-FAR if v is None else float(v) - x[i] for i, v in enumerate(box[0])])
    high = np.array([FAR if v is None else float(v) - x[i] for i, v in enumerate(box[1])])
    if norm == 2:
        top = np.concatenate([high, b + slack])
        low = np.append(low, np.full(len(b), -FAR))
        free = np.zeros(n + len(b), dtype=np.int32)
        v, _, flag, _ = daqp.solve(np.eye(n), np.zeros(n), np.ascontiguousarray(-A), top, low, free)
        return math.inf if flag == -1 else float(np.linalg.norm(v))
    eye = np.eye(n)
    wide = eye if norm == 1 else np.ones((n, 1))
    cost = np.concatenate([np.zeros(n), np.ones(wide.shape[1])])
    left = np.vstack(
        [np.hstack([-A, np.zeros((len(A), wide.shape[1]))]), np.hstack([eye, -wide]), np.hstack([-eye, -wide])]
    )
    bounds = [*zip(low, high, strict=True), *[(0, None)] * wide.shape[1]]
    found = linprog(cost, A_ub=left, b_ub=np.concatenate([b + slack, np.zeros(2 * n)]), bounds=bounds, method="highs",
                    options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10})  # fmt: skip
    return float(found.fun) if found.status == 0 else math.inf


def cells(net, n, box):
    """(branches, rows of forms >= 0, forms of the output) of all cells that may have a point of the box."""
    forms = {"input": np.hstack([np.zeros((n, 1)), np.eye(n)])}
    states = [({}, np.zeros((0, n + 1)), forms)]
    shapes = {"input": tuple(net["input"])}
    for name, kind, inputs, o in net["nodes"]:
        if kind in networks.SCALAR or kind in networks.MAXIMA:
            states = [new for state in states for new in _branches(state, name, kind, inputs[0], shapes, o, box)]
            shapes[name] = shapes[inputs[0]] if kind in networks.SCALAR else \
                networks.groups_of(kind, shapes[inputs[0]], o)[1]  # fmt: skip
            continue
        parts, constant, shapes[name] = affine(kind, o, [shapes[i] for i in inputs])
        for _, _, known in states:
            total = sum(m @ known[i] for m, i in zip(parts, inputs, strict=True))
            total[:, 0] += constant
            known[name] = total
    last = net["nodes"][-1][0]
    for taken, rows, known in states:
        yield taken, rows, known[last]


def affine(kind, o, shapes):
    """Matrices per input and the constant of an affine node, by unit vectors."""

    def at(values):
        if kind in networks.AFFINE:
            out, shape = networks.AFFINE[kind](values[0], shapes[0], o)
        else:
            out, shape = {"add": networks.add, "concat": networks.concat}[kind](values, shapes, o)
        return np.array([float(v) for v in out]), shape

    zero = [[F(0)] * prod(s) for s in shapes]
    constant, shape = at(zero)
    parts = []
    for i, s in enumerate(shapes):
        columns = []
        for k in range(prod(s)):
            unit = [list(z) for z in zero]
            unit[i][k] = F(1)
            columns.append(at(unit)[0] - constant)
        parts.append(np.array(columns).T.reshape(len(constant), prod(s)))
    return parts, constant, shape


def _branches(state, name, kind, source, shapes, o, box):
    """The states with one choice node more, those without a point left out."""
    taken, rows, known = state
    z = known[source]
    if kind in networks.SCALAR:
        knots, table = networks.pieces_of(kind, o)
        options = [[_scalar(form, knots, table, j) for j in range(len(table))] for form in z]
    else:
        groups = networks.groups_of(kind, shapes[source], o)[0]
        options = [[None if i is None else _winner(z, group, p) for p, i in enumerate(group)] for group in groups]
    grown = [([], rows, [])]
    for unit in options:
        new = []
        for branches, have, out in grown:
            for j, option in enumerate(unit):
                if option is None:
                    continue
                more = np.vstack([have, option[0]])
                if distance(np.zeros(z.shape[1] - 1), more, 2, box) < math.inf:
                    new.append(([*branches, j], more, [*out, option[1]]))
        grown = new
    return [({**taken, name: b}, r, {**known, name: np.array(out)}) for b, r, out in grown]


def _scalar(form, knots, table, j):
    rows = []
    if j > 0:
        rows.append(form - float(knots[j - 1]) * np.eye(1, len(form))[0])
    if j < len(knots):
        rows.append(float(knots[j]) * np.eye(1, len(form))[0] - form)
    slope, shift = (float(v) for v in table[j])
    return np.array(rows), slope * form + shift * np.eye(1, len(form))[0]


def _winner(z, group, p):
    rows = [z[group[p]] - z[i] for k, i in enumerate(group) if k != p and i is not None]
    return np.array(rows).reshape(-1, z.shape[1]), z[group[p]]
