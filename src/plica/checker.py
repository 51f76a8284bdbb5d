"""Check plica's certificates, alone: python checker.py CERTIFICATE MODEL, with the standard library only.

Every claim is checked here; docs/certificates.md has the mathematics. `exact_model.py`, beside it, reads the model
and runs it. A network is a list of layers: what every choice reads, then the value asked for. A goal is a set of rows
of this last layer. A node of a tree has branches taken, {choice: {unit: branch}}.
"""

from __future__ import annotations

import hashlib
import json
import math
import runpy
import sys
from collections import namedtuple
from fractions import Fraction
from math import inf, isfinite
from operator import floordiv, gt, le, mod, mul, sub
from pathlib import Path
from types import SimpleNamespace

model = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("exact_model.py"))))
ONE, need, fractions = model.ONE, model.need, model.fractions
plus, extreme, fits = model.plus, model.extreme, model.fits
PRIME = (1 << 30) - 35
GRAIN, GRID = 1 << 96, 1 << 60  # bounds are rounded outward to 1 / GRAIN; weights are whole numbers over GRID
Domain = namedtuple("Domain", "low high norm radius cut words", defaults=("",))  # around the centre; cut: not above 0
Known = namedtuple("Known", "low high only")  # bounds of a choice's numbers; the branch of units that have one, or None
Goal = namedtuple("Goal", "rows low high strict")  # low <= rows of the last layer <= high; strict: low < is meant


def rank_at_least(rows, n):
    """The rank modulo a prime, which the rank is not below; rows are packed into integers, 10 bytes a column."""
    size, rank, mask = 10, 0, (1 << 80) - 1

    def packed(row):
        return int.from_bytes(b"".join([(v % PRIME).to_bytes(size, "little") for v in row]), "little")

    left = list(map(packed, rows))
    for width in range(size * n, 0, -size):  # the first column is the lowest one; then it is dropped
        first = [(p & mask) % PRIME for p in left]
        at = next((i for i, v in enumerate(first) if v), None)
        if at is not None:
            raw, inverse, rank = left.pop(at).to_bytes(width, "little"), pow(first.pop(at), -1, PRIME), rank + 1
            pivot = packed([int.from_bytes(raw[k : k + size], "little") * inverse for k in range(0, width, size)])
            left = [p + (PRIME - v) * pivot for p, v in zip(left, first, strict=True)]
        left = [p >> 8 * size for p in left]
    return rank


def product(rows, v):
    """A matrix times a vector."""
    return [sum(map(mul, row, v)) for row in rows]


def cone(equal, below, proof, n):
    """Dimension of {v : equal v = 0, below v <= 0}: of the kernel of `equal` and the rows that vanish on it."""
    held, words = proof["implied"], [[int(w, 16) for w in proof[k]] for k in ("equal", "multipliers", "direction")]
    (mu, y, v), rows, basis = words, equal + [below[i] for i in held], {*proof["independent"]}
    need(len(mu) == len(equal) and len(y) == len(held) and all(m > 0 for m in y), "wrong multipliers")
    factor = math.gcd(*(w for i, w in enumerate(mu + y) if i not in basis)) or 1  # of many: to multiply once
    sums = [product(zip(*rows, strict=True), [f(w, factor) for w in mu + y]) for f in (floordiv, mod)]
    need(not held or not any(a * factor + b for a, b in zip(*sums, strict=True)), "the multipliers do not cancel")
    chosen, kernel = [rows[i] for i in proof["independent"]], [[int(w, 16) for w in k] for k in proof["kernel"]]
    need(rank_at_least(chosen, n) == len(chosen), "the rows are not proven independent")
    if len(chosen) < n:
        need(len(v) == n and not any(product(rows, v)), "the direction leaves the rows that are held")
        others = [row for i, row in enumerate(below) if i not in held]
        need(all(s < 0 for s in product(others, v)), "a row does not decrease")
        if len(chosen) < len(rows):
            need(not any(any(product(rows, k)) for k in kernel), "a vector is not in the kernel")
            need(rank_at_least(kernel, n) == n - len(chosen), "the kernel is not proven")
    return n - len(chosen)


