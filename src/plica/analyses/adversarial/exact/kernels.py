"""Proven bounds of linear forms over a ball cut with a box and a half-space, and distances of half-spaces.

Every bound is the value of a dual function, which is sound at any multipliers: the ones used are found by a few steps
of Newton's method, and the value is lowered by a bound on its rounding errors (Higham, sections 3.1 and 3.4). The
domain is {d : lower <= d <= upper, |d| <= radius, w.d >= beta}.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

U = 2.0**-53
TINY = 1e-290
FAST: dict[str, Any] = {"cache": True, "nogil": True}
ANY_ORDER: dict[str, Any] = {**FAST, "fastmath": {"reassoc", "contract"}}  # the error bounds hold for any order of sums


@njit(**FAST)
def _clip(v, low, high):
    return low if v < low else (high if v > high else v)


# --- norm 2: sum of min (a - nu w) d + mu/2 d^2, less mu/2 radius^2, plus nu beta -----------------------------


@njit(**ANY_ORDER)
def _value2(a, w, low, high, radius, beta, mu, nu):
    """Lowered dual value, its two slopes, and its three curvatures."""
    n = len(a)
    total = 0.0
    size = 0.0
    norm = 0.0
    along = 0.0
    hdd = 0.0
    hdw = 0.0
    hww = 0.0
    for i in range(n):
        g = a[i] - nu * w[i]
        big = max(-low[i], high[i])
        if mu > 0.0:
            free = -g / mu
            d = _clip(free, low[i], high[i])
            if d == free:
                hdd += d * d
                hdw += d * w[i]
                hww += w[i] * w[i]
        else:
            d = low[i] if g > 0 else high[i]
        total += g * d + 0.5 * mu * d * d
        size += abs(g * d) + 0.5 * mu * d * d
        size += 0.0 if n == 0 else 4.0 / n * (abs(a[i]) + abs(nu * w[i])) * big
        norm += d * d
        along += w[i] * d
    ball = 0.5 * mu * radius * radius
    total += nu * beta - ball
    size += abs(nu * beta) + ball
    value = total - (n + 16) * U * 1.001 * size - TINY
    return value, 0.5 * (norm - radius * radius), beta - along, hdd, hdw, hww


@njit(**FAST)
def _start2(a, w, radius, beta, ww):
    """Multipliers of the form's minimum over the ball and the half-space, without the box."""
    aa = 0.0
    aw = 0.0
    for i in range(len(a)):
        aa += a[i] * a[i]
        aw += a[i] * w[i]
    size = np.sqrt(aa)
    if size == 0.0 or radius <= 0.0:
        return 0.0, 0.0
    if ww <= 0.0 or -radius * aw >= beta * size:
        return size / radius, 0.0
    left = radius * radius - beta * beta / ww
    across = aa - aw * aw / ww
    mu = np.sqrt(max(across, 1e-20 * aa) / max(left, 1e-12 * radius * radius))
    return mu, max(0.0, (aw + mu * beta) / ww)


@njit(**FAST)
def _least2(a, w, low, high, radius, beta, ww, steps):
    mu, nu = _start2(a, w, radius, beta, ww)
    best, best_mu, best_nu = -np.inf, 0.0, 0.0
    for _ in range(steps):
        value, s_mu, s_nu, hdd, hdw, hww = _value2(a, w, low, high, radius, beta, mu, nu)
        if value > best:
            best, best_mu, best_nu = value, mu, nu
        if mu <= 0.0:
            break
        if abs(s_mu) <= 1e-7 * radius * radius and (abs(s_nu) <= 1e-7 * abs(beta) or (nu == 0.0 and s_nu <= 0.0)):
            break
        if ww > 0.0 and (nu > 0.0 or s_nu > 0.0) and hww * hdd - hdw * hdw > 1e-9 * hww * hdd:
            det = (hww * hdd - hdw * hdw) / mu
            step = (hww * s_mu + hdw * s_nu) / det
            nu = max(0.0, nu + (hdw * s_mu + hdd * s_nu) / det)
        elif hdd > 0.0:
            step = mu * s_mu / hdd
        else:
            step = -0.5 * mu if s_mu < 0 else mu
        mu = _clip(mu + step, 0.1 * mu, 10.0 * mu)
    return best, best_mu, best_nu


# --- norm inf: the ball is part of the box ------------------------------------------------------------------------


@njit(**ANY_ORDER)
def _value_box(a, w, low, high, beta, nu):
    n = len(a)
    total = 0.0
    size = 0.0
    along = 0.0
    for i in range(n):
        g = a[i] - nu * w[i]
        d = low[i] if g > 0 else high[i]
        total += g * d
        size += (abs(a[i]) + abs(nu * w[i])) * max(-low[i], high[i])
        along += w[i] * d
    total += nu * beta
    size += abs(nu * beta)
    return total - (n + 8) * U * 1.001 * size - TINY, beta - along


