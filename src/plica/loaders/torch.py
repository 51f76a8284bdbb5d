"""Networks from torch modules, through torch.export's graph of aten operations."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from plica.core.network import INPUT, Graph, Network, Origin
from plica.errors import ModelError, ShapeError, UnsupportedLayer
from plica.loaders.check import agree, sample_inputs
from plica.loaders.lower import Builder, Var
from plica.loaders.torch_ops import LOWER

FINAL = ("softmax", "log_softmax", "sigmoid", "logsigmoid")
EXPORT_BATCH = 2  # a batch of one would let exporters treat the batch axis as a constant


def load_module(module: nn.Module, input_shape: Sequence[int] | None = None, *, name: str = "") -> Network:
    """Read a torch module, and compare it with the module on random inputs.

    Parameters
    ----------
    module : torch.nn.Module
        Never changed: a module in training mode is copied and read in evaluation mode, with a notice.
    input_shape : sequence of int, optional
        Shape of one input without batch axis. By default that of the first layer when it is a Linear.

    Raises
    ------
    ModelError, UnsupportedLayer, ShapeError
    """
    notices = []
    if any(m.training for m in module.modules()):
        notices.append("The module was in training mode; a copy in evaluation mode was read.")
    frozen = copy.deepcopy(module).eval()
    _check_weights({**dict(frozen.named_parameters()), **dict(frozen.named_buffers())})
    shape = tuple(int(n) for n in input_shape) if input_shape is not None else _first_shape(frozen)
    dtype = _dtype(frozen.state_dict())
    source = _exported(frozen, torch.zeros(EXPORT_BATCH, *shape, dtype=dtype))
    return _network(source, frozen, shape, notices, Origin(name or type(module).__name__, dtype=_word(dtype)))


def load_program(program: torch.export.ExportedProgram, input_shape: Sequence[int] | None, origin: Origin) -> Network:
    """Read an exported program; its batch axis must be dynamic."""
    _check_weights(dict(program.state_dict))
    inputs = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in program.graph_signature.user_inputs]
    stored = tuple(inputs[0].meta["val"].shape) if len(inputs) == 1 else ()
    if not stored or isinstance(stored[0], int) or not all(isinstance(n, int) for n in stored[1:]):
        raise ShapeError(
            f"{origin.path}: plica reads programs of one input whose first axis is a dynamic batch; this one has "
            f"{len(inputs)} inputs, the first of shape {stored}. Export it with dynamic_shapes=({{0: Dim('batch')}},)."
        )
    shape = stored[1:]
    if input_shape is not None and tuple(input_shape) != shape:
        raise ShapeError(f"input_shape = {tuple(input_shape)} does not fit the program's input {shape}.")
    dtype = _word(_dtype(program.state_dict))
    return _network(_source(program), program.module(), shape, [], replace(origin, dtype=dtype))


def _network(source: Source, module: nn.Module, shape: tuple[int, ...], notices: list[str], origin: Origin) -> Network:
    """Lower a graph, and compare the network with the module."""
    builder = Builder(Graph(shape), notices=notices)
    output, dropped = _lower_all(source, builder, shape)
    builder.notice(f"Weights and arithmetic are float64; the module's are {origin.dtype}.")
    network = builder.graph.network(output.name)
    original = _original(module, source, dropped, getattr(torch, origin.dtype))
    difference = agree(network, original, sample_inputs(shape), origin.name)
    return replace(network, origin=replace(origin, notices=tuple(builder.notices), difference=difference))


def _dtype(state: Mapping[str, Tensor]) -> torch.dtype:
    return next((t.dtype for t in state.values() if t.is_floating_point()), torch.float32)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _check_weights(tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).sum())
            raise ModelError(f"parameter {name!r} holds {bad} numbers that are NaN or infinite.")


def _first_shape(module: nn.Module) -> tuple[int, ...]:
    """Input shape of a module that begins with a Linear layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            return (layer.in_features,)
        if next(layer.parameters(recurse=False), None) is not None:
            break
    raise ShapeError(
        f"The input shape of {type(module).__name__} cannot be read off its first layer. Say what one input is: "
        "plica.load(module, input_shape=(3, 32, 32)), without the batch axis."
    )


@dataclass(frozen=True)
class Source:
    """A graph of the original and what it reads besides its input.

    Attributes
    ----------
    graph : torch.fx.Graph
    tensors : dict
        Weights and constants, by the name of the graph's node that stands for them.
    module : torch.nn.Module, optional
        Where the graph's attributes are looked up.
    """

    graph: fx.Graph
    tensors: dict[str, Tensor]
    module: nn.Module | None = None

    def given(self, node: fx.Node) -> Tensor | None:
        """The tensor of a placeholder or attribute; None for the user's input."""
        if node.op == "placeholder":
            return self.tensors.get(node.name)
        value: Any = self.module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        return value.detach() if isinstance(value, Tensor) else value


