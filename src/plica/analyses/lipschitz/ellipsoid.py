"""Ellipsoids that hold every reachable difference, pushed through affine maps and choices.

For two inputs at distance at most 1 the differences w of some values of a network (stacked) satisfy w* P^-1 w <= 1.
Here P is a Hermitian matrix per frequency: one real matrix for vectors; for images on a torus one complex matrix per
frequency, because convolutions and choices with the same constants at every place keep it so.

* Affine map A: P becomes A P A*.
* Choice of slopes in [0, 1] on the values v = w_U, any diagonal T > S = P_UU. Every unit has dy (dv - dy) >= 0. The
  S-procedure with multipliers 4/T gives, with Q = P_UR and Z = P_RR for the rest R,

      P' = diag(0, Z) + G (T - S)^-1 G*,    G = (T/2, Q*) on (U, R).

  Minimised over all T at once, the last P is the bound LipSDP-Neuron (Fazlyab et al. 2019); one layer after the other
  it is ECLipsE (Xu and Sivaranjani 2024).
* Choice with |slope| <= 1, or maxima over groups: |dy|^2 / t summed is at most |dv|^2 / t, so P' = diag(T, Z + Q* (T -
  S)^-1 Q).

A unit that reads zero outside an image's window is a choice of slope 0 there: zero padding costs nothing.

`push` functions take an `Arithmetic`: plain floats, differentiable, for the search; or proven ones, where every
computed P is enlarged by a multiple of the identity that covers all rounding errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from plica.analyses.lipschitz.verified import index, squared_norms
from plica.core.exact.floats import UNIT, gamma, raised

INFEASIBLE = "no Cholesky factor"


class Infeasible(ArithmeticError):
    """T - S has no Cholesky factor: the multipliers are too small."""


def frobenius(matrices: Tensor) -> Tensor:
    """Upper bounds of the Frobenius norms, shape (batch, 1, 1)."""
    terms = 2 * math.prod(matrices.shape[-2:])
    size = raised(squared_norms(matrices.detach()).sqrt(), terms + 2)
    return size[:, None, None]


@dataclass(frozen=True)
class Arithmetic:
    """Plain floats, or floats that only err upward.

    Attributes
    ----------
    proven : bool
    """

    proven: bool

    def enlarged(self, P: Tensor, error: Tensor) -> Tensor:
        """The Hermitian part of P plus `error` (batch, 1, 1), a bound of what P lacks; one rounding of P included."""
        P = (P + P.mH) / 2
        if not self.proven:
            return P
        return P + raised(error + 4 * UNIT * frobenius(P), 6) * torch.eye(P.shape[-1], dtype=P.dtype)

    def product(self, A: Tensor, B: Tensor, error_a: Tensor | float, error_b: Tensor | float) -> tuple[Tensor, Tensor]:
        """A B, and a bound of its error in Frobenius norm when A and B have such errors."""
        C = A @ B
        if not self.proven:
            return C, torch.zeros(1, 1, 1)
        size_a, size_b = frobenius(A), frobenius(B)
        rounding = gamma(index(A.shape[-1], C) + 3) * size_a * size_b
        return C, raised(rounding + error_a * (size_b + error_b) + error_b * size_a, 6)

    def image(self, P: Tensor | None, A: Tensor, error: float) -> tuple[Tensor, Tensor, Tensor]:
        """Q = A P, S = A P A* and a bound of the error of both together; P None is the identity."""
        if P is None:
            S = A @ A.mH
            size = frobenius(A)
            bound = raised(gamma(index(A.shape[-1], A) + 3) * size * size + 2 * error * size + error * error, 6)
            return A, S, bound + error
        Q, error_q = self.product(A, P, error, 0.0)
        S, error_s = self.product(Q, A.mH, error_q, error)
        return Q, S, raised(2 * error_q + error_s, 2)

    def inverse_factor(self, S: Tensor, T: Tensor) -> tuple[Tensor, float]:
        """X and c with (T - S)^-1 <= c X* X, for diagonal T of shape (k,).

        Proof. The factor K of H = fl(T - S - shift) has |K K* - H|_F <= gamma_{2k+4} tr H (Higham, Theorem 10.3); the
        shift exceeds this and the roundings of the diagonal, so K K* <= T - S. With X K = I + R, |R| <= g < 1:
        K^-1 = (I + R)^-1 X, so (K K*)^-1 = X* (I + R)^-* (I + R)^-1 X <= X* X / (1 - g)^2.
        """
        k = len(T)
        M = torch.diag(T).to(S.dtype) - S
        if self.proven:
            size = float(T.sum()) + float(S.diagonal(dim1=-2, dim2=-1).real.sum(-1).max())
            shift = raised(2 * gamma(index(2 * k + 12, S)) * raised(size, k + 2), 4)
            M = M - shift * torch.eye(k, dtype=S.dtype)
        K, info = torch.linalg.cholesky_ex(M)
        if bool(info.any()) or not bool(torch.isfinite(K.detach().abs().sum())):
            raise Infeasible(INFEASIBLE)
        X = torch.linalg.solve_triangular(K, torch.eye(k, dtype=S.dtype).expand_as(K), upper=False)
        if not self.proven:
            return X, 1.0
        residual, error = self.product(X, K, 0.0, 0.0)
        residual = residual - torch.eye(k, dtype=S.dtype)
        g = float(raised((frobenius(residual) + error).max() + k * UNIT, 4))
        if not g < 0.5:
            raise Infeasible(INFEASIBLE)
        return X, raised(1.0 / (1.0 - g) ** 2, 6)


@dataclass(frozen=True)
class State:
    """The values alive at one place of the network and their ellipsoid.

    Attributes
    ----------
    P : Tensor, shape (frequencies, size, size), or None
        None: the identity, of the network's input alone.
    spans : dict
        First and last row of every value.
    """

    P: Tensor | None
    spans: dict[str, tuple[int, int]]

    @property
    def size(self) -> int:
        """Rows."""
        return max((stop for _, stop in self.spans.values()), default=0)

    def matrix(self, like: Tensor) -> Tensor:
        """P as a matrix."""
        if self.P is not None:
            return self.P
        return torch.eye(self.size, dtype=like.dtype).expand(len(like), -1, -1)

    def rows(self, name: str) -> Tensor:
        """Rows of one value."""
        return torch.arange(*self.spans[name])

    def kept(self, names: list[str]) -> State:
        """The ellipsoid's shadow on some of the values."""
        if set(names) == set(self.spans) or self.P is None:
            return self
        rows = torch.cat([self.rows(n) for n in self.spans if n in names])
        spans, start = {}, 0
        for name, (a, b) in self.spans.items():
            if name in names:
                spans[name] = (start, start + b - a)
                start += b - a
        return State(self.P[:, rows][:, :, rows], spans)


