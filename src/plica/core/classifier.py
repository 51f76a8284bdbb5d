"""Classifiers: what searches for mistakes and for maximisers of units need to know of a model.

A `Network` is one. `TorchClassifier` makes one of any torch module, piecewise linear or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from plica.core.domain import Box
from plica.errors import ArgumentError


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
        if self.module.training:
            raise ArgumentError("The module is in training mode; call module.eval() first.")
        for path in (self.start, self.end):
            if path not in dict(self.module.named_modules()):
                names = ", ".join(n for n, _ in self.module.named_modules() if n)
                raise ArgumentError(f"layer = {path!r}: no part of the module has that path. The parts are {names}.")

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.get_default_dtype())

    def logits(self, x: Tensor) -> Tensor:
        """Outputs of a batch at `end`, shape (n, units), with `x` in place of the values at `start`."""
        if not self.start:
            return self._run(x, None)
        zeros, ones = (self._input(len(x), fill) for fill in (0.0, 1.0))
        out = self._run(zeros, x)
        if not torch.equal(out, self._run(ones, x)):
            raise ArgumentError(f"layer = {self.start!r} does not cut the module: its output depends on more than it.")
        return out

    def upto(self, layer: str | int) -> TorchClassifier:
        """From the input to a part of the module, named by its path."""
        return TorchClassifier(self.module, self.input_shape, self.box, self.start, str(layer))

    def after(self, layer: str | int) -> TorchClassifier:
        """From a part of the module to its output; the part must be all that the output depends on."""
        return TorchClassifier(self.module, self.input_shape, None, str(layer), self.end)

    def _input(self, batch: int, fill: float) -> Tensor:
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
        return torch.full((batch, *self.input_shape), fill, dtype=self.dtype, device=device)

    def _run(self, x: Tensor, inner: Tensor | None) -> Tensor:
        """Run the module with the value at `start` replaced and the value at `end` read."""
        parts, hooks = dict(self.module.named_modules()), []
        seen: dict[str, Tensor] = {}
        if inner is not None:
            hooks.append(parts[self.start].register_forward_hook(lambda *_: inner))
        if self.end:
            hooks.append(parts[self.end].register_forward_hook(lambda _m, _i, out: seen.update(end=out)))
        try:
            out = self.module(x)
        finally:
            for hook in hooks:
                hook.remove()
        return (seen["end"] if self.end else out).flatten(1)