def activity(graph, layer, x, *more):
    """Values at x, what a layer reads, its units, and how they choose: "rising", "falling" somewhere, or "maxima"."""
    step = next((s for s in graph.steps if s.output == layer and s.op in model.CHOICES), None)
    read = step.inputs[0] if step else layer
    values, units = model.run(graph, model.point(graph, x), {layer, read, *more}), []
    if step:
        own = [values[read], *(graph.constants[name] for name in step.inputs[1:])]
        units = model.units_of(step._replace(values=own))[1]
    rising = all(line.get(u, 0) >= 0 for u, unit in enumerate(units) for line, _ in unit)
    return values, read, units, "maxima" if step and step.op in model.MAXIMA else "rising" if rising else "falling"


def level(unit, u, z):
    """Ends of the interval around z[u] that a unit sends where it sends z[u]; None for no end."""
    flat = [limits for line, limits in unit if not line[u] and fits(limits, z, z)]
    low = [form[ONE] for form, _ in flat[0] if form[u] < 0] if flat else [z[u]]
    high = [-form[ONE] for form, _ in flat[-1] if form[u] > 0] if flat else [z[u]]
    return min(low, default=None), min(high, default=None)


def activity_rows(graph, claim):
    """Rows over the sources that equal activity holds, that it limits (and if at x), their size, and if that is all."""
    values, read, units, how = activity(graph, claim["layer"], claim["x"], *claim["sources"])
    feeds, n = {}, 0
    for name in claim["sources"]:
        need(name not in feeds, "a source twice")
        feeds[name], n = model.columns(values[name].shape, n), n + len(values[name].data)
    (layer,), z = model.network(graph, read, feeds), fractions(values[read])

    def dense(form):
        row = model.total([*form.values()], [{} if k == ONE else layer.rows[k] for k in form])
        return [row.get(k, 0) for k in range(n)]

    held, below = set() if units else {*range(len(z))}, []
    for u, unit in enumerate(units):
        if how == "maxima":
            line, limits = next(branch for branch in unit if fits(branch[1], z, z))
            held, forms = {*held, *line}, [form for form, _ in limits]
        else:
            low, high = level(unit, u, z)
            held |= {u} if low == high else set()
            forms = [{u: s, ONE: -s * end} for s, end in ((-1, low), (1, high)) if low != high and end is not None]
        below += [(dense(form), not extreme(form, z, z)) for form in forms]
    return [dense({u: 1}) for u in sorted(held)], below, n, how == "rising"


def kind_claim(graph, claim):
    """All values of the sources that give a layer its activity at x: a point, bounded, or unbounded."""
    (equal, below, n, whole), kind, proof = activity_rows(graph, claim), claim["kind"], claim["proof"]
    dimension = cone(equal, [row for row, tight in below if tight], proof["directions"], n)
    need(dimension == claim["dimension"], f"the dimension is {dimension}")
    rows = [row for row, _ in below]
    if kind == "unbounded":
        v = [int(w, 16) for w in proof["recession"]["direction"]]
        need(len(v) == n and any(v) and not any(product(equal, v)), "no direction that the layer holds")
        need(max(product(rows, v), default=0) <= 0, "the direction does not lead to infinity")
    else:
        need(whole, "the conditions are those of one branch only")
        bounded = dimension == 0 or cone(equal, rows, proof["recession"], n) == 0
        need(kind == ("compact" if dimension else "singleton") and bounded, f"it is not {kind}")
    words = f"{claim['layer']!a} gives its activity at x is {kind}, of dimension {dimension} in {n}"
    return f"{'the' if whole else 'a part of the'} set of values of {claim['sources']!a} to which {words}"


