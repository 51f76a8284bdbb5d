"""Random degenerate networks on 2 to 4 inputs as plain data, one flaw each, on the box [-1, 1]^n."""

from __future__ import annotations

import numpy as np

import zoo

FLAWS = (
    "zero biases",
    "integers",
    "duplicated units",
    "dead units",
    "negated units",
    "pruned",
    "shared weights",
    "parallel",
    "through corners",
    "tied windows",
)
KINDS = ("relu", "leaky", "maxout", "pool")


def rows(rng, flaw, m, n):
    """Weights and biases of a layer with a flaw."""
    W, b = rng.normal(size=(m, n)), rng.normal(size=m) / 2
    copies = rng.permutation(m)[: m // 2]
    other = rng.integers(m, size=len(copies))
    if flaw == "zero biases":
        b[:] = 0
    if flaw in ("integers", "tied windows"):
        W, b = rng.integers(-2, 3, size=(m, n)).astype(float), rng.integers(-1, 2, size=m).astype(float)
    if flaw in ("duplicated units", "negated units"):
        sign = -1.0 if flaw == "negated units" else 1.0
        W[copies], b[copies] = sign * W[other], sign * b[other]
    if flaw == "dead units":
        W[copies], b[copies] = 0.0, rng.integers(-1, 2, size=len(copies))
    if flaw == "pruned":
        W *= rng.random((m, n)) < 0.4
    if flaw == "shared weights":  # all from two numbers
        W, b = rng.choice(rng.normal(size=2), size=(m, n)), rng.choice(rng.normal(size=2), size=m)
    if flaw == "parallel":
        W[copies], b[copies] = 2.0 * W[other], 2.0 * b[other] + rng.integers(-1, 2, size=len(copies)) / 4
    if flaw == "through corners":
        b = -(W * rng.choice([-1.0, 1.0], size=(m, n))).sum(axis=1)
    return W, b


def dense(rng, flaw, m, n):
    W, b = rows(rng, flaw, m, n)
    return "dense", {"W": W.tolist(), "b": b.tolist() if b.any() else None}


def _conv(rng, flaw, out, inputs):
    W, b = rows(rng, flaw, out, inputs)
    return "conv", {"W": W.reshape(out, inputs, 1, 1).tolist(), "b": b.tolist() if b.any() else None}


def draw(seed):
    """Plain data, number of inputs, flaw, kind."""
    rng = np.random.default_rng(seed)
    flaw, kind = FLAWS[seed % len(FLAWS)], KINDS[seed // len(FLAWS) % len(KINDS)]
    n = int(rng.choice([2, 3, 4], p=[0.5, 0.35, 0.15]))
    if flaw == "tied windows" and kind in ("relu", "leaky"):
        kind = "maxout"
    size = 5 if n == 2 else 4 if n == 3 else 3
    if kind == "maxout":
        layers = [dense(rng, flaw, 6, n), ("maxout", {"size": 3}), dense(rng, flaw, 3, 2), ("maxout", {"size": 3})]
    elif kind == "pool":
        n = 4 if n == 4 else 2
        shape, kernel = ((1, 2, 2), (2, 2)) if n == 4 else ((1, 1, 2), (1, 2))
        pool = ("pool", {"kernel": kernel, "stride": (1, 1), "padding": ((0, 0), (0, 1))})
        layers = [_conv(rng, flaw, 2, 1), ("relu", {}), pool, ("flatten", {})]
        return zoo.chain(shape, *layers, dense(rng, flaw, 2, _width(shape, pool[1])), ("relu", {})), n, flaw, kind
    else:
        slope = {"slope": 0.25} if kind == "leaky" else {}
        layers = [dense(rng, flaw, size, n), (kind, slope), dense(rng, flaw, size, size), (kind, slope)]
    return zoo.chain((n,), *layers), n, flaw, kind


def _width(shape, pool):
    """Entries after two channels and a pool."""
    sides = [s + a + b - k + 1 for s, k, (a, b) in zip(shape[1:], pool["kernel"], pool["padding"], strict=True)]
    return 2 * sides[0] * sides[1]
