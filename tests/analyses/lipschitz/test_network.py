"""Bounds of whole networks: never below a sampled constant, tighter than the product, exact on a domain."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import plica
import zoo
from oracles import networks, operators
from plica.analyses.lipschitz import lipschitz
from plica.analyses.lipschitz.ellipsoid import Arithmetic, Infeasible, Slopes, State, push_affine, push_choice
from plica.analyses.lipschitz.program import images, vectors
from plica.analyses.lipschitz.tight import tight_bound
from plica.core.network import INPUT
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, ShapeError, UnsupportedLayer


def steepest(net, points) -> float:
    """Largest norm of the pieces at some points."""
    return max(float(torch.linalg.matrix_norm(piece.matrix(), 2)) for piece in net.pieces(points))


def mlp(seed: int, *widths: int):
    torch.manual_seed(seed)
    layers = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    return plica.load(nn.Sequential(*layers[:-1]).double())


def shapes_of(net):
    return {INPUT: net.input_shape, **{n.name: n.shape for n in net.nodes}}


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("kind", zoo.KINDS)
def test_bounds_hold_on_every_kind_of_network(kind, seed):
    data, draw = zoo.random_net(kind, seed, degenerate=seed % 2 == 1)
    net = zoo.build(data)
    result = lipschitz(net)
    points = torch.from_numpy(draw.rng.normal(size=(64, *net.input_shape)) * 2)
    low = steepest(net, points)
    assert low <= result.upper * (1 + 1e-12)
    assert result.lower <= result.upper <= result.product * (1 + 1e-12)
    assert (result.lowers <= result.uppers).all()
    assert result.standing is Standing.RIGOROUS
    x, y = points[:32], points[32:]
    apart = (net(x) - net(y)).flatten(1).norm(dim=1)
    assert bool((apart <= result.upper * (x - y).flatten(1).norm(dim=1) * (1 + 1e-9) + 1e-12).all())


@pytest.mark.parametrize("known", zoo.KNOWN, ids=lambda k: k.name)
def test_known_networks_have_bounds(known):
    result = lipschitz(known.net)
    points = torch.randn(32, *known.net.input_shape, dtype=torch.float64)
    assert steepest(known.net, points) <= result.upper * (1 + 1e-12)


def test_tighter_than_the_product():
    net = mlp(0, 20, 40, 40, 5)
    result = lipschitz(net)
    assert result.upper < 0.85 * result.product
    assert result.upper_method == "ellipsoids"
    assert lipschitz(net, tight=False).upper == result.product


def test_exact_where_the_answer_is_known():
    """x -> (relu(x), relu(-x)) keeps lengths, and |x| = relu(x) + relu(-x) has constant 1; the products are 2 and 2."""
    graph = zoo.chain((1,), ("dense", {"W": [[1], [-1]]}), ("relu", {}), ("dense", {"W": [[1, 1]]}))
    result = lipschitz(zoo.build(graph))
    assert result.product == pytest.approx(2.0, rel=1e-9)
    assert result.lower == pytest.approx(1.0, rel=1e-12)
    assert 1.0 <= result.upper <= 2.0 * (1 + 1e-9)
    relus = lipschitz(zoo.build(zoo.chain((3,), ("dense", {"W": np.eye(3).tolist()}), ("relu", {}),
                                          ("dense", {"W": [[1, 0, 0], [0, 2, 0], [0, 0, 3]]}))))  # fmt: skip
    assert relus.upper == pytest.approx(3.0, rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_images_on_a_torus_bound_the_unrolled_network(seed):
    torch.manual_seed(seed)
    first, second = nn.Conv2d(2, 4, 3, stride=1 + seed % 2, padding=1), nn.Conv2d(4, 3, 3, padding=seed % 3)
    rest = (nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 3, 2, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
    model = nn.Sequential(first, nn.ReLU(), second, *rest).double()
    model(torch.zeros(1, 2, 9, 9, dtype=torch.float64))
    net = plica.load(model, (2, 9, 9))
    on_torus = tight_bound(images(net.nodes, INPUT, shapes_of(net)), Progress(), steps=12)
    unrolled = tight_bound(vectors(net.nodes, INPUT, shapes_of(net), {}), Progress(), steps=4)
    low = steepest(net, torch.randn(20, 2, 9, 9, dtype=torch.float64))
    assert low <= min(on_torus, unrolled) * (1 + 1e-12)
    assert on_torus < lipschitz(net, tight=False).product
    assert unrolled < lipschitz(net, tight=False).product


@pytest.mark.parametrize("seed", range(3))
def test_a_residual_block_on_a_torus(seed):
    torch.manual_seed(seed)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Linear(75, 2)

        def forward(self, x):
            return self.out(torch.relu(self.b(torch.relu(self.a(x))) + x).flatten(1))

    net = plica.load(Block().double(), (3, 5, 5))
    on_torus = tight_bound(images(net.nodes, INPUT, shapes_of(net)), Progress(), steps=12)
    assert steepest(net, torch.randn(20, 3, 5, 5, dtype=torch.float64)) <= on_torus
    assert on_torus < lipschitz(net, tight=False).product


def test_proven_pushes_enlarge_the_plain_ones():
    """What proven arithmetic returns is above the exact image; here against rational-size margins of plain floats."""
    rng = np.random.default_rng(0)
    plain, proven = Arithmetic(False), Arithmetic(True)
    A = torch.from_numpy(rng.normal(size=(1, 5, 4)))
    start = State(None, {"x": (0, 4)})
    slopes = Slopes(torch.arange(5), torch.ones(5, dtype=torch.float64), True)
    T = torch.full((5,), 60.0, dtype=torch.float64)
    ends = []
    for how in (plain, proven):
        state = push_affine(start, "v", {"x": (A, 0.0)}, ["x"], how)
        state = push_choice(state, "v", "y", T, slopes, ["x"], how)
        ends.append(state.P)
    gap = torch.linalg.eigvalsh(ends[1] - ends[0])[0]
    assert float(gap[0]) > 0
    assert float(gap[-1]) < 1e-9
    with pytest.raises(Infeasible):
        push_choice(push_affine(start, "v", {"x": (A, 0.0)}, [], plain), "v", "y", T * 1e-3, slopes, [], plain)


# --- on a domain -----------------------------------------------------------------------------------------------------


def grid_constant(data, side: float, steps: int) -> float:
    """Largest norm of central differences on a grid, with exact outputs of the oracle's network."""
    best = 0.0
    at = (np.arange(steps) + 0.5 + 1e-3) / steps * 2 * side - side
    for x in np.stack(np.meshgrid(at, at), -1).reshape(-1, 2):
        J = operators.jacobian(lambda v: np.array([float(o) for o in networks.output(data, v.tolist())]), x, 1e-7)
        best = max(best, operators.norm(J))
    return best


