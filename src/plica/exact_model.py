"""A model's bytes, run exactly: what plica's checker reads models with. The standard library only.

An ONNX file, or a graph that a certificate describes with weights as safetensors. Values are integers times a rational
unit, or forms of other values; nothing is rounded. A *form* is {column: coefficient}, with its constant under ONE.
A *choice* is a layer of ReLUs, pools and the like; what it reads are its *numbers*.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
import zlib
from collections import namedtuple
from collections.abc import Callable, Sequence
from fractions import Fraction
from operator import mul
from typing import Any

ONE = ("one",)  # no certificate has such a key: JSON has no tuples
LARGEST = 1 << 26  # of a tensor's numbers, of the places in the windows of a layer
ONNX_TYPES = {1: ("f", 4), 7: ("q", 7), 11: ("d", 10)}  # letter of struct, field that holds the numbers one by one
MAXIMA = ("MaxPool", "MaxOver")
CHOICES = ("Relu", "Piecewise", *MAXIMA)
Form = dict[Any, Any]
Tensor = namedtuple("Tensor", "shape data unit", defaults=(Fraction(1),))  # data: integers or forms, times the unit
Step = namedtuple("Step", "op inputs output a values", defaults=((),))  # a: attributes; values: of the inputs
Graph = namedtuple("Graph", "steps constants input shape")
# What a choice reads (`value`), or the value at the end: rows over the source and the outputs of earlier choices, times
# the unit; and the choice's units, whose outputs are the columns from `first` on. A unit is a list of branches (line,
# limits), forms of the numbers: its output there, and [(form, strict)] that are at most 0, below 0 where strict, in
# this branch and in no other.
Layer = namedtuple("Layer", "value output rows unit units first")


def need(condition: object, reason: str) -> None:
    """Refuse."""
    if not condition:
        raise ValueError(reason)


def exact(shape: Sequence[int], values: Sequence[Any]) -> Tensor:
    """A tensor of floats or fractions."""
    need(math.prod(shape) == len(values) <= LARGEST, f"{len(values)} numbers for shape {shape}")
    ratios = [v.as_integer_ratio() for v in values]  # raises for what is not finite
    top = math.lcm(*(d for _, d in ratios))
    return Tensor(tuple(shape), [n * (top // d) for n, d in ratios], Fraction(1, top))


def fractions(t: Tensor) -> list[Fraction]:
    """The numbers of a tensor."""
    return [v * t.unit for v in t.data]


def total(weights: Sequence[int], values: Sequence[Any]) -> Any:
    """The sum of integers or forms times integers. A product of two forms raises: nothing is linear by mistake."""
    if dict not in map(type, values):
        return sum(map(mul, weights, values))
    form: Form = {}
    for weight, value in zip(weights, values, strict=True):
        for k, v in (value if isinstance(value, dict) else {ONE: value}).items() if weight else ():
            form[k] = form.get(k, 0) + weight * v
    return form


def _alike(*tensors: Tensor) -> tuple[Fraction, list[list]]:
    top = math.lcm(*(t.unit.denominator for t in tensors))
    return Fraction(1, top), [[total([int(t.unit * top)], [v]) for v in t.data] for t in tensors]


def _spread(t: Tensor, shape: Sequence[int]) -> Tensor:
    own = (1,) * (len(shape) - len(t.shape)) + t.shape
    need(len(own) == len(shape) and all(a in (1, b) for a, b in zip(own, shape, strict=True)), f"shape {t.shape}")
    places = [0]
    for axis, length in enumerate(shape):
        step = math.prod(own[axis + 1 :]) * (own[axis] > 1)
        places = [p + step * k for p in places for k in range(length)]
    return Tensor(tuple(shape), [t.data[p] for p in places], t.unit)


def add(a: Tensor, b: Tensor) -> Tensor:
    """The sum, broadcast."""
    rank = max(len(a.shape), len(b.shape))
    shape = tuple(map(max, *((1,) * (rank - len(t.shape)) + t.shape for t in (a, b)))) if rank else ()
    unit, pair = _alike(_spread(a, shape), _spread(b, shape))
    return Tensor(shape, [total([1, 1], both) for both in zip(*pair, strict=True)], unit)


def _times(a: Tensor, b: Tensor) -> Tensor:
    b = _spread(b, a.shape)
    return Tensor(a.shape, [total([f], [v]) for f, v in zip(b.data, a.data, strict=True)], a.unit * b.unit)


def _matmul(step: Step) -> Tensor:
    (x, w, *c), a, turned = step.values, step.a, step.a.get("transB", 0)
    need(not a.get("transA") and a.get("alpha", 1.0) == 1 == a.get("beta", 1.0), "a Gemm with factors")
    need(len(w.shape) == 2 and x.shape and x.shape[-1] == w.shape[turned], f"{x.shape} times {w.shape}")
    k, m = x.shape[-1], w.shape[1 - turned]
    rows = [w.data[j * k : (j + 1) * k] if turned else w.data[j::m] for j in range(m)]
    data = [total(row, x.data[i : i + k]) for i in range(0, len(x.data), k) for row in rows]
    product = Tensor((*x.shape[:-1], m), data, x.unit * w.unit)
    return add(product, c[0]) if c else product


def _windows(a: dict[str, Any], size: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[list]]:
    n = len(size)
    strides, gaps, pads = a.get("strides", [1] * n), a.get("dilations", [1] * n), a.get("pads", [0] * 2 * n)
    need(a.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") and not a.get("ceil_mode"), "padding of another kind")
    need(len(kernel) == len(strides) == len(gaps) == n == len(pads) / 2 and min(*strides, *gaps, *kernel) > 0, "sizes")
    out = [(size[d] + pads[d] + pads[n + d] - gaps[d] * (kernel[d] - 1) - 1) // strides[d] + 1 for d in range(n)]
    need(min(*pads, *out) >= 0 and math.prod(out) * math.prod(kernel) <= LARGEST, "a window does not fit")
    taps, steps = list(enumerate(itertools.product(*map(range, kernel)))), [math.prod(size[d + 1 :]) for d in range(n)]
    found = []
    for o in itertools.product(*map(range, out)):
        at = [(tap, [o[d] * strides[d] + k[d] * gaps[d] - pads[d] for d in range(n)]) for tap, k in taps]
        inside = [(tap, p) for tap, p in at if all(0 <= q < s for q, s in zip(p, size, strict=True))]
        found.append([(tap, sum(map(mul, p, steps))) for tap, p in inside])
    return out, found


def _conv(step: Step) -> Tensor:
    x, w, *bias = step.values
    groups, channels, (m, inner, *kernel) = step.a.get("group", 1), x.shape[1], w.shape
    need(x.shape[0] == 1 and groups > 0 and inner * groups == channels and m % groups == 0, f"{w.shape} on {x.shape}")
    out, picks = _windows(step.a, x.shape[2:], kernel)
    area, taps, data = math.prod(x.shape[2:]), math.prod(kernel), []
    for o in range(m):
        first, own = o // (m // groups) * inner, w.data[o * inner * taps : (o + 1) * inner * taps]
        terms = [(c * taps, (first + c) * area) for c in range(inner)]
        for p in picks:
            weights = [own[t + k] for t, _ in terms for k, _ in p]
            data.append(total(weights, [x.data[i + q] for _, i in terms for _, q in p]))
    product = Tensor((1, m, *out), data, x.unit * w.unit)
    return add(product, bias[0]._replace(shape=(m, *[1] * len(kernel)))) if bias else product


def _pick(step: Step) -> Tensor:
    (unit, parts), (index, shape) = _alike(*step.values), (step.a["index"], step.a["shape"])
    data = [v for part in parts for v in part]
    need(math.prod(shape) == len(index) and all(-1 <= p < len(data) for p in index), "a place outside of a tensor")
    return Tensor(tuple(shape), [data[p] if p >= 0 else 0 for p in index], unit)


def _reshaped(x: Tensor, wanted: Sequence[int]) -> Tensor:
    shape = [x.shape[k] if n == 0 else n for k, n in enumerate(wanted)]
    rest = len(x.data) // max(1, math.prod([n for n in shape if n != -1]))
    shape = [rest if n == -1 else n for n in shape]
    need(math.prod(shape) == len(x.data) and min(shape, default=0) >= 0, f"{x.shape} does not become {wanted}")
    return x._replace(shape=tuple(shape))


OPS: dict[str, Callable[[Step], Tensor]] = {
    "Add": lambda s: add(*s.values), "Sub": lambda s: add(s.values[0], _times(s.values[1], Tensor((), [-1]))),
    "Mul": lambda s: _times(*s.values), "Pick": _pick, "Conv": _conv,
    "Div": lambda s: _times(s.values[0], exact(s.values[1].shape, [1 / v for v in fractions(s.values[1])])),
    "Gemm": _matmul, "MatMul": _matmul, "Identity": lambda s: s.values[0], "Dropout": lambda s: s.values[0],
    "Flatten": lambda s: _reshaped(s.values[0], (math.prod(s.values[0].shape[: s.a.get("axis", 1)]), -1)),
    "Reshape": lambda s: _reshaped(s.values[0], s.a.get("shape") or s.values[1].data),
}  # fmt: skip


def _groups(step: Step) -> tuple[Sequence[int], list[list[int]]]:
    x, a = step.values[0], step.a
    if step.op == "MaxOver":
        shape, groups = tuple(a["shape"]), [[p for p in g if p >= 0] for g in a["groups"]]
    else:
        sizes, found = _windows(a, x.shape[2:], a["kernel_shape"])
        shape, area, inside = (*x.shape[:2], *sizes), math.prod(x.shape[2:]), [[p for _, p in g] for g in found]
        groups = [[c * area + p for p in g] for c in range(math.prod(x.shape[:2])) for g in inside]
    need(len(groups) == math.prod(shape) and all(g and max(g) < len(x.data) for g in groups), "a group without inputs")
    return shape, groups


def units_of(step: Step) -> tuple[Sequence[int], list[list]]:
    """Shape and units of a choice. A knot belongs to the branch below it; the first of equal numbers is the largest."""
    x = step.values[0]
    if step.op in MAXIMA:
        shape, groups = _groups(step)
        return shape, [[({w: 1}, [({i: 1, w: -1}, k < m) for k, i in enumerate(g) if i != w])
                        for m, w in enumerate(g)] for g in groups]  # fmt: skip
    tables = [fractions(_spread(t, x.shape)) for t in step.values[1:] or [Tensor((), [v]) for v in (0, 0, 1, 0, 0)]]
    units, n = list[list](), len(tables) // 3
    for u, column in enumerate(zip(*tables, strict=True)):
        knots, slopes, shifts = [*column[:n]], column[n : 2 * n + 1], column[2 * n + 1 :]
        need(knots == sorted(knots) and len(shifts) == n + 1, "knots that are not read here")
        ends = [shifts[b + i] + slopes[b + i] * k for b, k in enumerate(knots) for i in (0, 1)]
        need(ends[::2] == ends[1::2], "a function with jumps")
        above = [[], *([({u: -1, ONE: k}, True)] for k in knots)]
        below = [*([({u: 1, ONE: -k}, False)] for k in knots), []]
        units.append([({u: s, ONE: t}, a + b) for s, t, a, b in zip(slopes, shifts, above, below, strict=True)])
    return x.shape, units


def plus(form: Form, other: Form, factor: Any = 1) -> Form:
    """A form and a multiple of another."""
    out = dict(form)
    for k, v in other.items():
        out[k] = out.get(k, 0) + factor * v
    return out


def extreme(form: Form, low: Any, high: Any, sign: int = 1) -> Any:
    """The smallest (largest for sign -1) value of a form of numbers within their bounds."""
    terms = [c * (low[k] if (c > 0) == (sign > 0) else high[k]) for k, c in form.items() if c and k != ONE]
    return sum(terms, form.get(ONE, 0))


def fits(limits: list, low: Any, high: Any) -> bool:
    """Whether a unit has a branch wherever the numbers that it reads are within their bounds."""
    return all(extreme(form, low, high, -1) <= 0 for form, _ in limits)


def evaluate(step: Step) -> Tensor:
    """Values of a choice."""
    z, (shape, units) = fractions(step.values[0]), units_of(step)
    lines = [next(line for line, limits in unit if fits(limits, z, z)) for unit in units]
    return exact(shape, [extreme(line, z, z) for line in lines])


def run(graph: Graph, feeds: dict[str, Tensor], wanted: set[str], choose: Callable = evaluate) -> dict[str, Tensor]:
    """Values of some names from those that are fed, integers or forms; `choose` makes those of the choices."""
    needed, todo, values = set(wanted), [], dict(feeds)
    for step in reversed(graph.steps):
        if step.output in needed - feeds.keys():
            needed |= set(step.inputs)
            todo.append(step)
    for step in reversed(todo):
        need(step.op in CHOICES or step.op in OPS, f"{step.op} {step.output!r} is not read here")
        own = [graph.constants[n] if n in graph.constants else values[n] for n in step.inputs]
        op = choose if step.op in CHOICES else OPS[step.op]
        values[step.output] = op(step._replace(values=own))
    return values


def columns(shape: Sequence[int], first: int) -> Tensor:
    """A value with columns of its own."""
    return Tensor(tuple(shape), [{first + k: 1} for k in range(math.prod(shape))])


def network(graph: Graph, value: str, feeds: dict[str, Tensor]) -> list[Layer]:
    """The layers from forms that are fed to a value: what every choice on the way reads, and the value."""
    layers = list[Layer]()

    def read(name: str, output: str, x: Tensor, units: list) -> Layer:
        first = layers[-1].first + len(layers[-1].units) if layers else sum(len(t.data) for t in feeds.values())
        rows = [v if isinstance(v, dict) else {ONE: v} for v in x.data]
        layers.append(Layer(name, output, rows, x.unit, units, first))
        return layers[-1]

    def opened(step: Step) -> Tensor:
        shape, units = units_of(step)
        return columns(shape, read(step.inputs[0], step.output, step.values[0], units).first)

    read(value, value, run(graph, feeds, {value}, opened)[value], [])
    return layers


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] > 127:
        value, shift, at = value | (data[at] & 127) << shift, shift + 7, at + 1
    value |= data[at] << shift
    return value - (value >> 63 << 64), at + 1


def _message(data: bytes) -> dict[int, list[Any]]:
    fields: dict[int, list[Any]] = {}
    at, value = 0, None  # type: int, Any
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7:
            size, at = _varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value, at = data[at : at + size], at + size
            need(size >= 0 and at <= len(data), "a truncated file")
        else:
            value, at = _varint(data, at)
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _numbers(parts: Sequence[Any], letter: str = "") -> list[Any]:
    found: list[Any] = [v for p in parts if letter and p for (v,) in struct.iter_unpack("<" + letter, p)]
    for part in () if letter else parts:
        at = 0
        found += [part] if isinstance(part, int) else []
        while isinstance(part, bytes) and at < len(part):
            value, at = _varint(part, at)
            found.append(value)
    return found


def _onnx_tensor(data: bytes) -> Tensor:
    m = _message(data)
    need(m[2][0] in ONNX_TYPES and 13 not in m, "a tensor of another type, or in another file")
    letter, field = ONNX_TYPES[m[2][0]]
    values = _numbers(m[9], letter) if 9 in m else _numbers(m.get(field, []), letter.replace("q", ""))
    return exact(_numbers(m.get(1, [])), values)


def _unambiguous(graph: Graph) -> Graph:
    names = [graph.input, *graph.constants, *(step.output for step in graph.steps)]
    need(len({*names}) == len(names), "a name twice")
    return graph


def read_onnx(data: bytes) -> Graph:
    """The graph of an ONNX file, plain or gzip."""
    data = zlib.decompressobj(31).decompress(data, 64 * LARGEST) if data[:2] == b"\x1f\x8b" else data
    graph = _message(_message(data)[7][0])
    constants, steps = {_message(t)[8][0].decode(): _onnx_tensor(t) for t in graph.get(5, [])}, []
    for node in map(_message, graph.get(1, [])):
        op, output, a = node[4][0].decode(), node[2][0].decode(), dict[str, Any]()
        for m in map(_message, node.get(5, [])):
            values = _numbers(m.get(8, [])) or m.get(3) or m.get(4) or _numbers(m.get(2, [bytes(4)]), "f")
            a[m[1][0].decode()] = _onnx_tensor(m[5][0]) if 5 in m else values if 8 in m else values[0]
        need(not node.get(7, [b""])[0], f"{op} {output!r} is not read here")
        if op == "Constant":
            constants[output] = a["value"]
        else:
            steps.append(Step(op, tuple(n.decode() for n in node.get(1, []) if n), output, a))
    (given,) = [m for m in map(_message, graph.get(11, [])) if m[1][0].decode() not in constants]
    dims = _message(_message(_message(given[2][0])[1][0])[2][0]).get(1, [])
    return _unambiguous(Graph(steps, constants, given[1][0].decode(), [_message(d).get(1, [1])[0] for d in dims]))


def read_described(graph: dict[str, Any], data: bytes) -> Graph:
    """The graph that a certificate describes, with its weights from a safetensors file."""
    size = 8 + int.from_bytes(data[:8], "little")
    table, body = json.loads(data[8:size]), data[size:]
    raw = {name: _numbers([body[slice(*t["data_offsets"])]], {"F64": "d"}[t["dtype"]]) for name, t in table.items()}
    constants = {name: exact(t["shape"], raw[name]) for name, t in table.items()}
    steps = [Step(op, tuple(inputs), output, a) for op, inputs, output, a in graph["steps"]]
    return _unambiguous(Graph(steps, constants, graph["input"], graph["shape"]))


def point(graph: Graph, words: Sequence[str]) -> dict[str, Tensor]:
    """An input of the network, from floats in hexadecimal."""
    return {graph.input: exact(graph.shape, [float.fromhex(w) for w in words])}
