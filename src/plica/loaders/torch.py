"""Networks from torch modules, through torch.export's graph of aten operations."""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from plica.core.affine import Shape
from plica.core.network import INPUT, Graph, Network, Origin
from plica.errors import ModelError, ShapeError
from plica.loaders.check import Original, agree
from plica.loaders.lower import Builder, Var, network_of, typeable
from plica.loaders.torch_graph import Source, exported, is_in_place, kind_of, source_of
from plica.loaders.torch_ops import LOWER

FINAL = ("softmax", "log_softmax", "sigmoid", "log_sigmoid")  # dropped at the very end
CASTS = ("_to_copy", "to", "float", "double", "type_as")


def load_module(module: nn.Module, input_shape: Sequence[int] | None = None, *, name: str = "") -> Network:
    """Read a torch module, and compare it with the module on random inputs.

    Parameters
    ----------
    module : torch.nn.Module
        Never changed: a copy in evaluation mode is read, with a notice if the module was in training mode.
    input_shape : sequence of int, optional
        Shape of one input without batch axis. By default that of the first layer when it is a Linear.
    name : str
        To print; the module's class by default.

    Raises
    ------
    ModelError, UnsupportedLayer, ShapeError
    """
    notices = []
    if any(m.training for m in module.modules()):
        notices.append("The module was in training mode; a copy in evaluation mode was read.")
    frozen = copied(module).eval()
    check_weights({**dict(frozen.named_parameters()), **dict(frozen.named_buffers())})
    shape = tuple(input_shape) if input_shape is not None else _first_shape(frozen)
    dtype = _dtype(dict(frozen.named_parameters()), dict(frozen.named_buffers()))
    source = exported(frozen, shape, dtype)
    return _network(source, frozen, shape, notices, Origin(name or type(module).__name__, dtype=_word(dtype)))


def load_program(program: torch.export.ExportedProgram, input_shape: Sequence[int] | None, origin: Origin) -> Network:
    """Read an exported program of one input; its first axis is the batch: dynamic, or of one entry."""
    check_weights(dict(program.state_dict))
    names = program.graph_signature.user_inputs
    inputs = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in names]
    stored = tuple(inputs[0].meta["val"].shape) if len(inputs) == 1 else ()
    batch_of_one = len(stored) > 1 and stored[0] == 1
    if not stored or not (batch_of_one or not isinstance(stored[0], int)):
        raise ShapeError(
            f"{origin.path}: plica reads programs of one input whose first axis is a batch, dynamic or of one entry; "
            f"this one has {len(inputs)} inputs, the first of shape {stored}. Export it with "
            "dynamic_shapes=({0: Dim('batch')},)."
        )
    if not all(isinstance(n, int) for n in stored[1:]):
        raise ShapeError(f"{origin.path}: the input has other symbolic axes than the batch: {stored}.")
    if input_shape is not None and tuple(input_shape) != stored[1:]:
        raise ShapeError(f"input_shape = {tuple(input_shape)} does not fit the program's input {stored[1:]}.")
    dtype = _word(_dtype(program.state_dict))
    source = source_of(program, fixed=batch_of_one)
    return _network(source, program.module(), stored[1:], [], replace(origin, dtype=dtype))


def _network(source: Source, module: nn.Module, shape: Shape, notices: list[str], origin: Origin) -> Network:
    """Lower a graph, and compare the network with the module."""
    builder = Builder(Graph(shape), fixed=source.fixed, notices=notices)
    if source.outputs > 1:
        builder.notice(f"The module returns {source.outputs} values; the first is the one analysed.")
    if source.fixed:
        builder.notice("The module was read with a batch of one: it does not export for any batch.")
    output, wanted = _lower_all(source, builder, shape)
    network, _ = network_of(builder, output)
    difference, explained = agree(network, _original(source, module, wanted, origin))
    if explained:
        builder.notice(explained)
    return replace(network, origin=replace(origin, notices=builder.finish(origin.dtype), difference=difference))


# -- the module -------------------------------------------------------------------------------------------------------


def copied(module: nn.Module) -> nn.Module:
    """A copy on the CPU."""
    try:
        return copy.deepcopy(module).cpu()
    except Exception as error:  # a module may hold anything
        raise ModelError(f"{type(module).__name__} cannot be copied: {str(error).strip()[:300]}") from error


def _dtype(*states: Mapping[str, Tensor]) -> torch.dtype:
    floats = (t.dtype for state in states for t in state.values() if t.is_floating_point())
    return next(floats, torch.float32)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_weights(tensors: Mapping[str, Tensor]) -> None:
    """Refuse parameters and buffers that are not finite, complex, or not there yet (lazy modules)."""
    for name, value in tensors.items():
        if nn.parameter.is_lazy(value):
            raise ModelError(f"parameter {name!r} has no values yet. Run the module once, then load it.")
        if value.is_complex():
            raise ModelError(f"parameter {name!r} is complex; plica reads real networks.")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).sum())
            raise ModelError(f"parameter {name!r} holds {bad} numbers that are NaN or infinite.")


def _first_shape(module: nn.Module) -> Shape:
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


