"""Loading: networks from torch modules and ONNX files, images from data files."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from plica.core.network import Network
from plica.errors import ArgumentError, ModelError, ShapeError
from plica.loaders.info import InfoResult, info

if TYPE_CHECKING:
    from torch import nn

__all__ = ["InfoResult", "info", "load"]


def load(
    model: str | PathLike[str] | nn.Module | Network,
    input_shape: Sequence[int] | None = None,
    *,
    weights: str | PathLike[str] | None = None,
    trust_pickle: bool = False,
) -> Network:
    """Read a trained network and compare it with the original on random inputs.

    Parameters
    ----------
    model : path, torch.nn.Module or Network
        An ``.onnx`` or ``.onnx.gz`` file, a ``.pt2`` archive of `torch.export.save`, or a module.
    input_shape : sequence of int, optional
        Shape of one input without batch axis, where the model leaves it open.
    weights : path, optional
        ``.safetensors``, or a state dict saved by torch (read without unpickling objects), for a given module; the
        module itself is not changed.
    trust_pickle : bool
        Allow a ``.pt2`` archive that holds pickled objects to be unpickled: that can run any code in it.

    Returns
    -------
    Network
        In float64; `Network.origin` says what was dropped, folded or rounded, and how far it differs from the original.

    Raises
    ------
    ModelError
        For files that are missing, empty, truncated, pickled, of unknown kind, or with weights that are not finite.
    UnsupportedLayer
        For a node that is not piecewise linear, named.
    ShapeError
        When the input's shape is open, or does not fit.
    """
    if isinstance(model, Network):
        return model
    shape = None if input_shape is None else _checked(input_shape)
    if not isinstance(model, (str, PathLike)):
        return _module(model, shape, weights)
    if weights is not None:
        raise ArgumentError("weights= belongs to a torch module: plica.load(module, weights='file.safetensors').")
    path = Path(fspath(model))
    if not path.is_file():
        raise ModelError(f"{path}: no such file.")
    if path.name.endswith((".onnx", ".onnx.gz")):
        from plica.loaders.onnx import load_onnx

        return load_onnx(path, shape)
    if path.suffix == ".pt2":
        from plica.loaders.weights import load_pt2

        return load_pt2(path, shape, trust_pickle=trust_pickle)
    raise ModelError(_unknown(path))


def _checked(input_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape as whole numbers, each at least one."""
    try:
        shape = tuple(operator.index(n) for n in input_shape)
    except TypeError:
        raise ShapeError(f"input_shape = {input_shape!r}: give whole numbers, as in (3, 32, 32).") from None
    if min(shape, default=1) < 1:
        raise ShapeError(f"input_shape = {shape}: every size is at least 1.")
    return shape


def _module(module: nn.Module, shape: tuple[int, ...] | None, weights: str | PathLike[str] | None) -> Network:
    from torch import nn

    if not isinstance(module, nn.Module):
        raise ArgumentError(f"plica.load takes a path or a torch.nn.Module; got {type(module).__name__}.")
    from plica.loaders.torch import load_module
    from plica.loaders.weights import with_weights

    return load_module(with_weights(module, weights), shape, name=type(module).__name__)


def _unknown(path: Path) -> str:
    """What to do with a file that is not a model."""
    if path.suffix == ".safetensors":
        return f"{path}: safetensors files hold weights only. Use plica.load(module, weights={path.name!r})."
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"):
        return (
            f"{path}: a pickle, which can run any code when it is opened; plica does not open it. Build the module in "
            f"Python and give its weights: plica.load(module, weights={path.name!r}), or save the model as ONNX."
        )
    return f"{path}: not a model plica knows. It reads .onnx, .onnx.gz, .pt2, and torch modules."
