"""Networks from ONNX files."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from plica.core.network import INPUT, Graph, Network, Origin
from plica.errors import ModelError, ShapeError, UnsupportedLayer
from plica.loaders.check import agree, sample_inputs
from plica.loaders.lower import Builder, Var
from plica.loaders.onnx_ops import LOWER, Operand, OpNode

FINAL = ("Softmax", "LogSoftmax", "Sigmoid")  # dropped at the very end: the analyses are of the logits
MAX_ELEMENTS = 1 << 31


def load_onnx(path: Path, input_shape: Sequence[int] | None = None) -> Network:
    """Read an ``.onnx`` or ``.onnx.gz`` file, and compare it with onnx's reference evaluator on random inputs.

    Parameters
    ----------
    path : Path
    input_shape : sequence of int, optional
        Shape of one input without batch axis, for models that leave it open.

    Raises
    ------
    ModelError, UnsupportedLayer, ShapeError
        With the node or the byte problem.
    """
    model = _parsed(path)
    constants = _constants(model, path)
    graph_input, has_batch, shape = _input(model, constants, input_shape)
    builder = Builder(Graph(shape))
    values: dict[str, Operand] = {**constants, graph_input: Var(INPUT, shape, has_batch)}
    output = _lower_all(model, builder, values)
    result = values[output]
    if not isinstance(result, Var):
        raise ModelError(f"{path.name}: the output {output!r} does not depend on the input.")
    builder.notice(f"Weights and arithmetic are float64; the file's are {_dtype(model)}.")
    network = builder.graph.network(result.name)
    difference = agree(
        network, _reference(model, graph_input, output, has_batch, shape), sample_inputs(shape), path.name
    )
    name = path.name.removesuffix(".gz").removesuffix(".onnx")
    origin = Origin(name, str(path), _dtype(model), tuple(builder.notices), difference)
    return Network(network.input_shape, network.nodes, origin)


def _parsed(path: Path) -> onnx.ModelProto:
    """The model, or one clear error about its bytes."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except EOFError as error:
        raise ModelError(f"{path}: the gzip file is truncated.") from error
    if not data:
        raise ModelError(f"{path}: the file is empty.")
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX file, or truncated ({len(data)} bytes read).") from error
    if not model.graph.output or not (model.graph.node or model.graph.input):
        raise ModelError(f"{path}: not an ONNX file: it holds no graph ({len(data)} bytes read).")
    return model


def _constants(model: onnx.ModelProto, path: Path) -> dict[str, Operand]:
    """Initializers as arrays, checked."""
    return {t.name: checked_tensor(t, path) for t in model.graph.initializer}


def checked_tensor(proto: TensorProto, path: Path) -> np.ndarray:
    """The array of a stored tensor: its size plausible, its data inside the model's folder, its numbers finite."""
    size = math.prod(proto.dims)
    if size > MAX_ELEMENTS or any(d < 0 for d in proto.dims):
        raise ModelError(f"{path}: tensor {proto.name!r} claims shape {tuple(proto.dims)}, {size:.1e} numbers.")
    if proto.data_location == TensorProto.EXTERNAL:
        _load_external(proto, path)
    try:
        array = numpy_helper.to_array(proto)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: tensor {proto.name!r} of shape {tuple(proto.dims)} is damaged: {error}") from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ModelError(f"{path}: tensor {proto.name!r} holds {bad} numbers that are NaN or infinite.")
    return array


def _load_external(proto: TensorProto, path: Path) -> None:
    """Read data kept beside the model; never from outside the model's folder."""
    place = {e.key: e.value for e in proto.external_data}.get("location", "")
    folder = path.resolve().parent
    target = (folder / place).resolve()
    if not place or not target.is_relative_to(folder) or not target.is_file():
        raise ModelError(
            f"{path}: tensor {proto.name!r} is stored in {place!r}, which is not a file in the model's folder. "
            "Put the file beside the model, or save the model with its data inside."
        )
    onnx.external_data_helper.load_external_data_for_tensor(proto, str(folder))
    proto.data_location = TensorProto.DEFAULT


def _input(model: onnx.ModelProto, constants: dict, given: Sequence[int] | None) -> tuple[str, bool, tuple[int, ...]]:
    """Name of the input, whether it has a batch axis, and its shape without it."""
    free = [i for i in model.graph.input if i.name not in constants]  # old files list weights as inputs too
    if len(free) != 1:
        raise ModelError(f"the model has {len(free)} inputs ({', '.join(i.name for i in free)}); plica reads one.")
    dims = free[0].type.tensor_type.shape.dim
    shape: list[int | str] = [d.dim_value if d.HasField("dim_value") else (d.dim_param or "?") for d in dims]
    batch = len(shape) > 1 and (isinstance(shape[0], str) or shape[0] == 1)
    if len(shape) > 1 and not batch:
        raise ShapeError(
            f"the input {free[0].name!r} has shape {tuple(shape)}: a first axis fixed at {shape[0]} is neither 1 nor a "
            "batch axis that may vary. Export the model with batch size 1 or a symbolic batch axis."
        )
    inner = shape[1:] if batch else shape
    if given is not None:
        _check_given(inner, given)
        inner = list(given)
    if any(isinstance(d, str) for d in inner):
        raise ShapeError(
            f"the input {free[0].name!r} has open sizes {tuple(shape)}. Say what one input is: "
            "plica.load(path, input_shape=(...)), without the batch axis."
        )
    if math.prod(inner) < 1 or math.prod(inner) > MAX_ELEMENTS:  # type: ignore[arg-type]
        raise ShapeError(f"the input {free[0].name!r} has shape {tuple(shape)}, which holds no sensible input.")
    return free[0].name, batch, tuple(int(d) for d in inner)


