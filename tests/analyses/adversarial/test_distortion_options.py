"""Smallest perturbations: seeds, batches, budgets, interrupts, averages, and bad input."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import plica
from analyses.adversarial.distortion_checks import QUICK, UNIT, checked, deep, linear
from plica.analyses.adversarial import distortion, min_distortion
from plica.core.classifier import TorchClassifier
from plica.core.progress import Progress
from plica.errors import ArgumentError, DataError, ShapeError

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


def test_an_input_without_axes():
    """One number per image: relu(x) against 1 - x, which are equal at 1/2."""

    class Both(nn.Module):
        def forward(self, x):
            return torch.stack([x.relu(), 1 - x], 1)

    net = plica.load(Both().eval(), ())
    result = min_distortion(net, np.array([2.0, -3.0]), exact=True)
    np.testing.assert_allclose(result.distance, [1.5, 3.5], rtol=1e-5)
    assert result.proven.all()
    with pytest.raises(ShapeError, match="give a batch"):
        min_distortion(net, 2.0)


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
