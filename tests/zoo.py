"""Tiny networks with known answers, most of them degenerate, and random ones; plain data, and its plica network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from oracles import networks as oracle
from plica.core.affine import Concat, Dense, Scale, Sum, reshape
from plica.core.choice import MaxOver, absolute, clip, leaky_relu, relu, windows
from plica.core.conv import Conv
from plica.core.network import Graph, Network


def tensor(values) -> torch.Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))


# --- from plain data to plica ------------------------------------------------------------------------------------


def _dense(o, shape):
    return Dense(tensor(o["W"]), tensor(o["b"]) if o.get("b") else None, shape)


def _conv(o, shape):
    bias = tensor(o["b"]).reshape(-1, 1, 1) if o.get("b") else None
    padding = o.get("padding", ((0, 0), (0, 0)))
    return Conv(tensor(o["W"]), bias, shape, o.get("stride", (1, 1)), padding, o.get("dilation", (1, 1)),
                o.get("groups", 1))  # fmt: skip


def _scale(o, shape):
    def per_channel(v):
        return tensor(v).reshape(-1, *(1,) * (len(shape) - 1)) if isinstance(v, (list, tuple)) else tensor(v)

    bias, divisor = (per_channel(o[key]) if key in o else None for key in ("bias", "divisor"))
    return Scale(per_channel(o.get("factor", 1.0)), bias, shape, divisor)


def _pool(o, shape):
    padding = o.get("padding", ((0, 0), (0, 0)))
    return windows(shape, o["kernel"], stride=o.get("stride", o["kernel"]), padding=padding, dilation=(1, 1))


def _maxout(o, shape):
    index = torch.arange(int(np.prod(shape))).reshape(-1, o["size"])
    return MaxOver(index, shape, (len(index),))


BUILD = {
    "dense": _dense,
    "conv": _conv,
    "scale": _scale,
    "flatten": lambda o, shape: reshape(shape, (int(np.prod(shape)),)),
    "relu": lambda o, shape: relu(shape),
    "leaky": lambda o, shape: leaky_relu(shape, o["slope"]),
    "abs": lambda o, shape: absolute(shape),
    "clip": lambda o, shape: clip(shape, o["lower"], o["upper"]),
    "pool": _pool,
    "maxout": _maxout,
}


def build(data) -> Network:
    """The plica network of plain data."""
    graph = Graph(data["input"])
    for name, kind, inputs, o in data["nodes"]:
        shapes = [graph.shapes[i] for i in inputs]
        if kind == "add":
            op = Sum(tuple(map(float, o.get("coefficients") or [1.0] * len(inputs))), shapes[0])
        elif kind == "concat":
            op = Concat(0, tuple(shapes))
        else:
            op = BUILD[kind](o, shapes[0])
        graph.add(name, op, *inputs)
    return graph.network()


def chain(shape, *layers):
    """Plain data of layers in a row: pairs (kind, options), named kind + number."""
    nodes, last = [], "input"
    for i, (kind, options) in enumerate(layers):
        nodes.append((f"{kind}{i}", kind, (last,), options))
        last = nodes[-1][0]
    return {"input": tuple(shape), "nodes": nodes}


# --- known answers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A tiny net, points with the exact outputs there, and whether it is degenerate."""

    name: str
    data: dict
    answers: tuple
    degenerate: bool = True

    @property
    def net(self) -> Network:
        return build(self.data)


def _dense_of(W, b=None):
    return ("dense", {"W": W, "b": b})