@njit(**FAST)
def _least_box(a, w, low, high, beta, ww, steps):
    best, slope = _value_box(a, w, low, high, beta, 0.0)
    if ww <= 0.0 or slope <= 0.0:
        return best, 0.0
    at = 0.0
    v0, s0, n0 = best, slope, 0.0
    size = 0.0
    weight = 0.0
    for i in range(len(a)):
        size += abs(a[i]) * (high[i] - low[i])
        weight += abs(w[i]) * (high[i] - low[i])
    n1 = size / weight if weight > 0.0 else 1.0
    v1, s1 = _value_box(a, w, low, high, beta, n1)
    for _ in range(40):
        if v1 > best:
            best, at = v1, n1
        if s1 <= 0.0 or n1 > 1e12:
            break
        v0, s0, n0 = v1, s1, n1
        n1 = 2.0 * n1
        v1, s1 = _value_box(a, w, low, high, beta, n1)
    for _ in range(steps):
        if s0 - s1 <= 0.0 or s1 >= 0.0:
            break
        nu = (v1 - v0 + s0 * n0 - s1 * n1) / (s0 - s1)
        if not (n0 < nu < n1):
            break
        v, s = _value_box(a, w, low, high, beta, nu)
        if v > best:
            best, at = v, nu
        if s > 0.0:
            v0, s0, n0 = v, s, nu
        elif s < 0.0:
            v1, s1, n1 = v, s, nu
        else:
            break
    return best, at


# --- norm 1: sum of min (a - nu w) d + mu |d|, less mu radius ------------------------------------------------------


@njit(**ANY_ORDER)
def _value1(g, extra, low, high, radius, mu, plus):
    """Lowered value for coefficients g, whose errors times the box `extra` bounds; and its slope in mu."""
    n = len(g)
    total = 0.0
    size = 0.0
    norm = 0.0
    for i in range(n):
        over = abs(g[i]) - mu
        if over > 0.0:
            cap = -low[i] if g[i] > 0 else high[i]
            total -= over * cap
            size += (abs(g[i]) + mu) * cap
            norm += cap
    total += plus - mu * radius
    size += abs(plus) + mu * radius
    return total - (n + 8) * U * 1.001 * (size + extra) - TINY, norm - radius


@njit(**FAST)
def _inner1(a, w, low, high, radius, beta, nu, g, steps):
    """Best value over mu for one nu, and that mu."""
    extra = 0.0
    top = 0.0
    for i in range(len(a)):
        g[i] = a[i] - nu * w[i]
        extra += 4.0 / len(a) * (abs(a[i]) + abs(nu * w[i])) * max(-low[i], high[i])
        top = max(top, abs(g[i]))
    plus = nu * beta
    best, s0 = _value1(g, extra, low, high, radius, 0.0, plus)
    if s0 <= 0.0 or top == 0.0:
        return best, 0.0
    v0, m0, at = best, 0.0, 0.0
    v1, s1 = _value1(g, extra, low, high, radius, top, plus)
    m1 = top
    if v1 > best:
        best, at = v1, top
    for _ in range(steps):
        if s0 - s1 <= 0.0 or s1 >= 0.0:
            break
        mu = (v1 - v0 + s0 * m0 - s1 * m1) / (s0 - s1)
        if not (m0 < mu < m1):
            break
        v, s = _value1(g, extra, low, high, radius, mu, plus)
        if v > best:
            best, at = v, mu
        if s > 0.0:
            v0, s0, m0 = v, s, mu
        else:
            v1, s1, m1 = v, s, mu
        if s == 0.0:
            break
    return best, at


@njit(**FAST)
def _least1(a, w, low, high, radius, beta, ww, g, steps):
    best, mu = _inner1(a, w, low, high, radius, beta, 0.0, g, steps)
    size = 0.0
    weight = 0.0
    for i in range(len(a)):
        size = max(size, abs(a[i]))
        weight = max(weight, abs(w[i]))
    if ww <= 0.0 or size == 0.0 or weight == 0.0:
        return best, mu, 0.0
    left, middle, right = 0.0, 0.0, 0.25 * size / weight
    for _ in range(30):
        value, found = _inner1(a, w, low, high, radius, beta, right, g, steps)
        if value <= best:
            break
        best, mu = value, found
        left, middle, right = middle, right, 2.0 * right
    for _ in range(10):  # halve the wider of the two sides; the function is concave
        lower_side = middle - left > right - middle if middle > 0.0 else False
        probe = 0.5 * (left + middle) if lower_side else 0.5 * (middle + right)
        value, found = _inner1(a, w, low, high, radius, beta, probe, g, steps)
        if value > best:
            best, mu = value, found
            if lower_side:
                right, middle = middle, probe
            else:
                left, middle = middle, probe
        elif lower_side:
            left = probe
        else:
            right = probe
    return best, mu, middle


