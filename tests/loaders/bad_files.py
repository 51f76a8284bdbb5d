"""A small model in every format, and how its damaged forms are to be refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import plica
from plica.errors import ModelError


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


def exported(path, example_inputs=False, batch=None):
    batch = torch.export.Dim("batch", min=2) if batch is None else batch
    program = torch.export.export(tiny().eval(), (torch.zeros(2, 4),), dynamic_shapes=({0: batch},) if batch else None)
    if not example_inputs:
        program.example_inputs = None
    torch.export.save(program, path)
    return path


def refused(path, match, kind=ModelError, **options):
    """The error is one line of plica's own, and no file appears."""
    before = sorted(p for p in Path(path).parent.rglob("*"))
    with pytest.raises(kind, match=match) as caught:
        plica.load(path, **options)
    assert "\n" not in str(caught.value)
    assert sorted(p for p in Path(path).parent.rglob("*")) == before
