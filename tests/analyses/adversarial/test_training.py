"""Training with pools: what is in them, whom they train, what the schedule does, and bad input."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.analyses.adversarial.training import Pool, Run, Schedule, adversarial_training
from plica.core.progress import Progress
from plica.errors import ArgumentError, DataError

UNIT = plica.Box(0, 1)


def net(seed=0, *, dropout=False):
    torch.manual_seed(seed)
    parts = [nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)]
    return nn.Sequential(*parts[:2], nn.Dropout(0.5), *parts[2:]) if dropout else nn.Sequential(*parts)


def images(n=120, seed=0):
    x = np.random.default_rng(seed).random((n, 4))
    return x, x[:, :3].argmax(1)


def running(module, layer, how, n=40):
    x = torch.from_numpy(images(n)[0]).float()
    with torch.no_grad():
        module[0].weight.mul_(5)
        module[-1].bias -= module(x).mean(0)
    y = module(x).argmax(1)
    k = 0 if layer == "input" else int(layer) + 1
    shape = module[:k](x[:1]).shape[1:]
    pool = Pool(layer, module[k:], torch.zeros(0, *shape), torch.zeros(0, dtype=torch.long), 8)
    return Run(module.eval(), x, y, [pool], how, UNIT, torch.Generator().manual_seed(0), Progress()), pool


@pytest.mark.parametrize("layer", ["input", "0", "1", "3"])
def test_examples_in_a_pool_mislead_the_network_that_they_were_made_for(layer):
    run, pool = running(net(1), layer, Schedule(replaced=1.0, stretch=1.05))
    length = run.renew(pool)
    assert 0 < len(pool.values) <= 8 and length > 0
    wrong = pool.above(pool.values).argmax(1) != pool.labels
    if layer == "input":
        assert float(pool.values.min()) >= 0 and float(pool.values.max()) <= 1
    assert wrong.float().mean() > 0.8  # stretching may reach beyond, into the right class again


@pytest.mark.parametrize(("layer", "trained"), [("input", {0, 2, 4}), ("1", {2, 4}), ("3", {4})])
def test_a_pool_trains_the_parts_above_alone(layer, trained):
    run, pool = running(net(1), layer, Schedule(replaced=1.0))
    run.renew(pool)
    run.module.zero_grad()
    run.pool_loss(pool, 10).backward()
    moved = {
        k for k in (0, 2, 4) if run.module[k].weight.grad is not None and run.module[k].weight.grad.abs().sum() > 0
    }
    assert moved == trained


def test_a_pool_grows_then_replaces_random_examples():
    pool = Pool("input", nn.Sequential(), torch.zeros(0, 1), torch.zeros(0, dtype=torch.long), 6)
    draw = torch.Generator().manual_seed(0)
    for k in range(1, 4):
        pool.replace(torch.full((2, 1), float(k)), torch.full((2,), k), draw)
    assert pool.values[:, 0].tolist() == [1, 1, 2, 2, 3, 3]
    pool.replace(torch.full((2, 1), 9.0), torch.full((2,), 9), draw)
    assert len(pool.values) == 6 and (pool.values == 9).sum() == 2
    assert torch.equal(pool.values[:, 0].long(), pool.labels)


def test_the_penalty_is_the_papers():
    run, _ = running(net(1), "input", Schedule(decay=0.3))
    by_hand = sum(
        float((p.weight.detach() ** 2).sum()) / p.out_features for p in run.module if isinstance(p, nn.Linear)
    )
    assert float(run.penalty().detach()) == pytest.approx(0.3 * by_hand, rel=1e-5)


def test_training_learns_and_alternates():
    x, y = images()
    module = net()
    found = adversarial_training(module, x, y, layers=["input", "1"], test=images(60, 1), box=UNIT, epochs=30, batch=20,
                                 rate=2e-2, warmup=2)  # fmt: skip
    assert found.completeness == "complete" and found.layers == ("input", "1") and not module.training
    assert found.loss[-1] < 0.5 * found.loss[0] and found.error[-1] < 0.15
    by_hand = (module(torch.from_numpy(x).float()).argmax(1).numpy() != y).mean()
    assert found.error[-1] == pytest.approx(by_hand)
    made = np.isfinite(found.distortion)
    assert not made[:2].any() and not made[3::2, 0].any() and not made[2::2, 1].any()
    assert made[10::2, 0].all() and made[11::2, 1].all()
    assert found.sizes[-1].max() <= 24 and (np.diff(found.sizes, axis=0) >= 0).all()
    how = {"epochs": 12, "rate": 2e-2, "batch": 20, "warmup": 9, "alternate": False}
    together = adversarial_training(net(), x, y, layers=["input", "1"], box=UNIT, **how)
    assert np.isfinite(together.distortion[9:]).all() and np.isnan(together.test_error).all()
    assert "pools: input, 1" in found.summary() and "test error" in found.summary()


def test_without_pools_it_is_plain_training():
    x, y = images()
    module = net()
    reference = copy.deepcopy(module)
    found = adversarial_training(module, x, y, layers=(), epochs=3, batch=50, seed=4, decay=0.01)
    draw, adam = torch.Generator().manual_seed(4), torch.optim.Adam(reference.parameters(), lr=1e-3)
    X, Y = torch.from_numpy(x).float(), torch.from_numpy(y)
    for _ in range(3):
        for chosen in torch.randperm(len(X), generator=draw).split(50):
            adam.zero_grad()
            decay = sum((reference[k].weight ** 2).sum() / reference[k].out_features for k in (0, 2, 4))
            (nn.functional.cross_entropy(reference(X[chosen]), Y[chosen]) + 0.01 * decay).backward()
            adam.step()
    for one, two in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    assert found.layers == () and found.sizes.shape == (3, 0)


def test_dropout_all_layers_same_seed_and_other_nets():
    x, y = images(40)
    state = torch.random.get_rng_state()
    runs = [adversarial_training(net(dropout=True), x, y, box=UNIT, epochs=6, seed=2) for _ in range(2)]
    assert runs[0].layers == ("input", "0", "1", "3", "4")
    np.testing.assert_array_equal(runs[0].loss, runs[1].loss)
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(3, 3))  # fmt: skip
    rng = np.random.default_rng(0)
    found = adversarial_training(conv, rng.random((30, 1, 3, 3)), rng.integers(0, 3, 30), box=UNIT, epochs=5)
    assert np.isfinite(found.loss).all() and "4" not in found.layers
    torch.random.set_rng_state(state)


def test_budget_keeps_what_is_done():
    x, y = images()
    found = adversarial_training(net(), x, y, box=UNIT, progress=Progress(max_seconds=0.0))
    assert found.completeness == "budget reached" and len(found.loss) == 0 and "no epoch" in found.summary()


def test_bad_input():
    x, y = images(20)
    with pytest.raises(ArgumentError, match="Sequential"):
        adversarial_training(nn.Linear(4, 3), x, y)
    with pytest.raises(ArgumentError, match="not a place"):
        adversarial_training(net(), x, y, layers=["7"])
    with pytest.raises(ArgumentError, match="'all'"):
        adversarial_training(net(), x, y, layers="input")
    with pytest.raises(ArgumentError, match="not a setting"):
        adversarial_training(net(), x, y, speed=3)
    for bad in ({"epochs": 0}, {"pool": 0.0}, {"replaced": 1.5}, {"mix": -1.0}, {"rate": math.nan}):
        with pytest.raises(ArgumentError, match=next(iter(bad))):
            adversarial_training(net(), x, y, **bad)
    with pytest.raises(DataError, match="outside the box"):
        adversarial_training(net(), 3 * x, y, box=UNIT)