@njit(**FAST)
def least(A, low, high, norm, radius, w, beta):
    """Proven lower bounds of the forms A d over the domain, and their multipliers of ball and half-space: (3, rows).

    Parameters
    ----------
    A : ndarray, shape (rows, n)
    low, high : ndarray, shape (n,)
        A box that holds 0 and is bounded; for norm inf cut with the ball already.
    norm : float
    radius : float
    w : ndarray, shape (n,)
        All zeros for no half-space.
    beta : float
    """
    out = np.empty((3, len(A)))
    ww = 0.0
    for i in range(len(w)):
        ww += w[i] * w[i]
    g = np.empty(len(w))
    for r in range(len(A)):
        mu = 0.0
        if norm == 2.0:
            best, mu, nu = _least2(A[r], w, low, high, radius, beta, ww, 5)
            box, _ = _value_box(A[r], w, low, high, beta, 0.0)
            if box > best:
                best, mu, nu = box, 0.0, 0.0
        elif norm == 1.0:
            best, mu, nu = _least1(A[r], w, low, high, radius, beta, ww, g, 8)
        else:
            best, nu = _least_box(A[r], w, low, high, beta, ww, 12)
        out[0, r] = best
        out[1, r] = mu
        out[2, r] = nu
    return out


# --- distances -----------------------------------------------------------------------------------------------------


@njit(**FAST)
def _reach(w, low, high, cap):
    """Raised maximum of w.d over the box cut with |d|_inf <= cap, and its slope in the cap."""
    total = 0.0
    slope = 0.0
    for i in range(len(w)):
        room = high[i] if w[i] > 0 else -low[i]
        if w[i] == 0.0:
            continue
        if cap < room:
            total += abs(w[i]) * cap
            slope += abs(w[i])
        else:
            total += abs(w[i]) * room
    return total * (1 + (len(w) + 4) * U * 1.001) + TINY, slope


@njit(**FAST)
def _distance_inf(w, beta, low, high):
    t = 0.0
    for _ in range(100):
        value, slope = _reach(w, low, high, t)
        if value >= beta or slope <= 0.0:
            break
        step = (beta - value) / slope
        if t + step <= t * (1 + 1e-15):
            break
        t += step
    for k in range(60):
        if _reach(w, low, high, t)[0] < beta:
            return t
        t *= 1 - U * 2.0**k * 2
    return 0.0


@njit(**FAST)
def _distance_2(w, beta, low, high, ww):
    nu = beta / ww
    best = 0.0
    n = len(w)
    for _ in range(60):
        total = nu * beta
        size = abs(total)
        along = 0.0
        curve = 0.0
        for i in range(n):
            v = nu * w[i]
            d = _clip(v, low[i], high[i])
            total += (0.5 * d - v) * d
            size += (0.5 * abs(d) + 2 * abs(v)) * abs(d)
            along += w[i] * d
            if d == v:
                curve += w[i] * w[i]
        value = total - (n + 16) * U * 1.001 * size - TINY
        best = max(best, value)
        gap = beta - along
        if curve <= 0.0 or abs(gap) <= 1e-14 * beta:
            break
        nu += gap / curve
    return np.sqrt(2.0 * best) * (1 - 4 * U)


@njit(**FAST)
def _distance_1(w, beta, low, high):
    order = np.argsort(-np.abs(w))
    got = 0.0
    price = 0.0
    for i in order:
        room = high[i] if w[i] > 0 else -low[i]
        got += abs(w[i]) * room
        price = abs(w[i])
        if got >= beta:
            break
    if price <= 0.0:
        return 0.0
    nu = 1.0 / price
    total = nu * beta
    size = total
    for i in range(len(w)):
        over = nu * abs(w[i]) - 1.0
        if over > 0.0:
            room = high[i] if w[i] > 0 else -low[i]
            total -= over * room
            size += (nu * abs(w[i]) + 1.0) * room
    return max(0.0, total - (len(w) + 8) * U * 1.001 * size - TINY)


@njit(**FAST)
def distance(w, beta, low, high, norm):
    """Proven lower bound of |d| over {w.d >= beta, low <= d <= high}; inf where that is proven empty."""
    if beta <= 0.0:
        return 0.0
    if _reach(w, low, high, np.inf)[0] < beta:
        return np.inf
    ww = 0.0
    for i in range(len(w)):
        ww += w[i] * w[i]
    if ww <= 0.0:
        return 0.0
    if norm == 2.0:
        return _distance_2(w, beta, low, high, ww)
    return _distance_1(w, beta, low, high) if norm == 1.0 else _distance_inf(w, beta, low, high)
