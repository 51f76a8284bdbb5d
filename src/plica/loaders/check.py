"""Every import is compared with the original on random inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from plica.core.conv import Conv, Transposed
from plica.core.network import Network
from plica.core.progress import DEFAULT_BYTES, refuse_above
from plica.errors import ImportMismatch, ModelError

TOLERANCE = 1e-5  # of the largest absolute output: float64 against the original's float32
EXACT_TOLERANCE = 1e-9  # the same against the original's weights in float64
COUNT = 8  # inputs of a kind
WIDE = 30.0  # spread of the inputs that reach far knots
HELD = 2**28  # bytes of a batch
COPIES = 4  # of the largest node's values that a comparison holds, about

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Original:
    """The model that was loaded, as a function of a batch of inputs.

    Attributes
    ----------
    name : str
    dtype : str
    run : callable
        In the model's own dtype.
    run_exactly : callable, optional
        With the same weights in float64: tells rounding in the original from a mistake.
    """

    name: str
    dtype: str
    run: Run
    run_exactly: Run | None = None


def sample_inputs(shape: tuple[int, ...], count: int = COUNT, seed: int = 0) -> list[np.ndarray]:
    """Random inputs in two batches: normal ones with uniform ones in [0, 1], and normal ones of a wide spread."""
    rng = np.random.default_rng(seed)
    usual = np.concatenate([rng.standard_normal((count, *shape)), rng.random((count, *shape))])
    return [usual.astype(np.float32), (WIDE * rng.standard_normal((count, *shape))).astype(np.float32)]


def agree(network: Network, original: Original) -> tuple[float, str]:
    """Return the largest difference relative to the largest absolute output, and what explains it, if it needs that.

    Raises
    ------
    ImportMismatch
        When it exceeds 1e-5, and is not rounding in the original, which the original's weights in float64 show; or when
        the original's output is not finite or has another size.
    """
    inputs = sample_inputs(network.input_shape, _count(network))
    results = [_difference(network, original, batch) for batch in inputs]
    return max(d for d, _ in results), next((text for _, text in results if text), "")


def _count(network: Network) -> int:
    """Inputs of a kind: fewer where the network's values are very large."""
    largest = 8 * max(max(COPIES * math.prod(node.shape), _within(node.op)) for node in network.nodes)
    what = f"{network.origin.name}: comparing it with the original on one input"
    refuse_above(DEFAULT_BYTES, largest, what, "Load a part of the model, or one for smaller inputs.")
    return max(1, min(COUNT, HELD // max(1, largest)))


def _within(op: object) -> int:
    """Numbers that a node holds for one input besides its values: indices of maxima, patches of a convolution."""
    if isinstance(op, Transposed):
        return _within(op.node)
    if isinstance(op, Conv):
        places = math.prod(op.shape(op.input_shape)[1:])
        return places * math.prod(op.weight.shape[1:]) * op.groups
    return COPIES * max(
        (v.numel() for v in vars(op).values() if torch.is_tensor(v) and not v.is_floating_point()), default=0
    )


def _difference(network: Network, original: Original, inputs: np.ndarray) -> tuple[float, str]:
    with torch.no_grad():
        got = network(torch.from_numpy(inputs.astype(np.float64))).flatten(1).cpu().numpy()
    expected = _outputs(original.run, inputs, original.name)
    if got.shape != expected.shape:
        raise ImportMismatch(
            f"{original.name}: plica's output has {got.shape[1]} entries, the original's {expected.shape[1]}."
        )
    if not np.isfinite(expected).all():
        raise ImportMismatch(
            f"{original.name}: the original's output on random inputs is not finite; its weights are too large for its "
            "dtype, or the file is damaged. Export it again."
        )
    difference, scale = _relative(got, expected)
    if difference <= TOLERANCE:
        return difference, ""
    exactly = _exact_difference(got, original, inputs)
    if exactly > EXACT_TOLERANCE:
        raise ImportMismatch(
            f"{original.name}: on random inputs plica and the original differ by {difference:.2e} of the largest "
            f"output ({scale:.3g}), more than {TOLERANCE:g}. Please report the model's nodes (plica info) as a bug."
        )
    return difference, (
        f"In {original.dtype} the original rounds by {difference:.1e} of its largest output on random inputs; with the "
        f"same weights in float64 it agrees with plica to {exactly:.0e}."
    )


def _exact_difference(got: np.ndarray, original: Original, inputs: np.ndarray) -> float:
    """Difference from the original in float64; infinite when it does not run there."""
    if original.run_exactly is None:
        return np.inf
    try:
        expected = _outputs(original.run_exactly, inputs, original.name)
    except ModelError:
        return np.inf
    return _relative(got, expected)[0] if got.shape == expected.shape else np.inf


def _outputs(run: Run, inputs: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.asarray(run(inputs), dtype=np.float64).reshape(len(inputs), -1)
    except Exception as error:  # whatever an evaluator raises
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"{name}: the original does not run on a random input: {text}") from error


def _relative(got: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    scale = float(np.abs(expected).max(initial=0.0))
    return float(np.abs(got - expected).max(initial=0.0)) / (scale or 1.0), scale