def push_affine(
    state: State, name: str, maps: dict[str, tuple[Tensor, float]], keep: list[str], how: Arithmetic
) -> State:
    """Append the value sum_i A_i v_i, and drop the values not in `keep`.

    Parameters
    ----------
    maps : dict
        A_i, shape (1 or frequencies, m, size of v_i), and a bound of its error in Frobenius norm, per value read.
    """
    if state.P is None and not set(keep) & set(state.spans) and len(maps) == 1:
        ((A, error),) = maps.values()
        _, S, bound = how.image(None, A, error)
        return State(how.enlarged(S, bound), {name: (0, S.shape[-1])})
    some = next(iter(maps.values()))[0]
    P = state.matrix(some)
    A = torch.zeros(max(len(a) for a, _ in maps.values()), some.shape[1], state.size, dtype=some.dtype)
    for value, (part, _) in maps.items():
        A[:, :, slice(*state.spans[value])] += part
    error = sum(e for _, e in maps.values()) + UNIT * len(maps) * float(frobenius(A).max()) * (len(maps) > 1)
    Q, S, bound = how.image(P, A, error)
    keep_rows = state.kept([n for n in state.spans if n in keep]) if keep else State(None, {})
    if not keep:
        return State(how.enlarged(S, bound), {name: (0, S.shape[-1])})
    rows = torch.cat([state.rows(n) for n in keep_rows.spans])
    Z = P[:, rows][:, :, rows]
    across = Q[:, :, rows]
    whole = torch.cat([torch.cat([Z, across.mH], 2), torch.cat([across, S], 2)], 1)
    size = keep_rows.size
    return State(how.enlarged(whole, bound), {**keep_rows.spans, name: (size, size + S.shape[-1])})


def push_choice(
    state: State, source: str, name: str, T: Tensor, slopes: Slopes, keep: list[str], how: Arithmetic
) -> State:
    """Replace a value by a choice of it; where the value is still needed it is copied first.

    Parameters
    ----------
    T : Tensor, shape (free units,)
        Multipliers, positive.
    slopes : Slopes
    """
    if source in keep or state.P is None:
        like = T[None, :, None]
        eye = torch.eye(state.spans[source][1] - state.spans[source][0], dtype=T.dtype)[None]
        if state.P is None:
            state = State(state.matrix(like), state.spans)
        if source in keep:
            state = push_affine(state, name, {source: (eye.to(state.P.dtype), 0.0)}, keep, how)  # type: ignore[union-attr]
        else:
            state = _renamed(state.kept([*keep, source]), source, name)
    else:
        state = _renamed(state.kept([*keep, source]), source, name)
    return _chosen(state, name, T, slopes, how)


