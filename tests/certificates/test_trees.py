"""The two bounds that trees rest on: never above the truth, whatever lines and weights are given."""

import random
from fractions import Fraction

import numpy as np
import pytest

import plica
import zoo
from plica import checker as tree
from plica import exact_model
from plica.certificates.describe import described
from plica.exact_model import ONE, extreme, fits


def forward(net, data, u):
    """What every choice reads, and all columns, at a point: the values are the oracle's."""
    columns, reads = list(u), []
    for layer in net:
        z = [layer.unit * sum(v * (1 if c == ONE else columns[c]) for c, v in row.items()) for row in layer.rows]
        reads.append(z)
        columns += [output(unit, z) for unit in layer.units]
    return reads, columns


def output(unit, z):
    """A unit's output at fractions: the largest number, or the line between the knots."""
    if ONE not in unit[0][0]:
        return max(z[i] for line, _ in unit for i in line)
    (u,) = (i for i in unit[0][0] if i != ONE)
    knots = [-form[ONE] for _, limits in unit[:-1] for form, strict in limits if not strict]
    line = unit[sum(z[u] > k for k in knots)][0]
    return line[u] * z[u] + line[ONE]


@pytest.mark.parametrize("seed", range(21))
def test_forms_that_are_pulled_back_are_never_above_the_truth(seed):
    rng = random.Random(seed)
    data, _ = zoo.random_net(zoo.KINDS[seed % 7], seed, degenerate=seed % 2 == 1)
    plain = zoo.build(data)
    graph = exact_model.read_described(*described(plain))
    net = exact_model.network(graph, plain.output, {"input": exact_model.columns(graph.shape, 0)})
    n = net[0].first
    domain = tree.Domain([Fraction(-1)] * n, [Fraction(1)] * n, "inf", tree.inf, {})
    for _ in range(4):
        points = [[Fraction(rng.randint(-8, 8), 8) for _ in range(n)] for _ in range(12)]
        taken, (reads, _) = {}, forward(net, data, points[0])
        for j, layer in enumerate(net[:-1]):
            z = reads[j]
            fit = [[b for b, (_, limits) in enumerate(unit) if fits(limits, z, z)] for unit in layer.units]
            taken[j] = {u: own[0] for u, own in enumerate(fit) if rng.random() < 0.3}
        known = tree.bounds(net, domain, taken, None, {})
        assert known is not None
        form = {c: Fraction(rng.randint(-9, 9)) for c in range(len(forward(net, data, points[0])[1]))} | {
            ONE: Fraction(1)
        }
        slopes, edges = {}, {}
        for j, layer in enumerate(net[:-1]):
            groups = [[i for i in dict.fromkeys(i for line, _ in unit for i in line) if i != ONE]
                      for unit in layer.units]  # fmt: skip
            slopes[j] = {u: [{i: Fraction(rng.randint(-2, 4), 4) for i in g} for _ in range(2)]
                         for u, g in enumerate(groups) if rng.random() < 0.8}  # fmt: skip
            edges[j] = {}
            for i in range(len(layer.rows)):
                bound = {i: -1, ONE: known[j].low[i]} if rng.random() < 0.5 else {i: 1, ONE: -known[j].high[i]}
                edges[j] = tree.plus(edges[j], bound, Fraction(rng.choice([0, 0, 1, 2, 3])))
            for u, b in taken[j].items():
                for limit, _ in layer.units[u][b][1]:
                    edges[j] = tree.plus(edges[j], limit, Fraction(rng.randint(0, 3)))
        found = tree.pull(net, known, dict(form), slopes, edges)
        low = tree.lowest(found, domain)
        for u in points:
            reads, columns = forward(net, data, u)
            if not all(fits(net[j].units[k][b][1], reads[j], reads[j]) for j, t in taken.items() for k, b in t.items()):
                continue
            true = form[ONE] + sum(form[c] * v for c, v in enumerate(columns))
            for j, own in edges.items():
                term = extreme(own, reads[j], reads[j])
                assert term <= 0
                true += term
            at = found[ONE] + sum(found.get(k, 0) * v for k, v in enumerate(u))
            assert low <= at <= true
            for j, k in enumerate(known):
                assert all(a <= v <= b for a, v, b in zip(k.low, reads[j], k.high, strict=True))


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_minima_over_balls_with_a_half_space(norm):
    rng = np.random.default_rng(0)
    for _ in range(40):
        n, radius = int(rng.integers(1, 5)), Fraction(int(rng.integers(1, 9)), 4)
        low, high = ([sign * min(radius, Fraction(int(v), 4)) for v in rng.integers(0, 9, n)] for sign in (-1, 1))
        keys = [*range(n), ONE]
        form, cut = (dict(zip(keys, map(Fraction, rng.integers(-5, 6, n + 1).tolist()), strict=True)) for _ in range(2))
        domain = tree.Domain(low, high, norm, radius, cut)
        bounds = [tree.lowest(form, domain, nu) for nu in (0, Fraction(1, 2), 3)]
        inside, least = 0, tree.inf
        for d in rng.uniform(-float(radius), float(radius), (300, n)):
            d = np.clip(d, [float(v) for v in low], [float(v) for v in high])
            if np.linalg.norm(d, float(norm)) <= float(radius) and \
                    sum(float(cut[k]) * v for k, v in enumerate(d)) + float(cut[ONE]) <= 0:  # fmt: skip
                inside, value = inside + 1, sum(float(form[k]) * v for k, v in enumerate(d)) + float(form[ONE])
                least = min(least, value)
        assert float(max(bounds)) <= least + 1e-9
        with pytest.raises(ValueError, match="negative"):
            tree.lowest(form, domain, Fraction(-1))


@pytest.mark.parametrize("seed", [19, 26])
def test_groups_whose_winner_is_taken(seed, tmp_path):
    """Maxout nets whose proofs need that the others are not above the winner."""
    data, draw = zoo.random_net("maxout", seed, degenerate=seed // 7 % 2 == 1)
    net = zoo.build(data)
    x = np.asarray(draw.point(net.input_shape[0]), dtype=np.float64)
    found = plica.preimage(net, x, layer="maxout1", domain=plica.Box(x - 1, x + 1))
    path = plica.certify(found, net, path=tmp_path / "c.json")
    assert plica.verify(path, path.with_suffix(".safetensors"))
