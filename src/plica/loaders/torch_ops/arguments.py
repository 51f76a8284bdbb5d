"""Arguments of aten operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plica.core.affine import Shape


class BatchSize(int):
    """The size of the batch axis, one while a graph is lowered; it stands for any number."""

    def __new__(cls) -> BatchSize:
        """One."""
        return super().__new__(cls, 1)


def each(value: int | Sequence[int] | None, count: int, default: int | None = None) -> Shape:
    """A setting per spatial axis."""
    if value is None or (isinstance(value, (list, tuple)) and len(value) == 0):
        value = default
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return tuple(int(v) for v in (values * count if len(values) == 1 else values))  # type: ignore[arg-type]


def axes(value: int | Sequence[int] | None) -> list[int] | None:
    """Axes of a reduction; None for all."""
    if value is None or (isinstance(value, (list, tuple)) and len(value) == 0):
        return None
    return [int(v) for v in value] if isinstance(value, Sequence) else [int(value)]


def sizes(given: tuple[Any, ...]) -> list[int]:
    """Sizes or axes given one by one or as a list."""
    return list(given[0]) if len(given) == 1 and isinstance(given[0], (list, tuple)) else list(given)
