"""Weights for a module from files: formats, what does not fit, and what is damaged."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import plica
from loaders.bad_files import exported, tiny
from plica.errors import ModelError, PlicaError


@pytest.mark.parametrize("kind", ["safetensors", "pt", "checkpoint"])
def test_weights_into_a_module(kind, tmp_path):
    source, target = tiny(), tiny()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.normal_()
    before = copy.deepcopy(target.state_dict())
    path = tmp_path / f"weights.{'safetensors' if kind == 'safetensors' else 'pt'}"
    state = source.state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if kind == "checkpoint" else state, path)
    net = plica.load(target, weights=path)
    x = torch.randn(3, 4)
    torch.testing.assert_close(net(x), source(x).double().detach(), rtol=1e-6, atol=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_the_module_itself_keeps_its_weights_and_its_mode(tmp_path):
    source, target = tiny(), tiny().train()
    with torch.no_grad():
        source[0].weight.mul_(2)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    before = copy.deepcopy(target.state_dict())
    net = plica.load(target, weights=tmp_path / "w.safetensors")
    assert all(layer.training for layer in target.modules())
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())
    assert any("training mode" in text for text in net.origin.notices)


def test_lazy_modules_get_their_sizes_from_the_file(tmp_path):
    save_file(tiny().state_dict(), tmp_path / "w.safetensors")
    lazy = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2))
    assert plica.load(lazy, (4,), weights=tmp_path / "w.safetensors").output_shape == (2,)


def test_half_precision_weights_are_said(tmp_path):
    module = tiny().half()
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    net = plica.load(module, weights=tmp_path / "w.safetensors")
    assert net.origin.dtype == "float16"


def test_weights_that_do_not_fit(tmp_path):
    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="does not fit Sequential"):
        plica.load(tiny(), weights=tmp_path / "w.safetensors")
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(ModelError, match="holds list, not a state dict"):
        plica.load(tiny(), weights=tmp_path / "w.pt")
    for name, data in (("e.pt", b""), ("e.safetensors", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match="the file is empty"):
            plica.load(tiny(), weights=tmp_path / name)


@pytest.mark.parametrize(
    "state",
    [
        *({}, {1: torch.ones(2)}, {("a", "b"): torch.ones(2)}, {"0.weight": torch.ones(3, 4)}),
        *({"0.weight": 3.0}, {"state_dict": 3}, torch.ones(3)),
    ],
)
def test_states_that_make_no_sense(state, tmp_path):
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"w\.pt: (does not fit|holds)") as caught:
        plica.load(tiny(), weights=tmp_path / "w.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "m.pt2"])
def test_damaged_bytes_never_end_in_a_foreign_error(name, tmp_path):
    """Bytes all over a file overwritten in turn: a network or an error of plica's."""
    path = tmp_path / name
    write = {"w.pt": torch.save, "w.safetensors": save_file}.get(name)
    if write:
        write(tiny().state_dict(), path)
    else:
        exported(path)
    data = path.read_bytes()
    for place in np.linspace(0, len(data) - 1, 40).astype(int):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :])
        try:
            plica.load(tiny(), weights=path) if write else plica.load(path)
        except PlicaError as error:
            assert str(error)
