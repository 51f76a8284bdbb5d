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
from plica.analyses.adversarial.exact.kernels import distance
from plica.analyses.adversarial.exact.layers import FEW, Layers, Scalar
from plica.core.progress import Progress
from plica.core.solve.warm import WarmProgram

FAR = 1e30
CURVE = 1e-5  # second derivative given to the outputs of units, which the objective leaves free
ACTIVE, BELOW = 1, 2  # daqp's marks of a row that is met with equality, and of one that is so at its lower side
PULLS = (10.0, 1e3)  # prices of broken rows, where the rows contradict each other
LOOSE, MOST = 1e-3, 1e6  # second derivative of the amount by which they are broken, and its largest value


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows G v <= h over v = (perturbation, outputs of undecided units), and what each one is.

    Attributes
    ----------
    G, h : ndarray, shapes (m, columns) and (m,)
        Scaled by `scale`. With a basis the first columns are for ``basis @ perturbation``.
    scale : ndarray, shape (m,)
    low, high : ndarray
        Bounds of the outputs.
    kind : ndarray of int
        0 line above, 1 line below, 2 lower bound, 3 upper bound, 4 margin.
    choice, place : ndarray of int
        Whose, and which.
    basis, gram : ndarray, optional
        The basis, and the products of its rows with each other.
    """

    G: np.ndarray
    h: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    kind: np.ndarray
    choice: np.ndarray
    place: np.ndarray
    basis: np.ndarray | None = None
    gram: np.ndarray | None = None

    @property
    def full(self) -> np.ndarray:
        """The rows over the perturbation itself."""
        return self.G if self.basis is None else unfolded(self.G, self.basis)


def unfolded(G: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Rows over ``basis @ perturbation`` as rows over the perturbation."""
    return np.hstack([G[:, : len(basis)] @ basis, G[:, len(basis) :]])


def _sizes(G: np.ndarray, gram: np.ndarray | None) -> np.ndarray:
    """Lengths of rows over the perturbation."""
    if gram is None:
        return np.sqrt(np.einsum("ij,ij->i", G, G))
    k = len(gram)
    square = np.einsum("ij,ij->i", G[:, :k] @ gram, G[:, :k]) + np.einsum("ij,ij->i", G[:, k:], G[:, k:])
    return np.sqrt(np.maximum(square, 0.0))


def rows(layers: Layers, state: State, taken: list[np.ndarray], aim: np.ndarray) -> Rows:
    """Write the relaxation down."""
    basis = None if layers.read is None else layers.read[0]
    n = layers.inputs if basis is None else len(basis)
    free = [np.flatnonzero(~h.exact) for h in state.hulls]
    width = n + sum(map(len, free))
    forms: dict = {}
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
    scale = _sizes(G, layers.gram)
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
        basis,
        layers.gram,
    )