def _renamed(state: State, old: str, new: str) -> State:
    return State(state.P, {new if n == old else n: span for n, span in state.spans.items()})


@dataclass(frozen=True, eq=False)
class Slopes:
    """What is known of the slopes of a choice layer.

    Attributes
    ----------
    free : Tensor of int64
        Units whose slope may vary.
    scale : Tensor, shape (units,)
        Of a free unit the largest |slope|; of the others their slope.
    one_sided : bool
        Free slopes lie between 0 and the scale; otherwise between -scale and scale.
    groups : Tensor of int64, shape (groups, size), optional
        Maxima over groups of units, -1 for none; every unit is free.
    counts : Tensor, optional
        In how many groups every unit stands.
    """

    free: Tensor
    scale: Tensor
    one_sided: bool
    groups: Tensor | None = None
    counts: Tensor | None = None


def _chosen(state: State, name: str, T: Tensor, slopes: Slopes, how: Arithmetic) -> State:
    P = state.P
    assert P is not None
    U = state.rows(name)[slopes.free]
    mask = torch.ones(state.size, dtype=torch.bool)
    mask[U] = False
    R = torch.arange(state.size)[mask]
    S = P[:, U][:, :, U]
    if len(U) == 0:
        return State(_scaled(P, state, name, slopes, torch.zeros(1, 1, 1), how), state.spans)
    X, c = how.inverse_factor(S, T)
    root = math.sqrt(c) * (1 + 4 * UNIT)
    H, error_h = how.product(P[:, R][:, :, U], X.mH, 0.0, 0.0) if len(R) else (P[:, R][:, :, U], torch.zeros(1, 1, 1))
    if slopes.groups is not None:
        return _grouped(state, name, T, slopes, P, (R, root * H, error_h * root), how)
    Y = torch.diag(T).to(P.dtype) @ X.mH / 2 if slopes.one_sided else torch.zeros_like(X[:, :, :0])
    order = torch.cat([R, U])
    G = torch.cat([H, Y.expand(len(H), -1, -1)], 1) * root if slopes.one_sided else H * root
    error = root * (error_h + 4 * UNIT * frobenius(Y)) + 2 * UNIT * frobenius(G)
    outer, bound = how.product(G, G.mH, error, error)
    base = P[:, R][:, :, R]
    r = len(R)
    if slopes.one_sided:
        inner = outer.clone()
        inner[:, :r, :r] = inner[:, :r, :r] + base
    else:
        inner = torch.zeros_like(P)
        inner[:, :r, :r] = outer[:, :r, :r] + base
        inner[:, r:, r:] = torch.diag(T).to(P.dtype)
    back = torch.argsort(order)
    whole = inner[:, back][:, :, back]
    return State(_scaled(whole, state, name, slopes, bound, how), state.spans)


def _scaled(P: Tensor, state: State, name: str, slopes: Slopes, bound: Tensor, how: Arithmetic) -> Tensor:
    """Multiply the units of a choice with their slopes; congruence with a diagonal matrix."""
    d = torch.ones(state.size, dtype=slopes.scale.dtype)
    d[state.rows(name)] = slopes.scale
    largest = max(1.0, float(d.abs().max())) ** 2 if len(d) else 1.0
    out = d[:, None] * P * d
    return how.enlarged(out, raised(bound * largest, 2) + (4 * UNIT * frobenius(out) if how.proven else 0.0))


def _grouped(
    state: State, name: str, T: Tensor, slopes: Slopes, P: Tensor, rest: tuple[Tensor, Tensor, Tensor], how: Arithmetic
) -> State:
    """Maxima over groups.

    t of a group is the largest count_i t_i of its units: then the sum of dy_g^2 / t_g is at most the sum over units of
    dv_i^2 times sum_{g with i} 1 / t_g <= 1 / t_i.
    """
    R, H, error = rest
    assert slopes.groups is not None
    assert slopes.counts is not None
    error = error + 2 * UNIT * frobenius(H)
    outer, bound = how.product(H, H.mH, error, error)
    weighted = (T * slopes.counts)[slopes.groups.clamp(min=0)].masked_fill(slopes.groups < 0, 0.0)
    top = weighted.amax(1) * (1 + 2 * UNIT)
    Z = P[:, R][:, :, R] + outer
    low = torch.diag(top).to(P.dtype).expand(len(P), -1, -1)
    zero = P.new_zeros(len(P), len(R), len(top))
    whole = torch.cat([torch.cat([Z, zero], 2), torch.cat([zero.mH, low], 2)], 1)
    spans, start = {}, 0
    for value, (a, b) in state.spans.items():
        if value != name:
            spans[value] = (start, start + b - a)
            start += b - a
    return State(how.enlarged(whole, bound), {**spans, name: (start, start + len(top))})
