"""Loading as a user meets it: files of every kind, weights, tables, and one clear error for everything bad."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save
from safetensors.torch import save_file
from torch import nn

import plica
from loaders.bad_files import exported, onnx_model, refused, tiny
from plica.errors import ArgumentError, ModelError, PlicaError, ReshapeNotice, ShapeError


@pytest.fixture
def model(tmp_path):
    save(onnx_model(), tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


# --- what can be loaded -----------------------------------------------------------------------------------------


def test_a_network_is_returned_as_it_is(model):
    net = plica.load(model)
    assert plica.load(net) is net


def test_paths_are_strings_too(model):
    assert plica.load(str(model)).origin.path == str(model)
    assert plica.load(model).origin.name == "tiny"


def test_data_of_equal_size_are_reshaped(model):
    net = plica.load(model)
    x = np.random.default_rng(0).normal(size=(5, 2, 2))
    with pytest.warns(ReshapeNotice, match=r"\(5, 2, 2\) are read as \(5, 4\)"):
        out = net(x)
    assert torch.equal(out, net(x.reshape(5, 4)))
    with pytest.raises(ShapeError, match=r"shape \(5, 3\)"):
        net(np.zeros((5, 3)))


def test_pt2_without_pickles(tmp_path):
    net = plica.load(exported(tmp_path / "tiny.pt2"))
    x = torch.randn(3, 4)
    torch.testing.assert_close(net(x), tiny()(x).double().detach(), rtol=1e-6, atol=1e-6)
    assert net.origin.name == "tiny"
    with pytest.raises(ShapeError, match="does not fit"):
        plica.load(tmp_path / "tiny.pt2", (5,))


def test_pt2_with_pickles_needs_trust(tmp_path):
    path = exported(tmp_path / "tiny.pt2", example_inputs=True)
    refused(path, r"model\.pt' inside the archive is pickled.*--trust-pickle")
    assert plica.load(path, trust_pickle=True).input_shape == (4,)


def test_pt2_with_a_batch_of_one(tmp_path):
    program = torch.export.export(tiny().eval(), (torch.zeros(1, 4),))
    program.example_inputs = None
    torch.export.save(program, tmp_path / "one.pt2")
    assert plica.load(tmp_path / "one.pt2").input_shape == (4,)


def test_pt2_of_a_fixed_batch_is_refused(tmp_path):
    program = torch.export.export(tiny().eval(), (torch.zeros(5, 4),))
    program.example_inputs = None
    torch.export.save(program, tmp_path / "five.pt2")
    refused(tmp_path / "five.pt2", r"whose first axis is a batch.*\(5, 4\)", ShapeError)


def test_pt2_with_other_symbolic_axes_is_refused(tmp_path):
    dims = ({0: torch.export.Dim("n", min=2), 1: torch.export.Dim("m", min=2)},)
    program = torch.export.export(nn.ReLU(), (torch.zeros(3, 4),), dynamic_shapes=dims)
    program.example_inputs = None
    torch.export.save(program, tmp_path / "open.pt2")
    refused(tmp_path / "open.pt2", "other symbolic axes", ShapeError)


# --- files that are bad -----------------------------------------------------------------------------------------


def test_missing_and_unknown_files(tmp_path):
    refused(tmp_path / "nothing.onnx", "no such file")
    for name, match in (("a.txt", "not a model plica knows"), ("a.pth", "a pickle.*weights="), ("a.pt", "a pickle"),
                        ("a.safetensors", "hold weights only"), ("a.pkl", "a pickle")):  # fmt: skip
        (tmp_path / name).write_bytes(b"x")
        refused(tmp_path / name, match)
    refused(tmp_path, "no such file")


@pytest.mark.parametrize("name", ["m.onnx", "m.onnx.gz", "m.pt2"])
@pytest.mark.parametrize("data", [b"", b"garbage, not a model at all", b"\x08", b"\x00" * 100, b"PK\x03\x04"])
def test_empty_and_garbage_files(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name, r"empty|not an ONNX file|not a gzip file|truncated|not a \.pt2 archive|holds no graph")


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("zipped", [False, True])
def test_truncated_onnx(fraction, zipped, model):
    data = gzip.compress(model.read_bytes(), mtime=0) if zipped else model.read_bytes()
    path = model.with_name("cut.onnx.gz" if zipped else "cut.onnx")
    path.write_bytes(data[: int(len(data) * fraction)])
    refused(path, r"cut\.onnx")


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_truncated_archives_and_weights(fraction, tmp_path):
    data = exported(tmp_path / "m.pt2").read_bytes()
    (tmp_path / "cut.pt2").write_bytes(data[: int(len(data) * fraction)])
    refused(tmp_path / "cut.pt2", r"not a \.pt2 archive, or truncated")
    for name, write in (("w.safetensors", save_file), ("w.pt", torch.save)):
        write(tiny().state_dict(), tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(len(data) * fraction)])
        with pytest.raises(ModelError, match=r"truncated|damaged"):
            plica.load(tiny(), weights=tmp_path / name)


def test_damaged_bytes_never_end_in_a_foreign_error(model):
    """Every fifth byte of a file overwritten in turn: a network or an error of plica's."""
    data = model.read_bytes()
    path = model.with_name("damaged.onnx")
    for place in range(0, len(data), 5):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :])
        try:
            plica.load(path)
        except PlicaError as error:
            assert str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(value, tmp_path):
    weight = np.ones((4, 3), np.float32)
    weight[1, 2] = value
    save(onnx_model(weight), tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "tensor 'w' holds 1 numbers that are NaN or infinite")
    state = tiny().state_dict()
    state["0.weight"][0, 0] = value
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"parameter '0\.weight'"):
        plica.load(tiny(), weights=tmp_path / "w.safetensors")


