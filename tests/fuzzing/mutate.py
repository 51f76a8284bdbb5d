"""Damage: bytes of any file, and the insides of archives, JSON and ONNX, so that the outer layers stay whole."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from typing import Any

NUMBERS = (0, 1, -1, 2, 7, 255, 256, 65535, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63 - 1, -(2**63), 10**6, 10**9)
WORDS = ("", "x", "nan", "inf", "-inf", "\x00", "../../etc/passwd", "x" * 5000, "input", "$call", "0x", "1e999", "é")


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Change, remove, double, move or insert bytes; one to four times."""
    found = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        if not found:
            return bytes(draw.randbytes(draw.randint(0, 20)))
        at, length = draw.randrange(len(found)), draw.choice((1, 1, 2, 4, 8, 64))
        how = draw.randrange(8)
        if how <= 1:
            found[at] ^= 1 << draw.randrange(8)
        elif how == 2:
            found[at : at + length] = draw.randbytes(length)
        elif how == 3:
            del found[at : at + length]
        elif how == 4:
            found[at:at] = found[at : at + length]
        elif how == 5:
            del found[at:]
        elif how == 6:
            other = draw.randrange(len(found))
            found[at : at + length] = found[other : other + length]
        else:
            value = draw.choice(NUMBERS) & (2**64 - 1)
            found[at : at + 8] = struct.pack(draw.choice("<>") + "Q", value)
    return bytes(found)


def other_value(value: Any, draw: random.Random) -> Any:
    """Another value, mostly of the same kind."""
    if draw.random() < 0.15:
        return draw.choice((None, True, [], {}, "", 0, -1, 1.5, [[]], {"$array": "x"}, 10**400))
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return draw.choice((value + 1, value - 1, -value, value * 2, *NUMBERS))
    if isinstance(value, float):
        return draw.choice((value * 2, -value, 0.0, 1e308, float("nan"), float("inf")))
    if isinstance(value, str):
        if value and draw.random() < 0.6:
            at = draw.randrange(len(value))
            return value[:at] + draw.choice("0123456789abcdefxp-+.${}") + value[at + draw.randint(0, 1) :]
        return draw.choice(WORDS)
    return value


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place of a JSON value as its container and key."""
    found = []
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        found += places(value[key])
    return found


def damaged_json(text: bytes, draw: random.Random) -> bytes:
    """Change, drop, double or exchange values; one to three times."""
    body = json.loads(text)
    for _ in range(draw.randint(1, 3)):
        spots = places(body)
        if not spots:
            break
        holder, key = draw.choice(spots)
        how = draw.randrange(6)
        if how <= 2:
            holder[key] = other_value(holder[key], draw)
        elif how == 3:
            del holder[key]
        elif how == 4:
            other, place = draw.choice(spots)
            holder[key] = json.loads(json.dumps(other[place])) if place in keys(other) else None
        elif isinstance(holder, list):
            holder.insert(key, holder[key])
        else:
            holder[draw.choice(WORDS)] = holder[key]
    return json.dumps(body).encode()


def keys(holder: Any) -> Any:
    return holder if isinstance(holder, dict) else range(len(holder))


def damaged_archive(data: bytes, draw: random.Random) -> bytes:
    """Change a member, with the right checksum, or drop, double or rename one."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = draw.randrange(len(members))
    name, body = members[at]
    how = draw.randrange(7)
    if how <= 3:
        change = damaged_json if name.endswith(".json") and draw.random() < 0.9 else damaged
        members[at] = (name, change(body, draw))
    elif how == 4:
        del members[at]
    elif how == 5:
        members[at] = (draw.choice((*WORDS[1:], members[draw.randrange(len(members))][0])), body)
    else:
        members.append((name, draw.choice(members)[1]))
    found = io.BytesIO()
    import warnings

    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, body in members:
            archive.writestr(name.split("\0")[0] or "x", body)
    return found.getvalue()


def damaged_onnx(data: bytes, draw: random.Random) -> bytes:
    """Change numbers, names, shapes, attributes, nodes or tensors of a model that still parses."""
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    for _ in range(draw.randint(1, 3)):
        how = draw.randrange(9)
        node = draw.choice(graph.node) if graph.node else None
        tensor = draw.choice(graph.initializer) if graph.initializer else None
        if how == 0 and node is not None and node.attribute:
            attribute = draw.choice(node.attribute)
            attribute.i = draw.choice(NUMBERS) if abs(attribute.i) < 2**63 else 0
            if attribute.ints:
                attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(NUMBERS[:11])
        elif how == 1 and node is not None:
            node.op_type = draw.choice(("Relu", "Conv", "Gemm", "MatMul", "Reshape", "Slice", "MaxPool", "Gelu", "Loop",
                                        "Transpose", "Concat", "Pad", "Split", "Gather", ""))  # fmt: skip
        elif how == 2 and node is not None and node.input:
            node.input[draw.randrange(len(node.input))] = draw.choice(("x", "y", "w", "", "nothing", "a"))
        elif how == 3 and node is not None and node.output:
            node.output[0] = draw.choice(("x", "y", "a", ""))
        elif how == 4 and tensor is not None and tensor.dims:
            tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(NUMBERS)
        elif how == 5 and tensor is not None:
            tensor.data_type = draw.randrange(24)
        elif how == 6 and tensor is not None:
            tensor.raw_data = damaged(tensor.raw_data, draw)
        elif how == 7 and graph.input:
            dims = graph.input[0].type.tensor_type.shape.dim
            if dims:
                dims[draw.randrange(len(dims))].dim_value = draw.choice(NUMBERS)
        elif how == 8 and node is not None:
            draw.choice((graph.node.remove, lambda n: graph.node.append(n)))(node)
    try:
        return bytes(model.SerializeToString())
    except ValueError:
        return data
