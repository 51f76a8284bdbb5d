"""Check plica's certificates, alone: python checker.py CERTIFICATE MODEL, with the standard library only.

A certificate (JSON) is about an ONNX file, or a graph that it describes with weights as safetensors. A claim's rows are
computed again from the model, in integers. `tree_checker.py`, which lies beside it, has bounds and unions.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import runpy
import struct
import sys
import zlib
from collections import namedtuple
from collections.abc import Callable, Sequence
from fractions import Fraction
from operator import mul
from pathlib import Path
from typing import Any

PRIME, LARGEST = (1 << 30) - 35, 1 << 26  # of a tensor's numbers, of the places in the windows of a layer
ONNX_TYPES = {1: ("f", 4), 7: ("q", 7), 11: ("d", 10)}  # letter of struct, field that holds the numbers one by one
CHOICES = ("Relu", "Piecewise", "MaxPool", "MaxOver")
Tensor = namedtuple("Tensor", "shape data unit", defaults=(Fraction(1),))  # data: integers, or {input: coefficient}
Step = namedtuple("Step", "op inputs output a values", defaults=((),))  # a: attributes; values: of the inputs
Graph = namedtuple("Graph", "steps constants input shape")


def _need(condition: object, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


def _exact(shape: Sequence[int], values: Sequence[Any]) -> Tensor:
    _need(math.prod(shape) == len(values) <= LARGEST, f"{len(values)} numbers for shape {shape}")
    ratios = [v.as_integer_ratio() for v in values]  # raises for what is not finite
    top = math.lcm(*(d for _, d in ratios))
    return Tensor(tuple(shape), [n * (top // d) for n, d in ratios], Fraction(1, top))


def _total(weights: Sequence[int], values: Sequence[Any]) -> Any:
    if not values or not isinstance(values[0], dict):
        return sum(map(mul, weights, values))
    if len(values) == 1 == weights[0]:
        return values[0]
    row: dict[int, int] = {}
    for weight, other in zip(weights, values, strict=True):
        for k, v in other.items() if weight else ():
            row[k] = row.get(k, 0) + weight * v
    return row


def _alike(*tensors: Tensor) -> tuple[Fraction, list[Sequence[Any]]]:
    top = math.lcm(*(t.unit.denominator for t in tensors))
    unit = Fraction(math.gcd(*(int(t.unit * top) for t in tensors)), top)
    ratios = [(t.unit / unit).numerator for t in tensors]
    pairs = zip(tensors, ratios, strict=True)
    return unit, [t.data if r == 1 else [_total([r], [v]) for v in t.data] for t, r in pairs]


def _spread(t: Tensor, shape: Sequence[int]) -> Tensor:
    own = (1,) * (len(shape) - len(t.shape)) + t.shape
    _need(len(own) == len(shape) and all(a in (1, b) for a, b in zip(own, shape, strict=True)), f"shape {t.shape}")
    places = [0]
    for axis, length in enumerate(shape):
        step = math.prod(own[axis + 1 :]) * (own[axis] > 1)
        places = [p + step * k for p in places for k in range(length)]
    return Tensor(tuple(shape), [t.data[p] for p in places], t.unit)


def _add(a: Tensor, b: Tensor, sign: int = 1) -> Tensor:
    rank = max(len(a.shape), len(b.shape))
    shape = tuple(map(max, *((1,) * (rank - len(t.shape)) + t.shape for t in (a, b)))) if rank else ()
    unit, (x, y) = _alike(_spread(a, shape), _spread(b, shape))
    return Tensor(shape, [_total([1, sign], pair) for pair in zip(x, y, strict=True)], unit)


def _times(a: Tensor, b: Tensor, *, invert: bool = False) -> Tensor:
    b, top = _spread(b, a.shape), math.lcm(*b.data) if invert else 1
    factors = [top // v for v in b.data] if invert else b.data
    data = [_total([f], [v]) for f, v in zip(factors, a.data, strict=True)]
    return Tensor(a.shape, data, a.unit / (b.unit * top) if invert else a.unit * b.unit)


def _matmul(step: Step) -> Tensor:
    (x, w, *c), a, turned = step.values, step.a, step.a.get("transB", 0)
    _need(not a.get("transA") and a.get("alpha", 1.0) == 1 == a.get("beta", 1.0), "a Gemm with factors")
    _need(len(w.shape) == 2 and x.shape and x.shape[-1] == w.shape[turned], f"{x.shape} times {w.shape}")
    k, m = x.shape[-1], w.shape[1 - turned]
    rows = [w.data[j * k : (j + 1) * k] if turned else w.data[j::m] for j in range(m)]
    data = [_total(row, x.data[i : i + k]) for i in range(0, len(x.data), k) for row in rows]
    product = Tensor((*x.shape[:-1], m), data, x.unit * w.unit)
    return _add(product, c[0]) if c else product


def _windows(a: dict[str, Any], size: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[list]]:
    n = len(size)
    strides, gaps, pads = a.get("strides", [1] * n), a.get("dilations", [1] * n), a.get("pads", [0] * 2 * n)
    _need(a.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") and not a.get("ceil_mode"), "padding of another kind")
    _need(len(kernel) == len(strides) == len(gaps) == n == len(pads) / 2 and min(*strides, *gaps, *kernel) > 0, "sizes")
    out = [(size[d] + pads[d] + pads[n + d] - gaps[d] * (kernel[d] - 1) - 1) // strides[d] + 1 for d in range(n)]
    _need(min(*pads, *out) >= 0 and math.prod(out) * math.prod(kernel) <= LARGEST, "a window does not fit")
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
    _need(x.shape[0] == 1 and groups > 0 and inner * groups == channels and m % groups == 0, f"{w.shape} on {x.shape}")
    out, picks = _windows(step.a, x.shape[2:], kernel)
    area, taps, data = math.prod(x.shape[2:]), math.prod(kernel), []
    for o in range(m):
        first, own = o // (m // groups) * inner, w.data[o * inner * taps : (o + 1) * inner * taps]
        terms = [(c * taps, (first + c) * area) for c in range(inner)]
        for p in picks:
            weights = [own[t + k] for t, _ in terms for k, _ in p]
            data.append(_total(weights, [x.data[i + q] for _, i in terms for _, q in p]))
    product = Tensor((1, m, *out), data, x.unit * w.unit)
    return _add(product, bias[0]._replace(shape=(m, *[1] * len(kernel)))) if bias else product


def _groups_of(step: Step) -> tuple[Tensor, list[list[int]]]:
    x, a = step.values[0], step.a
    if step.op == "MaxOver":
        out, groups = tuple(a["shape"]), [[p for p in g if p >= 0] for g in a["groups"]]
    else:
        sizes, found = _windows(a, x.shape[2:], a["kernel_shape"])
        out, area, inside = (*x.shape[:2], *sizes), math.prod(x.shape[2:]), [[p for _, p in g] for g in found]
        groups = [[c * area + p for p in g] for c in range(math.prod(x.shape[:2])) for g in inside]
    _need(len(groups) == math.prod(out) and all(g and max(g) < len(x.data) for g in groups), "a group without inputs")
    return Tensor(out, [max([x.data[p] for p in g]) for g in groups], x.unit), groups


def _pick(step: Step) -> Tensor:
    (unit, parts), (index, shape) = _alike(*step.values), (step.a["index"], step.a["shape"])
    data = [v for part in parts for v in part]
    _need(math.prod(shape) == len(index) and all(-1 <= p < len(data) for p in index), "a place outside of a tensor")
    zero: Any = {} if data and isinstance(data[0], dict) else 0
    return Tensor(tuple(shape), [data[p] if p >= 0 else zero for p in index], unit)


def _reshaped(x: Tensor, wanted: Sequence[int]) -> Tensor:
    shape = [x.shape[k] if n == 0 else n for k, n in enumerate(wanted)]
    rest = len(x.data) // max(1, math.prod([n for n in shape if n != -1]))
    shape = [rest if n == -1 else n for n in shape]
    _need(math.prod(shape) == len(x.data) and min(shape, default=0) >= 0, f"{x.shape} does not become {wanted}")
    return x._replace(shape=tuple(shape))


def _tables(step: Step) -> tuple[list[list[Fraction]], ...]:
    given = step.values[1:] or [Tensor((), [v]) for v in (0, 0, 1, 0, 0)]
    rows, k = [[v * t.unit for v in _spread(t, step.values[0].shape).data] for t in given], len(given) // 3
    return rows[:k], rows[k : 2 * k + 1], rows[2 * k + 1 :]


def _piecewise(step: Step) -> Tensor:
    z, (knots, slopes, intercepts) = step.values[0], _tables(step)
    values = [v * z.unit for v in z.data]
    at = [sum(v > k[i] for k in knots) for i, v in enumerate(values)]
    return _exact(z.shape, [slopes[b][i] * values[i] + intercepts[b][i] for i, b in enumerate(at)])


OPS: dict[str, Callable[[Step], Tensor]] = {
    "Add": lambda s: _add(*s.values), "Sub": lambda s: _add(s.values[0], s.values[1], -1), "Pick": _pick,
    "Mul": lambda s: _times(*s.values), "Div": lambda s: _times(*s.values, invert=True), "Conv": _conv,
    "MaxPool": lambda s: _groups_of(s)[0], "MaxOver": lambda s: _groups_of(s)[0], "Gemm": _matmul, "MatMul": _matmul,
    "Relu": _piecewise, "Piecewise": _piecewise, "Identity": lambda s: s.values[0], "Dropout": lambda s: s.values[0],
    "Flatten": lambda s: _reshaped(s.values[0], (math.prod(s.values[0].shape[: s.a.get("axis", 1)]), -1)),
    "Reshape": lambda s: _reshaped(s.values[0], s.a.get("shape") or s.values[1].data),
}  # fmt: skip


def run(graph: Graph, feeds: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Values of some names from those that are fed; where rows are fed, added constants are left out."""
    needed, todo, linear = set(wanted), [], any(isinstance(v, dict) for t in feeds.values() for v in t.data[:1])
    for step in reversed(graph.steps):
        if step.output in needed - feeds.keys():
            needed |= set(step.inputs)
            todo.append(step)
    values = dict(feeds)
    for step in reversed(todo):
        _need(step.op in OPS and not (linear and step.op in CHOICES), f"{step.op} {step.output!r} is not read here")
        own = [graph.constants[n] if n in graph.constants else values[n] for n in step.inputs]
        if linear and step.op in ("Add", "Sub"):
            fixed = [n in graph.constants for n in step.inputs]
            own = [t._replace(data=[{}] * len(t.data)) if f else t for t, f in zip(own, fixed, strict=True)]
        own = own[:2] if linear and step.op in ("Gemm", "Conv") else own
        values[step.output] = OPS[step.op](step._replace(values=tuple(own)))
    return values


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
            _need(size >= 0 and at <= len(data), "a truncated file")
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
    _need(m[2][0] in ONNX_TYPES and 13 not in m, "a tensor of another type, or in another file")
    letter, field = ONNX_TYPES[m[2][0]]
    values = _numbers(m[9], letter) if 9 in m else _numbers(m.get(field, []), letter.replace("q", ""))
    return _exact(_numbers(m.get(1, [])), values)


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
        _need(not node.get(7, [b""])[0], f"{op} {output!r} is not read here")
        if op == "Constant":
            constants[output] = a["value"]
        else:
            steps.append(Step(op, tuple(n.decode() for n in node.get(1, []) if n), output, a))
    (given,) = [m for m in map(_message, graph.get(11, [])) if m[1][0].decode() not in constants]
    dims = _message(_message(_message(given[2][0])[1][0])[2][0]).get(1, [])
    return Graph(steps, constants, given[1][0].decode(), tuple(_message(d).get(1, [1])[0] for d in dims))


