"""The relaxation of a network as a program over the perturbation and the outputs of undecided units.

Solvers give points, which are tried, and multipliers, which are evaluated anew (`dual.halfspace`); nothing is taken on
their word. Norm 2: the nearest point, by daqp. Norms inf and 1: the largest margin in the ball, by HiGHS.
"""

from __future__ import annotations

from dataclasses import dataclass

import daqp
import numpy as np
import scipy.linalg
import scipy.sparse as sp

from plica.analyses.adversarial.exact.bounds import Domain, State
from plica.analyses.adversarial.exact.dual import Multipliers
from plica.analyses.adversarial.exact.layers import Layers, Scalar
from plica.core.solve.warm import WarmProgram

FAR = 1e30
FEW = 200  # inputs up to which daqp sees all of them
CURVE = 1e-5  # second derivative given to the outputs of units, which the objective leaves free
PULLS = (10.0, 1e3)  # prices of broken rows, where the rows contradict each other


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows G v <= h over v = (perturbation, outputs of undecided units), and what each one is.

    Attributes
    ----------
    G, h : ndarray, shapes (m, columns) and (m,)
        Scaled by `scale`.
    scale : ndarray, shape (m,)
    low, high : ndarray
        Bounds of the outputs.
    kind : ndarray of int
        0 line above, 1 line below, 2 lower bound, 3 upper bound, 4 margin.
    choice, place : ndarray of int
        Whose, and which.
    """

    G: np.ndarray
    h: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    kind: np.ndarray
    choice: np.ndarray
    place: np.ndarray


def rows(layers: Layers, state: State, taken: list[np.ndarray], aim: np.ndarray) -> Rows:
    """Write the relaxation down."""
    n = layers.inputs
    free = [np.flatnonzero(~h.exact) for h in state.hulls]
    width = n + sum(map(len, free))
    forms = {0: (np.eye(n, width), np.zeros(n))}
    parts: list[tuple[np.ndarray, np.ndarray, int, int, np.ndarray]] = []
    start = n
    for j, h in enumerate(state.hulls):
        Z, q = _read(layers, j, forms, width)
        P, p = h.slope[:, None] * Z[h.source], h.slope * q[h.source] + h.shift
        P[free[j]], p[free[j]] = 0.0, 0.0
        P[free[j], start + np.arange(len(free[j]))] = 1.0
        start += len(free[j])
        forms[j + 1] = (P, p)
        for kind, lines, sign in ((0, h.above, 1.0), (1, h.below, -1.0)):
            if len(lines.unit):
                G = sign * (P[lines.unit] - lines.slope[:, None] * Z[lines.source])
                right = sign * (lines.shift - p[lines.unit] + lines.slope * q[lines.source])
                parts.append((G, right, kind, j, np.arange(len(lines.unit))))
        choice = layers.choices[j]
        if isinstance(choice, Scalar):
            for kind, limit, sign, units in _fences(choice, state, j, taken[j]):
                parts.append((sign * Z[units], sign * (limit - q[units]), kind, j, units))
    Z, q = _read(layers, len(state.hulls), forms, width)
    parts.append((-(aim @ Z), aim @ q, 4, -1, np.arange(len(aim))))
    G, right = np.vstack([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    scale = np.sqrt(np.einsum("ij,ij->i", G, G))
    scale = np.where(scale > 1e-12, scale, 1.0)
    sizes = [len(p[4]) for p in parts]
    low = [h.low[f] for h, f in zip(state.hulls, free, strict=True)]
    high = [h.high[f] for h, f in zip(state.hulls, free, strict=True)]
    return Rows(
        G / scale[:, None],
        right / scale,
        scale,
        np.concatenate([*low, np.zeros(0)]),
        np.concatenate([*high, np.zeros(0)]),
        np.repeat([p[2] for p in parts], sizes),
        np.repeat([p[3] for p in parts], sizes),
        np.concatenate([p[4] for p in parts]),
    )


def _read(layers: Layers, j: int, forms: dict, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What a choice (or the value) reads, as rows over the variables."""
    reading = layers.readings[j]
    Z, q = np.zeros((len(reading.offset), width)), reading.offset
    for s, matrix, _ in reading.parts:
        if s == 0:
            Z[:, : layers.inputs] += matrix
        else:
            Z += matrix @ forms[s][0]
            q = q + matrix @ forms[s][1]
    return Z, q


def _fences(choice: Scalar, state: State, j: int, taken: np.ndarray):
    """Bounds that a branch puts on what it reads, where nothing else gives them."""
    units = np.flatnonzero(taken >= 0)
    branch = taken[units]
    fence = np.vstack([np.full(choice.units, -np.inf), choice.knots, np.full(choice.units, np.inf)])
    at = units[state.below[j][units] <= fence[branch, units]]
    if len(at):
        yield 2, state.below[j][at], -1.0, at
    at = units[state.above[j][units] >= fence[branch + 1, units]]
    if len(at):
        yield 3, state.above[j][at], 1.0, at


