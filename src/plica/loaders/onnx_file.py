"""What is in an ONNX file: bytes, tensors and the input, all checked before anything is built."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from plica.core.affine import Shape
from plica.errors import ModelError, ShapeError

MAX_BYTES = 1 << 31  # what a protobuf message may hold
MAX_ELEMENTS = 1 << 28
CHUNK = 1 << 22
DTYPES = {TensorProto.DOUBLE: "float64", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}


def read_model(path: Path) -> onnx.ModelProto:
    """The model, or one clear error about its bytes."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: {path.stat().st_size} bytes, more than an ONNX file may hold ({MAX_BYTES}).")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if path.suffix == ".gz" and data:
        data = _unzipped(data, path)
    if not data:
        raise ModelError(f"{path}: the file is empty.")
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX file, or truncated ({len(data)} bytes read).") from error
    if not model.graph.output or not (model.graph.node or model.graph.input):
        raise ModelError(f"{path}: not an ONNX file, or truncated: it holds no graph ({len(data)} bytes read).")
    if not all(isinstance(text, str) for text in _texts(model.graph)):
        raise ModelError(f"{path}: a damaged ONNX file: a name in it is not text.")
    return model


def _texts(graph: onnx.GraphProto) -> Iterator[str]:
    """Names in a graph; those that are not UTF-8 come as bytes."""
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for value in (*graph.input, *graph.output):
        yield value.name
        yield from (d.dim_param for d in value.type.tensor_type.shape.dim)
    for tensor in graph.initializer:
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _unzipped(data: bytes, path: Path) -> bytes:
    """The contents of a gzip file, never more than a model may hold."""
    machine, parts, size, rest = zlib.decompressobj(wbits=31), [], 0, data
    try:
        while rest and not machine.eof:
            parts.append(machine.decompress(rest, CHUNK))
            rest, size = machine.unconsumed_tail, size + len(parts[-1])
            if size > MAX_BYTES:
                raise ModelError(
                    f"{path}: unpacks to more than {MAX_BYTES} bytes, the most that an ONNX file may hold."
                )
    except zlib.error as error:
        raise ModelError(f"{path}: not a gzip file, or damaged ({error}).") from error
    if not machine.eof:
        raise ModelError(f"{path}: the gzip file is truncated.")
    return b"".join(parts)


def checked_tensor(proto: TensorProto, path: Path) -> np.ndarray:
    """The array of a stored tensor: its size plausible, its data inside the model's folder, its numbers finite."""
    size = math.prod(proto.dims)
    if size > MAX_ELEMENTS or any(d < 0 for d in proto.dims):
        raise ModelError(f"{path}: tensor {proto.name!r} claims shape {tuple(proto.dims)}, {size:.1e} numbers.")
    if proto.data_location == TensorProto.EXTERNAL:
        _load_external(proto, path)
    try:
        array = numpy_helper.to_array(proto)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path}: tensor {proto.name!r} of shape {tuple(proto.dims)} is damaged: {error}") from error
    return as_constant(array, f"{path}: tensor {proto.name!r}")


def as_constant(array: np.ndarray, what: str) -> np.ndarray:
    """Floats of any width as finite float64; whole numbers and truth values as they are."""
    if array.dtype.kind in "biu":
        return array
    try:
        wide = array.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{what} holds {array.dtype}, not numbers.") from error
    if not np.isfinite(wide).all():
        bad = int((~np.isfinite(wide)).sum())
        raise ModelError(f"{what} holds {bad} numbers that are NaN or infinite; export finite weights.")
    return wide


def _load_external(proto: TensorProto, path: Path) -> None:
    """Read data kept beside the model; never from outside the model's folder."""
    place = {e.key: e.value for e in proto.external_data}.get("location", "")
    folder = path.resolve().parent
    target = (folder / place).resolve()
    if not place or not target.is_relative_to(folder) or not target.is_file():
        raise ModelError(
            f"{path}: tensor {proto.name!r} is stored in {place!r}, which is not a file in the model's folder. "
            "Put the file beside the model, or save the model with its data inside."
        )
    try:
        onnx.external_data_helper.load_external_data_for_tensor(proto, str(folder))
    except Exception as error:  # onnx raises its own kinds for links, offsets and lengths
        raise ModelError(f"{path}: tensor {proto.name!r} cannot be read from {place!r}: {error}") from error
    proto.data_location = TensorProto.DEFAULT


# -- the input --------------------------------------------------------------------------------------------------------


def read_input(model: onnx.ModelProto, given: Sequence[int] | None) -> tuple[str, Shape, str]:
    """Name of the input, its shape without batch axis, and the batch axis: "symbolic", "one", or "" for none."""
    stored = {t.name for t in model.graph.initializer} | {t.values.name for t in model.graph.sparse_initializer}
    free = [i for i in model.graph.input if i.name not in stored]  # old files list weights as inputs too
    if len(free) != 1:
        raise ModelError(f"the model has {len(free)} inputs ({', '.join(i.name for i in free)}); plica reads one.")
    dims = free[0].type.tensor_type.shape.dim
    shape: list[int | str] = [d.dim_value if d.dim_value > 0 else (d.dim_param or "?") for d in dims]
    batch = ""
    if len(shape) > 1:
        batch = "symbolic" if isinstance(shape[0], str) else "one" if shape[0] == 1 else ""
    inner = shape[1:] if batch else shape
    if given is not None:
        _check_given(inner, given)
        inner = list(given)
    if any(isinstance(d, str) for d in inner):
        raise ShapeError(
            f"the input {free[0].name!r} has open sizes: {tuple(shape)}. Say what one input is: "
            "plica.load(path, input_shape=(...)), without the batch axis."
        )
    sizes = tuple(int(d) for d in inner)
    if not 1 <= math.prod(sizes) <= MAX_ELEMENTS:
        raise ShapeError(f"the input {free[0].name!r} has shape {tuple(shape)}: {math.prod(sizes):.1e} numbers.")
    return free[0].name, sizes, batch


def _check_given(inner: Sequence[int | str], given: Sequence[int]) -> None:
    fits = len(given) == len(inner) and all(isinstance(a, str) or a == b for a, b in zip(inner, given, strict=True))
    if not fits or min(given, default=1) < 1:
        raise ShapeError(f"input_shape = {tuple(given)} does not fit the model's input {tuple(inner)}.")


def dtype_of(model: onnx.ModelProto) -> str:
    """Dtype of the model's numbers, by its input."""
    found = [DTYPES.get(i.type.tensor_type.elem_type, "float32") for i in model.graph.input]
    return found[0] if found else "float32"


def needed_nodes(model: onnx.ModelProto, output: str) -> list[onnx.NodeProto]:
    """The nodes behind one output, in the order of the file."""
    wanted, kept = {output}, []
    for proto in reversed(model.graph.node):
        if wanted.intersection(proto.output):
            wanted.update(proto.input)
            kept.append(proto)
    return kept[::-1]