RELU = ("relu", {})
EYE = [[1, 0], [0, 1]]
RESIDUAL = {
    "input": (2,),
    "nodes": [
        ("a", "dense", ("input",), {"W": [[1, 2], [0, 1]], "b": [1, -1]}),
        ("r", "relu", ("a",), {}),
        ("s", "add", ("r", "input"), {}),
        ("t", "relu", ("s",), {}),
        ("out", "dense", ("t",), {"W": [[1, -1]]}),
    ],
}
CANCEL = {
    "input": (2,),
    "nodes": [
        ("a", "dense", ("input",), {"W": EYE}),
        ("d", "add", ("a", "input"), {"coefficients": [1, -1]}),
        ("r", "relu", ("d",), {}),
        ("out", "dense", ("r",), {"W": [[1, 1]], "b": [3]}),
    ],
}
CONCAT = {
    "input": (2,),
    "nodes": [
        ("a", "abs", ("input",), {}),
        ("r", "relu", ("input",), {}),
        ("c", "concat", ("a", "r", "input"), {}),
        ("out", "dense", ("c",), {"W": [[1, 1, -2, -2, 1, 1]]}),  # |z| - 2 relu(z) + z = 0
    ],
}
POOL_RELU = chain(
    (1, 2, 2), ("conv", {"W": [[[[1.0]]]], "b": [-1]}), RELU, ("pool", {"kernel": (2, 2)}), ("flatten", {})
)
KNOWN = (
    Known("xor", chain((2,), _dense_of([[1, 1], [1, 1]], [0, -1]), RELU, _dense_of([[1, -2]])),
          (((0, 0), (0,)), ((1, 0), (1,)), ((1, 1), (0,)), ((0.5, 0.25), (0.75,))), False),
    Known("residual", RESIDUAL, (((0, 0), (1,)), ((1, 2), (4,)), ((-3, 0), (0,)), ((-1, 2), (0,))), False),
    Known("convolution", chain((1, 2, 3), ("conv", {"W": [[[[1, -1]]]], "padding": ((0, 0), (1, 0))}), RELU,
                               ("flatten", {})),
          (((1, 2, 4, 0, -1, 5), (0, 0, 0, 0, 1, 0)), ((0,) * 6, (0,) * 6)), False),
    Known("leaky with divisor", chain((1,), ("scale", {"factor": 2.0, "divisor": 3.0, "bias": -2.0}),
                                      ("leaky", {"slope": 0.25})), (((3,), (0,)), ((6,), (2,)), ((-3,), (-1,))), False),
    Known("maxout", chain((2,), _dense_of([[1, 0], [0, 1], [-1, -1]]), ("maxout", {"size": 3})),
          (((1, 2), (2,)), ((-1, -2), (3,)), ((0, 0), (0,))), False),
    Known("zero biases", chain((2,), _dense_of([[1, -1], [1, 1]]), RELU, _dense_of([[1, 1]]), RELU),
          (((0, 0), (0,)), ((1, 1), (2,)), ((-1, 1), (0,)), ((1, -1), (2,)))),
    Known("opposite units", chain((1,), _dense_of([[1], [-1]]), RELU, _dense_of([[1, 1], [1, -1]])),
          (((0,), (0, 0)), ((3,), (3, 3)), ((-2,), (2, -2)))),
    Known("duplicated units", chain((2,), _dense_of([[1, 1]] * 3), RELU, _dense_of([[1, 1, -2]], [1]), RELU),
          (((0, 0), (1,)), ((5, 7), (1,)), ((-1, 1), (1,)))),
    Known("dead units", chain((2,), _dense_of([[0, 0], [0, 0], [1, 0]], [-1, 0, 0]), RELU, _dense_of([[1, 1, 1]])),
          (((0, 4), (0,)), ((2, 0), (2,)))),
    Known("always active", chain((1,), _dense_of([[0]], [2]), RELU, _dense_of([[3]])), (((9,), (6,)),)),
    Known("zero matrix", chain((2,), _dense_of([[0, 0], [0, 0]]), RELU, _dense_of([[0, 0]])), (((1, 2), (0,)),)),
    Known("pool over zeros of a relu", POOL_RELU,
          (((0, 0, 0, 0), (0,)), ((1, 1, 1, 1), (0,)), ((3, 3, 0, 1), (2,)), ((0, 1, 1, 2), (1,)))),
    Known("tied pool windows", chain((1, 2, 3), ("pool", {"kernel": (2, 2), "stride": (1, 1),
                                                           "padding": ((1, 0), (0, 1))}), ("flatten", {})),
          (((1,) * 6, (1,) * 6), ((1, 2, 2, 2, 0, 0), (2, 2, 2, 2, 2, 2)))),
    Known("abs at 0", chain((2,), ("abs", {}), _dense_of([[1, -1]]), ("abs", {})),
          (((0, 0), (0,)), ((1, -1), (0,)), ((-3, 1), (2,)))),
    Known("clip hit at both knots", chain((1,), ("clip", {"lower": -1, "upper": 2}), _dense_of([[1]], [1]), RELU),
          (((-1,), (0,)), ((2,), (3,)), ((-5,), (0,)), ((9,), (3,)), ((0.5,), (1.5,)))),
    Known("equal candidates", chain((2,), _dense_of([[1, 1], [1, 1], [0, 2]]), ("maxout", {"size": 3})),
          (((1, 1), (2,)), ((2, 0), (2,)), ((0, 1), (2,)))),
    Known("residual x - x", CANCEL, (((1, 2), (3,)), ((0, 0), (3,)))),
    Known("concat that cancels", CONCAT, (((1, -2), (0,)), ((0, 0), (0,)))),
    Known("scales", chain((2,), ("scale", {"factor": [1e6, 1e-6]}), RELU, _dense_of([[1, 0], [0, 1]])),
          (((0, 0), (0, 0)), ((2, -1), (2000000, 0)))),
    Known("deep chain", chain((1,), *[_dense_of([[1], [-1]]), RELU, _dense_of([[1, -1]])] * 8),
          (((0,), (0,)), ((3,), (3,)), ((-0.125,), (-0.125,)))),
)  # fmt: skip