@pytest.mark.parametrize("seed", [0, 2])
def test_local_constant_is_exact_on_a_small_network(seed):
    draw = zoo.Draw(seed, degenerate=False, scales=False)
    data = zoo.chain((2,), draw.dense(4, 2), zoo.RELU, draw.dense(3, 4), zoo.RELU, draw.dense(2, 3))
    result = lipschitz(zoo.build(data), domain=plica.Box(np.full(2, -1.0), 1.0), max_pieces=300)
    assert result.local_reason == "exact: the bounds meet"
    assert result.completeness is Completeness.COMPLETE
    assert result.local_lower == pytest.approx(result.local_upper, rel=1e-8)
    seen = grid_constant(data, 1.0, 12)
    assert seen <= result.local_upper * (1 + 1e-5)
    assert result.local_upper <= result.upper * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["conv", "pool", "residual", "leaky", "maxout", "mixed"])
def test_local_bounds_hold_on_other_networks(kind):
    data, draw = zoo.random_net(kind, 3, degenerate=kind == "leaky")
    net = zoo.build(data)
    size = math.prod(net.input_shape)
    result = lipschitz(net, domain=plica.Box(np.full(size, -0.5), 0.5), max_pieces=2)
    points = torch.from_numpy(draw.rng.uniform(-0.5, 0.5, size=(60, *net.input_shape)))
    assert steepest(net, points) <= result.local_upper * (1 + 1e-12)
    assert result.local_lower <= result.local_upper <= result.upper * (1 + 1e-12)
    assert result.local_reason


