"""Every import is compared with the original on random inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from plica.core.network import Network
from plica.errors import ImportMismatch

TOLERANCE = 1e-5  # of the largest absolute output: float64 against the original's float32


def sample_inputs(shape: tuple[int, ...], count: int = 2, seed: int = 0) -> np.ndarray:
    """Random inputs: normal ones, and uniform ones in [0, 1]; shape (2 * count, *shape)."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.standard_normal((count, *shape)), rng.random((count, *shape))]).astype(np.float32)


def agree(network: Network, original: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, name: str) -> float:
    """Return the largest difference between network and original, relative to the largest absolute output.

    Raises
    ------
    ImportMismatch
        When it exceeds 1e-5 or the original's output is not finite or has another size.
    """
    expected = np.asarray(original(inputs), dtype=np.float64).reshape(len(inputs), -1)
    with torch.no_grad():
        got = network(torch.from_numpy(inputs.astype(np.float64))).flatten(1).cpu().numpy()
    if got.shape != expected.shape:
        raise ImportMismatch(f"{name}: plica's output has {got.shape[1]} entries, the original's {expected.shape[1]}.")
    if not np.isfinite(expected).all():
        raise ImportMismatch(f"{name}: the original's output on random inputs is not finite.")
    scale = float(np.abs(expected).max())
    difference = float(np.abs(got - expected).max()) / (scale or 1.0)
    if difference > TOLERANCE:
        raise ImportMismatch(
            f"{name}: on random inputs plica and the original differ by {difference:.2e} of the largest output "
            f"({scale:.3g}), more than {TOLERANCE:g}. Please report the model's nodes (plica info) as a bug."
        )
    return difference
