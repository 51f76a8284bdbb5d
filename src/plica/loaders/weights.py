"""Weights for a module from a file, and exported archives; nothing is unpickled without consent."""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from plica.core.network import Network, Origin
from plica.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

# What an archive of torch.export.save may hold besides pickles: descriptions, and weights as plain bytes.
PLAIN = re.compile(
    r"(archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|models/\w+\.json"
    r"|data/(weights|constants)/\w+_config\.json|data/weights/weight_\d+|data/constants/tensor_\d+)"
)
# What torch resolves, compiles or evaluates of an archive's description: nothing but this may stand there.
SIZE = re.compile(
    r"(Symbol\('\w+'(, \w+=(True|False))*\)|Integer|Add|Mul|Pow|Mod|FloorDiv|CeilToInt|Max|Min|[su]\d+|\d+"
    r"|[\s+*/%(),<>=-])*"
)
OPERATION = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+|math\.(ceil|floor|trunc)|torch\.sym_\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|(?!torch|_operator|math|#).*"
)
WORD = re.compile(r"[\w.]*")
CHECKED = {"expr_str": SIZE, "target": OPERATION, "name": WORD, "forward_arg_names": WORD}
# What Python's zip and JSON readers raise for damaged bytes; encrypted members and unknown compression among them.
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError)
MAX_BYTES = 1 << 34
MAX_DESCRIPTION = 1 << 27


# -- state dicts ------------------------------------------------------------------------------------------------------


def with_weights(module: nn.Module, path: str | PathLike[str] | None) -> nn.Module:
    """Return a copy of the module with weights from a file; the module itself when there is none."""
    if path is None:
        return module
    from plica.loaders.torch import copied

    state = _state(Path(fspath(path)))
    filled = copied(module)
    try:
        filled.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:  # the last two of keys that are no words
        raise ModelError(f"{path}: does not fit {type(module).__name__}: {_line(error, 400)}") from error
    return filled


def _state(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from a torch file read without unpickling objects."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise ModelError(f"{path}: the file is empty.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ModelError(f"{path}: not a safetensors file, or truncated ({error}).") from error
    _check_zip(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise ModelError(
            f"{path}: not a state dict that can be read without running pickled code, or damaged. Save it again with "
            "safetensors.torch.save_file(module.state_dict(), ...)."
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path}: holds {type(state).__name__}, not a state dict of tensors.")
    return state


def _check_zip(path: Path) -> None:
    """Refuse zip files that unpack to far more than they are: torch writes without compression."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except DAMAGED as error:
        raise ModelError(f"{path}: a damaged archive ({_line(error)}).") from error
    if size > min(MAX_BYTES, 2 * path.stat().st_size + (1 << 20)):
        raise ModelError(f"{path}: {path.stat().st_size} bytes that unpack to {size}; torch does not write such files.")


# -- exported programs ------------------------------------------------------------------------------------------------


def load_pt2(path: Path, input_shape: Sequence[int] | None, *, trust_pickle: bool) -> Network:
    """Read an archive of torch.export.save."""
    reason = _why_not_plain(path)
    if reason and not trust_pickle:
        raise ModelError(
            f"{path}: {reason}, and opening it can run any code. If you trust where the file comes from, say so: "
            "trust_pickle=True (--trust-pickle); or save the model as ONNX, or without example inputs "
            "(program.example_inputs = None)."
        )
    from plica.loaders.torch import load_program
    from plica.loaders.torch_graph import without_log

    try:
        with without_log():
            program = torch.export.load(path)
    except Exception as error:  # torch raises many kinds for damaged files
        raise ModelError(f"{path}: torch.export cannot open it: {_line(error)}") from error
    return load_program(program, input_shape, Origin(path.stem, str(path)))


def _why_not_plain(path: Path) -> str:
    """What in an archive can run code when it is opened; empty when there is nothing."""
    try:
        _check_zip(path)
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            for member in members:
                name = member.filename.split("/", 1)[-1]
                if member.file_size and not PLAIN.fullmatch(name):
                    return f"{member.filename!r} inside the archive is pickled or not known"
                if name.endswith(".json") and not _is_plain(_description(archive, member)):
                    return f"{member.filename!r} inside the archive asks for pickled data or for code"
    except DAMAGED as error:
        raise ModelError(f"{path}: not a .pt2 archive, or truncated ({_line(error)}).") from error
    return "" if members else "the archive is empty"


def _description(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    if member.file_size > MAX_DESCRIPTION:
        raise ValueError(f"{member.filename} has {member.file_size} bytes")
    return json.loads(archive.read(member))


def _is_plain(description: Any) -> bool:
    """Whether a description asks for no pickle and holds nothing that torch would run but operations on tensors."""
    for key, value in _entries(description):
        if key in ("use_pickle", "guards_code") and value:
            return False
        words = value if isinstance(value, list) else [value]
        if key in CHECKED and not all(CHECKED[key].fullmatch(w) for w in words if isinstance(w, str)):
            return False
    return True


def _entries(description: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values of nested dictionaries."""
    if isinstance(description, dict):
        yield from description.items()
        description = list(description.values())
    if isinstance(description, list):
        for part in description:
            yield from _entries(part)


def _line(error: Exception, length: int = 300) -> str:
    return " ".join(str(error).split())[:length] or type(error).__name__
