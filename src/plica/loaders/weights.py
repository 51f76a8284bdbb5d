"""Weights for a module from a file, and exported archives; nothing is unpickled without consent."""

from __future__ import annotations

import copy
import pickle
import zipfile
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from plica.core.network import Network, Origin
from plica.errors import ModelError

if TYPE_CHECKING:
    from torch import nn


def with_weights(module: nn.Module, path: str | PathLike[str] | None) -> nn.Module:
    """Return a copy of the module with weights from a file; the module itself when there is none."""
    if path is None:
        return module
    state = _state(Path(fspath(path)))
    filled = copy.deepcopy(module)
    try:
        filled.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"{path}: does not fit {type(module).__name__}: {' '.join(str(error).split())[:400]}"
        ) from error
    return filled


def _state(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from a torch file read without unpickling objects."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ModelError(f"{path}: not a safetensors file, or truncated ({error}).") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(
            f"{path}: not a state dict that can be read without running pickled code, or damaged. Save it again with "
            "safetensors.torch.save_file(module.state_dict(), ...)."
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path}: holds {type(state).__name__}, not a state dict of tensors.")
    return state


def load_pt2(path: Path, input_shape: Sequence[int] | None, *, trust_pickle: bool) -> Network:
    """Read an archive of torch.export.save."""
    held = _pickled(path)
    if held and not trust_pickle:
        raise ModelError(
            f"{path}: {held!r} inside the archive is pickled, and opening it can run any code. If you trust where the "
            "file comes from, say so: trust_pickle=True (--trust-pickle); or save the model as ONNX."
        )
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise ModelError(f"{path}: torch.export cannot open it: {str(error).strip()[:300]}") from error
    from plica.loaders.torch import load_program

    return load_program(program, input_shape, Origin(path.stem, str(path)))


def _pickled(path: Path) -> str:
    """Name of a pickled member of a zip archive; empty when there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as stream:
                    if _is_pickle(stream.read(4)):
                        return member
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ModelError(f"{path}: not a .pt2 archive, or truncated ({error}).") from error
    return ""


def _is_pickle(start: bytes) -> bool:
    """Whether bytes begin as a pickle of protocol 2 or later, or as a zip that torch.save wrote."""
    return (len(start) > 1 and start[0] == 0x80 and start[1] in range(2, 6)) or start[:4] == b"PK\x03\x04"
