"""Short names for the nodes of an ONNX file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import onnx

from plica.core.network import INPUT
from plica.loaders.lower import typeable

LONG = 40  # characters; of a longer name the first parts are left out
WITH_BIAS = ("Add", "Conv", "Gemm", "MatMul")  # what TensorFlow's exporters name BiasAdd


def node_names(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """Names that are short, differ from each other, and can be typed.

    '/layer1/layer1.0/conv1/Conv' is layer1.0.conv1; what the names have in common at their beginning is left out. Where
    two nodes of different kind share a name, the second one's kind is added: fc, fc.relu.
    """
    paths = [_parts(node) for node in nodes]
    common = _common([parts for parts, _ in paths])
    names: list[str] = []
    taken = {INPUT}
    for node, (parts, number) in zip(nodes, paths, strict=True):
        rest = parts[common:] if len(parts) > common else parts
        while len(rest) > 1 and len(".".join(rest)) > LONG:
            rest = rest[1:]
        name = typeable(".".join(rest), node.op_type)
        name = next((n for n in (name + number, f"{name}.{node.op_type.lower()}{number}") if n not in taken), name)
        taken.add(name)
        names.append(name)
    return names


def _parts(node: onnx.NodeProto) -> tuple[list[str], str]:
    """The parts of a node's name without its kind, and the exporter's number of it ('_1' of Relu_1)."""
    kind = node.op_type
    raw = (node.name or next(filter(None, node.output), kind)).removeprefix("onnx::")
    parts = [re.sub(r"[^\w.\-]+", "_", p) for p in raw.replace("::", "/").split("/") if p] or [kind]
    number = ""
    if len(parts) > 1:
        last, _, digits = parts[-1].partition("_")
        if last == kind or (last == "BiasAdd" and not digits and kind in WITH_BIAS):
            parts, number = parts[:-1], f"_{digits}" if digits.isdigit() else ""
        elif re.search(r"__\d+$", parts[-1]):  # made by tf2onnx beside the node that it names
            parts[-1] = kind.lower()
    shorter = [p for p, after in zip(parts, [*parts[1:], ""], strict=True) if not after.startswith(f"{p}.")]
    return shorter, number


def _common(paths: Sequence[list[str]]) -> int:
    """How many parts all names of several parts begin with."""
    long = [parts for parts in paths if len(parts) > 1]
    count = 0
    while len(long) > 1 and min(map(len, long)) > count + 1 and len({p[count] for p in long}) == 1:
        count += 1
    starts_with_letter = all(parts[count][:1].isalpha() for parts in long)
    return count if starts_with_letter and len(Counter(map(tuple, long))) > 1 else 0