def multipliers(layers: Layers, state: State, of: Rows, weight: np.ndarray) -> Multipliers:
    """Multipliers of rows, in the order of lines and bounds."""
    weight = weight / of.scale
    total = float(weight[of.kind == 4].sum())
    weight = weight / (total if total > 1e-12 * np.abs(weight).max(initial=0.0) and total > 0 else 1.0)
    margins = weight[of.kind == 4]
    above, below, bounds = [], [], []
    for j, h in enumerate(state.hulls):
        own = of.choice == j
        up, down, edge = np.zeros(len(h.above.unit)), np.zeros(len(h.below.unit)), np.zeros(len(state.below[j]))
        for kind, out, sign in ((0, up, 1.0), (1, down, 1.0), (2, edge, 1.0), (3, edge, -1.0)):
            chosen = own & (of.kind == kind)
            np.add.at(out, of.place[chosen], sign * weight[chosen])
        above.append(up)
        below.append(down)
        bounds.append(edge)
    return Multipliers(margins, tuple(above), tuple(below), tuple(bounds)).rounded()


# --- norm 2 ------------------------------------------------------------------------------------------------------


def _daqp(curve: np.ndarray, cost: np.ndarray, A: np.ndarray, low: np.ndarray, high: np.ndarray):
    """Point, multipliers of the rows, and daqp's exit."""
    m, k = A.shape
    low = np.append(low, np.full(m, -FAR))
    v, _, flag, info = daqp.solve(
        np.diag(curve), cost, np.ascontiguousarray(A), high, low, np.zeros(m + k, dtype=np.int32), primal_tol=1e-8
    )
    return np.asarray(v), np.maximum(np.asarray(info["lam"])[k:], 0.0), flag


def nearest(of: Rows, domain: Domain) -> tuple[np.ndarray, np.ndarray | None]:
    """Multipliers, and a point where there is one: the nearest point of the relaxation in the norm 2."""
    n = len(domain.lower)
    if n > FEW and len(of.h) < n:
        found = _turned(of, domain)
        if found is not None:
            return found
    curve = np.full(of.G.shape[1], CURVE)
    curve[:n] = 1.0
    low, high = np.concatenate([domain.lower, of.low]), np.concatenate([domain.upper, of.high])
    v, weight, flag = _daqp(curve, np.zeros(len(curve)), of.G, low, np.concatenate([high, of.h]))
    if flag > 0:
        return weight, v[:n]
    return _stretched(of, curve, low, high, domain), None


def _stretched(of: Rows, curve: np.ndarray, low: np.ndarray, high: np.ndarray, domain: Domain) -> np.ndarray:
    """Multipliers where rows contradict each other: all may be broken by one amount, at a price."""
    A = np.hstack([of.G, -np.ones((len(of.h), 1))])
    curve, weight = np.append(curve, 1e-3), np.zeros(len(of.h))
    cost = np.zeros(len(curve))
    for price in PULLS:
        cost[-1] = price * max(1.0, domain.radius)
        top = np.concatenate([high, [1e6], of.h])
        _, found, flag = _daqp(curve, cost, A, np.append(low, 0.0), top)
        if flag > 0:
            weight = found
    return weight


def _turned(of: Rows, domain: Domain) -> tuple[np.ndarray, np.ndarray] | None:
    """The same with many inputs: those at their bounds are fixed, the others turned into the space of the rows.

    Inputs that the multipliers push out of the box are fixed there in the next round. The multipliers of every round
    are sound; those of the last are returned.
    """
    n, fixed = len(domain.lower), np.zeros(len(domain.lower), dtype=bool)
    D, H, at = of.G[:, :n], of.G[:, n:], np.zeros(len(domain.lower))
    for _ in range(8):
        turn, small = scipy.linalg.qr(D[:, ~fixed].T, mode="economic", check_finite=False)
        r = turn.shape[1]
        curve = np.full(r + H.shape[1], CURVE)
        curve[:r] = 1.0
        right = of.h - D[:, fixed] @ at[fixed]
        low, high = np.concatenate([np.full(r, -FAR), of.low]), np.concatenate([np.full(r, FAR), of.high])
        _, weight, flag = _daqp(curve, np.zeros(len(curve)), np.hstack([small.T, H]), low, np.append(high, right))
        if flag <= 0:
            return None
        pushed = -(D.T @ weight)
        at = np.clip(pushed, domain.lower, domain.upper)
        now = pushed != at
        if (now == fixed).all():
            break
        fixed = now
    return weight, at


# --- norms inf and 1 ---------------------------------------------------------------------------------------------


