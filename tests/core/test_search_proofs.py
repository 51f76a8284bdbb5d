"""The search's float proofs against exact rationals, where rounding decides: each claim near its own tolerance.

Scales from 1e-6 to 1e6, nearly dependent rows, ties, and margins of a few units in the last place on both sides.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import plica
import zoo
from oracles import networks, unions
from plica import Box, Progress
from plica.analyses.preimage import preimage
from plica.core.affine import Dense
from plica.core.choice import MaxOver, Piecewise
from plica.core.polyhedron.cone import partition
from plica.core.search import tree
from plica.core.search.blocks import FINAL, blocks
from plica.core.search.bounds import bound, tables
from plica.core.search.conditions import Conditions
from plica.core.search.contract import half_spaces
from plica.core.search.inside import affine_values, proven_point, system_at, values_at
from plica.core.search.leaf_program import pattern_program
from plica.core.search.reduced import reduced
from plica.core.search.shallow import Shallow
from plica.core.search.ties import Ties, homogeneous
from plica.core.solve.warm import WarmProgram

F = Fraction
KINDS = ("dense", "residual", "leaky", "maxout", "mixed")


def dot(a, b):
    return sum((F(x) * F(y) for x, y in zip(a, b, strict=True)), F(0))


def at(form, u):
    return form[0] + dot(form[1:], u)


def square(v):
    return sum((F(x) * F(x) for x in v), F(0))


def case(seed):
    """A random network up to its last choice, a pattern of it, its exact forms, and conditions on what it reads."""
    data, draw = zoo.random_net(KINDS[seed % 5], seed, degenerate=False, scales=seed % 2 == 0)
    net, n = zoo.build(data), int(np.prod(data["input"]))
    rng = np.random.default_rng(seed)
    taken = networks.branches(data, draw.point(n).tolist())
    value = net[net.choices[-1]].inputs[0]
    graph = blocks(net, value)
    branches = {name: np.array(taken[name]) for name in graph.spans if name != "input"}
    upto = [node[0] for node in data["nodes"]].index(value) + 1
    forms = unions.forms_of(data, upto, taken, n)[0]
    k = len(forms[value])
    G, E = rng.normal(size=(2, k)), rng.normal(size=(2, k)) * 10.0 ** rng.uniform(-3, 3, (2, 1))
    right = [tuple(F(float(v)) for v in rng.normal(size=2)) for _ in range(2)]
    conditions = Conditions(value, sp.csr_array(G), right[0], sp.csr_array(E), right[1])
    return net, graph, branches, forms, conditions, rng.normal(size=n) * 10.0 ** rng.uniform(-4, 4, n)


def sides(net, graph, branches, forms):
    """Exact forms of all inequalities of a pattern, in the order in which the library lists them, and weakness."""
    out = []
    for name in graph.spans:
        if name == "input":
            continue
        op, own, z = net[name].op, branches[name], forms[net[name].inputs[0]]
        if isinstance(op, MaxOver):
            index = op.index.numpy()
            for place in range(index.shape[1]):
                rest = [u for u in range(len(index)) if index[u, place] >= 0 and own[u] != place]
                for weak in (True, False):
                    out += [(unions.minus(z[index[u, own[u]]], z[index[u, place]]), weak)
                            for u in rest if (place > own[u]) == weak]  # fmt: skip
            continue
        knots = tables(op)[0]
        out += [([z[u][0] - F(float(knots[own[u] - 1, u])), *z[u][1:]], False) for u in range(len(own)) if own[u] > 0]
        out += [([F(float(knots[own[u], u])) - z[u][0], *(-v for v in z[u][1:])], True)
                for u in range(len(own)) if own[u] < len(knots)]  # fmt: skip
    return out


def combined(A, right, forms, sign):
    """sign (A v - right) as forms of the input, row by row."""
    out = []
    for row, level in zip(A.toarray().tolist(), right, strict=True):
        form = [sum((F(a) * f[j] for a, f in zip(row, forms, strict=True)), F(0)) for j in range(len(forms[0]))]
        out.append([sign * (form[0] - level), *(sign * v for v in form[1:])])
    return out


@pytest.mark.parametrize("seed", range(20))
def test_every_error_is_bounded(seed):
    net, graph, branches, forms, conditions, u = case(seed)
    maps, levels = affine_values(graph, branches), values_at(graph, branches, u)
    exact = {name: forms[net[name].inputs[0]] for name in graph.spans if name != "input"}
    exact[FINAL] = forms[conditions.value]
    for name, rows in exact.items():
        for i, form in enumerate(rows):
            assert (
                square(F(a) - b for a, b in zip(maps[name].rows[i].tolist(), form[1:], strict=True))
                <= F(float(maps[name].error[i])) ** 2
            )
            assert abs(F(float(levels[name].value[i])) - at(form, u)) <= F(float(levels[name].error[i]))
    system = system_at(graph, branches, conditions, u, maps, rows=True)
    expected = sides(net, graph, branches, forms)
    expected += [(form, True) for form in combined(conditions.G, conditions.h, forms[conditions.value], -1)]
    assert system.weak.tolist() == [weak for _, weak in expected]
    for i, (form, _) in enumerate(expected):
        assert abs(F(float(system.slack[i])) - at(form, u)) <= F(float(system.error[i]))
        assert square(form[1:]) <= F(float(system.reach[i])) ** 2
        off = (F(a) - b for a, b in zip(system.sides[i].tolist(), form[1:], strict=True))
        assert square(off) <= F(float(system.row_error[i])) ** 2
    for i, form in enumerate(combined(conditions.E, conditions.e, forms[conditions.value], 1)):
        assert abs(F(float(system.gap[i])) + at(form, u)) <= F(float(system.gap_error[i]))
        off = (F(a) - b for a, b in zip(system.rows[i].tolist(), form[1:], strict=True))
        assert square(off) <= F(float(system.rows_error[i])) ** 2


def lossy(seed):
    """Sums of 1 and forty terms that rounding loses, in a layer's rows, its values and the conditions' rows."""
    rng = np.random.default_rng(seed)
    tiny = 2.0**-53
    first = np.zeros((41, 2))
    first[:, seed % 2] = 1.0
    sums = np.full((41, 41), tiny)
    sums[:, 0] = rng.choice([1.0, 2.0], 41)
    sums[0, 1:] = -tiny / 2
    data = zoo.chain((2,), zoo._dense_of(first.tolist()), zoo.RELU, zoo._dense_of(sums.tolist()))
    row = np.full((1, 41), tiny)
    row[0, 0] = 1.0
    never, right = sp.csr_array((0, 41)), (F(1),)
    return (
        data,
        row,
        Conditions("dense2", sp.csr_array(row), right, never, ()),
        Conditions("dense2", never, (), sp.csr_array(row), right),
    )


@pytest.mark.parametrize("seed", range(4))
def test_errors_of_long_sums_are_bounded(seed):
    data, row, above, equal = lossy(seed)
    graph, branches = blocks(zoo.build(data), "dense2"), {"relu1": np.ones(41, dtype=int)}
    u = np.ones(2)
    forms = unions.forms_of(data, 3, {"relu1": [1] * 41}, 2)[0]["dense2"]
    maps, levels = affine_values(graph, branches), values_at(graph, branches, u)
    off = 0
    for i, form in enumerate(forms):
        wrong = square(F(a) - b for a, b in zip(maps[FINAL].rows[i].tolist(), form[1:], strict=True))
        off += wrong > F(2.0**-49) ** 2
        assert wrong <= F(float(maps[FINAL].error[i])) ** 2
        assert abs(F(float(levels[FINAL].value[i])) - at(form, u)) <= F(float(levels[FINAL].error[i]))
    assert off
    whole = [sum((F(a) * f[j] for a, f in zip(row[0].tolist(), forms, strict=True)), F(0)) for j in range(3)]
    system = system_at(graph, branches, above, u, maps, rows=True)
    assert abs(F(float(system.slack[-1])) - (1 - at(whole, u))) <= F(float(system.error[-1]))
    apart = square(F(a) + b for a, b in zip(system.sides[-1].tolist(), whole[1:], strict=True))
    assert apart <= F(float(system.row_error[-1])) ** 2
    system = system_at(graph, branches, equal, u, maps)
    assert abs(F(float(system.gap[0])) - (1 - at(whole, u))) <= F(float(system.gap_error[0]))
    apart = square(F(a) - b for a, b in zip(system.rows[0].tolist(), whole[1:], strict=True))
    assert apart <= F(float(system.rows_error[0])) ** 2


def test_errors_are_handed_on():
    """What an earlier layer lost is in the bounds behind it, where little more is lost."""
    first, sums = np.zeros((41, 2)), np.full((1, 41), 2.0**-53)
    first[:, 0], sums[0, 0] = 1.0, 1.0
    data = zoo.chain((2,), zoo._dense_of(first.tolist()), zoo.RELU, zoo._dense_of(sums.tolist()), zoo.RELU,
                     zoo._dense_of([[1.0]]))  # fmt: skip
    graph, branches = (
        blocks(zoo.build(data), "dense4"),
        {"relu1": np.ones(41, dtype=int), "relu3": np.ones(1, dtype=int)},
    )
    maps, levels = affine_values(graph, branches), values_at(graph, branches, np.ones(2))
    exact = 1 + 40 * F(2.0**-53)
    for name in ("relu3", FINAL):
        assert maps[name].rows[0, 0] == levels[name].value[0] == 1.0
        assert exact - 1 <= F(float(maps[name].error[0])) and exact - 1 <= F(float(levels[name].error[0]))


def test_gaps_hold_what_cancels():
    """Two large outputs that nearly cancel: the value is small, what was lost on the way is not."""
    seen = 0.0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        w, big = rng.normal(size=5), 10.0 ** rng.uniform(4, 9)
        first = zoo._dense_of([w.tolist(), (w + rng.normal(size=5) / big).tolist()], [20.0, 20.0])
        data = zoo.chain((5,), first, zoo.RELU, zoo._dense_of([[big, -big]]))
        x = rng.normal(size=5)
        conditions = equations(data, x, "dense2")
        graph, branches = blocks(zoo.build(data), "dense2"), {"relu1": np.ones(2, dtype=int)}
        system = system_at(graph, branches, conditions, x, affine_values(graph, branches))
        assert abs(system.gap[0]) <= system.gap_error[0]  # exactly, x satisfies the equation
        seen = max(seen, abs(system.gap[0]) / (2.0**-53 * max(1.0, abs(float(conditions.e[0])))))
    assert seen > 1e3


def test_outputs_that_cancel_hold_what_their_product_lost():
    """A slope that is no power of two, and an intercept that takes most of its product away again."""
    branch = Piecewise("ramp", *(torch.tensor(t, dtype=torch.float64) for t in ([-10.0], [0.0, 0.1], [0.0, 1.0])), (1,))
    worst = 0.0
    for seed in range(40):
        z = F(float(-10.0 + 2.0**-20 * np.random.default_rng(seed).uniform(0.5, 1)))
        graph = plica.core.network.Graph((1,))
        graph.add("z", Dense(torch.ones(1, 1, dtype=torch.float64), None, (1,)), plica.core.network.INPUT)
        graph.add("h", branch, "z")
        graph.add("v", Dense(torch.ones(1, 1, dtype=torch.float64), None, (1,)), "h")
        level = values_at(blocks(graph.network(), "v"), {"h": np.ones(1, dtype=int)}, np.array([float(z)]))[FINAL]
        wrong = abs(F(float(level.value[0])) - (F(0.1) * z + 1))
        assert wrong <= F(float(level.error[0]))
        worst = max(worst, float(wrong) / (2.0**-53 * abs(float(level.value[0]))))
    assert worst > 100


def test_long_rows_of_conditions_prove_no_empty_pattern():
    """One output that must be 1 + 40 * 2^-53 when it is added up exactly, and 1 in floats."""
    tiny = 2.0**-53
    V = np.zeros((41, 1))
    V[:, 0] = 1.0
    row = np.full((1, 41), tiny)
    row[0, 0] = 1.0
    data = zoo.chain((4,), zoo._dense_of([[1.0, 2.0, 0.0, 1.0]]), zoo.RELU, zoo._dense_of(V.tolist()))
    graph = blocks(zoo.build(data), "dense2")
    small = reduced(graph, np.full(4, -np.inf), np.full(4, np.inf))
    right = (1 + 40 * F(tiny),)  # h = 1 exactly
    for level, possible in ((1 - F(2) ** -60, False), (1 + F(2) ** -20, True)):
        G = np.zeros((1, 41))
        G[0, 0] = 1.0
        conditions = Conditions("dense2", sp.csr_array(G), (level,), sp.csr_array(row), right)
        above = Shallow(small.graph, "relu1", conditions, Progress())
        for guess in (1.0, 1.0 - 2.0**-50, 1.0 - 30 * tiny):
            assert not above.proves(np.array([guess])) or possible
    short = Conditions("dense2", sp.csr_array(row * -1), (-(1 + 39 * F(tiny)),), sp.csr_array((0, 41)), ())
    low = Shallow(small.graph, "relu1", short, Progress())
    assert not low.proves(np.array([1.0 - 39 * tiny]))


# --- points ---------------------------------------------------------------------------------------------------------


def pinned(seed, *, near):
    """n equations that hold at x only, nearly dependent ones, and one more unit whose value at x is a rounding error.

    Returns the network's data, x, the row of that unit; its bias is the last one.
    """
    rng = np.random.default_rng(seed)
    n = 3
    x = rng.normal(size=n) * 10.0 ** rng.uniform(-1, 1)
    W = rng.normal(size=(n, n)) * 10.0 ** rng.uniform(-3, 3, (n, 1))
    b = np.abs(W @ x) + rng.uniform(1, 2, n) * np.linalg.norm(W, axis=1)
    V = rng.normal(size=(n, n))
    V[1] = V[0] + near * rng.normal(size=n)
    w = rng.normal(size=n) * 10.0 ** rng.uniform(-6, 6)
    first = ("dense", {"W": np.vstack([W, w]).tolist(), "b": [*b.tolist(), 0.0]})
    second = ("dense", {"W": np.column_stack([V, np.zeros(n)]).tolist(), "b": None})
    return zoo.chain((n,), first, zoo.RELU, second), x, w, rng


def equations(data, x, value):
    y = networks.run(data, x.tolist())[0][value]
    units = len(y)
    return Conditions(value, sp.csr_array((0, units)), (), sp.csr_array(np.eye(units)), tuple(y))


@pytest.mark.parametrize("near", [1.0, 1e-4, 1e-8])
def test_points_are_proven_only_where_they_are(near):
    branches, infinite = {"relu1": np.ones(4, dtype=int)}, (np.full(3, -np.inf), np.full(3, np.inf))
    wrong_side = clear = 0
    for seed in range(25):
        data, x, w, rng = pinned(seed, near=near)
        conditions = equations(data, x, "dense2")
        options = data["nodes"][0][3]
        unit = float(np.spacing(abs(w @ x)))
        guess = x + rng.normal(size=3) * 1e-3 * np.abs(x)
        for steps in (-30, -3, -1, 0, 1, 3, 30, 1e13):
            options["b"][3] = float(-(w @ x) + steps * unit)
            value = dot(w.tolist(), x.tolist()) + F(options["b"][3])
            graph = blocks(zoo.build(data), "dense2")
            proof = proven_point(graph, branches, conditions, infinite, guess)
            wrong_side += value <= 0
            clear += steps == 1e13 and proof is not None
            if proof is not None:
                assert value > 0 and proof.dimension == 0
                assert (
                    square(F(a) - F(b) for a, b in zip(proof.near.tolist(), x.tolist(), strict=True))
                    <= F(proof.radius) ** 2
                )
    assert wrong_side > 60
    assert clear >= (22 if near > 1e-6 else 5)


def test_without_equations_the_float_point_itself_is_proven():
    branches, infinite = {"relu1": np.ones(4, dtype=int)}, (np.full(3, -np.inf), np.full(3, np.inf))
    proofs = 0
    for seed in range(25):
        data, x, w, _ = pinned(seed, near=1.0)
        never = Conditions("dense2", sp.csr_array((0, 3)), (), sp.csr_array((0, 3)), ())
        for steps in (-3, -1, 0, 1, 3, 300):
            data["nodes"][0][3]["b"][3] = float(-(w @ x) + steps * np.spacing(abs(w @ x)))
            proof = proven_point(blocks(zoo.build(data), "dense2"), branches, never, infinite, x)
            proofs += proof is not None
            if proof is not None:
                assert (proof.near == x).all() and proof.radius == 0.0 and proof.dimension == 3
                assert dot(w.tolist(), x.tolist()) + F(data["nodes"][0][3]["b"][3]) > 0
    assert proofs >= 20


def test_a_long_sum_that_only_floats_call_positive_is_not_proven():
    row = np.full((1, 41), -(2.0**-54))
    row[0, 0] = 1.0
    infinite, never = (np.full(41, -np.inf), np.full(41, np.inf)), sp.csr_array((0, 1))
    conditions = Conditions("dense2", never, (), never, ())
    for steps in (1, 4, 10, 19, 2**20):
        data = zoo.chain((41,), ("dense", {"W": row.tolist(), "b": [-1.0 + steps * 2.0**-53]}), zoo.RELU,
                         zoo._dense_of([[1.0]]))  # fmt: skip
        graph, branches = blocks(zoo.build(data), "dense2"), {"relu1": np.ones(1, dtype=int)}
        proof = proven_point(graph, branches, conditions, infinite, np.ones(41))
        assert (proof is not None) == (steps > 20)


def test_weak_rows_may_be_zero_and_not_less():
    clear = 0
    for seed in range(30):
        data, x, w, _ = pinned(seed, near=1.0)
        data["nodes"][0][3]["b"][3] = float(np.abs(w) @ np.abs(x)) * 2
        value = networks.run(data, x.tolist())[0]["dense2"]
        for steps in (-20, -2, -1, 0, 1, 2, 20, 10**13):
            level = value[0] + steps * F(float(np.spacing(abs(float(value[0]))))) / 8
            conditions = Conditions("dense2", sp.csr_array([[1.0, 0.0, 0.0]]), (level,), sp.csr_array(np.eye(3)),
                                    tuple(value))  # fmt: skip
            graph, infinite = blocks(zoo.build(data), "dense2"), (np.full(3, -np.inf), np.full(3, np.inf))
            proof = proven_point(graph, {"relu1": np.ones(4, dtype=int)}, conditions, infinite, x)
            assert proof is None or steps >= 0
            clear += steps == 10**13 and proof is not None
    assert clear >= 26


def test_a_point_just_outside_the_box_is_not_proven():
    branches, tried = {"relu1": np.ones(4, dtype=int)}, 0
    for seed in range(40):
        for near in (1e-8, 1e-9, 1e-10):
            data, x, w, _ = pinned(seed, near=near)
            data["nodes"][0][3]["b"][3] = float(np.abs(w) @ np.abs(x)) * 2
            graph, conditions = blocks(zoo.build(data), "dense2"), equations(data, x, "dense2")
            free = proven_point(graph, branches, conditions, (np.full(3, -np.inf), np.full(3, np.inf)), x + 1e-3)
            if free is None:
                continue
            away = x - free.near
            j = int(np.abs(away).argmax())
            low, high = np.full(3, -1e6), np.full(3, 1e6)
            (high if away[j] > 0 else low)[j] = free.near[j] + 0.5 * away[j]
            if low[j] <= x[j] <= high[j]:
                continue
            tried += abs(away[j]) > 4e-9 * (1 + abs(x[j]))
            for guess in (free.near, x, x + 1e-3):
                assert proven_point(graph, branches, conditions, (low, high), guess) is None
    assert tried > 5


def test_equations_that_repeat_others_count_once():
    rng = np.random.default_rng(0)
    for seed in range(6):
        first = rng.normal(size=(2, 5))
        data = zoo.chain((5,), zoo._dense_of(first.tolist(), [20.0, 20.0]), zoo.RELU,
                         zoo._dense_of(rng.normal(size=(4, 2)).tolist()))  # fmt: skip
        x = rng.normal(size=5)
        graph, conditions = blocks(zoo.build(data), "dense2"), equations(data, x, "dense2")
        box = (x - 1, x + 1)
        proof = proven_point(graph, {"relu1": np.ones(2, dtype=int)}, conditions, box, x, consistent=True)
        assert proof is not None and proof.dimension == 3, seed
        assert proven_point(graph, {"relu1": np.ones(2, dtype=int)}, conditions, box, x) is None
        off = proven_point(graph, {"relu1": np.array([1, 0])}, conditions, box, x, consistent=True)
        assert off is None


# --- programs of whole patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(24))
def test_rows_of_a_pattern_hold_over_the_box(seed):
    """Boxes of seeds from 15 on are so wide that what the rows lost by rounding is most of the error."""
    net, graph, branches, forms, conditions, u = case(seed)
    n = len(u)
    half = 10.0 ** np.random.default_rng(seed).uniform(*((-3, 1) if seed < 15 else (6, 10)))
    low, high = u - half, u + half
    program = pattern_program(graph, branches, conditions, (low, high), Progress())
    maps = affine_values(graph, branches)
    system = system_at(graph, branches, conditions, program.middle, maps, rows=True)
    expected = sides(net, graph, branches, forms)
    expected += [(form, True) for form in combined(conditions.G, conditions.h, forms[conditions.value], -1)]
    corners = [np.where(np.array(k) > 0, high, low) for k in np.ndindex(*(2,) * n)][:16]
    kept, sizes = 0, np.linalg.norm(system.sides, axis=1)
    for i, (form, weak) in enumerate(expected):
        size = float(sizes[i]) or 1.0
        unit = system.sides[i] / size
        match = [k for k in range(kept, len(program.rows)) if (program.rows[k] == unit).all()][:1]
        if not match or float(program.slack[match[0]]) != float(system.slack[i] / size):
            assert all(at(form, c) > 0 for c in corners)
            continue
        (k,) = match
        kept = k + 1
        assert bool(program.weak[k]) == weak
        for c in corners:
            d = [F(a) - F(b) for a, b in zip(c.tolist(), program.middle.tolist(), strict=True)]
            stated = dot(program.rows[k].tolist(), d) + F(float(program.slack[k]))
            assert stated >= at(form, c) / F(size) - F(float(program.error[k]))
    assert kept == len(program.rows)
    assert kept or seed % 5 == 0
    for i, form in enumerate(combined(conditions.E, conditions.e, forms[conditions.value], 1)):
        scale = F(float(np.linalg.norm(system.rows[i])) or 1.0)
        for c in corners:
            d = [F(a) - F(b) for a, b in zip(c.tolist(), program.middle.tolist(), strict=True)]
            stated = dot(program.equations[i].tolist(), d) - F(float(program.gap[i]))
            assert abs(stated - at(form, c) / scale) <= F(float(program.gap_error[i]))


def test_empty_means_empty_at_the_tolerance():
    """One row that the box reaches to within a few units in the last place, from both sides."""
    seen = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        w = rng.normal(size=3) * 10.0 ** rng.uniform(-6, 6)
        low, high = -rng.uniform(0.5, 1, 3), rng.uniform(0.5, 1, 3)
        top = sum((F(a) * F(h if a > 0 else low_) for a, low_, h in zip(w.tolist(), low.tolist(), high.tolist(),
                                                                        strict=True)), F(0))  # fmt: skip
        for steps in (-1e12, -1e3, -4, -1, 0, 1, 4, 1e3, 1e12):
            b = float(-top) + steps * float(np.spacing(float(abs(top))))
            data = zoo.chain((3,), ("dense", {"W": [w.tolist()], "b": [b]}), zoo.RELU, zoo._dense_of([[1.0]]))
            graph = blocks(zoo.build(data), "dense2")
            never = Conditions("dense2", sp.csr_array((0, 1)), (), sp.csr_array((0, 1)), ())
            for branch, nonempty in ((1, top + F(b) > 0), (0, True)):
                program = pattern_program(graph, {"relu1": np.array([branch])}, never, (low, high), Progress())
                guess, empty = program.strict()
                seen.add((empty, guess is None))
                assert not (empty and nonempty)
                if steps <= -1e12 and branch:
                    assert guess is None and empty
    assert len(seen) > 1


def test_a_solver_that_says_empty_is_not_believed(monkeypatch):
    """Its word closes nothing without multipliers that prove it."""
    data = zoo.chain((3,), zoo._dense_of([[1.0, 2.0, -1.0]], [0.5]), zoo.RELU, zoo._dense_of([[1.0]]))
    never = Conditions("dense2", sp.csr_array((0, 1)), (), sp.csr_array((0, 1)), ())
    program = pattern_program(blocks(zoo.build(data), "dense2"), {"relu1": np.ones(1, dtype=int)}, never,
                              (-np.ones(3), np.ones(3)), Progress())  # fmt: skip
    monkeypatch.setattr(WarmProgram, "solve", lambda self: "infeasible")
    for ray in (None, np.ones(1), -np.ones(1), np.full(1, 1e9)):
        monkeypatch.setattr(WarmProgram, "ray", lambda self, ray=ray: ray)
        assert program.strict() == (None, False)


def test_projections_end_inside_or_not_at_all():
    """A point that is returned has the room asked for, by rows in fractions; most patterns with room are reached."""
    reached = roomy = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, m = int(rng.integers(2, 7)), int(rng.integers(1, 9))
        W, V = rng.normal(size=(m, n)), rng.normal(size=(min(n - 1, 2), m))
        x = rng.uniform(-1, 1, n)
        data = zoo.chain((n,), zoo._dense_of(W.tolist(), (0.3 * rng.normal(size=m)).tolist()), zoo.RELU,
                         zoo._dense_of(V.tolist()))  # fmt: skip
        graph, conditions = blocks(zoo.build(data), "dense2"), equations(data, x, "dense2")
        branches = {"relu1": (rng.random(m) < 0.5).astype(int)}
        if seed % 2:
            branches = {"relu1": (W @ x + np.array(data["nodes"][0][3]["b"]) > 0).astype(int)}
        program = pattern_program(graph, branches, conditions, (x - 1, x + 1), Progress())
        inner, moved = program.inner(), program.moved(x + rng.uniform(-1, 1, n), 1e-3)
        roomy += inner is not None
        reached += moved is not None
        if moved is not None:
            d = [F(a) - F(b) for a, b in zip(moved.tolist(), program.middle.tolist(), strict=True)]
            assert all(dot(r.tolist(), d) + F(s) > F(9e-4) for r, s in
                       zip(program.rows, program.slack.tolist(), strict=True))  # fmt: skip
            assert all(abs(dot(r.tolist(), d) - F(g)) < F(2e-6) for r, g in
                       zip(program.equations, program.gap.tolist(), strict=True))  # fmt: skip
            assert (np.abs(moved - program.middle) < program.half).all()
    assert roomy >= 15 and reached >= 0.6 * roomy


def test_half_spaces_hold_a_point_that_has_no_room():
    """Where no unit switches, equations make half-spaces that touch the point: only what is charged keeps it."""
    for seed in range(30):
        data, x, w, _ = pinned(seed, near=1.0)
        data["nodes"][0][3]["b"] = (np.array(data["nodes"][0][3]["b"]) + 10 * (1 + np.abs(w) @ np.abs(x))).tolist()
        conditions, graph = equations(data, x, "dense2"), blocks(zoo.build(data), "dense2")
        half = half_spaces(graph, bound(graph, x - 1e-9, x + 1e-9), conditions)
        assert len(half.rows) == 6
        for row, level in zip(half.rows.tolist(), half.level.tolist(), strict=True):
            assert dot(row, x.tolist()) <= F(level)


# --- one layer behind free inputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("near", [1.0, 1e-5])
def test_positive_outputs_are_proven_only_where_they_are(near):
    tiny = proofs = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        V = rng.normal(size=(3, 3)) * 10.0 ** rng.uniform(-3, 3, (3, 1))
        V[1] = V[1] * near + V[0]
        data = zoo.chain((6,), zoo._dense_of(rng.normal(size=(3, 6)).tolist()), zoo.RELU, zoo._dense_of(V.tolist()))
        graph = blocks(zoo.build(data), "dense2")
        small = reduced(graph, np.full(6, -np.inf), np.full(6, np.inf))
        for least in (-1e-3, -1e-13, -1e-16, 0.0, 1e-16, 1e-13, 1e-3):
            h = [F(float(v)) for v in rng.uniform(0.5, 1, 2)] + [F(least)]
            e = tuple(dot(row, h) for row in V.tolist())
            for extra in (F(-1, 10**17), F(1, 10**17), F(1, 1000)):
                G, level = sp.csr_array([[1.0, 0.0, 0.0]]), (e[0] + extra * abs(e[0]),)
                wanted = Conditions("dense2", G, level, sp.csr_array(np.eye(3)), e)
                above = Shallow(small.graph, "relu1", wanted, Progress())
                start = np.maximum([float(v) for v in h], 1e-12)
                for guess in (start, start + 1e-15, np.abs(np.linalg.solve(V, [float(v) for v in e]))):
                    proof = above.proves(guess)
                    proofs += proof
                    tiny += not proof
                    assert not proof or (least > 0 and extra > 0)
    assert proofs > 10 and tiny > 10


# --- ties -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-9, 1e-8])
def test_ties_are_closed_only_where_nothing_is_positive(gap, monkeypatch):
    """Every part closed by the argument about the witness is closed by integers too."""
    closed = asked = 0

    def both(self, keep=Ties.close):
        nonlocal closed, asked
        asked += 1
        answer = keep(self)
        if answer:
            closed += 1
            assert partition(*homogeneous(self.relaxation)).implied[-1]
        return answer

    monkeypatch.setattr(tree.Ties, "close", both)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        W = rng.integers(-2, 3, (4, 3)).astype(float)
        W[2], W[3] = W[0] + W[1], -W[0]
        x = rng.integers(-1, 2, 3).astype(float)
        b = -(W @ x) + gap * rng.choice([-1.0, 0.0, 1.0], 4)
        V = rng.integers(-2, 3, (3, 4)).astype(float)
        c = gap * rng.choice([-1.0, 0.0, 1.0], 3)
        layers = zoo._dense_of(W.tolist(), b.tolist()), zoo._dense_of(V.tolist(), c.tolist())
        data = zoo.chain((3,), layers[0], zoo.RELU, layers[1], zoo.RELU)
        union = preimage(zoo.build(data), x, layer="relu3", domain=Box(x - 1, x + 1))
        expected = unions.pieces(data, x.tolist(), "relu3", ((x - 1).tolist(), (x + 1).tolist()))
        assert len(list(union.pieces())) == len(expected) and union.is_complete
    assert asked > 5
    assert closed > 3 or gap


@pytest.mark.parametrize("scale", [1.0, 1e20, 1e40])
@pytest.mark.parametrize("reach", [1e250, 1e300, 1.7e308, np.inf])
@pytest.mark.parametrize("slope", [0.0, 0.01])
def test_floats_that_overflow_exclude_nothing(slope, reach, scale):
    """A comparison with NaN is false, and would prove any box empty."""
    torch.manual_seed(0)
    layers = [module for n in (3, 4, 4) for module in (torch.nn.Linear(n, 4), torch.nn.LeakyReLU(slope))]
    model = torch.nn.Sequential(*layers).double()
    for weight in model.parameters():
        weight.data *= scale
    net = plica.load(model, (3,))
    known = bound(blocks(net, net.nodes[-1].name), np.full(3, -reach), np.full(3, reach))
    assert known.feasible
    assert not np.isnan(known.low).any() and not np.isnan(known.high).any()
    for name in net.choices:
        read = net[name].inputs[0]
        z = net.values(np.zeros((1, 3)), read)[read].numpy().ravel()
        assert (known.below[name] <= z).all() and (z <= known.above[name]).all()