def _check_given(inner: Sequence[int | str], given: Sequence[int]) -> None:
    fits = len(given) == len(inner) and all(isinstance(a, str) or a == b for a, b in zip(inner, given, strict=True))
    if not fits:
        raise ShapeError(f"input_shape = {tuple(given)} does not fit the model's input {tuple(inner)}.")


def _lower_all(model: onnx.ModelProto, builder: Builder, values: dict[str, Operand]) -> str:
    """Lower node after node and return the name of the output to analyse."""
    outputs = [o.name for o in model.graph.output]
    if len(outputs) > 1:
        builder.notice(f"The model has {len(outputs)} outputs; {outputs[0]!r} is the one analysed.")
    output = outputs[0]
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    used = {name for node in model.graph.node for name in node.input}
    for proto in model.graph.node:
        node = OpNode(proto, version)
        builder.node = short_name(node)
        inputs = [None if name == "" else _known(values, name, node) for name in proto.input]
        if proto.op_type in FINAL and proto.output[0] == output and output not in used:
            builder.notice(f"The final {proto.op_type} ({builder.node}) was dropped: the analyses are of its input.")
            return proto.input[0]
        if not any(isinstance(i, Var) for i in inputs):
            results: Sequence[Any] = _folded(proto, inputs, model)
        elif proto.op_type in LOWER and proto.domain in ("", "ai.onnx"):
            results = LOWER[proto.op_type](builder, node, *inputs)
            results = results if isinstance(results, (list, tuple)) else (results,)
        else:
            raise UnsupportedLayer(
                f"node {builder.node!r} is {proto.op_type}, which is not piecewise linear or not known. plica reads: "
                f"{', '.join(sorted(LOWER))}. Replace it, or load the part of the model before it."
            )
        values.update(zip(proto.output, results, strict=False))
    if output not in values:
        raise ModelError(f"no node makes the output {output!r}.")
    return output


def _known(values: dict[str, Operand], name: str, node: OpNode) -> Operand:
    if name not in values:
        raise ModelError(f"node {short_name(node)!r} reads {name!r}, which no earlier node makes.")
    return values[name]


def short_name(node: OpNode) -> str:
    """A short name that can be typed: '/layer1/conv1/Conv' is layer1.conv1."""
    raw = node.proto.name or (node.proto.output[0] if node.proto.output else node.proto.op_type)
    parts = [p for p in raw.replace("::", "/").split("/") if p]
    if len(parts) > 1 and parts[-1].split("_")[0].lower() == node.proto.op_type.lower():
        parts = parts[:-1]
    return ".".join(parts).replace(" ", "_") or node.proto.op_type


def _folded(proto: onnx.NodeProto, inputs: Sequence[Any], model: onnx.ModelProto) -> list[np.ndarray]:
    """Results of a node whose inputs are all constants, by onnx's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    if proto.op_type == "ConstantOfShape" and inputs and math.prod(int(v) for v in inputs[0]) > MAX_ELEMENTS:
        raise ModelError(f"node {proto.name!r} asks for a constant of shape {tuple(inputs[0])}.")
    names = [n for n in proto.input if n]
    arrays = [i for i in inputs if i is not None]
    graph = helper.make_graph(
        [proto],
        "constant",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
         for n, a in zip(names, arrays, strict=True)],
        [helper.make_empty_tensor_value_info(n) for n in proto.output],
    )  # fmt: skip
    part = helper.make_model(graph, opset_imports=model.opset_import)
    try:
        results = ReferenceEvaluator(part).run(None, dict(zip(names, arrays, strict=True)))
    except Exception as error:
        raise UnsupportedLayer(
            f"node {proto.name!r} ({proto.op_type}) of constants cannot be evaluated: {error}"
        ) from error
    return [np.asarray(r) for r in results]


def _dtype(model: onnx.ModelProto) -> str:
    kinds = {TensorProto.DOUBLE: "float64", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
    found = [kinds.get(i.type.tensor_type.elem_type, "float32") for i in model.graph.input]
    return found[0] if found else "float32"


def _reference(model: onnx.ModelProto, name: str, output: str, has_batch: bool, shape: tuple[int, ...]):
    """The original as a function of a batch of inputs."""
    from onnx.reference import ReferenceEvaluator

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if output != model.graph.output[0].name:  # a final softmax was dropped: compare before it
        copy.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info(output))
    evaluator = ReferenceEvaluator(copy)
    dtype = np.dtype(_dtype(model) if _dtype(model) != "bfloat16" else "float32")
    wanted = copy.graph.output[0].name

    def run(batch: np.ndarray) -> np.ndarray:
        rows = [x.reshape(1, *shape) if has_batch else x for x in batch.astype(dtype)]
        return np.stack([np.asarray(evaluator.run([wanted], {name: row})[0]).ravel() for row in rows])

    return run
