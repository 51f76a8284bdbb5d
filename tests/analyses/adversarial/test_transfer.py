"""Perturbations carried between models: every number against a loop by hand; every kind of net; bad input."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.analyses.adversarial import TransferResult, transfer
from plica.core.progress import Progress
from plica.errors import ArgumentError, DataError
from zoo import KINDS, build, random_net

UNIT = plica.Box(0, 1)
QUICK = {"starts": 2, "steps": 10, "rounds": 0}


def nets(n=3, dtype=torch.float32):
    found = {}
    for k in range(n):
        torch.manual_seed(k)
        found[f"net {k}"] = nn.Sequential(nn.Linear(6, 12 + k), nn.Sigmoid(), nn.Linear(12 + k, 3)).to(dtype).eval()
        with torch.no_grad():
            found[f"net {k}"][0].weight.mul_(4)
    return found


def images(n=20):
    rng = np.random.default_rng(3)
    return rng.random((n, 6)), rng.integers(0, 3, n)


def reads(module, x):
    """One image at a time, in the model's dtype."""
    dtype = next(module.parameters()).dtype
    return int(module(torch.as_tensor(np.asarray(x)[None]).to(dtype)).argmax())


@pytest.mark.parametrize("clip", [True, False])
def test_every_number_by_a_loop(clip):
    X, y = images()
    models = nets()
    found = transfer(models, X, y, box=UNIT, noise=(0.2,), amplify=(0.3,), clip=clip, seed=5, **QUICK)
    assert found.standing == "numerical" and found.completeness == "complete" and found.clip is clip
    noisy = X + 0.2 * np.random.default_rng([5, 0]).normal(size=X.shape)
    for r, (kind, source) in enumerate(zip(found.kinds, found.sources, strict=True)):
        changed, sizes, counted = [], [], []
        for i, x in enumerate(X):
            kept = True
            if kind == "noise":
                point = noisy[i]
            else:
                result = found.distortions[source]
                kept = result.status[i] != "not found"
                step = result.x_adv[i].astype(float) - x.astype(np.float32) if kept else np.zeros(6)
                if kind != "distorted" and np.linalg.norm(step) > 0:
                    step *= 0.3 * (math.sqrt(6) if "stddev" in kind else 1.0) / np.linalg.norm(step)
                point = x + step
            if clip and kind != "distorted":
                point = np.clip(point, 0, 1)
            changed.append(point)
            counted.append(kept)
            size = np.sqrt(np.mean((point - x.astype(np.float32)) ** 2))
            sizes.append(size if size > 1e-7 else math.nan)
        for m, module in enumerate(models.values()):
            wrong = [reads(module, point) != label for point, label in zip(changed, y, strict=True)]
            before = [reads(module, x) != label for x, label in zip(X, y, strict=True)]
            assert found.clean[m] == np.mean(before)
            assert found.errors[r, m] == pytest.approx(np.mean([w for w, c in zip(wrong, counted) if c]))
            new = [w for w, c, b in zip(wrong, counted, before) if c and not b]
            assert found.new_errors[r, m] == pytest.approx(np.mean(new))
        assert found.counts[r] == sum(counted)
        assert found.rms[r] == pytest.approx(np.nanmean([s for s, c in zip(sizes, counted) if c]), rel=1e-5)
    assert (found.matrix().diagonal() == 1).all()
    assert found.matrix("noise").shape == (1, 3)


def test_the_two_readings_of_amplified():
    """As printed the change has length a; as described, standard deviation a."""
    X, _ = images()
    models = nets(2, torch.float64)
    y = [reads(models["net 0"], x) for x in X]
    found = transfer(models, X, y, box=UNIT, noise=(), amplify=(0.1,), clip=False, **QUICK)
    sizes = {kind: found.rms[r] for r, kind in enumerate(found.kinds) if found.sources[r] == 0}
    assert sizes["amplified to stddev"] == pytest.approx(0.1)
    assert sizes["amplified to length"] == pytest.approx(0.1 / math.sqrt(6))


def test_clipped_noise_is_shorter():
    X, y = images()
    rows = [transfer(nets(2), X, y, box=UNIT, noise=(0.5,), amplify=(), clip=c, **QUICK).rms[-1] for c in (True, False)]
    assert rows[0] < 0.9 * rows[1] and rows[1] == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_net(kind):
    first, _ = random_net(kind, 1, degenerate=False)
    net = build(first)
    X = np.random.default_rng(0).random((3, *net.input_shape))
    logits = net.logits(torch.as_tensor(X).double())
    if logits.shape[1] < 2:
        pytest.skip("one output")
    y = logits.argmax(1).numpy()
    found = transfer([net, net.cast(torch.float32)], X, y, box=UNIT, noise=(0.1,), amplify=(), **QUICK)
    assert found.models == ("model 0", "model 1") and (found.clean == 0).all()
    for k in range(2):
        if found.counts[k]:
            assert found.errors[k, k] == 1


def test_images_without_a_perturbation_are_left_out():
    constant = nn.Linear(6, 3).eval()
    with torch.no_grad():
        constant.weight.zero_()
        constant.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    X, y = images(6)
    found = transfer({"flat": constant, "net": nets(1)["net 0"]}, X, y, box=UNIT, noise=(), amplify=(), **QUICK)
    assert found.counts[0] == (y != 0).sum() and found.errors[0, 0] == 1.0
    assert "distorted for flat" in found.summary() and "unchanged" in found.summary()


def test_budget():
    X, y = images()
    found = transfer(nets(2), X, y, box=UNIT, progress=Progress(max_seconds=0.0))
    assert found.completeness == "budget reached"
    assert np.isnan(found.matrix()).all() and (found.counts[:2] == 0).all()


def test_same_seed_same_numbers_and_other_noise():
    X, y = images()
    one, two, three = (transfer(nets(2), X, y, box=UNIT, seed=s, **QUICK) for s in (1, 1, 2))
    for field in dataclasses.fields(TransferResult):
        if isinstance(getattr(one, field.name), np.ndarray):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))
    assert not np.array_equal(one.rms, three.rms)


def test_bad_input():
    X, y = images()
    with pytest.raises(ArgumentError, match="two or more"):
        transfer(list(nets(1).values()), X, y, box=UNIT)
    with pytest.raises(ArgumentError, match="noise"):
        transfer(nets(2), X, y, box=UNIT, noise=(-0.1,))
    with pytest.raises(ArgumentError, match="amplify"):
        transfer(nets(2), X, y, box=UNIT, amplify=(0.0,))
    with pytest.raises(ArgumentError, match="clip"):
        transfer(nets(2), X, y)
    with pytest.raises(DataError, match="outside the box"):
        transfer(nets(2), 2 * X, y, box=UNIT)
    with pytest.raises(ArgumentError, match="rounds_"):
        transfer(nets(2), X, y, box=UNIT, rounds_=1)