def read_described(graph: dict[str, Any], data: bytes) -> Graph:
    """The graph that a certificate describes, with its weights from a safetensors file."""
    size = 8 + int.from_bytes(data[:8], "little")
    table, body = json.loads(data[8:size]), data[size:]
    raw = {name: _numbers([body[slice(*t["data_offsets"])]], {"F64": "d"}[t["dtype"]]) for name, t in table.items()}
    constants = {name: _exact(t["shape"], raw[name]) for name, t in table.items()}
    steps = [Step(op, tuple(inputs), output, a) for op, inputs, output, a in graph["steps"]]
    return Graph(steps, constants, graph["input"], tuple(graph["shape"]))


def point(graph: Graph, words: Sequence[str]) -> dict[str, Tensor]:
    """An input of the network, from floats in hexadecimal."""
    return {graph.input: _exact(graph.shape, [float.fromhex(w) for w in words])}


def rank_at_least(rows: list[list[int]], n: int) -> int:
    """The rank modulo a prime, which the rank is not below; rows are packed into integers, 10 bytes a column."""
    size, rank = 10, 0

    def packed(row: Sequence[int]) -> int:
        return int.from_bytes(b"".join([(v % PRIME).to_bytes(size, "little") for v in row]), "little")

    left = list(map(packed, rows))
    while left:
        raw = left.pop().to_bytes(size * n, "little")
        row = [int.from_bytes(raw[k : k + size], "little") % PRIME for k in range(0, size * n, size)]
        column = next((k for k, v in enumerate(row) if v), None)
        if column is not None:
            rank, shift, mask, inverse = rank + 1, 8 * size * column, (1 << 8 * size) - 1, pow(row[column], -1, PRIME)
            pivot = packed([v * inverse for v in row])
            left = [p + (-(p >> shift & mask) % PRIME) * pivot for p in left]
    return rank


