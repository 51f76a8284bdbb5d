"""Results on disk: one ``.npz`` file of arrays and a JSON header; nothing in it is ever executed.

A file is a zip archive of ``header.json`` and one ``.npy`` member per array, so NumPy alone can read the arrays. The
header says who wrote the file, the format version, the type of the result and its fields, with a reference in place of
each array.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import platform
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from plica.core.hashes import data_hash, network_hash
from plica.core.result import Result
from plica.errors import ArgumentError, DataError
from plica.saved_types import RECORDS, RESULTS, WORDS

FORMAT = 1
HEADER = "header.json"

R = TypeVar("R", bound=Result)


# --- header -----------------------------------------------------------------------------------------------------


def header(
    network: Any = None,
    data: Any = None,
    options: dict[str, Any] | None = None,
    seed: int | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Return the facts of a run that let someone else repeat it.

    Parameters
    ----------
    network : Network, optional
        Its weights and structure are hashed (SHA-256); names of nodes are not part of the hash.
    data : ndarray or ImageSet, optional
        The inputs; their numbers are hashed.
    options : dict, optional
        The arguments of the analysis, as plain values.
    seed : int, optional
        Of everything random.
    seconds : float, optional
        Wall time of the run.

    Returns
    -------
    dict
        ``plica``, ``torch``, ``numpy``, ``python``, ``platform``, ``time`` (UTC), ``format``, and what was given.
    """
    facts: dict[str, Any] = {
        "plica": _installed("plica"),
        "torch": _installed("torch"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "format": FORMAT,
    }
    if network is not None:
        facts["network"] = getattr(getattr(network, "origin", None), "name", "")
        facts["network_hash"] = network_hash(network)
    if data is not None:
        facts["data_hash"] = data_hash(data)
    given = {"options": options, "seed": seed, "seconds": seconds}
    return facts | {key: value for key, value in given.items() if value is not None}


def stamped(result: R, **facts: Any) -> R:
    """Return the result with its header completed by `header(**facts)`; what the result says itself stays.

    Parameters
    ----------
    result : Result
        What an analysis returned.
    **facts
        The arguments of `header`.
    """
    return dataclasses.replace(result, header=header(**facts) | result.header)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


# --- save -------------------------------------------------------------------------------------------------------


def save(result: Result, path: str | os.PathLike[str]) -> Path:
    """Write a result to one file, whole or not at all.

    Parameters
    ----------
    result : Result
        Any result of plica.
    path : path-like
        Written through a temporary file beside it, which then takes its place; folders are made. ``.npz`` is added
        where the name has no suffix.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ArgumentError
        When `result` is not a result, holds a value that has no place in the format, or the file cannot be written.

    Examples
    --------
    >>> import plica, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = plica.save(plica.is_omnidirectional([[1.0], [-1.0]]), f"{folder}/answer.npz")
    ...     bool(plica.load_result(path))
    True
    """
    name = type(result).__name__
    if name not in RESULTS:
        raise ArgumentError(f"save: got {name}, which is not a result. Results are {', '.join(RESULTS)}.")
    arrays: dict[str, np.ndarray] = {}
    body = {
        "plica": _installed("plica"),
        "format": FORMAT,
        "type": name,
        "standing": result.standing.value,
        "completeness": result.completeness.value,
        "fields": {f.name: _pack(getattr(result, f.name), f.name, arrays) for f in dataclasses.fields(result)},
    }
    text = json.dumps(body, indent=1, allow_nan=False, ensure_ascii=False)
    target = Path(path)
    target = target if target.suffix else target.with_suffix(".npz")
    with whole_file(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        _write(archive, HEADER, text)
        for member, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            _write(archive, f"{member}.npy", buffer.getvalue())
    return target


def _write(archive: zipfile.ZipFile, member: str, data: str | bytes) -> None:
    """Add a member without its time, so that equal results are equal files."""
    about = zipfile.ZipInfo(member)  # 1980-01-01
    about.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(about, data)


@contextmanager
def whole_file(target: Path) -> Iterator[Any]:
    """Open a temporary file beside the target and put it in the target's place at the end; remove it on failure."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        what = "Make room, or name another place." if error.errno == errno.ENOSPC else "Name another file."
        raise ArgumentError(f"save: '{target}' cannot be written ({error.strerror}). {what}") from error
    finally:
        if partial.exists():
            partial.unlink()


def _pack(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    """Turn a value into JSON; arrays go to `arrays` under the path of the field they come from."""
    name = type(value).__name__
    if name in WORDS:
        return {"$word": name, "value": value.value}
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if np.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, (np.ndarray, np.generic)):
        return _pack_array(value, where, arrays)
    if type(value) is list:
        return [_pack(item, f"{where}.{i}", arrays) for i, item in enumerate(value)]
    if type(value) is tuple:
        return {"$tuple": _pack(list(value), where, arrays)}
    if type(value) is dict:
        pairs = [[_pack(k, where, arrays), _pack(v, f"{where}.{k}", arrays)] for k, v in value.items()]
        plain = all(type(k) is str and not k.startswith("$") for k in value)
        return dict(pairs) if plain else {"$dict": pairs}
    if name in RESULTS or name in RECORDS:
        fields = dataclasses.fields(value)
        return {"$result": name, "fields": {f.name: _pack(getattr(value, f.name), where, arrays) for f in fields}}
    raise ArgumentError(f"save: {where} holds a {name}, which has no place in a saved result. Use numbers or arrays.")


def _pack_array(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    """Put an array or NumPy scalar into its own member; an array of text objects becomes text in the header."""
    array = np.asarray(value)
    if array.dtype == object:
        if not all(isinstance(item, str) for item in array.flat):
            raise ArgumentError(f"save: {where} is an array of Python objects that are not text. Use numbers.")
        return {"$strings": array.ravel().tolist(), "shape": list(array.shape)}
    if array.dtype.kind not in "biufcSU":
        raise ArgumentError(f"save: {where} is an array of {array.dtype}. Use numbers, truth values or text.")
    member, n = "".join(c if c.isalnum() or c in "._-" else "_" for c in where), 1
    while member in arrays:
        n += 1
        member = f"{member.rsplit('~', 1)[0]}~{n}"
    arrays[member] = array
    return {"$array": member} if isinstance(value, np.ndarray) else {"$scalar": member}


# --- load -------------------------------------------------------------------------------------------------------


def load_result(path: str | os.PathLike[str]) -> Result:
    """Read a result that `save` wrote, by this version or an older one.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Result
        Of the type that was saved, equal in every field.

    Raises
    ------
    DataError
        The file is missing, truncated, damaged, of another kind, or written by a later version.

    Notes
    -----
    Nothing in the file is executed: object arrays are refused, and only types that plica lists are made.
    """
    source = Path(path)
    try:
        with zipfile.ZipFile(source) as archive:
            body = json.loads(archive.read(HEADER))
            name = _checked_type(body, source)
            return _build(name, _unpack(body["fields"], archive))
    except FileNotFoundError:
        raise DataError(f"'{source}' does not exist. Give a file that plica.save wrote.") from None
    except OSError as error:
        raise DataError(f"'{source}' cannot be read ({error.strerror}). Give a file that plica.save wrote.") from error
    except Exception as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"'{source}' is not a whole result of plica: it is truncated, damaged or of another kind "
            f"({type(error).__name__}: {error}). Save it again."
        ) from error


def _checked_type(body: Any, source: Path) -> str:
    """Name of the result's type, after a look at the version of the format."""
    if not isinstance(body, dict) or "format" not in body or "plica" not in body:
        raise DataError(f"'{source}' is not a result of plica: its header names no format. Give a file of plica.save.")
    if not isinstance(body["format"], int) or body["format"] > FORMAT:
        raise DataError(
            f"'{source}' has format {body['format']} (written by plica {body['plica']}); this is plica "
            f"{_installed('plica')}, which reads formats up to {FORMAT}. Update plica."
        )
    if body.get("type") not in RESULTS:
        raise DataError(f"'{source}' holds a {body.get('type')!r}, which this plica does not know. Update plica.")
    return body["type"]


def _build(name: str, values: dict[str, Any]) -> Any:
    return _class((RESULTS | RECORDS)[name])(**values)


def _class(address: str) -> Any:
    module, name = address.split(":")
    return getattr(import_module(module), name)


def _unpack(value: Any, archive: zipfile.ZipFile) -> Any:
    """Turn JSON back into the value it came from."""
    if isinstance(value, list):
        return [_unpack(item, archive) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next((key for key in value if key.startswith("$")), None)
    if tag is None:
        return {key: _unpack(item, archive) for key, item in value.items()}
    return _TAGS[tag](value[tag], value, archive)


def _read_array(member: str, archive: zipfile.ZipFile) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(archive.read(f"{member}.npy")), allow_pickle=False)


def _strings(items: list[str], shape: list[int]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


_TAGS = {
    "$word": lambda name, value, archive: _class(WORDS[name])(value["value"]),
    "$float": lambda text, value, archive: float(text),
    "$array": lambda member, value, archive: _read_array(member, archive),
    "$scalar": lambda member, value, archive: _read_array(member, archive)[()],
    "$strings": lambda items, value, archive: _strings(items, value["shape"]),
    "$tuple": lambda items, value, archive: tuple(_unpack(items, archive)),
    "$dict": lambda pairs, value, archive: {_unpack(k, archive): _unpack(v, archive) for k, v in pairs},
    "$result": lambda name, value, archive: _build(name, _unpack(value["fields"], archive)),
}
