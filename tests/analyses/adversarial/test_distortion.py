"""Smallest perturbations: closed forms, exhaustive answers on small nets, every kind of net, and bad input."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import plica
from oracles import distortions as oracle
from oracles import halfspaces
from plica.analyses.adversarial import distortion, min_distortion, penalty
from plica.analyses.adversarial.settings import explicit_targets
from plica.core.classifier import TorchClassifier
from plica.core.progress import Progress
from plica.errors import ArgumentError, DataError, ShapeError
from zoo import KINDS, build, random_net

NORMS = (2.0, math.inf, 1.0)
UNIT = plica.Box(0, 1)
QUICK = {"starts": 4, "steps": 25, "rounds": 2}


def linear(W, b):
    module = nn.Sequential(nn.Flatten(), nn.Linear(len(W[0]), len(W))).double()
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor(W))
        module[1].bias.copy_(torch.tensor(b))
    return module.eval()


def relu_net(seed, sizes=(3, 4, 3, 3)):
    torch.manual_seed(seed)
    parts = []
    for n, m in itertools.pairwise(sizes):
        parts += [nn.Linear(n, m), nn.ReLU()]
    module = nn.Sequential(*parts[:-1]).double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, dtype=p.dtype))
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in module if isinstance(m, nn.Linear)]
    return module, layers


def deep(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 20), nn.Sigmoid(), nn.Linear(20, 4)).eval()


def checked(result, model, X, box, *, exact=False):
    """What every result promises."""
    X = np.asarray(X)
    for i, status in enumerate(result.status):
        point = torch.as_tensor(result.x_adv[i : i + 1])
        if status in ("not found", "proven that there is none"):
            assert math.isinf(result.distance[i]) and np.isnan(result.x_adv[i]).all() and result.target[i] == -1
            continue
        answer = int(model(point).argmax(1))
        assert answer == result.target[i]
        step = (result.x_adv[i].astype(float) - X[i].astype(result.x_adv.dtype)).ravel()
        sizes = [np.linalg.norm(step, k) for k in (2, np.inf)]
        np.testing.assert_allclose([result.l2[i], result.linf[i]], sizes, rtol=1e-12)
        assert result.rms[i] == pytest.approx(sizes[0] / math.sqrt(step.size))
        assert result.distance[i] == pytest.approx(np.linalg.norm(step, result.norm), rel=1e-12)
        if box is not None:
            assert result.x_adv[i].min() >= box.lower.min() and result.x_adv[i].max() <= box.upper.max()
        if status == "found":
            assert answer != result.label[i]
        else:
            assert result.distance[i] == 0
    assert (result.lower_bound <= result.distance).all()
    if not exact:
        assert not result.proven.any() and (result.lower_bound == 0).all() and result.standing == "estimate"


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


@pytest.mark.big(sample=2)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("case", range(40))
def test_small_nets_against_every_pattern(case, norm):
    module, layers = relu_net(case)
    X = np.random.default_rng(case).random((3, 3))
    result = min_distortion(module, X, norm=norm, box=UNIT, **QUICK)
    checked(result, module, X, UNIT)
    for i in range(len(X)):
        exact = oracle.smallest(layers, X[i], int(result.label[i]), np.zeros(3), np.ones(3), norm)
        assert (result.status[i] == "not found") == math.isinf(exact) or exact > 0.9
        if math.isfinite(exact) and result.status[i] == "found":
            assert exact - 1e-7 <= result.distance[i] <= 1.01 * exact + 1e-4


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


# --- options ----------------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_answers():
    X = np.random.default_rng(0).random((5, 6))
    first, again = (min_distortion(deep(), X, box=UNIT, seed=4, **QUICK) for _ in range(2))
    np.testing.assert_array_equal(first.x_adv, again.x_adv)
    assert first.seed == 4 and first.forward == again.forward > first.backward > 0


def test_seeds_matter():
    X = np.random.default_rng(0).random((5, 6))
    runs = [min_distortion(deep(), X, box=UNIT, seed=seed, starts=0, rounds=2) for seed in (1, 2)]
    assert runs[0].forward != runs[1].forward or not np.array_equal(runs[0].x_adv, runs[1].x_adv)


@pytest.mark.parametrize("shift", [1e-10, 1.0])
def test_what_holds_only_in_a_batch_is_moved_on_or_given_up(shift):
    """The module reads single images a little differently, as fused kernels do by rounding."""

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.whole = linear(np.eye(3), np.zeros(3))

        def forward(self, x):
            return self.whole(x) + (shift if len(x) == 1 else 0.0) * torch.eye(3, dtype=x.dtype)[0]

    module, X = Alone().eval(), np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.7, 0.5, 0.3]])
    result = min_distortion(module, X, [0, 0, 0], box=plica.Box(0, 2), **QUICK)
    checked(result, module, X, plica.Box(0, 2))
    assert result.status == (("found",) if shift < 1 else ("not found",)) * 3


def test_blocks_do_not_matter_much():
    X = np.random.default_rng(0).random((6, 6))
    whole = min_distortion(deep(), X, box=UNIT)
    parts = min_distortion(deep(), X, box=UNIT, progress=Progress(max_bytes=12 * 4 * 6 * 18 * 2))
    np.testing.assert_allclose(whole.distance, parts.distance, rtol=0.01)


def test_a_budget_keeps_what_is_found():
    X = np.random.default_rng(0).random((6, 6))
    result = min_distortion(deep(), X, box=UNIT, progress=Progress(max_seconds=0.05))
    assert result.completeness in ("budget reached", "complete")
    checked(result, deep(), X, UNIT)


@pytest.mark.parametrize("exact", [False, True])
def test_a_budget_that_is_over_at_once_leaves_a_result(exact):
    X = np.random.default_rng(0).random((6, 6))
    model = plica.load(nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 4)).eval()) if exact else deep()
    given = {"box": UNIT, "exact": exact, "progress": Progress(max_seconds=0.0)}
    result = min_distortion(model, X, **given)
    assert result.completeness == "budget reached" and set(result.status) == {"not found"}
    assert (result.lower_bound == 0).all() and not result.proven.any()
    wrong = min_distortion(model, X, (result.label + 1) % 4, **given)
    assert set(wrong.status) == {"misclassified already"} and (wrong.distance == 0).all()


def test_a_budget_that_ends_between_blocks_keeps_the_first(monkeypatch):
    X = np.random.default_rng(0).random((12, 6))
    model, watch = deep(), Progress(max_seconds=1e6)
    real, begun = distortion._searched, []

    def slow(board, settings):
        begun.append(len(board.problem.x))
        state = real(board, settings)
        if len(begun) == 2:
            watch.max_seconds = 0.0
        return state

    monkeypatch.setattr(distortion, "BLOCK", 4)
    monkeypatch.setattr(distortion, "_searched", slow)
    result = min_distortion(model, X, box=UNIT, progress=watch)
    assert begun == [4, 4, 4] and result.completeness == "budget reached"
    assert result.status == ("found",) * 8 + ("not found",) * 4
    checked(result, model, X, UNIT)


def test_an_interrupt_keeps_what_is_found():
    count = 0

    class Stopping(nn.Sequential):
        def forward(self, x):
            nonlocal count
            count += 1
            if count == 40:
                raise KeyboardInterrupt
            return super().forward(x)

    module = Stopping(*deep()).eval()
    X = np.random.default_rng(0).random((6, 6))
    result = min_distortion(module, X, box=UNIT)
    assert result.completeness == "interrupted" and "found" in result.status
    checked(result, deep(), X, UNIT)


def test_averages():
    result = min_distortion(linear(np.eye(2), np.zeros(2)), [[1.0, 0.0], [0.6, 0.4], [0.0, 1.0]], [0, 0, 0], box=UNIT)
    rms = result.rms[:2]
    assert result.average() == pytest.approx(rms.mean())
    assert result.average("root of means") == pytest.approx(math.sqrt((rms**2).mean()))
    with pytest.raises(ArgumentError, match="root of means"):
        result.average("median")


# --- bad input --------------------------------------------------------------------------------------------------


class Broken(nn.Module):
    def forward(self, x):
        return torch.full((len(x), 3), math.nan)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"X": [[0.5, 2.0]]}, DataError, "outside the box.*0.5 to 2.*Scale"),
        ({"X": [[math.nan, 0.0]]}, DataError, "NaN"),
        ({"X": [[0.1, 0.2, 0.3]], "model": plica.load(nn.Linear(2, 2).eval())}, ShapeError, r"reads \(2,\)"),
        ({"X": np.zeros((0, 2))}, ShapeError, "batch"),
        ({"y": [7]}, DataError, "classes 0 to 1"),
        ({"y": [-1]}, DataError, "classes 0 to 1"),
        ({"y": [0.5]}, DataError, "whole numbers"),
        ({"y": [0, 1]}, ShapeError, "one label for each"),
        ({"model": nn.Linear(2, 2)}, ArgumentError, "training mode"),
        ({"model": nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval().requires_grad_(False)}, None, ""),
        ({"model": Broken().eval()}, DataError, "NaN or infinite for 1 of 1"),
        ({"model": nn.Linear(2, 1).eval()}, ShapeError, "two or more"),
        ({"model": "net.onnx"}, ArgumentError, "torch module"),
        ({"norm": 3}, ArgumentError, "norm = 3"),
        ({"targets": "nearest"}, ArgumentError, "least"),
        ({"targets": [5]}, ArgumentError, "classes 0 to 1"),
        ({"targets": [0.5]}, ShapeError, "class numbers"),
        ({"exact": True}, ArgumentError, "plica.load"),
        ({"exact_seconds": 0}, ArgumentError, "more than 0"),
        ({"method": "pgd"}, ArgumentError, "lbfgs_scipy"),
        ({"speed": 3}, ArgumentError, "speed is not a setting.*seed"),
        ({"starts": -1}, ArgumentError, "0 or more"),
        ({"norm": 1, "method": "lbfgs"}, ArgumentError, "norm = 2"),
        ({"box": plica.Box(np.zeros(3), 1)}, ShapeError, "3 variables"),
        ({"layer": "third"}, ArgumentError, "third"),
    ],
)
def test_bad_input_is_one_clear_error(change, error, words):
    arguments = {"model": nn.Linear(2, 2).eval(), "X": [[0.5, 0.5]], "y": None, "box": UNIT} | change
    model, X, y = (arguments.pop(key) for key in ("model", "X", "y"))
    if error is None:
        min_distortion(model, X, y, **arguments)
        return
    with pytest.raises(error, match=words):
        min_distortion(model, X, y, **arguments)


def test_a_part_in_training_mode_is_refused():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval()
    module[1].train()
    with pytest.raises(ArgumentError, match="its part '1' is"):
        min_distortion(module, [[0.0, 0.0]])


def test_shared_parts_do_not_cut():
    relu = nn.ReLU()
    module = nn.Sequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu).eval()
    with pytest.raises(ArgumentError, match="2 times"):
        TorchClassifier(module, (2,)).after("1")
