"""Patterns that a mixed-integer program lists and a union does not: they have no point, by ranks in exact rationals.

A program's tolerances let a unit be on at 0. Where the positive outputs of the layer leave the outputs before it no
freedom (their columns are independent), every unit that is on there and off at the witness can only be 0.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.optimize import LinearConstraint, milp

import zoo
from plica import Box
from plica.analyses.preimage import preimage
from plica.core.result import Standing

STRICT = 1e-6


def rank(rows: list[list[Fraction]]) -> int:
    """Rank by elimination in fractions."""
    rows, done = [list(r) for r in rows], 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((i for i in range(done, len(rows)) if rows[i][column] != 0), None)
        if pivot is None:
            continue
        rows[done], rows[pivot] = rows[pivot], rows[done]
        for i in range(done + 1, len(rows)):
            factor = rows[i][column] / rows[done][column]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[done], strict=True)]
        done += 1
    return done


def listed(J, c, W, d, x, radius, most=12):
    """Patterns of the first layer that big-M rows and HiGHS list, each excluded once it is found."""
    u, n = J.shape
    z = W @ np.maximum(J @ x + c, 0) + d
    M = np.abs(J).sum(1) * radius + np.abs(J @ x + c)
    eye, none = np.eye(u), np.zeros((u, u))
    rows = [  # of x, h, a: h >= Jx + c, h <= Jx + c + M (1 - a), h <= M a, h >= STRICT a, and the activity
        (np.hstack([-J, eye, none]), c, np.full(u, np.inf)),
        (np.hstack([-J, eye, np.diag(M)]), np.full(u, -np.inf), c + M),
        (np.hstack([0 * J, eye, -np.diag(M)]), np.full(u, -np.inf), np.zeros(u)),
        (np.hstack([0 * J, eye, -STRICT * eye]), np.zeros(u), np.full(u, np.inf)),
        (np.hstack([np.zeros((len(d), n)), W, np.zeros((len(d), u))]), np.where(z > 0, z, -np.inf) - d,
         np.where(z > 0, z, 0.0) - d),
    ]  # fmt: skip
    bounds = np.concatenate([x - radius, np.zeros(2 * u)]), np.concatenate([x + radius, M, np.ones(u)])
    whole = np.concatenate([np.zeros(n + u), np.ones(u)])
    found = []
    while len(found) < most:
        asked = [LinearConstraint(A, a, b) for A, a, b in rows]
        answer = milp(np.zeros(n + 2 * u), constraints=asked, bounds=bounds, integrality=whole)
        if answer.x is None:
            break
        on = np.round(answer.x[n + u :]) > 0
        found.append(on)
        rows.append((np.concatenate([np.zeros(n + u), np.where(on, -1.0, 1.0)])[None], [1.0 - on.sum()], [np.inf]))
    return found


def test_patterns_that_only_a_program_lists_have_no_point():
    missing = shared = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        J, c = rng.integers(-8, 9, (8, 70)) / 64, rng.integers(-8, 9, 8) / 8
        W, d = rng.integers(-8, 9, (16, 8)) / 8, rng.integers(0, 9, 16) / 4
        x = rng.integers(-8, 9, 70) / 8
        first, second = zoo._dense_of(J.tolist(), c.tolist()), zoo._dense_of(W.tolist(), d.tolist())
        net = zoo.build(zoo.chain((70,), first, zoo.RELU, second, zoo.RELU))
        union = preimage(net, x, layer="relu3", domain=Box(x - 0.5, x + 0.5))
        ours = {p.branches["relu1"].tobytes() for p in union.pieces()}
        assert union.is_complete and union.standing is Standing.RIGOROUS
        own = J @ x + c > 0  # multiples of 1/512: exact
        on = W @ np.maximum(J @ x + c, 0) + d > 0
        for pattern in listed(J, c, W, d, x, 0.5):
            if pattern.astype(np.int64).tobytes() in ours:
                shared += 1
                continue
            missing += 1
            assert (own <= pattern).all() and (own != pattern).any()
            columns = [[Fraction(float(v)) for v in row[pattern]] for row in W[on]]
            assert rank(columns) == pattern.sum()
    assert missing >= 3 and shared >= 3
