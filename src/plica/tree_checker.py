"""Check a tree that says where a network meets conditions: nowhere ("bound", "empty"), or in listed pieces ("union").

Exact fractions, the standard library only; docs/certificates.md has the mathematics. A network is a list of layers:
layer j is what choice j reads, the last one what the conditions are about. Their columns are the input's coordinates,
then the outputs of the choices in order. A form is {column: coefficient}, with its constant under the key ONE.
`checker.py` beside this file hands over the graph.
"""

from __future__ import annotations

from collections import namedtuple
from fractions import Fraction
from functools import partial
from hashlib import sha256
from math import hypot, inf, isfinite, lcm, prod
from operator import gt, le
from typing import Any

ONE = -1
GRAIN = 1 << 96  # bounds are rounded outward to multiples of its inverse
GRID = 1 << 60  # slopes and weights of the cut in a certificate are whole numbers over this
# rows[i]: {column: integer}, times unit; offset[i]: a fraction. choice: None, ("scalar", [(knots, slopes, shifts)]) or
# ("max", groups), by unit; first: column of its first output
Layer = namedtuple("Layer", "rows unit offset choice first")
Domain = namedtuple("Domain", "low high norm radius cut")  # around the centre; the form `cut` is not above 0
Known = namedtuple(
    "Known", "low high line"
)  # of a choice: bounds of what it reads; (line, shift) of units that are one
Net = namedtuple("Net", "layers total names inputs shape")  # names of the choices; number and shape of the inputs
Goal = namedtuple("Goal", "rows low high strict")  # low <= rows of the last layer <= high; strict: low < is meant


def need(condition, reason):
    """Refuse."""
    if not condition:
        raise ValueError(reason)


def least(c, low, high, sign=1):
    """The smallest (largest for sign -1) value of c times a number between two."""
    return c and sign * min(sign * c * low, sign * c * high)


def fits(choice, u, b, low, high):
    """Whether a unit has a branch wherever the numbers that it reads are within their bounds."""
    if choice[0] == "scalar":
        knots = choice[1][u][0]
        return (b == 0 or knots[b - 1] <= low[u]) and (b == len(knots) or high[u] <= knots[b])
    return all(high[i] <= low[choice[1][u][b]] for i in choice[1][u] if i != choice[1][u][b])


def branches(choice, u):
    """Number of branches of a unit."""
    return len(choice[1][u] if choice[0] == "max" else choice[1][u][1])


def shift(choice, u, line, low, high, sign):
    """The best t with output >= line + t (sign 1) or <= line + t (sign -1) for all numbers within their bounds."""
    if choice[0] == "scalar":
        knots, slopes, shifts = choice[1][u]
        need(line.keys() <= {u}, "a line of another unit")
        points = [low[u], *(k for k in knots if low[u] < k < high[u]), high[u]]
        at = [(p, sum(k < p for k in knots)) for p in points]
        return sign * min(sign * (shifts[b] + least(slopes[b] - line.get(u, 0), p, p)) for p, b in at)
    group = choice[1][u]
    need(line.keys() <= {*group}, "a line of another group")
    gaps = [sum(least((i == k) - line.get(k, 0), low[k], high[k], sign) for k in group) for i in group]
    convex = sign > 0 and sum(line.values()) == 1 and min(line.values()) >= 0
    return max(gaps + [0] * convex)


def add(total, form, layer, weights):
    """Add weights {row: fraction} of a layer's rows to a form."""
    weights = {i: Fraction(v) for i, v in weights.items() if v}
    top = lcm(*(v.denominator for v in weights.values()))
    row = total([int(v * top) for v in weights.values()], [layer.rows[i] for i in weights]) if weights else {}
    for k, v in row.items():
        form[k] = form.get(k, 0) + v * layer.unit / top
    form[ONE] = form.get(ONE, 0) + sum(v * layer.offset[i] for i, v in weights.items())
    return form