def highest(of: Rows, domain: Domain) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Multipliers to try, and a point where there is one: the largest margin within the ball."""
    n, m = len(domain.lower), len(of.h)
    margin = (of.kind == 4).astype(float) / of.scale
    slack = np.append(of.low, -np.inf), np.append(of.high, np.inf)
    if domain.norm == 1.0:
        G = np.hstack([of.G[:, :n], -of.G, margin[:, None]])
        G[:, 2 * n : -1] *= -1.0
        ones = np.zeros((1, G.shape[1]))
        ones[0, : 2 * n] = 1.0
        G, h = np.vstack([G, ones]), np.append(of.h, domain.radius)
        low = np.concatenate([np.zeros(2 * n), slack[0]])
        high = np.concatenate([domain.upper, -domain.lower, slack[1]])
    else:
        G, h = np.hstack([of.G, margin[:, None]]), of.h
        low, high = np.concatenate([domain.lower, slack[0]]), np.concatenate([domain.upper, slack[1]])
    cost = np.zeros(G.shape[1])
    cost[-1] = -1.0
    program = WarmProgram(cost, sp.csr_array(G), (low, high), (np.full(len(h), -np.inf), h))
    status = program.solve()
    if status == "optimal":
        v = program.x
        d = v[:n] - v[n : 2 * n] if domain.norm == 1.0 else v[:n]
        return [np.maximum(-program.duals()[:m], 0.0)], d
    ray = program.ray() if status == "infeasible" else None
    return ([] if ray is None else [np.maximum(s * ray[:m], 0.0) for s in (-1.0, 1.0)]), None


# --- one piece ---------------------------------------------------------------------------------------------------


def piece(layers: Layers, d: np.ndarray, aim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows G d <= h of the piece of an input, and of its margins there."""
    forms = {0: (np.eye(layers.inputs), np.zeros(layers.inputs))}
    found = []
    for j, choice in enumerate(layers.choices):
        Z, q = _read(layers, j, forms, layers.inputs)
        z = Z @ d + q
        if isinstance(choice, Scalar):
            branch, units = (z > choice.knots).sum(0), np.arange(choice.units)
            for k, knot in enumerate(choice.knots):
                sign = np.where(branch > k, -1.0, 1.0)
                found.append((sign[:, None] * Z, sign * (knot - q)))
            slope, shift = choice.slopes[branch, units], choice.intercepts[branch, units]
            forms[j + 1] = (slope[:, None] * Z, slope * q + shift)
            continue
        members = np.where(choice.index >= 0, z[choice.index], -np.inf)
        best = choice.index[np.arange(choice.units), members.argmax(1)]
        g, place = np.nonzero((choice.index >= 0) & (choice.index != best[:, None]))
        other = choice.index[g, place]
        found.append((Z[other] - Z[best[g]], q[best[g]] - q[other]))
        forms[j + 1] = (Z[best], q[best])
    Z, q = _read(layers, len(layers.choices), forms, layers.inputs)
    found.append((-(aim @ Z), aim @ q))
    return np.vstack([f[0] for f in found]), np.concatenate([f[1] for f in found])


def nearest_in_piece(layers: Layers, d: np.ndarray, aim: np.ndarray, domain: Domain) -> np.ndarray | None:
    """The nearest point with the margins wanted in the piece of an input, in floats; None for none."""
    G, h = piece(layers, d, aim)
    scale = np.maximum(np.sqrt(np.einsum("ij,ij->i", G, G)), 1e-12)
    G, h, n = G / scale[:, None], h / scale, layers.inputs
    if domain.norm == 2.0:
        none = np.zeros(0)
        kinds = np.zeros(len(h), dtype=np.int64)
        of = Rows(G, h, np.ones(len(h)), none, none, kinds, kinds, kinds)
        return nearest(of, domain)[1]
    eye = sp.eye_array(n, format="csr")
    if domain.norm == 1.0:
        A = sp.csr_array(np.hstack([G, -G]))
        low, high = np.zeros(2 * n), np.concatenate([domain.upper, -domain.lower])
        cost = np.ones(2 * n)
    else:
        t = sp.csr_array(-np.ones((n, 1)))
        body = sp.hstack([sp.csr_array(G), sp.csr_array((len(h), 1))])
        A = sp.csr_array(sp.vstack([body, sp.hstack([eye, t]), sp.hstack([-eye, t])], format="csr"))
        h = np.concatenate([h, np.zeros(2 * n)])
        low, high = np.append(domain.lower, 0.0), np.append(domain.upper, domain.radius)
        cost = np.append(np.zeros(n), 1.0)
    program = WarmProgram(cost, A, (low, high), (np.full(len(h), -np.inf), h))
    if program.solve() != "optimal":
        return None
    v = program.x
    return v[:n] - v[n:] if domain.norm == 1.0 else v[:n]
