"""ONNX operations as functions of a builder, a node and its operands."""

from collections.abc import Callable
from typing import Any

from plica.loaders.onnx_ops import affine, choices, moves
from plica.loaders.onnx_ops.node import OpNode

__all__ = ["LOWER", "OpNode"]

LOWER: dict[str, Callable[..., Any]] = {**affine.LOWER, **choices.LOWER, **moves.LOWER}