def features_claim(graph, claim):
    """Two inputs whose values at a layer differ by at most a tolerance, and the answers they get."""
    layer, output, limit = claim["layer"], claim["output"], Fraction(float.fromhex(claim["tolerance"]))
    both = [model.run(graph, model.point(graph, claim[key]), {layer, output}) for key in ("x", "other")]
    gaps = [abs(a - b) for a, b in zip(*(fractions(v[layer]) for v in both), strict=True)]
    need(max(gaps) <= limit, "the values differ by more")
    classes = [v[output].data.index(max(v[output].data)) for v in both]
    need(output in graph.outputs and classes == claim["classes"], f"the largest outputs are {classes}")
    return f"layer {layer!a}: two inputs differ by at most {float(limit)} and are answered {classes}"


def cut(limits, low, high):
    """Cut bounds down to a branch; False where nothing is left."""
    for form, _ in limits:
        for k, c in form.items():  # c is 1 or -1
            if k != ONE:
                rest = -c * extreme({i: v for i, v in form.items() if i != k}, low, high)
                low[k], high[k] = (low[k], min(high[k], rest)) if c > 0 else (max(low[k], rest), high[k])
    least = [(extreme(form, low, high), strict) for form, strict in limits]
    return not any(v > 0 or (strict and v == 0) for v, strict in least)


def shift(unit, line, low, high, sign):
    """A good t with output >= line + t (sign 1) or <= line + t (sign -1) for all numbers within their bounds."""
    read, gaps = {k for own, _ in unit for k in own if k != ONE}, []
    need(line.keys() <= read, "a line of another unit")
    for own, limits in unit:
        ends = {i: low[i] for i in read}, {i: high[i] for i in read}
        if cut(limits, *ends):
            gap = loose = plus(own, line, -1)
            for form, _ in limits:  # not above 0: what the line has of other numbers may pass to the largest
                for i in form.keys() - own.keys():
                    loose = plus(loose, form, sign * max(0, sign * line.get(i, 0)))
            gaps.append(max(sign * extreme(form, *ends, sign) for form in (gap, loose)))
    return sign * min(gaps)


def through(form, layer, weights):
    """A form with weights of a layer's numbers added to it."""
    own = {k: Fraction(v) for k, v in weights.items() if v and k != ONE}
    top = math.lcm(*(v.denominator for v in own.values()))
    row = model.total([int(v * top) for v in own.values()], [layer.rows[k] for k in own]) if own else {}
    return plus(plus(form, row, layer.unit / top), {ONE: weights.get(ONE, 0)})


def pull(net, known, form, slopes, more=None):
    """A form of the input alone that is not above the given one: outputs become lines, from the last choice back."""
    for j in reversed(range(len(known))):  # `more` is not above 0, and is added
        layer, (low, high, only), numbers = net[j], known[j], (more or {}).get(j, {})
        for u, unit in enumerate(layer.units):
            c = form.pop(layer.first + u, 0)
            if c and only[u] is None:
                line = slopes.get(j, {}).get(u, ({}, {}))[c < 0]
                numbers = plus(numbers, {**line, ONE: shift(unit, line, low, high, 1 if c > 0 else -1)}, c)
            elif c:
                numbers = plus(numbers, unit[only[u]][0], c)
        form = through(form, layer, numbers)
    return form


