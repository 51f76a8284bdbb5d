"""The graph of a torch module: aten operations, and the tensors that they read."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from plica.errors import ModelError

Shape = tuple[int, ...]
EXPORT_BATCH = 2  # a batch of one would let the exporter treat the batch axis as a constant
TRACE_BATCH = 1021  # a prime that is no size of a layer: the tracer gives equal sizes one name


@dataclass(frozen=True)
class Source:
    """A graph of the original and what it reads besides its input.

    Attributes
    ----------
    graph : torch.fx.Graph
    output : torch.fx.Node
        The value to analyse.
    outputs : int
        How many values the original returns.
    tensors : dict
        Weights and constants, by the node of the graph that stands for them; the input is not among them.
    fixed : bool
        Whether the batch axis is one entry long and cannot be longer.
    """

    graph: fx.Graph
    output: fx.Node
    outputs: int
    tensors: dict[fx.Node, Any]
    fixed: bool = False

    @property
    def needed(self) -> list[fx.Node]:
        """The nodes behind the output, in order."""
        kept, todo = set(), [self.output]
        while todo:
            node = todo.pop()
            if node not in kept:
                kept.add(node)
                todo += [*node.all_input_nodes, *self._writers(node)]
        return [node for node in self.graph.nodes if node in kept]

    def _writers(self, node: fx.Node) -> list[fx.Node]:
        """Operations that change a value in place."""
        return [user for user in node.users if is_in_place(user) and user.args[:1] == (node,)]

    def run(self, x: Tensor, wanted: fx.Node) -> Tensor:
        """Value of a node for an input, in the dtype of the input."""
        values: dict[fx.Node, Any] = {}
        for node in self.needed:
            if node in self.tensors or node.op in ("placeholder", "get_attr"):
                values[node] = _like(self.tensors.get(node, x), x)
            else:
                arguments: Any = fx.map_arg(node.args, lambda n: values[n])
                options: Any = fx.map_arg(node.kwargs, lambda n: values[n])
                values[node] = node.target(*arguments, **options)  # type: ignore[operator]
            if node is wanted:
                break
        return values[wanted]


def _like(value: Any, x: Tensor) -> Any:
    """A copy in the dtype of x where it is a tensor of floats: operations in place must not reach the original."""
    if not isinstance(value, Tensor) or value is x:
        return value
    return value.to(x.dtype, copy=True) if value.is_floating_point() else value.clone()


def is_in_place(node: fx.Node) -> bool:
    """Whether an operation writes into its first argument (relu_, add_)."""
    name = getattr(node.target, "_opname", "")
    return name.endswith("_") and not name.startswith("_")


def kind_of(node: fx.Node) -> str:
    """'relu' for aten.relu.default and aten.relu_.default; the name of a function otherwise."""
    name = str(getattr(node.target, "_opname", None) or getattr(node.target, "__name__", node.target))
    return name if name.startswith("_") else name.rstrip("_")


@contextlib.contextmanager
def without_log() -> Iterator[None]:
    """Keep torch from writing into its log what stands in the error: a failing export, an archive that is damaged."""
    logs = [logging.getLogger(name) for name in ("torch._subclasses.fake_tensor", "torch.export")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


# -- exporting --------------------------------------------------------------------------------------------------------


def source_of(program: torch.export.ExportedProgram, *, fixed: bool = False) -> Source:
    """The graph of an exported program."""
    signature = program.graph_signature
    stored = {**program.state_dict, **program.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    by_name = {node.name: node for node in program.graph.nodes}
    tensors: dict[fx.Node, Any] = {by_name[node]: stored[name].detach() for node, name in names.items()}
    for node in program.graph.nodes:
        if node.op == "get_attr":
            tensors[node] = _attribute(program.graph_module, str(node.target))
    outputs = [by_name[name] for name in signature.user_outputs if name in by_name]
    if not outputs:
        raise ModelError("the module returns no tensor.")
    return Source(program.graph, outputs[0], len(signature.user_outputs), tensors, fixed)


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module.detach() if isinstance(module, Tensor) else module


def exported(module: nn.Module, shape: Shape, dtype: torch.dtype) -> Source:
    """The module's graph: by torch.export with any batch, else with a batch of one, else by tracing with torch.fx."""
    ways: tuple[Callable[[nn.Module, Shape, torch.dtype], Source], ...] = (_any_batch, _batch_of_one, _traced)
    failures = []
    for way in ways:
        try:
            with torch.no_grad(), without_log():
                return way(module, shape, dtype)
        except Exception as error:  # whatever an exporter raises
            failures.append(" ".join(str(error).split())[:200])
    raise ModelError(
        f"{type(module).__name__} cannot be exported for inputs of shape {shape} (torch.export: {failures[0]}), nor "
        f"traced ({failures[-1]}). If input_shape is right, save the module as ONNX and load that."
    )


def _any_batch(module: nn.Module, shape: Shape, dtype: torch.dtype) -> Source:
    example = torch.zeros(EXPORT_BATCH, *shape, dtype=dtype)
    dims = ({0: torch.export.Dim("batch", min=2)},)
    return source_of(torch.export.export(module, (example,), dynamic_shapes=dims, strict=False))


def _batch_of_one(module: nn.Module, shape: Shape, dtype: torch.dtype) -> Source:
    example = torch.zeros(1, *shape, dtype=dtype)
    return source_of(torch.export.export(module, (example,), strict=False), fixed=True)


def _traced(module: nn.Module, shape: Shape, dtype: torch.dtype) -> Source:
    """By the operations that a run makes; attributes hold the weights."""
    example = torch.zeros(TRACE_BATCH, *shape, dtype=dtype)
    traced = make_fx(module, tracing_mode="symbolic", pre_dispatch=True, _allow_non_fake_inputs=True)(example)
    tensors = {n: _attribute(traced, str(n.target)) for n in traced.graph.nodes if n.op == "get_attr"}
    returned: list[fx.Node] = []
    end = next(n for n in traced.graph.nodes if n.op == "output")
    fx.map_arg(end.args, returned.append)
    return Source(traced.graph, returned[0], len(returned), tensors)
