"""Classifiers: what searches for mistakes and for maximisers of units need to know of a model.

A `Network` is one. `TorchClassifier` makes one of any torch module, piecewise linear or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from plica.core.domain import Box
from plica.errors import ArgumentError

Hook: TypeAlias = Callable[[nn.Module, Any, Tensor], Any]


@runtime_checkable
class Classifier(Protocol):
    """Logits of a batch, where inputs may lie, and the parts before and after a layer."""

    @property
    def box(self) -> Box | None:
        """Allowed inputs, None when there is no limit."""

    @property
    def dtype(self) -> torch.dtype:
        """Of inputs and outputs."""

    def logits(self, x: Tensor) -> Tensor:
        """Outputs of a batch, shape (n, classes), differentiable."""

    def upto(self, layer: str | int) -> Classifier:
        """From the input to a layer, its units as logits."""

    def after(self, layer: str | int) -> Classifier:
        """From a layer's values to the logits."""


@dataclass(frozen=True, eq=False)
class TorchClassifier:
    """A torch module as a `Classifier`.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode, for the answers to be those of single inputs.
    input_shape : tuple of int
        Of one input, without batch axis.
    box : Box, optional
        Allowed inputs.
    start, end : str
        Module paths ("features.3") between which the classifier reads; empty for the module's own input and output.

    Raises
    ------
    ArgumentError
        For a module in training mode, or a path that is not a part of the module.
    """

    module: nn.Module
    input_shape: tuple[int, ...]
    box: Box | None = None
    start: str = ""
    end: str = ""

    def __post_init__(self) -> None:
        training = [name for name, part in self.module.named_modules() if part.training]
        if training:
            where = f" (its part {training[0]!r} is)" if training[0] else ""
            raise ArgumentError(f"The module is in training mode{where}; call module.eval() first.")
        for path in (self.start, self.end):
            if path not in dict(self.module.named_modules()):
                names = ", ".join(n for n, _ in self.module.named_modules() if n)
                raise ArgumentError(f"layer = {path!r}: no part of the module has that path. The parts are {names}.")

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the classifier reads, without batch axis: an input, or the values at `start`."""
        if not self.start:
            return tuple(self.input_shape)
        seen: dict[str, Tensor] = {}
        self._run(self._input(1, 0.0), {self.start: lambda _m, _i, out: seen.update(out=out)})
        return tuple(seen["out"].shape[1:])

    def logits(self, x: Tensor) -> Tensor:
        """Outputs of a batch at `end`, shape (n, units), with `x` in place of the values at `start`."""
        seen: dict[str, Tensor] = {}
        hooks: dict[str, Hook] = {self.end: lambda _m, _i, out: seen.update(out=out)} if self.end else {}
        if self.start:
            out = self._run(self._input(len(x), 0.0), {**hooks, self.start: lambda *_: x})
        else:
            out = self._run(x, hooks)
        return seen.get("out", out).flatten(1)

    def within(self, box: Box) -> TorchClassifier:
        """The classifier with a box of allowed inputs."""
        return replace(self, box=box)

    def upto(self, layer: str | int) -> TorchClassifier:
        """From the input to a part of the module, named by its path."""
        return TorchClassifier(self.module, self.input_shape, self.box, self.start, str(layer))

    def after(self, layer: str | int) -> TorchClassifier:
        """From a part of the module to its output.

        Raises
        ------
        ArgumentError
            When the part runs more than once, or the output depends on more than it; tried at two inputs.
        """
        rest = TorchClassifier(self.module, self.input_shape, None, str(layer), self.end)
        inner = torch.zeros((1, *rest.shape), dtype=self.dtype, device=self.device)
        calls: list[None] = []

        def fixed(*_: object) -> Tensor:
            calls.append(None)
            return inner

        outs = [self._run(self._input(1, fill), {str(layer): fixed}) for fill in (0.0, 1.0)]
        if len(calls) != 2:
            raise ArgumentError(f"layer = {layer!r} runs {len(calls) // 2} times; name a part that runs once.")
        if not torch.equal(*outs):
            raise ArgumentError(f"layer = {layer!r} does not cut the module: its output depends on more than it.")
        return rest

    def _input(self, batch: int, fill: float) -> Tensor:
        return torch.full((batch, *self.input_shape), fill, dtype=self.dtype, device=self.device)

    def _run(self, x: Tensor, hooks: dict[str, Hook]) -> Tensor:
        """Run the module with hooks on some of its parts."""
        parts = dict(self.module.named_modules())
        handles = [parts[path].register_forward_hook(hook) for path, hook in hooks.items()]
        try:
            return self.module(x)
        finally:
            for handle in handles:
                handle.remove()