def test_wrong_shapes(tmp_path):
    save(onnx_model(np.ones((5, 3), np.float32)), tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "node 'fc'.*meets a value of shape", ShapeError)
    save(onnx_model(shape=("n", "m")), tmp_path / "open.onnx")
    refused(tmp_path / "open.onnx", "open sizes", ShapeError)
    assert plica.load(tmp_path / "open.onnx", (4,)).input_shape == (4,)
    refused(tmp_path / "open.onnx", "does not fit", ShapeError, input_shape=(4, 4))
    save(onnx_model(shape=("n", 1 << 40)), tmp_path / "wide.onnx")
    refused(tmp_path / "wide.onnx", "numbers", ShapeError)


def test_a_tensor_that_claims_too_much(tmp_path):
    broken = onnx_model()
    broken.graph.initializer[0].dims[:] = [1 << 30, 1 << 30]
    save(broken, tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "tensor 'w' claims shape")
    broken.graph.initializer[0].dims[:] = [4, 4]
    save(broken, tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", r"tensor 'w' of shape \(4, 4\) is damaged")


def test_files_larger_than_a_model_can_be(tmp_path):
    with open(tmp_path / "m.onnx", "wb") as file:
        file.truncate((1 << 31) + 1)
    refused(tmp_path / "m.onnx", "2147483649 bytes, more than an ONNX file may hold")


def test_no_outputs_and_outputs_nothing_makes(tmp_path):
    broken = onnx_model()
    broken.graph.output[0].name = "nothing"
    save(broken, tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "no node makes the output 'nothing'")
    del broken.graph.output[:]
    save(broken, tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "holds no graph")


def test_an_output_that_is_constant(tmp_path):
    broken = onnx_model()
    broken.graph.node[1].input[0] = "w"
    save(broken, tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "does not depend on the input")


def test_two_inputs(tmp_path):
    broken = onnx_model()
    broken.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4]))
    save(broken, tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", r"2 inputs \(x, z\)")


def test_wrong_arguments(model):
    with pytest.raises(ArgumentError, match="got list"):
        plica.load([1, 2])
    with pytest.raises(ArgumentError, match="weights= belongs to a torch module"):
        plica.load(model, weights=model)
    with pytest.raises(ArgumentError, match="got Tensor"):
        plica.load(torch.zeros(3), weights=model)