def _apply(rows: Sequence[Sequence[int]], v: Sequence[int]) -> list[int]:
    return [sum(map(mul, row, v)) for row in rows]


def cone(equal: list, below: list, proof: dict[str, Any], n: int) -> int:
    """Dimension of {v : equal v = 0, below v <= 0}: of the kernel of `equal` and the rows that vanish on it."""
    held, words = proof["implied"], [[int(w, 16) for w in proof[k]] for k in ("equal", "multipliers", "direction")]
    (mu, y, v), rows = words, equal + [below[i] for i in held]
    _need(len(mu) == len(equal) and len(y) == len(set(held)) and all(m > 0 for m in y), "wrong multipliers")
    _need(not held or not any(_apply(list(zip(*rows, strict=True)), mu + y)), "the multipliers do not cancel the rows")
    chosen, kernel = [rows[i] for i in proof["independent"]], [[int(w, 16) for w in k] for k in proof["kernel"]]
    _need(rank_at_least(chosen, n) == len(chosen), "the rows are not proven independent")
    if len(chosen) < n:
        _need(len(v) == n and not any(_apply(rows, v)), "the direction leaves the rows that are held")
        falling = all(s < 0 for s in _apply([r for i, r in enumerate(below) if i not in held], v))
        _need(falling, "a row does not decrease")
        if len(chosen) < len(rows):
            fit = rank_at_least(kernel, n) == n - len(chosen)
            _need(fit and not any(any(_apply(rows, k)) for k in kernel), "the kernel is not proven")
    return n - len(chosen)


