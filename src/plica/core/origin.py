"""Where a network came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where a network came from.

    Attributes
    ----------
    name : str
        Name to print.
    path : str
        File it was read from; empty for a module.
    dtype : str
        Dtype of the original weights ("float32", ...).
    notices : tuple of str
        What was dropped, folded or rounded at loading, one sentence each.
    difference : float
        Largest absolute difference from the original on random inputs, divided by its largest absolute output.
    tensors : tuple of (str, str)
        Names of the network's values, and what the file calls them; empty for a module.
    """

    name: str = "network"
    path: str = ""
    dtype: str = "float64"
    notices: tuple[str, ...] = ()
    difference: float = float("nan")
    tensors: tuple[tuple[str, str], ...] = ()
