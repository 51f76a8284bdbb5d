"""Check a proof that no input near a given one gets another class: integers only, the standard library only.

All numbers are integers over 2^80, rounded to the safe side; docs/certificates.md ("bound") has the mathematics. A
network is a list of layers; layer j is what choice j reads, the last one what the outputs are. Its columns are the
input's coordinates, then the outputs of the choices in order. `checker.py` beside this file hands over the graph.
"""

from __future__ import annotations

from collections import namedtuple
from fractions import Fraction
from math import inf, isqrt
from operator import mul

BITS = 80
ONE = 1 << BITS
# columns[c][r]: coefficient of column c in row r; offset[r]: (value, whether rounded); loose[r]: columns not exact in
# row r; choice: None, ("scalar", knots, slopes, intercepts), each by unit, or ("max", groups)
Layer = namedtuple("Layer", "columns offset loose choice")
Domain = namedtuple("Domain", "low high norm radius w beta")
Unit = namedtuple("Unit", "low high only")  # bounds of an output; (source, slope, shift) where it is one line
Known = namedtuple("Known", "low high units")  # per choice: bounds of the numbers read, and the units


def need(condition, reason):
    """Refuse."""
    if not condition:
        raise ValueError(reason)


def floor(value):
    """Largest multiple of 2^-80 that is not above a rational number, as an integer."""
    return value.numerator * ONE // value.denominator


def ceil(value):
    """Smallest one that is not below."""
    return -floor(-value)


def exact_layer(rows, offset, choice, x):
    """A layer around the input x, from rows {column: Fraction} and constants."""
    count, n = 1 + max((c for row in rows for c in row), default=0), len(x)
    columns = [[0] * len(rows) for _ in range(count)]
    loose, constants = [], []
    for r, row in enumerate(rows):
        for c, v in row.items():
            columns[c][r] = floor(v)
        loose.append([c for c, v in row.items() if ONE % v.denominator])
        value = offset[r] + sum((v * x[c] for c, v in row.items() if c < n), Fraction(0))
        constants.append((floor(value), bool(ONE % value.denominator)))
    return Layer(columns, constants, loose, choice)