def activity_rows(graph: Graph, claim: dict[str, Any]) -> tuple[list, list, int, bool]:
    """Rows over the sources that equal activity holds, that it limits (and if at x), their size, and if that is all."""
    step = next((s for s in graph.steps if s.output == claim["layer"] and s.op in CHOICES), None)
    read, seeds, n = step.inputs[0] if step else claim["layer"], {}, 0
    values = run(graph, point(graph, claim["x"]), {read, *claim["sources"]})
    _need(len(set(claim["sources"])) == len(claim["sources"]), "a source twice")
    for name in claim["sources"]:
        size = len(values[name].data)
        seeds[name], n = Tensor(values[name].shape, [{n + k: 1} for k in range(size)]), n + size
    own = [[row.get(k, 0) for k in range(n)] for row in run(graph, seeds, {read})[read].data]
    if step is None:
        return own, [], n, True
    z, below = values[read], []
    step = step._replace(values=(z, *(graph.constants[name] for name in step.inputs[1:])))
    if step.op in ("MaxPool", "MaxOver"):
        best = [(max(g, key=z.data.__getitem__), g) for g in _groups_of(step)[1]]
        for b, p in [(b, p) for b, g in best for p in g if p != b]:
            below.append(([s - t for s, t in zip(own[p], own[b], strict=True)], z.data[p] == z.data[b]))
        return [own[b] for b in {b for b, _ in best}], below, n, False
    equal, (knots, slopes, _) = [], _tables(step)
    for i, v in enumerate(z.data):
        ends = [None, *(k[i] for k in knots), None]
        stretches = [(a, b) for (a, b), s in zip(itertools.pairwise(ends), slopes, strict=True) if s[i] == 0]
        flat = [(a, b) for a, b in stretches if (a is None or a <= v * z.unit) and (b is None or v * z.unit <= b)]
        _need(len(flat) < 2, "two flat stretches meet")
        equal += [] if flat else [own[i]]
        for limit, sign in zip(flat[0] if flat else (), (-1, 1), strict=False):
            below += [] if limit is None else [([sign * s for s in own[i]], limit == v * z.unit)]
    return equal, below, n, all(s >= 0 for row in slopes for s in row)