def _original(source: Source, module: nn.Module, wanted: fx.Node, origin: Origin) -> Original:
    """The module as a function of a batch of inputs; its graph where the value that is analysed is not its output."""

    def run(inputs: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(inputs).to(getattr(torch, origin.dtype))
        with torch.no_grad():
            rows = x.split(1) if source.fixed else [x]
            return torch.cat([part(row).reshape(len(row), -1) for row in rows]).double().numpy()

    def part(x: Tensor) -> Tensor:
        return pytree.tree_leaves(module(x))[0] if wanted is source.output else source.run(x, wanted)

    def exactly(inputs: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(inputs).double()
        with torch.no_grad():
            rows = x.split(1) if source.fixed else [x]
            return torch.cat([source.run(row, wanted).reshape(len(row), -1) for row in rows]).numpy()

    return Original(origin.name, origin.dtype, run, None if origin.dtype == "float64" else exactly)


# -- the graph --------------------------------------------------------------------------------------------------------


def _lower_all(source: Source, builder: Builder, shape: Shape) -> tuple[Var, fx.Node]:
    """Lower node after node; return the value to analyse and its node: the output, or what a final softmax reads."""
    values: dict[fx.Node, Any] = {}
    wanted = source.output
    for node in source.needed:
        if node.op in ("placeholder", "get_attr"):
            values[node] = _constant(source.tensors[node]) if node in source.tensors else Var(INPUT, shape)
            continue
        kind = kind_of(node)
        builder.at(*_place(node, kind))
        if node is source.output and kind.lstrip("_") in FINAL and isinstance(values[node.all_input_nodes[0]], Var):
            builder.notice(f"The final {kind} ({builder.node}) was dropped: the analyses are of its input.")
            wanted = node.all_input_nodes[0]
            values[node] = values[wanted]
        else:
            values[node] = _lowered(node, kind, values, builder)
            if is_in_place(node):
                values[node.all_input_nodes[0]] = values[node]
    out = values[wanted]
    if not isinstance(out, Var):
        raise ModelError("the module's output does not depend on its input.")
    return out, wanted


def _constant(value: Any) -> Any:
    """A tensor of floats as float64: constants are folded in float64."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _lowered(node: fx.Node, kind: str, values: dict[fx.Node, Any], builder: Builder) -> Any:
    """The value of one node: folded when it reads constants only, else by the table."""
    arguments: Any = fx.map_arg(node.args, lambda n: values[n])
    options: Any = fx.map_arg(node.kwargs, lambda n: values[n])
    if node.target is operator.getitem:
        part = arguments[0][arguments[1]]
        if part is None:
            raise builder.refuse("the places of its maxima (indices) are used, which is not piecewise linear.")
        return part
    if kind in CASTS:
        return _cast(arguments[0], [*arguments[1:], *options.values()], builder)
    if not any(isinstance(leaf, Var) for leaf in pytree.tree_leaves((arguments, options), is_leaf=_is_var)):
        return _folded(node, arguments, options, builder)
    return builder.lowered(LOWER, kind, *_arrays(arguments), **_arrays(options))


def _is_var(value: Any) -> bool:
    return isinstance(value, Var)


def _arrays(value: Any) -> Any:
    """Tensors as NumPy arrays, anywhere in the arguments."""
    if isinstance(value, (list, tuple)):
        return [_arrays(v) for v in value]
    if isinstance(value, dict):
        return {key: _arrays(v) for key, v in value.items()}
    return _constant(value).numpy() if isinstance(value, Tensor) else value


def _cast(value: Any, settings: Sequence[Any], builder: Builder) -> Any:
    """Between floats of 32 bits and more nothing happens; other types would round."""
    dtype = next((s for s in settings if isinstance(s, torch.dtype)), torch.float32)
    if dtype.is_floating_point and dtype.itemsize >= 4:
        return _constant(value) if not isinstance(value, Tensor) else value.double()
    if isinstance(value, Tensor):
        return value.to(dtype)
    raise builder.refuse(f"it casts a value that depends on the input to {_word(dtype)}, which rounds it.")


def _folded(node: fx.Node, arguments: Any, options: Any, builder: Builder) -> Any:
    """The value of a node that reads constants only."""
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        raise builder.refuse("it draws random numbers. Put the module in evaluation mode.")
    builder.folded += any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves((arguments, options)))
    try:
        result = node.target(*arguments, **options)  # type: ignore[operator]
    except Exception as error:  # whatever torch raises
        raise ModelError(f"node {builder.node!r} of constants cannot be evaluated: {str(error)[:300]}") from error
    return pytree.tree_map(_constant, result)


def _place(node: fx.Node, kind: str) -> tuple[str, str]:
    """Name and type of a node: module path and class ('features.3', 'GELU'), or operation where a function made it."""
    path, module = next(reversed((node.meta.get("nn_module_stack") or {"": ("", "")}).values()))
    path = path.removeprefix("L['self'].").removeprefix("L__self___")
    home = str(getattr(module, "__module__", module))
    is_layer = home.startswith("torch.nn") and not home.startswith("torch.nn.modules.container")
    layer = str(getattr(module, "__name__", module)).rpartition(".")[2] if is_layer else kind.strip("_")
    if not path:
        return node.name, layer
    path = typeable(path, kind)
    return path if is_layer else f"{path}.{kind.strip('_')}", layer
