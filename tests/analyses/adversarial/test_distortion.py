"""Smallest perturbations: closed forms, exhaustive answers on small nets, every kind of net, and proofs."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import plica
from analyses.adversarial.distortion_checks import NORMS, QUICK, UNIT, checked, deep, linear, relu_net
from oracles import distortions as oracle
from oracles import halfspaces
from plica.analyses.adversarial import min_distortion, penalty
from plica.analyses.adversarial.settings import explicit_targets
from zoo import KINDS, build, random_net

# --- known answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", ["auto", "fast"])
def test_linear_classifiers_have_closed_forms(norm, method):
    rng = np.random.default_rng(3)
    W, b, X = rng.normal(size=(5, 6)), rng.normal(size=5) / 4, rng.random((8, 6))
    model = linear(W, b)
    y = (X @ W.T + b).argmax(1)
    result = min_distortion(model, X, y, norm=norm, box=UNIT, method=method)
    checked(result, model, X, UNIT)
    for i in range(len(X)):
        best = min(
            halfspaces.distance(X[i], W[k] - W[y[i]], b[y[i]] - b[k], np.zeros(6), np.ones(6), norm)
            for k in range(5)
            if k != y[i]
        )
        assert best * (1 - 1e-9) <= result.distance[i] <= best * (1 + 1e-5) + 1e-9 if math.isfinite(best) else True


def of_small_net(case, norm):
    """Distances found and exact ones, of the images of a net with thin pieces that can be left at all."""
    module, layers = relu_net(case)
    X = np.random.default_rng(case).random((3, 3))
    result = min_distortion(module, X, norm=norm, box=UNIT, **QUICK)
    checked(result, module, X, UNIT)
    exact = [
        oracle.smallest(layers, x, int(k), np.zeros(3), np.ones(3), norm) for x, k in zip(X, result.label, strict=True)
    ]
    assert [status == "not found" for status in result.status] == [math.isinf(v) for v in exact]
    pairs = zip(result.distance, exact, result.status, strict=True)
    return [(found, least) for found, least, status in pairs if status == "found"]


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("case", range(40))
def test_small_nets_against_every_pattern(case, norm):
    """Never below the exact distance; pieces of a thousandth of the box (case 36) are found, at most 6 % too far."""
    for found, least in of_small_net(case, norm):
        assert least - 1e-7 <= found <= 1.06 * least + 1e-4


@pytest.mark.big(sample=0)
def test_most_small_nets_are_left_at_the_exact_place():
    pairs = [pair for case in range(40) for norm in NORMS for pair in of_small_net(case, norm)]
    assert np.mean([found <= 1.005 * least for found, least in pairs]) > 0.94


def test_a_thin_piece_is_found():
    """A thousandth of the box has the other class, and there is no slope towards it."""
    module, _ = relu_net(36)
    X = np.random.default_rng(36).random((3, 3))
    assert list(min_distortion(module, X, norm=math.inf, box=UNIT).status) == ["found"] * 3


def test_the_target_that_is_asked_for():
    W, b = np.eye(4), np.zeros(4)
    model, X = linear(W, b), np.array([[1.0, 0.9, 0.5, 0.0]])
    far = min_distortion(model, X, [0], targets=[3], box=UNIT, **QUICK)
    assert far.target[0] == 3
    # classes 0 and 1 have to fall to a common level that class 3 rises to: the mean of the three, 1.9 / 3
    level = 1.9 / 3
    assert far.distance[0] == pytest.approx(np.linalg.norm([1 - level, 0.9 - level, level]), rel=2e-3)
    assert min_distortion(model, X, [0], targets="second", box=UNIT, **QUICK).target[0] == 1
    assert min_distortion(model, X, [0], targets="least", box=UNIT, method="fast").target[0] == 3
    several = min_distortion(model, X, [0], targets=[[3, 1]], box=UNIT, **QUICK)
    assert several.target[0] == 1
    assert several.distance[0] == pytest.approx(0.1 / math.sqrt(2), rel=1e-3)
    label, logits = torch.zeros(1, dtype=torch.long), torch.zeros((1, 4))
    draws = {int(explicit_targets("random", label, logits, seed)) for seed in range(30)}
    assert draws == {1, 2, 3}


def test_one_more_solution_at_the_end_of_the_papers_method(monkeypatch):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 4)).eval()
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(2)
    given = {"X": np.random.default_rng(0).random((150, 6)), "box": UNIT, "method": "lbfgs", "targets": "least"}
    again = min_distortion(module, **given).distance
    monkeypatch.setattr(penalty, "_again", lambda *_: None)
    once = min_distortion(module, **given).distance
    found = np.isfinite(once)
    assert found.sum() > 50 and (again <= once).all() and (again[found] < 0.999 * once[found]).any()


# --- rows that need saying --------------------------------------------------------------------------------------


def test_misclassified_images_are_at_distance_zero_and_said():
    result = min_distortion(linear(np.eye(2), np.zeros(2)), [[1.0, 0.0], [1.0, 0.0]], [1, 0], box=UNIT)
    assert result.status == ("misclassified already", "found")
    assert result.distance[0] == 0 and result.target[0] == 0
    assert "1 misclassified already" in repr(result)
    given = min_distortion(linear(np.eye(2), np.zeros(2)), [[1.0, 0.0]], [1], targets=[0], box=UNIT)
    assert given.status == ("has its target already",) and given.distance[0] == 0


@pytest.mark.parametrize("method", ["auto", "fast", "lbfgs", "lbfgs_scipy"])
def test_an_unreachable_class_is_a_said_row(method):
    constant = linear([[0.0, 0.0], [0.0, 0.0]], [1.0, 0.0])
    X = np.random.default_rng(0).random((3, 2))
    result = min_distortion(constant, X, [0, 0, 1], box=UNIT, method=method)
    assert result.status == ("not found", "not found", "misclassified already")
    assert np.isinf(result.distance[:2]).all() and np.isnan(result.x_adv[:2]).all()
    checked(result, constant, X, UNIT)


def test_a_flat_start_is_left_by_random_points():
    """relu(x - 0.5) has no gradient at 0."""
    module = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).double().eval()
    with torch.no_grad():
        for p, v in zip(module.parameters(), ([[1.0]], [-0.5], [[0.0], [1.0]], [0.25, 0.0]), strict=True):
            p.copy_(torch.tensor(v))
    result = min_distortion(module, [[0.0]], [0], box=UNIT)
    assert result.distance[0] == pytest.approx(0.75, rel=1e-5)


def test_fixed_pixels_stay():
    box = plica.Box([0.0, 0.2, 0.0], [1.0, 0.2, 1.0])
    X = np.array([[0.6, 0.2, 0.1]])
    result = min_distortion(linear(np.eye(3), np.zeros(3)), X, [0], box=box)
    assert result.x_adv[0, 1] == 0.2
    assert result.distance[0] == pytest.approx(0.5 / math.sqrt(2), rel=1e-5)  # pixels 0 and 2 meet; 1 would be nearer


# --- every kind of net ------------------------------------------------------------------------------------------


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("degenerate", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", range(3))
def test_every_kind_of_network(kind, degenerate, norm, case):
    data, draw = random_net(kind, case, degenerate=degenerate)
    net = build(data)
    X = np.stack([draw.point(math.prod(net.input_shape)).reshape(net.input_shape) for _ in range(4)])
    box = plica.Box(np.full(X[0].size, -8.0), 8.0)
    result = min_distortion(net, X, norm=norm, box=box, **QUICK)
    checked(result, lambda p: net.logits(p), X, box)
    moved = net.cast(torch.float32)
    single = min_distortion(moved, X, norm=norm, box=box, method="fast")
    checked(single, lambda p: moved.logits(p), X, box)


@pytest.mark.big(sample=3)
@pytest.mark.parametrize("case", range(1000))
def test_no_returned_example_fails_to_change_the_class(case):
    """Random small networks of every kind, both precisions, scales from 1e-6 to 1e6, with a box and without."""
    kinds, scale = list(KINDS), 10.0 ** (case % 13 - 6)
    data, draw = random_net(kinds[case % len(kinds)], case, degenerate=case % 3 == 0)
    net = build(data).cast(torch.float32 if case % 2 else torch.float64)
    shape = net.input_shape
    X = scale * np.stack([draw.point(math.prod(shape)).reshape(shape) for _ in range(3)])
    box = plica.Box(np.full(X[0].size, -8 * scale), 8 * scale) if case % 4 else None
    quick = {"starts": 1, "steps": 15, "rounds": 2, "seed": case}
    result = min_distortion(net, X, norm=NORMS[case // 3 % 3], box=box, **quick)
    for point, label, status in zip(torch.as_tensor(result.x_adv), result.label, result.status, strict=True):
        assert status in ("found", "not found")
        assert status == "not found" or int(net.logits(point[None]).argmax(1)) != label
        if box is not None and status == "found":
            assert -8 * scale <= float(point.min()) and float(point.max()) <= 8 * scale


@pytest.mark.parametrize("layer", ["1", 0])
def test_at_a_layer(layer):
    module = deep()
    X = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    if layer == 0:
        module = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 4)).eval()
        model, head = plica.load(module), module[2].double()
        inner = model.upto(0)(X).detach()
    else:
        model, head = module, module[2]
        inner = module[:2](torch.from_numpy(X)).detach()
    result = min_distortion(model, X, layer=layer, box=plica.Box(0, np.inf))
    assert result.layer == str(layer) and result.x_adv.shape == (4, 20)
    checked(result, head, inner.numpy(), plica.Box(0, np.inf))
    assert result.distance.max() < 10


def test_images_of_any_shape_and_dtype():
    torch.manual_seed(1)
    conv = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 16, 3)).eval()
    X = torch.rand(5, 1, 6, 6)
    result = min_distortion(conv, X, conv(X).argmax(1), box=UNIT, method="fast")
    assert result.x_adv.shape == (5, 1, 6, 6) and result.x_adv.dtype == np.float32
    checked(result, conv, X.numpy(), UNIT)
    inner = min_distortion(conv, X, layer="0", method="fast")
    assert inner.x_adv.shape == (5, 3, 4, 4)


# --- proofs -----------------------------------------------------------------------------------------------------


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("case", range(20))
def test_proven_minima_are_those_of_every_pattern(case, norm):
    module, layers = relu_net(case)
    net = plica.load(module, input_shape=(3,))
    X = np.random.default_rng(case).random((3, 3))
    result = min_distortion(net, X, norm=norm, box=UNIT, exact=True, method="fast")
    checked(result, module, X, UNIT, exact=True)
    assert result.standing == "rigorous" and result.completeness == "complete"
    for i in range(len(X)):
        exact = oracle.smallest(layers, X[i], int(result.label[i]), np.zeros(3), np.ones(3), norm)
        if math.isinf(exact):
            assert result.status[i] == "proven that there is none" and result.proven[i]
        else:
            assert result.proven[i] and result.lower_bound[i] <= exact * (1 + 1e-7)
            assert exact - 1e-7 <= result.distance[i] <= exact * (1 + 1e-5) + 1e-7


def test_proofs_of_targets_and_of_images_that_are_wrong_already():
    net = plica.load(linear(np.eye(3), np.zeros(3)), input_shape=(3,))
    X = np.array([[1.0, 0.9, 0.0], [0.0, 0.5, 0.2]])
    result = min_distortion(net, X, [0, 0], targets=2, box=UNIT, exact=True, method="fast")
    level = 1.9 / 3
    assert result.distance[0] == pytest.approx(np.linalg.norm([1 - level, 0.9 - level, level]), rel=1e-5)
    assert result.distance[1] == pytest.approx(0.3 / math.sqrt(2), rel=1e-5)
    assert result.proven.all() and "largest gap" in result.summary()
    wrong = min_distortion(net, X, [0, 0], box=UNIT, exact=True, method="fast")
    assert wrong.status == ("found", "misclassified already")
    assert wrong.proven.all() and wrong.lower_bound[1] == 0


def test_proofs_in_single_precision_and_within_a_budget():
    module, _ = relu_net(3, (6, 24, 24, 3))
    net = plica.load(module, input_shape=(6,)).cast(torch.float32)
    X = np.random.default_rng(0).random((4, 6))
    result = min_distortion(net, X, box=UNIT, exact=True, method="fast")
    checked(result, lambda p: net.logits(p), X.astype(np.float32), UNIT, exact=True)
    assert result.x_adv.dtype == np.float32
    np.testing.assert_allclose(result.distance, result.lower_bound, rtol=1e-4)
    short = min_distortion(net, X, box=UNIT, exact=True, exact_seconds=1e-9)
    assert short.completeness == "budget reached" and not short.proven.any()
    checked(short, lambda p: net.logits(p), X.astype(np.float32), UNIT, exact=True)