def pull(net, known, form, slopes, edges=None):
    """A form of the input alone that is not above the given one: outputs become lines, from the last choice back.

    slopes: {choice: {unit: ({number: slope} below, the same above)}}; none is the bound itself. edges: what is not
    above 0 and is added, {choice: [(number, weight)]}: weight times (lower bound - number), or (upper - number) for
    weights below 0.
    """
    for j in reversed(range(len(known))):
        choice, (low, high, lines) = net.layers[j].choice, known[j]
        y: dict = {}
        for i, weight, *unit in edges.get(j, ()) if edges else ():
            for u in unit:
                need(choice[0] == "max" and i in choice[1][u] and lines[u] and weight >= 0, "no branch taken")
                y[i], (i,) = y.get(i, 0) + weight, lines[u][0]
            y[i] = y.get(i, 0) - weight
            form[ONE] += 0 if unit else weight * (low[i] if weight > 0 else high[i])
        for u in range(len(lines)):
            c = form.pop(net.layers[j].first + u, 0)
            if c:
                line, t = lines[u] or (slopes.get(j, {}).get(u, ({}, {}))[c < 0], None)
                form[ONE] += c * (shift(choice, u, line, low, high, 1 if c > 0 else -1) if t is None else t)
                for i, slope in line.items():
                    y[i] = y.get(i, 0) + c * slope
        form = add(net.total, form, net.layers[j], y)
    return form


def lowest(form, domain, nu=0):
    """A lower bound of a form of the input over the domain; any nu >= 0 is sound, and any weight of the ball."""
    need(nu >= 0, "a negative multiplier")
    cut = domain.cut if nu else {}
    g = [form.get(k, 0) + nu * cut.get(k, 0) for k in range(len(domain.low))]
    ends, total = list(zip(g, domain.low, domain.high, strict=True)), form.get(ONE, 0) + nu * cut.get(ONE, 0)
    mu = Fraction(weight(ends, domain)) if domain.norm in ("1", "2") and any(g) else 0
    if not mu:
        return total + sum(least(*end) for end in ends)
    if domain.norm == "1":
        return total - mu * domain.radius + sum(min(0, (c - mu) * a, (c + mu) * b) for c, a, b in ends)
    at = [(c, min(max(-c / mu, a), b)) for c, a, b in ends]
    return total - mu * domain.radius**2 / 2 + sum(c * d + mu * d * d / 2 for c, d in at)


def weight(ends, domain):
    """A good weight of the ball, in floats; 0 where the corner of the box is within it."""
    ends, left = [tuple(map(float, end)) for end in ends], float(domain.radius)
    if domain.norm == "1":
        for c, a, b in sorted(ends, key=lambda end: -abs(end[0])):
            left += a if c > 0 else -b
            if left <= 0:
                return abs(c)
        return 0
    if hypot(*(a if c > 0 else b for c, a, b in ends if c)) <= left or not left:
        return 0
    mu = hypot(*(c for c, _, _ in ends)) / left
    for _ in range(20):
        mu *= min(1.0, hypot(*(min(max(-c / mu, a), b) for c, a, b in ends)) / left)
    return mu


