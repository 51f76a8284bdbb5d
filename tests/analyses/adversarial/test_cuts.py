"""Projections onto several half-spaces, and polishing where pieces of the boundary meet."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

import plica
from plica.analyses.adversarial import halfspaces
from plica.analyses.adversarial.corners import shortest
from plica.analyses.adversarial.cuts import Cuts, Settle, settle
from plica.analyses.adversarial.polish import Best
from plica.analyses.adversarial.problem import Rows, make
from plica.core.progress import Progress
from plica.errors import BudgetReached


def nearest_of_several(x, normals, values, lower, upper):
    """Enumeration of active sets: which variables sit on a side, which half-spaces hold with equality."""
    best, where = math.inf, None
    for sides in itertools.product((-1, 0, 1), repeat=len(x)):
        side = np.array(sides)
        free = side == 0
        fixed = np.where(side < 0, lower, upper)
        for tight in itertools.chain.from_iterable(itertools.combinations(range(len(values)), k) for k in range(4)):
            v, rows = np.where(free, x, fixed), list(tight)
            if rows:
                A = normals[np.ix_(rows, np.nonzero(free)[0])]
                v[free] += A.T @ (np.linalg.pinv(A @ A.T) @ (values[rows] - normals[rows] @ v))
            inside = (v >= lower - 1e-9).all() and (v <= upper + 1e-9).all()
            if inside and (normals @ v >= values - 1e-8).all() and np.linalg.norm(v - x) < best:
                best, where = float(np.linalg.norm(v - x)), v
    return best, where


def projected(x, normals, values, lower, upper, dtype=np.float64, use=None):
    """The kernel on one row."""
    step, worst = np.empty((1, len(x))), np.empty(1)
    use = np.ones((1, len(values)), dtype=bool) if use is None else use[None].copy()
    given = normals[None].astype(dtype), values[None], use
    weights = np.zeros((1, len(values)))
    halfspaces.project(np.arange(1), x[None].astype(dtype), given, (lower, upper), weights, step, worst)
    return x + step[0], worst[0]


@pytest.mark.parametrize("case", range(25))
def test_projections_are_those_of_every_active_set(case):
    rng = np.random.default_rng(case)
    m = case % 3 + 1
    x, lower, upper = rng.random(4), np.zeros(4), np.ones(4)
    normals = rng.normal(size=(1, 4)) + (0.3 if case % 2 else 1.0) * rng.normal(size=(m, 4))
    values = normals @ rng.random(4)
    best, where = nearest_of_several(x, normals, values, lower, upper)
    found, worst = projected(x, normals, values, lower, upper)
    assert math.isfinite(best) and worst < 1e-7
    assert np.linalg.norm(found - x) == pytest.approx(best, rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(found, where, atol=1e-6)
    single, _ = projected(x, normals, values, lower, upper, np.float32)
    np.testing.assert_allclose(single, where, atol=1e-4)


def least_norm(x, normals, values, lower, upper, norm):
    """The same in the norms 1 and inf, by one program with a bound on every size."""
    n, m = len(x), len(values)
    k = n if norm == 1.0 else 1
    over = np.eye(n) if norm == 1.0 else np.ones((n, 1))
    A = np.block([[-normals, np.zeros((m, k))], [np.eye(n), -over], [-np.eye(n), -over]])
    b = np.concatenate([normals @ x - values, np.zeros(2 * n)])
    limits = [*zip(lower - x, upper - x, strict=True), *[(0, None)] * k]
    found = linprog(np.append(np.zeros(n), np.ones(k)), A, b, bounds=limits)
    return found.fun if found.status == 0 else math.nan


@pytest.mark.parametrize("norm", [1.0, math.inf])
@pytest.mark.parametrize("case", range(30))
def test_shortest_steps_are_those_of_a_plain_program(norm, case):
    rng = np.random.default_rng(case)
    n, m, scale = int(rng.integers(1, 30)), case % 8 + 1, 10.0 ** (case % 3 * 6 - 6)
    x, lower, upper = scale * rng.random((3, n)), np.zeros((3, n)), np.full((3, n), scale)
    if case % 4 == 0:
        lower, upper = lower - math.inf, upper + math.inf
    normals = rng.normal(size=(3, 1, n)) + 0.5 * rng.normal(size=(3, m, n))
    values = np.einsum("njd,nd->nj", normals, scale * rng.random((3, n)))
    if case % 5 == 4:
        values[2] = 10 * scale * np.abs(normals[2]).sum(1)  # beyond the box
    use = rng.random((3, m)) < 0.8
    use[:, 0] = True
    steps = shortest(x, (normals, values, use), (lower[0], upper[0]), norm)
    for i in range(3):
        own = normals[i][use[i]], values[i][use[i]]
        best = least_norm(x[i] / scale, own[0], own[1] / scale, lower[0] / scale, upper[0] / scale, norm)
        if math.isnan(best):
            assert np.isnan(steps[i]).all()
            continue
        assert np.linalg.norm(steps[i] / scale, norm) == pytest.approx(best, rel=1e-6, abs=1e-8)
        assert (own[0] @ (x[i] + steps[i]) >= own[1] - 1e-6 * scale).all()
        assert (x[i] + steps[i] >= lower[0] - 1e-9 * scale).all()


@pytest.mark.parametrize("norm", [1.0, math.inf])
def test_the_clock_reaches_the_programs(norm):
    cuts = np.ones((1, 1, 2)), np.ones((1, 1)), np.ones((1, 1), dtype=bool)
    with pytest.raises(BudgetReached):
        shortest(np.zeros((1, 2)), cuts, (np.zeros(2), np.ones(2)), norm, Progress(max_seconds=0.0))


def test_half_spaces_that_are_not_in_use_do_not_count():
    x, normals, values = np.array([0.2, 0.2]), np.eye(2), np.array([0.6, 0.9])
    found, _ = projected(x, normals, values, np.zeros(2), np.ones(2), use=np.array([True, False]))
    np.testing.assert_allclose(found, [0.6, 0.2])
    assert projected(x, normals, values, np.zeros(2), np.array([0.5, 1.0]))[1] > 0.05  # there is no such point


def test_what_a_point_violates_is_forgotten_except_the_newest():
    cuts = Cuts.none(np.zeros((2, 2)))
    none = np.zeros(2, dtype=bool)
    cuts.add(0, np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([2.0, 2.0]), none)
    cuts.add(1, np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([2.0, 2.0]), none)
    cuts.drop(np.array([[1.0, 1.0], [3.0, 1.0]]), 1)
    np.testing.assert_array_equal(cuts.use[:, :3], [[False, True, False], [True, True, False]])
    cuts.add(2, np.ones((2, 2)), np.zeros(2), np.array([True, False]))
    np.testing.assert_array_equal(cuts.use[:, :3], [[False, False, True], [True, True, True]])


def corner():
    """Class 1 where both x0 + 10 x1 > 1 and x0 - 10 x1 > 1; its nearest point to 0 is the corner (1, 0)."""
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).double().eval()
    with torch.no_grad():  # min(a, b) = a - relu(a - b): a - b = 20 x1
        module[0].weight.copy_(torch.tensor([[1.0, 10.0], [0.0, 20.0]]))
        module[2].weight.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))
        module[2].bias.copy_(torch.tensor([1.0, 0.0]))
    return module


def problem_of(module, X, box):
    return make(module, torch.as_tensor(X), None, box, Progress())


@pytest.mark.parametrize("norm", [2.0, 1.0, math.inf])
def test_the_corner_where_two_pieces_meet_is_found_in_few_steps(norm):
    problem = problem_of(corner(), np.array([[0.0, 0.0]]), plica.Box(-0.05, 5))
    rows = Rows(torch.tensor([0]), torch.tensor([0]), torch.tensor([1]))
    start = torch.tensor([[4.0, 0.2]], dtype=torch.float64)
    best = Best(start, start.norm(dim=1))
    found = settle(problem, rows, best, best.size, Settle(tolerance=1e-7, norm=norm))
    assert float(found.size) == pytest.approx(1.0, rel=1e-6)
    assert float(torch.linalg.vector_norm(found.point, ord=norm)) == pytest.approx(float(found.size))
    assert problem.backward <= 8
    assert float(problem.margins(found.point, rows)) > 0


@pytest.mark.parametrize("norm", [2.0, 1.0, math.inf])
@pytest.mark.parametrize("depth", [1, 2])
def test_settling_never_loses_and_stays_across(depth, norm):
    torch.manual_seed(depth)
    parts = [nn.Linear(6, 20), nn.ReLU(), *[nn.Linear(20, 20), nn.ReLU()] * (depth - 1), nn.Linear(20, 4)]
    module = nn.Sequential(*parts).eval()
    X = np.random.default_rng(0).random((20, 6)).astype(np.float32)
    problem = problem_of(module, X, plica.Box(0, 1))
    found = plica.min_distortion(module, X, norm=norm, box=plica.Box(0, 1), method="fast")
    good = torch.nonzero(torch.as_tensor(np.isfinite(found.distance)))[:, 0]
    rows = Rows(good, problem.labels[good], torch.as_tensor(found.target)[good])
    point = torch.as_tensor(found.x_adv)[good]
    across = problem.margins(point, rows) > 0
    rows, point = rows[across], point[across]
    before = Best(point, torch.linalg.vector_norm(point - problem.x[rows.image], ord=norm, dim=1))
    after = settle(problem, rows, before, torch.full((20,), math.inf), Settle(norm=norm))
    now = torch.linalg.vector_norm(after.point - problem.x[rows.image], ord=norm, dim=1)
    torch.testing.assert_close(now, after.size)
    assert (after.size <= before.size).all()
    assert (problem.logits(after.point).argmax(1) != rows.own).all()  # margins differ by rounding in another batch
    assert (after.point >= 0).all() and (after.point <= 1).all()
    none = settle(problem, rows, Best.none(point), torch.full((20,), math.inf), Settle(norm=norm))
    assert torch.isinf(none.size).all()


@pytest.mark.parametrize("case", range(10))
def test_projections_onto_many_half_spaces_that_are_nearly_parallel_are_optimal(case):
    """Feasible, and as long as the dual value says: then nothing is shorter."""
    rng = np.random.default_rng(case)
    d, spread = 80, (0.3, 0.03, 0.003)[case % 3]
    x, lower, upper = rng.random(d), np.zeros(d), np.ones(d)
    normals = rng.normal(size=d) + spread * rng.normal(size=(8, d))
    inside = np.clip(x + 0.2 * np.sign(normals.mean(0)), 0, 1)
    values = normals @ inside - spread * rng.random(8)
    step, worst, weights = np.empty((1, d)), np.empty(1), np.zeros((1, 8))
    given = normals[None], values[None], np.ones((1, 8), dtype=bool)
    halfspaces.project(np.arange(1), x[None], given, (lower, upper), weights, step, worst)
    size = float(np.linalg.norm(step))
    assert worst[0] < 1e-7 * size and (normals @ (x + step[0]) >= values - 1e-7).all() and (weights >= 0).all()
    pull = weights[0] @ normals
    moved = np.clip(pull, lower - x, upper - x)
    dual = weights[0] @ (values - normals @ x) + (0.5 * moved - pull) @ moved
    assert dual == pytest.approx(0.5 * size**2, rel=1e-6)