def kind_claim(graph: Graph, claim: dict[str, Any]) -> str:
    """All values of the sources that give a layer its activity at x: a point, bounded, or unbounded."""
    (equal, below, n, whole), kind, proof = activity_rows(graph, claim), claim["kind"], claim["proof"]
    dimension = cone(equal, [row for row, tight in below if tight], proof["directions"], n)
    _need(dimension == claim["dimension"], f"the dimension is {dimension}")
    rows = [row for row, _ in below]
    if kind == "unbounded":
        v = [int(w, 16) for w in proof["recession"]["direction"]]
        _need(len(v) == n and any(v) and not any(_apply(equal, v)), "no direction that the layer holds")
        _need(max(_apply(rows, v), default=0) <= 0, "the direction does not lead to infinity")
    else:
        _need(whole, "the conditions are those of one branch only")
        bounded = dimension == 0 or cone(equal, rows, proof["recession"], n) == 0
        _need(kind == ("compact" if dimension else "singleton") and bounded, f"it is not {kind}")
    words = f"{claim['layer']} gives its activity at x is {kind}, of dimension {dimension} in {n}"
    return f"{'the' if whole else 'a part of the'} set of values of {', '.join(claim['sources'])} to which {words}"


def features_claim(graph: Graph, claim: dict[str, Any]) -> str:
    """Two inputs whose values at a layer differ by at most a tolerance, and the answers they get."""
    layer, output, limit = claim["layer"], claim["output"], Fraction(float.fromhex(claim["tolerance"]))
    both = [run(graph, point(graph, claim[key]), {layer, output}) for key in ("x", "other")]
    gaps = _add(both[0][layer], both[1][layer], -1)
    _need(max(map(abs, gaps.data)) * gaps.unit <= limit, "the values differ by more")
    classes = [v[output].data.index(max(v[output].data)) for v in both]
    _need(classes == claim["classes"], f"the largest outputs are {classes}")
    return f"layer {layer}: two inputs differ by at most {float(limit):.3g} and are answered {classes}"


def verify(certificate: bytes, model: bytes) -> list[str]:
    """What is proven, one line each. Whatever it raises is a refusal."""
    body = json.loads(certificate, parse_float=int, parse_constant=int)  # refused: floats are text in hexadecimal
    _need(body["plica certificate"] == 1, f"format {body['plica certificate']}, and this reads 1")
    digest, words = hashlib.sha256(model).hexdigest(), body.get("graph")
    _need(digest == body["model"] and body["claims"], f"it is about {body['model']}, and this is {digest}")
    graph = read_described(words, model) if words else read_onnx(model)
    known = {"kind": kind_claim, "features": features_claim}
    if not known.keys() >= {c["claim"] for c in body["claims"]}:
        known |= runpy.run_path(str(Path(__file__).with_name("tree_checker.py")))["claims"](globals())
    about = [f"graph {hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()}"] if words else []
    return [f"model {digest}", *about, *(known[c["claim"]](graph, c) for c in body["claims"])]


if __name__ == "__main__":
    try:
        report = [*verify(*(Path(name).read_bytes() for name in sys.argv[1:3])), "accepted"]
    except Exception as refusal:  # whatever a damaged file leads to is a refusal
        report = [f"refused: {type(refusal).__name__}: {refusal}"]
    sys.stdout.write("".join(f"{line}\n" for line in report))
    sys.exit(report[-1] != "accepted")
