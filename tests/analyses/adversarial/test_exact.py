"""Brackets of smallest perturbations against exhaustion; half-spaces and bounds against samples; proofs in integers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import plica
from oracles import networks
from oracles import smallest as oracle
from plica.analyses.adversarial.certified import certified_radius
from plica.analyses.adversarial.exact import prepare, program, smallest
from plica.analyses.adversarial.exact.bounds import Domain, ball, bound
from plica.analyses.adversarial.exact.dual import Multipliers, by_default, halfspace
from plica.analyses.adversarial.exact.kernels import distance, least
from plica.analyses.adversarial.exact.points import length, proven_margins, value
from plica.analyses.adversarial.exact.program import PULLS, Rows, nearest
from plica.analyses.adversarial.exact.smallest import aims
from plica.analyses.adversarial.exact.tree import Tree
from plica.core.progress import Progress
from plica.core.solve.warm import WarmProgram
from plica.errors import ArgumentError, BudgetReached, DataError, ShapeError
from zoo import KINDS, build, chain, random_net

NORMS = (2.0, math.inf, 1.0)


def case(seed):
    """A net of the zoo, a point, its class, a norm and a box."""
    kind, degenerate = KINDS[seed % len(KINDS)], seed % 2 == 1
    data, draw = random_net(kind, seed, degenerate=degenerate)
    x = np.clip(draw.point(math.prod(data["input"])), -2, 2)
    label = int(np.argmax([float(v) for v in networks.output(data, x)]))
    return data, x, label, NORMS[(seed // 2) % 3], (x - 1.0, x + np.where(np.arange(len(x)) % 2, 1.5, 0.75))


@pytest.mark.big(sample=100)
@pytest.mark.parametrize("seed", range(1000))
def test_no_lower_bound_exceeds_the_exact_distance(seed):
    data, x, label, norm, box = case(seed)
    exact = oracle.smallest(data, x, label, norm, box=tuple(map(list, box)))
    found = smallest(build(data), x, label, norm=norm, box=box, progress=Progress(max_seconds=0.3))
    assert found.lower_bound <= exact * (1 + 1e-9) + 1e-9
    assert found.distance >= exact * (1 - 1e-7) - 1e-7
    if found.proven:
        assert found.distance == exact or abs(found.distance - exact) <= 2e-6 * max(1.0, exact)
    if found.x is not None:
        out = networks.output(data, found.x)
        assert max(v for k, v in enumerate(out) if k != label) > out[label]
        assert length(found.x - x, norm) <= found.distance
        assert (found.x >= box[0]).all() and (found.x <= box[1]).all()
    elif found.proven and data:
        assert exact == math.inf


@pytest.mark.parametrize("norm", NORMS)
def test_linear_forms_over_domains(norm):
    rng = np.random.default_rng(1)
    for _ in range(30):
        n = int(rng.integers(1, 6))
        radius = float(rng.uniform(0.2, 2))
        low, high = -np.abs(rng.normal(size=n)), np.abs(rng.normal(size=n)) * rng.integers(0, 2, size=n)
        low, high = np.maximum(low, -radius), np.minimum(high, radius)
        d = rng.uniform(low, high, size=(4000, n))
        size = np.array([length(v, norm) for v in d])
        d = d * np.minimum(1.0, radius / np.maximum(size, 1e-12))[:, None]
        w = rng.normal(size=n)
        beta = float(np.quantile(d @ w, 0.8))
        inside = d[d @ w >= beta]
        forms = rng.normal(size=(7, n))
        domain = Domain(low, high, norm, radius, w, beta)
        bounds = domain.least(forms)[0]
        seen = (inside @ forms.T).min(0)
        assert (bounds <= seen + 1e-12).all()
        assert (bounds >= seen - 0.5 * radius * n).all()  # and they are of use
        near = min(length(v, norm) for v in inside)
        assert distance(w, beta, low, high, norm) <= near + 1e-12
        assert (least(forms, low, high, norm, radius, 0 * w, 0.0)[0] <= (d @ forms.T).min(0) + 1e-12).all()


@pytest.mark.parametrize("seed", range(21))
def test_bounds_and_halfspaces_hold_at_samples(seed):
    data, x, label, norm, box = case(seed)
    layers = prepare(build(data)).at(x, *box)
    domain = ball(layers, norm, 0.7)
    state = bound(layers, domain, [np.full(c.units, -1) for c in layers.choices])
    rng = np.random.default_rng(seed)
    d = rng.uniform(domain.lower, domain.upper, size=(300, len(x)))
    d = d * np.minimum(1.0, 0.7 / np.array([length(v, norm) for v in d]))[:, None]
    for aim in aims(layers.classes, label, None):
        given = by_default(layers, state, aim, np.ones(1))
        for weights in (given, _shaken(given, rng), _none(given)):
            w, beta = halfspace(layers, state, aim, weights.rounded())
            margins = np.array([float((aim @ value(layers, v))[0]) for v in d])
            assert (d @ w - beta >= margins * weights.rounded().margins[0] - 1e-9).all()
        lows = [proven_margins(layers, x + v, aim)[0] for v in d[:20]]
        assert (lows <= margins[:20] + 1e-9).all()


def _none(given):
    """No lines: outputs are replaced by their bounds."""
    above, below, bounds = (tuple(0 * p for p in group) for group in (given.above, given.below, given.bounds))
    return Multipliers(given.margins, above, below, bounds)


def _shaken(given, rng):
    """Other multipliers, as wrong as solvers could ever be."""
    shake = [tuple(np.abs(p + rng.normal(size=p.shape)) for p in group) for group in (given.above, given.below)]
    return Multipliers(given.margins, *shake, tuple(rng.normal(size=p.shape) for p in given.bounds))


def test_rows_that_contradict_each_other_get_multipliers_that_say_so():
    """More inputs than rows, so that the program is one over the space of the rows."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(3, 300))
    basis /= np.sqrt((basis**2).sum(1))[:, None]
    G = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0]])
    h, kinds = np.array([-0.2, -0.1, 5.0, 5.0]), np.zeros(4, dtype=np.int64)  # z <= -0.2 and z >= 0.1
    of = Rows(G, h, np.ones(4), np.zeros(0), np.zeros(0), kinds, kinds, kinds, basis)
    domain = Domain(np.full(300, -1.0), np.full(300, 1.0), 2.0, 1.0, np.zeros(300), 0.0)
    weight, point = nearest(of, domain)
    assert point is None and (weight >= 0).all()
    w, beta = -(weight @ G) @ basis, -float(weight @ h)  # rows added up: w.d >= beta
    assert distance(w, beta, domain.lower, domain.upper, 2.0) > 10 * domain.radius
    assert abs(weight.sum() - max(PULLS)) < 1
    loose = Rows(G, np.array([0.2, 0.1, 5.0, 5.0]), np.ones(4), np.zeros(0), np.zeros(0), kinds, kinds, kinds, basis)
    assert np.abs(nearest(loose, domain)[1]).max() < 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_many_inputs_that_stand_for_few(seed):
    """Every input split into 60 equal ones leaves distances as they are; then programs are over the rows."""
    rng, copies = np.random.default_rng(seed), 60
    few, many = (nn.Sequential(nn.Linear(n, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)).double()
                 for n in (4, 4 * copies))  # fmt: skip
    with torch.no_grad():
        for small, large in zip(few, many, strict=True):
            if isinstance(small, nn.Linear):
                small.weight.copy_(torch.from_numpy(rng.normal(size=small.weight.shape)))
                small.bias.copy_(torch.from_numpy(rng.normal(size=small.bias.shape)))
                wide = large.weight.shape[1] != small.weight.shape[1]
                large.weight.copy_(small.weight.repeat_interleave(copies, 1) / copies**0.5 if wide else small.weight)
                large.bias.copy_(small.bias)
    x = rng.normal(size=4)
    label = int(few(torch.from_numpy(x)).argmax())
    found = []
    for module, point, room in ((few, x, 0.8), (many, np.repeat(x, copies) / copies**0.5, 0.8 / copies**0.5)):
        box = point - room, point + (np.arange(len(point)) * 4 // len(point) % 2 + 1) * room
        found.append(smallest(plica.load(module, (len(point),)), point, label, norm=2.0, box=box))
    assert found[0].proven and found[1].proven
    assert found[1].distance == pytest.approx(found[0].distance, rel=3e-6)
    assert found[1].lower_bound == pytest.approx(found[0].lower_bound, rel=3e-6)


def test_known_answers():
    data = chain((2,), ("dense", {"W": [[1.0, 0.0], [0.0, 1.0]], "b": None}))
    net, x = build(data), np.array([0.9, 0.1])
    for norm, answer in ((2.0, 0.8 / math.sqrt(2)), (math.inf, 0.4), (1.0, 0.8)):
        found = smallest(net, x, 0, norm=norm, box=(np.zeros(2), np.ones(2)))
        assert found.proven and abs(found.distance - answer) < 1e-6 and found.lower_bound <= answer
        a, b = networks.output(data, found.x)
        assert b > a  # strictly, in fractions
    found = smallest(net, x, 1, norm=2.0)
    assert found.distance == 0 and found.proven  # misclassified already
    tied = smallest(net, np.array([0.5, 0.5]), 0, norm=2.0)
    assert tied.lower_bound == 0 and tied.distance < 1e-6
    constant = build(chain((2,), ("dense", {"W": [[0.0, 0.0], [0.0, 0.0]], "b": [1.0, 0.0]})))
    nowhere = smallest(constant, x, 0, box=(np.zeros(2), np.ones(2)))
    assert nowhere.lower_bound == math.inf and nowhere.proven and nowhere.x is None


def test_targets_that_have_to_win():
    W = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    net = build(chain((2,), ("dense", {"W": W, "b": [0.0, 0.0, -0.2]})))
    x, box = np.array([0.9, 0.1]), (np.zeros(2), np.ones(2))
    beat = smallest(net, x, 0, wanted=aims(3, 0, [2]), box=box)
    win = smallest(net, x, 0, wanted=aims(3, 0, [2], win=True), box=box)
    assert beat.proven and beat.distance <= win.lower_bound * (1 + 1e-6) + 1e-6


def test_budgets_and_interrupts_return_brackets():
    data, x, label, norm, box = case(0)
    net = build(data)
    stopped = smallest(net, x, label, norm=norm, box=box, progress=Progress(max_seconds=0.0))
    assert stopped.completeness == "budget reached" and stopped.lower_bound == 0 and stopped.distance == math.inf

    class Interrupting(Progress):
        def check(self):
            raise KeyboardInterrupt

    assert smallest(net, x, label, norm=norm, box=box, progress=Interrupting()).completeness == "interrupted"


def test_a_point_and_no_time_still_give_a_bound():
    """Lines alone, within shares of the distance of a point that is much farther than the nearest one."""
    bounds, within = 0, 0
    for seed in range(120):
        data, x, label, norm, box = case(seed)
        net = build(data)
        X = np.random.default_rng(seed).uniform(*box, size=(500, len(x)))
        X = X[net(X.reshape(-1, *net.input_shape)).flatten(1).argmax(1).numpy() != label]
        if not len(X):
            continue
        far = max(X, key=lambda point: length(point - x, norm))
        found = smallest(net, x, label, norm=norm, box=box, upper=far, progress=Progress(max_seconds=0.0))
        exact = oracle.smallest(data, x, label, norm, box=tuple(map(list, box)))
        assert found.completeness == "budget reached" and found.lower_bound <= exact
        bounds, within = bounds + (found.lower_bound > 0), within + (exact < 0.5 * found.distance)
    assert bounds >= 10 and within >= 10


def test_a_slow_first_search_leaves_time_for_smaller_radii(monkeypatch):
    real, limits = Tree.run, []

    def run(self, most=None):
        if most is None:
            return real(self)
        limits.append(self.progress.max_seconds)
        raise BudgetReached("its share of the time is over")

    data, x, label, norm, box = case(6)
    known = smallest(build(data), x, label, norm=norm, box=box)
    monkeypatch.setattr(Tree, "run", run)
    for seconds, end in ((60.0, "complete"), (0.0, "budget reached")):
        clock = Progress(max_seconds=seconds)
        found = smallest(build(data), x, label, norm=norm, box=box, upper=known.x, progress=clock)
        assert found.completeness == end and found.proven == (end == "complete")
    assert limits and max(limits) < 10.0


@pytest.mark.parametrize("norm", [1.0, math.inf])
def test_the_clock_reaches_single_programs(monkeypatch, norm):
    clocks = []

    def watched(*args, progress):
        clocks.append(progress)
        return WarmProgram(*args, progress=progress)

    monkeypatch.setattr(program, "WarmProgram", watched)
    data, x, label, _, box = case(6)
    clock = Progress(max_seconds=60.0)
    found = smallest(build(data), x, label, norm=norm, box=box, progress=clock)
    assert found.x is not None and clocks and all(c.max_seconds is not None for c in clocks)


def test_certified_radii_are_below_the_smallest_distance():
    for seed in range(14):
        data, x, label, norm, box = case(seed)
        net = build(data)
        found = smallest(net, x, label, norm=norm, box=box, progress=Progress(max_seconds=1.0))
        X = x.reshape(1, *net.input_shape)
        radius = certified_radius(net, X, [label], norm=norm, box=plica.Box(*box)).radius[0]
        assert radius <= found.distance * (1 + 1e-9)


def test_bad_input():
    data, x, label, _, box = case(0)
    net = build(data)
    with pytest.raises(ShapeError, match="numbers"):
        smallest(net, x[:-1], label)
    with pytest.raises(DataError, match="finite"):
        smallest(net, x * np.nan, label)
    with pytest.raises(ArgumentError, match="norm"):
        smallest(net, x, label, norm=3.0)
    with pytest.raises(ArgumentError, match="label"):
        smallest(net, x, 99)
    with pytest.raises(DataError, match="outside"):
        smallest(net, x + 10, label, box=box)


@pytest.mark.parametrize("norm", NORMS)
def test_ties_on_whole_pieces_are_left_out(norm):
    """Outputs 0 and max(0, v - 1/2): the margin is 0 up to v = 1/2, and only what is beyond counts."""
    layers = (
        ("dense", {"W": [[1.0], [0.0]], "b": [-0.5, 0.0]}),
        ("relu", {}),
        ("dense", {"W": [[0.0, 0.0], [1.0, 0.0]]}),
    )
    net = build(chain((1,), *((kind, {"b": None, **o} if kind == "dense" else o) for kind, o in layers)))
    found = smallest(net, np.array([0.2]), 0, norm=norm, box=(np.zeros(1), np.ones(1)))
    assert found.proven and found.lower_bound <= 0.3 < found.distance < 0.3 + 1e-6 and found.lower_bound > 0.3 - 1e-6
    assert found.tree is None or found.tree.closed == 0  # what a certificate may claim
    below = smallest(net, np.array([0.2]), 0, norm=norm, box=(np.zeros(1), np.full(1, 0.5)))
    assert below.lower_bound == math.inf and below.proven and below.x is None


@pytest.mark.parametrize("seed", [5, 19, 49, 224])
def test_complete_searches_of_tied_networks_close(seed):
    data, x, label, norm, box = case(seed)
    found = smallest(build(data), x, label, norm=norm, box=box)
    exact = oracle.smallest(data, x, label, norm, box=tuple(map(list, box)))
    assert found.completeness == "complete" and found.proven
    assert found.lower_bound <= exact * (1 + 1e-9) and (found.distance >= exact * (1 - 1e-9))