# --- random networks ---------------------------------------------------------------------------------------------

KINDS = ("dense", "conv", "pool", "residual", "leaky", "maxout", "mixed")


class Draw:
    """Random weights; degenerate ones are small integers with zero, repeated, opposite and dead rows."""

    def __init__(self, seed: int, *, degenerate: bool, scales: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.degenerate, self.scales = degenerate, scales

    def rows(self, m: int, n: int) -> tuple[np.ndarray, list[float] | None]:
        rng = self.rng
        if not self.degenerate:
            W, b = rng.normal(size=(m, n)), rng.normal(size=m) / 2
        else:
            W = rng.integers(-2, 3, size=(m, n)) / rng.choice([1.0, 1.0, 4.0])
            b = rng.integers(-1, 2, size=m) * float(rng.random() < 0.5)
            for _ in range(m // 2):
                i, j = rng.integers(m, size=2)
                sign = rng.choice([1.0, -1.0, 0.0])
                W[i], b[i] = sign * W[j], (sign * b[j] if sign else rng.integers(-1, 2))
        if self.scales:
            factor = 10.0 ** rng.uniform(-6, 6, size=m)
            W, b = W * factor[:, None], b * factor
        return W, (b.tolist() if b.any() else None)

    def dense(self, m: int, n: int):
        W, b = self.rows(m, n)
        return ("dense", {"W": W.tolist(), "b": b})

    def conv(self, c_out: int, c_in: int, kernel: tuple[int, int], **options):
        W, b = self.rows(c_out, c_in * kernel[0] * kernel[1])
        return ("conv", {"W": W.reshape(c_out, c_in, *kernel).tolist(), "b": b, **options})

    def point(self, size: int) -> np.ndarray:
        """Often on a lattice, where degenerate nets are tied."""
        if self.degenerate and self.rng.random() < 0.7:
            return self.rng.integers(-2, 3, size=size).astype(float)
        return self.rng.normal(size=size) * 2


def _residual(draw: Draw):
    n = int(draw.rng.integers(2, 4))
    nodes = [
        ("a", *_on("input", draw.dense(n, n))),
        ("r", "relu", ("a",), {}),
        ("b", *_on("r", draw.dense(n, n))),
        ("s", "add", ("b", "input"), {}),
        ("t", "relu", ("s",), {}),
        ("c", *_on("t", draw.dense(n, n))),
        ("u", "add", ("c", "s", "t"), {"coefficients": [1, -1, 2]}),
        ("v", "relu", ("u",), {}),
        ("out", *_on("v", draw.dense(2, n))),
    ]
    return {"input": (n,), "nodes": nodes}


def _on(source: str, layer):
    kind, options = layer
    return kind, (source,), options


def _mixed(draw: Draw):
    nodes = [
        ("a", *_on("input", draw.dense(3, 2))),
        ("abs", "abs", ("a",), {}),
        ("clip", "clip", ("a",), {"lower": -1.0, "upper": 1.0}),
        ("cat", "concat", ("abs", "clip", "input"), {}),
        ("avg", "scale", ("cat",), {"factor": [1.0] * 4 + [2.0] * 4, "divisor": 3.0, "bias": -0.25}),
        ("max", "maxout", ("avg",), {"size": 2}),
        ("b", *_on("max", draw.dense(3, 4))),
        ("relu", "relu", ("b",), {}),
        ("out", *_on("relu", draw.dense(2, 3))),
    ]
    return {"input": (2,), "nodes": nodes}


def _layers(kind: str, draw: Draw):
    rng = draw.rng
    if kind == "dense":
        n, m = (int(k) for k in rng.integers(2, 5, size=2))
        return (n,), [draw.dense(m + 2, n), RELU, draw.dense(m, m + 2), RELU, draw.dense(3, m), RELU, draw.dense(2, 3)]
    if kind == "conv":
        padded = {"padding": ((1, 0), (0, 1)), "stride": (1, 2)}
        first = [draw.conv(2, 1, (2, 2), **padded), RELU, draw.conv(2, 2, (2, 1)), RELU, ("flatten", {})]
        return (1, 2, 3), [*first, draw.dense(2, 4)]
    if kind == "pool":
        pool = ("pool", {"kernel": (2, 2), "stride": (1, 1), "padding": ((0, 1), (0, 0))})
        return (1, 2, 3), [draw.conv(2, 1, (1, 2)), RELU, pool, ("flatten", {}), draw.dense(3, 4), RELU,
                           draw.dense(2, 3)]  # fmt: skip
    if kind == "leaky":
        slope = float(rng.choice([0.01, 0.5, 0.1]))
        return (3,), [draw.dense(4, 3), ("leaky", {"slope": slope}), draw.dense(3, 4), ("abs", {}), draw.dense(3, 3),
                      ("clip", {"lower": -1.0, "upper": 2.0}), draw.dense(2, 3)]  # fmt: skip
    return (2,), [draw.dense(6, 2), ("maxout", {"size": 3}), draw.dense(4, 2), ("maxout", {"size": 2}),
                  draw.dense(2, 2)]  # fmt: skip


def random_net(kind: str, seed: int, *, degenerate: bool, scales: bool = False) -> tuple[dict, Draw]:
    """Plain data of a random net, and the source of its points."""
    draw = Draw(seed, degenerate=degenerate, scales=scales)
    if kind in ("residual", "mixed"):
        return (_residual if kind == "residual" else _mixed)(draw), draw
    shape, layers = _layers(kind, draw)
    return chain(shape, *layers), draw


def as_branches(pattern, row: int = 0) -> dict[str, list[int]]:
    """One row of a plica pattern in the oracle's form."""
    return {name: b[row].flatten().tolist() for name, b in pattern.branches.items()}


def check_known(known: Known) -> None:
    """Check the stated answers with the oracle."""
    for x, expected in known.answers:
        assert oracle.output(known.data, x) == [oracle.rational(v) for v in expected], (known.name, x)