def _read(layers: Layers, j: int, forms: dict, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What a choice (or the value) reads, as rows over the variables."""
    reading = layers.readings[j]
    Z, q = np.zeros((len(reading.offset), width)), reading.offset
    for s, matrix, _ in reading.parts:
        if s == 0 and layers.read is None:
            Z[:, : layers.inputs] += matrix
        elif s == 0:
            assert layers.read is not None
            own = layers.read[1][j]
            Z[:, own] += np.eye(own.stop - own.start)
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


def _daqp(
    curve: np.ndarray,
    cost: np.ndarray,
    A: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    before: np.ndarray | None = None,
):
    """Point, multipliers of bounds and rows, and daqp's exit; `before` holds multipliers of a program much like it."""
    m, k = A.shape
    low, H, A = np.append(low, np.full(m, -FAR)), np.diag(curve), np.ascontiguousarray(A)
    for start in (before, None):
        if start is not None or before is None:
            sense = np.zeros(m + k, dtype=np.int32) if start is None else ACTIVE * (start != 0) + BELOW * (start < 0)
            v, _, flag, info = daqp.solve(H, cost, A, high, low, sense.astype(np.int32), primal_tol=1e-8)
            if flag > 0:
                break
    return np.asarray(v), np.asarray(info["lam"]), flag


def nearest(of: Rows, domain: Domain, near: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Multipliers, and the nearest point in the norm 2 where there is one; `near` is that of a program much like it."""
    n = len(domain.lower)
    if of.basis is not None or (n > FEW and len(of.h) < n):
        found = _turned(of, domain, near)
        if found is not None:
            return found
        found = _turned(of, domain, near, PULLS[-1])
        if found is not None and _contradict(of, domain, found[0]):
            return found[0], None
    G = of.full
    curve = np.full(G.shape[1], CURVE)
    curve[:n] = 1.0
    low, high = np.concatenate([domain.lower, of.low]), np.concatenate([domain.upper, of.high])
    v, found, flag = _daqp(curve, np.zeros(len(curve)), G, low, np.concatenate([high, of.h]))
    if flag > 0:
        return np.maximum(found[len(curve) :], 0.0), v[:n]
    return _stretched(of, G, curve, (low, high), domain), None


def _stretched(
    of: Rows, G: np.ndarray, curve: np.ndarray, ends: tuple[np.ndarray, np.ndarray], domain: Domain
) -> np.ndarray:
    """Multipliers where rows contradict each other: all may be broken by one amount, at a price."""
    low, high = ends
    A = np.hstack([G, -np.ones((len(of.h), 1))])
    curve, weight = np.append(curve, LOOSE), np.zeros(len(of.h))
    cost = np.zeros(len(curve))
    for price in PULLS:
        cost[-1] = price * max(1.0, domain.radius)
        top = np.concatenate([high, [MOST], of.h])
        _, found, flag = _daqp(curve, cost, A, np.append(low, 0.0), top)
        if flag > 0:
            weight = np.maximum(found[len(curve) :], 0.0)
    return weight


def _turned(
    of: Rows, domain: Domain, near: np.ndarray | None, price: float | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The same with many inputs: those at their bounds are fixed, the others turned into the space of the rows.

    Inputs that the multipliers push out of the box are fixed there in the next round. The multipliers of every round
    are sound; those of the last are returned. The first round fixes the inputs at which `near` is at its bounds. With
    a price all rows may be broken by one amount.
    """
    n, fixed = len(domain.lower), np.zeros(len(domain.lower), dtype=bool)
    basis = of.G[:, :n] if of.basis is None else of.basis
    k = n if of.basis is None else len(basis)
    T, H, at, found = None if of.basis is None else of.G[:, :k], of.G[:, k:], np.zeros(n), None
    ends, extra = (of.low, of.high), 0.0
    if price is not None:
        H, ends = np.hstack([H, -np.ones((len(of.h), 1))]), (np.append(of.low, 0.0), np.append(of.high, MOST))
        extra = price * max(1.0, domain.radius)
    if near is not None:
        at = np.clip(near, domain.lower, domain.upper)
        fixed = (at == domain.lower) | (at == domain.upper)
    for _ in range(8):
        gone = basis[:, fixed]
        turned = _factor(basis, fixed, gone, of.gram)
        r = turned.shape[1]
        curve, cost = np.full(r + H.shape[1], CURVE), np.zeros(r + H.shape[1])
        curve[:r] = 1.0
        if price is not None:
            curve[-1], cost[-1] = LOOSE, extra
        held = gone @ at[fixed]
        right = of.h - (held if T is None else T @ held)
        low, high = np.concatenate([np.full(r, -FAR), ends[0]]), np.concatenate([np.full(r, FAR), ends[1]])
        A = np.hstack([turned if T is None else T @ turned, H])
        _, found, flag = _daqp(curve, cost, A, low, np.append(high, right), found)
        if flag <= 0:
            return None
        weight = np.maximum(found[len(curve) :], 0.0)
        pushed = -(basis.T @ (weight if T is None else T.T @ weight))
        at = np.clip(pushed, domain.lower, domain.upper)
        now = pushed != at
        if (now == fixed).all():
            break
        fixed = now
    return weight, at


def _contradict(of: Rows, domain: Domain, weight: np.ndarray) -> bool:
    """Whether multipliers show, in floats, that no point of the domain satisfies all rows."""
    k = len(domain.lower) if of.basis is None else len(of.basis)
    summed = weight @ of.G
    slope = summed[:k] if of.basis is None else summed[:k] @ of.basis
    outputs = np.minimum(summed[k:] * of.low, summed[k:] * of.high).sum()
    return distance(-slope, float(outputs - weight @ of.h), domain.lower, domain.upper, 2.0) >= domain.radius


def _factor(rows: np.ndarray, fixed: np.ndarray, gone: np.ndarray, gram: np.ndarray | None) -> np.ndarray:
    """A matrix F with ``F F' = R R'``, R the rows without fixed columns: R in an orthonormal basis of its span."""
    if gram is not None and 2 * gone.shape[1] < len(fixed):
        square = gram - gone @ gone.T
    else:
        square = rows[:, ~fixed] @ rows[:, ~fixed].T
    try:
        return scipy.linalg.cholesky(square, lower=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        free = rows[:, ~fixed]
        return scipy.linalg.qr(free.T, mode="r", check_finite=False)[0][: min(free.shape)].T


# --- norms inf and 1 ---------------------------------------------------------------------------------------------


def highest(of: Rows, domain: Domain, progress: Progress) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Multipliers to try, and a point where there is one: the largest margin within the ball."""
    n, m = len(domain.lower), len(of.h)
    margin = (of.kind == 4).astype(float) / of.scale
    slack = np.append(of.low, -np.inf), np.append(of.high, np.inf)
    if domain.norm == 1.0:
        G = np.hstack([of.full[:, :n], -of.full, margin[:, None]])
        G[:, 2 * n : -1] *= -1.0
        ones = np.zeros((1, G.shape[1]))
        ones[0, : 2 * n] = 1.0
        G, h = np.vstack([G, ones]), np.append(of.h, domain.radius)
        low = np.concatenate([np.zeros(2 * n), slack[0]])
        high = np.concatenate([domain.upper, -domain.lower, slack[1]])
    else:
        G, h = np.hstack([of.full, margin[:, None]]), of.h
        low, high = np.concatenate([domain.lower, slack[0]]), np.concatenate([domain.upper, slack[1]])
    cost = np.zeros(G.shape[1])
    cost[-1] = -1.0
    program = WarmProgram(cost, sp.csr_array(G), (low, high), (np.full(len(h), -np.inf), h), progress=progress)
    status = program.solve()
    if status == "optimal":
        v = program.x
        d = v[:n] - v[n : 2 * n] if domain.norm == 1.0 else v[:n]
        return [np.maximum(-program.duals()[:m], 0.0)], d
    ray = program.ray() if status == "infeasible" else None
    return ([] if ray is None else [np.maximum(s * ray[:m], 0.0) for s in (-1.0, 1.0)]), None


# --- one piece ---------------------------------------------------------------------------------------------------


def piece(layers: Layers, d: np.ndarray, aim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows G d <= h of the piece of an input, and of its margins there; over ``basis @ d`` where there is a basis."""
    width, at = layers.inputs, d
    if layers.read is not None:
        width, at = len(layers.read[0]), layers.read[0] @ d
    forms: dict = {}
    found = []
    for j, choice in enumerate(layers.choices):
        Z, q = _read(layers, j, forms, width)
        z = Z @ at + q
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
    Z, q = _read(layers, len(layers.choices), forms, width)
    found.append((-(aim @ Z), aim @ q))
    return np.vstack([f[0] for f in found]), np.concatenate([f[1] for f in found])


def nearest_in_piece(
    layers: Layers, d: np.ndarray, aim: np.ndarray, domain: Domain, progress: Progress, lift: float = 0.0
) -> np.ndarray | None:
    """The nearest point with margins of at least `lift` in the piece of an input, in floats; None for none."""
    G, h = piece(layers, d, aim)
    h[-len(aim) :] -= lift
    basis = None if layers.read is None else layers.read[0]
    scale = np.maximum(_sizes(G, layers.gram), 1e-12)
    none, kinds = np.zeros(0), np.zeros(len(h), dtype=np.int64)
    of = Rows(G / scale[:, None], h / scale, scale, none, none, kinds, kinds, kinds, basis, layers.gram)
    return nearest_of(of, domain, progress)


def nearest_of(of: Rows, domain: Domain, progress: Progress) -> np.ndarray | None:
    """The nearest point of rows without undecided outputs, in floats; None for none."""
    if domain.norm == 2.0:
        return nearest(of, domain)[1]
    G, h, n = of.full, of.h, len(domain.lower)
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
    program = WarmProgram(cost, A, (low, high), (np.full(len(h), -np.inf), h), progress=progress)
    if program.solve() != "optimal":
        return None
    v = program.x
    return v[:n] - v[n:] if domain.norm == 1.0 else v[:n]
