"""The table of a network: names, shapes and what loading did, also of the networks of the collection."""

from __future__ import annotations

import json
import re

import pytest
from torch import nn

import plica
from loaders.bad_files import tiny


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


def test_operations_in_words():
    module = nn.Sequential(
        nn.Conv2d(1, 2, (3, 2), stride=(1, 2)), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 4),
        nn.Hardtanh(), nn.Unflatten(1, (2, 2)), nn.LeakyReLU(),
    )  # fmt: skip
    table = plica.info(plica.load(module, (1, 10, 16)))
    assert table.operations == (
        "conv 3x2 / 1x2", "max of 4", "conv 2x2 / 2x2", "scale", "reshape", "dense", "clip", "reshape", "leaky_relu",
    )  # fmt: skip
    assert table.shapes[0] == "2x8x8"
    assert table.reads[0] == "input"


def test_columns_are_aligned():
    lines = repr(plica.info(plica.load(tiny()))).splitlines()
    table = lines[1:5]
    starts = {line.find(word) for line, word in zip(table, ("operation", "dense", "relu", "dense"), strict=True)}
    assert len(starts) == 1


@pytest.mark.data
def test_names_of_the_collection(shared_data):
    """Short, typeable, unlike an index, and each of them a value of layer=."""
    for path in sorted([*shared_data.rglob("*.onnx"), *shared_data.rglob("*.onnx.gz")])[::3]:
        net = plica.load(path)
        table = plica.info(net)
        assert all(re.fullmatch(r"[A-Za-z][\w.\-]{0,39}", name) for name in table.names), path
        assert max(map(len, repr(table).splitlines())) <= 160, path
        for name, index in zip(table.names, table.layers, strict=True):
            assert net.resolve(name) == name
            if index:
                assert net.resolve(int(index)) == name
