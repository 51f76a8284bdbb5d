"""The tree checker's two bounds: never above the truth, whatever lines and weights are given."""

import random
from fractions import Fraction

import numpy as np
import pytest

import plica
import zoo
from plica import checker
from plica import tree_checker as tree
from plica.certificates.describe import described


def units(choice, z):
    """Outputs of a choice at fractions."""
    if choice[0] == "max":
        return [max(z[i] for i in group) for group in choice[1]]
    at = [sum(v > k for k in knots) for v, (knots, _, _) in zip(z, choice[1], strict=True)]
    return [s[b] * v + t[b] for v, b, (_, s, t) in zip(z, at, choice[1], strict=True)]


def forward(net, u):
    """What every choice reads, and all columns, at a point."""
    columns, reads = list(u), []
    for layer in net.layers:
        z = [layer.unit * sum(v * columns[c] for c, v in row.items()) + o
             for row, o in zip(layer.rows, layer.offset, strict=True)]  # fmt: skip
        reads.append(z)
        columns += units(layer.choice, z) if layer.choice else []
    return reads, columns


@pytest.mark.parametrize("seed", range(21))
def test_forms_that_are_pulled_back_are_never_above_the_truth(seed):
    rng = random.Random(seed)
    data, _ = zoo.random_net(zoo.KINDS[seed % 7], seed, degenerate=seed % 2 == 1)
    plain = zoo.build(data)
    graph = checker.read_described(*described(plain))
    net = tree.network(vars(checker), graph, plain.output, "input", {})
    n = net.inputs
    domain = tree.Domain([Fraction(-1)] * n, [Fraction(1)] * n, "inf", tree.inf, {})
    for _ in range(4):
        points = [[Fraction(rng.randint(-8, 8), 8) for _ in range(n)] for _ in range(12)]
        taken, (reads, _) = {}, forward(net, points[0])
        for j, layer in enumerate(net.layers[:-1]):
            choice, z = layer.choice, reads[j]
            fit = [[b for b in range(tree.branches(choice, u)) if tree.fits(choice, u, b, z, z)]
                   for u in range(len(choice[1]))]  # fmt: skip
            taken[j] = {u: own[0] for u, own in enumerate(fit) if rng.random() < 0.3}
        known = tree.bounds(net, domain, taken, None, {})
        assert known is not None
        form = {c: Fraction(rng.randint(-9, 9)) for c in range(len(forward(net, points[0])[1]))} | {
            tree.ONE: Fraction(1)
        }
        slopes, edges = {}, {}
        for j, layer in enumerate(net.layers[:-1]):
            groups = [[u] if layer.choice[0] == "scalar" else layer.choice[1][u] for u in range(len(layer.choice[1]))]
            slopes[j] = {u: [{i: Fraction(rng.randint(-2, 4), 4) for i in g} for _ in range(2)]
                         for u, g in enumerate(groups) if rng.random() < 0.8}  # fmt: skip
            edges[j] = [(i, Fraction(rng.randint(-3, 3))) for i in range(len(layer.rows)) if rng.random() < 0.5]
            if layer.choice[0] == "max":
                edges[j] += [(rng.choice(groups[u]), Fraction(rng.randint(0, 3)), u) for u in taken[j]]
        found = tree.pull(net, known, dict(form), slopes, edges)
        low = tree.lowest(found, domain)
        for u in points:
            reads, columns = forward(net, u)
            if not all(
                tree.fits(net.layers[j].choice, k, b, reads[j], reads[j])
                for j, t in taken.items()
                for k, b in t.items()
            ):
                continue
            true = form[tree.ONE] + sum(form[c] * v for c, v in enumerate(columns))
            for j, own in edges.items():
                for i, w, *unit in own:
                    ends = known[j].low[i] if w > 0 else known[j].high[i]
                    winner = [reads[j][net.layers[j].choice[1][k][taken[j][k]]] for k in unit]
                    term = w * (reads[j][i] - winner[0]) if unit else w * (ends - reads[j][i])
                    assert term <= 0
                    true += term
            at = found[tree.ONE] + sum(found.get(k, 0) * v for k, v in enumerate(u))
            assert low <= at <= true
            for j, k in enumerate(known):
                assert all(a <= v <= b for a, v, b in zip(k.low, reads[j], k.high, strict=True))


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_minima_over_balls_with_a_half_space(norm):
    rng = np.random.default_rng(0)
    for _ in range(40):
        n, radius = int(rng.integers(1, 5)), Fraction(int(rng.integers(1, 9)), 4)
        low, high = ([sign * min(radius, Fraction(int(v), 4)) for v in rng.integers(0, 9, n)] for sign in (-1, 1))
        keys = [*range(n), tree.ONE]
        form, cut = (dict(zip(keys, map(Fraction, rng.integers(-5, 6, n + 1).tolist()), strict=True)) for _ in range(2))
        domain = tree.Domain(low, high, norm, radius, cut)
        bounds = [tree.lowest(form, domain, nu) for nu in (0, Fraction(1, 2), 3)]
        inside, least = 0, tree.inf
        for d in rng.uniform(-float(radius), float(radius), (300, n)):
            d = np.clip(d, [float(v) for v in low], [float(v) for v in high])
            if np.linalg.norm(d, float(norm)) <= float(radius) and \
                    sum(float(cut[k]) * v for k, v in enumerate(d)) + float(cut[tree.ONE]) <= 0:  # fmt: skip
                inside, value = inside + 1, sum(float(form[k]) * v for k, v in enumerate(d)) + float(form[tree.ONE])
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