def test_a_small_ball_holds_one_piece():
    net = mlp(1, 4, 8, 8, 3)
    x = np.array([0.3, -0.2, 0.1, 0.7])
    result = lipschitz(net, domain=plica.Ball(x, 1e-6))
    J = net.piece(x).matrix().numpy()
    assert result.local_lower <= operators.norm(J) * (1 + 1e-12)
    assert result.local_upper == pytest.approx(operators.norm(J), rel=1e-8)
    assert operators.norm(J) <= result.local_upper * (1 + 1e-12)


def test_budgets_and_domains_that_make_no_sense():
    net = mlp(0, 3, 6, 6, 2)
    box = plica.Box(np.full(3, -2.0), 2.0)
    stopped = lipschitz(net, domain=box, max_pieces=0)
    assert stopped.completeness is Completeness.BUDGET
    assert stopped.local_lower <= stopped.local_upper
    late = lipschitz(net, progress=Progress(max_seconds=0.0))
    assert late.completeness is Completeness.BUDGET
    assert late.product == math.inf
    assert "not reached" in repr(late)
    with pytest.raises(ArgumentError, match="no inner point"):
        lipschitz(net, domain=plica.Box(np.zeros(3), 0.0))
    with pytest.raises(ArgumentError, match="unbounded"):
        lipschitz(net, domain=plica.Box(np.full(3, -np.inf), 1.0))
    with pytest.raises(ArgumentError, match="variables"):
        lipschitz(net, domain=plica.Box(np.zeros(2), 1.0))
    with pytest.raises(ArgumentError, match="tolerance"):
        lipschitz(net, tolerance=2.0)
    with pytest.raises(ArgumentError, match="load the module first"):
        lipschitz(nn.Sequential(nn.Linear(3, 2)), domain=box)


# --- torch modules ---------------------------------------------------------------------------------------------------