def lowest(form, domain, nu=0):
    """A lower bound of a form of the input over the domain; any nu >= 0 is sound, and any weight mu of the ball."""
    need(nu >= 0, "a negative multiplier")
    form, norm, radius = plus(form, domain.cut, nu) if nu else form, domain.norm, domain.radius
    ends = [(form.get(k, 0), *end) for k, end in enumerate(zip(domain.low, domain.high, strict=True))]

    def size(v):
        return sum(map(abs, v)) if norm == "1" else sum(d * d for d in v) / 2

    def least(mu, ends):  # where c v + mu |v| (norm 2: c v + mu v^2 / 2) is least; the ends are around 0 if mu > 0
        if norm == "2" and mu:
            return [min(max(-c / mu, a), b) for c, a, b in ends]
        return [a if c > mu else b if c < -mu else 0 for c, a, b in ends]

    near, limit, mu = [tuple(map(float, end)) for end in ends if norm != "inf"], size([float(radius)]), 0.0
    if size(least(0, near)) > limit > 0:
        below, mu = 0.0, math.hypot(*(c for c, _, _ in near)) * (1 + 1 / float(radius))
        for _ in range(50):  # the best weight puts the point on the ball
            middle = (below + mu) / 2
            below, mu = (middle, mu) if size(least(middle, near)) > limit else (below, middle)
    at, weight = least(Fraction(mu), ends), Fraction(mu)
    value = form.get(ONE, 0) + sum(c * d for (c, _, _), d in zip(ends, at, strict=True) if c)
    return value + weight * (size(at) - size([radius])) if weight else value


def lines_of(step):
    """The slopes of a step, in fractions: {choice: {unit: (line below, line above)}}."""
    return {j: {u: [{i: Fraction(s, GRID) for i, s in end} for end in ends] for u, *ends in own}
            for j, own in step.get("slopes", ())}  # fmt: skip


