"""Files that could run code, read other files, or fill the memory: refused before anything happens."""

from __future__ import annotations

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
from onnx import TensorProto, external_data_helper

import plica
from loaders.bad_files import exported, onnx_model, refused, tiny
from plica.errors import ModelError
from plica.loaders import onnx_file, weights


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


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
