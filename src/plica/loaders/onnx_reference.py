"""onnx's reference evaluator: the oracle of an import, and what folds constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from plica.core.affine import Shape
from plica.errors import ModelError, UnsupportedLayer
from plica.loaders.check import Original
from plica.loaders.onnx_file import MAX_ELEMENTS, as_constant, dtype_of, needed_nodes
from plica.loaders.onnx_ops.node import ints

WIDE = (TensorProto.FLOAT, TensorProto.DOUBLE)
FOLDED = {
    *("Abs", "Add", "And", "ArgMax", "ArgMin", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "Concat"),
    *("Constant", "ConstantOfShape", "Cos", "CumSum", "DequantizeLinear", "Div", "Dropout", "Equal", "Erf", "Exp"),
    *("Expand", "EyeLike", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gemm", "Greater"),
    *("GreaterOrEqual", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max"),
    *("Mean", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "Pad", "Pow", "QuantizeLinear", "Range"),
    *("Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"),
    *("ReduceSumSquare", "Relu", "Reshape", "Round", "ScatterElements", "ScatterND", "Shape", "Sigmoid", "Sign"),
    *("Sin", "Size", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose"),
    *("Trilu", "Unsqueeze", "Where", "Xor"),
}


# -- constants --------------------------------------------------------------------------------------------------------


def fold(proto: onnx.NodeProto, inputs: Sequence[Any], model: onnx.ModelProto) -> list[np.ndarray]:
    """Results of a node that reads constants only, with floats in float64."""
    what = f"node {proto.name or proto.output[0]!r} ({proto.op_type})"
    if proto.op_type not in FOLDED or proto.domain not in ("", "ai.onnx"):
        raise UnsupportedLayer(f"{what} reads constants only, and is not one of the operations that plica evaluates.")
    try:
        if proto.op_type == "Cast" and _attribute(proto, "to") in WIDE and inputs[0].dtype.kind == "f":
            return [inputs[0]]
        size = _made(proto, inputs)
        if size > MAX_ELEMENTS:
            raise ModelError(f"{what} asks for {size:.1e} numbers.")
        results = _evaluated(proto, inputs, model)
    except ModelError:
        raise
    except Exception as error:  # whatever the evaluator raises
        raise ModelError(f"{what} of constants cannot be evaluated: {str(error).strip()[:300]}") from error
    return [as_constant(np.asarray(r), what) for r in results]


def _made(proto: onnx.NodeProto, inputs: Sequence[Any]) -> float:
    """Numbers that a node asks for, where that is not bounded by what it reads."""
    kind = proto.op_type
    if kind in ("ConstantOfShape", "Expand"):
        return math.prod(max(n, 1) for n in ints(inputs[-1])) * (inputs[0].size if kind == "Expand" else 1)
    if kind == "Tile":
        return inputs[0].size * math.prod(ints(inputs[1]))
    if kind == "Range":
        start, limit, step = (float(np.reshape(v, ())) for v in inputs)
        return abs((limit - start) / step) if step else math.inf
    if kind == "OneHot":
        return inputs[0].size * float(np.reshape(inputs[1], (-1,))[0])
    if kind == "Pad":
        wide = ints(inputs[1]) if len(inputs) > 1 else list(_attribute(proto, "pads") or [])
        return inputs[0].size * math.prod(1 + abs(n) for n in wide)
    return 0 if kind == "Constant" else math.prod(max(np.size(i), 1) for i in inputs[:2] if i is not None) ** 0.5


def _evaluated(proto: onnx.NodeProto, inputs: Sequence[Any], model: onnx.ModelProto) -> list[Any]:
    from plica.loaders.onnx_oracle import evaluator

    arrays = {n: a for n, a in zip(proto.input, inputs, strict=True) if n}
    graph = helper.make_graph(
        [proto],
        "constant",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
         for n, a in arrays.items()],
        [helper.make_empty_tensor_value_info(n) for n in proto.output if n],
    )  # fmt: skip
    results = evaluator(helper.make_model(graph, opset_imports=model.opset_import)).run(None, arrays)
    found = iter(results)
    return [next(found) if n else None for n in proto.output]


def _attribute(proto: onnx.NodeProto, name: str) -> Any:
    return next((helper.get_attribute_value(a) for a in proto.attribute if a.name == name), None)


# -- the whole model --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How a model's input is read.

    Attributes
    ----------
    source : str
        Name of the input.
    shape : tuple of int
        Of one input.
    batch : str
        The batch axis: "symbolic", "one", or "" for none.
    """

    source: str
    shape: Shape
    batch: str


def original_of(model: onnx.ModelProto, name: str, output: str, reading: Reading) -> Original:
    """The model as a function of a batch of inputs, up to one of its values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[1:], copy.graph.node[:]
    copy.graph.node.extend(needed_nodes(model, output))
    if output != copy.graph.output[0].name:
        copy.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info(output))
    dtype = dtype_of(model)
    run = Evaluated(copy, reading, dtype if dtype != "bfloat16" else "float32")

    def run_exactly(inputs: np.ndarray) -> np.ndarray:
        return Evaluated(in_float64(copy), reading, "float64")(inputs)

    return Original(name, dtype, run, None if dtype == "float64" else run_exactly)


class Evaluated:
    """A model as a function of a batch of inputs.

    Attributes
    ----------
    one_by_one : bool
        Whether the model turned out to run with a batch of one only, in spite of what its input says.
    """

    def __init__(self, model: onnx.ModelProto, reading: Reading, dtype: str) -> None:
        self.model, self.reading, self.dtype = model, reading, dtype
        self.one_by_one = reading.batch != "symbolic"

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs, one row per input."""
        from plica.loaders.onnx_oracle import evaluator

        machine: Any = evaluator(self.model)
        typed = inputs.astype(self.dtype)
        if not self.one_by_one:
            out = self._together(machine, typed)
            if out is not None:
                return out
            self.one_by_one = True
        rows = [x.reshape(1, *self.reading.shape) if self.reading.batch else x for x in typed]
        return np.stack([np.asarray(machine.run(None, {self.reading.source: row})[0]).ravel() for row in rows])

    def _together(self, machine: Any, inputs: np.ndarray) -> np.ndarray | None:
        try:
            out = np.asarray(machine.run(None, {self.reading.source: inputs})[0])
        except Exception:  # whatever the evaluator raises where a shape in the file holds a batch of one
            return None
        return out if out.ndim and len(out) == len(inputs) else None


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose floats are float64."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        if value.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16):
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for stored in copy.graph.initializer:
        _widen(stored)
    for node in copy.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    return copy


def _widen(stored: TensorProto) -> None:
    if stored.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16):
        stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored).astype(np.float64), stored.name))
