"""aten operations as functions of a builder and their arguments."""

from collections.abc import Callable
from typing import Any

from plica.loaders.torch_ops import affine, choices, moves
from plica.loaders.torch_ops.arguments import BatchSize

__all__ = ["LOWER", "BatchSize"]

LOWER: dict[str, Callable[..., Any]] = {**affine.LOWER, **choices.LOWER, **moves.LOWER}
