"""Loading as a user meets it: files of every kind, weights, tables, and one clear error for everything bad."""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, external_data_helper, helper, numpy_helper, save
from safetensors.torch import save_file
from torch import nn

import plica
from plica.errors import ArgumentError, ModelError, PlicaError, ShapeError
from plica.loaders import onnx_file, weights


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def onnx_model(weight=None, shape=("n", 4)):
    weight = np.ones((4, 3), np.float32) if weight is None else weight
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="fc"),
        helper.make_node("Relu", ["h"], ["y"], name="act"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_empty_tensor_value_info("y")],
                              [numpy_helper.from_array(weight, "w")])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def model(tmp_path):
    save(onnx_model(), tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


def refused(path, match, kind=ModelError, **options):
    """The error is one line of plica's own, and no file appears."""
    before = sorted(p for p in Path(path).parent.rglob("*"))
    with pytest.raises(kind, match=match) as caught:
        plica.load(path, **options)
    assert "\n" not in str(caught.value)
    assert sorted(p for p in Path(path).parent.rglob("*")) == before


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
    assert torch.equal(net(x), net(x.reshape(5, 4)))
    with pytest.raises(ShapeError, match=r"shape \(5, 3\)"):
        net(np.zeros((5, 3)))


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


def exported(path, example_inputs=False, batch=None):
    batch = torch.export.Dim("batch", min=2) if batch is None else batch
    program = torch.export.export(tiny().eval(), (torch.zeros(2, 4),), dynamic_shapes=({0: batch},) if batch else None)
    if not example_inputs:
        program.example_inputs = None
    torch.export.save(program, path)
    return path


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


# --- the table --------------------------------------------------------------------------------------------------


def test_info_is_a_table():
    module = nn.Sequential(nn.Dropout(), *tiny(), nn.Softmax(1))
    net = plica.load(module, (4,))
    table = plica.info(net)
    text = repr(table)
    for part in ("linear_1", "relu_2", "linear_3", "input (4,)", "float32", "dense", "Dropped, being without effect",
                 "softmax", "Largest difference from the original"):  # fmt: skip
        assert part in text
    assert table.layers == ("", "0", "1")
    assert table.units.tolist() == [3, 3, 2]
    saved = json.loads(json.dumps(table.to_dict()))
    assert saved["names"] == ["linear_1", "relu_2", "linear_3"]
    assert saved["difference"] == net.origin.difference < 1e-6
    for name, index in zip(table.names, table.layers, strict=True):
        if index:
            assert net.resolve(int(index)) == net.resolve(name) == name


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


def test_two_inputs(tmp_path):
    broken = onnx_model()
    broken.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4]))
    save(broken, tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", r"2 inputs \(x, z\)")


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


def test_wrong_arguments(model):
    with pytest.raises(ArgumentError, match="got list"):
        plica.load([1, 2])
    with pytest.raises(ArgumentError, match="weights= belongs to a torch module"):
        plica.load(model, weights=model)
    with pytest.raises(ArgumentError, match="got Tensor"):
        plica.load(torch.zeros(3), weights=model)


# --- external data ----------------------------------------------------------------------------------------------


def with_external_data(folder, location, written=True):
    broken = onnx_model()
    tensor = broken.graph.initializer[0]
    external_data_helper.set_external_data(tensor, location)
    tensor.data_location = TensorProto.EXTERNAL
    if written:
        Path(folder / location).write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    (folder / "m.onnx").write_bytes(broken.SerializeToString())
    return folder / "m.onnx"


def test_external_data_beside_the_model(tmp_path):
    path = with_external_data(tmp_path, "weights.bin")
    assert plica.load(path)(np.ones((1, 4))).tolist() == [[4.0, 4.0, 4.0]]


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "", "missing.bin", "link.bin"])
def test_external_data_elsewhere_is_refused(location, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\x00" * 48)
    os.symlink(tmp_path / "secret.bin", folder / "link.bin")
    path = with_external_data(folder, location, written=False)
    refused(path, "tensor 'w' is stored in .* not a file in the model's folder")


def test_external_data_that_is_too_short(tmp_path):
    path = with_external_data(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(b"\x00" * 4)
    refused(path, "tensor 'w'")


# --- what could run code, or fill the memory --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bomb.pt", "bomb.pth", "bomb.ckpt"])
def test_pickles_are_not_opened(name, tmp_path):
    torch.save(Bomb(tmp_path / "made"), tmp_path / name)
    refused(tmp_path / name, "a pickle")
    with pytest.raises(ModelError, match="without running pickled code"):
        plica.load(tiny(), weights=tmp_path / name)
    assert not (tmp_path / "made").exists()


def test_old_pickles_are_not_opened(tmp_path):
    code = f"import pickle, sys\nclass B:\n def __reduce__(s): return open, ({str(tmp_path / 'made')!r}, 'w')\n"
    code += "for p in (0, 2): open(sys.argv[1] + str(p) + '.pt', 'wb').write(pickle.dumps({'w': B()}, protocol=p))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "w")], check=True)
    for protocol in (0, 2):
        with pytest.raises(ModelError, match="without running pickled code"):
            plica.load(tiny(), weights=tmp_path / f"w{protocol}.pt")
    assert not (tmp_path / "made").exists()


def bombed(tmp_path, change):
    """A .pt2 archive with some members changed or added."""
    source = exported(tmp_path / "tiny.pt2")
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        for name, data in change(members).items():
            new.writestr(name, data)
    return path


def pickled(path):
    buffer = io.BytesIO()
    torch.save(Bomb(path), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("member", ["sample_inputs/model.pt", "weights/custom_obj_0", "constants/opaque_obj_0"])
def test_pickles_inside_archives_are_not_opened(member, tmp_path):
    path = bombed(tmp_path, lambda members: {**members, f"tiny/data/{member}": pickled(tmp_path / "made")})
    refused(path, "is pickled or not known.*can run any code")
    assert not (tmp_path / "made").exists()


def test_weights_declared_as_pickles_are_not_opened(tmp_path):
    """The description of an archive may say that plain-looking bytes are to be unpickled."""

    def change(members):
        for name, data in members.items():
            if name.endswith("weights_config.json"):
                members[name] = data.replace(b'"use_pickle": false', b'"use_pickle": true')
            if name.endswith("weight_0"):
                members[name] = pickled(tmp_path / "made")
        return members

    refused(bombed(tmp_path, change), "asks for pickled data or for code")
    assert not (tmp_path / "made").exists()


CODE = "__import__('pathlib').Path({made!r}).touch()"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expr_str", CODE),
        ("guards_code", [CODE]),
        ("target", "torch.os.system"),
        ("target", "torch.hub.load"),
        ("target", "torch.ops.aten.from_file.default"),
        ("target", "_operator.attrgetter"),
        ("name", f"x=({CODE})"),
        ("forward_arg_names", [f"x=({CODE})"]),
    ],
)
def test_code_in_descriptions_is_not_run(key, value, tmp_path):
    """torch evaluates sizes and guards, compiles names, and looks operations up anywhere in torch."""
    text = json.dumps(value).replace("{made!r}", repr(str(tmp_path / "made")))

    def change(members):
        return {name: _with(data, key, json.loads(text)) if name.endswith("model.json") else data
                for name, data in members.items()}  # fmt: skip

    path = bombed(tmp_path, change)
    refused(path, "asks for pickled data or for code")
    assert not (tmp_path / "made").exists()


def _with(data, wanted, new):
    """A description with every value of a key replaced."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            found.extend(k for k in value if k == wanted)
            return {k: new if k == wanted else walk(v) for k, v in value.items()}
        return [walk(v) for v in value] if isinstance(value, list) else value

    changed = json.dumps(walk(json.loads(data))).encode()
    assert found
    return changed


def test_zip_bombs_are_refused(tmp_path):
    for name in ("bomb.pt2", "bomb.pt"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("tiny/data/weights/weight_0", b"\x00" * (1 << 26))
    refused(tmp_path / "bomb.pt2", "unpack to 67108864")
    with pytest.raises(ModelError, match="unpack to 67108864"):
        plica.load(tiny(), weights=tmp_path / "bomb.pt")


def test_gzip_bombs_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 1 << 24)
    (tmp_path / "bomb.onnx.gz").write_bytes(gzip.compress(b"\x00" * (1 << 26)))
    refused(tmp_path / "bomb.onnx.gz", "unpacks to more than 16777216 bytes")


def test_archives_nested_too_deep_are_refused(tmp_path):
    path = bombed(tmp_path, lambda members: {**members, "tiny/models/deep.json": b"[" * 100_000 + b"]" * 100_000})
    refused(path, r"not a \.pt2 archive")


def test_what_a_plain_archive_may_hold():
    allowed = ["archive_format", "byteorder", ".data/version", "models/model.json", "data/weights/weight_12",
               "data/weights/model_weights_config.json", "data/constants/tensor_0"]  # fmt: skip
    assert all(weights.PLAIN.fullmatch(name) for name in allowed)
    refused_names = ["data/weights/weight_0.pt", "data/sample_inputs/model.pt", "extra/x", "data/weights/custom_obj_0",
                     "data/aotinductor/model/x.so", "../models/model.json"]  # fmt: skip
    assert not any(weights.PLAIN.fullmatch(name) for name in refused_names)
