"""Random small networks on 3 to 5 inputs, most of them degenerate, with a box: plain data as in `oracles.networks`."""

from __future__ import annotations

import numpy as np

import zoo

KINDS = ("relu", "leaky", "abs", "clip", "pairs", "triples", "conv", "residual", "narrow")
FLAWS = ("none", "zero_bias", "integer", "twins", "parallel", "corners", "scales", "mixed")


class Weights:
    """Rows of a layer, with one kind of degeneracy."""

    def __init__(self, rng, flaw: str) -> None:
        self.rng, self.flaw = rng, flaw

    def rows(self, m: int, n: int):
        rng, flaw = self.rng, self.flaw
        if flaw == "mixed":
            flaw = FLAWS[int(rng.integers(len(FLAWS) - 1))]
        W, b = rng.normal(size=(m, n)), rng.normal(size=m) / 2
        if flaw in ("integer", "corners", "twins") and not (flaw == "twins" and rng.random() < 0.5):
            W, b = rng.integers(-2, 3, size=(m, n)).astype(float), rng.integers(-1, 2, size=m).astype(float)
        if flaw == "zero_bias":
            b[:] = 0.0
        if flaw == "corners":  # through corners of the box [-1, 1]^n, or parallel to its sides
            b = -(W * rng.choice([-1.0, 1.0], size=(m, n))).sum(axis=1) * rng.integers(0, 2, size=m)
        if flaw in ("twins", "parallel"):
            self.repeat(W, b, flaw)
        if flaw == "scales":
            factor = 10.0 ** rng.uniform(-6, 6, size=m)
            W, b = W * factor[:, None], b * factor
        return W, b

    def repeat(self, W, b, flaw: str) -> None:
        """Make some rows copies of others: equal, opposite, dead, or moved."""
        for _ in range(len(W) // 2 + 1):
            i, j = self.rng.integers(len(W), size=2)
            sign = self.rng.choice([1.0, -1.0, 2.0, 0.0]) if flaw == "twins" else self.rng.choice([1.0, -2.0])
            move = self.rng.choice([0.0, 0.25]) if flaw == "parallel" else 0.0
            W[i], b[i] = sign * W[j], sign * b[j] + move
            if sign == 0.0:
                b[i] = self.rng.integers(-1, 2)

    def dense(self, m: int, n: int):
        W, b = self.rows(m, n)
        return ("dense", {"W": W.tolist(), "b": b.tolist() if b.any() else None})

    def conv(self, c_out: int, c_in: int, kernel: tuple[int, int]):
        W, b = self.rows(c_out, c_in * kernel[0] * kernel[1])
        return ("conv", {"W": W.reshape(c_out, c_in, *kernel).tolist(), "b": b.tolist() if b.any() else None})


def _layers(kind: str, w: Weights, n: int):
    if kind == "relu":
        return (n,), [w.dense(4, n), ("relu", {}), w.dense(3, 4), ("relu", {}), w.dense(1, 3)]
    if kind == "leaky":
        return (n,), [w.dense(3, n), ("leaky", {"slope": 0.25}), w.dense(3, 3), ("leaky", {"slope": 0.1})]
    if kind == "abs":
        return (n,), [w.dense(3, n), ("abs", {}), w.dense(3, 3), ("abs", {}), w.dense(1, 3)]
    if kind == "clip":
        return (n,), [w.dense(3, n), ("clip", {"lower": -0.5, "upper": 1.0}), w.dense(2, 3), ("relu", {})]
    if kind == "pairs":
        return (n,), [w.dense(6, n), ("maxout", {"size": 2}), w.dense(4, 3), ("maxout", {"size": 2})]
    if kind == "triples":
        return (n,), [w.dense(6, n), ("maxout", {"size": 3}), w.dense(3, 2), ("maxout", {"size": 3})]
    if kind == "conv":
        pool = ("pool", {"kernel": (2, 2), "stride": (1, 1), "padding": ((0, 1), (0, 0))})
        return (1, 2, 2), [w.conv(2, 1, (1, 1)), ("relu", {}), pool, ("flatten", {}), w.dense(2, 4), ("relu", {})]
    return (n,), [w.dense(2, n), ("relu", {}), w.dense(4, 2), ("relu", {}), w.dense(2, 4), ("relu", {})]


def _residual(w: Weights, n: int):
    nodes = [
        ("a", *_on("input", w.dense(n, n))),
        ("r", "relu", ("a",), {}),
        ("b", *_on("r", w.dense(n, n))),
        ("s", "add", ("b", "input"), {"coefficients": [1, -1]}),
        ("t", "relu", ("s",), {}),
    ]
    return {"input": (n,), "nodes": nodes}


def _on(source: str, layer):
    kind, options = layer
    return kind, (source,), options


def draw(seed: int):
    """Plain data, lower and upper corner of a box."""
    rng = np.random.default_rng(seed)
    kind, flaw = KINDS[seed % len(KINDS)], FLAWS[int(rng.integers(len(FLAWS)))]
    n = 4 if kind == "conv" else int(rng.choice([3, 4, 5], p=[0.6, 0.32, 0.08]))
    w = Weights(rng, flaw)
    data = _residual(w, n) if kind == "residual" else zoo.chain(*_chain(kind, w, n))
    if rng.random() < 0.7:
        return data, [-1.0] * n, [1.0] * n
    lower = rng.normal(size=n) - 1
    return data, lower.tolist(), (lower + rng.uniform(0.5, 2.5, size=n)).tolist()


def _chain(kind: str, w: Weights, n: int):
    shape, layers = _layers(kind, w, n)
    return (shape, *layers)