def _source(program: torch.export.ExportedProgram) -> Source:
    signature = program.graph_signature
    stored = {**program.state_dict, **program.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    tensors = {node: stored[name].detach() for node, name in names.items()}
    return Source(program.graph, tensors, program.graph_module)


def _exported(module: nn.Module, example: Tensor) -> Source:
    """The module's graph: by torch.export, else by torch.fx."""
    try:
        batch = torch.export.Dim("batch", min=2)
        with torch.no_grad():
            return _source(torch.export.export(module, (example,), dynamic_shapes=({0: batch},), strict=False))
    except Exception as exported:
        try:
            return Source(_Opened().trace(module), {}, module)
        except Exception as error:
            raise ModelError(
                f"{type(module).__name__} cannot be exported ({_line(exported)}) nor traced ({_line(error)}). "
                "Save it as ONNX and load that."
            ) from error


class _Opened(fx.Tracer):
    """Traces into every module, so that only functions are left."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """No module is a leaf."""
        return False


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def _lower_all(source: Source, builder: Builder, shape: tuple[int, ...]) -> tuple[Var, fx.Node | None]:
    """Lower node after node; return the output, and the final softmax that was dropped, if any."""
    values: dict[fx.Node, Any] = {}
    dropped: fx.Node | None = None
    for node in source.graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            given = source.given(node)
            values[node] = Var(INPUT, shape) if given is None else given
        elif node.op == "output":
            return _output(node, values, builder), dropped
        else:
            builder.node = _path(node)
            if _is_final(node):
                kind = _op_name(node)
                builder.notice(f"The final {kind} ({builder.node}) was dropped: the analyses are of its input.")
                values[node], dropped = values[node.all_input_nodes[0]], node
                continue
            values[node] = _lowered(node, values, builder)
    raise ModelError("the graph has no output.")


def _output(node: fx.Node, values: dict, builder: Builder) -> Var:
    results = node.args[0]
    first = results
    while isinstance(first, (tuple, list)):
        if len(first) > 1:
            builder.notice(f"The module returns {len(first)} values; the first is the one analysed.")
        first = first[0]
    out = values[first]
    if not isinstance(out, Var):
        raise ModelError("the module's output does not depend on its input.")
    return out


def _op_name(node: fx.Node) -> str:
    """'aten.relu.default' is relu; the name of a function or method otherwise."""
    if node.op == "call_method":
        return str(node.target)
    packet = getattr(node.target, "_opname", None) or getattr(node.target, "__name__", str(node.target))
    return str(packet).rstrip("_") if not str(packet).startswith("_") else str(packet)


def _is_final(node: fx.Node) -> bool:
    """Whether a node is a softmax or sigmoid that only the output reads."""
    return _op_name(node).lstrip("_") in FINAL and all(user.op == "output" for user in node.users)


def _path(node: fx.Node) -> str:
    """The module path of a node ('features.3'), or its own name."""
    stack = node.meta.get("nn_module_stack")
    if stack:
        path = next(reversed(stack.values()))[0]
        path = path.removeprefix("L['self'].").removeprefix("L__self___")
        if path:
            return path
    return node.name


def _lowered(node: fx.Node, values: dict, builder: Builder) -> Any:
    """The value of one node: folded when it reads constants only, else by the table."""
    if node.op == "call_module":
        raise UnsupportedLayer(f"node {builder.node!r} is a module that torch.export could not open.")
    arguments = fx.map_arg(node.args, lambda n: values[n])
    options = fx.map_arg(node.kwargs, lambda n: values[n])
    if node.target is operator.getitem:
        return arguments[0][arguments[1]]
    name = _op_name(node)
    if not _reads_var((arguments, options)):
        return node.target(*arguments, **options) if callable(node.target) else None
    if name not in LOWER:
        raise UnsupportedLayer(
            f"node {builder.node!r} is {name}, which is not piecewise linear or not known. plica reads: "
            f"{', '.join(sorted(LOWER))}. Replace it, or load the part of the model before it."
        )
    return LOWER[name](builder, *arguments, **options)


def _reads_var(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_reads_var, value.values()))
    return any(map(_reads_var, value)) if isinstance(value, (tuple, list)) else isinstance(value, Var)


def _original(module: nn.Module, source: Source, dropped: fx.Node | None, dtype: torch.dtype) -> Callable:
    """The module as a function of a batch of inputs; its graph up to a softmax that was dropped."""

    def run(batch: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(batch).to(dtype)
        with torch.no_grad():
            out = module(x) if dropped is None else _interpreted(source, x, dropped.all_input_nodes[0])
        while isinstance(out, (tuple, list)):
            out = out[0]
        return out.double().flatten(1).numpy()

    return run


def _interpreted(source: Source, x: Tensor, wanted: fx.Node) -> Tensor:
    """Run a graph on tensors up to one node."""
    values: dict[fx.Node, Any] = {}
    for node in source.graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            given = source.given(node)
            values[node] = x if given is None else given
        else:
            arguments, options = (fx.map_arg(a, lambda n: values[n]) for a in (node.args, node.kwargs))
            if node.op == "call_method":
                values[node] = getattr(arguments[0], node.target)(*arguments[1:], **options)
            else:
                values[node] = node.target(*arguments, **options)
        if node is wanted:
            break
    return values[wanted]