class Overlapping(nn.Module):
    """AlexNet's kinds of layers, small: overlapping pools, contrast normalisation, dropout."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=2, padding=1), nn.ReLU(), nn.LocalResponseNorm(3), nn.MaxPool2d(3, 2),
            nn.Conv2d(6, 4, 3, padding=1, groups=2), nn.ReLU(), nn.BatchNorm2d(4), nn.AvgPool2d(3, 2, padding=1),
            nn.AdaptiveAvgPool2d(2), nn.Dropout(),
        )  # fmt: skip
        self.classifier = nn.Linear(16, 5)

    def forward(self, x):
        return torch.sigmoid(self.classifier(torch.flatten(self.features(x), 1)))


def test_a_module_that_is_not_piecewise_linear():
    torch.manual_seed(0)
    model = Overlapping().double().train()
    result = lipschitz(model, (3, 21, 21))
    assert model.training  # never changed
    assert result["features.2"].kind == "contrast normalisation"
    assert result["features.3"].upper == pytest.approx(2.0)
    assert result["sigmoid"].upper == 0.25
    model.eval()
    x, y = torch.randn(2, 40, 3, 21, 21, dtype=torch.float64)
    rate = (model(x) - model(y)).norm(dim=1) / (x - y).flatten(1).norm(dim=1)
    assert float(rate.max()) <= result.upper
    for name, layer in (("features.0", model.features[0]), ("features.4", model.features[4])):
        shape = (3, 21, 21) if name == "features.0" else (6, 4, 4)
        J = operators.jacobian(
            lambda v, layer=layer, shape=shape: layer(torch.from_numpy(v.reshape(1, *shape))).detach().numpy().ravel(),
            np.zeros(math.prod(shape)), 1.0,
        )  # fmt: skip
        assert result[name].lower <= operators.norm(J) * (1 + 1e-9)
        assert operators.norm(J) <= result[name].upper * (1 + 1e-9)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
@pytest.mark.parametrize("loaded", [False, True])
def test_borders(mode, loaded):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode, stride=2).double())
    J = operators.jacobian(
        lambda v: model(torch.from_numpy(v.reshape(1, 2, 6, 6))).detach().numpy().ravel(), np.zeros(72), 1.0
    )  # fmt: skip
    result = lipschitz(plica.load(model, (2, 6, 6)) if loaded else model, (2, 6, 6))
    assert operators.norm(J) <= result.upper * (1 + 1e-9)
    if mode == "circular":
        assert result.layers[0].kind == "circular convolution"
        assert result.upper == pytest.approx(operators.norm(J), rel=1e-6)


def test_sorting_stretches_nothing():
    class MaxMin(nn.Module):
        def forward(self, x):
            return x.reshape(-1, 3, 2).sort(-1)[0].reshape(-1, 6)

    net = plica.load(nn.Sequential(nn.Linear(4, 6), MaxMin()).double(), (4,))
    result = lipschitz(net)
    assert any(layer.kind == "sort" and layer.upper == 1.0 for layer in result.layers)
    assert result.product == pytest.approx(result.layers[0].upper, rel=1e-9)


def test_modules_that_are_refused():
    with pytest.raises(UnsupportedLayer, match="GELU"):
        lipschitz(nn.Sequential(nn.Linear(2, 2), nn.GELU()))
    with pytest.raises(ShapeError, match="input_shape"):
        lipschitz(nn.Sequential(nn.Conv2d(1, 1, 2)))
    with pytest.raises(ShapeError, match="does not run"):
        lipschitz(nn.Sequential(nn.Conv2d(1, 1, 2)), (3, 4, 4))

    class Loop(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedLayer, match="Load it first"):
        lipschitz(Loop(), (2,))


@pytest.mark.parametrize(
    ("size", "beta", "channels"), [(5, 0.75, 8), (3, 0.5, 6), (40, 0.75, 4), (5, 1.5, 2), (4, 1.0, 7)]
)
def test_contrast_normalisation(size, beta, channels):
    """The bracket against Jacobians at many points, found by ascent from random ones."""
    from plica.analyses.lipschitz import contrast_constant, response_constant

    layer = nn.LocalResponseNorm(size, alpha=2.0, beta=beta, k=0.5)
    found = response_constant(size, 2.0, beta, 0.5, channels)
    worst = 0.0
    rng = np.random.default_rng(0)
    for scale in (0.0, 0.1, 0.5, 1.0, 2.0):
        for _ in range(20):
            x = rng.normal(size=channels) * scale
            J = operators.jacobian(
                lambda v: layer(torch.from_numpy(v.reshape(1, channels, 1, 1))).numpy().ravel(), x, 1e-5
            )
            worst = max(worst, operators.norm(J))
    assert worst <= found.upper * (1 + 1e-8)
    assert found.lower <= worst * (1 + 1e-8)
    if size == 40:
        assert found.upper == pytest.approx(0.5**-beta, rel=1e-9)
        assert contrast_constant(0.5, beta) == pytest.approx(found.upper, rel=1e-9)


def test_fewer_steps_give_a_bound_that_is_looser_and_still_holds():
    """Closed form, three steps, all: each proven, none below the gain of a piece, in this order."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3)).double()
    net = plica.load(module.eval(), (6,))
    closed, few, full = (plica.lipschitz(net, steps=steps) for steps in (0, 3, 60))
    assert closed.product > closed.upper > few.upper > full.upper >= full.lower > 0
    with pytest.raises(ArgumentError, match="steps = -1"):
        plica.lipschitz(net, steps=-1)


def test_the_lower_bound_does_not_wait_for_a_search_that_takes_all_the_time(monkeypatch):
    def search(read, shape, plain, progress, *, search):
        progress.max_seconds = 0.0
        return plain, "product over the graph"

    monkeypatch.setattr("plica.analyses.lipschitz.analysis.better_product", search)
    net = plica.load(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)), (3,))
    result = plica.lipschitz(net, progress=plica.Progress(max_seconds=1000.0))
    assert 0 < result.lower <= result.upper
