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
from types import SimpleNamespace
from typing import Any

ONE = ("one",)  # no certificate has such a key: JSON has no tuples
LARGEST = 1 << 26  # of a tensor's numbers, of the places in the windows of a layer
WIRES = {"v": 0, "d": 1, "b": 2, "f": 5}  # of protobuf: varint, double, bytes, float
ATTRIBUTES = {  # those that are read; a node of ONNX with others is not
    "Gemm": "alpha beta transA transB", "Conv": "auto_pad dilations group kernel_shape pads strides",
    "MaxPool": "auto_pad ceil_mode dilations kernel_shape pads strides", "Flatten": "axis", "Constant": "value",
}  # fmt: skip
MAXIMA = ("MaxPool", "MaxOver")
CHOICES = ("Relu", "Piecewise", *MAXIMA)
Form = dict[Any, Any]
Tensor = namedtuple("Tensor", "shape data unit", defaults=(Fraction(1),))  # data: integers or forms, times the unit
Step = namedtuple("Step", "op inputs output a values", defaults=((),))  # a: attributes; values: of the inputs
Graph = namedtuple("Graph", "steps constants input shape outputs")
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
    denominators = {d for _, d in ratios}
    top = math.lcm(*denominators)
    factors = {d: top // d for d in denominators}
    return Tensor(tuple(shape), [n * factors[d] for n, d in ratios], Fraction(1, top))


def fractions(t: Tensor) -> list[Fraction]:
    """The numbers of a tensor."""
    return [v * t.unit for v in t.data]


def total(weights: Sequence[int], values: Sequence[Any]) -> Any:
    """The sum of integers or forms times integers. A product of two forms raises: nothing is linear by mistake."""
    if dict not in map(type, values):
        return sum(map(mul, weights, values))
    form: Form = {}
    for weight, value in zip(weights, values, strict=True):
        terms = value if isinstance(value, dict) else {ONE: value}
        if weight == 1 and not form:
            form = {**terms}
        elif weight:
            for k, v in terms.items():
                form[k] = form.get(k, 0) + weight * v
    return form


def _alike(*tensors: Tensor) -> tuple[Fraction, list[list]]:
    top = math.lcm(*(t.unit.denominator for t in tensors))
    pairs = [(t.data, int(t.unit * top)) for t in tensors]
    return Fraction(1, top), [data if f == 1 else [total([f], [v]) for v in data] for data, f in pairs]


def _spread(t: Tensor, shape: Sequence[int]) -> Tensor:
    own = (1,) * (len(shape) - len(t.shape)) + t.shape
    need(all(a in (1, b) for a, b in zip(own, shape, strict=True)) and math.prod(shape) <= LARGEST, f"shape {t.shape}")
    places = [0]
    for axis, length in enumerate(shape):
        step = math.prod(own[axis + 1 :]) * (own[axis] > 1)
        places = [p + step * k for p in places for k in range(length)]
    return Tensor(tuple(shape), [t.data[p] for p in places], t.unit)


def _broadcast(*tensors: Tensor) -> list[Tensor]:
    rank = max(len(t.shape) for t in tensors)
    shape = [max(sizes) for sizes in zip(*((1,) * (rank - len(t.shape)) + t.shape for t in tensors), strict=True)]
    return [_spread(t, shape) for t in tensors]


def add(a: Tensor, b: Tensor) -> Tensor:
    """The sum, broadcast."""
    a, b = _broadcast(a, b)
    unit, pair = _alike(a, b)
    return Tensor(a.shape, [total([1, 1], both) for both in zip(*pair, strict=True)], unit)


def _times(a: Tensor, b: Tensor) -> Tensor:
    a, b = _broadcast(*((b, a) if dict in map(type, b.data) else (a, b)))
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
    n, found = len(size), list[list]()
    strides, gaps, pads = a.get("strides", [1] * n), a.get("dilations", [1] * n), a.get("pads", [0] * 2 * n)
    plain = {b"NOTSET"} if any(pads) else {b"NOTSET", b"VALID"}
    need(a.get("auto_pad", b"NOTSET") in plain and not a.get("ceil_mode"), "padding of another kind")
    need(len(kernel) == len(strides) == len(gaps) == n == len(pads) / 2 and min(*strides, *gaps, *kernel) > 0, "sizes")
    out = [(size[d] + pads[d] + pads[n + d] - gaps[d] * (kernel[d] - 1) - 1) // strides[d] + 1 for d in range(n)]
    need(min(*pads) >= 0 < min(*out, 1) and math.prod(out) * math.prod(kernel) <= LARGEST, "a window does not fit")
    taps, steps = list(enumerate(itertools.product(*map(range, kernel)))), [math.prod(size[d + 1 :]) for d in range(n)]
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
            weights = own if len(p) == taps else [own[t + k] for t, _ in terms for k, _ in p]
            data.append(total(weights, [x.data[i + q] for _, i in terms for _, q in p]))
    product = Tensor((1, m, *out), data, x.unit * w.unit)
    return add(product, _reshaped(bias[0], (m, *[1] * len(kernel)))) if bias else product


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
    "Reshape": lambda s: _reshaped(s.values[0], s.a["shape"]),
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
        values[step.output] = (choose if step.op in CHOICES else OPS[step.op])(step._replace(values=own))
    need(feeds.keys() <= needed, "a value is given that is not read")
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
    need(value < 1 << 64, "a number of more than 64 bits")
    return value - (value >> 63 << 64), at + 1


def _unpacked(letter: str, value: Any) -> Sequence[Any]:
    if letter == "b" or isinstance(value, int):
        return [value]
    if letter != "v":
        return struct.unpack(f"<{len(value) // struct.calcsize(letter)}{letter}", value)
    found, at = list[int](), 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _message(data: bytes, **wanted: str) -> SimpleNamespace:
    """Fields of a message of protobuf, by name: number and type ("7b"), a capital where there may be several values."""
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
        fields.setdefault(key >> 3, []).append((key & 7, value))
    found = SimpleNamespace()
    for name, word in wanted.items():
        own, letter = fields.get(int(word[:-1]), []), word[-1].lower()
        wires = {WIRES[letter]} if word[-1] == letter else {WIRES[letter], 2}  # several numbers may be packed
        need(all(wire in wires for wire, _ in own), f"{name} of another type")
        values = [v for _, value in own for v in _unpacked(letter, value)]
        need(len(values) < 2 or word[-1] != letter, f"{name} twice")  # readers differ in what they do with them
        setattr(found, name, values if word[-1] != letter else values[0] if values else None)
    return found


def _onnx_tensor(data: bytes) -> tuple[str, Tensor]:
    m = _message(data, dims="1V", type="2v", floats="4F", ints="7V", name="8b", raw="9b", doubles="10D", away="13B")
    letter, values = {1: ("f", m.floats), 7: ("q", m.ints), 11: ("d", m.doubles)}[m.type]
    need(not m.away and not (m.raw and values), "a tensor in another file, or two in one")
    return (m.name or b"").decode(), exact(m.dims, _unpacked(letter, m.raw) if m.raw else values)


def _attribute(data: bytes) -> tuple[str, Any]:
    m = _message(data, name="1b", f="2f", i="3v", s="4b", t="5b", floats="7F", ints="8V", type="20v")
    value = {1: m.f or 0.0, 2: m.i or 0, 3: m.s or b"", 6: m.floats, 7: m.ints}.get(m.type)
    return m.name.decode(), _onnx_tensor(m.t)[1] if m.type == 4 else value


def _step(data: bytes) -> Step:
    """A node of ONNX; one that is not read here has another operation, and is refused where it is needed."""
    m = _message(data, inputs="1B", outputs="2B", op="4b", attributes="5B", domain="7b")
    op, found = m.op.decode(), [*map(_attribute, m.attributes)]
    inputs, a = [name.decode() for name in m.inputs], dict(found)
    while inputs and not inputs[-1]:  # left out
        inputs.pop()
    read = op not in ("MaxOver", "Pick", "Piecewise") and (op != "Dropout" or len(inputs) == 1)
    read = read and not m.domain and "" not in inputs and len(a) == len(found)
    read = read and a.keys() <= {*ATTRIBUTES.get(op, "").split()}
    return Step(op if read else f"this {op}", tuple(inputs), m.outputs[0].decode(), a)


def _graph(steps: list[Step], constants: list[tuple[str, Tensor]], given: str, *rest: Any) -> Graph:
    names = [given, *(name for name, _ in constants), *(step.output for step in steps)]
    need(len({*names}) == len(names) and math.prod(rest[0]) <= LARGEST >> 6, "a name twice, or too large an input")
    return Graph(steps, dict(constants), given, *rest)


def read_onnx(data: bytes) -> Graph:
    """The graph of an ONNX file, plain or gzip."""
    if data[:2] == b"\x1f\x8b":
        packed = zlib.decompressobj(31)
        data = packed.decompress(data, 64 * LARGEST)
        need(packed.eof and not packed.unused_data, "more or less than one file in the archive")
    outer = _message(data, graph="7b", opsets="8B", functions="25B")
    opsets = [_message(m, domain="1b", version="2v") for m in outer.opsets]
    (version,) = [m.version for m in opsets if m.domain in (None, b"", b"ai.onnx")]
    need(version and version > 6, "operations before version 7 had other meanings")
    graph = _message(outer.graph, nodes="1B", tensors="5B", inputs="11B", outputs="12B", sparse="15B")
    need(not outer.functions and not graph.sparse, "functions, or sparse constants")
    steps = [*map(_step, graph.nodes)]
    constants = [*map(_onnx_tensor, graph.tensors), *((s.output, s.a["value"]) for s in steps if s.op == "Constant")]
    known, steps = dict(constants), [s for s in steps if s.op != "Constant"]
    for k, step in enumerate(steps):
        if step.op == "Reshape":  # a constant: what is computed of whole numbers would be rounded
            shape = known.get(step.inputs[-1], Tensor((), None)).data
            steps[k] = step._replace(inputs=step.inputs[:1], a={"shape": shape})
    (given,) = [m for m in (_message(m, name="1b", type="2b") for m in graph.inputs) if m.name.decode() not in known]
    shape = _message(_message(_message(given.type, tensor="1b").tensor, shape="2b").shape, dims="1B")
    sizes = [1 if d.size is None else d.size for d in (_message(d, size="1v") for d in shape.dims)]
    outputs = [_message(m, name="1b").name.decode() for m in graph.outputs]
    return _graph(steps, constants, given.name.decode(), sizes, outputs)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, which has no name twice."""
    need(len(dict(pairs)) == len(pairs), "a name twice")
    return dict(pairs)


def read_described(graph: dict[str, Any], data: bytes) -> Graph:
    """The graph that a certificate describes, with its weights from a safetensors file."""
    size = 8 + int.from_bytes(data[:8], "little")
    table, body = json.loads(data[8:size], object_pairs_hook=once), data[size:]
    places = sorted(t["data_offsets"] for t in table.values())
    need([0, *(b for _, b in places)] == [*(a for a, _ in places), len(body)], "weights that leave gaps or overlap")
    raw = {name: _unpacked({"F64": "d"}[t["dtype"]], body[slice(*t["data_offsets"])]) for name, t in table.items()}
    constants = [(name, exact(t["shape"], raw[name])) for name, t in table.items()]
    steps = [Step(op, tuple(inputs), output, a) for op, inputs, output, a in graph["steps"]]
    return _graph(steps, constants, graph["input"], graph["shape"], [steps[-1].output])


def point(graph: Graph, words: Sequence[str]) -> dict[str, Tensor]:
    """An input of the network, from floats in hexadecimal."""
    return {graph.input: exact(graph.shape, [float.fromhex(w) for w in words])}
