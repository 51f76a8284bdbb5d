"""Operations that onnx's reference evaluator lacks, or computes otherwise than the operators' specification says.

Written from the specification in plain NumPy, window place by window place, and sharing nothing with plica's own nodes:
they are what an import is compared with.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


def evaluator(model: onnx.ModelProto) -> ReferenceEvaluator:
    """The reference evaluator of a model, with the operations of this module."""
    return ReferenceEvaluator(model, new_ops=[AveragePool, ConvTranspose, DequantizeLinear, MaxPool, Pad])


def _halves(totals: Sequence[int], auto_pad: str) -> list[tuple[int, int]]:
    """Padding split in two: SAME_UPPER puts the odd one after, everything else before."""
    return [(t // 2, t - t // 2) if auto_pad == "SAME_UPPER" else (t - t // 2, t // 2) for t in totals]


def _strided(offset: Sequence[int], count: Sequence[int], stride: Sequence[int]) -> tuple[slice, ...]:
    """The places that one place of a window visits."""
    return tuple(slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(offset, count, stride, strict=True))


class ConvTranspose(OpRun):
    """The evaluator mixes up the channels of groups, and the padding where `output_shape` is given."""

    def _run(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, **a: Any) -> tuple[np.ndarray]:
        kernel, size = weight.shape[2:], x.shape[2:]
        n, groups = len(kernel), a["group"] or 1
        stride, dilation = a["strides"] or [1] * n, a["dilations"] or [1] * n
        extra, pads = a["output_padding"] or [0] * n, a["pads"] or [0] * (2 * n)
        full = [s * (m - 1) + d * (k - 1) + 1 for m, s, d, k in zip(size, stride, dilation, kernel, strict=True)]
        out = np.zeros((len(x), groups, weight.shape[1], *full), dtype=x.dtype)
        values = x.reshape(len(x), groups, -1, *size)
        weights = weight.reshape(groups, -1, *weight.shape[1:])
        for place in itertools.product(*map(range, kernel)):
            at: Any = (Ellipsis, *place)
            part = np.einsum("bgi...,gio->bgo...", values, weights[at])
            offset = [p * d for p, d in zip(place, dilation, strict=True)]
            to: Any = (Ellipsis, *_strided(offset, size, stride))
            out[to] += part
        wanted = a["output_shape"]
        if wanted is None and a["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
            wanted = [m * s for m, s in zip(size, stride, strict=True)]
        both = list(zip(pads[:n], pads[n:], strict=True))
        if wanted is not None:
            both = _halves([f + e - w for f, e, w in zip(full, extra, wanted[-n:], strict=True)], a["auto_pad"])
        out = np.pad(out.reshape(len(x), -1, *full), [(0, 0), (0, 0), *((0, e) for e in extra)])
        cut = [slice(low, m - high) for m, (low, high) in zip(out.shape[2:], both, strict=True)]
        out = out[(slice(None), slice(None), *cut)]
        return (out if bias is None else out + bias.reshape(1, -1, *(1,) * n),)


def _at_windows(x: np.ndarray, a: dict[str, Any], border: float, outside: float) -> list[np.ndarray]:
    """For every place of a pooling window, the entries that lie there under all windows.

    `border` fills the padding of the node, `outside` what the last windows overhang.
    """
    kernel, size = a["kernel_shape"], x.shape[2:]
    n = len(kernel)
    stride, dilation = a["strides"] or [1] * n, a.get("dilations") or [1] * n
    pads = a["pads"] or [0] * (2 * n)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    both = list(zip(pads[:n], pads[n:], strict=True))
    if a["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        totals = [max((-(-m // s) - 1) * s + r - m, 0) for m, s, r in zip(size, stride, reach, strict=True)]
        both = _halves(totals, a["auto_pad"])
    count = []
    for m, s, r, (low, high) in zip(size, stride, reach, both, strict=True):
        room = m + low + high - r
        steps = -(-room // s) if a.get("ceil_mode") else room // s
        count.append(steps + 1 - (bool(a.get("ceil_mode")) and steps * s >= m + low))  # starts in the right padding
    # Windows may overhang by less than their reach and a stride.
    wide = [(0, r + s) for r, s in zip(reach, stride, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *both], constant_values=border)
    padded = np.pad(padded, [(0, 0), (0, 0), *wide], constant_values=outside)
    offsets = itertools.product(*([d * i for i in range(k)] for d, k in zip(dilation, kernel, strict=True)))
    return [padded[(slice(None), slice(None), *_strided(offset, count, stride))] for offset in offsets]


class MaxPool(OpRun):
    """The evaluator makes SAME_LOWER outputs too small."""

    def _run(self, x: np.ndarray, **a: Any) -> tuple[np.ndarray]:
        return (np.maximum.reduce(_at_windows(x, a, -np.inf, -np.inf)),)


class AveragePool(OpRun):
    """The evaluator goes through the places one by one, which takes minutes for a large image."""

    def _run(self, x: np.ndarray, **a: Any) -> tuple[np.ndarray]:
        counted = float(bool(a.get("count_include_pad")))
        places = np.sum(_at_windows(np.ones((1, 1, *x.shape[2:]), dtype=x.dtype), a, counted, 0.0), axis=0)
        return (np.sum(_at_windows(x, a, 0.0, 0.0), axis=0) / places,)


class Pad(OpRun):
    """The evaluator refuses negative padding, which crops."""

    def _run(self, x: np.ndarray, pads: Any = None, value: Any = None, axes: Any = None, **a: Any) -> tuple[np.ndarray]:
        given: Any = pads if pads is not None else a.get("pads") or a.get("paddings")
        amounts = [int(p) for p in given]
        where = [int(i) % x.ndim for i in axes] if axes is not None else list(range(x.ndim))
        both = dict(zip(where, zip(amounts[: len(where)], amounts[len(where) :], strict=True), strict=True))
        widths = [both.get(i, (0, 0)) for i in range(x.ndim)]
        mode: Any = a.get("mode") or "constant"
        if mode == "constant":
            x = x[tuple(slice(max(-low, 0), m - max(-high, 0)) for m, (low, high) in zip(x.shape, widths, strict=True))]
            widths = [(max(low, 0), max(high, 0)) for low, high in widths]
            fill = value if value is not None and np.size(value) else a.get("value") or 0
            return (np.pad(x, widths, constant_values=np.asarray(fill, dtype=x.dtype).reshape(-1)[0]),)
        return (np.pad(x, widths, mode=mode),)


class DequantizeLinear(OpRun):
    """The evaluator has it from operator set 19 on only."""

    def _run(self, x: np.ndarray, scale: np.ndarray, zero: Any = None, axis: int = 1, **a: Any) -> tuple[np.ndarray]:
        if a.get("block_size"):
            raise NotImplementedError("DequantizeLinear by blocks")
        lift = [1] * x.ndim
        if np.size(scale) > 1:
            lift[axis] = -1
        shift = np.zeros((), dtype=np.int64) if zero is None else np.asarray(zero).astype(np.int64)
        shift = shift.reshape(lift) if shift.size > 1 else shift.reshape(())
        factor = scale.reshape(lift) if np.size(scale) > 1 else scale.reshape(())
        return (((x.astype(np.int64) - shift).astype(factor.dtype) * factor),)