def least(form, domain, mu, nu):
    """Lower bound of a form (column: coefficient) over the domain; any mu, nu >= 0 will do. Two bits of 2^80 below."""
    need(mu >= 0 and nu >= 0, "a negative multiplier")
    total = nu * domain.beta << BITS
    for c, (low, high) in enumerate(zip(domain.low, domain.high, strict=True)):
        g = (form.get(c, 0) << BITS) - nu * domain.w[c]  # over 2^160
        if domain.norm == "inf" or not mu:
            total += min(g * low, g * high)
        elif domain.norm == "1":
            over = abs(g) - (mu << BITS)
            total -= over * (-low if g > 0 else high) if over > 0 else 0
        else:
            end = low if -g < mu * low else high if -g > mu * high else None
            total += -(g * g // (2 * mu)) - 1 if end is None else g * end + (mu * end * end) // 2
    if mu and domain.norm != "inf":
        ball = mu * domain.radius << BITS if domain.norm == "1" else (mu * domain.radius**2 + 1) // 2
        total -= ball
    return total >> 2 * BITS


def f(choice, u, z):
    """Lower and upper bound of a function of one number at z."""
    _, knots, slopes, shifts = choice
    b = sum(z > k for k in knots[u])
    value = slopes[u][b] * z + (shifts[u][b] << BITS)
    return value >> BITS, -(-value >> BITS)


def corners(choice, u, source, low, high):
    """Points and values (lower, upper) between which the output is linear or below: a function of one number read."""
    if choice[0] == "scalar":
        need(source == u, "a line of another unit")
        points = [low[u], *(k for k in choice[1][u] if low[u] < k < high[u]), high[u]]
        return [(p, *f(choice, u, p)) for p in points]
    rest = max((high[i] for i in choice[1][u] if i != source), default=low[source])
    need(source in choice[1][u], "a line of another group")
    points = sorted({low[source], min(max(rest, low[source]), high[source]), high[source]})
    return [(p, p, max(p, rest)) for p in points]


def shift(points, slope, above):
    """The best shift of a line of this slope above (or below) the corners, over 2^80."""
    if above:
        return max(-((slope * p >> BITS) - top) for p, _, top in points)
    return min(bottom + (-(slope * p) >> BITS) for p, bottom, _ in points)


def units(choice, low, high, taken):
    """Bounds of the outputs, and where they are one line."""
    out = []
    for u in range(len(choice[1])):
        if choice[0] == "scalar":
            values = corners(choice, u, u, low, high)
            knots = choice[1][u]
            b = sum(low[u] >= k for k in knots)
            only = (u, choice[2][u][b], choice[3][u][b]) if not any(low[u] < k < high[u] for k in knots) else None
            out.append(Unit(min(v[1] for v in values), max(v[2] for v in values), only))
            continue
        group, bottom = choice[1][u], max(low[i] for i in choice[1][u])
        won = [i for i in group if all(low[i] >= high[k] for k in group if k != i)]
        won = [group[taken[u]]] if u in taken else won
        top = high[won[0]] if won else max(high[i] for i in group)
        out.append(Unit(bottom, max(top, bottom), (won[0], ONE, 0) if won else None))
    return out


def pulled(net, state, form, constant, slopes, rows=None, edges=None):
    """Lower bound of a form of all columns by one of the input: (form, constant). With `rows`, by lines with weights.

    slopes: {choice: {unit: ((source, slope) of a line above, of one below)}}, where the bound itself is not to be used;
    rows: {choice: [(unit, source, slope, weight)]}, weight > 0 for a line above; edges: {choice: [(number, weight)]}.
    """
    form, lost, (sizes, known) = dict(form), 0, state
    starts = [len(sizes[0])]
    for size in sizes[1:]:
        starts.append(starts[-1] + len(size))
    for j in reversed(range(len(known))):
        layer, (low, high, outputs) = net[j], known[j]
        c = [form.pop(starts[j] + u, 0) for u in range(len(outputs))]
        y = [0] * len(low)
        lines = list(rows.get(j, ())) if rows is not None else []
        for u, v in enumerate(c) if rows is None else ():
            line = slopes.get(j, {}).get(u, (None, None))[v > 0] if v and outputs[u].only is None else None
            lines += [(u, *line, -v)] if line else []
        for u, s, slope, weight in lines:
            t = shift(corners(layer.choice, u, s, low, high), slope, weight > 0)
            c[u] += weight
            y[s] -= weight * slope
            constant += -weight * t >> BITS
        for u, v in enumerate(c):
            if outputs[u].only:
                s, slope, t = outputs[u].only
                y[s] += v * slope
                constant += v * t >> BITS
            else:
                constant += min(v * outputs[u].low, v * outputs[u].high) >> BITS
        for i, weight in edges.get(j, ()) if edges else ():
            y[i] -= weight << BITS
            constant += weight * (low[i] if weight > 0 else high[i]) >> BITS
        lost += sum(max(-low[i], high[i]) for i, v in enumerate(y) if v % ONE)
        y = [v >> BITS for v in y]
        form, constant, more = read(layer, sizes, y, form, constant)
        lost += more
    return form, constant - (lost >> BITS) - 1 if lost else constant


def read(layer, sizes, y, form, constant):
    """Add a combination of a layer's rows to a form."""
    flat, lost = [s for size in sizes for s in size], 0
    for c, column in enumerate(layer.columns):
        v = sum(map(mul, y, column))
        lost += flat[c] if v % ONE else 0
        if v:
            form[c] = form.get(c, 0) + (v >> BITS)
    for v, (offset, rough), loose in zip(y, layer.offset, layer.loose, strict=True):
        if v:
            constant += v * offset >> BITS
            extra = (sum(flat[c] for c in loose) >> BITS) + 1 if loose else 0
            lost += abs(v) * (extra + rough)
    return form, constant, lost


def bounds(net, domain, taken, before, wanted, slopes):
    """Bounds of all choices over a domain, those of `before` kept; None where a bound shows that there is no point.

    wanted: {choice: [(number, mu, nu below, mu, nu above)]}: which ones to compute, and with what.
    """
    known: list[Known] = []
    sizes = [[max(-a, b) for a, b in zip(domain.low, domain.high, strict=True)]]
    lows, highs = list(domain.low), list(domain.high)
    for j, layer in enumerate(net[:-1]):
        if before:
            low, high = list(before[j].low), list(before[j].high)
        else:
            low, high = interval(layer, lows, highs)
        for i, *multipliers in wanted.get(j, ()):
            for sign, mu, nu in ((1, *multipliers[:2]), (-1, *multipliers[2:])):
                y = [0] * len(low)
                y[i] = sign * ONE
                form, constant, lost = read(layer, sizes, y, {}, 0)
                form, constant = pulled(net, (sizes, known), form, constant, slopes)
                value = least(form, domain, mu, nu) + constant - (lost >> BITS) - bool(lost)
                low[i] = max(low[i], value) if sign > 0 else low[i]
                high[i] = min(high[i], -value) if sign < 0 else high[i]
        for u, b in taken.get(j, {}).items():
            if layer.choice[0] == "scalar":
                knots = layer.choice[1][u]
                low[u] = max(low[u], knots[b - 1]) if b > 0 else low[u]
                high[u] = min(high[u], knots[b]) if b < len(knots) else high[u]
            else:
                group = layer.choice[1][u]
                low[group[b]] = max(low[i] for i in group)
                for i in group:
                    high[i] = min(high[i], high[group[b]])
        if any(a > b for a, b in zip(low, high, strict=True)):
            return None
        known.append(Known(low, high, units(layer.choice, low, high, taken.get(j, {}))))
        lows += [u.low for u in known[j].units]
        highs += [u.high for u in known[j].units]
        sizes.append([max(-u.low, u.high) for u in known[j].units])
    return sizes, known


def interval(layer, lows, highs):
    """Bounds of a layer's rows, one by one."""
    low, high = [v for v, _ in layer.offset], [v + rough for v, rough in layer.offset]
    for c, column in enumerate(layer.columns):
        for r, v in enumerate(column):
            if v:
                low[r] += min(v * lows[c], v * highs[c]) >> BITS
                high[r] -= -max(v * lows[c], v * highs[c]) >> BITS
    for r, loose in enumerate(layer.loose):
        room = (sum(max(-lows[c], highs[c]) for c in loose) >> BITS) + 1 if loose else 0
        low[r], high[r] = low[r] - room, high[r] + room
    return low, high


def closed(domain, form, constant):
    """Whether no point of the domain has form.d + constant < 0; any mu is sound, so that some are tried."""
    if not any(form.values()):
        return constant >= 0
    if domain.norm == "2":
        size = isqrt(sum(v * v for v in form.values()))
        tries = [size * ONE // max(1, domain.radius)]
        for _ in range(20):  # Newton's method for the length of the minimiser; whatever it ends with is sound
            d = [
                min(max(-form.get(c, 0) * ONE // tries[-1], a), b)
                for c, (a, b) in enumerate(zip(domain.low, domain.high, strict=True))
            ]
            tries.append(max(1, tries[-1] * isqrt(sum(v * v for v in d)) // max(1, domain.radius)))
    elif domain.norm == "1":
        tries = [0, *map(abs, form.values())]
    else:
        tries = [0]
    return any(least(form, domain, mu, 0) + constant >= 0 for mu in tries)


def steps(net, node, domain, aim, taken, state):
    """Replay a node's own steps: whether they close it, and the domain and bounds that they leave."""
    for step in node["steps"]:
        slopes = {j: {u: lines for u, *lines in own} for j, own in step["slopes"]}
        found = bounds(net, domain, taken, state and state[1], dict(step["wanted"]), slopes)
        if found is None:
            return True, domain, state
        state = found
        if min(step["margins"], default=-1) < 0:
            return False, domain, state
        y = [-sum(map(mul, step["margins"], column)) for column in zip(*aim, strict=True)]
        form, constant, lost = read(net[-1], state[0], y, {}, 0)
        form, constant = pulled(net, state, form, constant, {}, dict(step["lines"]), dict(step["edges"]))
        constant -= (lost >> BITS) + bool(lost) + (not any(step["margins"]))
        if closed(domain, form, constant):
            return True, domain, state
        domain = domain._replace(w=[-form.get(c, 0) for c in range(len(domain.low))], beta=constant)
    return False, domain, state


def check(net, node, domain, aim, taken=None, state=None):
    """Whether a node of a proof holds: no point of the domain that takes the branches has all margins above 0.

    A node: steps (bounds to compute, multipliers of margins, of lines, of bounds), then a split with all its branches.
    """
    taken = taken or {}
    done, domain, state = steps(net, node, domain, aim, taken, state)
    if done or "split" not in node or state is None:
        return done
    j, u = node["split"]
    choice = net[j].choice
    count = len(choice[2][u]) if choice[0] == "scalar" else len(choice[1][u])
    return len(node["children"]) == count and all(
        check(net, child, domain, aim, {**taken, j: {**taken.get(j, {}), u: b}}, state)
        for b, child in enumerate(node["children"])
    )


def whole(data):
    """Whether data are whole numbers, lists and tables of these, and nothing."""
    if isinstance(data, (list, dict)):
        return all(map(whole, data.values() if isinstance(data, dict) else data))
    return data is None or type(data) is int


def table(reader, step, values):
    """A choice, from a step of the graph and what it reads: continuous, with numbers of 80 bits."""
    if step.op in ("MaxPool", "MaxOver"):
        return ("max", reader["_groups_of"](step._replace(values=values))[1])
    knots, slopes, shifts = ([list(unit) for unit in zip(*t, strict=True)] for t in reader["_tables"](
        step._replace(values=values)))  # fmt: skip
    need(len(knots) == len(slopes) == len(shifts) == len(values[0].data), "tables of other sizes")
    for k, s, t in zip(knots, slopes, shifts, strict=True):
        need(k == sorted(k) and not any(ONE % v.denominator for v in k + s + t), "knots that are not read here")
        need(all(s[i] * v + t[i] == s[i + 1] * v + t[i + 1] for i, v in enumerate(k)), "a function with jumps")
    return ("scalar", *([[floor(v) for v in unit] for unit in t] for t in (knots, slopes, shifts)))


def layers(reader, graph, output, given):
    """All layers up to an output, recomputed exactly from the graph, around an input."""
    run, tensor = reader["run"], reader["Tensor"]
    names = [step.output for step in graph.steps]
    need(len({*names, *graph.constants, graph.input}) == len(names) + len(graph.constants) + 1, "a name twice")
    for step in graph.steps:
        single = step.op in ("Mul", "Div", "Gemm", "MatMul", "Conv") or step.op in reader["CHOICES"]
        need(not single or graph.constants.keys() >= {*step.inputs[1:]}, f"{step.op} of two values")
    needed = {output}
    for step in reversed(graph.steps):
        needed |= {*step.inputs} if step.output in needed else set()
    chosen = [s for s in graph.steps if s.output in needed and s.op in reader["CHOICES"]]
    values = run(graph, given, {output, *(s.inputs[0] for s in chosen), *(s.output for s in chosen)})
    x = [v * given[graph.input].unit for v in given[graph.input].data]
    seeds: dict = {}
    zeros: dict = {}
    start, net = 0, []
    for name, step in [(graph.input, None), *((s.output, s) for s in chosen), (output, None)]:
        if name != graph.input:
            read = step.inputs[0] if step else output
            linear, constant = run(graph, seeds, {read})[read], run(graph, zeros, {read})[read]
            rows = [{c: v * linear.unit for c, v in row.items() if v} for row in linear.data]
            fixed = (values[read], *(graph.constants[n] for n in step.inputs[1:])) if step else ()
            choice = table(reader, step, fixed) if step else None
            net.append(exact_layer(rows, [v * constant.unit for v in constant.data], choice, x))
        if name == output and not step:
            break
        t = given[name] if name == graph.input else values[name]
        seeds[name] = tensor(t.shape, [{start + k: 1} for k in range(len(t.data))])
        zeros[name] = tensor(t.shape, [0] * len(t.data))
        start += len(t.data)
    return net, x, [v * values[output].unit for v in values[output].data]


def ball(x, claim, radius):
    """The ball around x cut with the box of a claim, rounded outward."""
    ends = [[float.fromhex(w) for w in claim[k]] for k in ("lower", "upper")]
    low, high, r = [], [], ceil(radius)
    for v, a, b in zip(x, *ends, strict=True):
        need(a <= v <= b, "the input is outside of the box")
        low.append(-r if a == -inf else max(-r, floor(Fraction(a) - v)))
        high.append(r if b == inf else min(r, ceil(Fraction(b) - v)))
    return Domain(low, high, claim["norm"], r, [0] * len(x), 0)


def bound_claim(reader, graph, claim):
    """No input of a box within a radius of x is given another class than x."""
    radius, label, trees = Fraction(float.fromhex(claim["radius"])), claim["label"], claim["trees"]
    need(claim["norm"] in ("1", "2", "inf") and radius >= 0, "no such norm or radius")
    need(whole(trees) and type(label) is int, "numbers that are not whole")
    net, x, values = layers(reader, graph, claim["output"], reader["point"](graph, claim["x"]))
    need(0 <= label < len(values) and values[label] == max(values), f"x is not given the class {label}")
    domain, others = ball(x, claim, radius), [t for t in range(len(values)) if t != label]
    need(len(trees) == len(others), "one tree for every other class is needed")
    for t, node in zip(others, trees, strict=True):
        aim = [[(k == t) - (k == label) for k in range(len(values))]]
        need(check(net, node, domain, aim), f"class {t} is not excluded")
    where = f"of the box within {float(radius):.9g} of x (norm {claim['norm']})"
    return f"no input {where} has an output above that of class {label}"