def bounds(net, domain, taken, before, step):
    """Bounds of what all choices read: those of `before`, those that the step wants; None where there is no point."""
    known, slopes, box = list[Known](), lines_of(step), domain._replace(norm="inf")

    def bound(layer, i, sign, slopes, domain, nu=0, known=known):
        value = lowest(pull(net, known, through({}, layer, {i: sign}), slopes), domain, Fraction(nu, GRID))
        return sign * (Fraction(value.numerator * GRAIN // value.denominator, GRAIN) if isfinite(value) else value)

    for j, layer in enumerate(net[:-1]):
        if before:
            low, high = [*before[j].low], [*before[j].high]
        else:
            ways, n = (known, [k._replace(only=[None] * len(k.only)) for k in known]), len(layer.rows)
            ends = ([[bound(layer, i, s, {}, box, 0, k) for k in ways] for i in range(n)] for s in (1, -1))
            low, high = ([*map(best, end)] for best, end in zip((max, min), ends, strict=True))
        for i, below, above in dict(step.get("bounds", ())).get(j, ()):
            low[i] = max(low[i], bound(layer, i, 1, slopes, domain, below))
            high[i] = min(high[i], bound(layer, i, -1, slopes, domain, above))
        own = taken.get(j, {})
        if not all([cut(layer.units[u][b][1], low, high) for u, b in own.items()]) or any(map(gt, low, high)):
            return None
        only = [own.get(u, b) for u, b in enumerate(before[j].only if before else [None] * len(layer.units))]
        for u in [u for u, b in enumerate(only) if b is None]:
            only[u] = next((b for b, (_, limits) in enumerate(layer.units[u]) if fits(limits, low, high)), None)
        known.append(Known(low, high, only))
    return known


def excluded(net, domain, goal, taken, known, step):
    """Whether weights of the goal's rows and of bounds show that a node has no point of the goal; and their form."""
    weights, more, strict = model.Form(), dict[int, dict](), goal.strict and any(step["rows"])
    for row, low, high, k in zip(goal.rows, goal.low, goal.high, step["rows"], strict=True):
        if k:
            weights = plus(weights, {**row, ONE: -(high if k > 0 else low)}, Fraction(k, GRID))
    for j, edges in step.get("edges", ()):
        units, (low, high, only), own = net[j].units, known[j], taken.get(j, {})
        for i, weight, *pair in edges:
            u, edge = i, {i: 1, ONE: -high[i]} if weight < 0 else {i: -1, ONE: low[i]}
            for u in pair:
                need(weight >= 0, "a negative weight")
                edge = next(form for form, _ in units[u][only[u]][1] if form.get(i) == 1)
            strict = strict or (weight and u in own and (edge, True) in units[u][own[u]][1])
            more[j] = plus(more.get(j, {}), edge, Fraction(abs(weight), GRID))
    form = pull(net, known, through({}, net[-1], weights), lines_of(step), more)
    value = lowest(form, domain)
    return value > 0 or (strict and value == 0), form


def check(net, node, domain, goal, pieces=(), taken=None, known=None):
    """Whether a node holds: its points of the goal lie in the pieces. Its own steps, then a piece, or all branches."""
    taken = taken or {}
    for step in node["steps"]:
        known = bounds(net, domain, taken, known, step)
        if known is None:
            return True
        if "rows" in step:
            closed, form = excluded(net, domain, goal, taken, known, step)
            if closed:
                return True
            domain = domain._replace(cut=form)
    if "piece" in node:
        piece = [(j, u, b) for j, own in enumerate(pieces[node["piece"]]) for u, b in enumerate(own)]
        return all(taken.get(j, {}).get(u) == b or fits(net[j].units[u][b][1], *known[j][:2]) for j, u, b in piece)
    if "split" not in node:
        return False
    (j, u), children, own = node["split"], node["children"], taken.get(node["split"][0], {})
    need(0 <= j < len(known) and 0 <= u < len(net[j].units) and u not in own, "no such unit")
    need(len(children) == len(net[j].units[u]), "branches left out")
    return all(check(net, c, domain, goal, pieces, {**taken, j: {**own, u: b}}, known) for b, c in enumerate(children))


def region(claim, n, centre=()):
    """The box of a claim; or the box around a centre, cut with its ball."""
    norm, radius = (claim["norm"], Fraction(float.fromhex(claim["radius"]))) if centre else ("inf", inf)
    around, ends = centre or [0] * n, [[float.fromhex(w) for w in claim[k]] for k in ("lower", "upper")]
    low, high = ([Fraction(v) - c if isfinite(v) else v for v, c in zip(end, around, strict=True)] for end in ends)
    need(all(a <= b and a < inf and b > -inf for a, b in zip(low, high, strict=True)), "an empty box")
    need(norm in ("1", "2", "inf") and radius >= 0, "no such norm or radius")
    need(not centre or max(low) <= 0 <= min(high), "a centre outside of the box")
    words = f"its box (from {min(ends[0])} to {max(ends[1])}, narrowest side {min(map(sub, ends[1], ends[0])):.3g})"
    return Domain([max(v, -radius) for v in low], [min(v, radius) for v in high], norm, radius, {}, words)


def bound_claim(graph, claim):
    """No input of a box within a radius of x has an output above that of the class that x is given."""
    label, output, given = claim["label"], claim["output"], model.point(graph, claim["x"])
    x, values = given[graph.input], model.run(graph, given, {output})[output].data
    net = model.network(graph, output, {graph.input: model.add(model.columns(graph.shape, 0), x)})
    need(output in graph.outputs and label >= 0 and values[label] == max(values), f"x is not given the class {label}")
    others, domain = [t for t in range(len(values)) if t != label], region(claim, len(x.data), fractions(x))
    for t, node in zip(others, claim["trees"], strict=True):
        need(check(net, node, domain, Goal([{t: 1, label: -1}], [0], [None], True)), f"class {t} is not excluded")
    where = f"of {domain.words} within {float(domain.radius)} of x (norm {claim['norm']})"
    return f"no input {where} has an output above that of class {label}"


def number(word):
    """A fraction, from two whole numbers in hexadecimal."""
    return Fraction(*(int(part, 16) for part in word.split("/")))


def asked(graph, claim):
    """The network, the goal and the words of a claim: an input's activity, or conditions that it lists."""
    value, words = claim["layer"], f"{claim['layer']!a} its activity at x"
    if "x" in claim:
        values, read, units, how = activity(graph, value, claim["x"])
        ends, z = [(v, v) for v in fractions(values[value])], fractions(values[read])
        if units and how == "rising":
            value, ends = read, [level(unit, u, z) for u, unit in enumerate(units)]
        rows, low, high = [{i: 1} for i in range(len(ends))], [a for a, _ in ends], [b for _, b in ends]
    else:
        rows = [{i: number(v) for i, v in model.once(row).items()} for row, _, _ in claim["rows"]]
        low, high = ([number(row[k]) if row[k] is not None else None for row in claim["rows"]] for k in (1, 2))
        digest = hashlib.sha256(repr(claim["rows"]).encode()).hexdigest()
        words = f"{value!a} values that meet its {len(rows)} conditions (SHA-256 {digest})"
    source, zero = claim["source"], model.point(graph, ["0"] * math.prod(graph.shape))
    shape = model.run(graph, zero, {source})[source].shape
    return model.network(graph, value, {source: model.columns(shape, 0)}), shape, Goal(rows, low, high, False), words


def own_point(net, values, goal, branches):
    """Whether a point of the goal that has branches, and is refused otherwise, lies in the piece of no other ones."""
    (*numbers, v), own = [fractions(values[layer.value]) for layer in net], True
    for z, layer, taken in zip(numbers, net[:-1], branches, strict=True):
        for unit, b in zip(layer.units, taken, strict=True):
            need(0 <= b < len(unit) and fits(unit[b][1], z, z), "a point of another piece")
            own = own and not any(fits(limits, z, z) for _, limits in unit[:b])
    for row, low, high in zip(goal.rows, goal.low, goal.high, strict=True):
        value = sum(c * v[i] for i, c in row.items())
        need((low is None or low <= value) and (high is None or value <= high), "a point that misses the conditions")
    return own


def union_claim(graph, claim):
    """All values of a source, in a box, that meet conditions: none, or those of listed pieces, each with a point."""
    (net, shape, goal, words), name, pieces = asked(graph, claim), claim["source"], claim["pieces"]
    domain, own = region(claim, math.prod(shape)), 0
    for piece in pieces:
        point = [number(w) for w in piece["point"]]
        need(all(map(le, domain.low, point)) and all(map(le, point, domain.high)), "a point outside of the box")
        values = model.run(graph, {name: model.exact(shape, point)}, {layer.value for layer in net})
        own += own_point(net, values, goal, piece["branches"])
    patterns = [piece["branches"] for piece in pieces]
    need(all(p not in patterns[:k] for k, p in enumerate(patterns)), "a piece twice")
    need(check(net, claim["tree"], domain, goal, patterns), "not all other branches are excluded")
    where = f"values of {name!a} in {domain.words} that give {words}"
    listed = f"the {where} are those of {len(pieces)} closed pieces, each with a point, {own} with one of their own"
    return listed if pieces else f"there are no {where}"


def verify(certificate, data):
    """What is proven, one line each, of the model with these bytes. Whatever it raises is a refusal."""
    body = json.loads(certificate, object_pairs_hook=model.once, parse_float=int, parse_constant=int)  # no floats
    need(body["plica certificate"] == 1, f"format {body['plica certificate']}, and this reads 1")
    digest, words = hashlib.sha256(data).hexdigest(), body.get("graph")
    need(digest == body["model"] and body["claims"], f"it is about {body['model']}, and this is {digest}")
    graph = model.read_described(words, data) if words else model.read_onnx(data)
    claims = {"kind": kind_claim, "features": features_claim, "bound": bound_claim, "union": union_claim}
    about = [f"graph {hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()}"] if words else []
    return [f"model {digest}", *about, *(claims[c["claim"]](graph, c) for c in body["claims"])]


if __name__ == "__main__":
    try:
        report = [*verify(*(Path(name).read_bytes() for name in sys.argv[1:3])), "accepted"]
    except Exception as refusal:  # whatever a damaged file leads to is a refusal
        report = [f"refused: {type(refusal).__name__}: {refusal}".encode("unicode_escape").decode()]
    sys.stdout.write("".join(f"{line}\n" for line in report))
    sys.exit(report[-1] != "accepted")