def bounds(net, domain, taken, before, step) -> list | None:
    """Bounds of what all choices read: those of `before`, those that the step wants; None where there is no point."""
    known, slopes, wanted, box = (
        list[Known](),
        lines_of(step),
        dict(step.get("bounds", ())),
        domain._replace(norm="inf"),
    )

    def bound(layer, i, sign, slopes, domain, nu=0):
        form = pull(net, known, add(net.total, {}, layer, {i: sign}), slopes)
        value = lowest(form, domain, Fraction(nu, GRID))
        return sign * (Fraction(value.numerator * GRAIN // value.denominator, GRAIN) if isfinite(value) else value)

    for j, layer in enumerate(net.layers[:-1]):
        own, rows = taken.get(j, {}), range(len(layer.rows))
        low = [*before[j].low] if before else [bound(layer, i, 1, {}, box) for i in rows]
        high = [*before[j].high] if before else [bound(layer, i, -1, {}, box) for i in rows]
        for i, below, above in wanted.get(j, ()):
            low[i] = max(low[i], bound(layer, i, 1, slopes, domain, below))
            high[i] = min(high[i], bound(layer, i, -1, slopes, domain, above))
        if not all([cut(layer.choice, u, b, low, high) for u, b in own.items()]) or any(map(gt, low, high)):
            return None
        lines = [sole(layer.choice, u, own.get(u), low, high) for u in range(len(layer.choice[1]))]
        known.append(Known(low, high, lines))
    return known


def cut(choice, u, b, low, high):
    """Cut bounds down to a branch; False where nothing is left. A knot belongs to the branch below it."""
    if choice[0] == "scalar":
        knots = choice[1][u][0]
        left = b == 0 or high[u] > knots[b - 1]
        low[u] = max(low[u], knots[b - 1]) if b > 0 else low[u]
        high[u] = min(high[u], knots[b]) if b < len(knots) else high[u]
        return left
    group, winner = choice[1][u], choice[1][u][b]
    low[winner] = max(low[i] for i in group)
    for i in group:
        high[i] = min(high[i], high[winner])
    return True


def sole(choice, u, taken, low, high):
    """The line, {number read: slope}, and shift of a unit that has one branch on all of the node, or None."""
    for b in range(branches(choice, u)):
        if b == taken or (taken is None and fits(choice, u, b, low, high)):
            return ({choice[1][u][b]: 1}, 0) if choice[0] == "max" else ({u: choice[1][u][1][b]}, choice[1][u][2][b])
    return None


def lines_of(step):
    """The slopes of a step, in fractions: {choice: {unit: (line below, line above)}}."""
    pairs = {j: {u: ends for u, *ends in own} for j, own in step.get("slopes", ())}
    return {j: {u: [{i: Fraction(s, GRID) for i, s in end} for end in ends] for u, ends in own.items()}
            for j, own in pairs.items()}  # fmt: skip


def strictly(choice, taken, known, i, u=None):
    """Whether a branch that is taken keeps a number above its lower bound, or below the largest of a group."""
    if u is not None:
        return u in taken and i in choice[1][u][: taken[u]]
    b = taken.get(i, 0) if choice[0] == "scalar" else 0
    return b > 0 and known.low[i] == choice[1][i][0][b - 1]


def excluded(net, domain, goal, taken, known, step):
    """Whether weights of the goal's rows and of bounds show that a node has no point of the goal; and their form."""
    form, strict = {ONE: Fraction(0)}, goal.strict and any(step["rows"])
    weights = dict[int, Fraction]()
    for row, low, high, k in zip(goal.rows, goal.low, goal.high, step["rows"], strict=True):
        form[ONE] -= Fraction(k, GRID) * (high if k > 0 else low) if k else 0
        for i, v in row.items():
            weights[i] = weights.get(i, 0) + Fraction(k, GRID) * v
    edges = {j: [(i, Fraction(w, GRID), *unit) for i, w, *unit in own] for j, own in step.get("edges", ())}
    for j, own in edges.items():
        above = [(i, *unit) for i, w, *unit in own if w > 0]
        strict = strict or any(strictly(net.layers[j].choice, taken.get(j, {}), known[j], *edge) for edge in above)
    form = pull(net, known, add(net.total, form, net.layers[-1], weights), lines_of(step), edges)
    value = lowest(form, domain)
    return value > 0 or (strict and value == 0), form


def lies(net, piece, taken, known):
    """Whether a node has the branches of a piece everywhere."""
    units = [(j, u, b) for j, own in enumerate(piece) for u, b in enumerate(own)]
    return all(taken.get(j, {}).get(u) == b or fits(net.layers[j].choice, u, b, *known[j][:2]) for j, u, b in units)


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
        return lies(net, pieces[node["piece"]], taken, known)
    if "split" not in node:
        return False
    j, u = node["split"]
    own = taken.get(j, {})
    need(0 <= j < len(known) and 0 <= u < len(known[j].line) and u not in own, "no such unit")
    need(len(node["children"]) == branches(net.layers[j].choice, u), "branches left out")
    below = [(child, {**taken, j: {**own, u: b}}) for b, child in enumerate(node["children"])]
    return all(check(net, child, domain, goal, pieces, t, known) for child, t in below)


def table(reader, step, values):
    """A choice, from a step of the graph and what it reads: continuous."""
    if step.op in ("MaxPool", "MaxOver"):
        return ("max", reader["_groups_of"](step._replace(values=values))[1])
    columns = [list(zip(*t, strict=True)) or [()] * len(values[0].data)
               for t in reader["_tables"](step._replace(values=values))]  # fmt: skip
    units = list(zip(*columns, strict=True))
    for k, s, t in units:
        need(list(k) == sorted(k) and len(s) == len(t) == len(k) + 1, "knots that are not read here")
        need(all(s[i] * v + t[i] == s[i + 1] * v + t[i + 1] for i, v in enumerate(k)), "a function with jumps")
    return ("scalar", units)


def network(reader, graph, value, source, centre):
    """All layers from a source (the input, or a later value) to a value, computed exactly from the graph."""
    run, tensor = reader["run"], reader["Tensor"]
    names = [step.output for step in graph.steps]
    need(len({*names, *graph.constants, graph.input}) == len(names) + len(graph.constants) + 1, "a name twice")
    needed = {value}
    for step in reversed(graph.steps):
        single = step.op in ("Mul", "Div", "Gemm", "MatMul", "Conv") or step.op in reader["CHOICES"]
        need(not single or graph.constants.keys() >= {*step.inputs[1:]}, f"{step.op} of two values")
        needed |= {*step.inputs} if step.output in needed and step.output != source else set()
    chosen = [s for s in graph.steps if s.output in needed and s.op in reader["CHOICES"] and s.output != source]
    x = {graph.input: tensor(graph.shape, [0] * prod(graph.shape))}
    shapes = run(graph, x, {source, value, *(s.inputs[0] for s in chosen), *(s.output for s in chosen)})
    seeds, zeros, layers = dict[str, Any](), dict[str, Any](), list[Layer]()
    for name, step in [(source, None), *((s.output, s) for s in chosen), (value, None)]:
        if step or seeds:
            read = step.inputs[0] if step else value
            linear, constant = run(graph, seeds, {read})[read], run(graph, zeros, {read})[read]
            fixed = (shapes[read], *(graph.constants[n] for n in step.inputs[1:])) if step else ()
            offset = [v * constant.unit + linear.unit * sum(v * centre.get(k, 0) for k, v in row.items())
                      for v, row in zip(constant.data, linear.data, strict=True)]  # fmt: skip
            first = sum(len(t.data) for t in seeds.values())
            layers.append(Layer(linear.data, linear.unit, offset, table(reader, step, fixed) if step else None, first))
        if step or not zeros:
            first, t = sum(len(t.data) for t in seeds.values()), shapes[name]
            seeds[name] = tensor(t.shape, [{first + k: 1} for k in range(len(t.data))])
            zeros[name] = tensor(t.shape, [0] * len(t.data))
    return Net(layers, reader["_total"], [s.output for s in chosen], len(shapes[source].data), shapes[source].shape)


def region(claim, n, centre=None):
    """The box of a claim; or the box around a centre, cut with its ball."""
    norm, radius = (claim["norm"], Fraction(float.fromhex(claim["radius"]))) if centre else ("inf", inf)
    around = centre or [0] * n
    ends = [[float.fromhex(w) for w in claim[k]] for k in ("lower", "upper")]
    low, high = ([Fraction(v) - c if isfinite(v) else v for v, c in zip(end, around, strict=True)] for end in ends)
    need(all(a <= b and a < inf and b > -inf for a, b in zip(low, high, strict=True)), "an empty box")
    need(norm in ("1", "2", "inf") and radius >= 0, "no such norm or radius")
    need(centre is None or max(low) <= 0 <= min(high), "a centre outside of the box")
    return Domain([max(v, -radius) for v in low], [min(v, radius) for v in high], norm, radius, {})


def bound_claim(reader, graph, claim):
    """No input of a box within a radius of x has an output above that of the class that x is given."""
    label, trees, given = claim["label"], claim["trees"], reader["point"](graph, claim["x"])
    x = [v * given[graph.input].unit for v in given[graph.input].data]
    values = reader["run"](graph, given, {claim["output"]})[claim["output"]].data
    net = network(reader, graph, claim["output"], graph.input, dict(enumerate(x)))
    need(0 <= label < len(values) and values[label] == max(values), f"x is not given the class {label}")
    others, domain = [t for t in range(len(values)) if t != label], region(claim, len(x), x)
    for t, node in zip(others, trees, strict=True):
        goal = Goal([{t: 1, label: -1}], [0], [None], True)
        need(check(net, node, domain, goal), f"class {t} is not excluded")
    where = f"of the box within {float(domain.radius):.9g} of x (norm {claim['norm']})"
    return f"no input {where} has an output above that of class {label}"


def activity(reader, graph, layer, x):
    """What equal activity of x at a layer asks for: a value, and a goal for it."""
    step = next((s for s in graph.steps if s.output == layer and s.op in reader["CHOICES"]), None)
    values = reader["run"](graph, reader["point"](graph, x), {layer, *(step.inputs[:1] if step else ())})
    ends = [(v * values[layer].unit,) * 2 for v in values[layer].data]
    if step and step.op not in ("MaxPool", "MaxOver"):
        z, name = values[step.inputs[0]], step.inputs[0]
        units = table(reader, step, (z, *(graph.constants[n] for n in step.inputs[1:])))[1]
        if all(s >= 0 for _, slopes, _ in units for s in slopes):
            layer, ends = name, [level(unit, v * z.unit) for unit, v in zip(units, z.data, strict=True)]
    return layer, Goal([{i: 1} for i in range(len(ends))], [a for a, _ in ends], [b for _, b in ends], False)


def level(unit, z):
    """All numbers that an increasing function sends where it sends z: from, to; None for no end."""
    knots, slopes, _ = unit
    stretches = [(a, b) for a, s, b in zip((None, *knots), slopes, (*knots, None), strict=True) if s == 0]
    own = [end for end in stretches if (end[0] is None or end[0] <= z) and (end[1] is None or z <= end[1])]
    return (own[0][0], own[-1][1]) if own else (z, z)


def number(word):
    """A fraction, from two whole numbers in hexadecimal."""
    return Fraction(*(int(part, 16) for part in word.split("/")))


def asked(reader, graph, claim):
    """The value, the goal and the words of a claim: an input's activity, or conditions that it lists."""
    if "x" in claim:
        return *activity(reader, graph, claim["layer"], claim["x"]), f"{claim['layer']} its activity at x"
    rows = [{i: number(v) for i, v in row} for row, _, _ in claim["rows"]]
    low, high = ([w and number(w) for w in ends] for ends in zip(*(row[1:] for row in claim["rows"]), strict=True))
    digest = sha256(repr(claim["rows"]).encode()).hexdigest()
    words = f"{claim['layer']} values that meet its {len(rows)} conditions (SHA-256 {digest})"
    return claim["layer"], Goal(rows, low, high, False), words


def union_claim(reader, graph, claim):
    """All values of a source, in a box, that meet conditions: none, or those of listed pieces, each with a point."""
    value, goal, words = asked(reader, graph, claim)
    net = network(reader, graph, value, claim["source"], {})
    domain, pieces = region(claim, net.inputs), claim["pieces"]
    own = sum(contains(reader, graph, net, (value, claim["source"], domain, goal), p) for p in pieces)
    need(len({repr(p["branches"]) for p in pieces}) == len(pieces), "a piece twice")
    patterns = [p["branches"] for p in pieces]
    need(check(net, claim["tree"], domain, goal, patterns), "not all other branches are excluded")
    box = f"between {float(min(domain.low)):.9g} and {float(max(domain.high)):.9g}"
    where = f"values of {claim['source']} in its box ({box}) that give {words}"
    listed = f"the {where} are those of {len(pieces)} closed pieces, each with a point, {own} with one of their own"
    return listed if pieces else f"there are no {where}"


def contains(reader, graph, net, about, piece):
    """Whether the point of a piece, which has its branches and is refused otherwise, lies in no piece of other ones."""
    (value, source, domain, goal), own = about, True
    point = [number(w) for w in piece["point"]]
    need(all(map(le, domain.low, point)) and all(map(le, point, domain.high)), "a point outside of the box")
    reads = {s.output: s.inputs[0] for s in graph.steps if s.output in net.names}
    values = reader["run"](graph, {source: reader["_exact"](net.shape, point)}, {value, *reads.values()})
    for name, layer, taken in zip(net.names, net.layers, piece["branches"], strict=False):
        z = [v * values[reads[name]].unit for v in values[reads[name]].data]
        for u, b in enumerate(taken):
            need(0 <= b < branches(layer.choice, u) and fits(layer.choice, u, b, z, z), "a point of another piece")
            own = own and not any(fits(layer.choice, u, k, z, z) for k in range(b))
    v = [w * values[value].unit for w in values[value].data]
    for row, low, high in zip(goal.rows, goal.low, goal.high, strict=True):
        total = sum(c * v[i] for i, c in row.items())
        need((low is None or low <= total) and (high is None or total <= high), "a point that misses the conditions")
    need([len(b) for b in piece["branches"]] == [len(a.choice[1]) for a in net.layers[:-1]], "branches of another size")
    return own


def claims(reader):
    """The claims that are checked here, by name."""
    return {"bound": partial(bound_claim, reader), "union": partial(union_claim, reader)}
