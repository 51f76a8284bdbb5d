"""Networks from ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from plica.core.network import INPUT, Graph, Network, Origin
from plica.errors import ModelError
from plica.loaders.check import agree
from plica.loaders.lower import Builder, Operand, Var, network_of
from plica.loaders.onnx_file import checked_tensor, dtype_of, needed_nodes, read_input, read_model
from plica.loaders.onnx_names import node_names
from plica.loaders.onnx_ops import LOWER, OpNode
from plica.loaders.onnx_reference import Evaluated, Reading, fold, original_of

FINAL = ("Softmax", "LogSoftmax", "Sigmoid")  # dropped at the very end: the analyses are of the logits


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
    model = read_model(path)
    constants: dict[str, Operand] = {t.name: checked_tensor(t, path) for t in model.graph.initializer}
    source, shape, batch = read_input(model, input_shape)
    builder = Builder(Graph(shape), fixed=batch == "one")
    builder.at(source, "input")
    builder.check_size(shape)
    if not batch and len(shape) > 1:
        builder.notice(f"The input has no batch axis: its first axis is fixed at {shape[0]}.")
    values = {**constants, source: Var(INPUT, shape, bool(batch))}
    output = _lower_all(model, builder, values)
    result = values[output]
    if not isinstance(result, Var):
        raise ModelError(f"{path.name}: the output {output!r} does not depend on the input.")
    network, joined = network_of(builder, result)
    original = original_of(model, path.name, output, Reading(source, shape, batch))
    difference, explained = agree(network, original)
    if explained:
        builder.notice(explained)
    if batch == "symbolic" and isinstance(original.run, Evaluated) and original.run.one_by_one:
        builder.notice("The file's batch axis is open, but the model runs with a batch of one only.")
    name = path.name.removesuffix(".gz").removesuffix(".onnx")
    names = tuple(_tensors(values, joined).items())
    origin = Origin(name, str(path), dtype_of(model), builder.finish(dtype_of(model)), difference, names)
    return replace(network, origin=origin)


def _tensors(values: dict[str, Operand], joined: dict[str, str]) -> dict[str, str]:
    """What the file calls each value: the first tensor, or that of the constant which a node took up."""
    made: dict[str, str] = {}
    for tensor, value in values.items():
        if isinstance(value, Var) and value.name != INPUT:
            name = joined.get(value.name, value.name)
            if name not in made or value.name in joined:
                made[name] = tensor
    return made


def _lower_all(model: onnx.ModelProto, builder: Builder, values: dict[str, Operand]) -> str:
    """Lower every node that the output needs, and return the name of the value to analyse."""
    outputs = [o.name for o in model.graph.output]
    if len(outputs) > 1:
        builder.notice(f"The model has {len(outputs)} outputs; {outputs[0]!r} is the one analysed.")
    output = outputs[0]
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    protos = needed_nodes(model, output)
    for proto, name in zip(protos, node_names(protos), strict=True):
        node = OpNode(proto, version)
        builder.at(name, proto.op_type)
        inputs = [None if name == "" else _known(values, name, builder) for name in proto.input]
        if proto.op_type in FINAL and proto.output[0] == output and isinstance(inputs[0], Var):
            builder.notice(f"The final {proto.op_type} ({builder.node}) was dropped: the analyses are of its input.")
            return proto.input[0]
        values.update(zip(proto.output, _results(model, builder, node, inputs), strict=False))
    if output not in values:
        raise ModelError(f"no node makes the output {output!r}.")
    return output


def _results(model: onnx.ModelProto, builder: Builder, node: OpNode, inputs: Sequence[Any]) -> Sequence[Any]:
    """What a node makes: folded when it reads constants only, else by the table."""
    proto = node.proto
    if not any(isinstance(i, Var) for i in inputs):
        builder.folded += proto.op_type != "Constant"
        return fold(proto, inputs, model)
    kind = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    results = builder.lowered(LOWER, kind, node, *inputs)
    return results if isinstance(results, (list, tuple)) else (results,)


def _known(values: dict[str, Operand], name: str, builder: Builder) -> Operand:
    if name not in values:
        raise ModelError(f"node {builder.node!r} reads {name!r}, which no earlier node makes.")
    return values[name]
